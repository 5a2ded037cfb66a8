//! Goroutines that do the same, counted together.
//!
//! Keys are made of interned ids, never of text, so that a million goroutines cost a million small
//! hashes.

use std::str::FromStr;

use rustc_hash::FxHashMap;

use super::labels::{LabelTally, Labels};
use super::{Age, Index, Place, PlaceKind};
use crate::model::{FrameId, Goid, Goroutine, StackId, StackState, Status, StrId, WaitReasonId};

/// How to put goroutines together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GroupBy {
    /// State, wait reason and place.
    Place(PlaceKind),
    /// State, wait reason, whole stack and creator.
    Stack,
    /// Likewise, but of the stack only what a normal traceback shows, by function and line: calls
    /// within the runtime and the exact instruction do not tell groups apart.
    SimilarStack,
    /// Start function.
    Start,
    /// The `go` statement.
    Creator,
    /// State.
    State,
    /// Wait reason.
    Reason,
    /// The value of one of the program's labels.
    Label(String),
}

impl FromStr for GroupBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "place" => Self::Place(PlaceKind::Current),
            "stack" => Self::Stack,
            "similar" => Self::SimilarStack,
            "start" => Self::Start,
            "creator" => Self::Creator,
            "state" => Self::State,
            "reason" => Self::Reason,
            _ => match text.strip_prefix("label=") {
                Some(key) if !key.is_empty() => Self::Label(key.to_owned()),
                _ => {
                    return Err(format!(
                        "cannot group by `{text}`; there is place, stack, similar, start, creator, state, reason, \
                         label=KEY"
                    ));
                }
            },
        })
    }
}

/// A line of source, without the instruction: different calls on one line are one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// Function.
    pub function: StrId,
    /// File.
    pub file: StrId,
    /// Line, 0 where unknown.
    pub line: u32,
}

/// What the members of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupKey {
    /// State, reason and place; the last says whether it is only where it started.
    Place(Status, Option<WaitReasonId>, Option<Line>, bool),
    /// State, reason, stack, creator; without a stack, the start function.
    Stack(Status, Option<WaitReasonId>, Result<StackId, Option<FrameId>>, Option<FrameId>),
    /// State, reason, number of a class of similar stacks (counted within one grouping), creator.
    Similar(Status, Option<WaitReasonId>, Result<u32, Option<Line>>, Option<Line>),
    /// A line of source.
    Line(Option<Line>),
    /// A state.
    State(Status),
    /// A wait reason.
    Reason(Option<WaitReasonId>),
    /// A label's value.
    Label(Option<StrId>),
}

/// Shortest and longest known wait in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Goroutines that have a key in common.
#[derive(Clone, Debug)]
pub struct Group {
    /// What they have in common.
    pub key: GroupKey,
    /// How many they are.
    pub count: u64,
    /// The ids of the first of them, in the order of the input.
    pub ids: Vec<Goid>,
    /// Their known waits; `None` when none is known.
    pub wait: Option<WaitRange>,
    /// Position of one of them in the snapshot: the first.
    pub example: usize,
    /// Stack in use by all of them, bytes, as far as known.
    pub stack_used: u64,
    /// Stack reserved by all of them, bytes.
    pub stack_reserved: u64,
    /// Whether one goroutine created all of them.
    pub one_parent: bool,
    /// The program's own labels, over all of them.
    pub labels: Labels,
    lowest_id: Goid,
}

impl Group {
    /// The lowest id in it.
    #[must_use]
    pub fn lowest_id(&self) -> Goid {
        self.lowest_id
    }
}

/// Groups the goroutines at `positions`, in order of their first members. At most `max_ids` ids are
/// kept in each group.
#[must_use]
pub fn group(index: &Index<'_>, by: &GroupBy, positions: &[usize], max_ids: usize) -> Vec<Group> {
    let snapshot = index.snapshot();
    let mut keys = Keys { index, by, similar: FxHashMap::default(), classes: FxHashMap::default() };
    let mut groups: Vec<Group> = Vec::new();
    let mut labels: Vec<LabelTally> = Vec::new();
    let mut places: FxHashMap<GroupKey, usize> = FxHashMap::default();
    for &position in positions {
        let Some(goroutine) = snapshot.goroutines.get(position) else { continue };
        let key = keys.of(goroutine);
        let at = *places.entry(key).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Group {
                key,
                count: 0,
                ids: Vec::new(),
                wait: None,
                example: position,
                stack_used: 0,
                stack_reserved: 0,
                one_parent: true,
                labels: Labels::default(),
                lowest_id: goroutine.id,
            });
            labels.push(LabelTally::default());
        }
        let (Some(group), Some(labels)) = (groups.get_mut(at), labels.get_mut(at)) else { continue };
        let parent = snapshot.goroutines.get(group.example).and_then(|example| example.parent);
        group.count += 1;
        group.one_parent &= goroutine.parent == parent;
        group.lowest_id = group.lowest_id.min(goroutine.id);
        group.stack_used = group.stack_used.saturating_add(goroutine.stack_used().unwrap_or(0));
        group.stack_reserved = group.stack_reserved.saturating_add(goroutine.stack_reserved().unwrap_or(0));
        if group.ids.len() < max_ids {
            group.ids.push(goroutine.id);
        }
        labels.add(goroutine.labels);
        WaitRange::include(&mut group.wait, index.age(goroutine));
    }
    for (group, labels) in groups.iter_mut().zip(labels) {
        group.labels = labels.finish(&snapshot.symbols);
    }
    groups
}

struct Keys<'a> {
    index: &'a Index<'a>,
    by: &'a GroupBy,
    similar: FxHashMap<StackId, u32>,
    classes: FxHashMap<Vec<Line>, u32>,
}

impl Keys<'_> {
    fn of(&mut self, goroutine: &Goroutine) -> GroupKey {
        let (status, reason) = (goroutine.status, goroutine.wait_reason);
        match self.by {
            GroupBy::Place(kind) => {
                let place = self.index.place(goroutine, *kind);
                GroupKey::Place(status, reason, self.line(place.frame()), matches!(place, Place::StartedIn(_)))
            }
            GroupBy::Stack => {
                let stack = match goroutine.stack {
                    StackState::Known(id) => Ok(id),
                    StackState::NotShown(_) => Err(goroutine.start),
                };
                GroupKey::Stack(status, reason, stack, goroutine.creator)
            }
            GroupBy::SimilarStack => {
                let stack = match goroutine.stack {
                    StackState::Known(id) => Ok(self.class(id)),
                    StackState::NotShown(_) => Err(self.line(goroutine.start)),
                };
                GroupKey::Similar(status, reason, stack, self.line(goroutine.creator))
            }
            GroupBy::Start => GroupKey::Line(self.line(goroutine.start)),
            GroupBy::Creator => GroupKey::Line(self.line(goroutine.creator)),
            GroupBy::State => GroupKey::State(status),
            GroupBy::Reason => GroupKey::Reason(reason),
            GroupBy::Label(wanted) => GroupKey::Label(self.index.label(goroutine, wanted)),
        }
    }

    fn line(&self, frame: Option<FrameId>) -> Option<Line> {
        self.index.line(frame?)
    }

    fn class(&mut self, id: StackId) -> u32 {
        if let Some(&class) = self.similar.get(&id) {
            return class;
        }
        let next = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
        let class = *self.classes.entry(self.index.shown_lines(id)).or_insert(next);
        self.similar.insert(id, class);
        class
    }
}

#[cfg(test)]
mod tests {
    use super::{Group, GroupBy, GroupKey, group};
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
        assert_eq!(counts(&GroupBy::Place(PlaceKind::Current)), [3, 1]);
        assert_eq!(counts(&GroupBy::Stack), [2, 1, 1]);
        assert_eq!(counts(&GroupBy::SimilarStack), [3, 1]);
        assert_eq!(counts(&GroupBy::Start), [3, 1]);
        assert_eq!(counts(&GroupBy::Creator), [3, 1]);
        assert_eq!(counts(&GroupBy::State), [3, 1]);
        assert_eq!(counts(&GroupBy::Reason), [3, 1]);
        assert_eq!(counts(&GroupBy::Label("user".to_owned())), [2, 1, 1]);
    }

    #[test]
    fn a_group_knows_its_members() {
        let snapshot = snapshot();
        let index = Index::new(&snapshot);
        let groups: Vec<Group> = group(&index, &GroupBy::Place(PlaceKind::Current), &[2, 1, 0], 2);
        let [only] = groups.as_slice() else { panic!("{groups:?}") };
        assert_eq!(only.ids.iter().map(|id| id.0).collect::<Vec<_>>(), [7, 6]);
        assert_eq!(only.lowest_id().0, 4);
        let wait = only.wait.expect("two waits are known");
        assert_eq!((wait.shortest_ns, wait.longest_ns, wait.known), (60, 90, 2));
        assert!(!only.one_parent);
        assert_eq!(only.stack_used, 3 * 0xc0);
        let user = &only.labels.keys[0];
        let values: Vec<(&str, u64)> = user.values.iter().map(|&(value, n)| (snapshot.symbols.str(value), n)).collect();
        assert_eq!((user.members, values), (3, vec![("a", 2), ("b", 1)]));
        assert!(matches!(only.key, GroupKey::Place(Status::Waiting, Some(_), Some(_), false)));
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
        for by in [GroupBy::Place(PlaceKind::Current), GroupBy::Stack, GroupBy::SimilarStack] {
            let started = std::time::Instant::now();
            assert_eq!(group(&index, &by, &positions, 10).len(), 100_000);
            // Comparing each with each would be ten thousand million comparisons.
            assert!(started.elapsed().as_secs() < 10, "{by:?} took {:?}", started.elapsed());
        }
    }
}
