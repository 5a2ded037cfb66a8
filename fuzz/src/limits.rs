//! What an input may take: CPU time and memory, and no panic.
//!
//! Time is CPU time of this process, and of an input that takes long the least of four runs: a busy machine fails
//! nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::MEMORY;
use crate::targets::{self, Target};

/// CPU time that any input may take; each megabyte of input, and of what it is a change of, adds a second.
pub const CPU: Duration = Duration::from_secs(1);
/// Memory that any input may take beyond itself, bytes.
pub const MEMORY_BYTES: usize = 256 << 20;
/// How often an input that may have taken too long is run again.
const RUNS: usize = 4;
/// More threads than gospy has, on any machine that this runs on.
const THREADS: u32 = 64;

/// Panics on any thread, of this process.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// What an input did that it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// It panicked, on any thread.
    Panic,
    /// So much CPU time of an allowed one.
    Time(Duration, Duration),
    /// So many bytes.
    Memory(usize),
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Panic => write!(f, "it panicked"),
            Self::Time(took, allowed) => write!(f, "it took {took:.1?} of CPU time; {allowed:.1?} are allowed"),
            Self::Memory(bytes) => {
                write!(f, "it took {} MiB; {} MiB are allowed", bytes >> 20, MEMORY_BYTES >> 20)
            }
        }
    }
}

/// Counts panics from now on, and prints them as before.
pub fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(info);
    }));
}

/// CPU time of this process, all of its threads.
#[must_use]
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// What `input` may take.
#[must_use]
pub fn allowed(target: &Target, input: &[u8]) -> Duration {
    let bytes = input.len() + (target.base)();
    CPU + Duration::from_secs(1).mul_f64(bytes as f64 / 1e6)
}

/// Runs one input; how much was found in it.
///
/// # Errors
/// What it did that it must not.
pub fn run(target: &Target, input: &[u8]) -> Result<usize, Violation> {
    let allowed = allowed(target, input);
    let panics = PANICS.load(Ordering::SeqCst);
    let once = || std::panic::catch_unwind(|| (target.run)(input)).unwrap_or_default();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let started = Instant::now();
    let found = once();
    // It can have used no more CPU time than that. To ask the kernel for it takes as long as many an input.
    let at_most = started.elapsed() * THREADS;
    let memory = MEMORY.peak_usage().saturating_sub(before);
    if PANICS.load(Ordering::SeqCst) != panics {
        return Err(Violation::Panic);
    }
    if memory > MEMORY_BYTES {
        return Err(Violation::Memory(memory));
    }
    if at_most <= allowed {
        return Ok(found);
    }
    let mut least = Duration::MAX;
    for _ in 0..RUNS {
        let started = cpu_time();
        once();
        least = least.min(cpu_time().saturating_sub(started));
        if least <= allowed {
            return Ok(found);
        }
    }
    Err(Violation::Time(least, allowed))
}

/// Runs one input for an engine that wants a panic where something is wrong.
///
/// # Panics
/// When it does what it must not.
pub fn check(name: &str, input: &[u8]) {
    let target = targets::named(name).expect("there is a target for each program");
    if let Err(violation) = run(target, input) {
        panic!("{name}: {violation}");
    }
}
