//! Which goroutine a sampled thread ran, and with which labels.
//!
//! Go code has its g in a register (abi-internal.md, "Special-purpose registers": R14 on amd64, R28 on arm64; 1.17
//! on), so the g of a sample is known for its very moment. But structures of goroutines are used again, so that a g
//! may be another goroutine's by the time that its id is read. Ids are never given twice: one that was read both
//! before and after a sample was that of the moment between. So the id of a goroutine that lives for less than two
//! samples is not known, which is better than another one's. Labels are treated likewise. `pprof.Do`
//! allocates a new label set each time (runtime/pprof/runtime.go), so both the pointer and the text have to be equal: equal
//! text alone may have had other labels in between. An inner `pprof.Do` that begins and ends between the two readings
//! is missed (docs/record.md).
//!
//! While a thread runs on the scheduler's stack, the register holds that stack's g, and frame pointers lead to the stack
//! of the goroutine that it works for. In C the register may hold anything, but where C was called, the g is noted
//! on the stack. The M names the goroutine in both cases; what is of the moment of the sample has to agree.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{Goid, Goroutine, Label, LabelsId, SampledLabels, SymbolPool, Warnings};
use crate::process::{RawCpuSample, Registers, Tid};
use crate::runtime::mirror::g::G;
use crate::runtime::mirror::m::M;
use crate::runtime::readers::labels::{Labels, read_labels};
use crate::runtime::readers::threads::read_ms;
use crate::runtime::symbols::Global;
use crate::runtime::{GoProcess, c_call};

/// Most gs whose last readings are kept. Without them, ids are known one sample later.
const MAX_KEPT: usize = 1 << 18;
/// Most frames of the scheduler's stack that are followed to the goroutine's own.
const MAX_FRAMES: usize = 64;
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
    /// Where they are (`g.labels`), 0 without any; `None` where that is not known.
    labels_at: Option<u64>,
}

/// What the goroutines of one program are, as far as samples need it.
pub(super) struct Goroutines {
    /// Before the first sample, by address of the g: id and labels.
    first: Vec<(u64, u64, Option<LabelsId>)>,
    first_ns: u64,
    /// The last two readings of a g, the older one first.
    kept: FxHashMap<u64, [Option<Reading>; 2]>,
    /// Of the samples that are looked at now: what was read of each g.
    now: FxHashMap<u64, Reading>,
    /// Of each of these samples: the g that it ran.
    run: Vec<Option<(u64, G)>>,
    /// Address of its M for each thread.
    ms: FxHashMap<Tid, Addr>,
    ms_read: Option<Instant>,
}

impl Goroutines {
    /// As `known` from a snapshot, which was complete at `at_ns`.
    pub(super) fn new(known: &[Goroutine], at_ns: u64) -> Self {
        let mut first: Vec<_> = known.iter().filter(|g| g.id.0 != 0).map(|g| (g.addr.0, g.id.0, g.labels)).collect();
        first.sort_unstable_by_key(|&(addr, ..)| addr);
        Self {
            first,
            first_ns: at_ns,
            kept: FxHashMap::default(),
            now: FxHashMap::default(),
            run: Vec::new(),
            ms: FxHashMap::default(),
            ms_read: None,
        }
    }

    /// Reads the gs that the samples ran.
    pub(super) fn read(
        &mut self,
        process: GoProcess<'_>,
        pool: &mut SymbolPool,
        samples: &[RawCpuSample],
        now_ns: impl Fn() -> u64,
    ) {
        for (addr, reading) in self.now.drain() {
            if self.kept.len() >= MAX_KEPT {
                self.kept.clear();
            }
            let kept = self.kept.entry(addr).or_default();
            *kept = [kept[1], Some(reading)];
        }
        self.run.clear();
        for sample in samples {
            let g = self.g(process, sample);
            self.run.push(g);
            let Some((addr, g)) = g.filter(|(addr, _)| !self.now.contains_key(addr)) else { continue };
            let labels = labels(process, pool, Addr(addr), &g);
            self.now.insert(addr, Reading { at_ns: now_ns(), goid: g.goid, labels, labels_at: Some(g.labels) });
        }
    }

    /// The g that a sampled thread ran in that very moment, as it is now.
    fn g(&mut self, process: GoProcess<'_>, sample: &RawCpuSample) -> Option<(u64, G)> {
        let registers = sample.registers?;
        let Registers { pc, sp, fp, g: register, .. } = registers;
        // A process that ends is noticed elsewhere.
        let read = |addr: u64| {
            let may_be = addr != 0 && addr.is_multiple_of(8) && addr < USER;
            let g = may_be.then(|| process.read::<G>(Addr(addr)).ok().flatten()).flatten()?;
            Some((addr, g))
        };
        let is_user = |(_, g): &(u64, G)| g.goid != 0 && g.stack_can_be();
        let holds = |g: &G, at: u64| (g.stack_lo..g.stack_hi).contains(&at);
        let in_register = read(register.0);
        if let Some((addr, g)) = in_register.filter(is_user)
            && (holds(&g, sp.0) || process.is_go_code(pc.0))
        {
            return Some((addr, g));
        }
        let m = self.m(process, sample.tid)?;
        let (_, g0) = read(m.g0)?;
        let word = |addr: u64| sample.stack.u64_at(usize::try_from(addr.checked_sub(sp.0)?).ok()?);
        if process.is_go_code(pc.0) {
            // On the scheduler's stack, for a goroutine on whose stack the frame pointers go on.
            let mut pointer = fp.0;
            for _ in 0..MAX_FRAMES {
                match word(pointer) {
                    Some(next) if next > pointer || !holds(&g0, next) => pointer = next,
                    _ => break,
                }
            }
            return read(m.curg).filter(is_user).filter(|(_, g)| holds(g, pointer));
        }
        // In C, which was called by the goroutine that is noted on its stack.
        let noted = c_call::callers(process.arch(), g0.sched_sp, word);
        let noted =
            noted.filter(|&addr| self.is_known(addr) || addr == m.curg).find_map(|addr| read(addr).filter(is_user));
        noted.or_else(|| in_register.filter(is_user).filter(|(addr, _)| *addr == m.curg))
    }

    fn is_known(&self, addr: u64) -> bool {
        self.kept.contains_key(&addr) || self.first.binary_search_by_key(&addr, |&(addr, ..)| addr).is_ok()
    }

    /// Address of the g of sample number `index` of those that were given to [`Goroutines::read`].
    pub(super) fn addr_of(&self, index: usize) -> Option<u64> {
        self.run.get(index).copied().flatten().map(|(addr, _)| addr)
    }

    /// The goroutine of sample number `index` of those that were given to [`Goroutines::read`], and its labels.
    pub(super) fn of(&self, index: usize, sample: &RawCpuSample) -> (Option<Goid>, SampledLabels) {
        let both =
            self.addr_of(index).and_then(|addr| Some((self.before(addr, sample.time_ns)?, *self.now.get(&addr)?)));
        let Some((before, after)) = both.filter(|(before, after)| before.goid == after.goid) else {
            return (None, SampledLabels::Unknown);
        };
        let labels = match (before.labels, after.labels) {
            (Some(texts), Some(after_texts)) if texts == after_texts && before.labels_at == after.labels_at => {
                SampledLabels::Known(texts)
            }
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
            let labels_at = labels.is_none().then_some(0);
            let reading = Reading { at_ns: self.first_ns, goid, labels: Some(labels), labels_at };
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
    let labels: Vec<Label> =
        pairs.iter().map(|(key, value)| Label { key: pool.intern_str(key), value: pool.intern_str(value) }).collect();
    Some(Some(pool.intern_labels(labels)))
}
