//! `runtime.synctestBubble`: goroutines with a clock of their own.

use super::mirror;

mirror! {
    /// What is read of a `runtime.synctestBubble` (synctest.go; 1.25 on), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SynctestBubble, SynctestBubbleLayout of "runtime.synctestBubble" {
        /// `id`, counted from 1.
        id: u64 = "id",
        /// `now`: its clock, ns.
        now: i64 = "now",
    }
}
