//! From the bytes of one goroutine to its part of a snapshot, if they can be accepted.

use std::num::NonZeroU64;

use rustc_hash::FxHashMap;

use super::arguments::{self, ArgumentReader, StackPart};
use super::fields::{BadField, CodeFacts};
use super::kept::Keep;
use super::place;
use super::read::{MAX_WINDOW, Plan, Raw};
use super::symbolize::Symbolizer;
use super::unwind::{End, StackNode, Unwinder, Unwound};
use super::waits::{WaitMemory, WaitSeed};
use crate::addr::Addr;
use crate::go_names::is_system_start;
use crate::model::{
    FrameId, Goid, Goroutine, NotShown, StackId, StackState, Status, SymbolPool, TracebackDetails, WaitReasonId,
    WarningCode, Warnings,
};
use crate::runtime::mirror::g::G;
use crate::runtime::mirror::panic::{Interface, PanicLayout};
use crate::runtime::readers::panics::newest_on_stack;
use crate::runtime::rules::{COROUTINE_START, Rules};

/// Decodes goroutines of one program; keeps its cache from one capture to the next.
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
    /// What is known of waits, which has ids of the same pool.
    waits: WaitMemory,
    arguments: ArgumentReader,
    /// What only tracebacks show, where it is wanted.
    traceback: Option<TracebackDetails>,
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

/// What few goroutines have: pointers in a g to more, and an inconsistent field.
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
    /// The value of its newest panic, unless recovered.
    pub(super) panic: Option<Interface>,
    /// The first inconsistent field.
    pub(super) bad: Option<BadField>,
    /// Where its wait is followed from.
    pub(super) wait: WaitSeed,
    /// Its stack, if that was unwound just now.
    pub(super) node: Option<StackNode>,
}

impl Extra {
    pub(super) fn of(g: &G, bad: Option<BadField>) -> Self {
        Self {
            index: 0,
            labels: g.labels,
            bubble: g.bubble(),
            ancestors: g.ancestors,
            panic: None,
            bad,
            wait: WaitSeed::default(),
            node: None,
        }
    }
}

/// The result of decoding one goroutine. Not boxed: a million allocations are slow.
pub(super) enum Outcome {
    /// It is decoded.
    Done(Goroutine, Extra),
    /// It is dead.
    Dead(Goroutine),
    /// It changed while it was read; with the reason why its stack cannot be shown, should it stay so.
    Torn(NotShown),
    /// More of its stack is needed.
    Longer,
    /// It has to be read separately.
    Alone,
}

impl Decoder {
    pub(super) fn new(
        unwinder: Unwinder,
        symbolizer: Symbolizer,
        arguments: ArgumentReader,
        wait_reasons: usize,
        panic: Option<PanicLayout>,
        rules: Rules,
        waits: WaitMemory,
    ) -> Self {
        Self {
            unwinder,
            symbolizer,
            arguments,
            traceback: None,
            wait_reasons,
            counts_syscalls: rules.counts_syscalls(),
            panic,
            stacks: FxHashMap::default(),
            starts: FxHashMap::default(),
            creators: FxHashMap::default(),
            waits,
        }
    }

    /// How much is cached, in frames.
    pub(super) fn remembered(&self) -> usize {
        let code = self.starts.len().saturating_add(self.creators.len());
        self.unwinder.remembered().saturating_add(code).saturating_add(self.arguments.remembered())
    }

    /// From now on, collects what only tracebacks show, or does not.
    pub(super) fn want_traceback(&mut self, wanted: bool) {
        self.traceback = wanted.then(TracebackDetails::default);
    }

    /// What only tracebacks show of the goroutines decoded since it was wanted.
    pub(super) fn take_traceback(&mut self) -> Option<TracebackDetails> {
        let mut details = self.traceback.take()?;
        details.arguments.set_stacks(self.arguments.stacks());
        Some(details)
    }

    /// What unwinds its stacks.
    pub(super) fn unwinder(&mut self) -> &mut Unwinder {
        &mut self.unwinder
    }

    /// What is known of waits.
    pub(super) fn waits(&mut self) -> &mut WaitMemory {
        &mut self.waits
    }

    /// Gives the code that follows other pointers access to symbols.
    pub(super) fn symbolizer(&mut self) -> &mut Symbolizer {
        &mut self.symbolizer
    }

    pub(super) fn decode(
        &mut self,
        raw: &Raw<'_>,
        plan: &Plan,
        pool: &mut SymbolPool,
        warnings: &mut Warnings,
    ) -> Outcome {
        let Some(g) = plan.parse(raw.header) else { return Outcome::Torn(NotShown::Unreadable) };
        let status = g.status();
        // A stopped target and its thread are read at the same moment.
        let is_ending = || !plan.validate && plan.checks.was_on_m(raw.addr.0);
        if status.is_dead() && (g.is_dead_for_certain() || is_ending()) {
            return Outcome::Dead(self.describe(raw.addr, &g, plan, NotShown::NoStack, pool).0);
        }
        if !raw.still {
            return Outcome::Torn(NotShown::Moving);
        }
        if raw.alone {
            return Outcome::Alone;
        }
        if let Some(keep) = raw.kept {
            return self.keep(raw.addr, &g, plan, keep, pool);
        }
        if plan.validate && plan.checks.is_being_born(&g) {
            return Outcome::Torn(NotShown::Moving);
        }
        let without = match status {
            Status::Running if !plan.stopped.contains_key(&raw.addr.0) => Some(NotShown::Running),
            // The g is being reused for another goroutine, unless it stays so.
            Status::Dead | Status::DeadExtra => return Outcome::Torn(NotShown::Unreadable),
            Status::Idle => Some(NotShown::NoStack),
            Status::CopyStack => return Outcome::Torn(NotShown::Moving),
            _ => (!plan.stacks).then_some(NotShown::NotAsked),
        };
        if let Some(why) = without {
            return self.done(raw.addr, &g, plan, why, pool);
        }
        // Under the scan bit the collector may be moving the stack.
        if g.scan() && plan.validate {
            return Outcome::Torn(NotShown::Moving);
        }
        let Some(start) = plan.start(raw.addr, &g) else { return Outcome::Torn(NotShown::Unreadable) };
        let (stack, stack_start) = match plan.displaced.get(&raw.addr.0) {
            Some((start, bytes)) => (bytes.as_slice(), *start),
            None => (raw.stack, raw.stack_start),
        };
        let unwound = self.unwinder.unwind(start, |addr| word(stack, stack_start, addr));
        if let Unwound { end: End::TopFrame, stack: Some(node), sp } = unwound {
            let limit = plan.window.min(MAX_WINDOW);
            let part = StackPart {
                start: stack_start,
                bytes: stack,
                // Memory that is not there is not found by asking for more.
                whole: stack.len() < limit || limit == MAX_WINDOW || plan.displaced.contains_key(&raw.addr.0),
            };
            match self.read_arguments(raw.addr, (node, sp, g.stack_hi), part) {
                arguments::Read::Done => {}
                arguments::Read::Longer => return Outcome::Longer,
                arguments::Read::NoRoom => {
                    warnings.add(WarningCode::LimitReached, "arguments of some goroutines are not known: too many");
                }
            }
        }
        let panic = self.panic_in_flight(&g, stack, stack_start);
        let parked = start.sp.0.checked_sub(stack_start).and_then(|at| stack.get(usize::try_from(at).ok()?..));
        let seed = self.waits.seeds.seed(&g, parked.unwrap_or_default());
        self.finish(raw, &g, plan, (unwound, panic, seed), pool, warnings)
    }

    /// Reads the words of a goroutine's arguments, where they are wanted, from what was read of its stack: from
    /// where it starts up to its end, with the frames of `node`.
    fn read_arguments(
        &mut self,
        g: Addr,
        (node, sp, hi): (StackNode, u64, u64),
        part: StackPart<'_>,
    ) -> arguments::Read {
        let Some(details) = &mut self.traceback else { return arguments::Read::Done };
        self.arguments.read(&self.unwinder, node, (g, sp, hi), part, details)
    }

    /// The value of a goroutine's newest panic, unless recovered, from the validated bytes of its stack. Its
    /// deferred functions may still be running.
    fn panic_in_flight(&self, g: &G, stack: &[u8], stack_start: u64) -> Option<Interface> {
        if g.panic == 0 {
            return None;
        }
        let newest = newest_on_stack(stack, stack_start, g.panic, self.panic.as_ref()?)?;
        (!newest.goexit && !newest.recovered).then_some(newest.arg)
    }

    /// A goroutine whose stack is kept from an earlier capture.
    fn keep(&mut self, addr: Addr, g: &G, plan: &Plan, keep: Keep, pool: &mut SymbolPool) -> Outcome {
        let known = plan.kept.get(keep.entry).and_then(|entry| Some((entry, entry.stack()?)));
        let Some((entry, node)) = known else { return Outcome::Alone };
        let (mut goroutine, code) = self.describe(addr, g, plan, NotShown::NoStack, pool);
        goroutine.sp = Addr(g.sched_sp);
        goroutine.stack_since_ns = NonZeroU64::new(entry.read_ns());
        goroutine.stack_is_proven = keep.proven;
        self.show(&mut goroutine, node, pool);
        let bad = plan.checks.first_bad(g, goroutine.status, code);
        let wait = self.waits.seeds.seed(g, &[]).with_word(entry.wait());
        Outcome::Done(goroutine, Extra { wait, ..Extra::of(g, bad) })
    }

    /// A goroutine without a stack.
    fn done(&mut self, addr: Addr, g: &G, plan: &Plan, why: NotShown, pool: &mut SymbolPool) -> Outcome {
        let (goroutine, code) = self.describe(addr, g, plan, why, pool);
        let bad = plan.checks.first_bad(g, goroutine.status, code);
        Outcome::Done(goroutine, Extra { wait: self.waits.seeds.seed(g, &[]), ..Extra::of(g, bad) })
    }

    fn finish(
        &mut self,
        raw: &Raw<'_>,
        g: &G,
        plan: &Plan,
        (unwound, panic, wait): (Unwound, Option<Interface>, WaitSeed),
        pool: &mut SymbolPool,
        warnings: &mut Warnings,
    ) -> Outcome {
        if let Unwound { end: End::TopFrame, stack: Some(node), sp } = unwound {
            let (mut goroutine, code) = self.describe(raw.addr, g, plan, NotShown::NoStack, pool);
            goroutine.sp = Addr(sp);
            self.show(&mut goroutine, node, pool);
            let bad = plan.checks.first_bad(g, goroutine.status, code);
            return Outcome::Done(goroutine, Extra { panic, wait, node: Some(node), ..Extra::of(g, bad) });
        }
        match unwound.end {
            End::BadStack(at) if at >= raw.stack_start.saturating_add(raw.stack.len() as u64) && at < g.stack_hi => {
                Outcome::Longer
            }
            // Where a running goroutine was stopped, some code of the runtime has no caller that can be
            // found; that is no problem.
            _ if g.status() == Status::Running => self.done(raw.addr, g, plan, NotShown::Running, pool),
            end => {
                warnings
                    .add(WarningCode::StackMalformed, format!("goroutine {}: its stack ends {}", g.goid, explain(end)));
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

    /// Everything that the header alone shows, and whether its code addresses are valid.
    pub(super) fn describe(
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
        // Coroutines run again without the stamp of an earlier wait being cleared.
        let stamped =
            (plan.is_counted(g) && !coroutine || status == Status::Syscall) && plan.checks.time_can_be(g.waitsince);
        if let Some(details) = self.traceback.as_mut().filter(|_| !stamped && (waits || status == Status::Syscall)) {
            details.stamps.extend(NonZeroU64::new(g.waitsince).map(|since| (addr, since)));
        }
        let stack_can_be = g.stack_can_be() || dead;
        let goroutine = Goroutine {
            id: Goid(g.goid),
            addr,
            status,
            scan: g.scan(),
            wait_reason: (waits && usize::from(g.waitreason) < self.wait_reasons).then_some(WaitReasonId(g.waitreason)),
            waiting_on: None,
            wait_since_ns: stamped.then(|| NonZeroU64::new(g.waitsince)).flatten(),
            blocked_before_ns: None,
            run_seq: counted.then_some(g.tracking_seq),
            m: (g.m != 0 && !dead).then_some(Addr(g.m)),
            parent: g.parent_goid.filter(|&id| id != 0 && !dead).map(Goid),
            // The main goroutine's creator is the runtime: not worth showing.
            creator: creator.filter(|_| g.goid != 1 && !dead),
            start: start.filter(|_| !dead),
            innermost: None,
            current: None,
            stack: StackState::NotShown(why),
            stack_since_ns: None,
            stack_is_proven: false,
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
