//! `gospy var`: package variables, as text and as JSON. What is printed of a program's data is printed only here, where
//! it was asked for by name.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::clean::clean;
use super::json::{SCHEMA_VERSION, schema_of, time, to_writer};
use super::text::{Role, TextStyle};
use super::units::count;
use crate::addr::Addr;
use crate::model::{PackageVariable, Snapshot, VariableValue as Value};

/// A name that was asked for, and the variable, if the program has it.
pub(crate) type Asked<'a> = (&'a str, Option<&'a PackageVariable>);

/// Writes those that there are, a line each.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut dyn Write, style: TextStyle, asked: &[Asked<'_>]) -> io::Result<()> {
    for variable in asked.iter().filter_map(|(_, variable)| *variable) {
        let name = clean(&variable.name).into_owned();
        let length = match &variable.value {
            Value::Slice { len, cap, .. } => format!(" len {}, cap {}", count(*len), count(*cap)),
            _ => String::new(),
        };
        let kind = clean(&variable.kind);
        writeln!(out, "{} {kind}{length} = {}", style.paint(Role::Strong, &name), text(&variable.value))?;
    }
    Ok(())
}

/// A value in words: as Go's `%+v` writes it, with strings in quotes, and what is left out as `…`.
pub(crate) fn text(value: &Value) -> String {
    let mut out = String::new();
    put(&mut out, value);
    out
}

fn put(out: &mut String, value: &Value) {
    match value {
        Value::Scalar(text) => out.push_str(&clean(text)),
        Value::String { text, len } => {
            out.push_str(&quoted(text));
            if let Some(more) = len.checked_sub(text.len() as u64).filter(|more| *more > 0) {
                out.push_str(&format!("… ({} bytes more)", count(more)));
            }
        }
        Value::Pointer { addr, .. }
        | Value::Function { addr, .. }
        | Value::Channel { addr, .. }
        | Value::Map { addr, .. }
            if addr.is_nil() =>
        {
            out.push_str("nil");
        }
        Value::Pointer { addr, to: None } => out.push_str(&addr.to_string()),
        Value::Pointer { addr, to: Some(to) } => {
            out.push_str(&format!("{addr} → "));
            put(out, to);
        }
        Value::Function { addr, name } => match name {
            Some(name) => out.push_str(&clean(name)),
            None => out.push_str(&addr.to_string()),
        },
        Value::Channel { addr, len_cap } => match len_cap {
            Some((len, cap)) => out.push_str(&format!("{addr} ({} of {})", count(*len), count(*cap))),
            None => out.push_str(&addr.to_string()),
        },
        Value::Map { addr, len } => match len {
            Some(len) => out.push_str(&format!("map with {}", super::units::counted(*len, "key", "keys"))),
            None => out.push_str(&format!("map at {addr}")),
        },
        Value::Slice { len, elements, .. } | Value::Array { len, elements } => list(out, *len, elements),
        Value::Struct(fields) => {
            out.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                out.push_str(&format!("{}:", clean(name)));
                put(out, value);
            }
            out.push('}');
        }
        Value::Interface { kind, value } => {
            out.push_str(&clean(kind.as_deref().unwrap_or("a type that is not known")));
            out.push('(');
            put(out, value);
            out.push(')');
        }
        Value::Nil => out.push_str("nil"),
        Value::Omitted => out.push('…'),
        Value::Unreadable => out.push_str("unreadable"),
    }
}

fn list(out: &mut String, len: u64, elements: &[Value]) {
    out.push('[');
    for (at, value) in elements.iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        put(out, value);
    }
    match len.saturating_sub(elements.len() as u64) {
        0 => {}
        more if elements.is_empty() => out.push_str(&format!("… {} elements", count(more))),
        more => out.push_str(&format!(" … {} more", count(more))),
    }
    out.push(']');
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", clean(&text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// What `gospy var --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy var")]
struct Document<'a> {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of gospy.
    gospy_version: &'static str,
    /// When it was read; RFC 3339, UTC.
    captured_at: String,
    /// Process id.
    pid: i32,
    /// Path of the executable as the kernel gives it.
    exe: &'a str,
    /// The toolchain, as in go1.26.6.
    go_version: &'a str,
    /// The variables, in the order in which they were asked for.
    variables: Vec<VariableDocument<'a>>,
}

/// A package variable.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Variable")]
struct VariableDocument<'a> {
    /// Its full name.
    name: &'a str,
    /// Its type as Go writes it; null where the program has no such variable.
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    /// Where it is; likewise.
    address: Option<String>,
    /// Its size, bytes; likewise.
    size: Option<u64>,
    /// What it holds; likewise.
    value: Option<ValueDocument<'a>>,
}

/// What a variable, or a part of it, holds.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Value")]
struct ValueDocument<'a> {
    /// scalar, string, pointer, function, channel, map, slice, array, struct, interface, nil (an interface that holds
    /// nothing), omitted (too deep, or more than is read) or unreadable. Open enumeration.
    kind: &'static str,
    /// Of a scalar what Go's %v prints, of a string its beginning, of a function its name; null for others.
    text: Option<&'a str>,
    /// Of what is a pointer, where it points, 0x0 for nil; of a slice, where its elements are; null for others.
    address: Option<String>,
    /// Of strings bytes, of slices, arrays, maps and channels elements; null for others, and where unknown.
    len: Option<u64>,
    /// Of slices and channels, how many fit; null for others, and where unknown.
    cap: Option<u64>,
    /// The first elements of a slice or an array; null for others.
    elements: Option<Vec<ValueDocument<'a>>>,
    /// Fields of a struct; null for others.
    fields: Option<Vec<FieldDocument<'a>>>,
    /// Of an interface, the name of the type that it holds; null for others, and where unknown.
    #[serde(rename = "type")]
    type_name: Option<&'a str>,
    /// What a pointer points to, or an interface holds; null for others, and where it was not followed.
    value: Option<Box<ValueDocument<'a>>>,
}

/// A field of a struct.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Field")]
struct FieldDocument<'a> {
    /// Its name.
    name: &'a str,
    /// What it holds.
    value: ValueDocument<'a>,
}

fn documents(values: &[Value]) -> Vec<ValueDocument<'_>> {
    values.iter().map(document).collect()
}

fn document(value: &Value) -> ValueDocument<'_> {
    let empty = |kind| ValueDocument {
        kind,
        text: None,
        address: None,
        len: None,
        cap: None,
        elements: None,
        fields: None,
        type_name: None,
        value: None,
    };
    let at = |kind, addr: &Addr| ValueDocument { address: Some(addr.to_string()), ..empty(kind) };
    match value {
        Value::Scalar(text) => ValueDocument { text: Some(text), ..empty("scalar") },
        Value::String { text, len } => ValueDocument { text: Some(text), len: Some(*len), ..empty("string") },
        Value::Pointer { addr, to } => {
            ValueDocument { value: to.as_deref().map(|to| Box::new(document(to))), ..at("pointer", addr) }
        }
        Value::Function { addr, name } => ValueDocument { text: name.as_deref(), ..at("function", addr) },
        Value::Channel { addr, len_cap } => {
            ValueDocument { len: len_cap.map(|(len, _)| len), cap: len_cap.map(|(_, cap)| cap), ..at("channel", addr) }
        }
        Value::Map { addr, len } => ValueDocument { len: *len, ..at("map", addr) },
        Value::Slice { addr, len, cap, elements } => {
            ValueDocument { len: Some(*len), cap: Some(*cap), elements: Some(documents(elements)), ..at("slice", addr) }
        }
        Value::Array { len, elements } => {
            ValueDocument { len: Some(*len), elements: Some(documents(elements)), ..empty("array") }
        }
        Value::Struct(fields) => {
            let fields = fields.iter().map(|(name, value)| FieldDocument { name, value: document(value) });
            ValueDocument { fields: Some(fields.collect()), ..empty("struct") }
        }
        Value::Interface { kind, value } => {
            ValueDocument { type_name: kind.as_deref(), value: Some(Box::new(document(value))), ..empty("interface") }
        }
        Value::Nil => empty("nil"),
        Value::Omitted => empty("omitted"),
        Value::Unreadable => empty("unreadable"),
    }
}

/// Writes all of them as one JSON object on one line.
///
/// # Errors
/// Those of `out`.
pub(crate) fn json(out: &mut dyn Write, snapshot: &Snapshot, asked: &[Asked<'_>]) -> io::Result<()> {
    let variables = asked.iter().map(|(name, variable)| VariableDocument {
        name,
        kind: variable.map(|variable| variable.kind.as_str()),
        address: variable.map(|variable| variable.addr.to_string()),
        size: variable.map(|variable| variable.size),
        value: variable.map(|variable| document(&variable.value)),
    });
    to_writer(
        out,
        &Document {
            schema_version: SCHEMA_VERSION,
            gospy_version: env!("CARGO_PKG_VERSION"),
            captured_at: time(snapshot.captured_at_unix_ns),
            pid: snapshot.target.pid,
            exe: &snapshot.target.exe,
            go_version: &snapshot.target.go_version,
            variables: variables.collect(),
        },
    )?;
    writeln!(out)
}

/// The JSON Schema of what `json` writes.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'static>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_people_read_them() {
        let scalar = |text: &str| Value::Scalar(text.to_owned());
        let string = |text: &str, len| Value::String { text: text.to_owned(), len };
        let nil = || Value::Pointer { addr: Addr(0), to: None };
        let wants = [
            (scalar("42"), "42"),
            (string("a\"b\\c\nd\u{1b}[2J", 11), r#""a\"b\\c\nd\x1b[2J""#),
            (string("abc", 1_003), r#""abc"… (1,000 bytes more)"#),
            (nil(), "nil"),
            (Value::Pointer { addr: Addr(0xc000), to: Some(Box::new(scalar("7"))) }, "0xc000 → 7"),
            (Value::Map { addr: Addr(1), len: Some(1) }, "map with 1 key"),
            (Value::Channel { addr: Addr(0x10), len_cap: Some((2, 3)) }, "0x10 (2 of 3)"),
            (Value::Array { len: 2, elements: vec![scalar("1"), scalar("2")] }, "[1 2]"),
            (Value::Slice { addr: Addr(1), len: 9, cap: 9, elements: vec![scalar("1")] }, "[1 … 8 more]"),
            (Value::Slice { addr: Addr(1), len: 9, cap: 9, elements: Vec::new() }, "[… 9 elements]"),
            (Value::Struct(vec![("a".into(), scalar("1")), ("b\u{9b}".into(), Value::Omitted)]), "{a:1 b\\x9b:…}"),
            (Value::Interface { kind: Some("int".into()), value: Box::new(scalar("3")) }, "int(3)"),
            (Value::Nil, "nil"),
        ];
        for (value, want) in wants {
            assert_eq!(text(&value), want);
        }
    }
}
