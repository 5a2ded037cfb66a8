//! Playing a recording: where to go in it, and how far it goes.

use std::sync::{Arc, Mutex, PoisonError};

/// A step in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// So many samples on, or back.
    Samples(i64),
    /// So much time on, or back, ns.
    Time(i64),
    /// To the first sample.
    First,
    /// To the last one.
    Last,
}

impl Seek {
    /// Both steps as one, where that is possible; otherwise the later one.
    #[must_use]
    pub fn and(self, then: Self) -> Self {
        match (self, then) {
            (Self::Samples(first), Self::Samples(second)) => Self::Samples(first.saturating_add(second)),
            (Self::Time(first), Self::Time(second)) => Self::Time(first.saturating_add(second)),
            (_, then) => then,
        }
    }
}

/// How far a recording goes, by the target's `nanotime`, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its first sample.
    pub first_ns: u64,
    /// Its last one.
    pub last_ns: u64,
}

/// A step that the reader of a recording is to take before it reads; shared with it.
#[derive(Clone, Debug, Default)]
pub struct Playhead(Arc<Mutex<Option<Seek>>>);

impl Playhead {
    /// The next reading is there.
    pub fn seek(&self, seek: Seek) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seek);
    }

    /// Where the next reading is to be, if not after the last one.
    #[must_use]
    pub fn take(&self) -> Option<Seek> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
