//! How many goroutines are in which state.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::model::{Goroutine, Snapshot, Status, WaitReasonId};

/// Totals over all goroutines of a snapshot, the dead apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Goroutines that are not dead.
    pub total: u64,
    /// Of them, the runtime's own.
    pub system: u64,
    /// Dead ones, listed or not.
    pub dead: u64,
    /// By state, the most frequent first; ties in the order of the runtime's numbers.
    pub by_state: Vec<(Status, u64)>,
    /// By wait reason, the most frequent first; ties by the reason's text.
    pub by_wait_reason: Vec<(WaitReasonId, u64)>,
}

/// Goroutines that are not dead, by what [`Counts`] are made of: what one snapshot has more or less than another is added
/// and taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    system: u64,
    both: FxHashMap<(Status, Option<WaitReasonId>), u64>,
}

impl Tally {
    /// Of all goroutines of a snapshot.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut tally = Self::default();
        snapshot.goroutines.iter().for_each(|goroutine| tally.add(goroutine));
        tally
    }

    /// Adds one.
    pub(crate) fn add(&mut self, goroutine: &Goroutine) {
        if !goroutine.status.is_dead() {
            self.system += u64::from(goroutine.system);
            *self.both.entry((goroutine.status, goroutine.wait_reason)).or_default() += 1;
        }
    }

    /// Takes one away that was added.
    pub(crate) fn take(&mut self, goroutine: &Goroutine) {
        let key = (goroutine.status, goroutine.wait_reason);
        let Some(count) = self.both.get_mut(&key).filter(|_| !goroutine.status.is_dead()) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.both.remove(&key);
        }
        self.system = self.system.saturating_sub(u64::from(goroutine.system));
    }
}

impl Counts {
    /// Counts.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self::of_tally(snapshot, &Tally::of(snapshot))
    }

    /// The same, where all goroutines of the snapshot were counted.
    pub(crate) fn of_tally(snapshot: &Snapshot, tally: &Tally) -> Self {
        let total = tally.both.values().sum();
        let mut counts = Self { dead: snapshot.dead_goroutines, total, system: tally.system, ..Self::default() };
        let mut states: BTreeMap<Status, u64> = BTreeMap::new();
        let mut reasons: BTreeMap<WaitReasonId, u64> = BTreeMap::new();
        for (&(status, reason), &count) in &tally.both {
            *states.entry(status).or_default() += count;
            if let Some(reason) = reason {
                *reasons.entry(reason).or_default() += count;
            }
        }
        counts.by_state = states.into_iter().collect();
        counts.by_state.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts.by_wait_reason = reasons.into_iter().collect();
        counts.by_wait_reason.sort_by(|a, b| {
            b.1.cmp(&a.1).then_with(|| snapshot.wait_reason(a.0).cmp(&snapshot.wait_reason(b.0))).then(a.0.cmp(&b.0))
        });
        counts
    }

    /// Goroutines of the program itself.
    #[must_use]
    pub fn user(&self) -> u64 {
        self.total.saturating_sub(self.system)
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;
    use crate::model::Status;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder};

    #[test]
    fn counts_states_reasons_and_system_goroutines() {
        let mut builder = SnapshotBuilder::new();
        for (id, status, reason, system) in [
            (1, Status::Waiting, Some("select"), false),
            (2, Status::Waiting, Some("chan receive"), false),
            (3, Status::Waiting, Some("chan receive"), true),
            (4, Status::Running, None, false),
            (0, Status::Dead, None, false),
        ] {
            builder.add(&GoroutineSpec { id, status, reason, system, ..Default::default() });
        }
        let receive = builder.reason("chan receive");
        let select = builder.reason("select");
        let counts = Counts::of(&builder.build());
        assert_eq!((counts.total, counts.system, counts.user(), counts.dead), (4, 1, 3, 3));
        assert_eq!(counts.by_state, [(Status::Waiting, 3), (Status::Running, 1)]);
        assert_eq!(counts.by_wait_reason, [(receive, 2), (select, 1)]);
    }
}
