//! The collector's share of the CPU over the latest cycles.
//!
//! The runtime keeps the share since the start of the program, as of the end of the latest cycle
//! (`memstats.gc_cpu_fraction`, set by `gcMarkTermination`, runtime/mgc.go). Two such shares with the times that
//! they are of give the share between them, as long as GOMAXPROCS did not change.

use std::collections::VecDeque;

use crate::model::Snapshot;

/// Cycles older than this are forgotten, once others have ended since, ns.
const SPAN_NS: u64 = 30_000_000_000;
/// Ends of cycles that are kept at most.
const MAX_CYCLES: usize = 256;

/// The end of a cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CycleEnd {
    /// Time since the start of the program, ns.
    uptime_ns: u64,
    /// The collector's share of the CPU until then, 0 to 1.
    share: f64,
    gomaxprocs: u32,
}

/// The ends of cycles that were seen.
#[derive(Clone, Debug, Default)]
pub struct GcCpu {
    ends: VecDeque<CycleEnd>,
}

/// What the collector took of the CPU between the ends of two cycles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GcShare {
    /// Its share of the CPU time that GOMAXPROCS allowed, 0 to 1.
    pub share: f64,
    /// Time between the two, ns.
    pub interval_ns: u64,
}

impl GcCpu {
    /// Adds what a snapshot says.
    pub fn record(&mut self, snapshot: &Snapshot) {
        let Some(end) = cycle_end(snapshot) else { return };
        match self.ends.back() {
            Some(last) if last.uptime_ns == end.uptime_ns => return,
            // Another run, or other Ps: what was before says nothing of what comes.
            Some(last) if last.uptime_ns > end.uptime_ns || last.gomaxprocs != end.gomaxprocs => self.ends.clear(),
            _ => {}
        }
        self.ends.push_back(end);
        let is_old = |end: &CycleEnd, last: u64| last.saturating_sub(end.uptime_ns) > SPAN_NS;
        while self.ends.len() > 2
            && (self.ends.len() > MAX_CYCLES || self.ends.get(1).is_some_and(|second| is_old(second, end.uptime_ns)))
        {
            self.ends.pop_front();
        }
    }

    /// The share over the cycles that were seen; `None` while that was one or none.
    #[must_use]
    pub fn share(&self) -> Option<GcShare> {
        let (first, last) = (self.ends.front()?, self.ends.back()?);
        let interval_ns = last.uptime_ns.checked_sub(first.uptime_ns).filter(|&ns| ns > 0)?;
        let taken = |end: &CycleEnd| end.share * end.uptime_ns as f64;
        let share = (taken(last) - taken(first)) / interval_ns as f64;
        Some(GcShare { share: share.clamp(0.0, 1.0), interval_ns })
    }
}

fn cycle_end(snapshot: &Snapshot) -> Option<CycleEnd> {
    let gc = snapshot.gc.as_ref()?;
    let ago = snapshot.captured_at_unix_ns.checked_sub(gc.last_unix_ns?)?;
    let uptime_ns = snapshot.target.uptime_ns?.checked_sub(ago)?;
    Some(CycleEnd { uptime_ns, share: gc.cpu_fraction, gomaxprocs: snapshot.target.gomaxprocs? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::SnapshotBuilder;

    const SECOND: u64 = 1_000_000_000;

    /// A snapshot taken `after` the latest cycle, which ended at `uptime`, s.
    fn at(uptime: u64, share: f64, after: u64) -> Snapshot {
        let mut snapshot = SnapshotBuilder::new().build();
        snapshot.target.uptime_ns = Some((uptime + after) * SECOND);
        snapshot.captured_at_unix_ns = (1_000_000 + uptime + after) * SECOND;
        let gc = snapshot.gc.as_mut().unwrap();
        (gc.last_unix_ns, gc.cpu_fraction) = (Some((1_000_000 + uptime) * SECOND), share);
        snapshot
    }

    #[test]
    fn the_share_is_that_between_the_ends_of_cycles() {
        let mut cpu = GcCpu::default();
        assert_eq!(cpu.share(), None);
        // 1 s of 100 s, and then 5 s of the next 10 s.
        cpu.record(&at(100, 0.01, 0));
        cpu.record(&at(100, 0.01, 4));
        assert_eq!(cpu.share(), None, "no other cycle has ended");
        cpu.record(&at(110, 6.0 / 110.0, 1));
        let found = cpu.share().unwrap();
        assert!((found.share - 0.5).abs() < 1e-9 && found.interval_ns == 10 * SECOND, "{found:?}");
        // None of 40 s: what is older is forgotten.
        cpu.record(&at(120, 6.0 / 120.0, 0));
        cpu.record(&at(160, 6.0 / 160.0, 0));
        let found = cpu.share().unwrap();
        assert!(found.share.abs() < 1e-9 && found.interval_ns == 40 * SECOND, "{found:?}");
    }

    #[test]
    fn another_run_or_other_ps_begin_anew() {
        let mut cpu = GcCpu::default();
        cpu.record(&at(100, 0.5, 0));
        cpu.record(&at(10, 0.5, 0));
        assert_eq!(cpu.share(), None);
        let mut more = at(20, 0.5, 0);
        *more.target.gomaxprocs.as_mut().unwrap() += 1;
        cpu.record(&more);
        assert_eq!(cpu.share(), None);
        // Half of the time all along.
        let mut later = at(30, 0.5, 0);
        later.target.gomaxprocs = more.target.gomaxprocs;
        cpu.record(&later);
        assert_eq!(cpu.share().map(|found| found.share), Some(0.5));
        let mut unknown = at(40, 0.5, 0);
        unknown.target.uptime_ns = None;
        cpu.record(&unknown);
        assert_eq!(cpu.share().map(|found| found.interval_ns), Some(10 * SECOND));
    }
}
