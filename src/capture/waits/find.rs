//! What only words on the stacks of parked goroutines lead to (see [`parked`]).

use rustc_hash::FxHashMap;

use super::class::Class;
use super::seed::Seed;
use super::{Following, TOGETHER, number};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::StackState;
use crate::process::{MemRange, ReadError, unlogged};
use crate::runtime::frontier::Frontier;
use crate::runtime::readers::waits::BUDGET;
use crate::runtime::readers::waits::parked::{self, Parked, Wanted};

/// Goroutines whose stacks are searched to learn at which word an object is.
const SAMPLE: usize = 32;
/// Most words that are learned for one kind of object.
const MAX_WORDS: usize = 16;
/// Most goroutines whose stacks are searched because the object is not at a word that was learned.
const MAX_SEARCHED: usize = 1024;

impl Following<'_> {
    /// The goroutines of some classes as they are parked.
    pub(super) fn parked(&self, wanted: impl Fn(Class) -> bool) -> impl Iterator<Item = Parked> {
        let parked = |(at, seed): (usize, &Seed)| {
            let goroutine = self.goroutine(at)?;
            let StackState::Known(_) = goroutine.stack else { return None };
            let (sp, hi) = (goroutine.sp.0, goroutine.stack_hi.0);
            Some(Parked { waiter: number(at), g: goroutine.addr.0, sp, hi, word: seed.value })
        };
        self.open(wanted).filter_map(parked)
    }

    /// Finds what `parked` lead to: at the word that they were read with, or else at words that are learned by a search of
    /// some: each of the functions that park goroutines has one of its own.
    pub(super) fn find<W: Wanted>(
        &self,
        wanted: &W,
        mut parked: impl Iterator<Item = Parked>,
        word: &mut usize,
        mut confirm: impl FnMut(&Parked, &W::Found) -> Result<bool, ReadError>,
    ) -> Result<Vec<(u32, W::Found)>, ReadError> {
        let mut frontier = Frontier::new(unlogged(self.process.target), BUDGET);
        let (mut found, mut left) = (Vec::new(), Vec::new());
        loop {
            // Their number is known after they were sought only; there are no more than seeds.
            let mut some: Vec<Parked> = Vec::with_capacity(self.seeds.len().min(TOGETHER));
            some.extend(parked.by_ref().take(TOGETHER));
            if some.is_empty() {
                break;
            }
            let (more, others) = parked::try_words(&mut frontier, wanted, &some, &mut confirm)?;
            found.extend(self.keep(more)?);
            left.extend(others);
        }
        for _ in 0..MAX_WORDS {
            let (sample, rest) = left.split_at(left.len().min(SAMPLE));
            let searched = parked::search(&mut frontier, wanted, sample, &mut confirm)?;
            let mut counts: FxHashMap<usize, usize> = FxHashMap::default();
            for (_, at) in &searched {
                *counts.entry(*at).or_default() += 1;
            }
            let learned = counts.into_iter().max_by_key(|(at, count)| (*count, std::cmp::Reverse(*at)));
            let Some((learned, _)) = learned else { break };
            if found.is_empty() {
                *word = learned;
            }
            found.extend(self.keep(searched.into_iter().map(|(answer, _)| answer).collect())?);
            let mut words: Vec<(Addr, u32)> = Vec::new();
            for (index, one) in (0_u32..).zip(rest) {
                words.extend(one.sp.checked_add(8 * learned as u64).map(|at| (Addr(at), index)));
            }
            let mut rest = rest.to_vec();
            frontier.jobs(&mut words, 8, |_, index, bytes| {
                if let Some((one, word)) = rest.get_mut(index as usize).zip(bytes.u64_at(0)) {
                    one.word = word;
                }
            })?;
            let (more, others) = parked::try_words(&mut frontier, wanted, &rest, &mut confirm)?;
            found.extend(self.keep(more)?);
            left = others;
        }
        let some = left.get(..left.len().min(MAX_SEARCHED)).unwrap_or_default();
        let searched = parked::search(&mut frontier, wanted, some, &mut confirm)?;
        found.extend(self.keep(searched.into_iter().map(|(answer, _)| answer).collect())?);
        Ok(found)
    }

    /// Has a recording keep what was found, and nothing else of what was searched.
    fn keep<F>(&self, answers: Vec<parked::Answer<F>>) -> Result<Vec<(u32, F)>, ReadError> {
        self.record(answers.iter().map(|answer| answer.memory))?;
        Ok(answers.into_iter().map(|answer| (answer.waiter, answer.found)).collect())
    }

    /// Reads memory for a recording, if one is being made.
    pub(super) fn record(&self, memory: impl IntoIterator<Item = MemRange>) -> Result<(), ReadError> {
        if self.process.target.recorder().is_none() {
            return Ok(());
        }
        self.frontier().ranges(memory, |_, _| ())
    }
}
