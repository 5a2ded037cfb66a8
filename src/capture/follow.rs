//! What is reached from a goroutine through pointers only: labels, bubbles, ancestors, and panic values.
//!
//! They are followed after the goroutine was validated. One that has run since may have dropped them: that is
//! no reason for a warning, and a recording notes it, since its memory has the goroutine as it was validated.
//! Limits hold for each goroutine and for all together.

use std::num::NonZeroU64;

use rustc_hash::{FxHashMap, FxHashSet};

use super::decode::{Decoder, Extra};
use super::fields;
use super::goroutines::Collected;
use super::scheduler::SchedulerState;
use super::waits::{Look, Scene};
use crate::addr::Addr;
use crate::model::{
    Ancestor, AncestorsId, Goid, Goroutine, Label, LabelsId, StrId, SymbolPool, Waits, WarningCode, Warnings,
};
use crate::process::{ReadError, unlogged};
use crate::runtime::frontier::{Budget, Frontier};
use crate::runtime::mirror::bubble::SynctestBubble;
use crate::runtime::mirror::panic::Interface;
use crate::runtime::readers::ancestors::read_ancestors;
use crate::runtime::readers::labels::{Labels, read_labels};
use crate::runtime::readers::processors::Ticks;
use crate::runtime::values::Values;
use crate::runtime::{GoProcess, readers};

/// Ids of bubbles are accepted below this; they count from 1.
const MAX_BUBBLE: u64 = 1 << 40;
/// Most bytes of bubbles read in one capture.
const MAX_BUBBLE_BYTES: u64 = 256 << 20;
/// Most distinct panic values read in one capture.
const MAX_VALUES: usize = 10_000;
/// Most bytes of their texts.
const MAX_TEXTS: usize = 16 << 20;
/// What is shown for a value beyond these.
const NOT_READ: &str = "(not read: too many panics)";

/// Follows pointers of one target.
pub(super) struct Follow<'a> {
    pub(super) process: GoProcess<'a>,
    /// When the capture began, ns by `nanotime`.
    pub(super) now_ns: u64,
    /// Pointers that goroutines had dropped, as a recording notes: address of the g, and name of the field.
    pub(super) let_go: FxHashSet<(u64, String)>,
}

/// A pointer to invalid data.
struct Lost {
    /// Index of its goroutine.
    index: usize,
    field: &'static str,
    value: u64,
    /// Where the pointer is.
    at: Addr,
}

impl Follow<'_> {
    /// Follows all of them, and warns of inconsistent fields. `max_goid` is the current `sched.goidgen`.
    pub(super) fn all(
        &self,
        decoder: &mut Decoder,
        pool: &mut SymbolPool,
        collected: &mut Collected,
        max_goid: Option<u64>,
        warnings: &mut Warnings,
    ) -> Result<(), ReadError> {
        let layout = &self.process.runtime.layout;
        let suspects = std::mem::take(&mut collected.suspects);
        fields::report(self.process.target, &layout.g, max_goid, &suspects, &mut collected.goroutines, warnings)?;
        let mut extras = std::mem::take(&mut collected.extras);
        self.panics(&extras, pool, collected)?;
        self.drop_let_go(&mut extras, collected);
        let mut lost = Vec::new();
        self.labels(&extras, pool, collected, &mut lost, warnings)?;
        self.bubbles(&extras, collected, &mut lost)?;
        self.ancestors(&extras, decoder, pool, collected, &mut lost)?;
        lost.sort_by_key(|one| one.index);
        self.report_lost(&lost, collected, warnings)
    }

    /// Follows what goroutines wait for; `runs` says whether the target runs meanwhile.
    pub(super) fn waits(
        &self,
        decoder: &mut Decoder,
        pool: &mut SymbolPool,
        (collected, state, runs): (&mut Collected, &SchedulerState, bool),
        warnings: &mut Warnings,
        look: &mut Look<'_>,
    ) -> Result<Waits, ReadError> {
        let seeds = std::mem::take(&mut collected.waits);
        let ps = state.processors.iter().map(|p| p.addr).collect();
        let ticks = Ticks::of_idle(state.processors.iter().map(|p| (p.id, p.status, p.schedtick, p.syscalltick)));
        let scene = Scene { process: self.process, ps, ticks, now_ns: self.now_ns, runs, let_go: &self.let_go };
        let Collected { goroutines, recorded, .. } = collected;
        scene.read(&seeds, goroutines, (decoder.waits(), pool), recorded, warnings, look)
    }

    fn panics(&self, extras: &[Extra], pool: &mut SymbolPool, collected: &mut Collected) -> Result<(), ReadError> {
        let values = self.process.values();
        let mut panics = PanicValues::new(values.as_ref());
        for extra in extras {
            if let (Some(value), Some(goroutine)) = (extra.panic, collected.goroutines.get_mut(extra.index)) {
                goroutine.panic = panics.text(value, pool)?;
            }
        }
        Ok(())
    }

    /// A pointer that was dropped, as a recording notes, is not followed.
    fn drop_let_go(&self, extras: &mut [Extra], collected: &mut Collected) {
        if self.let_go.is_empty() {
            return;
        }
        for extra in extras {
            let Some(addr) = collected.goroutines.get(extra.index).map(|goroutine| goroutine.addr) else { continue };
            let pointers =
                [(LABELS, &mut extra.labels), (BUBBLE, &mut extra.bubble), (ANCESTORS, &mut extra.ancestors)];
            for (field, value) in pointers {
                if *value != 0 && self.let_go.contains(&(addr.0, field.to_owned())) {
                    collected.recorded.add_let_go(addr, field);
                    *value = 0;
                }
            }
        }
    }

    fn labels(
        &self,
        extras: &[Extra],
        pool: &mut SymbolPool,
        collected: &mut Collected,
        lost: &mut Vec<Lost>,
        warnings: &mut Warnings,
    ) -> Result<(), ReadError> {
        let layout = &self.process.runtime.layout;
        let sets = distinct(extras.iter().map(|extra| extra.labels));
        if sets.is_empty() {
            return Ok(());
        }
        let Some(form) = self.process.label_form() else {
            let message = "labels are unknown: no layout of runtime.hmap, where this Go version keeps them";
            warnings.add(WarningCode::FieldRejected, message);
            return Ok(());
        };
        let (mut ids, mut not_read) = (FxHashMap::<u64, Option<LabelsId>>::default(), 0_usize);
        read_labels(self.process.target, &form, &sets, |set, labels| match labels {
            Labels::Known(pairs) => {
                let label = |(key, value): &(String, String)| Label {
                    key: pool.intern_str(key),
                    value: pool.intern_str(value),
                };
                let labels: Vec<Label> = pairs.iter().map(label).collect();
                ids.insert(set.0, (!labels.is_empty()).then(|| pool.intern_labels(labels)));
            }
            Labels::NotRead => {
                not_read += 1;
                ids.insert(set.0, None);
            }
            Labels::Malformed => {}
        })?;
        if not_read > 0 {
            let message = format!("{not_read} of {} label sets were not read: too many", sets.len());
            warnings.add(WarningCode::LimitReached, message);
        }
        let field = (LABELS, layout.g.labels);
        give(
            extras,
            collected,
            field,
            lost,
            |extra| extra.labels,
            |goroutine, value| {
                let labels = ids.get(&value);
                goroutine.labels = labels.copied().flatten();
                labels.is_some()
            },
        );
        Ok(())
    }

    fn bubbles(&self, extras: &[Extra], collected: &mut Collected, lost: &mut Vec<Lost>) -> Result<(), ReadError> {
        let layout = &self.process.runtime.layout;
        let Some((layout, field)) = layout.bubble.as_ref().zip(layout.g.bubble) else { return Ok(()) };
        let bubbles = distinct(extras.iter().map(|extra| extra.bubble));
        let budget = Budget { objects: bubbles.len(), bytes: MAX_BUBBLE_BYTES, depth: 0 };
        let found = Frontier::new(self.process.target, budget).mirrors::<SynctestBubble>(layout, bubbles)?;
        give(
            extras,
            collected,
            (BUBBLE, field),
            lost,
            |extra| extra.bubble,
            |goroutine, value| {
                let id = found.get(Addr(value)).map(|bubble| bubble.id).filter(|&id| id < MAX_BUBBLE);
                goroutine.bubble = id.and_then(NonZeroU64::new);
                goroutine.bubble.is_some()
            },
        );
        Ok(())
    }

    fn ancestors(
        &self,
        extras: &[Extra],
        decoder: &mut Decoder,
        pool: &mut SymbolPool,
        collected: &mut Collected,
        lost: &mut Vec<Lost>,
    ) -> Result<(), ReadError> {
        let layout = &self.process.runtime.layout;
        let lists = distinct(extras.iter().map(|extra| extra.ancestors));
        let Some(ancestor) = layout.ancestor.as_ref().filter(|_| !lists.is_empty()) else { return Ok(()) };
        let mut ids: FxHashMap<u64, AncestorsId> = FxHashMap::default();
        let symbolizer = decoder.symbolizer();
        read_ancestors(self.process.target, ancestor, &lists, |list, ancestors| {
            let Some(ancestors) = ancestors else { return };
            let mut named = |one: &readers::ancestors::Ancestor| Ancestor {
                id: Goid(one.goid),
                frames: one.pcs.iter().filter_map(|pc| symbolizer.call_site(pool, *pc)).collect(),
                printed: one
                    .pcs
                    .iter()
                    .enumerate()
                    .filter_map(|(index, pc)| symbolizer.ancestor_frame(pool, *pc, index == 0))
                    .collect(),
                creator: symbolizer.creator(pool, Addr(one.gopc)),
            };
            let named: Vec<Ancestor> = ancestors.iter().map(&mut named).collect();
            ids.insert(list.0, pool.intern_ancestors(named));
        })?;
        let field = (ANCESTORS, layout.g.ancestors);
        give(
            extras,
            collected,
            field,
            lost,
            |extra| extra.ancestors,
            |goroutine, value| {
                goroutine.ancestors = ids.get(&value).copied();
                goroutine.ancestors.is_some()
            },
        );
        Ok(())
    }

    /// Warns of pointers to invalid data, unless their goroutines have run since and dropped them.
    fn report_lost(&self, lost: &[Lost], collected: &mut Collected, warnings: &mut Warnings) -> Result<(), ReadError> {
        let budget = Budget { objects: lost.len(), bytes: 8 * lost.len() as u64, depth: 0 };
        let now = Frontier::new(unlogged(self.process.target), budget).words(lost.iter().map(|one| one.at))?;
        for one in lost {
            let Some(goroutine) = collected.goroutines.get(one.index) else { continue };
            if now.get(&one.at) != Some(&one.value) {
                collected.recorded.add_let_go(goroutine.addr, one.field);
                continue;
            }
            let (id, Lost { field, value, .. }) = (goroutine.id.0, one);
            let message = format!("goroutine {id}: {field} is {value:#x}, which does not point to valid data");
            warnings.add(WarningCode::GoroutineInconsistent, message);
        }
        Ok(())
    }
}

/// The distinct pointers among these, ascending, without nil.
fn distinct(pointers: impl Iterator<Item = u64>) -> Vec<Addr> {
    let mut distinct: Vec<Addr> = pointers.filter(|&pointer| pointer != 0).map(Addr).collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

/// Gives each goroutine that has such a pointer what it leads to, and notes the invalid ones: `set` returns
/// which. A field is its name and its offset in a g.
fn give(
    extras: &[Extra],
    collected: &mut Collected,
    (field, offset): (&'static str, u32),
    lost: &mut Vec<Lost>,
    pointer: impl Fn(&Extra) -> u64,
    set: impl Fn(&mut Goroutine, u64) -> bool,
) {
    for extra in extras {
        let value = pointer(extra);
        let Some(goroutine) = collected.goroutines.get_mut(extra.index).filter(|_| value != 0) else { continue };
        if !set(goroutine, value) {
            let at = Addr(goroutine.addr.0.wrapping_add(offset.into()));
            lost.push(Lost { index: extra.index, field, value, at });
        }
    }
}

const LABELS: &str = "g.labels";
const BUBBLE: &str = "g.bubble";
const ANCESTORS: &str = "g.ancestors";

/// Panic values as text, each distinct one once.
struct PanicValues<'a> {
    values: Option<&'a Values<'a>>,
    texts: FxHashMap<(u64, u64), StrId>,
    bytes: usize,
}

impl<'a> PanicValues<'a> {
    fn new(values: Option<&'a Values<'a>>) -> Self {
        Self { values, texts: FxHashMap::default(), bytes: 0 }
    }

    /// The value of a panic in progress: still the value itself, not yet its text.
    fn text(&mut self, value: Interface, pool: &mut SymbolPool) -> Result<Option<StrId>, ReadError> {
        let Some(values) = self.values else { return Ok(None) };
        let key = (value.kind, value.data);
        if let Some(&known) = self.texts.get(&key) {
            return Ok(Some(known));
        }
        if self.texts.len() >= MAX_VALUES || self.bytes >= MAX_TEXTS {
            return Ok(Some(pool.intern_str(NOT_READ)));
        }
        let text = match values.error_text(value)? {
            Some(text) => text,
            None => values.panic_value(value)?.text,
        };
        self.bytes = self.bytes.saturating_add(text.len());
        let id = pool.intern_str(&text);
        self.texts.insert(key, id);
        Ok(Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::process::fake::FakeTarget;
    use crate::runtime::layout::checked_in;
    use crate::runtime::mirror::go_type::TypeLayout;

    #[test]
    fn values_of_panics_are_read_once_and_not_without_end() {
        let target = FakeTarget::new(Arch::Amd64);
        let layout = TypeLayout::resolve(&checked_in(26, Arch::Amd64).unwrap()).unwrap();
        let values = Values::new(&target, layout, 0x2000..0x3000, 26);
        let (mut panics, mut pool) = (PanicValues::new(Some(&values)), SymbolPool::default());
        let mut text = |data: u64| {
            let id = panics.text(Interface { kind: 0x2000, data }, &mut pool).unwrap().unwrap();
            pool.str(id).to_owned()
        };
        assert_eq!(text(0x10), "(a type that is not known) 0x10");
        let reads = target.reads();
        assert!(reads > 0);
        assert_eq!((text(0x10).as_str(), target.reads()), ("(a type that is not known) 0x10", reads));
        for data in 0..=MAX_VALUES as u64 {
            text(data);
        }
        let reads = target.reads();
        assert_eq!((text(u64::MAX).as_str(), target.reads()), (NOT_READ, reads));
        assert_eq!(text(0x10), "(a type that is not known) 0x10");
    }
}
