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
        let marker = heap.marker(process);
        let options =
            PassOptions { all_run: true, queues: Queues::find(process, &heap.layout), ..PassOptions::default() };
        heap.pass(process, &marker, &Threads::default(), &options, &Progress::default()).unwrap();
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
