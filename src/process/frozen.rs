//! A target that stands still: which threads, how, and why it may not have been for the whole time.

use std::time::Duration;

use super::description::{Registers, Tid};

/// Which threads to stop for an exact picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeWhich {
    /// Every thread, new ones included.
    All,
    /// These only.
    Threads(Vec<Tid>),
}

/// How to stop threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeOptions {
    /// For how long they may stand still once all of them do. What is longer is ended by the kernel,
    /// and [`Frozen::resume`] says so.
    pub hold: Duration,
    /// Threads that may be stopped in `epoll_wait`, since they are known to call it again when it fails
    /// with EINTR. Others are left asleep there.
    pub resilient: Vec<Tid>,
}

impl Default for FreezeOptions {
    fn default() -> Self {
        Self { hold: Duration::from_millis(200), resilient: Vec::new() }
    }
}

/// Why a freeze was none: what was read meanwhile is not of one moment.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Broken {
    /// The process became another program.
    #[error("it became another program (execve)")]
    Exec,
    /// Threads that stood still have ended.
    #[error("threads of it were killed")]
    Ended,
    /// It was to stand still for no longer than that.
    #[error("it would have stood still for longer than {} ms", .0.as_millis())]
    Overdue(Duration),
    /// The process of gospy's own that held it was killed, by that signal.
    #[error("the process that held it was killed by signal {0}")]
    Killed(i32),
    /// These threads were left asleep in system calls that a stop would make fail, and ran.
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

/// A target that stands still for as long as this lives.
pub trait Frozen {
    /// The registers of a stopped thread.
    fn registers(&self, tid: Tid) -> Option<Registers>;

    /// Where a thread stands that was not stopped, since it sleeps in a system call that would fail
    /// then: program counter and stack pointer; the other registers are 0.
    fn asleep(&self, tid: Tid) -> Option<Registers> {
        let _ = tid;
        None
    }

    /// The threads that stand still, in order of their ids.
    fn threads(&self) -> &[Tid];

    /// Lets the target run on and says for how long it stood still. Dropping does the same.
    ///
    /// # Errors
    /// When it did not stand still for the whole time: what was read must not be believed.
    fn resume(self: Box<Self>) -> Result<Duration, Broken>;
}
