//! The list of visible processes, of any kind.
//!
//! Anything unreadable becomes a gap in the entry and never ends the list. Process memory is not read.

use std::io;
use std::sync::Arc;

use nix::time::ClockId;
use nix::unistd::{Uid, User};
use procfs::process::{ProcessesIter, Stat};
use rustc_hash::FxHashMap;

use super::child;
use super::clock::{nanoseconds, ticks_to_ns};
use super::file_bytes::FileBytes;
use super::proc_dir::{ProcDir, is_kernel_thread, means_gone};
use crate::bytes::ByteSource;

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessEntry {
    /// Its pid.
    pub pid: i32,
    /// Its parent's pid; after the parent has ended, that of its new parent (usually init).
    pub parent_pid: i32,
    /// Its name as the kernel keeps it, at most 15 bytes.
    pub comm: String,
    /// Path of its executable, for display only; `None` for kernel threads and zombies, and when not permitted.
    pub exe: Option<String>,
    /// Whether that file was deleted or replaced.
    pub exe_deleted: bool,
    /// Arguments.
    pub cmdline: Vec<String>,
    /// Real user id.
    pub uid: Option<u32>,
    /// The user's name, if known here.
    pub user: Option<String>,
    /// Number of threads.
    pub threads: u64,
    /// When it was started, clock ticks after boot.
    pub start_ticks: u64,
    /// The same in ns since the Unix epoch.
    pub start_unix_ns: u64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// CPU time used so far, ns.
    pub cpu_ns: u64,
    /// State letter of its main thread.
    pub state: char,
    /// Whether it is a kernel thread.
    pub kernel_thread: bool,
    /// What could not be read, and why: the file's name and the kernel's error.
    pub gaps: Vec<String>,
}

impl ProcessEntry {
    /// The executable's bytes, which may be readable even if the memory is not.
    ///
    /// # Errors
    /// The kernel's; `NotFound` when the process has ended.
    pub(crate) fn executable(&self) -> io::Result<Arc<dyn ByteSource>> {
        Ok(Arc::new(FileBytes::from_file(self.directory()?.file("exe")?)?))
    }

    /// Its directory in `/proc`, never that of another process with a reused pid.
    ///
    /// # Errors
    /// The kernel's; `NotFound` when the process has ended.
    pub(crate) fn directory(&self) -> io::Result<ProcDir> {
        let dir = ProcDir::open(self.pid)?;
        if dir.stat()?.starttime != self.start_ticks {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its pid belongs to another process now"));
        }
        Ok(dir)
    }

    /// Whether it is still running.
    #[must_use]
    pub(crate) fn is_alive(&self) -> bool {
        child::runs(self.pid, self.start_ticks)
    }
}

/// A process and all its descendants, itself first and parents before children; empty when it does not exist.
///
/// # Errors
/// When there is no `/proc`.
pub(crate) fn tree(root: i32) -> io::Result<Vec<ProcessEntry>> {
    let mut all: FxHashMap<i32, Vec<ProcessEntry>> = FxHashMap::default();
    let mut found = Vec::new();
    for entry in ProcessList::new()? {
        if entry.pid == root {
            found.push(entry);
        } else {
            all.entry(entry.parent_pid).or_default().push(entry);
        }
    }
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|entry| entry.pid) {
        // Removed, so that a loop of parents, which a race may show, ends.
        found.extend(all.remove(&parent).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

/// The visible processes, in the kernel's order (by pid). Each is read when the iterator reaches it; ended ones
/// are skipped.
pub(crate) struct ProcessList {
    pids: ProcessesIter,
    users: FxHashMap<u32, Option<String>>,
}

impl ProcessList {
    /// Starts listing.
    ///
    /// # Errors
    /// When there is no `/proc`.
    pub(crate) fn new() -> io::Result<Self> {
        let pids = procfs::process::all_processes().map_err(|e| io::Error::other(e.to_string()))?;
        Ok(Self { pids, users: FxHashMap::default() })
    }

    fn user(&mut self, uid: u32) -> Option<String> {
        let name = || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        self.users.entry(uid).or_insert_with(name).clone()
    }

    fn entry(&mut self, dir: &ProcDir) -> io::Result<ProcessEntry> {
        let stat = dir.stat()?;
        let mut entry = ProcessEntry {
            pid: dir.pid(),
            parent_pid: stat.ppid,
            threads: u64::try_from(stat.num_threads).unwrap_or_default(),
            start_ticks: stat.starttime,
            start_unix_ns: start_unix_ns(&stat),
            rss_bytes: stat.rss.saturating_mul(procfs::page_size()),
            cpu_ns: ticks_to_ns(stat.utime.saturating_add(stat.stime)),
            state: stat.state,
            kernel_thread: is_kernel_thread(&stat),
            comm: stat.comm,
            ..ProcessEntry::default()
        };
        match dir.status() {
            Ok(status) => {
                entry.uid = Some(status.ruid);
                entry.user = self.user(status.ruid);
            }
            Err(e) => entry.gaps.push(format!("status: {e}")),
        }
        match dir.cmdline() {
            Ok(cmdline) => entry.cmdline = cmdline,
            Err(e) => entry.gaps.push(format!("cmdline: {e}")),
        }
        match dir.exe() {
            Ok((exe, deleted)) => (entry.exe, entry.exe_deleted) = (Some(exe), deleted),
            // Kernel threads and zombies have none.
            Err(e) if means_gone(&e) => {}
            Err(e) => entry.gaps.push(format!("exe: {e}")),
        }
        Ok(entry)
    }
}

impl Iterator for ProcessList {
    type Item = ProcessEntry;

    fn next(&mut self) -> Option<ProcessEntry> {
        loop {
            // An error means that this process has ended.
            let Ok(process) = self.pids.next()? else { continue };
            let Ok(dir) = ProcDir::open(process.pid()) else { continue };
            if let Ok(entry) = self.entry(&dir) {
                return Some(entry);
            }
        }
    }
}

/// Computed from the time since boot, which both `starttime` and `CLOCK_BOOTTIME` count.
fn start_unix_ns(stat: &Stat) -> u64 {
    let age = nanoseconds(ClockId::CLOCK_BOOTTIME).saturating_sub(ticks_to_ns(stat.starttime));
    nanoseconds(ClockId::CLOCK_REALTIME).saturating_sub(age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn lists_this_process_and_its_children() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let mut zombie = Command::new("true").spawn().unwrap();
        let pid_of = |child: &std::process::Child| i32::try_from(child.id()).unwrap();
        let is = |pid: i32, state: char| ProcDir::open(pid).unwrap().stat().unwrap().state == state;
        while !is(pid_of(&zombie), 'Z') || !is(pid_of(&child), 'S') {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }

        let all: Vec<ProcessEntry> = ProcessList::new().unwrap().collect();
        assert!(all.is_sorted_by_key(|entry| entry.pid));
        let find = |pid: i32| all.iter().find(|entry| entry.pid == pid).unwrap();

        let sleep = find(pid_of(&child));
        assert_eq!((sleep.comm.as_str(), sleep.threads, sleep.state), ("sleep", 1, 'S'));
        assert_eq!(sleep.cmdline, ["sleep", "100"]);
        assert_eq!(sleep.uid, Some(nix::unistd::getuid().as_raw()));
        assert_eq!(sleep.user, User::from_uid(nix::unistd::getuid()).unwrap().map(|user| user.name));
        assert!(sleep.gaps.is_empty() && !sleep.kernel_thread);
        let now = nanoseconds(ClockId::CLOCK_REALTIME);
        assert!((now - 60_000_000_000..=now).contains(&sleep.start_unix_ns));
        let mut magic = [0; 4];
        assert_eq!(sleep.executable().unwrap().read_at(0, &mut magic).unwrap(), 4);
        assert_eq!(&magic, b"\x7fELF");
        let reused = ProcessEntry { start_ticks: sleep.start_ticks + 1, ..sleep.clone() };
        assert_eq!(reused.executable().err().unwrap().kind(), io::ErrorKind::NotFound);

        let family: Vec<i32> = tree(std::process::id().cast_signed()).unwrap().iter().map(|entry| entry.pid).collect();
        assert_eq!(family[0], std::process::id().cast_signed());
        assert!(family.contains(&pid_of(&child)) && family.contains(&pid_of(&zombie)), "{family:?}");
        assert!(sleep.is_alive() && !find(pid_of(&zombie)).is_alive() && !reused.is_alive());
        assert!(tree(-1).unwrap().is_empty());

        let dead = find(pid_of(&zombie));
        assert_eq!((dead.state, dead.exe.as_ref(), dead.cmdline.len()), ('Z', None, 0));

        let me = find(i32::try_from(std::process::id()).unwrap());
        assert_eq!(me.exe.as_deref(), std::env::current_exe().unwrap().to_str());
        assert!(me.threads >= 2 && me.rss_bytes > 0);

        child.kill().unwrap();
        child.wait().unwrap();
        zombie.wait().unwrap();
        assert!(sleep.executable().is_err());
    }
}
