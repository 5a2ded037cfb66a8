//! Goroutines of a census that have something in common.

use rustc_hash::FxHashMap;

use super::{Census, Member};
use crate::analysis::{GroupBy, PlaceKind, WaitRange};
use crate::model::{FrameId, Stack, StackId, StrId, SymbolPool};

/// What the members of a crowd have in common. Means the same in every census of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// State, reason, stack, creator; without a stack, the start function.
    Stack(StrId, Option<StrId>, Result<StackId, Option<FrameId>>, Option<FrameId>),
    /// State, reason, line.
    Place(StrId, Option<StrId>, Option<FrameId>),
    /// A line.
    Line(Option<FrameId>),
    /// A text: a state, a wait reason, a label's value.
    Text(Option<StrId>),
}

/// Ids of a crowd that are kept.
const IDS: usize = 1_000;

/// Goroutines that have a key in common.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// What they have in common.
    pub key: Key,
    /// How many they are.
    pub count: u64,
    /// The ids of the first thousand of them.
    pub ids: Vec<u64>,
    /// Their known waits; `None` when none is known.
    pub wait: Option<WaitRange>,
    /// One of them: the first.
    pub example: Member,
}

/// Groups `members` of a census, in order of their first members.
#[must_use]
pub fn crowds<'a>(members: impl IntoIterator<Item = &'a Member>, by: &GroupBy, pool: &mut SymbolPool) -> Vec<Crowd> {
    let mut keys = Keys { by, pool, shown: FxHashMap::default() };
    let mut crowds: Vec<Crowd> = Vec::new();
    let mut places: FxHashMap<Key, usize> = FxHashMap::default();
    for member in members {
        let key = keys.of(member);
        let at = *places.entry(key).or_insert(crowds.len());
        if at == crowds.len() {
            crowds.push(Crowd { key, count: 0, ids: Vec::new(), wait: None, example: *member });
        }
        let Some(crowd) = crowds.get_mut(at) else { continue };
        crowd.count += 1;
        if crowd.ids.len() < IDS {
            crowd.ids.push(member.id);
        }
        WaitRange::include(&mut crowd.wait, member.age);
    }
    crowds
}

struct Keys<'a> {
    by: &'a GroupBy,
    pool: &'a mut SymbolPool,
    shown: FxHashMap<StackId, StackId>,
}

impl Keys<'_> {
    fn of(&mut self, member: &Member) -> Key {
        let (state, reason) = (member.state, member.reason);
        match self.by {
            GroupBy::Place(PlaceKind::Start) => Key::Place(state, reason, member.start),
            GroupBy::Place(PlaceKind::Creator) => Key::Place(state, reason, member.creator),
            GroupBy::Place(PlaceKind::Current | PlaceKind::Innermost) => Key::Place(state, reason, member.place),
            GroupBy::Stack => Key::Stack(state, reason, member.stack.ok_or(member.start), member.creator),
            GroupBy::SimilarStack => {
                let stack = member.stack.map(|id| self.shown(id)).ok_or(member.start);
                Key::Stack(state, reason, stack, member.creator)
            }
            GroupBy::Start => Key::Line(member.start),
            GroupBy::Creator => Key::Line(member.creator),
            GroupBy::State => Key::Text(Some(state)),
            GroupBy::Reason => Key::Text(reason),
            GroupBy::Label(wanted) => {
                let labels = member.labels.map_or(&[][..], |id| self.pool.labels(id));
                let label = labels.iter().find(|label| self.pool.str(label.key) == wanted);
                Key::Text(label.map(|label| label.value))
            }
        }
    }

    /// The stack without what a normal traceback leaves out.
    fn shown(&mut self, id: StackId) -> StackId {
        if let Some(&known) = self.shown.get(&id) {
            return known;
        }
        let frames = self.pool.stack(id).map_or(&[][..], |stack| &stack.frames);
        let all_hidden = frames.iter().all(|frame| frame.hidden);
        let frames = frames.iter().filter(|frame| all_hidden || !frame.hidden).copied().collect();
        let shown = self.pool.intern_stack(Stack { frames });
        self.shown.insert(id, shown);
        shown
    }
}

impl Census {
    /// The goroutines that count: the program's own, and with `system` the runtime's too.
    pub fn counted(&self, system: bool) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| system || !member.system)
    }
}
