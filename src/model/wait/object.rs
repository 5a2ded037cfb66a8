//! What is waited on: channels, locks and descriptors, with their state and with who probably holds them.

use serde::{Deserialize, Serialize};

use super::{DescriptorDetails, TimerSource, WaitKind};
use crate::addr::Addr;
use crate::model::{Goid, StrId};

/// The state of a `sync.Mutex` (internal/sync/mutex.go, sync/mutex.go).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MutexState {
    /// Whether it is locked.
    pub locked: bool,
    /// Whether it is handed over directly, since a goroutine has waited for more than 1 ms.
    pub starving: bool,
    /// How many wait, as it counts itself.
    pub waiters: u32,
}

/// The state of a `sync.RWMutex` (sync/rwmutex.go).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChannelTimer {
    /// When it is due, ns by `nanotime`.
    pub deadline_ns: u64,
    /// The interval of a ticker, ns; 0 for a timer that fires once.
    pub period_ns: u64,
    /// Whose timer it is.
    pub source: TimerSource,
}

/// A channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// What is known of an object, by what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LikelyHolder {
    /// Its id.
    pub goroutine: Goid,
    /// What speaks for that.
    pub evidence: HolderEvidence,
}

/// What goroutines wait on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
