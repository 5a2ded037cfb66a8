//! Every goroutine of the target: read in bulk, validated, unwound, and the torn ones tried again.
//!
//! The target runs on while it is read. A goroutine that waits is accepted if its header was the same before
//! and after its stack, including the sequence number that the runtime increments each time it leaves a P,
//! and if its stack ends at an outermost function. One whose sequence number proves nothing is read
//! separately, and so is what failed the first time (see [`super::close`]). What fails on every attempt is
//! counted and marked as moving; its stack is never shown.

mod replace;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::close::{self, Close};
use super::decode::{Decoder, Extra, Outcome};
use super::ending::is_ending;
use super::fields::Suspect;
use super::kept::Noted;
use super::read::{CHUNK, Chunk, MAX_WINDOW, Plan, Raw};
use super::recording::Recorded;
use super::waits::SeedList;
use crate::addr::Addr;
use crate::model::{
    Consistency, Goroutine, NotShown, StackReadings, StackState, Status, SymbolPool, WarningCode, Warnings,
};
use crate::process::remember::Attempt;
use crate::process::{Clock, ReadError, Target, TargetExt, unlogged};
use crate::threads;

/// Retries of torn ones: how many are read together, and how long to wait before. The first ones cost next to
/// nothing; later, on a machine with more work than CPUs, the thread that runs it or scans it may be off its
/// CPU.
const RETRIES: [(usize, Duration); 6] = [
    (close::MOST, Duration::ZERO),
    (16, Duration::ZERO),
    (4, Duration::ZERO),
    (1, Duration::from_micros(100)),
    (1, Duration::from_millis(1)),
    (1, Duration::from_millis(5)),
];
/// First read of a stack: enough for all but a few, and small enough that a chunk stays small.
const WINDOW: usize = 32 * 1024;
/// Most threads that only read. Reading takes as long as decoding or twice as long, so with two of them all is read by
/// the time that it can be decoded.
const READERS: usize = 2;
/// Most goroutines that are read on one thread where most of their stacks are kept: for so few headers, waking other
/// threads takes longer than reading.
const ALONE: usize = 1 << 15;

/// What decoding collects besides the goroutines.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// All that are not dead, and the dead ones where they were asked for; in no order. Without those in `listed`.
    pub(super) goroutines: Vec<Goroutine>,
    /// Positions of those in the list of the capture before that are exactly as they are there.
    pub(super) listed: Vec<u32>,
    /// How many were dead.
    pub(super) dead: u64,
    /// How it went.
    pub(super) consistency: Consistency,
    /// Pointers that have to be followed, by the index of the goroutine that has them.
    pub(super) extras: Vec<Extra>,
    /// Where the waits of goroutines are followed from.
    pub(super) waits: SeedList,
    /// Goroutines with fields that are, or seem, inconsistent.
    pub(super) suspects: Vec<Suspect>,
    /// Those that were given up, by the address of the g: why, and their ids, where they have one that
    /// can be read.
    given_up: BTreeMap<u64, (NotShown, Option<u64>)>,
    /// What a recording needs beyond the memory.
    pub(super) recorded: Recorded,
    /// What the next capture may keep.
    pub(super) noted: Noted,
}

impl Collected {
    /// How many stacks were read, and how many kept, in a capture that began at `clock`.
    pub(super) fn readings(&self, clock: Clock) -> StackReadings {
        let known = self.goroutines.iter().filter(|g| matches!(g.stack, StackState::Known(_))).count();
        // Only stacks that are known are kept.
        let known = known.saturating_add(self.listed.len()) as u64;
        self.noted.readings(known, clock.monotonic_ns)
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
    /// Goroutines that were moving, as a recording notes.
    pub(super) unsettled: FxHashMap<u64, NotShown>,
    /// Goroutines that were just ending, as a recording notes.
    pub(super) ending: FxHashSet<u64>,
    /// Offset of `m.curg`, in bytes.
    pub(super) curg: u64,
    /// Indexes of the goroutines by address, once some are replaced.
    pub(super) places: FxHashMap<u64, usize>,
    /// Chunks of earlier walks, which have their memory already.
    pub(super) chunks: &'a mut Vec<Chunk>,
}

/// A goroutine that has to be read again.
struct Again {
    addr: u64,
    window: usize,
    why: NotShown,
    /// Whether it was not tried yet, because it has to be read separately.
    untried: bool,
}

impl Walk<'_> {
    /// Reads and decodes the goroutines at `addrs`, which are in ascending order.
    pub(super) fn run(&mut self, addrs: &[u64]) -> Result<(), ReadError> {
        if self.plan.kept.uses_list() {
            self.collected.listed.reserve(addrs.len());
        } else {
            self.collected.goroutines.reserve(addrs.len());
            self.collected.waits.reserve(addrs.len());
        }
        if self.unsettled.is_empty() {
            let again = self.pipeline(addrs)?;
            return self.settle(again);
        }
        let (lost, settled): (Vec<u64>, Vec<u64>) = addrs.iter().partition(|addr| self.unsettled.contains_key(addr));
        let again = self.pipeline(&settled)?;
        self.settle(again)?;
        let why = |addr| self.unsettled.get(&addr).copied().unwrap_or(NotShown::Moving);
        let lost = lost.into_iter().map(|addr| Again { addr, window: 0, why: why(addr), untried: false }).collect();
        self.give_up(lost)
    }

    fn settle(&mut self, again: Vec<Again>) -> Result<(), ReadError> {
        let (untried, mut torn): (Vec<Again>, Vec<Again>) = again.into_iter().partition(|one| one.untried);
        torn.extend(self.read_closely(untried, close::MOST, true)?);
        // A target that is stopped for good is read once more, for long stacks.
        let tries = if self.plan.validate { RETRIES.len() } else { 1 };
        for (most, pause) in RETRIES.into_iter().take(tries) {
            if torn.is_empty() {
                break;
            }
            std::thread::sleep(pause);
            torn.sort_unstable_by_key(|one| one.addr);
            torn = self.read_closely(torn, most, false)?;
        }
        self.give_up(torn)
    }

    /// Reads the goroutines at `addrs` into `chunks` without decoding anything, for a target that is stopped,
    /// and only as long as it must be. Chunks that were read into before have their memory already.
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
        let (one, other) = threads::both(one, other, read);
        one.and(other)
    }

    /// Decodes what [`Self::read_all`] read with `plan`; what is torn all the same is read again.
    pub(super) fn decode_all(&mut self, chunks: &[Chunk], plan: &Plan) -> Result<(), ReadError> {
        let mut again = Vec::new();
        for chunk in chunks {
            self.decode_chunk(chunk, plan, &mut again);
        }
        self.settle(again)
    }

    /// Whether the goroutine at `addr` is running now.
    pub(super) fn is_running(&self, addr: u64) -> Result<bool, ReadError> {
        let size = usize::try_from(self.plan.g.size).unwrap_or_default();
        let bytes = unlogged(self.target).read_vec(Addr(addr), size)?;
        Ok(bytes.and_then(|bytes| self.plan.parse(&bytes)).is_some_and(|g| g.status() == Status::Running))
    }

    /// Warns of those that were given up.
    pub(super) fn warn_of_given_up(&mut self) {
        for (addr, (why, id)) in std::mem::take(&mut self.collected.given_up) {
            let (code, what) = match why {
                NotShown::Unreadable => (WarningCode::GoroutineUnreadable, "has a malformed stack"),
                _ => (WarningCode::GoroutineMoving, "changed on every try"),
            };
            let message = match id {
                Some(id) => format!("goroutine {id} {what}"),
                None => format!("the g at {} could not be read", Addr(addr)),
            };
            self.warnings.add(code, message);
        }
    }

    /// One pass over all: threads read the next chunks while this one decodes the last, and reads one itself whenever
    /// none is ready. Waiting for them would leave a CPU idle for as long as it takes to wake this thread up again.
    fn pipeline(&mut self, addrs: &[u64]) -> Result<Vec<Again>, ReadError> {
        let plan = Plan { window: WINDOW, ..self.plan.clone() };
        if addrs.len() <= CHUNK || (addrs.len() <= ALONE && plan.keeps() && plan.kept.has_most_of(addrs.len())) {
            return self.read_alone(addrs, &plan);
        }
        let most = threads::cpus().saturating_sub(1).clamp(1, READERS);
        // One that each reader reads into, one that is being decoded, and two that wait for it, since as many are read
        // while this thread reads one and decodes it.
        let in_use = most + 3;
        let (full, chunks) = sync_channel(in_use);
        let (empty, spare) = sync_channel(in_use);
        for _ in 0..in_use {
            // The channel has room for all of them: this cannot block, and fails only without a receiver.
            let _ = empty.try_send(self.chunk(&plan));
        }
        let mut own = self.chunk(&plan);
        let work = Work {
            target: self.target,
            plan: &plan,
            parts: Mutex::new(addrs.chunks(CHUNK)),
            spare: spare.into(),
            done: Mutex::default(),
        };
        let mut again = Vec::new();
        let result = std::thread::scope(|scope| {
            let start = || {
                let (work, full) = (&work, full.clone());
                threads::start(scope, move || work.read_chunks(&full))
            };
            (0..most).map_while(|_| start()).for_each(drop);
            // Dropping these, however this ends, ends the readers too.
            let (empty, chunks) = (empty, chunks);
            drop(full);
            loop {
                let ready = match chunks.try_recv() {
                    Ok(result) => result?,
                    Err(_) => match work.next() {
                        Some(part) => {
                            own.read_part(part, work.target, &plan)?;
                            self.decode_chunk(&own, &plan, &mut again);
                            continue;
                        }
                        None => match chunks.recv() {
                            Ok(result) => result?,
                            Err(_) => return Ok(()),
                        },
                    },
                };
                self.decode_chunk(&ready, &plan, &mut again);
                let _ = empty.try_send(ready);
            }
        });
        let Work { spare, done, .. } = work;
        self.chunks.push(own);
        self.chunks.extend(done.into_inner().unwrap_or_else(PoisonError::into_inner));
        self.chunks.extend(spare.into_inner().unwrap_or_else(PoisonError::into_inner).try_iter());
        result.map(|()| again)
    }

    /// A chunk of an earlier walk, or a new one.
    fn chunk(&mut self, plan: &Plan) -> Chunk {
        self.chunks.pop().unwrap_or_else(|| Chunk::new(&[], plan.window))
    }

    /// The same on this thread.
    fn read_alone(&mut self, addrs: &[u64], plan: &Plan) -> Result<Vec<Again>, ReadError> {
        let mut again = Vec::new();
        let mut chunk = self.chunk(plan);
        for part in addrs.chunks(CHUNK) {
            chunk.read_part(part, self.target, plan)?;
            self.decode_chunk(&chunk, plan, &mut again);
        }
        self.chunks.push(chunk);
        Ok(again)
    }

    fn decode_chunk(&mut self, chunk: &Chunk, plan: &Plan, again: &mut Vec<Again>) {
        let Collected { noted, consistency, listed, .. } = &mut self.collected;
        noted.add_kept(&chunk.noted);
        consistency.validated += chunk.listed.len() as u64;
        listed.extend_from_slice(&chunk.listed);
        self.decode_some(chunk.iter(), plan, true, again);
    }

    fn decode_some<'r>(
        &mut self,
        raws: impl Iterator<Item = Raw<'r>>,
        plan: &Plan,
        first_try: bool,
        again: &mut Vec<Again>,
    ) {
        // Malformed stacks of goroutines that are tried again are not reported yet.
        let mut unheard = Warnings::default();
        let keeps = plan.keeps();
        for raw in raws {
            let outcome = self.decoder.decode(&raw, plan, self.pool, &mut unheard);
            if keeps {
                self.note(&raw, plan, &outcome);
            }
            match outcome {
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
                Outcome::Torn(why) => {
                    again.push(Again { addr: raw.addr.0, window: plan.window, why, untried: false });
                }
                Outcome::Longer => {
                    let window = plan.window.saturating_mul(8).min(MAX_WINDOW);
                    again.push(Again { addr: raw.addr.0, window, why: NotShown::Unreadable, untried: false });
                }
                Outcome::Alone => {
                    let why = NotShown::Moving;
                    again.push(Again { addr: raw.addr.0, window: plan.window, why, untried: true });
                }
            }
        }
    }

    /// Notes for the next capture what this one has read of a goroutine. What was not accepted is not kept, until it is
    /// at a later try.
    fn note(&mut self, raw: &Raw<'_>, plan: &Plan, outcome: &Outcome) {
        let noted = &mut self.collected.noted;
        if let (Outcome::Done(goroutine, extra), Some(keep)) = (outcome, raw.kept) {
            noted.keep(&plan.kept, keep);
            // The collector holds it now, and a field that makes no sense is reported each time.
            noted.show(keep, !goroutine.scan && extra.bad.is_none());
            // Only one that can be, which is where another goroutine's is doubted.
            goroutine.wait_since_ns.into_iter().for_each(|stamp| noted.stamp(stamp.get()));
            return;
        }
        let place = (raw.addr.0, raw.entry);
        let g = plan.parse(raw.header);
        match (outcome, &g) {
            (Outcome::Done(_, extra), Some(g)) => {
                if plan.checks.time_can_be(g.waitsince) {
                    noted.stamp(g.waitsince);
                }
                noted.read(&plan.kept, place, Some(g), extra.node, extra.wait.value);
            }
            _ => noted.read(&plan.kept, place, None, None, 0),
        }
    }

    fn keep(&mut self, goroutine: Goroutine, extra: Extra) {
        self.look_later(Extra { index: self.collected.goroutines.len(), ..extra });
        self.collected.goroutines.push(goroutine);
    }

    fn look_later(&mut self, extra: Extra) {
        self.collected.waits.add(extra.index, extra.wait, extra.bubble);
        if let Some(bad) = extra.bad {
            self.collected.suspects.push(Suspect { index: extra.index, bad });
        }
        if extra.labels != 0 || extra.bubble != 0 || extra.ancestors != 0 || extra.panic.is_some() {
            self.collected.extras.push(extra);
        }
    }

    /// Passes a validated goroutine to the recording that is being made, if any.
    fn record(&mut self, raw: &Raw<'_>, plan: &Plan, goroutine: &Goroutine) {
        let attempt = Attempt::at(self.target);
        if attempt.accept(raw.addr, raw.header).is_none() {
            return;
        }
        let (stack, stack_start) = match plan.displaced.get(&raw.addr.0) {
            Some((start, bytes)) => (bytes.as_slice(), *start),
            None => (raw.stack, raw.stack_start),
        };
        self.collected.recorded.add_stack(attempt, raw.addr, stack_start, stack);
        if goroutine.status == Status::Running
            && matches!(goroutine.stack, StackState::Known(_))
            && let Some(start) = plan.stopped.get(&raw.addr.0)
        {
            self.collected.recorded.add_start(raw.addr, start);
        }
    }

    /// Reads goroutines one by one, at most `most` a call, those with long stacks separately. A stack that
    /// turns out longer than its window does not use up its tries.
    fn read_closely(&mut self, again: Vec<Again>, most: usize, first_try: bool) -> Result<Vec<Again>, ReadError> {
        let mut by_window: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for one in &again {
            by_window.entry(one.window).or_default().push(one.addr);
        }
        let (mut left, mut close) = (Vec::new(), Close::default());
        while let Some((window, addrs)) = by_window.pop_first() {
            let plan = Plan { window, ..self.plan.clone() };
            // The size in bytes stays about the same for any window.
            let per_call = (close::MOST.saturating_mul(WINDOW) / window.max(1)).clamp(1, most);
            let mut still = Vec::new();
            for part in addrs.chunks(per_call) {
                close.read(self.target, &plan, part)?;
                self.decode_some(close.iter(&plan), &plan, first_try, &mut still);
            }
            for one in still {
                if one.window > window {
                    by_window.entry(one.window).or_default().push(one.addr);
                } else {
                    left.push(one);
                }
            }
        }
        Ok(left)
    }

    /// Lists what stayed torn, with its header's fields and without a stack.
    fn give_up(&mut self, again: Vec<Again>) -> Result<(), ReadError> {
        let plan = Plan { stacks: false, validate: false, ..self.plan.clone() };
        let why: FxHashMap<u64, NotShown> = again.iter().map(|one| (one.addr, one.why)).collect();
        let addrs: Vec<u64> = again.iter().map(|one| one.addr).collect();
        for part in addrs.chunks(CHUNK) {
            let mut chunk = Chunk::new(part, plan.window);
            chunk.read(self.target, &plan)?;
            for raw in chunk.iter() {
                let reason = why.get(&raw.addr.0).copied().unwrap_or(NotShown::Moving);
                self.list_without_stack(&raw, &plan, reason)?;
            }
        }
        Ok(())
    }

    fn list_without_stack(&mut self, raw: &Raw<'_>, plan: &Plan, why: NotShown) -> Result<(), ReadError> {
        if Attempt::at(self.target).accept(raw.addr, raw.header).is_some() {
            self.collected.recorded.add_unsettled(raw.addr, why);
        }
        let Some(g) = plan.parse(raw.header) else {
            self.collected.consistency.unreadable += 1;
            self.collected.given_up.insert(raw.addr.0, (NotShown::Unreadable, None));
            return Ok(());
        };
        let status = g.status();
        if status.is_dead() {
            self.collected.dead += 1;
            if g.is_dead_for_certain() {
                return Ok(());
            }
            let live = self.plan.validate && is_ending(unlogged(self.target), plan, self.curg, raw.addr, raw.header)?;
            if live || self.ending.contains(&raw.addr.0) {
                self.collected.recorded.add_ending(raw.addr);
                return Ok(());
            }
            let message = format!("goroutine {}: its state is dead, but its wait reason or its M is still set", g.goid);
            self.warnings.add(WarningCode::GoroutineInconsistent, message);
            return Ok(());
        }
        let consistency = &mut self.collected.consistency;
        match why {
            NotShown::Unreadable => consistency.unreadable += 1,
            _ => consistency.moving += 1,
        }
        self.collected.given_up.insert(raw.addr.0, (why, Some(g.goid)));
        let (goroutine, _) = self.decoder.describe(raw.addr, &g, plan, why, self.pool);
        // What it waits for has not been validated either.
        let wait = self.decoder.waits().seeds.moving(&g);
        self.keep(goroutine, Extra { wait, ..Extra::of(&g, None) });
        Ok(())
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
    /// Chunks for which there was nothing left to read.
    done: Mutex<Vec<Chunk>>,
}

impl<'a> Work<'a> {
    /// What is to be read next, if anything is left.
    fn next(&self) -> Option<&'a [u64]> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    fn read_chunks(&self, full: &SyncSender<ChunkResult>) {
        loop {
            let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(mut chunk) = spare else { return };
            let Some(part) = self.next() else {
                self.done.lock().unwrap_or_else(PoisonError::into_inner).push(chunk);
                return;
            };
            let result = chunk.read_part(part, self.target, self.plan).map(|()| chunk);
            let failed = result.is_err();
            if full.send(result).is_err() || failed {
                return;
            }
        }
    }
}
