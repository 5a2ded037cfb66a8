//! State shared by a tracer and the thread that waits for it.
//!
//! All of it is allocated before the tracer starts, which cannot allocate. It uses atomics: the handler that
//! reaps ended threads may interrupt anything, and another thread reads it.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::tasks::{Runs, Tasks};
use crate::addr::Addr;
use crate::process::{FreezeWhich, GeneralRegisters, Registers, Tid};

/// The state of a thread in a freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// It has been listed.
    New,
    /// Seized, to be interrupted.
    Seized,
    /// Interrupted; it will stop soon.
    Stopping,
    /// It has stopped.
    Stopped,
    /// It is in the kernel, uninterruptible or waiting for a CPU, and will stop before it returns to user mode.
    InKernel,
    /// It was left asleep in a system call.
    Asleep,
    /// A kernel worker, which runs no code of the program.
    Worker,
    /// It has ended.
    Ended,
}

impl State {
    fn of(number: u8) -> Self {
        [Self::New, Self::Seized, Self::Stopping, Self::Stopped, Self::InKernel, Self::Asleep, Self::Worker]
            .into_iter()
            .find(|state| *state as u8 == number)
            .unwrap_or(Self::Ended)
    }
}

/// A thread of the target.
#[derive(Debug, Default)]
pub(super) struct Entry {
    tid: AtomicI32,
    state: AtomicU8,
    /// Whether it is traced, so that it must be reaped when it ends.
    pub(super) seized: AtomicBool,
    /// Whether it was reaped. Its end may be known earlier (listed as a zombie, or no longer listed), but until
    /// its tracer reaps it the kernel keeps it, and an `execve` waits for it.
    pub(super) reaped: AtomicBool,
    /// Its pending signal.
    pub(super) signal: AtomicI32,
    /// Whether it was running when last checked.
    pub(super) ran: AtomicBool,
    /// Whether it has a seccomp filter, which may forbid `restart_syscall`.
    pub(super) filtered: AtomicBool,
    /// Whether it was stopped or asleep when the whole target was frozen.
    pub(super) stood: AtomicBool,
    /// Whether it was left asleep but ran.
    pub(super) moved: AtomicBool,
    runs_count: AtomicU64,
    runs_time: AtomicU64,
    registers: [AtomicU64; 5],
    /// The others, while it is stopped.
    general: [AtomicU64; GENERAL],
}

/// Room for the general registers of a thread: arm64 has the most.
pub(super) const GENERAL: usize = 31;

impl Entry {
    pub(super) fn tid(&self) -> Tid {
        self.tid.load(SeqCst)
    }

    pub(super) fn state(&self) -> State {
        State::of(self.state.load(SeqCst))
    }

    pub(super) fn is(&self, state: State) -> bool {
        self.state() == state
    }

    /// Changes the state if it is still `from`: the thread may have ended.
    pub(super) fn change(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from as u8, to as u8, SeqCst, SeqCst).is_ok()
    }

    pub(super) fn end(&self) {
        self.state.store(State::Ended as u8, SeqCst);
    }

    pub(super) fn runs(&self) -> Runs {
        Runs { count: self.runs_count.load(SeqCst), time: self.runs_time.load(SeqCst) }
    }

    pub(super) fn set_runs(&self, runs: Runs) {
        self.runs_count.store(runs.count, SeqCst);
        self.runs_time.store(runs.time, SeqCst);
    }

    /// Its registers while frozen, if known. For a thread left asleep only stack pointer and program counter.
    pub(super) fn registers(&self) -> Option<Registers> {
        let [pc, sp, lr, fp, g] = [0, 1, 2, 3, 4].map(|i| Addr(self.registers.get(i).map_or(0, |r| r.load(SeqCst))));
        (sp.0 != 0).then_some(Registers { pc, sp, lr, fp, g })
    }

    /// All general registers of a stopped thread.
    pub(super) fn general(&self) -> Option<GeneralRegisters> {
        let sp = self.registers()?.sp;
        let words = self.general.iter().map(|word| word.load(SeqCst)).collect();
        Some(GeneralRegisters { sp, words })
    }

    pub(super) fn set_general(&self, words: &[u64; GENERAL]) {
        for (slot, value) in self.general.iter().zip(words) {
            slot.store(*value, SeqCst);
        }
    }

    pub(super) fn set_registers(&self, registers: &Registers) {
        let Registers { pc, sp, lr, fp, g } = *registers;
        for (slot, value) in self.registers.iter().zip([pc, sp, lr, fp, g]) {
            slot.store(value.0, SeqCst);
        }
    }
}

/// The outcome of stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything is frozen.
    Standing,
    /// The process has ended.
    Gone,
    /// A thread is already traced by this one.
    Traced(Tid),
    /// The kernel refused a thread, again and again.
    Refused(Tid),
    /// A thread did not stop in time; with its state letter.
    Slow(Tid, u8),
    /// New threads kept appearing.
    Endless,
    /// The process became another program.
    Exec,
    /// Something else, with the kernel's error.
    Failed(Tid, i32),
    /// A thread has a seccomp filter, which was not allowed.
    Filtered,
}

impl Outcome {
    fn encode(self) -> [i32; 3] {
        match self {
            Self::Standing => [1, 0, 0],
            Self::Gone => [2, 0, 0],
            Self::Traced(tracer) => [3, tracer, 0],
            Self::Refused(tid) => [4, tid, 0],
            Self::Slow(tid, state) => [5, tid, state.into()],
            Self::Endless => [6, 0, 0],
            Self::Exec => [7, 0, 0],
            Self::Failed(tid, errno) => [8, tid, errno],
            Self::Filtered => [9, 0, 0],
        }
    }

    fn decode([code, a, b]: [i32; 3]) -> Option<Self> {
        Some(match code {
            1 => Self::Standing,
            2 => Self::Gone,
            3 => Self::Traced(a),
            4 => Self::Refused(a),
            5 => Self::Slow(a, u8::try_from(b).unwrap_or(b'?')),
            6 => Self::Endless,
            7 => Self::Exec,
            8 => Self::Failed(a, b),
            9 => Self::Filtered,
            _ => return None,
        })
    }
}

/// Time limits of a freeze.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Stopping is given up after this time.
    pub(super) stop: Duration,
    /// The tracer ends after this time, whatever happens.
    pub(super) deadline: Duration,
}

impl Limits {
    /// The tracer ends after this time unless everything is frozen; it gives up earlier by itself if it can.
    pub(super) fn first(&self) -> Duration {
        /// Margin after the limit.
        const LATER: Duration = Duration::from_millis(100);
        self.stop.saturating_add(LATER).min(self.deadline)
    }
}

/// A freeze: its parameters and its result.
#[derive(Debug)]
pub(super) struct Job {
    /// The process.
    pub(super) pid: Tid,
    /// Its threads.
    pub(super) tasks: Tasks,
    /// Where to report that the target is frozen, or that stopping failed.
    pub(super) notify: RawFd,
    pub(super) limits: Limits,
    /// Which threads; `None` for all.
    pub(super) wanted: Option<Vec<Tid>>,
    /// Threads that are prepared for `epoll_wait` to fail with EINTR, in order.
    pub(super) resilient: Vec<Tid>,
    /// Whether threads with a seccomp filter may be stopped.
    pub(super) allow_filtered: bool,
    /// Threads known to have no filter and not to be kernel workers, sorted. Others are checked.
    pub(super) ordinary: Vec<Tid>,
    /// Whether the main thread must not be reaped, since the tracer is a thread of its parent, which waits for
    /// it.
    pub(super) spare_leader: bool,
    entries: Box<[Entry]>,
    used: AtomicUsize,
    /// Indices of entries by thread id (open addressing); 0 for none.
    index: Box<[AtomicU32]>,
    outcome: [AtomicI32; 3],
    /// Set and woken to resume the target.
    pub(super) release: AtomicU32,
    /// Set when the tracer released the target because the time was over.
    pub(super) overdue: AtomicBool,
    /// Set when the process called `execve` while frozen.
    pub(super) exec: AtomicBool,
    /// Set when a frozen thread has ended.
    pub(super) ended: AtomicBool,
    /// When the first thread was interrupted, and when the last was released (`CLOCK_MONOTONIC`, ns).
    pub(super) stood: [AtomicU64; 2],
}

/// The parameters of a tracer.
pub(super) struct Order<'a> {
    pub(super) pid: Tid,
    pub(super) which: &'a FreezeWhich,
    pub(super) resilient: Vec<Tid>,
    pub(super) allow_filtered: bool,
    pub(super) ordinary: Vec<Tid>,
    pub(super) spare_leader: bool,
    pub(super) limits: Limits,
    /// The current number of threads.
    pub(super) threads: usize,
}

impl Job {
    /// A job with room for twice the current number of threads, and some more.
    pub(super) fn new(order: Order<'_>, tasks: RawFd, notify: RawFd) -> Self {
        let wanted = match order.which {
            FreezeWhich::All => None,
            FreezeWhich::Threads(tids) => Some(tids.clone()),
        };
        let room = order.threads.max(wanted.as_ref().map_or(0, Vec::len)).saturating_mul(2).saturating_add(1024);
        let (mut resilient, mut ordinary) = (order.resilient, order.ordinary);
        resilient.sort_unstable();
        ordinary.sort_unstable();
        Self {
            pid: order.pid,
            tasks: Tasks(tasks),
            notify,
            limits: order.limits,
            wanted,
            resilient,
            allow_filtered: order.allow_filtered,
            ordinary,
            spare_leader: order.spare_leader,
            entries: (0..room).map(|_| Entry::default()).collect(),
            used: AtomicUsize::new(0),
            index: (0..room.saturating_mul(2).next_power_of_two()).map(|_| AtomicU32::new(0)).collect(),
            outcome: Default::default(),
            release: AtomicU32::new(0),
            overdue: AtomicBool::new(false),
            exec: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            stood: Default::default(),
        }
    }

    /// The threads so far.
    pub(super) fn entries(&self) -> &[Entry] {
        self.entries.get(..self.used.load(SeqCst)).unwrap_or_default()
    }

    /// The entry of that thread id, and whether it is new. `None` when there is no room.
    pub(super) fn entry(&self, tid: Tid) -> Option<(&Entry, bool)> {
        let mask = self.index.len().wrapping_sub(1);
        // Fibonacci hashing: ids are mostly consecutive.
        let start = (u64::from(tid.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        for step in 0..self.index.len() {
            let slot = self.index.get(start.wrapping_add(step) & mask)?;
            let number = slot.load(SeqCst) as usize;
            let Some(known) = number.checked_sub(1) else {
                let used = self.used.load(SeqCst);
                let entry = self.entries.get(used)?;
                entry.tid.store(tid, SeqCst);
                slot.store(u32::try_from(used.checked_add(1)?).ok()?, SeqCst);
                self.used.store(used + 1, SeqCst);
                return Some((entry, true));
            };
            let entry = self.entries.get(known)?;
            if entry.tid() == tid {
                return Some((entry, false));
            }
        }
        None
    }

    /// The outcome; `None` until there is one.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let [code, a, b] = &self.outcome;
        // The code first: it is written last.
        let code = code.load(SeqCst);
        Outcome::decode([code, a.load(SeqCst), b.load(SeqCst)])
    }

    pub(super) fn set_outcome(&self, outcome: Outcome) {
        let [code, a, b] = outcome.encode();
        let [code_slot, a_slot, b_slot] = &self.outcome;
        a_slot.store(a, SeqCst);
        b_slot.store(b, SeqCst);
        code_slot.store(code, SeqCst);
    }

    /// How long threads were stopped, as far as the tracer recorded it.
    pub(super) fn stood(&self) -> Option<Duration> {
        let [first, last] = &self.stood;
        let (first, last) = (first.load(SeqCst), last.load(SeqCst));
        if first == 0 { Some(Duration::ZERO) } else { Some(Duration::from_nanos(last.checked_sub(first)?)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn job(threads: usize) -> Job {
        let limits = Limits { stop: Duration::ZERO, deadline: Duration::ZERO };
        let which = FreezeWhich::All;
        let order = Order {
            pid: 1,
            which: &which,
            resilient: Vec::new(),
            allow_filtered: false,
            ordinary: Vec::new(),
            spare_leader: false,
            limits,
            threads,
        };
        Job::new(order, -1, -1)
    }

    #[test]
    fn room_for_new_threads_is_limited() {
        let job = job(100);
        for tid in 1..=1224 {
            assert!(job.entry(tid).is_some_and(|(entry, new)| new && entry.tid() == tid), "{tid}");
        }
        assert!(job.entry(1225).is_none());
        assert!(job.entry(7).is_some_and(|(entry, new)| !new && entry.tid() == 7));
        assert_eq!(job.entries().len(), 1224);
    }

    #[test]
    fn an_ended_thread_stays_ended() {
        let entry = Entry::default();
        assert!(entry.is(State::New) && entry.change(State::New, State::Stopping));
        entry.end();
        assert!(!entry.change(State::Stopping, State::Stopped) && entry.is(State::Ended));
        assert_eq!(entry.registers(), None);
    }

    #[test]
    fn outcomes_are_read_as_written() {
        let job = job(0);
        assert_eq!(job.outcome(), None);
        for outcome in [
            Outcome::Standing,
            Outcome::Gone,
            Outcome::Traced(7),
            Outcome::Refused(8),
            Outcome::Slow(9, b'D'),
            Outcome::Endless,
            Outcome::Exec,
            Outcome::Failed(10, 22),
            Outcome::Filtered,
        ] {
            job.set_outcome(outcome);
            assert_eq!(job.outcome(), Some(outcome));
        }
        assert_eq!(job.stood(), Some(Duration::ZERO));
        job.stood[0].store(5, SeqCst);
        assert_eq!(job.stood(), None);
        job.stood[1].store(9, SeqCst);
        assert_eq!(job.stood(), Some(Duration::from_nanos(4)));
    }

    proptest! {
        #[test]
        fn each_id_has_one_entry(tids in proptest::collection::vec(any::<Tid>(), 0..600)) {
            let job = job(0);
            let mut known = std::collections::BTreeSet::new();
            for &tid in &tids {
                let (entry, new) = job.entry(tid).unwrap();
                prop_assert_eq!((entry.tid(), new), (tid, known.insert(tid)));
            }
            prop_assert_eq!(job.entries().len(), known.len());
        }
    }
}
