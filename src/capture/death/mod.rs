//! What a program died of, from its core file.
//!
//! The signal that a core file notes is hardly ever the cause: a Go program that dies of a panic sends itself
//! SIGABRT in the end, and one that is killed from outside does just the same. What happened is on the stacks
//! of its threads. They are walked from the inside out ([`walk`]); the outermost place from which the runtime
//! never comes back is the cause ([`events`]); and what the program printed of it is put together from what
//! it printed it from ([`text`]). The rules are those of runtime/panic.go and signal_unix.go, Go 1.19 to
//! 1.27.
//!
//! It refuses to guess: what cannot be read is left out, and the whole is marked as likely only.

mod events;
mod text;
mod walk;

use rustc_hash::FxHashMap;

use self::events::{Dying, EventKind};
use self::text::Printer;
use self::walk::{Entry, On, Walked, Walker};
use super::unwind::{PhysicalFrame, Start, Unwinder};
use crate::addr::Addr;
use crate::model::{Death, DeathKind, DeathSignal, Goid, StackKind};
use crate::process::{Ended, ReadError, SignalInfo, Target, Tid};
use crate::runtime::GoProcess;
use crate::runtime::mirror::m::M;
use crate::runtime::program::Program;

/// The threads of a process that died, each followed outwards.
pub(super) struct Threads {
    threads: Vec<(Tid, Walked)>,
}

/// A death, and the frames of the goroutine to blame, without names yet.
pub(super) struct Found {
    pub(super) death: Death,
    pub(super) frames: Vec<PhysicalFrame>,
}

impl Threads {
    /// Follows every thread whose registers are known. `ended` is how the process ended: its thread is
    /// the first.
    pub(super) fn walk(
        process: GoProcess<'_>,
        unwinder: &mut Unwinder,
        ms: &[M],
        ended: &Ended,
    ) -> Result<Self, ReadError> {
        let by_tid: FxHashMap<Tid, &M> = ms.iter().filter_map(|m| Some((m.tid()?, m))).collect();
        let target = process.target;
        let mut tids: Vec<Tid> = target.threads().unwrap_or_default().iter().map(|thread| thread.tid).collect();
        tids.sort_by_key(|tid| (*tid != ended.thread, *tid));
        let mut walker = Walker::new(process, unwinder);
        let mut threads = Vec::new();
        for tid in tids {
            let Some(registers) = target.registers(tid) else { continue };
            threads.push((tid, walker.walk(&registers, by_tid.get(&tid).copied())?));
        }
        Ok(Self { threads })
    }

    /// Where the stacks of goroutines start that were followed to their ends, by the address of the g.
    pub(super) fn starts(&self) -> impl Iterator<Item = (u64, Start)> {
        self.threads.iter().filter_map(|(_, walked)| walked.goroutine)
    }

    /// What it died of.
    pub(super) fn cause(
        &self,
        process: GoProcess<'_>,
        unwinder: &mut Unwinder,
        ended: &Ended,
    ) -> Result<Found, ReadError> {
        let GoProcess { target, program, runtime } = process;
        let pid = target.process().pid;
        let (chosen, certain) = events::choose(&self.threads, ended, pid);
        let whole = !self.threads.iter().any(|(_, walked)| walked.cut);
        let walker = Walker::new(process, unwinder);
        let mut death = Death {
            kind: DeathKind::OutsideGo,
            text: String::new(),
            message: None,
            panics: Vec::new(),
            signal: None,
            core_signal: of_ended(ended),
            process: pid,
            thread: ended.thread,
            m: None,
            stack_kind: StackKind::Outside,
            object: None,
            goroutine: None,
            stack: None,
            stack_complete: false,
            certain: certain && whole,
        };
        let Some(Dying { tid, walked, events }) = chosen else {
            // Nothing of it is on any stack: the kernel ended it in code that is not Go's, or the stacks are
            // incomplete.
            let hit = self.threads.iter().find(|(tid, _)| *tid == ended.thread).map(|(_, walked)| walked);
            death.certain = whole && hit.is_some_and(|hit| matches!(hit.entries.first(), Some(Entry::Outside { .. })));
            death.m = hit.and_then(|walked| walked.m).map(|m| m.id);
            let pc = target.registers(ended.thread).map(|registers| registers.pc);
            death.signal = Some(DeathSignal { pc, ..of_ended(ended) });
            death.object = object(target, program, pc);
            let blamed = hit.and_then(|walked| Some((walked, walked.m?.curg))).filter(|(_, g)| *g != 0);
            return match blamed {
                Some((walked, g)) => blame(&walker, death, walked, 0, g),
                None => Ok(Found { death, frames: Vec::new() }),
            };
        };
        (death.thread, death.m) = (tid, walked.m.map(|m| m.id));
        let values = process.values();
        let mut printer = Printer::new(walker, values.as_ref(), process.rules(), walked);
        for event in events.iter().rev() {
            printer.print(event)?;
        }
        // The oldest is the cause; what happened while the program was ending follows it.
        let Some(cause) = events.last() else { return Ok(Found { death, frames: Vec::new() }) };
        let printed = printer.finish();
        death.text = printed.text;
        death.message = printed.message;
        death.panics = printed.panics;
        death.certain &= printed.certain && !runtime.is_nearest_layout();
        death.stack_kind = cause.on(walked).kind;
        death.kind = match cause.kind {
            EventKind::Panic => DeathKind::Panic,
            EventKind::Throw => DeathKind::Throw,
            EventKind::Fatal => DeathKind::Fatal,
            EventKind::Signal(..) => DeathKind::Signal,
            EventKind::BadSignal | EventKind::Kernel => DeathKind::OutsideGo,
        };
        let last = || DeathSignal { pc: target.registers(tid).map(|registers| registers.pc), ..of_ended(ended) };
        death.signal = match &cause.kind {
            EventKind::Signal(info, at, _) => Some(of_info(info, at.pc)),
            // The handler raises a bad signal once more; the first one is what counts.
            EventKind::BadSignal => interrupting(walked, cause.at).or_else(|| Some(last())),
            EventKind::Kernel => Some(last()),
            _ => printed.fault,
        };
        if matches!(death.kind, DeathKind::Signal | DeathKind::OutsideGo) {
            death.object = object(target, program, death.signal.as_ref().and_then(|signal| signal.pc));
        }
        let walker = Walker::new(process, unwinder);
        match cause.blamed(walked) {
            Some(g) => blame(&walker, death, walked, cause.at, g),
            None => Ok(Found { death, frames: Vec::new() }),
        }
    }
}

/// Puts the goroutine at `g` into a death, with its frames outwards from the entry at `at`.
fn blame(walker: &Walker<'_>, mut death: Death, walked: &Walked, at: usize, g: u64) -> Result<Found, ReadError> {
    let Some((_, read)) = walker.g(g)? else { return Ok(Found { death, frames: Vec::new() }) };
    death.goroutine = Some(Goid(read.goid)).filter(|goid| goid.0 != 0);
    let own = On { kind: StackKind::Goroutine, g };
    let outwards = walked.entries.get(at..).unwrap_or_default();
    let mut frames: Vec<PhysicalFrame> = Vec::new();
    let mut base = 0;
    for entry in outwards {
        match entry {
            Entry::Frame(frame) if frame.on == own => {
                if frames.is_empty() {
                    base = frame.sp;
                }
                frames.push(PhysicalFrame {
                    pc: frame.pc,
                    exact: frame.exact,
                    sp_offset: frame.sp.wrapping_sub(base),
                    fp_offset: frame.fp.wrapping_sub(base),
                });
            }
            Entry::Top if !frames.is_empty() => {
                death.stack_complete = true;
                break;
            }
            _ if !frames.is_empty() => break,
            _ => {}
        }
    }
    Ok(Found { death, frames })
}

/// Path of the mapped file that `pc` is in, where that is not Go code.
fn object(target: &dyn Target, program: &Program, pc: Option<Addr>) -> Option<String> {
    let pc = pc.filter(|pc| !program.module.text.contains(&pc.0))?;
    let mappings = target.mappings().ok()?;
    let mapping = mappings.into_iter().find(|mapping| mapping.start <= pc && pc < mapping.end)?;
    Some(mapping.path).filter(|path| !path.is_empty())
}

fn of_ended(ended: &Ended) -> DeathSignal {
    let info = ended.info.as_ref();
    DeathSignal {
        number: ended.signal,
        code: info.map(|info| info.code.into()),
        addr: info.and_then(SignalInfo::fault_address),
        pc: None,
        sender_pid: info.and_then(SignalInfo::sender).map(|(pid, _)| pid),
        sender_uid: info.and_then(SignalInfo::sender).map(|(_, uid)| uid),
    }
}

/// The signal whose handler is at the entry at `at`, if it is in one.
fn interrupting(walked: &Walked, at: usize) -> Option<DeathSignal> {
    walked.entries.get(at..)?.iter().find_map(|entry| match entry {
        Entry::Signal { info, at, .. } => Some(of_info(info, at.pc)),
        _ => None,
    })
}

fn of_info(info: &SignalInfo, pc: Addr) -> DeathSignal {
    let ended = Ended { thread: 0, signal: info.number, info: Some(*info) };
    DeathSignal { pc: Some(pc), ..of_ended(&ended) }
}
