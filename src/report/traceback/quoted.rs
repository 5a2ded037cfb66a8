//! Strings of the program in its tracebacks (`printquoted` in runtime/print.go, `tracebackStringNeedsQuoting` in
//! runtime/traceback.go; 1.26 on). What comes out is printable ASCII.

use std::fmt::Write as _;

/// Whether Go 1.27 puts it in quotes.
pub(super) fn needs_quoting(text: &str) -> bool {
    !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_'))
}

/// In quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\\' | '"' => write!(out, "\\{c}"),
            ' '..='~' => write!(out, "{c}"),
            '\0'..'\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
            '\x7f'..='\u{ffff}' => write!(out, "\\u{:04x}", u32::from(c)),
            _ => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_of_printquoted() {
        let cases = [
            ("", r#""""#),
            ("plain ~", r#""plain ~""#),
            ("a\n\r\t\\\"b", r#""a\n\r\t\\\"b""#),
            ("\0\x1b", r#""\x00\x1b""#),
            ("\x7f\u{e9}\u{fffd}", r#""\u007f\u00e9\ufffd""#),
            ("\u{ffff}\u{10000}\u{1f600}", r#""\uffff\U00010000\U0001f600""#),
        ];
        for (text, want) in cases {
            assert_eq!(quoted(text), want);
        }
    }

    #[test]
    fn few_characters_go_without_quotes() {
        assert!(!needs_quoting("op/read.x_1Z") && !needs_quoting(""));
        for text in ["a b", "a-b", "a:b", "\u{e9}", "\""] {
            assert!(needs_quoting(text), "{text}");
        }
    }
}
