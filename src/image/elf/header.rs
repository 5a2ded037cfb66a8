//! Reading the headers: file, program and section headers.
//!
//! The `object` crate parses them. It gets a short-lived view of the file, so that only headers and section
//! names are read.

use object::elf::{self as consts, FileHeader64, ProgramHeader64, SectionHeader64};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::read::{ReadCache, ReadCacheOps};
use object::{LittleEndian as LE, pod};

use super::note::NoteRange;
use super::{Elf, ElfError, ElfKind, Section, Segment};
use crate::addr::{Arch, LinkAddr};
use crate::bytes::PagedBytes;

/// Maximum program headers read; Go's linkers write about ten.
const MAX_PROGRAM_HEADERS: u32 = 1024;

/// Maximum section headers read; Go's linkers write about forty.
const MAX_SECTION_HEADERS: u32 = 16 * 1024;

/// Size of the 64-bit file header, bytes.
const FILE_HEADER_SIZE: usize = size_of::<FileHeader64<LE>>();

/// A reader with a position, as `object`'s read cache needs.
struct Cursor<'a> {
    bytes: &'a PagedBytes,
    at: u64,
}

impl ReadCacheOps for Cursor<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        Ok(self.bytes.len())
    }

    fn seek(&mut self, pos: u64) -> Result<u64, ()> {
        self.at = pos;
        Ok(pos)
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ()> {
        let got = self.bytes.read_up_to(self.at, buf);
        self.at = self.at.saturating_add(got as u64);
        Ok(got)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> Result<(), ()> {
        if self.read(buf)? == buf.len() { Ok(()) } else { Err(()) }
    }
}

pub(super) fn parse(bytes: PagedBytes) -> Result<Elf, ElfError> {
    let head = identify(&bytes)?;
    let (header, _) = pod::from_bytes::<FileHeader64<LE>>(&head).map_err(|()| ElfError::Truncated {
        what: "its header",
        offset: 0,
        needed: FILE_HEADER_SIZE as u64,
        len: bytes.len(),
    })?;
    let arch = match header.e_machine(LE) {
        consts::EM_X86_64 => Arch::Amd64,
        consts::EM_AARCH64 => Arch::Arm64,
        other => return Err(ElfError::Machine { machine: machine_name(other.0) }),
    };
    if let Some(system) = other_system(header.e_ident().os_abi) {
        return Err(ElfError::System { system });
    }
    let kind = match header.e_type(LE) {
        consts::ET_EXEC => ElfKind::Executable,
        consts::ET_DYN => ElfKind::SharedObject,
        other => return Err(ElfError::Type { found: type_name(other) }),
    };

    let (segments, notes, sections) = {
        let cache = ReadCache::new(Cursor { bytes: &bytes, at: 0 });
        let headers = program_headers(header, &cache, bytes.len())?;
        let notes = headers.iter().filter(|header| header.p_type(LE) == consts::PT_NOTE).map(note_range).collect();
        (segments(headers)?, notes, sections(header, &cache))
    };
    let (sections, section_error) = match sections {
        Ok(sections) => (sections, None),
        Err(reason) => (Vec::new(), Some(ElfError::SectionHeaders { reason })),
    };
    let entry = LinkAddr(header.e_entry(LE));
    Ok(Elf { bytes, arch, kind, entry, segments, notes, sections, section_error })
}

/// The bytes of the file header, once it is known to be that of a 64-bit little-endian file.
fn identify(bytes: &PagedBytes) -> Result<Vec<u8>, ElfError> {
    let mut head = vec![0; FILE_HEADER_SIZE];
    let got = bytes.read_up_to(0, &mut head);
    head.truncate(got);
    if !head.starts_with(&consts::ELFMAG) {
        head.truncate(consts::ELFMAG.len());
        return Err(ElfError::NotElf { found: head });
    }
    // Check the identification first: a short file of another kind should be reported as that kind.
    if let [_, _, _, _, class, data, version, _, ..] = *head.as_slice() {
        let class_is = |is: consts::FileClass| class == is.0;
        let big_endian = data == consts::ELFDATA2MSB.0;
        if !(class_is(consts::ELFCLASS32) || class_is(consts::ELFCLASS64))
            || !(big_endian || data == consts::ELFDATA2LSB.0)
            || version != consts::EV_CURRENT.0
        {
            return Err(ElfError::Ident { class, data, version });
        }
        // Up to and including `e_machine` both classes have the same layout.
        if let Some(&[a, b]) = head.get(18..20) {
            let machine =
                machine_name(if big_endian { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) });
            if class_is(consts::ELFCLASS32) {
                return Err(ElfError::Class32 { machine });
            }
            if big_endian {
                return Err(ElfError::BigEndian { machine });
            }
        }
    }
    Ok(head)
}

fn program_headers<'a>(
    header: &FileHeader64<LE>,
    cache: &'a ReadCache<Cursor<'a>>,
    file_len: u64,
) -> Result<&'a [ProgramHeader64<LE>], ElfError> {
    let bad = |reason: String| ElfError::ProgramHeaders { reason };
    let count = header.phnum(LE, cache).map_err(|error| bad(error.to_string()))?;
    if count > MAX_PROGRAM_HEADERS {
        return Err(bad(format!("there are {count} of them; at most {MAX_PROGRAM_HEADERS} are read")));
    }
    let entry_size = usize::from(header.e_phentsize(LE));
    if count > 0 && entry_size != size_of::<ProgramHeader64<LE>>() {
        return Err(bad(format!("each has {entry_size} bytes instead of {}", size_of::<ProgramHeader64<LE>>())));
    }
    let needed = u64::from(count) * size_of::<ProgramHeader64<LE>>() as u64;
    let offset = header.e_phoff(LE);
    if offset.checked_add(needed).is_none_or(|end| end > file_len) {
        return Err(ElfError::Truncated { what: "its program headers", offset, needed, len: file_len });
    }
    header.program_headers(LE, cache).map_err(|error| bad(error.to_string()))
}

fn segments(headers: &[ProgramHeader64<LE>]) -> Result<Vec<Segment>, ElfError> {
    let mut segments = Vec::new();
    for header in headers.iter().filter(|header| header.p_type(LE) == consts::PT_LOAD) {
        let flags = header.p_flags(LE);
        let segment = Segment {
            vaddr: LinkAddr(header.p_vaddr(LE)),
            offset: header.p_offset(LE),
            file_size: header.p_filesz(LE),
            mem_size: header.p_memsz(LE),
            readable: flags.contains(consts::PF_R),
            writable: flags.contains(consts::PF_W),
            executable: flags.contains(consts::PF_X),
        };
        let wraps = segment.vaddr.0.checked_add(segment.mem_size).is_none()
            || segment.offset.checked_add(segment.file_size).is_none();
        if wraps || segment.file_size > segment.mem_size {
            return Err(ElfError::ProgramHeaders { reason: format!("a segment is {segment:x?}") });
        }
        segments.push(segment);
    }
    if segments.is_empty() {
        return Err(ElfError::ProgramHeaders { reason: "there is no PT_LOAD segment".to_owned() });
    }
    Ok(segments)
}

fn note_range(header: &ProgramHeader64<LE>) -> NoteRange {
    NoteRange { offset: header.p_offset(LE), size: header.p_filesz(LE), align: header.p_align(LE) }
}

fn sections<'a>(header: &FileHeader64<LE>, cache: &'a ReadCache<Cursor<'a>>) -> Result<Vec<Section>, String> {
    let text = |error: object::read::Error| error.to_string();
    if header.e_shoff(LE) == 0 {
        return Ok(Vec::new());
    }
    let count = header.shnum(LE, cache).map_err(text)?;
    if count > MAX_SECTION_HEADERS {
        return Err(format!("there are {count} of them; at most {MAX_SECTION_HEADERS} are read"));
    }
    let table = header.sections(LE, cache).map_err(text)?;
    let section = |section: &SectionHeader64<LE>| {
        let name = table.section_name(LE, section).map_err(text)?;
        let kind = section.sh_type(LE);
        Ok(Section {
            name: String::from_utf8_lossy(name).into_owned(),
            addr: LinkAddr(section.sh_addr(LE)),
            offset: section.sh_offset(LE),
            size: section.sh_size(LE),
            in_file: kind != consts::SHT_NOBITS && kind != consts::SHT_NULL,
            compressed: section.sh_flags(LE).contains(consts::SHF_COMPRESSED),
            link: section.sh_link(LE),
        })
    };
    table.iter().map(section).collect()
}

fn machine_name(machine: u16) -> String {
    let name = match consts::Machine(machine) {
        consts::EM_386 => "EM_386",
        consts::EM_ARM => "EM_ARM",
        consts::EM_MIPS => "EM_MIPS",
        consts::EM_PPC => "EM_PPC",
        consts::EM_PPC64 => "EM_PPC64",
        consts::EM_S390 => "EM_S390",
        consts::EM_X86_64 => "EM_X86_64",
        consts::EM_AARCH64 => "EM_AARCH64",
        consts::EM_RISCV => "EM_RISCV",
        consts::EM_LOONGARCH => "EM_LOONGARCH",
        consts::EM_SPARCV9 => "EM_SPARCV9",
        _ => return format!("machine {machine}"),
    };
    name.to_owned()
}

fn type_name(file_type: consts::FileType) -> String {
    let name = match file_type {
        consts::ET_NONE => "ET_NONE",
        consts::ET_REL => "ET_REL (an object file)",
        consts::ET_CORE => "ET_CORE (a core file)",
        other => return format!("{}", other.0),
    };
    name.to_owned()
}

/// The operating system of a file that is not for Linux. Go's linker marks the BSDs; files for
/// Linux carry 0, or GNU's mark when they use its extensions (static ones with ifuncs).
fn other_system(abi: consts::OsAbi) -> Option<String> {
    let name = match abi {
        consts::ELFOSABI_SYSV | consts::ELFOSABI_GNU => return None,
        consts::ELFOSABI_FREEBSD => "FreeBSD",
        consts::ELFOSABI_NETBSD => "NetBSD",
        consts::ELFOSABI_OPENBSD => "OpenBSD",
        consts::ELFOSABI_SOLARIS => "Solaris",
        other => return Some(format!("system {} (EI_OSABI)", other.0)),
    };
    Some(name.to_owned())
}
