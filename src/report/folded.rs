//! Folded stacks, for flame graph tools: one line a stack, root first, `;` between, and a count.

use std::collections::BTreeMap;
use std::io::{self, Write};

use rustc_hash::FxHashMap;

use super::clean::clean;
use crate::analysis::Index;
use crate::go_names::{minor_of, printed};
use crate::model::{FrameId, NotShown, StackState};

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
    // Stacks that differ in addresses only are one line.
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for (key, count) in stacks {
        let line = match key {
            Ok(stack) => known(index, stack, system),
            Err((start, stack)) => format!("{};{}", name(index, start), why(stack)),
        };
        *lines.entry(line).or_default() += count;
    }
    for (line, count) in lines {
        writeln!(out, "{line} {count}")?;
    }
    Ok(())
}

fn known(index: &Index<'_>, stack: StackState, system: bool) -> String {
    let StackState::Known(id) = stack else { return String::new() };
    let frames = index.snapshot().symbols.stack(id).map_or(&[][..], |stack| &stack.frames);
    let all = system || frames.iter().all(|frame| frame.hidden);
    let shown = frames.iter().rev().filter(|frame| all || !frame.hidden);
    shown.map(|frame| name(index, Some(frame.frame))).collect::<Vec<_>>().join(";")
}

fn name(index: &Index<'_>, frame: Option<FrameId>) -> String {
    let function = index.function(frame);
    if function.is_empty() {
        return "[unknown]".to_owned();
    }
    let minor = minor_of(&index.snapshot().target.go_version).unwrap_or(u32::MAX);
    clean(&printed(function, minor)).replace(';', ":")
}

fn why(stack: StackState) -> &'static str {
    match stack {
        StackState::Known(_) => "",
        StackState::NotShown(NotShown::Running) => "[running]",
        StackState::NotShown(NotShown::Moving) => "[moving]",
        StackState::NotShown(NotShown::Unreadable) => "[unreadable]",
        StackState::NotShown(NotShown::NoStack) => "[no stack]",
        StackState::NotShown(NotShown::NotAsked) => "[not read]",
    }
}
