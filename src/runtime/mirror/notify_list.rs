//! `runtime.notifyList`: who waits on a `sync.Cond`.

use super::mirror;

mirror! {
    /// What is read of a `runtime.notifyList` (sema.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NotifyList, NotifyListLayout of "runtime.notifyList" {
        /// `wait`: the ticket of the next one that waits; it wraps around.
        wait: u32 = "wait",
        /// `notify`: the ticket of the next one that is to be woken.
        notify: u32 = "notify",
        /// `head`: the first sudog; 0 for none.
        head: u64 = "head",
        /// `tail`: the last one.
        tail: u64 = "tail",
    }
}

impl NotifyList {
    /// How many wait.
    #[must_use]
    pub(crate) fn waiters(&self) -> u32 {
        self.wait.wrapping_sub(self.notify)
    }
}
