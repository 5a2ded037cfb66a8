//! Scheduler, Ps, Ms, heap and garbage collector. Names follow `runtime.MemStats` and
//! `runtime.schedt`, so that their documentation applies.

use serde::{Deserialize, Serialize};

use super::Goid;
use crate::addr::Addr;

/// `runtime.sched` and what is counted over the Ps. `None` where this version of Go does not keep
/// the number or it could not be found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    /// Ms in existence (`mnext - nmfreed`).
    pub threads: Option<u64>,
    /// Ms that are idle and wait for work.
    pub idle_threads: Option<u64>,
    /// Ms that are looking for work.
    pub spinning_threads: Option<u64>,
    /// Ms that have ended (`nmfreed`).
    pub freed_threads: Option<u64>,
    /// Ps without work.
    pub idle_processors: Option<u64>,
    /// Goroutines on the global run queue.
    pub global_run_queue: Option<u64>,
    /// Goroutines on the Ps' own run queues together, `runnext` included.
    pub local_run_queues: Option<u64>,
    /// System goroutines as the scheduler counts them (`ngsys`).
    pub system_goroutines: Option<u64>,
    /// Goroutines created since the start. Exact from 1.26 on; before, an upper bound, because ids
    /// are handed out to Ps in batches of 16.
    pub goroutines_created: Option<u64>,
    /// Whether `goroutines_created` is exact.
    pub goroutines_created_exact: bool,
    /// Whether a stop of the world was asked for or is going on (`gcwaiting`).
    pub stopping_the_world: Option<bool>,
    /// Ms allowed (`debug.SetMaxThreads`).
    pub max_threads: Option<u64>,
}

/// `p.status` (runtime2.go; 1.19 to 1.27).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PStatus {
    /// Not in use.
    Idle,
    /// Owned by an M.
    Running,
    /// Its M is in a system call (up to 1.25).
    Syscall,
    /// Halted for a stop of the world.
    GcStop,
    /// Not used since GOMAXPROCS shrank.
    Dead,
    /// A number that no known runtime uses.
    Unknown(u32),
}

impl PStatus {
    /// The runtime's name without its `_P`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Syscall => "syscall",
            Self::GcStop => "gcstop",
            Self::Dead => "dead",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// A P.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processor {
    /// `p.id`.
    pub id: i32,
    /// Address of its `runtime.p`.
    pub addr: Addr,
    /// Its status.
    pub status: PStatus,
    /// Scheduler calls on it so far.
    pub schedtick: u32,
    /// System calls on it so far.
    pub syscalltick: u32,
    /// Id of the M that owns it.
    pub m: Option<i64>,
    /// Id of the goroutine that runs on it.
    pub running: Option<Goid>,
    /// Length of its run queue, without `runnext`.
    pub run_queue: u32,
    /// The goroutine that is to run next.
    pub runnext: Option<Goid>,
    /// Timers on its heap.
    pub timers: Option<u64>,
}

/// An M.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// `m.id`.
    pub id: i64,
    /// Address of its `runtime.m`.
    pub addr: Addr,
    /// The kernel's id of its thread (`m.procid`); `None` before it has one.
    pub tid: Option<i32>,
    /// The kernel's state letter of that thread.
    pub state: Option<char>,
    /// The goroutine on it (`m.curg`).
    pub goroutine: Option<Goid>,
    /// Id of the P that it owns.
    pub p: Option<i32>,
    /// Whether it looks for work.
    pub spinning: bool,
    /// Whether it is parked without work (`m.blocked`).
    pub blocked: bool,
    /// Whether it executes C code.
    pub in_cgo: bool,
    /// Cgo calls so far.
    pub cgo_calls: Option<u64>,
    /// The goroutine that is locked to it.
    pub locked_goroutine: Option<Goid>,
}

/// Heap and memory as `runtime.ReadMemStats` would report them; all in bytes but for the counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapStats {
    /// Bytes of live and not yet swept objects.
    pub heap_alloc: u64,
    /// Bytes allocated since the start.
    pub total_alloc: u64,
    /// Bytes obtained from the operating system.
    pub sys: u64,
    /// Objects allocated since the start.
    pub mallocs: u64,
    /// Objects freed since the start.
    pub frees: u64,
    /// Heap bytes obtained from the operating system.
    pub heap_sys: u64,
    /// Bytes in spans without objects.
    pub heap_idle: u64,
    /// Bytes in spans with objects.
    pub heap_inuse: u64,
    /// Bytes given back to the operating system.
    pub heap_released: u64,
    /// `mallocs - frees`.
    pub heap_objects: u64,
    /// Bytes in stack spans.
    pub stack_inuse: u64,
    /// Bytes of stacks obtained from the operating system.
    pub stack_sys: u64,
    /// Bytes for mspan structures.
    pub mspan_sys: u64,
    /// Bytes for mcache structures.
    pub mcache_sys: u64,
    /// Bytes for profiling tables.
    pub buckhash_sys: u64,
    /// Bytes for the collector's metadata.
    pub gc_sys: u64,
    /// Bytes for everything else of the runtime.
    pub other_sys: u64,
    /// `gcController.heapLive`: what the pacer counts as live now.
    pub heap_live: Option<u64>,
    /// Bytes marked by the latest cycle.
    pub heap_marked: Option<u64>,
}

/// One stop of the world for garbage collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// How long, ns.
    pub duration_ns: u64,
    /// When it ended, ns since the Unix epoch.
    pub end_unix_ns: u64,
}

/// What the collector does right now (`runtime.gcphase`, mgc.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GcPhase {
    /// No cycle runs (it may be sweeping).
    Off,
    /// Marking.
    Mark,
    /// Mark termination.
    MarkTermination,
    /// A number that no known runtime uses.
    Unknown(u32),
}

impl GcPhase {
    /// A word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Mark => "mark",
            Self::MarkTermination => "mark termination",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The garbage collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GcStats {
    /// Cycles completed.
    pub cycles: u32,
    /// Of them, asked for by `runtime.GC`.
    pub forced_cycles: u32,
    /// Time that the world was stopped, ns, over all cycles.
    pub pause_total_ns: u64,
    /// The latest pauses, newest first, at most 256.
    pub recent_pauses: Vec<Pause>,
    /// Share of the program's CPU time that the collector took, 0 to 1.
    pub cpu_fraction: f64,
    /// When the latest cycle ended, ns since the Unix epoch; `None` before the first.
    pub last_unix_ns: Option<u64>,
    /// Heap size at which the next cycle starts, bytes.
    pub next_goal: Option<u64>,
    /// `GOGC`; -1 when off.
    pub gc_percent: Option<i32>,
    /// `GOMEMLIMIT`, bytes; `None` when unlimited or unknown.
    pub memory_limit: Option<u64>,
    /// Whether collection is on.
    pub enabled: Option<bool>,
    /// What it does right now.
    pub phase: Option<GcPhase>,
}
