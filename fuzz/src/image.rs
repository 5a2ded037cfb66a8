//! What a program's file says.

use std::sync::{Arc, OnceLock};

use gospy::testing::{ByteSource, Header, decoders};

use crate::bases::{self, Base, Changed};
use crate::parts::{self, Bytes, Section, put_part};

const AMD64: u16 = 62;
const ARM64: u16 = 183;
const EXECUTABLE: u16 = 2;
const COMPRESSED: u64 = 0x800;

/// What the first byte of an input chooses: the rest as it is, or as changes of one of `bases`.
#[must_use]
pub fn source(input: &[u8], bases: &[&Arc<Base>]) -> Arc<dyn ByteSource> {
    let mut input = Bytes(input);
    let which = usize::from(input.byte().unwrap_or(0)) % (bases.len() + 1);
    match which.checked_sub(1).and_then(|which| bases.get(which)) {
        Some(base) => Arc::new(Changed::new(base, input)),
        None => Arc::new(input.0.to_vec()),
    }
}

/// Bytes of the program that some targets change.
#[must_use]
pub fn program_size() -> usize {
    bases::program().bytes.len()
}

/// ELF files, plain and as changes of the program.
#[must_use]
pub fn elf(input: &[u8]) -> usize {
    decoders::elf(source(input, &[bases::program()]))
}

/// A small file with symbols, notes and a compressed section; and changes of the program.
#[must_use]
pub fn elf_seeds() -> Vec<Vec<u8>> {
    let mut symbols = vec![0; 24];
    // Two functions, one of which does not say how long it is, and a variable.
    for (name, kind, value, size) in [(1_u32, 0x12, 0x1000_u64, 0_u64), (11, 0x12, 0x1010, 16), (1, 0x11, 0xff8, 16)] {
        symbols.extend(name.to_le_bytes());
        symbols.extend([kind, 0, 1, 0]);
        symbols.extend(value.to_le_bytes());
        symbols.extend(size.to_le_bytes());
    }
    let packed = compressed(&[7; 300]);
    // `Elf64_Chdr`, and a frame of zstd with one block: 200 times the same byte. And a kind that there is not.
    let header = |kind: u64| [kind.to_le_bytes(), 200_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat();
    let zstd = [&header(2)[..], &[0x28, 0xb5, 0x2f, 0xfd, 0x20, 200, 0x43, 0x06, 0, 7]].concat();
    let unknown = header(9);
    let notes = [parts::note(b"Go", 4, b"build/id/of/go"), parts::note(b"GNU", 3, &[1; 20])].concat();
    let sections = [
        Section { name: ".text", flags: 6, addr: 0x1000, data: &[0x90; 64] },
        Section { name: ".symtab", flags: 0, addr: 0, data: &symbols },
        Section { name: ".strtab", flags: 0, addr: 0, data: b"\0main.main\0main.other\0" },
        Section { name: ".debug_info", flags: COMPRESSED, addr: 0, data: &packed },
        Section { name: ".debug_str", flags: COMPRESSED, addr: 0, data: &zstd },
        Section { name: ".debug_line", flags: COMPRESSED, addr: 0, data: &unknown },
    ];
    let plain = |file: Vec<u8>| [vec![0], file].concat();
    // Files that are not for us: of 32 bits, big-endian, of another system, an object file, of another machine.
    let other = |(at, byte): (usize, u8)| {
        let mut file = parts::elf(AMD64, EXECUTABLE, &sections[..1], &[]);
        file[at] = byte;
        plain(file)
    };
    let mut seeds: Vec<Vec<u8>> = [(4, 1), (5, 2), (7, 9), (16, 1), (18, 40)].map(other).to_vec();
    seeds.extend([
        plain(parts::elf(AMD64, EXECUTABLE, &sections, &notes)),
        plain(parts::elf(ARM64, 3, &sections[..1], &[])),
        vec![1],
        // The number of sections, a section's size, and the end of the file.
        vec![1, 1, 0, 60, 0, 0, 0xff, 0xff, 3, 2, 32, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0],
        vec![1, 6, 2, 0, 1, 0],
    ]);
    seeds
}

/// `Elf64_Chdr` and zlib.
fn compressed(data: &[u8]) -> Vec<u8> {
    let mut out = [1_u64.to_le_bytes(), (data.len() as u64).to_le_bytes(), 1_u64.to_le_bytes()].concat();
    let mut zlib = flate2::write::ZlibEncoder::new(&mut out, flate2::Compression::fast());
    let _ = std::io::Write::write_all(&mut zlib, data).and_then(|()| zlib.finish().map(|_| ()));
    out
}

/// Build information: a section of a made-up file, the text alone, or changes of the program.
#[must_use]
pub fn build_info(input: &[u8]) -> usize {
    match input.split_first() {
        Some((0x80.., rest)) => {
            let section = Section { name: ".go.buildinfo", flags: 3, addr: 0x5000, data: rest };
            decoders::build_info(Arc::new(parts::elf(AMD64, EXECUTABLE, &[section], &[])))
        }
        Some((0x40.., rest)) => decoders::mod_info(&String::from_utf8_lossy(rest)),
        _ => decoders::build_info(source(input, &[bases::program()])),
    }
}

const MOD_INFO: &str = "path\texample.test/shop\nmod\texample.test/shop\tv1.2.3\th1:abc=\ndep\texample.test/dep\tv0.1.0\n\
    =>\texample.test/fork\tv0.2.0\th1:x=\nbuild\t-ldflags=\"-s -w \\\"x\\\"\"\nbuild\tGOARCH=amd64\nbuild\tvcs.revision=abc\n\
    build\tvcs.time=2026-01-02T03:04:05Z\nbuild\tvcs.modified=true\nbuild\t`-tags`=`a b`\n\
    build\t\"CGO_CFLAGS\"=\"\\a\\b\\f\\n\\r\\t\\v\\\\\\x41\\u00e4\\U0001f600\\101\"\nbuild\t=x\nbuild\t\"\\q\"=x\n";

/// Both forms of the section, the text, and the program.
#[must_use]
pub fn build_info_seeds() -> Vec<Vec<u8>> {
    let inline = |text: &str| {
        let mut out = vec![text.len() as u8 | 0x80, (text.len() >> 7) as u8];
        out.extend(text.as_bytes());
        out
    };
    let wrapped = format!("{0}{MOD_INFO}{0}", "0123456789abcdef");
    let mut newer = b"\x80\xff Go buildinf:\x08\x02".to_vec();
    newer.resize(33, 0);
    newer.extend([8]);
    newer.extend(b"go1.26.6");
    newer.extend(inline(&wrapped));
    let mut older = b"\x80\xff Go buildinf:\x08\x00".to_vec();
    [0x5020_u64, 0x5030, 0x5040, 8, 0x5050, 40].iter().for_each(|word| older.extend(word.to_le_bytes()));
    older.extend(b"go1.17.1");
    older.extend([b'x'; 60]);
    vec![
        newer,
        older,
        [&[0x40], MOD_INFO.as_bytes()].concat(),
        vec![1],
        vec![1, 3, 12, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
    ]
}

/// Tables of functions: those of the program with changes, or a section of a made-up file.
#[must_use]
pub fn pclntab(input: &[u8]) -> usize {
    match input.split_first() {
        Some((how @ 0x80.., rest)) => {
            // Without the name of its section, it is looked for.
            let name = if *how < 0xc0 { ".gopclntab" } else { ".data.rel.ro" };
            let sections = [
                Section { name: ".text", flags: 6, addr: 0x1000, data: &[0x90; 512] },
                Section { name, flags: 2, addr: 0x8000, data: rest },
                Section { name: ".rodata", flags: 2, addr: 0x4_0000, data: rest },
            ];
            decoders::pclntab(Arc::new(parts::elf(AMD64, EXECUTABLE, &sections, &[])))
        }
        _ => decoders::pclntab(source(input, &[bases::program()])),
    }
}

/// A table of one function in the format of Go 1.20 (0xf1), 1.18 (0xf0) or 1.16 (0xfa), after the byte `how`.
fn small(how: u8, format: u8) -> Vec<u8> {
    let is_oldest = format == 0xfa;
    // Magic, quantum, size of pointers; one function, one file; text; offsets of names, units, files, pc tables, functions.
    let mut out = vec![how, format, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    let text: &[u64] = if is_oldest { &[] } else { &[0x1000] };
    let start = 64 + 8 * text.len() as u64;
    let offsets = [0, 16, 20, 32, 64].map(|offset| start + offset);
    [&[1, 1], text, &offsets].concat().iter().for_each(|word| out.extend(word.to_le_bytes()));
    out.extend(b"\0main.main\0\0\0\0\0\0");
    out.extend([0, 0, 0, 0]);
    out.extend(b"/a/main.go\0\0");
    // Pairs of value and length, in varints: a frame of 16 bytes, the file, the lines.
    out.extend([0, 32, 200, 1, 0, 2, 200, 1, 0, 2, 16, 8, 100, 0]);
    out.resize(1 + start as usize + 64, 0);
    // Entry, offset of its `_func`, end; `_func` begins with the entry. Numbers have 8 bytes at first, 4 later.
    let table: &[u32] = if is_oldest { &[0x1000, 0, 24, 0, 0x11f0, 0, 0x1000, 0] } else { &[0, 12, 0x1f0, 0] };
    table.iter().for_each(|word| out.extend(word.to_le_bytes()));
    // The rest: name, args, deferreturn, pcsp, pcfile, pcln, npcdata, cuOffset, startLine since 1.20, ids, funcdata.
    let line: &[u32] = if format == 0xf1 { &[3] } else { &[] };
    let rest = [&[1, 16, 0, 1, 5, 9, 2, 0][..], line, &[0x0400_0000, 1, 5, 0, 0, u32::MAX, 16]].concat();
    rest.iter().for_each(|word| out.extend(word.to_le_bytes()));
    out.resize(out.len() + 64, 1);
    out
}

/// A table of one function in each format, and changes of the program's.
#[must_use]
pub fn pclntab_seeds() -> Vec<Vec<u8>> {
    let table = bases::program().regions.iter().position(|range| range.len() > 600_000).unwrap_or(0) as u8;
    let change = |kind: u8, at: u32, rest: &[u8]| [&[1, kind, table][..], &at.to_le_bytes()[..3], rest].concat();
    vec![
        small(0x80, 0xf1),
        small(0x80, 0xf0),
        small(0x80, 0xfa),
        small(0xc0, 0xf1),
        vec![1],
        change(4, 8, &[9]),
        change(4, 32, &[3]),
        change(1, 0x5_0000, &[0xff, 0xff]),
        change(5, 0x4_0000, &[255, 0x80]),
        change(5, 0x8_0000, &[255, 0xff]),
    ]
}

/// Module data in memory.
#[must_use]
pub fn moduledata(input: &[u8]) -> usize {
    static HEADER: OnceLock<Header> = OnceLock::new();
    let header = HEADER.get_or_init(|| {
        let program: Arc<dyn ByteSource> = Arc::new(Changed::new(bases::program(), Bytes(&[])));
        decoders::header_of(program).expect("the program has it")
    });
    decoders::moduledata(input, header)
}

/// The program's, alone and among other words.
#[must_use]
pub fn moduledata_seeds() -> Vec<Vec<u8>> {
    // `.go.module` of the program.
    let own = bases::program().bytes[0x18_61a0..0x18_61a0 + 0x250].to_vec();
    vec![[&[0; 64][..], &own].concat(), [&own[..80], &own].concat(), own]
}

/// DWARF: five sections, each after its length; the first byte says whether they are compressed, and whether they say
/// that they are zstd, or very large.
#[must_use]
pub fn dwarf(input: &[u8]) -> usize {
    let mut input = Bytes(input);
    let how = input.byte().unwrap_or(0);
    let flags = if how & 1 == 1 { COMPRESSED } else { 0 };
    const NAMES: [&str; 5] = [".debug_info", ".debug_abbrev", ".debug_str", ".debug_addr", ".debug_line_str"];
    let data: Vec<Vec<u8>> = NAMES
        .iter()
        .map(|_| input.part().unwrap_or_default())
        .map(|part| if flags == 0 { part.to_vec() } else { compressed(part) })
        .map(|mut data| {
            if how & 3 == 3 {
                data[0] = 2;
            }
            if how & 5 == 5 {
                data[8..16].copy_from_slice(&0x3000_0000_u64.to_le_bytes());
            }
            data
        })
        .collect();
    let sections: Vec<Section<'_>> =
        NAMES.iter().zip(&data).map(|(name, data)| Section { name, flags, addr: 0, data }).collect();
    // A program has something to load.
    let text = Section { name: ".text", flags: 6, addr: 0x1000, data: &[0x90; 64] };
    decoders::dwarf(Arc::new(parts::elf(AMD64, EXECUTABLE, &[&[text], &sections[..]].concat(), &[])))
}

/// Call frame information: what the index and the frames are, after their lengths; the first byte says of which machine,
/// and whether there is an index.
#[must_use]
pub fn eh_frame(input: &[u8]) -> usize {
    let mut input = Bytes(input);
    let flags = input.byte().unwrap_or(0);
    let index = input.part().unwrap_or_default();
    let mut sections = vec![Section { name: ".eh_frame", flags: 2, addr: 0x3000, data: input.0 }];
    if flags & 1 == 1 {
        sections.push(Section { name: ".eh_frame_hdr", flags: 2, addr: 0x2_0000, data: index });
    }
    let machine = if flags & 2 == 2 { ARM64 } else { AMD64 };
    decoders::eh_frame(Arc::new(parts::elf(machine, EXECUTABLE, &sections, &[])), 24)
}

/// A function that pushes its frame pointer, with and without an index.
#[must_use]
pub fn eh_frame_seeds() -> Vec<Vec<u8>> {
    let entry = |mut body: Vec<u8>| {
        body.resize((body.len() + 4).next_multiple_of(8) - 4, 0);
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    };
    // Version 1, "zR", pc-relative addresses of four bytes; CFA = rsp + 8, the return address below it.
    let cie = entry([&[0, 0, 0, 0, 1][..], b"zR\0", &[1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1]].concat());
    let fde = |at: usize, start: i32, instructions: &[u8]| {
        let mut body = (at as u32 + 4).to_le_bytes().to_vec();
        body.extend((start - (0x3000 + at as i32 + 8)).to_le_bytes());
        body.extend(0x20_u32.to_le_bytes());
        body.push(0);
        body.extend(instructions);
        entry(body)
    };
    // Advance 1, CFA + 16, rbp at CFA - 16; advance 3, CFA = rbp + 16; state kept and restored; an expression.
    let pushes = [0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x0a, 0x41, 0x0b, 0x0f, 3, 0x77, 8, 6];
    let mut frames = [cie.clone(), fde(cie.len(), 0x1000, &pushes)].concat();
    frames.extend(fde(frames.len(), 0x1020, &[]));
    frames.extend([0; 4]);
    let mut index = vec![1, 0x1b, 0x03, 0x3b];
    index.extend((0x3000_i32 - 0x2_0004).to_le_bytes());
    index.extend(2_u32.to_le_bytes());
    for (start, at) in [(0x1000_i32, cie.len()), (0x1020, cie.len() + 40)] {
        index.extend((start - 0x2_0000).to_le_bytes());
        index.extend((0x3000 + at as i32 - 0x2_0000).to_le_bytes());
    }
    let seed = |flags: u8, index: &[u8]| {
        let mut out = vec![flags];
        put_part(&mut out, index);
        out.extend(&frames);
        out
    };
    vec![seed(0, &[]), seed(1, &index), seed(3, &index), seed(2, &[])]
}

/// Machine code.
#[must_use]
pub fn code_refs(input: &[u8]) -> usize {
    decoders::code_refs(input)
}

/// Functions of the program, and the forms of arm64 that matter.
#[must_use]
pub fn code_refs_seeds() -> Vec<Vec<u8>> {
    let text = &bases::program().bytes[0x1000..];
    let mut seeds: Vec<Vec<u8>> = (0..8).map(|n| text[n * 0x1_2340..][..384].to_vec()).collect();
    // adrp x27; ldr x0, [x27, #16]; adrp x1; add x1, x1, #32; str x1, [x0, #328]; adr x2; ldr x3, literal; movz/movk.
    let arm64: [u32; 9] = [
        0xb000_001b,
        0xf940_0b60,
        0xb000_0001,
        0x9100_8021,
        0xf900_a401,
        0x1000_0102,
        0x5800_0083,
        0xd280_0004,
        0xf2a0_0024,
    ];
    seeds.push(arm64.iter().flat_map(|word| word.to_le_bytes()).collect());
    // adrp x0; add x0, x0, #64, and what reads or writes there: ldr w1; str d2; ldr q3; prfm; ldp; stp d; ldar; stlr;
    // ldxr; stxr; cas; ldadd; swp; ldapr; ldr x4, [x0], #8; ldraa; mrs; bl; an address that is linked by a field.
    let accesses: [u32; 21] = [
        0xb000_0000,
        0x9101_0000,
        0xb940_0001,
        0xfd00_0002,
        0x3dc0_0003,
        0xf980_0000,
        0xa940_0801,
        0x6d00_0801,
        0x88df_fc01,
        0xc89f_fc01,
        0xc85f_7c01,
        0xc801_7c02,
        0xc8a1_7c02,
        0xf821_0002,
        0xf821_8002,
        0xf8bf_c001,
        0xf840_8404,
        0xf820_0401,
        0xd53b_d041,
        0x9400_0010,
        0xf900_0001,
    ];
    seeds.push(accesses.iter().flat_map(|word| word.to_le_bytes()).collect());
    // Each with an address that was not forgotten in between; and casp, ld1, ldr literal, br, b, ret.
    let others = [0x0820_7c02, 0x0c40_7000, 0x1800_0041, 0xd61f_0020, 0x1400_0001, 0xd65f_03c0, 0xd508_751f];
    let apart = accesses[2..].iter().chain(&others).flat_map(|word| [accesses[0], accesses[1], *word]);
    seeds.push(apart.flat_map(u32::to_le_bytes).collect());
    seeds
}
