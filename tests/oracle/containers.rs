//! A program in a pid namespace of its own, as in a container, while gospy is outside.

use std::collections::BTreeMap;
use std::process::Command;

use crate::support::{Fixture, Mode, Running, gospy, need, need_root, until};
use serde_json::Value;

/// A program that is process 1 of its own pid namespace.
struct Contained {
    /// `unshare`, which ends it.
    _outer: Running,
    pid: String,
}

impl Contained {
    fn start(version: &str, mode: Mode, args: &[&str]) -> Contained {
        need_root();
        let mut command = Command::new(need("unshare", "util-linux"));
        command.args(["--pid", "--fork", "--kill-child"]).arg(Fixture::build("fx", version, mode)).args(args);
        let mut outer = Running::spawn(command);
        outer.wait_ready();
        let children = format!("/proc/{0}/task/{0}/children", outer.pid());
        let pid = until("unshare to have a child", || {
            let text = std::fs::read_to_string(&children).ok()?;
            text.split_whitespace().next().map(str::to_owned)
        });
        Contained { _outer: outer, pid }
    }

    /// The kernel's: each thread's own id, and its state.
    fn threads(&self) -> BTreeMap<u64, char> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        tasks
            .map(|task| {
                let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
                let field = |name: &str| {
                    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                    line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
                };
                let ids = field("NSpid:");
                assert_eq!(ids.len(), 2, "{ids:?}");
                (ids[1].parse().unwrap(), field("State:")[0].chars().next().unwrap())
            })
            .collect()
    }
}

/// What gospy says of the threads: ids and states.
fn seen(summary: &Value) -> BTreeMap<u64, String> {
    let threads = summary["threads"].as_array().unwrap().iter();
    threads
        .filter_map(|m| Some((m["thread_id"].as_u64()?, m["state"].as_str().unwrap_or("unknown").to_owned())))
        .collect()
}

fn in_c(stacks: &Value) -> Vec<(u64, Option<u64>, bool)> {
    let list = stacks["goroutines"]["list"].as_array().unwrap().iter();
    list.filter(|goroutine| !goroutine["c_frames"].is_null())
        .map(|goroutine| {
            let complete = goroutine["c_frames_complete"] == true;
            (goroutine["id"].as_u64().unwrap(), goroutine["c_syscall"].as_u64(), complete)
        })
        .collect()
}

#[test]
fn threads_of_a_container_are_those_of_its_program() {
    let program = Contained::start("1.26.6", Mode::Cgo, &["states", "1"]);
    let pid = program.pid.as_str();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture").display().to_string();
    let capture = || gospy(&["capture", "--force", "--pid", pid, "-o", &file]).ok();
    for from in [vec!["--pid", pid], vec!["--from", &file]] {
        capture();
        let summary = gospy(&[&["summary", "--json"], from.as_slice()].concat()).json();
        assert_eq!(summary["warnings"].to_string(), "[]");
        let ours = seen(&summary);
        let own = program.threads();
        assert!(own.len() > 4 && own.contains_key(&1), "{own:?}");
        assert_eq!(ours.keys().collect::<Vec<_>>(), own.keys().collect::<Vec<_>>());
        assert!(ours.values().all(|state| state != "unknown"), "{ours:?}");
    }
    // Without a stop the kernel says which system call C is in; a freeze reads the registers.
    for more in [&[][..], &["--freeze=all"]] {
        let stacks = gospy(&[&["stack", "--json", "--pid", pid], more].concat()).json();
        assert_eq!(stacks["warnings"].to_string(), "[]", "{more:?}");
        let found = in_c(&stacks);
        assert_eq!(found.len(), 4, "{more:?}: {found:?}");
        assert!(found.iter().all(|(_, _, complete)| *complete), "{more:?}: {found:?}");
        // A read, three times; the sleep is stopped by a freeze.
        assert_eq!(found.iter().filter(|(_, call, _)| *call == Some(0)).count(), 3, "{more:?}: {found:?}");
    }
}

#[test]
fn running_goroutines_of_a_container_have_stacks_when_frozen() {
    for version in ["1.19", "1.27.3"] {
        let program = Contained::start(version, Mode::Sw, &["idle", "-busy", "1"]);
        for freeze in ["--freeze=running", "--freeze=all"] {
            let busy = until("the goroutine that computes to have a stack", || {
                let stacks = gospy(&["stack", "--json", freeze, "--pid", &program.pid]).json();
                assert_eq!(stacks["warnings"].to_string(), "[]", "{version} {freeze}");
                let list = stacks["goroutines"]["list"].as_array().unwrap().iter();
                let mut running = list.filter(|goroutine| goroutine["state"] == "running");
                running.find(|goroutine| !goroutine["frames"].is_null()).cloned()
            });
            let frames = busy["frames"].to_string();
            assert!(frames.contains("main."), "{version} {freeze}: {frames}");
        }
    }
}
