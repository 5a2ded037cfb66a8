use super::*;
use crate::analysis::Filter;
use crate::model::testing::{FrameSpec, GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{CpuClockStats, CpuSample, CpuSamples, Goid, SampledLabels, Snapshot};

const PERIOD_NS: u64 = 10_000_000;

fn program() -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    let stack = |leaf: FrameSpec<'static>| -> Vec<FrameSpec<'static>> {
        vec![leaf, frame("main.work<T>", "/app/w.go", 3), frame("runtime.goexit", "/go/asm.s", 9)]
    };
    let labels = vec![("tenant", "a;b")];
    builder.add(&GoroutineSpec {
        id: 1,
        frames: stack(frame("runtime.memmove", "/go/memmove.s", 7)),
        labels,
        ..Default::default()
    });
    let c = FrameSpec { foreign: true, ..frame("[libc.so.6]", "/lib/libc.so.6", 0) };
    builder.add(&GoroutineSpec { id: 2, frames: stack(c), ..Default::default() });
    builder.build()
}

/// Three samples of the one, one of which is in the kernel, and one of the other; and two that were only counted.
fn recording() -> CpuRecording {
    let mut before = program();
    let goroutines = std::mem::take(&mut before.goroutines);
    let sample = |index: usize, kernel, labels| CpuSample {
        thread: 77,
        kernel,
        stack: goroutines[index].stack.known().unwrap(),
        complete: index == 0,
        goroutine: (index == 0).then_some(Goid(1)),
        labels,
    };
    let known = SampledLabels::Known(goroutines[0].labels);
    let samples = [
        sample(0, false, known),
        sample(0, false, known),
        sample(0, true, known),
        sample(1, false, SampledLabels::Unknown),
    ];
    let stats = CpuClockStats { period_ns: PERIOD_NS, threads: 3, kernel_samples: 2, ..CpuClockStats::default() };
    let mut recording = CpuRecording::default();
    recording.add(&CpuSamples { samples: &samples, stats, symbols: &before.symbols, before: &before });
    recording.end(1_000_000_000);
    recording
}

fn text(recording: &CpuRecording, root: Root, format: Format) -> String {
    let mut out = Vec::new();
    write(&mut out, recording, &CpuRecordingOptions { root, name: "app <1>".to_owned() }, format).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn stacks_have_the_frames_of_a_cpu_profile() {
    let folded = text(&recording(), Root::Stack, Format::Folded);
    let wanted = "[kernel] 20000\n\
                  main.work<T>;[libc.so.6] 10000\n\
                  main.work<T>;runtime.memmove 20000\n\
                  main.work<T>;runtime.memmove;[kernel] 10000\n";
    assert_eq!(folded, wanted);
    let by_label = text(&recording(), Root::Label("tenant".to_owned()), Format::Folded);
    assert!(by_label.contains("a:b;main.work<T>;runtime.memmove 20000\n"), "{by_label}");
    assert!(by_label.contains("[tenant unknown];main.work<T>;[libc.so.6] 10000\n"), "{by_label}");
}

#[test]
fn filters_see_stacks_labels_and_ids() {
    for (filter, wanted) in [
        ("label.tenant=a;b", 30_000),
        ("func~libc", 10_000),
        ("id=1", 30_000),
        ("state=running", 60_000),
        ("state=waiting", 0),
    ] {
        let mut recording = recording();
        recording.retain(&Filter::parse(filter).unwrap());
        let folded = text(&recording, Root::Stack, Format::Folded);
        let all: u64 = folded.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
        assert_eq!(all, wanted, "{filter}: {folded}");
    }
}

#[test]
fn facts_say_what_is_unknown_and_how_exact_shares_are() {
    let facts = facts(&recording());
    for part in [
        "6 samples in 1.00 s",
        "100 for each second of CPU time",
        "of 3 threads, 0 lost",
        "50.0 % in the kernel (only counted",
        "16.7 % with unknown callers",
        "50.0 % with an unknown goroutine",
        "±32.0 points",
    ] {
        assert!(facts.contains(part), "{part}: {facts}");
    }
}

#[test]
fn other_formats_hold_the_same() {
    let json: serde_json::Value = serde_json::from_str(&text(&recording(), Root::Stack, Format::Speedscope)).unwrap();
    let profile = &json["profiles"][0];
    let weights: u64 = profile["weights"].as_array().unwrap().iter().map(|weight| weight.as_u64().unwrap()).sum();
    assert_eq!((profile["name"].as_str(), weights, &profile["endValue"]), (Some("CPU"), 60_000_000, &weights.into()));
    let page = text(&recording(), Root::Stack, Format::Html);
    assert_eq!(page.matches("<template data-graph=").count(), 1);
    assert!(!page.contains("app <1>") && !page.contains("work<T>"), "{page}");
    assert!(text(&recording(), Root::Stack, Format::Svg).contains("[libc.so.6] (10 ms"));
    for format in [Format::Folded, Format::Speedscope, Format::Svg, Format::Html] {
        text(&CpuRecording::default(), Root::Stack, format);
    }
}
