//! The screen: a pure function of the state.

mod footer;
mod header;
mod help;
mod lists;
mod table;
mod text;
mod theme;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Widget;

pub(crate) use header::lines as header_lines;
pub(crate) use lists::Lists;
pub use theme::Theme;

use super::grouping::{self, What};
use super::piece::{Piece, Tone, piece};
use super::state::{Page, State};
use super::tab::Tab;
use crate::report::text::shorten;
use crate::report::units::count;
use text::{part, parts, pieces_width};

/// Columns for the name of what is open.
const TRAIL: usize = 40;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State, theme: Theme) {
    let layout = state.layout();
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let header = header::lines(state, theme, usize::from(layout.header.width));
    put(buffer, layout.header, &header);
    put(
        buffer,
        layout.tabs,
        &[text::line(&tabs(state, usize::from(layout.tabs.width)), usize::from(layout.tabs.width), theme)],
    );
    body(buffer, state, theme);
    let cursor = footer::draw(buffer, layout.footer, state, theme);
    if let Some(scroll) = state.help() {
        help::draw(buffer, area, scroll, theme);
    } else if let Some((x, y)) = cursor
        && x < area.width
        && y < area.height
    {
        frame.set_cursor_position((x, y));
    }
}

/// Lines into a part of the screen, as far as there is room.
fn put(buffer: &mut Buffer, area: Rect, lines: &[Line<'_>]) {
    let area = area.intersection(buffer.area);
    for (line, y) in lines.iter().zip(area.y..area.y.saturating_add(area.height)) {
        line.render(Rect { y, height: 1, ..area }, buffer);
    }
}

fn body(buffer: &mut Buffer, state: &State, theme: Theme) {
    let layout = state.layout();
    let room = usize::from(layout.body.width);
    let Some(lists) = Lists::new(state, theme, room) else { return };
    match (state.page(), state.tab()) {
        (None, Tab::Groups) => put(buffer, layout.heads, &[lists.group_heads()]),
        (None, Tab::Goroutines) => put(buffer, layout.heads, &[lists.goroutine_heads()]),
        _ => {}
    }
    if state.rows().is_empty() {
        let nothing = state.view().map_or(&[][..], |view| &view.nothing);
        let lines: Vec<Line<'_>> = match (state.tab(), nothing) {
            (Tab::Findings, _) => {
                vec![text::line(&[piece(Tone::Dim, "nothing is wrong for certain now")], room, theme)]
            }
            (_, []) => vec![text::line(&[piece(Tone::Dim, "there are no goroutines")], room, theme)],
            (_, lines) => lines.iter().flat_map(|line| wrapped(line, room, theme)).collect(),
        };
        put(buffer, layout.body, &lines);
        return;
    }
    let cursor = state.cursor();
    let area = layout.body.intersection(buffer.area);
    let shown = state.rows().iter().enumerate().skip(cursor.scroll).take(usize::from(area.height));
    for ((at, row), y) in shown.zip(area.y..) {
        let line_area = Rect { y, height: 1, ..area };
        lists.row(*row).render(line_area, buffer);
        if at == cursor.at {
            // All other attributes give way, so that the bar is even.
            for x in line_area.left()..line_area.right() {
                if let Some(cell) = buffer.cell_mut((x, y)) {
                    cell.set_style(theme.selected());
                }
            }
        }
    }
}

/// A sentence over as many lines as it takes.
fn wrapped(sentence: &str, room: usize, theme: Theme) -> Vec<Line<'static>> {
    let lines = super::piece::wrapped(sentence, room);
    lines.into_iter().map(|text| text::line(&[piece(Tone::Attention, text)], room, theme)).collect()
}

/// Names of the tabs, or what is open; to the right, what is shown.
fn tabs(state: &State, room: usize) -> Vec<Piece> {
    let right = shown(state);
    let right_width = pieces_width(&right);
    let full = tab_pieces(state, true);
    let mut left = if state.page().is_some() {
        trail(state, room)
    } else if pieces_width(&full) + 2 + right_width <= room || room >= 60 {
        full
    } else {
        tab_pieces(state, false)
    };
    let used = pieces_width(&left);
    let right_room = room.saturating_sub(used + 2);
    if right_room >= 8 {
        let gap = room.saturating_sub(used + right_width).max(2);
        left.push(piece(Tone::Plain, " ".repeat(gap)));
        left.extend(right);
    }
    left
}

fn tab_pieces(state: &State, names: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let found = state.view().is_some_and(|view| !view.observed.findings().is_empty());
    for &(tab, name) in state.tabs() {
        if !pieces.is_empty() {
            pieces.push(piece(Tone::Plain, "  "));
        }
        let number = tab.number();
        let tone = if tab == Tab::Findings && found { Tone::Bad } else { Tone::Dim };
        if tab == state.tab() {
            pieces.push(piece(Tone::Head, format!("[{number} {name}]")));
        } else if names {
            pieces.push(piece(tone, format!("{number} {name}")));
        } else {
            pieces.push(piece(tone, number.to_string()));
        }
    }
    pieces
}

/// `Groups › main.worker`
fn trail(state: &State, room: usize) -> Vec<Piece> {
    let tab = Tab::ALL.iter().find(|(tab, _)| *tab == state.tab()).map_or("", |(_, name)| name);
    let most = room.saturating_sub(text::width(tab) + 3).min(TRAIL);
    let name = match state.page() {
        Some(Page::Group { key, name }) if matches!(key.what, What::Label(_) | What::NoLabel) => name.clone(),
        Some(Page::Group { name, .. }) => {
            let function = name.split("  ").next().unwrap_or(name);
            shorten::function_at_any_cost(function, most).into_owned()
        }
        Some(Page::Goroutine(id)) => format!("goroutine {}", id.0),
        Some(Page::Finding(code)) => (*code).to_owned(),
        None => String::new(),
    };
    let name = crate::report::clean::clean(&name).into_owned();
    vec![piece(Tone::Dim, format!("{tab} › ")), piece(Tone::Head, text::cut(&name, most))]
}

/// How many there are, of what.
fn shown(state: &State) -> Vec<Piece> {
    let Some(view) = state.view() else { return Vec::new() };
    if state.page().is_some() {
        return vec![piece(Tone::Dim, "Esc goes back")];
    }
    let selection = &state.settings().selection;
    let number = |n: usize| count(u64::try_from(n).unwrap_or(u64::MAX));
    let mut all = Vec::new();
    match state.tab() {
        Tab::Groups => {
            let text = format!("{} by {}", number(view.groups.len()), grouping::name(&selection.grouping));
            all.push(part(0, [piece(Tone::Plain, text)]));
        }
        Tab::Goroutines => all.push(part(0, [piece(Tone::Plain, number(view.positions.len()))])),
        Tab::Findings => all.push(part(0, [piece(Tone::Plain, number(view.observed.findings().len()))])),
        Tab::States | Tab::Scheduler => {}
    }
    if matches!(state.tab(), Tab::Groups | Tab::Goroutines) {
        if let Some((filter, _)) = &selection.filter {
            let filter = crate::report::clean::clean(filter);
            all.push(part(0, [piece(Tone::Attention, format!("filter {}", text::cut(&filter, 40)))]));
        }
        if selection.no_system {
            all.push(part(0, [piece(Tone::Dim, "without the runtime's own")]));
        }
    }
    if state.follows() {
        all.push(part(1, [piece(Tone::Dim, "g: top")]));
    }
    parts(all, " · ", usize::MAX)
}
