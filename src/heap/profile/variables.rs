//! Where the variables of the profiles are: lists of buckets, rates, and the number of the cycle.
//!
//! By the symbol table, or by the code of the functions that use them; but only when somebody asks for a
//! profile. The rules hold in 1.19 to 1.27, with and without optimisation, on amd64 and arm64.

use std::collections::{BTreeMap, BTreeSet};

use crate::addr::{Addr, LinkAddr};
use crate::bytes::FieldsExt as _;
use crate::image::code_refs::{CodeRef, data_refs};
use crate::image::elf::Elf;
use crate::image::symtab;
use crate::process::{ReadError, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::mirror::mprof::{BLOCK_PROFILE, BucketLayout, MUTEX_PROFILE};

/// Longest function that is decoded, bytes.
const MAX_CODE: u64 = 256 << 10;

/// Functions that read `runtime.MemProfileRate`, of which each version has some.
const USERS_OF_RATE: [&str; 13] = [
    "profilealloc",
    "allocmcache",
    "nextSample",
    "parsegodebug",
    "parsedebugvars",
    "mallocgc",
    "mallocgcLarge",
    "mallocgcTiny",
    "mallocgcSmallNoscan",
    "mallocgcSmallScanHeader",
    "mallocgcSmallScanNoHeader",
    "profilealloc1",
    "schedinit",
];
/// Functions that read the rate of the block profile; the last one only where the program can set it.
const USERS_OF_BLOCK_RATE: [&str; 5] = ["chansend", "chanrecv", "semacquire1", "blockevent", "SetBlockProfileRate"];
/// Likewise of the mutex profile, beside `semacquire1`, which reads both: locks of the runtime itself are in it from
/// 1.22 on. `mutexevent` is linked under the other name.
const USERS_OF_MUTEX_RATE: [&str; 7] = [
    "sync.event",
    "mutexevent",
    "(*lockTimer).begin",
    "(*mLockProfile).store",
    "(*mLockProfile).storeSlow",
    "unlock2",
    "SetMutexProfileFraction",
];
const OTHERS: [&str; 6] =
    ["mProf_FlushLocked", "stkbucket", "mProf_Malloc", "mProf_Free", "mProf_NextCycle", "mProf_Flush"];
/// What reads the profile (runtime/mprof.go; to 1.22, and from 1.23 on). Without either, the linker has set
/// `disableMemoryProfiling`.
const READERS: [&str; 2] = ["MemProfile", "memProfileInternal"];

/// Addresses of the variables in the process; `None` for what was not found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// `mbuckets`: the newest bucket of the heap profile.
    pub(super) allocations: Option<Addr>,
    /// `bbuckets`: that of the block profile. Without symbols it is found only once something was recorded.
    pub(super) block: Option<Addr>,
    /// `xbuckets`: that of the mutex profile, likewise.
    pub(super) mutex: Option<Addr>,
    /// `mProfCycle`.
    pub(super) cycle: Option<Addr>,
    /// `MemProfileRate`.
    pub(super) rate: Option<Addr>,
    /// `blockprofilerate`.
    pub(super) block_rate: Option<Addr>,
    /// `mutexprofilerate`.
    pub(super) mutex_rate: Option<Addr>,
    /// Whether the program has what reads the heap profile.
    pub(super) is_linked: bool,
}

impl Variables {
    /// Looks for them.
    pub(super) fn find(process: GoProcess<'_>, bucket: &BucketLayout) -> Result<Self, ReadError> {
        let program = process.program;
        let own = named(&program.elf, |link| program.bias.load(link));
        let named = own.or_else(|| {
            let (elf, shift) = program.symbols()?;
            named(elf, |link| program.bias.load(LinkAddr(link.0.wrapping_add(shift))))
        });
        let code = Code::of(process, named.is_some());
        let is_linked = READERS.iter().any(|name| code.functions.contains(*name));
        match named {
            Some(found) => Ok(Self { is_linked, ..found }),
            None => Ok(Self { is_linked, ..code.variables(process, bucket)? }),
        }
    }
}

/// By the symbol table, if it has the list of the heap profile.
fn named(elf: &Elf, load: impl Fn(LinkAddr) -> Addr) -> Option<Variables> {
    const NAMES: [&str; 7] = [
        "runtime.mbuckets",
        "runtime.bbuckets",
        "runtime.xbuckets",
        "runtime.mProfCycle",
        "runtime.MemProfileRate",
        "runtime.blockprofilerate",
        "runtime.mutexprofilerate",
    ];
    let symbols = symtab::Symbols::load(elf, |name| NAMES.iter().any(|wanted| wanted.as_bytes() == name)).ok()?;
    let [allocations, block, mutex, cycle, rate, block_rate, mutex_rate] =
        NAMES.map(|name| symbols.get(name).map(|symbol| load(symbol.addr)));
    allocations?;
    Some(Variables { allocations, block, mutex, cycle, rate, block_rate, mutex_rate, is_linked: false })
}

/// What functions of the runtime refer to.
struct Code {
    /// The functions that the program has.
    functions: BTreeSet<&'static str>,
    refs: BTreeMap<&'static str, Vec<CodeRef>>,
}

impl Code {
    /// Of those that say where something is, or, where that is known, only whether they are there.
    fn of(process: GoProcess<'_>, names_only: bool) -> Self {
        let all: &[&[&'static str]] = &[&READERS, &USERS_OF_RATE, &USERS_OF_BLOCK_RATE, &USERS_OF_MUTEX_RATE, &OTHERS];
        let wanted: BTreeSet<&'static str> =
            if names_only { all.get(..1).unwrap_or_default() } else { all }.concat().into_iter().collect();
        let full = |name: &&str| if name.starts_with("sync.") { (*name).to_owned() } else { format!("runtime.{name}") };
        let full: Vec<String> = wanted.iter().map(full).collect();
        let full: Vec<&str> = full.iter().map(String::as_str).collect();
        let program = process.program;
        let found = program.pclntab.find_functions(&full);
        let mut out = Self { functions: BTreeSet::new(), refs: BTreeMap::new() };
        for (name, full) in wanted.into_iter().zip(full) {
            let Some(function) = found.get(full) else { continue };
            out.functions.insert(name);
            if READERS.contains(&name) {
                continue;
            }
            let len = function.end.0.saturating_sub(function.entry.0).min(MAX_CODE);
            let code = usize::try_from(len).ok().and_then(|len| program.elf.read(function.entry, len));
            let mut refs = data_refs(process.arch(), &code.unwrap_or_default(), function.entry);
            refs.retain(|r| program.module.is_data(program.bias.load(r.target)));
            out.refs.insert(name, refs);
        }
        out
    }

    /// `mProfCycle`: what both functions that count read. Without optimisation they take its address, as they
    /// do with their locks; those are not what a new cycle changes.
    fn cycle(&self) -> Option<LinkAddr> {
        const COUNT: [&str; 2] = ["mProf_Malloc", "mProf_Free"];
        let read = |function: &str| -> BTreeSet<LinkAddr> {
            let refs = self.refs.get(function).map_or(&[][..], Vec::as_slice);
            refs.iter().filter(|r| r.size == 4).map(|r| r.target).collect()
        };
        let both: BTreeSet<LinkAddr> = read(COUNT[0]).intersection(&read(COUNT[1])).copied().collect();
        only(both).or_else(|| {
            let taken = self.common(&COUNT, 4);
            let with = |other| taken.intersection(&self.targets(other, 4)).copied().collect::<BTreeSet<_>>();
            only(with("mProf_NextCycle")).or_else(|| only(with("mProf_Flush")))
        })
    }

    /// What `function` reads or writes `size` bytes of, or takes the address of.
    fn targets(&self, function: &str, size: u8) -> BTreeSet<LinkAddr> {
        let refs = self.refs.get(function).map_or(&[][..], Vec::as_slice);
        refs.iter().filter(|r| r.size == 0 || r.size == size).map(|r| r.target).collect()
    }

    /// What all of `functions` that the program has refer to; nothing where it has fewer than two.
    fn common(&self, functions: &[&str], size: u8) -> BTreeSet<LinkAddr> {
        let there: Vec<&&str> = functions.iter().filter(|name| self.functions.contains(**name)).collect();
        if there.len() < 2 {
            return BTreeSet::new();
        }
        let sets = there.into_iter().map(|name| self.targets(name, size));
        sets.reduce(|a, b| a.intersection(&b).copied().collect()).unwrap_or_default()
    }

    fn variables(&self, process: GoProcess<'_>, bucket: &BucketLayout) -> Result<Variables, ReadError> {
        let load = |link: LinkAddr| process.program.bias.load(link);
        let allocations = only(self.common(&["mProf_FlushLocked", "stkbucket"], 8));
        let (mut block, mut mutex) = (None, None);
        for link in self.targets("stkbucket", 8).into_iter().filter(|link| Some(*link) != allocations) {
            match kind_of_first(process, load(link), bucket)? {
                Some(BLOCK_PROFILE) => block = Some(link),
                Some(MUTEX_PROFILE) => mutex = Some(link),
                _ => {}
            }
        }
        let block_rates = self.common(&USERS_OF_BLOCK_RATE, 8);
        let mut locking = self.targets("semacquire1", 8);
        locking.retain(|link| !block_rates.contains(link));
        Ok(Variables {
            allocations: allocations.map(load),
            block: block.map(load),
            mutex: mutex.map(load),
            cycle: self.cycle().map(load),
            rate: self.most(&USERS_OF_RATE, |_| true).map(load),
            block_rate: only(block_rates).map(load),
            mutex_rate: self.most(&USERS_OF_MUTEX_RATE, |link| locking.contains(link)).map(load),
            is_linked: false,
        })
    }

    /// What most of `functions` refer to, of what `fits`.
    fn most(&self, functions: &[&str], fits: impl Fn(&LinkAddr) -> bool) -> Option<LinkAddr> {
        let mut votes: BTreeMap<LinkAddr, usize> = BTreeMap::new();
        for link in functions.iter().flat_map(|name| self.targets(name, 8)).filter(fits) {
            *votes.entry(link).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        only(votes.into_iter().filter(|(_, count)| *count == most).map(|(link, _)| link))
    }
}

/// Of which kind the first bucket of the list at `at` is; `None` where there is no bucket.
fn kind_of_first(process: GoProcess<'_>, at: Addr, layout: &BucketLayout) -> Result<Option<u64>, ReadError> {
    /// Deepest stack that can be set (`maxProfStackDepth`, runtime/mprof.go).
    const DEEPEST: u64 = 1024;
    let target = process.target;
    let Some(first) = target.read_u64(at)?.filter(|first| *first != 0 && first.is_multiple_of(8)) else {
        return Ok(None);
    };
    let Some(bytes) = target.read_vec(Addr(first), layout.size as usize)? else { return Ok(None) };
    let depth = bytes.u64_at(layout.depth as usize).filter(|depth| (1..=DEEPEST).contains(depth));
    Ok(depth.and(bytes.u64_at(layout.kind as usize)))
}

fn only(candidates: impl IntoIterator<Item = LinkAddr>) -> Option<LinkAddr> {
    let mut candidates = candidates.into_iter();
    let (Some(one), None) = (candidates.next(), candidates.next()) else { return None };
    Some(one)
}
