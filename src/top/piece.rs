//! Pieces of text, and how they are to look.

use crate::report::text::Role;
use crate::report::text::shorten::width;

/// How a piece of text is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Head of something.
    Head,
    /// What the reader came for.
    Strong,
    /// What matters less.
    Dim,
    /// Runs, or is fewer than before.
    Good,
    /// Wants a look, or is more than before.
    Attention,
    /// Is wrong.
    Bad,
    /// A drawing.
    Drawing,
}

impl From<Role> for Tone {
    fn from(role: Role) -> Self {
        match role {
            Role::Plain => Self::Plain,
            Role::Heading => Self::Head,
            Role::Strong => Self::Strong,
            Role::Dim => Self::Dim,
            Role::Good => Self::Good,
            Role::Attention => Self::Attention,
            Role::Bad => Self::Bad,
        }
    }
}

/// A piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// What it says.
    pub text: String,
    /// How it looks.
    pub tone: Tone,
}

/// A piece of text.
pub(crate) fn piece(tone: Tone, text: impl Into<String>) -> Piece {
    Piece { text: text.into(), tone }
}

/// Words on lines of so many columns, as far as words fit.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(last) if width(last) + 1 + width(word) <= columns => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// More is worth a look, fewer is well.
pub(crate) fn tone_of(change: i64) -> Tone {
    match change {
        1.. => Tone::Attention,
        0 => Tone::Dim,
        _ => Tone::Good,
    }
}
