//! What is made of samples: a file with what was added up, a recording, a timeline.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::super::files::{is_dash, report_file, write_file};
use super::super::record_args::{FileFormat, OutputArgs};
use super::super::selection::filter;
use super::super::streams::Streams;
use super::super::{Exit, Failure};
use crate::analysis::recording::{Recording, RecordingStats};
use crate::analysis::series::Observed;
use crate::analysis::timeline::Timeline;
use crate::analysis::{Filter, Index};
use crate::archive::{Description, RecordError, Recorder};
use crate::model::{Goroutine, NotShown, Shared, Snapshot, StackState};
use crate::new_file::Goal;
use crate::report::json::time;
use crate::report::recording::{self, Format, RecordingOptions, Root};
use crate::report::units::percent;

/// Time passes between samples.
const LEAST_SAMPLES: u64 = 2;

/// One file in which samples are added up.
pub(super) struct AddedUp {
    pub(super) format: Format,
    pub(super) filter: Option<Filter>,
    /// Standard output without one.
    pub(super) goal: Option<Goal>,
}

impl AddedUp {
    /// The one that was asked for; says what is wrong with it before anything is read.
    pub(super) fn of(arguments: &OutputArgs, streams: &Streams<'_>) -> Result<Self, Failure> {
        let Outputs { filter, report, .. } = Outputs::new(arguments, streams)?;
        let Some((_, format, goal)) = report else {
            let message = "--cpu: what uses CPUs is added up, into a profile, a flame graph or folded stacks";
            return Err(Failure::new(Exit::Usage, message));
        };
        Ok(Self { format, filter, goal })
    }
}

/// Files that samples go to.
pub(in super::super) struct Outputs<'a> {
    arguments: &'a OutputArgs,
    filter: Option<Filter>,
    /// What is added up, how it is written, and where; standard output without a goal.
    report: Option<(Recording, Format, Option<Goal>)>,
    archive: Option<(Goal, Option<Recorder<File>>)>,
    timeline: Option<(Timeline, Goal)>,
    stats: RecordingStats,
    /// The goroutines that were counted last, how many there were, and how many of them torn.
    counted: (Shared<Goroutine>, u64, u64),
    first_ns: u64,
    name: String,
}

impl<'a> Outputs<'a> {
    /// Those that were asked for; says what is wrong with them before anything is read.
    pub(in super::super) fn new(arguments: &'a OutputArgs, streams: &Streams<'_>) -> Result<Self, Failure> {
        let usage = |message: &str| Err(Failure::new(Exit::Usage, message));
        let filter = filter(arguments.filter.as_deref())?.map(|(_, filter)| filter);
        let format = arguments.output.as_deref().map(|path| format(path, arguments)).transpose()?;
        let to_stdout = arguments.output.as_deref().is_some_and(is_dash);
        let is_binary = matches!(format, Some(FileFormat::Archive | FileFormat::Report(Format::Pprof)));
        if to_stdout && is_binary && streams.out_is_terminal {
            return usage("--output - would write binary data to the terminal: name a file");
        }
        if format == Some(FileFormat::Archive) {
            if filter.is_some() || arguments.only.is_some() {
                return usage("a recording holds all goroutines: give --filter and --only to what reads it");
            }
            if to_stdout {
                return usage("--output -: a recording is written as it goes on, to a file: name one");
            }
        }
        let goal = match arguments.output.as_deref() {
            Some(path) if !to_stdout => Some(report_file("--output", path)?),
            _ => None,
        };
        let timeline = arguments.timeline.as_deref().map(|path| report_file("--timeline", path)).transpose()?;
        let (report, archive) = match (format, goal) {
            (Some(FileFormat::Report(format)), goal) => (Some((Recording::default(), format, goal)), None),
            (Some(FileFormat::Archive), Some(goal)) => (None, Some((goal, None))),
            _ => (None, None),
        };
        let timeline = timeline.map(|goal| (Timeline::default(), goal));
        let stats = RecordingStats::default();
        Ok(Self {
            arguments,
            filter,
            report,
            archive,
            timeline,
            stats,
            counted: Default::default(),
            first_ns: 0,
            name: String::new(),
        })
    }

    /// Whether samples are recorded themselves.
    pub(in super::super) fn records(&self) -> bool {
        self.archive.is_some()
    }

    /// Whether what goroutines wait for, and what they do outside of Go, makes a difference to what is written.
    pub(super) fn shows_waits(&self) -> bool {
        self.archive.is_some() || self.filter.is_some() || self.arguments.group_by == Some(Root::Object)
    }

    /// Adds a sample.
    pub(in super::super) fn add(&mut self, observed: &Observed) -> Result<(), Failure> {
        let snapshot = observed.snapshot();
        let index = observed.index();
        if self.stats.samples == 0 {
            self.first_ns = snapshot.monotonic_ns;
            self.stats.started_unix_ns = snapshot.captured_at_unix_ns;
            let target = &snapshot.target;
            self.name = format!("{} (pid {})", target.exe.rsplit('/').next().unwrap_or_default(), target.pid);
        }
        let mut matcher = self.filter.as_ref().map(|filter| filter.matcher(&index));
        let only = self.arguments.only;
        let mut selected = |goroutine: &Goroutine| {
            only.is_none_or(|only| only.holds(goroutine.status))
                && matcher.as_mut().is_none_or(|matcher| matcher.matches(goroutine))
        };
        if let Some((recording, _, _)) = &mut self.report {
            let root = self.arguments.group_by.clone().unwrap_or_default();
            let part = |index: &Index<'_>, goroutine: &Goroutine| root.part(index, goroutine);
            // What a filter selects may depend on the time, and what an object is called on others that wait for it.
            let is_added = self.filter.is_none()
                && (recording.add_again(observed)
                    || (root != Root::Object && recording.add_changes(observed, &mut selected, part)));
            if !is_added {
                recording.add_apart(observed, &mut selected, part);
            }
        }
        if let Some((timeline, _)) = &mut self.timeline {
            timeline.add(&index, &mut selected);
        }
        if let Some((goal, recorder)) = &mut self.archive {
            let recorder = match recorder {
                Some(recorder) => recorder,
                None => {
                    let head = describe(snapshot).head().map_err(|error| not_written(goal, &error.into()))?;
                    recorder.insert(Recorder::new(goal.begin(&head)?, Recorder::<File>::WHOLE_EVERY_NS))
                }
            };
            recorder.add(snapshot).map_err(|error| not_written(goal, &error))?;
        }
        self.count(snapshot);
        Ok(())
    }

    fn count(&mut self, snapshot: &Snapshot) {
        let (before, seen, torn) = &mut self.counted;
        let goroutines = &snapshot.goroutines;
        let count = |list: &Shared<Goroutine>, positions: &mut dyn Iterator<Item = usize>| {
            let alive = positions.filter_map(|at| list.get(at)).filter(|goroutine| !goroutine.status.is_dead());
            alive.fold((0_u64, 0_u64), |(seen, torn), goroutine| {
                let is_torn = matches!(goroutine.stack, StackState::NotShown(NotShown::Moving | NotShown::Unreadable));
                (seen + 1, torn + u64::from(is_torn))
            })
        };
        match goroutines.changes_since(before) {
            Some(changes) => {
                let positions = || changes.iter().map(|&at| at as usize);
                let (less, more) = (count(before, &mut positions()), count(goroutines, &mut positions()));
                *seen = seen.saturating_sub(less.0).saturating_add(more.0);
                *torn = torn.saturating_sub(less.1).saturating_add(more.1);
            }
            None => (*seen, *torn) = count(goroutines, &mut (0..goroutines.len())),
        }
        *before = goroutines.clone();
        let (_, seen, torn) = self.counted;
        self.stats.samples = self.stats.samples.saturating_add(1);
        self.stats.duration_ns = snapshot.monotonic_ns.saturating_sub(self.first_ns);
        self.stats.seen = self.stats.seen.saturating_add(seen);
        self.stats.torn = self.stats.torn.saturating_add(torn);
    }

    /// Whether there is enough to show.
    pub(in super::super) fn is_enough(&self) -> bool {
        self.stats.samples >= if self.archive.is_some() { 1 } else { LEAST_SAMPLES }
    }

    /// Writes what is not written yet, and gives what to say of it.
    pub(in super::super) fn finish(self, streams: &mut Streams<'_>) -> Result<Vec<String>, Failure> {
        if !self.is_enough() {
            let message = "one sample shows no time: record for longer, or with a higher --rate or --cpu-budget";
            return Err(Failure::new(Exit::Error, message));
        }
        let Self { arguments, report, archive, timeline, stats, name, .. } = self;
        let mut notes = Vec::new();
        let mut written = Vec::new();
        if let Some((goal, recorder)) = archive {
            if let Some(recorder) = recorder {
                recorder.finish().map_err(|error| not_written(&goal, &error))?;
            }
            notes.push(recording::pace(&stats));
            written.push(goal.path().display().to_string());
        }
        if let Some((taken, format, goal)) = report {
            let root = arguments.group_by.clone().unwrap_or_default();
            let shown = RecordingOptions { idle: arguments.idle, system: arguments.system, root, name };
            match &goal {
                None => streams.finish(|out| recording::write(out, &taken, &shown, format))?,
                Some(goal) => write_file(goal, |out| recording::write(out, &taken, &shown, format))?,
            }
            notes.push(recording::facts(&taken, &shown));
            written.extend(goal.map(|goal| goal.path().display().to_string()));
        } else if notes.is_empty() {
            notes.push(recording::pace(&stats));
        }
        if let Some((timeline, goal)) = timeline {
            write_file(&goal, |out| recording::write_timeline(out, &timeline))?;
            if timeline.is_cut() {
                notes.push("the timeline is not complete: there are more states than it can hold".to_owned());
            }
            written.push(goal.path().display().to_string());
        }
        if !written.is_empty() {
            notes.push(written_to(&written));
        }
        Ok(notes)
    }
}

pub(super) fn written_to(files: &[String]) -> String {
    format!("written to {}", files.join(" and "))
}

/// What a recording that begins with this says of itself.
pub(in super::super) fn describe(snapshot: &Snapshot) -> Description {
    Description::of(snapshot, time(snapshot.captured_at_unix_ns))
}

pub(super) fn not_written(goal: &Goal, error: &RecordError) -> Failure {
    Failure::new(Exit::Error, format!("{} cannot be written: {error}", goal.path().display()))
}

/// What sampling cost since `started`.
pub(super) fn cost(cpu: Duration, started: SystemTime) -> String {
    let elapsed = started.elapsed().unwrap_or_default().as_secs_f64();
    format!("sampling took {} of a core", percent(cpu.as_secs_f64() / elapsed.max(f64::EPSILON)))
}

fn format(path: &Path, arguments: &OutputArgs) -> Result<FileFormat, Failure> {
    if let Some(format) = arguments.format {
        return Ok(format);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let by_ending = [
        (".pb.gz", FileFormat::Report(Format::Pprof)),
        (".pprof", FileFormat::Report(Format::Pprof)),
        (".folded", FileFormat::Report(Format::Folded)),
        (".speedscope.json", FileFormat::Report(Format::Speedscope)),
        (".json", FileFormat::Report(Format::Speedscope)),
        (".svg", FileFormat::Report(Format::Svg)),
        (".html", FileFormat::Report(Format::Html)),
        (".gospyrec", FileFormat::Archive),
    ];
    by_ending.iter().find(|(ending, _)| name.ends_with(ending)).map(|&(_, format)| format).ok_or_else(|| {
        let message = format!(
            "--output {}: its ending says no format; it may be .pb.gz (pprof), .folded, .json (speedscope), .svg, \
             .html or .gospyrec (a recording), or name one with --format",
            path.display()
        );
        Failure::new(Exit::Usage, message)
    })
}
