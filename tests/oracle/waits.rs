//! What gospy says that goroutines wait for, against what they say themselves: every field, in every version.
//!
//! `fixtures/waits` has goroutines that write down what they are about to wait for: addresses, lengths, types,
//! counts, descriptors, deadlines, and who holds the lock.

use std::collections::BTreeMap;

use crate::support::core_dump::gcore;
use crate::support::{Fixture, Mode, Running, Tally, gospy, matrix};
use serde_json::{Value, json};

/// How far a time of the wall clock may be from one of the runtime's, ns: they are read one after the other.
const CLOCKS_NS: i64 = 50_000_000;

/// The goroutines of a document by their ids, and its time, ns since the Unix epoch.
fn goroutines(document: &Value) -> (BTreeMap<u64, &Value>, i64) {
    let list = document["goroutines"]["list"].as_array().unwrap();
    let by_id = list.iter().map(|goroutine| (goroutine["id"].as_u64().unwrap(), goroutine)).collect();
    let at: jiff::Timestamp = document["captured_at"].as_str().unwrap().parse().unwrap();
    (by_id, i64::try_from(at.as_nanosecond()).unwrap())
}

/// The fields that are compared as they are.
const FIELDS: [&str; 17] = [
    "kind",
    "address",
    "waiting",
    "direction",
    "operation",
    "length",
    "capacity",
    "element_type",
    "closed",
    "senders",
    "receivers",
    "locked",
    "waiters",
    "readers",
    "waiting_readers",
    "writer_pending",
    "counter",
];

fn compare_fields(what: &str, own: &Value, seen: &Value, is_case: bool, tally: &mut Tally) {
    for field in FIELDS.into_iter().chain(["fd", "partner_id"]) {
        // A case is a channel, and does not say how many wait.
        if is_case && ["kind", "waiting"].contains(&field) {
            continue;
        }
        if let Some(own) = own.get(field) {
            tally.equal(format!("{what}: {field}"), own, &seen[field]);
        }
    }
}

fn compare_time(what: &str, own: &Value, seen_ns: Option<i64>, now_ns: i64, tally: &mut Tally) {
    let bound = |name: &str| own[name].as_i64().unwrap();
    let (low, high) = (bound("deadline_min_unix_ns") - CLOCKS_NS, bound("deadline_max_unix_ns") + CLOCKS_NS);
    let seen = seen_ns.map_or(i64::MIN, |left| now_ns + left);
    tally.between(format!("{what}: its deadline"), low, seen, high);
}

fn compare_timer(what: &str, own: &Value, seen: &Value, now_ns: i64, tally: &mut Tally) {
    let Some(own) = own.get("timer") else {
        if own["kind"] == "channel" {
            tally.equal(format!("{what}: no timer"), &Value::Null, &seen["timer"]);
        }
        return;
    };
    let seen = &seen["timer"];
    for field in ["source", "period_ns"] {
        tally.equal(format!("{what}: {field} of the timer"), &own[field], &seen[field]);
    }
    compare_time(&format!("{what}: timer"), own, seen["deadline_ns"].as_i64(), now_ns, tally);
}

/// Compares all that the goroutines say of themselves with a document.
fn compare(truth: &Value, document: &Value, tally: &mut Tally) {
    tally.equal("warnings", "[]", document["warnings"].to_string());
    let (seen, now_ns) = goroutines(document);
    for own in truth["waits"].as_array().unwrap() {
        let id = own["id"].as_u64().unwrap();
        let what = format!("goroutine {id} ({})", own["kind"].as_str().unwrap());
        let Some(seen) = seen.get(&id).map(|goroutine| &goroutine["waiting_on"]).filter(|seen| seen.is_object()) else {
            tally.wrong(format!("{what} waits for nothing"));
            continue;
        };
        tally.equal(format!("{what}: unknown"), &Value::Null, &seen["unknown"]);
        compare_fields(&what, own, seen, false, tally);
        compare_timer(&what, own, seen, now_ns, tally);
        if own.get("deadline_min_unix_ns").is_some() {
            compare_time(&what, own, seen["deadline_ns"].as_i64(), now_ns, tally);
        } else {
            tally.equal(format!("{what}: no deadline"), &Value::Null, &seen["deadline_ns"]);
        }
        if let Some(holders) = own.get("holders") {
            let ids = seen["likely_holders"].as_array().unwrap().iter().map(|holder| holder["goroutine_id"].clone());
            tally.equal(format!("{what}: holders"), holders, &Value::Array(ids.collect()));
        }
        compare_cases(&what, own, seen, now_ns, tally);
    }
}

fn compare_cases(what: &str, own: &Value, seen: &Value, now_ns: i64, tally: &mut Tally) {
    if own["kind"] != "select" {
        return;
    }
    let address = |case: &Value| u64::from_str_radix(&case["address"].as_str().unwrap()[2..], 16).unwrap();
    let mut cases = own.get("cases").and_then(Value::as_array).cloned().unwrap_or_default();
    cases.sort_by_key(address);
    let seen = seen["cases"].as_array().unwrap();
    tally.equal(format!("{what}: cases"), cases.len(), seen.len());
    for (own, seen) in cases.iter().zip(seen) {
        compare_fields(&format!("{what}: a case"), own, seen, true, tally);
        compare_timer(&format!("{what}: a case"), own, seen, now_ns, tally);
    }
}

fn summary(arguments: &[&str]) -> Value {
    gospy(&[&["summary", "--json"], arguments].concat()).json()
}

fn live(program: &Running) -> Value {
    summary(&["--pid", &program.pid().to_string()])
}

#[test]
fn every_wait_is_what_the_goroutine_says() {
    let tally = matrix(&[Mode::Default, Mode::Sw, Mode::PieSw, Mode::Cgo], |version, mode, tally| {
        let mut program = Fixture::start("waits", version, mode, &["2"]);
        let truth = program.ask("truth");
        compare(&truth, &live(&program), tally);
    });
    tally.check(250_000);
}

/// Of so many goroutines, channels and all else are followed at the same time. Each of eight kinds waits at the same place,
/// some for objects of their own.
#[test]
fn waits_of_many_are_those_of_their_places() {
    const EACH: u64 = 9_000;
    for version in ["1.19", "1.26.6"] {
        let program = Fixture::start("fx", version, Mode::Default, &["many", &(8 * EACH).to_string(), "-kinds", "8"]);
        let document = gospy(&["waits", "--json", "--pid", &program.pid().to_string()]).json();
        let (mut rows, mut goroutines) = (BTreeMap::<String, u64>::new(), 0);
        for row in ["waits", "others"].into_iter().flat_map(|list| document[list].as_array().unwrap()) {
            let places = row["places"].as_array().unwrap();
            let mut names = Vec::new();
            for place in places {
                let function = place["place"].as_str().unwrap().split(' ').next().unwrap();
                let Some(function) = function.strip_prefix("main.many") else { continue };
                names.push(format!(" {function} {}", place["count"]));
                goroutines += place["count"].as_u64().unwrap();
            }
            // As many goroutines wait at each: their ids say which place comes first, and the program's Ps give these.
            names.sort();
            let name = format!("{}{}", row["kind"].as_str().unwrap(), names.concat());
            let counted = ["waiters", "senders", "receivers"].map(|key| row["object"][key].as_u64());
            let own = counted.into_iter().flatten().max();
            assert!(own.is_none_or(|own| own == row["waiting"].as_u64().unwrap()), "{version}: {row}");
            *rows.entry(name).or_default() += 1;
        }
        let of = |row: &str, many: u64| (row.to_owned(), many);
        let expected: BTreeMap<String, u64> = [
            of(&format!("channel Receive {EACH} Select {EACH}"), 1),
            of(&format!("channel Select {EACH}"), 1),
            of("channel Send 1", EACH),
            of("mutex Mutex 1", EACH),
            of(&format!("cond Cond {EACH}"), 1),
            of(&format!("waitgroup WaitGroup {EACH}"), 1),
            of(&format!("sleep Sleep {EACH}"), 1),
            of(&format!("channel Nil {EACH}"), 1),
        ]
        .into();
        rows.retain(|name, _| name.contains(' '));
        assert_eq!(rows, expected, "{version}");
        assert_eq!(goroutines, 9 * EACH, "{version}: selects count twice");
        assert_eq!(document["unknown"].as_array().unwrap().len(), 0, "{version}");
    }
}

/// From Go 1.23 on channels name their timers, unless `asynctimerchan` says otherwise; a module of an older
/// version, as the fixture is, says so by default.
#[test]
fn timers_that_channels_name_and_those_that_they_do_not() {
    let tally = matrix(&[Mode::Default], |version, mode, tally| {
        // 1.27 knows no other way, and refuses the old one.
        let values: &[&str] = if version.starts_with("1.27") { &["0"] } else { &["0", "1"] };
        for value in values {
            let setting = format!("asynctimerchan={value}");
            let mut program = Fixture::new("waits", version, mode).env("GODEBUG", &setting).run(&["1"]);
            let truth = program.ask("truth");
            compare(&truth, &live(&program), tally);
        }
    });
    tally.check(60_000);
}

/// A capture and a core file hold what is waited for.
#[test]
fn captures_and_core_files_have_the_waits() {
    let tally = matrix(&[Mode::Default, Mode::PieSw], |version, mode, tally| {
        let directory = tempfile::tempdir().unwrap();
        let mut program = Fixture::start("waits", version, mode, &["1"]);
        let truth = program.ask("truth");
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let capture = path("waits.gospy");
        gospy(&["capture", "--pid", &program.pid().to_string(), "-o", &capture]).ok();
        compare(&truth, &summary(&["--from", &capture]), tally);
        // A document that was saved is shown as what it was made of.
        let saved = path("waits.json");
        let text = gospy(&["stack", "--json", "--from", &capture]).ok();
        std::fs::write(&saved, &text).unwrap();
        tally.equal("read back", text, gospy(&["stack", "--json", "--from", &saved]).ok());
        let core = gcore(program.pid(), directory.path());
        let seen = summary(&["--from", core.to_str().unwrap()]);
        // The kernel's clock is not in it, so that times cannot be compared.
        let timeless = without_times(&truth);
        compare_waits_of_core(&timeless, &seen, tally);
    });
    tally.check(100_000);
}

fn compare_waits_of_core(truth: &Value, document: &Value, tally: &mut Tally) {
    let (seen, _) = goroutines(document);
    for own in truth["waits"].as_array().unwrap() {
        let id = own["id"].as_u64().unwrap();
        let seen = &seen[&id]["waiting_on"];
        let what = format!("goroutine {id} in a core file");
        tally.equal(format!("{what}: unknown"), &Value::Null, &seen["unknown"]);
        compare_fields(&what, own, seen, false, tally);
    }
}

fn without_times(truth: &Value) -> Value {
    let waits = truth["waits"].as_array().unwrap().iter().map(|own| {
        let mut own = own.as_object().unwrap().clone();
        for key in ["deadline_min_unix_ns", "deadline_max_unix_ns", "timer"] {
            own.remove(key);
        }
        Value::Object(own)
    });
    json!({ "waits": waits.collect::<Vec<_>>() })
}
