//! Bad input through the command line: one clear message on standard error, the documented exit
//! status, nothing on standard output, and never a panic.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::support::live::other_build;
use crate::support::process::Killed;
use crate::support::refusal::{ERROR, GONE, NOT_GO, USAGE, refused};
use crate::support::{Fixture, Running, gospy, gospy_with, live, live_bytes, until, write_program};
use nix::sys::signal::Signal;

fn start(command: &mut Command) -> Killed {
    Killed(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn pid(program: &Running) -> String {
    program.pid().to_string()
}

fn sleeper() -> Killed {
    start(Command::new("sleep").arg("1000"))
}

#[test]
fn usage_is_status_2() {
    for arguments in [
        &["summary", ""][..],
        &["check", "--max-group", "1"],
        &["summary", "0"],
        &["summary", "--pid", "0"],
        &["summary", "--pid", "-1"],
        &["summary", "--pid", "nobody"],
        &["summary", "--pid", "99999999999"],
        &["stack", "--pid", "1", "--freeze=some"],
        &["stack", "--pid", "1", "--group", "--all"],
        &["stack", "--pid", "1", "--folded", "--json"],
        &["summary", "1", "--pid", "1"],
        &["help", "nonsense"],
    ] {
        refused(&gospy(arguments), USAGE);
    }
    // A word that is no command is a program that is not there.
    refused(&gospy(&["nonsense"]), GONE);
    // What it is filtered by is looked at before the process is.
    for filter in ["stat=waiting", "age>5x", "state=", "((state=waiting)", "func~[", ""] {
        let message = refused(&gospy(&["stack", "--pid", "1", "--filter", filter]), USAGE);
        assert!(message.contains("--filter"), "{filter:?}: {message}");
    }
}

#[test]
fn processes_that_are_not_there_are_status_3() {
    let highest: u64 = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse().unwrap();
    for pid in [highest + 1, 2_147_483_647] {
        let message = refused(&gospy(&["summary", "--pid", &pid.to_string()]), GONE);
        assert!(message.contains(&pid.to_string()) && message.contains("gospy ps"), "{message}");
    }
    let mut zombie = start(&mut Command::new("true"));
    let stat = format!("/proc/{}/stat", zombie.0.id());
    until("a zombie", || std::fs::read_to_string(&stat).unwrap().contains(") Z ").then_some(()));
    let message = refused(&gospy(&["stack", "--pid", &zombie.0.id().to_string()]), GONE);
    assert!(message.contains("zombie"), "{message}");
    zombie.0.wait().unwrap();
    refused(&gospy(&["stack", "--pid", &zombie.0.id().to_string()]), GONE);
}

#[test]
fn programs_that_are_not_go_are_status_5() {
    let message = refused(&gospy(&["summary", "--pid", &sleeper().0.id().to_string()]), NOT_GO);
    assert!(message.contains("is not a Go program"), "{message}");
}

/// Whatever is read when the end comes: it is said, and nothing is made up.
#[test]
fn a_program_that_ends_while_it_is_read_is_status_3() {
    let mut ended = 0;
    for delay in [0, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100, 150] {
        let program = live(&["many", "20000"]);
        let target = pid(&program);
        let reader = std::thread::spawn(move || gospy(&["stack", "--group", "--pid", &target]));
        sleep(Duration::from_millis(delay));
        program.signal(Signal::SIGKILL);
        let output = reader.join().unwrap();
        if output.code() != 0 {
            let message = refused(&output, GONE);
            assert!(message.contains(&pid(&program)), "{message}");
            ended += 1;
        }
    }
    assert!(ended > 0, "it was always quicker");
}

#[test]
fn another_builds_binary_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let program = live(&["idle"]);
    let other = other_build(directory.path());
    for other in [other.path().to_owned(), "/bin/sleep".into()] {
        let message = refused(&gospy(&["stack", "--pid", &pid(&program), "--bin", other.to_str().unwrap()]), ERROR);
        assert!(message.contains("build id") && message.contains("--bin"), "{message}");
    }
    for missing in ["/nonexistent/file", "/", "/dev/null", "/proc/self/maps"] {
        let message = refused(&gospy(&["stack", "--pid", &pid(&program), "--bin", missing]), ERROR);
        assert!(message.contains(missing), "{message}");
    }
}

#[test]
fn deleted_and_replaced_executables_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = live_bytes();
    let path = write_program(directory.path(), "live", &bytes);
    let program = Fixture::of(&path).run(&["idle"]);
    std::fs::remove_file(&path).unwrap();
    assert!(gospy(&["stack", "--pid", &pid(&program)]).ok().contains("main.main"));
    write_program(directory.path(), "live", &std::fs::read("/bin/sleep").unwrap());
    assert!(gospy(&["stack", "--pid", &pid(&program)]).ok().contains("main.main"));
}

/// A file that was overwritten where it is, as an installer that does not know better does.
#[test]
fn an_executable_that_was_emptied_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = live_bytes();
    let path = write_program(directory.path(), "live", &bytes);
    let program = Fixture::of(&path).run(&["idle"]);
    let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) else {
        // A kernel that forbids it while the program runs.
        return;
    };
    file.write_all_at(&vec![0; bytes.len()], 0).unwrap();
    refused(&gospy(&["stack", "--pid", &pid(&program)]), NOT_GO);
}

#[test]
fn a_closed_pipe_is_a_success() {
    let program = live(&["many", "20000"]);
    for arguments in [&["stack", "--all"][..], &["stack", "--json"], &["summary", "--json"], &["stack", "--folded"]] {
        let mut gospy = Command::new(env!("CARGO_BIN_EXE_gospy"))
            .args(arguments)
            .args(["--pid", &pid(&program)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = Vec::new();
        BufReader::with_capacity(64, gospy.stdout.take().unwrap()).read_until(b'\n', &mut line).unwrap();
        // The reader is gone here.
        let mut message = String::new();
        gospy.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        let status = gospy.wait().unwrap();
        assert!(status.success() && message.is_empty(), "{arguments:?}: {status} {message:?}");
        assert!(!line.is_empty());
    }
}

#[test]
fn output_that_cannot_be_written_is_status_1() {
    let program = live(&["states"]);
    for arguments in [&["stack", "--all"][..], &["stack", "--json"], &["summary"], &["summary", "--json"]] {
        let output = gospy_with(&[arguments, &["--pid", &pid(&program)]].concat(), |command| {
            // Standard output has to be a pipe for the harness, so a shell puts the device there.
            let words: Vec<String> =
                command.get_args().map(|argument| format!("'{}'", argument.to_str().unwrap())).collect();
            let line = format!("exec '{}' {} >/dev/full", env!("CARGO_BIN_EXE_gospy"), words.join(" "));
            *command = Command::new("sh");
            command.args(["-c", &line]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        });
        let message = refused(&output, ERROR);
        assert!(message.contains("No space left"), "{message}");
    }
    for file in ["/nonexistent/profile", "/dev/full", "/"] {
        let message = refused(&gospy(&["stack", "--pid", &pid(&program), "--pprof", file]), ERROR);
        assert!(message.contains(file), "{message}");
    }
}

#[test]
fn goroutines_that_are_not_there_are_status_1() {
    let mut program = live(&["idle"]);
    let output = gospy(&["stack", "--pid", &pid(&program), "--goid", "123456789"]);
    assert_eq!(output.code(), ERROR);
    assert!(output.stderr.contains("123456789") && output.stderr.contains("highest id"), "{}", output.stderr);
    // Those that are there are shown all the same.
    let output = gospy(&["stack", "--pid", &pid(&program), "--goid", "123456789,1"]);
    assert_eq!(output.code(), ERROR);
    assert!(output.stdout.starts_with("goroutine 1 ["), "{}", output.stdout);
    assert!(program.ask("stack")["stack_text"].is_string());
}
