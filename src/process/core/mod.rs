//! An ELF core file as a [`Target`]: by the kernel, by `gcore`, by QEMU, or the inside of a capture
//! that gospy made itself.
//!
//! Nothing is loaded up front but headers and notes, so a core file of 10 GB opens as fast as one of
//! 10 MB. Pages that the kernel left out because they are in a file are read from that file, if it
//! is of the same build. A file that was cut short is read as far as it goes, and says so
//! ([`Target::shortcomings`]). It refuses core files of other machines.

mod arguments;
mod backing;
pub(super) mod facts;
mod file_parts;
pub(super) mod headers;
pub(super) mod memory;
pub(super) mod notes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::UNIX_EPOCH;

use self::backing::{BuildIds, Found, Places};
use self::facts::Facts;
use self::file_parts::FileParts;
use self::headers::{FilePart, Headers};
use self::memory::Memory;
use self::notes::{FileNote, Notes};
use super::capture_file::{CaptureFile, CaptureFileError, is_capture};
use super::file_bytes::FileBytes;
use super::{
    Backend, Clock, Ended, Limitation, Mapping, MemRange, ProcessInfo, ReadError, ReadStats, Registers, Target,
    TargetError, ThreadInfo, Tid,
};
use crate::addr::{Addr, Arch};
use crate::bytes::{ByteSource, FieldsExt};

const AT_PHDR: u64 = 3;
const AT_ENTRY: u64 = 9;
const AT_EXECFN: u64 = 31;
/// Longest path that is read from memory, bytes.
const MAX_PATH: usize = 4096;
const PAGE: u64 = 4096;
const PAGE_LEN: usize = 4096;

/// Where the files are that a core file does not contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreOptions {
    /// The program's own file, when it is not where the core file says.
    pub bin: Option<PathBuf>,
    /// A directory in which all files are found by the paths of the core file.
    pub sysroot: Option<PathBuf>,
}

/// Why a core file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// It could not be opened or read.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("this is neither a capture nor a core file that can be read: {what}")]
    NotCore {
        /// What was found instead.
        what: String,
    },
    /// Its headers make no sense.
    #[error("the headers of the core file make no sense: {what}")]
    Headers {
        /// What is wrong.
        what: String,
    },
    /// It is a capture that cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureFileError),
    /// A capture's own note is damaged.
    #[error("the capture's {note} cannot be read: {what}")]
    Note {
        /// Which one.
        note: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

/// A core file.
pub struct CoreTarget {
    arch: Arch,
    backend: Backend,
    process: ProcessInfo,
    memory: Memory,
    mappings: Vec<Mapping>,
    threads: Vec<ThreadInfo>,
    registers: BTreeMap<Tid, Registers>,
    auxv: Vec<(u64, u64)>,
    clock: Clock,
    ended: Option<Ended>,
    files: Files,
    attachments: Vec<(String, Vec<u8>)>,
    shortcomings: Vec<Limitation>,
    reads: AtomicU64,
    bytes: AtomicU64,
}

/// Where the bytes of files come from.
enum Files {
    /// From the files themselves, looked for once each.
    Outside { places: Places, executable: OnceLock<Result<Found, String>>, others: Mutex<BTreeMap<String, Resolved>> },
    /// From the capture: by number, and their paths.
    Inside { files: Vec<(Option<String>, Arc<FileParts>)> },
}

type Resolved = Result<Arc<FileBytes>, String>;

impl CoreTarget {
    /// Opens the core file or capture at `path`.
    ///
    /// # Errors
    /// When it cannot be opened, is neither a capture nor a core file of a 64-bit little-endian
    /// amd64 or arm64 process, is damaged, or its headers make no sense.
    pub fn open(path: &Path, options: &CoreOptions) -> Result<Self, CoreError> {
        let io = |source| CoreError::Io { path: path.to_owned(), source };
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(io)?;
        let file = FileBytes::open(path).map_err(io)?;
        let mut target = Self::from_source(Arc::new(file), options)?;
        if target.clock.unix_ns == 0 {
            // The file was written when the process died.
            let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            target.clock.unix_ns = u64::try_from(since.as_nanos()).unwrap_or_default();
        }
        Ok(target)
    }

    /// Opens a core file or capture whose bytes are at hand. Without a note that says when it was made, its
    /// time is unknown (0).
    ///
    /// # Errors
    /// As [`CoreTarget::open`].
    pub fn from_source(source: Arc<dyn ByteSource>, options: &CoreOptions) -> Result<Self, CoreError> {
        if is_capture(source.as_ref()) {
            return Self::from_core(Arc::new(CaptureFile::open(source)?), options);
        }
        Self::from_core(source, options)
    }

    fn from_core(source: Arc<dyn ByteSource>, options: &CoreOptions) -> Result<Self, CoreError> {
        let headers = Headers::read(source.as_ref())?;
        let notes = Notes::read(&headers.notes, headers.arch);
        let mut shortcomings = Vec::new();
        if headers.complete_len > source.len() {
            shortcomings.push(Limitation::Missing(format!(
                "the core file is truncated: it has {} of {} bytes; what was in the rest is missing",
                source.len(),
                headers.complete_len
            )));
        }
        let memory = Memory::new(Arc::clone(&source), headers.loads);
        let (arch, parts) = (headers.arch, headers.parts);
        match &notes.facts {
            Some(facts) => {
                let facts: Facts = serde_json::from_slice(facts)
                    .map_err(|e| CoreError::Note { note: "description", what: e.to_string() })?;
                Self::of_capture(source, arch, memory, facts, notes, parts, shortcomings)
            }
            None => Ok(Self::of_core(arch, memory, notes, options, shortcomings)),
        }
    }

    fn of_capture(
        source: Arc<dyn ByteSource>,
        arch: Arch,
        mut memory: Memory,
        facts: Facts,
        notes: Notes,
        parts: Vec<FilePart>,
        shortcomings: Vec<Limitation>,
    ) -> Result<Self, CoreError> {
        let damaged = |what: &str| CoreError::Note { note: "list of ranges", what: what.to_owned() };
        let ranges = notes.ranges.as_deref().ok_or_else(|| damaged("it is missing"))?;
        memory.limit_to(&memory::decode_ranges(ranges).ok_or_else(|| damaged("it is damaged"))?);
        let registers = notes
            .threads
            .iter()
            .filter(|thread| facts.threads.iter().any(|known| known.tid() == thread.tid && known.stopped))
            .filter_map(|thread| Some((thread.tid, thread.registers?)))
            .collect();
        let files = facts.files.iter().zip(0_u64..).map(|(file, number)| {
            let parts = parts.iter().filter(|part| part.file == number).copied().collect();
            (file.path.clone(), Arc::new(FileParts { source: Arc::clone(&source), parts, len: file.len }))
        });
        Ok(Self {
            arch,
            backend: Backend::Capture,
            memory,
            threads: facts.threads.iter().map(facts::ThreadFacts::info).collect(),
            registers,
            auxv: notes.auxv,
            ended: facts.ended.map(Into::into),
            files: Files::Inside { files: files.collect() },
            attachments: notes.attachments,
            shortcomings,
            clock: facts.clock.into(),
            mappings: facts.mappings.into_iter().map(Mapping::from).collect(),
            process: facts.process.into(),
            reads: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    fn of_core(
        arch: Arch,
        memory: Memory,
        notes: Notes,
        options: &CoreOptions,
        mut shortcomings: Vec<Limitation>,
    ) -> Self {
        let Notes { threads, process: noted, auxv, mut files, ended, .. } = notes;
        let places = Places { bin: options.bin.clone(), sysroot: options.sysroot.clone() };
        let at = |kind: u64| auxv.iter().find(|(k, _)| *k == kind).map(|(_, value)| *value);
        let entry = at(AT_ENTRY).or(at(AT_PHDR));
        let by_mapping = entry.and_then(|entry| file_at(&files, entry)).map(|file| file.path.clone());
        let by_name = || at(AT_EXECFN).and_then(|addr| memory.text(addr, MAX_PATH));
        let exe = by_mapping.or_else(by_name).unwrap_or_default();
        let mut executable = OnceLock::new();
        if files.is_empty() {
            // QEMU does not list files: the program's own mappings follow from its headers.
            let found =
                find_program(&places, &exe, &memory, at(AT_PHDR), ids_at_headers(&memory, at(AT_PHDR)).as_ref());
            if let Ok(found) = &found {
                files = mapped_by_headers(found.file.as_ref(), &exe, at(AT_PHDR));
            }
            executable = OnceLock::from(found);
        }
        if threads.is_empty() {
            let text = "the core file has no threads: none of its notes are there";
            shortcomings.push(Limitation::Missing(text.to_owned()));
        }
        let (noted_pid, noted_uid, name) =
            noted.as_ref().map_or((None, None, ""), |p| (Some(p.pid), Some(p.uid), p.name.as_str()));
        let pid = noted_pid.or(threads.first().map(|thread| thread.tid)).unwrap_or(0);
        let arguments = || noted.as_ref().map(|p| p.arguments.split(' ').map(str::to_owned).collect());
        let deleted = exe.strip_suffix(super::maps::DELETED).map(str::to_owned);
        let process = ProcessInfo {
            pid,
            exe_deleted: deleted.is_some(),
            exe: deleted.unwrap_or_else(|| exe.clone()),
            cmdline: arguments::read(&memory, &auxv).or_else(arguments).unwrap_or_default(),
            uid: noted_uid,
            start_ticks: None,
            state: None,
            rss_bytes: None,
            // The main thread has the sum of all.
            cpu_ns: threads.iter().find(|thread| thread.tid == pid).map(|thread| thread.cpu_ns),
            ..ProcessInfo::default()
        };
        let thread_info =
            |tid: Tid| ThreadInfo { tid, state: None, name: if tid == pid { name.to_owned() } else { String::new() } };
        let mappings = mappings(&memory, &files);
        Self {
            arch,
            backend: Backend::Core,
            process,
            mappings,
            threads: threads.iter().map(|thread| thread_info(thread.tid)).collect(),
            registers: threads.iter().filter_map(|thread| Some((thread.tid, thread.registers?))).collect(),
            memory,
            auxv,
            clock: Clock::default(),
            ended,
            files: Files::Outside { places, executable, others: Mutex::default() },
            attachments: Vec::new(),
            shortcomings,
            reads: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Reads what a mapped file has at `addr`, for a page that the core file does not hold.
    fn read_backing(&self, addr: u64, buf: &mut [u8]) -> usize {
        let Files::Outside { .. } = &self.files else { return 0 };
        let behind = self.mappings.partition_point(|mapping| mapping.start.0 <= addr);
        let Some(mapping) = behind.checked_sub(1).and_then(|index| self.mappings.get(index)) else { return 0 };
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
        // Behind a file's end its last page is zero.
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
                let mut others = others.lock().unwrap_or_else(PoisonError::into_inner);
                let found = others.entry(mapping.path.clone()).or_insert_with(|| {
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

    /// The build ids that the core file's own copy of the start of a file has.
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

/// The build ids of the program, whose headers are at `at_phdr`.
fn ids_at_headers(memory: &Memory, at_phdr: Option<u64>) -> Option<BuildIds> {
    // In a file that is loaded with its header, the program headers follow on it.
    let start = at_phdr?.checked_sub(64)?;
    BuildIds::read(|at, len| memory.exact(start.checked_add(at)?, len))
}

fn file_at(files: &[FileNote], addr: u64) -> Option<&FileNote> {
    files.iter().find(|file| (file.start..file.end).contains(&addr))
}

/// The program's own file.
fn find_program(
    places: &Places,
    exe: &str,
    memory: &Memory,
    at_phdr: Option<u64>,
    ids: Option<&BuildIds>,
) -> Result<Found, String> {
    places.find(exe, ids, Some(&|file| same_pages(memory, file, at_phdr)))
}

/// Whether pages of the program that it cannot have written to are in the core file as they are in
/// `file`; `None` where the core file has none of them.
fn same_pages(memory: &Memory, file: &dyn ByteSource, at_phdr: Option<u64>) -> Option<bool> {
    let mut proven = None;
    for (segment, writable) in segments_of(file, "", at_phdr) {
        let Some(page) = memory.exact(segment.start, PAGE_LEN).filter(|_| !writable) else { continue };
        let mut own = vec![0; PAGE_LEN];
        // Behind the end of the file the page is zero.
        file.read_at(segment.offset, &mut own).ok()?;
        if own != page {
            return Some(false);
        }
        proven = Some(true);
    }
    proven
}

/// Where the segments of the program in `file` are mapped, if its program headers are at `at_phdr`.
fn mapped_by_headers(file: &dyn ByteSource, path: &str, at_phdr: Option<u64>) -> Vec<FileNote> {
    segments_of(file, path, at_phdr).into_iter().map(|(segment, _)| segment).collect()
}

/// The same, and whether they are writable.
fn segments_of(file: &dyn ByteSource, path: &str, at_phdr: Option<u64>) -> Vec<(FileNote, bool)> {
    const MAX_HEADERS: usize = 1024;
    let read = |at: u64, len: usize| {
        let mut buf = vec![0; len];
        (file.read_at(at, &mut buf).ok()? == len).then_some(buf)
    };
    let segments = || {
        let head = read(0, 64)?;
        let (at, count) = (head.u64_at(32)?, usize::from(head.u16_at(56)?).min(MAX_HEADERS));
        let table = read(at, count.checked_mul(56)?)?;
        let loads: Vec<(u64, u64, u64, bool)> = table
            .chunks_exact(56)
            .filter(|header| header.u32_at(0) == Some(1))
            .filter_map(|header| {
                Some((header.u64_at(8)?, header.u64_at(16)?, header.u64_at(32)?, header.u32_at(4)? & 2 != 0))
            })
            .collect();
        let (offset, vaddr, _, _) =
            loads.iter().find(|(offset, _, len, _)| *offset <= at && at < offset.saturating_add(*len))?;
        let bias = at_phdr?.wrapping_sub(vaddr.wrapping_add(at - offset));
        let segment = |&(offset, vaddr, len, writable): &(u64, u64, u64, bool)| {
            let into = vaddr % PAGE;
            let start = (vaddr - into).wrapping_add(bias);
            let end = start.checked_add(into.checked_add(len)?.checked_next_multiple_of(PAGE)?)?;
            let note = FileNote { start, end, offset: offset.saturating_sub(into), path: path.to_owned() };
            (end > start).then_some((note, writable))
        };
        Some(loads.iter().filter_map(segment).collect())
    };
    segments().unwrap_or_default()
}

/// The segments of the core file, cut where mapped files begin and end, and what else of files was
/// mapped (gdb leaves out what is only read). The inode of a file is made up: it only tells one file
/// from another.
fn mappings(memory: &Memory, files: &[FileNote]) -> Vec<Mapping> {
    const READ_ONLY: u32 = 4;
    let mut pieces: Vec<(u64, u64, u32, Option<&FileNote>)> = Vec::new();
    // Up to where each file's range has been seen to.
    let mut upto = 0;
    let mut files = files.iter().peekable();
    for load in memory.loads() {
        let mut at = load.start;
        while let Some(&file) = files.peek().filter(|file| file.start < load.end) {
            let start = file.start.max(upto);
            pieces.push((start, file.end.min(at), READ_ONLY, Some(file)));
            pieces.push((at, start.max(at), load.flags, None));
            let end = file.end.min(load.end);
            pieces.push((start.max(at), end, load.flags, Some(file)));
            at = at.max(end);
            upto = upto.max(end);
            if file.end > load.end {
                break;
            }
            files.next();
        }
        pieces.push((at, load.end, load.flags, None));
        upto = load.end;
    }
    pieces.extend(files.map(|file| (file.start.max(upto), file.end, READ_ONLY, Some(file))));
    pieces.retain(|(start, end, _, _)| start < end);
    let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
    let mapping = |(start, end, flags, file): (u64, u64, u32, Option<&'_ FileNote>)| {
        let path = file.map_or("", |file| file.path.as_str());
        let kept = path.strip_suffix(super::maps::DELETED);
        Mapping {
            start: Addr(start),
            end: Addr(end),
            read: flags & 4 != 0,
            write: flags & 2 != 0,
            exec: flags & 1 != 0,
            offset: file.map_or(0, |file| file.offset.saturating_add(start.saturating_sub(file.start))),
            inode: 0,
            path: kept.unwrap_or(path).to_owned(),
            deleted: kept.is_some(),
        }
    };
    let mut out: Vec<Mapping> = pieces.iter().copied().map(mapping).collect();
    for (mapping, (_, _, _, file)) in out.iter_mut().zip(&pieces) {
        let fresh = numbers.len() as u64 + 1;
        mapping.inode = file.map_or(0, |file| *numbers.entry(file.path.as_str()).or_insert(fresh));
    }
    out.sort_by_key(|mapping| mapping.start);
    out
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
            let Some((part, behind)) = std::mem::take(&mut rest).split_at_mut_checked(range.len) else {
                return Err(ReadError::Io("the buffer is too short for the ranges".into()));
            };
            got.push(self.read(range.start, part)?);
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

    fn ended(&self) -> Option<Ended> {
        self.ended
    }

    fn has_whole_pages(&self) -> bool {
        self.backend != Backend::Capture
    }

    fn shortcomings(&self) -> Vec<Limitation> {
        let mut out = self.shortcomings.clone();
        if let Files::Outside { executable, .. } = &self.files
            && let Some(Ok(found)) = executable.get()
            && !found.certain
        {
            out.push(Limitation::Unproven(format!(
                "whether {} is the program of this core file cannot be told: there is neither a build id in it nor \
                 a page to compare",
                found.path.display()
            )));
        }
        out
    }

    fn attachment(&self, name: &str) -> Option<&[u8]> {
        self.attachments.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes.as_slice())
    }
}
