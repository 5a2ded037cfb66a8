//! Finds variables by the code that refers to them.
//!
//! Only functions that pclntab names are read, some forty of them, each once. Whatever a rule leaves
//! ambiguous is decided by looking at what is at the candidates, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::probe::{Process, end_of_ms, slice_of_ps, version_at};
use super::votes::{self, BALLOTS, Outcome};
use super::{Global, Located, SymbolSource};
use crate::addr::{Addr, LinkAddr, LoadBias};
use crate::image::code_refs::{CodeRef, data_refs, linked_store};
use crate::image::elf::Elf;
use crate::image::moduledata::ModuleData;
use crate::image::pclntab::{Function, Pclntab};
use crate::process::remember::remembered;
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::layout::{Layout, LayoutTable};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::sema_root::SemaRoot;
use crate::runtime::recorded::{FUNCTIONS, Functions};
use crate::runtime::version::GoVersion;
use crate::runtime::wait_reason::read_wait_reasons;

/// Functions that no ballot names.
const OTHERS: &[&str] = &[
    "allgadd",
    "findRunnable",
    "gcMark",
    "gcTrigger.test",
    "handoffp",
    "main",
    "mcommoninit",
    "netpoll",
    "netpollinit",
    "preemptall",
    "schedtrace",
    "semacquire1",
    "semrelease1",
    "startTheWorldWithSema",
    "stopTheWorldWithSema",
    "waitReason.String",
];

/// Functions that refer to `allm`.
const USERS_OF_ALLM: &[&str] = &["mcommoninit", "mexit", "schedtrace"];

/// How often a read is repeated that the running program may have changed.
const TRIES: usize = 4;

/// Longest function that is decoded, bytes; `findRunnable` has some 6 KB.
const MAX_CODE: u64 = 256 << 10;

/// Semaphore roots in `semtable` (`semTabSize`, sema.go, 1.19 to 1.27).
pub(crate) const SEM_ROOTS: u32 = 251;

/// Offset that `m.alllink` has at least: what is before it in an m has not changed for years.
const MIN_ALLLINK: u32 = 256;

/// What the runtime's functions refer to.
#[derive(Debug)]
pub(crate) struct CodeEvidence {
    refs: BTreeMap<&'static str, Vec<CodeRef>>,
    targets: BTreeMap<&'static str, BTreeSet<LinkAddr>>,
    /// Code of `mcommoninit` and where it is.
    mcommoninit: Option<(LinkAddr, Vec<u8>)>,
}

impl CodeEvidence {
    /// Decodes the functions of `elf` that the rules ask about.
    ///
    /// # Errors
    /// When what is remembered of them is damaged.
    pub(crate) fn collect(
        target: &dyn Target,
        elf: &Elf,
        bias: LoadBias,
        pclntab: &Pclntab,
        module: &ModuleData,
    ) -> Result<Self, ReadError> {
        let names: BTreeSet<&'static str> =
            BALLOTS.iter().flat_map(|b| b.pairs.iter().map(|(f, _)| *f)).chain(OTHERS.iter().copied()).collect();
        let full: Vec<String> = names.iter().map(|name| format!("runtime.{name}")).collect();
        let full: Vec<&str> = full.iter().map(String::as_str).collect();
        let Functions(mut found) =
            remembered(target, FUNCTIONS, |_| Ok::<_, ReadError>(functions(elf, bias, pclntab, module, &full)))?;
        let mut out = Self { refs: BTreeMap::new(), targets: BTreeMap::new(), mcommoninit: None };
        for (name, full) in names.into_iter().zip(full) {
            let Some((entry, code)) = found.remove(full) else { continue };
            let mut refs = data_refs(elf.arch(), &code, entry);
            refs.retain(|r| module.is_data(bias.load(r.target)));
            out.targets.insert(name, refs.iter().map(|r| r.target).collect());
            out.refs.insert(name, refs);
            if name == "mcommoninit" {
                out.mcommoninit = Some((entry, code));
            }
        }
        Ok(out)
    }

    /// Counts the votes for the large structures, as `table` has them.
    pub(crate) fn count(&self, table: &LayoutTable) -> BTreeMap<Global, Outcome> {
        BALLOTS
            .iter()
            .filter_map(|ballot| Some((ballot.global, votes::count(ballot, table, |f| self.targets_of(f))?)))
            .collect()
    }

    /// The offset of `m.alllink` as `mcommoninit` stores to it, given where `allm` is or may be.
    pub(crate) fn alllink(&self, elf: &Elf, table: &LayoutTable, allm: Option<LinkAddr>) -> Option<u32> {
        let (base, code) = self.mcommoninit.as_ref()?;
        let known = Structures::new(&self.count(table), table);
        let heads = match allm {
            Some(allm) => BTreeSet::from([allm]),
            None => self
                .common(USERS_OF_ALLM, |r| matches!(r.size, 0 | 8))
                .into_iter()
                .filter(|a| !known.contain(*a))
                .collect(),
        };
        let offsets: BTreeSet<u32> =
            heads.into_iter().filter_map(|head| linked_store(elf.arch(), code, *base, head, MIN_ALLLINK)).collect();
        let mut offsets = offsets.into_iter();
        let (Some(offset), None) = (offsets.next(), offsets.next()) else { return None };
        Some(offset)
    }

    /// How many of the functions that the rules ask about the program has.
    pub(crate) fn function_count(&self) -> usize {
        self.refs.len()
    }

    /// The variables that a function refers to; `None` when it is not there.
    pub(crate) fn targets_of(&self, function: &str) -> Option<&BTreeSet<LinkAddr>> {
        self.targets.get(function)
    }

    fn refs(&self, function: &str) -> &[CodeRef] {
        self.refs.get(function).map_or(&[], Vec::as_slice)
    }

    fn targets(&self, function: &str) -> BTreeSet<LinkAddr> {
        self.targets.get(function).cloned().unwrap_or_default()
    }

    /// Addresses that all of `functions` refer to by accesses that `fits` accepts.
    fn common(&self, functions: &[&str], fits: impl Fn(&CodeRef) -> bool) -> BTreeSet<LinkAddr> {
        functions
            .iter()
            .map(|f| self.refs(f).iter().filter(|r| fits(r)).map(|r| r.target).collect::<BTreeSet<_>>())
            .reduce(|a, b| a.intersection(&b).copied().collect())
            .unwrap_or_default()
    }

    /// `allgs`, `allglen` and `allgptr`: `allgadd` appends to a slice, all three words of it, and
    /// copies two of them. Needs no layout.
    pub(crate) fn allgs(&self, process: Process<'_>) -> Result<Vec<(Global, Located)>, ReadError> {
        let mut best = Vec::new();
        for _ in 0..TRIES {
            let found = self.allgs_once(process)?;
            if found.len() > best.len() {
                best = found;
            }
            if best.len() == 3 {
                break;
            }
        }
        Ok(best)
    }

    fn allgs_once(&self, process: Process<'_>) -> Result<Vec<(Global, Located)>, ReadError> {
        let targets = self.targets("allgadd");
        let mut fits = Vec::new();
        for at in triples(&targets) {
            if let Some(slice) = process.words(at, 3)?
                && let [array, len, cap] = slice.as_slice()
                && len <= cap
                && (*array != 0 || *cap == 0)
            {
                fits.push((at, *array, *len));
            }
        }
        let [(at, array, len)] = fits.as_slice() else { return Ok(Vec::new()) };
        let mut out = vec![(Global::Allgs, found(*at, "runtime.allgadd, which refers to all three words of it"))];
        let mirrors: Vec<LinkAddr> = targets.iter().copied().filter(|t| !within(*t, *at, 24)).collect();
        for (global, value) in [(Global::Allglen, *len), (Global::Allgptr, *array)] {
            let mut same = Vec::new();
            for mirror in &mirrors {
                if process.words(*mirror, 1)?.is_some_and(|w| w.first() == Some(&value)) {
                    same.push(*mirror);
                }
            }
            if let [only] = same.as_slice() {
                out.push((global, found(*only, "runtime.allgadd, by its value")));
            }
        }
        Ok(out)
    }

    /// `buildVersion`: `schedinit` looks whether it is empty. Needs no layout.
    pub(crate) fn build_version(&self, process: Process<'_>) -> Result<Option<(Located, GoVersion)>, ReadError> {
        let targets = self.targets("schedinit");
        let mut fits = Vec::new();
        for at in targets {
            if let Some(version) = version_at(process, at)? {
                fits.push((at, version));
            }
        }
        Ok(match fits.as_slice() {
            [(at, version)] => Some((found(*at, "runtime.schedinit, by its text"), version.clone())),
            _ => None,
        })
    }

    /// Everything that takes a layout to recognise, but for the structures that are voted on, which
    /// are given: what is inside them is nothing else.
    pub(crate) fn others(
        &self,
        process: Process<'_>,
        layout: &Layout,
        structures: &BTreeMap<Global, Outcome>,
    ) -> Result<Vec<(Global, Located)>, ReadError> {
        let known = Structures::new(structures, &layout.table);
        let elsewhere = |addr: LinkAddr| !known.contain(addr);
        let mut out: Vec<(Global, Located)> = Vec::new();
        let mut add = |global, located: Option<Located>| out.extend(located.map(|l| (global, l)));

        let allp = self.allp(process, layout)?;
        add(Global::Allp, allp.as_ref().map(|(l, _)| l.clone()));
        if let Some((_, count)) = allp {
            add(Global::Gomaxprocs, self.gomaxprocs(process, count, elsewhere)?);
        }
        let allm = self.allm(process, layout, elsewhere)?;
        add(Global::Allm, allm.as_ref().map(|(l, _)| l.clone()));
        add(Global::M0, allm.and_then(|(_, m0)| m0).map(|m0| found(m0, "runtime.allm's end")));
        add(Global::Semtable, self.semtable(process, layout, elsewhere)?);
        add(Global::WaitReasonStrings, self.wait_reason_strings(process)?);
        add(Global::RuntimeInitTime, self.runtime_init_time(process, elsewhere)?);
        add(Global::Gcphase, self.gcphase(process, elsewhere)?);
        let epfd = self.common(&["netpollinit", "netpoll"], |r| r.size == 4);
        add(Global::Epfd, only(epfd.into_iter().filter(|a| elsewhere(*a)), "runtime.netpollinit and netpoll"));
        Ok(out)
    }

    /// The slice of Ps, and how many.
    fn allp(&self, process: Process<'_>, layout: &Layout) -> Result<Option<(Located, u64)>, ReadError> {
        let also = self.targets("preemptall");
        let mut fits = Vec::new();
        for at in triples(&self.targets("procresize")) {
            if also.contains(&at)
                && let Some(len) = slice_of_ps(process.target, process.bias.load(at), layout)?
            {
                fits.push((at, len));
            }
        }
        Ok(match fits.as_slice() {
            [(at, len)] => Some((found(*at, "runtime.procresize and preemptall; its Ps have their index as id"), *len)),
            _ => None,
        })
    }

    fn gomaxprocs(
        &self,
        process: Process<'_>,
        ps: u64,
        elsewhere: impl Fn(LinkAddr) -> bool,
    ) -> Result<Option<Located>, ReadError> {
        const USERS: &[&str] =
            &["procresize", "findRunnable", "stopTheWorldWithSema", "startTheWorldWithSema", "handoffp", "gcStart"];
        let mut fits = Vec::new();
        for at in self.common(USERS, |r| matches!(r.size, 0 | 4)) {
            let value = process.array::<4>(at)?.map(i32::from_le_bytes);
            if elsewhere(at) && value.is_some_and(|v| u64::try_from(v) == Ok(ps)) {
                fits.push(at);
            }
        }
        Ok(only(fits, "runtime.procresize, findRunnable and four more; it is the number of Ps"))
    }

    /// The list of Ms, and the M at its end when that is a variable too.
    fn allm(
        &self,
        process: Process<'_>,
        layout: &Layout,
        elsewhere: impl Fn(LinkAddr) -> bool,
    ) -> Result<Option<(Located, Option<LinkAddr>)>, ReadError> {
        let places = self.common(USERS_OF_ALLM, |r| matches!(r.size, 0 | 8));
        let mut fits = Vec::new();
        for at in places.iter().copied().filter(|at| elsewhere(*at)) {
            let addr = process.bias.load(at);
            for _ in 0..TRIES {
                if let Some(last) = end_of_ms(process.target, addr, layout)? {
                    fits.push((at, last));
                    break;
                }
            }
        }
        Ok(match fits.as_slice() {
            [(at, last)] => {
                let located = found(*at, "runtime.mcommoninit, mexit and schedtrace; the list ends at M 0");
                Some((located, Some(process.bias.unload(*last))))
            }
            // The list could not be followed, but there is only one place that it can be.
            _ => only(places.into_iter().filter(|at| elsewhere(*at)), "runtime.mcommoninit, mexit and schedtrace")
                .map(|l| (l, None)),
        })
    }

    fn semtable(
        &self,
        process: Process<'_>,
        layout: &Layout,
        elsewhere: impl Fn(LinkAddr) -> bool,
    ) -> Result<Option<Located>, ReadError> {
        let Some(size) = layout.table.global_size(Global::Semtable.name()) else { return Ok(None) };
        let stride = (size / SEM_ROOTS) as usize;
        let Some(root_layout) = &layout.sema_root else { return Ok(None) };
        let mut fits = Vec::new();
        for at in self.common(&["semacquire1", "semrelease1"], |r| r.size != 1) {
            // Nothing else is in the table: on arm64 both functions refer to a flag as well.
            let end = LinkAddr(at.0.saturating_add(size.into()));
            let inside = |targets: &BTreeSet<LinkAddr>| targets.range(at..end).any(|t| *t != at);
            if !elsewhere(at) || stride == 0 || self.targets.values().any(inside) {
                continue;
            }
            let Some(bytes) = process.target.read_vec(process.bias.load(at), size as usize)? else { continue };
            // A root has waiters when its tree has some; a few may change while they are read.
            let mismatched = bytes.chunks_exact(stride).filter(|root| {
                SemaRoot::parse(Addr(0), root, root_layout).is_none_or(|root| (root.treap == 0) != (root.nwait == 0))
            });
            if mismatched.count() <= SEM_ROOTS as usize / 16 {
                fits.push(at);
            }
        }
        Ok(only(fits, "runtime.semacquire1 and semrelease1; its roots agree with their counts"))
    }

    fn wait_reason_strings(&self, process: Process<'_>) -> Result<Option<Located>, ReadError> {
        let mut fits = Vec::new();
        for at in self.targets("waitReason.String") {
            if read_wait_reasons(process.target, process.bias.load(at), 2)?.is_some() {
                fits.push(at);
            }
        }
        Ok(only(fits, "runtime.waitReason.String, by its second text"))
    }

    /// Written by `main` and read by `gcMarkTermination`, and in the past.
    fn runtime_init_time(
        &self,
        process: Process<'_>,
        elsewhere: impl Fn(LinkAddr) -> bool,
    ) -> Result<Option<Located>, ReadError> {
        let written = self.common(&["main"], |r| r.size == 8 && r.write);
        let read = self.common(&["gcMarkTermination"], |r| r.size == 8 && !r.write);
        let now = process.target.clock().monotonic_ns;
        let mut fits = Vec::new();
        for at in written.intersection(&read).copied().filter(|at| elsewhere(*at)) {
            let value = process.array::<8>(at)?.map(u64::from_le_bytes);
            // The clock of a core file is unknown.
            if value.is_some_and(|v| v != 0 && (v <= now || now == 0)) {
                fits.push(at);
            }
        }
        Ok(only(fits, "runtime.main and gcMarkTermination; it is in the past"))
    }

    fn gcphase(
        &self,
        process: Process<'_>,
        elsewhere: impl Fn(LinkAddr) -> bool,
    ) -> Result<Option<Located>, ReadError> {
        let mut fits = Vec::new();
        for at in self.common(&["gcMark", "gcSweep", "gcTrigger.test"], |r| r.size == 4) {
            let value = process.array::<4>(at)?.map(u32::from_le_bytes);
            if elsewhere(at) && value.is_some_and(|v| v <= 2) {
                fits.push(at);
            }
        }
        Ok(only(fits, "runtime.gcMark, gcSweep and gcTrigger.test"))
    }
}

/// The structures that were voted on: what is inside them is nothing else.
struct Structures(Vec<(LinkAddr, u64)>);

impl Structures {
    fn new(outcomes: &BTreeMap<Global, Outcome>, table: &LayoutTable) -> Self {
        let place = |b: &votes::Ballot| Some((outcomes.get(&b.global)?.addr, table.size(b.structure)?.into()));
        Self(BALLOTS.iter().filter_map(place).collect())
    }

    fn contain(&self, addr: LinkAddr) -> bool {
        self.0.iter().any(|(start, size)| within(addr, *start, *size))
    }
}

/// Where functions start, and their code, by name.
fn functions(elf: &Elf, bias: LoadBias, pclntab: &Pclntab, module: &ModuleData, names: &[&str]) -> Functions {
    // Searching for them reads most of the table.
    let unlogged = elf.unlogged().map(|elf| {
        let text = bias.unload(Addr(module.text.start));
        Pclntab::new(Arc::new(elf), *pclntab.header(), text)
    });
    let pclntab = unlogged.as_ref().unwrap_or(pclntab);
    let code = |function: &Function| {
        let len = function.end.0.saturating_sub(function.entry.0).min(MAX_CODE);
        pclntab.elf().read(function.entry, usize::try_from(len).ok()?)
    };
    let found = pclntab.find_functions(names);
    Functions(found.iter().filter_map(|(name, f)| Some(((*name).to_owned(), (f.entry, code(f)?)))).collect())
}

fn found(addr: LinkAddr, detail: &str) -> Located {
    Located::new(addr, SymbolSource::Code { detail: detail.to_owned() })
}

/// The one candidate, if it is one.
fn only(candidates: impl IntoIterator<Item = LinkAddr>, detail: &str) -> Option<Located> {
    let mut candidates = candidates.into_iter();
    let (Some(addr), None) = (candidates.next(), candidates.next()) else { return None };
    Some(found(addr, detail))
}

fn within(addr: LinkAddr, start: LinkAddr, size: u64) -> bool {
    addr.0.wrapping_sub(start.0) < size
}

/// Addresses whose two following words are referred to as well: what appending to a slice does.
fn triples(targets: &BTreeSet<LinkAddr>) -> Vec<LinkAddr> {
    let has = |addr: LinkAddr, n: u64| addr.0.checked_add(n).is_some_and(|a| targets.contains(&LinkAddr(a)));
    targets.iter().copied().filter(|at| has(*at, 8) && has(*at, 16)).collect()
}
