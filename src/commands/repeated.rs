//! A program that is read again and again: stacks of goroutines that have not gone on are kept from one reading to the
//! next.

use std::time::{Duration, Instant};

use super::source::Source;
use crate::capture::{CaptureOptions, SourceError};
use crate::model::{ObjectAddr, Snapshot};
use crate::sampling::SnapshotSource;

/// Reads a source with the same options each time.
pub(super) struct Repeated {
    source: Box<dyn Source>,
    options: CaptureOptions,
    /// How often all is read.
    in_full_every: Option<Duration>,
    last_in_full: Option<Instant>,
}

impl Repeated {
    pub(super) fn new(source: Box<dyn Source>, options: CaptureOptions) -> Self {
        Self { source, options, in_full_every: None, last_in_full: None }
    }

    /// Every so often, all is read.
    pub(super) fn in_full_every(self, every: Duration) -> Self {
        Self { in_full_every: Some(every), ..self }
    }

    fn capture(&mut self) -> Result<Snapshot, SourceError> {
        self.source.capture(&CaptureOptions { keep_stacks: true, ..self.options })
    }
}

impl SnapshotSource<SourceError> for Repeated {
    fn next(&mut self) -> Result<Snapshot, SourceError> {
        let is_due = |every: Duration| self.last_in_full.is_none_or(|last| last.elapsed() >= every);
        if self.in_full_every.is_some_and(is_due) {
            return self.next_in_full();
        }
        self.capture()
    }

    fn next_in_full(&mut self) -> Result<Snapshot, SourceError> {
        self.last_in_full = Some(Instant::now());
        self.source.renew();
        self.capture()
    }

    fn attend(&mut self, goroutines: &[ObjectAddr]) {
        self.source.attend(goroutines);
    }
}
