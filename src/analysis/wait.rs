//! For how long a goroutine has been blocked, and how that is known.
//!
//! The runtime stamps a wait at a garbage collection after it began, so from one snapshot a wait is
//! only estimated, and in a program that has not collected yet it is unknown. Who reads a program more
//! than once measures: a goroutine that was found blocked and has not run since
//! ([`crate::analysis::series::watching`]). What was measured lies beside the snapshot and is never
//! written into it.

use rustc_hash::FxHashMap;

use crate::model::Goid;

/// How the age of a wait is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitSource {
    /// Estimated from the timestamps that garbage collections leave.
    Gc,
    /// Measured by reading the program more than once.
    Watched,
}

impl WaitSource {
    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gc => "gc",
            Self::Watched => "watched",
        }
    }
}

/// For how long a goroutine has been blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// At least as long, ns.
    pub at_least_ns: u64,
    /// How that is known.
    pub source: WaitSource,
}

/// Waits that were measured, beside the snapshot that they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchedWaits {
    since_ns: FxHashMap<Goid, u64>,
}

impl WatchedWaits {
    /// Puts down that a goroutine has not run since `since_ns`, by the target's `nanotime`.
    pub fn insert(&mut self, id: Goid, since_ns: u64) {
        self.since_ns.insert(id, since_ns);
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

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.since_ns.is_empty()
    }
}
