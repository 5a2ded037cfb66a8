//! Leaked goroutines where chance has a part: random graphs against the runtime's own profile, references that
//! never rest, servers and released programs under load. `GOSPY_LEAK_RUNS` says how often each is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::leaks::{find, ids, session, truth};
use crate::support::compare::compare_dumps;
use crate::support::real::Real;
use crate::support::{Fixture, Mode, Running, Tally, gospy};
use gospy::heap::{Grade, Heap, PassOptions, Progress, Queues, Running as Threads};

/// Versions whose runtime finds leaked goroutines itself, and the mode in which it does.
const OWN: [(&str, Mode); 2] = [("1.26.6", Mode::LeakProfile), ("1.27.3", Mode::Sw)];

/// How often what happens by chance is looked at: `GOSPY_LEAK_RUNS`, or `otherwise`.
fn runs(otherwise: usize) -> usize {
    std::env::var("GOSPY_LEAK_RUNS").map_or(otherwise, |runs| runs.parse().unwrap())
}

/// What the runtime itself calls leaked: ids, with their stacks.
fn profile(running: &mut Running) -> BTreeMap<u64, String> {
    let blocks = running.ask("profile");
    let block = |block: &serde_json::Value| {
        let text = block.as_str().unwrap().trim().to_owned();
        let id = text.strip_prefix("goroutine ").unwrap().split(' ').next().unwrap().parse().unwrap();
        (id, text)
    };
    blocks.as_array().unwrap().iter().map(block).collect()
}

/// The stacks in the runtime's profile against what gospy prints of the same goroutines.
fn compare_stacks(theirs: &BTreeMap<u64, String>, pid: i32, tally: &mut Tally) {
    let own: Vec<&str> = theirs.values().map(String::as_str).collect();
    let ours = gospy(&["stack", "--all", "--pid", &pid.to_string()]).ok();
    let compared = compare_dumps(&own.join("\n\n"), &ours, |_| false, tally);
    tally.equal("stacks of leaked goroutines", theirs.len(), compared);
}

/// Goroutines on random graphs of objects, channels and locks: exactly those that the runtime's own profile of
/// leaked goroutines has, with the stacks that it has.
#[test]
fn on_random_graphs_the_runtime_finds_the_same() {
    let seeds = runs(8);
    let mut all = Tally::new("graphs");
    let (mut total, mut candidates) = (0, 0);
    for (version, mode) in OWN {
        for seed in 1..=seeds {
            let (text, count) = (seed.to_string(), (50 + 90 * (seed % 5)).to_string());
            let mut running = Fixture::start("leaks", version, mode, &["graph", &text, &count]);
            let session = session(running.pid());
            let ours = find(&session, true);
            let theirs = profile(&mut running);
            let mut tally = Tally::new(format!("{version}, seed {seed}"));
            tally.equal("leaked", theirs.keys().copied().collect::<BTreeSet<_>>(), ids(&ours));
            compare_stacks(&theirs, running.pid(), &mut tally);
            total += ours.leaked.len();
            candidates += ours.stats.candidates;
            all.add(tally);
        }
    }
    eprintln!("{total} leaked of {candidates} that wait, on {} graphs", OWN.len() * seeds);
    all.holds("some were leaked, and some not", total > 100 && candidates > total as u64 + 50);
    all.check(OWN.len() * seeds * 3);
}

/// Every kind of leak and of look-alike, by the runtime's own profile.
#[test]
fn of_every_kind_the_runtime_finds_the_same() {
    let mut all = Tally::new("kinds");
    for (version, mode) in OWN {
        let mut running = Fixture::start("leaks", version, mode, &["known", "2"]);
        let ours = find(&session(running.pid()), true);
        let theirs = profile(&mut running);
        let mut tally = Tally::new(version);
        tally.equal("leaked", theirs.keys().copied().collect::<BTreeSet<_>>(), ids(&ours));
        compare_stacks(&theirs, running.pid(), &mut tally);
        all.add(tally);
    }
    all.check(100);
}

/// A TLS server with handlers that leave goroutines behind, under load: all of them, and nothing healthy, whether
/// it is stopped or runs on; and what the runtime itself finds.
#[test]
fn a_server_under_load_has_exactly_its_leaks() {
    let mut all = Tally::new("server");
    let others = ["1.19", "1.22.10", "1.24.11"].map(|version| (version, Mode::Sw));
    for (version, mode) in others.into_iter().chain(OWN) {
        let mut running = Fixture::start("leaks", version, mode, &["server", "24"]);
        let (leaked, _) = truth(&mut running);
        let session = session(running.pid());
        let mut tally = Tally::new(version);
        let known: BTreeSet<u64> = leaked.keys().copied().collect();
        for freeze in [true, false] {
            // What a goroutine that runs has left on its stack may hide a leak for a moment.
            let mut missing = known.clone();
            for _ in 0..3 {
                let found = ids(&find(&session, freeze));
                tally.equal(format!("too many, freeze {freeze}"), BTreeSet::new(), &found - &known);
                missing = &known - &found;
                if missing.is_empty() {
                    break;
                }
            }
            tally.equal(format!("missing, freeze {freeze}"), BTreeSet::new(), missing);
        }
        if OWN.contains(&(version, mode)) {
            let theirs = profile(&mut running);
            tally.equal("the runtime's own", theirs.keys().copied().collect::<BTreeSet<_>>(), known);
            compare_stacks(&theirs, running.pid(), &mut tally);
        }
        all.add(tally);
    }
    all.check(100);
}

/// What the fixture does with these arguments has at least so many goroutines that wait, and none is certain to be
/// leaked, also where threads cannot be preempted. `more` is given each program, and whether it can be.
fn none_is_certain(arguments: &[&str], waiting: u64, more: impl Fn(&Running, bool, &mut Tally)) {
    let runs = runs(10);
    let mut all = Tally::new(arguments.join(" "));
    for version in ["1.19", "1.23.9", "1.27.3"] {
        for off in ["0", "1"] {
            let fixture = Fixture::new("leaks", version, Mode::Sw).env("GODEBUG", &format!("asyncpreemptoff={off}"));
            let running = fixture.run(arguments);
            let mut tally = Tally::new(format!("{version} asyncpreemptoff={off}"));
            more(&running, off == "0", &mut tally);
            let session = session(running.pid());
            for _ in 0..runs {
                let leaks = find(&session, true);
                tally.equal("grade", Grade::Certain, leaks.proof.grade());
                tally.holds("they wait", leaks.stats.candidates >= waiting);
                tally.equal("leaked", BTreeSet::new(), ids(&leaks));
            }
            all.add(tally);
        }
    }
    all.check(18 * runs);
}

/// Goroutines whose channels are handed around without pause, for a moment in nothing but a register.
#[test]
fn what_is_handed_around_is_never_certain_to_be_leaked() {
    none_is_certain(&["handoff", "60"], 60, |_, _, _| {});
}

/// Channels that only registers have, nearly all of the time: with the registers of the stopped threads none is
/// leaked, and without them some are, so that the registers are what saves them.
#[test]
fn what_only_registers_have_is_never_certain_to_be_leaked() {
    none_is_certain(&["registers", "2"], 2, |running, preempted, tally| {
        let session = session(running.pid());
        let (mut missed, process) = (0, session.process());
        for _ in 0..10 {
            running.stop();
            let heap = Heap::read(process).unwrap();
            let progress = Progress::default();
            let marker = heap.marker(process, &progress);
            let queues = Queues::find(process, &heap.layout);
            let options = PassOptions { queues, ..PassOptions::default() };
            missed += heap.pass(process, &marker, &Threads::default(), &options).unwrap().leaked.len();
            running.cont();
        }
        eprintln!("{}: {missed} of 20 without registers", session.runtime().version);
        // A thread that was preempted has saved its registers on its stack.
        tally.holds("without registers some are called leaked", missed > 0 || preempted);
        // Go code runs all the time: no more passes are made than the two that can agree.
        tally.between("passes of a program that never rests", 1, find(&session, false).passes, 2);
    });
}

/// Looks for leaks so often, eight at a time, since most of the time passes between two passes, and gives
/// each answer to `check`.
fn look(pid: i32, runs: usize, check: impl Fn(BTreeSet<u64>, Grade) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..runs.min(8) {
            scope.spawn(|| {
                let session = session(pid);
                while next.fetch_add(1, SeqCst) < runs {
                    let leaks = find(&session, false);
                    check(ids(&leaks), leaks.proof.grade());
                }
            });
        }
    });
}

/// Beside a server under load that also has leaks: nothing else, ever, and nearly all of them each time. Where a
/// goroutine runs, what it has left on its stack counts, and may hide a leak for a moment.
#[test]
fn under_load_nothing_healthy_is_called_leaked() {
    let runs = runs(24);
    let mut all = Tally::new("under load");
    for version in ["1.23.9", "1.27.3"] {
        let mut running = Fixture::start("leaks", version, Mode::Sw, &["server", "24"]);
        let known: BTreeSet<u64> = truth(&mut running).0.into_keys().collect();
        let [confirmed, wrong, missing] = [0; 3].map(AtomicUsize::new);
        look(running.pid(), runs, |found, grade| {
            confirmed.fetch_add(usize::from(grade == Grade::Confirmed), SeqCst);
            wrong.fetch_add((&found - &known).len(), SeqCst);
            missing.fetch_add((&known - &found).len(), SeqCst);
        });
        let [confirmed, wrong, missing] = [confirmed, wrong, missing].map(AtomicUsize::into_inner);
        let all_leaks = runs * known.len();
        eprintln!("{version}: {confirmed} of {runs} confirmed; {wrong} wrong; {missing} of {all_leaks} missing");
        let mut tally = Tally::new(version);
        tally.equal("healthy ones called leaked", 0, wrong);
        tally.holds(format!("{missing} of {all_leaks} leaks are missing"), missing * 100 <= all_leaks);
        tally.holds(format!("{confirmed} of {runs} ran meanwhile"), confirmed * 2 > runs);
        tally.holds("it has leaks", known.len() > 20);
        all.add(tally);
    }
    all.check(8);
}

/// Programs that others have released, under load: nothing that serves requests is leaked. The main goroutine of
/// esbuild waits for ever on a channel that nothing else has, which is leaked by the runtime's definition too.
#[test]
fn released_programs_under_load_have_no_leaks() {
    let runs = runs(16).min(100);
    let mut all = Tally::new("released programs");
    for (name, paths, leaked) in [
        ("prometheus", ["/metrics", "/api/v1/query?query=up", "/-/ready"].as_slice(), [].as_slice()),
        ("esbuild", &["/"], &[1]),
        ("buf", &[], &[]),
    ] {
        let leaked: BTreeSet<u64> = leaked.iter().copied().collect();
        let mut real = Real::start(name);
        let pid = real.running.pid();
        let done = AtomicBool::new(false);
        let (requests, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // Requests until all answers are there; a language server has one client, on its standard input.
        let (address, running) = (real.address, &mut real.running);
        std::thread::scope(|scope| {
            match address {
                Some(address) => {
                    for client in 0..4 {
                        let (done, requests) = (&done, &requests);
                        scope.spawn(move || {
                            while !done.load(SeqCst) {
                                let path = paths[(client + requests.load(SeqCst)) % paths.len()];
                                assert!(crate::support::real::answers(address, path), "{path}");
                                requests.fetch_add(1, SeqCst);
                                std::thread::sleep(Duration::from_millis(5));
                            }
                        });
                    }
                }
                None => {
                    let (done, requests) = (&done, &requests);
                    scope.spawn(move || {
                        while !done.load(SeqCst) {
                            running.ask_language_server();
                            requests.fetch_add(1, SeqCst);
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    });
                }
            }
            look(pid, runs, |found, _| {
                if found != leaked {
                    wrong.fetch_add(1, SeqCst);
                    eprintln!("{name}: {found:?}");
                }
            });
            done.store(true, SeqCst);
        });
        let requests = requests.into_inner();
        eprintln!("{name}: {runs} answers beside {requests} requests");
        let mut tally = Tally::new(name);
        tally.equal("wrong answers", 0, wrong.into_inner());
        tally.holds(format!("{requests} requests"), requests > runs);
        all.add(tally);
    }
    all.check(6);
}
