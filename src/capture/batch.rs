//! temporary
use crate::addr::Addr;
use crate::target::{MemRange, ReadError, Target};
#[derive(Debug, Default)]
pub(super) struct Batch { pieces: Vec<(u32, usize, usize)>, ranges: Vec<MemRange>, starts: Vec<usize>, buf: Vec<u8>, got: Vec<usize> }
impl Batch {
    pub(super) fn clear(&mut self) { self.pieces.clear(); self.ranges.clear(); self.starts.clear(); }
    pub(super) fn push(&mut self, addr: Addr, len: usize) {
        if let (Some(last), Some(start)) = (self.ranges.last_mut(), self.starts.last()) {
            let end = last.start.0 + last.len as u64;
            if addr.0 >= last.start.0 && addr.0 <= end + 2048 {
                let off = (addr.0 - last.start.0) as usize;
                last.len = last.len.max(off + len);
                self.pieces.push((self.ranges.len() as u32 - 1, start + off, len));
                return;
            }
        }
        let start = self.starts.last().zip(self.ranges.last()).map_or(0, |(s, r)| s + r.len);
        self.ranges.push(MemRange { start: addr, len });
        self.starts.push(start);
        self.pieces.push((self.ranges.len() as u32 - 1, start, len));
    }
    pub(super) fn read(&mut self, target: &dyn Target) -> Result<(), ReadError> {
        let total = self.starts.last().zip(self.ranges.last()).map_or(0, |(s, r)| s + r.len);
        self.buf.resize(total, 0);
        target.read_ranges(&self.ranges, &mut self.buf, &mut self.got)
    }
    pub(super) fn get(&self, i: usize) -> &[u8] {
        let Some(&(range, at, len)) = self.pieces.get(i) else { return &[] };
        let (Some(start), Some(got)) = (self.starts.get(range as usize), self.got.get(range as usize)) else { return &[] };
        let have = (start + got).saturating_sub(at).min(len);
        self.buf.get(at..at + have).unwrap_or(&[])
    }
}
