//! The goroutine profile: gzipped, as the list of `debug=1`, and as the dump of `debug=2`.

use rustc_hash::FxHashMap;

use super::{Profiler, binary, text};
use crate::analysis::Index;
use crate::capture::{CaptureOptions, allgs};
use crate::heap::profile;
use crate::model::Snapshot;
use crate::report::profile::counts;
use crate::report::profile::goroutines::{self, Samples};
use crate::report::traceback::{self, TracebackOptions};
use crate::serve::answer::{Answer, TEXT};

/// What a profile needs to know of goroutines.
pub(in crate::serve) const STACKS: CaptureOptions = CaptureOptions {
    stacks: true,
    dead: false,
    waits: false,
    c_frames: false,
    system_calls: false,
    traceback: false,
    values: false,
    strings: false,
    keep_stacks: false,
    freeze: None,
};

/// And a dump.
pub(super) const DUMP: CaptureOptions = CaptureOptions { traceback: true, ..STACKS };

impl Profiler<'_> {
    pub(super) fn goroutines(&self, debug: i64) -> Result<Answer, Answer> {
        match debug {
            0 => {
                let snapshot = self.read(|program| program.snapshot(STACKS))?;
                let index = Index::new(&snapshot);
                Ok(binary("goroutine", |body| goroutines::write(body, &index, &own(&snapshot), Samples::Summed)))
            }
            ..=1 => {
                let snapshot = self.read(|program| program.snapshot(STACKS))?;
                let most = counts::most_calls(&snapshot.target.go_version);
                let profile = self.read(|program| {
                    program.read(|session| Ok(profile::goroutines(session.process(), &snapshot, most)))
                })?;
                Ok(text(|body| counts::list(body, &profile, &snapshot)))
            }
            _ => self.dump(),
        }
    }

    /// All stacks, in the order in which the program itself prints them.
    fn dump(&self) -> Result<Answer, Answer> {
        let snapshot = self.read(|program| program.snapshot(DUMP))?;
        let order = self.read(|program| program.read(|session| Ok(allgs::in_order(session.process())?)))?;
        Ok(Answer::streamed(TEXT, move |out| {
            let index = Index::new(&snapshot);
            let options = TracebackOptions::for_version(&snapshot.target.go_version);
            traceback::write_all(out, &index, &in_order(&snapshot, &order), options)
        }))
    }
}

/// The goroutines that the program itself counts.
pub(super) fn own(snapshot: &Snapshot) -> Vec<usize> {
    let goroutines = snapshot.goroutines.iter().enumerate();
    goroutines.filter(|(_, goroutine)| !goroutine.system && !goroutine.status.is_dead()).map(|(at, _)| at).collect()
}

/// The same, by where they are listed; what is not listed comes last.
fn in_order(snapshot: &Snapshot, order: &[u64]) -> Vec<usize> {
    let places: FxHashMap<u64, usize> = order.iter().enumerate().map(|(place, addr)| (*addr, place)).collect();
    let place = |at: &usize| snapshot.goroutines.get(*at).and_then(|goroutine| places.get(&goroutine.addr.0));
    let mut positions = own(snapshot);
    positions.sort_by_key(|at| place(at).copied().unwrap_or(usize::MAX));
    positions
}
