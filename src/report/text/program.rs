//! The head of a summary: which program, and how it was read.

use std::io::{self, Write};

use super::facts::facts;
use super::theme::{Role, TextStyle};
use super::{facts, shorten};
use crate::model::{ModuleInfo, Reading, Snapshot, TargetInfo};
use crate::report::clean::clean;
use crate::report::resources::{self, Fact};
use crate::report::units::{bytes, count, counted, duration};

/// Longest command line that is shown, in columns.
const COMMAND: usize = 400;

/// The first line: what it is.
pub(super) fn name(out: &mut dyn Write, style: TextStyle, snapshot: &Snapshot) -> io::Result<()> {
    let target = &snapshot.target;
    let mut beside =
        vec![format!("pid {}", target.pid), format!("{} linux/{}", clean(&target.go_version), target.arch)];
    beside.extend(target.uptime_ns.map(|ns| format!("up {}", duration(ns))));
    writeln!(out, "{}  {}", style.paint(Role::Strong, &clean(target.name())), beside.join(" · "))
}

/// What else is known of it, and how it was read.
pub(super) fn facts_of(out: &mut dyn Write, style: TextStyle, snapshot: &Snapshot) -> io::Result<()> {
    let target = &snapshot.target;
    facts(out, style, "program", &[command(target)])?;
    facts(out, style, "module", &module(&target.module))?;
    let painted = |facts: Vec<Fact>| -> Vec<String> {
        let role = |fact: &Fact| if fact.alarming { Role::Attention } else { Role::Plain };
        facts.iter().map(|fact| style.paint(role(fact), &fact.text)).collect()
    };
    let cpu = painted(resources::cpu(target).into_iter().collect());
    facts(out, style, "process", &process(target, cpu))?;
    facts(out, style, "limits", &painted(resources::limits(&target.resources)))?;
    facts(out, style, "read", &reading(&snapshot.reading))
}

fn command(target: &TargetInfo) -> String {
    let arguments = target.cmdline.iter().skip(1).map(|argument| format!(" {}", clean(argument)));
    let line = clean(&target.exe).into_owned() + &arguments.collect::<String>();
    shorten::words(&line, COMMAND).into_owned()
}

fn module(module: &ModuleInfo) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(path) = &module.path {
        let version = module.version.as_deref().unwrap_or("");
        facts.push(clean(&format!("{path} {version}")).trim_end().to_owned());
    }
    if let Some(package) = module.package.as_ref().filter(|package| Some(*package) != module.path.as_ref()) {
        facts.push(format!("package {}", clean(package)));
    }
    if let Some(revision) = &module.vcs_revision {
        let short: String = revision.chars().take(12).collect();
        let day = module.vcs_time.as_deref().and_then(|time| time.split('T').next());
        let day = day.map_or(String::new(), |day| format!(" of {day}"));
        let modified = if module.vcs_modified == Some(true) { ", modified" } else { "" };
        facts.push(clean(&format!("revision {short}{day}{modified}")).into_owned());
    }
    facts
}

/// `cpu` is its use of CPU time now.
fn process(target: &TargetInfo, cpu: Vec<String>) -> Vec<String> {
    let mut facts = cpu;
    facts.extend(target.os_threads.map(|threads| counted(u64::from(threads), "thread", "threads")));
    facts.extend(target.gomaxprocs.map(|procs| format!("GOMAXPROCS {procs}")));
    facts.extend(facts::sized("RSS", target.rss_bytes));
    facts.extend(target.cpu_ns.map(|ns| format!("{} of CPU time", duration(ns))));
    facts.extend(target.process_state.and_then(|state| match state {
        'T' | 't' => Some("stopped".to_owned()),
        'Z' => Some("zombie".to_owned()),
        _ => None,
    }));
    facts.extend(target.stripped.then(|| "stripped".to_owned()));
    facts
}

/// How it was read, and how consistent the snapshot is.
fn reading(reading: &Reading) -> Vec<String> {
    let mut facts = vec![
        format!("in {} by {}", duration(reading.duration_ns), clean(reading.backend)),
        format!("{}, {}", counted(reading.syscalls, "call", "calls"), bytes(reading.bytes)),
    ];
    facts.push(match &reading.freeze {
        None => "without stopping it".to_owned(),
        Some(freeze) if freeze.whole_program => {
            let threads = counted(u64::from(freeze.threads), "thread", "threads");
            format!("stopped for {} ({threads})", duration(freeze.stopped_ns))
        }
        Some(freeze) => {
            let threads = counted(u64::from(freeze.threads), "running thread", "running threads");
            format!("{threads} stopped one by one, for {} at most", duration(freeze.stopped_ns))
        }
    });
    let consistency = reading.consistency;
    let odd = consistency.moving.saturating_add(consistency.unreadable);
    let mut parts = vec![if odd == 0 {
        format!("all {} goroutines validated", count(consistency.validated))
    } else {
        let total = consistency.validated.saturating_add(odd);
        format!("{} of {} goroutines validated", count(consistency.validated), count(total))
    }];
    let tail = [
        (consistency.retried, "only on a further try"),
        (consistency.moving, "changed on every try"),
        (consistency.unreadable, "unreadable"),
    ];
    if let Some(stacks) = reading.stacks.filter(|stacks| stacks.kept > 0) {
        parts.push(format!("{} stacks unchanged since earlier readings", count(stacks.kept)));
    }
    parts.extend(tail.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(*n))));
    facts.push(parts.join(", "));
    facts
}
