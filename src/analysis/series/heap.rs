//! Whether a heap grows: what is kept of it from one cycle of the collector to the next.
//!
//! What is in use rises until the collector runs, and falls: that is no growth, however few of these waves a watch
//! sees. So one sample is taken of each cycle, and only of what does not move between two cycles: bytes that the
//! cycle has marked (`gcController.heapMarked`), bytes in use by allocation site as the profile of that cycle has
//! them, and by size class what the sweep has left. A series of them is judged as counts of goroutines are
//! ([`super::growth`]). Where the objects are walked too, each walk is a sample of what is live, by type and by what
//! keeps it, whatever the collector does.
//!
//! It refuses to judge by what has been allocated since the last cycle, but for one thing: more than that cannot
//! have been added to what is kept.

use std::time::Duration;

use rustc_hash::FxHashMap;

use super::growth::{self, LEAST_SAMPLES, Rate, Sample};
use super::heap_parts::{self, Amounts, PartKey, Walk};
use crate::model::{HeapReading, SymbolPool};

pub use super::heap_parts::{KeptBy, Part};

/// Less growth than this over a watch is never called growth, bytes: pages, caches and the runtime's own objects
/// come and go.
pub const LEAST_BYTES: f64 = 256.0 * 1024.0;
/// Nor is less than this share of what was live at first.
const LEAST_SHARE: f64 = 0.01;
/// How a part, or the whole, has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Bytes at the first sample.
    pub first: u64,
    /// Bytes at the last one.
    pub last: u64,
    /// How fast it changes, bytes; `None` where there were too few cycles to say.
    pub rate: Option<Rate>,
}

impl Trend {
    fn of(samples: &[Sample], least: f64) -> Option<Self> {
        let (first, last) = (samples.first()?.count, samples.last()?.count);
        Some(Self { first, last, rate: growth::fit_at_least(samples, least) })
    }

    /// Its rate, where it grows steadily.
    #[must_use]
    pub fn steady(&self) -> Option<Rate> {
        self.rate.filter(|rate| rate.steady)
    }
}

/// What is said of the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Judgement {
    /// It grows steadily.
    Grows,
    /// It does not; growth by so many bytes over the watch would have been found, with the same confidence.
    Rests {
        /// That many.
        noticed: f64,
    },
    /// There were too few cycles; but so little was allocated that it cannot have grown by more.
    Quiet {
        /// Bytes allocated since the first reading.
        allocated: u64,
    },
    /// It rises, but by too little or too unevenly to be sure.
    Rises,
    /// It goes up and down so much that it could have doubled unnoticed.
    TooNoisy {
        /// Less growth than that would not have been found, bytes; `None` where none would.
        noticed: Option<f64>,
    },
    /// The collector ran too rarely, or was read too rarely.
    TooFewCycles {
        /// Cycles that ended during the watch, and that a reading has seen.
        seen: usize,
    },
}

/// What walks over the objects have cost, and what they are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walks {
    /// How many there were.
    pub taken: usize,
    /// How many of them are exact: nothing moved meanwhile.
    pub exact: usize,
    /// How long the longest took.
    pub longest: Duration,
    /// How long all of them took.
    pub together: Duration,
}

/// What became of a heap.
#[derive(Debug)]
pub struct HeapGrowth {
    /// The whole: live bytes as each walk has found them, or without walks as marked by each cycle; `None` where
    /// these were not found.
    pub live: Option<Trend>,
    /// What is said of that.
    pub judgement: Judgement,
    /// Parts that grow steadily, those that grow most first.
    pub growing: Vec<(Part, Trend)>,
    /// Cycles of which there is a sample; the one that ended before the first reading is one of them.
    pub samples: usize,
    /// Walks over the objects; `None` where there was none.
    pub walks: Option<Walks>,
    /// Readings.
    pub readings: usize,
    /// Cycles of the collector between the first reading and the last.
    pub cycles: u32,
    /// Time from the first reading to the last, ns.
    pub watched_ns: u64,
    /// Bytes allocated in that time, as far as the runtime has counted them.
    pub allocated: u64,
    /// Least growth that counts, bytes.
    pub least: f64,
}

/// What of a reading says how much was allocated.
#[derive(Clone, Copy, Debug)]
struct Allocation {
    at_ns: u64,
    cycles: u32,
    total: u64,
}

/// Readings of one heap, one after the other.
#[derive(Debug, Default)]
pub struct HeapSeries {
    live: Vec<Sample>,
    parts: FxHashMap<PartKey, (Part, Vec<(usize, u64)>)>,
    /// When each sample of a cycle was taken, s after the first reading.
    times: Vec<f64>,
    /// Live bytes as each walk has found them.
    walked: Vec<Sample>,
    walks: Walks,
    /// Why there are no walks, where the last one failed.
    walks_missing: Option<String>,
    readings: usize,
    first: Option<Allocation>,
    last: Option<Allocation>,
    /// Why there are no sites, and no size classes, where the last reading had none.
    missing: [Option<String>; 2],
}

impl HeapSeries {
    /// Adds a reading. One of a cycle that was seen already adds no sample. Names of places are put into `pool`,
    /// which is the same for all readings.
    pub fn record(&mut self, reading: &HeapReading, pool: &mut SymbolPool) {
        let snapshot = &reading.snapshot;
        let cycles = snapshot.gc.as_ref().map_or(0, |gc| gc.cycles);
        let total = snapshot.heap.as_ref().map_or(0, |heap| heap.total_alloc);
        let now = Allocation { at_ns: snapshot.monotonic_ns, cycles, total };
        self.readings += 1;
        let first = *self.first.get_or_insert(now);
        let known = self.last.is_some_and(|last| last.cycles == cycles);
        self.last = Some(now);
        self.missing = [reading.allocations.as_ref().err().cloned(), reading.survivors.as_ref().err().cloned()];
        if known {
            return;
        }
        let nth = self.times.len();
        let at_s = now.at_ns.saturating_sub(first.at_ns) as f64 / 1e9;
        self.times.push(at_s);
        if let Some(marked) = snapshot.heap.as_ref().and_then(|heap| heap.heap_marked) {
            self.live.push(Sample { at_s, count: marked });
        }
        if let Ok(allocations) = &reading.allocations {
            let sites = heap_parts::sites(allocations, &snapshot.target, pool);
            self.add(nth, sites, pool);
        }
        if let Ok(survivors) = &reading.survivors {
            self.add(nth, heap_parts::survivors(survivors), pool);
        }
    }

    /// Adds a walk over the objects, made beside the last reading, or why there is none.
    pub fn record_walk(&mut self, walk: Result<Walk<'_>, String>, pool: &mut SymbolPool) {
        let walk = match walk {
            Ok(walk) => walk,
            Err(why) => {
                self.walks_missing = Some(why);
                return;
            }
        };
        self.walks_missing = None;
        let (marking, typing) = walk.objects.took;
        let took = marking.saturating_add(typing);
        self.walks.taken += 1;
        self.walks.exact += usize::from(walk.objects.standing.is_exact());
        self.walks.longest = self.walks.longest.max(took);
        self.walks.together = self.walks.together.saturating_add(took);
        let nth = self.walked.len();
        let first = self.first.map_or(walk.snapshot.monotonic_ns, |first| first.at_ns);
        let at_s = walk.snapshot.monotonic_ns.saturating_sub(first) as f64 / 1e9;
        self.walked.push(Sample { at_s, count: walk.objects.live.bytes });
        self.add(nth, heap_parts::types(&walk, pool), pool);
        self.add(nth, heap_parts::roots(&walk, pool), pool);
    }

    fn add(&mut self, nth: usize, amounts: Amounts, pool: &SymbolPool) {
        for (part, amount) in amounts {
            self.parts.entry(part.key(pool)).or_insert((part, Vec::new())).1.push((nth, amount.bytes));
        }
    }

    /// Why there are no allocation sites, where there are none.
    #[must_use]
    pub fn sites_missing(&self) -> Option<&str> {
        self.missing.first()?.as_deref()
    }

    /// Why there are no size classes, where there are none.
    #[must_use]
    pub fn classes_missing(&self) -> Option<&str> {
        self.missing.last()?.as_deref()
    }

    /// Why there are no types and no roots, where there are none.
    #[must_use]
    pub fn walks_missing(&self) -> Option<&str> {
        self.walks_missing.as_deref()
    }

    /// What is live, as it is known best.
    fn of_all(&self) -> &[Sample] {
        if self.walked.is_empty() { &self.live } else { &self.walked }
    }

    /// What became of the heap; growth by up to `allowed_per_second` bytes a second does not count.
    #[must_use]
    pub fn growth(&self, allowed_per_second: f64) -> HeapGrowth {
        let (first, last) = (self.first, self.last);
        let between = |of: fn(Allocation) -> u64| last.map_or(0, of).saturating_sub(first.map_or(0, of));
        let watched_ns = between(|at| at.at_ns);
        let seconds = watched_ns as f64 / 1e9;
        let live_first = self.of_all().first().map_or(0, |sample| sample.count) as f64;
        let allowed = allowed_per_second * seconds;
        let least = LEAST_BYTES.max(LEAST_SHARE * live_first);
        let allocated = between(|at| at.total);
        let live = Trend::of(self.of_all(), least);
        let judgement = self.judge(live, allowed, allowed_per_second, least, allocated);
        let is_fast = |rate: &Rate| rate.per_second > allowed_per_second;
        let mut growing: Vec<(Part, Trend)> = self
            .parts
            .values()
            .filter_map(|(part, counts)| {
                let trend = Trend::of(&self.series(part, counts), least)?;
                trend.steady().filter(is_fast).map(|_| (*part, trend))
            })
            .collect();
        let growth = |trend: &Trend| trend.rate.map_or(0.0, |rate| rate.growth());
        growing.sort_by(|(_, a), (_, b)| growth(b).total_cmp(&growth(a)).then(b.last.cmp(&a.last)));
        HeapGrowth {
            live,
            judgement,
            growing,
            samples: self.times.len(),
            walks: (self.walks.taken > 0).then_some(self.walks),
            readings: self.readings,
            cycles: last.map_or(0, |at| at.cycles).wrapping_sub(first.map_or(0, |at| at.cycles)),
            watched_ns,
            allocated,
            least,
        }
    }

    fn judge(&self, live: Option<Trend>, allowed: f64, per_second: f64, least: f64, allocated: u64) -> Judgement {
        let enough = allowed.max(least);
        let Some(rate) = live.and_then(|live| live.rate) else {
            let samples = self.of_all().len();
            return match samples < LEAST_SAMPLES && self.readings > 1 && (allocated as f64) <= enough {
                true => Judgement::Quiet { allocated },
                // The first sample is of a cycle before the watch.
                false => Judgement::TooFewCycles { seen: self.live.len().saturating_sub(1) },
            };
        };
        if rate.steady && rate.per_second > per_second {
            return Judgement::Grows;
        }
        if !rate.steady && rate.most_growth() > enough && growth::rises_by_at_least(self.of_all(), least) {
            return Judgement::Rises;
        }
        // There is no share of a heap that matters in every program, so what would have been found is said, and
        // left to be judged. Only a watch in which a heap can double unnoticed says nothing.
        let seen = if rate.steady { rate.growth() } else { 0.0 };
        match growth::least_found(self.of_all(), least, per_second).map(|more| more + seen) {
            // It is known to within an eighth.
            Some(noticed) if noticed <= (1.125 * enough).max(rate.first as f64) => Judgement::Rests { noticed },
            noticed => Judgement::TooNoisy { noticed },
        }
    }

    /// The samples of a part: 0 where it was not there.
    fn series(&self, part: &Part, counts: &[(usize, u64)]) -> Vec<Sample> {
        let empty = |at_s| Sample { at_s, count: 0 };
        let mut samples: Vec<Sample> = match part.is_walked() {
            true => self.walked.iter().map(|walk| empty(walk.at_s)).collect(),
            false => self.times.iter().copied().map(empty).collect(),
        };
        for &(nth, bytes) in counts {
            if let Some(sample) = samples.get_mut(nth) {
                sample.count = bytes;
            }
        }
        samples
    }
}

#[cfg(test)]
#[path = "heap_tests.rs"]
mod tests;
