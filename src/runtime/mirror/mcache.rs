//! `runtime.mcache`: what a P allocates from.

use super::mirror;

mirror! {
    /// What is read of a `runtime.mcache` (mcache.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Mcache, McacheLayout of "runtime.mcache" {
        /// `tinyAllocs`: tiny objects that are not in the heap's statistics yet.
        tiny_allocs: u64 = "tinyAllocs",
    }
    offsets { alloc = "alloc" }
}

/// `numSpanClasses`: spans that an mcache holds, one with and one without pointers for each of the
/// 68 size classes (1.19 to 1.27).
pub(crate) const SPAN_CLASSES: usize = 136;

impl McacheLayout {
    /// Offset in bytes of the pointer to the span of a class; `None` where there is no such class.
    #[must_use]
    pub fn span(&self, class: usize) -> Option<u32> {
        let class = u32::try_from(class).ok().filter(|_| class < SPAN_CLASSES)?;
        self.alloc.checked_add(class.checked_mul(8)?)
    }
}
