//! The line above a stack (`goroutineheader`).

use std::fmt::Write as _;

use super::Traceback;
use super::quoted::{needs_quoting, quoted};
use crate::model::{Goroutine, Status};
use crate::report::clean::clean;

impl Traceback<'_> {
    /// The line above a stack: `goroutine 18 [chan receive, 5 minutes, locked to thread]:`.
    #[must_use]
    pub fn header(&self, goroutine: &Goroutine) -> String {
        let mut head = format!("goroutine {}", goroutine.id.0);
        if self.options.system && self.options.minor >= 22 {
            // Writing to a String cannot fail, here and below.
            let _ = write!(head, " gp={}", goroutine.addr);
            let _ = match self.index.thread(goroutine) {
                Some(m) => write!(head, " m={} mp={}", m.id, m.addr),
                None => write!(head, " m=nil"),
            };
        }
        let minutes = self.minutes(goroutine).map(|minutes| format!("{minutes} minutes"));
        let mut bracket = self.bracket_of_group(goroutine, minutes);
        if let Some(labels) = self.labels(goroutine) {
            if self.options.minor >= 27 {
                let _ = write!(bracket, " {{{labels}}}");
            } else {
                bracket.pop();
                let _ = write!(bracket, " labels:{{{labels}}}]");
            }
        }
        let _ = write!(head, " {bracket}:");
        head
    }

    /// For how many minutes it has waited, by the runtime's own stamp, however old that is; `None` below one.
    fn minutes(&self, goroutine: &Goroutine) -> Option<u64> {
        let snapshot = self.index.snapshot();
        let older = snapshot.traceback.as_ref().and_then(|details| details.stamps.get(&goroutine.addr));
        let waited = match older {
            Some(since) => snapshot.monotonic_ns.checked_sub(since.get()),
            None => self.index.since_stamp_ns(goroutine),
        };
        // Leaked ones are not given a time, as their wait is over for good.
        waited.map(|ns| ns / 60_000_000_000).filter(|minutes| *minutes > 0 && goroutine.status != Status::Leaked)
    }

    /// Its labels as the runtime prints them, where it does, or where they were asked for: 1.26 quotes all of
    /// them, later versions those that need it.
    fn labels(&self, goroutine: &Goroutine) -> Option<String> {
        let snapshot = self.index.snapshot();
        if !self.options.labels && !snapshot.traceback.as_ref().is_some_and(|details| details.labels) {
            return None;
        }
        let labels = snapshot.symbols.labels(goroutine.labels?);
        let text = |id| {
            let text = snapshot.symbols.str(id);
            if self.options.minor < 27 || needs_quoting(text) { quoted(text) } else { text.to_owned() }
        };
        let labels: Vec<String> =
            labels.iter().map(|label| format!("{}: {}", text(label.key), text(label.value))).collect();
        (!labels.is_empty()).then(|| labels.join(", "))
    }

    /// What stands in brackets, with `waited` as the time: what members of a group have in common, and so
    /// without labels.
    pub(in crate::report) fn bracket_of_group(&self, goroutine: &Goroutine, waited: Option<String>) -> String {
        let status = match goroutine.status {
            Status::Unknown(_) => "???",
            _ => self.index.state_text(goroutine),
        };
        let mut text = format!("[{}", clean(status));
        if goroutine.status == Status::Leaked {
            text.push_str(" (leaked)");
        }
        if goroutine.scan {
            text.push_str(" (scan)");
        }
        let durable = goroutine.bubble.is_some()
            && goroutine.status == Status::Waiting
            && is_idle_in_synctest(status)
            && !status.ends_with("(durable)");
        if durable {
            text.push_str(" (durable)");
        }
        if let Some(waited) = waited {
            let _ = write!(text, ", {waited}");
        }
        if goroutine.locked {
            text.push_str(", locked to thread");
        }
        if let Some(bubble) = goroutine.bubble {
            let _ = write!(text, ", synctest bubble {bubble}");
        }
        text.push(']');
        text
    }
}

/// `waitReason.isIdleInSynctest` (1.25 on), by text, as the numbers differ.
fn is_idle_in_synctest(reason: &str) -> bool {
    matches!(
        reason,
        "chan receive (nil chan)"
            | "chan send (nil chan)"
            | "select (no cases)"
            | "sleep"
            | "sync.Cond.Wait"
            | "synctest.Run"
            | "synctest.Wait"
            | "coroutine"
            | "chan receive (durable)"
            | "chan send (durable)"
            | "select (durable)"
            | "sync.WaitGroup.Wait (durable)"
    )
}
