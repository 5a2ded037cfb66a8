//! Starting processes and sending them signals, where the standard library has no safe way.
//!
//! A pid may come to mean another process between the look at it and the signal. So a process is named by
//! its pid and its start time here, and a signal goes to that process or to none.

use std::io;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use super::proc_dir::ProcDir;
use super::syscalls;

/// Has the children of this process be waited for: whoever ignores SIGCHLD, which a process inherits from
/// the one that started it, has no status of its children (waitpid(2)). True if it was ignored.
///
/// # Errors
/// The kernel's.
pub fn stop_ignoring_sigchld() -> Result<bool, Errno> {
    syscalls::ignore_sigchld(false)
}

/// Has a command start with this mask of signals, and with SIGCHLD ignored if that is wanted.
pub fn with_signals(command: &mut Command, mask: SigSet, ignore_sigchld: bool) {
    syscalls::before_exec(command, mask, ignore_sigchld);
}

/// Sends a signal to the process with that pid and start time (clock ticks after boot).
///
/// # Errors
/// `ESRCH` when it has ended, though its pid may be another's now; `EPERM` when it is refused.
pub fn send_signal(pid: i32, start_ticks: u64, signal: Signal) -> Result<(), Errno> {
    let is_same = || match ProcDir::open(pid).and_then(|dir| dir.stat()) {
        Ok(stat) if stat.starttime == start_ticks => Ok(()),
        _ => Err(Errno::ESRCH),
    };
    match syscalls::pidfd_open(pid) {
        // What the descriptor means stays the same, so the look is for certain about what gets the signal.
        Ok(process) => {
            is_same()?;
            syscalls::pidfd_send_signal(&process, signal)
        }
        // Kernels before 5.3, and filters of system calls that are older than it.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            is_same()?;
            kill(Pid::from_raw(pid), signal)
        }
        Err(error) => Err(error),
    }
}

/// When the process with that pid was started, clock ticks after boot.
///
/// # Errors
/// When it is not there.
pub fn start_ticks(pid: i32) -> io::Result<u64> {
    Ok(ProcDir::open(pid)?.stat()?.starttime)
}

/// Whether the process with that pid and start time (clock ticks after boot) runs still. One that has ended
/// and was not waited for does not.
#[must_use]
pub fn runs(pid: i32, start_ticks: u64) -> bool {
    let stat = ProcDir::open(pid).and_then(|dir| dir.stat());
    stat.is_ok_and(|stat| stat.starttime == start_ticks && !matches!(stat.state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn a_signal_goes_to_the_process_that_was_meant_or_to_none() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = child.id().cast_signed();
        let started = start_ticks(pid).unwrap();
        assert_eq!(send_signal(pid, started - 1, Signal::SIGKILL), Err(Errno::ESRCH));
        assert_eq!(child.try_wait().unwrap(), None);
        assert_eq!(send_signal(pid, started, Signal::SIGTERM), Ok(()));
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
        assert_eq!(send_signal(pid, started, Signal::SIGTERM), Err(Errno::ESRCH));
    }
}
