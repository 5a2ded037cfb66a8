//! Folded stacks, for flame graph tools: one line a stack, root first, `;` between, and a count.

use std::collections::BTreeMap;
use std::io::{self, Write};

use rustc_hash::FxHashMap;

use super::frames::Frames;
use crate::analysis::Index;
use crate::model::{FrameId, StackState};

/// Writes the stacks of the goroutines at `positions`, in alphabetical order. Frames that a normal
/// traceback hides are left out unless `system` is set. A goroutine whose stack is not known
/// counts below its start function, as `[running]` or what else is known.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, index: &Index<'_>, positions: &[usize], system: bool) -> io::Result<()> {
    let snapshot = index.snapshot();
    let mut stacks: FxHashMap<Result<StackState, (Option<FrameId>, StackState)>, u64> = FxHashMap::default();
    for goroutine in positions.iter().filter_map(|&at| snapshot.goroutines.get(at)) {
        let key = match goroutine.stack {
            StackState::Known(_) => Ok(goroutine.stack),
            StackState::NotShown(_) => Err((goroutine.start, goroutine.stack)),
        };
        *stacks.entry(key).or_default() += 1;
    }
    let frames = Frames::new(&snapshot.symbols, &snapshot.target.go_version, system);
    // Stacks that differ in addresses only are one line.
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for (key, count) in stacks {
        let line = match key {
            Ok(stack) => frames.line(stack, None),
            Err((start, stack)) => frames.line(stack, start),
        };
        *lines.entry(line).or_default() += count;
    }
    for (line, count) in lines {
        writeln!(out, "{line} {count}")?;
    }
    Ok(())
}
