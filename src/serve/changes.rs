//! What changes in a program from reading to reading: groups of goroutines by place, totals, heap and collector.
//!
//! A sample keeps counts and texts of a snapshot and nothing else of it, so that samples can be kept for as long as
//! somebody compares with them.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::Serialize;

use crate::analysis::answer::Rows;
use crate::analysis::{Answer, Counts, GroupBy, Index, PlaceKind, Request};
use crate::model::Snapshot;
use crate::report::clean::clean;
use crate::report::json::{time, to_writer};
use crate::report::place::PlaceWords;

/// Groups that a sample keeps, the largest first.
const GROUPS: usize = 5_000;
/// Characters of a function's name.
const NAME: usize = 160;

/// A program at a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// When, ns since the Unix epoch.
    pub(crate) at_unix_ns: u64,
    /// Goroutines, the runtime's own included.
    pub(crate) total: u64,
    by_state: BTreeMap<&'static str, u64>,
    groups: FxHashMap<Place, u64>,
    group_count: usize,
    heap: Option<HeapNow>,
    gc: Option<GcNow>,
    complete: bool,
}

/// What the goroutines of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
pub(crate) struct Place {
    /// State, or what they wait for.
    pub(crate) state: String,
    /// The function in the program's own code; empty where that is not known.
    pub(crate) function: String,
    /// File and line; only the last two elements of the path.
    pub(crate) source: String,
}

/// A group, and what has changed of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) place: Place,
    /// Goroutines.
    pub(crate) count: u64,
    /// How many more than before; null where nothing was before.
    pub(crate) delta: Option<i64>,
}

/// The heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct HeapNow {
    /// Bytes of live and not yet swept objects.
    pub(crate) alloc_bytes: u64,
    /// Objects.
    pub(crate) objects: u64,
    /// Bytes allocated since the start.
    pub(crate) total_alloc_bytes: u64,
    /// Bytes obtained from the operating system.
    pub(crate) sys_bytes: u64,
}

/// The collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct GcNow {
    /// Cycles completed.
    pub(crate) cycles: u32,
    /// Time that the world was stopped, ns, over all cycles.
    pub(crate) pause_total_ns: u64,
    /// Heap size at which the next cycle starts.
    pub(crate) next_goal_bytes: Option<u64>,
}

/// What is sent of one reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(title = "gospy event")]
pub(crate) struct Event {
    /// When it was read.
    pub(crate) at: String,
    /// Goroutines, the runtime's own included.
    pub(crate) goroutines: u64,
    /// How many more than before; null in the first event.
    pub(crate) delta: Option<i64>,
    /// Goroutines by state.
    pub(crate) by_state: BTreeMap<&'static str, u64>,
    /// Groups by place: those that changed, by how much, and then the largest.
    pub(crate) groups: Vec<Row>,
    /// Groups that are not in the list.
    pub(crate) groups_left_out: u64,
    /// The heap; null where it was not found.
    pub(crate) heap: Option<HeapNow>,
    /// The collector; null where it was not found.
    pub(crate) gc: Option<GcNow>,
    /// Whether everything was read.
    pub(crate) complete: bool,
}

impl Sample {
    /// Of a snapshot with stacks.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let index = Index::new(snapshot);
        let by = GroupBy::Place(PlaceKind::User);
        let request = Request { rows: Rows::Groups(by), limit: Some(GROUPS), ..Request::default() };
        let answer = Answer::of(&index, request);
        let mut sample = Self {
            at_unix_ns: snapshot.captured_at_unix_ns,
            complete: snapshot.is_complete(),
            heap: snapshot.heap.as_ref().map(|heap| HeapNow {
                alloc_bytes: heap.heap_alloc,
                objects: heap.heap_objects,
                total_alloc_bytes: heap.total_alloc,
                sys_bytes: heap.sys,
            }),
            gc: snapshot.gc.as_ref().map(|gc| GcNow {
                cycles: gc.cycles,
                pause_total_ns: gc.pause_total_ns,
                next_goal_bytes: gc.next_goal,
            }),
            ..Self::default()
        };
        let counts = Counts::of(snapshot);
        sample.total = counts.total;
        for (status, count) in &counts.by_state {
            *sample.by_state.entry(status.name()).or_default() += count;
        }
        let groups = answer.groups().unwrap_or_default();
        let hidden = usize::try_from(answer.hidden().rows).unwrap_or(usize::MAX);
        sample.group_count = groups.len().saturating_add(hidden);
        for group in groups {
            let Some(example) = snapshot.goroutines.get(group.example) else { continue };
            let words = PlaceWords::of(&snapshot.symbols, index.place(example, PlaceKind::User)).unwrap_or_default();
            let state = clean(index.state_text(example)).into_owned();
            let place = Place { state, function: shortened(&words.function), source: end_of(&words.source) };
            *sample.groups.entry(place).or_default() += group.count;
        }
        sample
    }

    /// All groups with how many more they are than `before`, those that changed first, by how much; then the
    /// largest.
    pub(crate) fn since(&self, before: Option<&Self>) -> Vec<Row> {
        let mut rows: Vec<Row> = self
            .groups
            .iter()
            .map(|(place, &count)| {
                let was = before.map(|before| before.groups.get(place).copied().unwrap_or(0));
                Row { place: place.clone(), count, delta: was.map(|was| difference(count, was)) }
            })
            .collect();
        let gone =
            before.iter().flat_map(|before| &before.groups).filter(|(place, _)| !self.groups.contains_key(*place));
        rows.extend(gone.map(|(place, &was)| Row { place: place.clone(), count: 0, delta: Some(difference(0, was)) }));
        let change = |row: &Row| row.delta.unwrap_or(0).unsigned_abs();
        rows.sort_by(|a, b| change(b).cmp(&change(a)).then(b.count.cmp(&a.count)).then_with(|| a.place.cmp(&b.place)));
        rows
    }

    /// What is sent of it, in at most `bytes` of JSON and `most` groups.
    pub(crate) fn event(&self, before: Option<&Self>, most: usize, bytes: usize) -> Event {
        let mut event = Event {
            at: time(self.at_unix_ns),
            goroutines: self.total,
            delta: before.map(|before| difference(self.total, before.total)),
            by_state: self.by_state.clone(),
            groups: Vec::new(),
            groups_left_out: 0,
            heap: self.heap,
            gc: self.gc,
            complete: self.complete,
        };
        let mut rows = self.since(before);
        let changed = rows.iter().filter(|row| row.delta.is_some_and(|delta| delta != 0)).count();
        if before.is_some() {
            // Of what stays the same, only the largest.
            rows.truncate(changed.saturating_add(UNCHANGED));
        }
        let mut room = bytes.saturating_sub(length(&event)).saturating_sub(32);
        for row in rows.into_iter().take(most) {
            let takes = length(&row).saturating_add(1);
            let Some(left) = room.checked_sub(takes) else { break };
            room = left;
            event.groups.push(row);
        }
        let shown = event.groups.iter().filter(|row| row.count > 0).count();
        event.groups_left_out = u64::try_from(self.group_count.saturating_sub(shown)).unwrap_or(u64::MAX);
        event
    }

    /// How many goroutines it has in the place of `row`.
    #[cfg(feature = "mcp")]
    pub(crate) fn count(&self, row: &Row) -> u64 {
        self.groups.get(&row.place).copied().unwrap_or(0)
    }

    /// The heap.
    pub(crate) fn heap(&self) -> Option<HeapNow> {
        self.heap
    }

    /// The collector.
    pub(crate) fn gc(&self) -> Option<GcNow> {
        self.gc
    }
}

/// Groups that have not changed and are sent all the same.
const UNCHANGED: usize = 10;

/// How long a value is as JSON.
fn length(value: &impl Serialize) -> usize {
    let mut out = Vec::new();
    // What cannot be written fits nowhere.
    to_writer(&mut out, value).map_or(usize::MAX, |()| out.len())
}

/// `now - was`, as far as that can be said.
pub(crate) fn difference(now: u64, was: u64) -> i64 {
    i64::try_from(i128::from(now) - i128::from(was)).unwrap_or(i64::MAX)
}

/// A name without its middle where it is long.
fn shortened(name: &str) -> String {
    let length = name.chars().count();
    if length <= NAME {
        return name.to_owned();
    }
    let half = NAME / 2;
    let start: String = name.chars().take(half).collect();
    let end: String = name.chars().skip(length.saturating_sub(half)).collect();
    format!("{start}…{end}")
}

/// The last two elements of a path.
fn end_of(source: &str) -> String {
    let mut elements: Vec<&str> = source.rsplit('/').take(2).collect();
    elements.reverse();
    shortened(&elements.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};

    /// `many` goroutines in each of `places` places.
    fn sample(places: u64, many: u64) -> Sample {
        let mut builder = SnapshotBuilder::new();
        for place in 0..places {
            for at in 0..many {
                let id = place * many + at + 1;
                let function = format!("example.com/shop/{}.handler{place}", "deep/".repeat(40));
                builder.add(&GoroutineSpec {
                    id,
                    status: crate::model::Status::Waiting,
                    reason: Some("chan receive"),
                    frames: vec![frame(&function, "/home/builder/src/shop/server/main.go", 7)],
                    ..Default::default()
                });
            }
        }
        Sample::of(&builder.build())
    }

    #[test]
    fn what_changed_comes_first() {
        let (before, now) = (sample(3, 2), sample(5, 2));
        let rows = now.since(Some(&before));
        let changes: Vec<(u64, Option<i64>)> = rows.iter().map(|row| (row.count, row.delta)).collect();
        assert_eq!(changes, [(2, Some(2)), (2, Some(2)), (2, Some(0)), (2, Some(0)), (2, Some(0))]);
        assert_eq!(rows[0].place.source, "server/main.go:7");
        let gone = before.since(Some(&now));
        assert_eq!((gone[0].count, gone[0].delta), (0, Some(-2)));
        let event = now.event(Some(&before), 100, 10_000);
        assert_eq!((event.goroutines, event.delta, event.groups_left_out), (10, Some(4), 0));
    }

    #[test]
    fn an_event_has_no_more_bytes_than_are_allowed() {
        let (before, now) = (sample(10, 1), sample(2_000, 1));
        for before in [None, Some(&before)] {
            let event = now.event(before, 1_000, 9_000);
            let mut text = Vec::new();
            crate::report::json::to_writer(&mut text, &event).unwrap();
            assert!(text.len() <= 9_000 && text.len() > 8_000, "{}", text.len());
            assert_eq!(event.groups.len() as u64 + event.groups_left_out, 2_000);
        }
    }
}
