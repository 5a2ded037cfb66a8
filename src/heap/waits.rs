//! What the goroutines wait for that another one would have to reach: channels, semaphores, condition variables.
//!
//! A sudog that is not its goroutine's, or a semaphore without one, says nothing: such a goroutine is moving, and
//! is taken for one that can run. All sudogs that are met are noted: the mark must not follow them, since a
//! channel reaches those that wait on it, and they all the other channels of their selects.

use rustc_hash::{FxHashMap, FxHashSet};

use super::goroutines::{Blocked, Goroutine};
use super::layout::HeapLayout;
use super::marker::Marker;
use super::roots::{Module, UNBOUNDED};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{MemRange, ReadError, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::frontier::{Budget, Found, Frontier};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::sema_root::SemaRoot;
use crate::runtime::mirror::sudog::Sudog;
use crate::runtime::symbols::Global;

/// Roots of the table of semaphores (`semTabSize`, runtime/sema.go; 1.19 to 1.27).
const SEM_ROOTS: u32 = 251;
/// Most cases of a select (`reflect.Select` takes 65,536).
const MAX_CASES: usize = 1 << 16;
/// Most sudogs that are read.
const MAX_SUDOGS: usize = 1 << 27;
/// How much of a stack is searched for the list of a `sync.Cond`, bytes.
const COND_WINDOW: u64 = 1024;
/// Goroutines whose sudogs are read together.
const CHUNK: usize = 1 << 15;

/// What goroutines wait for.
#[derive(Debug, Default)]
pub(super) struct Waited {
    /// Addresses in the order of the goroutines, empty where nothing is known.
    pub(super) objects: Vec<Vec<u64>>,
    /// Addresses of gs, each with that of a sudog of its.
    pub(super) sudogs: Vec<(u64, u64)>,
}

/// What each of the goroutines waits for.
pub(super) fn read(
    process: GoProcess<'_>,
    layout: &HeapLayout,
    goroutines: &[Goroutine],
    marker: &Marker<'_>,
    modules: &[Module],
) -> Result<Waited, ReadError> {
    let mut objects: Vec<Vec<u64>> = vec![Vec::new(); goroutines.len()];
    let mut met = Vec::new();
    let semaphores = semaphores(process, layout, marker, &mut met)?;
    let budget = Budget { depth: MAX_CASES, ..UNBOUNDED };
    for (chunk, out) in goroutines.chunks(CHUNK).zip(objects.chunks_mut(CHUNK)) {
        let mut found: Found<Sudog> = Found::default();
        let heads = chunk.iter().filter(|g| g.waiting != 0).map(|g| Addr(g.waiting));
        let mut frontier = Frontier::new(process.target, budget);
        frontier.chase(&layout.sudog, heads, &mut found, |sudog| Some(Addr(sudog.waitlink)))?;
        for (goroutine, out) in chunk.iter().zip(out) {
            let sudogs = own(goroutine, &found);
            for sudog in sudogs.iter().flatten() {
                marker.never_scan(sudog.addr.0);
                met.push((sudog.g, sudog.addr.0));
            }
            *out = match (goroutine.blocked, sudogs) {
                (Blocked::Channels, Some(sudogs)) => {
                    sudogs.iter().map(|sudog| sudog.channel).filter(|channel| *channel != 0).collect()
                }
                (Blocked::Semaphore | Blocked::Cond, sudogs) => {
                    let own = sudogs.and_then(|sudogs| Some(sudogs.first()?.elem));
                    let waits_at =
                        semaphores.get(&goroutine.addr).copied().filter(|_| goroutine.blocked == Blocked::Semaphore);
                    waits_at.or(own).into_iter().filter(|addr| *addr != 0).collect()
                }
                _ => Vec::new(),
            };
        }
    }
    conditions(process, layout, goroutines, &mut objects, (marker, modules))?;
    Ok(Waited { objects, sudogs: met })
}

/// The sudogs of a goroutine; `None` where one is missing or another's.
fn own(goroutine: &Goroutine, found: &Found<Sudog>) -> Option<Vec<Sudog>> {
    let mut out: Vec<Sudog> = Vec::new();
    let mut next = goroutine.waiting;
    while next != 0 {
        let sudog = found.get(Addr(next)).filter(|sudog| sudog.g == goroutine.addr)?;
        if out.len() >= MAX_CASES {
            return None;
        }
        out.push(*sudog);
        next = sudog.waitlink;
    }
    Some(out)
}

/// The semaphore of each goroutine that waits for one, by the address of the g. Until 1.25 only the table of
/// semaphores says it.
fn semaphores(
    process: GoProcess<'_>,
    layout: &HeapLayout,
    marker: &Marker<'_>,
    met: &mut Vec<(u64, u64)>,
) -> Result<FxHashMap<u64, u64>, ReadError> {
    let mut out = FxHashMap::default();
    let size = process.runtime.layout.table.global_size(Global::Semtable.name());
    let (Some(at), Some(size)) = (process.addr(Global::Semtable), size) else { return Ok(out) };
    let stride = (size / SEM_ROOTS) as usize;
    let Some(bytes) = process.target.read_vec(at, size as usize)?.filter(|_| stride > 0) else { return Ok(out) };
    let root = |bytes: &[u8]| SemaRoot::parse(at, bytes, &layout.sema_root).map(|root| Addr(root.treap));
    let mut wanted: Vec<Addr> = bytes.chunks_exact(stride).filter_map(root).collect();
    let mut seen: FxHashSet<Addr> = FxHashSet::default();
    loop {
        wanted.retain(|addr| !addr.is_nil() && seen.len() < MAX_SUDOGS && seen.insert(*addr));
        if wanted.is_empty() {
            return Ok(out);
        }
        let found = Frontier::new(process.target, UNBOUNDED).mirrors::<Sudog>(&layout.sudog, wanted.iter().copied())?;
        let mut next = Vec::new();
        for addr in &wanted {
            let Some(sudog) = found.get(*addr) else { continue };
            marker.never_scan(addr.0);
            met.push((sudog.g, addr.0));
            out.insert(sudog.g, sudog.elem);
            next.extend([sudog.next, sudog.prev, sudog.waitlink].map(Addr));
        }
        wanted = next;
    }
}

/// Until 1.25 nothing leads from a goroutine to the `sync.Cond` that it waits on but the frames that it is
/// parked in: a word of them is the address of the list of waiters, and that list has the goroutine.
fn conditions(
    process: GoProcess<'_>,
    layout: &HeapLayout,
    goroutines: &[Goroutine],
    objects: &mut [Vec<u64>],
    (marker, modules): (&Marker<'_>, &[Module]),
) -> Result<(), ReadError> {
    let table = &process.runtime.layout.table;
    let list = |field| table.offset("runtime.notifyList", field);
    let (Some(head), Some(tail)) = (list("head"), list("tail")) else { return Ok(()) };
    let waiting: Vec<usize> = (0..goroutines.len())
        .filter(|n| {
            let waits = goroutines.get(*n).is_some_and(|g| g.blocked == Blocked::Cond);
            waits && objects.get(*n).is_some_and(Vec::is_empty)
        })
        .collect();
    for part in waiting.chunks(CHUNK) {
        let stack = |n: &usize| {
            let g = goroutines.get(*n)?;
            let len = usize::try_from(g.hi.saturating_sub(g.sp).min(COND_WINDOW)).ok()?;
            Some((MemRange { start: Addr(g.sp), len }, g.addr, *n))
        };
        let stacks: FxHashMap<MemRangeKey, (u64, usize)> =
            part.iter().filter_map(stack).map(|(range, g, n)| ((range.start.0, range.len), (g, n))).collect();
        // What each may wait on, by the words of its frames.
        let mut words: Vec<(u64, u64, usize)> = Vec::new();
        let ranges = stacks.keys().map(|&(start, len)| MemRange { start: Addr(start), len });
        Frontier::new(process.target, UNBOUNDED).ranges(ranges, |range, bytes| {
            let Some((g, n)) = stacks.get(&(range.start.0, range.len)) else { return };
            for word in bytes.as_chunks::<8>().0 {
                let word = u64::from_le_bytes(*word);
                let variable = || modules.iter().any(|module| module.holds(word));
                if word.is_multiple_of(4) && (marker.spans().find(word).is_some() || variable()) {
                    words.push((word, *g, *n));
                }
            }
        })?;
        // Which of these are lists of sudogs.
        let len = tail.saturating_add(8) as usize;
        let mut heads: FxHashMap<u64, u64> = FxHashMap::default();
        let ranges = words.iter().map(|(word, _, _)| MemRange { start: Addr(*word), len });
        Frontier::new(process.target, UNBOUNDED).ranges(ranges, |range, bytes| {
            let ends = (bytes.u64_at(head as usize), bytes.u64_at(tail as usize));
            if let (Some(first), Some(last)) = ends
                && marker.spans().find(first).is_some()
                && marker.spans().find(last).is_some()
            {
                heads.insert(range.start.0, first);
            }
        })?;
        let mut found: Found<Sudog> = Found::default();
        let mut frontier = Frontier::new(process.target, Budget { objects: MAX_SUDOGS, ..UNBOUNDED });
        frontier.chase(&layout.sudog, heads.values().map(|first| Addr(*first)), &mut found, |sudog| {
            Some(Addr(sudog.next))
        })?;
        // Each list once: who is in it.
        let mut members: FxHashSet<(u64, u64)> = FxHashSet::default();
        for (list, first) in &heads {
            let (mut next, mut steps) = (*first, 0);
            while next != 0
                && steps < MAX_SUDOGS
                && let Some(sudog) = found.get(Addr(next))
                && members.insert((*list, sudog.g))
            {
                (next, steps) = (sudog.next, steps + 1);
            }
        }
        for (word, g, n) in words {
            if members.contains(&(word, g))
                && let Some(out) = objects.get_mut(n)
            {
                out.push(word);
            }
        }
    }
    for found in objects.iter_mut() {
        found.dedup();
    }
    Ok(())
}

/// Start and length of a range.
type MemRangeKey = (u64, usize);
