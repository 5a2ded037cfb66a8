use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::image::test_elf::{R, RX, TestElf};

const TEXT: u64 = 0x1000;
const FRAMES: u64 = 0x3000;
const INDEX: u64 = 0x5000;

/// Length, then the rest, padded to a multiple of eight with `DW_CFA_nop`.
fn entry(mut body: Vec<u8>) -> Vec<u8> {
    while !(body.len() + 4).is_multiple_of(8) {
        body.push(0);
    }
    let mut out = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    out.extend(body);
    out
}

/// Version 1, augmentation `zR` (or `zRS`), pc-relative addresses of four bytes; CFA = rsp + 8, and
/// the return address below it.
fn cie(signal: bool) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 0, 1];
    body.extend(if signal { &b"zRS\0"[..] } else { &b"zR\0"[..] });
    body.extend([1, 0x78, 16, 1, 0x1b]);
    body.extend([0x0c, 7, 8, 0x90, 1]);
    entry(body)
}

/// Of a function at `start`, at `at` in a section whose CIE is at 0.
fn fde(at: usize, start: u64, len: u32, instructions: &[u8]) -> Vec<u8> {
    let mut body = u32::try_from(at + 4).unwrap().to_le_bytes().to_vec();
    let from = FRAMES + at as u64 + 8;
    body.extend((i32::try_from(start as i64 - from as i64).unwrap()).to_le_bytes());
    body.extend(len.to_le_bytes());
    body.push(0);
    body.extend(instructions);
    entry(body)
}

/// Two functions: one that pushes rbp and makes it its frame pointer, and one that does nothing.
fn section(signal: bool) -> Vec<u8> {
    let mut data = cie(signal);
    // advance 1, CFA +16, rbp at CFA-16; advance 3, CFA = rbp + 16
    let pushes = [0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6];
    data.extend(fde(data.len(), TEXT, 0x20, &pushes));
    data.extend(fde(data.len(), TEXT + 0x20, 0x10, &[]));
    data.extend([0; 4]);
    data
}

fn index(data: &[u8]) -> Vec<u8> {
    let first = cie(false).len();
    let second = first + 4 + u32::from_le_bytes(data[first..first + 4].try_into().unwrap()) as usize;
    let mut out = vec![1, 0x1b, 0x03, 0x3b];
    out.extend((FRAMES.wrapping_sub(INDEX + 4) as u32).to_le_bytes());
    out.extend(2_u32.to_le_bytes());
    for (start, at) in [(TEXT, first), (TEXT + 0x20, second)] {
        out.extend((start.wrapping_sub(INDEX) as u32).to_le_bytes());
        out.extend(((FRAMES + at as u64).wrapping_sub(INDEX) as u32).to_le_bytes());
    }
    out
}

fn file(data: &[u8], index: Option<&[u8]>) -> Elf {
    let mut elf = TestElf::pie().load(TEXT, RX, &[0x90; 0x100]).load(FRAMES, R, data).loaded_section(
        ".eh_frame",
        FRAMES,
        data.len() as u64,
    );
    if let Some(index) = index {
        elf = elf.load(INDEX, R, index).loaded_section(".eh_frame_hdr", INDEX, index.len() as u64);
    }
    Elf::parse(Arc::new(elf.build())).unwrap()
}

fn check(frames: &EhFrame) {
    let row = |at: u64| frames.row(LinkAddr(TEXT + at));
    let entry = row(0).unwrap();
    assert_eq!((entry.cfa, entry.return_address, entry.signal_frame), ((7, 8), 16, false));
    assert_eq!(
        (entry.rule(16), entry.rule(6), entry.rule(3), entry.rule(0)),
        (Rule::At(-8), Rule::Same, Rule::Same, Rule::Unknown)
    );
    let pushed = row(1).unwrap();
    assert_eq!((pushed.cfa, pushed.rule(6), pushed.rule(16)), ((7, 16), Rule::At(-16), Rule::At(-8)));
    assert_eq!(row(3).unwrap(), pushed);
    assert_eq!(row(4).unwrap().cfa, (6, 16));
    assert_eq!(row(0x1f).unwrap().cfa, (6, 16));
    assert_eq!(row(0x2f).unwrap().cfa, (7, 8));
    assert_eq!(row(0x30), None);
    assert_eq!(frames.row(LinkAddr(TEXT - 1)), None);
    assert_eq!(frames.row(LinkAddr(u64::MAX)), None);
}

#[test]
fn finds_the_caller_with_and_without_an_index() {
    let data = section(false);
    let searched = EhFrame::load(&file(&data, None)).unwrap().unwrap();
    assert!(searched.index.is_none());
    check(&searched);
    let indexed = EhFrame::load(&file(&data, Some(&index(&data)))).unwrap().unwrap();
    assert!(indexed.index.is_some());
    check(&indexed);
}

#[test]
fn an_index_of_another_form_is_not_used() {
    let data = section(false);
    let good = index(&data);
    let changes: [(usize, u8); 5] = [(0, 2), (1, 0), (2, 0xff), (3, 0x1b), (8, 3)];
    for (at, value) in changes {
        let mut bad = good.clone();
        bad[at] = value;
        let frames = EhFrame::load(&file(&data, Some(&bad))).unwrap().unwrap();
        assert!(frames.index.is_none(), "{at}");
        check(&frames);
    }
    assert!(EhFrame::load(&file(&data, Some(&good[..11]))).unwrap().unwrap().index.is_none());
}

#[test]
fn signal_frames_are_marked() {
    let frames = EhFrame::load(&file(&section(true), None)).unwrap().unwrap();
    assert!(frames.row(LinkAddr(TEXT)).unwrap().signal_frame);
}

#[test]
fn what_takes_an_expression_is_unknown() {
    let mut data = cie(false);
    // rbp by an expression; then the CFA too
    data.extend(fde(data.len(), TEXT, 0x20, &[0x10, 6, 1, 0x9c, 0x41, 0x0f, 1, 0x9c]));
    let frames = EhFrame::load(&file(&data, None)).unwrap().unwrap();
    assert_eq!(frames.row(LinkAddr(TEXT)).unwrap().rule(6), Rule::Unknown);
    assert_eq!(frames.row(LinkAddr(TEXT + 1)), None);
}

#[test]
fn a_file_without_it_has_none() {
    let elf = TestElf::new().load(0x40_0000, RX, &[0; 16]).section("x", 1, 0, &[1]);
    assert!(EhFrame::load(&Elf::parse(Arc::new(elf.build())).unwrap()).unwrap().is_none());
}

#[test]
fn knows_the_functions_of_this_very_program() {
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let elf = Elf::parse(Arc::new(bytes)).unwrap();
    let mut frames = EhFrame::load(&elf).unwrap().unwrap();
    assert!(frames.index.is_some());
    let link = |function: usize| {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let start = u64::from_str_radix(maps.split('-').next().unwrap(), 16).unwrap();
        LinkAddr(function as u64 - start)
    };
    let here = link(knows_the_functions_of_this_very_program as fn() as usize);
    let indexed = frames.row(here).unwrap();
    assert_eq!(indexed.rule(indexed.return_address), Rule::At(-8));
    frames.index = None;
    assert_eq!(frames.row(here), (frames.data.len() <= MAX_SEARCHED).then_some(indexed));
}

fn made_of(data: Vec<u8>, table: Option<Vec<u8>>, arch: Arch) -> EhFrame {
    EhFrame { arch, data, addr: LinkAddr(FRAMES), index: table.map(|table| Index { table, addr: LinkAddr(INDEX) }) }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(
        data in proptest::collection::vec(any::<u8>(), 0..600),
        table in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..64)),
        arm: bool,
        pc: u64,
    ) {
        let arch = if arm { Arch::Arm64 } else { Arch::Amd64 };
        let frames = made_of(data, table, arch);
        let _ = frames.row(LinkAddr(pc));
        let _ = frames.row(LinkAddr(TEXT));
    }

    #[test]
    fn damaged_bytes_do_not_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        instructions in proptest::collection::vec(any::<u8>(), 0..80),
        with_index: bool,
        arm: bool,
        at in 0_u64..0x40,
    ) {
        let mut data = cie(false);
        data.extend(fde(data.len(), TEXT, 0x20, &instructions));
        data.extend(fde(data.len(), TEXT + 0x20, 0x10, &[]));
        let table = with_index.then(|| index(&data)[INDEX_HEAD..].to_vec());
        let arch = if arm { Arch::Arm64 } else { Arch::Amd64 };
        let _ = made_of(data.clone(), table.clone(), arch).row(LinkAddr(TEXT + at));
        for (place, value) in changes {
            let place = place.index(data.len());
            data[place] = value;
        }
        let _ = made_of(data, table, arch).row(LinkAddr(TEXT + at));
    }

    #[test]
    fn arbitrary_indexes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), pc: u64, addr: u64) {
        let mut usual = vec![1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0];
        usual.extend(bytes);
        if let Some(index) = Index::new(&usual, LinkAddr(addr)) {
            index.find(LinkAddr(pc));
        }
    }
}
