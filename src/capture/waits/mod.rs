//! What the goroutines wait for: followed from what was validated of them, for all together.
//!
//! A goroutine is validated with its stack first; its header is compared once more when its wait was followed.
//! One that has gone on meanwhile is said to have moved, and nothing else is said of it.

mod again;
mod apart;
mod channels;
mod class;
mod coroutines;
pub(super) mod describe;
mod find;
mod holders;
mod locks;
mod seed;

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use self::channels::ChannelPointers;
use self::class::{Class, StackFacts};
use self::holders::Searches;
use self::seed::{Seed, Seeds};
use super::recording::Recorded;
use crate::addr::Addr;
use crate::model::wait::{ObjectState, WaitUnknown};
use crate::model::{
    Goroutine, StackId, StrId, SymbolPool, Wait, WaitId, WaitKind, WaitObject, WaitObjectId, Waits, Warnings,
};
use crate::process::ReadError;
use crate::runtime::GoProcess;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::bubble::SynctestBubble;
use crate::runtime::readers::processors::Ticks;
use crate::runtime::readers::waits::parked::{Descriptor, Polled};
use crate::runtime::readers::waits::{BUDGET, timers};

pub(super) use self::seed::{Seed as WaitSeed, SeedList, Words as WaitWords};

/// The pointer that a recording notes as dropped by a goroutine that went on.
const WAITING: &str = "g.waiting";

/// Goroutines that are looked at together, so that what is known of each is in memory for as few as possible.
const TOGETHER: usize = 1 << 16;

/// What a session keeps from one capture to the next.
#[derive(Debug)]
pub(super) struct WaitMemory {
    pub(super) seeds: Seeds,
    /// Names of element types, by address.
    types: FxHashMap<u64, Option<StrId>>,
    facts: FxHashMap<StackId, StackFacts>,
    searches: Searches,
}

impl WaitMemory {
    pub(super) fn new() -> Self {
        Self {
            seeds: Seeds::new(),
            types: FxHashMap::default(),
            facts: FxHashMap::default(),
            searches: Searches::default(),
        }
    }
}

/// Asks the kernel for descriptors, and adds what it says to the objects. What it says of a descriptor that a
/// goroutine waits for is right if the goroutine still waits afterwards: closing the descriptor would wake it.
pub(super) type Look<'a> = dyn FnMut(&BTreeSet<i32>, &mut [WaitObject]) -> Result<(), ReadError> + 'a;

/// What following waits needs of a capture.
pub(super) struct Scene<'a> {
    pub(super) process: GoProcess<'a>,
    /// Addresses of the Ps, which have the timers.
    pub(super) ps: Vec<Addr>,
    /// What the Ps had run before the goroutines were read, if all were idle.
    pub(super) ticks: Option<Ticks>,
    /// When the capture began, ns by `nanotime`.
    pub(super) now_ns: u64,
    /// Whether the target runs, so that goroutines may go on.
    pub(super) runs: bool,
    /// Pointers that goroutines had dropped, as a recording notes.
    pub(super) let_go: &'a FxHashSet<(u64, String)>,
}

impl Scene<'_> {
    /// Follows the waits in `seeds`, and gives the goroutines the numbers of theirs.
    pub(super) fn read(
        &self,
        seeds: &SeedList,
        goroutines: &mut [Goroutine],
        (memory, pool): (&mut WaitMemory, &mut SymbolPool),
        recorded: &mut Recorded,
        warnings: &mut Warnings,
        look: &mut Look<'_>,
    ) -> Result<Waits, ReadError> {
        let mut following = Following {
            process: self.process,
            seeds: &seeds.seeds,
            goroutines,
            answers: Vec::with_capacity(seeds.seeds.len()),
            waits: Vec::new(),
            common: FxHashMap::default(),
            objects: Vec::new(),
            channels: Vec::new(),
            moved: Vec::new(),
        };
        following.begin(memory, pool, self.let_go);
        following.follow(memory, &seeds.bubbles, pool)?;
        following.name_types(memory, pool)?;
        following.channel_timers(&self.ps, pool)?;
        let fds = describe::numbers(&following.objects);
        look(&fds, &mut following.objects)?;
        if self.runs && !self.stood_still(seeds.seeds.len())? {
            following.compare_again()?;
        }
        following.report(recorded, warnings);
        let (answers, mut waits) = following.finish();
        for (seed, wait) in seeds.seeds.iter().zip(answers) {
            if let Some(goroutine) = goroutines.get_mut(seed.index as usize) {
                goroutine.waiting_on = Some(wait);
            }
        }
        holders::find(self.process, pool, goroutines, &mut waits, (&mut memory.searches, self.now_ns))?;
        Ok(waits)
    }

    /// Whether no goroutine has gone on since the Ps were read, as those of a program that hangs: then there is
    /// nothing to compare. It is asked where that saves more than it costs.
    fn stood_still(&self, seeds: usize) -> Result<bool, ReadError> {
        /// Headers of fewer goroutines are compared in a call or two.
        const MANY: usize = 4096;
        match &self.ticks {
            Some(before) if seeds >= MANY => Ok(Ticks::read_idle(self.process.unlogged())?.as_ref() == Some(before)),
            _ => Ok(false),
        }
    }
}

/// The work of one capture.
struct Following<'a> {
    process: GoProcess<'a>,
    seeds: &'a [Seed],
    goroutines: &'a [Goroutine],
    /// By seed.
    answers: Vec<Answer>,
    /// Many goroutines may have the same one.
    waits: Vec<Wait>,
    /// The numbers of those that many have.
    common: FxHashMap<Wait, WaitId>,
    objects: Vec<WaitObject>,
    /// Of channels, with the indexes of the objects: the types of their elements, and the timers that they name.
    channels: Vec<ChannelPointers>,
    /// Numbers of the seeds of goroutines that had gone on when they were recorded.
    moved: Vec<usize>,
}

/// What is known of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Known(WaitId),
    Unknown { kind: WaitKind, why: WaitUnknown },
}

fn unknown(class: Class, why: WaitUnknown) -> Answer {
    Answer::Unknown { kind: class.kind(), why }
}

/// The number of a seed, as readers count.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl<'a> Following<'a> {
    fn frontier(&self) -> Frontier<'a> {
        Frontier::new(self.process.target, BUDGET)
    }

    fn goroutine(&self, at: usize) -> Option<&Goroutine> {
        self.goroutines.get(self.seeds.get(at)?.index as usize)
    }

    fn class(&self, at: usize) -> Class {
        self.seeds.get(at).map_or(Class::None, |seed| seed.class)
    }

    fn answer(&mut self, at: usize, wait: WaitId) {
        self.set(at, Answer::Known(wait));
    }

    fn set(&mut self, at: usize, answer: Answer) {
        if let Some(old) = self.answers.get_mut(at) {
            *old = answer;
        }
    }

    fn wait(&self, id: WaitId) -> Option<&Wait> {
        self.waits.get(id.index())
    }

    /// Adds a wait that is like no other.
    fn add_wait(&mut self, wait: Wait) -> WaitId {
        self.waits.push(wait);
        WaitId::of_index(self.waits.len() - 1)
    }

    /// Adds a wait that many have, once.
    fn common(&mut self, wait: Wait) -> WaitId {
        match self.common.get(&wait) {
            Some(known) => *known,
            None => {
                let id = self.add_wait(wait.clone());
                self.common.insert(wait, id);
                id
            }
        }
    }

    /// The numbers of the waits, by seed, and all waits.
    fn finish(mut self) -> (Vec<WaitId>, Waits) {
        let answers = std::mem::take(&mut self.answers);
        let ids = answers.into_iter().map(|answer| match answer {
            Answer::Known(id) => id,
            Answer::Unknown { kind, why } => self.common(Wait::Unknown { kind, why }),
        });
        let ids = ids.collect();
        (ids, Waits::new(self.waits, self.objects))
    }

    fn fail(&mut self, at: usize, why: WaitUnknown) {
        let kind = match self.answers.get(at) {
            Some(Answer::Unknown { kind, .. }) => *kind,
            _ => self.class(at).kind(),
        };
        self.set(at, Answer::Unknown { kind, why });
    }

    fn add(&mut self, object: WaitObject) -> WaitObjectId {
        self.objects.push(object);
        WaitObjectId::of_index(self.objects.len() - 1)
    }

    /// What the header and the functions on the stack show already.
    fn begin(&mut self, memory: &mut WaitMemory, pool: &SymbolPool, let_go: &FxHashSet<(u64, String)>) {
        for (at, seed) in self.seeds.iter().enumerate() {
            let goroutine = self.goroutines.get(seed.index as usize);
            let facts = |memory: &mut WaitMemory| {
                let stack = goroutine?.stack.known()?;
                Some(*memory.facts.entry(stack).or_insert_with(|| StackFacts::of(pool, stack)))
            };
            let mut answer = match seed.class {
                Class::NilChannel(direction) => Answer::Known(self.common(Wait::Channel { channel: None, direction })),
                Class::NoCases => Answer::Known(self.common(Wait::Select { cases: Box::default() })),
                Class::None | Class::Runtime => Answer::Known(self.common(Wait::Runtime)),
                // All of its channels are nil.
                Class::Select if seed.value == 0 => Answer::Known(self.common(Wait::Select { cases: Box::default() })),
                Class::Syscall => match facts(memory) {
                    Some(facts) if facts.c => Answer::Known(self.common(Wait::C)),
                    _ => Answer::Known(self.common(Wait::Syscall)),
                },
                Class::Semaphore(_) => {
                    let kind = facts(memory).map_or(seed.class.kind(), |facts| locks::kind(facts.place.kind()));
                    Answer::Unknown { kind, why: WaitUnknown::NotFound }
                }
                Class::Poll => {
                    let network = facts(memory).is_none_or(|facts| facts.network);
                    let kind = if network { WaitKind::Network } else { WaitKind::File };
                    Answer::Unknown { kind, why: WaitUnknown::NotFound }
                }
                class if seed.value == 0 => unknown(class, WaitUnknown::NotFound),
                class => unknown(class, WaitUnknown::Unreadable),
            };
            if seed.moving {
                answer = unknown(seed.class, WaitUnknown::Moved);
            }
            if goroutine.is_some_and(|g| !let_go.is_empty() && let_go.contains(&(g.addr.0, WAITING.to_owned()))) {
                self.moved.push(at);
                answer = unknown(seed.class, WaitUnknown::Moved);
            }
            self.answers.push(answer);
        }
    }

    /// Whether a wait is to be followed: nothing is known of it yet, and it has not gone on.
    fn is_open(&self, at: usize) -> bool {
        matches!(self.answers.get(at), Some(Answer::Unknown { why, .. }) if *why != WaitUnknown::Moved)
    }

    /// The numbers and the seeds of the classes that `wanted` takes, as far as they are open.
    fn open(&self, wanted: impl Fn(Class) -> bool) -> impl Iterator<Item = (usize, &Seed)> {
        self.seeds.iter().enumerate().filter(move |(at, seed)| wanted(seed.class) && self.is_open(*at))
    }

    fn give_up(&mut self, classes: impl Fn(Class) -> bool, why: WaitUnknown) {
        let open: Vec<usize> = self.open(classes).map(|(at, _)| at).collect();
        open.into_iter().for_each(|at| self.fail(at, why));
    }

    fn descriptors(&mut self, memory: &mut WaitMemory) -> Result<(), ReadError> {
        let is_poll = |class| class == Class::Poll;
        let Some(layout) = self.process.runtime.layout.poll_desc.as_ref() else {
            self.give_up(is_poll, WaitUnknown::NoLayout);
            return Ok(());
        };
        let mut found: Vec<(u32, Polled)> =
            self.find(&Descriptor(layout), self.parked(is_poll), &mut memory.seeds.words.poll, |_, _| Ok(true))?;
        found.sort_unstable_by_key(|(waiter, polled)| (polled.addr, *waiter));
        for of_one in found.chunk_by(|(_, a), (_, b)| a.addr == b.addr) {
            let Some((first, polled)) = of_one.first() else { continue };
            let kind = self.answers.get(*first as usize);
            let network = matches!(kind, Some(Answer::Unknown { kind: WaitKind::Network, .. }));
            let state = ObjectState::Descriptor { fd: polled.fd, network, details: None };
            let id =
                self.add(WaitObject { goroutines: number(of_one.len()), ..WaitObject::new(Addr(polled.addr), state) });
            for (waiter, polled) in of_one {
                let Polled { direction, deadline_ns, .. } = *polled;
                let wait = self.add_wait(Wait::Poll { object: id, direction, deadline_ns });
                self.answer(*waiter as usize, wait);
            }
        }
        Ok(())
    }

    fn sleepers(&mut self, bubbles: &FxHashMap<u32, u64>) -> Result<(), ReadError> {
        let layout = &self.process.runtime.layout;
        let is_sleep = |class| class == Class::Sleep;
        let clocks = match &layout.bubble {
            Some(layout) if !bubbles.is_empty() => {
                self.frontier().mirrors::<SynctestBubble>(layout, bubbles.values().copied().map(Addr))?
            }
            _ => Default::default(),
        };
        let mut ends: Vec<(u32, u64)> = Vec::new();
        if layout.g.sleep_when.is_some() {
            ends.extend(self.open(is_sleep).map(|(at, seed)| (number(at), seed.value)));
        } else if let Some(timer) = &layout.timer {
            let sleepers = self.open(is_sleep);
            let mut jobs: Vec<(Addr, u32)> = sleepers.map(|(at, seed)| (Addr(seed.value), number(at))).collect();
            timers::read_timers(&mut self.frontier(), timer, &mut jobs, |at, timer| {
                ends.extend(u64::try_from(timer.when).ok().map(|when| (at, when)));
            })?;
        }
        for (at, until_ns) in ends {
            let at = at as usize;
            let bubble = self.seeds.get(at).and_then(|seed| bubbles.get(&seed.index));
            let now = bubble.and_then(|at| clocks.get(Addr(*at))).and_then(|bubble| u64::try_from(bubble.now).ok());
            match until_ns {
                // The scavenger has a timer of its own (`scavengerState.sleep` in runtime/mgcscavenge.go).
                0 => self.fail(at, WaitUnknown::NotFound),
                _ => {
                    let wait = self.add_wait(Wait::Sleep { until_ns, bubble_now_ns: now });
                    self.answer(at, wait);
                }
            }
        }
        Ok(())
    }
}
