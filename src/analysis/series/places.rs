//! How many places in a program's code have ever more goroutines, over the latest snapshots of it: for who asks from
//! time to time and keeps nothing but counts.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rustc_hash::FxHashMap;

use super::growth::{fit, may_rise};
use super::history::History;
use crate::analysis::{Index, PlaceKind};
use crate::model::FrameId;

/// Counts by place. A place is a line of a function; names are not kept, only their hashes.
#[derive(Debug, Default)]
pub struct PlaceCounts {
    history: History<u64>,
    latest_ns: Option<u64>,
}

impl PlaceCounts {
    /// Adds a snapshot, unless it is the one that was added last. The runtime's own goroutines are not counted.
    pub fn add(&mut self, index: &Index<'_>) {
        let snapshot = index.snapshot();
        if self.latest_ns == Some(snapshot.monotonic_ns) {
            return;
        }
        self.latest_ns = Some(snapshot.monotonic_ns);
        let mut by_frame: FxHashMap<Option<FrameId>, u64> = FxHashMap::default();
        for goroutine in snapshot.goroutines.iter().filter(|goroutine| !goroutine.system && !goroutine.status.is_dead())
        {
            let place = index.place(goroutine, PlaceKind::User);
            *by_frame.entry(place.spot().map(|spot| spot.frame)).or_default() += 1;
        }
        let mut counts: FxHashMap<u64, u64> = FxHashMap::default();
        for (frame, count) in by_frame {
            let mut hasher = DefaultHasher::new();
            if let Some(frame) = frame.and_then(|id| snapshot.symbols.frame(id)) {
                let name = |id| snapshot.symbols.str(id);
                (name(frame.function), name(frame.file), frame.line).hash(&mut hasher);
            }
            *counts.entry(hasher.finish()).or_default() += count;
        }
        self.history.record(snapshot.monotonic_ns, counts);
    }

    /// How many places grow steadily; `None` before there are enough snapshots.
    #[must_use]
    pub fn growing(&self) -> Option<u64> {
        let is_growing = |key: &u64| {
            let samples = self.history.samples(*key);
            may_rise(&samples) && fit(&samples).is_some_and(|rate| rate.steady)
        };
        let is_enough = self.history.len() >= super::growth::LEAST_SAMPLES;
        is_enough.then(|| u64::try_from(self.history.keys().filter(is_growing).count()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::PlaceCounts;
    use crate::analysis::Index;
    use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame};

    #[test]
    fn places_with_ever_more_goroutines_are_counted() {
        let mut counts = PlaceCounts::default();
        for nth in 0..20_u64 {
            let mut builder = SnapshotBuilder::of_new_session();
            let all = [("main.leak", 10 + 3 * nth), ("main.steady", 20), ("main.waves", 5 + nth % 4)];
            let mut id = 0;
            for (function, count) in all {
                for _ in 0..count {
                    id += 1;
                    let frames = vec![frame(function, "/m.go", 1)];
                    builder.add(&GoroutineSpec { id, frames, ..Default::default() });
                }
            }
            let mut snapshot = builder.build();
            snapshot.monotonic_ns = NOW_NS + nth * 15_000_000_000;
            let index = Index::new(&snapshot);
            counts.add(&index);
            // The same once more is no other sample.
            counts.add(&index);
            assert_eq!(counts.growing().is_some(), nth >= 7, "{nth}");
        }
        assert_eq!(counts.growing(), Some(1));
    }
}
