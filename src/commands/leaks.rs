//! `gospy leaks`

use std::sync::Arc;
use std::time::Instant;

use super::args::LeaksArgs;
use super::live::Live;
use super::source::{Location, Sources, TargetSpec, Walking};
use super::streams::Streams;
use super::{Exit, Failure, Global};
use crate::analysis::Index;
use crate::analysis::leaks::groups;
use crate::analysis::series::Observed;
use crate::capture::FreezeMode;
use crate::report::leaks as report;
use crate::report::units::{bytes, duration};
use crate::top::leaks::LeaksFound;
use crate::top::run::FindLeaks;

pub(super) fn run(
    arguments: &LeaksArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let freeze = freezes(arguments.target.freeze())?;
    let (snapshot, leaks) =
        sources.leaks(&arguments.target.wanted(), freeze, &mut |walking| show_progress(streams, global, walking))?;
    let index = Index::new(&snapshot);
    let groups = groups(&index, &leaks);
    if arguments.json {
        streams.finish(|out| report::json(out, &index, &leaks, &groups))?;
    } else {
        streams.finish(|out| report::write(out, &index, &leaks, &groups))?;
    }
    Ok(Exit::Done)
}

/// Says on standard error what goes on while a heap is walked.
pub(super) fn show_progress(streams: &mut Streams<'_>, global: &Global, walking: Walking) {
    if global.quiet {
        return;
    }
    match walking {
        Walking::Stop(takes) => {
            let takes = duration(u64::try_from(takes.as_nanos()).unwrap_or(u64::MAX));
            streams.note(&format!("the program will stand still for about {takes}"));
        }
        Walking::Read(read, all) => streams.note(&format!("{} of {} of the heap read", bytes(read), bytes(all))),
    }
}

/// Whether to stop the program for the walk.
pub(super) fn freezes(mode: Option<FreezeMode>) -> Result<bool, Failure> {
    match mode {
        None => Ok(false),
        Some(FreezeMode::All) => Ok(true),
        Some(FreezeMode::Running) => Err(Failure::new(
            Exit::Usage,
            "leaks are proven by a heap that stands still: --freeze=all stops the program for that",
        )),
    }
}

/// Looks for leaks in the program as it is now, or in the file that is shown. It is never stopped for that: a key is
/// pressed easily.
pub(super) fn for_top(wanted: TargetSpec) -> FindLeaks {
    Arc::new(move |observed: &Observed| {
        let now = match wanted.location {
            // It may be another process by now: one that came back.
            Location::Process(_) => TargetSpec::process(observed.snapshot().target.pid, wanted.bin.clone()),
            Location::File(_) => wanted.clone(),
        };
        let started = Instant::now();
        let found = Live.leaks(&now, false, &mut |_| {});
        let one_line = |failure| Failure::from(failure).message().lines().next().unwrap_or_default().to_owned();
        let (snapshot, leaks) = found.map_err(one_line)?;
        Ok(LeaksFound::of(&Index::new(&snapshot), &leaks, started.elapsed()))
    })
}
