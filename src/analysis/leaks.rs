//! Leaked goroutines by where they wait and who created them.
//!
//! Which goroutines are leaked is found in the heap ([`crate::heap`]); a goroutine that can never wake stays where
//! it is, so that a snapshot that was taken afterwards has it at the same place.

use rustc_hash::{FxHashMap, FxHashSet};

use super::findings::{DEADLOCK, Found, NEVER_WAKES};
use super::waits::ById;
use super::{Index, PlaceKind, WaitRange, waits};
use crate::heap::{LeakedGoroutine, Leaks};
use crate::model::Goid;

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
    /// Bytes of the heap that only this group reaches; `None` where that is not known.
    pub heap_bytes: Option<u64>,
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
            out.push(LeakGroup {
                ids: Vec::new(),
                example: at,
                wait: None,
                stack_bytes: 0,
                heap_bytes: None,
                objects: Vec::new(),
            });
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
        let lowest = group.ids.first();
        group.heap_bytes = leaks.bytes.as_ref().zip(lowest).and_then(|(bytes, lowest)| bytes.of_group(*lowest));
    }
    out.sort_by_key(|group| (std::cmp::Reverse(group.ids.len()), group.ids.first().copied()));
    out
}

/// What is wrong by what was found in the heap: each deadlock, and then the goroutines that are leaked and in none.
/// It is as certain as the leaks are.
#[must_use]
pub fn findings(by_id: &ById, leaks: &Leaks) -> Vec<Found> {
    let positions = |ids: &[u64]| -> Vec<usize> {
        let mut positions: Vec<usize> = ids.iter().filter_map(|id| by_id.position(Goid(*id))).collect();
        positions.sort_unstable();
        positions
    };
    let deadlocks = leaks.deadlocks.as_deref().unwrap_or_default();
    let mut rest: Vec<u64> = leaks.leaked.iter().map(|leaked| leaked.goid).collect();
    let locked: FxHashSet<u64> = deadlocks.iter().flat_map(|deadlock| deadlock.goroutines.iter().copied()).collect();
    rest.retain(|id| !locked.contains(id));
    let found = |finding, ids: &[u64]| Found { finding, positions: positions(ids), detail: None };
    let mut out: Vec<Found> = deadlocks.iter().map(|deadlock| found(DEADLOCK, &deadlock.goroutines)).collect();
    out.push(found(NEVER_WAKES, &rest));
    out.retain(|found| !found.positions.is_empty());
    out
}
