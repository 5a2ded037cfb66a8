//! `key=value` lines, in which Go quotes values with spaces or quotes.

/// Parses a setting; `None` when it is not `key=value` or badly quoted.
pub(super) fn setting(text: &str) -> Option<(String, String)> {
    let (key, rest) = if text.starts_with(['"', '`']) {
        let (key, rest) = unquote(text)?;
        (key, rest.strip_prefix('=')?)
    } else {
        let (key, rest) = text.split_once('=')?;
        (key.to_owned(), rest)
    };
    if key.is_empty() {
        return None;
    }
    if !rest.starts_with(['"', '`']) {
        return Some((key, rest.to_owned()));
    }
    let (value, after) = unquote(rest)?;
    after.is_empty().then_some((key, value))
}

/// The value of a Go string literal at the start of `text`, and the text after it
/// (`strconv.Unquote`).
fn unquote(text: &str) -> Option<(String, &str)> {
    if let Some(raw) = text.strip_prefix('`') {
        let (value, after) = raw.split_once('`')?;
        return Some((value.to_owned(), after));
    }
    let mut rest = text.strip_prefix('"')?;
    // Bytes, because `\x` and octal escapes are bytes of UTF-8, not characters.
    let mut value = Vec::new();
    loop {
        let mut chars = rest.chars();
        let c = chars.next()?;
        rest = chars.as_str();
        match c {
            '"' => return Some((String::from_utf8_lossy(&value).into_owned(), rest)),
            '\\' => rest = escape(rest, &mut value)?,
            c => push(&mut value, c),
        }
    }
}

/// Appends the value of an escape sequence (after its backslash); returns the text after it.
fn escape<'a>(text: &'a str, value: &mut Vec<u8>) -> Option<&'a str> {
    let mut chars = text.chars();
    let c = chars.next()?;
    let rest = chars.as_str();
    let simple = match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        'x' => {
            let (byte, rest) = digits(rest, 2, 16)?;
            value.push(u8::try_from(byte).ok()?);
            return Some(rest);
        }
        'u' | 'U' => {
            let (code, rest) = digits(rest, if c == 'u' { 4 } else { 8 }, 16)?;
            push(value, char::from_u32(code)?);
            return Some(rest);
        }
        '0'..='7' => {
            let (byte, rest) = digits(text, 3, 8)?;
            value.push(u8::try_from(byte).ok()?);
            return Some(rest);
        }
        _ => return None,
    };
    value.push(simple);
    Some(rest)
}

/// A number of exactly `count` digits.
fn digits(text: &str, count: usize, radix: u32) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(count)?;
    // `from_str_radix` would take a sign.
    number.chars().all(|c| c.is_digit(radix)).then_some(())?;
    Some((u32::from_str_radix(number, radix).ok()?, rest))
}

fn push(value: &mut Vec<u8>, c: char) {
    value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
