//! Reads a program again and again, and knows what the readings before say about its waits.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cpu::cpu_time;
use super::pacer::Pacer;
use super::source::{SnapshotSource, SourceEnd, Successor};
use crate::analysis::series::{Observed, Watching};

/// How often a successor is looked for.
pub const LOOK: Duration = Duration::from_millis(500);

/// One reading.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The snapshot, with what the ones before say about its waits.
    pub observed: Arc<Observed>,
    /// CPU time that gospy used since the reading before.
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
    /// Of a source that was not read yet.
    #[must_use]
    pub fn new(source: Box<dyn SnapshotSource<E> + 'a>) -> Self {
        Self { source, successor: None, watching: Watching::default(), cpu: cpu_time() }
    }

    /// With somebody who looks for what takes the program's place once it has ended.
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

    /// Reads as often as `pacer` says, sleeping in between, until `visit` has seen enough.
    ///
    /// # Errors
    /// The first one of the source.
    pub fn stream(&mut self, pacer: &mut Pacer, mut visit: impl FnMut(Sample) -> ControlFlow<()>) -> Result<(), E> {
        let started = Instant::now();
        loop {
            std::thread::sleep(pacer.due().saturating_sub(started.elapsed()));
            pacer.begin(started.elapsed());
            let sample = self.read()?;
            pacer.end(sample.cost);
            if visit(sample).is_break() {
                return Ok(());
            }
        }
    }

    /// Whether somebody looks for a successor.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        self.successor.is_some()
    }

    /// Goes on with what has taken the place of the program that has ended: looks for it, and calls
    /// `pause` in between with how long to wait. False when `pause` gives up, or nobody looks.
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
        let streamed = sampler.stream(&mut pacer, |_| ControlFlow::Continue(()));
        assert_eq!(streamed, Err("it has ended"));
    }
}
