//! How long goroutines have been seen in the same wait without running.
//!
//! The runtime records only at garbage collections how long a goroutine has been blocked, so in a program
//! that collects rarely most ages are unknown. The time since gospy first saw the goroutine in its present
//! wait is a lower bound too, which grows with watching; what proves that it has not run in between is in
//! `analysis::same_wait`. Both lists are in order of id, so the comparison is one walk along both:
//! linear, and nothing is kept but the latest snapshot. Where a snapshot says where its list differs from that of the one
//! before, only those goroutines are compared, and those whose waits have just begun.
//!
//! What was measured is an overlay ([`WatchedWaits`]); the snapshot stays as it was read.

use std::sync::Arc;

use super::same_run::has_restarted;
use crate::analysis::counts::Tally;
use crate::analysis::findings::{self, Found, Seen};
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
    /// The time from which on its findings may be others though nothing runs.
    findings_until: Until,
    /// What `counts` are made of.
    tally: Tally,
    /// Positions of which the next snapshot may say something else though the goroutine is the same in it.
    open: Vec<u32>,
    /// Positions outside of which it says the same as the one before; `None` where that is not known.
    changed: Option<Vec<u32>>,
}

/// A time that is worked out when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Unknown,
    Never,
    /// By the target's `nanotime`.
    At(u64),
}

impl Until {
    fn of(at_ns: Option<u64>) -> Self {
        at_ns.map_or(Self::Never, Self::At)
    }

    fn is_over(self, now_ns: u64) -> bool {
        match self {
            Self::Unknown => true,
            Self::Never => false,
            Self::At(at_ns) => now_ns >= at_ns,
        }
    }

    /// The earlier one.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::At(one), Self::At(other)) => Self::At(one.min(other)),
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Never, one) | (one, Self::Never) => one,
        }
    }
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

    /// Positions outside of which it says the same of each goroutine as the snapshot before, which had the list
    /// `goroutines`; `None` where that is not known.
    #[must_use]
    pub(crate) fn changes_since(&self, goroutines: &Shared<Goroutine>) -> Option<&[u32]> {
        self.snapshot.goroutines.changes_since(goroutines)?;
        self.changed.as_deref()
    }

    /// Whether it has the same findings as `other`, of the same goroutines.
    #[must_use]
    pub(crate) fn finds_the_same_as(&self, other: &Self) -> bool {
        let has_its_goroutines = self.snapshot.goroutines.changes_since(&other.snapshot.goroutines).is_some();
        has_its_goroutines && Arc::ptr_eq(&self.findings, &other.findings)
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
    let mut observed = Observed {
        snapshot,
        waits: Arc::clone(&last.waits),
        counts: last.counts.clone(),
        findings: Arc::clone(&last.findings),
        still: Arc::clone(&last.still),
        is_repeated: true,
        findings_until: last.findings_until,
        tally: last.tally.clone(),
        open: last.open.clone(),
        changed: None,
    };
    if last.findings_until.is_over(observed.snapshot.monotonic_ns) {
        observed.find();
    }
    observed
}

/// A snapshot that has the goroutines of the last one, most of them as they were: only the others are looked at, and those
/// whose waits are not measured yet. `None` where that is not so.
fn changed(last: &Observed, snapshot: &Snapshot) -> Option<Parts> {
    let changes = snapshot.goroutines.changes_since(&last.snapshot.goroutines)?;
    // Else it is cheaper to look at all.
    if changes.len().saturating_mul(2) > snapshot.goroutines.len() || !snapshot.watched.is_empty() {
        return None;
    }
    let (now, then_ns) = (snapshot.monotonic_ns, last.snapshot.monotonic_ns);
    let elapsed = i128::from(now) - i128::from(then_ns);
    let mut looked_at = [changes, &last.open].concat();
    looked_at.sort_unstable();
    looked_at.dedup();
    let (mut tally, mut open) = (last.tally.clone(), Vec::new());
    let (mut still, mut waits) = (Arc::clone(&last.still), Arc::clone(&last.waits));
    for &position in &looked_at {
        let at = position as usize;
        let before = last.snapshot.goroutines.get(at).zip(last.still.get(at));
        let ((then, was_still), goroutine) = before.zip(snapshot.goroutines.get(at))?;
        tally.take(then);
        tally.add(goroutine);
        let between = Wait::of(then, true).until(&Wait::of(goroutine, true), elapsed);
        let is_still = match goroutine.status.is_dead() || then.status.is_dead() || then.id != goroutine.id {
            true => Stillness::new(now),
            false => was_still.then(between, now),
        };
        if is_still != *was_still
            && let Some(still) = Arc::make_mut(&mut still).get_mut(at)
        {
            *still = is_still;
        }
        let since_ns = measured(goroutine, is_still, now, None);
        if waits.since_ns(goroutine.id) != since_ns {
            match since_ns {
                Some(since_ns) => Arc::make_mut(&mut waits).insert(goroutine.id, since_ns),
                None => Arc::make_mut(&mut waits).remove(goroutine.id),
            }
        }
        if is_open(goroutine, is_still, now) {
            open.push(position);
        }
    }
    Some(Parts { still, waits, tally, open, looked_at })
}

/// What is worked out of a snapshot.
struct Parts {
    still: Arc<[Stillness]>,
    waits: Arc<WatchedWaits>,
    tally: Tally,
    open: Vec<u32>,
    looked_at: Vec<u32>,
}

/// Since when a goroutine is known to wait, where that is longer than the runtime and `known` know.
fn measured(goroutine: &Goroutine, still: Stillness, now_ns: u64, known: Option<u64>) -> Option<u64> {
    let since_ns = still.since_ns();
    let longer = goroutine.blocked_before_ns.is_none_or(|known| since_ns < known.get());
    let longest = longer && known.is_none_or(|known| since_ns < known);
    (since_ns < now_ns && longest && goroutine.status.is_blocked()).then_some(since_ns)
}

/// Whether the next snapshot may say something else of the wait of a goroutine that is the same in it.
fn is_open(goroutine: &Goroutine, still: Stillness, now_ns: u64) -> bool {
    let same = Wait::of(goroutine, true);
    let is_settled = still.is_settled(same.until(&same, 0)) && still.since_ns() < now_ns;
    !goroutine.status.is_dead() && !is_settled
}

impl Observed {
    /// Looks for findings, and for the time from which on they may be others.
    fn find(&mut self) {
        let index = Index::with_waits(&self.snapshot, &self.waits);
        let findings = findings::of_snapshot(&index).into();
        let until = Until::of(findings::next_change_ns(&index, self.snapshot.goroutines.iter()));
        (self.findings, self.findings_until) = (findings, until);
    }

    /// Whether the findings, which are those of the snapshot before, hold in this one too.
    fn finds_as_before(&mut self) -> bool {
        let Some(looked_at) = &self.changed else { return false };
        if self.findings_until.is_over(self.snapshot.monotonic_ns) || self.snapshot.death.is_some() {
            return false;
        }
        let index = Index::with_waits(&self.snapshot, &self.waits);
        let goroutines = || looked_at.iter().filter_map(|&at| self.snapshot.goroutines.get(at as usize));
        let was_found =
            |&at: &u32| self.findings.iter().any(|found| found.positions.binary_search(&(at as usize)).is_ok());
        let is_found = |goroutine: &Goroutine| findings::is_in_any(&Seen::of_goroutine(&index, goroutine));
        if looked_at.iter().any(was_found) || goroutines().any(is_found) {
            return false;
        }
        let until = Until::of(findings::next_change_ns(&index, goroutines()));
        self.findings_until = self.findings_until.and(until);
        true
    }
}

/// A snapshot after the last one.
fn observed(last: Option<&Observed>, snapshot: Snapshot) -> Observed {
    let same_pool = last.is_some_and(|last| last.snapshot.symbols.id() == snapshot.symbols.id());
    let is_repeated = snapshot.unchanged_since_ns.is_some()
        && same_pool
        && last.is_some_and(|last| last.snapshot.goroutines.is_same(&snapshot.goroutines));
    if let Some(last) = last.filter(|last| is_repeated && last.is_repeated) {
        return repeated(last, snapshot);
    }
    if let Some((last, parts)) =
        last.filter(|_| same_pool && !is_repeated).and_then(|last| Some((last, changed(last, &snapshot)?)))
    {
        let Parts { still, waits, tally, open, looked_at } = parts;
        let counts = Counts::of_tally(&snapshot, &tally);
        let (findings, findings_until) = (Arc::clone(&last.findings), last.findings_until);
        let (is_repeated, changed) = (false, Some(looked_at));
        let mut observed =
            Observed { snapshot, waits, counts, findings, still, is_repeated, findings_until, tally, open, changed };
        if !observed.finds_as_before() {
            observed.find();
        }
        return observed;
    }
    let (still, waits, open) = looked_through(last, &snapshot, same_pool, is_repeated);
    let tally = Tally::of(&snapshot);
    let counts = Counts::of_tally(&snapshot, &tally);
    let index = Index::with_waits(&snapshot, &waits);
    let findings = findings::of_snapshot(&index).into();
    let findings_until = match is_repeated {
        true => Until::of(findings::next_change_ns(&index, snapshot.goroutines.iter())),
        false => Until::Unknown,
    };
    let waits = Arc::new(waits);
    Observed { snapshot, waits, counts, findings, still, is_repeated, findings_until, tally, open, changed: None }
}

/// Since when each goroutine of a snapshot has been in its wait, which of these waits are longer than the runtime knows, and
/// of which the next snapshot may say something else.
fn looked_through(
    last: Option<&Observed>,
    snapshot: &Snapshot,
    same_pool: bool,
    is_repeated: bool,
) -> (Arc<[Stillness]>, WatchedWaits, Vec<u32>) {
    let now = snapshot.monotonic_ns;
    let then_ns = last.map_or(now, |last| last.snapshot.monotonic_ns);
    let mut before = last
        .into_iter()
        .flat_map(|last| last.snapshot.goroutines.iter().zip(last.still.iter()))
        .filter(|(goroutine, _)| !goroutine.status.is_dead())
        .peekable();
    let mut still_since = Vec::with_capacity(snapshot.goroutines.len());
    // The waits of a saved snapshot are final.
    let mut waits = snapshot.watched.clone();
    let mut open = Vec::new();
    for (position, goroutine) in (0..).zip(&snapshot.goroutines) {
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
        if let Some(since_ns) = measured(goroutine, still, now, waits.since_ns(goroutine.id)) {
            waits.insert(goroutine.id, since_ns);
        }
        if is_open(goroutine, still, now) {
            open.push(position);
        }
        still_since.push(still);
    }
    (still_since.into(), waits, open)
}

/// Compares each snapshot with the one before.
#[derive(Clone, Debug, Default)]
pub struct Watching {
    last: Option<Arc<Observed>>,
}

impl Watching {
    /// Adds the next snapshot of the same program. One of another run restarts the measuring.
    pub fn observe(&mut self, snapshot: Snapshot) -> Arc<Observed> {
        let last = self.last.take().filter(|last| !has_restarted(&last.snapshot, &snapshot));
        let observed = Arc::new(observed(last.as_deref(), snapshot));
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

    use super::{Observed, Watching};
    use crate::analysis::Index;
    use crate::analysis::age::AgeSource;
    use crate::analysis::recording::Recording;
    use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
    use crate::model::{Snapshot, Status, Turns};

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

    /// A program of which each snapshot says where it differs, and the same with all goroutines looked at: whatever
    /// changes, both say the same.
    #[test]
    fn what_has_not_changed_need_not_be_looked_at() {
        let reasons = ["select", "sync.Mutex.Lock", "chan receive (nil chan)", "chan receive"];
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut builder = SnapshotBuilder::new();
        for id in 1..=40 {
            let frames = vec![frame("main.work", "/w.go", id)];
            let reason = reasons.get(usize::try_from(random(9)).unwrap()).copied().or(Some("select"));
            builder.add(&GoroutineSpec { id: u64::from(id), reason, frames, ..Default::default() });
        }
        let waits_for = reasons.map(|reason| builder.reason(reason));
        let first = builder.build();
        let mut turns = Turns::default();
        turns.begin(first.goroutines.clone());
        let (mut by_changes, mut all) = (Watching::default(), Watching::default());
        let (mut recorded_by_changes, mut recorded) = (Recording::default(), Recording::default());
        let (mut found, mut few, mut measured, mut added) = (0, 0, 0, 0);
        let mut seconds = 0;
        for step in 0..300_u64 {
            let changed: Vec<_> = (0..40_u32)
                .filter_map(|at| {
                    let mut goroutine = turns.latest()[at as usize].clone();
                    match random(120) {
                        0 => goroutine.run_seq = goroutine.run_seq.map(|seq| seq.wrapping_add(1)),
                        1 => goroutine.wait_reason = Some(waits_for[usize::try_from(random(4)).unwrap()]),
                        2 => {
                            goroutine.status = Status::Running;
                            goroutine.run_seq = None;
                        }
                        3 => {
                            goroutine.status = Status::Waiting;
                            goroutine.run_seq = Some(1);
                        }
                        4 => goroutine.wait_since_ns = NonZeroU64::new(NOW_NS + seconds * SECOND - 1),
                        5 => goroutine.wait_since_ns = None,
                        6 => goroutine.blocked_before_ns = NonZeroU64::new(NOW_NS + seconds * SECOND),
                        7 => goroutine.system = !goroutine.system,
                        // It is said to differ, and does not.
                        8 => {}
                        _ => return None,
                    }
                    Some((at, goroutine))
                })
                .collect();
            // Now and then the list is made anew.
            let list = if step % 50 == 49 { turns.latest().to_vec().into() } else { turns.next(changed) };
            if step % 50 == 49 {
                turns.begin(list.clone());
            }
            seconds += 1 + step % 3;
            let monotonic_ns = NOW_NS + seconds * SECOND;
            let snapshot = Snapshot { goroutines: list, monotonic_ns, ..first.clone() };
            let anew = Snapshot { goroutines: snapshot.goroutines.to_vec().into(), ..snapshot.clone() };
            let (one, other) = (by_changes.observe(snapshot), all.observe(anew));
            few += usize::from(one.changed.is_some());
            assert!(other.changed.is_none());
            assert_eq!((one.counts(), one.waits()), (other.counts(), other.waits()), "step {step}");
            assert_eq!(*one.still, *other.still, "step {step}");
            let findings = |observed: &Observed| format!("{:?}", observed.findings());
            assert_eq!(findings(&one), findings(&other), "step {step}");
            found += one.findings().len();
            measured += one.waits().len();
            if recorded_by_changes.add_changes(&one, |g| g.id.0 != 3, |_, _| None) {
                added += 1;
            } else {
                recorded_by_changes.add(&one, |g| g.id.0 != 3);
            }
            recorded.add(&other, |g| g.id.0 != 3);
            for with_idle in [true, false] {
                // In the order in which they were first seen.
                let spent = |recording: &Recording| -> Vec<String> {
                    let mut all: Vec<_> =
                        recording.spent(with_idle).map(|(doing, spent)| format!("{doing:?} {spent:?}")).collect();
                    all.sort();
                    all
                };
                assert_eq!(spent(&recorded_by_changes), spent(&recorded), "step {step}");
            }
            assert_eq!(recorded_by_changes.stats(), recorded.stats(), "step {step}");
        }
        assert!(found > 100 && few > 250 && measured > 1_000 && added > 250, "{found} {few} {measured} {added}");
    }
}
