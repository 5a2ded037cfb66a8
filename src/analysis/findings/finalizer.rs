//! Finalizers and cleanups that block.

use super::{Finding, Seen};

/// The goroutine that runs finalizers, or one of those that run cleanups, has been blocked within one
/// of them for a minute or longer. The runtime has a single goroutine for all finalizers (mfinal.go),
/// so no other one runs meanwhile. It is the program's own goroutine only while it runs such a
/// function (`isSystemGoroutine`).
#[derive(Debug)]
pub(super) struct BlockedFinalizer;

/// `runfinq` was renamed in 1.25; cleanups came in 1.24, and with goroutines of their own in 1.25.
const RUNNERS: &[&str] = &["runtime.runfinq", "runtime.runFinalizers", "runtime.runCleanups"];

impl Finding for BlockedFinalizer {
    fn code(&self) -> &'static str {
        "blocked_finalizer"
    }

    fn one(&self) -> &'static str {
        "has been blocked in a finalizer or cleanup for a minute or longer"
    }

    fn many(&self) -> &'static str {
        "have been blocked in finalizers or cleanups for a minute or longer"
    }

    fn meaning(&self) -> &'static str {
        "One goroutine runs all finalizers: while it is blocked none runs, and what they would free stays allocated."
    }

    fn rests_on_waits(&self) -> bool {
        true
    }

    fn names(&self, goroutine: &Seen<'_>) -> bool {
        goroutine.is_blocked_for_a_minute()
            && RUNNERS.contains(&goroutine.start())
            && goroutine.functions().any(|function| !function.starts_with("runtime."))
    }
}
