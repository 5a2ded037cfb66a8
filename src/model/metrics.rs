//! The figures of `runtime/metrics` and `runtime.MemStats` that monitoring exports.

use super::HeapStats;

/// Figures of a runtime that no goroutine need be read for. Names follow `runtime/metrics` and
/// `runtime.MemStats`; `None` is what this version does not keep or could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RuntimeMetrics {
    /// The toolchain (`go1.26.6`), as the program itself reports it.
    pub go_version: String,
    /// Goroutines, as `runtime.NumGoroutine` counts them: without those of the system.
    pub goroutines: Option<u64>,
    /// Ms in existence.
    pub threads: Option<u64>,
    /// GOMAXPROCS.
    pub gomaxprocs: Option<u32>,
    /// Memory. What the Ps hold back of their latest allocations is not in it, as `runtime/metrics` has it, too;
    /// see [`HeapStats`] for what `runtime.ReadMemStats` adds.
    pub heap: Option<HeapStats>,
    /// Bytes of the mspan structures in use.
    pub mspan_inuse: Option<u64>,
    /// Bytes of the mcache structures in use.
    pub mcache_inuse: Option<u64>,
    /// Completed cycles of the collector.
    pub collections: Option<Collections>,
    /// `GOGC`; negative when off.
    pub gc_percent: Option<i32>,
    /// `GOMEMLIMIT`, bytes; the largest `int64` when there is none.
    pub memory_limit: Option<u64>,
    /// Heap at which the next cycle ends, bytes.
    pub next_goal: Option<u64>,
}

/// Completed cycles of the collector, as `debug.ReadGCStats` reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collections {
    /// How many.
    pub cycles: u32,
    /// Time that the world was stopped, ns, over all of them.
    pub pause_total_ns: u64,
    /// The latest pauses, ns, shortest first; at most 256.
    pub pauses_ns: Vec<u64>,
    /// When the latest one ended, ns since the Unix epoch; 0 before the first.
    pub last_unix_ns: u64,
}

impl Collections {
    /// The least of the latest pauses that a share of `quarters` of four is not longer than, ns; 0 before the first
    /// (`PauseQuantiles`, runtime/debug/garbage.go).
    #[must_use]
    pub fn pause_quantile_ns(&self, quarters: usize) -> u64 {
        let last = self.pauses_ns.len().saturating_sub(1);
        let at = self.pauses_ns.len().saturating_mul(quarters) / 4;
        self.pauses_ns.get(at.min(last)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_debug_package() {
        let of = |pauses: &[u64]| {
            let collections = Collections { pauses_ns: pauses.to_vec(), ..Collections::default() };
            (0..=4).map(|quarters| collections.pause_quantile_ns(quarters)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), [0; 5]);
        assert_eq!(of(&[7]), [7; 5]);
        assert_eq!(of(&[1, 2, 3]), [1, 1, 2, 3, 3]);
        assert_eq!(of(&[1, 2, 3, 4, 5, 6, 7, 8]), [1, 3, 5, 7, 8]);
    }
}
