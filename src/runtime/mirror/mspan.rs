//! `runtime.mspan`: a run of pages with objects of one size.

use super::{FromMemory as _, mirror};

mirror! {
    /// What is read of a `runtime.mspan` (mheap.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Mspan, MspanLayout of "runtime.mspan" {
        /// `allocCount`: objects in use.
        alloc_count: u16 = "allocCount",
        /// `spanclass`: twice the size class, and 1 more where the objects have no pointers.
        spanclass: u8 = "spanclass",
        /// `allocCountBeforeCache`: `allocCount` when a P took it.
        alloc_count_before_cache: u16 = "allocCountBeforeCache",
        /// `elemsize`: size of an object, bytes.
        elemsize: u64 = "elemsize",
    }
}

mirror! {
    /// What the heap is walked by: a `runtime.mspan` as it is in memory (mheap.go).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct HeapSpan, HeapSpanLayout of "runtime.mspan" at addr {
        /// `startAddr`: its first byte.
        start: u64 = "startAddr",
        /// `npages`: its length in pages of the runtime's ([`SPAN_PAGE`]).
        pages: u64 = "npages",
        /// `allocBits`: a bit for each object that was in use after the last sweep.
        alloc_bits: u64 = "allocBits",
        /// `spanclass`: twice the size class, and 1 more where the objects have no pointers.
        span_class: u8 = "spanclass",
        /// `state`: [`SPAN_IN_USE`] for objects of the heap.
        state: u8 = "state",
        /// `elemsize`: size of an object, bytes.
        elem_size: u64 = "elemsize",
        /// `limit`: the end of its last object.
        limit: u64 = "limit",
        /// `specials`: the first of what is attached to its objects; 0 for nothing.
        specials: u64 = "specials",
    }
    optional {
        /// `largeType` (1.22 on): the type of the one object of a span of size class 0.
        large_type: u64 = "largeType",
        /// `isUserArenaChunk` (1.20 on): whether it belongs to an arena that the program frees itself.
        user_arena: bool = "isUserArenaChunk",
    }
    offsets { free_index = "freeindex", elements = "nelems" }
}

/// `pageSize` (runtime/malloc.go; 1.19 to 1.27), bytes.
pub(crate) const SPAN_PAGE: u64 = 8192;
/// `mSpanInUse` (runtime/mheap.go; 1.19 to 1.27): a span with objects of the heap.
pub(crate) const SPAN_IN_USE: u8 = 1;

impl HeapSpanLayout {
    /// Index of the first object that may be free (`freeindex`), and how many objects the span has (`nelems`).
    /// Both are words to 1.21 and two bytes each from 1.22 on; they are next to each other, so
    /// the distance says which.
    #[must_use]
    pub(crate) fn counts(&self, bytes: &[u8]) -> Option<(u64, u64)> {
        match self.elements.checked_sub(self.free_index)? {
            2 => {
                let count = |at| u16::from_memory(bytes, at).map(u64::from);
                Some((count(self.free_index)?, count(self.elements)?))
            }
            8 => Some((u64::from_memory(bytes, self.free_index)?, u64::from_memory(bytes, self.elements)?)),
            _ => None,
        }
    }
}
