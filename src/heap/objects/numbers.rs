//! What each object of the spans of small objects is, as the number of a known form, in half a byte each.
//!
//! A span rarely has objects of more than a few types. So it has a table of fourteen numbers, and each object an index
//! into that; objects of further types are in a map of their own, up to a limit. All threads write it without waiting
//! for each other.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use rustc_hash::FxHashMap;

use crate::heap::marker::locked;
use crate::heap::spans::ObjectId;

/// Words of a span's table: a number of 16 bits for each index but the first, which stands for none, and the last.
const TABLE: usize = 4;
/// The index that says: in the map.
const ELSEWHERE: u64 = 15;
/// Most objects in the map, at 20 bytes or so each.
const MOST_ELSEWHERE: usize = 1 << 21;

/// Numbers of objects; 0 is none.
pub(super) struct Numbers {
    /// The first word of each span.
    first: Vec<u32>,
    /// Of each span: its table, and the indices of its objects.
    words: Vec<AtomicU64>,
    elsewhere: Mutex<FxHashMap<ObjectId, u16>>,
}

impl Numbers {
    /// For spans with so many objects each, 0 where theirs have no numbers; none has one yet. `None` where there are
    /// more objects than can be.
    pub(super) fn new(objects: impl ExactSizeIterator<Item = u32>) -> Option<Self> {
        let mut first = Vec::with_capacity(objects.len());
        let mut all = 0_u32;
        for count in objects {
            first.push(all);
            if count > 0 {
                all = all.checked_add(TABLE as u32)?.checked_add(count.div_ceil(16))?;
            }
        }
        let words = std::iter::repeat_with(AtomicU64::default).take(all as usize).collect();
        Some(Self { first, words, elsewhere: Mutex::default() })
    }

    /// The word with an object's index, and where in it; the first word of its span.
    #[inline]
    fn place(&self, object: ObjectId) -> Option<(&AtomicU64, u32, usize)> {
        let first = *self.first.get(object.span as usize)? as usize;
        let word = self.words.get(first + TABLE + object.index as usize / 16)?;
        Some((word, object.index % 16 * 4, first))
    }

    /// The number of an object in a span of small ones.
    #[inline]
    pub(super) fn get(&self, object: ObjectId) -> u16 {
        let Some((word, shift, first)) = self.place(object) else { return 0 };
        match word.load(SeqCst) >> shift & 0xf {
            0 => 0,
            ELSEWHERE => locked(&self.elsewhere).get(&object).copied().unwrap_or(0),
            index => {
                let table = self.words.get(first + index as usize / 4).map_or(0, |word| word.load(SeqCst));
                (table >> (index % 4 * 16)) as u16
            }
        }
    }

    /// Gives an object of a span of small ones this number; false if it has one, or there is no room.
    #[inline]
    pub(super) fn set(&self, object: ObjectId, number: u16) -> bool {
        let Some((word, shift, first)) = self.place(object) else { return false };
        if number == 0 || word.load(Relaxed) >> shift & 0xf != 0 {
            return false;
        }
        if let Some(index) = self.index(first, number) {
            return put(word, shift, index);
        }
        let mut elsewhere = locked(&self.elsewhere);
        if elsewhere.len() >= MOST_ELSEWHERE || elsewhere.contains_key(&object) {
            return false;
        }
        elsewhere.insert(object, number);
        let is_set = put(word, shift, ELSEWHERE);
        if !is_set {
            elsewhere.remove(&object);
        }
        is_set
    }

    /// The index of a number in a span's table, where there is room for it.
    #[inline]
    fn index(&self, first: usize, number: u16) -> Option<u64> {
        let mut index = 1;
        while index < ELSEWHERE {
            let word = self.words.get(first + index as usize / 4)?;
            let (shift, table) = (index % 4 * 16, word.load(SeqCst));
            match (table >> shift) as u16 {
                found if found == number => return Some(index),
                0 => {
                    let with = table | u64::from(number) << shift;
                    // Another thread may have been faster, with this number or another: the same index is tried again.
                    if word.compare_exchange(table, with, SeqCst, SeqCst).is_ok() {
                        return Some(index);
                    }
                }
                _ => index += 1,
            }
        }
        None
    }

    /// What it takes, bytes.
    pub(super) fn memory(&self) -> usize {
        8 * self.words.len() + 4 * self.first.len() + 24 * locked(&self.elsewhere).capacity()
    }
}

/// Sets an index where there is none; false if there is one.
#[inline]
fn put(word: &AtomicU64, shift: u32, index: u64) -> bool {
    let mut now = word.load(Relaxed);
    while now >> shift & 0xf == 0 {
        match word.compare_exchange_weak(now, now | index << shift, SeqCst, Relaxed) {
            Ok(_) => return true,
            Err(other) => now = other,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_stays_however_many_there_are() {
        let numbers = Numbers::new([0, 40, 0, 1000].into_iter()).unwrap();
        let object = |span, index| ObjectId { span, index };
        assert!(!numbers.set(object(1, 0), 0));
        for index in 0..40 {
            assert_eq!(numbers.get(object(1, index)), 0);
            assert!(numbers.set(object(1, index), 7 + index as u16));
            assert!(!numbers.set(object(1, index), 99));
        }
        for index in 0..1000 {
            assert!(numbers.set(object(3, index), 60_000 + (index % 3) as u16));
        }
        for index in 0..40 {
            assert_eq!(numbers.get(object(1, index)), 7 + index as u16);
        }
        for index in 0..1000 {
            assert_eq!(numbers.get(object(3, index)), 60_000 + (index % 3) as u16);
        }
        // Fourteen in the table of the first span, the others in the map.
        assert_eq!(locked(&numbers.elsewhere).len(), 40 - 14);
        // Beyond the last object is nothing.
        assert!(!numbers.set(object(3, 2000), 1));
        assert_eq!(numbers.get(object(9, 0)), 0);
        assert!(Numbers::new([u32::MAX; 20].into_iter()).is_none());
    }

    #[test]
    fn threads_agree_on_who_was_first() {
        let numbers = Numbers::new([512].into_iter()).unwrap();
        let counts = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=4_u16)
                .map(|thread| {
                    let numbers = &numbers;
                    scope.spawn(move || {
                        let number = |index: u32| 100 * thread + (index % 5) as u16;
                        let own = (0..512).filter(|&index| numbers.set(ObjectId { span: 0, index }, number(index)));
                        own.map(|index| (index, number(index))).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(counts.len(), 512);
        for (index, number) in counts {
            assert_eq!(numbers.get(ObjectId { span: 0, index }), number);
        }
    }
}
