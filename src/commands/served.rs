//! Commands about programs that `gospy serve` and `gospy mcp` serve.
//!
//! They are the commands of the command line, with other sources: only programs that are served, through what the
//! server keeps open of them. A program is never stopped, no file is read, and arguments of programs are left out.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::live::Live;
use super::snapshots::Input;
use super::source::{
    HeapCosts, HeapSource, Location, ObjectsReading, ObjectsRequest, ProfileParts, ProfileReading, Source,
    SourceFailure, Sources, TargetSpec, Walking,
};
use super::streams::{ColourChoice, Environment, Streams};
use super::{Exit, Failure, ci_args, diff};
use crate::analysis::Diff;
use crate::capture::{CaptureOptions, FreezeMode, SourceError};
use crate::heap::Leaks;
use crate::inspect::doctor::Doctor;
use crate::inspect::processes::{Inventory, Process, Processes};
use crate::model::{HeapReading, SizeClasses, Snapshot, SymbolPool};
use crate::process::TargetError;
use crate::process::recording::ElfImage;
use crate::report::diff::{self as report, Subject};
use crate::runtime::package_variables::{FoundVariables, VariableLimits};
use crate::serve::{CommandRun, Outcome, Program};

/// Runs a command about programs that are served. `diff` is another one here: of one program, with
/// `--seconds` between its two readings.
pub(crate) fn run(run: CommandRun<'_>) -> Outcome {
    let CommandRun { programs, arguments, out, err } = run;
    let sources = Served { programs };
    let mut streams = Streams {
        out,
        err,
        input: &mut io::empty(),
        in_is_terminal: false,
        out_is_terminal: false,
        err_is_terminal: false,
        columns: None,
        environment: Environment::default(),
        choice: ColourChoice::Never,
    };
    let exit = match arguments.split_first() {
        Some((name, options)) if name == "diff" => between(options, &sources, &mut streams).unwrap_or_else(|failure| {
            failure.print(&mut streams);
            failure.exit()
        }),
        _ => {
            let arguments = ["gospy", "--quiet", "--color=never"].map(str::to_owned).into_iter();
            super::run(arguments.chain(run.arguments.iter().cloned()), &sources, &mut streams)
        }
    };
    match exit {
        Exit::Done | Exit::Failed | Exit::NotJudged | Exit::Incomplete => Outcome::Done,
        Exit::Usage => Outcome::Usage,
        Exit::NoProcess => Outcome::Gone,
        Exit::Error | Exit::Permission | Exit::NotGo | Exit::Command(_) => Outcome::Failed,
    }
}

/// Two readings of one program, and what changed.
fn between(options: &[String], sources: &Served<'_>, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let (mut by, mut system, mut seconds, mut limit, mut json) = (None, false, Duration::from_secs(5), 40, false);
    let usage = |problem: String| Failure::new(Exit::Usage, problem);
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "--by" => by = Some(ci_args::diff_key(value).map_err(|problem| usage(format!("--by: {problem}")))?),
            "--system" => system = true,
            "--json" => json = true,
            "--limit" => limit = value.parse().map_err(|_| usage("--limit: expected a number".to_owned()))?,
            "--seconds" => {
                let parsed = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                let fit = parsed.filter(|time| (SHORTEST..=LONGEST).contains(time));
                seconds = fit.ok_or_else(|| usage("--seconds: expected a number from 2 to 60".to_owned()))?;
            }
            "--pid" => {}
            other => return Err(usage(format!("unexpected {other}"))),
        }
    }
    let options = CaptureOptions { stacks: true, waits: true, ..CaptureOptions::default() };
    let input = Input::Process(sources.only()?.0, options);
    let mut pool = SymbolPool::default();
    let a = input.census(sources, &mut pool)?;
    std::thread::sleep(seconds);
    let b = input.census(sources, &mut pool)?;
    let by = diff::grouping(by.as_ref(), [&a, &b])?;
    let diff = Diff::of(&a, &b, &by, system, &pool);
    let subject = Subject { a: &a, b: &b, diff: &diff, pool: &pool };
    let options = report::Options { style: streams.out_style(), limit, system };
    streams.finish(|out: &mut dyn Write| match json {
        true => report::json(out, &subject),
        false => report::text(out, &subject, &options),
    })?;
    Ok(Exit::Done)
}

/// Time between two readings. Snapshots are kept for others for a second: the second reading must be another one.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// One walk over a heap at a time: it takes a CPU, and memory.
static WALK: Mutex<()> = Mutex::new(());

/// Why a command that is not for servers ends.
const NEVER: &str = "a server does not do that";

/// Programs that are served.
struct Served<'a> {
    programs: &'a [Arc<Program>],
}

impl Served<'_> {
    /// The only one.
    fn only(&self) -> Result<(TargetSpec, &Arc<Program>), SourceFailure> {
        let [program] = self.programs else {
            return Err(self.no("which program is meant is not clear".to_owned()));
        };
        let Process { pid, start_ticks, .. } = program.process;
        let spec = TargetSpec { start_ticks: Some(start_ticks), ..TargetSpec::process(pid, None) };
        Ok((spec, program))
    }

    fn no(&self, why: String) -> SourceFailure {
        let pid = self.programs.first().map_or(0, |program| program.process.pid);
        SourceFailure::at(&Location::Process(pid), super::source::FailureCause::Absent(why))
    }

    fn never<T>(&self) -> Result<T, SourceFailure> {
        Err(self.no(NEVER.to_owned()))
    }

    /// Without stopping it.
    fn unstopped(&self, freeze: bool) -> Result<(TargetSpec, &Arc<Program>), SourceFailure> {
        if freeze { self.never() } else { self.only() }
    }
}

impl Sources for Served<'_> {
    fn open(&self, _: &TargetSpec) -> Result<Box<dyn Source>, SourceFailure> {
        let (_, program) = self.only()?;
        Ok(Box::new(Opened { program: Arc::clone(program), cpu: Duration::ZERO }))
    }

    fn record(&self, _: &TargetSpec, _: Option<FreezeMode>) -> Result<(ElfImage, Snapshot), SourceFailure> {
        self.never()
    }

    fn record_heap(
        &self,
        _: &TargetSpec,
        _: Option<FreezeMode>,
        _: u64,
        _: &mut dyn FnMut(HeapCosts),
    ) -> Result<(ElfImage, Snapshot), SourceFailure> {
        self.never()
    }

    fn objects(
        &self,
        _: &TargetSpec,
        request: &ObjectsRequest,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure> {
        let (spec, program) = self.unstopped(request.freeze)?;
        let _turn = WALK.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reading = program.counted(|| Live.objects(&spec, request, on_progress))?;
        reading.snapshot.target.cmdline.clear();
        Ok(reading)
    }

    fn leaks(
        &self,
        _: &TargetSpec,
        freeze: bool,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<(Snapshot, Leaks), SourceFailure> {
        let (spec, program) = self.unstopped(freeze)?;
        let _turn = WALK.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut snapshot, leaks) = program.counted(|| Live.leaks(&spec, false, on_progress))?;
        snapshot.target.cmdline.clear();
        Ok((snapshot, leaks))
    }

    fn profiles(&self, _: &TargetSpec, parts: ProfileParts<'_>) -> Result<ProfileReading, SourceFailure> {
        let (spec, program) = self.only()?;
        let mut reading = program.counted(|| Live.profiles(&spec, parts))?;
        reading.snapshot.target.cmdline.clear();
        Ok(reading)
    }

    fn heap(&self, _: &TargetSpec) -> Result<Box<dyn HeapSource>, SourceFailure> {
        let (spec, program) = self.only()?;
        Ok(Box::new(OpenedHeap { heap: Live.heap(&spec)?, program: Arc::clone(program) }))
    }

    fn variables(
        &self,
        _: &TargetSpec,
        _: &[String],
        _: VariableLimits,
    ) -> Result<(Snapshot, FoundVariables), SourceFailure> {
        self.never()
    }

    fn examine(&self, _: Option<&TargetSpec>) -> Result<(Doctor, Option<SourceFailure>), TargetError> {
        Err(TargetError::Unsupported(NEVER.to_owned()))
    }

    fn programs(&self) -> Result<Inventory, TargetError> {
        let programs = self.programs.iter().map(|program| Process { cmdline: Vec::new(), ..program.process.clone() });
        Ok(Inventory { programs: programs.collect(), ..Inventory::default() })
    }

    fn processes(&self) -> Result<Processes, TargetError> {
        Ok(self.programs()?.counted())
    }
}

/// A program through what the server keeps open of it.
struct Opened {
    program: Arc<Program>,
    cpu: Duration,
}

impl Source for Opened {
    fn measure_cpu(&mut self, least: Duration) {
        self.cpu = least;
    }

    fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, SourceError> {
        if options.freeze.is_some() {
            return Err(TargetError::Unsupported("a server does not stop programs".to_owned()).into());
        }
        Ok(Arc::unwrap_or_clone(self.program.captured(*options, self.cpu)?))
    }
}

/// Its heap, through a session of its own.
struct OpenedHeap {
    program: Arc<Program>,
    heap: Box<dyn HeapSource>,
}

impl HeapSource for OpenedHeap {
    fn read(&mut self) -> Result<HeapReading, SourceFailure> {
        self.program.counted(|| self.heap.read())
    }

    fn size_classes(&mut self) -> Result<SizeClasses, String> {
        self.program.counted(|| self.heap.size_classes())
    }

    fn walk(
        &mut self,
        request: &ObjectsRequest,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure> {
        if request.freeze {
            return Err(Served { programs: &[Arc::clone(&self.program)] }.no(NEVER.to_owned()));
        }
        let _turn = WALK.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reading = self.program.counted(|| self.heap.walk(request, on_progress))?;
        reading.snapshot.target.cmdline.clear();
        Ok(reading)
    }
}
