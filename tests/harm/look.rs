//! How a process fares, by what `/proc` says of it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::support::fixture::script;

/// After so long something has not happened. It is meant for a machine that has much else to do: what is
/// waited for takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The path of a program of fixtures/harm.
pub(crate) fn c_program(name: &str) -> PathBuf {
    script("build-c", &[name])
}

/// A thread at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread {
    pub(crate) tid: i32,
    /// State letter.
    pub(crate) state: char,
    /// The thread that traces it, or 0.
    pub(crate) tracer: i32,
}

/// The value of a field of a file such as `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// A field of `/proc/ID/status`, for the id of a process or of a thread; `None` when there is none.
pub(crate) fn status(id: i32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    field(&text, name).map(str::to_owned)
}

/// A number of `/proc/ID/status`.
pub(crate) fn number(id: i32, name: &str) -> Option<i32> {
    status(id, name)?.parse().ok()
}

/// The threads of a process, those left out that end meanwhile.
pub(crate) fn threads(pid: i32) -> Vec<Thread> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(|tid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
        let state = field(&text, "State")?.chars().next()?;
        Some(Thread { tid, state, tracer: field(&text, "TracerPid")?.parse().ok()? })
    })
    .collect()
}

/// Whether a process is there, ends apart: in an exec by another thread its main thread is for a moment a
/// zombie while the others live.
pub(crate) fn lives(pid: i32) -> bool {
    threads(pid).iter().any(|thread| !matches!(thread.state, 'Z' | 'X'))
}

/// Threads that are traced or stopped.
pub(crate) fn held(pid: i32) -> Vec<Thread> {
    let mut threads = threads(pid);
    threads.retain(|thread| thread.tracer != 0 || matches!(thread.state, 't' | 'T'));
    threads
}

/// For how long the threads of a process have waited for a CPU, one after the other or at the same time
/// (`/proc/PID/schedstat`, Documentation/scheduler/sched-stats.rst).
pub(crate) fn waited_for_cpu(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let waited = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited.sum())
}

thread_local! {
    static LIMIT: Cell<Duration> = const { Cell::new(PATIENCE) };
}

/// Does something that waits for what will not happen, with less patience.
pub(crate) fn impatiently<T>(call: impl FnOnce() -> T) -> T {
    LIMIT.set(Duration::from_millis(500));
    let result = call();
    LIMIT.set(PATIENCE);
    result
}

/// Waits for a condition for as long as [`PATIENCE`], and says whether it came.
pub(crate) fn eventually(mut done: impl FnMut() -> bool) -> bool {
    let limit = Instant::now() + LIMIT.get();
    loop {
        if done() {
            return true;
        }
        if Instant::now() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The gospy that is attacked.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        std::env::var_os("GOSPY_HARM_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_gospy").into(), PathBuf::from)
    })
}

/// The processes that run this test binary or gospy: all that can have a part in a freeze.
fn ours() -> Vec<i32> {
    let usual = PathBuf::from(env!("CARGO_BIN_EXE_gospy"));
    let programs = [std::env::current_exe().unwrap(), usual, program().canonicalize().unwrap()];
    let me = i32::try_from(std::process::id()).unwrap();
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&pid: &i32| pid != me && lives(pid))
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| programs.contains(&exe)))
        .collect()
}

/// Processes that outlive the freeze that they were made for. Others of these tests run at the same time
/// and have some of their own, but none that lives long.
pub(crate) fn left_behind() -> Vec<i32> {
    let mut seen = ours();
    eventually(|| {
        seen.retain(|&pid| lives(pid));
        seen.is_empty()
    });
    seen
}
