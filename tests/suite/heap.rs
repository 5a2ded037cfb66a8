//! `gospy heap` and `gospy contention` on a program that comes with the sources, which holds nothing to read its
//! profiles with: what they say then, and exactly which keys the JSON has.

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
        heap: Heap,
    }
    Heap {
        #[serde(deserialize_with = "present")] alloc_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] objects: Known<u64>,
        #[serde(deserialize_with = "present")] live_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] not_swept_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] goal_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] gc_percent: Known<i32>,
        #[serde(deserialize_with = "present")] memory_limit_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] cgroup_limit_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] cgroup_used_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] in_use_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] unused_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] idle_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] released_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] sys_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] size_classes: Known<Vec<Class>>,
        #[serde(deserialize_with = "present")] size_classes_missing: Known<String>,
        #[serde(deserialize_with = "present")] caches: Known<Vec<Cache>>,
        #[serde(deserialize_with = "present")] profile: Known<Profile>,
        #[serde(deserialize_with = "present")] profile_missing: Known<String>,
        stacks: Vec<Stack>,
    }
    Class {
        class: u8,
        #[serde(deserialize_with = "present")] object_bytes: Known<u64>,
        objects: u64,
        bytes: u64,
        noscan_bytes: u64,
        spans: u64,
        span_bytes: u64,
    }
    Cache { p: i32, spans: u64, span_bytes: u64, unused_bytes: u64, }
    Profile {
        #[serde(deserialize_with = "present")] rate: Known<i64>,
        cycle: u32,
        records: u64,
        complete: bool,
        moving: u64,
        places: Vec<Site>,
    }
    Site {
        #[serde(deserialize_with = "present")] place: Known<Place>,
        in_use_bytes: u64,
        in_use_objects: u64,
        alloc_bytes: u64,
        alloc_objects: u64,
        stacks: u64,
    }
    Contention {
        schema_version: u32,
        gospy_version: String,
        captured_at: String,
        pid: i32,
        exe: String,
        go_version: String,
        #[serde(deserialize_with = "present")] block: Known<Contended>,
        #[serde(deserialize_with = "present")] block_missing: Known<String>,
        #[serde(deserialize_with = "present")] mutex: Known<Contended>,
        #[serde(deserialize_with = "present")] mutex_missing: Known<String>,
    }
    Contended {
        #[serde(deserialize_with = "present")] rate: Known<u64>,
        #[serde(deserialize_with = "present")] ticks_per_second: Known<f64>,
        records: u64,
        complete: bool,
        moving: u64,
        places: Vec<ContendedPlace>,
    }
    ContendedPlace {
        #[serde(deserialize_with = "present")] place: Known<Place>,
        events: u64,
        #[serde(deserialize_with = "present")] waited_ns: Known<u64>,
        waited_ticks: u64,
        stacks: u64,
    }
    Growth {
        schema_version: u32,
        gospy_version: String,
        captured_at: String,
        pid: i32,
        exe: String,
        go_version: String,
        watched_ns: u64,
        readings: u64,
        cycles: u32,
        samples: u64,
        allocated_bytes: u64,
        judgement: String,
        message: String,
        #[serde(deserialize_with = "present")] detectable_bytes: Known<f64>,
        #[serde(deserialize_with = "present")] live: Known<Trend>,
        growing: Vec<Part>,
        #[serde(deserialize_with = "present")] sites_missing: Known<String>,
        #[serde(deserialize_with = "present")] size_classes_missing: Known<String>,
    }
    Trend { first_bytes: u64, last_bytes: u64, #[serde(deserialize_with = "present")] rate: Known<Rate>, }
    Rate {
        per_second: f64,
        least_per_second: f64,
        most_per_second: f64,
        span_seconds: f64,
        steady: bool,
    }
    Part {
        kind: String,
        #[serde(deserialize_with = "present")] place: Known<Place>,
        #[serde(deserialize_with = "present")] object_bytes: Known<u64>,
        trend: Trend,
    }
    Stack { #[serde(deserialize_with = "present")] place: Known<Place>, goroutines: u64, bytes: u64, }
    Place {
        function: String,
        #[serde(deserialize_with = "present")] file: Known<String>,
        #[serde(deserialize_with = "present")] line: Known<u32>,
        #[serde(deserialize_with = "present")] callee: Known<String>,
        #[serde(deserialize_with = "present")] operation: Known<String>,
        started_in: bool,
    }
}

#[test]
fn a_heap_has_exactly_these_keys_and_spans_add_up() {
    let running = live(&["idle"]);
    let pid = running.pid().to_string();
    let output = gospy(&["heap", "--pid", &pid, "--json"]).ok();
    let document: Document = serde_json::from_str(&output).unwrap();
    assert!(document.schema_version == 1 && document.go_version == "go1.26.6");
    let heap = document.heap;
    let classes = heap.size_classes.unwrap();
    // The program sleeps: the spans are all that the runtime counts as in use, and their objects all there are.
    let sum = |of: fn(&Class) -> u64| classes.iter().map(of).sum::<u64>();
    assert_eq!(Some(sum(|class| class.span_bytes)), heap.in_use_bytes);
    assert_eq!(Some(sum(|class| class.bytes)), heap.alloc_bytes);
    assert!(classes.iter().all(|class| class.object_bytes.is_none_or(|size| class.bytes == class.objects * size)));
    assert!(heap.caches.unwrap().iter().any(|cache| cache.spans > 0));
    assert!(heap.profile.is_none() && heap.profile_missing.unwrap().contains("the linker left it out"));
    assert!(heap.size_classes_missing.is_none() && !heap.stacks.is_empty());
    let text = gospy(&["heap", "--pid", &pid]).ok();
    assert!(
        text.contains("\nSize classes") && text.contains("There is no heap profile: the linker left it out"),
        "{text}"
    );
}

#[test]
fn what_is_not_there_is_said_and_never_zero() {
    let running = live(&["idle"]);
    let pid = running.pid().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("heap.pb.gz").display().to_string();
    for arguments in [&["heap", "--text"][..], &["heap", "--profile", &file]] {
        let output = gospy(&[arguments, &["--pid", &pid]].concat());
        assert!(output.code() == 1 && output.stderr.contains("no heap profile: the linker left it out"), "{output:?}");
    }
    assert!(!std::path::Path::new(&file).exists());
    let text = gospy(&["contention", "--pid", &pid]).ok();
    assert!(text.contains("There is no block profile: ") && text.contains("There is no mutex profile: "), "{text}");
    assert!(text.contains("runtime.SetMutexProfileFraction"), "{text}");
    let output = gospy(&["contention", "--pid", &pid, "--json"]).ok();
    let document: Contention = serde_json::from_str(&output).unwrap();
    assert!(document.block.is_none() && document.block_missing.unwrap().contains("SetBlockProfileRate"), "{output}");
    assert!(document.mutex.is_none() && document.mutex_missing.unwrap().contains("SetMutexProfile"), "{output}");
    let output = gospy(&["contention", "--pid", &pid, "--json", "--text"]);
    assert_eq!(output.code(), 2, "{output:?}");
    let output = gospy(&["contention", "--pid", &pid, "--mutex", &file]);
    assert!(output.code() == 1 && output.stderr.contains("there is no mutex profile"), "{output:?}");
    let output = gospy(&["heap", "--pid", &pid, "--freeze"]);
    assert!(output.code() == 2 && output.stderr.contains("leave out --freeze"), "{output:?}");
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    for command in ["heap", "contention"] {
        let output = gospy(&[command, "--from", capture]);
        assert!(
            output.code() == 1 && output.stderr.contains("a capture holds goroutines and not the heap"),
            "{output:?}"
        );
    }
}

/// A program that sleeps is watched: nothing is collected, and next to nothing allocated.
#[test]
fn the_growth_of_a_heap_has_exactly_these_keys() {
    let running = live(&["idle"]);
    let pid = running.pid().to_string();
    let watch = ["heap", "--pid", &pid, "--watch", "1s"];
    let output = gospy(&[&watch[..], &["--json"]].concat()).ok();
    let growth: Growth = serde_json::from_str(&output).unwrap();
    assert_eq!((growth.judgement.as_str(), growth.readings, growth.cycles), ("quiet", 11, 0), "{output}");
    assert!(growth.live.is_some_and(|live| live.rate.is_none()) && growth.growing.is_empty(), "{output}");
    assert!(growth.sites_missing.unwrap().contains("the linker left it out") && growth.size_classes_missing.is_none());
    let text = gospy(&watch).ok();
    assert!(text.contains("The heap cannot have grown by more than the ") && text.contains("left it out"), "{text}");
    let output = gospy(&["heap", "--pid", &pid, "--watch", "1s", "--interval", "500ms"]);
    assert!(output.code() == 2 && output.stderr.contains("growth needs at least 8"), "{output:?}");
    let output = gospy(&["check", "--pid", &pid, "--max-heap-growth", "1MiB/m"]);
    assert!(output.code() == 2 && output.stderr.contains("--watch DURATION"), "{output:?}");
    let output = gospy(&["check", "--pid", &pid, "--watch", "2s", "--max-heap-growth", "1MiB/m"]).ok();
    assert!(output.contains("PASS  --max-heap-growth 1MiB/m: no steady growth"), "{output}");
}

/// It was built without DWARF, and nothing is guessed.
#[test]
fn variables_of_a_program_without_dwarf_are_refused() {
    let running = live(&["idle"]);
    let output = gospy(&["var", "--pid", &running.pid().to_string(), "main.x", "--json"]);
    assert!(output.code() == 1 && output.stdout.is_empty() && output.stderr.contains("--bin FILE"), "{output:?}");
}

/// The heap of a stopped program is looked at later: profiles need none, and leaks are certain.
#[test]
fn a_capture_with_the_heap_answers_as_the_process() {
    let running = live(&["idle"]);
    let pid = running.pid().to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heap.capture").display().to_string();
    let output = gospy(&["capture", "--pid", &pid, "-o", &path, "--heap", "--freeze=all"]);
    assert!(output.code() == 0 && output.stderr.contains("the heap adds "), "{output:?}");
    let leaks = gospy(&["leaks", "--from", &path, "--json"]).ok();
    assert!(leaks.contains(r#""grade":"certain""#), "{leaks}");
    let classes = |arguments: &[&str]| {
        let document: Document = serde_json::from_str(&gospy(arguments).ok()).unwrap();
        let classes = document.heap.size_classes.unwrap();
        classes.iter().map(|class| (class.class, class.objects, class.spans)).collect::<Vec<_>>()
    };
    assert_eq!(classes(&["heap", "--pid", &pid, "--json"]), classes(&["heap", "--from", &path, "--json"]));
    // Onto a full disk nothing is written, and what was there stays.
    let full = gospy(&["capture", "--pid", &pid, "-o", "/dev/full", "--heap"]);
    assert_ne!(full.code(), 0, "{full:?}");
}
