//! A program at work: more goroutines that compute than processors; and the scheduler's own trace.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::goroutines::{listed, state};
use super::{gospy_stack, scheduler, summary};
use crate::support::compare::{by_id, differences};
use crate::support::{Fixture, Mode, Tally, matrix, schedtrace};

const BUSY: usize = 6;
const MODES: [Mode; 3] = [Mode::Default, Mode::Sw, Mode::CgoPieSw];

/// A thread can be stopped between taking a goroutine from a queue and running it. That is rare, and
/// a reader that is wrong is wrong each time.
const TRIES: usize = 5;

#[test]
fn running_and_runnable_goroutines_are_told() {
    let tally = matrix(&MODES, |version, mode, tally| {
        let mut program = Fixture::start("fx", version, mode, &["idle", "-busy", &BUSY.to_string()]);
        let truth = program.ask("truth");
        for attempt in 1..=TRIES {
            program.stop();
            let mut this = Tally::new(format!("{version} {}, try {attempt}", mode.name()));
            let seen = summary(&program, tally);
            queues(&truth, &seen, &mut this);
            scheduler::fits_together(&seen, &mut this);
            program.cont();
            if this.wrong.is_empty() || attempt == TRIES {
                tally.add(this);
                break;
            }
            sleep(Duration::from_millis(30));
        }
    });
    tally.check(1_000);
}

/// Those that compute run or are on a queue, and nobody else is.
fn queues(truth: &Value, seen: &Value, tally: &mut Tally) {
    let goroutines = listed(seen);
    let is_busy = |g: &&Value| g["start"]["function"].as_str().is_some_and(|name| name.starts_with("main."));
    let busy: Vec<&Value> =
        goroutines.values().copied().filter(is_busy).filter(|g| g["creator"]["function"] == "main.main").collect();
    tally.equal("goroutines that compute", BUSY, busy.len());
    let count = |state: &str| goroutines.values().filter(|g| g["state"] == state).count() as u64;
    let at_work = busy.iter().filter(|g| matches!(g["state"].as_str().unwrap(), "running" | "runnable")).count();
    tally.equal("of them at work", BUSY, at_work);
    let number = |value: &Value| value.as_u64().unwrap();
    let sched = &seen["sched"];
    tally.equal("runnable", count("runnable"), number(&sched["global_run_queue"]) + number(&sched["local_run_queues"]));
    tally.equal("running", number(&truth["gomaxprocs"]), count("running"));
    tally.equal("idle Ps", 0, number(&sched["idle_processors"]));
    for (id, goroutine) in &goroutines {
        let (what, known) = (state(goroutine), goroutine["stack"]["status"].as_str().unwrap());
        tally.equal(format!("stack of {id} ({what})"), if what == "running" { "running" } else { "known" }, known);
    }
}

/// With one P, only one goroutine runs: all others keep still between the stop and the signal.
#[test]
fn preempted_goroutines_are_those_of_sigquit() {
    let tally = matrix(&MODES, |version, mode, tally| {
        for attempt in 1..=TRIES {
            let fixture = Fixture::new("fx", version, mode).env("GOTRACEBACK", "system").env("GOMAXPROCS", "1");
            let program = fixture.run(&["idle", "-busy", &BUSY.to_string()]);
            sleep(Duration::from_millis(150));
            program.stop();
            let ours = by_id(&gospy_stack(&program, &["--system"]));
            let own = by_id(&program.sigquit_dump());
            let mut this = Tally::new(format!("{version} {}, try {attempt}", mode.name()));
            let mut runnable = 0;
            for (id, own) in own.iter().filter(|(_, own)| own.state == "runnable") {
                let Some(ours) = ours.get(id).filter(|ours| ours.state == "runnable") else { continue };
                runnable += 1;
                this.compared += own.frames.len();
                for difference in differences(own, ours) {
                    this.wrong(format!("goroutine {id} {difference}"));
                }
            }
            this.holds(format!("{runnable} runnable goroutines"), runnable >= BUSY - 2);
            if this.wrong.is_empty() || attempt == TRIES {
                tally.add(this);
                break;
            }
        }
    });
    tally.check(500);
}

/// `GODEBUG=schedtrace,scheddetail`: the scheduler's lists as the runtime itself walks them.
#[test]
fn the_scheduler_is_what_its_own_trace_says() {
    let tally = matrix(&[Mode::Default, Mode::Sw, Mode::CgoSw], |version, mode, tally| {
        for attempt in 1..=TRIES {
            let fixture = Fixture::new("fx", version, mode).env("GODEBUG", "schedtrace=60,scheddetail=1");
            let program = fixture.run(&["states"]);
            sleep(Duration::from_millis(200));
            let seen = summary(&program, tally);
            sleep(Duration::from_millis(200));
            let (_, stderr) = program.quit();
            let mut this = Tally::new(format!("{version} {}, try {attempt}", mode.name()));
            schedtrace::compare(&stderr, &seen, &mut this);
            if this.wrong.is_empty() || attempt == TRIES {
                tally.add(this);
                break;
            }
        }
    });
    tally.check(5_000);
}
