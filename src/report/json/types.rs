//! The types of the JSON document.
//!
//! Addresses are `"0x…"` strings, durations integers in ns, sizes integers in bytes. What is unknown
//! is `null`, and its key is there. Enumerations are open: a reader must expect words that it does
//! not know.

mod program;
mod reading;
mod runtime;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::hex::HexAddr;
use super::waiting::WaitingOn;
use crate::report::findings::FindingDocument;
use crate::report::labels::LabelKey;
use crate::report::members::UserPlace;

pub use program::{Death, DeathSignal, Module, PanicValue, Target};
pub use reading::{Consistency, Freeze, Provenance, Reading, Stacks, Warning};
pub use runtime::{Gc, Heap, Pause, Processor, Sched, Thread};

/// A snapshot of one Go program.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy snapshot")]
pub struct Document<'a, L> {
    /// Raised only by a change that breaks readers.
    pub schema_version: u32,
    /// Version of the gospy that wrote this.
    pub gospy_version: &'static str,
    /// When the snapshot was complete; RFC 3339, UTC.
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
    /// What groups are made by: place, stack, similar, start, creator, state, reason, object, label=KEY. Null where
    /// none were asked for.
    pub grouped_by: Option<String>,
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
    pub address: HexAddr,
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
    /// What it waits for; null unless it is blocked, and where that was not looked for.
    pub waiting_on: Option<WaitingOn<'a>>,
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
    /// When its stack was read, in RFC 3339, where that was in an earlier reading than this one, and the goroutine has
    /// not gone on since, as far as its header shows; null where it was read now, or is not known.
    pub stack_since: Option<String>,
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
    pub pc: HexAddr,
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
    pub pc: HexAddr,
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
    pub pc: HexAddr,
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

/// Goroutines that have in common what they are grouped by: by place or stack, their states and wait reasons too.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Group<'a> {
    /// How many.
    pub count: u64,
    /// Ids of the first of them.
    pub ids: Vec<u64>,
    /// Their state; where it is not the same, that of the one with the lowest id. Open enumeration.
    pub state: &'static str,
    /// Why they wait, likewise.
    pub wait_reason: Option<&'a str>,
    /// How many are in which state, the most frequent first.
    pub states: Vec<GroupState<'a>>,
    /// The label's value, where groups are made by label; null where it is not there.
    pub label: Option<&'a str>,
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
    /// What all of them wait on, or nine of ten at least: the same object, connections with the same peer (remote),
    /// or connections that were accepted at the same address (local). What differs between them is null; all of it
    /// where they have nothing in common. Of a group of one, what that waits for.
    pub waiting_on: Option<WaitingOn<'a>>,
    /// How many of them wait on that; null where that is.
    pub waiting_on_count: Option<u64>,
    /// Bytes of stack in use by all of them, where known.
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

/// How many goroutines of a group are in a state.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GroupState<'a> {
    /// The state. Open enumeration.
    pub state: &'static str,
    /// Why they wait.
    pub wait_reason: Option<&'a str>,
    /// How many.
    pub count: u64,
}
