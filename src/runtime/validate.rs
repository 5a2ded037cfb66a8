//! Whether a layout fits the program at hand.
//!
//! Before a layout is accepted, some goroutines, Ms and the scheduler are read with the layout, and what they
//! hold must make sense: ids that differ, states that exist, program counters that are in text, entries that
//! are entries. The program runs on meanwhile, and may have overwritten its own memory, so a few wrong ones
//! are allowed, and one in however small a sample; a wrong offset is wrong in all of them.

use std::collections::HashSet;

use super::layout::Layout;
use super::mirror::Mirror as _;
use super::mirror::g::G;
use super::mirror::m::M;
use super::mirror::moduledata::ModuledataLayout;
use super::mirror::sched::Sched;
use super::readers::bulk;
use super::symbols::{Global, Symbols};
use crate::addr::{Addr, LoadBias};
use crate::bytes::FieldsExt as _;
use crate::image::moduledata::ModuleData;
use crate::image::pclntab::Pclntab;
use crate::model::Status;
use crate::process::{ReadError, Target, TargetExt as _};

/// Goroutines that are checked.
pub(crate) const SAMPLE: usize = 64;

/// Bytes that are read of each, where they are to be had; more than any known g has.
const G_BYTES: usize = 512;

/// Goroutine ids are accepted below this.
pub(crate) const MAX_GOID: u64 = 1 << 40;

/// Highest thread id that Linux gives (`PID_MAX_LIMIT`).
const MAX_TID: u64 = 1 << 22;

/// A field that does not hold what it should.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field} should be {expected}, and is {found}")]
pub struct LayoutMismatch {
    /// The field (`g.goid`).
    pub field: &'static str,
    /// What it holds in every program.
    pub expected: String,
    /// What was found at its offset.
    pub found: String,
}

/// The first goroutines of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Addresses and bytes.
    pub(crate) gs: Vec<(Addr, Vec<u8>)>,
    /// How many goroutines there are.
    pub(crate) len: u64,
}

impl Sample {
    /// Reads the slice `allgs` and its first elements.
    pub(crate) fn read(target: &dyn Target, allgs: Addr) -> Result<Self, ReadError> {
        let Some(header) = target.read_array::<16>(allgs)? else { return Ok(Self::default()) };
        let (array, len) = (header.u64_at(0).unwrap_or(0), header.u64_at(8).unwrap_or(0));
        let count = usize::try_from(len).unwrap_or(SAMPLE).min(SAMPLE);
        let Some(pointers) = target.read_vec(Addr(array), count * 8)? else {
            return Ok(Self { gs: Vec::new(), len });
        };
        let mut gs = Vec::with_capacity(count);
        for addr in (0..count).filter_map(|i| pointers.u64_at(i * 8)).map(Addr) {
            let mut bytes = vec![0; G_BYTES];
            let got = target.read(addr, &mut bytes)?;
            bytes.truncate(got);
            gs.push((addr, bytes));
        }
        Ok(Self { gs, len })
    }

    /// Those with a stack.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &(Addr, Vec<u8>)> {
        self.gs.iter().filter(|(_, bytes)| bytes.u64_at(0).is_some_and(|lo| lo != 0))
    }
}

/// What layouts are checked against.
#[derive(Clone, Copy)]
pub(crate) struct Checker<'a> {
    pub(crate) target: &'a dyn Target,
    pub(crate) bias: LoadBias,
    pub(crate) pclntab: &'a Pclntab,
    pub(crate) module: &'a ModuleData,
    /// Number of wait reasons, where they were found.
    pub(crate) wait_reasons: Option<usize>,
}

/// Counts how many of a number are right.
struct Tally {
    right: usize,
    all: usize,
    example: Option<String>,
}

impl Tally {
    fn of<T>(items: impl IntoIterator<Item = T>, check: impl Fn(&T) -> bool, show: impl Fn(&T) -> String) -> Self {
        let mut tally = Self { right: 0, all: 0, example: None };
        for item in items {
            tally.all += 1;
            if check(&item) {
                tally.right += 1;
            } else if tally.example.is_none() {
                tally.example = Some(show(&item));
            }
        }
        tally
    }

    /// At least this many eighths are right: 7 allows one wrong in eight, 4 a half. One may be wrong in any
    /// case, where two or more are right.
    fn require(self, eighths: usize, field: &'static str, expected: &str) -> Result<(), LayoutMismatch> {
        let all_but_one = self.right >= 2 && self.right + 1 >= self.all;
        if self.right * 8 >= self.all * eighths || all_but_one {
            return Ok(());
        }
        let example = self.example.unwrap_or_default();
        Err(LayoutMismatch {
            field,
            expected: expected.to_owned(),
            found: format!("{example} (right in {} of {})", self.right, self.all),
        })
    }
}

impl Checker<'_> {
    pub(crate) fn in_text(&self, pc: u64) -> bool {
        self.module.text.contains(&pc)
    }

    pub(crate) fn is_entry(&self, pc: u64) -> bool {
        self.in_text(pc) && self.pclntab.is_entry(self.bias.unload(Addr(pc)))
    }

    /// Checks everything that can be checked.
    ///
    /// The inner error names the first field that does not fit.
    pub(crate) fn check(
        &self,
        layout: &Layout,
        symbols: &Symbols,
        sample: &Sample,
    ) -> Result<Result<(), LayoutMismatch>, ReadError> {
        if sample.gs.is_empty() {
            return Ok(Err(LayoutMismatch {
                field: "allgs",
                expected: "a slice of goroutines".to_owned(),
                found: format!("a length of {} and no memory at the pointer", sample.len),
            }));
        }
        if let Err(mismatch) = self.check_module(layout) {
            return Ok(Err(mismatch));
        }
        let gs: Vec<(Addr, G)> =
            sample.gs.iter().filter_map(|(addr, bytes)| Some((*addr, G::parse(*addr, bytes, &layout.g)?))).collect();
        if let Err(mismatch) = self.check_gs(&gs) {
            return Ok(Err(mismatch));
        }
        if let Err(mismatch) = self.check_ms(layout, symbols, &gs)? {
            return Ok(Err(mismatch));
        }
        match symbols.addr(Global::Sched) {
            Some(sched) => self.check_sched(self.bias.load(sched), layout, &gs, sample.len),
            None => Ok(Ok(())),
        }
    }

    /// The part of moduledata that has moved between versions.
    fn check_module(&self, layout: &Layout) -> Result<(), LayoutMismatch> {
        let word = |at: fn(&ModuledataLayout) -> u32| self.module.word(at(layout.moduledata.as_ref()?));
        let in_file = |addr: u64| self.pclntab.elf().offset_of(self.bias.unload(Addr(addr))).is_some();
        let (types, etypes, gofunc) = (word(|at| at.types), word(|at| at.etypes), word(|at| at.gofunc));
        let show = |value: Option<u64>| value.map_or_else(|| "missing".to_owned(), |v| format!("{v:#x}"));
        if !types.zip(etypes).is_some_and(|(types, etypes)| types <= etypes && in_file(types)) {
            return Err(LayoutMismatch {
                field: "moduledata.types",
                expected: "a range of the file".to_owned(),
                found: format!("{} to {}", show(types), show(etypes)),
            });
        }
        if !gofunc.is_some_and(in_file) {
            return Err(LayoutMismatch {
                field: "moduledata.gofunc",
                expected: "an address in the file".to_owned(),
                found: show(gofunc),
            });
        }
        Ok(())
    }

    fn check_gs(&self, gs: &[(Addr, G)]) -> Result<(), LayoutMismatch> {
        let gs: Vec<&G> = gs.iter().map(|(_, g)| g).collect();
        // A g gets an id before it is visible, and keeps it when it is dead.
        let has_id = |g: &&&G| (1..MAX_GOID).contains(&g.goid);
        Tally::of(&gs, has_id, |g| g.goid.to_string()).require(7, "g.goid", "a goroutine's id")?;
        let ids: HashSet<u64> = gs.iter().map(|g| g.goid).filter(|id| (1..MAX_GOID).contains(id)).collect();
        let born: Vec<&&G> = gs.iter().filter(|g| g.goid != 0).collect();
        let distinct = Tally { right: ids.len(), all: born.len(), example: Some("the same or too large".to_owned()) };
        distinct.require(7, "g.goid", "different in all goroutines")?;
        let known = |g: &&&G| !matches!(g.status(), Status::Unknown(_));
        Tally::of(&gs, known, |g| g.atomicstatus.to_string()).require(
            7,
            "g.atomicstatus",
            "one of the runtime's states",
        )?;

        let alive: Vec<&G> = gs.iter().copied().filter(|g| g.stack_lo != 0 && !g.status().is_dead()).collect();
        Tally::of(&alive, |g| g.stack_lo < g.stack_hi, |g| format!("{:#x}..{:#x}", g.stack_lo, g.stack_hi))
            .require(7, "g.stack", "a range")?;
        let parked: Vec<&G> =
            alive.iter().copied().filter(|g| matches!(g.status(), Status::Waiting | Status::Runnable)).collect();
        let on_stack = |g: &&&G| (g.stack_lo..=g.stack_hi).contains(&g.sched_sp);
        Tally::of(&parked, on_stack, |g| format!("{:#x}", g.sched_sp)).require(7, "g.sched.sp", "within the stack")?;
        // Code of plugins is in other modules, so half is enough for what points to code.
        Tally::of(&parked, |g| self.in_text(g.sched_pc), |g| format!("{:#x}", g.sched_pc)).require(
            4,
            "g.sched.pc",
            "an address of code",
        )?;
        let in_syscall = |g: &&&G| g.syscallsp == 0 || (g.stack_lo..=g.stack_hi).contains(&g.syscallsp);
        Tally::of(&alive, in_syscall, |g| format!("{:#x}", g.syscallsp)).require(
            7,
            "g.syscallsp",
            "0 or within the stack",
        )?;
        let started: Vec<&G> = alive.iter().copied().filter(|g| g.startpc != 0).collect();
        Tally::of(&started, |g| self.is_entry(g.startpc), |g| format!("{:#x}", g.startpc)).require(
            4,
            "g.startpc",
            "the entry of a function",
        )?;
        if started.len() * 2 < alive.len() {
            return Err(LayoutMismatch {
                field: "g.startpc",
                expected: "not 0".to_owned(),
                found: format!("0 in {} of {}", alive.len() - started.len(), alive.len()),
            });
        }
        let created: Vec<&G> = started.iter().copied().filter(|g| g.gopc != 0).collect();
        let is_call = |g: &&&G| self.in_text(g.gopc) && !self.is_entry(g.gopc);
        Tally::of(&created, is_call, |g| format!("{:#x}", g.gopc)).require(
            4,
            "g.gopc",
            "an address within a function",
        )?;
        let parents = |g: &&&G| g.parent_goid.is_none_or(|id| id < MAX_GOID);
        Tally::of(&alive, parents, |g| format!("{:?}", g.parent_goid)).require(
            7,
            "g.parentGoid",
            "a goroutine's id",
        )?;
        let waiting: Vec<&G> = alive.iter().copied().filter(|g| g.status() == Status::Waiting).collect();
        let limit = self.wait_reasons.unwrap_or(usize::MAX);
        let has_reason = |g: &&&G| g.waitreason != 0 && usize::from(g.waitreason) < limit;
        Tally::of(&waiting, has_reason, |g| g.waitreason.to_string()).require(
            7,
            "g.waitreason",
            "one of the runtime's wait reasons",
        )
    }

    fn check_ms(
        &self,
        layout: &Layout,
        symbols: &Symbols,
        gs: &[(Addr, G)],
    ) -> Result<Result<(), LayoutMismatch>, ReadError> {
        let mut addrs: Vec<Addr> = gs.iter().map(|(_, g)| Addr(g.m)).filter(|m| !m.is_nil()).collect();
        addrs.sort_unstable();
        addrs.dedup();
        let mut ms = Vec::new();
        bulk::for_each(self.target, &addrs, layout.m.size, |index, bytes| {
            if let (Some(addr), Some(bytes)) = (addrs.get(index), bytes) {
                ms.extend(M::parse(*addr, bytes, &layout.m));
            }
        })?;
        let g0s: Vec<Addr> = ms.iter().map(|m| Addr(m.g0.wrapping_add(layout.g.m.into()))).collect();
        let owners = bulk::words(self.target, &g0s)?;
        let m0_is_one = self.m0_is_one(layout, symbols)?;
        let check = || {
            let pairs: Vec<(&M, Option<u64>)> = ms.iter().zip(owners).collect();
            let is_one = |(m, owner): &(&M, Option<u64>)| *owner == Some(m.addr.0);
            let real: HashSet<u64> = pairs.iter().filter(|pair| is_one(pair)).map(|(m, _)| m.addr.0).collect();
            if m0_is_one {
                // The fields are where they should be; so what points elsewhere is a g's own fault.
                let fits = |(_, g): &&(Addr, G)| g.m == 0 || real.contains(&g.m);
                Tally::of(gs, fits, |(_, g)| format!("{:#x}", g.m)).require(7, "g.m", "the address of an M")?;
            } else {
                Tally::of(&pairs, |pair| is_one(pair), |(m, _)| format!("{:#x}", m.g0)).require(
                    7,
                    "m.g0",
                    "a g of that m",
                )?;
            }
            let ms: Vec<&M> = ms.iter().filter(|m| !m0_is_one || real.contains(&m.addr.0)).collect();
            Tally::of(&ms, |m| m.procid < MAX_TID, |m| format!("{:#x}", m.procid)).require(
                7,
                "m.procid",
                "a thread's id",
            )?;
            let ids: HashSet<i64> = ms.iter().map(|m| m.id).filter(|id| (-1..1 << 32).contains(id)).collect();
            let example = ms.first().map(|m| m.id.to_string());
            Tally { right: ids.len(), all: ms.len(), example }.require(7, "m.id", "small, and different in all Ms")?;
            // A g whose own pointer leads nowhere proves nothing about its M.
            let known: HashSet<u64> =
                gs.iter().filter(|(_, g)| g.m == 0 || real.contains(&g.m)).map(|(addr, _)| addr.0).collect();
            let of_sample: Vec<&&M> = ms.iter().filter(|m| known.contains(&m.curg)).collect();
            let back = |m: &&&&M| gs.iter().any(|(addr, g)| addr.0 == m.curg && (g.m == m.addr.0 || g.m == 0));
            Tally::of(&of_sample, back, |m| format!("{:#x}", m.curg)).require(4, "m.curg", "a goroutine of that M")
        };
        Ok(check())
    }

    /// Whether the first M is one with this layout: the g that it schedules on is of that M.
    fn m0_is_one(&self, layout: &Layout, symbols: &Symbols) -> Result<bool, ReadError> {
        let Some(m0) = symbols.addr(Global::M0).map(|link| self.bias.load(link)) else { return Ok(false) };
        let Some(g0) = self.target.read_u64(Addr(m0.0.wrapping_add(layout.m.g0.into())))? else { return Ok(false) };
        Ok(self.target.read_u64(Addr(g0.wrapping_add(layout.g.m.into())))? == Some(m0.0))
    }

    fn check_sched(
        &self,
        sched: Addr,
        layout: &Layout,
        sample: &[(Addr, G)],
        gs: u64,
    ) -> Result<Result<(), LayoutMismatch>, ReadError> {
        let bytes = self.target.read_vec(sched, layout.sched.size as usize)?;
        let Some(s) = bytes.and_then(|bytes| Sched::parse(sched, &bytes, &layout.sched)) else {
            return Ok(Err(LayoutMismatch {
                field: "sched",
                expected: "readable memory".to_owned(),
                found: format!("none at {sched}"),
            }));
        };
        let must = |right: bool, field, expected: &str, found: String| {
            if right { Ok(()) } else { Err(LayoutMismatch { field, expected: expected.to_owned(), found }) }
        };
        let check = || {
            let given_out = |(_, g): &&(Addr, G)| g.goid <= s.goidgen && s.goidgen < MAX_GOID;
            Tally::of(sample, given_out, |(_, g)| format!("{} with an id of {}", s.goidgen, g.goid)).require(
                7,
                "sched.goidgen",
                "at least the largest id met",
            )?;
            must(s.maxmcount > 0, "sched.maxmcount", "more than 0", s.maxmcount.to_string())?;
            must((1..1 << 32).contains(&s.mnext), "sched.mnext", "a count of Ms", s.mnext.to_string())?;
            must((0..=s.mnext).contains(&s.nmfreed), "sched.nmfreed", "not more than mnext", s.nmfreed.to_string())?;
            must((0..=1 << 20).contains(&s.npidle), "sched.npidle", "a count of Ps", s.npidle.to_string())?;
            must((0..=1 << 20).contains(&s.nmspinning), "sched.nmspinning", "a count of Ms", s.nmspinning.to_string())?;
            let system = u64::try_from(s.ngsys).unwrap_or(u64::MAX);
            // Counted up before the new one is on the list.
            must(system <= gs.saturating_add(16), "sched.ngsys", "not more than all goroutines", s.ngsys.to_string())
        };
        Ok(check())
    }
}
