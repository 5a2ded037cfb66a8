//! `gospy waits` and `gospy why` on a program that comes with the sources.

use crate::support::{gospy, gospy_with, live, until};
use serde_json::Value;

fn json(arguments: &[&str]) -> Value {
    gospy(&[arguments, &["--json"]].concat()).json()
}

#[test]
fn a_deadlock_is_likely_and_each_step_has_its_evidence() {
    let program = live(&["deadlock"]);
    let pid = program.pid().to_string();
    // Both wait at last.
    let why = until("the deadlock", || {
        let why = json(&["why", &pid]);
        (why["likely"][0]["code"] == "likely_deadlock").then_some(why)
    });
    assert_eq!((&why["certain"], &why["chain"]), (&Value::Array(Vec::new()), &Value::Null));
    let ids: Vec<u64> =
        why["likely"][0]["goroutine_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    let [first, second] = ids[..] else { panic!("{ids:?}") };
    let text = gospy(&["why", &pid]).ok();
    assert!(
        text.contains(&format!("goroutines {first} and {second} wait for locks that likely are held by each other"))
    );

    let chain = json(&["why", &pid, "--goid", &first.to_string()]);
    let chain = &chain["chain"];
    assert_eq!((&chain["end"], &chain["cycle_goroutine_id"]), (&"cycle".into(), &first.into()));
    let step = &chain["steps"][1];
    assert_eq!((&step["goroutine_id"], &step["holds"]["evidence"]), (&second.into(), &"stack".into()));
    assert_eq!(step["holds"]["function"], "main.transfer");
    let text = gospy(&["why", &pid, "--goid", &first.to_string()]).ok();
    assert!(text.contains("the lock's address is in the frame of main.transfer"), "{text}");
    assert!(text.ends_with(&format!("likely held by goroutine {first} again: a deadlock, if so\n")), "{text}");

    // One each waits for two locks, and each lock names the other's goroutine.
    let waits = json(&["waits", &pid, "--filter", "kind=mutex"]);
    let rows = waits["waits"].as_array().unwrap();
    assert_eq!((rows.len(), &waits["waiting"]), (2, &2.into()));
    for row in rows {
        assert_eq!(
            (&row["kind"], &row["waiting"], &row["object"]["locked"]),
            (&"mutex".into(), &1.into(), &true.into())
        );
        let holder = row["holders"][0]["goroutine_id"].as_u64().unwrap();
        assert_ne!(row["goroutine_ids"][0].as_u64().unwrap(), holder);
        assert!(ids.contains(&holder) && row["holders"][0]["chain_end"] == "cycle");
    }
    let table = gospy(&["waits", &pid]).ok();
    assert!(table.contains(rows[0]["address"].as_str().unwrap()), "{table}");
}

#[test]
fn graphs_are_files_and_errors_are_said() {
    let program = live(&["states", "1"]);
    let pid = program.pid().to_string();
    let directory = tempfile::tempdir().unwrap();
    for (ending, begins) in [("dot", "digraph"), ("mmd", "flowchart"), ("json", "{"), ("svg", "<svg")] {
        let file = directory.path().join(format!("waits.{ending}"));
        gospy(&["waits", &pid, "--graph", file.to_str().unwrap()]).ok();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with(begins) && text.contains("nil channel"), "{text}");
    }
    let refused = gospy(&["waits", &pid, "--graph", "waits.png"]);
    assert_eq!(refused.code(), 2);
    assert!(refused.stderr.contains(".dot, .svg, .mmd or .json"), "{}", refused.stderr);
    let missing = gospy(&["why", &pid, "--goid", "999999"]);
    assert_eq!(missing.code(), 1);
    assert!(missing.stderr.contains("there is no goroutine 999999"), "{}", missing.stderr);
}

#[test]
fn a_program_that_is_healthy_gets_one_calm_line() {
    let program = live(&["idle"]);
    let text = gospy(&["why", &program.pid().to_string()]).ok();
    assert!(text.starts_with("nothing wrong found: ") && text.lines().count() == 2, "{text}");
}

#[test]
fn what_a_file_does_not_hold_is_unknown() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/parked.gospy");
    let waits = json(&["waits", "--from", file]);
    let unknown = waits["unknown"].as_array().unwrap();
    let channels = unknown.iter().find(|row| row["kind"] == "channel").unwrap();
    assert_eq!((&channels["waiting"], &channels["address"]), (&1_250.into(), &Value::Null));
    assert_eq!((&waits["waits"][0]["forever"], &waits["waits"][0]["waiting"]), (&true.into(), &625.into()));
}

/// Of one of each usual deadlock: the text was looked at, and is compared. `fixtures/record` makes the capture.
#[test]
fn the_words_for_deadlocks_are_those_that_were_looked_at() {
    let file = "fixtures/captures/deadlocks-1.26.6-amd64.capture";
    let from = |arguments: &[&str]| {
        gospy_with(&[arguments, &["--from", file]].concat(), |command| {
            command.current_dir(env!("CARGO_MANIFEST_DIR"));
        })
    };
    let mut text = from(&["why"]).ok();
    let list = from(&["stack", "--json"]).json();
    for goroutine in list["goroutines"]["list"].as_array().unwrap() {
        if goroutine["system"] == false {
            text.push_str(&format!("\n{}", from(&["why", "--goid", &goroutine["id"].to_string()]).ok()));
        }
    }
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/golden/deadlocks.txt");
    if std::env::var_os("GOSPY_BLESS").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let want = std::fs::read_to_string(&golden).unwrap();
    assert_eq!(text, want, "it differs; look at it, then run again with GOSPY_BLESS=1");
}

/// What is likely without the heap is certain with it, and said once.
#[test]
fn the_heap_proves_a_deadlock() {
    let program = live(&["deadlock"]);
    let pid = program.pid().to_string();
    let likely = json(&["why", &pid]);
    assert_eq!((&likely["likely"][0]["code"], &likely["leaks_grade"]), (&"likely_deadlock".into(), &Value::Null));
    let proven = json(&["why", &pid, "--leaks", "--freeze=all"]);
    assert_eq!((&proven["leaks_grade"], &proven["likely"]), (&"certain".into(), &Value::Array(Vec::new())));
    assert_eq!((proven["certain"].as_array().unwrap().len(), &proven["certain"][0]["code"]), (1, &"deadlock".into()));
    let ids = |of: &Value| {
        let mut ids: Vec<u64> = of["goroutine_ids"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&proven["certain"][0]), ids(&likely["likely"][0]));
    let text = gospy(&["why", &pid, "--leaks", "--freeze=all"]).ok();
    assert!(text.contains("! deadlock: goroutines ") && !text.contains("Likely"), "{text}");
    let healthy = live(&["idle"]);
    let text = gospy(&["why", &healthy.pid().to_string(), "--leaks"]).ok();
    assert!(text.starts_with("nothing wrong found: ") && text.contains(", none leaked, "), "{text}");
    let usage = gospy(&["why", &pid, "--leaks", "--freeze"]);
    assert_eq!(usage.code(), 2);
    assert!(usage.stderr.contains("--freeze=all"), "{}", usage.stderr);
}
