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
    /// Structures within it, which come and go with it.
    pub(crate) inner: &'static [&'static str],
    /// Function without its `runtime.`, and field.
    pub(crate) pairs: &'static [(&'static str, &'static str)],
}

pub(crate) const BALLOTS: &[Ballot] = &[
    Ballot {
        global: Global::Sched,
        structure: "runtime.schedt",
        inner: &["runtime.gQueue"],
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
        inner: &["runtime.consistentHeapStats", "runtime.heapStatsDelta"],
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
        inner: &[],
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
            ("gcControllerCommit", "lastHeapGoal"),
            ("gcAssistAlloc", "bgScanCredit"),
        ],
    },
    Ballot {
        global: Global::Mheap,
        structure: "runtime.mheap",
        inner: &[],
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

/// A structure that is like a table's but for something that was put in or taken out at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Fields of the table up to this offset are known to be where they were.
    pub(crate) kept: u32,
    /// Fields of the table from this offset on have moved.
    pub(crate) from: u32,
    /// Those from this offset on are known to.
    pub(crate) moved: u32,
    /// How far, in bytes.
    pub(crate) shift: i32,
    /// The first field that is known to have moved.
    pub(crate) field: &'static str,
}

/// Largest change of a structure that is taken for one, bytes.
const MAX_SHIFT: i64 = 256;

/// Whether all that disagree agree with each other, on an address near by, and are all before or all after
/// the others in the structure: then a field was added or removed between the two groups. A field between
/// them goes with the nearer one, which is no more than a guess.
pub(crate) fn split<'r>(
    ballot: &Ballot,
    table: &LayoutTable,
    refs: impl Fn(&str) -> Option<&'r BTreeSet<LinkAddr>>,
) -> Option<Split> {
    let (votes, asked) = tally(ballot, table, refs);
    let outcome = decide(&votes, &asked)?;
    let offset = |field: &&'static str| table.offset(ballot.structure, field);
    let rest: BTreeSet<&'static str> = outcome.dissent.iter().copied().collect();
    let near = |base: &LinkAddr| base.0.wrapping_sub(outcome.addr.0).cast_signed().unsigned_abs() <= MAX_SHIFT as u64;
    let agreed: Vec<LinkAddr> = votes
        .iter()
        .filter(|(base, fields)| **base != outcome.addr && near(base) && rest.iter().all(|f| fields.contains(f)))
        .map(|(base, _)| *base)
        .collect();
    let ([other], 2..) = (agreed.as_slice(), rest.len()) else { return None };
    // A function that refers to two fields as far apart as the shift speaks for both addresses.
    let both = votes.get(other)?;
    let most: Vec<&'static str> = asked.iter().copied().filter(|field| !both.contains(field)).collect();
    let span = |fields: &mut dyn Iterator<Item = u32>| -> Option<(u32, u32)> {
        let first = fields.next()?;
        Some(fields.fold((first, first), |(low, high), at| (low.min(at), high.max(at))))
    };
    let (rest_low, rest_high) = span(&mut rest.iter().filter_map(offset))?;
    let (most_low, most_high) = span(&mut most.iter().filter_map(offset))?;
    let (low_base, low_end, high_base, high_start) = if rest_high < most_low {
        (*other, rest_high, outcome.addr, most_low)
    } else if most_high < rest_low {
        (outcome.addr, most_high, *other, rest_low)
    } else {
        return None;
    };
    Some(Split {
        kept: low_end,
        moved: high_start,
        from: low_end + (high_start - low_end) / 2 + 1,
        shift: i32::try_from(high_base.0.wrapping_sub(low_base.0).cast_signed()).ok()?,
        field: asked.iter().copied().find(|field| offset(field) == Some(high_start))?,
    })
}

/// Counts the votes for one structure. `refs` gives the addresses that a function refers to, `None`
/// for one that is not there. `None` when fewer than half of the pairs agree, or when another
/// address has as many.
pub(crate) fn count<'r>(
    ballot: &Ballot,
    table: &LayoutTable,
    refs: impl Fn(&str) -> Option<&'r BTreeSet<LinkAddr>>,
) -> Option<Outcome> {
    let (votes, asked) = tally(ballot, table, refs);
    decide(&votes, &asked)
}

/// The fields that speak for each address.
type Votes = BTreeMap<LinkAddr, Vec<&'static str>>;

/// What speaks for each address, and all that were asked.
fn tally<'r>(
    ballot: &Ballot,
    table: &LayoutTable,
    refs: impl Fn(&str) -> Option<&'r BTreeSet<LinkAddr>>,
) -> (Votes, Vec<&'static str>) {
    let mut votes = Votes::new();
    let mut asked = Vec::new();
    for (function, field) in ballot.pairs {
        let (Some(offset), Some(targets)) = (table.offset(ballot.structure, field), refs(function)) else { continue };
        asked.push(*field);
        for target in targets {
            let base = LinkAddr(target.0.wrapping_sub(u64::from(offset)));
            votes.entry(base).or_default().push(field);
        }
    }
    (votes, asked)
}

fn decide(votes: &Votes, asked: &[&'static str]) -> Option<Outcome> {
    let (addr, agree) = votes.iter().max_by_key(|(_, fields)| fields.len())?;
    let tied = votes.values().filter(|fields| fields.len() == agree.len()).count() > 1;
    if tied || agree.len() * 2 < asked.len() || agree.len() < 3 {
        return None;
    }
    let mut dissent = asked.to_vec();
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

    #[test]
    fn one_insertion_is_recognised() {
        let table = checked_in(26, Arch::Amd64).unwrap();
        let sched = ballot(Global::Sched);
        let cut = table.offset(sched.structure, "mnext").unwrap();
        let mut changed = table.clone();
        changed.shift_fields(sched.structure, cut, 24);
        let program = functions(sched, &changed, 0x60_0000);
        let outcome = count(sched, &table, |f| program.get(f)).unwrap();
        assert!(!outcome.is_unanimous());
        let found = split(sched, &table, |f| program.get(f)).unwrap();
        assert_eq!((found.shift, found.field), (24, "mnext"));
        let ends = [found.kept, found.from, found.moved];
        assert!(ends.is_sorted() && found.kept < cut && found.moved == cut, "{ends:?}");
        let mut repaired = table.clone();
        repaired.shift_fields(sched.structure, found.from, found.shift);
        assert_eq!(repaired.structs, changed.structs);
        let again = count(sched, &repaired, |f| program.get(f)).unwrap();
        assert!(again.is_unanimous());
        assert_eq!(again.addr, LinkAddr(0x60_0000));
    }

    #[test]
    fn two_changes_are_not_guessed() {
        let table = checked_in(26, Arch::Amd64).unwrap();
        let sched = ballot(Global::Sched);
        let mut changed = table.clone();
        changed.shift_fields(sched.structure, table.offset(sched.structure, "mnext").unwrap(), 24);
        changed.shift_fields(sched.structure, table.offset(sched.structure, "sudoglock").unwrap(), 8);
        let program = functions(sched, &changed, 0x60_0000);
        assert_eq!(split(sched, &table, |f| program.get(f)), None);
        let right = functions(sched, &table, 0x60_0000);
        assert_eq!(split(sched, &table, |f| right.get(f)), None);
    }
}
