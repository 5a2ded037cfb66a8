//! Go programs that have only just been started, so that one that lives for less than an interval is
//! read too.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::tree::{Born, Family};
use crate::process::proc_dir::ProcDir;
use crate::sampling::cpu::cpu_time;

/// How often it is looked who is new.
const LOOK: Duration = Duration::from_millis(20);
/// Looking takes at most one part in so many of a processor's time.
const SHARE: u32 = 8;
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
    /// When to look again.
    pub(super) next: Instant,
}

impl Newcomers {
    pub(super) fn new(now: Instant) -> Self {
        Self { known: FxHashMap::default(), next: now }
    }

    /// Calls `read` with each process that is to be read now; it says whether that went well. Gives all who
    /// are there.
    pub(super) fn look(&mut self, family: &Family, mut read: impl FnMut(i32) -> bool) -> Vec<Born> {
        let (began, used) = (Instant::now(), cpu_time());
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
        // Not by the clock: on a machine that is busy with others, nothing would be read at all.
        self.next = Instant::now() + LOOK.max(cpu_time().saturating_sub(used) * SHARE);
        present
    }
}

/// Whether a process has only been forked, and is about to become another one: it has its parent's
/// executable and arguments, and reading it would tell of its parent.
fn is_copy(dir: &ProcDir, exe: Option<&OsString>) -> bool {
    let Ok(parent) = dir.stat().and_then(|stat| ProcDir::open(stat.ppid)) else { return false };
    let same_exe = exe.is_some() && parent.link("exe").ok().as_ref() == exe;
    same_exe && parent.cmdline().ok() == dir.cmdline().ok()
}
