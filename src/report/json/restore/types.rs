//! The document as it is read back into a snapshot. Keys that are not known are passed over, and what is
//! missing is unknown.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::waiting::WaitingOn;
use crate::process::Resources;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Target {
    pub(super) pid: i32,
    pub(super) exe: String,
    pub(super) cmdline: Vec<String>,
    pub(super) build_id: Option<String>,
    pub(super) go_version: String,
    pub(super) go_version_source: String,
    pub(super) arch: String,
    pub(super) module: Module,
    pub(super) stripped: bool,
    pub(super) gomaxprocs: Option<u32>,
    pub(super) os_threads: Option<u32>,
    pub(super) uptime_ns: Option<u64>,
    pub(super) process_state: Option<char>,
    pub(super) cpu_ns: Option<u64>,
    pub(super) rss_bytes: Option<u64>,
    pub(super) resources: Resources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Module {
    pub(super) package: Option<String>,
    pub(super) path: Option<String>,
    pub(super) version: Option<String>,
    pub(super) vcs_revision: Option<String>,
    pub(super) vcs_time: Option<String>,
    pub(super) vcs_modified: Option<bool>,
    pub(super) settings: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reading {
    pub(super) backend: String,
    pub(super) duration_ns: u64,
    pub(super) syscalls: u64,
    pub(super) bytes: u64,
    pub(super) layout: String,
    pub(super) freeze: Option<Freeze>,
    pub(super) consistency: Consistency,
    pub(super) stacks: Option<Stacks>,
    pub(super) provenance: Vec<Provenance>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Freeze {
    pub(super) whole_program: bool,
    pub(super) stopped_ns: u64,
    pub(super) threads: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stacks {
    pub(super) read: u64,
    pub(super) kept: u64,
    pub(super) kept_proven: u64,
    pub(super) oldest_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Consistency {
    pub(super) validated: u64,
    pub(super) retried: u64,
    pub(super) moving: u64,
    pub(super) unreadable: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Provenance {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) cross_checks: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sched {
    pub(super) threads: Option<u64>,
    pub(super) idle_threads: Option<u64>,
    pub(super) spinning_threads: Option<u64>,
    pub(super) freed_threads: Option<u64>,
    pub(super) max_threads: Option<u64>,
    pub(super) idle_processors: Option<u64>,
    pub(super) global_run_queue: Option<u64>,
    pub(super) local_run_queues: Option<u64>,
    pub(super) system_goroutines: Option<u64>,
    pub(super) goroutines_created: Option<u64>,
    pub(super) goroutines_created_exact: bool,
    pub(super) stopping_the_world: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Heap {
    pub(super) alloc_bytes: u64,
    pub(super) total_alloc_bytes: u64,
    pub(super) sys_bytes: u64,
    pub(super) mallocs: u64,
    pub(super) frees: u64,
    pub(super) objects: u64,
    pub(super) heap_sys_bytes: u64,
    pub(super) heap_idle_bytes: u64,
    pub(super) heap_inuse_bytes: u64,
    pub(super) heap_released_bytes: u64,
    pub(super) stack_inuse_bytes: u64,
    pub(super) stack_sys_bytes: u64,
    pub(super) mspan_sys_bytes: u64,
    pub(super) mcache_sys_bytes: u64,
    pub(super) buckhash_sys_bytes: u64,
    pub(super) gc_sys_bytes: u64,
    pub(super) other_sys_bytes: u64,
    pub(super) live_bytes: Option<u64>,
    pub(super) marked_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Gc {
    pub(super) cycles: u32,
    pub(super) forced_cycles: u32,
    pub(super) pause_total_ns: u64,
    pub(super) recent_pauses: Vec<Pause>,
    /// As it was written: serde_json may read a number of another last digit.
    pub(super) cpu_fraction: Option<Box<RawValue>>,
    pub(super) last_at: Option<String>,
    pub(super) next_goal_bytes: Option<u64>,
    pub(super) gc_percent: Option<i32>,
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) enabled: Option<bool>,
    pub(super) phase: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pause {
    pub(super) duration_ns: u64,
    pub(super) ended_at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Processor {
    pub(super) id: i32,
    #[serde(default)]
    pub(super) address: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) schedtick: u32,
    #[serde(default)]
    pub(super) syscalltick: u32,
    pub(super) m_id: Option<i64>,
    pub(super) goroutine_id: Option<u64>,
    #[serde(default)]
    pub(super) run_queue: u32,
    pub(super) runnext_id: Option<u64>,
    pub(super) timers: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Thread {
    pub(super) id: i64,
    #[serde(default)]
    pub(super) address: String,
    pub(super) thread_id: Option<i32>,
    pub(super) state: Option<char>,
    pub(super) goroutine_id: Option<u64>,
    pub(super) p_id: Option<i32>,
    #[serde(default)]
    pub(super) spinning: bool,
    #[serde(default)]
    pub(super) blocked: bool,
    #[serde(default)]
    pub(super) in_cgo: bool,
    pub(super) cgo_calls: Option<u64>,
    pub(super) locked_goroutine_id: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Goroutine {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) address: String,
    pub(super) state: String,
    pub(super) wait_reason: Option<String>,
    pub(super) wait_ns: Option<u64>,
    pub(super) wait_source: Option<String>,
    pub(super) wait_at_most_ns: Option<u64>,
    pub(super) waiting_on: Option<Box<WaitingOn>>,
    pub(super) stack_since: Option<String>,
    #[serde(default)]
    pub(super) system: bool,
    #[serde(default)]
    pub(super) locked: bool,
    #[serde(default)]
    pub(super) scan: bool,
    pub(super) m_id: Option<i64>,
    pub(super) parent_id: Option<u64>,
    pub(super) current: Option<Place>,
    pub(super) innermost: Option<Place>,
    pub(super) start: Option<Place>,
    pub(super) creator: Option<Place>,
    #[serde(default)]
    pub(super) stack: StackBytes,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) bubble_id: Option<u64>,
    pub(super) frames: Option<Vec<Place>>,
    pub(super) c_frames: Option<Vec<CFrame>>,
    pub(super) c_frames_complete: Option<bool>,
    pub(super) c_syscall: Option<u64>,
    pub(super) ancestors: Option<Vec<Ancestor>>,
    pub(super) panic: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StackBytes {
    pub(super) status: String,
    pub(super) used_bytes: Option<u64>,
    pub(super) reserved_bytes: Option<u64>,
}

/// A place or a frame.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    pub(super) function: String,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    #[serde(default)]
    pub(super) pc: String,
    #[serde(default)]
    pub(super) inlined: bool,
    #[serde(default)]
    pub(super) hidden: bool,
    pub(super) language: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CFrame {
    pub(super) function: Option<String>,
    pub(super) object: Option<String>,
    #[serde(default)]
    pub(super) pc: String,
    #[serde(default)]
    pub(super) offset: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Ancestor {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) frames: Vec<Place>,
    pub(super) creator: Option<Place>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Warning {
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) count: u64,
}
