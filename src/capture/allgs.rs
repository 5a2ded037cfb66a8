//! `runtime.allgs`: the addresses of all gs there are.
//!
//! gs are never freed and the list only grows, but its array is replaced when it grows, and the old one
//! becomes garbage. So it is read as the runtime itself reads it without its lock: the length before the
//! pointer (`allGsSnapshot` and `atomicAllG`, runtime/proc.go), and again after the array to see that it was
//! not replaced in between.

use std::sync::Arc;

use super::errors::CaptureError;
use crate::addr::Addr;
use crate::bytes::FieldsExt;
use crate::model::{WarningCode, Warnings};
use crate::process::remember::Attempt;
use crate::process::{ReadError, Target, TargetExt};
use crate::runtime::GoProcess;
use crate::runtime::symbols::Global;

/// Most gs that are listed. A program of that many needs half a terabyte for their stacks.
const MAX_GS: u64 = 1 << 28;
/// How often a list that was replaced while it was read is read again.
const TRIES: usize = 8;

/// The addresses, ascending and each once.
pub(crate) fn read(process: GoProcess<'_>, warnings: &mut Warnings) -> Result<Vec<u64>, CaptureError> {
    Ok(addresses(&list(process, warnings)?, warnings))
}

/// The list as a capture found it, for the next one: it only grows, and seldom.
#[derive(Debug, Default)]
pub(crate) struct Known {
    bytes: Vec<u8>,
    addresses: Arc<[u64]>,
}

/// As [`read`], and sorts only a list that is not the known one.
pub(crate) fn read_known(
    process: GoProcess<'_>,
    known: &mut Known,
    warnings: &mut Warnings,
) -> Result<Arc<[u64]>, CaptureError> {
    let bytes = list(process, warnings)?;
    if bytes != known.bytes {
        let addresses: Arc<[u64]> = addresses(&bytes, warnings).into();
        if addresses.len().saturating_mul(8) != bytes.len() {
            // What is wrong with it is to be said each time.
            *known = Known::default();
            return Ok(addresses);
        }
        *known = Known { bytes, addresses };
    }
    Ok(Arc::clone(&known.addresses))
}

/// The addresses as they are listed, which is the order of the runtime's own dumps (`forEachGRace`, runtime/proc.go;
/// 1.19 to 1.27).
pub(crate) fn in_order(process: GoProcess<'_>) -> Result<Vec<u64>, CaptureError> {
    let bytes = list(process, &mut Warnings::default())?;
    Ok(bytes.chunks_exact(8).filter_map(|word| word.u64_at(0)).collect())
}

/// The bytes of the list.
fn list(process: GoProcess<'_>, warnings: &mut Warnings) -> Result<Vec<u8>, CaptureError> {
    let target = process.target;
    let Some(allgs) = process.addr(Global::Allgs) else {
        return Err(CaptureError::NoGoroutines { at: Addr(0), what: "it was not found".to_owned() });
    };
    let attempt = Attempt::at(target);
    let list = List {
        target: attempt.reader(),
        allgs,
        len: process.addr(Global::Allglen).unwrap_or(Addr(allgs.0.wrapping_add(8))),
        array: process.addr(Global::Allgptr).unwrap_or(allgs),
    };
    for _ in 0..TRIES {
        let before = list.header()?;
        let count = usize::try_from(before.len.min(MAX_GS)).unwrap_or(usize::MAX);
        let bytes = list.read_array(before.array, count)?;
        let after = list.header()?;
        // The same array, or one that replaced it with the same gs in front: both hold what was read.
        if let Some(bytes) = bytes.filter(|_| after.array == before.array) {
            if before.len > MAX_GS {
                let message = format!("the program has {} gs; the first {MAX_GS} are listed", before.len);
                warnings.add(WarningCode::LimitReached, message);
            }
            if attempt.is_recorded() {
                // All copies of the list as they were at this moment, so that they agree.
                let capacity = before.len.max(list.capacity()?);
                let header = [before.array, before.len, capacity].map(u64::to_le_bytes).concat();
                attempt.accept(list.allgs, &header);
                attempt.accept(list.len, &before.len.to_le_bytes());
                attempt.accept(list.array, &before.array.to_le_bytes());
                attempt.accept(Addr(before.array), &bytes);
            }
            return Ok(bytes);
        }
    }
    Err(CaptureError::NoGoroutines {
        at: allgs,
        what: format!("its array could not be read completely in {TRIES} attempts"),
    })
}

struct List<'a> {
    target: &'a dyn Target,
    allgs: Addr,
    len: Addr,
    array: Addr,
}

struct Header {
    len: u64,
    array: u64,
}

impl List<'_> {
    fn header(&self) -> Result<Header, CaptureError> {
        let word = |at: Addr| -> Result<u64, CaptureError> {
            self.target.read_u64(at)?.ok_or_else(|| CaptureError::NoGoroutines {
                at: self.allgs,
                what: format!("there is no memory at {at}"),
            })
        };
        Ok(Header { len: word(self.len)?, array: word(self.array)? })
    }

    fn capacity(&self) -> Result<u64, ReadError> {
        Ok(self.target.read_u64(Addr(self.allgs.0.wrapping_add(16)))?.unwrap_or(0))
    }

    /// The array in pieces, so that memory is not allocated for a bogus length.
    fn read_array(&self, array: u64, count: usize) -> Result<Option<Vec<u8>>, ReadError> {
        const PIECE: usize = 8 << 20;
        let mut bytes = Vec::new();
        let total = count.saturating_mul(8);
        while bytes.len() < total {
            let done = bytes.len();
            bytes.resize(total.min(done + PIECE), 0);
            let Some(piece) = bytes.get_mut(done..) else { return Ok(None) };
            let want = piece.len();
            if self.target.read(Addr(array.wrapping_add(done as u64)), piece)? != want {
                return Ok(None);
            }
        }
        Ok(Some(bytes))
    }
}

fn addresses(bytes: &[u8], warnings: &mut Warnings) -> Vec<u64> {
    let mut addrs: Vec<u64> = bytes.chunks_exact(8).filter_map(|word| word.u64_at(0)).collect();
    let listed = addrs.len();
    addrs.retain(|addr| *addr != 0 && addr.is_multiple_of(8));
    addrs.sort_unstable();
    addrs.dedup();
    if addrs.len() != listed {
        let invalid = listed - addrs.len();
        warnings.add(
            WarningCode::GoroutineInconsistent,
            format!("{invalid} entries of runtime.allgs are not addresses of a g"),
        );
    }
    addrs
}
