//! `gospy diff` on files and live programs.

use std::path::Path;

use crate::support::live::other_build;
use crate::support::{gospy, gospy_with, live};
use serde_json::Value;

fn written(directory: &Path, name: &str, command: &str, pid: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, gospy(&[command, "--pid", pid, "--json"]).ok()).unwrap();
    path.display().to_string()
}

#[test]
fn a_leak_shows_between_two_readings() {
    let directory = tempfile::tempdir().unwrap();
    let running = live(&["leak", "-rate", "200"]);
    let pid = running.pid().to_string();
    let before = written(directory.path(), "before.json", "stack", &pid);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let after = written(directory.path(), "after.json", "stack", &pid);

    for second in [["--pid", pid.as_str()].as_slice(), &[after.as_str()]] {
        let json = gospy(&[&["diff", &before, "--json"], second].concat()).json();
        assert_eq!(json["relation"]["same_process"], true);
        assert!(json["relation"]["elapsed_ns"].as_i64().unwrap() > 400_000_000);
        let worst = json["changes"].as_array().unwrap().iter().max_by_key(|c| c["delta"].as_i64()).unwrap();
        assert!(worst["delta"].as_i64().unwrap() > 30, "{worst}");
        assert_eq!(worst["example"]["current"]["function"], "main.leakOne");
        assert_eq!(worst["example"]["creator"]["function"], "main.leaker");
        // Who was there before waits still.
        let stayed = json["stayed"].as_array().unwrap();
        let leaked = stayed.iter().find(|s| s["example"]["current"]["function"] == "main.leakOne").unwrap();
        assert_eq!(leaked["count"], worst["before"]);
    }
    for by in ["similar", "place", "start", "creator"] {
        let json = gospy(&["diff", &before, &after, "--by", by, "--json"]).json();
        let grown = json["changes"].as_array().unwrap().iter().any(|c| c["delta"].as_i64().unwrap() > 30);
        assert!(grown, "{by}: {json}");
    }
    let text = gospy_with(&["diff", &before, &after], |command| {
        command.env("COLUMNS", "80");
    })
    .ok();
    assert!(text.contains("Grown") && text.contains("main.leakOne(...)\n"), "{text}");
    assert!(text.contains("created by main.leaker\n"), "{text}");
    let markdown = gospy(&["diff", &before, &after, "--markdown"]).ok();
    assert!(markdown.starts_with("### Goroutines: ") && markdown.contains("`main.leakOne`"), "{markdown}");

    // The order of time is said when it is turned round.
    assert!(gospy(&["diff", &after, &before]).ok().contains("the second was taken before the first"));
}

#[test]
fn captures_are_read_as_what_they_are_of() {
    let directory = tempfile::tempdir().unwrap();
    let running = live(&["deadlock"]);
    let pid = running.pid().to_string();
    let capture = directory.path().join("a.capture").display().to_string();
    running.stop();
    gospy(&["capture", "--pid", &pid, "-o", &capture]).ok();
    let snapshot = written(directory.path(), "b.json", "stack", &pid);
    for second in [vec!["--pid", pid.as_str()], vec![snapshot.as_str()]] {
        let json = gospy(&[&["diff", &capture, "--json"], &second[..]].concat()).json();
        assert_eq!(json["relation"]["same_process"], true, "{json}");
        assert!(json["changes"].as_array().unwrap().iter().all(|change| change["delta"] == 0), "{json}");
        assert!(json["stayed"].as_array().unwrap().len() >= 3, "{json}");
    }
    let output = gospy(&["check", "--from", &capture, "--baseline", &snapshot, "--max-growth", "0"]);
    assert_eq!(output.code(), 0, "{output:?}");
    let output = gospy(&["check", "--from", &capture, "--forbid-function", r"^main\.transfer$"]);
    assert_eq!(output.code(), 7, "{output:?}");
}

#[test]
fn files_without_stacks_are_compared_by_place() {
    let directory = tempfile::tempdir().unwrap();
    let running = live(&["idle"]);
    let pid = running.pid().to_string();
    let places = written(directory.path(), "places.json", "summary", &pid);
    let output = gospy(&["diff", &places, "--pid", &pid, "--json"]);
    assert!(output.stderr.contains("there are no stacks to compare; places are compared"), "{}", output.stderr);
    assert_eq!(output.json()["by"], "place");
    let output = gospy(&["diff", &places, "--pid", &pid, "--by", "stack"]);
    assert_eq!(output.code(), 1);
    assert!(output.stderr.contains("places.json has no stacks"), "{}", output.stderr);
}

#[test]
fn other_programs_and_processes_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let one = live(&["idle"]);
    let file = written(directory.path(), "one.json", "stack", &one.pid().to_string());
    let again = live(&["idle"]);
    let text = gospy(&["diff", &file, "--pid", &again.pid().to_string()]).ok();
    assert!(text.contains("these are different processes: only groups are compared"), "{text}");
    let other = other_build(directory.path()).run(&["idle"]);
    let text = gospy(&["diff", &file, "--pid", &other.pid().to_string()]).ok();
    assert!(text.contains("different builds of the program"), "{text}");
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    let text = gospy(&["diff", &file, tiny]).ok();
    assert!(text.contains("these are different programs: "), "{text}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let newer = path("newer.json", r#"{"schema_version":7,"goroutines":{"list":[]}}"#);
    let empty = path("empty.json", "");
    let noise = path("noise", "\u{7f}not what it seems");
    let good = path("good.json", r#"{"schema_version":1,"goroutines":{"list":[]}}"#);
    let folder = directory.path().display().to_string();
    for (args, code, told) in [
        (vec!["diff"], 2, "<FILE|TARGET>"),
        (vec!["diff", &good], 2, "give a second file or running program"),
        (vec!["diff", &good, &good, "--pid", "1"], 2, "leave one out"),
        (vec!["diff", "-", "-"], 2, "standard input can be read only once"),
        (vec!["diff", &good, &good, "--by", "colour"], 2, "cannot group by `colour`"),
        (vec!["diff", &good, &good, "--json", "--markdown"], 2, "cannot be used with"),
        (vec!["diff", &good, "/nonexistent.json"], 1, "/nonexistent.json cannot be read: No such file"),
        (vec!["diff", &good, &folder], 1, "is a directory"),
        (vec!["diff", &newer, &good], 1, "newer.json cannot be read: it has schema_version 7"),
        (vec!["diff", &empty, &good], 1, "empty.json is empty"),
        (vec!["diff", &noise, &good], 1, "noise is not a file that gospy reads"),
        (vec!["diff", &good, "--pid", "4194305"], 3, "there is no process 4194305"),
        (vec!["--strict", "diff", &good, &good], 6, "the answer is incomplete"),
    ] {
        let output = gospy(&args);
        assert_eq!(output.code(), code, "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains(told), "{args:?}: {}", output.stderr);
    }
    let nothing: Value = gospy(&["diff", &good, &good, "--json"]).json();
    assert_eq!((&nothing["changes"], &nothing["stayed"]), (&Value::Array(vec![]), &Value::Null));
}
