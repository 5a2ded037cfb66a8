//! Checks that an address holds what it should: single variables of a process.

use crate::addr::{Addr, LinkAddr, LoadBias};
use crate::bytes::FieldsExt as _;
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::layout::Layout;
use crate::runtime::readers::bulk;
use crate::runtime::version::GoVersion;

/// Longest version text, bytes.
const MAX_VERSION: u64 = 256;

/// A process in which candidates are checked.
#[derive(Clone, Copy)]
pub(crate) struct Process<'t> {
    pub(crate) target: &'t dyn Target,
    pub(crate) bias: LoadBias,
}

impl Process<'_> {
    pub(super) fn array<const N: usize>(&self, addr: LinkAddr) -> Result<Option<[u8; N]>, ReadError> {
        self.target.read_array(self.bias.load(addr))
    }

    pub(super) fn words(&self, addr: LinkAddr, count: usize) -> Result<Option<Vec<u64>>, ReadError> {
        let bytes = self.target.read_vec(self.bias.load(addr), count * 8)?;
        Ok(bytes.map(|b| (0..count).filter_map(|i| b.u64_at(i * 8)).collect()))
    }
}

/// Whether a string header at `addr` is the text of a version.
pub(crate) fn version_at(process: Process<'_>, addr: LinkAddr) -> Result<Option<GoVersion>, ReadError> {
    let Some(header) = process.array::<16>(addr)? else { return Ok(None) };
    let (text, len) = (header.u64_at(0).unwrap_or(0), header.u64_at(8).unwrap_or(0));
    if !(4..=MAX_VERSION).contains(&len) || text == 0 {
        return Ok(None);
    }
    let Some(bytes) = process.target.read_vec(Addr(text), usize::try_from(len).unwrap_or(0))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let is_version = text.starts_with("go1.") || text.starts_with("devel go1.");
    Ok(is_version.then(|| GoVersion::parse(&text)).flatten())
}

/// How many Ps the slice at `addr` holds, when it is a slice of Ps: each has its index as id.
pub(crate) fn slice_of_ps(target: &dyn Target, addr: Addr, layout: &Layout) -> Result<Option<u64>, ReadError> {
    const MAX: u64 = 1 << 16;
    let Some(header) = target.read_array::<24>(addr)? else { return Ok(None) };
    let word = |i: usize| header.u64_at(i * 8).unwrap_or(0);
    let (array, len, cap) = (word(0), word(1), word(2));
    if len == 0 || len > cap || cap > MAX || !array.is_multiple_of(8) {
        return Ok(None);
    }
    let count = usize::try_from(len).unwrap_or(0);
    let Some(pointers) = target.read_vec(Addr(array), count * 8)? else { return Ok(None) };
    let ids: Vec<Addr> =
        (0..count).filter_map(|i| pointers.u64_at(i * 8)?.checked_add(layout.p.id.into())).map(Addr).collect();
    let mut expected = 0_i32;
    let mut right = ids.len() == count;
    bulk::for_each(target, &ids, 4, |_, bytes| {
        right &= bytes.and_then(|b| b.i32_at(0)) == Some(expected);
        expected = expected.saturating_add(1);
    })?;
    Ok(right.then_some(len))
}

/// Follows the list of Ms that begins in the variable at `addr` to its last one, which has id 0.
pub(crate) fn end_of_ms(target: &dyn Target, addr: Addr, layout: &Layout) -> Result<Option<Addr>, ReadError> {
    const MAX: usize = 100_000;
    let Some(first) = target.read_u64(addr)? else { return Ok(None) };
    let mut at = Addr(first);
    for _ in 0..MAX {
        if at.is_nil() || !at.0.is_multiple_of(8) {
            return Ok(None);
        }
        let link = target.read_u64(Addr(at.0.wrapping_add(layout.m.alllink.into())))?;
        match link {
            None => return Ok(None),
            Some(0) => {
                let id = target.read_u64(Addr(at.0.wrapping_add(layout.m.id.into())))?;
                return Ok((id == Some(0)).then_some(at));
            }
            Some(next) => at = Addr(next),
        }
    }
    Ok(None)
}
