//! Following pointers in bulk: the addresses of one kind go in, the bytes of all of them are read in few
//! calls, and what they hold gives the next addresses.
//!
//! Following one pointer alone costs a system call; a hundred thousand of them at a time cost one for a
//! thousand ranges, and fewer where they lie close together. So nothing here follows one object to its end:
//! all take the first step, then all take the second.
//!
//! Reads are bounded in objects, bytes and steps, whatever the memory contains; each address is read once;
//! and one that cannot be read is simply not among what was found. The target runs on meanwhile. Who needs to
//! know that nothing moved compares the header that led here once more when the chase is over
//! ([`Frontier::words`]).

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::mirror::Mirror;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::coalesce::{ChunkReader, Limits};
use crate::process::{MemRange, ReadError, Target};

/// How ranges are read: one system call for each chunk, which is small enough to stay in a CPU's cache until it
/// is looked at.
const CHUNK: Limits = Limits { gap: 2047, chunk_bytes: CHUNK_BYTES, chunk_ranges: 1024 };
/// Longest chunk with more than one range, bytes.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// Longest range that can be read, bytes. A longer one is not found.
pub(crate) const MAX_RANGE: usize = 8 << 20;

/// How much is read at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Objects and ranges.
    pub objects: usize,
    /// Bytes.
    pub bytes: u64,
    /// Steps from one object to the next of its kind.
    pub depth: usize,
}

/// Mirrors by their addresses; those that could not be read are known as such, and not read again.
#[derive(Clone, Debug)]
pub(crate) struct Found<M>(FxHashMap<Addr, Option<M>>);

impl<M> Default for Found<M> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<M> Found<M> {
    /// The one at `addr`; `None` where it was not asked for or could not be read.
    #[must_use]
    pub(crate) fn get(&self, addr: Addr) -> Option<&M> {
        self.0.get(&addr)?.as_ref()
    }
}

/// Reads in bulk, within a budget.
pub(crate) struct Frontier<'a> {
    target: &'a dyn Target,
    reader: ChunkReader,
    budget: Budget,
    spent: u64,
    cut: bool,
}

impl<'a> Frontier<'a> {
    /// For as much as `budget` allows.
    #[must_use]
    pub(crate) fn new(target: &'a dyn Target, budget: Budget) -> Self {
        // A recording holds what was requested, not what lies in between.
        let gap = if target.recorder().is_some() { 0 } else { CHUNK.gap };
        Self { target, reader: ChunkReader::new(Limits { gap, ..CHUNK }), budget, spent: 0, cut: false }
    }

    /// Whether something was not read because the budget was spent.
    #[must_use]
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// How many bytes were asked for so far.
    #[must_use]
    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }

    /// Reads each distinct range once, and hands them over in the order of their addresses. Those of which
    /// not all bytes are there are left out, and so are those that the budget does not allow.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(crate) fn ranges(
        &mut self,
        wanted: impl IntoIterator<Item = MemRange>,
        each: impl FnMut(MemRange, &[u8]),
    ) -> Result<(), ReadError> {
        let mut pieces: Vec<MemRange> = wanted.into_iter().collect();
        pieces.sort_unstable();
        pieces.dedup();
        self.read(pieces, each)
    }

    /// Reads `pieces`, which are sorted and distinct.
    fn read(&mut self, mut pieces: Vec<MemRange>, mut each: impl FnMut(MemRange, &[u8])) -> Result<(), ReadError> {
        pieces.retain(|range| range.len <= MAX_RANGE);
        pieces.retain(|range| self.take(*range));
        self.reader.make_room(pieces.iter().map(|range| range.len).max().unwrap_or(0));
        let mut first = 0;
        while first < pieces.len() {
            let chunk = self.reader.read(self.target, &pieces, first)?;
            for (index, bytes) in self.reader.iter() {
                if let Some(range) = pieces.get(index).filter(|range| range.len == bytes.len()) {
                    each(*range, bytes);
                }
            }
            first = chunk.end.max(first + 1);
        }
        Ok(())
    }

    /// Takes a range out of the budget, if that allows it.
    fn take(&mut self, range: MemRange) -> bool {
        let (objects, bytes) = (self.budget.objects.checked_sub(1), self.budget.bytes.checked_sub(range.len as u64));
        match objects.zip(bytes) {
            Some((objects, bytes)) => {
                (self.budget.objects, self.budget.bytes) = (objects, bytes);
                self.spent = self.spent.saturating_add(range.len as u64);
                true
            }
            None => {
                self.cut = true;
                false
            }
        }
    }

    /// The runtime type `M` at each of `addrs`, and at each address that `next` names of one that was read,
    /// until there are no new ones, or as many steps were made as the budget has. What `found` has already is
    /// not read again, and its own successors not either.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(crate) fn chase<M: Mirror>(
        &mut self,
        layout: &M::Layout,
        addrs: impl IntoIterator<Item = Addr>,
        found: &mut Found<M>,
        mut next: impl FnMut(&M) -> Option<Addr>,
    ) -> Result<(), ReadError> {
        let len = M::size(layout) as usize;
        let mut wanted: BTreeSet<Addr> = addrs.into_iter().collect();
        let mut steps = 0;
        loop {
            wanted.retain(|addr| !addr.is_nil() && !found.0.contains_key(addr));
            if wanted.is_empty() {
                return Ok(());
            }
            if steps > self.budget.depth {
                self.cut = true;
                return Ok(());
            }
            steps += 1;
            found.0.extend(wanted.iter().map(|addr| (*addr, None)));
            let ranges: Vec<MemRange> = wanted.iter().map(|&start| MemRange { start, len }).collect();
            wanted.clear();
            self.ranges(ranges, |range, bytes| {
                let Some(mirror) = M::parse(range.start, bytes, layout) else { return };
                wanted.extend(next(&mirror));
                found.0.insert(range.start, Some(mirror));
            })?;
        }
    }

    /// The runtime type `M` at each of `addrs`.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(crate) fn mirrors<M: Mirror>(
        &mut self,
        layout: &M::Layout,
        addrs: impl IntoIterator<Item = Addr>,
    ) -> Result<Found<M>, ReadError> {
        let mut found = Found::default();
        self.chase(layout, addrs, &mut found, |_| None)?;
        Ok(found)
    }

    /// Reads `len` bytes at the address of each of `jobs`, which it sorts by address, and hands them over in that
    /// order. Several may have the same address. Those that cannot be read completely, or that the budget does
    /// not allow, are left out.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(crate) fn jobs<T: Copy>(
        &mut self,
        jobs: &mut [(Addr, T)],
        len: usize,
        mut each: impl FnMut(Addr, T, &[u8]),
    ) -> Result<(), ReadError> {
        // Addresses often come in long ascending runs, which a stable sort merges.
        jobs.sort_by_key(|(addr, _)| *addr);
        let mut rest = &*jobs;
        let mut pieces = Vec::with_capacity(jobs.len());
        pieces.extend(jobs.iter().map(|&(start, _)| MemRange { start, len }));
        pieces.dedup();
        self.read(pieces, |range, bytes| {
            while let Some((&(addr, job), after)) = rest.split_first().filter(|((addr, _), _)| *addr <= range.start) {
                if addr == range.start {
                    each(addr, job, bytes);
                }
                rest = after;
            }
        })
    }

    /// The words at `addrs`, by address.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(crate) fn words(&mut self, addrs: impl IntoIterator<Item = Addr>) -> Result<FxHashMap<Addr, u64>, ReadError> {
        let mut words = FxHashMap::default();
        let ranges = addrs.into_iter().map(|start| MemRange { start, len: 8 });
        self.ranges(ranges, |range, bytes| {
            words.extend(bytes.u64_at(0).map(|word| (range.start, word)));
        })?;
        Ok(words)
    }
}

/// Follows `addrs`, some at a time: `read` what each of them leads to, and hand over what came of it with
/// `done`. One whose batch spends its `budget` is read with fewer others; when it does so all alone, and for
/// all that comes when `total` bytes were read, `done` gets `None`. So memory is bounded by the budget, and
/// calls by the number of batches.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn in_batches<T>(
    target: &dyn Target,
    addrs: &[Addr],
    (budget, mut total): (Budget, u64),
    mut read: impl FnMut(&mut Frontier<'_>, &[Addr]) -> Result<T, ReadError>,
    mut done: impl FnMut(&[Addr], Option<T>),
) -> Result<(), ReadError> {
    /// Most that are followed together.
    const BATCH: usize = 8192;
    let mut work: Vec<&[Addr]> = addrs.chunks(BATCH).rev().collect();
    while let Some(batch) = work.pop() {
        if total == 0 {
            done(batch, None);
            continue;
        }
        let mut frontier = Frontier::new(target, Budget { bytes: budget.bytes.min(total), ..budget });
        let result = read(&mut frontier, batch)?;
        total = total.saturating_sub(frontier.spent());
        if !frontier.is_cut() {
            done(batch, Some(result));
            continue;
        }
        match batch.split_at_checked(batch.len() / 2) {
            Some((one, other)) if !one.is_empty() => work.extend([other, one]),
            _ => done(batch, None),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "frontier_tests.rs"]
mod tests;
