//! Who probably holds a lock.
//!
//! Go's locks do not record who holds them. But who has locked one and is to unlock it usually keeps a pointer to
//! it: so a goroutine on whose stack the lock's exact address is, in a frame that is not the runtime's, and that
//! does not wait for it, is a likely holder. Nothing is found for a lock that is a global variable, and for one that its holder never touches
//! again.
//!
//! The first that is listed is the likeliest: one in whose frame the address is, of a function in which others wait
//! for the lock. A server that accepts connections has a pointer to what its mutex is in as well, and never locks
//! it; who is in the same function as those that wait has passed the same call.
//!
//! That takes one more look at the stacks, and only when somebody waits for a lock. Of a program with very many
//! goroutines those that wait for the one most wanted lock are left out; with more than that, nothing is looked
//! for.

use std::num::NonZeroU64;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::go_names::{is_runtime, package};
use crate::model::wait::{HolderEvidence, LikelyHolder, ObjectState};
use crate::model::{Goroutine, StackId, StrId, SymbolPool, WaitObject, WaitObjectId, Waits};
use crate::process::{MemRange, ReadError};
use crate::runtime::GoProcess;
use crate::runtime::frontier::{Budget, Frontier};

/// Most stacks that are searched.
const MAX_STACKS: usize = 200_000;
/// Most bytes of each, from its stack pointer on.
const MAX_STACK: u64 = 64 << 10;
/// Most bytes of all together.
const MAX_BYTES: u64 = 1 << 30;

/// What was found on stacks, for captures that keep some of them: what is kept need not be searched again.
#[derive(Debug, Default)]
pub(super) struct Searches {
    /// Addresses of the locks that were searched for.
    locks: FxHashSet<u64>,
    /// By address of the g, when the stack was read that was searched, ns by `nanotime`.
    read_ns: FxHashMap<u64, u64>,
    /// By address of the g, where on its stack which lock's address is, in bytes from its stack pointer.
    hits: FxHashMap<u64, Vec<(u64, u64)>>,
}

impl Searches {
    /// Searches for these locks from now on; what was found before counts if they were all among those.
    fn begin(&mut self, locks: &FxHashMap<u64, WaitObjectId>) {
        if !locks.keys().all(|lock| self.locks.contains(lock)) {
            *self = Self { locks: locks.keys().copied().collect(), ..Self::default() };
        }
    }

    /// Whether the stack of `goroutine` was searched as it is: it is kept since.
    fn has(&self, goroutine: &Goroutine) -> bool {
        goroutine.stack_since_ns.is_some_and(|since| self.read_ns.get(&goroutine.addr.0) == Some(&since.get()))
    }

    /// Forgets what was found on stacks that are others now.
    fn forget_others(&mut self, goroutines: &[&Goroutine]) {
        for goroutine in goroutines {
            if !self.has(goroutine) {
                self.read_ns.remove(&goroutine.addr.0);
                self.hits.remove(&goroutine.addr.0);
            }
        }
    }

    /// What the words of a stack show, which was read at `read_ns`.
    fn add(&mut self, goroutine: &Goroutine, read_ns: u64, hits: Vec<(u64, u64)>) {
        self.read_ns.insert(goroutine.addr.0, read_ns);
        if hits.is_empty() {
            self.hits.remove(&goroutine.addr.0);
        } else {
            self.hits.insert(goroutine.addr.0, hits);
        }
    }

    /// Where on the stack of `goroutine` which lock's address is.
    fn hits(&self, goroutine: &Goroutine) -> &[(u64, u64)] {
        self.hits.get(&goroutine.addr.0).map_or(&[], Vec::as_slice)
    }
}

/// Gives locks that are waited for those who probably hold them. `now_ns` is when the capture began, by `nanotime`.
pub(super) fn find(
    process: GoProcess<'_>,
    pool: &SymbolPool,
    goroutines: &[Goroutine],
    waits: &mut Waits,
    (searches, now_ns): (&mut Searches, u64),
) -> Result<(), ReadError> {
    let is_lock = |object: &WaitObject| matches!(object.state, ObjectState::Mutex(_) | ObjectState::RwMutex(_));
    let wanted = || waits.objects().filter(|(_, object)| is_lock(object) && object.goroutines > 0);
    let Some((most, _)) = wanted().max_by_key(|(_, object)| object.goroutines) else { return Ok(()) };
    let Some(searched) = searched(goroutines, waits, most) else { return Ok(()) };
    let locks: FxHashMap<u64, WaitObjectId> = wanted().map(|(id, object)| (object.addr.0, id)).collect();
    searches.begin(&locks);
    searches.forget_others(&searched);
    let (low, high) = searches.locks.iter().fold((u64::MAX, 0), |(low, high), &at| (low.min(at), high.max(at)));
    let mut stacks: Vec<(MemRange, &Goroutine)> =
        searched.iter().filter(|goroutine| !searches.has(goroutine)).filter_map(|goroutine| stack(goroutine)).collect();
    stacks.sort_unstable_by_key(|(range, _)| *range);
    let mut rest = stacks.as_slice();
    let mut frontier = Frontier::new(process.target, Budget { objects: MAX_STACKS, bytes: MAX_BYTES, depth: 0 });
    frontier.ranges(stacks.iter().map(|(range, _)| *range), |range, bytes| {
        while let Some(((of, goroutine), after)) = rest.split_first().filter(|((of, _), _)| *of <= range) {
            rest = after;
            if *of != range {
                continue;
            }
            let words = (0_u64..).zip(bytes.chunks_exact(8).filter_map(|word| word.u64_at(0)));
            let words = words.filter(|(_, word)| (low..=high).contains(word) && searches.locks.contains(word));
            let hits = words.map(|(n, word)| (8 * n, word)).collect();
            searches.add(goroutine, goroutine.stack_since_ns.map_or(now_ns, NonZeroU64::get), hits);
        }
    })?;
    if frontier.is_cut() {
        *searches = Searches::default();
        return Ok(());
    }
    let mut holders: FxHashMap<WaitObjectId, Vec<(bool, LikelyHolder)>> = FxHashMap::default();
    let lockers = lockers(pool, goroutines, waits);
    for goroutine in searched {
        let hits = searches.hits(goroutine);
        if hits.is_empty() || stack(goroutine).is_none() {
            continue;
        }
        let own = waits.get_lock(goroutine);
        for (offset, lock) in hits {
            let Some(&lock) = locks.get(lock).filter(|&&lock| Some(lock) != own) else { continue };
            let Some(function) = function(pool, goroutine, *offset) else { continue };
            let at = Addr(goroutine.sp.0.wrapping_add(*offset));
            let evidence = HolderEvidence::OnStack { at, function: Some(function) };
            let found = LikelyHolder { goroutine: goroutine.id, evidence };
            add(holders.entry(lock).or_default(), (lockers.contains(&(lock, function)), found));
        }
    }
    for lock in locks.into_values() {
        let of_lock = likeliest_first(holders.remove(&lock).unwrap_or_default());
        if let Some(object) = waits.object_mut(lock) {
            object.likely_holders = Some(of_lock);
        }
    }
    Ok(())
}

/// Adds who may hold a lock, with whether it is in a function that locks it: once each, and not more than are kept.
/// Better evidence takes the place of other.
fn add(of_lock: &mut Vec<(bool, LikelyHolder)>, found: (bool, LikelyHolder)) {
    let (locks, holder) = found;
    if let Some(known) = of_lock.iter_mut().find(|(_, known)| known.goroutine == holder.goroutine) {
        if locks && !known.0 {
            *known = found;
        }
    } else if of_lock.len() < WaitObject::MAX_HOLDERS {
        of_lock.push(found);
    } else if locks && let Some(worse) = of_lock.iter_mut().rfind(|(locks, _)| !locks) {
        *worse = found;
    }
}

/// Those in functions that lock it before the others, and each by their ids.
fn likeliest_first(mut of_lock: Vec<(bool, LikelyHolder)>) -> Box<[LikelyHolder]> {
    of_lock.sort_unstable_by_key(|(locks, holder)| (!locks, *holder));
    of_lock.into_iter().map(|(_, holder)| holder).collect()
}

/// The functions in which goroutines wait for locks: those that call package sync.
fn lockers(pool: &SymbolPool, goroutines: &[Goroutine], waits: &Waits) -> FxHashSet<(WaitObjectId, StrId)> {
    let waiting =
        goroutines.iter().filter_map(|goroutine| Some((waits.get_lock(goroutine)?, goroutine.stack.known()?)));
    let stacks: FxHashSet<(WaitObjectId, StackId)> = waiting.collect();
    let caller = |(lock, stack): (WaitObjectId, StackId)| {
        let frames = pool.stack(stack)?.frames.iter().filter_map(|frame| pool.frame(frame.frame));
        let of_user = frames.map(|frame| (frame.function, pool.str(frame.function), pool.str(frame.file)));
        let mut of_user =
            of_user.filter(|(_, name, file)| !is_runtime(name, file) && package(name).as_deref() != Some("sync"));
        of_user.next().map(|(function, ..)| (lock, function))
    };
    stacks.into_iter().filter_map(caller).collect()
}

/// The function in whose frame the byte at `offset` of a goroutine's stack is. `None` in the runtime's own: its
/// functions hold no locks of package sync, and leave words of earlier calls in their large frames.
fn function(pool: &SymbolPool, goroutine: &Goroutine, offset: u64) -> Option<StrId> {
    let frames = &pool.stack(goroutine.stack.known()?)?.frames;
    // Of those that were inlined into each other the outermost.
    let last = frames.partition_point(|frame| frame.sp_offset <= offset).checked_sub(1)?;
    let frame = pool.frame(frames.get(last).filter(|frame| offset < frame.fp_offset)?.frame)?;
    (!is_runtime(pool.str(frame.function), pool.str(frame.file))).then_some(frame.function)
}

/// The used part of a goroutine's stack, where that is known.
fn stack(goroutine: &Goroutine) -> Option<(MemRange, &Goroutine)> {
    let used = goroutine.stack_used().filter(|_| goroutine.stack.known().is_some())?.min(MAX_STACK);
    Some((MemRange { start: goroutine.sp, len: usize::try_from(used & !7).ok()? }, goroutine))
}

/// The goroutines whose stacks are to be searched, with `most` the lock that most wait for; `None` where they are
/// too many.
fn searched<'g>(goroutines: &'g [Goroutine], waits: &Waits, most: WaitObjectId) -> Option<Vec<&'g Goroutine>> {
    if goroutines.len() <= MAX_STACKS {
        return Some(goroutines.iter().collect());
    }
    let waiting = waits.object(most).map_or(0, |object| object.goroutines);
    let left = goroutines.len().saturating_sub(waiting as usize);
    let others = || goroutines.iter().filter(|goroutine| waits.get_lock(goroutine) != Some(most));
    (left <= MAX_STACKS).then(|| others().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Goid;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder};

    fn found(locks: bool, goroutine: u64, at: u64) -> (bool, LikelyHolder) {
        let evidence = HolderEvidence::OnStack { at: Addr(at), function: None };
        (locks, LikelyHolder { goroutine: Goid(goroutine), evidence })
    }

    /// The order that stacks lie in is by address, and says nothing.
    #[test]
    fn who_is_in_a_function_that_locks_comes_first() {
        let mut of_lock = Vec::new();
        // The listener of a server has the address too, and a lower id.
        for one in [found(false, 1, 0x10), found(true, 30, 0x20), found(false, 40, 0x30), found(true, 20, 0x40)] {
            add(&mut of_lock, one);
        }
        let ids =
            |of_lock: Vec<_>| likeliest_first(of_lock).iter().map(|holder| holder.goroutine.0).collect::<Vec<_>>();
        assert_eq!(ids(of_lock.clone()), [20, 30, 1, 40]);
        // The same goroutine counts once, by its best evidence.
        add(&mut of_lock, found(true, 40, 0x38));
        add(&mut of_lock, found(false, 40, 0x39));
        assert_eq!(ids(of_lock), [20, 30, 40, 1]);
    }

    /// A stack is searched once for as long as it is kept, and again when it was read again, or for other locks.
    #[test]
    fn what_is_kept_is_searched_once() {
        let mut builder = SnapshotBuilder::new();
        for id in 1..=3 {
            builder.add(&GoroutineSpec { id, ..Default::default() });
        }
        let mut goroutines = builder.build().goroutines;
        let locks = |addrs: &[u64]| addrs.iter().map(|&at| (at, WaitObjectId::of_index(0))).collect();
        let mut searches = Searches::default();
        searches.begin(&locks(&[0x10, 0x20]));
        for (goroutine, hits) in goroutines.iter().zip([vec![(8, 0x10)], vec![], vec![(16, 0x20)]]) {
            assert!(!searches.has(goroutine));
            searches.add(goroutine, 100, hits);
        }
        // The next capture: the first was read again, the second and the third are kept, of another reading the third.
        goroutines[1].stack_since_ns = NonZeroU64::new(100);
        goroutines[2].stack_since_ns = NonZeroU64::new(99);
        searches.begin(&locks(&[0x20]));
        let all: Vec<&Goroutine> = goroutines.iter().collect();
        searches.forget_others(&all);
        let seen = all.iter().map(|goroutine| (searches.has(goroutine), searches.hits(goroutine).len()));
        assert_eq!(seen.collect::<Vec<_>>(), [(false, 0), (true, 0), (false, 0)]);
        goroutines[0].stack_since_ns = NonZeroU64::new(200);
        searches.add(&goroutines[0], 200, vec![(8, 0x10)]);
        assert_eq!((searches.has(&goroutines[0]), searches.hits(&goroutines[0])), (true, [(8, 0x10)].as_slice()));
        // A lock that was not searched for.
        searches.begin(&locks(&[0x10, 0x30]));
        assert!(!searches.has(&goroutines[0]) && !searches.has(&goroutines[1]));
    }

    #[test]
    fn those_that_are_kept_are_the_likeliest() {
        let mut of_lock = Vec::new();
        let most = WaitObject::MAX_HOLDERS as u64;
        (0..2 * most).for_each(|n| add(&mut of_lock, found(false, n, n)));
        assert_eq!(of_lock.len() as u64, most);
        (0..2 * most).for_each(|n| add(&mut of_lock, found(true, 1_000 + n, n)));
        let kept = likeliest_first(of_lock);
        assert_eq!(kept.len() as u64, most);
        assert!(kept.iter().all(|holder| holder.goroutine.0 >= 1_000), "{kept:?}");
    }
}
