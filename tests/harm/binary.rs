//! Freezes of Go programs that change all the time, by the `gospy` program.

use super::look::left_behind;
use super::outcome::{bounded, judge_run};
use super::sizes::Sizes;
use super::storms::{Fates, Storm, goes_on};
use super::support::{each, gospy};
use super::table::Table;

const STORMS: [Storm; 4] = [Storm::Go("exec"), Storm::Go("fork"), Storm::Go("threads"), Storm::Go("all")];

const COMMANDS: [&[&str]; 3] = [
    &["stack", "--all", "--freeze=all"],
    &["summary", "--json", "--freeze=running"],
    &["summary", "--json", "--freeze=all"],
];

#[test]
fn targets_go_on_after_runs_of_the_program() {
    let sizes = Sizes::get();
    let table = Table::new(&Fates::HEAD);
    let tally = each(
        &STORMS,
        |storm| storm.name(),
        |storm, tally| {
            let (target, counters) = storm.start();
            let pid = target.pid();
            let text = pid.to_string();
            let mut fates = Fates::default();
            for number in 0..sizes.by_program {
                let command = COMMANDS[number % COMMANDS.len()];
                let what = format!("run {number}, {}", command.join(" "));
                let run = bounded(pid, || gospy(&[command, &["--pid", &text]].concat()));
                if run.hung {
                    tally.wrong(format!("{what}: hung until the target was killed"));
                    fates.wrong += 1;
                    break;
                }
                fates.note(judge_run(&run.result), run.took, tally);
                if !goes_on(pid, &counters, &what, tally) {
                    break;
                }
            }
            fates.add_to(&table, &storm.name());
            tally.equal("left behind", Vec::<i32>::new(), left_behind());
            let least = if storm.execs() { 0 } else { sizes.by_program / 3 };
            tally.holds(format!("only {} of {} runs succeeded", fates.frozen, sizes.by_program), fates.frozen >= least);
        },
    );
    table.print("Freezes by the program");
    tally.check(STORMS.len() * sizes.by_program);
}
