//! The samples of a recording, one after the other or wherever the live view wants to be.

use super::Failure;
use super::at::At;
use super::input::{Contents, InputError, InputFile};
use super::source::{Location, SourceFailure, TargetSpec};
use crate::archive::{Archive, ArchiveError, Start};
use crate::model::Snapshot;
use crate::sampling::{SnapshotSource, SourceEnd};
use crate::top::play::{Extent, Playhead, Seek};

/// Reads a recording for the live view.
pub(super) struct Player {
    archive: Archive,
    /// The number of the sample that comes next, and that of the one that was shown last.
    next: u64,
    shown: Option<(u64, u64)>,
    pub(super) playhead: Playhead,
}

impl Player {
    /// Of what is a recording; `None` for anything else. Begins where it is wanted, or with the first sample.
    pub(super) fn of(wanted: &TargetSpec) -> Result<Option<Self>, Failure> {
        let Location::File(path) = &wanted.location else { return Ok(None) };
        let failed = |cause: InputError| SourceFailure::at(&wanted.location, cause);
        // What cannot be read again is read once, as a snapshot.
        let input = InputFile::open(path).map_err(failed)?;
        if input.contents != Contents::Recording || input.is_stream() {
            return Ok(None);
        }
        let beginning: Option<At> = "+0s".parse().ok();
        let at = wanted.at.as_ref().or(beginning.as_ref());
        let (archive, next) = input.into_sample(at).map_err(failed)?;
        Ok(Some(Self { archive, next, shown: None, playhead: Playhead::default() }))
    }

    /// How far it goes.
    pub(super) fn extent(&self) -> Extent {
        Extent { first_ns: self.archive.first().monotonic_ns, last_ns: self.archive.last().monotonic_ns }
    }

    fn goal(&mut self, seek: Option<Seek>) -> Result<u64, ArchiveError> {
        let last = self.archive.samples().saturating_sub(1);
        let Some((shown, at_ns)) = self.shown else { return Ok(self.next.min(last)) };
        Ok(match seek {
            None => self.next,
            Some(Seek::First) => 0,
            Some(Seek::Last) => last,
            Some(Seek::Samples(by)) => shown.saturating_add_signed(by).min(last),
            Some(Seek::Time(by)) => {
                let offset = at_ns.saturating_sub(self.archive.first().monotonic_ns).saturating_add_signed(by);
                let found = self.archive.find(Start::Beginning(offset))?;
                // Where samples are far apart, it goes on all the same.
                if found == shown { shown.saturating_add_signed(by.signum()).min(last) } else { found }
            }
        })
    }
}

impl SnapshotSource for Player {
    fn next(&mut self) -> Result<Snapshot, SourceEnd> {
        let seek = self.playhead.take();
        let failed = |error: ArchiveError| SourceEnd::Failed(error.to_string());
        let number = self.goal(seek).map_err(failed)?;
        if number >= self.archive.samples() {
            return Err(SourceEnd::Finished);
        }
        let snapshot = self.archive.read(number).map_err(failed)?;
        self.next = number.saturating_add(1);
        self.shown = Some((number, snapshot.monotonic_ns));
        Ok(snapshot)
    }
}
