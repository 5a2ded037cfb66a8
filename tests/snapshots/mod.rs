//! Snapshots as text, to be compared: everything that was found, and nothing of how it was read.

#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gospy::capture::{CaptureOptions, FreezeMode, OpenOptions, Session};
use gospy::model::{FrameId, Goroutine, Outside, Snapshot, StackState};
use gospy::process::Target;
use gospy::process::live::LiveTarget;

/// Opens a target and captures everything of it.
pub fn snapshot(target: Box<dyn Target>) -> Snapshot {
    let mut session = Session::open(target, &OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    session.capture(&everything()).unwrap_or_else(|e| panic!("{e}"))
}

/// Opens a running process.
pub fn session(pid: i32) -> Session {
    let target = Box::new(LiveTarget::open(pid).unwrap());
    Session::open(target, &OpenOptions::default()).unwrap()
}

/// Captures all stacks while the program stands still.
pub fn frozen(session: &mut Session, mode: FreezeMode) -> Snapshot {
    session.capture(&CaptureOptions { stacks: true, freeze: Some(mode), ..CaptureOptions::default() }).unwrap()
}

pub fn everything() -> CaptureOptions {
    CaptureOptions {
        stacks: true,
        dead: true,
        c_frames: true,
        waits: true,
        system_calls: true,
        traceback: true,
        ..CaptureOptions::default()
    }
}

fn place(snapshot: &Snapshot, id: Option<FrameId>) -> String {
    let Some(frame) = id.and_then(|id| snapshot.symbols.frame(id)) else { return "-".to_owned() };
    let text = |id| snapshot.symbols.str(id);
    format!(
        "{} {}:{} {} {} {:?}",
        text(frame.function),
        text(frame.file),
        frame.line,
        frame.pc,
        frame.entry,
        frame.inlined
    )
}

/// One goroutine in full.
pub fn goroutine(snapshot: &Snapshot, g: &Goroutine) -> String {
    let mut out = format!(
        "{} {} {:?} scan={} {:?} since={:?} m={:?} parent={:?} bubble={:?} system={} locked={} sp={} stack={}..{}\n",
        g.id.0,
        g.addr,
        g.status,
        g.scan,
        g.wait_reason.and_then(|id| snapshot.wait_reason(id)),
        g.wait_since_ns,
        g.m,
        g.parent,
        g.bubble,
        g.system,
        g.locked,
        g.sp,
        g.stack_lo,
        g.stack_hi
    );
    for (what, id) in [("creator", g.creator), ("start", g.start), ("innermost", g.innermost), ("current", g.current)] {
        writeln!(out, "  {what} {}", place(snapshot, id)).unwrap();
    }
    for label in g.labels.map(|id| snapshot.symbols.labels(id)).unwrap_or_default() {
        writeln!(out, "  label {}={}", snapshot.symbols.str(label.key), snapshot.symbols.str(label.value)).unwrap();
    }
    for ancestor in g.ancestors.map(|id| snapshot.symbols.ancestors(id)).unwrap_or_default() {
        writeln!(out, "  ancestor {:?} {}", ancestor.id, place(snapshot, ancestor.creator)).unwrap();
        for &frame in &ancestor.frames {
            writeln!(out, "    {}", place(snapshot, Some(frame))).unwrap();
        }
    }
    if let Some(stack) = g.foreign.and_then(|id| snapshot.symbols.foreign(id)) {
        writeln!(out, "  in C, complete={}", stack.complete).unwrap();
        for frame in &stack.frames {
            let name = frame.function.map(|id| snapshot.symbols.str(id));
            let object = snapshot.symbols.str(frame.object);
            writeln!(out, "    {name:?}+{:x} {} {object}", frame.offset, frame.pc).unwrap();
        }
    }
    match g.stack {
        StackState::NotShown(why) => writeln!(out, "  no stack: {why:?}").unwrap(),
        StackState::Known(id) => {
            let arguments = snapshot.traceback.as_ref().and_then(|details| details.arguments.of(g.addr));
            let mut physical = 0;
            for frame in &snapshot.symbols.stack(id).unwrap().frames {
                let place = place(snapshot, Some(frame.frame));
                writeln!(out, "  {place} sp+{:x} fp+{:x} {}", frame.sp_offset, frame.fp_offset, frame.hidden).unwrap();
                if snapshot.symbols.frame(frame.frame).is_some_and(|frame| frame.inlined) {
                    continue;
                }
                let words = arguments.and_then(|arguments| arguments.frame(physical, frame.fp_offset));
                physical += 1;
                let pieces = words.map(|words| words.pieces().collect::<Vec<_>>());
                writeln!(out, "    arguments {pieces:?}").unwrap();
            }
        }
    }
    out
}

/// All goroutines, by address.
pub fn goroutines(snapshot: &Snapshot) -> BTreeMap<u64, String> {
    snapshot.goroutines.iter().map(|g| (g.addr.0, goroutine(snapshot, g))).collect()
}

/// Everything but the goroutines. What the kernel says only of a running process is left out.
pub fn rest(snapshot: &Snapshot) -> String {
    let mut target = snapshot.target.clone();
    (target.process_state, target.rss_bytes, target.cpu_ns, target.uptime_ns) = (None, None, None, None);
    target.resources = Default::default();
    let mut threads = snapshot.threads.clone();
    for thread in &mut threads {
        thread.state = None;
    }
    let mut processors = String::new();
    for p in &snapshot.processors {
        writeln!(processors, "{p:?}").unwrap();
    }
    format!(
        "{target:#?}\n{:#?}\n{:#?}\n{:#?}\n{processors}{threads:#?}\ndead {}\n{:?}\n",
        snapshot.sched, snapshot.heap, snapshot.gc, snapshot.dead_goroutines, snapshot.wait_reasons
    )
}

/// The first lines in which two texts differ.
pub fn difference(a: &str, b: &str) -> Option<String> {
    let pair = a.lines().zip(b.lines()).find(|(a, b)| a != b);
    match pair {
        Some((a, b)) => Some(format!("\n  {a}\n  {b}")),
        None => (a.len() != b.len()).then(|| format!("one goes on: {:?} {:?}", a.len(), b.len())),
    }
}

/// Fails unless everything of two snapshots is the same.
pub fn assert_same(label: &str, a: &Snapshot, b: &Snapshot) {
    if let Some(text) = difference(&rest(a), &rest(b)) {
        panic!("{label}: {text}");
    }
    assert_same_goroutines(label, a, b, |_| true);
    assert_eq!(system_calls(a), system_calls(b), "{label}");
    assert_eq!(not_in_go(a), not_in_go(b), "{label}");
    assert_eq!(a.descriptors, b.descriptors, "{label}");
}

/// What C code waits for in the kernel, by goroutine. Core files do not say.
fn system_calls(snapshot: &Snapshot) -> BTreeMap<u64, Option<u64>> {
    let of = |g: &Goroutine| Some((g.id.0, snapshot.symbols.foreign(g.foreign?)?.syscall));
    snapshot.goroutines.iter().filter_map(of).collect()
}

/// What goroutines in system calls and in C do, and why that is not known.
fn not_in_go(snapshot: &Snapshot) -> (Vec<String>, Option<&str>) {
    let one = |outside: &Outside| {
        let function =
            outside.c_function.map(|frame| (frame.function.map(|id| snapshot.symbols.str(id)), frame.offset));
        format!("{} {:?} {:?} {function:?}", outside.goroutine, outside.activity, outside.polled)
    };
    (snapshot.not_in_go.iter().map(one).collect(), snapshot.not_in_go.why_unknown())
}

/// Fails unless the goroutines of `a` that `which` names are the same in `b`.
pub fn assert_same_goroutines(label: &str, a: &Snapshot, b: &Snapshot, which: impl Fn(&Goroutine) -> bool) {
    let ours = goroutines(b);
    for g in a.goroutines.iter().filter(|g| which(g)) {
        let text = goroutine(a, g);
        match ours.get(&g.addr.0) {
            None => panic!("{label}: missing is {text}"),
            Some(other) => {
                if let Some(difference) = difference(&text, other) {
                    panic!("{label}: goroutine {} differs: {difference}\n{text}\n{other}", g.id.0);
                }
            }
        }
    }
}
