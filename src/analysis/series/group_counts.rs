//! Counts of groups over a whole watch: every sample is kept, since growth is judged over all of them.
//!
//! For a live view, which keeps the latest only, see [`super::history`].

use std::time::Duration;

use rustc_hash::FxHashMap;

use super::growth::Sample;
use crate::analysis::census::Group;
use crate::analysis::group::Key;

/// How many goroutines there were at each sample, in all and in each group.
#[derive(Debug, Default)]
pub struct GroupCounts {
    total: Vec<Sample>,
    groups: FxHashMap<Key, Series>,
    /// When the first sample was taken, ns.
    started_ns: u64,
}

#[derive(Debug)]
struct Series {
    /// Number of the sample and count; samples without the group are left out.
    counts: Vec<(usize, u64)>,
    latest: Group,
}

impl GroupCounts {
    /// Adds a sample; `now_ns` is its time by any clock, the same for all samples.
    pub fn record(&mut self, now_ns: u64, groups: &[Group]) {
        let nth = self.total.len();
        if nth == 0 {
            self.started_ns = now_ns;
        }
        let at_s = Duration::from_nanos(now_ns.saturating_sub(self.started_ns)).as_secs_f64();
        self.total.push(Sample { at_s, count: groups.iter().map(|group| group.count).sum() });
        for group in groups {
            let series =
                self.groups.entry(group.key).or_insert_with(|| Series { counts: Vec::new(), latest: group.clone() });
            series.counts.push((nth, group.count));
            series.latest = group.clone();
        }
    }

    /// All goroutines together.
    #[must_use]
    pub fn total(&self) -> &[Sample] {
        &self.total
    }

    /// Each group as it was when it was last there, with its counts: 0 where it was not. In no order.
    pub fn groups(&self) -> impl Iterator<Item = (&Group, Vec<Sample>)> {
        self.groups.values().map(|series| {
            let mut samples: Vec<Sample> = self.total.iter().map(|sample| Sample { count: 0, ..*sample }).collect();
            for &(nth, count) in &series.counts {
                if let Some(sample) = samples.get_mut(nth) {
                    sample.count = count;
                }
            }
            (&series.latest, samples)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::GroupCounts;
    use crate::analysis::census::{Census, groups};
    use crate::analysis::{GroupBy, PlaceKind};
    use crate::model::SymbolPool;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};

    #[test]
    fn a_group_that_is_not_there_counts_zero() {
        let mut pool = SymbolPool::default();
        let mut counts = GroupCounts::default();
        for (second, functions) in [(7, vec!["main.a"]), (8, vec!["main.a", "main.b", "main.b"]), (10, vec!["main.b"])]
        {
            let mut builder = SnapshotBuilder::new();
            for (function, id) in functions.into_iter().zip(1..) {
                let frames = vec![frame(function, "/m.go", 1)];
                builder.add(&GoroutineSpec { id, frames, ..Default::default() });
            }
            let census = Census::of_snapshot(&builder.build(), "now", &mut pool);
            let groups = groups(&census.members, &GroupBy::Place(PlaceKind::User), &pool);
            counts.record(second * 1_000_000_000, &groups);
        }
        let samples = |samples: &[super::Sample]| samples.iter().map(|s| (s.at_s, s.count)).collect::<Vec<_>>();
        assert_eq!(samples(counts.total()), [(0.0, 1), (1.0, 3), (3.0, 1)]);
        let mut series: Vec<_> = counts.groups().map(|(group, all)| (group.count, samples(&all))).collect();
        series.sort_by_key(|(_, samples)| samples[0].1);
        assert_eq!(series[0], (1, vec![(0.0, 0), (1.0, 2), (3.0, 1)]));
        assert_eq!(series[1], (1, vec![(0.0, 1), (1.0, 1), (3.0, 0)]));
    }
}
