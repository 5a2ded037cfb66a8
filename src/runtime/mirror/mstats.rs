//! `runtime.mstats` and its parts: what `runtime.ReadMemStats` sums up.

use super::mirror;

mirror! {
    /// What is read of `runtime.memstats` itself (mstats.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct MemStats, MstatsLayout of "runtime.mstats" {
        /// Bytes obtained from the operating system for stacks that threads run on.
        stacks_sys: u64 = "stacks_sys",
        /// The same for mspan structures.
        mspan_sys: u64 = "mspan_sys",
        /// The same for mcache structures.
        mcache_sys: u64 = "mcache_sys",
        /// The same for profiling tables.
        buckhash_sys: u64 = "buckhash_sys",
        /// The same for the collector's metadata.
        gc_misc_sys: u64 = "gcMiscSys",
        /// The same for everything else.
        other_sys: u64 = "other_sys",
        /// When the latest cycle ended, ns since the Unix epoch; 0 before the first.
        last_gc_unix: u64 = "last_gc_unix",
        /// Time that the world was stopped by cycles, ns.
        pause_total_ns: u64 = "pause_total_ns",
        /// Cycles completed.
        numgc: u32 = "numgc",
        /// Of them, asked for.
        numforcedgc: u32 = "numforcedgc",
        /// Share of CPU time that the collector took.
        gc_cpu_fraction: f64 = "gc_cpu_fraction",
        /// Whether collection is on.
        enablegc: bool = "enablegc",
    }
    optional {
        /// When the latest cycle ended, ns by `nanotime`.
        last_gc_nanotime: u64 = "last_gc_nanotime",
    }
    offsets { heap_stats = "heapStats", pause_ns = "pause_ns", pause_end = "pause_end" }
}

mirror! {
    /// `runtime.consistentHeapStats` (mstats.go): [`DELTAS`] deltas, of which no field is read here.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ConsistentHeapStats, ConsistentHeapStatsLayout of "runtime.consistentHeapStats" {}
    offsets { stats = "stats" }
}

mirror! {
    /// What is read of a `runtime.heapStatsDelta` (mstats.go), as it is in memory. Single deltas may be
    /// negative: only the sum of all of them is not.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct HeapStatsDelta, HeapStatsDeltaLayout of "runtime.heapStatsDelta" {
        /// `inStacks`, bytes.
        in_stacks: u64 = "inStacks",
        /// `inWorkBufs`, bytes.
        in_work_bufs: u64 = "inWorkBufs",
        /// `tinyAllocCount`.
        tiny_alloc_count: u64 = "tinyAllocCount",
        /// `largeAlloc`, bytes.
        large_alloc: u64 = "largeAlloc",
        /// `largeAllocCount`.
        large_alloc_count: u64 = "largeAllocCount",
        /// `largeFree`, bytes.
        large_free: u64 = "largeFree",
        /// `largeFreeCount`.
        large_free_count: u64 = "largeFreeCount",
    }
    optional {
        /// `inPtrScalarBits`, bytes (to 1.24).
        in_ptr_scalar_bits: u64 = "inPtrScalarBits",
    }
    offsets { small_alloc_count = "smallAllocCount", small_free_count = "smallFreeCount" }
}

/// Deltas in `consistentHeapStats.stats`; they rotate, and their sum is the truth at any time.
pub(crate) const DELTAS: u32 = 3;

/// Length of the rings `pause_ns` and `pause_end`.
pub(crate) const PAUSES: u32 = 256;
