//! The collector: its pacer, and what a snapshot has of it.

use super::memory::Mstats;
use crate::addr::Addr;
use crate::model::{GcPhase, GcStats, WarningCode, Warnings};
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::layout::Layout;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::gc_controller::{GOAL_FIELDS, GcController};
use crate::runtime::rules::Rules;

/// Reads `gcController`.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_gc_controller(
    target: &dyn Target,
    addr: Addr,
    layout: &Layout,
    warnings: &mut Warnings,
) -> Result<Option<GcController>, ReadError> {
    let bytes = target.read_vec(addr, layout.gc_controller.size as usize)?;
    let gc = bytes.and_then(|bytes| GcController::parse(addr, &bytes, &layout.gc_controller));
    if gc.is_none() {
        warnings.add(WarningCode::StatsUnreadable, format!("runtime.gcController at {addr} cannot be read"));
    }
    Ok(gc)
}

/// `gcphase` (mgc.go, `_GCoff` and following; 1.19 to 1.27).
#[must_use]
pub(crate) fn phase(value: u32) -> GcPhase {
    match value {
        0 => GcPhase::Off,
        1 => GcPhase::Mark,
        2 => GcPhase::MarkTermination,
        other => GcPhase::Unknown(other),
    }
}

/// The collector as the snapshot has it. What is not known of the pacer is `None` in it, and so is
/// what `layout` does not trust; `None` when that is what the collector counts.
#[must_use]
pub(crate) fn gc_stats(
    mstats: &Mstats,
    gc: Option<&GcController>,
    gcphase: Option<u32>,
    rules: Rules,
    layout: &Layout,
) -> Option<GcStats> {
    const COUNTS: [&str; 7] =
        ["numgc", "numforcedgc", "pause_total_ns", "pause_ns", "pause_end", "gc_cpu_fraction", "last_gc_unix"];
    if COUNTS.iter().any(|field| !layout.trusts("runtime.mstats", field)) {
        return None;
    }
    let trusts = |field: &str| layout.trusts("runtime.gcControllerState", field);
    let percent = gc.filter(|_| trusts("gcPercent")).map(|gc| gc.gc_percent);
    let limit = gc.filter(|_| trusts("memoryLimit")).map(|gc| gc.memory_limit);
    let limit = limit.map(|limit| Some(limit).filter(|limit| *limit < i64::MAX.unsigned_abs()));
    let starts = percent.zip(limit).map(|(percent, limit)| percent >= 0 || limit.is_some());
    Some(GcStats {
        cycles: mstats.numgc,
        forced_cycles: mstats.numforcedgc,
        pause_total_ns: mstats.pause_total_ns,
        recent_pauses: mstats.recent_pauses.clone(),
        cpu_fraction: if mstats.gc_cpu_fraction.is_finite() { mstats.gc_cpu_fraction.clamp(0.0, 1.0) } else { 0.0 },
        last_unix_ns: Some(mstats.last_gc_unix).filter(|ns| *ns != 0),
        next_goal: gc
            .filter(|_| limit.is_some() && GOAL_FIELDS.iter().all(|field| trusts(field)))
            .and_then(|gc| gc.heap_goal(rules.minor())),
        gc_percent: percent.map(|percent| percent.max(-1)),
        memory_limit: limit.flatten(),
        enabled: starts.filter(|_| layout.trusts("runtime.mstats", "enablegc")).map(|starts| starts && mstats.enablegc),
        phase: gcphase.map(phase),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::runtime::layout::checked_in;
    use crate::runtime::mirror::gc_controller::MIN_RUNWAY;

    const MIB: u64 = 1 << 20;

    fn pacer() -> GcController {
        GcController {
            gc_percent: 100,
            memory_limit: i64::MAX.unsigned_abs(),
            gc_percent_heap_goal: 40 * MIB,
            triggered: u64::MAX,
            heap_marked: 20 * MIB,
            heap_free: MIB,
            total_alloc: 100 * MIB,
            total_free: 70 * MIB,
            mapped_ready: 50 * MIB,
            ..GcController::default()
        }
    }

    #[test]
    fn the_goal_is_gogcs_unless_something_moves_it() {
        assert_eq!(pacer().heap_goal(26), Some(40 * MIB));
        assert_eq!(GcController { sweep_dist_min_trigger: 41 * MIB, ..pacer() }.heap_goal(26), Some(41 * MIB));
        assert_eq!(GcController { triggered: 40 * MIB, ..pacer() }.heap_goal(26), Some(40 * MIB + MIN_RUNWAY));
        let off = GcController { gc_percent: -1, gc_percent_heap_goal: u64::MAX, ..pacer() };
        // The limit that is none still counts, as it does in the runtime.
        let none = i64::MAX.unsigned_abs() - 19 * MIB;
        assert_eq!(off.heap_goal(26), Some(none - none / 100 * 3));
    }

    #[test]
    fn a_goal_is_what_gogc_leads_to() {
        assert!(pacer().is_goal_likely());
        assert!(GcController { triggered: 39 * MIB, sweep_dist_min_trigger: 30 * MIB, ..pacer() }.is_goal_likely());
        for unlikely in [
            GcController { gc_percent_heap_goal: 39 * MIB, ..pacer() },
            GcController { gc_percent_heap_goal: u64::MAX, ..pacer() },
            GcController { gc_percent_heap_goal: 3 * MIB, heap_marked: MIB, ..pacer() },
            GcController { gc_percent_heap_goal: 0.5_f64.to_bits(), ..pacer() },
            GcController { triggered: 0.5_f64.to_bits(), ..pacer() },
            GcController { sweep_dist_min_trigger: u64::MAX, ..pacer() },
            GcController { gc_percent: -1, gc_percent_heap_goal: u64::MAX, ..pacer() },
        ] {
            assert!(!unlikely.is_goal_likely(), "{unlikely:?}");
        }
        let table = checked_in(26, Arch::Amd64).unwrap();
        let goal = |unreliable| {
            let layout = Layout { unreliable, ..Layout::resolve(table.clone()).unwrap() };
            gc_stats(&Mstats::default(), Some(&pacer()), None, Rules::of(26), &layout).unwrap().next_goal
        };
        assert_eq!(goal(Vec::new()), Some(40 * MIB));
        assert_eq!(goal(vec![("runtime.gcControllerState", "triggered")]), None);
    }

    #[test]
    fn a_memory_limit_lowers_the_goal() {
        // 50 MiB mapped, of them 31 MiB heap: 19 MiB are something else.
        let limited = |limit| GcController { memory_limit: limit, ..pacer() };
        assert_eq!(limited(52 * MIB).heap_goal(26), Some(33 * MIB - MIB));
        assert_eq!(limited(59 * MIB).heap_goal(19), Some(39 * MIB));
        assert_eq!(limited(59 * MIB).heap_goal(26), Some(40 * MIB - 40 * MIB / 100 * 3));
        // Not less than what is live.
        assert_eq!(limited(30 * MIB).heap_goal(26), Some(20 * MIB));
        assert_eq!(limited(1).heap_goal(26), Some(20 * MIB));
    }

    #[test]
    fn fields_that_code_contradicts_are_unknown() {
        let layout = |unreliable: &[(&'static str, &'static str)]| {
            let table = checked_in(26, Arch::Amd64).unwrap();
            Layout { unreliable: unreliable.to_vec(), ..Layout::resolve(table).unwrap() }
        };
        let mstats = Mstats { numgc: 5, enablegc: true, ..Mstats::default() };
        let stats = |unreliable| gc_stats(&mstats, Some(&pacer()), Some(0), Rules::of(26), &layout(unreliable));
        let all = stats(&[]).unwrap();
        assert_eq!((all.cycles, all.gc_percent, all.enabled), (5, Some(100), Some(true)));
        assert_eq!((all.next_goal, all.memory_limit), (Some(40 * MIB), None));

        let some = stats(&[("runtime.gcControllerState", "gcPercent")]).unwrap();
        assert_eq!((some.cycles, some.gc_percent, some.enabled, some.next_goal), (5, None, None, Some(40 * MIB)));
        let some = stats(&[("runtime.gcControllerState", "memoryLimit")]).unwrap();
        assert_eq!((some.gc_percent, some.enabled, some.next_goal), (Some(100), None, None));
        let some = stats(&[("runtime.mstats", "enablegc")]).unwrap();
        assert_eq!((some.gc_percent, some.enabled), (Some(100), None));
        assert_eq!(stats(&[("runtime.mstats", "numgc")]), None);
    }
}
