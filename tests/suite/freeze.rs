//! Stopping the target for an exact picture: what is seen, and that it always runs on.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::snapshots::{frozen, session};
use crate::support::freeze::{is_traced, runs};
use crate::support::{Fixture, Running, gospy, live, live_program};
use gospy::capture::FreezeMode;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn pid(program: &Running) -> String {
    program.pid().to_string()
}

#[test]
fn what_was_stopped_before_stays_stopped() {
    let mut program = live(&["idle", "-busy", "3"]);
    stop_while_it_runs(&program);
    for freeze in ["--freeze=running", "--freeze=all"] {
        let seen = gospy(&["summary", "--json", freeze, "--pid", &pid(&program)]).json();
        let list = seen["goroutines"]["list"].as_array().unwrap();
        let running: Vec<&Value> = list.iter().filter(|g| g["state"] == "running").collect();
        assert!(!running.is_empty());
        for goroutine in running {
            assert_eq!(goroutine["stack"]["status"], "known", "{freeze}: {goroutine}");
        }
        let states = program.thread_states();
        assert!(states.iter().all(|state| *state == 'T'), "{freeze}: {states:?}");
        assert_eq!(seen["target"]["process_state"], "T");
        assert!(!is_traced(program.pid()));
    }
    program.cont();
    runs(&mut program);
}

/// Stops a program at a moment when one of its goroutines runs: on a loaded machine each may just
/// have been preempted.
fn stop_while_it_runs(program: &Running) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        program.stop();
        let seen = gospy(&["summary", "--json", "--pid", &pid(program)]).json();
        if seen["goroutines"]["by_state"]["running"].as_u64().is_some_and(|count| count > 0) {
            return;
        }
        assert!(Instant::now() < deadline, "no goroutine runs: {}", seen["goroutines"]["by_state"]);
        program.cont();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts gospy, waits until it has stopped the target, and sends it a signal then. `None` if it was
/// done before.
fn interrupt_a_freeze(target: i32, signal: Signal) -> Option<Child> {
    let mut gospy = Command::new(env!("CARGO_BIN_EXE_gospy"))
        .args(["stack", "--freeze=all", "--group", "--pid", &target.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_traced(target) {
        assert!(Instant::now() < deadline, "gospy does not freeze its target");
        if gospy.try_wait().unwrap().is_some() {
            return None;
        }
    }
    kill(Pid::from_raw(i32::try_from(gospy.id()).unwrap()), signal).unwrap();
    Some(gospy)
}

#[test]
fn a_target_runs_on_when_gospy_is_ended_amid_a_freeze() {
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        let mut program = live(&["many", "20000", "-busy", "1"]);
        let mut interrupted = 0;
        let last_try = Instant::now() + Duration::from_secs(60);
        while Instant::now() < last_try {
            let Some(mut gospy) = interrupt_a_freeze(program.pid(), signal) else { continue };
            let ended = gospy.wait().unwrap();
            if ended.signal() == Some(signal as i32) {
                interrupted += 1;
            }
            let deadline = Instant::now() + Duration::from_secs(60);
            while is_traced(program.pid()) {
                assert!(Instant::now() < deadline, "{signal}: still traced");
                sleep(Duration::from_millis(1));
            }
            runs(&mut program);
            if interrupted == 3 {
                break;
            }
        }
        assert!(interrupted > 0, "{signal}: gospy was never ended amid a freeze");
    }
}

#[test]
fn another_tracer_is_respected() {
    let mut program = live(&["idle"]);
    let target = Pid::from_raw(program.pid());
    ptrace::seize(target, ptrace::Options::empty()).unwrap();
    let refused = gospy(&["stack", "--freeze=all", "--pid", &pid(&program)]);
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(refused.stdout.is_empty() && refused.stderr.contains("trace"), "{refused:?}");
    // Without a stop there is nothing to be in the way of.
    assert!(gospy(&["stack", "--pid", &pid(&program)]).ok().contains("main.main"));
    ptrace::interrupt(target).unwrap();
    nix::sys::wait::waitpid(target, None).unwrap();
    ptrace::detach(target, None).unwrap();
    runs(&mut program);
}

/// The bar is 20 ms, with optimisation and on a machine that has nothing else to do. Here there may
/// be neither, so the best of some tries counts, and what would be another order is refused.
#[test]
fn a_freeze_of_many_threads_and_goroutines_is_short() {
    const TRIES: usize = 20;
    const BAR: Duration = Duration::from_millis(20);
    const SLOW: u32 = if cfg!(debug_assertions) { 50 } else { 5 };
    // As many processors make as many threads when so many goroutines start.
    let fixture = Fixture::of(&live_program()).env("GOMAXPROCS", "64");
    let mut program = fixture.run(&["many", "10000"]);
    let threads = program.thread_states().len();
    let mut session = session(program.pid());
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let snapshot = frozen(&mut session, FreezeMode::All);
        assert!(snapshot.goroutines.len() > 10_000);
        best = best.min(Duration::from_nanos(snapshot.reading.freeze.unwrap().stopped_ns));
        if best < BAR {
            break;
        }
    }
    println!("{threads} threads and 10,000 goroutines stood still for {best:?}");
    assert!(best < BAR * SLOW, "{best:?}");
    runs(&mut program);
}
