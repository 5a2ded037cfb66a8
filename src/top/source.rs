//! Where the live view gets its snapshots from: a running process, or anything else that can be
//! read once or more often.

use crate::model::Snapshot;

/// Why there is no further snapshot, or none now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEnd {
    /// The process has ended. The text says what is known of it.
    Ended(String),
    /// A recording has no more to show.
    Finished,
    /// This reading failed; the next one may not.
    Failed(String),
}

/// Gives snapshots of one program, one after the other. Ids in them (stacks, frames, names) mean
/// the same for as long as the number of stacks in their pools does not shrink.
pub trait SnapshotSource: Send {
    /// Reads the program now.
    ///
    /// # Errors
    /// When it has ended or could not be read.
    fn next(&mut self) -> Result<Snapshot, SourceEnd>;
}

impl<F: FnMut() -> Result<Snapshot, SourceEnd> + Send> SnapshotSource for F {
    fn next(&mut self) -> Result<Snapshot, SourceEnd> {
        self()
    }
}

/// Looks for what takes the place of a program that has ended (`--wait`).
pub trait Successor: Send {
    /// The program, if it is back. Called again and again, so it has to be cheap.
    fn find(&mut self) -> Option<Box<dyn SnapshotSource>>;
}
