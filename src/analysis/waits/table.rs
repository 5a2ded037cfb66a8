//! The objects that goroutines wait on.

use std::cmp::{Ordering, Reverse};

use rustc_hash::FxHashMap;

use crate::analysis::group::{GroupBy, Key, Keys, WaitRange};
use crate::analysis::{Age, Index, PlaceKind};
use crate::model::{LikelyHolder, Wait, WaitKind, WaitObject, WaitObjectId};

/// What the goroutines of a row wait on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitedOn {
    /// One object.
    Object(WaitObjectId),
    /// Several of one kind, each of which one goroutine waits on in the same place.
    Alike(Vec<WaitObjectId>),
    /// A nil channel, which lets none go on.
    NilChannel,
    /// A `select` without a case that could be taken, likewise.
    EmptySelect,
    /// Something that is no object, or is not known: see [`WaitRow::kind`].
    Other,
}

/// A place where goroutines wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Where {
    /// How many.
    pub count: u64,
    /// Position of one of them.
    pub example: usize,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct WaitRow {
    /// What is waited on.
    pub on: WaitedOn,
    /// What waiting on it is called.
    pub kind: WaitKind,
    /// Positions of the goroutines that wait, in ascending order.
    pub goroutines: Vec<usize>,
    /// Their known waits.
    pub wait: Option<WaitRange>,
    /// Where they wait, most first.
    pub places: Vec<Where>,
}

impl WaitRow {
    /// The longest known wait, ns.
    #[must_use]
    pub fn longest_ns(&self) -> Option<u64> {
        self.wait.map(|wait| wait.longest_ns)
    }

    /// Its object, where it is about one.
    #[must_use]
    pub fn object<'s>(&self, index: &Index<'s>) -> Option<&'s WaitObject> {
        match self.on {
            WaitedOn::Object(id) => index.snapshot().waits.object(id),
            _ => None,
        }
    }

    /// Who probably holds it.
    #[must_use]
    pub fn holders<'s>(&self, index: &Index<'s>) -> &'s [LikelyHolder] {
        self.object(index).and_then(|object| object.likely_holders.as_deref()).unwrap_or_default()
    }
}

/// An order of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitSort {
    /// The most waited-for first; objects on which one goroutine each waits come last.
    #[default]
    Waiting,
    /// The longest known wait first.
    Age,
    /// By kind.
    Kind,
    /// By address; what has none comes last.
    Address,
}

impl WaitSort {
    /// Rows that are equal stay in the order in which a table has them: the most waited-for first.
    fn compare(self, index: &Index<'_>, a: &WaitRow, b: &WaitRow) -> Ordering {
        let addr = |row: &WaitRow| row.object(index).map(|object| object.addr);
        match self {
            Self::Waiting => Ordering::Equal,
            Self::Age => b.longest_ns().cmp(&a.longest_ns()),
            Self::Kind => a.kind.cmp(&b.kind),
            Self::Address => (addr(a).is_none(), addr(a)).cmp(&(addr(b).is_none(), addr(b))),
        }
    }
}

/// What is waited on, the most waited-for first: objects on which many wait before the many on which one waits.
#[derive(Clone, Debug, Default)]
pub struct WaitTable {
    /// Objects, nil channels and empty selects.
    pub rows: Vec<WaitRow>,
    /// What is no object, by kind: sleep, system calls, the runtime's own.
    pub others: Vec<WaitRow>,
    /// What is not known, by kind.
    pub unknown: Vec<WaitRow>,
    /// How many goroutines wait.
    pub waiting: u64,
}

/// Rows while they are filled.
#[derive(Debug, Default)]
struct Filling {
    goroutines: Vec<usize>,
    wait: Option<WaitRange>,
    places: FxHashMap<Key, Where>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum RowKey {
    Object(WaitObjectId),
    Nil,
    Empty,
    Other(WaitKind),
    Unknown(WaitKind),
}

impl Filling {
    fn add(&mut self, position: usize, age: Option<Age>, place: Key) {
        if self.goroutines.last() == Some(&position) {
            // Several cases of one select.
            return;
        }
        self.goroutines.push(position);
        WaitRange::include(&mut self.wait, age);
        self.places.entry(place).or_insert(Where { count: 0, example: position }).count += 1;
    }

    fn finish(self, on: WaitedOn, kind: WaitKind) -> WaitRow {
        let mut places: Vec<Where> = self.places.into_values().collect();
        places.sort_by_key(|place| (Reverse(place.count), place.example));
        WaitRow { on, kind, goroutines: self.goroutines, wait: self.wait, places }
    }
}

impl WaitTable {
    /// Of the goroutines at `positions`, which are in ascending order. With `merge`, objects that one goroutine
    /// each waits on, of the same kind and in the same place, are one row; locks never are.
    #[must_use]
    pub fn of(index: &Index<'_>, positions: &[usize], merge: bool) -> Self {
        let snapshot = index.snapshot();
        let by = GroupBy::Place(PlaceKind::User);
        let mut keys = Keys::new(&snapshot.symbols, &by);
        let mut filling: FxHashMap<RowKey, Filling> = FxHashMap::default();
        let mut table = Self::default();
        for &position in positions {
            let Some(goroutine) = snapshot.goroutines.get(position) else { continue };
            let Some(wait) = snapshot.waiting_on(goroutine) else { continue };
            table.waiting += 1;
            let (age, place) = (index.age(goroutine), index.key(&mut keys, goroutine));
            let mut add = |key| filling.entry(key).or_default().add(position, age, place);
            let mut is_on_object = false;
            for (id, _) in snapshot.waits.objects_of(wait) {
                add(RowKey::Object(id));
                is_on_object = true;
            }
            match wait {
                _ if is_on_object => {}
                Wait::Channel { .. } => add(RowKey::Nil),
                Wait::Select { .. } => add(RowKey::Empty),
                Wait::Unknown { kind, .. } => add(RowKey::Unknown(*kind)),
                other => add(RowKey::Other(snapshot.waits.kind(other))),
            }
        }
        table.fill(index, filling, merge);
        table
    }

    /// Puts the rows into another order.
    pub fn sort(&mut self, index: &Index<'_>, by: WaitSort, reverse: bool) {
        self.rows.sort_by(|a, b| by.compare(index, a, b));
        if reverse {
            self.rows.reverse();
        }
    }

    /// The numbers of the rows in another order, and after them those of what is no object or not known: see
    /// [`WaitTable::row`].
    #[must_use]
    pub fn order(&self, index: &Index<'_>, by: WaitSort, reverse: bool) -> Vec<usize> {
        let mut numbered: Vec<(usize, &WaitRow)> = self.rows.iter().enumerate().collect();
        numbered.sort_by(|(_, a), (_, b)| by.compare(index, a, b));
        if reverse {
            numbered.reverse();
        }
        let others = self.rows.len()..self.rows.len() + self.others.len() + self.unknown.len();
        numbered.into_iter().map(|(at, _)| at).chain(others).collect()
    }

    /// The row of a number: those of objects are followed by `others`, and these by `unknown`.
    #[must_use]
    pub fn row(&self, at: usize) -> Option<&WaitRow> {
        let others = || self.others.get(at.checked_sub(self.rows.len())?);
        let unknown = || self.unknown.get(at.checked_sub(self.rows.len() + self.others.len())?);
        self.rows.get(at).or_else(others).or_else(unknown)
    }

    /// Whether the row of a number is one of what is not known.
    #[must_use]
    pub fn is_unknown(&self, at: usize) -> bool {
        at >= self.rows.len() + self.others.len()
    }

    fn fill(&mut self, index: &Index<'_>, filling: FxHashMap<RowKey, Filling>, merge: bool) {
        let waits = &index.snapshot().waits;
        let mut alike: FxHashMap<(WaitKind, Key), (Vec<WaitObjectId>, Filling)> = FxHashMap::default();
        let mut sorted: Vec<(RowKey, Filling)> = filling.into_iter().collect();
        sorted.sort_by_key(|(key, filled)| (filled.goroutines.first().copied(), *key));
        for (key, filled) in sorted {
            match key {
                RowKey::Nil => self.rows.push(filled.finish(WaitedOn::NilChannel, WaitKind::Channel)),
                RowKey::Empty => self.rows.push(filled.finish(WaitedOn::EmptySelect, WaitKind::Select)),
                RowKey::Other(kind) => self.others.push(filled.finish(WaitedOn::Other, kind)),
                RowKey::Unknown(kind) => self.unknown.push(filled.finish(WaitedOn::Other, kind)),
                RowKey::Object(id) => {
                    let Some(object) = waits.object(id) else { continue };
                    let kind = object.kind();
                    let single = matches!(filled.goroutines.as_slice(), [_]).then(|| filled.places.keys().next());
                    match single.flatten().copied() {
                        Some(place) if merge && !is_lock(kind) => {
                            let (ids, together) = alike.entry((kind, place)).or_default();
                            ids.push(id);
                            together.merge(filled);
                        }
                        _ => self.rows.push(filled.finish(WaitedOn::Object(id), kind)),
                    }
                }
            }
        }
        for ((kind, _), (mut ids, filled)) in alike {
            let on = match (ids.len(), ids.pop()) {
                (1, Some(id)) => WaitedOn::Object(id),
                (_, last) => {
                    ids.extend(last);
                    WaitedOn::Alike(ids)
                }
            };
            self.rows.push(filled.finish(on, kind));
        }
        let order = |row: &WaitRow| {
            let first = row.goroutines.first().copied();
            let alike = matches!(row.on, WaitedOn::Alike(_));
            (alike, Reverse(row.goroutines.len()), Reverse(row.longest_ns()), row.kind, first)
        };
        self.rows.sort_by_key(order);
        self.others.sort_by_key(order);
        self.unknown.sort_by_key(order);
    }
}

impl Filling {
    /// Adds another row's. A goroutine that selects is in several.
    fn merge(&mut self, other: Self) {
        let before = self.goroutines.len();
        for position in other.goroutines {
            if self.goroutines.last() != Some(&position) {
                self.goroutines.push(position);
            }
        }
        if self.goroutines.len() == before {
            return;
        }
        self.wait = match (self.wait, other.wait) {
            (Some(all), Some(wait)) => Some(WaitRange {
                shortest_ns: all.shortest_ns.min(wait.shortest_ns),
                longest_ns: all.longest_ns.max(wait.longest_ns),
                known: all.known + wait.known,
                watched: all.watched + wait.watched,
            }),
            (all, wait) => all.or(wait),
        };
        for (key, place) in other.places {
            let all = self.places.entry(key).or_insert(Where { count: 0, ..place });
            all.count += place.count;
        }
    }
}

/// Whether waiting on it ends when a goroutine gives something back.
pub(super) fn is_lock(kind: WaitKind) -> bool {
    matches!(kind, WaitKind::Mutex | WaitKind::RwMutex | WaitKind::WaitGroup | WaitKind::Cond | WaitKind::Semaphore)
}
