//! `gospy capture`

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::args::{CaptureArgs, Global};
use super::files::is_dash;
use super::record::describe;
use super::source::{HeapCosts, SourceFailure, Sources};
use super::streams::Streams;
use super::{Exit, Failure};
use crate::archive::{Archive, RecordError, Recorder};
use crate::bytes::ByteSource as _;
use crate::capture::CaptureOptions;
use crate::model::Snapshot;
use crate::new_file::{Goal, NewFileError, Replace};
use crate::process::capture_file::{self, Description, WriteError};
use crate::process::file_bytes::FileBytes;
use crate::process::recording::ElfImage;
use crate::report::captures::{self, Captured, Captures};
use crate::report::json::time;
use crate::report::units::{bytes, counted, duration};
use crate::sampling::Pacer;

pub(super) fn run(
    arguments: &CaptureArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    if is_dash(&arguments.output) {
        to_stdout_is_possible(arguments, streams)?;
        return to_stdout(arguments, global, sources, streams);
    }
    let (count, interval) = (arguments.repeat.unwrap_or(1), Duration::from_nanos(arguments.interval.unwrap_or(0)));
    let (started, mut pacer) = (Instant::now(), Pacer::times(count, interval));
    let mut captures = Vec::new();
    for number in 1..=count {
        std::thread::sleep(pacer.due().saturating_sub(started.elapsed()));
        pacer.begin(started.elapsed());
        let path = match arguments.repeat {
            Some(count) => numbered(&arguments.output, number, count),
            None => arguments.output.clone(),
        };
        let captured = take(arguments, global, sources, streams, &path)?;
        if !global.quiet && !arguments.json {
            let what = counted(captured.goroutines, "goroutine", "goroutines");
            // Nothing more can be done when stderr is closed.
            let _ = writeln!(streams.err, "gospy: {}: {what}, {}", captured.path, bytes(captured.bytes));
        }
        captures.push(captured);
    }
    let complete = captures.iter().all(|captured| captured.complete);
    if arguments.json {
        let report = Captures { complete, captures, ..Captures::default() };
        streams.finish(|out| captures::json(out, &report))?;
    }
    Ok(if global.strict && !complete { Exit::Incomplete } else { Exit::Done })
}

fn to_stdout_is_possible(arguments: &CaptureArgs, streams: &Streams<'_>) -> Result<(), Failure> {
    let why = if streams.out_is_terminal {
        "would write binary data to the terminal: name a file"
    } else if arguments.repeat.is_some() {
        "takes one capture: name a file for --repeat"
    } else if arguments.json {
        "writes the capture where --json writes its object: name a file"
    } else {
        return Ok(());
    };
    Err(Failure::new(Exit::Usage, format!("--output - {why}")))
}

fn to_stdout(
    arguments: &CaptureArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    if sources.redacts() {
        let snapshot = redacted(arguments, sources)?;
        streams.finish(|out| write_redacted(out, &snapshot))?;
        return Ok(written_to_stdout(global, &snapshot, streams));
    }
    let (image, snapshot) = recorded(arguments, global, sources, streams)?;
    let description = description(&snapshot);
    let inside = (!arguments.uncompressed).then_some(&description);
    streams.finish(|out| capture_file::write_to(out, &image, inside))?;
    Ok(written_to_stdout(global, &snapshot, streams))
}

fn written_to_stdout(global: &Global, snapshot: &Snapshot, streams: &mut Streams<'_>) -> Exit {
    if !global.quiet {
        let goroutines = description(snapshot).goroutines;
        streams.note(&format!("standard output: {}", counted(goroutines, "goroutine", "goroutines")));
    }
    if global.strict && !snapshot.is_complete() { Exit::Incomplete } else { Exit::Done }
}

/// Everything that a file without memory can hold of the program, redacted.
fn redacted(arguments: &CaptureArgs, sources: &dyn Sources) -> Result<Snapshot, Failure> {
    let (wanted, options) = (arguments.target.wanted(), arguments.target.options(false));
    let options = CaptureOptions { c_frames: true, ..options };
    let snapshot = sources.open(&wanted)?.capture(&options);
    Ok(snapshot.map_err(|error| SourceFailure::at(&wanted.location, error))?)
}

/// Where to write it: it may replace a capture, redacted or not.
fn redacted_goal(path: &Path, force: bool) -> Result<Goal, Failure> {
    let is_own = |file: File| {
        let mut head = [0; capture_file::MAGIC.len()];
        let read = FileBytes::from_file(file).and_then(|file| file.read_at(0, &mut head));
        read.is_ok_and(|read| read == head.len()) && (head == capture_file::MAGIC || Archive::is_one(&head))
    };
    Goal::new(path, if force { Replace::Any } else { Replace::If(is_own) }).map_err(|error| match error {
        NewFileError::Exists { path } => {
            Failure::new(Exit::Error, WriteError::Exists { path, wanted: "capture" }.to_string())
        }
        error => error.into(),
    })
}

/// Writes a recording of one sample: memory has no redacted form.
fn write_redacted(out: &mut dyn Write, snapshot: &Snapshot) -> io::Result<()> {
    out.write_all(&describe(snapshot).head()?)?;
    let mut recorder = Recorder::new(out, Recorder::<&mut dyn Write>::WHOLE_EVERY_NS);
    recorder.add(snapshot).and_then(|()| recorder.finish().map(drop)).map_err(|error| match error {
        RecordError::Io(error) => error,
        error @ RecordError::Encode(_) => io::Error::other(error),
    })
}

/// Reads all of the program, and its heap where that is wanted.
fn recorded(
    arguments: &CaptureArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<(ElfImage, Snapshot), Failure> {
    let (wanted, freeze) = (arguments.target.wanted(), arguments.target.freeze());
    if !arguments.heap {
        return Ok(sources.record(&wanted, freeze)?);
    }
    let mut on_costs = |costs: HeapCosts| {
        if global.quiet {
            return;
        }
        let size = bytes(costs.bytes);
        let stop = costs.stop.map_or_else(String::new, |stop| {
            let stop = duration(u64::try_from(stop.as_nanos()).unwrap_or(u64::MAX));
            format!("; the program will stand still for about {stop}")
        });
        streams.note(&format!("the heap adds {size} before compression{stop}"));
    };
    Ok(sources.record_heap(&wanted, freeze, arguments.max_heap, &mut on_costs)?)
}

fn take(
    arguments: &CaptureArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
    path: &Path,
) -> Result<Captured, Failure> {
    let not_written = |error: WriteError| Failure::new(Exit::Error, error.to_string());
    if sources.redacts() {
        let goal = redacted_goal(path, arguments.force)?;
        let snapshot = redacted(arguments, sources)?;
        let bytes = goal.write(|out| write_redacted(out, &snapshot))?;
        return Ok(captured(path, bytes, &snapshot));
    }
    let goal = capture_file::goal(path, arguments.uncompressed, arguments.force).map_err(not_written)?;
    let (image, snapshot) = recorded(arguments, global, sources, streams)?;
    let description = description(&snapshot);
    let inside = (!arguments.uncompressed).then_some(&description);
    let written = capture_file::write(&goal, &image, inside).map_err(not_written)?;
    Ok(captured(path, written.len, &snapshot))
}

/// What to say of a file.
fn captured(path: &Path, bytes: u64, snapshot: &Snapshot) -> Captured {
    let Description { captured_at, goroutines, .. } = description(snapshot);
    let complete = snapshot.is_complete();
    Captured { path: path.display().to_string(), bytes, captured_at, goroutines, complete }
}

/// What a capture says of itself.
pub(super) fn description(snapshot: &Snapshot) -> Description {
    let alive = snapshot.goroutines.iter().filter(|goroutine| !goroutine.status.is_dead()).count();
    Description {
        gospy_version: env!("CARGO_PKG_VERSION"),
        captured_at: time(snapshot.captured_at_unix_ns),
        pid: snapshot.target.pid,
        exe: snapshot.target.exe.clone(),
        go_version: snapshot.target.go_version.clone(),
        arch: snapshot.target.arch,
        goroutines: u64::try_from(alive).unwrap_or(u64::MAX),
    }
}

/// `name-007.ext`, with as many digits as the last one needs.
pub(super) fn numbered(path: &Path, number: u32, count: u32) -> PathBuf {
    let width = count.to_string().len();
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number:0width$}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_before_the_extension() {
        let name = |path: &str, number, count| numbered(Path::new(path), number, count).display().to_string();
        assert_eq!(name("a/b.capture", 7, 100), "a/b-007.capture");
        assert_eq!(name("leak", 1, 9), "leak-1");
        assert_eq!(name("a.b.c", 2, 9), "a.b-2.c");
    }
}
