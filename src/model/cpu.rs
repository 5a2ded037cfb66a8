//! What a program did while it used CPUs, as sampled.

use super::{Goid, LabelsId, Snapshot, StackId, SymbolPool};
use crate::process::{CpuClockStats, Tid};

/// The labels of what was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampledLabels {
    /// The goroutine's labels; `None` for one without any.
    Known(Option<LabelsId>),
    /// Not certain: they, or the goroutine, changed before they could be read.
    Unknown,
}

/// A moment in which a thread used a CPU. It stands for one period of CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSample {
    /// The thread's id in its own pid namespace.
    pub thread: Tid,
    /// Whether it was in the kernel, for what its stack shows.
    pub kernel: bool,
    /// Its stack. Of C code it has the innermost function only.
    pub stack: StackId,
    /// Whether all callers are in it; else its outermost frame says that they are unknown.
    pub complete: bool,
    /// The goroutine that it ran, where that is certain.
    pub goroutine: Option<Goid>,
    /// That goroutine's labels.
    pub labels: SampledLabels,
}

/// Samples that came together, and how sampling has gone so far.
#[derive(Clone, Copy, Debug)]
pub struct CpuSamples<'a> {
    /// In order for each thread.
    pub samples: &'a [CpuSample],
    /// Up to now.
    pub stats: CpuClockStats,
    /// Names, stacks and labels: the same pool each time, which grows.
    pub symbols: &'a SymbolPool,
    /// The program as it was before the first sample, without its goroutines.
    pub before: &'a Snapshot,
}
