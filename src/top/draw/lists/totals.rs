//! States and wait reasons over time.

use ratatui::text::Line;

use super::super::table::{Fitted, fit};
use super::{Lists, column, state_tone};
use crate::model::Status;
use crate::top::piece::{Tone, piece, tone_of};
use crate::top::view::Total;
use crate::top::words::{compact, compact_signed, rate, sparkline};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TotalColumn {
    Name,
    Count,
    Share,
    Change,
    Rate,
}

impl Lists<'_> {
    /// Head of the trends of totals.
    pub(super) fn over_time(&self) -> &'static str {
        if self.state.settings().recorded { "" } else { "OVER TIME" }
    }

    pub(super) fn total(&self, total: Total) -> Line<'static> {
        let totals = &self.state.memory().totals;
        let now = totals.count(total);
        let cells = |column, room| match column {
            TotalColumn::Name => vec![match total {
                Total::State(status) => piece(state_tone(status), status.name()),
                Total::Reason(reason) => match self.snapshot().wait_reason(reason) {
                    Some(text) => piece(Tone::Plain, text),
                    None => piece(Tone::Dim, format!("unknown ({})", reason.0)),
                },
                Total::All => piece(Tone::Strong, "all"),
            }],
            TotalColumn::Count => vec![piece(if now > 0 { Tone::Strong } else { Tone::Dim }, compact(now, room))],
            TotalColumn::Share => {
                let all = self.view.observed.counts().total.max(1);
                vec![piece(Tone::Plain, format!("{:.1} %", now as f64 * 100.0 / all as f64))]
            }
            TotalColumn::Change => match totals.change(total) {
                Some(change) => vec![piece(change_tone(total, change), compact_signed(change, room))],
                None => vec![piece(Tone::Dim, "-")],
            },
            TotalColumn::Rate => match totals.rate(total) {
                Some(per_second) => vec![piece(Tone::Plain, rate(per_second))],
                None => vec![piece(Tone::Dim, "-")],
            },
        };
        let curve = |room| {
            if self.state.settings().recorded {
                return Vec::new();
            }
            let samples: Vec<u64> = totals.recent(total, room).collect();
            vec![piece(Tone::Drawing, sparkline(&samples, room))]
        };
        self.totals.row(cells, curve, self.theme)
    }
}

pub(super) fn total_columns(room: usize, recorded: bool) -> Fitted<TotalColumn> {
    let mut columns = vec![
        column(TotalColumn::Name, "STATE", if room >= 60 { 26 } else { 16 }, false, 0),
        column(TotalColumn::Count, "COUNT", 9, true, 0),
        column(TotalColumn::Share, "SHARE", 8, true, 2),
        column(TotalColumn::Change, "±LAST", 8, true, 1),
        column(TotalColumn::Rate, "RATE", 9, true, 3),
    ];
    columns.retain(|column| !recorded || !matches!(column.kind, TotalColumn::Change | TotalColumn::Rate));
    fit(columns, room, 10)
}

/// That more goroutines run is nothing to look at; that more wait may be.
fn change_tone(total: Total, change: i64) -> Tone {
    match total {
        Total::State(Status::Running | Status::Runnable) => Tone::Plain,
        _ => tone_of(change),
    }
}
