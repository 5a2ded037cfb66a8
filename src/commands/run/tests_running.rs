//! Which tests a test binary was running, from the stacks of its goroutines.
//!
//! Every test, subtest, benchmark and fuzz target runs in a goroutine below a function of package
//! `testing` which calls it (`tRunner`, `(*B).runN`, `fRunner`; testing.go, benchmark.go and fuzz.go, Go
//! 1.18 to 1.27): the frame that it calls is the test. One that waits for its turn, in
//! `(*T).Parallel`, does not run; one in `(*T).Run` waits for a subtest. The names of subtests are not
//! on a stack, their functions are.

use crate::analysis::group::Line;
use crate::analysis::{Index, PlaceKind};
use crate::model::{Snapshot, StackState};
use crate::report::clean::clean;
use crate::report::units::duration;

/// What calls a test.
const RUNNERS: &[&str] = &["testing.tRunner", "testing.(*B).runN", "testing.fRunner"];
/// Below these a test waits for others.
const NOT_RUNNING: &[&str] = &["testing.(*T).Parallel", "testing.(*T).Run", "testing.(*F).Fuzz", "testing.(*B).run"];

/// A line for each test that was running: its function, and what its goroutine does.
pub(super) fn tests_running(snapshot: &Snapshot) -> Vec<String> {
    let index = Index::new(snapshot);
    let mut tests = Vec::new();
    for goroutine in &snapshot.goroutines {
        let StackState::Known(stack) = goroutine.stack else { continue };
        let frames = snapshot.symbols.stack(stack).map_or(&[][..], |stack| &stack.frames);
        let function = |at: usize| frames.get(at).map_or("", |frame| snapshot.symbols.function(frame.frame));
        let Some(runner) = (1..frames.len()).find(|&at| RUNNERS.contains(&function(at))) else { continue };
        let test = function(runner - 1);
        // What it calls when the test has returned waits for subtests.
        if test.is_empty() || test.starts_with("testing.") || (0..runner).any(|at| NOT_RUNNING.contains(&function(at)))
        {
            continue;
        }
        let state = index.reason(goroutine).unwrap_or(goroutine.status.name());
        let wait = index.wait_ns(goroutine).map(|ns| format!(" for at least {}", duration(ns))).unwrap_or_default();
        let mut line = format!("{} (goroutine {}, {state}{wait}", clean(test), goroutine.id.0);
        if let Some(at) =
            index.place(goroutine, PlaceKind::Current).frame().and_then(|frame| Line::of(&snapshot.symbols, frame))
        {
            line.push_str(&format!(", at {}:{}", clean(snapshot.symbols.str(at.file)), at.line));
        }
        line.push(')');
        tests.push(line);
    }
    tests.sort();
    tests
}
