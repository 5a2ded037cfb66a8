//! The wait-for graph: goroutines, the objects that they wait on, and the likely holders of these.
//!
//! Goroutines in one place are one node, and so are objects on which one goroutine each waits. Above a limit, the
//! objects with the fewest waiters are left out, so the size of the graph is bounded in any program.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{ById, WaitRow, WaitTable, cycles};
use crate::analysis::group::{GroupBy, Key, Keys};
use crate::analysis::{Index, PlaceKind};

/// Goroutines at one place.
#[derive(Clone, Debug)]
pub struct Goroutines {
    /// Position of one of them.
    pub example: usize,
    /// How many of them are in the graph.
    pub count: u64,
    /// Whether one of them is in a likely deadlock.
    pub in_cycle: bool,
}

/// A line from goroutines to an object, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Number of the goroutines' node.
    pub goroutines: usize,
    /// Number of the object's node.
    pub object: usize,
    /// How many of the goroutines it stands for.
    pub count: u64,
    /// Whether it is a part of a likely deadlock.
    pub in_cycle: bool,
}

/// The graph.
#[derive(Clone, Debug, Default)]
pub struct WaitGraph {
    /// Goroutines.
    pub goroutines: Vec<Goroutines>,
    /// Objects: rows of the table of waits.
    pub objects: Vec<WaitRow>,
    /// Which goroutines wait on which object. Certain.
    pub waits: Vec<Edge>,
    /// Which goroutines probably hold which object.
    pub holds: Vec<Edge>,
    /// Rows of the table that are not in it.
    pub left_out: usize,
}

struct Builder<'a, 'i> {
    index: &'i Index<'a>,
    keys: Keys<'i>,
    nodes: FxHashMap<Key, usize>,
    /// Who is counted already: a goroutine that selects is on several objects.
    counted: FxHashSet<usize>,
    in_cycle: FxHashSet<usize>,
    graph: WaitGraph,
}

impl WaitGraph {
    /// Of the first `limit` rows of a table.
    #[must_use]
    pub fn of(index: &Index<'_>, table: &WaitTable, limit: usize) -> Self {
        let by_id = ById::of(index.snapshot());
        let in_cycle = cycles::cycles(index, &by_id).into_iter().flat_map(|cycle| cycle.goroutines).collect();
        let by = GroupBy::Place(PlaceKind::User);
        let mut builder = Builder {
            index,
            keys: Keys::new(&index.snapshot().symbols, &by),
            nodes: FxHashMap::default(),
            counted: FxHashSet::default(),
            in_cycle,
            graph: Self { left_out: table.rows.len().saturating_sub(limit), ..Self::default() },
        };
        for (object, row) in table.rows.iter().take(limit).enumerate() {
            let waits = builder.edges(object, row.goroutines.iter().copied());
            builder.graph.waits.extend(waits);
            let holders = row.holders(index).iter().filter_map(|holder| by_id.position(holder.goroutine));
            let holds = builder.edges(object, holders);
            builder.graph.holds.extend(holds);
            builder.graph.objects.push(row.clone());
        }
        builder.graph
    }
}

impl Builder<'_, '_> {
    /// The edges between an object and goroutines, one for each of their nodes.
    fn edges(&mut self, object: usize, positions: impl Iterator<Item = usize>) -> Vec<Edge> {
        let mut edges: Vec<Edge> = Vec::new();
        for position in positions {
            let Some(goroutine) = self.index.snapshot().goroutines.get(position) else { continue };
            let key = self.index.key(&mut self.keys, goroutine);
            let at = *self.nodes.entry(key).or_insert_with(|| {
                self.graph.goroutines.push(Goroutines { example: position, count: 0, in_cycle: false });
                self.graph.goroutines.len() - 1
            });
            let in_cycle = self.in_cycle.contains(&position);
            if let Some(node) = self.graph.goroutines.get_mut(at) {
                node.count += u64::from(self.counted.insert(position));
                node.in_cycle |= in_cycle;
            }
            match edges.iter_mut().find(|edge| edge.goroutines == at) {
                Some(edge) => {
                    edge.count += 1;
                    edge.in_cycle |= in_cycle;
                }
                None => edges.push(Edge { goroutines: at, object, count: 1, in_cycle }),
            }
        }
        edges
    }
}
