//! `gospy ps`, and `gospy` alone

use super::args::PsArgs;
use super::source::Sources;
use super::streams::Streams;
use super::{Exit, Failure};
use crate::inspect::processes::Processes;
use crate::report::processes;

pub(super) fn run(arguments: &PsArgs, sources: &dyn Sources, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let mut all = sources.processes()?;
    all.sort(arguments.sort, arguments.reverse);
    let style = streams.out_style();
    streams.finish(|out| match arguments.json {
        true => processes::json(out, &all),
        false => processes::write(out, style, &all),
    })?;
    Ok(status(&all))
}

/// What runs, and what to type.
pub(super) fn overview(sources: &dyn Sources, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let all = sources.processes()?;
    let style = streams.out_style();
    streams.finish(|out| {
        processes::write(out, style, &all)?;
        processes::next_steps(out, style, &all)
    })?;
    Ok(status(&all))
}

/// That some processes are others' is usual; that nothing can be read is not.
fn status(all: &Processes) -> Exit {
    if all.is_refused() { Exit::Permission } else { Exit::Done }
}
