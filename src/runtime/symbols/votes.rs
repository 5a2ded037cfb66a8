//! Finds the runtime's large structures by what its functions refer to.
//!
//! A function that touches `sched.npidle` holds the address of `sched` plus the offset of `npidle`.
//! Subtracting the offset from each address that it holds gives, among nonsense, the address of
//! `sched`; several such functions agree on nothing else. The pairs below hold in every build of
//! 1.19 to 1.27 that was tried (amd64 and arm64; plain, without inlining, without optimisation,
//! race, asan, PIE, cgo). When they do not all agree, the layout is not that of this program.

use std::collections::{BTreeMap, BTreeSet};

use super::Global;
use crate::addr::LinkAddr;
use crate::runtime::layout::LayoutTable;

/// One structure and the functions that refer to its fields.
#[derive(Debug)]
pub(crate) struct Ballot {
    pub(crate) global: Global,
    pub(crate) structure: &'static str,
    /// Function without its `runtime.`, and field.
    pub(crate) pairs: &'static [(&'static str, &'static str)],
}

pub(crate) const BALLOTS: &[Ballot] = &[
    Ballot {
        global: Global::Sched,
        structure: "runtime.schedt",
        pairs: &[
            ("acquireSudog", "sudoglock"),
            ("acquireSudog", "sudogcache"),
            ("releaseSudog", "sudoglock"),
            ("schedinit", "lastpoll"),
            ("schedinit", "maxmcount"),
            ("checkmcount", "maxmcount"),
            ("mput", "midle"),
            ("mput", "nmidle"),
            ("pidleput", "pidle"),
            ("pidleput", "npidle"),
            ("pidleget", "pidle"),
            ("newproc1", "goidgen"),
            ("newproc1", "ngsys"),
            ("mReserveID", "mnext"),
            ("gfput", "gFree"),
            ("procresize", "totaltime"),
            ("sysmon", "sysmonwait"),
            ("sysmon", "sysmonlock"),
            ("mexit", "nmfreed"),
        ],
    },
    Ballot {
        global: Global::Memstats,
        structure: "runtime.mstats",
        pairs: &[
            ("gcMarkTermination", "numgc"),
            ("gcMarkTermination", "gc_cpu_fraction"),
            ("gcMarkTermination", "last_gc_nanotime"),
            ("gcMarkTermination", "last_gc_unix"),
            ("gcMarkTermination", "numforcedgc"),
            ("gcMarkTermination", "pause_end"),
            ("gcMarkTermination", "pause_ns"),
            ("gcMarkTermination", "pause_total_ns"),
            ("gcMarkTermination", "lastHeapInUse"),
            ("gcenable", "enablegc"),
            ("stackalloc", "stacks_sys"),
        ],
    },
    Ballot {
        global: Global::GcController,
        structure: "runtime.gcControllerState",
        pairs: &[
            ("(*mcache).refill", "totalAlloc"),
            ("(*mheap).grow", "heapFree"),
            ("(*mheap).grow", "heapReleased"),
            ("(*sweepLocked).sweep", "totalFree"),
            ("gcMarkTermination", "dedicatedMarkTime"),
            ("gcMarkTermination", "heapInUse"),
            ("gcStart", "heapLive"),
            ("gcControllerCommit", "memoryLimit"),
            ("gcControllerCommit", "gcPercent"),
            ("gcAssistAlloc", "bgScanCredit"),
        ],
    },
    Ballot {
        global: Global::Work,
        structure: "runtime.workType",
        pairs: &[
            ("gcMarkTermination", "heap0"),
            ("gcMarkTermination", "heap1"),
            ("gcMarkTermination", "heap2"),
            ("gcMarkTermination", "pauseNS"),
            ("gcMarkTermination", "stwprocs"),
            ("gcMarkTermination", "tMark"),
            ("gcMarkTermination", "tSweepTerm"),
            ("gcMarkTermination", "tEnd"),
            ("gcMarkTermination", "userForced"),
            ("gcStart", "cycles"),
            ("gcStart", "startSema"),
        ],
    },
    Ballot {
        global: Global::Mheap,
        structure: "runtime.mheap",
        pairs: &[
            ("gcPaceSweeper", "pagesSwept"),
            ("gcPaceSweeper", "sweepHeapLiveBasis"),
            ("gcPaceSweeper", "sweepPagesPerByte"),
            ("gcPaceSweeper", "pagesSweptBasis"),
            ("gcPaceSweeper", "pagesInUse"),
            ("mallocinit", "arenaHints"),
            ("gcSweep", "sweepArenas"),
        ],
    },
];

/// The outcome of one ballot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) addr: LinkAddr,
    /// Pairs that agree on it.
    pub(crate) votes: u32,
    /// Pairs that were there to ask.
    pub(crate) asked: u32,
    /// Fields whose functions say otherwise.
    pub(crate) dissent: Vec<&'static str>,
}

impl Outcome {
    pub(crate) fn is_unanimous(&self) -> bool {
        self.votes == self.asked
    }
}

/// Counts the votes for one structure. `refs` gives the addresses that a function refers to, `None`
/// for one that is not there. `None` when fewer than half of the pairs agree, or when another
/// address has as many.
pub(crate) fn count<'r>(
    ballot: &Ballot,
    table: &LayoutTable,
    refs: impl Fn(&str) -> Option<&'r BTreeSet<LinkAddr>>,
) -> Option<Outcome> {
    let mut votes: BTreeMap<LinkAddr, Vec<&'static str>> = BTreeMap::new();
    let mut asked = Vec::new();
    for (function, field) in ballot.pairs {
        let (Some(offset), Some(targets)) = (table.offset(ballot.structure, field), refs(function)) else { continue };
        asked.push(*field);
        for target in targets {
            let base = LinkAddr(target.0.wrapping_sub(u64::from(offset)));
            votes.entry(base).or_default().push(field);
        }
    }
    let (addr, agree) = votes.iter().max_by_key(|(_, fields)| fields.len())?;
    let tied = votes.values().filter(|fields| fields.len() == agree.len()).count() > 1;
    if tied || agree.len() * 2 < asked.len() || agree.len() < 3 {
        return None;
    }
    let mut dissent = asked.clone();
    for field in agree {
        if let Some(at) = dissent.iter().position(|d| d == field) {
            dissent.remove(at);
        }
    }
    Some(Outcome {
        addr: *addr,
        votes: u32::try_from(agree.len()).ok()?,
        asked: u32::try_from(asked.len()).ok()?,
        dissent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::runtime::layout::checked_in;

    fn ballot(global: Global) -> &'static Ballot {
        BALLOTS.iter().find(|b| b.global == global).unwrap()
    }

    /// What the functions of a program with `table` would refer to, with `base` and some noise.
    fn functions(ballot: &Ballot, table: &LayoutTable, base: u64) -> BTreeMap<&'static str, BTreeSet<LinkAddr>> {
        let mut out: BTreeMap<&str, BTreeSet<LinkAddr>> = BTreeMap::new();
        for (n, (function, field)) in ballot.pairs.iter().enumerate() {
            let set = out.entry(function).or_default();
            set.insert(LinkAddr(0x50_0000 + 24 * n as u64));
            set.insert(LinkAddr(base + u64::from(table.offset(ballot.structure, field).unwrap())));
        }
        out
    }

    #[test]
    fn every_pair_is_in_every_table() {
        for minor in crate::runtime::layout::SUPPORTED_MINORS {
            let table = checked_in(*minor, Arch::Amd64).unwrap();
            for ballot in BALLOTS {
                for (_, field) in ballot.pairs {
                    assert!(table.offset(ballot.structure, field).is_some(), "1.{minor} {field}");
                }
            }
        }
    }

    #[test]
    fn the_right_table_is_unanimous_and_another_is_not() {
        let new = checked_in(26, Arch::Amd64).unwrap();
        let old = checked_in(19, Arch::Amd64).unwrap();
        for ballot in BALLOTS {
            let program = functions(ballot, &new, 0x60_0000);
            let outcome = count(ballot, &new, |f| program.get(f)).unwrap();
            assert_eq!(outcome.addr, LinkAddr(0x60_0000));
            assert!(outcome.is_unanimous() && outcome.dissent.is_empty());
            assert_eq!(outcome.asked as usize, ballot.pairs.len());
            let other = count(ballot, &old, |f| program.get(f));
            assert!(other.is_none_or(|o| !o.is_unanimous()), "{:?}", ballot.global);
        }
    }

    #[test]
    fn dissent_names_the_field_and_too_little_is_nothing() {
        let table = checked_in(25, Arch::Amd64).unwrap();
        let b = ballot(Global::Memstats);
        let mut program = functions(b, &table, 0x60_0000);
        program.insert("gcenable", BTreeSet::from([LinkAddr(0x1234)]));
        let outcome = count(b, &table, |f| program.get(f)).unwrap();
        assert_eq!((outcome.votes, outcome.asked, outcome.dissent), (10, 11, vec!["enablegc"]));
        program.retain(|f, _| *f != "gcMarkTermination");
        assert_eq!(count(b, &table, |f| program.get(f)), None);
        assert_eq!(count(b, &table, |_| None), None);
    }
}
