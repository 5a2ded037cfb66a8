//! A freeze must not harm: programs in C that notice when it does, and freezes that end badly.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::support::{Fixture, Mode, gospy};
use gospy::capture::{CaptureError, CaptureOptions, FreezeMode, OpenOptions, Session};
use gospy::process::fake::Altered;
use gospy::process::live::LiveTarget;
use gospy::process::{Broken, FreezeOptions, FreezeWhich, ReadError, Target, TargetError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// `fixtures/freeze/target.c`, compiled once.
fn program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("freeze-target-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/freeze/target.c");
        let built = Command::new("gcc").args(["-O1", "-pthread", "-o"]).arg(&program).arg(source).status().unwrap();
        assert!(built.success(), "gcc");
        program
    };
    BUILT.get_or_init(build).clone()
}

/// A process that says `ready` and answers lines; ended when dropped.
struct Running {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    ready: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut running = Self { child, stdin, stdout, ready: String::new() };
        loop {
            let line = running.line();
            if let Some(ready) = line.strip_prefix("ready") {
                running.ready = ready.trim().to_owned();
                return running;
            }
        }
    }

    fn target(args: &[&str]) -> Self {
        Self::start(Command::new(program()).args(args))
    }

    /// This test program again, in a role.
    fn role(role: &str, target: i32) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["--exact", &format!("freeze_safety::{role}"), "--ignored", "--nocapture"])
            .env("TARGET_PID", target.to_string());
        Self::start(&mut command)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).unwrap() > 0, "it has ended: {:?}", self.child.wait());
        line
    }

    /// The numbers behind the words of an answer.
    fn ask(&mut self, question: &str) -> Vec<u64> {
        writeln!(self.stdin, "{question}").unwrap();
        let line = self.line();
        line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 20, "{what}: waited for too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// State letters of the threads, and who traces any of them: 0 for nobody.
fn states(pid: i32) -> (Vec<char>, i32) {
    let (mut letters, mut tracers) = (Vec::new(), 0);
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        letters.extend(field("State:").chars().next());
        tracers = tracers.max(field("TracerPid:").parse().unwrap());
    }
    (letters, tracers)
}

fn assert_let_go(pid: i32) {
    wait_until("let go", || {
        let (letters, tracer) = states(pid);
        tracer == 0 && !letters.iter().any(|letter| matches!(letter, 't' | 'T'))
    });
}

/// It runs: what it counts grows.
fn assert_runs(target: &mut Running, question: &str) {
    let pid = target.pid();
    assert_let_go(pid);
    let before = *target.ask(question).last().unwrap();
    wait_until("it runs", || *target.ask(question).last().unwrap() > before);
}

/// Its main thread waits for a line.
fn wait_for_main(opened: &LiveTarget) {
    wait_until("the main thread reads", || opened.blocked_thread(opened.pid()).is_some());
}

/// The process that holds a frozen one.
fn tracer_of(pid: i32) -> i32 {
    let (_, tracer) = states(pid);
    let name = std::fs::read_to_string(format!("/proc/{tracer}/comm")).unwrap();
    assert_eq!(name.trim(), "gospy-freeze");
    tracer
}

#[test]
#[ignore = "a role: freezes a process again and again"]
fn freezer() {
    let target = LiveTarget::open(std::env::var("TARGET_PID").unwrap().parse().unwrap()).unwrap();
    println!("\nready");
    loop {
        // Now and then one cannot be had; then comes the next.
        if let Ok(frozen) = target.freeze(&FreezeWhich::All) {
            std::thread::sleep(Duration::from_micros(300));
            let _ = frozen.resume();
        }
    }
}

/// Every signal is received once, with its value, wherever a freeze was when gospy or its tracer was
/// killed.
#[test]
fn no_signal_is_lost_however_a_freeze_ends() {
    const SIGNALS: u64 = 8000;
    let mut target = Running::target(&["signals"]);
    let (pid, receiver) = (target.pid().to_string(), target.ready.clone());
    let mut sender = Command::new(program()).args(["send", &pid, &receiver, &SIGNALS.to_string()]).spawn().unwrap();
    let (mut kills, mut tracers, mut usr1) = (0, 0, 0);
    while sender.try_wait().unwrap().is_none() {
        let freezer = Running::role("freezer", target.pid());
        // At no particular moment.
        std::thread::sleep(Duration::from_micros(3000 + kills * 7919 % 9000));
        kill(Pid::from_raw(target.pid()), Signal::SIGUSR1).unwrap();
        usr1 += 1;
        let signal = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT][usize::try_from(kills % 3).unwrap()];
        let (_, tracer) = states(target.pid());
        if tracer != 0 && kills % 2 == 1 && kill(Pid::from_raw(tracer), Signal::SIGKILL).is_ok() {
            tracers += 1;
        }
        kill(Pid::from_raw(freezer.pid()), signal).unwrap();
        kills += 1;
        drop(freezer);
        // A second SIGUSR1 before the first was received would count once.
        wait_until("SIGUSR1 arrives", || target.ask(&SIGNALS.to_string())[2] == usr1);
    }
    assert_let_go(target.pid());
    wait_until("all have arrived", || target.ask(&SIGNALS.to_string())[0] == 0);
    let answer = target.ask(&SIGNALS.to_string());
    println!("{kills} kills, {tracers} of tracers: {answer:?}");
    assert_eq!(answer[..3], [0, 0, usr1]);
    assert!(kills > 10 && tracers > 0);
}

/// A target that calls `execve` is never in its way, never taken for what it was, and never refused.
#[test]
fn a_target_that_becomes_another_program_is_not_held_up() {
    const FREEZES: usize = 150;
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("execs-{}", std::process::id()));
    let target = Running::target(&["exec", path.to_str().unwrap()]);
    let file = std::fs::File::open(&path).unwrap();
    let count = || {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, 0).unwrap();
        u64::from_le_bytes(word)
    };
    let (mut held, mut replaced, mut longest) = (0, 0, Duration::ZERO);
    let mut one = || {
        let opened = loop {
            // It is nothing to be read for moments.
            if let Ok(opened) = LiveTarget::open(target.pid()) {
                break opened;
            }
        };
        let start = Instant::now();
        match opened.freeze(&FreezeWhich::All) {
            Ok(frozen) => {
                let before = count();
                std::thread::sleep(Duration::from_micros(500));
                let after = count();
                match frozen.resume() {
                    Ok(_) => {
                        assert_eq!(before, after, "it ran while it stood still");
                        held += 1;
                    }
                    Err(Broken::Exec | Broken::Ended) => replaced += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            Err(TargetError::Replaced { .. } | TargetError::NoSuchProcess { .. }) => replaced += 1,
            Err(other) => panic!("{other}"),
        }
        longest = longest.max(start.elapsed());
    };
    (0..FREEZES).for_each(|_| one());
    println!("{FREEZES} freezes: {held} held, {replaced} met another program, the longest took {longest:?}");
    assert!(held > 0 && longest < Duration::from_secs(2), "{held} {longest:?}");
    let before = count();
    wait_until("it goes on", || count() > before + 5);
    drop(target);
    std::fs::remove_file(&path).unwrap();
}

/// Calls that fail with EINTR when a thread is stopped are left alone. One may be entered in the last
/// moment.
#[test]
fn calls_do_not_fail() {
    const FREEZES: u64 = 100;
    let mut target = Running::target(&["eintr"]);
    let opened = LiveTarget::open(target.pid()).unwrap();
    wait_for_main(&opened);
    let (mut asleep, mut stopped) = (0, 0);
    for _ in 0..FREEZES {
        let frozen = opened.freeze(&FreezeWhich::All).unwrap();
        assert_eq!(frozen.threads().len(), 6);
        asleep += frozen.threads().iter().filter(|&&tid| frozen.asleep(tid).is_some()).count();
        stopped += frozen.threads().iter().filter(|&&tid| frozen.registers(tid).is_some()).count();
        std::thread::sleep(Duration::from_micros(200));
        frozen.resume().unwrap();
    }
    let answer = target.ask("report");
    println!("{asleep} were left asleep, {stopped} stopped, {answer:?}");
    assert!(answer[..3].iter().all(|&failures| failures <= FREEZES / 50), "{answer:?}");
    // Four besides the two that are stopped without noticing: one of them reads standard input.
    assert!(asleep >= 380 && stopped >= 100, "{asleep} {stopped}");
    assert_runs(&mut target, "report");

    // Threads that are known to be prepared for it are stopped there.
    let options =
        FreezeOptions { resilient: opened.threads().unwrap().iter().map(|t| t.tid).collect(), ..Default::default() };
    let frozen = opened.freeze_with(&FreezeWhich::All, &options).unwrap();
    let still = frozen.threads().iter().filter(|&&tid| frozen.asleep(tid).is_some()).count();
    frozen.resume().unwrap();
    assert_eq!(still, 3);
    wait_until("epoll_wait fails", || target.ask("report")[0] > answer[0]);
}

/// Who was left asleep and ran is found.
#[test]
fn a_sleeper_that_runs_makes_a_freeze_none() {
    let mut target = Running::target(&["eintr"]);
    let opened = LiveTarget::open(target.pid()).unwrap();
    wait_for_main(&opened);
    let frozen = opened.freeze(&FreezeWhich::All).unwrap();
    let main = frozen.asleep(target.pid()).expect("the main thread reads standard input");
    assert!(main.pc.0 != 0 && main.sp.0 != 0);
    target.ask("report");
    assert_eq!(frozen.resume().unwrap_err(), Broken::Ran(vec![target.pid()]));
    assert_runs(&mut target, "report");
}

/// A filter that forbids what the kernel does after a stop.
#[test]
fn a_filtered_target_is_refused_and_survives() {
    survives_as_filtered("seccomp", 4);
}

/// Filters are of threads: the main thread's status says nothing of the others'.
#[test]
fn a_target_with_one_filtered_thread_is_refused_and_survives() {
    survives_as_filtered("filtered-thread", 3);
}

fn survives_as_filtered(mode: &str, threads: usize) {
    let mut target = Running::target(&[mode]);
    let opened = LiveTarget::open(target.pid()).unwrap();
    let refused = opened.freeze(&FreezeWhich::All).err().unwrap();
    assert!(matches!(refused, TargetError::Filtered { .. }), "{refused}");
    assert!(refused.to_string().contains("--freeze-seccomp"), "{refused}");
    let opened = opened.allow_freeze_of_filtered(true);
    for _ in 0..50 {
        let frozen = opened.freeze(&FreezeWhich::All).unwrap();
        assert_eq!(frozen.threads().len(), threads);
        frozen.resume().unwrap();
    }
    writeln!(target.stdin, "?").unwrap();
    assert_eq!(target.line().trim(), "alive");
}

/// The kernel lets the target run on at the deadline, whatever gospy does meanwhile.
#[test]
fn the_deadline_lets_go() {
    let mut target = Running::target(&["eintr"]);
    let opened = LiveTarget::open(target.pid()).unwrap();
    for stop_the_tracer in [false, true] {
        let start = Instant::now();
        let frozen = opened.freeze(&FreezeWhich::All).unwrap();
        if stop_the_tracer {
            kill(Pid::from_raw(tracer_of(target.pid())), Signal::SIGSTOP).unwrap();
        }
        wait_until("let go", || states(target.pid()).1 == 0);
        assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
        assert!(matches!(frozen.resume(), Err(Broken::Overdue(_))));
        assert_runs(&mut target, "report");
    }
    // Stopped, it cannot let go in order either.
    let frozen = opened.freeze(&FreezeWhich::All).unwrap();
    kill(Pid::from_raw(tracer_of(target.pid())), Signal::SIGSTOP).unwrap();
    assert!(matches!(frozen.resume(), Err(Broken::Overdue(_))));
    assert_runs(&mut target, "report");
}

#[test]
fn a_tracer_that_is_killed_lets_go_and_makes_a_freeze_none() {
    let mut target = Running::target(&["eintr"]);
    let opened = LiveTarget::open(target.pid()).unwrap();
    let frozen = opened.freeze(&FreezeWhich::All).unwrap();
    kill(Pid::from_raw(tracer_of(target.pid())), Signal::SIGKILL).unwrap();
    assert_let_go(target.pid());
    assert_eq!(frozen.resume().unwrap_err(), Broken::Killed(9));
    assert_runs(&mut target, "report");
}

/// Of a target that is killed while it stands still, its parent hears at once.
#[test]
fn a_target_can_be_killed_while_it_stands_still() {
    let mut target = Running::target(&["eintr"]);
    let opened = LiveTarget::open(target.pid()).unwrap();
    let options = FreezeOptions { hold: Duration::from_secs(60), ..FreezeOptions::default() };
    let frozen = opened.freeze_with(&FreezeWhich::All, &options).unwrap();
    kill(Pid::from_raw(target.pid()), Signal::SIGKILL).unwrap();
    let start = Instant::now();
    target.child.wait().unwrap();
    println!("its parent knew after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(matches!(frozen.resume(), Err(Broken::Ended | Broken::Ran(_))));
}

/// Signals of a terminal that would stop gospy wait until the target runs on; those that end it do not.
#[test]
fn no_terminal_stops_gospy_amid_a_freeze() {
    let mask = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
        u64::from_str_radix(&blocked, 16).unwrap()
    };
    let (one, other) = (Running::target(&["eintr"]), Running::target(&["eintr"]));
    let open = |target: &Running| LiveTarget::open(target.pid()).unwrap();
    let (one, other) = (open(&one), open(&other));
    let before = mask();
    let bits = |signals: [Signal; 3]| signals.map(|signal| 1_u64 << (signal as i32 - 1));
    let blocked = bits([Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU]);
    let others = bits([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    let first = one.freeze(&FreezeWhich::All).unwrap();
    let second = other.freeze(&FreezeWhich::All).unwrap();
    drop(first);
    assert!(blocked.iter().all(|bit| mask() & bit != 0));
    assert!(others.iter().all(|bit| mask() & bit == before & bit));
    drop(second);
    assert_eq!(mask(), before);
}

/// What was read in a freeze that was none is read once more, and an error if that is none either.
#[test]
fn a_broken_freeze_is_tried_again_and_never_shown() {
    let program = Fixture::start("fx", "1.26.6", Mode::Sw, &["idle", "-busy", "1"]);
    let capture_blind = |broken: Vec<Broken>, mode, goes_blind| {
        let freezes = Arc::new(AtomicUsize::new(0));
        let blind = Arc::new(AtomicBool::new(false));
        let (counted, set, pid) = (Arc::clone(&freezes), Arc::clone(&blind), program.pid());
        let target = Altered::new(LiveTarget::open(pid).unwrap())
            .with_broken_freezes(broken)
            .at_freeze(move |begins, goes_wrong| {
                counted.fetch_add(usize::from(begins), Ordering::SeqCst);
                set.store(goes_blind && goes_wrong, Ordering::SeqCst);
            })
            .with_reads(move |_, read| match blind.load(Ordering::SeqCst) {
                true => Err(ReadError::Gone { pid }),
                false => read(),
            });
        let mut session = Session::open(Box::new(target), &OpenOptions::default()).unwrap();
        let options = CaptureOptions { stacks: true, freeze: Some(mode), ..CaptureOptions::default() };
        (session.capture(&options), freezes.load(Ordering::SeqCst))
    };
    let capture = |broken, mode| capture_blind(broken, mode, false);
    let ran = || Broken::Ran(vec![4, 5]);
    let (snapshot, freezes) = capture(vec![ran()], FreezeMode::All);
    assert!(snapshot.unwrap().reading.freeze.unwrap().whole_program);
    assert_eq!(freezes, 2);

    let (error, freezes) = capture(vec![ran(), ran()], FreezeMode::All);
    let error = error.unwrap_err();
    assert!(matches!(&error, CaptureError::NotFrozen { broken, .. } if *broken == ran()), "{error}");
    assert!(
        error.to_string().contains("threads 4, 5 ran") && error.to_string().contains("--freeze=running"),
        "{error}"
    );
    assert_eq!(freezes, 2);

    let (error, _) = capture(vec![Broken::Exec, Broken::Exec], FreezeMode::All);
    assert!(matches!(error.unwrap_err(), CaptureError::Target(TargetError::Replaced { .. })));
    let (error, _) = capture(vec![Broken::Exec], FreezeMode::Running);
    assert!(matches!(error.unwrap_err(), CaptureError::Target(TargetError::Replaced { .. })));
    // One thread at a time, the next time may be better.
    let (snapshot, freezes) = capture(vec![ran()], FreezeMode::Running);
    assert!(snapshot.is_ok() && freezes > 1, "{freezes}");
    // What could not be read in one that was none says nothing either.
    for mode in [FreezeMode::All, FreezeMode::Running] {
        let (snapshot, freezes) = capture_blind(vec![ran()], mode, true);
        assert!(snapshot.is_ok() && freezes > 1, "{mode:?}: {freezes} {:?}", snapshot.err());
    }
    let (error, freezes) = capture_blind(vec![ran(), ran()], FreezeMode::All, true);
    assert!(matches!(error.unwrap_err(), CaptureError::NotFrozen { .. }) && freezes == 2, "{freezes}");
}

/// As a user sees it.
#[test]
fn a_filtered_go_program_is_frozen_when_that_is_asked_for() {
    let binary = Fixture::build("fx", "1.26.6", Mode::Sw);
    let target =
        Running::start(Command::new(program()).args(["filtered", binary.to_str().unwrap(), "idle", "-busy", "1"]));
    let pid = target.pid().to_string();
    for freeze in ["--freeze=all", "--freeze"] {
        let refused = gospy(&["stack", freeze, "--pid", &pid]);
        assert_eq!(refused.code(), 1, "{refused:?}");
        assert!(refused.stdout.is_empty() && refused.stderr.contains("--freeze-seccomp"), "{refused:?}");
        // A thread in a call that a stop would make fail is left alone, and breaks the freeze if it wakes up in it. Where
        // there is much else to do, a freeze is long enough for that.
        let mut tries = (0..20).map(|_| gospy(&["stack", freeze, "--freeze-seccomp", "--pid", &pid]));
        let frozen = tries.find(|output| !output.stderr.contains("nothing is shown; try again")).unwrap();
        assert!(frozen.ok().contains("main.main"));
    }
    assert!(gospy(&["stack", "--pid", &pid]).ok().contains("main.main"));
    assert_eq!(gospy(&["stack", "--freeze-seccomp", "--pid", &pid]).code(), 2);
    assert_let_go(target.pid());
}
