use super::*;
use crate::addr::Addr;
use crate::analysis::Index;
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{
    Channel, Direction, HolderEvidence, LockOperation, MutexState, ObjectState, SelectCase, Snapshot, Status, Wait,
    WaitKind, WaitObject, WaitUnknown,
};

const SECOND: u64 = 1_000_000_000;

/// A program of `count` goroutines that wait at `main.f`, each for as many seconds as its id, from 1.
fn program(count: u64) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    for id in 1..=count {
        let frames = vec![frame("main.f", "/x.go", 1)];
        builder.add(&GoroutineSpec { id, frames, wait_ns: Some(id * SECOND), ..Default::default() });
    }
    builder.build()
}

fn waits_on(snapshot: &mut Snapshot, id: u64, wait: Wait) {
    let wait = snapshot.waits.add(wait);
    let goroutine = snapshot.goroutines.iter_mut().find(|goroutine| goroutine.id.0 == id).unwrap();
    goroutine.waiting_on = Some(wait);
}

fn mutex(snapshot: &mut Snapshot, addr: u64, holders: &[u64]) -> WaitObjectId {
    let state = ObjectState::Mutex(MutexState { locked: true, ..MutexState::default() });
    let holder = |&id: &u64| LikelyHolder {
        goroutine: Goid(id),
        evidence: HolderEvidence::OnStack { at: Addr(0x10), function: None },
    };
    let likely_holders = Some(holders.iter().map(holder).collect());
    snapshot.waits.add_object(WaitObject { likely_holders, ..WaitObject::new(Addr(addr), state) })
}

fn locks(snapshot: &mut Snapshot, id: u64, object: WaitObjectId) {
    waits_on(snapshot, id, Wait::Lock { object, operation: LockOperation::Lock });
}

fn channel(snapshot: &mut Snapshot, addr: u64) -> WaitObjectId {
    snapshot.waits.add_object(WaitObject::new(Addr(addr), ObjectState::Channel(Channel::default())))
}

fn receive(channel: WaitObjectId) -> Wait {
    Wait::Channel { channel: Some(channel), direction: Direction::Receive }
}

/// The addresses of rows, and the goroutines in them.
fn rows(snapshot: &Snapshot, merge: bool) -> Vec<(Vec<u64>, Vec<u64>)> {
    let index = Index::new(snapshot);
    let all: Vec<usize> = (0..snapshot.goroutines.len()).collect();
    let table = WaitTable::of(&index, &all, merge);
    let addr = |id: &WaitObjectId| snapshot.waits.object(*id).unwrap().addr.0;
    let row = |row: &WaitRow| {
        let on = match &row.on {
            WaitedOn::Object(id) => vec![addr(id)],
            WaitedOn::Alike(ids) => ids.iter().map(addr).collect(),
            _ => Vec::new(),
        };
        (on, row.goroutines.iter().map(|&position| snapshot.goroutines[position].id.0).collect())
    };
    table.rows.iter().map(row).collect()
}

#[test]
fn the_most_waited_for_comes_first_and_single_ones_are_put_together() {
    let mut snapshot = program(9);
    let shared = channel(&mut snapshot, 0x100);
    let own = [0x200, 0x300, 0x400].map(|addr| channel(&mut snapshot, addr));
    let lock = mutex(&mut snapshot, 0x500, &[]);
    for id in [1, 2] {
        waits_on(&mut snapshot, id, receive(shared));
    }
    waits_on(&mut snapshot, 3, receive(own[0]));
    waits_on(&mut snapshot, 4, receive(own[1]));
    // Twice on a channel of its own, and on the shared one.
    let case = |channel| SelectCase { channel, direction: Direction::Receive };
    waits_on(&mut snapshot, 5, Wait::Select { cases: [own[2], own[2], shared].map(case).into() });
    locks(&mut snapshot, 6, lock);
    waits_on(&mut snapshot, 7, Wait::Channel { channel: None, direction: Direction::Send });
    waits_on(&mut snapshot, 8, Wait::Sleep { until_ns: 1, bubble_now_ns: None });
    assert_eq!(
        rows(&snapshot, true),
        [
            (vec![0x100], vec![1, 2, 5]),
            (vec![], vec![7]),
            (vec![0x500], vec![6]),
            (vec![0x200, 0x300, 0x400], vec![3, 4, 5]),
        ]
    );
    assert_eq!(
        rows(&snapshot, false),
        [
            (vec![0x100], vec![1, 2, 5]),
            (vec![], vec![7]),
            (vec![0x500], vec![6]),
            (vec![0x400], vec![5]),
            (vec![0x300], vec![4]),
            (vec![0x200], vec![3]),
        ]
    );
    let index = Index::new(&snapshot);
    let table = WaitTable::of(&index, &[0, 1, 4, 7], true);
    assert_eq!((table.waiting, table.rows.len(), table.others.len()), (4, 2, 1));
    assert_eq!(table.rows[0].longest_ns(), Some(5 * SECOND));
    assert_eq!(table.rows[0].wait.unwrap().known, 3);
    assert_eq!(table.rows[0].places, [Where { count: 3, example: 0 }]);
    assert_eq!((table.others[0].kind, table.others[0].goroutines.as_slice()), (WaitKind::Sleep, &[7][..]));
}

fn chain(snapshot: &Snapshot, id: u64) -> (Vec<u64>, ChainEnd) {
    let index = Index::new(snapshot);
    let by_id = ById::of(snapshot);
    let chain = Chain::from(&index, &by_id, by_id.position(Goid(id)).unwrap());
    let ids = chain.steps.iter().map(|step| snapshot.goroutines[step.goroutine].id.0).collect();
    (ids, chain.end)
}

#[test]
fn a_chain_goes_from_lock_to_holder_to_its_end() {
    let mut snapshot = program(9);
    let a = mutex(&mut snapshot, 0x100, &[2, 9]);
    let b = mutex(&mut snapshot, 0x200, &[3]);
    let c = mutex(&mut snapshot, 0x300, &[]);
    let d = mutex(&mut snapshot, 0x400, &[77]);
    let queue = channel(&mut snapshot, 0x500);
    locks(&mut snapshot, 1, a);
    locks(&mut snapshot, 2, b);
    waits_on(&mut snapshot, 3, receive(queue));
    locks(&mut snapshot, 4, c);
    locks(&mut snapshot, 5, d);
    waits_on(&mut snapshot, 6, Wait::Channel { channel: None, direction: Direction::Receive });
    waits_on(&mut snapshot, 7, Wait::Unknown { kind: WaitKind::Mutex, why: WaitUnknown::Moved });
    snapshot.goroutines[7].status = Status::Running;
    assert_eq!(chain(&snapshot, 1), (vec![1, 2, 3], ChainEnd::Channel));
    assert_eq!(chain(&snapshot, 4), (vec![4], ChainEnd::NoHolder));
    assert_eq!(chain(&snapshot, 5), (vec![5], ChainEnd::HolderGone));
    assert_eq!(chain(&snapshot, 6), (vec![6], ChainEnd::Forever));
    assert_eq!(chain(&snapshot, 7), (vec![7], ChainEnd::Unknown(Some(WaitUnknown::Moved))));
    assert_eq!(chain(&snapshot, 8), (vec![8], ChainEnd::NotBlocked));
    // Blocked, but what it waits for was not read.
    assert_eq!(chain(&snapshot, 9), (vec![9], ChainEnd::Unknown(None)));
    let index = Index::new(&snapshot);
    let whole = Chain::from(&index, &ById::of(&snapshot), 0);
    assert_eq!((whole.steps[1].other_holders, whole.steps[1].holds.unwrap().goroutine), (1, Goid(2)));
}

#[test]
fn goroutines_that_wait_for_each_other_are_a_cycle() {
    let mut snapshot = program(9);
    // 2 → 3 → 4 → 2, and 1 waits for one of them; 5 → 6, which waits for none.
    for (id, holders) in [(1, vec![3]), (2, vec![6, 3]), (3, vec![4]), (4, vec![2]), (5, vec![6])] {
        let lock = mutex(&mut snapshot, 0x100 * id, &holders);
        locks(&mut snapshot, id, lock);
    }
    let index = Index::new(&snapshot);
    let found = cycles::cycles(&index, &ById::of(&snapshot));
    assert_eq!(found, [Cycle { goroutines: vec![1, 2, 3] }]);
    // Of the two that may hold what 2 waits for, the one that leads back is followed; 6 may have made the lock.
    assert_eq!(chain(&snapshot, 1), (vec![1, 3, 4, 2], ChainEnd::Cycle(1)));
    assert_eq!(chain(&snapshot, 3), (vec![3, 4, 2], ChainEnd::Cycle(0)));
    assert_eq!(chain(&snapshot, 2), (vec![2, 3, 4], ChainEnd::Cycle(0)));
}

#[test]
fn long_chains_and_dense_graphs_end() {
    let mut snapshot = program(2_000);
    for id in 1..2_000 {
        let lock = mutex(&mut snapshot, 0x100 * id, &[id + 1]);
        locks(&mut snapshot, id, lock);
    }
    let (ids, end) = chain(&snapshot, 1);
    assert_eq!((ids.len(), end), (chain::MAX_STEPS, ChainEnd::TooLong));
    assert_eq!(chain(&snapshot, 1_950).0.len(), 51);
    let index = Index::new(&snapshot);
    assert_eq!(cycles::cycles(&index, &ById::of(&snapshot)), []);
    // Everyone may hold everything.
    let mut dense = program(100);
    let all: Vec<u64> = (1..=100).collect();
    let lock = mutex(&mut dense, 0x100, &all);
    for id in 1..=100 {
        locks(&mut dense, id, lock);
    }
    let index = Index::new(&dense);
    let found = cycles::cycles(&index, &ById::of(&dense));
    let mut members: Vec<usize> = found.iter().flat_map(|cycle| cycle.goroutines.clone()).collect();
    members.sort_unstable();
    members.dedup();
    assert_eq!(members.len(), found.iter().map(|cycle| cycle.goroutines.len()).sum::<usize>());
    assert!(!found.is_empty());
}
