//! Rows of the lists: which columns there are and what is in them.

mod findings;
mod goroutines;
mod groups;
mod leaks;
mod scheduler;
mod totals;
mod waits;

use ratatui::text::Line;

use super::Theme;
use super::table::{Column, Fitted};
use super::text::line;
use crate::analysis::Index;
use crate::analysis::sysmon::sysmon;
use crate::model::{Snapshot, Status};
use crate::report::text::Role;
use crate::report::units::{age, counted};
use crate::report::waits::brief;
use crate::top::piece::{Piece, Tone, piece};
use crate::top::state::{Row, Section, State};
use crate::top::view::View;

use findings::FindingColumn;
use goroutines::GoroutineColumn;
use groups::GroupColumn;
use leaks::LeakColumn;
use scheduler::{ProcessorColumn, ThreadColumn};
use totals::TotalColumn;
use waits::WaitColumn;

/// From this many columns on, there is room for longer states and trends.
const WIDE: usize = 110;
/// Columns of a state in little room: most wait reasons fit, as `GC worker (idle)` does.
const STATE: usize = 16;

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
    leaks: Fitted<LeakColumn>,
    findings: Fitted<FindingColumn>,
    waits: Fitted<WaitColumn>,
    /// Id of the M that runs it.
    sysmon: Option<i64>,
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
            groups: groups::group_columns(state, room),
            goroutines: goroutines::goroutine_columns(state, room),
            totals: totals::total_columns(room, state.settings().recorded),
            processors: scheduler::processor_columns(room),
            threads: scheduler::thread_columns(room),
            leaks: leaks::leak_columns(room),
            findings: findings::finding_columns(room),
            waits: waits::wait_columns(state, room),
            sysmon: sysmon(&view.observed.snapshot().threads),
        })
    }

    fn snapshot(&self) -> &'a Snapshot {
        self.index.snapshot()
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
            Row::Wait(at) => self.view.waited.as_ref().and_then(|waited| Some(self.wait(waited, waited.row(at)?))),
            Row::Finding(at) => self.view.observed.findings().get(at).map(|found| self.finding(found)),
            Row::Leak(at) => {
                let found = self.state.leaks().found.as_ref();
                found.and_then(|(found, _)| found.groups.get(at)).map(|group| self.leak(group))
            }
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
            Section::Leaks => self.leaks.heads("PLACE", None, None, self.theme),
            Section::LeakStatus => self.leak_status(),
            Section::LeakDetail => self.leak_detail(),
            Section::Deadlock(at) => self.deadlock(at),
            Section::MoreDeadlocks(more) => self.more_deadlocks(more),
            Section::Findings => self.findings.heads("WHAT IS WRONG", None, None, self.theme),
            Section::Members(members) => {
                let members = u64::try_from(members).unwrap_or(u64::MAX);
                let text = counted(members, "goroutine", "goroutines");
                line(&[piece(Tone::Head, text)], self.room, self.theme)
            }
        }
    }
}

fn column<C>(kind: C, title: &'static str, width: usize, right: bool, rank: u8) -> Column<C> {
    Column { kind, title, width, right, rank }
}

/// Room that the last column should have.
fn least(room: usize) -> usize {
    (room * 11 / 25).clamp(14, 60)
}

/// From this many columns on, there is room for long states beside what is waited on.
const VERY_WIDE: usize = 160;

/// Whether there is a column for what is waited on. That depends on the program's snapshot and not on what is in
/// its rows, so that nothing jumps.
fn has_waits(state: &State, room: usize) -> bool {
    room >= WIDE && state.view().is_some_and(|view| !view.observed.snapshot().waits.is_empty())
}

/// Columns for what is waited on.
fn on_width(room: usize) -> usize {
    if room >= VERY_WIDE { 44 } else { 30 }
}

/// Room that the last column should have, with a column of what is waited on beside it or without.
fn least_beside(room: usize, waits: bool) -> usize {
    if waits { (room * 3 / 10).clamp(14, 60) } else { least(room) }
}

/// What is waited on, as much of it as fits.
fn waits_on(on: &[String], room: usize) -> Vec<Piece> {
    brief::fitted(on, room).map_or_else(Vec::new, |text| vec![piece(Tone::Plain, text)])
}

/// A wait; one that is known from watching has a sign.
fn wait(longest: Option<(u64, bool)>) -> Vec<Piece> {
    let Some((ns, watched)) = longest else { return Vec::new() };
    let text = if watched { format!("≥{}", age(ns)) } else { age(ns) };
    let tone = if ns >= 600_000_000_000 { Tone::Attention } else { Tone::Plain };
    vec![piece(tone, text)]
}

/// The tone of a state, which is that of the summary.
pub(in crate::top::draw) fn state_tone(status: Status) -> Tone {
    Role::of_state(status).into()
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
