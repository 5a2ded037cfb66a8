//! Wait chains: a goroutine, the lock that it waits for, the likely holder of that lock, and so on.

use super::{ById, lock_of};
use crate::analysis::Index;
use crate::model::{LikelyHolder, Snapshot, Status, Wait, WaitKind, WaitUnknown};

/// Most goroutines in a chain.
pub const MAX_STEPS: usize = 64;

/// A goroutine in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its position in the snapshot.
    pub goroutine: usize,
    /// Why it is the next: it probably holds what the one before waits for. `None` for the first.
    pub holds: Option<LikelyHolder>,
    /// How many others may hold that as well.
    pub other_holders: usize,
}

/// Where a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    /// The last one is not blocked: it runs, or will when there is a P for it.
    NotBlocked,
    /// The last one waits for a channel operation, which any goroutine with a reference to it may do.
    Channel,
    /// It can never go on: a nil channel, or a `select` without cases.
    Forever,
    /// The last one waits for something outside of the program's goroutines: a descriptor, a system call, C
    /// code, the time.
    Outside(WaitKind),
    /// The last one waits for another coroutine, or for the runtime.
    Runtime(WaitKind),
    /// The last one waits for a lock, and no goroutine is known to hold it. For a `sync.WaitGroup` or a
    /// `sync.Cond` there is none: any goroutine may call `Done` or `Signal`.
    NoHolder,
    /// The holder of the lock that the last one waits for was not there when the snapshot was taken.
    HolderGone,
    /// The goroutine at this step of the chain is the holder again.
    Cycle(usize),
    /// What the last one waits for is not known.
    Unknown(Option<WaitUnknown>),
    /// The chain is longer than [`MAX_STEPS`].
    TooLong,
}

impl ChainEnd {
    /// The word that scripts see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotBlocked => "not_blocked",
            Self::Channel => "channel",
            Self::Forever => "forever",
            Self::Outside(_) => "outside",
            Self::Runtime(_) => "runtime",
            Self::NoHolder => "no_holder",
            Self::HolderGone => "holder_gone",
            Self::Cycle(_) => "cycle",
            Self::Unknown(_) => "unknown",
            Self::TooLong => "too_long",
        }
    }
}

/// A chain of waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The goroutines, each of which waits for the next. At least one.
    pub steps: Vec<Step>,
    /// What follows the last.
    pub end: ChainEnd,
}

impl Chain {
    /// The chain that begins at the goroutine at `position`. Where several may hold a lock, it follows one that is
    /// in the chain already, or that leads back to it: the address of a lock may also be on the stack of who made
    /// it, but it is not by chance that goroutines have each other's. Else it follows the one that is named first.
    #[must_use]
    pub fn from(index: &Index<'_>, by_id: &ById, position: usize) -> Self {
        let snapshot = index.snapshot();
        let mut steps = vec![Step { goroutine: position, holds: None, other_holders: 0 }];
        let mut at = position;
        loop {
            let holders = match lock_of(snapshot, at) {
                Some((_, holders)) => holders,
                None => return Self { steps, end: end(snapshot, at) },
            };
            let Some(holder) = follow(snapshot, by_id, &steps, holders) else {
                return Self { steps, end: end(snapshot, at) };
            };
            let Some(next) = by_id.position(holder.goroutine) else { return Self { steps, end: ChainEnd::HolderGone } };
            if let Some(first) = steps.iter().position(|step| step.goroutine == next) {
                return Self { steps, end: ChainEnd::Cycle(first) };
            }
            if steps.len() == MAX_STEPS {
                return Self { steps, end: ChainEnd::TooLong };
            }
            steps.push(Step { goroutine: next, holds: Some(*holder), other_holders: holders.len() - 1 });
            at = next;
        }
    }
}

/// The one of `holders` that a chain goes on with.
fn follow<'h>(
    snapshot: &Snapshot,
    by_id: &ById,
    steps: &[Step],
    holders: &'h [LikelyHolder],
) -> Option<&'h LikelyHolder> {
    if holders.len() < 2 {
        return holders.first();
    }
    let is_step = |position: usize| steps.iter().any(|step| step.goroutine == position);
    let position = |holder: &&LikelyHolder| by_id.position(holder.goroutine);
    let known = holders.iter().find(|holder| position(holder).is_some_and(is_step));
    let leads_back = |holder: &&LikelyHolder| {
        let mut seen: Vec<usize> = position(holder).into_iter().collect();
        let mut next = 0;
        while let Some(&at) = seen.get(next) {
            next += 1;
            for of in lock_of(snapshot, at).map_or(&[][..], |(_, holders)| holders) {
                match by_id.position(of.goroutine) {
                    Some(position) if is_step(position) => return true,
                    Some(position) if seen.len() < MAX_STEPS && !seen.contains(&position) => seen.push(position),
                    _ => {}
                }
            }
        }
        false
    };
    known.or_else(|| holders.iter().find(leads_back)).or_else(|| holders.first())
}

/// Where a chain ends whose last goroutine has no known holder before it.
fn end(snapshot: &Snapshot, position: usize) -> ChainEnd {
    let Some(goroutine) = snapshot.goroutines.get(position) else { return ChainEnd::Unknown(None) };
    let Some(wait) = snapshot.waiting_on(goroutine) else {
        let blocked = goroutine.status.is_blocked() || goroutine.status == Status::Syscall;
        return if blocked { ChainEnd::Unknown(None) } else { ChainEnd::NotBlocked };
    };
    match wait {
        Wait::Channel { channel: None, .. } => ChainEnd::Forever,
        Wait::Select { cases } if cases.is_empty() => ChainEnd::Forever,
        Wait::Channel { .. } | Wait::Select { .. } => ChainEnd::Channel,
        Wait::Lock { .. } => ChainEnd::NoHolder,
        Wait::Poll { .. } | Wait::Syscall | Wait::C | Wait::Sleep { .. } => {
            ChainEnd::Outside(snapshot.waits.kind(wait))
        }
        Wait::Coroutine { .. } | Wait::Runtime => ChainEnd::Runtime(snapshot.waits.kind(wait)),
        Wait::Unknown { why, .. } => ChainEnd::Unknown(Some(*why)),
    }
}
