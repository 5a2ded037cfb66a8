//! Files that commands read: captures, core files and snapshots in JSON, on a disk or from a stream.
//!
//! A stream is standard input (`-`), or what a shell makes of `<(…)`. It is read once, from its start to
//! its end; a core file in it is held in memory, so its size has a limit. Nobody may be writing to it:
//! gospy waits, as others do, and says what for. Directories, devices and sockets are refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Chain, Cursor, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::files::is_dash;
use super::{Exit, Failure};
use crate::process::capture_file::MAGIC;
use crate::report::json::read::ReadBackError;
use crate::report::units::bytes;

/// How long nothing is said of a stream that nothing comes from, ms.
const SILENCE: u16 = 1_000;
/// Most bytes of a capture or core file that are taken from a stream.
const MOST_STREAMED: u64 = 4 << 30;
/// Bytes by which kinds of files are distinguished: those of the longest magic number.
const HEAD: usize = MAGIC.len();

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

/// The kind of a file, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// A capture or an ELF file.
    Memory,
    /// Something that begins like a JSON object.
    Json,
    /// Something else.
    Unknown,
}

impl InputFile {
    /// Opens `path`; `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let name = if is_dash(path) { "standard input".to_owned() } else { path.display().to_string() };
        let unreadable = |error: io::Error| Failure::new(Exit::Error, format!("{name} cannot be read: {error}"));
        let refused = |what: &str| Err(Failure::new(Exit::Error, format!("{name} is {what}: name a file")));
        if path.as_os_str().is_empty() {
            return Err(Failure::new(Exit::Usage, "the name of the file to read is empty"));
        }
        let mut file = if is_dash(path) {
            File::from(io::stdin().as_fd().try_clone_to_owned().map_err(unreadable)?)
        } else {
            // Not blocking: to open a FIFO takes a writer, and it could not be said that there is none.
            let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(unreadable)?
        };
        let kind = file.metadata().map_err(unreadable)?.file_type();
        // Standard input cannot be read twice, whatever it is.
        let is_stream = !kind.is_file() || is_dash(path);
        if kind.is_dir() {
            return refused("a directory");
        }
        // Somebody may want to paste a document.
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

    /// All of its bytes in memory.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>, Failure> {
        let (name, mut all) = (self.name, Vec::new());
        let read = self.reader.take(MOST_STREAMED + 1).read_to_end(&mut all);
        read.map_err(|error| Failure::new(Exit::Error, format!("{name} cannot be read: {error}")))?;
        if all.len() as u64 > MOST_STREAMED {
            let most = bytes(MOST_STREAMED);
            let message = format!("{name}: more than {most} come from a stream; save it to a file, and name that");
            return Err(Failure::new(Exit::Error, message));
        }
        Ok(all)
    }
}

fn contents(head: &[u8]) -> Contents {
    if head.starts_with(&MAGIC) || head.starts_with(b"\x7fELF") {
        Contents::Memory
    } else if head.trim_ascii_start().starts_with(b"{") {
        Contents::Json
    } else {
        Contents::Unknown
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

/// The error for a file whose JSON cannot be read back.
pub(super) fn not_read(name: &str, error: &ReadBackError) -> Failure {
    let advice = match error {
        ReadBackError::Json(error) if !error.is_io() => {
            "\n`gospy stack --pid PID --json > FILE` writes a file that can be read back"
        }
        _ => "",
    };
    Failure::new(Exit::Error, format!("{name} cannot be read: {error}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::{Contents, contents};

    #[test]
    fn files_are_told_apart_by_how_they_begin() {
        let all: [(&[u8], Contents); 7] = [
            (b"\x89gospy\n\x1a", Contents::Memory),
            (b"\x7fELF\x02\x01\x01\0", Contents::Memory),
            (b"{\"schema", Contents::Json),
            (b" \r\n\t{", Contents::Json),
            (b"hello", Contents::Unknown),
            (b"\x7fEL", Contents::Unknown),
            (b"", Contents::Unknown),
        ];
        for (head, expected) in all {
            assert_eq!(contents(head), expected, "{head:?}");
        }
    }
}
