//! What only shows from one refresh to the next: for how long a goroutine has been found at the
//! same place without having run.
//!
//! The runtime tells only by its collections how long a goroutine has been blocked, so in a program
//! that collects rarely most waits are unknown. The time since gospy first found the goroutine
//! blocked as it is now is a lower bound too, one that grows with watching; what proves that it has not
//! run in between is said in [`crate::analysis::same_wait`]. Both lists are in order of id, so the
//! comparison is one walk along both: linear, and nothing is kept but the latest refresh.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::analysis::findings::{self, Found};
use crate::analysis::same_wait::{Stillness, Wait};
use crate::analysis::{Counts, Index};
use crate::model::Snapshot;

/// A snapshot with what watching has found: where a wait has been watched for longer than the
/// runtime tells, that is filled in (`blocked_before_ns`), so that everything that works on waits
/// works on these too.
#[derive(Clone, Debug)]
pub struct Observed {
    snapshot: Snapshot,
    counts: Counts,
    findings: Vec<Found>,
    /// One for each goroutine, by position.
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Since when it is as it is now, by the target's `nanotime`.
    still: Stillness,
    /// Whether its wait is known from watching.
    watched: bool,
    /// What was read, in the place of which that was put.
    read: Option<NonZeroU64>,
}

impl Observed {
    /// The snapshot, with watched waits filled in.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Totals.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What is wrong for certain, watched waits considered.
    #[must_use]
    pub fn findings(&self) -> &[Found] {
        &self.findings
    }

    /// Whether the wait of the goroutine at `position` is known from watching.
    #[must_use]
    pub fn is_watched(&self, position: usize) -> bool {
        self.seen.get(position).is_some_and(|seen| seen.watched)
    }

    /// The snapshot as it was read, without what was filled in.
    #[must_use]
    pub fn as_read(&self) -> Snapshot {
        let mut snapshot = self.snapshot.clone();
        for (goroutine, seen) in snapshot.goroutines.iter_mut().zip(&self.seen) {
            goroutine.blocked_before_ns = seen.read;
        }
        snapshot
    }
}

/// Compares each snapshot with the one before.
#[derive(Debug, Default)]
pub struct Watch {
    last: Option<Arc<Observed>>,
}

impl Watch {
    /// Takes in the next snapshot of the same program.
    pub fn observe(&mut self, mut snapshot: Snapshot) -> Arc<Observed> {
        let now = snapshot.monotonic_ns;
        let last = self.last.take().filter(|last| !has_restarted(&last.snapshot, &snapshot));
        let then_ns = last.as_ref().map_or(now, |last| last.snapshot.monotonic_ns);
        let same_pool = last.as_ref().is_some_and(|last| last.snapshot.symbols.id() == snapshot.symbols.id());
        let mut before = last
            .iter()
            .flat_map(|last| last.snapshot.goroutines.iter().zip(&last.seen))
            .filter(|(goroutine, _)| !goroutine.status.is_dead())
            .peekable();
        let mut seen = Vec::with_capacity(snapshot.goroutines.len());
        for goroutine in &mut snapshot.goroutines {
            let mut still = Stillness::new(now);
            if !goroutine.status.is_dead() {
                while before.next_if(|(then, _)| then.id < goroutine.id).is_some() {}
                if let Some((then, entry)) = before.next_if(|(then, _)| then.id == goroutine.id) {
                    let elapsed = i128::from(now) - i128::from(then_ns);
                    let between = Wait::of(then, same_pool).until(&Wait::of(goroutine, same_pool), elapsed);
                    still = entry.still.then(between, now);
                }
            }
            let since_ns = still.since_ns();
            let read = goroutine.blocked_before_ns;
            let longer = since_ns < now && read.is_none_or(|read| since_ns < read.get());
            let watched = longer && goroutine.status.is_blocked();
            if watched {
                goroutine.blocked_before_ns = NonZeroU64::new(since_ns);
            }
            seen.push(Seen { still, watched, read });
        }
        drop(before);
        let counts = Counts::of(&snapshot);
        let findings = findings::of_snapshot(&Index::new(&snapshot));
        let observed = Arc::new(Observed { snapshot, counts, findings, seen });
        self.last = Some(Arc::clone(&observed));
        observed
    }

    /// Forgets the program: what comes next is another one.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

/// Whether another run of the program has begun in the same process between two of its snapshots
/// (`execve`): its runtime started after the first of them was taken.
#[must_use]
pub fn has_restarted(then: &Snapshot, now: &Snapshot) -> bool {
    now.target.pid != then.target.pid || has_started_since(then.monotonic_ns, now)
}

/// Whether the runtime of the program started after `then_ns`, by the clock of the snapshot.
#[must_use]
pub fn has_started_since(then_ns: u64, now: &Snapshot) -> bool {
    let passed = now.monotonic_ns.saturating_sub(then_ns);
    now.target.uptime_ns.is_some_and(|uptime| uptime < passed)
}

#[cfg(test)]
mod tests {
    use super::Watch;
    use crate::analysis::Index;
    use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
    use crate::model::{Snapshot, Status};

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64, goroutines: &[(u64, Status, u8, Option<u64>)]) -> Snapshot {
        let mut builder = SnapshotBuilder::new();
        for &(id, status, _, wait_ns) in goroutines {
            let frames = vec![frame("main.work", "/w.go", 3)];
            builder.add(&GoroutineSpec { id, status, wait_ns, frames, ..Default::default() });
        }
        let mut snapshot = builder.build();
        for (position, (goroutine, &(id, _, run_seq, _))) in snapshot.goroutines.iter_mut().zip(goroutines).enumerate()
        {
            goroutine.run_seq = Some(run_seq);
            // Which place in the list it has says nothing of a goroutine.
            let shift = u64::try_from(position).unwrap() * 0x1_0000;
            goroutine.addr.0 = id * 0x200;
            goroutine.sp.0 = goroutine.sp.0 - shift * u64::from(goroutine.sp.0 != 0) + id * 0x1_0000;
        }
        snapshot.monotonic_ns = NOW_NS + seconds * SECOND;
        snapshot
    }

    /// Waits in seconds, and whether they are gospy's.
    fn waits(watch: &mut Watch, snapshot: Snapshot) -> Vec<(Option<u64>, bool)> {
        let observed = watch.observe(snapshot);
        let index = Index::new(observed.snapshot());
        let goroutines = observed.snapshot().goroutines.iter().enumerate();
        goroutines.map(|(at, g)| (index.wait_ns(g).map(|ns| ns / SECOND), observed.is_watched(at))).collect()
    }

    #[test]
    fn waits_grow_with_watching() {
        use Status::{Running, Waiting};
        let mut watch = Watch::default();
        let first = [(1, Waiting, 0, None), (2, Waiting, 7, None), (4, Running, 0, None)];
        for second in [0, 10, 20] {
            assert_eq!(waits(&mut watch, at(second, &first)), [(None, false), (None, false), (None, false)]);
        }
        // 2 has run in between; 3 is new. Of 1, three intervals agree, and the third of them counts.
        let second = [(1, Waiting, 0, None), (2, Waiting, 8, None), (3, Waiting, 0, None), (4, Running, 0, None)];
        let want = [(Some(40), true), (None, false), (None, false), (None, false)];
        assert_eq!(waits(&mut watch, at(60, &second)), want);
        // 1 has ended.
        let third = [(2, Waiting, 8, None), (3, Waiting, 0, None), (4, Waiting, 1, None)];
        for second in [61, 62] {
            waits(&mut watch, at(second, &third));
        }
        assert_eq!(waits(&mut watch, at(64, &third)), [(Some(2), true), (Some(2), true), (None, false)]);
    }

    #[test]
    fn chance_is_no_wait() {
        let mut watch = Watch::default();
        for (second, seq) in (0..).zip([1, 3, 3, 4, 4, 4]) {
            assert_eq!(waits(&mut watch, at(second, &[(1, Status::Waiting, seq, None)])), [(None, false)], "{second}");
        }
    }

    #[test]
    fn what_may_have_run_uncounted_has_no_wait() {
        let mut watch = Watch::default();
        let coroutine = |seconds| {
            let mut snapshot = at(seconds, &[(1, Status::Waiting, 0, None), (2, Status::Waiting, 0, None)]);
            snapshot.goroutines[0].run_seq = None;
            snapshot
        };
        for second in [0, 1, 2] {
            watch.observe(coroutine(second));
        }
        assert_eq!(waits(&mut watch, coroutine(42)), [(None, false), (Some(40), true)]);
    }

    #[test]
    fn the_longer_of_two_lower_bounds_counts() {
        let mut watch = Watch::default();
        for second in [0, 1, 2] {
            watch.observe(at(second, &[(1, Status::Waiting, 0, None)]));
        }
        assert_eq!(waits(&mut watch, at(12, &[(1, Status::Waiting, 0, None)])), [(Some(10), true)]);
        // The runtime knows more: `wait_ns` of the builder counts back from its own time.
        let told = Some(30 * SECOND);
        assert_eq!(waits(&mut watch, at(20, &[(1, Status::Waiting, 0, told)])), [(Some(50), false)]);
        // Its stamp is gone: that was another wait.
        assert_eq!(waits(&mut watch, at(30, &[(1, Status::Waiting, 0, None)])), [(None, false)]);
    }

    #[test]
    fn what_was_read_can_be_had_back() {
        let mut watch = Watch::default();
        for second in [0, 1, 2] {
            watch.observe(at(second, &[(1, Status::Waiting, 0, None), (2, Status::Waiting, 0, Some(5))]));
        }
        let observed = watch.observe(at(9, &[(1, Status::Waiting, 0, None), (2, Status::Waiting, 0, Some(5))]));
        assert!(observed.snapshot().goroutines[0].blocked_before_ns.is_some());
        let read = observed.as_read();
        assert_eq!(read.goroutines[0].blocked_before_ns, None);
        assert!(read.goroutines[1].blocked_before_ns.is_some());
    }

    #[test]
    fn another_run_in_the_same_process_starts_anew() {
        let mut watch = Watch::default();
        let run = |second, started: u64| {
            let mut snapshot = at(second, &[(1, Status::Waiting, 0, None)]);
            snapshot.target.uptime_ns = Some((second - started) * SECOND);
            snapshot
        };
        for second in [8, 9, 10] {
            assert_eq!(waits(&mut watch, run(second, 0)), [(None, false)]);
        }
        assert_eq!(waits(&mut watch, run(40, 0)), [(Some(30), true)]);
        // It was started between the two, and looks the same.
        for second in [78, 79, 80] {
            assert_eq!(waits(&mut watch, run(second, 41)), [(None, false)]);
        }
        assert_eq!(waits(&mut watch, run(90, 41)), [(Some(10), true)]);
    }

    #[test]
    fn another_program_starts_anew() {
        let mut watch = Watch::default();
        for second in [0, 1, 2, 3] {
            watch.observe(at(second, &[(1, Status::Waiting, 0, None)]));
        }
        watch.reset();
        assert_eq!(waits(&mut watch, at(10, &[(1, Status::Waiting, 0, None)])), [(None, false)]);
    }
}
