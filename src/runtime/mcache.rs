//! `runtime.mcache`: what a P has allocated and not yet told the heap's statistics.

use super::bulk;
use super::layout::{Layout, layout};
use super::p::P;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::target::{ReadError, Target};

layout! {
    /// Offsets in `runtime.mcache` (mcache.go).
    McacheLayout of "runtime.mcache" {
        tiny_allocs = "tinyAllocs",
        alloc = "alloc",
    }
}

layout! {
    /// Offsets in `runtime.mspan` (mheap.go).
    MspanLayout of "runtime.mspan" {
        alloc_count = "allocCount",
        alloc_count_before_cache = "allocCountBeforeCache",
        elemsize = "elemsize",
    }
}

/// `numSpanClasses`: spans that an mcache holds, one with and one without pointers for each of the
/// 68 size classes (1.19 to 1.27).
const SPAN_CLASSES: usize = 136;

/// Allocations that are not in the heap's statistics yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unflushed {
    /// Bytes.
    pub bytes: u64,
    /// Objects, without the tiny ones.
    pub objects: u64,
    /// Tiny objects, several of which share a block.
    pub tiny: u64,
}

/// Sums what the Ps hold back.
///
/// # Errors
/// When the target could not be looked at.
pub fn read_unflushed(target: &dyn Target, ps: &[P], layout: &Layout) -> Result<Unflushed, ReadError> {
    let caches: Vec<Addr> = ps.iter().map(|p| Addr(p.mcache)).filter(|addr| !addr.is_nil()).collect();
    let mut spans = Vec::new();
    let mut sum = Unflushed::default();
    bulk::for_each(target, &caches, layout.mcache.size, |_, bytes| {
        let Some(bytes) = bytes else { return };
        sum.tiny = sum.tiny.wrapping_add(bytes.u64_at(layout.mcache.tiny_allocs as usize).unwrap_or(0));
        let alloc = layout.mcache.alloc as usize;
        spans.extend((0..SPAN_CLASSES).filter_map(|class| bytes.u64_at(alloc.checked_add(class * 8)?)).map(Addr));
    })?;
    // All classes without a span share the one empty span, which holds nothing.
    spans.sort_unstable();
    spans.dedup();
    spans.retain(|span| !span.is_nil());
    bulk::for_each(target, &spans, layout.mspan.size, |_, bytes| {
        let count = |offset: u32| bytes.and_then(|b| b.u16_at(offset as usize));
        let size = bytes.and_then(|b| b.u64_at(layout.mspan.elemsize as usize));
        let used = count(layout.mspan.alloc_count).zip(count(layout.mspan.alloc_count_before_cache));
        if let (Some((now, before)), Some(size)) = (used, size) {
            let objects = u64::from(now.saturating_sub(before));
            sum.objects = sum.objects.wrapping_add(objects);
            sum.bytes = sum.bytes.wrapping_add(objects.wrapping_mul(size));
        }
    })?;
    Ok(sum)
}
