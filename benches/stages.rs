//! The stages of a command, each by itself, on a checked-in capture: `cargo bench --bench stages`.
//!
//! With `-- --test` each is run once. The goroutines of the capture are repeated for the stages that
//! come after reading, to show how they grow.

#![allow(missing_docs, reason = "nothing in a benchmark is public")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to say")]

mod parked;

use std::sync::{Arc, LazyLock};

use divan::{Bencher, black_box};
use gospy::addr::{Addr, Arch};
use gospy::analysis::answer::{Rows, SystemGoroutines};
use gospy::analysis::filter::Filter;
use gospy::analysis::group::group;
use gospy::analysis::{Answer, GroupBy, Index, PlaceKind, Request, Sort, SortKey};
use gospy::capture::{CaptureOptions, Session};
use gospy::model::{Goid, Snapshot};
use gospy::process::MemRange;
use gospy::process::fake::FakeTarget;
use gospy::report::folded;
use gospy::report::json::{self, JsonOptions};
use gospy::report::profile::goroutines::{self, Samples};
use gospy::report::text::{self, SummaryOptions};
use gospy::report::traceback::{self, TracebackOptions};
use gospy::testing::{ChunkReader, Limits};

static IMAGE: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| parked::image().unwrap());

fn main() {
    divan::main();
}

fn session() -> Session {
    parked::open(&IMAGE).unwrap()
}

/// The capture's goroutines over and over, until there are `count`.
fn snapshot(count: usize) -> Snapshot {
    let mut snapshot = parked::capture(&mut session()).unwrap();
    let goroutines = snapshot.goroutines.to_vec();
    let ids = (1..).map(Goid);
    let goroutines: Vec<_> = goroutines
        .into_iter()
        .cycle()
        .zip(ids)
        .take(count)
        .map(|(mut g, id)| {
            g.id = id;
            g
        })
        .collect();
    snapshot.goroutines = goroutines.into();
    snapshot
}

const SIZES: [usize; 2] = [1_000, 100_000];

fn on(bencher: Bencher<'_, '_>, count: usize, stage: impl Fn(&Index<'_>, &[usize]) + Sync) {
    let snapshot = snapshot(count);
    let index = Index::new(&snapshot);
    let all: Vec<usize> = (0..count).collect();
    bencher.counter(divan::counter::ItemsCount::new(count)).bench(|| stage(&index, &all));
}

/// Finding the runtime in a program that was not seen before.
#[divan::bench]
fn open() -> Session {
    session()
}

/// The first capture looks every program counter up.
#[divan::bench]
fn first_capture(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(session).bench_values(|mut session| parked::capture(&mut session).unwrap());
}

/// The next ones know them.
#[divan::bench]
fn next_capture(bencher: Bencher<'_, '_>) {
    let mut session = session();
    parked::capture(&mut session).unwrap();
    bencher.bench_local(|| parked::capture(&mut session).unwrap());
}

#[divan::bench]
fn next_capture_without_stacks(bencher: Bencher<'_, '_>) {
    let mut session = session();
    bencher.bench_local(|| session.capture(&CaptureOptions::default()).unwrap());
}

/// Putting the headers of many gs together to few ranges, and reading them.
#[divan::bench(args = SIZES)]
fn coalesce(bencher: Bencher<'_, '_>, count: usize) {
    const G: usize = 480;
    const BASE: u64 = 0xc0_0000_0000;
    let target = FakeTarget::new(Arch::Amd64).with_segment(Addr(BASE), vec![0_u8; count * G]);
    let pieces: Vec<MemRange> = (0..count).map(|n| MemRange { start: Addr(BASE + (n * G) as u64), len: 456 }).collect();
    bencher.counter(divan::counter::ItemsCount::new(count)).bench_local(|| {
        let mut reader = ChunkReader::new(Limits::default());
        let mut done = 0;
        while done < pieces.len() {
            done = reader.read(&target, &pieces, done).unwrap().end;
        }
        black_box(done)
    });
}

#[divan::bench(args = SIZES)]
fn group_by_place(bencher: Bencher<'_, '_>, count: usize) {
    on(bencher, count, |index, all| {
        black_box(group(index, &GroupBy::Place(PlaceKind::User), all, 1_000));
    });
}

#[divan::bench(args = SIZES)]
fn group_by_stack(bencher: Bencher<'_, '_>, count: usize) {
    on(bencher, count, |index, all| {
        black_box(group(index, &GroupBy::Stack, all, 1_000));
    });
}

#[divan::bench(args = SIZES)]
fn filter(bencher: Bencher<'_, '_>, count: usize) {
    let filter = Filter::parse("state=waiting and func~hopA and not reason~select").unwrap();
    on(bencher, count, |index, _| {
        black_box(filter.select(index));
    });
}

#[divan::bench(args = SIZES)]
fn sort(bencher: Bencher<'_, '_>, count: usize) {
    let sort = Sort { key: SortKey::Age, reverse: false };
    on(bencher, count, |index, all| {
        let mut all = all.to_vec();
        sort.goroutines(index, PlaceKind::User, &mut all);
        black_box(all);
    });
}

#[divan::bench(args = SIZES)]
fn write_summary(bencher: Bencher<'_, '_>, count: usize) {
    let rows = Rows::Auto { most_single: 60, by: GroupBy::Place(PlaceKind::User) };
    let request = Request { system: SystemGoroutines::Apart, rows, group_limit: Some(40), ..Request::default() };
    on(bencher, count, |index, _| {
        let answer = Answer::of(index, request.clone());
        text::summary(&mut std::io::sink(), &answer, SummaryOptions::default()).unwrap();
    });
}

#[divan::bench(args = SIZES)]
fn write_json(bencher: Bencher<'_, '_>, count: usize) {
    on(bencher, count, |index, _| {
        let answer = Answer::of(index, Request::default());
        json::write(&mut std::io::sink(), &answer, JsonOptions { frames: true, ..JsonOptions::default() }).unwrap();
    });
}

#[divan::bench(args = SIZES)]
fn write_tracebacks(bencher: Bencher<'_, '_>, count: usize) {
    let options = TracebackOptions::for_version("go1.26.6");
    on(bencher, count, |index, all| traceback::write_all(&mut std::io::sink(), index, all, options).unwrap());
}

#[divan::bench(args = SIZES)]
fn write_folded(bencher: Bencher<'_, '_>, count: usize) {
    on(bencher, count, |index, all| folded::write(&mut std::io::sink(), index, all, false).unwrap());
}

#[divan::bench(args = SIZES)]
fn write_pprof(bencher: Bencher<'_, '_>, count: usize) {
    on(bencher, count, |index, all| {
        goroutines::write(&mut std::io::sink(), index, all, Samples::Summed).unwrap();
    });
}
