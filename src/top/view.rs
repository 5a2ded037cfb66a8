//! One refresh as the settings want it seen: which goroutines, in which groups and order, and how
//! that compares with before.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::atoms::{self, Atom};
use super::grouping::{Group, Key, group};
use super::order::{GroupSort, Order, sort_groups};
use super::waited::Waited;
use crate::analysis::group::Keys;
use crate::analysis::series::history::SAMPLES;
use crate::analysis::series::{Baseline, GcCpu, History, Observed};
use crate::analysis::waits::WaitSort;
use crate::analysis::{Filter, GroupBy, Index, Sort, SortKey};
use crate::model::{PoolId, Processor, Status, WaitReasonId};
use crate::report::matching::none_match;

/// What to show of a snapshot.
#[derive(Clone, Debug)]
pub struct Selection {
    /// How to group.
    pub grouping: GroupBy,
    /// Only these.
    pub filter: Option<(String, Filter)>,
    /// Without the runtime's own.
    pub no_system: bool,
    /// Order of groups.
    pub group_order: Order<GroupSort>,
    /// Order of goroutines.
    pub goroutine_order: Order<SortKey>,
}

impl Selection {
    /// Positions of the goroutines to show.
    fn pick(&self, index: &Index<'_>) -> Vec<usize> {
        let goroutines = &index.snapshot().goroutines;
        let mut picked = match &self.filter {
            Some((_, filter)) => filter.select(index),
            None => (0..goroutines.len()).collect(),
        };
        picked.retain(|&at| {
            goroutines
                .get(at)
                .is_some_and(|goroutine| !(goroutine.status.is_dead() || self.no_system && goroutine.system))
        });
        picked
    }
}

/// Goroutines up to which groups by all groupings are counted at once, so that trends continue in another
/// grouping.
const COUNTED_BY_ALL: usize = 200_000;

/// The counts of a moment in the groups of these settings.
fn counts_of(observed: &Observed, selection: &Selection) -> FxHashMap<Key, u64> {
    let index = observed.index();
    let mut keys = Keys::lasting(&index.snapshot().symbols, &selection.grouping);
    let mut counts: FxHashMap<Key, u64> = FxHashMap::default();
    for goroutine in selection.pick(&index).iter().filter_map(|&at| observed.snapshot().goroutines.get(at)) {
        *counts.entry(index.key(&mut keys, goroutine)).or_default() += 1;
    }
    counts
}

/// What is counted over all goroutines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Total {
    /// All of them.
    All,
    /// Those in one state.
    State(Status),
    /// Those that wait for one reason.
    Reason(WaitReasonId),
}

/// What is remembered from one refresh to the next. Bounded.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Of groups, as they are grouped and filtered now.
    pub groups: History<Key>,
    /// Of everything that groups can be made of, as it is filtered now.
    atoms: History<Atom>,
    /// Of totals.
    pub totals: History<Total>,
    /// What the collector took of the CPU.
    pub gc_cpu: GcCpu,
    /// The first refresh.
    pub start: Option<Baseline<Key>>,
    /// The mark.
    pub mark: Option<Baseline<Key>>,
    /// The Ps of the refresh before, with its time and the CPU time used until then.
    pub before: Option<Before>,
    /// What the keys above belong to.
    pool: Option<PoolId>,
}

/// What rates between two refreshes are worked out from.
#[derive(Clone, Debug)]
pub struct Before {
    /// When, by the target's `nanotime`.
    pub at_ns: u64,
    /// CPU time of the process.
    pub cpu_ns: Option<u64>,
    /// The Ps.
    pub processors: Vec<Processor>,
}

/// One refresh as it is shown.
#[derive(Clone, Debug)]
pub struct View {
    /// What was read.
    pub observed: Arc<Observed>,
    /// Goroutines to show, in order; ordered only where asked for.
    pub positions: Vec<usize>,
    /// Groups of them, in order.
    pub groups: Vec<Group>,
    /// What they wait on, once that was asked for.
    pub waited: Option<Waited>,
    /// Why there is nothing to show, where a filter is the reason.
    pub nothing: Vec<String>,
}

impl View {
    fn new(observed: Arc<Observed>, selection: &Selection) -> Self {
        let index = observed.index();
        let positions = selection.pick(&index);
        let groups = group(&observed, &index, &selection.grouping, &positions);
        let nothing = match &selection.filter {
            Some((text, filter)) if positions.is_empty() => {
                none_match(&index, observed.counts().total, text, filter, "all the runtime's own: S shows them")
            }
            _ => Vec::new(),
        };
        Self { observed, positions, groups, waited: None, nothing }
    }

    /// The refresh after `previous` where that has all in common with it but the time; `None` where it may not.
    fn again(observed: &Arc<Observed>, previous: Option<&Self>, selection: &Selection) -> Option<Self> {
        // What a filter selects may depend on the time.
        let same = |previous: &&Self| selection.filter.is_none() && observed.goes_on_from(&previous.observed);
        let previous = previous.filter(same)?;
        let then_ns = previous.observed.snapshot().monotonic_ns;
        let passed_ns = observed.snapshot().monotonic_ns.saturating_sub(then_ns);
        let mut groups = previous.groups.clone();
        for (longest_ns, _) in groups.iter_mut().filter_map(|group| group.details.longest.as_mut()) {
            *longest_ns = longest_ns.saturating_add(passed_ns);
        }
        let (observed, positions) = (Arc::clone(observed), previous.positions.clone());
        Some(Self { observed, positions, groups, waited: None, nothing: Vec::new() })
    }

    /// The next refresh of the same program: `previous` is the one that it replaces.
    #[must_use]
    pub fn next(observed: Arc<Observed>, previous: Option<&Self>, selection: &Selection, memory: &mut Memory) -> Self {
        let snapshot = observed.snapshot();
        if memory.pool.is_some_and(|pool| pool != snapshot.symbols.id()) {
            // Keys of another pool mean nothing in this one.
            *memory = Memory {
                totals: std::mem::take(&mut memory.totals),
                gc_cpu: std::mem::take(&mut memory.gc_cpu),
                ..Memory::default()
            };
        }
        memory.pool = Some(snapshot.symbols.id());
        memory.before = previous.map(|previous| {
            let snapshot = previous.observed.snapshot();
            Before {
                at_ns: snapshot.monotonic_ns,
                cpu_ns: snapshot.target.cpu_ns,
                processors: snapshot.processors.clone(),
            }
        });
        let counts = observed.counts();
        let totals = [(Total::All, counts.total)].into_iter();
        let totals = totals.chain(counts.by_state.iter().map(|&(status, count)| (Total::State(status), count)));
        let totals = totals.chain(counts.by_wait_reason.iter().map(|&(id, count)| (Total::Reason(id), count)));
        memory.totals.record(snapshot.monotonic_ns, totals);
        memory.gc_cpu.record(snapshot);
        let again = Self::again(&observed, previous, selection);
        let view = again.unwrap_or_else(|| Self::new(observed, selection));
        view.remember(memory);
        view
    }

    /// The same refresh of other goroutines. What is remembered of groups starts anew, the baselines
    /// are worked out again.
    pub fn select_again(&mut self, selection: &Selection, memory: &mut Memory) {
        *self = Self::new(Arc::clone(&self.observed), selection);
        memory.groups.clear();
        memory.atoms.clear();
        self.compare_again(selection, memory);
        self.remember(memory);
    }

    /// The same refresh in other groups, the same goroutines. Trends continue as far as they can be worked
    /// out.
    pub fn group_again(&mut self, selection: &Selection, memory: &mut Memory) {
        *self = Self::new(Arc::clone(&self.observed), selection);
        self.compare_again(selection, memory);
        let followed = atoms::is_followed(&selection.grouping) && !memory.atoms.is_empty();
        let summed = || memory.atoms.summed(SAMPLES, |atom| atom.key(&selection.grouping));
        match followed.then(summed).flatten() {
            Some(groups) => memory.groups = groups,
            // What can be followed goes on meanwhile.
            None if !atoms::is_followed(&selection.grouping) => {
                memory.groups.clear();
                self.remember_groups(memory);
            }
            None => {
                memory.groups.clear();
                memory.atoms.clear();
                self.remember(memory);
            }
        }
    }

    fn baseline(&self) -> Baseline<Key> {
        Baseline::new(&self.observed, self.groups.iter().map(|group| (group.key, group.count)))
    }

    fn compare_again(&self, selection: &Selection, memory: &mut Memory) {
        let again = |baseline: &Baseline<Key>| baseline.recount(|observed| counts_of(observed, selection));
        memory.start = memory.start.as_ref().and_then(again);
        memory.mark = memory.mark.as_ref().map(|mark| again(mark).unwrap_or_else(|| self.baseline()));
    }

    fn remember_groups(&self, memory: &mut Memory) {
        let at_ns = self.observed.snapshot().monotonic_ns;
        memory.groups.record(at_ns, self.groups.iter().map(|group| (group.key, group.count)));
    }

    fn remember(&self, memory: &mut Memory) {
        let at_ns = self.observed.snapshot().monotonic_ns;
        self.remember_groups(memory);
        if self.positions.len() <= COUNTED_BY_ALL {
            let index = Index::new(self.observed.snapshot());
            memory.atoms.record(at_ns, atoms::count(&index, &self.positions));
        } else {
            memory.atoms.clear();
        }
        if memory.start.is_none() {
            memory.start = Some(self.baseline());
        }
    }

    /// Makes this refresh the mark.
    pub fn mark(&self, memory: &mut Memory) {
        memory.mark = Some(self.baseline());
    }

    /// Puts groups into order.
    pub fn sort_groups(&mut self, selection: &Selection, memory: &Memory) {
        let index = Index::new(self.observed.snapshot());
        let order = selection.group_order;
        sort_groups(&mut self.groups, &index, selection.grouping.place(), order, |group| match order.key {
            GroupSort::Count => Some(group.count as f64),
            GroupSort::Change => memory.groups.change(group.key).map(|change| change as f64),
            GroupSort::Growth => memory.growth(group).map(|change| change as f64),
            GroupSort::Mark => memory.since_mark(group).map(|change| change as f64),
            GroupSort::Rate => memory.groups.rate(group.key),
            GroupSort::Age => group.details.longest.map(|(ns, _)| ns as f64),
            GroupSort::Function => None,
        });
    }

    /// Puts what is waited on into order; the first time, it is worked out.
    pub fn sort_waits(&mut self, order: Order<WaitSort>) {
        let index = self.observed.index();
        self.waited.get_or_insert_with(|| Waited::of(&index, &self.positions)).sort(&index, order);
    }

    /// Puts goroutines into order.
    pub fn sort_goroutines(&mut self, selection: &Selection) {
        let index = Index::new(self.observed.snapshot());
        let Order { key, reverse } = selection.goroutine_order;
        Sort { key, reverse }.goroutines(&index, selection.grouping.place(), &mut self.positions);
    }
}

impl Memory {
    /// Change of a group since the first refresh; `None` at that.
    #[must_use]
    pub fn growth(&self, group: &Group) -> Option<i64> {
        self.start.as_ref().map(|start| start.change(group.key, group.count))
    }

    /// Change of a group since the mark, if there is one.
    #[must_use]
    pub fn since_mark(&self, group: &Group) -> Option<i64> {
        self.mark.as_ref().map(|mark| mark.change(group.key, group.count))
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, Selection, View};
    use crate::analysis::series::Watching;
    use crate::analysis::{Filter, GroupBy, PlaceKind, SortKey};
    use crate::model::Snapshot;
    use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
    use crate::top::order::{GroupSort, Order};

    fn selection() -> Selection {
        Selection {
            grouping: GroupBy::Place(PlaceKind::User),
            filter: None,
            no_system: false,
            group_order: Order::by(GroupSort::Growth),
            goroutine_order: Order::by(SortKey::Id),
        }
    }

    fn snapshot(second: u64) -> Snapshot {
        let mut builder = SnapshotBuilder::new();
        // Names are interned in the same order each time, as in one session.
        let mut add = |count: u64, function, first: u64| {
            for id in first..first + count {
                let frames = vec![frame(function, "/x.go", 1), frame("main.start", "/x.go", 2)];
                builder.add(&GoroutineSpec { id, frames, system: function == "main.gc", ..Default::default() });
            }
        };
        add(50, "main.steady", 1);
        add(2, "main.gc", 100);
        add(10 + second * 3, "main.leak", 1_000);
        let mut snapshot = builder.build();
        snapshot.monotonic_ns = NOW_NS + second * 1_000_000_000;
        snapshot
    }

    /// A refresh in which nothing has run is as if it were worked out.
    #[test]
    fn what_has_not_run_is_shown_as_if_it_were_worked_out() {
        let (mut watch, mut memory, selection) = (Watching::default(), Memory::default(), selection());
        let first = snapshot(0);
        let shown = |view: &View| {
            let group = |group: &crate::top::grouping::Group| (group.count, format!("{:?}", group.details));
            (view.positions.clone(), view.groups.iter().map(group).collect::<Vec<_>>())
        };
        let mut last: Option<View> = None;
        for second in 0..5 {
            let mut again = first.clone();
            again.monotonic_ns += second * 1_000_000_000;
            again.unchanged_since_ns = std::num::NonZeroU64::new(first.monotonic_ns).filter(|_| second > 0);
            let observed = watch.observe(again);
            let is_again = View::again(&observed, last.as_ref(), &selection).is_some();
            assert_eq!(is_again, second > 1);
            let anew = View::next(std::sync::Arc::clone(&observed), None, &selection, &mut Memory::default());
            let next = View::next(observed, last.as_ref(), &selection, &mut memory);
            assert_eq!(shown(&next), shown(&anew), "second {second}");
            if second > 0 {
                assert_eq!(next.groups[0].details.longest, Some((second * 1_000_000_000, true)));
            }
            last = Some(next);
        }
        let filter = Filter::parse("state=waiting").unwrap();
        let filtered = Selection { filter: Some((String::new(), filter)), ..selection };
        let last = last.unwrap();
        assert!(View::again(&last.observed, Some(&last), &filtered).is_none());
    }

    #[test]
    fn growth_is_exact_whatever_the_settings() {
        let (mut watch, mut memory, mut selection) = (Watching::default(), Memory::default(), selection());
        let mut view = None;
        for second in 0..8 {
            let next = View::next(watch.observe(snapshot(second)), view.as_ref(), &selection, &mut memory);
            if second == 5 {
                next.mark(&mut memory);
            }
            view = Some(next);
        }
        let mut view = view.unwrap();
        let growths = |view: &mut View, selection: &Selection, memory: &Memory| -> Vec<(u64, i64, i64)> {
            view.sort_groups(selection, memory);
            let change = |group| (memory.growth(group).unwrap(), memory.since_mark(group).unwrap());
            view.groups.iter().map(|group| (group.count, change(group).0, change(group).1)).collect()
        };
        assert_eq!(growths(&mut view, &selection, &memory), [(31, 21, 6), (2, 0, 0), (50, 0, 0)]);
        assert_eq!(memory.groups.rate(view.groups[0].key).map(f64::round), Some(3.0));
        // A filter that cuts through a group: both sides of the comparison are filtered.
        selection.filter = Some(("id>1009".to_owned(), Filter::parse("id<60 or id>1009").unwrap()));
        view.select_again(&selection, &mut memory);
        assert_eq!(growths(&mut view, &selection, &memory), [(21, 21, 6), (50, 0, 0)]);
        selection.grouping = GroupBy::Start;
        selection.filter = None;
        view.select_again(&selection, &mut memory);
        assert_eq!(growths(&mut view, &selection, &memory), [(83, 21, 6)]);
        selection.no_system = true;
        view.select_again(&selection, &mut memory);
        assert_eq!(growths(&mut view, &selection, &memory), [(81, 21, 6)]);
    }

    #[test]
    fn a_new_pool_starts_anew() {
        let (mut watch, mut memory, selection) = (Watching::default(), Memory::default(), selection());
        let first = View::next(watch.observe(snapshot(0)), None, &selection, &mut memory);
        let mut builder = SnapshotBuilder::of_new_session();
        // As many names and more as there were, so that only the identity distinguishes the pools.
        for line in 1..20 {
            let frames = vec![frame("main.other", "/y.go", line), frame("main.main", "/y.go", line)];
            builder.add(&GoroutineSpec { id: line.into(), frames, ..Default::default() });
        }
        let second = View::next(watch.observe(builder.build()), Some(&first), &selection, &mut memory);
        assert_eq!(memory.growth(&second.groups[0]), Some(0));
        assert_eq!(memory.groups.len(), 1);
    }
}
