//! The spans of the heap by size class: how many objects they hold, and how much of them is unused.
//!
//! Nothing is stopped: spans are counted as they are when each is read, as `runtime.ReadMemStats` would count them.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::HeapError;
use super::layout::HeapLayout;
use super::roots::UNBOUNDED;
use super::span_list::{MAX_ADDR, addresses};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{SizeClass, SizeClasses, SpanCache, Warnings};
use crate::process::{MemRange, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::mcache::SPAN_CLASSES;
use crate::runtime::mirror::mspan::{HeapSpan, Mspan, SPAN_IN_USE, SPAN_PAGE};
use crate::runtime::readers::processors::read_ps;
use crate::runtime::symbols::Global;

/// Spans that are read together: their ranges take memory, too.
const BATCH: usize = 1 << 20;

/// Reads them.
///
/// # Errors
/// When the target could not be read, or has no heap where it should be.
pub fn size_classes(process: GoProcess<'_>) -> Result<SizeClasses, HeapError> {
    let GoProcess { target, runtime, .. } = process;
    let layout = HeapLayout::resolve(&runtime.layout.table)?;
    let mheap = process.addr(Global::Mheap).ok_or(HeapError::NotFound(Global::Mheap))?;
    let addrs = addresses(target, Addr(mheap.0.wrapping_add(layout.mheap.all_spans.into())))?;
    let mut classes: BTreeMap<u8, SizeClass> = BTreeMap::new();
    // Bytes of each span and how many of them are unused, by the address of its mspan.
    let mut spans: FxHashMap<u64, (u64, u64)> = FxHashMap::default();
    let mut odd = 0;
    let len = layout.span.size as usize;
    for batch in addrs.chunks(BATCH) {
        let ranges = batch.iter().map(|&start| MemRange { start, len });
        Frontier::new(target, UNBOUNDED).ranges(ranges, |range, bytes| {
            let span = HeapSpan::parse(range.start, bytes, &layout.span).filter(|span| span.state == SPAN_IN_USE);
            let (Some(span), Some(counts)) = (span, Mspan::parse(range.start, bytes, &runtime.layout.mspan)) else {
                return;
            };
            let objects = u64::from(counts.alloc_count);
            let span_bytes = span.pages.checked_mul(SPAN_PAGE).filter(|bytes| (1..=MAX_ADDR).contains(bytes));
            let used = objects.checked_mul(span.elem_size);
            let (Some(span_bytes), Some(used)) = (span_bytes, used) else {
                odd += 1;
                return;
            };
            if used > span_bytes {
                odd += 1;
                return;
            }
            let class = span.span_class >> 1;
            let sum = classes.entry(class).or_insert(SizeClass { class, ..SizeClass::default() });
            if class != 0 {
                sum.object_size = span.elem_size;
            }
            sum.objects = sum.objects.saturating_add(objects);
            sum.bytes = sum.bytes.saturating_add(used);
            sum.noscan_bytes = sum.noscan_bytes.saturating_add(if span.span_class & 1 != 0 { used } else { 0 });
            sum.spans += 1;
            sum.span_bytes = sum.span_bytes.saturating_add(span_bytes);
            spans.insert(range.start.0, (span_bytes, span_bytes - used));
        })?;
    }
    if classes.is_empty() {
        let of = addrs.len();
        return Err(HeapError::NoHeap(format!(
            "none of its {of} spans can be read; a capture holds goroutines and not the heap"
        )));
    }
    let caches = caches(process, &spans)?;
    Ok(SizeClasses { classes: classes.into_values().collect(), caches, odd })
}

/// What each P holds.
fn caches(process: GoProcess<'_>, spans: &FxHashMap<u64, (u64, u64)>) -> Result<Vec<SpanCache>, HeapError> {
    let GoProcess { target, runtime, .. } = process;
    let Some(allp) = process.addr(Global::Allp) else { return Ok(Vec::new()) };
    // What is wrong with a P is said where they are shown.
    let ps = read_ps(target, allp, &runtime.layout, &mut Warnings::default())?;
    let layout = &runtime.layout.mcache;
    let mut caches = Vec::new();
    for p in ps {
        let Some(bytes) = target.read_vec(Addr(p.mcache), layout.size as usize)? else { continue };
        let mut cache = SpanCache { p: p.id, ..SpanCache::default() };
        for class in 0..SPAN_CLASSES {
            let span = layout.span(class).and_then(|at| bytes.u64_at(at as usize));
            // Classes without a span have the empty one, which is none of the heap's.
            let Some((span_bytes, unused)) = span.and_then(|span| spans.get(&span)) else { continue };
            cache.spans += 1;
            cache.span_bytes = cache.span_bytes.saturating_add(*span_bytes);
            cache.unused_bytes = cache.unused_bytes.saturating_add(*unused);
        }
        caches.push(cache);
    }
    Ok(caches)
}
