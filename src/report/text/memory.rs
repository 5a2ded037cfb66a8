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
    objects.extend(sized("live at the last GC", heap.heap_marked));
    objects.extend(gc.and_then(goal));
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

/// At which size of the heap the next cycle starts. Without GOGC it is what the memory limit gives; where there is
/// none, the runtime has a goal that no heap reaches (`gcController.gcPercentHeapGoal` is `^uint64(0)`; mgcpacer.go,
/// 1.19 to 1.27), and what it shows of that is no goal.
pub(crate) fn goal(gc: &GcStats) -> Option<String> {
    /// No address space is larger.
    const NONE: u64 = 1 << 57;
    let off = gc.gc_percent.is_some_and(|percent| percent < 0);
    match gc.next_goal? {
        NONE.. if off => Some("no goal (GOGC off)".to_owned()),
        NONE.. => Some("no goal".to_owned()),
        goal if off => Some(format!("next goal {} (of GOMEMLIMIT; GOGC off)", bytes(goal))),
        goal => Some(format!("next goal {}", bytes(goal))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_no_heap_reaches_is_none() {
        let text = |next_goal, gc_percent| goal(&GcStats { next_goal, gc_percent, ..GcStats::default() });
        assert_eq!(text(Some(4 << 20), Some(100)).as_deref(), Some("next goal 4.00 MiB"));
        assert_eq!(text(Some(u64::MAX), Some(-1)).as_deref(), Some("no goal (GOGC off)"));
        // What GOGC=off gives before the first cycle: nearly all of an int64.
        assert_eq!(text(Some(31 << 58), Some(-1)).as_deref(), Some("no goal (GOGC off)"));
        assert_eq!(text(Some(96 << 20), Some(-1)).as_deref(), Some("next goal 96.0 MiB (of GOMEMLIMIT; GOGC off)"));
        assert_eq!(text(Some(u64::MAX), Some(100)).as_deref(), Some("no goal"));
        assert_eq!(text(None, Some(-1)), None);
    }
}
