//! Goroutines that change while they are read closely, at a read of the test's choosing.

use std::sync::Arc;

use super::*;
use crate::addr::Arch;
use crate::capture::fields::Checks;
use crate::process::fake::{FakeMemory, FakeTarget, ReadOutcome};
use crate::runtime::layout::{Layout, checked_in};
use crate::runtime::wait_reason::ReasonSet;

const G: u64 = 0xc0_0000_1000;
const STACK: u64 = 0xc0_0001_0000;
const SP: u64 = STACK + 0x700;
const WAITING: u32 = 4;
const SELECT: u8 = 1;
const COROUTINE: u8 = 2;

fn layout() -> Layout {
    Layout::resolve(checked_in(26, Arch::Amd64).unwrap()).unwrap()
}

fn plan() -> Plan {
    let layout = layout();
    let reasons = ["", "select", "coroutine"].map(str::to_owned);
    Plan {
        g: layout.g,
        syscalltick: layout.m.syscalltick.into(),
        counted: ReasonSet::counted(&reasons),
        checks: Arc::new(Checks::default()),
        stacks: true,
        window: 1 << 20,
        validate: true,
        stopped: Arc::default(),
        displaced: Arc::default(),
        kept: Arc::default(),
    }
}

fn put(memory: &mut FakeMemory, offset: u32, value: u64, len: usize) {
    memory.put(Addr(G + u64::from(offset)), &value.to_le_bytes()[..len]);
}

/// A goroutine that waits for `reason`, with a stack of 0x100 bytes in use.
fn process(reason: u8) -> FakeTarget {
    let g = layout().g;
    let target = FakeTarget::new(Arch::Amd64)
        .with_segment(Addr(G), vec![0; 0x1000])
        .with_segment(Addr(STACK), vec![0x55; 0x800]);
    target.memory(|memory| {
        put(memory, g.stack, STACK, 8);
        put(memory, g.stack + 8, STACK + 0x800, 8);
        put(memory, g.sched, SP, 8);
        put(memory, g.atomicstatus, WAITING.into(), 4);
        put(memory, g.goid, 7, 8);
        put(memory, g.waitreason, reason.into(), 1);
    });
    target
}

/// How many ranges are read of it, and whether it is accepted.
fn read(target: &FakeTarget) -> (u64, bool) {
    let plan = plan();
    let mut close = Close::default();
    close.read(target, &plan, &[G]).unwrap();
    let raw = close.iter(&plan).next().unwrap();
    assert_eq!((raw.addr, raw.stack_start, raw.stack.len()), (Addr(G), SP, 0x100));
    (target.reads(), raw.still)
}

#[test]
fn stacks_are_read_as_often_as_their_wait_requires() {
    // The header from which is planned; header, stack, header.
    assert_eq!(read(&process(SELECT)), (1 + 3, true));
    // Header, stack, header, stack, header, stack, header.
    assert_eq!(read(&process(COROUTINE)), (1 + 7, true));
    // An unknown reason is no proof.
    assert_eq!(read(&process(99)), (1 + 7, true));
}

#[test]
fn a_stack_that_changes_between_two_readings_is_not_accepted() {
    // Reads 2, 4 and 6 are those of the stack.
    for at in 3..=6 {
        let target = process(COROUTINE).at_read(at, |_, memory| {
            memory.put(Addr(SP + 8), &[1]);
            ReadOutcome::Normal
        });
        assert_eq!(read(&target), (8, false), "{at}");
    }
    // When it changed before the first reading, all are of the same one.
    let target = process(COROUTINE).at_read(2, |_, memory| {
        memory.put(Addr(SP + 8), &[1]);
        ReadOutcome::Normal
    });
    assert_eq!(read(&target), (8, true));
}

#[test]
fn one_that_runs_between_two_readings_is_not_accepted() {
    let g = layout().g;
    // Read 1 is the first header; it runs during any of them, and waits again.
    for (reason, last) in [(SELECT, 3), (COROUTINE, 7)] {
        for at in 2..=last {
            let status = move |status: u32| {
                move |_: MemRange, memory: &mut FakeMemory| {
                    put(memory, g.atomicstatus, status.into(), 4);
                    ReadOutcome::Normal
                }
            };
            let target = process(reason).at_read(at, status(2)).at_read(at + 1, status(WAITING));
            let is_header = at % 2 == 1;
            assert_eq!(read(&target).1, !is_header, "{reason} {at}");
            // The runtime counts it when it stops running for a reason of its own.
            let target = process(reason).at_read(at, move |_, memory| {
                put(memory, g.tracking_seq, 1, 1);
                ReadOutcome::Normal
            });
            assert!(!read(&target).1, "{reason} {at}");
        }
    }
}

#[test]
fn what_was_planned_for_another_state_is_not_accepted() {
    let g = layout().g;
    // It waited in a select when it was planned, and waits as a coroutine when it is read.
    let target = process(SELECT).at_read(1, move |_, memory| {
        put(memory, g.waitreason, COROUTINE.into(), 1);
        ReadOutcome::Normal
    });
    assert_eq!(read(&target), (4, false));
    // Its stack has moved.
    let target = process(SELECT).at_read(1, move |_, memory| {
        put(memory, g.sched, SP + 8, 8);
        ReadOutcome::Normal
    });
    assert_eq!(read(&target), (4, false));
}

#[test]
fn system_calls_are_counted_by_their_thread() {
    let layout = layout();
    let m = STACK + 0x100;
    let in_syscall = || {
        let target = process(0);
        target.memory(|memory| {
            put(memory, layout.g.atomicstatus, 3, 4);
            put(memory, layout.g.syscallsp, SP, 8);
            put(memory, layout.g.m, m, 8);
        });
        target
    };
    let target = in_syscall();
    let tick = Addr(m + u64::from(layout.m.syscalltick));
    target.memory(|memory| memory.put(tick, &5_u32.to_le_bytes()));
    assert_eq!(read(&target), (1 + 3 * 3 + 2, true));
    for at in 3..=11 {
        let target = in_syscall().at_read(at, move |_, memory| {
            memory.put(tick, &6_u32.to_le_bytes());
            ReadOutcome::Normal
        });
        assert_eq!(read(&target).1, at > 10, "{at}");
    }
}
