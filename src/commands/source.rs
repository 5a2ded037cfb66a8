//! Where commands get their snapshots from.
//!
//! Commands see these traits, so that they run on hand-made snapshots in tests.

use std::path::PathBuf;

use super::{Exit, Failure};
use crate::model::Snapshot;
use crate::report::doctor::Doctor;
use crate::report::processes::Processes;

/// Which program to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its pid.
    pub pid: i32,
    /// A binary of the same build with symbols.
    pub bin: Option<PathBuf>,
}

/// Which threads to stop for an exact picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Freeze {
    /// Those that run goroutines, one at a time
    Running,
    /// All of them, together
    All,
}

/// What to read of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Whether to unwind stacks.
    pub stacks: bool,
    /// Whether to tell what goroutines do in C.
    pub c_frames: bool,
    /// Whether to list dead goroutines.
    pub dead: bool,
    /// Whether and what to stop.
    pub freeze: Option<Freeze>,
}

/// Opens programs, and says what there is.
pub trait Sources {
    /// Opens one.
    ///
    /// # Errors
    /// With the reason, what to do, and the status to end with.
    fn open(&self, wanted: &Wanted) -> Result<Box<dyn Source>, Failure>;

    /// Finds out how reading one would go, or what this machine allows, and the status to end with.
    ///
    /// # Errors
    /// When not even that can be told.
    fn examine(&self, wanted: Option<&Wanted>) -> Result<(Doctor, Exit), Failure>;

    /// Lists the Go programs that run.
    ///
    /// # Errors
    /// When processes cannot be listed.
    fn processes(&self) -> Result<Processes, Failure>;
}

/// An opened program.
pub trait Source: Send {
    /// Reads it.
    ///
    /// # Errors
    /// With the reason, what to do, and the status to end with.
    fn capture(&mut self, depth: &Depth) -> Result<Snapshot, Failure>;
}
