use std::sync::Arc;

use super::*;
use crate::analysis::{Answer, Index, Request};
use crate::bytes::ByteSource;
use crate::capture::{CaptureOptions, OpenOptions, Session};
use crate::model::testing::waiting::waiting_server;
use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame, later};
use crate::model::{Goid, Snapshot, Status};
use crate::process::core::{CoreOptions, CoreTarget};
use crate::report::json::{self, JsonOptions};

const SECOND: u64 = 1_000_000_000;
/// Memory enough, bytes.
const ROOM: usize = 256 << 20;

fn document(snapshot: &Snapshot) -> String {
    let index = Index::new(snapshot);
    let mut out = Vec::new();
    json::write(&mut out, &Answer::of(&index, Request::default()), JsonOptions::default()).unwrap();
    String::from_utf8(out).unwrap()
}

/// All of it: what documents leave out, too.
fn assert_same(read: &Snapshot, was: &Snapshot) {
    let alive = || was.goroutines.iter().filter(|goroutine| !goroutine.status.is_dead());
    assert_eq!(read.goroutines.len(), alive().count());
    for (read_one, was_one) in read.goroutines.iter().zip(alive()) {
        let waits = |snapshot: &Snapshot, goroutine| {
            let wait = snapshot.waiting_on(goroutine)?;
            let objects: Vec<_> = snapshot.waits.objects_of(wait).map(|(_, object)| object.clone()).collect();
            Some((snapshot.waits.kind(wait), objects))
        };
        assert_eq!(waits(read, read_one), waits(was, was_one));
        let plain = |goroutine: &crate::model::Goroutine| {
            format!("{:?}", crate::model::Goroutine { waiting_on: None, ..goroutine.clone() })
        };
        assert_eq!(plain(read_one), plain(was_one));
        let stack = |snapshot: &Snapshot, goroutine: &crate::model::Goroutine| {
            let stack = snapshot.symbols.stack(goroutine.stack.known()?)?;
            let names = stack.frames.iter().map(|frame| snapshot.symbols.function(frame.frame).to_owned());
            Some(names.collect::<Vec<_>>())
        };
        assert_eq!(stack(read, read_one), stack(was, was_one));
    }
    let rest = |snapshot: &Snapshot| {
        let Snapshot { captured_at_unix_ns, monotonic_ns, target, reading, sched, heap, gc, .. } = snapshot;
        let head = format!("{captured_at_unix_ns} {monotonic_ns} {target:?} {reading:?} {sched:?} {heap:?} {gc:?}");
        let Snapshot { processors, threads, dead_goroutines, wait_reasons, not_in_go, descriptors, .. } = snapshot;
        let tail = format!("{processors:?} {threads:?} {dead_goroutines} {wait_reasons:?} {not_in_go:?}");
        format!("{head} {tail} {descriptors:?} {:?}", snapshot.warnings)
    };
    assert_eq!(rest(read), rest(was));
    assert_eq!(document(read), document(was));
}

fn recorded(snapshots: &[Snapshot]) -> Vec<u8> {
    let mut out = Description::of(&snapshots[0], "2026-05-04T10:11:12Z".to_owned()).head().unwrap();
    let mut recorder = Recorder::new(&mut out, 10 * SECOND);
    snapshots.iter().for_each(|snapshot| recorder.add(snapshot).unwrap());
    recorder.finish().unwrap();
    out
}

fn open(bytes: &[u8]) -> Result<Archive, ArchiveError> {
    Archive::open(Arc::new(bytes.to_vec()))
}

/// A server that changes from second to second; from `restart` on, in names of another session.
fn series(seconds: u64, restart: u64) -> Vec<Snapshot> {
    let mut all = Vec::new();
    for second in 0..seconds {
        let mut builder = if second == restart { SnapshotBuilder::of_new_session() } else { SnapshotBuilder::new() };
        for id in 1..30 {
            // Some end, some begin, some move, some stay.
            let line = if id % 5 == 0 { u32::try_from(second).unwrap() } else { 7 };
            let status = if (id + second) % 11 == 0 { Status::Running } else { Status::Waiting };
            let labels = if id % 7 == 0 { vec![("tenant", "a;b")] } else { Vec::new() };
            let frames = vec![frame("runtime.gopark", "/go/proc.go", 1), frame("main.work", "/work.go", line)];
            let id = if id % 3 == 0 { id + 100 * second } else { id };
            builder.add(&GoroutineSpec { id, status, reason: Some("select"), frames, labels, ..Default::default() });
        }
        let mut snapshot = builder.build();
        snapshot.goroutines.sort_by_key(|goroutine| goroutine.id);
        if second % 4 == 3 {
            snapshot.warnings.add(crate::model::WarningCode::ClockUnknown, "unknown");
            snapshot.heap = None;
        }
        later(&mut snapshot, second * SECOND);
        all.push(snapshot);
    }
    all
}

#[test]
fn samples_come_back_as_they_were_in_any_order() {
    let series = series(40, 17);
    let bytes = recorded(&series);
    let mut archive = open(&bytes).unwrap();
    assert_eq!((archive.samples(), archive.cut()), (40, None));
    assert_eq!(archive.description().exe, "/usr/local/bin/orders");
    for number in (0..40).chain([39, 3, 3, 4, 17, 16, 18, 0, 25, 39]) {
        assert_same(&archive.read(number).unwrap(), &series[usize::try_from(number).unwrap()]);
    }
    assert!(archive.read(40).is_err());
    // Names mean the same until the session changes, and not after.
    let pools: Vec<_> = [0, 16, 17].map(|at| archive.read(at).unwrap().symbols.id()).to_vec();
    assert!(pools[0] == pools[1] && pools[1] != pools[2]);
}

#[test]
fn everything_that_is_waited_on_comes_back() {
    let mut first = waiting_server();
    let mut second = waiting_server();
    later(&mut second, SECOND);
    // One object less: others keep their numbers.
    second.goroutines.remove(0);
    let third = {
        let mut third = waiting_server();
        later(&mut third, 2 * SECOND);
        third
    };
    first.goroutines.truncate(20);
    let all = [first, second, third];
    let mut archive = open(&recorded(&all)).unwrap();
    for (number, was) in (0..).zip(&all) {
        assert_same(&archive.read(number).unwrap(), was);
    }
}

#[test]
fn a_real_program_comes_back() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
    let target = CoreTarget::open(file.as_ref(), &CoreOptions::default()).unwrap();
    let mut session = Session::open(Box::new(target), &OpenOptions::default()).unwrap();
    let options = CaptureOptions { stacks: true, waits: true, system_calls: true, ..CaptureOptions::default() };
    let snapshot = session.capture(&options).unwrap();
    let mut archive = open(&recorded(&[snapshot.clone(), snapshot.clone()])).unwrap();
    assert_same(&archive.read(1).unwrap(), &snapshot);
}

#[test]
fn dead_goroutines_are_left_out() {
    let mut snapshot = waiting_server();
    let last = snapshot.goroutines.last_mut().unwrap();
    (last.status, last.id) = (Status::Dead, Goid(0));
    let mut archive = open(&recorded(&[snapshot.clone()])).unwrap();
    let read = archive.read(0).unwrap();
    assert_eq!((read.goroutines.len() + 1, read.dead_goroutines), (snapshot.goroutines.len(), 3));
}

#[test]
fn what_does_not_change_costs_next_to_nothing() {
    let builder = |goroutines: u64| {
        let mut builder = SnapshotBuilder::new();
        for id in 1..=goroutines {
            let frames = vec![frame("main.wait", "/w.go", 3)];
            builder.add(&GoroutineSpec { id, reason: Some("select"), frames, ..Default::default() });
        }
        builder.build()
    };
    let mut sizes = Vec::new();
    for goroutines in [10, 2_000] {
        let snapshot = builder(goroutines);
        let all: Vec<Snapshot> = (0..10)
            .map(|second| {
                let mut snapshot = snapshot.clone();
                snapshot.monotonic_ns += second * SECOND;
                // The two clocks are not read at the same moment.
                snapshot.captured_at_unix_ns += second * SECOND + second * 77;
                for goroutine in &mut snapshot.goroutines {
                    let before = std::num::NonZeroU64::new(NOW_NS - 5 * SECOND - second * 77);
                    goroutine.blocked_before_ns = before;
                }
                snapshot
            })
            .collect();
        sizes.push(recorded(&all).len() - recorded(&all[..1]).len());
    }
    assert!(sizes[1] < sizes[0] + 64, "{sizes:?}");
}

/// Ten thousand goroutines of which each does something once in a hundred seconds, with 40 stacks, 8 Ps and a heap that
/// changes: what an hour of that takes, by a minute of it.
#[test]
fn an_hour_of_slow_changes_is_small() {
    const GOROUTINES: u64 = 10_000;
    let mut builder = SnapshotBuilder::new();
    for id in 1..=GOROUTINES {
        let line = u32::try_from(id % 40).unwrap();
        let frames = vec![frame("runtime.gopark", "/go/proc.go", 1), frame("main.work", "/work.go", line)];
        builder.add(&GoroutineSpec { id: id * 7, reason: Some("select"), frames, ..Default::default() });
    }
    let mut snapshot = builder.build();
    let processor = snapshot.processors[0].clone();
    snapshot.processors = (0..8).map(|id| crate::model::Processor { id, ..processor.clone() }).collect();
    let mut random = 7_u64;
    let mut next = || {
        // xorshift64 (Marsaglia 2003).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut recorder = Recorder::new(Vec::new(), u64::MAX);
    let mut sizes = Vec::new();
    for _ in 0..60 {
        for _ in 0..GOROUTINES / 100 {
            let (one, other) = (next() % GOROUTINES, next() % GOROUTINES);
            let stack = snapshot.goroutines[usize::try_from(other).unwrap()].stack;
            let goroutine = &mut snapshot.goroutines[usize::try_from(one).unwrap()];
            goroutine.stack = stack;
            goroutine.run_seq = Some(next().to_le_bytes()[0]);
            goroutine.sp.0 ^= next() & 0xff8;
            goroutine.wait_since_ns = std::num::NonZeroU64::new(snapshot.monotonic_ns);
        }
        for processor in &mut snapshot.processors {
            processor.schedtick = processor.schedtick.wrapping_add(u32::try_from(next() % 99).unwrap());
        }
        let heap = snapshot.heap.as_mut().unwrap();
        heap.heap_alloc ^= next() & 0xff_ffff;
        heap.mallocs += next() & 0xffff;
        snapshot.monotonic_ns += SECOND;
        snapshot.captured_at_unix_ns += SECOND;
        snapshot.target.cpu_ns = snapshot.target.cpu_ns.map(|ns| ns + next() % 100_000_000);
        recorder.add(&snapshot).unwrap();
        recorder.flush().unwrap();
        sizes.push(recorder.out().len());
    }
    let (whole, changes) = (sizes[0], (sizes[59] - sizes[0]) / 59);
    let hour = 12 * whole + 3_600 * changes;
    println!("a whole sample takes {whole} bytes, a second {changes}, an hour {hour}");
    assert!(hour < 60_000_000 && whole < 1_000_000, "{whole} {changes} {hour}");
}

#[test]
fn moments_are_found() {
    let series = series(30, 99);
    let mut archive = open(&recorded(&series)).unwrap();
    let (first, unix) = (archive.first().monotonic_ns, archive.first().unix_ns);
    assert_eq!(archive.last().monotonic_ns - first, 29 * SECOND);
    let mut find = |start| archive.find(start).unwrap();
    assert_eq!(
        [0, 1, SECOND - 1, SECOND, 12 * SECOND + 5, 99 * SECOND].map(|ns| find(Start::Beginning(ns))),
        [0, 0, 0, 1, 12, 29]
    );
    assert_eq!([0, 1, SECOND, 29 * SECOND, 99 * SECOND].map(|ns| find(Start::End(ns))), [29, 28, 28, 0, 0]);
    assert_eq!([0, unix, unix + 7 * SECOND + 1, u64::MAX].map(|ns| find(Start::Unix(ns))), [0, 0, 7, 29]);
}

/// Wherever it is cut, what was written before can be read, and nothing else is made up.
#[test]
fn a_cut_file_is_read_up_to_the_cut() {
    let series = series(14, 6);
    let bytes = recorded(&series);
    let mut last = 0;
    for len in 0..bytes.len() {
        let Ok(mut archive) = open(&bytes[..len]) else {
            assert_eq!(last, 0, "cut at byte {len}");
            continue;
        };
        assert!(archive.samples() >= last, "cut at byte {len}");
        assert!(archive.cut().is_some_and(|cut| cut.contains("cut off at byte")), "cut at byte {len}");
        if archive.samples() > last {
            last = archive.samples();
            for number in 0..last - 1 {
                assert_same(&archive.read(number).unwrap(), &series[usize::try_from(number).unwrap()]);
            }
            let newest = archive.read(last - 1).unwrap();
            assert!(newest.warnings.iter().any(|warning| warning.message.contains("cut off at byte")));
            assert_eq!(newest.goroutines.len(), series[usize::try_from(last - 1).unwrap()].goroutines.len());
        }
    }
    assert_eq!(last, 14);
}

#[test]
fn a_flipped_byte_is_noticed() {
    let series = series(12, 99);
    let bytes = recorded(&series);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        match open(&flipped) {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(mut archive) => {
                assert!(archive.cut().is_some(), "byte {at}");
                for number in 0..archive.samples() {
                    let (read, was) = (archive.read(number).unwrap(), &series[usize::try_from(number).unwrap()]);
                    assert_eq!(read.goroutines.len(), was.goroutines.len());
                }
            }
        }
    }
}

/// Checksums keep nobody from writing nonsense: every byte of the data may be anything.
#[test]
fn nonsense_with_right_checksums_is_refused_or_shown() {
    let series = series(3, 99);
    let mut plain = Vec::new();
    let mut encoder = encoder::Encoder::default();
    for snapshot in &series {
        let mut sample = Vec::new();
        encoder.encode(snapshot, &mut sample).unwrap();
        plain.push(sample);
    }
    let symbols = Arc::clone(&series[0].symbols);
    let mut refused = 0;
    for at in 0..plain[0].len() {
        let mut sample = plain[0].clone();
        sample[at] ^= [0x01, 0x80, 0xff][at % 3];
        let mut decoder = decoder::Decoder::default();
        match decoder.apply(&sample, ROOM).and_then(|()| decoder.apply(&plain[1], ROOM)) {
            Err(_) => refused += 1,
            Ok(()) => drop(document(&decoder.snapshot(Arc::clone(&symbols)))),
        }
    }
    assert!(refused > 100, "{refused}");
    for len in 0..plain[0].len() {
        assert!(decoder::Decoder::default().apply(&plain[0][..len], ROOM).is_err(), "{len}");
    }
    let mut entries = Vec::new();
    names::Written::default().write_new(&series[0].symbols, &mut entries).unwrap();
    for at in 0..entries.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = entries.clone();
            bytes[at] ^= flip;
            let mut names = names::Names::default();
            if names.add(&bytes, ROOM).is_ok() {
                let mut decoder = decoder::Decoder::default();
                decoder.apply(&plain[0], ROOM).unwrap();
                drop(document(&decoder.snapshot(Arc::new(names.pool().view()))));
            }
        }
    }
}

#[test]
fn lengths_are_limited() {
    let mut stream = Vec::new();
    push_varint(&mut stream, MAX_NAME as u64 + 1);
    assert!(take_entry(&mut &stream[..], MAX_NAME).is_err());
    assert_eq!(take_entry(&mut &stream[..], MAX_NAME + 1), Ok(None));
    assert!(take_entry(&mut &[0xff; 12][..], MAX_NAME).is_err());
    assert_eq!(take_entry(&mut &[0x80, 0x80][..], MAX_NAME), Ok(None));
    let mut names = names::Names::default();
    // An entry that never ends is not waited for for ever.
    let mut begin = Vec::new();
    push_varint(&mut begin, MAX_NAME as u64);
    names.add(&begin, ROOM).unwrap();
    names.add(&vec![0; 1 << 20], ROOM).unwrap();
    for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
        let mut bytes = Vec::new();
        push_varint(&mut bytes, value);
        assert_eq!(take_varint(&mut &bytes[..]), Some(value));
    }
}

/// A file whose blocks are these, with right lengths and checksums.
fn file_of(blocks: &[(block::Part, u32, &[u8])]) -> Vec<u8> {
    let mut file = Description::default().head().unwrap();
    for (part, samples, data) in blocks {
        let chunks: Vec<&[u8]> = if data.is_empty() { vec![data] } else { data.chunks(MAX_BLOCK).collect() };
        let last = chunks.len() - 1;
        for (at, chunk) in chunks.into_iter().enumerate() {
            let part = if at == 0 || *part == block::Part::MoreNames { *part } else { block::Part::Changes };
            let samples = if at == last { *samples } else { 0 };
            file.extend(block::encode(part, samples, Moment::default(), chunk).unwrap().1);
        }
    }
    file.extend(writer::end(1).unwrap().1);
    file
}

/// What is compressed a thousand times, and takes 24 times the memory when it is decoded, is refused before that.
#[test]
fn bombs_are_refused() {
    use block::Part;
    // Names: sets of labels, each 4 MB long and all of them alike but for their length.
    let mut names = Vec::new();
    for len in 0..20_u64 {
        let mut entry = vec![3];
        push_varint(&mut entry, 2_000_000 + len);
        entry.resize(entry.len() + 2 * (2_000_000 + usize::try_from(len).unwrap()), 1);
        push_varint(&mut names, entry.len() as u64);
        names.append(&mut entry);
    }
    let sample = |script: &[u8]| {
        let mut entry = Vec::new();
        push_varint(&mut entry, script.len() as u64);
        entry.extend(script);
        entry
    };
    let nothing = sample(&[0; 8]);
    // A fact: the texts of 30 million wait reasons, all of them empty.
    let (mut fact, mut script) = (vec![7], Vec::new());
    push_varint(&mut fact, 30_000_000);
    fact.resize(fact.len() + 30_000_000, 0);
    push_varint(&mut script, 1 << 2 | 2);
    push_varint(&mut script, fact.len() as u64);
    script.append(&mut fact);
    script.extend([0; 8]);
    let reasons = sample(&script);
    // Ten million pauses of the collector, of two bytes each.
    let mut script = vec![0];
    push_varint(&mut script, 10_000_000 << 2 | 2);
    script.extend([2, 0, 0].repeat(10_000_000));
    script.extend([0; 7]);
    let pauses = sample(&script);
    for (blocks, said) in [
        (vec![(Part::Names, 0, &names[..1]), (Part::MoreNames, 0, &names[1..]), (Part::Whole, 1, &nothing)], "names"),
        (vec![(Part::Names, 0, &[][..]), (Part::Whole, 1, &reasons)], "a sample takes too much memory"),
        (vec![(Part::Names, 0, &[][..]), (Part::Whole, 1, &pauses)], "a sample takes too much memory"),
    ] {
        let file = file_of(&blocks);
        assert!(file.len() < 1 << 20, "{}", file.len());
        let error = open(&file).and_then(|mut archive| archive.read(0)).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("memory"), "{error}");
    }
}

/// Of a long recording a few samples lead to any of them: far ones, and near ones more closely.
#[test]
fn some_samples_lead_to_each_one() {
    let series = series(40, 99);
    let archive = open(&recorded(&series)).unwrap();
    let leading = |number, most| archive.leading_to(number, most);
    assert_eq!(leading(0, 8), [0]);
    assert_eq!(leading(3, 8), [0, 1, 2, 3]);
    // A whole one comes every ten seconds.
    assert_eq!(leading(39, 8), [0, 10, 20, 26, 32, 39]);
    assert_eq!(leading(39, 1), [10, 39]);
    assert_eq!(leading(39, 999).len(), 22);
    for number in 0..40 {
        let all = leading(number, 9);
        assert!(all.is_sorted_by(|one, next| one < next) && all.last() == Some(&number), "{number}: {all:?}");
    }
}

#[test]
fn a_newer_version_says_so() {
    let mut bytes = recorded(&series(1, 9));
    bytes[8] = 9;
    assert!(open(&bytes).unwrap_err().to_string().contains("version 9"));
}

#[test]
fn a_sample_larger_than_a_block_comes_back() {
    let mut builder = SnapshotBuilder::new();
    for id in 1..=30_000_u64 {
        let frames = vec![frame("main.wait", "/w.go", u32::try_from(id % 9).unwrap())];
        builder.add(&GoroutineSpec { id: id * id, wait_ns: Some(id * id), frames, ..Default::default() });
    }
    let mut second = builder.build();
    let first = series(1, 99).remove(0);
    later(&mut second, SECOND);
    let bytes = recorded(&[first.clone(), second.clone(), first]);
    let mut archive = open(&bytes).unwrap();
    assert_eq!(archive.samples(), 3);
    let read = archive.read(1).unwrap();
    assert_eq!(read.goroutines.len(), 30_000);
    assert_same(&read, &second);
}

#[test]
fn a_ring_keeps_the_latest_samples() {
    let keep = 20 * SECOND;
    let mut recorder = Recorder::new(Ring::new(keep, usize::MAX), Ring::whole_every_ns(keep));
    let series = series(90, 70);
    for (second, snapshot) in (1_u64..).zip(&series) {
        recorder.add(snapshot).unwrap();
        recorder.flush().unwrap();
        let held = recorder.out().samples();
        assert!(held >= second.min(20) && held <= 23, "{held} samples after {second} s");
    }
    assert!(!recorder.out().is_short());
    let mut bytes = Vec::new();
    recorder.out().write(&mut bytes, &Description::of(&series[0], String::new())).unwrap();
    let mut archive = open(&bytes).unwrap();
    assert_eq!((archive.samples(), archive.cut()), (recorder.out().samples(), None));
    assert_same(&archive.read(archive.samples() - 1).unwrap(), &series[89]);
    let first = 90 - usize::try_from(archive.samples()).unwrap();
    assert_same(&archive.read(0).unwrap(), &series[first]);
}

#[test]
fn a_ring_has_a_size() {
    let most = 30_000;
    let mut recorder = Recorder::new(Ring::new(1_000 * SECOND, most), SECOND);
    let mut largest = 0;
    for snapshot in &series(200, 999) {
        recorder.add(snapshot).unwrap();
        recorder.flush().unwrap();
        largest = largest.max(recorder.out().size());
    }
    assert!(largest < most + 5_000 && recorder.out().is_short(), "{largest}");
    let mut bytes = Vec::new();
    recorder.out().write(&mut bytes, &Description::default()).unwrap();
    assert!(open(&bytes).unwrap().samples() > 5);
}

/// What older files have does not change unnoticed: if this fails, the version of the format has to be raised.
#[test]
fn the_encoding_is_that_of_the_version() {
    let mut sample = Vec::new();
    let _ = SnapshotBuilder::of_new_session();
    let mut snapshot = waiting_server();
    snapshot.warnings.add(crate::model::WarningCode::Truncated, "cut");
    let mut encoder = encoder::Encoder::default();
    encoder.encode(&snapshot, &mut sample).unwrap();
    let mut entries = Vec::new();
    names::Written::default().write_new(&snapshot.symbols, &mut entries).unwrap();
    let sums = [&sample, &entries].map(|bytes| (bytes.len(), crate::process::capture_file::crc(&[bytes])));
    assert_eq!((VERSION, sums), (1, [(33_440, 1_784_969_733), (995, 4_246_507_997)]));
}

#[test]
fn the_source_may_end_early() {
    struct Short(Vec<u8>);
    impl ByteSource for Short {
        fn len(&self) -> u64 {
            u64::MAX
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
            self.0.read_at(offset, buf)
        }
    }
    let bytes = recorded(&series(2, 9));
    assert_eq!(Archive::open(Arc::new(Short(bytes))).unwrap().samples(), 2);
}
