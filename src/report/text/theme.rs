//! What text looks like: width, and the few roles that have a colour.

use anstyle::{AnsiColor, Effects, Style};

use crate::model::Status;

/// How text is to look. Nothing is coloured unless `colour` is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextStyle {
    /// Columns to keep within; `None` for no limit.
    pub width: Option<usize>,
    /// Whether to colour.
    pub colour: bool,
}

/// What a piece of text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// Anything.
    #[default]
    Plain,
    /// The head of a section or column.
    Heading,
    /// What the reader came for.
    Strong,
    /// Labels, and what matters less.
    Dim,
    /// Runs, or went well.
    Good,
    /// Wants a look.
    Attention,
    /// Is wrong.
    Bad,
}

impl Role {
    /// That of a state, in everything that people read.
    pub(crate) fn of_state(status: Status) -> Self {
        match status {
            Status::Running | Status::Runnable => Self::Good,
            Status::Syscall | Status::Waiting => Self::Plain,
            Status::Leaked | Status::Unknown(_) => Self::Bad,
            Status::CopyStack | Status::Preempted => Self::Attention,
            Status::Idle | Status::Dead | Status::DeadExtra => Self::Dim,
        }
    }

    pub(crate) fn style(self) -> Style {
        let coloured = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Heading => coloured(AnsiColor::Cyan).effects(Effects::BOLD),
            Self::Strong => Style::new().effects(Effects::BOLD),
            Self::Dim => Style::new().effects(Effects::DIMMED),
            Self::Good => coloured(AnsiColor::Green),
            Self::Attention => coloured(AnsiColor::Yellow),
            Self::Bad => coloured(AnsiColor::Red).effects(Effects::BOLD),
        }
    }
}

impl TextStyle {
    /// `text` in its role; as it is without colour.
    pub(crate) fn paint(self, role: Role, text: &str) -> String {
        if !self.colour || role == Role::Plain {
            return text.to_owned();
        }
        let style = role.style();
        format!("{style}{text}{style:#}")
    }
}
