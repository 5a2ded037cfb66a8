//! Captures with the heap: what the file answers afterwards, against the process and against what the fixture knows.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::core_dump::gcore;
use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, gospy};
use serde_json::Value;

fn capture(pid: i32, path: &str, more: &[&str]) -> crate::support::Output {
    gospy(&[&["capture", "--pid", &pid.to_string(), "-o", path, "--heap"], more].concat())
}

/// What `leaks --json` says: ids, and with them what each group keeps, what groups share, and deadlocks.
fn leaks(arguments: &[&str]) -> (BTreeSet<u64>, Vec<Value>) {
    let found = gospy(&[&["leaks", "--json"], arguments].concat()).json();
    let found = &found["leaks"];
    let groups = found["groups"].as_array().unwrap();
    let ids = groups.iter().flat_map(|group| group["goroutines"].as_array().unwrap());
    let ids = ids.map(|id| id.as_u64().unwrap()).collect();
    // Ages, what it cost and how it is proven differ.
    let mut says: Vec<Value> = groups
        .iter()
        .map(|group| {
            ["goroutines", "count", "heap_bytes", "stack_bytes", "place", "creator", "waiting_on"]
                .map(|key| group[key].clone())
                .into()
        })
        .collect();
    says.extend(
        ["grade", "total", "goroutines", "heap_bytes", "shared_heap_bytes", "stack_bytes"]
            .map(|key| found[key].clone()),
    );
    (ids, says)
}

fn directory() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heap.capture").display().to_string();
    (directory, path)
}

fn truth(running: &mut Running) -> BTreeSet<u64> {
    let truth = running.ask("truth");
    truth["leaked"].as_object().unwrap().keys().map(|id| id.parse().unwrap()).collect()
}

/// The captured heap gives the answer that the stopped program gave: leaks, groups, what each keeps, deadlocks.
#[test]
fn leaks_of_a_capture_are_those_of_the_stopped_program() {
    let mut all = Tally::new("leaks in captures");
    let cases = VERSIONS.iter().map(|version| (*version, Mode::Sw));
    let cases = cases.chain([("1.19", Mode::PieSw), ("1.24.11", Mode::CgoSw), ("1.27.3", Mode::Default)]);
    for (version, mode) in cases {
        let mut tally = Tally::new(format!("{version} {}", mode.name()));
        for (program, arguments) in [("leaks", ["known", "2"].as_slice()), ("kept", &[])] {
            let mut running = Fixture::start(program, version, mode, arguments);
            let (_directory, path) = directory();
            let taken = capture(running.pid(), &path, &["--freeze=all"]);
            assert_eq!(taken.code(), 0, "{version}: {taken:?}");
            tally.holds("the size is said", taken.stderr.contains("the heap adds "));
            tally.holds("and the stop", taken.stderr.contains("the program will stand still for about "));
            let (live, live_says) = leaks(&["--pid", &running.pid().to_string(), "--freeze=all"]);
            let (held, held_says) = leaks(&["--from", &path]);
            tally.equal(format!("{program}: ids"), &live, &held);
            tally.equal(format!("{program}: what they keep"), live_says, held_says);
            if program == "leaks" {
                tally.equal("as the fixture knows", truth(&mut running), held);
            }
        }
        all.add(tally);
    }
    all.check(11 * 9);
}

/// What `heap --objects --json` says, without what may differ: why it is exact, and types that are not the fixture's,
/// of which several fit some objects.
fn objects(arguments: &[&str]) -> Value {
    let mut found = gospy(&[&["heap", "--objects", "--json", "--limit", "0"], arguments].concat()).json();
    let found = found["objects"].take();
    assert_eq!(found["exact"], true, "{found}");
    let types = found["types"].as_array().map(|types| {
        let own = |row: &&Value| row["name"].as_str().unwrap().contains("main.");
        types.iter().filter(own).cloned().collect::<Vec<_>>()
    });
    let same = ["live", "garbage", "kept_by", "only_from", "path"].map(|key| found[key].clone());
    serde_json::json!({ "types": types, "same": same })
}

/// The objects of a captured heap are those of the stopped program: what is live, of which types, who keeps it, what
/// only some goroutines keep, and paths with the names of variables and fields.
#[test]
fn objects_of_a_capture_are_those_of_the_stopped_program() {
    let mut all = Tally::new("objects in captures");
    let cases = VERSIONS.iter().map(|version| (*version, Mode::Sw));
    for (version, mode) in cases.chain([("1.24.11", Mode::PieSw), ("1.27.3", Mode::Default)]) {
        let mut tally = Tally::new(format!("{version} {}", mode.name()));
        let mut running = Fixture::start("objects", version, mode, &["500"]);
        running.ask("garbage 100");
        let truth = running.ask("truth");
        let (_directory, path) = directory();
        let taken = capture(running.pid(), &path, &["--freeze=all"]);
        assert_eq!(taken.code(), 0, "{version}: {taken:?}");
        let chosen = format!("{:#x}", truth["chosen"].as_u64().unwrap());
        let (pid, wanted) = (running.pid().to_string(), ["--only-from", "main.owner", "--path-to", &chosen]);
        let live = objects(&[&["--pid", &pid, "--freeze=all"], &wanted[..]].concat());
        let held = objects(&[&["--from", &path], &wanted[..]].concat());
        let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
        let types = held["types"].as_array().map_or(0, Vec::len);
        tally.holds(format!("{types} types of the fixture"), if minor >= 22 { types > 10 } else { types == 0 });
        tally.holds("there is a path", held["same"][4].is_object());
        if mode == Mode::Default {
            tally.equal("variable", "main.registry", held["same"][4]["variable"].as_str().unwrap_or_default());
        }
        for (of, (live, held)) in
            live["same"].as_array().unwrap().iter().zip(held["same"].as_array().unwrap()).enumerate()
        {
            tally.equal(format!("part {of}"), live, held);
        }
        tally.equal("types", &live["types"], &held["types"]);
        if minor >= 22 {
            let ours = objects(&["--from", &path, "--path-to", "main.chosen"]);
            tally.equal("path by type", &live["same"][4]["steps"], &ours["same"][4]["steps"]);
        }
        // A capture of the capture has it all, too.
        let again = format!("{path}.again");
        gospy(&["capture", "--from", &path, "-o", &again, "--heap"]).ok();
        tally.equal("again", &held, &objects(&[&["--from", &again], &wanted[..]].concat()));
        all.add(tally);
    }
    all.check(10 * 8);
}

/// One that was captured while the program ran is an estimate, and says so.
#[test]
fn objects_of_a_program_that_ran_are_an_estimate() {
    let running = Fixture::start("fx", "1.27.3", Mode::Sw, &["many", "1000", "-busy", "1"]);
    let (_directory, path) = directory();
    capture(running.pid(), &path, &[]).ok();
    let found = gospy(&["heap", "--objects", "--json", "--from", &path]).json();
    let found = &found["objects"];
    assert_eq!((&found["exact"], &found["standing"]), (&Value::Bool(false), &Value::from("running")), "{found}");
    assert!(found["live"]["objects"].as_u64().unwrap() > 2_000, "{found}");
    assert!(found["changed"].is_null(), "{found}");
    let strict = gospy(&["heap", "--objects", "--strict", "--from", &path]);
    assert!(strict.code() != 0 && strict.stdout.contains("an estimate"), "{strict:?}");
}

/// A heap whose list of spans gets longer all the time is read from each of its captures; where what keeps most of it
/// was moved meanwhile, the answer says that it is missing.
#[test]
fn captures_of_a_heap_that_grows_can_be_read() {
    let mut tally = Tally::new("captures of a heap that grows");
    // Spans that nobody writes to: they take addresses, and no memory.
    let running = Fixture::start("grow", "1.26.6", Mode::Sw, &["leak", "100000000"]);
    let mut before = 0;
    for number in 0..4 {
        let (_directory, path) = directory();
        capture(running.pid(), &path, &[]).ok();
        let found = gospy(&["heap", "--objects", "--json", "--from", &path]).json();
        let live = found["objects"]["live"]["bytes"].as_u64().unwrap();
        let missing = found["objects"]["notes"].to_string().contains("the last GC left ");
        tally.holds(format!("{number}: {before} to {live} live"), live > before || missing);
        let classes = gospy(&["heap", "--json", "--from", &path]).json();
        let bytes =
            classes["heap"]["size_classes"].as_array().unwrap().iter().map(|row| row["bytes"].as_u64().unwrap());
        let bytes: u64 = bytes.sum();
        tally.holds(format!("{number}: {bytes} in size classes"), bytes > before);
        before = live.max(before);
    }
    tally.check(4 * 2);
}

/// Profiles, size classes and contention of the file are those of the process, which has not gone on.
#[test]
fn the_profiles_of_a_capture_are_those_of_the_process() {
    let mut all = Tally::new("profiles in captures");
    for version in VERSIONS {
        let mut tally = Tally::new(version);
        let running = Fixture::start("sites", version, Mode::Sw, &["1", "1", "1"]);
        let (_directory, path) = directory();
        capture(running.pid(), &path, &[]).ok();
        let pid = running.pid().to_string();
        let both = |arguments: &[&str]| {
            let live = gospy(&[arguments, &["--pid", &pid]].concat()).ok();
            (live, gospy(&[arguments, &["--from", &path]].concat()).ok())
        };
        let (live, held) = both(&["heap", "--text"]);
        let list = |text: &str| text.split("# runtime.MemStats").next().unwrap().to_owned();
        tally.equal("the list of the heap profile", list(&live), list(&held));
        tally.holds("it has records", live.matches("main.").count() > 100);
        let (live, held) = both(&["contention", "--text"]);
        let steady = |text: &str| -> Vec<String> {
            let records = text.split("\n\n").filter(|record| record.contains("main.block"));
            // The clock is measured each time.
            let records = records.map(|record| record.lines().filter(|line| !line.starts_with("cycles/")).collect());
            records.collect()
        };
        tally.equal("contention", steady(&live), steady(&held));
        let (live, held) = both(&["contention", "--json"]);
        let ticks = |text: &str| {
            let found: Value = serde_json::from_str(text).unwrap();
            found["block"]["ticks_per_second"].as_f64().unwrap()
        };
        tally.between("ticks", 0.98 * ticks(&live), ticks(&held), 1.02 * ticks(&live));
        let (live, held) = both(&["heap", "--json"]);
        let part = |text: &str, key: &str| serde_json::from_str::<Value>(text).unwrap()["heap"][key].clone();
        for key in ["size_classes", "caches", "profile", "alloc_bytes", "live_bytes"] {
            tally.equal(key, part(&live, key), part(&held, key));
        }
        all.add(tally);
    }
    all.check(8 * 9);
}

/// While it runs, nothing of the heap is certain, and that is said; what needs no stop is there.
#[test]
fn a_heap_that_was_captured_while_the_program_ran_proves_nothing() {
    let mut running = Fixture::start("leaks", "1.26.6", Mode::Sw, &["known", "2"]);
    let (_directory, path) = directory();
    let busy = Fixture::start("sites", "1.26.6", Mode::Sw, &["1"]);
    let mut busy = busy;
    busy.ask("churn");
    capture(busy.pid(), &path, &[]).ok();
    let found = gospy(&["leaks", "--from", &path]);
    assert!(found.code() != 0 && found.stderr.contains("capture it with --heap --freeze=all"), "{found:?}");
    let text = gospy(&["heap", "--from", &path]).ok();
    assert!(text.contains("\nSize classes") && text.contains("main.sized"), "{text}");
    // One whose goroutines all wait proves as much as a stopped one, where no Go code ran.
    drop(busy);
    let taken = capture(running.pid(), &path, &["--force"]);
    assert_eq!(taken.code(), 0, "{taken:?}");
    let found = gospy(&["leaks", "--from", &path, "--json"]);
    match found.code() {
        0 => assert_eq!(leaks(&["--from", &path]).0, truth(&mut running)),
        _ => assert!(found.stderr.contains("capture it with --heap --freeze=all"), "{found:?}"),
    }
}

#[test]
fn captures_of_cores_and_of_captures_have_the_heap_too() {
    let mut running = Fixture::start("leaks", "1.25.5", Mode::Sw, &["known", "2"]);
    let (directory, path) = directory();
    let core = gcore(running.pid(), directory.path()).display().to_string();
    let want = truth(&mut running);
    let taken = gospy(&["capture", "--from", &core, "-o", &path, "--heap"]);
    assert_eq!(taken.code(), 0, "{taken:?}");
    let (from_core, says) = leaks(&["--from", &core]);
    let (from_capture, capture_says) = leaks(&["--from", &path]);
    assert_eq!(from_core, want);
    assert_eq!((from_core, says), (from_capture, capture_says));
    let again = directory.path().join("again.capture").display().to_string();
    gospy(&["capture", "--from", &path, "-o", &again, "--heap"]).ok();
    assert_eq!(leaks(&["--from", &again]).0, want);
    // Without the heap, the copy has none.
    gospy(&["capture", "--from", &path, "-o", &again]).ok();
    let found = gospy(&["leaks", "--from", &again]);
    assert!(found.code() != 0 && found.stderr.contains("`gospy capture --heap` puts it in"), "{found:?}");
    let found = gospy(&["capture", "--from", &again, "-o", &path, "--heap", "--force"]);
    assert!(found.code() != 0 && found.stderr.contains("`gospy capture --heap` puts it in"), "{found:?}");
}

/// A heap that is too large is refused before anything is stopped or written, and with the size that would do.
#[test]
fn a_heap_that_is_larger_than_is_allowed_is_refused() {
    let running = Fixture::start("leaks", "1.26.6", Mode::Sw, &["known", "2"]);
    let (_directory, path) = directory();
    let found = capture(running.pid(), &path, &["--max-heap", "100KiB", "--freeze=all"]);
    assert!(found.code() == 1 && found.stderr.contains(" MiB are captured: --max-heap "), "{found:?}");
    assert!(!Path::new(&path).exists());
    let option = found.stderr.split("--max-heap ").nth(1).unwrap().split_whitespace().next().unwrap();
    assert_eq!(capture(running.pid(), &path, &["--max-heap", option]).code(), 0);
    let found = gospy(&["capture", "--pid", "1", "-o", &path, "--max-heap", "1GiB"]);
    assert_eq!(found.code(), 2, "{found:?}");
}

/// Cut or damaged anywhere: an error, and no panic.
#[test]
fn a_cut_or_damaged_capture_is_an_error() {
    let running = Fixture::start("leaks", "1.26.6", Mode::Sw, &["known", "2"]);
    let (directory, path) = directory();
    capture(running.pid(), &path, &["--freeze=all"]).ok();
    let bytes = std::fs::read(&path).unwrap();
    let broken = directory.path().join("broken.capture");
    for part in 1..12 {
        let cut = bytes.len() * part / 12;
        std::fs::write(&broken, &bytes[..cut]).unwrap();
        let found = gospy(&["leaks", "--from", &broken.display().to_string()]);
        assert!(found.code() == 1 && !found.stderr.contains("panicked"), "cut at {cut}: {found:?}");
        let mut flipped = bytes.clone();
        flipped[cut] ^= 0x20;
        std::fs::write(&broken, &flipped).unwrap();
        let found = gospy(&["leaks", "--from", &broken.display().to_string()]);
        assert!(found.code() == 1 && !found.stderr.contains("panicked"), "changed at {cut}: {found:?}");
    }
}
