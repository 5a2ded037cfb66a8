//! The words of a goroutine's arguments, from the bytes of its stack that were validated with its frames:
//! nothing else is read for them.
//!
//! Which words those are depends on the stack alone, so it is worked out once for each, as the frames are.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::symbolize::call_site;
use super::unwind::{PhysicalFrame, StackNode, Unwinder};
use crate::addr::{Addr, Arch, LoadBias};
use crate::image::pclntab::Pclntab;
use crate::model::{ArgumentToken, FrameArguments, StackArguments, TracebackDetails};
use crate::runtime::rules::Rules;

/// Of a longer stack, the arguments of this many frames at either end are kept: tracebacks print no more than
/// a hundred unless asked to.
const MOST_FRAMES_AT_AN_END: usize = 4096;

/// A word to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// In bytes above the stack pointer where the stack starts.
    offset: u64,
    /// In bytes, at most 8.
    size: u8,
}

/// What is printed for a frame; `None` where its tables cannot be read.
type Tokens = Option<Arc<[ArgumentToken]>>;

/// Reads arguments; keeps what it works out from one capture to the next.
#[derive(Debug)]
pub(super) struct ArgumentReader {
    pclntab: Arc<Pclntab>,
    bias: LoadBias,
    /// `sys.MinFrameSize`: what lies between the top of a frame and the arguments it was given, bytes.
    min_frame: u64,
    /// Whether liveness is looked up where the outermost inlined call is.
    at_outermost: bool,
    /// By program counter and exactness.
    programs: FxHashMap<(u64, bool), Tokens>,
    by_stack: FxHashMap<StackNode, u32>,
    stacks: Vec<Arc<StackArguments>>,
    slots: Vec<Box<[Slot]>>,
    /// How many slots there are in all.
    remembered: usize,
    buffer: Vec<Option<u64>>,
}

/// What came of reading the arguments of a goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// They are there, as far as they can be read.
    Done,
    /// More of its stack is needed.
    Longer,
    /// There are too many words in all.
    NoRoom,
}

/// A part of a goroutine's stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct StackPart<'s> {
    /// Address of the first byte.
    pub(super) start: u64,
    pub(super) bytes: &'s [u8],
    /// Whether the memory above it is known to have no more of the stack.
    pub(super) whole: bool,
}

impl ArgumentReader {
    pub(super) fn new(pclntab: Arc<Pclntab>, bias: LoadBias, arch: Arch, rules: Rules) -> Self {
        Self {
            pclntab,
            bias,
            min_frame: if arch == Arch::Arm64 { 8 } else { 0 },
            at_outermost: rules.finds_live_arguments_at_outermost_call(),
            programs: FxHashMap::default(),
            by_stack: FxHashMap::default(),
            stacks: Vec::new(),
            slots: Vec::new(),
            remembered: 0,
            buffer: Vec::new(),
        }
    }

    /// How much is kept, in words and frames.
    pub(super) fn remembered(&self) -> usize {
        self.remembered
    }

    /// What is printed for the stacks that were met, by their numbers.
    pub(super) fn stacks(&self) -> Vec<Arc<StackArguments>> {
        self.stacks.clone()
    }

    /// Adds the arguments of the goroutine at `g` to `details`. Its stack starts at `sp`, ends below `hi`, and
    /// has the frames of `node`; `part` is what was read of it.
    pub(super) fn read(
        &mut self,
        unwinder: &Unwinder,
        node: StackNode,
        (g, sp, hi): (Addr, u64, u64),
        part: StackPart<'_>,
        details: &mut TracebackDetails,
    ) -> Read {
        let number = self.number(unwinder, node);
        let slots = usize::try_from(number).ok().and_then(|index| self.slots.get(index));
        if !read_words(slots.map_or(&[], |slots| slots), sp, hi, part, &mut self.buffer) {
            return Read::Longer;
        }
        match details.arguments.insert(g, number, self.buffer.drain(..)) {
            true => Read::Done,
            false => Read::NoRoom,
        }
    }

    /// The number of a stack, by which its words are known.
    fn number(&mut self, unwinder: &Unwinder, node: StackNode) -> u32 {
        if let Some(&known) = self.by_stack.get(&node) {
            return known;
        }
        let (stack, slots) = self.lay_out(&unwinder.frames(node));
        self.remembered = self.remembered.saturating_add(slots.len()).saturating_add(stack.frames.len());
        // There are no more stacks than nodes, which are numbered in 32 bits.
        let number = u32::try_from(self.stacks.len()).unwrap_or(u32::MAX);
        self.stacks.push(Arc::new(stack));
        self.slots.push(slots.into());
        self.by_stack.insert(node, number);
        number
    }

    /// What is printed for `frames`, and where its words are.
    fn lay_out(&mut self, frames: &[PhysicalFrame]) -> (StackArguments, Vec<Slot>) {
        let (mut stack, mut slots) = (StackArguments::default(), Vec::new());
        let tail = frames.len().saturating_sub(MOST_FRAMES_AT_AN_END);
        for (index, frame) in frames.iter().enumerate() {
            let kept = index < MOST_FRAMES_AT_AN_END || index >= tail;
            let tokens = if kept { self.tokens(frame) } else { None };
            let first_word = slots.len();
            for token in tokens.as_deref().unwrap_or_default() {
                if let ArgumentToken::Word { offset, size, .. } = *token {
                    let offset = frame.fp_offset.saturating_add(self.min_frame).saturating_add(offset.into());
                    slots.push(Slot { offset, size });
                }
            }
            stack.frames.push(FrameArguments { fp_offset: frame.fp_offset, tokens, first_word });
        }
        stack.words = slots.len();
        (stack, slots)
    }

    fn tokens(&mut self, frame: &PhysicalFrame) -> Tokens {
        let Self { pclntab, bias, programs, .. } = self;
        let at_outermost = self.at_outermost;
        let find = || {
            let (function, pc) = call_site(pclntab, *bias, frame.pc, frame.exact)?;
            let pc = if at_outermost { pclntab.outermost_call(&function, pc) } else { pc };
            pclntab.arguments(&function, pc).ok().map(Into::into)
        };
        programs.entry((frame.pc, frame.exact)).or_insert_with(find).clone()
    }
}

/// Reads the words at `slots` of a stack that starts at `sp` and ends below `hi` into `words`; `false` where more of it
/// has to be read. A word that lies outside, or cannot be read, is `None`.
fn read_words(slots: &[Slot], sp: u64, hi: u64, part: StackPart<'_>, words: &mut Vec<Option<u64>>) -> bool {
    words.clear();
    for slot in slots {
        let size = usize::from(slot.size);
        let at = sp.checked_add(slot.offset).filter(|at| at.checked_add(size as u64).is_some_and(|end| end <= hi));
        let word = at.and_then(|at| word(part, at, size));
        if word.is_none() && at.is_some() && !part.whole {
            return false;
        }
        words.push(word);
    }
    true
}

/// The `size` bytes at `at`, as a number.
fn word(part: StackPart<'_>, at: u64, size: usize) -> Option<u64> {
    let start = usize::try_from(at.checked_sub(part.start)?).ok()?;
    let bytes = part.bytes.get(start..start.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words at the edges of a part of a stack, and outside of it.
    #[test]
    fn words_are_those_of_the_bytes_that_were_read() {
        let bytes: Vec<u8> = (1..=16).collect();
        let part = StackPart { start: 0x1000, bytes: &bytes, whole: false };
        assert_eq!(word(part, 0x1000, 8), Some(0x0807_0605_0403_0201));
        assert_eq!(
            (word(part, 0x100f, 1), word(part, 0x1002, 2), word(part, 0x1000, 0)),
            (Some(16), Some(0x0403), Some(0))
        );
        for (at, size) in [(0xfff, 1), (0x100f, 2), (0x1010, 1), (0, 8), (u64::MAX, 8)] {
            assert_eq!(word(part, at, size), None, "{at:#x}");
        }
    }

    /// A stack that is longer than what was read of it is asked for; one that ends there is not.
    #[test]
    fn more_of_a_stack_is_read_only_where_there_is_more() {
        let slots = [Slot { offset: 0, size: 8 }, Slot { offset: 8, size: 8 }, Slot { offset: u64::MAX, size: 8 }];
        let part = |whole| StackPart { start: 0x1000, bytes: &[7; 8], whole };
        let mut words = Vec::new();
        assert!(!read_words(&slots, 0x1000, 0x2000, part(false), &mut words));
        assert!(read_words(&slots, 0x1000, 0x2000, part(true), &mut words));
        let first = Some(0x0707_0707_0707_0707);
        assert_eq!(words, [first, None, None]);
        // What is past the end of the stack is not part of it.
        assert!(read_words(&slots, 0x1000, 0x1008, part(false), &mut words));
        assert_eq!(words, [first, None, None]);
    }
}
