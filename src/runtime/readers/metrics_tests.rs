use super::*;
use crate::capture::testing::session;
use crate::process::Target as _;
use crate::process::fake::FakeTarget;

const FIRST: u64 = 0x10_0000;
const SECOND: u64 = 0x20_0000;
/// Goroutines that were ever made, dead ones included.
const ALL: u64 = 100;

/// Writes a list of Ps with these numbers of free goroutines, with its array at `array`.
fn list(target: &FakeTarget, allp: Addr, array: u64, at: u32, free: &[i32]) {
    target.memory(|memory| {
        for (nth, free) in (0..).zip(free) {
            let p = array + 0x1000 * (nth + 1);
            memory.put(Addr(array + 8 * nth), &p.to_le_bytes());
            memory.put(Addr(p + u64::from(at)), &free.to_le_bytes());
        }
        memory.put(allp, &array.to_le_bytes());
        memory.put(Addr(allp.0 + 8), &(free.len() as u64).to_le_bytes());
    });
}

#[test]
fn ps_are_read_along_and_looked_for_again_when_they_change() {
    let session = session();
    let (program, runtime) = (session.process().program, session.runtime());
    let at = |global| session.process().addr(global).unwrap();
    let free = FreeGs::of(&runtime.layout).unwrap();
    let target = FakeTarget::new(program.elf.arch())
        .with_segment(at(Global::Sched), vec![0; runtime.layout.sched.size as usize])
        .with_segment(at(Global::Allglen), ALL.to_le_bytes())
        .with_segment(at(Global::Allp), vec![0; 24])
        .with_segment(Addr(FIRST), vec![0; 0x8000])
        .with_segment(Addr(SECOND), vec![0; 0x8000]);
    let set = |array, free_gs: &[i32]| list(&target, at(Global::Allp), array, free.p, free_gs);
    let mut known = None;
    let mut read = || {
        let before = target.stats().syscalls;
        let process = GoProcess { target: &target, program, runtime };
        let found = read_metrics(process, &mut known).unwrap();
        (found.goroutines, target.stats().syscalls - before)
    };
    set(FIRST, &[1, 2]);
    assert_eq!(read(), (Some(ALL - 3), 3), "the list, its array, and the rest");
    assert_eq!(read(), (Some(ALL - 3), 1));
    set(FIRST, &[4, 5]);
    assert_eq!(read(), (Some(ALL - 9), 1), "they have other values");
    // GOMAXPROCS was raised: the array is another one, or has more of the room that it has.
    set(SECOND, &[1, 2, 3]);
    assert_eq!((read(), read()), ((Some(ALL - 6), 4), (Some(ALL - 6), 1)));
    set(SECOND, &[1, 2, 3, 4]);
    assert_eq!((read(), read()), ((Some(ALL - 10), 4), (Some(ALL - 10), 1)));
    // Another P at the same place of the same array.
    target.memory(|memory| memory.put(Addr(SECOND), &(FIRST + 0x1000).to_le_bytes()));
    assert_eq!((read(), read()), ((Some(ALL - 13), 4), (Some(ALL - 13), 1)));
    // A list that is none is not believed, and neither is what was known before.
    for len in [0, MAX_PS + 1, u64::MAX] {
        target.memory(|memory| memory.put(Addr(at(Global::Allp).0 + 8), &len.to_le_bytes()));
        assert_eq!(read().0, None, "{len}");
    }
    set(FIRST, &[1]);
    assert_eq!(read(), (Some(ALL - 1), 3));
}
