//! What each goroutine did over time, as sampled: states with their beginnings and ends.
//!
//! A state is taken to last from halfway to the sample before it to halfway to the next one. Goroutines are in
//! groups by the function that they started in. What is kept is bounded: so many groups, so many goroutines of each
//! one by one, and so many states in all; of the others it is only counted how many are in which state.

#[cfg(test)]
mod tests;

use indexmap::IndexMap;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::Index;
use super::place::PlaceKind;
use crate::model::{Goid, Goroutine, Snapshot, TargetInfo};

/// Most groups; the others are one together. The largest ones come first.
const MAX_GROUPS: usize = 100;
/// Most goroutines of a group that have a line each.
const MAX_LINES: usize = 200;
/// Most states of all lines together.
const MAX_SLICES: usize = 1_000_000;
/// Most counts of all groups together.
const MAX_COUNTS: usize = 1_000_000;
/// Most different texts.
const MAX_TEXTS: usize = 100_000;

/// Something that lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// When it began, ns since the first sample.
    pub from_ns: u64,
    /// When it ended, likewise.
    pub to_ns: u64,
    /// What: number of a text.
    text: u32,
    /// Where: number of a text.
    place: u32,
}

/// What one goroutine, or one P, did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is called.
    pub name: String,
    /// In order of time.
    pub slices: Vec<Slice>,
    /// The number of the last sample that it was in.
    seen: u64,
}

/// How many were in each state from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The moment, ns since the first sample.
    pub from_ns: u64,
    /// By number of the state's text.
    counts: Vec<(u32, u64)>,
}

/// Goroutines that started in the same function.
#[derive(Clone, Debug, Default)]
pub struct Group {
    lines: IndexMap<Goid, Line, FxBuildHasher>,
    counts: Vec<Counted>,
    /// Most goroutines at one time.
    pub most: u64,
    /// Goroutines of it that have no line.
    others: bool,
}

impl Group {
    /// The goroutines that have a line each.
    pub fn lines(&self) -> impl Iterator<Item = (Goid, &Line)> {
        self.lines.iter().map(|(id, line)| (*id, line))
    }

    /// How many of the others were in which state, wherever that changed.
    #[must_use]
    pub fn counts(&self) -> &[Counted] {
        &self.counts
    }
}

/// A stop of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// When it began, ns since the first sample.
    pub from_ns: u64,
    /// How long it took, ns.
    pub ns: u64,
}

/// What was done over time.
#[derive(Debug, Default)]
pub struct Timeline {
    target: Option<TargetInfo>,
    groups: IndexMap<String, Group, FxBuildHasher>,
    texts: IndexMap<String, (), FxBuildHasher>,
    processors: IndexMap<i32, Line, FxBuildHasher>,
    /// Cycles of the collector, and what each consists of.
    collector: Option<Line>,
    stops: Vec<Stop>,
    /// When the last stop that is known ended, ns since the Unix epoch.
    last_stop: u64,
    samples: u64,
    first_ns: u64,
    last_ns: u64,
    slices: usize,
    counts: usize,
    cut: bool,
}

/// The group of all that found no place.
pub const OTHERS: &str = "others";

impl Timeline {
    /// Adds a sample: those of its goroutines that `selected` says.
    pub fn add(&mut self, index: &Index<'_>, mut selected: impl FnMut(&Goroutine) -> bool) {
        let snapshot = index.snapshot();
        let now = snapshot.monotonic_ns;
        if self.samples == 0 {
            (self.first_ns, self.last_ns) = (now, now);
            self.target = Some(snapshot.target.clone());
        }
        let half = now.saturating_sub(self.last_ns) / 2;
        let span = (self.last_ns.saturating_sub(self.first_ns).saturating_add(half), now.saturating_sub(self.first_ns));
        self.last_ns = now;
        self.samples = self.samples.saturating_add(1);
        let mut members: IndexMap<String, Vec<&Goroutine>, FxBuildHasher> = IndexMap::default();
        let mut starts: FxHashMap<_, String> = FxHashMap::default();
        for goroutine in &snapshot.goroutines {
            if goroutine.status.is_dead() || !selected(goroutine) {
                continue;
            }
            let start = starts.entry(goroutine.start).or_insert_with(|| match index.function(goroutine.start) {
                "" => "unknown".to_owned(),
                name => name.to_owned(),
            });
            match members.get_mut(start.as_str()) {
                Some(members) => members.push(goroutine),
                None => drop(members.insert(start.clone(), vec![goroutine])),
            }
        }
        // The largest ones get a place of their own.
        members.sort_by(|_, a, _, b| b.len().cmp(&a.len()));
        let mut counts: IndexMap<String, FxHashMap<u32, u64>, FxBuildHasher> = IndexMap::default();
        for (name, members) in members {
            let name = match self.groups.contains_key(&name) || self.groups.len() < MAX_GROUPS {
                true => name,
                false => OTHERS.to_owned(),
            };
            let size = u64::try_from(members.len()).unwrap_or(u64::MAX);
            let group = self.groups.entry(name.clone()).or_default();
            group.most = group.most.max(size);
            for goroutine in members {
                let text = self.text_of(index.state_text(goroutine));
                if !self.extend(&name, index, goroutine, text, span) {
                    let count = counts.entry(name.clone()).or_default().entry(text).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
        self.count(counts, span.0);
        self.processors(snapshot, span);
        self.collector(snapshot, span);
    }

    /// Adds to the line of a goroutine; `false` if it has none.
    fn extend(&mut self, name: &str, index: &Index<'_>, goroutine: &Goroutine, text: u32, span: (u64, u64)) -> bool {
        let place = index.place(goroutine, PlaceKind::User).frame();
        let place = self.text_of(index.function(place));
        let samples = self.samples;
        let Some(group) = self.groups.get_mut(name) else { return false };
        if !group.lines.contains_key(&goroutine.id) {
            if name == OTHERS || group.lines.len() >= MAX_LINES || self.slices >= MAX_SLICES {
                group.others = true;
                return false;
            }
            let line = Line { name: format!("goroutine {}", goroutine.id.0), slices: Vec::new(), seen: 0 };
            group.lines.insert(goroutine.id, line);
        }
        let Some(line) = group.lines.get_mut(&goroutine.id) else { return false };
        line.extend(samples, span, (text, place), &mut self.slices, &mut self.cut);
        true
    }

    fn count(&mut self, mut counts: IndexMap<String, FxHashMap<u32, u64>, FxBuildHasher>, from_ns: u64) {
        for (name, group) in self.groups.iter_mut().filter(|(_, group)| group.others) {
            let mut counts: Vec<(u32, u64)> =
                counts.swap_remove(name.as_str()).map(|counts| counts.into_iter().collect()).unwrap_or_default();
            counts.sort_unstable();
            let last = group.counts.last();
            if last.is_some_and(|last| last.counts == counts) {
                continue;
            }
            if self.counts.saturating_add(counts.len()) >= MAX_COUNTS {
                self.cut = true;
                return;
            }
            self.counts = self.counts.saturating_add(counts.len()).saturating_add(1);
            group.counts.push(Counted { from_ns, counts });
        }
    }

    fn processors(&mut self, snapshot: &Snapshot, span: (u64, u64)) {
        for processor in &snapshot.processors {
            let text = match processor.running {
                Some(id) => self.text_of(&format!("goroutine {}", id.0)),
                None if processor.status.name() == "idle" => continue,
                None => self.text_of(processor.status.name()),
            };
            let empty = self.text_of("");
            let line = self.processors.entry(processor.id).or_insert_with(|| Line {
                name: format!("P {}", processor.id),
                slices: Vec::new(),
                seen: 0,
            });
            line.extend(self.samples, span, (text, empty), &mut self.slices, &mut self.cut);
        }
    }

    fn collector(&mut self, snapshot: &Snapshot, span: (u64, u64)) {
        let Some(gc) = &snapshot.gc else { return };
        if let Some(phase) = gc.phase.filter(|phase| phase.name() != "off") {
            let (text, empty) = (self.text_of(phase.name()), self.text_of(""));
            let line = self.collector.get_or_insert_with(|| Line {
                name: "phase (sampled)".to_owned(),
                slices: Vec::new(),
                seen: 0,
            });
            line.extend(self.samples, span, (text, empty), &mut self.slices, &mut self.cut);
        }
        // Both clocks are read together, so the same moment by one is known by the other.
        let first_unix = snapshot.captured_at_unix_ns.saturating_sub(span.1);
        let mut last = self.last_stop;
        for pause in gc.recent_pauses.iter().rev() {
            let began = pause.end_unix_ns.saturating_sub(pause.duration_ns);
            if pause.end_unix_ns <= self.last_stop || began < first_unix {
                continue;
            }
            last = last.max(pause.end_unix_ns);
            if self.stops.len() < MAX_SLICES {
                self.stops.push(Stop { from_ns: began.saturating_sub(first_unix), ns: pause.duration_ns });
            }
        }
        self.last_stop = last;
    }

    fn text_of(&mut self, text: &str) -> u32 {
        let at = match self.texts.get_index_of(text) {
            Some(known) => known,
            None if self.texts.len() < MAX_TEXTS => self.texts.insert_full(text.to_owned(), ()).0,
            None => self.texts.insert_full("…".to_owned(), ()).0,
        };
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// The program; `None` before the first sample.
    #[must_use]
    pub fn target(&self) -> Option<&TargetInfo> {
        self.target.as_ref()
    }

    /// How many samples there were, and the time from the first to the last one, ns.
    #[must_use]
    pub fn extent(&self) -> (u64, u64) {
        (self.samples, self.last_ns.saturating_sub(self.first_ns))
    }

    /// Whether it is not all there, since there was too much of it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Groups by the functions that their goroutines started in, largest first.
    #[must_use]
    pub fn groups(&self) -> Vec<(&str, &Group)> {
        let mut groups: Vec<_> = self.groups.iter().map(|(name, group)| (name.as_str(), group)).collect();
        groups.sort_by(|(name, a), (other, b)| b.most.cmp(&a.most).then(name.cmp(other)));
        groups
    }

    /// The Ps, by their ids.
    pub fn ps(&self) -> impl Iterator<Item = (i32, &Line)> {
        self.processors.iter().map(|(id, line)| (*id, line))
    }

    /// The phases of the collector, as sampled.
    #[must_use]
    pub fn phases(&self) -> Option<&Line> {
        self.collector.as_ref()
    }

    /// Stops of the world for collections, as the runtime keeps them.
    #[must_use]
    pub fn stops(&self) -> &[Stop] {
        &self.stops
    }

    /// What was done, and where; either may be empty.
    #[must_use]
    pub fn texts(&self, slice: &Slice) -> (&str, &str) {
        (self.text(slice.text), self.text(slice.place))
    }

    /// How many were in which state.
    pub fn states<'a>(&'a self, counted: &'a Counted) -> impl Iterator<Item = (&'a str, u64)> {
        counted.counts.iter().map(|(text, count)| (self.text(*text), *count))
    }

    fn text(&self, number: u32) -> &str {
        self.texts.get_index(number as usize).map_or("", |(text, ())| text)
    }
}

impl Line {
    fn extend(
        &mut self,
        sample: u64,
        (from_ns, to_ns): (u64, u64),
        (text, place): (u32, u32),
        slices: &mut usize,
        cut: &mut bool,
    ) {
        let was_there = self.seen.saturating_add(1) == sample;
        self.seen = sample;
        if let Some(last) = self.slices.last_mut().filter(|_| was_there) {
            // The state before ends halfway.
            last.to_ns = from_ns;
            if (last.text, last.place) == (text, place) {
                last.to_ns = to_ns;
                return;
            }
        }
        if *slices >= MAX_SLICES {
            *cut = true;
            return;
        }
        *slices = slices.saturating_add(1);
        self.slices.push(Slice { from_ns, to_ns, text, place });
    }
}
