//! Values that are stored once and named by small numbers.
//!
//! Values are only ever appended. They are stored in chunks of a fixed size that clones share, so that a
//! clone costs a pointer for each chunk and not a copy of each value, and appending to one of two clones
//! copies one chunk at most. The table that finds a value's number holds numbers only.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU32;
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// Number of a value, counted from one: so that an optional one is no larger.
pub(super) type Number = NonZeroU32;

/// Values in a chunk. A power of two, so that finding one takes a shift and a mask.
const CHUNK: usize = 1024;

/// Interned values of one type.
#[derive(Clone, Debug)]
pub(super) struct Interner<T> {
    chunks: Vec<Arc<Vec<T>>>,
    len: usize,
    /// Memory that the values take, as far as that is known, bytes.
    bytes: usize,
    /// Numbers by value. Covers all values or none: a view has none.
    numbers: HashTable<Number>,
}

/// Values that own memory.
pub(super) trait Owns {
    /// How much it owns beyond its own size, bytes.
    fn owned_bytes(&self) -> usize;
}

impl Owns for Box<str> {
    fn owned_bytes(&self) -> usize {
        self.len()
    }
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0, bytes: 0, numbers: HashTable::new() }
    }
}

impl<T> Interner<T> {
    /// The same values, to be read only: it has no table to find numbers by.
    pub(super) fn view(&self) -> Self {
        Self { chunks: self.chunks.clone(), len: self.len, bytes: self.bytes, numbers: HashTable::new() }
    }

    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory that the values take, with what they own and their part of the table; about, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The values after the first `known`, in the order of their numbers.
    pub(super) fn after(&self, known: usize) -> impl Iterator<Item = &T> {
        (known..self.len).filter_map(|at| self.chunks.get(at / CHUNK)?.get(at % CHUNK))
    }

    pub(super) fn get(&self, number: Number) -> Option<&T> {
        value(&self.chunks, number)
    }
}

fn value<T>(chunks: &[Arc<Vec<T>>], number: Number) -> Option<&T> {
    let at = usize::try_from(number.get()).ok()?.checked_sub(1)?;
    chunks.get(at / CHUNK)?.get(at % CHUNK)
}

fn hash_of<Q: Hash + ?Sized>(value: &Q) -> u64 {
    FxBuildHasher.hash_one(value)
}

impl<T: Clone + Eq + Hash + Owns> Interner<T> {
    /// Makes the table that a view lacks.
    pub(super) fn index(&mut self) {
        let chunks = &self.chunks;
        let hash = |number: &Number| value(chunks, *number).map_or(0, hash_of);
        self.numbers = HashTable::with_capacity(self.len);
        for number in (1..=self.len).filter_map(number) {
            self.numbers.insert_unique(hash(&number), number, hash);
        }
    }

    /// The number of `value`.
    pub(super) fn intern(&mut self, value: T) -> Number {
        let hash = hash_of(&value);
        self.find(hash, &value).unwrap_or_else(|| self.append(hash, value))
    }

    /// The number of the value that is equal to `wanted`, which is made where it is new.
    pub(super) fn intern_as<Q>(&mut self, wanted: &Q) -> Number
    where
        Q: Eq + Hash + ?Sized,
        T: Borrow<Q> + for<'q> From<&'q Q>,
    {
        let hash = hash_of(wanted);
        self.find(hash, wanted).unwrap_or_else(|| self.append(hash, wanted.into()))
    }

    fn find<Q>(&self, hash: u64, wanted: &Q) -> Option<Number>
    where
        Q: Eq + ?Sized,
        T: Borrow<Q>,
    {
        self.numbers.find(hash, |number| self.get(*number).is_some_and(|known| known.borrow() == wanted)).copied()
    }

    fn append(&mut self, hash: u64, new: T) -> Number {
        // More than 2³² distinct values do not fit in memory; the last number would be shared.
        let number = number(self.len + 1).unwrap_or(Number::MAX);
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Arc::default());
        }
        if let Some(last) = self.chunks.last_mut() {
            let entry = size_of::<T>() + size_of::<Number>();
            self.bytes = self.bytes.saturating_add(entry).saturating_add(new.owned_bytes());
            Arc::make_mut(last).push(new);
            self.len += 1;
        }
        let chunks = &self.chunks;
        self.numbers.insert_unique(hash, number, |number| value(chunks, *number).map_or(0, hash_of));
        number
    }
}

fn number(count: usize) -> Option<Number> {
    u32::try_from(count).ok().and_then(Number::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intern(values: &mut Interner<Box<str>>, text: &str) -> u32 {
        values.intern_as(text).get()
    }

    #[test]
    fn equal_values_have_one_number() {
        let mut values = Interner::default();
        for round in 0..2 {
            for at in 0..3_000_u32 {
                assert_eq!(intern(&mut values, &format!("value {at}")), at + 1, "round {round}");
            }
        }
        assert_eq!(values.len(), 3_000);
        assert_eq!(&**values.get(Number::new(2_049).unwrap()).unwrap(), "value 2048");
        assert!(values.get(Number::new(3_001).unwrap()).is_none());
    }

    /// What is appended later is in no clone, and full chunks are shared, not copied.
    #[test]
    fn views_share_what_was_there() {
        let mut values = Interner::default();
        for at in 0..2_500 {
            intern(&mut values, &at.to_string());
        }
        let view = values.view();
        intern(&mut values, "new");
        assert_eq!((view.len(), values.len()), (2_500, 2_501));
        assert!(view.get(Number::new(2_501).unwrap()).is_none());
        let shared = view.chunks.iter().zip(&values.chunks).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, 2);
    }

    /// What values own counts, and equal ones count once.
    #[test]
    fn memory_is_counted() {
        let mut values = Interner::default();
        assert_eq!(values.bytes(), 0);
        intern(&mut values, &"x".repeat(10_000));
        let one = values.bytes();
        assert!((10_000..10_100).contains(&one), "{one}");
        intern(&mut values, &"x".repeat(10_000));
        assert_eq!((values.bytes(), values.view().bytes()), (one, one));
        intern(&mut values, "");
        assert!(values.bytes() > one);
    }

    #[test]
    fn a_view_can_be_appended_to() {
        let mut values = Interner::default();
        for at in 0..1_100 {
            intern(&mut values, &at.to_string());
        }
        let mut other = values.view();
        other.index();
        assert_eq!(intern(&mut other, "7"), 8);
        assert_eq!(intern(&mut other, "more"), 1_101);
        assert_eq!(values.len(), 1_100);
    }
}
