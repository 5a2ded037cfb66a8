//! Snapshots made by hand, for tests of everything that works on snapshots.
//!
//! Not for use in a program: nothing here reads anything, and the numbers are invented. The feature `testing`
//! makes it available to other crates' tests.

pub mod waiting;

use std::sync::Arc;

use std::cell::RefCell;
use std::num::NonZeroU64;

use super::{
    Consistency, Frame, FrameId, GcPhase, GcStats, Goid, Goroutine, HeapStats, Label, Language, ModuleInfo, NotShown,
    PStatus, Pause, Processor, Provenance, Reading, Resources, Scheduler, Shared, Snapshot, Stack, StackFrame,
    StackState, Status, StrId, SymbolPool, TargetInfo, TextMapping, Thread, WaitReasonId, Warnings,
};
use crate::addr::Addr;

/// One frame of a [`GoroutineSpec`].
#[derive(Clone, Debug)]
pub struct FrameSpec<'a> {
    /// Function's name as the runtime has it.
    pub function: &'a str,
    /// Source file.
    pub file: &'a str,
    /// Line in it.
    pub line: u32,
    /// Whether it was inlined into the next.
    pub inlined: bool,
    /// Whether it comes from C.
    pub foreign: bool,
}

/// A Go frame that was not inlined.
#[must_use]
pub fn frame<'a>(function: &'a str, file: &'a str, line: u32) -> FrameSpec<'a> {
    FrameSpec { function, file, line, inlined: false, foreign: false }
}

/// The properties of a goroutine; the rest is derived.
#[derive(Clone, Debug)]
pub struct GoroutineSpec<'a> {
    /// Its id.
    pub id: u64,
    /// Its status.
    pub status: Status,
    /// Why it waits.
    pub reason: Option<&'a str>,
    /// For how long it has been blocked, ns.
    pub wait_ns: Option<u64>,
    /// Its stack, innermost first; frames of the runtime are hidden. Empty for none.
    pub frames: Vec<FrameSpec<'a>>,
    /// The `go` statement.
    pub creator: Option<FrameSpec<'a>>,
    /// Who executed it.
    pub parent: Option<u64>,
    /// Index of its M in the snapshot's threads.
    pub thread: Option<usize>,
    /// The program's labels.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Synctest bubble.
    pub bubble: Option<u64>,
    /// Whether it is the runtime's own.
    pub system: bool,
    /// Whether it is locked to its thread.
    pub locked: bool,
    /// Whether the collector held it.
    pub scan: bool,
}

impl Default for GoroutineSpec<'_> {
    fn default() -> Self {
        Self {
            id: 1,
            status: Status::Waiting,
            reason: None,
            wait_ns: None,
            frames: Vec::new(),
            creator: None,
            parent: None,
            thread: None,
            labels: Vec::new(),
            bubble: None,
            system: false,
            locked: false,
            scan: false,
        }
    }
}

thread_local! {
    static POOL: RefCell<SymbolPool> = RefCell::default();
}

fn pool<R>(intern: impl FnOnce(&mut SymbolPool) -> R) -> R {
    POOL.with_borrow_mut(intern)
}

/// The id of a text in the names that the snapshots of this thread share.
#[must_use]
pub fn intern(text: &str) -> StrId {
    pool(|pool| pool.intern_str(text))
}

/// Makes a [`Snapshot`]. Those that are made on one thread share their names and stacks, as those of one
/// session do.
#[derive(Debug)]
pub struct SnapshotBuilder {
    snapshot: Snapshot,
}

/// Moves a snapshot `ns` later; each goroutine has waited for as long as it was made with.
pub fn later(snapshot: &mut Snapshot, ns: u64) {
    snapshot.captured_at_unix_ns = snapshot.captured_at_unix_ns.saturating_add(ns);
    snapshot.monotonic_ns = snapshot.monotonic_ns.saturating_add(ns);
    snapshot.target.uptime_ns = snapshot.target.uptime_ns.map(|uptime| uptime.saturating_add(ns));
    for goroutine in &mut snapshot.goroutines {
        for moment in [&mut goroutine.wait_since_ns, &mut goroutine.blocked_before_ns] {
            *moment = moment.map(|then| then.saturating_add(ns));
        }
    }
}

/// `nanotime` of every snapshot made here.
pub const NOW_NS: u64 = 3_600_000_000_000_000;

impl Default for SnapshotBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl SnapshotBuilder {
    /// A plausible program of two Ps and three Ms, without goroutines.
    #[must_use]
    pub fn new() -> Self {
        let snapshot = Snapshot {
            captured_at_unix_ns: 1_780_000_000_123_456_789,
            monotonic_ns: NOW_NS,
            unchanged_since_ns: None,
            target: target(),
            reading: reading(),
            sched: Some(scheduler()),
            heap: Some(heap()),
            gc: Some(gc()),
            processors: processors(),
            threads: threads(),
            goroutines: Shared::default(),
            dead_goroutines: 3,
            wait_reasons: vec![String::new()],
            waits: Default::default(),
            not_in_go: Default::default(),
            descriptors: Default::default(),
            watched: Default::default(),
            traceback: None,
            death: None,
            symbols: Arc::default(),
            warnings: Warnings::default(),
        };
        Self { snapshot }
    }

    /// The snapshot itself, to change what the builder has no method for.
    pub fn edit(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }

    /// The first one of another session: ids of values in snapshots that were built before mean nothing
    /// in it.
    #[must_use]
    pub fn of_new_session() -> Self {
        POOL.take();
        Self::new()
    }

    /// The number of a wait reason in this snapshot's table.
    pub fn reason(&mut self, text: &str) -> WaitReasonId {
        let table = &mut self.snapshot.wait_reasons;
        let found = table.iter().position(|known| known == text).unwrap_or_else(|| {
            table.push(text.to_owned());
            table.len() - 1
        });
        WaitReasonId(u8::try_from(found).unwrap_or(u8::MAX))
    }

    /// The id of a frame.
    pub fn frame(&mut self, spec: &FrameSpec<'_>) -> FrameId {
        self.frame_within(spec, spec.function)
    }

    /// The same, of a call that is inlined into the function `physical`.
    fn frame_within(&mut self, spec: &FrameSpec<'_>, physical: &str) -> FrameId {
        let (function, file) = pool(|pool| (pool.intern_str(spec.function), pool.intern_str(spec.file)));
        // Equal functions get equal entries, different ones different entries.
        let entry = physical.bytes().fold(0x40_0000, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte))
            & 0xff_ffff
            | 0x40_0000;
        let frame = Frame {
            function,
            file,
            line: spec.line,
            start_line: 0,
            pc: Addr(entry + u64::from(spec.line)),
            entry: Addr(entry),
            inlined: spec.inlined,
            language: if spec.foreign { Language::Foreign } else { Language::Go },
        };
        let id = pool(|pool| pool.intern_frame(frame));
        self.snapshot.symbols = Arc::new(pool(|pool| pool.view()));
        id
    }

    /// Adds a goroutine.
    pub fn add(&mut self, spec: &GoroutineSpec<'_>) -> &mut Self {
        let index = u64::try_from(self.snapshot.goroutines.len()).unwrap_or(u64::MAX);
        let stack_lo = 0xc000_0000_0000_u64.wrapping_add(index.wrapping_mul(0x1_0000));
        let stack_hi = stack_lo.wrapping_add(0x2000);
        let depth = u64::try_from(spec.frames.len()).unwrap_or(u64::MAX);
        let frames: Vec<StackFrame> = spec
            .frames
            .iter()
            .zip(0_u64..)
            .map(|(frame, n)| StackFrame {
                frame: {
                    let outer = spec.frames.iter().skip(usize::try_from(n).unwrap_or(0)).find(|outer| !outer.inlined);
                    self.frame_within(frame, outer.unwrap_or(frame).function)
                },
                sp_offset: n.wrapping_mul(0x40),
                fp_offset: n.wrapping_add(1).wrapping_mul(0x40),
                hidden: frame.function.starts_with("runtime."),
            })
            .collect();
        let innermost = frames.first().map(|frame| frame.frame);
        let current = frames.iter().find(|frame| !frame.hidden).map(|frame| frame.frame);
        let start = frames.iter().rev().find(|frame| !frame.hidden).or(frames.last()).map(|frame| frame.frame);
        let stack = if spec.status == Status::Running {
            StackState::NotShown(NotShown::Running)
        } else if frames.is_empty() {
            StackState::NotShown(NotShown::NotAsked)
        } else {
            StackState::Known(pool(|pool| pool.intern_stack(Stack { frames })))
        };
        let known = matches!(stack, StackState::Known(_));
        let labels: Vec<Label> = spec
            .labels
            .iter()
            .map(|(key, value)| pool(|pool| Label { key: pool.intern_str(key), value: pool.intern_str(value) }))
            .collect();
        let labels = (!labels.is_empty()).then(|| pool(|pool| pool.intern_labels(labels)));
        let creator = spec.creator.as_ref().map(|creator| self.frame(creator));
        let wait_reason = spec.reason.map(|reason| self.reason(reason));
        let m = spec.thread.and_then(|at| self.snapshot.threads.get(at)).map(|thread| thread.addr);
        self.snapshot.goroutines.push(Goroutine {
            id: Goid(spec.id),
            addr: Addr(0xc000_0100_0000_u64.wrapping_add(index.wrapping_mul(0x200))),
            status: spec.status,
            scan: spec.scan,
            wait_reason,
            waiting_on: None,
            wait_since_ns: spec.wait_ns.and_then(|ns| NonZeroU64::new(NOW_NS.saturating_sub(ns))),
            blocked_before_ns: spec.wait_ns.and_then(|ns| NonZeroU64::new(NOW_NS.saturating_sub(ns))),
            run_seq: Some(0),
            m,
            parent: spec.parent.map(Goid),
            creator,
            start,
            innermost: innermost.filter(|_| known),
            current: current.filter(|_| known),
            stack,
            stack_since_ns: None,
            stack_is_proven: false,
            foreign: None,
            sp: if known { Addr(stack_hi.wrapping_sub(depth.wrapping_mul(0x40))) } else { Addr(0) },
            stack_lo: Addr(stack_lo),
            stack_hi: Addr(stack_hi),
            panic: None,
            labels,
            bubble: spec.bubble.and_then(NonZeroU64::new),
            system: spec.system,
            locked: spec.locked,
            ancestors: None,
        });
        self.snapshot.symbols = Arc::new(pool(|pool| pool.view()));
        let total = u64::try_from(self.snapshot.goroutines.len()).unwrap_or(u64::MAX);
        self.snapshot.reading.consistency.validated = total;
        self
    }

    /// The snapshot.
    #[must_use]
    pub fn build(self) -> Snapshot {
        self.snapshot
    }
}

fn target() -> TargetInfo {
    TargetInfo {
        pid: 4242,
        exe: "/usr/local/bin/orders".to_owned(),
        cmdline: ["orders", "--listen", "127.0.0.1:8080"].map(str::to_owned).to_vec(),
        build_id: Some("Zx8x/aB3k".to_owned()),
        text: Some(TextMapping {
            file: "/usr/local/bin/orders".to_owned(),
            gnu_build_id: Some("0c0ffee0".to_owned()),
            start: Addr(0x40_0000),
            end: Addr(0x140_0000),
            offset: 0,
        }),
        go_version: "go1.26.6".to_owned(),
        go_version_source: "build info",
        arch: "amd64",
        module: ModuleInfo {
            package: Some("example.com/shop/cmd/orders".to_owned()),
            path: Some("example.com/shop".to_owned()),
            version: Some("v1.8.2".to_owned()),
            vcs_revision: Some("8f14e45fceea167a5a36dedd4bea2543e1f2a3b4".to_owned()),
            vcs_time: Some("2026-05-04T10:11:12Z".to_owned()),
            vcs_modified: Some(false),
            settings: [("CGO_ENABLED".to_owned(), "0".to_owned())].into_iter().collect(),
        },
        stripped: true,
        gomaxprocs: Some(2),
        os_threads: Some(3),
        uptime_ns: Some(11_532_000_000_000),
        process_state: Some('S'),
        cpu_ns: Some(62_500_000_000),
        rss_bytes: Some(88_408_064),
        resources: Resources {
            cpu_used_ns: Some(60_000_000),
            cpu_interval_ns: Some(120_000_000),
            cpu_quota_us: Some(200_000),
            cpu_period_us: Some(100_000),
            cpu_periods: Some(41_000),
            cpu_throttled_periods: Some(312),
            cpu_throttled_ns: Some(4_100_000_000),
            memory_limit_bytes: Some(512 << 20),
            memory_used_bytes: Some(120 << 20),
            open_fds: Some(37),
            fd_limit: Some(1_024),
        },
    }
}

fn reading() -> Reading {
    Reading {
        backend: "process_vm_readv",
        duration_ns: 3_100_000,
        syscalls: 112,
        bytes: 1_260_000,
        freeze: None,
        consistency: Consistency::default(),
        stacks: None,
        layout: "table of go1.26".to_owned(),
        provenance: vec![Provenance {
            name: "runtime.allgs".to_owned(),
            source: "code of runtime.allgadd, 2 of 2 votes".to_owned(),
            cross_checks: vec![".symtab".to_owned()],
        }],
    }
}

fn scheduler() -> Scheduler {
    Scheduler {
        threads: Some(3),
        idle_threads: Some(1),
        spinning_threads: Some(0),
        freed_threads: Some(0),
        idle_processors: Some(1),
        global_run_queue: Some(0),
        local_run_queues: Some(4),
        system_goroutines: Some(4),
        goroutines_created: Some(91_332),
        goroutines_created_exact: true,
        stopping_the_world: Some(false),
        max_threads: Some(10_000),
    }
}

fn heap() -> HeapStats {
    HeapStats {
        heap_alloc: 41_943_040,
        total_alloc: 9_812_345_678,
        sys: 97_517_568,
        mallocs: 120_345_678,
        frees: 120_100_000,
        heap_sys: 83_886_080,
        heap_idle: 33_554_432,
        heap_inuse: 50_331_648,
        heap_released: 12_582_912,
        heap_objects: 245_678,
        stack_inuse: 2_097_152,
        stack_sys: 2_097_152,
        mspan_sys: 1_048_576,
        mcache_sys: 15_600,
        buckhash_sys: 1_456_789,
        gc_sys: 4_194_304,
        other_sys: 1_234_567,
        heap_live: Some(40_000_000),
        heap_marked: Some(31_000_000),
    }
}

fn gc() -> GcStats {
    GcStats {
        cycles: 1_204,
        forced_cycles: 2,
        pause_total_ns: 183_000_000,
        recent_pauses: vec![
            Pause { duration_ns: 84_000, end_unix_ns: 1_779_999_998_000_000_000 },
            Pause { duration_ns: 121_000, end_unix_ns: 1_779_999_991_000_000_000 },
            Pause { duration_ns: 64_000, end_unix_ns: 1_779_999_980_000_000_000 },
        ],
        cpu_fraction: 0.0042,
        last_unix_ns: Some(1_779_999_998_000_000_000),
        next_goal: Some(62_914_560),
        gc_percent: Some(100),
        memory_limit: None,
        enabled: Some(true),
        phase: Some(GcPhase::Off),
    }
}

fn processors() -> Vec<Processor> {
    let processor = |id: i32, status, m, running, run_queue| Processor {
        id,
        addr: Addr(0xc000_0080_0000 + u64::from(id.unsigned_abs()) * 0x2900),
        status,
        schedtick: 182_345,
        syscalltick: 9_921,
        m,
        running,
        run_queue,
        runnext: None,
        timers: Some(12),
    };
    vec![processor(0, PStatus::Running, Some(2), Some(Goid(19)), 4), processor(1, PStatus::Idle, None, None, 0)]
}

fn threads() -> Vec<Thread> {
    let thread = |id: i64, state, goroutine, p, blocked| Thread {
        id,
        addr: Addr(0x60_0000 + id.unsigned_abs() * 0x800),
        tid: i32::try_from(4242 + id).ok(),
        state: Some(state),
        goroutine,
        p,
        spinning: false,
        blocked,
        in_cgo: false,
        cgo_calls: Some(0),
        locked_goroutine: None,
    };
    vec![
        thread(0, 'S', Some(Goid(1)), None, false),
        thread(1, 'S', None, None, true),
        thread(2, 'R', Some(Goid(19)), Some(0), false),
    ]
}
