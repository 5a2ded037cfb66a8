//! Goroutines: how many in which state, and the list of them.

use std::io::{self, Write};

use super::SummaryOptions;
use super::facts::{facts, heading, paragraph};
use super::table::{self, CellText, Column, Shrink};
use super::theme::{Role, TextStyle};
use crate::analysis::age::why_unknown;
use crate::analysis::answer::{Hidden, List};
use crate::analysis::group::{Concentration, On, What};
use crate::analysis::{Age, Answer, Counts, Group, GroupBy, Index, PlaceKind};
use crate::model::{Goroutine, NotShown, StackState, Status};
use crate::report::clean::clean;
use crate::report::matching::none_match;
use crate::report::place::PlaceWords;
use crate::report::units::{age, count, counted};
use crate::report::waits::brief;

/// From this width on there is room for whole paths and for state and reason side by side.
const WIDE: usize = 110;
/// In longer lists, what goroutines wait on would cost as much as all else; JSON has it.
const MOST_WITH_WAITS: usize = 1_000;
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
    let grouped_by = answer.grouped_by().cloned();
    let shown = Shown { index, place: answer.request().place, wide: is_wide(style), grouped_by };
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
    grouped_by: Option<GroupBy>,
}

impl Shown<'_> {
    /// What groups are, one and several of them.
    fn nouns(&self) -> (&'static str, &'static str) {
        match self.grouped_by {
            None | Some(GroupBy::Place(_)) => ("place", "places"),
            Some(GroupBy::Stack | GroupBy::SimilarStack) => ("stack", "stacks"),
            Some(GroupBy::Start) => ("start function", "start functions"),
            Some(GroupBy::Creator) => ("go statement", "go statements"),
            Some(GroupBy::State) => ("state", "states"),
            Some(GroupBy::Reason) => ("wait reason", "wait reasons"),
            Some(GroupBy::Object) => ("object", "objects"),
            Some(GroupBy::Label(_)) => ("value", "values"),
        }
    }

    /// What groups are made by that is no place, and so has a column of its own.
    fn key_column(&self) -> Option<Column> {
        match self.grouped_by {
            Some(GroupBy::Object) => Some(Column::shrinking("waits on", Shrink::Waits)),
            Some(GroupBy::Label(_)) => Some(Column::shrinking("label", Shrink::Words)),
            _ => None,
        }
    }

    fn key(&self, group: &Group, example: &Goroutine) -> CellText {
        let snapshot = self.index.snapshot();
        match group.key.what {
            What::On(on) => {
                /// Columns of the name of a type in little room.
                const SHORT: usize = 12;
                let room = if self.wide { usize::MAX } else { SHORT };
                let mut parts = brief::on(snapshot, on, example, group.count, room);
                if let (On::Alike(..), Some(shared), 2..) = (on, &group.details.waits_on, group.count) {
                    parts.extend(brief::shared(snapshot, shared));
                }
                let (name, state) = parts.split_first().map_or(("", &[][..]), |(name, state)| (name.as_str(), state));
                CellText::plain(brief::cell(name, state))
            }
            What::Label(value) => CellText::plain(clean(snapshot.symbols.str(value))),
            _ => CellText::new(Role::Dim, "none"),
        }
    }

    /// The state of a group's members; the most frequent one where they are in several.
    fn states(&self, group: &Group, example: &Goroutine) -> Vec<CellText> {
        let by_object = self.grouped_by == Some(GroupBy::Object);
        match group.details.states.as_slice() {
            [(status, reason, members), others @ ..] if !others.is_empty() => {
                let word = match status {
                    Status::Waiting | Status::Leaked => {
                        reason.and_then(|reason| self.index.snapshot().wait_reason(reason))
                    }
                    _ => None,
                };
                let word = word.map_or_else(|| status_name(*status), |word| clean(word).into_owned());
                let text = format!("{} {word} +{}", count(*members), others.len());
                let role = Role::of_state(*status);
                if self.has_two_states() {
                    vec![CellText::new(role, status_name(*status)), CellText::plain(text)]
                } else {
                    vec![CellText::new(role, text)]
                }
            }
            _ => {
                let waits_on = group.details.waits_on.as_ref().filter(|_| !by_object);
                let on = waits_on.map_or_else(Vec::new, |on| brief::shared(self.index.snapshot(), on));
                self.state(example, "", &on)
            }
        }
    }

    fn place_title(&self) -> &'static str {
        match self.place {
            PlaceKind::User if !matches!(self.grouped_by, None | Some(GroupBy::Place(_))) => "one is in",
            PlaceKind::User | PlaceKind::Current | PlaceKind::Innermost => "function",
            PlaceKind::Start => "started in",
            PlaceKind::Creator => "created by",
        }
    }

    /// The state of `goroutine`, with what it waits `on` or what all of its group do.
    fn state(&self, goroutine: &Goroutine, mark: &str, on: &[String]) -> Vec<CellText> {
        let role = Role::of_state(goroutine.status);
        let reason = self.index.reason(goroutine).map(clean);
        if !self.has_two_states() {
            let text = match (goroutine.status, reason) {
                (Status::Waiting, Some(reason)) => reason.into_owned(),
                (Status::Leaked, Some(reason)) => format!("{reason} (leaked)"),
                (status, _) => status_name(status),
            };
            return vec![CellText::new(role, brief::cell(&(text + mark), on))];
        }
        let reason = reason.map_or(String::new(), |reason| reason.into_owned());
        let status = status_name(goroutine.status) + mark;
        vec![CellText::new(role, status), CellText::plain(brief::cell(&reason, on))]
    }

    /// Whether state and wait reason have a column each. Where groups are made by what they wait on, that has the
    /// room.
    fn has_two_states(&self) -> bool {
        self.wide && self.grouped_by != Some(GroupBy::Object)
    }

    fn state_columns(&self) -> Vec<Column> {
        if self.grouped_by == Some(GroupBy::Object) {
            vec![Column::shrinking("state", Shrink::Words)]
        } else if self.has_two_states() {
            vec![Column::left("state"), Column::shrinking("waiting for", Shrink::WideWaits)]
        } else {
            vec![Column::shrinking("state", Shrink::Waits)]
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
            let has_waits = positions.len() <= MOST_WITH_WAITS;
            let on = if has_waits { brief::goroutine(index.snapshot(), goroutine) } else { Vec::new() };
            cells.extend(shown.state(goroutine, mark(goroutine), &on));
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
    let (one, several) = shown.nouns();
    let by = if several == "objects" { "by" } else { "in" };
    subheading(out, style, &format!("{title} {by} {}", counted(total, one, several)))?;
    if let Some(few) = concentration {
        let few_groups = u64::try_from(few.groups).unwrap_or(u64::MAX);
        let places = counted(few_groups, &format!("{one} holds"), &format!("{several} hold"));
        writeln!(out, "  {}", style.paint(Role::Dim, &format!("{places} {} % of {}", few.percent, count(few.total))))?;
    }
    let goroutines = &shown.index.snapshot().goroutines;
    let any_age = groups.iter().any(|group| group.wait.is_some());
    let mut columns = vec![Column::right("count")];
    columns.extend(shown.key_column());
    columns.extend(shown.state_columns());
    columns.extend(any_age.then_some(Column::right("age ≥")));
    columns.extend(shown.place_columns());
    columns.extend(shown.wide.then_some(Column::left("ids")));
    if !groups.is_empty() {
        table::write(out, style, &columns, groups.len(), &|row| {
            let Some(group) = groups.get(row) else { return Vec::new() };
            let Some(goroutine) = goroutines.get(group.example) else { return Vec::new() };
            let mut cells = vec![CellText::new(Role::Strong, count(group.count))];
            cells.extend(shown.key_column().map(|_| shown.key(group, goroutine)));
            cells.extend(shown.states(group, goroutine));
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
        format!("{} with {members} not shown", counted(hidden.rows, one, several))
    } else {
        let (one, several) = (format!("more {one}"), format!("more {several}"));
        format!("and {} with {members}", counted(hidden.rows, &one, &several))
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
