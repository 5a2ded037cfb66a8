//! Where goroutines spend their time, in the formats of the tools that show it.

pub mod cpu;
mod flame_graph;
mod page;
mod speedscope;
#[cfg(test)]
mod tests;
mod timeline;

pub use timeline::write as write_timeline;

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::clean::clean;
use super::frames::{Frames, why};
use super::profile;
use super::units::{count, duration};
use super::waits::brief;
use crate::analysis::Index;
use crate::analysis::recording::{Doing, Recording, RecordingStats, Spent};
use crate::model::{Goroutine, StackState, Status};

/// What comes first in a stack, above its own frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Root {
    /// Nothing.
    #[default]
    Stack,
    /// The state, with the wait reason.
    State,
    /// The value of one of the program's labels.
    Label(String),
    /// What is waited on: [`Root::part`].
    Object,
    /// The goroutine: [`Root::part`].
    Goroutine,
}

impl Root {
    /// The name of the label that says so in a profile.
    fn label(&self) -> Option<&'static str> {
        match self {
            Self::Stack | Self::State | Self::Label(_) => None,
            Self::Object => Some("object"),
            Self::Goroutine => Some("goroutine"),
        }
    }

    /// What goroutines have in common that are added up together, where more than their stacks counts.
    #[must_use]
    pub fn part(&self, index: &Index<'_>, goroutine: &Goroutine) -> Option<String> {
        match self {
            Self::Stack | Self::State | Self::Label(_) => None,
            Self::Object => Some(brief::common(index.snapshot(), index.on(goroutine), goroutine)),
            Self::Goroutine => Some(format!("goroutine {}", goroutine.id.0)),
        }
    }
}

/// What is shown of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingOptions {
    /// Also idle goroutines.
    pub idle: bool,
    /// Also frames that a normal traceback hides.
    pub system: bool,
    /// What comes first in each stack.
    pub root: Root,
    /// A name for the program.
    pub name: String,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One line a stack, root first, with its time in microseconds.
    Folded,
    /// For speedscope, with a profile for each state.
    Speedscope,
    /// For `go tool pprof`, with state and wait reason as labels.
    Pprof,
    /// A flame graph for a browser.
    Svg,
    /// A page for a browser with a flame graph for each state; needs nothing else.
    Html,
}

/// Writes a recording.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, recording: &Recording, options: &RecordingOptions, format: Format) -> io::Result<()> {
    match format {
        Format::Folded => {
            for (line, ns) in lines(recording, options, |_| true) {
                writeln!(out, "{line} {}", ns / 1_000)?;
            }
            Ok(())
        }
        Format::Speedscope => speedscope::write(out, recording, options),
        Format::Pprof => profile::wall::write(out, recording, options.idle, options.root.label()).map(drop),
        Format::Svg => {
            let lines = lines(recording, options, |_| true);
            flame_graph::write(out, &title(recording, options), &facts(recording, options), &lines)
        }
        Format::Html => page::write(out, recording, options),
    }
}

/// What goroutines in a state do, for a reader.
fn doing_text<'a>(recording: &'a Recording, doing: &Doing) -> &'a str {
    recording.reason(doing).unwrap_or(doing.status.name())
}

/// The states that a recording has, each with its time, longest first.
fn states(recording: &Recording, options: &RecordingOptions) -> Vec<(Status, Spent)> {
    let mut states: BTreeMap<Status, Spent> = BTreeMap::new();
    for (doing, spent) in recording.spent(options.idle) {
        let all = states.entry(doing.status).or_default();
        all.samples = all.samples.saturating_add(spent.samples);
        all.ns = all.ns.saturating_add(spent.ns);
    }
    let mut states: Vec<_> = states.into_iter().collect();
    states.sort_by_key(|&(status, spent)| (std::cmp::Reverse(spent.ns), status));
    states
}

/// Stacks as lines, root first, `;` between, each with its time, ns. The last frame says, in brackets, what is
/// done there: the wait reason, or the state.
fn lines(recording: &Recording, options: &RecordingOptions, shown: impl Fn(&Doing) -> bool) -> BTreeMap<String, u64> {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for (doing, spent) in recording.spent(options.idle).filter(|(doing, _)| shown(doing)) {
        let Some(frames) = frames(recording, options, doing) else { continue };
        let mut line = String::new();
        if let Some(root) = root(recording, options, doing) {
            line = format!("{root};");
        }
        line.push_str(&frames.line(doing.stack, doing.start));
        if let Some(leaf) = leaf(recording, doing) {
            line.push(';');
            line.push_str(&leaf);
        }
        let ns = lines.entry(line).or_default();
        *ns = ns.saturating_add(spent.ns);
    }
    lines
}

fn frames<'a>(recording: &'a Recording, options: &RecordingOptions, doing: &Doing) -> Option<Frames<'a>> {
    let go_version = recording.target().map_or("", |target| target.go_version.as_str());
    Some(Frames::new(recording.symbols(doing)?, go_version, options.system))
}

fn root(recording: &Recording, options: &RecordingOptions, doing: &Doing) -> Option<String> {
    let text = match &options.root {
        Root::Stack => return None,
        Root::State => doing_text(recording, doing).to_owned(),
        Root::Label(key) => {
            let symbols = recording.symbols(doing)?;
            let value = doing.labels.and_then(|labels| symbols.label(labels, key));
            value.map_or_else(|| format!("[no {key}]"), |value| symbols.str(value).to_owned())
        }
        Root::Object | Root::Goroutine => recording.part(doing).unwrap_or_default().to_owned(),
    };
    Some(clean(&text).replace(';', ":"))
}

/// What is done in the innermost frame; `None` where a missing stack says as much.
fn leaf(recording: &Recording, doing: &Doing) -> Option<String> {
    let text = format!("[{}]", clean(doing_text(recording, doing)).replace(';', ":"));
    let is_said = matches!(doing.stack, StackState::NotShown(_)) && why(doing.stack) == text;
    (!is_said).then_some(text)
}

fn title(recording: &Recording, options: &RecordingOptions) -> String {
    format!("{}: {} by all goroutines together", options.name, duration(total(recording, options).ns))
}

fn total(recording: &Recording, options: &RecordingOptions) -> Spent {
    recording.spent(options.idle).fold(Spent::default(), |mut all, (_, spent)| {
        all.samples = all.samples.saturating_add(spent.samples);
        all.ns = all.ns.saturating_add(spent.ns);
        all
    })
}

/// How many samples there were, and how many stacks are missing in them.
#[must_use]
pub fn pace(stats: &RecordingStats) -> String {
    let seconds = std::time::Duration::from_nanos(stats.duration_ns).as_secs_f64();
    let intervals = u32::try_from(stats.samples.saturating_sub(1)).map_or(0.0, f64::from);
    let mut text = format!("{} samples in {}", count(stats.samples), duration(stats.duration_ns));
    if seconds > 0.0 {
        text.push_str(&format!(", {:.1} a second", intervals / seconds));
    }
    if stats.torn > 0 {
        text.push_str(&format!(", {} of {} stacks changed while they were read", count(stats.torn), count(stats.seen)));
    }
    text
}

/// How the recording went, in one line.
#[must_use]
pub fn facts(recording: &Recording, options: &RecordingOptions) -> String {
    let mut text = pace(&recording.stats());
    let idle = recording.idle();
    if !options.idle && idle.samples > 0 {
        text.push_str(&format!(", {} of idle goroutines left out", duration(idle.ns)));
    }
    text
}
