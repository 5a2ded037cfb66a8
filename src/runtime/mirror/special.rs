//! `runtime.special`: what is attached to an object of the heap (finalizers, weak pointers, cleanups), and the
//! queues in which finalizers and cleanups wait to be called.

use super::{FromMemory as _, mirror};

mirror! {
    /// A `runtime.special` (mheap.go) as it is in memory; what it holds follows it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Special, SpecialLayout of "runtime.special" {
        /// `next`: the next one of the same span; 0 for none.
        next: u64 = "next",
        /// `kind`; its numbers differ between versions.
        kind: u8 = "kind",
    }
    offsets { offset_at = "offset", kind_at = "kind" }
}

impl SpecialLayout {
    /// How far the object is from the start of its span, bytes: two bytes to 1.23, a word from 1.24 on.
    #[must_use]
    pub(crate) fn offset(&self, bytes: &[u8]) -> Option<u64> {
        match self.kind_at.checked_sub(self.offset_at)? {
            2 => u16::from_memory(bytes, self.offset_at).map(u64::from),
            8 => u64::from_memory(bytes, self.offset_at),
            _ => None,
        }
    }
}

/// What a special is, as far as it makes the collector keep something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpecialKind {
    /// A finalizer: its closure is kept, and what the object points to, but not the object.
    Finalizer,
    /// A handle of weak pointers: the handle is kept, and not the object.
    WeakHandle,
    /// A cleanup: its closure is kept.
    Cleanup,
    /// One that keeps nothing.
    Other,
}

impl SpecialKind {
    /// By its number in Go 1.`minor` (`_KindSpecial…` in runtime/mheap.go).
    #[must_use]
    pub(crate) const fn of(kind: u8, minor: u32) -> Self {
        match (minor, kind) {
            (..=24, 1) | (25.., 2) => Self::Finalizer,
            (23..=24, 2) | (25.., 3) => Self::WeakHandle,
            (24, 6) | (25.., 7) => Self::Cleanup,
            _ => Self::Other,
        }
    }
}

mirror! {
    /// A `runtime.finBlock` (mfinal.go; 1.25 on) as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct FinBlock, FinBlockLayout of "runtime.finBlock" {
        /// `alllink`: the next of all blocks.
        all_link: u64 = "alllink",
        /// `cnt`: how many finalizers are in it.
        count: u32 = "cnt",
    }
    offsets { first = "fin" }
}

mirror! {
    /// A `runtime.finblock` (mfinal.go; to 1.24) as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct OldFinBlock, OldFinBlockLayout of "runtime.finblock" {
        /// `alllink`: the next of all blocks.
        all_link: u64 = "alllink",
        /// `cnt`: how many finalizers are in it.
        count: u32 = "cnt",
    }
    offsets { first = "fin" }
}

mirror! {
    /// A `runtime.finalizer` that is to be called (mfinal.go): the words of it that are pointers.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Finalizer, FinalizerLayout of "runtime.finalizer" {
        /// `fn`: the closure.
        function: u64 = "fn",
        /// `arg`: the object.
        object: u64 = "arg",
        /// `fint`: the type of the argument.
        argument_type: u64 = "fint",
        /// `ot`: the type of the object.
        object_type: u64 = "ot",
    }
}

mirror! {
    /// `runtime.gcCleanups` (mcleanup.go; 1.25 on).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct CleanupQueue, CleanupQueueLayout of "runtime.cleanupQueue" {}
    offsets { all = "all" }
}

mirror! {
    /// A `runtime.cleanupBlockHeader` (mcleanup.go; 1.25 on); cleanups follow it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct CleanupBlock, CleanupBlockLayout of "runtime.cleanupBlockHeader" {
        /// `alllink`: the next of all blocks.
        all_link: u64 = "alllink",
        /// `n`: how many cleanups are in it.
        count: u32 = "n",
    }
}
