//! Commands on hand-made snapshots.

mod lists;
mod output;
mod recordings;

use std::io;

use super::source::{
    HeapCosts, HeapSource, ObjectsReading, ObjectsRequest, ProfileParts, ProfileReading, Source, SourceFailure,
    Sources, TargetSpec, Walking,
};
use super::streams::{ColourChoice, Environment, Streams};
use super::{Exit, run};
use crate::capture::{CaptureOptions, SourceError};
use crate::heap::Leaks;
use crate::inspect::doctor::{Check, Doctor};
use crate::inspect::processes::{Inventory, Process, Processes};
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{Snapshot, Status};
use crate::process::TargetError;
use crate::process::recording::ElfImage;
use crate::runtime::package_variables::{FoundVariables, VariableLimits};

/// DEL, C1, bidirectional controls, and characters that cannot be seen, in and beyond the first plane.
const HOSTILE: &str = "\u{7f}\u{9b}2J\u{202e}\u{2066}\u{200b}\u{2028}\u{feff}\u{e0041}";

struct Fake(Snapshot);

struct Opened(Snapshot);

fn absent(wanted: &TargetSpec) -> SourceFailure {
    let error = TargetError::NoSuchProcess { pid: wanted.pid().unwrap_or(0) };
    SourceFailure::at(&wanted.location, SourceError::from(error))
}

impl Sources for Fake {
    fn open(&self, wanted: &TargetSpec) -> Result<Box<dyn Source>, SourceFailure> {
        match wanted.pid().unwrap() {
            4242 => Ok(Box::new(Opened(self.0.clone()))),
            _ => Err(absent(wanted)),
        }
    }

    fn record(
        &self,
        wanted: &TargetSpec,
        _: Option<crate::capture::FreezeMode>,
    ) -> Result<(ElfImage, Snapshot), SourceFailure> {
        Err(absent(wanted))
    }

    fn leaks(
        &self,
        wanted: &TargetSpec,
        _: bool,
        _: &mut dyn FnMut(Walking),
    ) -> Result<(Snapshot, Leaks), SourceFailure> {
        Err(absent(wanted))
    }

    fn objects(
        &self,
        wanted: &TargetSpec,
        _: &ObjectsRequest,
        _: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure> {
        Err(absent(wanted))
    }

    fn profiles(&self, wanted: &TargetSpec, _: ProfileParts<'_>) -> Result<ProfileReading, SourceFailure> {
        Err(absent(wanted))
    }

    fn record_heap(
        &self,
        wanted: &TargetSpec,
        _: Option<crate::capture::FreezeMode>,
        _: u64,
        _: &mut dyn FnMut(HeapCosts),
    ) -> Result<(ElfImage, Snapshot), SourceFailure> {
        Err(absent(wanted))
    }

    fn heap(&self, wanted: &TargetSpec) -> Result<Box<dyn HeapSource>, SourceFailure> {
        Err(absent(wanted))
    }

    fn variables(
        &self,
        wanted: &TargetSpec,
        _: &[String],
        _: VariableLimits,
    ) -> Result<(Snapshot, FoundVariables), SourceFailure> {
        Err(absent(wanted))
    }

    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Option<SourceFailure>), TargetError> {
        let check =
            Check { name: "process_vm_readv".into(), passed: Some(false), value: format!("refused\u{1b}{HOSTILE}") };
        let refused = |wanted: &TargetSpec| {
            let (reason, advice) = ("it is another user's".to_owned(), "try sudo".to_owned());
            let error = TargetError::Permission { pid: wanted.pid().unwrap(), reason, advice };
            SourceFailure::at(&wanted.location, SourceError::from(error))
        };
        let pid = wanted.and_then(TargetSpec::pid);
        Ok((Doctor { pid, access: vec![check], ..Default::default() }, wanted.map(refused)))
    }

    fn programs(&self) -> Result<Inventory, TargetError> {
        let programs = self.processes()?.processes;
        Ok(Inventory { programs, ..Inventory::default() })
    }

    fn processes(&self) -> Result<Processes, TargetError> {
        let process = |pid, unreadable: Option<&str>| Process {
            pid,
            user: Some("ann".into()),
            go_version: Some("go1.26.6".into()),
            module: Some("example.com/shop".into()),
            goroutines: unreadable.is_none().then_some(1_234),
            unreadable: unreadable.map(str::to_owned),
            cmdline: vec!["orders".into(), "\u{1b}[2J".into(), HOSTILE.into()],
            ..Default::default()
        };
        let processes = vec![process(4242, None), process(4243, Some("no permission\nadvice"))];
        Ok(Processes { processes, hidden: 2, refused: Some(4243), as_root: false })
    }
}

impl Source for Opened {
    fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, SourceError> {
        assert!(options.stacks);
        let mut snapshot = self.0.clone();
        snapshot.goroutines.retain(|goroutine| options.dead || !goroutine.status.is_dead());
        Ok(snapshot)
    }
}

fn snapshot(goroutines: u64) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    for id in 1..=goroutines {
        let (reason, function) = if id % 2 == 0 { ("select", "main.even") } else { ("chan receive", "main.odd") };
        builder.add(&GoroutineSpec {
            id,
            reason: Some(reason),
            wait_ns: Some(id * 1_000_000_000),
            frames: vec![frame("runtime.gopark", "/go/proc.go", 1), frame(function, "/app/m.go", 3)],
            system: id == 2,
            ..Default::default()
        });
    }
    builder.add(&GoroutineSpec { id: 0, status: Status::Dead, ..Default::default() });
    builder.build()
}

/// A program that is read incompletely at first, each time a second after the last.
struct Settling;

struct Readings(u64);

impl Sources for Settling {
    fn open(&self, _: &TargetSpec) -> Result<Box<dyn Source>, SourceFailure> {
        Ok(Box::new(Readings(0)))
    }

    fn record(
        &self,
        wanted: &TargetSpec,
        freeze: Option<crate::capture::FreezeMode>,
    ) -> Result<(ElfImage, Snapshot), SourceFailure> {
        Fake(snapshot(1)).record(wanted, freeze)
    }

    fn leaks(
        &self,
        wanted: &TargetSpec,
        _: bool,
        _: &mut dyn FnMut(Walking),
    ) -> Result<(Snapshot, Leaks), SourceFailure> {
        Err(absent(wanted))
    }

    fn objects(
        &self,
        wanted: &TargetSpec,
        _: &ObjectsRequest,
        _: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure> {
        Err(absent(wanted))
    }

    fn profiles(&self, wanted: &TargetSpec, _: ProfileParts<'_>) -> Result<ProfileReading, SourceFailure> {
        Err(absent(wanted))
    }

    fn record_heap(
        &self,
        wanted: &TargetSpec,
        _: Option<crate::capture::FreezeMode>,
        _: u64,
        _: &mut dyn FnMut(HeapCosts),
    ) -> Result<(ElfImage, Snapshot), SourceFailure> {
        Err(absent(wanted))
    }

    fn heap(&self, wanted: &TargetSpec) -> Result<Box<dyn HeapSource>, SourceFailure> {
        Err(absent(wanted))
    }

    fn variables(
        &self,
        wanted: &TargetSpec,
        _: &[String],
        _: VariableLimits,
    ) -> Result<(Snapshot, FoundVariables), SourceFailure> {
        Err(absent(wanted))
    }

    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Option<SourceFailure>), TargetError> {
        Fake(snapshot(1)).examine(wanted)
    }

    fn programs(&self) -> Result<Inventory, TargetError> {
        Fake(snapshot(1)).programs()
    }

    fn processes(&self) -> Result<Processes, TargetError> {
        Fake(snapshot(1)).processes()
    }
}

impl Source for Readings {
    fn capture(&mut self, _: &CaptureOptions) -> Result<Snapshot, SourceError> {
        let mut snapshot = snapshot(3);
        snapshot.reading.consistency.moving = u64::from(self.0 == 0);
        snapshot.captured_at_unix_ns += self.0 * 1_000_000_000;
        self.0 += 1;
        Ok(snapshot)
    }
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

fn gospy_on(snapshot: Snapshot, terminal: bool, line: &str) -> Ran {
    gospy_from(&Fake(snapshot), terminal, line)
}

fn gospy_from(sources: &dyn Sources, terminal: bool, line: &str) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
        input: &mut io::empty(),
        in_is_terminal: false,
        out_is_terminal: terminal,
        err_is_terminal: false,
        columns: Some(80),
        environment: Environment::default(),
        choice: ColourChoice::Auto,
    };
    let words = line.split_whitespace().map(|word| word.replace('_', " "));
    let exit = run(std::iter::once("gospy".to_owned()).chain(words), sources, &mut streams);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { exit, out: text(out), err: text(err) }
}

fn gospy(line: &str) -> Ran {
    gospy_on(snapshot(4), false, line)
}

#[test]
fn exit_statuses() {
    for (line, exit) in [
        ("summary --pid 4242", Exit::Done),
        ("s -p 4242 --json", Exit::Done),
        ("st -p 4242", Exit::Done),
        ("dump -p 4242 --strict", Exit::Done),
        ("--help", Exit::Done),
        ("--version", Exit::Done),
        ("", Exit::Done),
        ("4242", Exit::Done),
        ("-q --strict 4242 --all", Exit::Done),
        ("shop", Exit::Usage),
        ("check", Exit::Usage),
        ("0", Exit::Usage),
        ("summary 99999999999", Exit::Usage),
        ("summary 4242 --pid 4242", Exit::Usage),
        ("doctor 4242", Exit::Permission),
        ("diff 4242 4242", Exit::Done),
        ("diff 4242", Exit::Usage),
        ("diff 4242 4242 -p 4242", Exit::Usage),
        ("ps --sort goroutines --reverse", Exit::Done),
        ("ps --sort colour", Exit::Usage),
        ("summary", Exit::Usage),
        ("summary -p 0", Exit::Usage),
        ("summary -p 4242 --sort colour", Exit::Usage),
        ("summary -p 4242 --filter age>5x", Exit::Usage),
        ("summary -p 4242 --reverse", Exit::Usage),
        ("stack -p 4242 --folded --json", Exit::Usage),
        ("stack -p 4242 --max-frames -1", Exit::Usage),
        ("stack -p 4242 --max-frames 0", Exit::Done),
        ("nonsense", Exit::NoProcess),
        ("summary -p 1", Exit::NoProcess),
        ("stack -p 4242 -g 1,99", Exit::Error),
        ("stack -p 4242 -g 2-9", Exit::Done),
        ("stack -p 4242 -g 7-9", Exit::Error),
        ("stack -p 4242 -g 3-2", Exit::Usage),
        ("stack -p 4242 -g -3", Exit::Usage),
        ("stack -p 4242 -g 1-2-3", Exit::Usage),
        ("check -p 4242 --max-wait 5s", Exit::Done),
        ("check -p 4242 --max-wait 5 --max-group 1", Exit::Failed),
        ("check -p 1 --max-group 1", Exit::NoProcess),
        ("doctor", Exit::Done),
        ("doctor -p 4242 -j", Exit::Permission),
        ("ps", Exit::Done),
        ("completions bash", Exit::Done),
        ("man", Exit::Done),
        ("schema", Exit::Done),
        ("schema diff", Exit::Done),
        ("schema check", Exit::Done),
        ("schema colour", Exit::Usage),
        ("check -p 4242 --max-group 4", Exit::Done),
        ("check -p 4242 --max-goroutines 2 -j", Exit::Failed),
        ("check -p 4242", Exit::Usage),
        ("diff -p 4242", Exit::Usage),
        ("run", Exit::Usage),
    ] {
        let ran = gospy(line);
        assert_eq!(ran.exit, exit, "{line}: {}", ran.err);
        assert_eq!(
            ran.err.is_empty(),
            matches!(exit, Exit::Done | Exit::Failed) || line.starts_with("doctor"),
            "{line}: {}",
            ran.err
        );
    }
}

#[test]
fn an_incomplete_answer_is_an_error_only_when_strict() {
    let mut incomplete = snapshot(3);
    incomplete.reading.consistency.moving = 1;
    incomplete.gc = None;
    assert_eq!(gospy_on(incomplete.clone(), false, "summary -p 4242").exit, Exit::Done);
    let ran = gospy_on(incomplete, false, "--strict summary -p 4242 --json");
    assert_eq!(ran.exit, Exit::Incomplete);
    assert!(ran.out.contains("\"complete\":false"), "the answer is given all the same");
    assert!(ran.err.contains("1 goroutines changed on every try; the garbage collector was not found"), "{}", ran.err);
}

#[test]
fn every_sample_of_a_watch_counts_when_strict() {
    let line = "check -p 4242 --watch 80ms --interval 10ms";
    let ran = gospy_from(&Settling, false, line);
    assert_eq!(ran.exit, Exit::Done, "{}{}", ran.out, ran.err);
    let ran = gospy_from(&Settling, false, &format!("{line} --strict"));
    assert_eq!(ran.exit, Exit::Incomplete, "{}{}", ran.out, ran.err);
}

#[test]
fn a_freeze_that_is_typed_as_two_words_is_explained() {
    for line in ["stack -p 4242 --freeze all", "summary --freeze running -p 4242", "diff a.json -p 4242 --freeze all"] {
        let ran = gospy(line);
        assert_eq!(ran.exit, Exit::Usage, "{line}");
        let mode = if line.contains("all") { "all" } else { "running" };
        assert!(ran.err.ends_with(&format!("after an equals sign: --freeze={mode}\n")), "{line}: {}", ran.err);
    }
    assert!(!gospy("stack -p 4242 --freeze=some").err.contains("equals sign"));
}

#[test]
fn one_syntax_of_durations() {
    // Each option that takes one, and the filter.
    let lines = [
        "summary -p 4242 --filter age>X",
        "check -p 4242 --max-wait X",
        "check -p 4242 --watch X --interval X",
        "capture -p 1 -o /nonexistent/x --repeat 2 --interval X",
        "top -p 1 --interval X",
        // It gets no further than to its directory.
        "run --timeout X --grace X --capture-every X -o /dev/null/x -- true",
        "run --capture-every X -o /dev/null/x -- true",
    ];
    for line in lines {
        for (duration, understood) in [
            ("500ms", true),
            ("2s", true),
            ("1m30s", true),
            ("1.5", true),
            ("2", true),
            ("5x", false),
            ("1s1", false),
            ("", false),
        ] {
            if line.contains("--watch") && understood {
                continue;
            }
            let ran = gospy(&line.replace('X', duration));
            assert_eq!(ran.exit != Exit::Usage, understood, "{line}, {duration}: {}", ran.err);
        }
    }
}
