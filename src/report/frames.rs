//! A stack as the names of its frames, root first, for flame graphs and what they are made of.

use super::clean::clean;
use crate::go_names::{minor_of, printed};
use crate::model::{FrameId, Language, NotShown, StackState, SymbolPool};

/// Names frames of one program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames<'a> {
    symbols: &'a SymbolPool,
    minor: u32,
    system: bool,
}

impl<'a> Frames<'a> {
    /// For a program of this version of Go. Frames that a normal traceback hides are left out unless `system` is
    /// set, or a stack has no others.
    pub(crate) fn new(symbols: &'a SymbolPool, go_version: &str, system: bool) -> Self {
        Self { symbols, minor: minor_of(go_version).unwrap_or(u32::MAX), system }
    }

    /// The frames of a stack, root first; `None` stands for what is known instead of a stack, which
    /// [`why`] says.
    pub(crate) fn of(&self, stack: StackState, start: Option<FrameId>) -> Vec<Option<FrameId>> {
        let StackState::Known(id) = stack else { return vec![start, None] };
        let frames = self.symbols.stack(id).map_or(&[][..], |stack| &stack.frames);
        let all = self.system || frames.iter().all(|frame| frame.hidden);
        frames.iter().rev().filter(|frame| all || !frame.hidden).map(|frame| Some(frame.frame)).collect()
    }

    /// A stack as one line, root first, `;` between.
    pub(crate) fn line(&self, stack: StackState, start: Option<FrameId>) -> String {
        let frames = self.of(stack, start);
        let last = frames.len().saturating_sub(1);
        let names = frames.into_iter().enumerate().map(|(at, frame)| match frame {
            None if at == last => why(stack).to_owned(),
            frame => self.name(frame),
        });
        names.collect::<Vec<_>>().join(";")
    }

    /// A function, as the runtime prints it, and without a `;`.
    pub(crate) fn name(&self, frame: Option<FrameId>) -> String {
        let frame = frame.and_then(|frame| self.symbols.frame(frame));
        match frame.map(|frame| (self.symbols.str(frame.function), frame.language)) {
            None | Some(("", _)) => "[unknown]".to_owned(),
            // What is in brackets there are no type arguments.
            Some((function, Language::Foreign)) => clean(function).replace(';', ":"),
            Some((function, Language::Go)) => clean(&printed(function, self.minor)).replace(';', ":"),
        }
    }
}

/// What is known of a goroutine instead of its stack.
pub(crate) fn why(stack: StackState) -> &'static str {
    match stack {
        StackState::Known(_) => "",
        StackState::NotShown(NotShown::Running) => "[running]",
        StackState::NotShown(NotShown::Moving) => "[moving]",
        StackState::NotShown(NotShown::Unreadable) => "[unreadable]",
        StackState::NotShown(NotShown::NoStack) => "[no stack]",
        StackState::NotShown(NotShown::NotAsked) => "[not read]",
    }
}
