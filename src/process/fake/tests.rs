//! Tests of the test double itself.

use super::*;
use crate::process::TargetExt;
use proptest::prelude::*;

fn target() -> FakeTarget {
    FakeTarget::new(Arch::Amd64).with_segment(Addr(0x1000), [1, 2, 3, 4]).with_segment(Addr(0x2000), [9; 16])
}

#[test]
fn reads_stop_at_holes_and_ranges_keep_their_places() {
    let target = target();
    let mut buf = [0xee; 12];
    let mut got = Vec::new();
    let range = |start, len| MemRange { start: Addr(start), len };
    target.read_ranges(&[range(0x1002, 5), range(0x500, 3), range(0x2000, 4)], &mut buf, &mut got).unwrap();
    assert_eq!(got, [2, 0, 4]);
    assert_eq!(buf, [3, 4, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 9, 9, 9, 9]);
    assert_eq!(target.mappings().unwrap().len(), 2);
    assert_eq!((target.reads(), target.stats()), (3, ReadStats { syscalls: 1, bytes: 6 }));
}

#[test]
fn hooks_fail_shorten_and_change_on_schedule() {
    let gone = ReadError::Gone { pid: 1234 };
    let failing = gone.clone();
    let target = target()
        .at_read(1, |_, memory| {
            memory.put(Addr(0x1000), &[7]);
            ReadOutcome::Normal
        })
        .at_read(2, |_, _| ReadOutcome::Short(1))
        .at_read(3, |_, _| ReadOutcome::Fails(failing))
        .at_read(4, |range, memory| {
            memory.unmap(range.start, Addr(range.start.0 + 2));
            ReadOutcome::Normal
        });
    let read = || target.read_array::<2>(Addr(0x1000));
    assert_eq!(read().unwrap(), Some([1, 2]));
    assert_eq!(read().unwrap(), Some([7, 2]));
    assert_eq!(read().unwrap(), None);
    assert_eq!(read(), Err(gone));
    assert_eq!(read().unwrap(), None);
    assert_eq!(target.read_array::<2>(Addr(0x1002)).unwrap(), Some([3, 4]));
}

#[test]
fn clocks_and_freezes_are_as_scripted() {
    let clock = |monotonic_ns| Clock { monotonic_ns, unix_ns: 5 };
    let thread = |tid| ThreadInfo { tid, state: Some('S'), name: String::new() };
    let registers = Registers { pc: Addr(1), sp: Addr(2), lr: Addr(0), fp: Addr(3), g: Addr(4) };
    let target = target()
        .with_clocks([clock(10), clock(20)])
        .with_thread(thread(8))
        .with_thread(thread(7))
        .with_registers(8, registers);
    assert_eq!([target.clock(), target.clock(), target.clock()], [clock(10), clock(20), clock(20)]);
    let all = target.freeze(&FreezeWhich::All).unwrap();
    assert_eq!((all.threads(), all.registers(8), all.registers(7)), (&[7, 8][..], Some(registers), None));
    assert!(all.resume().unwrap() > Duration::ZERO);
    let one = target.freeze(&FreezeWhich::Threads(vec![7, 99])).unwrap();
    assert_eq!((one.threads(), one.registers(8)), (&[7][..], None));
    assert_eq!(target.freezes(), 2);
}

proptest! {
    #[test]
    fn memory_is_an_array_with_holes(steps in proptest::collection::vec((0_usize..64, 0_usize..20, any::<Option<u8>>()), 0..40)) {
        let mut model = [None; 100];
        let mut memory = FakeMemory::default();
        for (start, len, put) in steps {
            model[start..start + len].fill(put);
            match put {
                Some(byte) => memory.put(Addr(start as u64), &vec![byte; len]),
                None => memory.unmap(Addr(start as u64), Addr((start + len) as u64)),
            }
        }
        for start in 0..100 {
            let expected: Vec<u8> = model[start..].iter().map_while(|&byte| byte).collect();
            let mut buf = [0; 100];
            let n = memory.read(Addr(start as u64), &mut buf);
            prop_assert_eq!(&buf[..n], expected.as_slice());
        }
    }
}
