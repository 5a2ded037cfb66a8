//! The cgroup limits of a process, for cgroup v1 and v2.
//!
//! `/proc/PID/cgroup` gives paths relative to gospy's own cgroup namespace, and so does the root field of each
//! cgroup mount in mountinfo. The difference is the path from the mount point to the cgroup. If gospy's own
//! mounts do not contain it (gospy runs in another container), those of the process do, through
//! `/proc/PID/root`. Limits of ancestor groups apply too: the tightest counts.
//!
//! A process controls its own mounts, so a directory is used only if it is on a cgroup file system, whose files
//! come from the kernel.

use std::io::{BufReader, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, fstatfs};
use procfs::process::MountInfo;
use procfs::{FromBufRead as _, ProcessCGroups};

use super::proc_dir::ProcDir;
use super::resources::Resources;

/// Maximum bytes read of a mountinfo; hosts with many containers have thousands of lines.
const MOUNTINFO: u64 = 8 << 20;
/// Maximum bytes read of a cgroup file.
const FILE: u64 = 64 * 1024;
/// Maximum cgroup levels read, from the process up.
const LEVELS: usize = 64;
/// From here on, a v1 limit means unlimited: the kernel shows the largest multiple of a page.
const UNLIMITED: u64 = 1 << 62;

/// A cgroup version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    fn magic(self) -> FsType {
        match self {
            Self::V1 => CGROUP_SUPER_MAGIC,
            Self::V2 => CGROUP2_SUPER_MAGIC,
        }
    }
}

/// A cgroup of the process in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    version: Version,
    /// Mount point of the hierarchy, as gospy can open it.
    mount: PathBuf,
    /// Path of the cgroup relative to it.
    path: PathBuf,
}

#[derive(Debug, Default)]
struct Found {
    cpu: Option<Group>,
    memory: Option<Group>,
}

/// The cgroups of one process, looked up again only when it has moved.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    found: Mutex<Option<(String, Arc<Found>)>>,
}

impl Cgroups {
    /// Fills in the limits and counters that come from cgroups.
    pub(super) fn read(&self, dir: &ProcDir, out: &mut Resources) {
        let Ok(listed) = dir.text("cgroup") else { return };
        let found = self.find(dir, listed);
        if let Some(group) = &found.cpu {
            cpu(group.version, levels(group), out);
        }
        if let Some(group) = &found.memory {
            memory(group.version, levels(group), out);
        }
    }

    fn find(&self, dir: &ProcDir, listed: String) -> Arc<Found> {
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((of, found)) = known
            && of == listed
        {
            return found;
        }
        let found = Arc::new(find(dir, &listed));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some((listed, Arc::clone(&found)));
        found
    }
}

fn find(dir: &ProcDir, listed: &str) -> Found {
    let Ok(groups) = ProcessCGroups::from_buf_read(listed.as_bytes()) else { return Found::default() };
    let own = ProcDir::open(i32::try_from(std::process::id()).unwrap_or_default()).map(|own| mounts(&own));
    let own = own.unwrap_or_default();
    let theirs = mounts(dir);
    let root = PathBuf::from(format!("/proc/{}/root", dir.pid()));
    let group = |controller: &str| {
        // A controller is in a v1 hierarchy or in the v2 hierarchy, never both.
        let by_version_1 = groups.0.iter().find(|group| group.controllers.iter().any(|name| name == controller));
        let (version, group) = match by_version_1 {
            Some(group) => (Version::V1, group),
            None => (Version::V2, groups.0.iter().find(|group| group.hierarchy == 0)?),
        };
        let place = |mounts: &[MountInfo], root: &Path| {
            mounts.iter().find_map(|mount| {
                let is_it = match version {
                    Version::V1 => mount.fs_type == "cgroup" && mount.super_options.contains_key(controller),
                    Version::V2 => mount.fs_type == "cgroup2",
                };
                let path = is_it.then(|| below(&unescaped(&mount.root), &group.pathname)).flatten()?;
                let mount_point = unescaped(&mount.mount_point.to_string_lossy());
                let mount = root.join(Path::new(&mount_point).strip_prefix("/").ok()?);
                Some(Group { version, mount, path })
            })
        };
        place(&own, Path::new("/")).or_else(|| place(&theirs, &root))
    };
    Found { cpu: group("cpu"), memory: group("memory") }
}

/// The cgroup mounts of a process.
fn mounts(dir: &ProcDir) -> Vec<MountInfo> {
    let mut text = Vec::new();
    let read = dir.file("mountinfo").and_then(|file| BufReader::new(file).take(MOUNTINFO).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let of_cgroups = text.lines().filter(|line| line.contains(" - cgroup"));
    // Skip lines that cannot be parsed.
    of_cgroups.filter_map(|line| MountInfo::from_line(line).ok()).collect()
}

/// The path from `root`, the mounted cgroup, to `cgroup`; `None` when it is not below `root`.
fn below(root: &str, cgroup: &str) -> Option<PathBuf> {
    let rest = Path::new(cgroup).strip_prefix(root).ok()?;
    // The rest must not lead out again: `/..` means a cgroup outside of gospy's namespace.
    rest.components().all(|part| matches!(part, Component::Normal(_))).then(|| rest.to_owned())
}

/// Decodes a mountinfo path, in which spaces and backslashes are octal escapes.
fn unescaped(path: &str) -> String {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let number = after.get(..3).filter(|_| byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(number) => {
                out.push(number);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An open cgroup directory.
struct Level(OwnedFd);

impl Level {
    fn open(version: Version, path: &Path) -> Option<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(path, flags, Mode::empty()).ok()?;
        (fstatfs(&directory).ok()?.filesystem_type() == version.magic()).then_some(Self(directory))
    }

    fn text(&self, name: &str) -> Option<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = std::fs::File::from(openat(self.0.as_fd(), name, flags, Mode::empty()).ok()?);
        // In one call, and one more that finds the end.
        let mut bytes = Vec::with_capacity(4096);
        file.take(FILE).read_to_end(&mut bytes).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Reads a file with one number; `None` for a word (`max`) or a negative number.
    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// The value of `name` in a file of `name value` lines.
    fn named(&self, file: &str, name: &str) -> Option<u64> {
        let text = self.text(file)?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// The cgroup and its ancestors, as far as the mount shows them.
fn levels(group: &Group) -> impl Iterator<Item = Level> + '_ {
    let paths = group.path.ancestors().take(LEVELS);
    paths.filter_map(|path| Level::open(group.version, &group.mount.join(path)))
}

fn cpu(version: Version, levels: impl Iterator<Item = Level>, out: &mut Resources) {
    /// Quota and period, µs.
    fn limit(version: Version, level: &Level) -> Option<(u64, u64)> {
        let (quota, period) = match version {
            Version::V2 => {
                let text = level.text("cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            }
            Version::V1 => (level.number("cpu.cfs_quota_us")?, level.number("cpu.cfs_period_us")?),
        };
        (period > 0).then_some((quota, period))
    }
    let limited = levels.filter_map(|level| limit(version, &level).map(|limit| (limit, level)));
    // a/b < c/d, in whole numbers.
    let tighter =
        |(a, b): (u64, u64), (c, d): (u64, u64)| u128::from(a) * u128::from(d) < u128::from(c) * u128::from(b);
    let tightest = limited.reduce(|best, other| if tighter(other.0, best.0) { other } else { best });
    let Some(((quota, period), level)) = tightest else { return };
    (out.cpu_quota_us, out.cpu_period_us) = (Some(quota), Some(period));
    out.cpu_periods = level.named("cpu.stat", "nr_periods");
    out.cpu_throttled_periods = level.named("cpu.stat", "nr_throttled");
    out.cpu_throttled_ns = match version {
        Version::V1 => level.named("cpu.stat", "throttled_time"),
        Version::V2 => level.named("cpu.stat", "throttled_usec").map(|us| us.saturating_mul(1_000)),
    };
}

fn memory(version: Version, levels: impl Iterator<Item = Level>, out: &mut Resources) {
    let (limit, used) = match version {
        Version::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        Version::V2 => ("memory.max", "memory.current"),
    };
    // The process's own cgroup comes first; it counts when there is no limit.
    let limit_of = |level: &Level| level.number(limit).filter(|limit| *limit < UNLIMITED);
    let limited = levels.map(|level| (limit_of(&level), level));
    let Some((limit, level)) = limited.min_by_key(|(limit, _)| limit.unwrap_or(u64::MAX)) else { return };
    out.memory_limit_bytes = limit;
    out.memory_used_bytes = level.number(used);
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
