//! `gospy heap` and `gospy contention` on a program that comes with the sources, which holds nothing to read its
//! profiles with: what they say then, and exactly which keys the JSON has.

// What is declared here is compared, not used.
#![allow(dead_code)]

use crate::strict::{Known, present};
use crate::support::{Fixture, gospy, live, live_program};
use serde::Deserialize;

strict! {
    Document {
        schema_version: u32,
        gospy_version: String,
        captured_at: String,
        pid: i32,
        exe: String,
        go_version: String,
        #[serde(deserialize_with = "present")] uptime_ns: Known<u64>,
        heap: Heap,
    }
    Heap {
        #[serde(deserialize_with = "present")] alloc_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] objects: Known<u64>,
        #[serde(deserialize_with = "present")] live_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] marked_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] total_alloc_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] gc_cycles: Known<u32>,
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
        #[serde(deserialize_with = "present")] walks: Known<Walks>,
        #[serde(deserialize_with = "present")] walks_missing: Known<String>,
    }
    Walks { taken: u64, exact: u64, longest_ns: u64, together_ns: u64, }
    Since {
        schema_version: u32,
        gospy_version: String,
        before: Moment,
        after: Moment,
        #[serde(deserialize_with = "present")] same_run: Known<bool>,
        elapsed_ns: i64,
        #[serde(deserialize_with = "present")] cycles: Known<u32>,
        #[serde(deserialize_with = "present")] allocated_bytes: Known<u64>,
        notes: Vec<String>,
        changes: Vec<Changes>,
    }
    Moment {
        name: String,
        #[serde(deserialize_with = "present")] pid: Known<i32>,
        exe: String,
        go_version: String,
        captured_at: String,
        #[serde(deserialize_with = "present")] in_use_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] marked_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] live_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] exact: Known<bool>,
    }
    Changes {
        kind: String,
        #[serde(deserialize_with = "present")] parts: Known<Vec<Change>>,
        #[serde(deserialize_with = "present")] missing: Known<String>,
        #[serde(deserialize_with = "present")] missing_from: Known<String>,
        with_garbage: bool,
    }
    Change {
        kind: String,
        #[serde(deserialize_with = "present")] place: Known<Place>,
        #[serde(deserialize_with = "present")] object_bytes: Known<u64>,
        #[serde(rename = "type")] #[serde(deserialize_with = "present")] type_name: Known<String>,
        #[serde(deserialize_with = "present")] pointers: Known<bool>,
        #[serde(deserialize_with = "present")] kept_by: Known<String>,
        grew_bytes: i64,
        before_bytes: u64,
        after_bytes: u64,
        before_objects: u64,
        after_objects: u64,
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
        #[serde(rename = "type")] #[serde(deserialize_with = "present")] type_name: Known<String>,
        #[serde(deserialize_with = "present")] pointers: Known<bool>,
        #[serde(deserialize_with = "present")] kept_by: Known<String>,
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
    assert!(text.contains("llocated during the watch") && text.contains("left it out"), "{text}");
    let output = gospy(&["heap", "--pid", &pid, "--watch", "1s", "--interval", "500ms"]);
    assert!(output.code() == 2 && output.stderr.contains("growth needs at least 8"), "{output:?}");
    let output = gospy(&["check", "--pid", &pid, "--max-heap-growth", "1MiB/m"]);
    assert!(output.code() == 2 && output.stderr.contains("--watch DURATION"), "{output:?}");
    let output = gospy(&["check", "--pid", &pid, "--watch", "2s", "--max-heap-growth", "1MiB/m"]).ok();
    // It may be nothing, or next to nothing.
    let quiet = output.contains("PASS  --max-heap-growth 1MiB/m: ") && output.contains("allocated during the watch");
    assert!(quiet, "{output}");
}

/// A program that sleeps has nothing that grew, however its first moment was written down.
#[test]
fn what_grew_since_a_file_has_exactly_these_keys() {
    let running = live(&["idle"]);
    let pid = running.pid().to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let written = |name: &str, arguments: &[&str]| {
        std::fs::write(path(name), gospy(&[arguments, &["--pid", &pid, "--json"]].concat()).ok()).unwrap();
        path(name)
    };
    let since = |arguments: &[&str]| -> Since {
        let output = gospy(&[&["heap", "--json"], arguments].concat()).ok();
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
    };
    let parts = |since: &Since, kind: &str| -> Option<usize> {
        let changes = since.changes.iter().find(|changes| changes.kind == kind).unwrap();
        assert_eq!(changes.parts.is_none(), changes.missing.is_some(), "{changes:?}");
        changes.parts.as_ref().map(Vec::len)
    };
    let heap = written("heap.json", &["heap"]);
    let objects = written("objects.json", &["heap", "--objects"]);
    let snapshot = written("snapshot.json", &["summary"]);
    let capture = path("heap.capture");
    gospy(&["capture", "--pid", &pid, "-o", &capture, "--heap"]).ok();
    let found = since(&["--pid", &pid, "--since", &heap]);
    assert_eq!((found.same_run, found.cycles, found.allocated_bytes), (Some(true), Some(0), Some(0)), "{found:?}");
    assert_eq!((parts(&found, "size_classes"), parts(&found, "sites"), parts(&found, "types")), (Some(0), None, None));
    assert!(found.notes.iter().any(|note| note.contains("no GC cycle ended in between")), "{found:?}");
    let found = since(&["--pid", &pid, "--objects", "--since", &objects]);
    assert_eq!(
        (parts(&found, "types"), parts(&found, "kept_by"), parts(&found, "size_classes")),
        (Some(0), Some(0), None)
    );
    assert!(found.before.exact == Some(true) && found.before.live_bytes == found.after.live_bytes, "{found:?}");
    // Two files.
    let found = since(&["--from", &capture, "--since", &heap]);
    assert_eq!((found.same_run, parts(&found, "size_classes")), (Some(true), Some(0)), "{found:?}");
    let found = since(&["--from", &heap, "--since", &capture]);
    assert!(found.elapsed_ns < 0 && found.notes.iter().any(|note| note.contains("was taken after")), "{found:?}");
    // A snapshot has the figures of the whole.
    let found = since(&["--pid", &pid, "--since", &snapshot]);
    assert!(found.before.in_use_bytes.is_some() && parts(&found, "size_classes").is_none(), "{found:?}");
    let strict = gospy(&["--strict", "heap", "--pid", &pid, "--since", &snapshot]);
    assert_eq!(strict.code(), 6, "{strict:?}");
    let text = gospy(&["heap", "--pid", &pid, "--since", &heap]).ok();
    assert!(text.contains("Two readings show a difference, not a trend") && !text.contains("Types"), "{text}");
    // What is no heap, and what makes no sense.
    let other = written("ps.json", &["waits"]);
    let output = gospy(&["heap", "--pid", &pid, "--since", &other]);
    assert!(output.code() != 0 && output.stderr.contains("gospy heap --objects --json"), "{output:?}");
    for arguments in [&["--watch", "2s"][..], &["--profile", "-"], &["--freeze=all"], &["--only-from", "main.x"]] {
        let output = gospy(&[&["heap", "--pid", &pid, "--since", &heap], arguments].concat());
        assert_eq!(output.code(), 2, "{output:?}");
    }
    let growth: Growth =
        serde_json::from_str(&gospy(&["heap", "--pid", &pid, "--objects", "--watch", "1s", "--json"]).ok()).unwrap();
    let walks = growth.walks.unwrap();
    assert!(walks.taken as usize == growth.readings as usize && walks.exact > 0 && growth.walks_missing.is_none());
    assert_eq!(growth.judgement, "rests", "{}", growth.message);
    let output = gospy(&["heap", "--pid", &pid, "--objects", "--watch", "1s", "--freeze=all"]);
    assert!(output.code() == 2 && output.stderr.contains("never stops the program"), "{output:?}");
}

/// With GOGC=off the runtime's goal is one that no heap reaches, or what GOMEMLIMIT gives.
#[test]
fn a_program_without_gogc_has_no_goal() {
    for (limit, goal) in [("off", "no goal (GOGC off)"), ("96MiB", "of GOMEMLIMIT; GOGC off)")] {
        let running = Fixture::of(&live_program()).env("GOGC", "off").env("GOMEMLIMIT", limit).run(&["idle"]);
        for command in ["summary", "heap"] {
            let text = gospy(&[command, "--pid", &running.pid().to_string()]).ok();
            assert!(text.contains(goal) && !text.contains("EiB"), "{command} {limit}: {text}");
        }
    }
}

/// What a capture does not have, and how to get it.
#[test]
fn captures_without_a_heap_say_how_to_take_one_with_it() {
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    for arguments in [&["heap"][..], &["heap", "--text"], &["contention"], &["leaks"], &["heap", "--since", capture]] {
        let output = gospy(&[arguments, &["--from", capture]].concat());
        assert!(
            output.stderr.contains("gospy capture --heap") || output.stdout.contains("gospy capture --heap"),
            "{output:?}"
        );
    }
    let output = gospy(&["var", "x", "--from", capture]);
    assert!(output.code() == 1 && output.stderr.contains("--bin FILE"), "{output:?}");
    // Of what has no memory at all.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot.json").display().to_string();
    std::fs::write(&path, gospy(&["stack", "--from", capture, "--json"]).ok()).unwrap();
    for command in ["heap", "contention", "leaks"] {
        let output = gospy(&[command, "--from", &path]);
        assert!(output.code() == 1 && output.stderr.contains("gospy capture --heap"), "{output:?}");
    }
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
