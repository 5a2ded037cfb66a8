//! `runtime.pollDesc`: a descriptor that the network poller watches.

use super::mirror;

mirror! {
    /// What is read of a `runtime.pollDesc` (netpoll.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PollDesc, PollDescLayout of "runtime.pollDesc" {
        /// `fd`: number of the descriptor.
        fd: u64 = "fd",
        /// `rg`: address of the goroutine that waits to read; 0, 1 or 2 where none does.
        rg: u64 = "rg",
        /// `wg`: likewise to write.
        wg: u64 = "wg",
        /// `rd`: when reading gives up, ns by `nanotime`; 0 for never, negative where that was in the past.
        rd: i64 = "rd",
        /// `wd`: likewise writing.
        wd: i64 = "wd",
        /// `self`: its own address.
        itself: u64 = "self",
    }
}
