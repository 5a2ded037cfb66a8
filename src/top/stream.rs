//! The live view without a terminal: one block of text a refresh, or one JSON object on one line.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use anstyle::{AnsiColor, Effects};
use ratatui::style::{Color, Modifier};
use ratatui::text::Line;
use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::draw::{Lists, Theme, header_lines};
use super::event::{Event, Settings};
use super::grouping::{self, Group, Key, What};
use super::state::{Row, State};
use super::view::View;
use super::words::state_word;
use crate::analysis::group::{Keys, Line as SourceLine};
use crate::analysis::labels::{LabelTally, Labels};
use crate::analysis::{Answer, GroupBy, Index, Place, PlaceKind, Request};
use crate::model::SymbolPool;
use crate::report::json::shared_wait::shared_wait;
use crate::report::json::types::Document;
use crate::report::json::waiting::WaitingOn;
use crate::report::json::{self, JsonOptions};
use crate::report::labels::{LabelKey, documents};
use crate::report::members::UserPlace;
use crate::report::units::{count, counted};
use crate::sampling::{Sampler, SourceEnd};

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text {
        /// Columns to keep within.
        width: u16,
        /// Whether to colour.
        colour: bool,
    },
    /// One object on one line a refresh.
    Json,
}

/// Groups that are written in a block of text.
const TEXT_GROUPS: usize = 40;
/// Groups that are written in an object.
const JSON_GROUPS: usize = 1_000;
/// Readings that may fail one after the other.
const MAX_FAILURES: u32 = 10;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Refreshes that were written.
    pub refreshes: u64,
    /// Why there are no more; `None` where there are enough.
    pub end: Option<SourceEnd>,
}

/// Writes refreshes of what `sampler` reads until there are enough (`settings.iterations`), it ends, or `out`
/// does.
///
/// # Errors
/// Those of `out`.
pub fn run(out: &mut dyn Write, sampler: &mut Sampler<'_>, settings: Settings, format: Format) -> io::Result<Outcome> {
    let (width, colour) = match format {
        Format::Text { width, colour } => (width, colour),
        Format::Json => (u16::MAX, false),
    };
    let iterations = settings.iterations.unwrap_or(u64::MAX);
    let mut state = State::new(settings, width, u16::MAX);
    let (started, mut failures, mut restarts) = (Instant::now(), 0, 0);
    // There are no keys here; all that can come back of an event is a wish to read. What took longer than the
    // interval brings it at once.
    let mut wants_reading = false;
    loop {
        if !std::mem::take(&mut wants_reading) && state.apply(started.elapsed(), Event::Tick).is_empty() {
            let Some(wake) = state.wake_at() else {
                return Ok(Outcome { refreshes: state.refreshes(), end: None });
            };
            std::thread::sleep(wake.saturating_sub(started.elapsed()));
            continue;
        }
        match sampler.read() {
            Ok(sample) => {
                failures = 0;
                wants_reading = !state.apply(started.elapsed(), Event::Snapshot(sample)).is_empty();
                if std::mem::replace(&mut restarts, state.restarts()) != state.restarts() {
                    write_restart(out, format, &state)?;
                }
                match format {
                    Format::Text { .. } => write_text(out, &state, Theme { colour })?,
                    Format::Json => write_json(out, &state)?,
                }
                out.flush()?;
                if state.refreshes() >= iterations {
                    return Ok(Outcome { refreshes: state.refreshes(), end: None });
                }
            }
            Err(end) => {
                failures += 1;
                write_end(out, format, &end)?;
                out.flush()?;
                state.apply(started.elapsed(), Event::SourceEnd(end.clone()));
                let pause = |pause| {
                    std::thread::sleep(pause);
                    ControlFlow::Continue(())
                };
                match &end {
                    SourceEnd::Ended(_) if sampler.wait_for_successor(pause) => {
                        wants_reading = !state.apply(started.elapsed(), Event::Returned).is_empty();
                    }
                    SourceEnd::Failed(_) if failures < MAX_FAILURES && iterations > 1 => {}
                    _ => return Ok(Outcome { refreshes: state.refreshes(), end: Some(end) }),
                }
            }
        }
    }
}

fn write_text(out: &mut dyn Write, state: &State, theme: Theme) -> io::Result<()> {
    let room = usize::from(state.layout().body.width);
    let Some(lists) = Lists::new(state, theme, room) else { return Ok(()) };
    if state.refreshes() > 1 {
        writeln!(out)?;
    }
    for line in header_lines(state, theme, room) {
        write_line(out, &line, theme)?;
    }
    for found in state.view().map_or(&[][..], |view| view.observed.findings()) {
        write_line(out, &lists.alarm(found), theme)?;
    }
    if let (Some((filter, _)), Some(view)) = (&state.settings().selection.filter, state.view()) {
        let shown = count(u64::try_from(view.positions.len()).unwrap_or(u64::MAX));
        let all = counted(view.observed.counts().total, "goroutine", "goroutines");
        writeln!(out, "Filter     {}: {shown} of {all}", crate::report::clean::clean(filter))?;
    }
    writeln!(out)?;
    let nothing = state.view().map_or(&[][..], |view| &view.nothing);
    for text in nothing {
        writeln!(out, "{text}")?;
    }
    if !nothing.is_empty() {
        return Ok(());
    }
    let is_groups = state.rows().first().is_none_or(|row| matches!(row, Row::Group(_)));
    write_line(out, &if is_groups { lists.group_heads() } else { lists.goroutine_heads() }, theme)?;
    for row in state.rows().iter().take(TEXT_GROUPS) {
        write_line(out, &lists.row(*row), theme)?;
    }
    match state.rows().len().saturating_sub(TEXT_GROUPS) {
        0 => Ok(()),
        more => writeln!(out, "… and {} more", count(u64::try_from(more).unwrap_or(u64::MAX))),
    }
}

fn write_line(out: &mut dyn Write, line: &Line<'_>, theme: Theme) -> io::Result<()> {
    if !theme.colour {
        return writeln!(out, "{}", line.to_string().trim_end());
    }
    let last = line.spans.iter().rposition(|span| !span.content.trim().is_empty()).map_or(0, |last| last + 1);
    for span in line.spans.iter().take(last) {
        let style = ansi(span.style);
        write!(out, "{style}{}{style:#}", span.content)?;
    }
    writeln!(out)
}

fn ansi(style: ratatui::style::Style) -> anstyle::Style {
    let colour = match style.fg {
        Some(Color::Cyan) => Some(AnsiColor::Cyan),
        Some(Color::Green) => Some(AnsiColor::Green),
        Some(Color::Yellow) => Some(AnsiColor::Yellow),
        Some(Color::Red) => Some(AnsiColor::Red),
        Some(Color::Blue) => Some(AnsiColor::Blue),
        _ => None,
    };
    let mut effects = Effects::new();
    if style.add_modifier.contains(Modifier::BOLD) {
        effects |= Effects::BOLD;
    }
    if style.add_modifier.contains(Modifier::DIM) {
        effects |= Effects::DIMMED;
    }
    anstyle::Style::new().fg_color(colour.map(Into::into)).effects(effects)
}

fn write_restart(out: &mut dyn Write, format: Format, state: &State) -> io::Result<()> {
    let pid = state.view().map_or(0, |view| view.observed.snapshot().target.pid);
    let reason = format!("process {pid} is a new run of the program: all counts start again");
    match format {
        Format::Text { .. } => writeln!(out, "\n{reason}"),
        Format::Json => write_record(out, &Record::Restart(Reason { reason: &reason })),
    }
}

fn write_end(out: &mut dyn Write, format: Format, end: &SourceEnd) -> io::Result<()> {
    let reason = match end {
        SourceEnd::Ended(text) | SourceEnd::Failed(text) => text.as_str(),
        SourceEnd::Finished => "the recording ends here",
    };
    match (format, end) {
        (Format::Text { .. }, _) => writeln!(out, "\n{}", crate::report::clean::clean(reason)),
        (Format::Json, SourceEnd::Failed(_)) => write_record(out, &Record::Failure(Reason { reason })),
        (Format::Json, _) => write_record(out, &Record::End(Reason { reason })),
    }
}

/// A line of what `gospy top --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(title = "gospy top", bound = "Document<'a, L>: JsonSchema")]
enum Record<'a, L> {
    /// One refresh.
    Refresh(Box<Refresh<'a, Document<'a, L>>>),
    /// The program has ended; nothing follows, unless another one is waited for.
    End(Reason<'a>),
    /// A sample failed; another is tried.
    Failure(Reason<'a>),
    /// What follows is of another run of the program: nothing before it is compared with.
    Restart(Reason<'a>),
}

/// Why there is no refresh, or why it is not compared with the one before.
#[derive(Debug, Serialize, JsonSchema)]
struct Reason<'a> {
    /// A sentence for people.
    reason: &'a str,
}

/// The document of a snapshot without its list of goroutines, and the groups.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Refresh")]
struct Refresh<'a, D> {
    /// Its number, from 1.
    refresh: u64,
    /// Time from one refresh to the next, as it is now, ns.
    interval_ns: u64,
    #[serde(flatten)]
    document: D,
    /// What groups were made by: place, stack, start, creator, object, label=KEY.
    grouped_by: String,
    /// The filter; null where there is none.
    filter: Option<&'a str>,
    /// How many groups there are.
    group_count: usize,
    /// The first thousand groups, in the order that was asked for.
    groups: Vec<GroupRow<'a>>,
}

/// Goroutines that have in common what they are grouped by.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RefreshGroup")]
struct GroupRow<'a> {
    /// Function; null where it is not known, or groups are made by label.
    function: Option<&'a str>,
    /// Source file.
    file: Option<&'a str>,
    /// Line in it.
    line: Option<u32>,
    /// Whether it is only known where they started.
    started_in: bool,
    /// The label's value, where groups are made by label.
    label: Option<&'a str>,
    /// What those of them that wait wait on, or nine of ten at least; null where they have nothing in common.
    waiting_on: Option<WaitingOn<'a>>,
    /// How many wait on that; null where that is.
    waiting_on_count: Option<u64>,
    /// Where the one with the lowest id is in the user's code.
    place: Option<UserPlace<'a>>,
    /// How many.
    count: u64,
    /// Change since the refresh before.
    change: Option<i64>,
    /// Change since the first refresh.
    change_since_start: Option<i64>,
    /// Change a second, over the latest refreshes.
    rate_per_second: Option<f64>,
    /// Their states.
    states: Vec<StateRow<'a>>,
    /// The longest known wait, ns.
    wait_longest_ns: Option<u64>,
    /// Whether that is known from watching.
    wait_watched: bool,
    /// The lowest id.
    example_id: u64,
    /// Whether they are the runtime's own.
    system: bool,
    /// How many distinct keys their labels have.
    label_keys: u64,
    /// The program's own pprof labels by key, the most frequent keys first, at most 100.
    labels: Vec<LabelKey<'a>>,
}

/// How many of a group are in a state.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RefreshState")]
struct StateRow<'a> {
    /// The state. Open enumeration.
    state: &'a str,
    /// Why they wait.
    wait_reason: Option<&'a str>,
    /// How many.
    count: u64,
}

/// The JSON Schema of a line of what [`Format::Json`] writes.
#[must_use]
pub fn schema() -> schemars::Schema {
    json::schema_of::<Record<'static, [(); 0]>>()
}

fn write_record(out: &mut dyn Write, record: &Record<'_, [(); 0]>) -> io::Result<()> {
    json::to_writer(out, record)?;
    writeln!(out)
}

fn write_json(out: &mut dyn Write, state: &State) -> io::Result<()> {
    let Some(view) = state.view() else { return Ok(()) };
    let selection = &state.settings().selection;
    let index = view.observed.index();
    let request = Request { limit: Some(0), ..Request::default() };
    let answer = Answer::at(&index, view.positions.clone(), request).observed(&view.observed);
    let mut labels = labels(view, &index, &selection.grouping);
    let refresh = Refresh {
        refresh: state.refreshes(),
        interval_ns: u64::try_from(state.actual_interval().as_nanos()).unwrap_or(u64::MAX),
        document: json::document(&answer, [(); 0], JsonOptions::default()),
        grouped_by: grouping::name(&selection.grouping),
        filter: selection.filter.as_ref().map(|(text, _)| text.as_str()),
        group_count: view.groups.len(),
        groups: view
            .groups
            .iter()
            .take(JSON_GROUPS)
            .map(|group| row(state, &index, group, labels.remove(&group.key).unwrap_or_default()))
            .collect(),
    };
    write_record(out, &Record::Refresh(Box::new(refresh)))
}

/// The labels of the groups that are written.
fn labels(view: &View, index: &Index<'_>, by: &GroupBy) -> FxHashMap<Key, Labels> {
    let goroutines = &index.snapshot().goroutines;
    let mut tallies: FxHashMap<Key, LabelTally> =
        view.groups.iter().take(JSON_GROUPS).map(|group| (group.key, LabelTally::default())).collect();
    let mut keys = Keys::lasting(&index.snapshot().symbols, by);
    let labelled = view.positions.iter().filter_map(|&at| goroutines.get(at)).filter(|g| g.labels.is_some());
    for goroutine in labelled {
        if let Some(tally) = tallies.get_mut(&index.key(&mut keys, goroutine)) {
            tally.add(goroutine.labels);
        }
    }
    tallies.into_iter().map(|(key, tally)| (key, tally.finish(&index.snapshot().symbols))).collect()
}

fn row<'a>(state: &State, index: &Index<'a>, group: &Group, labels: Labels) -> GroupRow<'a> {
    let symbols: &'a SymbolPool = &index.snapshot().symbols;
    let text = |text: &'a str| Some(text).filter(|text| !text.is_empty());
    let example = index.snapshot().goroutines.get(group.example);
    let place = example.map_or(Place::Unknown, |example| index.place(example, PlaceKind::User));
    let line = match group.key.what {
        What::Lines(_) => place.frame().and_then(|frame| SourceLine::of(symbols, frame)),
        what => what.line(),
    };
    let (function, file, line) = line
        .map_or((None, None, 0), |line| (text(symbols.str(line.function)), text(symbols.str(line.file)), line.line));
    let memory = state.memory();
    let on = group.details.waits_on(index.snapshot(), &group.key);
    GroupRow {
        function,
        file,
        line: (line > 0).then_some(line),
        started_in: matches!(group.key.what, What::StartedIn(..)),
        label: if let What::Label(value) = group.key.what { Some(symbols.str(value)) } else { None },
        waiting_on: on.and_then(|on| shared_wait(index.snapshot(), on)),
        waiting_on_count: on.map(|on| on.count),
        place: UserPlace::of(symbols, place),
        count: group.count,
        change: memory.groups.change(group.key),
        change_since_start: memory.growth(group),
        rate_per_second: memory.groups.rate(group.key),
        states: group
            .details
            .states
            .iter()
            .map(|&(status, reason, count)| StateRow {
                state: status.name(),
                wait_reason: reason.map(|_| state_word(index, status, reason)),
                count,
            })
            .collect(),
        wait_longest_ns: group.details.longest.map(|(ns, _)| ns),
        wait_watched: group.details.longest.is_some_and(|(_, watched)| watched),
        example_id: group.lowest.0,
        system: group.details.system,
        label_keys: labels.distinct_keys,
        labels: documents(&labels, symbols),
    }
}
