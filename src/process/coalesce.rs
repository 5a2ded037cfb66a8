//! Reading many small pieces of memory as few ranges.
//!
//! A range costs the kernel about 400 ns (measured: it looks up and pins pages), a byte almost nothing. So
//! pieces close together are read as one range, gaps included, and one chunk of ranges at a time goes into a
//! reused buffer. Cost is linear in the number of pieces, without an allocation per piece. A chunk is small
//! enough to be read, and read again for comparison, within about a millisecond.
//!
//! Callers sort the pieces.

use std::ops::Range;

use super::{MemRange, ReadError, Target};
use crate::addr::Addr;

/// Smallest page size of the supported machines: memory is mapped in whole pages.
const PAGE: u64 = 4096;

/// Limits for merging pieces into ranges and chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest gap between two pieces of one range, bytes; capped at 4,095, since a larger gap could contain an
    /// unmapped page.
    pub gap: u64,
    /// Maximum bytes of a chunk. A longer piece is truncated to this length.
    pub chunk_bytes: usize,
    /// Maximum ranges of a chunk.
    pub chunk_ranges: usize,
}

impl Default for Limits {
    /// Gaps below 2 KiB, chunks of 8 MiB and 4,096 ranges (four system calls).
    fn default() -> Self {
        Self { gap: 2047, chunk_bytes: 8 << 20, chunk_ranges: 4096 }
    }
}

/// Where a piece is in the buffer, and how much of it was read.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    at: usize,
    have: usize,
}

/// Reads pieces chunk by chunk into reused buffers. To read one chunk while processing another, use two.
#[derive(Debug)]
pub struct ChunkReader {
    limits: Limits,
    /// Indices of the pieces of the chunk.
    pieces: Range<usize>,
    places: Vec<Place>,
    ranges: Vec<MemRange>,
    /// Number of pieces of each range.
    pieces_of: Vec<usize>,
    got: Vec<usize>,
    buf: Vec<u8>,
}

impl ChunkReader {
    /// Creates one with these limits; 0 bytes or ranges count as 1.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            gap: limits.gap.min(PAGE - 1),
            chunk_bytes: limits.chunk_bytes.max(1),
            chunk_ranges: limits.chunk_ranges.max(1),
        };
        Self {
            limits,
            pieces: 0..0,
            places: Vec::new(),
            ranges: Vec::new(),
            pieces_of: Vec::new(),
            got: Vec::new(),
            buf: Vec::new(),
        }
    }

    /// Has chunks be large enough for a piece of `len` bytes from now on.
    pub fn make_room(&mut self, len: usize) {
        self.limits.chunk_bytes = self.limits.chunk_bytes.max(len);
    }

    /// Reads the chunk that starts with piece `first` and returns the indices of its pieces: as many as the
    /// limits allow, at least one unless there are no more. Call it again with the end of the returned range
    /// until that is `pieces.len()`.
    ///
    /// `pieces` should be sorted by address. They may overlap or be empty. Unsorted pieces are only slower: one
    /// below its predecessor starts a new range.
    ///
    /// # Errors
    /// The target's read error; the chunk is empty then.
    pub fn read(
        &mut self,
        target: &(impl Target + ?Sized),
        pieces: &[MemRange],
        first: usize,
    ) -> Result<Range<usize>, ReadError> {
        let wanted = self.plan(pieces, first);
        let bytes = self.ranges.iter().map(|range| range.len).sum();
        if self.buf.len() < bytes {
            self.buf.resize(bytes, 0);
        }
        target.read_ranges(&self.ranges, &mut self.buf, &mut self.got)?;
        self.settle(target, pieces.get(wanted.clone()).unwrap_or_default())?;
        self.pieces = wanted.clone();
        Ok(wanted)
    }

    /// The pieces of the chunk.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn pieces(&self) -> Range<usize> {
        self.pieces.clone()
    }

    /// The ranges the chunk was read as.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn ranges(&self) -> &[MemRange] {
        &self.ranges
    }

    /// The bytes of a piece by index; fewer than requested where memory is unmapped, none for a piece outside
    /// this chunk.
    #[must_use]
    pub(crate) fn bytes(&self, piece: usize) -> &[u8] {
        self.try_bytes(piece).unwrap_or_default()
    }

    fn try_bytes(&self, piece: usize) -> Option<&[u8]> {
        let index = piece.checked_sub(self.pieces.start)?;
        let place = self.places.get(index).filter(|_| piece < self.pieces.end)?;
        self.buf.get(place.at..)?.get(..place.have)
    }

    /// All pieces of the chunk with their bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.pieces.clone().map(|piece| (piece, self.bytes(piece)))
    }

    /// Merges the pieces from `first` on into ranges, up to the limits.
    fn plan(&mut self, pieces: &[MemRange], first: usize) -> Range<usize> {
        self.pieces = 0..0;
        self.places.clear();
        self.ranges.clear();
        self.pieces_of.clear();
        // Bytes of the buffer before the current range.
        let mut before = 0_usize;
        for piece in pieces.get(first..).unwrap_or_default() {
            let len = piece.len.min(self.limits.chunk_bytes);
            let open = self.ranges.last_mut().zip(self.pieces_of.last_mut());
            if let Some((range, pieces_of)) = open {
                if let Some((at, end)) = self.limits.joined(*range, piece.start, len) {
                    if before + end > self.limits.chunk_bytes {
                        break;
                    }
                    range.len = end;
                    *pieces_of += 1;
                    self.places.push(Place { at: before + at, have: 0 });
                    continue;
                }
                if before + range.len + len > self.limits.chunk_bytes || self.ranges.len() >= self.limits.chunk_ranges {
                    break;
                }
                before += self.ranges.last().map_or(0, |range| range.len);
            }
            self.ranges.push(MemRange { start: piece.start, len });
            self.pieces_of.push(1);
            self.places.push(Place { at: before, have: 0 });
        }
        let first = first.min(pieces.len());
        first..first + self.places.len()
    }

    /// Determines how much of every piece was read, and reads again after each hole.
    fn settle(&mut self, target: &(impl Target + ?Sized), pieces: &[MemRange]) -> Result<(), ReadError> {
        let Self { places, ranges, pieces_of, got, buf, .. } = self;
        let mut pieces = pieces.iter().zip(places.iter_mut());
        let mut before = 0_usize;
        let whole_pages = target.has_whole_pages();
        for ((range, &count), &got) in ranges.iter().zip(pieces_of.iter()).zip(got.iter()) {
            // The address up to which the range was read.
            let mut upto = range.start.0.saturating_add(got as u64);
            let end = range.start.0.saturating_add(range.len as u64);
            for (piece, place) in pieces.by_ref().take(count) {
                // The read stopped before this piece: continue with it, unless it starts in the unmapped page
                // itself.
                let beyond = !whole_pages || piece.start.0 / PAGE > upto / PAGE;
                if upto < end && piece.start.0 >= upto && beyond {
                    let rest = buf.get_mut(place.at..before.saturating_add(range.len)).unwrap_or_default();
                    upto = piece.start.0.saturating_add(target.read(piece.start, rest)? as u64);
                }
                let len = piece.len.min(range.len);
                place.have = usize::try_from(upto.saturating_sub(piece.start.0)).unwrap_or(len).min(len);
            }
            before = before.saturating_add(range.len);
        }
        Ok(())
    }
}

impl Limits {
    /// If a piece of `len` bytes at `start` fits into `range`: its offset, and the new length of the range.
    fn joined(&self, range: MemRange, start: Addr, len: usize) -> Option<(usize, usize)> {
        let at = start.0.checked_sub(range.start.0)?;
        if at > (range.len as u64).checked_add(self.gap)? {
            return None;
        }
        let at = usize::try_from(at).ok()?;
        Some((at, at.checked_add(len)?.max(range.len)))
    }
}

#[cfg(test)]
#[path = "coalesce_tests.rs"]
mod tests;
