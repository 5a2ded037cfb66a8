//! `runtime.timer`: something that is to happen at a time.

use super::mirror;
use super::panic::Interface;

mirror! {
    /// What is read of a `runtime.timer` (time.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Timer, TimerLayout of "runtime.timer" {
        /// `when`: when it is due, ns by `nanotime`.
        when: i64 = "when",
        /// `period`: the interval of a ticker, ns; 0 for one that fires once.
        period: i64 = "period",
        /// `arg`: what it calls its function with: the channel of `time.After`.
        arg: Interface = "arg",
    }
    optional {
        /// `pp` (to 1.22): the P that it belongs to.
        pp: u64 = "pp",
        /// `status` (to 1.22): how far it is from being run or taken out.
        status: u32 = "status",
        /// `ts` (1.23 on): the `timers` that it belongs to, a field of a P.
        ts: u64 = "ts",
    }
}
