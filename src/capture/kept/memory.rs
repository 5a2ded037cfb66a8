//! What is kept of each goroutine, in order of address, and how a capture changes it.

use rustc_hash::FxHashSet;

use super::rule::{Mark, Moment, Standing, Verdict};
use crate::capture::unwind::StackNode;
use crate::capture::waits::WaitWords;
use crate::model::{ObjectAddr, StackReadings};
use crate::runtime::mirror::g::G;
use crate::runtime::wait_reason::ReasonSet;

/// What is kept of one goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capture) struct Entry {
    standing: Standing,
    /// Its stack; `None` where the next capture has to read it.
    stack: Option<StackNode>,
    /// The word from which its wait is followed.
    wait: u64,
    /// Its position in the list of goroutines that was made last; [`UNLISTED`] where it is not in it.
    position: u32,
    /// Whether it would be there again exactly as it is, should its header be the same.
    settled: bool,
}

/// The position of those that are in no list.
const UNLISTED: u32 = u32::MAX;

const _: () = assert!(size_of::<Entry>() <= 72);

impl Entry {
    /// Its stack.
    pub(in crate::capture) fn stack(&self) -> Option<StackNode> {
        self.stack
    }

    /// The word from which its wait is followed.
    pub(in crate::capture) fn wait(&self) -> u64 {
        self.wait
    }

    /// When the capture began that read its stack, ns by `nanotime`.
    pub(in crate::capture) fn read_ns(&self) -> u64 {
        self.standing.read_ns
    }
}

/// A stack that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capture) struct Keep {
    /// Its number in [`Kept`].
    pub(in crate::capture) entry: u32,
    /// Its stamp now (`g.waitsince`).
    stamp: u64,
    /// Whether the runtime's stamp proves that it is the same.
    pub(in crate::capture) proven: bool,
    /// Its position in the list that was made last, where all that is shown of it is there already.
    pub(in crate::capture) listed: Option<u32>,
}

/// Stacks that a capture reads though they could be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::capture) enum Renewed {
    /// None.
    #[default]
    Nothing,
    /// Those that are not proven to be the same.
    Unproven,
    /// All.
    All,
}

/// What a session keeps, as one capture finds it. Shared by the threads that read.
#[derive(Clone, Debug, Default)]
pub(in crate::capture) struct Kept {
    /// The addresses of the gs, ascending, each once. They are apart from the rest, because they are searched.
    addrs: Vec<u64>,
    /// By the same numbers, what is kept of each.
    entries: Vec<Entry>,
    reasons: ReasonSet,
    words: Option<WaitWords>,
    moment: Moment,
    /// The newest stamp seen.
    newest_stamp: u64,
    /// Addresses of gs whose stacks are kept only if they are proven to be the same.
    attended: FxHashSet<u64>,
    /// Which stacks the next capture reads, and which this one does, beside those that are due.
    next: Renewed,
    renewed: Renewed,
    /// Whether the positions are those of the list that the session has.
    has_list: bool,
    /// Whether this capture makes its list of that one.
    uses_list: bool,
}

impl Kept {
    /// Begins a capture at the time `now_ns` of `nanotime`, of a program with these wait reasons. `words` are those
    /// that are taken out of stacks, where waits are asked for; `lists` says whether the list that was made last can be
    /// made use of.
    pub(in crate::capture) fn begin(&mut self, now_ns: u64, words: Option<WaitWords>, reasons: &[String], lists: bool) {
        // Where the clock went back nothing is known, and others words were not kept.
        let renewed = std::mem::take(&mut self.next);
        if self.moment.number == u32::MAX || now_ns < self.moment.now_ns || words != self.words || !self.is_used() {
            let attended = std::mem::take(&mut self.attended);
            *self = Self { words, reasons: ReasonSet::kept(reasons), attended, ..Self::default() };
        }
        self.renewed = renewed;
        self.moment.number += 1;
        self.moment.now_ns = now_ns;
        self.uses_list = lists && self.has_list;
        self.has_list = false;
    }

    /// Whether this capture makes its list of the one before.
    pub(in crate::capture) fn uses_list(&self) -> bool {
        self.uses_list
    }

    /// The position of the goroutine at `addr` in the list that was made last.
    pub(in crate::capture) fn position(&self, addr: u64) -> Option<u32> {
        let at = self.addrs.binary_search(&addr).ok()?;
        Some(self.entries.get(at)?.position).filter(|&position| position != UNLISTED)
    }

    /// The list that was made has the same goroutines at the same positions.
    pub(in crate::capture) fn has_same_list(&mut self) {
        self.has_list = true;
    }

    /// The list that was made has these goroutines, by address, in order of position.
    pub(in crate::capture) fn has_list(&mut self, goroutines: impl Iterator<Item = u64>) {
        let mut positions: Vec<(u64, u32)> = goroutines.zip(0..UNLISTED).collect();
        positions.sort_unstable();
        let mut positions = positions.into_iter().peekable();
        let mut listed = 0;
        let known = positions.len();
        for (&at, entry) in self.addrs.iter().zip(&mut self.entries) {
            entry.position = UNLISTED;
            while positions.next_if(|(addr, _)| *addr < at).is_some() {}
            if let Some((_, position)) = positions.next_if(|(addr, _)| *addr == at) {
                entry.position = position;
                listed += 1;
            }
        }
        // One of which nothing is known here could not be told from one that is new.
        self.has_list = listed == known;
    }

    /// The next capture reads these stacks.
    pub(in crate::capture) fn renew(&mut self, which: Renewed) {
        self.next = self.next.max(which);
    }

    /// From now on, the stacks of these gs are read each time, unless they are proven to be the same.
    pub(in crate::capture) fn attend(&mut self, goroutines: &[ObjectAddr]) {
        self.attended.clear();
        self.attended.extend(goroutines.iter().map(|addr| addr.0));
    }

    /// Whether a capture that keeps stacks goes on.
    pub(in crate::capture) fn is_used(&self) -> bool {
        self.moment.number != 0
    }

    /// Whether the last capture met more than half of so many goroutines.
    pub(in crate::capture) fn has_most_of(&self, goroutines: usize) -> bool {
        self.entries.len() > goroutines / 2
    }

    /// What is kept of the goroutine with that number.
    pub(in crate::capture) fn get(&self, entry: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(entry).ok()?)
    }

    /// The number of the first goroutine at `addr` or above.
    pub(in crate::capture) fn first_from(&self, addr: u64) -> usize {
        self.addrs.partition_point(|&at| at < addr)
    }

    /// The number of the goroutine at `addr`. `cursor` is where to look first, and is moved to where the next higher
    /// address is looked for.
    pub(in crate::capture) fn find(&self, addr: u64, cursor: &mut usize) -> Option<u32> {
        while self.addrs.get(*cursor).is_some_and(|&at| at < addr) {
            *cursor += 1;
        }
        self.addrs.get(*cursor).filter(|&&at| at == addr)?;
        let number = u32::try_from(*cursor).ok();
        *cursor += 1;
        number
    }

    /// Whether the stack of the goroutine at `addr` with that number is kept, whose header is `g` now.
    #[inline]
    pub(in crate::capture) fn keep(&self, (addr, entry): (u64, u32), g: &G) -> Option<Keep> {
        let known = self.get(entry).filter(|known| known.stack.is_some() && self.renewed < Renewed::All)?;
        let now = Mark::of(g, &self.reasons)?;
        match known.standing.judge(&now, slot(addr), &self.moment) {
            Verdict::Changed | Verdict::Due => None,
            Verdict::Likely if self.renewed >= Renewed::Unproven || self.attended.contains(&addr) => None,
            verdict => {
                let is_listed = self.uses_list && known.settled && known.standing.mark.stamp == now.stamp && !g.scan();
                let listed = Some(known.position).filter(|&position| is_listed && position != UNLISTED);
                Some(Keep { entry, stamp: now.stamp, proven: verdict == Verdict::Proven, listed })
            }
        }
    }

    /// What to keep of a goroutine whose stack was just read, or is not known: `None` where there is nothing to
    /// change.
    fn after(&self, entry: Option<u32>, g: Option<&G>, stack: Option<StackNode>, wait: u64) -> Option<Entry> {
        let before = entry.and_then(|entry| self.get(entry));
        let Some(g) = g.filter(|g| !g.status().is_dead()) else {
            // The goroutine is dead, or its header was not read.
            return before.filter(|before| before.stack.is_some()).map(|before| Entry {
                stack: None,
                settled: false,
                ..*before
            });
        };
        let mark = Mark::of(g, &self.reasons).filter(|_| stack.is_some());
        let same = before.filter(|before| before.standing.mark.goid == g.goid);
        let went_on = same.is_some_and(|before| {
            let unchanged = |mark: &Mark| {
                before.stack == stack && !matches!(before.standing.judge(mark, 0, &self.moment), Verdict::Changed)
            };
            !mark.as_ref().is_some_and(unchanged)
        });
        let changed_at = match same {
            Some(_) if went_on => self.moment.number,
            Some(before) => before.standing.changed_at,
            // The first sight of it.
            None => 0,
        };
        let stack = stack.filter(|_| mark.is_some());
        let mark = mark.unwrap_or(Mark { goid: g.goid, fields: 0, stamp: 0 });
        let (read_ns, read_at) = (self.moment.now_ns, self.moment.number);
        let standing = Standing { mark, stamped: mark.stamp != 0, read_ns, read_at, changed_at };
        let position = before.map_or(UNLISTED, |before| before.position);
        Some(Entry { standing, stack, wait, position, settled: false })
    }

    /// Ends a capture: takes over what it noted.
    pub(in crate::capture) fn end(&mut self, noted: Noted) {
        let Noted { entries, carried, shown, newest, .. } = noted;
        for (entry, settled) in shown {
            if let Some(known) = usize::try_from(entry).ok().and_then(|entry| self.entries.get_mut(entry)) {
                known.settled = settled;
            }
        }
        for (entry, stamp) in carried {
            if let Some(known) = usize::try_from(entry).ok().and_then(|entry| self.entries.get_mut(entry)) {
                known.standing.mark.stamp = stamp;
            }
        }
        for stamp in newest.into_iter().rev().filter(|&stamp| stamp != 0) {
            (self.newest_stamp, self.moment.second_newest_stamp) =
                two_newest([self.newest_stamp, self.moment.second_newest_stamp], stamp).into();
        }
        // What was noted last of a goroutine counts.
        let mut unknown = Vec::new();
        for (addr, number, entry) in entries {
            match number.and_then(|number| self.entries.get_mut(usize::try_from(number).ok()?)) {
                Some(known) => *known = entry,
                None => unknown.push((addr, entry)),
            }
        }
        if unknown.is_empty() {
            return;
        }
        unknown.extend(self.addrs.drain(..).zip(self.entries.drain(..)));
        unknown.sort_by_key(|(addr, _)| *addr);
        unknown.reverse();
        unknown.dedup_by_key(|(addr, _)| *addr);
        unknown.reverse();
        (self.addrs, self.entries) = unknown.into_iter().unzip();
    }
}

/// Spreads goroutines over the captures.
fn slot(addr: u64) -> u32 {
    // The addresses of gs are multiples of their size.
    u32::try_from(addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).unwrap_or_default()
}

/// The two newest of three stamps, each once.
fn two_newest([first, second]: [u64; 2], stamp: u64) -> [u64; 2] {
    if stamp > first {
        [stamp, first]
    } else if stamp < first && stamp > second {
        [first, stamp]
    } else {
        [first, second]
    }
}

/// What a capture notes for the next one, and counts.
#[derive(Debug, Default)]
pub(in crate::capture) struct Noted {
    /// What to keep, by address and, where it is known, by number.
    entries: Vec<(u64, Option<u32>, Entry)>,
    /// Stamps of goroutines whose stacks are kept and that had none, by number.
    carried: Vec<(u32, u64)>,
    /// Goroutines whose stacks are kept and that are listed anew, by number, and whether they will be listed in the same
    /// way as long as their headers stay.
    shown: Vec<(u32, bool)>,
    /// The two newest stamps.
    newest: [u64; 2],
    /// Stacks that were kept, and those of them that are proven to be the same.
    kept: (u64, u64),
    /// When the oldest of them was read, ns by `nanotime`.
    oldest_ns: Option<u64>,
}

impl Noted {
    /// A goroutine has a stamp.
    pub(in crate::capture) fn stamp(&mut self, stamp: u64) {
        self.newest = two_newest(self.newest, stamp);
    }

    /// A stack was kept.
    pub(in crate::capture) fn keep(&mut self, kept: &Kept, keep: Keep) {
        let Some(entry) = kept.get(keep.entry) else { return };
        self.kept.0 += 1;
        self.kept.1 += u64::from(keep.proven);
        let read_ns = entry.read_ns();
        self.oldest_ns = Some(self.oldest_ns.map_or(read_ns, |oldest| oldest.min(read_ns)));
        if entry.standing.mark.stamp != keep.stamp {
            self.carried.push((keep.entry, keep.stamp));
        }
    }

    /// Nothing is noted any more.
    pub(in crate::capture) fn clear(&mut self) {
        self.entries.clear();
        self.carried.clear();
        self.shown.clear();
        (self.newest, self.kept, self.oldest_ns) = Default::default();
    }

    /// Adds the stacks of `other` that were kept.
    pub(in crate::capture) fn add_kept(&mut self, other: &Self) {
        self.kept.0 += other.kept.0;
        self.kept.1 += other.kept.1;
        self.oldest_ns = self.oldest_ns.into_iter().chain(other.oldest_ns).min();
        self.carried.extend_from_slice(&other.carried);
    }

    /// A goroutine whose stack was kept is listed anew. `settled` says whether it will be listed in the same way as long
    /// as its header stays.
    pub(in crate::capture) fn show(&mut self, keep: Keep, settled: bool) {
        self.shown.push((keep.entry, settled));
    }

    /// A goroutine was read that is `g`, with this stack, if it has one and that was accepted; `entry` is its number.
    pub(in crate::capture) fn read(
        &mut self,
        kept: &Kept,
        (addr, entry): (u64, Option<u32>),
        g: Option<&G>,
        stack: Option<StackNode>,
        wait: u64,
    ) {
        self.entries.extend(kept.after(entry, g, stack, wait).map(|after| (addr, entry, after)));
    }

    /// How many stacks were read and kept, of `known` in all, at the time `now_ns` of `nanotime`.
    pub(in crate::capture) fn readings(&self, known: u64, now_ns: u64) -> StackReadings {
        let (kept, kept_proven) = self.kept;
        let oldest_ms = self.oldest_ns.map(|read_ns| now_ns.saturating_sub(read_ns) / 1_000_000);
        StackReadings { read: known.saturating_sub(kept), kept, kept_proven, oldest_ms }
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
