//! `runtime.g`: one goroutine's header.

use super::mirror;
use crate::bytes::FieldsExt as _;
use crate::model::Status;

mirror! {
    /// The registers saved in a g (runtime2.go).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Gobuf, GobufLayout of "runtime.gobuf" {
        /// Stack pointer.
        sp: u64 = "sp",
        /// Program counter.
        pc: u64 = "pc",
        /// Link register; always 0 on amd64.
        lr: u64 = "lr",
    }
}

mirror! {
    /// What is read of a `runtime.g` (runtime2.go), as it is in memory: nothing in it has been validated yet.
    /// It is parsed a million times in a large program, which is nothing but loads.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct G, GLayout of "runtime.g" {
        /// `stack.lo`.
        stack_lo: u64 = "stack",
        /// `stack.hi`.
        stack_hi: u64 = "stack" + 8,
        /// `m`: address of the M that it runs on or is held by; 0 for none.
        m: u64 = "m",
        /// `sched.sp`; stale while it runs.
        sched_sp: u64 = "sched" . "runtime.gobuf" . "sp",
        /// `sched.pc`; stale while it runs.
        sched_pc: u64 = "sched" . "runtime.gobuf" . "pc",
        /// `sched.lr`; always 0 on amd64.
        sched_lr: u64 = "sched" . "runtime.gobuf" . "lr",
        /// `syscallsp`; not 0 while it is in a system call or in C.
        syscallsp: u64 = "syscallsp",
        /// `syscallpc`.
        syscallpc: u64 = "syscallpc",
        /// `stktopsp`: where its stack pointer should be at its outermost frame.
        stktopsp: u64 = "stktopsp",
        /// `atomicstatus`, the scan bit included; see [`G::status`].
        atomicstatus: u32 = "atomicstatus",
        /// `goid`; 0 before its first use.
        goid: u64 = "goid",
        /// `schedlink`: the next g on the run queue that it is on.
        schedlink: u64 = "schedlink",
        /// `waitsince`, ns by `nanotime`; 0 where not set.
        waitsince: u64 = "waitsince",
        /// `waitreason`: index into `waitReasonStrings`; stale unless it waits.
        waitreason: u8 = "waitreason",
        /// `trackingSeq`: counts, modulo 256, how often it left the running state.
        tracking_seq: u8 = "trackingSeq",
        /// `lockedm`: the M that it is locked to; 0 for none.
        lockedm: u64 = "lockedm",
        /// `_panic`: address of the newest of the panics that it is in; 0 for none.
        panic: u64 = "_panic",
        /// `gopc`: the instruction after the `go` statement that created it; 0 for the runtime's first ones.
        gopc: u64 = "gopc",
        /// `startpc`: entry of the function that it started in.
        startpc: u64 = "startpc",
        /// `ancestors`: address of a `[]ancestorInfo`; 0 for none.
        ancestors: u64 = "ancestors",
        /// `waiting`: the first `sudog` of those that it waits on.
        waiting: u64 = "waiting",
        /// `labels`: address of its pprof labels; 0 for none.
        labels: u64 = "labels",
        /// `timer`: its cached timer for `time.Sleep`.
        timer: u64 = "timer",
        /// `param`.
        param: u64 = "param",
    }
    optional {
        /// `parentGoid` (1.21 on).
        parent_goid: u64 = "parentGoid",
        /// `sleepWhen` (1.23 on): when its sleep ends, ns by `nanotime`.
        sleep_when: u64 = "sleepWhen",
        /// `coroarg` (1.22 on).
        coroarg: u64 = "coroarg",
        /// `syncGroup` (1.24): its synctest bubble; see [`G::bubble`].
        sync_group: u64 = "syncGroup",
        /// `bubble` (1.25 on): its synctest bubble; see [`G::bubble`].
        bubble: u64 = "bubble",
    }
    offsets { stack = "stack", sched = "sched" }
    optional offsets { sig = "sig", sigcode0 = "sigcode0", sigcode1 = "sigcode1", sigpc = "sigpc" }
}

mirror! {
    /// What of a g shows whether it has gone on (runtime2.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Standing, StandingLayout of "runtime.g" {
        /// `atomicstatus`; see [`Standing::status`].
        atomicstatus: u32 = "atomicstatus",
        /// `goid`.
        goid: u64 = "goid",
        /// `waitreason`; stale unless it waits.
        waitreason: u8 = "waitreason",
        /// `trackingSeq`: counts, modulo 256, how often it left the running state.
        tracking_seq: u8 = "trackingSeq",
    }
}

mirror! {
    /// What of a g leads to more that its stack refers to (runtime2.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StackRoots, StackRootsLayout of "runtime.g" {
        /// `sched.ctxt`: the closure that it was switched away with; 0 for none.
        context: u64 = "sched" . "runtime.gobuf" . "ctxt",
        /// `_panic`: the newest of the panics that it is in.
        panic: u64 = "_panic",
        /// `_defer`: the newest of its deferred calls.
        deferred: u64 = "_defer",
    }
}

mirror! {
    /// A `runtime._defer` (runtime2.go) as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Defer, DeferLayout of "runtime._defer" {
        /// `fn`: the closure.
        function: u64 = "fn",
        /// `link`: the next older one; 0 for none.
        link: u64 = "link",
    }
}

/// `_Gscan`: the bit of `atomicstatus` by which the garbage collector holds a goroutine.
const SCAN: u32 = 0x1000;

/// The smallest stack, bytes (`fixedStack` in runtime/stack.go; 1.19 to 1.27).
const MIN_STACK: u64 = 2048;
/// Stacks begin at multiples of their size, and the larger ones at multiples of a page of the
/// runtime's (`pageSize` in runtime/malloc.go).
const PAGE: u64 = 8192;

/// Largest stack that is accepted, bytes; `maxstackceiling` is twice the 1 GB that a stack may have by
/// default.
pub(crate) const MAX_STACK: u64 = 2 << 30;

/// A signal that the runtime made a panic of (`g.sig` and what follows it); it stays after the panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `sig`: number of the signal.
    pub signal: u32,
    /// `sigcode0`: `si_code`.
    pub code: u64,
    /// `sigcode1`: the address of the fault.
    pub addr: u64,
    /// `sigpc`: the instruction.
    pub pc: u64,
}

impl G {
    /// Whether the garbage collector holds it: the scan bit of its state.
    #[must_use]
    pub(crate) fn scan(&self) -> bool {
        self.atomicstatus & SCAN != 0
    }

    /// Address of its synctest bubble; 0 for none. It was called a group in 1.24.
    #[must_use]
    pub(crate) fn bubble(&self) -> u64 {
        self.bubble.or(self.sync_group).unwrap_or(0)
    }

    /// The signal that made it panic, from a g's bytes; `None` where none did.
    #[must_use]
    pub(crate) fn fault(bytes: &[u8], layout: &GLayout) -> Option<Fault> {
        let word = |offset: Option<u32>| bytes.u64_at(offset? as usize);
        let signal = bytes.u32_at(layout.sig? as usize).filter(|&signal| signal != 0)?;
        Some(Fault { signal, code: word(layout.sigcode0)?, addr: word(layout.sigcode1)?, pc: word(layout.sigpc)? })
    }

    /// The stack pointer at which its stack begins while it does not run.
    #[must_use]
    pub(crate) fn start_sp(&self) -> u64 {
        if self.syscallsp != 0 { self.syscallsp } else { self.sched_sp }
    }

    /// Whether the bounds of its stack are those of a stack: a power of two apart, as the runtime
    /// allocates them (`stackalloc` in runtime/stack.go; 1.19 to 1.27).
    #[must_use]
    pub(crate) fn stack_can_be(&self) -> bool {
        let size = self.stack_hi.wrapping_sub(self.stack_lo);
        size.is_power_of_two()
            && (MIN_STACK..=MAX_STACK).contains(&size)
            && self.stack_lo.is_multiple_of(size.min(PAGE))
    }

    /// Whether a g that says that it is dead has nothing that only one that is alive has: `goexit0` and
    /// `gdestroy` clear it (runtime/proc.go; 1.19 to 1.27). Those for callbacks from C keep theirs.
    #[must_use]
    #[inline]
    pub(crate) fn is_dead_for_certain(&self) -> bool {
        (self.waitreason == 0 && self.m == 0) || self.startpc == 0 || self.lockedm != 0
    }

    /// Whether it has a stack, of a size that can be, with [`G::start_sp`] in it.
    #[must_use]
    pub(crate) fn stack_is_readable(&self) -> bool {
        let sp = self.start_sp();
        self.stack_lo != 0
            && self.stack_hi.checked_sub(self.stack_lo).is_some_and(|size| size <= MAX_STACK)
            && (self.stack_lo..=self.stack_hi).contains(&sp)
            && sp.is_multiple_of(8)
    }

    /// Its state.
    #[must_use]
    pub(crate) fn status(&self) -> Status {
        status(self.atomicstatus)
    }
}

impl Standing {
    /// Its state.
    #[must_use]
    pub(crate) fn status(&self) -> Status {
        status(self.atomicstatus)
    }
}

/// A state by `atomicstatus`. The numbers have kept their meaning since 1.19; 1.26 added two.
fn status(atomicstatus: u32) -> Status {
    match atomicstatus & !SCAN {
        0 => Status::Idle,
        1 => Status::Runnable,
        2 => Status::Running,
        3 => Status::Syscall,
        4 => Status::Waiting,
        6 => Status::Dead,
        8 => Status::CopyStack,
        9 => Status::Preempted,
        10 => Status::Leaked,
        11 => Status::DeadExtra,
        other => Status::Unknown(u8::try_from(other).unwrap_or(u8::MAX)),
    }
}

#[cfg(test)]
#[path = "g_tests.rs"]
mod tests;
