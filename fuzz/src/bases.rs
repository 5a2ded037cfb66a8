//! What large inputs are changes of: a Go program, captures, and a core file with a heap.
//!
//! An input for these is short: it says which of them, and what to change in it. So it reaches everything that a whole
//! file reaches, and a file that broke something is a few bytes in `regressions`.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use gospy::process::capture_file::CaptureFile;
use gospy::testing::ByteSource;

use crate::parts::Bytes;

/// A file, and the parts of it that are worth changing.
#[derive(Debug)]
pub struct Base {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Headers and tables.
    pub regions: Vec<Range<usize>>,
}

fn path(name: &str) -> PathBuf {
    Path::new(crate::ROOT).join(name)
}

/// A file that this crate or gospy comes with.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).expect("it was written by gzip");
    out
}

fn half(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])))
}

fn number(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, |b| u64::from_le_bytes(b) as usize)
}

/// Program headers of a file that is right: kind, offset, address, size.
fn program_headers(file: &[u8]) -> impl Iterator<Item = (u32, usize, usize, usize)> {
    let (start, count) = (number(file, 32), half(file, 56));
    (0..count).map(move |n| {
        let at = start + 56 * n;
        (number(file, at) as u32, number(file, at + 8), number(file, at + 16), number(file, at + 32))
    })
}

/// Headers, notes and tables of an ELF file that is right.
fn regions(file: &[u8]) -> Vec<Range<usize>> {
    let mut found = vec![0..64, number(file, 32)..number(file, 32) + 56 * half(file, 56)];
    found
        .extend(program_headers(file).filter(|header| header.0 == 4).map(|(_, offset, _, size)| offset..offset + size));
    let sections = number(file, 40);
    found.push(sections..sections + 64 * half(file, 60));
    for n in 0..half(file, 60) {
        let at = sections + 64 * n;
        let (offset, size) = (number(file, at + 24), number(file, at + 32));
        if (16..8 << 20).contains(&size) && offset + size <= file.len() {
            // Its beginning, where its own header is, and all of it.
            found.push(offset..offset + size.min(256));
            found.push(offset..offset + size);
        }
    }
    found.retain(|range| !range.is_empty() && range.end <= file.len());
    found
}

/// The program in `fixtures/live`: Go 1.26, stripped.
pub fn program() -> &'static Arc<Base> {
    static BASE: OnceLock<Arc<Base>> = OnceLock::new();
    BASE.get_or_init(|| {
        let bytes = gunzip(&read("../fixtures/live/live.gz"));
        Arc::new(Base { regions: regions(&bytes), bytes })
    })
}

/// A capture of this program with its heap, as the core file that it contains. The file here lacks the parts of the
/// program, which are put back.
pub fn heap() -> &'static Arc<Base> {
    static BASE: OnceLock<Arc<Base>> = OnceLock::new();
    BASE.get_or_init(|| {
        const PART_OF_FILE: u32 = 0x676f_7370;
        let mut bytes = gunzip(&read("bases/states-heap.core.gz"));
        let parts: Vec<_> = program_headers(&bytes).filter(|header| header.0 == PART_OF_FILE).collect();
        assert!(!parts.is_empty(), "no part of the program is missing");
        for (_, offset, start, size) in parts {
            bytes[offset..offset + size].copy_from_slice(&program().bytes[start..start + size]);
        }
        Arc::new(Base { regions: regions(&bytes), bytes })
    })
}

/// The captures whose memory is read: one of each kind of layout, and two of core files of programs that died, in a panic
/// amid a panic amid a panic, and in C.
const CAPTURES: [&str; 8] = [
    "../fixtures/captures/tiny-1.26.6-amd64.capture",
    "../fixtures/captures/deadlocks-1.26.6-amd64.capture",
    "../fixtures/captures/tiny-1.19-amd64.capture",
    "../fixtures/captures/tiny-1.22.10-arm64.capture",
    "../fixtures/captures/tiny-1.24.11-amd64.capture",
    "../fixtures/captures/tiny-1.27.3-arm64.capture",
    "bases/died-in-panics.capture",
    "bases/died-in-c.capture",
];

/// Captures as the core files that they contain.
pub fn captures() -> &'static [Arc<Base>] {
    static BASES: OnceLock<Vec<Arc<Base>>> = OnceLock::new();
    BASES.get_or_init(|| {
        let of = |name: &&str| {
            let file = Arc::new(read(name));
            let file = CaptureFile::open(file).expect("a capture that tests read");
            let mut bytes = vec![0; usize::try_from(ByteSource::len(&file)).expect("it fits")];
            let got = file.read_at(0, &mut bytes).expect("a capture that tests read");
            assert_eq!(got, bytes.len());
            Arc::new(Base { regions: regions(&bytes), bytes })
        };
        CAPTURES.iter().map(of).collect()
    })
}

/// The recording that tests keep the format by.
pub fn recording() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| read("../fixtures/captures/states-v1.gospyrec"))
}

/// A base with changes.
#[derive(Debug)]
pub struct Changed {
    base: Arc<Base>,
    bytes: BTreeMap<usize, u8>,
    len: usize,
}

/// Numbers at which things go wrong.
pub const NUMBERS: [u64; 16] = [
    0,
    1,
    8,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX >> 1,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
    0x40_1000,
    0xc0_0000_0000,
];

impl Changed {
    /// The changes that `input` says, up to its end.
    #[must_use]
    pub fn new(base: &Arc<Base>, mut input: Bytes<'_>) -> Self {
        let mut changed = Self { base: Arc::clone(base), bytes: BTreeMap::new(), len: base.bytes.len() };
        while changed.change(&mut input).is_some() {}
        changed
    }

    fn change(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let (kind, region, offset) = (input.byte()?, input.byte()?, input.number(3)? as usize);
        let region = self.base.regions.get(usize::from(region) % self.base.regions.len())?.clone();
        let at = region.start + offset % region.len();
        match kind % 8 {
            kind @ 0..=3 => {
                let len = 1 << kind;
                let word = input.number(len)?;
                self.put(at, word, len);
            }
            4 => {
                let which = usize::from(input.byte()?);
                self.put(at, NUMBERS[which % NUMBERS.len()], if which & 0x80 == 0 { 8 } else { 4 });
            }
            5 => {
                let (len, with) = (16 * usize::from(input.byte()?), input.byte()?);
                self.bytes.extend((at..at + len).map(|at| (at, with)));
            }
            6 => self.len = at,
            _ => {
                let from = region.start + input.number(3)? as usize % region.len();
                let word = number(&self.base.bytes, from) as u64;
                self.put(at, word, 8);
            }
        }
        Some(())
    }

    fn put(&mut self, at: usize, word: u64, len: usize) {
        self.bytes.extend((at..).zip(word.to_le_bytes().into_iter().take(len)));
    }
}

impl ByteSource for Changed {
    fn len(&self) -> u64 {
        self.len as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let Some(start) = usize::try_from(offset).ok().filter(|start| *start < self.len) else { return Ok(0) };
        let n = buf.len().min(self.len - start);
        buf[..n].copy_from_slice(&self.base.bytes[start..start + n]);
        for (at, byte) in self.bytes.range(start..start + n) {
            buf[at - start] = *byte;
        }
        Ok(n)
    }
}
