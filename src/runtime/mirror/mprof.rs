//! `runtime.bucket` and the records after it: what the runtime keeps for each place that allocates or blocks.

use super::mirror;

mirror! {
    /// A `runtime.bucket` (mprof.go) as it is in memory. Its return addresses follow it, and then its record.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Bucket, BucketLayout of "runtime.bucket" at addr {
        /// `allnext`: the next older bucket of the same profile; 0 for none.
        all_next: u64 = "allnext",
        /// `typ`: [`MEM_PROFILE`], [`BLOCK_PROFILE`] or [`MUTEX_PROFILE`].
        kind: u64 = "typ",
        /// `size`: bytes of each object; only of [`MEM_PROFILE`].
        object_size: u64 = "size",
        /// `nstk`: how many return addresses it has.
        depth: u64 = "nstk",
    }
}

/// `memProfile` (mprof.go; 1.19 to 1.27).
pub(crate) const MEM_PROFILE: u64 = 1;
/// `blockProfile`.
pub(crate) const BLOCK_PROFILE: u64 = 2;
/// `mutexProfile`.
pub(crate) const MUTEX_PROFILE: u64 = 3;

/// `len(memRecord{}.future)` (mprof.go; 1.19 to 1.27): cycles of the collector until what is counted is published.
pub(crate) const FUTURES: u32 = 3;

mirror! {
    /// A `runtime.memRecord` (mprof.go): the published counts, and those of three cycles to come.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MemRecord, MemRecordLayout of "runtime.memRecord" {}
    offsets { active = "active", future = "future" }
}

mirror! {
    /// A `runtime.memRecordCycle` (mprof.go) as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MemRecordCycle, MemRecordCycleLayout of "runtime.memRecordCycle" {
        /// `allocs`: objects allocated.
        allocs: u64 = "allocs",
        /// `frees`: objects freed.
        frees: u64 = "frees",
    }
    optional {
        /// `alloc_bytes` (to 1.26): bytes of those allocated.
        alloc_bytes: u64 = "alloc_bytes",
        /// `free_bytes` (to 1.26): bytes of those freed.
        free_bytes: u64 = "free_bytes",
    }
}

mirror! {
    /// A `runtime.blockRecord` (mprof.go) as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct BlockRecord, BlockRecordLayout of "runtime.blockRecord" {
        /// `count`: events, scaled by the rate at which they were sampled.
        count: f64 = "count",
        /// `cycles`: ticks of the processor's clock that they lasted, scaled likewise.
        cycles: i64 = "cycles",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::runtime::layout::{SUPPORTED_MINORS, checked_in};

    #[test]
    fn every_version_has_its_record() {
        for minor in SUPPORTED_MINORS {
            for arch in [Arch::Amd64, Arch::Arm64] {
                let table = checked_in(*minor, arch).unwrap();
                let record = MemRecordLayout::resolve(&table).unwrap();
                let cycle = MemRecordCycleLayout::resolve(&table).unwrap();
                // Bytes are the count times the bucket's size from 1.27 on.
                assert_eq!(cycle.alloc_bytes.is_some(), *minor <= 26);
                assert_eq!(record.size, cycle.size * (1 + FUTURES));
                assert_eq!((record.active, record.future), (0, cycle.size));
                assert_eq!(BucketLayout::resolve(&table).unwrap().size, 48);
                assert_eq!(BlockRecordLayout::resolve(&table).unwrap().size, 16);
            }
        }
    }
}
