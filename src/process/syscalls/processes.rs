//! Starting and signalling processes.
//!
//! `unsafe` is allowed in this folder alone; see its root for why.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::raw::{call, word};

/// Sets SIGCHLD to ignored or default; returns whether it was ignored.
///
/// # Errors
/// The kernel's.
pub(in crate::process) fn ignore_sigchld(ignore: bool) -> Result<bool, Errno> {
    let handler = if ignore { SigHandler::SigIgn } else { SigHandler::SigDfl };
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: neither disposition (SIG_IGN, SIG_DFL) is a handler function.
    let before = unsafe { sigaction(Signal::SIGCHLD, &action) }?;
    Ok(matches!(before.handler(), SigHandler::SigIgn))
}

/// Makes a command start with this signal mask, and with SIGCHLD ignored if `ignore_sigchld`. Ignoring it in
/// the parent meanwhile would lose the status of a command that ends at once.
pub(in crate::process) fn before_exec(command: &mut Command, mask: SigSet, ignore: bool) {
    let prepare = move || {
        if ignore {
            ignore_sigchld(true)?;
        }
        mask.thread_set_mask()?;
        Ok(())
    };
    // SAFETY: between fork and exec it makes two system calls that signal-safety(7) lists, sigaction and
    // pthread_sigmask; it takes no locks and allocates nothing.
    unsafe { command.pre_exec(prepare) };
}

/// A pidfd (Linux 5.3), which always refers to the same process.
///
/// # Errors
/// `ESRCH` when there is none with that pid; `ENOSYS` before Linux 5.3.
pub(in crate::process) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: no pointers.
    let fd = unsafe { call(libc::SYS_pidfd_open, [word(pid), 0])? };
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just opened it for us; it is closed on exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to a process.
///
/// # Errors
/// `ESRCH` when it has ended; `EPERM` when not permitted.
pub(in crate::process) fn pidfd_send_signal(process: &OwnedFd, signal: Signal) -> Result<(), Errno> {
    // SAFETY: no pointers: without a siginfo, the kernel makes one as for kill(2).
    unsafe { call(libc::SYS_pidfd_send_signal, [word(process.as_raw_fd()), word(signal as i32), 0, 0]) }.map(drop)
}
