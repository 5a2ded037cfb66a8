//! Long lists that several snapshots have in common: a program in which nothing ran between two readings has the same
//! goroutines in both, and there may be a million.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A list that costs nothing to clone. It is copied when one of several owners changes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Shared<T>(Arc<Vec<T>>);

impl<T> Shared<T> {
    /// Whether both are the same list in memory. Then they are equal; others may be equal too.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> From<Vec<T>> for Shared<T> {
    fn from(list: Vec<T>) -> Self {
        Self(Arc::new(list))
    }
}

impl<T> Deref for Shared<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        Arc::make_mut(&mut self.0)
    }
}

impl<'a, T> IntoIterator for &'a Shared<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
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
    use super::Shared;

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
}
