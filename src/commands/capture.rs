//! `gospy capture`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::{CaptureArgs, Global};
use super::source::Sources;
use super::streams::Streams;
use super::{Exit, Failure};
use crate::model::Snapshot;
use crate::report::json::SCHEMA_VERSION;
use crate::report::json::time;
use crate::report::units::{bytes, counted};
use crate::target::capture_file::{self, Description};

/// What was written.
#[derive(Serialize)]
struct Report {
    schema_version: u32,
    gospy_version: &'static str,
    complete: bool,
    captures: Vec<Captured>,
}

/// One file.
#[derive(Serialize)]
struct Captured {
    path: String,
    bytes: u64,
    captured_at: String,
    goroutines: u64,
    complete: bool,
}

pub(super) fn run(
    arguments: &CaptureArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let (count, interval) = (arguments.repeat.unwrap_or(1), Duration::from_nanos(arguments.interval.unwrap_or(0)));
    let started = Instant::now();
    let mut captures = Vec::new();
    for number in 1..=count {
        // By the clock, so that the time that a capture takes does not add up.
        let due = started + interval.saturating_mul(number - 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let path = match arguments.repeat {
            Some(count) => numbered(&arguments.output, number, count),
            None => arguments.output.clone(),
        };
        let captured = take(arguments, sources, &path)?;
        if !global.quiet && !arguments.json {
            let what = counted(captured.goroutines, "goroutine", "goroutines");
            // There is nobody left to tell when stderr is closed.
            let _ = writeln!(streams.err, "gospy: {}: {what}, {}", captured.path, bytes(captured.bytes));
        }
        captures.push(captured);
    }
    let complete = captures.iter().all(|captured| captured.complete);
    if arguments.json {
        let gospy_version = env!("CARGO_PKG_VERSION");
        let report = Report { schema_version: SCHEMA_VERSION, gospy_version, complete, captures };
        streams.finish(|out| {
            serde_json::to_writer(&mut *out, &report)?;
            writeln!(out)
        })?;
    }
    Ok(if global.strict && !complete { Exit::Incomplete } else { Exit::Done })
}

fn take(arguments: &CaptureArgs, sources: &dyn Sources, path: &Path) -> Result<Captured, Failure> {
    let (image, snapshot) = sources.record(&arguments.target.wanted(), arguments.target.freeze())?;
    let description = description(&snapshot);
    let inside = (!arguments.uncompressed).then_some(&description);
    let written = capture_file::write(path, &image, inside, arguments.force)
        .map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    Ok(Captured {
        path: path.display().to_string(),
        bytes: written.len,
        captured_at: description.captured_at,
        goroutines: description.goroutines,
        complete: snapshot.is_complete(),
    })
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
fn numbered(path: &Path, number: u32, count: u32) -> PathBuf {
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
