//! How many objects the runtime counts, and how much that has changed since.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Amount, Changes};
use crate::addr::Addr;
use crate::heap::HeapError;
use crate::heap::layout::HeapLayout;
use crate::heap::roots::UNBOUNDED;
use crate::heap::span_list::addresses;
use crate::heap::spans::Spans;
use crate::process::{MemRange, ReadError};
use crate::runtime::GoProcess;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::mspan::{HeapSpan, Mspan, SPAN_IN_USE};
use crate::runtime::symbols::Global;

/// mspans that are read together: their ranges take memory, too.
const TOGETHER: usize = 1 << 16;

/// Spans that were taken into use since others were listed, and objects in them. A list of which nothing can be read
/// by now has none.
pub(super) fn new_spans(process: GoProcess<'_>, layout: &HeapLayout, spans: &Spans) -> Result<Changes, HeapError> {
    let Some(mheap) = process.addr(Global::Mheap) else { return Ok(Changes::default()) };
    let known: FxHashSet<Addr> = spans.iter().map(|span| span.mspan).collect();
    let mut addrs = addresses(process.target, Addr(mheap.0.wrapping_add(layout.mheap.all_spans.into())))?;
    addrs.retain(|addr| !known.contains(addr));
    let mut new = Changes::default();
    let len = layout.span.size as usize;
    for batch in addrs.chunks(TOGETHER) {
        let ranges = batch.iter().map(|start| MemRange { start: *start, len });
        Frontier::new(process.target, UNBOUNDED).ranges(ranges, |range, bytes| {
            let span = HeapSpan::parse(range.start, bytes, &layout.span);
            let count = Mspan::parse(range.start, bytes, &process.runtime.layout.mspan);
            if let (Some(HeapSpan { state: SPAN_IN_USE, .. }), Some(count)) = (span, count) {
                new.spans += 1;
                new.objects += u64::from(count.alloc_count);
            }
        })?;
    }
    Ok(new)
}

/// `allocCount` of each span, in the order of their numbers; `None` where the span is another one by now.
pub(super) struct Counts(Vec<Option<u16>>);

impl Counts {
    /// Reads them as they are now.
    pub(super) fn read(process: GoProcess<'_>, layout: &HeapLayout, spans: &Spans) -> Result<Self, ReadError> {
        let mut counts = vec![None; spans.len()];
        let mut all = spans.iter().enumerate();
        let len = layout.span.size as usize;
        loop {
            let batch: Vec<_> = all.by_ref().take(TOGETHER).collect();
            if batch.is_empty() {
                return Ok(Self(counts));
            }
            let numbers: FxHashMap<_, _> = batch.iter().map(|(number, span)| (span.mspan, (*number, *span))).collect();
            let ranges = batch.iter().map(|(_, span)| MemRange { start: span.mspan, len });
            Frontier::new(process.target, UNBOUNDED).ranges(ranges, |range, bytes| {
                let Some((number, was)) = numbers.get(&range.start) else { return };
                let now = HeapSpan::parse(range.start, bytes, &layout.span);
                let count = Mspan::parse(range.start, bytes, &process.runtime.layout.mspan);
                let (Some(now), Some(count)) = (now, count) else { return };
                let is_same = now.state == SPAN_IN_USE && now.start == was.base.0 && now.elem_size == was.slot;
                if let Some(entry) = counts.get_mut(*number).filter(|_| is_same) {
                    *entry = Some(count.alloc_count);
                }
            })?;
        }
    }

    /// Objects that are allocated, whether they are live or not. A count beyond what the span has room for is a lie,
    /// and is cut.
    pub(super) fn allocated(&self, spans: &Spans) -> Amount {
        let mut all = Amount::default();
        for (span, count) in spans.iter().zip(&self.0) {
            all.add(u64::from(count.unwrap_or(0)).min(span.elements.into()), span.slot);
        }
        all
    }

    /// What has changed since.
    pub(super) fn changes(&self, now: &Self) -> Changes {
        let mut changes = Changes::default();
        for (before, now) in self.0.iter().zip(&now.0).filter(|(before, now)| before != now) {
            changes.spans += 1;
            changes.objects += u64::from(before.unwrap_or(0).abs_diff(now.unwrap_or(0)));
        }
        changes
    }

    /// What they take, bytes.
    pub(super) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<Option<u16>>()
    }
}
