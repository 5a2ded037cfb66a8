//! Stopping a running process for an exact picture, and letting it run on.
//!
//! `PTRACE_SEIZE` and `PTRACE_INTERRUPT` for every thread: neither sends a signal, and a process that
//! was stopped by one stays so. All of it is done by a tracer, a process of its own for each freeze
//! ([`tracer`]), which the kernel kills at a deadline, and when gospy ends, however that happens: and
//! when it ends, everything that it traces runs on, with the signals that it was about to receive.
//! So there is nothing that gospy has to do for the target to run on.
//!
//! * Threads that sleep in a system call that a stop would make fail are left asleep ([`calls`]); that
//!   they did not run is proven by the kernel's count of their runs, or else the freeze was none.
//! * An `execve` of the target waits until the tracer has taken notice of the end of each of its threads,
//!   while a seizure waits for the `execve`; so the tracer does the one amid the other.
//! * The kernel may refuse a tracer that is a process of its own, and not one that is a thread of the
//!   target's parent (Yama's scope 1, for programs that gospy started). Then it is a thread, which lets
//!   everything go at its end too, but which nobody can kill alone at a deadline.
//!
//! Registers and memory are only read.

mod calls;
mod calm;
mod held;
mod job;
mod tasks;
mod tracer;

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use self::calm::Calm;
pub use self::calm::await_none_held;
use self::held::{GRACE, Held, LiveFrozen, Tracer};
use self::job::{Job, Limits, Order, Outcome};
use super::permission::{self, Facts};
use super::presence::{has_live_thread, refuse_unreadable};
use super::proc_dir::{Identity, ProcDir, means_gone};
use super::syscalls::{self, End};
use super::{FreezeOptions, FreezeWhich, Frozen, TargetError, Tid};

/// How long all threads together may take to stop. They stand still meanwhile, and a thread that is
/// not stopped after so long is on a machine that is in trouble.
const STOP: Duration = Duration::from_millis(300);
/// Likewise where a signal has stopped it before: it stands still anyway, and each thread has to be given
/// a processor before it is seized.
const STOP_OF_STOPPED: Duration = Duration::from_secs(3);
/// The name of a tracer (`comm`).
const NAME: &str = "gospy-freeze";
/// How often stopping is tried when the target changed under it, or the tracer was killed.
const TRIES: usize = 2;

/// Stops threads of the process of `dir`, if it is still the one of `identity`. A thread that has ended
/// is left out; so that every thread of a list may be missing.
///
/// # Errors
/// [`TargetError::Traced`], [`TargetError::Permission`], [`TargetError::NoSuchProcess`],
/// [`TargetError::Replaced`], [`TargetError::Filtered`] unless `allow_filtered`, and
/// [`TargetError::Unsupported`] when a thread does not stop in time or the process is this one. All
/// threads run on then.
pub(super) fn freeze<'a>(
    dir: &'a ProcDir,
    identity: Identity,
    which: &FreezeWhich,
    options: &FreezeOptions,
    allow_filtered: bool,
) -> Result<Box<dyn Frozen + 'a>, TargetError> {
    match stop(dir, identity, which, options, allow_filtered) {
        Err(TargetError::NoSuchProcess { .. }) => Err(what_became_of(dir, identity)),
        result => result,
    }
}

/// The error for a process that seems to be gone. Amid an `execve` by another thread than the main one,
/// that one is for a moment a zombie, and the pid belongs to none for another; so it is looked at again.
fn what_became_of(dir: &ProcDir, identity: Identity) -> TargetError {
    /// The last look is after a quarter of a second: other threads of a program have to end first.
    const PAUSES_MS: [u64; 9] = [0, 1, 2, 4, 8, 16, 32, 64, 128];
    let pid = dir.pid();
    for pause in PAUSES_MS {
        std::thread::sleep(Duration::from_millis(pause));
        match dir.identity() {
            Ok(now) if identity.is_replaced(&now) => return TargetError::Replaced { pid },
            _ if !has_live_thread(pid) => return TargetError::NoSuchProcess { pid },
            _ => {}
        }
    }
    if let Some(error) = dir.stat().ok().and_then(|stat| refuse_unreadable(pid, &stat).err()) {
        return error;
    }
    if dir.identity().is_ok_and(|now| identity.is_still(&now)) {
        // A thread had the id of one that had ended, say.
        return TargetError::Unsupported(format!(
            "process {pid} changed while it was being stopped; all threads run on"
        ));
    }
    TargetError::NoSuchProcess { pid }
}

fn stop<'a>(
    dir: &'a ProcDir,
    identity: Identity,
    which: &FreezeWhich,
    options: &FreezeOptions,
    allow_filtered: bool,
) -> Result<Box<dyn Frozen + 'a>, TargetError> {
    let pid = dir.pid();
    if u32::try_from(pid) == Ok(std::process::id()) {
        return Err(TargetError::Unsupported("gospy cannot stop itself".into()));
    }
    refuse_traced(dir, pid)?;
    let ordinary = ordinary(dir, which, allow_filtered)?;
    let request = Request { dir, identity, which, options, allow_filtered, ordinary };
    let mut kind = Kind::Process;
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match request.stop(kind) {
            Ok(frozen) => return Ok(Box::new(frozen)),
            Err(NotStopped::Refused) if kind == Kind::Process && allowed_to_threads(&Facts::gather(pid)) => {
                (kind, tries) = (Kind::Thread, TRIES);
            }
            Err(NotStopped::Refused) => return Err(permission::refused(pid)),
            Err(NotStopped::Exec | NotStopped::Killed(_)) if tries > 0 && request.is_still_there() => {}
            Err(NotStopped::Exec) => return Err(request.replaced()),
            Err(NotStopped::Killed(signal)) => {
                let what = format!("the process that stops process {pid} was killed by signal {signal}");
                return Err(TargetError::Unsupported(what));
            }
            Err(NotStopped::Error(error)) => return Err(error),
        }
    }
}

fn failed(pid: i32, e: io::Error) -> TargetError {
    if means_gone(&e) {
        TargetError::NoSuchProcess { pid }
    } else {
        TargetError::Io { what: format!("/proc/{pid}"), source: e }
    }
}

/// The threads that are to be stopped and have no filter of system calls, of which each thread may have one
/// of its own; but those of the kernel. An error if one has a filter, unless that is allowed.
fn ordinary(dir: &ProcDir, which: &FreezeWhich, allowed: bool) -> Result<Vec<Tid>, TargetError> {
    let pid = dir.pid();
    let tids = match which {
        FreezeWhich::All => dir.tids().map_err(|e| failed(pid, e))?,
        FreezeWhich::Threads(tids) => tids.clone(),
    };
    let mut ordinary = Vec::with_capacity(tids.len());
    for tid in tids {
        match dir.thread_status(tid) {
            Ok(status) if status.seccomp.is_none_or(|mode| mode == 0) => {
                let stat = dir.thread_stat(tid);
                if stat.is_ok_and(|stat| !tasks::means_worker(stat.flags.into(), stat.comm.as_bytes())) {
                    ordinary.push(tid);
                }
            }
            Ok(_) if allowed => {}
            Ok(_) => return Err(TargetError::Filtered { pid }),
            Err(e) if means_gone(&e) => {}
            Err(e) => return Err(failed(pid, e)),
        }
    }
    Ok(ordinary)
}

/// An error if somebody else traces the thread.
fn refuse_traced(dir: &ProcDir, tid: Tid) -> Result<(), TargetError> {
    match dir.thread_status(tid).map(|status| status.tracerpid) {
        Ok(0) => Ok(()),
        Ok(thread) => Err(traced(dir.pid(), thread)),
        Err(e) => Err(failed(dir.pid(), e)),
    }
}

/// It is a thread that traces, and a process that a user knows: of another gospy's tracer, that gospy.
fn traced(pid: i32, thread: Tid) -> TargetError {
    let status = ProcDir::open(thread).and_then(|dir| dir.status());
    let tracer = status.map_or(thread, |status| if status.name == NAME { status.ppid } else { status.tgid });
    let comm = ProcDir::open(tracer).and_then(|dir| dir.stat()).map(|stat| stat.comm);
    let comm = comm.unwrap_or_else(|_| "name unknown".into());
    TargetError::Traced { pid, tracer, comm }
}

/// Whether the kernel lets threads of this process trace a target that it refuses to children of it.
/// `security/yama/yama_lsm.c`: in scope 1 a tracer has to be an ancestor of its target, or be able to
/// trace anybody, or a descendant of a process that the target named.
fn allowed_to_threads(facts: &Facts) -> bool {
    facts.yama == Some(1) && facts.descendant && !facts.capable()
}

/// What the tracer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Process,
    Thread,
}

/// Why nothing stands still.
enum NotStopped {
    /// The kernel does not let the tracer.
    Refused,
    /// The target changed under it.
    Exec,
    /// The tracer was killed.
    Killed(i32),
    Error(TargetError),
}

struct Request<'a, 'o> {
    dir: &'a ProcDir,
    identity: Identity,
    which: &'o FreezeWhich,
    options: &'o FreezeOptions,
    allow_filtered: bool,
    /// Threads that have no filter of system calls and are none of the kernel's.
    ordinary: Vec<Tid>,
}

impl<'a> Request<'a, '_> {
    fn stop(&self, kind: Kind) -> Result<LiveFrozen<'a>, NotStopped> {
        let pid = self.dir.pid();
        let gone = |e| NotStopped::Error(failed(pid, e));
        if !self.is_still_there() {
            return Err(NotStopped::Error(self.replaced()));
        }
        let stat = self.dir.stat().map_err(gone)?;
        let task = self.dir.file("task").map_err(gone)?;
        let (ready, notify) = io::pipe().map_err(|source| {
            NotStopped::Error(TargetError::Io { what: "making a pipe to stop the target".into(), source })
        })?;
        let stop = if stat.state == 'T' { STOP_OF_STOPPED } else { STOP };
        let deadline = stop.saturating_add(self.options.hold);
        let order = Order {
            pid,
            which: self.which,
            resilient: self.options.resilient.clone(),
            allow_filtered: self.allow_filtered,
            ordinary: self.ordinary.clone(),
            spare_leader: kind == Kind::Thread && u32::try_from(stat.ppid) == Ok(std::process::id()),
            limits: Limits { stop, deadline },
            threads: usize::try_from(stat.num_threads).unwrap_or_default(),
        };
        let job = Arc::new(Job::new(order, task.as_raw_fd(), notify.as_raw_fd()));
        let calm = Calm::begin();
        let started = Instant::now();
        let tracer = match kind {
            Kind::Process => Tracer::process(&job, task, notify),
            Kind::Thread => Tracer::thread(&job, task, notify),
        };
        let tracer = tracer.map_err(|source| {
            NotStopped::Error(TargetError::Io { what: "starting a process that stops the target".into(), source })
        })?;
        let mut held = Held::new(job, tracer, ready, started, calm);
        syscalls::await_pipe(held.ready.as_raw_fd(), false, deadline.saturating_add(GRACE));
        let Some(outcome) = held.job.outcome() else { return Err(self.ended_early(&mut held)) };
        if outcome != Outcome::Standing {
            held.end();
            return Err(self.not_standing(outcome, stop));
        }
        // It may have called `execve` before the first of its threads was seized; now it cannot.
        if !self.is_still_there() {
            held.end();
            return Err(NotStopped::Error(self.replaced()));
        }
        Ok(LiveFrozen::new(held))
    }

    fn is_still_there(&self) -> bool {
        self.dir.identity().is_ok_and(|now| self.identity.is_still(&now))
    }

    /// The error for a process that is not the one any more that was opened.
    fn replaced(&self) -> TargetError {
        let pid = self.dir.pid();
        match self.dir.identity() {
            Ok(now) if self.identity.is_replaced(&now) => TargetError::Replaced { pid },
            _ => TargetError::NoSuchProcess { pid },
        }
    }

    /// The tracer has ended without an answer, or is stuck.
    fn ended_early(&self, held: &mut Held) -> NotStopped {
        let pid = self.dir.pid();
        let end = held.end();
        let text = match end {
            Some(End::Killed(_)) if held.started.elapsed() >= held.job.limits.first() => {
                let ms = held.job.limits.first().as_millis();
                format!("process {pid} could not be stopped within {ms} ms; all threads run on")
            }
            Some(End::Killed(signal)) => return NotStopped::Killed(signal),
            Some(End::Exited(syscalls::NO_TIMER)) => {
                format!("process {pid} is not stopped: the kernel gave no timer that would let it run on for certain")
            }
            Some(End::Exited(status)) => {
                format!("the process that stops process {pid} ended too early, with status {status}")
            }
            // Only a thread, which cannot be killed.
            None => format!(
                "the kernel does not come back from stopping process {pid}, which runs on for certain when gospy ends"
            ),
        };
        NotStopped::Error(TargetError::Unsupported(text))
    }

    fn not_standing(&self, outcome: Outcome, limit: Duration) -> NotStopped {
        let pid = self.dir.pid();
        NotStopped::Error(match outcome {
            Outcome::Standing | Outcome::Gone => TargetError::NoSuchProcess { pid },
            Outcome::Traced(tracer) => traced(pid, tracer),
            Outcome::Refused(_) => return NotStopped::Refused,
            Outcome::Exec => return NotStopped::Exec,
            Outcome::Filtered => TargetError::Filtered { pid },
            Outcome::Slow(tid, state) => {
                let (state, ms) = (char::from(state), limit.as_millis());
                let what = format!("thread {tid} (state {state}) of process {pid} did not stop within {ms} ms");
                TargetError::Unsupported(format!("{what}; all threads run on"))
            }
            Outcome::Endless => {
                TargetError::Unsupported(format!("process {pid} starts threads faster than they can be stopped"))
            }
            Outcome::Failed(tid, errno) => {
                let why = Errno::from_raw(errno).desc();
                TargetError::Unsupported(format!("stopping thread {tid} of process {pid}: {why}"))
            }
        })
    }
}

#[cfg(test)]
#[path = "freeze_tests.rs"]
mod tests;
