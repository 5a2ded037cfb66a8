//! Captures of live programs: the same answer as the process, on any machine, from a small file.

use std::path::Path;

use crate::snapshots::{assert_same, everything, snapshot};
use crate::support::{Fixture, Mode, Running, VERSIONS, gospy, until};
use gospy::capture::{OpenOptions, Session, record};
use gospy::model::{Snapshot, Status};
use gospy::process::capture_file::{Description, goal, write};
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::process::live::LiveTarget;

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
    write(&goal(path, false, false).unwrap(), &image, Some(&description(&snapshot))).unwrap();
    snapshot
}

fn open(path: &Path) -> CoreTarget {
    CoreTarget::open(path, &CoreOptions::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What only searches look at is nobody's business. The environment lies at the top of a thread's stack,
/// which nobody reads; the runtime's copies of it are in the heap, beside what is searched.
#[test]
fn the_environment_is_not_recorded() {
    const SECRET: &[u8] = b"correct-horse-battery-staple";
    for version in VERSIONS {
        let mut command = std::process::Command::new(Fixture::build("fx", version, Mode::Sw));
        command.args(["stacks"]).env("GOSPY_TEST_SECRET", std::str::from_utf8(SECRET).unwrap());
        let mut running = Running::spawn(command);
        running.wait_ready();
        let (image, _) = record(live(&running), None).unwrap();
        let mut bytes = Vec::new();
        image.write(&mut bytes).unwrap();
        assert!(bytes.windows(6).any(|w| w == b"stacks"), "{version}: it has no arguments at all");
        assert!(!bytes.windows(SECRET.len()).any(|w| w == SECRET), "{version}");
    }
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

/// And without the environment, which is where secrets are.
#[test]
fn a_capture_is_small() {
    use crate::support::gospy;
    for (version, mode) in [("1.26.6", Mode::Sw), ("1.26.6", Mode::Default), ("1.19", Mode::Sw)] {
        let label = format!("{version} {}", mode.name());
        let dir = tempfile::tempdir().unwrap();
        let running = Fixture::new("fx", version, mode).env("FX_PASSWORD", "correct horse").run(&["many", "1000"]);
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (capture, core) = (path("capture"), path("core"));
        gospy(&["capture", "--pid", &running.pid().to_string(), "-o", &capture]).ok();
        let len = std::fs::metadata(&capture).unwrap().len();
        println!("{label}: {len} bytes");
        assert!(len < 1_000_000, "{label}: {len} bytes");
        gospy(&["capture", "--from", &capture, "-o", &core, "--uncompressed"]).ok();
        let bytes = std::fs::read(&core).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("many"), "{label}: the arguments are kept");
        assert!(!holds("FX_PASSWORD") && !holds("correct horse"), "{label}: the environment is not");
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
            crate::snapshots::assert_same_goroutines(&label, &taken, &after, |_| true);
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
        write(&goal(&path, false, false).unwrap(), &image, Some(&description(&taken))).unwrap();
        let mut session = Session::open(Box::new(open(&path)), &OpenOptions::default()).unwrap();
        let after = session.capture(&CaptureOptions { freeze: None, ..everything() }).unwrap();
        crate::snapshots::assert_same_goroutines("frozen", &taken, &after, |_| true);
        assert_eq!(taken.reading.freeze, after.reading.freeze);
        let exact = |g: &&gospy::model::Goroutine| {
            g.status == Status::Running && matches!(g.stack, gospy::model::StackState::Known(_))
        };
        assert!(after.goroutines.iter().filter(exact).count() > 0, "{mode:?}");
    }
}

#[test]
fn a_core_file_without_its_program_or_its_end() {
    use crate::support::core_dump::{killed_for_core, with_core_limit};
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    let built = Fixture::build("tiny", "1.26.6", Mode::Default);
    std::fs::copy(&built, &program).unwrap();
    let mut command = with_core_limit(&program, dir.path());
    command.env("GOTRACEBACK", "crash");
    let mut running = Running::spawn(command);
    running.wait_ready();
    // Its goroutines may not have run yet when it says so.
    let pid = running.pid().to_string();
    until("both goroutines wait", || {
        let stacks = gospy(&["stack", "--pid", &pid, "--all"]).ok();
        (stacks.contains("main.receive") && stacks.contains("main.choose")).then_some(())
    });
    running.signal(nix::sys::signal::Signal::SIGABRT);
    let (core, _) = killed_for_core(running, dir.path());
    let core_path = core.to_str().unwrap();
    let from = |more: &[&str]| gospy(&[&["stack", "--from", core_path, "--all"], more].concat());
    assert!(from(&[]).ok().contains("main.receive"));
    std::fs::remove_file(&program).unwrap();
    let output = from(&[]);
    assert_eq!(output.code(), 1);
    assert!(output.stderr.contains("--bin") && output.stderr.contains(program.to_str().unwrap()), "{}", output.stderr);
    assert!(from(&["--bin", built.to_str().unwrap()]).ok().contains("main.receive"));
    let other = Fixture::build("tiny", "1.27.3", Mode::Default);
    let output = from(&["--bin", other.to_str().unwrap()]);
    assert_eq!(output.code(), 1);
    assert!(output.stderr.contains("build id"), "{}", output.stderr);
    let root = dir.path().join("root");
    let inside = root.join(program.strip_prefix("/").unwrap());
    std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
    std::fs::copy(&built, &inside).unwrap();
    assert!(from(&["--sysroot", root.to_str().unwrap()]).ok().contains("main.receive"));
    // The stacks of threads come last in a core file; all that gospy reads is before them.
    let whole = std::fs::metadata(&core).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&core).unwrap().set_len(whole - 100_000).unwrap();
    let output = from(&["--bin", built.to_str().unwrap(), "--strict"]);
    assert_eq!(output.code(), 6, "{}", output.stderr);
    assert!(output.stdout.contains("main.receive"), "{}", output.stdout);
    assert!(output.stderr.contains("truncated"), "{}", output.stderr);
}
