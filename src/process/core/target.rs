//! A core file or capture as a [`Target`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use super::backing::BuildIds;
use super::files::{Files, find_program, ids_at_headers};
use super::memory::Memory;
use crate::addr::{Addr, Arch};
use crate::bytes::ByteSource;
use crate::process::{
    Backend, Clock, Ended, GeneralRegisters, Limitation, Mapping, MemRange, ProcessInfo, ReadError, ReadStats,
    Registers, Remembered, SystemCall, Target, TargetError, ThreadActivity, ThreadInfo, Tid,
};

pub(super) const AT_PHDR: u64 = 3;
const PAGE: u64 = 4096;

/// A core file.
pub struct CoreTarget {
    pub(super) arch: Arch,
    pub(super) backend: Backend,
    pub(super) process: ProcessInfo,
    pub(super) memory: Memory,
    pub(super) mappings: Vec<Mapping>,
    pub(super) threads: Vec<ThreadInfo>,
    pub(super) registers: BTreeMap<Tid, Registers>,
    /// The system calls that threads were blocked in; `None` where the file does not hold them.
    pub(super) calls: Option<BTreeMap<Tid, SystemCall>>,
    pub(super) general: BTreeMap<Tid, GeneralRegisters>,
    pub(super) auxv: Vec<(u64, u64)>,
    pub(super) clock: Clock,
    pub(super) ended: Option<Ended>,
    pub(super) files: Files,
    pub(super) remembered: BTreeMap<String, Remembered>,
    pub(super) limitations: Vec<Limitation>,
    pub(super) reads: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl CoreTarget {
    /// Reads memory at `addr` from the mapped file, for pages that the core file does not contain.
    fn read_backing(&self, addr: u64, buf: &mut [u8]) -> usize {
        let Files::Outside { .. } = &self.files else { return 0 };
        let after = self.mappings.partition_point(|mapping| mapping.start.0 <= addr);
        let Some(mapping) = after.checked_sub(1).and_then(|index| self.mappings.get(index)) else { return 0 };
        if addr >= mapping.end.0 || mapping.inode == 0 {
            return 0;
        }
        // A mapping is never longer than its segment.
        let most = usize::try_from(mapping.end.0 - addr).unwrap_or(usize::MAX);
        let want = most.min(buf.len());
        let Some(buf) = buf.get_mut(..want) else { return 0 };
        let Ok(file) = self.file_of(mapping) else { return 0 };
        let offset = mapping.offset.saturating_add(addr - mapping.start.0);
        let got = file.read_at(offset, buf).unwrap_or(0);
        // After the end of a file, its last page is zero.
        let page_end = file.len().next_multiple_of(PAGE);
        let zeros = usize::try_from(page_end.saturating_sub(offset)).unwrap_or(usize::MAX).min(want);
        if got < zeros && offset.saturating_add(got as u64) >= file.len() {
            buf.get_mut(got..zeros).unwrap_or_default().fill(0);
            return zeros;
        }
        got
    }

    fn file_of(&self, mapping: &Mapping) -> Result<Arc<dyn ByteSource>, String> {
        match &self.files {
            Files::Inside { files } => {
                let found = files.iter().find(|(path, _)| path.as_deref() == Some(mapping.path.as_str()));
                let found = found.ok_or_else(|| format!("the capture holds nothing of {}", mapping.path))?;
                Ok(Arc::clone(&found.1) as Arc<dyn ByteSource>)
            }
            Files::Outside { .. } if mapping.path == self.process.exe => self.found_executable(),
            Files::Outside { places, others, .. } => {
                // Locating one file must not block access to others.
                let mut others = others.lock().unwrap_or_else(PoisonError::into_inner);
                let file = Arc::clone(others.entry(mapping.path.clone()).or_default());
                drop(others);
                let found = file.get_or_init(|| {
                    places.find(&mapping.path, self.ids_of(&mapping.path).as_ref(), None).map(|found| found.file)
                });
                found.clone().map(|file| file as Arc<dyn ByteSource>)
            }
        }
    }

    fn found_executable(&self) -> Result<Arc<dyn ByteSource>, String> {
        match &self.files {
            Files::Inside { files } => {
                let found = files.iter().find(|(path, _)| path.is_none());
                found
                    .map(|(_, file)| Arc::clone(file) as Arc<dyn ByteSource>)
                    .ok_or_else(|| "the capture lacks it".into())
            }
            Files::Outside { places, executable, .. } => {
                let at_phdr = self.auxv.iter().find(|(kind, _)| *kind == AT_PHDR).map(|(_, value)| *value);
                let (exe, ids) = (&self.process.exe, || self.ids_of(&self.process.exe));
                let found = executable.get_or_init(|| find_program(places, exe, &self.memory, at_phdr, ids().as_ref()));
                found.as_ref().map(|found| Arc::clone(&found.file) as Arc<dyn ByteSource>).map_err(Clone::clone)
            }
        }
    }

    /// The build ids in the core file's copy of a file's first page.
    fn ids_of(&self, path: &str) -> Option<BuildIds> {
        let at_phdr = self.auxv.iter().find(|(kind, _)| *kind == AT_PHDR).map(|(_, value)| *value);
        let first = self.mappings.iter().find(|mapping| mapping.path == path && mapping.offset == 0);
        match first {
            Some(mapping) => BuildIds::read(|at, len| self.memory.exact(mapping.start.0.checked_add(at)?, len)),
            None if path == self.process.exe => ids_at_headers(&self.memory, at_phdr),
            None => None,
        }
    }
}

impl Target for CoreTarget {
    fn process(&self) -> &ProcessInfo {
        &self.process
    }

    fn arch(&self) -> Option<Arch> {
        Some(self.arch)
    }

    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<usize, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(at) = addr.checked_add(done as u64) else { break };
            let got = match self.memory.read_some(at.0, rest).map_err(|e| ReadError::Io(e.to_string()))? {
                0 => self.read_backing(at.0, rest),
                n => n,
            };
            if got == 0 {
                break;
            }
            done += got;
        }
        self.bytes.fetch_add(done as u64, Ordering::Relaxed);
        Ok(done)
    }

    fn read_ranges(&self, ranges: &[MemRange], buf: &mut [u8], got: &mut Vec<usize>) -> Result<(), ReadError> {
        got.clear();
        let mut rest = buf;
        for range in ranges {
            let Some((part, after)) = std::mem::take(&mut rest).split_at_mut_checked(range.len) else {
                return Err(ReadError::Io("the buffer is too short for the ranges".into()));
            };
            got.push(self.read(range.start, part)?);
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
        self.found_executable().map_err(|why| {
            let of = match self.process.exe.as_str() {
                "" => String::new(),
                exe => format!(" of {exe}"),
            };
            TargetError::Unsupported(format!(
                "the core file{of} needs the program's own file, which it does not contain: {why}\n\
                 name the file with --bin, or a directory with all files with --sysroot"
            ))
        })
    }

    fn mapped_file(&self, mapping: &Mapping) -> Result<Arc<dyn ByteSource>, TargetError> {
        self.file_of(mapping).map_err(TargetError::Unsupported)
    }

    fn auxv(&self) -> Vec<(u64, u64)> {
        self.auxv.clone()
    }

    fn clock(&self) -> Clock {
        self.clock
    }

    fn backend(&self) -> Backend {
        self.backend
    }

    fn stats(&self) -> ReadStats {
        ReadStats { syscalls: self.reads.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    fn registers(&self, tid: Tid) -> Option<Registers> {
        self.registers.get(&tid).copied()
    }

    fn general_registers(&self, tid: Tid) -> Option<GeneralRegisters> {
        self.general.get(&tid).cloned()
    }

    fn thread_activity(&self, tid: Tid) -> ThreadActivity {
        let Some(calls) = &self.calls else {
            let what = match (self.backend, self.arch) {
                (Backend::Core, Arch::Arm64) => "a core file of an arm64 process",
                (Backend::Core, Arch::Amd64) => "the core file",
                _ => "the capture",
            };
            return ThreadActivity::Unknown(format!("{what} does not hold the system calls of threads"));
        };
        match (calls.get(&tid), self.registers.get(&tid)) {
            (Some(call), Some(at)) => ThreadActivity::Blocked { call: Some(*call), sp: at.sp, pc: at.pc },
            (None, Some(_)) => ThreadActivity::Running,
            _ => ThreadActivity::Ended,
        }
    }

    fn ended(&self) -> Option<Ended> {
        self.ended
    }

    fn has_whole_pages(&self) -> bool {
        self.backend != Backend::Capture
    }

    fn limitations(&self) -> Vec<Limitation> {
        let mut out = self.limitations.clone();
        if let Files::Outside { executable, .. } = &self.files
            && let Some(Ok(found)) = executable.get()
            && !found.certain
        {
            out.push(Limitation::Unproven(format!(
                "whether {} is the program of this core file is unknown: there is neither a build id in it nor \
                 a page to compare",
                found.path.display()
            )));
        }
        out
    }

    fn remembered(&self, key: &str) -> Option<&Remembered> {
        self.remembered.get(key)
    }
}
