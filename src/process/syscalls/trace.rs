//! Traced threads: stops, ends, registers.
//!
//! `unsafe` is allowed in this folder alone; see its root for why.

use std::mem::MaybeUninit;
use std::ptr;

use nix::errno::Errno;
use nix::libc;

use super::raw::{call, word};
use crate::addr::Addr;
use crate::process::description::{Registers, Tid};

/// A stop of a traced thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Stop {
    /// Number of the signal that it was about to receive; 0 for a stop by an event.
    pub(in crate::process) signal: i32,
    /// `PTRACE_EVENT_*`, 0 for the delivery of a signal.
    pub(in crate::process) event: i32,
}

/// What `si_status` of a traced thread's stop means: a signal in the low byte, an event above it.
pub(super) fn decode_stop(status: i32) -> Stop {
    let event = status >> 8;
    // In an event stop the low byte is not a pending signal: it is SIGTRAP, or the group-stop signal.
    Stop { signal: if event == 0 { status & 0x7f } else { 0 }, event }
}

fn waitid(tid: Tid, options: i32) -> Result<Option<(i32, i32)>, Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = word(options | libc::WNOHANG | libc::__WALL);
    let pid = libc::P_PID as usize;
    // SAFETY: waitid writes a siginfo, and the pointer to it is valid; the rusage pointer is null.
    unsafe { call(libc::SYS_waitid, [pid, word(tid), info.as_mut_ptr() as usize, options, 0])? };
    // SAFETY: all bytes were zeroed, a valid siginfo, before the kernel wrote to it. waitid sets these fields;
    // they are 0 when it reports nothing.
    let (info, who, status) = unsafe {
        let info = info.assume_init();
        (info, info.si_pid(), info.si_status())
    };
    Ok((who != 0).then_some((info.si_code, status)))
}

/// The stop that `tid`, traced by the caller, is in, if any. Only peeks (`WNOWAIT`): a wait that consumes the
/// stop would take its signal, which would be lost if the tracer ended.
///
/// # Errors
/// `ECHILD` when the caller does not trace it (any more).
pub(in crate::process) fn peek_stop(tid: Tid) -> Result<Option<Stop>, Errno> {
    Ok(waitid(tid, libc::WSTOPPED | libc::WNOWAIT)?.map(|(_, status)| decode_stop(status)))
}

/// Reaps a traced thread if it has ended; true if it had. An `execve` of another thread waits for this.
///
/// A tracer's wait also reports stops, whatever it waits for, and would consume their signals. So this peeks
/// first.
pub(in crate::process) fn reap(tid: Tid) -> bool {
    let dead = |code| matches!(code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED);
    match waitid(tid, libc::WEXITED | libc::WNOWAIT) {
        Ok(Some((code, _))) if dead(code) => waitid(tid, libc::WEXITED).is_ok_and(|taken| taken.is_some()),
        _ => false,
    }
}

/// What glibc declares unsigned, musl does not.
#[cfg(target_env = "musl")]
type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

fn ptrace(request: Request, tid: Tid, addr: usize, data: usize) -> Result<(), Errno> {
    // SAFETY: of the requests made here, only GETREGSET accesses our memory: `data` is then the address of a
    // valid iovec, see `registers`.
    unsafe { call(libc::SYS_ptrace, [request as usize, word(tid), addr, data]) }.map(drop)
}

/// Becomes the tracer of a thread, without stopping it. Only `execve` events are enabled; all other options
/// have effects that outlast the freeze.
///
/// # Errors
/// The kernel's. `EPERM` has many meanings: see `Job::seize`.
pub(in crate::process) fn seize(tid: Tid) -> Result<(), Errno> {
    ptrace(libc::PTRACE_SEIZE, tid, 0, libc::PTRACE_O_TRACEEXEC as usize)
}

/// Asks a traced thread to stop.
///
/// # Errors
/// `ESRCH` when it has ended.
pub(in crate::process) fn interrupt(tid: Tid) -> Result<(), Errno> {
    ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0)
}

/// Resumes a stopped thread with its pending signal (0 for none).
///
/// # Errors
/// `ESRCH` when it has ended, is not stopped, or is not traced by the caller.
pub(in crate::process) fn detach(tid: Tid, signal: i32) -> Result<(), Errno> {
    ptrace(libc::PTRACE_DETACH, tid, 0, word(signal))
}

/// The registers of a stopped thread: those that an unwinder starts from, and all general ones.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(in crate::process) fn registers(tid: Tid) -> Option<(Registers, [u64; 31])> {
    let mut regs = MaybeUninit::<libc::user_regs_struct>::zeroed();
    let mut iovec =
        libc::iovec { iov_base: regs.as_mut_ptr().cast(), iov_len: std::mem::size_of::<libc::user_regs_struct>() };
    let note = usize::try_from(libc::NT_PRSTATUS).unwrap_or_default();
    ptrace(libc::PTRACE_GETREGSET, tid, note, ptr::from_mut(&mut iovec) as usize).ok()?;
    // SAFETY: all bytes were initialised, by us or by the kernel, and the fields are plain integers.
    Some(decode_registers(&unsafe { regs.assume_init() }))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(in crate::process) fn registers(_: Tid) -> Option<(Registers, [u64; 31])> {
    None
}

#[cfg(target_arch = "x86_64")]
fn decode_registers(regs: &libc::user_regs_struct) -> (Registers, [u64; 31]) {
    let mut general = [0; 31];
    let words = [
        regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp, regs.r8, regs.r9, regs.r10, regs.r11,
        regs.r12, regs.r13, regs.r14, regs.r15,
    ];
    for (slot, word) in general.iter_mut().zip(words) {
        *slot = word;
    }
    let (pc, sp, fp, g) = (Addr(regs.rip), Addr(regs.rsp), Addr(regs.rbp), Addr(regs.r14));
    (Registers { pc, sp, lr: Addr(0), fp, g }, general)
}

#[cfg(target_arch = "aarch64")]
fn decode_registers(regs: &libc::user_regs_struct) -> (Registers, [u64; 31]) {
    let [.., g, fp, lr] = regs.regs;
    let (pc, sp) = (Addr(regs.pc), Addr(regs.sp));
    (Registers { pc, sp, lr: Addr(lr), fp: Addr(fp), g: Addr(g) }, regs.regs)
}
