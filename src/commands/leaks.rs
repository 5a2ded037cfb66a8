//! `gospy leaks`

use super::args::LeaksArgs;
use super::source::{Sources, Walking};
use super::streams::Streams;
use super::{Exit, Failure, Global};
use crate::analysis::Index;
use crate::analysis::leaks::groups;
use crate::capture::FreezeMode;
use crate::report::leaks as report;
use crate::report::units::{bytes, duration};

pub(super) fn run(
    arguments: &LeaksArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let freeze = freezes(arguments.target.freeze())?;
    let (snapshot, leaks) =
        sources.leaks(&arguments.target.wanted(), freeze, &mut |walking| tell(streams, global, walking))?;
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
pub(super) fn tell(streams: &mut Streams<'_>, global: &Global, walking: Walking) {
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
