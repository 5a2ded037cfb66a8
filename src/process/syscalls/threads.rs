//! The calling thread: sleeping, waking others, and its scheduling priority.
//!
//! `unsafe` is allowed in this folder alone; see its root for why.

use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use nix::libc;

use super::raw::{call, timespec};
use crate::process::description::Tid;

/// If `word` still has the value `expected`, waits until it is woken, a signal arrives, or the time is over.
pub(in crate::process) fn futex_wait(word: &AtomicU32, expected: u32, within: Duration) {
    let time = timespec(within);
    let op = libc::FUTEX_WAIT as usize;
    // SAFETY: both pointers are to values that outlive the call.
    let _ = unsafe {
        call(libc::SYS_futex, [word.as_ptr() as usize, op, expected as usize, ptr::from_ref(&time) as usize, 0, 0])
    };
}

/// Wakes all waiters of `word`.
pub(in crate::process) fn futex_wake(word: &AtomicU32) {
    let (op, all) = (libc::FUTEX_WAKE as usize, i32::MAX as usize);
    // SAFETY: the kernel uses the address only, which is valid.
    let _ = unsafe { call(libc::SYS_futex, [word.as_ptr() as usize, op, all, 0, 0, 0]) };
}

/// Yields the CPU.
pub(in crate::process) fn yield_now() {
    // SAFETY: no pointers.
    let _ = unsafe { call(libc::SYS_sched_yield, []) };
}

/// Sleeps for this time, or until a signal.
pub(in crate::process) fn nap(time: Duration) {
    let time = timespec(time);
    // SAFETY: the pointer is to a value that outlives the call; the remaining time is not requested.
    let _ = unsafe { call(libc::SYS_nanosleep, [ptr::from_ref(&time) as usize, 0]) };
}

/// The caller's thread id.
pub(in crate::process) fn own_tid() -> Tid {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_gettid, []) }.ok().and_then(|tid| Tid::try_from(tid).ok()).unwrap_or_default()
}

/// As `struct sched_attr` of sched_setattr(2), in its first version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// For an ordinary policy, from Linux 6.12 on: the slice, ns. A short slice gets a thread scheduled sooner,
    /// without more CPU time.
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Raises the calling thread's priority as far as permitted: it needs little CPU, and the target is frozen
/// while it waits.
pub(in crate::process) fn hurry() {
    // A thread with a real-time policy already has priority.
    if ![libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE].contains(&policy()) {
        let _ = [-20, own_nice()].into_iter().any(take_short_slices);
    }
}

/// Has the calling thread scheduled soon after it is woken, without more CPU time or a higher priority.
pub(in crate::process) fn be_punctual() {
    if policy() == libc::SCHED_OTHER {
        take_short_slices(own_nice());
    }
}

/// The calling thread's scheduling policy.
fn policy() -> i32 {
    /// `SCHED_RESET_ON_FORK`, which is given with the policy.
    const RESET_ON_FORK: usize = 0x4000_0000;
    // SAFETY: no pointers.
    let policy = unsafe { call(libc::SYS_sched_getscheduler, [0]) }.map(|policy| policy & !RESET_ON_FORK);
    policy.ok().and_then(|policy| i32::try_from(policy).ok()).unwrap_or(libc::SCHED_OTHER)
}

/// The calling thread's nice value.
fn own_nice() -> i32 {
    let own = libc::PRIO_PROCESS as usize;
    // SAFETY: no pointers. The kernel gives 20 - nice, so it is never negative.
    let nice = unsafe { call(libc::SYS_getpriority, [own, 0]) }.ok().and_then(|value| i32::try_from(value).ok());
    20 - nice.unwrap_or(20)
}

/// Asks for a nice value and short slices; false if that is not permitted.
fn take_short_slices(nice: i32) -> bool {
    const SHORT: u64 = 100_000;
    let attr = SchedAttr {
        size: u32::try_from(size_of::<SchedAttr>()).unwrap_or_default(),
        policy: libc::SCHED_OTHER.cast_unsigned(),
        flags: 0,
        nice,
        priority: 0,
        runtime: SHORT,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads as many bytes as the size says.
    unsafe { call(libc::SYS_sched_setattr, [0, ptr::from_ref(&attr) as usize, 0]) }.is_ok()
}
