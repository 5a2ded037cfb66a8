//! Freezes back to back of programs that change all the time, through the library.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use gospy::process::FreezeWhich;

use super::counters::{Counters, Word};
use super::look::{c_program, eventually, held, left_behind, lives, threads};
use super::outcome::{Outcome, bounded, freeze};
use super::random::Random;
use super::sizes::Sizes;
use super::support::{Fixture, Mode, Running, Tally, each};
use super::table::Table;

/// Which program changes, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Storm {
    C(&'static str),
    Go(&'static str),
}

/// The Go release that the fixture is built with.
pub(crate) const GO: &str = "1.26.6";

const STORMS: [Storm; 11] = [
    Storm::C("exec"),
    Storm::C("exec-leader"),
    Storm::C("exec-crowd"),
    Storm::C("fork"),
    Storm::C("vfork"),
    Storm::C("threads"),
    Storm::C("all"),
    Storm::Go("exec"),
    Storm::Go("fork"),
    Storm::Go("threads"),
    Storm::Go("all"),
];

impl Storm {
    pub(crate) fn name(self) -> String {
        match self {
            Storm::C(what) => format!("C {what}"),
            Storm::Go(what) => format!("Go {what}"),
        }
    }

    /// Whether it becomes another program all the time.
    pub(crate) fn execs(self) -> bool {
        let (Storm::C(what) | Storm::Go(what)) = self;
        what.starts_with("exec") || what == "all"
    }

    /// Starts it, and waits until it is under way.
    pub(crate) fn start(self) -> (Running, Counters) {
        let counters = Counters::new();
        let (program, what) = match self {
            Storm::C(what) => (c_program("storm"), what),
            Storm::Go(what) => (Fixture::build("gostorm", GO, Mode::Cgo), what),
        };
        let mut command = Command::new(program);
        command.arg(what).arg(counters.path());
        let mut running = Running::spawn(command);
        running.wait_ready();
        assert!(eventually(|| counters.get(Word::Progress) > 0), "{} does nothing", self.name());
        (running, counters)
    }
}

/// What became of the freezes of one storm.
#[derive(Default)]
pub(crate) struct Fates {
    pub(crate) frozen: usize,
    pub(crate) exec: usize,
    pub(crate) moved: usize,
    pub(crate) refused: usize,
    pub(crate) wrong: usize,
    pub(crate) longest: Duration,
    /// What was said where there was no answer, without numbers, and how often.
    said: BTreeMap<String, usize>,
}

impl Fates {
    pub(crate) const HEAD: [&str; 8] =
        ["storm", "freezes", "ok", "exec", "sleeper ran", "other error", "wrong", "longest ms"];

    /// Counts what came of one.
    pub(crate) fn note(&mut self, outcome: Outcome, took: Duration, tally: &mut Tally) {
        self.longest = self.longest.max(took);
        match outcome {
            Outcome::Frozen => self.frozen += 1,
            Outcome::Exec => self.exec += 1,
            Outcome::Moved => self.moved += 1,
            Outcome::Refused(text) => {
                self.refused += 1;
                let words = text.lines().next().unwrap_or_default();
                *self.said.entry(words.replace(|c: char| c.is_ascii_digit(), "")).or_default() += 1;
            }
            Outcome::Wrong(what) => {
                self.wrong += 1;
                tally.wrong(what);
            }
        }
        tally.compared += 1;
    }

    pub(crate) fn freezes(&self) -> usize {
        self.frozen + self.exec + self.moved + self.refused + self.wrong
    }

    pub(crate) fn add_to(&self, table: &Table, name: &str) {
        let longest = format!("{:.1}", self.longest.as_secs_f64() * 1e3);
        let Fates { frozen, exec, moved, refused, wrong, .. } = self;
        table.add(name, &[&self.freezes(), frozen, exec, moved, refused, wrong, &longest]);
        for (text, times) in &self.said {
            println!("{name}: {times} times: {text}");
        }
    }
}

/// The target goes on, nobody traces it, and none of its threads is stopped. False when it is of no use
/// any more.
pub(crate) fn goes_on(pid: i32, counters: &Counters, what: &str, tally: &mut Tally) -> bool {
    let before = counters.get(Word::Progress);
    let moves = eventually(|| counters.get(Word::Progress) > before);
    tally.holds(format!("{what}: the target does not go on (it lives: {})", lives(pid)), moves);
    let free = eventually(|| held(pid).is_empty());
    tally.holds(format!("{what}: still held: {:?}", held(pid)), free);
    moves && free
}

#[test]
fn targets_go_on_after_freezes_amid_change() {
    let sizes = Sizes::get();
    let table = Table::new(&Fates::HEAD);
    let tally = each(
        &STORMS,
        |storm| storm.name(),
        |storm, tally| {
            let (target, counters) = storm.start();
            let pid = target.pid();
            let mut random = Random::new(&storm.name());
            let mut fates = Fates::default();
            for number in 0..sizes.freezes {
                let what = format!("freeze {number}");
                // All of them, or one at a time.
                let which = match random.once_in(3).then(|| threads(pid)) {
                    Some(threads) if !threads.is_empty() => {
                        let index = usize::try_from(random.below(threads.len() as u64)).unwrap();
                        FreezeWhich::Threads(vec![threads[index].tid])
                    }
                    _ => FreezeWhich::All,
                };
                let hold = random.micros(1000);
                let call = bounded(pid, || freeze(pid, &which, hold, &counters));
                if call.hung {
                    tally.wrong(format!("{what}, {which:?}: hung until the target was killed"));
                    fates.wrong += 1;
                    break;
                }
                fates.note(call.result, call.took, tally);
                if !goes_on(pid, &counters, &what, tally) {
                    break;
                }
            }
            fates.add_to(&table, &storm.name());
            tally.equal("left behind", Vec::<i32>::new(), left_behind());
            // That freezes succeed, and that they meet what they are tried against.
            let (enough, met) = match storm.execs() {
                true => (fates.frozen * 10 >= sizes.freezes, fates.exec + fates.refused > 0),
                // Sleepers that wake are in the way of some; of Go's, many.
                false => ((fates.frozen + fates.moved) * 2 >= sizes.freezes && fates.frozen * 5 >= sizes.freezes, true),
            };
            let Fates { frozen, moved, .. } = fates;
            tally.holds(format!("{frozen} of {} freezes succeeded, sleepers ran in {moved}", sizes.freezes), enough);
            tally.holds("no freeze met an exec", met || matches!(storm, Storm::C("all") | Storm::Go("all")));
        },
    );
    table.print("Freezes through the library");
    tally.check(STORMS.len() * sizes.freezes);
}
