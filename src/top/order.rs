//! The orders of the lists. Every order is total and does not depend on chance: what is equal is in
//! order of name, so that rows do not jump.

use std::cmp::Ordering;
use std::str::FromStr;

use super::grouping::{Group, What};
use crate::analysis::group::Line;
use crate::analysis::{Index, PlaceKind, SortKey};
use crate::model::SymbolPool;

/// What groups are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupSort {
    /// Size, the largest first.
    #[default]
    Count,
    /// Change since the refresh before, the largest first.
    Change,
    /// Change since gospy began to look, the largest first.
    Growth,
    /// Change since the mark, the largest first.
    Mark,
    /// Change a second, the largest first.
    Rate,
    /// Longest wait, the longest first.
    Age,
    /// Name.
    Function,
}

impl GroupSort {
    /// Whether it takes more than one refresh.
    #[must_use]
    pub fn is_of_change(self) -> bool {
        match self {
            Self::Change | Self::Growth | Self::Mark | Self::Rate => true,
            Self::Count | Self::Age | Self::Function => false,
        }
    }
}

/// An order of groups or of goroutines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<K> {
    /// By what.
    pub key: K,
    /// Whether the key's own direction is reversed.
    pub reverse: bool,
}

impl<K> Order<K> {
    /// In the key's own direction.
    #[must_use]
    pub fn by(key: K) -> Self {
        Self { key, reverse: false }
    }
}

/// Orders of groups in the order of their columns, with the names that can be typed.
pub const GROUP_SORTS: &[(&str, GroupSort)] = &[
    ("count", GroupSort::Count),
    ("change", GroupSort::Change),
    ("growth", GroupSort::Growth),
    ("mark", GroupSort::Mark),
    ("rate", GroupSort::Rate),
    ("age", GroupSort::Age),
    ("function", GroupSort::Function),
];

/// Orders of goroutines in the order of their columns.
pub const GOROUTINE_SORTS: &[(&str, SortKey)] = &[
    ("id", SortKey::Id),
    ("state", SortKey::State),
    ("reason", SortKey::Reason),
    ("age", SortKey::Age),
    ("stack", SortKey::Stack),
    ("function", SortKey::Function),
];

/// What `--sort` can say: an order of groups, of goroutines, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortName {
    /// Of groups.
    pub groups: Option<GroupSort>,
    /// Of goroutines.
    pub goroutines: Option<SortKey>,
}

impl FromStr for SortName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let groups = GROUP_SORTS.iter().find(|(name, _)| *name == text).map(|&(_, key)| key);
        let goroutines = GOROUTINE_SORTS.iter().find(|(name, _)| *name == text).map(|&(_, key)| key);
        if groups.is_none() && goroutines.is_none() {
            let names: Vec<&str> = GROUP_SORTS.iter().map(|(name, _)| *name).collect();
            let more: Vec<&str> =
                GOROUTINE_SORTS.iter().map(|(name, _)| *name).filter(|n| !names.contains(n)).collect();
            return Err(format!(
                "there is no order by `{text}`; there is {} for groups, and {} for goroutines",
                names.join(", "),
                more.join(", ")
            ));
        }
        Ok(Self { groups, goroutines })
    }
}

/// The neighbour of `key` in a table of orders; at the ends, itself.
#[must_use]
pub fn neighbour<K: Copy + PartialEq>(table: &[(&str, K)], key: K, right: bool) -> K {
    let Some(at) = table.iter().position(|(_, candidate)| *candidate == key) else { return key };
    let at = if right { at.checked_add(1) } else { at.checked_sub(1) };
    at.and_then(|at| table.get(at)).map_or(key, |&(_, neighbour)| neighbour)
}

/// Orders groups by `value`, the largest first and the unknown last; by name where there is none
/// to order by.
pub fn sort_groups(
    groups: &mut Vec<Group>,
    index: &Index<'_>,
    kind: PlaceKind,
    order: Order<GroupSort>,
    value: impl Fn(&Group) -> Option<f64>,
) {
    let turned = |ordering: Ordering| if order.reverse { ordering.reverse() } else { ordering };
    let mut keyed: Vec<(Option<f64>, Group)> = groups.drain(..).map(|group| (value(&group), group)).collect();
    keyed.sort_by(|(a_value, a), (b_value, b)| {
        let by_name = || compare_names(index, kind, a, b).then_with(|| a.key.cmp(&b.key));
        if order.key == GroupSort::Function {
            return turned(by_name());
        }
        let by_value = match (a_value, b_value) {
            (Some(a), Some(b)) => turned(b.total_cmp(a)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_value.then_with(by_name)
    });
    groups.extend(keyed.into_iter().map(|(_, group)| group));
}

fn compare_names(index: &Index<'_>, kind: PlaceKind, a: &Group, b: &Group) -> Ordering {
    name(index, kind, a).cmp(&name(index, kind, b))
}

/// What is shown of a group, for comparing: text of a label, else function, file and line.
fn name<'a>(index: &Index<'a>, kind: PlaceKind, group: &Group) -> (&'a str, &'a str, u32) {
    let symbols: &'a SymbolPool = &index.snapshot().symbols;
    let line = match group.key.what {
        What::Label(value) => return (symbols.str(value), "", 0),
        What::Lines(_) | What::Stack(_) | What::On(_) => {
            let goroutine = index.snapshot().goroutines.get(group.example);
            goroutine.and_then(|goroutine| Line::of(symbols, index.place(goroutine, kind).frame()?))
        }
        what => what.line(),
    };
    line.map_or(("", "", 0), |line| (symbols.str(line.function), symbols.str(line.file), line.line))
}

#[cfg(test)]
mod tests {
    use super::{GROUP_SORTS, GroupSort, Order, SortName, neighbour, sort_groups};
    use crate::analysis::series::Watching;
    use crate::analysis::{GroupBy, PlaceKind, SortKey};
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
    use crate::top::grouping::{Group, group};

    #[test]
    fn equal_values_are_in_order_of_name_either_way() {
        let mut builder = SnapshotBuilder::new();
        for (id, function) in [(1, "main.c"), (2, "main.a"), (3, "main.b"), (4, "main.b"), (5, "main.z")] {
            let frames = vec![frame(function, "/x.go", 1)];
            builder.add(&GoroutineSpec { id, frames, ..Default::default() });
        }
        let observed = Watching::default().observe(builder.build());
        let index = observed.index();
        let order = |key, reverse| -> Vec<u64> {
            let mut groups = group(&observed, &index, &GroupBy::Place(PlaceKind::User), &[0, 1, 2, 3, 4]);
            let value = |group: &Group| (group.lowest.0 != 5).then_some(group.count as f64);
            sort_groups(&mut groups, &index, PlaceKind::User, Order { key, reverse }, value);
            groups.iter().map(|group| group.lowest.0).collect()
        };
        assert_eq!(order(GroupSort::Count, false), [3, 2, 1, 5]);
        assert_eq!(order(GroupSort::Count, true), [2, 1, 3, 5]);
        assert_eq!(order(GroupSort::Function, false), [2, 3, 1, 5]);
        assert_eq!(order(GroupSort::Function, true), [5, 1, 3, 2]);
    }

    #[test]
    fn names_and_neighbours() {
        let age = "age".parse::<SortName>().unwrap();
        assert_eq!((age.groups, age.goroutines), (Some(GroupSort::Age), Some(SortKey::Age)));
        assert_eq!("id".parse::<SortName>().unwrap().groups, None);
        assert!("colour".parse::<SortName>().is_err());
        assert_eq!(neighbour(GROUP_SORTS, GroupSort::Count, true), GroupSort::Change);
        assert_eq!(neighbour(GROUP_SORTS, GroupSort::Count, false), GroupSort::Count);
        assert_eq!(neighbour(GROUP_SORTS, GroupSort::Function, true), GroupSort::Function);
    }
}
