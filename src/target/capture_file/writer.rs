//! Writing a capture: compressed as it is made, and in its place only when it is whole.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::linkat;
use serde::Serialize;

use super::{BLOCK_HEADER, MAGIC, VERSION, is_capture};
use crate::target::file_bytes::FileBytes;
use crate::target::recording::{ElfImage, Part};

/// How much goes into one block, decompressed, bytes.
const BLOCK: usize = 256 << 10;

/// What the file says of itself to whoever looks into it without gospy.
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
    /// How many goroutines.
    pub goroutines: u64,
}

/// The description with what is the same in all captures.
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
    /// There is a file of that name, and it is no capture.
    #[error("{} exists and is no capture; --force writes over it", path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{} cannot be written: {source}", path.display())]
    Io {
        /// The path of the file that was to be.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Writes a capture to `path`, or with no description the plain core file. A file that is there is
/// replaced if it is a capture (or a core file, when one is written), or with `force`; and only at
/// the very end, when all of the new one is on the disk.
///
/// # Errors
/// When another kind of file is there, or writing fails. What was there is there still then.
pub fn write(
    path: &Path,
    image: &ElfImage,
    description: Option<&Description>,
    force: bool,
) -> Result<Written, WriteError> {
    let failed = |source| WriteError::Io { path: path.to_owned(), source };
    if !force && !may_replace(path, description.is_none()).map_err(failed)? {
        return Err(WriteError::Exists { path: path.to_owned() });
    }
    let mut unfinished = Unfinished::beside(path).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, Counted { file: &mut unfinished.file, len: 0 });
    match description {
        Some(description) => compressed(&mut out, image, description),
        None => image.write(&mut out),
    }
    .map_err(failed)?;
    let len = out.into_inner().map_err(|e| failed(e.into_error()))?.len;
    unfinished.take_place(path).map_err(failed)?;
    Ok(Written { len })
}

struct Counted<'f> {
    file: &'f mut File,
    len: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn may_replace(path: &Path, core: bool) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
        Ok(_) => {}
    }
    let Ok(file) = FileBytes::open(path) else { return Ok(false) };
    let mut head = [0; 18];
    let is_core = matches!(crate::bytes::ByteSource::read_at(&file, 0, &mut head), Ok(18))
        && head.starts_with(b"\x7fELF")
        && head.get(16..) == Some(&[4, 0]);
    Ok(if core { is_core } else { is_capture(&file) })
}

/// A file that has no name yet where the file system can do that, so that nothing is left of it
/// whatever happens; and a hidden one elsewhere.
struct Unfinished {
    file: File,
    name: Option<PathBuf>,
}

impl Unfinished {
    fn beside(path: &Path) -> io::Result<Self> {
        let directory = directory_of(path);
        let nameless = OpenOptions::new().write(true).custom_flags(OFlag::O_TMPFILE.bits()).mode(0o600).open(directory);
        match nameless {
            Ok(file) => Ok(Self { file, name: None }),
            // What kernels and file systems say that do not know it.
            Err(e) if matches!(e.raw_os_error().map(Errno::from_raw), Some(Errno::EOPNOTSUPP | Errno::EISDIR)) => {
                let name = hidden_beside(path);
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name)?;
                Ok(Self { file, name: Some(name) })
            }
            Err(e) => Err(e),
        }
    }

    fn take_place(mut self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        if self.name.is_none() {
            let own = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
            let name = hidden_beside(path);
            linkat(AT_FDCWD, &own, AT_FDCWD, &name, AtFlags::AT_SYMLINK_FOLLOW)?;
            self.name = Some(name);
        }
        if let Some(name) = &self.name {
            std::fs::rename(name, path)?;
            self.name = None;
        }
        // So that the name is there after a crash of the machine, too.
        File::open(directory_of(path))?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = std::fs::remove_file(name);
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn hidden_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

/// The whole file, into anything.
pub(super) fn compressed(out: &mut impl Write, image: &ElfImage, description: &Description) -> io::Result<()> {
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

pub(super) fn crc(parts: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.sum()
}

struct Blocks<'w, W> {
    out: &'w mut W,
    part: u32,
    pending: Vec<u8>,
    compress: Compress,
    count: u32,
    total: u64,
}

impl<W: Write> Blocks<'_, W> {
    fn flush_block(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        // Deflate adds five bytes for each 16 KiB of what cannot be compressed, at most.
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

impl<W: Write> Write for Blocks<'_, W> {
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
