//! One process during its life, through `execve`, and the process that replaces it after its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::source::{SnapshotSource, SourceEnd, Successor};
use crate::analysis::series::has_started_since;
use crate::model::{ObjectAddr, Snapshot};
use crate::process::proc_dir::ProcDir;
use crate::process::process_list::ProcessList;

/// Opens processes to be read.
pub(crate) trait Opener: Send + Sync {
    /// Opens one.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    fn open(&self, pid: i32) -> Result<Box<dyn SnapshotSource>, SourceEnd>;
}

/// How often, and after which pauses, a process that has executed another program is read again until the new
/// program's runtime has started.
const LOOKS: usize = 40;
const LOOKS_AT_A_ZOMBIE: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// An opened process, read again and again. When it executes another program, that one is read.
pub(crate) struct Followed {
    opener: Arc<dyn Opener>,
    source: Box<dyn SnapshotSource>,
    pid: i32,
    /// When it was started, in clock ticks since boot: another process may get its pid.
    started: Option<u64>,
    /// When it was last read, by the target's `nanotime`.
    last_ns: Option<u64>,
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followed").field("pid", &self.pid).field("started", &self.started).finish_non_exhaustive()
    }
}

impl Followed {
    /// A process that `source` reads.
    #[must_use]
    pub(crate) fn new(opener: Arc<dyn Opener>, source: Box<dyn SnapshotSource>, pid: i32) -> Self {
        let started = ProcDir::open(pid).and_then(|dir| dir.stat()).ok().map(|stat| stat.starttime);
        Self { opener, source, pid, started, last_ns: None }
    }

    /// A reading, or where it failed that of the program that the process has executed.
    fn follow(&mut self, read: Result<Snapshot, SourceEnd>) -> Result<Snapshot, SourceEnd> {
        let snapshot = read.or_else(|end| {
            let now = match end {
                SourceEnd::Ended(_) => self.executed(),
                SourceEnd::Failed(_) => self.reopen(),
                SourceEnd::Finished => None,
            };
            now.ok_or(end)
        })?;
        self.last_ns = Some(snapshot.monotonic_ns);
        Ok(snapshot)
    }

    /// What the process is now that its program has been replaced; `None` once the process has ended.
    fn executed(&mut self) -> Option<Snapshot> {
        let started = self.started?;
        for look in 0..LOOKS {
            let stat = ProcDir::open(self.pid).and_then(|dir| dir.stat()).ok()?;
            // During an execve by another thread, the main one is a zombie for a moment.
            let has_ended = matches!(stat.state, 'Z' | 'X') && look >= LOOKS_AT_A_ZOMBIE;
            if stat.starttime != started || has_ended {
                return None;
            }
            if look > 0 {
                std::thread::sleep(PAUSE);
            }
            let snapshot = self.reopen();
            if snapshot.is_some() {
                return snapshot;
            }
        }
        None
    }

    /// Reopens the process in case it has executed another program since, or itself at other addresses.
    /// Otherwise the old one stays, with what it has cached.
    fn reopen(&mut self) -> Option<Snapshot> {
        let mut source = self.opener.open(self.pid).ok()?;
        let snapshot = source.next().ok()?;
        if self.last_ns.is_some_and(|last_ns| !has_started_since(last_ns, &snapshot)) {
            return None;
        }
        self.source = source;
        Some(snapshot)
    }
}

impl SnapshotSource for Followed {
    fn next(&mut self) -> Result<Snapshot, SourceEnd> {
        let read = self.source.next();
        self.follow(read)
    }

    fn next_in_full(&mut self) -> Result<Snapshot, SourceEnd> {
        let read = self.source.next_in_full();
        self.follow(read)
    }

    fn attend(&mut self, goroutines: &[ObjectAddr]) {
        self.source.attend(goroutines);
    }
}

/// Finds a process that was started from the same file, or has the same name, after the one that was read.
pub(crate) struct SameName {
    opener: Arc<dyn Opener>,
    pid: i32,
    exe: Option<String>,
    comm: String,
    start_ticks: u64,
}

impl std::fmt::Debug for SameName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SameName").field("pid", &self.pid).field("exe", &self.exe).finish_non_exhaustive()
    }
}

impl SameName {
    /// For a process that runs.
    ///
    /// # Errors
    /// When it is not there, or `/proc` cannot be read.
    pub(crate) fn of(opener: Arc<dyn Opener>, pid: i32) -> io::Result<Self> {
        let dir = ProcDir::open(pid)?;
        let stat = dir.stat()?;
        let exe = dir.exe().ok().map(|(exe, _)| exe);
        Ok(Self { opener, pid, exe, comm: stat.comm, start_ticks: stat.starttime })
    }
}

impl Successor for SameName {
    fn find(&mut self) -> Option<Box<dyn SnapshotSource>> {
        let candidates = ProcessList::new().ok()?.filter(|process| {
            let same = match (&self.exe, &process.exe) {
                (Some(then), Some(now)) => then == now,
                _ => self.comm == process.comm,
            };
            same && !process.kernel_thread
                && !matches!(process.state, 'Z' | 'X')
                && (process.start_ticks, process.pid) != (self.start_ticks, self.pid)
                && process.start_ticks >= self.start_ticks
        });
        let newest = candidates.max_by_key(|process| (process.start_ticks, process.pid))?;
        // One that has just started cannot be read yet; the next attempt finds it.
        let source = self.opener.open(newest.pid).ok()?;
        (self.pid, self.start_ticks) = (newest.pid, newest.start_ticks);
        Some(Box::new(Followed::new(Arc::clone(&self.opener), source, newest.pid)))
    }
}
