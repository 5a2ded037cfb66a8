//! What only pointers lead to from a goroutine that was read: labels, bubbles, ancestors, and the values
//! of panics.
//!
//! They are followed after the goroutine was believed. One that has run since may have let go of them:
//! that is no reason for a warning, and a recording says so, since its memory has the goroutine as it was
//! believed. What is bounded for each goroutine is bounded for all of them too.

use std::num::NonZeroU64;

use rustc_hash::{FxHashMap, FxHashSet};

use super::death;
use super::fields;
use super::goroutines::{Collected, Decoder};
use super::labels::Follower;
use super::program::Program;
use crate::addr::Addr;
use crate::model::{StrId, SymbolPool, WarningCode, Warnings};
use crate::process::{ReadError, Target, TargetExt, unlogged};
use crate::runtime::GoRuntime;
use crate::runtime::panics::Interface;
use crate::runtime::values::Values;

/// Ids of bubbles that are believed are below this; they are counted from 1.
const MAX_BUBBLE: u64 = 1 << 40;
/// Most distinct values of panics that are read in one capture.
const MAX_VALUES: usize = 10_000;
/// Most bytes of their texts.
const MAX_TEXTS: usize = 16 << 20;
/// What stands for a value beyond these.
const NOT_READ: &str = "(not read: too many panics)";

/// Follows pointers of one target.
pub(super) struct Follow<'a> {
    pub(super) target: &'a dyn Target,
    pub(super) runtime: &'a GoRuntime,
    pub(super) program: &'a Program,
    /// What a recording says that goroutines had let go of: address of the g, and name of the field.
    pub(super) let_go: FxHashSet<(u64, String)>,
}

impl Follow<'_> {
    /// Follows what there is to follow, and warns of fields that make no sense. `max_goid` is
    /// `sched.goidgen` as it is now.
    pub(super) fn all(
        &self,
        decoder: &mut Decoder,
        pool: &mut SymbolPool,
        collected: &mut Collected,
        max_goid: Option<u64>,
        warnings: &mut Warnings,
    ) -> Result<(), ReadError> {
        let layout = &self.runtime.layout;
        let odd = std::mem::take(&mut collected.odd);
        fields::report(self.target, &layout.g, max_goid, &odd, &mut collected.goroutines, warnings)?;
        let bubble_id = layout.table.offset("runtime.synctestBubble", "id");
        let mut follower = Follower::new(self.target, self.runtime.version.minor);
        let values = death::values(self.target, self.runtime, self.program);
        let mut panics = PanicValues::new(values.as_ref());
        for extra in std::mem::take(&mut collected.extras) {
            let Some(goroutine) = collected.goroutines.get_mut(extra.index) else { continue };
            if let Some(value) = extra.panic {
                goroutine.panic = panics.text(value, pool)?;
            }
            let mut lost = Vec::new();
            // Where a recording has it that it was let go of, nothing is followed.
            let mut holds = |field: &'static str, value: u64| {
                let let_go = !self.let_go.is_empty() && self.let_go.contains(&(goroutine.addr.0, field.to_owned()));
                if value != 0 && let_go {
                    collected.recorded.add_let_go(goroutine.addr, field);
                }
                value != 0 && !let_go
            };
            if holds(LABELS, extra.labels) {
                match follower.labels(extra.labels, pool)? {
                    Some(labels) => goroutine.labels = labels,
                    None => lost.push((LABELS, extra.labels, layout.g.labels)),
                }
            }
            if let (true, Some(offset)) = (holds(BUBBLE, extra.bubble), bubble_id) {
                let id = follower.bubble(extra.bubble, offset)?.filter(|&id| id < MAX_BUBBLE);
                goroutine.bubble = id.and_then(NonZeroU64::new);
                if let (None, Some(field)) = (goroutine.bubble, layout.g.bubble) {
                    lost.push((BUBBLE, extra.bubble, field));
                }
            }
            if holds(ANCESTORS, extra.ancestors) {
                goroutine.ancestors = follower.ancestors(extra.ancestors, decoder.symbolizer(), pool)?;
                if goroutine.ancestors.is_none() {
                    lost.push((ANCESTORS, extra.ancestors, layout.g.ancestors));
                }
            }
            for (field, value, offset) in lost {
                let at = Addr(goroutine.addr.0.wrapping_add(offset.into()));
                if unlogged(self.target).read_u64(at)? != Some(value) {
                    // It has run since.
                    collected.recorded.add_let_go(goroutine.addr, field);
                    continue;
                }
                let id = goroutine.id.0;
                let message = format!("goroutine {id}: {field} is {value:#x}, which does not point to valid data");
                warnings.add(WarningCode::GoroutineOdd, message);
            }
        }
        Ok(())
    }
}

const LABELS: &str = "g.labels";
const BUBBLE: &str = "g.bubble";
const ANCESTORS: &str = "g.ancestors";

/// Values of panics in words, each distinct one once.
struct PanicValues<'a> {
    values: Option<&'a Values<'a>>,
    texts: FxHashMap<(u64, u64), StrId>,
    bytes: usize,
}

impl<'a> PanicValues<'a> {
    fn new(values: Option<&'a Values<'a>>) -> Self {
        Self { values, texts: FxHashMap::default(), bytes: 0 }
    }

    /// The value of a panic that is in flight: it is the value itself still, rather than its text.
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
    use crate::runtime::values::TypeLayout;

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
