//! Whether a number grows steadily, told from a series of samples.
//!
//! The rate is the median of the slopes between all pairs of samples (Theil and Sen), and its
//! confidence interval is Sen's, from the distribution of Kendall's S: neither cares how the
//! samples are distributed, and a few odd ones change nothing. A load that goes up and down can have
//! a slope by chance, in particular when few waves fit the series; so growth is only called steady
//! when the floor rises from quarter to quarter of the series, and each quarter lies as a whole above
//! the one before the last. What has stopped growing is not growing, and less than [`LEAST_GROWTH`]
//! is nothing.

/// Fewer samples say nothing.
pub const LEAST_SAMPLES: usize = 8;
/// More samples are thinned out evenly, since every pair of them costs.
pub const MOST_SAMPLES: usize = 400;
/// Less growth than that over a series is no growth.
pub const LEAST_GROWTH: f64 = 5.0;
/// How sure the interval of a rate is, as people write it.
pub const CONFIDENCE: &str = "99.99 %";
/// Its quantile of the normal distribution (two-sided).
const QUANTILE: f64 = 3.890_591_886;

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When, seconds after any moment.
    pub at_s: f64,
    /// How many.
    pub count: u64,
}

/// How fast a number grows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Per second.
    pub per_second: f64,
    /// It is at least as much with a confidence of [`CONFIDENCE`].
    pub least_per_second: f64,
    /// It is at most as much with that confidence.
    pub most_per_second: f64,
    /// From the first sample to the last, s.
    pub span_s: f64,
    /// Count of the first sample.
    pub first: u64,
    /// Count of the last sample.
    pub last: u64,
    /// Whether it grew all the time, rather than went up and down.
    pub steady: bool,
}

impl Rate {
    /// What it grew by over the series, as fitted.
    #[must_use]
    pub fn growth(&self) -> f64 {
        self.per_second * self.span_s
    }
}

/// Fits a series that is in order of time; `None` when it is too short to say anything.
#[must_use]
pub fn fit(series: &[Sample]) -> Option<Rate> {
    if series.len() < LEAST_SAMPLES {
        return None;
    }
    let step = series.len().div_ceil(MOST_SAMPLES).max(1);
    let samples: Vec<Sample> = series.iter().copied().step_by(step).collect();
    let (first, last) = (samples.first()?, samples.last()?);
    let mut slopes = Vec::with_capacity(samples.len() * samples.len() / 2);
    for (at, early) in samples.iter().enumerate() {
        for late in samples.get(at + 1..)? {
            let time = late.at_s - early.at_s;
            if time > 0.0 {
                slopes.push((as_float(late.count) - as_float(early.count)) / time);
            }
        }
    }
    slopes.sort_by(f64::total_cmp);
    let (least, most) = interval(&samples, &slopes)?;
    let rate = Rate {
        per_second: median(&slopes)?,
        least_per_second: least,
        most_per_second: most,
        span_s: last.at_s - first.at_s,
        first: first.count,
        last: last.count,
        steady: false,
    };
    let steady = least > 0.0 && rate.growth() >= LEAST_GROWTH && keeps_rising(&samples);
    Some(Rate { steady, ..rate })
}

fn as_float(count: u64) -> f64 {
    // Exact up to 2⁵³ goroutines.
    count as f64
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0),
        _ => sorted.get(middle).copied(),
    }
}

/// Sen's interval: the slopes that lie as far from the middle as S would by chance.
fn interval(samples: &[Sample], slopes: &[f64]) -> Option<(f64, f64)> {
    let n = samples.len() as f64;
    let mut counts: Vec<u64> = samples.iter().map(|sample| sample.count).collect();
    counts.sort_unstable();
    let ties: f64 = counts
        .chunk_by(|a, b| a == b)
        .map(|tied| tied.len() as f64)
        .map(|tied| tied * (tied - 1.0) * (2.0 * tied + 5.0))
        .sum();
    let deviation = ((n * (n - 1.0) * (2.0 * n + 5.0) - ties).max(0.0) / 18.0).sqrt();
    let pairs = slopes.len() as f64;
    let below = ((pairs - QUANTILE * deviation) / 2.0).floor().max(0.0);
    // Both are within 0 and the number of slopes.
    let low = (below as usize).min(slopes.len().checked_sub(1)?);
    let high = slopes.len() - 1 - low;
    Some((*slopes.get(low)?, *slopes.get(high)?))
}

/// Whether the lowest sample of each quarter is above that of the quarter before, and above all of
/// the quarter before that.
fn keeps_rising(samples: &[Sample]) -> bool {
    let quarter = samples.len() / 4;
    let bounds = [0, quarter, samples.len() / 2, samples.len() - quarter, samples.len()];
    let ranges: Vec<(u64, u64)> = bounds
        .windows(2)
        .filter_map(|bound| {
            let part = samples.get(*bound.first()?..*bound.get(1)?)?;
            let counts = || part.iter().map(|sample| sample.count);
            Some((counts().min()?, counts().max()?))
        })
        .collect();
    let floor_rises = ranges.is_sorted_by(|early, late| early.0 < late.0);
    let apart = ranges.iter().zip(ranges.iter().skip(2)).all(|(early, late)| early.1 < late.0);
    floor_rises && apart
}

#[cfg(test)]
mod tests {
    use super::{LEAST_SAMPLES, Rate, Sample, fit};

    const RUNS: u64 = 300;

    /// Numbers that look random and are the same in every run (splitmix64).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn unit(&mut self) -> f64 {
            (self.next() >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    fn series(n: usize, seed: u64, count: impl Fn(f64, &mut Random) -> f64) -> Vec<Sample> {
        let mut random = Random(seed);
        let sample = |at: usize| {
            let at_s = at as f64 + random.unit() / 2.0;
            Sample { at_s, count: count(at_s, &mut random).max(0.0) as u64 }
        };
        (0..n).map(sample).collect()
    }

    fn rate(samples: &[Sample]) -> Rate {
        fit(samples).expect("it is long enough")
    }

    #[test]
    fn a_line_is_told_exactly() {
        let line: Vec<Sample> = (0..20).map(|at| Sample { at_s: f64::from(at), count: 7 + 3 * at as u64 }).collect();
        let rate = rate(&line);
        assert_eq!((rate.per_second, rate.least_per_second, rate.most_per_second), (3.0, 3.0, 3.0));
        assert_eq!((rate.growth(), rate.first, rate.last, rate.steady), (57.0, 7, 64, true));
    }

    #[test]
    fn too_few_samples_say_nothing() {
        assert_eq!(fit(&series(LEAST_SAMPLES - 1, 1, |at, _| 100.0 * at)), None);
        assert!(rate(&series(LEAST_SAMPLES, 1, |at, _| 100.0 * at)).steady);
        let all_at_once = vec![Sample { at_s: 1.0, count: 5 }; 10];
        assert_eq!(fit(&all_at_once), None);
    }

    #[test]
    fn loads_without_growth_never_alarm() {
        // Waves of any length, noise, steps down, a single step up, a warm-up that ends, spikes.
        type Load = fn(f64, &mut Random) -> f64;
        let loads: [(&str, Load); 9] = [
            ("constant", |_, _| 100.0),
            ("noise", |_, random| 200.0 * random.unit()),
            ("fast waves", |at, _| 50.0 + 50.0 * (at * 8.7).sin()),
            ("waves of the sampling interval", |at, _| 50.0 + 50.0 * (at * std::f64::consts::TAU).sin()),
            ("slow waves", |at, random| 50.0 + 40.0 * (at * 0.9).sin() + 10.0 * random.unit()),
            ("one step", |at, _| if at < 12.0 { 100.0 } else { 300.0 }),
            ("warm-up", |at, random| 100.0 * (at / 6.0).min(1.0) + 10.0 * random.unit()),
            ("spikes", |_, random| if random.unit() > 0.9 { 5_000.0 } else { 20.0 }),
            ("going down", |at, random| 1_000.0 - 20.0 * at + 30.0 * random.unit()),
        ];
        for (name, load) in loads {
            for length in [LEAST_SAMPLES, 10, 15, 30, 60] {
                // A warm-up that fills the whole series looks like growth, and is.
                if name == "warm-up" && length < 30 {
                    continue;
                }
                let alarms = (0..RUNS).filter(|&seed| rate(&series(length, seed, load)).steady).count();
                assert_eq!(alarms, 0, "{name}, {length} samples");
            }
        }
    }

    #[test]
    fn leaks_are_never_missed() {
        for length in [10, 15, 30, 60] {
            for seed in 0..1_000 {
                // Ten a second, starting a sample late or early; alone in its group.
                let alone = rate(&series(length, seed, |at, random| 10.0 * at + 3.0 * random.unit()));
                assert!(alone.steady, "{length} samples, seed {seed}: {alone:?}");
                assert!((alone.per_second - 10.0).abs() < 1.0, "{alone:?}");
            }
        }
        // Below a load that goes up and down by three times what leaks in a second.
        let below = |at: f64, random: &mut Random| 10.0 * at + 30.0 * random.unit() + 40.0;
        let rates: Vec<Rate> = (0..1_000).map(|seed| rate(&series(30, seed, below))).collect();
        assert!(rates.iter().all(|rate| rate.steady));
        let outside = rates.iter().filter(|rate| rate.least_per_second > 10.0 || rate.most_per_second < 10.0).count();
        assert!(outside <= 1, "{outside} of 1,000 intervals of 99.99 % do not hold the rate");
    }

    #[test]
    fn long_series_are_thinned_out() {
        let rate = rate(&series(100_000, 1, |at, _| at));
        assert!(rate.steady && (rate.per_second - 1.0).abs() < 0.01, "{rate:?}");
    }
}
