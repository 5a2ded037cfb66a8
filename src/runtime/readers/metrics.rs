//! The figures of a runtime that monitoring asks for every few seconds: no goroutine is read for them, and the
//! number of calls does not depend on the program.
//!
//! Everything is read in one call, so that the figures are of one moment as nearly as they can be. The addresses of the
//! Ps, which have to be known for that, are those of the reading before, and read along: where they turn out to have
//! changed, everything is read again. What `runtime/metrics` leaves out is left out here, too: what the Ps have allocated
//! and not yet flushed.

use super::memory::{Mstats, heap_stats};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{Collections, RuntimeMetrics};
use crate::process::{MemRange, ReadError, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::layout::Layout;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::gc_controller::{GOAL_FIELDS, GcController};
use crate::runtime::mirror::mheap::MheapLayout;
use crate::runtime::mirror::sched::Sched;
use crate::runtime::symbols::Global;

/// Most Ps whose free goroutines are counted: as many as Linux has CPUs.
const MAX_PS: u64 = 1 << 13;

/// Where the numbers of free gs are kept (`gFree`, runtime2.go; 1.19 to 1.27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FreeGs {
    /// Offset in `runtime.p`, bytes.
    p: u32,
    /// Offsets in `runtime.sched`, bytes, of which the second is there from 1.25 on.
    sched: [Option<u32>; 2],
}

impl FreeGs {
    /// Up to 1.24 the number follows the lists; from 1.25 on each list has its own.
    fn of(layout: &Layout) -> Option<Self> {
        let table = &layout.table;
        let (list, mutex) = (table.size("runtime.gList")?, table.size("runtime.mutex")?);
        let (p, sched) = (table.offset("runtime.p", "gFree")?, table.offset("runtime.schedt", "gFree")?);
        let lists = sched.checked_add(mutex)?;
        Some(match table.offset("runtime.gList", "size") {
            Some(size) => Self {
                p: p.checked_add(size)?,
                sched: [lists.checked_add(size), lists.checked_add(list)?.checked_add(size)],
            },
            None => Self { p: p.checked_add(list)?, sched: [lists.checked_add(list.checked_mul(2)?), None] },
        })
    }
}

/// Several ranges that are read in one call.
#[derive(Debug, Default)]
struct Batch {
    ranges: Vec<MemRange>,
    /// Where the bytes of each begin.
    starts: Vec<usize>,
    /// Bytes of all of them.
    len: usize,
    bytes: Vec<u8>,
    got: Vec<usize>,
}

impl Batch {
    /// Adds a range and gives its number.
    fn add(&mut self, start: Addr, len: u32) -> usize {
        self.ranges.push(MemRange { start, len: len as usize });
        self.starts.push(self.len);
        self.len += len as usize;
        self.ranges.len() - 1
    }

    /// Adds a range, where there is one.
    fn add_if(&mut self, start: Option<Addr>, len: u32) -> Option<usize> {
        start.map(|start| self.add(start, len))
    }

    fn read(&mut self, process: GoProcess<'_>) -> Result<(), ReadError> {
        self.bytes = vec![0; self.len];
        process.target.read_ranges(&self.ranges, &mut self.bytes, &mut self.got)
    }

    /// The bytes of a range; `None` when they were not all there.
    fn bytes(&self, number: Option<usize>) -> Option<&[u8]> {
        let number = number?;
        let (start, len) = (*self.starts.get(number)?, self.ranges.get(number)?.len);
        let bytes = self.bytes.get(start..start.checked_add(len)?)?;
        (self.got.get(number) == Some(&len)).then_some(bytes)
    }

    fn u64(&self, number: Option<usize>) -> Option<u64> {
        self.bytes(number)?.u64_at(0)
    }

    fn i32(&self, number: Option<usize>) -> Option<i32> {
        self.bytes(number)?.i32_at(0)
    }
}

/// The list of Ps (`allp`) as it was read.
#[derive(Debug)]
pub(crate) struct KnownPs {
    /// The first words of the slice: where its array is, and its length.
    slice: [u8; SLICE as usize],
    /// Its array.
    array: Vec<u8>,
}

/// Bytes of a slice without its capacity.
const SLICE: u32 = 16;

impl KnownPs {
    /// Reads it; `None` where it is unknown.
    fn read(process: GoProcess<'_>) -> Result<Option<Self>, ReadError> {
        let Some(allp) = process.addr(Global::Allp) else { return Ok(None) };
        let Some(slice) = process.target.read_array(allp)? else { return Ok(None) };
        let Some((array, len)) = extent(&slice) else { return Ok(None) };
        let array = process.target.read_vec(array, len as usize)?;
        Ok(array.map(|array| Self { slice, array }))
    }

    /// Adds the slice and its array.
    fn add_to(&self, batch: &mut Batch, process: GoProcess<'_>) -> Option<[usize; 2]> {
        let (array, len) = extent(&self.slice)?;
        Some([batch.add(process.addr(Global::Allp)?, SLICE), batch.add(array, len)])
    }

    /// Whether these are the bytes that were read.
    fn is_in(&self, batch: &Batch, [slice, array]: [usize; 2]) -> bool {
        batch.bytes(Some(slice)) == Some(&self.slice) && batch.bytes(Some(array)) == Some(&self.array)
    }

    fn addresses(&self) -> impl Iterator<Item = Addr> {
        let words = self.array.chunks_exact(8).filter_map(|word| word.u64_at(0)).map(Addr);
        words.filter(|p| !p.is_nil())
    }
}

/// Where the array of a slice of Ps is, and its bytes; `None` where it has none, or more than there are.
fn extent(slice: &[u8]) -> Option<(Addr, u32)> {
    let len = slice.u64_at(8).filter(|len| (1..=MAX_PS).contains(len))?;
    Some((Addr(slice.u64_at(0)?), u32::try_from(len.checked_mul(8)?).ok()?))
}

/// Reads the figures. `known` is the list of Ps that the reading before found, and then the one that this one did.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_metrics(process: GoProcess<'_>, known: &mut Option<KnownPs>) -> Result<RuntimeMetrics, ReadError> {
    if let Some(ps) = known.as_ref()
        && let (metrics, true) = read_with(process, Some(ps))?
    {
        return Ok(metrics);
    }
    *known = KnownPs::read(process)?;
    Ok(read_with(process, known.as_ref())?.0)
}

/// Reads all figures in one call, and whether the list of Ps is still the known one.
fn read_with(process: GoProcess<'_>, known: Option<&KnownPs>) -> Result<(RuntimeMetrics, bool), ReadError> {
    let layout = &process.runtime.layout;
    let mheap = MheapLayout::resolve(&layout.table).ok();
    let in_mheap = |offset: Option<u32>| process.field(Global::Mheap, offset?);

    let mut batch = Batch::default();
    let list = known.and_then(|known| known.add_to(&mut batch, process));
    let length = batch.add_if(process.addr(Global::Allglen), 8);
    let sched_at = process.addr(Global::Sched);
    let sched = batch.add_if(sched_at, layout.sched.size);
    let gomaxprocs = batch.add_if(process.addr(Global::Gomaxprocs), 4);
    let memstats = batch.add_if(process.addr(Global::Memstats), layout.mstats.size);
    let controller_at = process.addr(Global::GcController);
    let controller = batch.add_if(controller_at, layout.gc_controller.size);
    let span_inuse = batch.add_if(in_mheap(mheap.and_then(|layout| layout.span_inuse)), 8);
    let cache_inuse = batch.add_if(in_mheap(mheap.and_then(|layout| layout.cache_inuse)), 8);
    let free = FreeGs::of(layout).filter(|_| layout.trusts("runtime.p", "gFree"));
    let ps: Option<Vec<usize>> = known.zip(free).map(|(known, free)| {
        let count = |p: Addr| batch.add(Addr(p.0.wrapping_add(free.p.into())), 4);
        known.addresses().map(count).collect()
    });
    batch.read(process)?;

    let sched_bytes = batch.bytes(sched);
    let sched = sched_bytes.and_then(|bytes| Sched::parse(sched_at?, bytes, &layout.sched));
    let goroutines = || {
        let trusts = |field: &str| layout.trusts("runtime.schedt", field);
        let (sched, free) = (sched.filter(|_| trusts("gFree") && trusts("ngsys"))?, free?);
        let mut count = i64::try_from(batch.u64(length)?).ok()?.checked_sub(sched.ngsys.into())?;
        for at in free.sched.into_iter().flatten() {
            count = count.checked_sub(sched_bytes?.i32_at(at as usize)?.into())?;
        }
        for p in ps.as_ref()? {
            count = count.checked_sub(batch.i32(Some(*p))?.into())?;
        }
        // They change while they are read, and the goroutine that asks is one itself (`gcount`, proc.go).
        u64::try_from(count.max(1)).ok()
    };
    let mstats = batch.bytes(memstats).and_then(|bytes| Mstats::parse(bytes, layout));
    let controller =
        batch.bytes(controller).and_then(|bytes| GcController::parse(controller_at?, bytes, &layout.gc_controller));
    let trusts = |field: &str| layout.trusts("runtime.gcControllerState", field);
    let limit = controller.filter(|_| trusts("memoryLimit")).map(|gc| gc.memory_limit);
    let is_same = known.zip(list).is_some_and(|(known, list)| known.is_in(&batch, list));
    let metrics = RuntimeMetrics {
        go_version: process.runtime.version.to_string(),
        goroutines: goroutines(),
        threads: sched
            .filter(|_| layout.trusts("runtime.schedt", "mnext") && layout.trusts("runtime.schedt", "nmfreed"))
            .and_then(|sched| sched.threads())
            .filter(|threads| *threads > 0),
        gomaxprocs: batch.i32(gomaxprocs).and_then(|n| u32::try_from(n).ok()),
        heap: mstats.as_ref().zip(controller).and_then(|(mstats, controller)| {
            heap_stats(mstats, &controller, &super::spans::Unflushed::default(), layout)
        }),
        mspan_inuse: batch.u64(span_inuse),
        mcache_inuse: batch.u64(cache_inuse),
        collections: mstats.as_ref().and_then(|mstats| collections(mstats, layout)),
        gc_percent: controller.filter(|_| trusts("gcPercent")).map(|gc| gc.gc_percent),
        memory_limit: limit,
        next_goal: controller
            .filter(|_| limit.is_some() && GOAL_FIELDS.iter().all(|field| trusts(field)))
            .map(|gc| gc.heap_goal(process.rules().minor()).unwrap_or(u64::MAX)),
    };
    Ok((metrics, is_same))
}

fn collections(mstats: &Mstats, layout: &Layout) -> Option<Collections> {
    const FIELDS: [&str; 4] = ["numgc", "pause_total_ns", "pause_ns", "last_gc_unix"];
    if FIELDS.iter().any(|field| !layout.trusts("runtime.mstats", field)) {
        return None;
    }
    let mut pauses_ns: Vec<u64> = mstats.recent_pauses.iter().map(|pause| pause.duration_ns).collect();
    pauses_ns.sort_unstable();
    Some(Collections {
        cycles: mstats.numgc,
        pause_total_ns: mstats.pause_total_ns,
        pauses_ns,
        last_unix_ns: mstats.last_gc_unix,
    })
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
