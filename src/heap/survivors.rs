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
use super::recording::Held;
use super::roots::UNBOUNDED;
use super::span_list::{MAX_ADDR, addresses};
use crate::addr::Addr;
use crate::model::Survivors;
use crate::process::{Backend, MemRange, Target};
use crate::runtime::GoProcess;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::mspan::{HeapSpan, HeapSpanLayout, SPAN_IN_USE, SPAN_PAGE};
use crate::runtime::symbols::Global;

/// What is said of a capture that does not have them.
const NOT_COUNTED: &str = "the capture has no count of what sweeps have left";

/// Spans whose ranges are read together.
const BATCH: usize = 1 << 18;

/// How often a span is read again that is swept meanwhile.
const ATTEMPTS: usize = 16;

/// A span, as far as it is needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Swept {
    /// Where its bits are, and how many bytes they take.
    bits: MemRange,
    class: u8,
    elem_size: u64,
    elements: u64,
}

/// Reads them, in the order of size classes.
///
/// Where bits were, others may be soon after a sweep: they count only where their span has them afterwards, too.
///
/// # Errors
/// When the target could not be read, has no heap where it should be, or sweeps faster than it can be read; of a
/// capture also when it was taken by a gospy that did not count them.
pub fn survivors(process: GoProcess<'_>) -> Result<Vec<Survivors>, HeapError> {
    if process.target.backend() == Backend::Capture {
        let held = Held::of(process.target)?.and_then(|held| held.survivors().map(<[Survivors]>::to_vec));
        return held.ok_or_else(|| HeapError::NoHeap(NOT_COUNTED.to_owned()));
    }
    let GoProcess { target, runtime, .. } = process;
    let layout = HeapLayout::resolve(&runtime.layout.table)?;
    let mheap = process.addr(Global::Mheap).ok_or(HeapError::NotFound(Global::Mheap))?;
    let addrs = addresses(target, Addr(mheap.0.wrapping_add(layout.mheap.all_spans.into())))?;
    let mut classes: BTreeMap<u8, Survivors> = BTreeMap::new();
    for batch in addrs.chunks(BATCH) {
        let mut spans = read_spans(target, &layout.span, batch.iter().copied())?;
        for _ in 0..ATTEMPTS {
            if spans.is_empty() {
                break;
            }
            let left = set_bits(target, &spans)?;
            let now = read_spans(target, &layout.span, spans.keys().copied())?;
            for (_, span) in spans.iter().filter(|(addr, span)| now.get(addr) == Some(span)) {
                // Bits that cannot be read are of no heap.
                add(&mut classes, span, left.get(&span.bits.start).copied().unwrap_or(0));
            }
            // Those that are in use no more have nothing.
            spans = now.into_iter().filter(|(addr, span)| spans.get(addr) != Some(span)).collect();
        }
        if !spans.is_empty() {
            let (of, moving) = (addrs.len(), spans.len());
            return Err(HeapError::NoHeap(format!("{moving} of its {of} spans changed each time they were read")));
        }
    }
    if classes.is_empty() {
        let of = addrs.len();
        return Err(HeapError::NoHeap(format!("none of its {of} spans can be read")));
    }
    Ok(classes.into_values().collect())
}

/// Reads spans that are in use.
fn read_spans(
    target: &dyn Target,
    layout: &HeapSpanLayout,
    addrs: impl Iterator<Item = Addr>,
) -> Result<FxHashMap<Addr, Swept>, HeapError> {
    let mut spans: FxHashMap<Addr, Swept> = FxHashMap::default();
    let ranges = addrs.map(|start| MemRange { start, len: layout.size as usize });
    Frontier::new(target, UNBOUNDED).ranges(ranges, |range, bytes| {
        let span = HeapSpan::parse(range.start, bytes, layout).filter(|span| span.state == SPAN_IN_USE);
        let (Some(span), Some((_, elements))) = (span, layout.counts(bytes)) else { return };
        let size = span.pages.checked_mul(SPAN_PAGE).filter(|bytes| *bytes <= MAX_ADDR);
        // What does not fit is no span, or one that changed while it was read.
        let fits = elements.checked_mul(span.elem_size).is_some_and(|used| Some(used) <= size);
        let len = usize::try_from(elements.div_ceil(8)).unwrap_or(0);
        if fits && len > 0 && len <= SPAN_PAGE as usize {
            let bits = MemRange { start: Addr(span.alloc_bits), len };
            let (class, elem_size) = (span.span_class >> 1, span.elem_size);
            spans.insert(range.start, Swept { bits, class, elem_size, elements });
        }
    })?;
    Ok(spans)
}

/// How many bits are set, by where they are.
fn set_bits(target: &dyn Target, spans: &FxHashMap<Addr, Swept>) -> Result<FxHashMap<Addr, u64>, HeapError> {
    let mut left: FxHashMap<Addr, u64> = FxHashMap::default();
    let ranges: Vec<MemRange> = spans.values().map(|span| span.bits).collect();
    Frontier::new(target, UNBOUNDED).ranges(ranges, |range, bytes| {
        left.insert(range.start, bytes.iter().map(|byte| u64::from(byte.count_ones())).sum());
    })?;
    Ok(left)
}

fn add(classes: &mut BTreeMap<u8, Survivors>, span: &Swept, bits: u64) {
    let (class, objects) = (span.class, bits.min(span.elements));
    let sum = classes.entry(class).or_insert(Survivors { class, ..Survivors::default() });
    if class != 0 {
        sum.object_size = span.elem_size;
    }
    sum.objects = sum.objects.saturating_add(objects);
    sum.bytes = sum.bytes.saturating_add(objects.saturating_mul(span.elem_size));
}
