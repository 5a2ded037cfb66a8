//! How many goroutines are in which state.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::model::{Snapshot, Status, WaitReasonId};

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

impl Counts {
    /// Counts.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut both: FxHashMap<(Status, Option<WaitReasonId>), u64> = FxHashMap::default();
        let mut counts = Self { dead: snapshot.dead_goroutines, ..Self::default() };
        for goroutine in snapshot.goroutines.iter().filter(|g| !g.status.is_dead()) {
            counts.total += 1;
            counts.system += u64::from(goroutine.system);
            *both.entry((goroutine.status, goroutine.wait_reason)).or_default() += 1;
        }
        let mut states: BTreeMap<Status, u64> = BTreeMap::new();
        let mut reasons: BTreeMap<WaitReasonId, u64> = BTreeMap::new();
        for ((status, reason), count) in both {
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
