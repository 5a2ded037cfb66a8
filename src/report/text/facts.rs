//! Headings, and lines of a label with facts after it.

use std::io::{self, Write};

use super::shorten;
use super::theme::{Role, TextStyle};

/// Columns of a label, its indent included.
const LABEL: usize = 15;
const SEPARATOR: &str = " · ";

/// An empty line, and a section's name with what is to be said beside it.
pub(in crate::report) fn heading(out: &mut dyn Write, style: TextStyle, name: &str, beside: &str) -> io::Result<()> {
    let gap = if beside.is_empty() { "" } else { "  " };
    writeln!(out, "\n{}{gap}{beside}", style.paint(Role::Heading, name))
}

/// A label and its facts, wrapped between facts. Nothing at all when there are no facts.
pub(in crate::report) fn facts(out: &mut dyn Write, style: TextStyle, label: &str, facts: &[String]) -> io::Result<()> {
    if facts.is_empty() {
        return Ok(());
    }
    let label_text = format!("  {label}");
    let padding = LABEL.saturating_sub(shorten::width(&label_text)).max(1);
    let role = if label.is_empty() { Role::Plain } else { Role::Dim };
    write!(out, "{}{:padding$}", style.paint(role, &label_text), "")?;
    let room = style.width.unwrap_or(usize::MAX);
    let mut at = LABEL.max(shorten::width(&label_text) + 1);
    for (nth, fact) in facts.iter().enumerate() {
        let width = visible(fact);
        if nth > 0 {
            if at + shorten::width(SEPARATOR) + width > room {
                write!(out, "\n{:LABEL$}", "")?;
                at = LABEL;
            } else {
                write!(out, "{}", style.paint(Role::Dim, SEPARATOR))?;
                at += shorten::width(SEPARATOR);
            }
        }
        // One fact may be longer than a line: it continues below, from word to word.
        for (word_at, word) in fact.split(' ').enumerate() {
            let width = visible(word);
            if word_at > 0 && at + 1 + width > room {
                write!(out, "\n{:LABEL$}", "")?;
                at = LABEL;
            } else if word_at > 0 {
                write!(out, " ")?;
                at += 1;
            }
            write!(out, "{word}")?;
            at += width;
        }
    }
    writeln!(out)
}

/// Words on lines with a small indent, the first one marked.
pub(in crate::report) fn paragraph(out: &mut dyn Write, style: TextStyle, role: Role, text: &str) -> io::Result<()> {
    write!(out, "  {}", style.paint(role, "!"))?;
    let room = style.width.unwrap_or(usize::MAX);
    let mut at = 3;
    for word in text.split(' ') {
        let width = shorten::width(word);
        if at + 1 + width > room && at > 4 {
            write!(out, "\n   ")?;
            at = 3;
        }
        write!(out, " {word}")?;
        at += 1 + width;
    }
    writeln!(out)
}

/// `value` with a name after it, where it is known.
pub(in crate::report) fn named(value: Option<u64>, name: &str) -> Option<String> {
    value.map(|value| format!("{} {name}", crate::report::units::count(value)))
}

/// A name with a size after it, where it is known.
pub(in crate::report) fn sized(name: &str, value: Option<u64>) -> Option<String> {
    value.map(|value| format!("{name} {}", crate::report::units::bytes(value)))
}

/// Columns that `text` takes, its colours apart. Escapes in it are this program's own: those of the
/// target have been made visible.
fn visible(text: &str) -> usize {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().map_or(0, shorten::width);
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, rest)| shorten::width(rest))).sum::<usize>()
}
