//! Every goroutine of the target: read in bulk, validated, unwound, and the torn ones tried again.
//!
//! The target runs on while it is read. A goroutine that waits is believed when its header was the same
//! before and behind its stack, including the sequence number that the runtime raises each time it
//! leaves a processor, and when its stack ends where stacks end. One whose sequence number proves
//! nothing is read by itself, and so is what failed the first time (see [`super::close`]). What fails on
//! every try is counted and marked as moving; its stack is never shown.

mod replace;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::close::{self, Close};
use super::fields::{self, CodeFacts, Odd, OddOne, is_dead_for_certain};
use super::place;
use super::read::{CHUNK, Chunk, MAX_WINDOW, Plan, Raw};
use super::recording::{Recorded, quiet};
use super::symbolize::Symbolizer;
use super::unwind::{End, StackNode, Unwinder, Unwound};
use crate::addr::Addr;
use crate::go_names::is_system_start;
use crate::model::{
    Consistency, FrameId, Goid, Goroutine, NotShown, StackId, StackState, Status, SymbolPool, WaitReasonId,
    WarningCode, Warnings,
};
use crate::process::{ReadError, Target, TargetExt};
use crate::runtime::g::G;
use crate::runtime::panics::{Interface, PanicLayout, newest_on_stack};

/// How often torn ones are tried again: how many of them are read together, and how long is waited
/// before. At first nothing is lost but the moment; then, on a machine with more to do than processors,
/// the thread that moves it or scans it may be off its processor.
const RETRIES: [(usize, Duration); 6] = [
    (close::MOST, Duration::ZERO),
    (16, Duration::ZERO),
    (4, Duration::ZERO),
    (1, Duration::from_micros(100)),
    (1, Duration::from_millis(1)),
    (1, Duration::from_millis(5)),
];
/// First look at a stack: enough for all but a few, and small enough that a chunk stays small.
const WINDOW: usize = 32 * 1024;
/// How many threads read. Reading takes twice as long as decoding, so that with two of them nobody
/// waits for long.
const READERS: usize = 2;

/// The first minor version in which going into a system call and coming back is not counted
/// (`casgstatus` in runtime/proc.go).
const UNCOUNTED_SYSCALLS: u32 = 26;
/// Where coroutines start (`newcoro` in runtime/coro.go; 1.22 on).
const COROUTINE_START: &str = "runtime.corostart";

/// Decodes goroutines of one program; keeps what it learnt from one capture to the next.
#[derive(Debug)]
pub(super) struct Decoder {
    unwinder: Unwinder,
    symbolizer: Symbolizer,
    wait_reasons: usize,
    /// Whether `g.trackingSeq` counts system calls too.
    counts_syscalls: bool,
    /// Layout of a panic, where that is known.
    panic: Option<PanicLayout>,
    /// Stacks of the unwinder as the pool has them, each with its innermost frame, the innermost that
    /// is not the runtime's, and whether there is one.
    stacks: FxHashMap<StackNode, (StackId, place::Places)>,
    starts: FxHashMap<u64, StartFacts>,
    creators: FxHashMap<u64, Option<FrameId>>,
}

/// A start function.
#[derive(Clone, Copy, Debug)]
struct StartFacts {
    /// `None` where there is no function at that address.
    frame: Option<FrameId>,
    /// Whether it is one of the runtime's own goroutines that start in it.
    system: bool,
    /// Whether coroutines start in it.
    coroutine: bool,
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
    /// Goroutines with fields that make no sense, or seem to make none.
    pub(super) odd: Vec<OddOne>,
    /// Those that were given up, by the address of the g: why, and their ids, where they have one that
    /// can be read.
    given_up: BTreeMap<u64, (NotShown, Option<u64>)>,
    /// What a recording has to know beyond the memory.
    pub(super) recorded: Recorded,
}

/// What few goroutines have: pointers in a g to more, and a field that makes no sense.
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
    /// The value of its newest panic, as long as that is not recovered.
    pub(super) panic: Option<Interface>,
    /// The first field that makes no sense.
    odd: Option<Odd>,
}

impl Extra {
    fn of(g: &G, odd: Option<Odd>) -> Self {
        let bubble = g.bubble.unwrap_or(0);
        Self { index: 0, labels: g.labels, bubble, ancestors: g.ancestors, panic: None, odd }
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
    /// It has to be read by itself.
    Alone,
}

impl Decoder {
    pub(super) fn new(
        unwinder: Unwinder,
        symbolizer: Symbolizer,
        wait_reasons: usize,
        panic: Option<PanicLayout>,
        minor: u32,
    ) -> Self {
        Self {
            unwinder,
            symbolizer,
            wait_reasons,
            counts_syscalls: minor < UNCOUNTED_SYSCALLS,
            panic,
            stacks: FxHashMap::default(),
            starts: FxHashMap::default(),
            creators: FxHashMap::default(),
        }
    }

    /// How much has been learnt, in frames.
    pub(super) fn remembered(&self) -> usize {
        self.unwinder.remembered().saturating_add(self.starts.len()).saturating_add(self.creators.len())
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
        // What stands still is not read at another moment than its thread.
        let is_ending = || !plan.validate && plan.checks.was_on_m(raw.addr.0);
        if status.is_dead() && (is_dead_for_certain(&g) || is_ending()) {
            return Outcome::Dead(self.describe(raw.addr, &g, plan, NotShown::NoStack, pool).0);
        }
        if !raw.still {
            return Outcome::Torn(NotShown::Moving);
        }
        if raw.alone {
            return Outcome::Alone;
        }
        if plan.validate && plan.checks.is_being_born(&g) {
            return Outcome::Torn(NotShown::Moving);
        }
        let without = match status {
            Status::Running if !plan.stopped.contains_key(&raw.addr.0) => Some(NotShown::Running),
            // It is being made into another one, unless it stays so.
            Status::Dead | Status::DeadExtra => return Outcome::Torn(NotShown::Unreadable),
            Status::Idle => Some(NotShown::NoStack),
            Status::CopyStack => return Outcome::Torn(NotShown::Moving),
            _ => (!plan.stacks).then_some(NotShown::NotAsked),
        };
        if let Some(why) = without {
            return self.done(raw.addr, &g, plan, why, pool);
        }
        // Under the scan bit the collector may be moving the stack.
        if g.scan && plan.validate {
            return Outcome::Torn(NotShown::Moving);
        }
        let Some(start) = plan.start(raw.addr, &g) else { return Outcome::Torn(NotShown::Unreadable) };
        let (stack, stack_start) = match plan.displaced.get(&raw.addr.0) {
            Some((start, bytes)) => (bytes.as_slice(), *start),
            None => (raw.stack, raw.stack_start),
        };
        let unwound = self.unwinder.unwind(start, |addr| word(stack, stack_start, addr));
        let panic = self.panic_in_flight(&g, stack, stack_start);
        self.finish(raw, &g, plan, (unwound, panic), pool, warnings)
    }

    /// The value of a goroutine's newest panic, as long as that is not recovered, from the bytes of its
    /// stack that are believed. Its deferred functions may still be running.
    fn panic_in_flight(&self, g: &G, stack: &[u8], stack_start: u64) -> Option<Interface> {
        if g.panic == 0 {
            return None;
        }
        let newest = newest_on_stack(stack, stack_start, g.panic, self.panic.as_ref()?)?;
        (!newest.goexit && !newest.recovered).then_some(newest.arg)
    }

    /// A goroutine without a stack.
    fn done(&mut self, addr: Addr, g: &G, plan: &Plan, why: NotShown, pool: &mut SymbolPool) -> Outcome {
        let (goroutine, code) = self.describe(addr, g, plan, why, pool);
        let odd = plan.checks.first_odd(g, goroutine.status, code);
        Outcome::Done(goroutine, Extra::of(g, odd))
    }

    fn finish(
        &mut self,
        raw: &Raw<'_>,
        g: &G,
        plan: &Plan,
        (unwound, panic): (Unwound, Option<Interface>),
        pool: &mut SymbolPool,
        warnings: &mut Warnings,
    ) -> Outcome {
        if let Unwound { end: End::TopFrame, stack: Some(node), sp } = unwound {
            let (mut goroutine, code) = self.describe(raw.addr, g, plan, NotShown::NoStack, pool);
            goroutine.sp = Addr(sp);
            self.show(&mut goroutine, node, pool);
            let odd = plan.checks.first_odd(g, goroutine.status, code);
            return Outcome::Done(goroutine, Extra { panic, ..Extra::of(g, odd) });
        }
        match unwound.end {
            End::BadStack(at) if at >= raw.stack_start.saturating_add(raw.stack.len() as u64) && at < g.stack_hi => {
                Outcome::Longer
            }
            // Where a running goroutine was stopped, some code of the runtime has no caller that could
            // be known; that is nothing odd.
            _ if g.status() == Status::Running => self.done(raw.addr, g, plan, NotShown::Running, pool),
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

    /// Everything that the header alone tells, and whether its code addresses are some.
    fn describe(
        &mut self,
        addr: Addr,
        g: &G,
        plan: &Plan,
        why: NotShown,
        pool: &mut SymbolPool,
    ) -> (Goroutine, CodeFacts) {
        let status = g.status();
        let symbolizer = &mut self.symbolizer;
        let StartFacts { frame: start, system, coroutine } = *self.starts.entry(g.startpc).or_insert_with(|| {
            let frame = symbolizer.start(pool, Addr(g.startpc));
            let name = frame.map_or("", |start| pool.function(start));
            StartFacts { frame, system: is_system_start(name), coroutine: name == COROUTINE_START }
        });
        let creator = *self.creators.entry(g.gopc).or_insert_with(|| symbolizer.creator(pool, Addr(g.gopc)));
        let waits = matches!(status, Status::Waiting | Status::Leaked);
        let dead = status.is_dead();
        let code = CodeFacts { starts_at_entry: start.is_some(), created_in_code: creator.is_some() };
        let counted = plan.is_counted(g) || (status == Status::Syscall && self.counts_syscalls);
        // Coroutines run again without the stamp of an earlier wait being taken away.
        let stamped =
            (plan.is_counted(g) && !coroutine || status == Status::Syscall) && plan.checks.time_can_be(g.waitsince);
        let stack_can_be = fields::stack_can_be(g) || dead;
        let goroutine = Goroutine {
            id: Goid(g.goid),
            addr,
            status,
            scan: g.scan,
            wait_reason: (waits && usize::from(g.waitreason) < self.wait_reasons).then_some(WaitReasonId(g.waitreason)),
            wait_since_ns: stamped.then(|| NonZeroU64::new(g.waitsince)).flatten(),
            blocked_before_ns: None,
            run_seq: counted.then_some(g.tracking_seq),
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
            stack_lo: if stack_can_be { Addr(g.stack_lo) } else { Addr(0) },
            stack_hi: if stack_can_be { Addr(g.stack_hi) } else { Addr(0) },
            panic: None,
            labels: None,
            bubble: None,
            system,
            locked: g.lockedm != 0 && !dead,
            ancestors: None,
        };
        (goroutine, code)
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
    /// Goroutines that a recording says were just ending.
    pub(super) ending: FxHashSet<u64>,
    /// Offset of `m.curg`, in bytes.
    pub(super) curg: u64,
    /// Indexes of the goroutines by their address, once some are put in place of what was there.
    pub(super) places: FxHashMap<u64, usize>,
}

/// A goroutine that has to be read again.
struct Again {
    addr: u64,
    window: usize,
    why: NotShown,
    /// Whether it was not tried yet, because it has to be read by itself.
    untried: bool,
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
        let lost = lost.into_iter().map(|addr| Again { addr, window: 0, why: why(addr), untried: false }).collect();
        self.give_up(lost)
    }

    fn settle(&mut self, again: Vec<Again>) -> Result<(), ReadError> {
        let (untried, mut torn): (Vec<Again>, Vec<Again>) = again.into_iter().partition(|one| one.untried);
        torn.extend(self.read_closely(untried, close::MOST, true)?);
        // What stands still for good is tried once more, for those with long stacks.
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
            self.decode_some(chunk.iter(), plan, true, &mut again);
        }
        self.settle(again)
    }

    /// Whether the goroutine at `addr` runs at this moment.
    pub(super) fn is_running(&self, addr: u64) -> Result<bool, ReadError> {
        let size = usize::try_from(self.plan.g.size).unwrap_or_default();
        let bytes = quiet(self.target).read_vec(Addr(addr), size)?;
        Ok(bytes.and_then(|bytes| self.plan.parse(&bytes)).is_some_and(|g| g.status() == Status::Running))
    }

    /// Warns of those that were given up and stayed so.
    pub(super) fn warn_of_given_up(&mut self) {
        for (addr, (why, id)) in std::mem::take(&mut self.collected.given_up) {
            let (code, what) = match why {
                NotShown::Unreadable => (WarningCode::GoroutineUnreadable, "has a stack that makes no sense"),
                _ => (WarningCode::GoroutineMoving, "changed on every try"),
            };
            let message = match id {
                Some(id) => format!("goroutine {id} {what}"),
                None => format!("the g at {} could not be read", Addr(addr)),
            };
            self.warnings.add(code, message);
        }
    }

    /// One pass over all: threads read the next chunks while this one decodes the last.
    fn pipeline(&mut self, addrs: &[u64]) -> Result<Vec<Again>, ReadError> {
        let plan = Plan { window: WINDOW, ..self.plan.clone() };
        let mut again = Vec::new();
        if addrs.len() <= CHUNK {
            let mut chunk = Chunk::new(addrs, plan.window);
            chunk.read(self.target, &plan)?;
            self.decode_some(chunk.iter(), &plan, true, &mut again);
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
                self.decode_some(chunk.iter(), &plan, true, &mut again);
                let _ = empty.try_send(chunk);
            }
            Ok(again)
        })
    }

    fn decode_some<'r>(
        &mut self,
        raws: impl Iterator<Item = Raw<'r>>,
        plan: &Plan,
        first_try: bool,
        again: &mut Vec<Again>,
    ) {
        // Odd stacks of goroutines that are tried again are no news yet.
        let mut unheard = Warnings::default();
        for raw in raws {
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

    fn keep(&mut self, goroutine: Goroutine, extra: Extra) {
        self.look_later(Extra { index: self.collected.goroutines.len(), ..extra });
        self.collected.goroutines.push(goroutine);
    }

    fn look_later(&mut self, extra: Extra) {
        if let Some(odd) = extra.odd {
            self.collected.odd.push(OddOne { index: extra.index, odd });
        }
        if extra.labels != 0 || extra.bubble != 0 || extra.ancestors != 0 || extra.panic.is_some() {
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

    /// Reads goroutines by themselves, at most `most` a call, those with long stacks apart. A stack that
    /// turns out longer than its window does not use up its tries.
    fn read_closely(&mut self, again: Vec<Again>, most: usize, first_try: bool) -> Result<Vec<Again>, ReadError> {
        let mut by_window: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for one in &again {
            by_window.entry(one.window).or_default().push(one.addr);
        }
        let (mut left, mut close) = (Vec::new(), Close::default());
        while let Some((window, addrs)) = by_window.pop_first() {
            let plan = Plan { window, ..self.plan.clone() };
            // The size in bytes stays about the same whatever the window.
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
                self.list_without_stack(&raw, &plan, reason)?;
            }
        }
        Ok(())
    }

    fn list_without_stack(&mut self, raw: &Raw<'_>, plan: &Plan, why: NotShown) -> Result<(), ReadError> {
        if let Some(recorder) = self.target.recorder() {
            recorder.keep(raw.addr, raw.header);
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
            if is_dead_for_certain(&g) {
                return Ok(());
            }
            let live =
                self.plan.validate && fields::is_ending(quiet(self.target), plan, self.curg, raw.addr, raw.header)?;
            if live || self.ending.contains(&raw.addr.0) {
                self.collected.recorded.add_ending(raw.addr);
                return Ok(());
            }
            let message = format!("goroutine {}: its state is dead, but its wait reason or its M is still set", g.goid);
            self.warnings.add(WarningCode::GoroutineOdd, message);
            return Ok(());
        }
        let consistency = &mut self.collected.consistency;
        match why {
            NotShown::Unreadable => consistency.unreadable += 1,
            _ => consistency.moving += 1,
        }
        self.collected.given_up.insert(raw.addr.0, (why, Some(g.goid)));
        let (goroutine, _) = self.decoder.describe(raw.addr, &g, plan, why, self.pool);
        self.keep(goroutine, Extra::of(&g, None));
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
