//! What `gospy waits` prints for people.

use std::io::{self, Write};

use super::words;
use crate::analysis::waits::{ById, WaitRow, WaitTable};
use crate::analysis::{Index, PlaceKind};
use crate::report::place::{PLACE_BREAK, PlaceWords};
use crate::report::text::{CellText, Column, Role, Shrink, TextStyle, facts, shorten, table};
use crate::report::units::{age, count, counted};

/// What cells are made from, beside their rows.
struct Shown<'t, 'i, 'a> {
    index: &'i Index<'a>,
    by_id: &'t ById,
    is_wide: bool,
}

/// From this width on there is room for files, and for what holders do.
const WIDE: usize = 110;

/// What makes the cells of a column.
type MakeCell = fn(&Shown<'_, '_, '_>, &WaitRow) -> CellText;

/// Writes the table, at most `limit` rows of it, and what waits on no object.
///
/// # Errors
/// Those of `out`.
pub fn write(
    out: &mut dyn Write,
    style: TextStyle,
    index: &Index<'_>,
    waits: &WaitTable,
    limit: usize,
) -> io::Result<()> {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let shown = waits.rows.get(..limit).unwrap_or(&waits.rows);
    let by_id = ById::of(index.snapshot());
    let snapshot = index.snapshot();
    writeln!(out, "{}", words::title(snapshot, waits))?;
    if shown.is_empty() {
        let known = if waits.unknown.is_empty() { "" } else { " that is known" };
        writeln!(out, "\nno goroutine waits on a channel, a lock or a descriptor{known}")?;
    } else {
        writeln!(out)?;
        let is_wide = style.width.is_none_or(|width| width >= WIDE);
        let table = Shown { index, by_id: &by_id, is_wide };
        let has_holders = shown.iter().any(|row| !row.holders(index).is_empty());
        let has_ages = shown.iter().any(|row| row.longest_ns().is_some());
        let columns: Vec<(bool, Column, MakeCell)> = if is_wide {
            vec![
                (true, Column::right("waiting"), waiting),
                (true, Column::left("object"), object),
                (true, Column::shrinking("state", Shrink::Words), state),
                (has_ages, Column::right("longest"), longest),
                (true, Column::shrinking("where", Shrink::Place), place),
                (has_holders, Column::shrinking("likely holder", Shrink::Words), holder),
            ]
        } else {
            // Two lines for each row, rather than columns of a few letters.
            vec![
                (true, Column::right("waiting"), waiting),
                (true, Column::shrinking("object, where", Shrink::Lines), object_and_place),
                (true, Column::shrinking("state, likely holder", Shrink::Lines), state_and_holder),
                (has_ages, Column::right("longest"), longest),
            ]
        };
        let columns: Vec<(Column, MakeCell)> =
            columns.into_iter().filter_map(|(is_shown, column, cell)| is_shown.then_some((column, cell))).collect();
        let (columns, cells): (Vec<Column>, Vec<_>) = columns.into_iter().unzip();
        table::write(out, style, &columns, shown.len(), &|at| {
            let Some(row) = shown.get(at) else { return Vec::new() };
            cells.iter().map(|cell| cell(&table, row)).collect()
        })?;
    }
    let left_out = waits.rows.len().saturating_sub(shown.len());
    if left_out > 0 {
        let more = counted(number(left_out), "more row", "more rows");
        writeln!(out, "{}", style.paint(Role::Dim, &format!("  … {more}: --limit 0 shows all")))?;
    }
    if !waits.others.is_empty() || !waits.unknown.is_empty() {
        writeln!(out)?;
    }
    for (label, rows) in [("no object", &waits.others), ("unknown", &waits.unknown)] {
        let kind = |row: &WaitRow| format!("{} {}", words::kind(row.kind), count(number(row.goroutines.len())));
        let kinds: Vec<String> = rows.iter().map(kind).collect();
        facts::facts(out, style, label, &kinds)?;
    }
    Ok(())
}

fn waiting(_: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    CellText::new(Role::Strong, count(u64::try_from(row.goroutines.len()).unwrap_or(u64::MAX)))
}

fn object(shown: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    CellText::plain(words::row_object(shown.index.snapshot(), row, words::SHORT))
}

fn state(shown: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    let text = words::row_state(shown.index.snapshot(), row);
    CellText::new(words::row_role(row), text)
}

fn longest(_: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    CellText::plain(row.longest_ns().map_or_else(String::new, age))
}

fn place(shown: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    let Some(first) = row.places.first() else { return CellText::plain("") };
    let goroutine = shown.index.snapshot().goroutines.get(first.example);
    let place = goroutine.map(|goroutine| shown.index.place(goroutine, PlaceKind::User));
    let words = place.and_then(|place| PlaceWords::of(&shown.index.snapshot().symbols, place));
    // In little room, a function is known by its own name.
    let short = |words: PlaceWords| shorten::function(&words.function, 0).into_owned();
    let cell = |words: PlaceWords| if shown.is_wide { words.cell() } else { short(words) };
    let cell = words.map_or_else(|| "an unknown place".to_owned(), cell);
    CellText::plain(match row.places.len() {
        0 | 1 => cell,
        more => format!("{cell} +{}", count(u64::try_from(more - 1).unwrap_or(u64::MAX))),
    })
}

/// The object, and below it where goroutines wait.
fn object_and_place(shown: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    below(object(shown, row), &place(shown, row).text)
}

/// The state of the object, and below it who probably holds it.
fn state_and_holder(shown: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    let holder = words::row_holder(shown.index, shown.by_id, row, true);
    below(state(shown, row), &holder.map_or_else(String::new, |holder| format!("likely {holder}")))
}

fn below(first: CellText, second: &str) -> CellText {
    if second.is_empty() {
        return first;
    }
    CellText::new(first.role, format!("{}{PLACE_BREAK}  {second}", first.text))
}

fn holder(shown: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    CellText::plain(words::row_holder(shown.index, shown.by_id, row, shown.is_wide).unwrap_or_default())
}
