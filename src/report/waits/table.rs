//! What `gospy waits` prints for people.

use std::io::{self, Write};

use super::words;
use crate::analysis::waits::{ById, Chain, ChainEnd, WaitRow, WaitTable, WaitedOn};
use crate::analysis::{Index, PlaceKind};
use crate::report::clean::clean;
use crate::report::place::PlaceWords;
use crate::report::text::{CellText, Column, Role, Shrink, TextStyle, facts, table};
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
        let columns: Vec<(Column, MakeCell)> = [
            (true, Column::right("waiting"), waiting as MakeCell),
            (true, Column::left("object"), object),
            (true, Column::shrinking("state", Shrink::Words), state),
            (true, Column::right("longest"), longest),
            (true, Column::shrinking("where", Shrink::Place), place),
            (has_holders, Column::shrinking("likely holder", Shrink::Words), holder),
        ]
        .into_iter()
        .filter_map(|(is_shown, column, cell)| is_shown.then_some((column, cell)))
        .collect();
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
    let snapshot = shown.index.snapshot();
    CellText::plain(match &row.on {
        WaitedOn::Object(_) => row.object(shown.index).map_or_else(String::new, |of| words::short_object(snapshot, of)),
        WaitedOn::Alike(ids) => words::alike(row.kind, u64::try_from(ids.len()).unwrap_or(u64::MAX)),
        WaitedOn::NilChannel => "nil channel".to_owned(),
        WaitedOn::EmptySelect => "select without cases".to_owned(),
        WaitedOn::Other => words::kind(row.kind).to_owned(),
    })
}

fn state(shown: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    match &row.on {
        WaitedOn::NilChannel | WaitedOn::EmptySelect => CellText::new(Role::Bad, "forever"),
        WaitedOn::Object(_) => CellText::plain(
            row.object(shown.index).map_or_else(String::new, |of| words::state(shown.index.snapshot(), of)),
        ),
        WaitedOn::Alike(_) => CellText::new(Role::Dim, "one goroutine each"),
        WaitedOn::Other => CellText::plain(""),
    }
}

fn longest(_: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    CellText::plain(row.longest_ns().map_or_else(String::new, age))
}

fn place(shown: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    let Some(first) = row.places.first() else { return CellText::plain("") };
    let goroutine = shown.index.snapshot().goroutines.get(first.example);
    let place = goroutine.map(|goroutine| shown.index.place(goroutine, PlaceKind::User));
    let words = place.and_then(|place| PlaceWords::of(&shown.index.snapshot().symbols, place));
    let cell = |words: PlaceWords| if shown.is_wide { words.cell() } else { words.function };
    let cell = words.map_or_else(|| "an unknown place".to_owned(), cell);
    CellText::plain(match row.places.len() {
        0 | 1 => cell,
        more => format!("{cell} +{}", count(u64::try_from(more - 1).unwrap_or(u64::MAX))),
    })
}

/// The goroutine, and what that waits for in turn.
fn holder(shown: &Shown<'_, '_, '_>, row: &WaitRow) -> CellText {
    let holders = row.holders(shown.index);
    let Some(first) = holders.first() else { return CellText::plain("") };
    let snapshot = shown.index.snapshot();
    let mut text = match holders.len() {
        1 => format!("{}", first.goroutine.0),
        more => format!("{} or {} more", first.goroutine.0, more - 1),
    };
    if let Some(position) = shown.by_id.position(first.goroutine).filter(|_| shown.is_wide) {
        let chain = Chain::from(shown.index, shown.by_id, position);
        let own = snapshot.goroutines.get(position).and_then(|goroutine| words::waits(snapshot, goroutine));
        let does = match (own, chain.end) {
            (Some(_), ChainEnd::Cycle(_)) => "waits in a cycle".to_owned(),
            (Some(does), _) => does,
            (None, _) => snapshot
                .goroutines
                .get(position)
                .map_or_else(String::new, |goroutine| format!("is {}", clean(shown.index.state_text(goroutine)))),
        };
        text.push_str(&format!(": {does}"));
    }
    CellText::plain(text)
}
