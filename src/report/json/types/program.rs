//! The program, and how it died.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Frame, HexAddr};
use crate::process::Resources;

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
    pub address: Option<HexAddr>,
    /// The instruction that it hit.
    pub pc: Option<HexAddr>,
    /// The process that sent it.
    pub sender_pid: Option<i32>,
    /// User id of that process.
    pub sender_uid: Option<u32>,
}
