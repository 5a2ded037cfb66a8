//! Reads of this very process (its memory is known) and of a child that can be killed.

use super::*;
use crate::process::maps;

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

fn addr_of<T>(slice: &[T]) -> Addr {
    Addr(slice.as_ptr() as u64)
}

fn range(start: Addr, len: usize) -> MemRange {
    MemRange { start, len }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Both methods of reading this process.
fn both() -> [(ProcDir, Memory); 2] {
    let dir = || ProcDir::open(own_pid()).unwrap();
    let fallen = Memory::new(own_pid());
    fallen.fall_back(&dir(), Errno::EPERM).unwrap();
    [(dir(), Memory::new(own_pid())), (dir(), fallen)]
}

/// The start of a hole: the end of a mapping with nothing mapped after it. The stack's, which the allocator
/// leaves alone.
fn hole() -> Addr {
    let maps = maps::parse(std::fs::File::open("/proc/self/maps").unwrap()).unwrap();
    let stack = maps.iter().find(|map| map.path == "[stack]").unwrap();
    assert!(maps.iter().all(|map| map.start != stack.end), "something is mapped after the stack");
    stack.end
}

#[test]
fn many_ranges_come_back_each_in_its_place() {
    let data = pattern(300_000);
    let ranges: Vec<_> = (0..3000).map(|i| range(Addr(addr_of(&data).0 + i * 97), (i % 100) as usize)).collect();
    for (dir, memory) in both() {
        let mut buf = vec![0xee; ranges.iter().map(|r| r.len).sum::<usize>() + 5];
        let mut got = vec![7; 3];
        memory.read_ranges(&dir, &ranges, &mut buf, &mut got).unwrap();
        assert_eq!(got, ranges.iter().map(|r| r.len).collect::<Vec<_>>());
        let mut at = 0;
        for (i, r) in ranges.iter().enumerate() {
            assert_eq!(buf[at..at + r.len], data[i * 97..i * 97 + r.len], "range {i}");
            at += r.len;
        }
        assert_eq!(buf[at..], [0xee; 5]);
        let stats = memory.stats();
        assert_eq!(stats.bytes, at as u64);
        if memory.backend() == Backend::ProcessVmReadv {
            assert_eq!(stats.syscalls, 3);
        }
    }
}

#[test]
fn a_long_range_takes_several_calls() {
    let data = pattern(20_000_001);
    for (dir, memory) in both() {
        let mut buf = vec![0; data.len() + 100];
        let mut got = Vec::new();
        let ranges = [range(addr_of(&data), 50), range(addr_of(&data), data.len()), range(addr_of(&data), 50)];
        memory.read_ranges(&dir, &ranges, &mut buf, &mut got).unwrap();
        assert_eq!(got, [50, data.len(), 50]);
        assert!(buf[..50] == data[..50] && buf[50..50 + data.len()] == data && buf[50 + data.len()..] == data[..50]);
        assert_eq!(memory.stats().syscalls, 5);
    }
}

#[test]
fn bad_ranges_are_short_and_do_not_affect_others() {
    let data = pattern(10_000);
    let (good, hole) = (addr_of(&data), hole());
    let kernel = Addr(0xffff_8000_0000_0000);
    let top = Addr(u64::MAX - 7);
    for (dir, memory) in both() {
        let ranges = [
            range(Addr(8), 16),
            range(good, 4000),
            range(Addr(hole.0 - 24), 5000),
            range(hole, 1),
            range(good, 0),
            range(kernel, 100),
            range(top, 100),
            range(Addr(good.0 + 100), 7),
            range(Addr(0), 1),
        ];
        let mut buf = vec![0xee; 20_000];
        let mut got = Vec::new();
        memory.read_ranges(&dir, &ranges, &mut buf, &mut got).unwrap();
        assert_eq!(got, [0, 4000, 24, 0, 0, 0, 0, 7, 0], "{:?}", memory.backend());
        assert_eq!(buf[16..4016], data[..4000]);
        // Bytes not read are unchanged.
        assert!(buf[..16].iter().chain(&buf[4016 + 24..4016 + 5000 + 201]).all(|&b| b == 0xee));
        assert_eq!(buf[4016 + 5201..4016 + 5208], data[100..107]);
    }
}

#[test]
fn thousands_of_bad_ranges_cost_a_call_each() {
    let data = pattern(64);
    let (good, hole) = (addr_of(&data), hole());
    let ranges: Vec<_> = (0..5000).map(|i| range(if i % 2 == 0 { hole } else { good }, 8)).collect();
    let memory = Memory::new(own_pid());
    let mut buf = vec![0; 40_000];
    let mut got = Vec::new();
    memory.read_ranges(&ProcDir::open(own_pid()).unwrap(), &ranges, &mut buf, &mut got).unwrap();
    assert!(got.iter().enumerate().all(|(i, &n)| n == (i % 2) * 8));
    assert!(memory.stats().syscalls <= 5005);
}

#[test]
fn a_buffer_that_is_too_short_is_refused() {
    let data = pattern(64);
    for (dir, memory) in both() {
        for ranges in [vec![range(addr_of(&data), 9)], vec![range(addr_of(&data), usize::MAX); 2]] {
            let error = memory.read_ranges(&dir, &ranges, &mut [0; 8], &mut Vec::new()).unwrap_err();
            assert!(matches!(error, ReadError::Io(_)), "{error}");
        }
    }
}

#[test]
fn only_a_refusal_or_a_missing_call_makes_it_fall_back() {
    let dir = ProcDir::open(own_pid()).unwrap();
    for (errno, backend) in [
        (Errno::EPERM, Backend::ProcMem),
        (Errno::ENOSYS, Backend::ProcMem),
        (Errno::ENOMEM, Backend::ProcessVmReadv),
        (Errno::ESRCH, Backend::ProcessVmReadv),
    ] {
        let memory = Memory::new(own_pid());
        assert_eq!(memory.fall_back(&dir, errno).is_ok(), backend == Backend::ProcMem, "{errno}");
        assert_eq!(memory.backend(), backend, "{errno}");
    }
}

#[test]
fn a_process_that_ended_is_gone() {
    let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let dir = ProcDir::open(pid).unwrap();
    let (plain, fallen) = (Memory::new(pid), Memory::new(pid));
    fallen.fall_back(&dir, Errno::ENOSYS).unwrap();
    assert_eq!((plain.backend(), fallen.backend()), (Backend::ProcessVmReadv, Backend::ProcMem));
    child.kill().unwrap();
    child.wait().unwrap();
    for memory in [plain, fallen] {
        let result = memory.read_ranges(&dir, &[range(Addr(0x40_0000), 8)], &mut [0; 8], &mut Vec::new());
        assert_eq!(result, Err(ReadError::Gone { pid }));
    }
    // Too late to fall back.
    assert_eq!(Memory::new(pid).fall_back(&dir, Errno::EPERM), Err(ReadError::Gone { pid }));
}
