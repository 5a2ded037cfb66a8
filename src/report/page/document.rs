//! What the page shows of a snapshot: bounded, whatever the number of goroutines. For this version of the page only.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::analysis::answer::{IdRange, Rows, SystemGoroutines};
use crate::analysis::waits::WaitTable;
use crate::analysis::waits::graph::WaitGraph;
use crate::analysis::{Answer, Filter, Group, GroupBy, Index, PlaceKind, Request};
use crate::model::{FrameId, Goroutine};
use crate::report::clean::clean;
use crate::report::frames::{Frames, why};
use crate::report::json::types::{Document, Gc, Goroutines, Heap, Sched};
use crate::report::json::{self, JsonOptions};
use crate::report::place::{PlaceWords, source};
use crate::report::waits::{brief, graph};

/// What of a snapshot is shown.
#[derive(Clone, Debug, Default)]
pub struct PageOptions {
    /// Only goroutines that match, and the filter as it was typed.
    pub filter: Option<(String, Filter)>,
    /// Only goroutines with these ids; all where there is none.
    pub ids: Vec<IdRange>,
}

/// Most groups; the rest are counted.
const GROUPS: usize = 500;
/// Most ids of a group.
const IDS: usize = 8;
/// Most objects in the graph of waits.
const OBJECTS: usize = 40;

/// What the page shows.
#[derive(Serialize)]
pub(super) struct PageDocument<'a> {
    /// What the program is called.
    name: String,
    /// Everything but goroutines.
    summary: Document<'a, [(); 0]>,
    /// Frames that groups refer to: function, file and line.
    frames: Vec<(String, String)>,
    /// The largest groups of goroutines with the same state and stack.
    groups: Vec<Row>,
    /// Groups that are not there.
    more_groups: u64,
    /// Goroutines in these.
    more_goroutines: u64,
    /// What is waited on, and by whom it is held.
    waits: graph::GraphDocument,
}

#[derive(Serialize)]
struct Row {
    /// The same for the same state and stack in every reading.
    key: String,
    /// How many goroutines.
    count: u64,
    /// Ids of the first of them.
    ids: Vec<u64>,
    /// State or wait reason.
    state: String,
    /// Whether they are the runtime's own.
    system: bool,
    /// The place where they are: function, file and line.
    place: (String, String),
    /// Shortest and longest known wait, ns.
    wait: Option<(u64, u64)>,
    /// Their known waits added up, ns.
    waited_ns: u64,
    /// What they wait on.
    on: Option<String>,
    /// Numbers of frames, root first.
    stack: Vec<usize>,
    /// What is known instead of a stack.
    why: Option<&'static str>,
    /// Number of the frame of the `go` statement.
    creator: Option<usize>,
}

/// The document.
pub(super) fn of<'a>(index: &Index<'a>, options: &PageOptions) -> PageDocument<'a> {
    let snapshot = index.snapshot();
    let request = Request {
        filter: options.filter.clone(),
        ids: options.ids.clone(),
        system: SystemGoroutines::Mixed,
        rows: Rows::Groups(GroupBy::SimilarStack),
        limit: Some(GROUPS),
        ..Request::default()
    };
    let positions = request.select(index);
    let waits = WaitTable::of(index, &positions, true);
    let answer = Answer::at(index, positions, request);
    let mut table = FrameTable::new(index);
    let groups = answer.groups().unwrap_or_default();
    let rows = groups.into_iter().filter_map(|group| {
        let example = snapshot.goroutines.get(group.example)?;
        Some(table.row(index, group, example))
    });
    let groups = rows.collect();
    let hidden = answer.hidden();
    // The rest of it has no rows.
    let request = Request { limit: Some(0), ..Request::default() };
    let mut summary = json::document(&Answer::at(index, Vec::new(), request), [], JsonOptions::default());
    summary.goroutines.matching = answer.matching();
    summary.target.cmdline = &[];
    PageDocument {
        name: clean(snapshot.target.name()).into_owned(),
        summary,
        frames: table.texts,
        groups,
        more_groups: hidden.rows,
        more_goroutines: hidden.goroutines,
        waits: graph::document_of(index, &WaitGraph::of(index, &waits, OBJECTS)),
    }
}

/// Frames, each once.
struct FrameTable<'a> {
    frames: Frames<'a>,
    numbers: FxHashMap<(String, String), usize>,
    texts: Vec<(String, String)>,
}

impl<'a> FrameTable<'a> {
    fn new(index: &Index<'a>) -> Self {
        let snapshot = index.snapshot();
        let frames = Frames::new(&snapshot.symbols, &snapshot.target.go_version, false);
        Self { frames, numbers: FxHashMap::default(), texts: Vec::new() }
    }

    fn number(&mut self, index: &Index<'_>, frame: FrameId) -> usize {
        let text = (self.frames.name(Some(frame)), source(&index.snapshot().symbols, frame));
        match self.numbers.entry(text) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.texts.push(new.key().clone());
                *new.insert(self.texts.len() - 1)
            }
        }
    }

    fn row(&mut self, index: &Index<'_>, group: &Group, example: &Goroutine) -> Row {
        let snapshot = index.snapshot();
        let stack: Vec<Option<FrameId>> = self.frames.of(example.stack, example.start);
        let place = PlaceWords::of(&snapshot.symbols, index.place(example, PlaceKind::User));
        let on = group.details.waits_on.as_ref().map(|shared| brief::shared(snapshot, shared).join(", "));
        let stack: Vec<usize> = stack.into_iter().flatten().map(|frame| self.number(index, frame)).collect();
        let creator = example.creator.map(|frame| self.number(index, frame));
        let state = clean(index.state_text(example)).into_owned();
        let why = Some(why(example.stack)).filter(|why| !why.is_empty());
        let texts: Vec<_> = stack.iter().chain(&creator).map(|number| self.texts.get(*number)).collect();
        let goroutines = group.details.members().iter().filter_map(|at| snapshot.goroutines.get(*at));
        Row {
            key: format!("{:016x}", BuildHasherDefault::<DefaultHasher>::default().hash_one((&state, why, &texts))),
            waited_ns: goroutines.filter_map(|goroutine| index.wait_ns(goroutine)).fold(0, u64::saturating_add),
            count: group.count,
            ids: group.ids.iter().take(IDS).map(|id| id.0).collect(),
            state,
            system: example.system,
            place: place.map(|words| (words.line(), words.source)).unwrap_or_default(),
            wait: group.wait.map(|wait| (wait.shortest_ns, wait.longest_ns)),
            on: on.filter(|on| !on.is_empty()),
            stack,
            why,
            creator,
        }
    }
}

/// Groups of a tick.
const TICK_GROUPS: usize = 150;
/// Pauses of a tick.
const TICK_PAUSES: usize = 5;

/// What changes of a document while a page is open, in few bytes.
#[derive(Serialize)]
pub(super) struct Tick {
    captured_at: String,
    goroutines: TickCounts,
    sched: Option<Sched>,
    heap: Option<Heap>,
    gc: Option<Gc>,
    /// Keys of the largest groups, and how many are in each.
    groups: Vec<(String, u64)>,
    /// Whether these are all groups.
    complete: bool,
}

#[derive(Serialize)]
struct TickCounts {
    total: u64,
    matching: u64,
    by_state: BTreeMap<&'static str, u64>,
    by_wait_reason: BTreeMap<String, u64>,
}

/// The same for a page that has a document already.
pub(super) fn tick(index: &Index<'_>, options: &PageOptions) -> Tick {
    let PageDocument { summary, groups, more_groups, .. } = of(index, options);
    let Document { captured_at, sched, heap, mut gc, goroutines, .. } = summary;
    if let Some(gc) = &mut gc {
        gc.recent_pauses.truncate(TICK_PAUSES);
    }
    let Goroutines { total, matching, by_state, by_wait_reason, .. } = goroutines;
    Tick {
        captured_at,
        goroutines: TickCounts { total, matching, by_state, by_wait_reason },
        sched,
        heap,
        gc,
        complete: more_groups == 0 && groups.len() <= TICK_GROUPS,
        groups: groups.into_iter().take(TICK_GROUPS).map(|group| (group.key, group.count)).collect(),
    }
}
