//! Goroutines of a census that have something in common.

use super::{Census, Member};
use crate::analysis::group::{self, Facts, GroupBy, Item, Keys, On, Word, gather};
use crate::analysis::place::{Place, PlaceKind, Spot};
use crate::model::{Goid, SymbolPool};

/// Ids of a group that are kept.
const IDS: usize = 1_000;

/// Goroutines of a census that have a key in common.
pub type Group = group::Group<Member, ()>;

/// Groups `members` of a census, in order of their first members.
#[must_use]
pub fn groups<'a>(members: impl IntoIterator<Item = &'a Member>, by: &GroupBy, pool: &SymbolPool) -> Vec<Group> {
    let mut keys = Keys::new(pool, by);
    let items = members.into_iter().map(|member| Item {
        // What they waited on is not in a census.
        key: keys.of(&member.facts(), |kind| member.place(kind), || On::Nothing),
        id: Goid(member.id),
        age: member.age,
        example: *member,
    });
    gather(items, IDS, |_, _| {})
}

impl Member {
    fn facts(&self) -> Facts {
        Facts {
            state: Word::Text(self.state),
            reason: self.reason.map(Word::Text),
            stack: self.stack,
            start: self.start,
            creator: self.creator,
            labels: self.labels,
        }
    }

    /// The place that `kind` asks for.
    #[must_use]
    pub fn place(&self, kind: PlaceKind) -> Place {
        let frame = match kind {
            PlaceKind::User => return self.place,
            PlaceKind::Current | PlaceKind::Innermost => self.current,
            PlaceKind::Start => self.start,
            PlaceKind::Creator => self.creator,
        };
        frame.map_or(Place::Unknown, |frame| Place::At(Spot::at(frame)))
    }
}

impl Census {
    /// The goroutines that count: the program's own, and with `system` the runtime's too.
    pub fn counted(&self, system: bool) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| system || !member.system)
    }
}
