//! An opened target: what is worked out once, and one capture after the other.

use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::allgs;
use super::blocked;
use super::core_clock;
use super::death::{self, Threads};
use super::fields::{self, Checks};
use super::follow::Follow;
use super::foreign::{self, CStacks};
use super::freeze::{self, FreezeMode};
use super::goroutines::{Collected, Decoder, Walk};
use super::program::{Program, ProgramError};
use super::read::Plan;
use super::recording::Recorded;
use super::scheduler::{self, SchedulerState};
use super::still::Still;
use super::symbolize::Symbolizer;
use super::unwind::{Start, Unwinder};
use crate::addr::Addr;
use crate::image::pclntab::Pclntab;
use crate::model::{
    Death, FreezeInfo, Goroutine, ModuleInfo, Reading, Snapshot, SymbolPool, TargetInfo, WarningCode, Warnings,
};
use crate::process::{
    Backend, Broken, Clock, Ended, Limitation, ReadError, Resources, Target, TargetError, TargetExt, Usage,
};
use crate::runtime::symbols::Global;
use crate::runtime::wait_reason::CountedReasons;
use crate::runtime::{GoRuntime, LocateOptions, RuntimeError};

/// What opening a target may need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// A separate file with the program's symbols.
    pub bin: Option<PathBuf>,
    /// Whether to compare every source of every fact, whatever that costs.
    pub thorough: bool,
}

/// What a capture is to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Stacks too.
    pub stacks: bool,
    /// Dead (free) gs too.
    pub dead: bool,
    /// What goroutines do in C too.
    pub c_frames: bool,
    /// Whether to stop the target, and how.
    pub freeze: Option<FreezeMode>,
}

/// Why a target could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no Go program in it that could be read.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Its runtime could not be made sense of.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// Why a capture could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The target could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The target could not be looked into or stopped.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It did not stand still for as long as it was read, twice.
    #[error(
        "process {pid} did not stand still: {broken}\nnothing of what was read is shown; try again, or stop \
         running threads only, one at a time (--freeze=running)"
    )]
    NotFrozen {
        /// Its pid.
        pid: i32,
        /// What happened.
        broken: Broken,
    },
    /// The list of goroutines is not where it should be.
    #[error("the list of goroutines (runtime.allgs at {at}) cannot be read: {what}")]
    NoGoroutines {
        /// Where it was looked for.
        at: Addr,
        /// What is there instead.
        what: String,
    },
}

/// A target with everything that does not change from one capture to the next.
pub struct Session {
    target: Box<dyn Target>,
    program: Program,
    runtime: GoRuntime,
    decoder: Decoder,
    c_stacks: CStacks,
    pool: SymbolPool,
    /// Memory that the pool may take, bytes; see [`MAX_POOL`].
    max_pool: usize,
    /// The interval that the program's use of CPU time is to be known of.
    cpu_interval: Duration,
}

/// Beyond this many frames of distinct stacks, a new capture starts with nothing remembered, so that
/// a session that goes on for days does not grow without end.
const MAX_REMEMBERED: usize = 8 << 20;
/// Likewise beyond this much memory for texts, labels and stacks, bytes. A snapshot that is kept holds
/// what it needs of the pool before.
const MAX_POOL: usize = 512 << 20;

impl Session {
    /// Finds the Go program in `target` and works out where its runtime keeps things.
    ///
    /// # Errors
    /// When it is no Go program, or one that cannot be read.
    pub fn open(target: Box<dyn Target>, options: &OpenOptions) -> Result<Self, OpenError> {
        let mut program = Program::find(target.as_ref(), options.bin.as_deref())?;
        let symbols = program.symbol_file.as_ref().map(|file| (file.elf.as_ref(), file.shift));
        let runtime = GoRuntime::locate(
            target.as_ref(),
            &program.elf,
            program.bias,
            &program.pclntab,
            &program.module,
            program.build_info.as_ref(),
            &LocateOptions { thorough: options.thorough, symbols },
        )?;
        let header = *program.pclntab.header();
        let text = program.bias.unload(Addr(program.module.text.start));
        let mut pclntab = Pclntab::new(Arc::clone(&program.elf), header, text);
        if let Some(gofunc) =
            runtime.layout.table.offset("runtime.moduledata", "gofunc").and_then(|at| program.module.word(at))
        {
            pclntab = pclntab.with_gofunc(program.bias.unload(Addr(gofunc)));
        }
        program.pclntab = Arc::new(pclntab);
        let decoder = Self::decoder(&program, &runtime);
        let (c_stacks, pool) = (CStacks::default(), SymbolPool::default());
        Ok(Self { target, program, runtime, decoder, c_stacks, pool, max_pool: MAX_POOL, cpu_interval: Duration::ZERO })
    }

    fn decoder(program: &Program, runtime: &GoRuntime) -> Decoder {
        let minor = runtime.version.minor;
        let unwinder = Unwinder::new(Arc::clone(&program.pclntab), program.bias, program.elf.arch(), minor);
        let symbolizer = Symbolizer::new(Arc::clone(&program.pclntab), program.bias, minor);
        Decoder::new(unwinder, symbolizer, runtime.wait_reasons.len(), runtime.layout.panic, minor)
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &dyn Target {
        self.target.as_ref()
    }

    /// The program in it.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its runtime.
    #[must_use]
    pub fn runtime(&self) -> &GoRuntime {
        &self.runtime
    }

    /// From now on, a capture takes so long that the program's use of CPU time is known of an interval of
    /// `least`, which begins with the capture before, or with the opening of the target. By default nothing
    /// is waited for, and the use is unknown when captures follow each other too fast.
    pub fn measure_cpu(&mut self, least: Duration) {
        self.cpu_interval = least;
    }

    /// Reads the target once.
    ///
    /// # Errors
    /// When it has ended, cannot be read any more, or cannot be stopped though that was asked for.
    pub fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, CaptureError> {
        // A process that was stopped before is for a moment not, right after a freeze.
        let usage = self.target.usage();
        // A stop must not be a part of the interval; anything else is what the wait is used for.
        let before = options.freeze.is_some().then(|| self.target.resources(self.cpu_interval));
        let started = Instant::now();
        let stats = self.target.stats();
        if self.decoder.remembered() > MAX_REMEMBERED || self.pool.bytes() > self.max_pool {
            self.pool = SymbolPool::default();
            self.decoder = Self::decoder(&self.program, &self.runtime);
        }
        let mut warnings = self.runtime.warnings.clone();
        let mut pool = std::mem::take(&mut self.pool);
        let result = self.read(options, &mut pool, &mut warnings);
        self.pool = pool;
        let mut read = result?;
        if self.target.is_replaced() {
            // Nothing failed, and what was read may be of either program.
            return Err(ReadError::Gone { pid: self.target.process().pid }.into());
        }
        let duration = started.elapsed();
        let resources = before.unwrap_or_else(|| self.target.resources(self.cpu_interval));
        let mut clock = read.clock;
        let mut both_clocks = clock;
        if clock.monotonic_ns == 0 {
            let (init, goroutines) = (read.state.runtime_init_ns, &read.collected.goroutines);
            both_clocks = core_clock::both_clocks(self.target.as_ref(), &self.runtime, &self.program)?;
            clock.monotonic_ns =
                core_clock::at_least(self.target.as_ref(), &self.runtime, &self.program, init, goroutines)?;
            let message =
                "the core file does not tell when the process died: uptime and ages are at least what is said";
            warnings.add(WarningCode::ClockUnknown, message);
        }
        self.record(&mut read)?;
        for shortcoming in self.target.shortcomings() {
            match shortcoming {
                Limitation::Missing(text) => warnings.add(WarningCode::Truncated, text),
                Limitation::Unproven(text) => warnings.add(WarningCode::ImageOdd, text),
            }
        }
        if self.target.backend() == Backend::ProcMem {
            warnings.add(WarningCode::FallbackBackend, "process_vm_readv was refused; /proc/PID/mem is used instead");
        }
        let after = self.target.stats();
        let target = self.target_info(&read.state, usage, resources, clock.monotonic_ns);
        let mut goroutines = read.collected.goroutines;
        blocked::set(&mut goroutines, read.state.gc.as_ref(), both_clocks);
        sort(&mut goroutines);
        fields::warn_of_twins(&goroutines, &mut warnings);
        Ok(Snapshot {
            captured_at_unix_ns: clock.unix_ns,
            monotonic_ns: clock.monotonic_ns,
            target,
            reading: Reading {
                backend: self.target.backend().name(),
                duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
                syscalls: after.syscalls.saturating_sub(stats.syscalls),
                bytes: after.bytes.saturating_sub(stats.bytes),
                freeze: read.freeze,
                consistency: read.collected.consistency,
                layout: self.runtime.layout_source.to_string(),
                provenance: self.runtime.symbols.provenance(),
            },
            sched: read.state.sched,
            heap: read.state.heap,
            gc: read.state.gc,
            processors: read.state.processors,
            threads: read.state.threads,
            goroutines,
            dead_goroutines: read.collected.dead,
            wait_reasons: self.runtime.wait_reasons.clone(),
            death: read.death,
            symbols: Arc::new(self.pool.view()),
            warnings,
        })
    }

    fn plan(&self, options: &CaptureOptions, checks: &Arc<Checks>) -> Plan {
        let layout = &self.runtime.layout;
        Plan {
            g: layout.g,
            gobuf: layout.gobuf,
            syscalltick: layout.m.syscalltick.into(),
            counted: CountedReasons::of(&self.runtime.wait_reasons),
            checks: Arc::clone(checks),
            stacks: options.stacks,
            window: usize::MAX,
            validate: true,
            stopped: Arc::default(),
            displaced: Arc::default(),
        }
    }

    fn read(
        &mut self,
        options: &CaptureOptions,
        pool: &mut SymbolPool,
        warnings: &mut Warnings,
    ) -> Result<Read, CaptureError> {
        if options.freeze == Some(FreezeMode::All) {
            return self.read_frozen(options, pool, warnings);
        }
        let clock = self.target.clock();
        let threads = self.target.threads()?;
        let state = scheduler::read(self.target.as_ref(), &self.runtime, &self.program, &threads, warnings)?;
        let addrs = allgs::read(self.target.as_ref(), &self.runtime, &self.program, warnings)?;
        let mut plan = self.plan(options, &checks(self.target.as_ref(), &self.runtime, &self.program, &state, clock)?);
        let recorded = Recorded::of(self.target.as_ref());
        let ended = self.target.ended();
        let threads = match &ended {
            Some(ended) => Some(self.walk_threads(ended, &state)?),
            None => None,
        };
        if matches!(self.target.backend(), Backend::Core | Backend::Capture) {
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
        let mut walk = Walk {
            target: self.target.as_ref(),
            plan,
            keep_dead: options.dead,
            decoder: &mut self.decoder,
            pool,
            warnings,
            collected: Collected::default(),
            unsettled: recorded.as_ref().map(Recorded::unsettled).unwrap_or_default(),
            ending: recorded.as_ref().map(Recorded::ending).unwrap_or_default(),
            curg: self.runtime.layout.m.curg.into(),
            places: FxHashMap::default(),
        };
        walk.run(&addrs)?;
        let mut freeze = recorded.as_ref().and_then(Recorded::freeze);
        walk.collected.consistency.retried += recorded.as_ref().map_or(0, Recorded::retried);
        if options.freeze == Some(FreezeMode::Running) {
            freeze = Some(freeze::stop_running(&mut walk, &self.runtime, &self.program, &state)?);
        }
        walk.warn_of_given_up();
        let mut collected = walk.collected;
        let (target, runtime, program) = (self.target.as_ref(), &self.runtime, &self.program);
        let max_goid = max_goid(target, runtime, program)?;
        let let_go = recorded.as_ref().map(Recorded::let_go).unwrap_or_default();
        let follow = Follow { target, runtime, program, let_go };
        follow.all(&mut self.decoder, pool, &mut collected, max_goid, warnings)?;
        if options.c_frames {
            match &recorded {
                Some(recorded) => recorded.give_c_stacks(&mut collected.goroutines, pool),
                None => {
                    let (target, arch) = (self.target.as_ref(), self.program.elf.arch());
                    let found = foreign::read(target, arch, &self.runtime.layout, &state.ms, None, warnings)?;
                    self.c_stacks.attach(target, &self.program, &found, &mut collected.goroutines, pool);
                }
            }
            collected.recorded.add_c_stacks(&collected.goroutines, pool);
        }
        let death = match ended.zip(threads) {
            Some((ended, threads)) => Some(self.cause_of_death(&threads, &ended, pool)?),
            None => None,
        };
        Ok(Read { clock, state, collected, freeze, death })
    }

    fn walk_threads(&mut self, ended: &Ended, state: &SchedulerState) -> Result<Threads, ReadError> {
        let unwinder = self.decoder.unwinder();
        Threads::walk(self.target.as_ref(), &self.runtime, &self.program, unwinder, &state.ms, ended)
    }

    fn cause_of_death(&mut self, threads: &Threads, ended: &Ended, pool: &mut SymbolPool) -> Result<Death, ReadError> {
        let (target, unwinder) = (self.target.as_ref(), self.decoder.unwinder());
        let death::Found { mut death, frames } =
            threads.cause(target, &self.runtime, &self.program, unwinder, ended)?;
        death.stack = (!frames.is_empty()).then(|| self.decoder.symbolizer().stack(pool, &frames));
        Ok(death)
    }

    /// Everything while the whole target stands still; decoding waits until it runs again.
    fn read_frozen(
        &mut self,
        options: &CaptureOptions,
        pool: &mut SymbolPool,
        warnings: &mut Warnings,
    ) -> Result<Read, CaptureError> {
        let (target, runtime, program) = (self.target.as_ref(), &self.runtime, &self.program);
        let plan = self.plan(options, &Arc::default());
        let still = Still::read(target, runtime, program, &plan, options.c_frames, warnings)?;
        let mut walk = Walk {
            target,
            plan: self.plan(options, &still.plan.checks),
            keep_dead: options.dead,
            decoder: &mut self.decoder,
            pool,
            warnings,
            collected: Collected::default(),
            unsettled: FxHashMap::default(),
            ending: FxHashSet::default(),
            curg: runtime.layout.m.curg.into(),
            places: FxHashMap::default(),
        };
        walk.decode_all(&still.chunks, &still.plan)?;
        walk.warn_of_given_up();
        let mut collected = walk.collected;
        let max_goid = max_goid(target, runtime, program)?;
        let follow = Follow { target, runtime, program, let_go: FxHashSet::default() };
        follow.all(&mut self.decoder, pool, &mut collected, max_goid, warnings)?;
        self.c_stacks.attach(target, &self.program, &still.in_c, &mut collected.goroutines, pool);
        collected.recorded.add_c_stacks(&collected.goroutines, pool);
        Ok(Read { clock: still.clock, state: still.state, collected, freeze: Some(still.info), death: None })
    }

    /// Where running goroutines were in a process whose threads all stand still for ever.
    fn stopped_for_good(&self, state: &SchedulerState) -> Result<FxHashMap<u64, Start>, ReadError> {
        let (target, layout) = (self.target.as_ref(), &self.runtime.layout);
        let text = &self.program.module.text;
        freeze::starts(
            target,
            |tid| target.registers(tid),
            &state.ms,
            &layout.g,
            &layout.gobuf,
            text,
            self.program.elf.arch(),
        )
    }

    /// Leaves with the recording that is being made, if one is, what it has to know of this capture.
    fn record(&self, read: &mut Read) -> Result<(), ReadError> {
        if self.target.recorder().is_none() {
            return Ok(());
        }
        self.read_new_ms(read)?;
        // It only grows, and must not be less than the id of a goroutine that was born since the scheduler
        // was read.
        let _ = max_goid(self.target.as_ref(), &self.runtime, &self.program)?;
        let recorded = std::mem::take(&mut read.collected.recorded);
        recorded.attach(self.target.as_ref(), &read.collected.consistency, read.freeze.as_ref());
        Ok(())
    }

    /// Reads the Ms that are younger than the list of Ms that was read, and of all the g0: whoever
    /// opens the recording checks its layout by them.
    fn read_new_ms(&self, read: &Read) -> Result<(), ReadError> {
        let (target, layout) = (self.target.as_ref(), &self.runtime.layout);
        let mut g0s: FxHashMap<Addr, u64> = read.state.ms.iter().map(|m| (m.addr, m.g0)).collect();
        for addr in read.collected.goroutines.iter().filter_map(|g| g.m) {
            if let Entry::Vacant(unknown) = g0s.entry(addr) {
                unknown.insert(freeze::read_m(target, addr, &layout.m)?.map_or(0, |m| m.g0));
            }
        }
        for g0 in g0s.into_values() {
            // Read for the record.
            let _ = target.read_u64(Addr(g0.wrapping_add(layout.g.m.into())))?;
        }
        Ok(())
    }

    fn target_info(&self, state: &SchedulerState, usage: Usage, resources: Resources, monotonic_ns: u64) -> TargetInfo {
        let process = self.target.process();
        let runtime = &self.runtime;
        TargetInfo {
            pid: process.pid,
            exe: process.exe.clone(),
            cmdline: process.cmdline.clone(),
            build_id: self.program.elf.go_build_id(),
            text: self.program.text_mapping(&process.exe),
            go_version: runtime.version.text.clone(),
            go_version_source: runtime.version_source.name(),
            arch: self.program.elf.arch().name(),
            module: self.program.build_info.as_ref().map(module_info).unwrap_or_default(),
            stripped: self.program.elf.section(".symtab").is_none(),
            gomaxprocs: state.gomaxprocs,
            os_threads: state.os_threads,
            uptime_ns: state.runtime_init_ns.map(|init| monotonic_ns.saturating_sub(init)),
            process_state: usage.state,
            cpu_ns: usage.cpu_ns,
            rss_bytes: usage.rss_bytes,
            resources,
        }
    }
}

/// Puts the live ones first, by id. A long list is cut in the middle, and its halves are sorted at the
/// same time.
fn sort(goroutines: &mut [Goroutine]) {
    /// Shorter ones are done before a thread has started.
    const LONG: usize = 1 << 15;
    let key = |g: &Goroutine| (g.status.is_dead(), g.id, g.addr);
    if goroutines.len() < LONG {
        goroutines.sort_unstable_by_key(key);
        return;
    }
    let (low, _, high) = goroutines.select_nth_unstable_by_key(goroutines.len() / 2, key);
    std::thread::scope(|scope| {
        scope.spawn(|| low.sort_unstable_by_key(key));
        high.sort_unstable_by_key(key);
    });
}

struct Read {
    clock: Clock,
    state: SchedulerState,
    collected: Collected,
    freeze: Option<FreezeInfo>,
    death: Option<Death>,
}

/// What the fields of goroutines can hold at the time of `now`.
pub(super) fn checks(
    target: &dyn Target,
    runtime: &GoRuntime,
    program: &Program,
    state: &SchedulerState,
    now: Clock,
) -> Result<Arc<Checks>, ReadError> {
    let max_goid = max_goid(target, runtime, program)?;
    Ok(Arc::new(Checks::new(state, runtime.wait_reasons.len(), max_goid, now.monotonic_ns, runtime.version.minor)))
}

/// The largest id of a goroutine that has been given out by now (`sched.goidgen`), where that is known.
fn max_goid(target: &dyn Target, runtime: &GoRuntime, program: &Program) -> Result<Option<u64>, ReadError> {
    let Some(sched) = runtime.symbols.addr(Global::Sched) else { return Ok(None) };
    let offset = runtime.layout.sched.goidgen.into();
    target.read_u64(Addr(program.bias.load(sched).0.wrapping_add(offset)))
}

fn module_info(info: &crate::image::build_info::BuildInfo) -> ModuleInfo {
    let setting = |key: &str| info.settings.get(key).cloned();
    ModuleInfo {
        package: info.package_path.clone(),
        path: info.main_path.clone(),
        version: info.main_version.clone(),
        vcs_revision: setting("vcs.revision"),
        vcs_time: setting("vcs.time"),
        vcs_modified: setting("vcs.modified").and_then(|text| text.parse().ok()),
        settings: info.settings.clone(),
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
