//! A wrapper that changes some answers of another target: for tests that make a real target or a recording fail
//! in one way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::addr::{Addr, Arch};
use crate::bytes::ByteSource;
use crate::process::{
    Backend, BlockedThread, Broken, Clock, Descriptors, Ended, FreezeOptions, FreezeWhich, Frozen, Limitation, Mapping,
    MemRange, ProcessInfo, ReadError, ReadStats, Registers, Remembered, Resources, Target, TargetError, ThreadActivity,
    ThreadInfo, Tid, Usage,
};

/// Called instead of a read, with its ranges and a function that does the read.
type ReadsHook =
    Box<dyn Fn(&[MemRange], &mut dyn FnMut() -> Result<(), ReadError>) -> Result<(), ReadError> + Send + Sync>;

/// Called after a read, with its ranges and the number of bytes read of each.
type AfterHook = Box<dyn Fn(&[MemRange], &[usize]) + Send + Sync>;

/// Called when a freeze begins and ends: whether it begins, and whether it fails.
type FreezeHook = Arc<dyn Fn(bool, bool) + Send + Sync>;

/// Changes of a target's memory that are made while others have the target.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    bytes: Arc<Mutex<BTreeMap<u64, u8>>>,
    cpu_clock: Arc<Mutex<Option<Duration>>>,
}

impl Changes {
    /// Overrides the memory at `addr` with the first `len` bytes of a little-endian word, where it is mapped.
    pub fn put(&self, addr: u64, word: u64, len: usize) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend((addr..).zip(word.to_le_bytes().into_iter().take(len)));
    }

    /// From now on, this is the CPU time that the process has used.
    pub fn set_cpu_clock(&self, used: Duration) {
        *self.cpu_clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(used);
    }
}

/// A target that behaves like `T` except for the changes made.
pub struct Altered<T> {
    inner: T,
    bytes: BTreeMap<u64, u8>,
    changes: Changes,
    alone: BTreeMap<u64, u64>,
    backend: Option<Backend>,
    forgotten: Vec<String>,
    around_reads: Option<ReadsHook>,
    after_reads: Option<AfterHook>,
    broken: Mutex<Vec<Broken>>,
    at_freeze: Option<FreezeHook>,
}

impl<T: Target> Altered<T> {
    /// Wraps `inner` without any change.
    #[must_use]
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            bytes: BTreeMap::new(),
            changes: Changes::default(),
            alone: BTreeMap::new(),
            backend: None,
            forgotten: Vec::new(),
            around_reads: None,
            after_reads: None,
            broken: Mutex::default(),
            at_freeze: None,
        }
    }

    /// The wrapped target.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// Overrides the memory at `addr` with the first `len` bytes of a little-endian word, where it is mapped.
    pub fn put(&mut self, addr: u64, word: u64, len: usize) {
        self.bytes.extend((addr..).zip(word.to_le_bytes().into_iter().take(len)));
    }

    /// Changes of memory that can be made while it is read.
    #[must_use]
    pub fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// Overrides the word at `addr` only for reads of just this word: as if it changed a moment later.
    pub fn put_alone(&mut self, addr: u64, word: u64) {
        self.alone.insert(addr, word);
    }

    /// Sets the back end that it reports.
    #[must_use]
    pub fn with_backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Removes the attachment under `key`.
    #[must_use]
    pub fn without_remembered(mut self, key: &str) -> Self {
        self.forgotten.push(key.to_owned());
        self
    }

    /// Calls `hook` around every read.
    #[must_use]
    pub fn with_reads(
        mut self,
        hook: impl Fn(&[MemRange], &mut dyn FnMut() -> Result<(), ReadError>) -> Result<(), ReadError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.around_reads = Some(Box::new(hook));
        self
    }

    /// Makes the next freezes fail with these errors, last one first.
    #[must_use]
    pub fn with_broken_freezes(mut self, broken: Vec<Broken>) -> Self {
        self.broken = Mutex::new(broken);
        self
    }

    /// Calls `hook` when a freeze begins and when it ends, with which of the two it is, and whether the freeze
    /// will fail.
    #[must_use]
    pub fn at_freeze(mut self, hook: impl Fn(bool, bool) + Send + Sync + 'static) -> Self {
        self.at_freeze = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` after every read, with its ranges and the number of bytes read of each.
    #[must_use]
    pub fn after_reads(mut self, hook: impl Fn(&[MemRange], &[usize]) + Send + Sync + 'static) -> Self {
        self.after_reads = Some(Box::new(hook));
        self
    }

    fn read_inner(
        &self,
        ranges: &[MemRange],
        read: &mut dyn FnMut() -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        match &self.around_reads {
            Some(hook) => hook(ranges, read),
            None => read(),
        }
    }

    fn alter(&self, addr: u64, buf: &mut [u8]) {
        let end = addr.saturating_add(buf.len() as u64);
        let changed = self.changes.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        for (&at, &byte) in self.bytes.range(addr..end).chain(changed.range(addr..end)) {
            if let Some(place) = usize::try_from(at - addr).ok().and_then(|at| buf.get_mut(at)) {
                *place = byte;
            }
        }
        if let (8, Some(word)) = (buf.len(), self.alone.get(&addr)) {
            buf.copy_from_slice(&word.to_le_bytes());
        }
    }
}

struct AlteredFrozen<'a> {
    inner: Box<dyn Frozen + 'a>,
    broken: Option<Broken>,
    at_end: Option<FreezeHook>,
}

impl Frozen for AlteredFrozen<'_> {
    fn registers(&self, tid: Tid) -> Option<Registers> {
        self.inner.registers(tid)
    }

    fn asleep(&self, tid: Tid) -> Option<Registers> {
        self.inner.asleep(tid)
    }

    fn threads(&self) -> &[Tid] {
        self.inner.threads()
    }

    fn resume(self: Box<Self>) -> Result<Duration, Broken> {
        if let Some(hook) = &self.at_end {
            hook(false, false);
        }
        let stood = self.inner.resume()?;
        self.broken.map_or(Ok(stood), Err)
    }
}

impl<T: Target> Target for Altered<T> {
    fn process(&self) -> &ProcessInfo {
        self.inner.process()
    }

    fn is_replaced(&self) -> bool {
        self.inner.is_replaced()
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }

    fn resources(&self, least: Duration) -> Resources {
        self.inner.resources(least)
    }

    fn cpu_clock(&self) -> Option<Duration> {
        let said = *self.changes.cpu_clock.lock().unwrap_or_else(PoisonError::into_inner);
        said.or_else(|| self.inner.cpu_clock())
    }

    fn arch(&self) -> Option<Arch> {
        self.inner.arch()
    }

    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<usize, ReadError> {
        let mut got = 0;
        let ranges = [MemRange { start: addr, len: buf.len() }];
        self.read_inner(&ranges, &mut || {
            got = self.inner.read(addr, buf)?;
            Ok(())
        })?;
        if let Some(hook) = &self.after_reads {
            hook(&ranges, &[got]);
        }
        self.alter(addr.0, buf.get_mut(..got).unwrap_or_default());
        Ok(got)
    }

    fn read_ranges(&self, ranges: &[MemRange], buf: &mut [u8], got: &mut Vec<usize>) -> Result<(), ReadError> {
        self.read_inner(ranges, &mut || self.inner.read_ranges(ranges, buf, got))?;
        if let Some(hook) = &self.after_reads {
            hook(ranges, got);
        }
        let mut rest = buf;
        for (range, &got) in ranges.iter().zip(got.iter()) {
            let Some((part, after)) = std::mem::take(&mut rest).split_at_mut_checked(range.len) else { break };
            self.alter(range.start.0, part.get_mut(..got).unwrap_or_default());
            rest = after;
        }
        Ok(())
    }

    fn mappings(&self) -> Result<Vec<Mapping>, TargetError> {
        self.inner.mappings()
    }

    fn threads(&self) -> Result<Vec<ThreadInfo>, TargetError> {
        self.inner.threads()
    }

    fn executable(&self) -> Result<Arc<dyn ByteSource>, TargetError> {
        self.inner.executable()
    }

    fn mapped_file(&self, mapping: &Mapping) -> Result<Arc<dyn ByteSource>, TargetError> {
        self.inner.mapped_file(mapping)
    }

    fn auxv(&self) -> Vec<(u64, u64)> {
        self.inner.auxv()
    }

    fn clock(&self) -> Clock {
        self.inner.clock()
    }

    fn backend(&self) -> Backend {
        self.backend.unwrap_or_else(|| self.inner.backend())
    }

    fn stats(&self) -> ReadStats {
        self.inner.stats()
    }

    fn registers(&self, tid: Tid) -> Option<Registers> {
        self.inner.registers(tid)
    }

    fn ended(&self) -> Option<Ended> {
        self.inner.ended()
    }

    fn has_whole_pages(&self) -> bool {
        self.inner.has_whole_pages()
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.inner.limitations()
    }

    fn remembered(&self, key: &str) -> Option<&Remembered> {
        self.inner.remembered(key).filter(|_| self.forgotten.iter().all(|forgotten| forgotten != key))
    }

    fn blocked_thread(&self, tid: Tid) -> Option<BlockedThread> {
        self.inner.blocked_thread(tid)
    }

    fn thread_activity(&self, tid: Tid) -> ThreadActivity {
        self.inner.thread_activity(tid)
    }

    fn descriptors(&self, fds: Option<&BTreeSet<i32>>) -> Descriptors {
        self.inner.descriptors(fds)
    }

    fn freeze_with(&self, which: &FreezeWhich, options: &FreezeOptions) -> Result<Box<dyn Frozen + '_>, TargetError> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let inner = self.inner.freeze_with(which, options)?;
        if let Some(hook) = &self.at_freeze {
            hook(true, broken.is_some());
        }
        Ok(Box::new(AlteredFrozen { inner, broken, at_end: self.at_freeze.clone() }))
    }
}
