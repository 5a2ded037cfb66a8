//! Reads goroutines in bulk: their headers, the used part of their stacks, and the headers again.
//!
//! Running or stopped, the target's bytes are the same kind of bytes; nothing is decoded here beyond what
//! says which bytes come next. One chunk is read within about a millisecond, so that few goroutines change in
//! between.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::fields::Checks;
use super::kept::{Keep, Kept, Noted};
use super::recording::Displaced;
use super::unwind::{Start, StartKind};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::Status;
use crate::process::coalesce::{ChunkReader, Limits};
use crate::process::remember::Attempt;
use crate::process::{MemRange, ReadError, Target};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::g::{G, GLayout, MAX_STACK};
use crate::runtime::wait_reason::ReasonSet;

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
    /// Offset of `m.syscalltick`, in bytes.
    pub(super) syscalltick: u64,
    /// The wait reasons in which `g.trackingSeq` proves that a goroutine has not run.
    pub(super) counted: ReasonSet,
    /// What the fields of a goroutine can hold.
    pub(super) checks: Arc<Checks>,
    /// Whether stacks are wanted.
    pub(super) stacks: bool,
    /// Most bytes of a stack, from its stack pointer up.
    pub(super) window: usize,
    /// Whether headers are read again after the stacks. A target that is stopped needs no proof that nothing
    /// moved.
    pub(super) validate: bool,
    /// Where the stacks of running goroutines start, by the address of the g, when their threads are stopped.
    pub(super) stopped: Arc<FxHashMap<u64, Start>>,
    /// Stacks that a recording keeps apart.
    pub(super) displaced: Arc<Displaced>,
    /// Stacks of earlier captures, which need not be read again.
    pub(super) kept: Arc<Kept>,
}

impl Plan {
    /// Parses a header.
    #[inline]
    pub(super) fn parse(&self, bytes: &[u8]) -> Option<G> {
        G::parse(Addr(0), bytes, &self.g)
    }

    /// Whether two reads of a header agree in what must not change for a stack to be accepted (see the notes
    /// on consistency in `docs/consistency.md`).
    pub(super) fn is_same(&self, before: &[u8], after: &[u8]) -> bool {
        let g = &self.g;
        let same = |at: u32, len: usize| {
            let field = |bytes: &[u8]| -> Option<u64> {
                let at = usize::try_from(at).ok()?;
                if len == 8 { bytes.u64_at(at) } else { bytes.u8_at(at).map(u64::from) }
            };
            matches!((field(before), field(after)), (Some(a), Some(b)) if a == b)
        };
        let words = [g.stack_lo, g.stack_hi, g.m, g.sched_sp, g.sched_pc, g.syscallsp, g.syscallpc, g.goid];
        let bytes = [g.waitreason, g.tracking_seq];
        words.into_iter().all(|at| same(at, 8))
            && (0..4).all(|n| same(g.atomicstatus.saturating_add(n), 1))
            && bytes.into_iter().all(|at| same(at, 1))
    }

    /// Whether `g.trackingSeq` proves that a goroutine has not run between two reads.
    ///
    /// The runtime increments it when a goroutine stops running on its own account, or because its time is up
    /// (`casgstatus` in runtime/proc.go; 1.19 to 1.27). It does not when a goroutine switches to another as a
    /// coroutine (`coroswitch_m` in coro.go, 1.22 on), nor when the collector suspends it (`preemptPark` in
    /// proc.go, `suspendG` and `resumeG` in preempt.go), which leaves it runnable. So it proves it only for a
    /// goroutine that waits, and for a reason that it set itself.
    pub(super) fn is_counted(&self, g: &G) -> bool {
        matches!(g.status(), Status::Waiting | Status::Leaked) && self.counted.contains(g.waitreason)
    }

    /// Whether stacks of earlier captures may be kept.
    pub(super) fn keeps(&self) -> bool {
        self.stacks && self.validate && self.kept.is_used()
    }

    /// The part of a goroutine's stack to read, if stacks are wanted and its fields are consistent.
    pub(super) fn stack_range(&self, addr: Addr, g: &G) -> Option<MemRange> {
        let start = self.start(addr, g).filter(|_| self.stacks)?.sp;
        let len = usize::try_from(g.stack_hi.checked_sub(start.0)?).unwrap_or(usize::MAX).min(self.window);
        Some(MemRange { start, len })
    }

    /// Where a goroutine in a system call has its count of system calls: in its M.
    pub(super) fn tick(&self, g: &G) -> Option<Addr> {
        (g.syscallsp != 0 && g.m != 0).then(|| Addr(g.m.wrapping_add(self.syscalltick)))
    }

    /// Where the stack of a goroutine starts: where it was parked, or where its thread was stopped. `None`
    /// where its fields are inconsistent, or it is running on its own stack.
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

/// Pieces of memory that are read together, in address order.
#[derive(Debug)]
pub(super) struct Batch {
    pieces: Vec<MemRange>,
    reader: ChunkReader,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new(LIMITS)
    }
}

impl Batch {
    fn new(limits: Limits) -> Self {
        Self { pieces: Vec::new(), reader: ChunkReader::new(limits) }
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
    }

    pub(super) fn push(&mut self, start: Addr, len: usize) {
        self.pieces.push(MemRange { start, len });
    }

    pub(super) fn read(&mut self, target: &dyn Target) -> Result<(), ReadError> {
        self.reader.read(target, &self.pieces, 0).map(|_| ())
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
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
    /// By goroutine: number of its stack among those read.
    parts: Vec<Parts>,
    /// Numbers of the goroutines that are not in `listed`.
    others: Vec<usize>,
    /// Numbers of the goroutines whose headers are read again.
    again: Vec<usize>,
    /// Positions, in the list that was made last, of those that are exactly as they are there.
    pub(super) listed: Vec<u32>,
    /// What is noted of these.
    pub(super) noted: Noted,
}

#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    stack: Option<u32>,
    stack_start: u64,
    /// Whether the header was the same after the stack.
    still: bool,
    /// Whether it has to be read separately.
    alone: bool,
    /// Its number among those of which something is kept.
    entry: Option<u32>,
    /// Its stack, if that is kept from an earlier capture.
    kept: Option<Keep>,
}

/// One goroutine of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'c> {
    /// Its address.
    pub(super) addr: Addr,
    /// Its header; shorter than asked for where memory ended.
    pub(super) header: &'c [u8],
    /// Whether it did not change while it was read; true where nothing was to be validated.
    pub(super) still: bool,
    /// Whether its stack was left out, because it can be accepted only when it is read separately (see
    /// [`super::close`]).
    pub(super) alone: bool,
    /// Its number among those of which something is kept.
    pub(super) entry: Option<u32>,
    /// Its stack, if that is kept from an earlier capture: then none was read.
    pub(super) kept: Option<Keep>,
    /// Its stack from `stack_start` up; empty where none was wanted.
    pub(super) stack: &'c [u8],
    /// Address of the first byte of `stack`.
    pub(super) stack_start: u64,
}

impl Chunk {
    /// A chunk for the goroutines at `addrs`, with room for one stack of `window` bytes at least.
    pub(super) fn new(addrs: &[u64], window: usize) -> Self {
        let stacks = Limits { chunk_bytes: LIMITS.chunk_bytes.max(window.min(MAX_WINDOW)), ..LIMITS };
        Self {
            addrs: addrs.to_vec(),
            before: Batch::default(),
            after: Batch::default(),
            stacks: Batch::new(stacks),
            parts: Vec::new(),
            others: Vec::new(),
            again: Vec::new(),
            listed: Vec::new(),
            noted: Noted::default(),
        }
    }

    /// Reads the goroutines at these addresses.
    pub(super) fn read_part(&mut self, addrs: &[u64], target: &dyn Target, plan: &Plan) -> Result<(), ReadError> {
        self.addrs.clear();
        self.addrs.extend_from_slice(addrs);
        self.read(target, plan)
    }

    /// Reads the goroutines whose addresses are in `self.addrs`.
    pub(super) fn read(&mut self, target: &dyn Target, plan: &Plan) -> Result<(), ReadError> {
        let target = Attempt::at(target).reader();
        let size = usize::try_from(plan.g.size).unwrap_or_default();
        self.before.clear();
        self.parts.clear();
        self.parts.resize(self.addrs.len(), Parts { still: true, ..Parts::default() });
        for &addr in &self.addrs {
            self.before.push(Addr(addr), size);
        }
        self.before.read(target)?;
        self.plan_parts(plan);
        self.stacks.read(target)?;
        if plan.validate {
            self.after.clear();
            self.again.clear();
            for &index in &self.others {
                let Some((&addr, parts)) = self.addrs.get(index).zip(self.parts.get(index)) else { continue };
                // The header that was read is the second one of a stack that is kept.
                if parts.kept.is_none() {
                    self.after.push(Addr(addr), size);
                    self.again.push(index);
                }
            }
            self.after.read(target)?;
            self.compare(plan);
        }
        Ok(())
    }

    /// Compares what was read before the stacks with what was read after them, on the thread that has just
    /// read it: its CPU has the bytes in its cache.
    fn compare(&mut self, plan: &Plan) {
        for (number, &index) in self.again.iter().enumerate() {
            let Some(parts) = self.parts.get_mut(index) else { continue };
            parts.still = plan.is_same(self.before.get(index), self.after.get(number));
        }
    }

    /// Works out which stacks are needed, in address order.
    fn plan_parts(&mut self, plan: &Plan) {
        let mut stacks: Vec<(u64, usize, usize)> = Vec::new();
        self.others.clear();
        self.listed.clear();
        self.noted.clear();
        let keeps = plan.keeps();
        let mut cursor = self.addrs.first().filter(|_| keeps).map_or(0, |&first| plan.kept.first_from(first));
        for (index, &addr) in self.addrs.iter().enumerate() {
            let entry = if keeps { plan.kept.find(addr, &mut cursor) } else { None };
            let header = self.before.get(index);
            // Parsed for this alone: of most, nothing else of the header is looked at.
            let keep = entry.and_then(|entry| plan.kept.keep((addr, entry), &plan.parse(header)?));
            if let Some((keep, position)) = keep.and_then(|keep| Some((keep, keep.listed?))) {
                self.noted.keep(&plan.kept, keep);
                self.listed.push(position);
                continue;
            }
            self.others.push(index);
            if let Some(parts) = self.parts.get_mut(index) {
                (parts.entry, parts.kept) = (entry, keep);
            }
            let Some(g) = plan.parse(header).filter(|_| keep.is_none()) else { continue };
            let Some(stack) = plan.stack_range(Addr(addr), &g) else { continue };
            if plan.validate && !plan.is_counted(&g) {
                if let Some(parts) = self.parts.get_mut(index) {
                    parts.alone = true;
                }
                continue;
            }
            stacks.push((stack.start.0, stack.len, index));
        }
        stacks.sort_unstable();
        self.stacks.clear();
        for (number, (start, len, index)) in stacks.into_iter().enumerate() {
            self.stacks.push(Addr(start), len);
            if let Some(parts) = self.parts.get_mut(index) {
                (parts.stack, parts.stack_start) = (u32::try_from(number).ok(), start);
            }
        }
    }

    /// The goroutines that are not in `listed`, in address order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Raw<'_>> {
        self.others.iter().filter_map(|&index| {
            let (&addr, parts) = self.addrs.get(index).zip(self.parts.get(index))?;
            Some(Raw {
                addr: Addr(addr),
                header: self.before.get(index),
                still: parts.still,
                alone: parts.alone,
                entry: parts.entry,
                kept: parts.kept,
                stack: parts.stack.and_then(|n| usize::try_from(n).ok()).map_or(&[], |n| self.stacks.get(n)),
                stack_start: parts.stack_start,
            })
        })
    }
}
