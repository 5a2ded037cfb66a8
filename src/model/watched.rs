//! Waits that were measured by reading a program more than once. They are kept apart from the goroutines,
//! which stay as they were read.

use rustc_hash::FxHashMap;

use super::Goid;

/// Since when goroutines have not run, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchedWaits {
    since_ns: FxHashMap<Goid, u64>,
}

impl WatchedWaits {
    /// Records that a goroutine has not run since `since_ns`, by the target's `nanotime`.
    pub fn insert(&mut self, id: Goid, since_ns: u64) {
        self.since_ns.insert(id, since_ns);
    }

    /// Forgets a goroutine.
    pub(crate) fn remove(&mut self, id: Goid) {
        self.since_ns.remove(&id);
    }

    /// Since when the goroutine has not run, by the target's `nanotime`; `None` where that was not
    /// measured.
    #[must_use]
    pub fn since_ns(&self, id: Goid) -> Option<u64> {
        self.since_ns.get(&id).copied()
    }

    /// How many were measured.
    #[must_use]
    pub fn len(&self) -> usize {
        self.since_ns.len()
    }

    /// Whether none were.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.since_ns.is_empty()
    }
}
