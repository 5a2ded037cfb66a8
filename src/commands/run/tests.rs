//! Judging and reading, without processes to read.

use std::time::{Duration, SystemTime};

use clap::Parser;
use regex::Regex;

use super::judges::{Judges, Occasion, Outcome};
use super::{each, left_running};
use crate::analysis::check::{Allowance, Rule, Rules};
use crate::capture::SourceError;
use crate::commands::source::{Location, SourceFailure};
use crate::commands::streams::{ColourChoice, Environment, Streams};
use crate::commands::{Exit, Failure, Global};
use crate::heap::Grade;
use crate::heap::testing::made_up_leaks;
use crate::model::Snapshot;
use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
use crate::process::{TargetError, child};

const SECOND: u64 = 1_000_000_000;

#[derive(Parser)]
#[command(disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    global: Global,
}

/// A program with so many goroutines that has run for so long.
fn snapshot(pid: i32, goroutines: u64, uptime_ns: u64) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    for id in 1..=goroutines {
        let frames = vec![frame("main.work", "/app/m.go", 3)];
        builder.add(&GoroutineSpec { id, reason: Some("select"), frames, ..Default::default() });
    }
    let mut snapshot = builder.build();
    snapshot.target.pid = pid;
    snapshot.target.uptime_ns = Some(uptime_ns);
    snapshot.captured_at_unix_ns = 1_000_000 * SECOND + uptime_ns;
    snapshot.monotonic_ns = NOW_NS + uptime_ns;
    snapshot
}

/// What comes of it, and what is said.
fn told(judges: Judges<'_>, options: &[&str]) -> (Outcome, String) {
    let line = Line::parse_from([&["gospy"], options].concat());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut streams = Streams {
        out: &mut out,
        err: &mut err,
        input: &mut std::io::empty(),
        in_is_terminal: false,
        out_is_terminal: false,
        err_is_terminal: false,
        columns: None,
        environment: Environment::default(),
        choice: ColourChoice::Never,
    };
    let outcome = judges.tell(&mut streams, &line.global, SystemTime::now());
    (outcome, String::from_utf8(err).unwrap())
}

fn rules(rules: Vec<Rule>) -> Rules {
    Rules { rules, ..Rules::default() }
}

const HELD: Outcome = Outcome { failed: false, unjudged: false };
const UNJUDGED: Outcome = Outcome { failed: false, unjudged: true };

#[test]
fn growth_is_not_judged_by_a_helper_alone() {
    let rules = rules(vec![Rule::MaxGrowth(Allowance::Count(5))]);
    let judged = |lived_ns: u64| {
        let mut judges = Judges::new(&rules, Some(SECOND));
        for at in 1..3 {
            judges.look(snapshot(10, 3, at * SECOND), Occasion::Capture);
        }
        judges.look(snapshot(11, 3, SECOND / 2), Occasion::Start);
        judges.look(snapshot(11, 3, SECOND * 9 / 10), Occasion::Capture);
        judges.see([11, 12].into_iter(), SystemTime::UNIX_EPOCH + Duration::from_nanos(1_000_000 * SECOND + lived_ns));
        told(judges, &[])
    };
    let (outcome, text) = judged(SECOND * 3 / 2);
    assert_eq!(outcome, UNJUDGED, "{text}");
    assert!(text.contains("gospy: --max-growth was not judged for pid 11 ("), "{text}");
    assert!(text.contains("1 rule passed in 2 snapshots of pid 10 ("), "{text}");
    let (outcome, text) = judged(SECOND * 95 / 100);
    assert_eq!(outcome, HELD, "{text}");
    assert!(text.contains("gospy: pid 11 ("), "{text}");
    assert!(text.contains(") lived for less than --capture-every: it was captured once\n"), "{text}");
}

#[test]
fn a_missing_function_is_missing_once() {
    let pattern = |text: &str| Rule::RequireFunction(Regex::new(text).unwrap());
    let rules = rules(vec![pattern("main\\.nothing"), pattern("main\\.work"), Rule::MaxGroup(2)]);
    let mut judges = Judges::new(&rules, None);
    for pid in 10..20 {
        judges.look(snapshot(pid, 3, SECOND), Occasion::Capture);
    }
    let (outcome, text) = told(judges, &[]);
    assert!(outcome.failed);
    assert_eq!(text.matches("FAIL  --require-function").count(), 1, "{text}");
    assert_eq!(text.matches("FAIL  --max-group").count(), 10, "other rules are each program's own: {text}");
}

/// The program has never collected, so only watching shows how long goroutines wait; but not across the end of
/// the process, after which another one may have its pid.
#[test]
fn waits_are_measured_from_capture_to_capture() {
    let rules = rules(vec![Rule::MaxWait(5 * SECOND)]);
    let judged = |ends: bool| {
        let mut judges = Judges::new(&rules, None);
        for at in [1, 2, 3, 9, 10] {
            judges.look(snapshot(10, 3, at * SECOND), Occasion::Capture);
            if ends && at == 3 {
                judges.see(std::iter::empty(), SystemTime::now());
            }
        }
        told(judges, &[])
    };
    let (outcome, text) = judged(false);
    assert!(outcome.failed && text.contains("FAIL  --max-wait"), "{text}");
    let (outcome, text) = judged(true);
    assert!(!outcome.failed, "{text}");
}

#[test]
fn an_incomplete_reading_proves_nothing_when_strict() {
    let rules = rules(vec![Rule::MaxGoroutines(10)]);
    let judged = |options: &[&str]| {
        let mut judges = Judges::new(&rules, None);
        let mut incomplete = snapshot(10, 3, SECOND);
        incomplete.reading.consistency.moving = 1;
        judges.look(incomplete, Occasion::Capture);
        judges.look(snapshot(10, 3, 2 * SECOND), Occasion::Capture);
        told(judges, options)
    };
    assert_eq!(judged(&[]).0, HELD);
    let (outcome, text) = judged(&["--strict"]);
    assert_eq!(outcome, UNJUDGED);
    assert!(text.contains("gospy: a snapshot of pid 10 ("), "{text}");
}

#[test]
fn a_process_that_was_refused_is_named_beside_others_and_makes_the_outcome_unknown() {
    let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    let born = |pid: u32| (pid.cast_signed(), child::start_ticks(pid.cast_signed()).unwrap());
    let (own, refused) = (born(std::process::id()), born(child.id()));
    let ended = (refused.0, refused.1 - 1);
    let read = |refused: (i32, u64)| {
        each(&[refused, own], |wanted| match wanted.pid() {
            Some(pid) if pid == refused.0 => {
                let error = SourceError::from(TargetError::Unsupported("it is another user's".to_owned()));
                Err(SourceFailure::at(&Location::Process(pid), error))
            }
            pid => Ok(pid),
        })
    };
    let readings = read(refused);
    assert_eq!(readings.found, [Some(own.0)]);
    assert_eq!(readings.problems, [format!("pid {}: it is another user's", refused.0)]);
    // What ends while it is read fails in many ways.
    assert!(read(ended).problems.is_empty() && read(ended).why().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(read(refused).problems.is_empty());

    let rules = rules(vec![Rule::MaxGoroutines(10)]);
    let mut judges = Judges::new(&rules, None);
    judges.look(snapshot(10, 3, SECOND), Occasion::Capture);
    judges.miss();
    assert_eq!(told(judges, &[]).0, UNJUDGED);
}

#[test]
fn a_failure_says_that_the_command_runs_on() {
    let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    let failure = || Failure::new(Exit::Command(125), "no luck");
    let pid = child.id().cast_signed();
    assert_eq!(left_running(failure(), pid).message(), format!("no luck\nthe command runs on as pid {pid}"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(left_running(failure(), pid), failure());
}

/// The heap is read at captures only: a program that lives for longer and was never captured is not judged, a
/// short helper is no reason to doubt the others.
#[test]
fn leaks_are_not_judged_where_no_heap_was_read() {
    let rules = rules(vec![Rule::NoLeaks]);
    let none = made_up_leaks(Grade::Certain, &[], &[]);
    let judged = |lived_ns: u64| {
        let mut judges = Judges::new(&rules, Some(SECOND));
        judges.look(snapshot(10, 3, SECOND), Occasion::Capture);
        judges.look_for_leaks(10, Some((&snapshot(10, 3, SECOND), &none)));
        judges.look(snapshot(11, 3, SECOND / 2), Occasion::Start);
        judges.see([11].into_iter(), SystemTime::UNIX_EPOCH + Duration::from_nanos(1_000_000 * SECOND + lived_ns));
        told(judges, &[])
    };
    let (outcome, text) = judged(SECOND * 3 / 2);
    assert_eq!(outcome, UNJUDGED, "{text}");
    assert!(text.contains("gospy: --no-leaks was not judged for pid 11 ("), "{text}");
    assert!(text.contains("1 rule passed in 1 snapshot of pid 10 ("), "{text}");
    let (outcome, text) = judged(SECOND * 95 / 100);
    assert_eq!(outcome, HELD, "{text}");
    assert!(text.contains(") lived for less than --capture-every: leaks were not looked for\n"), "{text}");
    let mut judges = Judges::new(&rules, Some(SECOND));
    judges.look(snapshot(10, 3, SECOND), Occasion::Capture);
    judges.look_for_leaks(10, None);
    let (outcome, text) = told(judges, &[]);
    assert_eq!(outcome, UNJUDGED, "{text}");
    assert!(text.contains("NOT JUDGED  --no-leaks: its heap was not read"), "{text}");
    let leaks = made_up_leaks(Grade::Confirmed, &[vec![1, 2]], &[]);
    let mut judges = Judges::new(&rules, Some(SECOND));
    judges.look(snapshot(10, 3, SECOND), Occasion::Capture);
    judges.look_for_leaks(10, Some((&snapshot(10, 3, SECOND), &leaks)));
    let (outcome, text) = told(judges, &[]);
    assert!(
        outcome.failed && text.contains("FAIL  --no-leaks: 2 goroutines are leaked (confirmed: found twice"),
        "{text}"
    );
}
