//! The file that `gospy record -o FILE.gospyrec` writes: many snapshots of one program. Names and stacks are in
//! it once; of a snapshot only what differs from the one before, but for one in a few minutes that is whole.
//!
//! ```text
//! magic       8 bytes  89 67 73 72 65 63 0a 1a
//! version     u32      1
//! length      u32      of the description
//! description JSON     for people without gospy: program, pid, time, architecture
//! checksum    u32      CRC-32 of everything before it
//! blocks:
//!   part      u32      1 names from the first, 2 more names, 3 samples from a whole one, 4 more samples
//!   size      u32      bytes when decompressed, at most 1 MiB
//!   length    u32      bytes in this file
//!   samples   u32      that end in this block
//!   monotonic u64      nanotime of the last of them, ns; 0 if there is none
//!   unix      u64      the same moment since the Unix epoch, ns
//!   checksum  u32      CRC-32 of the 32 bytes before it and of the data
//!   data               deflate (RFC 1951)
//! end:
//!   part      u32      0, and zeros but for samples: how many there are (saturated)
//! ```
//!
//! Numbers are little-endian. The blocks of names from one part 1 to the next are one stream of entries, and those
//! of samples from one part 3 to the next are another: each entry is a varint with its length and that many bytes.
//! An entry of names is a value of the pool (`PoolEntry`); values of one kind have the numbers in which they come.
//! A sample is eight lists (`Lists`), each as what changes in the list of the sample before: see `script`. Elements
//! of lists and names are in the encoding of the postcard crate, in the form of the types of `model`. So a change of
//! these types is a new version of the format: a test keeps the bytes of one sample.
//!
//! Blocks are written as the recording goes on. A file that was cut, or is damaged somewhere, is read up to there.
//! It is refused if its version is newer or no sample is whole, and where lengths or sizes exceed the limits
//! below, which hold for what is written, too. Data that is compressed may be a thousand times as long as the file,
//! and take more memory still: [`Room`] bounds that.

mod block;
mod decoder;
mod encoder;
mod facts;
mod names;
mod reader;
mod ring;
mod room;
mod script;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use reader::{Archive, ArchiveError, Start};
pub(crate) use ring::Ring;
pub(crate) use writer::{Description, RecordError, Recorder};

use room::Room;

/// The first bytes: not text, so that any text conversion damages them visibly.
pub(crate) const MAGIC: [u8; 8] = *b"\x89gsrec\n\x1a";
/// The version written, and the only one read so far.
const VERSION: u32 = 1;

/// Longest description, bytes.
const MAX_DESCRIPTION: usize = 64 << 10;
/// Largest block, decompressed, bytes.
const MAX_BLOCK: usize = 1 << 20;
/// Most bytes of a sample, encoded.
const MAX_SAMPLE: usize = 256 << 20;
/// Most bytes of one name, stack or set of labels, encoded.
const MAX_NAME: usize = 4 << 20;
/// Most goroutines of a sample.
const MAX_GOROUTINES: usize = 4 << 20;
/// Most bytes of them, encoded.
const MAX_GOROUTINE_BYTES: usize = 192 << 20;
/// Most bytes of any other list of a sample, encoded.
const MAX_LIST: usize = 32 << 20;
/// Most bytes of the names that samples share, encoded.
const MAX_NAMES: usize = 512 << 20;

/// A moment, by both clocks of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// By the runtime's `nanotime`, ns.
    pub(crate) monotonic_ns: u64,
    /// Since the Unix epoch, ns.
    pub(crate) unix_ns: u64,
}

/// What is wrong with bytes that were to be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(&'static str);

/// Appends `value` in groups of seven bits, lowest first.
fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while let Ok(low) = u8::try_from(value & 0x7f)
        && value > 0x7f
    {
        out.push(low | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value & 0x7f).unwrap_or_default());
}

/// Takes such a number from the front of `bytes`; `None` if they end before it does.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes an entry of at most `most` bytes from the front of a stream: `Ok(None)` if it has not ended yet.
fn take_entry<'b>(bytes: &mut &'b [u8], most: usize) -> Result<Option<&'b [u8]>, Malformed> {
    let mut rest = *bytes;
    let Some(len) = take_varint(&mut rest) else {
        // A number has ten bytes at most.
        return if bytes.len() < 10 { Ok(None) } else { Err(Malformed("the length of an entry is malformed")) };
    };
    let len = usize::try_from(len).ok().filter(|&len| len <= most).ok_or(Malformed("an entry is too long"))?;
    let Some((entry, rest)) = rest.split_at_checked(len) else { return Ok(None) };
    *bytes = rest;
    Ok(Some(entry))
}
