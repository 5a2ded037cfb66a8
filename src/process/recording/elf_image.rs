//! Makes an ELF core file of a recording.
//!
//! Memory is in `PT_LOAD` segments of whole pages, so that gdb and others can open it; a note lists which bytes
//! were really read. Parts of files are in segments of gospy's own type. The notes are the kernel's, plus
//! gospy's own.

use std::io::{self, Write};

use object::elf as consts;

use super::State;
use crate::addr::Arch;
use crate::process::core::facts::{AttachmentFacts, Facts, FileFacts, MappingFacts, ThreadFacts};
use crate::process::core::headers::PT_GOSPY_FILE;
use crate::process::core::memory::encode_ranges;
use crate::process::core::notes::{GOSPY, GOSPY_ATTACHMENT, GOSPY_FACTS, GOSPY_RANGES, PR_REG};
use crate::process::{Mapping, ProcessInfo, Registers, Target, TargetError, ThreadInfo};

const PAGE: u64 = 4096;
/// Unread pages between two read ones are included in a segment up to this many bytes: compressed they cost
/// almost nothing, and other tools are slow with many segments.
const MAX_GAP: u64 = 64 << 10;
const FILE_HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const SECTION_HEADER: u64 = 64;

/// The parts of the file, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum Part {
    /// Headers.
    Headers,
    /// Notes.
    Notes,
    /// Memory.
    Memory,
    /// Parts of files.
    Files,
}

/// An ELF core file ready to be written.
pub struct ElfImage {
    head: Vec<u8>,
    notes: Vec<u8>,
    segments: Vec<Segment>,
    /// Address and bytes, ascending.
    memory: Vec<(u64, Box<[u8]>)>,
    files: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    start: u64,
    end: u64,
    flags: u32,
}

impl ElfImage {
    pub(super) fn new(target: &dyn Target, state: &State) -> Result<Self, TargetError> {
        let arch = target.arch();
        let arch = arch.ok_or_else(|| TargetError::Unsupported("the architecture of the target is unknown".into()))?;
        let memory: Vec<(u64, Box<[u8]>)> =
            state.memory.settle().into_iter().map(|(start, bytes)| (start, bytes.into())).collect();
        let segments = segments(&memory, &state.mappings);
        let mut parts: Vec<(u64, u64, Vec<u8>)> = Vec::new();
        for (file, number) in state.files.iter().zip(0_u64..) {
            let ranges = merged(&file.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
            for (start, len) in ranges {
                let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
                let what = || format!("reading {} again", file.path.as_deref().unwrap_or("the executable"));
                let got = file.source.read_at(start, &mut bytes);
                let got = got.map_err(|source| TargetError::Io { what: what(), source })?;
                bytes.truncate(got);
                parts.push((number, start, bytes));
            }
        }
        let notes = notes(target, arch, state, &memory);
        let head = headers(arch, &notes, &segments, &parts);
        Ok(Self { head, notes, segments, memory, files: parts.into_iter().map(|(_, _, bytes)| bytes).collect() })
    }

    /// Writes the file, calling `begin` for each part before its first byte.
    pub(in crate::process) fn write_parts<W: Write + ?Sized>(
        &self,
        out: &mut W,
        mut begin: impl FnMut(&mut W, Part) -> io::Result<()>,
    ) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        begin(out, Part::Headers)?;
        out.write_all(&self.head)?;
        begin(out, Part::Notes)?;
        out.write_all(&self.notes)?;
        begin(out, Part::Memory)?;
        let mut memory = self.memory.iter().peekable();
        let zeros = |out: &mut W, mut len: u64| {
            while len > 0 {
                let some = ZEROS.get(..usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len())).unwrap_or(&ZEROS);
                out.write_all(some)?;
                len -= some.len() as u64;
            }
            io::Result::Ok(())
        };
        for segment in &self.segments {
            let mut at = segment.start;
            while let Some((start, bytes)) = memory.next_if(|(start, _)| *start < segment.end) {
                zeros(out, start - at)?;
                out.write_all(bytes)?;
                at = start + bytes.len() as u64;
            }
            zeros(out, segment.end - at)?;
        }
        begin(out, Part::Files)?;
        self.files.iter().try_for_each(|bytes| out.write_all(bytes))
    }

    /// Writes the file uncompressed.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        self.write_parts(out, |_, _| Ok(()))
    }
}

/// Segments of whole pages that hold all of `memory`.
fn segments(memory: &[(u64, Box<[u8]>)], mappings: &[Mapping]) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    for (start, bytes) in memory {
        let end = start.saturating_add(bytes.len() as u64);
        let (first, after) = (start - start % PAGE, end.checked_next_multiple_of(PAGE).unwrap_or(end));
        let flags = flags_at(mappings, *start);
        match out.last_mut() {
            Some(last) if first < last.end || (first - last.end <= MAX_GAP && flags == last.flags) => {
                last.end = last.end.max(after);
            }
            _ => out.push(Segment { start: first, end: after, flags }),
        }
    }
    out
}

fn flags_at(mappings: &[Mapping], addr: u64) -> u32 {
    let after = mappings.partition_point(|mapping| mapping.start.0 <= addr);
    let mapping = after.checked_sub(1).and_then(|index| mappings.get(index)).filter(|mapping| addr < mapping.end.0);
    mapping.map_or(6, |m| u32::from(m.read) * 4 + u32::from(m.write) * 2 + u32::from(m.exec))
}

/// Sorts ranges and joins those that touch or overlap.
fn merged(ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (start, len) in sorted {
        let end = start.saturating_add(len);
        match out.last_mut() {
            Some((first, len)) if start <= first.saturating_add(*len) => *len = (end.max(*first + *len)) - *first,
            _ => out.push((start, len)),
        }
    }
    out
}

fn headers(arch: Arch, notes: &[u8], segments: &[Segment], parts: &[(u64, u64, Vec<u8>)]) -> Vec<u8> {
    let count = (1 + segments.len() + parts.len()) as u64;
    let many = count >= u64::from(consts::PN_XNUM);
    let end_of_table = FILE_HEADER + count * PROGRAM_HEADER;
    let section = if many { SECTION_HEADER } else { 0 };
    let mut out = Vec::new();
    out.extend(consts::ELFMAG);
    out.extend([2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend(consts::ET_CORE.0.to_le_bytes());
    out.extend(match arch {
        Arch::Amd64 => consts::EM_X86_64.0.to_le_bytes(),
        Arch::Arm64 => consts::EM_AARCH64.0.to_le_bytes(),
    });
    out.extend(1_u32.to_le_bytes());
    let section_at = if many { end_of_table } else { 0 };
    out.extend([0, FILE_HEADER, section_at].map(u64::to_le_bytes).concat());
    out.extend(0_u32.to_le_bytes());
    let count16 = if many { consts::PN_XNUM } else { u16::try_from(count).unwrap_or(consts::PN_XNUM) };
    out.extend([64, 56, count16, 64, u16::from(many), 0].map(u16::to_le_bytes).concat());

    let mut header = |kind: u32, flags: u32, words: [u64; 6]| {
        out.extend([kind, flags].map(u32::to_le_bytes).concat());
        out.extend(words.map(u64::to_le_bytes).concat());
    };
    let mut offset = end_of_table + section;
    header(consts::PT_NOTE.0, 0, [offset, 0, 0, notes.len() as u64, 0, 4]);
    offset += notes.len() as u64;
    for segment in segments {
        let len = segment.end - segment.start;
        header(consts::PT_LOAD.0, segment.flags, [offset, segment.start, 0, len, len, PAGE]);
        offset += len;
    }
    for (file, start, bytes) in parts {
        let len = bytes.len() as u64;
        header(PT_GOSPY_FILE, 0, [offset, *start, *file, len, 0, 1]);
        offset += len;
    }
    if many {
        let mut section = [0; 64];
        let number = u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
        section.iter_mut().skip(44).zip(number).for_each(|(to, from)| *to = from);
        out.extend(section);
    }
    out
}

fn notes(target: &dyn Target, arch: Arch, state: &State, memory: &[(u64, Box<[u8]>)]) -> Vec<u8> {
    let usage = state.usage;
    let process = &ProcessInfo {
        state: usage.state,
        rss_bytes: usage.rss_bytes,
        cpu_ns: usage.cpu_ns,
        resources: state.resources,
        ..target.process().clone()
    };
    let mut out = Vec::new();
    let mut threads: Vec<&ThreadInfo> = state.threads.iter().collect();
    // Other tools select the first thread.
    threads.sort_by_key(|thread| (thread.tid != process.main_thread(), thread.tid));
    note(&mut out, b"CORE", consts::NT_PRPSINFO.0, &prpsinfo(process, &threads));
    for thread in &threads {
        let status = prstatus(arch, process, thread, state.registers.get(&thread.tid));
        note(&mut out, b"CORE", consts::NT_PRSTATUS.0, &status);
    }
    let mut auxv: Vec<u8> =
        target.auxv().iter().flat_map(|(kind, value)| [kind.to_le_bytes(), value.to_le_bytes()].concat()).collect();
    auxv.extend([0; 16]);
    note(&mut out, b"CORE", consts::NT_AUXV.0, &auxv);
    note(&mut out, b"CORE", consts::NT_FILE.0, &files(&state.mappings));
    let facts = Facts {
        gospy_version: env!("CARGO_PKG_VERSION").to_owned(),
        process: process.into(),
        clock: state.clock.into(),
        threads: state.threads.iter().map(|t| ThreadFacts::new(t, state.registers.contains_key(&t.tid))).collect(),
        mappings: state.mappings.iter().map(MappingFacts::from).collect(),
        files: state.files.iter().map(|f| FileFacts { path: f.path.clone(), len: f.source.len() }).collect(),
        ended: target.ended().map(Into::into),
        attachments: Some(state.remembered.iter().map(|(name, found)| AttachmentFacts::new(name, found)).collect()),
    };
    // Only numbers and text, so serialising cannot fail.
    note(&mut out, GOSPY, GOSPY_FACTS, &serde_json::to_vec(&facts).unwrap_or_default());
    let ranges = memory.iter().map(|(start, bytes)| (*start, bytes.len() as u64));
    note(&mut out, GOSPY, GOSPY_RANGES, &encode_ranges(joined(ranges)));
    for (name, found) in &state.remembered {
        let mut contents = name.clone().into_bytes();
        contents.push(0);
        contents.extend(&found.bytes);
        note(&mut out, GOSPY, GOSPY_ATTACHMENT, &contents);
    }
    out
}

/// Joins adjacent ranges.
fn joined(ranges: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (start, len) in ranges {
        match out.last_mut() {
            Some((first, known)) if first.saturating_add(*known) == start => *known += len,
            _ => out.push((start, len)),
        }
    }
    out
}

fn note(out: &mut Vec<u8>, owner: &[u8], kind: u32, desc: &[u8]) {
    let lengths = [owner.len() + 1, desc.len()].map(|len| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(lengths.concat());
    out.extend(kind.to_le_bytes());
    out.extend(owner);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(desc);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Puts `bytes` at `at` of a note's contents.
fn put(desc: &mut [u8], at: usize, bytes: &[u8]) {
    desc.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

fn prpsinfo(process: &ProcessInfo, threads: &[&ThreadInfo]) -> Vec<u8> {
    let mut desc = vec![0; 136];
    let state = process.state.and_then(|state| u8::try_from(state).ok()).unwrap_or(b'R');
    put(&mut desc, 1, &[state]);
    put(&mut desc, 16, &process.uid.unwrap_or(0).to_le_bytes());
    put(&mut desc, 24, &process.pid.to_le_bytes());
    let name = threads.first().map_or("", |thread| thread.name.as_str());
    put(&mut desc, 40, name.as_bytes().get(..15).unwrap_or(name.as_bytes()));
    let arguments = process.cmdline.join(" ");
    put(&mut desc, 56, arguments.as_bytes().get(..79).unwrap_or(arguments.as_bytes()));
    desc
}

fn prstatus(arch: Arch, process: &ProcessInfo, thread: &ThreadInfo, registers: Option<&Registers>) -> Vec<u8> {
    let general = match arch {
        Arch::Amd64 => 27 * 8,
        Arch::Arm64 => 34 * 8,
    };
    let mut desc = vec![0; PR_REG + general + 8];
    put(&mut desc, 32, &thread.tid.to_le_bytes());
    if thread.tid == process.main_thread() {
        let cpu = process.cpu_ns.unwrap_or(0);
        put(&mut desc, 48, &(cpu / 1_000_000_000).to_le_bytes());
        put(&mut desc, 56, &(cpu % 1_000_000_000 / 1000).to_le_bytes());
    }
    if let Some(r) = registers {
        let places: &[(usize, u64)] = &match arch {
            Arch::Amd64 => [(16, r.pc.0), (19, r.sp.0), (4, r.fp.0), (1, r.g.0), (1, r.g.0)],
            Arch::Arm64 => [(32, r.pc.0), (31, r.sp.0), (29, r.fp.0), (28, r.g.0), (30, r.lr.0)],
        };
        for (index, value) in places {
            put(&mut desc, PR_REG + 8 * index, &value.to_le_bytes());
        }
    }
    desc
}

fn files(mappings: &[Mapping]) -> Vec<u8> {
    let of_files: Vec<&Mapping> = mappings.iter().filter(|m| m.inode != 0 && m.path.starts_with('/')).collect();
    let mut out = [of_files.len() as u64, PAGE].map(u64::to_le_bytes).concat();
    for m in &of_files {
        out.extend([m.start.0, m.end.0, m.offset / PAGE].map(u64::to_le_bytes).concat());
    }
    for m in of_files {
        out.extend(m.path.as_bytes());
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_whole_pages_and_bridge_short_gaps() {
        let piece = |start: u64, len: usize| (start, vec![1; len].into_boxed_slice());
        let memory = [piece(0x1010, 8), piece(0x1ffc, 8), piece(0x5000, 1), piece(0x100_0000, 4)];
        let found: Vec<_> = segments(&memory, &[]).iter().map(|s| (s.start, s.end)).collect();
        assert_eq!(found, [(0x1000, 0x6000), (0x100_0000, 0x100_1000)]);
    }

    #[test]
    fn ranges_are_merged() {
        assert_eq!(merged(&[(10, 5), (0, 4), (12, 10), (4, 1), (22, 1)]), [(0, 5), (10, 13)]);
    }
}
