//! Tests of the calls, and of tracer processes with other jobs than tracing.

use super::raw::{call, word};
use super::trace::{Stop, decode_stop};
use super::*;
use crate::process::proc_dir::ProcDir;
use nix::errno::Errno;
use nix::libc;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use std::time::Instant;

#[test]
fn event_stops_and_signal_deliveries_are_distinguished() {
    let stop = |signal: i32, event: i32| decode_stop(signal | event << 8);
    assert_eq!(stop(libc::SIGTRAP, 128), Stop { signal: 0, event: 128 });
    assert_eq!(stop(libc::SIGSTOP, 128), Stop { signal: 0, event: 128 });
    assert_eq!(stop(libc::SIGURG, 0), Stop { signal: libc::SIGURG, event: 0 });
    assert_eq!(stop(34, 0), Stop { signal: 34, event: 0 });
}

#[test]
fn untraced_threads_are_refused() {
    let me = own_tid();
    assert_eq!(me, nix::unistd::gettid().as_raw());
    assert_eq!(peek_stop(me), Err(Errno::ECHILD));
    assert!(!reap(me));
    assert_eq!((detach(me, 0), interrupt(me)), (Err(Errno::ESRCH), Err(Errno::ESRCH)));
    assert_eq!(seize(i32::MAX), Err(Errno::ESRCH));
    assert_eq!(seize(1).err(), seize(1).err());
    assert_eq!(registers(me), None);
    assert_eq!(open_at(libc::AT_FDCWD, c"/no/such/file"), Err(Errno::ENOENT));
    assert_eq!(read(-1, &mut [0]), Err(Errno::EBADF));
}

/// A job that does one thing.
struct Sham {
    work: fn(&Self) -> i32,
    files: [RawFd; 2],
    deadline: Duration,
    word: AtomicU32,
    at_work: AtomicBool,
    /// Whether it resets its timer.
    goes_on: AtomicBool,
}

impl TracerJob for Sham {
    fn run(&self, timer: Option<&Timer>) -> i32 {
        if self.goes_on.load(SeqCst) && !timer.is_some_and(|timer| timer.set(LONG)) {
            return 1;
        }
        self.at_work.store(true, SeqCst);
        (self.work)(self)
    }

    fn child_ended(&self) {
        self.word.fetch_add(1, SeqCst);
    }

    fn files(&self) -> [RawFd; 2] {
        self.files
    }

    fn first_limit(&self) -> Duration {
        self.deadline
    }
}

fn sham(work: fn(&Sham) -> i32, deadline: Duration) -> (Arc<Sham>, (std::io::PipeReader, std::io::PipeWriter)) {
    let (reader, writer) = std::io::pipe().unwrap();
    let files = [writer.as_raw_fd(), -1];
    let (word, at_work, goes_on) = (AtomicU32::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let job = Arc::new(Sham { work, files, deadline, word, at_work, goes_on });
    (job, (reader, writer))
}

const LONG: Duration = Duration::from_secs(100);

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 20, "waited for too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn sleep_forever(job: &Sham) -> i32 {
    loop {
        futex_wait(&job.word, u32::MAX - 1, LONG);
        nap(LONG);
    }
}

#[test]
fn a_tracer_shares_memory_and_returns_its_status() {
    let (job, pipe) = sham(
        |job| {
            job.word.store(7, SeqCst);
            42
        },
        LONG,
    );
    let mut tracer = spawn(Arc::clone(&job)).unwrap();
    assert_eq!((tracer.wait(), tracer.wait()), (End::Exited(42), End::Exited(42)));
    assert_eq!(job.word.load(SeqCst), 7);
    drop((tracer, pipe));
    assert_eq!(Arc::strong_count(&job), 1);
}

/// It receives only SIGKILL, and SIGCHLD of its own children.
#[test]
fn a_tracer_blocks_signals_and_has_its_own_process_group_and_no_files() {
    let (job, pipe) = sham(sleep_forever, LONG);
    let tracer = spawn(Arc::clone(&job)).unwrap();
    wait_until(|| job.at_work.load(SeqCst));
    let dir = ProcDir::open(tracer.pid()).unwrap();
    let (stat, text) = (dir.stat().unwrap(), dir.text("status").unwrap());
    assert_eq!((stat.pgrp, stat.comm.as_str()), (tracer.pid(), "gospy-freeze"));
    let blocked = text.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
    // SIGKILL, SIGSTOP and SIGCHLD.
    assert_eq!(u64::from_str_radix(blocked, 16).unwrap(), !(1 << 8 | 1 << 18 | 1 << 16));
    let files: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", tracer.pid())).unwrap().flatten().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGTSTP, libc::SIGUSR1, 40] {
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::kill(tracer.pid(), signal) }, 0);
    }
    std::thread::sleep(Duration::from_millis(5));
    assert!(matches!(dir.stat().unwrap().state, 'S' | 'R'));
    let pid = tracer.pid();
    drop(tracer);
    assert!(ProcDir::open(pid).is_err());
    drop(pipe);
}

#[test]
fn the_kernel_kills_even_a_stopped_tracer_at_its_deadline() {
    for stopped in [false, true] {
        let (job, (reader, writer)) = sham(sleep_forever, Duration::from_millis(300));
        let started = Instant::now();
        let mut tracer = spawn(Arc::clone(&job)).unwrap();
        wait_until(|| job.at_work.load(SeqCst));
        if stopped {
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::kill(tracer.pid(), libc::SIGSTOP) }, 0);
        }
        drop(writer);
        assert!(!await_pipe(reader.as_raw_fd(), true, Duration::from_millis(20)));
        assert!(await_pipe(reader.as_raw_fd(), true, LONG));
        assert_eq!(tracer.wait(), End::Killed(libc::SIGKILL));
        assert!(started.elapsed() >= Duration::from_millis(300) && started.elapsed() < Duration::from_secs(10));
    }
}

/// It outlives its first limit.
#[test]
fn a_tracer_may_reset_its_timer() {
    let (job, _pipe) = sham(
        |_| {
            nap(Duration::from_millis(500));
            3
        },
        Duration::from_millis(200),
    );
    job.goes_on.store(true, SeqCst);
    assert_eq!(spawn(job).unwrap().wait(), End::Exited(3));
}

extern "C" fn nothing(_: libc::c_int) {}

/// A signal does not end a wait for a tracer.
#[test]
fn waiting_for_a_pipe_survives_signals() {
    const WAIT: Duration = Duration::from_millis(300);
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: zeroes are a sigaction; the pointers are valid, and the handler does nothing.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = handler as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGURG, ptr::from_ref(&action), ptr::null_mut()), 0);
    }
    let (reader, _writer) = std::io::pipe().unwrap();
    let me = own_tid();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..5 {
                std::thread::sleep(Duration::from_millis(20));
                let own = i32::try_from(std::process::id()).unwrap();
                // SAFETY: no pointers.
                let sent = unsafe { call(libc::SYS_tgkill, [word(own), word(me), word(libc::SIGURG)]) };
                assert!(sent.is_ok());
            }
        });
        assert!(!await_pipe(reader.as_raw_fd(), true, WAIT));
    });
    assert!(start.elapsed() >= WAIT && start.elapsed() < WAIT * 20, "{:?}", start.elapsed());
}

/// The handler finds its own job among many.
#[test]
fn each_tracer_is_notified_of_its_own_tracees() {
    let jobs: Vec<_> = (0..3).map(|_| sham(sleep_forever, LONG)).collect();
    let tracers: Vec<_> = jobs.iter().map(|(job, _)| spawn(Arc::clone(job)).unwrap()).collect();
    wait_until(|| jobs.iter().all(|(job, _)| job.at_work.load(SeqCst)));
    for (number, tracer) in tracers.iter().enumerate() {
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::kill(tracer.pid(), libc::SIGCHLD) }, 0);
        wait_until(|| jobs[number].0.word.load(SeqCst) == 1);
        assert!(jobs.iter().skip(number + 1).all(|(job, _)| job.word.load(SeqCst) == 0));
    }
}

/// It ends with the thread that started it, even if nothing waited for it.
#[test]
fn a_tracer_ends_with_its_thread() {
    let (job, _pipe) = sham(sleep_forever, LONG);
    let started = Arc::clone(&job);
    let pid = std::thread::spawn(move || {
        let tracer = std::mem::ManuallyDrop::new(spawn(Arc::clone(&started)).unwrap());
        wait_until(|| started.at_work.load(SeqCst));
        tracer.pid()
    });
    let pid = pid.join().unwrap();
    wait_until(|| ProcDir::open(pid).and_then(|dir| dir.stat()).map_or(true, |stat| matches!(stat.state, 'Z' | 'X')));
    let mut status = 0;
    // SAFETY: a valid pointer to an int.
    assert_eq!(unsafe { libc::waitpid(pid, ptr::from_mut(&mut status), libc::__WALL) }, pid);
    assert!(libc::WIFSIGNALED(status));
}

/// The GNU C library keeps blocks that it has mapped by themselves 16 bytes into a page. What other tests have
/// freed may be used first, so this one is run again as a process of its own.
#[cfg(target_env = "gnu")]
#[test]
fn large_blocks_are_mapped_by_themselves() {
    if std::env::var_os("ALONE").is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "process::syscalls::tests::large_blocks_are_mapped_by_themselves"]).env("ALONE", "1");
        let output = alone.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    super::free_large_blocks_at_once();
    // Without it, blocks of less than this come from the heap from now on.
    drop(vec![1_u8; 8 << 20]);
    let blocks: Vec<Vec<u8>> = (0..4).map(|n| vec![1; (2 << 20) + 4096 * n]).collect();
    assert!(blocks.iter().all(|block| block.as_ptr().addr() % 4096 == 16));
}
