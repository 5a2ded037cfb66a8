use super::{MAX_GROUPS, MAX_LINES, OTHERS, Timeline};
use crate::analysis::Index;
use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
use crate::model::{Pause, Snapshot, Status};

const SECOND: u64 = 1_000_000_000;

fn at(second: u64, goroutines: &[(u64, &str, Status)]) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    for &(id, start, status) in goroutines {
        let reason = (status == Status::Waiting).then_some("select");
        let frames = vec![frame("main.step", "/m.go", 3), frame(start, "/m.go", 1)];
        builder.add(&GoroutineSpec { id, status, reason, frames, ..Default::default() });
    }
    let mut snapshot = builder.build();
    snapshot.monotonic_ns = NOW_NS + second * SECOND;
    snapshot.captured_at_unix_ns += second * SECOND;
    snapshot
}

fn of(snapshots: &[Snapshot]) -> Timeline {
    let mut timeline = Timeline::default();
    snapshots.iter().for_each(|snapshot| timeline.add(&Index::new(snapshot), |_| true));
    timeline
}

/// Texts and times in seconds ×10, of the goroutine in the only group with that name.
fn slices(timeline: &Timeline, group: &str, id: u64) -> Vec<(String, u64, u64)> {
    let groups = timeline.groups();
    let (_, group) = groups.iter().find(|(name, _)| *name == group).unwrap();
    let (_, line) = group.lines().find(|(known, _)| known.0 == id).unwrap();
    let tenth = |ns: u64| ns / (SECOND / 10);
    line.slices
        .iter()
        .map(|slice| (timeline.texts(slice).0.to_owned(), tenth(slice.from_ns), tenth(slice.to_ns)))
        .collect()
}

#[test]
fn states_last_from_half_way_to_half_way() {
    use Status::{Runnable, Waiting};
    let timeline = of(&[
        at(0, &[(1, "main.a", Waiting), (2, "main.a", Waiting)]),
        at(1, &[(1, "main.a", Waiting)]),
        at(2, &[(1, "main.a", Runnable), (3, "main.b", Waiting)]),
        at(4, &[(1, "main.a", Waiting), (2, "main.a", Waiting), (3, "main.b", Waiting)]),
    ]);
    let is = |text: &str, from, to| (text.to_owned(), from, to);
    assert_eq!(slices(&timeline, "main.a", 1), [is("select", 0, 15), is("runnable", 15, 30), is("select", 30, 40)]);
    // It was away in between: nothing is made up.
    assert_eq!(slices(&timeline, "main.a", 2), [is("select", 0, 0), is("select", 30, 40)]);
    assert_eq!(slices(&timeline, "main.b", 3), [is("select", 15, 40)]);
    assert_eq!(timeline.extent(), (4, 4 * SECOND));
    assert!(!timeline.is_cut());
}

#[test]
fn large_groups_are_folded_and_small_ones_share() {
    let many: Vec<(u64, String, Status)> =
        (0..1_000).map(|id| (id + 1, "main.many".to_owned(), Status::Waiting)).collect();
    let small = (0..150).map(|nth| (5_000 + nth, format!("main.small{nth}"), Status::Waiting));
    let all: Vec<(u64, String, Status)> = many.into_iter().chain(small).collect();
    let refs = |all: &[(u64, String, Status)]| -> Snapshot {
        let refs: Vec<(u64, &str, Status)> =
            all.iter().map(|(id, name, status)| (*id, name.as_str(), *status)).collect();
        at(0, &refs)
    };
    let first = refs(&all);
    let mut second = refs(&all);
    second.monotonic_ns += SECOND;
    second.goroutines[999].status = Status::Runnable;
    let timeline = of(&[first, second]);
    let groups = timeline.groups();
    assert_eq!(groups.len(), MAX_GROUPS + 1);
    let (name, largest) = groups[0];
    assert_eq!((name, largest.most, largest.lines().count()), ("main.many", 1_000, MAX_LINES));
    let counts: Vec<Vec<(&str, u64)>> =
        largest.counts().iter().map(|counted| timeline.states(counted).collect()).collect();
    assert_eq!(counts, [vec![("select", 800)], vec![("select", 799), ("runnable", 1)]]);
    let (_, others) = groups.iter().find(|(name, _)| *name == OTHERS).unwrap();
    assert_eq!(others.lines().count(), 0);
    assert_eq!(timeline.states(&others.counts()[0]).collect::<Vec<_>>(), [("select", 150 - (MAX_GROUPS as u64 - 1))]);
}

#[test]
fn stops_of_the_world_are_where_they_were() {
    let mut all = [at(0, &[]), at(1, &[]), at(2, &[])];
    let unix = all[0].captured_at_unix_ns;
    let pause = |ms: u64| Pause { duration_ns: 2_000_000, end_unix_ns: unix + ms * 1_000_000 };
    // Those before the recording are not in it, and none is there twice.
    for (snapshot, pauses) in all.iter_mut().zip([vec![-1], vec![500, -1], vec![1_400, 500, -1]]) {
        let pauses = pauses.into_iter().map(|ms: i64| match u64::try_from(ms) {
            Ok(ms) => pause(ms),
            Err(_) => Pause { duration_ns: 5, end_unix_ns: unix - 9 },
        });
        snapshot.gc.as_mut().unwrap().recent_pauses = pauses.collect();
    }
    let timeline = of(&all);
    let stops: Vec<(u64, u64)> = timeline.stops().iter().map(|stop| (stop.from_ns / 1_000_000, stop.ns)).collect();
    assert_eq!(stops, [(498, 2_000_000), (1_398, 2_000_000)]);
}
