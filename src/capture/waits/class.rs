//! How a goroutine waits, by its wait reason and the functions on its stack.

use crate::model::wait::{Direction, WaitKind};
use crate::model::{StackId, SymbolPool};
use crate::runtime::readers::waits::locks::Place;
use crate::runtime::wait_reason::outside_of_bubble;

/// How a goroutine waits, as far as its header shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::capture) enum Class {
    /// It is not blocked.
    #[default]
    None,
    Channel(Direction),
    NilChannel(Direction),
    Select,
    /// `select {}`, and one whose channels are all nil.
    NoCases,
    /// A semaphore, with what it belongs to as far as the reason says.
    Semaphore(WaitKind),
    Cond,
    Poll,
    Sleep,
    Coroutine,
    Runtime,
    /// A system call, or C.
    Syscall,
}

impl Class {
    /// By the text of a wait reason (`waitReasonStrings` in runtime/runtime2.go; 1.19 to 1.27).
    pub(in crate::capture) fn of_reason(text: &str) -> Self {
        match outside_of_bubble(text) {
            "chan receive" => Self::Channel(Direction::Receive),
            "chan send" => Self::Channel(Direction::Send),
            "chan receive (nil chan)" => Self::NilChannel(Direction::Receive),
            "chan send (nil chan)" => Self::NilChannel(Direction::Send),
            "select" => Self::Select,
            "select (no cases)" => Self::NoCases,
            "semacquire" => Self::Semaphore(WaitKind::Semaphore),
            "sync.Mutex.Lock" => Self::Semaphore(WaitKind::Mutex),
            "sync.RWMutex.RLock" | "sync.RWMutex.Lock" => Self::Semaphore(WaitKind::RwMutex),
            "sync.WaitGroup.Wait" => Self::Semaphore(WaitKind::WaitGroup),
            "sync.Cond.Wait" => Self::Cond,
            "IO wait" => Self::Poll,
            "sleep" => Self::Sleep,
            "coroutine" => Self::Coroutine,
            "" => Self::None,
            _ => Self::Runtime,
        }
    }

    /// The kind of it, where nothing else is known.
    pub(in crate::capture) fn kind(self) -> WaitKind {
        match self {
            Self::Channel(_) | Self::NilChannel(_) => WaitKind::Channel,
            Self::Select | Self::NoCases => WaitKind::Select,
            Self::Semaphore(kind) => kind,
            Self::Cond => WaitKind::Cond,
            Self::Poll => WaitKind::Network,
            Self::Sleep => WaitKind::Sleep,
            Self::Coroutine => WaitKind::Coroutine,
            Self::Syscall => WaitKind::Syscall,
            Self::None | Self::Runtime => WaitKind::Runtime,
        }
    }
}

/// What the functions on a stack say of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StackFacts {
    /// Which semaphore it is, should it be one.
    pub(super) place: Place,
    /// Whether package net polls, should it poll.
    pub(super) network: bool,
    /// Whether it calls C, should it be in a system call.
    pub(super) c: bool,
}

/// Most frames that are looked at: those of the runtime and of package sync are fewer.
const MAX_FRAMES: usize = 24;

impl StackFacts {
    pub(super) fn of(pool: &SymbolPool, stack: StackId) -> Self {
        let frames = pool.stack(stack).map_or(&[][..], |stack| &stack.frames);
        let names = frames.iter().take(MAX_FRAMES).filter_map(|frame| pool.frame(frame.frame));
        Self::of_names(names.map(|frame| pool.str(frame.function)))
    }

    /// Of the functions on a stack, innermost first.
    fn of_names<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Self {
        let network = names.clone().find(|name| !is_poller(name)).is_some_and(|name| name.starts_with("net."));
        let c = names.clone().next() == Some("runtime.cgocall");
        Self { place: place(names), network, c }
    }
}

fn is_poller(name: &str) -> bool {
    name.starts_with("runtime.") || name.starts_with("internal/poll.")
}

/// Which semaphore the functions wait for (sync/mutex.go, rwmutex.go, waitgroup.go; 1.19 to 1.27).
fn place<'n>(names: impl Iterator<Item = &'n str>) -> Place {
    let mut place = Place::Semaphore;
    for name in names {
        match name {
            "sync.(*WaitGroup).Wait" => return Place::WaitGroup,
            "sync.(*RWMutex).RLock" => return Place::ReaderSem,
            "sync.(*RWMutex).Lock" if place == Place::Mutex => return Place::Writers,
            "sync.(*RWMutex).Lock" => return Place::WriterSem,
            "sync.(*Cond).Wait" => return Place::Cond,
            _ if name.starts_with("sync.(*Mutex).") || name.starts_with("internal/sync.(*Mutex).") => {
                place = Place::Mutex;
            }
            // What a semaphore's caller may be called by does not matter.
            _ if name.starts_with("runtime.") || name.contains("sync.runtime_") => {}
            _ => return place,
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(names: &[&'static str]) -> StackFacts {
        StackFacts::of_names(names.iter().copied())
    }

    #[test]
    fn locks_are_known_by_their_callers() {
        const PARKED: [&str; 3] = ["runtime.gopark", "runtime.goparkunlock", "runtime.semacquire1"];
        let place = |rest: &[&'static str]| facts(&[&PARKED[..], rest].concat()).place;
        let lock = ["sync.runtime_SemacquireMutex", "sync.(*Mutex).lockSlow", "sync.(*Mutex).Lock"];
        assert_eq!(place(&[&lock[..], &["main.f"]].concat()), Place::Mutex);
        assert_eq!(place(&[&lock[..], &["sync.(*RWMutex).Lock", "main.f"]].concat()), Place::Writers);
        let new = ["internal/sync.runtime_SemacquireMutex", "internal/sync.(*Mutex).lockSlow"];
        assert_eq!(place(&[&new[..], &["internal/sync.(*Mutex).Lock", "sync.(*Mutex).Lock"]].concat()), Place::Mutex);
        assert_eq!(place(&["sync.runtime_SemacquireRWMutex", "sync.(*RWMutex).Lock"]), Place::WriterSem);
        assert_eq!(place(&["sync.runtime_SemacquireRWMutexR", "sync.(*RWMutex).RLock"]), Place::ReaderSem);
        assert_eq!(place(&["sync.runtime_Semacquire", "sync.(*WaitGroup).Wait", "main.f"]), Place::WaitGroup);
        // A function that was called with a lock held is no lock.
        let fd = ["internal/poll.runtime_Semacquire", "internal/poll.(*fdMutex).rwlock", "sync.(*RWMutex).Lock"];
        assert_eq!(place(&fd), Place::Semaphore);
    }

    #[test]
    fn pollers_are_known_by_their_callers() {
        let poll =
            ["runtime.gopark", "runtime.netpollblock", "internal/poll.runtime_pollWait", "internal/poll.(*FD).Read"];
        let network = |caller| facts(&[&poll[..], &[caller, "net.f"]].concat()).network;
        assert!(network("net.(*netFD).Read"));
        assert!(!network("os.(*File).Read"));
        assert!(!facts(&poll).network);
        assert!(facts(&["runtime.cgocall", "main.f"]).c && !facts(&["syscall.Syscall", "runtime.cgocall"]).c);
    }

    #[test]
    fn reasons_of_bubbles_are_the_same() {
        assert_eq!(Class::of_reason("chan receive (durable)"), Class::of_reason("chan receive"));
        assert_eq!(Class::of_reason("select (synctest)"), Class::Select);
        assert_eq!(Class::of_reason("chan receive (nil chan)"), Class::NilChannel(Direction::Receive));
        assert_eq!(Class::of_reason("GC worker (idle)"), Class::Runtime);
        assert_eq!(Class::of_reason(""), Class::None);
    }
}
