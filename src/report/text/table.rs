//! Tables that fit.
//!
//! The widest cell of each column is found over all rows first, and comfy-table arranges the columns by these; then
//! rows go through it in blocks of the same widths, so that a million rows are never held at once.

use std::borrow::Cow;
use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, ContentLineStyle, Table, Width,
};

use super::shorten;
use super::theme::{Role, TextStyle};
use crate::report::place::{PLACE_BREAK, REMARK_BREAK};
use crate::report::waits::brief;

/// Columns to the left of a table.
const INDENT: usize = 2;
/// Columns between two columns.
const GAP: usize = 2;
/// Rows that are laid out at once.
const BLOCK: usize = 1_000;
/// No column is wider, whatever a hostile name says.
const WIDEST: usize = 4_000;

/// How a cell gives way when the terminal is too narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Shrink {
    /// Not at all.
    Never,
    /// As the name of a function.
    Function,
    /// As a path.
    Path,
    /// At the end.
    Words,
    /// Not at all, but over several lines.
    Wrap,
    /// A function, [`PLACE_BREAK`] and a file: beside each other where that fits, else below.
    Place,
    /// Several lines, each cut at its end.
    Lines,
    /// A state, and what is waited on ([`brief::cell`]): that is shown in room that nothing else wants, or below the
    /// state of a row that takes two lines anyway.
    Waits,
    /// As that, where the state may be cut, and other columns make room for what is waited on.
    WideWaits,
}

impl Shrink {
    fn apply(self, text: &str, room: usize) -> Cow<'_, str> {
        match self {
            Self::Never | Self::Wrap => Cow::Borrowed(text),
            Self::Function => call(text, room).unwrap_or_else(|| last_resort(text, room)),
            Self::Path => shorten::path(text, room),
            Self::Words => shorten::words(text, room),
            Self::Lines => {
                let lines = text.split(PLACE_BREAK).map(|line| shorten::words(line, room));
                Cow::Owned(lines.collect::<Vec<_>>().join(&PLACE_BREAK.to_string()))
            }
            Self::Place => {
                let (function, file) = text.split_once(PLACE_BREAK).unwrap_or((text, ""));
                if file.is_empty() {
                    return Self::Function.apply(function, room);
                }
                // Without its directories, a file is still known by its name.
                for file in [file, file.rsplit('/').next().unwrap_or(file)] {
                    if let Some(beside) =
                        room.checked_sub(shorten::width(file) + 1).and_then(|room| call(function, room))
                    {
                        return Cow::Owned(format!("{beside} {file}"));
                    }
                }
                let below = shorten::path(file, room.saturating_sub(INDENT));
                let function = Self::Function.apply(function, room);
                Cow::Owned(format!("{function}{PLACE_BREAK}{:INDENT$}{below}", ""))
            }
            Self::Waits | Self::WideWaits => {
                let (state, on) = state_and_waits(text);
                let between = between(state);
                match brief::whole(&on, room.saturating_sub(shorten::width(state) + shorten::width(between))) {
                    Some(on) => Cow::Owned(format!("{state}{between}{on}")),
                    None if self == Self::WideWaits => shorten::words(state, room),
                    None => Cow::Borrowed(state),
                }
            }
        }
    }

    /// What is waited on where it does not fit beside the state: below it in a row that `has_two_lines` anyway,
    /// otherwise cut.
    fn squeeze(self, text: &str, shown: &str, room: usize, has_two_lines: bool) -> Option<String> {
        let (state, on) = state_and_waits(text);
        if on.is_empty() || shown != state || !matches!(self, Self::Waits | Self::WideWaits) {
            return None;
        }
        if has_two_lines {
            let on = brief::fitted(&on, room.saturating_sub(INDENT))?;
            return Some(format!("{shown}{PLACE_BREAK}{:INDENT$}{on}", ""));
        }
        let between = between(state);
        let on = brief::fitted(&on, room.saturating_sub(shorten::width(state) + shorten::width(between)))?;
        Some(format!("{shown}{between}{on}"))
    }

    /// Columns that the whole text takes.
    fn natural(self, text: &str) -> usize {
        if matches!(self, Self::Waits | Self::WideWaits) {
            let (state, on) = state_and_waits(text);
            let parts = on.iter().map(|part| shorten::width(part));
            let on = parts.map(|width| width + shorten::width(", ")).sum::<usize>().saturating_sub(2);
            return shorten::width(state) + if on == 0 { 0 } else { on + shorten::width(between(state)) };
        }
        if self == Self::Lines {
            return text.split(PLACE_BREAK).map(shorten::width).max().unwrap_or(0);
        }
        // The break counts as the space that it may become.
        let remarks = text.matches(REMARK_BREAK).count() * shorten::width("\t");
        (shorten::width(text) - remarks) + usize::from(self == Self::Place && text.contains(PLACE_BREAK))
    }

    /// Columns that the text takes when it has given all that it can give.
    fn least(self, text: &str) -> usize {
        match self {
            Self::Never => self.natural(text),
            // Reasons are words that people know: most of them stay whole.
            Self::Words | Self::Wrap => self.natural(text).min(20),
            Self::Function | Self::Path => shorten::width(&self.apply(text, 0)),
            Self::Place => self.apply(text, 0).split(PLACE_BREAK).map(shorten::width).max().unwrap_or(0),
            Self::Waits => shorten::width(state_and_waits(text).0),
            Self::WideWaits => Self::Words.least(state_and_waits(text).0),
            Self::Lines => self.natural(text).min(LINES),
        }
    }

    /// Whether it has the room that no other column wants.
    fn takes_what_is_left(self) -> bool {
        matches!(self, Self::Waits | Self::WideWaits)
    }

    /// Columns that the text takes if nothing of it is left out that does not have to be shown.
    fn firm(self, text: &str) -> usize {
        match self {
            Self::Waits => self.least(text),
            _ => self.natural(text),
        }
    }
}

/// What stands between a state and what is waited on.
fn between(state: &str) -> &'static str {
    if state.is_empty() { "" } else { " · " }
}

/// Columns that a state and what is waited on should have where there is room for paths too.
const WAITS: usize = 40;
/// Columns that one of several lines has at least.
const LINES: usize = 16;

/// A state, and the parts of what is waited on.
fn state_and_waits(text: &str) -> (&str, Vec<&str>) {
    match text.split_once(brief::ON_BREAK) {
        Some((state, on)) => (state, on.split(brief::PART_BREAK).collect()),
        None => (text, Vec::new()),
    }
}

/// A function with as many of its remarks as fit into `room` columns, those of the shortened name too;
/// `None` where not even its name does.
fn call(text: &str, room: usize) -> Option<Cow<'_, str>> {
    let mut rest = text;
    loop {
        let (function, remarks) = rest.split_once(REMARK_BREAK).unwrap_or((rest, ""));
        let remarks = remarks.replace(REMARK_BREAK, "");
        let left = room.checked_sub(shorten::width(&remarks));
        let shortened = left.map(|left| (shorten::function(function, left), left));
        if let Some((short, _)) = shortened.filter(|(short, left)| shorten::width(short) <= *left) {
            return Some(if remarks.is_empty() { short } else { Cow::Owned(format!("{short}{remarks}")) });
        }
        (rest, _) = rest.rsplit_once(REMARK_BREAK)?;
    }
}

/// A function's name where not even that fits.
fn last_resort(text: &str, room: usize) -> Cow<'_, str> {
    shorten::function_at_any_cost(text.split(REMARK_BREAK).next().unwrap_or(text), room)
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct Column {
    pub(in crate::report) title: &'static str,
    pub(in crate::report) right: bool,
    pub(in crate::report) shrink: Shrink,
}

impl Column {
    pub(in crate::report) const fn left(title: &'static str) -> Self {
        Self { title, right: false, shrink: Shrink::Never }
    }

    pub(in crate::report) const fn right(title: &'static str) -> Self {
        Self { title, right: true, shrink: Shrink::Never }
    }

    pub(in crate::report) const fn shrinking(title: &'static str, shrink: Shrink) -> Self {
        Self { title, right: false, shrink }
    }
}

/// What is in a cell; already cleaned.
#[derive(Clone, Debug, Default)]
pub(in crate::report) struct CellText {
    pub(in crate::report) text: String,
    pub(in crate::report) role: Role,
}

impl CellText {
    pub(in crate::report) fn new(role: Role, text: impl Into<String>) -> Self {
        Self { text: text.into(), role }
    }

    pub(in crate::report) fn plain(text: impl Into<String>) -> Self {
        Self::new(Role::Plain, text)
    }
}

/// Writes `rows` rows under their heads; `row` makes one and is called twice for each.
pub(in crate::report) fn write(
    out: &mut dyn Write,
    style: TextStyle,
    columns: &[Column],
    rows: usize,
    row: &dyn Fn(usize) -> Vec<CellText>,
) -> io::Result<()> {
    let titles = || columns.iter().map(|column| shorten::width(column.title));
    let (mut natural, mut firm): (Vec<usize>, Vec<usize>) = (titles().collect(), titles().collect());
    for at in 0..rows {
        for (((natural, firm), cell), column) in natural.iter_mut().zip(&mut firm).zip(row(at)).zip(columns) {
            *natural = (*natural).max(column.shrink.natural(&cell.text)).min(WIDEST);
            *firm = (*firm).max(column.shrink.firm(&cell.text)).min(WIDEST);
        }
    }
    let total = |widths: &[usize]| INDENT + GAP * columns.len().saturating_sub(1) + widths.iter().sum::<usize>();
    let mut widths = natural.clone();
    let limit = style.width.filter(|limit| total(&widths) > *limit);
    if let Some(spare) = limit.and_then(|limit| limit.checked_sub(total(&firm))) {
        // Everything fits but for what is waited on, which has the rest.
        let mut spare = spare;
        for (width, firm) in widths.iter_mut().zip(&firm) {
            let given = (*width - firm).min(spare);
            (*width, spare) = (firm + given, spare - given);
        }
    } else if let Some(limit) = limit {
        widths = firm;
        let mut least: Vec<usize> = titles().collect();
        for at in 0..rows {
            for ((width, cell), column) in least.iter_mut().zip(row(at)).zip(columns) {
                *width = (*width).max(column.shrink.least(&cell.text)).min(WIDEST);
            }
        }
        // What is waited on comes before the directories of paths.
        for at in 0..columns.len() {
            let spare = limit.saturating_sub(total(&least));
            if let (Some(Shrink::WideWaits), Some(least), Some(natural)) =
                (columns.get(at).map(|column| column.shrink), least.get_mut(at), natural.get(at))
            {
                *least += spare.min((*natural).min(WAITS).saturating_sub(*least));
            }
        }
        widths = arranged(columns, &widths, &least, limit);
        if rows <= BLOCK && columns.iter().any(|column| column.shrink.takes_what_is_left()) {
            give_to_waits(columns, &mut widths, &natural, limit, rows, row);
        }
    }
    let mut first = 0;
    loop {
        let block = first..(first + BLOCK).min(rows);
        write_block(out, style, columns, &widths, first == 0, block.clone().map(row))?;
        first = block.end;
        if first >= rows {
            return Ok(());
        }
    }
}

/// Names give way in steps, so that a column may be wider than all that is in it: what is waited on has the rest.
fn give_to_waits(
    columns: &[Column],
    widths: &mut [usize],
    natural: &[usize],
    limit: usize,
    rows: usize,
    row: &dyn Fn(usize) -> Vec<CellText>,
) {
    let wants =
        |((column, width), natural): ((&Column, &usize), &usize)| column.shrink.takes_what_is_left() && natural > width;
    if !columns.iter().zip(&*widths).zip(natural).any(wants) {
        return;
    }
    let mut used: Vec<usize> = columns.iter().map(|column| shorten::width(column.title)).collect();
    for at in 0..rows {
        for (((used, cell), column), &width) in used.iter_mut().zip(row(at)).zip(columns).zip(&*widths) {
            let shown = column.shrink.apply(&cell.text, width);
            *used = (*used).max(shown.split(PLACE_BREAK).map(shorten::width).max().unwrap_or(0));
        }
    }
    for ((width, used), column) in widths.iter_mut().zip(used).zip(columns) {
        if column.shrink != Shrink::Never && !column.shrink.takes_what_is_left() {
            *width = (*width).min(used);
        }
    }
    let total = INDENT + GAP * columns.len().saturating_sub(1) + widths.iter().sum::<usize>();
    let mut spare = limit.saturating_sub(total);
    for ((width, natural), column) in widths.iter_mut().zip(natural).zip(columns) {
        if column.shrink.takes_what_is_left() {
            let given = natural.saturating_sub(*width).min(spare);
            (*width, spare) = (*width + given, spare - given);
        }
    }
}

/// The widths that comfy-table gives the columns within `limit`: columns that cannot shrink have what
/// they need, the others at least `least` where there is room for that, and share what functions leave.
///
/// A block knows its own rows only, so that a table of one row stands for all of them: its cells are as wide
/// as the widest of each column.
fn arranged(columns: &[Column], natural: &[usize], least: &[usize], limit: usize) -> Vec<usize> {
    /// Fills cells, and is counted.
    const FILLER: char = 'x';
    let shrinks = |column: &Column| !matches!(column.shrink, Shrink::Never | Shrink::Waits);
    let gaps = INDENT + GAP * columns.len().saturating_sub(1);
    let sum = |widths: &[usize], of: &dyn Fn(&Column) -> bool| -> usize {
        columns.iter().zip(widths).filter(|(column, _)| of(column)).map(|(_, width)| width).sum()
    };
    let room = limit.saturating_sub(gaps + sum(natural, &|column| !shrinks(column)));
    let shrinking = columns.iter().filter(|column| shrinks(column)).count().max(1);
    let spare = room.checked_sub(sum(least, &shrinks));
    let bound = |column: &Column, natural: usize, least: usize| match (spare, column.shrink) {
        // Names of functions say more than directories do.
        (Some(spare), Shrink::Function) => natural.min(least + spare),
        (Some(_), _) => least,
        (None, _) => least.min((room / shrinking).max(1)),
    };
    let mut table = Table::new();
    table.load_style(NOTHING.content_lines(ContentLineStyle::none().junction(JUNCTION)));
    table.force_no_tty();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(limit.saturating_sub(INDENT)).unwrap_or(u16::MAX));
    table.add_row(natural.iter().map(|&width| String::from(FILLER).repeat(width)));
    let last = columns.len().saturating_sub(1);
    let sizes = columns.iter().zip(natural.iter().zip(least));
    for (at, (column, (&natural, &least))) in sizes.enumerate() {
        let Some(laid_out) = table.column_mut(at) else { continue };
        // The junction takes one column of the gap.
        let padding = if at == last { 0 } else { GAP - 1 };
        laid_out.set_padding((0, u16::try_from(padding).unwrap_or(0)));
        let width = |width: usize| Width::Fixed(u16::try_from(width.max(1) + padding).unwrap_or(u16::MAX));
        laid_out.set_constraint(match shrinks(column) {
            true => ColumnConstraint::LowerBoundary(width(bound(column, natural, least))),
            false => ColumnConstraint::Absolute(width(natural)),
        });
    }
    let first = table.lines().next().unwrap_or_default();
    first.split(JUNCTION).map(|cell| cell.chars().filter(|&c| c == FILLER).count()).collect()
}

/// Stands between the columns of a table that is only measured.
const JUNCTION: char = '|';

fn write_block(
    out: &mut dyn Write,
    style: TextStyle,
    columns: &[Column],
    widths: &[usize],
    with_heads: bool,
    rows: impl Iterator<Item = Vec<CellText>>,
) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if style.colour {
        table.enforce_styling();
        table.style_text_only();
    } else {
        table.force_no_tty();
    }
    if with_heads {
        table.set_header(columns.iter().map(|column| styled(Cell::new(column.title), Role::Dim)));
    }
    for cells in rows {
        let cells = || cells.iter().zip(columns).zip(widths);
        let shown: Vec<Cow<'_, str>> =
            cells().map(|((cell, column), &width)| column.shrink.apply(&cell.text, width)).collect();
        let has_two_lines = shown.iter().any(|text| text.contains(PLACE_BREAK));
        let styled = cells().zip(&shown).map(|(((cell, column), &width), shown)| {
            let squeezed = column.shrink.squeeze(&cell.text, shown, width, has_two_lines);
            let text = squeezed.map_or_else(|| shown.clone(), Cow::Owned);
            let role = if text.is_empty() { Role::Plain } else { cell.role };
            styled(Cell::new(text), role)
        });
        table.add_row(styled.collect::<Vec<_>>());
    }
    let last = columns.len().saturating_sub(1);
    for (at, (column, &width)) in columns.iter().zip(widths).enumerate() {
        let Some(laid_out) = table.column_mut(at) else { continue };
        let padding = if at == last { 0 } else { GAP };
        laid_out.set_padding((0, u16::try_from(padding).unwrap_or(0)));
        let total = u16::try_from(width.max(1) + padding).unwrap_or(u16::MAX);
        laid_out.set_constraint(ColumnConstraint::Absolute(Width::Fixed(total)));
        laid_out.set_cell_alignment(if column.right { CellAlignment::Right } else { CellAlignment::Left });
    }
    for line in table.lines() {
        writeln!(out, "{:INDENT$}{}", "", line.trim_end())?;
    }
    Ok(())
}

fn styled(cell: Cell, role: Role) -> Cell {
    match role {
        Role::Plain => cell,
        Role::Heading => cell.fg(Color::DarkCyan).add_attribute(Attribute::Bold),
        Role::Strong => cell.add_attribute(Attribute::Bold),
        Role::Dim => cell.add_attribute(Attribute::Dim),
        Role::Good => cell.fg(Color::DarkGreen),
        Role::Attention => cell.fg(Color::DarkYellow),
        Role::Bad => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
    }
}
