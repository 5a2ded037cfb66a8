//! Whether a process exists, why it can never be read, and what a failure in `/proc` means.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use procfs::process::Stat;

use super::TargetError;
use super::permission;
use super::proc_dir::{ProcDir, is_kernel_thread, means_gone, means_refused};

/// The error when `/proc` does not show a process: it does not exist, or `hidepid` hides it. With hidepid=2 its
/// directory can be opened but nothing in it; with hidepid=4 not even that.
pub(super) fn hidden_or_absent(pid: i32) -> TargetError {
    // Signal 0 sends nothing; it only checks that the process exists.
    let asked = if pid > 0 { kill(Pid::from_raw(pid), None) } else { Err(Errno::ESRCH) };
    match asked {
        Err(Errno::EPERM) | Ok(()) if ProcDir::open(pid).and_then(|dir| dir.stat()).is_err() => {
            permission::refused(pid)
        }
        _ => TargetError::NoSuchProcess { pid },
    }
}

/// Whether any thread of a process is alive. Needs retries: during an `execve` the calling thread changes its
/// id, and is briefly found under neither.
pub(super) fn has_live_thread(pid: i32) -> bool {
    const LOOKS: usize = 5;
    const PAUSE: Duration = Duration::from_millis(1);
    let has_ended = |dir: &ProcDir, tid| dir.thread_stat(tid).map_or(true, |stat| matches!(stat.state, 'Z' | 'X'));
    let look = || -> io::Result<bool> {
        let dir = ProcDir::open(pid)?;
        Ok(!dir.tids()?.into_iter().all(|tid| has_ended(&dir, tid)))
    };
    // Signal 0 sends nothing; the kernel finds the process during an execve too.
    let is_there = || pid > 0 && kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH);
    for _ in 0..LOOKS {
        if !is_there() {
            return false;
        }
        if look().unwrap_or_default() {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

pub(super) fn refused_or(pid: i32, e: io::Error, what: impl FnOnce() -> String) -> TargetError {
    if means_gone(&e) {
        hidden_or_absent(pid)
    } else if means_refused(&e) {
        permission::refused(pid)
    } else {
        TargetError::Io { what: what(), source: e }
    }
}

/// The error for a process that can never be read (kernel thread, zombie).
pub(super) fn refuse_unreadable(pid: i32, stat: &Stat) -> Result<(), TargetError> {
    let what = if is_kernel_thread(stat) {
        format!("is a kernel thread ({}) and has no memory of its own", stat.comm)
    } else if !matches!(stat.state, 'Z' | 'X') {
        return Ok(());
    } else if stat.num_threads > 1 {
        "has ended its main thread while others run, and cannot be read through it".to_owned()
    } else {
        format!("has ended and is a zombie until its parent (process {}) waits for it", stat.ppid)
    };
    Err(TargetError::NotReadable { pid, what, ended: !is_kernel_thread(stat) })
}
