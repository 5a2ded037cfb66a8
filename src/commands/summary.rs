//! `gospy summary`

use std::time::Duration;

use super::args::{Global, SummaryArgs};
use super::selection::{Selection, verdict};
use super::source::Sources;
use super::streams::Streams;
use super::{Exit, Failure};
use crate::analysis::group::group;
use crate::analysis::{GroupBy, Index, Sort, SortKey};
use crate::report::json::{self, JsonOptions};
use crate::report::text::{self, ListMode, SummaryOptions};
use crate::sampling::Sampler;

/// What the use of CPU time is measured over. It begins before the program is opened, so that the wait
/// for its end is shorter.
const CPU_INTERVAL: Duration = Duration::from_millis(100);
/// Ids of a group in JSON.
pub(super) const JSON_IDS: usize = 1_000;

pub(super) fn run(
    arguments: &SummaryArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let selection = Selection::new(&arguments.list)?;
    let mut source = sources.open(&arguments.target.wanted())?;
    source.measure_cpu(CPU_INTERVAL);
    let options = arguments.target.options(arguments.show_dead);
    let (watched, once);
    let index = match arguments.watch {
        Some(watch) => {
            watched = Sampler::new(Box::new(move || source.capture(&options))).watch(watch)?;
            watched.index()
        }
        None => {
            once = source.capture(&options)?;
            Index::new(&once)
        }
    };
    let snapshot = index.snapshot();
    let mut picked = selection.pick(&index);
    let place = arguments.place();
    if arguments.list.json {
        let matching = u64::try_from(picked.len()).ok();
        let limit = selection.limit.unwrap_or(usize::MAX);
        let (mut groups, mut group_count) = (None, None);
        if arguments.group {
            let mut all = group(&index, &GroupBy::Place(place), &picked, JSON_IDS);
            selection.sort.unwrap_or(Sort { key: SortKey::Count, reverse: false }).groups(&index, place, &mut all);
            group_count = u64::try_from(all.len()).ok();
            all.truncate(limit);
            groups = Some(all);
        } else {
            if let Some(sort) = selection.sort {
                sort.goroutines(&index, place, &mut picked);
            }
            picked.truncate(limit);
        }
        let options = JsonOptions { matching, groups: groups.as_deref(), group_count, ..JsonOptions::default() };
        streams.finish(|out| json::write(out, &index, &picked, &options))?;
    } else {
        let options = SummaryOptions {
            style: streams.out_style(),
            place,
            sort: selection.sort,
            limit: selection.limit,
            list: match (arguments.all || selection.names_ids(), arguments.group) {
                (_, true) => ListMode::Groups,
                (true, false) => ListMode::Each,
                (false, false) => ListMode::Auto,
            },
            filter: selection.filter.clone(),
            can_watch: arguments.target.wanted().pid().is_some() && arguments.watch.is_none(),
            verbose: arguments.verbose,
        };
        streams.finish(|out| text::summary(out, &index, &picked, &options))?;
    }
    selection.missing(snapshot)?;
    verdict(snapshot, global.strict)
}
