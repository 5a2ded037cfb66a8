//! Findings in programs that are in trouble, and in others where nothing is.

use crate::support::core_dump::{killed_for_core, with_core_limit};
use crate::support::real::{PROGRAMS, Real};
use crate::support::{Fixture, Mode, Running, VERSIONS, gospy};
use gospy::analysis::Index;
use gospy::analysis::findings::of_snapshot;
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::model::Snapshot;
use gospy::process::live::LiveTarget;
use serde_json::Value;

/// Codes and counts of a summary.
fn findings(json: &Value) -> Vec<(String, u64)> {
    let all = json["findings"].as_array().unwrap_or_else(|| panic!("{json}"));
    all.iter().map(|one| (one["code"].as_str().unwrap().to_owned(), one["count"].as_u64().unwrap())).collect()
}

fn summary(running: &Running) -> Value {
    gospy(&["summary", "--json", "--pid", &running.pid().to_string()]).json()
}

#[test]
fn who_can_never_go_on() {
    for version in VERSIONS {
        let mut running = Fixture::start("fx", version, Mode::Sw, &["states", "3"]);
        let json = summary(&running);
        let want = [("nil_channel".to_owned(), 6), ("empty_select".to_owned(), 3)];
        assert_eq!(findings(&json), want, "{version}");
        // Those that the program itself has registered so, and no others.
        let truth = running.ask("truth");
        let named = |kinds: &[&str]| -> Vec<u64> {
            let of = |kind: &&str| truth["kinds"][*kind].as_array().unwrap_or_else(|| panic!("{truth}")).clone();
            let mut ids: Vec<u64> = kinds.iter().flat_map(of).map(|id| id.as_u64().unwrap()).collect();
            ids.sort_unstable();
            ids
        };
        let ids = |at: usize| -> Vec<u64> {
            json["findings"][at]["goroutine_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
        };
        assert_eq!(ids(0), named(&["chan receive nil", "chan send nil"]), "{version}");
        assert_eq!(ids(1), named(&["select no cases"]), "{version}");
        if version == "1.26.6" {
            let text = gospy(&["summary", "--pid", &running.pid().to_string()]).ok();
            assert!(
                text.contains("\nFindings\n  ! nil_channel: 6 goroutines are blocked forever on nil channels"),
                "{text}"
            );
        }
    }
}

#[test]
fn nothing_is_wrong_with_healthy_programs() {
    for version in ["1.19", "1.26.6"] {
        for mode in [&["healthy"][..], &["idle"], &["deadlock"], &["churn", "-goroutines", "200"]] {
            let running = Fixture::start("fx", version, Mode::Sw, mode);
            assert_eq!(findings(&summary(&running)), [], "{version} {mode:?}");
            let pid = running.pid().to_string();
            let text = gospy(&["summary", "--pid", &pid]).ok();
            assert!(!text.contains("Findings") && !text.contains("1 finding: "), "{version} {mode:?}: {text}");
            gospy(&["check", "--pid", &pid, "--no-findings"]).ok();
        }
    }
}

#[test]
fn nothing_is_wrong_with_released_programs() {
    for (name, _) in PROGRAMS {
        let real = Real::start(name);
        let json = gospy(&["summary", "--json", "--pid", &real.running.pid().to_string()]).json();
        assert_eq!(findings(&json), [], "{name}");
        assert!(json["goroutines"]["user"].as_u64().unwrap() > 0, "{name}");
    }
}

/// The program as it would be found some minutes later, if nothing happened until then.
fn minutes_later(running: &Running) -> Snapshot {
    let target = Box::new(LiveTarget::open(running.pid()).unwrap());
    let mut session = Session::open(target, &OpenOptions::default()).unwrap();
    let mut snapshot = session.capture(&CaptureOptions { stacks: true, ..CaptureOptions::default() }).unwrap();
    assert!(of_snapshot(&Index::new(&snapshot)).is_empty());
    snapshot.monotonic_ns += 300_000_000_000;
    snapshot
}

fn named(snapshot: &Snapshot) -> Vec<(&'static str, Vec<&str>)> {
    let index = Index::new(snapshot);
    let start = |at: usize| index.function(snapshot.goroutines[at].start);
    let found = of_snapshot(&index);
    found.iter().map(|f| (f.finding.code(), f.positions.iter().map(|&at| start(at)).collect())).collect()
}

#[test]
fn locks_that_nobody_lets_go() {
    for version in ["1.21.13", "1.26.6", "1.27.3"] {
        let mut running = Fixture::start("fx", version, Mode::Sw, &["deadlock"]);
        // The second collection that finds them waiting stamps them.
        for _ in 0..3 {
            running.ask("gc");
        }
        let snapshot = minutes_later(&running);
        let [(code, starts)] = &named(&snapshot)[..] else { panic!("{version}: {:?}", named(&snapshot)) };
        assert_eq!(*code, "long_lock_wait", "{version}");
        assert_eq!(starts, &["main.runDeadlock.func1", "main.runDeadlock.func2"], "{version}");
    }
}

#[test]
fn a_finalizer_that_blocks() {
    for (version, start) in [("1.21.13", "runtime.runfinq"), ("1.26.6", "runtime.runFinalizers")] {
        let running = Fixture::start("trouble", version, Mode::Sw, &["finalizer"]);
        assert_eq!(named(&minutes_later(&running)), [("blocked_finalizer", vec![start])], "{version}");
    }
}

#[test]
fn who_ends_the_program() {
    for version in ["1.19", "1.23.9", "1.26.6"] {
        for (how, function) in [("panic", "main.panicking"), ("fatal", "main.unlocking")] {
            let dir = tempfile::tempdir().unwrap();
            let mut command = with_core_limit(&Fixture::build("trouble", version, Mode::Sw), dir.path());
            command.arg(how).env("GOTRACEBACK", "crash");
            let mut running = Running::spawn(command);
            running.wait_ready();
            let (core, _) = killed_for_core(running, dir.path());
            let core = core.to_str().unwrap();
            let json = gospy(&["summary", "--json", "--from", core]).json();
            // Of the goroutine to blame, `fatal_error` would say the same once more.
            assert_eq!(findings(&json), [("died".to_owned(), 1)], "{version} {how}");
            let output = gospy(&["check", "--from", core, "--no-findings"]);
            assert_eq!(output.code(), 7, "{output:?}");
            assert!(output.stdout.contains(&format!("\n    {function}(...)\n")), "{}", output.stdout);
        }
        // It may still be recovered: that is another matter.
        let running = Fixture::start("trouble", version, Mode::Sw, &["recovering"]);
        assert_eq!(findings(&summary(&running)), [("panicking".to_owned(), 1)], "{version}");
    }
}
