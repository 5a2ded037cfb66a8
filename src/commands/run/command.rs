//! The command as a child process.
//!
//! Signals are blocked before the child is there, so that none is lost, and SIGCHLD is not ignored; in the
//! child both are as they were before.

use std::ffi::OsString;
use std::io;
use std::process;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::signals::Before;
use crate::process::child;

/// A started command.
#[derive(Debug)]
pub(super) struct Command {
    pid: Pid,
    status: Option<u8>,
}

impl Command {
    /// Starts one, found as a shell finds it, with signals as they were before.
    pub(super) fn start(words: &[OsString], before: &Before) -> io::Result<Self> {
        let (program, arguments) = words.split_first().ok_or(Errno::ENOENT)?;
        let mut command = process::Command::new(program);
        command.args(arguments);
        child::with_signals(&mut command, before.mask, before.ignored_sigchld);
        // Waited for by `ended`, among all others.
        let pid = command.spawn()?.id();
        Ok(Self { pid: Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?), status: None })
    }

    /// Sends it a signal, unless it has ended: as long as it has not been waited for, its pid is its own.
    pub(super) fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // That it is refused (the command may have become another user's) is no reason to end.
            let _ = kill(self.pid, signal);
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Its status as a shell would tell it, if it has ended. Reaps what else has ended below this
    /// process: descendants whose parents are gone are ours, as that of a subreaper.
    pub(super) fn ended(&mut self) -> Result<Option<u8>, Errno> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::EINTR) => continue,
                Ok(WaitStatus::StillAlive) => return Ok(self.status),
                // None is left; that of the command must have been among those.
                Err(Errno::ECHILD) if self.status.is_some() => return Ok(self.status),
                status => status?,
            };
            if status.pid() != Some(self.pid) {
                continue;
            }
            let number = match status {
                WaitStatus::Exited(_, code) => code,
                WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
                _ => continue,
            };
            self.status = Some(u8::try_from(number).unwrap_or(u8::MAX));
        }
    }
}
