//! The list of goroutines from one capture to the next: where most are as they were, only the others are made anew.
//!
//! Which are as they were is decided where headers are read (`kept::memory`). All others are here: they are read, decoded
//! and described as ever, and take their places in the list. Goroutines that come and go make it a new list, of the same
//! parts. What is shown of a goroutine and follows from neither its header nor its stack is the time of its stamp, which
//! changes when a collection ends: for that, all are looked through.

use std::num::NonZeroU64;

use rustc_hash::FxHashSet;

use super::blocked::Stamps;
use super::kept::Kept;
use super::options::CaptureOptions;
use crate::model::{GcStats, Goroutine, Shared, Turns};
use crate::process::Clock;
use crate::threads;

/// The list of the latest capture.
#[derive(Debug, Default)]
pub(super) struct Listed {
    turns: Turns<Goroutine>,
    /// How that was made.
    options: Option<CaptureOptions>,
}

/// What a capture has to say of goroutines.
pub(super) struct Found {
    /// Those that are not as they were, in no order.
    pub(super) changed: Vec<Goroutine>,
    /// Positions of those that are.
    pub(super) as_before: Vec<u32>,
}

impl Listed {
    /// Whether a capture with these options can make its list of this one. What waits lead to is followed for all, and
    /// dead ones have no ids.
    pub(super) fn serves(&self, options: &CaptureOptions) -> bool {
        self.options.as_ref() == Some(options) && !options.waits && !options.dead
    }

    /// The list that is made of all goroutines, which are in order. `kept` is told of their places.
    pub(super) fn begin(
        &mut self,
        goroutines: Vec<Goroutine>,
        options: &CaptureOptions,
        kept: &mut Kept,
    ) -> Shared<Goroutine> {
        let list: Shared<Goroutine> = goroutines.into();
        self.options = Some(*options);
        if self.serves(options) {
            kept.has_list(list.iter().map(|goroutine| goroutine.addr.0));
            self.turns.begin(list.clone());
        } else {
            self.forget();
        }
        list
    }

    /// Drops the list.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The list that is made of the one before, and whether the same goroutines are at the same places in both.
    pub(super) fn next(
        &mut self,
        found: Found,
        kept: &mut Kept,
        (stamps, gc, clock): (&mut Stamps, Option<&GcStats>, Clock),
    ) -> (Shared<Goroutine>, bool) {
        let Found { mut changed, as_before } = found;
        let others = stamps.set_some(&mut changed, gc, clock);
        let before = self.turns.latest();
        let mut new = Vec::new();
        let mut at_places: Vec<(u32, Goroutine)> = Vec::with_capacity(changed.len());
        for goroutine in changed {
            let place = kept.position(goroutine.addr.0);
            let is_there = |at: &u32| before.get(*at as usize).is_some_and(|then| is_same(then, &goroutine));
            match place.filter(is_there) {
                Some(at) => at_places.push((at, goroutine)),
                None => new.push(goroutine),
            }
        }
        let is_whole = new.is_empty() && as_before.len().saturating_add(at_places.len()) == before.len();
        if others {
            restamp((before, &as_before), &mut at_places, &new, stamps);
        }
        if is_whole {
            kept.has_same_list();
            // Else more would be copied than is taken over.
            if at_places.len().saturating_mul(2) <= before.len() {
                return (self.turns.next(at_places), true);
            }
        }
        let list: Shared<Goroutine> = merged(before, &as_before, at_places, new).into();
        if !is_whole {
            kept.has_list(list.iter().map(|goroutine| goroutine.addr.0));
        }
        self.turns.begin(list.clone());
        (list, is_whole)
    }
}

/// Whether it is the same goroutine on the same g.
fn is_same(then: &Goroutine, now: &Goroutine) -> bool {
    (then.id, then.addr) == (now.id, now.addr)
}

/// Adds those of the goroutines that are as they were of whose stamps another time is known now.
fn restamp(
    (before, as_before): (&[Goroutine], &[u32]),
    changed: &mut Vec<(u32, Goroutine)>,
    new: &[Goroutine],
    stamps: &mut Stamps,
) {
    let others = changed.iter().map(|(_, goroutine)| goroutine).chain(new);
    let mut used: FxHashSet<NonZeroU64> = others.filter_map(|goroutine| goroutine.wait_since_ns).collect();
    for &at in as_before {
        let Some((goroutine, stamp)) = before.get(at as usize).and_then(|g| Some((g, g.wait_since_ns?))) else {
            continue;
        };
        used.insert(stamp);
        let blocked_before_ns = stamps.of_stamp(stamp);
        if goroutine.blocked_before_ns != blocked_before_ns {
            changed.push((at, Goroutine { blocked_before_ns, ..goroutine.clone() }));
        }
    }
    stamps.forget_others(&used);
}

/// A list in order of id: of `before` those that are as they were, those that have changed, and new ones.
fn merged(
    before: &[Goroutine],
    as_before: &[u32],
    changed: Vec<(u32, Goroutine)>,
    mut new: Vec<Goroutine>,
) -> Vec<Goroutine> {
    let mut is_there = vec![false; before.len()];
    for &at in as_before {
        if let Some(is_there) = is_there.get_mut(at as usize) {
            *is_there = true;
        }
    }
    let mut changed = changed;
    changed.sort_unstable_by_key(|(at, _)| *at);
    new.sort_unstable_by_key(|goroutine| (goroutine.id, goroutine.addr));
    let mut list = Vec::with_capacity(as_before.len().saturating_add(changed.len()).saturating_add(new.len()));
    let (mut changed, mut new) = (changed.into_iter().peekable(), new.into_iter().peekable());
    for ((position, then), is_there) in (0_u32..).zip(before).zip(is_there) {
        let now = changed.next_if(|(at, _)| *at == position).map(|(_, goroutine)| goroutine);
        let Some(goroutine) = now.or_else(|| is_there.then(|| then.clone())) else { continue };
        while let Some(first) = new.next_if(|first| (first.id, first.addr) < (goroutine.id, goroutine.addr)) {
            list.push(first);
        }
        list.push(goroutine);
    }
    list.extend(new);
    list
}

/// Puts the live ones first, by id. A long list is cut in the middle, and its halves are sorted at the
/// same time.
pub(super) fn sort(goroutines: &mut [Goroutine]) {
    /// Shorter ones are done before a thread has started.
    const LONG: usize = 1 << 15;
    let key = |g: &Goroutine| (g.status.is_dead(), g.id, g.addr);
    if goroutines.len() < LONG {
        goroutines.sort_unstable_by_key(key);
        return;
    }
    let (low, _, high) = goroutines.select_nth_unstable_by_key(goroutines.len() / 2, key);
    threads::both(low, high, |half| half.sort_unstable_by_key(key));
}
