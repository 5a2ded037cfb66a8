//! Goroutines: how many in which state, and the list of them.

use std::io::{self, Write};

use super::SummaryOptions;
use super::facts::{facts, heading, paragraph};
use super::table::{self, CellText, Column, Shrink};
use super::theme::{Role, TextStyle};
use crate::analysis::age::why_unknown;
use crate::analysis::answer::{Hidden, List};
use crate::analysis::group::Concentration;
use crate::analysis::{Age, Answer, Counts, Group, Index, PlaceKind};
use crate::model::{Goroutine, NotShown, StackState, Status};
use crate::report::clean::clean;
use crate::report::matching::none_match;
use crate::report::place::PlaceWords;
use crate::report::units::{age, count, counted};

/// From this width on there is room for whole paths and for state and reason side by side.
const WIDE: usize = 110;
/// Ids shown of a group.
const IDS: usize = 4;

pub(super) fn write(out: &mut dyn Write, answer: &Answer<'_, '_>, options: SummaryOptions) -> io::Result<()> {
    let (index, style) = (answer.index(), options.style);
    let total = answer.counts().total;
    write_totals(out, index, answer.counts(), options)?;
    match &answer.request().filter {
        Some((text, filter)) if answer.matching() == 0 => {
            writeln!(out)?;
            for line in none_match(index, total, text, filter, "none of those that --goid names") {
                paragraph(out, style, Role::Attention, &line)?;
            }
        }
        Some((text, _)) => {
            let text = format!("{} of {} match {}", count(answer.matching()), count(total), clean(text));
            facts(out, style, "filter", &[text])?;
        }
        None => {}
    }
    let shown = Shown { index, place: answer.request().place, wide: is_wide(style) };
    for section in answer.sections() {
        let title = match section.system {
            Some(false) => "User goroutines",
            Some(true) => "System goroutines",
            None => "Goroutines",
        };
        let title = format!("{title}, {}", count(section.matching));
        match &section.list {
            List::Each(positions) => write_each(out, style, &shown, positions, section.hidden, &title)?,
            List::Groups { groups, concentration } => {
                write_groups(out, style, &shown, groups, *concentration, section.hidden, &title)?;
            }
        }
    }
    Ok(())
}

fn write_totals(out: &mut dyn Write, index: &Index<'_>, counts: &Counts, options: SummaryOptions) -> io::Result<()> {
    let style = options.style;
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
        .map(|&(status, n)| format!("{} {}", style.paint(Role::of_state(status), &status_name(status)), count(n)))
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
    facts(out, style, "waiting for", &reasons)?;
    facts(out, style, "ages", &unknown_ages(index, options.can_watch))
}

/// Why no age is known of any wait, where there is one and the reason is known.
fn unknown_ages(index: &Index<'_>, can_watch: bool) -> Vec<String> {
    let goroutines = &index.snapshot().goroutines;
    let mut blocked = goroutines.iter().filter(|goroutine| goroutine.status.is_blocked()).peekable();
    if blocked.peek().is_none() || blocked.any(|goroutine| index.age(goroutine).is_some()) {
        return Vec::new();
    }
    let Some(why) = why_unknown(index.snapshot()) else { return Vec::new() };
    let advice = if can_watch { " (--watch 2s measures them)" } else { "" };
    vec![format!("unknown: {why}{advice}")]
}

fn status_name(status: Status) -> String {
    match status {
        Status::Unknown(number) => format!("unknown ({number})"),
        known => known.name().to_owned(),
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
            PlaceKind::User | PlaceKind::Current | PlaceKind::Innermost => "function",
            PlaceKind::Start => "started in",
            PlaceKind::Creator => "created by",
        }
    }

    fn state(&self, goroutine: &Goroutine, mark: &str) -> Vec<CellText> {
        let role = Role::of_state(goroutine.status);
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
        let place = self.index.place(goroutine, self.place);
        let Some(mut words) = PlaceWords::of(&self.index.snapshot().symbols, place) else {
            return vec![CellText::new(Role::Dim, "unknown")];
        };
        let role = if goroutine.system || words.started_in { Role::Dim } else { Role::Plain };
        if words.started_in {
            words.function.push_str(" (start)");
        }
        if self.wide {
            vec![CellText::new(role, words.call()), CellText::new(Role::Dim, words.source)]
        } else {
            // A file is known by its name; the room is for the function.
            let file = words.source.rsplit('/').next().unwrap_or_default().to_owned();
            vec![CellText::new(role, PlaceWords { source: file, ..words }.cell())]
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
    style: TextStyle,
    shown: &Shown<'_>,
    positions: &[usize],
    hidden: Hidden,
    title: &str,
) -> io::Result<()> {
    subheading(out, style, title)?;
    let index = shown.index;
    let goroutines = &index.snapshot().goroutines;
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
                cells.push(CellText::plain(index.age(goroutine).map_or(String::new(), known)));
            }
            if any_m {
                let m = index.thread(goroutine).map_or(String::new(), |thread| thread.id.to_string());
                cells.push(CellText::plain(m));
            }
            cells.extend(shown.place(goroutine));
            cells
        })?;
    }
    let text = if positions.is_empty() {
        format!("{} not shown", counted(hidden.rows, "goroutine", "goroutines"))
    } else {
        format!("and {}", counted(hidden.rows, "more goroutine", "more goroutines"))
    };
    more(out, style, hidden.rows, &text)
}

fn write_groups(
    out: &mut dyn Write,
    style: TextStyle,
    shown: &Shown<'_>,
    groups: &[Group],
    concentration: Option<Concentration>,
    hidden: Hidden,
    title: &str,
) -> io::Result<()> {
    let listed = u64::try_from(groups.len()).unwrap_or(u64::MAX);
    let total = listed.saturating_add(hidden.rows);
    subheading(out, style, &format!("{title} in {}", counted(total, "place", "places")))?;
    if let Some(few) = concentration {
        let places = counted(u64::try_from(few.groups).unwrap_or(u64::MAX), "place holds", "places hold");
        writeln!(out, "  {}", style.paint(Role::Dim, &format!("{places} {} % of {}", few.percent, count(few.total))))?;
    }
    let goroutines = &shown.index.snapshot().goroutines;
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
    let members = counted(hidden.goroutines, "goroutine", "goroutines");
    let text = if groups.is_empty() {
        format!("{} with {members} not shown", counted(hidden.rows, "place", "places"))
    } else {
        format!("and {} with {members}", counted(hidden.rows, "more place", "more places"))
    };
    more(out, style, hidden.rows, &text)
}

/// What marks an age that was measured.
const WATCHED: &str = " watched";

/// `2m`, or `2m watched` where it was measured.
fn known(wait: Age) -> String {
    let how = if wait.is_measured() { WATCHED } else { "" };
    format!("{}{how}", age(wait.at_least_ns))
}

/// `2m`, or `2m–5m12s` where the members differ; with the mark where some were measured.
fn wait(group: &Group) -> String {
    match group.wait {
        None => String::new(),
        Some(wait) => {
            let (least, most) = (age(wait.shortest_ns), age(wait.longest_ns));
            let how = if wait.watched > 0 { WATCHED } else { "" };
            if least == most { format!("{most}{how}") } else { format!("{least}–{most}{how}") }
        }
    }
}

fn ids(group: &Group) -> String {
    let mut text = group.ids.iter().take(IDS).map(|id| id.0.to_string()).collect::<Vec<_>>().join(" ");
    if group.count > u64::try_from(group.ids.len().min(IDS)).unwrap_or(u64::MAX) {
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
