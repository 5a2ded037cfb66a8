//! The thread creation profile: where the Ms of a program were created (`runtime.ThreadCreateProfile`; 1.19 to 1.27).
//!
//! Most have no stack, since the scheduler creates them on a stack of its own.

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::stacks::Names;
use super::{ProfileError, THREADCREATE};
use crate::addr::Addr;
use crate::model::{CountProfile, CountedStack, Warnings};
use crate::runtime::GoProcess;
use crate::runtime::mirror::m::{CREATE_STACK, CreationLayout};
use crate::runtime::readers::bulk;
use crate::runtime::readers::threads::read_ms;
use crate::runtime::symbols::Global;

/// Reads it.
///
/// # Errors
/// When the target could not be read, or its list of Ms was not found.
pub fn threads(process: GoProcess<'_>) -> Result<CountProfile, ProfileError> {
    let layout = &process.runtime.layout;
    let missing = |missing| ProfileError::Layout { profile: THREADCREATE, missing };
    let creation = CreationLayout::resolve(&layout.table).map_err(missing)?;
    let not_found = ProfileError::NotFound { profile: THREADCREATE, variable: "runtime.allm" };
    let allm = process.addr(Global::Allm).ok_or(not_found)?;
    let ms = read_ms(process.target, allm, &[], &layout.m, &mut Warnings::default())?;
    let places: Vec<Addr> = ms.iter().map(|m| Addr(m.addr.0.wrapping_add(creation.create_stack.into()))).collect();
    // To 1.22 a record ends with its first nil; later ones have all of the array.
    let is_cut = process.rules().minor() < 23;
    let mut counts: IndexMap<Vec<Addr>, u64, FxBuildHasher> = IndexMap::default();
    bulk::for_each(process.target, &places, 8 * CREATE_STACK, |_, bytes| {
        let Some(bytes) = bytes else { return };
        let pcs = bytes.as_chunks::<8>().0.iter().map(|word| Addr(u64::from_le_bytes(*word)));
        let pcs = pcs.take_while(|pc| !is_cut || !pc.is_nil()).collect();
        *counts.entry(pcs).or_default() += 1;
    })?;
    let mut names = Names::new(process);
    let counted =
        counts.into_iter().map(|(pcs, count)| CountedStack { stack: names.stack(pcs), labels: Vec::new(), count });
    let stacks = counted.collect();
    Ok(CountProfile { name: THREADCREATE, stacks, symbols: names.pool.view() })
}
