//! Heap and garbage collector, in the words of `runtime.MemStats`.

use std::io::{self, Write};

use super::facts::{facts, heading, sized};
use super::theme::{Role, TextStyle};
use crate::model::{GcPhase, GcStats, HeapStats, Snapshot};
use crate::report::units::{bytes, count, duration, percent};

/// How many of the latest pauses are shown.
const PAUSES: usize = 5;

pub(super) fn write(out: &mut dyn Write, style: TextStyle, snapshot: &Snapshot) -> io::Result<()> {
    heading(out, style, "Heap", "")?;
    match &snapshot.heap {
        Some(heap) => write_heap(out, style, heap, snapshot.gc.as_ref())?,
        None => facts(out, style, "", &["not found".to_owned()])?,
    }
    heading(out, style, "Garbage collector", "")?;
    match &snapshot.gc {
        Some(gc) => write_gc(out, style, gc, snapshot.captured_at_unix_ns),
        None => facts(out, style, "", &["not found".to_owned()]),
    }
}

fn write_heap(out: &mut dyn Write, style: TextStyle, heap: &HeapStats, gc: Option<&GcStats>) -> io::Result<()> {
    let mut objects = vec![format!("{} in {} objects", bytes(heap.heap_alloc), count(heap.heap_objects))];
    objects.extend(sized("live", heap.heap_live));
    objects.extend(sized("marked", heap.heap_marked));
    objects.extend(sized("next goal", gc.and_then(|gc| gc.next_goal)));
    facts(out, style, "allocated", &objects)?;
    let spans = [
        format!("in use {}", bytes(heap.heap_inuse)),
        format!("idle {}", bytes(heap.heap_idle)),
        format!("released {}", bytes(heap.heap_released)),
        format!("sys {}", bytes(heap.heap_sys)),
    ];
    facts(out, style, "heap spans", &spans)?;
    let since_start = [
        format!("{} allocated", bytes(heap.total_alloc)),
        format!("{} mallocs", count(heap.mallocs)),
        format!("{} frees", count(heap.frees)),
    ];
    facts(out, style, "since start", &since_start)?;
    let system = [
        bytes(heap.sys),
        format!("stacks {} (in use {})", bytes(heap.stack_sys), bytes(heap.stack_inuse)),
        format!("mspan {}", bytes(heap.mspan_sys)),
        format!("mcache {}", bytes(heap.mcache_sys)),
        format!("profiling {}", bytes(heap.buckhash_sys)),
        format!("GC {}", bytes(heap.gc_sys)),
        format!("other {}", bytes(heap.other_sys)),
    ];
    facts(out, style, "from the OS", &system)
}

fn write_gc(out: &mut dyn Write, style: TextStyle, gc: &GcStats, now_unix_ns: u64) -> io::Result<()> {
    let mut cycles = vec![count(u64::from(gc.cycles)), format!("{} forced", count(u64::from(gc.forced_cycles)))];
    cycles.extend(gc.last_unix_ns.map(|last| format!("last {} ago", duration(now_unix_ns.saturating_sub(last)))));
    cycles.extend(gc.phase.map(|phase| match phase {
        GcPhase::Off => "not running".to_owned(),
        phase => style.paint(Role::Attention, &format!("now in {}", phase.name())),
    }));
    facts(out, style, "cycles", &cycles)?;
    let mut pauses = vec![format!("{} in total", duration(gc.pause_total_ns))];
    if !gc.recent_pauses.is_empty() {
        let latest: Vec<String> =
            gc.recent_pauses.iter().take(PAUSES).map(|pause| duration(pause.duration_ns)).collect();
        pauses.push(format!("latest {}", latest.join(", ")));
    }
    facts(out, style, "pauses", &pauses)?;
    let mut settings = vec![format!("{} of CPU since start", percent(gc.cpu_fraction))];
    settings.extend(gc.gc_percent.map(|percent| match percent {
        ..0 => "GOGC off".to_owned(),
        percent => format!("GOGC {percent}"),
    }));
    settings.extend(sized("GOMEMLIMIT", gc.memory_limit));
    settings.extend((gc.enabled == Some(false)).then(|| "not enabled".to_owned()));
    facts(out, style, "cost", &settings)
}
