//! Pieces of text in a given room. Everything is cleaned here, so that nothing that a target says
//! reaches the terminal as it is.

use std::borrow::Cow;

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthChar;

use super::Theme;
use crate::report::clean::clean;
use crate::report::text::shorten;
use crate::top::state::{Piece, Tone, piece};

/// Names longer than this, in bytes, are not shortened at places that make sense but simply cut.
const LONG_NAME: usize = 2_048;
/// Columns of a function's name that are worth showing beside its place.
const LEAST_NAME: usize = 4;

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    shorten::width(text)
}

/// Columns that pieces take.
pub(super) fn pieces_width(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| width(&piece.text)).sum()
}

/// `text` within `room` columns, cut at the end with a sign.
pub(super) fn cut(text: &str, room: usize) -> Cow<'_, str> {
    // Most text is short and plain.
    if text.len() <= room && text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut used = 0;
    let mut fitting = 0;
    for (at, c) in text.char_indices() {
        let columns = c.width().unwrap_or(0);
        if used + columns > room {
            let kept = text.get(..fitting).unwrap_or("");
            return if room == 0 { Cow::Borrowed("") } else { Cow::Owned(format!("{kept}…")) };
        }
        used += columns;
        if used < room {
            fitting = at + c.len_utf8();
        }
    }
    Cow::Borrowed(text)
}

/// A function's name and its place within `room` columns. File and line stay, since they say where to
/// look: the function gives way first, then the directories of the file have what is left.
pub(super) fn function_and_place(function: &str, place: &str, room: usize) -> Vec<Piece> {
    let (function, place) = (clean(function), clean(place));
    if place.len() > LONG_NAME || function.len() > LONG_NAME {
        return vec![piece(Tone::Plain, cut(&function, room))];
    }
    let file = width(&shorten::path(&place, 0));
    let least = if place.is_empty() { 0 } else { file + 2 };
    let mut function = shorten::function_at_any_cost(&function, room.saturating_sub(least).max(1)).into_owned();
    if width(&function) + least > room {
        if room < least + LEAST_NAME && !place.is_empty() {
            // A few letters say nothing.
            return vec![piece(Tone::Plain, shorten::path(&place, room))];
        }
        function = cut(&function, room.saturating_sub(least)).into_owned();
    }
    let left = room.saturating_sub(width(&function));
    let mut pieces = vec![piece(Tone::Plain, function)];
    if left > 2 && !place.is_empty() {
        pieces.push(piece(Tone::Dim, format!("  {}", shorten::path(&place, left - 2))));
    }
    pieces
}

/// Pieces as spans in exactly `room` columns.
pub(super) fn cell(pieces: &[Piece], room: usize, right: bool, theme: Theme) -> Vec<Span<'static>> {
    let mut spans = Vec::with_capacity(pieces.len() + 1);
    let mut used = 0;
    for piece in pieces {
        let cleaned = clean(&piece.text);
        let text = cut(&cleaned, room - used);
        used += width(&text);
        spans.push(Span::styled(text.into_owned(), theme.style(piece.tone)));
        if used >= room {
            break;
        }
    }
    let padding = Span::raw(" ".repeat(room.saturating_sub(used)));
    if right {
        spans.insert(0, padding)
    } else {
        spans.push(padding)
    }
    spans
}

/// Pieces as a line of exactly `room` columns.
pub(super) fn line(pieces: &[Piece], room: usize, theme: Theme) -> Line<'static> {
    Line::from(cell(pieces, room, false, theme))
}

/// A part of a line that can be left out.
pub(super) struct Part {
    /// The higher, the sooner it is left out; 0 stays.
    pub(super) rank: u8,
    pub(super) pieces: Vec<Piece>,
}

pub(super) fn part(rank: u8, pieces: impl IntoIterator<Item = Piece>) -> Part {
    Part { rank, pieces: pieces.into_iter().collect() }
}

/// Parts with `between` between them, without those for which there is no room.
pub(super) fn parts(mut parts: Vec<Part>, between: &str, room: usize) -> Vec<Piece> {
    parts.retain(|part| pieces_width(&part.pieces) > 0);
    let total = |parts: &[Part]| -> usize {
        let gaps = parts.len().saturating_sub(1) * width(between);
        parts.iter().map(|part| pieces_width(&part.pieces)).sum::<usize>() + gaps
    };
    while total(&parts) > room {
        // Of equal ranks, the last.
        let dropped = parts.iter().enumerate().filter(|(_, part)| part.rank > 0).max_by_key(|(_, part)| part.rank);
        let Some((at, _)) = dropped else { break };
        parts.remove(at);
    }
    let mut pieces = Vec::new();
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            pieces.push(piece(Tone::Dim, between));
        }
        pieces.extend(part.pieces);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::{cell, cut, function_and_place, part, parts, width};
    use crate::top::draw::Theme;
    use crate::top::state::{Tone, piece};
    use proptest::prelude::*;

    #[test]
    fn cutting_counts_columns() {
        for (text, room, want) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("名前", 4, "名前"),
            ("名前", 3, "名…"),
            ("名前", 2, "…"),
            ("é́é́é́", 2, "é́…"),
            ("x", 0, ""),
        ] {
            assert_eq!(cut(text, room), want, "{text} in {room}");
        }
    }

    #[test]
    fn file_and_line_are_the_last_to_go() {
        let text = |room| {
            let pieces = function_and_place("example.com/app/srv.(*S).Run", "/home/me/app/srv/run.go:12", room);
            pieces.into_iter().map(|piece| piece.text).collect::<String>()
        };
        assert_eq!(text(60), "example.com/app/srv.(*S).Run  /home/me/app/srv/run.go:12");
        assert_eq!(text(40), "example.com/app/srv.(*S).Run  run.go:12");
        assert_eq!(text(26), "…/srv.(*S).Run  run.go:12");
        assert_eq!(text(23), "srv.(*S).Run  run.go:12");
        assert_eq!(text(21), "….(*S).Run  run.go:12");
        assert_eq!(text(17), "….(*S…  run.go:12");
        assert_eq!(text(12), "…/run.go:12");
        assert_eq!(function_and_place("main.f", "", 20)[0].text, "main.f");
        assert_eq!(function_and_place("f", "x.go:1", 20)[0].text, "f");
    }

    #[test]
    fn parts_are_left_out_by_rank() {
        let make = || {
            vec![
                part(0, [piece(Tone::Strong, "orders")]),
                part(2, [piece(Tone::Plain, "go1.26")]),
                part(1, [piece(Tone::Plain, "pid 1")]),
                part(2, []),
            ]
        };
        let text = |room| parts(make(), " · ", room).into_iter().map(|piece| piece.text).collect::<String>();
        assert_eq!(text(80), "orders · go1.26 · pid 1");
        assert_eq!(text(20), "orders · pid 1");
        assert_eq!(text(3), "orders");
    }

    proptest! {
        #[test]
        fn a_cell_has_its_width_whatever_is_in_it(text in "\\PC{0,40}|.{0,40}", room in 0_usize..30) {
            let theme = Theme { colour: true };
            let spans = cell(&[piece(Tone::Plain, text)], room, false, theme);
            let shown: String = spans.iter().map(|span| span.content.as_ref()).collect();
            let columns: usize = shown.chars().map(|c| unicode_width::UnicodeWidthChar::width(c).unwrap_or(0)).sum();
            prop_assert!(width(&shown) <= room && columns >= width(&shown).min(room), "{shown:?} in {room}");
        }
    }
}
