//! How a command ends: the one place where errors become exit statuses and advice.

use super::input::InputError;
use super::source::{FailureCause, Location, SourceFailure};
use super::streams::Streams;
use crate::capture::{OpenError, ProgramError, SourceError};
use crate::heap::HeapError;
use crate::heap::profile::ProfileError;
use crate::process::{ErrorKind, TargetError};
use crate::report::clean::clean;
use crate::report::json::ReadBackError;
use crate::runtime::RuntimeError;
use crate::runtime::package_variables::VariableError;

/// Exit statuses; scripts rely on them. A Ctrl-C ends the program by its signal, which a shell
/// shows as 130.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// Something went wrong.
    Error,
    /// The command line is wrong.
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
    (7, "check, run, record --when: a rule failed"),
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

/// The statuses of a command and what they mean, in the order in which they are shown. Only `check`,
/// `run` and `record` judge rules, and only what reads one program can fail for want of it.
pub(super) fn statuses(command: &str) -> Vec<(String, &'static str)> {
    if command == "run" {
        return OF_RUN.iter().map(|(status, meaning)| ((*status).to_owned(), *meaning)).collect();
    }
    let applies = |status: u8| match (command, status) {
        ("gospy" | "check", _) => true,
        ("record", 7) => true,
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

    /// Prints it on stderr, once.
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
        SourceError::from(error).into()
    }
}

/// An error of a target that is open already.
impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::of_source(&error, None)
    }
}

impl From<SourceFailure> for Failure {
    fn from(failure: SourceFailure) -> Self {
        match *failure.cause {
            FailureCause::Source(error) => Self::of_source(&error, Some(&failure.location)),
            FailureCause::Input(error) => error.into(),
            FailureCause::Heap(HeapError::Read(error)) => Self::from(SourceError::from(error)),
            FailureCause::Heap(HeapError::Target(error)) => error.into(),
            FailureCause::Heap(HeapError::Capture(error)) => Self::from(SourceError::from(error)),
            FailureCause::Profile(ProfileError::Read(error)) => Self::from(SourceError::from(error)),
            FailureCause::Absent(why) => Self::new(Exit::Error, why),
            FailureCause::Profile(error) => Self::new(Exit::Error, error.to_string()),
            FailureCause::Variables(VariableError::Read(error)) => Self::from(SourceError::from(error)),
            FailureCause::Variables(error) => Self::new(Exit::Error, error.to_string()),
            FailureCause::Heap(error) => Self::new(Exit::Error, error.to_string()),
        }
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        // A file that is not Go's is an error all the same: nothing was found out about a program.
        let exit = if error.kind().is_some() { Exit::Error } else { Exit::Usage };
        let advice = match &error {
            InputError::Json { error: ReadBackError::Json(error), .. } if !error.is_io() => {
                "\n`gospy stack --pid PID --json > FILE` writes a file that can be read back"
            }
            _ => "",
        };
        Self::new(exit, format!("{error}{advice}"))
    }
}

const LISTED: &str = "`gospy ps` lists the Go programs that run here";

impl Failure {
    /// What to say of an error, and what to do about it, which depends on where the target is.
    fn of_source(error: &SourceError, location: Option<&Location>) -> Self {
        let exit = error.kind().into();
        let text = match (error, location) {
            (SourceError::Open(error), Some(location)) => not_opened(error, location),
            _ => None,
        };
        Self::new(
            exit,
            text.unwrap_or_else(|| match exit {
                Exit::NoProcess => format!("{error}\n{LISTED}"),
                _ => error.to_string(),
            }),
        )
    }
}

/// The text for a target without a Go program that can be read, and for symbols that are not its own; `None`
/// where something else is in the way.
fn not_opened(error: &OpenError, location: &Location) -> Option<String> {
    let (name, other, argument) = match location {
        Location::Process(pid) => (format!("process {pid}"), LISTED, format!("--pid {pid}")),
        Location::File(path) => {
            let path = path.display();
            (path.to_string(), "captures and core files of Go programs can be read", format!("--from {path}"))
        }
    };
    let doctor = format!("`gospy doctor {argument}` shows what was found; please send it with a bug report");
    let advice = match error {
        OpenError::Program(ProgramError::Target(_) | ProgramError::Read(_))
        | OpenError::Runtime(RuntimeError::Read(_)) => return None,
        OpenError::Program(ProgramError::SymbolFile { .. } | ProgramError::SymbolFileElf { .. }) => {
            return Some(format!("--bin: {error}"));
        }
        OpenError::Program(ProgramError::OtherProgram { .. }) => {
            let advice = "give the binary that the process was started from, or leave --bin out";
            return Some(format!("--bin: {error}\n{advice}"));
        }
        OpenError::Program(ProgramError::Elf { .. } | ProgramError::NotGo { .. }) => other,
        OpenError::Program(ProgramError::NoModuleData { .. } | ProgramError::NotMapped { .. }) => &doctor,
        OpenError::Runtime(RuntimeError::NotStarted) => "try again in a moment",
        OpenError::Runtime(_) => &doctor,
    };
    Some(format!("{name}: {error}\n{advice}"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Exit, Failure};
    use crate::capture::{CaptureError, OpenError, ProgramError, SourceError};
    use crate::commands::input::InputError;
    use crate::commands::source::{FailureCause, Location, SourceFailure};
    use crate::process::core::CoreError;
    use crate::process::{ErrorKind, ReadError, TargetError};
    use crate::report::json::ReadBackError;
    use crate::runtime::RuntimeError;

    fn json_error() -> serde_json::Error {
        serde_json::from_str::<u32>("{").expect_err("it is no number")
    }

    /// Each kind of error has a status and, where something can be done, advice that fits where the target is.
    #[test]
    fn errors_become_statuses_and_advice() {
        let (process, file) = (Location::Process(7), Location::File(PathBuf::from("a.core")));
        let name = || "a.core".to_owned();
        let source = |error: SourceError| FailureCause::from(error);
        let program = |error: ProgramError| source(OpenError::from(error).into());
        let io = || std::io::Error::other("broken");
        let denied = ReadError::Denied { pid: 7, reason: "EPERM".to_owned() };
        for (location, cause, exit, text) in [
            (&process, source(TargetError::NoSuchProcess { pid: 7 }.into()), Exit::NoProcess, "`gospy ps` lists"),
            (
                &process,
                source(CaptureError::from(ReadError::Gone { pid: 7 }).into()),
                Exit::NoProcess,
                "`gospy ps` lists",
            ),
            (&process, source(OpenError::from(RuntimeError::Read(denied)).into()), Exit::Permission, "refused: EPERM"),
            (&process, program(ProgramError::NotGo { exe: name(), libraries: 0 }), Exit::NotGo, "\n`gospy ps` lists"),
            (
                &file,
                program(ProgramError::NotGo { exe: name(), libraries: 0 }),
                Exit::NotGo,
                "\ncaptures and core files of Go",
            ),
            (&process, source(OpenError::from(RuntimeError::NotStarted).into()), Exit::NotGo, "try again in a moment"),
            (&file, source(TargetError::Unsupported("no stop".to_owned()).into()), Exit::Error, "no stop"),
            (&file, InputError::NoName.into(), Exit::Usage, "is empty"),
            (&file, InputError::Io { name: name(), error: io() }.into(), Exit::Error, "a.core cannot be read: broken"),
            (&file, InputError::NoMemory { name: name() }.into(), Exit::Error, "\nname a capture or a core file"),
            (
                &file,
                InputError::Json { name: name(), error: ReadBackError::Json(json_error()) }.into(),
                Exit::Error,
                "\n`gospy stack --pid PID --json > FILE`",
            ),
            (
                &file,
                InputError::Core { name: name(), error: CoreError::NotCore { what: "a text".to_owned() } }.into(),
                Exit::Error,
                "a.core: ",
            ),
        ] {
            let failure = SourceFailure::at(location, cause);
            let is_gone = failure.kind() == Some(ErrorKind::Gone);
            assert_eq!(is_gone, exit == Exit::NoProcess, "{failure:?}");
            let failure = Failure::from(failure);
            assert_eq!(failure.exit(), exit, "{failure:?}");
            assert!(failure.message().contains(text), "{failure:?}");
        }
    }
}
