//! Goroutines that are read again after the walk: those that were running, and are now stopped or parked.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;

use super::super::close::{self, Close};
use super::super::decode::{Extra, Outcome};
use super::super::read::{Chunk, Plan, Raw};
use super::{WINDOW, Walk};
use crate::model::{NotShown, StackState, Warnings};
use crate::process::ReadError;

/// Goroutines that were replaced.
#[derive(Debug, Default)]
struct Replaced {
    /// By the index of the goroutine.
    extras: BTreeMap<usize, Extra>,
    /// Those that had been given up, by address of the g.
    settled: FxHashSet<u64>,
}

impl Walk<'_> {
    /// Decodes chunks that were read later than the rest, and replaces what was there with what they hold.
    pub(in crate::capture) fn replace(&mut self, stopped: &[(Vec<Chunk>, Plan)]) {
        let mut replaced = Replaced::default();
        for (chunks, plan) in stopped {
            for raw in chunks.iter().flat_map(Chunk::iter) {
                self.replace_one(&raw, plan, &mut replaced);
            }
        }
        self.finish_replacing(replaced);
    }

    fn replace_one(&mut self, raw: &Raw<'_>, plan: &Plan, replaced: &mut Replaced) {
        let mut unheard = Warnings::default();
        let Outcome::Done(goroutine, extra) = self.decoder.decode(raw, plan, self.pool, &mut unheard) else { return };
        self.record(raw, plan, &goroutine);
        let goroutines = &mut self.collected.goroutines;
        if self.places.is_empty() {
            self.places = goroutines.iter().enumerate().map(|(index, g)| (g.addr.0, index)).collect();
        }
        let index = match self.places.get(&raw.addr.0) {
            Some(&index) => {
                if let Some(known) = goroutines.get_mut(index) {
                    *known = goroutine;
                }
                index
            }
            None => {
                goroutines.push(goroutine);
                self.places.insert(raw.addr.0, goroutines.len() - 1);
                goroutines.len() - 1
            }
        };
        replaced.extras.insert(index, Extra { index, ..extra });
        if let Some((why, _)) = self.collected.given_up.remove(&raw.addr.0) {
            let consistency = &mut self.collected.consistency;
            let counter =
                if why == NotShown::Unreadable { &mut consistency.unreadable } else { &mut consistency.moving };
            *counter = counter.saturating_sub(1);
            consistency.validated += 1;
            consistency.retried += 1;
            replaced.settled.insert(raw.addr.0);
        }
    }

    fn finish_replacing(&mut self, replaced: Replaced) {
        let Replaced { extras, settled } = replaced;
        self.collected.extras.retain(|extra| !extras.contains_key(&extra.index));
        self.collected.suspects.retain(|suspect| !extras.contains_key(&suspect.index));
        if !extras.is_empty() {
            self.collected.waits.drop_those(|index| extras.contains_key(&index));
        }
        if !settled.is_empty() {
            self.collected.recorded.take_back(&settled);
        }
        for extra in extras.into_values() {
            self.look_later(extra);
        }
    }

    /// The addresses of those that were running when they were read, so that their stacks are unknown: at
    /// most as many as can have run during the capture, a few for each M.
    pub(in crate::capture) fn running(&self) -> BTreeSet<u64> {
        /// A capture takes time; one M runs one goroutine after the other.
        const FOR_EACH_M: usize = 64;
        let most = self.plan.checks.ms().len().max(1).saturating_mul(FOR_EACH_M);
        let running = StackState::NotShown(NotShown::Running);
        self.collected.goroutines.iter().filter(|g| g.stack == running).map(|g| g.addr.0).take(most).collect()
    }

    /// Goroutines that were running when they were read may have parked since: then their stacks can be read
    /// like any other.
    pub(in crate::capture) fn read_running_again(&mut self) -> Result<(), ReadError> {
        let addrs: Vec<u64> = self.running().into_iter().collect();
        let plan = Plan { window: WINDOW, ..self.plan.clone() };
        let (mut close, mut replaced) = (Close::default(), Replaced::default());
        for part in addrs.chunks(close::MOST) {
            close.read(self.target, &plan, part)?;
            for raw in close.iter(&plan) {
                self.replace_one(&raw, &plan, &mut replaced);
            }
        }
        self.finish_replacing(replaced);
        Ok(())
    }
}
