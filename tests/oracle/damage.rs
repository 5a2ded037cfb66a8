//! A program that has overwritten its own goroutines: what makes no sense is a warning for each of
//! them, and nobody else is harmed.
//!
//! Words are written into the gs of a live process through `/proc/PID/mem`, one field after the other,
//! with values that no runtime writes there, and put back. Its goroutines are all parked and it does
//! not collect, so that it does not notice.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions as FileOptions};
use std::os::unix::fs::FileExt;

use crate::support::{Fixture, Mode, Running, VERSIONS, gospy};
use gospy::addr::Addr;
use gospy::capture::{OpenOptions, Session};
use gospy::model::{Goroutine, Snapshot, Status};
use gospy::process::live::LiveTarget;
use gospy::testing::GoRuntime;

/// Builds, by version: what is the same in all is not tried in all.
const MODES: [Mode; 8] =
    [Mode::Default, Mode::Sw, Mode::PieSw, Mode::Cgo, Mode::CgoPieSw, Mode::Sw, Mode::CgoSw, Mode::PieSw];

/// No address of anything.
const NOWHERE: u64 = 0xdead_beef_dead_beef;

/// The memory of a live process, to be written to.
struct Memory(File);

impl Memory {
    fn of(program: &Running) -> Memory {
        let path = format!("/proc/{}/mem", program.pid());
        Memory(FileOptions::new().read(true).write(true).open(path).unwrap())
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, at).unwrap();
    }
}

/// What is written into a field, by what is there and whose it is.
type Value = Box<dyn Fn(u64, &Goroutine) -> u64>;

/// A field of a g with its offset and length in bytes, and values that it cannot have.
struct Field {
    name: &'static str,
    offset: u32,
    len: usize,
    values: Vec<Value>,
}

fn fields(runtime: &GoRuntime, some_g: Addr) -> Vec<Field> {
    let (g, gobuf) = (&runtime.layout.g, &runtime.layout.gobuf);
    let fixed = |values: &[u64]| -> Vec<Value> {
        values.iter().map(|&value| Box::new(move |_: u64, _: &Goroutine| value) as Value).collect()
    };
    // Before Go 1.21 the runtime itself leaves some goroutines that wait without a reason.
    let reason_is_set = runtime.version.minor >= 21;
    let moved = |by: u64| -> Value { Box::new(move |was, _| was.wrapping_add(by)) };
    let field = |name, offset, len, values| Field { name, offset, len, values };
    let with_moved = |values: &[u64], by: &[u64]| -> Vec<Value> {
        fixed(values).into_iter().chain(by.iter().map(|&by| moved(by))).collect()
    };
    let own_id: Value = Box::new(|_, goroutine| goroutine.id.0);
    let mut fields = vec![
        field("goid", g.goid, 8, fixed(&[0, 1, u64::MAX, 1 << 39, 1 << 40, NOWHERE])),
        field("atomicstatus", g.atomicstatus, 4, fixed(&[0, 2, 3, 5, 6, 7, 77, 0xffff_ffff])),
        field("waitreason", g.waitreason, 1, fixed(if reason_is_set { &[0, 200, 255] } else { &[200, 255] })),
        // By a distance that makes no size of a stack of another: they are powers of two.
        field("stack.lo", g.stack, 8, with_moved(&[0, 8, NOWHERE, u64::MAX], &[8, 5120])),
        field("stack.hi", g.stack + 8, 8, with_moved(&[0, 8, NOWHERE, u64::MAX], &[8, 5120])),
        field("sched.sp", g.sched + gobuf.sp, 8, with_moved(&[0, NOWHERE], &[4])),
        field("sched.pc", g.sched + gobuf.pc, 8, fixed(&[0, 1, NOWHERE])),
        field("syscallsp", g.syscallsp, 8, fixed(&[1, NOWHERE])),
        field("startpc", g.startpc, 8, with_moved(&[0, 1, NOWHERE], &[1])),
        field("gopc", g.gopc, 8, fixed(&[0, 1, NOWHERE])),
        field("waitsince", g.waitsince, 8, fixed(&[1, u64::MAX, 1 << 61])),
        field("m", g.m, 8, fixed(&[8, NOWHERE, some_g.0])),
        field("lockedm", g.lockedm, 8, fixed(&[8, NOWHERE, some_g.0])),
        field("labels", g.labels, 8, fixed(&[8, NOWHERE])),
        field("ancestors", g.ancestors, 8, fixed(&[8, NOWHERE])),
    ];
    fields.extend(g.parent_goid.map(|offset| {
        let mut values = fixed(&[u64::MAX, 1 << 39, NOWHERE]);
        values.push(own_id);
        field("parentGoid", offset, 8, values)
    }));
    fields.extend(g.bubble.map(|offset| field("bubble", offset, 8, fixed(&[8, NOWHERE]))));
    fields
}

fn capture(program: &Running) -> (Session, Snapshot) {
    let target = LiveTarget::open(program.pid()).unwrap();
    let mut session = Session::open(Box::new(target), &OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let snapshot = session.capture(&crate::snapshots::everything()).unwrap();
    (session, snapshot)
}

/// How many goroutines there are warnings of, and the messages.
fn warned(snapshot: &Snapshot) -> (u64, String) {
    let odd = |code: &str| matches!(code, "goroutine_inconsistent" | "goroutine_unreadable" | "goroutine_moving");
    let warnings: Vec<_> = snapshot.warnings.iter().filter(|w| odd(w.code.name())).collect();
    (warnings.iter().map(|w| w.count).sum(), warnings.iter().map(|w| format!("{}\n", w.message)).collect())
}

/// Goroutines of the program's own that are parked for good, spread over all of them.
fn victims(snapshot: &Snapshot, count: usize) -> Vec<&Goroutine> {
    let parked: Vec<&Goroutine> = snapshot
        .goroutines
        .iter()
        .filter(|g| {
            let reason = g.wait_reason.and_then(|id| snapshot.wait_reason(id)).unwrap_or_default();
            g.status == Status::Waiting && !g.system && g.id.0 > 1 && reason != "sleep"
        })
        .collect();
    let step = parked.len() / count;
    assert!(step > 0, "{} are parked", parked.len());
    parked.into_iter().step_by(step).take(count).collect()
}

/// Whether the goroutine at `addr` is shown as it was.
fn is_as_it_was(before: &BTreeMap<u64, String>, after: &BTreeMap<u64, String>, addr: u64) -> bool {
    before.get(&addr) == after.get(&addr)
}

fn overwrite_each_field(version: &str, mode: Mode) -> usize {
    let program = Fixture::new("fx", version, mode).env("GOGC", "off").run(&["many", "400", "-kinds", "20"]);
    let memory = Memory::of(&program);
    let (session, before) = capture(&program);
    assert!(before.is_complete(), "{version}: {:?}", before.warnings);
    let texts = crate::snapshots::goroutines(&before);
    let mut tried = 0;
    for field in fields(session.runtime(), before.goroutines[0].addr) {
        for (n, value) in field.values.iter().enumerate() {
            let label = format!("{version}: value {n} in g.{}", field.name);
            let victims = victims(&before, 5);
            let mut kept = Vec::new();
            for victim in &victims {
                let at = victim.addr.0 + u64::from(field.offset);
                let was = memory.read(at, field.len);
                let mut word = [0; 8];
                word[..field.len].copy_from_slice(&was);
                memory.write(at, &value(u64::from_le_bytes(word), victim).to_le_bytes()[..field.len]);
                kept.push((at, was));
            }
            let (_, damaged) = capture(&program);
            for (at, was) in kept {
                memory.write(at, &was);
            }
            let after = crate::snapshots::goroutines(&damaged);
            let hit: HashSet<u64> = victims.iter().map(|g| g.addr.0).collect();
            crate::snapshots::assert_same_goroutines(&label, &before, &damaged, |g| !hit.contains(&g.addr.0));
            let different = hit.iter().filter(|&&addr| !is_as_it_was(&texts, &after, addr)).count() as u64;
            let (count, messages) = warned(&damaged);
            // What a goroutine was saved with is only seen to be wrong where it leads nowhere.
            let all = if field.name.starts_with("sched") { different } else { victims.len() as u64 };
            assert!(count >= all, "{label}: {count} warnings of {all} goroutines\n{messages}");
            assert!(count <= 2 * victims.len() as u64, "{label}: {count} warnings\n{messages}");
            assert!(different == 0 || !damaged.is_complete(), "{label}: it says that nothing is missing");
            tried += usize::from(different > 0);
        }
    }
    let (_, again) = capture(&program);
    assert_eq!(warned(&again), (0, String::new()), "{version}");
    tried
}

#[test]
fn whatever_is_overwritten_is_warned_of() {
    for (version, mode) in VERSIONS.into_iter().zip(MODES) {
        let tried = overwrite_each_field(version, mode);
        assert!(tried >= 40, "{version}: only {tried} values made a difference");
    }
}

#[test]
fn many_that_are_overwritten_are_counted_and_the_rest_is_shown() {
    let program = Fixture::new("fx", "1.26.6", Mode::CgoSw).env("GOGC", "off").run(&["many", "400", "-kinds", "20"]);
    let memory = Memory::of(&program);
    let (session, before) = capture(&program);
    let layout = session.runtime().layout.g;
    let fields = [layout.goid, layout.startpc, layout.gopc, layout.stack, layout.labels];
    let victims = victims(&before, 40);
    for (victim, offset) in victims.iter().zip(fields.into_iter().cycle()) {
        memory.write(victim.addr.0 + u64::from(offset), &NOWHERE.to_le_bytes());
    }
    let (_, damaged) = capture(&program);
    assert_eq!(warned(&damaged).0, 40, "{:?}", damaged.warnings);
    assert_eq!(damaged.goroutines.len(), before.goroutines.len());
    // Through the command, which says so by its status when asked to.
    let pid = program.pid().to_string();
    assert_eq!(gospy(&["summary", "--pid", &pid, "--json"]).code(), 0);
    assert_eq!(gospy(&["summary", "--pid", &pid, "--json", "--strict"]).code(), 6);
}
