//! The headers of an ELF core file: the memory it contains and where its notes are.

use object::elf as consts;

use super::CoreError;
use crate::addr::Arch;
use crate::bytes::{ByteSource, FieldsExt};

/// Maximum program headers read. A process has at most 65,530 mappings by default.
const MAX_HEADERS: u64 = 1 << 21;
/// Maximum bytes of notes read. A thread takes about 2 KiB, a mapped file its path.
const MAX_NOTES: u64 = 256 << 20;
const FILE_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// Type of a program header that holds a part of a file which was mapped or opened, rather than of
/// memory: gospy's own, in the range for operating systems (`gosp` as letters). `p_vaddr` is the
/// offset in the file, `p_paddr` its number.
pub(in crate::process) const PT_GOSPY_FILE: u32 = 0x676f_7370;

/// One `PT_LOAD` segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// First address.
    pub(super) start: u64,
    /// One past its last address.
    pub(super) end: u64,
    /// Where its bytes are in the core file.
    pub(super) offset: u64,
    /// How many of them the core file has.
    pub(super) len: u64,
    /// `PF_X`, `PF_W` and `PF_R`.
    pub(super) flags: u32,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FilePart {
    /// Number of the file.
    pub(super) file: u64,
    /// Where in it.
    pub(super) start: u64,
    /// Where in the core file.
    pub(super) offset: u64,
    /// How long.
    pub(super) len: u64,
}

/// What the headers say.
#[derive(Debug)]
pub(super) struct Headers {
    pub(super) arch: Arch,
    /// In address order, without overlaps: of two segments that overlap, the first keeps what both
    /// have.
    pub(super) loads: Vec<Load>,
    pub(super) parts: Vec<FilePart>,
    /// All notes in file order, each range with its alignment.
    pub(super) notes: Vec<(Vec<u8>, u64)>,
    /// The length a file must have to contain everything its headers mention.
    pub(super) complete_len: u64,
}

impl Headers {
    pub(super) fn read(source: &dyn ByteSource) -> Result<Self, CoreError> {
        let head: [u8; FILE_HEADER] = array(source, 0).ok_or_else(|| not_elf(source))?;
        let arch = identify(&head)?;
        let word = |at: usize| head.u64_at(at).unwrap_or(0);
        let half = |at: usize| u64::from(head.u16_at(at).unwrap_or(0));
        let (at, size, mut count) = (word(32), half(54), half(56));
        if size != PROGRAM_HEADER as u64 {
            return Err(CoreError::Headers { what: format!("program headers of {size} bytes instead of 56") });
        }
        if count == u64::from(consts::PN_XNUM) {
            // If the number does not fit into 16 bits, it is in the first section header.
            let section: [u8; FILE_HEADER] = array(source, word(40)).ok_or_else(|| CoreError::Headers {
                what: "the number of program headers is in a section header that is not there".to_owned(),
            })?;
            count = section.u32_at(44).map_or(0, u64::from);
        }
        if count == 0 || count > MAX_HEADERS {
            return Err(CoreError::Headers { what: format!("there are {count} program headers") });
        }
        let mut headers = Self { arch, loads: Vec::new(), parts: Vec::new(), notes: Vec::new(), complete_len: 0 };
        let table_end = count.checked_mul(size).and_then(|len| at.checked_add(len));
        headers.complete_len =
            table_end.ok_or_else(|| CoreError::Headers { what: format!("program headers at {at:#x}") })?;
        headers.read_table(source, at, count);
        headers.loads = without_overlaps(std::mem::take(&mut headers.loads));
        headers.parts.sort_by_key(|part| (part.file, part.start));
        Ok(headers)
    }

    fn read_table(&mut self, source: &dyn ByteSource, at: u64, count: u64) {
        const AT_ONCE: u64 = 4096;
        let mut notes_left = MAX_NOTES;
        let mut buf = Vec::new();
        let mut done = 0;
        while done < count {
            let some = (count - done).min(AT_ONCE);
            buf.resize(usize::try_from(some).unwrap_or(0).saturating_mul(PROGRAM_HEADER), 0);
            let offset = at.saturating_add(done.saturating_mul(PROGRAM_HEADER as u64));
            let got = source.read_at(offset, &mut buf).unwrap_or(0);
            for header in buf.get(..got).unwrap_or_default().chunks_exact(PROGRAM_HEADER) {
                self.add(source, header, &mut notes_left);
            }
            if got < buf.len() {
                // `complete_len` shows what is missing.
                return;
            }
            done += some;
        }
    }

    fn add(&mut self, source: &dyn ByteSource, header: &[u8], notes_left: &mut u64) {
        let word = |at: usize| header.u64_at(at).unwrap_or(0);
        let (kind, flags) = (header.u32_at(0).unwrap_or(0), header.u32_at(4).unwrap_or(0));
        let (offset, vaddr, paddr, file_size, mem_size, align) =
            (word(8), word(16), word(24), word(32), word(40), word(48));
        let Some(end_in_file) = offset.checked_add(file_size) else { return };
        match kind {
            kind if kind == consts::PT_LOAD.0 => {
                let Some(end) = vaddr.checked_add(mem_size).filter(|&end| end > vaddr) else { return };
                let len = file_size.min(mem_size);
                self.loads.push(Load { start: vaddr, end, offset, len, flags });
            }
            kind if kind == consts::PT_NOTE.0 => {
                let want = file_size.min(source.len().saturating_sub(offset)).min(*notes_left);
                *notes_left -= want;
                let mut bytes = vec![0; usize::try_from(want).unwrap_or(0)];
                let got = source.read_at(offset, &mut bytes).unwrap_or(0);
                bytes.truncate(got);
                self.notes.push((bytes, align));
            }
            PT_GOSPY_FILE => self.parts.push(FilePart { file: paddr, start: vaddr, offset, len: file_size }),
            _ => return,
        }
        if file_size > 0 {
            self.complete_len = self.complete_len.max(end_in_file);
        }
    }
}

fn array<const N: usize>(source: &dyn ByteSource, at: u64) -> Option<[u8; N]> {
    let mut buf = [0; N];
    (source.read_at(at, &mut buf).ok()? == N).then_some(buf)
}

fn not_elf(source: &dyn ByteSource) -> CoreError {
    let mut found = vec![0; 8];
    let got = source.read_at(0, &mut found).unwrap_or(0);
    found.truncate(got);
    CoreError::NotCore { what: format!("it starts with {found:02x?}") }
}

fn identify(head: &[u8; FILE_HEADER]) -> Result<Arch, CoreError> {
    if !head.starts_with(&consts::ELFMAG) {
        return Err(CoreError::NotCore { what: format!("it starts with {:02x?}", head.get(..8).unwrap_or_default()) });
    }
    if head.u8_at(4) != Some(consts::ELFCLASS64.0) || head.u8_at(5) != Some(consts::ELFDATA2LSB.0) {
        return Err(CoreError::NotCore { what: "it is an ELF file, but not a 64-bit little-endian one".to_owned() });
    }
    let kind = head.u16_at(16).unwrap_or(0);
    if kind != consts::ET_CORE.0 {
        let what = match kind {
            1 => "an object file",
            2 | 3 => "a program or library; --bin takes those",
            _ => "of a type that is unknown",
        };
        return Err(CoreError::NotCore { what: format!("it is an ELF file, but {what} (ELF type {kind})") });
    }
    match head.u16_at(18) {
        Some(62) => Ok(Arch::Amd64),
        Some(183) => Ok(Arch::Arm64),
        other => Err(CoreError::NotCore {
            what: format!("it is of ELF machine {}; only 62 (amd64) and 183 (arm64) can be read", other.unwrap_or(0)),
        }),
    }
}

/// Sorts segments by address and cuts off what an earlier one in the file has too.
fn without_overlaps(loads: Vec<Load>) -> Vec<Load> {
    let mut sorted = loads;
    // Stable: of two with the same start the first in the file comes first.
    sorted.sort_by_key(|load| load.start);
    let mut out: Vec<Load> = Vec::with_capacity(sorted.len());
    let mut covered = 0;
    for mut load in sorted {
        if load.start < covered {
            let cut = covered.min(load.end) - load.start;
            load.start += cut;
            load.offset = load.offset.saturating_add(cut);
            load.len = load.len.saturating_sub(cut);
        }
        if load.start < load.end {
            covered = load.end;
            out.push(load);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(start: u64, end: u64) -> Load {
        Load { start, end, offset: start * 10, len: end - start, flags: 6 }
    }

    #[test]
    fn overlapping_segments_are_cut() {
        let loads = without_overlaps(vec![load(50, 60), load(10, 30), load(20, 40), load(12, 20), load(55, 58)]);
        let places: Vec<_> = loads.iter().map(|l| (l.start, l.end, l.offset, l.len)).collect();
        assert_eq!(places, [(10, 30, 100, 20), (30, 40, 210, 10), (50, 60, 500, 10)]);
    }

    #[test]
    fn other_files_are_named_in_the_error() {
        let text = |bytes: &[u8]| Headers::read(&bytes.to_vec()).unwrap_err().to_string();
        assert!(text(b"hello").contains("68, 65"), "{}", text(b"hello"));
        let mut program = vec![0; 64];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[16] = 2;
        assert!(text(&program).contains("--bin"), "{}", text(&program));
        program[16] = 4;
        program[18] = 3;
        assert!(text(&program).contains("machine 3"), "{}", text(&program));
    }
}
