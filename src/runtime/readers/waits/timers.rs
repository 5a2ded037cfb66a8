//! Timers that wake receivers of channels: `time.After`, tickers, and those of contexts.
//!
//! From Go 1.23 on such a channel leads to its timer. Before, and with `GODEBUG=asynctimerchan=1`, only the
//! timer leads to the channel, and so it does with a context's: all timers have to be looked at.

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::wait::{ChannelTimer, TimerSource};
use crate::process::{MemRange, ReadError};
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::p::PLayout;
use crate::runtime::mirror::timer::{Timer, TimerLayout};

/// Most timers that are looked at in one capture.
const MAX_TIMERS: u64 = 1 << 20;

/// How far into a `context.timerCtx` the channel is that its `Done` returns: an interface for its parent, a
/// mutex, and the second word of an `atomic.Value` (`cancelCtx` in context/context.go; 1.18 to 1.27).
const DONE: u64 = 32;

/// Words of a closure that may be the context: what a closure captured is sorted by its size.
const CAPTURED: usize = 4;

impl Timer {
    /// What it is to the receivers of a channel; `None` where that makes no sense.
    fn of_channel(&self, source: TimerSource) -> Option<ChannelTimer> {
        let (deadline_ns, period_ns) = (u64::try_from(self.when).ok()?, u64::try_from(self.period).ok()?);
        (deadline_ns != 0).then_some(ChannelTimer { deadline_ns, period_ns, source })
    }
}

/// Reads the timers at `addrs`, to each of which belongs something.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_timers<T: Copy>(
    frontier: &mut Frontier<'_>,
    layout: &TimerLayout,
    addrs: &mut [(Addr, T)],
    mut each: impl FnMut(T, Timer),
) -> Result<(), ReadError> {
    frontier.jobs(addrs, layout.size as usize, |addr, job, bytes| {
        if let Some(timer) = Timer::parse(addr, bytes, layout) {
            each(job, timer);
        }
    })
}

/// The timers of channels, by the timers that these name themselves.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn of_channels(
    frontier: &mut Frontier<'_>,
    layout: &TimerLayout,
    named: &mut [(Addr, u32)],
    mut each: impl FnMut(u32, ChannelTimer),
) -> Result<(), ReadError> {
    read_timers(frontier, layout, named, |index, timer| {
        if let Some(timer) = timer.of_channel(TimerSource::Time) {
            each(index, timer);
        }
    })
}

/// Looks through the timers of the Ps at `ps` for those of `channels`. All timers are read with `searching`, and
/// the memory of those that were found is returned.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn search(
    (frontier, searching): (&mut Frontier<'_>, &mut Frontier<'_>),
    (p, timer): (&PLayout, &TimerLayout),
    ps: &[Addr],
    channels: &FxHashMap<u64, u32>,
    mut each: impl FnMut(u32, ChannelTimer),
) -> Result<Vec<MemRange>, ReadError> {
    // Elements of the newer heap have a time beside the pointer.
    let (Some(slice), size) = (p.timers_heap.or(p.timers_slice), if p.timers_heap.is_some() { 16 } else { 8 }) else {
        return Ok(Vec::new());
    };
    let headers = ps.iter().map(|p| MemRange { start: Addr(p.0.wrapping_add(slice.into())), len: 16 });
    let (mut arrays, mut left) = (Vec::new(), MAX_TIMERS);
    frontier.ranges(headers, |_, bytes| {
        let (Some(data), Some(len)) = (bytes.u64_at(0), bytes.u64_at(8)) else { return };
        let len = len.min(left);
        left -= len;
        let Some(end) = len.checked_mul(size).and_then(|bytes| data.checked_add(bytes)) else { return };
        // In parts that can be read at once.
        const PART: u64 = 1 << 20;
        let mut start = data;
        while start < end {
            let part = PART.min(end - start);
            arrays.push(MemRange { start: Addr(start), len: usize::try_from(part).unwrap_or(0) });
            start += part;
        }
    })?;
    let mut timers: Vec<(Addr, ())> = Vec::new();
    frontier.ranges(arrays, |_, bytes| {
        let pointers = bytes.chunks_exact(size as usize).filter_map(|element| element.u64_at(0));
        timers.extend(pointers.filter(|&timer| timer != 0).map(|timer| (Addr(timer), ())));
    })?;
    let mut kept = Vec::new();
    let mut closures: Vec<(Addr, (Addr, ChannelTimer))> = Vec::new();
    let size = timer.size as usize;
    searching.jobs(&mut timers, size, |addr, (), bytes| {
        let Some(timer) = Timer::parse(addr, bytes, timer) else { return };
        let data = timer.arg.data;
        if let Some(&index) = channels.get(&data) {
            if let Some(timer) = timer.of_channel(TimerSource::Time) {
                kept.push(MemRange { start: addr, len: size });
                each(index, timer);
            }
        } else if data != 0
            && timer.period == 0
            && let Some(timer) = timer.of_channel(TimerSource::Context)
        {
            closures.push((Addr(data), (addr, timer)));
        }
    })?;
    // A context's timer, its closure, and the context.
    let mut contexts: Vec<(Addr, (Addr, Addr, ChannelTimer))> = Vec::new();
    let captured = 8 * (1 + CAPTURED);
    searching.jobs(&mut closures, captured, |closure, (at, timer), bytes| {
        let words = bytes.chunks_exact(8).skip(1).filter_map(|word| word.u64_at(0));
        let done = words.filter(|word| word.is_multiple_of(8)).filter_map(|word| word.checked_add(DONE));
        contexts.extend(done.map(|done| (Addr(done), (at, closure, timer))));
    })?;
    searching.jobs(&mut contexts, 8, |done, (at, closure, timer), bytes| {
        if let Some(&index) = bytes.u64_at(0).and_then(|channel| channels.get(&channel)) {
            kept.extend([(at, size), (closure, captured), (done, 8)].map(|(start, len)| MemRange { start, len }));
            each(index, timer);
        }
    })?;
    Ok(kept)
}
