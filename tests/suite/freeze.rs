//! Stopping the target for an exact picture: what is seen, and that it always runs on.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::compare::{compare_dumps, physical_text};
use crate::support::{ChainRule, DumpGoroutine, Fixture, Mode, Running, gospy, matrix};
use gospy::capture::{CaptureOptions, FreezeMode, OpenOptions, Session};
use gospy::model::{Snapshot, StackState, Status};
use gospy::process::live::LiveTarget;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const BOTH: [FreezeMode; 2] = [FreezeMode::Running, FreezeMode::All];

fn session(program: &Running) -> Session {
    let target = LiveTarget::open(program.pid()).unwrap();
    Session::open(Box::new(target), &OpenOptions::default()).unwrap()
}

fn freeze(session: &mut Session, mode: FreezeMode) -> Snapshot {
    session.capture(&CaptureOptions { stacks: true, freeze: Some(mode), ..CaptureOptions::default() }).unwrap()
}

fn pid(program: &Running) -> String {
    program.pid().to_string()
}

/// Whether somebody traces any of its threads: some are left alone.
fn is_traced(pid: i32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut texts = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    texts.any(|text| !text.contains("\nTracerPid:\t0\n"))
}

/// Its goroutines run, nobody traces it, and it answers.
fn runs(program: &mut Running) {
    assert!(!is_traced(program.pid()));
    let states = program.thread_states();
    assert!(!states.iter().any(|state| matches!(state, 't' | 'T')), "{states:?}");
    assert!(program.ask("metrics")["memstats"]["Mallocs"].as_u64().unwrap() > 0);
}

/// Every stack is one that the program can have, those of running goroutines among them.
#[test]
fn running_goroutines_have_stacks_that_can_be() {
    let (all_running, all_known) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let tally = matrix(&[Mode::Default, Mode::Sw, Mode::CgoPieSw], |version, mode, tally| {
        let mut program = Fixture::start("fx", version, mode, &["churn", "-goroutines", "200", "-busy", "3"]);
        let rule = ChainRule::from_truth(&program.ask("truth"));
        let mut session = session(&program);
        let (mut running, mut known) = (0, 0);
        for freeze_mode in BOTH.repeat(4) {
            let snapshot = freeze(&mut session, freeze_mode);
            let symbols = &snapshot.symbols;
            for goroutine in &snapshot.goroutines {
                let is_running = goroutine.status == Status::Running;
                running += usize::from(is_running);
                let StackState::Known(stack) = goroutine.stack else { continue };
                known += usize::from(is_running);
                let frames = symbols.stack(stack).unwrap().frames.iter();
                let functions: Vec<&str> =
                    frames.map(|frame| symbols.str(symbols.frame(frame.frame).unwrap().function)).collect();
                let verdict = rule.check(&functions);
                tally.holds(format!("{freeze_mode:?}, goroutine {}: {verdict:?}", goroutine.id.0), verdict.is_ok());
            }
        }
        all_running.fetch_add(running, Ordering::Relaxed);
        all_known.fetch_add(known, Ordering::Relaxed);
        runs(&mut program);
    });
    tally.check(20_000);
    // A thread can be where nobody knows its caller, in a signal handler or a switch of stacks.
    let (running, known) = (all_running.into_inner(), all_known.into_inner());
    println!("{known} of {running} running ones are known");
    assert!(running > 100 && known * 10 >= running * 9, "{known} of {running} running ones are known");
}

/// Those that only compute: which functions they are in is known, and where they stand is exact.
#[test]
fn busy_loops_are_seen() {
    let (known, unknown) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let tally = matrix(&[Mode::Default, Mode::PieSw, Mode::CgoSw, Mode::Race], |version, mode, tally| {
        let mut program = Fixture::start("fx", version, mode, &["idle", "-busy", "3"]);
        for freeze in ["--freeze=running", "--freeze=all"] {
            let seen = gospy(&["stack", "--json", freeze, "--pid", &pid(&program)]).json();
            let list = seen["goroutines"]["list"].as_array().unwrap();
            let busy: Vec<&Value> = list.iter().filter(|g| g["creator"]["function"] == "main.main").collect();
            tally.equal("goroutines that compute", 3, busy.len());
            for goroutine in busy {
                let state = goroutine["state"].as_str().unwrap();
                tally.holds(format!("state {state}"), ["running", "runnable"].contains(&state));
                let what = format!("{freeze}: {state} {}", goroutine["id"]);
                if goroutine["stack"]["status"] != "known" {
                    // The race detector's code tells nothing of its callers; and one thread at a time, a
                    // goroutine can be somewhere else each time.
                    let may_be = mode == Mode::Race || freeze == "--freeze=running";
                    tally.holds(format!("{what} has no stack"), may_be);
                    unknown.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                known.fetch_add(1, Ordering::Relaxed);
                let frames = goroutine["frames"].as_array().unwrap();
                let functions: Vec<&str> = frames.iter().map(|frame| frame["function"].as_str().unwrap()).collect();
                let of_main: Vec<&str> = functions
                    .iter()
                    .copied()
                    .filter(|name| ["main.busyLoop", "main.busyCalls", "main.busyStep"].contains(name))
                    .collect();
                // It may not have got there yet.
                let on_its_way = |name: &str| name == "main.busy" || name.starts_with("main.main.");
                let own = functions.split_last().map_or(&[][..], |(_, own)| own);
                let new = state == "runnable" && own.iter().all(|name| on_its_way(name));
                let legal = new
                    || of_main == ["main.busyLoop"]
                    || of_main.split_last().is_some_and(|(last, steps)| {
                        *last == "main.busyCalls" && steps.len() <= 4 && steps.iter().all(|s| *s == "main.busyStep")
                    });
                tally.holds(format!("{what}: {functions:?}"), legal);
                tally.equal(format!("{what} ends"), Some(&"runtime.goexit"), functions.last());
            }
            let stop = &seen["reading"]["freeze"];
            tally.equal("whole program", freeze == "--freeze=all", stop["whole_program"].as_bool().unwrap());
            tally.holds(format!("{stop}"), stop["stopped_ns"].as_u64().unwrap() > 0);
            for thread in seen["threads"].as_array().unwrap() {
                // A stop of gospy's own is not the thread's state.
                tally.holds(format!("{freeze}: {thread}"), thread["state"].as_str().is_none_or(|state| state != "t"));
            }
        }
        runs(&mut program);
    });
    tally.check(1_000);
    let (known, unknown) = (known.into_inner(), unknown.into_inner());
    assert!(unknown * 10 < known, "{unknown} goroutines have no stack, {known} have one");
}

/// System calls, calls of C and back, and all that waits: the same as without a stop.
#[test]
fn a_frozen_program_is_what_its_dump_says() {
    let tally = matrix(&[Mode::Default, Mode::CgoSw], |version, mode, tally| {
        let program = Fixture::new("fx", version, mode).env("GOTRACEBACK", "system").run(&["states"]);
        let ours = gospy(&["stack", "--all", "--system", "--freeze=all", "--pid", &pid(&program)]).ok();
        let own = program.sigquit_dump();
        let skip = |g: &DumpGoroutine| g.id == 0 || g.state == "running" || g.state == "GC scavenge wait";
        let compared = compare_dumps(&own, &ours, skip, physical_text, tally);
        tally.holds(format!("{compared} goroutines"), compared > 45);
    });
    tally.check(5_000);
}

#[test]
fn what_was_stopped_before_stays_stopped() {
    let mut program = Fixture::start("fx", "1.26.6", Mode::Sw, &["idle", "-busy", "3"]);
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
        let mut program = Fixture::start("fx", "1.26.6", Mode::Sw, &["many", "20000", "-busy", "1"]);
        let mut interrupted = 0;
        for _ in 0..20 {
            let Some(mut gospy) = interrupt_a_freeze(program.pid(), signal) else { continue };
            let ended = gospy.wait().unwrap();
            if ended.signal() == Some(signal as i32) {
                interrupted += 1;
            }
            let deadline = Instant::now() + Duration::from_secs(5);
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
    let mut program = Fixture::start("fx", "1.26.6", Mode::Sw, &["idle"]);
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
    let fixture = Fixture::new("fx", "1.26.6", Mode::Sw).env("GOMAXPROCS", "64");
    let mut program = fixture.run(&["many", "10000"]);
    let threads = program.thread_states().len();
    let mut session = session(&program);
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let snapshot = freeze(&mut session, FreezeMode::All);
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
