//! Starting processes and signalling them safely, beyond what the standard library offers.
//!
//! A pid may be reused between a check and the signal. So processes are identified by pid and start time, and a
//! signal reaches that process or none.

use std::io;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use super::proc_dir::ProcDir;
use super::syscalls;

/// Resets SIGCHLD to its default, so that children can be waited for: a process that ignores it (which is
/// inherited from its parent) gets no exit status of its children (waitpid(2)). Returns whether it was ignored.
///
/// # Errors
/// The kernel's.
pub(crate) fn stop_ignoring_sigchld() -> Result<bool, Errno> {
    syscalls::ignore_sigchld(false)
}

/// Makes a command start with this signal mask, and with SIGCHLD ignored if `ignore_sigchld`.
pub(crate) fn with_signals(command: &mut Command, mask: SigSet, ignore_sigchld: bool) {
    syscalls::before_exec(command, mask, ignore_sigchld);
}

/// Sends a signal to the process with that pid and start time (clock ticks after boot).
///
/// # Errors
/// `ESRCH` when it has ended, even if its pid was reused; `EPERM` when not permitted.
pub(crate) fn send_signal(pid: i32, start_ticks: u64, signal: Signal) -> Result<(), Errno> {
    let is_same = || match ProcDir::open(pid).and_then(|dir| dir.stat()) {
        Ok(stat) if stat.starttime == start_ticks => Ok(()),
        _ => Err(Errno::ESRCH),
    };
    match syscalls::pidfd_open(pid) {
        // The descriptor always refers to the same process, so the check below is about the one that gets the
        // signal.
        Ok(process) => {
            is_same()?;
            syscalls::pidfd_send_signal(&process, signal)
        }
        // Kernels before 5.3, and seccomp filters that do not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            is_same()?;
            kill(Pid::from_raw(pid), signal)
        }
        Err(error) => Err(error),
    }
}

/// Start time of the process with that pid, clock ticks after boot.
///
/// # Errors
/// When there is no such process.
pub(crate) fn start_ticks(pid: i32) -> io::Result<u64> {
    Ok(ProcDir::open(pid)?.stat()?.starttime)
}

/// Whether the process with that pid and start time (clock ticks after boot) is still running. A zombie is not.
#[must_use]
pub(crate) fn runs(pid: i32, start_ticks: u64) -> bool {
    let stat = ProcDir::open(pid).and_then(|dir| dir.stat());
    stat.is_ok_and(|stat| stat.starttime == start_ticks && !matches!(stat.state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn a_signal_never_reaches_another_process_with_the_same_pid() {
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
