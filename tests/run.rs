//! `gospy run`: statuses, signals, and what is told of a command that hangs.

// A test that cannot go on fails, and a panic is how.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Fixture, Mode, gospy, gospy_with, parse_traceback};

fn fx() -> String {
    Fixture::build("fx", "1.26.6", Mode::Sw).display().to_string()
}

#[test]
fn statuses_pass_through() {
    for (command, code) in [
        (vec!["true"], 0),
        (vec!["sh", "-c", "exit 42"], 42),
        (vec!["sh", "-c", "kill -TERM $$"], 143),
        (vec!["sh", "-c", "kill -KILL $$"], 137),
        (vec!["/nonexistent/command"], 127),
        (vec!["/etc/passwd"], 126),
    ] {
        let output = gospy(&[&["run", "--"], &command[..]].concat());
        assert_eq!(output.code(), code, "{command:?}: {output:?}");
        assert_eq!(output.stderr.is_empty(), !(126..=127).contains(&code), "{output:?}");
    }
    // Standard streams are the command's own, and signals have their usual meaning in it.
    let output = gospy(&["run", "--", "sh", "-c", "echo out; echo err >&2; grep ^SigBlk: /proc/self/status"]);
    assert_eq!(output.stdout, "out\nSigBlk:\t0000000000000000\n");
    assert_eq!(output.stderr, "err\n");
    for (args, told) in [
        (vec!["run"], "<COMMAND>"),
        (vec!["run", "--timeout", "5", "--", "true"], "invalid value '5' for '--timeout <DURATION>'"),
        (vec!["run", "--capture-on", "KILL", "-o", "x", "--", "true"], "nobody can receive this one"),
        (vec!["run", "--capture-on", "FUSS", "-o", "x", "--", "true"], "invalid value 'FUSS'"),
        (vec!["run", "--capture-every", "1s", "--", "true"], "--output <DIRECTORY>"),
    ] {
        let output = gospy(&args);
        assert_eq!(output.code(), 2, "{args:?}");
        assert!(output.stderr.contains(told), "{}", output.stderr);
    }
    assert_eq!(gospy(&["run", "-o", "/dev/null/x", "--", "true"]).code(), 125);
}

fn start(args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
    let mut child =
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

fn wait(child: &mut Child) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn signals_pass_through() {
    let script = "trap 'echo got usr1' USR1; trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let (mut child, mut out) = start(&["run", "--", "sh", "-c", script]);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGUSR1).unwrap();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\ngot usr1\n");
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(wait(&mut child), 9);
}

#[test]
fn a_command_that_hangs_is_told_and_ended() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("in");
    // Below a shell, and open for ever.
    let script = format!("mkfifo {0}; {1} deadlock -busy 1 <> {0}; echo never", fifo.display(), fx());
    let started = Instant::now();
    let output = gospy(&["run", "--timeout", "3s", "--", "sh", "-c", &script]);
    assert_eq!(output.code(), 124, "{output:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(output.stderr.contains("gospy: the command did not end within 3.00 s; its stacks follow\n"));
    assert!(!output.stdout.contains("never"));
    let goroutines = parse_traceback(&output.stderr);
    let blocked = goroutines.iter().filter(|g| g.frames.iter().any(|f| f.function == "main.transfer")).count();
    assert_eq!(blocked, 2, "{}", output.stderr);
    let busy = goroutines.iter().find(|g| g.state == "running").unwrap_or_else(|| panic!("{}", output.stderr));
    assert!(!busy.frames.is_empty(), "running goroutines are stopped for their stacks: {}", output.stderr);
    // Nobody is left.
    let ps = gospy(&["ps", "--json"]).json();
    let fifo = fifo.display().to_string();
    assert!(!ps.to_string().contains(&fifo));
}

#[test]
fn who_ignores_the_end_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("stacks.txt").display().to_string();
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let args = ["run", "--timeout", "300ms", "--grace", "300ms", "--dump", &dump, "--", "sh", "-c", script];
    let started = Instant::now();
    let output = gospy(&args);
    assert_eq!(output.code(), 124, "{output:?}");
    assert!(started.elapsed() > Duration::from_millis(550), "{:?}", started.elapsed());
    assert!(output.stderr.contains("its stacks cannot be told: "), "{}", output.stderr);
    assert!(!std::path::Path::new(&dump).exists());
}

#[test]
fn captures_at_intervals_and_signals() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("made/here");
    let at = output.display().to_string();
    let fx = fx();
    let (mut child, mut out) =
        start(&["run", "-o", &at, "--capture-every", "1s", "--capture-on", "usr2", "--", &fx, "leak", "-rate", "100"]);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("ready "), "{line}");
    let files = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().path());
        // What is being written has another name.
        let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "capture")).collect();
        files.sort();
        files
    };
    let wait_for_more_than = |count: usize| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while files().len() <= count {
            assert!(Instant::now() < deadline, "{:?}", files());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for_more_than(1);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGUSR2).unwrap();
    wait_for_more_than(files().len());
    // The end of its input ends it.
    drop(child.stdin.take());
    let code = wait(&mut child);
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(code, 0, "{told}");
    let files = files();
    assert_eq!(told.matches(" goroutines, ").count(), files.len(), "{files:?} {told}");
    let name = files[0].file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("fx-") && name.ends_with("-0001.capture"), "{name}");
    let diff = gospy_with(&["diff", files[0].to_str().unwrap(), files[files.len() - 1].to_str().unwrap()], |_| ()).ok();
    assert!(diff.contains("main.leakOne(...)"), "{diff}");
}
