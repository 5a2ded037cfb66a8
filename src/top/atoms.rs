//! Groups by all groupings at once, so that a trend is still there when another grouping is chosen.
//!
//! An atom is what a goroutine is grouped by, whichever grouping it is. The groups of any grouping are
//! sums of atoms, and so are their histories.

use rustc_hash::FxHashMap;

use super::grouping::Key;
use crate::analysis::group::Keys;
use crate::analysis::{GroupBy, Index, PlaceKind};

/// The groupings whose trends go on in another one: those by what a goroutine's frames say, which thousands have
/// in common. What they wait on can be different for each.
const FOLLOWED: [GroupBy; 4] =
    [GroupBy::Place(PlaceKind::User), GroupBy::SimilarStack, GroupBy::Start, GroupBy::Creator];

/// Whether trends go on in this grouping.
#[must_use]
pub(crate) fn is_followed(by: &GroupBy) -> bool {
    FOLLOWED.contains(by)
}

/// The keys of a goroutine by each grouping that does not depend on what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Atom([Key; FOLLOWED.len()]);

impl Atom {
    /// The key by `by`; `None` for one that is not followed.
    #[must_use]
    pub(crate) fn key(&self, by: &GroupBy) -> Option<Key> {
        let at = FOLLOWED.iter().position(|known| known == by)?;
        self.0.get(at).copied()
    }
}

/// Counts the goroutines at `positions` by atom. Keys are worked out once for all goroutines with the
/// same frames.
#[must_use]
pub(crate) fn count(index: &Index<'_>, positions: &[usize]) -> FxHashMap<Atom, u64> {
    let goroutines = &index.snapshot().goroutines;
    let mut alike: FxHashMap<_, (usize, u64)> = FxHashMap::default();
    for &at in positions {
        let Some(g) = goroutines.get(at) else { continue };
        let frames = (g.current, g.innermost, g.start, g.creator, g.stack, g.system);
        alike.entry(frames).or_insert((at, 0)).1 += 1;
    }
    let mut keys = FOLLOWED.each_ref().map(|by| Keys::lasting(&index.snapshot().symbols, by));
    let mut atoms: FxHashMap<Atom, u64> = FxHashMap::default();
    for (at, count) in alike.into_values() {
        let Some(g) = goroutines.get(at) else { continue };
        let atom = Atom(keys.each_mut().map(|keys| index.key(keys, g)));
        *atoms.entry(atom).or_default() += count;
    }
    atoms
}
