//! Damaged memory: a word that is wrong costs one goroutine its stack, not the answer.
//!
//! The captures in `fixtures/captures` with words of stacks and of gs changed on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::snapshots::everything;
use gospy::addr::Addr;
use gospy::capture::{OpenOptions, Session};
use gospy::model::{Goroutine, NotShown, Snapshot, StackState, Status};
use gospy::process::Target;
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::process::fake::Altered;

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// A word as damage makes them: nothing, a bit, anything, or something that looks real.
    fn word(&mut self, was: u64, like: &[u64]) -> u64 {
        match self.below(5) {
            0 => 0,
            1 => was ^ (1 << self.below(64)),
            2 => self.next(),
            3 => was.wrapping_add(8 * self.below(64)),
            _ => like[usize::try_from(self.below(like.len() as u64)).unwrap()],
        }
    }
}

fn captures() -> Vec<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures");
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "capture"));
    assert!(!found.is_empty());
    found
}

fn open(path: &Path) -> CoreTarget {
    CoreTarget::open(path, &CoreOptions::default()).unwrap()
}

fn read(path: &Path, words: BTreeMap<u64, u64>) -> Option<Snapshot> {
    let mut target = Altered::new(open(path));
    words.into_iter().for_each(|(at, word)| target.put(at, word, 8));
    let started = Instant::now();
    let snapshot = Session::open(Box::new(target), &OpenOptions::default())
        .ok()
        .and_then(|mut session| session.capture(&everything()).ok());
    assert!(started.elapsed() < Duration::from_secs(60), "it took {:?}", started.elapsed());
    snapshot
}

fn word_at(target: &dyn Target, addr: u64) -> u64 {
    let mut bytes = [0; 8];
    target.read(Addr(addr), &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// Every stack that is shown ends where stacks end; what has none says why, and is counted.
fn assert_honest(label: &str, snapshot: &Snapshot) {
    let mut hidden = 0;
    for g in &snapshot.goroutines {
        match g.stack {
            StackState::Known(stack) => {
                let frames = &snapshot.symbols.stack(stack).unwrap().frames;
                let last = snapshot.symbols.function(frames.last().unwrap().frame);
                assert!(
                    matches!(last, "runtime.goexit" | "runtime.mstart" | "runtime.rt0_go"),
                    "{label}: ends in {last}"
                );
            }
            StackState::NotShown(NotShown::Moving | NotShown::Unreadable) => hidden += 1,
            StackState::NotShown(_) => {}
        }
    }
    let counted = snapshot.reading.consistency;
    assert!(counted.moving + counted.unreadable >= hidden, "{label}: {counted:?}");
    assert!(hidden == 0 || !snapshot.is_complete(), "{label}");
}

#[test]
fn a_damaged_stack_harms_nobody_else() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut noticed = 0;
    for path in captures() {
        let label = path.display().to_string();
        let whole = read(&path, BTreeMap::new()).unwrap();
        let target = open(&path);
        let parked: Vec<_> = whole.goroutines.iter().filter(|g| g.sp.0 != 0 && g.status != Status::Running).collect();
        let pcs: Vec<u64> = parked.iter().map(|g| whole.symbols.frame(g.innermost.unwrap()).unwrap().pc.0).collect();
        for _ in 0..12 {
            let victim = parked[usize::try_from(random.below(parked.len() as u64)).unwrap()];
            let words = (0..1 + random.below(6)).map(|_| {
                let at = victim.sp.0 + 8 * random.below((victim.stack_hi.0 - victim.sp.0) / 8);
                (at, random.word(word_at(&target, at), &pcs))
            });
            let damaged = read(&path, words.collect()).unwrap_or_else(|| panic!("{label}: nothing was read"));
            assert_honest(&label, &damaged);
            crate::snapshots::assert_same_goroutines(&label, &whole, &damaged, |g| g.addr != victim.addr);
            let after = damaged.goroutines.iter().find(|g| g.addr == victim.addr).unwrap();
            noticed += usize::from(matches!(after.stack, StackState::NotShown(NotShown::Unreadable)));
            assert_eq!((after.id, after.status), (victim.id, victim.status), "{label}");
        }
    }
    assert!(noticed > 0, "no damage ever broke a stack");
}

#[test]
fn damaged_headers_harm_nobody_else() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for path in captures() {
        let label = path.display().to_string();
        let whole = read(&path, BTreeMap::new()).unwrap();
        let target = open(&path);
        let like: Vec<u64> = whole.goroutines.iter().flat_map(|g| [g.addr.0, g.sp.0, g.stack_hi.0]).collect();
        for _ in 0..12 {
            let victim = &whole.goroutines[usize::try_from(random.below(whole.goroutines.len() as u64)).unwrap()];
            let words = (0..1 + random.below(4)).map(|_| {
                let at = victim.addr.0 + 8 * random.below(48);
                (at, random.word(word_at(&target, at), &like))
            });
            let damaged = read(&path, words.collect()).unwrap_or_else(|| panic!("{label}: nothing was read"));
            assert_honest(&label, &damaged);
            // What was known and is unknown now is not passed over.
            let after = damaged.goroutines.iter().find(|g| g.addr == victim.addr);
            let known = |g: &Goroutine| {
                [g.creator.is_some(), g.start.is_some(), g.wait_reason.is_some(), g.current.is_some(), g.m.is_some()]
            };
            let gone = |after: &Goroutine| known(victim).into_iter().zip(known(after)).any(|(was, is)| was && !is);
            let running = after.is_some_and(|g| g.status != victim.status && g.status != Status::Waiting);
            if after.is_none_or(|after| gone(after) && !running) && !victim.status.is_dead() {
                assert!(!damaged.is_complete(), "{label}: {victim:?}\n{after:?}");
            }
            // An M that only the victim pointed to is lost with it, and so is what hangs on it.
            crate::snapshots::assert_same_goroutines(&label, &whole, &damaged, |g| g.addr != victim.addr);
        }
    }
}
