//! The ancestors of many goroutines (`GODEBUG=tracebackancestors=N`).

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{MemRange, ReadError, Target};
use crate::runtime::frontier::{Budget, Frontier, in_batches};
use crate::runtime::mirror::ancestors::{AncestorInfo, AncestorInfoLayout};
use crate::runtime::mirror::{Mirror as _, Span};

/// Most ancestors of one goroutine.
const MAX_ANCESTORS: u64 = 4096;
/// Most frames of one ancestor; the runtime itself keeps 50.
const MAX_FRAMES: u64 = 1024;

/// How much is read together: the largest list that is read fits in.
const BUDGET: Budget = Budget { objects: 1 << 20, bytes: 64 << 20, depth: 0 };
/// Most bytes that are read for all goroutines of one capture.
const TOTAL: u64 = 1 << 30;

/// One ancestor, as it is in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ancestor {
    /// Its id.
    pub goid: u64,
    /// Where it was created.
    pub gopc: u64,
    /// One program counter for each of its logical frames, innermost first.
    pub pcs: Vec<u64>,
}

/// Reads the ancestors in each of `lists`, which are the distinct values of `g.ancestors`, and hands them
/// over with `each`: nearest first, `None` for a malformed one, and for those past the limit.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_ancestors(
    target: &dyn Target,
    layout: &AncestorInfoLayout,
    lists: &[Addr],
    mut each: impl FnMut(Addr, Option<Vec<Ancestor>>),
) -> Result<(), ReadError> {
    let read = |frontier: &mut Frontier<'_>, batch: &[Addr]| read_some(frontier, layout, batch);
    in_batches(target, lists, (BUDGET, TOTAL), read, |batch, result| {
        let mut found = result.unwrap_or_default();
        for list in batch {
            each(*list, found.remove(list));
        }
    })
}

/// Those that make sense, by address of the list.
fn read_some(
    frontier: &mut Frontier<'_>,
    layout: &AncestorInfoLayout,
    lists: &[Addr],
) -> Result<FxHashMap<Addr, Vec<Ancestor>>, ReadError> {
    let mut arrays: FxHashMap<Addr, MemRange> = FxHashMap::default();
    let headers = lists.iter().map(|&start| MemRange { start, len: Span::SLICE as usize });
    frontier.ranges(headers, |header, bytes| {
        let array = bytes.u64_at(0).zip(bytes.u64_at(8)).filter(|(_, len)| (1..=MAX_ANCESTORS).contains(len));
        let range = array.and_then(|(data, len)| {
            let len = usize::try_from(len).ok()?.checked_mul(layout.size as usize)?;
            Some(MemRange { start: Addr(data), len })
        });
        arrays.extend(range.map(|range| (header.start, range)));
    })?;
    let mut infos: FxHashMap<(Addr, usize), Vec<AncestorInfo>> = FxHashMap::default();
    frontier.ranges(arrays.values().copied(), |range, bytes| {
        let parse = |info| AncestorInfo::parse(range.start, info, layout).filter(|info| info.pcs.len <= MAX_FRAMES);
        let all: Option<Vec<AncestorInfo>> = bytes.chunks_exact(layout.size.max(1) as usize).map(parse).collect();
        infos.extend(all.map(|all| ((range.start, range.len), all)));
    })?;
    let mut pcs: FxHashMap<Span, Vec<u64>> = FxHashMap::default();
    let frames = infos.values().flatten().filter(|info| info.pcs.len != 0).filter_map(|info| {
        Some(MemRange { start: Addr(info.pcs.data), len: usize::try_from(info.pcs.len).ok()?.checked_mul(8)? })
    });
    frontier.ranges(frames.collect::<Vec<_>>(), |range, bytes| {
        let span = Span { data: range.start.0, len: (range.len / 8) as u64 };
        pcs.insert(span, bytes.chunks_exact(8).filter_map(|pc| pc.u64_at(0)).collect());
    })?;
    let ancestor = |info: &AncestorInfo| {
        let pcs = if info.pcs.len == 0 { Vec::new() } else { pcs.get(&info.pcs)?.clone() };
        Some(Ancestor { goid: info.goid, gopc: info.gopc, pcs })
    };
    let list = |(list, array): (&Addr, &MemRange)| {
        let infos = infos.get(&(array.start, array.len))?;
        Some((*list, infos.iter().map(ancestor).collect::<Option<_>>()?))
    };
    Ok(arrays.iter().filter_map(list).collect())
}
