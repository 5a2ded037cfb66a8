//! Blocks: what they say of themselves, and their compression.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{MAX_BLOCK, Malformed, Moment};
use crate::bytes::FieldsExt;
use crate::process::capture_file::crc;

/// Length of a block's header, bytes.
pub(super) const HEADER: usize = 36;
/// What of it the checksum covers.
const CHECKED: usize = 32;

/// What is in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Nothing: the recording ended.
    End,
    /// Names, from the first one.
    Names,
    /// The names after those.
    MoreNames,
    /// Samples, beginning with a whole one.
    Whole,
    /// The samples after those.
    Changes,
}

impl Part {
    const ALL: [Self; 5] = [Self::End, Self::Names, Self::MoreNames, Self::Whole, Self::Changes];

    fn number(self) -> u32 {
        Self::ALL.iter().zip(0..).find(|(part, _)| **part == self).map_or(0, |(_, number)| number)
    }
}

/// What a block says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// What is in it.
    pub(crate) part: Part,
    /// Bytes when decompressed.
    pub(crate) size: u32,
    /// Bytes of its data in the file.
    pub(crate) length: u32,
    /// How many samples end in it.
    pub(crate) samples: u32,
    /// When the last of them was taken.
    pub(crate) last: Moment,
}

/// Compresses `data` to a block.
pub(super) fn encode(part: Part, samples: u32, last: Moment, data: &[u8]) -> io::Result<(Header, Vec<u8>)> {
    let mut compressed = Vec::new();
    if !data.is_empty() {
        // Deflate adds at most five bytes for each 16 KiB of incompressible data.
        compressed.reserve(data.len() + data.len() / 1024 + 64);
        let mut compress = Compress::new(Compression::new(6), false);
        if compress.compress_vec(data, &mut compressed, FlushCompress::Finish)? != Status::StreamEnd {
            return Err(io::Error::other("a block could not be compressed in one step"));
        }
    }
    let number = |len: usize| u32::try_from(len).map_err(|_| io::Error::other("a block is too large"));
    let (size, length) = (number(data.len())?, number(compressed.len())?);
    let header = Header { part, size, length, samples, last };
    let mut bytes = Vec::with_capacity(HEADER + compressed.len());
    [part.number(), size, length, samples].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    [last.monotonic_ns, last.unix_ns].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes.extend(crc(&[&bytes, &compressed]).to_le_bytes());
    bytes.extend(&compressed);
    Ok((header, bytes))
}

/// What the first bytes of a block say; its checksum is not looked at.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let word = |n: usize| bytes.u32_at(4 * n);
    let number = usize::try_from(word(0)?).ok()?;
    let header = Header {
        part: *Part::ALL.get(number)?,
        size: word(1)?,
        length: word(2)?,
        samples: word(3)?,
        last: Moment { monotonic_ns: bytes.u64_at(16)?, unix_ns: bytes.u64_at(24)? },
    };
    let fits = |word: u32, most: usize| usize::try_from(word).is_ok_and(|word| word <= most);
    // Each sample takes at least a byte.
    let plausible = header.part == Part::End || header.samples <= header.size;
    (fits(header.size, MAX_BLOCK) && fits(header.length, 2 * MAX_BLOCK) && plausible).then_some(header)
}

/// Whether header and data have the block's checksum.
pub(super) fn is_intact(head: &[u8], data: &[u8]) -> bool {
    head.get(..CHECKED).is_some_and(|checked| head.u32_at(CHECKED) == Some(crc(&[checked, data])))
}

/// Decompresses the data of a block, and adds it to `out`.
pub(super) fn decode(header: &Header, data: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let size = usize::try_from(header.size).unwrap_or(MAX_BLOCK).min(MAX_BLOCK);
    if size == 0 {
        return Ok(());
    }
    let mut plain = Vec::with_capacity(size);
    match Decompress::new(false).decompress_vec(data, &mut plain, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) if plain.len() == size => {
            out.append(&mut plain);
            Ok(())
        }
        _ => Err(Malformed("a block cannot be decompressed")),
    }
}
