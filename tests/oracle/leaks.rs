//! Goroutines that can never wake: against what the fixture knows of itself, in the running program, the stopped
//! one and its core files, and the mark against the collector's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::support::core_dump::{gcore, killed_for_core, with_core_limit};
use crate::support::{Fixture, Mode, Running, Tally, VERSIONS};
use gospy::capture::{OpenOptions, Session};
use gospy::heap::{
    self, Grade, Heap, LeakOptions, Leaks, Marker, Pass, PassOptions, Progress, Proof, Queues, Running as Threads,
};
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::process::live::LiveTarget;
use nix::sys::signal::Signal;

pub(crate) fn session(pid: i32) -> Session {
    let target = LiveTarget::open(pid).unwrap();
    Session::open(Box::new(target), &OpenOptions::default()).unwrap()
}

pub(crate) fn find(session: &Session, freeze: bool) -> Leaks {
    let options = LeakOptions { freeze, ..LeakOptions::default() };
    let found = heap::find(session.process(), &options, &Progress::default(), |_| {});
    found.unwrap_or_else(|error| panic!("{}: {error}", session.runtime().version))
}

/// Calls `with` with the heap and all that is reachable in it marked, whatever the goroutines wait for.
pub(crate) fn marked<T>(session: &Session, with: impl FnOnce(&Heap, &Marker<'_>, &Pass) -> T) -> T {
    let process = session.process();
    let heap = Heap::read(process).unwrap();
    let progress = Progress::default();
    let marker = heap.marker(process, &progress);
    let options = PassOptions { all_run: true, queues: Queues::find(process, &heap.layout), ..PassOptions::default() };
    let pass = heap.pass(process, &marker, &Threads::default(), &options).unwrap();
    with(&heap, &marker, &pass)
}

pub(crate) fn ids(leaks: &Leaks) -> BTreeSet<u64> {
    leaks.leaked.iter().map(|leaked| leaked.goid).collect()
}

/// What the fixture knows: ids and kinds, leaked and live.
pub(crate) fn truth(running: &mut Running) -> (BTreeMap<u64, String>, BTreeMap<u64, String>) {
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
        "1.19" => vec![Mode::Default, Mode::PieSw, Mode::CgoSw],
        "1.24.11" | "1.27.3" => vec![Mode::Default, Mode::PieSw, Mode::CgoSw, Mode::Arenas],
        "1.21.13" => vec![Mode::Sw, Mode::Arenas],
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

/// Builds with the collector that their version does not have by default.
const OTHER_COLLECTOR: [(&str, Mode); 3] =
    [("1.25.5", Mode::GreenTea), ("1.26.6", Mode::NoGreenTea), ("1.27.3", Mode::NoGreenTea)];

/// Which objects the collector has kept, by the bits that its last cycle left, are those that the mark reaches
/// when all goroutines count.
#[test]
fn the_mark_is_the_collectors() {
    let mut all = Tally::new("marks");
    let programs = [("leaks", &["known", "5"][..]), ("objects", &["500"])];
    // Each version with its own collector, and those that have two of them with the other one.
    let builds = VERSIONS.iter().map(|version| (*version, Mode::Sw)).chain(OTHER_COLLECTOR);
    for ((version, mode), (program, arguments)) in builds.flat_map(|build| programs.map(|with| (build, with))) {
        let mut running = Fixture::start(program, version, mode, arguments);
        running.ask("gc");
        let session = session(running.pid());
        // The fixture waits for its input; nothing allocates.
        std::thread::sleep(Duration::from_millis(300));
        let mut tally = Tally::new(format!("{program} {version} {}", mode.name()));
        let (mut both, mut ours, mut theirs) = (0_u64, 0_u64, 0_u64);
        marked(&session, |heap, marker, _| {
            for (number, span) in heap.spans.iter().enumerate() {
                let number = u32::try_from(number).unwrap();
                let bits = heap.spans.allocated(session.process().target, &heap.layout, number).unwrap().unwrap();
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
        });
        eprintln!(
            "{program} {version} {}: {both} by both, {ours} by gospy only, {theirs} by the collector only",
            mode.name()
        );
        tally.holds("objects were compared", both > 1500);
        tally.equal("marked by gospy only", 0, ours);
        // What was allocated while that cycle ran is kept by it.
        tally.holds(format!("{theirs} are kept by the collector only"), theirs * 100 < both);
        all.add(tally);
    }
    all.check(66);
}

/// The bitmaps of small objects are where the collector of the build has them: before its marks, or at the end.
#[test]
fn the_collector_of_a_build_is_known_by_its_spans() {
    let mut tally = Tally::new("collectors");
    let by_default = [("1.25.5", false), ("1.26.6", true), ("1.27.3", true)];
    for (version, mode) in by_default.map(|(version, _)| (version, Mode::Sw)).into_iter().chain(OTHER_COLLECTOR) {
        let running = Fixture::start("objects", version, mode, &["100"]);
        let session = session(running.pid());
        let heap = Heap::read(session.process()).unwrap();
        let default = by_default.iter().any(|(of, green)| *of == version && *green);
        let wanted = if mode == Mode::Sw { default } else { !default };
        tally.equal(format!("{version} {}", mode.name()), wanted, heap.spans.inline_marks() > 0);
    }
    tally.check(6);
}

/// Core files, by gdb of the running process and by the kernel of one that died, have the same leaks, which wait
/// for the same objects, as the process had when it was stopped.
#[test]
fn core_files_have_the_leaks_of_the_process() {
    fn in_core(path: &Path) -> Leaks {
        let target = CoreTarget::open(path, &CoreOptions::default()).unwrap();
        let leaks = find(&Session::open(Box::new(target), &OpenOptions::default()).unwrap(), false);
        assert_eq!(leaks.proof, Proof::CoreFile);
        leaks
    }
    fn whole(leaks: &Leaks) -> Vec<(u64, u64, Vec<u64>)> {
        let of = |addrs: &[gospy::addr::Addr]| addrs.iter().map(|addr| addr.0).collect();
        leaks.leaked.iter().map(|leaked| (leaked.goid, leaked.addr.0, of(&leaked.objects))).collect()
    }
    let start = |version: &str, dir: &Path| {
        let mut command = with_core_limit(&Fixture::build("leaks", version, Mode::Sw), dir);
        command.args(["known", "2"]).env("GOTRACEBACK", "crash");
        let mut running = Running::spawn(command);
        running.wait_ready();
        running
    };
    /// Most crashes that are tried.
    const DEATHS: usize = 4;
    let mut all = Tally::new("leaks in core files");
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let mut running = start(version, dir.path());
        let mut tally = Tally::new(version);
        let truth = truth(&mut running);
        running.wait_until_it_reads();
        let live = find(&session(running.pid()), true);
        compare(&mut tally, &live, &truth);
        let path = gcore(running.pid(), dir.path());
        tally.equal("by gdb", whole(&live), whole(&in_core(&path)));
        drop(running);
        // A crashing program prints its goroutines; pointers that are then in registers and on system stacks count as
        // references. Such a core may lack a leak by chance, but it never has one that the live process did not have.
        let mut by_kernel = (Vec::new(), Vec::new());
        for _ in 0..DEATHS {
            let dir = tempfile::tempdir().unwrap();
            let mut running = start(version, dir.path());
            running.ask("truth");
            running.wait_until_it_reads();
            let before = whole(&find(&session(running.pid()), true));
            running.signal(Signal::SIGABRT);
            let (path, _) = killed_for_core(running, dir.path());
            let after = whole(&in_core(&path));
            assert!(after.iter().all(|leak| before.contains(leak)), "{version}: {before:?} {after:?}");
            by_kernel = (before, after);
            if by_kernel.0 == by_kernel.1 {
                break;
            }
        }
        tally.equal("by the kernel", by_kernel.0, by_kernel.1);
        all.add(tally);
    }
    all.check(1000);
}

/// What a pass reads and takes stays in proportion to the heap; what has no pointers is not read.
#[test]
fn a_pass_reads_and_takes_no_more_than_it_should() {
    let mut all = Tally::new("cost of a pass");
    for (kind, most_read) in [("mixed", 2.0), ("random", 2.5), ("noscan", 0.1)] {
        let running = Fixture::start("leaks", "1.27.3", Mode::Sw, &["heap", "200", kind]);
        let stats = find(&session(running.pid()), false).stats;
        let (heap, scannable) = stats.heap_bytes;
        let share = |bytes: u64| bytes as f64 / heap as f64;
        let read = share(stats.mark.bytes_read);
        eprintln!("{kind}: {read:.2} of the heap read, {:.3} taken", share(stats.memory as u64));
        let mut tally = Tally::new(kind);
        tally.holds(format!("{heap} bytes are a heap"), heap > 200 << 20);
        tally.holds(format!("it read {read:.2} times the heap"), read < most_read);
        tally.holds("it read all that has pointers", stats.mark.bytes_read >= scannable * 9 / 10);
        tally.holds(format!("it takes {} bytes", stats.memory), share(stats.memory as u64) < 0.015);
        all.add(tally);
    }
    all.check(12);
}
