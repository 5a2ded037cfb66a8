//! Definite problems of goroutines, found in a single snapshot.
//!
//! A finding is a problem in any program: it follows from the Go specification, from what the runtime itself
//! reports, or is a plain fact that is always worth knowing. A false alarm is worse than none, so anything
//! that needs a guess is left out. Deadlocks between goroutines are never found in a snapshot: the holder of a lock
//! and the next sender on a channel are not in it, and a timer, a finalizer or C code may still wake what seems
//! blocked forever. A mark of the heap shows them (`DEADLOCK`, `NEVER_WAKES`).
//!
//! The runtime's own goroutines are never named.

mod by_heap;
mod died;
mod fatal_error;
mod finalizer;
mod forever;
mod lock_wait;
mod panicking;
#[cfg(test)]
mod tests;

use super::Index;
use super::census::Member;
use crate::model::{FrameId, Goroutine, Snapshot, StackId, StackState, SymbolPool};

/// A kind of finding.
pub trait Finding: std::fmt::Debug + Sync {
    /// A stable code. Codes are added, never renamed.
    fn code(&self) -> &'static str;

    /// What is wrong with one goroutine, to be put after its name: `waits on …`.
    fn one(&self) -> &'static str;

    /// What is wrong with several, to be put after their number: `wait on …`.
    fn many(&self) -> &'static str;

    /// Why that is so, and where to look.
    fn meaning(&self) -> &'static str;

    /// Whether it depends on how long a goroutine has been blocked. That includes time during which the
    /// program was stopped.
    fn rests_on_waits(&self) -> bool {
        false
    }

    /// Whether it holds for this goroutine.
    fn names(&self, goroutine: &Seen<'_>) -> bool;

    /// Whether it is about the program rather than about goroutines: then [`Finding::one`] is a whole
    /// sentence, and goroutines may be named or not.
    fn is_of_program(&self) -> bool {
        false
    }

    /// Further detail about this goroutine, in the target's own words.
    fn detail<'a>(&self, goroutine: &Seen<'a>) -> Option<&'a str> {
        let _ = goroutine;
        None
    }
}

/// Every kind, the worst first.
pub const FINDINGS: &[&dyn Finding] = &[
    DIED,
    &fatal_error::FatalError,
    &panicking::Panicking,
    &forever::Leaked,
    &forever::NilChannel,
    &forever::EmptySelect,
    &lock_wait::LongLockWait,
    &finalizer::BlockedFinalizer,
];

/// By a mark of the heap: goroutines that can never wake.
pub const NEVER_WAKES: &dyn Finding = &by_heap::NeverWakes;

/// By a mark of the heap: goroutines that only each other could wake.
pub const DEADLOCK: &dyn Finding = &by_heap::Deadlock;

/// The finding that a program has died.
pub const DIED: &dyn Finding = &died::Died;

/// A goroutine as findings see it, wherever it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its id.
    pub id: u64,
    /// Its state, as the runtime calls it.
    pub state: &'a str,
    /// Why it waits, in the target's own words; `None` unless it waits and that is known.
    pub reason: Option<&'a str>,
    /// For how long it has been blocked at least, ns.
    pub wait_ns: Option<u64>,
    /// Whether it is the runtime's own.
    pub system: bool,
    /// The value of the panic that it is in.
    pub panic: Option<&'a str>,
    start: Option<FrameId>,
    stack: Option<StackId>,
    pool: &'a SymbolPool,
}

impl<'a> Seen<'a> {
    /// Of a snapshot.
    #[must_use]
    pub fn of_goroutine(index: &Index<'a>, goroutine: &Goroutine) -> Self {
        Self {
            id: goroutine.id.0,
            state: goroutine.status.name(),
            reason: index.reason(goroutine),
            wait_ns: index.wait_ns(goroutine),
            system: goroutine.system || goroutine.status.is_dead(),
            panic: goroutine.panic.map(|id| index.snapshot().symbols.str(id)),
            start: goroutine.start,
            stack: match goroutine.stack {
                StackState::Known(id) => Some(id),
                StackState::NotShown(_) => None,
            },
            pool: &index.snapshot().symbols,
        }
    }

    /// Of a census, whose names are in `pool`.
    #[must_use]
    pub fn of_member(member: &Member, pool: &'a SymbolPool) -> Self {
        Self {
            id: member.id,
            state: pool.str(member.state),
            reason: member.reason.map(|id| pool.str(id)),
            wait_ns: member.wait_ns(),
            system: member.system,
            panic: member.panic.map(|id| pool.str(id)),
            start: member.start,
            stack: member.stack,
            pool,
        }
    }

    /// Name of the function that it started in; empty where unknown.
    #[must_use]
    pub fn start(&self) -> &'a str {
        self.start.map_or("", |id| self.pool.function(id))
    }

    /// Names of the functions on its stack, innermost first, the runtime's included; none where the
    /// stack is not known.
    pub fn functions(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let pool = self.pool;
        let frames = self.stack.and_then(|id| pool.stack(id)).map_or(&[][..], |stack| &stack.frames);
        frames.iter().map(move |frame| pool.function(frame.frame))
    }

    /// Whether it has certainly been blocked for a minute or longer.
    fn is_blocked_for_a_minute(&self) -> bool {
        self.wait_ns.is_some_and(|ns| ns >= MINUTE_NS)
    }
}

/// Goroutines with something wrong about them.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is wrong.
    pub finding: &'static dyn Finding,
    /// Positions of the goroutines among those that were checked, in ascending order; none only in a finding
    /// of the program.
    pub positions: Vec<usize>,
    /// Further detail about the first of them.
    pub detail: Option<String>,
}

/// Checks every goroutine. Kinds of findings without goroutines are left out; one goroutine may be in
/// several.
pub fn find<'a>(goroutines: impl IntoIterator<Item = Seen<'a>>) -> Vec<Found> {
    let mut all: Vec<Found> =
        FINDINGS.iter().map(|&finding| Found { finding, positions: Vec::new(), detail: None }).collect();
    for (position, goroutine) in goroutines.into_iter().enumerate() {
        if goroutine.system {
            continue;
        }
        for found in &mut all {
            if found.finding.names(&goroutine) {
                if found.positions.is_empty() {
                    found.detail = found.finding.detail(&goroutine).map(str::to_owned);
                }
                found.positions.push(position);
            }
        }
    }
    all.retain(|found| !found.positions.is_empty());
    all
}

/// Whether there is a finding that holds for this goroutine.
pub(crate) fn is_in_any(goroutine: &Seen<'_>) -> bool {
    !goroutine.system && FINDINGS.iter().any(|finding| finding.names(goroutine))
}

/// How a program died, as findings need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Died {
    /// The cause on one line.
    pub headline: String,
    /// Id of the goroutine to blame.
    pub goroutine: Option<u64>,
}

impl Died {
    /// Of a snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        let death = snapshot.death.as_ref()?;
        Some(Self { headline: death.headline(), goroutine: death.goroutine.map(|id| id.0) })
    }
}

/// As [`find`], in a program that has died: that comes first. It says more about the goroutine to blame than
/// `fatal_error` would, which therefore leaves it out.
pub fn find_in_dead<'a>(goroutines: impl IntoIterator<Item = Seen<'a>>, died: Option<&Died>) -> Vec<Found> {
    let Some(died) = died else { return find(goroutines) };
    let mut blamed = None;
    let goroutines = goroutines.into_iter().enumerate().inspect(|(position, goroutine)| {
        if died.goroutine == Some(goroutine.id) {
            blamed = Some(*position);
        }
    });
    let mut all = find(goroutines.map(|(_, goroutine)| goroutine));
    for found in all.iter_mut().filter(|found| found.finding.code() == fatal_error::CODE) {
        found.positions.retain(|&position| Some(position) != blamed);
    }
    all.retain(|found| !found.positions.is_empty());
    let detail = Some(died.headline.clone());
    all.insert(0, Found { finding: DIED, positions: blamed.into_iter().collect(), detail });
    all
}

/// What findings that depend on time take for long, ns.
const MINUTE_NS: u64 = 60_000_000_000;

/// The time, by the target's `nanotime`, from which on the findings of these goroutines may be others, if none of them
/// runs until then; `None` where that is never.
#[must_use]
pub(crate) fn next_change_ns<'g>(index: &Index<'_>, goroutines: impl Iterator<Item = &'g Goroutine>) -> Option<u64> {
    let left = |goroutine| {
        let left = MINUTE_NS.checked_sub(index.wait_ns(goroutine)?).filter(|&left| left > 0)?;
        let then = Seen { wait_ns: Some(MINUTE_NS), ..Seen::of_goroutine(index, goroutine) };
        is_in_any(&then).then_some(left)
    };
    let left = goroutines.filter_map(left).min()?;
    Some(index.snapshot().monotonic_ns.saturating_add(left))
}

/// Findings of a snapshot; positions are those in [`Snapshot::goroutines`].
#[must_use]
pub fn of_snapshot(index: &Index<'_>) -> Vec<Found> {
    let snapshot = index.snapshot();
    let goroutines = snapshot.goroutines.iter().map(|goroutine| Seen::of_goroutine(index, goroutine));
    find_in_dead(goroutines, Died::of(snapshot).as_ref())
}
