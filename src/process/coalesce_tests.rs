use super::*;
use crate::addr::Arch;
use crate::process::fake::{FakeTarget, ReadOutcome};
use crate::process::live::LiveTarget;
use proptest::prelude::*;

const BASE: u64 = 0x7000_0000;

fn byte_at(addr: u64) -> u8 {
    (addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Memory with the pages of `present`.
fn pages(present: &[bool]) -> FakeTarget {
    let target = FakeTarget::new(Arch::Amd64);
    for (i, _) in present.iter().enumerate().filter(|&(_, &there)| there) {
        let start = BASE + i as u64 * PAGE;
        let bytes: Vec<u8> = (start..start + PAGE).map(byte_at).collect();
        target.memory(|memory| memory.put(Addr(start), &bytes));
    }
    target
}

fn piece(start: u64, len: usize) -> MemRange {
    MemRange { start: Addr(start), len }
}

/// Reads all pieces by chunks: the bytes of each, and the ranges.
fn read_all(target: &FakeTarget, limits: Limits, pieces: &[MemRange]) -> (Vec<Vec<u8>>, Vec<Vec<MemRange>>) {
    let mut reader = ChunkReader::new(limits);
    let (mut out, mut ranges, mut next) = (Vec::new(), Vec::new(), 0);
    while next < pieces.len() {
        let chunk = reader.read(target, pieces, next).unwrap();
        assert!(chunk.start == next && chunk.end > next, "no progress");
        assert_eq!(reader.pieces(), chunk);
        out.extend(reader.iter().map(|(_, bytes)| bytes.to_vec()));
        ranges.push(reader.ranges().to_vec());
        next = chunk.end;
    }
    (out, ranges)
}

#[test]
fn neighbours_share_a_range_and_others_do_not() {
    let target = pages(&[true; 8]);
    let pieces = [piece(BASE, 100), piece(BASE + 50, 10), piece(BASE + 600, 8), piece(BASE + 4000, 8)];
    let (out, ranges) = read_all(&target, Limits { gap: 500, ..Limits::default() }, &pieces);
    assert_eq!(ranges, [[piece(BASE, 608), piece(BASE + 4000, 8)]]);
    assert_eq!(out[1], (BASE + 50..BASE + 60).map(byte_at).collect::<Vec<_>>());
    assert_eq!(target.stats().syscalls, 1);
}

#[test]
fn reading_continues_after_a_hole() {
    // A long piece runs into a hole; pieces after the hole are read all the same.
    let target = pages(&[true, false, true, true, false]);
    let at = |page: u64, offset: u64| BASE + page * PAGE + offset;
    let pieces = [
        piece(at(0, 10), 3 * 4096),
        piece(at(0, 20), 10),
        piece(at(1, 100), 8),
        piece(at(1, 4092), 8),
        piece(at(2, 100), 8),
        piece(at(3, 4090), 12),
        piece(at(4, 100), 8),
    ];
    let (out, ranges) = read_all(&target, Limits::default(), &pieces);
    assert_eq!(ranges.len(), 1);
    let lens: Vec<usize> = out.iter().map(Vec::len).collect();
    assert_eq!(lens, [4086, 10, 0, 0, 8, 6, 0]);
    assert_eq!(out[4], (at(2, 100)..at(2, 108)).map(byte_at).collect::<Vec<_>>());
}

#[test]
fn unsorted_empty_and_huge_pieces_are_harmless() {
    let target = pages(&[true]);
    let limits = Limits { chunk_bytes: 64, ..Limits::default() };
    let pieces = [
        piece(BASE, 0),
        piece(BASE, 1000),
        piece(BASE - 5, 4),
        piece(0, 8),
        piece(u64::MAX, 8),
        piece(u64::MAX, usize::MAX),
        piece(BASE + 5, 1),
    ];
    let (out, _) = read_all(&target, limits, &pieces);
    assert_eq!(out.iter().map(Vec::len).collect::<Vec<_>>(), [0, 64, 0, 0, 0, 0, 1]);
    let mut reader = ChunkReader::new(limits);
    assert_eq!(reader.read(&target, &pieces, 7).unwrap(), 7..7);
    assert_eq!(reader.read(&target, &pieces, 99).unwrap(), 7..7);
    assert_eq!(reader.bytes(7), b"");
    assert_eq!(reader.bytes(0), b"");
}

#[test]
fn a_failed_chunk_is_empty() {
    let error = ReadError::Gone { pid: 1234 };
    let fails = error.clone();
    let target = pages(&[true]).at_read(1, move |_, _| ReadOutcome::Fails(fails));
    let mut reader = ChunkReader::new(Limits::default());
    let pieces = [piece(BASE, 8)];
    reader.read(&target, &pieces, 0).unwrap();
    assert_eq!(reader.bytes(0).len(), 8);
    assert_eq!(reader.read(&target, &pieces, 0), Err(error));
    assert_eq!((reader.pieces(), reader.bytes(0)), (0..0, &b""[..]));
}

/// On real memory, at a size where anything worse than linear would be felt.
#[test]
fn many_pieces_of_real_memory() {
    const COUNT: usize = 200_000;
    let memory: Vec<u8> = (0..COUNT as u64 * 48).map(byte_at).collect();
    let start = memory.as_ptr() as u64;
    let pieces: Vec<MemRange> = (0..COUNT as u64).map(|i| piece(start + i * 48, 32)).collect();
    let target = LiveTarget::open(i32::try_from(std::process::id()).unwrap()).unwrap();
    let before = target.stats();
    let mut reader = ChunkReader::new(Limits { chunk_bytes: 1 << 20, ..Limits::default() });
    let mut next = 0;
    while next < COUNT {
        let chunk = reader.read(&target, &pieces, next).unwrap();
        for (i, bytes) in reader.iter() {
            assert_eq!(bytes, &memory[i * 48..i * 48 + 32]);
        }
        next = chunk.end;
    }
    assert_eq!(target.stats().syscalls - before.syscalls, 10);
}

proptest! {
    #[test]
    fn every_piece_is_found_at_a_bounded_cost(
        present in proptest::collection::vec(prop::bool::weighted(0.7), 1..24),
        mut pieces in proptest::collection::vec((0_u64..24 * PAGE, 0_usize..700), 0..120),
        long in proptest::collection::vec((0_u64..24 * PAGE, 0_usize..20_000), 0..3),
        gap in 0_u64..9000,
        chunk_bytes in 1_usize..40_000,
        chunk_ranges in 1_usize..40,
    ) {
        pieces.extend(long);
        pieces.sort_unstable();
        let pieces: Vec<MemRange> = pieces.into_iter().map(|(at, len)| piece(BASE + at, len)).collect();
        let target = pages(&present);
        let limits = Limits { gap, chunk_bytes, chunk_ranges };
        let (out, chunks) = read_all(&target, limits, &pieces);
        prop_assert_eq!(out.len(), pieces.len());

        let is_there = |addr: u64| present.get(((addr - BASE) / PAGE) as usize) == Some(&true);
        for (piece, bytes) in pieces.iter().zip(&out) {
            let end = piece.start.0 + piece.len.min(chunk_bytes) as u64;
            let expected: Vec<u8> = (piece.start.0..end).take_while(|&addr| is_there(addr)).map(byte_at).collect();
            prop_assert_eq!(bytes, &expected, "{:?}", piece);
        }

        let gap = gap.min(PAGE - 1);
        for ranges in &chunks {
            prop_assert!(ranges.len() <= chunk_ranges);
            prop_assert!(ranges.iter().map(|r| r.len).sum::<usize>() <= chunk_bytes);
            // No two ranges of a chunk that could have been one.
            for pair in ranges.windows(2) {
                prop_assert!(pair[1].start.0 > pair[0].start.0 + pair[0].len as u64 + gap);
            }
        }
        let wanted: u64 = pieces.iter().map(|piece| piece.len as u64).sum();
        let ranges: usize = chunks.iter().map(Vec::len).sum();
        prop_assert!(ranges <= pieces.len());
        prop_assert!(target.stats().bytes <= wanted + gap * pieces.len() as u64);
        // One call per chunk, plus one for every hole it had to continue after.
        let holes = 30 - present.iter().filter(|&&there| there).count();
        prop_assert!(target.stats().syscalls as usize <= chunks.len() * (1 + holes));
    }
}
