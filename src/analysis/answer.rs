//! What an answer shows of a snapshot, decided once for every form of it: which goroutines, in which rows, in
//! which order, how many of them are listed, and what else is known of all.
//!
//! The writers of text and of JSON take the same [`Answer`] and decide nothing themselves, so they cannot
//! disagree. Totals and findings are of all goroutines, listed or not, and are computed when they are first
//! asked for.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::str::FromStr;

use super::findings::{self, Found};
use super::group::{Concentration, group};
use super::series::Observed;
use super::sort::{Sort, SortKey};
use super::{Counts, Filter, Group, GroupBy, Index, PlaceKind};
use crate::threads;

/// Most ids that are kept of a group.
pub const MAX_GROUP_IDS: usize = 1_000;

/// Goroutine ids from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The lowest.
    pub first: u64,
    /// The highest.
    pub last: u64,
}

impl IdRange {
    /// Whether `id` is in it.
    #[must_use]
    pub fn has(self, id: u64) -> bool {
        (self.first..=self.last).contains(&id)
    }
}

/// `7`, or `8-15`.
impl FromStr for IdRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number =
            |text: &str| text.trim().parse().map_err(|_| "ids are numbers, lists or ranges of them: 7, 18,19 or 8-15");
        match text.split_once('-') {
            None => number(text).map(|id| Self { first: id, last: id }),
            Some((first, last)) => match (number(first)?, number(last)?) {
                (first, last) if first > last => Err("a range goes from the lower id to the higher one"),
                (first, last) => Ok(Self { first, last }),
            },
        }
    }
}

impl std::fmt::Display for IdRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// What a row is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rows {
    /// One goroutine.
    #[default]
    Each,
    /// A group of goroutines.
    Groups(GroupBy),
    /// One goroutine, or a group where there are more than `most_single` goroutines.
    Auto {
        /// More goroutines than that are grouped.
        most_single: usize,
        /// By what.
        by: GroupBy,
    },
}

/// What happens to the runtime's own goroutines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemGoroutines {
    /// They are listed among the others.
    #[default]
    Mixed,
    /// They have a section of their own, after the others. A limit applies to both sections together.
    Apart,
    /// They are not listed.
    Hidden,
}

/// Which goroutines are asked for, and how they are to be listed. By default all of them, each in a row, in
/// the snapshot's order.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Those that match, and the filter as it was typed.
    pub filter: Option<(String, Filter)>,
    /// Those with these ids; all where there is none.
    pub ids: Vec<IdRange>,
    /// The runtime's own.
    pub system: SystemGoroutines,
    /// One row for what.
    pub rows: Rows,
    /// Which place of a goroutine is shown.
    pub place: PlaceKind,
    /// The order; by default the snapshot's, and groups by size.
    pub sort: Option<Sort>,
    /// Most rows.
    pub limit: Option<usize>,
    /// Most rows that are groups, where there is no `limit`.
    pub group_limit: Option<usize>,
}

impl Request {
    /// Positions of the goroutines that are asked for, in the snapshot's order.
    #[must_use]
    pub fn select(&self, index: &Index<'_>) -> Vec<usize> {
        let goroutines = &index.snapshot().goroutines;
        let mut selected = match &self.filter {
            Some((_, filter)) => filter.select(index),
            None => (0..goroutines.len()).collect(),
        };
        if !self.ids.is_empty() {
            let wanted = |id: u64| self.ids.iter().any(|range| range.has(id));
            selected.retain(|&at| goroutines.get(at).is_some_and(|goroutine| wanted(goroutine.id.0)));
        }
        if self.system == SystemGoroutines::Hidden {
            selected.retain(|&at| goroutines.get(at).is_some_and(|goroutine| !goroutine.system));
        }
        selected
    }
}

/// The rows of a section.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum List {
    /// Positions of goroutines.
    Each(Vec<usize>),
    /// Groups.
    Groups {
        /// Those that are listed.
        groups: Vec<Group>,
        /// How few of all groups hold nearly all of the goroutines, where that is so.
        concentration: Option<Concentration>,
    },
}

/// What a limit hides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hidden {
    /// Rows.
    pub rows: u64,
    /// Goroutines in them.
    pub goroutines: u64,
}

/// Goroutines that are listed together.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Section {
    /// Whether they are the runtime's own; `None` where both kinds are listed together.
    pub system: Option<bool>,
    /// How many goroutines match, listed or not.
    pub matching: u64,
    /// Its rows.
    pub list: List,
    /// What the limit hides of it.
    pub hidden: Hidden,
}

/// What is shown of a snapshot.
#[derive(Clone, Debug)]
pub struct Answer<'i, 'a> {
    index: &'i Index<'a>,
    request: Request,
    grouped: Option<GroupBy>,
    matching: u64,
    sections: Vec<Section>,
    counts: OnceCell<Cow<'i, Counts>>,
    findings: OnceCell<Cow<'i, [Found]>>,
}

impl<'i, 'a> Answer<'i, 'a> {
    /// The answer to `request`.
    #[must_use]
    pub fn of(index: &'i Index<'a>, request: Request) -> Self {
        let selected = request.select(index);
        Self::at(index, selected, request)
    }

    /// The same, with the totals and findings: of many goroutines, these are worked out on another thread meanwhile.
    #[must_use]
    pub fn with_totals(index: &'i Index<'a>, request: Request) -> Self {
        /// Fewer are gone through about as soon as a thread has started.
        const MANY: usize = 1 << 16;
        if index.snapshot().goroutines.len() < MANY {
            return Self::of(index, request);
        }
        std::thread::scope(|scope| {
            let totals = || (Counts::of(index.snapshot()), findings::of_snapshot(index));
            let totals = threads::start(scope, totals);
            let answer = Self::of(index, request);
            let Some((counts, findings)) = totals.map(threads::joined) else { return answer };
            Self {
                counts: Cow::<Counts>::Owned(counts).into(),
                findings: Cow::<[Found]>::Owned(findings).into(),
                ..answer
            }
        })
    }

    /// The answer about the goroutines at positions that have been selected already: the filter and the ids
    /// of `request` do not apply again.
    #[must_use]
    pub fn at(index: &'i Index<'a>, selected: Vec<usize>, request: Request) -> Self {
        let goroutines = &index.snapshot().goroutines;
        let matching = number(selected.len());
        let by = match &request.rows {
            Rows::Groups(by) => Some(by),
            Rows::Auto { most_single, by } => Some(by).filter(|_| selected.len() > *most_single),
            Rows::Each => None,
        };
        let grouped = by.cloned();
        let group_limit = request.group_limit.filter(|_| grouped.is_some());
        let mut room = request.limit.or(group_limit).unwrap_or(usize::MAX);
        let parts = match request.system {
            SystemGoroutines::Apart => {
                let is_system = |&at: &usize| goroutines.get(at).is_some_and(|goroutine| goroutine.system);
                let (system, user): (Vec<usize>, Vec<usize>) = selected.into_iter().partition(is_system);
                vec![(Some(false), user), (Some(true), system)]
            }
            SystemGoroutines::Mixed | SystemGoroutines::Hidden => vec![(None, selected)],
        };
        let sections = parts.into_iter().filter(|(_, positions)| !positions.is_empty());
        let section = |(system, positions): (Option<bool>, Vec<usize>)| {
            let matching = number(positions.len());
            let (list, hidden) = match by {
                Some(by) => groups(index, &request, by, &positions, room),
                None => each(index, &request, positions, room),
            };
            room = room.saturating_sub(match &list {
                List::Each(positions) => positions.len(),
                List::Groups { groups, .. } => groups.len(),
            });
            Section { system, matching, list, hidden }
        };
        let sections = sections.map(section).collect();
        Self { index, request, grouped, matching, sections, counts: OnceCell::new(), findings: OnceCell::new() }
    }

    /// The same, with the totals and findings of a snapshot in a series, which are known already. The index is
    /// to be its own.
    #[must_use]
    pub fn observed(self, observed: &'i Observed) -> Self {
        Self {
            counts: OnceCell::from(Cow::Borrowed(observed.counts())),
            findings: OnceCell::from(Cow::Borrowed(observed.findings())),
            ..self
        }
    }

    /// The snapshot and its index.
    #[must_use]
    pub fn index(&self) -> &'i Index<'a> {
        self.index
    }

    /// What was asked for.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// What rows are grouped by; `None` where they are goroutines.
    #[must_use]
    pub fn grouped_by(&self) -> Option<&GroupBy> {
        self.grouped.as_ref()
    }

    /// How many goroutines match, listed or not.
    #[must_use]
    pub fn matching(&self) -> u64 {
        self.matching
    }

    /// Its sections, in the order in which they are shown; one without goroutines is not there.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// What the limit hides of all sections.
    #[must_use]
    pub fn hidden(&self) -> Hidden {
        self.sections.iter().fold(Hidden::default(), |sum, section| Hidden {
            rows: sum.rows.saturating_add(section.hidden.rows),
            goroutines: sum.goroutines.saturating_add(section.hidden.goroutines),
        })
    }

    /// Positions of the goroutines that have a row of their own: the same as in the sections, in one list in
    /// the order that was asked for.
    #[must_use]
    pub fn positions(&self) -> Cow<'_, [usize]> {
        let mut lists = self.sections.iter().filter_map(|section| match &section.list {
            List::Each(positions) => Some(positions.as_slice()),
            List::Groups { .. } => None,
        });
        match (lists.next(), lists.next()) {
            (None, _) => Cow::Borrowed(&[]),
            (Some(only), None) => Cow::Borrowed(only),
            (Some(first), Some(second)) => {
                let mut all: Vec<usize> = [first, second].into_iter().chain(lists).flatten().copied().collect();
                match self.request.sort {
                    Some(sort) => sort.goroutines(self.index, self.request.place, &mut all),
                    None => all.sort_unstable(),
                }
                Cow::Owned(all)
            }
        }
    }

    /// The groups that are listed: the same as in the sections, in one list in the order that was asked for;
    /// `None` where rows are goroutines.
    #[must_use]
    pub fn groups(&self) -> Option<Vec<&Group>> {
        self.grouped.as_ref()?;
        let lists = self.sections.iter().filter_map(|section| match &section.list {
            List::Groups { groups, .. } => Some(groups),
            List::Each(_) => None,
        });
        let mut all: Vec<&Group> = lists.flatten().collect();
        if self.sections.len() > 1 {
            group_order(&self.request).groups(self.index, self.request.place, &mut all);
        }
        Some(all)
    }

    /// How many goroutines are in which state: of all, listed or not.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        self.counts.get_or_init(|| Cow::Owned(Counts::of(self.index.snapshot())))
    }

    /// Definite problems: of all goroutines, listed or not.
    #[must_use]
    pub fn findings(&self) -> &[Found] {
        self.findings.get_or_init(|| Cow::Owned(findings::of_snapshot(self.index)))
    }
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn each(index: &Index<'_>, request: &Request, mut positions: Vec<usize>, room: usize) -> (List, Hidden) {
    if let Some(sort) = request.sort {
        sort.goroutines(index, request.place, &mut positions);
    }
    let hidden = number(positions.len().saturating_sub(room));
    positions.truncate(room);
    (List::Each(positions), Hidden { rows: hidden, goroutines: hidden })
}

fn groups(index: &Index<'_>, request: &Request, by: &GroupBy, positions: &[usize], room: usize) -> (List, Hidden) {
    let mut groups = group(index, by, positions, MAX_GROUP_IDS);
    group_order(request).groups(index, request.place, &mut groups);
    let concentration = Concentration::of(groups.iter().map(|group| group.count));
    let cut = groups.split_off(groups.len().min(room));
    for group in &mut groups {
        group.details.share(index.snapshot(), &group.key);
    }
    let goroutines = cut.iter().fold(0_u64, |sum, group| sum.saturating_add(group.count));
    (List::Groups { groups, concentration }, Hidden { rows: number(cut.len()), goroutines })
}

fn group_order(request: &Request) -> Sort {
    request.sort.unwrap_or(Sort { key: SortKey::Count, reverse: false })
}

#[cfg(test)]
mod tests {
    use super::{Answer, Hidden, IdRange, List, Request, Rows, SystemGoroutines};
    use crate::analysis::{Filter, GroupBy, Index, PlaceKind, Sort, SortKey};
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
    use crate::model::{Snapshot, Status};

    /// 1 to 12; every third is the runtime's own, and odd ones wait.
    fn snapshot() -> Snapshot {
        let mut builder = SnapshotBuilder::new();
        for id in 1..=12 {
            let (status, function) = match id % 2 {
                0 => (Status::Runnable, "main.even"),
                _ => (Status::Waiting, "main.odd"),
            };
            builder.add(&GoroutineSpec {
                id,
                status,
                system: id % 3 == 0,
                frames: vec![frame(function, "/app/m.go", 1)],
                ..Default::default()
            });
        }
        builder.build()
    }

    fn ids(index: &Index<'_>, positions: &[usize]) -> Vec<u64> {
        positions.iter().map(|&at| index.snapshot().goroutines[at].id.0).collect()
    }

    fn listed(request: Request) -> (Vec<u64>, Hidden) {
        let snapshot = snapshot();
        let index = Index::new(&snapshot);
        let answer = Answer::of(&index, request);
        let all = answer.positions();
        let mut of_sections: Vec<usize> = Vec::new();
        for section in answer.sections() {
            let List::Each(positions) = &section.list else { panic!("{section:?}") };
            of_sections.extend(positions);
        }
        of_sections.sort_unstable();
        let mut sorted = all.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, of_sections);
        assert_eq!(answer.matching(), all.len() as u64 + answer.hidden().goroutines);
        (ids(&index, &all), answer.hidden())
    }

    #[test]
    fn rows_are_the_same_in_sections_and_in_one_list() {
        use SystemGoroutines::{Apart, Mixed};
        let hidden = |n| Hidden { rows: n, goroutines: n };
        let by_id = Some(Sort { key: SortKey::Id, reverse: true });
        let filter = Filter::parse("state=waiting").map(|filter| ("state=waiting".to_owned(), filter)).ok();
        for (system, limit, all, five) in [
            (Mixed, None, (1..=12).collect(), vec![1, 2, 3, 4, 5]),
            (Apart, None, (1..=12).collect(), vec![1, 2, 4, 5, 7]),
            (SystemGoroutines::Hidden, by_id, vec![11, 10, 8, 7, 5, 4, 2, 1], vec![11, 10, 8, 7, 5]),
            (Apart, by_id, (1..=12).rev().collect::<Vec<u64>>(), vec![11, 10, 8, 7, 5]),
        ] {
            let request = Request { system, sort: limit, ..Request::default() };
            let total = all.len() as u64;
            assert_eq!(listed(request.clone()), (all, hidden(0)), "{request:?}");
            let cut = Request { limit: Some(5), ..request };
            assert_eq!(listed(cut.clone()), (five, hidden(total - 5)), "{cut:?}");
        }
        // The system's section gets what the user's leaves.
        let request = Request { system: Apart, limit: Some(5), filter, ..Request::default() };
        assert_eq!(listed(request), (vec![1, 3, 5, 7, 11], hidden(1)));
        let ranges = vec![IdRange { first: 3, last: 5 }, IdRange { first: 9, last: 9 }];
        let request = Request { ids: ranges, system: Apart, ..Request::default() };
        assert_eq!(listed(request.clone()).0, [3, 4, 5, 9]);
        assert_eq!(listed(Request { system: SystemGoroutines::Hidden, ..request }).0, [4, 5]);
    }

    #[test]
    fn groups_share_the_limit_too() {
        let snapshot = snapshot();
        let index = Index::new(&snapshot);
        let by = GroupBy::Place(PlaceKind::Current);
        let request = Request { rows: Rows::Groups(by.clone()), ..Request::default() };
        let sizes = |request: &Request| {
            let answer = Answer::of(&index, request.clone());
            let sizes: Option<Vec<u64>> =
                answer.groups().map(|groups| groups.iter().map(|group| group.count).collect());
            (sizes, answer.hidden())
        };
        assert_eq!(sizes(&request), (Some(vec![6, 6]), Hidden::default()));
        let apart = Request { system: SystemGoroutines::Apart, ..request };
        assert_eq!(sizes(&apart), (Some(vec![4, 4, 2, 2]), Hidden::default()));
        let cut = Request { limit: Some(3), ..apart.clone() };
        assert_eq!(sizes(&cut), (Some(vec![4, 4, 2]), Hidden { rows: 1, goroutines: 2 }));
        let usual = Request { group_limit: Some(1), ..apart.clone() };
        assert_eq!(sizes(&usual), (Some(vec![4]), Hidden { rows: 3, goroutines: 8 }));
        assert_eq!(sizes(&Request { limit: Some(9), ..usual.clone() }).1, Hidden::default());
        // The limit of groups is none of goroutines.
        let auto = |most_single| Request { rows: Rows::Auto { most_single, by: by.clone() }, ..usual.clone() };
        assert_eq!(sizes(&auto(12)), (None, Hidden::default()));
        assert_eq!(sizes(&auto(11)).0, Some(vec![4]));
        // Grouped all the same where there is nothing to group.
        let nothing = Request { ids: vec![IdRange { first: 99, last: 99 }], ..cut };
        assert_eq!(sizes(&nothing), (Some(Vec::new()), Hidden::default()));
    }

    #[test]
    fn totals_are_of_all() {
        let snapshot = snapshot();
        let index = Index::new(&snapshot);
        let answer = Answer::of(&index, Request { limit: Some(1), ..Request::default() });
        assert_eq!((answer.counts().total, answer.counts().system, answer.findings().len()), (12, 4, 0));
    }
}
