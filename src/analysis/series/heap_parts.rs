//! The parts of a heap, and how much is in each at one moment: what is compared from one moment to another.
//!
//! Names of places and types are ids of a pool that all moments share, so that parts of two readings, of two files,
//! or of two runs of a program can be the same part.

use rustc_hash::FxHashMap;

use crate::analysis::census::of_snapshot::Translation;
use crate::analysis::objects::{ObjectGroup, keepers};
use crate::analysis::place::{Place, Spot, SpotKey};
use crate::analysis::profile;
use crate::heap::objects::{Amount, Keeper, Objects};
use crate::model::{AllocationProfile, SizeClasses, Snapshot, StrId, Survivors, SymbolPool, TargetInfo};

/// A part of the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// What was allocated in one place; `None` for samples without a stack.
    Site(Option<Spot>),
    /// Objects of one size, bytes; 0 for objects that are too large for any class.
    SizeClass(u64),
    /// Live objects of the type with this name.
    Type(StrId),
    /// Live objects of one size whose type is not known.
    Untyped {
        /// Size of each, bytes; `None` for those that are too large for a size class.
        size: Option<u64>,
        /// Whether there are pointers in them.
        pointers: bool,
    },
    /// Live objects that one kind of root reaches first.
    Root(KeptBy),
}

/// A kind of root, by which objects are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptBy {
    /// Package variables.
    Variables,
    /// Finalizers and cleanups.
    Finalizers,
    /// Timers, and what else Ps hold.
    Timers,
    /// Threads that run.
    Threads,
    /// Goroutines in one place; `None` where that is not known.
    Goroutines(Option<Spot>),
    /// The runtime's own goroutines.
    SystemGoroutines,
    /// Goroutines in none of the largest groups.
    OtherGoroutines,
}

impl KeptBy {
    /// What a walk calls so; the spot is one of the snapshot that `groups` are of. `None` for the goroutines of
    /// `--only-from`, which are no kind of root.
    #[must_use]
    pub(crate) fn of(keeper: Keeper, groups: &[ObjectGroup]) -> Option<Self> {
        Some(match keeper {
            Keeper::Variables => Self::Variables,
            Keeper::Finalizers => Self::Finalizers,
            Keeper::Timers => Self::Timers,
            Keeper::Threads => Self::Threads,
            Keeper::OtherGoroutines => Self::OtherGoroutines,
            Keeper::Only => return None,
            Keeper::Group(number) => match groups.get(number).map(|group| group.place) {
                Some(None) => Self::SystemGoroutines,
                Some(Some(place)) => Self::Goroutines(place.spot()),
                None => Self::Goroutines(None),
            },
        })
    }

    /// As `gospy heap --objects --json` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Variables => "variables",
            Self::Finalizers => "finalizers",
            Self::Timers => "timers",
            Self::Threads => "threads",
            Self::Goroutines(_) => "goroutines",
            Self::SystemGoroutines => "system_goroutines",
            Self::OtherGoroutines => "other_goroutines",
        }
    }

    /// The one with that name; `spot` is where its goroutines are. `None` for a name that is not known.
    #[must_use]
    pub fn named(name: &str, spot: Option<Spot>) -> Option<Self> {
        let all = [
            Self::Variables,
            Self::Finalizers,
            Self::Timers,
            Self::Threads,
            Self::Goroutines(spot),
            Self::SystemGoroutines,
            Self::OtherGoroutines,
        ];
        all.into_iter().find(|kept| kept.name() == name)
    }
}

/// What parts have in common that are the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::analysis) enum PartKey {
    Site(Option<SpotKey>),
    SizeClass(u64),
    Type(StrId),
    Untyped(Option<u64>, bool),
    Root(&'static str, Option<SpotKey>),
}

impl Part {
    pub(in crate::analysis) fn key(&self, pool: &SymbolPool) -> PartKey {
        let spot = |spot: &Option<Spot>| spot.and_then(|spot| spot.key(pool));
        match self {
            Self::Site(at) => PartKey::Site(spot(at)),
            Self::SizeClass(size) => PartKey::SizeClass(*size),
            Self::Type(name) => PartKey::Type(*name),
            Self::Untyped { size, pointers } => PartKey::Untyped(*size, *pointers),
            Self::Root(kept @ KeptBy::Goroutines(at)) => PartKey::Root(kept.name(), spot(at)),
            Self::Root(kept) => PartKey::Root(kept.name(), None),
        }
    }

    /// Whether it is known only from a walk over the objects.
    #[must_use]
    pub fn is_walked(&self) -> bool {
        matches!(self, Self::Type(_) | Self::Untyped { .. } | Self::Root(_))
    }
}

/// How much is in each of some parts.
pub type Amounts = Vec<(Part, Amount)>;

/// Parts that are the same one put together, in their order.
#[must_use]
pub fn summed(parts: impl IntoIterator<Item = (Part, Amount)>, pool: &SymbolPool) -> Amounts {
    let mut known: FxHashMap<PartKey, usize> = FxHashMap::default();
    let mut sums: Amounts = Vec::new();
    for (part, amount) in parts {
        let at = *known.entry(part.key(pool)).or_insert(sums.len());
        match sums.get_mut(at) {
            Some((_, sum)) => *sum = sum.with(amount),
            None => sums.push((part, amount)),
        }
    }
    sums
}

/// What is in use by allocation site, scaled to what the samples stand for. Names are put into `pool`.
#[must_use]
pub fn sites(profile: &AllocationProfile, target: &TargetInfo, pool: &mut SymbolPool) -> Amounts {
    let places = profile::allocations(profile, target);
    let mut names = Translation::new(&profile.symbols, pool);
    let parts = places.iter().map(|place| {
        let spot = place.spot.and_then(|spot| names.place(Place::At(spot)).spot());
        (Part::Site(spot), Amount { objects: place.sum.in_use, bytes: place.sum.in_use_bytes })
    });
    let parts: Amounts = parts.collect();
    summed(parts, pool)
}

/// What sweeps have left, by size class.
#[must_use]
pub fn survivors(classes: &[Survivors]) -> Amounts {
    let part =
        |class: &Survivors| (Part::SizeClass(class.object_size), Amount { objects: class.objects, bytes: class.bytes });
    classes.iter().map(part).collect()
}

/// What is in use by size class, what is dead and not swept yet included.
#[must_use]
pub fn in_use(classes: &SizeClasses) -> Amounts {
    let classes = classes.classes.iter();
    classes
        .map(|class| (Part::SizeClass(class.object_size), Amount { objects: class.objects, bytes: class.bytes }))
        .collect()
}

/// A walk over the objects of a heap.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    /// The goroutines that it was made with.
    pub snapshot: &'a Snapshot,
    /// Their groups.
    pub groups: &'a [ObjectGroup],
    /// What was found.
    pub objects: &'a Objects,
}

/// Live objects by type; those without a known one by size. Names are put into `pool`.
#[must_use]
pub fn types(walk: &Walk<'_>, pool: &mut SymbolPool) -> Amounts {
    let typed = walk.objects.types.iter().flatten();
    let mut parts: Amounts = typed.map(|sum| (Part::Type(pool.intern_str(&sum.name)), sum.live)).collect();
    let untyped = walk.objects.untyped.iter();
    parts.extend(untyped.map(|sum| (Part::Untyped { size: sum.size, pointers: sum.pointers }, sum.live)));
    summed(parts, pool)
}

/// Live objects by what reaches them first. Names are put into `pool`.
#[must_use]
pub fn roots(walk: &Walk<'_>, pool: &mut SymbolPool) -> Amounts {
    let mut names = Translation::new(&walk.snapshot.symbols, pool);
    let mut parts = Amounts::new();
    for (keeper, amount) in keepers(walk.objects) {
        let kept = match KeptBy::of(keeper, walk.groups) {
            Some(KeptBy::Goroutines(spot)) => KeptBy::Goroutines(spot.and_then(|at| names.place(Place::At(at)).spot())),
            Some(kept) => kept,
            // They are counted apart only where that was asked for.
            None => continue,
        };
        parts.push((Part::Root(kept), amount));
    }
    summed(parts, pool)
}
