//! Running processes, captures and core files as sources.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::input::{Contents, InputFile, not_read};
use super::source::{Location, Source, Sources, TargetSpec, Walking};
use super::{Exit, Failure};
use crate::capture::{
    CaptureError, CaptureOptions, FreezeMode, OpenError, OpenOptions, ProgramError, RecordError, Session, SourceError,
    record,
};
use crate::heap::{self, HeapError, LeakOptions, Leaks, Progress};
use crate::inspect::doctor::Doctor;
use crate::inspect::processes::{Inventory, Processes};
use crate::model::Snapshot;
use crate::process::core::{CoreOptions, CoreTarget};
use crate::process::live::LiveTarget;
use crate::process::recording::ElfImage;
use crate::process::{Backend, Target, TargetError};
use crate::report::json::restore;
use crate::runtime::{GoProcess, RuntimeError};

/// The processes of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live;

impl Sources for Live {
    fn open(&self, wanted: &TargetSpec) -> Result<Box<dyn Source>, Failure> {
        match &wanted.location {
            Location::File(path) => opened(InputFile::open(path)?, wanted),
            Location::Process(_) => session(target(wanted)?, wanted),
        }
    }

    fn record(&self, wanted: &TargetSpec, freeze: Option<FreezeMode>) -> Result<(ElfImage, Snapshot), Failure> {
        let (target, _) = target(wanted)?;
        let start = target.process().start_ticks;
        let recorded = record(target, freeze).map_err(|error| match error {
            RecordError::Open(error) => not_opened(error, wanted),
            RecordError::Capture(error) => not_captured(error),
            RecordError::Target(error) => error.into(),
        })?;
        if let Some(pid) = wanted.pid()
            && LiveTarget::open(pid)?.process().start_ticks != start
        {
            // Another one has its pid by now, and may have been read instead.
            return Err(TargetError::NoSuchProcess { pid }.into());
        }
        Ok(recorded)
    }

    fn leaks(
        &self,
        wanted: &TargetSpec,
        freeze: bool,
        tell: &mut dyn FnMut(Walking),
    ) -> Result<(Snapshot, Leaks), Failure> {
        let (target, bin) = target(wanted)?;
        let session = Session::open(target, &OpenOptions { bin, thorough: false });
        let mut session = session.map_err(|error| not_opened(error, wanted))?;
        let options = LeakOptions { freeze, ..LeakOptions::default() };
        let leaks = watched(session.process(), &options, tell).map_err(not_walked)?;
        // What is leaked stays where it is: it is found there afterwards.
        let options = CaptureOptions { stacks: true, ..CaptureOptions::default() };
        let snapshot = Session::capture(&mut session, &options).map_err(not_captured)?;
        Ok((snapshot, leaks))
    }

    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Exit), Failure> {
        let Some(wanted) = wanted else { return Ok((Doctor::of_machine()?, Exit::Done)) };
        let mut report = match &wanted.location {
            Location::Process(pid) => Doctor::of_process(*pid)?,
            Location::File(_) => Doctor::of_file(wanted.name())?,
        };
        let read = target(wanted).and_then(|(target, bin)| {
            report.read(target, bin).map_err(|problem| match problem {
                SourceError::Target(error) => error.into(),
                SourceError::Open(error) => not_opened(error, wanted),
                SourceError::Capture(error) => not_captured(error),
                SourceError::Core(error) => Failure::new(Exit::from(error.kind()), error.to_string()),
            })
        });
        let exit = read.map_or_else(
            |failure| {
                report.problem = Some(failure.message().to_owned());
                failure.exit()
            },
            |()| Exit::Done,
        );
        Ok((report, exit))
    }

    fn programs(&self) -> Result<Inventory, Failure> {
        Ok(Inventory::take()?)
    }

    fn processes(&self) -> Result<Processes, Failure> {
        Ok(Inventory::take()?.counted())
    }
}

impl Source for Session {
    fn measure_cpu(&mut self, least: Duration) {
        Self::measure_cpu(self, least);
    }

    fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, Failure> {
        Self::capture(self, options).map_err(not_captured)
    }
}

/// The program's bytes, and the file with symbols that goes with them.
type Opened = (Box<dyn Target>, Option<PathBuf>);

/// Opens what there is memory of: a process, a capture or a core file.
pub(super) fn target(wanted: &TargetSpec) -> Result<Opened, Failure> {
    let path = match &wanted.location {
        Location::Process(pid) => {
            let target = LiveTarget::open(*pid)?.allow_freeze_of_filtered(wanted.freeze_filtered);
            if wanted.start_ticks.is_some() && wanted.start_ticks != target.process().start_ticks {
                // The one that was found has ended, and another one has its pid.
                return Err(TargetError::NoSuchProcess { pid: *pid }.into());
            }
            return Ok((Box::new(target), wanted.bin.clone()));
        }
        Location::File(path) => path,
    };
    let input = InputFile::open(path)?;
    if input.contents == Contents::Json {
        let name = &input.name;
        let message = format!(
            "{name} is a snapshot in JSON: it can be shown, but has no memory, which this needs\n\
             name a capture or a core file"
        );
        return Err(Failure::new(Exit::Error, message));
    }
    memory(input, path, wanted)
}

/// A file whose contents are memory.
fn memory(input: InputFile, path: &Path, wanted: &TargetSpec) -> Result<Opened, Failure> {
    let options = CoreOptions { bin: wanted.bin.clone(), sysroot: wanted.sysroot.clone() };
    let name = input.name.clone();
    let target = match input.is_stream() {
        true => CoreTarget::from_source(Arc::new(input.into_bytes()?), &options),
        false => CoreTarget::open(path, &options),
    };
    let target = target.map_err(|error| {
        let text = error.to_string();
        // Some of them name it themselves.
        Failure::new(Exit::Error, if text.starts_with(&name) { text } else { format!("{name}: {text}") })
    })?;
    // In a core file it takes the place of the program's own file.
    let symbols = wanted.bin.clone().filter(|_| target.backend() == Backend::Capture);
    Ok((Box::new(target), symbols))
}

/// What can be shown of a file.
pub(super) fn opened(input: InputFile, wanted: &TargetSpec) -> Result<Box<dyn Source>, Failure> {
    let Location::File(path) = &wanted.location else { return session(target(wanted)?, wanted) };
    if input.contents != Contents::Json {
        return session(memory(input, path, wanted)?, wanted);
    }
    let name = input.name.clone();
    let snapshot = restore::snapshot(input.into_reader()).map_err(|error| not_read(&name, &error))?;
    Ok(Box::new(Restored(snapshot)))
}

fn session((target, bin): Opened, wanted: &TargetSpec) -> Result<Box<dyn Source>, Failure> {
    let session = Session::open(target, &OpenOptions { bin, thorough: false });
    Ok(Box::new(session.map_err(|error| not_opened(error, wanted))?))
}

/// A snapshot that was written as JSON: what is in it is all that there is.
struct Restored(Snapshot);

impl Source for Restored {
    fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, Failure> {
        let mut snapshot = self.0.clone();
        snapshot.goroutines.retain(|goroutine| options.dead || !goroutine.status.is_dead());
        Ok(snapshot)
    }
}

/// Finds leaks on a thread of its own, and tells how far it is.
fn watched(process: GoProcess<'_>, options: &LeakOptions, tell: &mut dyn FnMut(Walking)) -> Result<Leaks, HeapError> {
    /// How often.
    const OFTEN: Duration = Duration::from_secs(1);
    let progress = Progress::default();
    let (events, heard) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let finder = scope.spawn(|| {
            // When it ends, however that is, so does what is heard.
            let events = events;
            heap::find(process, options, &progress, |takes| {
                // Whoever listens does so until the end.
                let _ = events.send(takes);
            })
        });
        loop {
            match heard.recv_timeout(OFTEN) {
                Ok(takes) => tell(Walking::Stop(takes)),
                Err(RecvTimeoutError::Timeout) => {
                    let (read, all) = progress.bytes();
                    tell(Walking::Read(read, all));
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        finder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn not_walked(error: HeapError) -> Failure {
    match error {
        HeapError::Read(error) => TargetError::Read(error).into(),
        HeapError::Target(error) => error.into(),
        HeapError::Capture(error) => not_captured(error),
        error => Failure::new(Exit::Error, error.to_string()),
    }
}

fn not_captured(error: CaptureError) -> Failure {
    match error {
        CaptureError::Read(error) => TargetError::Read(error).into(),
        CaptureError::Target(error) => error.into(),
        CaptureError::NotFrozen { .. } => Failure::new(Exit::Error, error.to_string()),
        CaptureError::NoGoroutines { .. } => Failure::new(Exit::NotGo, error.to_string()),
    }
}

pub(super) fn not_opened(error: OpenError, wanted: &TargetSpec) -> Failure {
    let not_go = |text: String, next: &str| Failure::new(Exit::NotGo, format!("{}: {text}\n{next}", wanted.name()));
    let (other, argument) = match &wanted.location {
        Location::Process(pid) => ("`gospy ps` lists the Go programs that run here", format!("--pid {pid}")),
        Location::File(path) => {
            ("captures and core files of Go programs can be read", format!("--from {}", path.display()))
        }
    };
    let doctor = format!("`gospy doctor {argument}` shows what was found; please send it with a bug report");
    match error {
        OpenError::Program(error) => match error {
            ProgramError::Target(error) => error.into(),
            ProgramError::Read(error) => TargetError::Read(error).into(),
            ProgramError::Elf { .. } | ProgramError::NotGo { .. } => not_go(error.to_string(), other),
            ProgramError::NoModuleData { .. } | ProgramError::NotMapped { .. } => not_go(error.to_string(), &doctor),
            ProgramError::SymbolFile { .. } | ProgramError::SymbolFileElf { .. } => {
                Failure::new(Exit::Error, format!("--bin: {error}"))
            }
            ProgramError::OtherProgram { .. } => {
                let advice = "give the binary that the process was started from, or leave --bin out";
                Failure::new(Exit::Error, format!("--bin: {error}\n{advice}"))
            }
        },
        OpenError::Runtime(RuntimeError::Read(error)) => TargetError::Read(error).into(),
        OpenError::Runtime(error @ RuntimeError::NotStarted) => not_go(error.to_string(), "try again in a moment"),
        OpenError::Runtime(error) => not_go(error.to_string(), &doctor),
    }
}
