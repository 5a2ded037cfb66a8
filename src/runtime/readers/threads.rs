//! Every M of a program: the list of them, and what a snapshot has of each.

use std::collections::HashSet;

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::bulk;
use super::goids::read_goids;
use crate::addr::Addr;
use crate::model::{Thread, WarningCode, Warnings};
use crate::process::{ReadError, Target, TargetExt as _, ThreadInfo};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::g::GLayout;
use crate::runtime::mirror::m::{M, MLayout};
use crate::runtime::mirror::p::P;

/// Most Ms read; the runtime allows 10,000 unless set otherwise.
const MAX_MS: usize = 100_000;

/// Every M on the list that begins in the variable at `allm`, newest first. `known` are addresses
/// of Ms that were met elsewhere (in gs and ps): reading them at once saves a read for each, and a
/// wrong one does no harm.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_ms(
    target: &dyn Target,
    allm: Addr,
    known: &[Addr],
    layout: &MLayout,
    warnings: &mut Warnings,
) -> Result<Vec<M>, ReadError> {
    let Some(first) = target.read_u64(allm)? else {
        warnings.add(WarningCode::SchedulerPartUnreadable, format!("runtime.allm at {allm} cannot be read"));
        return Ok(Vec::new());
    };
    let mut unique = known.get(..known.len().min(MAX_MS)).unwrap_or(known).to_vec();
    unique.retain(|addr| !addr.is_nil());
    unique.sort_unstable();
    unique.dedup();
    let mut ahead: FxHashMap<Addr, M> = FxHashMap::default();
    bulk::for_each(target, &unique, layout.size, |index, bytes| {
        if let (Some(addr), Some(bytes)) = (unique.get(index), bytes)
            && let Some(m) = M::parse(*addr, bytes, layout)
        {
            ahead.insert(*addr, m);
        }
    })?;
    let mut seen: HashSet<Addr, FxBuildHasher> = HashSet::default();
    let mut out = Vec::new();
    let mut next = Addr(first);
    while !next.is_nil() {
        if out.len() >= MAX_MS || !seen.insert(next) {
            warnings
                .add(WarningCode::LimitReached, format!("the list of Ms does not end: cut at {} of them", out.len()));
            break;
        }
        let m = match ahead.get(&next) {
            Some(m) => Some(*m),
            None => target.read_vec(next, layout.size as usize)?.and_then(|bytes| M::parse(next, &bytes, layout)),
        };
        let Some(m) = m else {
            warnings.add(WarningCode::SchedulerPartUnreadable, format!("the M at {next} cannot be read"));
            break;
        };
        out.push(m);
        next = Addr(m.alllink);
    }
    Ok(out)
}

/// The Ms as the snapshot has them, in order of id. `os` gives the threads' states; `ps` shows the ids of Ps.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_threads(
    target: &dyn Target,
    ms: &[M],
    ps: &[P],
    os: &[ThreadInfo],
    layout: &GLayout,
) -> Result<Vec<Thread>, ReadError> {
    let gs: Vec<Addr> = ms.iter().flat_map(|m| [Addr(m.curg), Addr(m.lockedg)]).collect();
    let ids = read_goids(target, &gs, layout)?;
    let p_ids: FxHashMap<u64, i32> = ps.iter().map(|p| (p.addr.0, p.id)).collect();
    let states: FxHashMap<i32, Option<char>> = os.iter().map(|thread| (thread.tid, thread.state)).collect();
    let mut threads: Vec<Thread> = ms
        .iter()
        .zip(ids.chunks(2))
        .map(|(m, ids)| {
            let tid = m.tid();
            Thread {
                id: m.id,
                addr: m.addr,
                tid,
                state: tid.and_then(|tid| states.get(&tid).copied()).flatten(),
                goroutine: ids.first().copied().flatten(),
                p: p_ids.get(&m.p).copied(),
                spinning: m.spinning,
                blocked: m.blocked,
                in_cgo: m.incgo,
                cgo_calls: Some(m.ncgocall),
                locked_goroutine: ids.get(1).copied().flatten(),
            }
        })
        .collect();
    threads.sort_by_key(|thread| (thread.id, thread.addr));
    Ok(threads)
}

/// Whether there is an M at `addr`: its scheduler's goroutine (`m.g0`, which comes first in every
/// version) points back to it.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn is_m(target: &dyn Target, layout: &GLayout, addr: u64) -> Result<bool, ReadError> {
    let owner = match target.read_u64(Addr(addr))? {
        Some(g0) if g0 != 0 => target.read_u64(Addr(g0.wrapping_add(layout.m.into())))?,
        _ => None,
    };
    Ok(owner == Some(addr))
}
