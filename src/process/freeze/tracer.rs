//! What a tracer does: stop threads, hold them, release them.
//!
//! It runs in its own process (or, if not permitted, its own thread) and ends with the freeze. The kernel then
//! releases all its tracees, even threads that did not stop, which a tracer cannot detach from. Pending signals
//! are kept, since stops are only peeked at; so they are delivered however the tracer ends.
//!
//! Nothing here allocates, locks, or uses thread-local storage.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::time::{ClockId, clock_gettime};

use super::calls::{Interrupted, interrupted};
use super::job::{Entry, Job, Outcome, State};
use super::tasks::Runs;
use crate::addr::Addr;
use crate::process::blocked::Waiting;
use crate::process::syscalls::{self, Timer, TracerJob};
use crate::process::{Registers, Tid};

/// After this time, uninterruptible threads in the kernel are left where they are.
const PATIENCE: Duration = Duration::from_millis(1);
/// After this time, so are threads that wait for a CPU.
const PATIENCE_WITH_RUNNERS: Duration = Duration::from_millis(150);
/// How long to spin, since a running thread stops within microseconds.
const SPIN: Duration = Duration::from_micros(300);
/// Pause between checks after that.
const PAUSE: Duration = Duration::from_micros(50);
/// Maximum rounds of listing threads until no new one appears.
const ROUNDS: usize = 64;
/// In the first rounds, a thread that was left asleep but ran is checked again; one that keeps waking up longer
/// breaks the freeze.
const SLEEPERS_ROUNDS: usize = 6;
/// In the first rounds, a sleeper that ran since the last one causes another round.
const RESTLESS_ROUNDS: usize = 3;
/// Retries after a refusal by the kernel, and how many of them without a pause.
const TRIES: usize = 20;
const TRIES_AT_ONCE: usize = 3;
const PAUSE_BETWEEN_TRIES: Duration = Duration::from_micros(200);

/// An unknown register.
const NONE: Addr = Addr(0);

/// `CLOCK_MONOTONIC`; read without a system call, and cannot fail.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl TracerJob for Job {
    fn run(&self, timer: Option<&Timer>) -> i32 {
        let start = now();
        let mut stopped = self.stop(start + self.limits.stop);
        // Until now the timer had the limit for stopping.
        let left = (start + self.limits.deadline).saturating_sub(now());
        if stopped.is_ok() && timer.is_some_and(|timer| !timer.set(left)) {
            stopped = Err(self.slow(self.pid));
        }
        if let Err(outcome) = stopped {
            self.let_go();
            self.set_outcome(outcome);
            syscalls::write_byte(self.notify);
            return 0;
        }
        self.note_who_stands();
        for entry in self.entries().iter().filter(|entry| entry.is(State::Stopped)) {
            if let Some((registers, general)) = syscalls::registers(entry.tid()) {
                entry.set_registers(&registers);
                entry.set_general(&general);
            }
        }
        self.set_outcome(Outcome::Standing);
        syscalls::write_byte(self.notify);
        self.await_release(start + self.limits.deadline);
        self.verify();
        self.let_go();
        0
    }

    fn child_ended(&self) {
        for entry in self.entries() {
            let spared = self.spare_leader && entry.tid() == self.pid;
            let waits = entry.seized.load(SeqCst) && !entry.reaped.load(SeqCst);
            if waits && !spared && syscalls::reap(entry.tid()) {
                entry.reaped.store(true, SeqCst);
                entry.end();
            }
        }
    }

    fn files(&self) -> [RawFd; 2] {
        [self.tasks.0, self.notify]
    }

    fn first_limit(&self) -> Duration {
        self.limits.first()
    }
}

impl Job {
    pub(super) fn stop(&self, limit: Duration) -> Result<(), Outcome> {
        for round in 0..ROUNDS {
            let mut fresh = false;
            let mut consider = |tid| -> Result<(), Outcome> {
                fresh |= self.consider(tid, round, limit)?;
                Ok(())
            };
            match &self.wanted {
                None => self.tasks.each(&mut consider).unwrap_or(Err(Outcome::Gone))?,
                Some(tids) => tids.iter().filter(|&&tid| self.tasks.has(tid)).try_for_each(|&tid| consider(tid))?,
            }
            // A stopped thread starts no others: once no new one appears, the list is complete.
            if !fresh && self.all_stopped()? {
                return Ok(());
            }
            self.interrupt();
            self.await_stops(limit)?;
            if self.wanted.is_some() {
                return Ok(());
            }
        }
        Err(Outcome::Endless)
    }

    /// Checks a listed thread, and seizes it if it is to be stopped. True if it is new.
    pub(super) fn consider(&self, tid: Tid, round: usize, limit: Duration) -> Result<bool, Outcome> {
        let (entry, new) = self.entry(tid).ok_or(Outcome::Endless)?;
        match entry.state() {
            State::New | State::Asleep => {}
            State::Worker => return Ok(false),
            State::Ended => {
                // The thread that called `execve` takes over the main thread's id.
                let lives = self.tasks.state(tid).is_some_and(|state| !matches!(state, b'Z' | b'X'));
                return if lives { Err(Outcome::Exec) } else { Ok(false) };
            }
            State::Seized | State::Stopping | State::Stopped | State::InKernel => return Ok(false),
        }
        if new && self.ordinary.binary_search(&tid).is_err() {
            if self.tasks.is_worker(tid) {
                entry.change(State::New, State::Worker);
                return Ok(false);
            }
            if self.tasks.is_filtered(tid) {
                if !self.allow_filtered {
                    return Err(Outcome::Filtered);
                }
                entry.filtered.store(true, SeqCst);
            }
        }
        // Before reading its system call: if it runs in between, that shows later.
        let runs = self.tasks.runs(tid);
        if entry.is(State::Asleep) {
            if runs == Some(entry.runs()) || round >= SLEEPERS_ROUNDS {
                return Ok(false);
            }
            entry.change(State::Asleep, State::New);
            entry.set_registers(&Registers { pc: NONE, sp: NONE, lr: NONE, fp: NONE, g: NONE });
        }
        if let Some(runs) = runs
            && self.leave_asleep(entry, runs)
        {
            return Ok(new || round < RESTLESS_ROUNDS);
        }
        if entry.seized.load(SeqCst) || self.seize(entry, limit)? {
            entry.change(State::New, State::Seized);
        } else {
            entry.end();
        }
        Ok(true)
    }

    /// Leaves a thread asleep if a stop would make its system call fail.
    fn leave_asleep(&self, entry: &Entry, runs: Runs) -> bool {
        let waiting = self.tasks.waiting(entry.tid());
        entry.ran.store(waiting.is_none(), SeqCst);
        let Some(waiting) = waiting.filter(|waiting| self.would_notice(entry, waiting)) else { return false };
        // In state D it is uninterruptible and notices nothing; a stopped thread was interrupted already.
        if self.tasks.state(entry.tid()) != Some(b'S') {
            return false;
        }
        entry.set_runs(runs);
        entry.set_registers(&Registers { pc: waiting.pc, sp: waiting.sp, lr: NONE, fp: NONE, g: NONE });
        let state = entry.state();
        matches!(state, State::New | State::Seized) && entry.change(state, State::Asleep)
    }

    /// Whether a blocked thread would notice a stop.
    fn would_notice(&self, entry: &Entry, waiting: &Waiting) -> bool {
        match interrupted(waiting) {
            None | Some(Interrupted::Restarts) => false,
            Some(Interrupted::Continues) => entry.filtered.load(SeqCst),
            Some(Interrupted::FailsInPoll) => self.resilient.binary_search(&entry.tid()).is_err(),
            Some(Interrupted::Fails) => true,
        }
    }

    /// Seizes a thread, which does not stop it. False for one that has ended.
    fn seize(&self, entry: &Entry, limit: Duration) -> Result<bool, Outcome> {
        let tid = entry.tid();
        for attempt in 0..TRIES {
            if now() > limit {
                return Err(self.slow(tid));
            }
            entry.seized.store(true, SeqCst);
            let errno = match syscalls::seize(tid) {
                // If the id was reused by another process, that one is released unharmed when the tracer ends.
                Ok(()) => return Ok(self.tasks.has(tid)),
                Err(errno) => errno,
            };
            entry.seized.store(false, SeqCst);
            if errno == Errno::ESRCH || self.tasks.state(tid).is_none_or(|state| matches!(state, b'Z' | b'X')) {
                return Ok(false);
            }
            // EPERM is also returned for an ending thread whose id is being taken over by one that calls
            // `execve`; future kernels may return EAGAIN.
            if !matches!(errno, Errno::EPERM | Errno::EAGAIN) {
                return Err(Outcome::Failed(tid, errno as i32));
            }
            match self.tasks.tracer(tid) {
                None => return Ok(false),
                Some(0) => {}
                // Already seized, under the id it had before an `execve`.
                Some(tracer) if tracer == syscalls::own_tid() => return Err(Outcome::Exec),
                Some(tracer) => return Err(Outcome::Traced(tracer)),
            }
            if attempt >= TRIES_AT_ONCE {
                syscalls::nap(PAUSE_BETWEEN_TRIES);
            }
        }
        Err(Outcome::Refused(tid))
    }

    /// Interrupts all seized threads.
    pub(super) fn interrupt(&self) {
        for entry in self.entries().iter().filter(|entry| entry.is(State::Seized)) {
            // Threads that were running when last checked are the likeliest to be asleep by now.
            if entry.ran.load(SeqCst)
                && let Some(runs) = self.tasks.runs(entry.tid())
                && self.leave_asleep(entry, runs)
            {
                continue;
            }
            let [first, _] = &self.stood;
            let _ = first.compare_exchange(0, ns(now()), SeqCst, SeqCst);
            entry.change(State::Seized, State::Stopping);
            // ESRCH: it has ended or its id was reused, as the wait will show.
            let _ = syscalls::interrupt(entry.tid());
        }
    }

    pub(super) fn await_stops(&self, limit: Duration) -> Result<(), Outcome> {
        let start = now();
        loop {
            let mut left = None;
            for entry in self.entries().iter().filter(|entry| entry.is(State::Stopping)) {
                self.look_at(entry)?;
                if entry.is(State::Stopping) {
                    left = Some(entry.tid());
                }
            }
            let Some(left) = left else { return Ok(()) };
            let (now, waited) = (now(), now().saturating_sub(start));
            if waited < SPIN {
                syscalls::yield_now();
                continue;
            }
            if waited > PATIENCE {
                self.leave_those_in_the_kernel(waited);
            }
            if now > limit {
                return Err(self.slow(left));
            }
            syscalls::nap(PAUSE);
        }
    }

    /// Records whether a thread has stopped or ended.
    fn look_at(&self, entry: &Entry) -> Result<(), Outcome> {
        match syscalls::peek_stop(entry.tid()) {
            Ok(Some(stop)) if stop.event == libc::PTRACE_EVENT_EXEC => return Err(Outcome::Exec),
            Ok(Some(stop)) => {
                entry.signal.store(stop.signal, SeqCst);
                let state = entry.state();
                if matches!(state, State::Stopping | State::InKernel) {
                    entry.change(state, State::Stopped);
                }
            }
            // Also for an ended but unreaped thread: only stops were waited for.
            Err(Errno::ECHILD) => entry.end(),
            Ok(None) | Err(_) => {}
        }
        Ok(())
    }

    /// A thread in state D runs no user code, and with the interrupt pending it stops before it does. The same
    /// holds for an interrupted thread in state R: if it were running user code, it would have entered the
    /// kernel at once (`kick_process`), so it waits for a CPU on a busy machine or is busy in the kernel. State
    /// T is a thread that a signal had stopped and that waits for a CPU to stop again. An ended main thread
    /// stays until the others end.
    fn leave_those_in_the_kernel(&self, waited: Duration) {
        for entry in self.entries().iter().filter(|entry| entry.is(State::Stopping)) {
            match self.tasks.state(entry.tid()) {
                Some(b'R' | b'T') if waited < PATIENCE_WITH_RUNNERS => {}
                Some(b'D' | b'R' | b'T') => drop(entry.change(State::Stopping, State::InKernel)),
                Some(b'Z' | b'X') | None => entry.end(),
                Some(_) => {}
            }
        }
    }

    fn slow(&self, tid: Tid) -> Outcome {
        Outcome::Slow(tid, self.tasks.state(tid).unwrap_or(b'?'))
    }

    /// Whether all seized threads have stopped. An `execve` of a thread not yet seized ends them.
    fn all_stopped(&self) -> Result<bool, Outcome> {
        let mut all = true;
        for entry in self.entries().iter().filter(|entry| entry.is(State::Stopped)) {
            match syscalls::peek_stop(entry.tid()) {
                Ok(Some(stop)) if stop.event == libc::PTRACE_EVENT_EXEC => return Err(Outcome::Exec),
                Ok(Some(_)) => {}
                // It was killed and is ending; the wait will show how far.
                Ok(None) => {
                    entry.change(State::Stopped, State::Stopping);
                    all = false;
                }
                Err(_) => {
                    entry.end();
                    all = false;
                }
            }
        }
        Ok(all)
    }

    /// Records which threads are frozen, now that all are: if one of them ends, the freeze is broken. A thread
    /// left in the kernel may already be exiting, which runs no user code.
    pub(super) fn note_who_stands(&self) {
        for entry in self.entries() {
            entry.stood.store(matches!(entry.state(), State::Stopped | State::Asleep), SeqCst);
        }
    }

    /// Waits until the target is to be resumed.
    fn await_release(&self, deadline: Duration) {
        while self.release.load(SeqCst) == 0 {
            let left = deadline.saturating_sub(now());
            if left.is_zero() {
                self.overdue.store(true, SeqCst);
                return;
            }
            // Ending threads interrupt it.
            syscalls::futex_wait(&self.release, 0, left);
        }
    }

    /// Records what broke the freeze.
    pub(super) fn verify(&self) {
        if self.wanted.is_none() && self.entries().iter().any(|entry| entry.is(State::InKernel)) {
            self.find_started();
        }
        for entry in self.entries() {
            match entry.state() {
                State::Asleep if self.tasks.runs(entry.tid()) != Some(entry.runs()) => {
                    entry.moved.store(true, SeqCst);
                }
                State::InKernel if self.look_at(entry).is_err() => self.exec.store(true, SeqCst),
                _ => {}
            }
            if entry.is(State::Ended) && entry.stood.load(SeqCst) {
                self.ended.store(true, SeqCst);
            }
        }
        match self.all_stopped() {
            Ok(true) => {}
            Ok(false) => self.ended.store(true, SeqCst),
            Err(_) => self.exec.store(true, SeqCst),
        }
    }

    /// Records threads that started during the freeze: a thread left in the kernel may be in `clone`, and the
    /// new thread runs.
    fn find_started(&self) {
        let note = |tid| -> Result<(), ()> {
            match self.entry(tid) {
                Some((_, false)) => {}
                Some((_, true)) if self.tasks.is_worker(tid) => {}
                Some((entry, true)) => entry.moved.store(true, SeqCst),
                None => self.ended.store(true, SeqCst),
            }
            Ok(())
        };
        if self.tasks.each(note).is_none() {
            self.ended.store(true, SeqCst);
        }
    }

    /// Resumes every thread.
    pub(super) fn let_go(&self) {
        for entry in self.entries() {
            if matches!(entry.state(), State::Stopping | State::InKernel) {
                let _ = self.look_at(entry);
            }
            if entry.is(State::Stopped) {
                // Killed meanwhile, or not stopped: the tracer's end releases it.
                let _ = syscalls::detach(entry.tid(), entry.signal.load(SeqCst));
            }
        }
        let [_, last] = &self.stood;
        last.store(ns(now()), SeqCst);
    }
}
