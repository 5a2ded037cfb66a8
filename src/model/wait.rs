//! What goroutines wait for, by the program's memory.
//!
//! A goroutine has the number of its [`Wait`], and a wait the numbers of the objects that it is on: a channel on
//! which ten thousand goroutines wait is one object. What is an object's own, such as the length of a channel, is
//! of the moment when the object was read, which may be a little later than when the goroutine was.
//!
//! Nothing here is a guess, but for [`LikelyHolder`]: Go's locks do not record who holds them.

use std::num::NonZeroU32;

use super::{Goid, Goroutine, StrId};
use crate::addr::Addr;

/// What a goroutine waits for, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WaitKind {
    /// An operation on one channel.
    Channel,
    /// A `select` statement.
    Select,
    /// `sync.Mutex`.
    Mutex,
    /// `sync.RWMutex`.
    RwMutex,
    /// `sync.WaitGroup`.
    WaitGroup,
    /// `sync.Cond`.
    Cond,
    /// A semaphore of the runtime that is none of these.
    Semaphore,
    /// A network connection or listener.
    Network,
    /// A file that can be polled: a pipe, a terminal, a device.
    File,
    /// A system call.
    Syscall,
    /// C code.
    C,
    /// `time.Sleep`.
    Sleep,
    /// Another coroutine (`iter.Pull`).
    Coroutine,
    /// Something of the runtime's own, which the wait reason names.
    Runtime,
}

impl WaitKind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Channel,
        Self::Select,
        Self::Mutex,
        Self::RwMutex,
        Self::WaitGroup,
        Self::Cond,
        Self::Semaphore,
        Self::Network,
        Self::File,
        Self::Syscall,
        Self::C,
        Self::Sleep,
        Self::Coroutine,
        Self::Runtime,
    ];

    /// The word that scripts see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Select => "select",
            Self::Mutex => "mutex",
            Self::RwMutex => "rwmutex",
            Self::WaitGroup => "waitgroup",
            Self::Cond => "cond",
            Self::Semaphore => "semaphore",
            Self::Network => "network",
            Self::File => "file",
            Self::Syscall => "syscall",
            Self::C => "c",
            Self::Sleep => "sleep",
            Self::Coroutine => "coroutine",
            Self::Runtime => "runtime",
        }
    }
}

/// Number of a [`Wait`] in its snapshot's [`Waits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(NonZeroU32);

impl WaitId {
    /// The number of the wait at `index` of those that [`Waits::new`] is given.
    #[must_use]
    pub fn of_index(index: usize) -> Self {
        Self(last(index.saturating_add(1)))
    }
}

/// Number of a [`WaitObject`] in its snapshot's [`Waits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Which way data are to go, seen from the goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To a channel, or to a descriptor.
    Send,
    /// From one.
    Receive,
}

impl Direction {
    /// The word that scripts see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
        }
    }
}

/// One case of a `select` statement, or its place in a channel's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SelectCase {
    /// The channel.
    pub channel: WaitObjectId,
    /// The operation.
    pub direction: Direction,
}

/// What is waited for at a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockOperation {
    /// `Lock` of a mutex, or of an `RWMutex` that another writer has or waits for.
    Lock,
    /// `RLock`.
    ReadLock,
    /// `Lock` of an `RWMutex` that readers still hold.
    WaitForReaders,
    /// `Wait` of a `WaitGroup` or a `Cond`.
    Wait,
    /// A semaphore.
    Acquire,
}

impl LockOperation {
    /// All operations.
    pub const ALL: [Self; 5] = [Self::Lock, Self::ReadLock, Self::WaitForReaders, Self::Wait, Self::Acquire];

    /// The word that scripts see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::ReadLock => "read_lock",
            Self::WaitForReaders => "wait_for_readers",
            Self::Wait => "wait",
            Self::Acquire => "acquire",
        }
    }
}

/// Why it is not known what a goroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WaitUnknown {
    /// The goroutine went on, or the object changed, while it was read.
    Moved,
    /// The memory that would show it contradicts itself.
    Malformed,
    /// That memory could not be read.
    Unreadable,
    /// Nothing in the goroutine's frames leads to it.
    NotFound,
    /// This version's layout is not known.
    NoLayout,
    /// A limit was reached before.
    Limit,
}

impl WaitUnknown {
    /// All reasons.
    pub const ALL: [Self; 6] =
        [Self::Moved, Self::Malformed, Self::Unreadable, Self::NotFound, Self::NoLayout, Self::Limit];

    /// The word that scripts see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Malformed => "malformed",
            Self::Unreadable => "unreadable",
            Self::NotFound => "not_found",
            Self::NoLayout => "no_layout",
            Self::Limit => "limit",
        }
    }
}

/// What one goroutine waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

/// The state of a `sync.Mutex` (internal/sync/mutex.go, sync/mutex.go).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MutexState {
    /// Whether it is locked.
    pub locked: bool,
    /// Whether it is handed over directly, since a goroutine has waited for more than 1 ms.
    pub starving: bool,
    /// How many wait, as it counts itself.
    pub waiters: u32,
}

/// The state of a `sync.RWMutex` (sync/rwmutex.go).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RwMutexState {
    /// The mutex that writers take first.
    pub writers: MutexState,
    /// Whether a writer holds it, or waits for readers.
    pub writer_pending: bool,
    /// How many readers hold it.
    pub readers: u32,
    /// How many readers wait for the writer.
    pub waiting_readers: u32,
}

/// A timer that sends to a channel, or closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelTimer {
    /// When it is due, ns by `nanotime`.
    pub deadline_ns: u64,
    /// The interval of a ticker, ns; 0 for a timer that fires once.
    pub period_ns: u64,
    /// Whose timer it is.
    pub source: TimerSource,
}

/// Whose timer it is that wakes the receivers of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerSource {
    /// `time.After`, `time.NewTimer`, `time.NewTicker`.
    Time,
    /// `context.WithTimeout` and `context.WithDeadline`.
    Context,
}

impl TimerSource {
    /// The word that scripts see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Context => "context",
        }
    }
}

/// A channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Elements in its buffer.
    pub length: u64,
    /// Room in its buffer; 0 for an unbuffered one.
    pub capacity: u64,
    /// Name of its elements' type, as the runtime prints it; `None` where it is not known.
    pub element_type: Option<StrId>,
    /// Whether it is closed.
    pub closed: bool,
    /// How many wait to send, each case of a `select` counted; `None` where the queue changed while it was read.
    pub senders: Option<u64>,
    /// How many wait to receive, likewise.
    pub receivers: Option<u64>,
    /// The timer that wakes its receivers.
    pub timer: Option<ChannelTimer>,
}

/// What the kernel knows of a descriptor, where that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescriptorDetails {
    /// What it is: `TCP`, `unix`, `pipe` and such.
    pub what: String,
    /// The state of a connection (`ESTABLISHED`).
    pub state: Option<String>,
    /// The own address of a socket.
    pub local: Option<String>,
    /// The peer's address.
    pub remote: Option<String>,
    /// Bytes that were received and not read.
    pub receive_queue: Option<u64>,
    /// Bytes that were written and not acknowledged.
    pub send_queue: Option<u64>,
    /// Path of a file.
    pub path: Option<String>,
}

/// What is known of an object, by what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// A channel.
    Channel(Channel),
    /// A `sync.Mutex`.
    Mutex(MutexState),
    /// A `sync.RWMutex`.
    RwMutex(RwMutexState),
    /// A `sync.WaitGroup`.
    WaitGroup {
        /// Its counter.
        counter: i32,
        /// How many wait, as it counts itself.
        waiters: u32,
    },
    /// A `sync.Cond`.
    Cond {
        /// How many wait, as it counts itself.
        waiters: u32,
    },
    /// A semaphore.
    Semaphore {
        /// Its value.
        value: u32,
    },
    /// A descriptor of the poller.
    Descriptor {
        /// The kernel's number of it.
        fd: u32,
        /// Whether package net waits for it, and not package os.
        network: bool,
        /// What the kernel says of it.
        details: Option<Box<DescriptorDetails>>,
    },
}

/// What speaks for a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HolderEvidence {
    /// The lock's exact address is in a frame of its stack that is not the runtime's, and it does not wait for
    /// the lock.
    OnStack {
        /// Where.
        at: Addr,
        /// Name of the function whose frame that is; `None` where it is not known.
        function: Option<StrId>,
    },
}

/// A goroutine that probably holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LikelyHolder {
    /// Its id.
    pub goroutine: Goid,
    /// What speaks for that.
    pub evidence: HolderEvidence,
}

/// What goroutines wait on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitObject {
    /// Its address: that of the channel, of the `sync` type, of the semaphore's word, or of the runtime's
    /// `pollDesc`.
    pub addr: Addr,
    /// How many goroutines of the snapshot wait on it; one that selects counts once for each of its cases.
    pub goroutines: u32,
    /// What is known of it.
    pub state: ObjectState,
    /// Who probably holds it, at most [`WaitObject::MAX_HOLDERS`]; `None` where that was not looked for.
    pub likely_holders: Option<Box<[LikelyHolder]>>,
}

impl WaitObject {
    /// Most holders that are kept of one object. More than a few say nothing.
    pub const MAX_HOLDERS: usize = 16;

    /// One of which nothing but its state is known yet.
    #[must_use]
    pub fn new(addr: Addr, state: ObjectState) -> Self {
        Self { addr, goroutines: 0, state, likely_holders: None }
    }

    /// What waiting on it is called.
    #[must_use]
    pub fn kind(&self) -> WaitKind {
        match self.state {
            ObjectState::Channel(_) => WaitKind::Channel,
            ObjectState::Mutex(_) => WaitKind::Mutex,
            ObjectState::RwMutex(_) => WaitKind::RwMutex,
            ObjectState::WaitGroup { .. } => WaitKind::WaitGroup,
            ObjectState::Cond { .. } => WaitKind::Cond,
            ObjectState::Semaphore { .. } => WaitKind::Semaphore,
            ObjectState::Descriptor { network: true, .. } => WaitKind::Network,
            ObjectState::Descriptor { network: false, .. } => WaitKind::File,
        }
    }

    /// Whether it is a lock that is held.
    #[must_use]
    pub fn locked(&self) -> Option<bool> {
        match &self.state {
            ObjectState::Mutex(mutex) => Some(mutex.locked),
            ObjectState::RwMutex(mutex) => Some(mutex.writer_pending || mutex.readers > 0 || mutex.writers.locked),
            _ => None,
        }
    }

    /// How many wait at a lock, as it counts itself, or else as they were counted.
    #[must_use]
    pub fn waiters(&self) -> Option<u64> {
        match &self.state {
            ObjectState::Mutex(mutex) => Some(mutex.waiters.into()),
            ObjectState::WaitGroup { waiters, .. } | ObjectState::Cond { waiters } => Some((*waiters).into()),
            // A writer that waits for readers is counted nowhere.
            ObjectState::RwMutex(_) | ObjectState::Semaphore { .. } => Some(self.goroutines.into()),
            ObjectState::Channel(_) | ObjectState::Descriptor { .. } => None,
        }
    }
}

/// What the goroutines of a snapshot wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    waits: Vec<Wait>,
    objects: Vec<WaitObject>,
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
        Self { waits, objects }
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

    /// Every wait, by the number that a goroutine has.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (WaitId, &Wait)> {
        self.waits.iter().enumerate().map(|(index, wait)| (WaitId::of_index(index), wait))
    }

    /// All objects.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = (WaitObjectId, &WaitObject)> {
        self.objects.iter().enumerate().map(|(index, object)| (WaitObjectId::of_index(index), object))
    }

    /// How many goroutines wait for something here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waits.len()
    }

    /// Whether none does.
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

    #[test]
    fn the_words_are_distinct() {
        let mut names: Vec<&str> = WaitKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WaitKind::ALL.len());
    }
}
