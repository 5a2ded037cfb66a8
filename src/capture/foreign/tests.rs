use proptest::prelude::*;

use super::*;
use crate::capture::Session;
use crate::capture::testing::session;
use crate::process::fake::FakeTarget;
use crate::process::{FreezeWhich, ThreadInfo};
use crate::runtime::layout::Layout;
use crate::runtime::mirror::Mirror as _;

const M_ADDR: u64 = 0x10_0000;
const G0: u64 = 0x20_0000;
const CURG: u64 = 0x21_0000;
const STACK: u64 = 0x30_0000;
const TID: Tid = 77;

fn put(bytes: &mut [u8], at: u32, value: u64) {
    bytes[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
}

fn m_bytes(layout: &Layout, calls: u64) -> Vec<u8> {
    let mut bytes = vec![0; layout.m.size as usize];
    put(&mut bytes, layout.m.g0, G0);
    put(&mut bytes, layout.m.curg, CURG);
    put(&mut bytes, layout.m.procid, 77);
    put(&mut bytes, layout.m.ncgocall, calls);
    bytes[layout.m.incgo as usize] = 1;
    bytes
}

fn target(layout: &Layout) -> FakeTarget {
    let mut g0 = vec![0; layout.g.size as usize];
    put(&mut g0, layout.g.sched_sp, STACK + 0x800);
    let mut curg = vec![0; layout.g.size as usize];
    put(&mut curg, layout.g.goid, 9);
    put(&mut curg, layout.g.atomicstatus, 3);
    FakeTarget::new(Arch::Amd64)
        .with_segment(Addr(M_ADDR), m_bytes(layout, 5))
        .with_segment(Addr(G0), g0)
        .with_segment(Addr(CURG), curg)
        .with_segment(Addr(STACK), vec![7; 0x1000])
}

fn blocked(switches: u64) -> BlockedThread {
    BlockedThread { pc: Addr(0x1234), sp: Addr(STACK + 0x100), syscall: Some(0), switches }
}

fn read_it(target: &FakeTarget, session: &Session, frozen: Option<&dyn Frozen>) -> Vec<InC> {
    let (program, runtime) = (session.process().program, session.runtime());
    let m = M::parse(Addr(M_ADDR), &m_bytes(&runtime.layout, 5), &runtime.layout.m).unwrap();
    let mut warnings = Warnings::default();
    let idle = M { incgo: false, ..m };
    let process = GoProcess { target, program, runtime };
    let found = read(process, &[idle, m], frozen, &mut warnings).unwrap();
    assert!(warnings.is_empty());
    found
}

#[test]
fn a_waiting_thread_is_read_up_to_where_c_began() {
    let session = session();
    let layout = &session.runtime().layout;
    let target = target(layout).with_blocked(TID, [blocked(3), blocked(3)]);
    let found = read_it(&target, &session, None);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].stack.len(), found[0].g0_sp, found[0].curg.goid), (0x700, STACK + 0x800, 9));
    assert_eq!((found[0].registers.sp, found[0].registers.pc, found[0].syscall), (STACK + 0x100, 0x1234, Some(0)));
}

#[test]
fn a_thread_that_ran_in_between_is_not_accepted() {
    let session = session();
    let layout = &session.runtime().layout;
    let looks: [&[BlockedThread]; 4] = [
        &[],
        &[blocked(3)],
        &[blocked(3), blocked(4)],
        &[blocked(3), BlockedThread { sp: Addr(STACK + 0x108), ..blocked(3) }],
    ];
    for looks in looks {
        let target = target(layout).with_blocked(TID, looks.iter().copied());
        assert!(read_it(&target, &session, None).is_empty(), "{looks:?}");
    }
}

#[test]
fn another_call_or_another_goroutine_is_not_accepted() {
    let session = session();
    let layout = &session.runtime().layout;
    let changes: [(u32, u64); 4] =
        [(layout.m.ncgocall, 6), (layout.m.curg, CURG + 8), (layout.m.procid, 78), (layout.m.g0, G0 + 8)];
    for (at, value) in changes {
        let target = target(layout).with_blocked(TID, [blocked(3), blocked(3)]);
        target.memory(|memory| memory.put_u64(Addr(M_ADDR + u64::from(at)), value));
        assert!(read_it(&target, &session, None).is_empty(), "{at}");
    }
    let back_in_go = target(layout).with_blocked(TID, [blocked(3), blocked(3)]);
    back_in_go.memory(|memory| memory.put(Addr(M_ADDR + u64::from(layout.m.incgo)), &[0]));
    assert!(read_it(&back_in_go, &session, None).is_empty());
    let running = target(layout).with_blocked(TID, [blocked(3), blocked(3)]);
    running.memory(|memory| memory.put(Addr(CURG + u64::from(layout.g.atomicstatus)), &[2]));
    assert!(read_it(&running, &session, None).is_empty());
}

#[test]
fn a_stopped_thread_need_not_wait() {
    let session = session();
    let layout = &session.runtime().layout;
    let registers = Registers { pc: Addr(0x99), sp: Addr(STACK + 0x7f0), lr: Addr(0), fp: Addr(0x55), g: Addr(0) };
    let target = target(layout).with_registers(TID, registers);
    let target = target.with_thread(ThreadInfo { tid: TID, state: Some('R'), name: "c".into() });
    assert!(read_it(&target, &session, None).is_empty());
    let frozen = target.freeze(&FreezeWhich::Threads(vec![TID])).unwrap();
    let found = read_it(&target, &session, Some(frozen.as_ref()));
    assert_eq!(found[0].registers.others, [(6, 0x55)]);
    assert_eq!((found[0].registers.pc, found[0].stack.len(), found[0].syscall), (0x99, 0x10, None));
}

#[test]
fn a_stack_elsewhere_is_bounded() {
    let session = session();
    let layout = &session.runtime().layout;
    for sp in [STACK + 0x900, 8] {
        let place = BlockedThread { sp: Addr(sp), ..blocked(1) };
        let target = target(layout).with_blocked(TID, [place, place]);
        let found = read_it(&target, &session, None);
        assert_eq!(found[0].stack.len(), if sp == 8 { 0 } else { 0x700 });
    }
}

/// A row by the bytes of a CIE alone: CFA = `cfa`, and further instructions.
fn row(cfa: (u8, u8), more: &[u8]) -> Row {
    use crate::image::test_elf::{R, RX, TestElf};
    let pad = |mut body: Vec<u8>| {
        body.resize((body.len() + 4).next_multiple_of(8) - 4, 0);
        let mut out = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
        out.extend(body);
        out
    };
    // Version 1, no augmentation: addresses of eight bytes, absolute.
    let mut data = pad(vec![0, 0, 0, 0, 1, 0, 1, 0x78, 16, 0x0c, cfa.0, cfa.1, 0x90, 1]);
    let mut body = u32::try_from(data.len() + 4).unwrap().to_le_bytes().to_vec();
    body.extend(0x1000_u64.to_le_bytes());
    body.extend(0x10_u64.to_le_bytes());
    body.extend(more);
    data.extend(pad(body));
    let elf = TestElf::pie().load(0x1000, RX, &[0; 16]).load(0x2000, R, &data);
    let elf = elf.loaded_section(".eh_frame", 0x2000, data.len() as u64).build();
    EhFrame::load(&Elf::parse(Arc::new(elf)).unwrap()).unwrap().unwrap().row(LinkAddr(0x1001)).unwrap()
}

#[test]
fn a_caller_follows_from_what_is_known_and_else_not() {
    let numbers = RegisterNumbers::of(Arch::Amd64);
    let now = Known { pc: 0x1001, sp: 0x8000, others: Vec::new() };
    // Every word of memory holds its own address and a half.
    let word = |addr: u64| Some(addr + 0x10_0000);
    let plain = caller(&row((7, 0x20), &[]), &now, &numbers, true, word).unwrap();
    assert_eq!((plain.sp, plain.pc), (0x8020, 0x10_8018));
    assert_eq!(plain.others, [], "what was not saved stays unknown");
    // rbp was saved at CFA-16
    let saved = caller(&row((7, 0x20), &[0x86, 2]), &now, &numbers, true, word).unwrap();
    assert_eq!(saved.others, [(6, 0x10_8010)]);
    // The CFA is in rbp, which is known only then.
    assert!(caller(&row((6, 0x10), &[]), &now, &numbers, true, word).is_none());
    let with_fp = Known { others: vec![(6, 0x9000)], ..now.clone() };
    assert_eq!(caller(&row((6, 0x10), &[]), &with_fp, &numbers, true, word).unwrap().sp, 0x9010);
    // A caller below, a return address that cannot be read, is nil or undefined.
    let low = Known { others: vec![(6, 0x7000)], ..now.clone() };
    assert!(caller(&row((6, 0x10), &[]), &low, &numbers, true, word).is_none());
    assert!(caller(&row((7, 8), &[]), &now, &numbers, true, |_| None).is_none());
    assert!(caller(&row((7, 8), &[]), &now, &numbers, true, |_| Some(0)).is_none());
    assert!(caller(&row((7, 8), &[0x07, 16]), &now, &numbers, true, word).is_none());
}

#[test]
fn a_link_register_counts_in_the_innermost_frame_only() {
    let numbers = RegisterNumbers::of(Arch::Arm64);
    let now = Known { pc: 0x1001, sp: 0x8000, others: vec![(30, 0x00ff_0000_0000_4444)] };
    let leaf = Row::for_test((31, 0), 30, Vec::new(), numbers.preserved);
    let found = caller(&leaf, &now, &numbers, true, |_| None).unwrap();
    assert_eq!((found.pc, found.sp, found.others.len()), (0x4444, 0x8000, 0));
    assert!(caller(&leaf, &now, &numbers, false, |_| None).is_none());
    let unknown = Known { others: Vec::new(), ..now };
    assert!(caller(&leaf, &unknown, &numbers, true, |_| None).is_none());
    let saved = Row::for_test((31, 0x10), 30, vec![(30, Rule::At(-8))], numbers.preserved);
    assert_eq!(caller(&saved, &unknown, &numbers, false, |_| Some(0x55)).unwrap().pc, 0x55);
}

proptest! {
    #[test]
    fn a_walk_only_goes_up(sp: u64, fp: u64, offset: i64, ra: i64, innermost: bool, memory: u64) {
        let numbers = RegisterNumbers::of(Arch::Amd64);
        let now = Known { pc: 1, sp, others: vec![(6, fp)] };
        for register in [6, 7] {
            let row = Row::for_test((register, offset), 16, vec![(16, Rule::At(ra))], numbers.preserved);
            if let Some(found) = caller(&row, &now, &numbers, innermost, |_| Some(memory)) {
                prop_assert!(found.sp > sp);
                prop_assert_eq!(found.pc, memory);
            }
        }
    }
}
