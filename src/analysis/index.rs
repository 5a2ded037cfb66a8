//! A snapshot with the look-ups that every analysis needs, built once.

use rustc_hash::FxHashMap;

use super::age::Age;
use super::census::{LongestWaits, WaitBound};
use super::group::Line;
use crate::addr::Addr;
use crate::model::{FrameId, Goroutine, Snapshot, Stack, StackId, StackState, Status, StrId, Thread, WatchedWaits};

/// Which place of a goroutine to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PlaceKind {
    /// Where it is: the innermost frame that is not the runtime's.
    #[default]
    Current,
    /// Where it is, the runtime's own frames included.
    Innermost,
    /// The function that it started in.
    Start,
    /// The `go` statement that created it.
    Creator,
}

/// A place of a goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The place that was asked for.
    At(FrameId),
    /// Where it is now is not known (it is running, or moved while it was read); it started here.
    StartedIn(FrameId),
    /// Nothing is known.
    Unknown,
}

impl Place {
    /// The frame, whichever it is.
    #[must_use]
    pub fn frame(self) -> Option<FrameId> {
        match self {
            Self::At(frame) | Self::StartedIn(frame) => Some(frame),
            Self::Unknown => None,
        }
    }
}

/// A snapshot and what is looked up in it over and over.
#[derive(Debug)]
pub struct Index<'a> {
    snapshot: &'a Snapshot,
    waits: Option<&'a WatchedWaits>,
    threads: FxHashMap<Addr, &'a Thread>,
}

impl<'a> Index<'a> {
    /// Builds the look-ups.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let threads = snapshot.threads.iter().map(|thread| (thread.addr, thread)).collect();
        Self { snapshot, waits: None, threads }
    }

    /// The same, with waits that were measured beside the snapshot.
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

    /// For how long it has been blocked at least, ns; `None` where that is not known.
    #[must_use]
    pub fn wait_ns(&self, goroutine: &Goroutine) -> Option<u64> {
        self.age(goroutine).map(|age| age.at_least_ns)
    }

    /// The same, with how it is known: the longer of what the collections show and what was measured.
    #[must_use]
    pub fn age(&self, goroutine: &Goroutine) -> Option<Age> {
        if !is_blocked(goroutine) {
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
        if !is_blocked(goroutine) {
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
        self.snapshot.since_stamp_ns(goroutine).filter(|_| is_blocked(goroutine))
    }

    /// Its stack, where it is known.
    #[must_use]
    pub fn stack(&self, goroutine: &Goroutine) -> Option<&'a Stack> {
        match goroutine.stack {
            StackState::Known(id) => self.snapshot.symbols.stack(id),
            StackState::NotShown(_) => None,
        }
    }

    /// The place of `goroutine` that `kind` asks for.
    #[must_use]
    pub fn place(&self, goroutine: &Goroutine, kind: PlaceKind) -> Place {
        let now = match kind {
            PlaceKind::Current => goroutine.current.or(goroutine.innermost),
            PlaceKind::Innermost => goroutine.innermost.or(goroutine.current),
            PlaceKind::Start => return goroutine.start.map_or(Place::Unknown, Place::At),
            PlaceKind::Creator => return goroutine.creator.map_or(Place::Unknown, Place::At),
        };
        match (now, goroutine.start) {
            (Some(frame), _) => Place::At(frame),
            (None, Some(frame)) => Place::StartedIn(frame),
            (None, None) => Place::Unknown,
        }
    }

    /// The line of source at `frame`.
    #[must_use]
    pub fn line(&self, frame: FrameId) -> Option<Line> {
        let frame = self.snapshot.symbols.frame(frame)?;
        Some(Line { function: frame.function, file: frame.file, line: frame.line })
    }

    /// The lines of a stack that a normal traceback shows, innermost first; all of them where it would
    /// show none.
    #[must_use]
    pub fn shown_lines(&self, stack: StackId) -> Vec<Line> {
        let frames = self.snapshot.symbols.stack(stack).map_or(&[][..], |stack| &stack.frames);
        let all_hidden = frames.iter().all(|frame| frame.hidden);
        let shown = frames.iter().filter(|frame| all_hidden || !frame.hidden);
        shown.filter_map(|frame| self.line(frame.frame)).collect()
    }

    /// The value of one of the program's own labels.
    #[must_use]
    pub fn label(&self, goroutine: &Goroutine, key: &str) -> Option<StrId> {
        let symbols = &self.snapshot.symbols;
        let label = symbols.labels(goroutine.labels?).iter().find(|label| symbols.str(label.key) == key)?;
        Some(label.value)
    }

    /// Name of the function at `frame`; empty where unknown.
    #[must_use]
    pub fn function(&self, frame: Option<FrameId>) -> &'a str {
        frame.map_or("", |frame| self.snapshot.symbols.function(frame))
    }
}

/// Whether it is in a wait or a system call.
pub(crate) fn is_blocked(goroutine: &Goroutine) -> bool {
    matches!(goroutine.status, Status::Waiting | Status::Syscall | Status::Leaked)
}
