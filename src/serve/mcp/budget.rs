//! Answers of a bounded number of tokens.
//!
//! Which tokenizer a client has is not known. Two bytes a token is less than what those in use have for this kind of
//! text, so that an answer has fewer tokens than was allowed: by o200k_base and cl100k_base it is 2.1 in tables of
//! numbers, which have the fewest, and 2.5 to 3 in the others.

use crate::report::clean::clean;

/// Tokens of an answer unless more are asked for.
pub(super) const USUAL: u32 = 1_500;
/// Tokens of the largest answer.
pub(super) const MOST: u32 = 6_000;
/// Tokens of the smallest limit that can be asked for.
pub(super) const LEAST: u32 = 200;
/// Bytes that are kept for saying what is missing.
const NOTE: usize = 240;
/// Characters of a line; the rest is cut off.
const LINE: usize = 400;

/// Bytes that so many tokens have at least.
pub(super) fn bytes(tokens: u32) -> usize {
    usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(2)
}

/// An answer that is being written, line by line.
pub(super) struct Page {
    text: String,
    room: usize,
}

impl Page {
    /// An empty one, of at most so many tokens.
    pub(super) fn new(tokens: u32) -> Self {
        Self { text: String::new(), room: bytes(tokens.clamp(LEAST, MOST)).saturating_sub(NOTE) }
    }

    /// Adds a line; `false` when it does not fit, and then nothing else does.
    pub(super) fn line(&mut self, line: &str) -> bool {
        let line = clipped(line);
        match self.room.checked_sub(line.len().saturating_add(1)) {
            Some(room) => {
                self.room = room;
                self.text.push_str(&line);
                self.text.push('\n');
                true
            }
            None => {
                self.room = 0;
                false
            }
        }
    }

    /// Adds lines of a text that is clean already; gives how many did not fit.
    pub(super) fn lines(&mut self, text: &str) -> usize {
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if !self.line(line) {
                return lines.count().saturating_add(1);
            }
        }
        0
    }

    /// The answer, with what is missing and how to get it.
    pub(super) fn done(mut self, note: Option<&str>) -> String {
        if let Some(note) = note {
            // There is room for it: see `NOTE`.
            let end = note.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end < NOTE).last();
            self.text.push_str(note.get(..end.unwrap_or(0)).unwrap_or_default());
            self.text.push('\n');
        }
        self.text
    }
}

fn clipped(line: &str) -> String {
    let line = line.trim_end();
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

/// A text of the target: in quotes, on one line, without characters that cannot be seen.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", clean(text).replace('"', "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_never_longer_than_was_asked_for() {
        for tokens in [0, LEAST, USUAL, MOST, u32::MAX] {
            let mut page = Page::new(tokens);
            let left = page.lines(&"a line with some words in it\n".repeat(100_000));
            let text = page.done(Some(&"ü".repeat(1_000)));
            let most = bytes(tokens.clamp(LEAST, MOST));
            assert!(left > 0 && text.len() <= most && text.len() > most / 2, "{tokens}: {}", text.len());
        }
    }

    #[test]
    fn texts_of_the_target_are_one_line_in_quotes() {
        assert_eq!(quoted("a\"b\n\u{1b}[2J"), "\"a'b\\n\\x1b[2J\"");
        let mut page = Page::new(USUAL);
        assert!(page.line(&"x".repeat(10_000)) && page.done(None).len() < 500);
    }
}
