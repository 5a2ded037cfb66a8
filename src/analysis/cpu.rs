//! What a program did while it used CPUs: samples, added up.
//!
//! Each sample stands for one period of CPU time of its thread, so shares are those of CPU time, and shares of few
//! samples are uncertain ([`CpuRecording::error_of`]).

use std::sync::Arc;

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::{Filter, Index};
use crate::addr::Addr;
use crate::go_names::is_system_start;
use crate::model::{
    CpuClockStats, CpuSample, CpuSamples, Frame, FrameId, Goid, Goroutine, Language, SampledLabels, Snapshot, Stack,
    StackFrame, StackId, StackState, Status, SymbolPool, TargetInfo,
};
use crate::process::Tid;

/// What samples have in common that are added up. Ids are those of [`CpuRecording::symbols`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OnCpu {
    /// Their stack.
    pub stack: StackId,
    /// Whether the thread was in the kernel, for what the stack shows.
    pub kernel: bool,
    /// The thread's id in its own pid namespace; `None` for many.
    pub thread: Option<Tid>,
    /// The goroutine, where that is certain.
    pub goroutine: Option<Goid>,
    /// Its labels.
    pub labels: SampledLabels,
}

/// How sampling went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuRecordingStats {
    /// Samples, those that were counted in the kernel included.
    pub samples: u64,
    /// Of them, those whose outermost callers are unknown.
    pub incomplete: u64,
    /// Of them, those whose goroutine is not certain, or that ran none.
    pub no_goroutine: u64,
    /// Of them, those in the kernel.
    pub kernel: u64,
    /// From the start to the end, ns.
    pub duration_ns: u64,
    /// When it started, ns since the Unix epoch.
    pub started_unix_ns: u64,
    /// What the kernel said.
    pub clocks: CpuClockStats,
}

/// Samples of what one program did on CPUs, added up.
#[derive(Debug, Default)]
pub struct CpuRecording {
    spent: IndexMap<OnCpu, u64, FxBuildHasher>,
    symbols: SymbolPool,
    /// The program before the first sample.
    before: Option<Snapshot>,
    stats: CpuRecordingStats,
}

/// Beyond as many, threads and goroutines are not told apart any more, so that recordings of days do not grow
/// without limit.
const MAX_KEPT: usize = 1 << 20;
/// Time in the kernel of which nothing is known but that it was used.
const KERNEL: &str = "[kernel]";

impl CpuRecording {
    /// Adds samples. All have to be of one run of the program.
    pub fn add(&mut self, more: &CpuSamples<'_>) {
        if self.before.is_none() {
            self.before = Some(more.before.clone());
            self.stats.started_unix_ns = more.before.captured_at_unix_ns;
        }
        self.stats.clocks = more.stats;
        for sample in more.samples {
            self.add_one(sample);
        }
        if !more.samples.is_empty() {
            self.symbols = more.symbols.view();
        }
    }

    fn add_one(&mut self, sample: &CpuSample) {
        let &CpuSample { thread, kernel, stack, complete, goroutine, labels } = sample;
        let mut key = OnCpu { stack, kernel, thread: Some(thread), goroutine, labels };
        if self.spent.len() >= MAX_KEPT && !self.spent.contains_key(&key) {
            (key.thread, key.goroutine) = (None, None);
        }
        let count = self.spent.entry(key).or_default();
        *count = count.saturating_add(1);
        let stats = &mut self.stats;
        for (counter, is_one) in [
            (&mut stats.samples, true),
            (&mut stats.incomplete, !complete),
            (&mut stats.no_goroutine, goroutine.is_none()),
            (&mut stats.kernel, kernel),
        ] {
            *counter = counter.saturating_add(is_one.into());
        }
    }

    /// Ends it after `duration_ns`. Time in the kernel that could only be counted becomes a stack of its own.
    pub fn end(&mut self, duration_ns: u64) {
        self.stats.duration_ns = duration_ns;
        let in_kernel = std::mem::take(&mut self.stats.clocks.kernel_samples);
        if in_kernel == 0 {
            return;
        }
        let (function, file) = (self.symbols.intern_str(KERNEL), self.symbols.intern_str(""));
        let frame = self.symbols.intern_frame(Frame {
            function,
            file,
            line: 0,
            start_line: 0,
            pc: Addr(0),
            entry: Addr(0),
            inlined: false,
            language: Language::Foreign,
        });
        let frames = vec![StackFrame { frame, sp_offset: 0, fp_offset: 0, hidden: false }];
        let stack = self.symbols.intern_stack(Stack { frames });
        let labels = SampledLabels::Unknown;
        // The frame says that it is the kernel.
        let key = OnCpu { stack, kernel: false, thread: None, goroutine: None, labels };
        self.spent.insert(key, in_kernel);
        for counter in [&mut self.stats.samples, &mut self.stats.kernel, &mut self.stats.no_goroutine] {
            *counter = counter.saturating_add(in_kernel);
        }
    }

    /// Keeps only what matches: stacks, labels and ids are looked at as those of running goroutines.
    pub fn retain(&mut self, filter: &Filter) {
        let Some(mut snapshot) = self.before.clone() else { return };
        snapshot.symbols = Arc::new(self.symbols.view());
        let goroutines: Vec<Goroutine> = self.spent.keys().map(|key| running(&self.symbols, key)).collect();
        let index = Index::new(&snapshot);
        let mut matcher = filter.matcher(&index);
        let mut matching = goroutines.iter().map(|goroutine| matcher.matches(goroutine));
        self.spent.retain(|_, _| matching.next().unwrap_or_default());
    }

    /// How it went.
    #[must_use]
    pub fn stats(&self) -> CpuRecordingStats {
        self.stats
    }

    /// The program; `None` before anything was sampled.
    #[must_use]
    pub fn target(&self) -> Option<&TargetInfo> {
        self.before.as_ref().map(|before| &before.target)
    }

    /// Names, stacks and labels.
    #[must_use]
    pub fn symbols(&self) -> &SymbolPool {
        &self.symbols
    }

    /// What was done, with how many samples, in the order in which it was first seen.
    pub fn spent(&self) -> impl Iterator<Item = (&OnCpu, u64)> {
        self.spent.iter().map(|(on_cpu, &samples)| (on_cpu, samples))
    }

    /// CPU time that samples stand for, ns.
    #[must_use]
    pub fn time_of(&self, samples: u64) -> u64 {
        samples.saturating_mul(self.stats.clocks.period_ns)
    }

    /// How far a share may be from the true one, in 19 of 20 cases: that of a sample of this size.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn error_of(&self, share: f64) -> f64 {
        const STANDARD_ERRORS: f64 = 1.96;
        STANDARD_ERRORS * (share * (1.0 - share) / (self.stats.samples.max(1) as f64)).sqrt()
    }
}

/// What a filter sees: a running goroutine with that stack.
fn running(symbols: &SymbolPool, key: &OnCpu) -> Goroutine {
    let frames = symbols.stack(key.stack).map_or(&[][..], |stack| &stack.frames);
    let function = |id: FrameId| symbols.function(id);
    let outermost = frames.iter().rev().map(|frame| frame.frame).find(|&id| function(id) != "runtime.goexit");
    let labels = match key.labels {
        SampledLabels::Known(labels) => labels,
        SampledLabels::Unknown => None,
    };
    Goroutine {
        id: key.goroutine.unwrap_or_default(),
        addr: Addr(0),
        status: Status::Running,
        scan: false,
        wait_reason: None,
        waiting_on: None,
        wait_since_ns: None,
        blocked_before_ns: None,
        run_seq: None,
        m: None,
        parent: None,
        creator: None,
        start: outermost,
        innermost: frames.first().map(|frame| frame.frame),
        current: frames.iter().find(|frame| !frame.hidden).map(|frame| frame.frame),
        stack: StackState::Known(key.stack),
        stack_since_ns: None,
        stack_is_proven: false,
        foreign: None,
        sp: Addr(0),
        stack_lo: Addr(0),
        stack_hi: Addr(0),
        panic: None,
        labels,
        bubble: None,
        system: outermost.is_some_and(|id| is_system_start(function(id))),
        locked: false,
        ancestors: None,
    }
}
