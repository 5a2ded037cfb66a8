//! Leaked goroutines by where they wait and who created them.
//!
//! Which goroutines are leaked is found in the heap ([`crate::heap`]); a goroutine that can never wake stays where
//! it is, so that a snapshot that was taken afterwards has it at the same place.

use rustc_hash::FxHashMap;

use super::{Index, PlaceKind, WaitRange, waits};
use crate::heap::{LeakedGoroutine, Leaks};

/// Most addresses of one group that are kept.
pub const MAX_OBJECTS: usize = 100;

/// Leaked goroutines that wait in the same place, for the same reason, and were created by the same statement.
#[derive(Clone, Debug)]
pub struct LeakGroup {
    /// Their ids, ascending.
    pub ids: Vec<u64>,
    /// One of them, by its place in the snapshot.
    pub example: usize,
    /// For how long they have waited, where that is known.
    pub wait: Option<WaitRange>,
    /// Bytes of their stacks.
    pub stack_bytes: u64,
    /// What they wait for, each address once, ascending: at most [`MAX_OBJECTS`]. Empty where nothing could ever
    /// wake them.
    pub objects: Vec<u64>,
}

/// Groups, largest first; equal ones by their lowest id. A goroutine that the snapshot does not have is left out.
#[must_use]
pub fn groups(index: &Index<'_>, leaks: &Leaks) -> Vec<LeakGroup> {
    let pool = &index.snapshot().symbols;
    let leaked: FxHashMap<u64, &LeakedGoroutine> = leaks.leaked.iter().map(|leaked| (leaked.goid, leaked)).collect();
    let mut by_key = FxHashMap::default();
    let mut out: Vec<LeakGroup> = Vec::new();
    for (at, goroutine) in index.snapshot().goroutines.iter().enumerate() {
        let Some(leaked) = leaked.get(&goroutine.id.0) else { continue };
        let key = |kind| index.place(goroutine, kind).spot().and_then(|spot| spot.key(pool));
        let key = (key(PlaceKind::User), key(PlaceKind::Creator), index.reason(goroutine));
        let number = *by_key.entry(key).or_insert(out.len());
        if number == out.len() {
            out.push(LeakGroup { ids: Vec::new(), example: at, wait: None, stack_bytes: 0, objects: Vec::new() });
        }
        let Some(group) = out.get_mut(number) else { continue };
        group.ids.push(leaked.goid);
        group.stack_bytes = group.stack_bytes.saturating_add(leaked.stack_bytes);
        WaitRange::include(&mut group.wait, index.age(goroutine));
        // The snapshot knows the lock that a semaphore belongs to.
        let mut waited: Vec<u64> = waits::objects(index.snapshot(), goroutine).map(|object| object.addr.0).collect();
        if waited.is_empty() {
            waited = leaked.objects.iter().map(|object| object.0).collect();
        }
        for object in waited {
            if let Err(place) = group.objects.binary_search(&object)
                && group.objects.len() < MAX_OBJECTS
            {
                group.objects.insert(place, object);
            }
        }
    }
    for group in &mut out {
        group.ids.sort_unstable();
    }
    out.sort_by_key(|group| (std::cmp::Reverse(group.ids.len()), group.ids.first().copied()));
    out
}
