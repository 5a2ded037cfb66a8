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

use rustc_hash::FxHashMap;

use crate::model::{GcStats, Goroutine};
use crate::process::Clock;

/// What is known of the stamps of one program.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// The earliest end of a collection by which those with this stamp were blocked, ns since the Unix epoch: the
    /// runtime's own value, which does not depend on when clocks are compared.
    ends: FxHashMap<NonZeroU64, Option<u64>>,
}

impl Stamps {
    /// Sets `blocked_before_ns` of every goroutine that has a stamp. Stamps that none has any more are forgotten.
    pub(super) fn set(&mut self, goroutines: &mut [Goroutine], gc: Option<&GcStats>, clock: Clock) {
        let Some(gc) = gc else { return };
        let ends = gc.recent_pauses.iter().map(|pause| pause.end_unix_ns);
        let ends: Vec<(u64, u64)> = ends.filter_map(|end| Some((monotonic(end, clock)?, end))).collect();
        let before = std::mem::take(&mut self.ends);
        for goroutine in goroutines {
            let Some(stamp) = goroutine.wait_since_ns else { continue };
            let end = *self.ends.entry(stamp).or_insert_with(|| {
                let now = second_end_after(stamp.get(), &ends);
                let earlier = before.get(&stamp).copied().flatten();
                now.into_iter().chain(earlier).min()
            });
            let end = end.and_then(|end| monotonic(end, clock));
            goroutine.blocked_before_ns = end.and_then(NonZeroU64::new);
        }
    }
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

    #[test]
    fn wall_clock_times_become_monotonic_ones() {
        let clock = Clock { monotonic_ns: 1_000, unix_ns: 50_000 };
        assert_eq!(monotonic(49_900, clock), Some(900));
        assert_eq!(monotonic(50_001, clock), None);
        assert_eq!(monotonic(1, clock), None);
    }
}
