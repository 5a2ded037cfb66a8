//! An opened target: what is worked out once, and one capture after the other.

use std::collections::hash_map::Entry;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::allgs;
use super::blocked;
use super::death::{self, Threads};
use super::foreign::{self, CStacks};
use super::freeze::{self, FreezeMode};
use super::goroutines::{Collected, Decoder, Walk};
use super::labels::Follower;
use super::program::{Program, ProgramError};
use super::read::Plan;
use super::recording::Recorded;
use super::scheduler::{self, SchedulerState};
use super::symbolize::Symbolizer;
use super::time_of_death;
use super::unwind::{Start, Unwinder};
use crate::addr::Addr;
use crate::image::pclntab::Pclntab;
use crate::model::{
    Death, FreezeInfo, Goroutine, ModuleInfo, Reading, Snapshot, SymbolPool, TargetInfo, WarningCode, Warnings,
};
use crate::runtime::panics::{PanicLayout, read_panics};
use crate::runtime::symbols::Global;
use crate::runtime::values::Values;
use crate::runtime::{GoRuntime, LocateOptions, RuntimeError};
use crate::target::{
    Backend, Ended, FreezeWhich, ReadError, Shortcoming, Target, TargetError, TargetExt, Usage, unrecorded,
};

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
    pool: Arc<SymbolPool>,
}

/// Beyond this many frames of distinct stacks, a new capture starts with nothing remembered, so that
/// a session that goes on for days does not grow without end.
const MAX_REMEMBERED: usize = 8 << 20;

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
        Ok(Self { target, program, runtime, decoder, c_stacks: CStacks::default(), pool: Arc::default() })
    }

    fn decoder(program: &Program, runtime: &GoRuntime) -> Decoder {
        let minor = runtime.version.minor;
        let unwinder = Unwinder::new(Arc::clone(&program.pclntab), program.bias, program.elf.arch(), minor);
        let symbolizer = Symbolizer::new(Arc::clone(&program.pclntab), program.bias, minor);
        Decoder::new(unwinder, symbolizer, runtime.wait_reasons.len())
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

    /// Reads the target once.
    ///
    /// # Errors
    /// When it has ended, cannot be read any more, or cannot be stopped though that was asked for.
    pub fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, CaptureError> {
        let started = Instant::now();
        let stats = self.target.stats();
        // A process that was stopped before is for a moment not, right after a freeze.
        let usage = self.target.usage();
        if self.decoder.remembered() > MAX_REMEMBERED {
            self.pool = Arc::default();
            self.decoder = Self::decoder(&self.program, &self.runtime);
        }
        let mut warnings = self.runtime.warnings.clone();
        let mut pool = std::mem::take(&mut self.pool);
        let result = self.read(options, Arc::make_mut(&mut pool), &mut warnings);
        self.pool = pool;
        let mut read = result?;
        let mut clock = read.clock;
        let mut both_clocks = clock;
        if clock.monotonic_ns == 0 {
            let (init, goroutines) = (read.state.runtime_init_ns, &read.collected.goroutines);
            both_clocks = time_of_death::both_clocks(self.target.as_ref(), &self.runtime, &self.program)?;
            clock.monotonic_ns =
                time_of_death::at_least(self.target.as_ref(), &self.runtime, &self.program, init, goroutines)?;
            let message =
                "the core file does not tell when the process died: uptime and ages are at least what is said";
            warnings.add(WarningCode::ClockUnknown, message);
        }
        self.record(&mut read)?;
        for shortcoming in self.target.shortcomings() {
            match shortcoming {
                Shortcoming::Missing(text) => warnings.add(WarningCode::Truncated, text),
                Shortcoming::Unproven(text) => warnings.add(WarningCode::ImageOdd, text),
            }
        }
        if self.target.backend() == Backend::ProcMem {
            warnings.add(WarningCode::FallbackBackend, "process_vm_readv was refused; /proc/PID/mem is used instead");
        }
        let after = self.target.stats();
        let target = self.target_info(&read.state, usage, clock.monotonic_ns);
        let mut goroutines = read.collected.goroutines;
        blocked::set(&mut goroutines, read.state.gc.as_ref(), both_clocks);
        sort(&mut goroutines);
        Ok(Snapshot {
            captured_at_unix_ns: clock.unix_ns,
            monotonic_ns: clock.monotonic_ns,
            target,
            reading: Reading {
                backend: self.target.backend().name(),
                duration_ns: u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX),
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
            symbols: Arc::clone(&self.pool),
            warnings,
        })
    }

    fn plan(&self, options: &CaptureOptions) -> Plan {
        let layout = &self.runtime.layout;
        Plan {
            g: layout.g,
            gobuf: layout.gobuf,
            syscalltick: layout.m.syscalltick.into(),
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
        let mut plan = self.plan(options);
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
        };
        walk.run(&addrs)?;
        let mut freeze = recorded.as_ref().and_then(Recorded::freeze);
        walk.collected.consistency.retried += recorded.as_ref().map_or(0, Recorded::retried);
        if options.freeze == Some(FreezeMode::Running) {
            freeze = Some(freeze::stop_running(&mut walk, &self.runtime, &self.program, &state)?);
        }
        let mut collected = walk.collected;
        follow(self.target.as_ref(), &self.runtime, &self.program, &mut self.decoder, pool, &mut collected)?;
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
        /// Stacks longer than this are finished when the target runs again.
        const FROZEN_WINDOW: usize = 1 << 20;
        let target = self.target.as_ref();
        let layout = &self.runtime.layout;
        let mut info = FreezeInfo { whole_program: true, stopped_ns: 0, threads: 0 };
        let threads = target.threads()?;
        // Once before the stop, and into the same memory: what the kernel has to find and make for it
        // takes longer than the copying.
        let mut chunks = Vec::new();
        let plan = Plan { validate: false, window: FROZEN_WINDOW, ..self.plan(options) };
        let addrs = allgs::read(unrecorded(target), &self.runtime, &self.program, &mut Warnings::default())?;
        Walk::read_all(target, &plan, &addrs, &mut chunks)?;
        let frozen = target.freeze(&FreezeWhich::All)?;
        let clock = target.clock();
        let state = scheduler::read(target, &self.runtime, &self.program, &threads, warnings)?;
        let addrs = allgs::read(target, &self.runtime, &self.program, warnings)?;
        let stopped = freeze::starts(
            target,
            |tid| frozen.registers(tid),
            &state.ms,
            &layout.g,
            &layout.gobuf,
            &self.program.module.text,
            self.program.elf.arch(),
        )?;
        let plan = Plan { stopped: Arc::new(stopped), ..plan };
        Walk::read_all(target, &plan, &addrs, &mut chunks)?;
        let in_c = match options.c_frames {
            true => foreign::read(target, self.program.elf.arch(), layout, &state.ms, Some(frozen.as_ref()), warnings)?,
            false => Vec::new(),
        };
        let threads = frozen.threads().len();
        freeze::note(&mut info, frozen.resume(), threads);
        let mut walk = Walk {
            target,
            plan: self.plan(options),
            keep_dead: options.dead,
            decoder: &mut self.decoder,
            pool,
            warnings,
            collected: Collected::default(),
            unsettled: FxHashMap::default(),
        };
        walk.decode_all(&chunks, &plan)?;
        let mut collected = walk.collected;
        follow(target, &self.runtime, &self.program, &mut self.decoder, pool, &mut collected)?;
        self.c_stacks.attach(target, &self.program, &in_c, &mut collected.goroutines, pool);
        collected.recorded.add_c_stacks(&collected.goroutines, pool);
        Ok(Read { clock, state, collected, freeze: Some(info), death: None })
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
        if let Some(sched) = self.runtime.symbols.addr(Global::Sched) {
            // It only grows, and must not be less than the id of a goroutine that was born since the
            // scheduler was read.
            let offset = self.runtime.layout.sched.goidgen.into();
            let _ = self.target.read_u64(Addr(self.program.bias.load(sched).0.wrapping_add(offset)))?;
        }
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

    fn target_info(&self, state: &SchedulerState, usage: Usage, monotonic_ns: u64) -> TargetInfo {
        let process = self.target.process();
        let runtime = &self.runtime;
        TargetInfo {
            pid: process.pid,
            exe: process.exe.clone(),
            cmdline: process.cmdline.clone(),
            build_id: self.program.elf.go_build_id(),
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
    clock: crate::target::Clock,
    state: SchedulerState,
    collected: Collected,
    freeze: Option<FreezeInfo>,
    death: Option<Death>,
}

/// Labels, bubbles, ancestors and panics.
fn follow(
    target: &dyn Target,
    runtime: &GoRuntime,
    program: &Program,
    decoder: &mut Decoder,
    pool: &mut SymbolPool,
    collected: &mut Collected,
) -> Result<(), ReadError> {
    let minor = runtime.version.minor;
    let bubble_id = runtime.layout.table.offset("runtime.synctestBubble", "id");
    let mut follower = Follower::new(target, minor);
    let values = death::values(target, runtime, program);
    for extra in std::mem::take(&mut collected.extras) {
        let Some(goroutine) = collected.goroutines.get_mut(extra.index) else { continue };
        if extra.labels != 0 {
            goroutine.labels = follower.labels(extra.labels, pool)?;
        }
        if let (true, Some(offset)) = (extra.bubble != 0, bubble_id) {
            goroutine.bubble = follower.bubble(extra.bubble, offset)?.and_then(NonZeroU64::new);
        }
        if let (true, Some(layout), Some(values)) = (extra.panic != 0, &runtime.layout.panic, &values) {
            let value = in_flight(target, extra.panic, layout, values)?;
            goroutine.panic = value.map(|text| pool.intern_str(&text));
        }
        if extra.ancestors != 0 {
            goroutine.ancestors = follower.ancestors(extra.ancestors, decoder.symbolizer(), pool)?;
        }
    }
    Ok(())
}

/// The value of a goroutine's newest panic, as long as that is not recovered. Its deferred functions
/// may still be running, and so it is the value itself rather than its text.
fn in_flight(
    target: &dyn Target,
    first: u64,
    layout: &PanicLayout,
    values: &Values<'_>,
) -> Result<Option<String>, ReadError> {
    let (chain, _) = read_panics(target, first, layout)?;
    let newest = chain.iter().find(|panic| !panic.deferreturn);
    let Some(panic) = newest.filter(|panic| !panic.goexit && !panic.recovered) else { return Ok(None) };
    let text = match values.error_text(panic.arg)? {
        Some(text) => text,
        None => values.panic_value(panic.arg)?.text,
    };
    Ok(Some(text))
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
