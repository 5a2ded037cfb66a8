//! Scheduler, Ps and Ms.

use std::io::{self, Write};

use super::facts::{facts, heading, named};
use super::table::{self, CellText, Column};
use super::theme::{Role, TextStyle};
use crate::analysis::sysmon::sysmon;
use crate::model::{PStatus, Processor, Snapshot, Thread};
use crate::report::units::count;

/// More Ps or Ms than that are cut to those that do something.
const MOST_ROWS: usize = 24;

/// From this share of the threads that the runtime allows on, they stand out.
const NEAR: f64 = 0.8;

/// Whether a look at the Ps is worth it: goroutines wait to run, or the world is stopped.
pub(super) fn ps_stand_out(snapshot: &Snapshot) -> bool {
    let waits = |p: &Processor| p.run_queue > 0 || matches!(p.status, PStatus::GcStop | PStatus::Unknown(_));
    let global = snapshot.sched.as_ref().and_then(|sched| sched.global_run_queue).unwrap_or(0);
    snapshot.death.is_none() && (global > 0 || snapshot.processors.iter().any(waits))
}

/// Whether a look at the Ms is worth it: there are nearly as many as may be, or the kernel holds one.
pub(super) fn ms_stand_out(snapshot: &Snapshot) -> bool {
    let sched = snapshot.sched.as_ref();
    let near = sched
        .and_then(|sched| sched.threads.zip(sched.max_threads))
        .is_some_and(|(threads, limit)| threads as f64 >= limit as f64 * NEAR);
    near || snapshot.death.is_none() && snapshot.threads.iter().any(|m| matches!(m.state, Some('D' | 'T' | 't' | 'Z')))
}

/// `all_shown`: whether every P and M is shown below.
pub(super) fn write(out: &mut dyn Write, style: TextStyle, snapshot: &Snapshot, all_shown: bool) -> io::Result<()> {
    let hint = if all_shown { String::new() } else { style.paint(Role::Dim, "-v shows every P and M") };
    heading(out, style, "Scheduler", &hint)?;
    let Some(sched) = &snapshot.sched else {
        return facts(out, style, "", &["not found".to_owned()]);
    };
    let known = |facts: [Option<String>; 5]| -> Vec<String> { facts.into_iter().flatten().collect() };
    let threads = known([
        named(sched.threads, "Ms"),
        named(sched.idle_threads, "idle"),
        named(sched.spinning_threads, "spinning"),
        named(sched.freed_threads, "ended"),
        sched.max_threads.map(|limit| format!("limit {}", count(limit))),
    ]);
    facts(out, style, "threads", &threads)?;
    let total = u64::try_from(snapshot.processors.len()).ok().filter(|count| *count > 0);
    let stopping = sched.stopping_the_world == Some(true);
    let stopping = stopping.then(|| style.paint(Role::Attention, "the world is being stopped"));
    facts(
        out,
        style,
        "processors",
        &known([named(total, "Ps"), named(sched.idle_processors, "idle"), stopping, None, None]),
    )?;
    let queues =
        [named(sched.global_run_queue, "global"), named(sched.local_run_queues, "on the Ps"), None, None, None];
    facts(out, style, "run queues", &known(queues))?;
    let most = if sched.goroutines_created_exact { "" } else { "at most " };
    let created = sched.goroutines_created.map(|created| format!("{most}{} created so far", count(created)));
    let goroutines = known([created, named(sched.system_goroutines, "system (ngsys)"), None, None, None]);
    facts(out, style, "goroutines", &goroutines)
}

pub(super) fn write_processors(out: &mut dyn Write, style: TextStyle, processors: &[Processor]) -> io::Result<()> {
    if processors.is_empty() {
        return Ok(());
    }
    heading(out, style, "Ps", "")?;
    let mut shown: Vec<&Processor> = processors.iter().collect();
    if shown.len() > MOST_ROWS {
        shown.sort_by_key(|p| (p.status == PStatus::Idle && p.run_queue == 0 && p.runnext.is_none(), p.id));
        shown.truncate(MOST_ROWS);
        shown.sort_by_key(|p| p.id);
    }
    let columns = [
        Column::right("P"),
        Column::left("status"),
        Column::right("M"),
        Column::right("goroutine"),
        Column::right("queue"),
        Column::right("next"),
        Column::right("schedtick"),
        Column::right("syscalltick"),
        Column::right("timers"),
    ];
    table::write(out, style, &columns, shown.len(), &|at| {
        let Some(p) = shown.get(at) else { return Vec::new() };
        let role = match p.status {
            PStatus::Running => Role::Good,
            PStatus::Idle | PStatus::Dead => Role::Dim,
            PStatus::Syscall | PStatus::GcStop | PStatus::Unknown(_) => Role::Attention,
        };
        let queue = if p.run_queue > 0 { Role::Attention } else { Role::Plain };
        vec![
            CellText::plain(p.id.to_string()),
            CellText::new(role, p.status.name()),
            optional(p.m),
            optional(p.running.map(|id| id.0)),
            CellText::new(queue, p.run_queue.to_string()),
            optional(p.runnext.map(|id| id.0)),
            CellText::plain(count(u64::from(p.schedtick))),
            CellText::plain(count(u64::from(p.syscalltick))),
            optional(p.timers),
        ]
    })?;
    more(out, style, processors.len() - shown.len(), "idle")
}

pub(super) fn write_threads(out: &mut dyn Write, style: TextStyle, threads: &[Thread]) -> io::Result<()> {
    if threads.is_empty() {
        return Ok(());
    }
    let sysmon = sysmon(threads);
    heading(out, style, "Ms", "")?;
    let mut shown: Vec<&Thread> = threads.iter().collect();
    if shown.len() > MOST_ROWS {
        shown.sort_by_key(|m| (m.p.is_none(), m.goroutine.is_none(), m.id));
        shown.truncate(MOST_ROWS);
        shown.sort_by_key(|m| m.id);
    }
    let columns = [
        Column::right("M"),
        Column::right("thread"),
        Column::left("state"),
        Column::right("P"),
        Column::right("goroutine"),
        Column::left("doing"),
    ];
    table::write(out, style, &columns, shown.len(), &|at| {
        let Some(m) = shown.get(at) else { return Vec::new() };
        let role = if m.state == Some('R') { Role::Good } else { Role::Plain };
        vec![
            CellText::plain(m.id.to_string()),
            optional(m.tid),
            CellText::new(role, m.state.map_or("-".to_owned(), kernel_state)),
            optional(m.p),
            optional(m.goroutine.map(|id| id.0)),
            CellText::plain(doing(m, sysmon)),
        ]
    })?;
    more(out, style, threads.len() - shown.len(), "without a P")
}

/// The kernel's letters in words (`proc(5)`).
fn kernel_state(letter: char) -> String {
    match letter {
        'R' => "running".to_owned(),
        'S' => "sleeping".to_owned(),
        'D' => "disk sleep".to_owned(),
        'T' => "stopped".to_owned(),
        't' => "traced".to_owned(),
        'Z' => "zombie".to_owned(),
        'X' => "dead".to_owned(),
        'I' => "idle".to_owned(),
        other => crate::report::clean::clean(&other.to_string()).into_owned(),
    }
}

/// `sysmon` is the id of the M that runs it.
fn doing(m: &Thread, sysmon: Option<i64>) -> String {
    let mut words = Vec::new();
    if sysmon == Some(m.id) {
        words.push("sysmon".to_owned());
    }
    if m.spinning {
        words.push("looking for work".to_owned());
    }
    // The monitor has nothing to do now and then, and is never there for work.
    if m.blocked && sysmon != Some(m.id) {
        words.push("parked".to_owned());
    }
    if m.in_cgo {
        words.push("in C".to_owned());
    }
    if let Some(goroutine) = m.locked_goroutine {
        words.push(format!("locked to goroutine {}", goroutine.0));
    }
    words.join(", ")
}

fn optional<T: ToString>(value: Option<T>) -> CellText {
    match value {
        Some(value) => CellText::plain(value.to_string()),
        None => CellText::new(Role::Dim, "-"),
    }
}

fn more(out: &mut dyn Write, style: TextStyle, hidden: usize, what: &str) -> io::Result<()> {
    if hidden == 0 {
        return Ok(());
    }
    let text = format!("  … and {} more, {what}", count(u64::try_from(hidden).unwrap_or(u64::MAX)));
    writeln!(out, "{}", style.paint(Role::Dim, &text))
}
