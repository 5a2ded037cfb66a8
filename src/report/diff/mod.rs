//! Goroutines of two snapshots compared: as text, Markdown and JSON.

mod markdown;
#[cfg(test)]
mod tests;
#[cfg(feature = "cli")]
mod text;

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

pub use markdown::markdown;
#[cfg(feature = "cli")]
pub use text::text;

use super::json::{SCHEMA_VERSION, schema_of, to_writer};
use super::members::{Example, Side, Waits, Words};
use super::text::TextStyle;
use super::units::{count, duration};
use crate::analysis::GroupBy;
use crate::analysis::census::Census;
use crate::analysis::diff::{Change, ChangeKind, Diff};
use crate::analysis::group::{What, Word};
use crate::model::SymbolPool;

/// A difference and what it is of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The first.
    pub a: &'a Census,
    /// The second.
    pub b: &'a Census,
    /// The difference.
    pub diff: &'a Diff,
    /// The names in all three.
    pub pool: &'a SymbolPool,
}

/// How much to print.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Width and colour.
    pub style: TextStyle,
    /// Most groups in a section.
    pub limit: usize,
    /// Whether stacks show the runtime's own frames.
    pub system: bool,
}

impl<'a> Subject<'a> {
    fn words(&self, system: bool) -> Words<'a> {
        Words::new(self.pool, &self.b.program.go_version, system)
    }

    /// The groups with this fate, the largest change first.
    fn of_fate(&self, fate: ChangeKind) -> impl Iterator<Item = &'a Change> {
        self.diff.changes.iter().filter(move |change| change.fate == fate)
    }

    /// What must be known to judge the rest, as sentences.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let (a, b, relation) = (self.a, self.b, self.diff.relation);
        let mut notes = Vec::new();
        if relation.same_program == Some(false) {
            let name = |census: &Census| census.program.module.clone().unwrap_or_else(|| census.program.exe.clone());
            notes.push(format!("these are different programs: {} and {}", name(a), name(b)));
        } else if relation.same_build == Some(false) {
            notes.push("these are different builds of the program: lines may have moved, and stacks with them".into());
        }
        match relation.same_process {
            Some(true) => {}
            Some(false) => notes.push("these are different processes: only groups are compared, not goroutines".into()),
            None if self.diff.stayed.is_some() => {
                notes.push("whether it is one process is not known; that is taken from its pid".into());
            }
            None => notes.push("the process is not known: only groups are compared, not goroutines".into()),
        }
        if relation.elapsed_ns < 0 {
            notes.push("the second was taken before the first".into());
        }
        for census in [a, b] {
            if let Some(died) = &census.died {
                let blamed = died.goroutine.map_or_else(String::new, |id| format!(" (goroutine {id})"));
                notes.push(format!("in {} the program has died: {}{blamed}", census.name, died.headline));
            }
            if census.is_partial() {
                let listed = u64::try_from(census.members.len()).unwrap_or(u64::MAX);
                notes.push(format!("{} lists {} of {} goroutines", census.name, count(listed), count(census.total)));
            }
            if !census.complete {
                notes.push(format!("{} is incomplete: some of it could not be read", census.name));
            }
        }
        notes
    }

    /// What the members of a group share, beside their stack.
    fn key_text(&self, change: &Change, words: &Words<'_>) -> Option<String> {
        let clean = |text: &str| super::clean::clean(text).into_owned();
        let text = |word: Option<Word>| match word {
            Some(Word::Text(text)) => Some(clean(self.pool.str(text))),
            _ => None,
        };
        let key = change.key;
        match (&self.diff.by, key.what) {
            (GroupBy::Label(label), What::Label(value)) => Some(clean(&format!("{label}={}", self.pool.str(value)))),
            (GroupBy::Label(label), _) => Some(clean(&format!("without {label}"))),
            (GroupBy::State, _) => text(key.state),
            (GroupBy::Reason, _) => Some(text(key.reason).unwrap_or_else(|| "no wait reason".to_owned())),
            (GroupBy::Start | GroupBy::Creator, _) => {
                Some(words.function(change.example.place(self.diff.by.place()).frame()))
            }
            (GroupBy::Stack | GroupBy::SimilarStack | GroupBy::Place(_) | GroupBy::Object, _) => None,
        }
    }
}

/// `+5`, `-1,234`.
pub(super) fn signed(delta: i128) -> String {
    let sign = if delta < 0 { "-" } else { "+" };
    format!("{sign}{}", count(u64::try_from(delta.unsigned_abs()).unwrap_or(u64::MAX)))
}

/// How far apart: `30.0 s later`.
fn elapsed(ns: i128) -> String {
    let text = duration(u64::try_from(ns.unsigned_abs()).unwrap_or(u64::MAX));
    if ns < 0 { format!("{text} earlier") } else { format!("{text} later") }
}

/// The difference between two snapshots.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy diff")]
struct Document<'a> {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of the gospy that wrote this.
    gospy_version: &'static str,
    /// What groups were made by: stack, similar, place, start, creator, state, reason, label=KEY.
    by: String,
    /// The first snapshot.
    a: Side<'a>,
    /// The second snapshot.
    b: Side<'a>,
    /// How the two are related.
    relation: RelationDocument,
    /// Goroutines that were compared in the first.
    before: u64,
    /// Goroutines that were compared in the second.
    after: u64,
    /// Every group, those that did not change included; by what happened, the largest change first.
    changes: Vec<ChangeDocument<'a>>,
    /// Goroutines that are in both with the same wait; null where they cannot be followed.
    stayed: Option<Vec<StayedDocument<'a>>>,
    /// What must be known to judge the rest.
    notes: Vec<String>,
}

/// How two snapshots are related; null if that is not known.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Relation")]
struct RelationDocument {
    /// The same run of the same program.
    same_process: Option<bool>,
    /// The same build.
    same_build: Option<bool>,
    /// The same program, perhaps in different builds.
    same_program: Option<bool>,
    /// From the first to the second, ns; negative when the second is older.
    elapsed_ns: i64,
}

/// A group in both snapshots.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Change")]
struct ChangeDocument<'a> {
    /// new, grown, gone, shrunk, unchanged. Open enumeration.
    change: &'static str,
    /// Members in the first.
    before: u64,
    /// Members in the second.
    after: u64,
    /// after less before.
    delta: i64,
    /// What the members share where that is not a stack or place: a function, state, reason, label.
    key: Option<String>,
    /// The first ids in the second, or in the first when it is gone.
    ids: Vec<u64>,
    /// Known waits, likewise.
    waits: Option<Waits>,
    /// One of them.
    example: Example<'a>,
}

/// Goroutines in both snapshots with the same wait.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Stayed")]
struct StayedDocument<'a> {
    /// How many.
    count: u64,
    /// The first ids.
    ids: Vec<u64>,
    /// For how long at least: what the runtime says, or the time between the two where it is known
    /// that they have not run.
    waits: Option<Waits>,
    /// One of them.
    example: Example<'a>,
}

fn narrow(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Writes the difference as one JSON object on one line.
///
/// # Errors
/// Those of `out`.
pub fn json(out: &mut dyn Write, subject: &Subject<'_>) -> io::Result<()> {
    let Subject { a, b, diff, .. } = *subject;
    let words = subject.words(true);
    let change = |change: &Change| ChangeDocument {
        change: change.fate.name(),
        before: change.before,
        after: change.after,
        delta: narrow(change.delta()),
        key: subject.key_text(change, &words),
        ids: change.ids.clone(),
        waits: change.wait.map(Waits::from),
        example: words.example(&change.example),
    };
    let stayed = diff.stayed.as_ref().map(|stayed| {
        let one = |group: &crate::analysis::census::Group| StayedDocument {
            count: group.count,
            ids: group.ids.iter().map(|id| id.0).collect(),
            waits: group.wait.map(Waits::from),
            example: words.example(&group.example),
        };
        stayed.iter().map(|stayed| one(&stayed.group)).collect()
    });
    let document = Document {
        schema_version: SCHEMA_VERSION,
        gospy_version: env!("CARGO_PKG_VERSION"),
        by: diff.by.name(),
        a: Side::of(a),
        b: Side::of(b),
        relation: RelationDocument {
            same_process: diff.relation.same_process,
            same_build: diff.relation.same_build,
            same_program: diff.relation.same_program,
            elapsed_ns: narrow(diff.relation.elapsed_ns),
        },
        before: diff.before,
        after: diff.after,
        changes: diff.changes.iter().map(change).collect(),
        stayed,
        notes: subject.notes(),
    };
    to_writer(out, &document)?;
    writeln!(out)
}

/// The JSON Schema of what [`json`] writes.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'static>>()
}
