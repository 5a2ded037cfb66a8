//! `runtime.p`: the right to execute Go code, and what is kept for each.

use super::mirror;
use crate::model::PStatus;

mirror! {
    /// What is read of a `runtime.p` (runtime2.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct P, PLayout of "runtime.p" at addr {
        /// `id`: its index in `allp`.
        id: i32 = "id",
        /// `status`; see [`P::status`].
        status: u32 = "status",
        /// `schedtick`: scheduler calls so far.
        schedtick: u32 = "schedtick",
        /// `syscalltick`: system calls so far.
        syscalltick: u32 = "syscalltick",
        /// `m`: the M that owns it; 0 for none.
        m: u64 = "m",
        /// `mcache`; 0 before it has one.
        mcache: u64 = "mcache",
        /// `goidcache`: the first goroutine id that it holds and has not given out.
        goidcache: u64 = "goidcache",
        /// `goidcacheend`: one past the last of them.
        goidcacheend: u64 = "goidcacheend",
        /// `runqhead`.
        runqhead: u32 = "runqhead",
        /// `runqtail`.
        runqtail: u32 = "runqtail",
        /// `runnext`: the g that is to run next; 0 for none.
        runnext: u64 = "runnext",
    }
    optional {
        /// `numTimers` (to 1.22); see [`P::timers`].
        num_timers: u32 = "numTimers",
        /// `timers.len` (1.23 on); see [`P::timers`].
        timers_len: u32 = "timers" . "runtime.timers" . "len",
        /// `goroutinesCreated` (1.26 on).
        goroutines_created: u64 = "goroutinesCreated",
    }
    optional offsets {
        timers_slice = "timers",
        timers_heap = "timers" . "runtime.timers" . "heap",
    }
}

/// Length of a P's own run queue (`len(p.runq)`).
pub(crate) const RUNQ: u32 = 256;

impl P {
    /// Goroutine ids that it holds and has not given out.
    #[must_use]
    pub(crate) fn unused_goids(&self) -> u64 {
        self.goidcacheend.saturating_sub(self.goidcache)
    }

    /// Length of its run queue.
    #[must_use]
    pub(crate) fn run_queue(&self) -> u32 {
        // The queue runs on while it is read: the head may be newer than the tail.
        Some(self.runqtail.wrapping_sub(self.runqhead)).filter(|n| *n <= RUNQ).unwrap_or(0)
    }

    /// Timers in its heap; `None` where that is not known.
    #[must_use]
    pub(crate) fn timers(&self) -> Option<u32> {
        self.num_timers.or(self.timers_len)
    }

    /// Its status. The numbers have kept their meaning since 1.19; from 1.26 on none is in a system
    /// call by its own word.
    #[must_use]
    pub(crate) fn status(&self) -> PStatus {
        match self.status {
            0 => PStatus::Idle,
            1 => PStatus::Running,
            2 => PStatus::Syscall,
            3 => PStatus::GcStop,
            4 => PStatus::Dead,
            other => PStatus::Unknown(other),
        }
    }
}
