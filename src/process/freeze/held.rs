//! A running tracer, as a process or a thread, and the frozen threads that it holds.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::libc;
use rustc_hash::FxHashMap;

use super::calm::Calm;
use super::job::{self, Job, State};
use crate::process::description::{GeneralRegisters, Registers, Tid};
use crate::process::frozen::{Broken, Frozen};
use crate::process::syscalls::{self, End, TracerJob as _};

/// How long to wait for a tracer after its deadline.
pub(super) const GRACE: Duration = Duration::from_millis(100);
/// How often a tracer thread checks for ended threads of the target.
const REAPING: Duration = Duration::from_millis(1);
/// A tracer and its open files.
pub(super) enum Tracer {
    /// The process has its own copies of the files.
    Process { process: syscalls::Tracer<Job>, _task: File },
    /// `None` once joined.
    Thread(Option<(JoinHandle<()>, JoinHandle<()>)>),
}

impl Tracer {
    pub(super) fn process(job: &Arc<Job>, task: File, notify: PipeWriter) -> io::Result<Self> {
        let process = syscalls::spawn(Arc::clone(job))?;
        // The tracer's own copy is then the last one: its close shows the tracer's end.
        drop(notify);
        Ok(Self::Process { process, _task: task })
    }

    pub(super) fn thread(job: &Arc<Job>, task: File, notify: PipeWriter) -> io::Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let (tracer_job, reaper_job, tracer_done) = (Arc::clone(job), Arc::clone(job), Arc::clone(&done));
        // In another thread, since the tracer may be blocked in the kernel waiting for just that.
        let reaper = std::thread::Builder::new().name("freeze-reaper".into()).spawn(move || {
            while !done.load(SeqCst) {
                reaper_job.child_ended();
                std::thread::sleep(REAPING);
            }
        })?;
        let ended = EndsReaper(tracer_done);
        let tracer = std::thread::Builder::new().name("freeze".into()).spawn(move || {
            let _ended = ended;
            syscalls::hurry();
            tracer_job.run(None);
            drop((task, notify));
        })?;
        Ok(Self::Thread(Some((tracer, reaper))))
    }
}

/// Stops the reaper when dropped, whether or not the tracer started.
struct EndsReaper(Arc<AtomicBool>);

impl Drop for EndsReaper {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// A running tracer; ended on drop.
pub(super) struct Held {
    pub(super) job: Arc<Job>,
    tracer: Tracer,
    pub(super) ready: PipeReader,
    pub(super) started: Instant,
    _calm: Calm,
}

impl Held {
    /// `ready` is the read end of a pipe to which the tracer writes.
    pub(super) fn new(job: Arc<Job>, tracer: Tracer, ready: PipeReader, started: Instant, calm: Calm) -> Self {
        Self { job, tracer, ready, started, _calm: calm }
    }

    /// Makes the tracer release everything, and waits for its end; `None` if it does not end in time.
    pub(super) fn end(&mut self) -> Option<End> {
        self.job.release.store(1, SeqCst);
        syscalls::futex_wake(&self.job.release);
        let limit = self.job.limits.deadline.saturating_add(GRACE);
        // Sleep rather than spin: the tracer needs the CPU.
        let ended = syscalls::await_pipe(self.ready.as_raw_fd(), true, limit.saturating_sub(self.started.elapsed()));
        match &mut self.tracer {
            Tracer::Process { process, .. } => {
                if !ended {
                    process.kill();
                }
                Some(process.wait())
            }
            Tracer::Thread(threads) => {
                if ended && let Some((tracer, reaper)) = threads.take() {
                    // A tracer that panicked has ended too, which released everything.
                    let _ = tracer.join();
                    let _ = reaper.join();
                }
                threads.is_none().then_some(End::Exited(0))
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end();
    }
}

/// Threads that are frozen until this is dropped.
pub(super) struct LiveFrozen<'a> {
    threads: Vec<Tid>,
    registers: FxHashMap<Tid, (Registers, State)>,
    pub(super) held: Held,
    standing: Instant,
    /// Bound to the target's lifetime and to this thread: the tracer ends with it.
    target: PhantomData<(&'a (), *const ())>,
}

impl LiveFrozen<'_> {
    pub(super) fn new(held: Held) -> Self {
        let standing = Instant::now();
        let here = |state| matches!(state, State::Stopped | State::InKernel | State::Asleep);
        let entries = held.job.entries().iter().filter(|entry| here(entry.state()));
        let registers = entries.clone().filter_map(|entry| {
            let state = entry.state();
            // A thread in the kernel has none, though it may have been asleep before.
            let known = entry.registers().filter(|_| state != State::InKernel);
            known.map(|registers| (entry.tid(), (registers, state)))
        });
        let registers = registers.collect();
        let mut threads: Vec<Tid> = entries.map(job::Entry::tid).collect();
        threads.sort_unstable();
        Self { threads, registers, held, standing, target: PhantomData }
    }

    fn registers_in(&self, tid: Tid, state: State) -> Option<Registers> {
        self.registers.get(&tid).filter(|(_, in_state)| *in_state == state).map(|(registers, _)| *registers)
    }
}

impl Frozen for LiveFrozen<'_> {
    fn registers(&self, tid: Tid) -> Option<Registers> {
        self.registers_in(tid, State::Stopped)
    }

    fn asleep(&self, tid: Tid) -> Option<Registers> {
        self.registers_in(tid, State::Asleep)
    }

    fn general_registers(&self, tid: Tid) -> Option<GeneralRegisters> {
        self.registers_in(tid, State::Stopped)?;
        self.held.job.entries().iter().find(|entry| entry.tid() == tid)?.general()
    }

    fn threads(&self) -> &[Tid] {
        &self.threads
    }

    fn resume(mut self: Box<Self>) -> Result<Duration, Broken> {
        let end = self.held.end();
        let job = &self.held.job;
        let overdue = job.overdue.load(SeqCst) || end.is_none();
        match end {
            Some(End::Killed(signal))
                if signal != libc::SIGKILL || self.held.started.elapsed() < job.limits.deadline =>
            {
                return Err(Broken::Killed(signal));
            }
            Some(End::Exited(_)) if !overdue => {}
            _ => return Err(Broken::Overdue(job.limits.deadline)),
        }
        let moved: Vec<Tid> =
            job.entries().iter().filter(|entry| entry.moved.load(SeqCst)).map(job::Entry::tid).collect();
        if job.exec.load(SeqCst) {
            Err(Broken::Exec)
        } else if job.ended.load(SeqCst) {
            Err(Broken::Ended)
        } else if !moved.is_empty() {
            Err(Broken::Ran(moved))
        } else {
            Ok(job.stood().unwrap_or_else(|| self.standing.elapsed()))
        }
    }
}
