use std::fs::{create_dir_all, read_to_string, write};
use std::time::{Duration, Instant};

use super::*;

/// A directory that looks like a cgroup; the file system check is skipped.
fn level(files: &[(&str, &str)]) -> (tempfile::TempDir, Level) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(dir.path().join(name), text).unwrap();
    }
    let level = Level(open(dir.path(), OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap());
    (dir, level)
}

fn read(version: Version, levels: &[&[(&str, &str)]]) -> Resources {
    let mut out = Resources::default();
    let made = || levels.iter().map(|files| level(files)).collect::<Vec<_>>();
    let (dirs, all): (Vec<_>, Vec<_>) = made().into_iter().unzip();
    cpu(version, all.into_iter(), &mut out);
    let (more, all): (Vec<_>, Vec<_>) = made().into_iter().unzip();
    memory(version, all.into_iter(), &mut out);
    drop((dirs, more));
    out
}

#[test]
fn the_tightest_limit_counts() {
    let pod: &[(&str, &str)] = &[
        ("cpu.max", "150000 100000\n"),
        ("cpu.stat", "usage_usec 9\nnr_periods 40\nnr_throttled 7\nthrottled_usec 1500\n"),
        ("memory.max", "max\n"),
        ("memory.current", "4096000\n"),
    ];
    let container: &[(&str, &str)] = &[
        ("cpu.max", "400000 200000\n"),
        ("cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_usec 1\n"),
        ("memory.max", "1048576\n"),
        ("memory.current", "8192\n"),
    ];
    let want = Resources {
        cpu_quota_us: Some(150_000),
        cpu_period_us: Some(100_000),
        cpu_periods: Some(40),
        cpu_throttled_periods: Some(7),
        cpu_throttled_ns: Some(1_500_000),
        memory_limit_bytes: Some(1 << 20),
        memory_used_bytes: Some(8_192),
        ..Resources::default()
    };
    assert_eq!(read(Version::V2, &[container, pod]), want);
    assert_eq!(read(Version::V2, &[container, pod]).cores_allowed(), Some(1.5));
}

#[test]
fn version_1_has_other_names_and_units() {
    let limited: &[(&str, &str)] = &[
        ("cpu.cfs_quota_us", "50000\n"),
        ("cpu.cfs_period_us", "100000\n"),
        ("cpu.stat", "nr_periods 3\nnr_throttled 2\nthrottled_time 12345\n"),
        ("memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory.usage_in_bytes", "77\n"),
    ];
    let free: &[(&str, &str)] = &[("cpu.cfs_quota_us", "-1\n"), ("cpu.cfs_period_us", "100000\n")];
    let found = read(Version::V1, &[free, limited]);
    assert_eq!((found.cpu_quota_us, found.cpu_throttled_ns), (Some(50_000), Some(12_345)));
    let found = read(Version::V1, &[limited]);
    assert_eq!((found.memory_limit_bytes, found.memory_used_bytes), (None, Some(77)));
}

#[test]
fn hostile_contents_are_unknown() {
    let long = "9".repeat(200_000);
    for text in ["", "\n", "max", "max 0", "1 0", "-5 100000", "1", "1 2 3", "\0\u{7f}", long.as_str(), "0x10 5"] {
        let files: &[(&str, &str)] =
            &[("cpu.max", text), ("cpu.stat", text), ("memory.max", text), ("memory.current", text)];
        let found = read(Version::V2, &[files]);
        assert_eq!((found.cpu_quota_us, found.cpu_throttled_ns), (None, None), "{text:?}");
        assert_eq!(found.cores_allowed(), None);
    }
    // A directory of another file system is no cgroup, whatever is in it.
    let (dir, _) = level(&[("cpu.max", "1 1")]);
    assert!(Level::open(Version::V2, dir.path()).is_none() && Level::open(Version::V1, dir.path()).is_none());
}

#[test]
fn paths_are_those_of_the_namespace() {
    let below = |root, cgroup| below(root, cgroup).map(|path| path.to_string_lossy().into_owned());
    assert_eq!(below("/", "/system.slice/app.service").as_deref(), Some("system.slice/app.service"));
    // A container's own cgroup, mounted from outside.
    assert_eq!(below("/docker/abc", "/docker/abc").as_deref(), Some(""));
    assert_eq!(below("/docker/abc", "/docker/abcd"), None);
    // Outside gospy's own namespace: reached through the process's own mounts, and never above them.
    assert_eq!(below("/", "/../sibling"), None);
    assert_eq!(below("/../sibling", "/../sibling/sub").as_deref(), Some("sub"));
    assert_eq!(below("/../sibling", "/../sibling/../other"), None);
    assert_eq!(unescaped(r"/sys/fs/a\040b\134c\04"), r"/sys/fs/a b\c\04");
}

#[test]
fn cgroups_of_this_process_agree_with_the_kernel() {
    let me = ProcDir::open(i32::try_from(std::process::id()).unwrap()).unwrap();
    let found = find(&me, &me.text("cgroup").unwrap());
    for group in [&found.cpu, &found.memory].into_iter().flatten() {
        let members = read_to_string(group.mount.join(&group.path).join("cgroup.procs")).unwrap();
        assert!(members.lines().any(|pid| pid == std::process::id().to_string()), "{group:?}");
    }
}

/// A cgroup below those of this process, removed at the end.
struct Made {
    dir: PathBuf,
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// A process in cgroups made for it: limits and throttling must match the kernel's own files. Needs root and
/// usable controllers; prints a message otherwise.
#[test]
fn limits_and_throttling_of_a_process_in_a_cgroup() {
    let me = ProcDir::open(i32::try_from(std::process::id()).unwrap()).unwrap();
    let found = find(&me, &me.text("cgroup").unwrap());
    let make = |group: &Option<Group>, limits: &[(Version, &str, &str)]| {
        let group = group.as_ref()?;
        let dir = group.mount.join(format!("gospy-test-{}", std::process::id()));
        create_dir_all(&dir).ok()?;
        let made = Made { dir };
        for (_, name, text) in limits.iter().filter(|(version, ..)| *version == group.version) {
            write(made.dir.join(name), text).ok()?;
        }
        Some((made, group.version))
    };
    let (v1, v2) = (Version::V1, Version::V2);
    let cpu = make(
        &found.cpu,
        &[(v1, "cpu.cfs_period_us", "100000"), (v1, "cpu.cfs_quota_us", "20000"), (v2, "cpu.max", "20000 100000")],
    );
    let memory = make(&found.memory, &[(v1, "memory.limit_in_bytes", "67108864"), (v2, "memory.max", "67108864")]);
    if cpu.is_none() && memory.is_none() {
        println!("no cgroup can be made here: not tested on one");
        return;
    }
    // On a busy machine it would otherwise get less than it is allowed, and nothing would be throttled.
    let mut command = std::process::Command::new("nice");
    let mut child = command.args(["-n", "-19", "sh", "-c", "while :; do :; done"]).spawn().unwrap();
    let outcome = || {
        for (made, _) in [&cpu, &memory].into_iter().flatten() {
            write(made.dir.join("cgroup.procs"), child.id().to_string()).map_err(|e| e.to_string())?;
        }
        let throttled = || {
            let stat = cpu.as_ref().map(|(made, _)| read_to_string(made.dir.join("cpu.stat")).unwrap());
            // The time of a period is counted when it is over; v1 counts ns, v2 µs.
            stat.is_none_or(|stat| {
                !["nr_throttled 0\n", "throttled_time 0\n", "throttled_usec 0\n"].iter().any(|none| stat.contains(none))
            })
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !throttled() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        let dir = ProcDir::open(i32::try_from(child.id()).unwrap()).map_err(|e| e.to_string())?;
        let mut out = Resources::default();
        Cgroups::default().read(&dir, &mut out);
        let stat = cpu.as_ref().map(|(made, _)| read_to_string(made.dir.join("cpu.stat")).unwrap());
        Ok::<_, String>((out, stat))
    };
    let outcome = outcome();
    child.kill().unwrap();
    child.wait().unwrap();
    let (out, stat) = outcome.unwrap();
    if memory.is_some() {
        assert_eq!(out.memory_limit_bytes, Some(64 << 20));
        assert!(out.memory_used_bytes.unwrap() < 64 << 20, "{out:?}");
    }
    if let Some(stat) = stat {
        assert_eq!(out.cores_allowed(), Some(0.2));
        let line = |name: &str| {
            let line = stat.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_once(' ').unwrap().1.parse::<u64>().unwrap()
        };
        // Read a moment later than ours.
        let throttled = out.cpu_throttled_periods.unwrap();
        assert!((1..=line("nr_throttled")).contains(&throttled) && throttled + 2 >= line("nr_throttled"), "{stat}");
        assert!(out.cpu_periods.unwrap() >= throttled && out.cpu_throttled_ns.unwrap() > 0, "{out:?}");
    }
}
