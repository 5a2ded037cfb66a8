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
