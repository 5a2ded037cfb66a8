//! The memory that a core file itself holds.

use std::sync::Arc;

use super::headers::Load;
use crate::bytes::ByteSource;

/// Segments in address order that do not overlap, and the file that has their bytes.
pub(super) struct Memory {
    source: Arc<dyn ByteSource>,
    loads: Vec<Load>,
}

impl Memory {
    pub(super) fn new(source: Arc<dyn ByteSource>, loads: Vec<Load>) -> Self {
        Self { source, loads }
    }

    pub(super) fn loads(&self) -> &[Load] {
        &self.loads
    }

    /// The segment that holds `addr`.
    pub(super) fn load_at(&self, addr: u64) -> Option<&Load> {
        let after = self.loads.partition_point(|load| load.start <= addr);
        self.loads.get(after.checked_sub(1)?).filter(|load| addr < load.end)
    }

    /// Reads from `addr` up to the end of the segment's bytes; returns 0 where the core file has none.
    pub(super) fn read_some(&self, addr: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        let Some(load) = self.load_at(addr) else { return Ok(0) };
        let into = addr - load.start;
        let there = load.len.saturating_sub(into);
        let want = buf.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        match buf.get_mut(..want).filter(|part| !part.is_empty()) {
            Some(part) => self.source.read_at(load.offset.saturating_add(into), part),
            None => Ok(0),
        }
    }

    /// Exactly `len` bytes (bounded by the caller).
    pub(super) fn exact(&self, addr: u64, len: usize) -> Option<Vec<u8>> {
        let mut out = vec![0; len];
        let mut done = 0;
        while done < len {
            let at = addr.checked_add(done as u64)?;
            match self.read_some(at, out.get_mut(done..)?).ok()? {
                0 => return None,
                n => done += n,
            }
        }
        Some(out)
    }

    /// The string at `addr` up to its NUL, at most `limit` bytes.
    pub(super) fn text(&self, addr: u64, limit: usize) -> Option<String> {
        let mut out: Vec<u8> = Vec::new();
        while out.len() <= limit {
            let mut window = [0; 128];
            let got = self.read_some(addr.checked_add(out.len() as u64)?, &mut window).ok()?;
            let part = window.get(..got).filter(|part| !part.is_empty())?;
            match memchr::memchr(0, part) {
                Some(end) => {
                    out.extend(part.get(..end)?);
                    return Some(String::from_utf8_lossy(&out).into_owned());
                }
                None => out.extend(part),
            }
        }
        None
    }

    /// Cuts the segments down to `ranges` (start and length, ascending).
    pub(super) fn limit_to(&mut self, ranges: &[(u64, u64)]) {
        let mut out = Vec::with_capacity(ranges.len());
        let mut loads = self.loads.iter().peekable();
        for &(start, len) in ranges {
            let end = start.saturating_add(len);
            while loads.next_if(|load| load.end <= start).is_some() {}
            let mut ahead = loads.clone();
            while let Some(load) = ahead.next_if(|load| load.start < end) {
                let from = start.max(load.start);
                let upto = end.min(load.end).min(load.start.saturating_add(load.len));
                if from < upto {
                    let offset = load.offset.saturating_add(from - load.start);
                    out.push(Load { start: from, end: upto, offset, len: upto - from, flags: load.flags });
                }
            }
        }
        self.loads = out;
    }
}

/// Writes ranges (start and length, ascending, not overlapping) as pairs of variable-length
/// integers: the gap to the end of the one before, and the length.
pub(in crate::process) fn encode_ranges(ranges: impl IntoIterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last = 0_u64;
    for (start, len) in ranges {
        varint(start.wrapping_sub(last), &mut out);
        varint(len, &mut out);
        last = start.wrapping_add(len);
    }
    out
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads what [`encode_ranges`] wrote; `None` when it is damaged.
pub(super) fn decode_ranges(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut numbers = Vec::new();
    let (mut value, mut shift) = (0_u64, 0_u32);
    for &byte in bytes {
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte < 0x80 {
            numbers.push(value);
            (value, shift) = (0, 0);
        }
    }
    if shift != 0 || numbers.len() % 2 != 0 {
        return None;
    }
    let mut last = 0_u64;
    numbers
        .chunks_exact(2)
        .map(|pair| {
            let &[gap, len] = pair else { return None };
            let start = last.checked_add(gap)?;
            last = start.checked_add(len)?;
            Some((start, len))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_cut_segments() {
        let load = |start, end, len| Load { start, end, offset: start, len, flags: 0 };
        let mut memory = Memory::new(Arc::new(Vec::new()), vec![load(10, 20, 10), load(20, 40, 5), load(50, 60, 10)]);
        memory.limit_to(&[(12, 2), (15, 8), (24, 30)]);
        let places: Vec<_> = memory.loads.iter().map(|l| (l.start, l.end, l.offset, l.len)).collect();
        assert_eq!(places, [(12, 14, 12, 2), (15, 20, 15, 5), (20, 23, 20, 3), (24, 25, 24, 1), (50, 54, 50, 4)]);
    }

    proptest! {
        #[test]
        fn ranges_round_trip(steps in proptest::collection::vec((1_u64..1 << 40, 1_u64..1 << 20), 0..50)) {
            let mut at = 0;
            let ranges: Vec<_> = steps.into_iter().map(|(gap, len)| { at += gap; let start = at; at += len; (start, len) }).collect();
            prop_assert_eq!(decode_ranges(&encode_ranges(ranges.clone())), Some(ranges));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            decode_ranges(&bytes);
        }
    }
}
