//! How a command ends.

use super::streams::Streams;
use crate::process::{ErrorKind, TargetError};
use crate::report::clean::clean;

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
    /// A rule of `check` or `run` failed.
    Failed,
    /// No rule failed, but some could not be judged: not a pass.
    NotJudged,
    /// What `run` says of its command: the command's own status, 124 when it was given up on, 125 to
    /// 127 when it could not be run.
    Command(u8),
}

/// What each status means, for `--help` and the manual pages.
const STATUSES: &[(u8, &str)] = &[
    (0, "success, also after a closed pipe"),
    (1, "error"),
    (2, "usage error"),
    (3, "no such process, or it ended while it was read"),
    (4, "no permission; the message says which, and what to do"),
    (5, "not a Go program, or a version of Go that cannot be read"),
    (6, "the answer is incomplete and --strict was given"),
    (7, "check, run: a rule failed"),
    (8, "check, run: no rule failed, but one could not be judged"),
    (130, "Ctrl-C"),
];

/// What `run` ends with beside the status of its command.
const OF_RUN: &[(&str, &str)] = &[
    ("", "that of the command; 128 + N if signal N ended it"),
    ("7", "the command exited with 0, but a rule failed"),
    ("8", "the command ended with 0 and no rule failed, but one could not be judged"),
    ("124", "it did not end within --timeout"),
    ("125", "gospy run itself failed"),
    ("126", "the command cannot be executed"),
    ("127", "command not found"),
    ("2", "usage error"),
];

/// The statuses of a command and what they mean, in the order in which they are shown. Only `check`
/// and `run` judge rules, and only what reads one program can fail for want of it.
pub(super) fn statuses(command: &str) -> Vec<(String, &'static str)> {
    if command == "run" {
        return OF_RUN.iter().map(|(status, meaning)| ((*status).to_owned(), *meaning)).collect();
    }
    let applies = |status: u8| match (command, status) {
        ("gospy" | "check", _) => true,
        (_, 7 | 8) => false,
        ("completions" | "man" | "schema", 3..=6) => false,
        ("ps", 3 | 5 | 6) => false,
        ("top" | "doctor", 6) => false,
        _ => true,
    };
    STATUSES.iter().filter(|(status, _)| applies(*status)).map(|(status, text)| (status.to_string(), *text)).collect()
}

/// The same as text for `--help`.
pub(super) fn help(command: &str) -> String {
    let mut text = String::from("Exit status:");
    for (status, meaning) in statuses(command) {
        text.push_str(&if status.is_empty() { format!("\n  {meaning}") } else { format!("\n  {status:<5}{meaning}") });
    }
    text
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
            Self::NotJudged => 8,
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

    /// The message.
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
        // Nothing more can be done when stderr is closed.
        let _ = writeln!(streams.err, "{head} {}", lines.join("\n"));
    }
}

/// The one place where a kind of error becomes a status.
impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Gone => Self::NoProcess,
            ErrorKind::Denied => Self::Permission,
            ErrorKind::NotGo => Self::NotGo,
            ErrorKind::Unsupported | ErrorKind::Damaged | ErrorKind::Read => Self::Error,
        }
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        let exit = error.kind().into();
        let message = match exit {
            Exit::NoProcess => format!("{error}\n`gospy ps` lists the Go programs that run here"),
            _ => error.to_string(),
        };
        Self::new(exit, message)
    }
}
