//! What the kernel lets a program use, and what gospy says of it.

use std::path::{Path, PathBuf};

use crate::support::{Fixture, Mode, gospy, need_root};

/// A cgroup that is removed at the end, when nothing is in it any more.
struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = (0..50).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            std::fs::remove_dir(&self.0).is_ok()
        });
        if !removed {
            println!("{} could not be removed", self.0.display());
        }
    }
}

#[test]
fn a_summary_shows_limits_and_throttling() {
    need_root();
    let name = format!("gospy-cli-{}", std::process::id());
    let make = |parent: &str, files: &[(&str, &str)]| {
        let dir = Path::new(parent).join(&name);
        std::fs::create_dir(&dir).ok()?;
        let made = Cgroup(dir);
        files.iter().all(|(file, text)| std::fs::write(made.0.join(file), text).is_ok()).then_some(made)
    };
    // It takes root, and a hierarchy with the controller of CPU time; where there is none, that is printed.
    let v1 = || make("/sys/fs/cgroup/cpu", &[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "25000")]);
    let Some(cgroup) = v1().or_else(|| make("/sys/fs/cgroup", &[("cpu.max", "25000 100000")])) else {
        println!("no cgroup can be made here: not tested on one");
        return;
    };
    let running = Fixture::start("fx", "1.26.6", Mode::Sw, &["idle", "-busy", "1"]);
    std::fs::write(cgroup.0.join("cgroup.procs"), running.pid().to_string()).unwrap();
    let text = loop {
        let stat = std::fs::read_to_string(cgroup.0.join("cpu.stat")).unwrap();
        let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap();
        if throttled.parse::<u64>().unwrap() >= 3 {
            break gospy(&["summary", "-p", &running.pid().to_string()]).ok();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let limits = text.lines().find(|line| line.starts_with("  limits       CPU 25 % · throttled in ")).unwrap();
    assert!(limits.contains(" periods for "), "{text}");
    drop(running);
}
