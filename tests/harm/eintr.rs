//! System calls that a stop interrupts: how many of a target's fail with EINTR because of freezes.

use std::fmt::Display;
use std::process::Command;
use std::time::Duration;

use gospy::process::FreezeWhich;

use super::counters::Counters;
use super::look::{c_program, eventually, threads};
use super::outcome::{Outcome, bounded, freeze};
use super::sizes::Sizes;
use super::storms::goes_on;
use super::support::{Running, Tally};
use super::table::Table;

#[test]
fn calls_that_wait_are_not_interrupted() {
    let counters = Counters::new();
    let mut command = Command::new(c_program("sleepers"));
    command.arg(counters.path());
    let mut sleepers = Running::spawn(command);
    sleepers.wait_ready();
    let names = |key: &str| -> Vec<String> {
        let list = sleepers.ready[key].as_array().unwrap();
        list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let (interruptible, restarted) = (names("interruptible"), names("restarted"));
    assert!(interruptible.len() >= 5 && restarted.len() >= 9);
    let pid = sleepers.pid();
    let count = interruptible.len() + restarted.len();
    // All but the one that computes have gone to sleep.
    let asleep = || threads(pid).iter().filter(|thread| thread.state == 'S').count() >= count;
    assert!(eventually(asleep), "{:?}", threads(pid));

    let sizes = Sizes::get();
    let mut tally = Tally::new("sleepers");
    let mut frozen = 0;
    for number in 0..sizes.of_sleepers {
        let what = format!("freeze {number}");
        let call = bounded(pid, || freeze(pid, &FreezeWhich::All, Duration::from_micros(200), &counters));
        assert!(!call.hung, "{what} hung");
        match call.result {
            Outcome::Frozen => frozen += 1,
            Outcome::Refused(text) => println!("{what}: {text}"),
            other => tally.wrong(format!("{what}: {other:?}")),
        }
        if !goes_on(pid, &counters, &what, &mut tally) {
            break;
        }
    }
    // A machine that has too much to do may refuse some.
    tally.holds(format!("only {frozen} of {} freezes succeeded", sizes.of_sleepers), frozen * 2 >= sizes.of_sleepers);
    let table = Table::new(&["call", "freezes", "EINTR", "allowed"]);
    for (kind, name) in interruptible.iter().chain(&restarted).enumerate() {
        // A thread that falls asleep between the look at it and the stop can be interrupted.
        let allowed = if kind < interruptible.len() { (sizes.of_sleepers as u64).div_ceil(20) } else { 0 };
        let interrupted = counters.interruptions(kind);
        let cells: [&dyn Display; 3] = [&frozen, &interrupted, &allowed];
        table.add(name, &cells);
        tally.between(format!("EINTR of {name}"), 0, interrupted, allowed);
    }
    table.print("Calls that failed with EINTR");
    tally.check(count);
}
