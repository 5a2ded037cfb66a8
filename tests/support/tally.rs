//! Counting what was compared, and keeping what was wrong until everything was looked at.

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixture::{Mode, VERSIONS};

/// Comparisons of one program, or of many.
#[derive(Debug, Default)]
pub struct Tally {
    label: String,
    /// How many values were compared.
    pub compared: usize,
    /// What was wrong, a sentence each.
    pub wrong: Vec<String>,
}

impl Tally {
    pub fn new(label: impl Into<String>) -> Tally {
        Tally { label: label.into(), ..Tally::default() }
    }

    /// An empty one of the same name.
    pub fn another(&self) -> Tally {
        Tally::new(self.label.clone())
    }

    pub fn wrong(&mut self, what: impl AsRef<str>) {
        self.wrong.push(format!("{}: {}", self.label, what.as_ref()));
    }

    /// What the program says of itself is what gospy says.
    pub fn equal<T: PartialEq<U> + Debug, U: Debug>(&mut self, what: impl AsRef<str>, own: T, ours: U) {
        self.compared += 1;
        if own != ours {
            self.wrong(format!("{}\n  the program's: {own:?}\n  gospy's:       {ours:?}", what.as_ref()));
        }
    }

    /// `ours` is from `low` to `high`, both included.
    pub fn between<T: PartialOrd + Debug>(&mut self, what: impl AsRef<str>, low: T, ours: T, high: T) {
        self.compared += 1;
        if !(low <= ours && ours <= high) {
            self.wrong(format!("{} is {ours:?}, which is not from {low:?} to {high:?}", what.as_ref()));
        }
    }

    pub fn holds(&mut self, what: impl AsRef<str>, condition: bool) {
        self.compared += 1;
        if !condition {
            self.wrong(what);
        }
    }

    pub fn add(&mut self, other: Tally) {
        self.compared += other.compared;
        self.wrong.extend(other.wrong);
    }

    /// The end of a test: nothing was wrong, and something was compared at all.
    pub fn check(self, at_least: usize) {
        println!("{} values compared", self.compared);
        assert!(
            self.wrong.is_empty(),
            "{} of {} values are wrong:\n{}",
            self.wrong.len(),
            self.compared,
            self.wrong[..self.wrong.len().min(4000)].join("\n")
        );
        assert!(self.compared >= at_least, "only {} values were compared", self.compared);
    }
}

/// Runs `test` for every version and mode, as many at a time as there are processors.
pub fn matrix(modes: &[Mode], test: impl Fn(&str, Mode, &mut Tally) + Sync) -> Tally {
    let cells: Vec<(&str, Mode)> = VERSIONS.iter().flat_map(|v| modes.iter().map(move |m| (*v, *m))).collect();
    each(
        &cells,
        |(version, mode)| format!("{version} {}", mode.name()),
        |(version, mode), tally| {
            test(version, *mode, tally);
        },
    )
}

/// Runs `test` for every item, as many at a time as there are processors.
pub fn each<T: Sync>(items: &[T], label: impl Fn(&T) -> String + Sync, test: impl Fn(&T, &mut Tally) + Sync) -> Tally {
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut tally = Tally::new(label(item));
                    test(item, &mut tally);
                    sum.lock().unwrap().add(tally);
                }
            });
        }
    });
    sum.into_inner().unwrap()
}
