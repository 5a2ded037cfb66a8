//! A number of places for what takes long, so that the rest of the server is always there for short answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of places.
#[derive(Debug)]
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    all: usize,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Places {
    /// So many.
    pub(super) fn new(all: usize) -> Self {
        Self { taken: Arc::default(), all }
    }

    /// One of them; `None` when all are taken.
    pub(super) fn take(&self) -> Option<Place> {
        let more = |taken: usize| (taken < self.all).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Place(Arc::clone(&self.taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places() {
        let places = Places::new(3);
        let taken: Vec<Place> = std::iter::from_fn(|| places.take()).take(100).collect();
        assert_eq!(taken.len(), 3);
        drop(taken);
        assert!(places.take().is_some());
    }
}
