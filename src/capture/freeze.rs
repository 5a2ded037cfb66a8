//! Exact stacks of running goroutines, for which threads have to stand still for a moment.
//!
//! What is read while they stand is only read; it is decoded when they run again. A process that died
//! of a signal stands still in the handlers of it; where its goroutines were interrupted is in what
//! the kernel saved for the handlers.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::goroutines::Walk;
use super::program::Program;
use super::read::{Chunk, Plan};
use super::scheduler::SchedulerState;
use super::session::CaptureError;
use super::unwind::{Start, StartKind};
use crate::addr::{Addr, Arch};
use crate::bytes::FieldsExt;
use crate::model::FreezeInfo;
use crate::process::remember::Attempt;
use crate::process::{Broken, FreezeWhich, Frozen, ReadError, Registers, Target, TargetError, TargetExt, Tid};
use crate::runtime::GoRuntime;
use crate::runtime::g::{G, GLayout, GobufLayout};
use crate::runtime::m::{M, MLayout};

/// What to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeMode {
    /// Only threads that run goroutines, one at a time.
    Running,
    /// Every thread, together.
    All,
}

/// Stops the threads that run goroutines, one at a time, and puts what they ran into the picture.
pub(super) fn stop_running(
    walk: &mut Walk<'_>,
    runtime: &GoRuntime,
    program: &Program,
    state: &SchedulerState,
) -> Result<FreezeInfo, CaptureError> {
    /// While one thread is stopped, what ran on another may have gone on to a third. So those of
    /// which nothing is known yet are looked for again.
    const ROUNDS: usize = 4;
    let mut info = FreezeInfo { whole_program: false, stopped_ns: 0, threads: 0 };
    for round in 0..ROUNDS {
        let wanted = walk.running();
        if round > 0 && wanted.is_empty() {
            break;
        }
        let is_wanted = |g: u64| round == 0 || wanted.contains(&g);
        let stopped = stop_each(walk, runtime, program, state, is_wanted, &mut info)?;
        walk.replace(&stopped);
        walk.read_running_again()?;
    }
    Ok(info)
}

/// Stops each thread that runs a goroutine that is wanted, and reads that goroutine.
fn stop_each(
    walk: &Walk<'_>,
    runtime: &GoRuntime,
    program: &Program,
    state: &SchedulerState,
    is_wanted: impl Fn(u64) -> bool,
    info: &mut FreezeInfo,
) -> Result<Vec<(Vec<Chunk>, Plan)>, CaptureError> {
    let layout = &runtime.layout;
    let reader = Attempt::at(walk.target).reader();
    let mut stopped_chunks = Vec::new();
    for m in &state.ms {
        let Some(thread) = tid(m) else { continue };
        // Most threads are idle or blocked; only one that has a goroutine is worth stopping.
        let now = read_m(reader, m.addr, &layout.m)?;
        let Some(now) = now.filter(|m| m.curg != 0 && is_wanted(m.curg)) else { continue };
        if !walk.is_running(now.curg)? {
            continue;
        }
        let frozen = match walk.target.freeze(&FreezeWhich::Threads(vec![thread])) {
            Ok(frozen) => frozen,
            // A thread may end at any time; anything else fails for all of them.
            Err(TargetError::NoSuchProcess { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let read = || -> Result<_, ReadError> {
            let Some(now) = read_m(reader, m.addr, &layout.m)? else { return Ok(None) };
            let stopped = starts(
                reader,
                |tid| frozen.registers(tid).or_else(|| frozen.asleep(tid)),
                std::slice::from_ref(&now),
                &layout.g,
                &layout.gobuf,
                &program.module.text,
                program.elf.arch(),
            )?;
            let addrs: Vec<u64> = stopped.keys().copied().collect();
            let plan = Plan { validate: false, stopped: Arc::new(stopped), window: 1 << 20, ..walk.plan.clone() };
            let mut chunks = Vec::new();
            Walk::read_all(walk.target, &plan, &addrs, &mut chunks)?;
            Ok(Some((chunks, plan)))
        };
        let read = read();
        let threads = stopped(frozen.as_ref());
        match frozen.resume() {
            Ok(stood) => note(info, stood, threads),
            Err(Broken::Exec) => return Err(TargetError::Replaced { pid: walk.target.process().pid }.into()),
            // It is looked for again, or stays without a stack.
            Err(_) => continue,
        }
        // An error in a freeze that was none may be of the change, and says nothing.
        stopped_chunks.extend(read?);
    }
    Ok(stopped_chunks)
}

/// How many threads were stopped: others were left asleep, or in the kernel, or have ended.
pub(super) fn stopped(frozen: &dyn Frozen) -> usize {
    frozen.threads().iter().filter(|&&tid| frozen.registers(tid).is_some()).count()
}

/// Adds one stop to what is told of the freeze: the longest counts.
pub(super) fn note(info: &mut FreezeInfo, stopped: std::time::Duration, threads: usize) {
    info.stopped_ns = info.stopped_ns.max(u64::try_from(stopped.as_nanos()).unwrap_or(u64::MAX));
    info.threads = info.threads.saturating_add(u32::try_from(threads).unwrap_or(u32::MAX));
}

/// Where the goroutines that run on stopped threads are, by the address of the g.
pub(super) fn starts(
    target: &dyn Target,
    registers: impl Fn(Tid) -> Option<Registers>,
    ms: &[M],
    g: &GLayout,
    gobuf: &GobufLayout,
    text: &Range<u64>,
    arch: Arch,
) -> Result<FxHashMap<u64, Start>, ReadError> {
    let mut starts = FxHashMap::default();
    for m in ms.iter().filter(|m| m.curg != 0) {
        let Some(mut registers) = tid(m).and_then(&registers) else { continue };
        if let Some(interrupted) = interrupted(target, m, &registers, g, gobuf, arch)? {
            registers = interrupted;
        }
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

/// The registers that a signal interrupted, when a thread is in a handler of it.
///
/// The kernel puts a `ucontext` (arch/x86/include/uapi/asm/ucontext.h, asm-generic and
/// arch/arm64/include/uapi/asm/sigcontext.h) on the stack for signals. It begins with the place and
/// the size of that very stack, which tells it from anything else there.
fn interrupted(
    target: &dyn Target,
    m: &M,
    registers: &Registers,
    layout: &GLayout,
    gobuf: &GobufLayout,
    arch: Arch,
) -> Result<Option<Registers>, ReadError> {
    /// The runtime's stack for signals has 32 KiB, a C thread's own may have more.
    const MAX_STACK: u64 = 1 << 20;
    /// Flags and link come before the description of the stack: its start, flags, and size.
    const STACK_AT: usize = 16;
    let size = usize::try_from(layout.size).unwrap_or_default();
    let Some(gsignal) = target.read_vec(Addr(m.gsignal), size)?.and_then(|bytes| G::parse(&bytes, layout, gobuf))
    else {
        return Ok(None);
    };
    let Some(len) = gsignal.stack_hi.checked_sub(gsignal.stack_lo).filter(|&len| len <= MAX_STACK) else {
        return Ok(None);
    };
    let sp = registers.sp.0;
    if !(gsignal.stack_lo..gsignal.stack_hi).contains(&sp) {
        return Ok(None);
    }
    let Some(stack) = target.read_vec(Addr(sp), usize::try_from(gsignal.stack_hi - sp).unwrap_or_default())? else {
        return Ok(None);
    };
    let context_at = |at: usize| {
        let start = at.checked_sub(STACK_AT)?;
        let context = stack.get(start..)?;
        (sp.wrapping_add(start as u64).is_multiple_of(8) && context.u64_at(STACK_AT + 16) == Some(len))
            .then_some(context)
    };
    // Of handlers that were interrupted by signals themselves, the outermost interrupted the goroutine.
    let found = memchr::memmem::find_iter(&stack, &gsignal.stack_lo.to_le_bytes()).filter_map(context_at).last();
    Ok(found.and_then(|context| saved(context, arch)))
}

/// The general registers of a `ucontext`.
pub(super) fn saved(context: &[u8], arch: Arch) -> Option<Registers> {
    let word = |first: usize, index: usize| context.u64_at(first + 8 * index).map(Addr);
    Some(match arch {
        Arch::Amd64 => {
            const GREGS: usize = 40;
            Registers {
                pc: word(GREGS, 16)?,
                sp: word(GREGS, 15)?,
                lr: Addr(0),
                fp: word(GREGS, 10)?,
                g: word(GREGS, 6)?,
            }
        }
        Arch::Arm64 => {
            // Behind a mask of 128 bytes, aligned to 16, and the address of a fault.
            const REGS: usize = 176 + 8;
            Registers {
                pc: word(REGS, 32)?,
                sp: word(REGS, 31)?,
                lr: word(REGS, 30)?,
                fp: word(REGS, 29)?,
                g: word(REGS, 28)?,
            }
        }
    })
}
