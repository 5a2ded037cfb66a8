//! How a command ends.

use super::streams::Streams;
use crate::report::clean::clean;
use crate::target::{ReadError, TargetError};

/// Exit statuses; scripts rely on them. A Ctrl-C ends the program by its signal, which a shell
/// shows as 130.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Something went wrong.
    Error,
    /// The command line makes no sense.
    Usage,
    /// There is no such process, or it ended while it was read.
    NoProcess,
    /// No permission to read it.
    Permission,
    /// It is not a Go program, or of a version that cannot be read.
    NotGo,
    /// The answer is incomplete and `--strict` was given.
    Incomplete,
    /// A rule of `check` does not hold.
    Failed,
    /// What `run` says of its command: the command's own status, 124 when it was given up on, 125 to
    /// 127 when it could not be run.
    Command(u8),
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::NoProcess => 3,
            Self::Permission => 4,
            Self::NotGo => 5,
            Self::Incomplete => 6,
            Self::Failed => 7,
            Self::Command(status) => status,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
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
            TargetError::NoSuchProcess { .. }
            | TargetError::Replaced { .. }
            | TargetError::Read(ReadError::Gone { .. }) => Exit::NoProcess,
            TargetError::Permission { .. } | TargetError::Read(ReadError::Denied { .. }) => Exit::Permission,
            TargetError::NotReadable { ended: true, .. } => Exit::NoProcess,
            TargetError::NotReadable { .. } => Exit::NotGo,
            TargetError::Read(ReadError::Io(_))
            | TargetError::Traced { .. }
            | TargetError::ProcFs(_)
            | TargetError::Filtered { .. }
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
