//! When a process died, by the clock that its own stamps are by. A core file does not say; but the
//! latest of the stamps in it cannot be later.

use super::program::Program;
use crate::addr::Addr;
use crate::model::Goroutine;
use crate::process::{Clock, ReadError, Target, TargetExt};
use crate::runtime::GoRuntime;
use crate::runtime::symbols::Global;

/// Stamps beyond this (some 146 years after boot) are no stamps: the runtime keeps `maxint64` for
/// "never".
pub(super) const MAX_STAMP: u64 = 1 << 62;

/// The latest stamp that is found, ns by `nanotime`; 0 where there is none.
pub(super) fn at_least(
    target: &dyn Target,
    runtime: &GoRuntime,
    program: &Program,
    init: Option<u64>,
    goroutines: &[Goroutine],
) -> Result<u64, ReadError> {
    let table = &runtime.layout.table;
    let mut latest = init.unwrap_or(0);
    for (global, structure, field) in [
        (Global::Sched, "runtime.schedt", "lastpoll"),
        (Global::Sched, "runtime.schedt", "procresizetime"),
        (Global::Memstats, "runtime.mstats", "last_gc_nanotime"),
    ] {
        let (Some(link), Some(offset)) = (runtime.symbols.addr(global), table.offset(structure, field)) else {
            continue;
        };
        let at = Addr(program.bias.load(link).0.wrapping_add(offset.into()));
        if let Some(stamp) = target.read_u64(at)?.filter(|&stamp| stamp < MAX_STAMP) {
            latest = latest.max(stamp);
        }
    }
    let waits = goroutines.iter().filter_map(|g| g.wait_since_ns).map(std::num::NonZeroU64::get);
    Ok(waits.filter(|&stamp| stamp < MAX_STAMP).fold(latest, u64::max))
}

/// A moment by both clocks: the end of the latest collection. Both are 0 where there was none.
pub(super) fn both_clocks(target: &dyn Target, runtime: &GoRuntime, program: &Program) -> Result<Clock, ReadError> {
    let stamp = |field| {
        let offset = runtime.layout.table.offset("runtime.mstats", field);
        let place = runtime.symbols.addr(Global::Memstats).zip(offset);
        let at = place.map(|(link, offset)| Addr(program.bias.load(link).0.wrapping_add(offset.into())));
        at.map_or(Ok(None), |at| target.read_u64(at))
    };
    match (stamp("last_gc_nanotime")?, stamp("last_gc_unix")?) {
        (Some(monotonic_ns), Some(unix_ns)) => Ok(Clock { monotonic_ns, unix_ns }),
        _ => Ok(Clock::default()),
    }
}
