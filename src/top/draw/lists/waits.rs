//! What goroutines wait on.

use ratatui::text::Line;

use super::super::table::{Fitted, fit};
use super::{Lists, VERY_WIDE, WIDE, column};
use crate::analysis::waits::{WaitRow, WaitSort};
use crate::report::text::shorten;
use crate::report::waits::{brief, words};
use crate::top::piece::{Piece, Tone, piece};
use crate::top::state::State;
use crate::top::waited::Waited;
use crate::top::words::compact;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitColumn {
    Sorted(WaitSort),
    State,
    Holder,
}

/// Columns of an address with the space before it; from Go 1.26 on, heaps are anywhere.
const ADDRESS: usize = 15;

/// From this many columns on, there is room for file and line.
const PLACE: usize = 28;

impl Lists<'_> {
    /// The heads of the columns of what is waited on.
    pub(crate) fn wait_heads(&self) -> Line<'static> {
        let order = self.state.wait_order();
        // The object's column is that of its address too.
        let key = if order.key == WaitSort::Address { WaitSort::Kind } else { order.key };
        self.waits.heads("WHERE", Some((WaitColumn::Sorted(key), order.reverse)), None, self.theme)
    }

    pub(super) fn wait(&self, waited: &Waited, row: &WaitRow) -> Line<'static> {
        let snapshot = self.snapshot();
        let cells = |column, room: usize| match column {
            WaitColumn::Sorted(WaitSort::Waiting) => {
                let waiting = u64::try_from(row.goroutines.len()).unwrap_or(u64::MAX);
                vec![piece(Tone::Strong, compact(waiting, room))]
            }
            WaitColumn::Sorted(WaitSort::Kind | WaitSort::Address) => {
                // The type gives way to the address.
                let full = words::row_object(snapshot, row, usize::MAX);
                let cut = || words::row_object(snapshot, row, room.saturating_sub(ADDRESS).max(1));
                vec![piece(Tone::Plain, if shorten::width(&full) <= room { full } else { cut() })]
            }
            WaitColumn::State => {
                let text = brief::fitted(&words::row_state_parts(snapshot, row), room);
                vec![piece(words::row_role(row).into(), text.unwrap_or_default())]
            }
            WaitColumn::Sorted(WaitSort::Age) => super::wait(row.wait.map(|wait| (wait.longest_ns, wait.watched > 0))),
            WaitColumn::Holder => {
                let holder = words::row_holder(&self.index, waited.by_id(), row, true);
                vec![piece(Tone::Attention, holder.unwrap_or_default())]
            }
        };
        self.waits.row(cells, |room| self.wait_place(row, room), self.theme)
    }

    fn wait_place(&self, row: &WaitRow, room: usize) -> Vec<Piece> {
        let Some(first) = row.places.first() else { return Vec::new() };
        let more = match row.places.len() {
            0 | 1 => String::new(),
            more => format!(" +{}", more - 1),
        };
        let example = self.snapshot().goroutines.get(first.example);
        let room = room.saturating_sub(more.len());
        let place = |goroutine| match room {
            PLACE.. => self.user_place(goroutine, room),
            _ => self.user_function(goroutine, room),
        };
        let mut pieces = example.map_or_else(Vec::new, place);
        pieces.push(piece(Tone::Dim, more));
        pieces
    }
}

pub(super) fn wait_columns(state: &State, room: usize) -> Fitted<WaitColumn> {
    use WaitColumn::{Holder, Sorted, State as ObjectState};
    let (object, of_state, holder) = match room {
        VERY_WIDE.. => (38, 34, 44),
        WIDE.. => (29, 26, 20),
        60.. => (26, 17, 20),
        _ => (20, 17, 20),
    };
    let is_sorted = |key| state.wait_order().key == key;
    let columns = vec![
        column(Sorted(WaitSort::Waiting), "WAITING", 8, true, 0),
        column(Sorted(WaitSort::Kind), "OBJECT", object, false, 0),
        column(ObjectState, "STATE", of_state, false, 3),
        column(Sorted(WaitSort::Age), "WAIT", 7, true, if is_sorted(WaitSort::Age) { 0 } else { 2 }),
        column(Holder, "LIKELY HOLDER", holder, false, 4),
    ];
    fit(columns, room, if room >= WIDE { 18 } else { 14 })
}
