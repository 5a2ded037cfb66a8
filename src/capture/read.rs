//! Reads goroutines in bulk: their headers, the used part of their stacks, and the headers again.
//!
//! Whether the target runs or stands still, the bytes are the same kind of bytes; nothing is
//! decoded here beyond what says which bytes come next. One chunk is read within about a
//! millisecond, so that few goroutines change in between.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::recording::{Displaced, quiet};
use super::unwind::{Start, StartKind};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::Status;
use crate::runtime::g::{G, GLayout, GobufLayout};
use crate::target::coalesce::{ChunkReader, Limits};
use crate::target::{MemRange, ReadError, Target};

/// Most goroutines in one chunk: few enough for their headers and stacks to stay in the cache of the
/// thread that reads them, many enough for one system call in a hundred goroutines.
pub(super) const CHUNK: usize = 512;

/// Most bytes and ranges of one kind in a chunk: room for as many goroutines with the longest first
/// look at their stacks. What does not fit is read again in a smaller chunk.
const LIMITS: Limits = Limits { gap: 2047, chunk_bytes: 16 << 20, chunk_ranges: CHUNK };

/// Longest stack that is followed, bytes.
pub(super) const MAX_WINDOW: usize = 256 << 20;

/// What is read of each goroutine.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Layout of a g.
    pub(super) g: GLayout,
    /// Layout of a gobuf.
    pub(super) gobuf: GobufLayout,
    /// Offset of `m.syscalltick`, in bytes.
    pub(super) syscalltick: u64,
    /// Whether stacks are wanted.
    pub(super) stacks: bool,
    /// Most bytes of a stack, from its stack pointer up.
    pub(super) window: usize,
    /// Whether headers are read again behind the stacks. A target that stands still needs no proof
    /// that nothing moved.
    pub(super) validate: bool,
    /// Where the stacks of running goroutines start, by the address of the g, when their threads
    /// stand still.
    pub(super) stopped: Arc<FxHashMap<u64, Start>>,
    /// Stacks that a recording keeps apart.
    pub(super) displaced: Arc<Displaced>,
}

impl Plan {
    /// Takes a header apart.
    pub(super) fn parse(&self, bytes: &[u8]) -> Option<G> {
        G::parse(bytes, &self.g, &self.gobuf)
    }

    /// Whether two readings of a header agree in what must not change for a stack to be believed (see
    /// the notes on consistency in `docs/consistency.md`).
    fn is_same(&self, before: &[u8], after: &[u8]) -> bool {
        let g = &self.g;
        let same = |at: u32, len: usize| {
            let field = |bytes: &[u8]| -> Option<u64> {
                let at = usize::try_from(at).ok()?;
                if len == 8 { bytes.u64_at(at) } else { bytes.u8_at(at).map(u64::from) }
            };
            matches!((field(before), field(after)), (Some(a), Some(b)) if a == b)
        };
        let words = [
            g.stack,
            g.stack.saturating_add(8),
            g.m,
            g.sched.saturating_add(self.gobuf.sp),
            g.sched.saturating_add(self.gobuf.pc),
            g.syscallsp,
            g.syscallpc,
            g.goid,
        ];
        let bytes = [g.waitreason, g.tracking_seq];
        words.into_iter().all(|at| same(at, 8))
            && (0..4).all(|n| same(g.atomicstatus.saturating_add(n), 1))
            && bytes.into_iter().all(|at| same(at, 1))
    }

    /// Where the stack of a goroutine starts: where it was parked, or where its thread was stopped.
    /// `None` where its fields do not fit together, or its stack is its own and moves.
    pub(super) fn start(&self, addr: Addr, g: &G) -> Option<Start> {
        let start = match g.status() {
            Status::Running => *self.stopped.get(&addr.0)?,
            Status::Idle | Status::CopyStack | Status::Dead | Status::DeadExtra => return None,
            _ if g.syscallsp != 0 => {
                Start { pc: Addr(g.syscallpc), sp: Addr(g.syscallsp), lr: Addr(0), kind: StartKind::Syscall }
            }
            _ => Start { pc: Addr(g.sched_pc), sp: Addr(g.sched_sp), lr: Addr(g.sched_lr), kind: StartKind::Parked },
        };
        let size = g.stack_hi.checked_sub(g.stack_lo)?;
        let inside = g.stack_lo <= start.sp.0 && start.sp.0 < g.stack_hi;
        (size <= MAX_STACK && inside && start.sp.0.is_multiple_of(8)).then_some(start)
    }
}

/// Largest stack that is believed, bytes: Go's default limit on 64-bit machines, and the headroom
/// that it leaves itself by doubling.
const MAX_STACK: u64 = 2 << 30;

/// Pieces of memory that are read together, in address order.
#[derive(Debug)]
struct Batch {
    pieces: Vec<MemRange>,
    reader: ChunkReader,
}

impl Batch {
    fn new(limits: Limits) -> Self {
        Self { pieces: Vec::new(), reader: ChunkReader::new(limits) }
    }

    fn clear(&mut self) {
        self.pieces.clear();
    }

    fn push(&mut self, start: Addr, len: usize) {
        self.pieces.push(MemRange { start, len });
    }

    fn read(&mut self, target: &dyn Target) -> Result<(), ReadError> {
        self.reader.read(target, &self.pieces, 0).map(|_| ())
    }

    fn get(&self, index: usize) -> &[u8] {
        self.reader.bytes(index)
    }
}

/// The bytes of some goroutines.
#[derive(Debug)]
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
}

#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    stack: Option<u32>,
    stack_start: u64,
    tick: Option<u32>,
    /// Whether the header was the same behind the stack.
    still: bool,
}

/// One goroutine of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'c> {
    /// Its address.
    pub(super) addr: Addr,
    /// Its header; shorter than asked for where memory ended.
    pub(super) header: &'c [u8],
    /// Whether its header was the same behind its stack, the M's count of system calls included
    /// where that matters; true where nothing was to be validated.
    pub(super) still: bool,
    /// Its stack from `stack_start` up; empty where none was wanted.
    pub(super) stack: &'c [u8],
    /// Address of the first byte of `stack`.
    pub(super) stack_start: u64,
}

impl Chunk {
    /// A chunk for the goroutines at `addrs`, with room for one stack of `window` bytes at least.
    pub(super) fn new(addrs: &[u64], window: usize) -> Self {
        let batch = || Batch::new(LIMITS);
        let stacks = Limits { chunk_bytes: LIMITS.chunk_bytes.max(window.min(MAX_WINDOW)), ..LIMITS };
        Self {
            addrs: addrs.to_vec(),
            before: batch(),
            after: batch(),
            stacks: Batch::new(stacks),
            ticks_before: batch(),
            ticks_after: batch(),
            parts: Vec::new(),
        }
    }

    /// Reads the goroutines whose addresses are in `self.addrs`.
    pub(super) fn read(&mut self, target: &dyn Target, plan: &Plan) -> Result<(), ReadError> {
        // Only what is believed in the end goes into a recording.
        let target = quiet(target);
        let size = usize::try_from(plan.g.size).unwrap_or_default();
        self.before.clear();
        self.parts.clear();
        self.parts.resize(self.addrs.len(), Parts { still: true, ..Parts::default() });
        for &addr in &self.addrs {
            self.before.push(Addr(addr), size);
        }
        self.before.read(target)?;
        self.plan_parts(plan);
        self.ticks_before.read(target)?;
        self.stacks.read(target)?;
        if plan.validate {
            self.ticks_after.read(target)?;
            self.after.clear();
            for &addr in &self.addrs {
                self.after.push(Addr(addr), size);
            }
            self.after.read(target)?;
            self.compare(plan);
        }
        Ok(())
    }

    /// Compares what was read before the stacks with what was read behind them, on the thread that
    /// has just read it: to another one the bytes would be far away.
    fn compare(&mut self, plan: &Plan) {
        for (index, parts) in self.parts.iter_mut().enumerate() {
            let same = plan.is_same(self.before.get(index), self.after.get(index));
            let tick = parts.tick.and_then(|number| usize::try_from(number).ok());
            parts.still =
                same && tick.is_none_or(|number| self.ticks_before.get(number) == self.ticks_after.get(number));
        }
    }

    /// Works out which stacks and ticks are needed, in address order.
    fn plan_parts(&mut self, plan: &Plan) {
        let mut stacks: Vec<(u64, usize, usize)> = Vec::new();
        let mut ticks: Vec<(u64, usize)> = Vec::new();
        for (index, &addr) in self.addrs.iter().enumerate() {
            let Some(g) = plan.parse(self.before.get(index)) else { continue };
            let Some(start) = plan.start(Addr(addr), &g).filter(|_| plan.stacks) else { continue };
            let start = start.sp.0;
            let len = usize::try_from(g.stack_hi - start).unwrap_or(usize::MAX).min(plan.window);
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
        self.addrs.iter().zip(&self.parts).enumerate().map(|(index, (&addr, parts))| Raw {
            addr: Addr(addr),
            header: self.before.get(index),
            still: parts.still,
            stack: parts.stack.and_then(|n| usize::try_from(n).ok()).map_or(&[], |n| self.stacks.get(n)),
            stack_start: parts.stack_start,
        })
    }
}
