//! `runtime.schedt`: the scheduler's own state.

use super::layout::{Layout, layout};
use super::p::P;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::model::{Scheduler, WarningCode, Warnings};
use crate::process::{ReadError, Target, TargetExt as _};

layout! {
    /// Offsets in `runtime.schedt` (runtime2.go).
    SchedLayout of "runtime.schedt" {
        goidgen = "goidgen",
        nmidle = "nmidle",
        mnext = "mnext",
        maxmcount = "maxmcount",
        nmfreed = "nmfreed",
        ngsys = "ngsys",
        npidle = "npidle",
        nmspinning = "nmspinning",
        gcwaiting = "gcwaiting",
        ; optional
        runqsize = "runqsize",
        goroutines_created = "goroutinesCreated",
        ; optional nested
        runq_len = "runq" . "runtime.gQueue" . "size",
    }
}

/// What is read of `runtime.sched`, as it stands in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sched {
    /// `goidgen`: the last goroutine id that was handed out to a P.
    pub goidgen: u64,
    /// `nmidle`.
    pub nmidle: i32,
    /// `mnext`: Ms created so far, which is the next one's id.
    pub mnext: i64,
    /// `maxmcount`: Ms allowed.
    pub maxmcount: i32,
    /// `nmfreed`: Ms that have ended.
    pub nmfreed: i64,
    /// `ngsys`: system goroutines.
    pub ngsys: i32,
    /// `npidle`: idle Ps.
    pub npidle: i32,
    /// `nmspinning`: Ms that look for work.
    pub nmspinning: i32,
    /// Length of the global run queue: `runqsize` to 1.24, `runq.size` after.
    pub runqsize: Option<i32>,
    /// `gcwaiting`: whether a stop of the world was asked for.
    pub gcwaiting: bool,
    /// `goroutinesCreated` (1.26 on), without what the Ps have counted since.
    pub goroutines_created: Option<u64>,
}

impl Sched {
    /// Takes `runtime.sched`'s bytes apart. `None` when there are too few.
    #[must_use]
    pub fn parse(bytes: &[u8], sched: &SchedLayout) -> Option<Self> {
        let int = |offset: u32| bytes.i32_at(offset as usize);
        let word = |offset: u32| bytes.u64_at(offset as usize);
        let runqsize = sched.runqsize.or(sched.runq_len);
        Some(Self {
            goidgen: word(sched.goidgen)?,
            nmidle: int(sched.nmidle)?,
            mnext: bytes.i64_at(sched.mnext as usize)?,
            maxmcount: int(sched.maxmcount)?,
            nmfreed: bytes.i64_at(sched.nmfreed as usize)?,
            ngsys: int(sched.ngsys)?,
            npidle: int(sched.npidle)?,
            nmspinning: int(sched.nmspinning)?,
            runqsize: runqsize.and_then(int),
            gcwaiting: bytes.u8_at(sched.gcwaiting as usize)? != 0,
            goroutines_created: sched.goroutines_created.and_then(word),
        })
    }

    /// Ms in existence.
    #[must_use]
    pub fn threads(&self) -> Option<u64> {
        u64::try_from(self.mnext.checked_sub(self.nmfreed)?).ok()
    }
}

/// Reads `runtime.sched` and adds what the Ps count.
///
/// # Errors
/// When the target could not be looked at.
pub fn read_scheduler(
    target: &dyn Target,
    sched: Addr,
    ps: &[P],
    layout: &Layout,
    warnings: &mut Warnings,
) -> Result<Option<Scheduler>, ReadError> {
    let bytes = target.read_vec(sched, layout.sched.size as usize)?;
    let Some(s) = bytes.and_then(|bytes| Sched::parse(&bytes, &layout.sched)) else {
        warnings.add(WarningCode::StatsUnreadable, format!("runtime.sched at {sched} cannot be read"));
        return Ok(None);
    };
    let trusts = |field: &str| layout.trusts("runtime.schedt", field);
    let mut count = |name: &str, value: i64| match u64::try_from(value) {
        _ if !trusts(name) => None,
        Ok(value) => Some(value),
        Err(_) => {
            warnings.add(WarningCode::FieldMistrusted, format!("runtime.sched.{name} is {value}, which cannot be"));
            None
        }
    };
    // There are always some; none means that they could not be read.
    let ps = Some(ps).filter(|ps| !ps.is_empty());
    let created_by_ps: Option<u64> =
        ps.and_then(|ps| ps.iter().map(|p| p.goroutines_created).try_fold(0, |sum, n| Some(n?.wrapping_add(sum))));
    let exact = s.goroutines_created.zip(created_by_ps).map(|(base, ps)| base.wrapping_add(ps));
    let unused: u64 = ps.iter().copied().flatten().fold(0, |sum, p| sum.saturating_add(p.unused_goids));
    Ok(Some(Scheduler {
        threads: s.threads().filter(|n| *n > 0 && trusts("mnext") && trusts("nmfreed")),
        idle_threads: count("nmidle", s.nmidle.into()),
        spinning_threads: count("nmspinning", s.nmspinning.into()),
        freed_threads: count("nmfreed", s.nmfreed),
        idle_processors: count("npidle", s.npidle.into()),
        global_run_queue: s.runqsize.filter(|_| trusts("runq")).and_then(|n| count("runqsize", n.into())),
        local_run_queues: ps.map(|ps| ps.iter().map(|p| u64::from(p.run_queue) + u64::from(p.runnext != 0)).sum()),
        system_goroutines: count("ngsys", s.ngsys.into()),
        goroutines_created: exact.or_else(|| s.goidgen.checked_sub(unused)).filter(|_| trusts("goidgen")),
        goroutines_created_exact: exact.is_some(),
        stopping_the_world: Some(s.gcwaiting).filter(|_| trusts("gcwaiting")),
        max_threads: count("maxmcount", s.maxmcount.into()),
    }))
}
