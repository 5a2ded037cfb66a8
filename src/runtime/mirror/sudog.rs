//! `runtime.sudog`: a goroutine in the queue of something that it waits for.

use super::mirror;
use crate::runtime::layout::LayoutTable;

mirror! {
    /// A `runtime.sudog` as it is in memory (runtime2.go).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Sudog, SudogLayout of "runtime.sudog" at addr {
        /// `g`: who waits.
        g: u64 = "g",
        /// `next`: the next of the queue; in the tree of semaphores one of the two children.
        next: u64 = "next",
        /// `prev`: the other.
        prev: u64 = "prev",
        /// `isSelect`: whether it stands for one case of a `select`.
        is_select: bool = "isSelect",
        /// `waitlink`: the next sudog of the same goroutine, or of the same semaphore.
        waitlink: u64 = "waitlink",
        /// `elem`: where the value is; the address of the semaphore, and from 1.26 on of a `sync.Cond`'s list.
        elem: u64 = "elem",
        /// `c`: the channel; 0 for none.
        channel: u64 = "c",
    }
}

impl SudogLayout {
    /// The layout in `table`, with `elem` and `c` where their value is.
    ///
    /// # Errors
    /// When `table` lacks a field that every version has.
    pub fn with_values(table: &LayoutTable) -> Result<Self, crate::runtime::layout::MissingField> {
        let mut layout = Self::resolve(table)?;
        // From 1.26 on each is a pointer that the collector may be made not to see, and after it the number
        // that always holds (`maybeTraceablePtr.vu`).
        let value = table.offset("runtime.maybeTraceablePtr", "vu").unwrap_or(0);
        layout.elem = layout.elem.saturating_add(value);
        layout.channel = layout.channel.saturating_add(value);
        Ok(layout)
    }
}
