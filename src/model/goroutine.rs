//! One goroutine.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::{FrameId, Goid, LabelsId, StackId, StrId, WaitId};
use crate::addr::Addr;

/// `g.atomicstatus` without its scan bit (runtime2.go, `_Gidle` and following; 1.19 to 1.27).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Allocated, not yet initialised.
    Idle,
    /// On a run queue.
    Runnable,
    /// Executing; it owns its stack.
    Running,
    /// In a system call (or in C).
    Syscall,
    /// Blocked in the runtime.
    Waiting,
    /// Unused: just exited, on a free list, or being initialised.
    Dead,
    /// Its stack is being moved.
    CopyStack,
    /// Stopped itself for a suspension.
    Preempted,
    /// Found by the leak detector (1.26 on); blocked forever.
    Leaked,
    /// An unused goroutine for callbacks from C (1.26 on).
    DeadExtra,
    /// A number that no known runtime uses.
    Unknown(u8),
}

impl Status {
    /// The word of the runtime's own traceback, where it has one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Runnable => "runnable",
            Self::Running => "running",
            Self::Syscall => "syscall",
            Self::Waiting => "waiting",
            Self::Dead => "dead",
            Self::CopyStack => "copystack",
            Self::Preempted => "preempted",
            Self::Leaked => "leaked",
            Self::DeadExtra => "waiting for cgo callback",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Whether it is blocked: in a wait or a system call. The one rule of what counts as that.
    #[must_use]
    pub fn is_blocked(self) -> bool {
        Self::BLOCKED.contains(&self)
    }

    /// All states that count as blocked.
    pub const BLOCKED: [Self; 3] = [Self::Waiting, Self::Syscall, Self::Leaked];

    /// Whether a state counts as blocked, by the word for it.
    #[must_use]
    pub fn is_blocked_name(name: &str) -> bool {
        Self::BLOCKED.iter().any(|status| status.name() == name)
    }

    /// Whether this g is free for reuse.
    #[must_use]
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Dead | Self::DeadExtra)
    }
}

/// Index into `runtime.waitReasonStrings` of the very program that was read. The numbers mean
/// different things from version to version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WaitReasonId(pub u8);

/// Why a goroutine has no stack in the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NotShown {
    /// It was running: its stack is its own, and changes as it is read. A freeze shows it.
    Running,
    /// It changed on every try, or its stack did not end where stacks end.
    Moving,
    /// Its memory could not be read or made no sense, on every try.
    Unreadable,
    /// It is dead or not yet born.
    NoStack,
    /// Stacks were not requested.
    NotAsked,
}

/// The stack, or the reason why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StackState {
    /// Unwound and validated.
    Known(StackId),
    /// Not known.
    NotShown(NotShown),
}

impl StackState {
    /// The stack, where it is known.
    #[must_use]
    pub fn known(self) -> Option<StackId> {
        match self {
            Self::Known(stack) => Some(stack),
            Self::NotShown(_) => None,
        }
    }
}

/// One goroutine. Kept small: there may be a million of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Goroutine {
    /// Its id; 0 for a g that was never used or is dead.
    pub id: Goid,
    /// Address of its `runtime.g`.
    pub addr: Addr,
    /// State.
    pub status: Status,
    /// Whether the garbage collector held it (`_Gscan`).
    pub scan: bool,
    /// Why it waits; `None` unless it waits.
    pub wait_reason: Option<WaitReasonId>,
    /// What it waits for, in [`super::Snapshot::waits`]; `None` unless it is blocked and that was asked for.
    #[serde(skip)]
    pub waiting_on: Option<WaitId>,
    /// `g.waitsince`, ns by `nanotime`; `None` where the runtime has not set it. The runtime's own
    /// dumps count minutes from it, though it may lie before the goroutine blocked. `None` for
    /// coroutines too, which may have run since.
    pub wait_since_ns: Option<NonZeroU64>,
    /// A time, ns by `nanotime`, at which it was certainly blocked already.
    #[serde(skip)]
    pub blocked_before_ns: Option<NonZeroU64>,
    /// `g.trackingSeq`: how often it has stopped running, modulo 256. While it stays the same, the
    /// goroutine has not run. `None` where that proves nothing: while it can run, as a coroutine, when
    /// the collector suspended it, and in system calls from 1.26 on.
    pub run_seq: Option<u8>,
    /// Address of the M that runs it or holds it (`g.m`).
    pub m: Option<Addr>,
    /// Who created it (1.21 on).
    pub parent: Option<Goid>,
    /// Where it was created: the `go` statement.
    pub creator: Option<FrameId>,
    /// The function that it started in.
    pub start: Option<FrameId>,
    /// The innermost frame of all, the runtime's ones included; for a running one `None`.
    pub innermost: Option<FrameId>,
    /// The innermost frame that is not the runtime's; what a person wants to see.
    pub current: Option<FrameId>,
    /// Its stack.
    pub stack: StackState,
    /// When its stack was read, ns by `nanotime`, where that was in an earlier capture than this one; see
    /// [`super::StackReadings`].
    #[serde(skip)]
    pub stack_since_ns: Option<NonZeroU64>,
    /// Whether the runtime's own stamp proves that its stack has been the same since then.
    #[serde(skip)]
    pub stack_is_proven: bool,
    /// What it does in C, where it is there and that is known; apart from `stack`, which is what the
    /// runtime itself sees of it.
    pub foreign: Option<super::ForeignStackId>,
    /// Stack pointer where unwinding started; 0 where unknown.
    pub sp: Addr,
    /// Low end of its stack.
    pub stack_lo: Addr,
    /// High end of its stack.
    pub stack_hi: Addr,
    /// The value of the panic that it is in, as the runtime would print it, as long as that is not
    /// recovered.
    pub panic: Option<StrId>,
    /// The program's own pprof labels.
    pub labels: Option<LabelsId>,
    /// Id of its synctest bubble (1.25 on).
    pub bubble: Option<NonZeroU64>,
    /// Whether it is the runtime's own rather than the program's (`isSystemGoroutine`).
    pub system: bool,
    /// Whether it is locked to its thread (`runtime.LockOSThread`).
    pub locked: bool,
    /// Its creators' stacks, nearest first, where the program runs with `tracebackancestors`;
    /// index into [`crate::model::SymbolPool`].
    pub ancestors: Option<super::AncestorsId>,
}

impl Goroutine {
    /// Bytes of stack in use; `None` where the stack pointer is unknown.
    #[must_use]
    pub fn stack_used(&self) -> Option<u64> {
        (self.sp.0 != 0).then(|| self.stack_hi.0.checked_sub(self.sp.0)).flatten()
    }

    /// Bytes of stack reserved.
    #[must_use]
    pub fn stack_reserved(&self) -> Option<u64> {
        (self.stack_hi.0 != 0).then(|| self.stack_hi.0.checked_sub(self.stack_lo.0)).flatten()
    }
}
