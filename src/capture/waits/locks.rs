//! Goroutines that wait at locks, and at what is built like them.

use rustc_hash::{FxHashMap, FxHashSet};

use super::class::Class;
use super::{Following, WaitMemory};
use crate::addr::Addr;
use crate::model::wait::{LockOperation, WaitUnknown};
use crate::model::{Wait, WaitKind, WaitObject, WaitObjectId};
use crate::process::{ReadError, Target, TargetExt as _, unlogged};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::sudog::{Sudog, SudogLayout};
use crate::runtime::mirror::sync_types::SyncLayout;
use crate::runtime::readers::waits::locks::{LockKind, Place, read_locks};
use crate::runtime::readers::waits::parked::{List, Listed, Parked, Semaphore};

/// Most sudogs of one `sync.Cond` that are followed, and of all together.
const MAX_FOLLOWED: (usize, usize) = (64, 4096);

/// What a kind of lock is called.
pub(super) fn kind(kind: LockKind) -> WaitKind {
    match kind {
        LockKind::Mutex => WaitKind::Mutex,
        LockKind::RwMutex => WaitKind::RwMutex,
        LockKind::WaitGroup => WaitKind::WaitGroup,
        LockKind::Cond => WaitKind::Cond,
        LockKind::Semaphore => WaitKind::Semaphore,
    }
}

/// A goroutine at a lock.
#[derive(Clone, Copy)]
struct AtLock {
    base: u64,
    kind: LockKind,
    waiter: u32,
    operation: LockOperation,
}

impl Following<'_> {
    pub(super) fn locks(&mut self, memory: &mut WaitMemory) -> Result<(), ReadError> {
        let is_lock = |class| matches!(class, Class::Semaphore(_) | Class::Cond);
        let layout = &self.process.runtime.layout;
        let Some((sudog, sync)) = layout.sudog.as_ref().zip(layout.sync.as_ref()) else {
            self.give_up(is_lock, WaitUnknown::NoLayout);
            return Ok(());
        };
        let names_list = self.process.rules().names_what_is_waited_for();
        let semaphores = |class| matches!(class, Class::Semaphore(_)) || (names_list && class == Class::Cond);
        let found =
            self.find(&Semaphore(sudog), self.parked(semaphores), &mut memory.seeds.words.semaphore, |_, _| Ok(true))?;
        let mut at_locks: Vec<AtLock> = Vec::with_capacity(found.len());
        for (waiter, semaphore) in found {
            let place = match self.class(waiter as usize) {
                Class::Cond => Place::Cond,
                _ => self.place(waiter, memory),
            };
            at_locks.extend(at_lock(place, sync, semaphore, waiter));
        }
        if let Some(list) = layout.notify_list.as_ref().filter(|_| !names_list) {
            let is_cond = |class| class == Class::Cond;
            let wanted = List { layout: list, in_cond: sync.cond_notify };
            let mut lists = Lists::new(self.process.target, sudog, self.parked(is_cond));
            let words = &mut memory.seeds.words.list;
            let found = self.find(&wanted, self.parked(is_cond), words, |one, list| lists.has(list, one.g))?;
            at_locks.extend(found.iter().filter_map(|(waiter, list)| at_lock(Place::Cond, sync, list.addr, *waiter)));
        }
        self.read_locks(sync, at_locks)
    }

    /// Which semaphore a goroutine waits for, by its stack.
    fn place(&self, waiter: u32, memory: &WaitMemory) -> Place {
        let stack = self.goroutine(waiter as usize).and_then(|goroutine| goroutine.stack.known());
        stack.and_then(|stack| memory.facts.get(&stack)).map_or(Place::Semaphore, |facts| facts.place)
    }

    fn read_locks(&mut self, sync: &SyncLayout, mut at_locks: Vec<AtLock>) -> Result<(), ReadError> {
        // In the order in which they are read.
        at_locks.sort_unstable_by_key(|one| (one.kind, one.base, one.waiter));
        let same = |a: &AtLock, b: &AtLock| a.base == b.base && a.kind == b.kind;
        let distinct = at_locks.chunk_by(same).filter_map(|of_one| of_one.first());
        let wanted: Vec<(Addr, LockKind)> = distinct.map(|one| (Addr(one.base), one.kind)).collect();
        let (list, minor) = (self.process.runtime.layout.notify_list.as_ref(), self.process.rules().minor());
        let mut found: Vec<(LockKind, u64, WaitObjectId)> = Vec::new();
        read_locks(&mut self.frontier(), (sync, list), minor, &wanted, |addr, kind, state| {
            found.extend(state.map(|state| (kind, addr.0, self.add(WaitObject::new(addr, state)))));
        })?;
        drop(wanted);
        let mut found = found.into_iter().peekable();
        for of_one in at_locks.chunk_by_mut(|a, b| same(a, b)) {
            let Some(first) = of_one.first().copied() else { continue };
            let read = found.next_if(|(kind, base, _)| (*kind, *base) == (first.kind, first.base));
            let Some((.., object)) = read else {
                of_one.iter().for_each(|one| self.fail(one.waiter as usize, WaitUnknown::Unreadable));
                continue;
            };
            if let Some(object) = self.objects.get_mut(object.index()) {
                object.goroutines = super::number(of_one.len());
            }
            of_one.sort_unstable_by_key(|one| one.operation);
            for alike in of_one.chunk_by(|a, b| a.operation == b.operation) {
                let Some(&AtLock { operation, .. }) = alike.first() else { continue };
                let wait = self.add_wait(Wait::Lock { object, operation });
                alike.iter().for_each(|one| self.answer(one.waiter as usize, wait));
            }
        }
        Ok(())
    }
}

/// Lists of `sync.Cond`s that were looked through.
struct Lists<'a> {
    target: &'a dyn Target,
    layout: &'a SudogLayout,
    /// The goroutines that wait on some list.
    waiting: FxHashSet<u64>,
    known: FxHashMap<u64, Members>,
    /// How many sudogs may still be read.
    left: usize,
    /// Those that were read for the latest list.
    followed: Vec<u64>,
}

/// Who is on a list.
enum Members {
    /// All of them.
    Whole(FxHashSet<u64>),
    /// It goes on after as many as are followed, all of which were right.
    Long,
}

impl<'a> Lists<'a> {
    fn new(target: &'a dyn Target, layout: &'a SudogLayout, parked: impl Iterator<Item = Parked>) -> Self {
        let waiting = parked.map(|one| one.g).collect();
        Self { target, layout, waiting, known: FxHashMap::default(), left: MAX_FOLLOWED.1, followed: Vec::new() }
    }

    /// Whether a goroutine is on what seems to be a list. Of a long one only the beginning is looked at.
    fn has(&mut self, list: &Listed, g: u64) -> Result<bool, ReadError> {
        if !self.known.contains_key(&list.addr) {
            self.followed.clear();
            let members = self.follow(list)?;
            if members.is_some() && self.target.recorder().is_some() {
                // What proves it belongs into a recording, and what was no list does not.
                for sudog in &self.followed {
                    let _ = self.target.read_vec(Addr(*sudog), self.layout.size as usize)?;
                }
            }
            self.known.insert(list.addr, members.unwrap_or_else(|| Members::Whole(FxHashSet::default())));
        }
        Ok(match self.known.get(&list.addr) {
            Some(Members::Whole(members)) => members.contains(&g),
            Some(Members::Long) => true,
            None => false,
        })
    }

    /// Follows a list; `None` where it is none: another number of goroutines is on it, or others than those
    /// that wait on some list.
    fn follow(&mut self, list: &Listed) -> Result<Option<Members>, ReadError> {
        /// Goroutines that may have come since the others were read.
        const NEW: usize = 64;
        if list.waiters as usize > self.waiting.len().saturating_add(NEW)
            || self.sudog(list.tail)?.is_none_or(|tail| tail.next != 0)
        {
            return Ok(None);
        }
        let (mut at, mut last, mut members) = (list.head, 0, FxHashSet::default());
        while at != 0 {
            if members.len() >= MAX_FOLLOWED.0 {
                return Ok((list.waiters as usize > members.len()).then_some(Members::Long));
            }
            let Some(sudog) = self.sudog(at)? else { return Ok(None) };
            if !members.insert(sudog.g) {
                return Ok(None);
            }
            (last, at) = (at, sudog.next);
        }
        let is_whole = last == list.tail && members.len() == list.waiters as usize;
        Ok(is_whole.then_some(Members::Whole(members)))
    }

    /// The sudog at `at`, where it is one of a goroutine that waits on some list.
    fn sudog(&mut self, at: u64) -> Result<Option<Sudog>, ReadError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.followed.push(at);
        let bytes = unlogged(self.target).read_vec(Addr(at), self.layout.size as usize)?;
        let sudog = bytes.and_then(|bytes| Sudog::parse(Addr(at), &bytes, self.layout));
        let sudog = sudog.filter(|sudog| sudog.channel == 0 && !sudog.is_select);
        Ok(sudog.filter(|sudog| self.waiting.contains(&sudog.g)))
    }
}

fn at_lock(place: Place, sync: &SyncLayout, semaphore: u64, waiter: u32) -> Option<AtLock> {
    let base = place.base(sync, semaphore)?;
    Some(AtLock { base, kind: place.kind(), waiter, operation: place.operation() })
}
