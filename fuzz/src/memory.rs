//! The memory of a recorded program, changed while it is read: each reading of a word may give another one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use gospy::analysis::{Index, leaks, objects};
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::heap::objects::{ObjectOptions, Wanted};
use gospy::heap::profile::{Profiles, goroutines, threads};
use gospy::heap::{self, LeakOptions, PassOptions, Progress};
use gospy::model::ContentionKind;
use gospy::process::MemRange;
use gospy::process::core::CoreTarget;
use gospy::process::fake::Altered;
use gospy::testing::decoders;

use crate::bases::{self, Base, Changed, NUMBERS};
use crate::files::{Counted, show};
use crate::parts::Bytes;

/// Addresses that were read, of which some are given as pointers.
const RECENT: usize = 64;

/// What becomes of the words that are read.
struct Changing {
    plan: Vec<u8>,
    at: usize,
    /// How many readings pass before the next change.
    pass: usize,
    recent: VecDeque<u64>,
}

impl Changing {
    fn bytes<T>(&mut self, take: impl FnOnce(&mut Bytes<'_>) -> Option<T>) -> Option<T> {
        let mut bytes = Bytes(self.plan.get(self.at..)?);
        let taken = take(&mut bytes)?;
        self.at = self.plan.len() - bytes.0.len();
        Some(taken)
    }

    /// What is to be found at an address, of how many bytes; `None` where nothing changes.
    fn after(&mut self, ranges: &[MemRange], got: &[usize]) -> Option<(u64, u64, usize)> {
        for range in ranges.iter().take(4) {
            self.recent.push_back(range.start.0);
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        if let Some(pass) = self.pass.checked_sub(1) {
            self.pass = pass;
            return None;
        }
        let (pass, which, offset, kind) =
            self.bytes(|bytes| Some((bytes.byte()?, bytes.number(2)?, bytes.number(2)?, bytes.byte()?)))?;
        self.pass = usize::from(pass % 32);
        let which = which as usize % ranges.len().max(1);
        let (range, got) = (ranges.get(which)?, *got.get(which)?);
        let at = offset as usize % got.max(1);
        let word_at = range.start.0.wrapping_add((at & !7) as u64);
        Some(match kind % 6 {
            0 => (range.start.0.wrapping_add(at as u64), u64::from(self.bytes(|bytes| bytes.byte())?), 1),
            1 => (word_at, NUMBERS[usize::from(kind / 6) % NUMBERS.len()], 8),
            2 => (word_at, self.bytes(|bytes| bytes.number(8))?, 8),
            3 => (range.start.0.wrapping_add((at & !3) as u64), self.bytes(|bytes| bytes.number(4))?, 4),
            4 => {
                let nth = usize::from(self.bytes(|bytes| bytes.byte())?) % self.recent.len().max(1);
                (word_at, *self.recent.get(nth)?, 8)
            }
            _ => (word_at, range.start.0.wrapping_add(u64::from(self.bytes(|bytes| bytes.byte())?) * 8), 8),
        })
    }
}

/// A capture whose memory changes as `plan` says.
fn changing(base: &Arc<Base>, plan: &[u8]) -> Option<Altered<CoreTarget>> {
    let target = decoders::core(Arc::new(Changed::new(base, Bytes(&[])))).ok()?;
    let altered = Altered::new(target);
    let changes = altered.changes();
    let state = Changing { plan: plan.to_vec(), at: 0, pass: 0, recent: VecDeque::new() };
    let state = Mutex::new(state);
    Some(altered.after_reads(move |ranges, got| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, word, len)) = state.after(ranges, got) {
            changes.put(at, word, len);
        }
    }))
}

/// Everything that is read of goroutines, twice, and shown; the first byte says of which program, and whether what
/// searches found is forgotten.
#[must_use]
pub fn whole(input: &[u8]) -> usize {
    const FORGOTTEN: [&str; 6] = ["program", "runtime", "layout", "symbols", "globals", "functions"];
    let mut input = Bytes(input);
    let (which, flags) = (input.byte().unwrap_or(0), input.byte().unwrap_or(0));
    let bases = bases::captures();
    let Some(mut target) = changing(&bases[usize::from(which) % bases.len()], input.0) else { return 0 };
    for (bit, key) in FORGOTTEN.iter().enumerate() {
        if flags & 1 << bit != 0 {
            target = target.without_remembered(key);
        }
    }
    let Ok(mut session) = Session::open(Box::new(target), &OpenOptions { thorough: flags & 0x40 != 0, bin: None })
    else {
        return 1;
    };
    let options = CaptureOptions {
        stacks: true,
        dead: flags & 0x80 != 0,
        waits: true,
        c_frames: true,
        system_calls: true,
        traceback: true,
        values: true,
        strings: true,
        keep_stacks: true,
        ..CaptureOptions::default()
    };
    let shown: usize = (0..2).filter_map(|_| session.capture(&options).ok()).map(|snapshot| show(&snapshot)).sum();
    let metrics = usize::from(session.metrics().is_ok());
    1 + shown + metrics
}

/// Every program as it is, and changes early and late.
#[must_use]
pub fn whole_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..bases::captures().len() as u8).map(|which| vec![which, 0]).collect();
    seeds.extend([1_u8, 2, 4, 8, 16, 32, 64, 128].map(|flags| vec![0, flags]));
    for (n, start) in [(0_u8, 0_u8), (1, 3), (2, 9), (3, 20), (4, 31)] {
        let mut plan = vec![n, 0];
        for change in 0..24_u8 {
            // Which reading, which range, where in it, what.
            plan.extend([
                start,
                change,
                0,
                change.wrapping_mul(40),
                0,
                change.wrapping_mul(7) + n,
                change,
                change,
                0,
                0,
            ]);
        }
        seeds.push(plan);
    }
    seeds
}

/// The heap: leaks, objects, types, profiles, and what is said of them.
#[must_use]
pub fn heap(input: &[u8]) -> usize {
    let mut input = Bytes(input);
    let flags = input.byte().unwrap_or(0);
    let Some(target) = changing(bases::heap(), input.0) else { return 0 };
    let Ok(mut session) = Session::open(Box::new(target), &OpenOptions::default()) else { return 0 };
    let options = CaptureOptions { stacks: true, waits: true, ..CaptureOptions::default() };
    let Ok(snapshot) = session.capture(&options) else { return 1 };
    let index = Index::new(&snapshot);
    let process = session.process();
    let mut found = 1;
    if flags & 3 != 1 {
        let pass = PassOptions { threads: 1, ..PassOptions::default() };
        let options = LeakOptions { pass, ..LeakOptions::default() };
        if let Ok(mut leaks) = heap::find(process, &options, &Progress::default(), |_| ()) {
            let groups = leaks::groups(&index, &leaks);
            let ids: Vec<Vec<u64>> = groups.iter().map(|group| group.ids.clone()).collect();
            found += 1 + leaks.leaked.len() + usize::from(leaks.examine(process, &ids).is_ok());
            let mut out = Counted::default();
            let written = gospy::report::leaks::write(&mut out, &index, &leaks, &groups);
            assert!(written.is_ok(), "a report failed on a writer that never does");
        }
    }
    if flags & 3 != 2 {
        let options = ObjectOptions {
            freeze: false,
            groups: objects::groups(&index).into_iter().map(|group| group.ids).collect(),
            only: Some(vec![1]),
            path_to: Some(match flags & 4 {
                0 => Wanted::Type("runtime.p".to_owned()),
                _ => Wanted::Address(0xc0_0000_2000),
            }),
        };
        if let Ok(objects) = heap::objects::find(process, &options, &Progress::default(), |_| ()) {
            found += 1 + objects.types.map_or(0, |types| types.len());
        }
    }
    if let Ok(profiles) = Profiles::find(process) {
        found += profiles.allocations(process).map_or(0, |profile| 1 + profile.sites.len());
        for kind in [ContentionKind::Block, ContentionKind::Mutex] {
            found += usize::from(profiles.contention(process, kind).is_ok());
        }
    }
    found += usize::from(threads(process).is_ok());
    let _ = goroutines(process, &snapshot, 100);
    found += usize::from(heap::survivors(process).is_ok()) + usize::from(heap::size_classes(process).is_ok());
    found
}

/// The heap as it is, and changes early and late.
#[must_use]
pub fn heap_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0], vec![1], vec![2], vec![4]];
    for start in [0_u8, 2, 5, 11, 30] {
        let mut plan = vec![start];
        for change in 0..40_u8 {
            plan.extend([
                start,
                change,
                change / 9,
                change.wrapping_mul(56),
                change,
                change.wrapping_mul(5),
                change,
                1,
                0,
                0,
            ]);
        }
        seeds.push(plan);
    }
    seeds
}
