//! What `g.labels` points to: the pprof labels of a goroutine.
//!
//! * Up to Go 1.23 a `map[string]string` (`labelMap` in runtime/pprof/label.go): `runtime.hmap` and its
//!   buckets, `runtime.bmap` (runtime/map.go).
//! * From 1.24 on a `LabelSet`, which is a slice of pairs of strings, sorted by key (runtime/pprof/label.go).
//!   Swiss maps came with the same version, so that labels are never in one.
//!
//! The compiler makes the type of a bucket, so no table has it; its form is `MapBucketType` in
//! cmd/compile/internal/reflectdata/reflect.go (Go 1.19 to 1.23).

use super::{FromMemory as _, Mirror, Span, mirror};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;

mirror! {
    /// What is read of a `runtime.hmap` (map.go; to 1.23, and later with GOEXPERIMENT=noswissmap), as it is
    /// in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Hmap, HmapLayout of "runtime.hmap" {
        /// `count`: entries.
        count: u64 = "count",
        /// `flags`.
        flags: u8 = "flags",
        /// `B`: binary logarithm of the number of buckets.
        log_buckets: u8 = "B",
        /// `buckets`: address of their array.
        buckets: u64 = "buckets",
        /// `oldbuckets`: while the map grows, address of the array before; 0 else.
        old_buckets: u64 = "oldbuckets",
    }
}

impl Hmap {
    /// Number of buckets; `None` when it is no number.
    #[must_use]
    pub(crate) fn bucket_count(&self) -> Option<u64> {
        1_u64.checked_shl(self.log_buckets.into())
    }

    /// Number of buckets before the map grew; 0 when it does not grow.
    #[must_use]
    pub(crate) fn old_bucket_count(&self) -> Option<u64> {
        /// `sameSizeGrow`: it is tidied up, and as large as before.
        const SAME_SIZE: u8 = 8;
        if self.old_buckets == 0 {
            return Some(0);
        }
        let now = self.bucket_count()?;
        Some(if self.flags & SAME_SIZE != 0 { now } else { now / 2 })
    }
}

/// Entries of a bucket (`bucketCnt`).
const SLOTS: usize = 8;
/// Least `tophash` of an entry that is there; what is below marks those that are empty or have moved to
/// the new array.
const MIN_TOP_HASH: u8 = 5;
/// Size in bytes of a string's header.
const STRING: usize = 16;

/// One label: where its key and its value are.
pub(crate) type Pair = [Span; 2];

/// A bucket of a `map[string]string`: a byte of hash for each slot, the keys, the values, and a pointer to
/// the next bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Its entries.
    pub pairs: Vec<Pair>,
    /// The bucket that it overflows to; 0 for none.
    pub overflow: u64,
}

impl Bucket {
    /// Its size in bytes.
    pub(crate) const SIZE: usize = SLOTS + 2 * SLOTS * STRING + 8;
}

impl Mirror for Bucket {
    type Layout = ();

    fn size((): &()) -> u32 {
        Self::SIZE as u32
    }

    fn parse(_: Addr, bytes: &[u8], (): &()) -> Option<Self> {
        let mut pairs = Vec::new();
        for slot in 0..SLOTS {
            if bytes.u8_at(slot)? < MIN_TOP_HASH {
                continue;
            }
            let string = |first: usize| Span::from_memory(bytes, u32::try_from(first + STRING * slot).ok()?);
            pairs.push([string(SLOTS)?, string(SLOTS + SLOTS * STRING)?]);
        }
        Some(Self { pairs, overflow: bytes.u64_at(Self::SIZE - 8)? })
    }
}

/// Size in bytes of an element of a `LabelSet`.
pub(crate) const LABEL: usize = 2 * STRING;

/// The labels in the array of a `LabelSet`.
pub(crate) fn list(bytes: &[u8]) -> impl Iterator<Item = Pair> {
    bytes.chunks_exact(LABEL).filter_map(|label| Some([Span::from_memory(label, 0)?, Span::from_memory(label, 16)?]))
}

/// How a version keeps labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelForm {
    /// A pointer to a map.
    Map(HmapLayout),
    /// A slice.
    List,
}

impl LabelForm {
    /// The form of Go 1.`minor`; `None` where it is a map whose layout is not known.
    #[must_use]
    pub fn of(minor: u32, hmap: Option<HmapLayout>) -> Option<Self> {
        /// The first version whose labels are a slice.
        const LIST_SINCE: u32 = 24;
        if minor >= LIST_SINCE { Some(Self::List) } else { hmap.map(Self::Map) }
    }
}
