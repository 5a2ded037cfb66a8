//! Go programs that have only just been started, so that one that lives for less than an interval is
//! read too.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::tree::{Born, Family};
use crate::process::proc_dir::ProcDir;
use crate::sampling::Pacer;
use crate::sampling::cpu::cpu_time;

/// How often it is looked who is new.
const LOOK: Duration = Duration::from_millis(20);
/// The share of one core that looking takes at most. Not by the clock: on a machine that is busy with others,
/// nothing would be read at all.
const MAX_CPU: f64 = 1.0 / 8.0;
/// After its first, a process is tried again after as long, and then after twice as long each time: the
/// runtime may not have started yet.
const RETRY: Duration = Duration::from_millis(5);
/// One that could not be read after as long is no Go program, until it becomes another by exec.
const GIVE_UP: Duration = Duration::from_millis(500);

/// What is known of a process.
#[derive(Debug)]
struct Attempt {
    exe: Option<OsString>,
    due: Instant,
    wait: Duration,
    done: bool,
}

/// Who was there when it was last looked, and when to look again.
#[derive(Debug)]
pub(super) struct Newcomers {
    known: FxHashMap<Born, Attempt>,
    started: Instant,
    pacer: Pacer,
}

impl Newcomers {
    pub(super) fn new(now: Instant) -> Self {
        Self { known: FxHashMap::default(), started: now, pacer: Pacer::every(LOOK).with_max_cpu(MAX_CPU) }
    }

    /// When to look again; `None` where that is too far away to be a time.
    pub(super) fn next(&self) -> Option<Instant> {
        self.started.checked_add(self.pacer.due())
    }

    /// Calls `read` with each process that is to be read now; it says whether that went well. Gives all who
    /// are there.
    pub(super) fn look(&mut self, family: &Family, mut read: impl FnMut(i32) -> bool) -> Vec<Born> {
        let (began, used) = (Instant::now(), cpu_time());
        self.pacer.begin(began.saturating_duration_since(self.started));
        let present = family.living();
        self.known.retain(|born, _| present.contains(born));
        for &born in &present {
            let Ok(dir) = ProcDir::open(born.0) else { continue };
            let exe = dir.link("exe").ok();
            let attempt = self.known.entry(born).or_insert_with(|| Attempt {
                exe: exe.clone(),
                due: began,
                wait: RETRY,
                done: false,
            });
            if attempt.exe != exe {
                *attempt = Attempt { exe, due: began, wait: RETRY, done: false };
            }
            if attempt.done || attempt.due > Instant::now() || is_copy(&dir, attempt.exe.as_ref()) {
                continue;
            }
            attempt.done = read(born.0) || attempt.wait > GIVE_UP;
            attempt.due = Instant::now() + attempt.wait;
            attempt.wait *= 2;
        }
        self.pacer.end(cpu_time().saturating_sub(used));
        present
    }
}

/// Whether a process has only been forked, and is about to become another one: it has its parent's
/// executable and arguments, and reading it would report its parent.
fn is_copy(dir: &ProcDir, exe: Option<&OsString>) -> bool {
    let Ok(parent) = dir.stat().and_then(|stat| ProcDir::open(stat.ppid)) else { return false };
    let same_exe = exe.is_some() && parent.link("exe").ok().as_ref() == exe;
    same_exe && parent.cmdline().ok() == dir.cmdline().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Family, LOOK, Newcomers};

    #[test]
    fn the_first_look_is_now_and_the_next_an_interval_later() {
        let now = Instant::now();
        let mut newcomers = Newcomers::new(now);
        assert_eq!(newcomers.next(), Some(now));
        newcomers.look(&Family::new(), |_| false);
        assert!(newcomers.next().is_some_and(|next| next >= now + LOOK));
    }
}
