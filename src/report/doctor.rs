//! The report of `gospy doctor`: what was found, how, and what is missing. It is what a bug report needs.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::clean::clean;
use super::json::{SCHEMA_VERSION, schema_of, to_writer};
use super::text::{CellText, Column, Role, Shrink, TextStyle, facts, table};
use super::units::{bytes, count, duration};
use crate::inspect::doctor::{Check, Doctor, Program, Reading};

/// What `gospy doctor --json` prints: the report, and what wrote it.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "gospy doctor")]
struct Document<'a> {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of gospy.
    gospy_version: &'static str,
    #[serde(flatten)]
    doctor: &'a Doctor,
}

/// Writes it as one JSON object on one line.
///
/// # Errors
/// Those of `out`.
pub fn json(out: &mut dyn Write, doctor: &Doctor) -> io::Result<()> {
    let gospy_version = env!("CARGO_PKG_VERSION");
    to_writer(out, &Document { schema_version: SCHEMA_VERSION, gospy_version, doctor })?;
    writeln!(out)
}

/// The JSON Schema of what `--json` prints.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'_>>()
}

/// Writes it for people.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, style: TextStyle, doctor: &Doctor) -> io::Result<()> {
    let on = format!("on {} ({})", clean(&doctor.kernel), clean(&doctor.machine));
    writeln!(out, "{}  {on}", style.paint(Role::Strong, concat!("gospy ", env!("CARGO_PKG_VERSION"))))?;
    write_access(out, style, doctor)?;
    if !doctor.serve.is_empty() {
        facts::heading(out, style, "Server", "what gospy serve and gospy mcp would have here")?;
        write_checks(out, style, &doctor.serve)?;
    }
    if let Some(program) = &doctor.program {
        write_program(out, style, program)?;
    }
    if !doctor.facts.is_empty() {
        facts::heading(out, style, "Found", "facts, their sources, and what agrees")?;
        let columns = [
            Column::left("what"),
            Column::shrinking("source", Shrink::Wrap),
            Column::shrinking("agrees with", Shrink::Wrap),
        ];
        table::write(out, style, &columns, doctor.facts.len(), &|at| {
            let Some(fact) = doctor.facts.get(at) else { return Vec::new() };
            vec![
                CellText::plain(clean(&fact.name)),
                CellText::plain(clean(&fact.source)),
                CellText::new(Role::Dim, clean(&fact.cross_checks.join("; "))),
            ]
        })?;
    }
    if let Some(reading) = &doctor.reading {
        write_reading(out, style, reading)?;
    }
    if !doctor.warnings.is_empty() {
        facts::heading(out, style, "Warnings", "")?;
    }
    for warning in &doctor.warnings {
        let times = if warning.count > 1 { format!(" ({} times)", count(warning.count)) } else { String::new() };
        let text = format!("{}: {}{times}", warning.code, clean(&warning.message));
        facts::paragraph(out, style, Role::Attention, &text)?;
    }
    // What refuses the access is said with it.
    let said = |line: &str| doctor.refusal.as_ref().is_some_and(|r| line.contains(&r.reason) || line == r.remedy);
    let problem: Vec<&str> = doctor.problem.iter().flat_map(|text| text.lines()).filter(|line| !said(line)).collect();
    if !problem.is_empty() {
        facts::heading(out, style, "Problem", "")?;
    }
    for line in problem {
        facts::paragraph(out, style, Role::Bad, &clean(line))?;
    }
    Ok(())
}

fn write_access(out: &mut dyn Write, style: TextStyle, doctor: &Doctor) -> io::Result<()> {
    let of = match (doctor.pid, &doctor.file) {
        (Some(pid), _) => format!("process {pid}"),
        (None, Some(file)) => clean(file).into_owned(),
        (None, None) => "this machine".to_owned(),
    };
    facts::heading(out, style, "Access", &of)?;
    write_checks(out, style, &doctor.access)?;
    if let Some(refusal) = &doctor.refusal {
        writeln!(out)?;
        facts::paragraph(out, style, Role::Bad, &clean(&refusal.reason))?;
        facts::paragraph(out, style, Role::Good, &clean(&refusal.remedy))?;
    }
    Ok(())
}

fn write_checks(out: &mut dyn Write, style: TextStyle, checks: &[Check]) -> io::Result<()> {
    let columns = [Column::left(""), Column::left("check"), Column::shrinking("found", Shrink::Wrap)];
    table::write(out, style, &columns, checks.len(), &|at| {
        let Some(check) = checks.get(at) else { return Vec::new() };
        let (role, mark) = match check.passed {
            Some(true) => (Role::Good, "ok"),
            Some(false) => (Role::Bad, "no"),
            None => (Role::Dim, "·"),
        };
        vec![CellText::new(role, mark), CellText::plain(clean(&check.name)), CellText::plain(clean(&check.value))]
    })
}

fn write_program(out: &mut dyn Write, style: TextStyle, program: &Program) -> io::Result<()> {
    facts::heading(out, style, "Program", &clean(program.library.as_deref().unwrap_or(&program.exe)))?;
    let has = |yes: bool, what: &str| if yes { format!("has {what}") } else { format!("no {what}") };
    let version = program.go_version.as_deref().map_or("no build info".into(), clean);
    facts::facts(out, style, "built", &[format!("{version} for {}", program.arch)])?;
    facts::facts(out, style, "build id", &program.build_id.iter().map(|id| clean(id).into()).collect::<Vec<_>>())?;
    facts::facts(out, style, "module", &program.module.iter().map(|name| clean(name).into()).collect::<Vec<_>>())?;
    facts::facts(out, style, "settings", &program.settings.iter().map(|text| clean(text).into()).collect::<Vec<_>>())?;
    let kind = if program.position_independent { "position-independent" } else { "at fixed addresses" };
    let linked = [
        kind.to_owned(),
        format!("loaded {} above its own addresses", program.load_bias),
        format!("function table at {}", program.pclntab),
        has(program.symtab, ".symtab"),
        has(program.dwarf, "DWARF"),
    ];
    facts::facts(out, style, "linked", &linked)?;
    facts::facts(out, style, "--bin", &program.symbol_file.iter().map(|path| clean(path).into()).collect::<Vec<_>>())
}

fn write_reading(out: &mut dyn Write, style: TextStyle, reading: &Reading) -> io::Result<()> {
    facts::heading(out, style, "Reading", "")?;
    let how = [
        format!("in {} by {}", duration(reading.duration_ns), reading.backend),
        format!("{} calls", count(reading.syscalls)),
        bytes(reading.bytes),
    ];
    facts::facts(out, style, "read", &how)?;
    let mut goroutines = vec![format!("{} validated", count(reading.validated))];
    goroutines.extend((reading.moving > 0).then(|| format!("{} changed on every try", count(reading.moving))));
    goroutines.extend((reading.unreadable > 0).then(|| format!("{} unreadable", count(reading.unreadable))));
    facts::facts(out, style, "goroutines", &goroutines)?;
    let complete = if reading.complete { "everything was found" } else { "something is missing; see the warnings" };
    facts::facts(out, style, "complete", &[complete.to_owned()])
}
