//! `gospy waits`

use super::args::{Global, WaitsArgs};
use super::selection::{filter, verdict};
use super::source::Sources;
use super::streams::Streams;
use super::{Exit, Failure};
use crate::analysis::waits::WaitTable;
use crate::analysis::{Index, Request};
use crate::report::waits::{json, table};

/// Rows that text shows unless a limit is given.
const MOST_ROWS: usize = 30;

pub(super) fn run(
    arguments: &WaitsArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let filter = filter(arguments.filter.as_deref())?;
    let mut source = sources.open(&arguments.target.wanted())?;
    let snapshot = source.capture(&arguments.target.options(false))?;
    let index = Index::new(&snapshot);
    let selected = Request { filter, ..Request::default() }.select(&index);
    let mut waits = WaitTable::of(&index, &selected, !arguments.each && !arguments.json);
    waits.sort(&index, arguments.sort, arguments.reverse);
    let default = if arguments.json { usize::MAX } else { MOST_ROWS };
    // 0 is no limit.
    let limit = arguments.limit.map_or(default, |limit| if limit == 0 { usize::MAX } else { limit });
    if arguments.json {
        streams.finish(|out| json::waits(out, &index, &waits, limit))?;
    } else {
        let style = streams.out_style();
        streams.finish(|out| table::write(out, style, &index, &waits, limit))?;
    }
    verdict(&snapshot, global.strict)
}
