//! How the heap is walked so that the figures are exact, or that it is known how much moved.

use std::time::{Duration, Instant};

use super::pass::{Found, pass};
use super::{ObjectOptions, Objects, Standing, VariableTypes};
use crate::heap::layout::HeapLayout;
use crate::heap::marker::Progress;
use crate::heap::proof::Proof;
use crate::heap::queues::Queues;
use crate::heap::recording::{Held, NO_HEAP};
use crate::heap::standing::{QUIET_TIME, frozen, quiet_moment, threads_in_core, unknown};
use crate::heap::threads::Running;
use crate::heap::{HeapError, PassOptions};
use crate::process::{Backend, ReadError};
use crate::runtime::GoProcess;
use crate::runtime::readers::metrics::read_metrics;
use crate::runtime::readers::processors::Ticks;

/// How often a moment is tried in which no Go code runs, at most.
const QUIET_TRIES: u32 = 3;
/// How often the heap of a program that runs is walked, where less is found than the collector has left: the only
/// pointer to much of it may have been moved to where the walk did not come any more.
const WALKS: u32 = 3;

/// Finds out what is on the heap of a program. `stop` is told before the program is stopped for how long that will
/// be, about; `progress` can be watched from another thread.
///
/// # Errors
/// When the target could not be read or stopped, or has no heap.
pub fn find(
    process: GoProcess<'_>,
    options: &ObjectOptions,
    progress: &Progress,
    stop: impl FnOnce(Duration),
) -> Result<Objects, HeapError> {
    let process = process.unlogged();
    let layout = HeapLayout::resolve(&process.runtime.layout.table)?;
    let how = PassOptions { queues: Queues::find(process, &layout), all_run: true, ..PassOptions::default() };
    if process.target.backend() == Backend::Capture {
        return in_capture(process, options, progress);
    }
    let (variables, damaged) = match VariableTypes::find(process) {
        Ok(found) => (found, None),
        Err(error) => (VariableTypes::default(), Some(format!("types of variables are not known: {error}"))),
    };
    let once = |running: &Running| {
        let mut found = pass(process, options, (&how, &variables), running, progress)?;
        found.objects.notes.extend(damaged.clone());
        Ok(found)
    };
    match process.target.backend() {
        Backend::Core => {
            let running = threads_in_core(process)?;
            let mut found = once(&running)?;
            found.objects.notes.extend(unknown(&running));
            Ok(Objects { standing: Standing::CoreFile, ..found.objects })
        }
        _ if options.freeze => {
            // Once before the stop: it shows how long that takes, and brings everything into memory.
            let started = Instant::now();
            once(&Running::default())?;
            let takes = started.elapsed();
            stop(takes);
            let (found, stood) = frozen(process, takes, |running| Ok(Ok(once(running)?)))?;
            Ok(Objects { standing: Standing::Frozen(stood), ..found.objects })
        }
        _ => while_it_runs(process, once),
    }
}

/// What was kept of the heap is as exact as the moment at which it was read.
fn in_capture(process: GoProcess<'_>, options: &ObjectOptions, progress: &Progress) -> Result<Objects, HeapError> {
    let Some(held) = Held::of(process.target)? else { return Err(HeapError::NoHeap(NO_HEAP.to_owned())) };
    let how = PassOptions { queues: held.queues(), all_run: true, ..PassOptions::default() };
    let running = held.running();
    let mut found = pass(process, options, (&how, held.variables()), &running, progress)?;
    if found.objects.types.is_some() && !held.has_types() {
        found.objects.types = None;
        found.objects.notes.push("this capture has no type data, as captures of this version of gospy do".to_owned());
    }
    let standing = match held.proof() {
        Some(Proof::Frozen(stood)) => Standing::Frozen(stood),
        Some(Proof::CoreFile) => Standing::CoreFile,
        Some(_) => Standing::Quiet,
        None => Standing::RanWhileCaptured,
    };
    if standing.is_exact() {
        found.objects.notes.extend(unknown(&running));
    } else if let Some(marked) = marked(process)? {
        found.objects.notes.extend(missed(&found.objects, marked));
    }
    Ok(Objects { standing, ..found.objects })
}

/// Bytes that the last cycle of the collector has marked.
fn marked(process: GoProcess<'_>) -> Result<Option<u64>, ReadError> {
    Ok(read_metrics(process, &mut None)?.heap.and_then(|heap| heap.heap_marked))
}

/// What is to be said where far less is live than the last cycle has marked.
fn missed(objects: &Objects, marked: u64) -> Option<String> {
    (objects.live.bytes < marked - marked / 4).then(|| {
        format!(
            "the last GC left {} MiB: what is missing was let go of since, or moved during the walk; --freeze=all is exact",
            marked >> 20
        )
    })
}

fn while_it_runs(
    process: GoProcess<'_>,
    once: impl Fn(&Running) -> Result<Found, HeapError>,
) -> Result<Objects, HeapError> {
    let started = Instant::now();
    let (mut tries, mut walks) = (0, 0);
    let mut best: Option<Found> = None;
    loop {
        let before = quiet_moment(process)?;
        tries += 1;
        let marked = marked(process)?;
        let last = tries >= QUIET_TRIES || started.elapsed() >= QUIET_TIME;
        // Without such a moment nothing will be exact, and once is enough.
        if before.is_none() && !last {
            continue;
        }
        let found = once(&Running::default())?;
        if before.is_some() && before == Ticks::read_idle(process)? {
            return Ok(Objects { standing: Standing::Quiet, ..found.objects });
        }
        walks += 1;
        let missed = marked.and_then(|marked| missed(&found.objects, marked));
        if best.as_ref().is_none_or(|best| best.objects.live.bytes < found.objects.live.bytes) {
            best = Some(found);
        }
        let done = missed.is_none() || walks >= WALKS;
        if let Some(mut found) = best.take_if(|_| done && (last || started.elapsed() >= QUIET_TIME)) {
            found.objects.notes.extend(missed);
            let changes = found.changes(process)?;
            return Ok(Objects { standing: Standing::Running(changes), ..found.objects });
        }
    }
}
