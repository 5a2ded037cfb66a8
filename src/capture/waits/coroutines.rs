//! Goroutines that have switched to another as a coroutine.

use rustc_hash::FxHashMap;

use super::class::Class;
use super::{Following, WaitMemory};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{Goid, Goroutine, SymbolPool, Wait};
use crate::process::{MemRange, ReadError};
use crate::runtime::readers::waits::parked::Coroutine;
use crate::runtime::rules::COROUTINE_START;

/// Bytes at the end of a coroutine's stack that have the frame of the function that it started in.
const OUTERMOST: u64 = 512;

impl Following<'_> {
    /// Finds the partners of those that wait for a coroutine to switch back: its outermost frame has the same
    /// `coro`. Which goroutine will resume a coroutine is only in closures, and remains unknown.
    pub(super) fn coroutines(&mut self, memory: &mut WaitMemory, pool: &SymbolPool) -> Result<(), ReadError> {
        let is_coroutine = |class| class == Class::Coroutine;
        if let Some(layout) = self.process.runtime.layout.coro.as_ref() {
            let word = &mut memory.seeds.words.coro;
            let found = self.find(&Coroutine(layout), self.parked(is_coroutine), word, |_, _| Ok(true))?;
            for (waiter, partner) in self.partners(&found, pool)? {
                let wait = self.add_wait(Wait::Coroutine { partner: Some(partner) });
                self.answer(waiter as usize, wait);
            }
        }
        let without: Vec<usize> = self.open(is_coroutine).map(|(at, _)| at).collect();
        if !without.is_empty() {
            let wait = self.common(Wait::Coroutine { partner: None });
            without.into_iter().for_each(|at| self.answer(at, wait));
        }
        Ok(())
    }

    /// The coroutines that started with the `coro`s of others, by the numbers of these.
    fn partners(&self, found: &[(u32, u64)], pool: &SymbolPool) -> Result<Vec<(u32, Goid)>, ReadError> {
        let coros: FxHashMap<u64, u32> = found.iter().map(|(waiter, coro)| (*coro, *waiter)).collect();
        let mut partners = Vec::new();
        if coros.is_empty() {
            return Ok(partners);
        }
        let started = |goroutine: &&Goroutine| goroutine.start.is_some_and(|at| pool.function(at) == COROUTINE_START);
        let top = |goroutine: &Goroutine| goroutine.stack_hi.0.saturating_sub(OUTERMOST).max(goroutine.stack_lo.0);
        let tops: FxHashMap<u64, &Goroutine> =
            self.goroutines.iter().filter(started).map(|goroutine| (top(goroutine), goroutine)).collect();
        let ranges = tops.iter().filter_map(|(&start, goroutine)| {
            let len = usize::try_from(goroutine.stack_hi.0.checked_sub(start)?).ok()?;
            Some(MemRange { start: Addr(start), len })
        });
        self.frontier().ranges(ranges, |range, bytes| {
            let Some(goroutine) = tops.get(&range.start.0) else { return };
            for word in bytes.chunks_exact(8).filter_map(|word| word.u64_at(0)) {
                let Some(&waiter) = coros.get(&word) else { continue };
                if self.goroutine(waiter as usize).is_some_and(|own| own.addr != goroutine.addr) {
                    partners.push((waiter, goroutine.id));
                }
            }
        })?;
        Ok(partners)
    }
}
