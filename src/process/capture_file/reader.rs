//! Reading a capture: checks every checksum on opening, and decompresses blocks on demand.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};

use super::{BLOCK_HEADER, CaptureFileError, MAGIC, MAX_BLOCK, MAX_DESCRIPTION, VERSION, crc, part_name};
use crate::bytes::{ByteSource, FieldsExt};

/// Number of decompressed blocks cached.
const REMEMBERED: usize = 64;
const END: usize = 20;

/// The core file inside a capture.
pub struct CaptureFile {
    source: Arc<dyn ByteSource>,
    /// In order.
    blocks: Vec<Block>,
    len: u64,
    description: String,
    recent: Mutex<VecDeque<(usize, Arc<[u8]>)>>,
}

/// One block.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Where its bytes belong in the core file.
    start: u64,
    size: u32,
    /// Where its data is in the capture.
    offset: u64,
    length: u32,
}

impl CaptureFile {
    /// Opens a capture and checks all of it.
    ///
    /// # Errors
    /// When it is of a newer version, ends too early or is damaged; the error says in which part.
    pub fn open(source: Arc<dyn ByteSource>) -> Result<Self, CaptureFileError> {
        let (description, mut at) = description(source.as_ref())?;
        let mut blocks = Vec::new();
        let mut start = 0_u64;
        let mut part = "its headers";
        let mut data = Vec::new();
        loop {
            let mut header = [0; BLOCK_HEADER];
            exact(source.as_ref(), at, &mut header, part)?;
            let word = |n: usize| header.u32_at(4 * n).unwrap_or(0);
            let damaged =
                |part: &'static str, what: &str| CaptureFileError::Damaged { part, offset: at, what: what.to_owned() };
            if word(0) == 0 {
                end(source.as_ref(), at, blocks.len(), start)?;
                break;
            }
            // The name of the part is checked together with the data.
            let named = part_name(word(0));
            part = named.unwrap_or(part);
            let size_fits = usize::try_from(word(1)).is_ok_and(|size| (1..=MAX_BLOCK).contains(&size));
            let length_fits = usize::try_from(word(2)).is_ok_and(|length| length <= 2 * MAX_BLOCK);
            if named.is_none() || !size_fits || !length_fits {
                return Err(damaged(part, "the block's header is malformed"));
            }
            data.resize(usize::try_from(word(2)).unwrap_or_default(), 0);
            let offset = at.saturating_add(BLOCK_HEADER as u64);
            exact(source.as_ref(), offset, &mut data, part)?;
            if crc(&[header.get(..12).unwrap_or_default(), &data]) != word(3) {
                return Err(damaged(part, "its checksum does not match"));
            }
            blocks.push(Block { start, size: word(1), offset, length: word(2) });
            start = start.saturating_add(word(1).into());
            at = offset.saturating_add(word(2).into());
        }
        Ok(Self { source, blocks, len: start, description, recent: Mutex::default() })
    }

    /// The description as JSON.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    fn block(&self, index: usize) -> io::Result<Arc<[u8]>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent.iter().position(|(known, _)| *known == index)
            && let Some(found) = recent.remove(at)
        {
            let bytes = Arc::clone(&found.1);
            recent.push_back(found);
            return Ok(bytes);
        }
        drop(recent);
        let bytes: Arc<[u8]> = self.decompress(index)?.into();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= REMEMBERED {
            recent.pop_front();
        }
        recent.push_back((index, Arc::clone(&bytes)));
        Ok(bytes)
    }

    fn decompress(&self, index: usize) -> io::Result<Vec<u8>> {
        let bad =
            |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("block {index} of the capture {what}"));
        let block = self.blocks.get(index).ok_or_else(|| bad("is not there"))?;
        let mut data = vec![0; usize::try_from(block.length).unwrap_or_default()];
        if self.source.read_at(block.offset, &mut data)? != data.len() {
            return Err(bad("is not there any more"));
        }
        let size = usize::try_from(block.size).unwrap_or_default();
        let mut out = Vec::with_capacity(size);
        let status = Decompress::new(false).decompress_vec(&data, &mut out, FlushDecompress::Finish);
        match status {
            Ok(Status::StreamEnd) if out.len() == size => Ok(out),
            _ => Err(bad("cannot be decompressed")),
        }
    }
}

fn exact(source: &dyn ByteSource, at: u64, buf: &mut [u8], part: &'static str) -> Result<(), CaptureFileError> {
    if source.read_at(at, buf)? == buf.len() {
        return Ok(());
    }
    Err(CaptureFileError::Truncated { len: source.len(), part })
}

/// The description, and where the blocks start.
fn description(source: &dyn ByteSource) -> Result<(String, u64), CaptureFileError> {
    const PART: &str = "its description";
    let damaged = |what: &str| CaptureFileError::Damaged { part: PART, offset: 0, what: what.to_owned() };
    let mut head = [0; 16];
    exact(source, 0, &mut head, PART)?;
    if !head.starts_with(&MAGIC) {
        return Err(damaged("it does not begin like a capture"));
    }
    let version = head.u32_at(8).unwrap_or(0);
    if version > VERSION {
        return Err(CaptureFileError::Version { found: version });
    }
    let len = head.u32_at(12).and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX);
    if version == 0 || len > MAX_DESCRIPTION {
        return Err(damaged("its header is malformed"));
    }
    let mut rest = vec![0; len + 4];
    exact(source, 16, &mut rest, PART)?;
    let (json, sum) = rest.split_at_checked(len).unwrap_or_default();
    if sum.u32_at(0) != Some(crc(&[&head, json])) {
        return Err(damaged("its checksum does not match"));
    }
    Ok((String::from_utf8_lossy(json).into_owned(), 16 + rest.len() as u64))
}

fn end(source: &dyn ByteSource, at: u64, blocks: usize, size: u64) -> Result<(), CaptureFileError> {
    const PART: &str = "its end";
    let damaged = |what: String| CaptureFileError::Damaged { part: PART, offset: at, what };
    let mut end = [0; END];
    exact(source, at, &mut end, PART)?;
    if end.u32_at(16) != Some(crc(&[end.get(..16).unwrap_or_default()])) {
        return Err(damaged("its checksum does not match".to_owned()));
    }
    let (count, total) = (end.u32_at(4).unwrap_or(0), end.u64_at(8).unwrap_or(0));
    if usize::try_from(count) != Ok(blocks) || total != size {
        return Err(damaged(format!(
            "it speaks of {count} blocks with {total} bytes, and there are {blocks} with {size}"
        )));
    }
    let end_of_file = at.saturating_add(END as u64);
    if source.len() != end_of_file {
        return Err(damaged(format!("{} bytes follow it", source.len().saturating_sub(end_of_file))));
    }
    Ok(())
}

impl ByteSource for CaptureFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = offset.checked_add(done as u64).filter(|&at| at < self.len) else { break };
            let Some(index) = self.blocks.partition_point(|block| block.start <= at).checked_sub(1) else { break };
            let Some(start) = self.blocks.get(index).map(|block| block.start) else { break };
            let block = self.block(index)?;
            let from = usize::try_from(at - start).ok().and_then(|skip| block.get(skip..)).unwrap_or_default();
            let n = from.len().min(rest.len());
            if n == 0 {
                break;
            }
            rest.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            done += n;
        }
        Ok(done)
    }
}
