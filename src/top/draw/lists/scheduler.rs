//! Ps and Ms.

use ratatui::text::Line;

use super::super::table::{Fitted, fit};
use super::{Lists, column, least};
use crate::model::{Goid, Processor, Thread};
use crate::report::units::count;
use crate::top::piece::{Piece, Tone, piece};
use crate::top::words::rate;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessorColumn {
    Id,
    Status,
    M,
    Goroutine,
    Queue,
    Calls,
    Syscalls,
    Timers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadColumn {
    Id,
    Tid,
    State,
    P,
    Goroutine,
    Is,
}

impl Lists<'_> {
    pub(super) fn processor(&self, p: &Processor) -> Line<'static> {
        let before = self.state.memory().before.as_ref();
        let then = before.and_then(|before| before.processors.iter().find(|then| then.id == p.id));
        let seconds =
            before.map_or(0.0, |before| self.snapshot().monotonic_ns.saturating_sub(before.at_ns) as f64 / 1e9);
        let per_second = |now: u32, then: Option<u32>| match then {
            Some(then) if seconds > 0.0 => {
                // The runtime's counters go round at 2³².
                let per_second = f64::from(now.wrapping_sub(then)) / seconds;
                vec![piece(Tone::Plain, rate(per_second).trim_start_matches('+').to_owned())]
            }
            _ => vec![piece(Tone::Dim, "-")],
        };
        let cells = |column, _| match column {
            ProcessorColumn::Id => vec![piece(Tone::Strong, p.id.to_string())],
            ProcessorColumn::Status => {
                let tone = if p.running.is_some() { Tone::Good } else { Tone::Dim };
                vec![piece(tone, p.status.name())]
            }
            ProcessorColumn::M => optional(p.m),
            ProcessorColumn::Goroutine => optional(p.running.map(|id| id.0)),
            ProcessorColumn::Queue => {
                let length = u64::from(p.run_queue) + u64::from(p.runnext.is_some());
                vec![piece(if length > 0 { Tone::Attention } else { Tone::Dim }, count(length))]
            }
            ProcessorColumn::Calls => per_second(p.schedtick, then.map(|then| then.schedtick)),
            ProcessorColumn::Syscalls => per_second(p.syscalltick, then.map(|then| then.syscalltick)),
            ProcessorColumn::Timers => optional(p.timers),
        };
        self.processors.row(cells, |room| self.runs(p.running, room), self.theme)
    }

    pub(super) fn thread(&self, m: &Thread) -> Line<'static> {
        let cells = |column, _| match column {
            ThreadColumn::Id => vec![piece(Tone::Strong, m.id.to_string())],
            ThreadColumn::Tid => optional(m.tid),
            ThreadColumn::State => m.state.map_or_else(Vec::new, |letter| {
                let tone = match letter {
                    'R' => Tone::Good,
                    'D' => Tone::Attention,
                    _ => Tone::Dim,
                };
                vec![piece(tone, thread_state(letter))]
            }),
            ThreadColumn::P => optional(m.p),
            ThreadColumn::Goroutine => optional(m.goroutine.map(|id| id.0)),
            ThreadColumn::Is => {
                let is = [
                    (self.sysmon == Some(m.id), "sysmon"),
                    (m.in_cgo, "in C"),
                    (m.spinning, "looks for work"),
                    (m.blocked && m.goroutine.is_none() && self.sysmon != Some(m.id), "idle"),
                    (m.locked_goroutine.is_some(), "locked"),
                ];
                let is: Vec<&str> = is.into_iter().filter(|(holds, _)| *holds).map(|(_, what)| what).collect();
                vec![piece(Tone::Plain, is.join(", "))]
            }
        };
        self.threads.row(cells, |room| self.runs(m.goroutine, room), self.theme)
    }

    fn runs(&self, id: Option<Goid>, room: usize) -> Vec<Piece> {
        let goroutines = &self.snapshot().goroutines;
        let goroutine = id.and_then(|id| goroutines.iter().find(|goroutine| goroutine.id == id));
        goroutine.map_or_else(Vec::new, |goroutine| self.goroutine_place(goroutine, room))
    }
}

pub(super) fn processor_columns(room: usize) -> Fitted<ProcessorColumn> {
    let columns = vec![
        column(ProcessorColumn::Id, "P", 5, true, 0),
        column(ProcessorColumn::Status, "STATUS", 8, false, 0),
        column(ProcessorColumn::M, "M", 5, true, 2),
        column(ProcessorColumn::Goroutine, "G", 9, true, 0),
        column(ProcessorColumn::Queue, "QUEUE", 6, true, 1),
        column(ProcessorColumn::Calls, "SCHEDS", 9, true, 3),
        column(ProcessorColumn::Syscalls, "SYSCALLS", 9, true, 4),
        column(ProcessorColumn::Timers, "TIMERS", 6, true, 5),
    ];
    fit(columns, room, least(room).min(26))
}

pub(super) fn thread_columns(room: usize) -> Fitted<ThreadColumn> {
    let columns = vec![
        column(ThreadColumn::Id, "M", 5, true, 0),
        column(ThreadColumn::State, "STATE", 8, false, 0),
        column(ThreadColumn::P, "P", 5, true, 2),
        column(ThreadColumn::Goroutine, "G", 9, true, 0),
        column(ThreadColumn::Tid, "THREAD", 8, true, 1),
        column(ThreadColumn::Is, "", 16, false, 3),
    ];
    fit(columns, room, least(room).min(26))
}

fn optional<T: ToString>(value: Option<T>) -> Vec<Piece> {
    value.map_or_else(Vec::new, |value| vec![piece(Tone::Plain, value.to_string())])
}

fn thread_state(letter: char) -> String {
    match letter {
        'R' => "running".to_owned(),
        'S' => "sleeping".to_owned(),
        'D' => "in disk".to_owned(),
        'T' => "stopped".to_owned(),
        't' => "traced".to_owned(),
        'Z' => "ended".to_owned(),
        other => other.to_string(),
    }
}
