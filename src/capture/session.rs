//! An opened target: what is worked out once, and any number of captures.

mod reading;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::reading::Read;
use super::alongside::Alongside;
use super::arguments::ArgumentReader;
use super::at_rest::{LastRead, Rest};
use super::blocked::Stamps;
use super::decode::Decoder;
use super::errors::{CaptureError, OpenError};
use super::foreign::CStacks;
use super::goroutines::Collected;
use super::kept::{Kept, Renewed};
use super::listed::Listed;
use super::not_in_go::Looks;
use super::options::{CaptureOptions, OpenOptions};
use super::parameters::{ParameterCache, read_strings, read_types};
use super::read::Chunk;
use super::symbolize::Symbolizer;
use super::target_info::target_info;
use super::unwind::Unwinder;
use super::waits::WaitMemory;
use super::waits::describe::describe;
use super::{allgs, core_clock, fields, listed};
use crate::addr::Addr;
use crate::image::pclntab::Pclntab;
use crate::model::{
    Goroutine, ObjectAddr, Reading, RuntimeMetrics, Shared, Snapshot, SymbolPool, WarningCode, Warnings,
};
use crate::process::{Backend, Clock, Limitation, ReadError, Target, Usage};
use crate::runtime::program::Program;
use crate::runtime::readers::debug_settings::{TRACEBACK_LABELS, read_setting};
use crate::runtime::readers::metrics::{KnownPs, read_metrics};
use crate::runtime::{GoProcess, GoRuntime, LocateOptions};

/// A target with everything that does not change from one capture to the next.
pub struct Session {
    opened: Opened,
    decoder: Decoder,
    c_stacks: CStacks,
    parameters: ParameterCache,
    pool: SymbolPool,
    /// Stacks that the next capture may keep; those of `decoder`.
    kept: Arc<Kept>,
    /// The latest snapshot, where the program was at rest before it was read and stacks are kept.
    last: Option<LastRead>,
    /// The list of goroutines that the next capture may make its own of.
    listed: Listed,
    /// The addresses of gs, as they were read last.
    gs: allgs::Known,
    /// The Ps, as [`Session::metrics`] found them last.
    ps: Option<KnownPs>,
    /// Memory for reading goroutines.
    chunks: Vec<Chunk>,
    /// Memory that the pool may take, bytes; see [`MAX_POOL`].
    max_pool: usize,
    /// The interval over which the program's CPU use is measured.
    cpu_interval: Duration,
    stamps: Stamps,
}

/// What a session was opened on, apart from what captures change.
struct Opened {
    target: Box<dyn Target>,
    program: Program,
    runtime: GoRuntime,
}

impl Opened {
    fn process(&self) -> GoProcess<'_> {
        GoProcess { target: self.target.as_ref(), program: &self.program, runtime: &self.runtime }
    }
}

/// Beyond this many frames of distinct stacks, a new capture starts with nothing remembered, so that a
/// session of days does not grow without limit.
const MAX_REMEMBERED: usize = 8 << 20;
/// Likewise beyond this much memory for texts, labels and stacks, bytes. A snapshot that is kept holds
/// what it needs of the pool before.
const MAX_POOL: usize = 512 << 20;

impl Session {
    /// Finds the Go program in `target` and works out where its runtime keeps things.
    ///
    /// # Errors
    /// When it is not a Go program, or one that cannot be read.
    pub fn open(target: Box<dyn Target>, options: &OpenOptions) -> Result<Self, OpenError> {
        let mut program = Program::find(target.as_ref(), options.bin.as_deref())?;
        let options = LocateOptions { thorough: options.thorough };
        let runtime = GoRuntime::locate(target.as_ref(), &program, &options)?;
        let header = *program.pclntab.header();
        let text = program.bias.unload(Addr(program.module.text.start));
        let mut pclntab = Pclntab::new(Arc::clone(&program.elf), header, text);
        if let Some(gofunc) =
            runtime.layout.moduledata.as_ref().and_then(|moduledata| program.module.word(moduledata.gofunc))
        {
            pclntab = pclntab.with_gofunc(program.bias.unload(Addr(gofunc)));
        }
        program.pclntab = Arc::new(pclntab);
        let decoder = Self::decoder(&program, &runtime);
        let (c_stacks, parameters, pool) = (CStacks::default(), ParameterCache::default(), SymbolPool::default());
        let opened = Opened { target, program, runtime };
        let (stamps, kept) = (Stamps::default(), Arc::default());
        let cpu_interval = Duration::ZERO;
        let (last, listed, gs, ps, chunks, max_pool) =
            (None, Listed::default(), allgs::Known::default(), None, Vec::new(), MAX_POOL);
        Ok(Self {
            opened,
            decoder,
            c_stacks,
            parameters,
            pool,
            kept,
            last,
            listed,
            gs,
            ps,
            chunks,
            max_pool,
            cpu_interval,
            stamps,
        })
    }

    fn decoder(program: &Program, runtime: &GoRuntime) -> Decoder {
        let rules = runtime.rules();
        let arch = program.elf.arch();
        let unwinder = Unwinder::new(Arc::clone(&program.pclntab), program.bias, arch, rules);
        let arguments = ArgumentReader::new(Arc::clone(&program.pclntab), program.bias, arch, rules);
        let symbolizer = Symbolizer::new(Arc::clone(&program.pclntab), program.bias, rules);
        let waits = WaitMemory::new();
        Decoder::new(unwinder, symbolizer, arguments, runtime.wait_reasons.len(), runtime.layout.panic, rules, waits)
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> &dyn Target {
        self.opened.target.as_ref()
    }

    /// What readers of its runtime need.
    #[must_use]
    pub fn process(&self) -> GoProcess<'_> {
        self.opened.process()
    }

    /// Its runtime.
    #[must_use]
    pub fn runtime(&self) -> &GoRuntime {
        &self.opened.runtime
    }

    /// The figures of its runtime that monitoring asks for; no goroutine is read for them.
    ///
    /// # Errors
    /// When the target has ended or cannot be read any more.
    pub fn metrics(&mut self) -> Result<RuntimeMetrics, ReadError> {
        read_metrics(self.opened.process(), &mut self.ps)
    }

    /// Gives up the parts of the program's file that opening has read and keeps: more than half a megabyte. What is
    /// needed again is read again.
    pub fn forget_file(&self) {
        self.opened.program.elf.bytes().forget();
    }

    /// What sampling takes: the process, and what decodes and keeps.
    pub(super) fn parts(&mut self) -> (GoProcess<'_>, &mut Decoder, &mut CStacks, &mut SymbolPool) {
        (self.opened.process(), &mut self.decoder, &mut self.c_stacks, &mut self.pool)
    }

    /// From now on, a capture takes long enough to measure the program's CPU use over an interval of `least`,
    /// which begins with the previous capture, or with the opening of the target. By default it does not
    /// wait, and the CPU use is unknown when captures follow each other too fast.
    pub fn measure_cpu(&mut self, least: Duration) {
        self.cpu_interval = least;
    }

    /// From now on, captures that keep stacks read those of these goroutines each time, unless they are proven to be the
    /// same. They are named by the addresses of their gs.
    pub fn attend(&mut self, goroutines: &[ObjectAddr]) {
        Arc::make_mut(&mut self.kept).attend(goroutines);
    }

    /// The next capture that keeps stacks reads all of them, so that the one after it has them to keep.
    pub fn renew(&mut self) {
        Arc::make_mut(&mut self.kept).renew(Renewed::All);
        self.last = None;
    }

    /// Reads the target once.
    ///
    /// # Errors
    /// When it has ended, cannot be read any more, or could not be stopped as requested.
    pub fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, CaptureError> {
        self.capture_with(options, None)
    }

    /// The same, and reads something else in the same stop.
    ///
    /// # Errors
    /// As [`Session::capture`], and those of `also`.
    pub(crate) fn capture_with(
        &mut self,
        options: &CaptureOptions,
        also: Option<&mut (dyn Alongside + '_)>,
    ) -> Result<Snapshot, CaptureError> {
        // A process that was stopped before briefly runs right after a freeze.
        let usage = self.opened.target.usage();
        // A stop must not be a part of the interval; anything else is what the wait is used for.
        let before = options.freeze.is_some().then(|| self.opened.target.resources(self.cpu_interval));
        let started = Instant::now();
        let stats = self.opened.target.stats();
        if self.decoder.remembered() > MAX_REMEMBERED || self.pool.bytes() > self.max_pool {
            self.pool = SymbolPool::default();
            self.decoder = Self::decoder(&self.opened.program, &self.opened.runtime);
            self.kept = Arc::default();
            self.last = None;
            self.listed.forget();
        }
        let rest = self.rest(options)?;
        let last = self.last.as_ref().zip(rest.as_ref()).filter(|(last, rest)| last.rests_on(rest, options));
        let rests_on = last.is_some();
        if let Some((last, _)) = last.filter(|_| also.is_none()) {
            if last.is_certain() {
                if let Some(snapshot) = self.unchanged(usage, started)? {
                    return Ok(snapshot);
                }
            } else if last.rests_on_one_before() {
                // Once, so that nothing is doubtful from then on.
                Arc::make_mut(&mut self.kept).renew(Renewed::Unproven);
            }
        }
        self.decoder.waits().seeds.ask(options.waits, &self.opened.runtime.wait_reasons);
        let mut warnings = self.opened.runtime.warnings.clone();
        let mut pool = std::mem::take(&mut self.pool);
        self.decoder.want_traceback(options.traceback);
        let result = self.read(options, &mut pool, &mut warnings, also);
        let mut traceback = self.decoder.take_traceback();
        self.pool = pool;
        let mut read = result?;
        if self.opened.target.is_replaced() {
            // Nothing failed, but what was read may be from either program.
            return Err(ReadError::Gone { pid: self.opened.target.process().pid }.into());
        }
        let duration = started.elapsed();
        let resources = before.unwrap_or_else(|| self.opened.target.resources(self.cpu_interval));
        let mut clock = read.clock;
        let mut both_clocks = clock;
        if clock.monotonic_ns == 0 {
            let (init, goroutines) = (read.state.runtime_init_ns, &read.collected.goroutines);
            both_clocks = core_clock::both_clocks(self.process())?;
            clock.monotonic_ns = core_clock::at_least(self.process(), init, goroutines)?;
            let message = "the core file does not record when the process died: uptime and ages are lower bounds";
            warnings.add(WarningCode::ClockUnknown, message);
        }
        self.record(&mut read)?;
        for limitation in self.opened.target.limitations() {
            match limitation {
                Limitation::Missing(text) => warnings.add(WarningCode::Truncated, text),
                Limitation::Unproven(text) => warnings.add(WarningCode::ImageMalformed, text),
            }
        }
        if self.opened.target.backend() == Backend::ProcMem {
            warnings.add(WarningCode::FallbackBackend, "process_vm_readv was refused; /proc/PID/mem is used instead");
        }
        if let Some(details) = &mut traceback
            && self.process().rules().prints_labels()
            && read.collected.goroutines.iter().any(|goroutine| goroutine.labels.is_some())
        {
            details.labels = read_setting(self.process(), TRACEBACK_LABELS)? == Some(1);
        }
        if let Some(details) = traceback.as_mut().filter(|_| options.values) {
            let goroutines = &read.collected.goroutines;
            details.parameters = self.parameters.of(self.opened.process(), goroutines, &self.pool, &mut warnings);
            details.types = read_types(self.process(), goroutines, &self.pool, details)?;
            if options.strings {
                details.strings = read_strings(self.opened.target.as_ref(), goroutines, &self.pool, details)?;
            }
        }
        let after = self.opened.target.stats();
        let target = target_info(self.process(), &read.state, usage, resources, clock.monotonic_ns);
        let goroutines = self.list(&mut read, options, both_clocks, &mut warnings);
        let snapshot = Snapshot {
            captured_at_unix_ns: clock.unix_ns,
            monotonic_ns: clock.monotonic_ns,
            unchanged_since_ns: None,
            target,
            reading: Reading {
                backend: self.opened.target.backend().name(),
                duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
                syscalls: after.syscalls.saturating_sub(stats.syscalls),
                bytes: after.bytes.saturating_sub(stats.bytes),
                freeze: read.freeze,
                consistency: read.collected.consistency,
                stacks: Some(read.stacks),
                layout: self.opened.runtime.layout_source.to_string(),
                provenance: self.opened.runtime.symbols.provenance(),
            },
            sched: read.state.sched,
            heap: read.state.heap,
            gc: read.state.gc,
            processors: read.state.processors,
            threads: read.state.threads,
            goroutines,
            dead_goroutines: read.collected.dead,
            wait_reasons: self.opened.runtime.wait_reasons.clone(),
            waits: read.waits,
            not_in_go: read.not_in_go,
            descriptors: read.descriptors,
            watched: Default::default(),
            traceback,
            death: read.death,
            symbols: Arc::new(self.pool.view()),
            warnings,
        };
        self.last = rest.and_then(|rest| LastRead::new((rest, rests_on), *options, &snapshot, read.state.ms, read.fds));
        Ok(snapshot)
    }

    /// The goroutines of a capture, in order. Those that are as they were are taken from the list before.
    fn list(
        &mut self,
        read: &mut Read,
        options: &CaptureOptions,
        clock: Clock,
        warnings: &mut Warnings,
    ) -> Shared<Goroutine> {
        let Collected { goroutines, listed, .. } = &mut read.collected;
        let (mut changed, as_before, gc) = (std::mem::take(goroutines), std::mem::take(listed), read.state.gc.as_ref());
        let (list, is_checked) = if self.kept.uses_list() && read.keeps {
            let found = listed::Found { changed, as_before };
            self.listed.next(found, Arc::make_mut(&mut self.kept), (&mut self.stamps, gc, clock))
        } else {
            self.stamps.set(&mut changed, gc, clock);
            listed::sort(&mut changed);
            let list = match read.keeps {
                true => self.listed.begin(changed, options, Arc::make_mut(&mut self.kept)),
                false => changed.into(),
            };
            (list, false)
        };
        let before = warnings.clone();
        if !is_checked {
            fields::warn_of_twins(&list, warnings);
        }
        if read.keeps && (read.warned || *warnings != before) {
            // What was said of some of them is to be said each time.
            self.listed.forget();
        }
        list
    }

    /// Whether the program is at rest, where that can save reading it.
    fn rest(&self, options: &CaptureOptions) -> Result<Option<Rest>, ReadError> {
        if self.keeps_stacks(options) { Rest::of(self.process()) } else { Ok(None) }
    }

    /// The latest snapshot at another time, where nothing has run since; `None` where a clock was set.
    fn unchanged(&mut self, usage: Usage, started: Instant) -> Result<Option<Snapshot>, CaptureError> {
        let stats = self.opened.target.stats();
        let clock = self.opened.target.clock();
        let Some(last) = &self.last else { return Ok(None) };
        let Some(mut snapshot) = last.at(clock) else { return Ok(None) };
        // What is not the program's own changes all the same.
        if last.has_descriptors() {
            let looks = Looks::read(self.opened.process(), &last.ms, &last.fds)?;
            describe(snapshot.waits.objects_mut(), &looks.descriptors);
            let (process, goroutines) = (self.opened.process(), &snapshot.goroutines);
            snapshot.not_in_go = looks.attach(process, goroutines, &mut self.c_stacks, &mut self.pool);
            snapshot.descriptors = looks.descriptors;
            snapshot.symbols = Arc::new(self.pool.view());
        }
        if self.opened.target.is_replaced() {
            return Err(ReadError::Gone { pid: self.opened.target.process().pid }.into());
        }
        let resources = self.opened.target.resources(self.cpu_interval);
        snapshot.target.set_use(usage, resources);
        let after = self.opened.target.stats();
        snapshot.reading.duration_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        snapshot.reading.syscalls = after.syscalls.saturating_sub(stats.syscalls);
        snapshot.reading.bytes = after.bytes.saturating_sub(stats.bytes);
        Ok(Some(snapshot))
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "session_kept_tests.rs"]
mod kept_tests;
