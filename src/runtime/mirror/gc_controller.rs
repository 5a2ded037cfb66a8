//! `runtime.gcControllerState`: the collector's pacer.

use super::mirror;

mirror! {
    /// `gcController` (mgcpacer.go), as it is in memory; all in bytes but for the percentage.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct GcController, GcControllerLayout of "runtime.gcControllerState" {
        /// `gcPercent`: GOGC; negative when off.
        gc_percent: i32 = "gcPercent",
        /// `memoryLimit`: GOMEMLIMIT; the largest `int64` when there is none.
        memory_limit: u64 = "memoryLimit",
        /// `gcPercentHeapGoal`: the goal by GOGC alone.
        gc_percent_heap_goal: u64 = "gcPercentHeapGoal",
        /// `sweepDistMinTrigger`.
        sweep_dist_min_trigger: u64 = "sweepDistMinTrigger",
        /// `triggered`: heap size at which the running cycle began; all ones between cycles.
        triggered: u64 = "triggered",
        /// `heapLive`.
        heap_live: u64 = "heapLive",
        /// `heapMarked`.
        heap_marked: u64 = "heapMarked",
        /// `heapInUse`.
        heap_in_use: u64 = "heapInUse",
        /// `heapReleased`.
        heap_released: u64 = "heapReleased",
        /// `heapFree`.
        heap_free: u64 = "heapFree",
        /// `totalAlloc`.
        total_alloc: u64 = "totalAlloc",
        /// `totalFree`.
        total_free: u64 = "totalFree",
        /// `mappedReady`.
        mapped_ready: u64 = "mappedReady",
    }
}

/// Least room that the pacer leaves below the memory limit, bytes (mgcpacer.go; 1.19 on).
const LIMIT_HEADROOM: u64 = 1 << 20;

/// The same as a share of the goal, percent (mgcpacer.go; 1.21 on).
const LIMIT_HEADROOM_PERCENT: u64 = 3;

/// Least distance of the goal from where the cycle began, bytes (mgcpacer.go; 1.19 on).
pub(crate) const MIN_RUNWAY: u64 = 64 << 10;

/// Heap at which the first cycle begins with GOGC=100, bytes (`defaultHeapMinimum`, mgcpacer.go).
const MIN_HEAP: u64 = 4 << 20;

/// No heap is as large as this, bytes: the addresses of a process end here.
const MAX_HEAP: u64 = 1 << 47;

impl GcController {
    /// What `MemStats.NextGC` would say: the goal by GOGC, lowered by the memory limit or raised
    /// by what sweeping needs, as the pacer works it out (`heapGoalInternal`, mgcpacer.go).
    /// `None` when no size starts a cycle.
    #[must_use]
    pub(crate) fn heap_goal(&self, minor: u32) -> Option<u64> {
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

    /// Whether the goal by GOGC is one that GOGC leads to, given what was marked last; a word from somewhere
    /// else is not. Unknown when GOGC is off.
    #[must_use]
    pub(crate) fn is_goal_likely(&self) -> bool {
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
const _: () = crate::runtime::layout::wanted::check_all("runtime.gcControllerState", &GOAL_FIELDS);
