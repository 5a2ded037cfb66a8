//! The order in which goroutines and groups are shown.
//!
//! Every order is total: what is equal otherwise is ordered by goroutine id, and then by place in
//! the snapshot, so that two runs on the same snapshot agree line by line.

use std::borrow::Borrow;
use std::cmp::{Ordering, Reverse};
use std::str::FromStr;

use rustc_hash::FxHashMap;

use super::{Group, Index, PlaceKind};
use crate::model::{Goroutine, StrId, WaitReasonId};

/// What to order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SortKey {
    /// Goroutine id, the lowest first.
    Id,
    /// Known time blocked, the longest first, the unknown last.
    Age,
    /// State, in the order of the runtime's numbers.
    State,
    /// Wait reason by its text; those that do not wait last.
    Reason,
    /// Name of the function shown; the unknown last.
    Function,
    /// Size of the group, the largest first. Alone, goroutines all count one.
    Count,
    /// Stack in use, the largest first.
    Stack,
}

impl SortKey {
    /// All of them with their names.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("id", Self::Id),
        ("age", Self::Age),
        ("state", Self::State),
        ("reason", Self::Reason),
        ("function", Self::Function),
        ("count", Self::Count),
        ("stack", Self::Stack),
    ];
}

impl FromStr for SortKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|&(_, key)| key).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("there is no order by `{text}`; there is {}", names.join(", "))
        })
    }
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// By what.
    pub key: SortKey,
    /// Whether the key's own direction is reversed. Ties stay in order of id.
    pub reverse: bool,
}

impl Sort {
    /// Orders positions of goroutines.
    pub fn goroutines(self, index: &Index<'_>, place: PlaceKind, positions: &mut [usize]) {
        let snapshot = index.snapshot();
        let ranks = Ranks::new(index, place, self.key);
        let key = |&position: &usize| -> (u64, u64, usize) {
            let Some(goroutine) = snapshot.goroutines.get(position) else { return (u64::MAX, u64::MAX, position) };
            let key = match self.key {
                SortKey::Id => goroutine.id.0,
                SortKey::Age => descending(index.wait_ns(goroutine)),
                SortKey::State => status_rank(goroutine),
                SortKey::Reason => ranks.reason(goroutine.wait_reason),
                SortKey::Function => {
                    let frame = index.place(goroutine, place).frame();
                    ranks.function(frame.and_then(|id| snapshot.symbols.frame(id)).map(|frame| frame.function))
                }
                SortKey::Count => 0,
                SortKey::Stack => descending(goroutine.stack_used()),
            };
            (key, goroutine.id.0, position)
        };
        if self.reverse {
            positions.sort_by_cached_key(|position| {
                let (key, id, at) = key(position);
                (Reverse(key), id, at)
            });
        } else {
            positions.sort_by_cached_key(key);
        }
    }

    /// Orders groups. Ties are in order of the lowest id in them.
    pub fn groups<G: Borrow<Group>>(self, index: &Index<'_>, place: PlaceKind, groups: &mut [G]) {
        let snapshot = index.snapshot();
        let ranks = Ranks::new(index, place, self.key);
        let key = |group: &Group| -> u64 {
            let example = snapshot.goroutines.get(group.example);
            match self.key {
                SortKey::Id => group.lowest.0,
                SortKey::Age => descending(group.wait.map(|wait| wait.longest_ns)),
                SortKey::State => example.map_or(u64::MAX, status_rank),
                SortKey::Reason => ranks.reason(example.and_then(|goroutine| goroutine.wait_reason)),
                SortKey::Function => {
                    let frame = example.and_then(|goroutine| index.place(goroutine, place).frame());
                    ranks.function(frame.and_then(|id| snapshot.symbols.frame(id)).map(|frame| frame.function))
                }
                SortKey::Count => descending(Some(group.count)),
                SortKey::Stack => descending(Some(group.details.stack_used)),
            }
        };
        groups.sort_by(|a, b| {
            let (a, b) = (a.borrow(), b.borrow());
            let order = key(a).cmp(&key(b));
            let order = if self.reverse { order.reverse() } else { order };
            order.then_with(|| a.lowest.cmp(&b.lowest)).then_with(|| a.example.cmp(&b.example))
        });
    }
}

/// Largest first, unknown last.
fn descending(value: Option<u64>) -> u64 {
    value.map_or(u64::MAX, |value| (u64::MAX - 1).saturating_sub(value))
}

fn status_rank(goroutine: &Goroutine) -> u64 {
    use crate::model::Status;
    match goroutine.status {
        Status::Idle => 0,
        Status::Runnable => 1,
        Status::Running => 2,
        Status::Syscall => 3,
        Status::Waiting => 4,
        Status::Dead => 6,
        Status::CopyStack => 8,
        Status::Preempted => 9,
        Status::Leaked => 10,
        Status::DeadExtra => 11,
        Status::Unknown(number) => 256 + u64::from(number),
    }
}

/// Places of names in alphabetical order, so that goroutines are compared by numbers.
struct Ranks {
    functions: FxHashMap<StrId, u64>,
    reasons: Vec<u64>,
}

impl Ranks {
    fn new(index: &Index<'_>, place: PlaceKind, key: SortKey) -> Self {
        let snapshot = index.snapshot();
        let mut ranks = Self { functions: FxHashMap::default(), reasons: Vec::new() };
        if key == SortKey::Reason {
            ranks.reasons = (0..snapshot.wait_reasons.len())
                .map(|at| {
                    let text = snapshot.wait_reasons.get(at);
                    count(snapshot.wait_reasons.iter().filter(|other| Some(*other) < text))
                })
                .collect();
        }
        if key == SortKey::Function {
            let mut names: Vec<StrId> = Vec::new();
            let mut seen = rustc_hash::FxHashSet::default();
            for goroutine in &snapshot.goroutines {
                let frame = index.place(goroutine, place).frame().and_then(|id| snapshot.symbols.frame(id));
                if let Some(frame) = frame.filter(|frame| seen.insert(frame.function)) {
                    names.push(frame.function);
                }
            }
            names.sort_by(|a, b| match snapshot.symbols.str(*a).cmp(snapshot.symbols.str(*b)) {
                Ordering::Equal => a.cmp(b),
                order => order,
            });
            ranks.functions = names.into_iter().zip(0..).collect();
        }
        ranks
    }

    fn function(&self, name: Option<StrId>) -> u64 {
        name.and_then(|name| self.functions.get(&name)).copied().unwrap_or(u64::MAX)
    }

    fn reason(&self, reason: Option<WaitReasonId>) -> u64 {
        reason.and_then(|id| self.reasons.get(usize::from(id.0))).copied().unwrap_or(u64::MAX)
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.fold(0, |count, _| count + 1)
}

#[cfg(test)]
mod tests {
    use super::{Sort, SortKey};
    use crate::analysis::{Index, PlaceKind};
    use crate::model::Status;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};

    #[test]
    fn orders_are_total_and_natural() {
        let mut builder = SnapshotBuilder::new();
        let rows = [
            (9, Status::Waiting, Some("select"), Some(5_000), "main.b"),
            (3, Status::Runnable, None, None, "main.a"),
            (7, Status::Waiting, Some("chan receive"), Some(9_000), "main.b"),
            (5, Status::Waiting, Some("select"), None, "main.c"),
        ];
        for (id, status, reason, wait_ns, function) in rows {
            let frames = vec![frame(function, "/x.go", 1)];
            builder.add(&GoroutineSpec { id, status, reason, wait_ns, frames, ..Default::default() });
        }
        let snapshot = builder.build();
        let index = Index::new(&snapshot);
        let order = |key, reverse| -> Vec<u64> {
            let mut positions = vec![0, 1, 2, 3];
            Sort { key, reverse }.goroutines(&index, PlaceKind::User, &mut positions);
            positions.into_iter().map(|at| snapshot.goroutines[at].id.0).collect()
        };
        assert_eq!(order(SortKey::Id, false), [3, 5, 7, 9]);
        assert_eq!(order(SortKey::Id, true), [9, 7, 5, 3]);
        assert_eq!(order(SortKey::Age, false), [7, 9, 3, 5]);
        assert_eq!(order(SortKey::State, false), [3, 5, 7, 9]);
        assert_eq!(order(SortKey::Reason, false), [7, 5, 9, 3]);
        assert_eq!(order(SortKey::Function, false), [3, 7, 9, 5]);
        assert_eq!(order(SortKey::Function, true), [5, 7, 9, 3]);
        assert_eq!(order(SortKey::Count, true), [3, 5, 7, 9]);
        assert!("nonsense".parse::<SortKey>().is_err());
    }
}
