//! `runtime.gcControllerState`: the collector's pacer.

use super::layout::{Layout, layout};
use super::mstats::Mstats;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{GcPhase, GcStats, WarningCode, Warnings};
use crate::process::{ReadError, Target, TargetExt as _};

layout! {
    /// Offsets in `runtime.gcControllerState` (mgcpacer.go).
    GcControllerLayout of "runtime.gcControllerState" {
        gc_percent = "gcPercent",
        memory_limit = "memoryLimit",
        gc_percent_heap_goal = "gcPercentHeapGoal",
        sweep_dist_min_trigger = "sweepDistMinTrigger",
        triggered = "triggered",
        heap_live = "heapLive",
        heap_marked = "heapMarked",
        heap_in_use = "heapInUse",
        heap_released = "heapReleased",
        heap_free = "heapFree",
        total_alloc = "totalAlloc",
        total_free = "totalFree",
        mapped_ready = "mappedReady",
    }
}

/// `gcController`, as it stands in memory; all in bytes but for the percentage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcController {
    /// `gcPercent`: GOGC; negative when off.
    pub gc_percent: i32,
    /// `memoryLimit`: GOMEMLIMIT; the largest `int64` when there is none.
    pub memory_limit: u64,
    /// `gcPercentHeapGoal`: the goal by GOGC alone.
    pub gc_percent_heap_goal: u64,
    /// `sweepDistMinTrigger`.
    pub sweep_dist_min_trigger: u64,
    /// `triggered`: heap size at which the running cycle began; all ones between cycles.
    pub triggered: u64,
    /// `heapLive`.
    pub heap_live: u64,
    /// `heapMarked`.
    pub heap_marked: u64,
    /// `heapInUse`.
    pub heap_in_use: u64,
    /// `heapReleased`.
    pub heap_released: u64,
    /// `heapFree`.
    pub heap_free: u64,
    /// `totalAlloc`.
    pub total_alloc: u64,
    /// `totalFree`.
    pub total_free: u64,
    /// `mappedReady`.
    pub mapped_ready: u64,
}

/// Least room that the pacer leaves below the memory limit, bytes (mgcpacer.go; 1.19 on).
const LIMIT_HEADROOM: u64 = 1 << 20;

/// The same as a share of the goal, percent (mgcpacer.go; 1.21 on).
const LIMIT_HEADROOM_PERCENT: u64 = 3;

/// Least distance of the goal from where the cycle began, bytes (mgcpacer.go; 1.19 on).
const MIN_RUNWAY: u64 = 64 << 10;

/// Heap at which the first cycle begins with GOGC=100, bytes (`defaultHeapMinimum`, mgcpacer.go).
const MIN_HEAP: u64 = 4 << 20;

/// No heap is as large as this, bytes: the addresses of a process end here.
const MAX_HEAP: u64 = 1 << 47;

impl GcController {
    /// Takes `gcController`'s bytes apart. `None` when there are too few.
    #[must_use]
    pub fn parse(bytes: &[u8], layout: &GcControllerLayout) -> Option<Self> {
        let word = |offset: u32| bytes.u64_at(offset as usize);
        Some(Self {
            gc_percent: bytes.i32_at(layout.gc_percent as usize)?,
            memory_limit: word(layout.memory_limit)?,
            gc_percent_heap_goal: word(layout.gc_percent_heap_goal)?,
            sweep_dist_min_trigger: word(layout.sweep_dist_min_trigger)?,
            triggered: word(layout.triggered)?,
            heap_live: word(layout.heap_live)?,
            heap_marked: word(layout.heap_marked)?,
            heap_in_use: word(layout.heap_in_use)?,
            heap_released: word(layout.heap_released)?,
            heap_free: word(layout.heap_free)?,
            total_alloc: word(layout.total_alloc)?,
            total_free: word(layout.total_free)?,
            mapped_ready: word(layout.mapped_ready)?,
        })
    }

    /// What `MemStats.NextGC` would say: the goal by GOGC, lowered by the memory limit or raised
    /// by what sweeping needs, as the pacer works it out (`heapGoalInternal`, mgcpacer.go).
    /// `None` when no size starts a cycle.
    #[must_use]
    pub fn heap_goal(&self, minor: u32) -> Option<u64> {
        let limited = self.memory_limit_goal(minor);
        let goal = if limited < self.gc_percent_heap_goal {
            limited
        } else {
            let goal = self.gc_percent_heap_goal.max(self.sweep_dist_min_trigger);
            match self.triggered {
                u64::MAX => goal,
                triggered => goal.max(triggered.saturating_add(MIN_RUNWAY)),
            }
        };
        (goal != u64::MAX).then_some(goal)
    }

    /// Whether the goal by GOGC is one that GOGC leads to, given what was marked last; a word from
    /// somewhere else is not. Says nothing when GOGC is off.
    #[must_use]
    pub fn is_goal_likely(&self) -> bool {
        let Ok(percent) = u64::try_from(self.gc_percent) else { return false };
        let grown = |size: u64| (size / 100).saturating_mul(percent);
        // What is marked, that much more, and as much for stacks and variables.
        let least = self.heap_marked.saturating_add(grown(self.heap_marked)).max(grown(MIN_HEAP));
        let sizes = 0..MAX_HEAP;
        (least..MAX_HEAP).contains(&self.gc_percent_heap_goal)
            && sizes.contains(&self.sweep_dist_min_trigger)
            && (self.triggered == u64::MAX || sizes.contains(&self.triggered))
    }

    /// `memoryLimitHeapGoal` (mgcpacer.go).
    fn memory_limit_goal(&self, minor: u32) -> u64 {
        let heap = self.heap_free.saturating_add(self.total_alloc.saturating_sub(self.total_free));
        let not_heap = self.mapped_ready.saturating_sub(heap);
        let overage = self.mapped_ready.saturating_sub(self.memory_limit);
        let goal = self.memory_limit.saturating_sub(not_heap.saturating_add(overage));
        if goal == 0 {
            return self.heap_marked;
        }
        let share = if minor >= 21 { (goal / 100).saturating_mul(LIMIT_HEADROOM_PERCENT) } else { 0 };
        let headroom = share.max(LIMIT_HEADROOM);
        goal.saturating_sub(headroom).max(headroom).max(self.heap_marked)
    }
}

/// What the goal is worked out from and no function is asked about.
pub(crate) const GOAL_FIELDS: [&str; 3] = ["gcPercentHeapGoal", "sweepDistMinTrigger", "triggered"];

/// Reads `gcController`.
///
/// # Errors
/// When the target could not be looked at.
pub fn read_gc_controller(
    target: &dyn Target,
    addr: Addr,
    layout: &Layout,
    warnings: &mut Warnings,
) -> Result<Option<GcController>, ReadError> {
    let bytes = target.read_vec(addr, layout.gc_controller.size as usize)?;
    let gc = bytes.and_then(|bytes| GcController::parse(&bytes, &layout.gc_controller));
    if gc.is_none() {
        warnings.add(WarningCode::StatsUnreadable, format!("runtime.gcController at {addr} cannot be read"));
    }
    Ok(gc)
}

/// `gcphase` (mgc.go, `_GCoff` and following; 1.19 to 1.27).
#[must_use]
pub fn phase(value: u32) -> GcPhase {
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
pub fn gc_stats(
    mstats: &Mstats,
    gc: Option<&GcController>,
    gcphase: Option<u32>,
    minor: u32,
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
            .and_then(|gc| gc.heap_goal(minor)),
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
        let goal = |mistrusted| {
            let layout = Layout { mistrusted, ..Layout::resolve(table.clone()).unwrap() };
            gc_stats(&Mstats::default(), Some(&pacer()), None, 26, &layout).unwrap().next_goal
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
    fn what_code_contradicts_is_not_told() {
        let layout = |mistrusted: &[(&'static str, &'static str)]| {
            let table = checked_in(26, Arch::Amd64).unwrap();
            Layout { mistrusted: mistrusted.to_vec(), ..Layout::resolve(table).unwrap() }
        };
        let mstats = Mstats { numgc: 5, enablegc: true, ..Mstats::default() };
        let told = |mistrusted| gc_stats(&mstats, Some(&pacer()), Some(0), 26, &layout(mistrusted));
        let all = told(&[]).unwrap();
        assert_eq!((all.cycles, all.gc_percent, all.enabled), (5, Some(100), Some(true)));
        assert_eq!((all.next_goal, all.memory_limit), (Some(40 * MIB), None));

        let some = told(&[("runtime.gcControllerState", "gcPercent")]).unwrap();
        assert_eq!((some.cycles, some.gc_percent, some.enabled, some.next_goal), (5, None, None, Some(40 * MIB)));
        let some = told(&[("runtime.gcControllerState", "memoryLimit")]).unwrap();
        assert_eq!((some.gc_percent, some.enabled, some.next_goal), (Some(100), None, None));
        let some = told(&[("runtime.mstats", "enablegc")]).unwrap();
        assert_eq!((some.gc_percent, some.enabled), (Some(100), None));
        assert_eq!(told(&[("runtime.mstats", "numgc")]), None);
    }
}
