//! A sampler on its own thread, so that a slow read blocks nothing else.
//!
//! The thread reads when it is asked to and at no other time; between two samples it sleeps. When the target
//! has ended and a successor is wanted, it looks for one periodically.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use super::sampler::{Sample, Sampler};
use super::source::SourceEnd;
use crate::model::ObjectAddr;

/// The result of a read.
#[derive(Clone, Debug)]
pub enum Report {
    /// It succeeded.
    Sample(Sample),
    /// It failed, or there is nothing left to read.
    End(SourceEnd),
    /// The target is back as another process.
    Returned,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Request {
    looked_at: Option<ObjectAddr>,
}

/// A program that is read on its own thread. The thread ends when this is dropped, after any read in
/// progress.
#[derive(Debug)]
pub struct Monitor {
    requests: Sender<Request>,
    /// It is not joined, since a read may take long.
    thread: JoinHandle<()>,
}

impl Monitor {
    /// Starts the thread. `report` is called on it with the result of each read, and returns whether there is
    /// still a receiver.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        mut sampler: Sampler<'static>,
        mut report: impl FnMut(Report) -> ControlFlow<()> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (requests, wanted) = channel();
        let thread = std::thread::Builder::new().name("gospy-reader".to_owned()).spawn(move || {
            while let Ok(Request { looked_at }) = wanted.recv() {
                sampler.look_at(looked_at);
                if serve(&mut sampler, &wanted, &mut report).is_break() {
                    return;
                }
            }
        })?;
        Ok(Self { requests, thread })
    }

    /// Whether the thread has ended, which only a panic can cause.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Asks for a sample, in which the stack of the goroutine that is looked at, if there is one, was read and not
    /// kept. It is named by the address of its g.
    pub fn read(&self, looked_at: Option<ObjectAddr>) {
        // A thread that has ended has reported it.
        let _ = self.requests.send(Request { looked_at });
    }
}

/// One sample.
fn serve(
    sampler: &mut Sampler<'static>,
    wanted: &Receiver<Request>,
    report: &mut impl FnMut(Report) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let end = match sampler.read() {
        Ok(sample) => return report(Report::Sample(sample)),
        Err(end) => end,
    };
    let ended = matches!(end, SourceEnd::Ended(_));
    report(Report::End(end))?;
    if !ended || !sampler.has_successor() {
        return ControlFlow::Continue(());
    }
    let found = sampler.wait_for_successor(|pause| match wanted.recv_timeout(pause) {
        Ok(_) | Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
        Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
    });
    if found { report(Report::Returned) } else { ControlFlow::Break(()) }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::{Monitor, Report};
    use crate::model::Snapshot;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder};
    use crate::sampling::{Sampler, SnapshotSource, SourceEnd, Successor};

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
        let (reports, happened) = channel();
        let mut left = 1;
        let source = move || {
            left -= 1;
            if left >= 0 { Ok(snapshot(1)) } else { Err(SourceEnd::Ended("gone".to_owned())) }
        };
        let sampler = Sampler::new(Box::new(source)).with_successor(Some(Box::new(Second)));
        let monitor = Monitor::start(sampler, move |report| {
            if reports.send(report).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .unwrap();
        assert!(happened.recv_timeout(Duration::from_millis(50)).is_err());
        monitor.read(None);
        let total = |report| match report {
            Report::Sample(sample) => sample.observed.counts().total,
            other => panic!("{other:?}"),
        };
        assert_eq!(total(happened.recv_timeout(LONG).unwrap()), 1);
        monitor.read(None);
        assert!(matches!(happened.recv_timeout(LONG).unwrap(), Report::End(SourceEnd::Ended(_))));
        assert!(matches!(happened.recv_timeout(LONG).unwrap(), Report::Returned));
        monitor.read(None);
        assert_eq!(total(happened.recv_timeout(LONG).unwrap()), 2);
        drop(monitor);
        assert!(happened.recv_timeout(LONG).is_err());
    }
}
