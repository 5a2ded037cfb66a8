//! The help, on top of everything: the table of keys, and what the columns mean.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Widget};

use super::text::{line, width};
use super::{Theme, put};
use crate::top::keys::{BINDINGS, Binding, PROMPT_BINDINGS, names};
use crate::top::piece::{Piece, Tone, piece};

/// What the columns mean, by head.
const COLUMNS: &[(&str, &str)] = &[
    ("±LAST", "change since the refresh before"),
    ("±START", "change since gospy began to look"),
    ("±MARK", "change since the mark (d)"),
    ("RATE", "change a second, over the latest 60 refreshes"),
    ("TREND", "the latest refreshes, the newest to the right"),
    ("WAIT", "blocked for so long at least; of a group, the longest"),
    ("≥", "watched: gospy has found it so for so long, and it has not run in between"),
    ("WAITS ON", "what nearly all of a group wait on, or one goroutine; of them: not all"),
    ("HOLDER", "likely: the lock's address is on its stack, and it does not wait for it"),
    ("SCHEDS", "times that a P picked a goroutine"),
];

/// Draws it; `scroll` lines are left out at the top.
pub(super) fn draw(buffer: &mut Buffer, screen: Rect, scroll: u16, theme: Theme) {
    let screen = screen.intersection(buffer.area);
    let mut rows: Vec<[Piece; 2]> = Vec::new();
    let mut keys = |table: Vec<(String, &str)>| {
        rows.extend(table.into_iter().map(|(names, help)| [piece(Tone::Strong, names), piece(Tone::Plain, help)]));
    };
    keys(table(BINDINGS));
    rows.push([Piece::default(), Piece::default()]);
    rows.push([piece(Tone::Head, "typing"), piece(Tone::Head, "a filter")]);
    rows.extend(
        table(PROMPT_BINDINGS).into_iter().map(|(names, help)| [piece(Tone::Strong, names), piece(Tone::Plain, help)]),
    );
    rows.push([Piece::default(), Piece::default()]);
    rows.push([piece(Tone::Head, "columns"), Piece::default()]);
    rows.extend(COLUMNS.iter().map(|&(head, help)| [piece(Tone::Strong, head), piece(Tone::Plain, help)]));

    let names_width = rows.iter().map(|[name, _]| width(&name.text)).max().unwrap_or(0);
    let wanted = rows.iter().map(|[_, help]| names_width + 2 + width(&help.text)).max().unwrap_or(0) + 4;
    let box_width = u16::try_from(wanted).unwrap_or(u16::MAX).min(screen.width);
    let box_height = u16::try_from(rows.len() + 2).unwrap_or(u16::MAX).min(screen.height);
    let area = Rect {
        x: screen.x + (screen.width - box_width) / 2,
        y: screen.y + (screen.height - box_height) / 2,
        width: box_width,
        height: box_height,
    };
    Clear.render(area, buffer);
    let block = Block::bordered()
        .title(Line::styled(" Keys ", theme.style(Tone::Head)))
        .title_bottom(Line::styled(" any key closes · ↑ ↓ scroll ", theme.style(Tone::Dim)));
    let inner = block.inner(area);
    block.render(area, buffer);
    let room = usize::from(inner.width);
    let lines: Vec<Line<'static>> = rows
        .iter()
        .map(|[name, help]| {
            let gap = names_width + 1 - width(&name.text);
            let pieces = [piece(Tone::Plain, " "), name.clone(), piece(Tone::Plain, " ".repeat(gap)), help.clone()];
            line(&pieces, room, theme)
        })
        .collect();
    let most = lines.len().saturating_sub(usize::from(inner.height));
    let skip = usize::from(scroll).min(most);
    put(buffer, inner, lines.get(skip..).unwrap_or(&[]));
}

fn table<A>(bindings: &[Binding<A>]) -> Vec<(String, &'static str)> {
    bindings.iter().map(|binding| (names(binding), binding.help)).collect()
}
