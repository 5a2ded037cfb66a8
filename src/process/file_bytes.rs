//! A file's bytes, read on demand.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::bytes::ByteSource;

/// A regular file, open for reading. Deleting or replacing its name has no effect; writing to it in place does,
/// which the kernel forbids while the program runs.
#[derive(Debug)]
pub struct FileBytes {
    file: File,
    len: u64,
}

impl FileBytes {
    /// Opens `path`.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` when it is not a regular file.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        // Non-blocking: a path from another process may be a FIFO.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        Self::from_file(OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?)
    }

    /// Wraps an open file.
    ///
    /// # Errors
    /// The kernel's; `InvalidInput` when it is not a regular file.
    pub(crate) fn from_file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Self { file, len: metadata.len() })
    }

    /// Device and inode, which identify the file whatever its path.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn device_and_inode(&self) -> io::Result<(u64, u64)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }
}

impl ByteSource for FileBytes {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = offset.checked_add(done as u64).filter(|&at| i64::try_from(at).is_ok()) else {
                break;
            };
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn reads_up_to_the_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"0123456789").unwrap();
        let bytes = FileBytes::open(file.path()).unwrap();
        assert_eq!(bytes.len(), 10);
        let mut buf = [0; 4];
        assert_eq!(bytes.read_at(3, &mut buf).unwrap(), 4);
        assert_eq!(&buf, b"3456");
        assert_eq!(bytes.read_at(8, &mut buf).unwrap(), 2);
        assert_eq!(bytes.read_at(10, &mut buf).unwrap(), 0);
        assert_eq!(bytes.read_at(u64::MAX, &mut buf).unwrap(), 0);
        file.close().unwrap();
        assert_eq!(bytes.read_at(0, &mut buf).unwrap(), 4);
    }

    #[test]
    fn refuses_a_fifo_without_blocking() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(FileBytes::open(dir.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(FileBytes::open(&fifo).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
