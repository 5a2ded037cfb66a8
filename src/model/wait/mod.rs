//! What goroutines wait for, by the program's memory.
//!
//! A goroutine has the number of its [`Wait`], which others may have too, and a wait the numbers of the objects
//! that it is on: a channel from which ten thousand goroutines receive is one object and one wait. What is an object's own, such as the length of a channel, is
//! of the moment when the object was read, which may be a little later than when the goroutine was.
//!
//! Nothing here is a guess, but for [`LikelyHolder`]: Go's locks do not record who holds them.

mod descriptor;
mod object;
mod words;

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

pub use self::descriptor::DescriptorDetails;
pub use self::object::{
    Channel, ChannelTimer, HolderEvidence, LikelyHolder, MutexState, ObjectState, RwMutexState, WaitObject,
};
pub use self::words::{Direction, LockOperation, TimerSource, WaitKind, WaitUnknown};
use super::{Goid, Goroutine, Shared};

/// Number of a [`Wait`] in its snapshot's [`Waits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(NonZeroU32);

impl WaitId {
    /// The number of the wait at `index` of those that [`Waits::new`] is given.
    #[must_use]
    pub fn of_index(index: usize) -> Self {
        Self(last(index.saturating_add(1)))
    }

    /// That index.
    #[must_use]
    pub fn index(self) -> usize {
        at(self.0)
    }
}

/// Number of a [`WaitObject`] in its snapshot's [`Waits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WaitObjectId(NonZeroU32);

impl WaitObjectId {
    /// The number of the object at `index` of those that [`Waits::new`] is given.
    #[must_use]
    pub fn of_index(index: usize) -> Self {
        Self(last(index.saturating_add(1)))
    }

    /// That index.
    #[must_use]
    pub fn index(self) -> usize {
        at(self.0)
    }
}

/// One case of a `select` statement, or its place in a channel's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SelectCase {
    /// The channel.
    pub channel: WaitObjectId,
    /// The operation.
    pub direction: Direction,
}

/// What one goroutine waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Wait {
    /// One channel.
    Channel {
        /// The channel; `None` for a nil one, which blocks forever.
        channel: Option<WaitObjectId>,
        /// The operation.
        direction: Direction,
    },
    /// Any of several channels.
    Select {
        /// The cases in the order in which the runtime tries to lock their channels, which is by address. Cases
        /// with nil channels are not among them, so that there are none where it blocks forever.
        cases: Box<[SelectCase]>,
    },
    /// A lock, or what is built like one.
    Lock {
        /// A mutex, an `RWMutex`, a `WaitGroup`, a `Cond` or a semaphore.
        object: WaitObjectId,
        /// The operation.
        operation: LockOperation,
    },
    /// A descriptor.
    Poll {
        /// What is polled.
        object: WaitObjectId,
        /// Whether it is to be read or written.
        direction: Direction,
        /// When it gives up, ns by `nanotime`; `None` where no deadline was set.
        deadline_ns: Option<u64>,
    },
    /// A system call.
    Syscall,
    /// C code.
    C,
    /// A time.
    Sleep {
        /// The time, ns by `nanotime`; of a goroutine in a synctest bubble, by the bubble's clock.
        until_ns: u64,
        /// That clock's time, ns; `None` outside of bubbles, and where it is not known.
        bubble_now_ns: Option<u64>,
    },
    /// Another coroutine.
    Coroutine {
        /// The goroutine that it has switched to; `None` where that is not known.
        partner: Option<Goid>,
    },
    /// Something of the runtime's own.
    Runtime,
    /// It is not known.
    Unknown {
        /// The kind, by its wait reason and its stack.
        kind: WaitKind,
        /// Why not.
        why: WaitUnknown,
    },
}

/// What the goroutines of a snapshot wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    waits: Shared<Wait>,
    objects: Shared<WaitObject>,
}

/// The number of the last of `len` things.
fn last(len: usize) -> NonZeroU32 {
    // More than 2³² do not fit in memory; the last number would be shared.
    u32::try_from(len).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
}

fn at(number: NonZeroU32) -> usize {
    usize::try_from(number.get() - 1).unwrap_or(usize::MAX)
}

impl Waits {
    /// Those that are given, by their numbers.
    #[must_use]
    pub fn new(waits: Vec<Wait>, objects: Vec<WaitObject>) -> Self {
        Self { waits: waits.into(), objects: objects.into() }
    }

    /// Adds what a goroutine waits for.
    pub fn add(&mut self, wait: Wait) -> WaitId {
        self.waits.push(wait);
        WaitId(last(self.waits.len()))
    }

    /// Adds an object, which must not be there yet.
    pub fn add_object(&mut self, object: WaitObject) -> WaitObjectId {
        self.objects.push(object);
        WaitObjectId(last(self.objects.len()))
    }

    /// What a goroutine waits for.
    #[must_use]
    pub fn get(&self, id: WaitId) -> Option<&Wait> {
        self.waits.get(at(id.0))
    }

    /// The lock, or what is built like one, that `goroutine` waits for.
    #[must_use]
    pub fn get_lock(&self, goroutine: &Goroutine) -> Option<WaitObjectId> {
        match self.get(goroutine.waiting_on?)? {
            Wait::Lock { object, .. } => Some(*object),
            _ => None,
        }
    }

    /// An object.
    #[must_use]
    pub fn object(&self, id: WaitObjectId) -> Option<&WaitObject> {
        self.objects.get(at(id.0))
    }

    /// An object, to add to it.
    pub fn object_mut(&mut self, id: WaitObjectId) -> Option<&mut WaitObject> {
        self.objects.get_mut(at(id.0))
    }

    /// Every wait, by the number that goroutines have.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (WaitId, &Wait)> {
        self.waits.iter().enumerate().map(|(index, wait)| (WaitId::of_index(index), wait))
    }

    /// All objects.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = (WaitObjectId, &WaitObject)> {
        self.objects.iter().enumerate().map(|(index, object)| (WaitObjectId::of_index(index), object))
    }

    /// All objects, to add to them.
    pub(crate) fn objects_mut(&mut self) -> &mut [WaitObject] {
        &mut self.objects
    }

    /// How many different waits there are; goroutines that wait alike may share one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waits.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    /// What `wait` is called.
    #[must_use]
    pub fn kind(&self, wait: &Wait) -> WaitKind {
        let of = |object: &WaitObjectId| self.object(*object).map_or(WaitKind::Runtime, WaitObject::kind);
        match wait {
            Wait::Channel { .. } => WaitKind::Channel,
            Wait::Select { .. } => WaitKind::Select,
            Wait::Lock { object, .. } | Wait::Poll { object, .. } => of(object),
            Wait::Syscall => WaitKind::Syscall,
            Wait::C => WaitKind::C,
            Wait::Sleep { .. } => WaitKind::Sleep,
            Wait::Coroutine { .. } => WaitKind::Coroutine,
            Wait::Runtime => WaitKind::Runtime,
            Wait::Unknown { kind, .. } => *kind,
        }
    }

    /// The objects that `wait` is on, in its order; an object is there once for each case of a `select`.
    pub fn objects_of<'w>(&'w self, wait: &'w Wait) -> impl Iterator<Item = (WaitObjectId, &'w WaitObject)> {
        let (one, cases): (Option<WaitObjectId>, &[SelectCase]) = match wait {
            Wait::Channel { channel, .. } => (*channel, &[]),
            Wait::Select { cases } => (None, cases),
            Wait::Lock { object, .. } | Wait::Poll { object, .. } => (Some(*object), &[]),
            _ => (None, &[]),
        };
        let ids = one.into_iter().chain(cases.iter().map(|case| case.channel));
        ids.filter_map(|id| Some((id, self.object(id)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;

    #[test]
    fn one_object_serves_many_waits() {
        let mut waits = Waits::default();
        let channel = WaitObject::new(Addr(0x1000), ObjectState::Channel(Channel::default()));
        let channel = waits.add_object(channel);
        let mutex = waits.add_object(WaitObject::new(Addr(0x2000), ObjectState::Mutex(MutexState::default())));
        let receive = Wait::Channel { channel: Some(channel), direction: Direction::Receive };
        let cases = [Direction::Send, Direction::Receive].map(|direction| SelectCase { channel, direction });
        let ids = [
            receive.clone(),
            receive,
            Wait::Select { cases: cases.into() },
            Wait::Lock { object: mutex, operation: LockOperation::Lock },
            Wait::Channel { channel: None, direction: Direction::Send },
            Wait::Unknown { kind: WaitKind::Sleep, why: WaitUnknown::Moved },
        ]
        .map(|wait| waits.add(wait));
        let kinds = ids.map(|id| waits.kind(waits.get(id).unwrap()));
        use WaitKind as K;
        assert_eq!(kinds, [K::Channel, K::Channel, K::Select, K::Mutex, K::Channel, K::Sleep]);
        let on = |id: WaitId| waits.objects_of(waits.get(id).unwrap()).map(|(_, object)| object.addr.0);
        let on = ids.map(|id| on(id).collect::<Vec<_>>());
        assert_eq!(on, [vec![0x1000], vec![0x1000], vec![0x1000; 2], vec![0x2000], vec![], vec![]]);
        assert_eq!((waits.len(), waits.objects().len()), (6, 2));
        assert_eq!(waits.objects().map(|(id, _)| id).collect::<Vec<_>>(), [channel, mutex]);
    }
}
