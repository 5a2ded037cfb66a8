//! Signals as events.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::process::child;

/// Those that a command may be sent. Not those that stop a process (the terminal stops both), nor
/// those that an error of one's own raises.
const PASSED_ON: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
    Signal::SIGURG,
    Signal::SIGIO,
    Signal::SIGPWR,
];

/// `si_code` of what the kernel itself sends, a terminal's Ctrl-C for one.
const SI_KERNEL: i32 = 0x80;

/// A signal that this process got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) signal: Signal,
    /// Whether the kernel sent it: then it went to all processes of the terminal.
    pub(super) by_kernel: bool,
}

/// Signals that wait to be taken.
#[derive(Debug)]
pub(super) struct Signals {
    received: Receiver<Received>,
    before: Before,
}

/// What was inherited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// Which signals were blocked.
    pub(super) mask: SigSet,
    /// Whether SIGCHLD was ignored, as below some cron daemons and supervisors.
    pub(super) ignored_sigchld: bool,
}

impl Signals {
    /// From now on signals to this process, and `more`, wait to be taken.
    pub(super) fn block(more: Option<Signal>) -> io::Result<Self> {
        let set: SigSet = PASSED_ON.iter().copied().chain([Signal::SIGCHLD]).chain(more).collect();
        // The end of a child would neither be a signal nor have a status.
        let ignored_sigchld = child::stop_ignoring_sigchld()?;
        let before = Before { mask: set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?, ignored_sigchld };
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?;
        let (sender, received) = channel();
        thread::Builder::new().name("gospy-signals".to_owned()).spawn(move || {
            loop {
                let info = match descriptor.read_signal() {
                    Ok(Some(info)) => info,
                    Ok(None) | Err(Errno::EINTR) => continue,
                    Err(_) => return,
                };
                let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
                let Some(signal) = signal else { continue };
                if sender.send(Received { signal, by_kernel: info.ssi_code == SI_KERNEL }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { received, before })
    }

    /// What was inherited.
    pub(super) fn before(&self) -> &Before {
        &self.before
    }

    /// The next one, if it comes in time; `None` is for ever.
    pub(super) fn next(&self, within: Option<Duration>) -> Option<Received> {
        let Some(within) = within else { return self.received.recv().ok() };
        match self.received.recv_timeout(within) {
            Ok(received) => Some(received),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(within);
                None
            }
        }
    }
}
