//! Reads a program repeatedly, and uses earlier samples to measure its waits.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cpu::cpu_time;
use super::pacer::Pacer;
use super::source::{SnapshotSource, SourceEnd, Successor};
use crate::analysis::same_wait::LEAST_INTERVALS;
use crate::analysis::series::{Observed, Watching};

/// Number of intervals into which the watched time is divided.
const WATCH_PARTS: u32 = 8;
/// The shortest such interval.
const SHORTEST: Duration = Duration::from_millis(20);
/// The longest such interval: a goroutine that runs must be noticed.
const LONGEST: Duration = Duration::from_secs(5);

/// How often it looks for a successor.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// One sample.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The snapshot, with the waits measured since earlier ones.
    pub observed: Arc<Observed>,
    /// CPU time that gospy used since the previous sample.
    pub cost: Duration,
}

/// A source that is read more than once. `E` is the error of its source.
pub struct Sampler<'a, E = SourceEnd> {
    source: Box<dyn SnapshotSource<E> + 'a>,
    successor: Option<Box<dyn Successor<E> + 'a>>,
    watching: Watching,
    cpu: Duration,
}

impl<E> std::fmt::Debug for Sampler<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").field("has_successor", &self.successor.is_some()).finish_non_exhaustive()
    }
}

impl<'a, E> Sampler<'a, E> {
    /// For a source that was not read yet.
    #[must_use]
    pub fn new(source: Box<dyn SnapshotSource<E> + 'a>) -> Self {
        Self { source, successor: None, watching: Watching::default(), cpu: cpu_time() }
    }

    /// With a finder of what replaces the program once it has ended.
    #[must_use]
    pub fn with_successor(self, successor: Option<Box<dyn Successor<E> + 'a>>) -> Self {
        Self { successor, ..self }
    }

    /// Reads now.
    ///
    /// # Errors
    /// Those of the source.
    pub fn read(&mut self) -> Result<Sample, E> {
        let snapshot = self.source.next()?;
        let observed = self.watching.observe(snapshot);
        let now = cpu_time();
        let cost = now.saturating_sub(std::mem::replace(&mut self.cpu, now));
        Ok(Sample { observed, cost })
    }

    /// The latest snapshot.
    #[must_use]
    pub fn latest(&self) -> Option<&Arc<Observed>> {
        self.watching.latest()
    }

    /// Reads as often as `pacer` says, sleeping in between, until `visit` has seen enough; gives what that
    /// breaks off with.
    ///
    /// # Errors
    /// The first one of the source.
    pub fn stream<T>(&mut self, pacer: &mut Pacer, visit: impl FnMut(Sample) -> ControlFlow<T>) -> Result<T, E> {
        let sleep = |pause| {
            std::thread::sleep(pause);
            ControlFlow::Continue(())
        };
        self.stream_with_pauses(pacer, sleep, visit)
    }

    /// The same with sleeps that can be cut short: `pause` gets the time to wait, and may break off.
    ///
    /// # Errors
    /// The first one of the source.
    pub fn stream_with_pauses<T>(
        &mut self,
        pacer: &mut Pacer,
        mut pause: impl FnMut(Duration) -> ControlFlow<T>,
        mut visit: impl FnMut(Sample) -> ControlFlow<T>,
    ) -> Result<T, E> {
        let started = Instant::now();
        loop {
            if let ControlFlow::Break(seen) = pause(pacer.due().saturating_sub(started.elapsed())) {
                return Ok(seen);
            }
            pacer.begin(started.elapsed());
            let sample = self.read()?;
            pacer.end(sample.cost);
            if let ControlFlow::Break(seen) = visit(sample) {
                return Ok(seen);
            }
        }
    }

    /// Measures the ages of waits: reads until a goroutine that has not run since the first samples has been
    /// watched for `least`, and gives the latest snapshot. It takes about a quarter longer, since the first
    /// three samples only make sure that nothing runs. No two samples are close, as an interval in which
    /// nothing could run proves nothing.
    ///
    /// # Errors
    /// The first one of the source.
    pub fn watch(&mut self, least: Duration) -> Result<Arc<Observed>, E> {
        let interval = (least / WATCH_PARTS).clamp(SHORTEST, LONGEST);
        let parts = least.as_nanos().div_ceil(interval.as_nanos().max(1));
        // What counts is the time from the third sample on.
        let uncounted = u128::from(LEAST_INTERVALS);
        let (mut seen, mut counted_from) = (0, None);
        self.stream(&mut Pacer::every(interval).with_jitter(), |sample| {
            seen += 1;
            let now = sample.observed.snapshot().monotonic_ns;
            if seen == uncounted {
                counted_from = Some(now);
            }
            let measured = counted_from.map_or(0, |from| u128::from(now.saturating_sub(from)));
            let is_enough = measured >= least.as_nanos() || seen >= uncounted.saturating_add(parts);
            if is_enough { ControlFlow::Break(sample.observed) } else { ControlFlow::Continue(()) }
        })
    }

    /// Whether a successor is looked for.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        self.successor.is_some()
    }

    /// Continues with what replaced the program that has ended: looks for it, and calls `pause` with the time
    /// to wait between attempts. False when `pause` gives up, or when there is no finder.
    pub fn wait_for_successor(&mut self, mut pause: impl FnMut(Duration) -> ControlFlow<()>) -> bool {
        let Some(successor) = &mut self.successor else { return false };
        loop {
            if let Some(source) = successor.find() {
                self.source = source;
                self.watching.reset();
                return true;
            }
            if pause(LOOK).is_break() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::time::Duration;

    use super::Sampler;
    use crate::model::Snapshot;
    use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
    use crate::sampling::Pacer;

    fn snapshot(nth: u64) -> Snapshot {
        let mut builder = SnapshotBuilder::new();
        builder.add(&GoroutineSpec { id: 1, frames: vec![frame("main.wait", "/w.go", 3)], ..Default::default() });
        let mut snapshot = builder.build();
        snapshot.goroutines[0].run_seq = Some(7);
        snapshot.monotonic_ns = NOW_NS + nth * 1_000_000_000;
        snapshot
    }

    /// However the time is divided, all of it is measured: the first three samples and their lateness do not
    /// count.
    #[test]
    fn a_watch_measures_at_least_as_long_as_it_is_asked_to() {
        for least in [20, 100, 333] {
            let started = std::time::Instant::now();
            let source = move || {
                let mut now = snapshot(0);
                now.monotonic_ns += u64::try_from(started.elapsed().as_nanos()).unwrap();
                Ok::<_, ()>(now)
            };
            let observed = Sampler::new(Box::new(source)).watch(Duration::from_millis(least)).unwrap();
            let age = observed.index().age(&observed.snapshot().goroutines[0]).expect("it has not run");
            assert!(age.is_measured() && age.at_least_ns >= least * 1_000_000, "{least} ms: {age:?}");
        }
    }

    #[test]
    fn samples_are_streamed_until_the_visitor_has_enough() {
        let mut nth = 0;
        let source = || {
            nth += 1;
            if nth > 6 { Err("it has ended") } else { Ok(snapshot(nth)) }
        };
        let mut sampler = Sampler::new(Box::new(source));
        let mut ages = Vec::new();
        let mut pacer = Pacer::every(Duration::from_millis(1));
        let streamed = sampler.stream(&mut pacer, |sample| {
            let index = sample.observed.index();
            ages.push(index.wait_ns(&sample.observed.snapshot().goroutines[0]).map(|ns| ns / 1_000_000_000));
            if ages.len() == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((streamed, pacer.begun()), (Ok(()), 5));
        assert_eq!(ages, [None, None, None, Some(1), Some(2)]);
        assert_eq!(sampler.latest().map(|latest| latest.snapshot().monotonic_ns), Some(NOW_NS + 5_000_000_000));
        let streamed = sampler.stream(&mut pacer, |_| ControlFlow::<()>::Continue(()));
        assert_eq!(streamed, Err("it has ended"));
    }
}
