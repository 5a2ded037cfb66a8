//! Reading back what [`super::write`] wrote, as a [`Snapshot`]: for `--from`.
//!
//! What a document does not say stays unknown: how far into a function a place is, stack pointers, and
//! how often a goroutine has run.

mod convert;
mod death;
mod types;
mod waiting;

use std::io::Read;

use serde::de::{IgnoredAny, MapAccess};

use self::convert::Restored;
use super::visit::{Contents, ReadBackError, visit};
use crate::model::Snapshot;

/// Reads one document.
///
/// # Errors
/// With what was expected, and the line and column where it is not; when it is of a newer version, or
/// lists groups in the place of goroutines.
pub fn snapshot(input: impl Read) -> Result<Snapshot, ReadBackError> {
    let mut restored = Restored::default();
    visit(input, &mut restored)?;
    Ok(restored.finish())
}

impl Contents for Restored {
    type Goroutine = types::Goroutine;

    fn captured_at(&mut self, unix_ns: u64) {
        self.captured_at_unix_ns = unix_ns;
    }

    fn value<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "complete" => self.complete(map.next_value()?),
            "target" => self.target(map.next_value()?),
            "reading" => self.reading(map.next_value()?),
            "sched" => self.sched(map.next_value()?),
            "heap" => self.heap(map.next_value()?),
            "gc" => self.gc(map.next_value()?),
            "processors" => self.processors(map.next_value()?),
            "threads" => self.threads(map.next_value()?),
            "death" => {
                if let Some(death) = map.next_value()? {
                    self.died(death);
                }
            }
            "warnings" => self.warnings(map.next_value()?),
            // What follows from the rest is made anew from it.
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }

    fn total(&mut self, total: u64) {
        self.total = total;
    }

    fn dead(&mut self, dead: u64) {
        self.dead = dead;
    }

    fn goroutine(&mut self, goroutine: types::Goroutine) -> Result<(), String> {
        self.add(goroutine)
    }
}

#[cfg(test)]
mod tests;
