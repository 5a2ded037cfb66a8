//! Captures: the same answer as the live process, on any machine, from a small file.

// A test that cannot go on fails, and a panic is how.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "snapshots/mod.rs"]
mod snapshots;
#[path = "support/mod.rs"]
mod support;

use std::path::Path;

use gospy::bytes::ByteSource;
use gospy::capture::{OpenOptions, Session, record};
use gospy::model::{Snapshot, Status};
use gospy::process::capture_file::{CaptureFile, Description, goal, write};
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::process::live::LiveTarget;
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
    use support::gospy;
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
        write(&goal(&path, false, false).unwrap(), &image, Some(&description(&taken))).unwrap();
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

/// The core file inside a capture.
fn unpacked(capture: Vec<u8>) -> Vec<u8> {
    let file = CaptureFile::open(std::sync::Arc::new(capture)).unwrap();
    let mut core = vec![0; usize::try_from(file.len()).unwrap()];
    assert_eq!(file.read_at(0, &mut core).unwrap(), core.len());
    core
}

mod bad_input {
    use super::*;
    use support::gospy;

    fn example() -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/tiny-1.26.6-amd64.capture");
        std::fs::read(path).unwrap()
    }

    fn refused(bytes: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let output = gospy(&["summary", "--from", file.path().to_str().unwrap()]);
        assert_eq!((output.code(), output.stdout.as_str()), (1, ""), "{}", output.stderr);
        output.stderr
    }

    #[test]
    fn files_that_are_something_else() {
        assert!(refused(b"hello").contains("neither a capture nor a core file"));
        assert!(refused(b"").contains("neither a capture nor a core file"));
        let program = std::fs::read(env!("CARGO_BIN_EXE_gospy")).unwrap();
        assert!(refused(&program[..4096]).contains("program or library"));
        let output = gospy(&["stack", "--from", "/nonexistent/file"]);
        assert_eq!(output.code(), 1);
        assert!(output.stderr.contains("/nonexistent/file"), "{}", output.stderr);
    }

    /// Where the notes of gospy's attachments are in a core file: names, and the ranges of their contents.
    fn attachments(core: &[u8]) -> Vec<(String, std::ops::Range<usize>)> {
        let word = |at: usize| u32::from_le_bytes(core[at..at + 4].try_into().unwrap()) as usize;
        // The first program header is that of the notes.
        let (mut at, end) = (word(64 + 8), word(64 + 8) + word(64 + 32));
        let mut found = Vec::new();
        while at + 12 <= end {
            let (name, desc, kind) = (word(at), word(at + 4), word(at + 8));
            let contents = at + 12 + name.next_multiple_of(4);
            if core[at + 12..].starts_with(b"GOSPY\0") && kind & 0xff == 3 {
                let nul = core[contents..].iter().position(|byte| *byte == 0).unwrap();
                let name = String::from_utf8(core[contents..contents + nul].to_vec()).unwrap();
                found.push((name, contents..contents + desc));
            }
            at = contents + desc.next_multiple_of(4);
        }
        found
    }

    /// What the commands say that read `core`: `doctor` looks at what `stack` has no need of.
    fn refused_by_all(core: &[u8], attachment: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), core).unwrap();
        let from = file.path().to_str().unwrap();
        let needed_by_doctor = attachment == "dwarf" || attachment.starts_with("search for");
        let commands = [&["stack", "--all", "--system"][..], &["summary"], &["check", "--max-goroutines", "1000"]];
        for arguments in commands.into_iter().filter(|_| !needed_by_doctor) {
            let output = gospy(&[arguments, &["--from", from]].concat());
            assert_eq!((output.code(), output.stdout.as_str()), (1, ""), "{arguments:?}: {attachment:?}");
            assert!(output.stderr.contains("damaged") && output.stderr.contains(attachment), "{}", output.stderr);
        }
        let output = gospy(&["doctor", "--from", from]);
        assert_eq!(output.code(), 1, "{attachment:?}: {}", output.stdout);
        let all = output.stdout + &output.stderr;
        assert!(all.contains("damaged") && all.contains(attachment), "{attachment:?}: {all}");
    }

    /// A capture is no core file of a process that was left to itself: without what its attachments say,
    /// stacks in it would be made up of what happens to be there.
    #[test]
    fn an_attachment_that_makes_no_sense() {
        let core = unpacked(example());
        let attached = attachments(&core);
        let names: Vec<&str> = attached.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.len() >= 6 && names.contains(&"goroutines") && names.contains(&"functions"), "{names:?}");
        for (name, range) in &attached {
            let contents = range.start + name.len() + 1..range.end;
            let mut damaged = core.clone();
            damaged[contents.clone()].fill(b'?');
            println!("{name}: {} bytes", contents.len());
            if !contents.is_empty() {
                refused_by_all(&damaged, name);
            }
        }
        let (_, range) = attached.iter().find(|(name, _)| name == "goroutines").unwrap();
        let mut lost = core.clone();
        lost[range.start] = b'G';
        refused_by_all(&lost, "goroutines");
        lost[range.clone()].fill(b'G');
        refused_by_all(&lost, "attachment");
    }

    /// A capture that is written now also finds what still makes sense, and is not what was written.
    #[test]
    fn one_wrong_byte_of_an_attachment() {
        let directory = tempfile::tempdir().unwrap();
        let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/tiny-1.26.6-amd64.capture");
        let path = directory.path().join("core");
        let to = path.to_str().unwrap();
        gospy(&["capture", "--from", old.to_str().unwrap(), "-o", to, "--uncompressed"]).ok();
        let core = std::fs::read(&path).unwrap();
        for (name, range) in attachments(&core) {
            let mut damaged = core.clone();
            damaged[range.end - 1] ^= 1;
            refused_by_all_at_once(&damaged, &name);
            // And one that is not there, but another.
            damaged = core.clone();
            damaged[range.start] ^= 1;
            refused_by_all_at_once(&damaged, &name[1..]);
        }
    }

    /// What is found when the file is opened is found by every command.
    fn refused_by_all_at_once(core: &[u8], attachment: &str) {
        let text = refused(core);
        assert!(text.contains("damaged") && text.contains(attachment), "{attachment}: {text}");
    }

    #[test]
    fn a_newer_version_of_the_format() {
        let mut bytes = example();
        bytes[8] = 3;
        let text = refused(&bytes);
        assert!(text.contains("version 3") && text.contains("newer gospy"), "{text}");
    }

    #[test]
    fn one_wrong_byte_anywhere() {
        let bytes = example();
        let mut parts = std::collections::BTreeSet::new();
        for at in (8..bytes.len()).step_by(4001).chain(bytes.len() - 20..bytes.len()) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let source = std::sync::Arc::new(bytes);
            let error = CoreTarget::from_source(source, &CoreOptions::default()).err();
            let text = error.unwrap_or_else(|| panic!("byte {at}")).to_string();
            let part = ["description", "headers", "notes", "memory", "parts of files", "end", "version"];
            let part = part.into_iter().find(|part| text.contains(part)).unwrap_or_else(|| panic!("{at}: {text}"));
            parts.insert(part);
        }
        for part in ["memory", "parts of files", "end"] {
            assert!(parts.contains(part), "{parts:?}");
        }
        let text = refused(
            &bytes.iter().enumerate().map(|(i, b)| if i == bytes.len() / 2 { !b } else { *b }).collect::<Vec<_>>(),
        );
        assert!(text.contains("damaged in its "), "{text}");
    }

    #[test]
    fn a_file_that_was_cut_short() {
        let bytes = example();
        for len in [10, 100, 5000, bytes.len() - 1] {
            let text = refused(&bytes[..len]);
            assert!(text.contains("truncated"), "{len}: {text}");
        }
    }

    #[test]
    fn nothing_is_written_over_that_is_no_capture() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        std::fs::write(&from, example()).unwrap();
        let notes = dir.path().join("notes.txt");
        std::fs::write(&notes, "mine").unwrap();
        let (from, notes_path) = (from.to_str().unwrap(), notes.to_str().unwrap());
        let output = gospy(&["capture", "--from", from, "-o", notes_path]);
        assert_eq!(output.code(), 1);
        assert!(output.stderr.contains("--force"), "{}", output.stderr);
        assert_eq!(std::fs::read(&notes).unwrap(), b"mine");
        gospy(&["capture", "--from", from, "-o", notes_path, "--force"]).ok();
        // A capture may be replaced, even by one made from itself.
        gospy(&["capture", "--from", notes_path, "-o", notes_path]).ok();
        assert!(gospy(&["stack", "--from", notes_path]).ok().contains("main.receive"));
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
        let output = gospy(&["capture", "--from", from, "-o", "/nonexistent/directory/file"]);
        assert_eq!(output.code(), 1);
    }

    #[test]
    fn a_process_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        let output = gospy(&["capture", "--pid", "4194303", "-o", path.to_str().unwrap()]);
        assert_eq!(output.code(), 3, "{}", output.stderr);
        assert!(!path.exists());
    }

    #[test]
    fn a_core_file_without_its_program_or_its_end() {
        use support::core_dump::{killed_for_core, with_core_limit};
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let built = Fixture::build("tiny", "1.26.6", Mode::Default);
        std::fs::copy(&built, &program).unwrap();
        let mut command = with_core_limit(&program, dir.path());
        command.env("GOTRACEBACK", "crash");
        let mut running = Running::spawn(command);
        running.wait_ready();
        // Its goroutines may not have run yet when it says so.
        std::thread::sleep(std::time::Duration::from_millis(500));
        running.signal(nix::sys::signal::Signal::SIGABRT);
        let (core, _) = killed_for_core(running, dir.path());
        let core_path = core.to_str().unwrap();
        let from = |more: &[&str]| gospy(&[&["stack", "--from", core_path, "--all"], more].concat());
        assert!(from(&[]).ok().contains("main.receive"));
        std::fs::remove_file(&program).unwrap();
        let output = from(&[]);
        assert_eq!(output.code(), 1);
        assert!(
            output.stderr.contains("--bin") && output.stderr.contains(program.to_str().unwrap()),
            "{}",
            output.stderr
        );
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
}

mod damaged {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Behind the checksums, where damage is believed.
    fn inside() -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/tiny-1.26.6-arm64.capture");
        unpacked(std::fs::read(path).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_damage_to_the_core_file_is_survived(
            changes in proptest::collection::vec((0.0_f64..1.0, any::<bool>(), any::<u64>()), 1..6),
            cut in proptest::option::of(0.0_f64..1.0),
        ) {
            let mut bytes = inside();
            for (at, early, word) in changes {
                // Headers and notes are where damage does most.
                let range = if early { 12_000 } else { bytes.len() - 8 };
                let at = (at * range as f64) as usize;
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            if let Some(cut) = cut {
                let len = (cut * bytes.len() as f64) as usize;
                bytes.truncate(len);
            }
            let started = std::time::Instant::now();
            if let Ok(target) = CoreTarget::from_source(Arc::new(bytes), &CoreOptions::default())
                && let Ok(mut session) = Session::open(Box::new(target), &OpenOptions::default())
            {
                let _ = session.capture(&everything());
            }
            prop_assert!(started.elapsed() < std::time::Duration::from_secs(20));
        }
    }
}
