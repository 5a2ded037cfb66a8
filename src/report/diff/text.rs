//! The difference for people.

use std::io::{self, Write};

use super::{Options, Subject, elapsed, signed};
use crate::analysis::diff::{Change, ChangeKind};
use crate::report::clean::clean;
use crate::report::members::{Side, Words, write_stack};
use crate::report::stack_groups::waits;
use crate::report::text::{CellText, Column, Role, Shrink, facts, table};
use crate::report::units::{count, counted};

/// Writes the difference: what it is of, then groups by what happened, each with one full stack.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, subject: &Subject<'_>, options: &Options) -> io::Result<()> {
    let Subject { a, b, diff, .. } = *subject;
    let style = options.style;
    let delta = i128::from(diff.after) - i128::from(diff.before);
    let head = format!("{} → {} goroutines ({})", count(diff.before), count(diff.after), signed(delta));
    writeln!(out, "{}, {}", style.paint(Role::Strong, &head), elapsed(diff.relation.elapsed_ns))?;
    facts::facts(out, style, "before", &[Side::of(a).words()])?;
    facts::facts(out, style, "after", &[Side::of(b).words()])?;
    for note in subject.notes() {
        facts::paragraph(out, style, Role::Attention, &clean(&note))?;
    }
    let words = subject.words(options.system);
    for fate in [ChangeKind::New, ChangeKind::Grown, ChangeKind::Gone, ChangeKind::Shrunk] {
        section(out, subject, options, &words, fate)?;
    }
    let unchanged: Vec<&Change> = subject.of_fate(ChangeKind::Unchanged).collect();
    if !unchanged.is_empty() {
        let goroutines = unchanged.iter().map(|change| change.after).sum();
        let beside =
            format!("{}, {}", number_of_groups(unchanged.len()), counted(goroutines, "goroutine", "goroutines"));
        facts::heading(out, style, "Unchanged", &beside)?;
    }
    stayed(out, subject, options, &words)
}

fn number_of_groups(how_many: usize) -> String {
    counted(u64::try_from(how_many).unwrap_or(u64::MAX), "group", "groups")
}

fn section(
    out: &mut dyn Write,
    subject: &Subject<'_>,
    options: &Options,
    words: &Words<'_>,
    fate: ChangeKind,
) -> io::Result<()> {
    let (style, changes) = (options.style, subject.of_fate(fate).collect::<Vec<_>>());
    if changes.is_empty() {
        return Ok(());
    }
    let (name, role) = match fate {
        ChangeKind::New => ("New", Role::Attention),
        ChangeKind::Grown => ("Grown", Role::Attention),
        ChangeKind::Gone => ("Gone", Role::Good),
        ChangeKind::Shrunk => ("Shrunk", Role::Good),
        ChangeKind::Unchanged => ("Unchanged", Role::Plain),
    };
    let delta = changes.iter().map(|change| change.delta()).sum();
    facts::heading(out, style, name, &format!("{}, {}", number_of_groups(changes.len()), signed(delta)))?;
    for change in changes.iter().take(options.limit) {
        let waited = waits(change.wait, change.before.max(change.after));
        let what = match (subject.key_text(change, words), waited) {
            (Some(key), Some(waited)) => format!("{key}, {waited}"),
            (Some(key), None) => key,
            (None, _) => words.bracket(&change.example, change.wait, change.before.max(change.after)),
        };
        let delta = style.paint(role, &signed(change.delta()));
        writeln!(
            out,
            "  {delta}  {} → {}  {}",
            count(change.before),
            count(change.after),
            style.paint(Role::Strong, &what)
        )?;
        write_stack(out, style, "    ", &words.stack(&change.example))?;
    }
    left_out(out, changes.len(), options.limit)
}

fn left_out(out: &mut dyn Write, there_are: usize, limit: usize) -> io::Result<()> {
    match there_are.saturating_sub(limit) {
        0 => Ok(()),
        more => writeln!(out, "  and {} more; --limit 0 shows all", number_of_groups(more)),
    }
}

fn stayed(out: &mut dyn Write, subject: &Subject<'_>, options: &Options, words: &Words<'_>) -> io::Result<()> {
    let Some(stayed) = subject.diff.stayed.as_ref().filter(|stayed| !stayed.is_empty()) else { return Ok(()) };
    let goroutines = stayed.iter().map(|one| one.group.count).sum();
    let goroutines = counted(goroutines, "goroutine", "goroutines");
    let beside = format!("{goroutines}, in the same wait in both as far as is known");
    facts::heading(out, options.style, "Still there", &beside)?;
    let columns = [
        Column::right("COUNT"),
        Column::left("WAITED"),
        Column::shrinking("REASON", Shrink::Words),
        Column::shrinking("PLACE", Shrink::Place),
    ];
    let row = |at: usize| -> Vec<CellText> {
        let Some(one) = stayed.get(at) else { return Vec::new() };
        let group = &one.group;
        let waited = waits(group.wait, group.count).unwrap_or_else(|| "?".to_owned());
        vec![
            CellText::new(Role::Strong, count(group.count)),
            CellText::plain(waited),
            CellText::plain(words.state(&group.example)),
            CellText::plain(words.place_cell(&group.example)),
        ]
    };
    table::write(out, options.style, &columns, stayed.len().min(options.limit), &row)?;
    left_out(out, stayed.len(), options.limit)
}
