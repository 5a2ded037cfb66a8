//! Goroutines that are blocked forever.

use super::{Finding, Seen};

/// A send to a nil channel, or a receive from one, blocks forever (Go specification, "Send statements" and
/// "Receive operator"). The runtime parks such a goroutine without any way to find it again (`chansend` and
/// `chanrecv` in chan.go; 1.19 to 1.27).
#[derive(Debug)]
pub(super) struct NilChannel;

impl Finding for NilChannel {
    fn code(&self) -> &'static str {
        "nil_channel"
    }

    fn one(&self) -> &'static str {
        "is blocked forever on a nil channel"
    }

    fn many(&self) -> &'static str {
        "are blocked forever on nil channels"
    }

    fn meaning(&self) -> &'static str {
        "The channel was never made, was set to nil, or is the Done channel of a context that cannot be cancelled."
    }

    fn names(&self, goroutine: &Seen<'_>) -> bool {
        matches!(goroutine.reason, Some("chan receive (nil chan)" | "chan send (nil chan)"))
    }
}

/// A select without cases blocks forever (Go specification, "Select statements"; `block` in select.go; 1.19
/// to 1.27). In the main goroutine that is the usual way to keep a program alive, and not reported.
#[derive(Debug)]
pub(super) struct EmptySelect;

/// The goroutine that runs `main.main` is the first one in every Go program.
const MAIN: u64 = 1;

impl Finding for EmptySelect {
    fn code(&self) -> &'static str {
        "empty_select"
    }

    fn one(&self) -> &'static str {
        "is blocked forever in a select without cases"
    }

    fn many(&self) -> &'static str {
        "are blocked forever in selects without cases"
    }

    fn meaning(&self) -> &'static str {
        "`select {}` never ends; what the goroutine references is never freed."
    }

    fn names(&self, goroutine: &Seen<'_>) -> bool {
        goroutine.id != MAIN && goroutine.reason == Some("select (no cases)")
    }
}

/// The program's own collector has found that nothing that still runs can reach what the goroutine
/// waits on (`_Gleaked`, 1.26 on, in programs that write a goroutine leak profile).
#[derive(Debug)]
pub(super) struct Leaked;

impl Finding for Leaked {
    fn code(&self) -> &'static str {
        "leaked"
    }

    fn one(&self) -> &'static str {
        "has leaked: the program's own GC found that nothing can wake it"
    }

    fn many(&self) -> &'static str {
        "have leaked: the program's own GC found that nothing can wake them"
    }

    fn meaning(&self) -> &'static str {
        "No goroutine that can still run has a reference to what it waits on."
    }

    fn names(&self, goroutine: &Seen<'_>) -> bool {
        goroutine.state == "leaked"
    }
}
