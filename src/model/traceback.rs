//! What only the program's own tracebacks show of goroutines, and nothing groups, filters or compares: the
//! words of their frames' arguments, and what their headers depend on. It is read on request.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::values::Parameter;
pub use crate::image::pclntab::ArgumentToken;

use crate::addr::Addr;

/// Most words of one snapshot that are kept: 1 GB.
const MAX_WORDS: usize = 1 << 27;

/// What tracebacks show beyond what every snapshot holds.
#[derive(Clone, Debug, Default)]
pub struct TracebackDetails {
    /// Words of arguments.
    pub arguments: Arguments,
    /// Whether the program has its labels printed in headers (`GODEBUG=tracebacklabels=1`, which is the default
    /// from Go 1.27 on).
    pub labels: bool,
    /// `g.waitsince` of goroutines in which it may be older than their wait, by the address of the g: the
    /// runtime prints minutes since then all the same.
    pub stamps: FxHashMap<Addr, NonZeroU64>,
    /// Parameters of functions, by the address that a function starts at; `None` unless they were asked for and
    /// the program, or a separate file with its symbols, has DWARF.
    pub parameters: Option<BTreeMap<Addr, Arc<[Parameter]>>>,
    /// The beginnings of strings among the arguments, by address and length, where they were asked for.
    pub strings: FxHashMap<(u64, u64), String>,
    /// Dynamic types of the interfaces among the arguments, by their first words.
    pub types: FxHashMap<u64, String>,
}

/// The arguments of one physical frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameArguments {
    /// Top of the frame, in bytes above the stack pointer where the stack starts.
    pub fp_offset: u64,
    /// What is printed; `None` where it is not known.
    pub tokens: Option<Arc<[ArgumentToken]>>,
    /// How many words the frames inside it have.
    pub first_word: usize,
}

/// The arguments of all physical frames of a stack, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackArguments {
    /// By physical frame.
    pub frames: Vec<FrameArguments>,
    /// How many words they have together.
    pub words: usize,
}

/// Words of arguments of the goroutines of one snapshot.
///
/// A word has eight bytes in one list for all goroutines; what is printed of it, and where, is kept once for
/// each stack.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    stacks: Vec<Arc<StackArguments>>,
    goroutines: FxHashMap<Addr, Place>,
    words: Vec<u64>,
    /// Indexes of words that could not be read.
    missing: FxHashSet<usize>,
}

/// Where the words of a goroutine are.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Number of its stack.
    stack: u32,
    /// Index of its first word.
    first: usize,
}

impl Arguments {
    /// For goroutines that stand on `stacks`, which have the numbers that [`Self::insert`] is given.
    pub fn set_stacks(&mut self, stacks: Vec<Arc<StackArguments>>) {
        self.stacks = stacks;
    }

    /// Adds the words of the goroutine at `g`, as many as stack number `stack` has, `None` for those that could
    /// not be read; they replace earlier ones. `false` if there is no room for them.
    pub fn insert(&mut self, g: Addr, stack: u32, words: impl ExactSizeIterator<Item = Option<u64>>) -> bool {
        let first = self.words.len();
        if first.saturating_add(words.len()) > MAX_WORDS {
            return false;
        }
        for word in words {
            if word.is_none() {
                self.missing.insert(self.words.len());
            }
            self.words.push(word.unwrap_or(0));
        }
        self.goroutines.insert(g, Place { stack, first });
        true
    }

    /// Those of the goroutine at `g`.
    #[must_use]
    pub fn of(&self, g: Addr) -> Option<GoroutineArguments<'_>> {
        let place = self.goroutines.get(&g)?;
        let stack = self.stacks.get(usize::try_from(place.stack).ok()?)?;
        Some(GoroutineArguments { all: self, stack, first: place.first })
    }

    /// How many goroutines have any.
    #[must_use]
    pub fn len(&self) -> usize {
        self.goroutines.len()
    }

    /// Whether none was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.goroutines.is_empty()
    }
}

/// Words of arguments of one goroutine.
#[derive(Clone, Copy, Debug)]
pub struct GoroutineArguments<'a> {
    all: &'a Arguments,
    stack: &'a StackArguments,
    first: usize,
}

impl<'a> GoroutineArguments<'a> {
    /// What is printed of the arguments of physical frame number `index` from the innermost, whose top is
    /// `fp_offset` bytes above the stack pointer where the stack starts; `None` where it is not known.
    #[must_use]
    pub fn frame(&self, index: usize, fp_offset: u64) -> Option<FrameWords<'a>> {
        let frame = self.stack.frames.get(index).filter(|frame| frame.fp_offset == fp_offset)?;
        let first = self.first.checked_add(frame.first_word)?;
        Some(FrameWords { all: self.all, tokens: frame.tokens.as_deref()?, first })
    }
}

/// What is printed of the arguments of one frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameWords<'a> {
    all: &'a Arguments,
    tokens: &'a [ArgumentToken],
    first: usize,
}

impl<'a> FrameWords<'a> {
    /// The pieces, and for those that are words their values; `None` for one that could not be read.
    pub fn pieces(&self) -> impl Iterator<Item = (ArgumentToken, Option<u64>)> + 'a {
        let Self { all, tokens, first: mut next } = *self;
        tokens.iter().map(move |&token| {
            if !matches!(token, ArgumentToken::Word { .. }) {
                return (token, None);
            }
            let at = next;
            next = next.saturating_add(1);
            (token, all.words.get(at).copied().filter(|_| !all.missing.contains(&at)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: ArgumentToken = ArgumentToken::Word { offset: 0, size: 8, dead: false };

    fn stack(words: &[usize]) -> Arc<StackArguments> {
        let mut stack = StackArguments::default();
        for (frame, &count) in words.iter().enumerate() {
            let tokens = Some(vec![WORD; count].into());
            let fp_offset = 16 * (frame as u64 + 1);
            stack.frames.push(FrameArguments { fp_offset, tokens, first_word: stack.words });
            stack.words += count;
        }
        Arc::new(stack)
    }

    #[test]
    fn words_are_those_of_their_goroutine_and_frame() {
        let mut arguments = Arguments::default();
        arguments.set_stacks(vec![stack(&[1, 0, 2]), stack(&[1])]);
        assert!(arguments.insert(Addr(1), 0, [Some(10), Some(11), None].into_iter()));
        assert!(arguments.insert(Addr(2), 1, [Some(20)].into_iter()));
        // A second read replaces the first.
        assert!(arguments.insert(Addr(1), 1, [Some(30)].into_iter()));
        assert!(arguments.insert(Addr(3), 0, [Some(40), Some(41), None].into_iter()));
        let values = |g, index, fp| {
            let frame = arguments.of(Addr(g))?.frame(index, fp)?;
            Some(frame.pieces().map(|(_, word)| word).collect::<Vec<_>>())
        };
        assert_eq!(values(1, 0, 16), Some(vec![Some(30)]));
        assert_eq!(values(2, 0, 16), Some(vec![Some(20)]));
        assert_eq!(values(3, 1, 32), Some(vec![]));
        assert_eq!(values(3, 2, 48), Some(vec![Some(41), None]));
        // Another frame than was read, and another goroutine.
        assert_eq!((values(3, 2, 32), values(3, 3, 64), values(4, 0, 16)), (None, None, None));
        assert_eq!(arguments.len(), 3);
    }
}
