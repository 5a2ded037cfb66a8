//! What `diff`, `check`, `capture`, `doctor` and `ps` print as JSON, against types that are declared
//! here once more and refuse what they do not know. `json_schema` does that for snapshots.

// What is declared here is compared, not used.
#![allow(dead_code)]

use crate::strict::{Known, present};
use crate::support::{gospy, live};
use serde::Deserialize;
use serde::de::DeserializeOwned;

strict! {
    Diff {
        schema_version: u32,
        gospy_version: String,
        by: String,
        a: Side,
        b: Side,
        relation: Relation,
        before: u64,
        after: u64,
        changes: Vec<Change>,
        #[serde(deserialize_with = "present")] stayed: Known<Vec<Stayed>>,
        notes: Vec<String>,
    }
    Side {
        name: String,
        #[serde(deserialize_with = "present")] pid: Known<i32>,
        exe: String,
        #[serde(deserialize_with = "present")] build_id: Known<String>,
        go_version: String,
        captured_at: String,
        #[serde(deserialize_with = "present")] died: Known<String>,
        complete: bool,
        total: u64,
        listed: u64,
    }
    Relation {
        #[serde(deserialize_with = "present")] same_process: Known<bool>,
        #[serde(deserialize_with = "present")] same_build: Known<bool>,
        #[serde(deserialize_with = "present")] same_program: Known<bool>,
        elapsed_ns: i64,
    }
    Change {
        change: String,
        before: u64,
        after: u64,
        delta: i64,
        #[serde(deserialize_with = "present")] key: Known<String>,
        ids: Vec<u64>,
        #[serde(deserialize_with = "present")] waits: Known<Waits>,
        example: Example,
    }
    Stayed { count: u64, ids: Vec<u64>, #[serde(deserialize_with = "present")] waits: Known<Waits>, example: Example, }
    Waits { shortest_ns: u64, longest_ns: u64, known: u64, watched: u64, }
    Example {
        id: u64,
        state: String,
        #[serde(deserialize_with = "present")] wait_reason: Known<String>,
        #[serde(deserialize_with = "present")] current: Known<Line>,
        #[serde(deserialize_with = "present")] place: Known<UserPlace>,
        #[serde(deserialize_with = "present")] start: Known<Line>,
        #[serde(deserialize_with = "present")] creator: Known<Line>,
        #[serde(deserialize_with = "present")] frames: Known<Vec<StackLine>>,
    }
    UserPlace { function: String, #[serde(deserialize_with = "present")] file: Known<String>, #[serde(deserialize_with = "present")] line: Known<u32>, #[serde(deserialize_with = "present")] callee: Known<String>, #[serde(deserialize_with = "present")] operation: Known<String>, started_in: bool, }
    Line { function: String, #[serde(deserialize_with = "present")] file: Known<String>, #[serde(deserialize_with = "present")] line: Known<u32>, }
    StackLine { function: String, #[serde(deserialize_with = "present")] file: Known<String>, #[serde(deserialize_with = "present")] line: Known<u32>, hidden: bool, }

    Check {
        schema_version: u32,
        gospy_version: String,
        passed: bool,
        outcome: String,
        #[serde(deserialize_with = "present")] error: Known<String>,
        #[serde(deserialize_with = "present")] target: Known<Side>,
        #[serde(deserialize_with = "present")] baseline: Known<Side>,
        samples: u64,
        watched_ns: u64,
        rules: Vec<Rule>,
        notes: Vec<String>,
    }
    Rule {
        name: String,
        rule: String,
        passed: bool,
        outcome: String,
        #[serde(deserialize_with = "present")] not_judged: Known<String>,
        message: String,
        measured: f64,
        allowed: f64,
        excess: f64,
        #[serde(deserialize_with = "present")] detectable: Known<f64>,
        #[serde(deserialize_with = "present")] grade: Known<String>,
        offenders: Vec<Offender>,
    }
    Offender {
        count: u64,
        #[serde(deserialize_with = "present")] before: Known<u64>,
        #[serde(deserialize_with = "present")] waits: Known<Waits>,
        #[serde(deserialize_with = "present")] rate: Known<Rate>,
        #[serde(deserialize_with = "present")] finding: Known<String>,
        ids: Vec<u64>,
        #[serde(deserialize_with = "present")] example: Known<Example>,
        #[serde(deserialize_with = "present")] heap: Known<HeapOffender>,
    }
    HeapOffender {
        kind: String,
        #[serde(deserialize_with = "present")] place: Known<UserPlace>,
        #[serde(deserialize_with = "present")] object_bytes: Known<u64>,
    }
    Rate { per_second: f64, least_per_second: f64, most_per_second: f64, span_seconds: f64, }

    Captures { schema_version: u32, gospy_version: String, complete: bool, captures: Vec<Captured>, }
    Captured { path: String, bytes: u64, captured_at: String, goroutines: u64, complete: bool, }

    Doctor {
        schema_version: u32,
        gospy_version: String,
        kernel: String,
        machine: String,
        #[serde(deserialize_with = "present")] pid: Known<i32>,
        #[serde(deserialize_with = "present")] file: Known<String>,
        access: Vec<Access>,
        serve: Vec<Access>,
        #[serde(deserialize_with = "present")] refusal: Known<Refusal>,
        #[serde(deserialize_with = "present")] program: Known<Program>,
        facts: Vec<Fact>,
        #[serde(deserialize_with = "present")] reading: Known<Reading>,
        warnings: Vec<Oddity>,
        #[serde(deserialize_with = "present")] problem: Known<String>,
    }
    Access { name: String, #[serde(deserialize_with = "present")] passed: Known<bool>, value: String, }
    Refusal { reason: String, remedy: String, }
    Program {
        exe: String,
        #[serde(deserialize_with = "present")] library: Known<String>,
        #[serde(deserialize_with = "present")] go_version: Known<String>,
        arch: String,
        #[serde(deserialize_with = "present")] build_id: Known<String>,
        #[serde(deserialize_with = "present")] module: Known<String>,
        settings: Vec<String>,
        position_independent: bool,
        load_bias: String,
        symtab: bool,
        dwarf: bool,
        pclntab: String,
        #[serde(deserialize_with = "present")] symbol_file: Known<String>,
    }
    Fact { name: String, source: String, cross_checks: Vec<String>, }
    Reading {
        backend: String,
        duration_ns: u64,
        syscalls: u64,
        bytes: u64,
        validated: u64,
        moving: u64,
        unreadable: u64,
        complete: bool,
    }
    Oddity { code: String, message: String, count: u64, }

    Processes { schema_version: u32, gospy_version: String, processes: Vec<Process>, hidden: u64, }
    Process {
        pid: i32,
        name: String,
        #[serde(deserialize_with = "present")] uid: Known<u32>,
        #[serde(deserialize_with = "present")] user: Known<String>,
        #[serde(deserialize_with = "present")] go_version: Known<String>,
        #[serde(deserialize_with = "present")] module: Known<String>,
        #[serde(deserialize_with = "present")] version: Known<String>,
        stripped: bool,
        #[serde(deserialize_with = "present")] container: Known<String>,
        #[serde(deserialize_with = "present")] pod: Known<String>,
        #[serde(deserialize_with = "present")] namespace: Known<String>,
        #[serde(deserialize_with = "present")] pod_uid: Known<String>,
        #[serde(deserialize_with = "present")] hostname: Known<String>,
        threads: u64,
        #[serde(deserialize_with = "present")] goroutines: Known<u64>,
        #[serde(deserialize_with = "present")] unreadable: Known<String>,
        #[serde(deserialize_with = "present")] exe: Known<String>,
        exe_deleted: bool,
        cmdline: Vec<String>,
    }
}

/// What a run prints, whatever its status.
fn printed<T: DeserializeOwned>(code: i32, args: &[&str]) -> T {
    let output = gospy(args);
    assert_eq!(output.code(), code, "{args:?}: {output:?}");
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error} in {}", output.stdout))
}

#[test]
fn diff_check_and_capture_have_exactly_these_keys() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (before, places, first) = (path("before.json"), path("places.json"), path("a.capture"));
    let leak = live(&["leak", "-rate", "100"]);
    let states = live(&["states", "2"]);
    let (leaking, stuck) = (leak.pid().to_string(), states.pid().to_string());
    std::fs::write(&before, gospy(&["stack", "--pid", &leaking, "--json"]).ok()).unwrap();
    std::fs::write(&places, gospy(&["summary", "--pid", &stuck, "--json"]).ok()).unwrap();
    let captures: Captures = printed(0, &["capture", "--pid", &leaking, "-o", &first, "--json"]);
    assert_eq!((captures.schema_version, captures.captures.len()), (1, 1));

    let diff: Diff = printed(0, &["diff", &before, "--pid", &leaking, "--json"]);
    assert_eq!((diff.schema_version, diff.relation.same_process), (1, Some(true)));
    assert!(diff.stayed.is_some_and(|stayed| !stayed.is_empty()));
    assert!(diff.changes.iter().any(|change| change.delta > 0 && change.example.frames.is_some()));
    let diff: Diff = printed(0, &["diff", &first, &places, "--by", "reason", "--json"]);
    assert!(diff.changes.iter().any(|change| change.key.is_some()) && !diff.notes.is_empty());

    let watched = ["check", "--pid", &leaking, "--watch", "1s", "--baseline", &before, "--max-growth", "1", "--json"];
    let check: Check = printed(7, &watched);
    assert_eq!((check.schema_version, check.passed, check.samples), (1, false, 11));
    let offenders = || check.rules.iter().flat_map(|rule| &rule.offenders);
    assert!(offenders().any(|offender| offender.rate.is_some()));
    assert!(offenders().any(|offender| offender.before.is_some()) && check.baseline.is_some());
    let check: Check =
        printed(7, &["check", "--pid", &stuck, "--no-findings", "--max-group", "100", "--max-wait", "0", "--json"]);
    assert!(check.rules[2].offenders.iter().all(|offender| offender.finding.is_some()));
    assert!(check.rules[0].passed && check.rules[0].offenders.is_empty());
    let check: Check = printed(7, &["check", "--pid", &stuck, "--no-leaks", "--max-group", "100", "--json"]);
    assert!(check.rules[0].grade.is_none() && check.rules[1].grade.is_some());
    let check: Check = printed(8, &["check", "--pid", &stuck, "--watch", "1s", "--json"]);
    assert!(check.rules[0].not_judged.is_some() && check.target.is_some() && check.error.is_none());
    let check: Check = printed(3, &["check", "--pid", "4194305", "--max-group", "1", "--json"]);
    assert!(check.target.is_none() && check.error.is_some());
}

#[test]
fn doctor_and_ps_have_exactly_these_keys() {
    let running = live(&["idle"]);
    let pid = running.pid().to_string();
    let here: Doctor = printed(0, &["doctor", "--json"]);
    assert!(here.schema_version == 1 && here.program.is_none() && !here.access.is_empty() && !here.serve.is_empty());
    let live: Doctor = printed(0, &["doctor", "--pid", &pid, "--json"]);
    assert!(live.program.is_some_and(|program| program.load_bias.starts_with("0x")));
    assert!(live.reading.is_some_and(|reading| reading.complete) && !live.facts.is_empty());
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    let file: Doctor = printed(0, &["doctor", "--from", capture, "--json"]);
    assert!(file.file.is_some() && file.pid.is_none());
    let own = std::process::id().to_string();
    let refused: Doctor = printed(5, &["doctor", "--pid", &own, "--json"]);
    assert!(refused.problem.is_some() && refused.reading.is_none());

    let ps: Processes = printed(0, &["ps", "--json"]);
    let one = ps.processes.iter().find(|process| process.pid == running.pid()).unwrap();
    assert!(ps.schema_version == 1 && one.goroutines.is_some() && one.unreadable.is_none());
}
