use super::*;
use crate::analysis::census::intern_line;
use crate::analysis::place::Spot;
use crate::analysis::series::heap_parts::KeptBy;
use crate::model::testing::SnapshotBuilder;
use crate::model::{GcStats, HeapStats};

const SECOND: u64 = 1_000_000_000;

fn amount(objects: u64, bytes: u64) -> Amount {
    Amount { objects, bytes }
}

/// A moment so many seconds after the start, with nothing but figures.
fn moment(name: &str, uptime: u64, cycles: u32) -> HeapMoment {
    let mut snapshot = SnapshotBuilder::new().build();
    snapshot.target.pid = 7;
    snapshot.target.uptime_ns = Some(uptime * SECOND);
    snapshot.captured_at_unix_ns = (1_000_000 + uptime) * SECOND;
    snapshot.heap = Some(HeapStats { heap_alloc: 100 * uptime, total_alloc: 1_000 * uptime, ..HeapStats::default() });
    snapshot.gc = Some(GcStats { cycles, ..GcStats::default() });
    HeapMoment::of_snapshot(name.to_owned(), &snapshot, "nothing was read")
}

fn changes(change: &HeapChange, kind: PartKind) -> &Changes {
    change.changes.iter().find(|changes| changes.kind == kind).unwrap()
}

#[test]
fn parts_are_the_same_by_their_names() {
    let mut pool = SymbolPool::default();
    let mut spot = |function: &str, line| Some(Spot::at(intern_line(&mut pool, function, "/app/a.go", line)));
    // The same line, of two frames: one moment is of another build, or of a file.
    let (fill, again, other) = (spot("main.fill", 7), spot("main.fill", 7), spot("main.other", 9));
    let names = [pool.intern_str("main.order"), pool.intern_str("main.gone")];
    let mut before = moment("before", 10, 3);
    let mut after = moment("after", 70, 9);
    before.sites = Ok(vec![(Part::Site(fill), amount(1, 10)), (Part::Site(other), amount(5, 500))]);
    after.sites = Ok(vec![
        (Part::Site(other), amount(5, 400)),
        (Part::Site(again), amount(2, 30)),
        (Part::Site(None), amount(1, 1)),
    ]);
    before.types = Ok(vec![
        (Part::Type(names[0]), amount(1, 64)),
        (Part::Type(names[1]), amount(1, 8)),
        (Part::Untyped { size: Some(64), pointers: true }, amount(1, 64)),
    ]);
    // Twice the same is one.
    after.types = Ok(vec![
        (Part::Type(names[0]), amount(1, 64)),
        (Part::Type(names[0]), amount(2, 128)),
        (Part::Untyped { size: Some(64), pointers: true }, amount(1, 64)),
        (Part::Untyped { size: Some(64), pointers: false }, amount(1, 64)),
    ]);
    before.roots = Ok(vec![(Part::Root(KeptBy::Goroutines(fill)), amount(1, 10))]);
    after.roots =
        Ok(vec![(Part::Root(KeptBy::Goroutines(other)), amount(1, 10)), (Part::Root(KeptBy::Variables), amount(1, 5))]);
    let change = HeapChange::between(&before, &after, &pool);
    let rows = |kind| -> Vec<(i64, Amount, Amount)> {
        let parts = changes(&change, kind).parts.as_ref().unwrap();
        parts.iter().map(|change| (change.bytes(), change.before, change.after)).collect()
    };
    assert_eq!(
        rows(PartKind::Sites),
        [(20, amount(1, 10), amount(2, 30)), (1, amount(0, 0), amount(1, 1)), (-100, amount(5, 500), amount(5, 400))]
    );
    assert_eq!(
        rows(PartKind::Types),
        [(128, amount(1, 64), amount(3, 192)), (64, amount(0, 0), amount(1, 64)), (-8, amount(1, 8), amount(0, 0))]
    );
    assert_eq!(rows(PartKind::Roots).iter().map(|row| row.0).collect::<Vec<_>>(), [10, 5, -10]);
    assert_eq!(changes(&change, PartKind::SizeClasses).parts, Err((0, "nothing was read".to_owned())));
    assert_eq!((change.cycles, change.allocated), (Some(6), Some(60_000)));
    assert_eq!((change.relation.same_process, change.relation.elapsed_ns), (Some(true), i128::from(60 * SECOND)));
    assert!(change.has_parts() && !HeapChange::between(&moment("a", 1, 1), &after, &pool).has_parts());
}

/// What sweeps have left is compared where both have it, and what is in use otherwise.
#[test]
fn size_classes_are_compared_with_their_like() {
    let pool = SymbolPool::default();
    let class = |bytes| Ok(vec![(Part::SizeClass(64), amount(bytes / 64, bytes))]);
    let (mut before, mut after) = (moment("before", 10, 3), moment("after", 70, 3));
    (before.classes, after.classes) = (class(6_400), class(12_800));
    (before.survivors, after.survivors) = (class(640), class(1_280));
    let grew = |before: &HeapMoment, after: &HeapMoment| {
        let change = HeapChange::between(before, after, &pool);
        let classes = changes(&change, PartKind::SizeClasses);
        (classes.parts.as_ref().unwrap()[0].bytes(), classes.with_garbage)
    };
    assert_eq!(grew(&before, &after), (640, false));
    before.survivors = Err("it is JSON".to_owned());
    assert_eq!(grew(&before, &after), (6_400, true));
}

#[test]
fn another_run_is_no_growth_over_time() {
    let pool = SymbolPool::default();
    let before = moment("before", 100, 50);
    // It has the same pid, and began anew.
    let mut after = moment("after", 100, 3);
    after.of.captured_at_unix_ns += 500 * SECOND;
    let change = HeapChange::between(&before, &after, &pool);
    assert_eq!((change.relation.same_process, change.cycles, change.allocated), (Some(false), None, None));
    // The time of a core file is when it was written; its program may have been in that state long before.
    after.of.time_of_file = true;
    assert_eq!(HeapChange::between(&before, &after, &pool).relation.same_process, None);
    // Torn or made-up figures make nothing negative.
    let mut odd = moment("after", 200, 3);
    odd.allocated = Some(1);
    let change = HeapChange::between(&before, &odd, &pool);
    assert_eq!((change.relation.same_process, change.cycles, change.allocated), (Some(true), None, None));
}
