//! Goroutines in system calls and in C: what their threads do, and the descriptors that they use.
//!
//! The kernel says where a thread is, not which goroutine is on it. A goroutine in a system call is on its
//! thread until it returns, so the answer is accepted only if it was in the same call the whole time: the M
//! had the same goroutine and the same counts of calls before the goroutines were read and after the thread
//! was looked at, the goroutine has the state, id and stack pointer that it was captured with, and the
//! thread's stack pointer is on the goroutine's own stack, or the M is in C and its thread is in no code of Go.
//! The rest is said to have moved, or to be unknown where the thread is elsewhere, as all are in core files that a crashing program makes
//! of itself. Descriptors are read before the last of these checks.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::foreign::CStacks;
use super::recording::CFrame;
use crate::addr::{Addr, Arch};
use crate::bytes::FieldsExt as _;
use crate::model::{Activity, Goroutine, NotInGo, Outside, Status, SymbolPool};
use crate::process::remember::{Finding, recall, remember};
use crate::process::{Descriptors, Frozen, ReadError, Registers, SystemCall, ThreadActivity, Tid};
use crate::runtime::GoProcess;
use crate::runtime::frontier::{Budget, Found, Frontier};
use crate::runtime::mirror::g::G;
use crate::runtime::mirror::m::M;

/// The key under which it is recorded.
const KEY: &str = "not in go";
/// Most threads that are looked at; the runtime's own limit is 10,000 by default.
const MAX_THREADS: usize = 1 << 17;
/// Most descriptors that are read of one call of `poll`.
const MAX_POLLED: usize = 16;

/// A thread on which a goroutine was in a system call or in C, as it was read.
#[derive(Debug)]
pub(super) struct Look {
    /// Its M, before everything else was read.
    m: M,
    activity: ThreadActivity,
    /// Its program counter, where it was at rest.
    pc: Option<Addr>,
    polled: Vec<i32>,
    /// The goroutine, after that; `None` when it was not in the same call the whole time.
    g: Option<G>,
}

/// What was read of threads.
#[derive(Debug, Default)]
pub(super) struct Looks {
    looks: Vec<Look>,
    why_unknown: Option<String>,
    pub(super) descriptors: Descriptors,
}

impl Looks {
    /// Looks at the threads of `ms`, at their descriptors, and at `fds`. `ms` were read before the goroutines.
    pub(super) fn read(process: GoProcess<'_>, ms: &[M], fds: &BTreeSet<i32>) -> Result<Self, ReadError> {
        let mut looks = Self::at_threads(process, ms, |tid| process.target.registers(tid))?;
        looks.add_descriptors(process, fds)?;
        looks.check(process)?;
        Ok(looks)
    }

    /// The same, while the whole program is stopped. Its descriptors are not read yet: see
    /// [`Looks::add_descriptors`].
    pub(super) fn read_frozen(process: GoProcess<'_>, ms: &[M], frozen: &dyn Frozen) -> Result<Self, ReadError> {
        let mut looks = Self::at_threads(process, ms, |tid| frozen.registers(tid).or_else(|| frozen.asleep(tid)))?;
        looks.check(process)?;
        Ok(looks)
    }

    /// Reads the descriptors of the threads, and `fds`. Of a program that was stopped, this is when it runs again,
    /// so that it is not stopped for longer.
    pub(super) fn add_descriptors(&mut self, process: GoProcess<'_>, fds: &BTreeSet<i32>) -> Result<(), ReadError> {
        let mut wanted = self.wanted(process.arch());
        wanted.extend(fds);
        self.descriptors = Descriptors::of(process.target, &wanted)?;
        Ok(())
    }

    fn at_threads(
        process: GoProcess<'_>,
        ms: &[M],
        registers: impl Fn(Tid) -> Option<Registers>,
    ) -> Result<Self, ReadError> {
        // What is read again here must not replace what was validated before.
        let target = process.unlogged().target;
        let on_thread = ms.iter().filter(|m| m.curg != 0).take(MAX_THREADS);
        let gs = Self::mirrors::<G>(process, on_thread.clone().map(|m| Addr(m.curg)))?;
        let mut found = Self::default();
        for m in on_thread {
            let in_syscall = gs.get(Addr(m.curg)).is_some_and(|g| g.status() == Status::Syscall);
            let Some(tid) = m.tid().filter(|_| in_syscall) else { continue };
            let activity = target.thread_activity(tid);
            let (call, mut pc) = match &activity {
                ThreadActivity::Blocked { call, pc, .. } => (*call, Some(*pc)),
                _ => (None, None),
            };
            if let ThreadActivity::Unknown(reason) = &activity {
                found.why_unknown.get_or_insert_with(|| reason.clone());
            }
            pc = pc.or_else(|| registers(tid).map(|registers| registers.pc));
            let polled = match call {
                Some(call) => polled(process, call)?,
                None => Vec::new(),
            };
            found.looks.push(Look { m: *m, activity, pc, polled, g: None });
        }
        Ok(found)
    }

    /// The descriptors that the calls are about.
    fn wanted(&self, arch: Arch) -> BTreeSet<i32> {
        let calls = self.looks.iter().flat_map(|look| {
            let call = match &look.activity {
                ThreadActivity::Blocked { call, .. } => *call,
                _ => None,
            };
            call.into_iter().flat_map(move |call| call.descriptors(arch)).chain(look.polled.iter().copied())
        });
        calls.collect()
    }

    /// Keeps those goroutines that were in the same call the whole time.
    fn check(&mut self, process: GoProcess<'_>) -> Result<(), ReadError> {
        let ms = Self::mirrors::<M>(process, self.looks.iter().map(|look| look.m.addr))?;
        let gs = Self::mirrors::<G>(process, self.looks.iter().map(|look| Addr(look.m.curg)))?;
        for look in &mut self.looks {
            let evidence = |m: &M| (m.curg, m.procid, m.syscalltick, m.incgo, m.ncgocall);
            let same = ms.get(look.m.addr).is_some_and(|now| evidence(now) == evidence(&look.m));
            let g = gs.get(Addr(look.m.curg)).filter(|g| same && g.status() == Status::Syscall);
            look.g = g.filter(|_| look.activity != ThreadActivity::Ended).copied();
            let (Some(g), ThreadActivity::Blocked { sp, pc, .. }) = (look.g, &look.activity) else { continue };
            // One in C is on the scheduler's stack, or on one of its own making; but it runs no code of Go.
            let elsewhere = match look.m.incgo {
                true => process.is_go_code(pc.0),
                false => !(g.stack_lo..=g.syscallsp).contains(&sp.0),
            };
            if elsewhere {
                let reason = "a thread does not do what its goroutine does, as in a signal handler";
                look.activity = ThreadActivity::Unknown(reason.to_owned());
                look.pc = None;
                look.polled.clear();
                self.why_unknown.get_or_insert_with(|| reason.to_owned());
            }
        }
        Ok(())
    }

    fn mirrors<T: crate::runtime::layout::Placed>(
        process: GoProcess<'_>,
        addrs: impl Iterator<Item = Addr>,
    ) -> Result<Found<T>, ReadError> {
        let budget = Budget { objects: MAX_THREADS, bytes: u64::MAX, depth: 0 };
        match process.layout::<T>() {
            Some(layout) => Frontier::new(process.unlogged().target, budget).mirrors(layout, addrs),
            None => Ok(Found::default()),
        }
    }

    /// What each of `goroutines` does that is in a system call or in C.
    pub(super) fn attach(
        &self,
        process: GoProcess<'_>,
        goroutines: &[Goroutine],
        c_stacks: &mut CStacks,
        pool: &mut SymbolPool,
    ) -> NotInGo {
        let by_g: FxHashMap<u64, &Look> = self.looks.iter().map(|look| (look.m.curg, look)).collect();
        let mut all = Vec::new();
        let mut in_c = Vec::new();
        for goroutine in goroutines.iter().filter(|goroutine| goroutine.status == Status::Syscall) {
            let look = by_g.get(&goroutine.addr.0).copied();
            let mut outside = Outside {
                goroutine: goroutine.addr,
                in_c: look.is_some_and(|look| look.m.incgo),
                activity: Activity::Moved,
                c_function: None,
                polled: Vec::new(),
            };
            if let Some(look) = look.filter(|look| look.is_of(goroutine)) {
                outside.activity = match &look.activity {
                    ThreadActivity::Blocked { call: Some(call), .. } => Activity::In(*call),
                    ThreadActivity::Blocked { call: None, .. } => Activity::Blocked,
                    ThreadActivity::Running => Activity::Running,
                    ThreadActivity::Ended => Activity::Moved,
                    ThreadActivity::Unknown(_) => Activity::Unknown,
                };
                outside.polled.clone_from(&look.polled);
                in_c.extend(look.pc.filter(|_| look.m.incgo).map(|pc| (all.len(), pc)));
            }
            all.push(outside);
        }
        let pcs: Vec<Addr> = in_c.iter().map(|(_, pc)| *pc).collect();
        let functions = c_stacks.functions(process, &pcs, pool);
        for ((index, _), function) in in_c.into_iter().zip(functions) {
            if let Some(outside) = all.get_mut(index) {
                outside.c_function = function;
            }
        }
        NotInGo::new(all, self.why_unknown.clone())
    }
}

impl Look {
    /// Whether `goroutine` is the one that was looked at, in the same call.
    fn is_of(&self, goroutine: &Goroutine) -> bool {
        // Without a stack, where it was is not known.
        let same_place = |g: &G| goroutine.sp.is_nil() || goroutine.sp.0 == g.syscallsp;
        self.g.is_some_and(|g| {
            g.goid == goroutine.id.0 && Some(Addr(g.m)) == goroutine.m && g.m == self.m.addr.0 && same_place(&g)
        })
    }
}

/// The descriptors that `poll` or `ppoll` waits for: an array of `struct pollfd` (poll.h). The thread is in
/// the call, so that they are there.
fn polled(process: GoProcess<'_>, call: SystemCall) -> Result<Vec<i32>, ReadError> {
    const SIZE: usize = 8;
    let [array, count, ..] = call.arguments;
    if !matches!(call.name(process.arch()), Some("poll" | "ppoll")) || count == 0 {
        return Ok(Vec::new());
    }
    let count = usize::try_from(count).unwrap_or(MAX_POLLED).min(MAX_POLLED);
    let mut bytes = vec![0; count * SIZE];
    let got = process.unlogged().target.read(Addr(array), &mut bytes)?;
    let (entries, _) = bytes.get(..got).unwrap_or_default().as_chunks::<SIZE>();
    // Negative ones are ignored by the kernel.
    Ok(entries.iter().filter_map(|entry| entry.i32_at(0)).filter(|fd| *fd >= 0).collect())
}

/// As it is recorded; see [`super::recording`] for why this has types of its own.
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    all: Vec<RecordedOutside>,
    why_unknown: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordedOutside {
    g: u64,
    in_c: bool,
    activity: RecordedActivity,
    c_function: Option<CFrame>,
    polled: Vec<i32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RecordedActivity {
    In(SystemCall),
    Blocked,
    Running,
    Moved,
    Unknown,
}

impl Finding for Recorded {
    fn encode(&self) -> Vec<u8> {
        // Numbers and strings: nothing in it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// Stores it in the recording that is being made, if any.
pub(super) fn record(process: GoProcess<'_>, not_in_go: &NotInGo, pool: &SymbolPool) {
    let outside = |outside: &Outside| RecordedOutside {
        g: outside.goroutine.0,
        in_c: outside.in_c,
        activity: match outside.activity {
            Activity::In(call) => RecordedActivity::In(call),
            Activity::Blocked => RecordedActivity::Blocked,
            Activity::Running => RecordedActivity::Running,
            Activity::Moved => RecordedActivity::Moved,
            Activity::Unknown => RecordedActivity::Unknown,
        },
        c_function: outside.c_function.as_ref().map(|frame| CFrame::of(frame, pool)),
        polled: outside.polled.clone(),
    };
    let why_unknown = not_in_go.why_unknown().map(str::to_owned);
    remember(process.target, KEY, &Recorded { all: not_in_go.iter().map(outside).collect(), why_unknown });
}

/// Whether the target is a recording that has it.
pub(super) fn is_recorded(process: GoProcess<'_>) -> bool {
    process.target.remembered(KEY).is_some()
}

/// What was recorded with the target, if it is a recording that has it.
///
/// # Errors
/// When the recording of it cannot be decoded.
pub(super) fn recorded(
    process: GoProcess<'_>,
    pool: &mut SymbolPool,
) -> Result<Option<(NotInGo, Descriptors)>, ReadError> {
    let Some(recorded) = recall::<Recorded>(process.target, KEY)? else { return Ok(None) };
    let outside = |outside: &RecordedOutside| Outside {
        goroutine: Addr(outside.g),
        in_c: outside.in_c,
        activity: match outside.activity {
            RecordedActivity::In(call) => Activity::In(call),
            RecordedActivity::Blocked => Activity::Blocked,
            RecordedActivity::Running => Activity::Running,
            RecordedActivity::Moved => Activity::Moved,
            RecordedActivity::Unknown => Activity::Unknown,
        },
        c_function: outside.c_function.as_ref().map(|frame| frame.frame(pool)),
        polled: outside.polled.clone(),
    };
    let not_in_go = NotInGo::new(recorded.all.iter().map(outside).collect(), recorded.why_unknown.clone());
    Ok(Some((not_in_go, Descriptors::of(process.target, &BTreeSet::new())?)))
}

#[cfg(test)]
#[path = "not_in_go_tests.rs"]
mod tests;
