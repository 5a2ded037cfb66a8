use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::image::test_elf::{AARCH64, COMPRESSED, PROGBITS, R, RW, RX, TestElf};

fn parse(file: Vec<u8>) -> Result<Elf, ElfError> {
    Elf::parse(Arc::new(file))
}

/// A small program with everything in it.
fn program() -> TestElf {
    TestElf::new()
        .load(0x40_0000, R, b"read only")
        .load(0x40_1000, RX, &[0x90; 32])
        .load_with_bss(0x40_2010, RW, b"writable data", 0x5000)
        .note(b"Go", 4, b"action/content")
        .note(b"GNU", 3, &[0xab, 0x01, 0xff])
        .loaded_section(".text", 0x40_1000, 32)
        .loaded_section(".data", 0x40_2010, 13)
        .section(".comment", PROGBITS, 0, b"a comment")
        .section(".nobits", 8, 3, &[])
}

#[test]
fn reads_what_was_written() {
    let file = program().build();
    let elf = parse(file.clone()).unwrap();
    assert_eq!((elf.arch(), elf.kind(), elf.entry()), (Arch::Amd64, ElfKind::Executable, LinkAddr(0x40_1000)));
    let data = elf.segments()[2];
    assert_eq!((data.vaddr, data.file_size, data.mem_size), (LinkAddr(0x40_2010), 13, 0x5000));
    assert_eq!((data.readable, data.writable, data.executable), (true, true, false));
    assert!(elf.segments()[1].executable && !elf.segments()[1].writable);

    let names: Vec<&str> = elf.sections().iter().map(|section| section.name.as_str()).collect();
    assert_eq!(names, ["", ".text", ".data", ".comment", ".nobits", ".shstrtab"]);
    assert_eq!(elf.section(".data").unwrap().addr, LinkAddr(0x40_2010));
    assert_eq!(elf.section_error(), None);
    assert_eq!(elf.section_data(".comment", 9), Ok(Some(b"a comment".to_vec())));
    assert_eq!(elf.section_data(".nobits", 9), Ok(None));
    assert_eq!(elf.section_data(".missing", 9), Ok(None));
    assert_eq!(
        elf.section_data(".comment", 8),
        Err(ElfError::SectionTooLarge { name: ".comment".to_owned(), size: 9, limit: 8 })
    );
    assert_eq!(elf.go_build_id().as_deref(), Some("action/content"));
    assert_eq!(elf.gnu_build_id().as_deref(), Some("ab01ff"));

    let mut arm = program();
    arm.machine = AARCH64;
    arm.kind = 3;
    let arm = parse(arm.build()).unwrap();
    assert_eq!((arm.arch(), arm.kind()), (Arch::Arm64, ElfKind::SharedObject));
}

#[test]
fn only_file_backed_addresses_have_file_offsets() {
    let elf = parse(program().build()).unwrap();
    assert_eq!(elf.read(LinkAddr(0x40_2010), 13).unwrap(), b"writable data");
    assert_eq!(elf.read(LinkAddr(0x40_2019), 4).unwrap(), b"data");
    assert_eq!(elf.read(LinkAddr(0x40_2019), 5), None, "reaches into zeroed memory");
    assert_eq!(elf.read(LinkAddr(0x40_201d), 1), None, "is zeroed memory");
    assert_eq!(elf.offset_of(LinkAddr(0x40_201d)), None);
    assert_eq!(elf.read(LinkAddr(0x40_200f), 1), None, "is between segments");
    assert_eq!(elf.read(LinkAddr(u64::MAX), 1), None);
    assert_eq!(elf.read(LinkAddr(0x40_2010), usize::MAX), None);
    assert!(elf.segments()[2].contains(LinkAddr(0x40_2010 + 0x4fff)));
    assert!(!elf.segments()[2].contains(LinkAddr(0x40_2010 + 0x5000)));
}

#[test]
fn unsupported_files_get_specific_errors() {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = program().build();
        change(&mut file);
        parse(file).unwrap_err().to_string()
    };
    assert_eq!(parse(b"#!/bin/sh\n".to_vec()).unwrap_err(), ElfError::NotElf { found: b"#!/b".to_vec() });
    assert_eq!(parse(Vec::new()).unwrap_err(), ElfError::NotElf { found: Vec::new() });
    assert!(with(&|file| file.truncate(20)).contains("ends inside its header"));
    assert!(with(&|file| file.truncate(100)).contains("ends inside its program headers"));
    assert!(
        with(&|file| {
            file[4] = 1;
            file[18] = 3
        })
        .starts_with("32-bit ELF (EM_386)")
    );
    assert!(
        with(&|file| {
            file[5] = 2;
            file[18..20].copy_from_slice(&[0, 22])
        })
        .starts_with("big-endian ELF (EM_S390)")
    );
    assert!(with(&|file| file[4] = 9).contains("class 9"));
    assert!(with(&|file| file[6] = 7).contains("version 7"));
    assert!(with(&|file| file[18..20].copy_from_slice(&[243, 0])).starts_with("ELF for EM_RISCV"));
    assert!(with(&|file| file[18..20].copy_from_slice(&[0x39, 0x30])).starts_with("ELF for machine 12345"));
    assert!(with(&|file| file[7] = 9).starts_with("ELF for FreeBSD"));
    assert!(with(&|file| file[7] = 12).starts_with("ELF for OpenBSD"));
    assert!(with(&|file| file[16] = 4).contains("a core file"));
    assert!(with(&|file| file[16] = 1).contains("an object file"));
    assert!(with(&|file| file[56] = 0).contains("no PT_LOAD"));
    assert!(with(&|file| file[54] = 32).contains("each has 32 bytes instead of 56"));
    assert!(with(&|file| file[56..58].copy_from_slice(&[0, 0x80])).contains("at most 1024"));
    assert!(with(&|file| file[64 + 16..64 + 24].fill(0xff)).contains("a segment is"));
    // GNU's own mark is Linux too: static programs that use its extensions carry it.
    let mut gnu = program();
    gnu.osabi = 3;
    assert!(parse(gnu.build()).is_ok());
}

#[test]
fn bad_section_headers_do_not_make_a_program_unreadable() {
    let file = program().build();
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = file.clone();
        change(&mut file);
        let elf = parse(file).unwrap();
        assert_eq!(elf.read(LinkAddr(0x40_2010), 13).unwrap(), b"writable data");
        assert_eq!(elf.go_build_id().as_deref(), Some("action/content"));
        assert!(elf.sections().is_empty());
        assert_eq!(elf.section_data(".comment", 9), Ok(None));
        elf.section_error().map(ToString::to_string)
    };
    // Zeroed, as by `sstrip`.
    assert_eq!(
        broken(&|file| {
            file[40..48].fill(0);
            file[58..64].fill(0)
        }),
        None
    );
    assert!(broken(&|file| file[40..48].fill(0xff)).is_some());
    assert!(broken(&|file| file[58] = 63).is_some());
    assert!(broken(&|file| file[62..64].fill(0x77)).is_some());
    assert!(broken(&|file| file[60..62].fill(0xff)).unwrap().contains("65535"));
    assert!(
        broken(&|file| {
            let len = file.len();
            file.truncate(len - 1)
        })
        .is_some()
    );
    // Section 0 says how many there are when the header does not.
    let headers = u64::from_le_bytes(file[40..48].try_into().unwrap()) as usize;
    assert!(
        broken(&|file| {
            file[60..62].fill(0);
            file[headers + 32..headers + 40].fill(0x7f)
        })
        .is_some()
    );
}

/// `package-level ` twenty times.
fn plain() -> Vec<u8> {
    b"package-level ".repeat(20)
}

/// A compression header and the data after it.
fn compressed(kind: u32, size: u64, data: &[u8]) -> Vec<u8> {
    let mut out = kind.to_le_bytes().to_vec();
    out.extend([0; 4]);
    out.extend(size.to_le_bytes());
    out.extend(1_u64.to_le_bytes());
    out.extend(data);
    out
}

/// [`plain`] as zlib's level 9 has it.
const ZLIB: &[u8] = &[
    0x78, 0xda, 0x2b, 0x48, 0x4c, 0xce, 0x4e, 0x4c, 0x4f, 0xd5, 0xcd, 0x49, 0x2d, 0x4b, 0xcd, 0x51, 0x28, 0x18, 0xe5,
    0x41, 0x79, 0x00, 0x21, 0x4b, 0x67, 0xd5,
];

/// [`plain`] as zstd's level 19 has it.
const ZSTD: &[u8] = &[
    0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x68, 0xad, 0x00, 0x00, 0x70, 0x70, 0x61, 0x63, 0x6b, 0x61, 0x67, 0x65, 0x2d, 0x6c,
    0x65, 0x76, 0x65, 0x6c, 0x20, 0x01, 0x00, 0x07, 0xa1, 0x4e, 0x25, 0x71, 0x1c, 0x96, 0xf5,
];

#[test]
fn compressed_sections_are_decompressed_within_their_limit() {
    let with = |data: &[u8], limit| {
        let elf = TestElf::new().load(0x40_0000, R, b"x").section(".debug_info", PROGBITS, COMPRESSED, data);
        parse(elf.build()).unwrap().section_data(".debug_info", limit)
    };
    assert_eq!(with(&compressed(1, 280, ZLIB), 280), Ok(Some(plain())));
    assert_eq!(with(&compressed(2, 280, ZSTD), 280), Ok(Some(plain())));
    let too_large = Err(ElfError::SectionTooLarge { name: ".debug_info".to_owned(), size: 280, limit: 279 });
    assert_eq!(with(&compressed(1, 280, ZLIB), 279), too_large);

    let reason = |data: &[u8]| match with(data, 1 << 30) {
        Err(ElfError::Compression { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason(&compressed(1, 281, ZLIB)).contains("size"), "shorter than it says");
    assert_eq!(with(&compressed(1, 279, ZLIB), 1 << 30).unwrap().unwrap().len(), 279, "longer than it says");
    assert!(!reason(&compressed(1, 280, &ZLIB[..20])).is_empty(), "cut off");
    assert!(!reason(&compressed(2, 280, &ZSTD[..20])).is_empty(), "cut off");
    for kind in [1, 2] {
        assert!(reason(&compressed(kind, 1 << 29, ZLIB)).contains("no real section"), "a bomb's announcement");
    }
    assert!(reason(&compressed(7, 280, ZLIB)).contains("type 7"));
    assert!(reason(&ZLIB[..10]).contains("too few"));
}

#[test]
fn empty_and_non_text_build_ids_are_none() {
    let id = |contents: &[u8]| {
        let elf = parse(TestElf::new().load(0x40_0000, R, b"x").note(b"Go", 4, contents).build()).unwrap();
        (elf.go_build_id(), elf.gnu_build_id())
    };
    assert_eq!(id(b"a/b"), (Some("a/b".to_owned()), None));
    assert_eq!(id(b"a b\x1b[31m"), (None, None));
    assert_eq!(id(b"\xff\xfe"), (None, None));
    assert_eq!(id(b""), (None, None));
    assert_eq!(id(&[b'x'; 5000]).0.unwrap().len(), 1024);
}

#[test]
fn load_bias_comes_from_the_lowest_mapping() {
    let pie = TestElf::pie().load(0x0, R, &[1; 0x500]).load(0x1000, RX, &[2; 0x500]).load(0x2e10, RW, &[3; 0x500]);
    let elf = parse(pie.build()).unwrap();
    let offsets: Vec<u64> = elf.segments().iter().map(|segment| segment.offset & !0xfff).collect();
    let bias = 0x5555_5555_4000;
    let mappings: Vec<(u64, u64)> =
        [0, 0x1000, 0x2000].iter().zip(&offsets).map(|(at, offset)| (bias + at, *offset)).collect();
    let reversed: Vec<(u64, u64)> = mappings.iter().rev().copied().collect();
    assert_eq!(elf.load_bias(&reversed, None), Some(LoadBias(bias)));
    assert_eq!(elf.load_bias(&mappings, Some(bias + 0x1000)), Some(LoadBias(bias)));
    // A second mapping of the file, made by the program itself, lies below: the entry point decides.
    let mut twice = mappings.clone();
    twice.push((0x1_0000_0000, 0));
    assert_eq!(elf.load_bias(&twice, Some(bias + 0x1000)), Some(LoadBias(bias)));
    // Another program's entry point (an emulator's, an interpreter's).
    assert_eq!(elf.load_bias(&mappings, Some(0x7777_0000_1234)), None);
    assert_eq!(elf.load_bias(&[], None), None);
    assert_eq!(elf.load_bias(&[(0x5555_5555_4123, 0)], None), None, "is no page");

    // Pages of 64 KiB: the data segment's mapping starts far below its address.
    let wide = TestElf::pie().load(0x1_f010, RW, &[1; 16]);
    let elf = parse(wide.build()).unwrap();
    let offset = elf.segments()[0].offset;
    let start = 0xaaaa_0001_f010 - (offset % 0x1_0000);
    assert_eq!(elf.load_bias(&[(start, offset - offset % 0x1_0000)], None), Some(LoadBias(0xaaaa_0000_0000)));

    let fixed = parse(program().build()).unwrap();
    let offset = fixed.segments()[0].offset;
    assert_eq!(fixed.load_bias(&[(0x40_0000, offset)], Some(0x40_1000)), Some(LoadBias(0)));
    assert_eq!(fixed.load_bias(&[(0x50_0000, offset)], None), None, "a fixed program that moved");
}

/// A program of a gigabyte that counts what is read of it.
struct Huge {
    head: Vec<u8>,
    read: AtomicU64,
}

impl ByteSource for Huge {
    fn len(&self) -> u64 {
        1 << 30
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        buf.fill(0);
        let head = usize::try_from(offset).ok().and_then(|at| self.head.get(at..)).unwrap_or_default();
        let n = head.len().min(buf.len());
        buf[..n].copy_from_slice(&head[..n]);
        Ok(buf.len())
    }
}

#[test]
fn opening_reads_the_headers_only() {
    let source = Arc::new(Huge { head: program().build(), read: AtomicU64::new(0) });
    let elf = Elf::parse(source.clone()).unwrap();
    assert_eq!(elf.sections().len(), 6);
    assert_eq!(elf.go_build_id().as_deref(), Some("action/content"));
    let read = source.read.load(Ordering::Relaxed);
    assert!(read < 64 * 1024, "{read} bytes were read");
}

/// Calls everything; it only must not panic or hang.
fn exercise(file: Vec<u8>) {
    let Ok(elf) = parse(file) else { return };
    let names: Vec<String> = elf.sections().iter().map(|section| section.name.clone()).collect();
    for name in names {
        let _ = elf.section_data(&name, 1 << 16);
    }
    for segment in elf.segments().to_vec() {
        let _ = elf.read(segment.vaddr, 16);
        let _ = elf.read(segment.vaddr, usize::try_from(segment.file_size).unwrap_or(usize::MAX));
        let _ = elf.load_bias(&[(segment.vaddr.0, segment.offset)], None);
    }
    let _ = (elf.go_build_id(), elf.gnu_build_id());
}

#[test]
fn a_file_cut_off_anywhere_is_an_error_or_a_smaller_program() {
    let file = program().section(".z", PROGBITS, COMPRESSED, &compressed(1, 280, ZLIB)).build();
    for len in 0..file.len() {
        exercise(file[..len].to_vec());
    }
}

proptest! {
    #[test]
    fn changed_bytes_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), in_headers: bool) {
        let mut file = program()
            .section(".z", PROGBITS, COMPRESSED, &compressed(1, 280, ZLIB))
            .section(".y", PROGBITS, COMPRESSED, &compressed(2, 280, ZSTD))
            .build();
        // Most of the file is padding; the headers are at its two ends.
        let (head, tail) = (64 + 4 * 56, file.len() - 1024);
        for (at, value) in changes {
            let at = match at.index(file.len()) {
                at if in_headers && at % 2 == 0 => at % head,
                at if in_headers => tail + at % 1024,
                at => at,
            };
            file[at] = value;
        }
        exercise(file);
    }

    #[test]
    fn random_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        exercise(bytes.clone());
        for (at, value) in [0x7f, b'E', b'L', b'F', 2, 1, 1, 0].into_iter().enumerate() {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if bytes.len() > 20 {
            bytes[16..20].copy_from_slice(&[3, 0, 62, 0]);
        }
        exercise(bytes);
    }
}
