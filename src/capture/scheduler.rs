//! Everything in a capture but the goroutines: the scheduler, Ps, Ms, heap and collector.
//!
//! These are small and read with the mirrors of [`crate::runtime`]; what cannot be found or read is `None`
//! with a warning, and the rest is still read.

use super::errors::CaptureError;
use crate::addr::Addr;
use crate::model::{GcStats, HeapStats, Processor, Scheduler, Thread, WarningCode, Warnings};
use crate::process::{ReadError, TargetExt, ThreadInfo};
use crate::runtime::GoProcess;
use crate::runtime::mirror::m::M;
use crate::runtime::mirror::p::P;
use crate::runtime::readers::collector::{gc_stats, read_gc_controller};
use crate::runtime::readers::memory::{heap_stats, read_mstats};
use crate::runtime::readers::processors::{read_processors, read_ps};
use crate::runtime::readers::scheduler::read_scheduler;
use crate::runtime::readers::spans::read_unflushed;
use crate::runtime::readers::threads::{read_ms, read_threads};
use crate::runtime::symbols::Global;

/// What was read of the scheduler and the statistics.
#[derive(Debug, Default)]
pub(super) struct SchedulerState {
    /// Every M as it is in memory.
    pub(super) ms: Vec<M>,
    pub(super) processors: Vec<Processor>,
    pub(super) threads: Vec<Thread>,
    pub(super) sched: Option<Scheduler>,
    pub(super) heap: Option<HeapStats>,
    pub(super) gc: Option<GcStats>,
    pub(super) gomaxprocs: Option<u32>,
    /// Threads as the kernel counts them.
    pub(super) os_threads: Option<u32>,
    /// When the runtime started, by its `nanotime`.
    pub(super) runtime_init_ns: Option<u64>,
}

/// Reads it all. `os_threads` are the threads as the kernel lists them, from before any were stopped.
pub(super) fn read(
    process: GoProcess<'_>,
    os_threads: &[ThreadInfo],
    warnings: &mut Warnings,
) -> Result<SchedulerState, CaptureError> {
    let reader = Reader { process };
    let (target, runtime) = (process.target, process.runtime);
    let mut state = SchedulerState { os_threads: u32::try_from(os_threads.len()).ok(), ..SchedulerState::default() };
    let layout = &runtime.layout;

    let ps = match reader.place(Global::Allp, warnings) {
        Some(allp) => read_ps(target, allp, layout, warnings)?,
        None => Vec::new(),
    };
    state.gomaxprocs = reader.gomaxprocs(&ps, warnings)?;
    if let Some(allm) = reader.place(Global::Allm, warnings) {
        // The Ps name most of the Ms, so that these need not be fetched one by one.
        let known: Vec<Addr> = ps.iter().map(|p| Addr(p.m)).collect();
        state.ms = read_ms(target, allm, &known, &layout.m, warnings)?;
    }
    state.threads = read_threads(target, &state.ms, &ps, os_threads, &layout.g)?;
    state.processors = read_processors(target, &ps, &state.ms, &layout.g)?;
    if let Some(sched) = reader.place(Global::Sched, warnings) {
        state.sched = read_scheduler(target, sched, &ps, layout, warnings)?;
    }
    reader.statistics(&ps, &mut state, warnings)?;
    if let Some(at) = reader.place(Global::RuntimeInitTime, warnings) {
        state.runtime_init_ns = target.read_u64(at)?.filter(|&ns| ns != 0);
    }
    Ok(state)
}

struct Reader<'a> {
    process: GoProcess<'a>,
}

impl Reader<'_> {
    fn place(&self, global: Global, warnings: &mut Warnings) -> Option<Addr> {
        let found = self.process.addr(global);
        if found.is_none() {
            let message = format!("{} was not found; what it would show is unknown", global.name());
            warnings.add(WarningCode::SymbolMissing, message);
        }
        found
    }

    /// `runtime.gomaxprocs`, or else the number of Ps that are in use.
    fn gomaxprocs(&self, ps: &[P], warnings: &mut Warnings) -> Result<Option<u32>, ReadError> {
        let counted = u32::try_from(ps.len()).ok().filter(|&n| n > 0);
        let Some(at) = self.process.addr(Global::Gomaxprocs) else { return Ok(counted) };
        let Some(value) = self.process.target.read_u32(at)? else { return Ok(counted) };
        if counted.is_some_and(|counted| counted < value) {
            warnings.add(
                WarningCode::CountsDisagree,
                format!("runtime.gomaxprocs is {value} and runtime.allp holds {} Ps", ps.len()),
            );
            return Ok(counted);
        }
        Ok(Some(value))
    }

    fn statistics(&self, ps: &[P], state: &mut SchedulerState, warnings: &mut Warnings) -> Result<(), ReadError> {
        let (target, layout) = (self.process.target, &self.process.runtime.layout);
        let Some(memstats) = self.place(Global::Memstats, warnings) else { return Ok(()) };
        let Some(mstats) = read_mstats(target, memstats, layout, warnings)? else { return Ok(()) };
        let mut controller = match self.place(Global::GcController, warnings) {
            Some(at) => read_gc_controller(target, at, layout, warnings)?,
            None => None,
        };
        if let Some(controller) = &mut controller {
            let held = read_unflushed(target, ps, layout)?;
            state.heap = heap_stats(&mstats, controller, &held, layout);
            // What the goal is worked out from leaves that out, too.
            controller.total_alloc = controller.total_alloc.wrapping_add(held.bytes);
        }
        let phase = match self.process.addr(Global::Gcphase) {
            Some(at) => target.read_u32(at)?,
            None => None,
        };
        state.gc = gc_stats(&mstats, controller.as_ref(), phase, self.process.rules(), layout);
        Ok(())
    }
}
