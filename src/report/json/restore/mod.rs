//! Reading back what [`super::write`] wrote, as a [`Snapshot`]: for `--from`.
//!
//! What a document does not say stays unknown: how far into a function a place is, stack pointers, and
//! how often a goroutine has run. Goroutines are taken one by one. A document is trusted as little as a
//! process: it is limited as in [`super::read`], and refused where that refuses it.

mod convert;
mod death;
mod types;
mod waiting;

use std::fmt;
use std::io::Read;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use self::convert::Restored;
use super::SCHEMA_VERSION;
use super::read::{ReadBackError, bounded, unix_ns};
use crate::model::Snapshot;

/// Reads one document.
///
/// # Errors
/// With what was expected, and the line and column where it is not; when it is of a newer version, or
/// lists groups in the place of goroutines.
pub fn snapshot(input: impl Read) -> Result<Snapshot, ReadBackError> {
    let mut deserializer = serde_json::Deserializer::from_reader(bounded(input));
    let mut restored = Restored::default();
    let mut found_version = None;
    let seed = Document { restored: &mut restored, found_version: &mut found_version };
    let result = seed.deserialize(&mut deserializer).and_then(|grouped| deserializer.end().map(|()| grouped));
    // A newer document may look different in any way; the version is the reason to report.
    if let Some(found) = found_version.filter(|found| *found > u64::from(SCHEMA_VERSION)) {
        return Err(ReadBackError::Newer { found });
    }
    if result? && restored.has_no_goroutines() {
        return Err(ReadBackError::Grouped);
    }
    Ok(restored.finish())
}

/// The whole; its value is whether it has groups.
struct Document<'a> {
    restored: &'a mut Restored,
    found_version: &'a mut Option<u64>,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot as `gospy stack --json` writes it")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let restored = self.restored;
        let (mut grouped, mut has_goroutines) = (false, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "schema_version" => {
                    let found: u64 = map.next_value()?;
                    *self.found_version = Some(found);
                    if found > u64::from(SCHEMA_VERSION) {
                        return Err(A::Error::custom("a newer schema_version"));
                    }
                }
                "captured_at" => {
                    let text: String = map.next_value()?;
                    restored.captured_at(
                        unix_ns(&text).ok_or_else(|| {
                            A::Error::custom(format!("captured_at is no time as in RFC 3339: {text:?}"))
                        })?,
                    );
                }
                "complete" => restored.complete(map.next_value()?),
                "target" => restored.target(map.next_value()?),
                "reading" => restored.reading(map.next_value()?),
                "sched" => restored.sched(map.next_value()?),
                "heap" => restored.heap(map.next_value()?),
                "gc" => restored.gc(map.next_value()?),
                "processors" => restored.processors(map.next_value()?),
                "threads" => restored.threads(map.next_value()?),
                "death" => {
                    if let Some(death) = map.next_value()? {
                        restored.died(death);
                    }
                }
                "warnings" => restored.warnings(map.next_value()?),
                "goroutines" => {
                    has_goroutines = true;
                    grouped = map.next_value_seed(Goroutines { restored: &mut *restored })?;
                }
                // What follows from the rest is made anew from it.
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let missing = match (self.found_version.is_some(), has_goroutines) {
            (false, _) => "schema_version",
            (_, false) => "goroutines",
            _ => return Ok(grouped),
        };
        Err(A::Error::custom(format!("it is not a snapshot: the key {missing} is missing")))
    }
}

/// The object `goroutines`.
struct Goroutines<'a> {
    restored: &'a mut Restored,
}

impl<'de> DeserializeSeed<'de> for Goroutines<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Goroutines<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the goroutines of a snapshot")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let (mut grouped, mut has_list) = (false, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "total" => self.restored.total(map.next_value()?),
                "dead" => self.restored.dead(map.next_value()?),
                "groups" => grouped = map.next_value::<Option<IgnoredAny>>()?.is_some(),
                "list" => {
                    has_list = true;
                    map.next_value_seed(List { restored: &mut *self.restored })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if has_list { Ok(grouped) } else { Err(A::Error::custom("the key goroutines.list is missing")) }
    }
}

/// The list of goroutines, each forgotten when it is part of the snapshot.
struct List<'a> {
    restored: &'a mut Restored,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of goroutines")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(goroutine) = list.next_element()? {
            self.restored.goroutine(goroutine).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
