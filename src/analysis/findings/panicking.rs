//! Panics whose deferred functions do not return.

use super::{Finding, Seen};

/// A goroutine panicked, and is blocked in a deferred function that the panic runs (`gopanic`,
/// runtime/panic.go, 1.19 to 1.27). Neither was it recovered, nor has the program died: until that function
/// returns, the panic is not printed.
#[derive(Debug)]
pub(super) struct Panicking;

impl Finding for Panicking {
    fn code(&self) -> &'static str {
        "panicking"
    }

    fn one(&self) -> &'static str {
        "is panicking and blocked in a deferred function"
    }

    fn many(&self) -> &'static str {
        "are panicking and blocked in deferred functions"
    }

    fn meaning(&self) -> &'static str {
        "Until the deferred function returns, the panic is neither printed nor recovered."
    }

    fn names(&self, goroutine: &Seen<'_>) -> bool {
        let blocked = matches!(goroutine.state, "waiting" | "syscall" | "leaked");
        blocked && goroutine.panic.is_some() && goroutine.functions().any(|function| function == "runtime.gopanic")
    }

    fn detail<'a>(&self, goroutine: &Seen<'a>) -> Option<&'a str> {
        goroutine.panic
    }
}
