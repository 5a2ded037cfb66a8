//! `gospy record` on programs that measure themselves where their goroutines spend their time.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::profiles::pprof;
use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, each, gospy};

const WORKERS: f64 = 20.0;
pub(crate) const PLACES: [&str; 5] = ["compute", "receive", "lock", "read", "sleep"];

/// Seconds that all workers have spent in each place so far.
pub(crate) fn own(program: &mut Running) -> [f64; 5] {
    let spent = program.ask("spent");
    PLACES.map(|place| spent[place].as_f64().unwrap() / 1e9)
}

/// Seconds in each place by a file of folded stacks.
fn ours(folded: &str) -> [f64; 5] {
    let mut spent = [0.0; 5];
    for line in folded.lines() {
        let (stack, us) = line.rsplit_once(' ').unwrap();
        let seconds = us.parse::<f64>().unwrap() / 1e6;
        let at = PLACES.iter().position(|place| stack.contains(&format!("main.(*worker).{place};")));
        // What runs has no stack unless it is stopped; a worker that runs computes. It was started by a wrapper.
        let runs = stack.starts_with("main.main.") && stack.ends_with(";[running]");
        let at = at.or_else(|| runs.then_some(0));
        // Others are main, and the functions of the workers' timers.
        if let Some(at) = at {
            spent[at] += seconds;
        }
    }
    spent
}

/// One recording beside what the program measured meanwhile: seconds in each place, and the file.
struct Compared {
    ours: [f64; 5],
    own: [f64; 5],
    folded: String,
}

impl Compared {
    fn record(program: &mut Running, seconds: f64) -> Compared {
        let pid = program.pid().to_string();
        let file = tempfile::Builder::new().suffix(".folded").tempfile().unwrap();
        let (path, duration) = (file.path().to_str().unwrap(), format!("{seconds}s"));
        let before = own(program);
        let output = gospy(&["record", &pid, "-d", &duration, "--rate", "50", "-o", path]);
        let after = own(program);
        assert_eq!(output.code(), 0, "{output:?}");
        let folded = std::fs::read_to_string(path).unwrap();
        Compared { ours: ours(&folded), own: std::array::from_fn(|at| after[at] - before[at]), folded }
    }

    /// gospy's share of each place, and the program's own.
    fn shares(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let (all, all_own): (f64, f64) = (self.ours.iter().sum(), self.own.iter().sum());
        PLACES.iter().enumerate().map(move |(at, place)| (*place, self.ours[at] / all, self.own[at] / all_own))
    }
}

#[test]
fn shares_are_those_that_the_program_measures() {
    const NEAR: f64 = 0.02;
    let cases: Vec<(&str, Mode)> = VERSIONS.iter().flat_map(|v| [(*v, Mode::Default), (*v, Mode::Sw)]).collect();
    let tally = each(
        &cases,
        |(version, mode)| format!("{version} {}", mode.name()),
        |(version, mode), tally: &mut Tally| {
            let mut program = Fixture::start("schedule", version, *mode, &["20"]);
            // Where a machine is so busy that few samples are taken, chance moves the shares; it moves those of a
            // longer recording less. What is wrong in itself stays wrong however long it is recorded.
            let mut seconds = 6.0;
            let mut compared = Compared::record(&mut program, seconds);
            while seconds < 48.0 && compared.shares().any(|(_, share, own)| (share - own).abs() > NEAR) {
                seconds *= 2.0;
                compared = Compared::record(&mut program, seconds);
            }
            for (place, share, own) in compared.shares() {
                tally.between(format!("the share of {place} in {seconds} s"), own - NEAR, share, own + NEAR);
            }
            // Times, and not only shares: of all workers, throughout. On a busy machine samples come late.
            let all = compared.ours.iter().sum();
            tally.between("all workers, s", 0.7 * seconds * WORKERS, all, 1.2 * seconds * WORKERS);
            let forever = compared.folded.contains("main.forever");
            tally.holds("goroutines that wait for a message throughout are idle", !forever);
        },
    );
    tally.check(7 * 2 * VERSIONS.len());
}

#[test]
fn goroutines_that_wait_throughout_are_shown_when_asked_for() {
    let program = Fixture::start("schedule", "1.26.6", Mode::Sw, &["2"]);
    let pid = program.pid().to_string();
    let folded = |more: &[&str]| {
        let output =
            gospy(&[&["record", &pid, "-d", "2s", "--rate", "40", "-o", "-", "--format", "folded"], more].concat());
        assert_eq!(output.code(), 0, "{output:?}");
        output.stdout
    };
    assert!(!folded(&[]).contains("main.forever"));
    let all = folded(&["--idle"]);
    let line =
        all.lines().find(|line| line.starts_with("main.forever;[chan receive] ")).unwrap_or_else(|| panic!("{all}"));
    let us: u64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!((2_800_000..4_800_000).contains(&us), "two of them for two seconds: {us}");
    let waiting = folded(&["--only", "waiting", "--group-by", "state", "--filter", "reason~Mutex"]);
    assert!(
        waiting.lines().all(|line| line.starts_with("sync.Mutex.Lock;main.(*worker).run;main.(*worker).lock;")),
        "{waiting}"
    );
    assert!(!waiting.is_empty());
}

/// What `go tool pprof` makes of a profile: its total, and that of functions.
#[test]
fn go_tool_pprof_opens_a_recording() {
    let program = Fixture::start("schedule", "1.26.6", Mode::Sw, &["4"]);
    let pid = program.pid().to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording.pb.gz").display().to_string();
    let output = gospy(&["record", &pid, "-d", "3s", "--rate", "40", "-o", &path]);
    assert_eq!(output.code(), 0, "{output:?}");
    let raw = pprof(&["-raw", &path]);
    assert!(raw.contains("samples/count wall/nanoseconds[dflt]"), "{raw}");
    let top = pprof(&["-top", "-cum", "-tagfocus=state=waiting", "-unit=s", &path]);
    for place in ["receive", "lock", "read", "sleep"] {
        assert!(top.lines().any(|line| line.ends_with(&format!(" main.(*worker).{place}"))), "{place}: {top}");
    }
    let seconds = |line: &str| line.split_whitespace().nth(3).unwrap().trim_end_matches('s').parse::<f64>().unwrap();
    let run = top.lines().find(|line| line.ends_with(" main.(*worker).run")).unwrap_or_else(|| panic!("{top}"));
    assert!((8.4..14.4).contains(&seconds(run)), "of four for three seconds: {run}");
    let by_reason = pprof(&["-top", "-tagroot=wait_reason", "-unit=s", &path]);
    assert!(by_reason.lines().any(|line| line.ends_with(" sync.Mutex.Lock")), "{by_reason}");
}

#[test]
fn ctrl_c_and_the_end_of_the_program_keep_what_was_recorded() {
    let mut program = Fixture::start("schedule", "1.26.6", Mode::Sw, &["2"]);
    let pid = program.pid().to_string();
    let directory = tempfile::tempdir().unwrap();
    for signal in [Some(Signal::SIGINT), Some(Signal::SIGTERM), None] {
        let path = directory.path().join("recording.folded");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
        command.args(["record", &pid, "-d", "10m", "--rate", "20", "-o"]).arg(&path);
        let recording = Running::spawn(command);
        std::thread::sleep(Duration::from_secs(2));
        match signal {
            Some(signal) => recording.signal(signal),
            None => program.send("quit"),
        }
        let started = Instant::now();
        let (status, said) = recording.wait();
        assert!(status.success() && started.elapsed() < Duration::from_secs(60), "{status} {said}");
        assert_eq!(said.contains("the program ended after "), signal.is_none(), "{said}");
        let spent = ours(&std::fs::read_to_string(&path).unwrap());
        assert!(spent.iter().sum::<f64>() > 1.0, "{spent:?}");
    }
}
