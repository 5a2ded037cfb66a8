//! `runtime.g`: one goroutine's header.

use super::bulk;
use super::layout::{Layout, layout};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{Goid, Status};
use crate::process::{ReadError, Target};

layout! {
    /// Offsets in `runtime.g` (runtime2.go).
    GLayout of "runtime.g" {
        stack = "stack",
        panic = "_panic",
        m = "m",
        sched = "sched",
        syscallsp = "syscallsp",
        syscallpc = "syscallpc",
        stktopsp = "stktopsp",
        param = "param",
        atomicstatus = "atomicstatus",
        goid = "goid",
        schedlink = "schedlink",
        waitsince = "waitsince",
        waitreason = "waitreason",
        tracking_seq = "trackingSeq",
        lockedm = "lockedm",
        gopc = "gopc",
        ancestors = "ancestors",
        startpc = "startpc",
        waiting = "waiting",
        labels = "labels",
        timer = "timer",
        ; optional
        sig = "sig",
        sigcode0 = "sigcode0",
        sigcode1 = "sigcode1",
        sigpc = "sigpc",
        parent_goid = "parentGoid",
        sleep_when = "sleepWhen",
        coroarg = "coroarg",
        sync_group = "syncGroup",
        bubble = "bubble",
    }
}

layout! {
    /// Offsets in `runtime.gobuf` (runtime2.go), the saved registers in a g.
    GobufLayout of "runtime.gobuf" {
        sp = "sp",
        pc = "pc",
        lr = "lr",
    }
}

/// `_Gscan`: the bit of `atomicstatus` by which the garbage collector holds a goroutine.
const SCAN: u32 = 0x1000;

/// Largest stack that is believed, bytes; `maxstackceiling` is twice the 1 GB that a stack may
/// have by default.
pub(crate) const MAX_STACK: u64 = 2 << 30;

/// What is read of a `runtime.g`, as it stands in memory: nothing in it is believed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct G {
    /// `stack.lo`.
    pub stack_lo: u64,
    /// `stack.hi`.
    pub stack_hi: u64,
    /// `m`: address of the M that it runs on or is held by; 0 for none.
    pub m: u64,
    /// `sched.sp`; stale while it runs.
    pub sched_sp: u64,
    /// `sched.pc`; stale while it runs.
    pub sched_pc: u64,
    /// `sched.lr`; always 0 on amd64.
    pub sched_lr: u64,
    /// `syscallsp`; not 0 while it is in a system call or in C.
    pub syscallsp: u64,
    /// `syscallpc`.
    pub syscallpc: u64,
    /// `stktopsp`: where its stack pointer should be at its outermost frame.
    pub stktopsp: u64,
    /// `atomicstatus` without the scan bit.
    pub status: u32,
    /// Whether the scan bit was set.
    pub scan: bool,
    /// `goid`; 0 before its first use.
    pub goid: u64,
    /// `schedlink`: the next g on the run queue that it is on.
    pub schedlink: u64,
    /// `waitsince`, ns by `nanotime`; 0 where not set.
    pub waitsince: u64,
    /// `waitreason`: index into `waitReasonStrings`; stale unless it waits.
    pub waitreason: u8,
    /// `trackingSeq`: counts, modulo 256, how often it left the running state.
    pub tracking_seq: u8,
    /// `lockedm`: the M that it is locked to; 0 for none.
    pub lockedm: u64,
    /// `_panic`: address of the newest of the panics that it is in; 0 for none.
    pub panic: u64,
    /// `parentGoid` (1.21 on).
    pub parent_goid: Option<u64>,
    /// `gopc`: behind the `go` statement that created it; 0 for the runtime's first ones.
    pub gopc: u64,
    /// `startpc`: entry of the function that it started in.
    pub startpc: u64,
    /// `ancestors`: address of a `[]ancestorInfo`; 0 for none.
    pub ancestors: u64,
    /// `waiting`: the first `sudog` of those that it waits on.
    pub waiting: u64,
    /// `labels`: address of its pprof labels; 0 for none.
    pub labels: u64,
    /// `timer`: its cached timer for `time.Sleep`.
    pub timer: u64,
    /// `param`.
    pub param: u64,
    /// `sleepWhen` (1.23 on): when its sleep ends, ns by `nanotime`.
    pub sleep_when: Option<u64>,
    /// `coroarg` (1.22 on).
    pub coroarg: Option<u64>,
    /// `bubble` (1.25 on) or `syncGroup` (1.24): its synctest bubble; 0 for none.
    pub bubble: Option<u64>,
}

/// A signal that the runtime made a panic of (`g.sig` and what follows it); it stays after the panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
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
    /// Takes a g's bytes apart. `None` when there are too few. This runs a million times in a large
    /// program, and does nothing but loads.
    #[must_use]
    #[inline]
    pub fn parse(bytes: &[u8], layout: &GLayout, gobuf: &GobufLayout) -> Option<Self> {
        let word = |offset: u32| bytes.u64_at(offset as usize);
        let optional = |offset: Option<u32>| offset.and_then(word);
        let status = bytes.u32_at(layout.atomicstatus as usize)?;
        Some(Self {
            stack_lo: word(layout.stack)?,
            stack_hi: word(layout.stack.checked_add(8)?)?,
            m: word(layout.m)?,
            sched_sp: word(layout.sched.checked_add(gobuf.sp)?)?,
            sched_pc: word(layout.sched.checked_add(gobuf.pc)?)?,
            sched_lr: word(layout.sched.checked_add(gobuf.lr)?)?,
            syscallsp: word(layout.syscallsp)?,
            syscallpc: word(layout.syscallpc)?,
            stktopsp: word(layout.stktopsp)?,
            status: status & !SCAN,
            scan: status & SCAN != 0,
            goid: word(layout.goid)?,
            schedlink: word(layout.schedlink)?,
            waitsince: word(layout.waitsince)?,
            waitreason: bytes.u8_at(layout.waitreason as usize)?,
            tracking_seq: bytes.u8_at(layout.tracking_seq as usize)?,
            lockedm: word(layout.lockedm)?,
            panic: word(layout.panic)?,
            parent_goid: optional(layout.parent_goid),
            gopc: word(layout.gopc)?,
            startpc: word(layout.startpc)?,
            ancestors: word(layout.ancestors)?,
            waiting: word(layout.waiting)?,
            labels: word(layout.labels)?,
            timer: word(layout.timer)?,
            param: word(layout.param)?,
            sleep_when: optional(layout.sleep_when),
            coroarg: optional(layout.coroarg),
            bubble: optional(layout.bubble.or(layout.sync_group)),
        })
    }

    /// The signal that made it panic, from a g's bytes; `None` where none did.
    #[must_use]
    pub fn fault(bytes: &[u8], layout: &GLayout) -> Option<Fault> {
        let word = |offset: Option<u32>| bytes.u64_at(offset? as usize);
        let signal = bytes.u32_at(layout.sig? as usize).filter(|&signal| signal != 0)?;
        Some(Fault { signal, code: word(layout.sigcode0)?, addr: word(layout.sigcode1)?, pc: word(layout.sigpc)? })
    }

    /// The stack pointer at which its stack begins while it does not run.
    #[must_use]
    pub fn start_sp(&self) -> u64 {
        if self.syscallsp != 0 { self.syscallsp } else { self.sched_sp }
    }

    /// Whether it has a stack, of a size that can be, with [`G::start_sp`] in it.
    #[must_use]
    pub fn stack_is_readable(&self) -> bool {
        let sp = self.start_sp();
        self.stack_lo != 0
            && self.stack_hi.checked_sub(self.stack_lo).is_some_and(|size| size <= MAX_STACK)
            && (self.stack_lo..=self.stack_hi).contains(&sp)
            && sp.is_multiple_of(8)
    }

    /// Its state. The numbers have kept their meaning since 1.19; 1.26 added two.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.status {
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
}

/// The ids of the goroutines at `addrs`; `None` for nil, for what cannot be read, and for a g
/// without an id.
///
/// # Errors
/// When the target could not be looked at.
pub fn read_goids(target: &dyn Target, addrs: &[Addr], layout: &Layout) -> Result<Vec<Option<Goid>>, ReadError> {
    let at: Vec<Addr> = addrs
        .iter()
        .map(|addr| if addr.is_nil() { *addr } else { Addr(addr.0.wrapping_add(u64::from(layout.g.goid))) })
        .collect();
    let ids = bulk::words(target, &at)?;
    Ok(ids.into_iter().map(|id| id.filter(|id| *id != 0).map(Goid)).collect())
}

#[cfg(test)]
#[path = "g_tests.rs"]
mod tests;
