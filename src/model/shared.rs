//! Long lists that several snapshots have in common: a program in which nothing ran between two readings has the same
//! goroutines in both, and there may be a million. Where little ran, one list is made of the other, and knows where it
//! differs.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A list that costs nothing to clone. It is copied when one of several owners changes it.
pub struct Shared<T>(Arc<List<T>>);

struct List<T> {
    items: Vec<T>,
    /// What no other list of this process has, nor this one before it was changed.
    number: u64,
    /// Where it differs from the list that it was made of.
    changes: Option<Changes>,
}

/// In what one list differs from another of the same length.
struct Changes {
    /// The number of the other.
    from: u64,
    /// Positions, each once. What is there may be equal all the same.
    positions: Vec<u32>,
}

fn new_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

impl<T> List<T> {
    fn new(items: Vec<T>) -> Self {
        Self { items, number: new_number(), changes: None }
    }
}

impl<T: Clone> Clone for List<T> {
    fn clone(&self) -> Self {
        Self::new(self.items.clone())
    }
}

impl<T> Shared<T> {
    /// Whether both are the same list in memory. Then they are equal; others may be equal too.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Positions outside of which this list is equal to `earlier`, which is as long; `None` where that is not known.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> Option<&[u32]> {
        if self.is_same(earlier) {
            return Some(&[]);
        }
        let changes = self.0.changes.as_ref().filter(|changes| changes.from == earlier.0.number)?;
        Some(&changes.positions)
    }
}

/// Makes each list of the one before it, in which little differs. Two lists take turns, so that only what differs is
/// copied, as long as nobody else has the older one any more.
pub(crate) struct Turns<T> {
    latest: Shared<T>,
    /// The one that `latest` was made of.
    before: Option<Shared<T>>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { latest: Shared::default(), before: None }
    }
}

impl<T: Clone> Turns<T> {
    /// Begins with this list.
    pub(crate) fn begin(&mut self, list: Shared<T>) {
        (self.latest, self.before) = (list, None);
    }

    /// The latest list.
    pub(crate) fn latest(&self) -> &Shared<T> {
        &self.latest
    }

    /// The next list: the latest one with other items at some positions, each of them once.
    pub(crate) fn next(&mut self, changed: Vec<(u32, T)>) -> Shared<T> {
        let latest = &self.latest;
        let mut list = match self.before.take().and_then(|before| Arc::into_inner(before.0)) {
            Some(mut older) if latest.0.changes.as_ref().is_some_and(|changes| changes.from == older.number) => {
                for &position in latest.0.changes.iter().flat_map(|changes| &changes.positions) {
                    let at = position as usize;
                    if let Some((old, new)) = older.items.get_mut(at).zip(latest.get(at)) {
                        old.clone_from(new);
                    }
                }
                older
            }
            _ => List::new(latest.to_vec()),
        };
        let mut positions = Vec::with_capacity(changed.len());
        for (position, item) in changed {
            if let Some(old) = list.items.get_mut(position as usize) {
                *old = item;
                positions.push(position);
            }
        }
        list.number = new_number();
        list.changes = Some(Changes { from: latest.0.number, positions });
        let next = Shared(Arc::new(list));
        self.before = Some(std::mem::replace(&mut self.latest, next.clone()));
        next
    }
}

impl<T> std::fmt::Debug for Turns<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns").field("len", &self.latest.len()).finish_non_exhaustive()
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.items.fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.items == other.0.items
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> From<Vec<T>> for Shared<T> {
    fn from(items: Vec<T>) -> Self {
        Self(Arc::new(List::new(items)))
    }
}

impl<T> Deref for Shared<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0.items
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        let list = Arc::make_mut(&mut self.0);
        // It is another list from now on.
        (list.number, list.changes) = (new_number(), None);
        &mut list.items
    }
}

impl<'a, T> IntoIterator for &'a Shared<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.items.iter()
    }
}

impl<'a, T: Clone> IntoIterator for &'a mut Shared<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.deref_mut().iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::{Shared, Turns};

    #[test]
    fn a_list_is_copied_when_one_of_two_owners_changes_it() {
        let first: Shared<u8> = vec![1, 2].into();
        let mut second = first.clone();
        assert!(first.is_same(&second));
        second.push(3);
        assert!(!first.is_same(&second));
        assert_eq!((first.len(), second.len()), (2, 3));
        // Alone it is not.
        let at = second.as_ptr();
        second[0] = 7;
        assert_eq!((second.as_ptr(), second[0], first[0]), (at, 7, 1));
    }

    #[test]
    fn lists_take_turns_and_know_where_they_differ() {
        let mut turns = Turns::default();
        turns.begin(vec![0_u32; 5].into());
        let mut latest = turns.latest().clone();
        let mut want = latest.to_vec();
        let mut places = Vec::new();
        for step in 1..20_u32 {
            let changed = [(step % 5, step), ((step + 2) % 5, step)];
            changed.iter().for_each(|&(at, item)| want[at as usize] = item);
            let next = turns.next(changed.to_vec());
            assert_eq!(*next, want, "step {step}");
            assert_eq!(next.changes_since(&latest), Some(&[step % 5, (step + 2) % 5][..]));
            assert_eq!((next.changes_since(&next.clone()), latest.changes_since(&next)), (Some(&[][..]), None));
            places.push(next.as_ptr());
            latest = next;
        }
        assert!(places.windows(3).all(|three| three[0] == three[2]), "{places:?}");
    }

    /// A list that somebody still has stays as it is, and what was changed otherwise has no known differences.
    #[test]
    fn lists_that_others_have_do_not_change() {
        let mut turns = Turns::default();
        turns.begin(vec![1, 2, 3].into());
        let held: Vec<Shared<u8>> = (10..16).map(|item| turns.next(vec![(0, item)])).collect();
        let firsts: Vec<u8> = held.iter().map(|list| list[0]).collect();
        assert_eq!(firsts, [10, 11, 12, 13, 14, 15]);
        assert_eq!(held[2].changes_since(&held[0]), None);
        assert_eq!(held[2].changes_since(&held[1]), Some(&[0][..]));
        let mut other = held[2].clone();
        other[1] = 9;
        assert_eq!((other.changes_since(&held[1]), held[3].changes_since(&other)), (None, None));
        // The same list in memory after a change is another one.
        let mut alone: Shared<u8> = vec![1].into();
        turns.begin(alone.clone());
        let next = turns.next(Vec::new());
        drop(turns);
        alone[0] = 2;
        assert_eq!(next.changes_since(&alone), None);
    }
}
