//! Stacks that are kept from one capture to the next, beside readings of everything: programs that do all they can to
//! look unchanged.
//!
//! A session reads all and keeps in turn. Where a full reading before and one after agree, with the same count of
//! switches, a goroutine stood still in between, and what was kept has to be the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::real::{Real, answers};
use crate::support::{ChainRule, Fixture, Mode, Running, until};
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::model::{Goid, Goroutine, Snapshot, StackId, StackReadings};
use gospy::process::live::LiveTarget;

/// With or without stacks of earlier captures.
fn capture(session: &mut Session, keep_stacks: bool) -> Snapshot {
    capture_with(session, keep_stacks, true)
}

/// The same, with or without what goroutines wait for. Without, those that have not gone on are taken from the list of the
/// capture before.
fn capture_with(session: &mut Session, keep_stacks: bool, waits: bool) -> Snapshot {
    session.capture(&CaptureOptions { stacks: true, waits, keep_stacks, ..CaptureOptions::default() }).unwrap()
}

/// How many captures an unproven stack may be kept for, as `docs/consistency.md` has it.
const ROLLING: usize = 64;
/// The same for a goroutine that was seen to go on within the last 250 captures.
const WARM: usize = 4;

fn open(program: &Running) -> Session {
    let target = LiveTarget::open(program.pid()).unwrap();
    Session::open(Box::new(target), &OpenOptions::default()).unwrap()
}

fn stacks(snapshot: &Snapshot) -> StackReadings {
    snapshot.reading.stacks.unwrap()
}

fn functions(snapshot: &Snapshot, stack: StackId) -> Vec<&str> {
    let symbols = &snapshot.symbols;
    let frames = symbols.stack(stack).unwrap().frames.iter();
    frames.map(|frame| symbols.str(symbols.frame(frame.frame).unwrap().function)).collect()
}

/// Goroutines of the fixture `wraps`, with the function in which each waits.
fn workers(snapshot: &Snapshot) -> Vec<(&Goroutine, String)> {
    let place = |g: &Goroutine| -> Option<String> {
        let names = functions(snapshot, g.stack.known()?);
        let place = names.iter().find(|name| matches!(**name, "main.x" | "main.y"))?;
        Some((*place).to_owned())
    };
    snapshot.goroutines.iter().filter_map(|g| Some((g, place(g)?))).collect()
}

fn seqs(snapshot: &Snapshot) -> HashMap<Goid, u8> {
    workers(snapshot).iter().filter_map(|(g, _)| Some((g.id, g.run_seq?))).collect()
}

const WORKERS: usize = 20;

/// A program with goroutines that can go on and have the same count of switches afterwards.
struct Wraps {
    program: Running,
    session: Session,
    /// How often they have to yield for that.
    exact: u8,
    /// Whether what they wait for is asked for.
    waits: bool,
}

impl Wraps {
    fn start(version: &str, waits: bool) -> Self {
        let program = Fixture::start("wraps", version, Mode::Sw, &[&WORKERS.to_string()]);
        let session = open(&program);
        let mut wraps = Self { program, session, exact: 0, waits };
        // What a burst without yielding counts depends on the version.
        wraps.burst(0);
        let before = seqs(&wraps.full());
        assert_eq!(before.len(), WORKERS);
        wraps.burst(0);
        let mut steps: HashMap<u8, usize> = HashMap::new();
        for (id, seq) in seqs(&wraps.full()) {
            *steps.entry(seq.wrapping_sub(before[&id])).or_default() += 1;
        }
        let (&step, &count) = steps.iter().max_by_key(|(_, count)| **count).unwrap();
        assert!(step > 0 && count > WORKERS / 2, "{version}: {steps:?}");
        wraps.exact = 0_u8.wrapping_sub(step);
        wraps
    }

    fn full(&mut self) -> Snapshot {
        capture_with(&mut self.session, false, self.waits)
    }

    fn keeping(&mut self) -> Snapshot {
        capture_with(&mut self.session, true, self.waits)
    }

    /// They all go to the other place, which is returned.
    fn burst(&mut self, yields: u8) -> String {
        self.program.ask(&format!("burst {yields}"))["place"].as_str().unwrap().to_owned()
    }

    /// How many captures show a worker where it is not, after a burst; and how many workers the first one does.
    fn wrong_after(&mut self, yields: u8) -> (usize, usize) {
        let truth = self.burst(yields);
        let is_right = |snapshot: &Snapshot| workers(snapshot).iter().all(|(_, place)| *place == truth);
        assert!(is_right(&self.full()), "a full reading is right");
        let mut first = 0;
        for captures in 0.. {
            let snapshot = self.keeping();
            let workers = workers(&snapshot);
            assert_eq!(workers.len(), WORKERS);
            if captures == 0 {
                first = workers.iter().filter(|(_, place)| *place != truth).count();
            }
            if is_right(&snapshot) {
                return (captures, first);
            }
            assert!(captures <= 2 * ROLLING, "it stays wrong");
        }
        unreachable!("the loop returns")
    }
}

/// The one adversary that the count cannot see: exactly 256 switches between two captures. It is wrong, and for no longer
/// than the bound says.
#[test]
fn a_wrap_is_believed_for_no_longer_than_the_bound() {
    for (version, waits) in [("1.21.13", true), ("1.26.6", false), ("1.27.3", true), ("1.27.3", false)] {
        let mut wraps = Wraps::start(version, waits);
        let exact = wraps.exact;
        for _ in 0..300 {
            wraps.keeping();
        }
        let kept = stacks(&wraps.keeping());
        assert!(kept.kept >= WORKERS as u64 / 2, "{version}: {kept:?}");
        let (captures, first) = wraps.wrong_after(exact);
        assert!(captures <= ROLLING, "{version}: wrong in {captures} captures");
        assert!(first > WORKERS / 2, "{version}: only {first} were wrong; is this burst the one that wraps?");
        // One switch more or less shows at once.
        for yields in [exact.wrapping_sub(1), exact.wrapping_add(1), 0, 7] {
            assert_eq!(wraps.wrong_after(yields), (0, 0), "{version}: {yields} yields");
        }
        // They have been seen to go on lately.
        let mut worst = 0;
        for _ in 0..5 {
            worst = worst.max(wraps.wrong_after(exact).0);
        }
        assert!(worst <= WARM, "{version}: wrong in {worst} captures");
    }
}

/// The runtime's stamp is a proof: with one, a wrap is seen at once.
#[test]
fn a_stamp_shows_every_wrap() {
    for (version, waits) in [("1.21.13", false), ("1.26.6", true), ("1.27.3", false)] {
        let mut wraps = Wraps::start(version, waits);
        for round in 0..5 {
            // A collection stamps with the time at which the one before began.
            for _ in 0..3 {
                wraps.program.ask("collect");
            }
            // By then every stack was read with its stamp.
            for _ in 0..ROLLING {
                wraps.keeping();
            }
            let now = wraps.keeping();
            let proven = stacks(&now).kept_proven;
            assert!(proven >= WORKERS as u64, "{version}: {:?}", stacks(&now));
            assert!(workers(&now).iter().all(|(g, _)| g.wait_since_ns.is_some()), "{version}");
            let exact = wraps.exact;
            assert_eq!(wraps.wrong_after(exact), (0, 0), "{version}: round {round}");
        }
    }
}

/// Coroutines and goroutines that the collector suspends are never kept; those that change all the time show no stack
/// that cannot be.
#[test]
fn no_impossible_stack_is_kept() {
    const LOADS: [&[&str]; 2] = [
        &["churn", "-busy", "1", "-coroutines", "8", "-spinners", "2", "-collect", "5ms"],
        &["churn", "-goroutines", "0", "-coroutines", "24", "-spinners", "2", "-collect", "1ms"],
    ];
    for (version, mode) in [("1.22.10", Mode::Default), ("1.26.6", Mode::Sw), ("1.27.3", Mode::PieSw)] {
        for (load, waits) in LOADS.into_iter().zip([version != "1.26.6", version == "1.26.6"]) {
            let mut program = Fixture::start("fx", version, mode, load);
            let rule = ChainRule::from_truth(&program.ask("truth"));
            let mut session = open(&program);
            let (mut verdicts, mut kept, mut coroutines) = (HashMap::new(), 0, 0);
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end {
                let snapshot = capture_with(&mut session, true, waits);
                kept += stacks(&snapshot).kept;
                for g in &snapshot.goroutines {
                    let Some(stack) = g.stack.known() else { continue };
                    let reason = g.wait_reason.and_then(|id| snapshot.wait_reason(id));
                    let is_coroutine = reason == Some("coroutine");
                    coroutines += u64::from(is_coroutine);
                    assert!(!(is_coroutine && g.stack_since_ns.is_some()), "{version}: a coroutine was kept");
                    let verdict = verdicts.entry(stack).or_insert_with(|| rule.check(&functions(&snapshot, stack)));
                    assert_eq!(*verdict, Ok(()), "{version} {load:?}: {} kept: {:?}", g.id.0, g.stack_since_ns);
                }
            }
            assert!(kept > 0, "{version} {load:?}: nothing was kept");
            assert!(coroutines > 0 || version == "1.22.10", "{version} {load:?}: no coroutine was seen");
        }
    }
}

/// What is between two full readings that agree.
#[derive(Debug, Default)]
struct Beside {
    compared: u64,
    wrong: u64,
    readings: Vec<StackReadings>,
}

fn beside(session: &mut Session, time: Duration, pause: Duration, waits: bool) -> Beside {
    let mut beside = Beside::default();
    let standing = |snapshot: &Snapshot| -> HashMap<Goid, (StackId, u8)> {
        snapshot.goroutines.iter().filter_map(|g| Some((g.id, (g.stack.known()?, g.run_seq?)))).collect()
    };
    let end = Instant::now() + time;
    let mut before = standing(&capture(session, false));
    while Instant::now() < end {
        let kept = capture_with(session, true, waits);
        let after = standing(&capture(session, false));
        beside.readings.push(stacks(&kept));
        for g in kept.goroutines.iter().filter(|g| g.stack_since_ns.is_some()) {
            let Some(truth) = before.get(&g.id).filter(|before| after.get(&g.id) == Some(*before)) else { continue };
            beside.compared += 1;
            beside.wrong += u64::from(g.stack.known() != Some(truth.0) || g.run_seq != Some(truth.1));
        }
        before = after;
        std::thread::sleep(pause);
    }
    beside
}

/// A real program with clients: what is kept is what a full reading shows.
#[test]
fn a_real_program_under_load_is_as_a_full_reading_has_it() {
    let program = Real::start("prometheus");
    let address = program.address.unwrap();
    let mut session = open(&program.running);
    let stop = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(answers(address, "/api/v1/query?query=up"));
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let mut beside_both = |waits| beside(&mut session, Duration::from_secs(6), Duration::from_millis(10), waits);
        let both = [true, false].map(&mut beside_both);
        stop.store(true, Ordering::Relaxed);
        both
    });
    for beside in beside {
        println!("{} compared, {} wrong, last {:?}", beside.compared, beside.wrong, beside.readings.last());
        assert!(beside.compared > 1_000, "{beside:?}");
        assert_eq!(beside.wrong, 0, "{} compared", beside.compared);
    }
}

/// A program that hangs: nothing of it is read, and what it does next shows in the very next capture.
#[test]
fn what_rests_is_not_read_and_what_runs_is() {
    for (version, waits) in [("1.21.13", true), ("1.26.6", false), ("1.27.3", true)] {
        let mut wraps = Wraps::start(version, waits);
        let full = wraps.full();
        for round in 0..20 {
            // The scavenger and others of the runtime's own may have something to do now and then.
            let mut unread = 0;
            until("nothing runs", || {
                let now = wraps.keeping();
                if now.unchanged_since_ns.is_some() {
                    unread += 1;
                    let StackReadings { read, kept, kept_proven, .. } = stacks(&now);
                    assert_eq!((read, kept_proven), (0, kept), "{version}");
                    assert!(now.reading.bytes * 8 < full.reading.bytes, "{version}: {} bytes", now.reading.bytes);
                    assert_eq!(workers(&now).len(), WORKERS);
                }
                (unread == 3).then_some(())
            });
            let truth = wraps.burst(u8::try_from(7 + round).unwrap());
            let now = wraps.keeping();
            let places: Vec<String> = workers(&now).into_iter().map(|(_, place)| place).collect();
            assert_eq!(places, vec![truth; WORKERS], "{version}: round {round}");
        }
    }
}

/// What a repeated reading shows of a quiet program is what a full one does, at rest and beside one that computes.
#[test]
fn a_quiet_program_is_as_a_full_reading_has_it() {
    let shown = |snapshot: &Snapshot| -> BTreeMap<Goid, String> {
        let one = |g: &Goroutine| {
            let wait = snapshot.waiting_on(g);
            let objects = wait.into_iter().flat_map(|wait| snapshot.waits.objects_of(wait));
            let objects: Vec<_> = objects.map(|(_, object)| (object.addr, object.likely_holders.clone())).collect();
            let reason = g.wait_reason.and_then(|id| snapshot.wait_reason(id));
            let kind = wait.map(|wait| snapshot.waits.kind(wait));
            let stack = g.stack.known().map(|stack| functions(snapshot, stack));
            format!("{:?} {reason:?} {stack:?} {kind:?} {objects:?} {:?} {:?}", g.status, g.wait_since_ns, g.labels)
        };
        snapshot.goroutines.iter().map(|g| (g.id, one(g))).collect()
    };
    for (load, is_at_rest, waits) in [
        (&["many", "2000", "-kinds", "50"][..], true, true),
        (&["many", "2000", "-kinds", "50"], true, false),
        (&["many", "2000", "-heartbeat"], false, true),
        (&["many", "2000", "-heartbeat"], false, false),
    ] {
        let program = Fixture::start("fx", "1.26.6", Mode::Sw, load);
        std::thread::sleep(Duration::from_millis(500));
        let mut session = open(&program);
        let mut unread = 0;
        for _ in 0..2 * ROLLING {
            unread += usize::from(capture_with(&mut session, true, waits).unchanged_since_ns.is_some());
            std::thread::sleep(Duration::from_millis(2));
        }
        let (kept, full) = (capture_with(&mut session, true, waits), capture_with(&mut open(&program), false, waits));
        let StackReadings { read, kept: count, .. } = stacks(&kept);
        assert!(count > 1_900 && read < 100, "{load:?}: {:?}", stacks(&kept));
        assert_eq!(unread > ROLLING, is_at_rest, "{load:?}: {unread} were not read");
        // The runtime's own may have woken up before the full reading; then they have the next time, too.
        let later = shown(&capture_with(&mut session, true, waits));
        let (kept, full) = (shown(&kept), shown(&full));
        assert_eq!(kept.len(), full.len());
        let is_wrong = |id: &Goid, seen: &String| full.get(id) != Some(seen) && later.get(id) == Some(seen);
        let wrong: Vec<_> = kept.iter().filter(|(id, seen)| is_wrong(id, seen)).take(3).collect();
        assert!(wrong.is_empty(), "{load:?}: {wrong:?}, {:?}", wrong.first().and_then(|(id, _)| full.get(id)));
    }
}
