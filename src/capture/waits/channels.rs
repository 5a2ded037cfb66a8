//! Goroutines that wait at channels.

use rustc_hash::FxHashMap;

use super::class::Class;
use super::{Following, TOGETHER, WaitMemory, number};
use crate::addr::Addr;
use crate::model::wait::{Channel, Direction, ObjectState, SelectCase, WaitId, WaitUnknown};
use crate::model::{SymbolPool, Wait, WaitObject};
use crate::process::{ReadError, unlogged};
use crate::runtime::frontier::Frontier;
use crate::runtime::readers::waits::sudogs::{Part, Queued, Waiter};
use crate::runtime::readers::waits::{BUDGET, channels, sudogs, timers};

/// What a channel leads to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelPointers {
    /// Index of the object.
    object: usize,
    /// `elemtype`.
    element_type: u64,
    /// `timer`, where it has one.
    timer: Option<u64>,
}

impl Following<'_> {
    pub(super) fn channels(&mut self) -> Result<(), ReadError> {
        let layout = &self.process.runtime.layout;
        let is_channel = |class| matches!(class, Class::Channel(_) | Class::Select);
        let Some((sudog, hchan)) = layout.sudog.as_ref().zip(layout.hchan.as_ref()) else {
            self.give_up(is_channel, WaitUnknown::NoLayout);
            return Ok(());
        };
        let mut queued: Vec<Queued> = Vec::with_capacity(self.open(is_channel).count());
        let mut bad: Vec<(u32, WaitUnknown)> = Vec::new();
        let mut firsts = self.open(is_channel).filter_map(|(at, seed)| {
            let operation = match seed.class {
                Class::Channel(direction) => Some(direction),
                _ => None,
            };
            Some((Addr(seed.value), Waiter { g: self.goroutine(at)?.addr.0, number: number(at), operation }))
        });
        let mut frontier = self.frontier();
        loop {
            let some: Vec<(Addr, Waiter)> = firsts.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                break;
            }
            sudogs::read_sudogs(&mut frontier, sudog, some, &mut queued, |at, why| bad.push((at, why)))?;
        }
        drop(firsts);
        for (at, why) in bad {
            self.fail(at as usize, why);
        }
        let mut cases: Vec<(u32, u16, bool, SelectCase)> = Vec::new();
        let mut frontier = self.frontier();
        let layouts = (hchan, sudog);
        channels::read_channels(&mut frontier, self.process.target, layouts, &mut queued, |addr, channel, group| {
            let Some(channel) = channel else {
                group.iter().for_each(|one| self.fail(one.waiter as usize, WaitUnknown::Malformed));
                return;
            };
            let state = Channel {
                length: channel.hchan.qcount,
                capacity: channel.hchan.dataqsiz,
                element_type: None,
                closed: channel.hchan.closed != 0,
                senders: channel.senders,
                receivers: channel.receivers,
                timer: None,
            };
            let id = self.add(WaitObject::new(addr, ObjectState::Channel(state)));
            let timer = Some(channel.hchan.timer.unwrap_or(0)).filter(|&timer| timer != 0);
            self.channels.push(ChannelPointers { object: id.index(), element_type: channel.hchan.elemtype, timer });
            let mut goroutines = 0;
            let mut waits = [(Direction::Receive, None), (Direction::Send, None)];
            for one in group {
                let at = one.waiter as usize;
                match (one.part, one.direction) {
                    (Part::Case | Part::LastCase, Some(direction)) => {
                        goroutines += 1;
                        let case = SelectCase { channel: id, direction };
                        cases.push((one.waiter, one.order, one.part == Part::LastCase, case));
                    }
                    (Part::Only(wanted), Some(direction)) if wanted == direction => {
                        goroutines += 1;
                        let Some((_, wait)) = waits.iter_mut().find(|(of, _)| *of == direction) else { continue };
                        let channel = Some(id);
                        let wait = *wait.get_or_insert_with(|| self.add_wait(Wait::Channel { channel, direction }));
                        self.answer(at, wait);
                    }
                    // It has been taken out of its queue, and will run.
                    _ => self.fail(at, WaitUnknown::Moved),
                }
            }
            if let Some(object) = self.objects.get_mut(id.index()) {
                object.goroutines = goroutines;
            }
        })?;
        drop(queued);
        cases.sort_unstable_by_key(|(waiter, order, ..)| (*waiter, *order));
        let mut before: &[(u32, u16, bool, SelectCase)] = &[];
        let mut wait: Option<WaitId> = None;
        for of_one in cases.chunk_by(|a, b| a.0 == b.0) {
            let is_whole =
                (0_u16..).zip(of_one).all(|(order, one)| one.1 == order) && of_one.last().is_some_and(|l| l.2);
            let Some(first) = of_one.first().filter(|_| is_whole) else { continue };
            // Many goroutines that select alike are often one after the other.
            let is_same = before.iter().map(|one| one.3).eq(of_one.iter().map(|one| one.3));
            let of_this = match wait.filter(|_| is_same) {
                Some(wait) => wait,
                None => {
                    let cases = of_one.iter().map(|(.., case)| *case).collect();
                    self.add_wait(Wait::Select { cases })
                }
            };
            (before, wait) = (of_one, Some(of_this));
            self.answer(first.0 as usize, of_this);
        }
        Ok(())
    }

    /// Finds the names of the types of elements, each once.
    pub(super) fn name_types(&mut self, memory: &mut WaitMemory, pool: &mut SymbolPool) -> Result<(), ReadError> {
        let Some(values) = self.process.values() else { return Ok(()) };
        for pointers in &self.channels {
            let name = match memory.types.get(&pointers.element_type) {
                Some(known) => *known,
                None if memory.types.len() >= MAX_TYPES => None,
                None => {
                    let name = values.go_type(pointers.element_type)?.map(|kind| pool.intern_str(&kind.name));
                    memory.types.insert(pointers.element_type, name);
                    name
                }
            };
            if let Some(channel) = channel(&mut self.objects, pointers.object) {
                channel.element_type = name;
            }
        }
        Ok(())
    }

    /// Finds the timers of channels that are waited at.
    pub(super) fn channel_timers(&mut self, ps: &[Addr], pool: &SymbolPool) -> Result<(), ReadError> {
        let layout = &self.process.runtime.layout;
        let Some(timer) = &layout.timer else { return Ok(()) };
        let mut frontier = self.frontier();
        let named = self.channels.iter().filter_map(|c| Some((Addr(c.timer?), number(c.object))));
        let mut found = Vec::new();
        timers::of_channels(&mut frontier, timer, &mut named.collect::<Vec<_>>(), |index, timer| {
            found.push((index, timer));
        })?;
        let unnamed = self.channels.iter().filter(|c| c.timer.is_none() && self.may_have_timer(c.object, pool));
        let searched: FxHashMap<u64, u32> =
            unnamed.filter_map(|c| Some((self.objects.get(c.object)?.addr.0, number(c.object)))).collect();
        if !searched.is_empty() {
            let mut searching = Frontier::new(unlogged(self.process.target), BUDGET);
            let frontiers = (&mut frontier, &mut searching);
            let kept = timers::search(frontiers, (&layout.p, timer), ps, &searched, |index, timer| {
                found.push((index, timer));
            })?;
            self.record(kept)?;
        }
        for (index, timer) in found {
            if let Some(channel) = channel(&mut self.objects, index as usize) {
                channel.timer = Some(timer);
            }
        }
        Ok(())
    }

    /// Whether a timer may wake the receivers of a channel without the channel naming it: that of `time.After` has
    /// room for one time (`NewTimer` in time/sleep.go), and that of a context is closed.
    fn may_have_timer(&self, object: usize, pool: &SymbolPool) -> bool {
        let Some(ObjectState::Channel(channel)) = self.objects.get(object).map(|object| &object.state) else {
            return false;
        };
        let kind = channel.element_type.map(|name| pool.str(name));
        let waits = channel.receivers != Some(0) && !channel.closed;
        waits && matches!((kind, channel.capacity), (Some("time.Time"), 1) | (Some("struct {}"), 0))
    }
}

/// Most types whose names are kept.
const MAX_TYPES: usize = 1 << 16;

fn channel(objects: &mut [WaitObject], index: usize) -> Option<&mut Channel> {
    match objects.get_mut(index).map(|object| &mut object.state) {
        Some(ObjectState::Channel(channel)) => Some(channel),
        _ => None,
    }
}
