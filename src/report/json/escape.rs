//! JSON that is safe to print: characters that act on a terminal or cannot be seen are escaped.
//!
//! JSON itself only asks for C0 to be escaped. A function's name can hold C1 controls (U+009B begins
//! an escape sequence), bidirectional controls and characters of no width as well, and JSON is read
//! on terminals, too. As `\uXXXX` they are the same text to every parser. What is unsafe is decided in
//! [`super::super::clean`], for text and JSON alike. All JSON that gospy prints is written here.
//!
//! serde_json writes a few bytes at a time, which are buffered here.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use serde_json::value::RawValue;

use crate::report::clean::is_unsafe;

/// Writes `value` on one line, without an end of line.
///
/// # Errors
/// Those of `out`, and of `value` where it cannot be JSON.
pub(crate) fn to_writer(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    buffered(out, |out| value.serialize(&mut Serializer::with_formatter(out, Escaped(CompactFormatter))))
}

/// Writes `value` with indents, for people.
///
/// # Errors
/// Those of `out`, and of `value` where it cannot be JSON.
pub(crate) fn to_writer_pretty(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    buffered(out, |out| value.serialize(&mut Serializer::with_formatter(out, Escaped(PrettyFormatter::new()))))
}

/// Calls `write` with a buffer before `out`, and flushes the buffer.
fn buffered(out: &mut dyn Write, write: impl FnOnce(&mut Buffer<'_>) -> serde_json::Result<()>) -> io::Result<()> {
    let mut buffer = Buffer { out, bytes: [0; CAPACITY], filled: 0 };
    write(&mut buffer)?;
    buffer.pass_on()
}

/// Capacity of the buffer in bytes. It is on the stack and zeroed for each document, which may be one short line.
const CAPACITY: usize = 4096;

/// A buffer before `out`. `BufWriter` calls memcpy for each write, which costs more than the few bytes that it copies, most
/// of all musl's memcpy, which releases have. Here short writes are copied as words, without a call.
struct Buffer<'a> {
    out: &'a mut dyn Write,
    bytes: [u8; CAPACITY],
    filled: usize,
}

impl Buffer<'_> {
    fn pass_on(&mut self) -> io::Result<()> {
        let filled = std::mem::take(&mut self.filled);
        self.out.write_all(self.bytes.get(..filled).unwrap_or_default())
    }
}

impl Write for Buffer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(room) = self.bytes.get_mut(self.filled..).and_then(|room| room.get_mut(..bytes.len())) {
            copy_short(room, bytes);
            self.filled += bytes.len();
            return Ok(());
        }
        self.pass_on()?;
        match self.bytes.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.filled = bytes.len();
                Ok(())
            }
            None => self.out.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.out.flush()
    }
}

/// Copies a slice to one of the same length. What has no more than two words is copied as two that may overlap.
#[inline]
fn copy_short(to: &mut [u8], from: &[u8]) {
    match from.len() {
        17.. => to.copy_from_slice(from),
        8..=16 => copy_ends::<8>(to, from),
        4..=7 => copy_ends::<4>(to, from),
        2..=3 => copy_ends::<2>(to, from),
        _ => copy_ends::<1>(to, from),
    }
}

/// Copies the first and the last `N` bytes; nothing of what is shorter.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk()) {
        *to = *from;
    }
}

/// `value` as a piece of JSON, which is put into others as it is.
///
/// # Errors
/// When `value` cannot be JSON.
pub(super) fn to_raw(value: &impl Serialize) -> serde_json::Result<Box<RawValue>> {
    let raw = serde_json::value::to_raw_value(value)?;
    if is_plain(raw.get()) {
        return Ok(raw);
    }
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, Escaped(CompactFormatter)))?;
    RawValue::from_string(String::from_utf8(out).map_err(serde::ser::Error::custom)?)
}

/// Whether nothing in JSON is to be escaped that is not yet: in ASCII, that is DEL alone. Nearly every name
/// is so, and looking at characters one by one takes longer than writing them.
fn is_plain(json: &str) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // A byte from 0x7f on has its highest bit set, or gets it by adding one.
    let (words, rest) = json.as_bytes().as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_ne_bytes(*word));
    words.fold(0, |odd, word| odd | word | word.wrapping_add(ONES)) & HIGH == 0 && rest.iter().all(|&byte| byte < 0x7f)
}

/// A formatter that escapes more than JSON asks for.
struct Escaped<F>(F);

/// Forwards what does not concern strings.
macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, out: &mut W $(, $argument: $type)*) -> io::Result<()> {
            self.0.$name(out $(, $argument)*)
        })*
    };
}

impl<F: Formatter> Formatter for Escaped<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if is_plain(fragment) {
            return out.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            let (good, bad) = rest.split_at_checked(at).unwrap_or((rest, ""));
            out.write_all(good.as_bytes())?;
            let mut chars = bad.chars();
            let Some(c) = chars.next() else { break };
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    forward! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::io::Write;

    use super::{CAPACITY, buffered, is_unsafe, to_raw, to_writer, to_writer_pretty};

    fn compact(value: &impl serde::Serialize) -> String {
        let mut out = Vec::new();
        to_writer(&mut out, value).expect("a Vec takes everything");
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn unsafe_characters_are_escaped() {
        for (text, want) in [
            ("plain näive 名前 \u{1f600}", "\"plain näive 名前 \u{1f600}\""),
            ("\u{9b}2J\u{7f}\u{1b}\n", r#""\u009b2J\u007f\u001b\n""#),
            ("a\u{202e}b\u{200b}", r#""a\u202eb\u200b""#),
            ("\u{2028}\u{feff}\u{2066}", r#""\u2028\ufeff\u2066""#),
            // Beyond the first plane they are two units.
            ("\u{e0041}x", r#""\udb40\udc41x""#),
            ("\"\\", r#""\"\\""#),
        ] {
            assert_eq!(compact(&text), want);
            assert_eq!(to_raw(&text).expect("JSON").get(), want);
        }
        let map = std::collections::BTreeMap::from([("k\u{202e}", "v\u{9b}")]);
        assert_eq!(compact(&map), r#"{"k\u202e":"v\u009b"}"#);
        let mut out = Vec::new();
        to_writer_pretty(&mut out, &map).expect("a Vec takes everything");
        assert_eq!(String::from_utf8(out).expect("UTF-8"), "{\n  \"k\\u202e\": \"v\\u009b\"\n}");
    }

    /// Writes of every length reach the output whole and in order, also where the buffer is full.
    #[test]
    fn buffered_writes_keep_their_order() {
        let lengths = (0..40).chain([CAPACITY - 1, CAPACITY, CAPACITY + 1, 3]).cycle().take(1_000);
        let pieces: Vec<Vec<u8>> =
            lengths.enumerate().map(|(n, len)| (0..len).map(|at| (n * 7 + at) as u8).collect()).collect();
        let mut out = Vec::new();
        buffered(&mut out, |out| {
            pieces.iter().try_for_each(|piece| out.write_all(piece)).map_err(serde_json::Error::io)
        })
        .expect("a Vec takes everything");
        assert!(out == pieces.concat());
    }

    proptest! {
        #[test]
        fn parsers_read_the_same_text(text in ".{0,60}") {
            let written = compact(&text);
            prop_assert!(!written.chars().any(is_unsafe), "{written:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&written).expect("JSON"), text);
        }
    }
}
