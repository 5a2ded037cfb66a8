use super::*;
use crate::addr::Arch;
use crate::process::fake::{FakeTarget, ReadOutcome};

const BASE: u64 = 0x10_0000;
const PLENTY: Budget = Budget { objects: 1 << 20, bytes: 1 << 30, depth: 1 << 20 };

/// An element of a list: where the next one is, and a value.
#[derive(Debug, PartialEq, Eq)]
struct Element {
    next: u64,
    value: u64,
}

impl Mirror for Element {
    type Layout = ();

    fn size((): &()) -> u32 {
        16
    }

    fn parse(_: Addr, bytes: &[u8], (): &()) -> Option<Self> {
        Some(Self { next: bytes.u64_at(0)?, value: bytes.u64_at(8)? })
    }
}

/// Lists of three elements each, one list every 4 KiB.
fn lists(count: u64) -> FakeTarget {
    let mut memory = vec![0; usize::try_from(count * 4096).unwrap()];
    for list in 0..count {
        for n in 0..3 {
            let at = usize::try_from(list * 4096 + n * 1000).unwrap();
            let next = if n < 2 { BASE + list * 4096 + (n + 1) * 1000 } else { 0 };
            memory[at..at + 8].copy_from_slice(&next.to_le_bytes());
            memory[at + 8..at + 16].copy_from_slice(&(list * 10 + n).to_le_bytes());
        }
    }
    FakeTarget::new(Arch::Amd64).with_segment(Addr(BASE), memory)
}

fn chased(target: &FakeTarget, firsts: &[u64], budget: Budget) -> (Found<Element>, bool) {
    let (mut frontier, mut found) = (Frontier::new(target, budget), Found::default());
    let next = |element: &Element| Some(Addr(element.next));
    frontier.chase(&(), firsts.iter().copied().map(Addr), &mut found, next).unwrap();
    (found, frontier.is_cut())
}

#[test]
fn all_take_the_first_step_and_then_all_the_second() {
    let target = lists(2000);
    let firsts: Vec<u64> = (0..2000).map(|list| BASE + list * 4096).collect();
    let (found, cut) = chased(&target, &firsts, PLENTY);
    assert_eq!((found.0.len(), cut), (6000, false));
    let value = |at: u64| found.get(Addr(at)).map(|element| element.value);
    assert_eq!(value(BASE + 4096 * 7), Some(70));
    assert_eq!(value(BASE + 4096 * 7 + 2000), Some(72));
    // Three steps of 2,000 ranges each, 1,024 a call; one by one they would be 6,000.
    assert_eq!(target.stats().syscalls, 6);
}

#[test]
fn each_address_is_read_once() {
    let target = lists(1);
    // Leads back to its own beginning.
    target.memory(|memory| memory.put_u64(Addr(BASE + 2000), BASE));
    let (found, cut) = chased(&target, &[BASE, BASE, BASE + 1000, 0], PLENTY);
    assert_eq!((found.0.len(), cut, target.reads()), (3, false, 2));
    // What is known already costs nothing.
    let (mut frontier, mut found) = (Frontier::new(&target, PLENTY), found);
    frontier.chase(&(), [Addr(BASE)], &mut found, |_| None).unwrap();
    assert_eq!((target.reads(), frontier.spent()), (2, 0));
}

#[test]
fn what_cannot_be_read_is_not_found_and_affects_no_other() {
    let target = lists(2);
    let nowhere = [8, u64::MAX - 4, BASE + 2 * 4096 - 8];
    let firsts = [BASE, nowhere[0], nowhere[1], nowhere[2], BASE + 4096];
    let (found, cut) = chased(&target, &firsts, PLENTY);
    assert!(!cut && nowhere.iter().all(|&at| found.get(Addr(at)).is_none()));
    assert!([BASE, BASE + 2000, BASE + 4096 + 2000].iter().all(|&at| found.get(Addr(at)).is_some()));
    // An error of the target ends it.
    let failing = lists(2).with_hook(|_, _, _| ReadOutcome::Fails(ReadError::Io("bad".into())));
    let mut frontier = Frontier::new(&failing, PLENTY);
    assert_eq!(frontier.mirrors::<Element>(&(), [Addr(BASE)]).unwrap_err(), ReadError::Io("bad".into()));
}

#[test]
fn a_budget_is_kept() {
    let firsts: Vec<u64> = (0..100).map(|list| BASE + list * 4096).collect();
    let read = |budget: Budget| {
        let (found, cut) = chased(&lists(100), &firsts, budget);
        (found.0.values().flatten().count(), cut)
    };
    assert_eq!(read(Budget { objects: 300, bytes: 300 * 16, depth: 2 }), (300, false));
    assert_eq!(read(Budget { objects: 299, ..PLENTY }), (299, true));
    assert_eq!(read(Budget { bytes: 250 * 16 + 15, ..PLENTY }), (250, true));
    assert_eq!(read(Budget { depth: 1, ..PLENTY }), (200, true));
    assert_eq!(read(Budget { objects: 0, ..PLENTY }), (0, true));
    // What is longer than any range is not read at all.
    let target = lists(1);
    let mut frontier = Frontier::new(&target, Budget { bytes: u64::MAX, ..PLENTY });
    let long = MemRange { start: Addr(BASE), len: MAX_RANGE + 1 };
    frontier.ranges([long, MemRange { start: Addr(BASE), len: 8 }], |range, _| assert_eq!(range.len, 8)).unwrap();
    assert_eq!(frontier.spent(), 8);
}

#[test]
fn a_batch_that_is_too_much_is_read_in_halves() {
    let target = lists(100);
    let addrs: Vec<Addr> = (0..100).map(|list| Addr(BASE + list * 4096)).collect();
    let run = |budget: Budget, total: u64| {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        let read = |frontier: &mut Frontier<'_>, batch: &[Addr]| frontier.words(batch.iter().copied());
        in_batches(&target, &addrs, (budget, total), read, |batch, words| match words {
            Some(words) => {
                assert_eq!(words.len(), batch.len());
                known.extend_from_slice(batch);
            }
            None => unknown.extend_from_slice(batch),
        })
        .unwrap();
        assert_eq!([known.clone(), unknown.clone()].concat(), addrs, "all of them, in order");
        known.len()
    };
    assert_eq!(run(PLENTY, u64::MAX), 100);
    assert_eq!(run(Budget { bytes: 8 * 30, ..PLENTY }, u64::MAX), 100);
    assert_eq!(run(Budget { objects: 0, ..PLENTY }, u64::MAX), 0);
    assert_eq!(run(PLENTY, 0), 0);
    // Halves of what has been read in vain count too.
    assert!((1..100).contains(&run(Budget { bytes: 8 * 30, ..PLENTY }, 8 * 90)));
}

/// A recording holds what was requested, and nothing in between.
#[test]
fn gaps_are_not_recorded() {
    use crate::process::recording::RecordingTarget;
    let recording = RecordingTarget::new(Box::new(lists(1)));
    let mut frontier = Frontier::new(&recording, PLENTY);
    frontier.words([Addr(BASE), Addr(BASE + 64)]).unwrap();
    assert_eq!(recording.stats().bytes, 16);
    let mut frontier = Frontier::new(crate::process::unlogged(&recording), PLENTY);
    frontier.words([Addr(BASE), Addr(BASE + 64)]).unwrap();
    assert_eq!(recording.stats().bytes, 16 + 72);
}

/// Several jobs at one address get its bytes all, in order, and those that cannot be read are left out.
#[test]
fn jobs_at_the_same_address_are_all_done() {
    let target = lists(3);
    let mut jobs = vec![(Addr(BASE + 4096), 'b'), (Addr(8), 'x'), (Addr(BASE), 'a'), (Addr(BASE + 4096), 'c')];
    let mut done = Vec::new();
    let mut frontier = Frontier::new(&target, PLENTY);
    frontier.jobs(&mut jobs, 16, |addr, job, bytes| done.push((job, addr.0, bytes.u64_at(8).unwrap()))).unwrap();
    done.sort_unstable();
    assert_eq!(done, [('a', BASE, 0), ('b', BASE + 4096, 10), ('c', BASE + 4096, 10)]);
}
