//! Resource use and limits of a process, from the kernel: current CPU use, cgroup limits, and open descriptors.
//!
//! The CPU clock of another process can be read to the nanosecond (clock_getcpuclockid(3)), while `stat` counts
//! in hundredths of a second. Callers decide which numbers are worth showing.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::Pid;
use procfs::process::LimitValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroups;
use super::proc_dir::ProcDir;

/// What a process uses of what it may use. Of several cgroups above each other, the one with the tightest
/// limit counts.
// Snapshots in JSON and captures hold it in this form: names are part of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// CPU time used in the latest interval, user and system, ns.
    pub cpu_used_ns: Option<u64>,
    /// Length of that interval, ns, never 0; null where there was none, or too short a one.
    pub cpu_interval_ns: Option<u64>,
    /// cgroup: CPU time allowed in a period, µs (cpu.max, cpu.cfs_quota_us); null without a limit.
    pub cpu_quota_us: Option<u64>,
    /// cgroup: length of that period, µs, never 0; known where the quota is.
    pub cpu_period_us: Option<u64>,
    /// cgroup: periods so far in which something was able to run (nr_periods).
    pub cpu_periods: Option<u64>,
    /// cgroup: of them, those in which the quota ran out (nr_throttled).
    pub cpu_throttled_periods: Option<u64>,
    /// cgroup: time that threads were made to wait so far, ns (throttled_usec, throttled_time).
    pub cpu_throttled_ns: Option<u64>,
    /// cgroup: memory allowed, bytes (memory.max, memory.limit_in_bytes); null without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// cgroup: memory used, bytes, page cache included (memory.current, memory.usage_in_bytes).
    pub memory_used_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// Soft limit of open file descriptors (RLIMIT_NOFILE); null without a limit.
    pub fd_limit: Option<u64>,
}

impl Resources {
    /// CPU cores used in the latest interval, such as 1.5.
    #[must_use]
    pub fn cores_used(&self) -> Option<f64> {
        let interval = self.cpu_interval_ns.filter(|&ns| ns > 0)?;
        Some(self.cpu_used_ns? as f64 / interval as f64)
    }

    /// CPU cores it may use.
    #[must_use]
    pub fn cores_allowed(&self) -> Option<f64> {
        let period = self.cpu_period_us.filter(|&us| us > 0)?;
        Some(self.cpu_quota_us? as f64 / period as f64)
    }
}

/// A reading of a CPU clock.
#[derive(Clone, Copy, Debug)]
struct CpuTime {
    used: Duration,
    at: Instant,
}

/// Minimum interval; shorter ones are mostly noise.
const LEAST_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum wait for an interval to become long enough.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Maximum descriptors counted one by one; the kernel's own limit (`fs.nr_open`) is 1 Mi by default.
const MAX_FDS: usize = 1 << 20;
/// For how long limits, and the memory that a cgroup uses, are not read again.
const LIMITS_LAST: Duration = Duration::from_millis(500);

/// The use of one process from one reading to the next.
#[derive(Debug)]
pub(super) struct Meter {
    before: Mutex<Option<CpuTime>>,
    cgroups: Cgroups,
    /// Limits and memory, and when they were read.
    limits: Mutex<Option<(Instant, Resources)>>,
}

impl Meter {
    /// Begins the first interval.
    pub(super) fn start(pid: i32) -> Self {
        Self { before: Mutex::new(cpu_time(pid)), cgroups: Cgroups::default(), limits: Mutex::default() }
    }

    /// The current use and limits of the process. Waits until the interval since the last call is at least
    /// `least`. An interval too short to be meaningful is extended to the next call, and its CPU use is
    /// unknown.
    pub(super) fn read(&self, dir: &ProcDir, least: Duration) -> Resources {
        let mut found = Resources { open_fds: open_fds(dir), ..self.limits(dir) };
        let before = *self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = before {
            let missing = least.min(LONGEST_WAIT).saturating_sub(before.at.elapsed());
            if !missing.is_zero() {
                std::thread::sleep(missing);
            }
        }
        let now = cpu_time(dir.pid());
        // By pid: that the process still exists proves that it was its clock.
        if dir.stat().is_err() {
            return found;
        }
        if let Some((before, now)) = before.zip(now) {
            let passed = now.at.saturating_duration_since(before.at);
            if passed < LEAST_INTERVAL {
                return found;
            }
            // A clock that goes backwards belongs to another process or program, not noticed yet.
            found.cpu_used_ns = now.used.checked_sub(before.used).and_then(|used| used.as_nanos().try_into().ok());
            found.cpu_interval_ns = found.cpu_used_ns.and(passed.as_nanos().try_into().ok());
        }
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = now;
        found
    }
}

impl Meter {
    /// Limits and what cgroups count: a dozen files, which those who read a program many times a second need not open
    /// each time.
    fn limits(&self, dir: &ProcDir) -> Resources {
        let mut last = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, found)) = *last
            && at.elapsed() < LIMITS_LAST
        {
            return found;
        }
        let mut found = Resources { fd_limit: fd_limit(dir), ..Resources::default() };
        self.cgroups.read(dir, &mut found);
        *last = Some((Instant::now(), found));
        found
    }
}

/// The CPU time of a process by its clock, and when it was read.
fn cpu_time(pid: i32) -> Option<CpuTime> {
    Some(CpuTime { used: cpu_clock(pid)?, at: Instant::now() })
}

/// The CPU time of a process by its clock.
pub(super) fn cpu_clock(pid: i32) -> Option<Duration> {
    ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).and_then(ClockId::now).ok().map(Into::into)
}

/// Number of open descriptors.
pub(super) fn open_fds(dir: &ProcDir) -> Option<u64> {
    // The directory's size is their number since Linux 6.2, and 0 before.
    let size = dir.size("fd").ok()?;
    if size > 0 {
        return Some(size);
    }
    let listed = fs::read_dir(format!("/proc/{}/fd", dir.pid())).ok()?.take(MAX_FDS).flatten().count();
    // By pid; see `ProcDir::tids`.
    dir.file("stat").ok()?;
    u64::try_from(listed).ok()
}

fn fd_limit(dir: &ProcDir) -> Option<u64> {
    match dir.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(value) => Some(value),
        LimitValue::Unlimited => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> ProcDir {
        ProcDir::open(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn a_busy_process_uses_a_core_and_a_sleeping_one_none() {
        let used = |program: &str, arguments: &[&str]| {
            let mut child = std::process::Command::new(program).args(arguments).spawn().unwrap();
            let dir = ProcDir::open(i32::try_from(child.id()).unwrap()).unwrap();
            // Wait until it has executed its program.
            std::thread::sleep(Duration::from_millis(100));
            let ticks = || {
                let stat = dir.stat().unwrap();
                Duration::from_millis((stat.utime + stat.stime) * 1_000 / procfs::ticks_per_second())
            };
            let before = ticks();
            let meter = Meter::start(dir.pid());
            let resources = meter.read(&dir, Duration::from_millis(400));
            let by_stat = ticks() - before;
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(resources.cpu_interval_ns.unwrap() >= 400_000_000, "{resources:?}");
            (Duration::from_nanos(resources.cpu_used_ns.unwrap()), by_stat)
        };
        let (busy, by_stat) = used("sh", &["-c", "while :; do :; done"]);
        // What `stat` counts for the same time, in hundredths of a second.
        assert!(busy.abs_diff(by_stat) < Duration::from_millis(60), "{busy:?}, by stat {by_stat:?}");
        assert!(busy > Duration::from_millis(40), "{busy:?}");
        let (idle, _) = used("sleep", &["60"]);
        assert!(idle < Duration::from_millis(20), "{idle:?}");
    }

    #[test]
    fn short_intervals_are_extended() {
        let meter = Meter::start(me().pid());
        let first = meter.read(&me(), Duration::ZERO);
        assert_eq!((first.cpu_used_ns, first.cpu_interval_ns), (None, None));
        let second = meter.read(&me(), LEAST_INTERVAL);
        assert!(second.cpu_interval_ns.unwrap() >= 50_000_000, "{second:?}");
    }

    #[test]
    fn descriptors_are_counted_as_the_kernel_lists_them() {
        // Another process, since parallel tests open files in this one.
        let mut child =
            std::process::Command::new("sleep").arg("60").stdin(std::process::Stdio::null()).spawn().unwrap();
        let dir = ProcDir::open(i32::try_from(child.id()).unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let found = Meter::start(dir.pid()).read(&dir, Duration::ZERO);
        let listed = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
        let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.open_fds, u64::try_from(listed).ok());
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let soft = line.split_whitespace().nth(3).unwrap();
        assert_eq!(found.fd_limit.map_or("unlimited".to_owned(), |limit| limit.to_string()), soft);
    }
}
