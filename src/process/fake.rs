//! A test double: memory, mappings, threads and clocks that a test makes up, and reads that fail,
//! come short or find changed memory at a moment of the test's choosing.
//!
//! It is there for the library's own tests, and with the feature `testing` for those of others.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    Backend, BlockedThread, Broken, Clock, FreezeOptions, FreezeWhich, Frozen, Mapping, MemRange, ProcessInfo,
    ReadError, ReadStats, Registers, Remembered, Target, TargetError, ThreadInfo, Tid,
};
use crate::addr::{Addr, Arch};
use crate::bytes::ByteSource;

/// Memory as segments that do not overlap.
#[derive(Clone, Debug, Default)]
pub struct FakeMemory {
    segments: BTreeMap<u64, Vec<u8>>,
}

impl FakeMemory {
    /// Puts `bytes` at `addr`: over what is there already, with new memory where there is none.
    pub fn put(&mut self, addr: Addr, bytes: &[u8]) {
        let mut at = addr.0;
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let n = match self.segment_mut(at) {
                Some(there) => {
                    let n = there.len().min(bytes.len());
                    there.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                    n
                }
                None => {
                    let next = self.segments.range(at..).next().map_or(u64::MAX, |(&start, _)| start);
                    let n = usize::try_from(next - at).unwrap_or(usize::MAX).min(bytes.len());
                    self.segments.insert(at, bytes.iter().take(n).copied().collect());
                    n
                }
            };
            bytes = bytes.get(n..).unwrap_or_default();
            at = at.saturating_add(n as u64);
        }
    }

    /// Puts a little-endian word at `addr`.
    pub fn put_u64(&mut self, addr: Addr, word: u64) {
        self.put(addr, &word.to_le_bytes());
    }

    /// Takes away the memory from `start` up to `end`.
    pub fn unmap(&mut self, start: Addr, end: Addr) {
        let touched: Vec<u64> = self.segments.range(..end.0).map(|(&at, _)| at).collect();
        for at in touched {
            let Some(mut bytes) = self.segments.remove(&at) else { continue };
            let behind = end.0.checked_sub(at).and_then(|n| usize::try_from(n).ok()).filter(|&n| n < bytes.len());
            let before = usize::try_from(start.0.saturating_sub(at)).unwrap_or(usize::MAX);
            if before >= bytes.len() {
                self.segments.insert(at, bytes);
                continue;
            }
            if let Some(n) = behind {
                self.segments.insert(end.0, bytes.split_off(n));
            }
            bytes.truncate(before);
            if !bytes.is_empty() {
                self.segments.insert(at, bytes);
            }
        }
    }

    /// What is at `addr` and behind it up to the segment's end.
    fn segment_mut(&mut self, addr: u64) -> Option<&mut [u8]> {
        let (&start, bytes) = self.segments.range_mut(..=addr).next_back()?;
        bytes.get_mut(usize::try_from(addr - start).ok()?..).filter(|rest| !rest.is_empty())
    }

    fn read(&self, addr: Addr, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = addr.checked_add(done as u64) else { break };
            let Some((&start, bytes)) = self.segments.range(..=at.0).next_back() else { break };
            let from = usize::try_from(at.0 - start).ok().and_then(|skip| bytes.get(skip..)).unwrap_or_default();
            let n = from.len().min(rest.len());
            if n == 0 {
                break;
            }
            rest.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            done += n;
        }
        done
    }
}

/// What a hook makes of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadOutcome {
    /// It goes its way.
    #[default]
    Normal,
    /// It gives no more than this many bytes.
    Short(usize),
    /// It fails, and the reads of the same call behind it are not done.
    Fails(ReadError),
}

/// Called before each read of a range with its number (from 0, over all calls) and the range; may
/// change the memory.
pub type ReadHook = Box<dyn FnMut(u64, MemRange, &mut FakeMemory) -> ReadOutcome + Send>;

#[derive(Default)]
struct State {
    memory: FakeMemory,
    hooks: Vec<ReadHook>,
    reads: u64,
    stats: ReadStats,
    clocks: VecDeque<Clock>,
    blocked: BTreeMap<Tid, VecDeque<BlockedThread>>,
    now: Clock,
    freezes: u64,
    /// What becomes of the next freezes.
    broken: VecDeque<Broken>,
}

/// A made-up process.
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

    /// What the operating system says of it.
    pub fn process_mut(&mut self) -> &mut ProcessInfo {
        &mut self.process
    }

    /// Puts a readable and writable segment of anonymous memory, and its mapping.
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

    /// Adds a mapping, without memory in it.
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

    /// Gives a thread the registers that it has when frozen.
    #[must_use]
    pub fn with_registers(mut self, tid: Tid, registers: Registers) -> Self {
        self.registers.insert(tid, registers);
        self
    }

    /// Has something remembered under `key`, as in a recording.
    #[must_use]
    pub fn with_remembered(mut self, key: &str, found: Remembered) -> Self {
        self.remembered.insert(key.to_owned(), found);
        self
    }

    /// Has the next freezes go wrong, one after the other; those after them go well.
    #[must_use]
    pub fn with_broken_freezes(self, broken: impl IntoIterator<Item = Broken>) -> Self {
        self.state().broken.extend(broken);
        self
    }

    /// Sets where a thread waits in the kernel, one look after the other; beyond the last it runs.
    #[must_use]
    pub fn with_blocked(self, tid: Tid, looks: impl IntoIterator<Item = BlockedThread>) -> Self {
        self.state().blocked.entry(tid).or_default().extend(looks);
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

    /// Sets what the clocks say, one look after the other; the last is said for ever.
    #[must_use]
    pub fn with_clocks(self, clocks: impl IntoIterator<Item = Clock>) -> Self {
        self.state().clocks.extend(clocks);
        self
    }

    /// Adds a hook that sees every read; with several, the first outcome that is not normal counts,
    /// and all of them are called.
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

    /// Looks at the memory or changes it.
    pub fn memory<R>(&self, with: impl FnOnce(&mut FakeMemory) -> R) -> R {
        with(&mut self.state().memory)
    }

    /// How many ranges were read so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// How often it was frozen.
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
            let Some((part, behind)) = std::mem::take(&mut rest).split_at_mut_checked(range.len) else {
                return Err(ReadError::Io("the buffer is too short for the ranges".into()));
            };
            got.push(state.read_one(*range, part)?);
            rest = behind;
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

/// A frozen fake: the registers that it was given.
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
mod tests {
    use super::*;
    use crate::process::TargetExt;
    use proptest::prelude::*;

    fn target() -> FakeTarget {
        FakeTarget::new(Arch::Amd64).with_segment(Addr(0x1000), [1, 2, 3, 4]).with_segment(Addr(0x2000), [9; 16])
    }

    #[test]
    fn reads_stop_at_holes_and_ranges_keep_their_places() {
        let target = target();
        let mut buf = [0xee; 12];
        let mut got = Vec::new();
        let range = |start, len| MemRange { start: Addr(start), len };
        target.read_ranges(&[range(0x1002, 5), range(0x500, 3), range(0x2000, 4)], &mut buf, &mut got).unwrap();
        assert_eq!(got, [2, 0, 4]);
        assert_eq!(buf, [3, 4, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 9, 9, 9, 9]);
        assert_eq!(target.mappings().unwrap().len(), 2);
        assert_eq!((target.reads(), target.stats()), (3, ReadStats { syscalls: 1, bytes: 6 }));
    }

    #[test]
    fn hooks_fail_shorten_and_change_on_schedule() {
        let gone = ReadError::Gone { pid: 1234 };
        let failing = gone.clone();
        let target = target()
            .at_read(1, |_, memory| {
                memory.put(Addr(0x1000), &[7]);
                ReadOutcome::Normal
            })
            .at_read(2, |_, _| ReadOutcome::Short(1))
            .at_read(3, |_, _| ReadOutcome::Fails(failing))
            .at_read(4, |range, memory| {
                memory.unmap(range.start, Addr(range.start.0 + 2));
                ReadOutcome::Normal
            });
        let read = || target.read_array::<2>(Addr(0x1000));
        assert_eq!(read().unwrap(), Some([1, 2]));
        assert_eq!(read().unwrap(), Some([7, 2]));
        assert_eq!(read().unwrap(), None);
        assert_eq!(read(), Err(gone));
        assert_eq!(read().unwrap(), None);
        assert_eq!(target.read_array::<2>(Addr(0x1002)).unwrap(), Some([3, 4]));
    }

    #[test]
    fn clocks_and_freezes_are_as_scripted() {
        let clock = |monotonic_ns| Clock { monotonic_ns, unix_ns: 5 };
        let thread = |tid| ThreadInfo { tid, state: Some('S'), name: String::new() };
        let registers = Registers { pc: Addr(1), sp: Addr(2), lr: Addr(0), fp: Addr(3), g: Addr(4) };
        let target = target()
            .with_clocks([clock(10), clock(20)])
            .with_thread(thread(8))
            .with_thread(thread(7))
            .with_registers(8, registers);
        assert_eq!([target.clock(), target.clock(), target.clock()], [clock(10), clock(20), clock(20)]);
        let all = target.freeze(&FreezeWhich::All).unwrap();
        assert_eq!((all.threads(), all.registers(8), all.registers(7)), (&[7, 8][..], Some(registers), None));
        assert!(all.resume().unwrap() > Duration::ZERO);
        let one = target.freeze(&FreezeWhich::Threads(vec![7, 99])).unwrap();
        assert_eq!((one.threads(), one.registers(8)), (&[7][..], None));
        assert_eq!(target.freezes(), 2);
    }

    proptest! {
        #[test]
        fn memory_is_an_array_with_holes(steps in proptest::collection::vec((0_usize..64, 0_usize..20, any::<Option<u8>>()), 0..40)) {
            let mut model = [None; 100];
            let mut memory = FakeMemory::default();
            for (start, len, put) in steps {
                model[start..start + len].fill(put);
                match put {
                    Some(byte) => memory.put(Addr(start as u64), &vec![byte; len]),
                    None => memory.unmap(Addr(start as u64), Addr((start + len) as u64)),
                }
            }
            for start in 0..100 {
                let expected: Vec<u8> = model[start..].iter().map_while(|&byte| byte).collect();
                let mut buf = [0; 100];
                let n = memory.read(Addr(start as u64), &mut buf);
                prop_assert_eq!(&buf[..n], expected.as_slice());
            }
        }
    }
}
