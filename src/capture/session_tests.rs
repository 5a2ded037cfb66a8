//! Sessions over recordings of real programs, with some of the memory changed, read as a running process or
//! as a stopped one.

use std::path::PathBuf;

use rustc_hash::{FxHashMap, FxHashSet};

use super::*;
use crate::capture::goroutines::Walk;
use crate::capture::read::{Chunk, Plan};
use crate::capture::record::record;
use crate::model::{Goid, NotShown, StackState, Status};
use crate::process::core::{CoreOptions, CoreTarget};
use crate::process::fake::Altered;
use crate::runtime::symbols::Global;

/// What a recording holds: where the runtime's variables are, and nothing that was derived about goroutines.
struct Changed(Altered<CoreTarget>);

impl Changed {
    fn open(name: &str, backend: Backend) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures").join(name);
        let inner = CoreTarget::open(&path, &CoreOptions::default()).unwrap();
        Self(Altered::new(inner).with_backend(backend).without_remembered("goroutines"))
    }

    fn put(&mut self, at: u64, value: u64, len: usize) {
        self.0.put(at, value, len);
    }

    fn session(self) -> Session {
        Session::open(Box::new(self.0), &OpenOptions::default()).unwrap()
    }

    fn capture(self) -> Snapshot {
        self.session().capture(&everything()).unwrap()
    }
}

fn everything() -> CaptureOptions {
    CaptureOptions { stacks: true, dead: true, ..CaptureOptions::default() }
}

/// One that waits, with a stack, and that the runtime does not need.
fn victim(snapshot: &Snapshot) -> Goroutine {
    let known = |g: &&Goroutine| matches!(g.stack, StackState::Known(_)) && g.status == Status::Waiting && g.id.0 != 1;
    snapshot.goroutines.iter().rfind(known).unwrap().clone()
}

fn warnings(snapshot: &Snapshot, code: WarningCode) -> Vec<String> {
    let of_code = snapshot.warnings.iter().filter(|warning| warning.code == code);
    of_code.map(|warning| format!("{warning:?}")).collect()
}

fn inconsistent(snapshot: &Snapshot) -> Vec<String> {
    warnings(snapshot, WarningCode::GoroutineInconsistent)
}

const CAPTURE: &str = "tiny-1.26.6-amd64.capture";
const BACKENDS: [Backend; 2] = [Backend::Fake, Backend::Core];

/// An unchanged session, to know where things are, and the goroutine that is changed.
fn known(name: &str) -> (Session, Snapshot, Goroutine) {
    let mut session = Changed::open(name, Backend::Core).session();
    let snapshot = session.capture(&everything()).unwrap();
    let victim = victim(&snapshot);
    (session, snapshot, victim)
}

#[test]
fn a_pool_that_is_too_large_is_replaced() {
    let mut session = Changed::open(CAPTURE, Backend::Core).session();
    let first = session.capture(&everything()).unwrap();
    let second = session.capture(&everything()).unwrap();
    assert_eq!(first.symbols.id(), second.symbols.id());
    session.max_pool = session.pool.bytes();
    assert!(session.max_pool > 0);
    assert_eq!(session.capture(&everything()).unwrap().symbols.id(), second.symbols.id());
    session.max_pool -= 1;
    let third = session.capture(&everything()).unwrap();
    assert_ne!(third.symbols.id(), second.symbols.id());
    // What was taken before can still be read.
    let name = |snapshot: &Snapshot| snapshot.symbols.function(victim(snapshot).innermost.unwrap()).to_owned();
    assert_eq!(name(&second), name(&third));
}

/// `gdestroy` has set the state, and not yet cleared the rest.
#[test]
fn a_goroutine_that_is_just_ending_causes_no_warning() {
    const DEAD: u64 = 6;
    let (session, before, victim) = known(CAPTURE);
    let layout = &session.opened.runtime.layout;
    let m0 = session.opened.program.bias.load(session.opened.runtime.symbols.addr(Global::M0).unwrap()).0;
    for backend in BACKENDS {
        for (on_m, m) in [(true, m0), (true, 0), (false, m0), (false, 0)] {
            let mut target = Changed::open(CAPTURE, backend);
            target.put(victim.addr.0 + u64::from(layout.g.atomicstatus), DEAD, 4);
            target.put(victim.addr.0 + u64::from(layout.g.m), m, 8);
            if on_m {
                target.put(m0 + u64::from(layout.m.curg), victim.addr.0, 8);
            }
            let after = target.capture();
            let label = format!("{backend:?} {on_m} {m:#x}");
            assert_eq!(after.dead_goroutines, before.dead_goroutines + 1, "{label}");
            assert_eq!(inconsistent(&after).is_empty(), on_m, "{label}: {:?}", inconsistent(&after));
            assert_eq!(after.is_complete(), on_m, "{label}");
        }
    }
}

/// A goroutine that was just ending causes no warning in its recording either.
#[test]
fn a_recording_has_what_was_concluded_of_pointers_and_of_ending_goroutines() {
    const NOWHERE: u64 = 0x10;
    let (session, _, victim) = known(CAPTURE);
    let layout = &session.opened.runtime.layout;
    let m0 = session.opened.program.bias.load(session.opened.runtime.symbols.addr(Global::M0).unwrap()).0;
    let labels = victim.addr.0 + u64::from(layout.g.labels);
    for (ending, has_run) in [(true, false), (false, true), (false, false)] {
        let mut target = Changed::open(CAPTURE, Backend::Fake);
        if ending {
            target.put(victim.addr.0 + u64::from(layout.g.atomicstatus), 6, 4);
            target.put(victim.addr.0 + u64::from(layout.g.m), 0, 8);
            // Only when it is read again, so that the recording does not have it.
            target.0.put_alone(m0 + u64::from(layout.m.curg), victim.addr.0);
        } else {
            target.put(labels, NOWHERE, 8);
            if has_run {
                target.0.put_alone(labels, 0);
            }
        }
        let (image, live) = record(Box::new(target.0), None).unwrap();
        let mut bytes = Vec::new();
        crate::process::capture_file::write_to(&mut bytes, &image, None).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recorded.capture");
        std::fs::write(&path, bytes).unwrap();
        let replayed = CoreTarget::open(&path, &CoreOptions::default()).unwrap();
        let mut replayed = Session::open(Box::new(replayed), &OpenOptions::default()).unwrap();
        let replayed = replayed.capture(&everything()).unwrap();
        assert_eq!(inconsistent(&live).is_empty(), ending || has_run, "{:?}", inconsistent(&live));
        assert_eq!(inconsistent(&replayed), inconsistent(&live));
        assert_eq!(replayed.dead_goroutines, live.dead_goroutines);
    }
}

/// `newproc1` has made it runnable, and not yet set its id (until Go 1.23).
#[test]
fn a_goroutine_without_an_id_yet_is_moving_and_causes_no_warning() {
    const RUNNABLE: u64 = 1;
    for (name, late) in [("tiny-1.23.9-amd64.capture", true), ("tiny-1.24.11-amd64.capture", false)] {
        let (session, _, victim) = known(name);
        let layout = &session.opened.runtime.layout;
        for backend in BACKENDS {
            let mut target = Changed::open(name, backend);
            target.put(victim.addr.0 + u64::from(layout.g.atomicstatus), RUNNABLE, 4);
            target.put(victim.addr.0 + u64::from(layout.g.goid), 0, 8);
            let after = target.capture();
            let one = after.goroutines.iter().find(|g| g.addr == victim.addr).unwrap();
            let moving = late && backend == Backend::Fake;
            assert_eq!(inconsistent(&after).is_empty(), late, "{name} {backend:?}: {:?}", inconsistent(&after));
            assert_eq!(one.stack == StackState::NotShown(NotShown::Moving), moving, "{name} {backend:?}");
            assert_eq!((one.id, after.reading.consistency.moving), (Goid(0), u64::from(moving)));
        }
    }
}

/// The value of a panic is in the frame of `gopanic`, in the goroutine's validated stack.
#[test]
fn a_panic_is_taken_from_the_validated_stack() {
    let (session, _, victim) = known(CAPTURE);
    let (layout, panic) = (&session.opened.runtime.layout, session.opened.runtime.layout.panic.unwrap());
    let size = u64::from(panic.size);
    let capture = |at: u64, backend: Backend| {
        let mut target = Changed::open(CAPTURE, backend);
        target.put(victim.addr.0 + u64::from(layout.g.panic), at, 8);
        for offset in 0..size {
            target.put(at + offset, 0, 1);
        }
        target.put(at + u64::from(panic.arg), 0, 8);
        let after = target.capture();
        let one = after.goroutines.into_iter().find(|g| g.addr == victim.addr).unwrap();
        let known = matches!(one.stack, StackState::Known(_));
        known.then(|| one.panic.map(|text| after.symbols.str(text).to_owned()))
    };
    for backend in BACKENDS {
        // Below its stack pointer, and in another structure: nothing there was compared.
        assert_eq!(capture(victim.sp.0 - size - 8, backend), Some(None));
        // Where that does no harm to its frames.
        let places = (victim.sp.0..victim.stack_hi.0 - size).step_by(24);
        let shown: Vec<Option<String>> = places.filter_map(|at| capture(at, backend)).collect();
        assert!(!shown.is_empty() && shown.iter().all(|text| text.as_deref() == Some("nil")), "{shown:?}");
    }
}

/// A goroutine that was moving, and whose thread was stopped later, is like any other.
#[test]
fn what_was_given_up_and_then_read_is_settled() {
    let (mut session, before, victim) = known(CAPTURE);
    for why in [NotShown::Moving, NotShown::Unreadable] {
        for read_later in [false, true] {
            let plan = session.plan(&everything(), &Arc::default());
            let mut heard = Warnings::default();
            let mut chunks = Vec::new();
            let mut walk = Walk {
                target: session.opened.target.as_ref(),
                plan: plan.clone(),
                keep_dead: false,
                decoder: &mut session.decoder,
                pool: &mut session.pool,
                warnings: &mut heard,
                collected: Collected::default(),
                unsettled: [(victim.addr.0, why)].into_iter().collect(),
                ending: FxHashSet::default(),
                curg: 0,
                places: FxHashMap::default(),
                chunks: &mut chunks,
            };
            let mut addrs: Vec<u64> = before.goroutines.iter().map(|g| g.addr.0).collect();
            addrs.sort_unstable();
            walk.run(&addrs).unwrap();
            // There is no recorder to note it.
            walk.collected.recorded.add_unsettled(victim.addr, why);
            let count = walk.collected.goroutines.len();
            if read_later {
                let plan = Plan { validate: false, ..plan };
                let mut chunk = Chunk::new(&[victim.addr.0], 1 << 20);
                chunk.read(walk.target, &plan).unwrap();
                walk.replace(&[(vec![chunk], plan)]);
            }
            walk.warn_of_given_up();
            let (collected, lost) = (walk.collected, u64::from(!read_later));
            assert_eq!(collected.goroutines.len(), count);
            let one = collected.goroutines.iter().find(|g| g.addr == victim.addr).unwrap();
            assert_eq!(matches!(one.stack, StackState::Known(_)), read_later);
            assert_eq!(collected.consistency.moving + collected.consistency.unreadable, lost);
            assert_eq!(collected.recorded.unsettled().len() as u64, lost);
            let expected = match why {
                NotShown::Moving => WarningCode::GoroutineMoving,
                _ => WarningCode::GoroutineUnreadable,
            };
            let codes: Vec<WarningCode> = heard.iter().map(|warning| warning.code).collect();
            assert_eq!(codes, vec![expected; usize::from(!read_later)]);
        }
    }
}

/// The live ones first, then by id, then by address; every one of them still there, wherever it was before.
#[test]
fn goroutines_are_put_in_order() {
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder};
    for count in [0, 1, 2, 3, 50, 1000_u64] {
        let mut builder = SnapshotBuilder::new();
        for n in 0..count {
            // Half of them in runs, the other half scattered.
            let id = if n % 2 == 0 { n } else { (n * 7919) % 1009 };
            builder.add(&GoroutineSpec { id, ..GoroutineSpec::default() });
        }
        let mut goroutines = builder.build().goroutines;
        for (n, goroutine) in (0..).zip(&mut goroutines) {
            goroutine.addr = Addr(0xc000_0000 + 448 * n);
            if n % 5 == 0 {
                goroutine.status = Status::Dead;
            }
        }
        let key = |g: &Goroutine| (g.status.is_dead(), g.id, g.addr);
        let mut wanted: Vec<_> = goroutines.iter().map(key).collect();
        wanted.sort();
        listed::sort(&mut goroutines);
        assert_eq!(goroutines.iter().map(key).collect::<Vec<_>>(), wanted);
    }
}
