//! Captures: the same answer as the live process, on any machine, from a small file.

use std::path::Path;

use crate::snapshots::{assert_same, everything, snapshot};
use crate::support::{gospy, live};
use gospy::capture::{OpenOptions, Session};
use gospy::process::capture_file::CaptureFile;
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::process::live::LiveTarget;
use gospy::testing::ByteSource;

/// `oracle` does the same in every version of Go and every way to link.
#[test]
fn a_capture_is_the_stopped_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture");
    let running = live(&["states", "2"]);
    running.stop();
    let process = snapshot(Box::new(LiveTarget::open(running.pid()).unwrap()));
    gospy(&["capture", "--pid", &running.pid().to_string(), "-o", path.to_str().unwrap()]).ok();
    drop(running);
    let captured = snapshot(Box::new(CoreTarget::open(&path, &CoreOptions::default()).unwrap()));
    assert!(process.goroutines.len() > 40, "{}", process.goroutines.len());
    assert_same("capture", &process, &captured);
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
        assert!(refused(b"hello").contains("is not a file that gospy reads"));
        assert!(refused(b"").contains("is empty"));
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
            prop_assert!(started.elapsed() < std::time::Duration::from_secs(60));
        }
    }
}
