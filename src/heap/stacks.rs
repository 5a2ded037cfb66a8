//! What goroutines that can run keep alive: what their stacks point to, as `scanstack` in runtime/mgcmark.go does
//! it (1.19 to 1.27).
//!
//! A parked goroutine's frames are known, and so are the words of them that are live pointers. One that runs has
//! saved nothing: every word of its stack may be a pointer, below its stack pointer too, since a thread that
//! was interrupted saves its registers there. Where frames or maps cannot be read the same is done.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::HeapError;
use super::goroutines::{Goroutine, Stands};
use super::layout::HeapLayout;
use super::marker::Marker;
use super::root_log::Root;
use super::roots::{Module, UNBOUNDED};
use super::stack_maps::{Plan, StackMaps, StackObject};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::capture::unwind::{End, Start, StartKind, Unwinder};
use crate::process::{MemRange, ReadError, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::frontier::{Frontier, MAX_RANGE};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::g::Defer;

/// Bytes of stacks that are read together.
const TOGETHER: u64 = 32 << 20;
/// Bytes of a long stack that are read at a time.
const PIECE: u64 = 1 << 20;
/// Most deferred calls of a goroutine that are followed.
const MAX_DEFERS: usize = 1 << 20;
/// Most of the stack that a C library made for a thread that is searched, bytes.
const MAX_THREAD_STACK: u64 = 8 << 20;

/// How stacks were scanned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackStats {
    /// By the maps of their frames.
    pub precise: u64,
    /// Word by word because the goroutine was running.
    pub running: u64,
    /// Word by word because a frame or a map could not be read.
    pub unknown: u64,
}

/// Scans stacks.
pub(super) struct Stacks<'s, 'a> {
    process: GoProcess<'s>,
    layout: &'s HeapLayout,
    marker: &'s Marker<'a>,
    unwinder: Unwinder,
    maps: StackMaps<'s>,
    rodata: u64,
    masks: FxHashMap<(u32, u64), Option<Arc<[u8]>>>,
    pub(super) stats: StackStats,
    /// Stacks of which not all bytes could be read.
    pub(super) unreadable: u64,
}

impl<'s, 'a> Stacks<'s, 'a> {
    pub(super) fn new(
        process: GoProcess<'s>,
        layout: &'s HeapLayout,
        marker: &'s Marker<'a>,
        modules: &[Module],
    ) -> Self {
        let program = process.program;
        Self {
            process,
            layout,
            marker,
            unwinder: Unwinder::new(Arc::clone(&program.pclntab), program.bias, process.arch(), process.rules()),
            maps: StackMaps::new(program),
            rodata: modules.first().map_or(0, Module::rodata),
            masks: FxHashMap::default(),
            stats: StackStats::default(),
            unreadable: 0,
        }
    }

    /// Scans goroutines that can run, and what their gs point to.
    pub(super) fn scan(&mut self, goroutines: &[&Goroutine]) -> Result<(), HeapError> {
        let mut parked: Vec<(&Goroutine, MemRange)> = Vec::new();
        for goroutine in goroutines {
            self.marker.comes_from(|| Root::Goroutine(goroutine.goid));
            self.marker.scan(goroutine.addr);
            let len = usize::try_from(goroutine.hi.saturating_sub(goroutine.sp)).unwrap_or(usize::MAX);
            match goroutine.stands {
                Stands::Running => {
                    self.stats.running += 1;
                    self.words(goroutine.lo, goroutine.hi)?;
                }
                // A stack that long is that of runaway recursion.
                _ if len > MAX_RANGE => {
                    self.stats.unknown += 1;
                    self.words(goroutine.sp, goroutine.hi)?;
                }
                _ => parked.push((*goroutine, MemRange { start: Addr(goroutine.sp), len })),
            }
        }
        parked.sort_unstable_by_key(|(_, range)| *range);
        let mut rest = parked.as_slice();
        while !rest.is_empty() {
            let (mut count, mut bytes) = (0, 0);
            while let Some((_, range)) = rest.get(count)
                && (count == 0 || bytes + (range.len as u64) <= TOGETHER)
            {
                bytes += range.len as u64;
                count += 1;
            }
            let (now, later) = rest.split_at(count);
            self.parked(now)?;
            rest = later;
        }
        Ok(())
    }

    fn parked(&mut self, stacks: &[(&Goroutine, MemRange)]) -> Result<(), ReadError> {
        let ranges = stacks.iter().map(|(_, range)| *range);
        let mut failed: Result<(), ReadError> = Ok(());
        let mut read = 0_u64;
        let mut frontier = Frontier::new(self.process.target, UNBOUNDED);
        frontier.ranges(ranges, |range, bytes| {
            // Two with the same range are both torn; each is scanned by it.
            let from = stacks.partition_point(|(_, other)| *other < range);
            for (goroutine, _) in stacks.iter().skip(from).take_while(|(_, other)| *other == range) {
                read += 1;
                let result = self.one(goroutine, bytes);
                if failed.is_ok() {
                    failed = result;
                }
            }
        })?;
        self.unreadable += (stacks.len() as u64).saturating_sub(read);
        failed
    }

    fn one(&mut self, goroutine: &Goroutine, stack: &[u8]) -> Result<(), ReadError> {
        self.marker.comes_from(|| Root::Goroutine(goroutine.goid));
        let base = goroutine.sp;
        let word = |addr: u64| stack.u64_at(usize::try_from(addr.checked_sub(base)?).ok()?);
        let kind = if goroutine.stands == Stands::Syscall { StartKind::Syscall } else { StartKind::Parked };
        let start = Start { pc: Addr(goroutine.pc), sp: Addr(base), lr: Addr(goroutine.lr), kind };
        let unwound = self.unwinder.unwind(start, word);
        let plan = match (unwound.end, unwound.stack) {
            (End::TopFrame, Some(node)) => self.maps.plan(node, || self.unwinder.frames(node)),
            _ => None,
        };
        let Some(plan) = plan else {
            self.stats.unknown += 1;
            for word in stack.as_chunks::<8>().0 {
                self.marker.mark_maybe(u64::from_le_bytes(*word))?;
            }
            return self.linked(goroutine, &mut Scan::new(goroutine, stack, unwound.sp, &Plan::default()));
        };
        self.stats.precise += 1;
        let mut scan = Scan::new(goroutine, stack, unwound.sp, &plan);
        for at in &plan.words {
            scan.put(self.marker, scan.word(*at));
        }
        for (from, to) in &plan.maybe {
            for at in (*from..*to).step_by(8) {
                match scan.word(at) {
                    0 => {}
                    word if scan.holds(word) => scan.pending.push(word),
                    word => self.marker.mark_maybe(word)?,
                }
            }
        }
        self.linked(goroutine, &mut scan)?;
        self.objects(&mut scan)
    }

    /// What the g leads to: the closure that it was switched away with, its deferred calls, its panics.
    fn linked(&self, goroutine: &Goroutine, scan: &mut Scan<'_>) -> Result<(), ReadError> {
        scan.put(self.marker, goroutine.roots.context);
        scan.put(self.marker, goroutine.roots.panic);
        let (layout, mut next) = (&self.layout.deferred, goroutine.roots.deferred);
        for _ in 0..MAX_DEFERS {
            if next == 0 {
                return Ok(());
            }
            scan.put(self.marker, next);
            let bytes = match scan.bytes(next, layout.size as usize) {
                Some(bytes) => bytes.to_vec(),
                None => self.process.target.read_vec(Addr(next), layout.size as usize)?.unwrap_or_default(),
            };
            let Some(deferred) = Defer::parse(Addr(next), &bytes, layout) else { return Ok(()) };
            scan.put(self.marker, deferred.function);
            next = deferred.link;
        }
        Ok(())
    }

    /// Variables on the stack that something points to.
    fn objects(&mut self, scan: &mut Scan<'_>) -> Result<(), ReadError> {
        let mut done = vec![false; scan.objects.len()];
        while let Some(addr) = scan.pending.pop() {
            let Some(at) = addr.checked_sub(scan.sp) else { continue };
            let Some(n) = scan.objects.partition_point(|object| object.at <= at).checked_sub(1) else { continue };
            let Some(object) = scan.objects.get(n).copied().filter(|object| at - object.at < object.size) else {
                continue;
            };
            if done.get(n).copied().unwrap_or(true) {
                continue;
            }
            if let Some(done) = done.get_mut(n) {
                *done = true;
            }
            let mask = match object.pointer_bytes {
                Some(0) => continue,
                Some(bytes) => self.mask(object.mask, bytes)?,
                None => None,
            };
            let words = object.pointer_bytes.filter(|_| mask.is_some()).unwrap_or(object.size) / 8;
            for n in 0..words {
                let bit = || {
                    let byte = mask.as_ref().map_or(0xff, |m| m.get((n / 8) as usize).copied().unwrap_or(0));
                    byte >> (n % 8) & 1 != 0
                };
                let word = scan.word(object.at + 8 * n);
                if word == 0 || !bit() {
                    continue;
                }
                if mask.is_some() || scan.holds(word) {
                    scan.put(self.marker, word);
                } else {
                    self.marker.mark_maybe(word)?;
                }
            }
        }
        Ok(())
    }

    fn mask(&mut self, offset: u32, pointer_bytes: u64) -> Result<Option<Arc<[u8]>>, ReadError> {
        /// Longest mask, bytes: a variable of 64 MiB.
        const MOST: u64 = 1 << 20;
        if let Some(known) = self.masks.get(&(offset, pointer_bytes)) {
            return Ok(known.clone());
        }
        let len = (pointer_bytes / 8).div_ceil(8);
        let mask = match usize::try_from(len) {
            Ok(bytes) if len <= MOST => {
                self.process.target.read_vec(Addr(self.rodata.wrapping_add(offset.into())), bytes)?
            }
            _ => None,
        };
        let mask: Option<Arc<[u8]>> = mask.map(Into::into);
        self.masks.insert((offset, pointer_bytes), mask.clone());
        Ok(mask)
    }

    /// Every word from `from` to `to`, up to where there is no memory.
    pub(super) fn words(&mut self, from: u64, to: u64) -> Result<(), ReadError> {
        let mut at = from;
        while at < to {
            let len = (to - at).min(PIECE);
            let mut piece = vec![0_u8; usize::try_from(len).unwrap_or(0)];
            let got = self.process.target.read(Addr(at), &mut piece)?;
            if got < piece.len() {
                self.unreadable += 1;
            }
            if got == 0 {
                break;
            }
            for word in piece.get(..got).unwrap_or_default().as_chunks::<8>().0 {
                self.marker.mark_maybe(u64::from_le_bytes(*word))?;
            }
            at += len;
        }
        Ok(())
    }

    /// What can be read of the stack of a thread, from `from` on, which may be smaller than it says.
    pub(super) fn thread_words(&mut self, from: u64, hi: u64) -> Result<(), ReadError> {
        let unreadable = self.unreadable;
        self.words(from.max(hi.saturating_sub(MAX_THREAD_STACK)), hi)?;
        self.unreadable = unreadable;
        Ok(())
    }
}

/// A stack that is being scanned.
struct Scan<'p> {
    bounds: (u64, u64),
    stack: &'p [u8],
    /// Where `stack` starts.
    base: u64,
    /// The innermost stack pointer, which the plan is relative to.
    sp: u64,
    objects: &'p [StackObject],
    /// Addresses on this stack that something points to.
    pending: Vec<u64>,
}

impl<'p> Scan<'p> {
    fn new(goroutine: &Goroutine, stack: &'p [u8], sp: u64, plan: &'p Plan) -> Self {
        Self {
            bounds: (goroutine.lo, goroutine.hi),
            stack,
            base: goroutine.sp,
            sp,
            objects: &plan.objects,
            pending: Vec::new(),
        }
    }

    fn holds(&self, addr: u64) -> bool {
        (self.bounds.0..self.bounds.1).contains(&addr)
    }

    fn bytes(&self, addr: u64, len: usize) -> Option<&'p [u8]> {
        let at = usize::try_from(addr.checked_sub(self.base)?).ok()?;
        self.stack.get(at..at.checked_add(len)?)
    }

    fn word(&self, at: u64) -> u64 {
        self.bytes(self.sp.wrapping_add(at), 8).and_then(|bytes| bytes.u64_at(0)).unwrap_or(0)
    }

    fn put(&mut self, marker: &Marker<'_>, word: u64) {
        if self.holds(word) {
            self.pending.push(word);
        } else if word != 0 {
            marker.mark(word);
        }
    }
}
