//! Leaked goroutines.

use ratatui::text::Line;

use super::super::table::{Fitted, fit};
use super::super::text::{function_and_place, line};
use super::{Lists, STATE, WIDE, column, wait};
use crate::heap::Grade;
use crate::report::units::{age, bytes, count, counted};
use crate::top::leaks::LeakedGroup;
use crate::top::piece::{Piece, Tone, piece};
use crate::top::words::compact;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeakColumn {
    Count,
    Heap,
    Stack,
    Age,
    Reason,
}

/// Columns of the longest reason, `sync.WaitGroup.Wait`.
const LONG: usize = 19;

pub(super) fn leak_columns(room: usize) -> Fitted<LeakColumn> {
    let columns = vec![
        column(LeakColumn::Count, "LEAKED", 7, true, 0),
        column(LeakColumn::Heap, "HEAP", 8, true, 1),
        column(LeakColumn::Stack, "STACK", 8, true, 3),
        column(LeakColumn::Age, "AGE", 6, true, 4),
        column(LeakColumn::Reason, "WAITS FOR", if room >= WIDE { LONG } else { STATE }, false, 2),
    ];
    fit(columns, room, super::least(room))
}

impl Lists<'_> {
    pub(super) fn leak(&self, group: &LeakedGroup) -> Line<'static> {
        let cells = |column: LeakColumn, room: usize| match column {
            LeakColumn::Count => vec![piece(Tone::Strong, compact(group.count, room))],
            LeakColumn::Heap => group.heap_bytes.map(|heap| piece(Tone::Plain, bytes(heap))).into_iter().collect(),
            LeakColumn::Stack => vec![piece(Tone::Plain, bytes(group.stack_bytes))],
            LeakColumn::Age => wait(group.longest_ns.map(|ns| (ns, false))),
            LeakColumn::Reason => vec![piece(Tone::Plain, group.reason.clone())],
        };
        let last = |room: usize| match &group.place {
            Some(place) => function_and_place(place, room),
            None => vec![piece(Tone::Dim, "an unknown place")],
        };
        self.leaks.row(cells, last, self.theme)
    }

    /// How many are leaked, how certain that is and how old; or what to do to know it.
    pub(super) fn leak_status(&self) -> Line<'static> {
        line(&self.leak_status_pieces(), self.room, self.theme)
    }

    fn leak_status_pieces(&self) -> Vec<Piece> {
        let view = self.state.leaks();
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (looking, found_ago) = self.state.leak_times();
        if let Some(since) = looking {
            let text = format!("reading the heap, for {} so far …", age(ns(since)));
            return vec![piece(Tone::Attention, text)];
        }
        let (Some((found, _)), Some(ago)) = (&view.found, found_ago) else {
            return vec![piece(Tone::Plain, "L reads the heap once, and finds goroutines that can never wake")];
        };
        let when = format!(" · {} ago, took {} · L: again", age(ns(ago)), age(ns(found.took)));
        let total = match found.total {
            0 => piece(Tone::Good, format!("none of {} leaked", count(found.goroutines))),
            total => {
                let tone = if found.grade == Grade::Certain { Tone::Bad } else { Tone::Attention };
                let grade = match found.grade {
                    Grade::Certain => "certain",
                    Grade::Confirmed => "confirmed (found twice)",
                };
                piece(tone, format!("{} leaked of {}, {grade}", count(total), count(found.goroutines)))
            }
        };
        vec![total, piece(Tone::Dim, when)]
    }

    /// What reading the heap costs; what they keep; or why it was not read.
    pub(super) fn leak_detail(&self) -> Line<'static> {
        let view = self.state.leaks();
        let pieces = match (&view.problem, &view.found) {
            (Some(problem), _) => vec![piece(Tone::Bad, format!("not found: {problem}"))],
            (None, Some((found, _))) if found.total > 0 => {
                let (stacks, heap) = found.kept;
                let keep = format!("they keep {} of stacks and {} of the heap", bytes(stacks), bytes(heap));
                vec![piece(Tone::Plain, keep)]
            }
            (None, Some((found, _))) => vec![piece(Tone::Dim, found.worth.clone())],
            (None, None) => {
                let heap = self.snapshot().heap.as_ref().map(|heap| heap.heap_inuse);
                let heap = heap.map(|heap| format!(" of {}", bytes(heap))).unwrap_or_default();
                vec![piece(Tone::Dim, format!("heap{heap}: about 0.5 s of CPU time for 1 GiB; nothing is stopped"))]
            }
        };
        line(&pieces, self.room, self.theme)
    }

    pub(super) fn deadlock(&self, at: usize) -> Line<'static> {
        let found = self.state.leaks().found.as_ref();
        let text = found.and_then(|(found, _)| found.deadlocks.get(at)).map(|text| format!("! deadlock: {text}"));
        line(&[piece(Tone::Bad, text.unwrap_or_default())], self.room, self.theme)
    }

    pub(super) fn more_deadlocks(&self, more: usize) -> Line<'static> {
        let more = counted(u64::try_from(more).unwrap_or(u64::MAX), "more deadlock", "more deadlocks");
        line(&[piece(Tone::Dim, format!("… and {more}: gospy leaks"))], self.room, self.theme)
    }
}
