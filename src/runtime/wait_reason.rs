//! `runtime.waitReasonStrings`: why goroutines wait, in the words of the very runtime that is read.
//!
//! The numbers mean different things from version to version, so nothing here knows any of them
//! but one: entry 1 has been the same since 1.19, and tells whether this is the table at all.

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::target::{MemRange, ReadError, Target};

/// Text of entry 1 in every version from 1.19 to 1.27.
const ENTRY_1: &str = "GC assist marking";

/// Longest text that is believed, bytes; the longest known has 43.
const MAX_TEXT: u64 = 128;

/// Most entries; `g.waitreason` has 8 bits.
const MAX_ENTRIES: usize = 256;

/// Reads `count` strings at `addr`. An entry that makes no sense is empty: the table's length
/// differs between releases of one minor version, and what is behind its end is something else.
/// `None` when this is not the table.
///
/// # Errors
/// When the target could not be looked at.
pub fn read_wait_reasons(target: &dyn Target, addr: Addr, count: usize) -> Result<Option<Vec<String>>, ReadError> {
    let count = count.min(MAX_ENTRIES);
    let mut headers = vec![0; count * 16];
    let there = target.read(addr, &mut headers)? / 16;
    let header = |index: usize| {
        let (at, len) = (headers.u64_at(index * 16)?, headers.u64_at(index * 16 + 8)?);
        let len = usize::try_from(Some(len).filter(|len| *len <= MAX_TEXT)?).ok()?;
        Some(MemRange { start: Addr(at), len })
    };
    let ranges: Vec<MemRange> =
        (0..there).map(|index| header(index).unwrap_or(MemRange { start: Addr(0), len: 0 })).collect();
    let mut buf = vec![0; ranges.iter().map(|range| range.len).sum()];
    let mut got = Vec::new();
    target.read_ranges(&ranges, &mut buf, &mut got)?;
    let mut rest = buf.as_slice();
    let mut out = Vec::with_capacity(there);
    for (range, got) in ranges.iter().zip(&got) {
        let Some((text, tail)) = rest.split_at_checked(range.len) else { break };
        rest = tail;
        let text = (*got == range.len).then(|| std::str::from_utf8(text).ok()).flatten().unwrap_or_default();
        out.push(text.to_owned());
    }
    Ok((out.get(1).map(String::as_str) == Some(ENTRY_1)).then_some(out))
}
