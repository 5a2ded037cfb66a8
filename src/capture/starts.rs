//! Where goroutines are that run on stopped or dead threads.
//!
//! A process that died of a signal is in that signal's handlers; where its goroutines were interrupted is in
//! what the kernel saved for the handlers.

use rustc_hash::FxHashMap;

use super::unwind::{Start, StartKind};
use crate::addr::Addr;
use crate::process::{ReadError, Registers, TargetExt, Tid};
use crate::runtime::GoProcess;
use crate::runtime::mirror::g::G;
use crate::runtime::mirror::m::M;
use crate::runtime::signal_frame::{self, MAX_SIGNAL_STACK};

/// Where the goroutines that run on stopped threads are, by the address of the g.
pub(super) fn starts(
    process: GoProcess<'_>,
    registers: impl Fn(Tid) -> Option<Registers>,
    ms: &[M],
) -> Result<FxHashMap<u64, Start>, ReadError> {
    let mut starts = FxHashMap::default();
    for m in ms.iter().filter(|m| m.curg != 0) {
        let Some(mut registers) = m.tid().and_then(&registers) else { continue };
        if let Some(interrupted) = interrupted(process, m, &registers)? {
            registers = interrupted;
        }
        if let Some(start) = start(process, m, &registers)? {
            starts.insert(m.curg, start);
        }
    }
    Ok(starts)
}

/// Where the stack of the goroutine on `m` starts. `None` where that cannot be known: in a signal handler, or
/// on an unknown stack.
fn start(process: GoProcess<'_>, m: &M, registers: &Registers) -> Result<Option<Start>, ReadError> {
    let read = |addr: u64| process.read::<G>(Addr(addr));
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
    if !process.is_go_code(registers.pc.0) {
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

/// The registers that a signal interrupted, when a thread is in a handler of it.
fn interrupted(process: GoProcess<'_>, m: &M, registers: &Registers) -> Result<Option<Registers>, ReadError> {
    let Some(gsignal) = process.read::<G>(Addr(m.gsignal))? else { return Ok(None) };
    let Some(len) = gsignal.stack_hi.checked_sub(gsignal.stack_lo).filter(|&len| len <= MAX_SIGNAL_STACK) else {
        return Ok(None);
    };
    let sp = registers.sp.0;
    if !(gsignal.stack_lo..gsignal.stack_hi).contains(&sp) {
        return Ok(None);
    }
    let rest = usize::try_from(gsignal.stack_hi - sp).unwrap_or_default();
    let stack = process.target.read_vec(Addr(sp), rest)?;
    Ok(stack.and_then(|stack| signal_frame::interrupted(&stack, sp, gsignal.stack_lo, len, process.arch())))
}
