//! Stopping a running process for an exact snapshot, and resuming it.
//!
//! Uses `PTRACE_SEIZE` and `PTRACE_INTERRUPT` on every thread: neither sends a signal, and a process that a
//! signal had stopped stays stopped. A separate tracer process for each freeze ([`tracer`]) does this. The
//! kernel kills it at a deadline, and when gospy ends for any reason. When the tracer ends, its tracees resume
//! and receive their pending signals. So the target resumes even if gospy does nothing.
//!
//! * Threads asleep in a system call that a stop would make fail are left asleep ([`calls`]). The kernel's run
//!   counters prove that they did not run; if one did, the freeze is broken.
//! * An `execve` of the target waits until the tracer has reaped each of its threads, while `PTRACE_SEIZE`
//!   waits for the `execve`; so the tracer reaps in a signal handler, even while seizing.
//! * The kernel may refuse a separate tracer process but allow a thread of the target's parent (Yama scope 1,
//!   for programs that gospy started). Then the tracer is a thread: its end also releases everything, but it
//!   cannot be killed alone at a deadline.
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

/// How long all threads together may take to stop. The first ones stand still meanwhile, and a machine where a
/// thread takes longer is overloaded.
const STOP: Duration = Duration::from_millis(300);
/// The same for a process already stopped by a signal: it stands still anyway, and each thread has to be
/// scheduled before it is seized.
const STOP_OF_STOPPED: Duration = Duration::from_secs(3);
/// The tracer's name (`comm`).
const NAME: &str = "gospy-freeze";
/// Attempts to stop a target that changes meanwhile, or whose tracer is killed.
const TRIES: usize = 2;

/// Stops threads of the process of `dir`, if it still has this `identity`. Ended threads are left out, so the
/// result may be empty.
///
/// # Errors
/// [`TargetError::Traced`], [`TargetError::Permission`], [`TargetError::NoSuchProcess`],
/// [`TargetError::Replaced`], [`TargetError::Filtered`] unless `allow_filtered`, and
/// [`TargetError::Unsupported`] when a thread does not stop in time or the process is this one. All threads are
/// running then.
pub(super) fn freeze<'a>(
    dir: &'a ProcDir,
    identity: Identity,
    which: &FreezeWhich,
    options: &FreezeOptions,
    allow_filtered: bool,
) -> Result<Box<dyn Frozen + 'a>, TargetError> {
    match stop(dir, identity, which, options, allow_filtered) {
        Err(TargetError::NoSuchProcess { .. }) => Err(gone_error(dir, identity)),
        result => result,
    }
}

/// The error for a process that seems to be gone. During an `execve` by a thread other than the main one, the
/// main thread is briefly a zombie, and then the pid briefly does not exist; so this checks again.
fn gone_error(dir: &ProcDir, identity: Identity) -> TargetError {
    /// The last check is after a quarter of a second: the program's other threads have to end first.
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
        // For example, a thread id was reused.
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
            Err(NotStopped::Exec | NotStopped::Killed(_)) if tries > 0 && request.still_the_same() => {}
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

/// The threads to stop that have no seccomp filter (each thread may have its own), except kernel workers. An
/// error if one has a filter, unless that is allowed.
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

/// An error if the thread already has a tracer.
fn refuse_traced(dir: &ProcDir, tid: Tid) -> Result<(), TargetError> {
    match dir.thread_status(tid).map(|status| status.tracerpid) {
        Ok(0) => Ok(()),
        Ok(thread) => Err(traced(dir.pid(), thread)),
        Err(e) => Err(failed(dir.pid(), e)),
    }
}

/// Names the tracing process rather than its thread; for another gospy's tracer, that gospy.
fn traced(pid: i32, thread: Tid) -> TargetError {
    let status = ProcDir::open(thread).and_then(|dir| dir.status());
    let tracer = status.map_or(thread, |status| if status.name == NAME { status.ppid } else { status.tgid });
    let comm = ProcDir::open(tracer).and_then(|dir| dir.stat()).map(|stat| stat.comm);
    let comm = comm.unwrap_or_else(|_| "name unknown".into());
    TargetError::Traced { pid, tracer, comm }
}

/// Whether the kernel lets a thread of this process trace a target that a child of it may not.
/// `security/yama/yama_lsm.c`: in scope 1 a tracer must be an ancestor of its target, have `CAP_SYS_PTRACE`, or
/// descend from a process the target named.
fn allowed_to_threads(facts: &Facts) -> bool {
    facts.yama == Some(1) && facts.descendant && !facts.capable()
}

/// What the tracer runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Process,
    Thread,
}

/// Why the target was not stopped.
enum NotStopped {
    /// The kernel refused the tracer.
    Refused,
    /// The target changed meanwhile.
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
    /// Threads without a seccomp filter that are not kernel workers.
    ordinary: Vec<Tid>,
}

impl<'a> Request<'a, '_> {
    fn stop(&self, kind: Kind) -> Result<LiveFrozen<'a>, NotStopped> {
        let pid = self.dir.pid();
        let gone = |e| NotStopped::Error(failed(pid, e));
        if !self.still_the_same() {
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
            return Err(self.stop_error(outcome, stop));
        }
        // It may have called `execve` before its first thread was seized; now it cannot.
        if !self.still_the_same() {
            held.end();
            return Err(NotStopped::Error(self.replaced()));
        }
        Ok(LiveFrozen::new(held))
    }

    fn still_the_same(&self) -> bool {
        self.dir.identity().is_ok_and(|now| self.identity.is_still(&now))
    }

    /// The error for a process that is no longer the one that was opened.
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
                format!("process {pid} is not stopped: the kernel refused the timer that guarantees its release")
            }
            Some(End::Exited(status)) => {
                format!("the process that stops process {pid} ended too early, with status {status}")
            }
            // Only if the tracer is a thread, which cannot be killed.
            None => {
                format!("the kernel call that stops process {pid} does not return; the process resumes when gospy ends")
            }
        };
        NotStopped::Error(TargetError::Unsupported(text))
    }

    fn stop_error(&self, outcome: Outcome, limit: Duration) -> NotStopped {
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
