//! Strings that the target controls, made harmless for a terminal.
//!
//! A function or file name, a label or an argument can hold escape sequences that move the cursor,
//! bidirectional marks that turn text round, or characters of no width that make two names look the
//! same. All of them are shown as escapes (`\x1b`, `\u{202e}`), so that nothing is hidden and no
//! line is forged. Text that has none is borrowed, not copied.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` on one line, without characters that act on a terminal or cannot be seen.
#[must_use]
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_unsafe) else { return Cow::Borrowed(text) };
    let (good, rest) = text.split_at_checked(first).unwrap_or(("", text));
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(good);
    for c in rest.chars() {
        if is_unsafe(c) {
            // Writing to a String cannot fail.
            let _ = match u32::from(c) {
                0x0a => write!(out, "\\n"),
                0x09 => write!(out, "\\t"),
                0x0d => write!(out, "\\r"),
                code if code < 0x100 => write!(out, "\\x{code:02x}"),
                code => write!(out, "\\u{{{code:x}}}"),
            };
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Controls (C0, C1, DEL), line and paragraph separators, bidirectional controls, characters of no
/// width, fillers that show nothing, language tags, and variation selectors beyond the usual 16.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            u32::from(c),
            0x00ad
                | 0x034f
                | 0x061c
                | 0x115f..=0x1160
                | 0x17b4..=0x17b5
                | 0x180b..=0x180f
                | 0x200b..=0x200f
                | 0x2028..=0x202e
                | 0x2060..=0x206f
                | 0x2800
                | 0x3164
                | 0xfe00..=0xfe0f
                | 0xfeff
                | 0xffa0
                | 0xfff0..=0xfffb
                | 0x1_bca0..=0x1_bca3
                | 0x1_d173..=0x1_d17a
                | 0xe_0000..=0xe_0fff
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::borrow::Cow;

    use super::clean;

    #[test]
    fn harmless_text_is_borrowed() {
        for text in ["", "github.com/a/b.(*T).M", "main.·名前", "naïve"] {
            assert!(matches!(clean(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn dangerous_characters_are_shown() {
        for (text, want) in [
            ("\u{1b}[31mred", "\\x1b[31mred"),
            ("a\nb\tc\0", "a\\nb\\tc\\x00"),
            ("\u{202e}evil\u{200b}", "\\u{202e}evil\\u{200b}"),
            ("\u{9b}2J", "\\x9b2J"),
            ("x\u{e0041}", "x\\u{e0041}"),
        ] {
            assert_eq!(clean(text), want);
        }
    }

    proptest! {
        #[test]
        fn nothing_dangerous_is_left(text in ".{0,80}") {
            let cleaned = clean(&text);
            prop_assert!(!cleaned.chars().any(super::is_unsafe));
            prop_assert_eq!(clean(&cleaned), cleaned.as_ref());
        }
    }
}
