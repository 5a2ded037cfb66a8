//! Groups of goroutines.

use std::borrow::Cow;

use ratatui::text::Line;

use super::super::table::{Fitted, fit};
use super::super::text::{function_and_place, pieces_width};
use super::{Lists, STATE, VERY_WIDE, WIDE, column, has_waits, least_beside, on_width, state_tone, wait, waits_on};
use crate::analysis::GroupBy;
use crate::analysis::group::On;
use crate::model::Goroutine;
use crate::report::place::PlaceWords;
use crate::report::text::shorten;
use crate::report::waits::{brief, words};
use crate::top::grouping::{Group, What};
use crate::top::order::GroupSort;
use crate::top::piece::{Piece, Tone, piece, tone_of};
use crate::top::state::State;
use crate::top::words::{compact, compact_signed, rate, sparkline, states};

/// Names longer than this, in bytes, are not shortened at places that make sense.
const MAX_NAME: usize = 2_048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupColumn {
    Sorted(GroupSort),
    Trend,
    States,
    On,
}

impl Lists<'_> {
    /// The heads of the columns of groups.
    pub(crate) fn group_heads(&self) -> Line<'static> {
        let order = self.state.settings().selection.group_order;
        let title = match &self.state.settings().selection.grouping {
            GroupBy::SimilarStack | GroupBy::Stack => "STACK",
            GroupBy::Start => "STARTED IN",
            GroupBy::Creator => "CREATED BY",
            GroupBy::Label(_) => "LABEL",
            GroupBy::Object => "WAITS ON",
            GroupBy::Place(_) | GroupBy::State | GroupBy::Reason => "PLACE",
        };
        let sorted = Some((GroupColumn::Sorted(order.key), order.reverse));
        self.groups.heads(title, sorted, Some(GroupColumn::Sorted(GroupSort::Function)), self.theme)
    }

    pub(super) fn group(&self, group: &Group) -> Line<'static> {
        let memory = self.state.memory();
        let change = |change: Option<i64>, room| match change {
            Some(change) => vec![piece(tone_of(change), compact_signed(change, room))],
            None => vec![piece(Tone::Dim, "-")],
        };
        let cells = |column, room| match column {
            GroupColumn::Sorted(GroupSort::Count) => vec![piece(Tone::Strong, compact(group.count, room))],
            GroupColumn::Sorted(GroupSort::Change) => change(memory.groups.change(group.key), room),
            GroupColumn::Sorted(GroupSort::Growth) => change(memory.growth(group), room),
            GroupColumn::Sorted(GroupSort::Mark) => change(memory.since_mark(group), room),
            GroupColumn::Sorted(GroupSort::Rate) => match memory.groups.rate(group.key) {
                Some(per_second) => vec![piece(rate_tone(per_second), rate(per_second))],
                None => vec![piece(Tone::Dim, "-")],
            },
            GroupColumn::Sorted(GroupSort::Age) => wait(group.details.longest),
            GroupColumn::Sorted(GroupSort::Function) => Vec::new(),
            GroupColumn::Trend => {
                let samples: Vec<u64> = memory.groups.recent(group.key, room).collect();
                vec![piece(Tone::Drawing, sparkline(&samples, room))]
            }
            GroupColumn::States => {
                let tone = group.details.states.first().map_or(Tone::Plain, |&(status, ..)| state_tone(status));
                vec![piece(tone, states(&self.index, group))]
            }
            GroupColumn::On => waits_on(&self.group_waits(group), room),
        };
        let is_named = self.groups.has(GroupColumn::On) || matches!(group.key.what, What::On(_));
        let on = if is_named { Vec::new() } else { self.group_waits(group) };
        self.groups.row(cells, |room| self.group_place(group, &on, room), self.theme)
    }

    /// What the members of a group wait on together.
    fn group_waits(&self, group: &Group) -> Vec<String> {
        let shared = group.details.waits_on(self.snapshot(), &group.key);
        shared.map_or_else(Vec::new, |shared| brief::shared(self.snapshot(), shared))
    }

    fn group_place(&self, group: &Group, on: &[String], room: usize) -> Vec<Piece> {
        let goroutine = self.snapshot().goroutines.get(group.example);
        match group.key.what {
            What::Label(value) => vec![piece(Tone::Plain, self.snapshot().symbols.str(value))],
            What::NoLabel => vec![piece(Tone::Dim, "without this label")],
            What::On(on) => goroutine.map_or_else(Vec::new, |goroutine| self.object(group, on, goroutine, room)),
            What::Nowhere | What::State => vec![piece(Tone::Dim, "unknown")],
            What::At(_) | What::StartedIn(_) => {
                goroutine.map_or_else(Vec::new, |goroutine| self.place_and_waits(goroutine, on, room))
            }
            What::Lines(_) | What::Stack(_) => {
                goroutine.map_or_else(Vec::new, |goroutine| self.stack_place(goroutine, room))
            }
        }
    }

    /// What a group is made by that is made by what is waited on, and where one of its members is.
    fn object(&self, group: &Group, on: On, goroutine: &Goroutine, room: usize) -> Vec<Piece> {
        /// Columns of a place that are worth showing.
        const PLACE: usize = 20;
        let parts = brief::on(self.snapshot(), on, goroutine, group.count, words::SHORT);
        let text = brief::fitted(&parts, room).unwrap_or_default();
        let left = room.saturating_sub(pieces_width(&[piece(Tone::Plain, text.as_str())]) + 2);
        let mut pieces = vec![piece(Tone::Plain, text)];
        if left >= PLACE {
            pieces.push(piece(Tone::Plain, "  "));
            pieces.extend(self.user_place(goroutine, left).into_iter().map(|part| piece(Tone::Dim, part.text)));
        }
        pieces
    }

    /// The user's functions of a stack with their lines, innermost first, as many as fit: stacks at
    /// the same place differ in their callers.
    fn stack_place(&self, goroutine: &Goroutine, room: usize) -> Vec<Piece> {
        let frames = self.index.stack(goroutine).map_or_else(Vec::new, |stack| self.index.user_frames(stack));
        if frames.is_empty() {
            return self.goroutine_place(goroutine, room);
        }
        let symbols = &self.snapshot().symbols;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut left = room;
        for frame in frames {
            let line = match symbols.frame(frame).map_or(0, |frame| frame.line) {
                0 => String::new(),
                line => format!(":{line}"),
            };
            let between = if pieces.is_empty() { 0 } else { 3 };
            // A caller is shown by its whole name or not at all.
            let most = if pieces.is_empty() { left.saturating_sub(line.len()) } else { usize::MAX };
            let name = short_name(symbols.function(frame), most);
            let width = pieces_width(&name) + line.len();
            if !pieces.is_empty() {
                if width + between > left {
                    pieces.push(piece(Tone::Dim, " …"));
                    break;
                }
                pieces.push(piece(Tone::Dim, " ← "));
            }
            pieces.extend(name);
            pieces.push(piece(Tone::Dim, line));
            left = left.saturating_sub(width + between);
        }
        pieces
    }
}

/// A function without the path of its package.
fn short_name(function: &str, room: usize) -> Vec<Piece> {
    let short = if function.len() > MAX_NAME { Cow::Borrowed(function) } else { shorten::function(function, 0) };
    let place = PlaceWords { function: short.into_owned(), ..PlaceWords::default() };
    function_and_place(&place, room)
}

pub(super) fn group_columns(state: &State, room: usize) -> Fitted<GroupColumn> {
    use GroupColumn::{On, Sorted, States, Trend};
    let sorted = state.settings().selection.group_order.key;
    let marked = state.memory().mark.is_some();
    let is_by_object = state.settings().selection.grouping == GroupBy::Object;
    let (wide, waits) = (room >= WIDE, !is_by_object && has_waits(state, room));
    let states = if wide && !waits || room >= VERY_WIDE { 26 } else { STATE };
    let on = || waits.then(|| column(On, "WAITS ON", on_width(room), false, 5));
    let sortable = |key: GroupSort, title, width, rank| {
        let rank = if key == sorted { 0 } else { rank };
        column(Sorted(key), title, width, true, rank)
    };
    if state.settings().recorded {
        // Nothing that takes a second sample.
        let mut columns = vec![sortable(GroupSort::Count, "COUNT", 7, 0), column(States, "STATES", states, false, 3)];
        columns.extend(on());
        columns.push(sortable(GroupSort::Age, "WAIT", 7, 2));
        return fit(columns, room, least_beside(room, waits));
    }
    let mut columns = vec![sortable(GroupSort::Count, "COUNT", 7, 0)];
    columns.push(sortable(GroupSort::Change, "±LAST", 6, 6));
    columns.push(sortable(GroupSort::Growth, "±START", 8, if marked { 8 } else { 1 }));
    if marked {
        columns.push(sortable(GroupSort::Mark, "±MARK", 8, 1));
    }
    columns.push(sortable(GroupSort::Rate, "RATE", 9, 4));
    columns.push(column(Trend, "TREND", if wide { 20 } else { 10 }, false, 7));
    columns.push(column(States, "STATES", states, false, 3));
    columns.extend(on());
    columns.push(sortable(GroupSort::Age, "WAIT", 7, 2));
    fit(columns, room, least_beside(room, waits))
}

fn rate_tone(per_second: f64) -> Tone {
    if per_second >= 0.005 {
        Tone::Attention
    } else if per_second <= -0.005 {
        Tone::Good
    } else {
        Tone::Dim
    }
}
