//! How a command ends.

use super::streams::Streams;
use crate::report::clean::clean;
use crate::target::{ReadError, TargetError};

/// Exit statuses; scripts rely on them. A Ctrl-C ends the program by its signal, which a shell
/// shows as 130.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something went wrong.
    Error = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// There is no such process, or it ended while it was read.
    NoProcess = 3,
    /// No permission to read it.
    Permission = 4,
    /// It is not a Go program, or of a version that cannot be read.
    NotGo = 5,
    /// The answer is incomplete and `--strict` was given.
    Incomplete = 6,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// A failure; the message says what was tried, with the value that was wrong, and on further
    /// lines what to do.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The status to end with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What to tell.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Tells it on stderr, once.
    pub fn print(&self, streams: &mut Streams<'_>) {
        if self.message.is_empty() {
            return;
        }
        let head = streams.err_paint("gospy:");
        let lines: Vec<_> = self.message.lines().map(clean).collect();
        // There is nobody left to tell when stderr is closed.
        let _ = writeln!(streams.err, "{head} {}", lines.join("\n"));
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        let exit = match &error {
            TargetError::NoSuchProcess { .. } | TargetError::Read(ReadError::Gone { .. }) => Exit::NoProcess,
            TargetError::Permission { .. } | TargetError::Read(ReadError::Denied { .. }) => Exit::Permission,
            TargetError::NotReadable { ended: true, .. } => Exit::NoProcess,
            TargetError::NotReadable { .. } => Exit::NotGo,
            TargetError::Read(ReadError::Io(_))
            | TargetError::Traced { .. }
            | TargetError::Io { .. }
            | TargetError::Unsupported(_) => Exit::Error,
        };
        let message = match exit {
            Exit::NoProcess => format!("{error}\n`gospy ps` lists the Go programs that run here"),
            _ => error.to_string(),
        };
        Self::new(exit, message)
    }
}
