//! Goroutines put together by where they are, whatever state they are in at the moment.
//!
//! A group has to be the same from one refresh to the next, so its key holds neither a state nor
//! anything that is numbered anew in each snapshot; states are counted inside it.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::str::FromStr;

use rustc_hash::FxHashMap;

use crate::analysis::series::Observed;
use crate::analysis::{Index, Place, PlaceKind};
use crate::model::{FrameId, Goid, Goroutine, StackId, StackState, Status, StrId, WaitReasonId};

/// How to put goroutines together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// By the line of code that they are at.
    #[default]
    Place,
    /// By their stacks, as a normal traceback shows them.
    Stack,
    /// By the function that they started in.
    Start,
    /// By the `go` statement that created them.
    Creator,
    /// By the value of one of the program's labels.
    Label(String),
}

impl Grouping {
    /// Its name, as it is typed.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Place => "place".to_owned(),
            Self::Stack => "stack".to_owned(),
            Self::Start => "start".to_owned(),
            Self::Creator => "creator".to_owned(),
            Self::Label(key) => format!("label={key}"),
        }
    }

    /// Which place of a goroutine stands for the group.
    #[must_use]
    pub fn place(&self) -> PlaceKind {
        match self {
            Self::Place | Self::Stack | Self::Label(_) => PlaceKind::Current,
            Self::Start => PlaceKind::Start,
            Self::Creator => PlaceKind::Creator,
        }
    }
}

impl FromStr for Grouping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "place" => Self::Place,
            "stack" => Self::Stack,
            "start" => Self::Start,
            "creator" => Self::Creator,
            _ => match text.strip_prefix("label=") {
                Some(key) if !key.is_empty() => Self::Label(key.to_owned()),
                _ => return Err(format!("cannot group by `{text}`; there is place, stack, start, creator, label=KEY")),
            },
        })
    }
}

/// What the members of a group have in common. It means the same in all snapshots that share a
/// pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A line of code: function, file, line.
    At(StrId, StrId, u32),
    /// Nothing is known but where they started.
    StartedIn(StrId, StrId, u32),
    /// Not even that.
    Nowhere,
    /// A stack, by a hash of the lines that a traceback shows.
    Stack(u64),
    /// A label's value.
    Label(StrId),
    /// The label is not there.
    NoLabel,
}

/// Goroutines that have a key in common.
#[derive(Clone, Debug)]
pub struct Group {
    /// What they have in common.
    pub key: Key,
    /// How many they are.
    pub count: u64,
    /// How many of them are in which state and wait for which reason, the most frequent first.
    pub states: Vec<(Status, Option<WaitReasonId>, u64)>,
    /// Longest known wait, ns, and whether it is known from watching only.
    pub longest: Option<(u64, bool)>,
    /// Lowest id.
    pub lowest: Goid,
    /// Position of that goroutine in the snapshot.
    pub example: usize,
    /// Whether all of them are the runtime's own.
    pub system: bool,
}

/// The place that stands for a goroutine. Those of the runtime all wait in the same function of the
/// runtime; where they started says what they are.
#[must_use]
pub fn place_of(index: &Index<'_>, goroutine: &Goroutine, kind: PlaceKind) -> Place {
    let (PlaceKind::Current, true, Some(start)) = (kind, goroutine.system, goroutine.start) else {
        return index.place(goroutine, kind);
    };
    // The compiler's wrapper of a `go` statement says less than what it calls, and every stack begins
    // with goexit.
    let is_wrapper = |frame: &FrameId| {
        let function = index.function(Some(*frame));
        function.contains(".gowrap") || function == "runtime.goexit"
    };
    let mut frames = index.stack(goroutine).into_iter().flat_map(|stack| stack.frames.iter().rev()).map(|f| f.frame);
    let outermost = if is_wrapper(&start) { frames.find(|frame| !is_wrapper(frame)) } else { None };
    Place::At(outermost.unwrap_or(start))
}

/// Gives goroutines of one snapshot their keys.
pub struct Keys<'a> {
    index: &'a Index<'a>,
    by: &'a Grouping,
    stacks: FxHashMap<StackId, Key>,
}

impl<'a> Keys<'a> {
    /// For the goroutines of the snapshot behind `index`.
    #[must_use]
    pub fn new(index: &'a Index<'a>, by: &'a Grouping) -> Self {
        Self { index, by, stacks: FxHashMap::default() }
    }

    /// The key of `goroutine`.
    pub fn of(&mut self, goroutine: &Goroutine) -> Key {
        match self.by {
            Grouping::Place | Grouping::Start | Grouping::Creator => self.at(goroutine, self.by.place()),
            Grouping::Stack => match goroutine.stack {
                StackState::Known(id) => self.stack(id),
                StackState::NotShown(_) => self.at(goroutine, PlaceKind::Current),
            },
            Grouping::Label(wanted) => self.index.label(goroutine, wanted).map_or(Key::NoLabel, Key::Label),
        }
    }

    fn at(&self, goroutine: &Goroutine, kind: PlaceKind) -> Key {
        match place_of(self.index, goroutine, kind) {
            Place::At(frame) => self.index.line(frame).map_or(Key::Nowhere, |l| Key::At(l.function, l.file, l.line)),
            Place::StartedIn(frame) => {
                self.index.line(frame).map_or(Key::Nowhere, |l| Key::StartedIn(l.function, l.file, l.line))
            }
            Place::Unknown => Key::Nowhere,
        }
    }

    fn stack(&mut self, id: StackId) -> Key {
        if let Some(&key) = self.stacks.get(&id) {
            return key;
        }
        let lines = self.index.shown_lines(id);
        // Without random keys, so that it is the same in the next refresh.
        let key = Key::Stack(BuildHasherDefault::<DefaultHasher>::default().hash_one(&lines));
        self.stacks.insert(id, key);
        key
    }
}

/// Groups the goroutines at `positions`, in order of their first members.
#[must_use]
pub fn group(observed: &Observed, index: &Index<'_>, by: &Grouping, positions: &[usize]) -> Vec<Group> {
    let mut keys = Keys::new(index, by);
    let mut groups: Vec<Group> = Vec::new();
    let mut places: FxHashMap<Key, usize> = FxHashMap::default();
    for &position in positions {
        let Some(goroutine) = index.snapshot().goroutines.get(position) else { continue };
        let key = keys.of(goroutine);
        let at = *places.entry(key).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Group {
                key,
                count: 0,
                states: Vec::new(),
                longest: None,
                lowest: goroutine.id,
                example: position,
                system: true,
            });
        }
        let Some(group) = groups.get_mut(at) else { continue };
        group.count += 1;
        group.system &= goroutine.system;
        if goroutine.id < group.lowest {
            (group.lowest, group.example) = (goroutine.id, position);
        }
        let (status, reason) = (goroutine.status, goroutine.wait_reason);
        match group.states.iter_mut().find(|state| (state.0, state.1) == (status, reason)) {
            Some(state) => state.2 += 1,
            None => group.states.push((status, reason, 1)),
        }
        if let Some(ns) = index.wait_ns(goroutine)
            && group.longest.is_none_or(|(longest, _)| ns > longest)
        {
            group.longest = Some((ns, observed.is_watched(position)));
        }
    }
    for group in &mut groups {
        group.states.sort_by(|a, b| b.2.cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::{Group, Grouping, Key, group};
    use crate::analysis::series::Watching;
    use crate::model::Status;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};

    fn groups(by: &Grouping) -> Vec<Group> {
        let mut builder = SnapshotBuilder::new();
        let spec = |id, runtime: &'static str, line, status, user| GoroutineSpec {
            id,
            status,
            reason: (status == Status::Waiting).then_some("select"),
            wait_ns: Some(id * 10),
            frames: vec![
                frame(runtime, "/go/r.go", 4),
                frame("main.worker", "/app/w.go", line),
                frame("main.pool", "/app/p.go", 1),
            ],
            creator: Some(frame("main.main", "/app/main.go", 3)),
            labels: vec![("user", user)],
            ..Default::default()
        };
        builder
            .add(&spec(9, "runtime.gopark", 7, Status::Waiting, "a"))
            .add(&spec(4, "runtime.goparkunlock", 7, Status::Waiting, "b"))
            .add(&spec(5, "runtime.gopark", 7, Status::Runnable, "a"))
            .add(&spec(6, "runtime.gopark", 8, Status::Waiting, "a"))
            .add(&GoroutineSpec {
                id: 7,
                status: Status::Running,
                frames: vec![frame("main.worker", "/app/w.go", 7)],
                ..Default::default()
            });
        let observed = Watching::default().observe(builder.build());
        let index = observed.index();
        group(&observed, &index, by, &[0, 1, 2, 3, 4])
    }

    fn counts(by: &Grouping) -> Vec<u64> {
        groups(by).iter().map(|group| group.count).collect()
    }

    #[test]
    fn groups_by_each_kind() {
        assert_eq!(counts(&Grouping::Place), [3, 1, 1]);
        assert_eq!(counts(&Grouping::Stack), [3, 1, 1]);
        // The running one started in main.worker, the others in main.pool.
        assert_eq!(counts(&Grouping::Start), [4, 1]);
        assert_eq!(counts(&Grouping::Creator), [4, 1]);
        assert_eq!(counts(&Grouping::Label("user".to_owned())), [3, 1, 1]);
    }

    #[test]
    fn a_group_holds_all_states_and_the_longest_wait() {
        let groups = groups(&Grouping::Place);
        let first = &groups[0];
        let states: Vec<(Status, u64)> = first.states.iter().map(|&(status, _, count)| (status, count)).collect();
        assert_eq!(states, [(Status::Waiting, 2), (Status::Runnable, 1)]);
        assert_eq!((first.longest, first.lowest.0, first.example), (Some((90, false)), 4, 1));
        assert!(matches!(groups[2].key, Key::StartedIn(..)));
    }

    #[test]
    fn names() {
        for text in ["place", "stack", "start", "creator", "label=user"] {
            assert_eq!(text.parse::<Grouping>().map(|by| by.name()).as_deref(), Ok(text));
        }
        assert!("label=".parse::<Grouping>().is_err());
        assert!("state".parse::<Grouping>().is_err());
    }
}
