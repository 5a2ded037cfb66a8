//! The foot of the screen: a filter that is typed, a banner, or the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

use super::Theme;
use super::text::{cut, line, part, parts, width};
use crate::report::clean::clean;
use crate::report::units::duration;
use crate::top::keys::{Action, BINDINGS, Binding, PROMPT_BINDINGS, needs_change, needs_recording};
use crate::top::piece::{Piece, Tone, piece};
use crate::top::prompt::Prompt;
use crate::top::state::{Link, State};

/// Draws it, and says where the cursor is to be.
pub(super) fn draw(buffer: &mut Buffer, area: Rect, state: &State, theme: Theme) -> Option<(u16, u16)> {
    let area = area.intersection(buffer.area);
    if area.height == 0 {
        return None;
    }
    let room = usize::from(area.width);
    if let Some(prompt) = state.prompt() {
        return self::prompt(buffer, area, prompt, theme);
    }
    let last = Rect { y: area.bottom() - 1, height: 1, ..area };
    match banner(state) {
        Some((tone, text)) => {
            let text = clean(&text);
            line(&[piece(Tone::Plain, format!(" {}", cut(&text, room.saturating_sub(2))))], room, theme)
                .render(last, buffer);
            buffer.set_style(last, theme.banner(tone));
        }
        None => {
            let (recorded, playing) = (state.settings().recorded, state.settings().playing.is_some());
            let can = |action| !(recorded && needs_change(action)) && (playing || !needs_recording(action));
            let shown: Vec<&Binding<Action>> = BINDINGS.iter().filter(|binding| can(binding.action)).collect();
            line(&hints(&shown, room), room, theme).render(last, buffer);
        }
    }
    None
}

/// What has to be said before anything else.
fn banner(state: &State) -> Option<(Tone, String)> {
    if let Some(notice) = state.notice() {
        return Some((Tone::Head, notice.to_owned()));
    }
    match state.link() {
        Link::Ended(text) => {
            let next = if state.settings().wait { "waiting for it to restart" } else { "showing the last snapshot" };
            return Some((Tone::Bad, format!("ENDED  {text}; {next} · q quits")));
        }
        Link::Finished if state.settings().playing.is_some() => {
            return Some((Tone::Head, "the recording ends here · [ goes back · ( begins again · q quits".to_owned()));
        }
        Link::Finished => return Some((Tone::Head, "a recording: nothing changes any more · q quits".to_owned())),
        Link::Failing(text) => return Some((Tone::Bad, format!("not read, trying again: {text}"))),
        Link::Live => {}
    }
    if state.is_paused() && state.settings().playing.is_some() {
        return Some((Tone::Attention, "PAUSED · space plays · [ ] a sample · { } a minute · ( ) the ends".to_owned()));
    }
    if state.is_paused() {
        return Some((Tone::Attention, "PAUSED · space resumes · r refreshes".to_owned()));
    }
    state.slow_reading().map(|taken| {
        let taken = duration(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
        (Tone::Attention, format!("reading takes long: {taken} so far"))
    })
}

fn hints<A>(table: &[&Binding<A>], room: usize) -> Vec<Piece> {
    let with_hint = table.iter().filter(|binding| !binding.hint.is_empty());
    let all = (1..).zip(with_hint).filter_map(|(rank, binding)| {
        let name = binding.keys.first()?.name();
        Some(part(rank, [piece(Tone::Strong, name), piece(Tone::Dim, format!(" {}", binding.hint))]))
    });
    parts(all.collect(), "  ", room)
}

/// The expression in one line with the cursor in sight; above it what is wrong, below it where and
/// what could stand there.
fn prompt(buffer: &mut Buffer, area: Rect, prompt: &Prompt, theme: Theme) -> Option<(u16, u16)> {
    let room = usize::from(area.width);
    let shown = |text: &str| -> String { clean(text).into_owned() };
    let before = width(&shown(prompt.before_cursor()));
    // The start gives way when the end would not fit.
    let skipped = (before + 3).saturating_sub(room);
    let text = shown(prompt.text());
    let visible = skip_columns(&text, skipped);
    let typed = line(&[piece(Tone::Head, "/"), piece(Tone::Plain, visible)], room, theme);
    let lines_above = u16::from(area.height >= 2 && prompt.error().is_some());
    let y = area.y + lines_above;
    typed.render(Rect { y, height: 1, ..area }, buffer);
    let x = area.x + u16::try_from(1 + before - skipped).unwrap_or(u16::MAX);
    match prompt.error() {
        None => {
            let used = 1 + width(&text) + 3;
            let table: Vec<_> = PROMPT_BINDINGS.iter().collect();
            let keys = hints(&table, room.saturating_sub(used));
            let columns = keys.iter().map(|piece| width(&piece.text)).sum::<usize>();
            if columns > 0 && used + columns <= room {
                let columns = u16::try_from(columns).unwrap_or(area.width);
                let right = Rect { x: area.right() - columns, y, width: columns, height: 1 };
                line(&keys, usize::from(columns), theme).render(right, buffer);
            }
        }
        Some(error) if lines_above > 0 => {
            let mut put = |y: u16, pieces: &[Piece]| {
                if y < area.bottom() {
                    line(pieces, room, theme).render(Rect { y, height: 1, ..area }, buffer);
                }
            };
            put(area.y, &[piece(Tone::Bad, error.problem())]);
            let at = error.at();
            let columns = |end: usize| width(&shown(prompt.text().get(..end).unwrap_or(prompt.text())));
            let (start, end) = (columns(at.start), columns(at.end));
            let start = start.saturating_sub(skipped);
            let under = end.saturating_sub(skipped).saturating_sub(start).max(1);
            put(y + 1, &[piece(Tone::Plain, " ".repeat(start + 1)), piece(Tone::Bad, "^".repeat(under))]);
            put(y + 2, &[piece(Tone::Dim, error.hint())]);
        }
        Some(_) => {}
    }
    Some((x, y))
}

/// `text` without its first columns.
fn skip_columns(text: &str, columns: usize) -> &str {
    let mut skipped = 0;
    for (at, c) in text.char_indices() {
        if skipped >= columns {
            return text.get(at..).unwrap_or("");
        }
        skipped += unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
    }
    if columns == 0 { text } else { "" }
}
