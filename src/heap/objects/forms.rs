//! A known form as one of the threads that find types keeps it: with the numbers of what its pointers lead to, once
//! they were looked up.

use std::cell::Cell;
use std::sync::Arc;

use super::book::{Edge, Known};

/// A number that is looked up when it is needed first.
#[derive(Debug, Default)]
pub(super) struct Lazy(Cell<Option<u16>>);

impl Lazy {
    /// The number; `find` looks it up.
    #[inline]
    pub(super) fn get_or<E>(&self, find: impl FnOnce() -> Result<u16, E>) -> Result<u16, E> {
        if let Some(id) = self.0.get() {
            return Ok(id);
        }
        let id = find()?;
        self.0.set(Some(id));
        Ok(id)
    }
}

/// What a pointer leads to; of a map, without tables and with them.
#[derive(Debug, Default)]
pub(super) struct Targets(Lazy, Lazy);

impl Targets {
    #[inline]
    pub(super) fn get_or<E>(&self, find: impl FnOnce() -> Result<u16, E>) -> Result<u16, E> {
        self.0.get_or(find)
    }

    /// The one of a map with tables, or without.
    pub(super) fn of(&self, tables: bool) -> &Lazy {
        if tables { &self.1 } else { &self.0 }
    }
}

/// A form that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) known: Arc<Known>,
    /// Whether objects of it are looked for.
    pub(super) wanted: bool,
    targets: Box<[Targets]>,
}

impl Followed {
    pub(super) fn new(known: Arc<Known>, wanted: bool) -> Self {
        let targets = known.edges.iter().map(|_| Targets::default()).collect();
        Self { known, wanted, targets }
    }

    /// Its pointers.
    #[inline]
    pub(super) fn edges(&self) -> impl Iterator<Item = (&Edge, &Targets)> {
        self.known.edges.iter().zip(&self.targets)
    }
}
