//! How the heap is walked so that the figures are exact, or that it is known how much moved.

use std::time::{Duration, Instant};

use super::pass::{Found, pass};
use super::{ObjectOptions, Objects, Standing};
use crate::heap::layout::HeapLayout;
use crate::heap::marker::Progress;
use crate::heap::queues::Queues;
use crate::heap::standing::{QUIET_TIME, frozen, quiet_moment, threads_in_core, unknown};
use crate::heap::threads::Running;
use crate::heap::{HeapError, PassOptions};
use crate::process::Backend;
use crate::runtime::GoProcess;
use crate::runtime::readers::processors::Ticks;

/// How often a moment is tried in which no Go code runs, at most.
const QUIET_TRIES: u32 = 3;

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
    let once = |running: &Running| pass(process, options, &how, running, progress);
    match process.target.backend() {
        Backend::Core => {
            let running = threads_in_core(process)?;
            let mut found = once(&running)?;
            found.objects.notes.extend(unknown(&running));
            Ok(Objects { standing: Standing::CoreFile, ..found.objects })
        }
        Backend::Capture => {
            Err(HeapError::NoHeap("a capture does not hold the types of objects; a core file has all".to_owned()))
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

fn while_it_runs(
    process: GoProcess<'_>,
    once: impl Fn(&Running) -> Result<Found, HeapError>,
) -> Result<Objects, HeapError> {
    let started = Instant::now();
    let mut tries = 0;
    loop {
        let before = quiet_moment(process)?;
        tries += 1;
        let last = tries >= QUIET_TRIES || started.elapsed() >= QUIET_TIME;
        // Without such a moment nothing will be exact, and once is enough.
        if before.is_none() && !last {
            continue;
        }
        let found = once(&Running::default())?;
        if before.is_some() && before == Ticks::read_idle(process)? {
            return Ok(Objects { standing: Standing::Quiet, ..found.objects });
        }
        if last || started.elapsed() >= QUIET_TIME {
            let changes = found.changes(process)?;
            return Ok(Objects { standing: Standing::Running(changes), ..found.objects });
        }
    }
}
