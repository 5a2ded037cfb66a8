//! What of the heap has outlived a cycle of the collector, by size class.
//!
//! What is in use goes up and down with the collector. What a sweep has left goes up only where more is kept:
//! `allocBits` of a span has a bit for each object that was in use after its last sweep, and none for those
//! allocated since (runtime/mgcsweep.go, 1.19 to 1.27). A span that is not swept yet shows what the cycle before
//! has left. Nothing is stopped for it.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::HeapError;
use super::layout::HeapLayout;
use super::roots::UNBOUNDED;
use super::span_list::{MAX_ADDR, addresses};
use crate::addr::Addr;
use crate::model::Survivors;
use crate::process::MemRange;
use crate::runtime::GoProcess;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::mspan::{HeapSpan, SPAN_IN_USE, SPAN_PAGE};
use crate::runtime::symbols::Global;

/// Spans whose ranges are read together.
const BATCH: usize = 1 << 18;

/// A span, as far as it is needed here.
#[derive(Clone, Copy, Debug)]
struct Swept {
    class: u8,
    elem_size: u64,
    elements: u64,
}

/// Reads them, in the order of size classes.
///
/// # Errors
/// When the target could not be read, or has no heap where it should be.
pub fn survivors(process: GoProcess<'_>) -> Result<Vec<Survivors>, HeapError> {
    let GoProcess { target, runtime, .. } = process;
    let layout = HeapLayout::resolve(&runtime.layout.table)?;
    let mheap = process.addr(Global::Mheap).ok_or(HeapError::NotFound(Global::Mheap))?;
    let addrs = addresses(target, Addr(mheap.0.wrapping_add(layout.mheap.all_spans.into())))?;
    let mut classes: BTreeMap<u8, Survivors> = BTreeMap::new();
    let len = layout.span.size as usize;
    for batch in addrs.chunks(BATCH) {
        // By the address of their bits.
        let mut spans: FxHashMap<u64, (usize, Swept)> = FxHashMap::default();
        let ranges = batch.iter().map(|&start| MemRange { start, len });
        Frontier::new(target, UNBOUNDED).ranges(ranges, |range, bytes| {
            let span = HeapSpan::parse(range.start, bytes, &layout.span).filter(|span| span.state == SPAN_IN_USE);
            let (Some(span), Some((_, elements))) = (span, layout.span.counts(bytes)) else { return };
            let size = span.pages.checked_mul(SPAN_PAGE).filter(|bytes| *bytes <= MAX_ADDR);
            // What does not fit is no span, or one that changed while it was read.
            let fits = elements.checked_mul(span.elem_size).is_some_and(|used| Some(used) <= size);
            let bits = usize::try_from(elements.div_ceil(8)).unwrap_or(0);
            if fits && bits > 0 && bits <= SPAN_PAGE as usize {
                let (class, elem_size) = (span.span_class >> 1, span.elem_size);
                spans.insert(span.alloc_bits, (bits, Swept { class, elem_size, elements }));
            }
        })?;
        let ranges: Vec<MemRange> =
            spans.iter().map(|(&start, &(len, _))| MemRange { start: Addr(start), len }).collect();
        Frontier::new(target, UNBOUNDED).ranges(ranges, |range, bytes| {
            let Some((_, span)) = spans.get(&range.start.0) else { return };
            let set: u64 = bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
            let objects = set.min(span.elements);
            let class = span.class;
            let sum = classes.entry(class).or_insert(Survivors { class, ..Survivors::default() });
            if class != 0 {
                sum.object_size = span.elem_size;
            }
            sum.objects = sum.objects.saturating_add(objects);
            sum.bytes = sum.bytes.saturating_add(objects.saturating_mul(span.elem_size));
        })?;
    }
    if classes.is_empty() {
        let of = addrs.len();
        return Err(HeapError::NoHeap(format!("none of its {of} spans can be read")));
    }
    Ok(classes.into_values().collect())
}
