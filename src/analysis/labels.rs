//! The program's own labels over many goroutines: which values there are, and how often each.
//!
//! Goroutines are counted by label set first, of which there are few, and sets are taken apart only
//! at the end. What is kept is bounded, and what is left out is counted.

use std::cmp::{Ordering, Reverse};

use rustc_hash::FxHashMap;

use crate::model::{LabelsId, StrId, SymbolPool};

/// Keys that are kept at most.
const MAX_KEYS: usize = 100;
/// Values of a key that are kept at most.
const MAX_VALUES: usize = 100;

/// The values that one key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelValues {
    /// The key.
    pub key: StrId,
    /// Goroutines that have the key, with any value.
    pub members: u64,
    /// How many distinct values there are.
    pub distinct: u64,
    /// The most frequent values with how many goroutines have them, at most 100. Ties by text.
    pub values: Vec<(StrId, u64)>,
}

/// The labels of several goroutines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// How many distinct keys there are.
    pub distinct_keys: u64,
    /// The most frequent keys, at most 100. Ties by text.
    pub keys: Vec<LabelValues>,
}

/// Counts label sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelTally {
    sets: FxHashMap<LabelsId, u64>,
}

impl LabelTally {
    /// Counts one more goroutine, with these labels.
    pub(crate) fn add(&mut self, labels: Option<LabelsId>) {
        if let Some(labels) = labels {
            *self.sets.entry(labels).or_default() += 1;
        }
    }

    /// What was counted, by key and value.
    #[must_use]
    pub(crate) fn finish(self, symbols: &SymbolPool) -> Labels {
        let mut keys: FxHashMap<StrId, FxHashMap<StrId, u64>> = FxHashMap::default();
        for (set, count) in self.sets {
            for label in symbols.labels(set) {
                let values = keys.entry(label.key).or_default();
                let members = values.entry(label.value).or_default();
                *members = members.saturating_add(count);
            }
        }
        let distinct_keys = length(keys.len());
        let mut keys: Vec<(StrId, u64, FxHashMap<StrId, u64>)> = keys
            .into_iter()
            .map(|(key, values)| (key, values.values().fold(0_u64, |sum, count| sum.saturating_add(*count)), values))
            .collect();
        keep_first(&mut keys, MAX_KEYS, |a, b| (Reverse(a.1), symbols.str(a.0)).cmp(&(Reverse(b.1), symbols.str(b.0))));
        let keys = keys.into_iter().map(|(key, members, values)| {
            let distinct = length(values.len());
            let mut values: Vec<(StrId, u64)> = values.into_iter().collect();
            keep_first(&mut values, MAX_VALUES, |a, b| {
                (Reverse(a.1), symbols.str(a.0)).cmp(&(Reverse(b.1), symbols.str(b.0)))
            });
            LabelValues { key, members, distinct, values }
        });
        Labels { distinct_keys, keys: keys.collect() }
    }
}

/// Sorts, and keeps the first `most`; the others, of which there may be a million, are not sorted.
fn keep_first<T>(items: &mut Vec<T>, most: usize, order: impl Fn(&T, &T) -> Ordering) {
    if items.len() > most {
        items.select_nth_unstable_by(most, &order);
        items.truncate(most);
    }
    items.sort_unstable_by(&order);
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{LabelTally, Labels};
    use crate::model::{Label, SymbolPool};

    /// Of label sets with how many goroutines have each: keys with members, and values in words.
    fn tally(pool: &mut SymbolPool, sets: &[(&[(&str, &str)], u64)]) -> Labels {
        let mut tally = LabelTally::default();
        for (set, count) in sets {
            let labels =
                set.iter().map(|(key, value)| Label { key: pool.intern_str(key), value: pool.intern_str(value) });
            let labels = labels.collect();
            let id = pool.intern_labels(labels);
            (0..*count).for_each(|_| tally.add(Some(id)));
        }
        tally.add(None);
        tally.finish(pool)
    }

    #[test]
    fn values_are_counted_by_key() {
        let mut pool = SymbolPool::default();
        let sets: &[(&[(&str, &str)], u64)] = &[
            (&[("tenant", "red"), ("route", "/")], 13),
            (&[("tenant", "blue"), ("route", "/")], 14),
            (&[("tenant", "green")], 13),
        ];
        let labels = tally(&mut pool, sets);
        let words: Vec<String> = labels
            .keys
            .iter()
            .map(|key| {
                let values = key.values.iter().map(|&(value, count)| format!("{} {count}", pool.str(value)));
                let values = values.collect::<Vec<_>>().join(", ");
                format!("{} of {}, {} distinct: {values}", pool.str(key.key), key.members, key.distinct)
            })
            .collect();
        assert_eq!(labels.distinct_keys, 2);
        assert_eq!(words, ["tenant of 40, 3 distinct: blue 14, green 13, red 13", "route of 27, 1 distinct: / 27"]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_rest_counted() {
        let mut pool = SymbolPool::default();
        let names: Vec<String> = (0..300).map(|n| format!("v{n:03}")).collect();
        let sets: Vec<[(&str, &str); 2]> =
            names.iter().map(|name| [("id", name.as_str()), (name.as_str(), "")]).collect();
        let sets: Vec<(&[(&str, &str)], u64)> = sets.iter().map(|set| (&set[..], 1)).collect();
        let labels = tally(&mut pool, &sets);
        assert_eq!((labels.distinct_keys, labels.keys.len()), (301, super::MAX_KEYS));
        let id = &labels.keys[0];
        assert_eq!((pool.str(id.key), id.members, id.distinct), ("id", 300, 300));
        assert_eq!((id.values.len(), pool.str(id.values[0].0)), (super::MAX_VALUES, "v000"));
    }
}
