//! Pieces of text in a given room. Everything is cleaned here, so that nothing that a target says
//! reaches the terminal as it is.

use std::borrow::Cow;

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthChar;

use super::Theme;
use crate::report::clean::clean;
use crate::report::place::PlaceWords;
use crate::report::text::shorten;
use crate::report::waits::brief;
use crate::top::piece::{Piece, Tone, piece};

/// Names longer than this, in bytes, are not shortened at places that make sense but simply cut.
const LONG_NAME: usize = 2_048;
/// Columns of a function's name that are worth showing beside its place.
const LEAST_NAME: usize = 4;

/// What stands between a place and what is waited on there.
const BETWEEN: &str = " · ";

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

/// A place within `room` columns. File and line stay, since they say where to look: what the function calls
/// goes first, then the path of the function, then the function; directories of the file have what is left.
pub(super) fn function_and_place(place: &PlaceWords, room: usize) -> Vec<Piece> {
    function_place_and_waits(place, &[], room)
}

/// The same, with as much of what is waited on as fits; only the directories of the file give way to that.
pub(super) fn function_place_and_waits(place: &PlaceWords, on: &[String], room: usize) -> Vec<Piece> {
    let (function, source) = (place.function.as_str(), place.source.as_str());
    if function.len() > LONG_NAME || source.len() > LONG_NAME {
        return vec![piece(Tone::Plain, cut(function, room))];
    }
    let file = width(&shorten::path(source, 0));
    let file_room = if source.is_empty() { 0 } else { file + 2 };
    let own = width(&shorten::function(function, 0));
    if own + file_room > room {
        if room < file_room + LEAST_NAME && file_room > 0 {
            // A few letters say nothing.
            return vec![piece(Tone::Plain, shorten::path(source, room))];
        }
        let left = room.saturating_sub(file_room).max(1);
        let function = cut(&shorten::function_at_any_cost(function, left), left).into_owned();
        let source = if file_room > 0 { format!("  {}", shorten::path(source, file)) } else { String::new() };
        let mut pieces = vec![piece(Tone::Plain, function), piece(Tone::Dim, source)];
        pieces.retain(|piece| !piece.text.is_empty());
        return pieces;
    }
    let mut left = room - own - file_room;
    // The last ones are left out first.
    let remarks =
        (0..=place.remarks.len()).rev().filter_map(|kept| place.remarks.get(..kept)).map(|kept| kept.concat());
    let remarks = remarks.into_iter().find(|remarks| width(remarks) <= left).unwrap_or_default();
    left = left.saturating_sub(width(&remarks));
    let function = shorten::function_at_any_cost(function, (own + left).min(room)).into_owned();
    left = (own + left).saturating_sub(width(&function));
    let on = brief::fitted(on, left.saturating_sub(width(BETWEEN)));
    left = left.saturating_sub(on.as_ref().map_or(0, |on| width(on) + width(BETWEEN)));
    let mut pieces = vec![piece(Tone::Plain, function), piece(Tone::Dim, remarks)];
    if file_room > 0 {
        pieces.push(piece(Tone::Dim, format!("  {}", shorten::path(source, left + file))));
    }
    if let Some(on) = on {
        pieces.extend([piece(Tone::Dim, BETWEEN), piece(Tone::Plain, on)]);
    }
    pieces.retain(|piece| !piece.text.is_empty());
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
    use crate::report::place::PlaceWords;
    use crate::top::draw::Theme;
    use crate::top::piece::{Tone, piece};
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
        let mut place = PlaceWords {
            function: "example.com/app/srv.(*S).Run".to_owned(),
            source: "/home/me/app/srv/run.go:12".to_owned(),
            ..PlaceWords::default()
        };
        let text = |place: &PlaceWords, room| {
            function_and_place(place, room).into_iter().map(|piece| piece.text).collect::<String>()
        };
        assert_eq!(text(&place, 60), "example.com/app/srv.(*S).Run  /home/me/app/srv/run.go:12");
        assert_eq!(text(&place, 40), "example.com/app/srv.(*S).Run  run.go:12");
        assert_eq!(text(&place, 21), "….(*S).Run  run.go:12");
        assert_eq!(text(&place, 17), "….(*S…  run.go:12");
        assert_eq!(text(&place, 12), "…/run.go:12");
        // What it calls goes before either, and comes before the directories.
        place.remarks = vec![" ← pq.(*conn).recv".to_owned(), " (in net.(*conn).Read)".to_owned()];
        for (room, want) in [
            (100, "example.com/app/srv.(*S).Run ← pq.(*conn).recv (in net.(*conn).Read)  /home/me/app/srv/run.go:12"),
            (70, "…/srv.(*S).Run ← pq.(*conn).recv (in net.(*conn).Read)  …/run.go:12"),
            (50, "…/srv.(*S).Run ← pq.(*conn).recv  …/srv/run.go:12"),
            (30, "…/srv.(*S).Run  …/run.go:12"),
            (23, "srv.(*S).Run  run.go:12"),
            (20, "….(*S).R…  run.go:12"),
        ] {
            let text = text(&place, room);
            assert!(width(&text) <= room, "{text} in {room}");
            assert_eq!(text, want, "{room}");
        }
        let place = |function: &str, source: &str| PlaceWords {
            function: function.to_owned(),
            source: source.to_owned(),
            ..PlaceWords::default()
        };
        assert_eq!(text(&place("main.f", ""), 20), "main.f");
        assert_eq!(text(&place("f", "x.go:1"), 20), "f  x.go:1");
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
