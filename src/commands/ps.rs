//! `gospy ps`

use super::args::PsArgs;
use super::source::Sources;
use super::streams::Streams;
use super::{Exit, Failure};
use crate::report::json::to_writer;
use crate::report::processes;

pub(super) fn run(arguments: &PsArgs, sources: &dyn Sources, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let all = sources.processes()?;
    if arguments.json {
        streams.finish(|out| {
            to_writer(out, &all)?;
            writeln!(out)
        })?;
    } else {
        let style = streams.out_style();
        streams.finish(|out| processes::write(out, style, &all))?;
    }
    // That some processes are others' is usual; that nothing can be read is not.
    Ok(if all.is_refused() { Exit::Permission } else { Exit::Done })
}
