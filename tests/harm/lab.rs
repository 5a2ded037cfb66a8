//! A target under a steady traffic of signals, every one of which is counted when it is sent and when it
//! arrives.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::counters::{Counters, Word};
use super::look::{c_program, eventually, held, lives, threads};
use super::storms::GO;
use super::support::{Fixture, Mode, Running, Tally};

/// Parts of the target's traffic that come to an end.
const PARTS: u64 = 2;

/// The target, and what was done to it so far.
pub(crate) struct Lab {
    target: Running,
    sender: Running,
    pub(crate) counters: Counters,
    usr1: Single,
    cont: Single,
    stops: u64,
    stops_lost: u64,
    left_stopped: u64,
}

/// A signal that is sent now and then, and awaited before it is sent again: two at a time would be one.
struct Single {
    seen: Word,
    sent: u64,
    /// Those that are not waited for again.
    known_lost: u64,
}

impl Single {
    fn new(seen: Word) -> Single {
        Single { seen, sent: 0, known_lost: 0 }
    }

    /// Waits until as many were handled as were sent.
    fn await_all(&mut self, counters: &Counters, what: &str, tally: &mut Tally) {
        if !eventually(|| counters.get(self.seen) >= self.sent - self.known_lost) {
            let seen = counters.get(self.seen);
            tally.wrong(format!("{what}: {:?} is {seen}, and {} were sent", self.seen, self.sent));
            self.known_lost = self.sent - seen;
        }
    }
}

/// Whether all signals of a kind arrived once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}/{})", self.sent, self.lost, self.doubled)
    }
}

/// What had become of all signals in the end.
pub(crate) struct Account {
    /// Real-time signals with values.
    pub(crate) values: Count,
    pub(crate) usr1: Count,
    pub(crate) cont: Count,
    /// SIGCHLDs of children that ended one after the other.
    pub(crate) children: Count,
    /// SIGSTOPs; a stop cannot come twice.
    pub(crate) stops: Count,
    /// Expirations of the timer by the clock.
    pub(crate) ticks_due: u64,
    /// How many more, or fewer, its handler counted.
    pub(crate) ticks_diff: i64,
    /// Times that the target stood when nobody held it.
    pub(crate) left_stopped: u64,
}

impl Lab {
    pub(crate) fn start() -> Lab {
        let counters = Counters::new();
        let start = |program, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).arg(counters.path());
            let mut running = Running::spawn(command);
            running.wait_ready();
            running
        };
        let target = start(Fixture::build("gostorm", GO, Mode::Cgo), &["signals"]);
        let sender = start(c_program("sender"), &[&target.pid().to_string()]);
        assert!(eventually(|| counters.get(Word::RtSeen) > 10), "no signal arrives");
        let (usr1, cont) = (Single::new(Word::Usr1Seen), Single::new(Word::ContSeen));
        Lab { target, sender, counters, usr1, cont, stops: 0, stops_lost: 0, left_stopped: 0 }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.target.pid()
    }

    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub(crate) fn send_usr1(&mut self) {
        self.send(Signal::SIGUSR1);
        self.usr1.sent += 1;
    }

    pub(crate) fn send_stop(&mut self) {
        self.send(Signal::SIGSTOP);
        self.stops += 1;
    }

    pub(crate) fn send_cont(&mut self) {
        self.send(Signal::SIGCONT);
        self.cont.sent += 1;
    }

    /// Waits for the effect of a SIGSTOP: its parent is told, and all its threads are stopped and not traced.
    pub(crate) fn await_stop(&mut self, what: &str, tally: &mut Tally) {
        let is_told = eventually(|| self.told() == Some(Signal::SIGSTOP));
        let all_stopped = || threads(self.pid()).iter().all(|thread| thread.state == 'T' && thread.tracer == 0);
        let stands = eventually(all_stopped);
        if !(is_told && stands) {
            self.stops_lost += 1;
            let states = threads(self.pid());
            tally.wrong(format!("{what}: a SIGSTOP was lost (parent told: {is_told}); threads are {states:?}"));
        }
    }

    /// Takes notice of the continuation as a parent does.
    pub(crate) fn await_continuation(&mut self, what: &str, tally: &mut Tally) {
        let is_told = eventually(|| self.told() == Some(Signal::SIGCONT));
        tally.holds(format!("{what}: the parent is not told of a continuation"), is_told);
    }

    /// The next stop or continuation of which its parent, this process, is told.
    fn told(&self) -> Option<Signal> {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WCONTINUED | WaitPidFlag::WNOHANG;
        match waitid(Id::Pid(Pid::from_raw(self.pid())), flags) {
            Ok(WaitStatus::Stopped(_, signal)) => Some(signal),
            Ok(WaitStatus::Continued(_)) => Some(Signal::SIGCONT),
            _ => None,
        }
    }

    /// Forgets stops and continuations of which the parent was told, so that each trial sees its own.
    pub(crate) fn forget_changes(&self) {
        while self.told().is_some() {}
    }

    /// Sees that it runs, that nobody holds it, and that all single signals have arrived. False when it is of
    /// no use any more.
    pub(crate) fn settle(&mut self, what: &str, tally: &mut Tally) -> bool {
        tally.compared += 1;
        let pid = self.pid();
        if !eventually(|| held(pid).is_empty()) {
            self.left_stopped += 1;
            tally.wrong(format!("{what}: left held: {:?}", held(pid)));
            return false;
        }
        let before = self.counters.get(Word::Progress);
        if !eventually(|| self.counters.get(Word::Progress) > before) {
            self.left_stopped += 1;
            tally.wrong(format!("{what}: it does not go on (it lives: {})", lives(pid)));
            return false;
        }
        for single in [&mut self.usr1, &mut self.cont] {
            single.await_all(&self.counters, what, tally);
        }
        lives(pid)
    }

    /// Lets the traffic end, and counts.
    pub(crate) fn account(self, label: &str, tally: &mut Tally) -> Account {
        let counters = &self.counters;
        counters.set(Word::Quiesce, 1);
        let settled = eventually(|| counters.get(Word::Settled) == PARTS);
        tally.holds(format!("{label}: its traffic does not end"), settled);
        let sender_pid = self.sender.pid();
        tally.holds(format!("{label}: the sender does not end"), eventually(|| !lives(sender_pid)));
        let sent = counters.get(Word::RtSent);
        // Lost ones never come; the wait is for those that are on their way.
        eventually(|| counters.get(Word::RtSeen) >= sent);
        let seen = counters.values(sent);
        let times = |wanted: &dyn Fn(u8) -> bool| seen.iter().filter(|&&times| wanted(times)).count() as u64;
        let count = |single: &Single| {
            let (sent, seen) = (single.sent, counters.get(single.seen));
            Count { sent, lost: sent.saturating_sub(seen), doubled: seen.saturating_sub(sent) }
        };
        let (forks, children_lost) = (counters.get(Word::Forks), counters.get(Word::ChildLost));
        let account = Account {
            values: Count { sent, lost: times(&|times| times == 0), doubled: times(&|times| times > 1) },
            usr1: count(&self.usr1),
            cont: count(&self.cont),
            children: Count {
                sent: forks,
                lost: children_lost,
                doubled: counters.get(Word::ChildSeen).saturating_sub(forks - children_lost),
            },
            stops: Count { sent: self.stops, lost: self.stops_lost, doubled: 0 },
            ticks_due: counters.get(Word::TicksDue),
            ticks_diff: counters.signed(Word::TicksDiff),
            left_stopped: self.left_stopped,
        };
        for (what, count) in [
            ("real-time signals", account.values),
            ("SIGUSR1", account.usr1),
            ("SIGCONT", account.cont),
            ("SIGCHLD", account.children),
            ("SIGSTOP", account.stops),
        ] {
            tally.equal(
                format!("{label}: {what} lost and doubled of {}", count.sent),
                (0, 0),
                (count.lost, count.doubled),
            );
        }
        tally.equal(format!("{label}: ticks of {}", account.ticks_due), 0, account.ticks_diff);
        tally.equal(format!("{label}: left stopped"), 0, account.left_stopped);
        account
    }
}
