//! Where commands get their snapshots from.
//!
//! Commands see these traits, so that they run on hand-made snapshots in tests.

use std::path::PathBuf;
use std::time::Duration;

use super::{Exit, Failure};
use crate::capture::{CaptureOptions, FreezeMode};
use crate::heap::Leaks;
use crate::inspect::doctor::Doctor;
use crate::inspect::processes::{Inventory, Processes};
use crate::model::Snapshot;
use crate::process::recording::ElfImage;

/// Which program to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSpec {
    /// Where it is.
    pub location: Location,
    /// A binary of the same build with symbols; of a core file, the program's own file.
    pub bin: Option<PathBuf>,
    /// A directory with all files that a core file names.
    pub sysroot: Option<PathBuf>,
    /// When the process was started, clock ticks after boot, where it was found by its name: another
    /// process that has got its pid since is not meant.
    pub start_ticks: Option<u64>,
    /// Whether it may be stopped though its system calls are filtered.
    pub freeze_filtered: bool,
}

/// Where a program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// It runs, with this pid.
    Process(i32),
    /// In a capture or a core file.
    File(PathBuf),
}

impl TargetSpec {
    /// A running process.
    #[must_use]
    pub fn process(pid: i32, bin: Option<PathBuf>) -> Self {
        Self { location: Location::Process(pid), bin, sysroot: None, start_ticks: None, freeze_filtered: false }
    }

    /// A capture or a core file.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        Self { location: Location::File(path), ..Self::process(0, None) }
    }

    /// Its pid, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        match self.location {
            Location::Process(pid) => Some(pid),
            Location::File(_) => None,
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.location {
            Location::Process(pid) => format!("process {pid}"),
            Location::File(path) => path.display().to_string(),
        }
    }
}

/// What goes on while a heap is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walking {
    /// The program will be stopped for so long, about.
    Stop(Duration),
    /// So many bytes of the heap were read, of so many that may have to be.
    Read(u64, u64),
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
    fn record(&self, wanted: &TargetSpec, freeze: Option<FreezeMode>) -> Result<(ElfImage, Snapshot), Failure>;

    /// Finds the goroutines of one that nobody can wake, and reads all of them. `tell` hears what goes on.
    ///
    /// # Errors
    /// With the reason, what to do, and the status to end with.
    fn leaks(
        &self,
        wanted: &TargetSpec,
        freeze: bool,
        tell: &mut dyn FnMut(Walking),
    ) -> Result<(Snapshot, Leaks), Failure>;

    /// Finds out how reading one would go, or what this machine allows, and the status to end with.
    ///
    /// # Errors
    /// When not even that is known.
    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Exit), Failure>;

    /// Lists what runs, without reading any of it.
    ///
    /// # Errors
    /// When processes cannot be listed.
    fn programs(&self) -> Result<Inventory, Failure>;

    /// Lists the Go programs that run, with their goroutines counted.
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
    fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, Failure>;
}
