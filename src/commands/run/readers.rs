//! The programs of the command, each opened once and read by one sampler for as long as it is there: stacks of goroutines
//! that have not gone on are kept from one reading to the next. A reading by which a rule fails is taken again in full
//! before it is judged, where it rests on such stacks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::analysis::Census;
use crate::analysis::check::{Judge, Level, Rules, Verdict};
use crate::analysis::series::Observed;
use crate::capture::{CaptureOptions, SourceError};
use crate::commands::repeated::Repeated;
use crate::commands::source::{SourceFailure, Sources, TargetSpec};
use crate::model::{Snapshot, SymbolPool};
use crate::sampling::Sampler;

/// Programs that stay open; a build starts thousands of compilers.
const MOST_OPEN: usize = 64;
/// Names are forgotten beyond that, bytes.
const MOST_NAMES: usize = 64 << 20;

/// Programs that are read again and again, by pid.
#[derive(Default)]
pub(super) struct Readers<'a>(BTreeMap<i32, Reader<'a>>);

/// One of them.
struct Reader<'a> {
    sampler: Sampler<'a, SourceError>,
    alone: Arc<Mutex<Alone<'a>>>,
}

/// Judges readings one by one.
struct Alone<'a> {
    rules: &'a Rules,
    pool: SymbolPool,
    /// What growth is measured from.
    first: Option<Census>,
}

impl Alone<'_> {
    fn fails(&mut self, observed: &Observed) -> bool {
        if self.pool.bytes() > MOST_NAMES {
            (self.pool, self.first) = (SymbolPool::default(), None);
        }
        let census = Census::of_index(&observed.index(), String::new(), &mut self.pool);
        let mut judge = Judge::new(self.rules, Level::Stacks);
        judge.look(&census, self.first.as_ref(), &mut self.pool);
        judge.verdicts().iter().any(Verdict::fails)
    }

    /// Growth is measured from this reading, unless there was one before.
    fn begin(&mut self, observed: &Observed) {
        if self.first.is_none() {
            self.first = Some(Census::of_index(&observed.index(), String::new(), &mut self.pool));
        }
    }
}

impl<'a> Readers<'a> {
    /// Reads a program, to be judged by `rules`; `is_first` says that growth is measured from there on, unless that has
    /// begun.
    pub(super) fn read(
        &mut self,
        (sources, wanted): (&dyn Sources, &TargetSpec),
        options: &CaptureOptions,
        rules: &'a Rules,
        is_first: bool,
    ) -> Result<Snapshot, SourceFailure> {
        let known = wanted.pid().and_then(|pid| self.0.remove(&pid));
        // What cannot be read any more may be another program by now.
        let read = known.and_then(|mut reader| Some((reader.sampler.read().ok()?, reader)));
        let (sample, reader) = match read {
            Some(read) => read,
            None => {
                let mut reader = Reader::open(sources, wanted, options, rules)?;
                let sample = reader.sampler.read().map_err(|error| SourceFailure::at(&wanted.location, error))?;
                (sample, reader)
            }
        };
        if is_first {
            reader.alone.lock().unwrap_or_else(PoisonError::into_inner).begin(&sample.observed);
        }
        if let Some(pid) = wanted.pid().filter(|_| self.0.len() < MOST_OPEN) {
            self.0.insert(pid, reader);
        }
        Ok(sample.observed.snapshot().clone())
    }

    /// Closes all but these.
    pub(super) fn keep(&mut self, pids: impl Iterator<Item = i32>) {
        let pids: Vec<i32> = pids.collect();
        self.0.retain(|pid, _| pids.contains(pid));
    }
}

impl<'a> Reader<'a> {
    fn open(
        sources: &dyn Sources,
        wanted: &TargetSpec,
        options: &CaptureOptions,
        rules: &'a Rules,
    ) -> Result<Self, SourceFailure> {
        let source = Repeated::new(sources.open(wanted)?, *options);
        let alone = Arc::new(Mutex::new(Alone { rules, pool: SymbolPool::default(), first: None }));
        let judge = Arc::clone(&alone);
        let fails = move |observed: &Observed| judge.lock().unwrap_or_else(PoisonError::into_inner).fails(observed);
        Ok(Self { sampler: Sampler::new(Box::new(source)).with_doubts(fails), alone })
    }
}
