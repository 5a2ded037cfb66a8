//! The language of `--filter`: which goroutines to show.
//!
//! `state=waiting and age>5m`, `reason~chan`, `not system`, `(worker or consumer) and !locked`. It is small
//! on purpose: fields, comparisons, `and`, `or`, `not` and parentheses. It only decides on one goroutine at a
//! time; it neither sorts nor counts. An expression that cannot be understood is refused with the place,
//! never guessed at.

mod eval;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use unicode_width::UnicodeWidthChar;

pub use eval::Matcher;

use super::{Index, waits};
use crate::model::{Goroutine, ObjectState};

/// The text that help shows below `--filter`.
pub const HELP: &str = "\
FIELD OPERATOR VALUE, combined by and, or, not and parentheses. A bare word
means that a function on the stack contains it.

  state    running, runnable, syscall, waiting, ... as the runtime calls them
  reason   why it waits, in the runtime's words: select, \"chan receive\"
  func     any function on its stack
  place    where it is: function, or file:line
  file     file:line of any frame on its stack
  start    the function that it started in
  creator  the function that created it
  label    pprof labels as key=value; label.KEY is one label's value
  age      how long it has been blocked at least: 30s, 5m, 1h30m
  kind     what it waits on: channel, select, mutex, network, sleep, ...
  object   address of that, as in object=0xc000012345
  type     type of the channel's elements
  peer     the other end of a connection, the path of a file
  fd, deadline, holder   descriptor; time left; who likely holds the lock
  id, parent, m, thread, bubble   numbers: its id, its creator's, its M's, …
  stack    bytes of stack in use: 64KB, 1MB
  system, locked                  alone: the runtime's own; locked to its thread

  =  !=    the whole text, or the number
  ~  !~    a regular expression, found anywhere
  <  <=  >  >=    numbers, ages and sizes

Capitals count only where the text that you give has one. Quote what has
spaces: reason=\"IO wait\". A comparison with an unknown number is false.";

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 16 * 1024;

/// A parsed filter.
#[derive(Clone, Debug)]
pub struct Filter {
    expr: Expr,
    /// How many text tests there are; each has its own cache in a [`Matcher`].
    slots: usize,
    /// The expression with `~` for each `=` that wants a whole text; `None` where there is none.
    with_parts: Option<String>,
}

impl Filter {
    /// Parses an expression; see [`HELP`].
    ///
    /// # Errors
    /// With the place and what could stand there.
    pub fn parse(expression: &str) -> Result<Self, FilterError> {
        if expression.len() > MAX_LENGTH {
            let problem = format!("the expression has {} bytes; the limit is {MAX_LENGTH}", expression.len());
            return Err(FilterError { expression: String::new(), at: 0..0, problem, hint: String::new() });
        }
        parse::parse(expression)
    }

    /// A matcher for the goroutines of one snapshot.
    #[must_use]
    pub fn matcher<'f>(&'f self, index: &'f Index<'f>) -> Matcher<'f> {
        Matcher::new(self, index)
    }

    /// The filter that was perhaps meant: with `~`, which finds a part, for each `=` that wants a whole
    /// text, states apart; with how it is typed. `None` where there is no such `=`.
    #[must_use]
    pub fn with_parts(&self) -> Option<(String, Self)> {
        let text = self.with_parts.as_ref()?;
        Some((text.clone(), Self::parse(text).ok()?))
    }

    /// The goroutines that match, as positions in the snapshot, in its order.
    #[must_use]
    pub fn select(&self, index: &Index<'_>) -> Vec<usize> {
        let mut matcher = self.matcher(index);
        let goroutines = &index.snapshot().goroutines;
        goroutines.iter().enumerate().filter(|(_, g)| matcher.matches(g)).map(|(at, _)| at).collect()
    }
}

#[derive(Clone, Debug)]
enum Expr {
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Not(Box<Expr>),
    Text { field: TextField, pattern: regex::Regex, slot: usize },
    Number { field: NumberField, comparison: Comparison, value: u64 },
    Flag(FlagField),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TextField {
    State,
    Reason,
    Func,
    Place,
    File,
    Start,
    Creator,
    AnyLabel,
    Label(String),
    Kind,
    Type,
    Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NumberField {
    Id,
    Parent,
    M,
    Thread,
    Bubble,
    Age,
    Stack,
    Object,
    Fd,
    Deadline,
    Holder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlagField {
    System,
    Locked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl NumberField {
    /// Whether `holds` one of its values: of an object there can be several, in a `select`.
    fn any(self, goroutine: &Goroutine, index: &Index<'_>, mut holds: impl FnMut(u64) -> bool) -> bool {
        let one = match self {
            Self::Id => Some(goroutine.id.0),
            Self::Parent => goroutine.parent.map(|id| id.0),
            Self::M => index.thread(goroutine).and_then(|thread| u64::try_from(thread.id).ok()),
            Self::Thread => {
                let tid = index.thread(goroutine).and_then(|thread| thread.tid);
                tid.and_then(|tid| u64::try_from(tid).ok())
            }
            Self::Bubble => goroutine.bubble.map(std::num::NonZeroU64::get),
            Self::Age => index.wait_ns(goroutine),
            Self::Stack => goroutine.stack_used(),
            Self::Deadline => waits::left_ns(index.snapshot(), goroutine),
            Self::Object => {
                let mut objects = waits::objects(index.snapshot(), goroutine);
                return objects.any(|object| holds(object.addr.0));
            }
            Self::Fd => {
                let mut objects = waits::objects(index.snapshot(), goroutine);
                return objects
                    .any(|object| matches!(object.state, ObjectState::Descriptor { fd, .. } if holds(fd.into())));
            }
            Self::Holder => {
                let mut objects = waits::objects(index.snapshot(), goroutine);
                return objects
                    .any(|object| object.likely_holders.iter().flatten().any(|holder| holds(holder.goroutine.0)));
            }
        };
        one.is_some_and(holds)
    }
}

/// A syntax error in an expression. Its text points at the place:
///
/// ```text
/// there is no field `stat`
///     stat=waiting and age>5m
///     ^^^^
/// fields: state, reason, …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilterError {
    expression: String,
    at: Range<usize>,
    problem: String,
    hint: String,
}

impl FilterError {
    /// Bytes of the expression that are to blame; empty at its end where something is missing.
    #[must_use]
    pub fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    /// What is wrong, without the expression.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// What could stand there; may be empty.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problem)?;
        if !self.expression.is_empty() {
            // One column for each control character, so that the caret stays where it belongs.
            let shown: String = self.expression.chars().map(|c| if c.is_control() { '·' } else { c }).collect();
            let columns = |range: Range<usize>| -> usize {
                let chars = self.expression.char_indices().filter(|(at, _)| range.contains(at));
                chars.map(|(_, c)| c.width().unwrap_or(1)).sum()
            };
            let (before, under) = (columns(0..self.at.start), columns(self.at.clone()).max(1));
            write!(f, "\n    {shown}\n    {:before$}{:^<under$}", "", "")?;
        }
        if !self.hint.is_empty() {
            write!(f, "\n{}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for FilterError {}
