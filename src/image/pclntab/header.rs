//! `runtime.pcHeader`: its location in a program, its format, and the offsets of the table's parts.
//!
//! Headers are validated: a program may contain the magic number by chance.

use crate::addr::LinkAddr;
use crate::bytes::FieldsExt;
use crate::image::elf::Elf;

use super::SCAN_CHUNK;

/// Formats of the table, named by the first Go version that writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Go 1.16 and 1.17: function entries are absolute and eight bytes wide.
    Go116,
    /// Go 1.18 and 1.19: entries are offsets from the start of text.
    Go118,
    /// Go 1.20 on: functions have a start line; inlined calls no longer do.
    Go120,
}

impl Format {
    fn from_magic(magic: u32) -> Option<Self> {
        match magic {
            0xffff_fffa => Some(Self::Go116),
            0xffff_fff0 => Some(Self::Go118),
            0xffff_fff1 => Some(Self::Go120),
            _ => None,
        }
    }

    /// Size in bytes of the fixed part of `runtime._func`.
    pub(super) fn func_size(self) -> u64 {
        match self {
            Self::Go116 | Self::Go120 => 44,
            Self::Go118 => 40,
        }
    }

    /// Size in bytes of `runtime.inlinedCall`.
    pub(super) fn inlined_call_size(self) -> u64 {
        match self {
            Self::Go116 | Self::Go118 => 20,
            Self::Go120 => 16,
        }
    }

    /// Size in bytes of one entry of the function table.
    pub(super) fn functab_entry_size(self) -> u64 {
        match self {
            Self::Go116 => 16,
            Self::Go118 | Self::Go120 => 8,
        }
    }

    /// Number of words in the header before `funcnameOffset`.
    fn words_before_offsets(self) -> u64 {
        match self {
            Self::Go116 => 2,
            Self::Go118 | Self::Go120 => 3,
        }
    }
}

/// `runtime.pcHeader`, validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where it is.
    pub addr: LinkAddr,
    /// The same as an offset in the file, bytes.
    pub file_offset: u64,
    /// Format.
    pub format: Format,
    /// `sys.PCQuantum`.
    pub quantum: u8,
    /// Number of functions.
    pub function_count: u64,
    /// Offset of the function names from the header, bytes; the others likewise.
    pub names: u64,
    /// Offset of the compilation units' file lists.
    pub cus: u64,
    /// Offset of the file names.
    pub files: u64,
    /// Offset of the pc-value tables.
    pub pctab: u64,
    /// Offset of the function table and the functions.
    pub functions: u64,
}

/// Maximum plausible number of functions.
const MAX_FUNCTIONS: u64 = 20_000_000;
impl Header {
    /// Decodes the header at `addr`; `None` when there is none.
    #[must_use]
    pub fn at(elf: &Elf, addr: LinkAddr) -> Option<Self> {
        let file_offset = elf.offset_of(addr)?;
        let bytes: [u8; 72] = elf.bytes().array(file_offset)?;
        let format = Format::from_magic(bytes.u32_at(0)?)?;
        let quantum = bytes.u8_at(6)?;
        if bytes.u16_at(4)? != 0 || bytes.u8_at(7)? != 8 || u64::from(quantum) != elf.arch().pc_quantum() {
            return None;
        }
        let first = usize::try_from(8 + 8 * format.words_before_offsets()).ok()?;
        let word = |index: usize| bytes.u64_at(first.checked_add(8 * index)?);
        let header = Self {
            addr,
            file_offset,
            format,
            quantum,
            function_count: bytes.u64_at(8)?,
            names: word(0)?,
            cus: word(1)?,
            files: word(2)?,
            pctab: word(3)?,
            functions: word(4)?,
        };
        let ordered = header.names < header.cus
            && header.cus <= header.files
            && header.files <= header.pctab
            && header.pctab <= header.functions;
        let end_of_functab = header
            .function_count
            .checked_mul(format.functab_entry_size())
            .and_then(|size| header.functions.checked_add(size))
            .and_then(|size| file_offset.checked_add(size))?;
        (ordered
            && (64..=128).contains(&header.names)
            && (1..=MAX_FUNCTIONS).contains(&header.function_count)
            && end_of_functab <= elf.bytes().len())
        .then_some(header)
    }

    /// Every header in the program, best evidence first: by the section's name, then by scanning
    /// the segments for the magic number. A stripped program has exactly one.
    #[must_use]
    pub fn find_all(elf: &Elf) -> Vec<Self> {
        let by_section = [".gopclntab", ".data.rel.ro.gopclntab"]
            .iter()
            .filter_map(|name| elf.section(name))
            .find_map(|section| Self::at(elf, section.addr));
        if let Some(header) = by_section {
            return vec![header];
        }
        let mut found = Vec::new();
        for segment in elf.segments() {
            scan_segment(elf, segment.vaddr, segment.offset, segment.file_size, &mut found);
        }
        found
    }
}

fn scan_segment(elf: &Elf, vaddr: LinkAddr, offset: u64, size: u64, found: &mut Vec<Header>) {
    // The magic number and two zeros; chunks overlap so that none is split.
    const OVERLAP: usize = 8;
    let mut buf = vec![0_u8; SCAN_CHUNK];
    let mut at = 0_u64;
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(SCAN_CHUNK).min(SCAN_CHUNK);
        let Some(chunk) = buf.get_mut(..want) else { return };
        let Ok(got) = elf.bytes().source().read_at(offset.saturating_add(at), chunk) else { return };
        let Some(chunk) = buf.get(..got) else { return };
        for hit in memchr::memmem::find_iter(chunk, &[0xff, 0xff, 0xff, 0, 0]) {
            let Some(start) = hit.checked_sub(1) else { continue };
            if !chunk.u8_at(start).is_some_and(|b| matches!(b, 0xf0 | 0xf1 | 0xfa)) {
                continue;
            }
            let addr = LinkAddr(vaddr.0.wrapping_add(at).wrapping_add(start as u64));
            if addr.0.is_multiple_of(8)
                && found.iter().all(|h| h.addr != addr)
                && let Some(header) = Header::at(elf, addr)
            {
                found.push(header);
            }
        }
        if got < SCAN_CHUNK {
            return;
        }
        at += (SCAN_CHUNK - OVERLAP) as u64;
    }
}
