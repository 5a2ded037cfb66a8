//! Freezes of real children: this test program again, in one of the roles below.

use super::*;
use crate::addr::Addr;
use crate::process::live::LiveTarget;
use crate::process::{Target, TargetExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads of the many-threaded role: one that counts, two that spin, the rest asleep.
const THREADS: usize = 50;

static COUNTER: AtomicU64 = AtomicU64::new(0);

struct Role {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Role {
    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn play(role: &str, pid: Option<i32>) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.args(["--exact", &format!("process::freeze::tests::{role}"), "--ignored", "--nocapture"]);
        Self::spawn(command.envs(pid.map(|pid| ("TARGET_PID", pid.to_string()))))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// What follows `word` on the next line that starts with it.
    fn say(&mut self, word: &str) -> String {
        self.lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.strip_prefix(word)?.to_owned())).unwrap()
    }

    fn state(&self) -> char {
        ProcDir::open(self.pid()).unwrap().stat().unwrap().state
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Whose end was noticed by a tracer of this process is no longer there to be killed or waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A many-threaded target, and where it counts.
struct Counting {
    role: Role,
    target: LiveTarget,
    counter: Addr,
}

impl Counting {
    fn start(role: &str) -> Self {
        let mut role = Role::play(role, None);
        let counter = Addr(role.say("counter at ").parse().unwrap());
        let target = LiveTarget::open(role.pid()).unwrap();
        Self { role, target, counter }
    }

    fn count(&self) -> u64 {
        self.target.read_u64(self.counter).unwrap().unwrap()
    }

    fn assert_runs(&self) {
        let before = self.count();
        wait_until(|| self.count() > before + 3);
        let states: Vec<_> = self.target.threads().unwrap().into_iter().map(|thread| thread.state.unwrap()).collect();
        assert!(!states.contains(&'t') && !states.contains(&'T'), "{states:?}");
    }

    fn assert_stands(&self) {
        let before = self.count();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(self.count(), before);
    }
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 20, "waited for too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn count_for_ever() -> ! {
    println!("\ncounter at {}", std::ptr::from_ref(&COUNTER) as u64);
    loop {
        COUNTER.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[test]
#[ignore = "a role: a process of many threads"]
fn many_threads() {
    for i in 0..THREADS {
        std::thread::spawn(move || {
            loop {
                if i >= 2 {
                    std::thread::sleep(Duration::from_millis(7));
                }
            }
        });
    }
    count_for_ever()
}

#[test]
#[ignore = "a role: a process that starts and ends threads all the time"]
fn fleeting_threads() {
    for _ in 0..3 {
        std::thread::spawn(|| {
            loop {
                std::thread::spawn(|| COUNTER.fetch_add(1, Ordering::SeqCst)).join().unwrap();
            }
        });
    }
    count_for_ever()
}

#[test]
#[ignore = "a role: a gospy that holds a process frozen"]
fn holder() {
    let pid = std::env::var("TARGET_PID").unwrap().parse().unwrap();
    let target = LiveTarget::open(pid).unwrap();
    let options = FreezeOptions { hold: Duration::from_secs(100), ..FreezeOptions::default() };
    let _frozen = target.freeze_with(&FreezeWhich::All, &options).unwrap();
    println!("\nfrozen");
    std::thread::sleep(Duration::from_secs(100));
}

#[test]
fn all_threads_stand_still_and_run_on() {
    let counting = Counting::start("many_threads");
    let maps = counting.target.mappings().unwrap();
    let (mut durations, mut complete) = (Vec::new(), 0);
    while durations.len() < 5 || complete == 0 {
        assert!(durations.len() < 100, "never all registers");
        let frozen = counting.target.freeze(&FreezeWhich::All).unwrap();
        // The harness of the role has threads of its own.
        assert!(frozen.threads().len() > THREADS, "{}", frozen.threads().len());
        assert_eq!(frozen.threads(), ProcDir::open(counting.role.pid()).unwrap().tids().unwrap());
        // One that got no processor to stop on has none.
        let known: Vec<_> = frozen.threads().iter().filter_map(|&tid| frozen.registers(tid)).collect();
        complete += usize::from(known.len() == frozen.threads().len());
        for registers in known {
            let holds = |addr: Addr| maps.iter().find(|map| map.start <= addr && addr < map.end).unwrap();
            assert!(holds(registers.pc).exec && holds(registers.sp).write, "{registers:?}");
        }
        counting.assert_stands();
        assert!(frozen.resume().unwrap() >= Duration::from_millis(20));
        counting.assert_runs();
        durations.push(counting.target.freeze(&FreezeWhich::All).unwrap().resume().unwrap());
    }
    durations.sort_unstable();
    println!("stopped for {durations:?} with {THREADS} threads");
    assert!(durations[0] < Duration::from_millis(20), "{durations:?}");
}

#[test]
fn one_thread_stands_still_and_others_run() {
    let counting = Counting::start("many_threads");
    let counter_thread =
        counting.target.threads().unwrap().into_iter().find(|t| t.name.contains("freeze")).unwrap().tid;
    let other = *ProcDir::open(counting.role.pid()).unwrap().tids().unwrap().last().unwrap();
    assert_ne!(counter_thread, other);

    let frozen = counting.target.freeze(&FreezeWhich::Threads(vec![other])).unwrap();
    assert_eq!(frozen.threads(), [other]);
    assert!(frozen.registers(other).is_some() && frozen.registers(counter_thread).is_none());
    let before = counting.count();
    wait_until(|| counting.count() > before);
    drop(frozen);

    let frozen = counting.target.freeze(&FreezeWhich::Threads(vec![counter_thread])).unwrap();
    counting.assert_stands();
    drop(frozen);
    counting.assert_runs();

    let mut durations: Vec<_> = (0..50)
        .map(|_| counting.target.freeze(&FreezeWhich::Threads(vec![counter_thread])).unwrap().resume().unwrap())
        .collect();
    durations.sort_unstable();
    println!("one thread stopped for {:?} (least), {:?} (median)", durations[0], durations[25]);
    assert!(durations[25] < Duration::from_millis(20), "{durations:?}");
}

#[test]
fn threads_of_others_and_of_the_past_are_left_out() {
    let counting = Counting::start("many_threads");
    let foreign = nix::unistd::getppid().as_raw();
    let frozen = counting.target.freeze(&FreezeWhich::Threads(vec![foreign, i32::MAX, 0, -1])).unwrap();
    assert!(frozen.threads().is_empty());
    assert_eq!(ProcDir::open(foreign).unwrap().status().unwrap().tracerpid, 0);
    drop(frozen);
    counting.assert_runs();
}

#[test]
fn threads_that_come_and_go_are_all_caught() {
    let counting = Counting::start("fleeting_threads");
    for _ in 0..20 {
        let frozen = counting.target.freeze(&FreezeWhich::All).unwrap();
        let before = counting.count();
        let tids = ProcDir::open(counting.role.pid()).unwrap().tids().unwrap();
        let unknown: Vec<_> = tids.iter().filter(|tid| !frozen.threads().contains(tid)).collect();
        // One that had ended when it was to be stopped is listed until its starter takes notice.
        assert!(unknown.iter().all(|&&tid| ended(&counting.target, tid)), "{unknown:?}");
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(counting.count(), before);
        frozen.resume().unwrap();
    }
    counting.assert_runs();
}

fn ended(target: &LiveTarget, tid: Tid) -> bool {
    target.dir().thread_stat(tid).map_or(true, |stat| matches!(stat.state, 'Z' | 'X'))
}

#[test]
fn a_panic_lets_go() {
    let counting = Counting::start("many_threads");
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _frozen = counting.target.freeze(&FreezeWhich::All).unwrap();
        counting.assert_stands();
        panic!("on purpose");
    }));
    assert!(result.is_err());
    counting.assert_runs();
}

#[test]
fn the_death_of_the_holder_lets_go() {
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        let counting = Counting::start("many_threads");
        let mut holder = Role::play("holder", Some(counting.role.pid()));
        holder.say("frozen");
        counting.assert_stands();

        // While it is held, nobody else can hold it, and is told who does.
        let error = counting.target.freeze(&FreezeWhich::All).err().unwrap();
        let TargetError::Traced { pid, tracer, comm } = error else { panic!("{error}") };
        assert_eq!((pid, tracer), (counting.role.pid(), holder.pid()));
        assert!(!comm.is_empty());

        kill(Pid::from_raw(holder.pid()), signal).unwrap();
        counting.assert_runs();
    }
}

#[test]
fn who_was_stopped_before_stays_stopped() {
    let counting = Counting::start("many_threads");
    let pid = Pid::from_raw(counting.role.pid());
    kill(pid, Signal::SIGSTOP).unwrap();
    let all_stopped = || counting.target.threads().unwrap().iter().all(|thread| thread.state == Some('T'));
    wait_until(all_stopped);
    for _ in 0..5 {
        let frozen = counting.target.freeze(&FreezeWhich::All).unwrap();
        assert!(frozen.threads().contains(&pid.as_raw()));
        frozen.resume().unwrap();
        wait_until(all_stopped);
        counting.assert_stands();
    }
    // A continuation that comes while it is frozen counts.
    let frozen = counting.target.freeze(&FreezeWhich::All).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    counting.assert_stands();
    frozen.resume().unwrap();
    counting.assert_runs();
}

#[test]
fn a_target_that_is_killed_while_frozen_ends() {
    let counting = Counting::start("many_threads");
    let frozen = counting.target.freeze(&FreezeWhich::All).unwrap();
    kill(Pid::from_raw(counting.role.pid()), Signal::SIGKILL).unwrap();
    wait_until(|| !counting.target.still_the_same());
    assert_eq!(frozen.resume(), Err(Broken::Ended));
    wait_until(|| !counting.target.still_the_same());
    assert!(matches!(counting.target.freeze(&FreezeWhich::All).err().unwrap(), TargetError::NoSuchProcess { .. }));
}

/// Signals of both kinds that come between the seizing and the stop are not swallowed.
#[test]
fn a_signal_that_was_on_its_way_arrives() {
    for number in [libc_number(Signal::SIGUSR1), 36] {
        // Without children, the end of which would be a signal too.
        let script = format!("trap 'echo got it' {number}; echo ready; while :; do :; done");
        let mut shell = Role::spawn(Command::new("sh").args(["-c", &script]));
        shell.say("ready");
        let dir = ProcDir::open(shell.pid()).unwrap();
        let task = dir.file("task").unwrap();
        let job = job(&dir, &task);
        let limit = Duration::MAX;
        assert_eq!(job.consider(shell.pid(), 0, limit), Ok(true));
        let sent = Command::new("sh").args(["-c", &format!("kill -{number} {}", shell.pid())]).status().unwrap();
        assert!(sent.success());
        wait_until(|| shell.state() == 't');
        job.interrupt();
        job.await_stops(limit).unwrap();
        let entry = &job.entries()[0];
        assert_eq!((entry.tid(), entry.state(), entry.signal.load(SeqCst)), (shell.pid(), State::Stopped, number));
        assert!(syscalls::registers(shell.pid()).is_some());
        job.let_go();
        shell.say("got it");
    }
}

/// A job for all threads of a process, to be done by the thread of a test.
fn job(dir: &ProcDir, task: &File) -> Job {
    let (which, limits) = (FreezeWhich::All, Limits { stop: STOP, deadline: STOP });
    let order = Order {
        pid: dir.pid(),
        which: &which,
        resilient: Vec::new(),
        allow_filtered: false,
        ordinary: Vec::new(),
        spare_leader: true,
        limits,
        threads: 100,
    };
    Job::new(order, task.as_raw_fd(), -1)
}

fn libc_number(signal: Signal) -> i32 {
    signal as i32
}

#[test]
fn this_process_and_ended_ones_are_refused() {
    let me = ProcDir::open(i32::try_from(std::process::id()).unwrap()).unwrap();
    let identity = me.identity().unwrap();
    let stop =
        |dir: &ProcDir| freeze(dir, identity, &FreezeWhich::All, &FreezeOptions::default(), false).err().unwrap();
    assert!(matches!(stop(&me), TargetError::Unsupported(_)));
    let mut child = Command::new("true").spawn().unwrap();
    let dir = ProcDir::open(i32::try_from(child.id()).unwrap()).unwrap();
    child.wait().unwrap();
    assert!(matches!(stop(&dir), TargetError::NoSuchProcess { .. }));
}

/// A program that notices what a freeze does to it; see there.
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

/// Where the kernel does not let a process of gospy's own (Yama, for a program that gospy started).
#[test]
fn a_tracer_that_is_a_thread_does_the_same() {
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

/// A parent that traces takes notice of the end of its child when it only looks at the end of a thread.
#[test]
fn a_tracer_that_is_a_thread_leaves_the_end_of_a_child_to_its_parent() {
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

/// What ended must be taken notice of, or an `execve` waits; and nothing else, or signals are lost.
#[test]
fn the_reaper_takes_ends_and_no_stops() {
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

/// A shell that is seized, and its job, which takes notice of its end.
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

/// That a thread has ended may be known before notice is taken of it, and an `execve` waits for that.
#[test]
fn who_is_known_to_have_ended_is_taken_notice_of() {
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
    // Nobody else is waited for by that id.
    shell.child.wait().unwrap_err();
}

/// One that was seized, and then found asleep and left so; not one that was on its way to its end.
#[test]
fn a_sleeper_that_ends_makes_a_freeze_none() {
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

/// What comes out of a `clone` that was not stopped in time.
#[test]
fn a_thread_that_starts_while_all_stand_still_is_noticed() {
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
fn who_is_about_to_stop_this_process_can_wait() {
    let counting = Counting::start("many_threads");
    let frozen = counting.target.freeze(&FreezeWhich::All).unwrap();
    assert!(!await_none_held(Duration::from_millis(5)));
    frozen.resume().unwrap();
    // Other tests freeze too.
    wait_until(|| await_none_held(Duration::from_millis(100)));
}

/// However late it is found: its call would fail.
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
    // Reading standard input, it is left asleep, and not seized: only the end of this thread would let go of it.
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
