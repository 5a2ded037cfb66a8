//! What a process uses of what it may use, as the kernel counts it: CPU time now, the limits of its
//! cgroup, and its open descriptors.
//!
//! The CPU clock of another process can be read to the nanosecond (clock_getcpuclockid(3)), while
//! `stat` counts in hundredths of a second. This module judges nothing: whether a number is worth showing is for
//! others to decide.

use std::fs;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::Pid;
use procfs::FromBufRead as _;
use procfs::process::{LimitValue, Limits};

use super::cgroup::Cgroups;
use super::proc_dir::ProcDir;

/// What a process uses and may use. Everything is unknown, or not limited, where it is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU time that it used in the latest interval, user and system, ns.
    pub cpu_used_ns: Option<u64>,
    /// The length of that interval, ns; known exactly where `cpu_used_ns` is, and never 0.
    pub cpu_interval_ns: Option<u64>,
    /// CPU time that the tightest of its cgroups may use in a period, µs (`cpu.max`, or
    /// `cpu.cfs_quota_us`); `None` without a limit.
    pub cpu_quota_us: Option<u64>,
    /// The length of that period, µs; known exactly where `cpu_quota_us` is, and never 0.
    pub cpu_period_us: Option<u64>,
    /// Periods of that cgroup so far in which something in it was able to run (`nr_periods`).
    pub cpu_periods: Option<u64>,
    /// Of them, those in which it was made to wait (`nr_throttled`).
    pub cpu_throttled_periods: Option<u64>,
    /// For how long its threads were made to wait so far, together, ns (`throttled_usec`, `throttled_time`).
    pub cpu_throttled_ns: Option<u64>,
    /// Memory that the tightest of its cgroups may use, bytes (`memory.max`, `memory.limit_in_bytes`);
    /// `None` without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// Memory that this cgroup uses, its page cache included (`memory.current`, `memory.usage_in_bytes`).
    pub memory_used_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// The soft limit of descriptors (`RLIMIT_NOFILE`); `None` without a limit.
    pub fd_limit: Option<u64>,
}

impl Resources {
    /// Cores that it used in the latest interval: 1.5 are one and a half.
    #[must_use]
    pub fn cores_used(&self) -> Option<f64> {
        let interval = self.cpu_interval_ns.filter(|&ns| ns > 0)?;
        Some(self.cpu_used_ns? as f64 / interval as f64)
    }

    /// Cores that it may use.
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

/// Shorter intervals say more of the moment than of the program.
const LEAST_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for an interval to be long enough.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Most descriptors that are counted one by one; the kernel's own limit (`fs.nr_open`) is 1 Mi by default.
const MAX_FDS: usize = 1 << 20;
/// Most bytes that are taken of `limits`.
const LIMITS: u64 = 16 * 1024;

/// The use of one process from one reading to the next.
#[derive(Debug)]
pub(super) struct Meter {
    before: Mutex<Option<CpuTime>>,
    cgroups: Cgroups,
}

impl Meter {
    /// Begins the first interval.
    pub(super) fn start(pid: i32) -> Self {
        Self { before: Mutex::new(cpu_time(pid)), cgroups: Cgroups::default() }
    }

    /// What the process uses and may use; the interval since it was asked last has `least` at least, which
    /// is waited for. An interval that is too short to be believed goes on, and its use is unknown.
    pub(super) fn read(&self, dir: &ProcDir, least: Duration) -> Resources {
        let mut found = Resources { open_fds: open_fds(dir), fd_limit: fd_limit(dir), ..Resources::default() };
        self.cgroups.read(dir, &mut found);
        let before = *self.before.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = before {
            let missing = least.min(LONGEST_WAIT).saturating_sub(before.at.elapsed());
            if !missing.is_zero() {
                std::thread::sleep(missing);
            }
        }
        let now = cpu_time(dir.pid());
        // By number: that the process is there still says that it was its clock.
        if dir.stat().is_err() {
            return found;
        }
        if let Some((before, now)) = before.zip(now) {
            let passed = now.at.saturating_duration_since(before.at);
            if passed < LEAST_INTERVAL {
                return found;
            }
            // A clock that goes back is of another program, after an execve of which nobody knows yet.
            found.cpu_used_ns = now.used.checked_sub(before.used).and_then(|used| used.as_nanos().try_into().ok());
            found.cpu_interval_ns = found.cpu_used_ns.and(passed.as_nanos().try_into().ok());
        }
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = now;
        found
    }
}

/// The CPU time of a process by its clock, and when it was read.
fn cpu_time(pid: i32) -> Option<CpuTime> {
    let used = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).and_then(ClockId::now).ok()?;
    Some(CpuTime { used: used.into(), at: Instant::now() })
}

/// How many descriptors are open.
fn open_fds(dir: &ProcDir) -> Option<u64> {
    let directory = dir.file("fd").ok()?;
    // The directory's size is their number since Linux 6.2, and 0 before.
    let size = directory.metadata().ok()?.size();
    if size > 0 {
        return Some(size);
    }
    let listed = fs::read_dir(format!("/proc/{}/fd", dir.pid())).ok()?.take(MAX_FDS).flatten().count();
    // By number; see `ProcDir::tids`.
    dir.file("stat").ok()?;
    u64::try_from(listed).ok()
}

fn fd_limit(dir: &ProcDir) -> Option<u64> {
    let limits = Limits::from_buf_read(BufReader::new(dir.file("limits").ok()?.take(LIMITS))).ok()?;
    match limits.max_open_files.soft_limit {
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
            // Not before it has executed its program.
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
        // What the kernel counts in `stat` for the same time, in hundredths of a second.
        assert!(busy.abs_diff(by_stat) < Duration::from_millis(60), "{busy:?}, by stat {by_stat:?}");
        assert!(busy > Duration::from_millis(40), "{busy:?}");
        let (idle, _) = used("sleep", &["60"]);
        assert!(idle < Duration::from_millis(20), "{idle:?}");
    }

    #[test]
    fn intervals_that_are_too_short_go_on() {
        let meter = Meter::start(me().pid());
        let first = meter.read(&me(), Duration::ZERO);
        assert_eq!((first.cpu_used_ns, first.cpu_interval_ns), (None, None));
        let second = meter.read(&me(), LEAST_INTERVAL);
        assert!(second.cpu_interval_ns.unwrap() >= 50_000_000, "{second:?}");
    }

    #[test]
    fn descriptors_are_counted_as_the_kernel_lists_them() {
        // Another process, since tests beside this one open files.
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
