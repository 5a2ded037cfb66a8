//! The heaps of programs that others have released, with data and under load, against what they say of themselves.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use crate::leaks::{marked, session};
use crate::support::Tally;
use crate::support::compare::by_id;
use crate::support::real::{Real, answers, put};
use gospy::heap::objects::{ObjectOptions, Objects, Root, Standing, Wanted, find};
use gospy::heap::{ObjectId, Progress};

/// How often the live heap is compared.
const TIMES: usize = 5;
/// Objects to which a path is looked for.
const PATHS: usize = 12;

/// Bytes of the heap after a collection that the program makes for it.
fn collected(real: &Real) -> u64 {
    let text = real.get("/debug/pprof/heap?gc=1&debug=1");
    let line = text.lines().find_map(|line| line.strip_prefix("# HeapAlloc = "));
    line.unwrap().parse().unwrap()
}

fn objects(real: &Real, options: &ObjectOptions) -> Objects {
    find(session(real.running.pid()).process(), options, &Progress::default(), |_| {}).unwrap()
}

/// A program that was released, with data: what is asked of it without pause, and how it comes to rest.
struct Subject {
    name: &'static str,
    real: Real,
    load: fn(SocketAddr, u32),
    rest: fn(&Real),
}

impl Subject {
    /// Calls `during` while the program is under load, by two who ask at most fifty times a second each.
    fn under_load<T>(&self, during: impl FnOnce() -> T) -> T {
        let (done, load, address) = (AtomicBool::new(false), self.load, self.real.address());
        scope(|scope| {
            for who in 0..2 {
                let done = &done;
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        load(address, who);
                        sleep(Duration::from_millis(20));
                    }
                });
            }
            let result = during();
            done.store(true, Ordering::Relaxed);
            result
        })
    }

    fn rest(&self) {
        (self.rest)(&self.real);
        sleep(Duration::from_secs(3));
    }
}

fn prometheus() -> Subject {
    let queries = |address, who| {
        let queries = ["sum(rate(go_gc_duration_seconds_sum[30s]))by(job)", "count(%7Bjob!=%22%22%7D)by(__name__)"];
        let query = if who == 0 { queries[0] } else { queries[1] };
        assert!(answers(address, &format!("/api/v1/query?query={query}")), "{query}");
    };
    let real = Real::start_prometheus_with_data(20);
    let subject = Subject { name: "prometheus", real, load: queries, rest: Real::stop_scraping };
    // So that each has been scraped, some of them often.
    subject.under_load(|| sleep(Duration::from_secs(8)));
    subject
}

fn etcd() -> Subject {
    let real = Real::start_etcd_with_data(8000);
    let subject = Subject { name: "etcd", real, load: put, rest: |_| {} };
    subject.under_load(|| sleep(Duration::from_secs(2)));
    subject
}

/// Once nothing allocates but its answers, what is live is what a collection leaves, but for one in a hundred. Under
/// load, that is still there.
fn as_much_is_live_as_a_collection_leaves(subject: &Subject) {
    let real = &subject.real;
    subject.rest();
    let mut tally = Tally::new(format!("live bytes of {}", subject.name));
    let frozen = ObjectOptions { freeze: true, ..ObjectOptions::default() };
    let mut data = u64::MAX;
    for _ in 0..TIMES {
        let before = collected(real);
        let found = objects(real, &frozen);
        let after = collected(real);
        let (least, most) = (before.min(after), before.max(after));
        eprintln!("{least} to {most}: {} live", found.live.bytes);
        tally.holds("it stood still", matches!(found.standing, Standing::Frozen(_)));
        tally.holds(format!("{:?}", found.notes), found.notes.is_empty());
        tally.holds(format!("{least} bytes are not much"), least > 10 << 20);
        tally.between("live", least - least / 100, found.live.bytes, most + most / 100);
        let kept: u64 = found.kept.iter().map(|(_, kept)| kept.bytes).sum();
        tally.equal("kept", found.live.bytes, kept);
        data = data.min(found.live.bytes);
    }
    subject.under_load(|| {
        let found = objects(real, &frozen);
        tally.holds(format!("{} of {data}", found.live.bytes), found.live.bytes >= data - data / 100);
        tally.holds("there is garbage", found.garbage.objects > 1000);
    });
    tally.check(27);
}

#[test]
fn prometheus_has_as_much_live_as_its_collector_leaves() {
    as_much_is_live_as_a_collection_leaves(&prometheus());
}

#[test]
fn etcd_has_as_much_live_as_its_collector_leaves() {
    as_much_is_live_as_a_collection_leaves(&etcd());
}

/// Paths begin at a variable in the program's data, or at a goroutine that its own dump has, and each object on them
/// has the pointer to the next where it is said to be, by the kernel's copy of the stopped program's memory.
fn paths_exist(subject: &Subject) {
    let real = &subject.real;
    let pid = real.running.pid();
    let mut tally = Tally::new(format!("paths in {}", subject.name));
    real.running.stop();
    let chosen = {
        let mut live = Vec::new();
        marked(&session(pid), |heap, marker, _| {
            for (number, span) in heap.spans.iter().enumerate() {
                let first = (0..span.elements)
                    .find(|index| marker.is_marked(ObjectId { span: u32::try_from(number).unwrap(), index: *index }));
                live.extend(first.map(|index| span.base.0 + u64::from(index) * span.slot));
            }
        });
        let step = live.len() / PATHS;
        live.into_iter().step_by(step).take(PATHS).collect::<Vec<u64>>()
    };
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let word = |addr: u64| {
        let mut word = [0; 8];
        memory.read_exact_at(&mut word, addr).unwrap();
        u64::from_le_bytes(word)
    };
    // The parts of the program that are written, and the anonymous one after them.
    let is_data = |addr: u64| {
        let mut last_is_own = false;
        maps.lines().any(|line| {
            let own =
                line.ends_with(&format!("/{}", subject.name)) || last_is_own && line.split_whitespace().count() == 5;
            last_is_own = own;
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let range = u64::from_str_radix(start, 16).unwrap()..u64::from_str_radix(end, 16).unwrap();
            own && line.contains(" rw") && range.contains(&addr)
        })
    };
    let mut goroutines = BTreeSet::new();
    for wanted in chosen {
        let found =
            objects(real, &ObjectOptions { path_to: Some(Wanted::Address(wanted)), ..ObjectOptions::default() });
        let Some(path) = found.path else {
            tally.wrong(format!("nothing leads to {wanted:#x}"));
            continue;
        };
        let starts: Vec<(u64, u64)> = path.steps.iter().map(|step| (step.addr.0, step.size)).collect();
        match path.root {
            Root::Variable(addr) => {
                tally.holds(format!("{addr} is in no variable"), is_data(addr.0));
                let (start, size) = starts[0];
                let points = word(addr.0);
                tally.holds(format!("{addr} has {points:#x}"), (start..start + size).contains(&points));
            }
            Root::Goroutine(id) => {
                goroutines.insert(id);
            }
            Root::Finalizer | Root::Timer | Root::Thread => {}
        }
        for (n, step) in path.steps.iter().enumerate().take(path.steps.len() - 1) {
            let points = word(step.addr.0 + step.offset.unwrap());
            let (start, size) = starts[n + 1];
            tally.holds(
                format!("step {n} has {points:#x}"),
                path.left_out > 0 || (start..start + size).contains(&points),
            );
        }
        let (start, size) = starts[starts.len() - 1];
        tally.holds("it ends there", (start..start + size).contains(&wanted));
    }
    real.running.cont();
    let dump = by_id(&real.get("/debug/pprof/goroutine?debug=2"));
    for id in goroutines {
        tally.holds(format!("goroutine {id} is in no dump"), dump.contains_key(&id));
    }
    tally.check(PATHS * 2);
}

#[test]
fn paths_in_prometheus_exist() {
    paths_exist(&prometheus());
}

#[test]
fn paths_in_etcd_exist() {
    paths_exist(&etcd());
}
