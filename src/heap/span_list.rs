//! The list of all spans (`mheap.allspans`), those of the heap of them.
//!
//! mspans are never freed and their list only grows, but its array is replaced when it grows; so the header is
//! compared again after the array was read. Only what was compared so is recorded: a length that was read later than
//! the array would make a recording end in the middle of its list. A span that cannot be one (not in whole pages,
//! longer than all address space) is counted and left out.

use super::HeapError;
use super::layout::HeapLayout;
use super::recording::NO_HEAP;
use super::roots::UNBOUNDED;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::remember::Attempt;
use crate::process::{MemRange, Target, TargetExt as _};
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::mspan::{HeapSpan, SPAN_IN_USE, SPAN_PAGE};

/// Most spans that are read: 256 million of one page are a heap of 2 TiB.
const MAX_SPANS: u64 = 1 << 28;
/// How often a list that was replaced while it was read is read again.
const TRIES: usize = 8;
/// Addresses have 48 bits (57 on machines and kernels that are asked for it, which Go never does).
pub(super) const MAX_ADDR: u64 = 1 << 48;
/// mspans that are read together: their ranges take memory too.
const TOGETHER: usize = 1 << 16;

/// What is needed of an mspan. There are 130,000 in a GiB of small objects, so it is small.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListedSpan {
    /// Its first byte; a multiple of a page.
    pub(super) start: u64,
    /// Where its last object ends.
    pub(super) limit: u64,
    /// Size of an object, bytes.
    pub(super) elem_size: u64,
    /// Address of the mspan.
    pub(super) mspan: u64,
    /// Its length in pages; at least 1.
    pub(super) pages: u32,
    pub(super) elements: u32,
    pub(super) span_class: u8,
    pub(super) user_arena: bool,
}

impl ListedSpan {
    /// Its end, in whole pages.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(u64::from(self.pages) * SPAN_PAGE)
    }
}

/// Spans with objects of the heap, as the runtime lists them.
#[derive(Debug, Default)]
pub(super) struct SpanList {
    /// In the order of their addresses.
    pub(super) spans: Vec<ListedSpan>,
    /// First special of the spans that start there.
    pub(super) specials: Vec<(u64, u64)>,
    /// Types of the objects of spans with one large object, by the start of the span.
    pub(super) large_types: Vec<(u64, u64)>,
    /// Those that cannot be one.
    pub(super) odd: u64,
    /// Length of the runtime's list, with spans that are not in use.
    pub(super) listed: usize,
}

impl SpanList {
    /// Reads it from the slice at `at`.
    pub(super) fn read(target: &dyn Target, layout: &HeapLayout, at: Addr) -> Result<Self, HeapError> {
        let addrs = addresses(target, at)?;
        let mut list = Self { listed: addrs.len(), ..Self::default() };
        let len = layout.span.size as usize;
        for addrs in addrs.chunks(TOGETHER) {
            let ranges = addrs.iter().map(|&start| MemRange { start, len });
            Frontier::new(target, UNBOUNDED).ranges(ranges, |range, bytes| {
                let Some(span) = HeapSpan::parse(range.start, bytes, &layout.span) else { return };
                if span.state == SPAN_IN_USE {
                    list.add(&span, layout.span.counts(bytes).map(|(_, elements)| elements));
                }
            })?;
        }
        list.spans.sort_unstable_by_key(|span| span.start);
        Ok(list)
    }

    fn add(&mut self, span: &HeapSpan, elements: Option<u64>) {
        let end = span.pages.checked_mul(SPAN_PAGE).and_then(|bytes| span.start.checked_add(bytes));
        let placed = span.start.is_multiple_of(SPAN_PAGE) && span.start > 0 && span.pages > 0;
        let (pages, elements) = (u32::try_from(span.pages), elements.and_then(|n| u32::try_from(n).ok()));
        let (Ok(pages), Some(elements), true) = (pages, elements, placed && end.is_some_and(|end| end <= MAX_ADDR))
        else {
            self.odd += 1;
            return;
        };
        if span.specials != 0 {
            self.specials.push((span.start, span.specials));
        }
        let large = span.span_class >> 1 == 0 && span.span_class & 1 == 0;
        self.large_types.extend(span.large_type.filter(|_| large).map(|ty| (span.start, ty)));
        self.spans.push(ListedSpan {
            start: span.start,
            limit: span.limit,
            mspan: span.addr.0,
            pages,
            elements,
            elem_size: span.elem_size,
            span_class: span.span_class,
            user_arena: span.user_arena == Some(true),
        });
    }
}

/// The addresses of all mspans. A recording has the list of the last call.
pub(super) fn addresses(target: &dyn Target, at: Addr) -> Result<Vec<Addr>, HeapError> {
    /// Bytes of a piece, so that memory is not allocated for a bogus length.
    const PIECE: usize = 8 << 20;
    let attempt = Attempt::at(target);
    let target = attempt.reader();
    let header = || -> Result<[u8; 16], HeapError> {
        let words = target.read_array::<16>(at)?;
        words.ok_or_else(|| HeapError::NoHeap(format!("there is no memory at {at} (mheap.allspans)")))
    };
    let array_of = |header: [u8; 16]| header.u64_at(0).unwrap_or(0);
    'again: for _ in 0..TRIES {
        let read = header()?;
        let (array, len) = (array_of(read), read.u64_at(8).unwrap_or(0));
        let total = usize::try_from(len.min(MAX_SPANS)).unwrap_or(usize::MAX).saturating_mul(8);
        let mut addrs = Vec::new();
        let mut buf = vec![0_u8; total.min(PIECE)];
        while addrs.len() * 8 < total {
            let want = (total - addrs.len() * 8).min(PIECE);
            let Some(piece) = buf.get_mut(..want) else { break };
            if target.read(Addr(array.wrapping_add(addrs.len() as u64 * 8)), piece)? != want {
                if array_of(header()?) == array {
                    return Err(HeapError::NoHeap(format!(
                        "the list of its spans at {array:#x} is not there; {NO_HEAP}"
                    )));
                }
                continue 'again;
            }
            addrs.extend(piece.as_chunks::<8>().0.iter().map(|word| Addr(u64::from_le_bytes(*word))));
        }
        if array_of(header()?) == array {
            if attempt.is_recorded() {
                let words: Vec<u8> = addrs.iter().flat_map(|addr| addr.0.to_le_bytes()).collect();
                attempt.accept(Addr(array), &words);
                attempt.accept(at, &read);
            }
            return Ok(addrs);
        }
    }
    Err(HeapError::NoHeap(format!("the list of its spans was replaced {TRIES} times while it was read")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::process::core::{CoreOptions, CoreTarget};
    use crate::process::fake::{FakeTarget, ReadOutcome};
    use crate::process::recording::RecordingTarget;
    use crate::process::{Precedence, Recorder as _};

    /// A list that gets longer while it is read is read as it was; so it is in the recording, which has no more of it.
    #[test]
    fn a_recording_has_a_list_that_grew_meanwhile_as_it_was_read() {
        const HEADER: u64 = 0x1000;
        const ARRAY: u64 = 0x2000;
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let fake = FakeTarget::new(Arch::Amd64)
            .with_segment(Addr(HEADER), words(&[ARRAY, 2, 8]))
            .with_segment(Addr(ARRAY), words(&[0x10, 0x20, 0x30]))
            .at_read(2, |_, memory| {
                memory.put_u64(Addr(HEADER + 8), 3);
                ReadOutcome::Normal
            });
        let target = RecordingTarget::new(Box::new(fake));
        // As in a capture of a program that runs.
        target.set_precedence(Precedence::Beside);
        assert_eq!(addresses(&target, Addr(HEADER)).unwrap(), [Addr(0x10), Addr(0x20)]);
        assert_eq!(target.read_u64(Addr(HEADER + 8)).unwrap(), Some(3), "it has grown");
        let file = tempfile::NamedTempFile::new().unwrap();
        target.image().unwrap().write(&mut file.as_file()).unwrap();
        let recorded = CoreTarget::open(file.path(), &CoreOptions::default()).unwrap();
        assert_eq!(addresses(&recorded, Addr(HEADER)).unwrap(), [Addr(0x10), Addr(0x20)]);
    }
}
