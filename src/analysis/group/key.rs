//! What the members of a group have in common, whether they are goroutines of a snapshot or of a
//! [census](crate::analysis::census).
//!
//! Keys are made of interned ids, never of text, so that a million goroutines cost a million small
//! hashes. They mean the same in everything that shares a pool.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::str::FromStr;

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::analysis::place::{Place, PlaceKind, SpotKey};
use crate::model::{FrameId, LabelsId, StackId, Status, StrId, SymbolPool, WaitKind, WaitReasonId};

/// How to put goroutines together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GroupBy {
    /// State, wait reason and place.
    Place(PlaceKind),
    /// State, wait reason, whole stack and creator.
    Stack,
    /// Likewise, but of the stack only what a normal traceback shows, by function and line: calls within the
    /// runtime and the exact instruction do not separate groups.
    SimilarStack,
    /// Start function.
    Start,
    /// The `go` statement.
    Creator,
    /// State.
    State,
    /// Wait reason.
    Reason,
    /// What they wait on: see [`On`].
    Object,
    /// The value of one of the program's labels.
    Label(String),
}

impl GroupBy {
    /// Its name, as it is typed.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Place(PlaceKind::User | PlaceKind::Current | PlaceKind::Innermost) => "place".to_owned(),
            Self::Stack => "stack".to_owned(),
            Self::SimilarStack => "similar".to_owned(),
            Self::Start | Self::Place(PlaceKind::Start) => "start".to_owned(),
            Self::Creator | Self::Place(PlaceKind::Creator) => "creator".to_owned(),
            Self::State => "state".to_owned(),
            Self::Reason => "reason".to_owned(),
            Self::Object => "object".to_owned(),
            Self::Label(key) => format!("label={key}"),
        }
    }

    /// Which place of a goroutine stands for a group.
    #[must_use]
    pub fn place(&self) -> PlaceKind {
        match self {
            Self::Place(kind) => *kind,
            Self::Start => PlaceKind::Start,
            Self::Creator => PlaceKind::Creator,
            Self::Stack | Self::SimilarStack | Self::State | Self::Reason | Self::Object | Self::Label(_) => {
                PlaceKind::User
            }
        }
    }
}

impl FromStr for GroupBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "place" => Self::Place(PlaceKind::User),
            "stack" => Self::Stack,
            "similar" => Self::SimilarStack,
            "start" => Self::Start,
            "creator" => Self::Creator,
            "state" => Self::State,
            "reason" => Self::Reason,
            "object" => Self::Object,
            _ => match text.strip_prefix("label=") {
                Some(key) if !key.is_empty() => Self::Label(key.to_owned()),
                _ => {
                    return Err(format!(
                        "cannot group by `{text}`; there is place, stack, similar, start, creator, state, reason, \
                         object, label=KEY"
                    ));
                }
            },
        })
    }
}

/// A line of source, without the instruction: different calls on one line are one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// Function.
    pub function: StrId,
    /// File.
    pub file: StrId,
    /// Line, 0 where unknown.
    pub line: u32,
}

impl Line {
    /// That of a frame.
    #[must_use]
    pub fn of(pool: &SymbolPool, frame: FrameId) -> Option<Self> {
        let frame = pool.frame(frame)?;
        Some(Self { function: frame.function, file: frame.file, line: frame.line })
    }
}

/// A state or a wait reason: as a snapshot has it, or as a census does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// A state.
    Status(Status),
    /// A wait reason of one snapshot.
    Reason(WaitReasonId),
    /// Either, by its text.
    Text(StrId),
}

/// What goroutines wait on, as far as several can have that in common. It means the same in all snapshots of a
/// program.
///
/// One that selects is with those that wait on the channel on which most wait. Objects on which one goroutine each
/// waits are separated by their peers if several have one, otherwise by the place of the goroutine; locks always
/// by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum On {
    /// An object.
    Object(Addr),
    /// Connections with one peer, by a hash of its address.
    Peer(u64),
    /// Objects of one kind, each waited on by one goroutine in this line.
    Alike(WaitKind, Option<Line>),
    /// A nil channel.
    NilChannel,
    /// A `select` without a case that could be taken.
    EmptySelect,
    /// No object.
    Other(WaitKind),
    /// It is not known.
    Unknown(WaitKind),
    /// They do not wait, or that was not read.
    Nothing,
}

/// Where the members of a group are, or what else they have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// A place.
    At(SpotKey),
    /// Nothing is known but where they started.
    StartedIn(Line),
    /// Not even that.
    Nowhere,
    /// A stack, frame by frame.
    Stack(StackId),
    /// A stack, by a hash of the lines that a traceback shows.
    Lines(u64),
    /// A label's value.
    Label(StrId),
    /// The label is not there.
    NoLabel,
    /// What they wait on.
    On(On),
    /// Nothing but their state.
    State,
}

impl What {
    /// The line of source that it is about; `None` for a stack too.
    #[must_use]
    pub fn line(&self) -> Option<Line> {
        match self {
            Self::At(spot) => Some(spot.line),
            Self::StartedIn(line) => Some(*line),
            _ => None,
        }
    }

    fn of(pool: &SymbolPool, place: Place) -> Self {
        match place {
            Place::At(spot) => spot.key(pool).map_or(Self::Nowhere, Self::At),
            Place::StartedIn(frame) => Line::of(pool, frame).map_or(Self::Nowhere, Self::StartedIn),
            Place::Unknown => Self::Nowhere,
        }
    }
}

/// What the members of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Their state, where that counts.
    pub state: Option<Word>,
    /// Why they wait, where that counts.
    pub reason: Option<Word>,
    /// Where they are.
    pub what: What,
    /// The line that created them, where that counts.
    pub creator: Option<Line>,
}

/// What goroutines are grouped by, but for their places.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// State.
    pub state: Word,
    /// Why it waits.
    pub reason: Option<Word>,
    /// Its stack.
    pub stack: Option<StackId>,
    /// The function that it started in.
    pub start: Option<FrameId>,
    /// The `go` statement that created it.
    pub creator: Option<FrameId>,
    /// Labels.
    pub labels: Option<LabelsId>,
}

/// Gives goroutines their keys.
#[derive(Debug)]
pub struct Keys<'a> {
    pool: &'a SymbolPool,
    by: &'a GroupBy,
    with_state: bool,
    lines: FxHashMap<StackId, u64>,
}

impl<'a> Keys<'a> {
    /// For goroutines whose names are in `pool`. Those at one place, or with one stack, are separated by
    /// state and reason too, and with one stack by their creators.
    #[must_use]
    pub fn new(pool: &'a SymbolPool, by: &'a GroupBy) -> Self {
        Self { pool, by, with_state: true, lines: FxHashMap::default() }
    }

    /// The same, regardless of their present state: keys that a group keeps from one snapshot to the next.
    #[must_use]
    pub fn lasting(pool: &'a SymbolPool, by: &'a GroupBy) -> Self {
        Self { with_state: false, ..Self::new(pool, by) }
    }

    /// The key of a goroutine. Its place and what it waits on are worked out where they count.
    pub fn of(&mut self, facts: &Facts, place: impl FnOnce(PlaceKind) -> Place, on: impl FnOnce() -> On) -> Key {
        let pool = self.pool;
        let (state, reason) = if self.with_state { (Some(facts.state), facts.reason) } else { (None, None) };
        let line = |frame: Option<FrameId>| Line::of(pool, frame?);
        let bare = |what| Key { state: None, reason: None, what, creator: None };
        match self.by {
            GroupBy::Place(kind) => Key { state, reason, what: What::of(pool, place(*kind)), creator: None },
            GroupBy::Stack | GroupBy::SimilarStack => {
                let what = match facts.stack {
                    Some(stack) if *self.by == GroupBy::Stack => What::Stack(stack),
                    Some(stack) => What::Lines(self.lines(stack)),
                    None if self.with_state => line(facts.start).map_or(What::Nowhere, What::StartedIn),
                    None => What::of(pool, place(PlaceKind::User)),
                };
                Key { state, reason, what, creator: line(facts.creator).filter(|_| self.with_state) }
            }
            GroupBy::Start | GroupBy::Creator => bare(What::of(pool, place(self.by.place()))),
            GroupBy::State => Key { state: Some(facts.state), ..bare(What::State) },
            GroupBy::Reason => Key { reason: facts.reason, ..bare(What::State) },
            GroupBy::Object => bare(What::On(on())),
            GroupBy::Label(wanted) => {
                let value = facts.labels.and_then(|labels| pool.label(labels, wanted));
                bare(value.map_or(What::NoLabel, What::Label))
            }
        }
    }

    /// A hash without random keys, so that it is the same in the next snapshot.
    fn lines(&mut self, stack: StackId) -> u64 {
        let pool = self.pool;
        *self
            .lines
            .entry(stack)
            .or_insert_with(|| BuildHasherDefault::<DefaultHasher>::default().hash_one(shown_lines(pool, stack)))
    }
}

/// The lines of a stack that a normal traceback shows, innermost first; all of them where it would
/// show none.
#[must_use]
pub fn shown_lines(pool: &SymbolPool, stack: StackId) -> Vec<Line> {
    let frames = pool.stack(stack).map_or(&[][..], |stack| &stack.frames);
    let all_hidden = frames.iter().all(|frame| frame.hidden);
    let shown = frames.iter().filter(|frame| all_hidden || !frame.hidden);
    shown.filter_map(|frame| Line::of(pool, frame.frame)).collect()
}
