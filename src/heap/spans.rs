//! The spans of the heap (`mheap.allspans`), and the objects in them.
//!
//! mspans are never freed and their list only grows, but its array is replaced when it grows; so the header is
//! compared again after the array was read. A span that cannot be one (not in whole pages, longer than all
//! address space, on a page of another) is counted and left out.

use rustc_hash::FxHashMap;

use super::HeapError;
use super::layout::{HeapLayout, PointerForm};
use super::pages::{MAX_PAGES, PageTable};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{MemRange, ReadError, Target, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::frontier::{Budget, Frontier};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::mspan::{HeapSpan, SPAN_IN_USE, SPAN_PAGE};
use crate::runtime::symbols::Global;

/// Most spans that are read: 256 million of one page are a heap of 2 TiB.
const MAX_SPANS: u64 = 1 << 28;
/// How often a list that was replaced while it was read is read again.
const TRIES: usize = 8;
/// Addresses have 48 bits (57 on machines and kernels that are asked for it, which Go never does).
pub(super) const MAX_ADDR: u64 = 1 << 48;
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
    elem: u32,
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
    /// How many objects it has, free ones included.
    pub elements: u32,
    /// Whether its objects have no pointers.
    pub noscan: bool,
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
        let addrs = list(target, Addr(mheap.0.wrapping_add(layout.mheap.all_spans.into())))?;
        let mut found = read_in_use(target, layout, &addrs)?;
        found.spans.sort_unstable_by_key(|span| span.start);
        let mut spans = Self::empty(&found.spans);
        spans.odd = found.odd;
        let arenas = Arenas { target, layout, table: mheap.0.wrapping_add(layout.mheap.arenas.into()), process };
        arenas.read(&found, &mut spans.arenas)?;
        let inline = arenas.inline_marks(&found.spans, &spans.arenas)?;
        let form = layout.form();
        let mut pages = 0_u64;
        for (span, raw) in found.spans.iter().zip(&found.counts) {
            pages = pages.saturating_add(span.pages);
            if pages > MAX_PAGES {
                return Err(HeapError::NoHeap(format!(
                    "its spans are larger than {} GiB",
                    (MAX_PAGES * SPAN_PAGE) >> 30
                )));
            }
            spans.add(span, *raw, form, &inline);
        }
        if spans.spans.is_empty() {
            return Err(HeapError::NoHeap(match addrs.len() {
                0 => "its list of spans is empty".to_owned(),
                n => format!("none of its {n} spans can be read; a capture holds goroutines and not the heap"),
            }));
        }
        Ok(spans)
    }

    fn empty(sorted: &[HeapSpan]) -> Self {
        let low = sorted.first().map_or(0, |span| span.start);
        let high = sorted.last().map_or(0, |span| span.start.saturating_add(span.pages.saturating_mul(SPAN_PAGE)));
        Self {
            spans: Vec::with_capacity(sorted.len()),
            mspans: Vec::with_capacity(sorted.len()),
            pages: PageTable::new(low, high.min(MAX_ADDR)),
            large: FxHashMap::default(),
            specials: Vec::new(),
            arenas: FxHashMap::default(),
            words: (0, 0),
            odd: 0,
            bytes: 0,
            scannable: 0,
        }
    }

    fn add(&mut self, span: &HeapSpan, elements: u64, form: PointerForm, inline: &dyn Fn(u64) -> bool) {
        let bytes = span.pages.saturating_mul(SPAN_PAGE);
        let used = span.limit.wrapping_sub(span.start);
        let (noscan, class) = (span.span_class & 1 != 0, span.span_class >> 1);
        let fits = (1..=bytes).contains(&used)
            && elements > 0
            && span.elem_size >= 8
            && span.elem_size.is_multiple_of(8)
            && elements.checked_mul(span.elem_size).is_some_and(|all| all <= bytes)
            && if class == 0 { elements == 1 } else { bytes <= MAX_SMALL };
        let number = u32::try_from(self.spans.len()).ok().filter(|n| *n < u32::MAX);
        let (Some(number), Ok(count), true) = (number, u32::try_from(elements), fits) else {
            self.odd += 1;
            return;
        };
        let words = elements.div_ceil(64) as usize;
        let scan_words = if noscan { 0 } else { words };
        let words_before = (u32::try_from(self.words.0), u32::try_from(self.words.1));
        let (Ok(pages), (Ok(marks), Ok(scans))) = (u32::try_from(span.pages), words_before) else {
            self.odd += 1;
            return;
        };
        if !self.pages.insert(span.start, span.pages, number) {
            self.odd += 1;
            return;
        }
        let kind = match form {
            _ if noscan => Kind::NoScan,
            _ if span.user_arena == Some(true) => Kind::Unknown,
            PointerForm::TwoBits { .. } | PointerForm::OneBit { .. } => Kind::Arena,
            PointerForm::SpansAndTypes if class == 0 => Kind::Large,
            PointerForm::SpansAndTypes if span.elem_size > MAX_IN_SPAN => Kind::Header,
            PointerForm::SpansAndTypes => {
                let marks = if inline(span.start) { INLINE_MARKS } else { 0 };
                let at = bytes - bytes / 64 - marks;
                // The objects end before the bitmap, or it is not where it should be.
                let fits = elements * span.elem_size <= at;
                u32::try_from(at).ok().filter(|_| fits).map_or(Kind::Unknown, Kind::InSpan)
            }
        };
        if class == 0 && !noscan {
            self.large.extend(span.large_type.map(|ty| (number, ty)));
        }
        let elem = if class == 0 { 0 } else { u32::try_from(span.elem_size).unwrap_or(0) };
        // Exact for offsets below 2¹⁷ and sizes to 2¹⁵: the rounding adds less than one part in 2¹⁷.
        let small = bytes <= 1 << 17 && (1..=1 << 15).contains(&elem);
        let magic = if small { u32::MAX / elem + 1 } else { 0 };
        self.words = (self.words.0 + words, self.words.1 + scan_words);
        self.bytes += bytes;
        self.scannable += if noscan { 0 } else { bytes };
        if span.specials != 0 {
            self.specials.push((number, span.specials));
        }
        self.mspans.push(span.addr.0);
        self.spans.push(Span { base: span.start, used, elem, magic, elements: count, pages, marks, scans, kind });
    }

    /// The object that holds the byte at `addr`; `None` where that is none of the heap's.
    #[inline]
    #[must_use]
    pub fn find(&self, addr: u64) -> Option<ObjectId> {
        let span = self.pages.get(addr)?;
        let record = self.spans.get(span as usize)?;
        let index = record.index(addr.wrapping_sub(record.base))?;
        Some(ObjectId { span, index })
    }

    /// Where an object starts.
    #[must_use]
    pub fn start(&self, object: ObjectId) -> Option<Addr> {
        let span = self.spans.get(object.span as usize)?;
        Some(Addr(span.base.wrapping_add(span.offset(object.index))))
    }

    /// Size of an object as the runtime allocates it, bytes.
    #[must_use]
    pub fn size(&self, object: ObjectId) -> Option<u64> {
        self.spans.get(object.span as usize).map(Span::size)
    }

    /// All of them, in the order of their numbers, which is that of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = SpanInfo> {
        self.spans.iter().zip(&self.mspans).map(|(span, mspan)| SpanInfo {
            base: Addr(span.base),
            mspan: Addr(*mspan),
            size: span.size(),
            elements: span.elements,
            noscan: span.kind == Kind::NoScan,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Entries of the list that cannot be a span, and were left out.
    #[must_use]
    pub fn odd(&self) -> u64 {
        self.odd
    }

    /// Bytes of all spans, and of those whose objects have pointers.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes, self.scannable)
    }

    /// What they take in gospy, bytes, without mark bits.
    #[must_use]
    pub fn memory(&self) -> usize {
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

/// The addresses of all mspans.
pub(super) fn list(target: &dyn Target, at: Addr) -> Result<Vec<Addr>, HeapError> {
    /// Bytes of a piece, so that memory is not allocated for a bogus length.
    const PIECE: usize = 8 << 20;
    let header = || -> Result<(u64, u64), HeapError> {
        let words = target.read_array::<16>(at)?;
        let words = words.ok_or_else(|| HeapError::NoHeap(format!("there is no memory at {at} (mheap.allspans)")))?;
        Ok((words.u64_at(0).unwrap_or(0), words.u64_at(8).unwrap_or(0)))
    };
    'again: for _ in 0..TRIES {
        let (array, len) = header()?;
        let total = usize::try_from(len.min(MAX_SPANS)).unwrap_or(usize::MAX).saturating_mul(8);
        let mut addrs = Vec::new();
        let mut buf = vec![0_u8; total.min(PIECE)];
        while addrs.len() * 8 < total {
            let want = (total - addrs.len() * 8).min(PIECE);
            let Some(piece) = buf.get_mut(..want) else { break };
            if target.read(Addr(array.wrapping_add(addrs.len() as u64 * 8)), piece)? != want {
                if header()?.0 == array {
                    return Err(HeapError::NoHeap(format!(
                        "the list of its spans at {array:#x} is not there; a capture holds goroutines and not the heap"
                    )));
                }
                continue 'again;
            }
            addrs.extend(piece.as_chunks::<8>().0.iter().map(|word| Addr(u64::from_le_bytes(*word))));
        }
        if header()?.0 == array {
            return Ok(addrs);
        }
    }
    Err(HeapError::NoHeap(format!("the list of its spans was replaced {TRIES} times while it was read")))
}

struct InUse {
    spans: Vec<HeapSpan>,
    /// Objects of each.
    counts: Vec<u64>,
    odd: u64,
}

fn read_in_use(target: &dyn Target, layout: &HeapLayout, addrs: &[Addr]) -> Result<InUse, ReadError> {
    let budget = Budget { objects: usize::MAX, bytes: u64::MAX, depth: 0 };
    let mut found: Vec<(HeapSpan, u64)> = Vec::new();
    let mut odd = 0;
    let len = layout.span.size as usize;
    // A million at a time: their ranges take memory too.
    for addrs in addrs.chunks(1 << 20) {
        let ranges = addrs.iter().map(|&start| MemRange { start, len });
        Frontier::new(target, budget).ranges(ranges, |range, bytes| {
            let Some(span) = HeapSpan::parse(range.start, bytes, &layout.span) else { return };
            if span.state != SPAN_IN_USE {
                return;
            }
            let end = span.pages.checked_mul(SPAN_PAGE).and_then(|bytes| span.start.checked_add(bytes));
            let placed = span.start.is_multiple_of(SPAN_PAGE) && span.start > 0 && span.pages > 0;
            match layout.span.counts(bytes) {
                Some((_, elements)) if placed && end.is_some_and(|end| end <= MAX_ADDR) => found.push((span, elements)),
                _ => odd += 1,
            }
        })?;
    }
    found.sort_unstable_by_key(|(span, _)| span.start);
    let (spans, counts) = found.into_iter().unzip();
    Ok(InUse { spans, counts, odd })
}

/// Records of the arenas that spans are in.
struct Arenas<'a> {
    target: &'a dyn Target,
    layout: &'a HeapLayout,
    /// Address of `mheap.arenas`.
    table: u64,
    process: GoProcess<'a>,
}

impl Arenas<'_> {
    /// Number of the arena of an address (`arenaIndex`, runtime/mheap.go): addresses are signed on amd64.
    fn number(&self, addr: u64) -> u64 {
        match self.process.arch() {
            crate::addr::Arch::Amd64 => addr.wrapping_add(0x8000_0000_0000) / ARENA,
            crate::addr::Arch::Arm64 => addr / ARENA,
        }
    }

    /// Reads where the record of each arena is, by `addr / ARENA`, if this version keeps anything there.
    fn read(&self, found: &InUse, out: &mut FxHashMap<u64, u64>) -> Result<(), ReadError> {
        let layout = &self.layout.arena;
        if layout.bitmap.is_none() && layout.inline_marks.is_none() {
            return Ok(());
        }
        // One level only on 64-bit Linux: mheap.arenas[0] points to the records of all.
        let Some(table) = self.target.read_u64(Addr(self.table))? else { return Ok(()) };
        let mut arenas: Vec<u64> = Vec::new();
        for span in &found.spans {
            let last = span.start.saturating_add(span.pages.saturating_mul(SPAN_PAGE)).saturating_sub(1);
            // Spans are in the order of their addresses.
            let from = arenas.last().map_or(0, |last| last + 1).max(span.start / ARENA);
            arenas.extend(from..=last / ARENA);
        }
        arenas.dedup();
        let addrs = arenas.iter().map(|n| Addr(table.wrapping_add(8 * self.number(n * ARENA))));
        let budget = Budget { objects: usize::MAX, bytes: u64::MAX, depth: 0 };
        let words = Frontier::new(self.target, budget).words(addrs.clone())?;
        out.extend(arenas.iter().zip(addrs).filter_map(|(n, addr)| Some((*n, *words.get(&addr)?))));
        out.retain(|_, record| *record != 0);
        Ok(())
    }

    /// Which spans have their mark bits in them, by the bits of the arenas.
    fn inline_marks(
        &self,
        spans: &[HeapSpan],
        arenas: &FxHashMap<u64, u64>,
    ) -> Result<Box<dyn Fn(u64) -> bool>, ReadError> {
        /// Bits for the pages of an arena, bytes.
        const BITS: usize = (ARENA / SPAN_PAGE / 8) as usize;
        let Some(at) = self.layout.arena.inline_marks else { return Ok(Box::new(|_| false)) };
        let mut bits: FxHashMap<u64, Vec<u8>> = FxHashMap::default();
        for span in spans {
            let arena = span.start / ARENA;
            if let (std::collections::hash_map::Entry::Vacant(entry), Some(record)) =
                (bits.entry(arena), arenas.get(&arena))
            {
                entry.insert(self.target.read_vec(Addr(record.wrapping_add(at.into())), BITS)?.unwrap_or_default());
            }
        }
        Ok(Box::new(move |base| {
            let page = (base % ARENA / SPAN_PAGE) as usize;
            bits.get(&(base / ARENA))
                .and_then(|bits| bits.get(page / 8))
                .is_some_and(|byte| byte >> (page % 8) & 1 != 0)
        }))
    }
}
