//! A test double: memory, mappings, threads and clocks set by a test, and reads that fail, come short or see
//! changed memory at chosen points.
//!
//! For the library's own tests, and with the feature `testing` for other crates' tests.

mod altered;
mod memory;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::altered::{Altered, Changes};
pub use self::memory::FakeMemory;
use super::{
    Backend, BlockedThread, Broken, Clock, Descriptor, Descriptors, FreezeOptions, FreezeWhich, Frozen, Mapping,
    MemRange, ProcessInfo, ReadError, ReadStats, Registers, Remembered, Target, TargetError, ThreadActivity,
    ThreadInfo, Tid,
};
use crate::addr::{Addr, Arch};
use crate::bytes::ByteSource;

/// What a hook does to a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadOutcome {
    /// It proceeds normally.
    #[default]
    Normal,
    /// It returns at most this many bytes.
    Short(usize),
    /// It fails, and the later ranges of the same call are not read.
    Fails(ReadError),
}

/// Called before each range is read, with its index (from 0, over all calls) and the range; may change the
/// memory.
pub type ReadHook = Box<dyn FnMut(u64, MemRange, &mut FakeMemory) -> ReadOutcome + Send>;

#[derive(Default)]
struct State {
    memory: FakeMemory,
    hooks: Vec<ReadHook>,
    reads: u64,
    stats: ReadStats,
    clocks: VecDeque<Clock>,
    blocked: BTreeMap<Tid, VecDeque<BlockedThread>>,
    activities: BTreeMap<Tid, VecDeque<ThreadActivity>>,
    descriptors: Descriptors,
    now: Clock,
    freezes: u64,
    /// Outcomes of the next freezes.
    broken: VecDeque<Broken>,
}

/// A fake process.
pub struct FakeTarget {
    process: ProcessInfo,
    arch: Option<Arch>,
    mappings: Vec<Mapping>,
    threads: Vec<ThreadInfo>,
    executable: Option<Arc<dyn ByteSource>>,
    files: BTreeMap<String, Arc<dyn ByteSource>>,
    auxv: Vec<(u64, u64)>,
    registers: BTreeMap<Tid, Registers>,
    remembered: BTreeMap<String, Remembered>,
    state: Mutex<State>,
}

impl fmt::Debug for FakeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeTarget").field("process", &self.process).finish_non_exhaustive()
    }
}

impl FakeTarget {
    /// A process without memory, threads or files.
    #[must_use]
    pub fn new(arch: Arch) -> Self {
        Self {
            process: ProcessInfo { pid: 1234, exe: "/fake".into(), ..ProcessInfo::default() },
            arch: Some(arch),
            mappings: Vec::new(),
            threads: Vec::new(),
            executable: None,
            files: BTreeMap::new(),
            auxv: Vec::new(),
            registers: BTreeMap::new(),
            remembered: BTreeMap::new(),
            state: Mutex::default(),
        }
    }

    /// Its process information.
    pub fn process_mut(&mut self) -> &mut ProcessInfo {
        &mut self.process
    }

    /// Adds a readable and writable anonymous segment with its mapping.
    #[must_use]
    pub fn with_segment(self, addr: Addr, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let mapping = Mapping {
            start: addr,
            end: Addr(addr.0.saturating_add(bytes.len() as u64)),
            read: true,
            write: true,
            exec: false,
            offset: 0,
            inode: 0,
            path: String::new(),
            deleted: false,
        };
        self.memory(|memory| memory.put(addr, &bytes));
        self.with_mapping(mapping)
    }

    /// Adds a mapping without memory.
    #[must_use]
    pub fn with_mapping(mut self, mapping: Mapping) -> Self {
        self.mappings.push(mapping);
        self.mappings.sort_by_key(|mapping| mapping.start);
        self
    }

    /// Adds a thread.
    #[must_use]
    pub fn with_thread(mut self, thread: ThreadInfo) -> Self {
        self.threads.push(thread);
        self.threads.sort_by_key(|thread| thread.tid);
        self
    }

    /// Sets the registers of a thread while frozen.
    #[must_use]
    pub fn with_registers(mut self, tid: Tid, registers: Registers) -> Self {
        self.registers.insert(tid, registers);
        self
    }

    /// Stores an attachment under `key`, as in a recording.
    #[must_use]
    pub fn with_remembered(mut self, key: &str, found: Remembered) -> Self {
        self.remembered.insert(key.to_owned(), found);
        self
    }

    /// Makes the next freezes fail with these errors, in order; later ones succeed.
    #[must_use]
    pub fn with_broken_freezes(self, broken: impl IntoIterator<Item = Broken>) -> Self {
        self.state().broken.extend(broken);
        self
    }

    /// Sets where a thread is blocked, one value for each query; after the last it is running.
    #[must_use]
    pub fn with_blocked(self, tid: Tid, looks: impl IntoIterator<Item = BlockedThread>) -> Self {
        self.state().blocked.entry(tid).or_default().extend(looks);
        self
    }

    /// Sets what a thread does, one value for each query; after the last it has ended.
    #[must_use]
    pub fn with_activities(self, tid: Tid, looks: impl IntoIterator<Item = ThreadActivity>) -> Self {
        self.state().activities.entry(tid).or_default().extend(looks);
        self
    }

    /// Sets its descriptors; others are closed.
    #[must_use]
    pub fn with_descriptors(self, descriptors: Descriptors) -> Self {
        self.state().descriptors = descriptors;
        self
    }

    /// Sets the executable's bytes.
    #[must_use]
    pub fn with_executable(mut self, bytes: Arc<dyn ByteSource>) -> Self {
        self.executable = Some(bytes);
        self
    }

    /// Sets the bytes of a mapped file.
    #[must_use]
    pub fn with_file(mut self, path: &str, bytes: Arc<dyn ByteSource>) -> Self {
        self.files.insert(path.to_owned(), bytes);
        self
    }

    /// Sets the auxiliary vector.
    #[must_use]
    pub fn with_auxv(mut self, auxv: Vec<(u64, u64)>) -> Self {
        self.auxv = auxv;
        self
    }

    /// Sets the clock, one value for each query; the last one repeats.
    #[must_use]
    pub fn with_clocks(self, clocks: impl IntoIterator<Item = Clock>) -> Self {
        self.state().clocks.extend(clocks);
        self
    }

    /// Adds a hook for every read. With several, all are called, and the first outcome that is not normal
    /// counts.
    #[must_use]
    pub fn with_hook(self, hook: impl FnMut(u64, MemRange, &mut FakeMemory) -> ReadOutcome + Send + 'static) -> Self {
        self.state().hooks.push(Box::new(hook));
        self
    }

    /// Adds a hook for the `nth` read of a range, counted from 0 over all calls.
    #[must_use]
    pub fn at_read(
        self,
        nth: u64,
        hook: impl FnOnce(MemRange, &mut FakeMemory) -> ReadOutcome + Send + 'static,
    ) -> Self {
        let mut hook = Some(hook);
        self.with_hook(move |n, range, memory| match hook.take_if(|_| n == nth) {
            Some(hook) => hook(range, memory),
            None => ReadOutcome::Normal,
        })
    }

    /// Reads or changes the memory.
    pub fn memory<R>(&self, with: impl FnOnce(&mut FakeMemory) -> R) -> R {
        with(&mut self.state().memory)
    }

    /// Number of ranges read so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// Number of freezes so far.
    #[must_use]
    pub fn freezes(&self) -> u64 {
        self.state().freezes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn read_one(&mut self, range: MemRange, part: &mut [u8]) -> Result<usize, ReadError> {
        let nth = self.reads;
        self.reads += 1;
        let mut outcome = ReadOutcome::Normal;
        for hook in &mut self.hooks {
            let said = hook(nth, range, &mut self.memory);
            if outcome == ReadOutcome::Normal {
                outcome = said;
            }
        }
        let most = match outcome {
            ReadOutcome::Normal => usize::MAX,
            ReadOutcome::Short(most) => most,
            ReadOutcome::Fails(e) => return Err(e),
        };
        let most = most.min(part.len());
        let came = part.get_mut(..most).map_or(0, |part| self.memory.read(range.start, part));
        self.stats.bytes += came as u64;
        Ok(came)
    }
}

impl Target for FakeTarget {
    fn remembered(&self, key: &str) -> Option<&Remembered> {
        self.remembered.get(key)
    }

    fn blocked_thread(&self, tid: Tid) -> Option<BlockedThread> {
        self.state().blocked.get_mut(&tid)?.pop_front()
    }

    fn thread_activity(&self, tid: Tid) -> ThreadActivity {
        let looks = &mut self.state().activities;
        looks.get_mut(&tid).and_then(VecDeque::pop_front).unwrap_or(ThreadActivity::Ended)
    }

    fn descriptors(&self, fds: Option<&BTreeSet<i32>>) -> Descriptors {
        let known = self.state().descriptors.clone();
        let closed = |fd: &i32| (*fd, known.get(*fd).cloned().unwrap_or(Descriptor::Closed));
        match fds {
            Some(fds) if known.why_unknown().is_none() => fds.iter().map(closed).collect(),
            _ => known,
        }
    }

    fn process(&self) -> &ProcessInfo {
        &self.process
    }

    fn arch(&self) -> Option<Arch> {
        self.arch
    }

    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<usize, ReadError> {
        let mut state = self.state();
        state.stats.syscalls += 1;
        state.read_one(MemRange { start: addr, len: buf.len() }, buf)
    }

    fn read_ranges(&self, ranges: &[MemRange], buf: &mut [u8], got: &mut Vec<usize>) -> Result<(), ReadError> {
        let mut state = self.state();
        state.stats.syscalls += 1;
        got.clear();
        let mut rest = buf;
        for range in ranges {
            let Some((part, after)) = std::mem::take(&mut rest).split_at_mut_checked(range.len) else {
                return Err(ReadError::Io("the buffer is too short for the ranges".into()));
            };
            got.push(state.read_one(*range, part)?);
            rest = after;
        }
        Ok(())
    }

    fn mappings(&self) -> Result<Vec<Mapping>, TargetError> {
        Ok(self.mappings.clone())
    }

    fn threads(&self) -> Result<Vec<ThreadInfo>, TargetError> {
        Ok(self.threads.clone())
    }

    fn executable(&self) -> Result<Arc<dyn ByteSource>, TargetError> {
        self.executable.clone().ok_or_else(|| TargetError::Unsupported("this fake has no executable".into()))
    }

    fn mapped_file(&self, mapping: &Mapping) -> Result<Arc<dyn ByteSource>, TargetError> {
        let file = self.files.get(&mapping.path).cloned();
        file.ok_or_else(|| TargetError::Unsupported(format!("this fake has no file {}", mapping.path)))
    }

    fn auxv(&self) -> Vec<(u64, u64)> {
        self.auxv.clone()
    }

    fn clock(&self) -> Clock {
        let mut state = self.state();
        if let Some(next) = state.clocks.pop_front() {
            state.now = next;
        }
        state.now
    }

    fn backend(&self) -> Backend {
        Backend::Fake
    }

    fn stats(&self) -> ReadStats {
        self.state().stats
    }

    fn freeze_with(&self, which: &FreezeWhich, _: &FreezeOptions) -> Result<Box<dyn Frozen + '_>, TargetError> {
        self.state().freezes += 1;
        let tids = self.threads.iter().map(|thread| thread.tid);
        let tids = match which {
            FreezeWhich::All => tids.collect(),
            FreezeWhich::Threads(these) => tids.filter(|tid| these.contains(tid)).collect(),
        };
        Ok(Box::new(FakeFrozen { target: self, tids }))
    }
}

/// A frozen fake, with the registers it was given.
struct FakeFrozen<'a> {
    target: &'a FakeTarget,
    tids: Vec<Tid>,
}

impl Frozen for FakeFrozen<'_> {
    fn registers(&self, tid: Tid) -> Option<Registers> {
        self.target.registers.get(&tid).filter(|_| self.tids.contains(&tid)).copied()
    }

    fn threads(&self) -> &[Tid] {
        &self.tids
    }

    fn resume(self: Box<Self>) -> Result<Duration, Broken> {
        let broken = self.target.state().broken.pop_front();
        broken.map_or(Ok(Duration::from_micros(50)), Err)
    }
}

#[cfg(test)]
mod tests;
