//! Names, types and values of a frame's arguments, on a line of its own below the frame. The runtime prints none.
//!
//! They are the words that are printed above, read by the types of the parameters. A word that may be stale is `?`;
//! the others are what the function was given, unless it has assigned to the parameter since.

use std::fmt::{self, Write as _};

use crate::model::values::{Parameter, Shape, Value, ValueType, named, values};
use crate::model::{FrameWords, TracebackDetails};
use crate::report::clean::clean;

/// `a int = 1, b string = "x"`; `None` where names do not fit, and for a function without arguments.
pub(super) fn in_words(
    details: &TracebackDetails,
    function: &str,
    parameters: &[Parameter],
    words: &FrameWords<'_>,
) -> Option<String> {
    let (values, more) = values(words);
    let names = named(function, parameters, (values.len(), more))?;
    let mut texts = Vec::new();
    for (parameter, value) in names.iter().zip(&values) {
        let Some(Parameter { name, kind }) = parameter else { continue };
        let mut text = format!("{} {} = ", clean(name), clean(&kind.name));
        write_value(&mut text, details, kind, value);
        texts.push(text);
    }
    if more {
        texts.push("...".to_owned());
    }
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn write_value(text: &mut String, details: &TracebackDetails, kind: &ValueType, value: &Value) {
    // Writing to a String cannot fail, here and below.
    let _ = match (&kind.shape, value) {
        (_, Value::Stale) => write!(text, "?"),
        (_, Value::Unknown) => write!(text, "_"),
        (shape, Value::Word(word)) => return write_word(text, shape, *word),
        (Shape::String, value) => match value.words() {
            Some([_, 0]) => write!(text, "\"\""),
            Some([data, len]) => match details.strings.get(&(data, len)) {
                Some(start) => {
                    let more = if (start.len() as u64) < len { "…" } else { "" };
                    write!(text, "\"{}\"{more}", clean(&start.replace('\\', "\\\\").replace('"', "\\\"")))
                }
                None => write!(text, "{len} bytes at {data:#x}"),
            },
            None => return write_parts(text, value),
        },
        (Shape::Slice, value) => match value.words() {
            Some([0, 0, 0]) => write!(text, "nil"),
            Some([data, len, capacity]) => write!(text, "len {len} cap {capacity} at {data:#x}"),
            None => return write_parts(text, value),
        },
        (Shape::Interface, value) => match value.words() {
            Some([0, 0]) => write!(text, "nil"),
            // As the runtime prints the values of panics.
            Some([of_type, data]) if details.types.contains_key(&of_type) => {
                let name = details.types.get(&of_type).map_or("", String::as_str);
                write!(text, "({}) {data:#x}", clean(name))
            }
            _ => return write_parts(text, value),
        },
        (Shape::Complex(size), value) => match value.words() {
            Some([real, imaginary]) => write!(text, "({}{:+}i)", Number(real, *size), Number(imaginary, *size)),
            None => return write_parts(text, value),
        },
        (Shape::Struct(fields), Value::Parts { parts, more }) => {
            let parts = fields.iter().zip(parts).map(|((name, kind), part)| {
                let mut text = format!("{}: ", clean(name));
                write_value(&mut text, details, kind, part);
                text
            });
            return write_list(text, parts, *more);
        }
        (Shape::Array(_, kind), Value::Parts { parts, more }) => {
            let parts = parts.iter().map(|part| {
                let mut text = String::new();
                write_value(&mut text, details, kind, part);
                text
            });
            return write_list(text, parts, *more);
        }
        (_, value) => return write_parts(text, value),
    };
}

/// A floating-point number of so many bytes, as Go prints it with `%v`, but for the form of an exponent.
struct Number(u64, u8);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The lower half of a word holds a small one.
        let small = f32::from_bits(u32::try_from(self.0 & 0xffff_ffff).unwrap_or(0));
        let value = if self.1 == 4 { f64::from(small) } else { f64::from_bits(self.0) };
        match (value.abs(), self.1) {
            (size, _) if size != 0.0 && size.is_finite() && !(1e-4..1e21).contains(&size) => {
                fmt::LowerExp::fmt(&value, f)
            }
            (_, 4) => fmt::Display::fmt(&small, f),
            _ => fmt::Display::fmt(&value, f),
        }
    }
}

/// A word of a type that has one.
fn write_word(text: &mut String, shape: &Shape, word: u64) {
    let shift = |size: u8| 64_u32.saturating_sub(u32::from(size).saturating_mul(8)).min(63);
    let _ = match shape {
        Shape::Bool => write!(text, "{}", word != 0),
        Shape::Int(size) => write!(text, "{}", (word << shift(*size)).cast_signed() >> shift(*size)),
        Shape::Uint => write!(text, "{word}"),
        Shape::Float(size) => write!(text, "{}", Number(word, *size)),
        Shape::Pointer if word == 0 => write!(text, "nil"),
        _ => write!(text, "{word:#x}"),
    };
}

/// Words as they are, for what is not known better.
fn write_parts(text: &mut String, value: &Value) {
    match value {
        Value::Word(word) => write_word(text, &Shape::Other, *word),
        Value::Stale => text.push('?'),
        Value::Unknown => text.push('_'),
        Value::Parts { parts, more } => {
            let parts = parts.iter().map(|part| {
                let mut text = String::new();
                write_parts(&mut text, part);
                text
            });
            write_list(text, parts, *more);
        }
    }
}

fn write_list(text: &mut String, parts: impl Iterator<Item = String>, more: bool) {
    let parts: Vec<String> = parts.chain(more.then(|| "...".to_owned())).collect();
    text.push('{');
    text.push_str(&parts.join(", "));
    text.push('}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn text(shape: Shape, value: &Value) -> String {
        let mut details = TracebackDetails::default();
        details.strings.insert((0x1000, 4), "a\"\n\\".to_owned());
        details.strings.insert((0x2000, 900), "start".to_owned());
        details.types.insert(0x4000, "*main.\u{1b}node".to_owned());
        let mut text = String::new();
        write_value(&mut text, &details, &ValueType { name: String::new(), shape }, value);
        text
    }

    fn parts(parts: &[Value]) -> Value {
        Value::Parts { parts: parts.to_vec(), more: false }
    }

    const WORD: fn(u64) -> Value = Value::Word;

    #[test]
    fn words_are_read_by_their_types() {
        for (shape, word, want) in [
            (Shape::Int(1), 0xfe, "-2"),
            (Shape::Int(2), 0x7fff, "32767"),
            (Shape::Int(8), u64::MAX, "-1"),
            (Shape::Uint, u64::MAX, "18446744073709551615"),
            (Shape::Bool, 1, "true"),
            (Shape::Bool, 0, "false"),
            (Shape::Float(4), 0x3fc0_0000, "1.5"),
            (Shape::Float(8), 1_f64.to_bits(), "1"),
            (Shape::Float(8), 1e300_f64.to_bits(), "1e300"),
            (Shape::Float(8), f64::NAN.to_bits(), "NaN"),
            (Shape::Pointer, 0, "nil"),
            (Shape::Pointer, 0xc0, "0xc0"),
            (Shape::Other, 0, "0x0"),
        ] {
            assert_eq!(text(shape, &WORD(word)), want);
        }
        assert_eq!(text(Shape::Int(8), &Value::Stale), "?");
        assert_eq!(text(Shape::Int(8), &Value::Unknown), "_");
    }

    #[test]
    fn parts_are_put_together_where_all_are_known() {
        assert_eq!(text(Shape::String, &parts(&[WORD(0), WORD(0)])), "\"\"");
        assert_eq!(text(Shape::String, &parts(&[WORD(0x1000), WORD(4)])), r#""a\"\n\\""#);
        assert_eq!(text(Shape::String, &parts(&[WORD(0x2000), WORD(900)])), "\"start\"…");
        assert_eq!(text(Shape::String, &parts(&[WORD(0x3000), WORD(5)])), "5 bytes at 0x3000");
        assert_eq!(text(Shape::String, &parts(&[WORD(0x1000), Value::Stale])), "{0x1000, ?}");
        assert_eq!(text(Shape::Slice, &parts(&[WORD(16), WORD(1), WORD(2)])), "len 1 cap 2 at 0x10");
        assert_eq!(text(Shape::Interface, &parts(&[WORD(0), WORD(0)])), "nil");
        assert_eq!(text(Shape::Interface, &parts(&[WORD(0x4000), WORD(0xc0)])), "(*main.\\x1bnode) 0xc0");
        assert_eq!(text(Shape::Interface, &parts(&[WORD(0x4008), WORD(0xc0)])), "{0x4008, 0xc0}");
        assert_eq!(text(Shape::Interface, &parts(&[WORD(0x4000), Value::Stale])), "{0x4000, ?}");
        let complex = parts(&[WORD(1_f64.to_bits()), WORD((-2.5_f64).to_bits())]);
        assert_eq!(text(Shape::Complex(8), &complex), "(1-2.5i)");
        let int = Arc::new(ValueType { name: "int".to_owned(), shape: Shape::Int(8) });
        let fields = Shape::Struct(vec![("x".to_owned(), Arc::clone(&int)), ("y".to_owned(), int)]);
        assert_eq!(text(fields.clone(), &parts(&[WORD(1), Value::Stale])), "{x: 1, y: ?}");
        let cut = Value::Parts { parts: vec![WORD(1)], more: true };
        assert_eq!(text(fields, &cut), "{x: 1, ...}");
        // A type that is not that of the words.
        assert_eq!(text(Shape::Int(8), &parts(&[WORD(1)])), "{0x1}");
        assert_eq!(text(Shape::String, &WORD(7)), "0x7");
    }
}
