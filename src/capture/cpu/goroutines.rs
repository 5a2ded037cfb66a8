//! Which goroutine a sampled thread ran, and with which labels.
//!
//! Go code has its g in a register (abi-internal.md, "Special-purpose registers": R14 on amd64, R28 on arm64; 1.17
//! on), so the g of a sample is known for its very moment. But structures of goroutines are used again, so that a g
//! may be another goroutine's by the time that its id is read. Ids are never given twice: one that was read both
//! before and after a sample was that of the moment between. So the id of a goroutine that lives for less than two
//! samples is not known, which is better than another one's. Labels are treated likewise: the same before and after.
//!
//! While a thread runs on the scheduler's stack, the register holds that stack's g, and which goroutine it works for
//! is not known for the moment; in C and in assembly it may hold anything, so there the thread's M has to agree.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::model::{Goid, Goroutine, Label, LabelsId, SampledLabels, SymbolPool, Warnings};
use crate::process::{RawCpuSample, Tid};
use crate::runtime::GoProcess;
use crate::runtime::mirror::g::G;
use crate::runtime::mirror::m::M;
use crate::runtime::readers::labels::{Labels, read_labels};
use crate::runtime::readers::threads::read_ms;
use crate::runtime::symbols::Global;

/// Most gs whose last readings are kept. Without them, ids are known one sample later.
const MAX_KEPT: usize = 1 << 18;
/// Addresses of user memory, on both architectures with pages of 4 KiB and four levels.
const USER: u64 = 1 << 48;
/// How often the list of Ms is read for a thread that is not on it.
const MS_EVERY: Duration = Duration::from_millis(200);

/// What was read of a g.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// When that was complete, by the clock of the samples.
    at_ns: u64,
    goid: u64,
    /// `None` where they could not be read.
    labels: Option<Option<LabelsId>>,
}

/// What the goroutines of one program are, as far as samples need it.
pub(super) struct Goroutines {
    /// Before the first sample, by address of the g: id and labels.
    first: Vec<(u64, u64, Option<LabelsId>)>,
    first_ns: u64,
    /// The last two readings of a g, the older one first.
    kept: FxHashMap<u64, [Option<Reading>; 2]>,
    /// Of the samples that are looked at now: what was read of each g.
    now: FxHashMap<u64, (G, Reading)>,
    /// Address of its M for each thread.
    ms: FxHashMap<Tid, Addr>,
    ms_read: Option<Instant>,
}

impl Goroutines {
    /// As `known` from a snapshot, which was complete at `at_ns`.
    pub(super) fn new(known: &[Goroutine], at_ns: u64) -> Self {
        let mut first: Vec<_> =
            known.iter().filter(|g| g.id.0 != 0).map(|g| (g.addr.0, g.id.0, g.labels)).collect();
        first.sort_unstable_by_key(|&(addr, ..)| addr);
        Self {
            first,
            first_ns: at_ns,
            kept: FxHashMap::default(),
            now: FxHashMap::default(),
            ms: FxHashMap::default(),
            ms_read: None,
        }
    }

    /// Reads what the samples' registers point to.
    pub(super) fn read(
        &mut self,
        process: GoProcess<'_>,
        pool: &mut SymbolPool,
        samples: &[RawCpuSample],
        now_ns: impl Fn() -> u64,
    ) {
        for (addr, (_, reading)) in self.now.drain() {
            if self.kept.len() >= MAX_KEPT {
                self.kept.clear();
            }
            let kept = self.kept.entry(addr).or_default();
            *kept = [kept[1], Some(reading)];
        }
        for addr in samples.iter().filter_map(g_register) {
            if self.now.contains_key(&addr) {
                continue;
            }
            // A process that ends is noticed elsewhere.
            let Ok(Some(g)) = process.read::<G>(Addr(addr)) else { continue };
            if g.goid == 0 || !g.stack_can_be() {
                continue;
            }
            let labels = labels(process, pool, Addr(addr), &g);
            self.now.insert(addr, (g, Reading { at_ns: now_ns(), goid: g.goid, labels }));
        }
    }

    /// The goroutine of a sample that was given to [`Goroutines::read`], and its labels.
    pub(super) fn of(&mut self, process: GoProcess<'_>, sample: &RawCpuSample) -> (Option<Goid>, SampledLabels) {
        const UNKNOWN: (Option<Goid>, SampledLabels) = (None, SampledLabels::Unknown);
        let Some((addr, registers)) = g_register(sample).zip(sample.registers) else { return UNKNOWN };
        let Some(&(g, after)) = self.now.get(&addr) else { return UNKNOWN };
        let Some(before) = self.before(addr, sample.time_ns) else { return UNKNOWN };
        let is_on_its_stack = (g.stack_lo..g.stack_hi).contains(&registers.sp.0);
        let is_meant = is_on_its_stack
            || process.is_go_code(registers.pc.0)
            || self.m(process, sample.tid).is_some_and(|m| m.curg == addr);
        if !is_meant || before.goid != after.goid {
            return UNKNOWN;
        }
        let labels = match (before.labels, after.labels) {
            (Some(before), Some(after)) if before == after => SampledLabels::Known(after),
            _ => SampledLabels::Unknown,
        };
        (Some(Goid(after.goid)), labels)
    }

    /// The last reading of a g that was complete before `time_ns`.
    fn before(&self, addr: u64, time_ns: u64) -> Option<Reading> {
        let kept = self.kept.get(&addr).into_iter().flatten().rev().flatten();
        kept.copied().find(|reading| reading.at_ns < time_ns).or_else(|| {
            let at = self.first.binary_search_by_key(&addr, |&(addr, ..)| addr).ok()?;
            let &(_, goid, labels) = self.first.get(at)?;
            let reading = Reading { at_ns: self.first_ns, goid, labels: Some(labels) };
            (self.first_ns < time_ns).then_some(reading)
        })
    }

    /// The M of a thread, as it is now.
    pub(super) fn m(&mut self, process: GoProcess<'_>, tid: Tid) -> Option<M> {
        let is_its = |m: &M| m.tid() == Some(tid);
        if let Some(&addr) = self.ms.get(&tid)
            && let Some(m) = process.read::<M>(addr).ok().flatten().filter(is_its)
        {
            return Some(m);
        }
        if self.ms_read.is_some_and(|read| read.elapsed() < MS_EVERY) {
            return None;
        }
        self.ms_read = Some(Instant::now());
        let (layout, unheard) = (&process.runtime.layout.m, &mut Warnings::default());
        let ms = read_ms(process.target, process.addr(Global::Allm)?, &[], layout, unheard).ok()?;
        self.ms = ms.iter().filter_map(|m| Some((m.tid()?, m.addr))).collect();
        ms.into_iter().find(is_its)
    }
}

/// What the register has where Go code keeps the address of its g, if that can be one.
fn g_register(sample: &RawCpuSample) -> Option<u64> {
    let addr = sample.registers?.g.0;
    (addr != 0 && addr.is_multiple_of(8) && addr < USER).then_some(addr)
}

/// The labels of a g, if it has not changed while they were read.
fn labels(process: GoProcess<'_>, pool: &mut SymbolPool, addr: Addr, g: &G) -> Option<Option<LabelsId>> {
    if g.labels == 0 {
        return Some(None);
    }
    let form = process.label_form()?;
    let mut found = None;
    let read = read_labels(process.target, &form, &[Addr(g.labels)], |_, labels| found = Some(labels));
    let (Ok(()), Some(Labels::Known(pairs))) = (read, found) else { return None };
    let now = process.read::<G>(addr).ok().flatten()?;
    if (now.goid, now.labels) != (g.goid, g.labels) {
        return None;
    }
    if pairs.is_empty() {
        return Some(None);
    }
    let labels: Vec<Label> = pairs
        .iter()
        .map(|(key, value)| Label { key: pool.intern_str(key), value: pool.intern_str(value) })
        .collect();
    Some(Some(pool.intern_labels(labels)))
}
