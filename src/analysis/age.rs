//! The age of a wait, for how long a goroutine has been blocked, and how that is known.
//!
//! The runtime stamps a wait at a garbage collection after it began, so from one snapshot a wait is only
//! estimated, and in a program that has not collected yet it is unknown. Reading a program more than once
//! measures it: for a goroutine that was found blocked and has not run since
//! ([`crate::analysis::series::watching`]). What was measured ([`crate::model::WatchedWaits`]) is kept apart
//! from the snapshot and never written into it.

use crate::model::Snapshot;

/// How the age of a wait is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgeSource {
    /// Estimated from GC timestamps.
    Gc,
    /// Measured by reading the program more than once.
    Watched,
}

impl AgeSource {
    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gc => "gc",
            Self::Watched => "watched",
        }
    }
}

/// The age of a wait: for how long a goroutine has been blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Lower bound, ns.
    pub at_least_ns: u64,
    /// How that is known.
    pub source: AgeSource,
}

impl Age {
    /// The longer of the GC estimate and the measured age; both in ns.
    #[must_use]
    pub fn of(estimated_ns: Option<u64>, measured_ns: Option<u64>) -> Option<Self> {
        match (estimated_ns, measured_ns) {
            (estimated, Some(ns)) if estimated.is_none_or(|known| known < ns) => {
                Some(Self { at_least_ns: ns, source: AgeSource::Watched })
            }
            (estimated, _) => estimated.map(|ns| Self { at_least_ns: ns, source: AgeSource::Gc }),
        }
    }

    /// Whether it was measured.
    #[must_use]
    pub fn is_measured(self) -> bool {
        self.source == AgeSource::Watched
    }
}

/// Why no wait in a snapshot has an age, if the reason is too few garbage collections: the first one stamps
/// nothing. `None` if there were enough, or that is unknown.
#[must_use]
pub(crate) fn why_unknown(snapshot: &Snapshot) -> Option<&'static str> {
    match snapshot.gc.as_ref()?.cycles {
        0 => Some("no GC yet"),
        1 => Some("only one GC yet"),
        _ => None,
    }
}
