//! Reading on a thread of its own, so that a slow reading never keeps a key waiting.
//!
//! The thread reads when it is told to and at no other time; between two readings it sleeps. When
//! the target has ended and a successor is wanted, it looks for one now and then.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::time::ClockId;

use super::source::{SnapshotSource, SourceEnd, Successor};
use super::state::Event;
use super::watch::Watch;

/// How often a successor is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// CPU time that this process has used so far, all threads together.
#[must_use]
pub fn cpu_time() -> Duration {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from)
}

/// The thread that reads. It ends when this is dropped, at the end of a reading that goes on.
#[derive(Debug)]
pub struct Worker {
    requests: Sender<()>,
    /// It is not waited for, since a reading may take long.
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts it. What it finds goes to `events`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start<E: From<Event> + Send + 'static>(
        source: Box<dyn SnapshotSource>,
        successor: Option<Box<dyn Successor>>,
        events: Sender<E>,
    ) -> std::io::Result<Self> {
        let (requests, wanted) = channel();
        let thread = std::thread::Builder::new().name("gospy-reader".to_owned()).spawn(move || {
            let mut reader = Reader { source, successor, watch: Watch::default(), cpu: cpu_time() };
            // An error means that nobody listens any more.
            let _ = reader.run(&wanted, &events);
        })?;
        Ok(Self { requests, thread })
    }

    /// Whether the thread is there no more, which only a panic can cause.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Asks for a reading.
    pub fn read(&self) {
        // A thread that has ended has said so.
        let _ = self.requests.send(());
    }
}

struct Reader {
    source: Box<dyn SnapshotSource>,
    successor: Option<Box<dyn Successor>>,
    watch: Watch,
    cpu: Duration,
}

impl Reader {
    fn run<E: From<Event>>(&mut self, wanted: &Receiver<()>, events: &Sender<E>) -> Result<(), Gone> {
        while wanted.recv().is_ok() {
            match self.source.next() {
                Ok(snapshot) => {
                    let observed = self.watch.observe(snapshot);
                    let now = cpu_time();
                    let cost = now.saturating_sub(std::mem::replace(&mut self.cpu, now));
                    events.send(Event::Snapshot { observed, cost }.into()).map_err(|_| Gone)?;
                }
                Err(end) => {
                    let ended = matches!(end, SourceEnd::Ended(_));
                    events.send(Event::SourceEnd(end).into()).map_err(|_| Gone)?;
                    if ended && self.successor.is_some() {
                        self.wait_for_successor(wanted)?;
                        self.watch.reset();
                        events.send(Event::Returned.into()).map_err(|_| Gone)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn wait_for_successor(&mut self, wanted: &Receiver<()>) -> Result<(), Gone> {
        loop {
            if let Some(source) = self.successor.as_mut().and_then(|successor| successor.find()) {
                self.source = source;
                return Ok(());
            }
            match wanted.recv_timeout(LOOK) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
            }
        }
    }
}

/// Nobody listens any more.
struct Gone;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::Worker;
    use crate::model::Snapshot;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder};
    use crate::top::source::{SnapshotSource, SourceEnd, Successor};
    use crate::top::state::Event;

    const LONG: Duration = Duration::from_secs(20);

    fn snapshot(goroutines: u64) -> Snapshot {
        let mut builder = SnapshotBuilder::new();
        for id in 1..=goroutines {
            builder.add(&GoroutineSpec { id, ..Default::default() });
        }
        builder.build()
    }

    struct Second;

    impl Successor for Second {
        fn find(&mut self) -> Option<Box<dyn SnapshotSource>> {
            Some(Box::new(|| Ok(snapshot(2))))
        }
    }

    #[test]
    fn it_reads_when_asked_and_goes_on_with_the_successor() {
        let (events, happened) = channel::<Event>();
        let mut left = 1;
        let source = move || {
            left -= 1;
            if left >= 0 { Ok(snapshot(1)) } else { Err(SourceEnd::Ended("gone".to_owned())) }
        };
        let worker = Worker::start(Box::new(source), Some(Box::new(Second)), events).unwrap();
        assert!(happened.recv_timeout(Duration::from_millis(50)).is_err());
        worker.read();
        let total = |event| match event {
            Event::Snapshot { observed, .. } => observed.counts().total,
            other => panic!("{other:?}"),
        };
        assert_eq!(total(happened.recv_timeout(LONG).unwrap()), 1);
        worker.read();
        assert!(matches!(happened.recv_timeout(LONG).unwrap(), Event::SourceEnd(SourceEnd::Ended(_))));
        assert!(matches!(happened.recv_timeout(LONG).unwrap(), Event::Returned));
        worker.read();
        assert_eq!(total(happened.recv_timeout(LONG).unwrap()), 2);
        drop(worker);
        assert!(happened.recv_timeout(LONG).is_err());
    }
}
