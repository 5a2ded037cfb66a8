//! The clocks of a running process.
//!
//! A process in a time namespace of its own has a `CLOCK_MONOTONIC` that differs from ours by a
//! constant, and timestamps in its memory use that clock. The wall clock has no namespaces.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::Clock;
use super::proc_dir::ProcDir;
use super::syscalls::time_stamp_counter;
use crate::addr::Arch;

const NANOS: i128 = 1_000_000_000;

/// How far a process's `CLOCK_MONOTONIC` is ahead of ours, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MonotonicOffset(i64);

impl MonotonicOffset {
    /// For the process of `dir`; 0 when it cannot be determined, and in the common case of a shared namespace.
    #[must_use]
    pub(crate) fn of(dir: &ProcDir) -> Self {
        Self::try_of(dir).unwrap_or_default()
    }

    fn try_of(dir: &ProcDir) -> Option<Self> {
        let namespace = dir.link("ns/time").ok()?;
        let ours = std::fs::read_link("/proc/self/ns/time").ok()?;
        if namespace == ours.as_os_str() || namespace != dir.link("ns/time_for_children").ok()? {
            // `timens_offsets` describes the namespace of future children.
            return None;
        }
        let theirs = parse_offset(&dir.text("timens_offsets").ok()?)?;
        let ours = parse_offset(&std::fs::read_to_string("/proc/self/timens_offsets").ok()?)?;
        i64::try_from(theirs.checked_sub(ours)?).ok().map(Self)
    }

    /// The process's clocks at one moment: of a few readings, the one in which they are closest together. Ends of
    /// collections by one clock are compared with stamps by the other, and may be 0.1 ms apart; a thread that loses its
    /// CPU between two clocks is much later, and so is the first call of a process.
    #[must_use]
    pub(crate) fn now(self) -> Clock {
        let reading = || {
            let before = nanoseconds(ClockId::CLOCK_MONOTONIC);
            let unix_ns = nanoseconds(ClockId::CLOCK_REALTIME);
            let gap = nanoseconds(ClockId::CLOCK_MONOTONIC).saturating_sub(before);
            let monotonic_ns = before.saturating_add(gap / 2).saturating_add_signed(self.0);
            (gap, Clock { monotonic_ns, unix_ns })
        };
        let (first, rest) = (reading(), (0..2).map(|_| reading()));
        rest.fold(first, |least, one| if one.0 < least.0 { one } else { least }).1
    }
}

/// How often `runtime.cputicks` counts in a second on this machine, for a Go program of this architecture. On arm64
/// it counts ns (runtime/os_linux_arm64.go; 1.19 to 1.27); on amd64 it is the processor's clock, which is measured
/// for some milliseconds. `None` where that is not this machine's.
#[must_use]
pub(crate) fn ticks_per_second(arch: Arch) -> Option<f64> {
    /// Long enough for five figures.
    const LENGTH: Duration = Duration::from_millis(10);
    match arch {
        Arch::Arm64 => Some(1e9),
        Arch::Amd64 => {
            let (from, started) = both_clocks()?;
            std::thread::sleep(LENGTH);
            let (to, ended) = both_clocks()?;
            let ticks = to.checked_sub(from).filter(|ticks| *ticks > 0)?;
            Some(ticks as f64 / ended.duration_since(started).as_secs_f64())
        }
    }
}

/// The processor's clock and ours at one moment: of a few readings, the one in which they are closest together.
fn both_clocks() -> Option<(u64, Instant)> {
    let reading = || {
        let (before, now, after) = (time_stamp_counter()?, Instant::now(), time_stamp_counter()?);
        let gap = after.checked_sub(before)?;
        Some((gap, before.saturating_add(gap / 2), now))
    };
    let readings = (0..5).filter_map(|_| reading());
    readings.min_by_key(|(gap, ..)| *gap).map(|(_, ticks, now)| (ticks, now))
}

/// A clock's time in ns; 0 if the kernel lacks the clock.
pub(super) fn nanoseconds(clock: ClockId) -> u64 {
    let reading = clock_gettime(clock).map(|t| i128::from(t.tv_sec()) * NANOS + i128::from(t.tv_nsec()));
    reading.ok().and_then(|ns| u64::try_from(ns).ok()).unwrap_or_default()
}

/// The line `monotonic SECONDS NANOSECONDS` of `timens_offsets`, in ns.
fn parse_offset(text: &str) -> Option<i128> {
    let line = text.lines().find_map(|line| line.strip_prefix("monotonic"))?;
    let mut fields = line.split_ascii_whitespace();
    let seconds: i64 = fields.next()?.parse().ok()?;
    let nanos: i64 = fields.next()?.parse().ok()?;
    Some(i128::from(seconds) * NANOS + i128::from(nanos))
}

/// Clock ticks as `stat` counts them.
pub(super) fn ticks_to_ns(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000_000 / procfs::ticks_per_second().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_offsets() {
        assert_eq!(parse_offset("monotonic           0         0\nboottime            0         0\n"), Some(0));
        assert_eq!(parse_offset("monotonic  -2  500000000\nboottime  5  0\n"), Some(-1_500_000_000));
        assert_eq!(parse_offset("boottime 1 2\n"), None);
        assert_eq!(parse_offset("monotonic 1\n"), None);
        assert_eq!(parse_offset("monotonic x 0\n"), None);
    }

    #[test]
    fn a_process_in_our_namespace_has_our_clock() {
        let me = ProcDir::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let offset = MonotonicOffset::of(&me);
        assert_eq!(offset, MonotonicOffset(0));
        let (before, now, after) = (nanoseconds(ClockId::CLOCK_MONOTONIC), offset.now(), offset.now());
        assert!(before <= now.monotonic_ns && now.monotonic_ns <= after.monotonic_ns);
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        assert!(wall.abs_diff(u128::from(now.unix_ns)) < 10_000_000_000);
    }

    #[test]
    fn another_namespaces_clock_is_ahead_by_its_offset() {
        let offset = MonotonicOffset(3_600_000_000_000);
        let (ours, theirs) = (MonotonicOffset(0).now(), offset.now());
        let ahead = theirs.monotonic_ns - ours.monotonic_ns;
        assert!((3_600_000_000_000..3_610_000_000_000).contains(&ahead), "{ahead}");
    }
}
