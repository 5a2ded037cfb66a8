//! How a program died, for people: what it printed, and what the goroutine to blame did.

use std::io::{self, Write};

use super::clean::clean;
use super::text::{Role, TextStyle, facts};
use super::traceback::{FrameLimit, Traceback, TracebackOptions};
use crate::analysis::Index;
use crate::model::Death;

/// Frames of the goroutine to blame that are shown: its inner half and its outer half.
const FRAMES: usize = 40;
/// Lines of what the program printed that are shown.
const LINES: usize = 40;
/// Longest of them, in characters.
const LINE: usize = 2_000;

/// A section of a summary; nothing at all for a program that lives.
pub(super) fn section(out: &mut dyn Write, style: TextStyle, index: &Index<'_>) -> io::Result<()> {
    let snapshot = index.snapshot();
    let Some(death) = &snapshot.death else { return Ok(()) };
    facts::heading(out, style, "Cause of death", if death.certain { "" } else { "likely" })?;
    let lines: Vec<String> = match death.text.as_str() {
        "" => vec![death.headline()],
        text => text.lines().map(str::to_owned).collect(),
    };
    for line in lines.iter().take(LINES) {
        let cut: String = line.chars().take(LINE).collect();
        // A tab at its start is the runtime's, to set off the later ones.
        let (indent, rest) = cut.strip_prefix('\t').map_or(("", cut.as_str()), |rest| ("  ", rest));
        let more = if cut.len() < line.len() { "…" } else { "" };
        writeln!(out, "  {indent}{}", style.paint(Role::Bad, &format!("{}{more}", clean(rest))))?;
    }
    if let Some(more) = lines.len().checked_sub(LINES).filter(|more| *more > 0) {
        writeln!(out, "  … and {more} more lines; --json has them")?;
    }
    for note in notes(death) {
        writeln!(out, "  {note}")?;
    }
    goroutine(out, style, index, death)
}

/// What the program did not print.
fn notes(death: &Death) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(signal) = &death.signal
        && let Some(pid) = death.sender()
    {
        let uid = signal.sender_uid.map_or_else(String::new, |uid| format!(" (uid {uid})"));
        notes.push(format!("{} was sent by process {pid}{uid}", signal.name()));
    }
    if death.goroutine.is_none() {
        let m = death.m.map_or_else(String::new, |m| format!(", m {m}"));
        notes.push(format!("in no goroutine (thread {}{m})", death.thread));
    }
    notes.extend(death.object.as_ref().map(|path| format!("the signal hit code that is not Go, in {}", clean(path))));
    notes
}

fn goroutine(out: &mut dyn Write, style: TextStyle, index: &Index<'_>, death: &Death) -> io::Result<()> {
    let Some(id) = death.goroutine else { return Ok(()) };
    let snapshot = index.snapshot();
    let options = TracebackOptions {
        frames: FrameLimit::Most(FRAMES),
        style,
        ..TracebackOptions::for_version(&snapshot.target.go_version)
    };
    let mut traceback = Traceback::new(index, options);
    let mut text = Vec::new();
    match snapshot.goroutines.iter().find(|goroutine| goroutine.id == id) {
        Some(goroutine) => traceback.write_with(&mut text, goroutine, death.stack)?,
        None => writeln!(text, "goroutine {}", id.0)?,
    }
    if death.stack.is_some() && !death.stack_complete {
        writeln!(text, "...its outer frames were not read...")?;
    }
    writeln!(out)?;
    String::from_utf8_lossy(&text).lines().try_for_each(|line| writeln!(out, "  {line}"))
}
