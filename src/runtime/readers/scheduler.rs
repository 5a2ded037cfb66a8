//! The scheduler's counts, with what the Ps count for it.

use crate::addr::Addr;
use crate::model::{Scheduler, WarningCode, Warnings};
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::layout::Layout;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::p::P;
use crate::runtime::mirror::sched::Sched;

/// Reads `runtime.sched` and adds what the Ps count.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_scheduler(
    target: &dyn Target,
    sched: Addr,
    ps: &[P],
    layout: &Layout,
    warnings: &mut Warnings,
) -> Result<Option<Scheduler>, ReadError> {
    let bytes = target.read_vec(sched, layout.sched.size as usize)?;
    let Some(s) = bytes.and_then(|bytes| Sched::parse(sched, &bytes, &layout.sched)) else {
        warnings.add(WarningCode::StatsUnreadable, format!("runtime.sched at {sched} cannot be read"));
        return Ok(None);
    };
    let trusts = |field: &str| layout.trusts("runtime.schedt", field);
    let mut count = |name: &str, value: i64| match u64::try_from(value) {
        _ if !trusts(name) => None,
        Ok(value) => Some(value),
        Err(_) => {
            warnings.add(WarningCode::FieldRejected, format!("runtime.sched.{name} is {value}, which is impossible"));
            None
        }
    };
    // There are always some; none means that they could not be read.
    let ps = Some(ps).filter(|ps| !ps.is_empty());
    let created_by_ps: Option<u64> =
        ps.and_then(|ps| ps.iter().map(|p| p.goroutines_created).try_fold(0, |sum, n| Some(n?.wrapping_add(sum))));
    let exact = s.goroutines_created.zip(created_by_ps).map(|(base, ps)| base.wrapping_add(ps));
    let unused: u64 = ps.iter().copied().flatten().fold(0, |sum, p| sum.saturating_add(p.unused_goids()));
    Ok(Some(Scheduler {
        threads: s.threads().filter(|n| *n > 0 && trusts("mnext") && trusts("nmfreed")),
        idle_threads: count("nmidle", s.nmidle.into()),
        spinning_threads: count("nmspinning", s.nmspinning.into()),
        freed_threads: count("nmfreed", s.nmfreed),
        idle_processors: count("npidle", s.npidle.into()),
        global_run_queue: s.global_run_queue().filter(|_| trusts("runq")).and_then(|n| count("runqsize", n.into())),
        local_run_queues: ps.map(|ps| ps.iter().map(|p| u64::from(p.run_queue()) + u64::from(p.runnext != 0)).sum()),
        system_goroutines: count("ngsys", s.ngsys.into()),
        goroutines_created: exact.or_else(|| s.goidgen.checked_sub(unused)).filter(|_| trusts("goidgen")),
        goroutines_created_exact: exact.is_some(),
        stopping_the_world: Some(s.gcwaiting).filter(|_| trusts("gcwaiting")),
        max_threads: count("maxmcount", s.maxmcount.into()),
    }))
}
