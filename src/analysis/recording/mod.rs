//! Where goroutines spend their time: many samples of one program, added up.
//!
//! A sample stands for the time from halfway to the sample before it to halfway to the next one; each
//! goroutine in it spends that time in its stack and state. So the times of a goroutine that lives throughout
//! add up to the length of the recording, however late single samples came.
//!
//! A goroutine is *idle* if it was in one and the same wait in every sample, and that wait is one for something
//! to do: for a message, a connection, a point in time, a signal. The runtime's own are idle whenever they wait,
//! though a collection wakes them. One that waits for a lock, a `WaitGroup`, a receiver of what it sends, or in a
//! system call is never idle, however long it does: those are what a program hangs in.

#[cfg(test)]
mod tests;

use indexmap::IndexMap;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::Index;
use super::series::Observed;
use crate::model::{
    FrameId, Goid, Goroutine, LabelsId, NotShown, PoolId, Shared, StackState, Status, SymbolPool, TargetInfo,
};

/// Samples, and the time that they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How many goroutines were seen, each counted once in each sample.
    pub samples: u64,
    /// Time, all of these together, ns.
    pub ns: u64,
}

impl Spent {
    fn add(&mut self, other: Self) {
        self.samples = self.samples.saturating_add(other.samples);
        self.ns = self.ns.saturating_add(other.ns);
    }

    fn take(&mut self, other: Self) {
        self.samples = self.samples.saturating_sub(other.samples);
        self.ns = self.ns.saturating_sub(other.ns);
    }
}

/// What goroutines have in common whose times are added up. Ids are those of the pool that [`Recording::symbols`]
/// gives for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Doing {
    pool: PoolId,
    /// Their stack, or why it is not known.
    pub stack: StackState,
    /// Where they started, where the stack is not known.
    pub start: Option<FrameId>,
    /// Their state.
    pub status: Status,
    reason: Option<u32>,
    part: Option<u32>,
    /// The program's own labels.
    pub labels: Option<LabelsId>,
    /// Whether they are the runtime's own.
    pub system: bool,
}

/// The time spent in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    /// All of it.
    all: Spent,
    /// Of it, that of idle goroutines.
    idle: Spent,
}

/// How many goroutines do what, by its number.
#[derive(Debug, Default)]
struct Doers(FxHashMap<u32, u64>);

impl Doers {
    fn add(&mut self, doing: u32) {
        *self.0.entry(doing).or_default() += 1;
    }

    fn take(&mut self, doing: u32) {
        if let Some(count) = self.0.get_mut(&doing) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&doing);
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        self.0.iter().map(|(doing, count)| (*doing as usize, *count))
    }
}

/// Goroutines that have been idle so far.
#[derive(Debug, Default)]
struct IdleSoFar {
    doing: FxHashMap<Goid, u32>,
    doers: Doers,
}

impl IdleSoFar {
    fn add(&mut self, id: Goid, doing: u32) {
        if let Some(before) = self.doing.insert(id, doing) {
            self.doers.take(before);
        }
        self.doers.add(doing);
    }

    fn remove(&mut self, id: Goid) {
        if let Some(doing) = self.doing.remove(&id) {
            self.doers.take(doing);
        }
    }
}

/// Goroutines of the latest sample, whose time is known when the next one comes.
#[derive(Debug, Default)]
struct Latest {
    monotonic_ns: u64,
    goroutines: Shared<Goroutine>,
    pool: Option<PoolId>,
    /// Whether that was a sample in which nothing had run since the one before.
    is_repeated: bool,
    /// How many were seen, and how many of them torn.
    seen: (u64, u64),
    /// What each of them does, by position; `None` of one that was not selected.
    doing: Vec<Option<u32>>,
    doers: Doers,
}

fn is_torn(goroutine: &Goroutine) -> bool {
    matches!(goroutine.stack, StackState::NotShown(NotShown::Moving | NotShown::Unreadable))
}

/// How a recording went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordingStats {
    /// Samples taken.
    pub samples: u64,
    /// From the first sample to the last one, ns.
    pub duration_ns: u64,
    /// When the first one was taken, ns since the Unix epoch.
    pub started_unix_ns: u64,
    /// Goroutines seen, each counted once in each sample.
    pub seen: u64,
    /// Of them, those that changed while they were read, at every attempt, or could not be read: their stack is
    /// not known.
    pub torn: u64,
}

/// Most names of parts that are kept.
const MAX_PARTS: usize = 50_000;
/// The name of all others.
const OTHER_PARTS: &str = "others";

/// Samples of one program, added up.
#[derive(Debug, Default)]
pub struct Recording {
    pools: FxHashMap<PoolId, SymbolPool>,
    times: IndexMap<Doing, Times, FxBuildHasher>,
    reasons: IndexMap<String, (), FxBuildHasher>,
    parts: IndexMap<String, (), FxBuildHasher>,
    idle: IdleSoFar,
    first_ns: u64,
    /// What a goroutine has spent that was there from the first sample on.
    throughout: Spent,
    latest: Latest,
    stats: RecordingStats,
    target: Option<TargetInfo>,
}

impl Recording {
    /// Adds a sample: those of its goroutines that `selected` says.
    pub fn add(&mut self, observed: &Observed, selected: impl FnMut(&Goroutine) -> bool) {
        self.add_apart(observed, selected, |_, _| None);
    }

    /// The same, with goroutines apart from each other for which `part` has different names.
    pub fn add_apart(
        &mut self,
        observed: &Observed,
        mut selected: impl FnMut(&Goroutine) -> bool,
        mut part: impl FnMut(&Index<'_>, &Goroutine) -> Option<String>,
    ) {
        let snapshot = observed.snapshot();
        let now = snapshot.monotonic_ns;
        if self.stats.samples == 0 {
            self.first_ns = now;
            self.latest.monotonic_ns = now;
            self.stats.started_unix_ns = snapshot.captured_at_unix_ns;
            self.target = Some(snapshot.target.clone());
        }
        let half_ns = now.saturating_sub(self.latest.monotonic_ns) / 2;
        self.spend(half_ns);
        let first = self.stats.samples == 0;
        let mut still_idle = FxHashMap::default();
        let (mut all, mut doers) = (Vec::with_capacity(snapshot.goroutines.len()), Doers::default());
        let (mut seen, mut torn) = (0_u64, 0_u64);
        let index = observed.index();
        for (position, goroutine) in snapshot.goroutines.iter().enumerate() {
            if goroutine.status.is_dead() || !selected(goroutine) {
                all.push(None);
                continue;
            }
            let part = part(&index, goroutine).map(|name| self.part_number(name));
            let doing = self.doing(&index, goroutine, part);
            all.push(Some(doing));
            doers.add(doing);
            seen += 1;
            torn += u64::from(is_torn(goroutine));
            if first {
                if waits_for_work(&index, goroutine) {
                    self.idle.add(goroutine.id, doing);
                }
            } else if self.is_still(observed, position) {
                still_idle.insert(goroutine.id, doing);
            }
        }
        if !first {
            self.keep_idle(&still_idle);
        }
        let is_repeated = observed.repeats(&self.latest.goroutines);
        self.latest = Latest {
            monotonic_ns: now,
            goroutines: snapshot.goroutines.clone(),
            pool: Some(snapshot.symbols.id()),
            is_repeated,
            seen: (seen, torn),
            doing: all,
            doers,
        };
        self.pools.insert(snapshot.symbols.id(), snapshot.symbols.view());
        self.end_sample(half_ns);
    }

    /// Adds a sample in which nothing has run since the one that was added last, nor between that and the one before,
    /// with the same goroutines selected and parted. `false` where it is not like that: then nothing was added.
    pub fn add_again(&mut self, observed: &Observed) -> bool {
        if !self.latest.is_repeated || !observed.repeats(&self.latest.goroutines) {
            return false;
        }
        let now = observed.snapshot().monotonic_ns;
        let half_ns = now.saturating_sub(self.latest.monotonic_ns) / 2;
        self.spend(half_ns);
        self.latest.monotonic_ns = now;
        self.end_sample(half_ns);
        true
    }

    /// Adds a sample that has the goroutines of the one that was added last, most of them as they were: only the others are
    /// looked at. Whether one is selected, and its part, must depend on nothing but the goroutine. `false` where it is not
    /// like that: then nothing was added.
    pub fn add_changes(
        &mut self,
        observed: &Observed,
        mut selected: impl FnMut(&Goroutine) -> bool,
        mut part: impl FnMut(&Index<'_>, &Goroutine) -> Option<String>,
    ) -> bool {
        let snapshot = observed.snapshot();
        let Some(changes) = observed.changes_since(&self.latest.goroutines) else { return false };
        if self.stats.samples == 0 || self.latest.pool != Some(snapshot.symbols.id()) {
            return false;
        }
        let half_ns = snapshot.monotonic_ns.saturating_sub(self.latest.monotonic_ns) / 2;
        self.spend(half_ns);
        let index = observed.index();
        let mut latest = std::mem::take(&mut self.latest);
        for position in changes.iter().map(|&position| position as usize) {
            let before = latest.goroutines.get(position).zip(latest.doing.get_mut(position));
            let Some(((then, was_doing), goroutine)) = before.zip(snapshot.goroutines.get(position)) else { continue };
            if let Some(doing) = was_doing.take() {
                latest.doers.take(doing);
                latest.seen.0 = latest.seen.0.saturating_sub(1);
                latest.seen.1 = latest.seen.1.saturating_sub(u64::from(is_torn(then)));
            }
            if !goroutine.status.is_dead() && selected(goroutine) {
                let part = part(&index, goroutine).map(|name| self.part_number(name));
                let doing = self.doing(&index, goroutine, part);
                *was_doing = Some(doing);
                latest.doers.add(doing);
                latest.seen.0 += 1;
                latest.seen.1 += u64::from(is_torn(goroutine));
            }
            let now = was_doing.filter(|_| self.is_still(observed, position));
            self.keep_idle_one(goroutine.id, now);
        }
        (latest.monotonic_ns, latest.is_repeated) = (snapshot.monotonic_ns, false);
        latest.goroutines = snapshot.goroutines.clone();
        self.latest = latest;
        self.pools.insert(snapshot.symbols.id(), snapshot.symbols.view());
        self.end_sample(half_ns);
        true
    }

    /// Whether a goroutine has been in one wait since the first sample.
    fn is_still(&self, observed: &Observed, position: usize) -> bool {
        observed.same_wait_since_ns(position).is_some_and(|since| since <= self.first_ns)
    }

    /// Counts the latest sample, for the time since it came halfway.
    fn end_sample(&mut self, half_ns: u64) {
        let (seen, torn) = self.latest.seen;
        self.stats.seen = self.stats.seen.saturating_add(seen);
        self.stats.torn = self.stats.torn.saturating_add(torn);
        self.stats.samples = self.stats.samples.saturating_add(1);
        self.throughout.samples = self.stats.samples;
        for (doing, samples) in self.latest.doers.iter() {
            if let Some((_, times)) = self.times.get_index_mut(doing) {
                times.all.add(Spent { samples, ns: 0 });
            }
        }
        for (doing, samples) in self.idle.doers.iter() {
            if let Some((_, times)) = self.times.get_index_mut(doing) {
                times.idle.add(Spent { samples, ns: 0 });
            }
        }
        self.spend(half_ns);
        self.stats.duration_ns = self.latest.monotonic_ns.saturating_sub(self.first_ns);
    }

    /// Half of the time between two samples, for the goroutines of the latest one.
    fn spend(&mut self, half_ns: u64) {
        self.throughout.ns = self.throughout.ns.saturating_add(half_ns);
        for (doing, count) in self.latest.doers.iter() {
            if let Some((_, times)) = self.times.get_index_mut(doing) {
                times.all.add(Spent { samples: 0, ns: half_ns.saturating_mul(count) });
            }
        }
        for (doing, count) in self.idle.doers.iter() {
            if let Some((_, times)) = self.times.get_index_mut(doing) {
                times.idle.add(Spent { samples: 0, ns: half_ns.saturating_mul(count) });
            }
        }
    }

    /// Goroutines that have done something since were not idle before either.
    fn keep_idle(&mut self, still: &FxHashMap<Goid, u32>) {
        let changed = |(id, doing): (&Goid, &u32)| (still.get(id) != Some(doing)).then_some(*id);
        let changed: Vec<Goid> = self.idle.doing.iter().filter_map(changed).collect();
        changed.into_iter().for_each(|id| self.keep_idle_one(id, still.get(&id).copied()));
    }

    /// One that has been idle so far does this now and has not gone on; or has, where it is `None`.
    fn keep_idle_one(&mut self, id: Goid, now: Option<u32>) {
        let Some(&was) = self.idle.doing.get(&id) else { return };
        if now == Some(was) {
            return;
        }
        let (times, spent) = (&mut self.times, self.throughout);
        if let Some((_, times)) = times.get_index_mut(was as usize) {
            times.idle.take(spent);
        }
        let Some(now) = now else {
            self.idle.remove(id);
            return;
        };
        // The same in another pool.
        if let Some((_, times)) = times.get_index_mut(was as usize) {
            times.all.take(spent);
        }
        if let Some((_, times)) = times.get_index_mut(now as usize) {
            times.all.add(spent);
            times.idle.add(spent);
        }
        self.idle.add(id, now);
    }

    /// The number of a part; all share the last one once there are too many.
    fn part_number(&mut self, name: String) -> u32 {
        match self.parts.get_index_of(&name) {
            Some(known) => number(known),
            None if self.parts.len() < MAX_PARTS => number(self.parts.insert_full(name, ()).0),
            None => number(self.parts.insert_full(OTHER_PARTS.to_owned(), ()).0),
        }
    }

    fn doing(&mut self, index: &Index<'_>, goroutine: &Goroutine, part: Option<u32>) -> u32 {
        let snapshot = index.snapshot();
        let reason = index.reason(goroutine).map(|reason| match self.reasons.get_index_of(reason) {
            Some(known) => number(known),
            None => number(self.reasons.insert_full(reason.to_owned(), ()).0),
        });
        let doing = Doing {
            pool: snapshot.symbols.id(),
            stack: goroutine.stack,
            start: goroutine.stack.known().is_none().then_some(goroutine.start).flatten(),
            status: goroutine.status,
            reason,
            part,
            labels: goroutine.labels.filter(|&id| !snapshot.symbols.labels(id).is_empty()),
            system: goroutine.system,
        };
        match self.times.get_index_of(&doing) {
            Some(known) => number(known),
            None => number(self.times.insert_full(doing, Times::default()).0),
        }
    }

    /// How it went.
    #[must_use]
    pub fn stats(&self) -> RecordingStats {
        self.stats
    }

    /// The program; `None` before the first sample.
    #[must_use]
    pub fn target(&self) -> Option<&TargetInfo> {
        self.target.as_ref()
    }

    /// Names, stacks and labels for what these goroutines do.
    #[must_use]
    pub fn symbols(&self, doing: &Doing) -> Option<&SymbolPool> {
        self.pools.get(&doing.pool)
    }

    /// Why they wait, in the runtime's own words.
    #[must_use]
    pub fn reason(&self, doing: &Doing) -> Option<&str> {
        let (reason, ()) = self.reasons.get_index(doing.reason? as usize)?;
        Some(reason)
    }

    /// What they have in common that [`Recording::add_apart`] was given.
    #[must_use]
    pub fn part(&self, doing: &Doing) -> Option<&str> {
        let (part, ()) = self.parts.get_index(doing.part? as usize)?;
        Some(part)
    }

    /// What was done, for how long, in the order in which it was first seen; that of idle goroutines only
    /// `with_idle`.
    pub fn spent(&self, with_idle: bool) -> impl Iterator<Item = (&Doing, Spent)> {
        self.times.iter().filter_map(move |(doing, times)| {
            let mut spent = times.all;
            if !with_idle {
                spent.take(idle_of(doing, times));
            }
            (spent.samples > 0).then_some((doing, spent))
        })
    }

    /// The time of idle goroutines, all together.
    #[must_use]
    pub fn idle(&self) -> Spent {
        let mut all = Spent::default();
        self.times.iter().for_each(|(doing, times)| all.add(idle_of(doing, times)));
        all
    }
}

/// The runtime's own goroutines are idle whenever they wait, and not when they run.
fn idle_of(doing: &Doing, times: &Times) -> Spent {
    if doing.system && doing.status.is_blocked() { times.all } else { times.idle }
}

/// Positions are far below 2³²: each takes a hundred bytes.
fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// Waits for something to do, in the words of `waitReasonStrings` (runtime2.go, 1.19 to 1.27).
const FOR_WORK: [&str; 6] = ["chan receive", "select", "select (no cases)", "IO wait", "sleep", "sync.Cond.Wait"];

fn waits_for_work(index: &Index<'_>, goroutine: &Goroutine) -> bool {
    // It waits for signals in what looks like a system call.
    let for_signals = || index.function(goroutine.start) == "os/signal.loop";
    let reason = || index.reason(goroutine).is_some_and(|reason| FOR_WORK.contains(&reason));
    match goroutine.status {
        Status::Waiting => reason(),
        Status::Syscall => for_signals(),
        _ => false,
    }
}
