use super::{FINDINGS, of_snapshot};
use crate::analysis::Index;
use crate::model::Status;
use crate::model::testing::{FrameSpec, GoroutineSpec, SnapshotBuilder, frame};

const MINUTE: u64 = 60_000_000_000;

/// Codes and ids of what is found in these goroutines.
fn found(goroutines: &[GoroutineSpec<'_>]) -> Vec<(&'static str, Vec<u64>)> {
    let mut builder = SnapshotBuilder::new();
    for goroutine in goroutines {
        builder.add(goroutine);
    }
    let snapshot = builder.build();
    let id = |&at: &usize| snapshot.goroutines[at].id.0;
    let found = of_snapshot(&Index::new(&snapshot));
    found.iter().map(|found| (found.finding.code(), found.positions.iter().map(id).collect())).collect()
}

fn stack(functions: &[&'static str]) -> Vec<FrameSpec<'static>> {
    functions.iter().map(|function| frame(function, "/x.go", 7)).collect()
}

fn waits(id: u64, reason: &str, wait_ns: Option<u64>) -> GoroutineSpec<'_> {
    GoroutineSpec { id, reason: Some(reason), wait_ns, frames: stack(&["main.f"]), ..Default::default() }
}

#[test]
fn what_can_never_go_on() {
    let goroutines = [
        // The idiom that keeps a program alive.
        waits(1, "select (no cases)", None),
        waits(2, "chan receive (nil chan)", None),
        waits(3, "chan send (nil chan)", Some(1)),
        waits(4, "select (no cases)", None),
        waits(5, "chan receive", Some(900 * MINUTE)),
        waits(6, "select", Some(900 * MINUTE)),
        GoroutineSpec { id: 7, status: Status::Leaked, reason: Some("chan send"), ..Default::default() },
        GoroutineSpec { system: true, ..waits(8, "chan receive (nil chan)", None) },
        GoroutineSpec { id: 0, status: Status::Dead, ..Default::default() },
    ];
    let want = [("leaked", vec![7]), ("nil_channel", vec![2, 3]), ("empty_select", vec![4])];
    assert_eq!(found(&goroutines), want);
    // Blocking the main goroutine on a nil channel is no idiom.
    assert_eq!(found(&[waits(1, "chan receive (nil chan)", None)]), [("nil_channel", vec![1])]);
    assert!(found(&goroutines[4..6]).is_empty());
}

#[test]
fn locks_that_are_not_let_go() {
    let goroutines = [
        waits(1, "sync.Mutex.Lock", Some(MINUTE)),
        waits(2, "sync.Mutex.Lock", Some(MINUTE - 1)),
        waits(3, "sync.RWMutex.RLock", Some(2 * MINUTE)),
        waits(4, "sync.RWMutex.Lock", Some(2 * MINUTE)),
        waits(5, "sync.RWMutex.Lock", None),
        waits(6, "sync.WaitGroup.Wait", Some(2 * MINUTE)),
        // That may be anything.
        waits(7, "semacquire", Some(2 * MINUTE)),
    ];
    assert_eq!(found(&goroutines), [("long_lock_wait", vec![1, 3, 4])]);
}

#[test]
fn finalizers_that_block() {
    let runs = |id, functions: &[&'static str], wait_ns| GoroutineSpec {
        id,
        reason: Some("chan receive"),
        wait_ns,
        frames: stack(functions),
        ..Default::default()
    };
    let mut builder = SnapshotBuilder::new();
    for spec in [
        runs(1, &["runtime.gopark", "main.close", "runtime.runfinq"], Some(MINUTE)),
        runs(2, &["runtime.gopark", "main.close", "runtime.runFinalizers"], Some(MINUTE - 1)),
        runs(3, &["runtime.gopark", "main.close", "runtime.runCleanups"], Some(MINUTE)),
        runs(4, &["runtime.gopark", "main.close"], Some(MINUTE)),
        runs(5, &["runtime.gopark", "runtime.runFinalizers"], Some(900 * MINUTE)),
    ] {
        builder.add(&spec);
    }
    let starts = ["runtime.runfinq", "runtime.runFinalizers", "runtime.runCleanups", "main.close", "runtime.runfinq"];
    for (at, start) in starts.into_iter().enumerate() {
        let start = builder.frame(&frame(start, "/x.go", 7));
        builder.edit().goroutines[at].start = Some(start);
    }
    let snapshot = builder.build();
    let found = of_snapshot(&Index::new(&snapshot));
    let [blocked] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((blocked.finding.code(), blocked.positions.as_slice()), ("blocked_finalizer", &[0, 2][..]));
}

#[test]
fn programs_that_die() {
    use crate::model::StackState;
    let mut builder = SnapshotBuilder::new();
    let stacks: [&[&'static str]; 5] = [
        &["runtime.crash", "runtime.fatalpanic", "runtime.gopanic", "main.f"],
        &["runtime.fatalthrow", "runtime.throw", "main.f"],
        &["runtime.fatalthrow", "runtime.fatal", "sync.fatal", "main.f"],
        // It may be recovered.
        &["main.f.func1", "runtime.gopanic", "main.f"],
        &["main.f"],
    ];
    for (id, functions) in (1..).zip(stacks) {
        builder.add(&GoroutineSpec { id, frames: stack(functions), ..Default::default() });
    }
    builder.add(&GoroutineSpec { id: 9, status: Status::Running, frames: stack(stacks[0]), ..Default::default() });
    // As in a core file, which has the registers.
    for goroutine in builder.edit().goroutines.iter_mut().take(5) {
        goroutine.status = Status::Running;
        assert!(matches!(goroutine.stack, StackState::Known(_)));
    }
    let snapshot = builder.build();
    let found = of_snapshot(&Index::new(&snapshot));
    let [dying] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((dying.finding.code(), dying.positions.as_slice()), ("fatal_error", &[0, 1, 2][..]));
}

#[test]
fn the_dead_come_first() {
    use super::{Died, Seen, find_in_dead};
    let mut builder = SnapshotBuilder::new();
    for id in [7, 8] {
        builder.add(&GoroutineSpec { id, frames: stack(&["runtime.fatalpanic", "main.f"]), ..Default::default() });
    }
    builder.add(&waits(9, "chan send (nil chan)", None));
    builder.edit().goroutines.iter_mut().take(2).for_each(|goroutine| goroutine.status = Status::Running);
    let snapshot = builder.build();
    let index = Index::new(&snapshot);
    let found = |goroutine: Option<u64>| -> Vec<(&str, Vec<usize>)> {
        let died = Died { headline: "panic: boom".to_owned(), goroutine };
        let seen = snapshot.goroutines.iter().map(|goroutine| Seen::of_goroutine(&index, goroutine));
        find_in_dead(seen, Some(&died)).iter().map(|found| (found.finding.code(), found.positions.clone())).collect()
    };
    // The other one was ending the program too.
    assert_eq!(found(Some(7)), [("died", vec![0]), ("fatal_error", vec![1]), ("nil_channel", vec![2])]);
    assert_eq!(found(None), [("died", vec![]), ("fatal_error", vec![0, 1]), ("nil_channel", vec![2])]);
}

#[test]
fn panics_whose_deferred_functions_block() {
    let mut builder = SnapshotBuilder::new();
    let panics: &[&'static str] = &["runtime.gopark", "main.f.func1", "runtime.gopanic", "main.f"];
    for (id, functions) in [(1, panics), (2, panics), (3, &["runtime.gopark", "main.f"])] {
        builder.add(&GoroutineSpec { id, reason: Some("sleep"), frames: stack(functions), ..Default::default() });
    }
    let value = std::sync::Arc::make_mut(&mut builder.edit().symbols).intern_str("boom");
    for at in [0, 2] {
        builder.edit().goroutines[at].panic = Some(value);
    }
    let snapshot = builder.build();
    let found = of_snapshot(&Index::new(&snapshot));
    let [panicking] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((panicking.finding.code(), panicking.positions.as_slice()), ("panicking", &[0][..]));
    assert_eq!(panicking.detail.as_deref(), Some("boom"));
}

#[test]
fn codes_are_words_and_no_two_are_alike() {
    let codes: std::collections::BTreeSet<&str> = FINDINGS.iter().map(|finding| finding.code()).collect();
    assert_eq!(codes.len(), FINDINGS.len());
    for finding in FINDINGS {
        assert!(finding.code().chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        assert!(finding.meaning().ends_with('.') && finding.one() != finding.many());
    }
}
