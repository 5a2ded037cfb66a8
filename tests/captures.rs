//! Captures: the same answer as the live process, on any machine, from a small file.

#[path = "snapshots/mod.rs"]
mod snapshots;
#[path = "support/mod.rs"]
mod support;

use std::path::Path;

use gospy::capture::{OpenOptions, Session, record};
use gospy::model::{Snapshot, Status};
use gospy::target::capture_file::{Description, write};
use gospy::target::core::{CoreOptions, CoreTarget};
use gospy::target::live::LiveTarget;
use snapshots::{assert_same, everything, snapshot};
use support::{Fixture, Mode, Running, VERSIONS};

fn live(running: &Running) -> Box<LiveTarget> {
    Box::new(LiveTarget::open(running.pid()).unwrap())
}

fn description(snapshot: &Snapshot) -> Description {
    Description {
        gospy_version: "test",
        captured_at: String::new(),
        pid: snapshot.target.pid,
        exe: snapshot.target.exe.clone(),
        go_version: snapshot.target.go_version.clone(),
        arch: snapshot.target.arch,
        goroutines: snapshot.goroutines.len() as u64,
    }
}

fn capture(running: &Running, path: &Path) -> Snapshot {
    let (image, snapshot) = record(live(running), None).unwrap();
    write(path, &image, Some(&description(&snapshot)), false).unwrap();
    snapshot
}

fn open(path: &Path) -> CoreTarget {
    CoreTarget::open(path, &CoreOptions::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Without the binary, which is what the file is for.
#[test]
fn a_capture_is_the_stopped_process() {
    for version in VERSIONS {
        for mode in [Mode::Default, Mode::PieSw, Mode::Cgo] {
            let label = format!("{version} {}", mode.name());
            let dir = tempfile::tempdir().unwrap();
            let binary = dir.path().join("program");
            std::fs::copy(Fixture::build("fx", version, mode), &binary).unwrap();
            let mut command = std::process::Command::new(&binary);
            command.args(["stacks", "2", "-busy", "1"]);
            let mut running = Running::spawn(command);
            running.wait_ready();
            running.stop();
            let before = snapshot(live(&running));
            let path = dir.path().join("capture");
            let taken = capture(&running, &path);
            drop(running);
            std::fs::remove_file(&binary).unwrap();
            let after = snapshot(Box::new(open(&path)));
            assert_same(&label, &before, &taken);
            assert_same(&label, &before, &after);
            assert_eq!(before.warnings, after.warnings, "{label}");
            assert_eq!(taken.captured_at_unix_ns, after.captured_at_unix_ns, "{label}");
            assert_eq!(taken.monotonic_ns, after.monotonic_ns, "{label}");
            assert_eq!(before.reading.provenance, after.reading.provenance, "{label}");
            assert_eq!(before.reading.layout, after.reading.layout, "{label}");
            println!(
                "{label}: {} bytes, {} goroutines",
                std::fs::metadata(&path).unwrap().len(),
                after.goroutines.len()
            );
        }
    }
}

/// What `doctor` shows.
#[test]
fn a_capture_holds_what_the_thorough_search_reads() {
    for (version, mode) in
        [("1.19", Mode::Default), ("1.24.11", Mode::Sw), ("1.27.3", Mode::Default), ("1.27.3", Mode::Pie)]
    {
        let dir = tempfile::tempdir().unwrap();
        let running = Fixture::start("fx", version, mode, &["states", "1"]);
        running.stop();
        let options = OpenOptions { bin: None, thorough: true };
        let live = Session::open(live(&running), &options).unwrap();
        let path = dir.path().join("capture");
        capture(&running, &path);
        let later = Session::open(Box::new(open(&path)), &options).unwrap();
        assert_eq!(live.runtime().provenance, later.runtime().provenance, "{version}");
        assert_eq!(live.runtime().warnings, later.runtime().warnings, "{version}");
    }
}

#[test]
fn a_capture_of_a_moving_program_is_what_was_seen() {
    for version in ["1.21.13", "1.26.6"] {
        let dir = tempfile::tempdir().unwrap();
        let running = Fixture::start("fx", version, Mode::Default, &["churn", "-goroutines", "300", "-busy", "2"]);
        for round in 0..10 {
            let path = dir.path().join(format!("{round}"));
            let taken = capture(&running, &path);
            let after = snapshot(Box::new(open(&path)));
            let label = format!("{version} round {round}");
            snapshots::assert_same_goroutines(&label, &taken, &after, |_| true);
            assert_eq!(taken.goroutines.len(), after.goroutines.len(), "{label}");
            assert_eq!(taken.reading.consistency, after.reading.consistency, "{label}");
            assert!(taken.goroutines.iter().any(|g| g.status == Status::Waiting));
        }
    }
}

#[test]
fn a_frozen_capture_has_the_stacks_of_running_goroutines() {
    use gospy::capture::{CaptureOptions, FreezeMode};
    for mode in [FreezeMode::Running, FreezeMode::All] {
        let dir = tempfile::tempdir().unwrap();
        let running = Fixture::start("fx", "1.26.6", Mode::Default, &["states", "1", "-busy", "3"]);
        let (image, taken) = record(live(&running), Some(mode)).unwrap();
        let path = dir.path().join("capture");
        write(&path, &image, Some(&description(&taken)), false).unwrap();
        let mut session = Session::open(Box::new(open(&path)), &OpenOptions::default()).unwrap();
        let after = session.capture(&CaptureOptions { freeze: None, ..everything() }).unwrap();
        snapshots::assert_same_goroutines("frozen", &taken, &after, |_| true);
        assert_eq!(taken.reading.freeze, after.reading.freeze);
        let exact = |g: &&gospy::model::Goroutine| {
            g.status == Status::Running && matches!(g.stack, gospy::model::StackState::Known(_))
        };
        assert!(after.goroutines.iter().filter(exact).count() > 0, "{mode:?}");
    }
}
