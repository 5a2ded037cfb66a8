//! System calls for which there is no safe wrapper that fits, each behind a safe function.
//!
//! Most of them are made by the tracer of a freeze, a process that shares the memory of this one but
//! nothing else ([`spawn`]). It has no thread-local storage of its own, where the C library keeps
//! `errno`: so they are made without the C library, and give their error as a value. They allocate
//! nothing and take no locks.
//!
//! The wrappers of nix also know no more than the 31 classic signals. Real-time ones have to be
//! given back to the threads that were stopped while they received them, like all others.
#![allow(unsafe_code, reason = "this is the one place that makes system calls; every block says why it is sound")]

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};

use super::{Registers, Tid};
use crate::addr::Addr;

/// Makes a system call; arm64 and amd64 are the architectures that gospy knows.
///
/// # Safety
/// Pointers among the arguments have to be valid for what the call does with them.
#[cfg(target_arch = "x86_64")]
unsafe fn raw(number: libc::c_long, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let result;
    // SAFETY: the kernel's calling convention (syscall(2)): it changes rax, rcx and r11 only, and
    // memory through pointers that the caller vouches for.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// As on amd64.
///
/// # Safety
/// As on amd64.
#[cfg(target_arch = "aarch64")]
unsafe fn raw(number: libc::c_long, args: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = args;
    let result;
    // SAFETY: the kernel's calling convention (syscall(2)): it changes x0 only, and memory through
    // pointers that the caller vouches for.
    unsafe {
        std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack));
    }
    result
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn raw(_: libc::c_long, _: [usize; 6]) -> isize {
    -(libc::ENOSYS as isize)
}

/// As [`raw`], with the error as a value.
///
/// # Safety
/// As for [`raw`].
unsafe fn call<const N: usize>(number: libc::c_long, args: [usize; N]) -> Result<usize, Errno> {
    let mut all = [0; 6];
    for (slot, arg) in all.iter_mut().zip(args) {
        *slot = arg;
    }
    // SAFETY: the caller vouches for the pointers.
    let result = unsafe { raw(number, all) };
    usize::try_from(result).map_err(|_| Errno::from_raw(i32::try_from(result.wrapping_neg()).unwrap_or_default()))
}

/// A number as the kernel takes it: sign-extended.
fn word(number: i32) -> usize {
    number as usize
}

/// A stop of a traced thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// Number of the signal that it was about to receive; 0 for a stop by an event.
    pub(super) signal: i32,
    /// `PTRACE_EVENT_*`, 0 for the delivery of a signal.
    pub(super) event: i32,
}

/// What `si_status` of a traced thread's stop means: a signal in the low byte, an event above it.
fn decode_stop(status: i32) -> Stop {
    let event = status >> 8;
    // The low byte of an event is no signal on its way, but SIGTRAP, or which signal stopped all.
    Stop { signal: if event == 0 { status & 0x7f } else { 0 }, event }
}

fn waitid(tid: Tid, options: i32) -> Result<Option<(i32, i32)>, Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = word(options | libc::WNOHANG | libc::__WALL);
    let pid = libc::P_PID as usize;
    // SAFETY: waitid writes a siginfo, to which the pointer is valid; no rusage is asked for.
    unsafe { call(libc::SYS_waitid, [pid, word(tid), info.as_mut_ptr() as usize, options, 0])? };
    // SAFETY: all bytes were set to 0, which is a siginfo; the kernel overwrote what it knows. These
    // fields are there for what waitid reports, and 0 when it reports nothing.
    let (info, who, status) = unsafe {
        let info = info.assume_init();
        (info, info.si_pid(), info.si_status())
    };
    Ok((who != 0).then_some((info.si_code, status)))
}

/// How `tid`, a thread that the caller traces, stands still, if it does. The stop is only looked at:
/// what waits for the stop takes the signal out of it, and it would be lost with the tracer.
///
/// # Errors
/// `ECHILD` when the caller does not trace it (any more).
pub(super) fn peek_stop(tid: Tid) -> Result<Option<Stop>, Errno> {
    Ok(waitid(tid, libc::WSTOPPED | libc::WNOWAIT)?.map(|(_, status)| decode_stop(status)))
}

/// Takes notice of the end of a traced thread; true if it had ended. Only that completes its end: an
/// `execve` of another thread waits for it.
///
/// A tracer that waits is told of stops too, whatever it waits for, and would take the signals out of
/// them. So this looks first.
pub(super) fn reap(tid: Tid) -> bool {
    let dead = |code| matches!(code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED);
    match waitid(tid, libc::WEXITED | libc::WNOWAIT) {
        Ok(Some((code, _))) if dead(code) => waitid(tid, libc::WEXITED).is_ok_and(|taken| taken.is_some()),
        _ => false,
    }
}

fn ptrace(request: libc::c_uint, tid: Tid, addr: usize, data: usize) -> Result<(), Errno> {
    // SAFETY: of the requests that are made here, GETREGSET alone uses memory of ours: `data` is then
    // the address of an iovec, see `registers`.
    unsafe { call(libc::SYS_ptrace, [request as usize, word(tid), addr, data]) }.map(drop)
}

/// Becomes the tracer of a thread, without stopping it. Its `execve` is to be reported, which shows
/// that it happened; no other option is set, since all others outlast the freeze in some way.
///
/// # Errors
/// The kernel's. `EPERM` has many meanings: see `Job::seize`.
pub(super) fn seize(tid: Tid) -> Result<(), Errno> {
    ptrace(libc::PTRACE_SEIZE, tid, 0, libc::PTRACE_O_TRACEEXEC as usize)
}

/// Asks a traced thread to stop.
///
/// # Errors
/// `ESRCH` when it has ended.
pub(super) fn interrupt(tid: Tid) -> Result<(), Errno> {
    ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0)
}

/// Lets a stopped thread run on, with the signal that it was about to receive (0 for none).
///
/// # Errors
/// `ESRCH` when it has ended, is not stopped, or is not traced by the caller.
pub(super) fn detach(tid: Tid, signal: i32) -> Result<(), Errno> {
    ptrace(libc::PTRACE_DETACH, tid, 0, word(signal))
}

/// The registers of a stopped thread.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn registers(tid: Tid) -> Option<Registers> {
    let mut regs = MaybeUninit::<libc::user_regs_struct>::zeroed();
    let mut iovec =
        libc::iovec { iov_base: regs.as_mut_ptr().cast(), iov_len: std::mem::size_of::<libc::user_regs_struct>() };
    let note = usize::try_from(libc::NT_PRSTATUS).unwrap_or_default();
    ptrace(libc::PTRACE_GETREGSET, tid, note, ptr::from_mut(&mut iovec) as usize).ok()?;
    // SAFETY: all bytes were set, by us or by the kernel, and they are numbers.
    Some(decode_registers(&unsafe { regs.assume_init() }))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn registers(_: Tid) -> Option<Registers> {
    None
}

#[cfg(target_arch = "x86_64")]
fn decode_registers(regs: &libc::user_regs_struct) -> Registers {
    Registers { pc: Addr(regs.rip), sp: Addr(regs.rsp), lr: Addr(0), fp: Addr(regs.rbp), g: Addr(regs.r14) }
}

#[cfg(target_arch = "aarch64")]
fn decode_registers(regs: &libc::user_regs_struct) -> Registers {
    let [.., g, fp, lr] = regs.regs;
    Registers { pc: Addr(regs.pc), sp: Addr(regs.sp), lr: Addr(lr), fp: Addr(fp), g: Addr(g) }
}

/// Opens a file for reading, given its name relative to a directory.
///
/// # Errors
/// The kernel's.
pub(super) fn open_at(dir: RawFd, name: &CStr) -> Result<RawFd, Errno> {
    let flags = word(libc::O_RDONLY | libc::O_CLOEXEC);
    // SAFETY: the name ends with a NUL.
    let fd = unsafe { call(libc::SYS_openat, [word(dir), name.as_ptr() as usize, flags, 0])? };
    RawFd::try_from(fd).map_err(|_| Errno::EBADF)
}

/// Whether there is a file with that name in a directory.
pub(super) fn exists_at(dir: RawFd, name: &CStr) -> bool {
    // SAFETY: the name ends with a NUL.
    unsafe { call(libc::SYS_faccessat, [word(dir), name.as_ptr() as usize, word(libc::F_OK)]) }.is_ok()
}

/// Reads into `buf` from the start of an open file that has not been read yet, and gives the count.
///
/// # Errors
/// The kernel's.
pub(super) fn read(fd: RawFd, buf: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes no more than the length that it is given.
    unsafe { call(libc::SYS_read, [word(fd), buf.as_mut_ptr() as usize, buf.len()]) }
}

/// Writes one byte; nobody may be there to read it.
pub(super) fn write_byte(fd: RawFd) {
    let byte = [1_u8];
    // SAFETY: there is one byte to be read.
    let _ = unsafe { call(libc::SYS_write, [word(fd), byte.as_ptr() as usize, byte.len()]) };
}

/// Closes a descriptor that is the caller's.
pub(super) fn close(fd: RawFd) {
    // SAFETY: no pointers.
    let _ = unsafe { call(libc::SYS_close, [word(fd)]) };
}

/// Goes back to the start of a directory.
///
/// # Errors
/// The kernel's.
pub(super) fn rewind(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_lseek, [word(fd), 0, word(libc::SEEK_SET)]) }.map(drop)
}

/// The next entries of a directory, as getdents64(2) lays them out, and how many bytes they take; 0
/// at its end.
///
/// # Errors
/// The kernel's.
pub(super) fn directory_entries(fd: RawFd, buf: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes no more than the length that it is given.
    unsafe { call(libc::SYS_getdents64, [word(fd), buf.as_mut_ptr() as usize, buf.len()]) }
}

/// Waits until there is something to read from `fd` (unless only its end counts), until its other side
/// is closed, or for so long. False if nothing of that happened.
pub(super) fn await_pipe(fd: RawFd, only_end: bool, within: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: if only_end { 0 } else { libc::POLLIN }, revents: 0 };
    let mut time = timespec(within);
    loop {
        let (poll_at, time_at) = (ptr::from_mut(&mut poll) as usize, ptr::from_mut(&mut time) as usize);
        // SAFETY: pointers are to values that outlive the call, of which it writes what is left of the time
        // to the second; the mask of signals stays as it is.
        match unsafe { call(libc::SYS_ppoll, [poll_at, 1, time_at, 0, 0]) } {
            Err(Errno::EINTR) => {}
            result => return result.is_ok_and(|count| count > 0),
        }
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// Waits until `word` is woken, if it has the value `expected` still, until a signal, or for so long.
pub(super) fn futex_wait(word: &AtomicU32, expected: u32, within: Duration) {
    let time = timespec(within);
    let op = libc::FUTEX_WAIT as usize;
    // SAFETY: both pointers are to values that outlive the call.
    let _ = unsafe {
        call(libc::SYS_futex, [word.as_ptr() as usize, op, expected as usize, ptr::from_ref(&time) as usize, 0, 0])
    };
}

/// Wakes all who wait for `word`.
pub(super) fn futex_wake(word: &AtomicU32) {
    let (op, all) = (libc::FUTEX_WAKE as usize, i32::MAX as usize);
    // SAFETY: the kernel uses the address only, which is valid.
    let _ = unsafe { call(libc::SYS_futex, [word.as_ptr() as usize, op, all, 0, 0, 0]) };
}

/// Gives the processor to others for a moment.
pub(super) fn yield_now() {
    // SAFETY: no pointers.
    let _ = unsafe { call(libc::SYS_sched_yield, []) };
}

/// Sleeps, until a signal at most.
pub(super) fn nap(time: Duration) {
    let time = timespec(time);
    // SAFETY: the pointer is to a value that outlives the call; what is left of the time is not asked.
    let _ = unsafe { call(libc::SYS_nanosleep, [ptr::from_ref(&time) as usize, 0]) };
}

/// The caller's thread id.
pub(super) fn own_tid() -> Tid {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_gettid, []) }.ok().and_then(|tid| Tid::try_from(tid).ok()).unwrap_or_default()
}

/// Ignores SIGCHLD, or no longer; true if it was ignored.
///
/// # Errors
/// The kernel's.
pub(super) fn ignore_sigchld(ignore: bool) -> Result<bool, Errno> {
    let handler = if ignore { SigHandler::SigIgn } else { SigHandler::SigDfl };
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: neither is a function that could be called.
    let before = unsafe { sigaction(Signal::SIGCHLD, &action) }?;
    Ok(matches!(before.handler(), SigHandler::SigIgn))
}

/// Has a command start with this mask of signals, and with SIGCHLD ignored if that is wanted. The parent
/// cannot ignore it meanwhile: the status of a command that ends at once would be lost.
pub(super) fn before_exec(command: &mut Command, mask: SigSet, ignore: bool) {
    let prepare = move || {
        if ignore {
            ignore_sigchld(true)?;
        }
        mask.thread_set_mask()?;
        Ok(())
    };
    // SAFETY: between fork and exec it makes two system calls that signal-safety(7) lists, sigaction and
    // pthread_sigmask; it takes no locks and allocates nothing.
    unsafe { command.pre_exec(prepare) };
}

/// A descriptor of a process (Linux 5.3), which never comes to mean another one.
///
/// # Errors
/// `ESRCH` when there is none with that pid; `ENOSYS` before Linux 5.3.
pub(super) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: no pointers.
    let fd = unsafe { call(libc::SYS_pidfd_open, [word(pid), 0])? };
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just opened it for us; it is closed on exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to a process.
///
/// # Errors
/// `ESRCH` when it has ended; `EPERM` when it is refused.
pub(super) fn pidfd_send_signal(process: &OwnedFd, signal: Signal) -> Result<(), Errno> {
    // SAFETY: no pointers: without a siginfo, the kernel makes one as for kill(2).
    unsafe { call(libc::SYS_pidfd_send_signal, [word(process.as_raw_fd()), word(signal as i32), 0, 0]) }.map(drop)
}

/// What a tracer process does.
pub(super) trait TracerJob: Send + Sync {
    /// Its work, in the tracer; the result is its exit status. It shares all memory with the process
    /// that started it, like a thread, but must use no thread-local storage, no locks, and no memory
    /// that it would have to allocate.
    ///
    /// `timer` ends it; `None` where nothing does, in a thread.
    fn run(&self, timer: Option<&Timer>) -> i32;

    /// Called in the tracer, amid anything else that it does, when a thread that it traces has ended.
    fn child_ended(&self);

    /// The open files that it needs.
    fn files(&self) -> [RawFd; 2];

    /// After so long the kernel kills it, unless it sets its timer anew.
    fn first_limit(&self) -> Duration;
}

/// What a tracer process starts with.
struct Start<J> {
    job: Arc<J>,
    parent: usize,
    alternate: usize,
}

/// The stacks of a tracer process.
struct Stacks {
    base: *mut libc::c_void,
}

/// Below all: touching it ends the process.
const GUARD: usize = 64 << 10;
/// Registered as the stack for signals, see [`on_child`].
const ALTERNATE: usize = 64 << 10;
/// Its ordinary stack.
const STACK: usize = 256 << 10;

impl Stacks {
    fn new() -> Result<Self, Errno> {
        let (none, both) = (libc::PROT_NONE, libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping where the kernel likes.
        let base = unsafe { libc::mmap(ptr::null_mut(), GUARD + ALTERNATE + STACK, none, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let stacks = Self { base };
        // SAFETY: a part of the mapping that was just made.
        Errno::result(unsafe { libc::mprotect(base.byte_add(GUARD), ALTERNATE + STACK, both) })?;
        Ok(stacks)
    }

    fn alternate(&self) -> *mut libc::c_void {
        // SAFETY: within the mapping.
        unsafe { self.base.byte_add(GUARD) }
    }

    fn top(&self) -> *mut libc::c_void {
        // SAFETY: the end of the mapping.
        unsafe { self.base.byte_add(GUARD + ALTERNATE + STACK) }
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and who used it has ended.
        let _ = unsafe { libc::munmap(self.base, GUARD + ALTERNATE + STACK) };
    }
}

/// How a tracer process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with that status.
    Exited(i32),
    /// By a signal.
    Killed(i32),
}

/// A tracer process. It ends with the thread that started it; so this does not leave that thread.
pub(super) struct Tracer<J> {
    pid: i32,
    end: Option<End>,
    /// For as long as the process lives, which this waits for.
    _start: Box<Start<J>>,
    _stacks: Stacks,
}

/// Starts a tracer: a process that shares this one's memory, so that starting it takes no longer and
/// writing to memory costs no more however large that is (after a fork, every page that is written is
/// copied first, and memory of the target is read while it stands still).
///
/// Before it does its job it makes sure of its end: the kernel kills it with the thread that started it,
/// and at its deadline. No signal but `SIGKILL` reaches it; it is in a process group of its own, where no
/// terminal stops it; and of the open files it keeps its own only, so that nobody waits for it to close
/// one. It makes no signal for its parent when it ends.
///
/// # Errors
/// The kernel's, `EAGAIN` for a limit on processes.
pub(super) fn spawn<J: TracerJob>(job: Arc<J>) -> Result<Tracer<J>, Errno> {
    let stacks = Stacks::new()?;
    let parent = std::process::id() as usize;
    let start = Box::new(Start { job, parent, alternate: stacks.alternate() as usize });
    let arg = ptr::from_ref(start.as_ref());
    // SAFETY: the start of the alternate stack, which is mapped, aligned, and not used by anybody.
    unsafe { stacks.alternate().cast::<*const Start<J>>().write(arg) };
    // No handler of ours may run in the tracer.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: the child runs on a stack of its own, and all that it uses outlives it: `Tracer` frees
    // it when the child has been waited for. It unwinds nowhere: `main` is `extern "C"`.
    let pid = Errno::result(unsafe {
        libc::clone(main::<J>, stacks.top(), libc::CLONE_VM, arg.cast_mut().cast::<libc::c_void>())
    });
    let restored = mask.thread_set_mask();
    let tracer = Tracer { pid: pid?, end: None, _start: start, _stacks: stacks };
    restored?;
    Ok(tracer)
}

impl<J> Tracer<J> {
    /// Its pid.
    #[cfg(test)]
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Ends it, whatever it does.
    pub(super) fn kill(&self) {
        if self.end.is_none() {
            // SAFETY: no pointers. It has not been waited for, so the pid is its own still.
            let _ = unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> End {
        if let Some(end) = self.end {
            return end;
        }
        let mut status = 0;
        let end = loop {
            // SAFETY: waitpid writes one int, to which the pointer is valid.
            let waited = unsafe { libc::waitpid(self.pid, ptr::from_mut(&mut status), libc::__WALL) };
            match Errno::result(waited) {
                Ok(_) if libc::WIFSIGNALED(status) => break End::Killed(libc::WTERMSIG(status)),
                Ok(_) => break End::Exited(libc::WEXITSTATUS(status)),
                Err(Errno::EINTR) => {}
                // Another part of the program waited for all children: it has ended, somehow.
                Err(_) => break End::Killed(0),
            }
        };
        self.end = Some(end);
        end
    }
}

impl<J> Drop for Tracer<J> {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}

/// Exit statuses of a tracer that did not come to its job.
pub(super) const ORPHANED: i32 = 101;
/// The kernel gave no timer.
pub(super) const NO_TIMER: i32 = 102;

/// All of a tracer's life.
extern "C" fn main<J: TracerJob>(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `spawn` gives a pointer to one, which outlives this process.
    let start = unsafe { &*start.cast_const().cast::<Start<J>>() };
    let kill = libc::SIGKILL as usize;
    // SAFETY: no pointers.
    unsafe {
        let _ = call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, kill]);
        // It may have ended before that.
        if call(libc::SYS_getppid, []) != Ok(start.parent) {
            return ORPHANED;
        }
        // Not a session of its own: that is a scheduling group of its own (autogroup), which on a busy
        // machine waited seconds for its turn, with the target standing still.
        let _ = call(libc::SYS_setpgid, [0, 0]);
        let _ = call(libc::SYS_prctl, [libc::PR_SET_NAME as usize, c"gospy-freeze".as_ptr() as usize]);
    }
    hurry();
    handle_ends::<J>(start);
    keep_files(start.job.files());
    match Timer::new().filter(|timer| timer.set(start.job.first_limit())) {
        Some(timer) => start.job.run(Some(&timer)),
        None => NO_TIMER,
    }
}

/// As `struct sched_attr` of sched_setattr(2), in its first version.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// For an ordinary policy, from Linux 6.12 on: the slice, ns. Who asks for a short one is given the
    /// processor sooner, and no more of it.
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Puts the calling thread before others that wait for a processor, as far as that is permitted: it needs little,
/// and while it waits the target stands still.
pub(super) fn hurry() {
    const SHORT: u64 = 100_000;
    /// `SCHED_RESET_ON_FORK`, which is given with the policy.
    const RESET_ON_FORK: usize = 0x4000_0000;
    // SAFETY: no pointers.
    let policy = unsafe { call(libc::SYS_sched_getscheduler, [0]) }.map(|policy| policy & !RESET_ON_FORK);
    // Who was given a real-time policy comes before all others already.
    if [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE].map(|real| Ok(word(real))).contains(&policy) {
        return;
    }
    let own = libc::PRIO_PROCESS as usize;
    // SAFETY: no pointers. The kernel gives 20 - nice, so that it is never negative.
    let nice = unsafe { call(libc::SYS_getpriority, [own, 0]) }.ok().and_then(|value| i32::try_from(value).ok());
    for nice in [-20, 20 - nice.unwrap_or(20)] {
        let attr = SchedAttr {
            size: u32::try_from(size_of::<SchedAttr>()).unwrap_or_default(),
            policy: libc::SCHED_OTHER.cast_unsigned(),
            flags: 0,
            nice,
            priority: 0,
            runtime: SHORT,
            deadline: 0,
            period: 0,
        };
        // SAFETY: the kernel reads as many bytes as the size says.
        if unsafe { call(libc::SYS_sched_setattr, [0, ptr::from_ref(&attr) as usize, 0]) }.is_ok() {
            return;
        }
    }
}

/// From now on [`TracerJob::child_ended`] is called, and no other signal gets through.
fn handle_ends<J: TracerJob>(start: &Start<J>) {
    let alternate = libc::stack_t {
        ss_sp: ptr::with_exposed_provenance_mut::<libc::c_void>(start.alternate),
        ss_flags: 0,
        ss_size: ALTERNATE,
    };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_child::<J>;
    // Not for stops, of which there are many. What is interrupted goes on by itself: PTRACE_SEIZE while
    // it waits for an `execve` too.
    let flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_NOCLDSTOP;
    // All but SIGCHLD; nobody can block SIGKILL.
    let mask: u64 = !(1 << (libc::SIGCHLD - 1));
    // SAFETY: zeroes are a sigaction with an empty mask. Pointers are to values that outlive the calls;
    // the handler has the type that SA_SIGINFO wants. The C library's function is taken since it knows
    // how a handler returns; it uses errno only when it fails, which it cannot for these arguments.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags;
        let _ = call(libc::SYS_sigaltstack, [ptr::from_ref(&alternate) as usize, 0]);
        libc::sigaction(libc::SIGCHLD, ptr::from_ref(&action), ptr::null_mut());
        let set = word(libc::SIG_SETMASK);
        let _ = call(libc::SYS_rt_sigprocmask, [set, ptr::from_ref(&mask) as usize, 0, size_of_val(&mask)]);
    }
}

/// The handler of SIGCHLD in a tracer. Nothing static can tell it which: many tracers may share
/// this memory. But the kernel shows each handler the alternate stack of its process, which is never
/// used as one here; what `spawn` wrote to its start leads on.
extern "C" fn on_child<J: TracerJob>(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a ucontext, with the alternate stack that `handle_ends` set. At its start
    // is a pointer to what outlives the process.
    let start = unsafe {
        let stack = (*context.cast_const().cast::<libc::ucontext_t>()).uc_stack;
        &**stack.ss_sp.cast_const().cast::<*const Start<J>>()
    };
    start.job.child_ended();
}

/// Closes all files but these in the caller, which shares its descriptors with nobody.
fn keep_files(keep: [RawFd; 2]) {
    /// What is closed one by one where the kernel is older than 5.9.
    const MOST: RawFd = 1024;
    let [low, high] = if keep[0] <= keep[1] { keep } else { [keep[1], keep[0]] };
    let close_range = |first: RawFd, last: RawFd| {
        if first > last {
            return true;
        }
        // SAFETY: no pointers.
        unsafe { call(libc::SYS_close_range, [word(first), word(last), 0]) }.is_ok()
    };
    let done = close_range(0, low.saturating_sub(1))
        && close_range(low.saturating_add(1), high.saturating_sub(1))
        && close_range(high.saturating_add(1), RawFd::MAX);
    if !done {
        (0..MOST).filter(|fd| !keep.contains(fd)).for_each(close);
    }
}

/// Has the kernel kill the process that made it, though that be stopped or blocked.
#[derive(Debug)]
pub(super) struct Timer(libc::c_int);

impl Timer {
    /// `None` where the kernel gives none.
    fn new() -> Option<Self> {
        let mut timer: libc::c_int = 0;
        // SAFETY: zeroes are a sigevent, for a signal to the process; pointers are to values that outlive
        // the call. The kernel's timer_t is an int.
        let made = unsafe {
            let mut event = MaybeUninit::<libc::sigevent>::zeroed().assume_init();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGKILL;
            call(
                libc::SYS_timer_create,
                [libc::CLOCK_MONOTONIC as usize, ptr::from_ref(&event) as usize, ptr::from_mut(&mut timer) as usize],
            )
        };
        made.is_ok().then_some(Self(timer))
    }

    /// Sets it, in place of what it was set to, to so long from now. False if the kernel will not.
    pub(super) fn set(&self, within: Duration) -> bool {
        // Zero would stop it.
        let within = within.max(Duration::from_nanos(1));
        let value = libc::itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(within) };
        // SAFETY: the pointer is to a value that outlives the call; the former value is not asked.
        unsafe { call(libc::SYS_timer_settime, [word(self.0), 0, ptr::from_ref(&value) as usize, 0]) }.is_ok()
    }
}

#[cfg(test)]
#[path = "syscalls_tests.rs"]
mod tests;
