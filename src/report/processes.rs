//! The Go programs of this machine.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::clean::clean;
use super::text::{CellText, Column, Role, Shrink, TextStyle, table};
use super::units::{count, counted};

/// A Go program that runs.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its user id.
    pub uid: Option<u32>,
    /// That user's name.
    pub user: Option<String>,
    /// Version of Go, where the file says.
    pub go_version: Option<String>,
    /// Path of the main module, or else of the main package.
    pub module: Option<String>,
    /// Version of the main module.
    pub version: Option<String>,
    /// Whether it has neither symbols nor DWARF.
    pub stripped: bool,
    /// Threads.
    pub threads: u64,
    /// Goroutines, the runtime's own included; null where they could not be counted.
    pub goroutines: Option<u64>,
    /// Why they could not be counted; null where they were.
    pub unreadable: Option<String>,
    /// Path of the executable.
    pub exe: Option<String>,
    /// Whether that file was deleted or replaced.
    pub exe_deleted: bool,
    /// Arguments.
    pub cmdline: Vec<String>,
}

/// Everything that `ps` says.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[schemars(title = "gospy ps")]
pub struct Processes {
    /// Raised only by a change that breaks readers.
    pub schema_version: u32,
    /// Version of the gospy that wrote this.
    pub gospy_version: &'static str,
    /// The Go programs, by pid.
    pub processes: Vec<Process>,
    /// Processes whose executable may not be looked at, so that nobody knows what they are.
    pub hidden: u64,
    /// One of those that may not be looked at or read, to ask `doctor` about.
    #[serde(skip)]
    pub refused: Option<i32>,
}

impl Processes {
    /// Whether none of them could be read, and that for want of rights.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused.is_some() && self.processes.iter().all(|process| process.goroutines.is_none())
    }
}

/// The JSON Schema of what `--json` prints.
#[must_use]
pub fn schema() -> schemars::Schema {
    super::json::schema_of::<Processes>()
}

/// Writes a table.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, style: TextStyle, all: &Processes) -> io::Result<()> {
    let columns = [
        Column::right("pid"),
        Column::left("user"),
        Column::left("go"),
        Column::right("threads"),
        Column::right("goroutines"),
        Column::shrinking("module", Shrink::Path),
        Column::left(""),
        Column::shrinking("command", Shrink::Words),
    ];
    if all.processes.is_empty() {
        writeln!(out, "no Go program runs here that can be seen")?;
    } else {
        table::write(out, style, &columns, all.processes.len(), &|at| {
            let Some(process) = all.processes.get(at) else { return Vec::new() };
            let user = process.user.clone().or(process.uid.map(|uid| uid.to_string())).unwrap_or_default();
            let go = process.go_version.as_deref().unwrap_or("?").trim_start_matches("go").to_owned();
            let module = process.module.as_deref().unwrap_or("-");
            let version = process.version.as_deref().filter(|version| *version != "(devel)");
            let module = version.map_or(module.to_owned(), |version| format!("{module}@{version}"));
            let command = if process.cmdline.is_empty() {
                process.exe.clone().unwrap_or_default()
            } else {
                process.cmdline.join(" ")
            };
            vec![
                CellText::plain(process.pid.to_string()),
                CellText::plain(clean(&user)),
                CellText::plain(clean(&go)),
                CellText::plain(count(process.threads)),
                match process.goroutines {
                    Some(goroutines) => CellText::new(Role::Strong, count(goroutines)),
                    None => CellText::new(Role::Dim, "?"),
                },
                CellText::plain(clean(&module)),
                CellText::new(Role::Dim, if process.stripped { "stripped" } else { "" }),
                CellText::plain(clean(&command)),
            ]
        })?;
    }
    for process in &all.processes {
        let Some(why) = &process.unreadable else { continue };
        let line = format!("{}: {}", process.pid, clean(why.lines().next().unwrap_or("")));
        writeln!(out, "  {}", style.paint(Role::Dim, &line))?;
    }
    if all.hidden > 0 {
        let processes = counted(all.hidden, "more process", "more processes");
        let line = format!("{processes} may not be looked at by this user");
        writeln!(out, "{}", style.paint(Role::Dim, &line))?;
    }
    if let Some(pid) = all.refused {
        let line = format!("`gospy doctor --pid {pid}` says what is missing to read such a process, and what to do");
        writeln!(out, "{}", style.paint(Role::Dim, &line))?;
    }
    Ok(())
}
