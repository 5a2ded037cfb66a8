//! Running processes, captures and core files as sources.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::input::{Contents, InputError, InputFile};
use super::source::{
    FailureCause, HeapCosts, HeapSource, Location, ObjectsReading, ObjectsRequest, ProfileParts, ProfileReading,
    Source, SourceFailure, Sources, TargetSpec, Walking,
};
use crate::analysis::leaks::groups;
use crate::analysis::series::Watching;
use crate::analysis::{self, Index};
use crate::archive::{Archive, ArchiveError};
use crate::capture::{Alongside, CaptureOptions, FreezeMode, OpenOptions, Session, SourceError, record_with};
use crate::heap::objects::ObjectOptions;
use crate::heap::profile::{ProfileError, Profiles};
use crate::heap::{self, HeapError, HeapRecorder, LeakOptions, Leaks, Progress};
use crate::inspect::doctor::Doctor;
use crate::inspect::processes::{Inventory, Processes};
use crate::model::{ContentionProfile, CpuSamples, HeapReading, ObjectAddr, SizeClasses, Snapshot};
use crate::process::clock;
use crate::process::core::{CoreOptions, CoreTarget};
use crate::process::live::LiveTarget;
use crate::process::recording::ElfImage;
use crate::process::{Backend, Target, TargetError};
use crate::report::json::restore;
use crate::runtime::package_variables::{self, FoundVariables, VariableLimits};
use crate::threads;

/// The processes of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live;

impl Sources for Live {
    fn open(&self, wanted: &TargetSpec) -> Result<Box<dyn Source>, SourceFailure> {
        let opened = match &wanted.location {
            Location::File(path) => InputFile::open(path).map_err(Into::into).and_then(|input| opened(input, wanted)),
            Location::Process(_) => target(wanted).and_then(session),
        };
        opened.map_err(|cause| SourceFailure::at(&wanted.location, cause))
    }

    fn record(&self, wanted: &TargetSpec, freeze: Option<FreezeMode>) -> Result<(ElfImage, Snapshot), SourceFailure> {
        recorded(wanted, freeze, None).map_err(|cause| SourceFailure::at(&wanted.location, cause))
    }

    fn record_heap(
        &self,
        wanted: &TargetSpec,
        freeze: Option<FreezeMode>,
        max_bytes: u64,
        on_costs: &mut dyn FnMut(HeapCosts),
    ) -> Result<(ElfImage, Snapshot), SourceFailure> {
        with_heap(wanted, freeze, max_bytes, on_costs).map_err(|cause| SourceFailure::at(&wanted.location, cause))
    }

    fn leaks(
        &self,
        wanted: &TargetSpec,
        freeze: bool,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<(Snapshot, Leaks), SourceFailure> {
        leaks(wanted, freeze, on_progress).map_err(|cause| SourceFailure::at(&wanted.location, cause))
    }

    fn objects(
        &self,
        wanted: &TargetSpec,
        request: &ObjectsRequest,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure> {
        objects(wanted, request, on_progress).map_err(|cause| SourceFailure::at(&wanted.location, cause))
    }

    fn profiles(&self, wanted: &TargetSpec, parts: ProfileParts<'_>) -> Result<ProfileReading, SourceFailure> {
        profiles(wanted, parts).map_err(|cause| SourceFailure::at(&wanted.location, cause))
    }

    fn heap(&self, wanted: &TargetSpec) -> Result<Box<dyn HeapSource>, SourceFailure> {
        let opened = HeapSession::open(wanted).map_err(|cause| SourceFailure::at(&wanted.location, cause))?;
        Ok(Box::new(opened))
    }

    fn variables(
        &self,
        wanted: &TargetSpec,
        names: &[String],
        limits: VariableLimits,
    ) -> Result<(Snapshot, FoundVariables), SourceFailure> {
        variables(wanted, names, limits).map_err(|cause| SourceFailure::at(&wanted.location, cause))
    }

    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Option<SourceFailure>), TargetError> {
        let Some(wanted) = wanted else { return Ok((of_machine()?, None)) };
        let mut report = match &wanted.location {
            Location::Process(pid) => Doctor::of_process(*pid)?,
            Location::File(_) => Doctor::of_file(wanted.name())?,
        };
        let read = target(wanted).and_then(|(target, bin)| Ok(report.read(target, bin)?));
        let failure = read.err().map(|cause| SourceFailure::at(&wanted.location, cause));
        Ok((report, failure))
    }

    fn programs(&self) -> Result<Inventory, TargetError> {
        Inventory::take()
    }

    fn processes(&self) -> Result<Processes, TargetError> {
        Ok(Inventory::take()?.counted())
    }
}

/// What this machine and the rights of this user allow, to a server too.
fn of_machine() -> Result<Doctor, TargetError> {
    let mut report = Doctor::of_machine()?;
    #[cfg(feature = "serve")]
    report.serve.extend(crate::serve::in_effect());
    Ok(report)
}

fn with_heap(
    wanted: &TargetSpec,
    freeze: Option<FreezeMode>,
    max_bytes: u64,
    on_costs: &mut dyn FnMut(HeapCosts),
) -> Result<(ElfImage, Snapshot), FailureCause> {
    // What is searched for does not belong into the recording.
    let (target, bin) = target(wanted)?;
    let aside = Session::open(target, &OpenOptions { bin, thorough: false }).map_err(SourceError::from)?;
    let ticks = wanted.pid().and_then(|_| clock::ticks_per_second(aside.process().arch()));
    let mut heap = HeapRecorder::prepare(aside.process(), max_bytes, ticks)?;
    let stop = (freeze == Some(FreezeMode::All)).then(|| heap.time());
    on_costs(HeapCosts { bytes: heap.bytes(), stop });
    /// How often the program is stopped at most: a thread that waits for a CPU has no registers to read.
    const STOPS: usize = 5;
    let mut tried = 1;
    loop {
        heap.begin(aside.process());
        let done = recorded(wanted, freeze, Some(&mut heap))?;
        if stop.is_none() || heap.unproven().is_none() || tried >= STOPS {
            return Ok(done);
        }
        tried += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn recorded(
    wanted: &TargetSpec,
    freeze: Option<FreezeMode>,
    heap: Option<&mut HeapRecorder>,
) -> Result<(ElfImage, Snapshot), FailureCause> {
    let (target, _) = target(wanted)?;
    let start = target.process().start_ticks;
    let heap = heap.map(|heap| heap as &mut dyn Alongside);
    let recorded = record_with(target, freeze, heap).map_err(SourceError::from)?;
    if let Some(pid) = wanted.pid()
        && live(pid)?.process().start_ticks != start
    {
        // Another one has its pid by now, and may have been read instead.
        return Err(SourceError::from(TargetError::NoSuchProcess { pid }).into());
    }
    Ok(recorded)
}

impl Source for Session {
    fn measure_cpu(&mut self, least: Duration) {
        Self::measure_cpu(self, least);
    }

    fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, SourceError> {
        Ok(Self::capture(self, options)?)
    }

    fn attend(&mut self, goroutines: &[ObjectAddr]) {
        Self::attend(self, goroutines);
    }

    fn renew(&mut self) {
        Self::renew(self);
    }

    fn sample_cpu(
        &mut self,
        hz: f64,
        each: &mut dyn FnMut(CpuSamples<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        Ok(Self::sample_cpu(self, hz, each)?)
    }
}

/// The program's bytes, and the file with symbols that goes with them.
type Opened = (Box<dyn Target>, Option<PathBuf>);

/// Opens what there is memory of: a process, a capture or a core file.
fn target(wanted: &TargetSpec) -> Result<Opened, FailureCause> {
    let path = match &wanted.location {
        Location::Process(pid) => {
            let target = live(*pid)?.allow_freeze_of_filtered(wanted.freeze_filtered);
            if wanted.start_ticks.is_some() && wanted.start_ticks != target.process().start_ticks {
                // The one that was found has ended, and another one has its pid.
                return Err(SourceError::from(TargetError::NoSuchProcess { pid: *pid }).into());
            }
            return Ok((Box::new(target), wanted.bin.clone()));
        }
        Location::File(path) => path,
    };
    let input = InputFile::open(path)?;
    match input.contents {
        Contents::Json => return Err(InputError::NoMemory { name: input.name }.into()),
        Contents::Recording => return Err(InputError::Recording { name: input.name }.into()),
        Contents::Memory => {}
    }
    Ok(memory(input, path, wanted)?)
}

fn live(pid: i32) -> Result<LiveTarget, SourceError> {
    Ok(LiveTarget::open(pid)?)
}

/// A file whose contents are memory.
fn memory(input: InputFile, path: &Path, wanted: &TargetSpec) -> Result<Opened, InputError> {
    let options = CoreOptions { bin: wanted.bin.clone(), sysroot: wanted.sysroot.clone() };
    let name = input.name.clone();
    let target = match input.is_stream() {
        true => CoreTarget::from_source(Arc::new(input.into_bytes()?), &options),
        false => CoreTarget::open(path, &options),
    };
    let target = target.map_err(|error| InputError::Core { name, error })?;
    // In a core file it takes the place of the program's own file.
    let symbols = wanted.bin.clone().filter(|_| target.backend() == Backend::Capture);
    Ok((Box::new(target), symbols))
}

/// What can be shown of a file.
pub(super) fn opened(input: InputFile, wanted: &TargetSpec) -> Result<Box<dyn Source>, FailureCause> {
    let Location::File(path) = &wanted.location else { return session(target(wanted)?) };
    if input.contents == Contents::Recording {
        let name = input.name.clone();
        let (mut archive, number) = input.into_sample(wanted.at.as_ref())?;
        let snapshot = sample(&mut archive, number).map_err(|error| InputError::Archive { name, error })?;
        return Ok(Box::new(Restored(snapshot)));
    }
    if let Some(at) = &wanted.at {
        return Err(InputError::OneMoment { name: input.name, at: at.to_string() }.into());
    }
    if input.contents != Contents::Json {
        return session(memory(input, path, wanted)?);
    }
    let name = input.name.clone();
    let snapshot = restore::snapshot(input.into_reader()).map_err(|error| InputError::Json { name, error })?;
    Ok(Box::new(Restored(snapshot)))
}

/// A sample of a recording, with waits as long as the samples before it show.
fn sample(archive: &mut Archive, number: u64) -> Result<Snapshot, ArchiveError> {
    /// How many goroutines are compared, in all samples together: that takes a second or so.
    const GOROUTINES: u64 = 2_000_000;
    let mut snapshot = archive.read(number)?;
    let most = (GOROUTINES / (snapshot.goroutines.len() as u64).max(1)).clamp(8, 128);
    let mut watching = Watching::default();
    for earlier in archive.leading_to(number, most) {
        watching.observe(archive.read(earlier)?);
    }
    if let Some(observed) = watching.latest() {
        snapshot.watched = observed.waits().clone();
    }
    Ok(snapshot)
}

fn session((target, bin): Opened) -> Result<Box<dyn Source>, FailureCause> {
    let session = Session::open(target, &OpenOptions { bin, thorough: false }).map_err(SourceError::from)?;
    Ok(Box::new(session))
}

/// A snapshot that was written as JSON, or recorded: what is in it is all that there is.
struct Restored(Snapshot);

impl Source for Restored {
    fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, SourceError> {
        let mut snapshot = self.0.clone();
        snapshot.goroutines.retain(|goroutine| options.dead || !goroutine.status.is_dead());
        Ok(snapshot)
    }
}

fn profiles(wanted: &TargetSpec, parts: ProfileParts<'_>) -> Result<ProfileReading, FailureCause> {
    let (target, bin) = target(wanted)?;
    let mut session = Session::open(target, &OpenOptions { bin, thorough: false }).map_err(SourceError::from)?;
    let options = CaptureOptions { stacks: parts.heap, ..CaptureOptions::default() };
    let snapshot = Session::capture(&mut session, &options).map_err(SourceError::from)?;
    let process = session.process();
    let found = match Profiles::find(process) {
        Ok(found) => found,
        // There is more to show than that.
        Err(error) if parts.heap && !matches!(error, ProfileError::NoMemory { .. }) => {
            let classes = Some(heap::size_classes(process));
            return Ok(ProfileReading { snapshot, allocations: Some(Err(error)), contention: Vec::new(), classes });
        }
        Err(error) => return Err(error.into()),
    };
    let allocations = parts.allocations.then(|| found.allocations(process));
    // The clock of a core file's machine is unknown.
    let is_here = wanted.pid().is_some() && !parts.contention.is_empty();
    let ticks = match is_here {
        true => clock::ticks_per_second(process.arch()),
        false => heap::recorded_ticks(process.target).map_err(SourceError::from)?,
    };
    let contention = parts.contention.iter().map(|kind| {
        let profile = found.contention(process, *kind)?;
        Ok(ContentionProfile { ticks_per_second: ticks, ..profile })
    });
    let contention = contention.collect::<Result<_, ProfileError>>()?;
    let classes = parts.heap.then(|| heap::size_classes(process));
    Ok(ProfileReading { snapshot, allocations, contention, classes })
}

/// A program whose heap is read more than once.
struct HeapSession {
    session: Session,
    profiles: Result<Profiles, String>,
    location: Location,
}

impl HeapSession {
    fn open(wanted: &TargetSpec) -> Result<Self, FailureCause> {
        let (target, bin) = target(wanted)?;
        let session = Session::open(target, &OpenOptions { bin, thorough: false }).map_err(SourceError::from)?;
        let profiles = match Profiles::find(session.process()) {
            Ok(found) => Ok(found),
            Err(error @ (ProfileError::Read(_) | ProfileError::NoMemory { .. })) => return Err(error.into()),
            Err(error) => Err(error.to_string()),
        };
        Ok(Self { session, profiles, location: wanted.location.clone() })
    }
}

impl HeapSource for HeapSession {
    fn read(&mut self) -> Result<HeapReading, SourceFailure> {
        let failed = |cause: FailureCause| SourceFailure::at(&self.location, cause);
        let options = CaptureOptions { stacks: false, ..CaptureOptions::default() };
        let snapshot = Session::capture(&mut self.session, &options);
        let snapshot = snapshot.map_err(|error| failed(SourceError::from(error).into()))?;
        let process = self.session.process();
        let allocations = match &self.profiles {
            Err(why) => Err(why.clone()),
            Ok(profiles) => match profiles.allocations(process) {
                Ok(profile) => crate::report::heap::missing(&profile).map_or(Ok(profile), Err),
                Err(error @ ProfileError::Read(_)) => return Err(failed(error.into())),
                Err(error) => Err(error.to_string()),
            },
        };
        let survivors = match heap::survivors(process) {
            Ok(survivors) => Ok(survivors),
            Err(error @ HeapError::Read(_)) => return Err(failed(error.into())),
            Err(error) => Err(error.to_string()),
        };
        Ok(HeapReading { snapshot, allocations, survivors })
    }

    fn size_classes(&mut self) -> Result<SizeClasses, String> {
        heap::size_classes(self.session.process()).map_err(|error| error.to_string())
    }

    fn walk(
        &mut self,
        request: &ObjectsRequest,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure> {
        walk(&mut self.session, request, on_progress).map_err(|cause| SourceFailure::at(&self.location, cause))
    }
}

fn variables(
    wanted: &TargetSpec,
    names: &[String],
    limits: VariableLimits,
) -> Result<(Snapshot, FoundVariables), FailureCause> {
    let (target, bin) = target(wanted)?;
    let mut session = Session::open(target, &OpenOptions { bin, thorough: false }).map_err(SourceError::from)?;
    let snapshot = Session::capture(&mut session, &CaptureOptions::default()).map_err(SourceError::from)?;
    let found = package_variables::read(session.process(), names, limits)?;
    Ok((snapshot, found))
}

fn leaks(
    wanted: &TargetSpec,
    freeze: bool,
    on_progress: &mut dyn FnMut(Walking),
) -> Result<(Snapshot, Leaks), FailureCause> {
    let (target, bin) = target(wanted)?;
    let mut session = Session::open(target, &OpenOptions { bin, thorough: false }).map_err(SourceError::from)?;
    let options = LeakOptions { freeze, ..LeakOptions::default() };
    let process = session.process();
    let mut leaks = watched(on_progress, |progress, stop| heap::find(process, &options, progress, stop))?;
    // What is leaked stays where it is: it is found there afterwards.
    let options = CaptureOptions { stacks: true, waits: true, ..CaptureOptions::default() };
    let snapshot = Session::capture(&mut session, &options).map_err(SourceError::from)?;
    let groups = groups(&Index::new(&snapshot), &leaks);
    let ids: Vec<Vec<u64>> = groups.into_iter().map(|group| group.ids).collect();
    // What they keep is unknown then, but not that they are leaked.
    let _ = leaks.examine(session.process(), &ids);
    Ok((snapshot, leaks))
}

fn objects(
    wanted: &TargetSpec,
    request: &ObjectsRequest,
    on_progress: &mut dyn FnMut(Walking),
) -> Result<ObjectsReading, FailureCause> {
    let (target, bin) = target(wanted)?;
    let mut session = Session::open(target, &OpenOptions { bin, thorough: false }).map_err(SourceError::from)?;
    walk(&mut session, request, on_progress)
}

fn walk(
    session: &mut Session,
    request: &ObjectsRequest,
    on_progress: &mut dyn FnMut(Walking),
) -> Result<ObjectsReading, FailureCause> {
    let options = CaptureOptions { stacks: true, ..CaptureOptions::default() };
    let snapshot = Session::capture(session, &options).map_err(SourceError::from)?;
    let index = Index::new(&snapshot);
    let groups = analysis::objects::groups(&index);
    let only = request.only_from.as_ref().map(|only| only.ids(&index)).transpose().map_err(FailureCause::Absent)?;
    drop(index);
    let options = ObjectOptions {
        freeze: request.freeze,
        groups: groups.iter().map(|group| group.ids.clone()).collect(),
        only: only.clone(),
        path_to: request.path_to.clone(),
    };
    let process = session.process();
    let objects = watched(on_progress, |progress, stop| heap::objects::find(process, &options, progress, stop))?;
    Ok(ObjectsReading { snapshot, groups, only, objects })
}

/// Called before a program is stopped, with how long that will be, about.
type Stop<'a> = Box<dyn FnOnce(Duration) + 'a>;

/// Walks a heap on a thread of its own, and reports its progress.
fn watched<T: Send>(
    on_progress: &mut dyn FnMut(Walking),
    walk: impl Fn(&Progress, Stop<'_>) -> Result<T, HeapError> + Sync,
) -> Result<T, HeapError> {
    /// How often.
    const OFTEN: Duration = Duration::from_secs(1);
    let progress = Progress::default();
    let (events, heard) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (walk, progress) = (&walk, &progress);
        let finder = threads::start(scope, move || {
            // When it ends, however that is, so does what is heard.
            let events = events;
            let stop = |takes| {
                // The receiver lives until the walk ends.
                let _ = events.send(takes);
            };
            walk(progress, Box::new(stop))
        });
        // Where there can be no other thread, how far it is goes unreported.
        let Some(finder) = finder else {
            return walk(progress, Box::new(|takes| on_progress(Walking::Stop(takes))));
        };
        loop {
            match heard.recv_timeout(OFTEN) {
                Ok(takes) => on_progress(Walking::Stop(takes)),
                Err(RecvTimeoutError::Timeout) => {
                    let (read, all) = progress.bytes();
                    on_progress(Walking::Read(read, all));
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        threads::joined(finder)
    })
}
