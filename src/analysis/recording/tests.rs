use super::{Recording, Spent};
use crate::analysis::series::{Observed, Watching};
use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
use crate::model::{Snapshot, Status};
use std::sync::Arc;

const MS: u64 = 1_000_000;

/// One goroutine in one sample: id, where it is, state and reason, how often it has run.
type Seen = (u64, &'static str, Status, &'static str, u8);

fn sample(at_ms: u64, goroutines: &[Seen]) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    for &(id, function, status, reason, _) in goroutines {
        let reason = (!reason.is_empty()).then_some(reason);
        builder.add(&GoroutineSpec {
            id,
            status,
            reason,
            frames: vec![frame(function, "/w.go", 3)],
            ..Default::default()
        });
    }
    let mut snapshot = builder.build();
    for (goroutine, &(id, _, _, _, runs)) in snapshot.goroutines.iter_mut().zip(goroutines) {
        goroutine.run_seq = Some(runs);
        goroutine.addr.0 = id * 0x200;
        goroutine.sp.0 = id * 0x1_0000;
    }
    snapshot.monotonic_ns = NOW_NS + at_ms * MS;
    snapshot
}

fn record(samples: impl IntoIterator<Item = Snapshot>) -> Recording {
    let (mut watching, mut recording) = (Watching::default(), Recording::default());
    for snapshot in samples {
        let observed: Arc<Observed> = watching.observe(snapshot);
        recording.add(&observed, |_| true);
    }
    recording
}

/// Function, reason, samples and milliseconds.
fn spent(recording: &Recording, with_idle: bool) -> Vec<(String, String, u64, u64)> {
    let mut lines: Vec<_> = recording
        .spent(with_idle)
        .map(|(doing, Spent { samples, ns })| {
            let symbols = recording.symbols(doing).unwrap();
            let stack = symbols.stack(doing.stack.known().unwrap()).unwrap();
            let function = symbols.str(symbols.frame(stack.frames[0].frame).unwrap().function).to_owned();
            (function, recording.reason(doing).unwrap_or(doing.status.name()).to_owned(), samples, ns / MS)
        })
        .collect();
    lines.sort();
    lines
}

fn line(function: &str, what: &str, samples: u64, ms: u64) -> (String, String, u64, u64) {
    (function.to_owned(), what.to_owned(), samples, ms)
}

#[test]
fn times_are_those_between_samples_however_late_they_came() {
    use Status::{Runnable, Waiting};
    let recording = record([
        sample(0, &[(1, "main.a", Waiting, "chan send", 0)]),
        sample(10, &[(1, "main.a", Waiting, "chan send", 1), (2, "main.b", Runnable, "", 0)]),
        sample(40, &[(1, "main.c", Waiting, "sync.Mutex.Lock", 2)]),
        sample(50, &[(1, "main.c", Waiting, "sync.Mutex.Lock", 2)]),
    ]);
    // The second sample stands for 5 ms before it and 15 ms after it.
    assert_eq!(
        spent(&recording, false),
        [
            line("main.a", "chan send", 2, 25),
            line("main.b", "runnable", 1, 20),
            line("main.c", "sync.Mutex.Lock", 2, 25)
        ]
    );
    let stats = recording.stats();
    assert_eq!((stats.samples, stats.duration_ns, stats.seen, stats.torn), (4, 50 * MS, 5, 0));
}

#[test]
fn idle_is_what_never_leaves_a_wait_for_work() {
    use Status::{Syscall, Waiting};
    // 1 never runs; 2 runs after the second sample, in the same place; 3 hangs in a lock; 4 comes later; 5 ends.
    let at = |ms, runs_of_2, more: &[Seen]| {
        let mut all = vec![
            (1, "main.idle", Waiting, "chan receive", 7),
            (2, "main.works", Waiting, "IO wait", runs_of_2),
            (3, "main.hangs", Waiting, "sync.Mutex.Lock", 7),
        ];
        all.extend(more);
        sample(ms, &all)
    };
    let ends: Seen = (5, "main.ends", Waiting, "select", 1);
    let comes: Seen = (6, "main.comes", Waiting, "select", 1);
    let reads: Seen = (8, "main.reads", Syscall, "", 1);
    let recording = record([
        at(0, 1, &[ends, reads]),
        at(10, 1, &[ends, reads]),
        at(20, 2, &[comes, reads]),
        at(30, 2, &[comes, reads]),
    ]);
    let others = [
        line("main.comes", "select", 2, 15),
        line("main.ends", "select", 2, 15),
        line("main.hangs", "sync.Mutex.Lock", 4, 30),
    ];
    let last = [line("main.reads", "syscall", 4, 30), line("main.works", "IO wait", 4, 30)];
    let active: Vec<_> = others.iter().chain(&last).cloned().collect();
    assert_eq!(spent(&recording, false), active);
    let idle = line("main.idle", "chan receive", 4, 30);
    let all: Vec<_> = others.iter().chain([&idle]).chain(&last).cloned().collect();
    assert_eq!(spent(&recording, true), all);
    assert_eq!(recording.idle(), Spent { samples: 4, ns: 30 * MS });
}

/// A worker of the collector works now and then; its waits in between are no more than that.
#[test]
fn the_runtimes_own_are_idle_whenever_they_wait() {
    let at = |ms, runs, status, reason| {
        let mut snapshot = sample(ms, &[(1, "runtime.gcBgMarkWorker", status, reason, runs)]);
        snapshot.goroutines[0].system = true;
        snapshot
    };
    let waits = |ms, runs| at(ms, runs, Status::Waiting, "GC worker (idle)");
    let recording = record([waits(0, 1), at(10, 2, Status::Runnable, ""), waits(20, 3), waits(30, 3)]);
    assert_eq!(spent(&recording, false), [line("runtime.gcBgMarkWorker", "runnable", 1, 10)]);
    assert_eq!(recording.idle(), Spent { samples: 3, ns: 20 * MS });
}

/// Once a pool is full, the next snapshots have another one.
#[test]
fn another_pool_makes_no_difference() {
    let idle: &[Seen] =
        &[(1, "main.idle", Status::Waiting, "select", 7), (2, "main.lock", Status::Waiting, "sync.Mutex.Lock", 7)];
    let other_pool = |mut snapshot: Snapshot| {
        snapshot.symbols = snapshot.symbols.clone();
        snapshot
    };
    let recording =
        record([sample(0, idle), sample(10, idle), other_pool(sample(20, idle)), other_pool(sample(30, idle))]);
    let total = |with_idle| {
        let mut all: Vec<(String, u64, u64)> = Vec::new();
        for (function, _, samples, ms) in spent(&recording, with_idle) {
            match all.iter_mut().find(|(known, ..)| *known == function) {
                Some(known) => (known.1, known.2) = (known.1 + samples, known.2 + ms),
                None => all.push((function, samples, ms)),
            }
        }
        all
    };
    assert_eq!(total(false), [("main.lock".to_owned(), 4, 30)]);
    assert_eq!(total(true), [("main.idle".to_owned(), 4, 30), ("main.lock".to_owned(), 4, 30)]);
}

#[test]
fn only_what_is_selected_is_recorded() {
    let (mut watching, mut recording) = (Watching::default(), Recording::default());
    for ms in [0, 10] {
        let observed = watching.observe(sample(
            ms,
            &[(1, "main.a", Status::Waiting, "chan send", 0), (2, "main.b", Status::Runnable, "", 0)],
        ));
        recording.add(&observed, |goroutine| goroutine.status == Status::Runnable);
    }
    assert_eq!(spent(&recording, true), [line("main.b", "runnable", 2, 10)]);
}

/// Samples in which nothing had run are added up as if they were looked at.
#[test]
fn samples_in_which_nothing_ran_count_like_others() {
    use Status::{Runnable, Waiting};
    let shared = sample(10, &[(1, "main.a", Waiting, "select", 0), (2, "main.b", Waiting, "chan send", 0)]);
    let again = |at_ms: u64| {
        let mut snapshot = shared.clone();
        snapshot.monotonic_ns = NOW_NS + at_ms * MS;
        snapshot.unchanged_since_ns = std::num::NonZeroU64::new(shared.monotonic_ns);
        snapshot
    };
    let other = [(1, "main.a", Waiting, "select", 0), (2, "main.c", Runnable, "", 1)];
    let samples =
        || [sample(0, &other), shared.clone(), again(20), again(35), again(40), sample(60, &other), sample(61, &other)];
    let whole = record(samples());
    let (mut watching, mut recording) = (Watching::default(), Recording::default());
    let mut added_again = Vec::new();
    for snapshot in samples() {
        let observed = watching.observe(snapshot);
        let again = recording.add_again(&observed);
        if !again {
            recording.add(&observed, |_| true);
        }
        added_again.push(again);
    }
    assert_eq!(added_again, [false, false, false, true, true, false, false]);
    for with_idle in [false, true] {
        assert_eq!(spent(&recording, with_idle), spent(&whole, with_idle));
    }
    assert_eq!(recording.stats(), whole.stats());
    assert_eq!(recording.stats().seen, 14);
}
