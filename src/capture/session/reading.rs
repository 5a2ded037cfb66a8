//! One capture: goroutines, and all that is read along with them, of a program that runs, is stopped, or has been.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Session;
use crate::addr::Addr;
use crate::capture::alongside::Alongside;
use crate::capture::death::Threads;
use crate::capture::errors::CaptureError;
use crate::capture::fields::Checks;
use crate::capture::follow::Follow;
use crate::capture::goroutines::{Collected, Walk};
use crate::capture::not_in_go::Looks;
use crate::capture::options::{CaptureOptions, FreezeMode};
use crate::capture::read::Plan;
use crate::capture::recording::Recorded;
use crate::capture::scheduler::SchedulerState;
use crate::capture::starts::starts;
use crate::capture::still::Still;
use crate::capture::unwind::Start;
use crate::capture::waits::describe::describe;
use crate::capture::{allgs, death, foreign, freeze, not_in_go, scheduler};
use crate::model::{Death, FreezeInfo, Goroutine, NotInGo, StackReadings, SymbolPool, WaitObject, Waits, Warnings};
use crate::process::{Backend, Clock, Descriptors, Ended, ReadError, TargetExt};
use crate::runtime::mirror::m::M;
use crate::runtime::wait_reason::ReasonSet;

impl Session {
    pub(super) fn plan(&self, options: &CaptureOptions, checks: &Arc<Checks>) -> Plan {
        let layout = &self.opened.runtime.layout;
        Plan {
            g: layout.g,
            syscalltick: layout.m.syscalltick.into(),
            counted: ReasonSet::counted(&self.opened.runtime.wait_reasons),
            checks: Arc::clone(checks),
            stacks: options.stacks,
            window: usize::MAX,
            validate: true,
            stopped: Arc::default(),
            displaced: Arc::default(),
            kept: Arc::default(),
        }
    }

    /// Whether stacks of earlier captures are kept in this one.
    pub(super) fn keeps_stacks(&self, options: &CaptureOptions) -> bool {
        let target = &self.opened.target;
        options.keep_stacks
            && options.stacks
            && options.freeze.is_none()
            && !options.traceback
            && target.clock().monotonic_ns != 0
            && target.recorder().is_none()
            && !matches!(target.backend(), Backend::Core | Backend::Capture)
    }

    pub(super) fn read(
        &mut self,
        options: &CaptureOptions,
        pool: &mut SymbolPool,
        warnings: &mut Warnings,
        also: Option<&mut (dyn Alongside + '_)>,
    ) -> Result<Read, CaptureError> {
        if options.freeze == Some(FreezeMode::All) {
            return self.read_frozen(options, pool, warnings, also);
        }
        let clock = self.opened.target.clock();
        let threads = self.opened.target.threads()?;
        let state = scheduler::read(self.process(), &threads, warnings)?;
        let keeps = self.keeps_stacks(options);
        let addrs = match keeps {
            true => allgs::read_known(self.opened.process(), &mut self.gs, warnings)?,
            false => allgs::read(self.process(), warnings)?.into(),
        };
        let mut plan = self.plan(options, &Checks::of(self.process(), &state, clock)?);
        // Taken, so that nothing is kept of a capture that fails.
        let mut kept = keeps.then(|| std::mem::take(&mut self.kept));
        if let Some(kept) = &mut kept {
            let words = options.waits.then(|| self.decoder.waits().seeds.words());
            let (reasons, lists) = (&self.opened.runtime.wait_reasons, self.listed.serves(options));
            Arc::make_mut(kept).begin(clock.monotonic_ns, words, reasons, lists);
            plan.kept = Arc::clone(kept);
        }
        let recorded = Recorded::of(self.opened.target.as_ref())?;
        let ended = self.opened.target.ended();
        let threads = match &ended {
            Some(ended) => Some(self.walk_threads(ended, &state)?),
            None => None,
        };
        if matches!(self.opened.target.backend(), Backend::Core | Backend::Capture) {
            plan.validate = false;
            plan.displaced = Arc::new(recorded.as_ref().map(Recorded::displaced).unwrap_or_default());
            plan.stopped = Arc::new(match &recorded {
                Some(recorded) => recorded.starts(),
                None => {
                    let mut starts = self.stopped_for_good(&state)?;
                    starts.extend(threads.iter().flat_map(Threads::starts));
                    starts
                }
            });
        }
        let process = self.opened.process();
        let mut walk = Walk {
            target: process.target,
            plan,
            keep_dead: options.dead,
            decoder: &mut self.decoder,
            pool,
            warnings,
            collected: Collected::default(),
            unsettled: recorded.as_ref().map(Recorded::unsettled).unwrap_or_default(),
            ending: recorded.as_ref().map(Recorded::ending).unwrap_or_default(),
            curg: self.opened.runtime.layout.m.curg.into(),
            places: FxHashMap::default(),
            chunks: &mut self.chunks,
        };
        walk.run(&addrs)?;
        drop(addrs);
        let mut freeze = recorded.as_ref().and_then(Recorded::freeze);
        walk.collected.consistency.retried += recorded.as_ref().map_or(0, Recorded::retried);
        if options.freeze == Some(FreezeMode::Running) {
            freeze = Some(freeze::stop_running(&mut walk, process, &state)?);
        }
        walk.warn_of_given_up();
        let Walk { mut collected, plan, .. } = walk;
        drop(plan);
        let stacks = collected.readings(clock);
        if let Some(mut kept) = kept {
            // Nobody else has it any more, so that nothing is copied.
            Arc::make_mut(&mut kept).end(std::mem::take(&mut collected.noted));
            self.kept = kept;
        }
        let max_goid = process.max_goid()?;
        let let_go = recorded.as_ref().map(Recorded::let_go).unwrap_or_default();
        let follow = Follow { process, now_ns: clock.monotonic_ns, let_go };
        let before = warnings.clone();
        follow.all(&mut self.decoder, pool, &mut collected, max_goid, warnings)?;
        let warned = *warnings != before;
        let runs = !matches!(process.target.backend(), Backend::Core | Backend::Capture);
        let (mut looks, mut asked) = (None, BTreeSet::new());
        let mut look = |fds: &BTreeSet<i32>, objects: &mut [WaitObject]| {
            asked.clone_from(fds);
            if !options.system_calls {
                return Ok(());
            }
            if not_in_go::is_recorded(process) {
                describe(objects, &Descriptors::of(process.target, fds)?);
                return Ok(());
            }
            let found = Looks::read(process, &state.ms, fds)?;
            describe(objects, &found.descriptors);
            looks = Some(found);
            Ok(())
        };
        let waits = follow.waits(&mut self.decoder, pool, (&mut collected, &state, runs), warnings, &mut look)?;
        if options.c_frames {
            match &recorded {
                Some(recorded) => recorded.give_c_stacks(&mut collected.goroutines, pool),
                None => {
                    let found = foreign::read(process, &state.ms, None, warnings)?;
                    self.c_stacks.attach(process, &found, &mut collected.goroutines, pool);
                }
            }
            collected.recorded.add_c_stacks(&collected.goroutines, pool);
        }
        let death = match ended.zip(threads) {
            Some((ended, threads)) => Some(self.cause_of_death(&threads, &ended, pool)?),
            None => None,
        };
        let (not_in_go, descriptors) = match options.system_calls {
            true => self.not_in_go(looks.unwrap_or_default(), &collected.goroutines, pool)?,
            false => Default::default(),
        };
        if let Some(also) = also {
            also.read(self.process(), None)?;
        }
        let fds = asked;
        Ok(Read { clock, state, collected, stacks, waits, freeze, death, not_in_go, descriptors, fds, keeps, warned })
    }

    /// What goroutines in system calls and in C do; from the recording, if the target is one.
    fn not_in_go(
        &mut self,
        looks: Looks,
        goroutines: &[Goroutine],
        pool: &mut SymbolPool,
    ) -> Result<(NotInGo, Descriptors), ReadError> {
        let process = self.opened.process();
        let (not_in_go, descriptors) = match not_in_go::recorded(process, pool)? {
            Some(recorded) => recorded,
            None => (looks.attach(process, goroutines, &mut self.c_stacks, pool), looks.descriptors),
        };
        not_in_go::record(process, &not_in_go, pool);
        Ok((not_in_go, descriptors))
    }

    fn walk_threads(&mut self, ended: &Ended, state: &SchedulerState) -> Result<Threads, ReadError> {
        let process = self.opened.process();
        Threads::walk(process, self.decoder.unwinder(), &state.ms, ended)
    }

    fn cause_of_death(&mut self, threads: &Threads, ended: &Ended, pool: &mut SymbolPool) -> Result<Death, ReadError> {
        let process = self.opened.process();
        let death::Found { mut death, frames } = threads.cause(process, self.decoder.unwinder(), ended)?;
        death.stack = (!frames.is_empty()).then(|| self.decoder.symbolizer().stack(pool, &frames));
        Ok(death)
    }

    /// Reads everything while the whole target is stopped; decoding waits until it runs again.
    fn read_frozen(
        &mut self,
        options: &CaptureOptions,
        pool: &mut SymbolPool,
        warnings: &mut Warnings,
        also: Option<&mut (dyn Alongside + '_)>,
    ) -> Result<Read, CaptureError> {
        let plan = self.plan(options, &Arc::default());
        let mut still = Still::read(self.process(), &plan, options, warnings, also)?;
        let process = self.opened.process();
        let mut walk = Walk {
            target: process.target,
            plan: self.plan(options, &still.plan.checks),
            keep_dead: options.dead,
            decoder: &mut self.decoder,
            pool,
            warnings,
            collected: Collected::default(),
            unsettled: FxHashMap::default(),
            ending: FxHashSet::default(),
            curg: process.runtime.layout.m.curg.into(),
            places: FxHashMap::default(),
            chunks: &mut self.chunks,
        };
        walk.decode_all(&still.chunks, &still.plan)?;
        walk.warn_of_given_up();
        let mut collected = walk.collected;
        let stacks = collected.readings(still.clock);
        let max_goid = process.max_goid()?;
        let follow = Follow { process, now_ns: still.clock.monotonic_ns, let_go: FxHashSet::default() };
        follow.all(&mut self.decoder, pool, &mut collected, max_goid, warnings)?;
        let looks = &mut still.looks;
        let mut look = |fds: &BTreeSet<i32>, objects: &mut [WaitObject]| {
            if options.system_calls {
                looks.add_descriptors(process, fds)?;
                describe(objects, &looks.descriptors);
            }
            Ok(())
        };
        let waits = follow.waits(&mut self.decoder, pool, (&mut collected, &still.state, true), warnings, &mut look)?;
        self.c_stacks.attach(process, &still.in_c, &mut collected.goroutines, pool);
        collected.recorded.add_c_stacks(&collected.goroutines, pool);
        let mut not_in_go = NotInGo::default();
        if options.system_calls {
            not_in_go = still.looks.attach(process, &collected.goroutines, &mut self.c_stacks, pool);
            not_in_go::record(process, &not_in_go, pool);
        }
        let (freeze, descriptors) = (Some(still.info), still.looks.descriptors);
        let Still { clock, state, .. } = still;
        let (fds, death) = (BTreeSet::new(), None);
        let (keeps, warned) = (false, false);
        Ok(Read { clock, state, collected, stacks, waits, freeze, death, not_in_go, descriptors, fds, keeps, warned })
    }

    /// Where running goroutines were in a process whose threads are all stopped for good.
    fn stopped_for_good(&self, state: &SchedulerState) -> Result<FxHashMap<u64, Start>, ReadError> {
        starts(self.process(), |tid| self.opened.target.registers(tid), &state.ms)
    }

    /// Gives the recording that is being made, if any, what it needs of this capture.
    pub(super) fn record(&self, read: &mut Read) -> Result<(), ReadError> {
        if self.opened.target.recorder().is_none() {
            return Ok(());
        }
        self.read_new_ms(read)?;
        // It only grows, and must not be less than the id of a goroutine that was created since the scheduler
        // was read.
        let _ = self.process().max_goid()?;
        let recorded = std::mem::take(&mut read.collected.recorded);
        recorded.leave(self.opened.target.as_ref(), &read.collected.consistency, read.freeze.as_ref());
        Ok(())
    }

    /// Reads the Ms that are newer than the list of Ms that was read, and the g0 of all: opening the
    /// recording checks its layout by them.
    fn read_new_ms(&self, read: &Read) -> Result<(), ReadError> {
        let (target, layout) = (self.opened.target.as_ref(), &self.opened.runtime.layout);
        let mut g0s: FxHashMap<Addr, u64> = read.state.ms.iter().map(|m| (m.addr, m.g0)).collect();
        for addr in read.collected.goroutines.iter().filter_map(|g| g.m) {
            if let Entry::Vacant(unknown) = g0s.entry(addr) {
                unknown.insert(self.process().read::<M>(addr)?.map_or(0, |m| m.g0));
            }
        }
        for g0 in g0s.into_values() {
            // Read for the record.
            let _ = target.read_u64(Addr(g0.wrapping_add(layout.g.m.into())))?;
        }
        Ok(())
    }
}

/// What one capture reads.
pub(super) struct Read {
    pub(super) clock: Clock,
    pub(super) state: SchedulerState,
    pub(super) collected: Collected,
    pub(super) stacks: StackReadings,
    pub(super) waits: Waits,
    pub(super) freeze: Option<FreezeInfo>,
    pub(super) death: Option<Death>,
    pub(super) not_in_go: NotInGo,
    pub(super) descriptors: Descriptors,
    /// Descriptors of what goroutines wait for.
    pub(super) fds: BTreeSet<i32>,
    /// Whether stacks of earlier captures were kept, and those of this one are.
    pub(super) keeps: bool,
    /// Whether there were warnings of what goroutines lead to.
    pub(super) warned: bool,
}
