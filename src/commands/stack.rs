//! `gospy stack`

use super::args::Global;
use super::files::{is_dash, report_file, write_file};
use super::list_args::StackArgs;
use super::selection::{Selection, verdict};
use super::source::Sources;
use super::streams::Streams;
use super::{Exit, Failure};
use crate::analysis::answer::{Rows, SystemGoroutines};
use crate::analysis::{Answer, GroupBy, Index, Request};
use crate::model::Snapshot;
use crate::report::json::{self, JsonOptions};
use crate::report::matching::none_match;
use crate::report::profile::goroutines::{self, Samples};
use crate::report::traceback::{self, TracebackOptions};
use crate::report::units::{counted, duration};
use crate::report::{folded, stack_groups};

/// More goroutines than that are put together on a terminal.
const MOST_ON_TERMINAL: usize = 60;

pub(super) fn run(
    arguments: &StackArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    if sources.redacts() && (arguments.arguments || arguments.values) {
        let message = "--redact leaves out arguments of functions: it cannot be used with --arguments or --values";
        return Err(Failure::new(Exit::Usage, message));
    }
    let selection = Selection::new(&arguments.list)?;
    let to_stdout = arguments.pprof.as_deref().is_some_and(is_dash);
    if to_stdout && streams.out_is_terminal {
        return Err(Failure::new(Exit::Usage, "--pprof - would write binary data to the terminal: name a file"));
    }
    let profile = arguments.pprof.as_deref().filter(|path| !is_dash(path));
    let profile = profile.map(|path| report_file("--pprof", path)).transpose()?;
    let mut source = sources.open(&arguments.target.wanted())?;
    let snapshot = source.capture(&arguments.options())?;
    let index = Index::new(&snapshot);
    let with_system = arguments.system || arguments.list.json || selection.names_ids();
    let request = Request {
        // Without --system, as in the runtime's own dumps.
        system: if with_system { SystemGoroutines::Mixed } else { SystemGoroutines::Hidden },
        rows: rows(arguments, streams, selection.names_ids()),
        ..selection.request()
    };
    let answer = Answer::of(&index, request);
    let positions = answer.positions();

    let options = TracebackOptions {
        // What was asked for by its id is shown, the runtime's own or not.
        system: arguments.system,
        frames: arguments.frames(),
        labels: arguments.labels,
        c_frames: arguments.c_frames,
        values: arguments.values,
        style: streams.out_style(),
        ..TracebackOptions::for_version(&snapshot.target.go_version)
    };
    let samples = if arguments.all { Samples::Each } else { Samples::Summed };
    match &profile {
        _ if to_stdout => {
            streams.finish(|out| goroutines::write(out, &index, &positions, samples).map(drop))?;
        }
        Some(goal) => {
            let mut written = 0;
            write_file(goal, |out| {
                written = goroutines::write(out, &index, &positions, samples)?;
                Ok(())
            })?;
            if !global.quiet {
                let goroutines = counted(u64::try_from(positions.len()).unwrap_or(u64::MAX), "goroutine", "goroutines");
                let samples = counted(written, "sample", "samples");
                streams.note(&format!("{goroutines} in {samples} written to {}", goal.path().display()));
            }
        }
        None if arguments.list.json => {
            let options = JsonOptions { frames: true, arguments: arguments.arguments };
            streams.finish(|out| json::write(out, &answer, options))?;
        }
        None if arguments.folded => {
            streams.finish(|out| folded::write(out, &index, &positions, arguments.system))?;
        }
        None if answer.groups().is_some() => streams.finish(|out| stack_groups::write(out, &answer, options))?,
        None => streams.finish(|out| traceback::write_all(out, &index, &positions, options))?,
    }
    if !arguments.list.json && !global.quiet {
        if let Some((text, filter)) = &answer.request().filter
            && answer.matching() == 0
        {
            let but = if selection.names_ids() {
                "none of those that --goid names"
            } else {
                "all the runtime's own: --system shows them"
            };
            for line in none_match(&index, answer.counts().total, text, filter, but) {
                streams.note(&line);
            }
        }
        let hidden = answer.hidden().goroutines;
        if answer.groups().is_none() && hidden > 0 {
            let more = counted(hidden, "more goroutine", "more goroutines");
            streams.note(&format!("and {more}: --limit 0 shows all"));
        }
        let no_names = snapshot.traceback.as_ref().is_some_and(|details| details.parameters.is_none());
        if arguments.values && no_names {
            streams
                .note("names of arguments are unknown: the program has no DWARF; --bin takes a build of it that has");
        }
        notes(&snapshot, streams);
    }
    selection.missing(&snapshot)?;
    verdict(&snapshot, global.strict)
}

fn rows(arguments: &StackArgs, streams: &Streams<'_>, by_id: bool) -> Rows {
    let text = !arguments.list.json && !arguments.folded && arguments.pprof.is_none();
    let each = arguments.all || arguments.c_frames || by_id;
    if let Some(by) = arguments.group() {
        Rows::Groups(by)
    } else if text && streams.out_is_terminal && !each {
        Rows::Auto { most_single: MOST_ON_TERMINAL, by: GroupBy::Stack }
    } else {
        Rows::Each
    }
}

/// What a traceback has no place for.
fn notes(snapshot: &Snapshot, streams: &mut Streams<'_>) {
    if let Some(freeze) = &snapshot.reading.freeze {
        let threads = counted(u64::from(freeze.threads), "thread", "threads");
        let how = if freeze.whole_program { "together, for" } else { "one by one, each for at most" };
        streams.note(&match freeze.threads {
            0 => "no goroutine was running: no thread was stopped".to_owned(),
            _ => format!("{threads} stopped {how} {}", duration(freeze.stopped_ns)),
        });
    }
    for warning in &snapshot.warnings {
        let times = if warning.count > 1 { format!(" ({} times)", warning.count) } else { String::new() };
        let message = crate::report::clean::clean(&warning.message).into_owned();
        streams.note(&format!("warning: {}: {message}{times}", warning.code.name()));
    }
}
