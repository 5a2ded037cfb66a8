//! `runtime.semaRoot`: who waits on semaphores with the same hash.

use super::mirror;

mirror! {
    /// One `runtime.semaRoot` (sema.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SemaRoot, SemaRootLayout of "runtime.semaRoot" {
        /// `treap`: the root of the tree of sudogs; 0 for none.
        treap: u64 = "treap",
        /// `nwait`: how many wait.
        nwait: u32 = "nwait",
    }
}
