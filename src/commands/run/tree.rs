//! The command and what it started.

use std::io;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustc_hash::FxHashSet;

use crate::target::proc_dir::ProcDir;
use crate::target::process_list::{self, ProcessEntry};

/// A process that is told from another one that gets its pid later.
pub(super) type Born = (i32, u64);

/// What is below this process. As it is the subreaper of its descendants, those are in it whose
/// parents have ended.
#[derive(Debug)]
pub(super) struct Family {
    /// Children that were there before the command, of a program that became this one by exec.
    strangers: FxHashSet<Born>,
}

impl Family {
    /// Before the command is started.
    pub(super) fn new() -> Self {
        let own = process_list::tree(own_pid()).unwrap_or_default();
        Self { strangers: own.iter().skip(1).map(born).collect() }
    }

    /// All who are there now, parents before their children.
    pub(super) fn tree(&self) -> Tree {
        let mut processes = process_list::tree(own_pid()).unwrap_or_default();
        let mut strangers = self.strangers.clone();
        strangers.insert(processes.first().map(born).unwrap_or_default());
        processes.retain(|process| !strangers.contains(&born(process)));
        Tree { processes }
    }

    /// Those who run, in fewer reads of files where the kernel lists the children of a thread
    /// (`CONFIG_PROC_CHILDREN`).
    pub(super) fn living(&self) -> Vec<Born> {
        self.listed().unwrap_or_else(|_| self.tree().born().collect())
    }

    fn listed(&self) -> io::Result<Vec<Born>> {
        let mut found: Vec<Born> = children(own_pid())?;
        found.retain(|born| !self.strangers.contains(born));
        let mut next = 0;
        while let Some(&(pid, _)) = found.get(next) {
            // One that has ended meanwhile has none.
            found.extend(children(pid).unwrap_or_default());
            next += 1;
            if found.len() > MOST {
                break;
            }
        }
        Ok(found)
    }
}

/// More processes are not looked at one by one.
const MOST: usize = 100_000;

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(i32::MAX)
}

fn born(process: &ProcessEntry) -> Born {
    (process.pid, process.start_ticks)
}

/// Of all threads of a process.
fn children(pid: i32) -> io::Result<Vec<Born>> {
    let dir = ProcDir::open(pid)?;
    let mut children = Vec::new();
    for tid in dir.tids()? {
        let list = match dir.text(format!("task/{tid}/children")) {
            // The thread has ended; where it is the first one that has no list, nobody has.
            Err(_) if tid != pid => continue,
            list => list?,
        };
        for child in list.split_ascii_whitespace().filter_map(|word| word.parse().ok()) {
            let Ok(stat) = ProcDir::open(child).and_then(|dir| dir.stat()) else { continue };
            if !matches!(stat.state, 'Z' | 'X') {
                children.push((child, stat.starttime));
            }
        }
    }
    Ok(children)
}

/// Processes as they were when they were listed.
#[derive(Debug)]
pub(super) struct Tree {
    processes: Vec<ProcessEntry>,
}

impl Tree {
    fn born(&self) -> impl Iterator<Item = Born> {
        self.processes.iter().filter(|process| !matches!(process.state, 'Z' | 'X')).map(born)
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
