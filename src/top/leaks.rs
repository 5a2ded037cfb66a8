//! Leaked goroutines in the live view: what the heap showed when it was read last, in words.
//!
//! They are found by a session of their own, whose names mean nothing in the others. So all that is shown is
//! made text when they are found; goroutines keep their ids.

use std::time::Duration;

use rustc_hash::FxHashSet;

use crate::analysis::leaks::{LeakGroup, groups};
use crate::analysis::{Index, PlaceKind};
use crate::heap::{Grade, Leaks};
use crate::report::deadlock;
use crate::report::leaks::worth;
use crate::report::place::PlaceWords;

/// Ids of a group that are kept, so that its goroutines can be shown.
const MAX_IDS: usize = 100_000;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaksFound {
    /// How certain it is.
    pub grade: Grade,
    /// Why, in words.
    pub worth: String,
    /// How long it took.
    pub took: Duration,
    /// Leaked goroutines.
    pub total: u64,
    /// All goroutines.
    pub goroutines: u64,
    /// Bytes that they keep, of stacks and of the heap.
    pub kept: (u64, u64),
    /// Sentences.
    pub deadlocks: Vec<String>,
    /// The largest first.
    pub groups: Vec<LeakedGroup>,
}

/// Leaked goroutines of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakedGroup {
    /// How many.
    pub count: u64,
    /// How many of them are in a deadlock.
    pub deadlocked: u64,
    /// What they wait for, in the target's own words.
    pub reason: String,
    /// The longest known wait, ns.
    pub longest_ns: Option<u64>,
    /// Bytes of stacks.
    pub stack_bytes: u64,
    /// Bytes of the heap that only this group keeps, where that is known.
    pub heap_bytes: Option<u64>,
    /// The first ids, ascending.
    pub ids: Vec<u64>,
    pub(crate) place: Option<PlaceWords>,
    pub(crate) creator: Option<PlaceWords>,
}

impl LeaksFound {
    /// Of what the heap showed and a snapshot that was taken after it.
    #[must_use]
    pub fn of(index: &Index<'_>, leaks: &Leaks, took: Duration) -> Self {
        let groups = groups(index, leaks);
        let deadlocks = leaks.deadlocks.as_deref().unwrap_or_default();
        let locked: FxHashSet<u64> = deadlocks.iter().flat_map(|one| one.goroutines.iter().copied()).collect();
        let group = |group: LeakGroup| {
            let example = index.snapshot().goroutines.get(group.example);
            let place = |kind| {
                example.and_then(|example| PlaceWords::of(&index.snapshot().symbols, index.place(example, kind)))
            };
            LeakedGroup {
                count: number(group.ids.len()),
                deadlocked: number(group.ids.iter().filter(|id| locked.contains(id)).count()),
                reason: example.and_then(|example| index.reason(example)).unwrap_or("waiting").to_owned(),
                longest_ns: group.wait.map(|wait| wait.longest_ns),
                stack_bytes: group.stack_bytes,
                heap_bytes: group.heap_bytes,
                place: place(PlaceKind::User),
                creator: place(PlaceKind::Creator),
                ids: group.ids.into_iter().take(MAX_IDS).collect(),
            }
        };
        let stacks = leaks.leaked.iter().map(|leaked| leaked.stack_bytes).sum();
        Self {
            grade: leaks.proof.grade(),
            worth: worth(leaks),
            took,
            total: number(leaks.leaked.len()),
            goroutines: leaks.stats.goroutines,
            kept: (stacks, leaks.stats.leaked_bytes),
            deadlocks: deadlocks.iter().map(|one| deadlock::sentence(&one.goroutines)).collect(),
            groups: groups.into_iter().map(group).collect(),
        }
    }

    /// The group with this lowest id.
    #[must_use]
    pub fn group(&self, lowest: u64) -> Option<&LeakedGroup> {
        self.groups.iter().find(|group| group.ids.first() == Some(&lowest))
    }
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
