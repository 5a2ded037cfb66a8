//! `gospy diff`

use super::ci_args::DiffArgs;
use super::source::Sources;
use super::streams::Streams;
use super::{Exit, Failure, Global};
use crate::analysis::{Census, Diff, GroupBy, PlaceKind};
use crate::model::SymbolPool;
use crate::report::diff::{self, Options, Subject};

pub(super) fn run(
    arguments: &DiffArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let [first, second] = arguments.both().map_err(|text| Failure::new(Exit::Usage, text))?;
    let mut pool = SymbolPool::default();
    let a = first.census(sources, &mut pool)?;
    let b = second.census(sources, &mut pool)?;
    let by = grouping(arguments.by.as_ref(), [&a, &b])?;
    if arguments.by.is_none() && by != GroupBy::Stack && !global.quiet {
        streams.note("there are no stacks to compare; places are compared. `stack --json` writes stacks");
    }
    let diff = Diff::of(&a, &b, &by, arguments.system, &pool);
    let subject = Subject { a: &a, b: &b, diff: &diff, pool: &pool };
    let limit = if arguments.limit == 0 { usize::MAX } else { arguments.limit };
    let options = Options { style: streams.out_style(), limit, system: arguments.system };
    streams.finish(|out| match (arguments.json, arguments.markdown) {
        (true, _) => diff::json(out, &subject),
        (_, true) => diff::markdown(out, &subject, &options),
        _ => diff::text(out, &subject, &options),
    })?;
    complete([&a, &b], global.strict)
}

/// Whether a snapshot has all goroutines, and everything that was asked for of them.
pub(super) fn is_whole(census: &Census) -> bool {
    census.complete && !census.is_partial()
}

/// Whether snapshots are as complete as `--strict` wants them.
pub(super) fn complete<'a>(censuses: impl IntoIterator<Item = &'a Census>, strict: bool) -> Result<Exit, Failure> {
    match censuses.into_iter().find(|census| !is_whole(census)) {
        Some(census) if strict => {
            let message = format!("the answer is incomplete: {} lacks goroutines or parts of them", census.name);
            Err(Failure::new(Exit::Incomplete, message))
        }
        _ => Ok(Exit::Done),
    }
}

/// What was asked for, or the best that can be had.
pub(super) fn grouping(asked: Option<&GroupBy>, both: [&Census; 2]) -> Result<GroupBy, Failure> {
    let without = both.into_iter().find(|census| !census.has_stacks);
    match (asked, without) {
        (Some(by @ (GroupBy::Stack | GroupBy::SimilarStack)), Some(census)) => {
            let (name, by) = (&census.name, by.name());
            let message =
                format!("--by {by}: {name} has no stacks; `gospy stack --json` writes them, and --by place needs none");
            Err(Failure::new(Exit::Error, message))
        }
        (Some(by), _) => Ok(by.clone()),
        (None, None) => Ok(GroupBy::Stack),
        (None, Some(_)) => Ok(GroupBy::Place(PlaceKind::User)),
    }
}
