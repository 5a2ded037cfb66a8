//! gospy's stacks against the program's own dump of itself, goroutine by goroutine and line by line.
//! Arguments are left aside: gospy does not print them.

// A test that cannot go on fails, and a panic is how.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::compare::{compare_dumps, frame_text, physical_text};
use support::{DumpGoroutine, Fixture, Mode, VERSIONS, gospy, matrix, parse_traceback};

const MODES: [Mode; 4] = [Mode::Default, Mode::Sw, Mode::PieSw, Mode::Cgo];

fn pid(running: &support::Running) -> String {
    running.pid().to_string()
}

#[test]
fn stacks_are_those_of_runtime_stack() {
    let goroutines = AtomicUsize::new(0);
    let tally = matrix(&MODES, |version, mode, tally| {
        let mut program = Fixture::start("fx", version, mode, &["stacks", "2"]);
        let own = program.ask("stack")["stack_text"].as_str().unwrap().to_owned();
        let ours = gospy(&["stack", "--pid", &pid(&program), "--all"]).ok();
        // The one that made the dump ran then and waits now.
        let count = compare_dumps(&own, &ours, |g| g.state == "running", frame_text, tally);
        goroutines.fetch_add(count, Ordering::Relaxed);
    });
    tally.check(2_000 * VERSIONS.len() * MODES.len());
    println!("{} goroutines", goroutines.into_inner());
}

/// What gospy says once it says the same twice, but for what `moves`: a collection may still be going on.
fn settled(program: &support::Running, moves: impl Fn(&DumpGoroutine) -> bool) -> String {
    let read = || {
        let text = gospy(&["stack", "--pid", &pid(program), "--all", "--system"]).ok();
        let mut stays = parse_traceback(&text);
        stays.retain(|g| !moves(g));
        (text, stays)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut before = read();
    loop {
        sleep(Duration::from_millis(30));
        let now = read();
        if now.1 == before.1 {
            return now.0;
        }
        assert!(Instant::now() < deadline, "it never comes to rest");
        before = now;
    }
}

#[test]
fn stacks_are_those_of_sigquit() {
    let goroutines = AtomicUsize::new(0);
    let tally = matrix(&MODES, |version, mode, tally| {
        let program = Fixture::new("fx", version, mode).env("GOTRACEBACK", "system").run(&["stacks", "1"]);
        // Goroutine 0 is the scheduler of the thread that got the signal, and the scavenger goes to
        // sleep and wakes by itself between the two readings.
        let moves =
            |g: &DumpGoroutine| g.id == 0 || g.state == "running" || g.functions().contains(&"runtime.bgscavenge");
        let ours = settled(&program, moves);
        let own = program.sigquit_dump();
        let count = compare_dumps(&own, &ours, moves, physical_text, tally);
        goroutines.fetch_add(count, Ordering::Relaxed);
    });
    tally.check(1_500 * VERSIONS.len() * MODES.len());
    println!("{} goroutines", goroutines.into_inner());
}

/// The list that the unit tests of `gospy::go_names` go by is what the toolchains say.
#[test]
fn the_standard_library_is_what_go_list_says() {
    let mut listed = std::collections::BTreeSet::new();
    for version in VERSIONS {
        let toolchain = support::fixture::script("toolchain", &[version]);
        let scratch = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new(toolchain.join("bin/go"));
        command.args(["list", "std"]).env("GOTOOLCHAIN", "local").env("GOROOT", &toolchain).current_dir("/");
        let output = command.env("GOCACHE", scratch.path()).env("HOME", scratch.path()).output().unwrap();
        assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
        let packages = String::from_utf8(output.stdout).unwrap();
        assert!(packages.lines().count() > 200, "{version}: {packages}");
        listed.extend(packages.lines().map(str::to_owned));
    }
    let checked_in: Vec<&str> = include_str!("../src/go_names/standard_packages.txt").lines().collect();
    assert_eq!(Vec::from_iter(&listed), Vec::from_iter(&checked_in));
}
