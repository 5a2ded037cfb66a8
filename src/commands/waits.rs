//! `gospy waits`

use std::path::Path;

use super::args::Global;
use super::files::{report_file, write_file};
use super::selection::{filter, verdict};
use super::source::Sources;
use super::streams::Streams;
use super::waits_args::WaitsArgs;
use super::{Exit, Failure};
use crate::analysis::waits::WaitTable;
use crate::analysis::waits::graph::WaitGraph;
use crate::analysis::{Index, Request};
use crate::new_file::Goal;
use crate::report::waits::graph::{self, GraphFormat};
use crate::report::waits::{json, table};

/// Rows that text shows unless a limit is given.
const MOST_ROWS: usize = 30;

/// Objects in a graph unless a limit is given.
const MOST_NODES: usize = 60;

/// Where a graph goes, and in which form.
fn graph_file(path: &Path) -> Result<(Goal, GraphFormat), Failure> {
    let ending = path.extension().and_then(|ending| ending.to_str()).and_then(GraphFormat::of_ending);
    let Some(format) = ending else {
        return Err(Failure::new(Exit::Usage, "--graph: name a file that ends in .dot, .svg, .mmd or .json"));
    };
    Ok((report_file("--graph", path)?, format))
}

pub(super) fn run(
    arguments: &WaitsArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let graph = arguments.graph.as_deref().map(graph_file).transpose()?;
    let filter = filter(arguments.filter.as_deref())?;
    let mut source = sources.open(&arguments.target.wanted())?;
    let snapshot = source.capture(&arguments.target.options(false))?;
    let index = Index::new(&snapshot);
    let selected = Request { filter, ..Request::default() }.select(&index);
    let mut waits = WaitTable::of(&index, &selected, !arguments.each && !arguments.json);
    waits.sort(&index, arguments.sort, arguments.reverse);
    if let Some((goal, format)) = graph {
        let limit = arguments.limit.map_or(MOST_NODES, |limit| if limit == 0 { usize::MAX } else { limit });
        let graph = WaitGraph::of(&index, &waits, limit);
        write_file(&goal, |out| graph::write(out, &index, &graph, format))?;
        return verdict(&snapshot, global.strict);
    }
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
