//! The types of the JSON document.
//!
//! Addresses are `"0x…"` strings, durations integers in ns, sizes integers in bytes. What is unknown
//! is `null`, and its key is there. Enumerations are open: a reader must expect words that it does
//! not know.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::report::findings::FindingDocument;
use crate::report::labels::LabelKey;
use crate::report::members::UserPlace;

/// One reading of one Go program.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy snapshot")]
pub struct Document<'a, L> {
    /// Raised only by a change that breaks readers.
    pub schema_version: u32,
    /// Version of the gospy that wrote this.
    pub gospy_version: &'static str,
    /// When the reading ended; RFC 3339, UTC.
    pub captured_at: String,
    /// What was read.
    pub target: Target<'a>,
    /// How it was read, and how consistent the snapshot is.
    pub reading: Reading<'a>,
    /// The scheduler; null where it was not found.
    pub sched: Option<Sched>,
    /// The heap as runtime.MemStats would report it; null where it was not found.
    pub heap: Option<Heap>,
    /// The garbage collector; null where it was not found.
    pub gc: Option<Gc>,
    /// How the program died; null for one that lives, or lived when its core file was made.
    pub death: Option<Death<'a>>,
    /// Every P.
    pub processors: Vec<Processor>,
    /// Every M.
    pub threads: Vec<Thread>,
    /// The goroutines.
    pub goroutines: Goroutines<'a, L>,
    /// Definite problems, of all goroutines, whichever are listed.
    pub findings: Vec<FindingDocument>,
    /// Warnings.
    pub warnings: Vec<Warning<'a>>,
    /// Whether everything that was asked for is here.
    pub complete: bool,
}

/// What was read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Target<'a> {
    /// Process id.
    pub pid: i32,
    /// Path of the executable as the kernel gives it.
    pub exe: &'a str,
    /// Arguments.
    pub cmdline: &'a [String],
    /// Go's build id.
    pub build_id: Option<&'a str>,
    /// The toolchain, as in go1.26.6.
    pub go_version: &'a str,
    /// Where the version was found.
    pub go_version_source: &'a str,
    /// GOARCH.
    pub arch: &'a str,
    /// Module and version control, from the build info.
    pub module: Module<'a>,
    /// Whether the executable has neither symbols nor DWARF.
    pub stripped: bool,
    /// GOMAXPROCS.
    pub gomaxprocs: Option<u32>,
    /// Threads as the kernel counts them.
    pub os_threads: Option<u32>,
    /// Since the runtime started, ns.
    pub uptime_ns: Option<u64>,
    /// The kernel's state letter of the process.
    pub process_state: Option<char>,
    /// CPU time used so far, ns.
    pub cpu_ns: Option<u64>,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    /// What it uses of what it may use, as the kernel counts it.
    pub resources: Resources,
}

/// What a process uses of what it may use. Of several cgroups above each other, the one with the tightest
/// limit counts.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Resources {
    /// CPU time used in the latest interval, user and system, ns.
    pub cpu_used_ns: Option<u64>,
    /// Length of that interval, ns; null where there was none, or too short a one.
    pub cpu_interval_ns: Option<u64>,
    /// cgroup: CPU time allowed in a period, µs; null without a limit.
    pub cpu_quota_us: Option<u64>,
    /// cgroup: length of that period, µs.
    pub cpu_period_us: Option<u64>,
    /// cgroup: periods so far in which something was able to run (nr_periods).
    pub cpu_periods: Option<u64>,
    /// cgroup: of them, those in which the quota ran out (nr_throttled).
    pub cpu_throttled_periods: Option<u64>,
    /// cgroup: time that threads were made to wait so far, ns.
    pub cpu_throttled_ns: Option<u64>,
    /// cgroup: memory allowed; null without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// cgroup: memory used, page cache included.
    pub memory_used_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// Soft limit of open file descriptors; null without a limit.
    pub fd_limit: Option<u64>,
}

/// Module and version control.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Module<'a> {
    /// Path of the main package.
    pub package: Option<&'a str>,
    /// Module path.
    pub path: Option<&'a str>,
    /// Module version.
    pub version: Option<&'a str>,
    /// vcs.revision.
    pub vcs_revision: Option<&'a str>,
    /// vcs.time.
    pub vcs_time: Option<&'a str>,
    /// vcs.modified.
    pub vcs_modified: Option<bool>,
    /// All build settings.
    pub settings: &'a BTreeMap<String, String>,
}

/// How the program was read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reading<'a> {
    /// How memory was read. Open enumeration.
    pub backend: &'a str,
    /// From the first read to the last, ns.
    pub duration_ns: u64,
    /// System calls that read memory.
    pub syscalls: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Where the offsets came from.
    pub layout: &'a str,
    /// How the target was stopped; null when it was not.
    pub freeze: Option<Freeze>,
    /// How well the parts belong together.
    pub consistency: Consistency,
    /// Where each symbol came from.
    pub provenance: Vec<Provenance<'a>>,
}

/// How a program died, by its core file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Death<'a> {
    /// panic, throw, fatal, signal, outside_go. Open enumeration.
    pub kind: &'static str,
    /// The cause on one line, in the words of the runtime where it has any.
    pub headline: String,
    /// What the program printed before the stacks; empty where it printed nothing.
    pub text: &'a str,
    /// What throw or fatal was called with.
    pub message: Option<&'a str>,
    /// The panics of the goroutine, oldest first.
    pub panics: Vec<PanicValue<'a>>,
    /// The signal that caused it: sent to the program, or the fault that became a panic.
    pub signal: Option<DeathSignal>,
    /// The signal that the kernel ended the process with. A program that dies by itself sends itself
    /// SIGABRT in the end, whatever the cause.
    pub core_signal: DeathSignal,
    /// The kernel's id of the thread on which it happened.
    pub thread_id: i32,
    /// Id of its M; null for a thread that Go does not know.
    pub m_id: Option<i64>,
    /// The stack on which it happened: goroutine, g0, gsignal, outside_go. Open enumeration.
    pub stack: &'static str,
    /// Path of the file whose code the signal hit, where that is not Go's.
    pub object: Option<&'a str>,
    /// Id of the goroutine to blame; null where it happened in none.
    pub goroutine_id: Option<u64>,
    /// Its frames, innermost first; null where they are not known.
    pub frames: Option<Vec<Frame<'a>>>,
    /// Whether frames is all of them; of a stack that overflowed there are too many.
    pub frames_complete: bool,
    /// Whether all of this is certain, and nothing of it likely only.
    pub certain: bool,
}

/// One panic of a chain.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PanicValue<'a> {
    /// Name of the value's type; string for an error or a Stringer, which the runtime has replaced by
    /// its text. Null for nil, and where it is not known.
    pub go_type: Option<&'a str>,
    /// The value as the runtime prints it.
    pub text: &'a str,
    /// Whether it was recovered.
    pub recovered: bool,
    /// Whether it was recovered and the same value thrown again (Go 1.25 and later).
    pub repanicked: bool,
    /// Whether it is no panic but a runtime.Goexit.
    pub goexit: bool,
}

/// A signal of a program that died.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeathSignal {
    /// Its number.
    pub number: i32,
    /// SIGSEGV and such.
    pub name: String,
    /// si_code; positive where the kernel itself sent it. Null where it is not known.
    pub code: Option<i64>,
    /// The address of the fault; null where it was none.
    pub address: Option<String>,
    /// The instruction that it hit.
    pub pc: Option<String>,
    /// The process that sent it.
    pub sender_pid: Option<i32>,
    /// User id of that process.
    pub sender_uid: Option<u32>,
}

/// A stop that was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Freeze {
    /// Whether all threads stood still together, or running ones one by one.
    pub whole_program: bool,
    /// For how long the target (or its slowest thread) stood still, ns.
    pub stopped_ns: u64,
    /// How many threads were stopped.
    pub threads: u32,
}

/// How well the parts belong together.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Consistency {
    /// Goroutines read and validated.
    pub validated: u64,
    /// Of them, after more than one try.
    pub retried: u64,
    /// Goroutines that changed on every try.
    pub moving: u64,
    /// Goroutines that could not be read.
    pub unreadable: u64,
}

/// Where a symbol came from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Provenance<'a> {
    /// The symbol.
    pub name: &'a str,
    /// Its source.
    pub source: &'a str,
    /// What agrees with it.
    pub cross_checks: &'a [String],
}

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
    pub address: String,
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
    pub address: String,
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

/// The goroutines.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Goroutines<'a, L> {
    /// All that are not dead, whatever is listed.
    pub total: u64,
    /// Of them, the program's own.
    pub user: u64,
    /// Of them, the runtime's own.
    pub system: u64,
    /// Dead ones, free for reuse; not in total.
    pub dead: u64,
    /// Of total, by state.
    pub by_state: BTreeMap<&'static str, u64>,
    /// Of total, by wait reason in the target's own words.
    pub by_wait_reason: BTreeMap<String, u64>,
    /// How many match the filter, before any limit.
    pub matching: u64,
    /// How many groups there are before any limit; null where none were asked for.
    pub group_count: Option<u64>,
    /// Groups, where they were asked for; the list is empty then.
    pub groups: Option<Vec<Group<'a>>>,
    /// Those that were asked for.
    pub list: L,
}

/// A goroutine. Places and frames are types of their own, since so many goroutines share them that
/// they are better made once than each time.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Goroutine", description = "A goroutine.")]
pub struct Goroutine<'a, P, U, F> {
    /// Its id.
    pub id: u64,
    /// Address of its runtime.g.
    pub address: String,
    /// running, runnable, syscall, waiting, ... as the runtime calls them. Open enumeration.
    pub state: &'static str,
    /// Why it waits, in the target's own words.
    pub wait_reason: Option<&'a str>,
    /// For how long it has been blocked at least, ns. The runtime only knows it from the first
    /// collection after it blocked.
    pub wait_ns: Option<u64>,
    /// How wait_ns is known: gc, estimated from the timestamps of garbage collections; watched, measured
    /// by reading the program more than once. Null where wait_ns is. Open enumeration.
    pub wait_source: Option<&'static str>,
    /// For how long it can have been blocked at most, ns; null where nothing bounds it, and unless it is
    /// blocked.
    pub wait_at_most_ns: Option<u64>,
    /// Whether it is the runtime's own.
    pub system: bool,
    /// Whether it is locked to its thread.
    pub locked: bool,
    /// Whether the garbage collector held it.
    pub scan: bool,
    /// Id of its M.
    pub m_id: Option<i64>,
    /// The kernel's id of its thread.
    pub thread_id: Option<i32>,
    /// Id of the goroutine that created it.
    pub parent_id: Option<u64>,
    /// Where it is in the user's code, which is what it is shown at and grouped by; null where nothing is
    /// known. A system goroutine is where it started.
    pub place: Option<U>,
    /// Where it is: the innermost frame that is not the runtime's.
    pub current: Option<P>,
    /// Where it is, the runtime's frames included.
    pub innermost: Option<P>,
    /// The function that it started in.
    pub start: Option<P>,
    /// The go statement that created it.
    pub creator: Option<P>,
    /// Its stack.
    pub stack: StackBytes,
    /// The value of the panic that it is in, as the runtime would print it; null where it is in none, or
    /// has recovered.
    pub panic: Option<&'a str>,
    /// The program's own pprof labels.
    pub labels: Option<BTreeMap<&'a str, &'a str>>,
    /// Id of its synctest bubble.
    pub bubble_id: Option<u64>,
    /// Its frames, innermost first; null where they were not asked for or are not known.
    pub frames: Option<F>,
    /// What it does in C, below the innermost frame of Go; null where it is not there or that is not
    /// known.
    pub c_frames: Option<Vec<CFrame<'a>>>,
    /// Whether c_frames goes up to Go; null where there is none.
    pub c_frames_complete: Option<bool>,
    /// Number of the system call that it waits in, in C.
    pub c_syscall: Option<u64>,
    /// Its creators' stacks, nearest first, where the program keeps them.
    pub ancestors: Option<Vec<Ancestor<'a>>>,
}

/// A goroutine's stack.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StackBytes {
    /// known; or why it is not: running, moving, unreadable, none, not_asked. Open enumeration.
    pub status: &'static str,
    /// Bytes in use.
    pub used_bytes: Option<u64>,
    /// Bytes reserved.
    pub reserved_bytes: Option<u64>,
}

/// A place in code.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Place<'a> {
    /// Function.
    pub function: &'a str,
    /// Source file.
    pub file: Option<&'a str>,
    /// Line in it.
    pub line: Option<u32>,
    /// Program counter; a return address in all but the innermost frame.
    pub pc: String,
}

/// A frame of a stack.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Frame<'a> {
    /// Function.
    pub function: &'a str,
    /// Its package's path; null outside of Go.
    pub package: Option<Cow<'a, str>>,
    /// Source file.
    pub file: Option<&'a str>,
    /// Line in it.
    pub line: Option<u32>,
    /// Program counter as it stands in the frame.
    pub pc: String,
    /// Whether it was inlined into the next one.
    pub inlined: bool,
    /// Whether the runtime's own traceback leaves it out at its normal level.
    pub hidden: bool,
    /// go or foreign. Open enumeration.
    pub language: &'static str,
    /// Only with --arguments: the words of its arguments as Go's tracebacks print them; null for a call that was
    /// inlined, and where they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Option<String>>,
}

/// A frame of C, or whatever else Go's own tables do not know.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CFrame<'a> {
    /// Function, as the symbol table has it; null where it has none.
    pub function: Option<&'a str>,
    /// File that holds its code: the program or a shared library.
    pub object: Option<&'a str>,
    /// Program counter; a return address in all but the innermost frame.
    pub pc: String,
    /// How far that is into the function, or the address that the file has for it where the
    /// function is null.
    pub offset: u64,
    /// c. Open enumeration.
    pub language: &'static str,
}

/// A creator of a goroutine, with its stack at the time.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ancestor<'a> {
    /// Its id.
    pub id: u64,
    /// Its frames, innermost first.
    pub frames: Vec<Place<'a>>,
    /// Where it was created itself.
    pub creator: Option<Place<'a>>,
}

/// Goroutines with the same state, wait reason and stack.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Group<'a> {
    /// How many.
    pub count: u64,
    /// Ids of the first of them.
    pub ids: Vec<u64>,
    /// Their state. Open enumeration.
    pub state: &'static str,
    /// Why they wait.
    pub wait_reason: Option<&'a str>,
    /// Shortest known wait, ns.
    pub wait_shortest_ns: Option<u64>,
    /// Longest known wait, ns.
    pub wait_longest_ns: Option<u64>,
    /// How many waits are known.
    pub wait_known: u64,
    /// Of these, how many were measured by reading the program more than once.
    pub wait_watched: u64,
    /// The goroutine that created all of them; null where it was not the same one or is unknown.
    pub parent_id: Option<u64>,
    /// Where one of them is in the user's code.
    pub place: Option<UserPlace<'a>>,
    /// Where one of them is.
    pub current: Option<Place<'a>>,
    /// The function that one of them started in.
    pub start: Option<Place<'a>>,
    /// The go statement that created one of them.
    pub creator: Option<Place<'a>>,
    /// Bytes of stack in use by all of them, as far as known.
    pub stack_used_bytes: u64,
    /// Bytes of stack reserved for all of them.
    pub stack_reserved_bytes: u64,
    /// Frames of one of them; null where they were not asked for or are not known.
    pub frames: Option<Vec<Frame<'a>>>,
    /// How many distinct keys their labels have.
    pub label_keys: u64,
    /// The program's own pprof labels by key, the most frequent keys first, at most 100.
    pub labels: Vec<LabelKey<'a>>,
}

/// A warning; equal ones are counted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Warning<'a> {
    /// A stable code. Open enumeration.
    pub code: &'static str,
    /// A sentence with the values of the first time.
    pub message: &'a str,
    /// How often.
    pub count: u64,
}
