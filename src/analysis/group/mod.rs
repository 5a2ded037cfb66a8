//! Goroutines that do the same, counted together: all grouping, for snapshots, for censuses and for the live
//! view. What they have in common is in [`key`].

pub mod key;

use rustc_hash::FxHashMap;

pub use key::{Facts, GroupBy, Key, Keys, Line, On, What, Word};

use super::labels::{LabelTally, Labels};
use super::waits::{Shared, WaitTally};
use super::{Age, Index};
use crate::model::{Goid, Goroutine, Snapshot, Status, WaitReasonId};

/// Shortest and longest known wait in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitRange {
    /// ns.
    pub shortest_ns: u64,
    /// ns.
    pub longest_ns: u64,
    /// Members whose wait is known.
    pub known: u64,
    /// Of these, members whose wait was measured by reading more than once.
    pub watched: u64,
}

impl WaitRange {
    /// Widens `range` by one more wait, where it is known.
    pub fn include(range: &mut Option<Self>, age: Option<Age>) {
        let Some(age) = age else { return };
        let ns = age.at_least_ns;
        let wait = range.get_or_insert(Self { shortest_ns: ns, longest_ns: ns, known: 0, watched: 0 });
        wait.shortest_ns = wait.shortest_ns.min(ns);
        wait.longest_ns = wait.longest_ns.max(ns);
        wait.known += 1;
        wait.watched += u64::from(age.is_measured());
    }
}

/// Goroutines that have a key in common. `E` names one of them, `D` is what else is known of all.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Group<E = usize, D = Sizes> {
    /// What they have in common.
    pub key: Key,
    /// How many they are.
    pub count: u64,
    /// The ids of the first of them, in the order of the input.
    pub ids: Vec<Goid>,
    /// Their known waits; `None` when none is known.
    pub wait: Option<WaitRange>,
    /// The one with the lowest id: its position in the snapshot, or itself.
    pub example: E,
    /// The lowest id in it.
    pub lowest: Goid,
    /// What else is known of them.
    pub details: D,
}

/// Stacks, parents, waits and labels of a group.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Sizes {
    /// Stack in use by all of them, bytes, where known.
    pub stack_used: u64,
    /// Stack reserved by all of them, bytes.
    pub stack_reserved: u64,
    /// The goroutine that created all of them, where it was one.
    pub parent: Option<Goid>,
    /// The program's own labels, over all of them.
    pub labels: Labels,
    /// How many of them are in which state and wait for which reason, the most frequent first.
    pub states: States,
    /// What they wait on together, where [`Sizes::share`] was asked for it.
    pub waits_on: Option<Shared>,
    tally: LabelTally,
    waits: WaitTally,
    members: Members,
}

impl Sizes {
    /// Looks for what the members wait on together.
    pub fn share(&mut self, snapshot: &Snapshot, key: &Key) {
        self.waits_on = Shared::of_counted_group(snapshot, key, &self.waits, || self.members.iter());
    }

    /// Positions of the members in the snapshot, in the order of the input.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }
}

/// How many are in which state and wait for which reason.
pub type States = Vec<(Status, Option<WaitReasonId>, u64)>;

/// Counts one more in `states`.
pub(crate) fn count_state(states: &mut States, goroutine: &Goroutine) {
    let (status, reason) = (goroutine.status, goroutine.wait_reason);
    match states.iter_mut().find(|state| (state.0, state.1) == (status, reason)) {
        Some(state) => state.2 += 1,
        None => states.push((status, reason, 1)),
    }
}

/// Puts the most frequent ones first.
pub(crate) fn sort_states(states: &mut States) {
    states.sort_by(|a, b| b.2.cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
}

/// Positions of members. Most groups of a program in which nothing repeats have one, which takes no memory of
/// its own.
#[derive(Clone, Debug, Default)]
pub struct Members {
    first: Option<usize>,
    others: Vec<usize>,
}

impl Members {
    /// Adds one.
    pub fn push(&mut self, position: usize) {
        match self.first {
            None => self.first = Some(position),
            Some(_) => self.others.push(position),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &usize> + Clone {
        self.first.iter().chain(&self.others)
    }
}

/// A goroutine that is to be put into its group.
#[derive(Clone, Copy, Debug)]
pub struct Item<E> {
    /// What it is grouped by.
    pub key: Key,
    /// Its id.
    pub id: Goid,
    /// For how long it has been blocked at least, ns.
    pub age: Option<Age>,
    /// What stands for it.
    pub example: E,
}

/// Groups `items`, in order of their first members. At most `max_ids` ids are kept in each group; `add`
/// puts into it what else is to be known of a member, and is called after the member has been counted.
#[must_use]
pub fn gather<E: Copy, D: Default>(
    items: impl Iterator<Item = Item<E>>,
    max_ids: usize,
    mut add: impl FnMut(&mut Group<E, D>, E),
) -> Vec<Group<E, D>> {
    let mut groups: Vec<Group<E, D>> = Vec::new();
    let mut places: FxHashMap<Key, usize> = FxHashMap::default();
    for Item { key, id, age, example } in items {
        let at = *places.entry(key).or_insert(groups.len());
        if at == groups.len() {
            let (ids, details) = (Vec::new(), D::default());
            groups.push(Group { key, count: 0, ids, wait: None, example, lowest: id, details });
        }
        let Some(group) = groups.get_mut(at) else { continue };
        group.count += 1;
        if id < group.lowest {
            (group.lowest, group.example) = (id, example);
        }
        if group.ids.len() < max_ids {
            group.ids.push(id);
        }
        WaitRange::include(&mut group.wait, age);
        add(group, example);
    }
    groups
}

/// The goroutines at `positions`, with the keys that `keys` gives them.
pub fn items<'a>(
    index: &'a Index<'_>,
    mut keys: Keys<'a>,
    positions: &'a [usize],
) -> impl Iterator<Item = Item<usize>> + 'a {
    positions.iter().filter_map(move |&position| {
        let goroutine = index.snapshot().goroutines.get(position)?;
        let key = index.key(&mut keys, goroutine);
        Some(Item { key, id: goroutine.id, age: index.age(goroutine), example: position })
    })
}

/// Groups the goroutines at `positions`, in order of their first members. At most `max_ids` ids are
/// kept in each group.
#[must_use]
pub fn group(index: &Index<'_>, by: &GroupBy, positions: &[usize], max_ids: usize) -> Vec<Group> {
    let snapshot = index.snapshot();
    let items = items(index, Keys::new(&snapshot.symbols, by), positions);
    let mut groups = gather(items, max_ids, |group: &mut Group, position| {
        let Some(goroutine) = snapshot.goroutines.get(position) else { return };
        let sizes = &mut group.details;
        if group.count == 1 {
            sizes.parent = goroutine.parent;
        } else if sizes.parent != goroutine.parent {
            sizes.parent = None;
        }
        sizes.stack_used = sizes.stack_used.saturating_add(goroutine.stack_used().unwrap_or(0));
        sizes.stack_reserved = sizes.stack_reserved.saturating_add(goroutine.stack_reserved().unwrap_or(0));
        sizes.tally.add(goroutine.labels);
        sizes.waits.add(position, goroutine.waiting_on);
        sizes.members.push(position);
        count_state(&mut sizes.states, goroutine);
    });
    for group in &mut groups {
        let tally = std::mem::take(&mut group.details.tally);
        group.details.labels = tally.finish(&snapshot.symbols);
        sort_states(&mut group.details.states);
    }
    groups
}

/// How few of several groups hold nearly all of their members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Concentration {
    /// How many groups, the largest.
    pub groups: usize,
    /// What share of the members is in them, per cent, rounded down.
    pub percent: u64,
    /// All members.
    pub total: u64,
}

impl Concentration {
    /// From this share on, it counts as nearly all.
    const NEARLY_ALL: u64 = 90;
    /// More groups than this are not worth reporting.
    const FEW: usize = 10;

    /// Of groups of these sizes; `None` where it takes more than a few of them, or more than half.
    #[must_use]
    pub fn of(counts: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut counts: Vec<u64> = counts.into_iter().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let total = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let mut held = 0_u64;
        for (groups, count) in (1..=Self::FEW.min(counts.len() / 2)).zip(&counts) {
            held = held.saturating_add(*count);
            let percent = u64::try_from(u128::from(held) * 100 / u128::from(total.max(1))).unwrap_or(100);
            if percent >= Self::NEARLY_ALL {
                return Some(Self { groups, percent, total });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Concentration, Group, GroupBy, What, group};
    use crate::analysis::{Index, PlaceKind};
    use crate::model::testing::{FrameSpec, GoroutineSpec, SnapshotBuilder, frame};
    use crate::model::{Snapshot, Status};

    fn snapshot() -> Snapshot {
        let mut builder = SnapshotBuilder::new();
        let via = |runtime: &'static str, line: u32| -> Vec<FrameSpec<'static>> {
            vec![
                frame("runtime.gopark", "/go/proc.go", 1),
                frame(runtime, "/go/chan.go", line),
                frame("main.worker", "/app/w.go", 7),
            ]
        };
        let spec = |id, frames, wait_ns, user| GoroutineSpec {
            id,
            reason: Some("chan receive"),
            wait_ns,
            frames,
            parent: Some(id % 2),
            creator: Some(frame("main.main", "/app/main.go", 3)),
            labels: vec![("user", user)],
            ..Default::default()
        };
        builder
            .add(&spec(4, via("runtime.chanrecv1", 5), Some(60), "a"))
            .add(&spec(6, via("runtime.chanrecv1", 5), Some(90), "b"))
            .add(&spec(7, via("runtime.chanrecv2", 9), None, "a"))
            .add(&GoroutineSpec {
                id: 8,
                status: Status::Running,
                frames: vec![frame("main.spin", "/app/s.go", 1)],
                ..Default::default()
            });
        builder.build()
    }

    fn counts(by: &GroupBy) -> Vec<u64> {
        let snapshot = snapshot();
        let index = Index::new(&snapshot);
        group(&index, by, &[0, 1, 2, 3], 2).iter().map(|group| group.count).collect()
    }

    #[test]
    fn groups_by_each_kind_of_key() {
        assert_eq!(counts(&GroupBy::Place(PlaceKind::User)), [3, 1]);
        assert_eq!(counts(&GroupBy::Stack), [2, 1, 1]);
        assert_eq!(counts(&GroupBy::SimilarStack), [3, 1]);
        assert_eq!(counts(&GroupBy::Start), [3, 1]);
        assert_eq!(counts(&GroupBy::Creator), [3, 1]);
        assert_eq!(counts(&GroupBy::State), [3, 1]);
        assert_eq!(counts(&GroupBy::Reason), [3, 1]);
        assert_eq!(counts(&GroupBy::Label("user".to_owned())), [2, 1, 1]);
    }

    #[test]
    fn a_few_groups_that_hold_nearly_all() {
        for (counts, want) in [
            (vec![40, 2_900, 30, 61, 1], Some((1, 95, 3_032))),
            (vec![1_000, 1, 1_000, 900, 100, 10], Some((3, 96, 3_011))),
            (vec![899, 101], None),
            (vec![900, 100], Some((1, 90, 1_000))),
            (vec![1; 100], None),
            (vec![7], None),
            (vec![], None),
            (vec![u64::MAX, u64::MAX, 1], Some((1, 100, u64::MAX))),
        ] {
            let found = Concentration::of(counts.clone()).map(|few| (few.groups, few.percent, few.total));
            assert_eq!(found, want, "{counts:?}");
        }
    }

    #[test]
    fn a_group_knows_its_members() {
        let snapshot = snapshot();
        let index = Index::new(&snapshot);
        let groups: Vec<Group> = group(&index, &GroupBy::Place(PlaceKind::User), &[2, 1, 0], 2);
        let [only] = groups.as_slice() else { panic!("{groups:?}") };
        assert_eq!(only.ids.iter().map(|id| id.0).collect::<Vec<_>>(), [7, 6]);
        assert_eq!(only.lowest.0, 4);
        let wait = only.wait.expect("two waits are known");
        assert_eq!((wait.shortest_ns, wait.longest_ns, wait.known), (60, 90, 2));
        assert_eq!(only.details.parent, None);
        assert_eq!(only.details.stack_used, 3 * 0xc0);
        let user = &only.details.labels.keys[0];
        let values: Vec<(&str, u64)> = user.values.iter().map(|&(value, n)| (snapshot.symbols.str(value), n)).collect();
        assert_eq!((user.members, values), (3, vec![("a", 2), ("b", 1)]));
        assert!(only.key.state.is_some() && only.key.reason.is_some() && matches!(only.key.what, What::At(_)));
    }

    #[test]
    fn names_of_groupings() {
        assert_eq!("label=user".parse(), Ok(GroupBy::Label("user".to_owned())));
        assert!("label=".parse::<GroupBy>().is_err());
        assert!("colour".parse::<GroupBy>().is_err());
    }

    #[test]
    fn a_hundred_thousand_groups_take_no_time() {
        let mut builder = SnapshotBuilder::new();
        for line in 0..100_000 {
            let frames = vec![frame("main.worker", "/app/w.go", line)];
            builder.add(&GoroutineSpec { id: u64::from(line), frames, ..Default::default() });
        }
        let snapshot = builder.build();
        let index = Index::new(&snapshot);
        let positions: Vec<usize> = (0..100_000).collect();
        for by in [GroupBy::Place(PlaceKind::User), GroupBy::Stack, GroupBy::SimilarStack] {
            let started = std::time::Instant::now();
            assert_eq!(group(&index, &by, &positions, 10).len(), 100_000);
            // Comparing each with each would be ten thousand million comparisons.
            assert!(started.elapsed().as_secs() < 10, "{by:?} took {:?}", started.elapsed());
        }
    }
}
