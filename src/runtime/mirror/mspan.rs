//! `runtime.mspan`: a run of pages with objects of one size.

use super::mirror;

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
