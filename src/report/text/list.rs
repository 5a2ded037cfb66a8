//! Goroutines: how many in which state, and the list of them.

use std::io::{self, Write};

use super::facts::{facts, heading, paragraph};
use super::table::{self, CellText, Column, PLACE_BREAK, Shrink};
use super::theme::{Role, TextStyle};
use super::{ListMode, SummaryOptions};
use crate::analysis::group::group;
use crate::analysis::{Counts, Group, GroupBy, Index, Place, PlaceKind, Sort, SortKey};
use crate::model::{FrameId, Goroutine, NotShown, StackState, Status};
use crate::report::clean::clean;
use crate::report::matching::none_match;
use crate::report::units::{age, count, counted};

/// More goroutines than that are shown in groups.
const MOST_SINGLE: usize = 60;
/// Groups shown unless a limit is given.
const MOST_GROUPS: usize = 40;
/// From this width on there is room for whole paths and for state and reason side by side.
const WIDE: usize = 110;
/// Ids shown of a group.
const IDS: usize = 4;

pub(super) fn write(
    out: &mut dyn Write,
    index: &Index<'_>,
    selected: &[usize],
    counts: &Counts,
    options: &SummaryOptions,
) -> io::Result<()> {
    let style = options.style;
    write_totals(out, index, counts, style)?;
    match &options.filter {
        Some((text, filter)) if selected.is_empty() => {
            writeln!(out)?;
            for line in none_match(index, text, filter, "none of those that --goid names") {
                paragraph(out, style, Role::Attention, &line)?;
            }
        }
        Some((text, _)) => {
            let matching = u64::try_from(selected.len()).unwrap_or(u64::MAX);
            let text = format!("{} of {} match {}", count(matching), count(counts.total), clean(text));
            facts(out, style, "filter", &[text])?;
        }
        None => {}
    }
    let goroutines = &index.snapshot().goroutines;
    let is_system = |&at: &usize| goroutines.get(at).is_some_and(|goroutine| goroutine.system);
    let (systems, users): (Vec<usize>, Vec<usize>) = selected.iter().partition(|at| is_system(at));
    let grouped = match options.list {
        ListMode::Auto => selected.len() > MOST_SINGLE,
        ListMode::Each => false,
        ListMode::Groups => true,
    };
    let mut lines = options.limit.unwrap_or(if grouped { MOST_GROUPS } else { usize::MAX });
    // The runtime's own are told by what they are, not by where the runtime parked them.
    let systems_place = if options.place == PlaceKind::Current { PlaceKind::Start } else { options.place };
    let systems_options = SummaryOptions { place: systems_place, ..options.clone() };
    for (title, positions, options) in
        [("The program's own", users, options), ("The runtime's own", systems, &systems_options)]
    {
        if positions.is_empty() {
            continue;
        }
        let total = count(u64::try_from(positions.len()).unwrap_or(u64::MAX));
        if grouped {
            write_groups(out, index, &positions, &mut lines, &format!("{title}, {total}"), options)?;
        } else {
            write_each(out, index, positions, &mut lines, &format!("{title}, {total}"), options)?;
        }
    }
    Ok(())
}

fn write_totals(out: &mut dyn Write, index: &Index<'_>, counts: &Counts, style: TextStyle) -> io::Result<()> {
    let mut beside = vec![count(counts.total)];
    if counts.total > 0 {
        beside.push(format!("{} user", count(counts.user())));
        beside.push(format!("{} system", count(counts.system)));
    }
    if counts.dead > 0 {
        beside.push(format!("{} dead", count(counts.dead)));
    }
    heading(out, style, "Goroutines", &beside.join(" · "))?;
    let states: Vec<String> = counts
        .by_state
        .iter()
        .map(|&(status, n)| format!("{} {}", style.paint(status_role(status), &status_name(status)), count(n)))
        .collect();
    facts(out, style, "by state", &states)?;
    let reasons: Vec<String> = counts
        .by_wait_reason
        .iter()
        .map(|&(reason, n)| match index.snapshot().wait_reason(reason) {
            Some(text) => format!("{} {}", clean(text), count(n)),
            None => format!("reason {} {}", reason.0, count(n)),
        })
        .collect();
    facts(out, style, "waiting for", &reasons)
}

fn status_name(status: Status) -> String {
    match status {
        Status::Unknown(number) => format!("unknown ({number})"),
        known => known.name().to_owned(),
    }
}

fn status_role(status: Status) -> Role {
    match status {
        Status::Running | Status::Runnable => Role::Good,
        Status::Syscall | Status::Waiting => Role::Plain,
        Status::Leaked | Status::Unknown(_) => Role::Bad,
        Status::CopyStack | Status::Preempted => Role::Attention,
        Status::Idle | Status::Dead | Status::DeadExtra => Role::Dim,
    }
}

/// Columns shared by goroutines and groups.
struct Shown<'a> {
    index: &'a Index<'a>,
    place: PlaceKind,
    wide: bool,
}

impl Shown<'_> {
    fn place_title(&self) -> &'static str {
        match self.place {
            PlaceKind::Current | PlaceKind::Innermost => "function",
            PlaceKind::Start => "started in",
            PlaceKind::Creator => "created by",
        }
    }

    fn state(&self, goroutine: &Goroutine, mark: &str) -> Vec<CellText> {
        let role = status_role(goroutine.status);
        let reason = self.index.reason(goroutine).map(clean);
        if !self.wide {
            let text = match (goroutine.status, reason) {
                (Status::Waiting, Some(reason)) => reason.into_owned(),
                (Status::Leaked, Some(reason)) => format!("{reason} (leaked)"),
                (status, _) => status_name(status),
            };
            return vec![CellText::new(role, text + mark)];
        }
        let reason = reason.map_or(String::new(), |reason| reason.into_owned());
        vec![CellText::new(role, status_name(goroutine.status) + mark), CellText::plain(reason)]
    }

    fn state_columns(&self) -> Vec<Column> {
        if self.wide {
            vec![Column::left("state"), Column::shrinking("waiting for", Shrink::Words)]
        } else {
            vec![Column::left("state")]
        }
    }

    fn place_columns(&self) -> Vec<Column> {
        if self.wide {
            let function = Column::shrinking(self.place_title(), Shrink::Function);
            vec![function, Column::shrinking("at", Shrink::Path)]
        } else {
            vec![Column::shrinking(self.place_title(), Shrink::Place)]
        }
    }

    /// The function, and its file and line.
    fn place(&self, goroutine: &Goroutine) -> Vec<CellText> {
        let (frame, note) = match self.index.place(goroutine, self.place) {
            Place::At(frame) => (Some(frame), ""),
            Place::StartedIn(frame) => (Some(frame), " (start)"),
            Place::Unknown => (None, ""),
        };
        let function = self.index.function(frame);
        if function.is_empty() {
            return vec![CellText::new(Role::Dim, "unknown")];
        }
        let role = if goroutine.system || !note.is_empty() { Role::Dim } else { Role::Plain };
        let function = format!("{}{note}", clean(function));
        if self.wide {
            vec![CellText::new(role, function), CellText::new(Role::Dim, self.source(frame))]
        } else {
            vec![CellText::new(role, format!("{function}{PLACE_BREAK}{}", self.source(frame)))]
        }
    }

    fn source(&self, frame: Option<FrameId>) -> String {
        let symbols = &self.index.snapshot().symbols;
        let Some(frame) = frame.and_then(|id| symbols.frame(id)) else { return String::new() };
        let file = symbols.str(frame.file);
        let file = if self.wide { file } else { file.rsplit('/').next().unwrap_or(file) };
        match (file, frame.line) {
            ("", _) => String::new(),
            (file, 0) => clean(file).into_owned(),
            (file, line) => format!("{}:{line}", clean(file)),
        }
    }
}

/// What else is to be known of a goroutine's state.
fn mark(goroutine: &Goroutine) -> &'static str {
    match (goroutine.locked, goroutine.stack) {
        (_, StackState::NotShown(NotShown::Moving)) => ", moving",
        (_, StackState::NotShown(NotShown::Unreadable)) => ", unreadable",
        (true, _) => ", locked",
        (false, _) => "",
    }
}

fn write_each(
    out: &mut dyn Write,
    index: &Index<'_>,
    mut positions: Vec<usize>,
    lines: &mut usize,
    title: &str,
    options: &SummaryOptions,
) -> io::Result<()> {
    let style = options.style;
    options.sort.unwrap_or(Sort { key: SortKey::Id, reverse: false }).goroutines(index, options.place, &mut positions);
    let hidden = positions.len().saturating_sub(*lines);
    positions.truncate(*lines);
    *lines -= positions.len();
    subheading(out, style, title)?;
    let goroutines = &index.snapshot().goroutines;
    let shown = Shown { index, place: options.place, wide: is_wide(style) };
    let listed = || positions.iter().filter_map(|&at| goroutines.get(at));
    let any_m = listed().any(|goroutine| index.thread(goroutine).is_some());
    let any_age = listed().any(|goroutine| index.wait_ns(goroutine).is_some());
    let mut columns = vec![Column::right("id")];
    columns.extend(shown.state_columns());
    columns.extend(any_age.then_some(Column::right("age ≥")));
    columns.extend(any_m.then_some(Column::right("M")));
    columns.extend(shown.place_columns());
    if !positions.is_empty() {
        table::write(out, style, &columns, positions.len(), &|row| {
            let Some(goroutine) = positions.get(row).and_then(|&at| goroutines.get(at)) else { return Vec::new() };
            let mut cells = vec![CellText::plain(goroutine.id.0.to_string())];
            cells.extend(shown.state(goroutine, mark(goroutine)));
            if any_age {
                cells.push(CellText::plain(index.wait_ns(goroutine).map_or(String::new(), age)));
            }
            if any_m {
                let m = index.thread(goroutine).map_or(String::new(), |thread| thread.id.to_string());
                cells.push(CellText::plain(m));
            }
            cells.extend(shown.place(goroutine));
            cells
        })?;
    }
    let hidden = u64::try_from(hidden).unwrap_or(u64::MAX);
    let text = if positions.is_empty() {
        format!("{} not shown", counted(hidden, "goroutine", "goroutines"))
    } else {
        format!("and {}", counted(hidden, "more goroutine", "more goroutines"))
    };
    more(out, style, hidden, &text)
}

fn write_groups(
    out: &mut dyn Write,
    index: &Index<'_>,
    positions: &[usize],
    lines: &mut usize,
    title: &str,
    options: &SummaryOptions,
) -> io::Result<()> {
    let style = options.style;
    let mut groups = group(index, &GroupBy::Place(options.place), positions, IDS);
    let sort = options.sort.unwrap_or(Sort { key: SortKey::Count, reverse: false });
    sort.groups(index, options.place, &mut groups);
    let total = u64::try_from(groups.len()).unwrap_or(u64::MAX);
    let cut = groups.split_off(groups.len().min(*lines));
    *lines -= groups.len();
    subheading(out, style, &format!("{title} in {}", counted(total, "place", "places")))?;
    let goroutines = &index.snapshot().goroutines;
    let shown = Shown { index, place: options.place, wide: is_wide(style) };
    let any_age = groups.iter().any(|group| group.wait.is_some());
    let mut columns = vec![Column::right("count")];
    columns.extend(shown.state_columns());
    columns.extend(any_age.then_some(Column::right("age ≥")));
    columns.extend(shown.place_columns());
    columns.extend(shown.wide.then_some(Column::left("ids")));
    if !groups.is_empty() {
        table::write(out, style, &columns, groups.len(), &|row| {
            let Some(group) = groups.get(row) else { return Vec::new() };
            let Some(goroutine) = goroutines.get(group.example) else { return Vec::new() };
            let mut cells = vec![CellText::new(Role::Strong, count(group.count))];
            cells.extend(shown.state(goroutine, ""));
            if any_age {
                cells.push(CellText::plain(wait(group)));
            }
            cells.extend(shown.place(goroutine));
            if shown.wide {
                cells.push(CellText::new(Role::Dim, ids(group)));
            }
            cells
        })?;
    }
    let hidden = u64::try_from(cut.len()).unwrap_or(u64::MAX);
    let members = cut.iter().fold(0_u64, |sum, group| sum.saturating_add(group.count));
    let members = counted(members, "goroutine", "goroutines");
    let text = if groups.is_empty() {
        format!("{} with {members} not shown", counted(hidden, "place", "places"))
    } else {
        format!("and {} with {members}", counted(hidden, "more place", "more places"))
    };
    more(out, style, hidden, &text)
}

/// `2m`, or `2m–5m12s` where the members differ.
fn wait(group: &Group) -> String {
    match group.wait {
        None => String::new(),
        Some(wait) => {
            let (least, most) = (age(wait.shortest_ns), age(wait.longest_ns));
            if least == most { most } else { format!("{least}–{most}") }
        }
    }
}

fn ids(group: &Group) -> String {
    let mut text = group.ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" ");
    if group.count > u64::try_from(group.ids.len()).unwrap_or(u64::MAX) {
        text.push_str(" …");
    }
    text
}

fn is_wide(style: TextStyle) -> bool {
    style.width.is_none_or(|width| width >= WIDE)
}

fn subheading(out: &mut dyn Write, style: TextStyle, title: &str) -> io::Result<()> {
    writeln!(out, "\n  {}", style.paint(Role::Strong, title))
}

fn more(out: &mut dyn Write, style: TextStyle, hidden: u64, what: &str) -> io::Result<()> {
    if hidden == 0 {
        return Ok(());
    }
    writeln!(out, "{}", style.paint(Role::Dim, &format!("  … {what} (--limit 0 shows all)")))
}
