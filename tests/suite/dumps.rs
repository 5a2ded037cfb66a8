//! gospy's stacks against the program's own dump of itself. `oracle` compares many more programs.

use crate::support::compare::compare_dumps;
use crate::support::{Fixture, Tally, gospy, live, live_program};

#[test]
fn stacks_are_those_of_runtime_stack() {
    let mut program = live(&["states", "2"]);
    let own = program.ask("stack")["stack_text"].as_str().unwrap().to_owned();
    let ours = gospy(&["stack", "--pid", &program.pid().to_string(), "--all"]).ok();
    let mut tally = Tally::new("live");
    // The one that made the dump ran then and waits now.
    let count = compare_dumps(&own, &ours, |g| g.state == "running", &mut tally);
    assert!(count > 40, "{count} goroutines");
    tally.check(150);
}

#[test]
fn stacks_are_those_of_sigquit() {
    let program = Fixture::of(&live_program()).env("GOTRACEBACK", "system").run(&["states", "2"]);
    // It may not be done with saying that it is ready.
    program.wait_until_it_reads();
    let ours = gospy(&["stack", "--all", "--system", "--pid", &program.pid().to_string()]).ok();
    let own = program.sigquit_dump();
    let mut tally = Tally::new("live");
    let running = |goroutine: &crate::support::DumpGoroutine| goroutine.id == 0 || goroutine.state == "running";
    let count = compare_dumps(&own, &ours, running, &mut tally);
    assert!(count > 45, "{count} goroutines");
    tally.check(300);
}
