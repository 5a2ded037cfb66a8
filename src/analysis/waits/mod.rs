//! What goroutines wait on, and which goroutines could wake them.
//!
//! * [`table`]: the objects that are waited on, with the waiters, where they wait, and for how long
//! * [`chain`]: the wait chain of one goroutine, over the likely holders of locks
//! * [`cycles`]: likely deadlocks
//! * [`shared`]: the object or peer that the members of a group have in common
//! * [`graph`]: the wait-for graph, of bounded size
//!
//! That a goroutine waits on an object is certain. That another one holds it is not, since Go's locks do not
//! record their holders; conclusions from likely holders are called likely. Nothing here says that a goroutine can
//! never be woken: that takes a mark of the heap.

pub mod chain;
pub mod cycles;
pub mod graph;
pub mod shared;
#[cfg(test)]
mod shared_tests;
pub mod table;
#[cfg(test)]
mod tests;

pub use chain::{Chain, ChainEnd, Step};
pub use cycles::Cycle;
pub(crate) use shared::WaitTally;
pub use shared::{Shared, SharedWait};
pub use table::{WaitRow, WaitSort, WaitTable, WaitedOn, Where};

use rustc_hash::FxHashMap;

use crate::model::{Goid, Goroutine, LikelyHolder, ObjectState, Snapshot, Wait, WaitObject, WaitObjectId};

/// Goroutines by their ids.
#[derive(Clone, Debug, Default)]
pub struct ById(FxHashMap<Goid, usize>);

impl ById {
    /// Of all goroutines that are not dead.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let alive = snapshot.goroutines.iter().enumerate().filter(|(_, goroutine)| !goroutine.status.is_dead());
        Self(alive.map(|(position, goroutine)| (goroutine.id, position)).collect())
    }

    /// The position in the snapshot of the one with this id.
    #[must_use]
    pub fn position(&self, id: Goid) -> Option<usize> {
        self.0.get(&id).copied()
    }
}

/// The objects that a goroutine waits on.
pub fn objects<'s>(snapshot: &'s Snapshot, goroutine: &Goroutine) -> impl Iterator<Item = &'s WaitObject> {
    let wait = snapshot.waiting_on(goroutine);
    wait.into_iter().flat_map(|wait| snapshot.waits.objects_of(wait)).map(|(_, object)| object)
}

/// The time until the wait of a goroutine ends by itself, ns: a sleep, the deadline of a descriptor, the first
/// timer of its channels. 0 where that time has come; `None` where it does not end by itself.
#[must_use]
pub fn left_ns(snapshot: &Snapshot, goroutine: &Goroutine) -> Option<u64> {
    let wait = snapshot.waiting_on(goroutine)?;
    let (now, then) = match wait {
        Wait::Sleep { until_ns, bubble_now_ns } => (bubble_now_ns.unwrap_or(snapshot.monotonic_ns), Some(*until_ns)),
        Wait::Poll { deadline_ns, .. } => (snapshot.monotonic_ns, *deadline_ns),
        _ => {
            let timer = |object: &WaitObject| match object.state {
                ObjectState::Channel(channel) => channel.timer.map(|timer| timer.deadline_ns),
                _ => None,
            };
            (snapshot.monotonic_ns, objects(snapshot, goroutine).filter_map(timer).min())
        }
    };
    then.map(|then| then.saturating_sub(now))
}

/// The locks that a goroutine waits for, with those that probably hold them. One that selects waits for none.
fn lock_of(snapshot: &Snapshot, position: usize) -> Option<(WaitObjectId, &[LikelyHolder])> {
    let id = snapshot.waits.get_lock(snapshot.goroutines.get(position)?)?;
    Some((id, snapshot.waits.object(id)?.likely_holders.as_deref()?))
}
