//! The program itself: statuses, streams, and a first look at a live program.

use std::process::Command;

use crate::support::{gospy, gospy_with, live};

#[test]
fn what_is_wrong_is_told_once_with_its_status() {
    let own = std::process::id().to_string();
    for (args, code, told) in [
        (vec![], 2, "Usage: gospy"),
        (vec!["summary"], 2, "--pid <PID>"),
        (vec!["summary", "--pid", "x"], 2, "invalid value 'x'"),
        (vec!["summary", "--pid", "4194305"], 3, "there is no process 4194305"),
        (vec!["stack", "--pid", own.as_str()], 5, "is not a Go program"),
        (vec!["doctor", "--pid", "4194305"], 3, "there is no process 4194305"),
        (vec!["summary", "--pid", own.as_str(), "--filter", "age>"], 2, "a value is missing after `>`"),
    ] {
        let output = gospy(&args);
        assert_eq!(output.code(), code, "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains(told), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
        assert!(!output.stderr.contains('\u{1b}'), "no colour where there is no terminal");
    }
}

#[test]
fn an_error_names_its_file_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("no-capture").display().to_string();
    for there in [false, true] {
        if there {
            std::fs::write(&file, "this is no capture").unwrap();
        }
        for args in [
            vec!["summary", "--from", &file],
            vec!["doctor", "--from", &file],
            vec!["check", "--from", &file, "--max-group", "1"],
        ] {
            let output = gospy(&args);
            assert_eq!(output.code(), 1, "{output:?}");
            // Doctor's heading names it too.
            let said =
                if args[0] == "doctor" { output.stdout.split("Problem").nth(1).unwrap_or("") } else { &output.stderr };
            assert_eq!(said.matches(&file).count(), 1, "{args:?}: {output:?}");
        }
    }
}

#[test]
fn a_zombie_has_ended() {
    let mut child = Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let output = gospy(&["summary", "--pid", &child.id().to_string()]);
    assert_eq!(output.code(), 3, "{}", output.stderr);
    assert!(output.stderr.contains("is a zombie"), "{}", output.stderr);
    child.wait().unwrap();
}

#[test]
fn closed_pipes_full_disks_and_colour() {
    let gospy_binary = env!("CARGO_BIN_EXE_gospy");
    let shell = |script: &str| {
        let status = Command::new("bash").args(["-c", script, "bash", gospy_binary]).output().unwrap();
        (status.status.code(), String::from_utf8_lossy(&status.stderr).into_owned())
    };
    assert_eq!(shell("set -o pipefail; \"$1\" schema | head -n 1 >/dev/null"), (Some(0), String::new()));
    let (code, stderr) = shell("\"$1\" schema > /dev/full");
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "gospy: the answer could not be written: No space left on device (os error 28)\n");
    let forced = gospy_with(&["summary", "--pid", "4194305"], |command| {
        command.env("CLICOLOR_FORCE", "1");
    });
    assert!(forced.stderr.contains("\u{1b}["));
    let refused = gospy_with(&["summary", "--pid", "4194305"], |command| {
        command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    });
    assert!(!refused.stderr.contains('\u{1b}'));
}

#[test]
fn a_live_program_is_summarised() {
    let running = live(&["states", "2"]);
    let pid = running.pid().to_string();
    for width in ["80", "140"] {
        let output = gospy_with(&["summary", "-p", &pid], |command| {
            command.env("COLUMNS", width);
        });
        assert_eq!(output.stderr, "");
        let text = output.ok();
        for part in ["go1.26.6 linux/amd64", "GOMAXPROCS", "Scheduler", "Heap", "Garbage collector", "\nPs", "\nMs"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("goroutines validated") && text.contains("sync.Mutex.Lock"), "{text}");
    }
    let all = gospy(&["s", "-p", &pid, "--json"]).json();
    let total = all["goroutines"]["total"].as_u64().unwrap();
    assert_eq!(all["goroutines"]["list"].as_array().unwrap().len() as u64, total);
    let locks = gospy(&["s", "-p", &pid, "--json", "--filter", "reason=sync.Mutex.Lock and not system"]).json();
    assert_eq!(locks["goroutines"]["total"].as_u64(), Some(total));
    assert_eq!(locks["goroutines"]["matching"], all["goroutines"]["by_wait_reason"]["sync.Mutex.Lock"]);

    let ps = gospy(&["ps", "--json"]).json();
    let entry = ps["processes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["pid"] == serde_json::json!(pid.parse::<i64>().unwrap()))
        .unwrap()
        .clone();
    assert_eq!((&entry["goroutines"], &entry["stripped"]), (&total.into(), &true.into()));
    let doctor = gospy(&["doctor", "-p", &pid]).ok();
    assert!(doctor.contains("table of go1.26.6") && doctor.contains("runtime.allgs"), "{doctor}");
}
