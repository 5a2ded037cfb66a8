//! The words for waits: kinds, directions, operations, and why something is not known.

use serde::{Deserialize, Serialize};

/// What a goroutine waits for, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Which way data are to go, seen from the goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// What is waited for at a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// Whose timer it is that wakes the receivers of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_distinct() {
        let mut names: Vec<&str> = WaitKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WaitKind::ALL.len());
    }
}
