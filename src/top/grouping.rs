//! Groups of the live view: goroutines put together whatever state they are in at the moment, so that a
//! group is the same from one refresh to the next. States are counted inside it. What they have in
//! common, and how they are grouped, is [`crate::analysis::group`]'s.

use std::cell::OnceCell;

use crate::analysis::group::{self, GroupBy, Keys, Members, States, count_state, gather, items, sort_states};
use crate::analysis::series::Observed;
use crate::analysis::waits::Shared;
use crate::analysis::{Index, PlaceKind};
use crate::model::Snapshot;

pub(crate) use crate::analysis::group::{Key, What};

/// What groups can be made by here but for labels, in the order in which they are gone through: by place,
/// by stack as a normal traceback shows it, by start function, by `go` statement and by what they wait on.
pub(crate) const GROUPINGS: [GroupBy; 5] =
    [GroupBy::Place(PlaceKind::User), GroupBy::SimilarStack, GroupBy::Start, GroupBy::Creator, GroupBy::Object];

/// What groups are made by, as it is typed: of all that there is, what does not depend on states.
///
/// # Errors
/// With what there is.
pub(crate) fn parse(text: &str) -> Result<GroupBy, String> {
    match text.parse() {
        Ok(GroupBy::Stack) => Ok(GroupBy::SimilarStack),
        Ok(by @ (GroupBy::Place(_) | GroupBy::Start | GroupBy::Creator | GroupBy::Object | GroupBy::Label(_))) => {
            Ok(by)
        }
        _ => Err(format!("cannot group by `{text}`; there is place, stack, start, creator, object, label=KEY")),
    }
}

/// The name that [`parse`] takes.
#[must_use]
pub(crate) fn name(by: &GroupBy) -> String {
    if *by == GroupBy::SimilarStack { GroupBy::Stack.name() } else { by.name() }
}

/// What is known of all members of a group.
#[derive(Clone, Debug)]
pub struct Live {
    /// How many of them are in which state and wait for which reason, the most frequent first.
    pub states: States,
    /// Longest known wait, ns, and whether it is known from watching only.
    pub longest: Option<(u64, bool)>,
    /// Whether all of them are system goroutines.
    pub system: bool,
    members: Members,
    /// What they wait on together, once that was asked for.
    waits_on: OnceCell<Option<Shared>>,
}

impl Live {
    /// What the members wait on together. It is looked for when it is first asked for, which is when the group can
    /// be seen.
    #[must_use]
    pub fn waits_on(&self, snapshot: &Snapshot, key: &Key) -> Option<&Shared> {
        self.waits_on.get_or_init(|| Shared::of_group(snapshot, key, || self.members.iter())).as_ref()
    }
}

impl Default for Live {
    fn default() -> Self {
        let (members, waits_on) = (Members::default(), OnceCell::new());
        Self { states: Vec::new(), longest: None, system: true, members, waits_on }
    }
}

/// Goroutines that have a key in common.
pub(crate) type Group = group::Group<usize, Live>;

/// Groups the goroutines at `positions`, in order of their first members.
#[must_use]
pub(crate) fn group(observed: &Observed, index: &Index<'_>, by: &GroupBy, positions: &[usize]) -> Vec<Group> {
    let items = items(index, Keys::lasting(&index.snapshot().symbols, by), positions);
    let mut groups = gather(items, 0, |group: &mut Group, position| {
        let Some(goroutine) = index.snapshot().goroutines.get(position) else { return };
        let live = &mut group.details;
        live.system &= goroutine.system;
        live.members.push(position);
        count_state(&mut live.states, goroutine);
        if let Some(ns) = index.wait_ns(goroutine)
            && live.longest.is_none_or(|(longest, _)| ns > longest)
        {
            live.longest = Some((ns, observed.is_watched(position)));
        }
    });
    for group in &mut groups {
        sort_states(&mut group.details.states);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::{GROUPINGS, Group, What, group, name, parse};
    use crate::analysis::GroupBy;
    use crate::analysis::series::Watching;
    use crate::model::Status;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};

    fn groups(by: &GroupBy) -> Vec<Group> {
        let mut builder = SnapshotBuilder::new();
        let spec = |id, runtime: &'static str, line, status, user| GoroutineSpec {
            id,
            status,
            reason: (status == Status::Waiting).then_some("select"),
            wait_ns: Some(id * 10),
            frames: vec![
                frame(runtime, "/go/r.go", 4),
                frame("main.worker", "/app/w.go", line),
                frame("main.pool", "/app/p.go", 1),
            ],
            creator: Some(frame("main.main", "/app/main.go", 3)),
            labels: vec![("user", user)],
            ..Default::default()
        };
        builder
            .add(&spec(9, "runtime.gopark", 7, Status::Waiting, "a"))
            .add(&spec(4, "runtime.goparkunlock", 7, Status::Waiting, "b"))
            .add(&spec(5, "runtime.gopark", 7, Status::Runnable, "a"))
            .add(&spec(6, "runtime.gopark", 8, Status::Waiting, "a"))
            .add(&GoroutineSpec {
                id: 7,
                status: Status::Running,
                frames: vec![frame("main.worker", "/app/w.go", 7)],
                ..Default::default()
            });
        let observed = Watching::default().observe(builder.build());
        let index = observed.index();
        group(&observed, &index, by, &[0, 1, 2, 3, 4])
    }

    fn counts(by: &GroupBy) -> Vec<u64> {
        groups(by).iter().map(|group| group.count).collect()
    }

    #[test]
    fn groups_by_each_kind() {
        assert_eq!(counts(&parse("place").unwrap()), [3, 1, 1]);
        assert_eq!(counts(&parse("stack").unwrap()), [3, 1, 1]);
        // The running one started in main.worker, the others in main.pool.
        assert_eq!(counts(&GroupBy::Start), [4, 1]);
        assert_eq!(counts(&GroupBy::Creator), [4, 1]);
        assert_eq!(counts(&GroupBy::Label("user".to_owned())), [3, 1, 1]);
    }

    #[test]
    fn a_group_holds_all_states_and_the_longest_wait() {
        let groups = groups(&parse("place").unwrap());
        let first = &groups[0];
        let states: Vec<(Status, u64)> =
            first.details.states.iter().map(|&(status, _, count)| (status, count)).collect();
        assert_eq!(states, [(Status::Waiting, 2), (Status::Runnable, 1)]);
        assert_eq!((first.details.longest, first.lowest.0, first.example), (Some((90, false)), 4, 1));
        assert!(matches!(groups[2].key.what, What::StartedIn(..)));
    }

    #[test]
    fn names() {
        for text in ["place", "stack", "start", "creator", "object", "label=user"] {
            assert_eq!(parse(text).map(|by| name(&by)).as_deref(), Ok(text));
        }
        assert!(parse("label=").is_err());
        for text in ["state", "reason", "similar", "colour"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for by in GROUPINGS {
            assert_eq!(parse(&name(&by)), Ok(by));
        }
    }
}
