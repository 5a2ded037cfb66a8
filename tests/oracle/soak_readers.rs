//! Commands that run for hours, for as long as `GOSPY_SOAK_SECONDS` says: `top`, `record` and `check --watch`, of a
//! program that changes all the time and of one that restarts all the time. What they take stays what it is, and
//! what they write is right in the end.
//!
//! They read twenty times as often as `top` does unless it is told to: an hour has as many readings as most of a day.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::soak::{Over, Usage, copy, seconds};
use crate::support::process::Killed;
use crate::support::terminal::Terminal;
use crate::support::{Fixture, gospy, until};

/// Between two readings; the shortest that `top` takes.
const INTERVAL: &str = "50ms";

struct Reader {
    name: &'static str,
    child: Killed,
    usage: Usage,
}

fn start(name: &'static str, line: &str, out: Stdio) -> Reader {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
    command.args(line.split(' ')).stdin(Stdio::null()).stdout(out).stderr(Stdio::null());
    Reader { name, child: Killed(command.spawn().unwrap()), usage: Usage::default() }
}

impl Reader {
    fn pid(&self) -> i32 {
        i32::try_from(self.child.0.id()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    fn end(&mut self) -> Option<i32> {
        until(self.name, || self.child.0.try_wait().unwrap()).code()
    }
}

/// Starts a program again and again; how often it did.
fn restart(program: &Path, is_over: &AtomicBool) -> u64 {
    let mut times = 0;
    while !is_over.load(Ordering::Relaxed) {
        let running = Fixture::of(program).run(&["churn", "-goroutines", "200"]);
        sleep(Duration::from_millis(1500));
        drop(running);
        times += 1;
    }
    times
}

#[test]
fn readers_stay_as_they_are() {
    let seconds = seconds();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let lasting = Fixture::of(&copy(directory.path(), "lasting")).run(&["churn", "-goroutines", "300"]);
    let pid = lasting.pid();
    let restarted = copy(directory.path(), "restarted");
    let name = restarted.file_name().unwrap().to_str().unwrap();
    let (is_over, refreshes, restarts) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    // A ring is full in the first third.
    let ring = (seconds / 6).max(1);
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        let restarting = scope.spawn(|| restarts.store(restart(&restarted, &is_over), Ordering::Relaxed));
        until("it runs", || gospy(&["ps", "--json"]).ok().contains(name).then_some(()));
        let mut top = Terminal::gospy(&["top", "--name", name, "--wait", "--interval", INTERVAL]);
        let mut top_usage = Usage::default();
        let top_pid = i32::try_from(top.child.process_id().unwrap()).unwrap();
        let mut json = start("top --json", &format!("top --json --interval {INTERVAL} --pid {pid}"), Stdio::piped());
        let lines = BufReader::new(json.child.0.stdout.take().unwrap()).lines();
        scope.spawn(|| {
            for _ in lines.map_while(Result::ok) {
                refreshes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut readers = [
            json,
            start(
                "record --ring",
                &format!("record --ring {ring}s --rate 20 --pid {pid} -o {}", at("ring.gospyrec")),
                Stdio::null(),
            ),
            start("record", &format!("record -d 100h --rate 20 --pid {pid} -o {}", at("all.gospyrec")), Stdio::null()),
            start(
                "check --watch",
                &format!("check --watch {seconds}s --interval 100ms --max-goroutines 100000 --pid {pid}"),
                Stdio::null(),
            ),
        ];
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut written = Instant::now();
        while Instant::now() < end && !restarting.is_finished() {
            top.take(Duration::from_millis(100));
            // What it shows is of no matter here, and there is much of it.
            top.log.clear();
            top_usage.look(top_pid);
            for reader in &mut readers {
                // The check ends by itself, at about the same time.
                if reader.child.0.try_wait().unwrap().is_none() {
                    reader.usage.look(reader.pid());
                } else {
                    assert_eq!(reader.name, "check --watch");
                }
            }
            if written.elapsed() > Duration::from_secs(ring) {
                readers[1].signal(Signal::SIGUSR1);
                written = Instant::now();
            }
        }
        drop(over);
        top.press("q");
        assert!(top.end().success());
        for reader in &readers[..3] {
            reader.signal(Signal::SIGINT);
        }
        // To top and to a recording, Ctrl-C is an end like any other; of growth in such a load anything may be said.
        assert_eq!(readers[0].child.0.wait().unwrap().code(), None);
        assert_eq!((readers[1].end(), readers[2].end()), (Some(0), Some(0)));
        let judged = readers[3].end();
        assert!(matches!(judged, Some(0 | 7 | 8)), "{judged:?}");
        top_usage.is_flat("top --wait");
        for reader in &readers {
            reader.usage.is_flat(reader.name);
        }
    });
    let (refreshes, restarts) = (refreshes.into_inner(), restarts.into_inner());
    println!("{seconds} s: {refreshes} refreshes of top --json, {restarts} restarts");
    assert!(refreshes > seconds && restarts * 10 > seconds, "{refreshes}, {restarts}");
    let samples = |file: &str| {
        let text = gospy(&["report", file, "--format", "folded", "--output", "-"]);
        assert!(text.stdout.contains("main."), "{text:?}");
        text.stderr
    };
    for file in std::fs::read_dir(directory.path()).unwrap().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.ends_with(".gospyrec") {
            println!(
                "{name}: {} bytes: {}",
                file.metadata().unwrap().len(),
                samples(&at(&name)).lines().next().unwrap()
            );
        }
    }
}
