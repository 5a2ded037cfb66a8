//! When the next sample is due. Every loop that reads a program more than once takes its pace from here.
//!
//! Times count from a start that the caller chooses; nothing here asks for the time or sleeps.

use std::time::Duration;

/// What happens to samples whose time passed while another one was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    /// They are skipped: the next one follows at once, and the interval counts from it.
    LeftOut {
        /// Whether samples come up to half an interval late, by turns, and never closer than an interval.
        jitter: bool,
    },
    /// They are caught up on, one right after the other: a number of samples in a given time.
    MadeUp {
        /// Whether samples come up to half an interval late, by turns.
        jitter: bool,
        /// Number of the last sample, which is never late on purpose.
        last: u32,
    },
}

/// The pace of samples.
#[derive(Clone, Debug)]
pub struct Pacer {
    interval: Duration,
    max_cpu: Option<f64>,
    late: Late,
    /// What a sample costs in CPU time; `None` before the first one has ended.
    cost: Option<Duration>,
    /// Number of the next sample.
    nth: u32,
    /// From when the interval to the next sample counts.
    base: Duration,
    due: Duration,
}

impl Pacer {
    /// A sample now and one after each interval. One that takes longer than the interval is not caught up on.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            max_cpu: None,
            late: Late::LeftOut { jitter: false },
            cost: None,
            nth: 0,
            base: Duration::ZERO,
            due: Duration::ZERO,
        }
    }

    /// A fixed number of samples, the first one now and the last after that many intervals less one: by the
    /// clock, so that the time that samples take does not add up.
    #[must_use]
    pub fn times(samples: u32, interval: Duration) -> Self {
        let late = Late::MadeUp { jitter: false, last: samples.saturating_sub(1) };
        Self { late, ..Self::every(interval) }
    }

    /// The same, each up to half an interval late, by turns, but the first one and the last of a number of
    /// samples: samples at even distances would take a load that has nearly their rhythm for one that grows, and
    /// a goroutine that runs in their rhythm for one that does not run.
    #[must_use]
    pub fn with_jitter(self) -> Self {
        let late = match self.late {
            Late::MadeUp { last, .. } => Late::MadeUp { jitter: true, last },
            Late::LeftOut { .. } => Late::LeftOut { jitter: true },
        };
        Self { late, ..self }
    }

    /// The interval grows so that samples take at most this share of one core, 0 to 1.
    #[must_use]
    pub fn with_max_cpu(self, share: f64) -> Self {
        Self { max_cpu: Some(share), ..self }
    }

    /// When the next sample is due.
    #[must_use]
    pub fn due(&self) -> Duration {
        self.due
    }

    /// How many samples have begun.
    #[must_use]
    pub fn begun(&self) -> u32 {
        self.nth
    }

    /// A sample begins now, due or not.
    pub fn begin(&mut self, now: Duration) {
        let late = now.saturating_sub(self.due);
        let closer = self.late != Late::LeftOut { jitter: true };
        // A sample that is a little late does not delay the others.
        self.base = if closer && now >= self.due && late < self.actual_interval() { self.due } else { now };
        self.nth = self.nth.saturating_add(1);
        self.plan();
    }

    /// A sample is complete, and cost this much CPU time.
    pub fn end(&mut self, cost: Duration) {
        // Half of the old, half of the new: one slow sample does not slow down the next ten.
        self.cost = Some(self.cost.map_or(cost, |before| before.saturating_add(cost) / 2));
        self.plan();
    }

    fn plan(&mut self) {
        self.due = match self.late {
            Late::LeftOut { jitter } => {
                let interval = self.actual_interval();
                let delay = if jitter { self.delay() } else { 0.0 };
                self.base.saturating_add(interval).saturating_add(interval.mul_f64(delay))
            }
            Late::MadeUp { jitter, last } => {
                let delay = if jitter && self.nth < last { self.delay() } else { 0.0 };
                self.interval.saturating_mul(self.nth).saturating_add(self.interval.mul_f64(delay))
            }
        };
    }

    /// By what part of an interval the next sample is late, 0 to 1/2.
    fn delay(&self) -> f64 {
        (f64::from(self.nth) * GOLDEN_RATIO).fract() / 2.0
    }

    /// No sample before that.
    pub fn not_before(&mut self, at: Duration) {
        self.due = self.due.max(at);
    }

    /// Sets when the next sample is due, replacing what was planned.
    pub fn set_due(&mut self, at: Duration) {
        self.due = at;
    }

    /// The interval that was asked for.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Another interval from `now` on: a shorter one also for the next sample.
    pub fn set_interval(&mut self, interval: Duration, now: Duration) {
        self.interval = interval;
        self.due = self.due.min(now.saturating_add(self.actual_interval()));
    }

    /// The interval that keeps within the share of a core.
    #[must_use]
    pub fn actual_interval(&self) -> Duration {
        let (Some(share), Some(cost)) = (self.max_cpu, self.cost) else { return self.interval };
        let least = cost.as_secs_f64() / share.max(0.001);
        self.interval.max(Duration::try_from_secs_f64(least).unwrap_or(Duration::MAX))
    }

    /// The share of a core that samples take, 0 to 1; `None` before the first one has ended.
    #[must_use]
    pub fn cpu_share(&self) -> Option<f64> {
        let share = self.cost?.as_secs_f64() / self.actual_interval().as_secs_f64();
        share.is_finite().then_some(share)
    }
}

/// Multiples of its fraction are spread evenly, however many there are.
const GOLDEN_RATIO: f64 = 0.618_033_988_75;

#[cfg(test)]
mod tests {
    use super::Pacer;
    use std::time::Duration;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// When samples are due that all begin on time.
    fn plan(mut pacer: Pacer, samples: u32) -> Vec<Duration> {
        let due = |_| {
            let due = pacer.due();
            pacer.begin(due);
            due
        };
        (0..samples).map(due).collect()
    }

    #[test]
    fn samples_are_spread_and_end_on_time() {
        let due = plan(Pacer::times(31, ms(1_000)).with_jitter(), 31);
        assert!(due.is_sorted() && due[0].is_zero() && due[30] == ms(30_000), "{due:?}");
        let gaps: Vec<Duration> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap >= ms(500)), "{gaps:?}");
        assert!(gaps.iter().any(|gap| *gap > ms(1_150)), "{gaps:?}");
        assert_eq!(plan(Pacer::times(3, ms(10)), 3), [ms(0), ms(10), ms(20)]);
    }

    #[test]
    fn late_readings_are_made_up_for_or_left_out() {
        let mut times = Pacer::times(10, ms(100));
        let mut every = Pacer::every(ms(100));
        for pacer in [&mut times, &mut every] {
            pacer.begin(ms(3));
            assert_eq!(pacer.due(), ms(100), "a little late is no delay for the others");
            // The second one begins in time, but the third only after 250 ms more.
            pacer.begin(ms(100));
            pacer.end(ms(1));
            pacer.begin(ms(450));
        }
        assert_eq!(times.due(), ms(300));
        assert_eq!(every.due(), ms(550));
    }

    #[test]
    fn the_interval_keeps_within_the_budget() {
        let mut pacer = Pacer::every(ms(100)).with_max_cpu(0.25);
        assert_eq!((pacer.actual_interval(), pacer.cpu_share()), (ms(100), None));
        pacer.begin(ms(0));
        pacer.end(ms(50));
        assert_eq!((pacer.due(), pacer.cpu_share()), (ms(200), Some(0.25)));
        pacer.begin(ms(200));
        pacer.end(ms(10));
        // Half of the old, half of the new.
        assert_eq!((pacer.actual_interval(), pacer.due()), (ms(120), ms(320)));
        pacer.begin(ms(320));
        pacer.end(ms(0));
        assert_eq!((pacer.actual_interval(), pacer.cpu_share()), (ms(100), Some(0.15)));
    }

    #[test]
    fn readings_with_jitter_that_are_not_made_up_for_are_never_close() {
        let mut pacer = Pacer::every(ms(100)).with_jitter();
        let mut before = None;
        for late in [0, 0, 90, 0, 500, 0, 0] {
            let now = pacer.due() + ms(late);
            pacer.begin(now);
            assert!(before.is_none_or(|before| now >= before + ms(100)), "{before:?} {now:?}");
            assert!(pacer.due() <= now + ms(150), "{now:?} {:?}", pacer.due());
            before = Some(now);
        }
    }

    #[test]
    fn a_shorter_interval_counts_at_once() {
        let mut pacer = Pacer::every(ms(10_000));
        pacer.begin(ms(0));
        pacer.set_interval(ms(500), ms(2_000));
        assert_eq!(pacer.due(), ms(2_500));
        pacer.set_interval(ms(60_000), ms(2_100));
        assert_eq!(pacer.due(), ms(2_500), "a longer one from the next sample on");
        pacer.not_before(ms(4_000));
        assert_eq!(pacer.due(), ms(4_000));
    }

    #[test]
    fn nothing_overflows() {
        let mut pacer = Pacer::times(u32::MAX, Duration::MAX);
        pacer.begin(Duration::MAX);
        pacer.end(Duration::MAX);
        assert_eq!(pacer.due(), Duration::MAX);
        let mut pacer = Pacer::every(Duration::MAX).with_max_cpu(0.0);
        pacer.begin(Duration::MAX);
        pacer.end(Duration::MAX);
        assert_eq!(pacer.due(), Duration::MAX);
    }
}
