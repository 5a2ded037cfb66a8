//! From the model to the document.

use super::hex::HexAddr;
use super::shared::{Piece, SharedJson};
use super::shared_wait::shared_wait;
use super::types::{
    Ancestor, CFrame, Consistency, Death, DeathSignal, Frame, Freeze, Gc, Goroutine, Group, GroupState, Heap, Module,
    PanicValue, Pause, Place, Processor, Provenance, Reading, Sched, StackBytes, Stacks, Target, Thread, Warning,
};
use super::waiting::waiting_on;
use crate::analysis::group::What;
use crate::analysis::{self, Index, PlaceKind};
use crate::go_names;
use crate::model::{self, FrameId, Language, NotShown, StackState, SymbolPool};
use crate::report::labels;
use crate::report::members::UserPlace;
use crate::report::traceback::arguments::write_words;

/// RFC 3339 in UTC with all nanoseconds.
pub(crate) fn time(unix_ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(unix_ns)).map_or_else(|_| String::new(), |time| time.to_string())
}

pub(super) fn target(target: &model::TargetInfo) -> Target<'_> {
    let module = &target.module;
    Target {
        pid: target.pid,
        exe: &target.exe,
        cmdline: &target.cmdline,
        build_id: target.build_id.as_deref(),
        go_version: &target.go_version,
        go_version_source: target.go_version_source,
        arch: target.arch,
        module: Module {
            package: module.package.as_deref(),
            path: module.path.as_deref(),
            version: module.version.as_deref(),
            vcs_revision: module.vcs_revision.as_deref(),
            vcs_time: module.vcs_time.as_deref(),
            vcs_modified: module.vcs_modified,
            settings: &module.settings,
        },
        stripped: target.stripped,
        gomaxprocs: target.gomaxprocs,
        os_threads: target.os_threads,
        uptime_ns: target.uptime_ns,
        process_state: target.process_state,
        cpu_ns: target.cpu_ns,
        rss_bytes: target.rss_bytes,
        resources: target.resources,
    }
}

pub(super) fn reading(reading: &model::Reading) -> Reading<'_> {
    let consistency = reading.consistency;
    Reading {
        backend: reading.backend,
        duration_ns: reading.duration_ns,
        syscalls: reading.syscalls,
        bytes: reading.bytes,
        layout: &reading.layout,
        freeze: reading.freeze.map(|freeze| Freeze {
            whole_program: freeze.whole_program,
            stopped_ns: freeze.stopped_ns,
            threads: freeze.threads,
        }),
        consistency: Consistency {
            validated: consistency.validated,
            retried: consistency.retried,
            moving: consistency.moving,
            unreadable: consistency.unreadable,
        },
        stacks: reading.stacks.map(|stacks| Stacks {
            read: stacks.read,
            kept: stacks.kept,
            kept_proven: stacks.kept_proven,
            oldest_ms: stacks.oldest_ms,
        }),
        provenance: reading
            .provenance
            .iter()
            .map(|fact| Provenance { name: &fact.name, source: &fact.source, cross_checks: &fact.cross_checks })
            .collect(),
    }
}

pub(super) fn sched(sched: &model::Scheduler) -> Sched {
    Sched {
        threads: sched.threads,
        idle_threads: sched.idle_threads,
        spinning_threads: sched.spinning_threads,
        freed_threads: sched.freed_threads,
        max_threads: sched.max_threads,
        idle_processors: sched.idle_processors,
        global_run_queue: sched.global_run_queue,
        local_run_queues: sched.local_run_queues,
        system_goroutines: sched.system_goroutines,
        goroutines_created: sched.goroutines_created,
        goroutines_created_exact: sched.goroutines_created_exact,
        stopping_the_world: sched.stopping_the_world,
    }
}

pub(super) fn heap(heap: &model::HeapStats) -> Heap {
    Heap {
        alloc_bytes: heap.heap_alloc,
        total_alloc_bytes: heap.total_alloc,
        sys_bytes: heap.sys,
        mallocs: heap.mallocs,
        frees: heap.frees,
        objects: heap.heap_objects,
        heap_sys_bytes: heap.heap_sys,
        heap_idle_bytes: heap.heap_idle,
        heap_inuse_bytes: heap.heap_inuse,
        heap_released_bytes: heap.heap_released,
        stack_inuse_bytes: heap.stack_inuse,
        stack_sys_bytes: heap.stack_sys,
        mspan_sys_bytes: heap.mspan_sys,
        mcache_sys_bytes: heap.mcache_sys,
        buckhash_sys_bytes: heap.buckhash_sys,
        gc_sys_bytes: heap.gc_sys,
        other_sys_bytes: heap.other_sys,
        live_bytes: heap.heap_live,
        marked_bytes: heap.heap_marked,
    }
}

pub(super) fn gc(gc: &model::GcStats) -> Gc {
    Gc {
        cycles: gc.cycles,
        forced_cycles: gc.forced_cycles,
        pause_total_ns: gc.pause_total_ns,
        recent_pauses: gc
            .recent_pauses
            .iter()
            .map(|pause| Pause { duration_ns: pause.duration_ns, ended_at: time(pause.end_unix_ns) })
            .collect(),
        cpu_fraction: Some(gc.cpu_fraction).filter(|share| share.is_finite()),
        last_at: gc.last_unix_ns.map(time),
        next_goal_bytes: gc.next_goal,
        gc_percent: gc.gc_percent,
        memory_limit_bytes: gc.memory_limit,
        enabled: gc.enabled,
        phase: gc.phase.map(model::GcPhase::name),
    }
}

pub(super) fn death<'a>(index: &Index<'a>, death: &'a model::Death) -> Death<'a> {
    let panics = death.panics.iter().map(|panic| PanicValue {
        go_type: panic.go_type.as_deref(),
        text: &panic.text,
        recovered: panic.recovered,
        repanicked: panic.repanicked,
        goexit: panic.goexit,
    });
    let stack = death.stack.and_then(|id| index.snapshot().symbols.stack(id));
    Death {
        kind: death.kind.name(),
        headline: death.headline(),
        text: &death.text,
        message: death.message.as_deref(),
        panics: panics.collect(),
        signal: death.signal.as_ref().map(signal),
        core_signal: signal(&death.core_signal),
        thread_id: death.thread,
        m_id: death.m,
        stack: death.stack_kind.name(),
        object: death.object.as_deref(),
        goroutine_id: death.goroutine.map(|id| id.0),
        frames: stack.map(|stack| frames_of(index, stack)),
        frames_complete: death.stack_complete,
        certain: death.certain,
    }
}

fn signal(signal: &model::DeathSignal) -> DeathSignal {
    DeathSignal {
        number: signal.number,
        name: signal.name(),
        code: signal.code,
        address: signal.addr.map(HexAddr),
        pc: signal.pc.map(HexAddr),
        sender_pid: signal.sender_pid,
        sender_uid: signal.sender_uid,
    }
}

pub(super) fn processor(p: &model::Processor) -> Processor {
    Processor {
        id: p.id,
        address: HexAddr(p.addr),
        status: p.status.name(),
        schedtick: p.schedtick,
        syscalltick: p.syscalltick,
        m_id: p.m,
        goroutine_id: p.running.map(|id| id.0),
        run_queue: p.run_queue,
        runnext_id: p.runnext.map(|id| id.0),
        timers: p.timers,
    }
}

/// `sysmon` is the id of the M that runs it.
pub(super) fn thread(m: &model::Thread, sysmon: Option<i64>) -> Thread {
    Thread {
        id: m.id,
        address: HexAddr(m.addr),
        thread_id: m.tid,
        state: m.state,
        goroutine_id: m.goroutine.map(|id| id.0),
        p_id: m.p,
        spinning: m.spinning,
        blocked: m.blocked,
        in_cgo: m.in_cgo,
        cgo_calls: m.cgo_calls,
        locked_goroutine_id: m.locked_goroutine.map(|id| id.0),
        sysmon: sysmon == Some(m.id),
    }
}

pub(super) fn warning(warning: &model::Warning) -> Warning<'_> {
    Warning { code: warning.code.name(), message: &warning.message, count: warning.count }
}

pub(super) fn goroutine<'a>(
    index: &Index<'a>,
    goroutine: &model::Goroutine,
    (with_frames, with_arguments): (bool, bool),
    shared: &mut SharedJson,
) -> serde_json::Result<Goroutine<'a, Piece, Piece, Piece>> {
    let symbols = &index.snapshot().symbols;
    let thread = index.thread(goroutine);
    let age = index.age(goroutine);
    let frames = match goroutine.stack {
        StackState::Known(_) if with_frames && with_arguments => {
            Some(SharedJson::own(&frames_with_arguments(index, goroutine))?)
        }
        StackState::Known(id) if with_frames => Some(shared.stack(id, || frames(index, goroutine))?),
        _ => None,
    };
    let foreign = goroutine.foreign.filter(|_| with_frames).and_then(|id| symbols.foreign(id));
    let user = match index.place(goroutine, PlaceKind::User) {
        analysis::Place::Unknown => None,
        known => Some(shared.user_place(known, || UserPlace::of(symbols, known))?),
    };
    let mut place = |frame: Option<FrameId>| -> serde_json::Result<Option<Piece>> {
        frame.map(|frame| shared.place(frame, || place(symbols, Some(frame)))).transpose()
    };
    Ok(Goroutine {
        id: goroutine.id.0,
        address: HexAddr(goroutine.addr),
        state: goroutine.status.name(),
        wait_reason: index.reason(goroutine),
        wait_ns: age.map(|age| age.at_least_ns),
        wait_source: age.map(|age| age.source.name()),
        wait_at_most_ns: index.wait_at_most_ns(goroutine),
        waiting_on: waiting_on(index.snapshot(), goroutine),
        system: goroutine.system,
        locked: goroutine.locked,
        scan: goroutine.scan,
        m_id: thread.map(|thread| thread.id),
        thread_id: thread.and_then(|thread| thread.tid),
        parent_id: goroutine.parent.map(|id| id.0),
        place: user,
        current: place(goroutine.current.or(goroutine.innermost))?,
        innermost: place(goroutine.innermost)?,
        start: place(goroutine.start)?,
        creator: place(goroutine.creator)?,
        stack: StackBytes {
            status: stack_status(goroutine.stack),
            used_bytes: goroutine.stack_used(),
            reserved_bytes: goroutine.stack_reserved(),
        },
        stack_since: index.snapshot().stack_since_unix_ns(goroutine).map(time),
        panic: goroutine.panic.map(|id| symbols.str(id)),
        labels: goroutine.labels.map(|id| {
            symbols.labels(id).iter().map(|label| (symbols.str(label.key), symbols.str(label.value))).collect()
        }),
        bubble_id: goroutine.bubble.map(std::num::NonZeroU64::get),
        frames,
        c_frames: foreign.map(|stack| stack.frames.iter().map(|frame| c_frame(symbols, frame)).collect()),
        c_frames_complete: foreign.map(|stack| stack.complete),
        c_syscall: foreign.and_then(|stack| stack.syscall),
        ancestors: goroutine.ancestors.map(|id| symbols.ancestors(id).iter().map(|a| ancestor(symbols, a)).collect()),
    })
}

pub(super) fn group<'a>(index: &Index<'a>, group: &analysis::Group, with_frames: bool) -> Option<Group<'a>> {
    let example = index.snapshot().goroutines.get(group.example)?;
    let symbols = &index.snapshot().symbols;
    let on = group.details.waits_on.as_ref();
    Some(Group {
        count: group.count,
        ids: group.ids.iter().map(|id| id.0).collect(),
        state: example.status.name(),
        wait_reason: index.reason(example),
        states: group.details.states.iter().map(|state| group_state(index.snapshot(), *state)).collect(),
        label: if let What::Label(value) = group.key.what { Some(symbols.str(value)) } else { None },
        wait_shortest_ns: group.wait.map(|wait| wait.shortest_ns),
        wait_longest_ns: group.wait.map(|wait| wait.longest_ns),
        wait_known: group.wait.map_or(0, |wait| wait.known),
        wait_watched: group.wait.map_or(0, |wait| wait.watched),
        parent_id: group.details.parent.map(|id| id.0),
        place: UserPlace::of(symbols, index.place(example, PlaceKind::User)),
        current: place(symbols, example.current.or(example.innermost)),
        start: place(symbols, example.start),
        creator: place(symbols, example.creator),
        waiting_on: on.and_then(|on| shared_wait(index.snapshot(), on)),
        waiting_on_count: on.map(|on| on.count),
        stack_used_bytes: group.details.stack_used,
        stack_reserved_bytes: group.details.stack_reserved,
        frames: with_frames.then(|| frames(index, example)).flatten(),
        label_keys: group.details.labels.distinct_keys,
        labels: labels::documents(&group.details.labels, symbols),
    })
}

fn group_state(
    snapshot: &model::Snapshot,
    (status, reason, count): (model::Status, Option<model::WaitReasonId>, u64),
) -> GroupState<'_> {
    GroupState { state: status.name(), wait_reason: reason.and_then(|reason| snapshot.wait_reason(reason)), count }
}

fn stack_status(stack: StackState) -> &'static str {
    match stack {
        StackState::Known(_) => "known",
        StackState::NotShown(NotShown::Running) => "running",
        StackState::NotShown(NotShown::Moving) => "moving",
        StackState::NotShown(NotShown::Unreadable) => "unreadable",
        StackState::NotShown(NotShown::NoStack) => "none",
        StackState::NotShown(NotShown::NotAsked) => "not_asked",
    }
}

fn place(symbols: &SymbolPool, frame: Option<FrameId>) -> Option<Place<'_>> {
    let frame = symbols.frame(frame?)?;
    Some(Place {
        function: symbols.str(frame.function),
        file: Some(symbols.str(frame.file)).filter(|file| !file.is_empty()),
        line: Some(frame.line).filter(|line| *line > 0),
        pc: HexAddr(frame.pc),
    })
}

fn c_frame<'a>(symbols: &'a SymbolPool, frame: &model::ForeignFrame) -> CFrame<'a> {
    CFrame {
        function: frame.function.map(|name| symbols.str(name)),
        object: Some(symbols.str(frame.object)).filter(|path| !path.is_empty()),
        pc: HexAddr(frame.pc),
        offset: frame.offset,
        language: "c",
    }
}

fn ancestor<'a>(symbols: &'a SymbolPool, ancestor: &model::Ancestor) -> Ancestor<'a> {
    Ancestor {
        id: ancestor.id.0,
        frames: ancestor.frames.iter().filter_map(|&frame| place(symbols, Some(frame))).collect(),
        creator: place(symbols, ancestor.creator),
    }
}

fn frames<'a>(index: &Index<'a>, goroutine: &model::Goroutine) -> Option<Vec<Frame<'a>>> {
    index.stack(goroutine).map(|stack| frames_of(index, stack))
}

/// The frames of a goroutine's stack with the words of their arguments.
fn frames_with_arguments<'a>(index: &Index<'a>, goroutine: &model::Goroutine) -> Option<Vec<Frame<'a>>> {
    let details = index.snapshot().traceback.as_ref();
    let words = details.and_then(|details| details.arguments.of(goroutine.addr));
    let stack = index.stack(goroutine)?;
    let mut frames = frames_of(index, stack);
    let mut physical = 0;
    for (frame, place) in frames.iter_mut().zip(&stack.frames) {
        frame.arguments = Some(None);
        if frame.inlined {
            continue;
        }
        let words = words.and_then(|words| words.frame(physical, place.fp_offset));
        physical += 1;
        frame.arguments = Some(words.map(|words| {
            let mut text = String::new();
            write_words(&mut text, &words);
            text
        }));
    }
    Some(frames)
}

fn frames_of<'a>(index: &Index<'a>, stack: &model::Stack) -> Vec<Frame<'a>> {
    let symbols = &index.snapshot().symbols;
    let frames = stack.frames.iter().filter_map(|stack_frame| {
        let frame = symbols.frame(stack_frame.frame)?;
        let function = symbols.str(frame.function);
        let (package, language) = match frame.language {
            Language::Go => (go_names::package(function), "go"),
            Language::Foreign => (None, "foreign"),
        };
        Some(Frame {
            function,
            package,
            file: Some(symbols.str(frame.file)).filter(|file| !file.is_empty()),
            line: Some(frame.line).filter(|line| *line > 0),
            pc: HexAddr(frame.pc),
            inlined: frame.inlined,
            hidden: stack_frame.hidden,
            language,
            arguments: None,
        })
    });
    frames.collect()
}
