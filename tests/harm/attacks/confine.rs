//! Too little memory, and too little room on a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::super::random::Random;

/// A file system with next to no room, where this user may mount one.
pub(crate) struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// `None` where mounting is not permitted.
    pub(crate) fn mount() -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=20k", "gospy-harm"])
            .arg(directory.path())
            .output()
            .expect("mount is needed for this test");
        mount.status.success().then_some(SmallDisk { directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A lazy unmount: a process that still writes to it does not make it fail.
        let _ = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
    }
}

/// Bytes that are enough for every command.
const ENOUGH: u64 = 1 << 30;

/// A memory cgroup, where this user may make one.
pub(crate) struct MemoryGroup {
    path: PathBuf,
    limit: &'static str,
}

impl MemoryGroup {
    /// Beside this process's own; `None` where that is not permitted, or no memory controller is there.
    pub(crate) fn make(name: &str) -> Option<MemoryGroup> {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let (own, limit) = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
            if controllers.split(',').any(|controller| controller == "memory") {
                return Some((Path::new("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes"));
            }
            let unified = Path::new("/sys/fs/cgroup").join(path);
            (controllers.is_empty() && unified.join("cgroup.controllers").exists()).then_some((unified, "memory.max"))
        })?;
        let path = own.join(name);
        fs::create_dir(&path).ok()?;
        let group = MemoryGroup { path, limit };
        group.limit(ENOUGH).then_some(group)
    }

    /// Sets how much its processes may have, bytes.
    fn limit(&self, bytes: u64) -> bool {
        fs::write(self.path.join(self.limit), bytes.to_string()).is_ok()
    }

    /// Gives it as much as it may need, if this process is one of its own.
    pub(crate) fn relieve(&self, pid: u32) -> bool {
        let members = fs::read_to_string(self.members()).unwrap_or_default();
        members.lines().any(|member| member == pid.to_string()) && self.limit(ENOUGH)
    }

    /// The file that takes the pid of a process that is to be in it.
    fn members(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Its last process may have ended a moment ago.
        super::super::look::eventually(|| fs::remove_dir(&self.path).is_ok());
    }
}

/// A program with a random limit of memory: of a group, or of its addresses.
pub(crate) fn with_little_memory(program: &Path, group: Option<&MemoryGroup>, random: &mut Random) -> Command {
    let mut command = Command::new("bash");
    match group.filter(|_| random.once_in(2)) {
        Some(group) if group.limit((1 << 20) + random.below(24 << 20)) => {
            command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.members());
        }
        _ => {
            // It starts with some 200 MiB of addresses, most of them its own file's and the stacks of threads.
            let kib = (4 << 10) + random.below(600 << 10);
            command.args(["-c", "ulimit -v \"$0\" && exec \"$@\""]).arg(kib.to_string());
        }
    }
    command.arg(program);
    command
}

/// A program that may write next to nothing into a file.
pub(crate) fn with_short_files(program: &Path) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -f 2 && exec \"$@\"", "bash"]).arg(program);
    command
}
