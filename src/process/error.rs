//! Errors of reading a target, and their kinds.

use super::proc_dir;

/// Why memory could not be read. "No memory there" is not an error: reads are short then.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The process has ended (or its pid was reused).
    #[error("process {pid} ended, or became another program (execve), while it was being read")]
    Gone {
        /// Its pid.
        pid: i32,
    },
    /// The kernel refused.
    #[error("reading the memory of process {pid} was refused: {reason}")]
    Denied {
        /// The pid.
        pid: i32,
        /// The kernel's error and the back end that got it.
        reason: String,
    },
    /// An attachment of a recording cannot be decoded.
    #[error("the capture is damaged: its attachment {attachment:?} cannot be read: {what}")]
    Damaged {
        /// The key it is stored under.
        attachment: String,
        /// What is wrong with it.
        what: String,
    },
    /// Anything else.
    #[error("reading the memory of the target failed: {0}")]
    Io(String),
}

/// Why a target cannot be opened or queried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// No such process, or it has ended.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// The pid asked for.
        pid: i32,
    },
    /// A process that can never be read (kernel thread, zombie).
    #[error("process {pid} {what}")]
    NotReadable {
        /// The pid asked for.
        pid: i32,
        /// What it is, as a predicate: "is a kernel thread".
        what: String,
        /// Whether it has ended.
        ended: bool,
    },
    /// No permission; the advice is the one remedy that fits.
    #[error("no permission to read process {pid}: {reason}\n{advice}")]
    Permission {
        /// The pid asked for.
        pid: i32,
        /// Which check failed and on what facts.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// `/proc` is not usable, so no process can be read.
    #[error(transparent)]
    ProcFs(#[from] proc_dir::Unusable),
    /// Another tracer is attached, so the process cannot be frozen; reading it works.
    #[error(
        "process {pid} is traced by process {tracer} ({comm}), and a process can have one tracer only; \
         detach that one first, or read without stopping"
    )]
    Traced {
        /// The pid asked for.
        pid: i32,
        /// Who traces it.
        tracer: i32,
        /// The tracer's name.
        comm: String,
    },
    /// The process has called `execve` since it was opened.
    #[error("process {pid} has become another program (execve) since it was opened")]
    Replaced {
        /// The pid asked for.
        pid: i32,
    },
    /// It has a seccomp filter, and freezing it anyway was not allowed.
    #[error(
        "process {pid} runs under a seccomp filter; a stop kills it if the filter forbids restart_syscall(2), \
         which Docker's and Kubernetes' own profiles allow; stop it with --freeze-seccomp, or read without --freeze"
    )]
    Filtered {
        /// The pid asked for.
        pid: i32,
    },
    /// The kernel does not give samples of what it does on CPUs; the advice is what to do instead.
    #[error("the CPU use of process {pid} cannot be sampled: {reason}\n{advice}")]
    NotSampled {
        /// The pid asked for.
        pid: i32,
        /// Which check failed and on what facts.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// Memory could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file about the target could not be read.
    #[error("{what}: {source}")]
    Io {
        /// Which one.
        what: String,
        /// The reason.
        source: std::io::Error,
    },
    /// This kind of target does not support it.
    #[error("{0}")]
    Unsupported(String),
}

/// The kind of an error, whatever its source: what the user can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such process, it ended, or it became another program.
    Gone,
    /// No permission; the text says what would help.
    Denied,
    /// Not a Go program, or an unsupported Go version.
    NotGo,
    /// This kind of target cannot be read, or does not support what was asked.
    Unsupported,
    /// A file is damaged or not of the expected format.
    Damaged,
    /// Reading it failed.
    Read,
}

impl ReadError {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gone { .. } => ErrorKind::Gone,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Damaged { .. } => ErrorKind::Damaged,
            Self::Io(_) => ErrorKind::Read,
        }
    }
}

impl TargetError {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchProcess { .. } | Self::Replaced { .. } | Self::NotReadable { ended: true, .. } => {
                ErrorKind::Gone
            }
            Self::Permission { .. } | Self::NotSampled { .. } => ErrorKind::Denied,
            // A kernel thread, or a thread id that is not a process.
            Self::NotReadable { .. } => ErrorKind::NotGo,
            Self::Read(error) => error.kind(),
            Self::Traced { .. } | Self::Filtered { .. } | Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::ProcFs(_) | Self::Io { .. } => ErrorKind::Read,
        }
    }
}
