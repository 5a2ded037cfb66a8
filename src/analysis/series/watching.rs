//! How long goroutines have been seen in the same wait without running.
//!
//! The runtime records only at garbage collections how long a goroutine has been blocked, so in a program
//! that collects rarely most ages are unknown. The time since gospy first saw the goroutine in its present
//! wait is a lower bound too, which grows with watching; what proves that it has not run in between is in
//! `analysis::same_wait`. Both lists are in order of id, so the comparison is one walk along both:
//! linear, and nothing is kept but the latest snapshot.
//!
//! What was measured is an overlay ([`WatchedWaits`]); the snapshot stays as it was read.

use std::sync::Arc;

use super::same_run::has_restarted;
use crate::analysis::findings::{self, Found};
use crate::analysis::same_wait::{Between, Stillness, Wait};
use crate::analysis::{Counts, Index};
use crate::model::{Goroutine, Shared, Snapshot, WatchedWaits};

/// A snapshot, with its waits measured by the ones before it.
#[derive(Clone, Debug)]
pub struct Observed {
    snapshot: Snapshot,
    waits: Arc<WatchedWaits>,
    counts: Counts,
    findings: Arc<[Found]>,
    /// Since when each goroutine has been in its present wait, by position; times are the target's
    /// `nanotime`.
    still: Arc<[Stillness]>,
    /// Whether nothing of the program has run since the snapshot before this one.
    is_repeated: bool,
    /// In one like that, the time from which on its findings may be others.
    findings_until_ns: Option<u64>,
}

impl Observed {
    /// The snapshot, as it was read.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The waits that were measured: those that are longer than the runtime knows.
    #[must_use]
    pub fn waits(&self) -> &WatchedWaits {
        &self.waits
    }

    /// The snapshot with an analysis index, measured waits included.
    #[must_use]
    pub fn index(&self) -> Index<'_> {
        Index::with_waits(&self.snapshot, &self.waits)
    }

    /// Totals.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Findings, measured waits considered.
    #[must_use]
    pub fn findings(&self) -> &[Found] {
        &self.findings
    }

    /// Whether the goroutines are those of the snapshot before, which were `goroutines`, and do the same: nothing of the
    /// program has run in between. What is worked out from them may differ in what depends on the time.
    #[must_use]
    pub(crate) fn repeats(&self, goroutines: &Shared<Goroutine>) -> bool {
        self.is_repeated && self.snapshot.goroutines.is_same(goroutines)
    }

    /// Whether nothing has run since `other`, nor between that and the one before it: then the same waits are known in
    /// both, and are longer by the time between.
    #[must_use]
    pub(crate) fn goes_on_from(&self, other: &Self) -> bool {
        other.is_repeated && self.repeats(&other.snapshot.goroutines)
    }

    /// Whether it is a repetition of `other`, with the same findings of the same goroutines.
    #[must_use]
    pub(crate) fn finds_the_same_as(&self, other: &Self) -> bool {
        self.repeats(&other.snapshot.goroutines) && Arc::ptr_eq(&self.findings, &other.findings)
    }

    /// Since when the goroutine at `position` seems to be in one wait: the time of a sample, by the target's
    /// `nanotime`.
    #[must_use]
    pub(crate) fn same_wait_since_ns(&self, position: usize) -> Option<u64> {
        self.still.get(position).map(|still| still.apparent_ns())
    }

    /// Whether the wait of the goroutine at `position` was measured.
    #[must_use]
    pub fn is_watched(&self, position: usize) -> bool {
        let goroutine = self.snapshot.goroutines.get(position);
        goroutine.is_some_and(|goroutine| self.waits.since_ns(goroutine.id).is_some())
    }
}

/// A snapshot in which nothing has run since the last one, in which nothing had either: nothing has changed but the time.
fn repeated(last: &Observed, snapshot: Snapshot) -> Observed {
    let is_due = last.findings_until_ns.is_some_and(|until_ns| snapshot.monotonic_ns >= until_ns);
    let mut observed = Observed {
        snapshot,
        waits: Arc::clone(&last.waits),
        counts: last.counts.clone(),
        findings: Arc::clone(&last.findings),
        still: Arc::clone(&last.still),
        is_repeated: true,
        findings_until_ns: last.findings_until_ns,
    };
    if is_due {
        let index = Index::with_waits(&observed.snapshot, &observed.waits);
        let (findings, until_ns) = (findings::of_snapshot(&index).into(), findings::next_change_ns(&index));
        (observed.findings, observed.findings_until_ns) = (findings, until_ns);
    }
    observed
}

/// Compares each snapshot with the one before.
#[derive(Clone, Debug, Default)]
pub struct Watching {
    last: Option<Arc<Observed>>,
}

impl Watching {
    /// Adds the next snapshot of the same program. One of another run restarts the measuring.
    pub fn observe(&mut self, snapshot: Snapshot) -> Arc<Observed> {
        let now = snapshot.monotonic_ns;
        let last = self.last.take().filter(|last| !has_restarted(&last.snapshot, &snapshot));
        let then_ns = last.as_ref().map_or(now, |last| last.snapshot.monotonic_ns);
        let same_pool = last.as_ref().is_some_and(|last| last.snapshot.symbols.id() == snapshot.symbols.id());
        let is_repeated = snapshot.unchanged_since_ns.is_some()
            && same_pool
            && last.as_ref().is_some_and(|last| last.snapshot.goroutines.is_same(&snapshot.goroutines));
        if let Some(last) = last.as_ref().filter(|last| is_repeated && last.is_repeated) {
            let observed = Arc::new(repeated(last, snapshot));
            self.last = Some(Arc::clone(&observed));
            return observed;
        }
        let mut before = last
            .iter()
            .flat_map(|last| last.snapshot.goroutines.iter().zip(last.still.iter()))
            .filter(|(goroutine, _)| !goroutine.status.is_dead())
            .peekable();
        let mut still_since = Vec::with_capacity(snapshot.goroutines.len());
        // The waits of a saved snapshot are final.
        let mut waits = snapshot.watched.clone();
        for goroutine in &snapshot.goroutines {
            let mut still = Stillness::new(now);
            if !goroutine.status.is_dead() {
                while before.next_if(|(then, _)| then.id < goroutine.id).is_some() {}
                if let Some((then, was_still)) = before.next_if(|(then, _)| then.id == goroutine.id) {
                    let elapsed = i128::from(now) - i128::from(then_ns);
                    let between = match is_repeated {
                        true => Between::Still,
                        false => Wait::of(then, same_pool).until(&Wait::of(goroutine, same_pool), elapsed),
                    };
                    still = was_still.then(between, now);
                }
            }
            let since_ns = still.since_ns();
            let longer = goroutine.blocked_before_ns.is_none_or(|known| since_ns < known.get());
            let known = waits.since_ns(goroutine.id);
            let longest = longer && known.is_none_or(|known| since_ns < known);
            if since_ns < now && longest && goroutine.status.is_blocked() {
                waits.insert(goroutine.id, since_ns);
            }
            still_since.push(still);
        }
        drop(before);
        let counts = Counts::of(&snapshot);
        let index = Index::with_waits(&snapshot, &waits);
        let findings = findings::of_snapshot(&index).into();
        let findings_until_ns = is_repeated.then(|| findings::next_change_ns(&index)).flatten();
        let (waits, still) = (Arc::new(waits), still_since.into());
        let observed = Observed { snapshot, waits, counts, findings, still, is_repeated, findings_until_ns };
        let observed = Arc::new(observed);
        self.last = Some(Arc::clone(&observed));
        observed
    }

    /// The latest snapshot, if there was one.
    #[must_use]
    pub fn latest(&self) -> Option<&Arc<Observed>> {
        self.last.as_ref()
    }

    /// Forgets the program: what comes next is another one.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::Watching;
    use crate::analysis::Index;
    use crate::analysis::age::AgeSource;
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
            // A goroutine's position in the list means nothing.
            let shift = u64::try_from(position).unwrap() * 0x1_0000;
            goroutine.addr.0 = id * 0x200;
            goroutine.sp.0 = goroutine.sp.0 - shift * u64::from(goroutine.sp.0 != 0) + id * 0x1_0000;
        }
        snapshot.monotonic_ns = NOW_NS + seconds * SECOND;
        snapshot
    }

    /// Waits in seconds, and whether they are gospy's.
    fn waits(watch: &mut Watching, snapshot: Snapshot) -> Vec<(Option<u64>, bool)> {
        let observed = watch.observe(snapshot);
        let index = observed.index();
        let goroutines = observed.snapshot().goroutines.iter().enumerate();
        goroutines
            .map(|(at, g)| {
                let age = index.age(g);
                let watched = age.is_some_and(|age| age.source == AgeSource::Watched);
                assert_eq!(watched, observed.is_watched(at));
                (age.map(|age| age.at_least_ns / SECOND), watched)
            })
            .collect()
    }

    #[test]
    fn waits_grow_with_watching() {
        use Status::{Running, Waiting};
        let mut watch = Watching::default();
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
        let mut watch = Watching::default();
        for (second, seq) in (0..).zip([1, 3, 3, 4, 4, 4]) {
            assert_eq!(waits(&mut watch, at(second, &[(1, Status::Waiting, seq, None)])), [(None, false)], "{second}");
        }
    }

    #[test]
    fn what_may_have_run_uncounted_has_no_wait() {
        let mut watch = Watching::default();
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
        let mut watch = Watching::default();
        for second in [0, 1, 2] {
            watch.observe(at(second, &[(1, Status::Waiting, 0, None)]));
        }
        assert_eq!(waits(&mut watch, at(12, &[(1, Status::Waiting, 0, None)])), [(Some(10), true)]);
        // The runtime knows more: `wait_ns` of the builder counts back from its own time.
        let stamped = Some(30 * SECOND);
        assert_eq!(waits(&mut watch, at(20, &[(1, Status::Waiting, 0, stamped)])), [(Some(50), false)]);
        // Its stamp is gone: that was another wait.
        assert_eq!(waits(&mut watch, at(30, &[(1, Status::Waiting, 0, None)])), [(None, false)]);
    }

    #[test]
    fn what_was_measured_is_not_written_into_the_snapshot() {
        let mut watch = Watching::default();
        for second in [0, 1, 2] {
            watch.observe(at(second, &[(1, Status::Waiting, 0, None), (2, Status::Waiting, 0, Some(5))]));
        }
        let observed = watch.observe(at(9, &[(1, Status::Waiting, 0, None), (2, Status::Waiting, 0, Some(5))]));
        let goroutines = &observed.snapshot().goroutines;
        assert_eq!(goroutines[0].blocked_before_ns, None);
        assert_eq!(observed.waits().since_ns(goroutines[0].id), Some(NOW_NS + 2 * SECOND));
        assert_eq!(observed.waits().len(), 1, "the runtime knows more of the other one");
        assert_eq!(Index::new(&observed.snapshot).wait_ns(&goroutines[0]), None);
        assert_eq!(observed.index().wait_ns(&goroutines[0]), Some(7 * SECOND));
    }

    #[test]
    fn stacks_of_two_pools_are_not_compared() {
        // A session that was opened anew numbers the same stacks differently: here, one comes first that
        // was not there before.
        let reading = |second: u64, anew: bool| {
            let mut builder = if anew { SnapshotBuilder::of_new_session() } else { SnapshotBuilder::new() };
            if anew {
                builder.add(&GoroutineSpec {
                    id: 9,
                    status: Status::Waiting,
                    frames: vec![frame("main.other", "/o.go", 1)],
                    ..Default::default()
                });
            }
            let frames = vec![frame("main.work", "/w.go", 3)];
            builder.add(&GoroutineSpec { id: 1, status: Status::Waiting, frames, ..Default::default() });
            let mut snapshot = builder.build();
            snapshot.goroutines.sort_by_key(|goroutine| goroutine.id);
            let first = &mut snapshot.goroutines[0];
            (first.run_seq, first.sp.0, first.addr.0) = (Some(0), 0x10_0000, 0x200);
            snapshot.monotonic_ns = NOW_NS + second * SECOND;
            snapshot
        };
        let mut watch = Watching::default();
        for second in [0, 1, 2] {
            watch.observe(reading(second, false));
        }
        let anew = reading(32, true);
        let before = watch.latest().expect("one was taken in").snapshot();
        assert_ne!(before.symbols.id(), anew.symbols.id());
        assert_ne!(before.goroutines[0].stack, anew.goroutines[0].stack, "else this shows nothing");
        assert_eq!(waits(&mut watch, anew)[0], (Some(30), true));
    }

    #[test]
    fn another_run_in_the_same_process_starts_anew() {
        let mut watch = Watching::default();
        let run = |second, started: u64| {
            let mut snapshot = at(second, &[(1, Status::Waiting, 0, None)]);
            snapshot.target.uptime_ns = Some((second - started) * SECOND);
            snapshot
        };
        for second in [8, 9, 10] {
            assert_eq!(waits(&mut watch, run(second, 0)), [(None, false)]);
        }
        assert_eq!(waits(&mut watch, run(40, 0)), [(Some(30), true)]);
        // It was started between the two, and appears the same.
        for second in [78, 79, 80] {
            assert_eq!(waits(&mut watch, run(second, 41)), [(None, false)]);
        }
        assert_eq!(waits(&mut watch, run(90, 41)), [(Some(10), true)]);
    }

    /// Where nothing has run, each interval is a proof; a finding that takes a minute comes when that is over.
    #[test]
    fn what_has_not_run_at_all_waits_on() {
        let mut builder = SnapshotBuilder::new();
        let frames = vec![frame("main.work", "/w.go", 3)];
        let reason = Some("sync.Mutex.Lock");
        builder.add(&GoroutineSpec { id: 1, status: Status::Waiting, reason, frames, ..Default::default() });
        let first = builder.build();
        let mut watch = Watching::default();
        let mut seen = Vec::new();
        for seconds in [0, 10, 20, 59, 60, 61] {
            let mut snapshot = first.clone();
            snapshot.monotonic_ns += seconds * SECOND;
            snapshot.unchanged_since_ns = NonZeroU64::new(first.monotonic_ns).filter(|_| seconds > 0);
            let observed = watch.observe(snapshot);
            let goroutine = &observed.snapshot().goroutines[0];
            let age = observed.index().age(goroutine).map(|age| age.at_least_ns / SECOND);
            seen.push((age, observed.findings().len(), observed.repeats(&first.goroutines)));
        }
        let want = [
            (None, 0, false),
            (Some(10), 0, true),
            (Some(20), 0, true),
            (Some(59), 0, true),
            (Some(60), 1, true),
            (Some(61), 1, true),
        ];
        assert_eq!(seen, want);
        // The same list, but it was read: two bytes that agree are no proof.
        let mut watch = Watching::default();
        watch.observe(first.clone());
        let mut again = first.clone();
        again.monotonic_ns += SECOND;
        let observed = watch.observe(again);
        assert!(!observed.repeats(&first.goroutines));
        assert_eq!(observed.index().age(&observed.snapshot().goroutines[0]), None);
    }

    #[test]
    fn another_program_starts_anew() {
        let mut watch = Watching::default();
        for second in [0, 1, 2, 3] {
            watch.observe(at(second, &[(1, Status::Waiting, 0, None)]));
        }
        watch.reset();
        assert_eq!(waits(&mut watch, at(10, &[(1, Status::Waiting, 0, None)])), [(None, false)]);
    }
}
