//! Channels, and who is in their queues.

use rustc_hash::FxHashMap;

use super::sudogs::Queued;
use crate::addr::Addr;
use crate::model::wait::Direction;
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::hchan::{Hchan, HchanLayout};
use crate::runtime::mirror::sudog::{Sudog, SudogLayout};

/// Sudogs in queues that belong to no goroutine that was read: of those that came later, or could not be read.
/// So many are followed in one capture.
const MAX_STRANGERS: usize = 4096;

/// A channel that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    /// The channel itself.
    pub hchan: Hchan,
    /// How many are queued to send; `None` where the queue does not end.
    pub senders: Option<u64>,
    /// How many are queued to receive, likewise.
    pub receivers: Option<u64>,
}

/// Reads the channels that `queued` are queued at, finds each in the queues, and notes in which. `queued` gets
/// sorted by channel and sudog. Hands each channel over with its part of `queued`; `None` where it cannot be
/// read, or is no channel.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_channels(
    frontier: &mut Frontier<'_>,
    target: &dyn Target,
    (layout, sudog): (&HchanLayout, &SudogLayout),
    queued: &mut [Queued],
    mut each: impl FnMut(Addr, Option<Channel>, &[Queued]),
) -> Result<(), ReadError> {
    // Nearly all are in the order of their sudogs already, and many are at the same channel.
    queued.sort_by_key(|one| one.object);
    for group in queued.chunk_by_mut(|a, b| a.object == b.object) {
        group.sort_unstable_by_key(|one| one.sudog);
    }
    let mut jobs: Vec<(Addr, ())> = queued
        .chunk_by(|a, b| a.object == b.object)
        .filter_map(|same| Some((Addr(same.first()?.object), ())))
        .collect();
    let mut strangers = Strangers { target, layout: sudog, known: FxHashMap::default() };
    let mut groups = queued.chunk_by_mut(|a, b| a.object == b.object);
    let mut failed = None;
    // Both are in the order of their addresses.
    frontier.jobs(&mut jobs, layout.size as usize, |addr, (), bytes| {
        for group in groups.by_ref() {
            let at = group.first().map(|one| one.object);
            let hchan = Hchan::parse(addr, bytes, layout).filter(|hchan| at == Some(addr.0) && can_be(hchan));
            let channel = hchan.and_then(|hchan| match strangers.walk_both(&hchan, addr.0, group) {
                Ok([receivers, senders]) => Some(Channel { hchan, senders, receivers }),
                Err(error) => {
                    failed.get_or_insert(error);
                    None
                }
            });
            each(Addr(at.unwrap_or(addr.0)), channel, group);
            // Those before it cannot be read.
            if at == Some(addr.0) {
                break;
            }
        }
    })?;
    for group in groups {
        each(group.first().map_or(Addr(0), |one| Addr(one.object)), None, group);
    }
    failed.map_or(Ok(()), Err)
}

/// Whether these can be the fields of a channel.
fn can_be(hchan: &Hchan) -> bool {
    hchan.qcount <= hchan.dataqsiz && hchan.closed <= 1 && hchan.elemtype != 0
}

/// The index of a sudog in `group`, which is sorted by sudogs: first of all at `near`, since those that were queued
/// one after the other often lie so too.
fn position(group: &[Queued], near: usize, sudog: u64) -> Option<usize> {
    match group.get(near) {
        Some(one) if one.sudog == sudog => Some(near),
        _ => group.binary_search_by_key(&sudog, |one| one.sudog).ok(),
    }
}

/// Sudogs that belong to no goroutine that was read.
struct Strangers<'a> {
    target: &'a dyn Target,
    layout: &'a SudogLayout,
    /// The next one and the channel of each; `None` where that could not be read.
    known: FxHashMap<u64, Option<(u64, u64)>>,
}

impl Strangers<'_> {
    /// Follows both queues of a channel: how many wait to receive, and to send.
    fn walk_both(&mut self, hchan: &Hchan, addr: u64, group: &mut [Queued]) -> Result<[Option<u64>; 2], ReadError> {
        let receivers = self.walk(hchan.first_receiver, addr, group, Direction::Receive)?;
        Ok([receivers, self.walk(hchan.first_sender, addr, group, Direction::Send)?])
    }

    /// Follows a queue from `first`, notes its direction in those of `group` that are in it, and counts.
    fn walk(
        &mut self,
        first: u64,
        channel: u64,
        group: &mut [Queued],
        direction: Direction,
    ) -> Result<Option<u64>, ReadError> {
        let (mut at, mut count, mut foreign) = (first, 0_u64, 0_usize);
        let mut near = 0;
        while at != 0 {
            let found = position(group, near, at);
            near = found.map_or(near, |n| n + 1);
            let next = match found.and_then(|n| group.get_mut(n)) {
                // In a loop, or in both queues.
                Some(one) if one.direction.is_some() => return Ok(None),
                Some(one) => {
                    one.direction = Some(direction);
                    one.next
                }
                None => {
                    foreign += 1;
                    match self.next(at)?.filter(|(_, c)| *c == channel && foreign <= MAX_STRANGERS) {
                        Some((next, _)) => next,
                        None => return Ok(None),
                    }
                }
            };
            count += 1;
            at = next;
        }
        Ok(Some(count))
    }

    fn next(&mut self, sudog: u64) -> Result<Option<(u64, u64)>, ReadError> {
        if let Some(known) = self.known.get(&sudog) {
            return Ok(*known);
        }
        if self.known.len() >= MAX_STRANGERS {
            return Ok(None);
        }
        let bytes = self.target.read_vec(Addr(sudog), self.layout.size as usize)?;
        let parsed = bytes.and_then(|bytes| Sudog::parse(Addr(sudog), &bytes, self.layout));
        let next = parsed.map(|parsed| (parsed.next, parsed.channel));
        self.known.insert(sudog, next);
        Ok(next)
    }
}
