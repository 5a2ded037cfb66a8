//! Reads goroutines in bulk: their headers, the used part of their stacks, and the headers again.
//!
//! Whether the target runs or stands still, the bytes are the same kind of bytes; nothing is
//! decoded here beyond what says which bytes come next. One chunk is read within about a
//! millisecond, so that few goroutines change in between.

use crate::addr::Addr;
use crate::runtime::g::{G, GLayout};
use crate::target::batch::Batch;
use crate::target::{ReadError, Target};

/// Most goroutines in one chunk.
pub(super) const CHUNK: usize = 8192;

/// What is read of each goroutine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Layout of a g.
    pub(super) g: GLayout,
    /// Offset of `m.syscalltick`, in bytes.
    pub(super) syscalltick: u64,
    /// Whether stacks are wanted.
    pub(super) stacks: bool,
    /// Most bytes of a stack, from its stack pointer up.
    pub(super) window: usize,
    /// Whether headers are read again behind the stacks. A target that stands still needs no proof
    /// that nothing moved.
    pub(super) validate: bool,
}

/// The bytes of some goroutines.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Their addresses, ascending.
    pub(super) addrs: Vec<u64>,
    before: Batch,
    after: Batch,
    stacks: Batch,
    ticks_before: Batch,
    ticks_after: Batch,
    /// By goroutine: number of its stack and of its tick among those read.
    parts: Vec<Parts>,
    validated: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    stack: Option<u32>,
    stack_start: u64,
    tick: Option<u32>,
}

/// One goroutine of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'c> {
    /// Its address.
    pub(super) addr: Addr,
    /// Its header; shorter than asked for where memory ended.
    pub(super) before: &'c [u8],
    /// Its header after its stack was read.
    pub(super) after: &'c [u8],
    /// Its stack from `stack_start` up; empty where none was wanted.
    pub(super) stack: &'c [u8],
    /// Address of the first byte of `stack`.
    pub(super) stack_start: u64,
    /// Whether the M's count of system calls stayed the same, where it matters.
    pub(super) same_tick: bool,
}

impl Chunk {
    /// Reads the goroutines whose addresses are in `self.addrs`.
    pub(super) fn read(&mut self, target: &dyn Target, plan: &Plan) -> Result<(), ReadError> {
        let size = usize::try_from(plan.g.size).unwrap_or_default();
        self.before.clear();
        self.parts.clear();
        self.parts.resize(self.addrs.len(), Parts::default());
        for &addr in &self.addrs {
            self.before.push(Addr(addr), size);
        }
        self.before.read(target)?;
        self.plan_parts(plan);
        self.ticks_before.read(target)?;
        self.stacks.read(target)?;
        self.validated = plan.validate;
        if plan.validate {
            self.ticks_after.read(target)?;
            self.after.clear();
            for &addr in &self.addrs {
                self.after.push(Addr(addr), size);
            }
            self.after.read(target)?;
        }
        Ok(())
    }

    /// Works out which stacks and ticks are needed, in address order.
    fn plan_parts(&mut self, plan: &Plan) {
        let mut stacks: Vec<(u64, usize, usize)> = Vec::new();
        let mut ticks: Vec<(u64, usize)> = Vec::new();
        for (index, _) in self.addrs.iter().enumerate() {
            let Some(g) = G::parse(self.before.get(index), &plan.g) else { continue };
            if !plan.stacks || !g.stack_is_readable() {
                continue;
            }
            let start = g.start_sp();
            let len = usize::try_from(g.stack_hi.saturating_sub(start)).unwrap_or(usize::MAX).min(plan.window);
            stacks.push((start, len, index));
            if g.syscallsp != 0 && g.m != 0 {
                ticks.push((g.m.wrapping_add(plan.syscalltick), index));
            }
        }
        stacks.sort_unstable();
        ticks.sort_unstable();
        self.stacks.clear();
        for (number, (start, len, index)) in stacks.into_iter().enumerate() {
            self.stacks.push(Addr(start), len);
            if let Some(parts) = self.parts.get_mut(index) {
                (parts.stack, parts.stack_start) = (u32::try_from(number).ok(), start);
            }
        }
        self.ticks_before.clear();
        self.ticks_after.clear();
        for (number, (addr, index)) in ticks.into_iter().enumerate() {
            self.ticks_before.push(Addr(addr), 4);
            self.ticks_after.push(Addr(addr), 4);
            if let Some(parts) = self.parts.get_mut(index) {
                parts.tick = u32::try_from(number).ok();
            }
        }
    }

    /// The goroutines, in address order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Raw<'_>> {
        self.addrs.iter().zip(&self.parts).enumerate().map(|(index, (&addr, parts))| {
            let before = self.before.get(index);
            let part = |batch: &'_ Batch, number: Option<u32>| -> Option<Vec<u8>> {
                Some(batch.get(usize::try_from(number?).ok()?).to_vec())
            };
            let same_tick = !self.validated || part(&self.ticks_before, parts.tick) == part(&self.ticks_after, parts.tick);
            Raw {
                addr: Addr(addr),
                before,
                after: if self.validated { self.after.get(index) } else { before },
                stack: parts.stack.and_then(|n| usize::try_from(n).ok()).map_or(&[], |n| self.stacks.get(n)),
                stack_start: parts.stack_start,
                same_tick,
            }
        })
    }
}
