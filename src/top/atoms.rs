//! Groups by all groupings at once, so that a trend is still there when another grouping is chosen.
//!
//! An atom is what a goroutine is grouped by, whichever grouping it is. The groups of any grouping are
//! sums of atoms, and so are their histories.

use rustc_hash::FxHashMap;

use super::grouping::{Grouping, Key, Keys};
use crate::analysis::Index;

/// The keys of a goroutine by each grouping that does not depend on what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Atom {
    place: Key,
    stack: Key,
    start: Key,
    creator: Key,
}

impl Atom {
    /// The key by `grouping`; `None` for labels.
    #[must_use]
    pub fn key(&self, grouping: &Grouping) -> Option<Key> {
        match grouping {
            Grouping::Place => Some(self.place),
            Grouping::Stack => Some(self.stack),
            Grouping::Start => Some(self.start),
            Grouping::Creator => Some(self.creator),
            Grouping::Label(_) => None,
        }
    }
}

/// Counts the goroutines at `positions` by atom. Keys are worked out once for all goroutines with the
/// same frames.
#[must_use]
pub fn count(index: &Index<'_>, positions: &[usize]) -> FxHashMap<Atom, u64> {
    let goroutines = &index.snapshot().goroutines;
    let mut alike: FxHashMap<_, (usize, u64)> = FxHashMap::default();
    for &at in positions {
        let Some(g) = goroutines.get(at) else { continue };
        let frames = (g.current, g.innermost, g.start, g.creator, g.stack, g.system);
        alike.entry(frames).or_insert((at, 0)).1 += 1;
    }
    let groupings = [Grouping::Place, Grouping::Stack, Grouping::Start, Grouping::Creator];
    let [mut place, mut stack, mut start, mut creator] = groupings.each_ref().map(|by| Keys::new(index, by));
    let mut atoms: FxHashMap<Atom, u64> = FxHashMap::default();
    for (at, count) in alike.into_values() {
        let Some(g) = goroutines.get(at) else { continue };
        let atom = Atom { place: place.of(g), stack: stack.of(g), start: start.of(g), creator: creator.of(g) };
        *atoms.entry(atom).or_default() += count;
    }
    atoms
}
