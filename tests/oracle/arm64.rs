//! arm64: stacks out of core files against what the programs say of themselves as they die, byte by byte with
//! arguments and addresses. The programs run under QEMU.

use crate::support::compare::compare_dumps;
use crate::support::{DumpGoroutine, Fixture, Mode, Tally, VERSIONS, gospy, qemu};

/// Compares the goroutines of a program; what runs goes on while the dump is made, and so does the scavenger,
/// which wakes up by itself. Goroutine 0 is a scheduler's.
fn compare(program: &str, args: &[&str], least: usize, tally: &mut Tally) {
    for version in VERSIONS {
        for mode in [Mode::Default, Mode::Sw] {
            let mut this = Tally::new(format!("{program} {version} {}", mode.name()));
            let path = Fixture::build_arm64(program, version, mode);
            let dir = tempfile::tempdir().unwrap();
            let dead = qemu::die(&path, dir.path(), args);
            let (core, bin) = (dead.core.to_str().unwrap(), path.to_str().unwrap());
            let ours = gospy(&["stack", "--from", core, "--bin", bin, "--all", "--system"]).ok();
            let scavenges = |g: &DumpGoroutine| g.functions().iter().any(|function| function.contains("scavenge"));
            let skip = |g: &DumpGoroutine| g.id == 0 || g.state == "running" || scavenges(g);
            let compared = compare_dumps(&without_registers(&dead.said), &ours, skip, &mut this);
            this.holds(format!("only {compared} goroutines"), compared > least);
            tally.add(this);
        }
    }
}

/// Threads print their registers right after the last goroutine, as `r0      0x1`.
fn without_registers(said: &str) -> String {
    let is_register = |line: &&str| {
        let mut words = line.split_whitespace();
        let (name, value) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let named = matches!(name, "lr" | "sp" | "pc" | "fault")
            || name.strip_prefix('r').is_some_and(|n| n.parse::<u8>().is_ok());
        named && value.starts_with("0x") && words.next().is_none()
    };
    said.lines().filter(|line| !is_register(line)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn stacks_are_those_that_the_program_prints() {
    let mut tally = Tally::new("arm64");
    compare("fx", &["stacks", "1"], 100, &mut tally);
    tally.check(60_000);
}

#[test]
fn arguments_are_those_that_the_program_prints() {
    let mut tally = Tally::new("arm64");
    compare("arguments", &[], 190, &mut tally);
    tally.check(200_000);
}
