//! Goroutines of which a mark of the heap says that they never wake. No snapshot alone shows them: they are found
//! by [`crate::heap`], and only named here.

use super::{Finding, Seen};

/// Leaked: nothing that can still run can reach what it waits for.
#[derive(Debug)]
pub(super) struct NeverWakes;

impl Finding for NeverWakes {
    fn code(&self) -> &'static str {
        "never_wakes"
    }

    fn one(&self) -> &'static str {
        "can never wake"
    }

    fn many(&self) -> &'static str {
        "can never wake"
    }

    fn meaning(&self) -> &'static str {
        "Nothing that can still run can reach what is waited for: it is leaked."
    }

    fn names(&self, _: &Seen<'_>) -> bool {
        false
    }
}

/// Leaked goroutines that only each other could wake.
#[derive(Debug)]
pub(super) struct Deadlock;

impl Finding for Deadlock {
    fn code(&self) -> &'static str {
        "deadlock"
    }

    fn one(&self) -> &'static str {
        "waits for itself; nothing else can wake it"
    }

    fn many(&self) -> &'static str {
        "wait for each other; nothing else can wake them"
    }

    fn meaning(&self) -> &'static str {
        "What each of them waits for can be reached by the others only."
    }

    fn names(&self, _: &Seen<'_>) -> bool {
        false
    }
}
