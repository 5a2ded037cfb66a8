//! `runtime.workType`: the state of the running or latest collection cycle.

use super::layout::{Layout, layout};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::target::{ReadError, Target, TargetExt as _};

layout! {
    /// Offsets in `runtime.workType` (mgc.go).
    WorkLayout of "runtime.workType" {
        cycles = "cycles",
        tstart = "tstart",
    }
}

/// `runtime.work`, as it stands in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// `cycles`: cycles begun; one more than `memstats.numgc` while one runs.
    pub cycles: u32,
    /// `tstart`: when marking began to end, ns by `nanotime`; what `g.waitsince` is set to.
    pub tstart: u64,
}

/// Reads `runtime.work`; `None` when it is not there, or when `layout` does not trust where it is.
///
/// # Errors
/// When the target could not be looked at.
pub fn read_work(target: &dyn Target, addr: Addr, layout: &Layout) -> Result<Option<Work>, ReadError> {
    if ["cycles", "tstart"].iter().any(|field| !layout.trusts("runtime.workType", field)) {
        return Ok(None);
    }
    let bytes = target.read_vec(addr, layout.work.size as usize)?;
    Ok(bytes.and_then(|bytes| {
        Some(Work {
            cycles: bytes.u32_at(layout.work.cycles as usize)?,
            tstart: bytes.u64_at(layout.work.tstart as usize)?,
        })
    }))
}
