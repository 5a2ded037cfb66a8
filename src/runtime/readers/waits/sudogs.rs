//! The sudogs of goroutines: from a goroutine to what it is queued at.

use crate::addr::Addr;
use crate::model::wait::{Direction, WaitUnknown};
use crate::process::ReadError;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::sudog::{Sudog, SudogLayout};

/// Most cases of one `select` that are followed. Go allows 65,536; each costs a step of all together.
const MAX_CASES: u16 = 1024;

/// One sudog of a goroutine, which says what channel it is queued at. There may be millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    /// Address of the channel.
    pub object: u64,
    /// Address of the sudog.
    pub sudog: u64,
    /// The next sudog in the same queue; 0 for none.
    pub next: u64,
    /// Number of the waiter, as the caller counts.
    pub waiter: u32,
    /// Number of the case of a `select`, as the runtime orders them; 0 else.
    pub order: u16,
    /// What the waiter does.
    pub part: Part,
    /// In which of a channel's queues it was found.
    pub direction: Option<Direction>,
}

const _: () = assert!(size_of::<Queued>() == 32);

/// What a sudog stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The one operation of its goroutine.
    Only(Direction),
    /// A case of a `select`, which has further ones.
    Case,
    /// The last case of a `select`.
    LastCase,
}

/// A goroutine that is queued at channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    /// Its address.
    pub g: u64,
    /// Its number, as the caller counts.
    pub number: u32,
    /// What it does; `None` for a `select`, which has a sudog for each of its cases.
    pub operation: Option<Direction>,
}

/// Reads the sudogs of waiters, whose first ones' addresses are in `firsts`, and those that follow for further
/// cases. Adds to `queued` those that name their waiter, and reports with `bad` the waiters of others.
/// What cannot be read is left out.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_sudogs(
    frontier: &mut Frontier<'_>,
    layout: &SudogLayout,
    firsts: Vec<(Addr, Waiter)>,
    queued: &mut Vec<Queued>,
    mut bad: impl FnMut(u32, WaitUnknown),
) -> Result<(), ReadError> {
    queued.reserve(firsts.len());
    let mut jobs = firsts;
    let mut order = 0;
    while !jobs.is_empty() {
        let mut next: Vec<(Addr, Waiter)> = Vec::new();
        frontier.jobs(&mut jobs, layout.size as usize, |addr, waiter, bytes| {
            let Waiter { g, number, operation } = waiter;
            let fits = |sudog: &Sudog| sudog.g == g && sudog.channel != 0 && sudog.is_select == operation.is_none();
            let Some(sudog) = Sudog::parse(addr, bytes, layout).filter(fits) else {
                bad(number, WaitUnknown::Malformed);
                return;
            };
            let part = match operation {
                Some(direction) => Part::Only(direction),
                None if sudog.waitlink == 0 => Part::LastCase,
                None => Part::Case,
            };
            queued.push(Queued {
                object: sudog.channel,
                sudog: addr.0,
                next: sudog.next,
                waiter: number,
                order,
                part,
                direction: None,
            });
            if part != Part::Case {
            } else if order + 1 < MAX_CASES {
                next.push((Addr(sudog.waitlink), waiter));
            } else {
                bad(number, WaitUnknown::Limit);
            }
        })?;
        jobs = next;
        order = order.saturating_add(1);
    }
    Ok(())
}
