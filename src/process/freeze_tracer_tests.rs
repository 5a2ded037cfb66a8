//! Tracers as threads, threads that end and start, and the job of a tracer without a freeze around it.

use super::*;

/// A program that detects effects of a freeze; see its source.
fn c_target() -> std::path::PathBuf {
    static BUILT: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    let build = || {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/freeze/target.c");
        let program = std::env::temp_dir().join(format!("gospy-unit-target-{}", std::process::id()));
        let built = Command::new("gcc").args(["-O1", "-pthread", "-o"]).arg(&program).arg(source).status().unwrap();
        assert!(built.success());
        program
    };
    BUILT.get_or_init(build).clone()
}

fn start_c(mode: &str) -> (Role, std::process::ChildStdin) {
    let mut role = Role::spawn(Command::new(c_target()).arg(mode).stdin(Stdio::piped()));
    role.say("ready");
    let stdin = role.child.stdin.take().unwrap();
    (role, stdin)
}

/// For when the kernel refuses a separate tracer process (Yama, for a program that gospy started).
#[test]
fn a_tracer_thread_freezes_like_a_process() {
    let counting = Counting::start("many_threads");
    let dir = counting.target.dir();
    let (which, options) = (FreezeWhich::All, FreezeOptions::default());
    let identity = dir.identity().unwrap();
    let request =
        Request { dir, identity, which: &which, options: &options, allow_filtered: false, ordinary: Vec::new() };
    for _ in 0..5 {
        let Ok(frozen) = request.stop(Kind::Thread) else { panic!("not stopped") };
        let tracer = dir.status().unwrap().tracerpid;
        assert_eq!(ProcDir::open(tracer).unwrap().status().unwrap().tgid, nix::unistd::getpid().as_raw());
        assert_eq!(frozen.threads(), dir.tids().unwrap());
        counting.assert_stands();
        Box::new(frozen).resume().unwrap();
        counting.assert_runs();
    }
}

/// A parent that traces its child would reap the child when it means to reap a thread.
#[test]
fn a_tracer_thread_leaves_reaping_a_child_to_its_parent() {
    let mut counting = Counting::start("many_threads");
    let pid = counting.role.pid();
    let dir = ProcDir::open(pid).unwrap();
    let (which, options) = (FreezeWhich::All, FreezeOptions::default());
    let identity = dir.identity().unwrap();
    let request =
        Request { dir: &dir, identity, which: &which, options: &options, allow_filtered: false, ordinary: Vec::new() };
    let Ok(frozen) = request.stop(Kind::Thread) else { panic!("not stopped") };
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wait_until(|| !counting.target.still_the_same());
    assert_eq!(Box::new(frozen).resume(), Err(Broken::Ended));
    let status = counting.role.child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

#[test]
fn only_yama_makes_a_tracer_a_thread() {
    let mut facts = Facts { yama: Some(1), descendant: true, same_user_ns: true, ..Facts::default() };
    assert!(allowed_to_threads(&facts));
    for change in [
        |facts: &mut Facts| facts.descendant = false,
        |facts: &mut Facts| facts.yama = Some(2),
        |facts: &mut Facts| facts.yama = None,
        |facts: &mut Facts| facts.own.cap_effective = u64::MAX,
    ] {
        let mut other = facts.clone();
        change(&mut other);
        assert!(!allowed_to_threads(&other), "{other:?}");
    }
    facts.yama = Some(0);
    assert!(!allowed_to_threads(&facts));
}

/// The main thread may end before the others.
#[test]
fn a_main_thread_that_has_ended_is_left_out() {
    let (mut role, mut stdin) = start_c("leader");
    let dir = ProcDir::open(role.pid()).unwrap();
    let task = dir.file("task").unwrap();
    std::io::Write::write_all(&mut stdin, b"end\n").unwrap();
    wait_until(|| role.state() == 'Z');
    for _ in 0..20 {
        let job = job(&dir, &task);
        let stopped = job.stop(Duration::MAX);
        let leader = |entry: &&job::Entry| entry.tid() == role.pid();
        let ended = job.entries().iter().find(leader).map(job::Entry::state);
        let mut others: Vec<_> =
            job.entries().iter().filter(|entry| !leader(entry)).map(|entry| entry.state() as u8).collect();
        others.sort_unstable();
        job.let_go();
        assert_eq!((stopped, ended), (Ok(()), Some(State::Ended)));
        // One of them reads standard input.
        assert_eq!(others, [State::Stopped as u8, State::Stopped as u8, State::Asleep as u8]);
    }
    std::io::Write::write_all(&mut stdin, b"beats?\n").unwrap();
    let beats: u64 = role.say("beats ").parse().unwrap();
    std::io::Write::write_all(&mut stdin, b"beats?\n").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    std::io::Write::write_all(&mut stdin, b"beats?\n").unwrap();
    role.say("beats ");
    assert!(role.say("beats ").parse::<u64>().unwrap() > beats);
}

/// Ended threads must be reaped, or an `execve` waits; stops must not be consumed, or signals are lost.
#[test]
fn the_reaper_consumes_ends_and_no_stops() {
    let mut shell =
        Role::spawn(Command::new("sh").args(["-c", "trap 'echo got it' 36; echo ready; while :; do :; done"]));
    shell.say("ready");
    let dir = ProcDir::open(shell.pid()).unwrap();
    let task = dir.file("task").unwrap();
    let mut job = job(&dir, &task);
    job.spare_leader = false;
    assert_eq!(job.consider(shell.pid(), 0, Duration::MAX), Ok(true));
    assert!(Command::new("sh").args(["-c", &format!("kill -36 {}", shell.pid())]).status().unwrap().success());
    wait_until(|| shell.state() == 't');
    for _ in 0..100 {
        job.child_ended();
    }
    let stop = syscalls::peek_stop(shell.pid()).unwrap().unwrap();
    assert_eq!((stop.signal, stop.event), (36, 0));
    job.interrupt();
    job.await_stops(Duration::MAX).unwrap();
    job.let_go();
    shell.say("got it");
    assert_eq!(job.consider(shell.pid(), 0, Duration::MAX), Ok(false));
}

/// A seized shell, and its job, which reaps it.
fn seized(job: impl Fn(&ProcDir, &File) -> Job) -> (Role, ProcDir, File, Job) {
    let mut shell = Role::spawn(Command::new("sh").args(["-c", "echo ready; while :; do :; done"]));
    shell.say("ready");
    let dir = ProcDir::open(shell.pid()).unwrap();
    let task = dir.file("task").unwrap();
    let mut job = job(&dir, &task);
    job.spare_leader = false;
    assert_eq!(job.consider(shell.pid(), 0, Duration::MAX), Ok(true));
    (shell, dir, task, job)
}

/// A thread may be known to have ended before it is reaped, and an `execve` waits for that.
#[test]
fn a_thread_known_to_have_ended_is_reaped() {
    let (mut shell, dir, _task, job) = seized(job);
    shell.child.kill().unwrap();
    wait_until(|| shell.state() == 'Z');
    job.interrupt();
    job.await_stops(Duration::MAX).unwrap();
    let entry = &job.entries()[0];
    assert!(entry.is(State::Ended) && !entry.reaped.load(SeqCst));
    assert_eq!(dir.stat().unwrap().state, 'Z');
    job.child_ended();
    assert!(entry.reaped.load(SeqCst));
    assert!(dir.stat().is_err(), "the zombie is still there");
    // No other child is waited for by that id.
    shell.child.wait().unwrap_err();
}

/// A thread that was seized, then left asleep; not one that was already exiting.
#[test]
fn a_sleeper_that_ends_breaks_the_freeze() {
    for (state, broken) in [(State::Asleep, true), (State::InKernel, false)] {
        let (mut shell, _dir, _task, job) = seized(job);
        let entry = &job.entries()[0];
        assert!(entry.change(State::Seized, state));
        job.note_who_stands();
        shell.child.kill().unwrap();
        wait_until(|| {
            job.child_ended();
            entry.is(State::Ended)
        });
        job.verify();
        assert_eq!(job.ended.load(SeqCst), broken, "{state:?}");
    }
}

/// A thread from a `clone` that was not stopped in time.
#[test]
fn a_thread_that_starts_during_a_freeze_is_noticed() {
    let counting = Counting::start("many_threads");
    let task = counting.target.dir().file("task").unwrap();
    let job = job(counting.target.dir(), &task);
    for tid in counting.target.dir().tids().unwrap() {
        let (entry, new) = job.entry(tid).unwrap();
        assert!(new && entry.change(State::New, State::Stopped));
    }
    let moved = |job: &Job| job.entries().iter().filter(|entry| entry.moved.load(SeqCst)).count();
    job.entries()[0].change(State::Stopped, State::InKernel);
    job.verify();
    assert_eq!(moved(&job), 0);
    let (known, all) = (self::job(counting.target.dir(), &task), counting.target.dir().tids().unwrap());
    for &tid in &all[2..] {
        known.entry(tid).unwrap();
    }
    known.entries()[0].change(State::New, State::InKernel);
    known.verify();
    assert_eq!(moved(&known), 2);
}

#[test]
fn stopping_this_process_can_wait_for_freezes() {
    let counting = Counting::start("many_threads");
    let frozen = counting.target.freeze(&FreezeWhich::All).unwrap();
    assert!(!await_none_held(Duration::from_millis(5)));
    frozen.resume().unwrap();
    // Other tests freeze too.
    wait_until(|| await_none_held(Duration::from_millis(100)));
}

/// In every round, since its call would fail.
#[test]
fn a_new_thread_in_a_call_that_would_fail_is_left_asleep_in_any_round() {
    let (role, _stdin) = start_c("eintr");
    let dir = ProcDir::open(role.pid()).unwrap();
    let task = dir.file("task").unwrap();
    // It reads standard input.
    wait_until(|| dir.text("syscall").unwrap().starts_with("0 "));
    for round in [0, 6, 63] {
        let job = job(&dir, &task);
        job.consider(role.pid(), round, Duration::MAX).unwrap();
        assert_eq!(job.entries()[0].state(), State::Asleep, "round {round}");
    }
}

/// Each thread may have a filter of its own.
#[test]
fn a_thread_with_a_filter_is_found_among_others() {
    let (role, _stdin) = start_c("filtered-thread");
    let dir = ProcDir::open(role.pid()).unwrap();
    assert_eq!(dir.status().unwrap().seccomp, Some(0));
    let task = dir.file("task").unwrap();
    // Reading standard input, it is left asleep and not seized: only the end of this thread would release it.
    wait_until(|| dir.text("syscall").unwrap().starts_with("0 "));
    let refused = job(&dir, &task);
    assert_eq!(refused.stop(Duration::MAX), Err(Outcome::Filtered));
    refused.let_go();
    let mut allowed = job(&dir, &task);
    allowed.allow_filtered = true;
    assert_eq!(allowed.stop(Duration::MAX), Ok(()));
    let filtered: Vec<_> = allowed.entries().iter().filter(|entry| entry.filtered.load(SeqCst)).collect();
    assert!(filtered.len() == 1 && filtered[0].is(State::Asleep), "{filtered:?}");
    allowed.let_go();
}
