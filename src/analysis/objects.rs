//! What is on a heap, by groups of goroutines: those in the same place, as a summary shows them.

use rustc_hash::FxHashMap;

use super::place::Place;
use super::{Index, PlaceKind};
use crate::heap::objects::{Keeper, Objects};

/// Most groups that are counted apart: each takes a step of the mark.
const MOST_GROUPS: usize = 64;

/// Goroutines in the same place.
#[derive(Clone, Debug)]
pub struct ObjectGroup {
    /// Where they are; `None` for the runtime's own goroutines.
    pub place: Option<Place>,
    /// Their ids, ascending.
    pub ids: Vec<u64>,
}

/// Groups, largest first; equal ones by their lowest id. The runtime's own goroutines are one, the last.
#[must_use]
pub fn groups(index: &Index<'_>) -> Vec<ObjectGroup> {
    let pool = &index.snapshot().symbols;
    let mut by_key = FxHashMap::default();
    let mut out: Vec<ObjectGroup> = Vec::new();
    let mut system = Vec::new();
    for goroutine in &index.snapshot().goroutines {
        if goroutine.status.is_dead() {
            continue;
        }
        if goroutine.system {
            system.push(goroutine.id.0);
            continue;
        }
        let place = index.place(goroutine, PlaceKind::User);
        let key = place.spot().and_then(|spot| spot.key(pool));
        let number = *by_key.entry(key).or_insert(out.len());
        if number == out.len() {
            out.push(ObjectGroup { place: Some(place), ids: Vec::new() });
        }
        if let Some(group) = out.get_mut(number) {
            group.ids.push(goroutine.id.0);
        }
    }
    out.iter_mut().for_each(|group| group.ids.sort_unstable());
    out.sort_by_key(|group| (std::cmp::Reverse(group.ids.len()), group.ids.first().copied()));
    out.truncate(MOST_GROUPS);
    system.sort_unstable();
    if !system.is_empty() {
        out.push(ObjectGroup { place: None, ids: system });
    }
    out
}

/// Goroutines that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnlyFrom {
    /// The one with this id.
    Goroutine(u64),
    /// Those in places in this function.
    Function(String),
}

impl OnlyFrom {
    /// Their ids, ascending; the error says what there is instead.
    ///
    /// # Errors
    /// When there are none.
    pub fn ids(&self, index: &Index<'_>) -> Result<Vec<u64>, String> {
        /// Functions that are named where none fits.
        const NAMED: usize = 5;
        let snapshot = index.snapshot();
        let name = match self {
            Self::Goroutine(id) => {
                return match snapshot.goroutines.iter().any(|goroutine| goroutine.id.0 == *id) {
                    true => Ok(vec![*id]),
                    false => Err(format!("there is no goroutine {id}")),
                };
            }
            Self::Function(name) => name,
        };
        let mut others: Vec<&str> = Vec::new();
        let mut ids = Vec::new();
        for goroutine in &snapshot.goroutines {
            let Some(frame) = index.place(goroutine, PlaceKind::User).frame() else { continue };
            let function = snapshot.symbols.function(frame);
            // Without the path of its package it is what tables show.
            if function == name || function.rsplit('/').next() == Some(name) {
                ids.push(goroutine.id.0);
            } else if !goroutine.system && others.len() < NAMED && !others.contains(&function) {
                others.push(function);
            }
        }
        ids.sort_unstable();
        match (ids.is_empty(), others.is_empty()) {
            (false, _) => Ok(ids),
            (true, true) => Err(format!("no goroutine is in {name}")),
            (true, false) => Err(format!("no goroutine is in {name}; there are some in {}", others.join(", "))),
        }
    }
}

/// What keeps objects, largest first, without those that keep none.
#[must_use]
pub fn keepers(objects: &Objects) -> Vec<(Keeper, crate::heap::objects::Amount)> {
    let mut kept = objects.kept.clone();
    kept.retain(|(by, amount)| amount.objects > 0 || *by == Keeper::Only);
    kept.sort_by_key(|(by, amount)| (std::cmp::Reverse(amount.bytes), *by));
    kept
}
