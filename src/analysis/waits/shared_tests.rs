//! What members of groups have in common, and groups that are made by that.

use super::{Shared, SharedWait};
use crate::analysis::answer::{Answer, Request, Rows};
use crate::analysis::group::{On, What};
use crate::analysis::{Filter, Group, GroupBy, Index, PlaceKind};
use crate::model::testing::waiting::waiting_server;
use crate::model::{Snapshot, Wait, WaitKind, WaitUnknown};

fn grouped(snapshot: &Snapshot, by: GroupBy) -> Vec<Group> {
    let index = Index::new(snapshot);
    let answer = Answer::of(&index, Request { rows: Rows::Groups(by), ..Request::default() });
    answer.groups().unwrap().into_iter().cloned().collect()
}

/// The group at a place, by a part of its function's name.
fn at<'g>(snapshot: &Snapshot, groups: &'g [Group], function: &str) -> &'g Group {
    let index = Index::new(snapshot);
    let name = |group: &&Group| {
        let example = &snapshot.goroutines[group.example];
        snapshot.symbols.function(index.place(example, PlaceKind::User).frame().unwrap()).ends_with(function)
    };
    groups.iter().find(name).unwrap_or_else(|| panic!("no group is in {function}"))
}

#[test]
fn groups_share_an_object_a_peer_or_an_address() {
    let snapshot = waiting_server();
    let groups = grouped(&snapshot, GroupBy::Place(PlaceKind::User));
    let shared = |function: &str| at(&snapshot, &groups, function).details.waits_on;
    let counts = |shared: Option<Shared>| shared.map(|shared| (shared.count, shared.waiting));
    let kind = |shared: Option<Shared>| shared.and_then(|of| of.object(&snapshot)).map(|object| object.kind());

    let lock = shared("(*Store).Get");
    assert_eq!((counts(lock), kind(lock)), (Some((211, 211)), Some(WaitKind::Mutex)));
    let queue = shared("(*Log).flush");
    assert_eq!((counts(queue), kind(queue)), (Some((34, 34)), Some(WaitKind::Channel)));
    // Eleven of twelve are nearly all.
    let pool = shared("(*Store).query");
    assert_eq!(counts(pool), Some((11, 12)));
    assert!(matches!(pool.unwrap().on, SharedWait::Peer(_)));
    let clients = shared("(*conn).serve");
    assert_eq!(counts(clients), Some((60, 60)));
    assert!(matches!(clients.unwrap().on, SharedWait::Accepted(_)));
    // Of two channels that all select on, the one that carries something.
    let workers = shared("(*Worker).run").unwrap();
    assert!(matches!(workers.on, SharedWait::Object(_)));
    let channel = workers.object(&snapshot).unwrap();
    assert!(matches!(&channel.state, crate::model::ObjectState::Channel(channel) if channel.capacity == 64));
    assert_eq!(shared("main.await"), None);
    assert_eq!(shared("main.tick"), None);
    assert_eq!(shared("main.reload").map(|shared| shared.on), Some(SharedWait::Own));
}

/// Whoever is at which position, a tenth is the most that may differ; those that do not wait do not count.
#[test]
fn nine_of_ten_are_nearly_all() {
    let snapshot = waiting_server();
    let at_lock: Vec<usize> =
        (0..snapshot.goroutines.len()).filter(|&at| snapshot.goroutines[at].id.0 < 229 && at > 0).collect();
    for differ in 0..=60 {
        for from in [0, 1, 70, 211 - differ] {
            let mut snapshot = snapshot.clone();
            let unknown = snapshot.waits.add(Wait::Unknown { kind: WaitKind::Mutex, why: WaitUnknown::Moved });
            for &at in at_lock.iter().skip(from).take(differ) {
                snapshot.goroutines[at].waiting_on = Some(unknown);
            }
            let differ = at_lock.iter().filter(|&&at| snapshot.goroutines[at].waiting_on == Some(unknown)).count();
            let found = Shared::of(&snapshot, at_lock.iter()).map(|shared| (shared.count as usize, shared.waiting));
            let want = (differ * 10 <= 211).then_some((211 - differ, 211));
            assert_eq!(found, want, "{differ} from {from}");
        }
    }
    let mut running = snapshot;
    for &at in at_lock.iter().step_by(2) {
        running.goroutines[at].waiting_on = None;
    }
    let found = Shared::of(&running, at_lock.iter()).map(|shared| (shared.count, shared.waiting));
    assert_eq!(found, Some((105, 105)));
    assert_eq!(Shared::of(&running, [].iter()), None);
    // Those that differ come again and again.
    for period in 11..40 {
        let mut alternating = waiting_server();
        let unknown = alternating.waits.add(Wait::Unknown { kind: WaitKind::Mutex, why: WaitUnknown::Moved });
        for &at in at_lock.iter().step_by(period) {
            alternating.goroutines[at].waiting_on = Some(unknown);
        }
        assert!(Shared::of(&alternating, at_lock.iter()).is_some(), "every {period}th differs");
    }
}

#[test]
fn groups_by_what_they_wait_on() {
    let snapshot = waiting_server();
    let groups = grouped(&snapshot, GroupBy::Object);
    let on = |group: &Group| if let What::On(on) = group.key.what { on } else { panic!("{:?}", group.key) };
    let all: u64 = groups.iter().map(|group| group.count).sum();
    assert_eq!(all, snapshot.goroutines.len() as u64);
    let mut found: Vec<(u64, On)> = groups.iter().map(|group| (group.count, on(group))).collect();
    found.sort_unstable_by_key(|&(count, _)| std::cmp::Reverse(count));
    let of = |wanted: fn(&On) -> bool| -> Vec<u64> {
        found.iter().filter(|(_, on)| wanted(on)).map(|(count, _)| *count).collect()
    };
    // The lock, the queue, the channel of those that select, and the RWMutex, which is never put with others.
    assert_eq!(of(|on| matches!(on, On::Object(_))), [211, 34, 20, 1]);
    // Eleven of the pool, and the one elsewhere that talks to the same peer.
    assert_eq!(of(|on| matches!(on, On::Peer(_))), [12]);
    assert_eq!(of(|on| matches!(on, On::Alike(WaitKind::Network, _))), [60, 1, 1]);
    assert_eq!(of(|on| matches!(on, On::Alike(WaitKind::Channel, _))), [5]);
    assert_eq!(of(|on| matches!(on, On::Other(WaitKind::Sleep))), [5]);
    assert_eq!(of(|on| matches!(on, On::NilChannel)), [1]);
    // What the key says is what they share, though all that select share another channel too.
    for group in &groups {
        if let On::Object(addr) = on(group) {
            let shared = group.details.waits_on.unwrap();
            assert_eq!(shared.count, group.count);
            assert!(shared.object(&snapshot).is_none_or(|object| object.addr == addr), "{group:?}");
        }
    }
    // The keys are the same in another snapshot of the program.
    let keys = |snapshot: &Snapshot| -> Vec<On> { grouped(snapshot, GroupBy::Object).iter().map(on).collect() };
    assert_eq!(keys(&snapshot), keys(&waiting_server()));
    // A filter finds what a group is about.
    let filter = Filter::parse("kind=mutex").unwrap();
    assert_eq!(filter.select(&Index::new(&snapshot)).len(), 211);
}

#[test]
fn one_that_is_not_blocked_waits_on_nothing() {
    let mut snapshot = waiting_server();
    snapshot.goroutines.iter_mut().take(4).for_each(|goroutine| goroutine.waiting_on = None);
    let groups = grouped(&snapshot, GroupBy::Object);
    let nothing = groups.iter().find(|group| group.key.what == What::On(On::Nothing)).unwrap();
    assert_eq!((nothing.count, nothing.details.waits_on), (4, None));
}
