use super::{Format, RecordingOptions, Root, write};
use crate::analysis::recording::Recording;
use crate::analysis::series::Watching;
use crate::model::testing::{FrameSpec, GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
use crate::model::{Snapshot, Status};

const MS: u64 = 1_000_000;

fn sample(at_ms: u64) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    let stack = |function| -> Vec<FrameSpec<'_>> {
        vec![
            frame("runtime.gopark", "/go/proc.go", 7),
            frame(function, "/app/<w>.go", 3),
            frame("main.main", "/app/main.go", 9),
        ]
    };
    let waits = |id, function, reason| GoroutineSpec {
        id,
        reason: Some(reason),
        frames: stack(function),
        labels: vec![("tenant", "a;b")],
        ..Default::default()
    };
    builder.add(&waits(1, "main.lock", "sync.Mutex.Lock"));
    builder.add(&waits(2, "main.serve[...]", "select"));
    builder.add(&GoroutineSpec { id: 3, status: Status::Running, ..Default::default() });
    let mut snapshot = builder.build();
    for (goroutine, id) in snapshot.goroutines.iter_mut().zip(1_u64..) {
        goroutine.run_seq = Some(if id == 3 { u8::try_from(at_ms).unwrap() } else { 0 });
        (goroutine.addr.0, goroutine.sp.0) = (id * 0x200, id * 0x1_0000);
    }
    snapshot.monotonic_ns = NOW_NS + at_ms * MS;
    snapshot
}

fn recording() -> Recording {
    let (mut watching, mut recording) = (Watching::default(), Recording::default());
    for ms in [0, 10, 20] {
        recording.add(&watching.observe(sample(ms)), |_| true);
    }
    recording
}

fn text(options: &RecordingOptions, format: Format) -> String {
    let mut out = Vec::new();
    write(&mut out, &recording(), options, format).unwrap();
    String::from_utf8(out).unwrap()
}

fn options() -> RecordingOptions {
    RecordingOptions { name: "app <1>".to_owned(), ..RecordingOptions::default() }
}

#[test]
fn folded_stacks_end_in_what_is_done() {
    let folded = |options| text(&options, Format::Folded);
    let active = "[unknown];[running] 20000\nmain.main;main.lock;[sync.Mutex.Lock] 20000\n";
    assert_eq!(folded(options()), active);
    let idle = RecordingOptions { idle: true, ..options() };
    assert_eq!(folded(idle.clone()), format!("{active}main.main;main.serve[...];[select] 20000\n"));
    let by_label = RecordingOptions { root: Root::Label("tenant".to_owned()), ..options() };
    let text = folded(by_label);
    assert_eq!(text.lines().next(), Some("[no tenant];[unknown];[running] 20000"));
    assert_eq!(text.lines().nth(1), Some("a:b;main.main;main.lock;[sync.Mutex.Lock] 20000"));
    let hidden = folded(RecordingOptions { system: true, root: Root::State, ..options() });
    assert!(
        hidden.contains("sync.Mutex.Lock;main.main;main.lock;runtime.gopark;[sync.Mutex.Lock] 20000\n"),
        "{hidden}"
    );
}

#[test]
fn speedscope_has_a_profile_for_each_state() {
    let json: serde_json::Value =
        serde_json::from_str(&text(&RecordingOptions { idle: true, ..options() }, Format::Speedscope)).unwrap();
    let frames = json["shared"]["frames"].as_array().unwrap();
    let names = |sample: &serde_json::Value| -> Vec<String> {
        let at = |at: &serde_json::Value| frames[usize::try_from(at.as_u64().unwrap()).unwrap()]["name"].clone();
        sample.as_array().unwrap().iter().map(|index| at(index).as_str().unwrap().to_owned()).collect()
    };
    let profiles = json["profiles"].as_array().unwrap();
    let states: Vec<&str> = profiles.iter().map(|profile| profile["name"].as_str().unwrap()).collect();
    assert_eq!(states, ["waiting", "running"]);
    for profile in profiles {
        let weights: u64 = profile["weights"].as_array().unwrap().iter().map(|weight| weight.as_u64().unwrap()).sum();
        assert_eq!(profile["endValue"], weights);
        assert_eq!(profile["samples"].as_array().unwrap().len(), profile["weights"].as_array().unwrap().len());
    }
    assert_eq!(names(&profiles[0]["samples"][0]), ["main.main", "main.lock", "[sync.Mutex.Lock]"]);
    assert_eq!(names(&profiles[1]["samples"][0]), ["[running]"]);
    assert_eq!(frames[1]["file"], "/app/<w>.go");
    assert_eq!(frames[1]["line"], 3);
}

#[test]
fn pages_hold_their_graphs_as_harmless_text() {
    let svg = text(&options(), Format::Svg);
    assert!(svg.contains("<title>main.lock (20 ms") && svg.contains("app &lt;1&gt;"), "{svg}");
    let page = text(&options(), Format::Html);
    assert_eq!(page.matches("<template data-graph=").count(), 3, "everything, and each state");
    assert!(!page.contains("http://") || page.contains("http://www.w3.org/2000/svg"), "no other host");
    assert!(!page.contains("app <1>") && !page.contains("{{"), "{page}");
}

#[test]
fn a_recording_of_nothing_can_be_written() {
    let recording = Recording::default();
    for format in [Format::Folded, Format::Speedscope, Format::Svg, Format::Html] {
        write(&mut Vec::new(), &recording, &options(), format).unwrap();
    }
}
