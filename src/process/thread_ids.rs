//! Thread ids of a process in another pid namespace (a container).
//!
//! The kernel answers `gettid` in the thread's own pid namespace, so that is what `m.procid` holds, while
//! `/proc/PID/task` and ptrace take the ids of ours. `NSpid` in `/proc/PID/task/TID/status` has both, ours first
//! and the thread's own last (Linux 4.1). Above [`super::live`] a thread has its own id, as in a core file.
//! For a process of our own namespace the two are equal, and nothing is read.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use procfs::process::Status;
use rustc_hash::FxHashMap;

use super::proc_dir::ProcDir;
use super::{Broken, FreezeWhich, Frozen, Registers, Tid};

/// The ids of a process's threads in its own pid namespace and in ours.
#[derive(Debug)]
pub(super) struct ThreadIds {
    /// `None` when both namespaces are one.
    known: Option<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// By the id in our namespace: the start time, which tells a thread from a later one of the same id, and
    /// the id in the thread's own namespace.
    threads: FxHashMap<Tid, (u64, Tid)>,
}

/// The id in the process's own pid namespace; `None` when that namespace is ours, or unknown.
pub(super) fn own_id(status: &Status) -> Option<Tid> {
    match status.nspid.as_deref() {
        Some([_, .., own]) => Some(*own),
        _ => None,
    }
}

impl ThreadIds {
    /// For the process of this `status`.
    pub(super) fn of(status: &Status) -> Self {
        Self { known: own_id(status).map(|_| Mutex::default()) }
    }

    fn known(&self) -> Option<MutexGuard<'_, Known>> {
        Some(self.known.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The own id of the thread that is `tid` in our namespace and started at `start`, clock ticks after boot.
    ///
    /// # Errors
    /// The kernel's, when the thread has ended.
    pub(super) fn own(&self, dir: &ProcDir, tid: Tid, start: u64) -> io::Result<Tid> {
        let Some(mut known) = self.known() else { return Ok(tid) };
        if let Some(&(then, own)) = known.threads.get(&tid)
            && then == start
        {
            return Ok(own);
        }
        let own = own_id(&dir.thread_status(tid)?).unwrap_or(tid);
        known.threads.insert(tid, (start, own));
        Ok(own)
    }

    /// Forgets all threads but these, given by their ids in our namespace.
    pub(super) fn retain(&self, tids: &[Tid]) {
        if let Some(mut known) = self.known() {
            known.threads.retain(|tid, _| tids.binary_search(tid).is_ok());
        }
    }

    /// The id in our namespace of the thread whose own id is `own`, if it was among those seen last.
    pub(super) fn ours(&self, own: Tid) -> Option<Tid> {
        let Some(known) = self.known() else { return Some(own) };
        known.threads.iter().find(|(_, thread)| thread.1 == own).map(|(tid, _)| *tid)
    }

    /// A freeze of the same threads by their ids in our namespace. Unknown ones are left out, as ended ones are.
    pub(super) fn which(&self, which: &FreezeWhich) -> FreezeWhich {
        match which {
            FreezeWhich::All => FreezeWhich::All,
            FreezeWhich::Threads(own) => FreezeWhich::Threads(self.all_ours(own)),
        }
    }

    /// The ids in our namespace of those threads that are known.
    pub(super) fn all_ours(&self, own: &[Tid]) -> Vec<Tid> {
        own.iter().filter_map(|&tid| self.ours(tid)).collect()
    }

    /// The same freeze with the threads' own ids.
    pub(super) fn freeze<'a>(&self, dir: &ProcDir, frozen: Box<dyn Frozen + 'a>) -> Box<dyn Frozen + 'a> {
        let Some(known) = self.known() else { return frozen };
        let own = |tid: Tid| match known.threads.get(&tid) {
            Some(&(_, own)) => Some(own),
            // Started after the threads were listed.
            None => dir.thread_status(tid).ok().and_then(|status| own_id(&status)),
        };
        let ours: FxHashMap<Tid, Tid> = frozen.threads().iter().filter_map(|&tid| Some((own(tid)?, tid))).collect();
        let mut threads: Vec<Tid> = ours.keys().copied().collect();
        threads.sort_unstable();
        Box::new(Nested { frozen, ours, threads })
    }
}

/// A freeze of threads in another pid namespace.
struct Nested<'a> {
    frozen: Box<dyn Frozen + 'a>,
    /// Ids in our namespace by the own ones.
    ours: FxHashMap<Tid, Tid>,
    threads: Vec<Tid>,
}

impl Frozen for Nested<'_> {
    fn registers(&self, tid: Tid) -> Option<Registers> {
        self.frozen.registers(*self.ours.get(&tid)?)
    }

    fn asleep(&self, tid: Tid) -> Option<Registers> {
        self.frozen.asleep(*self.ours.get(&tid)?)
    }

    fn threads(&self) -> &[Tid] {
        &self.threads
    }

    fn resume(self: Box<Self>) -> Result<std::time::Duration, Broken> {
        self.frozen.resume()
    }
}
