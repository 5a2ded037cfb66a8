//! What is read while gospy is attacked, and how it fares.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::counters::{Counters, Word};
use super::super::lab::Lab;
use super::super::look::{eventually, held, lives, threads};
use super::super::random::Random;
use super::super::storms::GO;
use super::super::support::process::Killed;
use super::super::support::{Fixture, Mode, Running, Tally};
use super::facts::Facts;
use super::plan::Kind;

/// The status that `gostorm` ends with when it ends as it was told to.
pub(crate) const STATUS: i32 = 42;
/// Calls of sleepers that a stop may interrupt come first (fixtures/gostorm/sleepers.h).
const INTERRUPTIBLE: usize = 5;
const SLEEPERS: usize = 14;

/// Who runs it.
enum Body {
    Own(Running),
    /// With a sender of signals.
    Lab(Box<Lab>),
}

/// A target that serves many attacks.
pub(crate) struct Target {
    kind: Kind,
    body: Body,
    counters: Option<Counters>,
    pub(crate) pid: i32,
    before: Facts,
    /// Who traces it.
    tracer: Option<Killed>,
    interruptions: [u64; SLEEPERS],
    /// Calls that failed with EINTR in a freeze, as docs/freeze.md says that they may.
    pub(crate) known_interruptions: u64,
}

/// How long from now on a program is to run, as it is told in its environment.
pub(crate) fn ends_in(command: &mut Command, length: Duration) {
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + length;
    command.env("GOSTORM_END", end.as_millis().to_string());
}

/// `gostorm` in a mode.
pub(crate) fn gostorm() -> std::path::PathBuf {
    Fixture::build("gostorm", GO, Mode::Cgo)
}

impl Target {
    pub(crate) fn start(kind: Kind, random: &mut Random) -> Target {
        if kind == Kind::Signals {
            let lab = Box::new(Lab::start());
            let (pid, before) = (lab.pid(), Facts::of(lab.pid(), false));
            return Target {
                kind,
                body: Body::Lab(lab),
                counters: None,
                pid,
                before,
                tracer: None,
                interruptions: [0; SLEEPERS],
                known_interruptions: 0,
            };
        }
        let counters = Counters::new();
        let mut command = match kind {
            Kind::Namespace => {
                let mut command = Command::new("unshare");
                command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(gostorm());
                command
            }
            _ => Command::new(gostorm()),
        };
        command.arg(kind.work()).arg(counters.path());
        if kind == Kind::Filtered {
            command.env("GOSTORM_SECCOMP", "1");
        }
        if kind == Kind::Ends {
            ends_in(&mut command, Duration::from_millis(80) + random.micros(400_000));
        }
        let running = Running::spawn(command);
        // One that is to end may do so before it has gone round once.
        let runs = || counters.get(Word::Progress) > 0 || counters.get(Word::Ended) > 0;
        assert!(eventually(runs), "what {} does not start", kind.name());
        let pid = if kind == Kind::Namespace { only_child(running.pid()) } else { running.pid() };
        let mut target = Target {
            kind,
            body: Body::Own(running),
            counters: Some(counters),
            pid,
            before: Facts::of(pid, has_steady_descriptors(kind)),
            tracer: None,
            interruptions: [0; SLEEPERS],
            known_interruptions: 0,
        };
        if kind == Kind::Traced {
            target.tracer = Some(trace(pid));
        }
        if kind != Kind::Ends {
            target.await_steady_facts();
        }
        target
    }

    /// Its threads may still open what they need.
    fn await_steady_facts(&mut self) {
        let asleep = || threads(self.pid).iter().filter(|thread| thread.state == 'S').count() >= SLEEPERS;
        assert!(self.kind != Kind::Block || eventually(asleep), "its threads do not go to sleep");
        let steady = eventually(|| {
            std::thread::sleep(Duration::from_millis(20));
            let now = Facts::of(self.pid, has_steady_descriptors(self.kind));
            let before = std::mem::replace(&mut self.before, now);
            self.before == before
        });
        assert!(steady, "{} changes all the time", self.kind.name());
    }

    fn counters(&self) -> &Counters {
        match (&self.body, &self.counters) {
            (Body::Lab(lab), _) => &lab.counters,
            (Body::Own(_), counters) => counters.as_ref().unwrap(),
        }
    }

    fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid), signal);
    }

    /// Before gospy starts.
    pub(crate) fn prepare(&mut self) {
        match (&mut self.body, self.kind) {
            (Body::Lab(lab), _) => lab.send_usr1(),
            (Body::Own(_), Kind::Stopped) => self.stop(),
            _ => {}
        }
    }

    fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let stands = || threads(self.pid).iter().all(|thread| thread.state == 'T');
        assert!(eventually(stands), "a SIGSTOP does not stop it: {:?}", threads(self.pid));
    }

    /// After the end of every gospy that read it: what is wrong with it. `stopped` says whether one of them may have
    /// stopped it.
    pub(crate) fn examine(&mut self, stopped: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        match self.kind {
            Kind::Signals => {
                let Body::Lab(lab) = &mut self.body else { unreachable!() };
                let mut tally = Tally::new("signals");
                lab.settle("afterwards", &mut tally);
                wrong.extend(tally.wrong);
            }
            Kind::Ends => return self.examine_end(),
            Kind::Stopped => {
                let stands = || threads(self.pid).iter().all(|thread| thread.state == 'T' && thread.tracer == 0);
                if !eventually(stands) {
                    wrong.push(format!("it was stopped by a signal; its threads are {:?}", threads(self.pid)));
                }
                self.signal(Signal::SIGCONT);
                wrong.extend(self.not_free());
            }
            Kind::Traced => {
                let tracer = self.tracer.as_ref().map_or(0, |tracer| i32::try_from(tracer.0.id()).unwrap());
                let is_its = || threads(self.pid).iter().all(|thread| thread.tracer == tracer);
                if !eventually(is_its) {
                    wrong.push(format!("its tracer is {tracer}; its threads are {:?}", threads(self.pid)));
                }
            }
            _ => wrong.extend(self.not_free()),
        }
        let before = self.counters().get(Word::Progress);
        if !eventually(|| self.counters().get(Word::Progress) > before) {
            wrong.push(format!("it does not go on (it lives: {})", lives(self.pid)));
        }
        wrong.extend(self.changed_facts());
        wrong.extend(self.found_wrong());
        wrong.extend(self.interrupted(stopped));
        wrong
    }

    fn not_free(&self) -> Option<String> {
        (!eventually(|| held(self.pid).is_empty())).then(|| format!("left held: {:?}", held(self.pid)))
    }

    fn changed_facts(&self) -> Option<String> {
        // Amid an exec there is a moment without some of them.
        let mut changes = Vec::new();
        let same = eventually(|| {
            changes = Facts::of(self.pid, has_steady_descriptors(self.kind)).changes(&self.before);
            changes.is_empty()
        });
        (!same).then(|| format!("changed: {}", changes.join("; ")))
    }

    fn found_wrong(&self) -> Option<String> {
        let wrong = self.counters().found_wrong();
        (!wrong.is_empty()).then(|| format!("it found wrong: {wrong:?}"))
    }

    /// System calls that failed with EINTR since the last look.
    fn interrupted(&mut self, stopped: bool) -> Option<String> {
        if self.kind != Kind::Block {
            return None;
        }
        let now = std::array::from_fn(|kind| self.counters().interruptions(kind));
        let before = std::mem::replace(&mut self.interruptions, now);
        let new: Vec<usize> = (0..SLEEPERS).filter(|&kind| now[kind] > before[kind]).collect();
        // docs/freeze.md: a thread that falls asleep between the last look at it and the stop.
        if stopped && new.iter().all(|&kind| kind < INTERRUPTIBLE) {
            self.known_interruptions += new.iter().map(|&kind| now[kind] - before[kind]).sum::<u64>();
            return None;
        }
        (!new.is_empty()).then(|| format!("system calls that failed with EINTR: {new:?}"))
    }

    fn examine_end(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let Body::Own(running) = &mut self.body else { unreachable!() };
        match running.end_within(super::super::look::PATIENCE) {
            None => wrong.push("it does not end".to_owned()),
            Some(status) if status.code() != Some(STATUS) => wrong.push(format!("it ended with {status}")),
            Some(_) => {}
        }
        wrong.extend(ended_as_told(self.counters()));
        wrong.extend(self.found_wrong());
        wrong
    }

    /// At the end: what it counted all the time.
    pub(crate) fn account(self) -> Vec<String> {
        let Body::Lab(lab) = self.body else { return Vec::new() };
        let mut tally = Tally::new("signals");
        lab.account("in the end", &mut tally);
        tally.wrong
    }
}

/// While gospy reads: a target that is stopped is, half of the time, continued and stopped again and again.
pub(crate) fn disturb(kind: Kind, pid: i32, random: &mut Random, is_over: &AtomicBool) {
    if kind != Kind::Stopped || random.once_in(2) {
        return;
    }
    while !is_over.load(Ordering::Relaxed) {
        for signal in [Signal::SIGCONT, Signal::SIGSTOP] {
            let _ = kill(Pid::from_raw(pid), signal);
            std::thread::sleep(random.micros(30_000));
        }
    }
}

/// Whether a program that was to end at a time has done so by itself.
pub(crate) fn ended_as_told(counters: &Counters) -> Option<String> {
    let ended = || counters.get(Word::Ended) == u64::from(STATUS.unsigned_abs()) + 1;
    (!eventually(ended)).then(|| "it did not come to its end".to_owned())
}

/// Descriptors that come and go say nothing.
fn has_steady_descriptors(kind: Kind) -> bool {
    !matches!(kind, Kind::Signals | Kind::Children | Kind::Exec)
}

fn only_child(pid: i32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap_or_else(|_| panic!("the children of {pid} are {children:?}"))
}

/// Somebody else's tracer, that shows nothing.
pub(super) fn trace(pid: i32) -> Killed {
    let mut command = Command::new("strace");
    command.args(["--follow-forks", "--quiet=all", "--trace=none", "--signal=none", "--output=/dev/null", "--attach"]);
    command.arg(pid.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let tracer = Killed(command.spawn().expect("strace is needed for this test"));
    let id = i32::try_from(tracer.0.id()).unwrap();
    assert!(eventually(|| threads(pid).iter().all(|thread| thread.tracer == id)), "strace does not trace it");
    tracer
}
