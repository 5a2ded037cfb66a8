//! What only some goroutines have: labels, bubbles, ancestors; and Go that a C program has loaded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::goroutines::{self, listed};
use super::{gospy_stack, summary};
use crate::support::compare::{by_id, compare_dumps};
use crate::support::{DumpGoroutine, Fixture, Mode, Running, VERSIONS, each, gospy, matrix, parse_traceback};

#[test]
fn labels_are_those_that_the_program_set() {
    let tally = matrix(&[Mode::Default, Mode::PieSw, Mode::CgoSw], |version, mode, tally| {
        let mut program = Fixture::start("fx", version, mode, &["stacks"]);
        let truth = program.ask("truth");
        let seen = summary(&program, tally);
        goroutines::compare(&truth, &seen, tally);
        let labels = |list: &Value| -> BTreeMap<String, Value> {
            let list = list["goroutines"]["list"].as_array().unwrap();
            let with = list.iter().filter(|goroutine| goroutine["labels"].is_object());
            with.map(|goroutine| (goroutine["id"].to_string(), goroutine["labels"].clone())).collect()
        };
        let own: BTreeMap<String, Value> = serde_json::from_value(truth["labels"].clone()).unwrap();
        tally.equal("labels", &own, &labels(&seen));
        tally.holds("labels of three goroutines", own.len() == 3);
        let stacks = gospy(&["stack", "--json", "--pid", &program.pid().to_string()]).json();
        tally.equal("labels", &own, &labels(&stacks));
    });
    tally.check(10_000);
}

#[test]
fn bubbles_are_those_of_the_program() {
    let newer = VERSIONS.iter().filter(|version| ["1.25.5", "1.26.6", "1.27.3"].contains(version));
    let cells: Vec<(&str, Mode)> =
        newer.flat_map(|version| [Mode::Default, Mode::Sw, Mode::CgoSw].map(|mode| (*version, mode))).collect();
    let tally = each(
        &cells,
        |(version, mode)| format!("{version} {}", mode.name()),
        |(version, mode), tally| {
            let mut program = Fixture::start("fx", version, *mode, &["bubble", "3"]);
            let truth = program.ask("truth");
            let own = truth["stack_text"].as_str().unwrap();
            compare_dumps(own, &gospy_stack(&program, &[]), |g| g.state == "running", tally);
            let seen = summary(&program, tally);
            goroutines::compare(&truth, &seen, tally);
            let bubble = |own: &DumpGoroutine| -> Option<u64> {
                own.extras.iter().find_map(|extra| extra.strip_prefix("synctest bubble ")).map(|id| id.parse().unwrap())
            };
            let mut in_bubbles = 0;
            for (id, own) in by_id(own) {
                tally.equal(
                    format!("bubble of goroutine {id}"),
                    bubble(&own),
                    listed(&seen)[&id]["bubble_id"].as_u64(),
                );
                in_bubbles += usize::from(bubble(&own).is_some());
            }
            tally.holds(format!("{in_bubbles} goroutines in bubbles"), in_bubbles >= 30);
        },
    );
    tally.check(5_000);
}

#[test]
fn a_library_in_a_c_program_is_read() {
    let mut cells: Vec<(&str, Mode)> = VERSIONS.iter().map(|version| (*version, Mode::CgoSw)).collect();
    cells.extend([(VERSIONS[0], Mode::Cgo), (VERSIONS[7], Mode::Cgo)]);
    let tally = each(
        &cells,
        |(version, mode)| format!("cshared {version} {}", mode.name()),
        |(version, mode), tally| {
            let mut program = Fixture::start("cshared", version, *mode, &["20"]);
            let skip = |g: &DumpGoroutine| g.state == "running";
            let own = settled(&mut program, 41);
            let compared = compare_dumps(&own, &gospy_stack(&program, &[]), skip, tally);
            tally.holds(format!("{compared} goroutines"), compared >= 41);
            let seen = summary(&program, tally);
            let said = seen["target"]["go_version"].as_str().unwrap();
            tally.holds(format!("version {said}"), said.starts_with(&format!("go{version}")));
            // The thread that asked is in C again. From Go 1.21 on it keeps the goroutine that it had.
            let kept = u64::from(*version != VERSIONS[0]);
            tally.equal("goroutines", compared as u64 + kept, seen["goroutines"]["user"].as_u64().unwrap());
            let in_c = seen["goroutines"]["by_state"]["syscall"].as_u64().unwrap_or(0);
            tally.equal("goroutines in C", kept, in_c);
            tally.equal("module", "example.test/cshared", seen["target"]["module"]["path"].as_str().unwrap());
        },
    );
    tally.check(1_400);
}

/// The program's own dump, once so many of its goroutines wait: they may still be on their way when it
/// says that it is ready.
fn settled(program: &mut Running, waiting: usize) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let own = program.ask("stack")["stack_text"].as_str().unwrap().to_owned();
        let all = parse_traceback(&own);
        if all.iter().filter(|g| g.state != "running" && g.state != "runnable").count() >= waiting {
            return own;
        }
        assert!(Instant::now() < deadline, "fewer than {waiting} goroutines wait:\n{own}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ancestors_are_printed_as_the_program_would() {
    let tally = matrix(&[Mode::Default, Mode::CgoSw], |version, mode, tally| {
        let fixture = Fixture::new("fx", version, mode).env("GODEBUG", "tracebackancestors=5");
        let mut program = fixture.run(&["stacks"]);
        let own = program.ask("stack")["stack_text"].as_str().unwrap().to_owned();
        let ours = gospy_stack(&program, &[]);
        compare_dumps(&own, &ours, |g| g.state == "running", tally);
        let with = by_id(&own).values().filter(|own| !own.ancestors.is_empty()).count();
        tally.holds(format!("{with} goroutines with ancestors"), with > 100);
    });
    tally.check(1_000);
}
