//! Reads a program repeatedly, and uses earlier samples to measure its waits.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cpu::cpu_time;
use super::pacer::Pacer;
use super::source::{SnapshotSource, SourceEnd, Successor};
use crate::analysis::same_wait::LEAST_INTERVALS;
use crate::analysis::series::{Observed, Watching};
use crate::model::ObjectAddr;

/// Number of intervals into which the watched time is divided.
const WATCH_PARTS: u32 = 8;
/// The shortest such interval.
const SHORTEST: Duration = Duration::from_millis(20);
/// The longest such interval: a goroutine that runs must be noticed.
const LONGEST: Duration = Duration::from_secs(5);

/// How often it looks for a successor.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// The first readings are whole. Between them, intervals pass in which goroutines could have run and have not, on which
/// measured waits rest; a program that is seen at rest from the beginning would have few of these.
const FIRST_IN_FULL: u8 = LEAST_INTERVALS + 1;

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
    doubts: Option<Doubts<'a>>,
    /// The goroutine that is looked at, by the address of its g.
    looked_at: Option<ObjectAddr>,
    /// Readings to come in which nothing is kept.
    in_full: u8,
    cpu: Duration,
}

/// Whether a sample would lead to an answer that must not rest on stacks of earlier samples.
type Doubts<'a> = Box<dyn FnMut(&Observed) -> bool + Send + 'a>;

impl<E> std::fmt::Debug for Sampler<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").field("has_successor", &self.successor.is_some()).finish_non_exhaustive()
    }
}

impl<'a, E> Sampler<'a, E> {
    /// For a source that was not read yet.
    #[must_use]
    pub fn new(source: Box<dyn SnapshotSource<E> + 'a>) -> Self {
        let (successor, doubts, looked_at) = (None, None, None);
        let (watching, in_full) = (Watching::default(), FIRST_IN_FULL);
        Self { source, successor, watching, doubts, looked_at, in_full, cpu: cpu_time() }
    }

    /// A sample with stacks of earlier ones that are not proven, and that `doubts` says must not be relied on, is read
    /// again in full, at once. So is one with findings that rest on such stacks.
    #[must_use]
    pub fn with_doubts(self, doubts: impl FnMut(&Observed) -> bool + Send + 'a) -> Self {
        Self { doubts: Some(Box::new(doubts)), ..self }
    }

    /// From now on, reads the stack of this goroutine each time; it is named by the address of its g.
    pub fn look_at(&mut self, goroutine: Option<ObjectAddr>) {
        if self.looked_at != goroutine {
            self.looked_at = goroutine;
            self.attend();
        }
    }

    /// The goroutines of findings, and the one that is looked at, are read each time, unless their stacks are proven to be
    /// the same: they are shown.
    fn attend(&mut self) {
        let Some(latest) = self.watching.latest() else { return };
        let goroutines = &latest.snapshot().goroutines;
        let found = latest.findings().iter().flat_map(|found| &found.positions);
        let found = found.filter_map(|&position| goroutines.get(position)).map(|goroutine| goroutine.addr);
        let attended: Vec<ObjectAddr> = found.chain(self.looked_at).collect();
        self.source.attend(&attended);
    }

    /// Whether what is shown of a sample would rest on stacks of earlier ones.
    fn is_doubtful(&mut self, observed: &Observed) -> bool {
        if observed.snapshot().reading.stacks.is_none_or(|stacks| stacks.kept == stacks.kept_proven) {
            return false;
        }
        let snapshot = observed.snapshot();
        let goroutines = &snapshot.goroutines;
        let is_open = |&position: &usize| goroutines.get(position).is_some_and(|g| !snapshot.has_certain_stack(g));
        observed.findings().iter().flat_map(|found| &found.positions).any(is_open)
            || self.doubts.as_mut().is_some_and(|doubts| doubts(observed))
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
        let snapshot = match self.in_full.checked_sub(1) {
            Some(left) => {
                self.in_full = left;
                self.source.next_in_full()?
            }
            None => self.source.next()?,
        };
        let before = self.watching.clone();
        let mut observed = self.watching.observe(snapshot);
        if self.is_doubtful(&observed) {
            let snapshot = self.source.next_in_full()?;
            // In the place of the first one: two that are close prove nothing.
            self.watching = before.clone();
            observed = self.watching.observe(snapshot);
        }
        if !before.latest().is_some_and(|before| observed.finds_the_same_as(before)) {
            self.attend();
        }
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
                self.in_full = FIRST_IN_FULL;
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
    use std::num::NonZeroU64;
    use std::ops::ControlFlow;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::Sampler;
    use crate::analysis::series::Observed;
    use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
    use crate::model::{ObjectAddr, Snapshot, StackReadings};
    use crate::sampling::{Pacer, SnapshotSource};

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

    /// A program whose stacks are kept, unless all is read.
    #[derive(Clone, Default)]
    struct Keeping {
        readings: Arc<Mutex<Vec<&'static str>>>,
        attended: Arc<Mutex<Vec<ObjectAddr>>>,
        reason: &'static str,
        is_proven: bool,
    }

    impl Keeping {
        fn read(&self, how: &'static str) -> Snapshot {
            let mut readings = self.readings.lock().unwrap();
            readings.push(how);
            let mut builder = SnapshotBuilder::new();
            builder.add(&GoroutineSpec {
                id: 7,
                reason: Some(self.reason),
                frames: vec![frame("main.wait", "/w.go", 3)],
                ..Default::default()
            });
            let mut snapshot = builder.build();
            snapshot.monotonic_ns = NOW_NS + readings.len() as u64;
            let is_kept = how == "kept" && !self.attended.lock().unwrap().contains(&snapshot.goroutines[0].addr);
            snapshot.reading.stacks = Some(StackReadings { kept: u64::from(is_kept), ..StackReadings::default() });
            snapshot.goroutines[0].stack_since_ns = NonZeroU64::new(u64::from(is_kept));
            snapshot.goroutines[0].stack_is_proven = is_kept && self.is_proven;
            snapshot
        }
    }

    impl SnapshotSource<()> for Keeping {
        fn next(&mut self) -> Result<Snapshot, ()> {
            Ok(self.read("kept"))
        }

        fn next_in_full(&mut self) -> Result<Snapshot, ()> {
            Ok(self.read("full"))
        }

        fn attend(&mut self, goroutines: &[ObjectAddr]) {
            *self.attended.lock().unwrap() = goroutines.to_vec();
        }
    }

    /// A finding is shown of what was read just now: the first time by reading all, then by reading its goroutines.
    #[test]
    fn findings_do_not_rest_on_kept_stacks() {
        let source = Keeping { reason: "chan receive (nil chan)", ..Keeping::default() };
        let (readings, attended) = (Arc::clone(&source.readings), Arc::clone(&source.attended));
        let mut sampler = Sampler { in_full: 0, ..Sampler::new(Box::new(source)) };
        for _ in 0..3 {
            let sample = sampler.read().unwrap();
            assert_eq!(sample.observed.findings().len(), 1);
            let goroutine = &sample.observed.snapshot().goroutines[0];
            assert_eq!(goroutine.stack_since_ns, None);
            assert_eq!(*attended.lock().unwrap(), [goroutine.addr]);
        }
        assert_eq!(*readings.lock().unwrap(), ["kept", "full", "kept", "kept"]);
    }

    /// What measured waits rest on are intervals between whole readings.
    #[test]
    fn the_first_readings_are_whole() {
        let source = Keeping { reason: "select", is_proven: true, ..Keeping::default() };
        let readings = Arc::clone(&source.readings);
        let mut sampler = Sampler::new(Box::new(source));
        for _ in 0..6 {
            sampler.read().unwrap();
        }
        assert_eq!(*readings.lock().unwrap(), ["full", "full", "full", "full", "kept", "kept"]);
    }

    /// One that is proven to be the same is as good.
    #[test]
    fn findings_rest_on_stacks_that_are_proven() {
        let source = Keeping { reason: "chan receive (nil chan)", is_proven: true, ..Keeping::default() };
        let readings = Arc::clone(&source.readings);
        let mut sampler = Sampler { in_full: 0, ..Sampler::new(Box::new(source)) };
        assert_eq!(sampler.read().unwrap().observed.findings().len(), 1);
        assert_eq!(*readings.lock().unwrap(), ["kept"]);
    }

    #[test]
    fn what_is_doubted_is_read_in_full_and_what_is_looked_at_each_time() {
        let source = Keeping { reason: "select", ..Keeping::default() };
        let (readings, attended) = (Arc::clone(&source.readings), Arc::clone(&source.attended));
        let mut asked = 0;
        let doubts = |_: &Observed| {
            asked += 1;
            asked == 2
        };
        let mut sampler = Sampler { in_full: 0, ..Sampler::new(Box::new(source)) }.with_doubts(doubts);
        for _ in 0..3 {
            sampler.read().unwrap();
        }
        assert_eq!(readings.lock().unwrap().split_off(0), ["kept", "kept", "full", "kept"]);
        // The reading that was replaced is none: it would count as an interval in which nothing ran.
        let addr = sampler.latest().unwrap().snapshot().goroutines[0].addr;
        assert_eq!(*attended.lock().unwrap(), []);
        sampler.look_at(Some(addr));
        assert_eq!(*attended.lock().unwrap(), [addr]);
        assert_eq!(sampler.read().unwrap().observed.snapshot().goroutines[0].stack_since_ns, None);
        sampler.look_at(None);
        assert_eq!(*attended.lock().unwrap(), []);
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
