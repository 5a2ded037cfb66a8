//! Goroutines that wait for each other, and what leaked ones keep: against what the fixture knows of itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::support::core_dump::gcore;
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
    let mut all = Tally::new("kept");
    for version in ["1.19", "1.22.10", "1.24.11", "1.27.3"] {
        let mut running = Fixture::start("kept", version, Mode::Sw, &[]);
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
        let one = |id: u64| json(0, &["why", &pid, "--goid", &id.to_string(), "--leaks", "--freeze=all", "--json"]);
        let locked = truth.deadlocks.values().next().and_then(|ids| ids.first()).copied().unwrap();
        let why = one(locked);
        tally.equal(
            "one in a deadlock",
            (true, "deadlock"),
            (why["chain"]["leaked"] == true, why["certain"][0]["code"].as_str().unwrap()),
        );
        let main = one(1);
        tally.equal("main", (false, 0), (main["chain"]["leaked"] == true, main["certain"].as_array().unwrap().len()));
        let check = json(7, &["check", "--pid", &pid, "--no-leaks", "--freeze=all", "--json"]);
        let offenders = check["rules"][0]["offenders"].as_array().unwrap();
        let locked = offenders.iter().filter(|offender| offender["finding"] == "deadlock");
        let locked: BTreeSet<u64> = locked.flat_map(|offender| ids(&offender["ids"])).collect();
        tally.equal("in check", truth.deadlocks.values().flatten().copied().collect::<BTreeSet<u64>>(), locked);
        if version == "1.27.3" {
            let directory = tempfile::tempdir().unwrap();
            let core = gcore(running.pid(), directory.path());
            let found = json(0, &["leaks", "--from", core.to_str().unwrap(), "--json"]);
            tally.equal("proof", "core_file", found["leaks"]["proof"].as_str().unwrap());
            kept_bytes(&mut tally, &found["leaks"], &truth);
            let check = gospy(&["check", "--from", core.to_str().unwrap(), "--no-leaks"]);
            tally.equal("status for a core file", 7, check.code());
        }
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

/// Under load the program runs on while the heap is read: what is found then is confirmed, and says so, and what
/// the groups keep adds up.
#[test]
fn a_server_under_load_fails_the_rule_with_what_is_confirmed() {
    let mut running = Fixture::start("leaks", "1.24.11", Mode::Sw, &["server", "24"]);
    let known: BTreeSet<u64> =
        running.ask("truth")["leaked"].as_object().unwrap().keys().map(|id| id.parse().unwrap()).collect();
    let pid = running.pid().to_string();
    let check = json(7, &["check", "--pid", &pid, "--no-leaks", "--json"]);
    let rule = &check["rules"][0];
    let offenders = rule["offenders"].as_array().unwrap();
    let found: u64 = offenders.iter().filter_map(|offender| offender["count"].as_u64()).sum();
    assert_eq!(found, known.len() as u64, "{rule}");
    let grade = rule["grade"].as_str().unwrap();
    assert!(rule["message"].as_str().unwrap().contains(&format!("({grade}")), "{rule}");
    let leaks = &json(0, &["leaks", "--pid", &pid, "--json"])["leaks"];
    let groups = leaks["groups"].as_array().unwrap();
    let alone: u64 = groups.iter().map(|group| group["heap_bytes"].as_u64().unwrap()).sum();
    assert_eq!(alone + leaks["shared_heap_bytes"].as_u64().unwrap(), leaks["heap_bytes"].as_u64().unwrap());
    assert!(leaks["deadlocks"].is_array(), "{leaks}");
}
