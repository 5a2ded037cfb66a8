//! Exact stacks of running goroutines, for which threads have to be stopped for a moment.
//!
//! During the stop memory is only copied; it is decoded when the threads run again.

use std::sync::Arc;

use super::errors::CaptureError;
use super::goroutines::Walk;
use super::read::{Chunk, Plan};
use super::scheduler::SchedulerState;
use super::starts::starts;
use crate::model::FreezeInfo;
use crate::process::{Broken, FreezeWhich, Frozen, ReadError, TargetError};
use crate::runtime::GoProcess;
use crate::runtime::mirror::m::M;

/// Stops the threads that run goroutines, one at a time, and adds the stacks of what they ran to the
/// snapshot.
pub(super) fn stop_running(
    walk: &mut Walk<'_>,
    process: GoProcess<'_>,
    state: &SchedulerState,
) -> Result<FreezeInfo, CaptureError> {
    /// While one thread is stopped, what ran on another may have gone on to a third. So those of
    /// which nothing is known yet are looked for again.
    const ROUNDS: usize = 4;
    let mut info = FreezeInfo { whole_program: false, stopped_ns: 0, threads: 0 };
    for round in 0..ROUNDS {
        let wanted = walk.running();
        if round > 0 && wanted.is_empty() {
            break;
        }
        let is_wanted = |g: u64| round == 0 || wanted.contains(&g);
        let stopped = stop_each(walk, process, state, is_wanted, &mut info)?;
        walk.replace(&stopped);
        walk.read_running_again()?;
    }
    Ok(info)
}

/// Stops each thread that runs a goroutine that is wanted, and reads that goroutine.
fn stop_each(
    walk: &Walk<'_>,
    process: GoProcess<'_>,
    state: &SchedulerState,
    is_wanted: impl Fn(u64) -> bool,
    info: &mut FreezeInfo,
) -> Result<Vec<(Vec<Chunk>, Plan)>, CaptureError> {
    let process = process.unlogged();
    let mut stopped_chunks = Vec::new();
    for m in &state.ms {
        let Some(thread) = m.tid() else { continue };
        // Most threads are idle or blocked; only one that has a goroutine is worth stopping.
        let now = process.read::<M>(m.addr)?;
        let Some(now) = now.filter(|m| m.curg != 0 && is_wanted(m.curg)) else { continue };
        if !walk.is_running(now.curg)? {
            continue;
        }
        let frozen = match walk.target.freeze(&FreezeWhich::Threads(vec![thread])) {
            Ok(frozen) => frozen,
            // A thread may end at any time; anything else fails for all of them.
            Err(TargetError::NoSuchProcess { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let read = || -> Result<_, ReadError> {
            let Some(now) = process.read::<M>(m.addr)? else { return Ok(None) };
            let stopped = starts(
                process,
                |tid| frozen.registers(tid).or_else(|| frozen.asleep(tid)),
                std::slice::from_ref(&now),
            )?;
            let addrs: Vec<u64> = stopped.keys().copied().collect();
            let plan = Plan { validate: false, stopped: Arc::new(stopped), window: 1 << 20, ..walk.plan.clone() };
            let mut chunks = Vec::new();
            Walk::read_all(walk.target, &plan, &addrs, &mut chunks)?;
            Ok(Some((chunks, plan)))
        };
        let read = read();
        let threads = stopped(frozen.as_ref());
        match frozen.resume() {
            Ok(stood) => note(info, stood, threads),
            Err(Broken::Exec) => return Err(TargetError::Replaced { pid: walk.target.process().pid }.into()),
            // It is looked for again, or stays without a stack.
            Err(_) => continue,
        }
        // An error in a failed freeze may come from the change, and means nothing.
        stopped_chunks.extend(read?);
    }
    Ok(stopped_chunks)
}

/// How many threads were stopped: others were left asleep, or in the kernel, or have ended.
pub(super) fn stopped(frozen: &dyn Frozen) -> usize {
    frozen.threads().iter().filter(|&&tid| frozen.registers(tid).is_some()).count()
}

/// Adds one stop to the report of the freeze: the longest counts.
pub(super) fn note(info: &mut FreezeInfo, stopped: std::time::Duration, threads: usize) {
    info.stopped_ns = info.stopped_ns.max(u64::try_from(stopped.as_nanos()).unwrap_or(u64::MAX));
    info.threads = info.threads.saturating_add(u32::try_from(threads).unwrap_or(u32::MAX));
}
