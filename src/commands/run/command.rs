//! The command as a child process.
//!
//! Not by `std::process`, which would hand on our mask: signals are blocked before the child is
//! there, so that none is lost, and are to have their usual meaning in it.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A started command.
#[derive(Debug)]
pub(super) struct Command {
    pid: Pid,
    status: Option<u8>,
}

impl Command {
    /// Starts one, found as a shell finds it, with this mask of signals.
    pub(super) fn start(words: &[OsString], mask: &SigSet) -> Result<Self, Errno> {
        // A word with a NUL in it cannot be handed on.
        let c_string = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Errno::EINVAL);
        let arguments: Vec<CString> =
            words.iter().map(|word| c_string(word.as_bytes().to_vec())).collect::<Result<_, _>>()?;
        let variable = |(mut name, value): (OsString, OsString)| {
            name.push("=");
            name.push(value);
            c_string(name.into_vec())
        };
        let environment: Vec<CString> = std::env::vars_os().map(variable).collect::<Result<_, _>>()?;
        let program = arguments.first().ok_or(Errno::ENOENT)?;
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_sigmask(mask)?;
        // Rust programs ignore this one, and others do not expect that.
        attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
        attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
        let pid = posix_spawnp(program, &PosixSpawnFileActions::init()?, &attributes, &arguments, &environment)?;
        Ok(Self { pid, status: None })
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
                // Nobody is left; that of the command must have been among those.
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
