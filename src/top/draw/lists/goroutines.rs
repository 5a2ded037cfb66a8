//! Goroutines, one by one.

use ratatui::text::Line;

use super::super::table::{Fitted, fit};
use super::super::text::function_place_and_waits;
use super::{Lists, STATE, VERY_WIDE, WIDE, column, has_waits, least_beside, on_width, state_tone, wait, waits_on};
use crate::analysis::{Place, PlaceKind, SortKey};
use crate::model::Goroutine;
use crate::report::place::PlaceWords;
use crate::report::waits::brief;
use crate::top::piece::{Piece, Tone, piece};
use crate::top::state::State;
use crate::top::words::compact;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoroutineColumn {
    Sorted(SortKey),
    M,
    On,
}

impl Lists<'_> {
    /// The heads of the columns of goroutines.
    pub(crate) fn goroutine_heads(&self) -> Line<'static> {
        let order = self.state.settings().selection.goroutine_order;
        let sorted = Some((GoroutineColumn::Sorted(order.key), order.reverse));
        let title = match self.place() {
            PlaceKind::Start => "STARTED IN",
            PlaceKind::Creator => "CREATED BY",
            PlaceKind::User | PlaceKind::Current | PlaceKind::Innermost => "PLACE",
        };
        self.goroutines.heads(title, sorted, Some(GoroutineColumn::Sorted(SortKey::Function)), self.theme)
    }

    fn place(&self) -> PlaceKind {
        self.state.settings().selection.grouping.place()
    }

    pub(super) fn goroutine(&self, at: usize, goroutine: &Goroutine) -> Line<'static> {
        let cells = |column, room| match column {
            GoroutineColumn::Sorted(SortKey::Id) => vec![piece(Tone::Strong, goroutine.id.0.to_string())],
            GoroutineColumn::Sorted(SortKey::State) => {
                vec![piece(state_tone(goroutine.status), goroutine.status.name())]
            }
            GoroutineColumn::Sorted(SortKey::Reason) => {
                vec![piece(Tone::Plain, self.index.reason(goroutine).unwrap_or_default())]
            }
            GoroutineColumn::Sorted(SortKey::Age) => {
                wait(self.index.wait_ns(goroutine).map(|ns| (ns, self.view.observed.is_watched(at))))
            }
            GoroutineColumn::Sorted(SortKey::Stack) => {
                goroutine.stack_used().map_or_else(Vec::new, |used| vec![piece(Tone::Plain, small_bytes(used, room))])
            }
            GoroutineColumn::Sorted(SortKey::Function | SortKey::Count) => Vec::new(),
            GoroutineColumn::On => waits_on(&brief::goroutine(self.snapshot(), goroutine), room),
            GoroutineColumn::M => self
                .index
                .thread(goroutine)
                .map_or_else(Vec::new, |thread| vec![piece(Tone::Plain, thread.id.to_string())]),
        };
        let has_column = self.goroutines.has(GoroutineColumn::On);
        let on = if has_column { Vec::new() } else { brief::goroutine(self.snapshot(), goroutine) };
        self.goroutines.row(cells, |room| self.place_and_waits(goroutine, &on, room), self.theme)
    }

    pub(super) fn goroutine_place(&self, goroutine: &Goroutine, room: usize) -> Vec<Piece> {
        self.place_and_waits(goroutine, &[], room)
    }

    /// Where it is in the user's code, however groups are made.
    pub(super) fn user_place(&self, goroutine: &Goroutine, room: usize) -> Vec<Piece> {
        self.at(self.index.place(goroutine, PlaceKind::User), &[], room)
    }

    /// The function of that alone, where file and line would leave no room for it.
    pub(super) fn user_function(&self, goroutine: &Goroutine, room: usize) -> Vec<Piece> {
        let place = self.index.place(goroutine, PlaceKind::User);
        let words = PlaceWords::of(&self.snapshot().symbols, place).unwrap_or_default();
        function_place_and_waits(&PlaceWords { source: String::new(), ..words }, &[], room)
    }

    /// A place, and what is waited on there, if there is room.
    pub(super) fn place_and_waits(&self, goroutine: &Goroutine, on: &[String], room: usize) -> Vec<Piece> {
        self.at(self.index.place(goroutine, self.place()), on, room)
    }

    fn at(&self, place: Place, on: &[String], room: usize) -> Vec<Piece> {
        let Some(words) = PlaceWords::of(&self.snapshot().symbols, place) else {
            return vec![piece(Tone::Dim, "unknown")];
        };
        let started = words.started_in.then(|| piece(Tone::Dim, "started in "));
        let room = room.saturating_sub(started.as_ref().map_or(0, |piece| piece.text.len()));
        started.into_iter().chain(function_place_and_waits(&words, on, room)).collect()
    }
}

pub(super) fn goroutine_columns(state: &State, room: usize) -> Fitted<GoroutineColumn> {
    use GoroutineColumn::{M, On, Sorted};
    let sorted = state.settings().selection.goroutine_order.key;
    let sortable = |key: SortKey, title, width, right, rank| {
        let rank = if key == sorted { 0 } else { rank };
        column(Sorted(key), title, width, right, rank)
    };
    let waits = has_waits(state, room);
    let reason = if room >= WIDE && !waits || room >= VERY_WIDE { 24 } else { STATE };
    let mut columns = vec![
        sortable(SortKey::Id, "ID", 9, true, 0),
        sortable(SortKey::State, "STATE", 9, false, 1),
        sortable(SortKey::Reason, "REASON", reason, false, 3),
    ];
    columns.extend(waits.then(|| column(On, "WAITS ON", on_width(room), false, 3)));
    columns.extend([
        sortable(SortKey::Age, "WAIT", 7, true, 2),
        column(M, "M", 4, true, 4),
        sortable(SortKey::Stack, "STACK", 7, true, 5),
    ]);
    fit(columns, room, least_beside(room, waits))
}

/// Bytes in little room.
fn small_bytes(value: u64, room: usize) -> String {
    match value {
        ..1_024 => format!("{value} B"),
        1_024..1_048_576 => format!("{}.{}K", value >> 10, ((value & 0x3ff) * 10) >> 10),
        _ => format!("{}M", compact(value >> 20, room.saturating_sub(1))),
    }
}
