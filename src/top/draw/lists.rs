//! Rows of the lists: which columns there are and what is in them.

use std::borrow::Cow;

use ratatui::text::Line;

use super::Theme;
use super::table::{Column, Fitted, fit};
use super::text::{function_and_place, line};
use crate::analysis::findings::Found;
use crate::analysis::{GroupBy, Index, PlaceKind, SortKey};
use crate::model::{Goid, Goroutine, Processor, Snapshot, Status, Thread};
use crate::report::findings::sentence;
use crate::report::place::PlaceWords;
use crate::report::text::{Role, shorten};
use crate::report::units::{age, count, counted};
use crate::top::grouping::{Group, What};
use crate::top::order::GroupSort;
use crate::top::piece::{Piece, Tone, piece, tone_of};
use crate::top::state::{Row, Section, State};
use crate::top::view::{Total, View};
use crate::top::words::{compact, compact_signed, rate, sparkline, states};

/// From this many columns on, there is room for longer states and trends.
const WIDE: usize = 110;
/// Columns of a state in little room: most wait reasons fit, as `GC worker (idle)` does.
const STATE: usize = 16;
/// Names longer than this, in bytes, are not shortened at places that make sense.
const MAX_NAME: usize = 2_048;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupColumn {
    Sorted(GroupSort),
    Trend,
    States,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GoroutineColumn {
    Sorted(SortKey),
    M,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TotalColumn {
    Name,
    Count,
    Share,
    Change,
    Rate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProcessorColumn {
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
enum ThreadColumn {
    Id,
    Tid,
    State,
    P,
    Goroutine,
    Is,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FindingColumn {
    Code,
}

/// Draws rows of one screen.
pub(crate) struct Lists<'a> {
    state: &'a State,
    view: &'a View,
    index: Index<'a>,
    theme: Theme,
    room: usize,
    groups: Fitted<GroupColumn>,
    goroutines: Fitted<GoroutineColumn>,
    totals: Fitted<TotalColumn>,
    processors: Fitted<ProcessorColumn>,
    threads: Fitted<ThreadColumn>,
    findings: Fitted<FindingColumn>,
}

impl<'a> Lists<'a> {
    /// For rows of `room` columns; `None` before there is a view.
    pub(crate) fn new(state: &'a State, theme: Theme, room: usize) -> Option<Self> {
        let view = state.view()?;
        Some(Self {
            state,
            view,
            index: view.observed.index(),
            theme,
            room,
            groups: group_columns(state, room),
            goroutines: goroutine_columns(state, room),
            totals: total_columns(room, state.settings().recorded),
            processors: processor_columns(room),
            threads: thread_columns(room),
            findings: finding_columns(room),
        })
    }

    fn snapshot(&self) -> &'a Snapshot {
        self.index.snapshot()
    }

    /// The heads of the columns of groups.
    pub(crate) fn group_heads(&self) -> Line<'static> {
        let order = self.state.settings().selection.group_order;
        let title = match &self.state.settings().selection.grouping {
            GroupBy::SimilarStack | GroupBy::Stack => "STACK",
            GroupBy::Start => "STARTED IN",
            GroupBy::Creator => "CREATED BY",
            GroupBy::Label(_) => "LABEL",
            GroupBy::Place(_) | GroupBy::State | GroupBy::Reason => "PLACE",
        };
        let sorted = Some((GroupColumn::Sorted(order.key), order.reverse));
        self.groups.heads(title, sorted, Some(GroupColumn::Sorted(GroupSort::Function)), self.theme)
    }

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

    /// Head of the trends of totals.
    fn over_time(&self) -> &'static str {
        if self.state.settings().recorded { "" } else { "OVER TIME" }
    }

    fn place(&self) -> PlaceKind {
        self.state.settings().selection.grouping.place()
    }

    /// A row.
    pub(crate) fn row(&self, row: Row) -> Line<'static> {
        let snapshot = self.snapshot();
        let made = match row {
            Row::Group(at) => self.view.groups.get(at).map(|group| self.group(group)),
            Row::Goroutine(at) => snapshot.goroutines.get(at).map(|goroutine| self.goroutine(at, goroutine)),
            Row::Total(total) => Some(self.total(total)),
            Row::Processor(at) => snapshot.processors.get(at).map(|processor| self.processor(processor)),
            Row::Thread(at) => snapshot.threads.get(at).map(|thread| self.thread(thread)),
            Row::Finding(at) => self.view.observed.findings().get(at).map(|found| self.finding(found)),
            Row::Line(at) => self.state.lines().get(at).map(|text| line(&text.pieces, self.room, self.theme)),
            Row::Head(section) => Some(self.section(section)),
        };
        made.unwrap_or_default()
    }

    fn section(&self, section: Section) -> Line<'static> {
        match section {
            Section::States => self.totals.heads(self.over_time(), None, None, self.theme),
            Section::Reasons => {
                let mut totals = Fitted { columns: self.totals.columns.clone(), rest: self.totals.rest };
                for column in totals.columns.iter_mut().filter(|column| column.kind == TotalColumn::Name) {
                    column.title = "WAITS FOR";
                }
                totals.heads(self.over_time(), None, None, self.theme)
            }
            Section::Processors => self.processors.heads("RUNS", None, None, self.theme),
            Section::Threads => self.threads.heads("RUNS", None, None, self.theme),
            Section::Findings => self.findings.heads("WHAT IS WRONG", None, None, self.theme),
            Section::Members(members) => {
                let members = u64::try_from(members).unwrap_or(u64::MAX);
                let text = counted(members, "goroutine", "goroutines");
                line(&[piece(Tone::Head, text)], self.room, self.theme)
            }
        }
    }

    fn group(&self, group: &Group) -> Line<'static> {
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
        };
        self.groups.row(cells, |room| self.group_place(group, room), self.theme)
    }

    fn group_place(&self, group: &Group, room: usize) -> Vec<Piece> {
        let goroutine = self.snapshot().goroutines.get(group.example);
        match group.key.what {
            What::Label(value) => vec![piece(Tone::Plain, self.snapshot().symbols.str(value))],
            What::NoLabel => vec![piece(Tone::Dim, "without this label")],
            What::Nowhere | What::State => vec![piece(Tone::Dim, "unknown")],
            What::At(_) | What::StartedIn(_) => {
                goroutine.map_or_else(Vec::new, |goroutine| self.goroutine_place(goroutine, room))
            }
            What::Lines(_) | What::Stack(_) => {
                goroutine.map_or_else(Vec::new, |goroutine| self.stack_place(goroutine, room))
            }
        }
    }

    /// The user's functions of a stack with their lines, innermost first, as many as fit: what tells it
    /// from others at the same place are its callers.
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
            let width = super::text::pieces_width(&name) + line.len();
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

    fn goroutine(&self, at: usize, goroutine: &Goroutine) -> Line<'static> {
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
            GoroutineColumn::M => self
                .index
                .thread(goroutine)
                .map_or_else(Vec::new, |thread| vec![piece(Tone::Plain, thread.id.to_string())]),
        };
        self.goroutines.row(cells, |room| self.goroutine_place(goroutine, room), self.theme)
    }

    fn goroutine_place(&self, goroutine: &Goroutine, room: usize) -> Vec<Piece> {
        let place = self.index.place(goroutine, self.place());
        let Some(words) = PlaceWords::of(&self.snapshot().symbols, place) else {
            return vec![piece(Tone::Dim, "unknown")];
        };
        let started = words.started_in.then(|| piece(Tone::Dim, "started in "));
        let room = room.saturating_sub(started.as_ref().map_or(0, |piece| piece.text.len()));
        started.into_iter().chain(function_and_place(&words, room)).collect()
    }

    fn total(&self, total: Total) -> Line<'static> {
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

    fn processor(&self, p: &Processor) -> Line<'static> {
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

    fn thread(&self, m: &Thread) -> Line<'static> {
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
                    (m.in_cgo, "in C"),
                    (m.spinning, "looks for work"),
                    (m.blocked && m.goroutine.is_none(), "idle"),
                    (m.locked_goroutine.is_some(), "locked"),
                ];
                let is: Vec<&str> = is.into_iter().filter(|(holds, _)| *holds).map(|(_, what)| what).collect();
                vec![piece(Tone::Plain, is.join(", "))]
            }
        };
        self.threads.row(cells, |room| self.runs(m.goroutine, room), self.theme)
    }

    /// A finding where there is no view of them.
    pub(crate) fn alarm(&self, found: &Found) -> Line<'static> {
        let text = format!("! {}: {}", found.finding.code(), sentence(found, &self.index));
        line(&[piece(Tone::Bad, text)], self.room, self.theme)
    }

    fn finding(&self, found: &Found) -> Line<'static> {
        let cells = |FindingColumn::Code, _| vec![piece(Tone::Bad, found.finding.code())];
        self.findings.row(cells, |_| vec![piece(Tone::Plain, sentence(found, &self.index))], self.theme)
    }

    fn runs(&self, id: Option<Goid>, room: usize) -> Vec<Piece> {
        let goroutines = &self.snapshot().goroutines;
        let goroutine = id.and_then(|id| goroutines.iter().find(|goroutine| goroutine.id == id));
        goroutine.map_or_else(Vec::new, |goroutine| self.goroutine_place(goroutine, room))
    }
}

/// A function without the path of its package.
fn short_name(function: &str, room: usize) -> Vec<Piece> {
    let short = if function.len() > MAX_NAME { Cow::Borrowed(function) } else { shorten::function(function, 0) };
    let place = PlaceWords { function: short.into_owned(), ..PlaceWords::default() };
    function_and_place(&place, room)
}

fn column<C>(kind: C, title: &'static str, width: usize, right: bool, rank: u8) -> Column<C> {
    Column { kind, title, width, right, rank }
}

/// Room that the last column should have.
fn least(room: usize) -> usize {
    (room / 3).clamp(14, 48)
}

fn group_columns(state: &State, room: usize) -> Fitted<GroupColumn> {
    use GroupColumn::{Sorted, States, Trend};
    let sorted = state.settings().selection.group_order.key;
    let marked = state.memory().mark.is_some();
    let wide = room >= WIDE;
    let sortable = |key: GroupSort, title, width, rank| {
        let rank = if key == sorted { 0 } else { rank };
        column(Sorted(key), title, width, true, rank)
    };
    if state.settings().recorded {
        // Nothing that takes a second reading.
        let columns = vec![
            sortable(GroupSort::Count, "COUNT", 7, 0),
            column(States, "STATES", if wide { 26 } else { STATE }, false, 4),
            sortable(GroupSort::Age, "WAIT", 7, 3),
        ];
        return fit(columns, room, least(room));
    }
    let mut columns = vec![sortable(GroupSort::Count, "COUNT", 7, 0)];
    columns.push(sortable(GroupSort::Change, "±LAST", 6, 6));
    columns.push(sortable(GroupSort::Growth, "±START", 8, if marked { 8 } else { 1 }));
    if marked {
        columns.push(sortable(GroupSort::Mark, "±MARK", 8, 1));
    }
    columns.push(sortable(GroupSort::Rate, "RATE", 9, 2));
    columns.push(column(Trend, "TREND", if wide { 20 } else { 10 }, false, 7));
    columns.push(column(States, "STATES", if wide { 26 } else { STATE }, false, 4));
    columns.push(sortable(GroupSort::Age, "WAIT", 7, 3));
    fit(columns, room, least(room))
}

fn goroutine_columns(state: &State, room: usize) -> Fitted<GoroutineColumn> {
    use GoroutineColumn::{M, Sorted};
    let sorted = state.settings().selection.goroutine_order.key;
    let sortable = |key: SortKey, title, width, right, rank| {
        let rank = if key == sorted { 0 } else { rank };
        column(Sorted(key), title, width, right, rank)
    };
    let columns = vec![
        sortable(SortKey::Id, "ID", 9, true, 0),
        sortable(SortKey::State, "STATE", 9, false, 1),
        sortable(SortKey::Reason, "REASON", if room >= WIDE { 24 } else { STATE }, false, 3),
        sortable(SortKey::Age, "WAIT", 7, true, 2),
        column(M, "M", 4, true, 4),
        sortable(SortKey::Stack, "STACK", 7, true, 5),
    ];
    fit(columns, room, least(room))
}

fn total_columns(room: usize, recorded: bool) -> Fitted<TotalColumn> {
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

fn processor_columns(room: usize) -> Fitted<ProcessorColumn> {
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

fn thread_columns(room: usize) -> Fitted<ThreadColumn> {
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

fn finding_columns(room: usize) -> Fitted<FindingColumn> {
    fit(vec![column(FindingColumn::Code, "FINDING", 17, false, 1)], room, 40)
}

fn optional<T: ToString>(value: Option<T>) -> Vec<Piece> {
    value.map_or_else(Vec::new, |value| vec![piece(Tone::Plain, value.to_string())])
}

/// A wait; one that is known from watching has a sign.
fn wait(longest: Option<(u64, bool)>) -> Vec<Piece> {
    let Some((ns, watched)) = longest else { return Vec::new() };
    let text = if watched { format!("≥{}", age(ns)) } else { age(ns) };
    let tone = if ns >= 600_000_000_000 { Tone::Attention } else { Tone::Plain };
    vec![piece(tone, text)]
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

/// That more goroutines run is nothing to look at; that more wait may be.
fn change_tone(total: Total, change: i64) -> Tone {
    match total {
        Total::State(Status::Running | Status::Runnable) => Tone::Plain,
        _ => tone_of(change),
    }
}

/// The tone of a state.
/// That of the summary.
pub(super) fn state_tone(status: Status) -> Tone {
    Role::of_state(status).into()
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

/// Bytes in little room.
fn small_bytes(value: u64, room: usize) -> String {
    match value {
        ..1_024 => format!("{value} B"),
        1_024..1_048_576 => format!("{}.{}K", value >> 10, ((value & 0x3ff) * 10) >> 10),
        _ => format!("{}M", compact(value >> 20, room.saturating_sub(1))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Role, Status, Theme, state_tone};
    use ratatui::style::{Color, Modifier};

    #[test]
    fn a_state_has_one_colour_in_the_summary_and_here() {
        let all = [
            Status::Idle,
            Status::Runnable,
            Status::Running,
            Status::Syscall,
            Status::Waiting,
            Status::Dead,
            Status::CopyStack,
            Status::Preempted,
            Status::Leaked,
            Status::DeadExtra,
            Status::Unknown(77),
        ];
        for status in all {
            let (text, here) = (Role::of_state(status).style(), Theme { colour: true }.style(state_tone(status)));
            let here_colour = here.fg.map(|colour| match colour {
                Color::Green => anstyle::AnsiColor::Green,
                Color::Yellow => anstyle::AnsiColor::Yellow,
                Color::Red => anstyle::AnsiColor::Red,
                other => panic!("{status:?} is {other:?}"),
            });
            assert_eq!(text.get_fg_color(), here_colour.map(anstyle::Color::Ansi), "{status:?}");
            let effects = text.get_effects();
            assert_eq!(
                effects.contains(anstyle::Effects::BOLD),
                here.add_modifier.contains(Modifier::BOLD),
                "{status:?}"
            );
            assert_eq!(
                effects.contains(anstyle::Effects::DIMMED),
                here.add_modifier.contains(Modifier::DIM),
                "{status:?}"
            );
        }
    }
}
