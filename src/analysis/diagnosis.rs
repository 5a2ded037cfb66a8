//! Why a program does not go on, judged by one snapshot.
//!
//! What is certain (definite problems, see [`super::findings`]) and what is likely are never mixed, and nothing
//! is named without its evidence. A long wait alone is no problem: a worker waits for work all day.

use rustc_hash::FxHashSet;

use super::Index;
use super::findings::Found;
use super::waits::{ById, Cycle, WaitRow, WaitTable, WaitedOn, cycles};
use crate::heap::{Grade, Leaks};
use crate::model::{ObjectState, WaitKind};

/// A lock is contended from so many waiters on.
const MANY_AT_A_LOCK: usize = 8;
/// A wait for a lock that is this long is worth a look, ns.
const LONG_AT_A_LOCK_NS: u64 = 1_000_000_000;
/// So many senders to one full channel are worth a look …
const MANY_SENDERS: usize = 16;
/// … when the longest of them has waited for so long, ns.
const LONG_AT_A_CHANNEL_NS: u64 = 10_000_000_000;
/// Most rows of one kind.
pub const MOST: usize = 5;

/// Something that is likely wrong.
#[derive(Clone, Debug)]
pub enum Likely {
    /// Goroutines that wait for locks which probably are held by each other.
    Deadlock(Cycle),
    /// Many wait for a lock, or some for long: the row of the table of waits.
    Contended(WaitRow),
    /// Many wait to send to a channel whose receivers are too slow.
    Backlog(WaitRow),
}

impl Likely {
    /// A stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Deadlock(_) => "likely_deadlock",
            Self::Contended(_) => "lock_contention",
            Self::Backlog(_) => "channel_backlog",
        }
    }
}

/// What was looked for and found.
#[derive(Debug)]
pub struct Diagnosis<'f> {
    /// Definite problems, the worst first.
    pub certain: &'f [Found],
    /// What is likely wrong, the worst first.
    pub likely: Vec<Likely>,
    /// How many more of them there are than are listed, at most [`MOST`] of each kind.
    pub more: usize,
    /// What is waited on.
    pub waits: WaitTable,
    /// What the heap shows; `None` where it was not read.
    pub proof: Option<HeapProof<'f>>,
}

/// Goroutines that never wake.
#[derive(Debug)]
pub struct HeapProof<'f> {
    /// How many, and how certain that is.
    pub leaks: &'f Leaks,
    /// Deadlocks, and the others.
    pub found: Vec<Found>,
}

impl<'f> Diagnosis<'f> {
    /// Of a snapshot with its findings. The runtime's own goroutines are left out.
    #[must_use]
    pub fn of(index: &Index<'_>, certain: &'f [Found]) -> Self {
        let goroutines = index.snapshot().goroutines.iter().enumerate();
        let user: Vec<usize> = goroutines.filter(|(_, goroutine)| !goroutine.system).map(|(at, _)| at).collect();
        let waits = WaitTable::of(index, &user, true);
        let deadlocks = cycles::cycles(index, &ById::of(index.snapshot()));
        let is_in_cycle = |row: &WaitRow| {
            deadlocks.iter().any(|cycle| cycle.goroutines.iter().any(|position| row.goroutines.contains(position)))
        };
        let mut more = deadlocks.len().saturating_sub(MOST);
        let mut rows = |wanted: &dyn Fn(&WaitRow) -> bool| -> Vec<WaitRow> {
            let mut rows = waits.rows.iter().filter(|row| wanted(row));
            let first = rows.by_ref().take(MOST).cloned().collect();
            more += rows.count();
            first
        };
        let contended = rows(&|row| is_contended(row) && !is_in_cycle(row));
        let backlogs = rows(&|row| is_backlog(index, row));
        let likely = deadlocks.iter().take(MOST).cloned().map(Likely::Deadlock);
        let likely = likely.chain(contended.into_iter().map(Likely::Contended));
        let likely = likely.chain(backlogs.into_iter().map(Likely::Backlog)).collect();
        Self { certain, likely, more, waits, proof: None }
    }

    /// With what the heap shows. What is likely a deadlock is left out where its goroutines are known to be leaked.
    #[must_use]
    pub fn with_leaks(mut self, index: &Index<'_>, leaks: &'f Leaks) -> Self {
        let proof = HeapProof::of(index, leaks);
        let leaked: FxHashSet<usize> = proof.found.iter().flat_map(|found| &found.positions).copied().collect();
        self.likely.retain(|likely| match likely {
            Likely::Deadlock(cycle) => !cycle.goroutines.iter().all(|position| leaked.contains(position)),
            Likely::Contended(row) | Likely::Backlog(row) => !row.goroutines.iter().all(|at| leaked.contains(at)),
        });
        self.proof = Some(proof);
        self
    }
}

impl<'f> HeapProof<'f> {
    fn of(index: &Index<'_>, leaks: &'f Leaks) -> Self {
        Self { leaks, found: super::leaks::findings(&ById::of(index.snapshot()), leaks) }
    }

    /// What is found of the goroutine at `position` of the snapshot.
    #[must_use]
    pub fn of_goroutine(index: &Index<'_>, leaks: &'f Leaks, position: usize) -> Self {
        let mut proof = Self::of(index, leaks);
        proof.found.retain(|found| found.positions.contains(&position));
        proof
    }

    /// What is found, if it has that grade.
    #[must_use]
    pub fn with_grade(&self, grade: Grade) -> &[Found] {
        if self.leaks.proof.grade() == grade { &self.found } else { &[] }
    }
}

fn is_contended(row: &WaitRow) -> bool {
    matches!(row.kind, WaitKind::Mutex | WaitKind::RwMutex)
        && (row.goroutines.len() >= MANY_AT_A_LOCK || row.longest_ns() >= Some(LONG_AT_A_LOCK_NS))
}

fn is_backlog(index: &Index<'_>, row: &WaitRow) -> bool {
    let WaitedOn::Object(_) = row.on else { return false };
    let Some(ObjectState::Channel(channel)) = row.object(index).map(|object| &object.state) else { return false };
    let many = usize::try_from(channel.senders.unwrap_or(0)).unwrap_or(usize::MAX) >= MANY_SENDERS;
    many && row.longest_ns() >= Some(LONG_AT_A_CHANNEL_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
    use crate::model::{
        Channel, Direction, Goid, HolderEvidence, LikelyHolder, LockOperation, MutexState, Snapshot, Wait, WaitObject,
        WaitObjectId,
    };

    fn program(count: u64, wait_ns: u64) -> Snapshot {
        let mut builder = SnapshotBuilder::new();
        for id in 1..=count {
            let frames = vec![frame("main.f", "/x.go", 1)];
            builder.add(&GoroutineSpec { id, frames, wait_ns: Some(wait_ns), ..Default::default() });
        }
        builder.build()
    }

    fn all_wait(snapshot: &mut Snapshot, wait: &Wait) {
        for at in 0..snapshot.goroutines.len() {
            let id = snapshot.waits.add(wait.clone());
            snapshot.goroutines[at].waiting_on = Some(id);
        }
    }

    fn mutex(snapshot: &mut Snapshot, addr: u64, holder: u64) -> WaitObjectId {
        let holder =
            LikelyHolder { goroutine: Goid(holder), evidence: HolderEvidence::OnStack { at: Addr(8), function: None } };
        let object = WaitObject::new(Addr(addr), ObjectState::Mutex(MutexState { locked: true, ..Default::default() }));
        snapshot.waits.add_object(WaitObject { likely_holders: Some([holder].into()), ..object })
    }

    fn codes(snapshot: &Snapshot) -> Vec<&'static str> {
        let index = Index::new(snapshot);
        Diagnosis::of(&index, &[]).likely.iter().map(Likely::code).collect()
    }

    #[test]
    fn a_lock_is_contended_by_many_or_for_long() {
        for (count, wait_ns, wanted) in
            [(7, 999_999_999, vec![]), (8, 0, vec!["lock_contention"]), (1, 1_000_000_000, vec!["lock_contention"])]
        {
            let mut snapshot = program(count, wait_ns);
            let object = mutex(&mut snapshot, 0x100, 99);
            all_wait(&mut snapshot, &Wait::Lock { object, operation: LockOperation::Lock });
            assert_eq!(codes(&snapshot), wanted, "{count} {wait_ns}");
        }
    }

    #[test]
    fn workers_without_work_are_healthy_and_senders_without_takers_are_not() {
        for (senders, wait_ns, wanted) in [
            (Some(0), 100_000_000_000, vec![]),
            (Some(15), 100_000_000_000, vec![]),
            (Some(100), 9_999_999_999, vec![]),
            (None, 100_000_000_000, vec![]),
            (Some(100), 10_000_000_000, vec!["channel_backlog"]),
        ] {
            let mut snapshot = program(100, wait_ns);
            let state = ObjectState::Channel(Channel { senders, ..Channel::default() });
            let channel = Some(snapshot.waits.add_object(WaitObject::new(Addr(0x100), state)));
            all_wait(&mut snapshot, &Wait::Channel { channel, direction: Direction::Send });
            assert_eq!(codes(&snapshot), wanted, "{senders:?} {wait_ns}");
        }
    }

    #[test]
    fn a_cycle_is_named_once_and_not_as_contention() {
        let mut snapshot = program(2, 5_000_000_000);
        for (at, (addr, holder)) in [(0x100, 2), (0x200, 1)].into_iter().enumerate() {
            let object = mutex(&mut snapshot, addr, holder);
            let wait = snapshot.waits.add(Wait::Lock { object, operation: LockOperation::Lock });
            snapshot.goroutines[at].waiting_on = Some(wait);
        }
        assert_eq!(codes(&snapshot), ["likely_deadlock"]);
    }
}
