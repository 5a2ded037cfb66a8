//! Every part of a freeze is killed or stopped at random moments while signals flow to the target. None
//! may be lost or come twice, and nothing may stay stopped.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::counters::Word;
use super::freezer::{Freezer, Means};
use super::lab::Lab;
use super::look::{PATIENCE, eventually, held, left_behind, lives};
use super::random::Random;
use super::sizes::Sizes;
use super::storms::{Storm, goes_on};
use super::support::{Tally, each};
use super::table::Table;

/// What is done to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// gospy gets a signal that ends it.
    Kill(Signal),
    /// The process that traces is killed, and gospy after it.
    KillTracer,
    /// The process that traces is stopped: the deadline has to end the freeze.
    StopTracer,
    /// gospy is stopped.
    StopGospy,
    /// Both are.
    StopBoth,
}

/// A series of trials with one target.
struct Series {
    name: &'static str,
    means: [Means; 2],
    faults: &'static [Fault],
    trials: usize,
}

const KILLS: &[Fault] =
    &[Fault::Kill(Signal::SIGKILL), Fault::Kill(Signal::SIGINT), Fault::Kill(Signal::SIGTERM), Fault::KillTracer];
const STOPS: &[Fault] = &[Fault::StopTracer, Fault::StopGospy, Fault::StopBoth];

/// How many times the trials of a series there may be, to have enough of them amid a freeze.
const MOST_TIMES: usize = 10;

/// What a series came to.
#[derive(Default)]
struct Score {
    /// Kills or stops that were injected.
    faults: usize,
    /// Those that were injected while the target was traced.
    amid: usize,
    /// Those of the tracer, where that is a process of its own.
    tracers: usize,
    freezes: u64,
    /// The longest time from a stop of who holds the target until the target went on.
    longest: Duration,
}

struct Trial<'a> {
    lab: &'a mut Lab,
    random: &'a mut Random,
    score: &'a mut Score,
    tally: &'a mut Tally,
    what: String,
}

fn send(pid: i32, signal: Signal) {
    // ESRCH: it ended a moment ago.
    let _ = kill(Pid::from_raw(pid), signal);
}

impl Trial<'_> {
    /// One freezer and one fault. False when the target is of no use any more.
    fn run(mut self, means: Means, fault: Fault) -> bool {
        self.lab.forget_changes();
        self.lab.counters.set(Word::Freezes, 0);
        let mut freezer = Freezer::start(means, self.lab.pid(), &self.lab.counters);
        if !self.await_tracing(&mut freezer) {
            // On a machine with other work to do, a whole freeze may pass between two looks.
            if let Some(status) = freezer.ended() {
                let fair = matches!(status.code(), Some(0 | 1));
                self.tally.holds(format!("{}: gospy ended with {status}", self.what), fair);
            }
            self.score.freezes += self.lab.counters.get(Word::Freezes);
            return self.lab.settle(&self.what, self.tally);
        }
        let stopped = self.wait_and_signal(means);
        let was_injected = self.inject(fault, &mut freezer);
        if matches!(fault, Fault::Kill(_)) || !means.is_program() {
            drop(freezer);
        } else if let Some(status) = freezer.end_by_itself() {
            // It has lost a tracer, and may try again or say so.
            let fair = !was_injected || matches!(status.code(), Some(0 | 1));
            self.tally.holds(format!("{}: gospy ended with {status}", self.what), fair);
        } else {
            self.tally.wrong(format!("{}: gospy does not end", self.what));
        }
        self.score.freezes += self.lab.counters.get(Word::Freezes);
        if stopped {
            self.lab.await_stop(&self.what, self.tally);
            self.lab.send_cont();
            self.lab.await_continuation(&self.what, self.tally);
        }
        self.lab.settle(&self.what, self.tally)
    }

    /// Waits until the target is traced; false when the freezer ended before that was seen.
    fn await_tracing(&mut self, freezer: &mut Freezer) -> bool {
        let limit = Instant::now() + PATIENCE;
        loop {
            if freezer.tracer_of(self.lab.pid()).is_some() {
                return true;
            }
            if freezer.ended().is_some() {
                return false;
            }
            if Instant::now() > limit {
                self.tally.wrong(format!("{}: nothing is frozen", self.what));
                return false;
            }
        }
    }

    /// Up to some milliseconds of freezes, in which signals are sent. Whether a SIGSTOP was sent that counts.
    fn wait_and_signal(&mut self, means: Means) -> bool {
        let window = if means.is_program() { 3000 } else { 9000 };
        let start = Instant::now();
        let length = self.random.below(window);
        let end = Duration::from_micros(length);
        let usr1_at = self.random.micros(length);
        let stop_at = (!self.random.once_in(3)).then(|| self.random.micros(length));
        let cont_at = stop_at.filter(|_| self.random.once_in(3)).map(|at| at + self.random.micros(1000));
        let (mut has_usr1, mut has_stop, mut has_cont) = (false, false, false);
        loop {
            let now = start.elapsed();
            if !has_usr1 && now >= usr1_at {
                self.lab.send_usr1();
                has_usr1 = true;
            }
            if !has_stop && stop_at.is_some_and(|at| now >= at) {
                self.lab.send_stop();
                has_stop = true;
            }
            if has_stop && !has_cont && cont_at.is_some_and(|at| now >= at) {
                self.lab.send_cont();
                has_cont = true;
            }
            if now >= end {
                return has_stop && !has_cont;
            }
            std::thread::sleep(Duration::from_micros(30));
        }
    }

    /// Kills or stops, amid a freeze where that can be had. Whether it was injected.
    fn inject(&mut self, fault: Fault, freezer: &mut Freezer) -> bool {
        let pid = self.lab.pid();
        let mut tracer = freezer.tracer_of(pid);
        if !matches!(fault, Fault::Kill(_)) {
            // Between two freezes there is no tracer.
            let limit = Instant::now() + PATIENCE;
            while tracer.is_none() && freezer.ended().is_none() && Instant::now() < limit {
                tracer = freezer.tracer_of(pid);
            }
            if tracer.is_none() {
                return false;
            }
            std::thread::sleep(self.random.micros(400));
        }
        let own = tracer.filter(|&tracer| tracer != freezer.pid);
        self.score.faults += 1;
        self.score.amid += usize::from(tracer.is_some());
        self.score.tracers += usize::from(own.is_some() && !matches!(fault, Fault::Kill(_) | Fault::StopGospy));
        match fault {
            Fault::Kill(signal) => send(freezer.pid, signal),
            Fault::KillTracer => {
                send(own.unwrap_or(freezer.pid), Signal::SIGKILL);
                std::thread::sleep(self.random.micros(1500));
            }
            Fault::StopTracer => {
                send(own.unwrap_or(freezer.pid), Signal::SIGSTOP);
                self.await_release(tracer);
                let freezes = self.lab.counters.get(Word::Freezes);
                // With a tracer of its own stopped, gospy itself has to go on.
                let goes_on = || self.lab.counters.get(Word::Freezes) > freezes || freezer.ended().is_some();
                let goes_on = eventually(goes_on);
                self.tally.holds(format!("{}: gospy does not go on", self.what), goes_on);
            }
            Fault::StopGospy => {
                send(freezer.pid, Signal::SIGSTOP);
                self.await_release(tracer);
                send(freezer.pid, Signal::SIGCONT);
            }
            Fault::StopBoth => {
                send(freezer.pid, Signal::SIGSTOP);
                if let Some(own) = own {
                    send(own, Signal::SIGSTOP);
                }
                self.await_release(tracer);
                send(freezer.pid, Signal::SIGCONT);
            }
        }
        true
    }

    /// Who holds the target is stopped; the target must not be held for long. A new tracer of a gospy that
    /// is not stopped may hold it again by then.
    fn await_release(&mut self, tracer: Option<i32>) {
        let pid = self.lab.pid();
        let start = Instant::now();
        let tracer = tracer.unwrap_or_default();
        let by_it = || held(pid).iter().any(|t| t.tracer != 0 && super::look::number(t.tracer, "Tgid") == Some(tracer));
        let free = eventually(|| !by_it());
        let took = start.elapsed();
        self.score.longest = self.score.longest.max(took);
        self.tally
            .holds(format!("{}: held for {took:?} by who is stopped (it lives: {})", self.what, lives(pid)), free);
    }
}

fn run(series: &[Series], title: &str) {
    let table = Table::new(&[
        "series",
        "faults",
        "during a freeze",
        "in the tracer",
        "freezes",
        "RT (lost/doubled)",
        "USR1",
        "CONT",
        "CHLD",
        "STOP",
        "ticks",
        "diff",
        "left stopped",
        "longest stop ms",
    ]);
    let tally = each(
        series,
        |series| series.name.to_owned(),
        |series, tally| {
            let mut lab = Lab::start();
            let mut random = Random::new(series.name);
            let mut score = Score::default();
            // A short freeze may be over before it was seen: what is asked for below is had by more trials.
            let enough = |score: &Score| score.amid * 5 >= series.trials;
            for number in 0..series.trials * MOST_TIMES {
                if number >= series.trials && enough(&score) {
                    break;
                }
                let means = series.means[usize::from(random.once_in(3))];
                let fault = series.faults[number % series.faults.len()];
                let what = format!("trial {number}, {means:?}, {fault:?}");
                let trial = Trial { lab: &mut lab, random: &mut random, score: &mut score, tally: &mut *tally, what };
                if !trial.run(means, fault) {
                    break;
                }
            }
            let account = lab.account(series.name, tally);
            table.add(
                series.name,
                &[
                    &score.faults,
                    &score.amid,
                    &score.tracers,
                    &score.freezes,
                    &account.values,
                    &account.usr1,
                    &account.cont,
                    &account.children,
                    &account.stops,
                    &account.ticks_due,
                    &account.ticks_diff,
                    &account.left_stopped,
                    &score.longest.as_millis(),
                ],
            );
            tally.equal("left behind", Vec::<i32>::new(), left_behind());
            tally.holds(format!("only {} of {} faults came during a freeze", score.amid, score.faults), enough(&score));
        },
    );
    table.print(title);
    tally.check(series.iter().map(|series| series.trials).sum());
}

#[test]
fn no_signal_is_lost_when_a_freeze_is_killed() {
    let sizes = Sizes::get();
    let library = [Means::LibraryAll, Means::LibraryOneByOne];
    let program = [Means::ProgramAll, Means::ProgramRunning];
    run(
        &[
            Series { name: "library, first", means: library, faults: KILLS, trials: sizes.kills / 2 },
            Series { name: "library, second", means: library, faults: KILLS, trials: sizes.kills - sizes.kills / 2 },
            Series { name: "program", means: program, faults: KILLS, trials: sizes.program_kills },
        ],
        "Kills",
    );
}

/// The same faults while the target changes all the time; it counts no signals then.
#[test]
fn storms_go_on_when_a_freeze_is_killed() {
    const STORMS: [Storm; 4] = [Storm::C("exec"), Storm::C("all"), Storm::Go("exec"), Storm::Go("all")];
    let trials = Sizes::get().storm_kills;
    let table = Table::new(&["storm", "kills", "during a freeze", "in the tracer", "freezes"]);
    let tally = each(
        &STORMS,
        |storm| storm.name(),
        |storm, tally| {
            let (target, counters) = storm.start();
            let pid = target.pid();
            let mut random = Random::new(&format!("kills of {}", storm.name()));
            let mut score = Score::default();
            for number in 0..trials {
                counters.set(Word::Freezes, 0);
                let mut freezer = Freezer::start(Means::LibraryAll, pid, &counters);
                let limit = Instant::now() + PATIENCE;
                while freezer.tracer_of(pid).is_none() && Instant::now() < limit && freezer.ended().is_none() {}
                std::thread::sleep(random.micros(9000));
                let tracer = freezer.tracer_of(pid);
                let own = tracer.filter(|&tracer| tracer != freezer.pid);
                score.faults += 1;
                score.amid += usize::from(tracer.is_some());
                match KILLS[number % KILLS.len()] {
                    Fault::Kill(signal) => send(freezer.pid, signal),
                    _ => {
                        if let Some(own) = own {
                            send(own, Signal::SIGKILL);
                            score.tracers += 1;
                        }
                        std::thread::sleep(random.micros(1500));
                    }
                }
                drop(freezer);
                score.freezes += counters.get(Word::Freezes);
                tally.compared += 1;
                if !goes_on(pid, &counters, &format!("kill {number}"), tally) {
                    break;
                }
            }
            table.add(&storm.name(), &[&score.faults, &score.amid, &score.tracers, &score.freezes]);
            tally.equal("left behind", Vec::<i32>::new(), left_behind());
        },
    );
    table.print("Kills amid storms");
    tally.check(STORMS.len() * trials);
}

#[test]
fn the_deadline_ends_a_freeze_whose_parts_are_stopped() {
    let trials = Sizes::get().stops * STOPS.len();
    let means = [Means::LibraryAll, Means::LibraryOneByOne];
    run(&[Series { name: "library, stopped", means, faults: STOPS, trials }], "Stops of who freezes");
}
