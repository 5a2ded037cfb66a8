//! Every P of a program, and whose layout is theirs.

use rustc_hash::FxHashMap;

use super::bulk;
use super::goids::read_goids;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{PStatus, Processor, WarningCode, Warnings};
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::layout::{Layout, LayoutTable};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::g::GLayout;
use crate::runtime::mirror::m::M;
use crate::runtime::mirror::p::{P, PLayout, RUNQ};
use crate::runtime::mirror::timer::TimerLayout;
use crate::runtime::symbols::Global;

/// Most Ps read. GOMAXPROCS is the number of CPUs unless set otherwise, and Linux supports 8192 of them.
const MAX_PS: u64 = 1 << 13;

/// Every P of the slice at `allp`: GOMAXPROCS of them.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_ps(
    target: &dyn Target,
    allp: Addr,
    layout: &Layout,
    warnings: &mut Warnings,
) -> Result<Vec<P>, ReadError> {
    if !layout.trusts("runtime.p", "m") {
        let message = format!("the layout of {} does not fit the Ps; they are not shown", layout.table.release);
        warnings.add(WarningCode::FieldRejected, message);
        return Ok(Vec::new());
    }
    let Some(header) = target.read_array::<16>(allp)? else {
        warnings.add(WarningCode::SchedulerPartUnreadable, format!("runtime.allp at {allp} cannot be read"));
        return Ok(Vec::new());
    };
    let (array, len) = (header.u64_at(0).unwrap_or(0), header.u64_at(8).unwrap_or(0));
    if len > MAX_PS {
        warnings.add(WarningCode::LimitReached, format!("runtime.allp holds {len} Ps; the first {MAX_PS} are read"));
    }
    let count = usize::try_from(len.min(MAX_PS)).unwrap_or(0);
    let Some(pointers) = target.read_vec(Addr(array), count * 8)? else {
        warnings.add(
            WarningCode::SchedulerPartUnreadable,
            format!("the {len} Ps of runtime.allp at {array:#x} cannot be read"),
        );
        return Ok(Vec::new());
    };
    let mut addrs: Vec<Addr> = (0..count).filter_map(|i| pointers.u64_at(i * 8).map(Addr)).collect();
    addrs.retain(|addr| !addr.is_nil());
    if addrs.len() < count {
        let message = format!("{} of the {count} Ps of runtime.allp are nil", count - addrs.len());
        warnings.add(WarningCode::SchedulerPartUnreadable, message);
    }
    let mut out = Vec::with_capacity(count);
    bulk::for_each(target, &addrs, layout.p.size, |index, bytes| {
        let addr = addrs.get(index).copied().unwrap_or_default();
        match bytes.and_then(|bytes| P::parse(addr, bytes, &layout.p)) {
            Some(p) => out.push(p),
            None => warnings.add(WarningCode::SchedulerPartUnreadable, format!("the P at {addr} cannot be read")),
        }
    })?;
    Ok(out)
}

/// Structures that a P's layout depends on.
const WITH_P: &[&str] = &["runtime.p", "runtime.timers", "runtime.timer", "runtime.timerWhen"];

/// Takes the layout of Ps from the first of `tables` that fits those of `allp`, if the one in `layout`
/// does not; `goidgen` is the scheduler's. Whether one fits; nothing is known of Ps when none does.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn place_ps(
    target: &dyn Target,
    allp: Addr,
    goidgen: u64,
    layout: &mut Layout,
    tables: &[&LayoutTable],
) -> Result<bool, ReadError> {
    let ps = read_ps(target, allp, layout, &mut Warnings::default())?;
    let addrs: Vec<Addr> = ps.iter().map(|p| p.addr).collect();
    if ps_fit(target, &addrs, goidgen, &layout.p)? {
        return Ok(true);
    }
    for table in tables {
        let Ok(p) = PLayout::resolve(table) else { continue };
        if ps_fit(target, &addrs, goidgen, &p)? {
            (layout.p, layout.timer) = (p, TimerLayout::resolve(table).ok());
            WITH_P.iter().for_each(|structure| layout.table.adopt(structure, table));
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether what is at `ps` holds what Ps hold: caches of their own, ids of goroutines that were taken
/// from the scheduler in batches, a queue that is not too long.
fn ps_fit(target: &dyn Target, ps: &[Addr], goidgen: u64, layout: &PLayout) -> Result<bool, ReadError> {
    /// `_GoidCacheBatch` (proc.go, 1.19 to 1.27).
    const BATCH: u64 = 16;
    /// The program runs on while its Ps are read.
    const TRIES: usize = 3;
    for _ in 0..TRIES {
        let (mut right, mut with_ids) = (0_usize, 0_usize);
        let mut caches: Vec<u64> = Vec::new();
        bulk::for_each(target, ps, layout.runnext.saturating_add(8), |_, bytes| {
            let Some(bytes) = bytes else { return };
            let word = |offset: u32| bytes.u64_at(offset as usize).unwrap_or(u64::MAX);
            let half = |offset: u32| bytes.u32_at(offset as usize).unwrap_or(u32::MAX);
            let (ids, end) = (word(layout.goidcache), word(layout.goidcacheend));
            let is_right = half(layout.status) <= 4
                && [layout.m, layout.mcache, layout.runnext].iter().all(|at| word(*at).is_multiple_of(8))
                && ids <= end
                && end - ids <= BATCH
                // The last id of the batch that was taken last is the scheduler's.
                && end <= goidgen.saturating_add(1)
                && half(layout.runqtail).wrapping_sub(half(layout.runqhead)) <= RUNQ;
            right += usize::from(is_right);
            with_ids += usize::from(end != 0);
            caches.push(word(layout.mcache));
        })?;
        caches.retain(|cache| *cache != 0);
        caches.sort_unstable();
        caches.dedup();
        // The P that started the first goroutine has taken ids.
        if right == ps.len() && caches.len() == ps.len() && with_ids > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What changes when a P runs something: their ids and the counts of what they ran and of system calls (`execute`
/// and `exitsyscall` in runtime/proc.go; 1.19 to 1.27).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticks(Vec<(i32, u32, u32)>);

impl Ticks {
    /// Those of `ps`, which are id, status, `schedtick` and `syscalltick`; `None` unless all are idle. Where they are
    /// equal before and after something, no Go code ran meanwhile.
    pub(crate) fn of_idle(ps: impl Iterator<Item = (i32, PStatus, u32, u32)>) -> Option<Self> {
        let idle = ps.map(|(id, status, sched, calls)| (status == PStatus::Idle).then_some((id, sched, calls)));
        idle.collect::<Option<Vec<_>>>().filter(|ps| !ps.is_empty()).map(Self)
    }

    /// Those of a program now.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(crate) fn read_idle(process: GoProcess<'_>) -> Result<Option<Self>, ReadError> {
        let Some(allp) = process.addr(Global::Allp) else { return Ok(None) };
        let mut warnings = Warnings::default();
        let ps = read_ps(process.target, allp, &process.runtime.layout, &mut warnings)?;
        let ps = ps.iter().map(|p| (p.id, p.status(), p.schedtick, p.syscalltick));
        Ok(Self::of_idle(ps).filter(|_| warnings.is_empty()))
    }
}

/// The Ps as the snapshot has them, in the order given. `ms` shows who owns each.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_processors(
    target: &dyn Target,
    ps: &[P],
    ms: &[M],
    layout: &GLayout,
) -> Result<Vec<Processor>, ReadError> {
    let owners: FxHashMap<u64, &M> = ms.iter().map(|m| (m.addr.0, m)).collect();
    let gs: Vec<Addr> = ps
        .iter()
        .flat_map(|p| {
            let running = owners.get(&p.m).map_or(0, |m| m.curg);
            [Addr(running), Addr(p.runnext)]
        })
        .collect();
    let ids = read_goids(target, &gs, layout)?;
    Ok(ps
        .iter()
        .zip(ids.chunks(2))
        .map(|(p, ids)| Processor {
            id: p.id,
            addr: p.addr,
            status: p.status(),
            schedtick: p.schedtick,
            syscalltick: p.syscalltick,
            m: owners.get(&p.m).map(|m| m.id),
            running: ids.first().copied().flatten(),
            run_queue: p.run_queue(),
            runnext: ids.get(1).copied().flatten(),
            timers: p.timers().map(u64::from),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_idle_ps_prove_that_nothing_ran() {
        let ticks = |ps: &[(i32, PStatus, u32, u32)]| Ticks::of_idle(ps.iter().copied());
        let idle = [(0, PStatus::Idle, 7, 3), (1, PStatus::Idle, 9, 4)];
        assert_eq!(ticks(&idle), ticks(&idle));
        assert!(ticks(&idle).is_some());
        // Of no P nothing is known.
        assert_eq!(ticks(&[]), None);
        for status in [PStatus::Running, PStatus::Syscall, PStatus::GcStop, PStatus::Unknown(9)] {
            assert_eq!(ticks(&[idle[0], (1, status, 9, 4)]), None, "{status:?}");
        }
        // It ran something, made a system call, or there is another one.
        for changed in [(1, PStatus::Idle, 10, 4), (1, PStatus::Idle, 9, 5), (2, PStatus::Idle, 9, 4)] {
            assert_ne!(ticks(&idle), ticks(&[idle[0], changed]));
        }
        assert_ne!(ticks(&idle), ticks(&idle[..1]));
    }
}
