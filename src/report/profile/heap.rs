//! The heap profile, as `/debug/pprof/heap` and `allocs` have it: gzipped, and the list of `debug=1`.
//!
//! The first is scaled to what the samples stand for, as runtime/pprof does it (protomem.go; 1.19 to 1.27): it
//! assumes that the rate has not changed. The second is not.

use std::io::{self, Write};

use super::builder::{Builder, Header};
use super::list;
use crate::analysis::profile::scaled;
use crate::go_names::minor_of;
use crate::model::{AllocationProfile, AllocationSite, FrameId, ProfileStack, Snapshot, SymbolPool};

/// Which of its values is shown first: what is in use, or all that was ever allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// What is in use, as `heap` does.
    InUse,
    /// All that was allocated, as `allocs` does.
    Allocated,
}

impl Shown {
    /// The sample type that is shown first.
    pub(super) const fn sample_type(self) -> &'static str {
        match self {
            Self::InUse => "inuse_space",
            Self::Allocated => "alloc_space",
        }
    }
}

/// What each sample has.
pub(super) const SAMPLE_TYPES: [(&str, &str); 4] =
    [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")];

/// Writes it gzipped, and gives how many samples it has. `snapshot` says whose it is.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, profile: &AllocationProfile, snapshot: &Snapshot, shown: Shown) -> io::Result<u64> {
    let rate = profile.rate.unwrap_or(0);
    let header = Header {
        sample_types: &SAMPLE_TYPES,
        default_sample_type: Some(shown.sample_type()),
        period: ("space", "bytes", u64::try_from(rate).unwrap_or(0)),
        time_ns: snapshot.captured_at_unix_ns,
        duration_ns: 0,
        comment: &format!("heap profile of pid {} read by gospy", snapshot.target.pid),
    };
    let mut builder = Builder::new(out, &profile.symbols, &snapshot.target, &header)?;
    for site in &profile.sites {
        let locations = builder.locations(shown_frames(&profile.symbols, &site.stack))?;
        let (allocs, alloc_bytes) = scaled(site.allocs, site.alloc_bytes, rate);
        let (in_use, in_use_bytes) = scaled(site.in_use(), site.in_use_bytes(), rate);
        let mut sample = Builder::<&mut dyn Write>::sample(&locations, &[allocs, alloc_bytes, in_use, in_use_bytes]);
        if site.size != 0 && site.allocs > 0 {
            builder.number_label(&mut sample, "bytes", site.size, "");
        }
        builder.add(&sample)?;
    }
    builder.finish()
}

/// The frames that a profile shows: without the runtime's own at its top, unless there are no others, and without
/// `runtime.goexit` (`writeHeapProto` in runtime/pprof/protomem.go).
pub(super) fn shown_frames(symbols: &SymbolPool, stack: &ProfileStack) -> impl Iterator<Item = FrameId> {
    list::without_exit(symbols, stack).skip(stack.hidden)
}

/// Writes the list of `debug=1`, with the figures of `runtime.MemStats` that a snapshot has.
///
/// # Errors
/// Those of `out`.
pub fn list(out: &mut dyn Write, profile: &AllocationProfile, snapshot: &Snapshot) -> io::Result<()> {
    let minor = minor_of(&snapshot.target.go_version).unwrap_or(u32::MAX);
    let mut sites: Vec<&AllocationSite> = profile.sites.iter().collect();
    // As the program itself does to 1.22; from 1.23 on it writes the smallest first.
    sites.sort_by_key(|site| std::cmp::Reverse(site.in_use_bytes()));
    let sum = |of: fn(&AllocationSite) -> u64| sites.iter().fold(0_u64, |sum, site| sum.saturating_add(of(site)));
    let (in_use_bytes, mut alloc_bytes) = (sum(AllocationSite::in_use_bytes), sum(|site| site.alloc_bytes));
    if in_use_bytes == alloc_bytes {
        // Readers of the format take equal sums for a profile without allocations.
        alloc_bytes = alloc_bytes.saturating_add(1);
    }
    writeln!(
        out,
        "heap profile: {}: {in_use_bytes} [{}: {alloc_bytes}] @ heap/{}",
        sum(AllocationSite::in_use),
        sum(|site| site.allocs),
        // Twice the rate, as the first writers of the format had it.
        profile.rate.unwrap_or(0).saturating_mul(2),
    )?;
    for site in sites {
        write!(out, "{}: {} [{}: {}] @", site.in_use(), site.in_use_bytes(), site.allocs, site.alloc_bytes)?;
        list::addresses(out, &site.stack)?;
        list::frames(out, &profile.symbols, &site.stack, minor, false)?;
    }
    let Some(heap) = &snapshot.heap else { return Ok(()) };
    writeln!(out, "\n# runtime.MemStats")?;
    for (name, value) in [
        ("Alloc", heap.heap_alloc),
        ("TotalAlloc", heap.total_alloc),
        ("Sys", heap.sys),
        ("Mallocs", heap.mallocs),
        ("Frees", heap.frees),
        ("HeapAlloc", heap.heap_alloc),
        ("HeapSys", heap.heap_sys),
        ("HeapIdle", heap.heap_idle),
        ("HeapInuse", heap.heap_inuse),
        ("HeapReleased", heap.heap_released),
        ("HeapObjects", heap.heap_objects),
    ] {
        writeln!(out, "# {name} = {value}")?;
    }
    writeln!(out, "# Stack = {} / {}", heap.stack_inuse, heap.stack_sys)?;
    for (name, value) in [("BuckHashSys", heap.buckhash_sys), ("GCSys", heap.gc_sys), ("OtherSys", heap.other_sys)] {
        writeln!(out, "# {name} = {value}")?;
    }
    if let Some(gc) = &snapshot.gc {
        if let Some(goal) = gc.next_goal {
            writeln!(out, "# NextGC = {goal}")?;
        }
        writeln!(out, "# NumGC = {}", gc.cycles)?;
        writeln!(out, "# NumForcedGC = {}", gc.forced_cycles)?;
    }
    Ok(())
}
