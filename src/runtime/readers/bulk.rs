//! Many small objects in few reads.

use crate::addr::Addr;
use crate::process::{MemRange, ReadError, Target};

/// Most bytes that one batch holds; more objects are read in several batches.
const BATCH_BYTES: usize = 4 << 20;

/// Reads `len` bytes at each of `addrs` and hands each to `each` with its index: in order, and `None` for one
/// that cannot be read completely. Memory use does not depend on the number of addresses.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn for_each(
    target: &dyn Target,
    addrs: &[Addr],
    len: u32,
    mut each: impl FnMut(usize, Option<&[u8]>),
) -> Result<(), ReadError> {
    let len = len as usize;
    if len == 0 {
        return Ok(());
    }
    let per_batch = (BATCH_BYTES / len).clamp(1, 4096);
    let mut buf = vec![0_u8; len * per_batch.min(addrs.len())];
    let mut got = Vec::new();
    let mut index = 0;
    for batch in addrs.chunks(per_batch) {
        let ranges: Vec<MemRange> = batch.iter().map(|&start| MemRange { start, len }).collect();
        target.read_ranges(&ranges, &mut buf, &mut got)?;
        for (bytes, got) in buf.chunks_exact(len).zip(&got).take(batch.len()) {
            each(index, (*got == len).then_some(bytes));
            index += 1;
        }
    }
    Ok(())
}

/// The words at `addrs`, `None` for nil and for each that is not there.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn words(target: &dyn Target, addrs: &[Addr]) -> Result<Vec<Option<u64>>, ReadError> {
    // Nothing is at nil, and each range that cannot be read ends a system call.
    let there: Vec<Addr> = addrs.iter().copied().filter(|addr| !addr.is_nil()).collect();
    let mut words = Vec::with_capacity(there.len());
    for_each(target, &there, 8, |_, bytes| {
        words.push(bytes.and_then(|b| <[u8; 8]>::try_from(b).ok()).map(u64::from_le_bytes));
    })?;
    let mut words = words.into_iter();
    Ok(addrs.iter().map(|addr| if addr.is_nil() { None } else { words.next().flatten() }).collect())
}
