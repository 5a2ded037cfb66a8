//! Fake memory for tests.

use std::collections::BTreeMap;

use crate::addr::Addr;

/// Memory as segments that do not overlap.
#[derive(Clone, Debug, Default)]
pub struct FakeMemory {
    segments: BTreeMap<u64, Vec<u8>>,
}

impl FakeMemory {
    /// Writes `bytes` at `addr`, adding memory where there is none.
    pub fn put(&mut self, addr: Addr, bytes: &[u8]) {
        let mut at = addr.0;
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let n = match self.segment_mut(at) {
                Some(there) => {
                    let n = there.len().min(bytes.len());
                    there.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                    n
                }
                None => {
                    let next = self.segments.range(at..).next().map_or(u64::MAX, |(&start, _)| start);
                    let n = usize::try_from(next - at).unwrap_or(usize::MAX).min(bytes.len());
                    self.segments.insert(at, bytes.iter().take(n).copied().collect());
                    n
                }
            };
            bytes = bytes.get(n..).unwrap_or_default();
            at = at.saturating_add(n as u64);
        }
    }

    /// Writes a little-endian word at `addr`.
    pub fn put_u64(&mut self, addr: Addr, word: u64) {
        self.put(addr, &word.to_le_bytes());
    }

    /// Removes the memory from `start` up to `end`.
    pub fn unmap(&mut self, start: Addr, end: Addr) {
        let touched: Vec<u64> = self.segments.range(..end.0).map(|(&at, _)| at).collect();
        for at in touched {
            let Some(mut bytes) = self.segments.remove(&at) else { continue };
            let after = end.0.checked_sub(at).and_then(|n| usize::try_from(n).ok()).filter(|&n| n < bytes.len());
            let before = usize::try_from(start.0.saturating_sub(at)).unwrap_or(usize::MAX);
            if before >= bytes.len() {
                self.segments.insert(at, bytes);
                continue;
            }
            if let Some(n) = after {
                self.segments.insert(end.0, bytes.split_off(n));
            }
            bytes.truncate(before);
            if !bytes.is_empty() {
                self.segments.insert(at, bytes);
            }
        }
    }

    /// The memory from `addr` to the end of its segment.
    fn segment_mut(&mut self, addr: u64) -> Option<&mut [u8]> {
        let (&start, bytes) = self.segments.range_mut(..=addr).next_back()?;
        bytes.get_mut(usize::try_from(addr - start).ok()?..).filter(|rest| !rest.is_empty())
    }

    pub(super) fn read(&self, addr: Addr, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = addr.checked_add(done as u64) else { break };
            let Some((&start, bytes)) = self.segments.range(..=at.0).next_back() else { break };
            let from = usize::try_from(at.0 - start).ok().and_then(|skip| bytes.get(skip..)).unwrap_or_default();
            let n = from.len().min(rest.len());
            if n == 0 {
                break;
            }
            rest.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            done += n;
        }
        done
    }
}
