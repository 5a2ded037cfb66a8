//! The values of a pool one after the other, so that they can be written once and read back with the same ids.

use serde::{Deserialize, Serialize};

use super::{Ancestor, ForeignStack, Frame, Label, Stack, SymbolPool};

/// A value. Values of one kind have the numbers in which they come, and refer only to those of the kinds before
/// theirs.
// Recordings hold it in this form: variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PoolEntry {
    /// A string.
    Str(Box<str>),
    /// A place in code.
    Frame(Frame),
    /// A stack.
    Stack(Stack),
    /// A set of labels.
    Labels(Vec<Label>),
    /// A chain of ancestors.
    Ancestors(Vec<Ancestor>),
    /// A C stack.
    Foreign(ForeignStack),
}

/// How many values of each kind a pool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolLen {
    strings: usize,
    frames: usize,
    stacks: usize,
    labels: usize,
    ancestors: usize,
    foreign: usize,
}

impl PoolLen {
    /// Of two views of one pool, that of the one with more.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            strings: self.strings.max(other.strings),
            frames: self.frames.max(other.frames),
            stacks: self.stacks.max(other.stacks),
            labels: self.labels.max(other.labels),
            ancestors: self.ancestors.max(other.ancestors),
            foreign: self.foreign.max(other.foreign),
        }
    }
}

impl SymbolPool {
    /// How many values there are.
    pub(crate) fn len(&self) -> PoolLen {
        PoolLen {
            strings: self.strings.len(),
            frames: self.frames.len(),
            stacks: self.stacks.len(),
            labels: self.labels.len(),
            ancestors: self.ancestors.len(),
            foreign: self.foreign.len(),
        }
    }

    /// Those that came after the pool had so many.
    pub(crate) fn entries_after(&self, known: PoolLen) -> impl Iterator<Item = PoolEntry> {
        let strings = self.strings.after(known.strings).map(|text| PoolEntry::Str(text.clone()));
        let frames = self.frames.after(known.frames).map(|frame| PoolEntry::Frame(frame.clone()));
        let stacks = self.stacks.after(known.stacks).map(|stack| PoolEntry::Stack(stack.clone()));
        let labels = self.labels.after(known.labels).map(|labels| PoolEntry::Labels(labels.clone()));
        let ancestors = self.ancestors.after(known.ancestors).map(|chain| PoolEntry::Ancestors(chain.clone()));
        let foreign = self.foreign.after(known.foreign).map(|stack| PoolEntry::Foreign(stack.clone()));
        strings.chain(frames).chain(stacks).chain(labels).chain(ancestors).chain(foreign)
    }

    /// Adds a value; `false` if it was there already, so that it has not got the next number.
    pub(crate) fn add_entry(&mut self, entry: PoolEntry) -> bool {
        let before = self.len();
        match entry {
            PoolEntry::Str(text) => {
                self.intern_str(&text);
            }
            PoolEntry::Frame(frame) => {
                self.intern_frame(frame);
            }
            PoolEntry::Stack(stack) => {
                self.intern_stack(stack);
            }
            PoolEntry::Labels(labels) => {
                self.intern_labels(labels);
            }
            PoolEntry::Ancestors(chain) => {
                self.intern_ancestors(chain);
            }
            PoolEntry::Foreign(stack) => {
                self.intern_foreign(stack);
            }
        }
        self.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pool::Label;

    #[test]
    fn a_pool_can_be_made_again_bit_by_bit() {
        let mut pool = SymbolPool::default();
        let mut copy = SymbolPool::default();
        let mut known = PoolLen::default();
        for round in 0..3 {
            let key = pool.intern_str(&format!("key {round}"));
            let value = pool.intern_str("value");
            let labels = pool.intern_labels(vec![Label { key, value }]);
            for entry in pool.view().entries_after(known) {
                assert!(copy.add_entry(entry.clone()), "{entry:?}");
                assert!(!copy.add_entry(entry));
            }
            known = pool.len();
            assert_eq!(copy.len(), known);
            assert_eq!(copy.str(copy.labels(labels)[0].key), format!("key {round}"));
        }
    }
}
