//! `runtime.memstats` summed up as `runtime.ReadMemStats` does it.

use super::spans::Unflushed;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{HeapStats, Pause, WarningCode, Warnings};
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::layout::Layout;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::gc_controller::GcController;
use crate::runtime::mirror::mstats::{DELTAS, HeapStatsDelta, MemStats, PAUSES};

/// `runtime.memstats` and the sum of its deltas, as it is in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mstats {
    /// Bytes obtained from the operating system for stacks that threads run on.
    pub stacks_sys: u64,
    /// The same for mspan structures.
    pub mspan_sys: u64,
    /// The same for mcache structures.
    pub mcache_sys: u64,
    /// The same for profiling tables.
    pub buckhash_sys: u64,
    /// The same for the collector's metadata.
    pub gc_misc_sys: u64,
    /// The same for everything else.
    pub other_sys: u64,
    /// When the latest cycle ended, ns since the Unix epoch; 0 before the first.
    pub last_gc_unix: u64,
    /// Time that the world was stopped by cycles, ns.
    pub pause_total_ns: u64,
    /// The latest pauses, newest first.
    pub recent_pauses: Vec<Pause>,
    /// Cycles completed.
    pub numgc: u32,
    /// Of them, asked for.
    pub numforcedgc: u32,
    /// Share of CPU time that the collector took.
    pub gc_cpu_fraction: f64,
    /// Whether collection is on.
    pub enablegc: bool,
    /// Sum of `inStacks`.
    pub in_stacks: u64,
    /// Sum of `inWorkBufs`.
    pub in_work_bufs: u64,
    /// Sum of `inPtrScalarBits` (to 1.24; else 0).
    pub in_ptr_scalar_bits: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Bytes freed.
    pub free_bytes: u64,
    /// Objects allocated, without tiny ones.
    pub allocs: u64,
    /// Objects freed, without tiny ones.
    pub frees: u64,
    /// Tiny objects allocated.
    pub tiny: u64,
}

impl Mstats {
    /// Takes `runtime.memstats`'s bytes apart. `None` when there are too few.
    #[must_use]
    pub(crate) fn parse(bytes: &[u8], layout: &Layout) -> Option<Self> {
        let base = MemStats::parse(Addr(0), bytes, &layout.mstats)?;
        let mut out = Self {
            stacks_sys: base.stacks_sys,
            mspan_sys: base.mspan_sys,
            mcache_sys: base.mcache_sys,
            buckhash_sys: base.buckhash_sys,
            gc_misc_sys: base.gc_misc_sys,
            other_sys: base.other_sys,
            last_gc_unix: base.last_gc_unix,
            pause_total_ns: base.pause_total_ns,
            recent_pauses: pauses(bytes, layout, base.numgc),
            numgc: base.numgc,
            numforcedgc: base.numforcedgc,
            gc_cpu_fraction: base.gc_cpu_fraction,
            enablegc: base.enablegc,
            ..Self::default()
        };
        for delta in 0..DELTAS {
            let start = delta.checked_mul(layout.heap_delta.size)?.checked_add(layout.heap_stats.stats)?;
            out.add_delta(bytes.get(layout.mstats.heap_stats.checked_add(start)? as usize..)?, layout)?;
        }
        Some(out)
    }

    fn add_delta(&mut self, bytes: &[u8], layout: &Layout) -> Option<()> {
        let l = &layout.heap_delta;
        let delta = HeapStatsDelta::parse(Addr(0), bytes, l)?;
        let add = |to: &mut u64, count: u64| *to = to.wrapping_add(count);
        add(&mut self.in_stacks, delta.in_stacks);
        add(&mut self.in_work_bufs, delta.in_work_bufs);
        add(&mut self.in_ptr_scalar_bits, delta.in_ptr_scalar_bits.unwrap_or(0));
        add(&mut self.tiny, delta.tiny_alloc_count);
        add(&mut self.alloc_bytes, delta.large_alloc);
        add(&mut self.allocs, delta.large_alloc_count);
        add(&mut self.free_bytes, delta.large_free);
        add(&mut self.frees, delta.large_free_count);
        let mut class_offset = 0_u32;
        for size in &layout.table.size_classes {
            let count = |first: u32| bytes.u64_at(first.checked_add(class_offset)? as usize);
            let (allocs, frees) = (count(l.small_alloc_count)?, count(l.small_free_count)?);
            add(&mut self.allocs, allocs);
            add(&mut self.alloc_bytes, allocs.wrapping_mul(u64::from(*size)));
            add(&mut self.frees, frees);
            add(&mut self.free_bytes, frees.wrapping_mul(u64::from(*size)));
            class_offset = class_offset.checked_add(8)?;
        }
        Some(())
    }
}

/// The ring of pauses, newest first; the newest is at `(numgc - 1) % 256`.
fn pauses(bytes: &[u8], layout: &Layout, numgc: u32) -> Vec<Pause> {
    (0..numgc.min(PAUSES))
        .filter_map(|back| {
            let at = (numgc.wrapping_sub(1).wrapping_sub(back) % PAUSES) as usize * 8;
            Some(Pause {
                duration_ns: bytes.u64_at((layout.mstats.pause_ns as usize).checked_add(at)?)?,
                end_unix_ns: bytes.u64_at((layout.mstats.pause_end as usize).checked_add(at)?)?,
            })
        })
        .collect()
}

/// Reads `runtime.memstats`.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_mstats(
    target: &dyn Target,
    memstats: Addr,
    layout: &Layout,
    warnings: &mut Warnings,
) -> Result<Option<Mstats>, ReadError> {
    let bytes = target.read_vec(memstats, layout.mstats.size as usize)?;
    let stats = bytes.and_then(|bytes| Mstats::parse(&bytes, layout));
    if stats.is_none() {
        warnings.add(WarningCode::StatsUnreadable, format!("runtime.memstats at {memstats} cannot be read"));
    }
    Ok(stats)
}

/// The heap as `runtime.ReadMemStats` would report it, without stopping the program to flush what
/// the Ps hold back: that is `held`, read where it lies. `None` when `layout` does not trust what it
/// is summed up from.
#[must_use]
pub(crate) fn heap_stats(mstats: &Mstats, gc: &GcController, held: &Unflushed, layout: &Layout) -> Option<HeapStats> {
    const PARTS: [(&str, &str); 13] = [
        ("runtime.mspan", "allocCount"),
        ("runtime.mstats", "heapStats"),
        ("runtime.mstats", "stacks_sys"),
        ("runtime.mstats", "mspan_sys"),
        ("runtime.mstats", "mcache_sys"),
        ("runtime.mstats", "buckhash_sys"),
        ("runtime.mstats", "gcMiscSys"),
        ("runtime.mstats", "other_sys"),
        ("runtime.gcControllerState", "heapInUse"),
        ("runtime.gcControllerState", "heapFree"),
        ("runtime.gcControllerState", "heapReleased"),
        ("runtime.gcControllerState", "heapLive"),
        ("runtime.gcControllerState", "heapMarked"),
    ];
    if PARTS.iter().any(|(structure, field)| !layout.trusts(structure, field)) {
        return None;
    }
    let total_alloc = mstats.alloc_bytes.wrapping_add(held.bytes);
    let tiny = mstats.tiny.wrapping_add(held.tiny);
    let mallocs = mstats.allocs.wrapping_add(held.objects).wrapping_add(tiny);
    let frees = mstats.frees.wrapping_add(tiny);
    let heap_idle = gc.heap_free.wrapping_add(gc.heap_released);
    let heap_sys = heap_idle.wrapping_add(gc.heap_in_use);
    let gc_sys = mstats.gc_misc_sys.wrapping_add(mstats.in_work_bufs).wrapping_add(mstats.in_ptr_scalar_bits);
    let stack_sys = mstats.in_stacks.wrapping_add(mstats.stacks_sys);
    let parts =
        [heap_sys, stack_sys, mstats.mspan_sys, mstats.mcache_sys, mstats.buckhash_sys, gc_sys, mstats.other_sys];
    Some(HeapStats {
        // The program runs on between the reads: a free may have been counted before its malloc.
        heap_alloc: total_alloc.saturating_sub(mstats.free_bytes),
        total_alloc,
        sys: parts.iter().fold(0, |sum, part| sum.wrapping_add(*part)),
        mallocs,
        frees,
        heap_sys,
        heap_idle,
        heap_inuse: gc.heap_in_use,
        heap_released: gc.heap_released,
        heap_objects: mallocs.saturating_sub(frees),
        stack_inuse: mstats.in_stacks,
        stack_sys,
        mspan_sys: mstats.mspan_sys,
        mcache_sys: mstats.mcache_sys,
        buckhash_sys: mstats.buckhash_sys,
        gc_sys,
        other_sys: mstats.other_sys,
        heap_live: Some(gc.heap_live),
        heap_marked: Some(gc.heap_marked),
    })
}
