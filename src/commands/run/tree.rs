//! The command and what it started.

use std::cell::RefCell;
use std::io;

use nix::sys::signal::Signal;
use rustc_hash::FxHashSet;

use crate::process::child;
use crate::process::proc_dir::ProcDir;
use crate::process::process_list::{self, ProcessEntry};

/// A process that is told from another one that gets its pid later.
pub(super) type Born = (i32, u64);

/// What the command has started, and it.
///
/// This process is the subreaper of its descendants, so those whose parents have ended become its
/// children. Where it had children before the command (of a program that became this one by exec), orphans
/// of those do too, and cannot be told from the command's: then only those are ours that descend from the
/// command, or did when they were seen before.
#[derive(Debug)]
pub(super) struct Family {
    /// Whether there were others before the command.
    has_strangers: bool,
    /// Where there were: the command, and who was seen below it.
    known: RefCell<FxHashSet<Born>>,
}

impl Family {
    /// Before the command is started.
    pub(super) fn new() -> Self {
        // If processes cannot be listed, none is taken for ours by mistake.
        let has_strangers = process_list::tree(own_pid()).map_or(true, |own| own.len() > 1);
        Self { has_strangers, known: RefCell::default() }
    }

    /// The command has been started, and not been waited for.
    pub(super) fn begin(&mut self, pid: i32) {
        if let Ok(start_ticks) = child::start_ticks(pid) {
            self.known.get_mut().insert((pid, start_ticks));
        }
    }

    /// All who are there now, parents before their children.
    pub(super) fn tree(&self) -> Tree {
        let mut processes = process_list::tree(own_pid()).unwrap_or_default();
        let mut ours = FxHashSet::default();
        processes.retain(|process| {
            let is_ours = self.is_ours(born(process), process.parent_pid) || ours.contains(&process.parent_pid);
            is_ours && ours.insert(process.pid)
        });
        self.remember(processes.iter().map(born));
        Tree { processes }
    }

    /// Whether a process is ours by itself, and not for its parent.
    fn is_ours(&self, born: Born, parent: i32) -> bool {
        (parent == own_pid() && !self.has_strangers) || self.known.borrow().contains(&born)
    }

    /// These stay ours when their parents have ended.
    fn remember(&self, seen: impl Iterator<Item = Born>) {
        if self.has_strangers {
            let mut known = self.known.borrow_mut();
            known.extend(seen);
            if known.len() > MOST {
                known.retain(|&(pid, start_ticks)| child::start_ticks(pid).is_ok_and(|now| now == start_ticks));
            }
        }
    }

    /// Those who run, in fewer reads of files where the kernel lists the children of a thread
    /// (`CONFIG_PROC_CHILDREN`).
    pub(super) fn living(&self) -> Vec<Born> {
        self.listed().unwrap_or_else(|_| self.tree().born().collect())
    }

    fn listed(&self) -> io::Result<Vec<Born>> {
        let mut found: Vec<Born> = children(own_pid())?;
        found.retain(|&born| self.is_ours(born, own_pid()));
        let mut next = 0;
        while let Some(&(pid, _)) = found.get(next) {
            // One that has ended meanwhile has none.
            found.extend(children(pid).unwrap_or_default());
            next += 1;
            if found.len() > MOST {
                break;
            }
        }
        self.remember(found.iter().copied());
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
            // The thread has ended; where it is the first one that has no list, none has.
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

    /// Sends a signal to each that runs still; that one has ended meanwhile is as good.
    pub(super) fn signal(&self, wanted: Signal) {
        for process in self.processes.iter().filter(|process| process.is_alive()) {
            let _ = child::send_signal(process.pid, process.start_ticks, wanted);
        }
    }
}
