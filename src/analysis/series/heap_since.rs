//! What has become of a heap between two moments: a file and a process, or two files.
//!
//! It compares what both have recorded: allocation sites, size classes, types, and what keeps the objects. Two
//! moments have a difference and no trend: nothing here is a rate, and nothing is judged.

use rustc_hash::FxHashMap;

use super::growth::difference;
use super::heap_parts::{Amounts, Part, PartKey, summed};
use crate::analysis::census::{Census, Identity, Relation};
use crate::heap::objects::Amount;
use crate::model::{Snapshot, SymbolPool};
use crate::process::Backend;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// What is in use by allocation site.
    Sites,
    /// Objects by size.
    SizeClasses,
    /// Live objects by type.
    Types,
    /// Live objects by what keeps them.
    Roots,
}

/// A list of parts, or why a moment has none.
pub type Listed = Result<Amounts, String>;

/// What a walk over the objects has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// What is live.
    pub live: Amount,
    /// What is not, and is not swept yet.
    pub garbage: Amount,
    /// Whether nothing moved meanwhile.
    pub exact: bool,
}

/// What is known of a heap at one moment.
#[derive(Clone, Debug)]
pub struct HeapMoment {
    /// Which program it was, and when; without its goroutines.
    pub of: Census,
    /// Bytes of objects in use, what is dead and not swept yet included.
    pub in_use: Option<u64>,
    /// Bytes that the latest cycle of the collector has marked.
    pub marked: Option<u64>,
    /// Bytes allocated since the start.
    pub allocated: Option<u64>,
    /// Cycles of the collector since the start.
    pub cycles: Option<u32>,
    /// What a walk has found; `None` where there was none.
    pub walked: Option<Walked>,
    /// Allocation sites.
    pub sites: Listed,
    /// What sweeps have left, by size class.
    pub survivors: Listed,
    /// What is in use by size class.
    pub classes: Listed,
    /// Types.
    pub types: Listed,
    /// What keeps objects.
    pub roots: Listed,
}

impl HeapMoment {
    /// The figures of a snapshot, without any parts: `why` says why there are none.
    #[must_use]
    pub fn of_snapshot(name: String, snapshot: &Snapshot, why: &str) -> Self {
        let (heap, gc) = (snapshot.heap.as_ref(), snapshot.gc.as_ref());
        let none = || Err(why.to_owned());
        Self {
            of: Census {
                name,
                program: Identity::of(&snapshot.target),
                captured_at_unix_ns: snapshot.captured_at_unix_ns,
                time_of_file: snapshot.reading.backend == Backend::Core.name(),
                complete: snapshot.is_complete(),
                ..Census::default()
            },
            in_use: heap.map(|heap| heap.heap_alloc),
            marked: heap.and_then(|heap| heap.heap_marked),
            allocated: heap.map(|heap| heap.total_alloc),
            cycles: gc.map(|gc| gc.cycles),
            walked: None,
            sites: none(),
            survivors: none(),
            classes: none(),
            types: none(),
            roots: none(),
        }
    }
}

/// How a part has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartChange {
    /// Which.
    pub part: Part,
    /// How much there was.
    pub before: Amount,
    /// How much there is.
    pub after: Amount,
}

impl PartChange {
    /// By how many bytes.
    #[must_use]
    pub fn bytes(&self) -> i64 {
        difference(self.after.bytes, self.before.bytes)
    }
}

/// How the parts of one kind have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Of which kind.
    pub kind: PartKind,
    /// Those that have changed, those that grew most first and those that shrank most last; or why there is nothing
    /// to compare, and in which of the two moments (0 or 1).
    pub parts: Result<Vec<PartChange>, (usize, String)>,
    /// Of size classes: whether they are of what is in use, and not of what sweeps have left.
    pub with_garbage: bool,
}

/// What has become of a heap.
#[derive(Debug)]
pub struct HeapChange {
    /// By kind of part.
    pub changes: Vec<Changes>,
    /// Whether both are of the same run of the same program, and how much time is between them.
    pub relation: Relation,
    /// Cycles of the collector in between, in one run; `None` where that is not known.
    pub cycles: Option<u32>,
    /// Bytes allocated in between, in one run; `None` where that is not known.
    pub allocated: Option<u64>,
}

impl HeapChange {
    /// From `before` to `after`, whose names are those of `pool`.
    #[must_use]
    pub fn between(before: &HeapMoment, after: &HeapMoment, pool: &SymbolPool) -> Self {
        let relation = before.of.relation(&after.of);
        let maybe = relation.same_process != Some(false);
        let sweeps = before.survivors.is_ok() && after.survivors.is_ok();
        let classes =
            if sweeps { |of: &HeapMoment| of.survivors.clone() } else { |of: &HeapMoment| of.classes.clone() };
        let list = |kind, of: &dyn Fn(&HeapMoment) -> Listed| Changes {
            kind,
            parts: match (of(before), of(after)) {
                (Ok(before), Ok(after)) => Ok(compared(&before, &after, pool)),
                (Err(why), _) => Err((0, why)),
                (_, Err(why)) => Err((1, why)),
            },
            with_garbage: kind == PartKind::SizeClasses && !sweeps,
        };
        let changes = vec![
            list(PartKind::Sites, &|of| of.sites.clone()),
            list(PartKind::SizeClasses, &classes),
            list(PartKind::Types, &|of| of.types.clone()),
            list(PartKind::Roots, &|of| of.roots.clone()),
        ];
        Self {
            changes,
            relation,
            cycles: before.cycles.zip(after.cycles).filter(|_| maybe).and_then(|(a, b)| b.checked_sub(a)),
            allocated: before.allocated.zip(after.allocated).filter(|_| maybe).and_then(|(a, b)| b.checked_sub(a)),
        }
    }

    /// Whether anything could be compared but the figures of the whole.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        self.changes.iter().any(|changes| changes.parts.is_ok())
    }
}

/// Parts that have changed.
fn compared(before: &Amounts, after: &Amounts, pool: &SymbolPool) -> Vec<PartChange> {
    let before: FxHashMap<PartKey, (Part, Amount)> = summed(before.iter().copied(), pool)
        .into_iter()
        .map(|(part, amount)| (part.key(pool), (part, amount)))
        .collect();
    let mut gone = before.clone();
    let mut changes: Vec<PartChange> = Vec::new();
    for (part, after) in summed(after.iter().copied(), pool) {
        let key = part.key(pool);
        gone.remove(&key);
        let before = before.get(&key).map(|(_, amount)| *amount).unwrap_or_default();
        changes.push(PartChange { part, before, after });
    }
    changes.extend(gone.into_values().map(|(part, before)| PartChange { part, before, after: Amount::default() }));
    changes.retain(|change| change.before != change.after);
    // Their order has to be the same each time.
    changes.sort_by_cached_key(|change| {
        (std::cmp::Reverse(change.bytes()), std::cmp::Reverse(change.after.bytes), order(change, pool))
    });
    changes
}

/// In which order parts come that have changed alike.
fn order(change: &PartChange, pool: &SymbolPool) -> String {
    match change.part {
        Part::Site(spot) => spot.map_or_else(String::new, |spot| pool.function(spot.frame).to_owned()),
        Part::SizeClass(size) => format!("{size:020}"),
        Part::Type(name) => pool.str(name).to_owned(),
        Part::Untyped { size, pointers } => format!("{:020} {pointers}", size.unwrap_or(u64::MAX)),
        Part::Root(kept) => kept.name().to_owned(),
    }
}

#[cfg(test)]
#[path = "heap_since_tests.rs"]
mod tests;
