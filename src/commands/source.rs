//! Where commands get their snapshots from.
//!
//! Commands see these traits, so that they run on hand-made snapshots in tests.

use std::path::PathBuf;
use std::time::Duration;

use super::{Exit, Failure};
use crate::model::Snapshot;
use crate::process::recording::ElfImage;
use crate::report::doctor::Doctor;
use crate::report::processes::Processes;

/// Which program to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSpec {
    /// Where it is.
    pub place: Place,
    /// A binary of the same build with symbols; of a core file, the program's own file.
    pub bin: Option<PathBuf>,
    /// A directory with all files that a core file names.
    pub sysroot: Option<PathBuf>,
    /// Whether it may be stopped though its system calls are filtered.
    pub freeze_filtered: bool,
}

/// Where a program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It runs, with this pid.
    Process(i32),
    /// In a capture or a core file.
    File(PathBuf),
}

impl TargetSpec {
    /// A running process.
    #[must_use]
    pub fn process(pid: i32, bin: Option<PathBuf>) -> Self {
        Self { place: Place::Process(pid), bin, sysroot: None, freeze_filtered: false }
    }

    /// Its pid, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        match self.place {
            Place::Process(pid) => Some(pid),
            Place::File(_) => None,
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.place {
            Place::Process(pid) => format!("process {pid}"),
            Place::File(path) => path.display().to_string(),
        }
    }
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
    fn open(&self, wanted: &TargetSpec) -> Result<Box<dyn Source>, Failure>;

    /// Reads all of one to be written into a file.
    ///
    /// # Errors
    /// With the reason, what to do, and the status to end with.
    fn record(&self, wanted: &TargetSpec, freeze: Option<Freeze>) -> Result<(ElfImage, Snapshot), Failure>;

    /// Finds out how reading one would go, or what this machine allows, and the status to end with.
    ///
    /// # Errors
    /// When not even that can be told.
    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Exit), Failure>;

    /// Lists the Go programs that run.
    ///
    /// # Errors
    /// When processes cannot be listed.
    fn processes(&self) -> Result<Processes, Failure>;
}

/// An opened program.
pub trait Source: Send {
    /// From now on, a reading takes as long as it takes to know the use of CPU time over `least`; of what
    /// does not run, nothing is measured.
    fn measure_cpu(&mut self, least: Duration) {
        let _ = least;
    }

    /// Reads it.
    ///
    /// # Errors
    /// With the reason, what to do, and the status to end with.
    fn capture(&mut self, depth: &Depth) -> Result<Snapshot, Failure>;
}
