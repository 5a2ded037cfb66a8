//! What leaked goroutines keep: the bytes of the heap that only one group of them reaches, and which of them can
//! be woken by each other alone.
//!
//! It starts from the marks of the pass that found them, before anything was marked for their sake. Nobody who can
//! run reaches what only they reach, and the collector keeps that as long as they are there. So it is as it was,
//! though the program may have run on since; their stacks, which the collector may have moved, are looked up
//! anew, and compared again at the end.

use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::HeapError;
use super::deadlocks::{Reached, deadlocks};
use super::goroutines::{Goroutine, Goroutines, unmoved};
use super::leaks::{Heap, LeakedGoroutine, PassOptions};
use super::marker::{MarkState, Marker, Progress};
use super::proof::Leaks;
use super::roots::modules;
use super::spans::ObjectId;
use super::stacks::Stacks;
use crate::runtime::GoProcess;

/// The heap as the mark left it that found the leaks.
pub(super) struct Kept {
    heap: Heap,
    state: MarkState,
    /// Addresses of the gs that the pass called leaked as well, and that have run since.
    others: Vec<u64>,
}

impl Kept {
    pub(super) fn new(heap: Heap, state: MarkState) -> Self {
        Self { heap, state, others: Vec::new() }
    }

    /// The pass has found `all`, of which only `leaked` stayed.
    pub(super) fn leave_out(&mut self, all: &[LeakedGoroutine], leaked: &[LeakedGoroutine]) {
        let stay: FxHashSet<u64> = leaked.iter().map(|leaked| leaked.addr.0).collect();
        self.others = all.iter().map(|other| other.addr.0).filter(|addr| !stay.contains(addr)).collect();
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// Bytes of the heap that leaked goroutines keep, by groups of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptBytes {
    /// By the lowest id of the group.
    by_lowest: FxHashMap<u64, u64>,
    /// Bytes that several groups reach, and no others.
    pub shared: u64,
    /// All bytes that only leaked goroutines reach.
    pub total: u64,
}

impl KeptBytes {
    /// Bytes that the group with this lowest id reaches, and nobody else; `None` where that was not found out.
    #[must_use]
    pub fn of_group(&self, lowest: u64) -> Option<u64> {
        self.by_lowest.get(&lowest).copied()
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn made_up(groups: impl Iterator<Item = (u64, u64)>, shared: u64) -> Self {
        let by_lowest: FxHashMap<u64, u64> = groups.collect();
        let total = by_lowest.values().sum::<u64>() + shared;
        Self { by_lowest, shared, total }
    }
}

/// Leaked goroutines each of which can be woken by the others only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlock {
    /// Their ids, ascending: two at least.
    pub goroutines: Vec<u64>,
}

/// How often all is done again because a stack was moved meanwhile.
const TRIES: usize = 3;
/// Words of marks that are compared or set back, at most.
const MOST_WORDS: usize = 1 << 30;
/// Goroutines whose reach is looked at one by one, at most.
const MOST_ALONE: usize = 1_024;
/// Objects that they wait for, at most: a select may have 65,536 cases.
const MOST_OBJECTS: usize = 1 << 16;
/// Sets of objects by which the others are told apart.
const MOST_CLASSES: usize = 64;
/// No reach of one goroutine is begun after this time.
const LONGEST: Duration = Duration::from_secs(2);

impl Leaks {
    /// Finds out what groups of the leaked goroutines keep, and which of them wait for each other. `groups` are their
    /// ids, the most interesting group first. It can be asked once, and what it cannot find out stays unknown.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn examine(&mut self, process: GoProcess<'_>, groups: &[Vec<u64>]) -> Result<(), HeapError> {
        self.examine_as_it_is(process.unlogged(), groups)
    }

    /// The same, so that what is read gets into the recording that is being made, if any.
    pub(super) fn examine_as_it_is(&mut self, process: GoProcess<'_>, groups: &[Vec<u64>]) -> Result<(), HeapError> {
        let Some(kept) = self.kept.take() else { return Ok(()) };
        let progress = Progress::default();
        let marker = kept.heap.marker(process, &progress);
        for _ in 0..TRIES {
            let Some(found) = again(process, &kept.heap, &self.leaked)? else { return Ok(()) };
            let mut walk = Walk::new(process, &kept, &marker)?;
            let words = walk.all(&found)?;
            let bytes = walk.bytes(&found, groups, &words)?;
            let deadlocks = walk.deadlocks(&found, groups, &words)?;
            let all: Vec<Goroutine> = found.values().map(|(goroutine, _)| *goroutine).collect();
            if walk.stacks.unreadable == 0 && unmoved(process, &kept.heap.layout, &all)?.iter().all(|same| *same) {
                self.stats.leaked_bytes = bytes.total;
                self.bytes = Some(bytes);
                self.deadlocks = deadlocks;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Goroutines as they are now, with what they wait for, by id.
type Found<'l> = FxHashMap<u64, (Goroutine, &'l LeakedGoroutine)>;

/// Reads them anew; `None` where one has gone.
fn again<'l>(
    process: GoProcess<'_>,
    heap: &Heap,
    leaked: &'l [LeakedGoroutine],
) -> Result<Option<Found<'l>>, HeapError> {
    let gs = leaked.iter().map(|leaked| leaked.addr.0).collect();
    let now = Goroutines::read(process, &heap.layout, gs)?;
    let now: FxHashMap<u64, Goroutine> = now.list.into_iter().map(|goroutine| (goroutine.addr, goroutine)).collect();
    let found = leaked.iter().map(|leaked| {
        let now = now.get(&leaked.addr.0)?;
        let is_same = now.goid == leaked.goid && now.blocked == leaked.goroutine.blocked;
        is_same.then_some((leaked.goid, (*now, leaked)))
    });
    Ok(found.collect())
}

struct Walk<'w, 'm> {
    /// What is marked for the sake of others.
    state: MarkState,
    marker: &'w Marker<'m>,
    stacks: Stacks<'w, 'm>,
    threads: usize,
}

impl<'w, 'm> Walk<'w, 'm> {
    fn new(process: GoProcess<'w>, kept: &'w Kept, marker: &'w Marker<'m>) -> Result<Self, HeapError> {
        let modules = modules(process, &kept.heap.layout)?;
        let mut stacks = Stacks::new(process, &kept.heap.layout, marker, &modules);
        let threads = PassOptions::default().threads;
        marker.restore(&kept.state);
        let others = Goroutines::read(process, &kept.heap.layout, kept.others.clone())?;
        stacks.scan(&others.list.iter().collect::<Vec<_>>())?;
        marker.drain(threads)?;
        stacks.unreadable = 0;
        Ok(Self { state: marker.state(), marker, stacks, threads })
    }

    /// Forgets what was marked for anybody's sake.
    fn restart(&self) {
        self.marker.restore(&self.state);
    }

    fn reach(&mut self, goroutines: &[&Goroutine], threads: usize) -> Result<(), HeapError> {
        self.stacks.scan(goroutines)?;
        Ok(self.marker.drain(threads)?)
    }

    /// What all of them reach.
    fn all(&mut self, found: &Found<'_>) -> Result<Vec<NewMarks>, HeapError> {
        self.restart();
        let all: Vec<&Goroutine> = found.values().map(|(goroutine, _)| goroutine).collect();
        self.reach(&all, self.threads)?;
        Ok(self.marker.marked_since(&self.state))
    }

    /// What only one group reaches is what is met first by it, whether the groups are gone through from the first to
    /// the last or the other way round: each object is scanned twice, however many groups there are.
    fn bytes(&mut self, found: &Found<'_>, groups: &[Vec<u64>], words: &[NewMarks]) -> Result<KeptBytes, HeapError> {
        let members = |group: &Vec<u64>| -> Vec<&Goroutine> {
            group.iter().filter_map(|id| found.get(id).map(|(goroutine, _)| goroutine)).collect()
        };
        let bytes = |bits: u64, size: u64| u64::from(bits.count_ones()).saturating_mul(size);
        let total: u64 = words.iter().map(|word| bytes(word.bits, word.size)).sum();
        // Those that are too many are one.
        let most = (MOST_WORDS / words.len().max(1)).max(1);
        let (alone, rest) = groups.split_at(groups.len().min(most));
        let mut units: Vec<Vec<&Goroutine>> = alone.iter().map(members).collect();
        units.push(rest.iter().flat_map(members).collect());

        let mut first: Vec<Vec<(usize, u64)>> = Vec::new();
        let mut seen = vec![0_u64; words.len()];
        self.restart();
        for unit in &units {
            self.reach(unit, self.threads)?;
            first.push(self.new_bits(words, &mut seen));
        }
        seen.fill(0);
        self.restart();
        let mut kept = KeptBytes { shared: total, total, ..KeptBytes::default() };
        for (number, unit) in units.iter().enumerate().rev() {
            self.reach(unit, self.threads)?;
            let last: FxHashMap<usize, u64> = self.new_bits(words, &mut seen).into_iter().collect();
            let first = first.get(number).map_or(&[][..], Vec::as_slice);
            let own = first.iter().filter_map(|(at, bits)| {
                let size = words.get(*at)?.size;
                Some(bytes(bits & last.get(at)?, size))
            });
            let own: u64 = own.sum();
            kept.shared = kept.shared.saturating_sub(own);
            if let Some(lowest) = alone.get(number).and_then(|group| group.iter().min()) {
                kept.by_lowest.insert(*lowest, own);
            }
        }
        Ok(kept)
    }

    /// Which bits of `words` are set and not in `seen`, where they are now.
    fn new_bits(&self, words: &[NewMarks], seen: &mut [u64]) -> Vec<(usize, u64)> {
        let mut out = Vec::new();
        for (at, (word, seen)) in words.iter().zip(seen).enumerate() {
            let new = self.marker.mark_word(word.at) & word.bits & !*seen;
            if new != 0 {
                *seen |= new;
                out.push((at, new));
            }
        }
        out
    }

    /// `None` where they are too many, or reach too much, for it to be found out.
    fn deadlocks(
        &mut self,
        found: &Found<'_>,
        groups: &[Vec<u64>],
        words: &[NewMarks],
    ) -> Result<Option<Vec<Deadlock>>, HeapError> {
        let started = Instant::now();
        let most = (MOST_WORDS / words.len().max(1)).clamp(1, MOST_ALONE);
        let (alone, rest) = chosen(groups, most);
        let waits_for = |id: &u64| found.get(id).map_or(&[][..], |(_, leaked)| leaked.objects.as_slice());
        let mut objects: Vec<(u64, ObjectId)> = Vec::new();
        for addr in alone.iter().flat_map(waits_for) {
            if objects.len() >= MOST_OBJECTS {
                return Ok(None);
            }
            if let Some(object) = self.marker.spans().find(addr.0) {
                objects.push((addr.0, object));
            }
        }
        objects.sort_unstable_by_key(|(addr, _)| *addr);
        objects.dedup_by_key(|(addr, _)| *addr);
        let number = |addr: &crate::addr::Addr| objects.binary_search_by_key(&addr.0, |(addr, _)| *addr).ok();
        let mut classes: FxHashMap<Vec<usize>, Vec<u64>> = FxHashMap::default();
        for id in rest {
            let mut waits: Vec<usize> = waits_for(&id).iter().filter_map(number).collect();
            waits.sort_unstable();
            let class = if classes.len() < MOST_CLASSES || classes.contains_key(&waits) { waits } else { Vec::new() };
            classes.entry(class).or_default().push(id);
        }
        let one = alone.iter().map(|id| (waits_for(id).iter().filter_map(number).collect(), vec![*id]));
        let units: Vec<(Vec<usize>, Vec<u64>)> = one.chain(classes).collect();
        let mut reached = Vec::new();
        for (waits_for, members) in &units {
            if started.elapsed() > LONGEST {
                return Ok(None);
            }
            let members: Vec<&Goroutine> =
                members.iter().filter_map(|id| found.get(id).map(|(goroutine, _)| goroutine)).collect();
            self.marker.restore_some(&self.state, words);
            self.reach(&members, 1)?;
            let marked =
                |(number, (_, object)): (usize, &(u64, ObjectId))| self.marker.is_marked(*object).then_some(number);
            let reaches = objects.iter().enumerate().filter_map(marked).collect();
            reached.push(Reached { waits_for: waits_for.clone(), reaches });
        }
        let cycles = deadlocks(&reached, alone.len());
        let ids = |cycle: Vec<usize>| {
            let mut goroutines: Vec<u64> = cycle.iter().filter_map(|at| alone.get(*at).copied()).collect();
            goroutines.sort_unstable();
            Deadlock { goroutines }
        };
        let mut found: Vec<Deadlock> = cycles.into_iter().map(ids).collect();
        found.sort_by_key(|deadlock| deadlock.goroutines.first().copied());
        Ok(Some(found))
    }
}

/// At most `most` ids, as many of each group as of the others as far as it has them, the oldest first; and the rest.
fn chosen(groups: &[Vec<u64>], most: usize) -> (Vec<u64>, Vec<u64>) {
    let mut sorted: Vec<Vec<u64>> = groups.to_vec();
    sorted.iter_mut().for_each(|group| group.sort_unstable());
    let longest = sorted.iter().map(Vec::len).max().unwrap_or(0);
    let mut all = (0..longest).flat_map(|nth| sorted.iter().filter_map(move |group| group.get(nth).copied()));
    let first: Vec<u64> = all.by_ref().take(most).collect();
    (first, all.collect())
}

/// Marks that were set since a state, in one word of marks.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewMarks {
    /// Which word.
    pub(super) at: usize,
    /// Which word of what was scanned belongs to it; `None` where nothing is.
    pub(super) scans_at: Option<usize>,
    /// The bits.
    pub(super) bits: u64,
    /// Bytes of one object.
    pub(super) size: u64,
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn each_group_has_its_share_and_the_oldest_come_first() {
        let groups = [vec![9, 3, 5, 7], vec![2], vec![11, 10]];
        assert_eq!(chosen(&groups, 5), (vec![3, 2, 10, 5, 11], vec![7, 9]));
        assert_eq!(chosen(&groups, 99).0.len(), 7);
        assert_eq!(chosen(&[], 5), (vec![], vec![]));
    }
}
