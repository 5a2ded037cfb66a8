//! Where snapshots come from: a running process, or anything else that can be read once or more often.

use crate::model::{ObjectAddr, Snapshot};

/// Why there is no further snapshot, or none now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceEnd {
    /// The process has ended. The text says what is known about it.
    Ended(String),
    /// The recording is at its end.
    Finished,
    /// This sample failed; the next one may not.
    Failed(String),
}

/// Gives snapshots of one program, one after the other. Ids in them (stacks, frames, names) mean
/// the same in all whose pools have the same [identity](crate::model::SymbolPool::id).
pub trait SnapshotSource<E = SourceEnd>: Send {
    /// Reads the program now.
    ///
    /// # Errors
    /// When it has ended or could not be read.
    fn next(&mut self) -> Result<Snapshot, E>;

    /// The same, and keeps no stacks of earlier snapshots.
    ///
    /// # Errors
    /// As [`SnapshotSource::next`].
    fn next_in_full(&mut self) -> Result<Snapshot, E> {
        self.next()
    }

    /// From now on, reads the stacks of these goroutines each time, unless they are proven to be the same; they are named
    /// by the addresses of their gs.
    fn attend(&mut self, goroutines: &[ObjectAddr]) {
        let _ = goroutines;
    }
}

impl<E, F: FnMut() -> Result<Snapshot, E> + Send> SnapshotSource<E> for F {
    fn next(&mut self) -> Result<Snapshot, E> {
        self()
    }
}

/// Looks for what replaces a program that has ended.
pub trait Successor<E = SourceEnd>: Send {
    /// The program, if it is back. Called repeatedly, so it has to be cheap.
    fn find(&mut self) -> Option<Box<dyn SnapshotSource<E>>>;
}
