//! Builds small ELF files for tests.
//!
//! It shares no definitions with the parser: every field is written at the offset and with the
//! number that the ELF specification gives it, so that a mistake in the parser cannot cancel out.

/// `EM_X86_64`.
pub(crate) const X86_64: u16 = 62;
/// `EM_AARCH64`.
pub(crate) const AARCH64: u16 = 183;
/// Segment flags.
pub(crate) const R: u32 = 4;
/// Segment flags.
pub(crate) const RW: u32 = 6;
/// Segment flags.
pub(crate) const RX: u32 = 5;
/// `SHT_PROGBITS`.
pub(crate) const PROGBITS: u32 = 1;
/// `SHF_COMPRESSED`.
pub(crate) const COMPRESSED: u64 = 0x800;

struct Load {
    vaddr: u64,
    flags: u32,
    data: Vec<u8>,
    mem_size: u64,
}

struct Sect {
    name: String,
    kind: u32,
    flags: u64,
    addr: u64,
    /// Its own bytes, or those of a segment: (offset in the segment, size).
    data: Result<Vec<u8>, u64>,
    link: u32,
}

/// What to write.
pub(crate) struct TestElf {
    pub(crate) machine: u16,
    /// 2 is `ET_EXEC`, 3 is `ET_DYN`.
    pub(crate) kind: u16,
    pub(crate) osabi: u8,
    pub(crate) entry: u64,
    loads: Vec<Load>,
    notes: Vec<u8>,
    sections: Vec<Sect>,
}

impl TestElf {
    /// An executable for amd64.
    pub(crate) fn new() -> Self {
        let (loads, notes, sections) = Default::default();
        Self { machine: X86_64, kind: 2, osabi: 0, entry: 0x40_1000, loads, notes, sections }
    }

    /// A position-independent one.
    pub(crate) fn pie() -> Self {
        Self { kind: 3, entry: 0x1000, ..Self::new() }
    }

    /// Adds a segment whose memory is as large as its bytes.
    pub(crate) fn load(self, vaddr: u64, flags: u32, data: &[u8]) -> Self {
        self.load_with_bss(vaddr, flags, data, data.len() as u64)
    }

    /// Adds a segment.
    pub(crate) fn load_with_bss(mut self, vaddr: u64, flags: u32, data: &[u8], mem_size: u64) -> Self {
        self.loads.push(Load { vaddr, flags, data: data.to_vec(), mem_size });
        self
    }

    /// Adds a note to the `PT_NOTE` segment.
    pub(crate) fn note(mut self, owner: &[u8], kind: u32, contents: &[u8]) -> Self {
        let mut owner = owner.to_vec();
        owner.push(0);
        for number in [owner.len() as u32, contents.len() as u32, kind] {
            self.notes.extend(number.to_le_bytes());
        }
        for part in [&owner[..], contents] {
            self.notes.extend(part);
            self.notes.resize(self.notes.len().next_multiple_of(4), 0);
        }
        self
    }

    /// Adds a section with its own bytes, which are not loaded. Sections are numbered from 1.
    pub(crate) fn section(self, name: &str, kind: u32, flags: u64, data: &[u8]) -> Self {
        self.linked_section(name, kind, flags, data, 0)
    }

    /// Adds one that refers to another by number.
    pub(crate) fn linked_section(mut self, name: &str, kind: u32, flags: u64, data: &[u8], link: u32) -> Self {
        self.sections.push(Sect { name: name.to_owned(), kind, flags, addr: 0, data: Ok(data.to_vec()), link });
        self
    }

    /// Adds a section that is a part of a segment.
    pub(crate) fn loaded_section(mut self, name: &str, addr: u64, size: u64) -> Self {
        self.sections.push(Sect { name: name.to_owned(), kind: PROGBITS, flags: 2, addr, data: Err(size), link: 0 });
        self
    }

    /// The file.
    pub(crate) fn build(&self) -> Vec<u8> {
        let program_headers = self.loads.len() + usize::from(!self.notes.is_empty());
        let mut file = vec![0; 64 + 56 * program_headers];
        let put16 = |file: &mut Vec<u8>, at: usize, v: u16| file[at..at + 2].copy_from_slice(&v.to_le_bytes());
        let put32 = |file: &mut Vec<u8>, at: usize, v: u32| file[at..at + 4].copy_from_slice(&v.to_le_bytes());
        let put64 = |file: &mut Vec<u8>, at: usize, v: u64| file[at..at + 8].copy_from_slice(&v.to_le_bytes());

        let mut at = 64;
        let mut offsets = Vec::new();
        for load in &self.loads {
            // As the loader requires: file offset and address are equal modulo the page size.
            let mut offset = file.len() as u64;
            while offset % 4096 != load.vaddr % 4096 {
                offset += 1;
            }
            file.resize(offset as usize, 0);
            file.extend(&load.data);
            put32(&mut file, at, 1);
            put32(&mut file, at + 4, load.flags);
            put64(&mut file, at + 8, offset);
            put64(&mut file, at + 16, load.vaddr);
            put64(&mut file, at + 32, load.data.len() as u64);
            put64(&mut file, at + 40, load.mem_size);
            put64(&mut file, at + 48, 4096);
            offsets.push(offset);
            at += 56;
        }
        if !self.notes.is_empty() {
            let offset = file.len() as u64;
            file.extend(&self.notes);
            put32(&mut file, at, 4);
            put32(&mut file, at + 4, R);
            put64(&mut file, at + 8, offset);
            put64(&mut file, at + 32, self.notes.len() as u64);
            put64(&mut file, at + 48, 4);
        }

        let mut names = vec![0];
        let mut headers = vec![0; 64];
        let mut header = |name: u32, kind: u32, flags: u64, addr: u64, offset: u64, size: u64, link: u32| {
            headers.extend(name.to_le_bytes());
            headers.extend(kind.to_le_bytes());
            for word in [flags, addr, offset, size] {
                headers.extend(word.to_le_bytes());
            }
            headers.extend(link.to_le_bytes());
            headers.extend([0; 20]); // sh_info, sh_addralign, sh_entsize
        };
        for section in &self.sections {
            let (offset, size) = match &section.data {
                Ok(data) => {
                    let offset = file.len() as u64;
                    file.extend(data);
                    (offset, data.len() as u64)
                }
                Err(size) => {
                    let of = |load: &Load| (load.vaddr..load.vaddr + load.mem_size).contains(&section.addr);
                    let index = self.loads.iter().position(of).unwrap();
                    (offsets[index] + section.addr - self.loads[index].vaddr, *size)
                }
            };
            header(names.len() as u32, section.kind, section.flags, section.addr, offset, size, section.link);
            names.extend(section.name.as_bytes());
            names.push(0);
        }
        if !self.sections.is_empty() {
            let own_name = names.len() as u32;
            names.extend(b".shstrtab\0");
            header(own_name, 3, 0, 0, file.len() as u64, names.len() as u64, 0);
            file.extend(&names);
            let (offset, count) = (file.len() as u64, headers.len() / 64);
            file.extend(&headers);
            put64(&mut file, 40, offset);
            put16(&mut file, 58, 64);
            put16(&mut file, 60, count as u16);
            put16(&mut file, 62, count as u16 - 1);
        }

        file[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, self.osabi]);
        put16(&mut file, 16, self.kind);
        put16(&mut file, 18, self.machine);
        put32(&mut file, 20, 1);
        put64(&mut file, 24, self.entry);
        put64(&mut file, 32, 64);
        put16(&mut file, 52, 64);
        put16(&mut file, 54, 56);
        put16(&mut file, 56, program_headers as u16);
        file
    }
}
