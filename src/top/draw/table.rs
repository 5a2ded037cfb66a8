//! Columns: which ones there is room for, and rows in them.

use ratatui::text::{Line, Span};

use super::Theme;
use super::text::cell;
use crate::top::piece::{Piece, Tone, piece};

/// A column of fixed width. Widths do not depend on what is in the column, so that nothing jumps
/// from one refresh to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<C> {
    /// What it shows.
    pub(super) kind: C,
    /// Its head.
    pub(super) title: &'static str,
    /// In columns of the terminal.
    pub(super) width: usize,
    /// Whether its text is to the right.
    pub(super) right: bool,
    /// The higher, the sooner it is left out; 0 stays.
    pub(super) rank: u8,
}

/// The columns for which there is room, and the room for the last one, which takes what is left.
#[derive(Debug)]
pub(super) struct Fitted<C> {
    pub(super) columns: Vec<Column<C>>,
    pub(super) rest: usize,
}

/// Leaves out columns until the last one has at least `least` (or, where that cannot be, as much as
/// there is).
pub(super) fn fit<C: Copy>(mut columns: Vec<Column<C>>, room: usize, least: usize) -> Fitted<C> {
    let used = |columns: &[Column<C>]| -> usize { columns.iter().map(|column| column.width + 1).sum() };
    while used(&columns) + least > room {
        let dropped = columns.iter().enumerate().filter(|(_, c)| c.rank > 0).max_by_key(|(_, c)| c.rank);
        let Some((at, _)) = dropped else { break };
        columns.remove(at);
    }
    let rest = room.saturating_sub(used(&columns));
    Fitted { columns, rest }
}

impl<C: Copy + PartialEq> Fitted<C> {
    /// Whether there is room for a column.
    pub(super) fn has(&self, kind: C) -> bool {
        self.columns.iter().any(|column| column.kind == kind)
    }

    /// The heads; the one that is sorted by has an arrow.
    pub(super) fn heads(
        &self,
        last: &str,
        sorted: Option<(C, bool)>,
        last_kind: Option<C>,
        theme: Theme,
    ) -> Line<'static> {
        let head = |title: &str, kind: Option<C>| match sorted {
            Some((by, reverse)) if Some(by) == kind => {
                vec![piece(Tone::Head, format!("{title}{}", if reverse { '▲' } else { '▼' }))]
            }
            _ => vec![piece(Tone::Dim, title)],
        };
        let mut spans = Vec::new();
        for column in &self.columns {
            spans.extend(cell(&head(column.title, Some(column.kind)), column.width, column.right, theme));
            spans.push(Span::raw(" "));
        }
        spans.extend(cell(&head(last, last_kind), self.rest, false, theme));
        Line::from(spans)
    }

    /// A row.
    pub(super) fn row(
        &self,
        mut text: impl FnMut(C, usize) -> Vec<Piece>,
        last: impl FnOnce(usize) -> Vec<Piece>,
        theme: Theme,
    ) -> Line<'static> {
        let mut spans = Vec::new();
        for column in &self.columns {
            spans.extend(cell(&text(column.kind, column.width), column.width, column.right, theme));
            spans.push(Span::raw(" "));
        }
        spans.extend(cell(&last(self.rest), self.rest, false, theme));
        Line::from(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, fit};
    use crate::top::draw::Theme;
    use crate::top::piece::{Tone, piece};

    #[test]
    fn columns_give_way_to_the_last_one() {
        let column = |kind, rank| Column { kind, title: "T", width: 7, right: true, rank };
        let columns = vec![column('a', 0), column('b', 2), column('c', 1), column('d', 0)];
        let kinds = |room| fit(columns.clone(), room, 20).columns.iter().map(|c| c.kind).collect::<String>();
        assert_eq!(kinds(80), "abcd");
        assert_eq!(kinds(44), "acd");
        assert_eq!(kinds(43), "ad");
        assert_eq!(kinds(5), "ad");
        let fitted = fit(columns, 80, 20);
        let theme = Theme { colour: false };
        let line = fitted.row(
            |kind, _| vec![piece(Tone::Plain, kind)],
            |room| vec![piece(Tone::Plain, room.to_string())],
            theme,
        );
        assert_eq!(line.to_string(), format!("{:>7} {:>7} {:>7} {:>7} {:<48}", 'a', 'b', 'c', 'd', 48));
        assert!(fitted.heads("PLACE", Some(('c', true)), None, theme).to_string().contains("T▲"));
    }
}
