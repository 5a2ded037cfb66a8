//! What was read, and how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::addr::Addr;
use crate::process::{Resources, Usage};

/// The module that a program was built from (`runtime/debug.BuildInfo.Main`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// Path of the main package.
    pub package: Option<String>,
    /// Module path.
    pub path: Option<String>,
    /// Module version.
    pub version: Option<String>,
    /// `vcs.revision`.
    pub vcs_revision: Option<String>,
    /// `vcs.time`.
    pub vcs_time: Option<String>,
    /// `vcs.modified`.
    pub vcs_modified: Option<bool>,
    /// All build settings by key (`-race`, `GOAMD64`, `CGO_ENABLED`, …).
    pub settings: BTreeMap<String, String>,
}

/// Where a program's code is mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextMapping {
    /// Path of the file that holds it: the executable, or the library that the Go program is.
    pub file: String,
    /// The file's GNU build id, in lower-case hexadecimal.
    pub gnu_build_id: Option<String>,
    /// First address.
    pub start: Addr,
    /// First address after it.
    pub end: Addr,
    /// Offset of the first byte in the file.
    pub offset: u64,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetInfo {
    /// Its pid at the time.
    pub pid: i32,
    /// Path of its executable, as the kernel reports it.
    pub exe: String,
    /// Arguments.
    pub cmdline: Vec<String>,
    /// Go's build id.
    pub build_id: Option<String>,
    /// Where its code is.
    pub text: Option<TextMapping>,
    /// The toolchain (`go1.26.6`), as the program itself reports it.
    pub go_version: String,
    /// Where that was found.
    pub go_version_source: &'static str,
    /// `GOARCH`.
    pub arch: &'static str,
    /// Module and version control.
    pub module: ModuleInfo,
    /// Whether there are neither symbols nor DWARF.
    pub stripped: bool,
    /// GOMAXPROCS now.
    pub gomaxprocs: Option<u32>,
    /// Threads of the process, as the kernel counts them.
    pub os_threads: Option<u32>,
    /// Time since the runtime started, ns.
    pub uptime_ns: Option<u64>,
    /// Kernel's state letter of the process.
    pub process_state: Option<char>,
    /// CPU time used so far, ns.
    pub cpu_ns: Option<u64>,
    /// Resident memory, bytes.
    pub rss_bytes: Option<u64>,
    /// What it uses of its limits.
    pub resources: Resources,
}

impl TargetInfo {
    /// What people call it: the base name of its executable; `?` where that is not known.
    #[must_use]
    pub fn name(&self) -> &str {
        self.exe.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("?")
    }
}

/// Where a fact came from, in words: "code of runtime.allgadd, 19 of 19 votes".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Name of the fact (`runtime.allgs`).
    pub name: String,
    /// Its source.
    pub source: String,
    /// Other sources that agree; empty when nothing was compared.
    pub cross_checks: Vec<String>,
}

/// How consistent a snapshot of a running target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// Goroutines read and validated; where a stack was kept from an earlier capture, the header.
    pub validated: u64,
    /// Of them, after more than one attempt.
    pub retried: u64,
    /// Goroutines that changed on every attempt to read them.
    pub moving: u64,
    /// Goroutines whose memory could not be read or was malformed.
    pub unreadable: u64,
}

/// How the stacks of a snapshot came to be known. A repeated capture reads those of goroutines that have gone on since
/// the one before, and keeps others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackReadings {
    /// Stacks that were read and validated in this capture.
    pub read: u64,
    /// Stacks that were read and validated in an earlier capture; the headers of their goroutines are unchanged.
    pub kept: u64,
    /// Of them, those that are proven to be the same, by the runtime's own stamp, or because nothing of the program has
    /// run since.
    pub kept_proven: u64,
    /// How long ago the oldest of the kept ones was read, ms; `None` where none was kept.
    pub oldest_ms: Option<u64>,
}

impl TargetInfo {
    /// Takes over what the kernel says of the process now.
    pub(crate) fn set_use(&mut self, usage: Usage, resources: Resources) {
        (self.process_state, self.cpu_ns, self.rss_bytes) = (usage.state, usage.cpu_ns, usage.rss_bytes);
        self.resources = resources;
    }
}

/// A freeze that was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeInfo {
    /// Whether all threads were stopped together, or only those that ran goroutines, one by one.
    pub whole_program: bool,
    /// How long the target (or the thread that was stopped longest) was stopped, ns.
    pub stopped_ns: u64,
    /// How many threads were stopped.
    pub threads: u32,
}

/// How a snapshot was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// How memory was read (`process_vm_readv`, …).
    pub backend: &'static str,
    /// From the first read to the last, ns.
    pub duration_ns: u64,
    /// System calls that read memory.
    pub syscalls: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Whether and how the target was stopped.
    pub freeze: Option<FreezeInfo>,
    /// How consistent it is.
    pub consistency: Consistency,
    /// Which stacks were read, and which were kept from earlier captures; `None` where that is not known, as in files
    /// of an older gospy.
    pub stacks: Option<StackReadings>,
    /// Which table the offsets came from ("table of go1.26", "DWARF", "inferred").
    pub layout: String,
    /// Where each symbol came from.
    pub provenance: Vec<Provenance>,
}
