//! A place in words: the user's function, what it calls, and the line.

use super::clean::clean;
use super::text::shorten;
use crate::analysis::place::Place;
use crate::model::{FrameId, SymbolPool};

/// Stands before each remark on a function: what comes last is left out first. No cleaned text has it.
pub(super) const REMARK_BREAK: char = '\t';
/// Stands between the parts of a cell that shrinks as `Shrink::Place`. No cleaned text has it.
pub(super) const PLACE_BREAK: char = '\n';

/// A place in words, cleaned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlaceWords {
    /// The function.
    pub(crate) function: String,
    /// What may follow the function, what is left out last first: ` ← pq.(*conn).recv`,
    /// ` (in net.(*conn).Read)`.
    pub(crate) remarks: Vec<String>,
    /// File and line; empty where unknown.
    pub(crate) source: String,
    /// Whether it is only where the goroutine started.
    pub(crate) started_in: bool,
}

impl PlaceWords {
    /// Of a place; `None` where nothing is known of it.
    pub(crate) fn of(pool: &SymbolPool, place: Place) -> Option<Self> {
        let spot = place.spot()?;
        let (function, source) = (pool.function(spot.frame), source(pool, spot.frame));
        if function.is_empty() && source.is_empty() {
            return None;
        }
        let short = |frame: FrameId| shorten::function(&clean(pool.function(frame)), 0).into_owned();
        let callee = spot.callee.map(|frame| format!(" ← {}", short(frame)));
        let operation = spot.operation.map(|frame| format!(" (in {})", short(frame)));
        Some(Self {
            function: clean(function).into_owned(),
            remarks: callee.into_iter().chain(operation).collect(),
            source,
            started_in: matches!(place, Place::StartedIn(_)),
        })
    }

    /// Function and remarks, for a cell that shrinks.
    pub(crate) fn call(&self) -> String {
        self.remarks.iter().fold(self.function.clone(), |mut text, remark| {
            text.push(REMARK_BREAK);
            text + remark
        })
    }

    /// All of it, for a cell that shrinks as a place.
    pub(crate) fn cell(&self) -> String {
        if self.source.is_empty() { self.call() } else { format!("{}{PLACE_BREAK}{}", self.call(), self.source) }
    }

    /// Function and remarks on one line.
    pub(crate) fn line(&self) -> String {
        format!("{}{}", self.function, self.remarks.concat())
    }
}

/// File and line; empty where unknown.
pub(crate) fn source(pool: &SymbolPool, frame: FrameId) -> String {
    let Some(frame) = pool.frame(frame) else { return String::new() };
    match (pool.str(frame.file), frame.line) {
        ("", _) => String::new(),
        (file, 0) => clean(file).into_owned(),
        (file, line) => format!("{}:{line}", clean(file)),
    }
}
