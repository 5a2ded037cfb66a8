//! Pages: everything about one group or one goroutine.
//!
//! A page is lines of text, made anew at each refresh, and the members of a group below. The text is
//! not yet clean: names are the target's own.

use std::sync::Arc;

use super::State;
use super::fold::{self, Part, fold};
use super::page::{Line, Page};
use super::rows::Row;
use super::wait_pages::waits_lines;
use crate::analysis::age::why_unknown;
use crate::analysis::labels::LabelTally;
use crate::analysis::series::history::SAMPLES;
use crate::analysis::{AgeSource, Filter, GroupBy, Index, Place};
use crate::go_names::{minor_of, printed};
use crate::model::{
    Frame, FrameId, Goid, Goroutine, NotShown, Snapshot, Stack, StackId, StackState, Status, SymbolPool,
};
use crate::report::findings::sentence;
use crate::report::labels;
use crate::report::place::PlaceWords;
use crate::report::text::shorten::width;
use crate::report::units::{age, bytes, count, counted};
use crate::report::waits::{brief, words};
use crate::top::grouping::{Group, Key, What};
use crate::top::piece::{Piece, Tone, piece, tone_of, wrapped};
use crate::top::tab::Tab;
use crate::top::view::Total;
use crate::top::words::{rate, signed, sparkline, states};

/// Pages that can be open on top of each other.
const MAX_PAGES: usize = 32;
/// Frames of a stack that are shown.
const MAX_FRAMES: usize = 1_000;

pub(super) fn line(pieces: impl IntoIterator<Item = Piece>) -> Line {
    Line { pieces: pieces.into_iter().collect(), link: None }
}

/// A label in a column of its own, and what it is a label of.
pub(super) fn fact(label: &str, text: impl Into<String>) -> Line {
    line([piece(Tone::Dim, format!("{label:<9}")), piece(Tone::Plain, text)])
}

impl State {
    /// Opens what is selected.
    pub(super) fn open(&mut self) {
        let Some(row) = self.rows.get(self.cursor().at).copied() else { return };
        let Some(view) = &self.view else { return };
        let snapshot = view.observed.snapshot();
        let page = match row {
            Row::Group(at) => view.groups.get(at).map(|group| Page::Group { key: group.key, name: self.name(group) }),
            Row::Goroutine(at) => snapshot.goroutines.get(at).map(|goroutine| Page::Goroutine(goroutine.id)),
            Row::Processor(at) => snapshot.processors.get(at).and_then(|p| p.running).map(Page::Goroutine),
            Row::Thread(at) => snapshot.threads.get(at).and_then(|m| m.goroutine).map(Page::Goroutine),
            Row::Wait(at) => view.waited.as_ref().and_then(|waited| {
                let key = waited.key(at)?;
                Some(Page::Wait { key, name: words::row_object(snapshot, waited.row(at)?, usize::MAX) })
            }),
            Row::Finding(at) => view.observed.findings().get(at).map(|found| Page::Finding(found.finding.code())),
            Row::Line(at) => self.lines.get(at).and_then(|line| line.link).map(Page::Goroutine),
            Row::Leak(at) => {
                let found = self.leaks.found.as_ref();
                found.and_then(|(found, _)| found.groups.get(at)?.ids.first().copied().map(Page::Leak))
            }
            Row::Total(total) => return self.open_total(total),
            Row::Head(_) => None,
        };
        if let Some(page) = page
            && self.pages.len() < MAX_PAGES
        {
            self.lines.clear();
            self.pages.push((page, super::Cursor::default()));
            self.arrange();
        }
    }

    /// The goroutines in a state or with a reason: a filter.
    fn open_total(&mut self, total: Total) {
        let text = match total {
            Total::All => return,
            Total::State(status) => format!("state={}", status.name()),
            Total::Reason(reason) => {
                let text = self.view.as_ref().and_then(|p| p.observed.snapshot().wait_reason(reason));
                text.map_or_else(String::new, |text| format!("reason=\"{text}\""))
            }
        };
        if let Ok(filter) = Filter::parse(&text) {
            self.settings.selection.filter = Some((text, filter));
            self.tab = Tab::Goroutines;
            self.select_again();
        }
    }

    /// Name of a group as the target has it.
    #[must_use]
    pub fn name(&self, group: &Group) -> String {
        let Some(index) = self.index() else { return String::new() };
        group_name(&index, &self.settings.selection.grouping, group)
    }

    /// Makes the lines of the page that is open. What is gone keeps its last ones.
    pub(super) fn make_lines(&mut self) {
        let Some(page) = self.page().cloned() else {
            self.lines.clear();
            return;
        };
        let (made, gone) = match &page {
            Page::Group { key, name } => (self.group_lines(*key), format!("no goroutine is at {name} now")),
            Page::Goroutine(id) => (self.goroutine_lines(*id), format!("goroutine {} is not there any more", id.0)),
            Page::Wait { key, name } => (self.wait_lines(*key), format!("no goroutine waits on {name} now")),
            Page::Leak(lowest) => (self.leak_lines(*lowest), "these goroutines are not leaked any more".to_owned()),
            Page::Finding(code) => (self.finding_lines(code), format!("{code}: of no goroutine any more")),
        };
        let note = line([piece(Tone::Attention, gone)]);
        match made {
            Some(lines) => self.lines = lines,
            None if self.lines.first() == Some(&note) => {}
            None => self.lines.insert(0, note),
        }
    }

    fn group_lines(&self, key: Key) -> Option<Vec<Line>> {
        let view = self.view.as_ref()?;
        let group = view.groups.iter().find(|group| group.key == key)?;
        let index = self.index()?;
        let snapshot = index.snapshot();
        let columns = usize::from(self.size.0).saturating_sub(2);
        let name = group_name(&index, &self.settings.selection.grouping, group);
        let mut lines = match name.split_once("  ") {
            // The place on a line of its own rather than cut.
            Some((function, place)) if width(&name) > columns => {
                vec![line([piece(Tone::Strong, function)]), line([piece(Tone::Dim, format!("  {place}"))])]
            }
            _ => vec![line([piece(Tone::Strong, name)])],
        };
        lines.push(fact(
            "Now",
            format!("{}: {}", counted(group.count, "goroutine", "goroutines"), states(&index, group)),
        ));
        lines.push(line(self.change_pieces(group)));
        if let Some(shared) = group.details.waits_on(snapshot, &group.key) {
            let parts = brief::shared(snapshot, shared);
            let text = brief::fitted(&parts, columns.saturating_sub(9));
            lines.extend(text.map(|text| fact("Wait on", text)));
        }
        if let Some((ns, watched)) = group.details.longest {
            let how = if watched { "watched by gospy" } else { "from GC timestamps" };
            lines.push(fact("Blocked", format!("≥ {} the longest, {how}", age(ns))));
        }
        let samples: Vec<u64> = self.memory.groups.recent(key, SAMPLES.min(columns.saturating_sub(9))).collect();
        if samples.len() > 1 {
            let (least, most) =
                (samples.iter().min().copied().unwrap_or(0), samples.iter().max().copied().unwrap_or(0));
            lines.push(line([
                piece(Tone::Dim, format!("{:<9}", "Trend")),
                piece(Tone::Drawing, sparkline(&samples, samples.len())),
            ]));
            let span = format!("{:<9}{} samples, {} to {}", "", samples.len(), count(least), count(most));
            lines.push(line([piece(Tone::Dim, span)]));
        }
        let members = self.members(key);
        let mut labels = LabelTally::default();
        for goroutine in members.iter().filter_map(|&at| snapshot.goroutines.get(at)) {
            labels.add(goroutine.labels);
        }
        let labels = labels::lines(&labels.finish(&snapshot.symbols), &snapshot.symbols, group.count);
        lines.extend(labels.into_iter().zip(0..).map(|(text, nth)| fact(if nth == 0 { "Labels" } else { "" }, text)));
        if let Some((stack, holder, same)) = commonest_stack(snapshot, &members) {
            lines.push(stack_title(holder, same, members.len(), " (b: group by stack)"));
            lines.extend(stack_lines(snapshot, stack, holder, columns, !self.unfolded));
        }
        Some(lines)
    }

    fn finding_lines(&self, code: &str) -> Option<Vec<Line>> {
        let index = self.index()?;
        let findings = self.view.as_ref()?.observed.findings();
        let found = findings.iter().find(|found| found.finding.code() == code)?;
        let columns = usize::from(self.size.0).saturating_sub(2);
        let mut lines = vec![line([piece(Tone::Strong, code)])];
        for (tone, text) in [(Tone::Bad, sentence(found, &index)), (Tone::Plain, found.finding.meaning().to_owned())] {
            lines.extend(wrapped(&text, columns).into_iter().map(|text| line([piece(tone, text)])));
        }
        if let Some((stack, holder, same)) = commonest_stack(index.snapshot(), &found.positions) {
            lines.push(stack_title(holder, same, found.positions.len(), ""));
            lines.extend(stack_lines(index.snapshot(), stack, holder, columns, !self.unfolded));
        }
        Some(lines)
    }

    fn change_pieces(&self, group: &Group) -> Vec<Piece> {
        let mut pieces = vec![piece(Tone::Dim, format!("{:<9}", "Change"))];
        if let Some(per_second) = self.memory.groups.rate(group.key) {
            pieces.push(piece(Tone::Plain, rate(per_second)));
        }
        let mut add = |change: Option<i64>, what: String| {
            let Some(change) = change else { return };
            if pieces.len() > 1 {
                pieces.push(piece(Tone::Dim, " · "));
            }
            pieces.push(piece(tone_of(change), signed(change)));
            pieces.push(piece(Tone::Plain, format!(" {what}")));
        };
        let now = self.view.as_ref().map_or(0, |view| view.observed.snapshot().monotonic_ns);
        let ago = |at: Option<u64>| at.map_or_else(String::new, |at| format!(" ({})", age(now.saturating_sub(at))));
        let memory = &self.memory;
        add(memory.since_mark(group), format!("since mark{}", ago(memory.mark.as_ref().map(|mark| mark.at_ns))));
        add(memory.growth(group), format!("since start{}", ago(memory.start.as_ref().map(|start| start.at_ns))));
        add(memory.groups.change(group.key), "since last".to_owned());
        pieces
    }

    fn goroutine_lines(&self, id: Goid) -> Option<Vec<Line>> {
        let index = self.index()?;
        let snapshot = index.snapshot();
        let at = snapshot.goroutines.iter().position(|goroutine| goroutine.id == id && !goroutine.status.is_dead())?;
        let goroutine = snapshot.goroutines.get(at)?;
        let columns = usize::from(self.size.0).saturating_sub(2);
        let symbols = &snapshot.symbols;
        let mut lines = vec![line([
            piece(Tone::Strong, format!("goroutine {}", id.0)),
            piece(Tone::Plain, format!("  {}", index.state_text(goroutine))),
        ])];
        if goroutine.status == Status::Waiting {
            let why = index.reason(goroutine).unwrap_or("for a reason that the runtime does not name");
            lines.push(fact("Waits", why));
        }
        lines.extend(waits_lines(&index, goroutine, columns.saturating_sub(9)));
        match index.age(goroutine) {
            Some(known) => {
                let how = match known.source {
                    AgeSource::Watched => "found so at each refresh, and it has not run in between",
                    AgeSource::Gc => "from GC timestamps",
                };
                lines.push(fact("Blocked", format!("≥ {}, {how}", age(known.at_least_ns))));
            }
            None if goroutine.status.is_blocked() => {
                let why = why_unknown(snapshot);
                lines.extend(why.map(|why| fact("Blocked", format!("for how long is unknown: {why}"))));
            }
            None => {}
        }
        if let Some(read_ns) = snapshot.stack_since_ns(goroutine) {
            let ago = snapshot.monotonic_ns.saturating_sub(read_ns.get());
            lines.push(fact("Stack", format!("read {} ago; nothing shows that it has run since", age(ago))));
        }
        if let Some(thread) = index.thread(goroutine) {
            let tid = thread.tid.map_or_else(String::new, |tid| format!(", thread {tid}"));
            let p = thread.p.map_or_else(String::new, |p| format!(", P {p}"));
            lines.push(fact("On", format!("M {}{tid}{p}", thread.id)));
        }
        if let (Some(used), Some(reserved)) = (goroutine.stack_used(), goroutine.stack_reserved()) {
            lines.push(fact("Memory", format!("{} of {} of stack", bytes(used), bytes(reserved))));
        }
        let flags = [
            (goroutine.system, "the runtime's own".to_owned()),
            (goroutine.locked, "locked to its thread".to_owned()),
            (goroutine.scan, "held by the collector".to_owned()),
            (
                goroutine.bubble.is_some(),
                format!("in synctest bubble {}", goroutine.bubble.map_or(0, std::num::NonZeroU64::get)),
            ),
        ];
        let flags: Vec<String> = flags.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
        if !flags.is_empty() {
            lines.push(fact("Is", flags.join(", ")));
        }
        let labels = goroutine.labels.map_or(&[][..], |id| symbols.labels(id));
        for (at, label) in labels.iter().enumerate() {
            let head = if at == 0 { "Labels" } else { "" };
            lines.push(fact(head, format!("{} = {}", symbols.str(label.key), symbols.str(label.value))));
        }
        if let Some(start) = goroutine.start {
            lines.push(fact("Started", symbols.function(start)));
        }
        if let Some(parent) = goroutine.parent {
            let mut created = fact("Creator", format!("goroutine {}", parent.0));
            if snapshot.goroutines.iter().any(|other| other.id == parent) {
                created.link = Some(parent);
                created.pieces.push(piece(Tone::Dim, "  (Enter opens it)"));
            } else {
                created.pieces.push(piece(Tone::Dim, ", which has ended"));
            }
            lines.push(created);
        }
        lines.push(line([piece(Tone::Head, "Stack")]));
        match goroutine.stack {
            StackState::Known(stack) => lines.extend(stack_lines(snapshot, stack, goroutine, columns, false)),
            StackState::NotShown(why) => {
                lines.push(line([piece(Tone::Dim, not_shown(why))]));
                lines.extend(creator_lines(snapshot, goroutine, columns));
            }
        }
        let ancestors = goroutine.ancestors.map_or(&[][..], |id| symbols.ancestors(id));
        for ancestor in ancestors {
            lines.push(line([piece(Tone::Head, format!("Created by goroutine {}, then at", ancestor.id.0))]));
            let frames = ancestor.frames.iter().take(MAX_FRAMES);
            let frames: Vec<[String; 2]> = frames.map(|&frame| frame_text(snapshot, frame)).collect();
            lines.extend(frames_lines(&frames, columns));
        }
        Some(lines)
    }
}

/// Function and place, or value of the label.
pub(super) fn group_name(index: &Index<'_>, by: &GroupBy, group: &Group) -> String {
    let symbols: &Arc<SymbolPool> = &index.snapshot().symbols;
    match group.key.what {
        What::Label(value) => symbols.str(value).to_owned(),
        What::NoLabel => "no such label".to_owned(),
        What::On(on) => {
            let example = index.snapshot().goroutines.get(group.example);
            let parts = example.map(|example| brief::on(index.snapshot(), on, example, group.count, usize::MAX));
            parts.and_then(|parts| parts.into_iter().next()).unwrap_or_default()
        }
        What::Nowhere | What::State => "an unknown place".to_owned(),
        What::At(_) | What::StartedIn(_) | What::Lines(_) | What::Stack(_) => {
            let goroutine = index.snapshot().goroutines.get(group.example);
            let place = goroutine.map_or(Place::Unknown, |goroutine| index.place(goroutine, by.place()));
            let Some(words) = PlaceWords::of(symbols, place) else { return "an unknown place".to_owned() };
            let started = if words.started_in { "started in " } else { "" };
            let is_stack = matches!(group.key.what, What::Lines(_) | What::Stack(_));
            let source =
                if is_stack || words.source.is_empty() { String::new() } else { format!("  {}", words.source) };
            format!("{started}{}{source}", words.line())
        }
    }
}

/// The stack that most of the members have, one of those, and how many have it.
pub(super) fn commonest_stack<'a>(
    snapshot: &'a Snapshot,
    members: &[usize],
) -> Option<(StackId, &'a Goroutine, usize)> {
    let mut counts: rustc_hash::FxHashMap<StackId, (usize, usize)> = rustc_hash::FxHashMap::default();
    for &at in members {
        if let Some(StackState::Known(id)) = snapshot.goroutines.get(at).map(|goroutine| goroutine.stack) {
            counts.entry(id).or_insert((0, at)).0 += 1;
        }
    }
    let (id, (same, at)) = counts.into_iter().max_by_key(|&(id, (same, _))| (same, std::cmp::Reverse(id)))?;
    Some((id, snapshot.goroutines.get(at)?, same))
}

/// The line above a stack that `same` of `all` have.
pub(super) fn stack_title(holder: &Goroutine, same: usize, all: usize, hint: &str) -> Line {
    let mut title = format!("Stack of goroutine {}", holder.id.0);
    if same < all {
        let have = if same == 1 { "has" } else { "have" };
        title.push_str(&format!(", which {same} of {all} {have}{hint}"));
    }
    line([piece(Tone::Head, title)])
}

fn not_shown(why: NotShown) -> &'static str {
    match why {
        NotShown::Running => "  it is running, and its stack changes as it is read; --freeze shows it",
        NotShown::Moving => "  it changed on every try",
        NotShown::Unreadable => "  it could not be read",
        NotShown::NoStack => "  it has none",
        NotShown::NotAsked => "  it was not read",
    }
}

/// Function and place of a frame.
fn frame_text(snapshot: &Snapshot, frame: FrameId) -> [String; 2] {
    snapshot.symbols.frame(frame).map_or_else(Default::default, |frame| text_of(snapshot, frame))
}

fn text_of(snapshot: &Snapshot, frame: &Frame) -> [String; 2] {
    let symbols = &snapshot.symbols;
    let minor = minor_of(&snapshot.target.go_version).unwrap_or(u32::MAX);
    let place = match symbols.str(frame.file) {
        "" => String::new(),
        file => format!("{file}:{}", frame.line),
    };
    [printed(symbols.str(frame.function), minor).into_owned(), place]
}

/// A stack as a traceback shows it: the runtime's own frames only where there are no others. `folded`
/// puts frames of libraries together.
pub(super) fn stack_lines(
    snapshot: &Snapshot,
    stack: StackId,
    goroutine: &Goroutine,
    columns: usize,
    folded: bool,
) -> Vec<Line> {
    let Some(Stack { frames }) = snapshot.symbols.stack(stack) else { return Vec::new() };
    let all_hidden = frames.iter().all(|frame| frame.hidden);
    let shown: Vec<FrameId> =
        frames.iter().filter(|frame| all_hidden || !frame.hidden).take(MAX_FRAMES).map(|frame| frame.frame).collect();
    let left_out = frames.len().saturating_sub(shown.len());
    let mut lines = Vec::new();
    if left_out > 0 {
        let text = counted(u64::try_from(left_out).unwrap_or(u64::MAX), "frame", "frames");
        lines.push(line([piece(Tone::Dim, format!("  {text} of the runtime"))]));
    }
    let symbols = &snapshot.symbols;
    let known: Vec<&Frame> = shown.iter().filter_map(|&frame| symbols.frame(frame)).collect();
    let parts = if folded { fold(snapshot, &known) } else { known.iter().map(|frame| Part::Frame(frame)).collect() };
    // Frames between folded ones have their places in one column all the same.
    let texts: Vec<[String; 2]> = parts
        .iter()
        .map(|part| match part {
            Part::Frame(frame) => text_of(snapshot, frame),
            Part::Library(_) => Default::default(),
        })
        .collect();
    for (part, made) in parts.iter().zip(frames_lines_each(&texts, columns)) {
        match part {
            Part::Frame(_) => lines.extend(made),
            Part::Library(frames) => {
                let text = format!("  … {} (f unfolds)", fold::text(symbols, frames));
                lines.push(line([piece(Tone::Dim, text)]));
            }
        }
    }
    lines.extend(creator_lines(snapshot, goroutine, columns));
    lines
}

fn creator_lines(snapshot: &Snapshot, goroutine: &Goroutine, columns: usize) -> Vec<Line> {
    let Some(creator) = goroutine.creator else { return Vec::new() };
    let [function, place] = frame_text(snapshot, creator);
    frames_lines(&[[format!("created by {function}"), place]], columns)
}

/// Each frame on one line with the places in a column, or on two where that is too wide.
fn frames_lines(frames: &[[String; 2]], columns: usize) -> Vec<Line> {
    frames_lines_each(frames, columns).into_iter().flatten().collect()
}

/// The same, the lines of each frame by themselves.
fn frames_lines_each(frames: &[[String; 2]], columns: usize) -> Vec<Vec<Line>> {
    let widest =
        |part: usize| frames.iter().filter_map(|frame| frame.get(part)).map(|text| width(text)).max().unwrap_or(0);
    let (functions, places) = (widest(0), widest(1));
    let one_line = 2 + functions + 2 + places <= columns;
    let lines = |[function, place]: &[String; 2]| {
        if one_line {
            let room = functions - width(function) + 2;
            let function = piece(Tone::Plain, format!("  {function}{:room$}", ""));
            return vec![line([function, piece(Tone::Dim, place.clone())])];
        }
        let place = line([piece(Tone::Dim, format!("      {place}"))]);
        vec![line([piece(Tone::Plain, format!("  {function}"))]), place]
    };
    frames.iter().map(lines).collect()
}
