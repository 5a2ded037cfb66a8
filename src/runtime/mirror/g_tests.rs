use proptest::prelude::*;

use super::*;
use crate::addr::{Addr, Arch};
use crate::runtime::layout::{Layout, checked_in};
use crate::runtime::mirror::Mirror as _;

fn layout(minor: u32) -> Layout {
    Layout::resolve(checked_in(minor, Arch::Amd64).unwrap()).unwrap()
}

/// Puts `value` at the place that the runtime's source gives, independent of the tables.
fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn fields_are_where_go_1_26_has_them() {
    let layout = layout(26);
    let mut bytes = vec![0; 456];
    put(&mut bytes, 0, 0xc000_1000); // stack.lo
    put(&mut bytes, 8, 0xc000_1800); // stack.hi
    put(&mut bytes, 48, 0x77); // m
    put(&mut bytes, 56, 0xc000_1400); // sched.sp
    put(&mut bytes, 64, 0x401000); // sched.pc
    put(&mut bytes, 56 + 32, 0x402000); // sched.lr
    bytes[144..148].copy_from_slice(&0x1004_u32.to_le_bytes()); // waiting, held by the collector
    put(&mut bytes, 152, 42); // goid
    put(&mut bytes, 168, 1234); // waitsince
    bytes[176] = 19; // waitreason
    bytes[191] = 7; // trackingSeq
    put(&mut bytes, 280, 1); // parentGoid
    put(&mut bytes, 288, 0x403000); // gopc
    put(&mut bytes, 304, 0x404000); // startpc
    put(&mut bytes, 368, 99); // sleepWhen
    put(&mut bytes, 392, 0xb0b); // bubble
    let g = G::parse(Addr(0), &bytes, &layout.g).unwrap();
    assert_eq!((g.stack_lo, g.stack_hi, g.m), (0xc000_1000, 0xc000_1800, 0x77));
    assert_eq!((g.sched_sp, g.sched_pc, g.sched_lr), (0xc000_1400, 0x401000, 0x402000));
    assert_eq!((g.status(), g.scan(), g.goid), (Status::Waiting, true, 42));
    assert_eq!((g.waitsince, g.waitreason, g.tracking_seq), (1234, 19, 7));
    assert_eq!((g.parent_goid, g.gopc, g.startpc), (Some(1), 0x403000, 0x404000));
    assert_eq!((g.sleep_when, g.bubble), (Some(99), Some(0xb0b)));
    assert_eq!(G::parse(Addr(0), &bytes[..400], &layout.g).unwrap().bubble, Some(0xb0b));
    assert_eq!(G::parse(Addr(0), &bytes[..300], &layout.g), None);
}

#[test]
fn a_stack_must_hold_its_stack_pointer() {
    let g = G { stack_lo: 0x1000, stack_hi: 0x3000, sched_sp: 0x2000, ..G::default() };
    assert!(g.stack_is_readable());
    assert!(G { syscallsp: 0x3000, ..g }.stack_is_readable());
    assert!(!G { syscallsp: 0x3008, ..g }.stack_is_readable());
    assert!(!G { sched_sp: 0x2004, ..g }.stack_is_readable());
    assert!(!G { stack_lo: 0, ..g }.stack_is_readable());
    assert!(!G { stack_hi: 0xfff, ..g }.stack_is_readable());
    assert!(!G { stack_hi: u64::MAX, ..g }.stack_is_readable());
}

#[test]
fn fields_that_a_version_lacks_are_none() {
    let layout = layout(19);
    let g = G::parse(Addr(0), &[0; 392], &layout.g).unwrap();
    assert_eq!((g.parent_goid, g.sleep_when, g.coroarg, g.bubble), (None, None, None, None));
    assert_eq!(g.status(), Status::Idle);
}

proptest! {
    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..500), minor in 18_u32..28) {
        if let Some(table) = checked_in(minor, Arch::Arm64) {
            let layout = Layout::resolve(table).unwrap();
            if let Some(g) = G::parse(Addr(0), &bytes, &layout.g) {
                let _ = g.status();
            }
        }
    }
}
