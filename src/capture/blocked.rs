//! The latest time by which a goroutine was certainly blocked.
//!
//! The runtime stamps `g.waitsince` only when a collection finds a goroutine blocked, and then with
//! the time at which the collection *before* ended its marking (`markroot`, runtime/mgcmark.go;
//! `work.tstart`). So the stamp may lie before the goroutine blocked, and "now minus stamp" may be
//! too long. What is certain is that it was blocked before the end of the collection that stamped
//! it: the second one to end after the stamp.
//!
//! The runtime keeps the ends of the last 256 collections only. What was certain once stays certain: who reads again and
//! again keeps the earliest end that was known for a stamp. Without that, goroutines that have waited for longer than
//! 256 collections would seem to have waited for a shorter time with each collection.

use std::num::NonZeroU64;

use rustc_hash::{FxHashMap, FxHashSet};

use super::at_rest::MOST_CLOCK_STEP_NS;
use crate::model::{GcStats, Goroutine};
use crate::process::Clock;

/// What is known of the stamps of one program.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    known: FxHashMap<NonZeroU64, Blocked>,
    /// When it was that all goroutines were given theirs, by both clocks.
    clock: Clock,
}

/// What is known of those with one stamp.
#[derive(Clone, Copy, Debug, Default)]
struct Blocked {
    /// The earliest end of a collection by which they were blocked, ns since the Unix epoch: the runtime's own value, which
    /// does not depend on when clocks are compared.
    end_unix_ns: Option<u64>,
    /// The same by `nanotime`, as goroutines were given it.
    before_ns: Option<NonZeroU64>,
}

impl Stamps {
    /// Sets `blocked_before_ns` of every goroutine that has a stamp. Stamps that none has any more are forgotten.
    pub(super) fn set(&mut self, goroutines: &mut [Goroutine], gc: Option<&GcStats>, clock: Clock) {
        let Some(gc) = gc else { return };
        let ends = ends(gc, clock);
        let before = std::mem::take(&mut self.known);
        self.clock = clock;
        for goroutine in goroutines {
            let Some(stamp) = goroutine.wait_since_ns else { continue };
            let known = self.known.entry(stamp).or_insert_with(|| {
                Blocked::of(stamp, before.get(&stamp).and_then(|known| known.end_unix_ns), &ends, clock)
            });
            goroutine.blocked_before_ns = known.before_ns;
        }
    }

    /// The same of some goroutines, where all others were given theirs by an earlier capture. True where these have to be
    /// looked through: [`Stamps::of_stamp`] may say something else of some, or of stamps that none has.
    pub(super) fn set_some(&mut self, some: &mut [Goroutine], gc: Option<&GcStats>, clock: Clock) -> bool {
        /// Stamps that none has any more are looked for when there are more.
        const MANY: usize = 1024;
        let Some(gc) = gc else {
            // As in a capture of all.
            return !std::mem::take(&mut self.known).is_empty();
        };
        let was_set = apart(clock).abs_diff(apart(self.clock)) > u128::from(MOST_CLOCK_STEP_NS);
        if was_set {
            self.clock = clock;
        }
        // Clocks are not compared twice with the same result: it is worked out as it was for the others.
        let monotonic_ns = u64::try_from(i128::from(clock.unix_ns) - apart(self.clock)).unwrap_or(clock.monotonic_ns);
        let clock = Clock { monotonic_ns, ..clock };
        let ends = ends(gc, clock);
        let mut others = self.known.len() > MANY;
        for (stamp, known) in &mut self.known {
            if was_set || known.end_unix_ns.is_none() {
                let now = Blocked::of(*stamp, known.end_unix_ns, &ends, clock);
                others |= now.before_ns != known.before_ns;
                *known = now;
            }
        }
        for goroutine in some {
            let Some(stamp) = goroutine.wait_since_ns else { continue };
            let known = self.known.entry(stamp).or_insert_with(|| Blocked::of(stamp, None, &ends, clock));
            goroutine.blocked_before_ns = known.before_ns;
        }
        others
    }

    /// When goroutines with a stamp were blocked.
    pub(super) fn of_stamp(&self, stamp: NonZeroU64) -> Option<NonZeroU64> {
        self.known.get(&stamp)?.before_ns
    }

    /// Forgets all stamps but these.
    pub(super) fn forget_others(&mut self, stamps: &FxHashSet<NonZeroU64>) {
        self.known.retain(|stamp, _| stamps.contains(stamp));
    }
}

/// By how much the wall clock is ahead of `nanotime`, ns.
fn apart(clock: Clock) -> i128 {
    i128::from(clock.unix_ns) - i128::from(clock.monotonic_ns)
}

impl Blocked {
    /// Of those with a stamp. `earlier` is what was known of it before.
    fn of(stamp: NonZeroU64, earlier: Option<u64>, ends: &[(u64, u64)], clock: Clock) -> Self {
        let end_unix_ns = second_end_after(stamp.get(), ends).into_iter().chain(earlier).min();
        let before_ns = end_unix_ns.and_then(|end| monotonic(end, clock)).and_then(NonZeroU64::new);
        Self { end_unix_ns, before_ns }
    }
}

/// The ends of the latest collections, newest first, each by `nanotime` and by the wall clock.
fn ends(gc: &GcStats, clock: Clock) -> Vec<(u64, u64)> {
    let ends = gc.recent_pauses.iter().map(|pause| pause.end_unix_ns);
    ends.filter_map(|end| Some((monotonic(end, clock)?, end))).collect()
}

/// A moment of the wall clock by the runtime's `nanotime`.
fn monotonic(unix_ns: u64, clock: Clock) -> Option<u64> {
    let age = clock.unix_ns.checked_sub(unix_ns)?;
    clock.monotonic_ns.checked_sub(age)
}

/// The second oldest of `ends`, which are newest first, that is later than `stamp`: each by `nanotime` and by the wall
/// clock, by which it is given.
fn second_end_after(stamp: u64, ends: &[(u64, u64)]) -> Option<u64> {
    let later = ends.iter().take_while(|(end, _)| *end > stamp).count();
    ends.get(later.checked_sub(2)?).map(|(_, unix_ns)| *unix_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pause;
    use crate::model::testing::waiting::waiting_server;

    #[test]
    fn the_collection_that_stamped_is_the_second_to_end_after_the_stamp() {
        let ends = [900, 700, 500, 300].map(|end| (end, end + 10_000));
        // Stamped with the marking that ended at 500, by the collection that ended at 700.
        assert_eq!(second_end_after(499, &ends), Some(10_700));
        // By the one that ended last.
        assert_eq!(second_end_after(650, &ends), Some(10_900));
        // By one that has not ended yet.
        assert_eq!(second_end_after(850, &ends), None);
        // Older than all known ends: any of them is certain, the oldest but one is used.
        assert_eq!(second_end_after(1, &ends), Some(10_500));
        assert_eq!(second_end_after(1, &[]), None);
    }

    /// The runtime forgets old collections; what was certain before stays certain, however clocks are compared.
    #[test]
    fn what_was_certain_stays_certain() {
        let mut snapshot = waiting_server();
        let base = snapshot.gc.clone().unwrap();
        let stamped = |goroutines: &mut [Goroutine], stamps: [u64; 2]| {
            for (goroutine, stamp) in goroutines.iter_mut().zip(stamps) {
                goroutine.wait_since_ns = NonZeroU64::new(stamp);
            }
        };
        let mut stamps = Stamps::default();
        let mut read = |of: [u64; 2], ends_unix: &[u64], clock: Clock| {
            let goroutines = &mut snapshot.goroutines[..2];
            stamped(goroutines, of);
            let pause = |end: &u64| Pause { end_unix_ns: *end, duration_ns: 1 };
            let gc = GcStats { recent_pauses: ends_unix.iter().map(pause).collect(), ..base.clone() };
            stamps.set(goroutines, Some(&gc), clock);
            [0, 1].map(|at| goroutines[at].blocked_before_ns.map(NonZeroU64::get))
        };
        let clock = |now: u64, apart: u64| Clock { monotonic_ns: now, unix_ns: now + apart };
        assert_eq!(read([450, 650], &[10_700, 10_500], clock(800, 10_000)), [Some(700), None]);
        assert_eq!(read([450, 650], &[10_900, 10_700], clock(950, 10_000)), [Some(700), Some(900)]);
        // By then the runtime has forgotten both; the clocks were compared a little differently.
        assert_eq!(read([450, 650], &[19_900, 19_700], clock(9_950, 10_001)), [Some(699), Some(899)]);
        // Another wait is another stamp.
        assert_eq!(read([9_650, 650], &[19_900, 19_700], clock(9_960, 10_000)), [Some(9_900), Some(900)]);
        assert_eq!(read([9_650, 450], &[19_900, 19_700], clock(9_970, 10_000)), [Some(9_900), Some(9_900)]);
    }

    /// Some are given theirs as the others were, though clocks are compared anew; it is said when these change.
    #[test]
    fn some_are_given_theirs_beside_others() {
        let mut snapshot = waiting_server();
        let base = snapshot.gc.clone().unwrap();
        let mut stamps = Stamps::default();
        let mut read = |stamp: u64, all: bool, ends_unix: &[u64], clock: Clock| {
            let some = &mut snapshot.goroutines[..1];
            (some[0].wait_since_ns, some[0].blocked_before_ns) = (NonZeroU64::new(stamp), None);
            let pause = |end: &u64| Pause { end_unix_ns: *end, duration_ns: 1 };
            let gc = GcStats { recent_pauses: ends_unix.iter().map(pause).collect(), ..base.clone() };
            let others = match all {
                true => {
                    stamps.set(some, Some(&gc), clock);
                    false
                }
                false => stamps.set_some(some, Some(&gc), clock),
            };
            (some[0].blocked_before_ns.map(NonZeroU64::get), others)
        };
        let clock = |now: u64, apart: u64| Clock { monotonic_ns: now, unix_ns: now + apart };
        let mut ends = vec![10_700, 10_500];
        assert_eq!(read(450, true, &ends, clock(800, 10_000)), (Some(700), false));
        // Two nanoseconds lie between two looks at the clocks.
        assert_eq!(read(450, false, &ends, clock(810, 10_002)), (Some(700), false));
        assert_eq!(read(650, false, &ends, clock(820, 10_001)), (None, false));
        // A collection has ended: those with that stamp were blocked by then, and others may have it.
        ends.insert(0, 10_900);
        assert_eq!(read(450, false, &ends, clock(910, 10_001)), (Some(700), true));
        assert_eq!(read(650, false, &ends, clock(920, 10_001)), (Some(900), false));
        // The clock was set, by a second.
        let later = 1_000_010_000;
        let ends: Vec<u64> = ends.iter().map(|end| end - 10_000 + later).collect();
        assert_eq!(read(850, false, &ends, clock(930, later)), (None, true));
    }

    #[test]
    fn wall_clock_times_become_monotonic_ones() {
        let clock = Clock { monotonic_ns: 1_000, unix_ns: 50_000 };
        assert_eq!(monotonic(49_900, clock), Some(900));
        assert_eq!(monotonic(50_001, clock), None);
        assert_eq!(monotonic(1, clock), None);
    }
}
