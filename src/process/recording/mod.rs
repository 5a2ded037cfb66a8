//! A target that records what is read from it, to be written as a capture.
//!
//! A capture must give the same answers as the live process, years later and without the binary. So everything
//! read through a [`RecordingTarget`] is recorded: memory, mappings, threads, clocks, and the parts of files.
//! The process changes while it is read: of two reads of the same memory, the last counts. Reads of searches
//! and attempts are not recorded, only their results (see [`super::remember`]).

mod elf_image;
mod pieces;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use self::elf_image::ElfImage;
pub(super) use self::elf_image::Part;
use self::pieces::{Counts, Pieces};
use super::{
    Backend, Broken, Clock, Ended, FreezeOptions, FreezeWhich, Frozen, GeneralRegisters, Limitation, Mapping, MemRange,
    Precedence, ProcessInfo, ReadError, ReadStats, Recorder, Registers, Remembered, Resources, Target, TargetError,
    ThreadInfo, Tid, Usage,
};
use crate::addr::{Addr, Arch};
use crate::bytes::ByteSource;

/// A target, and what was read from it so far. Clones share it.
#[derive(Clone)]
pub(crate) struct RecordingTarget(Arc<Shared>);

struct Shared {
    inner: Box<dyn Target>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    memory: Pieces,
    remembered: BTreeMap<String, Remembered>,
    registers: BTreeMap<Tid, Registers>,
    mappings: Vec<Mapping>,
    threads: Vec<ThreadInfo>,
    clock: Clock,
    usage: Usage,
    resources: Resources,
    files: Vec<RecordedFile>,
}

/// The parts read of a file.
#[derive(Clone)]
struct RecordedFile {
    /// `None` for the executable.
    path: Option<String>,
    source: Arc<dyn ByteSource>,
    /// Offset and length of each read.
    read: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl RecordingTarget {
    /// Records what is read from `inner`.
    #[must_use]
    pub(crate) fn new(inner: Box<dyn Target>) -> Self {
        Self(Arc::new(Shared { inner, state: Mutex::default() }))
    }

    /// What was read so far as an ELF core file.
    ///
    /// # Errors
    /// When what was read of a file cannot be read again, or the target's architecture is unknown.
    pub(crate) fn image(&self) -> Result<ElfImage, TargetError> {
        let mut state = self.state();
        // A core file's or capture's registers belong to it even if they were not read.
        let known: Vec<(Tid, Registers)> =
            state.threads.iter().filter_map(|thread| Some((thread.tid, self.0.inner.registers(thread.tid)?))).collect();
        for (tid, registers) in known {
            state.registers.entry(tid).or_insert(registers);
        }
        ElfImage::new(self.0.inner.as_ref(), &state)
    }

    /// The recorded memory so far: address and length.
    #[cfg(test)]
    pub(super) fn recorded_ranges(&self) -> Vec<(u64, usize)> {
        self.state().memory.settle().iter().map(|(start, bytes)| (*start, bytes.len())).collect()
    }

    /// The result stored so far under `key`.
    #[cfg(test)]
    pub(crate) fn remembered_in_recording(&self, key: &str) -> Option<Remembered> {
        self.state().remembered.get(key).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, path: Option<&str>, source: Arc<dyn ByteSource>) -> Arc<dyn ByteSource> {
        let mut state = self.state();
        // The same file opened again is the same file.
        let known = state.files.iter().find(|file| file.path.as_deref() == path);
        if let Some(file) = known {
            return Arc::new(file.clone());
        }
        let file = RecordedFile { path: path.map(str::to_owned), source, read: Arc::default() };
        state.files.push(file.clone());
        Arc::new(file)
    }
}

impl ByteSource for RecordedFile {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read_at(offset, buf)?;
        if got > 0 {
            self.read.lock().unwrap_or_else(PoisonError::into_inner).push((offset, got as u64));
        }
        Ok(got)
    }

    fn unlogged(&self) -> Option<Arc<dyn ByteSource>> {
        Some(Arc::clone(&self.source))
    }
}

impl Recorder for RecordingTarget {
    fn unlogged(&self) -> &dyn Target {
        self.0.inner.as_ref()
    }

    fn accept(&self, addr: Addr, bytes: &[u8]) -> usize {
        self.state().memory.accept(addr.0, bytes)
    }

    fn accepted(&self, number: usize) -> Vec<u8> {
        self.state().memory.accepted(number).to_vec()
    }

    fn set_precedence(&self, precedence: Precedence) {
        self.state().memory.set_precedence(precedence);
    }

    fn keep(&self, ranges: &[MemRange]) -> Result<u64, ReadError> {
        /// Bytes that are read at a time.
        const PIECE: usize = 1 << 20;
        let mut sorted: Vec<(u64, u64)> = ranges.iter().map(|range| (range.start.0, range.len as u64)).collect();
        sorted.sort_unstable();
        let mut buffer = vec![0; PIECE];
        let mut kept = 0_u64;
        let mut ranges = sorted.into_iter().peekable();
        while let Some((mut at, len)) = ranges.next() {
            let mut end = at.saturating_add(len);
            // Those that follow each other are read together.
            while let Some((next, len)) = ranges.next_if(|(next, _)| *next <= end) {
                end = end.max(next.saturating_add(len));
            }
            while at < end {
                let want = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
                let part = buffer.get_mut(..want).unwrap_or_default();
                let got = self.0.inner.read(Addr(at), part)?;
                self.state().memory.keep(at, part.get(..got).unwrap_or_default());
                kept = kept.saturating_add(got as u64);
                // What is not there is left out.
                at = at.saturating_add(want as u64);
            }
        }
        Ok(kept)
    }

    fn remember(&self, key: &str, found: Remembered) {
        self.state().remembered.insert(key.to_owned(), found);
    }
}

impl Target for RecordingTarget {
    fn process(&self) -> &ProcessInfo {
        self.0.inner.process()
    }

    fn is_replaced(&self) -> bool {
        self.0.inner.is_replaced()
    }

    fn usage(&self) -> Usage {
        let usage = self.0.inner.usage();
        self.state().usage = usage;
        usage
    }

    fn resources(&self, least: Duration) -> Resources {
        let resources = self.0.inner.resources(least);
        self.state().resources = resources;
        resources
    }

    fn arch(&self) -> Option<Arch> {
        self.0.inner.arch()
    }

    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<usize, ReadError> {
        let got = self.0.inner.read(addr, buf)?;
        self.state().memory.read(addr.0, buf.get(..got).unwrap_or_default());
        Ok(got)
    }

    fn read_ranges(&self, ranges: &[MemRange], buf: &mut [u8], got: &mut Vec<usize>) -> Result<(), ReadError> {
        self.0.inner.read_ranges(ranges, buf, got)?;
        let mut state = self.state();
        let mut rest: &[u8] = buf;
        for (range, &got) in ranges.iter().zip(got.iter()) {
            let Some((part, after)) = rest.split_at_checked(range.len) else { break };
            state.memory.read(range.start.0, part.get(..got).unwrap_or_default());
            rest = after;
        }
        Ok(())
    }

    fn mappings(&self) -> Result<Vec<Mapping>, TargetError> {
        let mappings = self.0.inner.mappings()?;
        self.state().mappings.clone_from(&mappings);
        Ok(mappings)
    }

    fn threads(&self) -> Result<Vec<ThreadInfo>, TargetError> {
        let threads = self.0.inner.threads()?;
        self.state().threads.clone_from(&threads);
        Ok(threads)
    }

    fn executable(&self) -> Result<Arc<dyn ByteSource>, TargetError> {
        Ok(self.file(None, self.0.inner.executable()?))
    }

    fn mapped_file(&self, mapping: &Mapping) -> Result<Arc<dyn ByteSource>, TargetError> {
        Ok(self.file(Some(&mapping.path), self.0.inner.mapped_file(mapping)?))
    }

    fn auxv(&self) -> Vec<(u64, u64)> {
        self.0.inner.auxv()
    }

    fn clock(&self) -> Clock {
        let clock = self.0.inner.clock();
        self.state().clock = clock;
        clock
    }

    fn backend(&self) -> Backend {
        self.0.inner.backend()
    }

    fn stats(&self) -> ReadStats {
        self.0.inner.stats()
    }

    fn registers(&self, tid: Tid) -> Option<Registers> {
        let registers = self.0.inner.registers(tid)?;
        self.state().registers.insert(tid, registers);
        Some(registers)
    }

    fn general_registers(&self, tid: Tid) -> Option<GeneralRegisters> {
        self.0.inner.general_registers(tid)
    }

    fn ended(&self) -> Option<Ended> {
        self.0.inner.ended()
    }

    fn has_whole_pages(&self) -> bool {
        self.0.inner.has_whole_pages()
    }

    fn limitations(&self) -> Vec<Limitation> {
        self.0.inner.limitations()
    }

    fn recorder(&self) -> Option<&dyn Recorder> {
        Some(self)
    }

    fn remembered(&self, key: &str) -> Option<&Remembered> {
        let found = self.0.inner.remembered(key)?;
        // A recording of a recording also holds the results of the first.
        self.state().remembered.entry(key.to_owned()).or_insert_with(|| found.clone());
        Some(found)
    }

    fn freeze_with(&self, which: &FreezeWhich, options: &FreezeOptions) -> Result<Box<dyn Frozen + '_>, TargetError> {
        let frozen = self.0.inner.freeze_with(which, options)?;
        let mut state = self.state();
        let before = Before {
            pieces: state.memory.counts(),
            registers: state.registers.clone(),
            clock: state.clock,
            threads: state.threads.clone(),
        };
        // Threads left asleep have known positions too.
        let registers = |tid| frozen.registers(tid).or_else(|| frozen.asleep(tid));
        let registers = frozen.threads().iter().filter_map(|&tid| Some((tid, registers(tid)?)));
        state.registers.extend(registers);
        drop(state);
        Ok(Box::new(RecordedFreeze { frozen: Some(frozen), target: self, before: Some(before) }))
    }
}

/// A freeze of a recorded target. Reads during a broken or abandoned freeze are forgotten.
struct RecordedFreeze<'a> {
    /// `None` once resumed.
    frozen: Option<Box<dyn Frozen + 'a>>,
    target: &'a RecordingTarget,
    /// `None` once the freeze is known to have held.
    before: Option<Before>,
}

/// What was recorded before a freeze and may change during it.
struct Before {
    pieces: Counts,
    registers: BTreeMap<Tid, Registers>,
    clock: Clock,
    threads: Vec<ThreadInfo>,
}

impl Frozen for RecordedFreeze<'_> {
    fn registers(&self, tid: Tid) -> Option<Registers> {
        self.frozen.as_ref()?.registers(tid)
    }

    fn general_registers(&self, tid: Tid) -> Option<GeneralRegisters> {
        self.frozen.as_ref()?.general_registers(tid)
    }

    fn asleep(&self, tid: Tid) -> Option<Registers> {
        self.frozen.as_ref()?.asleep(tid)
    }

    fn threads(&self) -> &[Tid] {
        self.frozen.as_ref().map_or(&[], |frozen| frozen.threads())
    }

    fn resume(mut self: Box<Self>) -> Result<Duration, Broken> {
        // Only taken here, at its end.
        let resumed = self.frozen.take().map_or(Err(Broken::Ended), Frozen::resume);
        if resumed.is_ok() {
            self.before = None;
        }
        resumed
    }
}

impl Drop for RecordedFreeze<'_> {
    fn drop(&mut self) {
        drop(self.frozen.take());
        let Some(before) = self.before.take() else { return };
        let mut state = self.target.state();
        state.memory.forget_after(before.pieces);
        (state.registers, state.clock, state.threads) = (before.registers, before.clock, before.threads);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::TargetExt;
    use crate::process::fake::FakeTarget;

    /// A broken freeze leaves nothing in the recording.
    #[test]
    fn reads_of_a_broken_freeze_are_forgotten() {
        let registers = |pc| Registers { pc: Addr(pc), sp: Addr(2), lr: Addr(0), fp: Addr(3), g: Addr(4) };
        let thread = |tid| ThreadInfo { tid, state: Some('S'), name: String::new() };
        let clock = |monotonic_ns| Clock { monotonic_ns, unix_ns: 5 };
        let fake = FakeTarget::new(Arch::Amd64)
            .with_segment(Addr(0x1000), [7; 64])
            .with_thread(thread(8))
            .with_registers(8, registers(1))
            .with_clocks([clock(10), clock(20), clock(30)])
            .with_broken_freezes([Broken::Overdue(Duration::ZERO)]);
        let target = RecordingTarget::new(Box::new(fake));
        let read = |at| target.read_u64(Addr(at)).unwrap().unwrap();
        let held = || {
            let state = target.state();
            let starts: Vec<u64> = state.memory.settle().iter().map(|(start, _)| *start).collect();
            (starts, state.registers.len(), state.clock)
        };
        let _ = (read(0x1000), target.clock());
        let before = held();
        assert_eq!(before, (vec![0x1000], 0, clock(10)));

        let broken = target.freeze(&FreezeWhich::All).unwrap();
        let _ = (read(0x1010), target.clock());
        assert_eq!(held(), (vec![0x1000, 0x1010], 1, clock(20)));
        assert_eq!(broken.resume(), Err(Broken::Overdue(Duration::ZERO)));
        assert_eq!(held(), before);

        // An abandoned one, for example after a read error.
        let given_up = target.freeze(&FreezeWhich::All).unwrap();
        let _ = read(0x1010);
        assert_eq!(held(), (vec![0x1000, 0x1010], 1, clock(10)));
        drop(given_up);
        assert_eq!(held(), before);

        let whole = target.freeze(&FreezeWhich::All).unwrap();
        let _ = (read(0x1020), target.clock());
        assert!(whole.resume().is_ok());
        assert_eq!(held(), (vec![0x1000, 0x1020], 1, clock(30)));
    }
}
