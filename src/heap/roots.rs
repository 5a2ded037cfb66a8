//! What is reachable without a goroutine: variables of modules, what is attached to objects, calls of
//! finalizers and cleanups that are queued, and timers.
//!
//! As `markroot` in runtime/mgcmark.go (1.19 to 1.27): variables by the masks that the linker made, so that words
//! that are no pointers are none; a module without a readable mask is scanned word by word.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use super::HeapError;
use super::layout::HeapLayout;
use super::marker::Marker;
use super::queues::Queues;
use super::root_log::Root;
use super::spans::ObjectId;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{MemRange, ReadError, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::frontier::{Budget, Frontier};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::moduledata::ModuleMasks;
use crate::runtime::mirror::p::P;
use crate::runtime::mirror::special::{Finalizer, Special, SpecialKind};
use crate::runtime::mirror::timer::{Timer, TimerLayout};

/// Most modules that are followed; each plugin is one.
const MAX_MODULES: usize = 1024;
/// Most bytes of variables in one section of a module: code refers to them by offsets of 32 bits.
const MOST_VARIABLES: u64 = 4 << 30;
/// Most specials: a heap of 100 million objects with a finalizer each would have 10 GB of them.
const MAX_SPECIALS: usize = 1 << 26;
/// Most blocks of queued finalizers or cleanups; each holds a hundred or so.
const MAX_BLOCKS: usize = 1 << 20;
/// Bytes of variables that are read at a time.
const PIECE: u64 = 1 << 20;
/// Reading in bulk what has bounds of its own.
pub(super) const UNBOUNDED: Budget = Budget { objects: usize::MAX, bytes: u64::MAX, depth: usize::MAX };

/// `ot` in a `runtime.specialfinalizer` (mheap.go, 1.19 to 1.27), bytes after the `special` that it begins with.
const OBJECT_TYPE: u64 = 24;
/// Most queued finalizers whose objects get a type from them.
const MOST_FINALIZED: usize = 1 << 22;

/// An object with a finalizer, and its type: `runtime.SetFinalizer` takes a pointer to where the object begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finalized {
    /// Address of the type of a pointer to it.
    pub(super) pointer_type: u64,
    /// Where it begins.
    pub(super) object: u64,
}

/// Marks roots.
pub(super) struct Roots<'r, 'a> {
    pub(super) process: GoProcess<'r>,
    pub(super) layout: &'r HeapLayout,
    pub(super) marker: &'r Marker<'a>,
    pub(super) queues: Queues,
    /// What could not be read, so that something may be reachable that is not marked.
    pub(super) unproven: &'r mut Vec<String>,
}

/// A module: its variables, and where the masks of variables on stacks are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Module {
    masks: ModuleMasks,
}

impl Module {
    /// `moduledata.rodata`.
    pub(super) fn rodata(&self) -> u64 {
        self.masks.rodata
    }

    /// Where its variables are that may hold pointers.
    pub(super) fn variables(&self) -> [(u64, u64); 2] {
        [(self.masks.data, self.masks.data_end), (self.masks.bss, self.masks.bss_end)]
    }

    /// Whether an address is in its variables.
    pub(super) fn holds(&self, addr: u64) -> bool {
        (self.masks.data..self.masks.data_end).contains(&addr) || (self.masks.bss..self.masks.bss_end).contains(&addr)
    }
}

/// The modules of a program, the one that was found first.
pub(super) fn modules(process: GoProcess<'_>, layout: &HeapLayout) -> Result<Vec<Module>, HeapError> {
    let mut out: Vec<Module> = Vec::new();
    let mut seen = FxHashSet::default();
    let mut next = process.program.module.addr;
    while !next.is_nil() && seen.insert(next) && out.len() < MAX_MODULES {
        let bytes = process.target.read_vec(next, layout.module.size as usize)?;
        let masks = bytes.and_then(|bytes| ModuleMasks::parse(next, &bytes, &layout.module));
        let Some(masks) = masks else {
            return Err(HeapError::NoHeap(format!("the moduledata at {next} cannot be read")));
        };
        let module = Module { masks };
        let is_possible = |(start, end): (u64, u64)| end.checked_sub(start).is_some_and(|len| len <= MOST_VARIABLES);
        if !module.variables().into_iter().all(is_possible) {
            return Err(HeapError::NoHeap(format!("the moduledata at {next} is damaged")));
        }
        out.push(module);
        next = Addr(masks.next);
    }
    Ok(out)
}

/// Variables as they were before the spans were listed. What they point to is in a span of the list, even where the
/// program has put it elsewhere by the time at which variables are marked, as the array of a slice that grows is.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// Pieces of them, by address.
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Variables {
    /// Reads them; none where they are so many that a copy would take too much memory.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(super) fn read(process: GoProcess<'_>, modules: &[Module]) -> Result<Self, ReadError> {
        /// Most bytes of all variables.
        const MOST: u64 = 64 << 20;
        let parts = || modules.iter().flat_map(Module::variables);
        let all = parts().fold(0_u64, |all, (start, end)| all.saturating_add(end.saturating_sub(start)));
        let mut pieces = BTreeMap::new();
        for (start, end) in parts().filter(|_| all <= MOST) {
            let (mut at, end) = (start, end.max(start) - end.saturating_sub(start) % 8);
            while at < end {
                let mut piece = vec![0; usize::try_from((end - at).min(PIECE)).unwrap_or(0)];
                let got = process.target.read(Addr(at), &mut piece)?;
                piece.truncate(got);
                pieces.insert(at, piece);
                at = at.saturating_add(PIECE);
            }
        }
        Ok(Self { pieces })
    }
}

impl Roots<'_, '_> {
    /// Everything but goroutines. `ps` are the Ps whose stopped timers are to count for nothing.
    pub(super) fn all(&mut self, modules: &[Module], ps: &[P]) -> Result<(), HeapError> {
        self.old_timers(ps)?;
        self.modules(modules, None)?;
        self.specials()?;
        self.queued()?;
        Ok(())
    }

    /// The variables of modules, as they are or as they were.
    pub(super) fn modules(&mut self, modules: &[Module], before: Option<&Variables>) -> Result<(), HeapError> {
        for module in modules {
            let masks = module.masks;
            self.variables((masks.data, masks.data_end), (masks.data_mask, masks.data_bits), before)?;
            self.variables((masks.bss, masks.bss_end), (masks.bss_mask, masks.bss_bits), before)?;
        }
        Ok(())
    }

    /// Scans variables by their mask.
    fn variables(
        &mut self,
        (start, end): (u64, u64),
        (mask, bits): (u64, i32),
        before: Option<&Variables>,
    ) -> Result<(), ReadError> {
        let words = end.saturating_sub(start) / 8;
        let masked = u64::try_from(bits).unwrap_or(0).min(words);
        let mut at = 0;
        while at < words {
            let count = (words - at).min(PIECE / 8);
            let from = Addr(start.wrapping_add(8 * at));
            let piece = match before {
                Some(before) => before.pieces.get(&from.0).cloned().unwrap_or_default(),
                None => {
                    let mut piece = vec![0_u8; usize::try_from(count * 8).unwrap_or(0)];
                    let got = self.process.target.read(from, &mut piece)?;
                    if got < piece.len() {
                        let at = Addr(from.0.wrapping_add(got as u64));
                        self.unproven.push(format!("variables at {at} could not be read"));
                    }
                    piece
                }
            };
            let map_len = masked.saturating_sub(at).min(count).div_ceil(8);
            let map =
                self.process.target.read_vec(Addr(mask.wrapping_add(at / 8)), usize::try_from(map_len).unwrap_or(0))?;
            for (n, word) in piece.as_chunks::<8>().0.iter().enumerate() {
                let word = u64::from_le_bytes(*word);
                self.marker.comes_from(|| Root::Variable(Addr(start.wrapping_add(8 * (at + n as u64)))));
                match &map {
                    // The mask ends after the last pointer.
                    Some(map) if at + n as u64 >= masked || map.get(n / 8).is_none_or(|b| b >> (n % 8) & 1 == 0) => {}
                    Some(_) => self.marker.mark(word),
                    None => self.marker.mark_maybe(word)?,
                }
            }
            at += count;
        }
        Ok(())
    }

    /// Finalizers, weak handles and cleanups of objects. Gives what finalizers say of the types of their objects.
    pub(super) fn specials(&mut self) -> Result<Vec<Finalized>, ReadError> {
        let (layout, minor) = (&self.layout.special, self.process.rules().minor());
        let cleanup_words = self.layout.cleanups.map_or(1, |cleanups| (cleanups.size / 8) as usize);
        let len = layout.size as usize + 8 * cleanup_words.max(1);
        let mut wanted: Vec<(u64, u32)> =
            self.marker.spans().specials.iter().map(|(span, first)| (*first, *span)).collect();
        let mut seen = FxHashSet::default();
        let (mut with_finalizer, mut types) = (Vec::new(), Vec::new());
        while !wanted.is_empty() {
            wanted.sort_unstable();
            wanted.dedup_by_key(|(addr, _)| *addr);
            let mut next = Vec::new();
            let ranges = wanted.iter().map(|(addr, _)| MemRange { start: Addr(*addr), len });
            let (marker, spans, wanted_now) = (self.marker, self.marker.spans(), &wanted);
            let mut read = 0;
            Frontier::new(self.process.target, UNBOUNDED).ranges(ranges, |range, bytes| {
                read += 1;
                let found = wanted_now.binary_search_by_key(&range.start.0, |(addr, _)| *addr).ok();
                let Some((_, span)) = found.and_then(|at| wanted_now.get(at)) else { return };
                let Some(special) = Special::parse(range.start, bytes, layout) else { return };
                if special.next != 0 && seen.len() < MAX_SPECIALS && seen.insert(special.next) {
                    next.push((special.next, *span));
                }
                let payload = |word: usize| bytes.u64_at(layout.size as usize + 8 * word).unwrap_or(0);
                match SpecialKind::of(special.kind, minor) {
                    SpecialKind::Finalizer => {
                        marker.mark(payload(0));
                        // An offset is from the start of the span, of an object or into it.
                        let record = spans.spans.get(*span as usize);
                        let Some((span_at, offset)) = record.zip(layout.offset(bytes)) else { return };
                        with_finalizer.extend(span_at.index(offset).map(|index| ObjectId { span: *span, index }));
                        // Read later: nothing else that is attached to an object is as long.
                        let at = range.start.0.wrapping_add(u64::from(layout.size) + OBJECT_TYPE);
                        types.push((at, span_at.base.wrapping_add(offset)));
                    }
                    SpecialKind::WeakHandle => marker.mark(payload(0)),
                    SpecialKind::Cleanup => (0..cleanup_words).for_each(|word| marker.mark(payload(word))),
                    SpecialKind::Other => {}
                }
            })?;
            if read < wanted.len() {
                self.unproven.push(format!("{} finalizers or cleanups could not be read", wanted.len() - read));
            }
            wanted = next;
        }
        if seen.len() >= MAX_SPECIALS {
            self.unproven.push(format!("there are more than {MAX_SPECIALS} finalizers and cleanups"));
        }
        self.marker.mark_contents(with_finalizer)?;
        self.finalized(types)
    }

    /// The types of objects, by the addresses of the words that say them.
    fn finalized(&self, mut types: Vec<(u64, u64)>) -> Result<Vec<Finalized>, ReadError> {
        types.sort_unstable();
        let mut found = Vec::with_capacity(types.len());
        let ranges = types.iter().map(|(at, _)| MemRange { start: Addr(*at), len: 8 });
        Frontier::new(self.process.target, UNBOUNDED).ranges(ranges, |range, bytes| {
            let of = types.binary_search_by_key(&range.start.0, |(at, _)| *at).ok().and_then(|n| types.get(n));
            let Some(((_, object), pointer_type)) = of.zip(bytes.u64_at(0)) else { return };
            found.push(Finalized { pointer_type, object: *object });
        })?;
        Ok(found)
    }

    /// Finalizers and cleanups that are to be called. Gives what finalizers say of the types of their objects.
    pub(super) fn queued(&mut self) -> Result<Vec<Finalized>, HeapError> {
        let mut finalized = Vec::new();
        match self.queues.finalizers {
            Some(head) => finalized = self.queued_finalizers(head)?,
            None => self.unproven.push("the queue of finalizers (runtime.allfin) was not found".to_owned()),
        }
        let Some(cleanups) = self.layout.cleanups else { return Ok(finalized) };
        let Some(queue) = self.queues.cleanups else {
            self.unproven.push("the queue of cleanups (runtime.gcCleanups) was not found".to_owned());
            return Ok(finalized);
        };
        let head = Addr(queue.0.wrapping_add(cleanups.queue.all.into()));
        let (link, count) = (cleanups.block.all_link, cleanups.block.count);
        self.blocks(head, (link, count), (cleanups.first, cleanups.size), |marker, cleanup| {
            cleanup.as_chunks::<8>().0.iter().for_each(|word| marker.mark(u64::from_le_bytes(*word)));
        })?;
        Ok(finalized)
    }

    fn queued_finalizers(&mut self, head: Addr) -> Result<Vec<Finalized>, ReadError> {
        let mut finalized = Vec::new();
        let (block, layout) = (self.layout.fin_block, self.layout.finalizer);
        self.blocks(head, (block.all_link, block.count), (block.first, layout.size), |marker, bytes| {
            let Some(finalizer) = Finalizer::parse(Addr(0), bytes, &layout) else { return };
            let Finalizer { function, object, argument_type, object_type } = finalizer;
            [function, object, argument_type, object_type].into_iter().for_each(|word| marker.mark(word));
            if finalized.len() < MOST_FINALIZED {
                finalized.push(Finalized { pointer_type: object_type, object });
            }
        })?;
        Ok(finalized)
    }

    /// Walks a list of blocks: the word at `head` is the first, and each has its successor, a count, and so many
    /// elements.
    fn blocks(
        &mut self,
        head: Addr,
        (link, count): (u32, u32),
        (first, size): (u32, u32),
        mut each: impl FnMut(&Marker<'_>, &[u8]),
    ) -> Result<(), ReadError> {
        /// Most elements of a block; they have 4 KiB.
        const MOST: u32 = 4096;
        let target = self.process.target;
        let Some(mut next) = target.read_u64(head)? else {
            self.unproven.push(format!("the queue at {head} could not be read"));
            return Ok(());
        };
        let mut blocks = 0;
        while next != 0 {
            blocks += 1;
            let header = target.read_vec(Addr(next), first as usize)?;
            let words = header.as_ref().and_then(|h| Some((h.u64_at(link as usize)?, h.u32_at(count as usize)?)));
            let Some((following, elements)) = words.filter(|(_, n)| *n <= MOST && blocks <= MAX_BLOCKS) else {
                self.unproven.push(format!("the queue at {head} could not be read"));
                return Ok(());
            };
            let bytes = target.read_vec(Addr(next.wrapping_add(first.into())), (elements * size) as usize)?;
            for element in bytes.unwrap_or_default().chunks_exact(size.max(8) as usize) {
                each(self.marker, element);
            }
            next = following;
        }
        Ok(())
    }

    /// To 1.22 a timer that was stopped stays in the heap of its P until that runs timers, and would keep what
    /// it is to call: the arrays of these heaps are not followed, but the timers in them are that are to run.
    fn old_timers(&mut self, ps: &[P]) -> Result<(), ReadError> {
        /// `timerDeleted` and `timerRemoved` (runtime/time.go; to 1.22).
        const STOPPED: [u32; 2] = [3, 5];
        /// Most timers of a P.
        const MOST: u64 = 1 << 28;
        let runtime = &self.process.runtime.layout;
        let (Some(at), Some(layout)) = (runtime.p.timers_slice, runtime.timer.as_ref()) else { return Ok(()) };
        let TimerLayout { status: Some(_), .. } = layout else { return Ok(()) };
        if self.process.rules().minor() >= 23 {
            return Ok(());
        }
        let target = self.process.target;
        for p in ps {
            let Some(slice) = target.read_array::<16>(Addr(p.addr.0.wrapping_add(at.into())))? else { continue };
            let (array, len) = (slice.u64_at(0).unwrap_or(0), slice.u64_at(8).unwrap_or(0));
            if array == 0 || len > MOST {
                continue;
            }
            let mut timers = Vec::new();
            let mut done = 0;
            while done < len {
                let count = (len - done).min(PIECE / 8);
                let bytes = target.read_vec(Addr(array.wrapping_add(8 * done)), (count * 8) as usize)?;
                let Some(bytes) = bytes else { break };
                timers.extend(bytes.as_chunks::<8>().0.iter().map(|word| Addr(u64::from_le_bytes(*word))));
                done += count;
            }
            if done < len {
                continue;
            }
            let found = Frontier::new(target, UNBOUNDED).mirrors::<Timer>(layout, timers.iter().copied())?;
            self.marker.never_scan(array);
            for timer in timers {
                let status = found.get(timer).and_then(|timer| timer.status);
                if status.is_none_or(|status| !STOPPED.contains(&status)) {
                    self.marker.mark(timer.0);
                }
            }
        }
        Ok(())
    }
}
