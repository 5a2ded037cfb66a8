//! Every goroutine of the target: read in bulk, validated, unwound, and the torn ones tried again.
//!
//! The target runs on while it is read. A goroutine is believed when its header was the same
//! before and behind its stack, including the sequence number that the runtime raises each time it
//! leaves a processor, and when its stack ends where stacks end. What fails that on every try is
//! counted and marked as moving; its stack is never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;

use super::place;
use super::read::{CHUNK, Chunk, MAX_WINDOW, Plan, Raw};
use super::recording::{Recorded, quiet};
use super::symbolize::{Symbolizer, is_system_start};
use super::unwind::{End, StackNode, Unwinder, Unwound};
use crate::addr::Addr;
use crate::model::{
    Consistency, FrameId, Goid, Goroutine, NotShown, StackId, StackState, Status, SymbolPool, WaitReasonId,
    WarningCode, Warnings,
};
use crate::runtime::g::G;
use crate::target::{ReadError, Target, TargetExt};

/// How many goroutines are read together each time that torn ones are tried again. The fewer, the
/// less time passes between the two looks at a header; on a machine with more to do than processors
/// the reader may be off its processor in between, and everything has changed when it is back.
const RETRY_CHUNKS: [usize; 4] = [512, 128, 32, 8];
/// First look at a stack: enough for all but a few, and small enough that a chunk stays small.
const WINDOW: usize = 32 * 1024;
/// How many threads read. Reading takes twice as long as decoding, so that with two of them nobody
/// waits for long.
const READERS: usize = 2;

/// Decodes goroutines of one program; keeps what it learnt from one capture to the next.
#[derive(Debug)]
pub(super) struct Decoder {
    unwinder: Unwinder,
    symbolizer: Symbolizer,
    wait_reasons: usize,
    /// Stacks of the unwinder as the pool has them, each with its innermost frame, the innermost that
    /// is not the runtime's, and whether there is one.
    stacks: FxHashMap<StackNode, (StackId, place::Places)>,
    /// Start functions, and whether they are the runtime's own.
    starts: FxHashMap<u64, (Option<FrameId>, bool)>,
    creators: FxHashMap<u64, Option<FrameId>>,
}

/// What decoding collects besides the goroutines.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// All that are not dead, and the dead ones where they were asked for; in no order.
    pub(super) goroutines: Vec<Goroutine>,
    /// How many were dead.
    pub(super) dead: u64,
    /// How it went.
    pub(super) consistency: Consistency,
    /// Pointers that have to be followed, by the index of the goroutine that has them.
    pub(super) extras: Vec<Extra>,
    /// What a recording has to know beyond the memory.
    pub(super) recorded: Recorded,
}

/// Pointers in a g to things that few goroutines have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extra {
    /// Index in `Collected::goroutines`, once it is there.
    pub(super) index: usize,
    /// `g.labels`.
    pub(super) labels: u64,
    /// `g.bubble`.
    pub(super) bubble: u64,
    /// `g.ancestors`.
    pub(super) ancestors: u64,
    /// `g._panic`.
    pub(super) panic: u64,
}

impl Extra {
    fn of(g: &G) -> Self {
        Self { index: 0, labels: g.labels, bubble: g.bubble.unwrap_or(0), ancestors: g.ancestors, panic: g.panic }
    }
}

/// What came of one goroutine. Not boxed: an allocation for each of a million is felt.
enum Outcome {
    /// It is decoded.
    Done(Goroutine, Extra),
    /// It is dead.
    Dead(Goroutine),
    /// It changed while it was read; the reason why its stack cannot be shown should that last.
    Torn(NotShown),
    /// More of its stack is needed.
    Longer,
}

impl Decoder {
    pub(super) fn new(unwinder: Unwinder, symbolizer: Symbolizer, wait_reasons: usize) -> Self {
        Self {
            unwinder,
            symbolizer,
            wait_reasons,
            stacks: FxHashMap::default(),
            starts: FxHashMap::default(),
            creators: FxHashMap::default(),
        }
    }

    /// How much has been learnt, in frames.
    pub(super) fn remembered(&self) -> usize {
        self.unwinder.remembered()
    }

    /// What unwinds its stacks.
    pub(super) fn unwinder(&mut self) -> &mut Unwinder {
        &mut self.unwinder
    }

    /// Makes symbols available to those who follow other pointers.
    pub(super) fn symbolizer(&mut self) -> &mut Symbolizer {
        &mut self.symbolizer
    }

    fn decode(&mut self, raw: &Raw<'_>, plan: &Plan, pool: &mut SymbolPool, warnings: &mut Warnings) -> Outcome {
        let Some(g) = plan.parse(raw.header) else { return Outcome::Torn(NotShown::Unreadable) };
        let status = g.status();
        if status.is_dead() {
            return Outcome::Dead(self.describe(raw.addr, &g, status, NotShown::NoStack, pool));
        }
        if !raw.still {
            return Outcome::Torn(NotShown::Moving);
        }
        let without = match status {
            Status::Running if !plan.stopped.contains_key(&raw.addr.0) => Some(NotShown::Running),
            Status::Idle => Some(NotShown::NoStack),
            Status::CopyStack => return Outcome::Torn(NotShown::Moving),
            _ => (!plan.stacks).then_some(NotShown::NotAsked),
        };
        if let Some(why) = without {
            return Outcome::Done(self.describe(raw.addr, &g, status, why, pool), Extra::of(&g));
        }
        // Under the scan bit the collector may be moving the stack.
        let Some(start) = plan.start(raw.addr, &g).filter(|_| !g.scan || !plan.validate) else {
            return Outcome::Torn(NotShown::Moving);
        };
        let (stack, stack_start) = match plan.displaced.get(&raw.addr.0) {
            Some((start, bytes)) => (bytes.as_slice(), *start),
            None => (raw.stack, raw.stack_start),
        };
        let unwound = self.unwinder.unwind(start, |addr| word(stack, stack_start, addr));
        self.finish(raw, &g, status, unwound, pool, warnings)
    }

    fn finish(
        &mut self,
        raw: &Raw<'_>,
        g: &G,
        status: Status,
        unwound: Unwound,
        pool: &mut SymbolPool,
        warnings: &mut Warnings,
    ) -> Outcome {
        if let Unwound { end: End::TopFrame, stack: Some(node), sp } = unwound {
            let mut goroutine = self.describe(raw.addr, g, status, NotShown::NoStack, pool);
            goroutine.sp = Addr(sp);
            self.show(&mut goroutine, node, pool);
            return Outcome::Done(goroutine, Extra::of(g));
        }
        match unwound.end {
            End::BadStack(at) if at >= raw.stack_start.saturating_add(raw.stack.len() as u64) && at < g.stack_hi => {
                Outcome::Longer
            }
            // Where a running goroutine was stopped, some code of the runtime has no caller that could
            // be known; that is nothing odd.
            _ if status == Status::Running => {
                Outcome::Done(self.describe(raw.addr, g, status, NotShown::Running, pool), Extra::of(g))
            }
            end => {
                warnings.add(WarningCode::StackOdd, format!("goroutine {}: its stack ends {}", g.goid, explain(end)));
                Outcome::Torn(NotShown::Unreadable)
            }
        }
    }

    /// Puts a stack into a goroutine, with the places that follow from it.
    fn show(&mut self, goroutine: &mut Goroutine, node: StackNode, pool: &mut SymbolPool) {
        let (unwinder, symbolizer) = (&self.unwinder, &mut self.symbolizer);
        let (stack, places) = *self.stacks.entry(node).or_insert_with(|| {
            let stack = symbolizer.stack(pool, &unwinder.frames(node));
            (stack, place::places(pool, stack))
        });
        goroutine.stack = StackState::Known(stack);
        goroutine.innermost = places.innermost;
        goroutine.current = places.current;
        if goroutine.system && places.runs_user_code {
            // Finalizers and cleanups run user code on a goroutine of the runtime.
            goroutine.system = false;
        }
    }

    /// Everything that the header alone tells.
    fn describe(&mut self, addr: Addr, g: &G, status: Status, why: NotShown, pool: &mut SymbolPool) -> Goroutine {
        let symbolizer = &mut self.symbolizer;
        let (start, system) = *self.starts.entry(g.startpc).or_insert_with(|| {
            let start = symbolizer.start(pool, Addr(g.startpc));
            (start, start.is_some_and(|start| is_system_start(pool.function(start))))
        });
        let creator = *self.creators.entry(g.gopc).or_insert_with(|| symbolizer.creator(pool, Addr(g.gopc)));
        let waits = matches!(status, Status::Waiting | Status::Leaked);
        let stamped = waits || status == Status::Syscall;
        let dead = status.is_dead();
        Goroutine {
            id: Goid(g.goid),
            addr,
            status,
            scan: g.scan,
            wait_reason: (waits && usize::from(g.waitreason) < self.wait_reasons).then_some(WaitReasonId(g.waitreason)),
            wait_since_ns: stamped.then(|| NonZeroU64::new(g.waitsince)).flatten(),
            blocked_before_ns: None,
            run_seq: g.tracking_seq,
            m: (g.m != 0 && !dead).then_some(Addr(g.m)),
            parent: g.parent_goid.filter(|&id| id != 0 && !dead).map(Goid),
            // The main goroutine has no creator that anybody would want to see.
            creator: creator.filter(|_| g.goid != 1 && !dead),
            start: start.filter(|_| !dead),
            innermost: None,
            current: None,
            stack: StackState::NotShown(why),
            foreign: None,
            sp: Addr(0),
            stack_lo: Addr(g.stack_lo),
            stack_hi: Addr(g.stack_hi),
            panic: None,
            labels: None,
            bubble: None,
            system,
            locked: g.lockedm != 0 && !dead,
            ancestors: None,
        }
    }
}

fn word(stack: &[u8], start: u64, addr: u64) -> Option<u64> {
    use crate::bytes::FieldsExt;
    stack.u64_at(usize::try_from(addr.checked_sub(start)?).ok()?)
}

fn explain(end: End) -> String {
    match end {
        End::TopFrame => "where stacks end".to_owned(),
        End::NoFrameInfo => "in a function without frame information".to_owned(),
        End::WritesSp => "in a function that moves its stack pointer freely".to_owned(),
        End::NoCaller => "at a return address of zero".to_owned(),
        End::BadPc(pc) => format!("at {pc:#x}, which is in no Go function"),
        End::BadStack(at) => format!("at {at:#x}, outside its memory"),
        End::Stuck => "at a frame that calls itself".to_owned(),
        End::TooDeep => "at the limit of frames".to_owned(),
    }
}

/// What a walk over all goroutines needs.
pub(super) struct Walk<'a> {
    pub(super) target: &'a dyn Target,
    pub(super) plan: Plan,
    pub(super) keep_dead: bool,
    pub(super) decoder: &'a mut Decoder,
    pub(super) pool: &'a mut SymbolPool,
    pub(super) warnings: &'a mut Warnings,
    pub(super) collected: Collected,
    /// Goroutines that a recording says never held still.
    pub(super) unsettled: FxHashMap<u64, NotShown>,
}

/// A goroutine that has to be read again.
struct Again {
    addr: u64,
    window: usize,
    why: NotShown,
}

impl Walk<'_> {
    /// Reads and decodes the goroutines at `addrs`, which are in ascending order.
    pub(super) fn run(&mut self, addrs: &[u64]) -> Result<(), ReadError> {
        self.collected.goroutines.reserve(addrs.len());
        if self.unsettled.is_empty() {
            let again = self.pipeline(addrs)?;
            return self.settle(again);
        }
        let (lost, settled): (Vec<u64>, Vec<u64>) = addrs.iter().partition(|addr| self.unsettled.contains_key(addr));
        let again = self.pipeline(&settled)?;
        self.settle(again)?;
        let why = |addr| self.unsettled.get(&addr).copied().unwrap_or(NotShown::Moving);
        let lost = lost.into_iter().map(|addr| Again { addr, window: 0, why: why(addr) }).collect();
        self.give_up(lost)
    }

    fn settle(&mut self, mut again: Vec<Again>) -> Result<(), ReadError> {
        for most in RETRY_CHUNKS {
            if again.is_empty() {
                break;
            }
            again = self.retry(again, most)?;
        }
        self.give_up(again)
    }

    /// Reads the goroutines at `addrs` into `chunks` without decoding anything, for a target that
    /// stands still and is not to stand longer than it must. Chunks that were read into before have
    /// their memory already.
    pub(super) fn read_all(
        target: &dyn Target,
        plan: &Plan,
        addrs: &[u64],
        chunks: &mut Vec<Chunk>,
    ) -> Result<(), ReadError> {
        chunks.resize_with(addrs.len().div_ceil(CHUNK), || Chunk::new(&[], plan.window));
        for (chunk, part) in chunks.iter_mut().zip(addrs.chunks(CHUNK)) {
            chunk.addrs.clear();
            chunk.addrs.extend_from_slice(part);
        }
        let read = |chunks: &mut [Chunk]| chunks.iter_mut().try_for_each(|chunk| chunk.read(target, plan));
        let middle = chunks.len() / 2;
        let (one, other) = chunks.split_at_mut(middle);
        if one.is_empty() {
            return read(other);
        }
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| read(one));
            read(other)?;
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Decodes what [`Self::read_all`] read with `plan`; what is torn even so is read again.
    pub(super) fn decode_all(&mut self, chunks: &[Chunk], plan: &Plan) -> Result<(), ReadError> {
        let mut again = Vec::new();
        for chunk in chunks {
            self.decode_chunk(chunk, plan, true, &mut again);
        }
        self.settle(again)
    }

    /// Whether the goroutine at `addr` runs at this moment.
    pub(super) fn is_running(&self, addr: u64) -> Result<bool, ReadError> {
        let size = usize::try_from(self.plan.g.size).unwrap_or_default();
        let bytes = quiet(self.target).read_vec(Addr(addr), size)?;
        Ok(bytes.and_then(|bytes| self.plan.parse(&bytes)).is_some_and(|g| g.status() == Status::Running))
    }

    /// Decodes chunks that were read later than the rest, and puts what they hold in place of what
    /// was there.
    pub(super) fn replace(&mut self, chunks: &[Chunk], plan: &Plan) {
        let mut unheard = Warnings::default();
        for raw in chunks.iter().flat_map(Chunk::iter) {
            let Outcome::Done(goroutine, extra) = self.decoder.decode(&raw, plan, self.pool, &mut unheard) else {
                continue;
            };
            self.record(&raw, plan, &goroutine);
            let known = self.collected.goroutines.iter_mut().enumerate().find(|(_, known)| known.addr == raw.addr);
            match known {
                Some((index, known)) => {
                    *known = goroutine;
                    self.collected.extras.retain(|extra| extra.index != index);
                    self.follow_later(Extra { index, ..extra });
                }
                None => self.keep(goroutine, extra),
            }
        }
    }

    /// The addresses of those that ran when they were read, so that nothing is known of their stacks.
    pub(super) fn running(&self) -> BTreeSet<u64> {
        let running = StackState::NotShown(NotShown::Running);
        self.collected.goroutines.iter().filter(|g| g.stack == running).map(|g| g.addr.0).collect()
    }

    /// Goroutines that ran when they were read may have been parked since: then their stacks can be
    /// read like any other.
    pub(super) fn read_running_again(&mut self) -> Result<(), ReadError> {
        let addrs: Vec<u64> = self.running().into_iter().collect();
        let plan = Plan { window: WINDOW, ..self.plan.clone() };
        let mut chunks = Vec::new();
        Self::read_all(self.target, &plan, &addrs, &mut chunks)?;
        self.replace(&chunks, &plan);
        Ok(())
    }

    /// One pass over all: threads read the next chunks while this one decodes the last.
    fn pipeline(&mut self, addrs: &[u64]) -> Result<Vec<Again>, ReadError> {
        let plan = Plan { window: WINDOW, ..self.plan.clone() };
        let mut again = Vec::new();
        if addrs.len() <= CHUNK {
            let mut chunk = Chunk::new(addrs, plan.window);
            chunk.read(self.target, &plan)?;
            self.decode_chunk(&chunk, &plan, true, &mut again);
            return Ok(again);
        }
        // One for each reader, and one that is being decoded.
        const CHUNKS: usize = READERS + 1;
        let (full, chunks) = sync_channel(CHUNKS);
        let (empty, spare) = sync_channel(CHUNKS);
        for _ in 0..CHUNKS {
            // There is room for all of them: this cannot block, and fails only without a receiver.
            let _ = empty.try_send(Chunk::new(&[], plan.window));
        }
        let work =
            Work { target: self.target, plan: &plan, parts: Mutex::new(addrs.chunks(CHUNK)), spare: spare.into() };
        std::thread::scope(|scope| {
            for _ in 0..READERS {
                let (work, full) = (&work, full.clone());
                scope.spawn(move || work.read_chunks(&full));
            }
            // With these gone, however this ends, the readers end too.
            let (empty, chunks) = (empty, chunks);
            drop(full);
            for result in chunks {
                let chunk = result?;
                self.decode_chunk(&chunk, &plan, true, &mut again);
                let _ = empty.try_send(chunk);
            }
            Ok(again)
        })
    }

    fn decode_chunk(&mut self, chunk: &Chunk, plan: &Plan, first_try: bool, again: &mut Vec<Again>) {
        // Odd stacks of goroutines that are tried again are no news yet.
        let mut unheard = Warnings::default();
        for raw in chunk.iter() {
            match self.decoder.decode(&raw, plan, self.pool, &mut unheard) {
                Outcome::Done(goroutine, extra) => {
                    self.record(&raw, plan, &goroutine);
                    self.collected.consistency.validated += 1;
                    self.collected.consistency.retried += u64::from(!first_try);
                    self.keep(goroutine, extra);
                }
                Outcome::Dead(goroutine) => {
                    self.record(&raw, plan, &goroutine);
                    self.collected.dead += 1;
                    if self.keep_dead {
                        self.collected.goroutines.push(goroutine);
                    }
                }
                Outcome::Torn(why) => again.push(Again { addr: raw.addr.0, window: plan.window, why }),
                Outcome::Longer => {
                    let window = plan.window.saturating_mul(8).min(MAX_WINDOW);
                    again.push(Again { addr: raw.addr.0, window, why: NotShown::Unreadable });
                }
            }
        }
    }

    fn keep(&mut self, goroutine: Goroutine, extra: Extra) {
        self.follow_later(Extra { index: self.collected.goroutines.len(), ..extra });
        self.collected.goroutines.push(goroutine);
    }

    fn follow_later(&mut self, extra: Extra) {
        if extra.labels != 0 || extra.bubble != 0 || extra.ancestors != 0 || extra.panic != 0 {
            self.collected.extras.push(extra);
        }
    }

    /// Hands what is believed of a goroutine to the recording that is being made, if one is.
    fn record(&mut self, raw: &Raw<'_>, plan: &Plan, goroutine: &Goroutine) {
        let Some(recorder) = self.target.recorder() else { return };
        recorder.keep(raw.addr, raw.header);
        let (stack, stack_start) = match plan.displaced.get(&raw.addr.0) {
            Some((start, bytes)) => (bytes.as_slice(), *start),
            None => (raw.stack, raw.stack_start),
        };
        self.collected.recorded.add_stack(recorder, raw.addr, stack_start, stack);
        if goroutine.status == Status::Running
            && matches!(goroutine.stack, StackState::Known(_))
            && let Some(start) = plan.stopped.get(&raw.addr.0)
        {
            self.collected.recorded.add_start(raw.addr, start);
        }
    }

    /// Tries again, at most `most` at a time, those with long stacks in chunks of their own. A stack
    /// that turns out longer than its window does not use up its tries.
    fn retry(&mut self, again: Vec<Again>, most: usize) -> Result<Vec<Again>, ReadError> {
        let mut by_window: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for one in &again {
            by_window.entry(one.window).or_default().push(one.addr);
        }
        let mut left = Vec::new();
        while let Some((window, addrs)) = by_window.pop_first() {
            let plan = Plan { window, ..self.plan.clone() };
            // The chunk's size in bytes stays about the same whatever the window.
            let per_chunk = (CHUNK.saturating_mul(WINDOW) / 16 / window).clamp(1, most);
            let mut still = Vec::new();
            for part in addrs.chunks(per_chunk) {
                let mut chunk = Chunk::new(part, plan.window);
                chunk.read(self.target, &plan)?;
                self.decode_chunk(&chunk, &plan, false, &mut still);
            }
            for one in still {
                if one.window > window {
                    by_window.entry(one.window).or_default().push(one.addr);
                } else {
                    left.push(one);
                }
            }
        }
        left.sort_unstable_by_key(|one| one.addr);
        Ok(left)
    }

    /// Lists what stayed torn, with what its header says and without a stack.
    fn give_up(&mut self, again: Vec<Again>) -> Result<(), ReadError> {
        let plan = Plan { stacks: false, validate: false, ..self.plan.clone() };
        let why: FxHashMap<u64, NotShown> = again.iter().map(|one| (one.addr, one.why)).collect();
        let addrs: Vec<u64> = again.iter().map(|one| one.addr).collect();
        for part in addrs.chunks(CHUNK) {
            let mut chunk = Chunk::new(part, plan.window);
            chunk.read(self.target, &plan)?;
            for raw in chunk.iter() {
                let reason = why.get(&raw.addr.0).copied().unwrap_or(NotShown::Moving);
                self.list_without_stack(&raw, &plan, reason);
            }
        }
        Ok(())
    }

    fn list_without_stack(&mut self, raw: &Raw<'_>, plan: &Plan, why: NotShown) {
        if let Some(recorder) = self.target.recorder() {
            recorder.keep(raw.addr, raw.header);
            self.collected.recorded.add_unsettled(raw.addr, why);
        }
        let Some(g) = plan.parse(raw.header) else {
            self.collected.consistency.unreadable += 1;
            self.warnings.add(WarningCode::GoroutineUnreadable, format!("the g at {} could not be read", raw.addr));
            return;
        };
        let status = g.status();
        if status.is_dead() {
            self.collected.dead += 1;
            return;
        }
        let (code, what) = match why {
            NotShown::Unreadable => {
                self.collected.consistency.unreadable += 1;
                (WarningCode::GoroutineUnreadable, "has a stack that makes no sense")
            }
            _ => {
                self.collected.consistency.moving += 1;
                (WarningCode::GoroutineMoving, "changed on every try")
            }
        };
        self.warnings.add(code, format!("goroutine {} {what}", g.goid));
        let goroutine = self.decoder.describe(raw.addr, &g, status, why, self.pool);
        self.keep(goroutine, Extra::of(&g));
    }
}

type ChunkResult = Result<Chunk, ReadError>;

/// What the reading threads share.
struct Work<'a> {
    target: &'a dyn Target,
    plan: &'a Plan,
    /// What is still to be read.
    parts: Mutex<std::slice::Chunks<'a, u64>>,
    /// Chunks that are not in use.
    spare: Mutex<Receiver<Chunk>>,
}

impl Work<'_> {
    fn read_chunks(&self, full: &SyncSender<ChunkResult>) {
        loop {
            let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut chunk) = spare else { return };
            let Some(part) = self.parts.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
            chunk.addrs.clear();
            chunk.addrs.extend_from_slice(part);
            let result = chunk.read(self.target, self.plan).map(|()| chunk);
            let failed = result.is_err();
            if full.send(result).is_err() || failed {
                return;
            }
        }
    }
}
