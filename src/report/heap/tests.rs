use super::*;
use crate::addr::Addr;
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{
    AllocationSite, ContentionKind, ContentionProfile, ContentionSite, Frame, GcStats, HeapStats, Language,
    ProfileStack, SpanCache, Stack, StackFrame,
};

const MIB: u64 = 1 << 20;

fn stack(symbols: &mut SymbolPool, functions: &[(&str, &str, u32)]) -> ProfileStack {
    let frames = functions.iter().zip(1_u64..).map(|(&(function, file, line), n)| {
        let (name, file) = (symbols.intern_str(function), symbols.intern_str(file));
        let (pc, entry) = (Addr(0x40_0000 + n * 0x100 + u64::from(line)), Addr(0x40_0000 + n * 0x100));
        let language = Language::Go;
        let frame = Frame { function: name, file, line, start_line: 0, pc, entry, inlined: false, language };
        let frame = symbols.intern_frame(frame);
        StackFrame { frame, sp_offset: 0, fp_offset: 0, hidden: function.starts_with("runtime.") }
    });
    let frames: Vec<StackFrame> = frames.collect();
    let pcs = (1..=functions.len() as u64).map(|n| Addr(0x40_0000 + n * 0x100)).collect();
    let hidden = frames.iter().position(|frame| !frame.hidden).unwrap_or(0);
    ProfileStack { pcs, recorded: frames.len(), hidden, stack: symbols.intern_stack(Stack { frames }) }
}

pub(super) fn profile() -> AllocationProfile {
    let mut symbols = SymbolPool::default();
    let mut site = |functions: &[(&str, &str, u32)], size, allocs, frees| AllocationSite {
        stack: stack(&mut symbols, functions),
        size,
        allocs,
        frees,
        alloc_bytes: size * allocs,
        free_bytes: size * frees,
    };
    let main = ("main.main", "/app/main.go", 10);
    let sites = vec![
        site(
            &[("runtime.makeslice", "/go/slice.go", 7), ("main.(*Cache).put", "/app/cache.go", 31), main],
            4096,
            900,
            1,
        ),
        site(
            &[("strings.Repeat", "/go/src/strings/strings.go", 612), ("main.pad", "/app/pad.go", 4), main],
            512,
            10,
            9,
        ),
        site(&[("main.(*Cache).put", "/app/cache.go", 31), main], 48, 7, 0),
    ];
    AllocationProfile { rate: Some(524_288), linked: true, cycle: 9, sites, symbols, ..AllocationProfile::default() }
}

pub(super) fn snapshot() -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    for id in 1..=3 {
        builder.add(&GoroutineSpec {
            id,
            reason: Some("chan receive"),
            frames: vec![frame("runtime.gopark", "/go/proc.go", 1), frame("main.worker", "/app/worker.go", 12)],
            ..Default::default()
        });
    }
    let mut snapshot = builder.build();
    snapshot.target.module.path = Some("main".to_owned());
    snapshot.heap = Some(HeapStats {
        heap_alloc: 470 * MIB,
        heap_objects: 120_000,
        heap_inuse: 500 * MIB,
        heap_idle: 40 * MIB,
        heap_released: 30 * MIB,
        heap_sys: 540 * MIB,
        heap_live: Some(450 * MIB),
        heap_marked: Some(440 * MIB),
        stack_sys: MIB,
        gc_sys: 9 * MIB,
        sys: 560 * MIB,
        ..HeapStats::default()
    });
    snapshot.gc = Some(GcStats {
        next_goal: Some(900 * MIB),
        gc_percent: Some(100),
        memory_limit: Some(2048 * MIB),
        ..GcStats::default()
    });
    snapshot.target.resources.memory_limit_bytes = Some(1024 * MIB);
    snapshot.target.resources.memory_used_bytes = Some(600 * MIB);
    snapshot
}

pub(super) fn classes() -> SizeClasses {
    let class = |class, object_size, objects, spans| SizeClass {
        class,
        object_size,
        objects,
        bytes: objects * object_size,
        noscan_bytes: 0,
        spans,
        span_bytes: spans * 8192,
    };
    let large = SizeClass { bytes: 64 * MIB, span_bytes: 64 * MIB, spans: 2, objects: 2, ..SizeClass::default() };
    let caches = vec![SpanCache { p: 0, spans: 2, span_bytes: 16_384, unused_bytes: 5_000 }];
    SizeClasses { classes: vec![large, class(4, 48, 1_000, 10), class(36, 4_096, 900, 600)], caches, odd: 1 }
}

fn text(contents: &Contents<'_>, limit: usize, verbose: bool) -> String {
    let mut out = Vec::new();
    let style = TextStyle { width: Some(80), colour: false };
    write(&mut out, contents, Options { style, limit, verbose }).unwrap();
    String::from_utf8(out).unwrap()
}

/// What people see at 80 columns, with and without a profile.
#[test]
fn the_screen_looks_as_it_did() {
    let (snapshot, classes, profile) = (snapshot(), classes(), profile());
    let index = Index::new(&snapshot);
    let contents = Contents { index: &index, classes: Some(Ok(&classes)), profile: Ok(&profile) };
    let off = AllocationProfile { rate: Some(0), ..AllocationProfile::default() };
    let damaged = HeapError::NoHeap("it is not there".to_owned());
    let without = Contents { index: &index, classes: Some(Err(&damaged)), profile: Ok(&off) };
    let all = [text(&contents, 2, false), text(&contents, 8, true), text(&without, 8, false)].join("\n=====\n\n");
    assert!(all.lines().all(|line| line.chars().count() <= 80), "{all}");
    crate::report::golden::compare("heap/heap.txt", &all);
}

/// Contention, with and without a clock, and where there is none.
#[test]
fn contention_looks_as_it_did() {
    let snapshot = snapshot();
    let mut symbols = SymbolPool::default();
    let functions = [("sync.(*Mutex).Unlock", "/go/src/sync/mutex.go", 60), ("main.transfer", "/app/bank.go", 77)];
    let site = ContentionSite { stack: stack(&mut symbols, &functions), count: 40.0, cycles: 2_500_000_000 };
    let profile = |kind, rate, ticks_per_second, sites: Vec<ContentionSite>, symbols| ContentionProfile {
        kind,
        rate,
        ticks_per_second,
        scale: 1,
        sites,
        symbols,
        reading: ProfileReading::default(),
    };
    let mutex = || profile(ContentionKind::Mutex, Some(5), Some(2.5e9), vec![site.clone()], symbols.view());
    let profiles = [
        profile(ContentionKind::Block, Some(0), Some(2.5e9), Vec::new(), SymbolPool::default()),
        mutex(),
        ContentionProfile { ticks_per_second: None, ..mutex() },
    ];
    let mut out = Vec::new();
    let style = TextStyle { width: Some(80), colour: false };
    crate::report::contention::write(&mut out, style, &snapshot, &profiles, 8).unwrap();
    crate::report::golden::compare("heap/contention.txt", &String::from_utf8(out).unwrap());
}
