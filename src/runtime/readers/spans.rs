//! What the Ps have allocated and not yet flushed to the heap's statistics, and which layout their spans
//! have.

use super::bulk;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{ReadError, Target};
use crate::runtime::layout::{Layout, LayoutTable};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::mcache::{Mcache, McacheLayout, SPAN_CLASSES};
use crate::runtime::mirror::mspan::{Mspan, MspanLayout};
use crate::runtime::mirror::p::P;

/// Allocations that are not in the heap's statistics yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unflushed {
    /// Bytes.
    pub bytes: u64,
    /// Objects, without the tiny ones.
    pub objects: u64,
    /// Tiny objects, several of which share a block.
    pub tiny: u64,
}

/// Takes the layout of spans from the first of `tables` that fits what the Ps hold, if the one in
/// `layout` does not. Whether one fits; nothing is known of spans when none does.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn place_spans(
    target: &dyn Target,
    ps: &[P],
    layout: &mut Layout,
    tables: &[&LayoutTable],
) -> Result<bool, ReadError> {
    if spans_fit(target, ps, layout)? {
        return Ok(true);
    }
    for table in tables {
        let (Ok(mcache), Ok(mspan)) = (McacheLayout::resolve(table), MspanLayout::resolve(table)) else { continue };
        let mut other = layout.clone();
        (other.mcache, other.mspan) = (mcache, mspan);
        if spans_fit(target, ps, &other)? {
            *layout = other;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the spans that the Ps hold are of the classes that their places are for, with objects of
/// the size that the class has. The program runs on, so a few may be others by now.
fn spans_fit(target: &dyn Target, ps: &[P], layout: &Layout) -> Result<bool, ReadError> {
    /// Fewer prove nothing.
    const ENOUGH: usize = 4;
    let caches: Vec<Addr> = ps.iter().map(|p| Addr(p.mcache)).filter(|addr| !addr.is_nil()).collect();
    let mut spans: Vec<(u8, Addr)> = Vec::new();
    bulk::for_each(target, &caches, layout.mcache.size, |_, bytes| {
        let span = |class: usize| bytes?.u64_at(layout.mcache.span(class)? as usize);
        spans.extend((0..SPAN_CLASSES).filter_map(|class| Some((u8::try_from(class).ok()?, Addr(span(class)?)))));
    })?;
    let (mut right, mut wrong) = (0_usize, 0_usize);
    let addrs: Vec<Addr> = spans.iter().map(|(_, span)| *span).collect();
    bulk::for_each(target, &addrs, layout.mspan.size, |index, bytes| {
        let (Some((class, _)), Some(bytes)) = (spans.get(index), bytes) else { return };
        let Some(span) = Mspan::parse(Addr(0), bytes, &layout.mspan) else {
            wrong += 1;
            return;
        };
        // The empty span, used where there is none.
        if span.elemsize == 0 {
            return;
        }
        let known = layout.table.size_classes.get(usize::from(class / 2)).copied().map(u64::from);
        let counts = span.alloc_count_before_cache <= span.alloc_count;
        if span.spanclass == *class && Some(span.elemsize) == known && counts {
            right += 1;
        } else {
            wrong += 1;
        }
    })?;
    Ok(right >= ENOUGH && wrong * 8 <= right)
}

/// Sums what the Ps hold back.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_unflushed(target: &dyn Target, ps: &[P], layout: &Layout) -> Result<Unflushed, ReadError> {
    let caches: Vec<Addr> = ps.iter().map(|p| Addr(p.mcache)).filter(|addr| !addr.is_nil()).collect();
    let mut spans = Vec::new();
    let mut sum = Unflushed::default();
    bulk::for_each(target, &caches, layout.mcache.size, |_, bytes| {
        let Some(bytes) = bytes else { return };
        let cache = Mcache::parse(Addr(0), bytes, &layout.mcache).unwrap_or_default();
        sum.tiny = sum.tiny.wrapping_add(cache.tiny_allocs);
        let span = |class| bytes.u64_at(layout.mcache.span(class)? as usize);
        spans.extend((0..SPAN_CLASSES).filter_map(span).map(Addr));
    })?;
    // All classes without a span share the one empty span, which holds nothing.
    spans.sort_unstable();
    spans.dedup();
    spans.retain(|span| !span.is_nil());
    bulk::for_each(target, &spans, layout.mspan.size, |_, bytes| {
        let Some(span) = bytes.and_then(|bytes| Mspan::parse(Addr(0), bytes, &layout.mspan)) else { return };
        let objects = u64::from(span.alloc_count.saturating_sub(span.alloc_count_before_cache));
        sum.objects = sum.objects.wrapping_add(objects);
        sum.bytes = sum.bytes.wrapping_add(objects.wrapping_mul(span.elemsize));
    })?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::process::fake::FakeTarget;
    use crate::runtime::layout::checked_in;

    const CACHE: u64 = 0xc000_0000;
    const SPANS: u64 = 0xd000_0000;

    fn layout(minor: u32) -> Layout {
        Layout::resolve(checked_in(minor, Arch::Amd64).unwrap()).unwrap()
    }

    fn put(bytes: &mut [u8], offset: u32, value: &[u8]) {
        bytes[offset as usize..offset as usize + value.len()].copy_from_slice(value);
    }

    /// A P whose cache holds a span of each of the first ten sizes, each with seven objects of which
    /// two were there before, and the empty span for all others.
    fn target(layout: &Layout) -> (FakeTarget, P) {
        let mut cache = vec![0; layout.mcache.size as usize];
        let mut spans = Vec::new();
        for class in 0..136_u32 {
            let mut span = vec![0; 256];
            let size = layout.table.size_classes[class as usize / 2];
            if (2..22).contains(&class) {
                put(&mut span, layout.mspan.elemsize, &u64::from(size).to_le_bytes());
                put(&mut span, layout.mspan.spanclass, &[u8::try_from(class).unwrap()]);
                put(&mut span, layout.mspan.alloc_count, &7_u16.to_le_bytes());
                put(&mut span, layout.mspan.alloc_count_before_cache, &2_u16.to_le_bytes());
            }
            put(&mut cache, layout.mcache.alloc + 8 * class, &(SPANS + spans.len() as u64).to_le_bytes());
            spans.extend(span);
        }
        put(&mut cache, layout.mcache.tiny_allocs, &3_u64.to_le_bytes());
        let target = FakeTarget::new(Arch::Amd64).with_segment(Addr(CACHE), cache).with_segment(Addr(SPANS), spans);
        (target, P { mcache: CACHE, ..P::default() })
    }

    #[test]
    fn what_the_ps_hold_is_summed() {
        let layout = layout(26);
        let (target, p) = target(&layout);
        let sizes: u64 = (2..22).map(|class| u64::from(layout.table.size_classes[class / 2])).sum();
        let held = read_unflushed(&target, &[p], &layout).unwrap();
        assert_eq!(held, Unflushed { bytes: 5 * sizes, objects: 5 * 20, tiny: 3 });
    }

    #[test]
    fn spans_say_whose_layout_is_theirs() {
        let old = checked_in(19, Arch::Amd64).unwrap();
        let (target, p) = target(&layout(19));
        let mut found = layout(21);
        assert!(place_spans(&target, &[p], &mut found, &[&old]).unwrap());
        assert_eq!(found.mspan, layout(19).mspan);
        assert!(place_spans(&target, &[p], &mut found, &[]).unwrap());
        assert!(!place_spans(&target, &[p], &mut layout(21), &[]).unwrap());
    }

    #[test]
    fn too_few_spans_prove_nothing() {
        let target = FakeTarget::new(Arch::Amd64);
        assert!(!place_spans(&target, &[P::default()], &mut layout(26), &[]).unwrap());
    }
}
