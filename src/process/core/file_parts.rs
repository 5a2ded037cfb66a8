//! The parts of a file that a capture contains.

use std::io;
use std::sync::Arc;

use super::headers::FilePart;
use crate::bytes::ByteSource;

/// A file with gaps; reads end at the first gap.
pub(super) struct FileParts {
    pub(super) source: Arc<dyn ByteSource>,
    /// Ascending.
    pub(super) parts: Vec<FilePart>,
    pub(super) len: u64,
}

impl ByteSource for FileParts {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = offset.checked_add(done as u64) else { break };
            let after = self.parts.partition_point(|part| part.start <= at);
            let Some(part) = after.checked_sub(1).and_then(|index| self.parts.get(index)) else { break };
            let into = at - part.start;
            let there = usize::try_from(part.len.saturating_sub(into)).unwrap_or(usize::MAX);
            let want = there.min(rest.len());
            let Some(piece) = rest.get_mut(..want).filter(|piece| !piece.is_empty()) else { break };
            match self.source.read_at(part.offset.saturating_add(into), piece)? {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }
}
