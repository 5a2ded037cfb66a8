//! `gospy heap --objects` on a program that comes with the sources: exactly which keys the JSON has, that its parts
//! add up, and what is said of what was typed wrong.

// What is declared here is compared, not used.
#![allow(dead_code)]

use crate::strict::{Known, present};
use std::time::{Duration, Instant};

use crate::support::{gospy, live};
use gospy::addr::Addr;
use gospy::capture::{OpenOptions, Session};
use gospy::heap::objects::{ObjectOptions, Objects as Found, Wanted, find};
use gospy::heap::{Heap, HeapError, Progress, SpanInfo};
use gospy::process::TargetExt as _;
use gospy::process::fake::Altered;
use gospy::process::live::LiveTarget;
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
        objects: Objects,
    }
    Objects {
        exact: bool,
        standing: String,
        #[serde(deserialize_with = "present")] stopped_ns: Known<u64>,
        #[serde(deserialize_with = "present")] changed: Known<Changed>,
        live: Amount,
        garbage: Amount,
        #[serde(deserialize_with = "present")] typed: Known<Amount>,
        #[serde(deserialize_with = "present")] types: Known<Vec<Type>>,
        untyped: Vec<Untyped>,
        kept_by: Vec<Kept>,
        #[serde(deserialize_with = "present")] only_from: Known<Only>,
        #[serde(deserialize_with = "present")] path: Known<Path>,
        notes: Vec<String>,
        memory_bytes: u64,
        mark_ns: u64,
        types_ns: u64,
    }
    Changed { objects: u64, spans: u64, goroutines: u64, }
    Amount { objects: u64, bytes: u64, }
    Type {
        name: String,
        objects: u64,
        bytes: u64,
        #[serde(deserialize_with = "present")] only_from: Known<Amount>,
    }
    Untyped {
        #[serde(deserialize_with = "present")] object_bytes: Known<u64>,
        pointers: bool,
        objects: u64,
        bytes: u64,
    }
    Kept {
        by: String,
        #[serde(deserialize_with = "present")] place: Known<Place>,
        #[serde(deserialize_with = "present")] goroutines: Known<u64>,
        objects: u64,
        bytes: u64,
    }
    Only { goroutines: Vec<u64>, objects: u64, bytes: u64, }
    Path {
        root: String,
        #[serde(deserialize_with = "present")] address: Known<String>,
        #[serde(deserialize_with = "present")] variable: Known<String>,
        #[serde(deserialize_with = "present")] variable_offset: Known<u64>,
        #[serde(deserialize_with = "present")] goroutine: Known<u64>,
        steps: Vec<Step>,
        left_out: u64,
    }
    Step {
        address: String,
        bytes: u64,
        #[serde(rename = "type", deserialize_with = "present")] type_name: Known<String>,
        #[serde(deserialize_with = "present")] offset: Known<u64>,
        #[serde(deserialize_with = "present")] field: Known<String>,
    }
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
fn objects_have_exactly_these_keys_and_add_up() {
    let running = live(&["many", "200", "-kinds", "3", "-depth", "2"]);
    let pid = running.pid().to_string();
    let plain = gospy(&["heap", "--pid", &pid, "--objects", "--json"]).ok();
    let Document { objects, .. } = serde_json::from_str(&plain).unwrap();
    assert!(objects.only_from.is_none() && objects.path.is_none() && objects.notes.is_empty(), "{:?}", objects.notes);
    let with = |options: &[&str]| -> Objects {
        let output = gospy(&[&["heap", "--pid", &pid, "--objects", "--json"], options].concat()).ok();
        let document: Document = serde_json::from_str(&output).unwrap();
        document.objects
    };
    let asked = with(&["--only-from", "goroutine:1", "--path-to", "runtime.p"]);
    for objects in [&objects, &asked] {
        assert!(objects.exact == (objects.standing != "running") && objects.exact == objects.changed.is_none());
        let kept = objects.kept_by.iter().fold((0, 0), |sum, kept| (sum.0 + kept.objects, sum.1 + kept.bytes));
        assert_eq!(kept, (objects.live.objects, objects.live.bytes));
        let (typed, types) = (objects.typed.as_ref().unwrap(), objects.types.as_ref().unwrap());
        assert_eq!(typed.bytes, types.iter().map(|ty| ty.bytes).sum::<u64>());
        assert_eq!(objects.live.bytes, typed.bytes + objects.untyped.iter().map(|class| class.bytes).sum::<u64>());
        assert!(types.iter().any(|ty| ty.name == "runtime.g" && ty.objects >= 200));
    }
    assert_eq!(asked.only_from.unwrap().goroutines, [1]);
    assert!(asked.types.unwrap().iter().all(|ty| ty.only_from.is_some()));
    let path = asked.path.unwrap();
    assert!(path.address.is_some() == (path.root == "variable"), "{path:?}");
    assert!(path.goroutine.is_some() == (path.root == "goroutine") && path.steps.last().unwrap().offset.is_none());
    assert_eq!(path.steps.last().unwrap().type_name.as_deref(), Some("runtime.p"));
    let text = gospy(&["heap", "--pid", &pid, "--objects"]).ok();
    assert!(["\nObjects", "\nTypes", "\nKept by"].iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let running = live(&["idle"]);
    let pid = running.pid().to_string();
    let refused = |status: i32, options: &[&str], says: &str| {
        let output = gospy(&[&["heap", "--pid", &pid][..], options].concat());
        assert!(output.code() == status && output.stderr.contains(says), "{options:?}: {output:?}");
    };
    refused(2, &["--objects", "--freeze"], "--freeze=all");
    refused(2, &["--only-from", "main.main"], "--objects");
    refused(2, &["--path-to", "main.T"], "--objects");
    refused(2, &["--objects", "--path-to", "0xzz"], "expected an address");
    refused(2, &["--objects", "--only-from", "goroutine:x"], "expected a number");
    refused(1, &["--objects", "--only-from", "goroutine:99999"], "there is no goroutine 99999");
    refused(1, &["--objects", "--only-from", "main.nothing"], "no goroutine is in main.nothing");
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    let output = gospy(&["heap", "--from", capture, "--objects"]);
    assert!(output.code() == 1 && output.stderr.contains("`gospy capture --heap` puts it in"), "{output:?}");
}

/// A heap that lies, and what was found on it: the process is as it was, only what is read of it differs.
struct Lying {
    pid: i32,
    spans: Vec<SpanInfo>,
    types: std::ops::Range<u64>,
}

impl Lying {
    fn of(pid: i32) -> Lying {
        let session = Session::open(Box::new(LiveTarget::open(pid).unwrap()), &OpenOptions::default()).unwrap();
        let process = session.process();
        let spans = Heap::read(process).unwrap().spans.iter().collect();
        Lying { pid, spans, types: process.types().unwrap() }
    }

    /// With words at these addresses; it takes seconds at most.
    fn find(&self, words: &[(u64, u64, usize)]) -> Result<Found, HeapError> {
        let mut target = Altered::new(LiveTarget::open(self.pid).unwrap());
        words.iter().for_each(|(addr, word, len)| target.put(*addr, *word, *len));
        let session = Session::open(Box::new(target), &OpenOptions::default()).unwrap();
        let path_to = Some(Wanted::Type("no such type".to_owned()));
        let options = ObjectOptions { only: Some(vec![1]), path_to, ..ObjectOptions::default() };
        let started = Instant::now();
        let found = find(session.process(), &options, &Progress::default(), |_| {});
        assert!(started.elapsed() < Duration::from_secs(60), "{words:x?} took {:?}", started.elapsed());
        found
    }
}

/// Fields of an mspan of Go 1.26 (runtime/mheap.go), offset and length in bytes: startAddr, npages, freeindex,
/// nelems, allocBits, allocCount, spanclass, elemsize, limit, specials, largeType.
const FIELDS: [(u64, usize); 11] =
    [(24, 8), (32, 8), (48, 2), (50, 2), (64, 8), (96, 2), (98, 1), (104, 8), (112, 8), (128, 8), (152, 8)];

/// Spans in spans, wild pointers, lists without an end, sizes that cannot be: a warning at most.
#[test]
fn heaps_that_lie_are_bounded() {
    let running = live(&["many", "50", "-kinds", "2", "-depth", "2"]);
    let lying = Lying::of(running.pid());
    let good = lying.find(&[]).unwrap();
    assert!(good.notes.is_empty() && good.live.objects > 200, "{good:?}");
    let span = |at: usize| lying.spans[at % lying.spans.len()];
    let of = |span: SpanInfo, field: usize, value: u64| (span.mspan.0 + FIELDS[field].0, value, FIELDS[field].1);
    let odd = [
        // Each where another one is; longer than all memory; more objects than have room; none; odd sizes.
        vec![of(span(3), 0, span(4).base.0), of(span(5), 0, span(3).base.0)],
        vec![of(span(3), 1, 1 << 40), of(span(4), 1, u64::MAX), of(span(5), 1, 0)],
        vec![of(span(3), 3, 0xffff), of(span(4), 3, 0)],
        vec![of(span(3), 7, 1), of(span(4), 7, u64::MAX), of(span(5), 7, 0)],
        vec![of(span(3), 8, 0), of(span(4), 8, u64::MAX)],
    ];
    for words in odd {
        let found = lying.find(&words).unwrap();
        assert!(
            found.notes.iter().any(|note| note.contains("cannot be what they say")),
            "{words:x?}: {:?}",
            found.notes
        );
        assert!(found.live.objects <= good.live.objects + 100, "{words:x?}");
    }
    // Specials that are not there, and one that is its own successor.
    let at = span(7).base.0;
    for words in [vec![of(span(3), 9, 0xdead_beef_0000)], vec![of(span(3), 9, at), (at, at, 8)]] {
        lying.find(&words).unwrap();
    }
    // More objects than a span has are not garbage.
    let found = lying.find(&[of(span(3), 5, 0xffff)]).unwrap();
    assert!(found.garbage.objects <= good.garbage.objects + u64::from(span(3).elements), "{found:?}");
}

/// Anything anywhere: in spans, in objects (a header, a pointer, a length), and in the program's type data.
#[test]
fn heaps_of_garbage_are_bounded() {
    let running = live(&["many", "50", "-kinds", "2", "-depth", "2"]);
    let lying = Lying::of(running.pid());
    let all = lying.spans.iter().map(|span| u64::from(span.elements)).sum::<u64>();
    let mut seed = 11_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 16) % below
    };
    let mut answered = 0;
    for round in 0..40 {
        let mut words = Vec::new();
        let span = |n: u64| lying.spans[n as usize % lying.spans.len()];
        for _ in 0..=round {
            let value = match random(6) {
                0 => random(64),
                1 => u64::MAX - random(64),
                2 => 1 << random(64),
                3 => lying.types.start + random(lying.types.end - lying.types.start),
                4 => span(random(1 << 20)).mspan.0,
                _ => span(random(1 << 20)).base.0 + 8 * random(1024),
            };
            words.push(match round % 3 {
                0 => {
                    let (offset, len) = FIELDS[random(11) as usize];
                    (span(random(1 << 20)).mspan.0 + offset, value, len)
                }
                1 => (span(random(1 << 20)).base.0 + 8 * random(1024), value, 8),
                _ => (lying.types.start + 8 * random((lying.types.end - lying.types.start) / 8), value, 8),
            });
        }
        if let Ok(found) = lying.find(&words) {
            answered += 1;
            assert!(found.live.objects <= all && found.memory < 16 << 20, "{words:x?}: {found:?}");
            let kept = found.kept.iter().map(|(_, kept)| kept.objects).sum::<u64>();
            assert_eq!(kept, found.live.objects);
        }
    }
    assert!(answered > 30, "{answered} of 40 had an answer");
}

/// Sections of variables that cannot be: no program is read for hours because one word of it says so.
#[test]
fn variables_without_an_end_are_refused() {
    let running = live(&["many", "50", "-kinds", "2", "-depth", "2"]);
    let target = Altered::new(LiveTarget::open(running.pid()).unwrap());
    let changes = target.changes();
    let session = Session::open(Box::new(target), &OpenOptions::default()).unwrap();
    let process = session.process();
    let module = process.program.module.addr;
    let mut refused = 0;
    for at in (0..512).step_by(8).map(|offset| module.0 + offset) {
        let word = process.target.read_u64(Addr(at)).unwrap().unwrap();
        // A tebibyte further on.
        changes.put(at, word.wrapping_add(1 << 40), 8);
        if let Err(error) = find(process, &ObjectOptions::default(), &Progress::default(), |_| {}) {
            refused += usize::from(error.to_string().contains(&format!("the moduledata at {module} is damaged")));
        }
        changes.put(at, word, 8);
    }
    // Where data and bss begin and end.
    assert_eq!(refused, 4);
    find(process, &ObjectOptions::default(), &Progress::default(), |_| {}).unwrap();
}
