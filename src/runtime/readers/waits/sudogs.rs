//! The sudogs of goroutines: from a goroutine to what it is queued at.

use crate::addr::Addr;
use crate::model::wait::{Direction, WaitUnknown};
use crate::process::ReadError;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::sudog::{Sudog, SudogLayout};

/// Most cases of one `select` that are followed. Go allows 65,536; each costs a step of all together.
const MAX_CASES: u32 = 1024;

/// One sudog of a goroutine, which says what it is queued at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    /// Address of the channel, the semaphore or the `notifyList`.
    pub object: u64,
    /// Address of the sudog.
    pub sudog: u64,
    /// The next sudog in the same queue; 0 for none.
    pub next: u64,
    /// Number of the waiter, as the caller counts.
    pub waiter: u32,
    /// Number of the case of a `select`, as the runtime orders them; 0 else.
    pub order: u32,
    /// Whether the waiter has no further cases.
    pub is_last: bool,
    /// In which of a channel's queues it was found.
    pub direction: Option<Direction>,
}

/// What a waiter's sudogs are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    /// Its address.
    pub g: u64,
    /// Whether its sudogs are queued at channels, rather than at a semaphore or a `sync.Cond`.
    pub channels: bool,
    /// Whether it has one for each case of a `select`.
    pub selects: bool,
}

/// Reads the sudogs whose addresses are in `firsts` with the numbers of their waiters, and those that follow for
/// further cases. Adds to `queued` those that name their waiter, and reports with `bad` the waiters of others.
/// What cannot be read is left out.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_sudogs(
    frontier: &mut Frontier<'_>,
    layout: &SudogLayout,
    firsts: impl IntoIterator<Item = (Addr, u32)>,
    waiter: impl Fn(u32) -> Option<Waiter>,
    queued: &mut Vec<Queued>,
    mut bad: impl FnMut(u32, WaitUnknown),
) -> Result<(), ReadError> {
    let mut jobs: Vec<(Addr, (u32, u32))> = firsts.into_iter().map(|(addr, number)| (addr, (number, 0))).collect();
    while !jobs.is_empty() {
        let mut next: Vec<(Addr, (u32, u32))> = Vec::new();
        frontier.jobs(&mut jobs, layout.size as usize, |addr, (number, order), bytes| {
            let Some(waiter) = waiter(number) else { return };
            let parsed = Sudog::parse(addr, bytes, layout).filter(|sudog| sudog.g == waiter.g);
            let at = |sudog: Sudog| {
                let Sudog { channel, elem, .. } = sudog;
                let object = if waiter.channels { channel } else { elem };
                let fits = object != 0 && (waiter.channels || channel == 0) && sudog.is_select == waiter.selects;
                fits.then_some((sudog, object))
            };
            let Some((sudog, object)) = parsed.and_then(at) else {
                bad(number, WaitUnknown::Malformed);
                return;
            };
            // Of a semaphore's sudog it is the next goroutine's.
            let link = if waiter.selects { sudog.waitlink } else { 0 };
            queued.push(Queued {
                object,
                sudog: addr.0,
                next: sudog.next,
                waiter: number,
                order,
                is_last: link == 0,
                direction: None,
            });
            if link == 0 {
            } else if order + 1 < MAX_CASES {
                next.push((Addr(link), (number, order + 1)));
            } else {
                bad(number, WaitUnknown::Limit);
            }
        })?;
        jobs = next;
    }
    Ok(())
}
