//! Freezes of real children: this test program again, in one of the roles below.

use super::job::State;
use super::*;
use crate::addr::Addr;
use crate::process::live::LiveTarget;
use crate::process::syscalls::TracerJob as _;
use crate::process::{Broken, Frozen, Target, TargetExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads of the many-threaded role: one counts, two spin, the rest sleep.
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

    /// The rest of the next line that starts with `word`.
    fn say(&mut self, word: &str) -> String {
        self.lines.by_ref().map_while(Result::ok).find_map(|line| Some(line.strip_prefix(word)?.to_owned())).unwrap()
    }

    fn state(&self) -> char {
        ProcDir::open(self.pid()).unwrap().stat().unwrap().state
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // A child reaped by a tracer of this process can no longer be killed or waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A many-threaded target, and the address of its counter.
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

fn count_forever() -> ! {
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
    count_forever()
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
    count_forever()
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
fn all_threads_freeze_and_resume() {
    let counting = Counting::start("many_threads");
    let maps = counting.target.mappings().unwrap();
    let (mut durations, mut complete) = (Vec::new(), 0);
    while durations.len() < 5 || complete == 0 {
        assert!(durations.len() < 100, "never all registers");
        let frozen = counting.target.freeze(&FreezeWhich::All).unwrap();
        // The role's test harness has threads of its own.
        assert!(frozen.threads().len() > THREADS, "{}", frozen.threads().len());
        assert_eq!(frozen.threads(), ProcDir::open(counting.role.pid()).unwrap().tids().unwrap());
        // A thread that was not scheduled to stop has none.
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
fn one_thread_freezes_and_others_run() {
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
fn ended_and_foreign_threads_are_left_out() {
    let counting = Counting::start("many_threads");
    let foreign = nix::unistd::getppid().as_raw();
    let frozen = counting.target.freeze(&FreezeWhich::Threads(vec![foreign, i32::MAX, 0, -1])).unwrap();
    assert!(frozen.threads().is_empty());
    assert_eq!(ProcDir::open(foreign).unwrap().status().unwrap().tracerpid, 0);
    drop(frozen);
    counting.assert_runs();
}

#[test]
fn short_lived_threads_are_all_frozen() {
    let counting = Counting::start("fleeting_threads");
    for _ in 0..20 {
        let frozen = counting.target.freeze(&FreezeWhich::All).unwrap();
        let before = counting.count();
        let tids = ProcDir::open(counting.role.pid()).unwrap().tids().unwrap();
        let unknown: Vec<_> = tids.iter().filter(|tid| !frozen.threads().contains(tid)).collect();
        // A thread that ended before it was stopped is listed until joined.
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
fn a_panic_releases_the_target() {
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
fn the_death_of_the_holder_releases_the_target() {
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        let counting = Counting::start("many_threads");
        let mut holder = Role::play("holder", Some(counting.role.pid()));
        holder.say("frozen");
        counting.assert_stands();

        // While it is held, nothing else can hold it, and the error names the holder.
        let error = counting.target.freeze(&FreezeWhich::All).err().unwrap();
        let TargetError::Traced { pid, tracer, comm } = error else { panic!("{error}") };
        assert_eq!((pid, tracer), (counting.role.pid(), holder.pid()));
        assert!(!comm.is_empty());

        kill(Pid::from_raw(holder.pid()), signal).unwrap();
        counting.assert_runs();
    }
}

#[test]
fn a_process_stopped_before_stays_stopped() {
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
    // A SIGCONT during the freeze takes effect.
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

/// Classic and real-time signals between seizing and stop are not lost.
#[test]
fn a_pending_signal_arrives() {
    for number in [libc_number(Signal::SIGUSR1), 36] {
        // Without children, whose end would send a signal too.
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

/// A job for all threads of a process, to be run by a test's thread.
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

#[path = "freeze_tracer_tests.rs"]
mod tracers;
