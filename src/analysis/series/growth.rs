//! Whether a number grows steadily, judged from a series of samples, and how fast it changes.
//!
//! The rate is the median of the slopes between all pairs of samples (Theil and Sen), and its confidence
//! interval is Sen's, from the distribution of Kendall's S: neither cares how the samples are distributed,
//! and a few outliers change nothing. A load that goes up and down can have a slope by chance, in particular
//! when few waves fit the series; so growth is only called steady when the floor rises from quarter to
//! quarter of the series, and each quarter is entirely above the last but one. What has stopped growing is
//! not growing, and less than [`LEAST_GROWTH`] is not called growth.
//!
//! That a series does not grow steadily is not yet a proof that it does not grow. [`rises`] finds
//! what goes up, though by too little or for too short a time to be sure, and [`least_noticed`] says
//! how much growth could have hidden in the ups and downs of a series.

/// Fewer samples prove nothing.
pub const LEAST_SAMPLES: usize = 8;
/// More samples are thinned out evenly, since every pair of them costs.
pub const MOST_SAMPLES: usize = 400;
/// Less growth than this over a series does not count.
pub const LEAST_GROWTH: f64 = 5.0;
/// A series over less time has too little room for a leak to show, s: a leak of two goroutines a
/// second adds less than [`LEAST_GROWTH`]. Two seconds, less what samples come early or late.
pub const LEAST_SPAN_S: f64 = 1.9;
/// How sure the interval of a rate is, as people write it.
pub const CONFIDENCE: &str = "99.99 %";
/// Its quantile of the normal distribution (two-sided).
const QUANTILE: f64 = 3.890_591_886;
/// Kendall's S in standard deviations from which a series is said to rise: 1 in 700 by chance.
const RISES: f64 = 3.0;
/// The same for its second half, which says whether it rises still: 1 in 40.
const STILL_RISES: f64 = 2.0;
/// A load that comes in waves falls back between them, so the lowest samples of this many parts of a series
/// show a leak below it better than all samples do.
const PARTS: usize = 7;
/// The same for its second half.
const LATE_PARTS: usize = 3;

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
#[non_exhaustive]
pub struct Rate {
    /// Per second.
    pub per_second: f64,
    /// Lower bound, with a confidence of [`CONFIDENCE`].
    pub least_per_second: f64,
    /// Upper bound, with that confidence.
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

    /// The most that it may have grown by over the series.
    #[must_use]
    pub fn most_growth(&self) -> f64 {
        self.most_per_second * self.span_s
    }
}

/// Fits a series that is in order of time; `None` when it is too short to say anything.
#[must_use]
pub fn fit(series: &[Sample]) -> Option<Rate> {
    fit_at_least(series, LEAST_GROWTH)
}

/// The same, where growth by less than `least` over the series does not count.
#[must_use]
pub fn fit_at_least(series: &[Sample], least_growth: f64) -> Option<Rate> {
    let samples = thinned_out(series)?;
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
    let steady = least > 0.0 && rate.growth() >= least_growth && keeps_rising(&samples, rate.growth());
    Some(Rate { steady, ..rate })
}

fn thinned_out(series: &[Sample]) -> Option<Vec<Sample>> {
    let step = series.len().div_ceil(MOST_SAMPLES).max(1);
    (series.len() >= LEAST_SAMPLES).then(|| series.iter().copied().step_by(step).collect())
}

/// Whether [`fit_at_least`] may find that a series grows steadily, or [`rises`] that it rises, told by the lowest
/// samples alone: of the many groups that come and go, most need not be fitted.
#[must_use]
pub fn may_rise(series: &[Sample]) -> bool {
    let Some(samples) = thinned_out(series) else { return false };
    let counts: Vec<f64> = samples.iter().map(|sample| as_float(sample.count)).collect();
    let (whole, late) = floors_rise(&counts);
    whole || late
}

/// Whether a series goes up until its end, though perhaps by less than [`LEAST_GROWTH`], unevenly, or only in
/// its second half: then it cannot be called not growing. `false` for one that is too short.
#[must_use]
pub fn rises(series: &[Sample]) -> bool {
    rises_by_at_least(series, LEAST_GROWTH)
}

/// The same, where steady growth of the second half by less than `least_growth` does not count.
#[must_use]
pub fn rises_by_at_least(series: &[Sample], least_growth: f64) -> bool {
    let Some(samples) = thinned_out(series) else { return false };
    let counts: Vec<f64> = samples.iter().map(|sample| as_float(sample.count)).collect();
    let late = samples.get(samples.len() / 2..).unwrap_or_default();
    goes_up(&counts) || fit_at_least(late, least_growth).is_some_and(|rate| rate.steady)
}

/// The least number of goroutines by which a series must have grown, evenly from its first sample to its last
/// and in addition to what was seen, for [`rises`] to notice. `None` for a series that is too short.
#[must_use]
pub fn least_noticed(series: &[Sample]) -> Option<f64> {
    let samples = thinned_out(series)?;
    let (first, last) = (samples.first()?, samples.last()?);
    let span = last.at_s - first.at_s;
    if span <= 0.0 {
        return None;
    }
    // No count of goroutines is larger.
    least_growth(1, u64::from(u32::MAX), |growth| {
        let counts: Vec<f64> =
            samples.iter().map(|sample| as_float(sample.count) + added(sample, growth, first.at_s, span)).collect();
        goes_up(&counts)
    })
}

/// The least growth by which a series must have grown, evenly from its first sample to its last and in addition to
/// what was seen, for [`fit_at_least`] to call it steady, with a confidence of [`CONFIDENCE`], and by more than
/// `allowed_per_second`. `None` for a series that is too short, or in which none would be found.
#[must_use]
pub fn least_found(series: &[Sample], least: f64, allowed_per_second: f64) -> Option<f64> {
    /// More growth than that is not looked for, bytes: no heap is larger.
    const MOST: u64 = 1 << 48;
    let samples = thinned_out(series)?;
    let (first, last) = (samples.first()?, samples.last()?);
    let span = last.at_s - first.at_s;
    if span <= 0.0 {
        return None;
    }
    least_growth(least.max(1.0) as u64, MOST, |growth| {
        let grown = |sample: &Sample| {
            let more = added(sample, growth, first.at_s, span) as u64;
            Sample { at_s: sample.at_s, count: sample.count.saturating_add(more) }
        };
        let grown: Vec<Sample> = samples.iter().map(grown).collect();
        fit_at_least(&grown, least).is_some_and(|rate| rate.steady && rate.per_second > allowed_per_second)
    })
}

/// What of an even growth has come by the time of a sample.
fn added(sample: &Sample, growth: u64, first_s: f64, span_s: f64) -> f64 {
    (as_float(growth) * (sample.at_s - first_s) / span_s).floor()
}

/// The least growth from `from` on that is noticed, to within an eighth; `None` where none up to `most` is.
fn least_growth(from: u64, most_growth: u64, notices: impl Fn(u64) -> bool) -> Option<f64> {
    // More makes it plainer, but not in every step: with it the lowest samples may come to lie in other
    // parts. So it is searched from above, for the last one before a growth that is not noticed.
    let mut most = from;
    while !(notices(most) && notices(most.saturating_mul(2)) && notices(most.saturating_mul(4))) {
        most = most.checked_mul(2).filter(|most| *most <= most_growth)?;
    }
    let mut least = most.saturating_mul(4);
    while least > 0 {
        let less = least - (least / 8).max(1);
        if less < from || !notices(less) {
            break;
        }
        least = less;
    }
    Some(as_float(least))
}

/// Whether the lowest number of the second half is above that of the first, and of the last quarter above that of the
/// third.
fn floors_rise(counts: &[f64]) -> (bool, bool) {
    let (early, late) = counts.split_at(counts.len() / 2);
    let (third, fourth) = late.split_at(late.len() / 2);
    (lowest(late) > lowest(early), lowest(fourth) > lowest(third))
}

/// Whether numbers go up as a whole, and in their second half too.
fn goes_up(counts: &[f64]) -> bool {
    if floors_rise(counts) != (true, true) {
        return false;
    }
    let late = counts.get(counts.len() / 2..).unwrap_or_default();
    let floors: Vec<f64> = parts(counts, PARTS).map(lowest).collect();
    let late_floors: Vec<f64> = parts(late, LATE_PARTS).map(lowest).collect();
    let rises = tendency(counts) >= RISES || (counts.len() >= 2 * PARTS && tendency(&floors) >= RISES);
    rises && (tendency(late) >= STILL_RISES || late_floors.is_sorted_by(|a, b| a < b))
}

fn lowest(counts: &[f64]) -> f64 {
    counts.iter().copied().fold(f64::INFINITY, f64::min)
}

/// A number of parts of nearly the same length.
fn parts(counts: &[f64], number: usize) -> impl Iterator<Item = &[f64]> {
    let bound = move |nth: usize| counts.len() * nth / number.max(1);
    (0..number).filter_map(move |nth| counts.get(bound(nth)..bound(nth + 1))).filter(|part| !part.is_empty())
}

/// Kendall's S of numbers in order of time, in its standard deviations: above 0 when more pairs go up
/// than down.
fn tendency(counts: &[f64]) -> f64 {
    let mut s = 0.0;
    for (at, early) in counts.iter().enumerate() {
        for late in counts.get(at + 1..).unwrap_or_default() {
            s += f64::from(i8::from(late > early)) - f64::from(i8::from(late < early));
        }
    }
    let deviation = deviation_of_s(counts);
    if deviation > 0.0 { s / deviation } else { 0.0 }
}

/// Standard deviation of S where there is no trend, with its correction for equal numbers.
fn deviation_of_s(counts: &[f64]) -> f64 {
    let n = counts.len() as f64;
    let mut sorted = counts.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted
        .chunk_by(|a, b| a == b)
        .map(|tied| tied.len() as f64)
        .map(|tied| tied * (tied - 1.0) * (2.0 * tied + 5.0))
        .sum();
    ((n * (n - 1.0) * (2.0 * n + 5.0) - ties).max(0.0) / 18.0).sqrt()
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
    let counts: Vec<f64> = samples.iter().map(|sample| as_float(sample.count)).collect();
    let deviation = deviation_of_s(&counts);
    let pairs = slopes.len() as f64;
    let below = ((pairs - QUANTILE * deviation) / 2.0).floor().max(0.0);
    // Both are within 0 and the number of slopes.
    let low = (below as usize).min(slopes.len().checked_sub(1)?);
    let high = slopes.len() - 1 - low;
    Some((*slopes.get(low)?, *slopes.get(high)?))
}

/// `a - b` without overflow.
#[must_use]
pub fn difference(a: u64, b: u64) -> i64 {
    let size = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a >= b { size } else { -size }
}

/// The line that fits (ns, count) best by least squares, newest first, in counts a second; `None` for
/// fewer than two moments.
///
/// For display: it moves as soon as a leak begins, where the median of [`fit`] stays at zero until the leak
/// has gone on for a third of the series. It proves nothing, so no verdict rests on it.
pub fn slope(samples: impl Iterator<Item = (u64, u64)>) -> Option<f64> {
    let (mut n, mut sum_t, mut sum_c, mut sum_tt, mut sum_tc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let mut newest = None;
    for (time, count) in samples {
        let (time_0, count_0) = *newest.get_or_insert((time, count));
        // Counted from the newest, so that no digits are lost.
        let t = -(time_0.saturating_sub(time) as f64) / 1e9;
        let c = difference(count, count_0) as f64;
        n += 1.0;
        sum_t += t;
        sum_c += c;
        sum_tt += t * t;
        sum_tc += t * c;
    }
    let spread = n * sum_tt - sum_t * sum_t;
    (n >= 2.0 && spread > 0.0).then(|| (n * sum_tc - sum_t * sum_c) / spread)
}

/// Whether the lowest sample of each quarter is above that of the quarter before, and above all of
/// the quarter before that; and whether the highest sample rises in the last quarter too, by half at
/// least of what `growth` over all of them would add there. A pool that was full after three quarters
/// does the first two.
fn keeps_rising(samples: &[Sample], growth: f64) -> bool {
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
    let still = match ranges.as_slice() {
        [.., third, fourth] => as_float(fourth.1) - as_float(third.1) >= growth / 8.0,
        _ => false,
    };
    floor_rises && apart && still
}

#[cfg(test)]
mod tests {
    use super::{LEAST_SAMPLES, Rate, Sample, fit, least_noticed, may_rise, rises};

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
    fn a_line_is_fitted_exactly() {
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
    fn only_what_may_rise_rises() {
        let (mut rising, mut skipped) = (0, 0);
        for seed in 0..4_000 {
            let mut random = Random(seed);
            let (length, slope) = (8 + (40.0 * random.unit()) as usize, 4.0 * random.unit() - 2.0);
            let (from, noise) = ((length as f64 * random.unit()).floor(), 40.0 * random.unit());
            let load = |at: f64, random: &mut Random| 50.0 + slope * (at - from).max(0.0) + noise * random.unit();
            let series = series(length, seed, load);
            let found = rate(&series).steady || rises(&series);
            assert!(!found || may_rise(&series), "{series:?}");
            rising += usize::from(found);
            skipped += usize::from(!may_rise(&series));
        }
        assert!(rising > 400 && skipped > 400, "{rising} rise, {skipped} are skipped");
        // What comes and goes is at 0 in each part.
        assert!(!may_rise(&series(400, 1, |at, _| if at % 20.0 < 3.0 { at } else { 0.0 })));
    }

    #[test]
    fn what_comes_to_rest_does_not_rise() {
        type Load = fn(f64, &mut Random) -> f64;
        // By chance, noise rises once in 700 series of its own, and in 700 of its lowest values.
        let loads: [(&str, Load, usize); 6] = [
            ("constant", |_, _| 100.0, 0),
            ("noise", |_, random| 200.0 * random.unit(), 3),
            ("waves between rests", |at, random| if at % 8.0 < 3.0 { 40.0 + 20.0 * random.unit() } else { 20.0 }, 3),
            ("one step", |at, _| if at < 12.0 { 100.0 } else { 300.0 }, 0),
            ("one step by one", |at, _| if at < 20.0 { 1.0 } else { 2.0 }, 0),
            ("going down", |at, random| 1_000.0 - 20.0 * at + 30.0 * random.unit(), 0),
        ];
        for (name, load, by_chance) in loads {
            for length in [15, 31, 61, 200] {
                let rising = (0..RUNS).filter(|&seed| rises(&series(length, seed, load))).count();
                assert!(rising <= by_chance, "{name}, {length} samples: {rising} of {RUNS}");
            }
        }
    }

    #[test]
    fn what_would_have_been_noticed_is_noticed() {
        let waves = |at: f64, random: &mut Random| if at % 8.0 < 3.0 { 40.0 + 20.0 * random.unit() } else { 20.0 };
        let noise = |_: f64, random: &mut Random| 100.0 + 30.0 * random.unit();
        type Load<'a> = &'a dyn Fn(f64, &mut Random) -> f64;
        let mut missed = 0;
        for (name, load, most) in
            [("rest", &(|_, _: &mut Random| 20.0) as Load<'_>, 4.0), ("waves", &waves, 16.0), ("noise", &noise, 90.0)]
        {
            for seed in 0..40 {
                let still = series(31, seed, load);
                let least = least_noticed(&still).expect("it is long enough");
                assert!(least <= most, "{name}, seed {seed}: {least}");
                // The same with a leak of that size, and of any larger one.
                for growth in [least, 1.25 * least, 1.5 * least, 2.0 * least, 10.0 * least] {
                    let (first, span) = (still[0].at_s, still[30].at_s - still[0].at_s);
                    let leak = |sample: &Sample| (growth * (sample.at_s - first) / span) as u64;
                    let leaking: Vec<Sample> =
                        still.iter().map(|sample| Sample { count: sample.count + leak(sample), ..*sample }).collect();
                    missed += usize::from(!rises(&leaking));
                }
            }
        }
        // Between what was tried, the parts may fall otherwise.
        assert!(missed <= 6, "{missed} of 600 were missed");
        assert_eq!(least_noticed(&series(LEAST_SAMPLES - 1, 1, noise)), None);
    }

    #[test]
    fn a_pool_that_is_full_before_the_end_is_no_steady_growth() {
        for full_at in 14..26 {
            let pool = series(31, 1, |at, _| 10.0 + 3.0 * at.min(f64::from(full_at)));
            assert!(!rate(&pool).steady, "full after {full_at} of 30");
        }
        assert!(rate(&series(31, 1, |at, _| 10.0 + 3.0 * at)).steady);
    }

    #[test]
    fn long_series_are_thinned_out() {
        let rate = rate(&series(100_000, 1, |at, _| at));
        assert!(rate.steady && (rate.per_second - 1.0).abs() < 0.01, "{rate:?}");
    }
}
