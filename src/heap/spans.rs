//! The spans of the heap, and the objects in them.
//!
//! A span that cannot be one (objects that do not fit into it, a page of another) is counted and left out.

use rustc_hash::FxHashMap;

use super::HeapError;
use super::arenas::Arenas;
use super::layout::{HeapLayout, PointerForm};
use super::pages::{MAX_PAGES, PageTable};
use super::recording::NO_HEAP;
use super::span_list::{ListedSpan, SpanList};
use crate::addr::Addr;
use crate::process::{Backend, MemRange, ReadError, Target, TargetExt as _, unlogged};
use crate::runtime::GoProcess;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::mspan::{HeapSpan, SPAN_IN_USE, SPAN_PAGE};
use crate::runtime::symbols::Global;

/// More spans than a heap of the largest size has; the highest bit of a number is free.
const MAX_NUMBER: u32 = 1 << 31;
/// Largest object with a bitmap in its span (`minSizeForMallocHeader`, runtime/mbitmap.go; 1.22 to 1.27), bytes.
pub(super) const MAX_IN_SPAN: u64 = 512;
/// Inline mark bits at the end of a span (`spanInlineMarkBits`, runtime/mgcmark_greenteagc.go; 1.25 on), bytes.
const INLINE_MARKS: u64 = 128;
/// The part of the heap that one `heapArena` is for (1.19 to 1.27 on Linux), bytes.
pub(super) const ARENA: u64 = 64 << 20;

/// Longest span of objects that have a size class; the longest there is has ten pages. Bytes.
const MAX_SMALL: u64 = 1 << 20;

/// An object: a span and which of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Number of the span in [`Spans`].
    pub span: u32,
    /// Index of the object in it.
    pub index: u32,
}

/// Where the words of a span's objects that are pointers are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// There are none.
    NoScan,
    /// In a bitmap in the span, at this offset.
    InSpan(u32),
    /// In the type that the first word of each object points to.
    Header,
    /// In the type in `Spans::large`.
    Large,
    /// In the bitmap of the arena.
    Arena,
    /// Nowhere: all words may be.
    Unknown,
}

/// A span with objects of the heap. There are half a million in a heap of 4 GiB, so it is small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) base: u64,
    /// From its start to the end of its last object, bytes.
    used: u64,
    /// Size of an object, bytes; 0 where there is one only, of `used` bytes.
    pub(super) elem: u32,
    /// 2³² / `elem`, rounded up: multiplying by it divides offsets in small spans; 0 for others.
    magic: u32,
    pub(super) elements: u32,
    /// Its length in pages.
    pages: u32,
    /// First word of its mark bits.
    pub(super) marks: u32,
    /// First word of its bits of what was scanned.
    pub(super) scans: u32,
    pub(super) kind: Kind,
}

impl Span {
    /// Size of its objects, bytes.
    #[inline]
    pub(super) fn size(&self) -> u64 {
        if self.elem == 0 { self.used } else { self.elem.into() }
    }

    /// What the runtime counts for each of its objects (`elemsize`), bytes: a large one has all of its pages.
    #[inline]
    pub(super) fn slot(&self) -> u64 {
        if self.elem == 0 { self.bytes() } else { self.elem.into() }
    }

    /// Bytes from its start to its end of whole pages.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.pages) * SPAN_PAGE
    }

    /// Index of the object that holds the byte at `offset`.
    #[inline]
    pub(super) fn index(&self, offset: u64) -> Option<u32> {
        if offset >= self.used {
            return None;
        }
        let index = match (self.elem, self.magic) {
            (0, _) => 0,
            (elem, 0) => offset / u64::from(elem),
            (_, magic) => offset.wrapping_mul(magic.into()) >> 32,
        } as u32;
        (index < self.elements).then_some(index)
    }

    /// Where an object starts, bytes from the start of the span.
    #[inline]
    pub(super) fn offset(&self, index: u32) -> u64 {
        u64::from(self.elem) * u64::from(index)
    }
}

/// A span for those who compare it with what others say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanInfo {
    /// Address of its first byte.
    pub base: Addr,
    /// Address of its `mspan`.
    pub mspan: Addr,
    /// Size of its objects, bytes.
    pub size: u64,
    /// The same as the runtime counts it (`elemsize`): a large object has all of its pages.
    pub slot: u64,
    /// How many objects it has, free ones included.
    pub elements: u32,
    /// Whether its objects have no pointers.
    pub noscan: bool,
}

/// A span of so many pages is looked for in memory before they are entered as its pages: 64 MiB.
const LONG: u32 = 8192;

/// Whether both ends of a span are memory. A file may lack pages of one that was there.
fn is_there(target: &dyn Target, span: &ListedSpan) -> Result<bool, ReadError> {
    if matches!(target.backend(), Backend::Core | Backend::Capture) {
        return Ok(true);
    }
    let mut byte = [0];
    for at in [span.start, span.end().wrapping_sub(1)] {
        if unlogged(target).read(Addr(at), &mut byte)? != byte.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// All spans with objects of the heap.
#[derive(Debug)]
pub struct Spans {
    pub(super) spans: Vec<Span>,
    /// Addresses of the mspans.
    mspans: Vec<u64>,
    pages: PageTable,
    /// Types of the objects of large spans (1.22 on), by the number of the span.
    pub(super) large: FxHashMap<u32, u64>,
    /// Spans with specials, and the first of each.
    pub(super) specials: Vec<(u32, u64)>,
    /// Records of arenas by their number, where the bitmaps are in them.
    pub(super) arenas: FxHashMap<u64, u64>,
    /// Words of mark bits, and of bits of what was scanned.
    pub(super) words: (usize, usize),
    /// Spans that cannot be one.
    odd: u64,
    /// Spans with mark bits inside.
    inline: usize,
    bytes: u64,
    scannable: u64,
}

impl Spans {
    /// Reads them.
    ///
    /// # Errors
    /// When the target could not be read, or has no heap where it should be.
    pub fn read(process: GoProcess<'_>, layout: &HeapLayout) -> Result<Self, HeapError> {
        let mheap = process.addr(Global::Mheap).ok_or(HeapError::NotFound(Global::Mheap))?;
        let target = process.target;
        let list = SpanList::read(target, layout, Addr(mheap.0.wrapping_add(layout.mheap.all_spans.into())))?;
        let mut spans = Self::empty(&list.spans);
        spans.odd = list.odd;
        let arenas = Arenas { target, layout, table: mheap.0.wrapping_add(layout.mheap.arenas.into()), process };
        arenas.read(&list.spans, &mut spans.arenas)?;
        let inline = arenas.inline_marks(&list.spans, &spans.arenas)?;
        let form = layout.form();
        let mut pages = 0_u64;
        for span in &list.spans {
            if span.pages >= LONG && !is_there(target, span)? {
                spans.odd += 1;
                continue;
            }
            pages = pages.saturating_add(span.pages.into());
            if pages > MAX_PAGES {
                return Err(HeapError::NoHeap(format!(
                    "its spans are larger than {} GiB",
                    (MAX_PAGES * SPAN_PAGE) >> 30
                )));
            }
            spans.add(span, form, &inline);
        }
        for (start, first) in list.specials {
            spans.specials.extend(spans.starting_at(start).map(|number| (number, first)));
        }
        for (start, ty) in list.large_types {
            if let Some(number) = spans.starting_at(start) {
                spans.large.insert(number, ty);
            }
        }
        if spans.spans.is_empty() {
            return Err(HeapError::NoHeap(match list.listed {
                0 => "its list of spans is empty".to_owned(),
                n => format!("none of its {n} spans can be read; {NO_HEAP}"),
            }));
        }
        Ok(spans)
    }

    fn empty(sorted: &[ListedSpan]) -> Self {
        let low = sorted.first().map_or(0, |span| span.start);
        let high = sorted.last().map_or(0, ListedSpan::end);
        Self {
            spans: Vec::with_capacity(sorted.len()),
            mspans: Vec::with_capacity(sorted.len()),
            pages: PageTable::new(low, high),
            large: FxHashMap::default(),
            specials: Vec::new(),
            arenas: FxHashMap::default(),
            words: (0, 0),
            odd: 0,
            inline: 0,
            bytes: 0,
            scannable: 0,
        }
    }

    /// The span that begins at `start`.
    fn starting_at(&self, start: u64) -> Option<u32> {
        let number = self.pages.get(start)?;
        self.spans.get(number as usize).filter(|span| span.base == start).map(|_| number)
    }

    fn add(&mut self, span: &ListedSpan, form: PointerForm, inline: &dyn Fn(u64) -> bool) {
        let (pages, elements) = (span.pages, u64::from(span.elements));
        let bytes = u64::from(pages) * SPAN_PAGE;
        let used = span.limit.wrapping_sub(span.start);
        let (noscan, class) = (span.span_class & 1 != 0, span.span_class >> 1);
        let fits = (1..=bytes).contains(&used)
            && elements > 0
            && span.elem_size >= 8
            && span.elem_size.is_multiple_of(8)
            && elements.checked_mul(span.elem_size).is_some_and(|all| all <= bytes)
            && if class == 0 { elements == 1 } else { bytes <= MAX_SMALL };
        let number = u32::try_from(self.spans.len()).ok().filter(|n| *n < MAX_NUMBER);
        let (Some(number), true) = (number, fits) else {
            self.odd += 1;
            return;
        };
        let words = elements.div_ceil(64) as usize;
        let scan_words = if noscan { 0 } else { words };
        let words_before = (u32::try_from(self.words.0), u32::try_from(self.words.1));
        let (Ok(marks), Ok(scans)) = words_before else {
            self.odd += 1;
            return;
        };
        if !self.pages.insert(span.start, pages.into(), number) {
            self.odd += 1;
            return;
        }
        let kind = match form {
            _ if noscan => Kind::NoScan,
            _ if span.user_arena => Kind::Unknown,
            PointerForm::TwoBits { .. } | PointerForm::OneBit { .. } => Kind::Arena,
            PointerForm::SpansAndTypes if class == 0 => Kind::Large,
            PointerForm::SpansAndTypes if span.elem_size > MAX_IN_SPAN => Kind::Header,
            PointerForm::SpansAndTypes => {
                let marks = if inline(span.start) { INLINE_MARKS } else { 0 };
                self.inline += usize::from(marks > 0);
                let at = bytes - bytes / 64 - marks;
                // The objects end before the bitmap, or it is not where it should be.
                let fits = elements * span.elem_size <= at;
                u32::try_from(at).ok().filter(|_| fits).map_or(Kind::Unknown, Kind::InSpan)
            }
        };
        let elem = if class == 0 { 0 } else { u32::try_from(span.elem_size).unwrap_or(0) };
        // Exact for offsets below 2¹⁷ and sizes to 2¹⁵: the rounding adds less than one part in 2¹⁷.
        let small = bytes <= 1 << 17 && (1..=1 << 15).contains(&elem);
        let magic = if small { u32::MAX / elem + 1 } else { 0 };
        self.words = (self.words.0 + words, self.words.1 + scan_words);
        self.bytes += bytes;
        self.scannable += if noscan { 0 } else { bytes };
        self.mspans.push(span.mspan);
        self.spans.push(Span {
            base: span.start,
            used,
            elem,
            magic,
            elements: span.elements,
            pages,
            marks,
            scans,
            kind,
        });
    }

    /// The number of the span that holds the byte at `addr`.
    #[inline]
    pub(super) fn span_at(&self, addr: u64) -> Option<u32> {
        self.pages.get(addr)
    }

    /// The object that holds the byte at `addr`; `None` where that is none of the heap's.
    #[inline]
    #[must_use]
    pub(crate) fn find(&self, addr: u64) -> Option<ObjectId> {
        let span = self.pages.get(addr)?;
        let record = self.spans.get(span as usize)?;
        let index = record.index(addr.wrapping_sub(record.base))?;
        Some(ObjectId { span, index })
    }

    /// All of them, in the order of their numbers, which is that of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = SpanInfo> {
        self.spans.iter().zip(&self.mspans).map(|(span, mspan)| SpanInfo {
            base: Addr(span.base),
            mspan: Addr(*mspan),
            size: span.size(),
            slot: span.slot(),
            elements: span.elements,
            noscan: span.kind == Kind::NoScan,
        })
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Entries of the list that cannot be a span, and were left out.
    #[must_use]
    pub(crate) fn odd(&self) -> u64 {
        self.odd
    }

    /// How many spans have their mark bits inside, as those of the green tea collector.
    #[must_use]
    pub fn inline_marks(&self) -> usize {
        self.inline
    }

    /// Bytes of all spans, and of those whose objects have pointers.
    #[must_use]
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes, self.scannable)
    }

    /// Where those are whose objects have pointers, with what lies behind their last object.
    pub(super) fn with_pointers(&self) -> impl Iterator<Item = MemRange> {
        let spans = self.spans.iter().filter(|span| span.kind != Kind::NoScan);
        spans.filter_map(|span| {
            let len = usize::try_from(u64::from(span.pages) * SPAN_PAGE).ok()?;
            Some(MemRange { start: Addr(span.base), len })
        })
    }

    /// What they take in gospy, bytes, without mark bits.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.mspans.capacity() * 8 + self.pages.bytes()
    }

    /// Which objects of a span are in use: a bit for each, by `freeindex` and `allocBits` as they are now. `None`
    /// where that cannot be read.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn allocated(&self, target: &dyn Target, layout: &HeapLayout, span: u32) -> Result<Option<Vec<u8>>, ReadError> {
        let (Some(record), Some(mspan)) = (self.spans.get(span as usize), self.mspans.get(span as usize)) else {
            return Ok(None);
        };
        let Some(bytes) = target.read_vec(Addr(*mspan), layout.span.size as usize)? else { return Ok(None) };
        let Some(now) = HeapSpan::parse(Addr(*mspan), &bytes, &layout.span) else { return Ok(None) };
        let Some((free_index, _)) = layout.span.counts(&bytes) else { return Ok(None) };
        if now.start != record.base || now.state != SPAN_IN_USE {
            return Ok(None);
        }
        let len = (record.elements as usize).div_ceil(8);
        let Some(mut bits) = target.read_vec(Addr(now.alloc_bits), len)? else { return Ok(None) };
        for (n, byte) in bits.iter_mut().enumerate() {
            // All before the first that may be free are in use.
            let before = free_index.saturating_sub(8 * n as u64).min(8);
            *byte |= ((1_u16 << before) - 1) as u8;
        }
        Ok(Some(bits))
    }
}
