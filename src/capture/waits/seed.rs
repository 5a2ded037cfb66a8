//! What a goroutine's header and stack hold of its wait, taken when they were validated.

use rustc_hash::FxHashMap;

use super::class::Class;
use super::number;
use crate::bytes::FieldsExt as _;
use crate::model::Status;
use crate::runtime::mirror::g::G;

/// Words of a parked stack that lead to what it waits for, counted from its stack pointer. They are the same for
/// all goroutines of a program, and are corrected when they turn out to be others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capture) struct Words {
    /// To a `pollDesc`.
    pub(super) poll: usize,
    /// To the sudog at a semaphore (to 1.25).
    pub(super) semaphore: usize,
    /// To the list of a `sync.Cond` (to 1.25).
    pub(super) list: usize,
    /// To the `coro` of a goroutine that has switched to another.
    pub(super) coro: usize,
}

impl Words {
    /// Where they are in most programs for amd64.
    pub(in crate::capture) const USUAL: Self = Self { poll: 8, semaphore: 12, list: 10, coro: 6 };
}

/// Where a wait is followed from. There may be a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::capture) struct Seed {
    /// `g.waiting`; the end of a sleep, or its timer (to 1.22); else a word of the stack.
    pub(in crate::capture) value: u64,
    /// Index of the goroutine, once that is known.
    pub(super) index: u32,
    /// How it waits.
    pub(in crate::capture) class: Class,
    /// Whether the goroutine could not be validated.
    pub(super) moving: bool,
}

const _: () = assert!(size_of::<Seed>() == 16);

impl Seed {
    /// The same with the word that was taken when its stack was read.
    pub(in crate::capture) fn with_word(self, value: u64) -> Self {
        Self { value, ..self }
    }

    /// Whether its goroutine is blocked, and waits were asked for.
    fn is_blocked(&self) -> bool {
        self.class != Class::None
    }
}

/// The seeds of a capture.
#[derive(Debug, Default)]
pub(in crate::capture) struct SeedList {
    pub(super) seeds: Vec<Seed>,
    /// Addresses of the synctest bubbles of goroutines that sleep in one, by the index of the goroutine.
    pub(super) bubbles: FxHashMap<u32, u64>,
}

impl SeedList {
    /// Makes room for as many.
    pub(in crate::capture) fn reserve(&mut self, count: usize) {
        self.seeds.reserve(count);
    }

    /// Adds the seed of the goroutine with that index, if it is blocked. `bubble` is its `g.bubble`.
    pub(in crate::capture) fn add(&mut self, index: usize, seed: Seed, bubble: u64) {
        if !seed.is_blocked() {
            return;
        }
        let index = number(index);
        self.seeds.push(Seed { index, ..seed });
        if seed.class == Class::Sleep && bubble != 0 {
            self.bubbles.insert(index, bubble);
        }
    }

    /// Drops the seeds of goroutines whose indexes `are_replaced`.
    pub(in crate::capture) fn drop_those(&mut self, are_replaced: impl Fn(usize) -> bool) {
        let are_replaced = |index: u32| usize::try_from(index).is_ok_and(&are_replaced);
        self.seeds.retain(|seed| !are_replaced(seed.index));
        self.bubbles.retain(|index, _| !are_replaced(*index));
    }
}

/// Takes seeds out of goroutines, where waits were asked for.
#[derive(Clone, Debug)]
pub(in crate::capture) struct Seeds {
    /// By number of the wait reason; empty where waits were not asked for.
    classes: Vec<Class>,
    pub(super) words: Words,
}

impl Seeds {
    pub(super) fn new() -> Self {
        Self { classes: Vec::new(), words: Words::USUAL }
    }

    /// Which words are taken out of stacks now.
    pub(in crate::capture) fn words(&self) -> Words {
        self.words
    }

    /// Whether waits are asked for from now on.
    pub(in crate::capture) fn ask(&mut self, asked: bool, reasons: &[String]) {
        self.classes.clear();
        if asked {
            self.classes.extend(reasons.iter().map(|reason| Class::of_reason(reason)));
        }
    }

    /// The seed of a goroutine; `stack` are the bytes of its stack from its stack pointer on, none where
    /// they are not known.
    pub(in crate::capture) fn seed(&self, g: &G, stack: &[u8]) -> Seed {
        let class = match g.status() {
            _ if self.classes.is_empty() => Class::None,
            Status::Waiting | Status::Leaked => {
                self.classes.get(usize::from(g.waitreason)).copied().unwrap_or(Class::Runtime)
            }
            Status::Syscall => Class::Syscall,
            _ => Class::None,
        };
        let word = |index: usize| stack.u64_at(8 * index).unwrap_or(0);
        let queued = |index: usize| if g.waiting == 0 { word(index) } else { g.waiting };
        let value = match class {
            Class::Channel(_) | Class::Select => g.waiting,
            Class::Semaphore(_) => queued(self.words.semaphore),
            Class::Cond => queued(self.words.list),
            Class::Poll => word(self.words.poll),
            Class::Coroutine => word(self.words.coro),
            Class::Sleep => g.sleep_when.unwrap_or(g.timer),
            _ => 0,
        };
        Seed { class, value, index: 0, moving: false }
    }

    /// The seed of a goroutine that could not be validated: nothing but how it waited.
    pub(in crate::capture) fn moving(&self, g: &G) -> Seed {
        Seed { value: 0, moving: true, ..self.seed(g, &[]) }
    }
}
