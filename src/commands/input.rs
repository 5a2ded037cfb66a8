//! Files that commands read: captures, core files, recordings and snapshots in JSON, on a disk or from a stream.
//!
//! A stream is standard input (`-`), or what a shell makes of `<(…)`. It is read once, from its start to
//! its end; a core file in it is held in memory, so its size has a limit. It may have no writer:
//! gospy waits, as others do, and says what for. Directories, devices and sockets are refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Chain, Cursor, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::at::At;
use super::files::is_dash;
use crate::archive::{Archive, ArchiveError};
use crate::bytes::ByteSource;
use crate::process::ErrorKind;
use crate::process::capture_file::MAGIC;
use crate::process::core::CoreError;
use crate::process::file_bytes::FileBytes;
use crate::report::json::ReadBackError;
use crate::report::units::bytes;

/// How long nothing is said of a stream that nothing comes from, ms.
const SILENCE: u16 = 1_000;
/// Most bytes of a capture or core file that are taken from a stream.
const MOST_STREAMED: u64 = 4 << 30;
/// Bytes by which kinds of files are distinguished: those of the longest magic number.
const HEAD: usize = MAGIC.len();

/// Why a file cannot be read, or not as what it is needed for. `name` is what it is called in messages.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// It has no name.
    #[error("the name of the file to read is empty")]
    NoName,
    /// The system does not let it be opened or read.
    #[error("{name} cannot be read: {error}")]
    Io {
        /// Which.
        name: String,
        /// The system's reason.
        error: io::Error,
    },
    /// It is not a file.
    #[error("{name} is {what}: name a file")]
    NotAFile {
        /// Which.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// It is none of the files that gospy reads.
    #[error(
        "{name} is {}",
        if *empty { "empty" } else { "not a file that gospy reads: a capture, a core file, a recording, or its JSON" }
    )]
    UnknownKind {
        /// Which.
        name: String,
        /// Whether there is nothing in it.
        empty: bool,
    },
    /// More comes from a stream than is held in memory.
    #[error("{name}: more than {} come from a stream; save it to a file, and name that", bytes(MOST_STREAMED))]
    TooLong {
        /// Which.
        name: String,
    },
    /// It is a snapshot in JSON where memory is needed.
    #[error(
        "{name} is a snapshot in JSON: it can be shown, but has no memory, which this needs\n\
         name a capture or a core file; captures have the heap if they are taken with gospy capture --heap"
    )]
    NoMemory {
        /// Which.
        name: String,
    },
    /// It is a recording where memory is needed.
    #[error(
        "{name} is a recording: it can be shown, but has no memory, which this needs\n\
         name a capture or a core file; captures have the heap if they are taken with gospy capture --heap"
    )]
    Recording {
        /// Which.
        name: String,
    },
    /// A moment of what is not a recording.
    #[error("{name} is one snapshot, not a recording: there is no other moment in it ({at})")]
    OneMoment {
        /// Which.
        name: String,
        /// The moment that was asked for.
        at: String,
    },
    /// The recording in it cannot be read.
    #[error("{name}: {error}")]
    Archive {
        /// Which.
        name: String,
        /// What is wrong with it.
        error: ArchiveError,
    },
    /// The snapshot in it cannot be read back.
    #[error("{name} cannot be read: {error}")]
    Json {
        /// Which.
        name: String,
        /// What is wrong with it.
        error: ReadBackError,
    },
    /// The capture or core file in it cannot be read.
    #[error("{}", named(.name, .error))]
    Core {
        /// Which.
        name: String,
        /// What is wrong with it.
        error: CoreError,
    },
}

impl InputError {
    /// Of what kind it is; `None` where the command line is wrong, and not the file.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::NoName | Self::OneMoment { .. } => None,
            Self::Archive { error, .. } => Some(error.kind()),
            Self::NotAFile { .. } | Self::UnknownKind { .. } | Self::NoMemory { .. } | Self::Recording { .. } => {
                Some(ErrorKind::Unsupported)
            }
            Self::Json { error: ReadBackError::Json(error), .. } if !error.is_io() => Some(ErrorKind::Damaged),
            Self::Io { .. } | Self::TooLong { .. } | Self::Json { .. } => Some(ErrorKind::Read),
            Self::Core { error, .. } => Some(error.kind()),
        }
    }
}

/// The text of an error, with the name of the file, which some of them have already.
fn named(name: &str, error: &CoreError) -> String {
    let text = error.to_string();
    if text.starts_with(name) { text } else { format!("{name}: {text}") }
}

/// A file or stream, open, and its first bytes.
pub(super) struct InputFile {
    /// What it is called in messages.
    pub(super) name: String,
    /// What is in it.
    pub(super) contents: Contents,
    /// All of its bytes.
    reader: Chain<Cursor<Vec<u8>>, File>,
    is_stream: bool,
}

/// The kind of a file that is read, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// A capture or an ELF file.
    Memory,
    /// A recording.
    Recording,
    /// Something that begins like a JSON object.
    Json,
}

impl InputFile {
    /// Opens `path`; `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, InputError> {
        let name = if is_dash(path) { "standard input".to_owned() } else { path.display().to_string() };
        let unreadable = |error: io::Error| InputError::Io { name: name.clone(), error };
        let refused = |what: &'static str| Err(InputError::NotAFile { name: name.clone(), what });
        if path.as_os_str().is_empty() {
            return Err(InputError::NoName);
        }
        let mut file = if is_dash(path) {
            File::from(io::stdin().as_fd().try_clone_to_owned().map_err(unreadable)?)
        } else {
            // Not blocking: to open a FIFO takes a writer, and it could not be said that there is none.
            let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
            match opened {
                // Of a socket the system says that there is no such device.
                Err(_) if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket()) => {
                    return refused("a socket");
                }
                opened => opened.map_err(unreadable)?,
            }
        };
        let kind = file.metadata().map_err(unreadable)?.file_type();
        // Standard input cannot be read twice, whatever it is.
        let is_stream = !kind.is_file() || is_dash(path);
        if kind.is_dir() {
            return refused("a directory");
        }
        // A document may be pasted.
        let is_typed = is_dash(path) && io::IsTerminal::is_terminal(&file);
        if kind.is_block_device() || (kind.is_char_device() && !is_typed) {
            return refused("a device");
        }
        if is_stream {
            wait_for(&file, &name).map_err(unreadable)?;
            if !is_dash(path) {
                fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).map_err(|error| unreadable(error.into()))?;
            }
        }
        let mut head = Vec::with_capacity(HEAD);
        Read::by_ref(&mut file).take(HEAD as u64).read_to_end(&mut head).map_err(unreadable)?;
        let contents = contents(&head);
        let contents =
            contents.ok_or_else(|| InputError::UnknownKind { name: name.clone(), empty: head.is_empty() })?;
        Ok(Self { name, contents, reader: Cursor::new(head).chain(file), is_stream })
    }

    /// Whether it has to be read from this, since it cannot be opened again.
    pub(super) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// All of its bytes, in their order.
    pub(super) fn into_reader(self) -> impl Read {
        self.reader
    }

    /// The recording in it.
    pub(super) fn into_archive(self) -> Result<Archive, InputError> {
        let name = self.name.clone();
        let source: Arc<dyn ByteSource> = match self.is_stream {
            true => Arc::new(self.into_bytes()?),
            false => {
                let (_, file) = self.reader.into_inner();
                let unreadable = |error| InputError::Io { name: name.clone(), error };
                Arc::new(FileBytes::from_file(file).map_err(unreadable)?)
            }
        };
        Archive::open(source).map_err(|error| InputError::Archive { name, error })
    }

    /// The recording in it, and the number of the sample that is meant: the last one if no moment is.
    pub(super) fn into_sample(self, at: Option<&At>) -> Result<(Archive, u64), InputError> {
        let name = self.name.clone();
        let mut archive = self.into_archive()?;
        let last = archive.samples().saturating_sub(1);
        let number = at.map_or(Ok(last), |at| at.find(&mut archive));
        Ok((archive, number.map_err(|error| InputError::Archive { name, error })?))
    }

    /// All of its bytes in memory.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>, InputError> {
        let (name, mut all) = (self.name, Vec::new());
        match self.reader.take(MOST_STREAMED + 1).read_to_end(&mut all) {
            Err(error) => Err(InputError::Io { name, error }),
            Ok(_) if all.len() as u64 > MOST_STREAMED => Err(InputError::TooLong { name }),
            Ok(_) => Ok(all),
        }
    }
}

/// `None` for something else.
fn contents(head: &[u8]) -> Option<Contents> {
    if head.starts_with(&MAGIC) || head.starts_with(b"\x7fELF") {
        Some(Contents::Memory)
    } else if Archive::is_one(head) {
        Some(Contents::Recording)
    } else {
        head.trim_ascii_start().starts_with(b"{").then_some(Contents::Json)
    }
}

/// Waits until there is something to be read, or nothing to come any more.
fn wait_for(file: &File, name: &str) -> io::Result<()> {
    let wait = |timeout: PollTimeout| loop {
        let mut polled = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            result => return result,
        }
    };
    if wait(PollTimeout::from(SILENCE))? == 0 {
        // Nothing more can be done when stderr is closed.
        let _ = writeln!(io::stderr(), "gospy: waiting for data from {name}");
        wait(PollTimeout::NONE)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Contents, contents};

    #[test]
    fn files_are_told_apart_by_how_they_begin() {
        let all: [(&[u8], Option<Contents>); 8] = [
            (b"\x89gsrec\n\x1a", Some(Contents::Recording)),
            (b"\x89gospy\n\x1a", Some(Contents::Memory)),
            (b"\x7fELF\x02\x01\x01\0", Some(Contents::Memory)),
            (b"{\"schema", Some(Contents::Json)),
            (b" \r\n\t{", Some(Contents::Json)),
            (b"hello", None),
            (b"\x7fEL", None),
            (b"", None),
        ];
        for (head, expected) in all {
            assert_eq!(contents(head), expected, "{head:?}");
        }
    }
}
