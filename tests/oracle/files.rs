//! Files, as in the suite: what takes root.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use crate::support::files::{RUN_FAILED, TIMED_OUT, example, idle, json_is_shown_as_its_captures, names, options, run};
use crate::support::refusal::ERROR;
use crate::support::{Fixture, Mode, gospy, gospy_with, need, need_root};

#[test]
fn files_of_others_are_not_replaced() {
    need_root();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let mut tried = 0;
    for (option, mut words, status) in options() {
        if !matches!(option, "stack --pprof" | "check --junit" | "run --dump") {
            continue;
        }
        // It has to be written for nothing but that reason.
        if option == "run --dump" {
            words = ["run", "--timeout", "1s", "--dump", "FILE", "--", "sh", "-c", &idle()].map(str::to_owned).to_vec();
        }
        std::fs::write(&file, "theirs").unwrap();
        let done = if option == "run --dump" { TIMED_OUT } else { 0 };
        let output = run(&words, &file, &file);
        assert_eq!(output.code(), done, "{option}: {output:?}");
        std::fs::write(&file, "theirs").unwrap();
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        let output = run(&words, &file, &file);
        assert_eq!(output.code(), status, "{option}: {output:?}");
        assert!(output.stderr.contains("uid 65534"), "{option}: {output:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "theirs", "{option}");
        std::fs::remove_file(&file).unwrap();
        tried += 1;
    }
    assert_eq!(tried, 3);
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    need_root();
    need("unshare", "util-linux");
    let directory = tempfile::tempdir().unwrap();
    let parked = format!("{}/fixtures/captures/parked.gospy", env!("CARGO_MANIFEST_DIR"));
    let old = "echo old > out";
    let mount = "mkdir full; mount -t tmpfs -o size=64k none full; cd full";
    // Not a page is left: a profile of many equal stacks is small.
    for command in ["capture --force --from $PARKED -o out", "stack --from $PARKED --pprof out"] {
        let line = format!(
            "rmdir full 2>/dev/null; {mount}; {old}; dd if=/dev/zero of=filler bs=1k count=60 2>/dev/null; $gospy {command}; echo status $?; cat out; ls -A; df --output=used . | tail -1"
        );
        let line = line.replace("$PARKED", &parked);
        let output = gospy_with(&[], |process| {
            *process = Command::new("unshare");
            process.args(["--mount", "bash", "-c", &line]).env("gospy", env!("CARGO_BIN_EXE_gospy"));
            process.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        });
        let lines: Vec<&str> = output.stdout.lines().map(str::trim).collect();
        assert!(output.stderr.contains("out cannot be written: No space left on device"), "{output:?}");
        assert_eq!(lines, ["status 1", "old", "filler", "out", "64"], "{output:?}");
    }
}

/// Links that somebody else has put into a directory like /tmp.
#[test]
fn planted_directories_are_not_written_into() {
    need_root();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("etc")).unwrap();
    std::fs::create_dir(at("tmp")).unwrap();
    std::fs::set_permissions(at("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    symlink("../etc", at("tmp/link")).unwrap();
    let nobody = Some(nix::unistd::Uid::from_raw(65534));
    nix::unistd::fchownat(
        nix::fcntl::AT_FDCWD,
        &at("tmp/link"),
        nobody,
        None,
        nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .unwrap();
    let path = |name: &str| at(name).display().to_string();
    for (option, words, status) in options() {
        let output = run(&words, &at("tmp/link/file"), &at("started"));
        assert_eq!(output.code(), status, "{option}: {output:?}");
    }
    for arguments in [
        vec!["run", "--capture-on", "USR1", "--output", &path("tmp/link/new"), "--", "true"],
        vec!["run", "--capture-on", "USR1", "--output", &path("tmp/link"), "--", "true"],
        vec!["man", &path("tmp/link")],
    ] {
        let output = gospy(&arguments);
        assert!(matches!(output.code(), ERROR | RUN_FAILED), "{output:?}");
        assert!(output.stderr.contains("uid 65534"), "{output:?}");
    }
    assert!(names(&at("etc")).is_empty() && names(&at("tmp")) == ["link"]);
    // One's own link is followed.
    symlink("../etc", at("tmp/mine")).unwrap();
    gospy(&["capture", "--from", &example(), "-o", &path("tmp/mine/file")]).ok();
    assert_eq!(names(&at("etc")), ["file"]);
}

/// What a snapshot in JSON holds can be shown like a capture.
#[test]
fn json_of_many_kinds_of_stacks_is_shown_as_its_capture() {
    let directory = tempfile::tempdir().unwrap();
    let program = Fixture::start("fx", "1.26.6", Mode::Default, &["stacks", "1"]);
    let capture = directory.path().join("capture").display().to_string();
    gospy(&["capture", "--pid", &program.pid().to_string(), "-o", &capture]).ok();
    json_is_shown_as_its_captures(&[&capture]);
}
