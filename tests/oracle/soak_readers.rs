//! Commands that run for hours: `top`, `record` and `check --watch`, on a program that changes all the time, and on one
//! that restarts all the time. They take no more memory and no more descriptors as time goes on, and what they have
//! written in the end can be read.
//!
//! `GOSPY_SOAK_SECONDS` sets for how long; the default is 12. They read twenty times a second, which `top` without
//! options does once: ten minutes have as many readings as three hours and a half.

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

const USUAL_SECONDS: u64 = 12;
/// Between two readings; the shortest that `top` takes.
const INTERVAL: &str = "50ms";

/// A command that reads, and what it takes.
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

    /// Whether the signal no longer ends it.
    fn waits_for(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() >> (signal as i32 - 1) & 1 != 0
    }

    /// Its exit status; `None` where a signal has ended it.
    fn end(&mut self) -> Option<i32> {
        until(self.name, || self.child.0.try_wait().unwrap()).code()
    }
}

/// Starts a program again and again. Returns how often.
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

/// The first line that `report` says of a recording that has stacks.
fn reported(recording: &str) -> String {
    let output = gospy(&["report", recording, "--format", "folded", "--output", "-"]);
    assert!(output.stdout.contains("main."), "{output:?}");
    output.stderr.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn readers_stay_as_they_are() {
    let seconds = seconds(USUAL_SECONDS);
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let lasting = Fixture::of(&copy(directory.path(), "lasting")).run(&["churn", "-goroutines", "300"]);
    let pid = lasting.pid();
    let restarted = copy(directory.path(), "restarted");
    let name = restarted.file_name().unwrap().to_str().unwrap();
    let (is_over, refreshes, restarts) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    // It is full in the first third.
    let ring = (seconds / 6).max(1);
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        let restarting = scope.spawn(|| restarts.store(restart(&restarted, &is_over), Ordering::Relaxed));
        until("it runs", || gospy(&["ps", "--json"]).ok().contains(name).then_some(()));
        let mut top = Terminal::gospy(&["top", "--name", name, "--wait", "--interval", INTERVAL]);
        let top_pid = i32::try_from(top.child.process_id().unwrap()).unwrap();
        let mut top_usage = Usage::default();
        let mut json = start("top --json", &format!("top --json --interval {INTERVAL} --pid {pid}"), Stdio::piped());
        let lines = BufReader::new(json.child.0.stdout.take().unwrap()).lines();
        scope.spawn(|| lines.map_while(Result::ok).for_each(|_| _ = refreshes.fetch_add(1, Ordering::Relaxed)));
        let record = |name, options: &str, file: &str| {
            start(name, &format!("record {options} --rate 20 --pid {pid} -o {}", at(file)), Stdio::null())
        };
        let watch = format!("check --watch {seconds}s --interval 100ms --max-goroutines 100000 --pid {pid}");
        let mut readers = [
            json,
            record("record --ring", &format!("--ring {ring}s"), "ring.gospyrec"),
            record("record", "-d 100h", "all.gospyrec"),
            start("check --watch", &watch, Stdio::null()),
        ];
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut written = Instant::now();
        while Instant::now() < end && !restarting.is_finished() {
            sleep(Duration::from_millis(100));
            // What it shows is of no matter here.
            while top.output.try_recv().is_ok() {}
            top_usage.look(top_pid);
            for reader in &mut readers {
                let ended = reader.child.0.try_wait().unwrap();
                // The check ends by itself, at about the same time.
                assert!(ended.is_none() || reader.name == "check --watch", "{}: {ended:?}", reader.name);
                reader.usage.look(reader.pid());
            }
            if written.elapsed() > Duration::from_secs(ring) && readers[1].waits_for(Signal::SIGUSR1) {
                readers[1].signal(Signal::SIGUSR1);
                written = Instant::now();
            }
        }
        drop(over);
        top.press("q");
        // 3: the program had just ended.
        let left = top.end().exit_code();
        assert!(matches!(left, 0 | 3), "{left}: {}", top.text());
        readers[..3].iter().for_each(|reader| reader.signal(Signal::SIGINT));
        top_usage.is_flat("top --wait");
        readers.iter().for_each(|reader| reader.usage.is_flat(reader.name));
        let ends = readers.each_mut().map(Reader::end);
        // Ctrl-C ends a recording, and what it has is written. Of growth in such a load a check may say anything.
        assert!(matches!(ends, [None, Some(0), Some(0), Some(0 | 7 | 8)]), "{ends:?}");
    });
    let (refreshes, restarts) = (refreshes.into_inner(), restarts.into_inner());
    println!("{seconds} s: {refreshes} refreshes of top --json, {restarts} restarts");
    assert!(refreshes > seconds && restarts > 1, "{refreshes}, {restarts}");
    let files = std::fs::read_dir(directory.path()).unwrap().flatten();
    let recordings: Vec<_> = files.filter(|file| file.path().extension().is_some_and(|is| is == "gospyrec")).collect();
    for file in &recordings {
        let path = file.path().display().to_string();
        println!("{path}: {} bytes: {}", file.metadata().unwrap().len(), reported(&path));
    }
    assert!(recordings.len() >= 2, "{recordings:?}");
}
