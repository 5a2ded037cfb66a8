//! What stands in the parentheses after a function's name (`printArgs`).

use std::fmt::Write as _;

use crate::model::{ArgumentToken, FrameWords};

/// What is printed for arguments that are not known, and by the runtime for those of inlined calls.
pub(in crate::report) const UNKNOWN: &str = "...";

/// Adds the words of a frame's arguments to `text`. One that could not be read is `_`.
pub(in crate::report) fn write_words(text: &mut String, words: &FrameWords<'_>) {
    let mut first = true;
    for (token, word) in words.pieces() {
        if !first && token != ArgumentToken::Close {
            text.push_str(", ");
        }
        first = token == ArgumentToken::Open;
        match (token, word) {
            (ArgumentToken::Open, _) => text.push('{'),
            (ArgumentToken::Close, _) => text.push('}'),
            (ArgumentToken::More, _) => text.push_str("..."),
            (ArgumentToken::TooFar, _) | (ArgumentToken::Word { .. }, None) => text.push('_'),
            (ArgumentToken::Word { dead, .. }, Some(word)) => {
                // Writing to a String cannot fail.
                let _ = write!(text, "{word:#x}{}", if dead { "?" } else { "" });
            }
        }
    }
}
