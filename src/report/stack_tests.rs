//! Tests of what is written of stacks: tracebacks, groups, folded stacks, profiles.

use std::io::Read;

use super::profile::goroutines::{self, Samples};
use super::traceback::{FrameLimit, TracebackOptions, write_all};
use super::{folded, stack_groups};
use crate::addr::Addr;
use crate::analysis::answer::Rows;
use crate::analysis::{Answer, GroupBy, Index, Request};
use crate::model::testing::{FrameSpec, GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{Ancestor, ForeignFrame, ForeignStack, Goid, NotShown, Snapshot, StackState, Status};

const MINUTE: u64 = 60_000_000_000;

fn snapshot() -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    let receive = || {
        vec![
            frame("runtime.gopark", "/go/src/runtime/proc.go", 0x10),
            frame("runtime.chanrecv1", "/go/src/runtime/chan.go", 0x20),
            FrameSpec { inlined: true, ..frame("main.next", "/app/w.go", 5) },
            frame("main.worker[go.shape.int]", "/app/w.go", 9),
            frame("runtime.goexit", "/go/src/runtime/asm_amd64.s", 1),
        ]
    };
    builder.add(&GoroutineSpec {
        id: 1,
        reason: Some("sync.WaitGroup.Wait"),
        wait_ns: Some(MINUTE - 1),
        frames: vec![
            frame("sync.runtime_SemacquireWaitGroup", "/go/src/runtime/sema.go", 7),
            frame("main.main", "/app/main.go", 12),
            frame("runtime.main", "/go/src/runtime/proc.go", 3),
        ],
        creator: Some(frame("runtime.rt0_go", "/go/asm.s", 1)),
        ..Default::default()
    });
    for (id, minutes) in [(18, 5), (19, 6), (20, 0), (33, 12)] {
        builder.add(&GoroutineSpec {
            id,
            reason: Some("chan receive"),
            wait_ns: Some(minutes * MINUTE),
            frames: receive(),
            creator: Some(frame("main.main", "/app/main.go", 10)),
            parent: Some(1),
            labels: if id == 18 { vec![("user", "al\"ice")] } else { Vec::new() },
            ..Default::default()
        });
    }
    builder
        .add(&GoroutineSpec {
            id: 40,
            status: Status::Running,
            thread: Some(2),
            locked: true,
            frames: vec![frame("main.spin", "/app/s.go", 4)],
            creator: Some(frame("main.main", "/app/main.go", 11)),
            parent: Some(1),
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 2,
            reason: Some("force gc (idle)"),
            system: true,
            scan: true,
            frames: vec![frame("runtime.gopark", "/go/src/runtime/proc.go", 0x10)],
            creator: Some(frame("runtime.init.7", "/go/src/runtime/proc.go", 2)),
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 41,
            reason: Some("sleep"),
            bubble: Some(3),
            frames: vec![
                frame("runtime.gopanic", "/go/src/runtime/panic.go", 3),
                FrameSpec { foreign: true, ..frame("", "", 0) },
                FrameSpec { foreign: true, ..frame("c_work", "/app/c.c", 8) },
            ],
            ..Default::default()
        });
    builder.build()
}

fn dump(snapshot: &Snapshot, change: impl FnOnce(&mut TracebackOptions)) -> String {
    let mut options = TracebackOptions::for_version(&snapshot.target.go_version);
    change(&mut options);
    let all: Vec<usize> = (0..snapshot.goroutines.len()).collect();
    let mut out = Vec::new();
    write_all(&mut out, &Index::new(snapshot), &all, options).expect("a Vec takes everything");
    String::from_utf8(out).expect("text is UTF-8")
}

#[test]
fn the_normal_level_reads_like_the_runtimes() {
    let text = dump(&snapshot(), |_| {});
    let want = "\
goroutine 1 [sync.WaitGroup.Wait]:
sync.runtime_SemacquireWaitGroup(...)
\t/go/src/runtime/sema.go:7 +0x7
main.main(...)
\t/app/main.go:12 +0xc

goroutine 18 [chan receive, 5 minutes]:
main.next(...)
\t/app/w.go:5
main.worker[...](...)
\t/app/w.go:9 +0x9
created by main.main in goroutine 1
\t/app/main.go:10 +0xa
";
    assert!(text.starts_with(want), "{text}");
    let running = "
goroutine 40 [running, locked to thread]:
\tgoroutine running on other thread; stack unavailable
created by main.main in goroutine 1
\t/app/main.go:11 +0xb
";
    assert!(text.contains(running), "{text}");
    let bubble = "
goroutine 41 [sleep (durable), synctest bubble 3]:
non-Go function
\tpc=0x400000
c_work
\t/app/c.c:8 pc=";
    assert!(text.contains(bubble), "{text}");
    assert!(text.contains("\ngoroutine 20 [chan receive]:\n"));
}

#[test]
fn the_system_level_tells_addresses() {
    let snapshot = snapshot();
    let text = dump(&snapshot, |options| options.system = true);
    let g = &snapshot.goroutines[6];
    let m = &snapshot.threads[2];
    assert!(
        text.contains(&format!("goroutine 2 gp={} m=nil [force gc (idle) (scan)]:\nruntime.gopark(...)\n", g.addr))
    );
    let sp = g.sp.0;
    let pc = snapshot.symbols.frame(g.innermost.expect("it has a stack")).expect("a frame").pc;
    let line = format!("\t/go/src/runtime/proc.go:16 +0x10 fp={:#x} sp={sp:#x} pc={pc}\n", sp + 0x40);
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("created by runtime.init.7\n"));
    assert!(text.contains(&format!(" m=2 mp={} [running", m.addr)));
    assert!(text.contains("\tmain.next") || text.contains("main.next(...)\n\t/app/w.go:5\n"));
    assert!(text.contains("panic(...)\n"));
    // 1.21 did not tell them, and 1.20 neither abridged type arguments nor knew the parent.
    assert!(!dump(&snapshot, |options| (options.system, options.minor) = (true, 21)).contains("gp="));
    let old = dump(&snapshot, |options| options.minor = 20);
    assert!(old.contains("main.worker[go.shape.int](...)") && old.contains("created by main.main\n"));
}

#[test]
fn labels_and_elided_frames_are_asked_for() {
    let text = dump(&snapshot(), |options| options.labels = true);
    assert!(text.contains("goroutine 18 [chan receive, 5 minutes labels:{\"user\": \"al\\\"ice\"}]:"), "{text}");
    let mut builder = SnapshotBuilder::new();
    let names: Vec<String> = (0..10).map(|n| format!("main.f{n}")).collect();
    builder.add(&GoroutineSpec {
        id: 5,
        status: Status::Runnable,
        frames: names.iter().map(|name| frame(name, "/x.go", 1)).collect(),
        ..Default::default()
    });
    let snapshot = builder.build();
    let functions = |most| -> String {
        let text = dump(&snapshot, |options| options.frames = most);
        let lines = text.lines().skip(1).filter(|line| !line.starts_with('\t'));
        lines.map(|line| line.trim_start_matches("main.").trim_end_matches("(...)")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(functions(FrameLimit::Most(5)), "f0 f1 f2 ...5 frames elided... f8 f9");
    assert_eq!(functions(FrameLimit::Most(1)), "f0 ...9 frames elided...");
    assert_eq!(functions(FrameLimit::Most(10)), functions(FrameLimit::None));
    assert_eq!(functions(FrameLimit::Runtime), functions(FrameLimit::None));
}

#[test]
fn ancestors_and_moving_goroutines() {
    let mut builder = SnapshotBuilder::new();
    let from = builder.frame(&frame("main.start", "/app/main.go", 20));
    let hidden = builder.frame(&frame("runtime.main", "/go/proc.go", 20));
    builder.add(&GoroutineSpec { id: 9, frames: vec![frame("main.f", "/x.go", 2)], ..Default::default() });
    builder.add(&GoroutineSpec { id: 10, ..Default::default() });
    let snapshot = builder.edit();
    let chain = vec![Ancestor { id: Goid(1), frames: vec![from, hidden], printed: Vec::new(), creator: Some(from) }];
    snapshot.goroutines[0].ancestors = Some(std::sync::Arc::make_mut(&mut snapshot.symbols).intern_ancestors(chain));
    snapshot.goroutines[1].stack = StackState::NotShown(NotShown::Moving);
    let text = dump(&builder.build(), |_| {});
    assert_eq!(
        text,
        "goroutine 9 [waiting]:\nmain.f(...)\n\t/x.go:2 +0x2\n[originating from goroutine \
         1]:\nmain.start(...)\n\t/app/main.go:20 +0x14\n\ngoroutine 10 [waiting]:\n\tgoroutine changed while it was read, \
         on every try; stack unavailable\n"
    );
}

#[test]
fn hostile_names_cannot_forge_lines() {
    let mut builder = SnapshotBuilder::new();
    builder.add(&GoroutineSpec {
        id: 9,
        reason: Some("x]:\n\ngoroutine 99 [running"),
        frames: vec![frame("main.f\n\ngoroutine 7 [select]:\u{1b}[2J", "/x\u{202e}.go\0", 2)],
        ..Default::default()
    });
    let snapshot = builder.build();
    let text = dump(&snapshot, |_| {});
    assert_eq!(text.lines().filter(|line| line.starts_with("goroutine")).count(), 1, "{text}");
    assert!(text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()) && !text.contains('\u{202e}'));
}

#[test]
fn groups_are_told_once() {
    let snapshot = snapshot();
    let index = Index::new(&snapshot);
    let request = Request { rows: Rows::Groups(GroupBy::Stack), ..Request::default() };
    let answer = Answer::at(&index, vec![1, 2, 3, 4, 5], request);
    let mut out = Vec::new();
    stack_groups::write(&mut out, &answer, TracebackOptions::for_version("go1.26")).expect("a Vec");
    let text = String::from_utf8(out).expect("text is UTF-8");
    let want = "\
4 goroutines [chan receive, ≥ 0s to 12m]:
ids 18-20 33
main.next(...)
\t/app/w.go:5
main.worker[...](...)
\t/app/w.go:9 +0x9
created by main.main in goroutine 1
\t/app/main.go:10 +0xa

goroutine 40 [running, locked to thread]:
";
    assert!(text.starts_with(want), "{text}");
}

#[test]
fn a_group_tells_the_labels_of_all_its_members() {
    let mut builder = SnapshotBuilder::new();
    for id in 0..43_u64 {
        let tenant = match id {
            ..14 => "blue",
            14..27 => "green",
            27..40 => "r\u{1b}ed",
            _ => "",
        };
        let labels = if tenant.is_empty() { Vec::new() } else { vec![("route", "/"), ("tenant", tenant)] };
        let frames = vec![frame("main.worker", "/app/w.go", 9)];
        builder.add(&GoroutineSpec { id, reason: Some("select"), frames, labels, ..Default::default() });
    }
    let ids: Vec<String> = (100..108).map(|id| format!("r{id}")).collect();
    for (id, request) in (100..108).zip(&ids) {
        let labels = vec![("request", request.as_str())];
        let frames = vec![frame("main.handle", "/app/w.go", 9)];
        builder.add(&GoroutineSpec { id, reason: Some("select"), frames, labels, ..Default::default() });
    }
    let snapshot = builder.build();
    let index = Index::new(&snapshot);
    let request = Request { rows: Rows::Groups(GroupBy::Stack), ..Request::default() };
    let answer = Answer::of(&index, request);
    let write = |labels| {
        let mut out = Vec::new();
        let options = TracebackOptions { labels, ..TracebackOptions::for_version("go1.26") };
        stack_groups::write(&mut out, &answer, options).expect("a Vec");
        String::from_utf8(out).expect("text is UTF-8")
    };
    let want = "\
43 goroutines [select]:
ids 0-42
label route: \"/\" 40, none 3
label tenant: \"blue\" 14, \"green\" 13, \"r\\u{1b}ed\" 13, none 3
main.worker(...)
\t/app/w.go:9 +0x9

8 goroutines [select]:
ids 100-107
label request: \"r100\" 1, \"r101\" 1, \"r102\" 1, \"r103\" 1, \"r104\" 1, … 3 more values
main.handle(...)
\t/app/w.go:9 +0x9
";
    assert_eq!(write(true), want);
    let without: Vec<&str> = want.lines().filter(|line| !line.starts_with("label ")).collect();
    assert_eq!(write(false).lines().collect::<Vec<_>>(), without);
}

#[test]
fn folded_stacks_have_the_root_first() {
    let snapshot = snapshot();
    let mut out = Vec::new();
    folded::write(&mut out, &Index::new(&snapshot), &[0, 1, 2, 3, 4, 5], false).expect("a Vec");
    let text = String::from_utf8(out).expect("text is UTF-8");
    assert_eq!(
        text,
        "main.main;sync.runtime_SemacquireWaitGroup 1\nmain.spin;[running] 1\nmain.worker[...];main.next 4\n"
    );
}

/// Fields of a protocol buffer message: number, and integer or bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = varint(&mut bytes);
        if tag & 7 == 2 {
            let (data, rest) = bytes.split_at(usize::try_from(value).expect("a length"));
            all.push((tag >> 3, 0, data.to_vec()));
            bytes = rest;
        } else {
            all.push((tag >> 3, value, Vec::new()));
        }
    }
    all
}

/// The fields of a profile of the snapshot.
fn profile(snapshot: &Snapshot, samples: Samples) -> Vec<(u64, u64, Vec<u8>)> {
    let mut out = Vec::new();
    let written = goroutines::write(&mut out, &Index::new(snapshot), &[0, 1, 2, 3, 4, 5, 7], samples).expect("a Vec");
    let mut raw = Vec::new();
    flate2::read::GzDecoder::new(out.as_slice()).read_to_end(&mut raw).expect("it is gzipped");
    let profile = fields(&raw);
    assert_eq!(profile.iter().filter(|field| field.0 == 2).count() as u64, written);
    profile
}

#[test]
fn a_profile_sums_up_equal_stacks_with_equal_labels() {
    let snapshot = snapshot();
    let profile = profile(&snapshot, Samples::Summed);
    let samples = profile.iter().filter(|field| field.0 == 2).map(|field| fields(&field.2));
    let counts: Vec<(u8, usize)> = samples
        .map(|sample| {
            let count = &sample.iter().find(|field| field.0 == 2).expect("a value").2;
            (count[0], sample.iter().filter(|field| field.0 == 3).count())
        })
        .collect();
    // 19, 20 and 33; then 1, 18 with its label, 40 and 41.
    assert_eq!(counts, [(3, 0), (1, 0), (1, 1), (1, 0), (1, 0)]);
}

#[test]
fn a_profile_has_a_sample_for_each_goroutine_when_asked_for() {
    let snapshot = snapshot();
    let profile = profile(&snapshot, Samples::Each);
    let of = |number: u64| profile.iter().filter(move |field| field.0 == number);
    let strings: Vec<&[u8]> = of(6).map(|field| field.2.as_slice()).collect();
    assert_eq!(strings[0], b"");
    assert_eq!(of(2).count(), 7);
    let sample_type = fields(&of(1).next().expect("a sample type").2);
    let sample_type: Vec<&[u8]> = sample_type.iter().map(|field| strings[field.1 as usize]).collect();
    assert_eq!(sample_type, [&b"goroutine"[..], b"count"]);
    let mapping = fields(&of(3).next().expect("a mapping").2);
    assert_eq!(mapping.iter().filter(|field| field.0 >= 7 && field.1 == 1).count(), 4, "has_* are set");
    // Goroutine 18: gopark, chanrecv1, then one location with next inlined into worker.
    let sample = fields(&of(2).nth(1).expect("a sample").2);
    let locations = &sample.iter().find(|field| field.0 == 1).expect("locations").2;
    assert_eq!(locations.len(), 3);
    let ids: Vec<u64> = of(4).map(|field| fields(&field.2)[0].1).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    let last = of(4).find(|field| fields(&field.2)[0].1 == u64::from(locations[2])).expect("the location");
    let lines: Vec<u64> =
        fields(&last.2).iter().filter(|field| field.0 == 4).map(|line| fields(&line.2)[0].1).collect();
    let name = |id: u64| {
        let function = of(5).map(|field| fields(&field.2)).find(|function| function[0].1 == id).expect("a function");
        String::from_utf8_lossy(strings[function[1].1 as usize]).into_owned()
    };
    assert_eq!(lines.into_iter().map(name).collect::<Vec<_>>(), ["main.next", "main.worker[go.shape.int]"]);
    let labels: Vec<String> = sample
        .iter()
        .filter(|field| field.0 == 3)
        .map(|label| {
            let label = fields(&label.2);
            let text = |at: u64| String::from_utf8_lossy(strings[at as usize]).into_owned();
            let value = if label[1].0 == 2 { text(label[1].1) } else { label[1].1.to_string() };
            format!("{}={value}", text(label[0].1))
        })
        .collect();
    let want = ["id=18", "state=waiting", "wait_reason=chan receive", "wait_ns=300000000000", "creator=main.main"];
    assert_eq!(labels[..5], want);
    assert_eq!(labels[5], "user=al\"ice");
}

#[test]
fn frames_of_c_stand_above_those_of_go_when_asked_for() {
    let mut snapshot = snapshot();
    let symbols = std::sync::Arc::make_mut(&mut snapshot.symbols);
    let (read, libc) = (symbols.intern_str("re\u{1b}ad"), symbols.intern_str("/lib/libc.so.6"));
    let nothing = symbols.intern_str("");
    let at = |function, object, offset| ForeignFrame { function, object, pc: Addr(0x7000 + offset), offset };
    let frames = vec![at(Some(read), libc, 0x47), at(None, libc, 0x1234), at(None, nothing, 0x9)];
    let stacks = [true, false]
        .map(|complete| symbols.intern_foreign(ForeignStack { frames: frames.clone(), complete, syscall: Some(0) }));
    let mut print = |stack, options: TracebackOptions| {
        snapshot.goroutines[0].foreign = Some(stack);
        let mut out = Vec::new();
        write_all(&mut out, &Index::new(&snapshot), &[0], options).unwrap();
        String::from_utf8(out).unwrap()
    };
    let plain = TracebackOptions::for_version("go1.26.6");
    let without = print(stacks[0], plain);
    assert!(!without.contains("[C]"));
    let with = print(stacks[0], TracebackOptions { c_frames: true, ..plain });
    let (head, rest) = without.split_once('\n').unwrap();
    let c = "[C] re\\x1bad (libc.so.6) +0x47\n[C] ?? (libc.so.6+0x1234)\n[C] ?? (no file+0x9)\n";
    assert_eq!(with, format!("{head}\n{c}{rest}"));
    let part = print(stacks[1], TracebackOptions { c_frames: true, system: true, ..plain });
    assert!(
        part.contains("[C] ?? (no file+0x9) pc=0x7009\n[C] ...frames between these and Go are not known...\n"),
        "{part}"
    );
}
