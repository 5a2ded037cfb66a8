//! What roots point to, for paths from them: each object once, with the root that was gone through first.

use super::spans::ObjectId;
use crate::addr::Addr;

/// Most objects that are kept.
const MOST: usize = 1 << 22;

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// A package variable, or a part of one, at this address.
    Variable(Addr),
    /// A finalizer or a cleanup, attached to an object or queued.
    Finalizer,
    /// A timer, or something else that a P holds.
    Timer,
    /// A register, or the stack of a thread's scheduler.
    Thread,
    /// The stack of a goroutine with this id, or what its g holds.
    Goroutine(u64),
}

/// What roots point to.
#[derive(Debug)]
pub(super) struct RootLog {
    /// Of what comes next.
    pub(super) origin: Root,
    /// Objects that they point to.
    pub(super) objects: Vec<(ObjectId, Root)>,
    /// Objects that are not pointed to, but whose words are roots.
    pub(super) contents: Vec<(ObjectId, Root)>,
    /// A bit for each object that is there.
    seen: Vec<u64>,
    /// Whether there were too many.
    pub(super) cut: bool,
}

impl RootLog {
    /// For a heap with so many words of mark bits.
    pub(super) fn new(words: usize) -> Self {
        let (objects, contents) = (Vec::new(), Vec::new());
        Self { origin: Root::Finalizer, objects, contents, seen: vec![0; words], cut: false }
    }

    /// Adds an object whose mark is bit `index` from word `word` on.
    pub(super) fn add(&mut self, object: ObjectId, (word, index): (usize, u32), contents: bool) {
        if contents {
            return self.contents_of(object);
        }
        let Some(seen) = self.seen.get_mut(word + index as usize / 64) else { return };
        let bit = 1 << (index % 64);
        if *seen & bit != 0 {
            return;
        }
        *seen |= bit;
        match self.objects.len() < MOST {
            true => self.objects.push((object, self.origin)),
            false => self.cut = true,
        }
    }

    /// Adds the words of an object.
    pub(super) fn contents_of(&mut self, object: ObjectId) {
        match self.contents.len() < MOST {
            true => self.contents.push((object, self.origin)),
            false => self.cut = true,
        }
    }
}
