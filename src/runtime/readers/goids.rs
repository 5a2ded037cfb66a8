//! The ids of goroutines that others point to.

use super::bulk;
use crate::addr::Addr;
use crate::model::Goid;
use crate::process::{ReadError, Target};
use crate::runtime::mirror::g::GLayout;

/// The ids of the goroutines at `addrs`; `None` for nil, for what cannot be read, and for a g
/// without an id.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_goids(
    target: &dyn Target,
    addrs: &[Addr],
    layout: &GLayout,
) -> Result<Vec<Option<Goid>>, ReadError> {
    let at: Vec<Addr> = addrs
        .iter()
        .map(|addr| if addr.is_nil() { *addr } else { Addr(addr.0.wrapping_add(u64::from(layout.goid))) })
        .collect();
    let ids = bulk::words(target, &at)?;
    Ok(ids.into_iter().map(|id| id.filter(|id| *id != 0).map(Goid)).collect())
}
