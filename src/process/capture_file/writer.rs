//! Writing a capture: compressed on the fly, and given its name only when complete.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::{Compress, Compression, FlushCompress, Status};
use serde::Serialize;

use super::{BLOCK_HEADER, MAGIC, VERSION, crc, is_capture};
use crate::bytes::ByteSource;
use crate::new_file::{Goal, NewFileError, Replace};
use crate::process::file_bytes::FileBytes;
use crate::process::recording::{ElfImage, Part};

/// Decompressed size of a block, bytes.
const BLOCK: usize = 256 << 10;

/// The file's description of itself, readable without gospy.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// The version of gospy.
    pub gospy_version: &'static str,
    /// When it was made, RFC 3339.
    pub captured_at: String,
    /// The process.
    pub pid: i32,
    /// Path of its executable.
    pub exe: String,
    /// Version of Go.
    pub go_version: String,
    /// `GOARCH`.
    pub arch: &'static str,
    /// Number of goroutines.
    pub goroutines: u64,
}

/// The description, with the fields that are the same in all captures.
#[derive(Serialize)]
struct Full<'d> {
    format: &'static str,
    contents: &'static str,
    #[serde(flatten)]
    description: &'d Description,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Length of the file, bytes.
    pub len: u64,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file exists and is not a capture.
    #[error("{} exists and is no {wanted}; --force writes over it", path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
        /// What would be replaced: "capture", "core file".
        wanted: &'static str,
    },
    /// The file cannot be created, or writing failed.
    #[error(transparent)]
    File(NewFileError),
}

/// What a capture (or with `core` a plain core file) may replace: a file of its own kind, or with
/// `force` any regular file.
#[must_use]
pub fn replaces(core: bool, force: bool) -> Replace {
    match (force, core) {
        (true, _) => Replace::Any,
        (false, true) => Replace::If(is_core_file),
        (false, false) => Replace::If(|file| FileBytes::from_file(file).is_ok_and(|file| is_capture(&file))),
    }
}

fn is_core_file(file: File) -> bool {
    let mut head = [0; 18];
    FileBytes::from_file(file).and_then(|file| file.read_at(0, &mut head)).is_ok_and(|got| got == head.len())
        && head.starts_with(b"\x7fELF")
        && head.get(16..) == Some(&[4, 0])
}

/// Where to write a capture (or with `core` a plain core file). [`replaces`] decides whether an existing file
/// is replaced.
///
/// # Errors
/// When a file of another kind exists, or the directory cannot be opened.
pub fn goal(path: &Path, core: bool, force: bool) -> Result<Goal, WriteError> {
    Goal::new(path, replaces(core, force)).map_err(|error| refused(error, core))
}

fn refused(error: NewFileError, core: bool) -> WriteError {
    match error {
        NewFileError::Exists { path } => {
            WriteError::Exists { path, wanted: if core { "core file" } else { "capture" } }
        }
        error => WriteError::File(error),
    }
}

/// Writes a capture to `goal`, or without a description a plain core file. An existing file is replaced at the
/// very end, when the new one is on disk.
///
/// # Errors
/// When a file of another kind has appeared, or writing fails. An existing file is unchanged then.
pub fn write(goal: &Goal, image: &ElfImage, description: Option<&Description>) -> Result<Written, WriteError> {
    let written = goal.write(|out| write_to(out, image, description));
    Ok(Written { len: written.map_err(|error| refused(error, description.is_none()))? })
}

/// Like [`write()`], to a stream.
///
/// # Errors
/// The stream's.
pub fn write_to(out: &mut dyn Write, image: &ElfImage, description: Option<&Description>) -> io::Result<()> {
    match description {
        Some(description) => compressed(out, image, description),
        None => image.write(out),
    }
}

/// Writes the whole file.
fn compressed(out: &mut dyn Write, image: &ElfImage, description: &Description) -> io::Result<()> {
    let contents = "an ELF core file in deflate blocks; `gospy capture --from FILE --uncompressed -o CORE` unpacks it";
    let full = Full { format: "gospy capture", contents, description };
    let mut head = MAGIC.to_vec();
    let json = serde_json::to_vec(&full)?;
    head.extend(VERSION.to_le_bytes());
    head.extend(u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes());
    head.extend(&json);
    let sum = crc(&[&head]);
    head.extend(sum.to_le_bytes());
    out.write_all(&head)?;
    let mut blocks = Blocks {
        out,
        part: 0,
        pending: Vec::with_capacity(BLOCK),
        compress: Compress::new(Compression::new(6), false),
        count: 0,
        total: 0,
    };
    image.write_parts(&mut blocks, |blocks, part| {
        blocks.flush_block()?;
        blocks.part = match part {
            Part::Headers => 1,
            Part::Notes => 2,
            Part::Memory => 3,
            Part::Files => 4,
        };
        Ok(())
    })?;
    blocks.finish()
}

struct Blocks<'w> {
    out: &'w mut dyn Write,
    part: u32,
    pending: Vec<u8>,
    compress: Compress,
    count: u32,
    total: u64,
}

impl Blocks<'_> {
    fn flush_block(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        // Deflate adds at most five bytes for each 16 KiB of incompressible data.
        let mut data = Vec::with_capacity(self.pending.len() + self.pending.len() / 1024 + 64);
        self.compress.reset();
        let status = self.compress.compress_vec(&self.pending, &mut data, FlushCompress::Finish)?;
        if status != Status::StreamEnd {
            return Err(io::Error::other("a block could not be compressed in one step"));
        }
        let len32 = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        let header = [self.part.to_le_bytes(), len32(self.pending.len()), len32(data.len())].concat();
        let sum = crc(&[&header, &data]);
        self.out.write_all(&header)?;
        self.out.write_all(&sum.to_le_bytes())?;
        self.out.write_all(&data)?;
        debug_assert_eq!(header.len() + 4, BLOCK_HEADER);
        self.count = self.count.saturating_add(1);
        self.total += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush_block()?;
        let mut end = 0_u32.to_le_bytes().to_vec();
        end.extend(self.count.to_le_bytes());
        end.extend(self.total.to_le_bytes());
        let sum = crc(&[&end]);
        end.extend(sum.to_le_bytes());
        self.out.write_all(&end)
    }
}

impl Write for Blocks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK.saturating_sub(self.pending.len());
        let some = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.pending.extend(some);
        if self.pending.len() >= BLOCK {
            self.flush_block()?;
        }
        Ok(some.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
