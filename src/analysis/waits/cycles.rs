//! Likely deadlocks: cycles of goroutines, each of which waits for a lock whose likely holder is the next.

use super::{ById, lock_of};
use crate::analysis::Index;

/// Most cycles that are found.
pub const MAX_CYCLES: usize = 1_000;

/// Goroutines each of which waits for a lock that the next probably holds, and the last for one of the first's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Positions in the snapshot. The first is the lowest.
    pub goroutines: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    Unseen,
    /// On the path that is followed now.
    OnPath,
    Done,
}

/// The cycles, by their lowest goroutine. Each goroutine is in one at most.
#[must_use]
pub fn cycles(index: &Index<'_>, by_id: &ById) -> Vec<Cycle> {
    let snapshot = index.snapshot();
    let mut colours = vec![Colour::Unseen; snapshot.goroutines.len()];
    let mut found = Vec::new();
    // A goroutine, and how many of its holders were followed.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for start in 0..colours.len() {
        if colours.get(start) != Some(&Colour::Unseen) {
            continue;
        }
        path.push((start, 0));
        set(&mut colours, start, Colour::OnPath);
        while let Some((at, tried)) = path.last_mut() {
            let holder = lock_of(snapshot, *at).and_then(|(_, holders)| holders.get(*tried));
            let Some(holder) = holder else {
                set(&mut colours, *at, Colour::Done);
                path.pop();
                continue;
            };
            *tried += 1;
            let Some(next) = by_id.position(holder.goroutine) else { continue };
            match colours.get(next) {
                Some(Colour::Unseen) => {
                    set(&mut colours, next, Colour::OnPath);
                    path.push((next, 0));
                }
                Some(Colour::OnPath) if found.len() < MAX_CYCLES => {
                    let members = path.iter().map(|(position, _)| *position).skip_while(|position| *position != next);
                    found.push(Cycle { goroutines: members.collect() });
                }
                _ => {}
            }
        }
    }
    apart(found)
}

fn set(colours: &mut [Colour], at: usize, colour: Colour) {
    if let Some(slot) = colours.get_mut(at) {
        *slot = colour;
    }
}

/// Each cycle from its lowest member, the short ones first where a goroutine is in several.
fn apart(mut found: Vec<Cycle>) -> Vec<Cycle> {
    for cycle in &mut found {
        let lowest = (0..cycle.goroutines.len()).min_by_key(|&at| cycle.goroutines.get(at));
        cycle.goroutines.rotate_left(lowest.unwrap_or(0));
    }
    found.sort_by_key(|cycle| (cycle.goroutines.len(), cycle.goroutines.first().copied()));
    let mut taken = rustc_hash::FxHashSet::default();
    found.retain(|cycle| {
        let is_new = !cycle.goroutines.iter().any(|position| taken.contains(position));
        if is_new {
            taken.extend(cycle.goroutines.iter().copied());
        }
        is_new
    });
    found.sort_by_key(|cycle| cycle.goroutines.first().copied());
    found
}
