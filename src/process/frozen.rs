//! A frozen target: which threads to stop, how, and why a freeze may not have held.

use std::time::Duration;

use super::description::{GeneralRegisters, Registers, Tid};

/// Which threads to stop for an exact snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeWhich {
    /// Every thread, new ones included.
    All,
    /// Only these.
    Threads(Vec<Tid>),
}

/// How to stop threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeOptions {
    /// Maximum time they stay stopped, once all of them are. Then the kernel ends the freeze, and
    /// [`Frozen::resume`] reports it.
    pub hold: Duration,
    /// Threads that may be stopped in `epoll_wait`, since they are known to retry it after EINTR. Others are
    /// left asleep there.
    pub resilient: Vec<Tid>,
}

impl Default for FreezeOptions {
    fn default() -> Self {
        Self { hold: Duration::from_millis(200), resilient: Vec::new() }
    }
}

/// Why a freeze was broken: memory read during it is not from one moment.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Broken {
    /// The process called `execve`.
    #[error("it became another program (execve)")]
    Exec,
    /// Frozen threads have ended.
    #[error("frozen threads were killed")]
    Ended,
    /// The time limit passed.
    #[error("it would have been frozen for longer than {} ms", .0.as_millis())]
    Overdue(Duration),
    /// gospy's tracer process was killed by this signal.
    #[error("the process that held it was killed by signal {0}")]
    Killed(i32),
    /// These threads were left asleep in system calls that a stop would make fail, but ran.
    #[error("{}", threads_ran(.0))]
    Ran(Vec<Tid>),
}

fn threads_ran(tids: &[Tid]) -> String {
    const SHOWN: usize = 5;
    let mut shown: Vec<String> = tids.iter().take(SHOWN).map(Tid::to_string).collect();
    if tids.len() > SHOWN {
        shown.push("…".into());
    }
    let threads = if tids.len() == 1 { "thread" } else { "threads" };
    format!("{threads} {} ran, left alone in a system call that a stop would make fail", shown.join(", "))
}

/// A target that stays frozen as long as this lives.
pub trait Frozen {
    /// The registers of a stopped thread.
    fn registers(&self, tid: Tid) -> Option<Registers>;

    /// Program counter and stack pointer of a thread that was left asleep because a stop would make its system
    /// call fail; the other registers are 0.
    fn asleep(&self, tid: Tid) -> Option<Registers> {
        let _ = tid;
        None
    }

    /// All general registers of a stopped thread. `None` for one that was left asleep, and for one that is in the
    /// kernel and would stop before it returns.
    fn general_registers(&self, tid: Tid) -> Option<GeneralRegisters> {
        let _ = tid;
        None
    }

    /// The frozen threads, sorted by id.
    fn threads(&self) -> &[Tid];

    /// Resumes the target and returns how long it was frozen. Dropping resumes it too.
    ///
    /// # Errors
    /// When it was not frozen for the whole time: what was read must be discarded.
    fn resume(self: Box<Self>) -> Result<Duration, Broken>;
}
