//! How much a pass over the heap proves.
//!
//! A pass takes a while, and a program that runs meanwhile can hand the only reference to a channel from a place
//! that was not yet read to one that was. So there are two grades, and they are never mixed:
//!
//! * **certain**: nothing moved. The program was stopped (with the registers of its threads, which may hold the
//!   only reference), it is a core file, or no Go code ran: every P was idle before and after the pass, and
//!   their counts of what they ran and of system calls are equal (`execute` and `exitsyscall`, runtime/proc.go).
//! * **confirmed**: two passes a second apart found the same goroutines waiting for the same things, and they
//!   had not run a tenth of a second after either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::HeapError;
use super::goroutines::unmoved;
use super::kept::{Deadlock, Kept, KeptBytes};
use super::layout::HeapLayout;
use super::leaks::{Heap, LeakedGoroutine, Pass, PassOptions, PassStats};
use super::marker::Progress;
use super::queues::Queues;
use super::recording::{Held, NO_HEAP};
use super::standing::{QUIET_TIME, frozen, quiet_moment, threads_in_core, unknown};
use super::threads::Running;
use crate::process::Backend;
use crate::runtime::GoProcess;
use crate::runtime::readers::processors::Ticks;

/// What a list of leaks is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// Proven: nothing moved while it was found.
    Certain,
    /// Found twice, and unmoved in between.
    Confirmed,
}

impl Grade {
    /// Stable name, for people and scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Confirmed => "confirmed",
        }
    }
}

/// Why a list of leaks has its grade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The program was stopped for so long.
    Frozen(Duration),
    /// It is a core file.
    CoreFile,
    /// No Go code ran during the pass.
    Quiet,
    /// Two passes agree.
    TwoPasses,
}

impl Proof {
    /// The grade that it gives.
    #[must_use]
    pub const fn grade(self) -> Grade {
        match self {
            Self::TwoPasses => Grade::Confirmed,
            Self::Frozen(_) | Self::CoreFile | Self::Quiet => Grade::Certain,
        }
    }
}

/// How leaks are looked for.
#[derive(Clone, Copy, Debug)]
pub struct LeakOptions {
    /// Whether to stop the program for it.
    pub freeze: bool,
    /// How often a moment is tried in which no Go code runs, at most.
    pub quiet_tries: u32,
    /// How each pass is made.
    pub pass: PassOptions,
}

impl Default for LeakOptions {
    fn default() -> Self {
        Self { freeze: false, quiet_tries: 5, pass: PassOptions::default() }
    }
}

/// The goroutines of a program that can never wake again.
#[derive(Clone, Debug)]
pub struct Leaks {
    /// Why they are.
    pub proof: Proof,
    /// Which they are, in the order of their ids.
    pub leaked: Vec<LeakedGoroutine>,
    /// Of the last pass.
    pub stats: PassStats,
    /// How often the heap was walked.
    pub passes: u32,
    /// Bytes of the heap that groups of them keep; `None` until [`Leaks::examine`] has found it out.
    pub bytes: Option<KeptBytes>,
    /// Those that wait for each other; `None` until [`Leaks::examine`] has found it out.
    pub deadlocks: Option<Vec<Deadlock>>,
    /// What that takes.
    pub(super) kept: Option<Arc<Kept>>,
}

impl Leaks {
    pub(super) fn new(proof: Proof, (pass, heap): (Pass, Heap), passes: u32) -> Self {
        let Pass { leaked, mut stats, state, .. } = pass;
        if leaked.is_empty() {
            stats.leaked_bytes = 0;
            let (bytes, deadlocks) = (Some(KeptBytes::default()), Some(Vec::new()));
            return Self { proof, leaked, stats, passes, bytes, deadlocks, kept: None };
        }
        Self {
            proof,
            leaked,
            stats,
            passes,
            bytes: None,
            deadlocks: None,
            kept: state.map(|state| Arc::new(Kept::new(heap, state))),
        }
    }
}

/// Headers are compared again after so long: what woke during a pass has run by then.
const SETTLE: Duration = Duration::from_millis(100);
/// The second pass begins so long after the first.
const BETWEEN: Duration = Duration::from_secs(1);

/// Finds the leaked goroutines of a program. `stop` is told before the program is stopped for how long that will
/// be, about; `progress` can be watched from another thread.
///
/// # Errors
/// When the target could not be read or stopped, or has no heap; and for a core file or a stopped program when
/// something could not be read that decides.
pub fn find(
    process: GoProcess<'_>,
    options: &LeakOptions,
    progress: &Progress,
    stop: impl FnOnce(Duration),
) -> Result<Leaks, HeapError> {
    let process = process.unlogged();
    let layout = HeapLayout::resolve(&process.runtime.layout.table)?;
    let queues = match Held::of(process.target)? {
        Some(held) => held.queues(),
        None => Queues::find(process, &layout),
    };
    let options = LeakOptions { pass: PassOptions { queues, ..options.pass }, ..*options };
    let finder = Finder { process, options, progress };
    match process.target.backend() {
        Backend::Core => finder.in_core(),
        Backend::Capture => finder.in_capture(),
        _ if options.freeze => finder.frozen(stop),
        _ => finder.running(),
    }
}

struct Finder<'a> {
    process: GoProcess<'a>,
    options: LeakOptions,
    progress: &'a Progress,
}

impl Finder<'_> {
    fn pass(&self, running: &Running) -> Result<(Pass, Heap), HeapError> {
        let heap = Heap::read(self.process)?;
        let marker = heap.marker(self.process, self.progress);
        let pass = heap.pass(self.process, &marker, running, &self.options.pass)?;
        drop(marker);
        Ok((pass, heap))
    }

    fn in_core(&self) -> Result<Leaks, HeapError> {
        let running = threads_in_core(self.process)?;
        let pass = self.pass(&running)?;
        if let Some(why) = unproven(&pass.0, &running) {
            return Err(HeapError::Unproven(why));
        }
        Ok(Leaks::new(Proof::CoreFile, pass, 1))
    }

    fn in_capture(&self) -> Result<Leaks, HeapError> {
        let held = Held::of(self.process.target)?.ok_or_else(|| HeapError::NoHeap(NO_HEAP.to_owned()))?;
        let why = "the program ran while its heap was captured: capture it with --heap --freeze=all";
        let proof = held.proof().ok_or_else(|| HeapError::Unproven(why.to_owned()))?;
        let running = held.running();
        let pass = self.pass(&running)?;
        if let Some(why) = unproven(&pass.0, &running) {
            return Err(HeapError::Unproven(why));
        }
        Ok(Leaks::new(proof, pass, 1))
    }

    fn frozen(&self, stop: impl FnOnce(Duration)) -> Result<Leaks, HeapError> {
        // Once before the stop: it shows how long a pass takes, and brings everything into memory.
        let started = Instant::now();
        self.pass(&Running::default())?;
        let takes = started.elapsed();
        stop(takes);
        let (pass, stood) = frozen(self.process, takes, |running| {
            let pass = self.pass(running)?;
            Ok(unproven(&pass.0, running).map_or(Ok(pass), Err))
        })?;
        Ok(Leaks::new(Proof::Frozen(stood), pass, 2))
    }

    fn running(&self) -> Result<Leaks, HeapError> {
        let started = Instant::now();
        let (mut tries, mut passes) = (0, 0);
        let most = self.options.quiet_tries.max(1);
        let first = loop {
            let before = quiet_moment(self.process)?;
            tries += 1;
            // Without such a moment a pass proves nothing, and one is enough.
            if before.is_none() && tries < most && started.elapsed() < QUIET_TIME {
                continue;
            }
            let pass = self.pass(&Running::default())?;
            passes += 1;
            let proven = before.is_some() && pass.0.unproven.is_empty() && before == Ticks::read_idle(self.process)?;
            if proven {
                return Ok(Leaks::new(Proof::Quiet, pass, passes));
            }
            if tries >= most || started.elapsed() >= QUIET_TIME {
                break pass;
            }
        };
        let first_done = Instant::now();
        let (mut first, heap) = first;
        let found = self.settled(std::mem::take(&mut first.leaked))?;
        if found.is_empty() {
            return Ok(Leaks::new(Proof::TwoPasses, (first, heap), passes));
        }
        drop((first, heap));
        std::thread::sleep(BETWEEN.saturating_sub(first_done.elapsed()));
        let (second, heap) = self.pass(&Running::default())?;
        let all = second.leaked.clone();
        let again = self.settled(all.clone())?;
        let same = |leaked: &LeakedGoroutine| {
            let other = found.binary_search_by_key(&leaked.goid, |other| other.goid);
            other.ok().and_then(|at| found.get(at)).is_some_and(|other| leaked.is_same(other))
        };
        let mut leaks = Leaks::new(Proof::TwoPasses, (second, heap), passes + 1);
        leaks.leaked = again.into_iter().filter(same).collect();
        if let Some(kept) = leaks.kept.as_mut().and_then(Arc::get_mut) {
            kept.leave_out(&all, &leaks.leaked);
        }
        Ok(leaks)
    }

    /// Those that have not run a while after a pass.
    fn settled(&self, mut leaked: Vec<LeakedGoroutine>) -> Result<Vec<LeakedGoroutine>, HeapError> {
        if leaked.is_empty() {
            return Ok(leaked);
        }
        std::thread::sleep(SETTLE);
        let heap = HeapLayout::resolve(&self.process.runtime.layout.table)?;
        let goroutines: Vec<_> = leaked.iter().map(|leaked| leaked.goroutine).collect();
        let mut same = unmoved(self.process, &heap, &goroutines)?.into_iter();
        leaked.retain(|_| same.next().unwrap_or(false));
        Ok(leaked)
    }
}

/// Why a pass over a program that stood still is no proof all the same.
pub(super) fn unproven(pass: &Pass, running: &Running) -> Option<String> {
    unknown(running).or_else(|| pass.unproven.first().cloned())
}
