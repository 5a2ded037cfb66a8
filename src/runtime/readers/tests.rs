//! The readers on memory that is written by hand, by the offsets that the runtime's source gives for
//! Go 1.26: the tables have no part in it, so a wrong offset cannot cancel out.

use proptest::prelude::*;

use super::collector::{gc_stats, read_gc_controller};
use super::memory::{Mstats, heap_stats, read_mstats};
use super::processors::{place_ps, read_processors, read_ps};
use super::scheduler::read_scheduler;
use super::spans::read_unflushed;
use super::threads::{read_ms, read_threads};
use crate::addr::{Addr, Arch};
use crate::model::{GcPhase, Goid, PStatus, WarningCode, Warnings};
use crate::process::ThreadInfo;
use crate::process::fake::FakeTarget;
use crate::runtime::layout::{Layout, SUPPORTED_MINORS, checked_in};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::g::G;
use crate::runtime::mirror::gc_controller::GcController;
use crate::runtime::mirror::m::M;
use crate::runtime::mirror::p::P;
use crate::runtime::mirror::sched::Sched;
use crate::runtime::rules::Rules;
use crate::runtime::wait_reason::read_wait_reasons;

fn layout(minor: u32) -> Layout {
    Layout::resolve(checked_in(minor, Arch::Amd64).unwrap()).unwrap()
}

const BASE: u64 = 0x10_0000;

/// A process with 1 MiB of zeros.
fn process() -> FakeTarget {
    FakeTarget::new(Arch::Amd64).with_segment(Addr(BASE), vec![0; 1 << 20])
}

fn put(target: &FakeTarget, at: u64, value: u64) {
    target.memory(|memory| memory.put_u64(Addr(at), value));
}

fn put32(target: &FakeTarget, at: u64, value: u32) {
    target.memory(|memory| memory.put(Addr(at), &value.to_le_bytes()));
}

fn codes(warnings: &Warnings) -> Vec<WarningCode> {
    warnings.iter().map(|w| w.code).collect()
}

const M0: u64 = BASE + 0x1000;
const M1: u64 = BASE + 0x2000;
const G7: u64 = BASE + 0x3000;
const G9: u64 = BASE + 0x4000;
const P0: u64 = BASE + 0x1_0000;
const P1: u64 = BASE + 0x2_0000;
const ALLM: u64 = BASE + 0x10;
const ALLP: u64 = BASE + 0x20;

/// Two Ms and two Ps: M 1 runs goroutine 7 on P 0, where 9 is next; M 0 has nothing.
fn scheduler() -> FakeTarget {
    let target = process();
    put(&target, ALLM, M1);
    put(&target, M1 + 352, M0); // alllink
    for (m, id, tid) in [(M0, 0, 100), (M1, 1, 101)] {
        put(&target, m + 64, tid); // procid
        put(&target, m + 232, id); // id
    }
    put(&target, M1 + 184, G7); // curg
    put(&target, M1 + 208, P0); // p
    target.memory(|memory| memory.put(Addr(M0 + 276), &[1, 1])); // spinning, blocked
    put(&target, M1 + 320, 5); // ncgocall
    put(&target, M0 + 384, G9); // lockedg
    put(&target, G7 + 152, 7); // goid
    put(&target, G9 + 152, 9);
    put(&target, ALLP, BASE + 0x100);
    put(&target, ALLP + 8, 2);
    put(&target, ALLP + 16, 2);
    for (n, p) in [P0, P1].into_iter().enumerate() {
        put(&target, BASE + 0x100 + 8 * n as u64, p);
        put32(&target, p, n as u32); // id
    }
    put32(&target, P0 + 4, 1); // status
    put32(&target, P0 + 16, 33); // schedtick
    put32(&target, P0 + 20, 44); // syscalltick
    put(&target, P0 + 48, M1); // m
    put(&target, P0 + 384, 40); // goidcache
    put(&target, P0 + 392, 49); // goidcacheend
    put32(&target, P0 + 400, 250); // runqhead
    put32(&target, P0 + 404, 253); // runqtail
    put(&target, P0 + 2456, G9); // runnext
    put32(&target, P0 + 13672 + 32, 6); // timers.len
    put(&target, P0 + 13792, 11); // goroutinesCreated
    target
}

#[test]
fn ms_and_ps_name_each_other() {
    let (target, layout) = (scheduler(), layout(26));
    let mut warnings = Warnings::default();
    let ps = read_ps(&target, Addr(ALLP), &layout, &mut warnings).unwrap();
    let ms = read_ms(&target, Addr(ALLM), &[Addr(M0), Addr(0), Addr(8)], &layout.m, &mut warnings).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(ms.iter().map(|m| m.id).collect::<Vec<_>>(), [1, 0]);

    let os = [ThreadInfo { tid: 101, state: Some('R'), name: String::new() }];
    let threads = read_threads(&target, &ms, &ps, &os, &layout.g).unwrap();
    let [zero, one] = threads.as_slice() else { panic!("{threads:?}") };
    assert_eq!((zero.id, zero.tid, zero.state, zero.goroutine, zero.p), (0, Some(100), None, None, None));
    assert_eq!((zero.spinning, zero.blocked, zero.locked_goroutine), (true, true, Some(Goid(9))));
    assert_eq!((one.id, one.tid, one.state, one.goroutine, one.p), (1, Some(101), Some('R'), Some(Goid(7)), Some(0)));
    assert_eq!(one.cgo_calls, Some(5));

    let processors = read_processors(&target, &ps, &ms, &layout.g).unwrap();
    let [zero, one] = processors.as_slice() else { panic!("{processors:?}") };
    assert_eq!((zero.id, zero.status, zero.schedtick, zero.syscalltick), (0, PStatus::Running, 33, 44));
    assert_eq!((zero.m, zero.running, zero.run_queue, zero.runnext), (Some(1), Some(Goid(7)), 3, Some(Goid(9))));
    assert_eq!(zero.timers, Some(6));
    assert_eq!((one.id, one.status, one.m, one.running), (1, PStatus::Idle, None, None));
}

#[test]
fn ps_say_whose_layout_is_theirs() {
    let target = scheduler();
    for (n, p) in [P0, P1].into_iter().enumerate() {
        put(&target, p + 56, BASE + 0x5000 + 0x1000 * n as u64); // mcache
    }
    let [old, new] = [19, 26].map(|minor| checked_in(minor, Arch::Amd64).unwrap());
    let place = |layout: &mut Layout, goidgen, tables: &[&_]| place_ps(&target, Addr(ALLP), goidgen, layout, tables);
    let mut found = layout(26);
    assert!(place(&mut found, 48, &[]).unwrap());
    assert_eq!(found, layout(26));
    // 1.19 has m where this one has mcache, and mcache where it has nothing.
    let mut found = layout(19);
    assert!(place(&mut found, 48, &[&old, &new]).unwrap());
    assert_eq!((found.p, found.timer), (layout(26).p, layout(26).timer));
    assert_eq!(found.table.offset("runtime.timers", "len"), Some(32));
    assert!(!place(&mut layout(19), 48, &[&old]).unwrap());
    // More ids than there were goroutines.
    assert!(!place(&mut layout(26), 47, &[]).unwrap());
    // Then they are not shown, nor what they count.
    let mut layout = layout(26);
    layout.unreliable.push(("runtime.p", "m"));
    let mut warnings = Warnings::default();
    let ps = read_ps(&target, Addr(ALLP), &layout, &mut warnings).unwrap();
    assert!(ps.is_empty());
    assert_eq!(codes(&warnings), [WarningCode::FieldRejected]);
    put(&target, SCHED, 48); // goidgen
    let s = read_scheduler(&target, Addr(SCHED), &ps, &layout, &mut warnings).unwrap().unwrap();
    assert_eq!((s.local_run_queues, s.goroutines_created, s.goroutines_created_exact), (None, Some(48), false));
}

#[test]
fn malformed_lists_end() {
    let (target, layout) = (scheduler(), layout(26));
    let mut warnings = Warnings::default();
    put(&target, M0 + 352, M1);
    assert_eq!(read_ms(&target, Addr(ALLM), &[], &layout.m, &mut warnings).unwrap().len(), 2);
    assert_eq!(codes(&warnings), [WarningCode::LimitReached]);

    let mut warnings = Warnings::default();
    put(&target, M0 + 352, 0xdead_0000);
    assert_eq!(read_ms(&target, Addr(ALLM), &[], &layout.m, &mut warnings).unwrap().len(), 2);
    assert_eq!(codes(&warnings), [WarningCode::SchedulerPartUnreadable]);

    let mut warnings = Warnings::default();
    assert!(read_ms(&target, Addr(8), &[], &layout.m, &mut warnings).unwrap().is_empty());
    put(&target, ALLP, BASE + 0x8_0000); // where zeros follow two Ps
    put(&target, BASE + 0x8_0000, P0);
    put(&target, BASE + 0x8_0008, P1);
    put(&target, ALLP + 8, u64::MAX);
    assert_eq!(read_ps(&target, Addr(ALLP), &layout, &mut warnings).unwrap().len(), 2);
    let unreadable = WarningCode::SchedulerPartUnreadable;
    assert_eq!(codes(&warnings), [unreadable, WarningCode::LimitReached, unreadable]);
}

const SCHED: u64 = BASE + 0x8000;

#[test]
fn the_scheduler_counts() {
    let (target, layout) = (scheduler(), layout(26));
    put(&target, SCHED, 48); // goidgen
    put32(&target, SCHED + 64, 2); // nmidle
    put(&target, SCHED + 72, 7); // mnext
    put32(&target, SCHED + 80, 10_000); // maxmcount
    put(&target, SCHED + 88, 3); // nmfreed
    put32(&target, SCHED + 96, 4); // ngsys
    put32(&target, SCHED + 112, 1); // npidle
    put32(&target, SCHED + 116, 1); // nmspinning
    put32(&target, SCHED + 128 + 16, 12); // runq.size
    put32(&target, SCHED + 264, 1); // gcwaiting
    put(&target, SCHED + 6864, 100); // goroutinesCreated
    let mut warnings = Warnings::default();
    let ps = read_ps(&target, Addr(ALLP), &layout, &mut warnings).unwrap();
    let s = read_scheduler(&target, Addr(SCHED), &ps, &layout, &mut warnings).unwrap().unwrap();
    assert_eq!((s.threads, s.freed_threads, s.max_threads), (Some(4), Some(3), Some(10_000)));
    assert_eq!((s.idle_threads, s.spinning_threads, s.idle_processors), (Some(2), Some(1), Some(1)));
    assert_eq!((s.global_run_queue, s.local_run_queues, s.system_goroutines), (Some(12), Some(4), Some(4)));
    let unreliable = vec![("runtime.schedt", "runq"), ("runtime.schedt", "gcwaiting")];
    let doubted = Layout { unreliable, ..layout.clone() };
    let less = read_scheduler(&target, Addr(SCHED), &ps, &doubted, &mut warnings).unwrap().unwrap();
    assert_eq!((less.global_run_queue, less.stopping_the_world, less.threads), (None, None, s.threads));
    assert_eq!((s.goroutines_created, s.goroutines_created_exact), (Some(111), true));
    assert_eq!(s.stopping_the_world, Some(true));
    assert!(warnings.is_empty());

    // A count below zero is not shown as a large one.
    put32(&target, SCHED + 64, u32::MAX);
    let s = read_scheduler(&target, Addr(SCHED), &ps, &layout, &mut warnings).unwrap().unwrap();
    assert_eq!((s.idle_threads, codes(&warnings)), (None, vec![WarningCode::FieldRejected]));
    assert_eq!(read_scheduler(&target, Addr(8), &ps, &layout, &mut warnings).unwrap(), None);
}

#[test]
fn older_runtimes_tell_what_was_created_by_their_ids() {
    // 1.24: ids up to 64 were handed out to Ps, which have 9 left.
    let layout = layout(24);
    let target = process();
    put(&target, SCHED, 64); // goidgen
    put(&target, SCHED + 48, 1); // mnext
    put32(&target, SCHED + 120, 3); // runqsize
    let ps = [P { goidcache: 1, goidcacheend: 10, ..P::default() }];
    let s = read_scheduler(&target, Addr(SCHED), &ps, &layout, &mut Warnings::default()).unwrap().unwrap();
    assert_eq!((s.goroutines_created, s.goroutines_created_exact), (Some(55), false));
    assert_eq!(s.global_run_queue, Some(3));
}

const MEMSTATS: u64 = BASE + 0x3_0000;
const CONTROLLER: u64 = BASE + 0x4_0000;

#[test]
fn the_heap_is_the_sum_of_three_parts_and_of_what_ps_hold() {
    let (target, layout) = (process(), layout(26));
    for delta in 0..3 {
        let at = MEMSTATS + 1168 * delta;
        put(&target, at + 24, 1000); // inStacks
        put(&target, at + 32, 10); // inWorkBufs
        put(&target, at + 40, 1); // tinyAllocCount
        put(&target, at + 48, 100_000); // largeAlloc
        put(&target, at + 56, 2); // largeAllocCount
        put(&target, at + 64 + 8 * 2, 10); // smallAllocCount of class 2: 16 bytes
        put(&target, at + 608, 40_000); // largeFree
        put(&target, at + 616, 1); // largeFreeCount
        put(&target, at + 624 + 8 * 67, 1); // smallFreeCount of class 67: 32768 bytes
    }
    // One of the deltas is below zero, as they may be; the sum is not.
    put(&target, MEMSTATS + 24, 500_u64.wrapping_neg());
    for (at, value) in [(3520, 1), (3528, 2), (3536, 3), (3544, 4), (3552, 5), (3560, 6)] {
        put(&target, MEMSTATS + at, value);
    }
    // Two pauses, and a ring that has wrapped around once: the newest is at index 1.
    put32(&target, MEMSTATS + 7680, 258); // numgc
    put32(&target, MEMSTATS + 7684, 9); // numforcedgc
    put(&target, MEMSTATS + 3584 + 8, 70); // pause_ns[1]
    put(&target, MEMSTATS + 5632 + 8, 7_000); // pause_end[1]
    put(&target, MEMSTATS + 3584, 60);
    put(&target, MEMSTATS + 3568, 123); // last_gc_unix
    put(&target, MEMSTATS + 7688, 0.25_f64.to_bits()); // gc_cpu_fraction
    put(&target, MEMSTATS + 10432, 1); // enablegc
    put32(&target, CONTROLLER, 100); // gcPercent
    put(&target, CONTROLLER + 8, i64::MAX.unsigned_abs()); // memoryLimit
    put(&target, CONTROLLER + 72, 4 << 20); // gcPercentHeapGoal
    put(&target, CONTROLLER + 88, u64::MAX); // triggered
    put(&target, CONTROLLER + 104, 77); // heapLive
    for (at, value) in [(272, 5000), (280, 600), (288, 70)] {
        put(&target, CONTROLLER + at, value);
    }
    // One P: two spans of which it has used some, and two tiny objects.
    let (cache, span) = (BASE + 0x5_0000, BASE + 0x6_0000);
    put(&target, cache + 40, 2); // tinyAllocs
    put(&target, cache + 48 + 8 * 4, span); // alloc[4]
    put(&target, cache + 48 + 8 * 5, span); // the same again: what is shared counts once
    target.memory(|memory| memory.put(Addr(span + 96), &7_u16.to_le_bytes())); // allocCount
    target.memory(|memory| memory.put(Addr(span + 102), &4_u16.to_le_bytes())); // allocCountBeforeCache
    put(&target, span + 104, 48); // elemsize

    let mut warnings = Warnings::default();
    let ps = [P { mcache: cache, ..P::default() }];
    let mstats = read_mstats(&target, Addr(MEMSTATS), &layout, &mut warnings).unwrap().unwrap();
    let gc = read_gc_controller(&target, Addr(CONTROLLER), &layout, &mut warnings).unwrap().unwrap();
    let held = read_unflushed(&target, &ps, &layout).unwrap();
    let heap = heap_stats(&mstats, &gc, &held, &layout).unwrap();
    assert_eq!(heap.total_alloc, 3 * (100_000 + 10 * 16) + 3 * 48);
    assert_eq!(heap.heap_alloc, heap.total_alloc - 3 * (40_000 + 32_768));
    assert_eq!((heap.mallocs, heap.frees, heap.heap_objects), (36 + 3 + 5, 6 + 5, 33));
    assert_eq!((heap.heap_inuse, heap.heap_released, heap.heap_idle, heap.heap_sys), (5000, 600, 670, 5670));
    assert_eq!((heap.stack_inuse, heap.stack_sys, heap.gc_sys), (1500, 1501, 5 + 30));
    assert_eq!(heap.sys, 5670 + 1501 + 2 + 3 + 4 + 35 + 6);
    assert_eq!(heap.heap_live, Some(77));

    let stats = gc_stats(&mstats, Some(&gc), Some(1), Rules::of(26), &layout).unwrap();
    assert_eq!((stats.cycles, stats.forced_cycles, stats.recent_pauses.len()), (258, 9, 256));
    assert_eq!((stats.recent_pauses[0].duration_ns, stats.recent_pauses[0].end_unix_ns), (70, 7_000));
    assert_eq!(stats.recent_pauses[1].duration_ns, 60);
    assert_eq!((stats.next_goal, stats.memory_limit, stats.gc_percent), (Some(4 << 20), None, Some(100)));
    assert_eq!((stats.phase, stats.last_unix_ns), (Some(GcPhase::Mark), Some(123)));
    assert!((stats.cpu_fraction - 0.25).abs() < f64::EPSILON);
    assert_eq!(stats.enabled, Some(true));
    assert!(warnings.is_empty());
}

#[test]
fn wait_reasons_are_the_targets_own_words() {
    let target = process();
    let texts = ["", "GC assist marking", "IO wait", "made up today"];
    for (n, text) in texts.iter().enumerate() {
        let at = BASE + 0x500 + 64 * n as u64;
        target.memory(|memory| memory.put(Addr(at), text.as_bytes()));
        put(&target, BASE + 16 * n as u64, at);
        put(&target, BASE + 16 * n as u64 + 8, text.len() as u64);
    }
    // Other data follow the table.
    put(&target, BASE + 64, 0x1234);
    put(&target, BASE + 72, u64::MAX);
    let read = read_wait_reasons(&target, Addr(BASE), 5).unwrap().unwrap();
    assert_eq!(read, ["", "GC assist marking", "IO wait", "made up today", ""]);
    assert_eq!(read_wait_reasons(&target, Addr(BASE + 16), 3).unwrap(), None);
    assert_eq!(read_wait_reasons(&target, Addr(8), usize::MAX).unwrap(), None);
}

proptest! {
    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..20_000), which in any::<usize>()) {
        let minor = SUPPORTED_MINORS[which % SUPPORTED_MINORS.len()];
        let layout = layout(minor);
        let _ = G::parse(Addr(1), &bytes, &layout.g).map(|g| (g.status(), g.start_sp(), g.stack_is_readable()));
        let _ = M::parse(Addr(1), &bytes, &layout.m);
        let _ = P::parse(Addr(1), &bytes, &layout.p).map(|p| p.status());
        let _ = Sched::parse(Addr(1), &bytes, &layout.sched).map(|s| s.threads());
        let gc = GcController::parse(Addr(1), &bytes, &layout.gc_controller);
        if let Some(mstats) = Mstats::parse(&bytes, &layout) {
            let _ = gc_stats(&mstats, gc.as_ref(), Some(u32::MAX), Rules::of(minor), &layout);
        }
    }

    #[test]
    fn any_memory_is_read(bytes in proptest::collection::vec(any::<u8>(), 1..60_000), at in 0_u64..60_000) {
        let target = FakeTarget::new(Arch::Amd64).with_segment(Addr(0), bytes);
        let layout = layout(26);
        let mut warnings = Warnings::default();
        let ps = read_ps(&target, Addr(at), &layout, &mut warnings).unwrap();
        let ms = read_ms(&target, Addr(at), &[Addr(at)], &layout.m, &mut warnings).unwrap();
        let _ = read_threads(&target, &ms, &ps, &[], &layout.g).unwrap();
        let _ = read_processors(&target, &ps, &ms, &layout.g).unwrap();
        let _ = read_scheduler(&target, Addr(at), &ps, &layout, &mut warnings).unwrap();
        let mstats = read_mstats(&target, Addr(at), &layout, &mut warnings).unwrap();
        let gc = read_gc_controller(&target, Addr(at), &layout, &mut warnings).unwrap();
        if let Some((mstats, gc)) = mstats.zip(gc) {
            let held = read_unflushed(&target, &ps, &layout).unwrap();
            let _ = heap_stats(&mstats, &gc, &held, &layout);
        }
        let _ = read_wait_reasons(&target, Addr(at), 64).unwrap();
    }
}
