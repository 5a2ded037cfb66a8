//! Inputs taken apart, and put together with right lengths and checksums: what is behind these is reached by few
//! random bytes otherwise.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// The bytes of an input, from front to back.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// The next byte; `None` at the end.
    pub fn byte(&mut self) -> Option<u8> {
        self.take(1).and_then(|bytes| bytes.first().copied())
    }

    /// The next `len` bytes; `None` where there are fewer.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of `len` bytes, at most 8, least significant first.
    pub fn number(&mut self, len: usize) -> Option<u64> {
        let mut word = [0; 8];
        word[..len].copy_from_slice(self.take(len)?);
        Some(u64::from_le_bytes(word))
    }

    /// Bytes after their length in two bytes; what there is, where the length says more.
    pub fn part(&mut self) -> Option<&'a [u8]> {
        let len = self.number(2)? as usize;
        self.take(len.min(self.0.len()))
    }
}

/// Appends bytes as [`Bytes::part`] takes them.
pub fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    let part = &part[..part.len().min(usize::from(u16::MAX))];
    out.extend((part.len() as u16).to_le_bytes());
    out.extend(part);
}

/// CRC-32.
#[must_use]
pub fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Raw deflate.
#[must_use]
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).and_then(|()| out.finish()).unwrap_or_default()
}

/// How a file of compressed and checked blocks is laid out; captures and recordings differ in these.
#[derive(Clone, Copy, Debug)]
pub struct Container {
    /// The first bytes.
    pub magic: [u8; 8],
    /// The version that is written.
    pub version: u32,
    /// Length of a block's header, bytes; its checksum is the last word.
    pub header: usize,
    /// Length of the last block, which has no data; its checksum is the last word, too.
    pub end: usize,
}

/// `process::capture_file`.
pub const CAPTURE: Container = Container { magic: *b"\x89gospy\n\x1a", version: 2, header: 16, end: 20 };
/// `archive`.
pub const RECORDING: Container = Container { magic: *b"\x89gsrec\n\x1a", version: 1, header: 36, end: 36 };

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn set(bytes: &mut [u8], at: usize, word: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

impl Container {
    /// Corrects all checksums in `file`, up to the first length field that points outside of it.
    pub fn repair(&self, file: &mut [u8]) {
        let Some(len) = word(file, 12).and_then(|len| usize::try_from(len).ok()) else { return };
        let mut at = len.saturating_add(16);
        let Some(head) = file.get(..at) else { return };
        let sum = crc(head);
        set(file, at, sum);
        at += 4;
        while let Some(kind) = word(file, at) {
            let (header, data) = match kind {
                0 => (self.end, 0),
                _ => (self.header, word(file, at + 8).map_or(0, |len| len as usize)),
            };
            let Some(checked) = file.get(at..at + header - 4) else { return };
            let mut checked = checked.to_vec();
            checked.extend(file.get(at + header..(at + header).saturating_add(data)).unwrap_or_default());
            set(file, at + header - 4, crc(&checked));
            at = (at + header).saturating_add(data);
        }
    }

    /// A file of a recipe: the description, then for each block what its header says between its length and its
    /// checksum, its kind, and its data.
    #[must_use]
    pub fn of_recipe(&self, recipe: &[u8]) -> Vec<u8> {
        let mut recipe = Bytes(recipe);
        let description = recipe.part().unwrap_or_default();
        let mut file = self.magic.to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((description.len() as u32).to_le_bytes());
        file.extend(description);
        file.extend([0; 4]);
        let (mut blocks, mut size) = (0_u32, 0_u64);
        while let Some(kind) = recipe.byte() {
            let said = recipe.take(self.header - 16).unwrap_or_default();
            let data = recipe.part().unwrap_or_default();
            let packed = deflate(data);
            for number in [1 + u32::from(kind % 5), data.len() as u32, packed.len() as u32] {
                file.extend(number.to_le_bytes());
            }
            file.extend(said);
            file.extend(vec![0; self.header - 16 - said.len() + 4]);
            file.extend(packed);
            blocks += 1;
            size += data.len() as u64;
        }
        let mut end = [&0_u32.to_le_bytes()[..], &blocks.to_le_bytes(), &size.to_le_bytes()].concat();
        end.resize(self.end, 0);
        file.extend(end);
        self.repair(&mut file);
        file
    }

    /// The recipe of a file, and its blocks' data unpacked.
    #[must_use]
    pub fn recipe_of(&self, file: &[u8]) -> Vec<u8> {
        let mut recipe = Vec::new();
        let len = word(file, 12).unwrap_or(0) as usize;
        put_part(&mut recipe, file.get(16..16 + len).unwrap_or_default());
        let mut at = 20 + len;
        while let (Some(kind @ 1..), Some(packed)) = (word(file, at), word(file, at + 8)) {
            recipe.push((kind - 1) as u8);
            recipe.extend(file.get(at + 12..at + self.header - 4).unwrap_or_default());
            let data = file.get(at + self.header..at + self.header + packed as usize).unwrap_or_default();
            let mut plain = Vec::new();
            let mut inflate = flate2::write::DeflateDecoder::new(&mut plain);
            let whole = inflate.write_all(data).and_then(|()| inflate.try_finish());
            drop(inflate);
            put_part(&mut recipe, if whole.is_ok() { &plain } else { &[] });
            at += self.header + packed as usize;
        }
        recipe
    }
}

/// A section of a made-up ELF file; it is loaded where its address is not 0.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a str,
    /// `SHF_…`; 0x800 is compressed.
    pub flags: u64,
    /// Its address.
    pub addr: u64,
    /// Its contents.
    pub data: &'a [u8],
}

/// An ELF file of these sections, and of notes. Every field is at the offset that the specification gives it: nothing
/// is shared with the parser.
#[must_use]
pub fn elf(machine: u16, kind: u16, sections: &[Section<'_>], notes: &[u8]) -> Vec<u8> {
    let loads: Vec<usize> = (0..sections.len()).filter(|&at| sections[at].addr != 0).collect();
    let headers = loads.len() + usize::from(!notes.is_empty());
    let mut file = vec![0; 64 + 56 * headers];
    let mut offsets = Vec::new();
    let mut names = vec![0];
    for section in sections {
        file.resize(file.len().next_multiple_of(16), 0);
        offsets.push((file.len() as u64, names.len() as u32));
        file.extend(section.data);
        names.extend(section.name.as_bytes());
        names.push(0);
    }
    let note_offset = file.len() as u64;
    file.extend(notes);
    let name_offset = file.len() as u64;
    let own_name = names.len() as u32;
    names.extend(b".shstrtab\0");
    file.extend(&names);
    file.resize(file.len().next_multiple_of(8), 0);
    let table = file.len() as u64;
    let mut section_headers = vec![0; 64];
    let header = |name: u32, kind: u32, [flags, addr, offset, size, link]: [u64; 5]| {
        let mut out = [name.to_le_bytes(), kind.to_le_bytes()].concat();
        [flags, addr, offset, size, link, 1, 0].iter().for_each(|word: &u64| out.extend(word.to_le_bytes()));
        out
    };
    let strings = sections.iter().position(|section| section.name == ".strtab").map_or(0, |at| at as u64 + 1);
    for (section, (offset, name)) in sections.iter().zip(&offsets) {
        // A table of symbols says where their names are.
        let (kind, link) = if section.name == ".symtab" { (2, strings) } else { (1, 0) };
        let size = section.data.len() as u64;
        section_headers.extend(header(*name, kind, [section.flags, section.addr, *offset, size, link]));
    }
    section_headers.extend(header(own_name, 3, [0, 0, name_offset, names.len() as u64, 0]));
    file.extend(&section_headers);

    let mut head = b"\x7fELF\x02\x01\x01".to_vec();
    head.resize(16, 0);
    for half in [kind, machine] {
        head.extend(half.to_le_bytes());
    }
    head.extend(1_u32.to_le_bytes());
    [0x1000, 64, table].iter().for_each(|word: &u64| head.extend(word.to_le_bytes()));
    head.extend([0; 4]);
    for half in [64, 56, headers as u16, 64, sections.len() as u16 + 2, sections.len() as u16 + 1] {
        head.extend(half.to_le_bytes());
    }
    let program_header = |kind: u32, flags: u32, [offset, addr, size]: [u64; 3]| {
        let mut out = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
        [offset, addr, addr, size, size, 4].iter().for_each(|word: &u64| out.extend(word.to_le_bytes()));
        out
    };
    for at in loads {
        head.extend(program_header(1, 5, [offsets[at].0, sections[at].addr, sections[at].data.len() as u64]));
    }
    if !notes.is_empty() {
        head.extend(program_header(4, 4, [note_offset, 0, notes.len() as u64]));
    }
    file[..head.len()].copy_from_slice(&head);
    file
}

/// A note of an ELF file.
#[must_use]
pub fn note(owner: &[u8], kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [owner.len() as u32 + 1, contents.len() as u32, kind] {
        out.extend(number.to_le_bytes());
    }
    for part in [&[owner, &[0]].concat()[..], contents] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}
