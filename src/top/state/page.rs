//! What a page is of, and what it is made of.

use crate::model::Goid;
use crate::top::grouping::Key;
use crate::top::piece::Piece;
use crate::top::waited::WaitKey;

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// A group.
    Group {
        /// Which.
        key: Key,
        /// Its name, as the target has it.
        name: String,
    },
    /// A goroutine.
    Goroutine(Goid),
    /// What is waited on.
    Wait {
        /// Which.
        key: WaitKey,
        /// Its name, as the target has it.
        name: String,
    },
    /// Leaked goroutines, by the lowest id of them.
    Leak(u64),
    /// A finding, by its code.
    Finding(&'static str),
}

/// A line of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub pieces: Vec<Piece>,
    /// The goroutine that it leads to.
    pub link: Option<Goid>,
}
