//! `gospy var` against what programs print of their own variables.

use std::collections::BTreeMap;

use crate::support::core_dump::gcore;
use crate::support::{Fixture, Mode, Tally, VERSIONS, gospy};

/// What gospy prints of variables, by name; without the type.
fn printed(output: &str) -> BTreeMap<String, String> {
    let lines = output.lines().filter_map(|line| {
        let (head, value) = line.split_once(" = ")?;
        Some((head.split(' ').next()?.to_owned(), value.to_owned()))
    });
    lines.collect()
}

fn truth(running: &mut crate::support::Running) -> BTreeMap<String, String> {
    serde_json::from_value(running.ask("truth")).unwrap()
}

fn compare(tally: &mut Tally, want: &BTreeMap<String, String>, have: &BTreeMap<String, String>) {
    for (name, want) in want {
        tally.equal(name.as_str(), Some(want), have.get(name));
    }
}

#[test]
fn variables_hold_what_the_program_prints_of_them() {
    let mut all = Tally::new("variables");
    for version in VERSIONS {
        for mode in [Mode::Default, Mode::Pie, Mode::Cgo] {
            let mut tally = Tally::new(format!("{version} {}", mode.name()));
            let mut running = Fixture::start("variables", version, mode, &[]);
            let want = truth(&mut running);
            let names: Vec<&str> = want.keys().map(String::as_str).collect();
            let pid = running.pid().to_string();
            let output = gospy(&[&["var", "--pid", &pid], names.as_slice()].concat()).ok();
            compare(&mut tally, &want, &printed(&output));
            all.add(tally);
        }
    }
    all.check(8 * 3 * 52);
}

/// A stripped program, with a binary of the same build; and core files.
#[test]
fn a_binary_of_the_same_build_has_the_names_of_a_stripped_program() {
    let mut all = Tally::new("stripped variables");
    for version in ["1.19", "1.27.3"] {
        let mut tally = Tally::new(version);
        let (_directory, stripped, with) = Fixture::stripped("variables", version);
        let mut running = Fixture::of(&stripped).run(&[]);
        let want = truth(&mut running);
        let pid = running.pid().to_string();
        let bin = with.display().to_string();
        let names: Vec<&str> = want.keys().map(String::as_str).collect();
        let found = gospy(&["var", "--pid", &pid, "main.anInt"]);
        assert!(found.code() == 1 && found.stderr.contains("--bin FILE"), "{found:?}");
        let output = gospy(&[&["var", "--pid", &pid, "--bin", &bin], names.as_slice()].concat()).ok();
        compare(&mut tally, &want, &printed(&output));
        all.add(tally);
    }
    let mut tally = Tally::new("core file");
    let mut running = Fixture::start("variables", "1.26.6", Mode::Default, &[]);
    let want = truth(&mut running);
    let directory = tempfile::tempdir().unwrap();
    let core = gcore(running.pid(), directory.path()).display().to_string();
    let names: Vec<&str> = want.keys().map(String::as_str).collect();
    let output = gospy(&[&["var", "--from", &core], names.as_slice()].concat()).ok();
    compare(&mut tally, &want, &printed(&output));
    all.add(tally);
    all.check(3 * 52);
}

/// A capture has no DWARF, and of variables those with pointers, where it is taken with the heap: what it has is what
/// the program says, and what it does not have is said and never made up.
#[test]
fn captures_have_the_variables_that_a_mark_reads() {
    let mut all = Tally::new("variables in captures");
    let directory = tempfile::tempdir().unwrap();
    for version in VERSIONS {
        let mut tally = Tally::new(version);
        let mut running = Fixture::start("variables", version, Mode::Default, &[]);
        let want = truth(&mut running);
        let pid = running.pid().to_string();
        let bin = Fixture::build("variables", version, Mode::Default).display().to_string();
        let path = |name: &str| directory.path().join(format!("{version}-{name}")).display().to_string();
        let (plain, heap) = (path("plain"), path("heap"));
        gospy(&["capture", "--pid", &pid, "-o", &plain]).ok();
        gospy(&["capture", "--pid", &pid, "-o", &heap, "--heap"]).ok();
        let names: Vec<&str> = want.keys().map(String::as_str).collect();
        let var = |from: &str, bin: &[&str]| gospy(&[&["var", "--from", from], bin, names.as_slice()].concat());
        // Neither is damaged: it is what captures are.
        for from in [&plain, &heap] {
            let found = var(from, &[]);
            let said = found.code() == 1 && found.stdout.is_empty() && found.stderr.contains("--bin FILE");
            tally.holds(format!("{from} without a binary: {found:?}"), said);
        }
        let found = gospy(&["var", "main.anInt", "--from", &plain, "--bin", &bin]);
        let said = found.code() == 1 && found.stdout.is_empty() && found.stderr.contains("gospy capture --heap");
        tally.holds(format!("without the heap: {found:?}"), said);
        let have = printed(&var(&heap, &["--bin", &bin]).ok());
        let mut there = 0;
        for (name, want) in &want {
            let have = have.get(name).map_or("", String::as_str);
            // What is on the heap without pointers, the program's types, and functions are not there: of these it
            // says no more than an address.
            let unknown = ["unreadable", "a type that is not known"].iter().any(|text| have.contains(text));
            let partly = unknown || have.split(' ').all(|word| word.starts_with("0x") && want != have);
            there += u32::from(!partly);
            tally.holds(format!("{name} is {want}, not {have}"), partly || have == want);
        }
        tally.between("variables that are there", 5, there, u32::MAX);
        all.add(tally);
    }
    all.check(8 * 55);
}

#[test]
fn without_dwarf_it_says_what_would_help() {
    for mode in [Mode::W, Mode::Sw] {
        let running = Fixture::start("variables", "1.26.6", mode, &[]);
        let found = gospy(&["var", "--pid", &running.pid().to_string(), "main.anInt"]);
        assert!(found.code() == 1 && found.stdout.is_empty(), "{found:?}");
        assert!(found.stderr.contains("without DWARF") && found.stderr.contains("--bin FILE"), "{found:?}");
    }
}

#[test]
fn limits_names_and_json() {
    let running = Fixture::start("variables", "1.26.6", Mode::Default, &[]);
    let pid = running.pid().to_string();
    let var = |arguments: &[&str]| gospy(&[&["var", "--pid", &pid], arguments].concat());
    let text = var(&["many", "--limit", "2"]).ok();
    assert!(text.starts_with("main.many []uint8 len 1,000, cap 2,000 = [0 0 … 998 more]"), "{text}");
    assert!(var(&["many", "--limit", "0"]).ok().contains("= [… 1,000 elements]"));
    let text = var(&["circle", "--depth", "16"]).ok();
    assert_eq!(text.matches("Name:").count(), 8, "{text}");
    assert!(var(&["settings", "--depth", "1"]).ok().contains("Place:…"), "nothing below");
    // What is there is printed, and what is not is an error.
    let found = var(&["anInt", "no.such", "main.number"]);
    assert_eq!(found.code(), 1, "{found:?}");
    assert_eq!(found.stdout, "main.anInt int = -42\nmain.number int = 7\n");
    assert!(
        found.stderr.contains("no package variable no.such") && !found.stderr.contains("did you mean"),
        "{found:?}"
    );
    // Another case, another package, a slip of the keyboard.
    let found = var(&["AnInt", "other/package.settings", "main.mnay"]);
    let (_, meant) = found.stderr.split_once("\ndid you mean ").unwrap();
    assert!(["main.anInt", "main.many", "main.settings"].iter().all(|name| meant.contains(name)), "{meant}");
    assert!(!meant.contains("main.anInt8"), "one that is less near: {meant}");
    let json = var(&["settings", "current", "queue", "named", "--json"]).json();
    let variables = json["variables"].as_array().unwrap();
    assert_eq!(variables[0]["type"], "main.config");
    let fields = variables[0]["value"]["fields"].as_array().unwrap();
    assert_eq!((&fields[0]["name"], &fields[0]["value"]["text"]), (&"Name".into(), &"prod".into()));
    assert_eq!(fields[4]["value"]["fields"][1]["value"]["text"], "-2");
    assert_eq!(variables[1]["value"]["value"]["fields"][0]["value"]["text"], "3");
    assert_eq!((variables[2]["value"]["len"].as_u64(), variables[2]["value"]["cap"].as_u64()), (Some(2), Some(5)));
    assert_eq!(variables[3]["value"]["type"], "*main.point");
    assert_eq!(var(&["main.anInt", "--depth", "17"]).code(), 2);
}

/// Headers that point anywhere and lengths that cannot be: an answer in bounded time, and nothing made up.
#[test]
fn wild_headers_are_unreadable_and_harmless() {
    for version in ["1.19", "1.23.9", "1.27.3"] {
        let mut running = Fixture::start("variables", version, Mode::Default, &[]);
        let pid = running.pid().to_string();
        running.ask("wild");
        let names = [
            "text", "long", "integers", "words", "toNumber", "table", "queue", "callback", "anything", "named",
            "requests",
        ];
        let started = std::time::Instant::now();
        let arguments = ["var", "--pid", &pid, "--depth", "16", "--limit", "10000"];
        let output = gospy(&[&arguments, names.as_slice()].concat()).ok();
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
        let have = printed(&output);
        for name in ["text", "long", "integers", "words"] {
            assert_eq!(have[&format!("main.{name}")], "unreadable", "{version}: {output}");
        }
        for (name, at) in [("toNumber", "0xdeadbeef0000"), ("requests", "0x7")] {
            assert_eq!(have[&format!("main.{name}")], format!("{at} → unreadable"), "{version}: {output}");
        }
        for name in ["table", "queue", "callback"] {
            let value = &have[&format!("main.{name}")];
            assert!(value.contains("0x") && !value.contains("key"), "{version}: {output}");
        }
        for name in ["anything", "named"] {
            let value = &have[&format!("main.{name}")];
            assert!(value.starts_with("a type that is not known("), "{version}: {output}");
        }
        assert_eq!(have.len(), names.len(), "{output}");
    }
}
