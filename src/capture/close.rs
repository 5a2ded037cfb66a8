//! Reads goroutines one by one, each within a microsecond or two.
//!
//! The kernel copies the ranges of one call in their order. So what has to be compared is adjacent in the
//! call, however many goroutines it reads: header, stack, header. Each range costs about as much as a whole
//! goroutine in bulk, which is why this is for the few: those that were torn when they were read in bulk, and
//! those whose `g.trackingSeq` proves nothing (see [`Plan::is_counted`]). Of the latter the stack is read
//! several times, with the header before, between and after, and accepted if all reads are the same.

use std::ops::Range;

use super::read::{Batch, Plan, Raw};
use crate::addr::Addr;
use crate::process::remember::Attempt;
use crate::process::{MemRange, ReadError, Target};

/// How often a stack is read whose goroutine may have run without being counted. To show the same mixture of
/// two stacks each time, a goroutine would have to run and stop in exactly the rhythm of the reader.
const LOOKS: usize = 3;

/// Most goroutines that are read together. Their ranges fit into one call (at most 1,024).
pub(super) const MOST: usize = 64;

/// Memory beyond this is freed when the next goroutines need less, bytes: the longest stack takes [`LOOKS`]
/// times its length.
const MUCH: usize = 16 << 20;

/// The bytes of some goroutines, each read in one go.
#[derive(Debug, Default)]
pub(super) struct Close {
    /// Headers that determine what to read.
    headers: Batch,
    ranges: Vec<MemRange>,
    parts: Vec<Part>,
    /// Where each range begins in `buf`.
    starts: Vec<usize>,
    got: Vec<usize>,
    buf: Vec<u8>,
    gs: Vec<Read>,
}

/// What a range holds of its goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    /// Its M's count of system calls.
    Tick,
    Stack,
}

/// What is read of one goroutine.
#[derive(Clone, Debug)]
struct Read {
    addr: Addr,
    /// Numbers of its ranges; the first is a header.
    ranges: Range<usize>,
    stack: Option<MemRange>,
    tick: Option<Addr>,
}

impl Close {
    /// Reads the goroutines at `addrs`, which are in ascending order and at most [`MOST`].
    pub(super) fn read(&mut self, target: &dyn Target, plan: &Plan, addrs: &[u64]) -> Result<(), ReadError> {
        let target = Attempt::at(target).reader();
        let size = usize::try_from(plan.g.size).unwrap_or_default();
        self.headers.clear();
        for &addr in addrs {
            self.headers.push(Addr(addr), size);
        }
        self.headers.read(target)?;
        self.ranges.clear();
        self.parts.clear();
        self.gs.clear();
        for (index, &addr) in addrs.iter().enumerate() {
            self.plan(plan, Addr(addr), index);
        }
        let mut total = 0_usize;
        self.starts.clear();
        for range in &self.ranges {
            self.starts.push(total);
            total = total.saturating_add(range.len);
        }
        if total < MUCH && self.buf.len() > MUCH {
            // It was for a stack that hardly any goroutine has.
            self.buf = Vec::new();
        }
        if self.buf.len() < total {
            self.buf.resize(total, 0);
        }
        target.read_ranges(&self.ranges, &mut self.buf, &mut self.got)
    }

    /// Works out what to read of one goroutine, from its header of a moment before.
    fn plan(&mut self, plan: &Plan, addr: Addr, index: usize) {
        let g = plan.parse(self.headers.get(index));
        let stack = g.as_ref().and_then(|g| plan.stack_range(addr, g));
        let tick = g.as_ref().filter(|_| stack.is_some()).and_then(|g| plan.tick(g));
        let counted = g.as_ref().is_some_and(|g| plan.is_counted(g));
        let header = (Part::Header, Some(MemRange { start: addr, len: plan.g.size as usize }));
        let tick_range = (Part::Tick, tick.map(|start| MemRange { start, len: 4 }));
        let looks = if counted || stack.is_none() { 1 } else { LOOKS };
        let first = self.ranges.len();
        let look = [header, tick_range, (Part::Stack, stack)];
        for (part, range) in std::iter::repeat_n(look, looks).flatten().chain([tick_range, header]) {
            if let Some(range) = range {
                self.ranges.push(range);
                self.parts.push(part);
            }
        }
        self.gs.push(Read { addr, ranges: first..self.ranges.len(), stack, tick });
    }

    /// The bytes of a range.
    fn bytes(&self, range: usize) -> &[u8] {
        let place = self.starts.get(range).zip(self.got.get(range));
        place.and_then(|(&start, &got)| self.buf.get(start..)?.get(..got)).unwrap_or_default()
    }

    /// Whether all reads of a goroutine are the same, and the plan covered what had to be read.
    fn is_still(&self, plan: &Plan, one: &Read) -> bool {
        let header = self.bytes(one.ranges.start);
        let Some(g) = plan.parse(header) else { return true };
        let stack = plan.stack_range(one.addr, &g);
        let tick = plan.tick(&g).filter(|_| stack.is_some());
        // A wait that is not counted now may have been one that was when it was planned.
        let looks = one.ranges.clone().filter(|&range| self.parts.get(range) == Some(&Part::Stack)).count();
        if stack != one.stack || tick != one.tick || (stack.is_some() && looks < LOOKS && !plan.is_counted(&g)) {
            return false;
        }
        let (mut first_stack, mut first_tick) = (None, None);
        one.ranges.clone().zip(self.parts.get(one.ranges.clone()).unwrap_or_default()).all(|(range, part)| {
            let bytes = self.bytes(range);
            match part {
                Part::Header => plan.is_same(header, bytes),
                Part::Tick => *first_tick.get_or_insert(bytes) == bytes,
                Part::Stack => *first_stack.get_or_insert(bytes) == bytes,
            }
        })
    }

    /// The goroutines, in the order in which they were asked for.
    pub(super) fn iter<'c>(&'c self, plan: &'c Plan) -> impl Iterator<Item = Raw<'c>> {
        let keeps = plan.keeps();
        self.gs.iter().map(move |one| {
            let entry = keeps.then(|| plan.kept.find(one.addr.0, &mut plan.kept.first_from(one.addr.0))).flatten();
            let stack = one.ranges.clone().find(|&range| self.parts.get(range) == Some(&Part::Stack));
            Raw {
                addr: one.addr,
                header: self.bytes(one.ranges.start),
                still: !plan.validate || self.is_still(plan, one),
                alone: false,
                entry,
                kept: None,
                stack: stack.map_or(&[], |range| self.bytes(range)),
                stack_start: one.stack.map_or(0, |range| range.start.0),
            }
        })
    }
}

#[cfg(test)]
#[path = "close_tests.rs"]
mod tests;
