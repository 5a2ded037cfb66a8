//! Everything of a capture but the goroutines: the scheduler, Ps, Ms, heap and collector.
//!
//! These are small and read with the mirrors of [`crate::runtime`]; what cannot be found or read is
//! `None` with a warning, and the rest goes on.

use super::program::Program;
use super::session::CaptureError;
use crate::addr::Addr;
use crate::bytes::FieldsExt;
use crate::model::{GcStats, HeapStats, Processor, Scheduler, Thread, WarningCode, Warnings};
use crate::runtime::GoRuntime;
use crate::runtime::gc_controller::{gc_stats, read_gc_controller};
use crate::runtime::m::{M, read_ms, read_threads};
use crate::runtime::mstats::{read_heap, read_mstats};
use crate::runtime::p::{P, read_processors, read_ps};
use crate::runtime::sched::read_scheduler;
use crate::runtime::symbols::Located;
use crate::target::{ReadError, Target, TargetExt};

/// What was read of the scheduler and the statistics.
#[derive(Debug, Default)]
pub(super) struct SchedulerState {
    /// Every M as it stands in memory.
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

/// Reads it all.
pub(super) fn read(
    target: &dyn Target,
    runtime: &GoRuntime,
    program: &Program,
    warnings: &mut Warnings,
) -> Result<SchedulerState, CaptureError> {
    let reader = Reader { target, runtime, program };
    let mut state = SchedulerState::default();
    let os_threads = target.threads()?;
    state.os_threads = u32::try_from(os_threads.len()).ok();
    let layout = &runtime.layout;
    let symbols = &runtime.symbols;

    let ps = match reader.place(&symbols.allp, "runtime.allp", warnings) {
        Some(allp) => read_ps(target, allp, layout, warnings)?,
        None => Vec::new(),
    };
    state.gomaxprocs = reader.gomaxprocs(&ps, warnings)?;
    if let Some(allm) = reader.place(&symbols.allm, "runtime.allm", warnings) {
        // The Ps name most of the Ms, so that these need not be fetched one by one.
        let known: Vec<Addr> = ps.iter().map(|p| Addr(p.m)).collect();
        state.ms = read_ms(target, allm, &known, layout, warnings)?;
    }
    state.threads = read_threads(target, &state.ms, &ps, &os_threads, layout)?;
    state.processors = read_processors(target, &ps, &state.ms, layout)?;
    if let Some(sched) = reader.place(&symbols.sched, "runtime.sched", warnings) {
        state.sched = read_scheduler(target, sched, &ps, layout, warnings)?;
    }
    reader.statistics(&ps, &mut state, warnings)?;
    if let Some(at) = reader.place(&symbols.runtime_init_time, "runtime.runtimeInitTime", warnings) {
        state.runtime_init_ns = target.read_u64(at)?.filter(|&ns| ns != 0);
    }
    Ok(state)
}

struct Reader<'a> {
    target: &'a dyn Target,
    runtime: &'a GoRuntime,
    program: &'a Program,
}

impl Reader<'_> {
    fn place(&self, symbol: &Option<Located>, name: &str, warnings: &mut Warnings) -> Option<Addr> {
        let found = symbol.as_ref().map(|located| self.program.bias.load(located.addr));
        if found.is_none() {
            warnings.add(WarningCode::SymbolMissing, format!("{name} was not found; what it tells is unknown"));
        }
        found
    }

    /// `runtime.gomaxprocs`, or else the number of Ps that are in use.
    fn gomaxprocs(&self, ps: &[P], warnings: &mut Warnings) -> Result<Option<u32>, ReadError> {
        let counted = u32::try_from(ps.len()).ok().filter(|&n| n > 0);
        let Some(at) = &self.runtime.symbols.gomaxprocs else { return Ok(counted) };
        let Some(value) = self.target.read_u32(self.program.bias.load(at.addr))? else { return Ok(counted) };
        if counted.is_some_and(|counted| counted < value) {
            warnings.add(
                WarningCode::CountsDisagree,
                format!("runtime.gomaxprocs is {value} and runtime.allp holds {} Ps", ps.len()),
            );
            return Ok(counted);
        }
        Ok(Some(value))
    }

    fn statistics(
        &self,
        ps: &[P],
        state: &mut SchedulerState,
        warnings: &mut Warnings,
    ) -> Result<(), ReadError> {
        let (target, layout, symbols) = (self.target, &self.runtime.layout, &self.runtime.symbols);
        let Some(memstats) = self.place(&symbols.memstats, "runtime.memstats", warnings) else { return Ok(()) };
        let Some(mstats) = read_mstats(target, memstats, layout, warnings)? else { return Ok(()) };
        let controller = match self.place(&symbols.gc_controller, "runtime.gcController", warnings) {
            Some(at) => read_gc_controller(target, at, layout, warnings)?,
            None => None,
        };
        if let Some(controller) = &controller {
            state.heap = Some(read_heap(target, &mstats, controller, ps, layout)?);
        }
        let phase = match &symbols.gcphase {
            Some(at) => target.read_array::<4>(self.program.bias.load(at.addr))?.and_then(|bytes| bytes.u32_at(0)),
            None => None,
        };
        state.gc = Some(gc_stats(&mstats, controller.as_ref(), phase, self.runtime.version.minor));
        Ok(())
    }
}
