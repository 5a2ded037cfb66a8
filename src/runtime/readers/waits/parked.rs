//! What only the frames of a parked goroutine lead to: the descriptor that it polls, and up to Go 1.25 the
//! semaphore or the `sync.Cond` that it waits for.
//!
//! The functions of the runtime that park a goroutine keep such a pointer in their frames, at the same word for
//! all goroutines of a program that wait alike. So a few stacks are searched for the word that leads to an
//! object that names the goroutine, and the others are looked at there. What else those words lead to may be
//! anything, and does not belong into a recording: the caller searches unrecorded, and reads again what was found.

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::wait::Direction;
use crate::process::{MemRange, ReadError};
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::coro::{Coro, CoroLayout};
use crate::runtime::mirror::notify_list::{NotifyList, NotifyListLayout};
use crate::runtime::mirror::poll_desc::{PollDesc, PollDescLayout};
use crate::runtime::mirror::sudog::{Sudog, SudogLayout};

/// Words of a stack that are searched.
pub(crate) const WORDS: usize = 128;

/// Addresses that a pointer may have.
const POINTERS: std::ops::Range<u64> = 0x1_0000..1 << 47;

/// A goroutine that is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parked {
    /// Number of the waiter, as the caller counts.
    pub waiter: u32,
    /// Its address.
    pub g: u64,
    /// Its stack pointer.
    pub sp: u64,
    /// The end of its stack.
    pub hi: u64,
    /// The word of its stack that is tried first.
    pub word: u64,
}

/// What is looked for.
pub(crate) trait Wanted {
    /// What is found.
    type Found: Copy;

    /// How many bytes before the address in a word are read, and how many from there on.
    fn window(&self) -> (u64, usize);

    /// What a goroutine waits for, if it is in `bytes`, which begin at `start`.
    fn find(&self, g: u64, start: u64, bytes: &[u8]) -> Option<Self::Found>;
}

/// A descriptor that names itself, and the goroutine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor<'a>(pub &'a PollDescLayout);

/// A descriptor that a goroutine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Polled {
    /// Address of the `pollDesc`.
    pub addr: u64,
    /// The kernel's number.
    pub fd: u32,
    /// What it waits for.
    pub direction: Direction,
    /// When it gives up, ns by `nanotime`.
    pub deadline_ns: Option<u64>,
}

impl Wanted for Descriptor<'_> {
    type Found = Polled;

    fn window(&self) -> (u64, usize) {
        // A word may point to `rg` or `wg` in it.
        let before = self.0.rg.max(self.0.wg);
        (before.into(), (before + self.0.size) as usize)
    }

    fn find(&self, g: u64, start: u64, bytes: &[u8]) -> Option<Polled> {
        let layout = self.0;
        let before = layout.rg.max(layout.wg);
        [0, layout.rg, layout.wg].into_iter().find_map(|within| {
            let at = before.checked_sub(within)?;
            let addr = start.checked_add(at.into())?;
            let desc = PollDesc::parse(Addr(addr), bytes.get(at as usize..)?, layout)?;
            let (direction, deadline) = match desc {
                _ if desc.itself != addr => return None,
                _ if desc.rg == g => (Direction::Receive, desc.rd),
                _ if desc.wg == g => (Direction::Send, desc.wd),
                _ => return None,
            };
            let fd = u32::try_from(desc.fd).ok().filter(|fd| i32::try_from(*fd).is_ok())?;
            Some(Polled { addr, fd, direction, deadline_ns: u64::try_from(deadline).ok().filter(|&ns| ns != 0) })
        })
    }
}

/// A sudog of the goroutine, queued at a semaphore.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Semaphore<'a>(pub &'a SudogLayout);

impl Wanted for Semaphore<'_> {
    /// Address of the semaphore.
    type Found = u64;

    fn window(&self) -> (u64, usize) {
        (0, self.0.size as usize)
    }

    fn find(&self, g: u64, start: u64, bytes: &[u8]) -> Option<u64> {
        // The semaphore is cleared when the sudog leaves its queue (`dequeue` in sema.go), so that a pointer to
        // one that was used before is no evidence.
        let sudog = Sudog::parse(Addr(start), bytes, self.0)?;
        let Sudog { channel, elem, .. } = sudog;
        (sudog.g == g && channel == 0 && elem != 0 && elem.is_multiple_of(4)).then_some(elem)
    }
}

/// A `coro` that names the goroutine as the one of the two that does not run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coroutine<'a>(pub &'a CoroLayout);

impl Wanted for Coroutine<'_> {
    /// Address of the `coro`.
    type Found = u64;

    fn window(&self) -> (u64, usize) {
        (0, self.0.size as usize)
    }

    fn find(&self, g: u64, start: u64, bytes: &[u8]) -> Option<u64> {
        let coro = Coro::parse(Addr(start), bytes, self.0)?;
        (coro.gp == g && start.is_multiple_of(8)).then_some(start)
    }
}

/// A list of a `sync.Cond`, as it seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its address.
    pub addr: u64,
    /// The first sudog in it.
    pub head: u64,
    /// The last one.
    pub tail: u64,
    /// How many wait.
    pub waiters: u32,
}

/// The list of a `sync.Cond`, by a pointer to it, to its lock, or to the `Cond`. It does not name the
/// goroutine: that has to be confirmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a> {
    /// Layout of the list.
    pub layout: &'a NotifyListLayout,
    /// Where it is in a `sync.Cond`.
    pub in_cond: u32,
}

/// `notifyList.lock` in the list: after the two tickets (sema.go; 1.19 to 1.27).
const LOCK: u32 = 8;

impl Wanted for List<'_> {
    type Found = Listed;

    fn window(&self) -> (u64, usize) {
        (LOCK.into(), (LOCK + self.in_cond + self.layout.size) as usize)
    }

    fn find(&self, _: u64, start: u64, bytes: &[u8]) -> Option<Listed> {
        [LOCK, 0, LOCK + self.in_cond].into_iter().find_map(|at| {
            let list = NotifyList::parse(Addr(0), bytes.get(at as usize..)?, self.layout)?;
            let pointers = [list.head, list.tail].into_iter().all(|at| POINTERS.contains(&at) && at.is_multiple_of(8));
            // One that is alone is first and last.
            let (few, alone) = (list.waiters() == 1, list.head == list.tail);
            let fits = pointers && (1..1 << 30).contains(&list.waiters()) && few == alone;
            let addr = start.checked_add(at.into()).filter(|_| fits)?;
            Some(Listed { addr, head: list.head, tail: list.tail, waiters: list.waiters() })
        })
    }
}

/// What was found for a goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<F> {
    /// Number of the waiter.
    pub waiter: u32,
    /// What it waits for.
    pub found: F,
    /// The memory that shows it.
    pub memory: MemRange,
}

/// What was found, and those for which nothing was.
pub(crate) type Tried<F> = (Vec<Answer<F>>, Vec<Parked>);

/// What was found, and at which words.
pub(crate) type Searched<F> = Vec<(Answer<F>, usize)>;

/// Looks at one word for each of `parked`: returns what was found and `confirm` confirms, and those for which
/// nothing was.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn try_words<W: Wanted>(
    frontier: &mut Frontier<'_>,
    wanted: &W,
    parked: &[Parked],
    mut confirm: impl FnMut(&Parked, &W::Found) -> Result<bool, ReadError>,
) -> Result<Tried<W::Found>, ReadError> {
    let (before, len) = wanted.window();
    let mut jobs: Vec<(Addr, u32)> = Vec::with_capacity(parked.len());
    for (index, one) in (0_u32..).zip(parked) {
        jobs.extend(candidate(one.word, before).map(|addr| (addr, index)));
    }
    let mut found: Vec<Option<(Addr, W::Found)>> = vec![None; parked.len()];
    frontier.jobs(&mut jobs, len, |addr, index, bytes| {
        let index = index as usize;
        if let Some((one, place)) = parked.get(index).zip(found.get_mut(index)) {
            *place = wanted.find(one.g, addr.0, bytes).map(|found| (addr, found));
        }
    })?;
    let mut left = Vec::new();
    let mut out = Vec::with_capacity(parked.len());
    for (one, found) in parked.iter().zip(found) {
        match found {
            Some((start, found)) if confirm(one, &found)? => {
                out.push(Answer { waiter: one.waiter, found, memory: MemRange { start, len } });
            }
            _ => left.push(*one),
        }
    }
    Ok((out, left))
}

/// Where to read for a word.
fn candidate(word: u64, before: u64) -> Option<Addr> {
    let fits = POINTERS.contains(&word) && word.is_multiple_of(4);
    fits.then(|| word.checked_sub(before)).flatten().map(Addr)
}

/// Searches the innermost words of the stacks of `parked`: the first thing that was found for each and that
/// `confirm` confirms, and at which word.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn search<W: Wanted>(
    frontier: &mut Frontier<'_>,
    wanted: &W,
    parked: &[Parked],
    mut confirm: impl FnMut(&Parked, &W::Found) -> Result<bool, ReadError>,
) -> Result<Searched<W::Found>, ReadError> {
    let (before, len) = wanted.window();
    let by_sp: FxHashMap<u64, u32> = parked.iter().map(|one| one.sp).zip(0..).collect();
    let stacks = parked.iter().map(|one| {
        let used = usize::try_from(one.hi.saturating_sub(one.sp)).unwrap_or(usize::MAX);
        MemRange { start: Addr(one.sp), len: used.min(8 * WORDS) }
    });
    let mut jobs: Vec<(Addr, (u32, u32))> = Vec::new();
    frontier.ranges(stacks.collect::<Vec<_>>(), |range, bytes| {
        let Some(&index) = by_sp.get(&range.start.0) else { return };
        for (number, word) in (0_u32..).zip(bytes.chunks_exact(8).filter_map(|word| word.u64_at(0))) {
            jobs.extend(candidate(word, before).map(|addr| (addr, (index, number))));
        }
    })?;
    let mut found: Vec<(u32, u32, Addr, W::Found)> = Vec::new();
    frontier.jobs(&mut jobs, len, |addr, (index, number), bytes| {
        let one = parked.get(index as usize).and_then(|one| wanted.find(one.g, addr.0, bytes));
        found.extend(one.map(|found| (index, number, addr, found)));
    })?;
    found.sort_unstable_by_key(|(index, number, ..)| (*index, *number));
    let mut out: Searched<W::Found> = Vec::new();
    for of_one in found.chunk_by(|(a, ..), (b, ..)| a == b) {
        for &(index, number, start, found) in of_one {
            let Some(one) = parked.get(index as usize) else { break };
            if confirm(one, &found)? {
                let memory = MemRange { start, len };
                out.push((Answer { waiter: one.waiter, found, memory }, number as usize));
                break;
            }
        }
    }
    Ok(out)
}
