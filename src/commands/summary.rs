//! `gospy summary`

use std::time::Duration;

use super::args::Global;
use super::files::{report_file, write_file};
use super::list_args::SummaryArgs;
use super::selection::{Selection, verdict};
use super::source::Sources;
use super::streams::Streams;
use super::{Exit, Failure};
use crate::analysis::answer::{Rows, SystemGoroutines};
use crate::analysis::{Answer, GroupBy, Index, Request};
use crate::report::json::{self, JsonOptions};
use crate::report::page::{self, PageOptions};
use crate::report::text::{self, SummaryOptions};
use crate::sampling::Sampler;

/// What the use of CPU time is measured over. It begins before the program is opened, so that the wait
/// for its end is shorter.
const CPU_INTERVAL: Duration = Duration::from_millis(100);
/// More goroutines than that are shown in groups.
const MOST_SINGLE: usize = 60;
/// Groups that text shows unless a limit is given.
const MOST_GROUPS: usize = 40;

pub(super) fn run(
    arguments: &SummaryArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let selection = Selection::new(&arguments.list)?;
    let html = arguments.html.as_deref().map(|path| report_file("--html", path)).transpose()?;
    let mut source = sources.open(&arguments.target.wanted())?;
    source.measure_cpu(CPU_INTERVAL);
    let options = arguments.target.options(arguments.show_dead);
    let observed = match arguments.watch {
        Some(watch) => Some(Sampler::new(Box::new(|| source.capture(&options))).watch(watch)?),
        None => None,
    };
    let once;
    let index = match &observed {
        Some(observed) => observed.index(),
        None => {
            once = source.capture(&options)?;
            Index::new(&once)
        }
    };
    if let Some(goal) = html {
        let Request { filter, ids, .. } = selection.request();
        write_file(&goal, |out| page::write(out, &index, &PageOptions { filter, ids }))?;
        selection.missing(index.snapshot())?;
        return verdict(index.snapshot(), global.strict);
    }
    let group = arguments.group();
    let place = match &group {
        Some(by @ (GroupBy::Start | GroupBy::Creator)) => by.place(),
        _ => arguments.place(),
    };
    let request = Request {
        place,
        system: SystemGoroutines::Apart,
        rows: match (group, arguments.all || selection.names_ids() || arguments.list.json) {
            (Some(by), _) => Rows::Groups(by),
            (None, true) => Rows::Each,
            (None, false) => Rows::Auto { most_single: MOST_SINGLE, by: GroupBy::Place(place) },
        },
        group_limit: (!arguments.list.json).then_some(MOST_GROUPS),
        ..selection.request()
    };
    let answer = match &observed {
        Some(observed) => Answer::of(&index, request).observed(observed),
        None => Answer::with_totals(&index, request),
    };
    if arguments.list.json {
        streams.finish(|out| json::write(out, &answer, JsonOptions::default()))?;
    } else {
        let options = SummaryOptions {
            style: streams.out_style(),
            can_watch: arguments.target.wanted().pid().is_some() && arguments.watch.is_none(),
            verbose: arguments.verbose,
        };
        streams.finish(|out| text::summary(out, &answer, options))?;
    }
    selection.missing(index.snapshot())?;
    verdict(index.snapshot(), global.strict)
}
