//! Two kinds of waits at the same time: channels on one thread, all else on another. Neither kind has objects of the
//! other, so that they are put together without comparing any.

use rustc_hash::FxHashMap;

use super::class::Class;
use super::{Answer, Following, WaitMemory};
use crate::model::{SymbolPool, Wait, WaitId, WaitObjectId};
use crate::process::ReadError;
use crate::threads;

/// Fewer waits are followed about as soon as a thread has started.
const MANY: usize = 1 << 16;

impl Following<'_> {
    /// Follows all waits, with the clocks of bubbles by seed.
    pub(super) fn follow(
        &mut self,
        memory: &mut WaitMemory,
        bubbles: &FxHashMap<u32, u64>,
        pool: &SymbolPool,
    ) -> Result<(), ReadError> {
        // A recording is made in one order.
        if self.seeds.len() < MANY || self.process.target.recorder().is_some() {
            self.channels()?;
            return self.others(memory, bubbles, pool);
        }
        self.follow_apart(memory, bubbles, pool)
    }

    fn follow_apart(
        &mut self,
        memory: &mut WaitMemory,
        bubbles: &FxHashMap<u32, u64>,
        pool: &SymbolPool,
    ) -> Result<(), ReadError> {
        let mut others = Self {
            process: self.process,
            seeds: self.seeds,
            goroutines: self.goroutines,
            answers: self.answers.clone(),
            waits: Vec::new(),
            common: FxHashMap::default(),
            objects: Vec::new(),
            channels: Vec::new(),
            moved: Vec::new(),
        };
        let follow = |(following, memory): &mut (&mut Self, Option<&mut WaitMemory>)| match memory {
            Some(memory) => following.others(memory, bubbles, pool),
            None => following.channels(),
        };
        let (of_channels, of_others) = threads::both(&mut (&mut *self, None), &mut (&mut others, Some(memory)), follow);
        of_channels.and(of_others)?;
        self.take_over(others);
        Ok(())
    }

    fn others(
        &mut self,
        memory: &mut WaitMemory,
        bubbles: &FxHashMap<u32, u64>,
        pool: &SymbolPool,
    ) -> Result<(), ReadError> {
        self.locks(memory)?;
        self.descriptors(memory)?;
        self.sleepers(bubbles)?;
        self.coroutines(memory, pool)
    }

    /// Takes over what was found of all that does not wait at channels.
    fn take_over(&mut self, others: Self) {
        let (waits, objects) = (self.waits.len(), self.objects.len());
        let object = |id: WaitObjectId| WaitObjectId::of_index(id.index() + objects);
        self.waits.extend(others.waits.into_iter().map(|wait| match wait {
            Wait::Lock { object: id, operation } => Wait::Lock { object: object(id), operation },
            Wait::Poll { object: id, direction, deadline_ns } => {
                Wait::Poll { object: object(id), direction, deadline_ns }
            }
            other => other,
        }));
        self.objects.extend(others.objects);
        for (at, answer) in others.answers.into_iter().enumerate() {
            // What was answered at the beginning has another number, and is here already.
            if matches!(self.class(at), Class::Channel(_) | Class::Select) || !self.is_open(at) {
                continue;
            }
            let answer = match answer {
                Answer::Known(id) => Answer::Known(WaitId::of_index(id.index() + waits)),
                unknown => unknown,
            };
            self.set(at, answer);
        }
    }
}
