//! `gospy record --ring`: the latest minutes in memory, written when something gives cause.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGUSR1;

use super::super::capture::numbered;
use super::super::files::report_file;
use super::super::record_args::{RecordArgs, when};
use super::super::rules::{self, Measured};
use super::super::{Exit, Failure};
use super::outputs::{describe, not_written};
use crate::analysis::Census;
use crate::analysis::check::{Judge, Level, Rules};
use crate::analysis::series::Observed;
use crate::archive::{Recorder, Ring};
use crate::model::{Shared, Snapshot, SymbolPool};
use crate::new_file::Goal;
use crate::report::check::summary;
use crate::report::units::{bytes, counted, duration};

/// Most memory that the samples take, bytes.
const MOST_BYTES: usize = 256 << 20;
/// Names of the samples that were judged are forgotten beyond that, bytes.
const MOST_NAMES: usize = 64 << 20;

/// The latest minutes.
pub(super) struct Kept {
    goal: Goal,
    recorder: Recorder<Ring>,
    rules: Rules,
    pool: SymbolPool,
    first: Option<Snapshot>,
    /// Set by SIGUSR1.
    asked: Arc<AtomicBool>,
    written: u32,
    output: PathBuf,
}

/// What is to be done after a sample.
pub(super) enum Next {
    /// The next one.
    Record,
    /// It was written, and recording goes on; what to say of that.
    Wrote(String),
    /// A rule has failed, and it was written; what to say of that.
    Failed(String),
}

impl Kept {
    /// Understands what was typed; nothing is read yet.
    pub(super) fn new(arguments: &RecordArgs, keep_ns: u64) -> Result<Self, Failure> {
        let usage = |message: String| Failure::new(Exit::Usage, message);
        let output: PathBuf = arguments.output.output.clone().unwrap_or_default();
        let typed = when(&arguments.when).map_err(|error| usage(format!("--when: {error}")))?;
        let rules = rules::rules(&typed, Measured { baseline: false, watched: false, repeated: false })?;
        if rules.rules.is_empty() && !arguments.when.is_empty() {
            return Err(usage("--when: allow= is no rule: give one that can fail".to_owned()));
        }
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR1, Arc::clone(&asked))
            .map_err(|error| Failure::new(Exit::Error, format!("signals cannot be handled: {error}")))?;
        Ok(Self {
            goal: report_file("--output", &output)?,
            recorder: Recorder::new(Ring::new(keep_ns, MOST_BYTES), Ring::whole_every_ns(keep_ns)),
            rules,
            pool: SymbolPool::default(),
            first: None,
            asked,
            written: 0,
            output,
        })
    }

    /// Adds a sample, and writes all if it gives cause.
    pub(super) fn add(&mut self, observed: &Observed) -> Result<Next, Failure> {
        let snapshot = observed.snapshot();
        self.first.get_or_insert_with(|| Snapshot { goroutines: Shared::default(), ..snapshot.clone() });
        self.recorder.add(snapshot).map_err(|error| not_written(&self.goal, &error))?;
        if let Some(failed) = self.judge(observed) {
            return self.write(&failed).map(Next::Failed);
        }
        if self.asked.swap(false, Ordering::Relaxed) {
            return self.write("SIGUSR1").map(Next::Wrote);
        }
        Ok(Next::Record)
    }

    /// Set while someone asks for what there is, by a signal.
    pub(super) fn asked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.asked)
    }

    /// Which rule fails, in words.
    fn judge(&mut self, observed: &Observed) -> Option<String> {
        if self.rules.rules.is_empty() {
            return None;
        }
        if self.pool.bytes() > MOST_NAMES {
            self.pool = SymbolPool::default();
        }
        let census = Census::of_index(&observed.index(), String::new(), &mut self.pool);
        let mut judge = Judge::new(&self.rules, Level::of([&census]));
        judge.look(&census, None, &mut self.pool);
        let verdicts = judge.verdicts();
        verdicts.iter().find(|verdict| verdict.fails()).map(summary)
    }

    /// Writes all that is kept; gives what to say of that.
    pub(super) fn write(&mut self, reason: &str) -> Result<String, Failure> {
        self.recorder.flush().map_err(|error| not_written(&self.goal, &error))?;
        let Some(first) = &self.first else {
            return Err(Failure::new(Exit::Error, format!("{reason}: there was no sample to write")));
        };
        let mut description = describe(first);
        description.reason = Some(reason.to_owned());
        let ring = self.recorder.out();
        // What was asked for earlier stays.
        self.written = self.written.saturating_add(1);
        if self.written > 1 {
            self.goal = report_file("--output", &numbered(&self.output, self.written, 1))?;
        }
        self.goal.write(|out| ring.write(out, &description))?;
        let short = if ring.is_short() { ", all that there was room for" } else { "" };
        Ok(format!(
            "{reason}: wrote {} over {} ({}) to {}{short}",
            counted(ring.samples(), "sample", "samples"),
            duration(ring.span_ns()),
            bytes(u64::try_from(ring.size()).unwrap_or(u64::MAX)),
            self.goal.path().display()
        ))
    }
}
