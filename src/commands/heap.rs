//! `gospy heap`

use std::io::{self, Write};
use std::path::Path;

use super::args::Global;
use super::check::Watch;
use super::files::{is_dash, report_file, write_file};
use super::heap_args::HeapArgs;
use super::heap_objects;
use super::source::{ProfileParts, SourceFailure, Sources};
use super::streams::Streams;
use super::{Exit, Failure, heap_growth, heap_since};
use crate::analysis::Index;
use crate::model::AllocationProfile;
use crate::new_file::Goal;
use crate::report::heap::{self as report, Contents, Options, json};
use crate::report::profile::heap::{self, Shown};
use crate::report::units::counted;

/// Rows of a table unless a limit is given; so that all of `gospy heap` is one screen.
const MOST_ROWS: usize = 8;

/// Where a profile goes.
pub(super) enum Output {
    Stdout,
    File(Goal),
}

impl Output {
    /// Writes it there, and says how many samples it has.
    pub(super) fn write(
        &self,
        quiet: bool,
        streams: &mut Streams<'_>,
        write: impl FnOnce(&mut dyn Write) -> io::Result<u64>,
    ) -> Result<(), Failure> {
        let Self::File(goal) = self else { return streams.finish(|out| write(out).map(drop)) };
        let mut written = 0;
        write_file(goal, |out| {
            written = write(out)?;
            Ok(())
        })?;
        if !quiet {
            let samples = counted(written, "sample", "samples");
            streams.note(&format!("{samples} written to {}", goal.path().display()));
        }
        Ok(())
    }
}

/// Where `option` says that a profile goes; not to a terminal.
pub(super) fn output(option: &str, path: &Path, streams: &Streams<'_>) -> Result<Output, Failure> {
    if !is_dash(path) {
        return Ok(Output::File(report_file(option, path)?));
    }
    if streams.out_is_terminal {
        let message = format!("{option} - would write binary data to the terminal: name a file");
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(Output::Stdout)
}

/// The heap is not stopped for any of this.
pub(super) fn without_freeze(freeze: Option<crate::capture::FreezeMode>, command: &str) -> Result<(), Failure> {
    match freeze {
        None => Ok(()),
        Some(_) => Err(Failure::new(
            Exit::Usage,
            format!("gospy {command} reads what the runtime keeps up to date: leave out --freeze"),
        )),
    }
}

/// How many rows of a table are shown.
pub(super) fn rows(limit: Option<usize>) -> usize {
    // 0 is no limit.
    limit.map_or(MOST_ROWS, |limit| if limit == 0 { usize::MAX } else { limit })
}

pub(super) fn run(
    arguments: &HeapArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    if let Some(since) = &arguments.since {
        return heap_since::run(arguments, since, global, sources, streams);
    }
    if let Some((watch, interval)) = arguments.growth() {
        if arguments.target.freeze().is_some() && arguments.objects.objects {
            let why = "--watch reads the heap again and again, and never stops the program: leave out --freeze";
            return Err(Failure::new(Exit::Usage, why));
        }
        without_freeze(arguments.target.freeze(), "heap")?;
        let watch = Watch::new(watch, interval)?;
        let shown = heap_growth::Shown { json: arguments.json, limit: arguments.limit };
        let objects = arguments.objects.objects;
        return heap_growth::run(&arguments.target.wanted(), &watch, objects, shown, global, sources, streams);
    }
    if arguments.objects.objects {
        let HeapArgs { target, objects, limit, verbose, json, .. } = arguments;
        let shown = heap_objects::Shown { limit: *limit, verbose: *verbose, json: *json };
        return heap_objects::run(target, objects, shown, global, sources, streams);
    }
    without_freeze(arguments.target.freeze(), "heap")?;
    let wanted = arguments.target.wanted();
    let goal = arguments.profile.as_deref().map(|path| output("--profile", path, streams)).transpose()?;
    let screen = goal.is_none() && !arguments.text;
    let parts = ProfileParts { allocations: true, heap: screen, ..ProfileParts::default() };
    let mut reading = sources.profiles(&wanted, parts)?;
    let allocations = reading.allocations.take().unwrap_or_else(|| Ok(AllocationProfile::default()));
    let classes = reading.classes.take();
    let snapshot = &reading.snapshot;
    if screen {
        // What a capture holds is no heap.
        if let (Some(Err(_)), Err(_)) = (&classes, &allocations)
            && let Some(Err(error)) = classes
        {
            return Err(SourceFailure::at(&wanted.location, error).into());
        }
        let index = Index::new(snapshot);
        let contents =
            Contents { index: &index, classes: classes.as_ref().map(Result::as_ref), profile: allocations.as_ref() };
        if arguments.json {
            let limit = arguments.limit.map_or(usize::MAX, |limit| rows(Some(limit)));
            streams.finish(|out| json::write(out, &contents, limit))?;
        } else {
            let options =
                Options { style: streams.out_style(), limit: rows(arguments.limit), verbose: arguments.verbose };
            streams.finish(|out| report::write(out, &contents, options))?;
        }
        return Ok(exit(allocations.as_ref().ok(), global));
    }
    let allocations = allocations.map_err(|error| SourceFailure::at(&wanted.location, error))?;
    if let Some(why) = report::missing(&allocations) {
        return Err(Failure::new(Exit::Error, format!("there is no heap profile: {why}")));
    }
    let shown = if arguments.alloc { Shown::Allocated } else { Shown::InUse };
    match goal {
        None => streams.finish(|out| heap::list(out, &allocations, snapshot))?,
        Some(goal) => goal.write(global.quiet, streams, |out| heap::write(out, &allocations, snapshot, shown))?,
    }
    for note in report::notes(&allocations.reading) {
        streams.note(&format!("warning: {note}"));
    }
    Ok(exit(Some(&allocations), global))
}

fn exit(allocations: Option<&AllocationProfile>, global: &Global) -> Exit {
    let complete = allocations.is_some_and(|profile| !profile.reading.incomplete && profile.reading.moving == 0);
    if global.strict && !complete { Exit::Incomplete } else { Exit::Done }
}
