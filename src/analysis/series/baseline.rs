//! Counts at one moment, to compare later ones with: the first snapshot, or a mark.

use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::growth::difference;
use super::watching::Observed;

/// Goroutines up to which a baseline keeps its snapshot, so that it can be counted again by other keys.
/// Above, it keeps counts only.
const KEPT_GOROUTINES: usize = 200_000;
/// Distinct stacks, likewise.
const KEPT_STACKS: usize = 50_000;

/// Counts by key at one moment. Keys are valid only while the program's pool is the same.
#[derive(Clone, Debug)]
pub struct Baseline<K> {
    /// When, ns by the target's `nanotime`.
    pub at_ns: u64,
    counts: FxHashMap<K, u64>,
    observed: Option<Arc<Observed>>,
}

impl<K: Copy + Eq + Hash> Baseline<K> {
    /// Of a snapshot, given what was counted in it.
    #[must_use]
    pub fn new(observed: &Arc<Observed>, counts: impl IntoIterator<Item = (K, u64)>) -> Self {
        let snapshot = observed.snapshot();
        let keep = snapshot.goroutines.len() <= KEPT_GOROUTINES && snapshot.symbols.stack_count() <= KEPT_STACKS;
        Self {
            at_ns: snapshot.monotonic_ns,
            counts: counts.into_iter().collect(),
            observed: keep.then(|| Arc::clone(observed)),
        }
    }

    /// The same moment counted by other keys, or for other goroutines; `None` where too little of it was
    /// kept.
    #[must_use]
    pub fn recount(&self, count: impl FnOnce(&Observed) -> FxHashMap<K, u64>) -> Option<Self> {
        let observed = self.observed.as_ref()?;
        Some(Self { at_ns: self.at_ns, counts: count(observed), observed: Some(Arc::clone(observed)) })
    }

    /// The change since then, of what counts `now`.
    #[must_use]
    pub fn change(&self, key: K, now: u64) -> i64 {
        difference(now, self.counts.get(&key).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Baseline, KEPT_GOROUTINES};
    use crate::analysis::series::Watching;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder};

    #[test]
    fn changes_and_other_keys() {
        let mut builder = SnapshotBuilder::new();
        builder.add(&GoroutineSpec { id: 1, ..Default::default() });
        let observed = Watching::default().observe(builder.build());
        let baseline = Baseline::new(&observed, [("leak", 7), ("done", 2)]);
        assert_eq!((baseline.change("leak", 10), baseline.change("done", 0), baseline.change("new", 4)), (3, -2, 4));
        let other = baseline.recount(|_| [("all", 9)].into_iter().collect()).expect("it is small");
        assert_eq!((other.change("all", 8), other.at_ns), (-1, baseline.at_ns));
    }

    #[test]
    fn a_large_one_keeps_counts_only() {
        let mut builder = SnapshotBuilder::new();
        builder.add(&GoroutineSpec { id: 1, ..Default::default() });
        let mut snapshot = builder.build();
        let one = snapshot.goroutines[0].clone();
        snapshot.goroutines = vec![one; KEPT_GOROUTINES + 1].into();
        let observed = Watching::default().observe(snapshot);
        let baseline = Baseline::new(&observed, [("leak", 7)]);
        assert_eq!(Arc::strong_count(&observed), 1);
        assert!(baseline.recount(|_| Default::default()).is_none());
        assert_eq!(baseline.change("leak", 8), 1);
    }
}
