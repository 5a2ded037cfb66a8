//! Which goroutines a command is about.

use super::list_args::ListArgs;
use super::{Exit, Failure};
use crate::analysis::answer::IdRange;
use crate::analysis::{Filter, Request, Sort};
use crate::model::Snapshot;
use crate::report::units::count;

/// What was typed about the list, understood before anything is read.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    filter: Option<(String, Filter)>,
    ids: Vec<IdRange>,
    sort: Option<Sort>,
    limit: Option<usize>,
}

impl Selection {
    pub(super) fn new(arguments: &ListArgs) -> Result<Self, Failure> {
        let filter = filter(arguments.filter.as_deref())?;
        let sort = match arguments.sort {
            Some(key) => Some(Sort { key, reverse: arguments.reverse }),
            None if arguments.reverse => {
                return Err(Failure::new(Exit::Usage, "--reverse needs an order: add --sort KEY"));
            }
            None => None,
        };
        // 0 is no limit.
        let limit = arguments.limit.map(|limit| if limit == 0 { usize::MAX } else { limit });
        Ok(Self { filter, ids: arguments.goid.clone(), sort, limit })
    }

    /// It as a part of a request.
    pub(super) fn request(&self) -> Request {
        let Self { filter, ids, sort, limit } = self.clone();
        Request { filter, ids, sort, limit, ..Request::default() }
    }

    /// Whether ids were asked for by name.
    pub(super) fn names_ids(&self) -> bool {
        !self.ids.is_empty()
    }

    /// An error for ids that were asked for and do not exist, with what is known of them. A range is
    /// missing when it has none at all.
    pub(super) fn missing(&self, snapshot: &Snapshot) -> Result<(), Failure> {
        let alive = || snapshot.goroutines.iter().map(|goroutine| goroutine.id.0).filter(|id| *id != 0);
        let missing: Vec<IdRange> = self.ids.iter().copied().filter(|range| !alive().any(|id| range.has(id))).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let highest = alive().max().unwrap_or(0);
        // Ids are handed out in batches, so that a low one may not have been used yet.
        let fate = if first.last == 0 {
            "ids start at 1".to_owned()
        } else if first.last < highest {
            let it = if first.first == first.last { "it has" } else { "they have" };
            format!("{it} most likely ended; the highest id alive is {highest}")
        } else {
            format!("the highest id alive is {highest}")
        };
        let one = matches!(missing.as_slice(), [range] if range.first == range.last);
        let what = if one { "there is no goroutine" } else { "there are no goroutines" };
        let missing: Vec<String> = missing.iter().map(IdRange::to_string).collect();
        let message = format!("{what} {} in pid {}: {fate}", missing.join(", "), snapshot.target.pid);
        Err(Failure::new(Exit::Error, message))
    }
}

/// What `--filter` says, as it was typed and understood.
pub(super) fn filter(typed: Option<&str>) -> Result<Option<(String, Filter)>, Failure> {
    let Some(text) = typed else { return Ok(None) };
    let filter = Filter::parse(text);
    let filter = filter.map_err(|error| Failure::new(Exit::Usage, format!("--filter: {error}")))?;
    Ok(Some((text.to_owned(), filter)))
}

/// What to end with once the answer is out.
pub(super) fn verdict(snapshot: &Snapshot, strict: bool) -> Result<Exit, Failure> {
    if !strict || snapshot.is_complete() {
        return Ok(Exit::Done);
    }
    let consistency = snapshot.reading.consistency;
    let codes: Vec<&str> =
        snapshot.warnings.iter().filter(|w| w.code.means_incomplete()).map(|w| w.code.name()).collect();
    let mut why = Vec::new();
    if consistency.moving > 0 {
        why.push(format!("{} goroutines changed on every try", count(consistency.moving)));
    }
    if consistency.unreadable > 0 {
        why.push(format!("{} goroutines could not be read", count(consistency.unreadable)));
    }
    let parts = [
        ("the scheduler", snapshot.sched.is_none()),
        ("the heap", snapshot.heap.is_none()),
        ("the garbage collector", snapshot.gc.is_none()),
    ];
    why.extend(parts.iter().filter(|(_, missing)| *missing).map(|(part, _)| format!("{part} was not found")));
    if !codes.is_empty() {
        why.push(format!("warnings: {}", codes.join(", ")));
    }
    Err(Failure::new(Exit::Incomplete, format!("the answer is incomplete: {}", why.join("; "))))
}
