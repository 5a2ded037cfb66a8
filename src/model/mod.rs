//! The snapshot: pure data about one moment (or nearly one) of a Go program.
//!
//! Nothing here reads a process or knows how anything is shown. Everything unknown is `None`; every problem
//! is a [`Warning`] with a stable code. A million goroutines share a few thousand stacks and names, so those
//! are interned in a [`SymbolPool`] and goroutines hold ids.

mod cpu;
mod death;
mod goroutine;
mod heap;
mod interner;
mod metrics;
mod not_in_go;
mod pool;
mod profile;
mod shared;
mod stats;
mod target_info;
#[doc(hidden)]
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod traceback;
pub mod values;
mod variable;
pub mod wait;
mod warning;
mod watched;

pub use cpu::{CpuSample, CpuSamples, SampledLabels};
pub use death::{Death, DeathKind, DeathSignal, PanicValue, StackKind};
pub use goroutine::{Goroutine, NotShown, StackState, Status, WaitReasonId};
pub use heap::{HeapReading, SizeClass, SizeClasses, SpanCache, Survivors};
pub use metrics::{Collections, RuntimeMetrics};
pub use not_in_go::{Activity, NotInGo, Outside};
pub use pool::{
    Ancestor, AncestorFrame, AncestorsId, ForeignFrame, ForeignStack, ForeignStackId, Frame, FrameId, Label, LabelsId,
    Language, PoolId, Stack, StackFrame, StackId, StrId, SymbolPool,
};
pub(crate) use pool::{PoolEntry, PoolLen};
pub use profile::{
    AllocationProfile, AllocationSite, ContentionKind, ContentionProfile, ContentionSite, CountProfile, CountedStack,
    ProfileReading, ProfileStack,
};
pub use shared::Shared;
pub(crate) use shared::Turns;
pub use stats::{GcPhase, GcStats, HeapStats, PStatus, Pause, Processor, Scheduler, Thread};
pub use target_info::{
    Consistency, FreezeInfo, ModuleInfo, Provenance, Reading, StackReadings, TargetInfo, TextMapping,
};
pub use traceback::{
    ArgumentToken, Arguments, FrameArguments, FrameWords, GoroutineArguments, StackArguments, TracebackDetails,
};
pub use variable::{PackageVariable, VariableValue};
pub use wait::{
    Channel, ChannelTimer, DescriptorDetails, Direction, HolderEvidence, LikelyHolder, LockOperation, MutexState,
    ObjectState, RwMutexState, SelectCase, TimerSource, Wait, WaitId, WaitKind, WaitObject, WaitObjectId, WaitUnknown,
    Waits,
};
pub use warning::{Warning, WarningCode, Warnings};
pub use watched::WatchedWaits;

pub use crate::process::{CpuClockStats, Descriptor, Descriptors, Resources, SystemCall};

use std::num::NonZeroU64;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::addr::{Addr, Arch};

/// Everything that one look at a target found.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken: ns since the Unix epoch, by the target's clock.
    pub captured_at_unix_ns: u64,
    /// The same moment by the runtime's `nanotime` (`CLOCK_MONOTONIC`), ns.
    pub monotonic_ns: u64,
    /// When it was read, ns by `nanotime`, where that was earlier because nothing of the program has run since: it is now
    /// as it was read then.
    pub unchanged_since_ns: Option<NonZeroU64>,
    /// What was read.
    pub target: TargetInfo,
    /// How it was read.
    pub reading: Reading,
    /// The scheduler, where it was found.
    pub sched: Option<Scheduler>,
    /// The heap, where its statistics were found.
    pub heap: Option<HeapStats>,
    /// The garbage collector, where its statistics were found.
    pub gc: Option<GcStats>,
    /// Every P, in order of id.
    pub processors: Vec<Processor>,
    /// Every M, in order of id.
    pub threads: Vec<Thread>,
    /// Every goroutine that is not dead, in order of id; dead ones only if requested, after the others in
    /// order of address.
    pub goroutines: Shared<Goroutine>,
    /// How many dead (free) gs there are, whether they are listed or not.
    pub dead_goroutines: u64,
    /// `runtime.waitReasonStrings` as read from the target.
    pub wait_reasons: Vec<String>,
    /// What the goroutines wait for, by [`Goroutine::waiting_on`]; empty where that was not asked for.
    pub waits: Waits,
    /// What goroutines in system calls and in C do, by address of the g; empty where that was not asked for.
    pub not_in_go: NotInGo,
    /// The descriptors that goroutines wait for or use, by number; empty where that was not asked for.
    pub descriptors: Descriptors,
    /// Measured waits of the saved snapshot that this was made from; none in one that was just read.
    pub watched: WatchedWaits,
    /// How the program died; `None` for one that lives, or lived when its core file was made.
    pub death: Option<Death>,
    /// What only tracebacks show; `None` unless it was asked for.
    pub traceback: Option<TracebackDetails>,
    /// Names, places and stacks. Snapshots of one session share them: ids mean the same in all whose
    /// pools have the same [identity](SymbolPool::id).
    pub symbols: Arc<SymbolPool>,
    /// Warnings.
    pub warnings: Warnings,
}

impl Snapshot {
    /// Text of a wait reason, from the target's own table.
    #[must_use]
    pub fn wait_reason(&self, id: WaitReasonId) -> Option<&str> {
        self.wait_reasons.get(usize::from(id.0)).map(String::as_str).filter(|s| !s.is_empty())
    }

    /// For how long `goroutine` has been blocked at least, in ns. Known from garbage collections only: a
    /// young wait, or one in a program that never collects, is unknown.
    #[must_use]
    pub fn wait_ns(&self, goroutine: &Goroutine) -> Option<u64> {
        goroutine.blocked_before_ns.map(|before| self.monotonic_ns.saturating_sub(before.get()))
    }

    /// The time from the runtime's own stamp to now, in ns: what its dumps print as minutes. It may be longer
    /// than the goroutine has been blocked, by up to the time between two collections.
    #[must_use]
    pub fn since_stamp_ns(&self, goroutine: &Goroutine) -> Option<u64> {
        goroutine.wait_since_ns.map(|since| self.monotonic_ns.saturating_sub(since.get()))
    }

    /// When the stack of `goroutine` was read, ns by `nanotime`, where that was before this snapshot was taken.
    #[must_use]
    pub fn stack_since_ns(&self, goroutine: &Goroutine) -> Option<NonZeroU64> {
        goroutine.stack.known()?;
        goroutine.stack_since_ns.or(self.unchanged_since_ns)
    }

    /// Whether the stack of `goroutine` is what it was when the snapshot was taken, with certainty: it was read then, or
    /// is proven to be the same.
    #[must_use]
    pub fn has_certain_stack(&self, goroutine: &Goroutine) -> bool {
        goroutine.stack_since_ns.is_none() || goroutine.stack_is_proven
    }

    /// The same since the Unix epoch, by the target's clock.
    #[must_use]
    pub fn stack_since_unix_ns(&self, goroutine: &Goroutine) -> Option<u64> {
        let ago = self.monotonic_ns.saturating_sub(self.stack_since_ns(goroutine)?.get());
        Some(self.captured_at_unix_ns.saturating_sub(ago))
    }

    /// What `goroutine` waits for; `None` where it is not blocked, or that was not asked for.
    #[must_use]
    pub fn waiting_on(&self, goroutine: &Goroutine) -> Option<&Wait> {
        self.waits.get(goroutine.waiting_on?)
    }

    /// The architecture of the program, by which system calls have their numbers.
    #[must_use]
    pub fn arch(&self) -> Arch {
        Arch::of_name(self.target.arch)
    }

    /// The M that `goroutine` is on.
    #[must_use]
    pub fn thread_of(&self, goroutine: &Goroutine) -> Option<&Thread> {
        let m = goroutine.m?;
        self.threads.iter().find(|thread| thread.addr == m)
    }

    /// Whether everything that could be read was read: no goroutine moved or was unreadable, and no
    /// part is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.reading.consistency.moving == 0
            && self.reading.consistency.unreadable == 0
            && self.sched.is_some()
            && self.heap.is_some()
            && self.gc.is_some()
            && !self.warnings.iter().any(|w| w.code.means_incomplete())
    }
}

/// A goroutine's id, Go's `goid`; the runtime never uses 0 for a live one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Goid(pub u64);

/// Address of a runtime object that names it for as long as the process lives (g, m, p).
pub type ObjectAddr = Addr;
