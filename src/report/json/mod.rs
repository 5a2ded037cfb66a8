//! The snapshot as JSON: what scripts may rely on.
//!
//! It is streamed: goroutines are turned into text one by one, and nothing of the whole document is
//! kept. The types in [`types`] are the contract; the schema file is made from them.

mod convert;
mod escape;
pub(crate) mod hex;
pub mod read;
pub mod restore;
mod shared;
pub(crate) mod shared_wait;
#[cfg(test)]
mod tests;
pub mod types;
mod visit;
pub mod waiting;

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::SerializeSeq;

use crate::analysis::sysmon::sysmon;
use crate::analysis::{Answer, GroupBy, Index};
use crate::report::findings;
use crate::report::members::UserPlace;
pub(crate) use convert::time;
pub(crate) use escape::{to_writer, to_writer_pretty};
use shared::SharedJson;
use types::{Document, Frame, Goroutine, Goroutines, Place};
pub use visit::ReadBackError;
pub(crate) use visit::{bounded, unix_ns};

/// Raised only by a change that breaks readers: a key renamed, removed, or with another meaning.
/// New keys and new values of open enumerations do not raise it.
pub const SCHEMA_VERSION: u32 = 1;

/// How to write an answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonOptions {
    /// Whether each goroutine or group comes with its frames.
    pub frames: bool,
    /// Whether these have their arguments, as far as the snapshot has them.
    pub arguments: bool,
}

/// Writes the snapshot as one JSON object on one line. The list has the rows of `answer`; all totals are of
/// all goroutines.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, answer: &Answer<'_, '_>, options: JsonOptions) -> io::Result<()> {
    let positions = answer.positions();
    let JsonOptions { frames, arguments } = options;
    let list = List { index: answer.index(), positions: &positions, frames, arguments };
    let document = document(answer, list, options);
    to_writer(out, &document)?;
    writeln!(out)
}

/// A goroutine with everything in it; what is written is the same.
type Whole = Goroutine<'static, Place<'static>, UserPlace<'static>, Vec<Frame<'static>>>;

/// The JSON Schema of what [`write()`] writes.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'static, Vec<Whole>>>()
}

/// The JSON Schema of a document of this type, as it is written.
pub(crate) fn schema_of<T: schemars::JsonSchema>() -> schemars::Schema {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>()
}

pub(crate) fn document<'a, L>(answer: &Answer<'_, 'a>, list: L, options: JsonOptions) -> Document<'a, L> {
    let index = answer.index();
    let (snapshot, counts) = (index.snapshot(), answer.counts());
    let groups = answer.groups();
    let group_count = groups.as_ref().map(|listed| {
        let listed = u64::try_from(listed.len()).unwrap_or(u64::MAX);
        listed.saturating_add(answer.hidden().rows)
    });
    let by_wait_reason =
        counts.by_wait_reason.iter().fold(std::collections::BTreeMap::new(), |mut map, (id, count)| {
            let text = snapshot.wait_reason(*id).map_or_else(|| format!("unknown ({})", id.0), str::to_owned);
            *map.entry(text).or_default() += count;
            map
        });
    let by_state = counts.by_state.iter().fold(std::collections::BTreeMap::new(), |mut map, (status, count)| {
        *map.entry(status.name()).or_default() += count;
        map
    });
    let sysmon = sysmon(&snapshot.threads);
    Document {
        schema_version: SCHEMA_VERSION,
        gospy_version: env!("CARGO_PKG_VERSION"),
        captured_at: convert::time(snapshot.captured_at_unix_ns),
        target: convert::target(&snapshot.target),
        reading: convert::reading(&snapshot.reading),
        sched: snapshot.sched.as_ref().map(convert::sched),
        heap: snapshot.heap.as_ref().map(convert::heap),
        gc: snapshot.gc.as_ref().map(convert::gc),
        death: snapshot.death.as_ref().map(|death| convert::death(index, death)),
        processors: snapshot.processors.iter().map(convert::processor).collect(),
        threads: snapshot.threads.iter().map(|m| convert::thread(m, sysmon)).collect(),
        goroutines: Goroutines {
            total: counts.total,
            user: counts.user(),
            system: counts.system,
            dead: counts.dead,
            by_state,
            by_wait_reason,
            matching: answer.matching(),
            grouped_by: answer.grouped_by().map(GroupBy::name),
            group_count,
            groups: groups.map(|groups| {
                groups.into_iter().filter_map(|group| convert::group(index, group, options.frames)).collect()
            }),
            list,
        },
        findings: findings::documents(answer.findings(), index),
        warnings: snapshot.warnings.iter().map(convert::warning).collect(),
        complete: snapshot.is_complete(),
    }
}

/// The list, made as it is written.
struct List<'a> {
    index: &'a Index<'a>,
    positions: &'a [usize],
    frames: bool,
    arguments: bool,
}

impl Serialize for List<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let goroutines = &self.index.snapshot().goroutines;
        let mut list = serializer.serialize_seq(None)?;
        let mut shared = SharedJson::default();
        for goroutine in self.positions.iter().filter_map(|&at| goroutines.get(at)) {
            let goroutine = convert::goroutine(self.index, goroutine, (self.frames, self.arguments), &mut shared);
            list.serialize_element(&goroutine.map_err(serde::ser::Error::custom)?)?;
        }
        list.end()
    }
}
