//! Goroutines that wait for each other, and what leaked ones keep: against what the fixture knows of itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::support::{Fixture, Mode, Tally, gospy};

#[derive(Deserialize)]
struct Truth {
    deadlocks: BTreeMap<String, BTreeSet<u64>>,
    others: BTreeMap<String, BTreeSet<u64>>,
    kept: BTreeMap<String, u64>,
    shared: u64,
}

fn ids(list: &Value) -> BTreeSet<u64> {
    list.as_array().unwrap().iter().filter_map(Value::as_u64).collect()
}

fn json(code: i32, args: &[&str]) -> Value {
    let output = gospy(args);
    assert_eq!(output.code(), code, "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn deadlocks_and_kept_bytes_are_what_the_program_knows() {
    let mut all = Tally::new("deadlocks");
    for version in ["1.19", "1.22.10", "1.24.11", "1.27.3"] {
        let mut running = Fixture::start("deadlocks", version, Mode::Sw, &[]);
        let truth: Truth = serde_json::from_value(running.ask("truth")).unwrap();
        let pid = running.pid().to_string();
        for freeze in [&["--freeze=all"][..], &[]] {
            let mut tally = Tally::new(format!("{version} {freeze:?}"));
            let found = json(0, &[&["leaks", "--pid", &pid, "--json"], freeze].concat());
            let leaks = &found["leaks"];
            tally.equal("grade", "certain", leaks["grade"].as_str().unwrap());
            let deadlocks = leaks["deadlocks"].as_array().unwrap();
            let deadlocks: BTreeSet<BTreeSet<u64>> = deadlocks.iter().map(|one| ids(&one["goroutines"])).collect();
            for (kind, ids) in &truth.deadlocks {
                tally.holds(format!("{kind}: {ids:?} of {deadlocks:?}"), deadlocks.contains(ids));
            }
            tally.equal("deadlocks", truth.deadlocks.len(), deadlocks.len());
            let leaked: BTreeSet<u64> =
                leaks["groups"].as_array().unwrap().iter().flat_map(|group| ids(&group["goroutines"])).collect();
            for (kind, ids) in &truth.others {
                tally.holds(format!("{kind} is leaked"), ids.is_subset(&leaked));
            }
            kept_bytes(&mut tally, leaks, &truth);
            all.add(tally);
        }
        let mut tally = Tally::new(format!("{version} why and check"));
        let why = json(0, &["why", &pid, "--leaks", "--freeze=all", "--json"]);
        let of = |code: &str| -> Vec<BTreeSet<u64>> {
            let found = why["certain"].as_array().unwrap().iter().filter(|found| found["code"] == code);
            found.map(|found| ids(&found["goroutine_ids"])).collect()
        };
        tally.equal(
            "in why",
            truth.deadlocks.values().cloned().collect::<BTreeSet<_>>(),
            of("deadlock").into_iter().collect::<BTreeSet<_>>(),
        );
        tally.equal("the rest in why", 1, of("never_wakes").len());
        for found in why["likely"].as_array().unwrap() {
            tally.holds(format!("{found} is proven"), found["code"] != "likely_deadlock");
        }
        let check = json(7, &["check", "--pid", &pid, "--no-leaks", "--freeze=all", "--json"]);
        let offenders = check["rules"][0]["offenders"].as_array().unwrap();
        let locked = offenders.iter().filter(|offender| offender["finding"] == "deadlock");
        let locked: BTreeSet<u64> = locked.flat_map(|offender| ids(&offender["ids"])).collect();
        tally.equal("in check", truth.deadlocks.values().flatten().copied().collect::<BTreeSet<u64>>(), locked);
        all.add(tally);
    }
    all.check(4 * 40);
}

/// The sizes that the program gives are those of its buffers; beside them are channels, closures and sudogs.
fn kept_bytes(tally: &mut Tally, leaks: &Value, truth: &Truth) {
    /// For each goroutine, bytes.
    const MORE: u64 = 2_000;
    let mut alone = 0;
    for group in leaks["groups"].as_array().unwrap() {
        let heap = group["heap_bytes"].as_u64().unwrap();
        alone += heap;
        let function = group["place"]["function"].as_str().unwrap();
        let wanted = truth.kept.get(function).copied().unwrap_or(0);
        let most = wanted + MORE * group["count"].as_u64().unwrap();
        tally.holds(format!("{function} keeps {heap} of {wanted}"), (wanted..most).contains(&heap));
    }
    for function in truth.kept.keys() {
        let is_there = leaks["groups"].as_array().unwrap().iter().any(|group| group["place"]["function"] == *function);
        tally.holds(format!("{function} is a group"), is_there);
    }
    let (shared, total) = (leaks["shared_heap_bytes"].as_u64().unwrap(), leaks["heap_bytes"].as_u64().unwrap());
    tally.equal("all", total, alone + shared);
    tally
        .holds(format!("{shared} shared of {}", truth.shared), (truth.shared..truth.shared + 30_000).contains(&shared));
}
