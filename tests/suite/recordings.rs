//! Recordings of a running program: written as they go on, read by every command, played, and kept in a ring.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::CommandBuilder;
use serde_json::Value;

use crate::support::terminal::Terminal;
use crate::support::{gospy, live};

/// A recording in a directory of its own.
struct Recorded {
    directory: tempfile::TempDir,
}

impl Recorded {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

/// Some seconds of a program.
fn recorded() -> Recorded {
    let recorded = Recorded { directory: tempfile::tempdir().unwrap() };
    let program = live(&["states", "2"]);
    let pid = program.pid().to_string();
    let (file, timeline) = (recorded.text("some.gospyrec"), recorded.text("timeline.json"));
    let output = gospy(&["record", &pid, "-d", "3s", "--rate", "10", "-o", &file, "--timeline", &timeline]);
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert!(output.stderr.contains("samples in "), "{}", output.stderr);
    recorded
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&gospy(arguments).ok()).unwrap()
}

#[test]
fn every_command_reads_one_at_any_time() {
    let recorded = recorded();
    let file = recorded.text("some.gospyrec");
    let time = |at: &str| json(&["summary", "--from", &file, "--at", at, "--json"])["captured_at"].clone();
    let whole = json(&["summary", "--from", &file, "--json"]);
    let (first, last) = (time("+0s"), time("-0s"));
    assert!(whole["captured_at"] == last && first.as_str() < last.as_str(), "{first} {last}");
    assert!(time("+1s").as_str() > first.as_str() && time("+1s").as_str() < last.as_str());
    // The time that is shown finds what it was shown of.
    assert_eq!(time(first.as_str().unwrap()), first);
    assert_eq!(time("+99h"), last);
    let total = whole["goroutines"]["total"].as_u64().unwrap();
    assert!(total > 40, "{whole}");
    let stack = gospy(&["stack", "--from", &file, "--at", "+1s"]).ok();
    assert!(stack.contains("goroutine 1 [") && stack.contains("main.main("), "{stack}");
    let waits = gospy(&["waits", "--from", &file]).ok();
    assert!(waits.contains("Mutex 0x"), "{waits}");
    assert!(gospy(&["why", "--from", &file]).ok().contains("pid"));
    assert!(gospy(&["top", "--from", &file, "--once"]).ok().contains("COUNT▼"));
    let all = total.to_string();
    assert_eq!(gospy(&["check", "--from", &file, "--max-goroutines", &all]).code(), 0);
    assert_eq!(gospy(&["check", "--from", &file, "--max-goroutines", "5"]).code(), 7);
    let diff = gospy(&["diff", &format!("{file}@+0s"), &format!("{file}@-0s")]).ok();
    assert!(diff.contains("some.gospyrec@+0s") && diff.contains(" later"), "{diff}");
    // What needs memory says that there is none.
    let leaks = gospy(&["leaks", "--from", &file]);
    assert!(leaks.code() == 1 && leaks.stderr.contains("is a recording"), "{}", leaks.stderr);
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    let refused = gospy(&["summary", "--from", capture, "--at", "+1s"]);
    assert!(refused.stderr.contains("is one snapshot, not a recording"), "{}", refused.stderr);
    assert_eq!(gospy(&["summary", "--from", &file, "--at", "noon"]).code(), 2);
}

#[test]
fn report_renders_it_in_all_formats() {
    let recorded = recorded();
    let file = recorded.text("some.gospyrec");
    let to = |name: &str, more: &[&str]| {
        let path = recorded.text(name);
        let output = gospy(&[&["report", &file, "-o", &path], more].concat());
        assert_eq!(output.code(), 0, "{}", output.stderr);
        std::fs::read(&path).unwrap()
    };
    let folded = String::from_utf8(to("a.folded", &["--idle"])).unwrap();
    let sum =
        |text: &str| -> f64 { text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum() };
    assert!(folded.contains(";[select] "), "{folded}");
    assert!(to("a.svg", &[]).starts_with(b"<?xml") && to("a.pb.gz", &[]).starts_with(&[0x1f, 0x8b]));
    let speedscope: Value = serde_json::from_slice(&to("a.json", &[])).unwrap();
    assert!(!speedscope["profiles"].as_array().unwrap().is_empty());
    assert!(String::from_utf8(to("a.html", &[])).unwrap().contains("<template"));
    // All of it, whatever it is put together by, and a part of it.
    let by = |key| String::from_utf8(to("b.folded", &["--idle", "--group-by", key])).unwrap();
    let (objects, goroutines) = (by("object"), by("goroutine"));
    assert!(objects.lines().any(|line| line.starts_with("Mutex 0x")), "{objects}");
    assert!(goroutines.lines().any(|line| line.starts_with("goroutine 1;")), "{goroutines}");
    for text in [&objects, &goroutines] {
        // Each line is cut to whole microseconds.
        assert!((sum(text) - sum(&folded)).abs() < 1_000.0, "{} {}", sum(text), sum(&folded));
    }
    let part = String::from_utf8(to("c.folded", &["--idle", "--since", "+1s", "--until", "+2s"])).unwrap();
    assert!(sum(&part) < 0.6 * sum(&folded) && sum(&part) > 0.0, "{} of {}", sum(&part), sum(&folded));
    assert_eq!(
        gospy(&["report", &file, "-o", "-", "--format", "folded", "--since", "-0s", "--until", "+0s"]).code(),
        2
    );
    let refused = gospy(&["report", &recorded.text("a.folded"), "-o", &recorded.text("d.svg")]);
    assert!(refused.stderr.contains("is not a file that gospy reads"), "{}", refused.stderr);
}

/// The rules of the trace event format, as far as they are used, and that nothing is lost: in each state, the
/// slices are as long together as what was added up.
#[test]
fn a_timeline_has_the_same_times() {
    let recorded = recorded();
    let file = recorded.text("some.gospyrec");
    let folded = gospy(&["report", &file, "-o", "-", "--format", "folded", "--idle", "--group-by", "state"]).ok();
    let again = recorded.text("again.json");
    gospy(&["report", &file, "--timeline", &again]).ok();
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let (timeline, again) = (read(&recorded.path("timeline.json")), read(Path::new(&again)));
    assert_eq!(timeline["traceEvents"], again["traceEvents"]);
    assert_eq!(timeline["otherData"]["complete"], true);
    let events = timeline["traceEvents"].as_array().unwrap();
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    let (mut named, mut ends) = (std::collections::HashMap::new(), std::collections::HashMap::new());
    let mut spent: std::collections::HashMap<String, f64> = std::collections::HashMap::new();
    for event in events {
        let (pid, tid) = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
        match text(event, "ph").as_str() {
            "M" => {
                named.insert((text(event, "name"), pid, tid), event["args"].clone());
            }
            "X" => {
                let (ts, dur) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
                assert!(named.contains_key(&("thread_name".to_owned(), pid, tid)), "{event}");
                // One after the other on each line.
                let end = ends.entry((pid, tid)).or_insert(0.0);
                assert!(ts >= *end - 0.001 && dur >= 0.0, "{event} begins before {end}");
                *end = ts + dur;
                if pid > 2 {
                    *spent.entry(text(event, "name")).or_default() += dur;
                }
            }
            "C" => assert!(event["args"].is_object() && event["ts"].is_number(), "{event}"),
            other => panic!("{other}"),
        }
    }
    for name in ["goroutine 1", "GC", "Ps"] {
        assert!(named.values().any(|args| args["name"] == name), "{name}");
    }
    for state in ["select", "sync.Mutex.Lock", "chan receive"] {
        let lines = folded.lines().filter(|line| line.starts_with(&format!("{state};")));
        let all: f64 = lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum();
        assert!(all > 0.0, "{folded}");
        assert!((spent[state] - all).abs() < 0.001 * all + 1_000.0, "{state}: {} and {all} µs", spent[state]);
    }
}

/// `gospy record`, running.
struct Recorder(Child);

impl Recorder {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
        command.arg("record").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    /// Its status and what it said.
    fn end(self) -> (Option<i32>, String) {
        let output = self.0.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

/// Waits for something, for as long as that may take on a slow machine.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn samples(path: &Path) -> usize {
    let output = gospy(&["report", path.to_str().unwrap(), "-o", "-", "--format", "folded", "--idle"]);
    let words = output.stderr.split_once(" samples in ").map_or("0", |(before, _)| before);
    words.rsplit([' ', '\n']).next().unwrap().replace(',', "").parse().unwrap_or(0)
}

#[test]
fn a_killed_recorder_leaves_what_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("killed.gospyrec");
    let program = live(&["idle", "5"]);
    let pid = program.pid().to_string();
    let recorder = Recorder::start(&[&pid, "-d", "1h", "--rate", "20", "-o", path.to_str().unwrap()]);
    until("samples are written while it records", || path.exists() && samples(&path) > 5);
    recorder.signal(Signal::SIGKILL);
    recorder.end();
    assert!(samples(&path) > 5);
    let output = gospy(&["report", path.to_str().unwrap(), "-o", "-", "--format", "folded", "--idle"]);
    assert!(output.stderr.contains("ends before the recording did: it is cut off at byte"), "{}", output.stderr);
    let last = gospy(&["summary", "--from", path.to_str().unwrap(), "--strict"]);
    assert_eq!(last.code(), 6, "{}", last.stderr);
}

#[test]
fn a_ring_is_written_when_it_is_asked_for_and_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("ring.gospyrec"), directory.path().join("ring-2.gospyrec"));
    let program = live(&["idle", "5"]);
    let pid = program.pid().to_string();
    let recorder = Recorder::start(&[&pid, "--rate", "20", "--ring", "1m", "-o", first.to_str().unwrap()]);
    // There may be no sample yet, or the handler is not set: it is only asked once that is certain.
    let status = format!("/proc/{}/status", recorder.0.id());
    until("it handles SIGUSR1", || {
        let status = std::fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() & (1 << 9) != 0
    });
    assert!(!first.exists());
    recorder.signal(Signal::SIGUSR1);
    until("it is written", || first.exists());
    let json = json(&["summary", "--from", first.to_str().unwrap(), "--json"]);
    assert_eq!(json["target"]["pid"].as_u64().unwrap(), u64::try_from(program.pid()).unwrap());
    std::thread::sleep(Duration::from_millis(500));
    drop(program);
    let (status, said) = recorder.end();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("SIGUSR1: wrote ") && said.contains("the program ended after "), "{said}");
    assert!(samples(&second) > samples(&first), "{said}");
}

#[test]
fn a_ring_is_written_when_a_rule_fails() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring.gospyrec");
    let program = live(&["states", "2"]);
    let pid = program.pid().to_string();
    let with = |rules: &[&str], more: &[&str]| {
        let rules: Vec<&str> = rules.iter().flat_map(|rule| ["--when", rule]).collect();
        let start = ["record", &pid, "--rate", "20", "--ring", "1m", "-o", path.to_str().unwrap()];
        gospy(&[&start[..], &rules, more].concat())
    };
    let failed = with(&["max-goroutines=100000", "require-function=no.such.function"], &[]);
    assert_eq!(failed.code(), 7, "{}", failed.stderr);
    assert!(failed.stderr.contains("--require-function 'no.such.function': "), "{}", failed.stderr);
    let report = gospy(&["top", "--from", path.to_str().unwrap(), "--once"]);
    assert_eq!(report.code(), 0);
    std::fs::remove_file(&path).unwrap();
    // Rules that hold end nothing.
    let held = with(&["max-goroutines=100000", "max-group=100000"], &["-d", "1s"]);
    assert!(held.code() == 0 && held.stderr.contains("the recording was ended: wrote "), "{}", held.stderr);
    for wrong in ["max-goroutines", "max-wait=soon", "no-leaks", "max-growth=3", "allow=x"] {
        assert_eq!(with(&[wrong], &["-d", "1s"]).code(), 2, "{wrong}");
    }
    let refused = gospy(&["record", &pid, "--ring", "1m", "-o", "x.svg"]);
    assert!(refused.code() == 2 && refused.stderr.contains("ends in .gospyrec"), "{}", refused.stderr);
}

#[test]
fn what_a_recording_cannot_do_is_said_before_it_begins() {
    let program = live(&["idle", "1"]);
    let pid = program.pid().to_string();
    for (arguments, said) in [
        (&["-o", "x.gospyrec", "--filter", "state=waiting"][..], "give --filter"),
        (&["-o", "x.gospyrec", "--only", "waiting"], "give --filter"),
        (&["-o", "-", "--format", "gospyrec"], "to a file: name one"),
        (&["-o", "x.unknown"], "its ending says no format"),
        (&["--when", "no-findings", "-o", "x.gospyrec"], "--ring"),
    ] {
        let output = gospy(&[&["record", &pid, "-d", "1s"], arguments].concat());
        assert!(output.code() == 2 && output.stderr.contains(said), "{arguments:?}: {}", output.stderr);
    }
    let nothing = gospy(&["record", &pid, "-d", "1s"]);
    assert!(nothing.code() == 2 && nothing.stderr.contains("--output"), "{}", nothing.stderr);
}

#[test]
fn top_plays_one() {
    let recorded = recorded();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_gospy"));
    command.args(["top", "--from", &recorded.text("some.gospyrec"), "-i", "0.1"]);
    let mut top = Terminal::start(command);
    top.until_text("the recording ends here");
    top.press("(");
    top.until_text("· +0 s of ");
    top.until_text("PAUSED · space plays");
    // What is shown of where it is: the time from the beginning, and all of it.
    let at = |text: &str| {
        let (at, all) = text.split_once(" · +")?.1.split_once(" of ")?;
        Some((at.to_owned(), all.lines().next()?.trim().to_owned()))
    };
    top.press("]]]]");
    top.until("it goes on", |text| at(text).filter(|(at, _)| at != "0 s"));
    top.press(")");
    top.until("it is at its end", |text| at(text).filter(|(at, all)| at == all));
    top.press("{");
    top.until_text("· +0 s of ");
    top.press("q");
    assert!(top.end().success());
    top.is_restored();
}

/// Formats do not change unnoticed: this file was written when they were made.
#[test]
fn an_old_recording_is_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/states-v1.gospyrec");
    let first = json(&["summary", "--from", file, "--at", "+0s", "--json"]);
    let last = json(&["summary", "--from", file, "--json"]);
    assert_eq!((&first["target"]["go_version"], &last["complete"]), (&Value::from("go1.26.6"), &Value::from(true)));
    assert!(first["captured_at"].as_str() < last["captured_at"].as_str());
    let waits = gospy(&["waits", "--from", file]).ok();
    assert!(waits.contains("Mutex 0x") && waits.contains("nil channel"), "{waits}");
}
