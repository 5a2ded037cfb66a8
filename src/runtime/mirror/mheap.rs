//! `runtime.mheap` and `runtime.heapArena`: what leads to the spans of the heap, and what is kept for each 64 MiB
//! of it.

use super::mirror;

mirror! {
    /// What is read of a `runtime.mheap` (mheap.go); it is too large to be read whole.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Mheap, MheapLayout of "runtime.mheap" {}
    offsets { all_spans = "allspans", arenas = "arenas" }
    optional offsets {
        span_inuse = "spanalloc" . "runtime.fixalloc" . "inuse",
        cache_inuse = "cachealloc" . "runtime.fixalloc" . "inuse",
    }
}

mirror! {
    /// What is read of a `runtime.heapArena` (mheap.go); it is too large to be read whole.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct HeapArena, HeapArenaLayout of "runtime.heapArena" {}
    optional offsets {
        bitmap = "bitmap",
        no_more_pointers = "noMorePtrs",
        inline_marks = "pageUseSpanInlineMarkBits",
    }
}
