//! `gospy stack`

use super::args::{Global, StackArgs};
use super::files::{is_dash, report_file, write_file};
use super::selection::{Selection, verdict};
use super::source::Sources;
use super::streams::Streams;
use super::summary::JSON_IDS;
use super::{Exit, Failure};
use crate::analysis::group::group;
use crate::analysis::{GroupBy, Index, PlaceKind, Sort, SortKey};
use crate::model::Snapshot;
use crate::report::json::{self, JsonOptions};
use crate::report::matching::none_match;
use crate::report::pprof::{self, Samples};
use crate::report::traceback::{self, TracebackOptions};
use crate::report::units::{counted, duration};
use crate::report::{folded, stack_groups};

/// More goroutines than that are put together on a terminal.
const MOST_ON_TERMINAL: usize = 60;
/// Ids of a group shown in text.
const TEXT_IDS: usize = 64;

pub(super) fn run(
    arguments: &StackArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
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
    let mut picked = selection.pick(&index);
    let with_system = arguments.system || arguments.list.json || selection.names_ids();
    if !with_system {
        // As in the runtime's own dumps.
        picked.retain(|&at| snapshot.goroutines.get(at).is_some_and(|goroutine| !goroutine.system));
    }
    let matching = u64::try_from(picked.len()).ok();
    let limit = selection.limit.unwrap_or(usize::MAX);
    let by = grouping(arguments, streams, picked.len(), selection.names_ids());
    let groups = by.map(|by| {
        let ids = if arguments.list.json { JSON_IDS } else { TEXT_IDS };
        let mut groups = group(&index, &by, &picked, ids);
        let sort = selection.sort.unwrap_or(Sort { key: SortKey::Count, reverse: false });
        sort.groups(&index, PlaceKind::User, &mut groups);
        let hidden = groups.split_off(groups.len().min(limit));
        (groups, hidden)
    });
    let (groups, hidden) = groups.unzip();
    if groups.is_none() {
        if let Some(sort) = selection.sort {
            sort.goroutines(&index, PlaceKind::User, &mut picked);
        }
        picked.truncate(limit);
    }
    let listed = picked.len();

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
    match (&profile, &groups) {
        _ if to_stdout => {
            streams.finish(|out| pprof::write(out, &index, &picked, samples).map(drop))?;
        }
        (Some(goal), _) => {
            let mut written = 0;
            write_file(goal, |out| {
                written = pprof::write(out, &index, &picked, samples)?;
                Ok(())
            })?;
            if !global.quiet {
                let goroutines = counted(u64::try_from(picked.len()).unwrap_or(u64::MAX), "goroutine", "goroutines");
                let samples = counted(written, "sample", "samples");
                streams.note(&format!("{goroutines} in {samples} written to {}", goal.path().display()));
            }
        }
        (None, _) if arguments.list.json => {
            let group_count = groups.as_ref().zip(hidden.as_ref()).map(|(groups, hidden)| groups.len() + hidden.len());
            let group_count = group_count.and_then(|count| u64::try_from(count).ok());
            let (frames, arguments) = (true, arguments.arguments);
            let options = JsonOptions { frames, arguments, matching, groups: groups.as_deref(), group_count };
            streams.finish(|out| json::write(out, &index, &picked, &options))?;
        }
        (None, _) if arguments.folded => {
            streams.finish(|out| folded::write(out, &index, &picked, arguments.system))?;
        }
        (None, Some(groups)) => {
            let hidden = hidden.as_deref().unwrap_or(&[]);
            streams.finish(|out| stack_groups::write(out, &index, groups, hidden, options))?;
        }
        (None, None) => streams.finish(|out| traceback::write_all(out, &index, &picked, options))?,
    }
    if !arguments.list.json && !global.quiet {
        if let Some((text, filter)) = &selection.filter
            && matching == Some(0)
        {
            let but = if selection.names_ids() {
                "none of those that --goid names"
            } else {
                "all the runtime's own: --system shows them"
            };
            for line in none_match(&index, text, filter, but) {
                streams.note(&line);
            }
        }
        let left_out = matching.unwrap_or(0).saturating_sub(u64::try_from(listed).unwrap_or(u64::MAX));
        if groups.is_none() && left_out > 0 {
            let more = counted(left_out, "more goroutine", "more goroutines");
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

fn grouping(arguments: &StackArgs, streams: &Streams<'_>, goroutines: usize, by_id: bool) -> Option<GroupBy> {
    let text = !arguments.list.json && !arguments.folded && arguments.pprof.is_none();
    let each = arguments.all || arguments.c_frames || by_id;
    let many = text && streams.out_is_terminal && goroutines > MOST_ON_TERMINAL && !each;
    if arguments.similar {
        Some(GroupBy::SimilarStack)
    } else if arguments.group || many {
        Some(GroupBy::Stack)
    } else {
        None
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
