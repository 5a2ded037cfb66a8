//! Goroutines that are just ending.

use super::read::Plan;
use crate::addr::Addr;
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::readers::threads::is_m;

/// Whether the goroutine at `addr`, which is marked dead and was certainly not when its header was read as
/// `before`, is being ended by its thread: that is the state for some 100 ns, or longer while the thread has
/// no CPU. Its M has it as its own until all is cleared (`gdestroy` and `goexit0`, which call `dropg` last;
/// runtime/proc.go, 1.19 to 1.27).
///
/// The target is read anew, and what is read is not part of a recording: pass an unlogged one.
pub(super) fn is_ending(
    target: &dyn Target,
    plan: &Plan,
    curg: u64,
    addr: Addr,
    before: &[u8],
) -> Result<bool, ReadError> {
    let Some(g) = plan.parse(before) else { return Ok(false) };
    // It may have dropped its M already; then that is any of them.
    let named = [g.m];
    let ms: &mut dyn Iterator<Item = u64> =
        if g.m == 0 { &mut plan.checks.ms().iter().copied() } else { &mut named.into_iter() };
    for m in ms {
        if is_m(target, &plan.g, m)? && target.read_u64(Addr(m.wrapping_add(curg)))? == Some(addr.0) {
            return Ok(true);
        }
    }
    // It may have ended since its header was read, and then has changed.
    let size = usize::try_from(plan.g.size).unwrap_or_default();
    let now = target.read_vec(addr, size)?;
    Ok(now.is_some_and(|now| !plan.is_same(before, &now)))
}
