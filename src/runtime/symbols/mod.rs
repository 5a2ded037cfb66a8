//! Where the runtime keeps its variables.
//!
//! Three sources, best first: the program's own symbols (`.symtab`, DWARF), the machine code of runtime
//! functions that pclntab names, and a search through the data for structures that validate. Every source
//! that is at hand is asked, and they are compared: two that disagree are a warning, never a silent choice.
//! No address is used without a check of what is there where that can be judged.

pub(crate) mod code;
pub(crate) mod merge;
pub(crate) mod probe;
pub(crate) mod scan;
pub(crate) mod votes;

use std::collections::BTreeMap;
use std::fmt;

use crate::addr::LinkAddr;
use crate::model::Provenance;

/// A variable of the runtime that is read, or that shows where another one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Global {
    /// `allgs []*g`: every goroutine that ever was.
    Allgs,
    /// `allglen uintptr`: its length, read before `allgptr`.
    Allglen,
    /// `allgptr **g`: its array.
    Allgptr,
    /// `allp []*p`: the Ps, as many as GOMAXPROCS.
    Allp,
    /// `allm *m`: the newest M; the others are linked to it.
    Allm,
    /// `sched schedt`: the scheduler.
    Sched,
    /// `gomaxprocs int32`.
    Gomaxprocs,
    /// `memstats mstats`.
    Memstats,
    /// `gcController gcControllerState`.
    GcController,
    /// `mheap_ mheap`.
    Mheap,
    /// `semtable semTable`: who waits for semaphores.
    Semtable,
    /// `waitReasonStrings [...]string`.
    WaitReasonStrings,
    /// `runtimeInitTime int64`: when the program began, by `nanotime`.
    RuntimeInitTime,
    /// `gcphase uint32`.
    Gcphase,
    /// `buildVersion string`.
    BuildVersion,
    /// `m0 m`: the first M, which is the end of the list at `allm`.
    M0,
    /// `epfd int32`: the poller's epoll descriptor.
    Epfd,
}

impl Global {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Allgs,
        Self::Allglen,
        Self::Allgptr,
        Self::Allp,
        Self::Allm,
        Self::Sched,
        Self::Gomaxprocs,
        Self::Memstats,
        Self::GcController,
        Self::Mheap,
        Self::Semtable,
        Self::WaitReasonStrings,
        Self::RuntimeInitTime,
        Self::Gcphase,
        Self::BuildVersion,
        Self::M0,
        Self::Epfd,
    ];

    /// Its full name in the symbol table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allgs => "runtime.allgs",
            Self::Allglen => "runtime.allglen",
            Self::Allgptr => "runtime.allgptr",
            Self::Allp => "runtime.allp",
            Self::Allm => "runtime.allm",
            Self::Sched => "runtime.sched",
            Self::Gomaxprocs => "runtime.gomaxprocs",
            Self::Memstats => "runtime.memstats",
            Self::GcController => "runtime.gcController",
            Self::Mheap => "runtime.mheap_",
            Self::Semtable => "runtime.semtable",
            Self::WaitReasonStrings => "runtime.waitReasonStrings",
            Self::RuntimeInitTime => "runtime.runtimeInitTime",
            Self::Gcphase => "runtime.gcphase",
            Self::BuildVersion => "runtime.buildVersion",
            Self::M0 => "runtime.m0",
            Self::Epfd => "runtime.epfd",
        }
    }
}

/// Where an address came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolSource {
    /// `.symtab`.
    Symtab,
    /// DWARF.
    Dwarf,
    /// The code of runtime functions.
    Code {
        /// Which, and how they agree: "gcMarkTermination, gcenable and stackalloc, 11 of 11".
        detail: String,
    },
    /// What the data contain.
    Scan {
        /// What was recognised.
        detail: String,
    },
}

impl fmt::Display for SymbolSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symtab => f.write_str(".symtab"),
            Self::Dwarf => f.write_str("DWARF"),
            Self::Code { detail } => write!(f, "code of {detail}"),
            Self::Scan { detail } => write!(f, "search of the data: {detail}"),
        }
    }
}

/// A variable that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its address as linked.
    pub addr: LinkAddr,
    /// Where that came from.
    pub source: SymbolSource,
    /// What was compared and agrees.
    pub cross_checks: Vec<String>,
}

impl Located {
    pub(crate) fn new(addr: LinkAddr, source: SymbolSource) -> Self {
        Self { addr, source, cross_checks: Vec::new() }
    }
}

/// The variables that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols(BTreeMap<Global, Located>);

impl Symbols {
    /// One of them.
    #[must_use]
    pub fn get(&self, global: Global) -> Option<&Located> {
        self.0.get(&global)
    }

    /// Its address as linked.
    #[must_use]
    pub fn addr(&self, global: Global) -> Option<LinkAddr> {
        self.0.get(&global).map(|located| located.addr)
    }

    pub(crate) fn insert(&mut self, global: Global, located: Located) {
        self.0.insert(global, located);
    }

    /// Notes that something else agrees with where `global` is.
    pub(crate) fn confirm(&mut self, global: Global, by: impl Into<String>) {
        if let Some(located) = self.0.get_mut(&global) {
            located.cross_checks.push(by.into());
        }
    }

    /// All of them, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (Global, &Located)> {
        self.0.iter().map(|(global, located)| (*global, located))
    }

    /// The same for people.
    #[must_use]
    pub fn provenance(&self) -> Vec<Provenance> {
        self.iter()
            .map(|(global, located)| Provenance {
                name: global.name().to_owned(),
                source: located.source.to_string(),
                cross_checks: located.cross_checks.clone(),
            })
            .collect()
    }
}
