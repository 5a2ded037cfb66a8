//! The Go programs of this machine.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::clean::clean;
use super::json::{SCHEMA_VERSION, schema_of, to_writer};
use super::text::{CellText, Column, Role, Shrink, TextStyle, table};
use super::units::{count, counted};
use crate::inspect::processes::{Process, Processes, remedy};

/// What `gospy ps --json` prints: the list, and what wrote it.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "gospy ps")]
struct Document<'a> {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of the gospy that wrote this.
    gospy_version: &'static str,
    #[serde(flatten)]
    all: &'a Processes,
}

/// Writes it as one JSON object on one line.
///
/// # Errors
/// Those of `out`.
pub fn json(out: &mut dyn Write, all: &Processes) -> io::Result<()> {
    let gospy_version = env!("CARGO_PKG_VERSION");
    to_writer(out, &Document { schema_version: SCHEMA_VERSION, gospy_version, all })?;
    writeln!(out)
}

/// The JSON Schema of what `--json` prints.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'_>>()
}

/// Writes a table, what could not be read, and how to go on.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, style: TextStyle, all: &Processes) -> io::Result<()> {
    if all.processes.is_empty() {
        writeln!(out, "no Go programs are running, as far as this user can see")?;
    } else {
        let listed: Vec<&Process> = all.processes.iter().collect();
        write_list(out, style, &listed, Numbers::None)?;
    }
    for process in &all.processes {
        let Some(why) = &process.unreadable else { continue };
        let line = format!("{}: {}", process.pid, clean(why.lines().next().unwrap_or("")));
        writeln!(out, "  {}", style.paint(Role::Dim, &line))?;
    }
    if all.hidden > 0 {
        let processes = counted(all.hidden, "more process is", "more processes are");
        writeln!(out, "{}", style.paint(Role::Dim, &format!("{processes} not readable{}", remedy(all.as_root))))?;
    }
    if let Some(pid) = all.refused {
        let line = format!("`gospy doctor {pid}` shows which permission is missing");
        writeln!(out, "{}", style.paint(Role::Dim, &line))?;
    }
    Ok(())
}

/// Says what to type next, with a program of the list for an example.
///
/// # Errors
/// Those of `out`.
pub fn next_steps(out: &mut dyn Write, style: TextStyle, all: &Processes) -> io::Result<()> {
    let example = all.processes.iter().find(|process| process.goroutines.is_some());
    let example = example.map_or("PID".to_owned(), |process| process.pid.to_string());
    writeln!(out)?;
    for (command, what) in [
        (format!("gospy {example}"), "what its goroutines do (also: gospy NAME)"),
        (format!("gospy top {example}"), "the same, live; more: gospy --help"),
    ] {
        writeln!(out, "{}  {what}", style.paint(Role::Strong, &format!("{command:<18}")))?;
    }
    Ok(())
}

/// Whether the rows of a list have numbers to choose by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// They have none.
    None,
    /// From 1.
    FromOne,
}

/// Writes a row for each process. Columns that would be empty are left out.
///
/// # Errors
/// Those of `out`.
pub fn write_list(out: &mut dyn Write, style: TextStyle, all: &[&Process], numbers: Numbers) -> io::Result<()> {
    // Ids of containers take the room that names need.
    let is_narrow = style.width.is_some_and(|width| width < 100);
    let container: Cell = if is_narrow { short_container } else { long_container };
    let any = |known: fn(&Process) -> bool| all.iter().any(|process| known(process));
    let shown: Vec<(Column, Cell)> = [
        (numbers == Numbers::FromOne, Column::right(""), number as Cell),
        (true, Column::right("pid"), |_, process| CellText::plain(process.pid.to_string())),
        (true, Column::left("user"), user),
        (true, Column::left("go"), go),
        (!is_narrow && any(|p| p.threads > 0), Column::right("threads"), |_, process| {
            CellText::plain(count(process.threads))
        }),
        (any(|p| p.goroutines.is_some() || p.unreadable.is_some()), Column::right("goroutines"), goroutines),
        (any(|p| p.pod.is_some()), Column::shrinking("pod", Shrink::Words), pod),
        (any(|p| p.container.is_some() || p.hostname.is_some()), Column::left("container"), container),
        (true, Column::shrinking("module", Shrink::Path), module),
        (any(|p| p.stripped), Column::left(""), stripped),
        (true, Column::shrinking("command", Shrink::Words), command),
    ]
    .into_iter()
    .filter_map(|(is_shown, column, cell)| is_shown.then_some((column, cell)))
    .collect();
    let (columns, cells): (Vec<Column>, Vec<Cell>) = shown.into_iter().unzip();
    table::write(out, style, &columns, all.len(), &|at| {
        let Some(process) = all.get(at) else { return Vec::new() };
        cells.iter().map(|cell| cell(at, process)).collect()
    })
}

/// The text of a process, at a place in the list, in one column.
type Cell = fn(usize, &Process) -> CellText;

fn number(at: usize, _: &Process) -> CellText {
    CellText::new(Role::Strong, at.saturating_add(1).to_string())
}

fn user(_: usize, process: &Process) -> CellText {
    let user = process.user.clone().or(process.uid.map(|uid| uid.to_string())).unwrap_or_default();
    CellText::plain(clean(&user))
}

fn go(_: usize, process: &Process) -> CellText {
    CellText::plain(clean(process.go_version.as_deref().unwrap_or("?").trim_start_matches("go")))
}

fn goroutines(_: usize, process: &Process) -> CellText {
    match process.goroutines {
        Some(goroutines) => CellText::new(Role::Strong, count(goroutines)),
        None => CellText::new(Role::Dim, "?"),
    }
}

fn pod(_: usize, process: &Process) -> CellText {
    CellText::plain(clean(process.pod.as_deref().unwrap_or_default()))
}

/// Digits of a container's id that are shown, as Docker does.
const ID_DIGITS: usize = 12;

/// The same where there is little room.
const FEW_DIGITS: usize = 7;

fn long_container(_: usize, process: &Process) -> CellText {
    container(process, ID_DIGITS)
}

fn short_container(_: usize, process: &Process) -> CellText {
    container(process, FEW_DIGITS)
}

/// The start of an id, or a name. The name that it has for its host is often the one that people gave it.
fn container(process: &Process, digits: usize) -> CellText {
    let hostname = process.hostname.as_deref().filter(|_| process.pod.is_none());
    let id = process.container.as_deref().map(|id| id.get(..digits).unwrap_or(id));
    let text = match (id, hostname) {
        (Some(id), Some(hostname)) if id != hostname => format!("{hostname} ({id})"),
        (id, hostname) => id.or(hostname).unwrap_or_default().to_owned(),
    };
    CellText::plain(clean(&text))
}

fn module(_: usize, process: &Process) -> CellText {
    let module = process.module.as_deref().unwrap_or("-");
    let version = process.version.as_deref().filter(|version| *version != "(devel)");
    let module = version.map_or(module.to_owned(), |version| format!("{module}@{version}"));
    CellText::plain(clean(&module))
}

fn stripped(_: usize, process: &Process) -> CellText {
    CellText::new(Role::Dim, if process.stripped { "stripped" } else { "" })
}

fn command(_: usize, process: &Process) -> CellText {
    let command = match process.cmdline.as_slice() {
        [] => process.exe.clone().unwrap_or_else(|| process.name.clone()),
        words => words.join(" "),
    };
    CellText::plain(clean(&command))
}
