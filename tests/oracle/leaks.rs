//! Goroutines that nobody can wake: against what the fixture knows of itself, against the runtime's own profile
//! of leaked goroutines, and the mark against the collector's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::{Fixture, Mode, Running, Tally, VERSIONS};
use gospy::capture::{OpenOptions, Session};
use gospy::heap::{self, Grade, Heap, LeakOptions, Leaks, PassOptions, Progress, Queues, Running as Threads};
use gospy::process::live::LiveTarget;

fn session(pid: i32) -> Session {
    let target = LiveTarget::open(pid).unwrap();
    Session::open(Box::new(target), &OpenOptions::default()).unwrap()
}

fn find(session: &Session, freeze: bool) -> Leaks {
    let options = LeakOptions { freeze, ..LeakOptions::default() };
    let found = heap::find(session.process(), &options, &Progress::default(), |_| {});
    found.unwrap_or_else(|error| panic!("{}: {error}", session.runtime().version))
}

fn ids(leaks: &Leaks) -> BTreeSet<u64> {
    leaks.leaked.iter().map(|leaked| leaked.goid).collect()
}

/// What the fixture knows: ids and kinds, leaked and live.
fn truth(running: &mut Running) -> (BTreeMap<u64, String>, BTreeMap<u64, String>) {
    let truth = running.ask("truth");
    let of = |key: &str| {
        let map = truth[key].as_object().unwrap();
        map.iter().map(|(id, kind)| (id.parse().unwrap(), kind.as_str().unwrap().to_owned())).collect()
    };
    (of("leaked"), of("live"))
}

fn compare(tally: &mut Tally, leaks: &Leaks, truth: &(BTreeMap<u64, String>, BTreeMap<u64, String>)) {
    let (leaked, live) = truth;
    let found = ids(leaks);
    for (id, kind) in leaked {
        tally.holds(format!("{kind} ({id}) is found"), found.contains(id));
    }
    for (id, kind) in live {
        tally.holds(format!("{kind} ({id}) is not leaked"), !found.contains(id));
    }
    for id in &found {
        tally.holds(format!("{id} is one of the fixture's"), leaked.contains_key(id));
    }
}

#[test]
fn every_kind_of_leak_is_found_and_no_look_alike() {
    let mut all = Tally::new("leaks");
    let modes = |version: &str| match version {
        "1.19" | "1.24.11" | "1.27.3" => vec![Mode::Default, Mode::PieSw, Mode::CgoSw],
        _ => vec![Mode::Sw],
    };
    for version in VERSIONS {
        for mode in modes(version) {
            let mut running = Fixture::start("leaks", version, mode, &["known", "3"]);
            let mut tally = Tally::new(format!("{version} {}", mode.name()));
            let truth = truth(&mut running);
            let session = session(running.pid());
            for freeze in [true, false] {
                let leaks = find(&session, freeze);
                if freeze {
                    tally.equal("grade", Grade::Certain, leaks.proof.grade());
                }
                tally.equal("stacks without maps", 0, leaks.stats.stacks.unknown);
                compare(&mut tally, &leaks, &truth);
            }
            all.add(tally);
        }
    }
    all.check(3000);
}

/// Which objects the collector has kept, by the bits that its last cycle left, are those that the mark reaches
/// when all goroutines count.
#[test]
fn the_mark_is_the_collectors() {
    let mut all = Tally::new("marks");
    for version in VERSIONS {
        let mut running = Fixture::start("leaks", version, Mode::Sw, &["known", "5"]);
        running.ask("gc");
        let session = session(running.pid());
        // The fixture waits for its input; nothing allocates.
        std::thread::sleep(Duration::from_millis(300));
        let process = session.process();
        let heap = Heap::read(process).unwrap();
        let progress = Progress::default();
        let marker = heap.marker(process, &progress);
        let options =
            PassOptions { all_run: true, queues: Queues::find(process, &heap.layout), ..PassOptions::default() };
        heap.pass(process, &marker, &Threads::default(), &options).unwrap();
        let mut tally = Tally::new(version);
        let (mut both, mut ours, mut theirs) = (0_u64, 0_u64, 0_u64);
        for (number, span) in heap.spans.iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            let bits = heap.spans.allocated(process.target, &heap.layout, number).unwrap().unwrap();
            for index in 0..span.elements {
                let allocated = bits[index as usize / 8] >> (index % 8) & 1 != 0;
                let marked = marker.is_marked(heap::ObjectId { span: number, index });
                match (marked, allocated) {
                    (true, true) => both += 1,
                    (true, false) => ours += 1,
                    (false, true) => theirs += 1,
                    (false, false) => {}
                }
            }
        }
        eprintln!("{version}: {both} by both, {ours} by gospy only, {theirs} by the collector only");
        tally.holds("objects were compared", both > 1500);
        tally.equal("marked by gospy only", 0, ours);
        // What was allocated while that cycle ran is kept by it.
        tally.holds(format!("{theirs} are kept by the collector only"), theirs * 100 < both);
        all.add(tally);
    }
    all.check(24);
}

/// What the runtime itself calls leaked (Go 1.27): ids, with their stacks.
fn profile(running: &mut Running) -> BTreeMap<u64, String> {
    let blocks = running.ask("profile");
    let block = |block: &serde_json::Value| {
        let text = block.as_str().unwrap().trim().to_owned();
        let id = text.strip_prefix("goroutine ").unwrap().split(' ').next().unwrap().parse().unwrap();
        (id, text)
    };
    blocks.as_array().unwrap().iter().map(block).collect()
}

/// Goroutines on random graphs of objects, channels and locks: exactly those that the runtime's own profile of
/// leaked goroutines has.
#[test]
fn on_random_graphs_the_runtime_finds_the_same() {
    let seeds: u64 = std::env::var("GOSPY_LEAK_RUNS").map_or(12, |runs| runs.parse().unwrap());
    let mut all = Tally::new("graphs");
    let (mut total, mut candidates) = (0, 0);
    for seed in 1..=seeds {
        let (text, count) = (seed.to_string(), (50 + 90 * (seed % 5)).to_string());
        let mut running = Fixture::start("leaks", "1.27.3", Mode::Sw, &["graph", &text, &count]);
        let session = session(running.pid());
        let ours = find(&session, true);
        let theirs = profile(&mut running);
        let mut tally = Tally::new(format!("seed {seed}"));
        tally.equal("leaked", theirs.keys().copied().collect::<BTreeSet<_>>(), ids(&ours));
        total += ours.leaked.len();
        candidates += ours.stats.candidates;
        all.add(tally);
    }
    eprintln!("{total} leaked of {candidates} that wait, on {seeds} graphs");
    all.holds("some were leaked, and some not", total > 100 && candidates > total as u64 + 50);
    all.check(usize::try_from(seeds).unwrap());
}

/// A TLS server with handlers that leave goroutines behind, under load: all of them, and nothing healthy, whether
/// it is stopped or runs on; and what the runtime itself finds.
#[test]
fn a_server_under_load_has_exactly_its_leaks() {
    let mut all = Tally::new("server");
    for version in ["1.19", "1.22.10", "1.24.11", "1.27.3"] {
        let mut running = Fixture::start("leaks", version, Mode::Sw, &["server", "24"]);
        let (leaked, _) = truth(&mut running);
        let session = session(running.pid());
        let mut tally = Tally::new(version);
        for freeze in [true, false] {
            let leaks = find(&session, freeze);
            let known: BTreeSet<u64> = leaked.keys().copied().collect();
            tally.equal(format!("leaked, freeze {freeze}"), known, ids(&leaks));
        }
        if version == "1.27.3" {
            let theirs: BTreeSet<u64> = profile(&mut running).into_keys().collect();
            tally.equal("the runtime's own", theirs, leaked.keys().copied().collect::<BTreeSet<_>>());
        }
        all.add(tally);
    }
    all.check(9);
}

/// Goroutines whose channels are handed around without pause, for a moment in nothing but a register, also where
/// threads cannot be preempted: none of them is leaked. `GOSPY_LEAK_RUNS` says how often each is looked at.
#[test]
fn what_is_handed_around_is_never_certain_to_be_leaked() {
    let runs: usize = std::env::var("GOSPY_LEAK_RUNS").map_or(10, |runs| runs.parse().unwrap());
    let mut all = Tally::new("handed around");
    for version in ["1.19", "1.23.9", "1.27.3"] {
        for preempted in ["0", "1"] {
            let fixture =
                Fixture::new("leaks", version, Mode::Sw).env("GODEBUG", &format!("asyncpreemptoff={preempted}"));
            let running = fixture.run(&["handoff", "60"]);
            let session = session(running.pid());
            let mut tally = Tally::new(format!("{version} asyncpreemptoff={preempted}"));
            for _ in 0..runs {
                let leaks = find(&session, true);
                tally.equal("grade", Grade::Certain, leaks.proof.grade());
                tally.holds("they wait", leaks.stats.candidates >= 60);
                tally.equal("leaked", BTreeSet::new(), ids(&leaks));
            }
            all.add(tally);
        }
    }
    all.check(18 * runs);
}
