//! A snapshot with the index that every analysis needs, built once.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use super::age::Age;
use super::census::{LongestWaits, WaitBound};
use super::group::{Facts, Key, Keys, Line, On, Word};
use super::place::{Ends, LazyPlaces, Place, PlaceKind, Spot};
use super::waits::{self, shared::Peers};
use crate::addr::Addr;
use crate::model::{FrameId, Goroutine, Snapshot, Stack, Status, StrId, Thread, WatchedWaits};

/// A snapshot and what is looked up in it over and over.
#[derive(Debug)]
pub struct Index<'a> {
    snapshot: &'a Snapshot,
    waits: Option<&'a WatchedWaits>,
    threads: FxHashMap<Addr, &'a Thread>,
    places: LazyPlaces,
    peers: OnceLock<Peers>,
}

impl<'a> Index<'a> {
    /// Builds the index.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let threads = snapshot.threads.iter().map(|thread| (thread.addr, thread)).collect();
        Self { snapshot, waits: None, threads, places: LazyPlaces::default(), peers: OnceLock::new() }
    }

    /// The same, with measured waits.
    #[must_use]
    pub fn with_waits(snapshot: &'a Snapshot, waits: &'a WatchedWaits) -> Self {
        Self { waits: Some(waits), ..Self::new(snapshot) }
    }

    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// The M that `goroutine` is on.
    #[must_use]
    pub fn thread(&self, goroutine: &Goroutine) -> Option<&'a Thread> {
        self.threads.get(&goroutine.m?).copied()
    }

    /// Why it waits, in the target's own words; `None` unless it waits and the table was found.
    #[must_use]
    pub fn reason(&self, goroutine: &Goroutine) -> Option<&'a str> {
        self.snapshot.wait_reason(goroutine.wait_reason?)
    }

    /// What the runtime's traceback would put in brackets: the wait reason where there is one, else
    /// the state.
    #[must_use]
    pub fn state_text(&self, goroutine: &Goroutine) -> &'a str {
        match goroutine.status {
            Status::Waiting | Status::Leaked => self.reason(goroutine).unwrap_or(goroutine.status.name()),
            other => other.name(),
        }
    }

    /// How long it has been blocked at least, ns; `None` if unknown.
    #[must_use]
    pub fn wait_ns(&self, goroutine: &Goroutine) -> Option<u64> {
        self.age(goroutine).map(|age| age.at_least_ns)
    }

    /// The same, with its source: the longer of the GC estimate and the measured age.
    #[must_use]
    pub fn age(&self, goroutine: &Goroutine) -> Option<Age> {
        if !goroutine.status.is_blocked() {
            return None;
        }
        let estimated = self.snapshot.wait_ns(goroutine);
        let since = self.waits.unwrap_or(&self.snapshot.watched).since_ns(goroutine.id);
        let measured = since.map(|since| self.snapshot.monotonic_ns.saturating_sub(since));
        Age::of(estimated, measured)
    }

    /// For how long it can have been blocked at most, ns: see [`LongestWaits`]. `None` where that is not
    /// known, and unless it is blocked.
    #[must_use]
    pub fn wait_at_most_ns(&self, goroutine: &Goroutine) -> Option<u64> {
        if !goroutine.status.is_blocked() {
            return None;
        }
        let unstamped = || WaitBound::unstamped(self.reason(goroutine), self.function(goroutine.start));
        let bound = self.since_stamp_ns(goroutine).map_or_else(unstamped, WaitBound::Stamp);
        LongestWaits::of_snapshot(self.snapshot).of(bound)
    }

    /// The time since the runtime's own stamp, ns, as its dumps count it. The stamp outlives the wait,
    /// so it counts only while the goroutine is blocked.
    #[must_use]
    pub fn since_stamp_ns(&self, goroutine: &Goroutine) -> Option<u64> {
        self.snapshot.since_stamp_ns(goroutine).filter(|_| goroutine.status.is_blocked())
    }

    /// Its stack, where it is known.
    #[must_use]
    pub fn stack(&self, goroutine: &Goroutine) -> Option<&'a Stack> {
        self.snapshot.symbols.stack(goroutine.stack.known()?)
    }

    /// The place of `goroutine` that `kind` asks for.
    #[must_use]
    pub fn place(&self, goroutine: &Goroutine, kind: PlaceKind) -> Place {
        let at = |frame: Option<FrameId>| frame.map_or(Place::Unknown, |frame| Place::At(Spot::at(frame)));
        let now = match kind {
            PlaceKind::User => return self.places.of(self.snapshot, Self::ends(goroutine)),
            PlaceKind::Current => goroutine.current.or(goroutine.innermost),
            PlaceKind::Innermost => goroutine.innermost.or(goroutine.current),
            PlaceKind::Start => return at(goroutine.start),
            PlaceKind::Creator => return at(goroutine.creator),
        };
        match (now, goroutine.start) {
            (None, Some(frame)) => Place::StartedIn(frame),
            (now, _) => at(now),
        }
    }

    /// What the place of `goroutine` depends on.
    #[must_use]
    pub fn ends(goroutine: &Goroutine) -> Ends {
        Ends {
            stack: goroutine.stack.known(),
            current: goroutine.current.or(goroutine.innermost),
            start: goroutine.start,
            system: goroutine.system,
        }
    }

    /// What `goroutine` is grouped by.
    #[must_use]
    pub fn facts(&self, goroutine: &Goroutine) -> Facts {
        Facts {
            state: Word::Status(goroutine.status),
            reason: goroutine.wait_reason.map(Word::Reason),
            stack: goroutine.stack.known(),
            start: goroutine.start,
            creator: goroutine.creator,
            labels: goroutine.labels,
        }
    }

    /// The key that `keys` give to `goroutine`.
    pub fn key(&self, keys: &mut Keys<'_>, goroutine: &Goroutine) -> Key {
        keys.of(&self.facts(goroutine), |kind| self.place(goroutine, kind), || self.on(goroutine))
    }

    /// What `goroutine` waits on, as far as others can have that in common.
    #[must_use]
    pub fn on(&self, goroutine: &Goroutine) -> On {
        let peers = self.peers.get_or_init(|| Peers::of(self.snapshot));
        let line = || Line::of(&self.snapshot.symbols, self.place(goroutine, PlaceKind::User).frame()?);
        waits::shared::on(self.snapshot, peers, goroutine, line)
    }

    /// The frames of a stack that are not the standard library's, innermost first.
    #[must_use]
    pub fn user_frames(&self, stack: &Stack) -> Vec<FrameId> {
        self.places.user_frames(self.snapshot, stack)
    }

    /// The value of one of the program's own labels.
    #[must_use]
    pub fn label(&self, goroutine: &Goroutine, key: &str) -> Option<StrId> {
        self.snapshot.symbols.label(goroutine.labels?, key)
    }

    /// Name of the function at `frame`; empty where unknown.
    #[must_use]
    pub fn function(&self, frame: Option<FrameId>) -> &'a str {
        frame.map_or("", |frame| self.snapshot.symbols.function(frame))
    }
}
