//! From the document to the model.

use std::num::NonZeroU64;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::super::read::age;
use super::super::visit::unix_ns;
use super::types::{Ancestor, CFrame, Gc, Goroutine, Heap, Place, Processor, Reading, Sched, Target, Thread, Warning};
use super::waiting::{RestoredWaits, WaitingOn};
use crate::addr::{Addr, Arch};
use crate::analysis::Age;
use crate::analysis::census::{LongestWaits, WaitBound};
use crate::model::{
    self, AncestorsId, Consistency, ForeignFrame, ForeignStack, ForeignStackId, Frame, FrameId, FreezeInfo, GcPhase,
    GcStats, Goid, HeapStats, Label, Language, ModuleInfo, NotShown, PStatus, Provenance, Scheduler, Snapshot, Stack,
    StackFrame, StackId, StackReadings, StackState, Status, SymbolPool, TargetInfo, WaitReasonId, WarningCode,
    Warnings, WatchedWaits,
};
use crate::process::Backend;
use crate::runtime::version::GoVersionSource;

/// Where a restored stack is said to be: only its size is known.
const STACK_LO: u64 = 1 << 32;
/// Most different wait reasons; the runtime numbers them with a byte.
const MAX_REASONS: usize = 255;

/// What is known of a goroutine once everything has been read.
#[derive(Debug)]
struct Later {
    m: Option<i64>,
    age: Option<Age>,
    at_most_ns: Option<u64>,
    waiting_on: Option<Box<WaitingOn>>,
    stack_since: Option<String>,
}

/// What was read back so far.
#[derive(Default)]
pub(super) struct Restored {
    pub(super) captured_at_unix_ns: u64,
    /// Whether the document says that something is missing.
    incomplete: bool,
    target: TargetInfo,
    reading: model::Reading,
    sched: Option<Scheduler>,
    heap: Option<HeapStats>,
    gc: Option<GcStats>,
    processors: Vec<model::Processor>,
    threads: Vec<model::Thread>,
    goroutines: Vec<model::Goroutine>,
    /// For each goroutine the id of its M, and for what and how long it has waited.
    later: Vec<Later>,
    pub(super) total: u64,
    pub(super) dead: u64,
    wait_reasons: Vec<String>,
    reason_ids: FxHashMap<String, WaitReasonId>,
    pub(super) death: Option<model::Death>,
    symbols: SymbolPool,
    warnings: Warnings,
}

impl Restored {
    pub(super) fn complete(&mut self, complete: bool) {
        self.incomplete = !complete;
    }

    pub(super) fn target(&mut self, target: Target) {
        let module = target.module;
        self.target = TargetInfo {
            pid: target.pid,
            exe: target.exe,
            cmdline: target.cmdline,
            build_id: target.build_id,
            text: None,
            go_version: target.go_version,
            go_version_source: known(&target.go_version_source, GoVersionSource::ALL.map(GoVersionSource::name)),
            arch: known(&target.arch, [Arch::Amd64, Arch::Arm64].map(Arch::name)),
            module: ModuleInfo {
                package: module.package,
                path: module.path,
                version: module.version,
                vcs_revision: module.vcs_revision,
                vcs_time: module.vcs_time,
                vcs_modified: module.vcs_modified,
                settings: module.settings,
            },
            stripped: target.stripped,
            gomaxprocs: target.gomaxprocs,
            os_threads: target.os_threads,
            uptime_ns: target.uptime_ns,
            process_state: target.process_state,
            cpu_ns: target.cpu_ns,
            rss_bytes: target.rss_bytes,
            resources: target.resources,
        };
    }

    pub(super) fn reading(&mut self, reading: Reading) {
        let consistency = reading.consistency;
        self.reading = model::Reading {
            backend: known(&reading.backend, Backend::ALL.map(Backend::name)),
            duration_ns: reading.duration_ns,
            syscalls: reading.syscalls,
            bytes: reading.bytes,
            freeze: reading.freeze.map(|freeze| FreezeInfo {
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
            stacks: reading.stacks.map(|stacks| StackReadings {
                read: stacks.read,
                kept: stacks.kept,
                kept_proven: stacks.kept_proven,
                oldest_ms: stacks.oldest_ms,
            }),
            layout: reading.layout,
            provenance: reading
                .provenance
                .into_iter()
                .map(|fact| Provenance { name: fact.name, source: fact.source, cross_checks: fact.cross_checks })
                .collect(),
        };
    }

    pub(super) fn sched(&mut self, sched: Option<Sched>) {
        self.sched = sched.map(|sched| Scheduler {
            threads: sched.threads,
            idle_threads: sched.idle_threads,
            spinning_threads: sched.spinning_threads,
            freed_threads: sched.freed_threads,
            idle_processors: sched.idle_processors,
            global_run_queue: sched.global_run_queue,
            local_run_queues: sched.local_run_queues,
            system_goroutines: sched.system_goroutines,
            goroutines_created: sched.goroutines_created,
            goroutines_created_exact: sched.goroutines_created_exact,
            stopping_the_world: sched.stopping_the_world,
            max_threads: sched.max_threads,
        });
    }

    pub(super) fn heap(&mut self, heap: Option<Heap>) {
        self.heap = heap.map(|heap| HeapStats {
            heap_alloc: heap.alloc_bytes,
            total_alloc: heap.total_alloc_bytes,
            sys: heap.sys_bytes,
            mallocs: heap.mallocs,
            frees: heap.frees,
            heap_sys: heap.heap_sys_bytes,
            heap_idle: heap.heap_idle_bytes,
            heap_inuse: heap.heap_inuse_bytes,
            heap_released: heap.heap_released_bytes,
            heap_objects: heap.objects,
            stack_inuse: heap.stack_inuse_bytes,
            stack_sys: heap.stack_sys_bytes,
            mspan_sys: heap.mspan_sys_bytes,
            mcache_sys: heap.mcache_sys_bytes,
            buckhash_sys: heap.buckhash_sys_bytes,
            gc_sys: heap.gc_sys_bytes,
            other_sys: heap.other_sys_bytes,
            heap_live: heap.live_bytes,
            heap_marked: heap.marked_bytes,
        });
    }

    pub(super) fn gc(&mut self, gc: Option<Gc>) {
        let phases = [GcPhase::Off, GcPhase::Mark, GcPhase::MarkTermination];
        let phase = |text: &str| phases.into_iter().find(|phase| phase.name() == text);
        self.gc = gc.map(|gc| GcStats {
            cycles: gc.cycles,
            forced_cycles: gc.forced_cycles,
            pause_total_ns: gc.pause_total_ns,
            recent_pauses: gc
                .recent_pauses
                .iter()
                .filter_map(|pause| {
                    Some(model::Pause { duration_ns: pause.duration_ns, end_unix_ns: unix_ns(&pause.ended_at)? })
                })
                .collect(),
            cpu_fraction: gc.cpu_fraction.and_then(|text| text.get().parse().ok()).unwrap_or(f64::NAN),
            last_unix_ns: gc.last_at.as_deref().and_then(unix_ns),
            next_goal: gc.next_goal_bytes,
            gc_percent: gc.gc_percent,
            memory_limit: gc.memory_limit_bytes,
            enabled: gc.enabled,
            phase: gc.phase.map(|text| phase(&text).unwrap_or(GcPhase::Unknown(u32::MAX))),
        });
    }

    pub(super) fn processors(&mut self, processors: Vec<Processor>) {
        let statuses = [PStatus::Idle, PStatus::Running, PStatus::Syscall, PStatus::GcStop, PStatus::Dead];
        let status = |text: &str| statuses.into_iter().find(|status| status.name() == text);
        let processor = |p: Processor| model::Processor {
            id: p.id,
            addr: address(&p.address),
            status: status(&p.status).unwrap_or(PStatus::Unknown(u32::MAX)),
            schedtick: p.schedtick,
            syscalltick: p.syscalltick,
            m: p.m_id,
            running: p.goroutine_id.map(Goid),
            run_queue: p.run_queue,
            runnext: p.runnext_id.map(Goid),
            timers: p.timers,
        };
        self.processors = processors.into_iter().map(processor).collect();
    }

    pub(super) fn threads(&mut self, threads: Vec<Thread>) {
        let thread = |m: Thread| model::Thread {
            id: m.id,
            addr: address(&m.address),
            tid: m.thread_id,
            state: m.state,
            goroutine: m.goroutine_id.map(Goid),
            p: m.p_id,
            spinning: m.spinning,
            blocked: m.blocked,
            in_cgo: m.in_cgo,
            cgo_calls: m.cgo_calls,
            locked_goroutine: m.locked_goroutine_id.map(Goid),
        };
        self.threads = threads.into_iter().map(thread).collect();
    }

    pub(super) fn warnings(&mut self, warnings: Vec<Warning>) {
        for warning in warnings {
            match WarningCode::ALL.into_iter().find(|code| code.name() == warning.code) {
                Some(code) => self.warnings.add_many(code, warning.message, warning.count),
                // A later gospy's.
                None => self.warnings.add_many(
                    WarningCode::FieldRejected,
                    format!("{}: {}", warning.code, warning.message),
                    warning.count,
                ),
            }
        }
    }

    pub(super) fn add(&mut self, goroutine: Goroutine) -> Result<(), String> {
        let wait_reason = goroutine.wait_reason.as_deref().map(|text| self.reason(text)).transpose()?;
        let stack = self.stack(&goroutine);
        let foreign = goroutine
            .c_frames
            .as_deref()
            .map(|frames| self.foreign(frames, goroutine.c_frames_complete.unwrap_or(false), goroutine.c_syscall));
        let labels = goroutine.labels.as_ref().map(|labels| {
            let pool = &mut self.symbols;
            let label =
                |(key, value): (&String, &String)| Label { key: pool.intern_str(key), value: pool.intern_str(value) };
            let labels = labels.iter().map(label).collect();
            pool.intern_labels(labels)
        });
        let ancestors = goroutine.ancestors.as_deref().map(|ancestors| self.ancestors(ancestors));
        let mut place = |place: &Option<Place>| place.as_ref().map(|place| self.frame(place));
        let (current, innermost) = (place(&goroutine.current), place(&goroutine.innermost));
        let (start, creator) = (place(&goroutine.start), place(&goroutine.creator));
        let bytes = goroutine.stack;
        let hi = bytes.reserved_bytes.or(bytes.used_bytes).and_then(|len| STACK_LO.checked_add(len));
        let sp = hi.zip(bytes.used_bytes).and_then(|(hi, used)| hi.checked_sub(used));
        self.later.push(Later {
            m: goroutine.m_id,
            age: age(goroutine.wait_ns, goroutine.wait_source.as_deref()),
            at_most_ns: goroutine.wait_at_most_ns,
            waiting_on: goroutine.waiting_on,
            stack_since: goroutine.stack_since,
        });
        self.goroutines.push(model::Goroutine {
            id: Goid(goroutine.id),
            addr: address(&goroutine.address),
            status: status(&goroutine.state),
            scan: goroutine.scan,
            wait_reason,
            waiting_on: None,
            wait_since_ns: None,
            blocked_before_ns: None,
            run_seq: None,
            m: None,
            parent: goroutine.parent_id.map(Goid),
            creator,
            start,
            innermost,
            current,
            stack,
            stack_since_ns: None,
            stack_is_proven: false,
            foreign,
            sp: Addr(sp.unwrap_or(0)),
            stack_lo: Addr(if hi.is_some() { STACK_LO } else { 0 }),
            stack_hi: Addr(hi.unwrap_or(0)),
            labels,
            bubble: goroutine.bubble_id.and_then(NonZeroU64::new),
            system: goroutine.system,
            locked: goroutine.locked,
            ancestors,
            panic: goroutine.panic.as_deref().map(|text| self.symbols.intern_str(text)),
        });
        Ok(())
    }

    pub(super) fn finish(mut self) -> Snapshot {
        // The runtime's clock is not in the document. Waits count from any.
        let waits = self.later.iter().flat_map(|later| [later.age.map(|age| age.at_least_ns), later.at_most_ns]);
        let longest = waits.flatten().max().unwrap_or(0);
        let monotonic_ns = self.captured_at_unix_ns.max(longest).saturating_add(1);
        let ms: FxHashMap<i64, Addr> = self.threads.iter().map(|thread| (thread.id, thread.addr)).collect();
        let last_gc = self.gc.as_ref().and_then(|gc| Some((gc.last_unix_ns?, gc.cycles)));
        let uptime_ns = self.target.uptime_ns;
        let unstamped = LongestWaits::new(self.captured_at_unix_ns, last_gc, uptime_ns).of(WaitBound::Collection);
        let mut watched = WatchedWaits::default();
        let arch = Arch::of_name(self.target.arch);
        let mut waits = RestoredWaits::new(&mut self.symbols, monotonic_ns, arch);
        for (goroutine, later) in self.goroutines.iter_mut().zip(&self.later) {
            goroutine.m = later.m.and_then(|id| ms.get(&id)).copied();
            goroutine.waiting_on = later.waiting_on.as_deref().and_then(|wait| waits.add(goroutine.addr, wait));
            let since = |ns: u64| monotonic_ns.checked_sub(ns).and_then(NonZeroU64::new);
            goroutine.stack_since_ns = later
                .stack_since
                .as_deref()
                .and_then(unix_ns)
                .and_then(|read_ns| since(self.captured_at_unix_ns.saturating_sub(read_ns)));
            match later.age {
                Some(age) if age.is_measured() => {
                    if let Some(since) = since(age.at_least_ns) {
                        watched.insert(goroutine.id, since.get());
                    }
                }
                Some(age) => {
                    goroutine.blocked_before_ns = since(age.at_least_ns);
                    // It is not in the document, but what follows from it; what is shown as minutes is at least
                    // as long as the wait.
                    let stamp_ns = later.at_most_ns.and_then(LongestWaits::stamp_ns);
                    goroutine.wait_since_ns = since(stamp_ns.unwrap_or(0).max(age.at_least_ns));
                }
                // A stamp of which it is not known when it was set bounds it from above.
                None => {
                    let stamped = later.at_most_ns.filter(|&ns| Some(ns) != unstamped && Some(ns) != uptime_ns);
                    goroutine.wait_since_ns = stamped.and_then(LongestWaits::stamp_ns).and_then(since);
                }
            }
        }
        let (waits, not_in_go, descriptors) = waits.finish();
        // Whatever order they were asked for in.
        self.goroutines.sort_by_key(|goroutine| (goroutine.status.is_dead(), goroutine.id, goroutine.addr));
        let listed = self.goroutines.iter().filter(|goroutine| !goroutine.status.is_dead()).count() as u64;
        if listed < self.total {
            let message = format!("the snapshot lists {listed} of {} goroutines", self.total);
            self.warnings.add(WarningCode::LimitReached, message);
        }
        let mut snapshot = Snapshot {
            captured_at_unix_ns: self.captured_at_unix_ns,
            monotonic_ns,
            unchanged_since_ns: None,
            reading: self.reading,
            sched: self.sched,
            heap: self.heap,
            gc: self.gc,
            processors: self.processors,
            threads: self.threads,
            goroutines: self.goroutines.into(),
            dead_goroutines: self.dead,
            wait_reasons: self.wait_reasons,
            waits,
            not_in_go,
            descriptors,
            watched,
            traceback: None,
            death: self.death.map(|death| model::Death { process: self.target.pid, ..death }),
            target: self.target,
            symbols: Arc::new(self.symbols),
            warnings: self.warnings,
        };
        if self.incomplete && snapshot.is_complete() {
            // For a reason that is not among what it says, or that this gospy does not know.
            snapshot.warnings.add(WarningCode::Truncated, "the snapshot says that it is not complete");
        }
        snapshot
    }

    fn reason(&mut self, text: &str) -> Result<WaitReasonId, String> {
        if let Some(&id) = self.reason_ids.get(text) {
            return Ok(id);
        }
        let number = u8::try_from(self.wait_reasons.len()).ok().filter(|&number| usize::from(number) < MAX_REASONS);
        let id = WaitReasonId(number.ok_or_else(|| format!("there are more than {MAX_REASONS} wait reasons"))?);
        self.wait_reasons.push(text.to_owned());
        self.reason_ids.insert(text.to_owned(), id);
        Ok(id)
    }

    fn frame(&mut self, place: &Place) -> FrameId {
        let pc = address(&place.pc);
        let pool = &mut self.symbols;
        let frame = Frame {
            function: pool.intern_str(&place.function),
            file: pool.intern_str(place.file.as_deref().unwrap_or("")),
            line: place.line.unwrap_or(0),
            start_line: 0,
            pc,
            // How far that is into the function is not known, and not shown then.
            entry: pc,
            inlined: place.inlined,
            language: if place.language.as_deref() == Some("foreign") { Language::Foreign } else { Language::Go },
        };
        pool.intern_frame(frame)
    }

    pub(super) fn frames(&mut self, frames: &[Place]) -> StackId {
        let frame =
            |place: &Place| StackFrame { frame: self.frame(place), sp_offset: 0, fp_offset: 0, hidden: place.hidden };
        let frames = frames.iter().map(frame).collect();
        self.symbols.intern_stack(Stack { frames })
    }

    fn stack(&mut self, goroutine: &Goroutine) -> StackState {
        if let Some(frames) = &goroutine.frames {
            return StackState::Known(self.frames(frames));
        }
        StackState::NotShown(match goroutine.stack.status.as_str() {
            "running" => NotShown::Running,
            "moving" => NotShown::Moving,
            "unreadable" => NotShown::Unreadable,
            "none" => NotShown::NoStack,
            // Known then, and not written down.
            _ => NotShown::NotAsked,
        })
    }

    fn foreign(&mut self, frames: &[CFrame], complete: bool, syscall: Option<u64>) -> ForeignStackId {
        let pool = &mut self.symbols;
        let frame = |frame: &CFrame| ForeignFrame {
            function: frame.function.as_deref().map(|name| pool.intern_str(name)),
            object: pool.intern_str(frame.object.as_deref().unwrap_or("")),
            pc: address(&frame.pc),
            offset: frame.offset,
        };
        let frames = frames.iter().map(frame).collect();
        pool.intern_foreign(ForeignStack { frames, complete, syscall })
    }

    fn ancestors(&mut self, ancestors: &[Ancestor]) -> AncestorsId {
        let ancestor = |ancestor: &Ancestor| model::Ancestor {
            id: Goid(ancestor.id),
            frames: ancestor.frames.iter().map(|place| self.frame(place)).collect(),
            printed: Vec::new(),
            creator: ancestor.creator.as_ref().map(|place| self.frame(place)),
        };
        let ancestors = ancestors.iter().map(ancestor).collect();
        self.symbols.intern_ancestors(ancestors)
    }
}

/// The one of `names` that `text` is.
fn known<const N: usize>(text: &str, names: [&'static str; N]) -> &'static str {
    names.into_iter().find(|name| *name == text).unwrap_or("unknown")
}

fn status(text: &str) -> Status {
    let all = [
        Status::Idle,
        Status::Runnable,
        Status::Running,
        Status::Syscall,
        Status::Waiting,
        Status::Dead,
        Status::CopyStack,
        Status::Preempted,
        Status::Leaked,
        Status::DeadExtra,
    ];
    all.into_iter().find(|status| status.name() == text).unwrap_or(Status::Unknown(u8::MAX))
}

/// An address, or 0 where there is none.
pub(super) fn address(text: &str) -> Addr {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    Addr(u64::from_str_radix(digits, 16).unwrap_or(0))
}
