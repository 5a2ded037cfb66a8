//! What is printed of arguments and of long stacks; the rest of a traceback is in `report/stack_tests.rs`.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::{FrameLimit, TracebackOptions, write_all};
use crate::analysis::{Answer, Index, Request};
use crate::model::testing::{FrameSpec, GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{
    ArgumentToken, Arguments, FrameArguments, Snapshot, StackArguments, StackState, Status, TracebackDetails,
};
use crate::report::json::{self, JsonOptions};

fn word(dead: bool) -> ArgumentToken {
    ArgumentToken::Word { offset: 0, size: 8, dead }
}

fn dump(snapshot: &Snapshot, options: TracebackOptions) -> String {
    let all: Vec<usize> = (0..snapshot.goroutines.len()).collect();
    let mut out = Vec::new();
    write_all(&mut out, &Index::new(snapshot), &all, options).expect("a Vec takes everything");
    String::from_utf8(out).expect("text is UTF-8")
}

/// Two goroutines on the same stack of two physical frames, with an inlined one between, and the words of one.
fn with_words() -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    for id in [1, 2] {
        let frames = vec![
            frame("main.f", "/app/f.go", 2),
            FrameSpec { inlined: true, ..frame("main.inlined", "/app/f.go", 5) },
            frame("main.g", "/app/f.go", 9),
        ];
        builder.add(&GoroutineSpec { id, reason: Some("select"), frames, ..Default::default() });
    }
    let mut snapshot = builder.build();
    let StackState::Known(stack) = snapshot.goroutines[0].stack else { panic!("it has a stack") };
    let tops: Vec<u64> = snapshot.symbols.stack(stack).expect("a stack").frames.iter().map(|f| f.fp_offset).collect();
    let tokens = [
        vec![
            ArgumentToken::Open,
            word(false),
            ArgumentToken::Open,
            ArgumentToken::Close,
            word(true),
            ArgumentToken::Close,
            ArgumentToken::TooFar,
            word(false),
            ArgumentToken::More,
        ],
        vec![],
    ];
    let mut frames = Vec::new();
    for ((top, tokens), first_word) in [tops[0], tops[2]].into_iter().zip(tokens).zip([0, 3]) {
        frames.push(FrameArguments { fp_offset: top, tokens: Some(tokens.into()), first_word });
    }
    let mut arguments = Arguments::default();
    arguments.set_stacks(vec![Arc::new(StackArguments { frames, words: 3 })]);
    let g = snapshot.goroutines[0].addr;
    assert!(arguments.insert(g, 0, [Some(0), Some(0xc0_0001), None].into_iter()));
    snapshot.traceback = Some(TracebackDetails { arguments, ..TracebackDetails::default() });
    snapshot
}

const WORDS: &str = "{0x0, {}, 0xc00001?}, _, _, ...";

#[test]
fn arguments_are_the_goroutines_own() {
    let text = dump(&with_words(), TracebackOptions::for_version("go1.26.6"));
    let want = format!(
        "goroutine 1 [select]:\nmain.f({WORDS})\n\t/app/f.go:2 +0x2\nmain.inlined(...)\n\t/app/f.go:5\nmain.g()\n\
         \t/app/f.go:9 +0x9\n\ngoroutine 2 [select]:\nmain.f(...)\n\t/app/f.go:2 +0x2\nmain.inlined(...)\n\t/app/f.go:5\n\
         main.g(...)\n\t/app/f.go:9 +0x9\n"
    );
    assert_eq!(text, want);
}

#[test]
fn json_has_arguments_where_they_are_asked_for() {
    let snapshot = with_words();
    let document = |arguments| -> serde_json::Value {
        let mut out = Vec::new();
        let index = Index::new(&snapshot);
        let answer = Answer::of(&index, Request::default());
        json::write(&mut out, &answer, JsonOptions { frames: true, arguments }).expect("a Vec takes everything");
        serde_json::from_slice(&out).expect("it is JSON")
    };
    let with = document(true);
    let of = |goroutine: usize, frame: usize| &with["goroutines"]["list"][goroutine]["frames"][frame]["arguments"];
    assert_eq!((of(0, 0), of(0, 2)), (&WORDS.into(), &"".into()));
    // What was inlined has none; those of the other goroutine are not known.
    assert!(of(0, 1).is_null() && of(1, 0).is_null());
    let without = document(false);
    assert!(without["goroutines"]["list"][0]["frames"][0].get("arguments").is_none());
    for goroutine in 0..2 {
        assert!((0..3).all(|frame| of(goroutine, frame).is_string() || of(goroutine, frame).is_null()));
    }
}

/// The names of the frames that are printed of a stack of `visible` frames below two hidden ones.
fn printed(visible: usize, panic_at: Option<usize>, change: impl FnOnce(&mut TracebackOptions)) -> Vec<String> {
    let mut builder = SnapshotBuilder::new();
    let name = |n| if panic_at == Some(n) { "runtime.gopanic".to_owned() } else { format!("main.f{n}") };
    let names: Vec<String> = (0..visible).map(name).collect();
    let mut frames = vec![frame("runtime.gopark", "/go/src/runtime/proc.go", 1); 2];
    frames.extend(names.iter().map(|name| frame(name, "/app/f.go", 1)));
    builder.add(&GoroutineSpec { id: 1, status: Status::Runnable, frames, ..Default::default() });
    let mut snapshot = builder.build();
    if let Some(at) = panic_at {
        let StackState::Known(id) = snapshot.goroutines[0].stack else { panic!("it has a stack") };
        let mut stack = snapshot.symbols.stack(id).expect("a stack").clone();
        // Whoever panicked is of interest, though the function is the runtime's.
        stack.frames[at + 2].hidden = false;
        let stack = Arc::make_mut(&mut snapshot.symbols).intern_stack(stack);
        snapshot.goroutines[0].stack = StackState::Known(stack);
    }
    let mut options = TracebackOptions::for_version("go1.26.6");
    change(&mut options);
    let text = dump(&snapshot, options);
    let lines = text.lines().skip(1).filter(|line| !line.starts_with('\t'));
    lines.map(|line| line.trim_end_matches("(...)").trim_start_matches("main.").to_owned()).collect()
}

#[test]
fn long_stacks_are_cut_as_the_runtime_cuts_them() {
    let since_1_21 = |visible| printed(visible, None, |_| {});
    assert_eq!(since_1_21(100).len(), 100);
    let cut = since_1_21(103);
    assert_eq!(cut.len(), 101);
    assert_eq!(
        [&cut[49], &cut[50], &cut[51], &cut[100]].map(String::as_str),
        ["f49", "...3 frames elided...", "f53", "f102"]
    );
    // Hidden ones are among the 100 that Go 1.20 looks at, and only 100 that are printed are noted.
    let before = |visible| printed(visible, None, |options| options.minor = 20);
    assert_eq!((before(98).len(), before(150).len(), before(150)[97].as_str()), (98, 98, "f97"));
    let all = printed(150, None, |options| (options.minor, options.system) = (20, true));
    assert_eq!((all.len(), all[100].as_str()), (101, "...additional frames elided..."));
    assert_eq!(printed(150, None, |options| options.frames = FrameLimit::None).len(), 150);
}

/// The runtime starts anew after the inner frames, and the first frame that it meets then is not shown if it is a
/// panic.
#[test]
fn a_panic_right_after_the_inner_frames_is_left_out() {
    for at in [49, 51] {
        assert!(printed(60, Some(at), |_| {}).contains(&"panic".to_owned()), "{at}");
    }
    let at_50 = printed(60, Some(50), |_| {});
    assert_eq!((at_50.len(), at_50[50].as_str()), (59, "f51"));
    assert_eq!(printed(101, Some(50), |_| {}).len(), 100);
    let with_all = printed(60, Some(50), |options| options.frames = FrameLimit::None);
    assert_eq!(with_all[50], "panic");
}

#[test]
fn minutes_count_from_a_stamp_however_old() {
    let mut snapshot = with_words();
    let g = snapshot.goroutines[0].addr;
    let since = NonZeroU64::new(snapshot.monotonic_ns - 130_000_000_000).expect("the clock is later than that");
    snapshot.traceback.as_mut().expect("it has details").stamps.insert(g, since);
    let text = dump(&snapshot, TracebackOptions::for_version("go1.26.6"));
    assert!(text.starts_with("goroutine 1 [select, 2 minutes]:\n"), "{text}");
}

#[test]
fn labels_are_printed_as_the_version_does() {
    let mut builder = SnapshotBuilder::new();
    let labels = vec![("op", "read/x.y_1"), ("tenant", "ac me\t"), ("z", "")];
    builder.add(&GoroutineSpec { id: 1, reason: Some("select"), labels, ..Default::default() });
    let mut snapshot = builder.build();
    let head = |snapshot: &Snapshot, version: &str, labels: bool| {
        let text = dump(snapshot, TracebackOptions { labels, ..TracebackOptions::for_version(version) });
        text.lines().next().expect("a header").to_owned()
    };
    let in_1_26 = r#"goroutine 1 [select labels:{"op": "read/x.y_1", "tenant": "ac me\t", "z": ""}]:"#;
    let in_1_27 = r#"goroutine 1 [select] {op: read/x.y_1, tenant: "ac me\t", z: }:"#;
    assert_eq!(head(&snapshot, "go1.26.6", false), "goroutine 1 [select]:");
    assert_eq!(head(&snapshot, "go1.24.1", true), in_1_26);
    assert_eq!(head(&snapshot, "go1.27.1", true), in_1_27);
    snapshot.traceback = Some(TracebackDetails { labels: true, ..TracebackDetails::default() });
    assert_eq!(head(&snapshot, "go1.26.6", false), in_1_26);
    assert_eq!(head(&snapshot, "go1.27.1", false), in_1_27);
}
