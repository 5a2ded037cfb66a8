//! The program is dying.

use super::{Finding, Seen};

/// A goroutine is in a function of the runtime that never returns: an unrecovered panic (`fatalpanic`) or an
/// error that the runtime does not survive (`throw`, `fatal`). A panic that may still be recovered (`gopanic`
/// alone) is not meant. Seen in core files of crashed programs, and in running ones only when they are
/// stopped, since such a goroutine is running (runtime/panic.go, 1.19 to 1.27).
#[derive(Debug)]
pub(super) struct FatalError;

/// Its code.
pub(super) const CODE: &str = "fatal_error";

const LAST_FUNCTIONS: &[&str] = &["runtime.fatalpanic", "runtime.fatalthrow", "runtime.throw", "runtime.fatal"];

impl Finding for FatalError {
    fn code(&self) -> &'static str {
        CODE
    }

    fn one(&self) -> &'static str {
        "is ending the program: an unrecovered panic or a fatal error"
    }

    fn many(&self) -> &'static str {
        "are ending the program: unrecovered panics or fatal errors"
    }

    fn meaning(&self) -> &'static str {
        "The function that panicked follows the runtime's functions on its stack."
    }

    fn names(&self, goroutine: &Seen<'_>) -> bool {
        goroutine.state == "running" && goroutine.functions().any(|function| LAST_FUNCTIONS.contains(&function))
    }
}
