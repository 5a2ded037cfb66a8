//! Captures: the same answer as the live process, on any machine, from a small file.

use std::path::Path;

use crate::snapshots::{assert_same, everything, snapshot};
use crate::support::{gospy, live};
use gospy::capture::{OpenOptions, Session};
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::process::live::LiveTarget;

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
        assert!(refused(b"hello").contains("neither a capture nor a core file"));
        assert!(refused(b"").contains("neither a capture nor a core file"));
        let program = std::fs::read(env!("CARGO_BIN_EXE_gospy")).unwrap();
        assert!(refused(&program[..4096]).contains("program or library"));
        let output = gospy(&["stack", "--from", "/nonexistent/file"]);
        assert_eq!(output.code(), 1);
        assert!(output.stderr.contains("/nonexistent/file"), "{}", output.stderr);
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
    use gospy::bytes::ByteSource;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// The core file inside a capture: behind the checksums, where damage is believed.
    fn inside() -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/tiny-1.26.6-arm64.capture");
        let file = gospy::process::capture_file::CaptureFile::open(Arc::new(std::fs::read(path).unwrap())).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len()).unwrap()];
        assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
        bytes
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
