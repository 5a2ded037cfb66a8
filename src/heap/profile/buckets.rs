//! A list of buckets, and the records in them.
//!
//! Buckets are added at the head of their list and are never moved, changed or freed but for their records. A
//! record is believed when two readings, one after the other, agree.

use rustc_hash::FxHashSet;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{ReadError, Target};
use crate::runtime::frontier::{Budget, Frontier};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::mprof::{Bucket, BucketLayout};

/// Most buckets of a list; large programs have some ten thousand.
const MAX_BUCKETS: usize = 1 << 20;
/// Deepest stack of a bucket (`maxProfStackDepth`, runtime/mprof.go; 32 to 1.22).
const MAX_DEPTH: u64 = 1024;
/// Most return addresses of all buckets together, 64 MiB of them.
const MAX_PCS: usize = 8 << 20;
/// How much is read at a time, bytes; buckets that follow each other in the list lie together.
const WINDOW: u64 = 16 << 10;
/// How often a record is read again that has changed meanwhile.
const TRIES: usize = 8;

/// A bucket, without its record.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) bucket: Bucket,
    pub(super) pcs: Vec<Addr>,
    /// Where its record is.
    record: Addr,
}

/// The buckets of a list, newest first.
#[derive(Debug, Default)]
pub(super) struct Sites {
    pub(super) sites: Vec<Site>,
    /// Whether the list goes on to where no bucket can be, or to more than are read.
    pub(super) incomplete: bool,
}

impl Sites {
    /// Follows the list that begins with the bucket at `first`, whose buckets are of this kind.
    pub(super) fn walk(target: &dyn Target, first: Addr, kind: u64, layout: &BucketLayout) -> Result<Self, ReadError> {
        let mut out = Self::default();
        let mut window = Window { target, start: 0, bytes: Vec::new() };
        let mut known = FxHashSet::default();
        let mut pcs_left = MAX_PCS;
        let mut at = first;
        while !at.is_nil() {
            if out.sites.len() >= MAX_BUCKETS || !at.0.is_multiple_of(8) || !known.insert(at) {
                out.incomplete = true;
                break;
            }
            let size = layout.size as usize;
            let head = window.read(at, size)?.and_then(|bytes| Bucket::parse(at, bytes, layout));
            let bucket = head.filter(|bucket| bucket.kind == kind && bucket.depth <= MAX_DEPTH);
            let depth = bucket.map_or(0, |bucket| usize::try_from(bucket.depth).unwrap_or(0));
            let stack = at.checked_add(layout.size.into());
            let record = stack.and_then(|stack| stack.checked_add(8 * depth as u64));
            let (Some(bucket), Some(stack), Some(record), true) = (bucket, stack, record, depth <= pcs_left) else {
                out.incomplete = true;
                break;
            };
            let Some(pcs) = window.read(stack, 8 * depth)? else {
                out.incomplete = true;
                break;
            };
            let pcs = pcs.as_chunks::<8>().0.iter().map(|word| Addr(u64::from_le_bytes(*word))).collect();
            pcs_left -= depth;
            at = Addr(bucket.all_next);
            out.sites.push(Site { bucket, pcs, record });
        }
        Ok(out)
    }

    /// What `parse` makes of the `len` bytes of each record, once two readings of it agree; `None` for one that
    /// cannot be read. With how many did not agree: of them it is the last one.
    pub(super) fn records<T: Clone + PartialEq>(
        &self,
        target: &dyn Target,
        len: usize,
        parse: impl Fn(&Site, &[u8]) -> Option<T>,
    ) -> Result<(Vec<Option<T>>, u64), ReadError> {
        let mut out: Vec<Option<T>> = vec![None; self.sites.len()];
        let mut moving: Vec<usize> = (0..out.len()).collect();
        for attempt in 0..=TRIES {
            let mut jobs: Vec<(Addr, usize)> =
                moving.iter().filter_map(|&index| Some((self.sites.get(index)?.record, index))).collect();
            let mut changed = Vec::new();
            let budget = Budget { objects: usize::MAX, bytes: u64::MAX, depth: 0 };
            Frontier::new(target, budget).jobs(&mut jobs, len, |_, index, bytes| {
                let (Some(site), Some(place)) = (self.sites.get(index), out.get_mut(index)) else { return };
                let now = parse(site, bytes);
                if attempt == 0 || now != *place {
                    changed.push(index);
                }
                *place = now;
            })?;
            moving = changed;
            if moving.is_empty() {
                break;
            }
        }
        Ok((out, moving.len() as u64))
    }
}

/// Memory that was read around what was asked for.
struct Window<'a> {
    target: &'a dyn Target,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `len` bytes at `at`; `None` where they are not all there.
    fn read(&mut self, at: Addr, len: usize) -> Result<Option<&[u8]>, ReadError> {
        if self.get(at, len).is_none() {
            // A recording holds what was requested, and nothing around it.
            let alone = self.target.recorder().is_some();
            let start = if alone { at.0 } else { at.0 - at.0 % WINDOW };
            self.fill(start, if alone { len } else { WINDOW as usize + len })?;
            if self.get(at, len).is_none() {
                self.fill(at.0, len)?;
            }
        }
        Ok(self.get(at, len))
    }

    fn fill(&mut self, start: u64, len: usize) -> Result<(), ReadError> {
        self.bytes.resize(len, 0);
        let got = self.target.read(Addr(start), &mut self.bytes)?;
        self.bytes.truncate(got);
        self.start = start;
        Ok(())
    }

    fn get(&self, at: Addr, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.0.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }
}

/// The bucket that a list begins with; nil for an empty list, `None` where the variable cannot be read.
pub(super) fn first(target: &dyn Target, list: Addr) -> Result<Option<Addr>, ReadError> {
    let mut word = [0; 8];
    let there = target.read(list, &mut word)? == word.len();
    Ok(there.then(|| word.u64_at(0)).flatten().map(Addr))
}

#[cfg(test)]
#[path = "buckets_tests.rs"]
mod tests;
