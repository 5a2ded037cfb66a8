//! `runtime.schedt`: the scheduler.

use super::mirror;

mirror! {
    /// What is read of `runtime.sched` (runtime2.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Sched, SchedLayout of "runtime.schedt" {
        /// `goidgen`: the last goroutine id that was handed out to a P.
        goidgen: u64 = "goidgen",
        /// `nmidle`.
        nmidle: i32 = "nmidle",
        /// `mnext`: Ms created so far, which is the next one's id.
        mnext: i64 = "mnext",
        /// `maxmcount`: Ms allowed.
        maxmcount: i32 = "maxmcount",
        /// `nmfreed`: Ms that have ended.
        nmfreed: i64 = "nmfreed",
        /// `ngsys`: system goroutines.
        ngsys: i32 = "ngsys",
        /// `npidle`: idle Ps.
        npidle: i32 = "npidle",
        /// `nmspinning`: Ms that are looking for work.
        nmspinning: i32 = "nmspinning",
        /// `gcwaiting`: whether a stop of the world was asked for.
        gcwaiting: bool = "gcwaiting",
    }
    optional {
        /// `runqsize` (to 1.24); see [`Sched::global_run_queue`].
        runqsize: i32 = "runqsize",
        /// `runq.size` (1.25 on); see [`Sched::global_run_queue`].
        runq_len: i32 = "runq" . "runtime.gQueue" . "size",
        /// `goroutinesCreated` (1.26 on), without what the Ps have counted since.
        goroutines_created: u64 = "goroutinesCreated",
        /// `lastpoll`, ns by `nanotime`; 0 while a thread polls.
        lastpoll: u64 = "lastpoll",
        /// `procresizetime`: when GOMAXPROCS last changed, ns by `nanotime`.
        procresizetime: u64 = "procresizetime",
    }
}

impl Sched {
    /// Ms in existence.
    #[must_use]
    pub(crate) fn threads(&self) -> Option<u64> {
        u64::try_from(self.mnext.checked_sub(self.nmfreed)?).ok()
    }

    /// Length of the global run queue.
    #[must_use]
    pub(crate) fn global_run_queue(&self) -> Option<i32> {
        self.runqsize.or(self.runq_len)
    }
}
