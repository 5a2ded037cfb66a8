//! `runtime.sudog`: a goroutine in a queue.

use super::mirror;
use crate::bytes::FieldsExt as _;

mirror! {
    /// What is read of a `runtime.sudog` (runtime2.go), as it is in memory, but for two fields that have moved
    /// within themselves: see [`SudogLayout::elem`] and [`SudogLayout::channel`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Sudog, SudogLayout of "runtime.sudog" {
        /// `g`: address of the goroutine.
        g: u64 = "g",
        /// `next`: the next in the queue of a channel or of a `sync.Cond`.
        next: u64 = "next",
        /// `isSelect`: whether it stands for one case of a `select`.
        is_select: bool = "isSelect",
        /// `waitlink`: the goroutine's next one, for the next case of a `select`.
        waitlink: u64 = "waitlink",
    }
    offsets { elem_at = "elem", acquiretime_at = "acquiretime", c_at = "c" }
}

impl SudogLayout {
    /// `elem`, from a sudog's bytes: where the value is that is sent or received; the semaphore that it waits
    /// for, or the `notifyList` (1.26 on).
    #[must_use]
    pub fn elem(&self, bytes: &[u8]) -> Option<u64> {
        pointer(bytes, self.elem_at, self.acquiretime_at)
    }

    /// `c`, from a sudog's bytes: the channel; 0 where it waits for something else.
    #[must_use]
    pub fn channel(&self, bytes: &[u8]) -> Option<u64> {
        pointer(bytes, self.c_at, self.size)
    }
}

/// The pointer between two offsets. From 1.26 on it is a `maybeTraceablePtr` (runtime2.go): the pointer as the
/// collector sees it, which may be nil, and as it is.
fn pointer(bytes: &[u8], at: u32, end: u32) -> Option<u64> {
    let as_it_is = if end.checked_sub(at)? == 16 { at.checked_add(8)? } else { at };
    bytes.u64_at(as_it_is as usize)
}
