//! A process and those that it started.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::target::process_list::{self, ProcessEntry};

/// A process and its descendants, as they were when it was asked for. What their parents have left
/// behind before that is not found.
#[derive(Debug)]
pub(super) struct Tree {
    processes: Vec<ProcessEntry>,
}

impl Tree {
    /// Of a process, itself first; empty when it is gone.
    pub(super) fn of(root: i32) -> Self {
        Self { processes: process_list::tree(root).unwrap_or_default() }
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = i32> {
        self.processes.iter().map(|process| process.pid)
    }

    /// Whether one of them runs still.
    pub(super) fn is_alive(&self) -> bool {
        self.processes.iter().any(ProcessEntry::is_alive)
    }

    /// Sends a signal to each that runs still.
    pub(super) fn signal(&self, wanted: Signal) {
        for process in self.processes.iter().filter(|process| process.is_alive()) {
            signal(process.pid, wanted);
        }
    }
}

/// Sends a signal; that the process has ended meanwhile is as good.
pub(super) fn signal(pid: i32, wanted: Signal) {
    let _ = kill(Pid::from_raw(pid), wanted);
}
