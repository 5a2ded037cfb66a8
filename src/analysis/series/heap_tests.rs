use super::*;
use crate::addr::Addr;
use crate::model::testing::SnapshotBuilder;
use crate::model::{
    AllocationProfile, AllocationSite, Frame, GcStats, HeapStats, Language, ProfileStack, Stack, StackFrame, Survivors,
};

const MIB: u64 = 1 << 20;

/// A reading at `second` within cycle `cycle`, with so many bytes marked, in use, allocated since the start, and of
/// one site and one size class.
struct Spec {
    second: u64,
    cycle: u32,
    marked: u64,
    total: u64,
    site: u64,
    class: u64,
}

fn reading(spec: &Spec) -> HeapReading {
    let mut snapshot = SnapshotBuilder::new().build();
    snapshot.monotonic_ns = 1_000_000_000 * (100 + spec.second);
    snapshot.heap = Some(HeapStats { heap_marked: Some(spec.marked), total_alloc: spec.total, ..HeapStats::default() });
    snapshot.gc = Some(GcStats { cycles: spec.cycle, ..GcStats::default() });
    let mut symbols = SymbolPool::default();
    // Each reading numbers its names differently.
    for n in 0..spec.second {
        symbols.intern_str(&format!("other{n}"));
    }
    let (function, file) = (symbols.intern_str("main.fill"), symbols.intern_str("/app/fill.go"));
    let frame = symbols.intern_frame(Frame {
        function,
        file,
        line: 7,
        start_line: 0,
        pc: Addr(1),
        entry: Addr(1),
        inlined: false,
        language: Language::Go,
    });
    let frames = vec![StackFrame { frame, sp_offset: 0, fp_offset: 0, hidden: false }];
    let stack =
        ProfileStack { pcs: vec![Addr(1)], recorded: 1, hidden: 0, stack: symbols.intern_stack(Stack { frames }) };
    let site =
        AllocationSite { stack, size: MIB, allocs: spec.site / MIB, frees: 0, alloc_bytes: spec.site, free_bytes: 0 };
    HeapReading {
        snapshot,
        allocations: Ok(AllocationProfile { rate: Some(1), sites: vec![site], symbols, ..Default::default() }),
        survivors: Ok(vec![Survivors { class: 9, object_size: 128, objects: spec.class / 128, bytes: spec.class }]),
    }
}

fn growth(specs: impl Iterator<Item = Spec>, allowed: f64) -> (HeapGrowth, SymbolPool) {
    let (mut series, mut pool) = (HeapSeries::default(), SymbolPool::default());
    specs.for_each(|spec| series.record(&reading(&spec), &mut pool));
    (series.growth(allowed), pool)
}

#[test]
fn what_is_kept_from_cycle_to_cycle_grows() {
    let leak = |n: u64| Spec {
        second: n,
        cycle: n as u32,
        marked: (40 + n) * MIB,
        total: 9 * n * MIB,
        site: (3 + n) * MIB,
        class: 5 * MIB,
    };
    let (found, pool) = growth((0..31).map(leak), 0.0);
    assert_eq!(found.judgement, Judgement::Grows);
    let rate = found.live.unwrap().steady().unwrap();
    assert_eq!((rate.per_second, rate.first, rate.last), (MIB as f64, 40 * MIB, 70 * MIB));
    let [(Part::Site(Some(spot)), trend)] = found.growing[..] else { panic!("{:?}", found.growing) };
    assert_eq!((pool.function(spot.frame), trend.first, trend.last), ("main.fill", 3 * MIB, 33 * MIB));
    assert_eq!((found.samples, found.cycles, found.watched_ns), (31, 30, 30_000_000_000));
    // More than that is allowed.
    let (found, _) = growth((0..31).map(leak), 2.0 * MIB as f64);
    assert!(found.growing.is_empty() && matches!(found.judgement, Judgement::Rests { .. }), "{found:?}");
}

/// One long rise to the next collection, watched from its beginning to its end: the most that a sawtooth can fool.
#[test]
fn a_sawtooth_is_no_growth_however_slow() {
    for period in [1_u64, 3, 10, 40, 1_000] {
        let sawtooth = |n: u64| Spec {
            second: n,
            cycle: (n / period) as u32,
            marked: 40 * MIB,
            total: n * 10 * MIB,
            site: 3 * MIB,
            class: 5 * MIB,
        };
        let (found, _) = growth((0..31).map(sawtooth), 0.0);
        assert!(found.growing.is_empty(), "{period}: {found:?}");
        match found.judgement {
            Judgement::Rests { .. } if period <= 3 => {}
            // Nothing is known of what was allocated since: it is not called healthy either.
            Judgement::TooFewCycles { seen } if period > 3 => {
                assert_eq!((seen as u64, u64::from(found.cycles)), (30 / period, 30 / period));
            }
            other => panic!("{period}: {other:?}"),
        }
    }
}

#[test]
fn what_allocates_nearly_nothing_cannot_have_grown() {
    let idle = |n: u64| Spec { second: n, cycle: 3, marked: MIB, total: MIB + 100 * n, site: 0, class: 0 };
    let (found, _) = growth((0..31).map(idle), 0.0);
    assert_eq!(found.judgement, Judgement::Quiet { allocated: 3_000 });
    let (found, _) = growth((0..1).map(idle), 0.0);
    assert_eq!(found.judgement, Judgement::TooFewCycles { seen: 0 });
    // The same, for what is allowed.
    let some = |n: u64| Spec { second: n, cycle: 3, marked: MIB, total: MIB * n, site: 0, class: 0 };
    let (found, _) = growth((0..31).map(some), 2.0 * MIB as f64);
    assert_eq!(found.judgement, Judgement::Quiet { allocated: 30 * MIB });
    let (found, _) = growth((0..31).map(some), 0.5 * MIB as f64);
    assert_eq!(found.judgement, Judgement::TooFewCycles { seen: 0 });
}

#[test]
fn less_than_matters_is_no_growth() {
    // A hundred bytes a cycle, of 40 MiB.
    let drift = |n: u64| Spec {
        second: n,
        cycle: n as u32,
        marked: 40 * MIB + 100 * n,
        total: 9 * n * MIB,
        site: 3 * MIB + 100 * n,
        class: 5 * MIB + 128 * n,
    };
    let (found, _) = growth((0..31).map(drift), 0.0);
    assert!(found.growing.is_empty() && matches!(found.judgement, Judgement::Rests { .. }), "{found:?}");
}

/// What is said to have been found would have been: not less than an eighth below it, and all above it.
#[test]
fn the_growth_that_would_have_been_found_is_found() {
    // Up and down by 4 MiB of 40, without a rhythm.
    let noise = |n: u64| (n * 2_654_435_761 % 1_024) * 4 * MIB / 1_024;
    let watch = |more: u64| {
        let spec = move |n: u64| Spec {
            second: n,
            cycle: n as u32,
            marked: 40 * MIB + noise(n) + more * n / 30,
            total: 9 * n * MIB,
            site: 3 * MIB,
            class: 5 * MIB,
        };
        growth((0..31).map(spec), 0.0).0.judgement
    };
    let Judgement::Rests { noticed } = watch(0) else { panic!("{:?}", watch(0)) };
    assert!((4.0 * MIB as f64..40.0 * MIB as f64).contains(&noticed), "{noticed}");
    for part in [100, 110, 150, 200, 400] {
        assert_eq!(watch(noticed as u64 * part / 100 + 31), Judgement::Grows, "{part} %");
    }
    assert!(!matches!(watch(noticed as u64 / 2), Judgement::Grows));
    // Where a heap can double unnoticed, nothing is said of it.
    let wild = |n: u64| Spec {
        second: n,
        cycle: n as u32,
        marked: MIB + 40 * noise(n),
        total: 90 * n * MIB,
        site: 0,
        class: 0,
    };
    let (found, _) = growth((0..31).map(wild), 0.0);
    assert!(matches!(found.judgement, Judgement::TooNoisy { noticed: Some(_) }), "{found:?}");
}

/// Walks are samples of their own, whatever the collector does.
#[test]
fn types_and_roots_grow_from_walk_to_walk() {
    use crate::analysis::Index;
    use crate::analysis::objects::groups;
    use crate::heap::objects::{Amount, Keeper, Objects, Standing, TypeSum};
    use crate::model::testing::{GoroutineSpec, frame};

    let (mut series, mut pool) = (HeapSeries::default(), SymbolPool::default());
    for n in 0..12_u64 {
        // The collector does not run at all.
        let mut read = reading(&Spec { second: n, cycle: 3, marked: MIB, total: 50 * n * MIB, site: 0, class: 0 });
        let (mut builder, bytes) = (SnapshotBuilder::new(), (10 + n) * MIB);
        // One more in each walk: groups have other numbers, and ids other values.
        for id in 0..=n {
            let frames = vec![frame("main.worker", "/app/worker.go", 12)];
            builder.add(&GoroutineSpec { id: 100 * n + id + 1, frames, ..Default::default() });
        }
        let mut snapshot = builder.build();
        snapshot.monotonic_ns = read.snapshot.monotonic_ns;
        read.snapshot.target.module.path = Some("main".to_owned());
        series.record(&read, &mut pool);
        let sum = |name: &str, bytes| TypeSum {
            name: name.to_owned(),
            live: Amount { objects: 1, bytes },
            only: Amount::default(),
        };
        let amount = |bytes| Amount { objects: 1, bytes };
        let objects = Objects {
            standing: if n == 0 {
                Standing::Quiet
            } else {
                Standing::Running(crate::heap::objects::Changes::default())
            },
            live: amount(bytes + MIB),
            garbage: Amount::default(),
            kept: vec![(Keeper::Variables, amount(MIB)), (Keeper::Group(0), amount(bytes))],
            types: Some(vec![sum("main.order", bytes), sum("string data", MIB)]),
            untyped: Vec::new(),
            path: None,
            notes: Vec::new(),
            memory: 0,
            took: (Duration::from_millis(n), Duration::from_millis(1)),
        };
        let groups = groups(&Index::new(&snapshot));
        series.record_walk(Ok(Walk { snapshot: &snapshot, groups: &groups, objects: &objects }), &mut pool);
    }
    let found = series.growth(0.0);
    assert_eq!((found.judgement, found.cycles, found.samples), (Judgement::Grows, 0, 1));
    let walks = found.walks.unwrap();
    assert_eq!((walks.taken, walks.exact, walks.longest), (12, 1, Duration::from_millis(12)));
    let rows: Vec<(String, u64, u64)> = found
        .growing
        .iter()
        .map(|(part, trend)| {
            let name = match part {
                Part::Type(name) => pool.str(*name).to_owned(),
                Part::Root(KeptBy::Goroutines(Some(spot))) => format!("goroutines in {}", pool.function(spot.frame)),
                other => format!("{other:?}"),
            };
            (name, trend.first, trend.last)
        })
        .collect();
    let mut names: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["goroutines in main.worker", "main.order"], "{rows:?}");
    assert!(rows.iter().all(|row| (row.1, row.2) == (10 * MIB, 21 * MIB)), "{rows:?}");
    assert_eq!(series.walks_missing(), None);
    series.record_walk(Err("it is gone".to_owned()), &mut pool);
    assert_eq!(series.walks_missing(), Some("it is gone"));
}
