//! What is killed: a process that freezes a target back to back. Either this test binary again, through
//! the library, or the `gospy` program.

use std::fs::OpenOptions;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use gospy::process::live::LiveTarget;
use gospy::process::{FreezeWhich, Target};

use super::counters::{Counters, Word, write};
use super::look::{eventually, number, threads};
use super::random::Random;

/// Who freezes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// The library, all threads together.
    LibraryAll,
    /// The library, one thread after the other.
    LibraryOneByOne,
    /// `gospy --freeze=all`.
    ProgramAll,
    /// `gospy --freeze=running`.
    ProgramRunning,
}

impl Means {
    pub(crate) fn is_program(self) -> bool {
        matches!(self, Means::ProgramAll | Means::ProgramRunning)
    }
}

/// A process that freezes, killed at the end.
pub(crate) struct Freezer {
    child: Child,
    pub(crate) pid: i32,
}

impl Freezer {
    pub(crate) fn start(means: Means, target: i32, counters: &Counters) -> Freezer {
        let text = target.to_string();
        let mut command = if means.is_program() {
            let freeze = if means == Means::ProgramAll { "--freeze=all" } else { "--freeze=running" };
            let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
            command.args(["summary", freeze, "--pid", &text]);
            command
        } else {
            let mut command = Command::new("/proc/self/exe");
            command.args(["--exact", "freezer::back_to_back", "--ignored", "--nocapture"]);
            command.env("HARM_ONE_BY_ONE", if means == Means::LibraryAll { "" } else { "1" });
            command.env("HARM_TARGET", &text).env("HARM_COUNTERS", counters.path());
            command
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        Freezer { child, pid }
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// How it ended by itself, within a time that is generous.
    pub(crate) fn end_by_itself(&mut self) -> Option<ExitStatus> {
        eventually(|| self.ended().is_some());
        self.ended()
    }

    /// Its process that traces the target right now, if any thread of the target is traced: a child of it,
    /// or itself.
    pub(crate) fn tracer_of(&self, target: i32) -> Option<i32> {
        let by_the_leader = number(target, "TracerPid").filter(|&tracer| tracer != 0);
        let tracer = by_the_leader
            .or_else(|| threads(target).into_iter().map(|thread| thread.tracer).find(|&tracer| tracer != 0))?;
        let process = number(tracer, "Tgid")?;
        (process == self.pid || number(process, "PPid") == Some(self.pid)).then_some(process)
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "a role: a process that freezes another one back to back until it is killed"]
fn back_to_back() {
    let pid: i32 = std::env::var("HARM_TARGET").unwrap().parse().unwrap();
    let file = OpenOptions::new().write(true).open(std::env::var("HARM_COUNTERS").unwrap()).unwrap();
    let one_by_one = !std::env::var("HARM_ONE_BY_ONE").unwrap().is_empty();
    let mut random = Random::new(&std::process::id().to_string());
    let mut freezes = 0;
    loop {
        // Anew each time, since it may have become another program; amid that it cannot be opened.
        let Ok(target) = LiveTarget::open(pid) else { continue };
        let which = if one_by_one {
            let threads = target.threads().unwrap_or_default();
            threads.into_iter().map(|thread| FreezeWhich::Threads(vec![thread.tid])).collect()
        } else {
            vec![FreezeWhich::All]
        };
        for which in which {
            // Its tracer may have been killed, or stopped until the deadline; the next freeze is another one.
            if let Ok(frozen) = target.freeze(&which) {
                std::thread::sleep(random.micros(1500));
                if frozen.resume().is_ok() {
                    freezes += 1;
                    write(&file, Word::Freezes, freezes);
                }
            }
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}
