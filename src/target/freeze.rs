//! Stopping a running process for an exact picture, and letting it run on.
//!
//! `PTRACE_SEIZE` and `PTRACE_INTERRUPT` for every thread: neither sends a signal, and a process that
//! was stopped by one stays so. All ptrace calls are made by a thread of this module's own, since the
//! kernel wants them of one thread, and since it lets everything go that a thread traces when that
//! thread ends. That is what makes the end certain: after a panic, after `kill -9` or Ctrl-C, and for
//! a thread of the target that hangs in the kernel and cannot be detached in the ordinary way.
//!
//! A signal that was on its way to a thread when it was stopped is delivered when it runs on.
//! Registers and memory are only read.

use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;
use rustc_hash::{FxHashMap, FxHashSet};

use super::proc_dir::{Identity, ProcDir, means_gone};
use super::syscalls::{Change, change_of, detach};
use super::{FreezeWhich, Frozen, Registers, TargetError, Tid, permission};
use crate::addr::Addr;

/// How long all threads together may take to stop. They stand still meanwhile, and a thread that is
/// not stopped after so long is on a machine that is in trouble.
const DEADLINE: Duration = Duration::from_millis(250);
/// After so long, threads that are in the kernel and cannot be interrupted are left where they are.
const PATIENCE: Duration = Duration::from_millis(5);
/// How long is waited with the processor in hand, since a running thread stops within microseconds.
const SPIN: Duration = Duration::from_micros(300);
/// Pause between looks after that.
const PAUSE: Duration = Duration::from_micros(50);
/// How often the threads are listed at most until no new one appears.
const ROUNDS: usize = 64;

/// Threads that stand still until this is dropped.
struct LiveFrozen<'a> {
    threads: Vec<Tid>,
    registers: FxHashMap<Tid, Registers>,
    /// Dropped to let the target go.
    hold: Option<SyncSender<()>>,
    tracer: Option<JoinHandle<Duration>>,
    /// Not longer than the target, and for one thread only.
    target: PhantomData<(&'a (), *const ())>,
}

impl LiveFrozen<'_> {
    fn let_go(&mut self) -> Duration {
        self.hold = None;
        // A tracer that panicked has ended, and so everything is let go.
        self.tracer.take().and_then(|tracer| tracer.join().ok()).unwrap_or_default()
    }
}

impl Frozen for LiveFrozen<'_> {
    fn registers(&self, tid: Tid) -> Option<Registers> {
        self.registers.get(&tid).copied()
    }

    fn threads(&self) -> &[Tid] {
        &self.threads
    }

    fn resume(mut self: Box<Self>) -> Duration {
        self.let_go()
    }
}

impl Drop for LiveFrozen<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What a tracer tells when everything stands still.
struct Standing {
    threads: Vec<Tid>,
    registers: FxHashMap<Tid, Registers>,
}

/// Stops threads of the process of `dir`, if it is still the one of `identity`. A thread that has ended is left out; so that every thread
/// of a list may be missing.
///
/// # Errors
/// [`TargetError::Traced`], [`TargetError::Permission`], [`TargetError::NoSuchProcess`], and
/// [`TargetError::Unsupported`] when a thread does not stop in time or the process is this one. All
/// threads run on then.
pub(super) fn freeze<'a>(
    dir: &'a ProcDir,
    identity: Identity,
    which: &FreezeWhich,
) -> Result<Box<dyn Frozen + 'a>, TargetError> {
    let pid = dir.pid();
    if u32::try_from(pid) == Ok(std::process::id()) {
        return Err(TargetError::Unsupported("gospy cannot stop itself".into()));
    }
    refuse_traced(dir, pid)?;
    // A descriptor of its own, as the tracer may outlive a guard that is leaked.
    let tracer_dir = ProcDir::open(pid).map_err(|e| failed(pid, e))?;
    if !tracer_dir.identity().is_ok_and(|now| identity.is_still(&now)) {
        return Err(TargetError::NoSuchProcess { pid });
    }
    let (say, standing) = sync_channel(1);
    let (hold, held) = sync_channel(0);
    let which = which.clone();
    let tracer = std::thread::Builder::new()
        .name("freeze".into())
        .spawn(move || Tracer::new(tracer_dir).run(&which, &say, &held))
        .map_err(|source| TargetError::Io { what: "starting a thread that stops the target".into(), source })?;
    match standing.recv() {
        Ok(Ok(Standing { threads, registers })) => {
            let (hold, tracer) = (Some(hold), Some(tracer));
            Ok(Box::new(LiveFrozen { threads, registers, hold, tracer, target: PhantomData }))
        }
        Ok(Err(e)) => {
            // It has let everything go before it said so; its end makes that certain.
            let _ = tracer.join();
            Err(e)
        }
        Err(_) => Err(TargetError::Unsupported("the thread that stops the target ended too early".into())),
    }
}

fn failed(pid: i32, e: std::io::Error) -> TargetError {
    if means_gone(&e) {
        TargetError::NoSuchProcess { pid }
    } else {
        TargetError::Io { what: format!("/proc/{pid}"), source: e }
    }
}

/// An error if somebody else traces the thread.
fn refuse_traced(dir: &ProcDir, tid: Tid) -> Result<(), TargetError> {
    match dir.thread_status(tid).map(|status| status.tracerpid) {
        Ok(0) => Ok(()),
        Ok(thread) => {
            // It is a thread that traces, and a process that a user knows.
            let tracer = ProcDir::open(thread).and_then(|dir| dir.status()).map_or(thread, |status| status.tgid);
            let comm = ProcDir::open(tracer).and_then(|dir| dir.stat()).map(|stat| stat.comm);
            let comm = comm.unwrap_or_else(|_| "name unknown".into());
            Err(TargetError::Traced { pid: dir.pid(), tracer, comm })
        }
        Err(e) => Err(failed(dir.pid(), e)),
    }
}

/// How far a thread has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Interrupted, and to stop soon.
    Stopping,
    /// It stands still, with the number of the signal that it was about to receive, or 0.
    Stopped(i32),
    /// It is in the kernel where it cannot be interrupted, and will stop before it comes back.
    InKernel,
    /// It has ended.
    Ended,
}

struct Tracer {
    dir: ProcDir,
    threads: Vec<(Tid, Progress)>,
    known: FxHashSet<Tid>,
    since: Option<Instant>,
}

impl Tracer {
    fn new(dir: ProcDir) -> Self {
        Self { dir, threads: Vec::new(), known: FxHashSet::default(), since: None }
    }

    /// All of a tracer's life: stop, say so, wait until it is let go, resume.
    fn run(
        mut self,
        which: &FreezeWhich,
        say: &SyncSender<Result<Standing, TargetError>>,
        held: &Receiver<()>,
    ) -> Duration {
        match self.stop(which) {
            Ok(()) => {
                let registers = self.registers();
                let threads = self.threads.iter().filter(|(_, progress)| *progress != Progress::Ended);
                let mut threads: Vec<Tid> = threads.map(|&(tid, _)| tid).collect();
                threads.sort_unstable();
                if say.send(Ok(Standing { threads, registers })).is_ok() {
                    // Nothing is ever sent; it ends when the other side is dropped.
                    let _ = held.recv();
                }
                self.resume()
            }
            Err(e) => {
                let stood = self.resume();
                let _ = say.send(Err(e));
                stood
            }
        }
    }

    fn stop(&mut self, which: &FreezeWhich) -> Result<(), TargetError> {
        match which {
            FreezeWhich::Threads(tids) => {
                let ours: Vec<Tid> = tids.iter().copied().filter(|&tid| self.dir.thread_stat(tid).is_ok()).collect();
                self.stop_these(&ours).map(drop)
            }
            FreezeWhich::All => {
                for _ in 0..ROUNDS {
                    let tids = self.dir.tids().map_err(|e| failed(self.dir.pid(), e))?;
                    // A thread that stands still starts no other: once nothing new is there, that is all.
                    if self.stop_these(&tids)? == 0 {
                        return Ok(());
                    }
                }
                let pid = self.dir.pid();
                Err(TargetError::Unsupported(format!("process {pid} starts threads faster than they can be stopped")))
            }
        }
    }

    /// Seizes, interrupts and awaits those that are not known yet, and says how many they were.
    fn stop_these(&mut self, tids: &[Tid]) -> Result<usize, TargetError> {
        let first = self.threads.len();
        for &tid in tids {
            if self.known.insert(tid) && self.seize(tid)? {
                self.threads.push((tid, Progress::Stopping));
            }
        }
        self.since.get_or_insert_with(Instant::now);
        let new = self.threads.get_mut(first..).unwrap_or_default();
        for (tid, progress) in &mut *new {
            if ptrace::interrupt(Pid::from_raw(*tid)).is_err() {
                // ESRCH is the only error for a seized thread. Its end is still to be waited for.
                *progress = Progress::Ended;
            }
        }
        let count = new.len();
        self.await_stops(first)?;
        Ok(count)
    }

    /// Seizes a thread, which does not stop it. False for one that has ended.
    fn seize(&self, tid: Tid) -> Result<bool, TargetError> {
        let errno = match ptrace::seize(Pid::from_raw(tid), ptrace::Options::empty()) {
            // Should the id have gone to another process, it is let go unharmed at the tracer's end.
            Ok(()) => return Ok(self.dir.thread_stat(tid).is_ok()),
            Err(errno) => errno,
        };
        let state = self.dir.thread_stat(tid).map(|stat| stat.state);
        match (errno, state) {
            (Errno::ESRCH, _) | (_, Err(_) | Ok('Z' | 'X')) => Ok(false),
            (Errno::EPERM, _) => {
                refuse_traced(&self.dir, tid)?;
                Err(permission::refused(self.dir.pid()))
            }
            (errno, _) => Err(TargetError::Unsupported(format!("stopping thread {tid}: {}", errno.desc()))),
        }
    }

    fn await_stops(&mut self, first: usize) -> Result<(), TargetError> {
        let start = Instant::now();
        loop {
            let mut left = 0;
            for (tid, progress) in self.threads.iter_mut().skip(first) {
                if *progress == Progress::Stopping {
                    *progress = look_at(*tid).unwrap_or(Progress::Stopping);
                    left += usize::from(*progress == Progress::Stopping);
                }
            }
            let waited = start.elapsed();
            if left == 0 {
                return Ok(());
            } else if waited < SPIN {
                std::thread::yield_now();
                continue;
            } else if waited > PATIENCE {
                self.leave_those_in_the_kernel(first);
            }
            if waited > DEADLINE {
                return self.refuse_running(first);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// A thread in state D runs none of its own code, and with the interruption pending it stops
    /// before it does.
    fn leave_those_in_the_kernel(&mut self, first: usize) {
        let Self { dir, threads, .. } = self;
        for (tid, progress) in threads.iter_mut().skip(first) {
            if *progress == Progress::Stopping && dir.thread_stat(*tid).is_ok_and(|stat| stat.state == 'D') {
                *progress = Progress::InKernel;
            }
        }
    }

    fn refuse_running(&self, first: usize) -> Result<(), TargetError> {
        let running = self.threads.iter().skip(first).find(|(_, progress)| *progress == Progress::Stopping);
        running.map_or(Ok(()), |(tid, _)| {
            let state = self.dir.thread_stat(*tid).map_or('?', |stat| stat.state);
            let (pid, ms) = (self.dir.pid(), DEADLINE.as_millis());
            Err(TargetError::Unsupported(format!(
                "thread {tid} (state {state}) of process {pid} did not stop within {ms} ms; all threads run on"
            )))
        })
    }

    fn registers(&self) -> FxHashMap<Tid, Registers> {
        let stopped = self.threads.iter().filter(|(_, progress)| matches!(progress, Progress::Stopped(_)));
        stopped.filter_map(|&(tid, _)| Some((tid, registers_of(tid)?))).collect()
    }

    /// Lets every thread run on, and says how long it was since the first was interrupted.
    fn resume(&mut self) -> Duration {
        for (tid, progress) in &mut self.threads {
            if let Progress::Stopping | Progress::InKernel = progress {
                *progress = look_at(*tid).unwrap_or(*progress);
            }
            let signal = match progress {
                Progress::Stopped(signal) => *signal,
                // The end of this thread lets go of it.
                Progress::Stopping | Progress::InKernel => continue,
                Progress::Ended => 0,
            };
            // Killed in the meantime: its end is to be taken notice of, or its parent never learns.
            if detach(*tid, signal).is_err() {
                let _ = change_of(*tid);
            }
        }
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

/// What has become of a thread that was interrupted, if anything.
fn look_at(tid: Tid) -> Option<Progress> {
    match change_of(tid) {
        Ok(Some(Change::Stopped { signal })) => Some(Progress::Stopped(signal)),
        Ok(Some(Change::Ended)) | Err(Errno::ECHILD) => Some(Progress::Ended),
        Ok(None) | Err(_) => None,
    }
}

#[cfg(target_arch = "x86_64")]
fn registers_of(tid: Tid) -> Option<Registers> {
    let regs = ptrace::getregs(Pid::from_raw(tid)).ok()?;
    Some(Registers { pc: Addr(regs.rip), sp: Addr(regs.rsp), lr: Addr(0), fp: Addr(regs.rbp), g: Addr(regs.r14) })
}

#[cfg(target_arch = "aarch64")]
fn registers_of(tid: Tid) -> Option<Registers> {
    let regs = ptrace::getregs(Pid::from_raw(tid)).ok()?;
    let [.., g, fp, lr] = regs.regs;
    Some(Registers { pc: Addr(regs.pc), sp: Addr(regs.sp), lr: Addr(lr), fp: Addr(fp), g: Addr(g) })
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn registers_of(_: Tid) -> Option<Registers> {
    None
}

#[cfg(test)]
#[path = "freeze_tests.rs"]
mod tests;
