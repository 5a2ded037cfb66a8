//! Reading spans: many with one call, and with them what the arenas' bitmaps say of them (to 1.21).

use super::layout::PointerForm;
use super::pointers::{Maps, Piece};
use super::spans::{ARENA, Kind, Span, Spans};
use crate::addr::Addr;
use crate::process::{MemRange, ReadError, Target};

/// Where the parts of a span are in the buffer: offset and length, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    data: (usize, usize),
    map: (usize, usize),
    no_more: (usize, usize),
}

/// What a call has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) bytes: u64,
    /// Ranges of which not all bytes are there; zeros stand for them.
    pub(super) missing: u64,
    /// Whether nothing could be read.
    pub(super) none: bool,
}

/// Parts of spans that are read together.
pub(super) struct Batch<'a> {
    target: &'a dyn Target,
    spans: &'a Spans,
    form: PointerForm,
    ranges: Vec<MemRange>,
    got: Vec<usize>,
    buf: Vec<u8>,
    /// Bytes that are planned to be read.
    len: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn new(target: &'a dyn Target, spans: &'a Spans, form: PointerForm) -> Self {
        Self { target, spans, form, ranges: Vec::new(), got: Vec::new(), buf: Vec::new(), len: 0 }
    }

    /// Forgets what was planned.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
        self.len = 0;
    }

    /// Plans to read `len` bytes of a span from `offset` on, and the bitmaps for them.
    pub(super) fn plan(&mut self, span: &Span, offset: u64, len: u64) -> Place {
        let start = span.base.wrapping_add(offset);
        let data = self.range(start, usize::try_from(len).unwrap_or(0));
        let mut place = Place { data, ..Place::default() };
        if span.kind != Kind::Arena {
            return place;
        }
        // A byte of the bitmap is for so many of the heap.
        let (map, no_more) = match self.form {
            PointerForm::TwoBits { bitmap } => (Some((bitmap, 32)), None),
            PointerForm::OneBit { bitmap, no_more } => (Some((bitmap, 64)), Some((no_more, 4096))),
            PointerForm::SpansAndTypes => (None, None),
        };
        place.map = self.plan_map(start, len, map);
        place.no_more = self.plan_map(start, len, no_more);
        place
    }

    fn plan_map(&mut self, start: u64, len: u64, map: Option<(u32, u64)>) -> (usize, usize) {
        let Some((field, per_byte)) = map else { return (0, 0) };
        let (first, end) = (self.len, start.wrapping_add(len));
        let arenas = start / ARENA..=end.saturating_sub(1) / ARENA;
        if arenas.clone().any(|arena| !self.spans.arenas.contains_key(&arena)) {
            return (0, 0);
        }
        for arena in arenas {
            let from = start.max(arena * ARENA);
            let to = end.min((arena + 1) * ARENA);
            let record = self.spans.arenas.get(&arena).copied().unwrap_or(0);
            let place = record.wrapping_add(field.into()).wrapping_add(from % ARENA / per_byte);
            self.range(place, usize::try_from((to - from) / per_byte).unwrap_or(0));
        }
        (first, self.len - first)
    }

    /// Plans to read a range; where it will be.
    fn range(&mut self, start: u64, len: usize) -> (usize, usize) {
        let place = (self.len, len);
        self.len += len;
        // Neighbours in memory are neighbours in the buffer: one range.
        if let Some(last) = self.ranges.last_mut()
            && last.start.0.wrapping_add(last.len as u64) == start
        {
            last.len += len;
        } else {
            self.ranges.push(MemRange { start: Addr(start), len });
        }
        place
    }

    /// Reads what was planned.
    pub(super) fn fetch(&mut self) -> Result<Fetched, ReadError> {
        if self.buf.len() < self.len {
            self.buf.resize(self.len, 0);
        }
        self.target.read_ranges(&self.ranges, &mut self.buf, &mut self.got)?;
        let none = self.got.iter().all(|got| *got == 0);
        let mut fetched = Fetched { bytes: self.len as u64, missing: 0, none };
        let mut at = 0;
        for (range, got) in self.ranges.iter().zip(&self.got) {
            if *got < range.len {
                fetched.missing += 1;
                // What was there before is another span's.
                if let Some(rest) = self.buf.get_mut(at + got..at + range.len) {
                    rest.fill(0);
                }
            }
            at += range.len;
        }
        Ok(fetched)
    }

    /// What was read of a span from `offset` on.
    pub(super) fn piece(&self, offset: u64, place: Place) -> Piece<'_> {
        let part = |(at, len): (usize, usize)| self.buf.get(at..at + len).unwrap_or_default();
        let maps = match self.form {
            _ if place.map.1 == 0 => Maps::None,
            PointerForm::TwoBits { .. } => Maps::TwoBits(part(place.map)),
            PointerForm::OneBit { .. } => Maps::OneBit(part(place.map), part(place.no_more)),
            PointerForm::SpansAndTypes => Maps::None,
        };
        Piece { offset, words: part(place.data).as_chunks::<8>().0, maps }
    }
}
