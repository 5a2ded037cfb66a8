//! `heap` and `contention` against the profiles that the program writes of itself, record by record in text, and
//! as `go tool pprof` reads them.

use std::collections::BTreeMap;

use crate::profiles::pprof;
use crate::support::core_dump::gcore;
use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, gospy};

/// A started fixture, and a directory for profiles.
struct Sites {
    running: Running,
    directory: tempfile::TempDir,
}

impl Sites {
    fn start(version: &str, mode: Mode, arguments: &[&str]) -> Self {
        let running = Fixture::start("sites", version, mode, arguments);
        Self { running, directory: tempfile::tempdir().unwrap() }
    }

    fn pid(&self) -> String {
        self.running.pid().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// What the program writes of itself, as text.
    fn own(&mut self, name: &str) -> String {
        let path = self.own_file(name, 1);
        std::fs::read_to_string(path).unwrap()
    }

    fn own_file(&mut self, name: &str, debug: u32) -> String {
        let path = self.path(&format!("{name}.{debug}"));
        assert_eq!(self.running.ask(&format!("{name} {debug} {path}")), serde_json::Value::Null);
        path
    }
}

/// A record: what is before its `@`, and the lines of its frames.
type Record = (String, String);

/// The records of a list, by their addresses; there may be several of one stack, of objects of different sizes.
fn records(text: &str) -> BTreeMap<String, Vec<Record>> {
    let mut records: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    let mut last: Option<String> = None;
    for line in text.lines() {
        if line.starts_with("# runtime.MemStats") {
            break;
        }
        if let Some((values, stack)) = line.split_once(" @ 0x") {
            records.entry(stack.to_owned()).or_default().push((values.to_owned(), String::new()));
            last = Some(stack.to_owned());
        } else if line.starts_with("#\t") {
            let frames = &mut records.get_mut(last.as_ref().unwrap()).unwrap().last_mut().unwrap().1;
            // Columns are aligned by tabs.
            let words: Vec<&str> = line.split('\t').filter(|word| !word.is_empty()).collect();
            frames.push_str(&format!("{}\n", words.join(" ")));
        }
    }
    // What was allocated since the last collection but one is in the list already, but not its numbers.
    records.retain(|_, same| {
        same.retain(|(values, _)| values != "0: 0 [0: 0]");
        same.sort();
        !same.is_empty()
    });
    records
}

fn compare(tally: &mut Tally, what: &str, own: &str, ours: &str) -> usize {
    let (own, ours) = (records(own), records(ours));
    for (stack, want) in &own {
        tally.equal(format!("{what}, records of {stack}"), Some(want), ours.get(stack));
    }
    for stack in ours.keys() {
        tally.holds(format!("{what}: {stack} is one of the program's"), own.contains_key(stack));
    }
    own.values().map(Vec::len).sum()
}

/// What `pprof -raw` prints of samples: values, labels and locations with all that is known of them.
fn samples(path: &str) -> Vec<String> {
    let text = pprof(&["-raw", path]);
    let (samples, rest) = text.split_once("\nLocations\n").unwrap();
    let (locations, _) = rest.split_once("\nMappings\n").unwrap();
    let mut places: BTreeMap<&str, String> = BTreeMap::new();
    let mut last = "";
    for line in locations.lines() {
        match line.trim_start().split_once(": 0x") {
            Some((id, place)) => {
                last = id;
                places.insert(id, format!("0x{place}"));
            }
            None => places.get_mut(last).unwrap().push_str(&format!(" < {}", line.trim())),
        }
    }
    let (_, samples) = samples.split_once("Samples:\n").unwrap();
    let mut out: Vec<String> = Vec::new();
    for line in samples.lines().skip(1) {
        match line.split_once(':') {
            Some((values, ids)) if !line.starts_with("                ") => {
                let stack: Vec<&str> = ids.split_whitespace().map(|id| places[id].as_str()).collect();
                out.push(format!("{} {}", values.trim(), stack.join(" | ")));
            }
            _ => out.last_mut().unwrap().push_str(&format!(" {}", line.trim())),
        }
    }
    out.retain(|sample| sample.split_whitespace().take(4).any(|value| value != "0"));
    out.sort();
    out
}

/// The rows of `pprof -top`.
fn top(path: &str) -> Vec<String> {
    let text = pprof(&["-top", "-nodecount=1000000", "-nodefraction=0", "-unit=B", path]);
    let rows = text.lines().skip_while(|line| !line.contains("flat%")).skip(1);
    let mut rows: Vec<String> = rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    // At the usual rate chance decides how many sites are sampled.
    assert!(!rows.is_empty(), "{text}");
    rows.sort();
    rows
}

#[test]
fn the_heap_profile_is_the_programs_own() {
    let mut all = Tally::new("heap profile");
    let mut found = 0;
    for version in VERSIONS {
        let mut cases = vec![("1", Mode::Sw), ("4096", Mode::Default), ("default", Mode::Sw)];
        // Linked otherwise, the variables and the code are elsewhere.
        match version {
            "1.19" | "1.27.3" => cases.extend([("1", Mode::PieSw), ("1", Mode::CgoSw), ("4096", Mode::Pie)]),
            "1.24.11" => cases.extend([("1", Mode::CgoPieSw), ("4096", Mode::Cgo)]),
            _ => {}
        }
        for (rate, mode) in cases {
            let mut sites = Sites::start(version, mode, &[rate]);
            let mut tally = Tally::new(format!("{version} {} rate {rate}", mode.name()));
            let list = |sites: &Sites| gospy(&["heap", "--pid", &sites.pid(), "--text"]).ok();
            found += compare(&mut tally, "as it starts", &sites.own("heap"), &list(&sites));
            for profile in ["heap", "allocs"] {
                let own = sites.own_file(profile, 0);
                let ours = sites.path("ours");
                let alloc: &[&str] = if profile == "allocs" { &["--alloc"] } else { &[] };
                gospy(&[&["heap", "--pid", &sites.pid(), "--profile", &ours], alloc].concat()).ok();
                tally.equal(format!("samples of {profile}"), samples(&own), samples(&ours));
                tally.equal(format!("top of {profile}"), top(&own), top(&ours));
            }
            // What it has allocated meanwhile shows after it was collected.
            sites.running.ask("more 40");
            sites.running.ask("gc");
            found += compare(&mut tally, "later", &sites.own("heap"), &list(&sites));
            all.add(tally);
        }
    }
    all.check(found);
    assert!(found > 3_000, "{found} records");
}

/// The rates of contention: two ways of sampling, and locks of the runtime itself from 1.22 on.
#[test]
fn the_profiles_of_contention_are_the_programs_own() {
    let mut all = Tally::new("contention");
    let (mut found, mut clocks) = (0, Vec::new());
    for version in VERSIONS {
        let mut cases = vec![(["1", "1"], Mode::Sw), (["1000", "2"], Mode::Default)];
        if matches!(version, "1.19" | "1.27.3") {
            cases.extend([(["1", "1"], Mode::PieSw), (["1", "1"], Mode::CgoSw)]);
        }
        for (rates, mode) in cases {
            let mut sites = Sites::start(version, mode, &["default", rates[0], rates[1]]);
            let mut tally = Tally::new(format!("{version} rates {rates:?}"));
            // The runtime's own locks are taken by whatever runs, also while the program writes its profiles, and a
            // thread writes down later what it waited for them.
            let steady = |text: &str| -> String {
                let records = text.split_inclusive("\n\n");
                records.filter(|record| record.contains("main.block")).collect()
            };
            let pid = sites.pid();
            let contention = |format: &str| gospy(&["contention", "--pid", &pid, format]).ok();
            let mut tries = 5;
            let (text, json, own) = loop {
                let (text, json, again) = (contention("--text"), contention("--json"), contention("--text"));
                let own = [sites.own("block"), sites.own("mutex")];
                let (block, mutex) = text.split_once("--- mutex:").unwrap();
                let is_same = records(&text) == records(&again)
                    && records(&steady(block)) == records(&steady(&own[0]))
                    && records(&steady(mutex)) == records(&steady(&own[1]));
                tries -= 1;
                if is_same || tries == 0 {
                    break (text, json, own);
                }
            };
            let (block, mutex) = text.split_once("--- mutex:").unwrap();
            sums_are_those_of_the_records(&mut tally, &json, &text, version == "1.19");
            found += compare(&mut tally, "block", &steady(&own[0]), &steady(block));
            found += compare(&mut tally, "mutex", &steady(&own[1]), &steady(mutex));
            let ticks = |text: &str| -> f64 {
                text.lines().find_map(|line| line.strip_prefix("cycles/second=")).unwrap().parse().unwrap()
            };
            clocks.push([ticks(block), ticks(&own[0])]);
            let fraction = format!("sampling period={}\n", rates[1]);
            tally.holds("the fraction is printed", mutex.contains(&fraction) && own[1].contains(&fraction));
            all.add(tally);
        }
    }
    // The program measures its clock once, over 5 ms where it sets a rate at its start (100 ms to 1.19), and may be
    // interrupted at both ends: one measurement says little, most of them are right. Each of ours has to be.
    clocks.sort_by(|[_, a], [_, b]| a.total_cmp(b));
    let own = clocks[clocks.len() / 2][1];
    for [ours, _] in clocks {
        all.between("ticks of the clock", 0.999 * own, ours, 1.001 * own);
    }
    all.check(found);
    assert!(found > 100, "{found} records");
}

/// The places of the JSON add up to the records of the list, which are compared with the program's own.
fn sums_are_those_of_the_records(tally: &mut Tally, json: &str, list: &str, unscaled: bool) {
    let (block, mutex) = list.split_once("--- mutex:").unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    for (kind, list) in [("block", block), ("mutex", mutex)] {
        let profile = &json[kind];
        // To 1.20 the list has what was sampled of locks, and not what that stands for.
        let scale = if unscaled && kind == "mutex" { profile["rate"].as_u64().unwrap() } else { 1 };
        let all = profile["places"].as_array().unwrap();
        // The runtime's own locks are taken by whatever runs, and what waits for commands waits on.
        let places = all.iter().filter(|place| {
            let function = place["place"]["function"].as_str().unwrap_or_default();
            function.starts_with("main.") && function != "main.main"
        });
        let (mut events, mut ns, mut ticks, mut count) = (0, 0, 0, 0);
        for place in places {
            events += place["events"].as_u64().unwrap();
            ns += place["waited_ns"].as_u64().unwrap();
            ticks += place["waited_ticks"].as_u64().unwrap();
            count += 1;
        }
        let mut want = (0, 0);
        let lines = list.lines().collect::<Vec<_>>();
        for (at, line) in lines.iter().enumerate() {
            let Some((values, _)) = line.split_once(" @ 0x") else { continue };
            let mut frames = lines.iter().skip(at + 1).take_while(|line| line.starts_with("#\t"));
            // The place is the innermost of the program's own functions.
            let place = frames.find_map(|line| line.split_once("main."));
            if place.is_none_or(|(_, function)| function.starts_with("main+")) {
                continue;
            }
            let mut values = values.split(' ').map(|value| value.parse::<u64>().unwrap());
            want.0 += scale * values.next().unwrap();
            want.1 += scale * values.next().unwrap();
        }
        tally.holds(format!("{kind}: there are places"), count > 0);
        tally.equal(format!("{kind}: ticks and events"), want, (ticks, events));
        let seconds = ticks as f64 / profile["ticks_per_second"].as_f64().unwrap();
        tally.between(format!("{kind}: seconds"), seconds - 1e-6, ns as f64 / 1e9, seconds + 1e-6);
    }
}

/// Spans by size class against `MemStats.BySize`, which the program makes of other numbers: of what its Ps and its
/// sweepers have counted.
#[test]
fn size_classes_are_those_of_the_programs_memstats() {
    let mut all = Tally::new("size classes");
    for version in VERSIONS {
        for mode in [Mode::Sw, Mode::Default] {
            let mut sites = Sites::start(version, mode, &["default"]);
            let mut tally = Tally::new(format!("{version} {}", mode.name()));
            // Nothing is freed between the two, but the answers are put together.
            let before = sites.running.ask("memstats");
            let ours = gospy(&["heap", "--pid", &sites.pid(), "--json"]).ok();
            let after = sites.running.ask("memstats");
            let ours: serde_json::Value = serde_json::from_str(&ours).unwrap();
            let classes = ours["heap"]["size_classes"].as_array().unwrap();
            let number = |value: &serde_json::Value| value.as_u64().unwrap();
            for index in 1..61 {
                let objects = |stats: &serde_json::Value| {
                    let class = &stats["BySize"][index];
                    number(&class["Mallocs"]) - number(&class["Frees"])
                };
                let found = classes.iter().find(|class| number(&class["class"]) == index as u64);
                let have = found.map_or(0, |class| number(&class["objects"]));
                tally.between(format!("objects of class {index}"), objects(&before), have, objects(&after));
                if let Some(found) = found {
                    let size = number(&before["BySize"][index]["Size"]);
                    tally.equal(format!("size of class {index}"), size, number(&found["object_bytes"]));
                }
            }
            let spans: u64 = classes.iter().map(|class| number(&class["span_bytes"])).sum();
            tally.equal("spans are all that is in use", number(&ours["heap"]["in_use_bytes"]), spans);
            all.add(tally);
        }
    }
    all.check(8 * 2 * 60);
}

/// A core file holds all of it: the same records as the process.
#[test]
fn a_core_file_has_the_profiles_of_the_process() {
    for version in ["1.19", "1.27.3"] {
        let sites = Sites::start(version, Mode::Sw, &["1", "1", "1"]);
        let live = gospy(&["heap", "--pid", &sites.pid(), "--text"]).ok();
        let core = gcore(sites.running.pid(), sites.directory.path()).display().to_string();
        let dead = gospy(&["heap", "--from", &core, "--text"]).ok();
        let (live, dead) = (records(&live), records(&dead));
        assert!(live.len() > 50, "{version}: {}", live.len());
        assert_eq!(live, dead, "{version}");
        let text = gospy(&["heap", "--from", &core]).ok();
        assert!(text.contains("\nSize classes") && text.contains("main.sized"), "{text}");
        // The clock of the machine that it was is not known.
        let text = gospy(&["contention", "--from", &core]).ok();
        assert!(text.contains("TICKS") && text.contains("main.lock"), "{text}");
    }
}

/// Programs that hold nothing to read the profile with have none, on every version.
#[test]
fn a_profile_that_was_left_out_is_told_from_an_empty_one() {
    for version in VERSIONS {
        let running = Fixture::start("tiny", version, Mode::Sw, &[]);
        let output = gospy(&["heap", "--pid", &running.pid().to_string(), "--text"]);
        assert!(output.stderr.contains("the linker left it out"), "{version}: {output:?}");
    }
    let sites = Sites::start("1.26.6", Mode::Sw, &["0"]);
    let text = gospy(&["heap", "--pid", &sites.pid()]).ok();
    assert!(!text.contains("the linker") && text.contains("Allocation sites"), "{text}");
}

/// While the program allocates and collects without pause, what it has kept from the start is the same in every
/// reading: no count is torn, or of another cycle.
#[test]
fn what_is_kept_does_not_change_while_the_program_collects() {
    let mut all = Tally::new("churn");
    for version in VERSIONS {
        let mut sites = Sites::start(version, Mode::Sw, &["1"]);
        let mut tally = Tally::new(version);
        let kept = |sites: &Sites| -> BTreeMap<String, Vec<Record>> {
            let output = gospy(&["heap", "--pid", &sites.pid(), "--text"]);
            assert!(!output.stderr.contains("warning"), "{version}: {}", output.stderr);
            let mut records = records(&output.ok());
            let is_kept = |(_, frames): &Record| frames.contains(" main.allocate+") && !frames.contains("main.garbage");
            records.retain(|_, same| same.iter().all(is_kept));
            records
        };
        let before = kept(&sites);
        assert!(before.len() > 50, "{version}: {}", before.len());
        let cycles = |sites: &mut Sites| sites.running.ask("memstats")["NumGC"].as_u64().unwrap();
        sites.running.ask("churn");
        let from = cycles(&mut sites);
        for reading in 0..15 {
            tally.equal(format!("reading {reading}"), &before, &kept(&sites));
        }
        tally.holds("it has collected all the time", cycles(&mut sites) > from + 15);
        all.add(tally);
    }
    all.check(8 * 15);
}
