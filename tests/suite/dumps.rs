//! gospy's stacks against the program's own dump of itself. `oracle` compares many more programs.

use crate::support::compare::{by_id, compare_dumps};
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

/// From a capture too, and frame by frame in JSON.
#[test]
fn arguments_are_in_captures_and_in_json() {
    let mut program = live(&["states", "2"]);
    let own = program.ask("stack")["stack_text"].as_str().unwrap().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture").display().to_string();
    let pid = program.pid().to_string();
    gospy(&["capture", "--pid", &pid, "-o", &file]).ok();
    let mut tally = Tally::new("capture");
    compare_dumps(&own, &gospy(&["stack", "--from", &file, "--all"]).ok(), |g| g.state == "running", &mut tally);
    tally.check(150);

    let document = gospy(&["stack", "--pid", &pid, "--json", "--arguments"]).json();
    let own = by_id(&own);
    let mut words = 0;
    for goroutine in document["goroutines"]["list"].as_array().unwrap() {
        let Some(own) = own.get(&goroutine["id"].as_u64().unwrap()).filter(|own| own.state != "running") else {
            continue;
        };
        let frames = goroutine["frames"].as_array().unwrap();
        let shown: Vec<&serde_json::Value> = frames.iter().filter(|frame| frame["hidden"] == false).collect();
        assert_eq!(shown.len(), own.frames.len(), "{goroutine}");
        for (frame, own) in shown.into_iter().zip(&own.frames) {
            let arguments = frame["arguments"].as_str();
            assert_eq!(arguments.is_none(), frame["inlined"] == true, "{frame}");
            assert_eq!(arguments.unwrap_or("..."), own.arguments, "{frame}");
            words += usize::from(own.arguments.starts_with("0x"));
        }
    }
    assert!(words > 10, "{words} frames with words");
    let plain = gospy(&["stack", "--pid", &pid, "--json"]).json();
    let list = plain["goroutines"]["list"].as_array().unwrap();
    // System calls have arguments of their own.
    let frames = list.iter().flat_map(|goroutine| goroutine["frames"].as_array().into_iter().flatten());
    assert!(frames.clone().count() > 100 && frames.into_iter().all(|frame| frame.get("arguments").is_none()));
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
