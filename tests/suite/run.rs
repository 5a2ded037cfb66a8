//! `gospy run`: statuses, signals, and what is told of a command that hangs.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{DumpGoroutine, Output, alone, gospy, gospy_with, live_program, parse_traceback};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn live() -> String {
    live_program().display().to_string()
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
        (vec!["run", "--timeout", "5x", "--", "true"], "invalid value '5x' for '--timeout <DURATION>'"),
        (vec!["run", "--timeout", "0", "--", "true"], "it must be longer than 0"),
        (vec!["run", "--capture-on", "KILL", "-o", "x", "--", "true"], "a process cannot catch this one"),
        (vec!["run", "--capture-on", "FUSS", "-o", "x", "--", "true"], "invalid value 'FUSS'"),
        (vec!["run", "--capture-every", "1s", "--", "true"], "captures need --output <DIRECTORY>"),
        (
            vec!["run", "-o", "/dev/null/x", "--", "true"],
            "give --capture-every <DURATION> or --capture-on <SIGNAL> too",
        ),
        (vec!["run", "--strict", "--", "true"], "--strict is about the snapshots that rules judge"),
        (vec!["run", "--max-group", "5", "--", "true"], "give --capture-every <DURATION> or --capture-on"),
        (vec!["run", "--allow", "x", "--capture-every", "1s", "-o", "x", "--", "true"], "there is no rule to check"),
        (vec!["run", "--forbid-function", "(", "--capture-every", "1s", "--", "true"], "regex parse error"),
    ] {
        let output = gospy(&args);
        assert_eq!(output.code(), 2, "{args:?}");
        assert!(output.stderr.contains(told), "{}", output.stderr);
    }
    assert_eq!(gospy(&["run", "-o", "/dev/null/x", "--capture-every", "1s", "--", "true"]).code(), 125);
    let allow = ["run", "--capture-every", "1s", "--no-findings", "--allow-file", "/nonexistent", "--", "true"];
    assert_eq!(gospy(&allow).code(), 125);
}

fn start(args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
    let mut child =
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

fn wait(child: &mut Child) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(120);
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
    let script = format!("mkfifo {0}; {1} deadlock -busy 1 <> {0}; echo never", fifo.display(), live());
    let run = || {
        let _ = std::fs::remove_file(&fifo);
        let started = Instant::now();
        let output = gospy(&["run", "--timeout", "3s", "--", "sh", "-c", &script]);
        assert_eq!(output.code(), 124, "{output:?}");
        assert!(started.elapsed() < Duration::from_secs(60));
        output
    };
    // On a busy machine the one that computes may just have been preempted when it is stopped, or be in the
    // handler of the signal that is to preempt it, where nobody knows its caller.
    let runs = |goroutine: &DumpGoroutine| goroutine.state == "running" && !goroutine.frames.is_empty();
    let is_seen = |output: &Output| parse_traceback(&output.stderr).iter().any(runs);
    let output = (0..10).map(|_| run()).find(is_seen).expect("no goroutine that runs has a stack");
    assert!(output.stderr.contains("gospy: the command did not end within 3.00 s; its stacks follow\n"));
    assert!(!output.stdout.contains("never"));
    let goroutines = parse_traceback(&output.stderr);
    let blocked = goroutines.iter().filter(|g| g.frames.iter().any(|f| f.function == "main.transfer")).count();
    assert_eq!(blocked, 2, "{}", output.stderr);
    // Nobody is left.
    let ps = gospy(&["ps", "--json"]).stdout;
    let fifo = fifo.display().to_string();
    assert!(ps.contains("\"processes\":") && !ps.contains(&fifo), "{ps}");
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
    assert!(output.stderr.contains("its stacks could not be read: "), "{}", output.stderr);
    assert!(!std::path::Path::new(&dump).exists());
}

#[test]
fn captures_at_intervals_and_signals() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("made/here");
    let at = output.display().to_string();
    let program = live();
    let (mut child, mut out) = start(&[
        "run",
        "-o",
        &at,
        "--capture-every",
        "1s",
        "--capture-on",
        "usr2",
        "--",
        &program,
        "leak",
        "-rate",
        "100",
    ]);
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
    assert!(name.starts_with("live-") && name.ends_with("-0001.capture"), "{name}");
    let diff = gospy_with(&["diff", files[0].to_str().unwrap(), files[files.len() - 1].to_str().unwrap()], |_| ()).ok();
    assert!(diff.contains("main.leakOne(...)"), "{diff}");
    // They are captures as any other.
    for file in &files {
        let json = gospy(&["summary", "--json", "--from", file.to_str().unwrap()]).json();
        assert!(json["goroutines"]["total"].as_u64().unwrap() > 20, "{json}");
        assert_eq!(
            json["target"]["pid"],
            gospy(&["stack", "--json", "--from", file.to_str().unwrap()]).json()["target"]["pid"]
        );
    }
}

/// Runs a program with its input open for so long, under these rules; for longer on a machine that is so busy
/// that not even two captures fit in.
fn judged(seconds: u32, program: &str, options: &[&str]) -> Output {
    let mut seconds = seconds;
    loop {
        // A shell in between: the program is what the command starts, not what it is.
        let script = format!("sleep {seconds} | {program}");
        let output = gospy(&[&["run", "--capture-every", "300ms"], options, &["--", "sh", "-c", &script]].concat());
        let too_short = ["no program was captured twice", "no rule was judged"];
        if seconds > 30 || !too_short.iter().any(|text| output.stderr.contains(text)) {
            return output;
        }
        seconds *= 4;
    }
}

#[test]
fn rules_are_judged_of_each_capture() {
    let (leak, states, idle) =
        (format!("{} leak -rate 200", live()), format!("{} states", live()), format!("{} idle", live()));
    // Growth is measured from the first capture.
    let output = judged(2, &leak, &["--max-growth", "50", "--max-goroutines", "100000"]);
    assert_eq!(output.code(), 7, "{output:?}");
    assert!(output.stderr.contains("1 of 2 rules failed, "), "{}", output.stderr);
    assert!(output.stderr.contains("FAIL  --max-growth 50: +"), "{}", output.stderr);
    assert!(output.stderr.contains("main.leakOne(...)"), "{}", output.stderr);
    assert!(output.stdout.starts_with("ready "), "the other stream is the command's: {}", output.stdout);
    let output = judged(2, &leak, &["--max-growth", "50", "--allow", "leakOne"]);
    assert_eq!((output.code(), output.stderr.contains("1 rule passed in ")), (0, true), "{output:?}");
    let output = judged(1, &states, &["--no-findings"]);
    assert_eq!(output.code(), 7, "{output:?}");
    assert!(
        output.stderr.contains("FAIL  --no-findings: 2 goroutines are blocked forever on nil channels"),
        "{}",
        output.stderr
    );
    // The command's own failure says more.
    let output = judged(1, &format!("({states}; exit 9)"), &["--no-findings"]);
    assert_eq!((output.code(), output.stderr.contains("FAIL  --no-findings")), (9, true), "{output:?}");
    let output = judged(60, &states, &["--no-findings", "--timeout", "1s"]);
    assert_eq!((output.code(), output.stderr.contains("FAIL  --no-findings")), (124, true), "{output:?}");
    // One of the programs has it; none has the other.
    let both = format!("(sh -c 'sleep 1 | {idle}' & {leak}; wait)");
    let output = judged(1, &both, &["--require-function", "main\\.leaker", "--forbid-function", "nothing"]);
    assert_eq!((output.code(), output.stderr.matches(" of pid ").count()), (0, 2), "{output:?}");
    let output = judged(1, &both, &["--require-function", "main\\.nothing"]);
    assert_eq!((output.code(), output.stderr.matches("FAIL  --require-function").count()), (7, 1), "{output:?}");
}

/// A capture that cannot be written (its directory is gone) is judged all the same.
#[test]
fn rules_are_judged_of_captures_that_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("captures").display().to_string();
    let script = format!("rmdir {at}; sleep 3 | {} leak -rate 200", live());
    let rules = ["--output", &at, "--capture-every", "700ms", "--max-goroutines", "100"];
    let output = gospy(&[&["run"], &rules[..], &["--", "sh", "-c", &script]].concat());
    assert_eq!(output.code(), 7, "{output:?}");
    assert!(output.stderr.contains("FAIL  --max-goroutines 100: "), "{}", output.stderr);
    assert!(output.stderr.contains("gospy: a capture was not written: "), "{}", output.stderr);
}

#[test]
fn rules_that_could_not_be_judged() {
    let rules = ["--capture-every", "10s", "--max-growth", "5", "--no-findings"];
    let output = gospy(&[&["run"], &rules[..], &["--", "true"]].concat());
    assert_eq!(output.code(), 8, "{output:?}");
    assert!(output.stderr.contains("gospy: no rule was judged: "), "{}", output.stderr);
    assert_eq!(gospy(&[&["run", "--strict"], &rules[..], &["--", "true"]].concat()).code(), 8);
    assert_eq!(gospy(&[&["run", "--strict"], &rules[..], &["--", "false"]].concat()).code(), 1);
    let script = format!("sleep 1.5 | {} idle", live());
    let once = ["run", "--capture-every", "1s", "--max-growth", "5", "--", "sh", "-c", &script];
    let output = gospy(&once);
    assert_eq!(output.code(), 8, "{output:?}");
    assert!(output.stderr.contains("--max-growth was not judged: no program was captured twice"), "{}", output.stderr);
}

/// A running goroutine may be in any function, and a freeze shows in which.
#[test]
fn a_freeze_shows_what_runs_to_the_rules() {
    let busy = format!("{} idle -busy 1", live());
    let forbid = ["--forbid-function", r"^main\.nothing$"];
    let output = judged(2, &busy, &forbid);
    assert_eq!(output.code(), 8, "{output:?}");
    assert!(output.stderr.contains(" running; --freeze shows "), "{}", output.stderr);
    let output = judged(2, &busy, &[&["--freeze=all"], &forbid[..]].concat());
    assert_eq!(output.code(), 0, "{output:?}");
    let spins = ["--freeze=all", "--forbid-function", r"^main\."];
    assert_eq!(judged(2, &busy, &spins).code(), 7);
    let output = gospy(&["run", "--freeze", "--timeout", "1s", "--", "true"]);
    assert_eq!(output.code(), 2, "{output:?}");
    assert!(output.stderr.contains("--freeze is about captures: give --capture-every"), "{}", output.stderr);
}

#[test]
fn a_program_that_ends_before_the_first_capture_is_judged_and_named() {
    let idle = format!("{} idle", live());
    let script = format!("sleep 1.5 | {idle}");
    let rules = ["--capture-every", "60s", "--max-goroutines"];
    let output = gospy(&[&["run"], &rules[..], &["1000", "--", "sh", "-c", &script]].concat());
    assert_eq!(output.code(), 0, "{output:?}");
    let line = output.stderr.lines().find(|line| line.contains("1 rule passed in 1 snapshot of pid ")).unwrap();
    assert!(line.contains(" (live), the last ") && line.ends_with(" before the command ended"), "{line}");
    let output = gospy(&[&["run"], &rules[..], &["0", "--", "sh", "-c", &script]].concat());
    assert_eq!((output.code(), output.stderr.contains("FAIL  --max-goroutines 0: ")), (7, true), "{output:?}");
    // Growth is measured from a capture, not from when the program had only just been started.
    let script = format!("sleep 2.5 | {} leak -rate 20", live());
    let growth = ["run", "--capture-every", "1s", "--max-growth", "35", "--", "sh", "-c", &script];
    let output = gospy(&growth);
    assert_eq!(output.code(), 0, "{output:?}");
}

/// Whoever is left of a command that was given up on is ended and reaped, where nobody else does that:
/// this process is made the one that its orphans go to, and reaps none.
#[test]
fn a_command_that_is_given_up_on_leaves_no_process_behind() {
    alone("run::a_command_that_is_given_up_on_leaves_no_process_behind", nobody_is_left_behind);
}

fn nobody_is_left_behind() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let quiet = ">/dev/null 2>&1 </dev/null";
    for (trap, orphan) in
        [("", "sleep 1000"), ("trap '' TERM;", "sleep 1000"), ("", "sh -c \"trap '' TERM; sleep 1000; :\"")]
    {
        // One whose parent is waiting, one whose parent has ended.
        let script = format!(
            "{trap} echo $$ >{0}; sleep 1000 & echo $! >>{0}; sh -c '{orphan} {quiet} & echo $! >>{0}'; wait",
            pids.display()
        );
        let output = gospy(&["run", "--timeout", "700ms", "--grace", "300ms", "--", "sh", "-c", &script]);
        assert_eq!(output.code(), 124, "{output:?}");
        let started: Vec<String> = std::fs::read_to_string(&pids).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(started.len(), 3, "{started:?}");
        for pid in started {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            assert!(stat.is_err(), "{trap} {orphan}: {stat:?}");
        }
    }
}

/// A shell that has children of its own becomes `gospy run` by exec: neither those nor what they start
/// later, nor who is left of it, is the command's.
#[test]
fn processes_that_were_there_before_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    // A worker that is started when the command runs, and one whose parent ends, which makes it an orphan.
    let theirs = format!(
        "while ! [ -e {at}/go ]; do sleep 0.02; done; sleep 1000 & echo $! >>{at}/theirs\n\
         sh -c 'sleep 1000 & echo $! >>{at}/theirs'; wait\n"
    );
    // It ignores SIGTERM, so that it is killed. It leaves an orphan, which cannot be told from theirs.
    let ours = format!(
        "trap '' TERM; echo $$ >>{at}/ours; sleep 1000 & echo $! >>{at}/ours\n\
         touch {at}/go; sh -c 'trap \"\" TERM; sleep 1000 & echo $! >>{at}/orphan'; wait\n"
    );
    std::fs::write(directory.path().join("theirs.sh"), theirs).unwrap();
    std::fs::write(directory.path().join("ours.sh"), ours).unwrap();
    let script = format!(
        "sh {at}/theirs.sh >/dev/null 2>&1 & echo $! >>{at}/theirs; \
         exec {} run --timeout 1500ms --grace 300ms -- sh {at}/ours.sh >{at}/out 2>&1",
        env!("CARGO_BIN_EXE_gospy")
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let pids = |name: &str| -> Vec<i32> {
        let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    // One that nobody has waited for has ended.
    let runs = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
    };
    let (theirs, ours) = (pids("theirs"), pids("ours"));
    let (spared, left): (Vec<bool>, Vec<bool>) = (theirs.iter().map(runs).collect(), ours.iter().map(runs).collect());
    for pid in theirs.into_iter().chain(pids("orphan")) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    assert_eq!(spared, [true; 3], "{output:?}");
    assert_eq!(left, [false; 2], "{output:?}");
}

/// SIGCHLD is ignored below some supervisors. The status of a command is known all the same, and it
/// ignores what it would ignore without gospy.
#[test]
fn an_ignored_sigchld_is_inherited_by_the_command_alone() {
    let run = |options: &str, command: &str| {
        let mut child = Command::new("env")
            .args(["--ignore-signal=CHLD", env!("CARGO_BIN_EXE_gospy"), "run"])
            .args(options.split_ascii_whitespace().chain(["--"]).chain(command.split_ascii_whitespace()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let code = wait(&mut child);
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (code, text)
    };
    assert_eq!(run("", "sleep 0.3"), (0, String::new()));
    assert_eq!(run("--timeout 20s", "false"), (1, String::new()));
    assert_eq!(run("--timeout 300ms", "sleep 10").0, 124);
    let (code, text) = run("", "grep ^SigIgn: /proc/self/status");
    let ignored = u64::from_str_radix(text.split_ascii_whitespace().last().unwrap(), 16).unwrap();
    assert_eq!((code, ignored & (1 << (Signal::SIGCHLD as i32 - 1))), (0, 1 << (Signal::SIGCHLD as i32 - 1)), "{text}");
}

/// The heap is read at captures, not when a program has only just been started.
#[test]
fn leaks_are_looked_for_at_each_capture() {
    let stuck = format!("{} deadlock", live());
    let output = judged(2, &stuck, &["--no-leaks"]);
    assert_eq!(output.code(), 7, "{output:?}");
    assert!(
        output.stderr.contains("FAIL  --no-leaks: 2 goroutines are leaked, 2 of them deadlocked ("),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("main.transfer"), "{}", output.stderr);
    let output = judged(2, &stuck, &["--no-leaks", "--allow", "main\\.transfer"]);
    assert_eq!((output.code(), output.stderr.contains("1 rule passed in ")), (0, true), "{output:?}");
    let output =
        gospy(&["run", "--capture-every", "1m", "--no-leaks", "--", "sh", "-c", &format!("sleep 2 | {stuck}")]);
    assert_eq!(output.code(), 8, "{output:?}");
    assert!(output.stderr.contains("--no-leaks was not judged: no program lived until its heap"), "{}", output.stderr);
}
