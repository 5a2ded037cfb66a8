//! Compares the goroutines of two censuses.
//!
//! Groups are compared by what their members have in common, goroutines by their ids. Ids are only compared
//! within one process: those of another run mean nothing. Costs are linear.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::census::{Census, Group, Member, Relation, groups};
use super::group::Key;
use super::same_wait::{Between, Wait};
use super::{GroupBy, PlaceKind, WaitRange};
use crate::model::{Status, SymbolPool};

/// What happened to a group, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// Only in the second.
    New,
    /// More than before.
    Grown,
    /// Only in the first.
    Gone,
    /// Fewer than before.
    Shrunk,
    /// As many as before.
    Unchanged,
}

impl ChangeKind {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 5] = [Self::New, Self::Grown, Self::Gone, Self::Shrunk, Self::Unchanged];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Grown => "grown",
            Self::Gone => "gone",
            Self::Shrunk => "shrunk",
            Self::Unchanged => "unchanged",
        }
    }

    fn of(before: u64, after: u64) -> Self {
        match (before, after) {
            (0, _) => Self::New,
            (_, 0) => Self::Gone,
            _ if after > before => Self::Grown,
            _ if after < before => Self::Shrunk,
            _ => Self::Unchanged,
        }
    }
}

/// A group in both censuses.
#[derive(Clone, Debug)]
pub struct Change {
    /// What its members have in common.
    pub key: Key,
    /// What happened.
    pub fate: ChangeKind,
    /// Members in the first.
    pub before: u64,
    /// Members in the second.
    pub after: u64,
    /// Their known waits in the second, or in the first when it is gone.
    pub wait: Option<WaitRange>,
    /// The first thousand ids in the second, or in the first when it is gone.
    pub ids: Vec<u64>,
    /// One of them.
    pub example: Member,
}

impl Change {
    /// By how many it changed.
    #[must_use]
    pub fn delta(&self) -> i128 {
        i128::from(self.after) - i128::from(self.before)
    }
}

/// Goroutines that are in both with the same wait.
#[derive(Clone, Debug)]
pub struct StillBlocked {
    /// The group, with what its members have in common. Their waits are lower bounds: the runtime's own
    /// stamp, or the time between the two where it is known that they have not run.
    pub group: Group,
}

/// The difference between two censuses.
#[derive(Clone, Debug)]
pub struct Diff {
    /// How the two are related.
    pub relation: Relation,
    /// What groups were made by.
    pub by: GroupBy,
    /// Goroutines counted in the first.
    pub before: u64,
    /// Goroutines counted in the second.
    pub after: u64,
    /// Every group: by what happened, the largest change first.
    pub changes: Vec<Change>,
    /// Those that stayed, the largest group first; `None` where ids cannot be compared.
    pub stayed: Option<Vec<StillBlocked>>,
}

impl Diff {
    /// Compares. With `system` the runtime's own goroutines count too.
    #[must_use]
    pub fn of(a: &Census, b: &Census, by: &GroupBy, system: bool, pool: &SymbolPool) -> Self {
        let relation = a.relation(b);
        let first = groups(a.counted(system), by, pool);
        let second = groups(b.counted(system), by, pool);
        let count = |groups: &[Group]| groups.iter().map(|group| group.count).sum();
        let (before, after) = (count(&first), count(&second));
        // Unless they are known to differ, equal pids are taken for one process: cores and partial
        // files may not say when it started.
        let one_process = relation.same_process.unwrap_or(a.program.pid.is_some() && a.program.pid == b.program.pid);
        Self {
            relation,
            by: by.clone(),
            before,
            after,
            changes: changes(first, second),
            stayed: one_process.then(|| stayed(a, b, relation.elapsed_ns, system, pool)),
        }
    }

    /// How many groups changed this way.
    #[must_use]
    pub fn groups(&self, fate: ChangeKind) -> usize {
        self.changes.iter().filter(|change| change.fate == fate).count()
    }
}

fn changes(first: Vec<Group>, second: Vec<Group>) -> Vec<Change> {
    let mut before: FxHashMap<Key, Group> = first.into_iter().map(|group| (group.key, group)).collect();
    let mut changes: Vec<Change> = Vec::with_capacity(second.len());
    let mut add = |group: Group, before: u64, after: u64| {
        changes.push(Change {
            key: group.key,
            fate: ChangeKind::of(before, after),
            before,
            after,
            wait: group.wait,
            ids: group.ids.iter().map(|id| id.0).collect(),
            example: group.example,
        });
    };
    for group in second {
        let (was, is) = (before.remove(&group.key).map_or(0, |old| old.count), group.count);
        add(group, was, is);
    }
    for (_, group) in before {
        let was = group.count;
        add(group, was, 0);
    }
    changes.sort_unstable_by_key(|change| {
        (change.fate, Reverse(change.delta().abs()), Reverse(change.after), change.example.id)
    });
    changes
}

/// Those in the same wait, unless something shows that they ran in between.
fn stayed(a: &Census, b: &Census, elapsed_ns: i128, system: bool, pool: &SymbolPool) -> Vec<StillBlocked> {
    let before = a.by_id();
    let elapsed = u64::try_from(elapsed_ns).unwrap_or(0);
    let stacks = a.has_stacks && b.has_stacks;
    let between = |now: &Member| {
        let was = before.get(&now.id)?;
        Some(Wait::of_member(was, stacks).until(&Wait::of_member(now, stacks), elapsed_ns))
    };
    let both: Vec<Member> = b
        .counted(system)
        .filter(|now| Status::is_blocked_name(pool.str(now.state)))
        .filter_map(|now| {
            let between = between(now).filter(|between| *between != Between::Ran)?;
            // Two samples are too few to rely on equal sequence bytes.
            let proven = (between == Between::Still).then_some(elapsed);
            Some(now.measured(proven))
        })
        .collect();
    let by = if stacks { GroupBy::Stack } else { GroupBy::Place(PlaceKind::User) };
    let mut stayed: Vec<StillBlocked> =
        groups(&both, &by, pool).into_iter().map(|group| StillBlocked { group }).collect();
    stayed.sort_by_key(|one| Reverse(one.group.count));
    stayed
}

#[cfg(test)]
mod tests {
    use super::{ChangeKind, Diff};
    use crate::analysis::{Census, GroupBy, PlaceKind};
    use crate::model::testing::{self, GoroutineSpec, SnapshotBuilder, frame};
    use crate::model::{Goid, Snapshot, SymbolPool};

    const SECOND: u64 = 1_000_000_000;

    /// `(id, function, wait)`; all at one line.
    fn snapshot(goroutines: &[(u64, &str, Option<u64>)]) -> Snapshot {
        let mut builder = SnapshotBuilder::new();
        for &(id, function, wait_ns) in goroutines {
            builder.add(&GoroutineSpec {
                id,
                reason: Some("chan receive"),
                wait_ns,
                frames: vec![frame("runtime.gopark", "/go/proc.go", 1), frame(function, "/app/w.go", 7)],
                system: function == "main.system",
                ..Default::default()
            });
        }
        builder.build()
    }

    fn later(mut snapshot: Snapshot, seconds: u64) -> Snapshot {
        testing::later(&mut snapshot, seconds * SECOND);
        snapshot
    }

    fn diff(a: &Snapshot, b: &Snapshot, by: &GroupBy) -> Diff {
        let mut pool = SymbolPool::default();
        let (a, b) = (Census::of_snapshot(a, "a", &mut pool), Census::of_snapshot(b, "b", &mut pool));
        Diff::of(&a, &b, by, false, &pool)
    }

    #[test]
    fn every_fate() {
        // Ids of a pool depend on what was met first: the order differs between the two.
        let a = snapshot(&[
            (1, "main.gone", None),
            (2, "main.same", None),
            (3, "main.more", None),
            (9, "main.less", None),
            (10, "main.less", None),
        ]);
        let b = later(
            snapshot(&[
                (3, "main.more", None),
                (4, "main.more", None),
                (5, "main.new", None),
                (6, "main.new", None),
                (2, "main.same", None),
                (9, "main.less", None),
                (11, "main.system", None),
            ]),
            5,
        );
        for by in [GroupBy::Stack, GroupBy::SimilarStack, GroupBy::Place(PlaceKind::User), GroupBy::Start] {
            let diff = diff(&a, &b, &by);
            let kinds: Vec<(ChangeKind, u64, u64)> = diff.changes.iter().map(|c| (c.fate, c.before, c.after)).collect();
            let want = [
                (ChangeKind::New, 0, 2),
                (ChangeKind::Grown, 1, 2),
                (ChangeKind::Gone, 1, 0),
                (ChangeKind::Shrunk, 2, 1),
                (ChangeKind::Unchanged, 1, 1),
            ];
            assert_eq!(kinds, want, "{by:?}");
            assert_eq!((diff.before, diff.after), (5, 6), "the runtime's own do not count");
            assert_eq!(diff.changes[0].ids, [5, 6]);
        }
        let by_reason = diff(&a, &b, &GroupBy::Reason);
        assert_eq!((by_reason.changes.len(), by_reason.changes[0].delta()), (1, 1));
    }

    #[test]
    fn goroutines_that_stayed() {
        let a = snapshot(&[
            (1, "main.w", None),
            (2, "main.w", Some(SECOND)),
            (3, "main.w", Some(SECOND)),
            (4, "main.w", Some(SECOND)),
            (5, "main.x", None),
        ]);
        let b = later(
            // 2 waits on; 3 has waited for less time than has passed; 4 has lost its stamp; 5 is elsewhere.
            snapshot(&[
                (1, "main.w", None),
                (2, "main.w", Some(11 * SECOND)),
                (3, "main.w", Some(2 * SECOND)),
                (4, "main.w", None),
                (5, "main.w", None),
            ]),
            10,
        );
        let diff = diff(&a, &b, &GroupBy::Stack);
        assert_eq!((diff.relation.same_process, diff.relation.elapsed_ns), (Some(true), 10_000_000_000));
        let stayed = diff.stayed.expect("it is one process");
        assert_eq!(stayed.len(), 1);
        assert_eq!(stayed[0].group.ids, [Goid(1), Goid(2)]);
        let wait = stayed[0].group.wait.expect("one is stamped");
        assert_eq!(
            (wait.shortest_ns, wait.longest_ns),
            (11 * SECOND, 11 * SECOND),
            "of 1, an equal byte may be chance"
        );
        let mut has_run = b.clone();
        has_run.goroutines[0].run_seq = Some(1);
        assert_eq!(
            self::diff(&a, &has_run, &GroupBy::Stack).stayed.expect("it is one process")[0].group.ids,
            [Goid(2)]
        );
        // The times of collections are not recorded, and the stamp is the same: it has not run in between.
        let (mut stamped, mut unstamped) = (a.clone(), b.clone());
        for goroutine in stamped.goroutines.iter_mut().chain(&mut unstamped.goroutines) {
            (goroutine.wait_since_ns, goroutine.blocked_before_ns) = (std::num::NonZeroU64::new(5), None);
        }
        let stayed = self::diff(&stamped, &unstamped, &GroupBy::Stack).stayed.expect("it is one process");
        let wait = stayed[0].group.wait.expect("the time between is known");
        assert_eq!((wait.shortest_ns, wait.longest_ns), (10 * SECOND, 10 * SECOND));
    }

    #[test]
    fn another_process_and_another_program() {
        let a = snapshot(&[(1, "main.w", None)]);
        let mut restarted = later(a.clone(), 60);
        restarted.target.uptime_ns = Some(5 * SECOND);
        let of_restarted = diff(&a, &restarted, &GroupBy::Stack);
        assert_eq!((of_restarted.relation.same_process, of_restarted.relation.same_build), (Some(false), Some(true)));
        assert!(of_restarted.stayed.is_none());
        assert_eq!(of_restarted.groups(ChangeKind::Unchanged), 1, "groups are compared all the same");
        let mut other = restarted;
        other.target.build_id = Some("other".into());
        other.target.module.package = Some("example.com/other".into());
        let relation = diff(&a, &other, &GroupBy::Stack).relation;
        assert_eq!((relation.same_build, relation.same_program), (Some(false), Some(false)));
        other.target.module.package = a.target.module.package.clone();
        assert_eq!(diff(&a, &other, &GroupBy::Stack).relation.same_program, Some(true));
    }

    #[test]
    fn costs_are_linear() {
        let many = |n: u64| {
            let names: Vec<String> = (0..100).map(|kind| format!("main.w{kind}")).collect();
            let list: Vec<(u64, &str, Option<u64>)> =
                (1..=n).map(|id| (id, names[usize::try_from(id % 100).unwrap()].as_str(), None)).collect();
            snapshot(&list)
        };
        let time = |snapshot: &Snapshot| {
            let started = std::time::Instant::now();
            assert_eq!(diff(snapshot, snapshot, &GroupBy::Stack).changes.len(), 100);
            started.elapsed()
        };
        // The least of several: other load only makes it longer.
        let least = |snapshot: &Snapshot| (0..5).map(|_| time(snapshot)).min().unwrap();
        let (small, large) = (many(10_000), many(100_000));
        assert!(least(&large) < least(&small) * 60);
    }
}
