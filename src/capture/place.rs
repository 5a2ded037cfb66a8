//! Which frame of a stack a person wants to see: the first that is not the runtime's.

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

/// Whether code is the runtime's: by the name of its package, or because its source is in the
/// runtime's directory (`time.Sleep` and `sync.runtime_Semacquire` are written there and only bear
/// other packages' names).
fn is_runtime(function: &str, file: &str) -> bool {
    let by_name =
        ["runtime.", "runtime/internal/", "internal/runtime/"].iter().any(|prefix| function.starts_with(prefix));
    let Some((dir, _)) = file.rsplit_once('/') else { return by_name };
    // The second form is what -trimpath leaves.
    by_name || dir.ends_with("/src/runtime") || dir == "runtime"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_told_by_name_or_by_directory() {
        assert!(is_runtime("runtime.gopark", "/usr/lib/go/src/runtime/proc.go"));
        assert!(is_runtime("time.Sleep", "runtime/time.go"));
        assert!(is_runtime("internal/runtime/syscall.Syscall6", "internal/runtime/syscall/asm.s"));
        assert!(!is_runtime("sync.(*Mutex).Lock", "/usr/lib/go/src/sync/mutex.go"));
        assert!(!is_runtime("k8s.io/util/runtime.Must", "k8s.io/util/runtime/runtime.go"));
        assert!(!is_runtime("main.main", "main.go"));
    }
}
