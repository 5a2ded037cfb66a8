//! `runtime.coro`: two goroutines that run in turns.

use super::mirror;

mirror! {
    /// What is read of a `runtime.coro` (coro.go; 1.22 on), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Coro, CoroLayout of "runtime.coro" {
        /// `gp`: address of the goroutine that does not run.
        gp: u64 = "gp",
    }
}
