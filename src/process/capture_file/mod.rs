//! The file that `gospy capture` writes: an ELF core file in compressed and checked blocks.
//!
//! ```text
//! magic       8 bytes  89 67 6f 73 70 79 0a 1a
//! version     u32      2
//! length      u32      of the description
//! description JSON     for people without gospy: program, pid, time, architecture
//! checksum    u32      CRC-32 of everything before it
//! blocks:
//!   part      u32      1 headers, 2 notes, 3 memory, 4 parts of the program's files
//!   size      u32      bytes when decompressed, at most 1 MiB
//!   length    u32      bytes in this file
//!   checksum  u32      CRC-32 of the twelve bytes before it and of the data
//!   data               deflate (RFC 1951)
//! end:
//!   part      u32      0
//!   blocks    u32      how many there are
//!   size      u64      of all blocks when decompressed
//!   checksum  u32      CRC-32 of the sixteen bytes before it
//! ```
//!
//! Numbers are little-endian. The core file is the concatenation of all decompressed blocks. A reader refuses a
//! version newer than its own; additions that older readers can ignore do not raise the version. Version 1,
//! which is read too, differs only in the types of gospy's own notes (1 to 3).

mod reader;
mod writer;

pub use reader::CaptureFile;
pub use writer::{Description, WriteError, Written, goal, replaces, write, write_to};

use crate::bytes::ByteSource;

/// The first bytes: not text, so that any text conversion damages them visibly.
pub const MAGIC: [u8; 8] = *b"\x89gospy\n\x1a";
/// The version written, and the newest one read.
pub const VERSION: u32 = 2;

/// Largest block, decompressed, bytes.
const MAX_BLOCK: usize = 1 << 20;
/// Longest description, bytes.
const MAX_DESCRIPTION: usize = 1 << 20;
const BLOCK_HEADER: usize = 16;

/// CRC-32 of all parts together.
pub(crate) fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = flate2::Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.sum()
}

/// Whether a file starts with a capture's magic.
#[must_use]
pub fn is_capture(source: &dyn ByteSource) -> bool {
    let mut magic = [0; MAGIC.len()];
    matches!(source.read_at(0, &mut magic), Ok(got) if got == magic.len()) && magic == MAGIC
}

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureFileError {
    /// Reading failed.
    #[error("reading the capture failed: {0}")]
    Io(#[from] std::io::Error),
    /// It has a newer version.
    #[error("the capture has format version {found}; this gospy reads up to {VERSION}: a newer gospy is needed")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It ends too early.
    #[error("the capture is truncated: it ends at byte {len}, in {part}")]
    Truncated {
        /// How long it is, bytes.
        len: u64,
        /// What is cut off.
        part: &'static str,
    },
    /// A checksum is wrong, or what it covers is malformed.
    #[error("the capture is damaged in {part}, in the block at byte {offset}: {what}")]
    Damaged {
        /// Which part of it.
        part: &'static str,
        /// Where the block starts, bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

/// The number of each part in the file, and its name.
const PARTS: [(u32, &str); 5] =
    [(0, "its end"), (1, "its headers"), (2, "its notes"), (3, "its memory"), (4, "its parts of files")];

fn part_name(part: u32) -> Option<&'static str> {
    PARTS.iter().find(|(number, _)| *number == part).map(|(_, name)| *name)
}
