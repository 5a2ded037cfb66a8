//! The JSON document against types that are declared here once more and refuse what they do not
//! know, so that no key can come, go or change unnoticed.

// What is declared here is compared, not used.
#![allow(dead_code)]

use std::collections::BTreeMap;

use crate::strict::{Known, asked_for, present};
use serde::Deserialize;

use gospy::addr::Addr;
use gospy::analysis::answer::{IdRange, Rows};
use gospy::analysis::{Answer, Filter, GroupBy, Index, Request, SortKey};
use gospy::model::testing::{FrameSpec, GoroutineSpec, SnapshotBuilder, frame};
use gospy::model::wait::{
    Channel, ChannelTimer, Direction, HolderEvidence, LikelyHolder, LockOperation, ObjectState, RwMutexState,
    SelectCase, TimerSource,
};
use gospy::model::{
    Ancestor, Death, DeathKind, DeathSignal, ForeignFrame, ForeignStack, FreezeInfo, Goid, PanicValue, Snapshot,
    StackKind, Status, Wait, WaitObject, WarningCode,
};
use gospy::report::json::{self, JsonOptions};

strict! {
    Document {
        schema_version: u32,
        gospy_version: String,
        captured_at: String,
        target: Target,
        reading: Reading,
        #[serde(deserialize_with = "present")] sched: Known<Sched>,
        #[serde(deserialize_with = "present")] heap: Known<Heap>,
        #[serde(deserialize_with = "present")] gc: Known<Gc>,
        #[serde(deserialize_with = "present")] death: Known<DeathDocument>,
        processors: Vec<Processor>,
        threads: Vec<Thread>,
        goroutines: Goroutines,
        findings: Vec<Finding>,
        warnings: Vec<Warning>,
        complete: bool,
    }
    Refresh {
        #[serde(rename = "type")] kind: String,
        refresh: u64,
        interval_ns: u64,
        schema_version: u32,
        gospy_version: String,
        captured_at: String,
        target: Target,
        reading: Reading,
        #[serde(deserialize_with = "present")] sched: Known<Sched>,
        #[serde(deserialize_with = "present")] heap: Known<Heap>,
        #[serde(deserialize_with = "present")] gc: Known<Gc>,
        #[serde(deserialize_with = "present")] death: Known<DeathDocument>,
        processors: Vec<Processor>,
        threads: Vec<Thread>,
        goroutines: Goroutines,
        findings: Vec<Finding>,
        warnings: Vec<Warning>,
        complete: bool,
        grouped_by: String,
        #[serde(deserialize_with = "present")] filter: Known<String>,
        group_count: u64,
        groups: Vec<RefreshGroup>,
    }
    RefreshGroup {
        #[serde(deserialize_with = "present")] function: Known<String>,
        #[serde(deserialize_with = "present")] file: Known<String>,
        #[serde(deserialize_with = "present")] line: Known<u32>,
        started_in: bool,
        #[serde(deserialize_with = "present")] label: Known<String>,
        #[serde(deserialize_with = "present")] waiting_on: Known<WaitingOn>,
        #[serde(deserialize_with = "present")] waiting_on_count: Known<u64>,
        #[serde(deserialize_with = "present")] place: Known<UserPlace>,
        count: u64,
        #[serde(deserialize_with = "present")] change: Known<i64>,
        #[serde(deserialize_with = "present")] change_since_start: Known<i64>,
        #[serde(deserialize_with = "present")] rate_per_second: Known<f64>,
        states: Vec<RefreshState>,
        #[serde(deserialize_with = "present")] wait_longest_ns: Known<u64>,
        wait_watched: bool,
        example_id: u64,
        system: bool,
        label_keys: u64,
        labels: Vec<LabelKey>,
    }
    RefreshState { state: String, #[serde(deserialize_with = "present")] wait_reason: Known<String>, count: u64, }
    RefreshEnd { #[serde(rename = "type")] kind: String, reason: String, }
    Target {
        pid: i32,
        exe: String,
        cmdline: Vec<String>,
        #[serde(deserialize_with = "present")] build_id: Known<String>,
        go_version: String,
        go_version_source: String,
        arch: String,
        module: Module,
        stripped: bool,
        #[serde(deserialize_with = "present")] gomaxprocs: Known<u32>,
        #[serde(deserialize_with = "present")] os_threads: Known<u32>,
        #[serde(deserialize_with = "present")] uptime_ns: Known<u64>,
        #[serde(deserialize_with = "present")] process_state: Known<char>,
        #[serde(deserialize_with = "present")] cpu_ns: Known<u64>,
        #[serde(deserialize_with = "present")] rss_bytes: Known<u64>,
        resources: Resources,
    }
    Resources {
        #[serde(deserialize_with = "present")] cpu_used_ns: Known<u64>,
        #[serde(deserialize_with = "present")] cpu_interval_ns: Known<u64>,
        #[serde(deserialize_with = "present")] cpu_quota_us: Known<u64>,
        #[serde(deserialize_with = "present")] cpu_period_us: Known<u64>,
        #[serde(deserialize_with = "present")] cpu_periods: Known<u64>,
        #[serde(deserialize_with = "present")] cpu_throttled_periods: Known<u64>,
        #[serde(deserialize_with = "present")] cpu_throttled_ns: Known<u64>,
        #[serde(deserialize_with = "present")] memory_limit_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] memory_used_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] open_fds: Known<u64>,
        #[serde(deserialize_with = "present")] fd_limit: Known<u64>,
    }
    Module {
        #[serde(deserialize_with = "present")] package: Known<String>,
        #[serde(deserialize_with = "present")] path: Known<String>,
        #[serde(deserialize_with = "present")] version: Known<String>,
        #[serde(deserialize_with = "present")] vcs_revision: Known<String>,
        #[serde(deserialize_with = "present")] vcs_time: Known<String>,
        #[serde(deserialize_with = "present")] vcs_modified: Known<bool>,
        settings: BTreeMap<String, String>,
    }
    Reading {
        backend: String,
        duration_ns: u64,
        syscalls: u64,
        bytes: u64,
        layout: String,
        #[serde(deserialize_with = "present")] freeze: Known<Freeze>,
        consistency: Consistency,
        #[serde(deserialize_with = "present")] stacks: Known<Stacks>,
        provenance: Vec<Provenance>,
    }
    Freeze { whole_program: bool, stopped_ns: u64, threads: u32, }
    Stacks {
        read: u64,
        kept: u64,
        kept_proven: u64,
        #[serde(deserialize_with = "present")] oldest_ms: Known<u64>,
    }
    Consistency { validated: u64, retried: u64, moving: u64, unreadable: u64, }
    Provenance { name: String, source: String, cross_checks: Vec<String>, }
    Sched {
        #[serde(deserialize_with = "present")] threads: Known<u64>,
        #[serde(deserialize_with = "present")] idle_threads: Known<u64>,
        #[serde(deserialize_with = "present")] spinning_threads: Known<u64>,
        #[serde(deserialize_with = "present")] freed_threads: Known<u64>,
        #[serde(deserialize_with = "present")] max_threads: Known<u64>,
        #[serde(deserialize_with = "present")] idle_processors: Known<u64>,
        #[serde(deserialize_with = "present")] global_run_queue: Known<u64>,
        #[serde(deserialize_with = "present")] local_run_queues: Known<u64>,
        #[serde(deserialize_with = "present")] system_goroutines: Known<u64>,
        #[serde(deserialize_with = "present")] goroutines_created: Known<u64>,
        goroutines_created_exact: bool,
        #[serde(deserialize_with = "present")] stopping_the_world: Known<bool>,
    }
    Heap {
        alloc_bytes: u64,
        total_alloc_bytes: u64,
        sys_bytes: u64,
        mallocs: u64,
        frees: u64,
        objects: u64,
        heap_sys_bytes: u64,
        heap_idle_bytes: u64,
        heap_inuse_bytes: u64,
        heap_released_bytes: u64,
        stack_inuse_bytes: u64,
        stack_sys_bytes: u64,
        mspan_sys_bytes: u64,
        mcache_sys_bytes: u64,
        buckhash_sys_bytes: u64,
        gc_sys_bytes: u64,
        other_sys_bytes: u64,
        #[serde(deserialize_with = "present")] live_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] marked_bytes: Known<u64>,
    }
    Gc {
        cycles: u32,
        forced_cycles: u32,
        pause_total_ns: u64,
        recent_pauses: Vec<Pause>,
        #[serde(deserialize_with = "present")] cpu_fraction: Known<f64>,
        #[serde(deserialize_with = "present")] last_at: Known<String>,
        #[serde(deserialize_with = "present")] next_goal_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] gc_percent: Known<i32>,
        #[serde(deserialize_with = "present")] memory_limit_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] enabled: Known<bool>,
        #[serde(deserialize_with = "present")] phase: Known<String>,
    }
    Pause { duration_ns: u64, ended_at: String, }
    DeathDocument {
        kind: String,
        headline: String,
        text: String,
        #[serde(deserialize_with = "present")] message: Known<String>,
        panics: Vec<PanicDocument>,
        #[serde(deserialize_with = "present")] signal: Known<SignalDocument>,
        core_signal: SignalDocument,
        thread_id: i32,
        #[serde(deserialize_with = "present")] m_id: Known<i64>,
        stack: String,
        #[serde(deserialize_with = "present")] object: Known<String>,
        #[serde(deserialize_with = "present")] goroutine_id: Known<u64>,
        #[serde(deserialize_with = "present")] frames: Known<Vec<Frame>>,
        frames_complete: bool,
        certain: bool,
    }
    PanicDocument {
        #[serde(deserialize_with = "present")] go_type: Known<String>,
        text: String,
        recovered: bool,
        repanicked: bool,
        goexit: bool,
    }
    SignalDocument {
        number: i32,
        name: String,
        #[serde(deserialize_with = "present")] code: Known<i64>,
        #[serde(deserialize_with = "present")] address: Known<Address>,
        #[serde(deserialize_with = "present")] pc: Known<Address>,
        #[serde(deserialize_with = "present")] sender_pid: Known<i32>,
        #[serde(deserialize_with = "present")] sender_uid: Known<u32>,
    }
    Processor {
        id: i32,
        address: Address,
        status: String,
        schedtick: u32,
        syscalltick: u32,
        #[serde(deserialize_with = "present")] m_id: Known<i64>,
        #[serde(deserialize_with = "present")] goroutine_id: Known<u64>,
        run_queue: u32,
        #[serde(deserialize_with = "present")] runnext_id: Known<u64>,
        #[serde(deserialize_with = "present")] timers: Known<u64>,
    }
    Thread {
        id: i64,
        address: Address,
        #[serde(deserialize_with = "present")] thread_id: Known<i32>,
        #[serde(deserialize_with = "present")] state: Known<char>,
        #[serde(deserialize_with = "present")] goroutine_id: Known<u64>,
        #[serde(deserialize_with = "present")] p_id: Known<i32>,
        spinning: bool,
        blocked: bool,
        in_cgo: bool,
        #[serde(deserialize_with = "present")] cgo_calls: Known<u64>,
        #[serde(deserialize_with = "present")] locked_goroutine_id: Known<u64>,
        sysmon: bool,
    }
    Goroutines {
        total: u64,
        user: u64,
        system: u64,
        dead: u64,
        by_state: BTreeMap<String, u64>,
        by_wait_reason: BTreeMap<String, u64>,
        matching: u64,
        #[serde(deserialize_with = "present")] grouped_by: Known<String>,
        #[serde(deserialize_with = "present")] group_count: Known<u64>,
        #[serde(deserialize_with = "present")] groups: Known<Vec<Group>>,
        list: Vec<Goroutine>,
    }
    Goroutine {
        id: u64,
        address: Address,
        state: String,
        #[serde(deserialize_with = "present")] wait_reason: Known<String>,
        #[serde(deserialize_with = "present")] wait_ns: Known<u64>,
        #[serde(deserialize_with = "present")] wait_source: Known<String>,
        #[serde(deserialize_with = "present")] wait_at_most_ns: Known<u64>,
        #[serde(deserialize_with = "present")] waiting_on: Known<WaitingOn>,
        system: bool,
        locked: bool,
        scan: bool,
        #[serde(deserialize_with = "present")] m_id: Known<i64>,
        #[serde(deserialize_with = "present")] thread_id: Known<i32>,
        #[serde(deserialize_with = "present")] parent_id: Known<u64>,
        #[serde(deserialize_with = "present")] place: Known<UserPlace>,
        #[serde(deserialize_with = "present")] current: Known<Place>,
        #[serde(deserialize_with = "present")] innermost: Known<Place>,
        #[serde(deserialize_with = "present")] start: Known<Place>,
        #[serde(deserialize_with = "present")] creator: Known<Place>,
        stack: StackBytes,
        #[serde(deserialize_with = "present")] stack_since: Known<String>,
        #[serde(deserialize_with = "present")] panic: Known<String>,
        #[serde(deserialize_with = "present")] labels: Known<BTreeMap<String, String>>,
        #[serde(deserialize_with = "present")] bubble_id: Known<u64>,
        #[serde(deserialize_with = "present")] frames: Known<Vec<Frame>>,
        #[serde(deserialize_with = "present")] c_frames: Known<Vec<CFrame>>,
        #[serde(deserialize_with = "present")] c_frames_complete: Known<bool>,
        #[serde(deserialize_with = "present")] c_syscall: Known<u64>,
        #[serde(deserialize_with = "present")] ancestors: Known<Vec<AncestorDocument>>,
    }
    WaitingOn {
        kind: String,
        #[serde(deserialize_with = "present")] unknown: Known<String>,
        #[serde(deserialize_with = "present")] address: Known<Address>,
        #[serde(deserialize_with = "present")] waiting: Known<u32>,
        #[serde(deserialize_with = "present")] direction: Known<String>,
        #[serde(deserialize_with = "present")] operation: Known<String>,
        #[serde(deserialize_with = "present")] length: Known<u64>,
        #[serde(deserialize_with = "present")] capacity: Known<u64>,
        #[serde(deserialize_with = "present")] element_type: Known<String>,
        #[serde(deserialize_with = "present")] closed: Known<bool>,
        #[serde(deserialize_with = "present")] senders: Known<u64>,
        #[serde(deserialize_with = "present")] receivers: Known<u64>,
        #[serde(deserialize_with = "present")] timer: Known<WaitTimer>,
        #[serde(deserialize_with = "present")] cases: Known<Vec<WaitCase>>,
        #[serde(deserialize_with = "present")] locked: Known<bool>,
        #[serde(deserialize_with = "present")] starving: Known<bool>,
        #[serde(deserialize_with = "present")] waiters: Known<u64>,
        #[serde(deserialize_with = "present")] readers: Known<u32>,
        #[serde(deserialize_with = "present")] waiting_readers: Known<u32>,
        #[serde(deserialize_with = "present")] waiting_writers: Known<u32>,
        #[serde(deserialize_with = "present")] writer_pending: Known<bool>,
        #[serde(deserialize_with = "present")] counter: Known<i32>,
        #[serde(deserialize_with = "present")] value: Known<u32>,
        #[serde(deserialize_with = "present")] likely_holders: Known<Vec<WaitHolder>>,
        #[serde(deserialize_with = "present")] fd: Known<u32>,
        #[serde(deserialize_with = "present")] descriptor: Known<String>,
        #[serde(deserialize_with = "present")] local: Known<String>,
        #[serde(deserialize_with = "present")] remote: Known<String>,
        #[serde(deserialize_with = "present")] socket_state: Known<String>,
        #[serde(deserialize_with = "present")] receive_queue: Known<u64>,
        #[serde(deserialize_with = "present")] send_queue: Known<u64>,
        #[serde(deserialize_with = "present")] path: Known<String>,
        #[serde(deserialize_with = "present")] system_call: Known<WaitCall>,
        #[serde(deserialize_with = "present")] c_function: Known<WaitFunction>,
        #[serde(deserialize_with = "present")] deadline_ns: Known<i64>,
        #[serde(deserialize_with = "present")] partner_id: Known<u64>,
    }
    WaitCall {
        activity: String,
        #[serde(deserialize_with = "present")] number: Known<u64>,
        #[serde(deserialize_with = "present")] name: Known<String>,
        #[serde(deserialize_with = "present")] arguments: Known<Vec<Address>>,
        descriptors: Vec<WaitDescriptor>,
    }
    WaitDescriptor {
        fd: u32,
        #[serde(deserialize_with = "present")] descriptor: Known<String>,
        #[serde(deserialize_with = "present")] local: Known<String>,
        #[serde(deserialize_with = "present")] remote: Known<String>,
        #[serde(deserialize_with = "present")] socket_state: Known<String>,
        #[serde(deserialize_with = "present")] receive_queue: Known<u64>,
        #[serde(deserialize_with = "present")] send_queue: Known<u64>,
        #[serde(deserialize_with = "present")] path: Known<String>,
    }
    WaitFunction {
        #[serde(deserialize_with = "present")] name: Known<String>,
        #[serde(deserialize_with = "present")] library: Known<String>,
        pc: Address,
        offset: u64,
    }
    WaitCase {
        address: Address,
        direction: String,
        length: u64,
        capacity: u64,
        #[serde(deserialize_with = "present")] element_type: Known<String>,
        closed: bool,
        #[serde(deserialize_with = "present")] senders: Known<u64>,
        #[serde(deserialize_with = "present")] receivers: Known<u64>,
        #[serde(deserialize_with = "present")] timer: Known<WaitTimer>,
    }
    WaitTimer {
        deadline_ns: i64,
        period_ns: u64,
        source: String,
    }
    WaitHolder {
        goroutine_id: u64,
        evidence: String,
        address: Address,
        #[serde(deserialize_with = "present")] function: Known<String>,
    }
    StackBytes {
        status: String,
        #[serde(deserialize_with = "present")] used_bytes: Known<u64>,
        #[serde(deserialize_with = "present")] reserved_bytes: Known<u64>,
    }
    UserPlace {
        function: String,
        #[serde(deserialize_with = "present")] file: Known<String>,
        #[serde(deserialize_with = "present")] line: Known<u32>,
        #[serde(deserialize_with = "present")] callee: Known<String>,
        #[serde(deserialize_with = "present")] operation: Known<String>,
        started_in: bool,
    }
    Place {
        function: String,
        #[serde(deserialize_with = "present")] file: Known<String>,
        #[serde(deserialize_with = "present")] line: Known<u32>,
        pc: Address,
    }
    Frame {
        function: String,
        #[serde(deserialize_with = "present")] package: Known<String>,
        #[serde(deserialize_with = "present")] file: Known<String>,
        #[serde(deserialize_with = "present")] line: Known<u32>,
        pc: Address,
        inlined: bool,
        hidden: bool,
        language: String,
        // Only where it is asked for; then it may be null.
        #[serde(default, deserialize_with = "asked_for")] arguments: Option<Known<String>>,
    }
    CFrame {
        #[serde(deserialize_with = "present")] function: Known<String>,
        #[serde(deserialize_with = "present")] object: Known<String>,
        pc: Address,
        offset: u64,
        language: String,
    }
    AncestorDocument {
        id: u64,
        frames: Vec<Place>,
        #[serde(deserialize_with = "present")] creator: Known<Place>,
    }
    Group {
        count: u64,
        ids: Vec<u64>,
        state: String,
        #[serde(deserialize_with = "present")] wait_reason: Known<String>,
        states: Vec<RefreshState>,
        #[serde(deserialize_with = "present")] label: Known<String>,
        #[serde(deserialize_with = "present")] wait_shortest_ns: Known<u64>,
        #[serde(deserialize_with = "present")] wait_longest_ns: Known<u64>,
        wait_known: u64,
        wait_watched: u64,
        #[serde(deserialize_with = "present")] parent_id: Known<u64>,
        #[serde(deserialize_with = "present")] place: Known<UserPlace>,
        #[serde(deserialize_with = "present")] current: Known<Place>,
        #[serde(deserialize_with = "present")] start: Known<Place>,
        #[serde(deserialize_with = "present")] creator: Known<Place>,
        #[serde(deserialize_with = "present")] waiting_on: Known<WaitingOn>,
        #[serde(deserialize_with = "present")] waiting_on_count: Known<u64>,
        stack_used_bytes: u64,
        stack_reserved_bytes: u64,
        #[serde(deserialize_with = "present")] frames: Known<Vec<Frame>>,
        label_keys: u64,
        labels: Vec<LabelKey>,
    }
    LabelKey { key: String, count: u64, distinct_values: u64, values: Vec<LabelValue>, }
    LabelValue { value: String, count: u64, }
    Finding { code: String, message: String, count: u64, goroutine_ids: Vec<u64>, }
    Warning { code: String, message: String, count: u64, }
}

/// `"0x…"`: numbers would lose their low bits in JavaScript.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Address(u64);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").ok_or_else(|| format!("{text} does not begin with 0x"))?;
        u64::from_str_radix(digits, 16).map(Address).map_err(|error| format!("{text}: {error}"))
    }
}

fn snapshot() -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    builder
        .add(&GoroutineSpec {
            id: u64::MAX,
            reason: Some("chan receive"),
            wait_ns: Some(5),
            frames: vec![
                FrameSpec { inlined: true, ..frame("main.inner", "/app/m.go", 3) },
                frame("main.outer", "/app/m.go", 9),
                FrameSpec { foreign: true, ..frame("", "", 0) },
            ],
            creator: Some(frame("main.main", "/app/m.go", 1)),
            parent: Some(1),
            thread: Some(1),
            labels: vec![("key", "a\"b\n")],
            bubble: Some(7),
            ..Default::default()
        })
        .add(&GoroutineSpec { id: 3, reason: Some("chan send (nil chan)"), ..Default::default() })
        .add(&GoroutineSpec { id: 2, status: Status::Running, thread: Some(2), ..Default::default() });
    let place = builder.frame(&frame("main.older", "/app/m.go", 4));
    let snapshot = builder.edit();
    let chain = vec![Ancestor { id: Goid(1), frames: vec![place], printed: Vec::new(), creator: Some(place) }];
    snapshot.goroutines[0].ancestors = Some(std::sync::Arc::make_mut(&mut snapshot.symbols).intern_ancestors(chain));
    let symbols = std::sync::Arc::make_mut(&mut snapshot.symbols);
    let (read, libc) = (symbols.intern_str("read"), symbols.intern_str("/lib/libc.so.6"));
    let nothing = symbols.intern_str("");
    let frames = vec![
        ForeignFrame { function: Some(read), object: libc, pc: Addr(0x7f00_0000_0010), offset: 0x10 },
        ForeignFrame { function: None, object: nothing, pc: Addr(0x7f00_0000_2000), offset: 0x2000 },
    ];
    let in_c = symbols.intern_foreign(ForeignStack { frames, complete: false, syscall: Some(0) });
    snapshot.goroutines[0].foreign = Some(in_c);
    waits(snapshot);
    snapshot.reading.freeze = Some(FreezeInfo { whole_program: true, stopped_ns: 1, threads: 2 });
    snapshot.warnings.add(WarningCode::StackMalformed, "odd");
    snapshot.death = Some(death());
    let nobody = std::sync::Arc::make_mut(&mut snapshot.symbols).intern_str("boom");
    snapshot.goroutines[0].panic = Some(nobody);
    builder.build()
}

/// A wait of each kind of object, on goroutines that have none yet.
fn waits(snapshot: &mut Snapshot) {
    let name = std::sync::Arc::make_mut(&mut snapshot.symbols).intern_str("*main.T");
    let timer = ChannelTimer { deadline_ns: 5, period_ns: 6, source: TimerSource::Context };
    let channel = Channel {
        length: 1,
        capacity: 2,
        element_type: Some(name),
        closed: true,
        senders: None,
        receivers: Some(3),
        timer: Some(timer),
    };
    let waits = &mut snapshot.waits;
    let channel = waits.add_object(WaitObject::new(Addr(0x10), ObjectState::Channel(channel)));
    let mut mutex = WaitObject::new(Addr(0x20), ObjectState::RwMutex(RwMutexState::default()));
    let evidence = HolderEvidence::OnStack { at: Addr(0x30), function: Some(name) };
    mutex.likely_holders = Some([LikelyHolder { goroutine: Goid(9), evidence }].into());
    let mutex = waits.add_object(mutex);
    let cases = [SelectCase { channel, direction: Direction::Send }].into();
    let of = [
        Wait::Select { cases },
        Wait::Lock { object: mutex, operation: LockOperation::WaitForReaders },
        Wait::Channel { channel: Some(channel), direction: Direction::Receive },
    ];
    for (goroutine, wait) in snapshot.goroutines.iter_mut().zip(of) {
        goroutine.waiting_on = Some(waits.add(wait));
    }
}

fn death() -> Death {
    let signal =
        DeathSignal { number: 11, code: Some(1), addr: Some(Addr(8)), pc: Some(Addr(9)), ..Default::default() };
    Death {
        kind: DeathKind::Panic,
        text: "panic: first\n\tpanic: second".to_owned(),
        message: None,
        panics: vec![PanicValue { go_type: Some("string".to_owned()), text: "first".to_owned(), ..Default::default() }],
        signal: Some(signal),
        core_signal: DeathSignal { number: 6, sender_pid: Some(7), sender_uid: Some(8), ..Default::default() },
        process: 7,
        thread: 7,
        m: Some(0),
        stack_kind: StackKind::Goroutine,
        object: None,
        goroutine: Some(Goid(3)),
        stack: None,
        stack_complete: false,
        certain: true,
    }
}

fn document(snapshot: &Snapshot, request: Request, frames: bool) -> Document {
    let mut out = Vec::new();
    let index = Index::new(snapshot);
    json::write(&mut out, &Answer::of(&index, request), JsonOptions { frames, ..Default::default() }).unwrap();
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&out)))
}

#[test]
fn the_document_has_exactly_these_keys() {
    let snapshot = snapshot();
    let with_frames = document(&snapshot, Request::default(), true);
    let first = &with_frames.goroutines.list[0];
    assert_eq!(first.id, u64::MAX);
    assert_eq!(first.frames.as_ref().unwrap().len(), 3);
    assert_eq!(first.current.as_ref().unwrap().function, "main.inner");
    let place = first.place.as_ref().unwrap();
    assert_eq!((place.function.as_str(), place.started_in), ("main.inner", false));
    assert_eq!(first.labels.as_ref().unwrap()["key"], "a\"b\n");
    let c_frames = first.c_frames.as_ref().unwrap();
    assert_eq!(
        (c_frames[0].function.as_deref(), c_frames[0].object.as_deref()),
        (Some("read"), Some("/lib/libc.so.6"))
    );
    assert_eq!((c_frames[1].function.as_deref(), c_frames[1].object.as_deref()), (None, None));
    assert!(c_frames.iter().all(|frame| frame.language == "c"));
    assert_eq!((first.c_frames_complete, first.c_syscall), (Some(false), Some(0)));
    assert!(with_frames.goroutines.list[1].c_frames.is_none());
    assert!(!with_frames.complete);
    assert_eq!(first.panic.as_deref(), Some("boom"));
    let death = with_frames.death.as_ref().unwrap();
    assert_eq!((death.kind.as_str(), death.headline.as_str()), ("panic", "panic: first; panic: second"));
    assert_eq!((death.signal.as_ref().unwrap().name.as_str(), death.core_signal.sender_pid), ("SIGSEGV", Some(7)));

    let ids = [3, u64::MAX].map(|id| IdRange { first: id, last: id }).to_vec();
    let request = Request { ids, rows: Rows::Groups(GroupBy::Stack), ..Request::default() };
    let grouped = document(&snapshot, request, true);
    let documents = grouped.goroutines.groups.unwrap();
    assert_eq!((documents.len(), grouped.goroutines.group_count), (2, Some(2)));
    let label = &documents[1].labels[0];
    assert_eq!((label.key.as_str(), label.count, label.distinct_values), ("key", 1, 1));
    assert_eq!((label.values[0].value.as_str(), label.values[0].count), ("a\"b\n", 1));
    assert!(grouped.goroutines.list.is_empty());

    let mut bare = snapshot;
    (bare.sched, bare.heap, bare.gc) = (None, None, None);
    bare.goroutines.clear();
    assert!(document(&bare, Request::default(), false).sched.is_none());
}

#[test]
fn refreshes_have_exactly_these_keys() {
    use gospy::analysis::{GroupBy, PlaceKind};
    use gospy::sampling::{Sampler, SourceEnd};
    use gospy::top::event::Settings;
    use gospy::top::order::{GroupSort, Order};
    use gospy::top::stream::{Format, run};
    use gospy::top::tab::Tab;
    use gospy::top::view::Selection;
    let settings = Settings {
        interval: std::time::Duration::from_millis(1),
        max_cpu: 10.0,
        selection: Selection {
            grouping: GroupBy::Place(PlaceKind::User),
            filter: Some(("id>0".to_owned(), Filter::parse("id>0").unwrap())),
            no_system: false,
            group_order: Order::by(GroupSort::Count),
            goroutine_order: Order::by(SortKey::Id),
        },
        iterations: None,
        wait: false,
        recorded: false,
        playing: None,
        tab: Tab::Groups,
    };
    // Of one session, so that ids mean the same in all of them.
    let first = snapshot();
    let mut another_run = first.clone();
    another_run.monotonic_ns += 9_000_000_000;
    another_run.target.uptime_ns = Some(8_000_000_000);
    let mut left = vec![Err(SourceEnd::Ended("gone".to_owned())), Ok(another_run), Ok(first.clone()), Ok(first)];
    let source = move || {
        // Longer than the interval: the next one is due at once.
        std::thread::sleep(std::time::Duration::from_millis(5));
        left.pop().unwrap_or(Err(SourceEnd::Finished))
    };
    let mut out = Vec::new();
    let mut sampler = Sampler::new(Box::new(source));
    let outcome = run(&mut out, &mut sampler, settings, Format::Json).unwrap();
    assert_eq!(outcome.refreshes, 3);
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let refresh = |line: &str| -> Refresh { serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")) };
    let (first, second) = (refresh(lines[0]), refresh(lines[1]));
    assert_eq!((first.kind.as_str(), first.refresh, second.refresh), ("refresh", 1, 2));
    assert_eq!((first.group_count, first.groups.len(), first.findings.len()), (2, 2, 2));
    assert!(first.groups[0].change.is_none() && second.groups[0].change == Some(0));
    let restart: RefreshEnd = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(restart.kind, "restart");
    assert!(restart.reason.contains("process 4242"), "{}", restart.reason);
    assert!(refresh(lines[3]).groups[0].change.is_none(), "nothing before it is compared with");
    let end: RefreshEnd = serde_json::from_str(lines[4]).unwrap();
    assert_eq!((end.kind.as_str(), end.reason.as_str(), lines.len()), ("end", "gone", 5));
}
