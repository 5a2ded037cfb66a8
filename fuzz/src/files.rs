//! Files that gospy reads: core files, captures, recordings, JSON.

use std::io::{self, Write};
use std::sync::Arc;

use gospy::analysis::answer::Rows;
use gospy::analysis::waits::WaitTable;
use gospy::analysis::waits::graph::WaitGraph;
use gospy::analysis::{Answer, Diagnosis, GroupBy, Index, Request};
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::model::Snapshot;
use gospy::process::Target as _;
use gospy::process::core::CoreTarget;
use gospy::report::json::{self, JsonOptions};
use gospy::report::profile::goroutines;
use gospy::report::text::{self, SummaryOptions, TextStyle};
use gospy::report::{folded, page, traceback, waits};
use gospy::testing::{ByteSource, decoders};

use crate::bases::{self, Changed};
use crate::image::source;
use crate::parts::{self, Bytes, CAPTURE, Container, RECORDING, Section, put_part};

/// A writer that counts.
#[derive(Debug, Default)]
pub struct Counted(pub usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes everything that is shown of a snapshot; how much that is.
pub fn show(snapshot: &Snapshot) -> usize {
    let index = Index::new(snapshot);
    let mut out = Counted::default();
    let all: Vec<usize> = (0..snapshot.goroutines.len()).collect();
    let style = TextStyle { width: Some(100), ..TextStyle::default() };
    let written =
        [Rows::Each, Rows::Groups(GroupBy::Stack), Rows::Groups(GroupBy::Object)].into_iter().try_for_each(|rows| {
            let answer = Answer::of(&index, Request { rows, ..Request::default() });
            json::write(&mut out, &answer, JsonOptions::default())?;
            text::summary(&mut out, &answer, SummaryOptions { style, verbose: true, ..SummaryOptions::default() })?;
            let diagnosis = Diagnosis::of(&index, answer.findings());
            waits::why::diagnosis(&mut out, style, &index, &diagnosis, "1")
        });
    let table = WaitTable::of(&index, &all, true);
    let graph = WaitGraph::of(&index, &table, 100);
    let written = written
        .and_then(|()| waits::table::write(&mut out, style, &index, &table, 100))
        .and_then(|()| waits::json::waits(&mut out, &index, &table, 100))
        .and_then(|()| waits::graph::write(&mut out, &index, &graph, waits::graph::GraphFormat::Svg))
        .and_then(|()| {
            let options = traceback::TracebackOptions::for_version(&snapshot.target.go_version);
            traceback::write_all(&mut out, &index, &all, options)
        })
        .and_then(|()| folded::write(&mut out, &index, &all, true))
        .and_then(|()| goroutines::write(&mut out, &index, &all, goroutines::Samples::Each).map(|_| ()))
        .and_then(|()| page::write(&mut out, &index, &page::PageOptions::default()));
    assert!(written.is_ok(), "a report failed on a writer that never does: {written:?}");
    out.0
}

/// What a capture or a core file says, apart from the program in it.
fn look(target: &CoreTarget) -> usize {
    let mut found = 1 + target.threads().map_or(0, |threads| threads.len()) + target.auxv().len();
    let mappings = target.mappings().unwrap_or_default();
    let mut buf = [0; 64];
    for mapping in mappings.iter().take(64) {
        found += usize::from(target.read(mapping.start, &mut buf).is_ok());
        found += usize::from(target.mapped_file(mapping).is_ok());
    }
    found += usize::from(target.executable().is_ok()) + usize::from(target.ended().is_some());
    for thread in target.threads().unwrap_or_default().iter().take(64) {
        found += usize::from(target.registers(thread.tid).is_some());
        found += usize::from(target.blocked_thread(thread.tid).is_some());
    }
    found += target.descriptors(None).iter().count() + target.limitations().len();
    found + usize::from(target.remembered("runtime").is_some()) + usize::from(target.clock().unix_ns > 0)
}

/// A capture with its program, where there is one.
fn open(file: Arc<dyn ByteSource>) -> usize {
    let Ok(target) = decoders::core(file) else { return 0 };
    let found = look(&target);
    let Ok(mut session) = Session::open(Box::new(target), &OpenOptions::default()) else { return found };
    let options = CaptureOptions { stacks: true, waits: true, system_calls: true, ..CaptureOptions::default() };
    found + session.capture(&options).map_or(0, |snapshot| show(&snapshot))
}

/// Bytes of the largest core file that is changed.
#[must_use]
pub fn core_size() -> usize {
    bases::captures().iter().map(|base| base.bytes.len()).max().unwrap_or(0)
}

/// Core files: plain, and as changes of what captures hold.
#[must_use]
pub fn core(input: &[u8]) -> usize {
    let bases: Vec<_> = bases::captures().iter().collect();
    open(source(input, &bases))
}

/// A kernel's core file with nothing in it, and changes of each kind of part.
#[must_use]
pub fn core_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (1..=bases::captures().len() as u8).map(|which| vec![which]).collect();
    seeds.push([vec![0], core_of(62, &kernel_notes())].concat());
    // A program header, a note, and the file's end.
    seeds.push(vec![1, 3, 1, 64, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    seeds.push(vec![1, 0, 2, 12, 0, 0, b'{', 0, 2, 40, 1, 0, b'9', 2, 3, 80, 0, 0, 1, 2, 3, 4]);
    seeds.push(vec![2, 6, 2, 0, 0x20, 0]);
    seeds
}

/// A core file of these notes and a page of memory.
fn core_of(machine: u16, notes: &[u8]) -> Vec<u8> {
    let section = Section { name: "memory", flags: 3, addr: 0x40_0000, data: &[0x7f; 256] };
    parts::elf(machine, 4, &[section], notes)
}

fn kernel_notes() -> Vec<u8> {
    let mut status = vec![0; 336];
    status[32..36].copy_from_slice(&1234_u32.to_le_bytes());
    // Where it was, and a system call that was interrupted.
    for (register, word) in [(16, 0x40_1000_i64), (10, -512), (15, 202)] {
        status[112 + register * 8..][..8].copy_from_slice(&word.to_le_bytes());
    }
    status[12] = 6;
    let mut process = vec![0; 136];
    process[24..28].copy_from_slice(&1234_u32.to_le_bytes());
    process[40..44].copy_from_slice(b"tiny");
    process[56..61].copy_from_slice(b"tiny ");
    let words = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let files = [words(&[1, 4096, 0x40_0000, 0x40_1000, 0]), b"/bin/tiny\0".to_vec()].concat();
    let mut signal = vec![0; 128];
    signal[0] = 6;
    [
        parts::note(b"CORE", 1, &status),
        parts::note(b"CORE", 3, &process),
        parts::note(b"CORE", 0x5349_4749, &signal),
        parts::note(b"CORE", 6, &words(&[3, 0x40_0040, 5, 2, 9, 0x40_1000, 0, 0])),
        parts::note(b"CORE", 0x4649_4c45, &files),
    ]
    .concat()
}

/// The notes of a core file; the first byte says of which machine, and whether each is a kind and a part to be put
/// together.
#[must_use]
pub fn notes(input: &[u8]) -> usize {
    const OWNERS: [&[u8]; 4] = [b"CORE", b"GOSPY", b"LINUX", b"Go"];
    let mut input = Bytes(input);
    let flags = input.byte().unwrap_or(0);
    let mut notes = Vec::new();
    if flags & 2 == 2 {
        while let (Some(owner), Some(kind)) = (input.byte(), input.number(4)) {
            let owner = OWNERS[usize::from(owner) % OWNERS.len()];
            notes.extend(parts::note(owner, kind as u32, input.part().unwrap_or_default()));
        }
    } else {
        notes.extend(input.0);
    }
    let machine = if flags & 1 == 1 { 183 } else { 62 };
    match decoders::core(Arc::new(core_of(machine, &notes))) {
        Ok(target) => look(&target),
        Err(_) => 0,
    }
}

/// The kernel's notes as they are, and notes to be put together.
#[must_use]
pub fn notes_seeds() -> Vec<Vec<u8>> {
    let made = |notes: &[(u8, u32, &[u8])]| {
        let mut out = vec![2];
        for (owner, kind, contents) in notes {
            out.push(*owner);
            out.extend(kind.to_le_bytes());
            put_part(&mut out, contents);
        }
        out
    };
    let mut seeds = vec![[vec![0], kernel_notes()].concat(), [vec![1], kernel_notes()].concat()];
    seeds.push(made(&[(0, 1, &[1; 336]), (0, 1, &[2; 336]), (0, 0x5349_4749, &[11; 128])]));
    // Those of captures, as they stand in one.
    for base in bases::captures().iter().take(2) {
        for region in base.regions.iter().skip(2).take(1) {
            seeds.push([&[0], &base.bytes[region.start..region.end.min(region.start + 24_000)]].concat());
        }
    }
    seeds
}

/// A file of blocks: as it is and with checksums made right, or made of a recipe.
fn container(input: &[u8], container: Container) -> [Option<Arc<dyn ByteSource>>; 2] {
    match input.split_first() {
        Some((how, rest)) if how % 2 == 1 => [Some(Arc::new(container.of_recipe(rest))), None],
        Some((_, rest)) => {
            let mut repaired = rest.to_vec();
            container.repair(&mut repaired);
            let other: Option<Arc<dyn ByteSource>> =
                if repaired == rest { None } else { Some(Arc::new(rest.to_vec())) };
            [Some(Arc::new(repaired)), other]
        }
        None => [None, None],
    }
}

/// Captures.
#[must_use]
pub fn capture(input: &[u8]) -> usize {
    container(input, CAPTURE).into_iter().flatten().map(open).sum()
}

/// A small one of each form, with the notes of a real one.
#[must_use]
pub fn capture_seeds() -> Vec<Vec<u8>> {
    let base = &bases::captures()[0];
    let core = core_of(62, &base.bytes[base.regions[2].clone()]);
    let mut recipe = Vec::new();
    put_part(&mut recipe, br#"{"program":"/bin/tiny","pid":1234}"#);
    for part in core.chunks(32 << 10) {
        recipe.push(1);
        put_part(&mut recipe, part);
    }
    let whole = CAPTURE.of_recipe(&recipe);
    vec![[vec![1], recipe].concat(), [vec![0], whole].concat()]
}

/// Recordings.
#[must_use]
pub fn archive(input: &[u8]) -> usize {
    let files = container(input, RECORDING).into_iter().flatten();
    files.map(|file| decoders::archive(file).iter().take(2).map(show).sum::<usize>()).sum()
}

/// The recording that tests keep, in both forms.
#[must_use]
pub fn archive_seeds() -> Vec<Vec<u8>> {
    let file = bases::recording();
    vec![[&[0], file].concat(), [vec![1], RECORDING.recipe_of(file)].concat()]
}

/// JSON that gospy wrote.
#[must_use]
pub fn json(input: &[u8]) -> usize {
    let (snapshot, found) = decoders::json(input);
    found + snapshot.map_or(0, |snapshot| show(&snapshot))
}

/// A snapshot of two captures, with and without frames.
#[must_use]
pub fn json_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for base in bases::captures().iter().take(2) {
        let target = decoders::core(Arc::new(Changed::new(base, Bytes(&[])))).expect("a capture that tests read");
        let mut session = Session::open(Box::new(target), &OpenOptions::default()).expect("it has a program");
        let options = CaptureOptions { stacks: true, waits: true, system_calls: true, ..CaptureOptions::default() };
        let snapshot = session.capture(&options).expect("it can be read");
        let index = Index::new(&snapshot);
        for frames in [true, false] {
            let answer = Answer::of(&index, Request::default());
            let mut out = Vec::new();
            json::write(&mut out, &answer, JsonOptions { frames, ..JsonOptions::default() }).expect("memory takes all");
            seeds.push(out);
        }
    }
    seeds.push(
        br#"{"schema_version":1,"captured_at":"2026-05-04T10:11:12Z","target":{"pid":7},"heap":{"samples_every":524288,"sites":[]},"objects":null}"#
            .to_vec(),
    );
    seeds
}

/// Words of JSON that gospy wrote.
pub const JSON_WORDS: &[&[u8]] = &[
    b"null",
    b"true",
    b"-1",
    b"18446744073709551615",
    b"1e400",
    b"\"\"",
    b"[]",
    b"{}",
    b"[{}]",
    b"\"\\ud800\"",
    b"\"0xc000000000\"",
    b"\"2026-05-04T10:11:12Z\"",
    b"\"address\":",
    b"\"waiting_on\":",
    b"\"kind\":",
    b"\"channel\"",
    b"\"select\"",
    b"\"rwmutex\"",
    b"\"network\"",
    b"\"syscall\"",
    b"\"sleep\"",
    b"\"unknown\":",
    b"\"cases\":",
    b"\"frames\":",
    b"\"labels\":",
    b"\"death\":",
    b"\"groups\":",
    b"\"objects\":",
    b"\"heap\":",
    b"\"list\":",
];
