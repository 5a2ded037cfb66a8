//! Why a target cannot be looked at, and of what kind that is.

use super::proc_dir;

/// Why memory could not be read. "No memory there" is not an error: reads are short then.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// The process is gone (or its pid belongs to another one now).
    #[error("process {pid} ended, or became another program (execve), while it was being read")]
    Gone {
        /// Its pid.
        pid: i32,
    },
    /// The kernel does not let us.
    #[error("reading the memory of process {pid} was refused: {reason}")]
    Denied {
        /// The pid.
        pid: i32,
        /// The kernel's word and the back end that got it.
        reason: String,
    },
    /// What a recording remembers cannot be understood, so that nothing of it can be believed.
    #[error("the capture is damaged: its attachment {attachment:?} cannot be read: {what}")]
    Damaged {
        /// The key that it is remembered under.
        attachment: String,
        /// What is wrong with it.
        what: String,
    },
    /// Anything else.
    #[error("reading the memory of the target failed: {0}")]
    Io(String),
}

/// What the operating system could not tell.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No such process, or it has ended.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// The pid asked for.
        pid: i32,
    },
    /// A process that cannot be looked into by its nature (kernel thread, zombie).
    #[error("process {pid} {what}")]
    NotReadable {
        /// The pid asked for.
        pid: i32,
        /// What it is, as a predicate: "is a kernel thread".
        what: String,
        /// Whether it has ended.
        ended: bool,
    },
    /// No permission; the advice names the one remedy that fits.
    #[error("no permission to read process {pid}: {reason}\n{advice}")]
    Permission {
        /// The pid asked for.
        pid: i32,
        /// Which check failed and on what facts.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// Nothing can be learnt of any process.
    #[error(transparent)]
    ProcFs(#[from] proc_dir::Unusable),
    /// Another tracer holds the process, so that it cannot be stopped; reading it works.
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
    /// The process runs another program than the one that was opened.
    #[error("process {pid} has become another program (execve) since it was opened")]
    Replaced {
        /// The pid asked for.
        pid: i32,
    },
    /// Its system calls are filtered, and nobody allowed to stop it all the same.
    #[error(
        "process {pid} runs under a seccomp filter; a stop kills it if the filter forbids restart_syscall(2), \
         which Docker's and Kubernetes' own profiles allow; stop it with --freeze-seccomp, or read without --freeze"
    )]
    Filtered {
        /// The pid asked for.
        pid: i32,
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
    /// This kind of target cannot do it.
    #[error("{0}")]
    Unsupported(String),
}

/// Of what kind an error is, wherever it comes from: what who meets it can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such process, or it ended or became another program.
    Gone,
    /// The kernel does not permit it; the text says what would.
    Denied,
    /// It is no Go program, or of a version that cannot be read.
    NotGo,
    /// It is of a kind that cannot be read so, or cannot do what was asked.
    Unsupported,
    /// A file that is not, or not any more, what was written.
    Damaged,
    /// Reading it failed.
    Read,
}

impl ReadError {
    /// Of what kind it is.
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
    /// Of what kind it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchProcess { .. } | Self::Replaced { .. } | Self::NotReadable { ended: true, .. } => {
                ErrorKind::Gone
            }
            Self::Permission { .. } => ErrorKind::Denied,
            // A kernel thread, or a thread that is no process.
            Self::NotReadable { .. } => ErrorKind::NotGo,
            Self::Read(error) => error.kind(),
            Self::Traced { .. } | Self::Filtered { .. } | Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::ProcFs(_) | Self::Io { .. } => ErrorKind::Read,
        }
    }
}
