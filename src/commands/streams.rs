//! Standard output and error: width, colour, and closed pipes.

use std::io::{self, BufRead, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use super::{Exit, Failure};
use crate::report::text::{Role, TextStyle};

/// What `--color` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColourChoice {
    /// On a terminal, unless the environment says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the environment says about colour and width.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `NO_COLOR` is set to something.
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set to something but 0.
    pub force: bool,
    /// `CLICOLOR` is 0, or `TERM` is `dumb`.
    pub dumb: bool,
    /// `COLUMNS`.
    pub columns: Option<usize>,
    /// `GOSPY_COMPLETE`: the shell that asks for completions.
    pub complete: Option<String>,
    /// `GITHUB_ACTIONS` is true.
    pub github: bool,
    /// `GITHUB_WORKSPACE`: the checkout.
    pub workspace: Option<PathBuf>,
}

impl Environment {
    /// Of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is = |name: &str, wanted: &str| set(name).is_some_and(|value| value == wanted);
        Self {
            no_color: set("NO_COLOR").is_some(),
            force: set("CLICOLOR_FORCE").is_some() && !is("CLICOLOR_FORCE", "0"),
            dumb: is("TERM", "dumb") || is("CLICOLOR", "0"),
            columns: std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()),
            complete: super::completion::shell_of_environment(),
            github: is("GITHUB_ACTIONS", "true"),
            workspace: set("GITHUB_WORKSPACE").map(PathBuf::from),
        }
    }

    /// Whether a stream is to be coloured.
    #[must_use]
    pub fn colours(&self, choice: ColourChoice, terminal: bool) -> bool {
        match choice {
            ColourChoice::Always => true,
            ColourChoice::Never => false,
            ColourChoice::Auto => !self.no_color && (self.force || (terminal && !self.dumb)),
        }
    }
}

/// Where a command writes.
pub struct Streams<'a> {
    /// The answer.
    pub out: &'a mut dyn Write,
    /// Messages.
    pub err: &'a mut dyn Write,
    /// Answers to questions; files that are named `-` are not read from here.
    pub input: &'a mut dyn BufRead,
    /// Whether a question can be answered.
    pub in_is_terminal: bool,
    /// Whether the answer goes to a terminal.
    pub out_is_terminal: bool,
    /// Whether messages go to a terminal.
    pub err_is_terminal: bool,
    /// Columns of the terminal.
    pub columns: Option<usize>,
    /// What the environment says.
    pub environment: Environment,
    /// What was chosen.
    pub choice: ColourChoice,
}

/// Narrower than this, terminals break lines by themselves.
const NARROWEST: usize = 40;

impl<'a> Streams<'a> {
    /// The process's own.
    pub fn of_process(out: &'a mut dyn Write, err: &'a mut dyn Write, input: &'a mut dyn BufRead) -> Self {
        let columns = terminal_size::terminal_size_of(io::stdout())
            .or_else(|| terminal_size::terminal_size_of(io::stderr()))
            .map(|(width, _)| usize::from(width.0));
        Self {
            out,
            err,
            input,
            in_is_terminal: io::stdin().is_terminal(),
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
            columns: columns.filter(|columns| *columns > 0),
            environment: Environment::of_process(),
            choice: ColourChoice::Auto,
        }
    }

    pub(super) fn choose_colour(&mut self, choice: ColourChoice) {
        self.choice = choice;
    }

    /// How the answer is to look: within the terminal's columns, or within `COLUMNS` where there is
    /// no terminal but it is set.
    #[must_use]
    pub fn out_style(&self) -> TextStyle {
        let columns = if self.out_is_terminal { self.columns.or(Some(80)) } else { self.environment.columns };
        TextStyle {
            width: columns.map(|columns| columns.max(NARROWEST)),
            colour: self.environment.colours(self.choice, self.out_is_terminal),
        }
    }

    /// How a list on standard error is to look.
    pub(super) fn err_style(&self) -> TextStyle {
        let columns = if self.err_is_terminal { self.columns.or(Some(80)) } else { self.environment.columns };
        TextStyle { width: columns.map(|columns| columns.max(NARROWEST)), colour: self.err_colour() }
    }

    pub(super) fn err_colour(&self) -> bool {
        self.environment.colours(self.choice, self.err_is_terminal)
    }

    pub(super) fn err_paint(&self, text: &str) -> String {
        TextStyle { width: None, colour: self.err_colour() }.paint(Role::Bad, text)
    }

    /// Says something beside the answer.
    pub(super) fn note(&mut self, text: &str) {
        // Nothing more can be done when stderr is closed.
        let _ = writeln!(self.err, "gospy: {text}");
    }

    /// Writes the answer. A reader that went away has what it wanted; any other trouble is told.
    pub(super) fn finish(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        let mut buffered = BufWriter::with_capacity(1 << 16, &mut *self.out);
        let done = write(&mut buffered).and_then(|()| buffered.flush());
        // What is left in the buffer after an error is not tried again.
        let (_, _) = buffered.into_parts();
        match done {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(Exit::Error, format!("the answer could not be written: {error}")))
            }
            _ => Ok(()),
        }
    }
}
