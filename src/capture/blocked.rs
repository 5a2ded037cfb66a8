//! The latest time by which a goroutine was certainly blocked.
//!
//! The runtime stamps `g.waitsince` only when a collection finds a goroutine blocked, and then with
//! the time at which the collection *before* ended its marking (`markroot`, runtime/mgcmark.go;
//! `work.tstart`). So the stamp may lie before the goroutine blocked, and "now minus stamp" may be
//! too long. What is certain is that it was blocked before the end of the collection that stamped
//! it: the second one to end after the stamp.

use std::num::NonZeroU64;

use rustc_hash::FxHashMap;

use crate::model::{GcStats, Goroutine};
use crate::process::Clock;

/// Sets `blocked_before_ns` of every goroutine that has a stamp.
pub(super) fn set(goroutines: &mut [Goroutine], gc: Option<&GcStats>, clock: Clock) {
    let Some(gc) = gc else { return };
    let ends: Vec<u64> = gc.recent_pauses.iter().filter_map(|pause| monotonic(pause.end_unix_ns, clock)).collect();
    let mut known: FxHashMap<NonZeroU64, Option<NonZeroU64>> = FxHashMap::default();
    for goroutine in goroutines {
        let Some(stamp) = goroutine.wait_since_ns else { continue };
        goroutine.blocked_before_ns = *known.entry(stamp).or_insert_with(|| second_end_after(stamp.get(), &ends));
    }
}

/// A moment of the wall clock by the runtime's `nanotime`.
fn monotonic(unix_ns: u64, clock: Clock) -> Option<u64> {
    let age = clock.unix_ns.checked_sub(unix_ns)?;
    clock.monotonic_ns.checked_sub(age)
}

/// The second oldest of `ends`, which are newest first, that is later than `stamp`.
fn second_end_after(stamp: u64, ends: &[u64]) -> Option<NonZeroU64> {
    let later = ends.iter().take_while(|&&end| end > stamp).count();
    ends.get(later.checked_sub(2)?).and_then(|&end| NonZeroU64::new(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collection_that_stamped_is_the_second_to_end_after_the_stamp() {
        let ends = [900, 700, 500, 300];
        // Stamped with the marking that ended at 500, by the collection that ended at 700.
        assert_eq!(second_end_after(499, &ends), NonZeroU64::new(700));
        // By the one that ended last.
        assert_eq!(second_end_after(650, &ends), NonZeroU64::new(900));
        // By one that has not ended yet.
        assert_eq!(second_end_after(850, &ends), None);
        // Older than all known ends: any of them is certain, the oldest but one is used.
        assert_eq!(second_end_after(1, &ends), NonZeroU64::new(500));
        assert_eq!(second_end_after(1, &[]), None);
    }

    #[test]
    fn wall_clock_times_become_monotonic_ones() {
        let clock = Clock { monotonic_ns: 1_000, unix_ns: 50_000 };
        assert_eq!(monotonic(49_900, clock), Some(900));
        assert_eq!(monotonic(50_001, clock), None);
        assert_eq!(monotonic(1, clock), None);
    }
}
