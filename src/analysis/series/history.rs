//! Counts over the latest snapshots.
//!
//! Everything here is bounded: [`SAMPLES`] samples a series, [`MAX_SERIES`] series, and a series whose key
//! has been absent for [`GONE_AFTER`] refreshes is dropped. What cannot be followed has no trend, which is
//! not the same as a flat one.

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::growth::{Sample, difference, slope};

/// Samples that a series keeps.
pub const SAMPLES: usize = 300;
/// Series that are followed at most.
pub const MAX_SERIES: usize = 8_192;
/// Refreshes after which a series of zeros is dropped.
pub const GONE_AFTER: u32 = 60;
/// Samples that a rate is worked out from at most.
const RATE_SAMPLES: usize = 60;

#[derive(Clone, Debug, Default)]
struct Series {
    counts: VecDeque<u64>,
    zeros: u32,
}

/// Series of counts by key, all with the same times.
#[derive(Clone, Debug)]
pub struct History<K> {
    times_ns: VecDeque<u64>,
    series: FxHashMap<K, Series>,
    previous: FxHashMap<K, u64>,
    latest: FxHashMap<K, u64>,
}

impl<K> Default for History<K> {
    fn default() -> Self {
        Self {
            times_ns: VecDeque::new(),
            series: FxHashMap::default(),
            previous: FxHashMap::default(),
            latest: FxHashMap::default(),
        }
    }
}

impl<K: Copy + Eq + Hash> History<K> {
    /// Adds the counts of one refresh; keys that are not in them count zero. Times are ns by any monotonic
    /// clock; if it goes back, the history restarts.
    pub fn record(&mut self, now_ns: u64, counts: impl IntoIterator<Item = (K, u64)>) {
        if self.times_ns.back().is_some_and(|&last| last > now_ns) {
            *self = Self::default();
        }
        std::mem::swap(&mut self.previous, &mut self.latest);
        self.latest.clear();
        self.latest.extend(counts);
        push(&mut self.times_ns, now_ns);
        for (key, series) in &mut self.series {
            let count = self.latest.get(key).copied().unwrap_or(0);
            series.zeros = if count == 0 { series.zeros.saturating_add(1) } else { 0 };
            push(&mut series.counts, count);
        }
        self.series.retain(|_, series| series.zeros < GONE_AFTER);
        let is_first = self.times_ns.len() == 1;
        for (&key, &count) in &self.latest {
            if self.series.len() >= MAX_SERIES {
                break;
            }
            self.series.entry(key).or_insert_with(|| {
                // It was absent before, which is a count of zero.
                let before = if is_first { None } else { Some(0) };
                Series { counts: before.into_iter().chain([count]).collect(), zeros: 0 }
            });
        }
    }

    /// The history of sums: of each key that `of` gives, over the latest `most` refreshes. `None` where
    /// not everything could be followed, and sums would be too small.
    #[must_use]
    pub fn summed<T: Copy + Eq + Hash>(&self, most: usize, of: impl Fn(K) -> Option<T>) -> Option<History<T>> {
        // What has been absent for longer is no longer followed.
        let most = most.min(usize::try_from(GONE_AFTER).unwrap_or(0)).min(self.times_ns.len());
        if self.series.len() >= MAX_SERIES {
            return None;
        }
        let mut sums: FxHashMap<T, Vec<u64>> = FxHashMap::default();
        for (&key, series) in &self.series {
            let Some(key) = of(key) else { continue };
            let sum = sums.entry(key).or_insert_with(|| vec![0; most]);
            for (sum, count) in sum.iter_mut().rev().zip(series.counts.iter().rev()) {
                *sum = sum.saturating_add(*count);
            }
        }
        let series = sums.into_iter().filter_map(|(key, counts)| {
            // As if it had been followed: from the zero before it appeared.
            let first = counts.iter().position(|count| *count > 0)?.saturating_sub(1);
            let zeros = counts.iter().rev().take_while(|count| **count == 0).count();
            let counts = counts.into_iter().skip(first).collect();
            Some((key, Series { counts, zeros: u32::try_from(zeros).unwrap_or(u32::MAX) }))
        });
        let series = series.collect();
        let total = |counts: &FxHashMap<K, u64>| {
            let mut totals: FxHashMap<T, u64> = FxHashMap::default();
            for (key, &count) in counts.iter().filter_map(|(&key, count)| Some((of(key)?, count))) {
                let sum = totals.entry(key).or_default();
                *sum = sum.saturating_add(count);
            }
            totals
        };
        let times_ns = self.times_ns.iter().skip(self.times_ns.len() - most).copied().collect();
        Some(History { times_ns, series, previous: total(&self.previous), latest: total(&self.latest) })
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Refreshes added, at most [`SAMPLES`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.times_ns.len()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times_ns.is_empty()
    }

    /// What is followed: everything that was there within the latest [`GONE_AFTER`] refreshes.
    pub fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.series.keys().copied()
    }

    /// The latest count.
    #[must_use]
    pub fn count(&self, key: K) -> u64 {
        self.latest.get(&key).copied().unwrap_or(0)
    }

    /// The change since the refresh before; `None` at the first.
    #[must_use]
    pub fn change(&self, key: K) -> Option<i64> {
        if self.times_ns.len() < 2 {
            return None;
        }
        let of = |counts: &FxHashMap<K, u64>| counts.get(&key).copied().unwrap_or(0);
        Some(difference(of(&self.latest), of(&self.previous)))
    }

    /// The latest samples, oldest first, at most `count` of them.
    pub fn recent(&self, key: K, count: usize) -> impl Iterator<Item = u64> + '_ {
        let counts = self.series.get(&key).map(|series| &series.counts);
        let skip = counts.map_or(0, VecDeque::len).saturating_sub(count);
        counts.into_iter().flat_map(move |counts| counts.iter().skip(skip).copied())
    }

    /// All samples that are kept; 0 before it was there.
    #[must_use]
    pub fn samples(&self, key: K) -> Vec<Sample> {
        let Some(series) = self.series.get(&key) else { return Vec::new() };
        let absent = self.times_ns.len().saturating_sub(series.counts.len());
        let counts = std::iter::repeat_n(0, absent).chain(series.counts.iter().copied());
        let first = self.times_ns.front().copied().unwrap_or(0);
        let at_s = |time: u64| Duration::from_nanos(time.saturating_sub(first)).as_secs_f64();
        self.times_ns.iter().zip(counts).map(|(&time, count)| Sample { at_s: at_s(time), count }).collect()
    }

    /// Change a second over the latest samples, by the best-fitting line; `None` where there are fewer than
    /// two, or it is not followed.
    #[must_use]
    pub fn rate(&self, key: K) -> Option<f64> {
        let counts = &self.series.get(&key)?.counts;
        let count = counts.len().min(RATE_SAMPLES);
        let samples = self.times_ns.iter().rev().zip(counts.iter().rev()).take(count);
        slope(samples.map(|(&time, &count)| (time, count)))
    }

    /// How many series are followed.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.series.len()
    }
}

fn push(samples: &mut VecDeque<u64>, sample: u64) {
    if samples.len() >= SAMPLES {
        samples.pop_front();
    }
    samples.push_back(sample);
}

#[cfg(test)]
mod tests {
    use super::{GONE_AFTER, History, MAX_SERIES, SAMPLES};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn changes_and_rates() {
        let mut history = History::default();
        assert_eq!((history.change("leak"), history.rate("leak")), (None, None));
        for second in 0..10 {
            let mut counts = vec![("leak", 100 + second * 20), ("steady", 8)];
            if second >= 8 {
                counts.push(("late", 5));
            }
            history.record(second * SECOND, counts);
        }
        assert_eq!(history.change("leak"), Some(20));
        assert!((history.rate("leak").unwrap() - 20.0).abs() < 1e-9);
        assert!(history.rate("steady").unwrap().abs() < 1e-9);
        assert_eq!(history.recent("late", 10).collect::<Vec<_>>(), [0, 5, 5]);
        assert_eq!(history.recent("leak", 3).collect::<Vec<_>>(), [240, 260, 280]);
        history.record(10 * SECOND, []);
        assert_eq!(history.change("leak"), Some(-280));
        assert_eq!(history.change("unknown"), Some(0));
    }

    #[test]
    fn a_clock_that_goes_back_starts_anew() {
        let mut history = History::default();
        history.record(5, [(1, 1)]);
        history.record(4, [(1, 9)]);
        assert_eq!((history.len(), history.change(1)), (1, None));
    }

    #[test]
    fn it_does_not_grow() {
        let mut history = History::default();
        for refresh in 0..1_000_u64 {
            // Ever new keys, each there for three refreshes.
            let keys = (refresh..refresh + 3).flat_map(|k| (0..100).map(move |n| (k * 100 + n, 1)));
            history.record(refresh * SECOND, keys.chain([(u64::MAX, refresh)]));
            assert!(history.followed() <= 100 * (usize::try_from(GONE_AFTER).unwrap() + 3) + 1);
        }
        assert_eq!(history.len(), SAMPLES);
        assert_eq!(history.recent(u64::MAX, usize::MAX).count(), SAMPLES);
        history.record(1_001 * SECOND, (0..100_000).map(|key| (key, 1)));
        assert_eq!(history.followed(), MAX_SERIES);
    }
}
