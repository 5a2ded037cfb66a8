//! When a process died, by the clock of its own stamps. A core file does not record it; but the latest stamp
//! in it cannot be later.

use crate::model::Goroutine;
use crate::process::{Clock, ReadError, TargetExt};
use crate::runtime::GoProcess;
use crate::runtime::symbols::Global;

/// Stamps beyond this (some 146 years after boot) are not stamps: the runtime keeps `maxint64` for "never".
pub(super) const MAX_STAMP: u64 = 1 << 62;

/// The latest stamp that is found, ns by `nanotime`; 0 where there is none.
pub(super) fn at_least(process: GoProcess<'_>, init: Option<u64>, goroutines: &[Goroutine]) -> Result<u64, ReadError> {
    let layout = &process.runtime.layout;
    let mut latest = init.unwrap_or(0);
    for (global, offset) in [
        (Global::Sched, layout.sched.lastpoll),
        (Global::Sched, layout.sched.procresizetime),
        (Global::Memstats, layout.mstats.last_gc_nanotime),
    ] {
        if let Some(stamp) = word(process, global, offset)?.filter(|&stamp| stamp < MAX_STAMP) {
            latest = latest.max(stamp);
        }
    }
    let waits = goroutines.iter().filter_map(|g| g.wait_since_ns).map(std::num::NonZeroU64::get);
    Ok(waits.filter(|&stamp| stamp < MAX_STAMP).fold(latest, u64::max))
}

/// A moment by both clocks: the end of the latest collection. Both are 0 where there was none.
pub(super) fn both_clocks(process: GoProcess<'_>) -> Result<Clock, ReadError> {
    let mstats = &process.runtime.layout.mstats;
    let monotonic = word(process, Global::Memstats, mstats.last_gc_nanotime)?;
    match (monotonic, word(process, Global::Memstats, Some(mstats.last_gc_unix))?) {
        (Some(monotonic_ns), Some(unix_ns)) => Ok(Clock { monotonic_ns, unix_ns }),
        _ => Ok(Clock::default()),
    }
}

/// A word of a variable of the runtime, where both are known.
fn word(process: GoProcess<'_>, global: Global, offset: Option<u32>) -> Result<Option<u64>, ReadError> {
    match offset.and_then(|offset| process.field(global, offset)) {
        Some(at) => process.target.read_u64(at),
        None => Ok(None),
    }
}
