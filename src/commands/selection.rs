//! Which goroutines a command is about.

use std::str::FromStr;

use super::args::ListArgs;
use super::{Exit, Failure};
use crate::analysis::{Filter, Index, Sort};
use crate::model::Snapshot;
use crate::report::units::count;

/// Ids from one to another, both included: `7` or `8-15`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdRange {
    first: u64,
    last: u64,
}

impl IdRange {
    fn has(self, id: u64) -> bool {
        (self.first..=self.last).contains(&id)
    }
}

impl FromStr for IdRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number =
            |text: &str| text.trim().parse().map_err(|_| "ids are numbers, lists or ranges of them: 7, 18,19 or 8-15");
        match text.split_once('-') {
            None => number(text).map(|id| Self { first: id, last: id }),
            Some((first, last)) => match (number(first)?, number(last)?) {
                (first, last) if first > last => Err("a range goes from the lower id to the higher one"),
                (first, last) => Ok(Self { first, last }),
            },
        }
    }
}

impl std::fmt::Display for IdRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// What was typed about the list, understood before anything is read.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) filter: Option<(String, Filter)>,
    ids: Vec<IdRange>,
    pub(super) sort: Option<Sort>,
    pub(super) limit: Option<usize>,
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

    /// The goroutines that it picks, in the snapshot's order.
    pub(super) fn pick(&self, index: &Index<'_>) -> Vec<usize> {
        let goroutines = &index.snapshot().goroutines;
        let mut picked = match &self.filter {
            Some((_, filter)) => filter.select(index),
            None => (0..goroutines.len()).collect(),
        };
        if !self.ids.is_empty() {
            let wanted = |id: u64| self.ids.iter().any(|range| range.has(id));
            picked.retain(|&at| goroutines.get(at).is_some_and(|goroutine| wanted(goroutine.id.0)));
        }
        picked
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
