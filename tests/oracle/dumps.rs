//! gospy's stacks against the program's own dump of itself, goroutine by goroutine and byte by byte.
//!
//! Left out is who ran when either was made: the goroutine that made the dump, which waits when gospy looks; the
//! one that a signal interrupted, and goroutine 0, the scheduler of its thread; and the scavenger, which goes to
//! sleep and wakes by itself between the two. They are counted, and there may be no others.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::compare::{by_id, compare_dumps};
use crate::support::core_dump::gcore;
use crate::support::{DumpGoroutine, Fixture, Mode, Running, Tally, VERSIONS, each, gospy, matrix, parse_traceback};

const MODES: [Mode; 4] = [Mode::Default, Mode::Sw, Mode::PieSw, Mode::Cgo];

fn pid(running: &Running) -> String {
    running.pid().to_string()
}

#[test]
fn stacks_are_those_of_runtime_stack() {
    let tally = matrix(&MODES, |version, mode, tally| {
        let mut program = Fixture::start("fx", version, mode, &["stacks", "2"]);
        level_1(&mut program, tally);
    });
    tally.check(6_000 * VERSIONS.len() * MODES.len());
}

/// Arguments of every kind, panics in long stacks, and labels with all kinds of characters.
#[test]
fn arguments_are_those_of_runtime_stack() {
    let tally = matrix(&Mode::ALL, |version, mode, tally| {
        let mut program = Fixture::start("arguments", version, mode, &[]);
        let own = level_1(&mut program, tally);
        for what in ["?", "{0x", "...", ", _", "(0x", "()", " frames elided...", "{}", "panic({0x"] {
            tally.holds(format!("no {what} in the dump"), own.contains(what));
        }
    });
    tally.check(10_000 * VERSIONS.len() * Mode::ALL.len());
}

/// What a program prints of its labels is its own setting.
#[test]
fn labels_are_printed_where_the_program_prints_them() {
    let cells: Vec<(&str, Mode, &str)> = ["1.25.5", "1.26.6", "1.27.3"]
        .into_iter()
        .flat_map(|version| [Mode::Default, Mode::PieSw].map(|mode| (version, mode)))
        .flat_map(|(version, mode)| ["", "tracebacklabels=1", "tracebacklabels=0"].map(|set| (version, mode, set)))
        .collect();
    let tally = each(
        &cells,
        |(version, mode, set)| format!("{version} {} {set}", mode.name()),
        |(version, mode, set), tally| {
            let mut program = Fixture::new("arguments", version, *mode).env("GODEBUG", set).run(&[]);
            let own = level_1(&mut program, tally);
            let printed = match *version {
                "1.25.5" => false,
                "1.26.6" => set.ends_with('1'),
                _ => !set.ends_with('0'),
            };
            let marks =
                [r#"op/read.x_1"#, r#""with space""#, r#"\n\r"#, r#"quote\"back\\slash"#, r#"\u00fc"#, r#"\U0001f600"#];
            for mark in marks {
                tally.equal(format!("{mark} is printed"), printed, own.contains(mark));
            }
        },
    );
    tally.check(4_000 * cells.len());
}

/// The same from a capture and from a core file. These say no more of a program than what it holds.
#[test]
fn captures_and_core_files_hold_arguments() {
    let tally = matrix(&[Mode::Default, Mode::PieSw, Mode::CgoSw], |version, mode, tally| {
        let mut program = Fixture::start("arguments", version, mode, &[]);
        let own = program.ask("stack")["stack_text"].as_str().unwrap().to_owned();
        let dir = tempfile::tempdir().unwrap();
        let capture = dir.path().join("capture").display().to_string();
        gospy(&["capture", "--pid", &pid(&program), "-o", &capture]).ok();
        let core = gcore(program.pid(), dir.path()).display().to_string();
        drop(program);
        for file in [capture, core] {
            let ours = gospy(&["stack", "--all", "--from", &file]).ok();
            compare_dumps(&own, &ours, |g| g.state == "running", tally);
        }
    });
    tally.check(20_000 * VERSIONS.len() * 3);
}

/// Compares all goroutines at the level of `runtime.Stack`; returns its text.
fn level_1(program: &mut Running, tally: &mut Tally) -> String {
    let own = program.ask("stack")["stack_text"].as_str().unwrap().to_owned();
    let ours = gospy(&["stack", "--pid", &pid(program), "--all"]).ok();
    let compared = compare_dumps(&own, &ours, |g| g.state == "running", tally);
    tally.equal("goroutines that ran", 1, by_id(&own).len() - compared);
    own
}

/// What gospy says once it says the same twice, but for what `moves`: a collection may still be going on.
fn settled(program: &Running, moves: impl Fn(&DumpGoroutine) -> bool) -> String {
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
    let tally = matrix(&MODES, |version, mode, tally| level_2("fx", &["stacks", "1"], version, mode, tally));
    tally.check(4_500 * VERSIONS.len() * MODES.len());
}

#[test]
fn arguments_are_those_of_sigquit() {
    let tally = matrix(&Mode::ALL, |version, mode, tally| level_2("arguments", &[], version, mode, tally));
    tally.check(10_000 * VERSIONS.len() * Mode::ALL.len());
}

/// Compares all goroutines at the level of SIGQUIT.
fn level_2(program: &str, args: &[&str], version: &str, mode: Mode, tally: &mut Tally) {
    let program = Fixture::new(program, version, mode).env("GOTRACEBACK", "system").run(args);
    let moves = |g: &DumpGoroutine| g.id == 0 || g.state == "running" || g.functions().contains(&"runtime.bgscavenge");
    let ours = settled(&program, moves);
    let own = program.sigquit_dump();
    let compared = compare_dumps(&own, &ours, moves, tally);
    let left_out = by_id(&own).len() - compared;
    tally.holds(format!("{left_out} goroutines left out"), left_out <= 4);
}

/// The list that the unit tests of `gospy::go_names` go by is what the toolchains say.
#[test]
fn the_standard_library_is_what_go_list_says() {
    let mut listed = std::collections::BTreeSet::new();
    for version in VERSIONS {
        let toolchain = crate::support::fixture::script("toolchain", &[version]);
        let scratch = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new(toolchain.join("bin/go"));
        command.args(["list", "std"]).env("GOTOOLCHAIN", "local").env("GOROOT", &toolchain).current_dir("/");
        let output = command.env("GOCACHE", scratch.path()).env("HOME", scratch.path()).output().unwrap();
        assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
        let packages = String::from_utf8(output.stdout).unwrap();
        assert!(packages.lines().count() > 200, "{version}: {packages}");
        listed.extend(packages.lines().map(str::to_owned));
    }
    let checked_in: Vec<&str> = include_str!("../../src/go_names/standard_packages.txt").lines().collect();
    assert_eq!(Vec::from_iter(&listed), Vec::from_iter(&checked_in));
}
