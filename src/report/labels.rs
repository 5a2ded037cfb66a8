//! The labels of a group, in words and in JSON.

use schemars::JsonSchema;
use serde::Serialize;

use super::clean::clean;
use super::units::{count, counted};
use crate::analysis::labels::Labels;
use crate::model::SymbolPool;

/// Keys that text shows of a group.
const KEYS: usize = 10;
/// Values that text shows of a key.
const VALUES: usize = 5;

/// A label key of a group and its values.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LabelKey<'a> {
    /// The key.
    pub key: &'a str,
    /// How many goroutines of the group have it, with whatever value.
    pub count: u64,
    /// How many distinct values there are.
    pub distinct_values: u64,
    /// The most frequent values, at most 100.
    pub values: Vec<LabelValue<'a>>,
}

/// A label's value in a group.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LabelValue<'a> {
    /// The value.
    pub value: &'a str,
    /// How many goroutines of the group have it.
    pub count: u64,
}

/// For JSON.
pub(crate) fn documents<'a>(labels: &Labels, symbols: &'a SymbolPool) -> Vec<LabelKey<'a>> {
    let values = |values: &[(_, u64)]| {
        values.iter().map(|&(value, count)| LabelValue { value: symbols.str(value), count }).collect()
    };
    let key = |key: &crate::analysis::labels::LabelValues| LabelKey {
        key: symbols.str(key.key),
        count: key.members,
        distinct_values: key.distinct,
        values: values(&key.values),
    };
    labels.keys.iter().map(key).collect()
}

/// A line of text for each key, cleaned: `tenant: "blue" 14, "green" 13, … 2 more values, none 3`, of
/// a group with `members` members. Where all have the same value, there is no number.
pub(crate) fn lines(labels: &Labels, symbols: &SymbolPool, members: u64) -> Vec<String> {
    let mut lines: Vec<String> = labels
        .keys
        .iter()
        .take(KEYS)
        .map(|key| {
            let quoted = |id| format!("{:?}", symbols.str(id));
            let one_for_all = key.distinct == 1 && key.members == members;
            let mut parts: Vec<String> = key
                .values
                .iter()
                .take(VALUES)
                .map(|&(value, n)| if one_for_all { quoted(value) } else { format!("{} {}", quoted(value), count(n)) })
                .collect();
            let more = key.distinct.saturating_sub(u64::try_from(parts.len()).unwrap_or(u64::MAX));
            if more > 0 {
                parts.push(format!("… {}", counted(more, "more value", "more values")));
            }
            let without = members.saturating_sub(key.members);
            if without > 0 {
                parts.push(format!("none {}", count(without)));
            }
            clean(&format!("{}: {}", symbols.str(key.key), parts.join(", "))).into_owned()
        })
        .collect();
    let more = labels.distinct_keys.saturating_sub(u64::try_from(lines.len()).unwrap_or(u64::MAX));
    if more > 0 {
        lines.push(format!("… {}", counted(more, "more label", "more labels")));
    }
    lines
}
