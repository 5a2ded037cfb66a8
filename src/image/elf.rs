//! The ELF file: segments, sections, build ids and load bias.
//!
//! Opening a file reads its headers and nothing else; everything else is read when asked for, so a file of 100
//! MB opens as fast as one of 1 MB. Programs are often stripped and sometimes damaged on purpose: only the
//! program headers are needed, and a program with missing or malformed section headers is one without sections,
//! not an error. It refuses what gospy cannot read: 32-bit and big-endian files, other machines, other systems,
//! objects and core files.

mod header;
mod note;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use object::elf::CompressionHeader64;
use object::read::elf::CompressionHeader as _;
use object::read::{CompressedData, CompressionFormat};
use object::{LittleEndian, elf as consts, pod};

use crate::addr::{Arch, LinkAddr, LoadBias};
use crate::bytes::{ByteSource, PagedBytes};

/// Reads of at least this many bytes bypass the block cache.
const BULK: usize = 256 * 1024;

/// Page size that every supported machine's own page size is a multiple of.
const SMALLEST_PAGE: u64 = 4096;

/// Bytes that a compressed section may unpack to, however short it is.
const UNPACKED: u64 = 16 << 20;
/// Bytes that it may unpack to beyond that, for each of its own. Debug information of real programs unpacks to two to five
/// times its size; what unpacks to hundreds of times it was made to fill the memory of who reads it.
const MAX_RATIO: u64 = 32;

/// Why an ELF file or a part of it cannot be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ElfError {
    /// It does not start like an ELF file.
    #[error("not an ELF file: it starts with {found:02x?} instead of 7f 45 4c 46")]
    NotElf {
        /// Its first bytes, at most four.
        found: Vec<u8>,
    },
    /// It ends in the middle of something.
    #[error("the ELF file ends inside {what}: {needed} bytes are needed at {offset:#x} and the file has {len}")]
    Truncated {
        /// What is cut off.
        what: &'static str,
        /// Where it starts, in bytes.
        offset: u64,
        /// How long it is, in bytes.
        needed: u64,
        /// How long the file is, in bytes.
        len: u64,
    },
    /// A 32-bit program.
    #[error("32-bit ELF ({machine}); only 64-bit programs can be read")]
    Class32 {
        /// ELF's name of its machine.
        machine: String,
    },
    /// Neither 32 nor 64 bits, or neither byte order, or an unknown version.
    #[error("ELF identification is malformed: class {class}, data encoding {data}, version {version}")]
    Ident {
        /// `EI_CLASS`.
        class: u8,
        /// `EI_DATA`.
        data: u8,
        /// `EI_VERSION`.
        version: u8,
    },
    /// A big-endian program.
    #[error("big-endian ELF ({machine}); only little-endian programs can be read")]
    BigEndian {
        /// ELF's name of its machine.
        machine: String,
    },
    /// A machine other than x86-64 and AArch64.
    #[error("ELF for {machine}; only EM_X86_64 (amd64) and EM_AARCH64 (arm64) can be read")]
    Machine {
        /// ELF's name of the machine.
        machine: String,
    },
    /// A program of another system.
    #[error("ELF for {system}; only Linux programs can be read")]
    System {
        /// The system's name.
        system: String,
    },
    /// Not a program: an object, a core file.
    #[error("ELF of type {found}; only programs (ET_EXEC, ET_DYN) can be read")]
    Type {
        /// ELF's name of the type.
        found: String,
    },
    /// The program headers cannot be used.
    #[error("the program headers are malformed: {reason}")]
    ProgramHeaders {
        /// What is wrong with them.
        reason: String,
    },
    /// The section headers cannot be used.
    #[error("the section headers are malformed: {reason}")]
    SectionHeaders {
        /// What is wrong with them.
        reason: String,
    },
    /// A section is larger than the caller takes.
    #[error("section {name} has {size} bytes; at most {limit} are taken")]
    SectionTooLarge {
        /// Its name.
        name: String,
        /// Its size (decompressed), in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A section's compressed data is damaged.
    #[error("section {name} cannot be decompressed: {reason}")]
    Compression {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Whether a program is loaded at the addresses in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfKind {
    /// `ET_EXEC`: it is.
    Executable,
    /// `ET_DYN`, a position-independent program or a shared library: it is not.
    SharedObject,
}

/// One `PT_LOAD` segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its link address (`p_vaddr`).
    pub vaddr: LinkAddr,
    /// Where its bytes start in the file (`p_offset`).
    pub offset: u64,
    /// How many bytes of it the file has (`p_filesz`).
    pub file_size: u64,
    /// How many bytes it has in memory (`p_memsz`); those not in the file start as zero.
    pub mem_size: u64,
    /// `PF_R`.
    pub readable: bool,
    /// `PF_W`.
    pub writable: bool,
    /// `PF_X`.
    pub executable: bool,
}

impl Segment {
    /// Whether `addr` is one of its addresses, file-backed or not.
    #[must_use]
    pub fn contains(&self, addr: LinkAddr) -> bool {
        addr.0.checked_sub(self.vaddr.0).is_some_and(|into| into < self.mem_size)
    }

    /// How many file-backed bytes there are from `addr` on; `None` where `addr` is not file-backed.
    fn file_bytes_from(&self, addr: LinkAddr) -> Option<u64> {
        let into = addr.0.checked_sub(self.vaddr.0)?;
        self.file_size.checked_sub(into).filter(|left| *left > 0)
    }
}

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Its link address (`sh_addr`), 0 for one that is not loaded.
    pub addr: LinkAddr,
    /// Where its bytes start in the file (`sh_offset`).
    pub offset: u64,
    /// Its size in bytes (`sh_size`): in the file, so compressed where it is compressed.
    pub size: u64,
    /// Whether the file has its bytes (it has not for `SHT_NOBITS`: `.bss`).
    pub in_file: bool,
    /// Whether its bytes are compressed (`SHF_COMPRESSED`).
    pub compressed: bool,
    /// `sh_link`: for a symbol table the index of its string table in [`Elf::sections`].
    pub link: u32,
}

/// An ELF program or shared library for Linux on amd64 or arm64.
#[derive(Debug)]
pub struct Elf {
    bytes: PagedBytes,
    arch: Arch,
    kind: ElfKind,
    entry: LinkAddr,
    segments: Vec<Segment>,
    notes: Vec<note::NoteRange>,
    sections: Vec<Section>,
    section_error: Option<ElfError>,
}

impl Elf {
    /// Reads the headers of a file.
    ///
    /// # Errors
    /// When it is not a 64-bit little-endian ELF program for Linux on amd64 or arm64, with a variant
    /// for each thing that it may be instead. Bad section headers are not an error; see
    /// [`Elf::section_error`].
    pub fn parse(source: Arc<dyn ByteSource>) -> Result<Self, ElfError> {
        header::parse(PagedBytes::new(source))
    }

    /// The same file without a record of what is read of it, for searches; `None` when none is made.
    #[must_use]
    pub fn unlogged(&self) -> Option<Self> {
        // The headers were parsed once already, so this cannot fail.
        self.bytes.source().unlogged().and_then(|source| Self::parse(source).ok())
    }

    /// The machine it is for.
    #[must_use]
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// Whether it is position-independent.
    #[must_use]
    pub fn kind(&self) -> ElfKind {
        self.kind
    }

    /// Its bytes, by file offset, through a cache.
    #[must_use]
    pub fn bytes(&self) -> &PagedBytes {
        &self.bytes
    }

    /// Link address of its first instruction (`e_entry`).
    #[must_use]
    pub fn entry(&self) -> LinkAddr {
        self.entry
    }

    /// Its `PT_LOAD` segments, in the file's order (which is that of their addresses).
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Its sections, index 0 (the null section) included; empty when it has none or none that make
    /// sense.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// What is wrong with the section headers, if they could not be read.
    #[must_use]
    pub fn section_error(&self) -> Option<&ElfError> {
        self.section_error.as_ref()
    }

    /// The first section of that name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The bytes of a section, decompressed; `None` when there is no such section or the file does
    /// not hold its bytes.
    ///
    /// # Errors
    /// When it has more than `limit` bytes (decompressed), the file ends inside it, or it cannot be
    /// decompressed.
    pub fn section_data(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, ElfError> {
        match self.section(name) {
            Some(section) => self.data_of(section, limit),
            None => Ok(None),
        }
    }

    /// As [`Elf::section_data`], of one of [`Elf::sections`].
    ///
    /// # Errors
    /// As [`Elf::section_data`].
    pub fn data_of(&self, section: &Section, limit: usize) -> Result<Option<Vec<u8>>, ElfError> {
        if !section.in_file {
            return Ok(None);
        }
        let too_large = |size| ElfError::SectionTooLarge { name: section.name.clone(), size, limit };
        let len = usize::try_from(section.size)
            .ok()
            .filter(|len| section.compressed || *len <= limit)
            .ok_or_else(|| too_large(section.size))?;
        let raw = self.read_file(section.offset, len).ok_or_else(|| ElfError::Truncated {
            what: "a section",
            offset: section.offset,
            needed: section.size,
            len: self.bytes.len(),
        })?;
        if !section.compressed {
            return Ok(Some(raw));
        }

        let bad = |reason: String| ElfError::Compression { name: section.name.clone(), reason };
        let (header, data) = pod::from_bytes::<CompressionHeader64<LittleEndian>>(&raw)
            .map_err(|()| bad(format!("{} bytes are too few for a compression header", raw.len())))?;
        let size = header.ch_size(LittleEndian);
        if size > limit as u64 {
            return Err(too_large(size));
        }
        if size > (data.len() as u64).saturating_mul(MAX_RATIO).saturating_add(UNPACKED) {
            return Err(bad(format!(
                "{} compressed bytes would unpack to {size}, which no real section does",
                data.len()
            )));
        }
        let format = match header.ch_type(LittleEndian) {
            consts::ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
            consts::ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
            other => return Err(bad(format!("unknown compression type {}", other.0))),
        };
        let data = CompressedData { format, data, uncompressed_size: size };
        let data = data.decompress().map_err(|error| bad(error.to_string()))?;
        Ok(Some(data.into_owned()))
    }

    /// File offset of a link address; `None` outside the file-backed part of every segment.
    #[must_use]
    pub fn offset_of(&self, addr: LinkAddr) -> Option<u64> {
        let segment = self.segments.iter().find(|segment| segment.file_bytes_from(addr).is_some())?;
        segment.offset.checked_add(addr.0.checked_sub(segment.vaddr.0)?)
    }

    /// `len` bytes at a link address as the file has them (before relocation); `None` when they are
    /// not all inside the file-backed part of one segment.
    #[must_use]
    pub fn read(&self, addr: LinkAddr, len: usize) -> Option<Vec<u8>> {
        let left = self.segments.iter().find_map(|segment| segment.file_bytes_from(addr))?;
        if len as u64 > left {
            return None;
        }
        self.read_file(self.offset_of(addr)?, len)
    }

    /// Fills `buf` from a link address on, as far as the file-backed part of its segment goes, and returns how
    /// many bytes there were (before relocation).
    pub fn read_up_to(&self, addr: LinkAddr, buf: &mut [u8]) -> usize {
        let left = self.segments.iter().find_map(|segment| segment.file_bytes_from(addr)).unwrap_or(0);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let (Some(offset), Some(buf)) = (self.offset_of(addr), buf.get_mut(..most)) else { return 0 };
        self.bytes.read_up_to(offset, buf)
    }

    /// `len` bytes at a file offset; a large read bypasses the cache.
    fn read_file(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        // The length is checked before anything is allocated for it.
        if offset.checked_add(len as u64)? > self.bytes.len() {
            return None;
        }
        let mut buf = vec![0; len];
        if len < BULK {
            self.bytes.read_exact(offset, &mut buf)?;
            return Some(buf);
        }
        let got = self.bytes.source().read_at(offset, &mut buf).ok()?;
        (got == len).then_some(buf)
    }

    /// Go's build id (note of type 4 by `Go`), as `go tool buildid` prints it.
    #[must_use]
    pub fn go_build_id(&self) -> Option<String> {
        let id = self.note(note::GO, note::GO_BUILD_ID)?;
        let id = String::from_utf8(id).ok()?;
        (!id.is_empty() && id.chars().all(|c| c.is_ascii_graphic())).then_some(id)
    }

    /// The GNU build id (note of type 3 by `GNU`) in lower-case hexadecimal.
    #[must_use]
    pub fn gnu_build_id(&self) -> Option<String> {
        let id = self.note(note::GNU, note::GNU_BUILD_ID)?;
        (!id.is_empty()).then(|| id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What was added to this file's addresses when it was loaded.
    ///
    /// `mappings` are those of this very file: start address and file offset of each. The lowest
    /// one holds the start of the lowest segment, whatever the page size is, since its file offset
    /// says how far down it was rounded. `at_entry` is the auxiliary vector's `AT_ENTRY`, to be
    /// given for the main program only: the answer is `None` when no mapping agrees with it, or
    /// when the mappings cannot be this file's.
    #[must_use]
    pub fn load_bias(&self, mappings: &[(u64, u64)], at_entry: Option<u64>) -> Option<LoadBias> {
        let bias_by = |segment: &Segment, (start, file_offset): (u64, u64)| {
            let addr = segment.vaddr.0.wrapping_add(file_offset.wrapping_sub(segment.offset));
            start.wrapping_sub(addr)
        };
        let fits = |bias: &u64| match self.kind {
            ElfKind::Executable => *bias == 0,
            ElfKind::SharedObject => bias.is_multiple_of(SMALLEST_PAGE),
        };
        let loaded = || self.segments.iter().filter(|segment| segment.file_size > 0);
        let bias = match at_entry {
            Some(at) => {
                let bias = at.wrapping_sub(self.entry.0);
                let agrees = |mapping| loaded().any(|segment| bias_by(segment, mapping) == bias);
                mappings.iter().copied().any(agrees).then_some(bias)?
            }
            None => {
                let lowest = mappings.iter().copied().min_by_key(|(start, _)| *start)?;
                bias_by(loaded().min_by_key(|segment| segment.vaddr)?, lowest)
            }
        };
        fits(&bias).then_some(LoadBias(bias))
    }
}
