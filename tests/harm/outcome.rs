//! What came of a freeze, and calls that never return.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use gospy::process::live::LiveTarget;
use gospy::process::{Broken, FreezeWhich, Target, TargetError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::counters::{Counters, Word};
use super::support::Output;

/// A call that takes longer hangs. Far over the deadline of a freeze, for machines that have much to do.
pub(crate) const HUNG: Duration = Duration::from_secs(15);

/// What came of a freeze.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It stood still.
    Frozen,
    /// It became another program meanwhile, and gospy says so.
    Exec,
    /// A thread that was left asleep ran, and gospy says so.
    Moved,
    /// An error that the documentation names.
    Refused(String),
    /// An error that is not true, or success that is not.
    Wrong(String),
}

/// A call, and how long it took.
pub(crate) struct Timed<T> {
    pub(crate) result: T,
    pub(crate) took: Duration,
    pub(crate) hung: bool,
}

/// Makes a call that has to do with the process `target`. If it does not return, the target is killed,
/// which ends whatever a call can wait for.
pub(crate) fn bounded<T>(target: i32, call: impl FnOnce() -> T) -> Timed<T> {
    let (done, waiting) = channel::<()>();
    std::thread::scope(|scope| {
        let watchdog = scope.spawn(move || {
            let hung = waiting.recv_timeout(HUNG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            if hung {
                // It may have ended by itself.
                let _ = kill(Pid::from_raw(target), Signal::SIGKILL);
            }
            hung
        });
        let start = Instant::now();
        let result = call();
        let took = start.elapsed();
        drop(done);
        Timed { result, took, hung: watchdog.join().unwrap() }
    })
}

/// Freezes a process for `hold`, and sees by its counter whether it stands.
pub(crate) fn freeze(pid: i32, which: &FreezeWhich, hold: Duration, counters: &Counters) -> Outcome {
    let target = match LiveTarget::open(pid) {
        Ok(target) => target,
        Err(error) => return judge("opening", &error),
    };
    let frozen = match target.freeze(which) {
        Ok(frozen) => frozen,
        Err(error) => return judge("freezing", &error),
    };
    let before = counters.get(Word::Progress);
    std::thread::sleep(hold);
    let after = counters.get(Word::Progress);
    match frozen.resume() {
        Ok(_) if *which == FreezeWhich::All && before != after => {
            Outcome::Wrong(format!("its counter went from {before} to {after} while it was said to stand still"))
        }
        Ok(_) => Outcome::Frozen,
        Err(Broken::Exec) => Outcome::Exec,
        Err(Broken::Ran(_)) => Outcome::Moved,
        Err(broken) => Outcome::Refused(broken.to_string()),
    }
}

fn judge(step: &str, error: &TargetError) -> Outcome {
    let text = format!("{step}: {error}");
    match error {
        // Nobody else traces these targets, they may be read by their parent, and none ends.
        TargetError::Permission { .. } | TargetError::Traced { .. } => Outcome::Wrong(text),
        TargetError::Replaced { .. } => Outcome::Exec,
        // None of these targets ends.
        TargetError::NoSuchProcess { .. } => Outcome::Wrong(text),
        _ => Outcome::Refused(text),
    }
}

/// What came of a run of the `gospy` program that was to freeze or to read a program that lives.
pub(crate) fn judge_run(output: &Output) -> Outcome {
    let text = output.stderr.trim().to_owned();
    let is_untrue = text.contains("panicked") || text.contains("there is no process");
    match output.status.code() {
        Some(0) if !output.stdout.trim().is_empty() => Outcome::Frozen,
        Some(1 | 3 | 5) if says_exec(&text) => Outcome::Exec,
        Some(1) if text.contains("did not stay stopped") => Outcome::Moved,
        // 3 and 5: amid an exec it is for a moment without threads that can be read, or without a runtime.
        Some(1 | 3 | 5) if !is_untrue => Outcome::Refused(text),
        _ => Outcome::Wrong(format!("{}: {text}", output.status)),
    }
}

fn says_exec(text: &str) -> bool {
    text.contains("exec") || text.contains("another program")
}
