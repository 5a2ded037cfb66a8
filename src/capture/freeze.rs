//! Exact stacks of running goroutines, for which threads have to stand still for a moment.
//!
//! What is read while they stand is only read; it is decoded when they run again.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::unwind::{Start, StartKind};
use crate::addr::Addr;
use crate::model::FreezeInfo;
use crate::runtime::g::{G, GLayout, GobufLayout};
use crate::runtime::m::{M, MLayout};
use crate::target::{Frozen, ReadError, Registers, Target, TargetExt, Tid};

/// What to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeMode {
    /// Only threads that run goroutines, one at a time.
    Running,
    /// Every thread, together.
    All,
}

/// Adds one stop to what is told of the freeze: the longest counts.
pub(super) fn note(info: &mut FreezeInfo, stopped: std::time::Duration, threads: usize) {
    info.stopped_ns = info.stopped_ns.max(u64::try_from(stopped.as_nanos()).unwrap_or(u64::MAX));
    info.threads = info.threads.saturating_add(u32::try_from(threads).unwrap_or(u32::MAX));
}

/// Where the goroutines that run on stopped threads are, by the address of the g.
pub(super) fn starts(
    target: &dyn Target,
    frozen: &dyn Frozen,
    ms: &[M],
    g: &GLayout,
    gobuf: &GobufLayout,
    text: &Range<u64>,
) -> Result<FxHashMap<u64, Start>, ReadError> {
    let mut starts = FxHashMap::default();
    for m in ms.iter().filter(|m| m.curg != 0) {
        let Some(registers) = tid(m).and_then(|tid| frozen.registers(tid)) else { continue };
        if let Some(start) = start(target, m, &registers, g, gobuf, text)? {
            starts.insert(m.curg, start);
        }
    }
    Ok(starts)
}

/// The M at `addr` as it is now.
pub(super) fn read_m(target: &dyn Target, addr: Addr, layout: &MLayout) -> Result<Option<M>, ReadError> {
    let size = usize::try_from(layout.size).unwrap_or_default();
    Ok(target.read_vec(addr, size)?.and_then(|bytes| M::parse(addr, &bytes, layout)))
}

/// The kernel's id of an M's thread.
pub(super) fn tid(m: &M) -> Option<Tid> {
    Tid::try_from(m.procid).ok().filter(|&tid| tid > 0)
}

/// Where the stack of the goroutine on `m` starts. `None` where that cannot be known: in a signal
/// handler, or on a stack that is nobody's.
fn start(
    target: &dyn Target,
    m: &M,
    registers: &Registers,
    layout: &GLayout,
    gobuf: &GobufLayout,
    text: &Range<u64>,
) -> Result<Option<Start>, ReadError> {
    let read = |addr: u64| -> Result<Option<G>, ReadError> {
        let size = usize::try_from(layout.size).unwrap_or_default();
        Ok(target.read_vec(Addr(addr), size)?.and_then(|bytes| G::parse(&bytes, layout, gobuf)))
    };
    let holds = |g: &Option<G>, sp: u64| g.as_ref().is_some_and(|g| (g.stack_lo..g.stack_hi).contains(&sp));
    let sp = registers.sp;
    let curg = read(m.curg)?;
    if holds(&curg, m.vdso_sp) {
        // In the kernel's own code, on the scheduler's stack; the runtime noted where it called it.
        return Ok(Some(Start { pc: Addr(m.vdso_pc), sp: Addr(m.vdso_sp), lr: Addr(0), kind: StartKind::Parked }));
    }
    if holds(&curg, sp.0) {
        return Ok(Some(Start { pc: registers.pc, sp, lr: registers.lr, kind: StartKind::Interrupted }));
    }
    // C code that runs on the scheduler's stack may have been called without noting anything (the
    // race detector's).
    if !text.contains(&registers.pc.0) {
        return Ok(None);
    }
    if holds(&read(m.g0)?, sp.0) && m.gsignal != 0 && !holds(&read(m.gsignal)?, sp.0) {
        // The scheduler's stack: the goroutine's own place was saved on the switch.
        return Ok(curg.map(|g| Start {
            pc: Addr(g.sched_pc),
            sp: Addr(g.sched_sp),
            lr: Addr(g.sched_lr),
            kind: StartKind::Parked,
        }));
    }
    Ok(None)
}
