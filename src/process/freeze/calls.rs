//! Which system calls a stop interrupts without the program noticing.
//!
//! Stopping a thread that sleeps in the kernel always wakes it. The kernel then restarts most calls (signal(7),
//! "Interruption of system calls and library functions by signal handlers", and measured). From the others the
//! program sees EINTR or a short count, which not every program handles. Threads in those are left asleep: they
//! do not run anyway.

use nix::libc;

use crate::process::SystemCall;
use crate::process::blocked::Waiting;

/// What a system call does when a stop interrupts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupted {
    /// The kernel restarts it.
    Restarts,
    /// The kernel continues it through `restart_syscall`, which a seccomp filter may forbid.
    Continues,
    /// It fails with EINTR, as `epoll_wait` does.
    FailsInPoll,
    /// It fails with EINTR, returns a short count, or its behaviour is unknown.
    Fails,
}

/// Calls that are restarted, whatever their arguments.
#[cfg(target_arch = "x86_64")]
const RESTARTED: &[libc::c_long] = &[
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_pause,
    libc::SYS_rt_sigsuspend,
    libc::SYS_flock,
    libc::SYS_fcntl,
];
/// The same for arm64, which never had the older forms.
#[cfg(not(target_arch = "x86_64"))]
const RESTARTED: &[libc::c_long] = &[
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_rt_sigsuspend,
    libc::SYS_flock,
    libc::SYS_fcntl,
];

/// Calls that are continued by `restart_syscall`.
#[cfg(target_arch = "x86_64")]
const CONTINUED: &[libc::c_long] =
    &[libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_poll, libc::SYS_restart_syscall];
/// The same for arm64.
#[cfg(not(target_arch = "x86_64"))]
const CONTINUED: &[libc::c_long] = &[libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_restart_syscall];

/// The `epoll_wait` family.
#[cfg(target_arch = "x86_64")]
const POLLS: &[libc::c_long] = &[libc::SYS_epoll_wait, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];
/// The same for arm64.
#[cfg(not(target_arch = "x86_64"))]
const POLLS: &[libc::c_long] = &[libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];

/// What the call a thread is blocked in does when interrupted; `None` when it is not in a call.
pub(super) fn interrupted(waiting: &Waiting) -> Option<Interrupted> {
    let SystemCall { number, arguments: args } = waiting.call?;
    let Ok(number) = libc::c_long::try_from(number) else { return Some(Interrupted::Fails) };
    // With a timeout (fourth argument) it is continued, so that it does not wait longer.
    let [_, _, _, timeout, ..] = args;
    Some(match number {
        libc::SYS_futex if timeout == 0 => Interrupted::Restarts,
        libc::SYS_futex => Interrupted::Continues,
        number if RESTARTED.contains(&number) => Interrupted::Restarts,
        number if CONTINUED.contains(&number) => Interrupted::Continues,
        number if POLLS.contains(&number) => Interrupted::FailsInPoll,
        _ => Interrupted::Fails,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;

    fn of(number: u64, args: [u64; 6]) -> Option<Interrupted> {
        interrupted(&Waiting { call: Some(SystemCall { number, arguments: args }), sp: Addr(1), pc: Addr(1) })
    }

    /// Numbers from asm/unistd_64.h and asm-generic/unistd.h.
    #[test]
    fn numbers_are_the_kernels() {
        #[cfg(target_arch = "x86_64")]
        let (futex, nanosleep, epoll, recvfrom, restarted) =
            (202, 35, [232, 281, 441], 45, vec![271, 23, 270, 61, 247, 34, 130, 73, 72]);
        #[cfg(target_arch = "aarch64")]
        let (futex, nanosleep, epoll, recvfrom, restarted) =
            (98, 101, [22, 22, 441], 207, vec![73, 72, 260, 95, 133, 32, 25]);
        assert_eq!(of(futex, [0; 6]), Some(Interrupted::Restarts));
        assert_eq!(of(futex, [0, 0, 0, 7, 0, 0]), Some(Interrupted::Continues));
        assert_eq!(of(nanosleep, [0; 6]), Some(Interrupted::Continues));
        assert!(epoll.into_iter().all(|number| of(number, [0; 6]) == Some(Interrupted::FailsInPoll)));
        assert_eq!(of(recvfrom, [0; 6]), Some(Interrupted::Fails));
        assert!(restarted.into_iter().all(|number| of(number, [0; 6]) == Some(Interrupted::Restarts)));
        assert_eq!(of(u64::MAX, [0; 6]), Some(Interrupted::Fails));
        assert_eq!(interrupted(&Waiting { call: None, sp: Addr(1), pc: Addr(1) }), None);
    }
}
