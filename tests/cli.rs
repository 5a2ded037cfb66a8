//! The program itself: statuses, streams, and a first look at a live program.

// A test that cannot go on fails, and a panic is how.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "support/mod.rs"]
mod support;

use std::process::Command;

use support::{Fixture, Mode, gospy, gospy_with};

#[test]
fn what_is_wrong_is_told_once_with_its_status() {
    let own = std::process::id().to_string();
    for (args, code, told) in [
        (vec![], 2, "Usage: gospy"),
        (vec!["summary"], 2, "--pid <PID>"),
        (vec!["summary", "--pid", "x"], 2, "invalid value 'x'"),
        (vec!["summary", "--pid", "4194305"], 3, "there is no process 4194305"),
        (vec!["stack", "--pid", own.as_str()], 5, "is not a Go program"),
        (vec!["doctor", "--pid", "4194305"], 3, "there is no process 4194305"),
        (vec!["summary", "--pid", own.as_str(), "--filter", "age>"], 2, "a value is missing after `>`"),
    ] {
        let output = gospy(&args);
        assert_eq!(output.code(), code, "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains(told), "{args:?}: {}", output.stderr);
        assert_eq!(output.stdout, "", "{args:?}");
        assert!(!output.stderr.contains('\u{1b}'), "no colour where there is no terminal");
    }
}

#[test]
fn an_error_names_its_file_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("no-capture").display().to_string();
    for there in [false, true] {
        if there {
            std::fs::write(&file, "this is no capture").unwrap();
        }
        for args in [
            vec!["summary", "--from", &file],
            vec!["doctor", "--from", &file],
            vec!["check", "--from", &file, "--max-group", "1"],
        ] {
            let output = gospy(&args);
            assert_eq!(output.code(), 1, "{output:?}");
            // Doctor's heading names it too.
            let said =
                if args[0] == "doctor" { output.stdout.split("Problem").nth(1).unwrap_or("") } else { &output.stderr };
            assert_eq!(said.matches(&file).count(), 1, "{args:?}: {output:?}");
        }
    }
}

#[test]
fn a_zombie_has_ended() {
    let mut child = Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let output = gospy(&["summary", "--pid", &child.id().to_string()]);
    assert_eq!(output.code(), 3, "{}", output.stderr);
    assert!(output.stderr.contains("is a zombie"), "{}", output.stderr);
    child.wait().unwrap();
}

#[test]
fn closed_pipes_full_disks_and_colour() {
    let gospy_binary = env!("CARGO_BIN_EXE_gospy");
    let shell = |script: &str| {
        let status = Command::new("bash").args(["-c", script, "bash", gospy_binary]).output().unwrap();
        (status.status.code(), String::from_utf8_lossy(&status.stderr).into_owned())
    };
    assert_eq!(shell("set -o pipefail; \"$1\" schema | head -n 1 >/dev/null"), (Some(0), String::new()));
    let (code, stderr) = shell("\"$1\" schema > /dev/full");
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "gospy: the answer could not be written: No space left on device (os error 28)\n");
    let forced = gospy_with(&["summary", "--pid", "4194305"], |command| {
        command.env("CLICOLOR_FORCE", "1");
    });
    assert!(forced.stderr.contains("\u{1b}["));
    let refused = gospy_with(&["summary", "--pid", "4194305"], |command| {
        command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    });
    assert!(!refused.stderr.contains('\u{1b}'));
}

/// CPU time of a process as `stat` counts it, ns.
fn cpu_by_stat(pid: i32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Fields 14 and 15, in hundredths of a second, of which the first two are cut off.
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) as f64 * 1e7
}

#[test]
fn a_summary_shows_what_the_program_uses() {
    let running = Fixture::start("fx", "1.26.6", Mode::Sw, &["idle", "-busy", "1"]);
    let pid = running.pid().to_string();
    let (before, started) = (cpu_by_stat(running.pid()), std::time::Instant::now());
    let mut shares = Vec::new();
    for _ in 0..5 {
        let resources = gospy(&["summary", "-p", &pid, "--json"]).json()["target"]["resources"].clone();
        let number = |key: &str| resources[key].as_u64().unwrap();
        assert!(number("cpu_interval_ns") >= 100_000_000, "{resources}");
        shares.push(number("cpu_used_ns") as f64 / number("cpu_interval_ns") as f64);
        let listed = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert_eq!(number("open_fds"), listed as u64);
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(resources["fd_limit"].as_u64(), line.split_whitespace().nth(3).unwrap().parse().ok());
    }
    // The same time as the kernel's other count has it, whatever else this machine does.
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let by_stat = (cpu_by_stat(running.pid()) - before) / started.elapsed().as_nanos() as f64;
    assert!((mean - by_stat).abs() < 0.35, "{shares:?}, by stat {by_stat}");
    let text = gospy(&["summary", "-p", &pid]).ok();
    assert!(text.lines().any(|line| line.starts_with("  process      CPU ") && line.contains(" % now · ")), "{text}");
    // A capture keeps what it was.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture").display().to_string();
    gospy(&["capture", "-p", &pid, "-o", &file]).ok();
    let kept = gospy(&["summary", "--from", &file, "--json"]).json()["target"]["resources"].clone();
    let now = gospy(&["summary", "-p", &pid, "--json"]).json()["target"]["resources"].clone();
    assert_eq!((&kept["open_fds"], &kept["fd_limit"]), (&now["open_fds"], &now["fd_limit"]));
}

/// A cgroup that is removed at the end, when nothing is in it any more.
struct Cgroup(std::path::PathBuf);

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
    let name = format!("gospy-cli-{}", std::process::id());
    let make = |parent: &str, files: &[(&str, &str)]| {
        let dir = std::path::Path::new(parent).join(&name);
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

#[test]
fn a_live_program_is_summarised() {
    let running = Fixture::start("fx", "1.26.6", Mode::Sw, &["states", "2"]);
    let pid = running.pid().to_string();
    for width in ["80", "140"] {
        let output = gospy_with(&["summary", "-v", "-p", &pid], |command| {
            command.env("COLUMNS", width);
        });
        assert_eq!(output.stderr, "");
        let text = output.ok();
        for part in ["go1.26.6 linux/amd64", "GOMAXPROCS", "Scheduler", "Heap", "Garbage collector", "\nPs", "\nMs"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains("goroutines validated") && text.contains("sync.Mutex.Lock"), "{text}");
    }
    let all = gospy(&["s", "-p", &pid, "--json"]).json();
    let total = all["goroutines"]["total"].as_u64().unwrap();
    assert_eq!(all["goroutines"]["list"].as_array().unwrap().len() as u64, total);
    let locks = gospy(&["s", "-p", &pid, "--json", "--filter", "reason=sync.Mutex.Lock and not system"]).json();
    assert_eq!(locks["goroutines"]["total"].as_u64(), Some(total));
    assert_eq!(locks["goroutines"]["matching"], all["goroutines"]["by_wait_reason"]["sync.Mutex.Lock"]);

    let ps = gospy(&["ps", "--json"]).json();
    let entry = ps["processes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["pid"] == serde_json::json!(pid.parse::<i64>().unwrap()))
        .unwrap()
        .clone();
    assert_eq!((&entry["goroutines"], &entry["stripped"]), (&total.into(), &true.into()));
    let doctor = gospy(&["doctor", "-p", &pid]).ok();
    assert!(doctor.contains("table of go1.26.6") && doctor.contains("runtime.allgs"), "{doctor}");
}
