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
use crate::report::units::{count, counted};
use text::{Part, part, parts, pieces_width};

/// Columns for the name of what is open.
const TRAIL: usize = 40;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State, theme: Theme) {
    let layout = state.layout();
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let room = usize::from(layout.header.width);
    let mut header = header::lines(state, theme, room);
    if let Some(alarm) = header::alarm(state, theme, room) {
        header.insert(1.min(header.len()), alarm);
    }
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
        (None, Tab::Waits) => put(buffer, layout.heads, &[lists.wait_heads()]),
        _ => {}
    }
    if state.rows().is_empty() {
        let nothing = state.view().map_or(&[][..], |view| &view.nothing);
        let lines: Vec<Line<'_>> = match (state.tab(), nothing) {
            (Tab::Waits, []) => {
                vec![text::line(&[piece(Tone::Dim, "no goroutine waits")], room, theme)]
            }
            (Tab::Findings, _) => {
                vec![text::line(&[piece(Tone::Dim, "no findings now")], room, theme)]
            }
            (_, []) => {
                let any = state.view().is_some_and(|view| view.observed.counts().total > 0);
                let text = match any && state.settings().selection.no_system {
                    true => "all goroutines are the runtime's own: S shows them",
                    false => "there are no goroutines",
                };
                vec![text::line(&[piece(Tone::Dim, text)], room, theme)]
            }
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
    let full = match state.page() {
        Some(_) => trail(state, room),
        None => tab_pieces(state, true, "  "),
    };
    let right = |left: &[Piece]| parts(shown(state), " · ", room.saturating_sub(pieces_width(left) + 2));
    let fits = |left: &[Piece], right: &[Piece]| pieces_width(left) + 2 + pieces_width(right) <= room;
    let mut left = full;
    let mut shown = right(&left);
    // All of it, and what has to be seen: how many there are of what, and a filter.
    let all = parts(self::shown(state), " · ", usize::MAX);
    let needed: Vec<Part> = self::shown(state).into_iter().filter(|part| part.rank <= 1).collect();
    let needed = parts(needed, " · ", usize::MAX);
    if state.page().is_none() && !fits(&left, &all) {
        left = tab_pieces(state, true, " ");
        shown = right(&left);
    }
    // Names of views are known by their numbers.
    if state.page().is_none() && !fits(&left, &needed) {
        left = tab_pieces(state, false, "  ");
        shown = right(&left);
    }
    let used = pieces_width(&left);
    if room.saturating_sub(used + 2) >= 8 {
        let gap = room.saturating_sub(used + pieces_width(&shown)).max(2);
        left.push(piece(Tone::Plain, " ".repeat(gap)));
        left.extend(shown);
    }
    left
}

fn tab_pieces(state: &State, names: bool, between: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let found = state.view().map_or(0, |view| view.observed.findings().len());
    let leaked = state.leaks().found.as_ref().map_or(0, |(leaks, _)| leaks.total);
    for &(tab, name) in state.tabs() {
        if !pieces.is_empty() {
            pieces.push(piece(Tone::Plain, between));
        }
        let number = tab.number();
        let (tone, name) = match tab {
            Tab::Leaks if leaked > 0 => (Tone::Bad, format!("{name} ({})", count(leaked))),
            Tab::Findings if found > 0 => (Tone::Bad, format!("{name} ({found})")),
            _ => (Tone::Dim, name.to_owned()),
        };
        if tab == state.tab() {
            pieces.push(piece(Tone::Head, format!("[{number}:{name}]")));
        } else if names {
            pieces.push(piece(tone, format!("{number}:{name}")));
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
        Some(Page::Group { key, name }) if matches!(key.what, What::Label(_) | What::NoLabel | What::On(_)) => {
            name.clone()
        }
        Some(Page::Group { name, .. }) => {
            let function = name.split("  ").next().unwrap_or(name);
            shorten::function_at_any_cost(function, most).into_owned()
        }
        Some(Page::Goroutine(id)) => format!("goroutine {}", id.0),
        Some(Page::Leak(lowest)) => {
            let found = state.leaks().found.as_ref().and_then(|(found, _)| found.group(*lowest));
            let place = found.and_then(|group| group.place.as_ref());
            let function = place.map_or("an unknown place", |place| place.function.as_str());
            shorten::function_at_any_cost(function, most).into_owned()
        }
        Some(Page::Wait { name, .. }) => name.clone(),
        Some(Page::Finding(code)) => (*code).to_owned(),
        None => String::new(),
    };
    let name = crate::report::clean::clean(&name).into_owned();
    vec![piece(Tone::Dim, format!("{tab} › ")), piece(Tone::Head, text::cut(&name, most))]
}

/// How many there are, of what; what is left out first has the highest rank.
fn shown(state: &State) -> Vec<Part> {
    let Some(view) = state.view() else { return Vec::new() };
    let selection = &state.settings().selection;
    let number = |n: usize| count(u64::try_from(n).unwrap_or(u64::MAX));
    let mut all = Vec::new();
    match (state.page(), state.tab()) {
        (Some(_), _) => all.push(part(2, [piece(Tone::Dim, "Esc goes back")])),
        (None, Tab::Groups) => {
            let text = format!("{} by {}", number(view.groups.len()), grouping::name(&selection.grouping));
            all.push(part(1, [piece(Tone::Plain, text)]));
        }
        (None, Tab::Goroutines) => all.push(part(1, [piece(Tone::Plain, number(view.positions.len()))])),
        (None, Tab::Waits) => {
            let objects = view.waited.as_ref().map_or(0, |waited| waited.objects());
            let objects = counted(u64::try_from(objects).unwrap_or(u64::MAX), "object", "objects");
            all.push(part(1, [piece(Tone::Plain, objects)]));
        }
        (None, Tab::States | Tab::Scheduler | Tab::Leaks | Tab::Findings) => {}
    }
    // Which goroutines the rest of the screen is about.
    let is_selected = match state.page() {
        Some(page) => matches!(page, Page::Group { .. } | Page::Wait { .. }),
        None => matches!(state.tab(), Tab::Groups | Tab::Goroutines | Tab::Waits),
    };
    if let Some((filter, _)) = &selection.filter {
        let filter = crate::report::clean::clean(filter);
        let (tone, head) =
            if is_selected { (Tone::Attention, "filter") } else { (Tone::Dim, "filter not applied here:") };
        all.push(part(0, [piece(tone, format!("{head} {}", text::cut(&filter, 40)))]));
    }
    let hidden = view.observed.counts().system;
    if selection.no_system && is_selected && hidden > 0 && state.page().is_none() {
        all.push(part(4, [piece(Tone::Dim, format!("{} system hidden: S", count(hidden)))]));
    }
    if state.follows() && state.page().is_none() {
        all.push(part(3, [piece(Tone::Dim, "g: top")]));
    }
    all
}
