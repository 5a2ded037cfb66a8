//! The runtime's scheduler, heap and collector.

use schemars::JsonSchema;
use serde::Serialize;

use super::HexAddr;

/// The scheduler.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sched {
    /// Ms in existence.
    pub threads: Option<u64>,
    /// Idle Ms.
    pub idle_threads: Option<u64>,
    /// Ms that look for work.
    pub spinning_threads: Option<u64>,
    /// Ms that have ended.
    pub freed_threads: Option<u64>,
    /// Most Ms allowed.
    pub max_threads: Option<u64>,
    /// Idle Ps.
    pub idle_processors: Option<u64>,
    /// Length of the global run queue.
    pub global_run_queue: Option<u64>,
    /// Length of the Ps' own run queues together.
    pub local_run_queues: Option<u64>,
    /// System goroutines as the scheduler counts them.
    pub system_goroutines: Option<u64>,
    /// Goroutines created since the start.
    pub goroutines_created: Option<u64>,
    /// Whether goroutines_created is exact rather than an upper bound.
    pub goroutines_created_exact: bool,
    /// Whether the world is being stopped.
    pub stopping_the_world: Option<bool>,
}

/// The heap as runtime.MemStats would report it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Heap {
    /// HeapAlloc.
    pub alloc_bytes: u64,
    /// TotalAlloc.
    pub total_alloc_bytes: u64,
    /// Sys.
    pub sys_bytes: u64,
    /// Mallocs.
    pub mallocs: u64,
    /// Frees.
    pub frees: u64,
    /// HeapObjects.
    pub objects: u64,
    /// HeapSys.
    pub heap_sys_bytes: u64,
    /// HeapIdle.
    pub heap_idle_bytes: u64,
    /// HeapInuse.
    pub heap_inuse_bytes: u64,
    /// HeapReleased.
    pub heap_released_bytes: u64,
    /// StackInuse.
    pub stack_inuse_bytes: u64,
    /// StackSys.
    pub stack_sys_bytes: u64,
    /// MSpanSys.
    pub mspan_sys_bytes: u64,
    /// MCacheSys.
    pub mcache_sys_bytes: u64,
    /// BuckHashSys.
    pub buckhash_sys_bytes: u64,
    /// GCSys.
    pub gc_sys_bytes: u64,
    /// OtherSys.
    pub other_sys_bytes: u64,
    /// What the pacer counts as live now.
    pub live_bytes: Option<u64>,
    /// Marked by the latest cycle.
    pub marked_bytes: Option<u64>,
}

/// The garbage collector.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Gc {
    /// Completed cycles.
    pub cycles: u32,
    /// Of them, asked for by runtime.GC.
    pub forced_cycles: u32,
    /// Time that the world was stopped, over all cycles, ns.
    pub pause_total_ns: u64,
    /// The latest pauses, newest first.
    pub recent_pauses: Vec<Pause>,
    /// Share of the program's CPU time, 0 to 1.
    pub cpu_fraction: Option<f64>,
    /// When the latest cycle ended; RFC 3339, UTC.
    pub last_at: Option<String>,
    /// Heap size at which the next cycle starts.
    pub next_goal_bytes: Option<u64>,
    /// GOGC, -1 when off.
    pub gc_percent: Option<i32>,
    /// GOMEMLIMIT; null when there is none.
    pub memory_limit_bytes: Option<u64>,
    /// Whether collection is on.
    pub enabled: Option<bool>,
    /// off, mark, mark termination. Open enumeration.
    pub phase: Option<&'static str>,
}

/// One stop of the world.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pause {
    /// How long, ns.
    pub duration_ns: u64,
    /// When it ended; RFC 3339, UTC.
    pub ended_at: String,
}

/// A P.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Processor {
    /// Its id.
    pub id: i32,
    /// Address of its runtime.p.
    pub address: HexAddr,
    /// idle, running, syscall, gcstop, dead, unknown. Open enumeration.
    pub status: &'static str,
    /// Scheduler calls on it.
    pub schedtick: u32,
    /// System calls on it.
    pub syscalltick: u32,
    /// Id of the M that owns it.
    pub m_id: Option<i64>,
    /// Id of the goroutine that runs on it.
    pub goroutine_id: Option<u64>,
    /// Length of its run queue, without runnext.
    pub run_queue: u32,
    /// Id of the goroutine that runs next.
    pub runnext_id: Option<u64>,
    /// Timers on its heap.
    pub timers: Option<u64>,
}

/// An M.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Thread {
    /// Its id.
    pub id: i64,
    /// Address of its runtime.m.
    pub address: HexAddr,
    /// The kernel's id of its thread.
    pub thread_id: Option<i32>,
    /// The kernel's state letter.
    pub state: Option<char>,
    /// Id of the goroutine on it.
    pub goroutine_id: Option<u64>,
    /// Id of the P that it owns.
    pub p_id: Option<i32>,
    /// Whether it looks for work.
    pub spinning: bool,
    /// Whether it is parked without work.
    pub blocked: bool,
    /// Whether it executes C.
    pub in_cgo: bool,
    /// Calls of C so far.
    pub cgo_calls: Option<u64>,
    /// Id of the goroutine that is locked to it.
    pub locked_goroutine_id: Option<u64>,
    /// Whether it runs the runtime's monitor, which needs no P.
    pub sysmon: bool,
}
