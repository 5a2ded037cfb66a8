//! A session that keeps stacks from one capture to the next, over a recording of a real program whose memory changes in
//! between.

use std::num::NonZeroU64;
use std::path::Path;

use super::*;
use crate::model::{Goid, StackReadings, StackState, Status};
use crate::process::TargetExt as _;
use crate::process::core::{CoreOptions, CoreTarget};
use crate::process::fake::{Altered, Changes};
use crate::runtime::readers::processors::read_ps;
use crate::runtime::symbols::Global;

/// The program as if it were running, and what changes its memory.
fn running() -> (Session, Changes) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/tiny-1.26.6-amd64.capture");
    let inner = CoreTarget::open(&path, &CoreOptions::default()).unwrap();
    let target = Altered::new(inner).with_backend(Backend::Fake).without_remembered("goroutines");
    let changes = target.changes();
    (Session::open(Box::new(target), &OpenOptions::default()).unwrap(), changes)
}

const KEEPING: CaptureOptions = CaptureOptions {
    stacks: true,
    dead: false,
    waits: true,
    c_frames: false,
    system_calls: false,
    traceback: false,
    values: false,
    strings: false,
    keep_stacks: true,
    freeze: None,
};

fn capture(session: &mut Session) -> Snapshot {
    session.capture(&KEEPING).unwrap()
}

fn stacks(snapshot: &Snapshot) -> StackReadings {
    snapshot.reading.stacks.unwrap()
}

fn one(snapshot: &Snapshot, id: Goid) -> &Goroutine {
    snapshot.goroutines.iter().find(|g| g.id == id).unwrap()
}

/// One that waits in the program's own code and can be kept.
fn victim(snapshot: &Snapshot) -> Goroutine {
    let is_it = |g: &&Goroutine| g.status == Status::Waiting && g.stack.known().is_some() && !g.system && g.id.0 != 1;
    snapshot.goroutines.iter().find(is_it).unwrap().clone()
}

/// Everything but when stacks were read, and what that is known by.
fn shown(snapshot: &Snapshot) -> Vec<String> {
    let without =
        |g: &Goroutine| format!("{:?}", Goroutine { stack_since_ns: None, stack_is_proven: false, ..g.clone() });
    snapshot.goroutines.iter().map(without).collect()
}

#[test]
fn an_unchanged_program_is_the_same_for_less() {
    let (mut session, _) = running();
    let first = capture(&mut session);
    let known = first.goroutines.iter().filter(|g| g.stack.known().is_some()).count() as u64;
    assert!(known > 3);
    assert_eq!(stacks(&first), StackReadings { read: known, ..StackReadings::default() });
    assert!(first.goroutines.iter().all(|g| g.stack_since_ns.is_none()));
    let second = capture(&mut session);
    let StackReadings { read, kept, kept_proven, oldest_ms } = stacks(&second);
    assert_eq!(read + kept, known);
    assert!(kept >= known - 2 && kept_proven <= kept && oldest_ms == Some(0), "{:?}", stacks(&second));
    assert_eq!(second.goroutines.iter().filter(|g| g.stack_since_ns.is_some()).count() as u64, kept);
    assert_eq!(shown(&second), shown(&first));
    assert_eq!(format!("{:?}", second.waits), format!("{:?}", first.waits));
    assert_eq!(second.reading.consistency.validated, first.reading.consistency.validated);
    assert!(second.reading.bytes < first.reading.bytes, "{} {}", second.reading.bytes, first.reading.bytes);
}

#[test]
fn one_shot_captures_and_those_that_need_more_of_a_stack_read_all() {
    let (mut session, _) = running();
    let known = stacks(&capture(&mut session)).read;
    let all = [
        CaptureOptions { keep_stacks: false, ..KEEPING },
        CaptureOptions { traceback: true, ..KEEPING },
        CaptureOptions { stacks: false, ..KEEPING },
    ];
    for options in all {
        let snapshot = session.capture(&options).unwrap();
        let read = if options.stacks { known } else { 0 };
        assert_eq!(stacks(&snapshot), StackReadings { read, ..StackReadings::default() }, "{options:?}");
    }
    // They do not disturb it.
    assert!(stacks(&capture(&mut session)).kept > 0);
}

/// What a wrong answer would be: its stack is another, and nothing in its header shows it. It lives for 64 captures.
#[test]
fn what_no_header_shows_is_found_within_the_bound() {
    let (mut session, changes) = running();
    let first = capture(&mut session);
    let victim = victim(&first);
    if let Some(since) = victim.wait_since_ns {
        panic!("it is stamped ({since}): another fixture is needed");
    }
    // Words of its stack become those of another one's start: it no longer ends where stacks end.
    let used = victim.stack_hi.0 - victim.sp.0;
    for at in (0..used).step_by(8) {
        changes.put(victim.sp.0 + at, 0, 8);
    }
    let mut kept = 0;
    loop {
        let now = capture(&mut session);
        let g = one(&now, victim.id);
        if g.stack != victim.stack {
            assert_eq!(g.stack_since_ns, None);
            break;
        }
        assert!(g.stack_since_ns.is_some());
        kept += 1;
        assert!(kept <= 64, "it is never read again");
    }
    assert!(kept > 0);
}

/// The header of one changes in a way that only the runtime makes: that stack is read in the very next capture, and the
/// others are kept.
#[test]
fn one_that_has_gone_on_is_read_at_once() {
    let (mut session, changes) = running();
    let first = capture(&mut session);
    let victim = victim(&first);
    let layout = session.runtime().layout.g;
    let seq = victim.addr.0 + u64::from(layout.tracking_seq);
    let before = stacks(&capture(&mut session));
    changes.put(seq, u64::from(victim.run_seq.unwrap().wrapping_add(1)), 1);
    let now = capture(&mut session);
    assert_eq!(one(&now, victim.id).stack_since_ns, None);
    assert_eq!(one(&now, victim.id).stack, victim.stack);
    assert!(stacks(&now).kept + 2 >= before.kept, "{:?} {before:?}", stacks(&now));
    // From now on it is one that has gone on lately: read at least every fourth time.
    let mut ages = Vec::new();
    for _ in 0..16 {
        ages.push(one(&capture(&mut session), victim.id).stack_since_ns.is_some());
    }
    let longest = ages.split(|kept| !kept).map(<[bool]>::len).max();
    assert_eq!(longest, Some(3), "{ages:?}");
}

/// Another goroutine on the same g, another id or state: read, whatever else is the same.
#[test]
fn a_new_id_or_state_is_read() {
    for change in 0..3 {
        let (mut session, changes) = running();
        let first = capture(&mut session);
        let victim = victim(&first);
        let g = session.runtime().layout.g;
        let id = match change {
            0 => {
                // An id that no goroutine has.
                let unused = (1..).find(|id| first.goroutines.iter().all(|g| g.id.0 != *id)).unwrap();
                changes.put(victim.addr.0 + u64::from(g.goid), unused, 8);
                Goid(unused)
            }
            1 => {
                // Runnable.
                changes.put(victim.addr.0 + u64::from(g.atomicstatus), 1, 4);
                victim.id
            }
            _ => {
                changes.put(victim.addr.0 + u64::from(g.waiting), 0xc000_0000_1000, 8);
                victim.id
            }
        };
        let now = capture(&mut session);
        assert_eq!(one(&now, id).stack_since_ns, None, "change {change}");
        assert!(matches!(one(&now, id).stack, StackState::Known(_)), "change {change}");
    }
}

/// A session whose pool is replaced has nothing to keep: what is kept are numbers of the old one.
#[test]
fn a_new_pool_keeps_nothing() {
    let (mut session, _) = running();
    let known = stacks(&capture(&mut session)).read;
    session.max_pool = 0;
    assert_eq!(stacks(&capture(&mut session)), StackReadings { read: known, ..StackReadings::default() });
}

const USED: Duration = Duration::from_secs(5);

/// The program with all Ps idle, and a CPU clock.
fn resting() -> (Session, Changes) {
    let (session, changes) = running();
    changes.set_cpu_clock(USED);
    let status = u64::from(session.runtime().layout.p.status);
    for p in ps(&session) {
        changes.put(p.0 + status, 0, 4);
    }
    (session, changes)
}

/// The addresses of the Ps.
fn ps(session: &Session) -> Vec<Addr> {
    let (at, layout) = (session.process().addr(Global::Allp).unwrap(), &session.runtime().layout);
    let ps = read_ps(session.target(), at, layout, &mut Warnings::default()).unwrap();
    ps.iter().map(|p| p.addr).collect()
}

#[test]
fn a_program_in_which_nothing_ran_is_not_read() {
    let (mut session, changes) = resting();
    let first = capture(&mut session);
    assert_eq!((first.unchanged_since_ns, stacks(&first).kept), (None, 0));
    for _ in 0..3 {
        let now = capture(&mut session);
        assert!(now.goroutines.is_same(&first.goroutines));
        assert_eq!(now.unchanged_since_ns, NonZeroU64::new(first.monotonic_ns));
        let kept = stacks(&first).read;
        assert_eq!(stacks(&now), StackReadings { read: 0, kept, kept_proven: kept, oldest_ms: Some(0) });
        assert_eq!((shown(&now), format!("{:?}", now.waits)), (shown(&first), format!("{:?}", first.waits)));
        assert!(now.reading.bytes * 10 < first.reading.bytes, "{} {}", now.reading.bytes, first.reading.bytes);
        let victim = victim(&now);
        assert_eq!(now.stack_since_ns(&victim), now.unchanged_since_ns);
        assert!(now.has_certain_stack(&victim));
    }
    // A nanosecond of CPU time is enough.
    changes.set_cpu_clock(USED + Duration::from_nanos(1));
    let now = capture(&mut session);
    assert!(!now.goroutines.is_same(&first.goroutines));
    assert_eq!(now.unchanged_since_ns, None);
    // In that one, stacks are likely the same, and that nothing runs from then on does not make them certain. They are read
    // again when nothing has run for two captures; then that one holds.
    assert!(stacks(&now).kept > stacks(&now).kept_proven);
    let once = capture(&mut session);
    assert!(once.unchanged_since_ns.is_none() && stacks(&once).kept > stacks(&once).kept_proven);
    let settled = capture(&mut session);
    assert!(settled.unchanged_since_ns.is_none() && stacks(&settled).kept == stacks(&settled).kept_proven);
    assert!(capture(&mut session).goroutines.is_same(&settled.goroutines));
}

/// A wrong stack that no header shows does not outlive the moment from which on nothing runs.
#[test]
fn what_rests_is_not_taken_for_certain_because_it_was_likely() {
    let (mut session, changes) = resting();
    let first = capture(&mut session);
    let victim = victim(&first);
    assert_eq!(victim.wait_since_ns, None);
    for at in (0..victim.stack_hi.0 - victim.sp.0).step_by(8) {
        changes.put(victim.sp.0 + at, 0, 8);
    }
    changes.set_cpu_clock(USED + Duration::from_secs(1));
    let wrong: Vec<bool> = (0..5).map(|_| one(&capture(&mut session), victim.id).stack == victim.stack).collect();
    assert_eq!(wrong, [true, true, false, false, false]);
}

#[test]
fn what_has_run_by_its_ps_is_read_whatever_the_clock_says() {
    let (mut session, changes) = resting();
    let first = capture(&mut session);
    let p = ps(&session)[0].0;
    let (status, ticks) = (session.runtime().layout.p.status, session.runtime().layout.p.schedtick);
    let count = u64::from(session.target().read_u32(Addr(p + u64::from(ticks))).unwrap().unwrap());
    changes.put(p + u64::from(ticks), count + 1, 4);
    let second = capture(&mut session);
    assert!(!second.goroutines.is_same(&first.goroutines));
    // One that runs something now.
    changes.put(p + u64::from(status), 1, 4);
    for _ in 0..2 {
        assert_eq!(capture(&mut session).unchanged_since_ns, None);
    }
}

#[test]
fn what_is_asked_for_anew_is_read() {
    let (mut session, _) = resting();
    let first = capture(&mut session);
    let other = session.capture(&CaptureOptions { waits: false, ..KEEPING }).unwrap();
    assert!(!other.goroutines.is_same(&first.goroutines));
    let all = capture(&mut session);
    assert!(!all.goroutines.is_same(&first.goroutines));
    session.renew();
    let renewed = capture(&mut session);
    assert!(!renewed.goroutines.is_same(&all.goroutines));
    assert_eq!(stacks(&renewed).kept, 0);
    // One-shot captures read all, and change nothing.
    let full = session.capture(&CaptureOptions { keep_stacks: false, ..KEEPING }).unwrap();
    assert!(!full.goroutines.is_same(&renewed.goroutines));
}

/// What is read each time for a finding is not, where the runtime's stamp proves it.
#[test]
fn attended_goroutines_are_read_unless_they_are_proven() {
    let (mut session, changes) = running();
    let first = capture(&mut session);
    let victim = victim(&first);
    session.attend(&[victim.addr]);
    let since = |session: &mut Session| {
        let now = capture(session);
        let victim = one(&now, victim.id);
        (victim.stack_since_ns.is_some(), victim.stack_is_proven)
    };
    assert_eq!(since(&mut session), (false, false));
    let layout = session.runtime().layout.g;
    changes.put(victim.addr.0 + u64::from(layout.waitsince), first.monotonic_ns - 1, 8);
    assert_eq!(since(&mut session), (false, false), "the stamp is new");
    assert_eq!(since(&mut session), (true, true));
    session.renew();
    assert_eq!(since(&mut session), (false, false));
}

/// The same without what they wait for: then goroutines are taken from the list before.
const LISTED: CaptureOptions = CaptureOptions { waits: false, ..KEEPING };

/// Whatever changes in headers, what is shown of a program is what a full reading shows of the same memory, and a list that
/// was made of the one before differs from it where it says so and nowhere else.
#[test]
fn a_list_that_is_made_of_the_one_before_is_as_a_full_reading_has_it() {
    let (mut session, changes) = running();
    let first = session.capture(&LISTED).unwrap();
    let layout = session.runtime().layout.g;
    let gs: Vec<Goroutine> = first.goroutines.iter().filter(|g| g.status == Status::Waiting).cloned().collect();
    let mut state = 3_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let (mut before, mut made_of_it, mut taken, mut came, mut went, mut whole) = (first.clone(), 0, 0, 0, 0, 0);
    for step in 0..400_u64 {
        for _ in 0..random(3) {
            let g = &gs[random(gs.len())];
            let at = |field: u32| g.addr.0 + u64::from(field);
            match random(8) {
                0 | 1 => changes.put(at(layout.tracking_seq), step % 256, 1),
                2 => changes.put(at(layout.waitsince), [0, first.monotonic_ns - 1 - step][random(2)], 8),
                // Held by the collector, runnable, dead, or waiting again.
                3 => changes.put(at(layout.atomicstatus), [0x1004, 1, 6][random(3)], 4),
                4 | 5 => changes.put(at(layout.atomicstatus), 4, 4),
                6 => changes.put(at(layout.goid), g.id.0, 8),
                _ => changes.put(at(layout.schedlink), step * 8, 8),
            }
        }
        let now = session.capture(&LISTED).unwrap();
        let full = session.capture(&CaptureOptions { keep_stacks: false, ..LISTED }).unwrap();
        let ids =
            |snapshot: &Snapshot| -> Vec<(Goid, bool)> { snapshot.goroutines.iter().map(|g| (g.id, g.scan)).collect() };
        assert_eq!(ids(&now), ids(&full), "step {step}");
        // What the collector holds cannot be read, and can be kept.
        let held: Vec<bool> = ids(&full).into_iter().map(|(_, scan)| scan).collect();
        let free = |shown: Vec<String>| -> Vec<String> {
            shown.into_iter().zip(&held).filter(|(_, held)| !**held).map(|(shown, _)| shown).collect()
        };
        assert_eq!(free(shown(&now)), free(shown(&full)), "step {step}");
        let StackReadings { read, kept, kept_proven, .. } = stacks(&now);
        if !held.contains(&true) {
            assert_eq!(now.dead_goroutines, full.dead_goroutines, "step {step}");
            assert_eq!(format!("{:?}", now.warnings), format!("{:?}", full.warnings), "step {step}");
            let (one, other) = (&now.reading.consistency, &full.reading.consistency);
            assert_eq!((one.validated, one.moving), (other.validated, other.moving), "step {step}");
            assert_eq!((read + kept, 0), (stacks(&full).read, stacks(&full).kept), "step {step}");
            whole += 1;
        }
        let since = |proven: bool| {
            now.goroutines.iter().filter(|g| g.stack_since_ns.is_some() && (!proven || g.stack_is_proven)).count()
                as u64
        };
        assert_eq!((since(false), since(true)), (kept, kept_proven), "step {step}");
        if let Some(positions) = now.goroutines.changes_since(&before.goroutines) {
            made_of_it += 1;
            let all = now.goroutines.iter().zip(&before.goroutines).enumerate();
            for (at, (g, was)) in all.filter(|(at, _)| !positions.contains(&u32::try_from(*at).unwrap())) {
                assert_eq!(format!("{g:?}"), format!("{was:?}"), "step {step}: {at}");
                taken += 1;
            }
        }
        came += usize::from(now.goroutines.len() > before.goroutines.len());
        went += usize::from(now.goroutines.len() < before.goroutines.len());
        before = now;
    }
    let counts = [made_of_it, taken, came, went, whole];
    assert!(counts.iter().zip([100, 300, 5, 5, 100]).all(|(count, least)| *count > least), "{counts:?}");
}

/// What was said of a goroutine is said each time, though nothing of it changes; and one with other options has a list of
/// its own.
#[test]
fn a_list_with_something_wrong_in_it_is_made_anew() {
    let (mut session, changes) = running();
    let first = session.capture(&LISTED).unwrap();
    let before = session.capture(&LISTED).unwrap();
    let with_waits = capture(&mut session);
    assert!(with_waits.goroutines.iter().any(|g| g.waiting_on.is_some()));
    let without = session.capture(&LISTED).unwrap();
    assert!(without.goroutines.changes_since(&before.goroutines).is_none());
    assert!(without.goroutines.iter().all(|g| g.waiting_on.is_none()));
    // A start function that is none.
    let victim = victim(&first);
    changes.put(victim.addr.0 + u64::from(session.runtime().layout.g.startpc), 1, 8);
    for _ in 0..4 {
        let now = session.capture(&LISTED).unwrap();
        assert!(now.warnings.iter().any(|warning| warning.message.contains(&format!("goroutine {}", victim.id.0))));
        assert_eq!(one(&now, victim.id).start, None);
    }
}
