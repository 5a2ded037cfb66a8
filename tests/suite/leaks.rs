//! `gospy leaks` on a program that comes with the sources: what it says, and exactly which keys its JSON has.

// What is declared here is compared, not used.
#![allow(dead_code)]

use crate::strict::{Known, present};
use crate::support::{gospy, live};
use serde::Deserialize;

strict! {
    Document {
        schema_version: u32,
        gospy_version: String,
        captured_at: String,
        pid: i32,
        exe: String,
        go_version: String,
        leaks: Leaks,
    }
    Leaks {
        grade: String,
        proof: String,
        #[serde(deserialize_with = "present")] stopped_ns: Known<u64>,
        total: u64,
        goroutines: u64,
        heap_bytes: u64,
        #[serde(deserialize_with = "present")] shared_heap_bytes: Known<u64>,
        stack_bytes: u64,
        passes: u32,
        groups: Vec<Group>,
        #[serde(deserialize_with = "present")] deadlocks: Known<Vec<Deadlock>>,
    }
    Deadlock { goroutines: Vec<u64>, }
    Group {
        count: u64,
        #[serde(deserialize_with = "present")] place: Known<Place>,
        #[serde(deserialize_with = "present")] creator: Known<Place>,
        waiting_on: WaitingOn,
        #[serde(deserialize_with = "present")] wait_shortest_ns: Known<u64>,
        #[serde(deserialize_with = "present")] wait_longest_ns: Known<u64>,
        stack_bytes: u64,
        #[serde(deserialize_with = "present")] heap_bytes: Known<u64>,
        goroutines: Vec<u64>,
    }
    Place {
        function: String,
        #[serde(deserialize_with = "present")] file: Known<String>,
        #[serde(deserialize_with = "present")] line: Known<u32>,
        #[serde(deserialize_with = "present")] callee: Known<String>,
        #[serde(deserialize_with = "present")] operation: Known<String>,
        started_in: bool,
    }
    WaitingOn { #[serde(deserialize_with = "present")] wait_reason: Known<String>, addresses: Vec<String>, }
}

fn leaks(pid: i32, more: &[&str]) -> Leaks {
    let pid = pid.to_string();
    let output = gospy(&[&["leaks", "--pid", &pid, "--json"], more].concat()).ok();
    let document: Document = serde_json::from_str(&output).unwrap();
    assert!(document.schema_version == 1 && document.go_version == "go1.26.6");
    document.leaks
}

#[test]
fn leaks_have_exactly_these_keys_and_are_certain_when_nothing_moves() {
    let running = live(&["deadlock"]);
    let stopped = leaks(running.pid(), &["--freeze=all"]);
    assert_eq!((stopped.grade.as_str(), stopped.proof.as_str()), ("certain", "frozen"));
    assert!(stopped.stopped_ns.is_some_and(|ns| ns > 0) && stopped.heap_bytes > 0);
    let of = |leaks: &Leaks| {
        let mut ids: Vec<u64> = leaks.groups.iter().flat_map(|group| group.goroutines.clone()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(of(&stopped).len() as u64, stopped.total);
    // Two wait for each other's lock, and nobody else has these.
    assert_eq!(stopped.total, 2, "{stopped:?}");
    for group in &stopped.groups {
        assert_eq!(group.waiting_on.wait_reason.as_deref(), Some("sync.Mutex.Lock"));
        assert!(group.place.is_some() && group.creator.is_some() && group.waiting_on.addresses[0].starts_with("0x"));
    }
    // Each is the only one that could wake the other, and keeps little alone.
    let deadlocks = stopped.deadlocks.as_ref().unwrap();
    assert_eq!((deadlocks.len(), &deadlocks[0].goroutines), (1, &of(&stopped)));
    let alone: u64 = stopped.groups.iter().map(|group| group.heap_bytes.unwrap()).sum();
    assert_eq!(alone + stopped.shared_heap_bytes.unwrap(), stopped.heap_bytes);
    // The program sleeps: without a stop it is as certain, or found twice.
    let quiet = leaks(running.pid(), &[]);
    assert_eq!(of(&quiet), of(&stopped));
    assert!(["certain", "confirmed"].contains(&quiet.grade.as_str()) && quiet.stopped_ns.is_none());
    let text = gospy(&["leaks", "--pid", &running.pid().to_string(), "--freeze=all", "--quiet"]).ok();
    assert!(text.starts_with("2 goroutines of ") && text.contains("certain: the program was stopped"), "{text}");
    let [first, second] = of(&stopped)[..] else { unreachable!() };
    let line = format!("\nDeadlock: goroutines {first} and {second} wait for each other; nothing else can wake them\n");
    assert!(text.contains(&line) && text.contains(&format!("\n    {first} waits to lock Mutex 0x")), "{text}");
    assert!(text.contains("    keeping ") && text.contains(" of stacks and "), "{text}");
}

#[test]
fn a_healthy_program_has_none_and_a_capture_has_no_heap() {
    let running = live(&["idle"]);
    let text = gospy(&["leaks", "--pid", &running.pid().to_string()]).ok();
    assert!(text.starts_with("No leaked goroutines among "), "{text}");
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    let output = gospy(&["leaks", "--from", capture]);
    assert!(output.stderr.contains("a capture holds goroutines and not the heap"), "{}", output.stderr);
    let output = gospy(&["leaks", "--pid", &running.pid().to_string(), "--freeze"]);
    assert!(output.stderr.contains("--freeze=all"), "{}", output.stderr);
}
