//! Completions: what a shell asks for on each press of the completion key.
//!
//! A shell runs gospy with `GOSPY_COMPLETE` set to its own name and the words so far after `--`, as the
//! script of `gospy completions` makes it do; the answer goes to standard output. Running programs are
//! offered by name and by pid. A name is only offered where a shell takes it as it is: what a program is
//! called is the choice of the user who started it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::Shells;

use super::streams::Streams;
use super::{Exit, Failure, topics};
use crate::inspect::processes::{Inventory, Process};
use crate::report::clean::clean;

/// The variable that makes gospy answer a shell.
const VARIABLE: &str = "GOSPY_COMPLETE";

/// Most programs that are offered.
const MOST: usize = 500;

/// The shell that asks, if one does.
pub(super) fn asking(streams: &Streams<'_>) -> Option<String> {
    streams.environment.complete.clone()
}

/// Of the environment: the shell that asks.
pub(super) fn shell_of_environment() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|shell| !shell.is_empty())
}

/// Writes what fits where the cursor is.
pub(super) fn answer(
    shell: &str,
    arguments: &[OsString],
    gospy: Command,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let words: Vec<OsString> = arguments.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(shell).filter(|_| !words.is_empty()) else {
        return Err(Failure::new(Exit::Usage, format!("{VARIABLE} is for the scripts of `gospy completions`")));
    };
    let mut gospy = with_target(gospy);
    let here = std::env::current_dir().ok();
    let mut text = Vec::new();
    let written = shell.write_complete(&mut gospy, words, here.as_deref(), &mut text);
    written.map_err(|error| Failure::new(Exit::Error, format!("no completions: {error}")))?;
    streams.finish(|out| out.write_all(&text))?;
    Ok(Exit::Done)
}

/// `gospy PID`, for which there is no definition: see `shorthand`.
fn with_target(gospy: Command) -> Command {
    gospy.arg(Arg::new("target").required(false).add(targets()))
}

/// Writes the script that makes a shell ask.
pub(super) fn script(shell: clap_complete::Shell, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(&name) else {
        return Err(Failure::new(Exit::Usage, format!("there are no completions for {name}")));
    };
    let mut text = Vec::new();
    let written = completer.write_registration(VARIABLE, "gospy", "gospy", "gospy", &mut text);
    written.map_err(|error| Failure::new(Exit::Error, format!("no script: {error}")))?;
    streams.finish(|out| out.write_all(&text))?;
    Ok(Exit::Done)
}

/// Names and pids.
pub(super) fn targets() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let programs = programs();
        by_name(&programs).into_iter().chain(by_pid(&programs)).collect()
    })
}

/// Names alone.
pub(super) fn names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| by_name(&programs()))
}

/// Pids alone, with the names for shells that show such.
pub(super) fn pids() -> ArgValueCandidates {
    ArgValueCandidates::new(|| by_pid(&programs()))
}

/// Commands and topics.
pub(super) fn helped() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let commands =
            ["summary", "stack", "top", "waits", "why", "leaks", "capture", "ps", "doctor", "diff", "check", "run"];
        commands.into_iter().chain(topics::NAMES).map(CompletionCandidate::new).collect()
    })
}

/// What cannot be listed is not offered.
fn programs() -> Vec<Process> {
    let mut programs = Inventory::take().unwrap_or_default().programs;
    programs.truncate(MOST);
    programs
}

fn by_name(programs: &[Process]) -> Vec<CompletionCandidate> {
    let mut names: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for process in programs {
        let name = process.usual_name();
        if is_plain(name) {
            names.entry(name).or_default().push(process.pid);
        }
    }
    let help = |pids: &[i32]| match pids {
        [pid] => format!("pid {pid}"),
        pids => format!("{} processes", pids.len()),
    };
    let candidate = |(name, pids): (&str, Vec<i32>)| CompletionCandidate::new(name).help(Some(help(&pids).into()));
    names.into_iter().map(candidate).collect()
}

fn by_pid(programs: &[Process]) -> Vec<CompletionCandidate> {
    let candidate = |process: &Process| {
        let module = process.module.as_deref().map(|module| format!(" · {module}")).unwrap_or_default();
        let help = clean(&format!("{}{module}", process.usual_name())).into_owned();
        CompletionCandidate::new(process.pid.to_string()).help(Some(help.into()))
    };
    programs.iter().map(candidate).collect()
}

/// Whether a shell takes a name as it is, and gospy takes it for a name.
fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
    !name.starts_with('-') && name.bytes().all(is_plain) && !name.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_shell_takes_as_they_are_are_offered() {
        let process = |pid, name: &str| Process { pid, name: name.to_owned(), ..Process::default() };
        let names =
            ["web", "$(reboot)", "a b", "`x`", "-h", "1234", "a;b", "we\u{1b}[2J", "x\n", "web", "node_exporter-1.2"];
        let programs: Vec<Process> = names.into_iter().zip(1..).map(|(name, pid)| process(pid, name)).collect();
        let values = |all: Vec<CompletionCandidate>| -> Vec<String> {
            all.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(values(by_name(&programs)), ["node_exporter-1.2", "web"]);
        let pids = by_pid(&programs);
        assert_eq!(pids.len(), names.len());
        let helps: Vec<String> = pids.iter().filter_map(|c| c.get_help()).map(ToString::to_string).collect();
        assert!(helps.iter().all(|help| !help.contains(['\u{1b}', '\n'])), "{helps:?}");
    }
}
