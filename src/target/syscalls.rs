//! The two calls for which there is no safe wrapper that keeps all signals.
//!
//! nix's `waitpid` and `ptrace::detach` know the 31 classic signals. glibc sends real-time ones to
//! the threads of a process (`setuid` and the like), and one of them that arrives while a thread is
//! being stopped must be given back to it by number, or the thread that waits for its effect hangs.

use std::ptr;

use nix::errno::Errno;
use nix::libc;

use super::Tid;

/// A change of state of a traced thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It stands still. `signal` is what it was about to receive, 0 if nothing.
    Stopped {
        /// Number of the signal.
        signal: i32,
    },
    /// It has ended.
    Ended,
}

/// Asks, without waiting, whether `tid`, a thread that is traced by the caller, changed its state.
///
/// # Errors
/// `ECHILD` when the caller does not trace it (any more).
#[allow(unsafe_code, reason = "nix::sys::wait::waitpid fails for a stop by a real-time signal after it has taken it")]
pub(super) fn change_of(tid: Tid) -> Result<Option<Change>, Errno> {
    let mut status = 0;
    // SAFETY: waitpid writes one int, to which the pointer is valid.
    let waited = unsafe { libc::waitpid(tid, ptr::from_mut(&mut status), libc::__WALL | libc::WNOHANG) };
    Ok((Errno::result(waited)? != 0).then(|| decode(status)))
}

fn decode(status: i32) -> Change {
    if !libc::WIFSTOPPED(status) {
        return Change::Ended;
    }
    // A stop by an event (the interruption that was asked for, or a group stop) carries no signal to
    // deliver; without an event it is the delivery of a signal.
    let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 };
    Change::Stopped { signal }
}

/// Lets a stopped thread run on, with the signal that it was about to receive (0 for none).
///
/// # Errors
/// `ESRCH` when it has ended, is not stopped, or is not traced by the caller.
#[allow(unsafe_code, reason = "nix::sys::ptrace::detach takes no real-time signal")]
pub(super) fn detach(tid: Tid, signal: i32) -> Result<(), Errno> {
    let signal = ptr::without_provenance_mut::<libc::c_void>(usize::try_from(signal).unwrap_or_default());
    // SAFETY: PTRACE_DETACH reads and writes no memory of ours: its address is ignored, and its data
    // is a number.
    let result = unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, ptr::null_mut::<libc::c_void>(), signal) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_are_told_from_ends() {
        let stopped = |signal: i32, event: i32| decode(0x7f | signal << 8 | event << 16);
        assert_eq!(stopped(libc::SIGTRAP, 128), Change::Stopped { signal: 0 });
        assert_eq!(stopped(libc::SIGSTOP, 128), Change::Stopped { signal: 0 });
        assert_eq!(stopped(libc::SIGURG, 0), Change::Stopped { signal: libc::SIGURG });
        assert_eq!(stopped(34, 0), Change::Stopped { signal: 34 });
        assert_eq!(decode(0), Change::Ended);
        assert_eq!(decode(libc::SIGKILL), Change::Ended);
    }

    #[test]
    fn who_is_not_traced_is_refused() {
        let me = nix::unistd::gettid().as_raw();
        assert_eq!(change_of(me), Err(Errno::ECHILD));
        assert_eq!(detach(me, 0), Err(Errno::ESRCH));
    }
}
