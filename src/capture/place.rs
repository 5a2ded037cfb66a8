//! Which frame of a stack a person wants to see: the first that is not the runtime's.

use crate::go_names::is_runtime;
use crate::model::{FrameId, StackId, SymbolPool};

/// The frames of a stack that stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The innermost of all.
    pub(super) innermost: Option<FrameId>,
    /// The innermost that is not the runtime's; the innermost of all where the runtime has all.
    pub(super) current: Option<FrameId>,
    /// Whether any frame is not the runtime's.
    pub(super) runs_user_code: bool,
}

/// Chooses the frames that stand for `stack`.
pub(super) fn places(pool: &SymbolPool, stack: StackId) -> Places {
    let frames = pool.stack(stack).map_or(&[][..], |stack| &stack.frames);
    let innermost = frames.first().map(|frame| frame.frame);
    let user = frames
        .iter()
        .map(|frame| frame.frame)
        .find(|&frame| pool.frame(frame).is_some_and(|f| !is_runtime(pool.str(f.function), pool.str(f.file))));
    Places { innermost, current: user.or(innermost), runs_user_code: user.is_some() }
}
