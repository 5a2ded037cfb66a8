//! Where commands get their snapshots from.
//!
//! Commands see these traits, so that they run on hand-made snapshots in tests.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use super::at::At;
use super::input::InputError;
use crate::analysis::objects::{ObjectGroup, OnlyFrom};
use crate::analysis::redact::Redactor;
use crate::capture::{CaptureOptions, FreezeMode, SourceError};
use crate::heap::objects::{Objects, Wanted};
use crate::heap::profile::ProfileError;
use crate::heap::{HeapError, Leaks};
use crate::inspect::doctor::Doctor;
use crate::inspect::processes::{Inventory, Processes};
use crate::model::{
    AllocationProfile, ContentionKind, ContentionProfile, CpuSamples, HeapReading, ObjectAddr, SizeClasses, Snapshot,
};
use crate::process::recording::ElfImage;
use crate::process::{ErrorKind, TargetError};
use crate::report::clean::clean;
use crate::runtime::package_variables::{FoundVariables, VariableError, VariableLimits};

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
    /// Which moment of a recording; the last one if none is said.
    pub(super) at: Option<At>,
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
        Self {
            location: Location::Process(pid),
            bin,
            sysroot: None,
            start_ticks: None,
            at: None,
            freeze_filtered: false,
        }
    }

    /// A capture, a core file or a recording, of which `FILE@TIME` is a moment.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        let (path, at) = At::split(&path).map_or((path, None), |(path, at)| (path, Some(at)));
        Self { location: Location::File(path), at, ..Self::process(0, None) }
    }

    /// Its pid, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        match self.location {
            Location::Process(pid) => Some(pid),
            Location::File(_) => None,
        }
    }

    /// How it is typed after a command.
    #[must_use]
    pub fn as_typed(&self) -> String {
        match &self.location {
            Location::Process(pid) => pid.to_string(),
            Location::File(path) => {
                let at = self.at.as_ref().map_or_else(String::new, |at| format!(" --at {at}"));
                format!("--from {}{}", clean(&path.display().to_string()), clean(&at))
            }
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

/// Why a target gives nothing: what to do depends on where it is, too.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct SourceFailure {
    /// Where it was looked for.
    pub location: Location,
    /// What is in the way.
    pub cause: Box<FailureCause>,
}

/// What is in the way of reading a target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FailureCause {
    /// The program, or its process.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The heap.
    #[error(transparent)]
    Heap(#[from] HeapError),
    /// A profile that the program keeps of itself.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Package variables.
    #[error(transparent)]
    Variables(#[from] VariableError),
    /// What was asked for is not there.
    #[error("{0}")]
    Absent(String),
}

impl SourceFailure {
    /// For a target at this place.
    pub fn at(location: &Location, cause: impl Into<FailureCause>) -> Self {
        Self { location: location.clone(), cause: Box::new(cause.into()) }
    }

    /// Of what kind it is; `None` where the command line is wrong, and not the target.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self.cause.as_ref() {
            FailureCause::Source(error) => Some(error.kind()),
            FailureCause::Input(error) => error.kind(),
            FailureCause::Heap(error) => Some(error.kind()),
            FailureCause::Profile(error) => Some(error.kind()),
            FailureCause::Variables(error) => Some(error.kind()),
            FailureCause::Absent(_) => None,
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

/// What it takes to capture a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapCosts {
    /// Bytes of it, before they are compressed.
    pub bytes: u64,
    /// How long the program is stopped for it, about; `None` where it is not stopped.
    pub stop: Option<Duration>,
}

/// What is read of a program beside its goroutines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileParts<'a> {
    /// Its heap profile.
    pub allocations: bool,
    /// These profiles of contention.
    pub contention: &'a [ContentionKind],
    /// Its heap by size class, and the stacks of its goroutines.
    pub heap: bool,
}

/// What was read of it.
#[derive(Debug)]
pub struct ProfileReading {
    /// Its goroutines, the heap's figures, and what program it is.
    pub snapshot: Snapshot,
    /// The heap profile, if that was asked for.
    pub allocations: Option<Result<AllocationProfile, ProfileError>>,
    /// The profiles of contention that were asked for, in that order.
    pub contention: Vec<ContentionProfile>,
    /// The heap by size class, if that was asked for.
    pub classes: Option<Result<SizeClasses, HeapError>>,
}

/// What is asked of a heap's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectsRequest {
    /// Whether to stop the program for it.
    pub freeze: bool,
    /// Goroutines: what only they keep is counted.
    pub only_from: Option<OnlyFrom>,
    /// What to find a path to.
    pub path_to: Option<Wanted>,
}

/// What was read of them.
#[derive(Debug)]
pub struct ObjectsReading {
    /// Goroutines, and what program it is.
    pub snapshot: Snapshot,
    /// By which the goroutines are told apart.
    pub groups: Vec<ObjectGroup>,
    /// Ids of the goroutines that were asked for.
    pub only: Option<Vec<u64>>,
    /// The objects.
    pub objects: Objects,
}

/// Opens programs, and says what there is.
pub trait Sources {
    /// What redacts a program that a command reads by itself, where strings of programs are left out.
    fn redactor(&self) -> Option<Redactor> {
        None
    }

    /// Whether strings of programs are left out.
    fn redacts(&self) -> bool {
        self.redactor().is_some()
    }

    /// Opens one.
    ///
    /// # Errors
    /// With what is in the way.
    fn open(&self, wanted: &TargetSpec) -> Result<Box<dyn Source>, SourceFailure>;

    /// Reads all of one to be written into a file.
    ///
    /// # Errors
    /// With what is in the way.
    fn record(&self, wanted: &TargetSpec, freeze: Option<FreezeMode>) -> Result<(ElfImage, Snapshot), SourceFailure>;

    /// The same, with its heap. `on_costs` is called with the costs before it starts.
    ///
    /// # Errors
    /// With what is in the way; also that the heap is larger than is allowed.
    fn record_heap(
        &self,
        wanted: &TargetSpec,
        freeze: Option<FreezeMode>,
        max_bytes: u64,
        on_costs: &mut dyn FnMut(HeapCosts),
    ) -> Result<(ElfImage, Snapshot), SourceFailure>;

    /// Finds out what is on the heap of one. `on_progress` is called with the progress.
    ///
    /// # Errors
    /// With what is in the way.
    fn objects(
        &self,
        wanted: &TargetSpec,
        request: &ObjectsRequest,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure>;

    /// Finds the goroutines of one that no other can wake, and reads all of them. `on_progress` is called with the
    /// progress.
    ///
    /// # Errors
    /// With what is in the way.
    fn leaks(
        &self,
        wanted: &TargetSpec,
        freeze: bool,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<(Snapshot, Leaks), SourceFailure>;

    /// Reads the profiles that one keeps of itself.
    ///
    /// # Errors
    /// With what is in the way.
    fn profiles(&self, wanted: &TargetSpec, parts: ProfileParts<'_>) -> Result<ProfileReading, SourceFailure>;

    /// Opens one to read its heap more than once.
    ///
    /// # Errors
    /// With what is in the way.
    fn heap(&self, wanted: &TargetSpec) -> Result<Box<dyn HeapSource>, SourceFailure>;

    /// Reads package variables of one, by their full names.
    ///
    /// # Errors
    /// With what is in the way.
    fn variables(
        &self,
        wanted: &TargetSpec,
        names: &[String],
        limits: VariableLimits,
    ) -> Result<(Snapshot, FoundVariables), SourceFailure>;

    /// Finds out how reading one would go, and what is in the way; without one, what this machine allows.
    ///
    /// # Errors
    /// When not even that is known.
    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Option<SourceFailure>), TargetError>;

    /// Lists what runs, without reading any of it.
    ///
    /// # Errors
    /// When processes cannot be listed.
    fn programs(&self) -> Result<Inventory, TargetError>;

    /// Lists the Go programs that run, with their goroutines counted.
    ///
    /// # Errors
    /// When processes cannot be listed.
    fn processes(&self) -> Result<Processes, TargetError>;
}

/// A program that was opened for its heap.
pub trait HeapSource {
    /// Reads it.
    ///
    /// # Errors
    /// With what is in the way of reading the program. That it has no profile is none.
    fn read(&mut self) -> Result<HeapReading, SourceFailure>;

    /// What is in use by size class, or why that could not be read.
    fn size_classes(&mut self) -> Result<SizeClasses, String>;

    /// Walks over its objects. `on_progress` is called with the progress.
    ///
    /// # Errors
    /// With what is in the way.
    fn walk(
        &mut self,
        request: &ObjectsRequest,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure>;
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
    /// With what is in the way.
    fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, SourceError>;

    /// From now on, reads the stacks of these goroutines each time, unless they are proven to be the same; they are named
    /// by the addresses of their gs.
    fn attend(&mut self, goroutines: &[ObjectAddr]) {
        let _ = goroutines;
    }

    /// The next reading that keeps stacks reads all of them.
    fn renew(&mut self) {}

    /// Samples it where it uses CPUs, `hz` times for each second of CPU time, until `each` says stop.
    ///
    /// # Errors
    /// With what is in the way; when it has ended, after what was sampled before.
    fn sample_cpu(
        &mut self,
        hz: f64,
        each: &mut dyn FnMut(CpuSamples<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let _ = (hz, each);
        Err(TargetError::Unsupported("what does not run uses no CPU".to_owned()).into())
    }
}
