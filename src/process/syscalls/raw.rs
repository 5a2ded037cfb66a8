//! A system call without the C library: its error is a value.
//!
//! `unsafe` is allowed in this folder alone; see its root for why.

use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

/// Makes a system call.
///
/// # Safety
/// Pointers among the arguments have to be valid for what the call does with them.
#[cfg(target_arch = "x86_64")]
unsafe fn raw(number: libc::c_long, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let result;
    // SAFETY: the kernel's calling convention (syscall(2)): it changes rax, rcx and r11 only, and
    // memory through pointers whose validity the caller guarantees.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// As on amd64.
///
/// # Safety
/// As on amd64.
#[cfg(target_arch = "aarch64")]
unsafe fn raw(number: libc::c_long, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let result;
    // SAFETY: the kernel's calling convention (syscall(2)): it changes x0 only, and memory through
    // pointers whose validity the caller guarantees.
    unsafe {
        std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack));
    }
    result
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn raw(_: libc::c_long, _: [usize; 6]) -> isize {
    -(libc::ENOSYS as isize)
}

/// As [`raw`], with the error as a value.
///
/// # Safety
/// As for [`raw`].
pub(super) unsafe fn call<const N: usize>(number: libc::c_long, args: [usize; N]) -> Result<usize, Errno> {
    let mut all = [0; 6];
    for (slot, arg) in all.iter_mut().zip(args) {
        *slot = arg;
    }
    // SAFETY: the caller guarantees that the pointers are valid.
    let result = unsafe { raw(number, all) };
    usize::try_from(result).map_err(|_| Errno::from_raw(i32::try_from(result.wrapping_neg()).unwrap_or_default()))
}

/// A number as the kernel expects it: sign-extended.
pub(super) fn word(number: i32) -> usize {
    number as usize
}

pub(super) fn timespec(time: Duration) -> libc::timespec {
    libc::timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() }
}
