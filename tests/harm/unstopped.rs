//! Reading without a freeze: the target is never traced, stopped or sent a signal, whatever it does.
//!
//! What gospy asks of the kernel is seen with strace; what the target notices, by the target itself.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::process::live::LiveTarget;

use super::counters::Word;
use super::lab::Lab;
use super::look::{eventually, held, number};
use super::outcome::{Outcome, bounded, judge_run};
use super::sizes::Sizes;
use super::storms::{Fates, Storm, goes_on};
use super::support::{Output, Tally, each, gospy};
use super::table::Table;

/// The one of C is refused, as it is not a Go program.
const STORMS: [Storm; 5] =
    [Storm::Go("exec"), Storm::Go("fork"), Storm::Go("threads"), Storm::Go("all"), Storm::C("all")];

/// Calls that trace, stop or signal another process, or write to it.
const FORBIDDEN: &str = "ptrace,kill,tkill,tgkill,rt_sigqueueinfo,rt_tgsigqueueinfo,pidfd_send_signal,\
                         process_vm_writev,process_madvise,setpriority,sched_setaffinity,sched_setscheduler,prlimit64";

fn commands(pid: &str, file: &str) -> [Vec<String>; 3] {
    let owned = |arguments: &[&str]| arguments.iter().map(|argument| (*argument).to_owned()).collect();
    [
        owned(&["summary", "--json", "--pid", pid]),
        owned(&["stack", "--all", "--pid", pid]),
        owned(&["capture", "--force", "--pid", pid, "--output", file]),
    ]
}

/// Runs gospy, and watches the target from outside for as long as that takes.
fn watched(pid: i32, arguments: &[&str], tally: &mut Tally) -> Option<Output> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut looks, mut bad) = (0_usize, Vec::new());
            loop {
                bad.extend(held(pid));
                looks += 1;
                if done.load(Ordering::Relaxed) {
                    return (looks, bad);
                }
            }
        });
        let run = bounded(pid, || gospy(arguments));
        done.store(true, Ordering::Relaxed);
        let (looks, bad) = watcher.join().unwrap();
        tally.holds(format!("{arguments:?}: held: {bad:?}"), bad.is_empty());
        tally.compared += looks;
        tally.holds(format!("{arguments:?}: hung"), !run.hung);
        (!run.hung).then_some(run.result)
    })
}

/// What gospy does, by strace: each call of [`FORBIDDEN`], and each file of the target that it writes to.
fn calls(pid: i32, arguments: &[&str]) -> (Vec<String>, BTreeSet<String>) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let output = Command::new("strace")
        .args(["--follow-forks", "--quiet=all", "--trace", &format!("{FORBIDDEN},openat,process_vm_readv"), "--output"])
        .arg(&log)
        .arg(env!("CARGO_BIN_EXE_gospy"))
        .args(arguments)
        .output()
        .expect("strace is needed for this test");
    assert!(output.status.code().is_some(), "{output:?}");
    let text = std::fs::read_to_string(&log).unwrap();
    // Each line starts with the pid of who called; then the call.
    let calls: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(' ')?.1.trim_start())).collect();
    let seen: BTreeSet<String> =
        calls.iter().filter_map(|call| call.split_once('(')).map(|(name, _)| name.to_owned()).collect();
    let own_limit = |call: &str| call.starts_with("prlimit64(0,");
    // Signal 0 is sent to nobody: it asks whether there is such a process.
    let asks = |call: &str| call.starts_with("kill(") && call.contains(", 0) ");
    let bad = calls.iter().filter(|call| {
        let name = call.split_once('(').map_or("", |(name, _)| name);
        let writes = name == "openat" && (call.contains("O_WRONLY") || call.contains("O_RDWR"));
        let to_target = call.contains(&format!("/proc/{pid}/")) || call.contains(&format!("\"{pid}"));
        (FORBIDDEN.split(',').any(|other| other == name) && !own_limit(call) && !asks(call)) || (writes && to_target)
    });
    (bad.map(|call| (*call).to_owned()).collect(), seen)
}

#[test]
fn reading_stops_nobody() {
    let sizes = Sizes::get();
    let table = Table::new(&Fates::HEAD);
    let tally = each(
        &STORMS,
        |storm| storm.name(),
        |storm, tally| {
            let (target, counters) = storm.start();
            let (pid, text) = (target.pid(), target.pid().to_string());
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("it.gospy");
            let mut fates = Fates::default();
            for round in 0..sizes.unstopped {
                for command in commands(&text, file.to_str().unwrap()) {
                    let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
                    let Some(output) = watched(pid, &arguments, tally) else { return };
                    let mut outcome = judge_run(&output);
                    // A capture says nothing but that it was written.
                    if command[0] == "capture" && output.status.success() {
                        outcome = Outcome::Frozen;
                    }
                    fates.note(outcome, std::time::Duration::ZERO, tally);
                    if !goes_on(pid, &counters, &format!("round {round}, {}", command[0]), tally) {
                        return;
                    }
                }
            }
            fates.add_to(&table, &storm.name());
            for command in commands(&text, file.to_str().unwrap()) {
                let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
                let (bad, seen) = calls(pid, &arguments);
                tally.equal(format!("{arguments:?}: calls"), Vec::<String>::new(), bad);
                // That strace saw anything at all.
                tally.holds(format!("{arguments:?}: {seen:?}"), seen.contains("openat"));
            }
        },
    );
    table.print("Reading without a freeze (\"ok\" is an answer)");
    tally.check(STORMS.len() * (sizes.unstopped + 1) * 3);
}

/// A reading that began with one program and ended with another is none: no call fails that reads the new
/// one's memory as if it were the old one's.
#[test]
fn a_program_that_became_another_is_not_shown() {
    let (target, counters) = Storm::Go("once").start();
    let live = LiveTarget::open(target.pid()).unwrap();
    let mut session = Session::open(Box::new(live), &OpenOptions::default()).unwrap();
    let options = CaptureOptions { stacks: true, ..CaptureOptions::default() };
    assert!(session.capture(&options).unwrap().goroutines.len() > 100);
    counters.set(Word::Quiesce, 1);
    assert!(eventually(|| counters.get(Word::Progress) > 1), "it does not exec");
    let seen = session.capture(&options);
    assert!(seen.is_err(), "{} goroutines of a program that is gone", seen.unwrap().goroutines.len());
    // A new session shows the new one.
    let live = LiveTarget::open(target.pid()).unwrap();
    let mut session = Session::open(Box::new(live), &OpenOptions::default()).unwrap();
    assert!(session.capture(&options).unwrap().goroutines.len() > 100);
}

/// The same strace finds what a freeze does, so that its silence means something.
#[test]
fn strace_sees_a_freeze() {
    let (target, _counters) = Storm::Go("threads").start();
    let (bad, _) = calls(target.pid(), &["summary", "--freeze=all", "--pid", &target.pid().to_string()]);
    assert!(bad.iter().any(|call| call.starts_with("ptrace(PTRACE_SEIZE")), "{bad:?}");
}

/// With signals under way and nothing frozen, none is lost; so that a loss elsewhere is a freeze's.
#[test]
fn reading_loses_no_signal() {
    let mut tally = Tally::new("signals");
    let mut lab = Lab::start();
    let pid = lab.pid();
    let text = pid.to_string();
    for round in 0..Sizes::get().unstopped * 2 {
        let what = format!("round {round}");
        lab.send_usr1();
        let output = watched(pid, &["stack", "--all", "--pid", &text], &mut tally).expect("gospy hung");
        tally.equal(&what, Some(0), output.status.code());
        assert!(lab.settle(&what, &mut tally), "{:?}", tally.wrong);
    }
    assert_eq!(number(pid, "TracerPid"), Some(0));
    let sent = lab.counters.get(Word::RtSent);
    let account = lab.account("signals", &mut tally);
    println!("{} real-time signals, {} of them while it was read", account.values, sent);
    tally.check(4);
}
