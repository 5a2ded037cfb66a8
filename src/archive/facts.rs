//! What a sample holds beside its lists: each fact is an element of a list of its own, so that it is written when
//! it changes.

use serde::{Deserialize, Serialize};

use super::Moment;
use crate::addr::Arch;
use crate::model::{
    Consistency, FreezeInfo, GcStats, HeapStats, ModuleInfo, Provenance, Resources, Scheduler, Snapshot, StackReadings,
    TextMapping, Warnings,
};
use crate::process::Backend;
use crate::runtime::version::GoVersionSource;

/// A fact. Variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Fact {
    /// When, and how it was read.
    Moment {
        /// By the runtime's `nanotime`, ns.
        monotonic_ns: u64,
        /// Since the Unix epoch, ns.
        unix_ns: u64,
        /// How many dead gs there are.
        dead: u64,
        /// How long reading took, ns.
        duration_ns: u64,
        /// System calls for it.
        syscalls: u64,
        /// Bytes read.
        bytes: u64,
        /// How it was stopped.
        freeze: Option<FreezeInfo>,
        /// How consistent it is.
        consistency: Consistency,
    },
    /// What it uses.
    Usage {
        /// GOMAXPROCS.
        gomaxprocs: Option<u32>,
        /// Threads of the process.
        os_threads: Option<u32>,
        /// Time since the runtime started, ns.
        uptime_ns: Option<u64>,
        /// Kernel's state letter.
        process_state: Option<char>,
        /// CPU time, ns.
        cpu_ns: Option<u64>,
        /// Resident memory, bytes.
        rss_bytes: Option<u64>,
        /// Of its limits.
        resources: Resources,
    },
    /// Which program it is.
    Program {
        /// Its pid.
        pid: i32,
        /// Path of its executable.
        exe: String,
        /// Arguments.
        cmdline: Vec<String>,
        /// Go's build id.
        build_id: Option<String>,
        /// Where its code is.
        text: Option<TextMapping>,
        /// The toolchain.
        go_version: String,
        /// Where that was found.
        go_version_source: String,
        /// `GOARCH`.
        arch: String,
        /// Module and version control.
        module: ModuleInfo,
        /// Whether there are neither symbols nor DWARF.
        stripped: bool,
    },
    /// How it is read.
    Sources {
        /// How memory was read.
        backend: String,
        /// Where offsets came from.
        layout: String,
        /// Where symbols came from.
        provenance: Vec<Provenance>,
    },
    /// The scheduler.
    Scheduler(Scheduler),
    /// The heap.
    Heap(HeapStats),
    /// The collector, without its pauses.
    Collector(GcStats),
    /// The texts of wait reasons.
    WaitReasons(Vec<String>),
    /// Warnings.
    Warnings(Warnings),
    /// Why it is not known what goroutines do that are not in Go.
    WhyNotInGo(String),
    /// Why descriptors are not known.
    WhyDescriptors(String),
    /// Which stacks were read then, and which were kept.
    Stacks(StackReadings),
}

impl Fact {
    /// Those of a snapshot, with what each one is about.
    pub(super) fn all(snapshot: &Snapshot) -> Vec<(u64, Self)> {
        let (target, reading) = (&snapshot.target, &snapshot.reading);
        let moment = Self::Moment {
            monotonic_ns: snapshot.monotonic_ns,
            unix_ns: snapshot.captured_at_unix_ns,
            dead: snapshot.dead_goroutines,
            duration_ns: reading.duration_ns,
            syscalls: reading.syscalls,
            bytes: reading.bytes,
            freeze: reading.freeze,
            consistency: reading.consistency,
        };
        let usage = Self::Usage {
            gomaxprocs: target.gomaxprocs,
            os_threads: target.os_threads,
            uptime_ns: target.uptime_ns,
            process_state: target.process_state,
            cpu_ns: target.cpu_ns,
            rss_bytes: target.rss_bytes,
            resources: target.resources,
        };
        let program = Self::Program {
            pid: target.pid,
            exe: target.exe.clone(),
            cmdline: target.cmdline.clone(),
            build_id: target.build_id.clone(),
            text: target.text.clone(),
            go_version: target.go_version.clone(),
            go_version_source: target.go_version_source.to_owned(),
            arch: target.arch.to_owned(),
            module: target.module.clone(),
            stripped: target.stripped,
        };
        let sources = Self::Sources {
            backend: reading.backend.to_owned(),
            layout: reading.layout.clone(),
            provenance: reading.provenance.clone(),
        };
        let collector = |gc: &GcStats| Self::Collector(GcStats { recent_pauses: Vec::new(), ..gc.clone() });
        let facts = [
            Some(moment),
            Some(usage),
            Some(program),
            Some(sources),
            snapshot.sched.clone().map(Self::Scheduler),
            snapshot.heap.clone().map(Self::Heap),
            snapshot.gc.as_ref().map(collector),
            Some(Self::WaitReasons(snapshot.wait_reasons.clone())),
            (!snapshot.warnings.is_empty()).then(|| Self::Warnings(snapshot.warnings.clone())),
            snapshot.not_in_go.why_unknown().map(|why| Self::WhyNotInGo(why.to_owned())),
            snapshot.descriptors.why_unknown().map(|why| Self::WhyDescriptors(why.to_owned())),
            reading.stacks.map(Self::Stacks),
        ];
        (0..).zip(facts).filter_map(|(about, fact)| Some((about, fact?))).collect()
    }

    /// Puts it into a snapshot, but for why others are unknown.
    pub(super) fn apply(&self, snapshot: &mut Snapshot) {
        let (target, reading) = (&mut snapshot.target, &mut snapshot.reading);
        match self.clone() {
            Self::Moment { monotonic_ns, unix_ns, dead, duration_ns, syscalls, bytes, freeze, consistency } => {
                (snapshot.monotonic_ns, snapshot.captured_at_unix_ns) = (monotonic_ns, unix_ns);
                snapshot.dead_goroutines = dead;
                (reading.duration_ns, reading.syscalls, reading.bytes) = (duration_ns, syscalls, bytes);
                (reading.freeze, reading.consistency) = (freeze, consistency);
            }
            Self::Usage { gomaxprocs, os_threads, uptime_ns, process_state, cpu_ns, rss_bytes, resources } => {
                (target.gomaxprocs, target.os_threads, target.uptime_ns) = (gomaxprocs, os_threads, uptime_ns);
                (target.process_state, target.cpu_ns, target.rss_bytes) = (process_state, cpu_ns, rss_bytes);
                target.resources = resources;
            }
            Self::Program {
                pid,
                exe,
                cmdline,
                build_id,
                text,
                go_version,
                go_version_source,
                arch,
                module,
                stripped,
            } => {
                (target.pid, target.exe, target.cmdline, target.build_id) = (pid, exe, cmdline, build_id);
                (target.text, target.go_version, target.module, target.stripped) = (text, go_version, module, stripped);
                target.go_version_source = known(&go_version_source, GoVersionSource::ALL.map(GoVersionSource::name));
                target.arch = known(&arch, [Arch::Amd64, Arch::Arm64].map(Arch::name));
            }
            Self::Sources { backend, layout, provenance } => {
                reading.backend = known(&backend, Backend::ALL.map(Backend::name));
                (reading.layout, reading.provenance) = (layout, provenance);
            }
            Self::Scheduler(sched) => snapshot.sched = Some(sched),
            Self::Heap(heap) => snapshot.heap = Some(heap),
            Self::Collector(gc) => snapshot.gc = Some(gc),
            Self::WaitReasons(reasons) => snapshot.wait_reasons = reasons,
            Self::Warnings(warnings) => snapshot.warnings = warnings,
            Self::Stacks(stacks) => reading.stacks = Some(stacks),
            Self::WhyNotInGo(_) | Self::WhyDescriptors(_) => {}
        }
    }

    /// When the sample was taken, if this says so.
    pub(super) fn moment(&self) -> Option<Moment> {
        match *self {
            Self::Moment { monotonic_ns, unix_ns, .. } => Some(Moment { monotonic_ns, unix_ns }),
            _ => None,
        }
    }
}

/// The one of `names` that `text` is.
fn known<const N: usize>(text: &str, names: [&'static str; N]) -> &'static str {
    names.into_iter().find(|name| *name == text).unwrap_or("unknown")
}
