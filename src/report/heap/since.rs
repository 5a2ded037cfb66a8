//! `gospy heap --since FILE`: what has become of a heap between two moments.
//!
//! It shows differences, and says that they are no rates: what a heap has between two collections comes and goes.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::growth::sentence;
use super::{PLACES, ROOTS, Rows, SIZE_CLASSES, TYPES, more};
use crate::analysis::series::growth::difference;
use crate::analysis::series::heap_since::{Changes, HeapChange, HeapMoment, PartChange, PartKind};
use crate::model::SymbolPool;
use crate::report::clean::clean;
use crate::report::heap_part::{PartDocument, text};
use crate::report::json::{SCHEMA_VERSION, schema_of, time, to_writer};
use crate::report::members::Side;
use crate::report::text::facts::{facts, heading, paragraph};
use crate::report::text::table::write as write_table;
use crate::report::text::{CellText, Column, Role, Shrink, TextStyle};
use crate::report::units::{bytes, count, counted, duration};

/// What was compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// The first moment.
    pub(crate) before: &'a HeapMoment,
    /// The second.
    pub(crate) after: &'a HeapMoment,
    /// What has become of it.
    pub(crate) change: &'a HeapChange,
    /// The names in all three.
    pub(crate) pool: &'a SymbolPool,
}

/// `+2.00 MiB`.
fn signed(delta: i64) -> String {
    let size = bytes(delta.unsigned_abs());
    if delta < 0 { format!("-{size}") } else { format!("+{size}") }
}

impl Subject<'_> {
    /// What must be known to judge the rest.
    fn notes(&self) -> Vec<String> {
        let (before, after, relation) = (self.before, self.after, &self.change.relation);
        let mut notes = Vec::new();
        match relation.same_process {
            Some(true) => {}
            Some(false) => {
                notes.push("these are different runs: a difference between them is none that came with time".to_owned())
            }
            None => notes.push("whether both are one run of the program is not known".to_owned()),
        }
        if relation.elapsed_ns < 0 {
            notes.push(format!("{} was taken after {}", before.of.name, after.of.name));
        }
        if self.change.cycles == Some(0) {
            notes.push(
                "no GC cycle ended in between: allocation sites, and what sweeps have left, are of the same cycle"
                    .to_owned(),
            );
        }
        for moment in [before, after] {
            if moment.walked.is_some_and(|walked| !walked.exact) {
                let name = &moment.of.name;
                notes.push(format!("types and roots in {name} are an estimate: the program ran during the walk"));
            }
        }
        notes
    }

    /// Totals before and after; `None` for those that one of the two does not have.
    fn figures(&self) -> [(&'static str, Option<(u64, u64)>); 3] {
        let (before, after) = (self.before, self.after);
        let live = |of: &HeapMoment| of.walked.map(|walked| walked.live.bytes);
        [
            ("in use", before.in_use.zip(after.in_use)),
            ("marked", before.marked.zip(after.marked)),
            ("live", live(before).zip(live(after))),
        ]
    }
}

/// Writes it for people, with at most `limit` rows of a table.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut dyn Write, style: TextStyle, subject: &Subject<'_>, limit: usize) -> io::Result<()> {
    let Subject { before, after, change, .. } = subject;
    heading(out, style, "Heap since", "")?;
    facts(out, style, "from", &[Side::of(&before.of).words()])?;
    facts(out, style, "to", &[Side::of(&after.of).words()])?;
    let mut passed = Vec::new();
    if let Ok(elapsed) = u64::try_from(change.relation.elapsed_ns) {
        passed.push(duration(elapsed));
    }
    passed.extend(change.cycles.map(|cycles| counted(u64::from(cycles), "GC cycle", "GC cycles")));
    passed.extend(change.allocated.map(|allocated| format!("{} allocated", bytes(allocated))));
    if !passed.is_empty() {
        facts(out, style, "between", &passed)?;
    }
    for (name, figures) in subject.figures() {
        if let Some((first, last)) = figures {
            let text = format!("{} → {} ({})", bytes(first), bytes(last), signed(difference(last, first)));
            facts(out, style, name, &[text])?;
        }
    }
    for note in subject.notes() {
        paragraph(out, style, Role::Attention, &clean(&sentence(&note)))?;
    }
    let walked = [before, after].iter().any(|of| of.walked.is_some());
    for changes in &change.changes {
        // Without a walk on either side there is nothing to say of types and roots.
        if walked || !matches!(changes.kind, PartKind::Types | PartKind::Roots) {
            table(out, style, subject, changes, limit)?;
        }
    }
    writeln!(out)?;
    paragraph(
        out,
        style,
        Role::Dim,
        "Two readings show a difference, not a trend. gospy heap --watch separates growth from noise.",
    )
}

/// Title, last column, and what the rows are.
fn title(changes: &Changes) -> (&'static str, Column, Rows) {
    match changes.kind {
        PartKind::Sites => ("Allocation sites that grew", Column::shrinking("PLACE", Shrink::Place), PLACES),
        PartKind::SizeClasses => ("Size classes that grew", Column::right("OBJECTS OF"), SIZE_CLASSES),
        PartKind::Types => ("Types that grew", Column::shrinking("TYPE", Shrink::Function), TYPES),
        PartKind::Roots => ("Roots that grew", Column::shrinking("BY", Shrink::Place), ROOTS),
    }
}

fn table(
    out: &mut dyn Write,
    style: TextStyle,
    subject: &Subject<'_>,
    changes: &Changes,
    limit: usize,
) -> io::Result<()> {
    let (title, last, rows) = title(changes);
    let parts = match &changes.parts {
        Ok(parts) => parts,
        Err((side, why)) => {
            let name = if *side == 0 { &subject.before.of.name } else { &subject.after.of.name };
            heading(out, style, title, "not compared")?;
            return paragraph(out, style, Role::Attention, &clean(&format!("{name}: {why}")));
        }
    };
    let grew: Vec<&PartChange> = parts.iter().filter(|change| change.bytes() > 0).collect();
    let garbage = if changes.with_garbage { "garbage that is not swept yet included" } else { "" };
    heading(out, style, title, if grew.is_empty() { "none" } else { garbage })?;
    let columns = [Column::right("BYTES"), Column::right("FROM"), Column::right("TO"), Column::right("OBJECTS"), last];
    let shown = grew.len().min(limit);
    if shown > 0 {
        write_table(out, style, &columns, shown, &|at| {
            let Some(change) = grew.get(at) else { return Vec::new() };
            let objects = difference(change.after.objects, change.before.objects);
            let sign = if objects < 0 { "-" } else { "+" };
            vec![
                CellText::new(Role::Strong, signed(change.bytes())),
                CellText::plain(bytes(change.before.bytes)),
                CellText::plain(bytes(change.after.bytes)),
                CellText::plain(format!("{sign}{}", count(objects.unsigned_abs()))),
                CellText::plain(text(&change.part, subject.pool)),
            ]
        })?;
        more(out, grew.len() - shown, rows)?;
    }
    let shrank: Vec<i64> = parts.iter().map(PartChange::bytes).filter(|delta| *delta < 0).collect();
    match shrank.iter().fold(0_u64, |sum, delta| sum.saturating_add(delta.unsigned_abs())) {
        0 => Ok(()),
        sum => writeln!(out, "  {} shrank, by {} together", count(shrank.len() as u64), bytes(sum)),
    }
}

/// What `gospy heap --since --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy heap --since")]
struct Document<'a> {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of gospy.
    gospy_version: &'static str,
    /// The first moment.
    before: MomentDocument<'a>,
    /// The second.
    after: MomentDocument<'a>,
    /// Whether both are of one run of the program; null where that is not known.
    same_run: Option<bool>,
    /// From the first to the second, ns; negative where the second is the earlier one.
    elapsed_ns: i64,
    /// Cycles of the collector in between; null where that is not known.
    cycles: Option<u32>,
    /// Bytes allocated in between; null where that is not known.
    allocated_bytes: Option<u64>,
    /// What must be known to judge the rest.
    notes: Vec<String>,
    /// What has changed, by kind of part.
    changes: Vec<ChangesDocument<'a>>,
}

/// A heap at one moment. Sizes are in bytes, and null where they are not known.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Moment")]
struct MomentDocument<'a> {
    /// The file, or the process in words.
    name: &'a str,
    /// Process id; null where it is not known.
    pid: Option<i32>,
    /// Path of the executable.
    exe: &'a str,
    /// The toolchain.
    go_version: &'a str,
    /// When it was read; RFC 3339, UTC.
    captured_at: String,
    /// Bytes of live and not yet swept objects.
    in_use_bytes: Option<u64>,
    /// Bytes that the latest cycle of the collector has marked.
    marked_bytes: Option<u64>,
    /// Bytes of live objects as a walk has found them; null without one.
    live_bytes: Option<u64>,
    /// Whether nothing moved during the walk; null without one.
    exact: Option<bool>,
}

impl<'a> MomentDocument<'a> {
    fn of(moment: &'a HeapMoment) -> Self {
        let (of, walked) = (&moment.of, moment.walked);
        Self {
            name: &of.name,
            pid: of.program.pid,
            exe: &of.program.exe,
            go_version: &of.program.go_version,
            captured_at: time(of.captured_at_unix_ns),
            in_use_bytes: moment.in_use,
            marked_bytes: moment.marked,
            live_bytes: walked.map(|walked| walked.live.bytes),
            exact: walked.map(|walked| walked.exact),
        }
    }
}

/// How the parts of one kind have changed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Changes")]
struct ChangesDocument<'a> {
    /// sites, size_classes, types, kept_by. Open enumeration.
    kind: &'static str,
    /// Those that have changed: those that grew most first, those that shrank most last. Null where there is nothing
    /// to compare.
    parts: Option<Vec<ChangeDocument<'a>>>,
    /// Why there is nothing to compare; null where there is.
    missing: Option<&'a str>,
    /// Which of the two has nothing to compare: before, after; null where both have.
    missing_from: Option<&'static str>,
    /// Of size classes: whether objects that are dead and not swept yet are counted too.
    with_garbage: bool,
}

/// How a part has changed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Change")]
struct ChangeDocument<'a> {
    /// Which.
    #[serde(flatten)]
    part: PartDocument<'a>,
    /// By how many bytes it grew; negative where it shrank.
    grew_bytes: i64,
    /// Its bytes before.
    before_bytes: u64,
    /// Its bytes after.
    after_bytes: u64,
    /// Its objects before.
    before_objects: u64,
    /// Its objects after.
    after_objects: u64,
}

/// Writes it as one JSON object on one line, with at most `limit` parts of a kind.
///
/// # Errors
/// Those of `out`.
pub(crate) fn json(out: &mut dyn Write, subject: &Subject<'_>, limit: usize) -> io::Result<()> {
    let Subject { before, after, change, pool } = subject;
    let part = |change: &PartChange| ChangeDocument {
        part: PartDocument::of(&change.part, pool),
        grew_bytes: change.bytes(),
        before_bytes: change.before.bytes,
        after_bytes: change.after.bytes,
        before_objects: change.before.objects,
        after_objects: change.after.objects,
    };
    let changes = change.changes.iter().map(|changes| {
        let missing = changes.parts.as_ref().err();
        ChangesDocument {
            kind: match changes.kind {
                PartKind::Sites => "sites",
                PartKind::SizeClasses => "size_classes",
                PartKind::Types => "types",
                PartKind::Roots => "kept_by",
            },
            parts: changes.parts.as_ref().ok().map(|parts| parts.iter().take(limit).map(part).collect()),
            missing: missing.map(|(_, why)| why.as_str()),
            missing_from: missing.map(|(side, _)| if *side == 0 { "before" } else { "after" }),
            with_garbage: changes.with_garbage,
        }
    });
    let document = Document {
        schema_version: SCHEMA_VERSION,
        gospy_version: env!("CARGO_PKG_VERSION"),
        before: MomentDocument::of(before),
        after: MomentDocument::of(after),
        same_run: change.relation.same_process,
        elapsed_ns: i64::try_from(change.relation.elapsed_ns).unwrap_or(i64::MAX),
        cycles: change.cycles,
        allocated_bytes: change.allocated,
        notes: subject.notes(),
        changes: changes.collect(),
    };
    to_writer(out, &document)?;
    writeln!(out)
}

/// The JSON Schema of what `--since --json` prints.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'static>>()
}
