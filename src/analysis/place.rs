//! The place that a goroutine is shown at and grouped by: the user's frame.
//!
//! Nearly all goroutines of a server wait in the same few functions of the runtime and the standard library,
//! which show nothing of what the program does. So its place is the innermost frame that is not the standard
//! library's; where that is another module's and a frame of the main module is further out, it is that one,
//! which calls the other. What the standard library does there is a remark. A stack that has nothing but the
//! standard library's frames has the outermost of them; a system goroutine, which all wait in the same
//! function, the function that it started in.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustc_hash::FxHashMap;

use super::group::Line;
use crate::go_names::{self, Origin, Origins};
use crate::model::{FrameId, Language, Snapshot, Stack, StackFrame, StackId, StrId, SymbolPool, TargetInfo};

/// Which place of a goroutine to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PlaceKind {
    /// Where it is in the user's code.
    #[default]
    User,
    /// Where it is: the innermost frame that is not the runtime's.
    Current,
    /// Where it is, the runtime's own frames included.
    Innermost,
    /// The function that it started in.
    Start,
    /// The `go` statement that created it.
    Creator,
}

/// A place in code, with what is done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// The frame that stands for it.
    pub frame: FrameId,
    /// Where `frame` is the main module's and a frame of another module is further in: the innermost of
    /// those.
    pub callee: Option<FrameId>,
    /// What the standard library is asked for there: the outermost frame in a row of the innermost
    /// public package, as in `net.(*conn).Read`. `None` where that is only the runtime, which the state
    /// and the wait reason are about.
    pub operation: Option<FrameId>,
}

impl Spot {
    /// A frame, and nothing else.
    #[must_use]
    pub fn at(frame: FrameId) -> Self {
        Self { frame, callee: None, operation: None }
    }

    /// What spots have in common that are one place: the line of the frame, and what it calls.
    #[must_use]
    pub fn key(&self, pool: &SymbolPool) -> Option<SpotKey> {
        let function = |frame: Option<FrameId>| Some(pool.frame(frame?)?.function);
        let line = Line::of(pool, self.frame)?;
        Some(SpotKey { line, callee: function(self.callee), operation: function(self.operation) })
    }
}

/// What spots have in common that are one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpotKey {
    /// The line of the frame that stands for it.
    pub line: Line,
    /// Function of [`Spot::callee`].
    pub callee: Option<StrId>,
    /// Function of [`Spot::operation`].
    pub operation: Option<StrId>,
}

/// A place of a goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The place that was asked for.
    At(Spot),
    /// Its present place is unknown (it is running, or moved while it was read); it started here.
    StartedIn(FrameId),
    /// Nothing is known.
    Unknown,
}

impl Place {
    /// The frame, whichever it is.
    #[must_use]
    pub fn frame(self) -> Option<FrameId> {
        match self {
            Self::At(spot) => Some(spot.frame),
            Self::StartedIn(frame) => Some(frame),
            Self::Unknown => None,
        }
    }

    /// What it calls, where that is known.
    #[must_use]
    pub fn spot(self) -> Option<Spot> {
        match self {
            Self::At(spot) => Some(spot),
            Self::StartedIn(frame) => Some(Spot::at(frame)),
            Self::Unknown => None,
        }
    }
}

/// What is known of one goroutine, for choosing its place.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Its stack.
    pub stack: Option<StackId>,
    /// The innermost frame that is not the runtime's, or the innermost of all.
    pub current: Option<FrameId>,
    /// The function that it started in.
    pub start: Option<FrameId>,
    /// Whether it is a system goroutine.
    pub system: bool,
}

/// Chooses places, working out each stack and each frame once. Ids are those of one pool.
#[derive(Debug, Default)]
pub(crate) struct Places {
    origins: Origins,
    stacks: FxHashMap<StackId, Option<Spot>>,
    frames: FxHashMap<FrameId, Origin>,
}

impl Places {
    /// For stacks of a program.
    #[must_use]
    pub(crate) fn new(origins: Origins) -> Self {
        Self { origins, stacks: FxHashMap::default(), frames: FxHashMap::default() }
    }

    /// The place of a goroutine.
    pub(crate) fn of(&mut self, pool: &SymbolPool, ends: Ends) -> Place {
        if let (true, Some(start)) = (ends.system, ends.start) {
            return Place::At(Spot::at(started_in(pool, ends.stack, start)));
        }
        let known = ends.stack.and_then(|stack| self.of_stack(pool, stack));
        match (known.or(ends.current.map(Spot::at)), ends.start) {
            (Some(spot), _) => Place::At(spot),
            (None, Some(start)) => Place::StartedIn(start),
            (None, None) => Place::Unknown,
        }
    }

    /// The place that a stack stands for; `None` for one without frames.
    pub(crate) fn of_stack(&mut self, pool: &SymbolPool, stack: StackId) -> Option<Spot> {
        if let Some(&known) = self.stacks.get(&stack) {
            return known;
        }
        let spot = pool.stack(stack).and_then(|stack| self.choose(pool, stack));
        self.stacks.insert(stack, spot);
        spot
    }

    fn choose(&mut self, pool: &SymbolPool, stack: &Stack) -> Option<Spot> {
        let frames = stack.frames.as_slice();
        let user = frames.iter().position(|frame| !frame.hidden && self.origin(pool, frame) != Origin::Standard);
        let Some(user) = user else { return library_place(pool, frames) };
        let nearest = frames.get(user)?;
        let main = match self.origin(pool, nearest) {
            Origin::Main => None,
            _ => frames.iter().skip(user).find(|frame| !frame.hidden && self.origin(pool, frame) == Origin::Main),
        };
        let operation = operation(pool, frames.get(..user).unwrap_or_default());
        Some(match main {
            Some(main) => Spot { frame: main.frame, callee: Some(nearest.frame), operation },
            None => Spot { frame: nearest.frame, callee: None, operation },
        })
    }

    fn user_frames(&mut self, pool: &SymbolPool, stack: &Stack) -> Vec<FrameId> {
        let frames = stack.frames.iter().filter(|frame| !frame.hidden && self.origin(pool, frame) != Origin::Standard);
        frames.map(|frame| frame.frame).collect()
    }

    fn origin(&mut self, pool: &SymbolPool, frame: &StackFrame) -> Origin {
        let origins = &self.origins;
        *self.frames.entry(frame.frame).or_insert_with(|| match pool.frame(frame.frame) {
            Some(known) if known.language == Language::Go => origins.of(pool.str(known.function), pool.str(known.file)),
            _ => Origin::Standard,
        })
    }
}

/// Of a stack of nothing but the standard library: the outermost of its frames, or where it has only the
/// runtime's, the outermost one that is meaningful.
fn library_place(pool: &SymbolPool, frames: &[StackFrame]) -> Option<Spot> {
    let is_public = |frame: &StackFrame| !frame.hidden && !is_runtime(pool.function(frame.frame));
    if let Some(outermost) = frames.iter().rposition(is_public) {
        let frame = frames.get(outermost)?.frame;
        let package = go_names::package(pool.function(frame));
        let operation = operation(pool, frames.get(..outermost).unwrap_or_default());
        let operation = operation.filter(|&frame| go_names::package(pool.function(frame)) != package);
        return Some(Spot { frame, callee: None, operation });
    }
    let named = frames.iter().rfind(|frame| is_own(pool.function(frame.frame))).or(frames.last())?;
    Some(Spot::at(named.frame))
}

/// What the standard library is asked for in `frames`, innermost first. System calls and what is
/// internal count only as far as something public asks for them, and of the runtime only what users call.
fn operation(pool: &SymbolPool, frames: &[StackFrame]) -> Option<FrameId> {
    let package = |frame: &StackFrame| go_names::package(pool.function(frame.frame));
    let is_public = |package: &str| !(package == "syscall" || is_internal(package));
    let is_syscall = |package: &str| package == "syscall";
    let innermost = |wanted: &dyn Fn(&str) -> bool| {
        frames.iter().position(|frame| !frame.hidden && package(frame).is_some_and(|package| wanted(&package)))
    };
    let first = innermost(&is_public).or_else(|| innermost(&is_syscall))?;
    let wanted = package(frames.get(first)?);
    let row = frames.iter().skip(first).take_while(|frame| package(frame) == wanted);
    row.filter(|frame| !frame.hidden).last().map(|frame| frame.frame)
}

fn is_internal(package: &str) -> bool {
    package.starts_with("vendor/") || package.split('/').any(|element| element == "internal")
}

fn is_runtime(function: &str) -> bool {
    go_names::package(function).is_none_or(|package| package == "runtime" || package.starts_with("internal/runtime/"))
}

/// Every stack begins with goexit, and the compiler's wrapper of a `go` statement means less than what it
/// calls.
fn is_own(function: &str) -> bool {
    function != "runtime.goexit" && !go_names::is_go_wrapper(function)
}

/// The function that a goroutine started in, without the compiler's wrapper.
fn started_in(pool: &SymbolPool, stack: Option<StackId>, start: FrameId) -> FrameId {
    if is_own(pool.function(start)) {
        return start;
    }
    let frames = stack.and_then(|stack| pool.stack(stack)).map_or(&[][..], |stack| &stack.frames);
    frames.iter().rev().map(|frame| frame.frame).find(|&frame| is_own(pool.function(frame))).unwrap_or(start)
}

/// Whose code is whose in a snapshot: what its build info says, and where the first function of the
/// runtime that is met has its source.
#[must_use]
pub(crate) fn origins_of(snapshot: &Snapshot) -> Origins {
    /// Every goroutine that waits is in a function of the runtime, so the first will do.
    const LOOKED_AT: usize = 1_000;
    let mut origins = origins_of_target(&snapshot.target);
    let pool = &snapshot.symbols;
    for goroutine in snapshot.goroutines.iter().take(LOOKED_AT) {
        let stack = goroutine.stack.known().and_then(|stack| pool.stack(stack));
        let frames = stack.into_iter().flat_map(|stack| &stack.frames).map(|frame| frame.frame);
        let ends = [goroutine.innermost, goroutine.start].into_iter().flatten();
        if ends.chain(frames).any(|id| learn(&mut origins, pool, id)) {
            break;
        }
    }
    origins
}

/// The same, before any function was met.
#[must_use]
pub(crate) fn origins_of_target(target: &TargetInfo) -> Origins {
    Origins::new(target.module.path.as_deref(), target.module.package.as_deref())
}

/// Learns from a frame where the standard library's source is; whether that is known now.
pub(crate) fn learn(origins: &mut Origins, pool: &SymbolPool, frame: FrameId) -> bool {
    pool.frame(frame).is_some_and(|frame| origins.learn(pool.str(frame.function), pool.str(frame.file)))
}

/// The places of a snapshot, worked out when they are asked for.
#[derive(Debug, Default)]
pub(super) struct LazyPlaces(OnceLock<Mutex<Places>>);

impl LazyPlaces {
    pub(super) fn of(&self, snapshot: &Snapshot, ends: Ends) -> Place {
        self.places(snapshot).of(&snapshot.symbols, ends)
    }

    pub(super) fn user_frames(&self, snapshot: &Snapshot, stack: &Stack) -> Vec<FrameId> {
        self.places(snapshot).user_frames(&snapshot.symbols, stack)
    }

    fn places(&self, snapshot: &Snapshot) -> MutexGuard<'_, Places> {
        let places = self.0.get_or_init(|| Mutex::new(Places::new(origins_of(snapshot))));
        // What is remembered is whole at any time.
        places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
