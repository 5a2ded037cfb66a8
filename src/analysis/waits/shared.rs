//! What the members of a group have in common: they wait on one channel, on one lock, on connections to one peer.
//!
//! It is certain, as all waits are: a member counts only if the object that it waits on was read. A few members that
//! wait on something else do not hide it, and the count shows that there are some. Where the members differ, the
//! group has no common object.

use std::cmp::Reverse;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use rustc_hash::FxHashMap;

use super::table::is_lock;
use crate::analysis::group::{Key, Line, On, What};
use crate::model::{Direction, Goroutine, ObjectState, Snapshot, Wait, WaitId, WaitObject, WaitObjectId};

/// What several goroutines wait on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedWait {
    /// One goroutine: whatever it waits for.
    Own,
    /// One object; of those that select, one of their channels.
    Object(WaitObjectId),
    /// Connections with the peer of this one.
    Peer(WaitObjectId),
    /// Connections whose own address is that of this one: they have been accepted there.
    Accepted(WaitObjectId),
}

/// What nearly all members of a group wait on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shared {
    /// What.
    pub on: SharedWait,
    /// How many members wait on that.
    pub count: u64,
    /// How many members wait at all.
    pub waiting: u64,
    /// Position of one of them in the snapshot.
    pub example: usize,
}

/// Members that are looked at for something that they could share.
const SAMPLE: usize = 16;

/// One thing that a goroutine waits on, comparable with that of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark<'s> {
    Object(WaitObjectId),
    Peer(&'s str),
    Accepted(&'s str),
}

/// How many of some goroutines are in which wait, as long as these are few: goroutines that wait on one thing often
/// share the wait itself, and need not be looked at one by one then.
#[derive(Clone, Debug, Default)]
pub(crate) struct WaitTally {
    /// Each wait with how many are in it, and the position of the first.
    waits: Vec<(WaitId, usize, usize)>,
    /// Whether there are more than are counted.
    more: bool,
    members: usize,
}

impl WaitTally {
    /// Most waits that are counted.
    const FEW: usize = 8;

    /// Counts the goroutine at a position in the snapshot.
    pub(crate) fn add(&mut self, position: usize, wait: Option<WaitId>) {
        self.members += 1;
        let Some(wait) = wait.filter(|_| !self.more) else { return };
        if let Some((_, count, _)) = self.waits.iter_mut().find(|(known, ..)| *known == wait) {
            *count += 1;
        } else if self.waits.len() < Self::FEW {
            // Most groups of a program in which nothing repeats have one.
            self.waits.reserve_exact(1);
            self.waits.push((wait, 1, position));
        } else {
            self.more = true;
        }
    }

    /// Of the goroutines at `members`, as far as it takes to know.
    fn of<'m>(snapshot: &Snapshot, members: impl Iterator<Item = &'m usize>) -> Self {
        let mut tally = Self::default();
        for &position in members {
            tally.add(position, snapshot.goroutines.get(position).and_then(|goroutine| goroutine.waiting_on));
        }
        tally
    }
}

impl Shared {
    /// What at least nine of ten of those waiting among the goroutines at `members` wait on; `None` where there
    /// is nothing. It takes time in proportion to the members.
    #[must_use]
    pub fn of<'m, M: Iterator<Item = &'m usize> + Clone>(snapshot: &Snapshot, members: M) -> Option<Self> {
        Self::of_tally(snapshot, &WaitTally::of(snapshot, members.clone()), || members.clone())
    }

    /// The same of members that were counted already.
    fn of_tally<'m, M: Iterator<Item = &'m usize> + Clone>(
        snapshot: &Snapshot,
        tally: &WaitTally,
        members: impl Fn() -> M,
    ) -> Option<Self> {
        if tally.members <= 1 {
            let &(.., example) = tally.waits.first()?;
            return Some(Self { on: SharedWait::Own, count: 1, waiting: 1, example });
        }
        if !tally.more {
            return Self::among(snapshot, || tally.waits.iter().copied());
        }
        Self::among(snapshot, || members().filter_map(|&at| Some((snapshot.goroutines.get(at)?.waiting_on?, 1, at))))
    }

    /// What nearly all goroutines in `waits` share, each with how many are in it and an example.
    fn among<W: Iterator<Item = (WaitId, usize, usize)>>(snapshot: &Snapshot, waits: impl Fn() -> W) -> Option<Self> {
        let (different, all) =
            waits().fold((0_usize, 0), |(different, all), (_, count, _)| (different + 1, all + count));
        // Whatever nine of ten share is what most of a fair sample have: one from each of as many parts, at changing
        // places in them, since members may alternate.
        let step = different.div_ceil(SAMPLE).max(1);
        let is_picked = |nth: usize| nth % step == scattered(nth / step) % step;
        let sample = waits().enumerate().filter(|(nth, _)| is_picked(*nth)).map(|(_, wait)| wait);
        let mut found: Vec<(Mark<'_>, SharedWait, usize, usize)> = Vec::new();
        let mut sampled = 0_usize;
        for (wait, times, at) in sample {
            sampled += times;
            for (mark, on) in marks(snapshot, wait) {
                match found.iter_mut().find(|known| known.0 == mark) {
                    // Several cases of a select count once.
                    Some(known) if known.3 != at => (known.2, known.3) = (known.2 + times, at),
                    Some(_) => {}
                    None => found.push((mark, on, times, at)),
                }
            }
        }
        found.retain(|&(.., times, _)| times * 2 > sampled);
        found.sort_by_key(|&(mark, on, times, _)| (Reverse(times), rank(snapshot, mark, on)));
        found.into_iter().find_map(|(mark, on, ..)| {
            let (mut count, mut others, mut example) = (0_usize, 0_usize, None);
            for (wait, times, at) in waits() {
                if has(snapshot, wait, mark) {
                    count += times;
                    example.get_or_insert(at);
                } else {
                    others += times;
                    if others * 10 > all {
                        return None;
                    }
                }
            }
            Some(Self { on, count: number(count), waiting: number(all), example: example? })
        })
    }

    /// The same of a group with this key: one that is made of those that wait on an object shares that, whatever
    /// else they share.
    #[must_use]
    pub fn of_group<'m, M: Iterator<Item = &'m usize> + Clone>(
        snapshot: &Snapshot,
        key: &Key,
        members: impl Fn() -> M,
    ) -> Option<Self> {
        Self::of_object(snapshot, key, &members).unwrap_or_else(|| Self::of(snapshot, members()))
    }

    /// The same of a group whose members were counted when it was made.
    pub(crate) fn of_counted_group<'m, M: Iterator<Item = &'m usize> + Clone>(
        snapshot: &Snapshot,
        key: &Key,
        tally: &WaitTally,
        members: impl Fn() -> M,
    ) -> Option<Self> {
        Self::of_object(snapshot, key, &members).unwrap_or_else(|| Self::of_tally(snapshot, tally, members))
    }

    /// What a group shares whose members were put together by the object; `None` for other groups.
    fn of_object<'m, M: Iterator<Item = &'m usize>>(
        snapshot: &Snapshot,
        key: &Key,
        members: impl Fn() -> M,
    ) -> Option<Option<Self>> {
        let What::On(On::Object(addr)) = key.what else { return None };
        let shared = || {
            let example = *members().next()?;
            let wait = snapshot.waiting_on(snapshot.goroutines.get(example)?)?;
            let (id, _) = snapshot.waits.objects_of(wait).find(|(_, object)| object.addr == addr)?;
            let count = number(members().count());
            Some(Self { on: SharedWait::Object(id), count, waiting: count, example })
        };
        Some(shared())
    }

    /// The object, where it is one.
    #[must_use]
    pub fn object<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s WaitObject> {
        match self.on {
            SharedWait::Object(id) | SharedWait::Peer(id) | SharedWait::Accepted(id) => snapshot.waits.object(id),
            SharedWait::Own => None,
        }
    }

    /// Which way data are to go: where it is an object, and the one goroutine that stands for all does a single
    /// operation on it.
    #[must_use]
    pub fn direction(&self, snapshot: &Snapshot) -> Option<Direction> {
        match snapshot.waiting_on(snapshot.goroutines.get(self.example)?)? {
            Wait::Channel { direction, .. } | Wait::Poll { direction, .. } => Some(*direction),
            _ => None,
        }
    }
}

/// What those in a wait wait on, the most exact first.
fn marks(snapshot: &Snapshot, wait: WaitId) -> impl Iterator<Item = (Mark<'_>, SharedWait)> {
    let wait = snapshot.waits.get(wait);
    wait.into_iter().flat_map(|wait| snapshot.waits.objects_of(wait)).flat_map(|(id, object)| {
        let peer = connection(object).map(|(_, remote)| (Mark::Peer(remote), SharedWait::Peer(id)));
        let accepted =
            connection(object).and_then(|(local, _)| Some((Mark::Accepted(local?), SharedWait::Accepted(id))));
        [Some((Mark::Object(id), SharedWait::Object(id))), peer, accepted].into_iter().flatten()
    })
}

fn has(snapshot: &Snapshot, wait: WaitId, mark: Mark<'_>) -> bool {
    let Some(wait) = snapshot.waits.get(wait) else { return false };
    let mut objects = snapshot.waits.objects_of(wait);
    match mark {
        Mark::Object(wanted) => objects.any(|(id, _)| id == wanted),
        Mark::Peer(wanted) => objects.any(|(_, object)| connection(object).is_some_and(|(_, remote)| remote == wanted)),
        Mark::Accepted(wanted) => {
            objects.any(|(_, object)| connection(object).is_some_and(|(local, _)| local == Some(wanted)))
        }
    }
}

/// How many goroutines wait on a connection with the same peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers(FxHashMap<u64, u32>);

impl Peers {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut peers: FxHashMap<u64, u32> = FxHashMap::default();
        for (remote, waiting) in
            snapshot.waits.objects().filter_map(|(_, object)| Some((connection(object)?.1, object.goroutines)))
        {
            let known = peers.entry(peer(remote)).or_default();
            *known = known.saturating_add(waiting);
        }
        Self(peers)
    }

    fn are_several(&self, remote: &str) -> bool {
        self.0.get(&peer(remote)).is_some_and(|waiting| *waiting > 1)
    }
}

/// A peer's address as a hash without random keys, so that it is the same in the next snapshot.
fn peer(remote: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(remote)
}

/// What `goroutine` waits on, as far as others can have that in common; `line` is where it is.
pub(crate) fn on(snapshot: &Snapshot, peers: &Peers, goroutine: &Goroutine, line: impl FnOnce() -> Option<Line>) -> On {
    let Some(wait) = snapshot.waiting_on(goroutine) else { return On::Nothing };
    // Of a select, the channel on which most wait; of equal ones, one that carries something, at the lowest address.
    let objects = snapshot.waits.objects_of(wait).map(|(_, object)| object);
    match (wait, objects.min_by_key(|object| (Reverse(object.goroutines), only_signals(snapshot, object), object.addr)))
    {
        (_, Some(object)) if object.goroutines > 1 || is_lock(object.kind()) => On::Object(object.addr),
        (_, Some(object)) => match connection(object) {
            Some((_, remote)) if peers.are_several(remote) => On::Peer(peer(remote)),
            _ => On::Alike(object.kind(), line()),
        },
        (Wait::Channel { .. }, None) => On::NilChannel,
        (Wait::Select { .. }, None) => On::EmptySelect,
        (Wait::Unknown { kind, .. }, None) => On::Unknown(*kind),
        (other, None) => On::Other(snapshot.waits.kind(other)),
    }
}

/// Both addresses of a connection; `None` for what has no peer.
pub(crate) fn connection(object: &WaitObject) -> Option<(Option<&str>, &str)> {
    match &object.state {
        ObjectState::Descriptor { details: Some(details), .. } => {
            Some((details.local.as_deref(), details.remote.as_deref()?))
        }
        _ => None,
    }
}

/// Whether it is a channel whose elements say nothing, but for the end of something.
fn only_signals(snapshot: &Snapshot, object: &WaitObject) -> bool {
    let ObjectState::Channel(channel) = &object.state else { return false };
    channel.element_type.is_none_or(|name| snapshot.symbols.str(name) == "struct {}")
}

/// Of several that all share, the one that says most comes first: an object before an address, what fewer wait
/// on, a channel that has something to carry.
fn rank(snapshot: &Snapshot, mark: Mark<'_>, on: SharedWait) -> (u8, u32, bool, Option<WaitObjectId>) {
    match (mark, on) {
        (Mark::Object(id), _) => {
            let object = snapshot.waits.object(id);
            let only_signals = object.is_some_and(|object| only_signals(snapshot, object));
            (0, object.map_or(0, |object| object.goroutines), only_signals, Some(id))
        }
        (Mark::Peer(_), _) => (1, 0, false, None),
        (Mark::Accepted(_), _) => (2, 0, false, None),
    }
}

/// A number that has nothing to do with `n` (the mixing of splitmix64), and is always the same.
fn scattered(n: usize) -> usize {
    let mixed = number(n).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 29;
    usize::try_from(mixed).unwrap_or(0)
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
