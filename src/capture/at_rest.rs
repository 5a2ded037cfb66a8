//! A program in which nothing has run since it was read: what was read of it is still so, and need not be read again.
//!
//! Two things have to say so. The CPU clock of the process shows all that its threads have used, to the nanosecond, once
//! they do not run. A thread that runs just then is seen by a tick of the kernel only (4 ms or 10 ms); but then it holds
//! a P, or has run something on one, which its counts show, unless it goes on with the goroutine that it made runnable
//! last (`inheritTime` in runtime/proc.go). So what is said to be unchanged may be as old as a tick, and is of one moment
//! all the same.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use super::options::CaptureOptions;
use crate::model::{Reading, Snapshot, StackReadings};
use crate::process::{Clock, ReadError};
use crate::runtime::GoProcess;
use crate::runtime::mirror::m::M;
use crate::runtime::readers::processors::Ticks;

/// By how much the wall clock may have been set since a reading before what was worked out with it holds no longer, ns.
pub(super) const MOST_CLOCK_STEP_NS: u64 = 10_000_000;

/// What a program had run when that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    ticks: Ticks,
    cpu: Duration,
}

impl Rest {
    /// Of a program now; `None` unless all its Ps are idle. Where it is the same before something and after it, nothing
    /// has run meanwhile.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(super) fn of(process: GoProcess<'_>) -> Result<Option<Self>, ReadError> {
        let Some(ticks) = Ticks::read_idle(process.unlogged())? else { return Ok(None) };
        Ok(process.target.cpu_clock().map(|cpu| Self { ticks, cpu }))
    }
}

/// The snapshot of a program that was at rest when its reading began.
#[derive(Debug)]
pub(super) struct LastRead {
    rest: Rest,
    options: CaptureOptions,
    snapshot: Snapshot,
    /// The Ms, as they were read.
    pub(super) ms: Vec<M>,
    /// Descriptors of what goroutines wait for, which the kernel was asked about.
    pub(super) fds: BTreeSet<i32>,
    /// Whether nothing had run between the reading before and this one either.
    rests_on: bool,
    /// Of the stacks in `snapshot`.
    stacks: StackReadings,
}

impl LastRead {
    /// Of a reading with these options, before which the program was at rest like that, and whether nothing had run since
    /// the reading before. `None` where something is missing in it, which another reading may find.
    pub(super) fn new(
        (rest, rests_on): (Rest, bool),
        options: CaptureOptions,
        snapshot: &Snapshot,
        ms: Vec<M>,
        fds: BTreeSet<i32>,
    ) -> Option<Self> {
        let Reading { consistency, stacks, .. } = &snapshot.reading;
        let (is_whole, stacks) = (consistency.moving == 0 && consistency.unreadable == 0, (*stacks)?);
        is_whole.then(|| Self { rest, options, snapshot: snapshot.clone(), ms, fds, rests_on, stacks })
    }

    /// Whether nothing has run since, and the options are the same.
    pub(super) fn rests_on(&self, rest: &Rest, options: &CaptureOptions) -> bool {
        self.rest == *rest && self.options == *options
    }

    /// The same of this one and the one before.
    pub(super) fn rests_on_one_before(&self) -> bool {
        self.rests_on
    }

    /// Whether its own stacks were read for it, or were proven to be the same. Of others, that nothing has run since says
    /// nothing.
    pub(super) fn is_certain(&self) -> bool {
        self.stacks.kept == self.stacks.kept_proven
    }

    /// Whether the kernel has to be asked about what goroutines do.
    pub(super) fn has_descriptors(&self) -> bool {
        self.options.system_calls && (!self.fds.is_empty() || self.snapshot.not_in_go.iter().len() > 0)
    }

    /// The same snapshot at another time; `None` where a clock was set meanwhile.
    pub(super) fn at(&self, now: Clock) -> Option<Snapshot> {
        let mut snapshot = self.snapshot.clone();
        let age_ns = now.monotonic_ns.checked_sub(snapshot.monotonic_ns)?;
        // The difference of the two clocks stays that of the reading: times in the snapshot were worked out with it.
        let unix_ns = snapshot.captured_at_unix_ns.saturating_add(age_ns);
        if unix_ns.abs_diff(now.unix_ns) > MOST_CLOCK_STEP_NS {
            return None;
        }
        snapshot.unchanged_since_ns = NonZeroU64::new(snapshot.monotonic_ns);
        snapshot.monotonic_ns = now.monotonic_ns;
        snapshot.captured_at_unix_ns = unix_ns;
        snapshot.target.uptime_ns = snapshot.target.uptime_ns.map(|uptime| uptime.saturating_add(age_ns));
        let StackReadings { read, kept, oldest_ms, .. } = self.stacks;
        let known = read.saturating_add(kept);
        let oldest_ms = (known > 0).then(|| oldest_ms.unwrap_or_default().saturating_add(age_ns / 1_000_000));
        snapshot.reading.stacks = Some(StackReadings { read: 0, kept: known, kept_proven: known, oldest_ms });
        Some(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PStatus;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder};

    fn rest(sched: u32, cpu_ns: u64) -> Rest {
        let ticks = Ticks::of_idle([(0, PStatus::Idle, sched, 3)].into_iter()).unwrap();
        Rest { ticks, cpu: Duration::from_nanos(cpu_ns) }
    }

    fn read() -> Snapshot {
        let mut builder = SnapshotBuilder::new();
        builder.add(&GoroutineSpec { id: 1, ..Default::default() });
        let mut snapshot = builder.build();
        snapshot.reading.stacks = Some(StackReadings { read: 5, kept: 2, kept_proven: 2, oldest_ms: Some(40) });
        snapshot
    }

    #[test]
    fn only_the_time_goes_on() {
        let (first, options) = (read(), CaptureOptions { keep_stacks: true, ..CaptureOptions::default() });
        let last = LastRead::new((rest(7, 100), false), options, &first, Vec::new(), BTreeSet::new()).unwrap();
        let later = |monotonic_ns: u64, unix_ns: u64| Clock {
            monotonic_ns: first.monotonic_ns + monotonic_ns,
            unix_ns: first.captured_at_unix_ns + unix_ns,
        };
        // The clocks are never read twice alike.
        assert!(last.rests_on(&rest(7, 100), &options) && last.is_certain());
        let now = last.at(later(3_000_000_000, 3_000_000_900)).unwrap();
        assert!(now.goroutines.is_same(&first.goroutines));
        assert_eq!(now.monotonic_ns, first.monotonic_ns + 3_000_000_000);
        assert_eq!(now.captured_at_unix_ns, first.captured_at_unix_ns + 3_000_000_000);
        assert_eq!(now.target.uptime_ns.unwrap(), first.target.uptime_ns.unwrap() + 3_000_000_000);
        let stacks = StackReadings { read: 0, kept: 7, kept_proven: 7, oldest_ms: Some(3_040) };
        assert_eq!(now.reading.stacks, Some(stacks));
        // It has run, something else is asked for, or a clock was set.
        assert!(!last.rests_on(&rest(8, 100), &options));
        assert!(!last.rests_on(&rest(7, 101), &options));
        assert!(!last.rests_on(&rest(7, 100), &CaptureOptions { waits: true, ..options }));
        assert!(last.at(later(1_000_000_000, 1_020_000_000)).is_none());
        let back = Clock { monotonic_ns: first.monotonic_ns - 1, unix_ns: first.captured_at_unix_ns };
        assert!(last.at(back).is_none());
    }

    /// What changed while it was read may be at rest now.
    #[test]
    fn what_is_not_whole_is_read_again() {
        let is_kept = |change: fn(&mut Reading)| {
            let mut snapshot = read();
            change(&mut snapshot.reading);
            let (options, fds) = (CaptureOptions::default(), BTreeSet::new());
            LastRead::new((rest(7, 100), false), options, &snapshot, Vec::new(), fds).is_some()
        };
        assert!(is_kept(|_| ()));
        assert!(!is_kept(|reading| reading.consistency.moving = 1));
        assert!(!is_kept(|reading| reading.consistency.unreadable = 1));
    }
}
