//! Stopping the target for an exact picture, in every version and mode: what is seen.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::snapshots::{frozen, session};
use crate::support::compare::compare_dumps;
use crate::support::freeze::runs;
use crate::support::{ChainRule, DumpGoroutine, Fixture, Mode, Running, gospy, matrix};
use gospy::capture::FreezeMode;
use gospy::model::{StackState, Status};
use serde_json::Value;

const BOTH: [FreezeMode; 2] = [FreezeMode::Running, FreezeMode::All];

fn pid(program: &Running) -> String {
    program.pid().to_string()
}

/// Every stack is one that the program can have, those of running goroutines among them.
#[test]
fn running_goroutines_have_stacks_that_can_be() {
    let (all_running, all_known) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let tally = matrix(&[Mode::Default, Mode::Sw, Mode::CgoPieSw], |version, mode, tally| {
        let mut program = Fixture::start("fx", version, mode, &["churn", "-goroutines", "200", "-busy", "3"]);
        let rule = ChainRule::from_truth(&program.ask("truth"));
        let mut session = session(program.pid());
        let (mut running, mut known) = (0, 0);
        for freeze_mode in BOTH.repeat(4) {
            let snapshot = frozen(&mut session, freeze_mode);
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

fn is_known(goroutine: &Value) -> bool {
    goroutine["stack"]["status"] == "known"
}

/// The goroutines that only compute.
fn busy(seen: &Value) -> Vec<&Value> {
    let list = seen["goroutines"]["list"].as_array().unwrap();
    list.iter().filter(|g| g["creator"]["function"] == "main.main").collect()
}

/// Those that only compute: which functions they are in is known, and where they stand is exact.
#[test]
fn busy_loops_are_seen() {
    let (known, unknown) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let tally = matrix(&[Mode::Default, Mode::PieSw, Mode::CgoSw, Mode::Race], |version, mode, tally| {
        let mut program = Fixture::start("fx", version, mode, &["idle", "-busy", "3"]);
        for freeze in ["--freeze=running", "--freeze=all"] {
            let read = || gospy(&["stack", "--json", freeze, "--pid", &pid(&program)]).json();
            let mut seen = read();
            // On a busy machine a thread that gets the signal to preempt it may be in the handler for long, and
            // there nobody knows its caller. That is once, not always.
            for _ in 0..20 {
                if freeze == "--freeze=running" || mode == Mode::Race || busy(&seen).iter().all(|g| is_known(g)) {
                    break;
                }
                seen = read();
            }
            let busy = busy(&seen);
            tally.equal("goroutines that compute", 3, busy.len());
            for goroutine in busy {
                let state = goroutine["state"].as_str().unwrap();
                tally.holds(format!("state {state}"), ["running", "runnable"].contains(&state));
                let what = format!("{freeze}: {state} {}", goroutine["id"]);
                if !is_known(goroutine) {
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
        let compared = compare_dumps(&own, &ours, skip, tally);
        tally.holds(format!("{compared} goroutines"), compared > 45);
    });
    tally.check(5_000);
}
