//! What goroutines wait on, for the view of it: the table of `gospy waits` in the live view's order, with keys by
//! which a row is found again in the next refresh.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::order::Order;
use crate::addr::Addr;
use crate::analysis::group::Line;
use crate::analysis::waits::{ById, WaitRow, WaitSort, WaitTable, WaitedOn};
use crate::analysis::{Index, PlaceKind};
use crate::model::WaitKind;

/// Orders of what is waited on, in the order of their columns.
pub(crate) const WAIT_SORTS: &[(&str, WaitSort)] =
    &[("waiting", WaitSort::Waiting), ("kind", WaitSort::Kind), ("address", WaitSort::Address), ("age", WaitSort::Age)];

/// What a row is about, whatever its position. It means the same in all snapshots of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitKey {
    /// An object.
    Object(Addr),
    /// Several of a kind, each waited on by one goroutine, by a hash of the place where these are.
    Alike(WaitKind, u64),
    /// A nil channel.
    NilChannel,
    /// A `select` that cannot go on.
    EmptySelect,
    /// No object.
    Other(WaitKind),
    /// Unknown.
    Unknown(WaitKind),
}

/// What is waited on in one refresh.
#[derive(Clone, Debug)]
pub struct Waited {
    table: WaitTable,
    by_id: ById,
    /// By number.
    keys: Vec<WaitKey>,
    order: Vec<usize>,
}

impl Waited {
    /// By the goroutines at `positions`, in any order.
    #[must_use]
    pub fn of(index: &Index<'_>, positions: &[usize]) -> Self {
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        let table = WaitTable::of(index, &positions, true);
        let rows = (0..).map_while(|at| table.row(at).map(|row| (at, row)));
        let keys = rows.map(|(at, row)| key(index, row, table.is_unknown(at))).collect();
        Self { table, by_id: ById::of(index.snapshot()), keys, order: Vec::new() }
    }

    /// Puts the rows into order.
    pub fn sort(&mut self, index: &Index<'_>, order: Order<WaitSort>) {
        self.order = self.table.order(index, order.key, order.reverse);
    }

    /// The numbers of the rows, in order.
    #[must_use]
    pub fn rows(&self) -> &[usize] {
        &self.order
    }

    /// How many objects are waited on, those that are alike taken together.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.table.rows.len()
    }

    /// The row of a number.
    #[must_use]
    pub fn row(&self, at: usize) -> Option<&WaitRow> {
        self.table.row(at)
    }

    /// Goroutines by their ids.
    #[must_use]
    pub fn by_id(&self) -> &ById {
        &self.by_id
    }

    /// What the row of a number is about.
    #[must_use]
    pub fn key(&self, at: usize) -> Option<WaitKey> {
        self.keys.get(at).copied()
    }

    /// The row that is about `key`.
    #[must_use]
    pub fn find(&self, key: WaitKey) -> Option<&WaitRow> {
        self.row(self.keys.iter().position(|known| *known == key)?)
    }
}

fn key(index: &Index<'_>, row: &WaitRow, is_unknown: bool) -> WaitKey {
    match row.on {
        WaitedOn::Object(_) => WaitKey::Object(row.object(index).map_or(Addr(0), |object| object.addr)),
        WaitedOn::Alike(_) => WaitKey::Alike(row.kind, place(index, row)),
        WaitedOn::NilChannel => WaitKey::NilChannel,
        WaitedOn::EmptySelect => WaitKey::EmptySelect,
        WaitedOn::Other if is_unknown => WaitKey::Unknown(row.kind),
        WaitedOn::Other => WaitKey::Other(row.kind),
    }
}

/// The place of a row whose goroutines are all at one, by its text: names are numbered anew now and then.
fn place(index: &Index<'_>, row: &WaitRow) -> u64 {
    let snapshot = index.snapshot();
    let example = row.places.first().and_then(|place| snapshot.goroutines.get(place.example));
    let frame = example.and_then(|goroutine| index.place(goroutine, PlaceKind::User).frame());
    let line = frame.and_then(|frame| Line::of(&snapshot.symbols, frame));
    let text = line.map(|line| (snapshot.symbols.str(line.function), snapshot.symbols.str(line.file), line.line));
    // Without random keys, so that it is the same in the next snapshot.
    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}
