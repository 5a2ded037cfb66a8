//! Reads a target while all of its threads are stopped.
//!
//! During the stop memory is only copied; all other work is done before or after. If the target turns out not
//! to have been stopped throughout, what was read is discarded and read once more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allgs;
use super::alongside::Alongside;
use super::errors::CaptureError;
use super::fields::Checks;
use super::foreign::{self, InC};
use super::freeze;
use super::goroutines::Walk;
use super::not_in_go::Looks;
use super::options::CaptureOptions;
use super::read::{Chunk, Plan};
use super::scheduler::{self, SchedulerState};
use super::starts::starts;
use crate::model::{FreezeInfo, Warnings};
use crate::process::{Broken, Clock, FreezeOptions, FreezeWhich, TargetError, ThreadInfo, Tid};
use crate::runtime::GoProcess;
use crate::runtime::mirror::m::M;

/// Stacks longer than this are finished when the target runs again.
const WINDOW: usize = 1 << 20;
/// How often the target is stopped at most.
const TRIES: usize = 2;
/// How many times longer than before the stop reading may take.
const SLOWER: u32 = 8;
/// No target is stopped for longer.
const LONGEST: Duration = Duration::from_secs(10);
/// The same where more than goroutines is read.
const LONGEST_WITH_MORE: Duration = Duration::from_secs(60);

/// What was read from a stopped target.
pub(super) struct Still {
    pub(super) clock: Clock,
    pub(super) state: SchedulerState,
    pub(super) chunks: Vec<Chunk>,
    /// How they were read.
    pub(super) plan: Plan,
    pub(super) in_c: Vec<InC>,
    pub(super) looks: Looks,
    pub(super) info: FreezeInfo,
}

impl Still {
    /// Stops the target, reads it, and resumes it. `plan` says what to read of goroutines.
    pub(super) fn read(
        process: GoProcess<'_>,
        plan: &Plan,
        options: &CaptureOptions,
        warnings: &mut Warnings,
        mut also: Option<&mut (dyn Alongside + '_)>,
    ) -> Result<Self, CaptureError> {
        let plan = Plan { validate: false, window: WINDOW, ..plan.clone() };
        let threads = process.target.threads()?;
        let mut reader = Reader { process, plan, options: *options, threads, chunks: Vec::new() };
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let mut attempted = warnings.clone();
            let broken = match reader.stop_and_read(&mut attempted, also.as_deref_mut())? {
                Ok(still) => {
                    *warnings = attempted;
                    return Ok(still);
                }
                Err(broken) => broken,
            };
            if tries == 0 {
                let pid = process.target.process().pid;
                return Err(match broken {
                    Broken::Exec => TargetError::Replaced { pid }.into(),
                    broken => CaptureError::NotFrozen { pid, broken },
                });
            }
        }
    }
}

struct Reader<'a> {
    process: GoProcess<'a>,
    plan: Plan,
    options: CaptureOptions,
    threads: Vec<ThreadInfo>,
    /// Buffers that are reused while their contents are not needed.
    chunks: Vec<Chunk>,
}

impl Reader<'_> {
    fn stop_and_read(
        &mut self,
        warnings: &mut Warnings,
        mut also: Option<&mut (dyn Alongside + '_)>,
    ) -> Result<Result<Still, Broken>, CaptureError> {
        let options = self.prepare(also.as_ref().map(|also| also.takes()))?;
        let Self { process, ref plan, .. } = *self;
        let target = process.target;
        let frozen = target.freeze_with(&FreezeWhich::All, &options)?;
        let clock = target.clock();
        let (threads, chunks) = (&self.threads, &mut self.chunks);
        let mut read = || -> Result<_, CaptureError> {
            let state = scheduler::read(process, threads, warnings)?;
            let addrs = allgs::read(process, warnings)?;
            let registers = |tid: Tid| frozen.registers(tid).or_else(|| frozen.asleep(tid));
            let stopped = starts(process, registers, &state.ms)?;
            let checks = Checks::of(process, &state, clock)?;
            let plan = Plan { stopped: Arc::new(stopped), checks, ..plan.clone() };
            Walk::read_all(target, &plan, &addrs, chunks)?;
            let in_c = match self.options.c_frames {
                true => foreign::read(process, &state.ms, Some(frozen.as_ref()), warnings)?,
                false => Vec::new(),
            };
            let looks = match self.options.system_calls {
                true => Looks::read_frozen(process, &state.ms, frozen.as_ref())?,
                false => Looks::default(),
            };
            if let Some(also) = also.as_deref_mut() {
                also.read(process, Some(frozen.as_ref()))?;
            }
            Ok((state, plan, in_c, looks))
        };
        let read = read();
        let threads = freeze::stopped(frozen.as_ref());
        let stood = match frozen.resume() {
            Ok(stood) => stood,
            Err(broken) => return Ok(Err(broken)),
        };
        // An error in a failed freeze may come from the change, and means nothing.
        let (state, plan, in_c, looks) = read?;
        let mut info = FreezeInfo { whole_program: true, stopped_ns: 0, threads: 0 };
        freeze::note(&mut info, stood, threads);
        Ok(Ok(Still { clock, state, chunks: std::mem::take(&mut self.chunks), plan, in_c, looks, info }))
    }

    /// Reads everything once before the stop, into the same memory: page faults and allocations take longer
    /// than the copying. It also shows how long reading takes.
    fn prepare(&mut self, also: Option<Duration>) -> Result<FreezeOptions, CaptureError> {
        let unlogged = self.process.unlogged();
        let started = Instant::now();
        let unheard = &mut Warnings::default();
        let state = scheduler::read(unlogged, &self.threads, unheard)?;
        let addrs = allgs::read(unlogged, unheard)?;
        Walk::read_all(unlogged.target, &self.plan, &addrs, &mut self.chunks)?;
        let usual = FreezeOptions::default();
        let takes = started.elapsed().saturating_add(also.unwrap_or_default());
        let longest = if also.is_some() { LONGEST_WITH_MORE } else { LONGEST };
        let hold = takes.saturating_mul(SLOWER).clamp(usual.hold, longest);
        // With nothing to run, an M waits for the network in the scheduler, which has called epoll_wait again
        // after EINTR in all versions (runtime/netpoll_epoll.go). One that is in C belongs to other code.
        let idle = state.ms.iter().filter(|m| m.curg == 0 && !m.incgo);
        Ok(FreezeOptions { hold, resilient: idle.filter_map(M::tid).collect() })
    }
}
