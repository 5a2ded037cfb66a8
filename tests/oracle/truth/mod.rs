//! What gospy says of a program against what the program says of itself, value by value.
//!
//! The program's account is that of `runtime.Stack`, `runtime.ReadMemStats`, `runtime/metrics`, its
//! dump on SIGQUIT, its scheduler trace, `/proc`, and what its goroutines wrote down themselves.

mod facts;
mod goroutines;
mod heap;
mod kinds;
mod load;
mod scheduler;

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Fixture, Mode, Running, gospy, matrix};
use serde_json::Value;

/// `gospy summary --json` of a program, which has to be complete and without a warning.
fn summary(program: &Running, tally: &mut crate::support::Tally) -> Value {
    let summary = gospy(&["summary", "--json", "--pid", &program.pid().to_string()]).json();
    tally.equal("complete", true, summary["complete"].as_bool().unwrap());
    tally.equal("warnings", "[]", summary["warnings"].to_string());
    summary
}

/// `gospy stack --all` of a program.
fn gospy_stack(program: &Running, more: &[&str]) -> String {
    let pid = program.pid().to_string();
    gospy(&[&["stack", "--all", "--pid", &pid], more].concat()).ok()
}

/// What the program says of itself when all that are to wait for input and output do: on a busy machine they
/// may be on their way for long.
fn at_rest(program: &mut Running) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let truth = program.ask("truth");
        let kinds = truth["kinds"].as_object().unwrap().iter().filter(|(kind, _)| kind.starts_with("io "));
        let waiting: Vec<&Value> = kinds.flat_map(|(_, ids)| ids.as_array().unwrap()).collect();
        let all = truth["goroutines"].as_array().unwrap();
        let late = all.iter().filter(|g| waiting.contains(&&g["id"]) && g["header_state"] != "IO wait").count();
        if late == 0 && !waiting.is_empty() {
            return truth;
        }
        assert!(Instant::now() < deadline, "{late} of {} never wait: {truth}", waiting.len());
        sleep(Duration::from_millis(20));
    }
}

/// The program's summary while it is stopped. A busy machine may stop it between the making of an M and that of
/// its thread, which the kernel does not know yet: then it goes on, and is stopped again.
fn stopped(program: &Running, mode: Mode, tally: &mut crate::support::Tally) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        program.stop();
        let seen = summary(program, tally);
        if scheduler::without_thread(&seen) == scheduler::extra_ms(mode) || Instant::now() > deadline {
            return seen;
        }
        program.cont();
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_summary_is_what_the_program_says() {
    let tally = matrix(&Mode::ALL, |version, mode, tally| {
        let begun = Instant::now();
        let fixture = Fixture::new("fx", version, mode).env("GOTRACEBACK", "system");
        let mut program = fixture.run(&["states", "2"]);
        let truth = at_rest(&mut program);
        let seen = heap::compare(&mut program, version, tally);
        facts::compare(&truth, &seen, begun, mode, tally);
        goroutines::compare(&truth, &seen, tally);
        goroutines::in_the_kernel(&truth, &seen, tally);

        let stopped = stopped(&program, mode, tally);
        facts::is_stopped(&program, &stopped, tally);
        goroutines::same(&seen, &stopped, tally);
        scheduler::fits_together(&stopped, tally);
        scheduler::compare_threads(&program, &truth, &stopped, mode, tally);
        facts::is_stopped(&program, &stopped, tally);

        let dump = program.sigquit_dump();
        goroutines::compare_dump(&truth, &dump, &stopped, tally);
    });
    tally.check(300_000);
}

/// What decides on the heap's next goal.
#[test]
fn the_collectors_settings_are_told() {
    let tally = matrix(&[Mode::Default, Mode::PieSw], |version, mode, tally| {
        for (name, value) in [("GOGC", "off"), ("GOGC", "30"), ("GOMEMLIMIT", "10MiB"), ("GOMEMLIMIT", "64MiB")] {
            let mut program = Fixture::new("fx", version, mode).env(name, value).run(&["states"]);
            program.ask("gc");
            heap::compare(&mut program, &format!("{version} {name}={value}"), tally);
        }
    });
    tally.check(4_000);
}
