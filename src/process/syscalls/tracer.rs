//! The process that traces a target for a freeze. It shares our address space.
//!
//! `unsafe` is allowed in this folder alone; see its root for why.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};

use super::files::keep_files;
use super::raw::{call, word};
use super::threads::hurry;
use super::timer::Timer;

/// What a tracer process does.
pub(in crate::process) trait TracerJob: Send + Sync {
    /// Its work, in the tracer; the result is its exit status. It shares all memory with the process
    /// that started it, like a thread, but must use no thread-local storage, no locks, and no memory
    /// that it would have to allocate.
    ///
    /// `timer` ends it; `None` where nothing does, in a thread.
    fn run(&self, timer: Option<&Timer>) -> i32;

    /// Called in the tracer's signal handler, at any point of its work, when a tracee has ended.
    fn child_ended(&self);

    /// The descriptors that it needs.
    fn files(&self) -> [RawFd; 2];

    /// The kernel kills it after this time, unless it resets its timer.
    fn first_limit(&self) -> Duration;
}

/// The arguments of a tracer process.
struct Start<J> {
    job: Arc<J>,
    parent: usize,
    alternate: usize,
}

/// The stacks of a tracer process.
struct Stacks {
    base: *mut libc::c_void,
}

/// Guard page at the bottom: touching it kills the process.
const GUARD: usize = 64 << 10;
/// Registered as the stack for signals, see [`on_child`].
const ALTERNATE: usize = 64 << 10;
/// Its normal stack.
const STACK: usize = 256 << 10;

impl Stacks {
    fn new() -> Result<Self, Errno> {
        let (none, both) = (libc::PROT_NONE, libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping at an address of the kernel's choice.
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
        // SAFETY: this value owns the mapping, and the process that used it has ended.
        let _ = unsafe { libc::munmap(self.base, GUARD + ALTERNATE + STACK) };
    }
}

/// How a tracer process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum End {
    /// It exited with that status.
    Exited(i32),
    /// By a signal.
    Killed(i32),
}

/// A tracer process. It ends with the thread that started it; so this does not leave that thread.
pub(in crate::process) struct Tracer<J> {
    pid: i32,
    end: Option<End>,
    /// Kept until the process has ended, which drop waits for.
    _start: Box<Start<J>>,
    _stacks: Stacks,
}

/// Starts a tracer: a process that shares our memory. So starting it is fast whatever our size, and our writes
/// stay cheap: after a fork, every written page would be copied first, while the target is frozen.
///
/// Before its job it arranges its own end: the kernel kills it when the thread that started it ends, and at its
/// deadline. All signals but `SIGKILL` are blocked; it has its own process group, so that no terminal stops it;
/// and it closes all files but its own, so that it keeps no pipe open. Its end sends no signal to its parent.
///
/// # Errors
/// The kernel's, `EAGAIN` for a limit on processes.
pub(in crate::process) fn spawn<J: TracerJob>(job: Arc<J>) -> Result<Tracer<J>, Errno> {
    let stacks = Stacks::new()?;
    let parent = std::process::id() as usize;
    let start = Box::new(Start { job, parent, alternate: stacks.alternate() as usize });
    let arg = ptr::from_ref(start.as_ref());
    // SAFETY: the start of the alternate stack, which is mapped, aligned, and not used yet.
    unsafe { stacks.alternate().cast::<*const Start<J>>().write(arg) };
    // No handler of ours may run in the tracer.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: the child runs on a stack of its own, and all that it uses outlives it: `Tracer` frees
    // it after waiting for the child. It cannot unwind: `main` is `extern "C"`.
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
    pub(in crate::process) fn pid(&self) -> i32 {
        self.pid
    }

    /// Ends it, whatever it does.
    pub(in crate::process) fn kill(&self) {
        if self.end.is_none() {
            // SAFETY: no pointers. It has not been reaped, so the pid is still its own.
            let _ = unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
    }

    /// Waits for its end.
    pub(in crate::process) fn wait(&mut self) -> End {
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

/// Exit statuses of a tracer that could not start its job.
pub(in crate::process) const ORPHANED: i32 = 101;
/// The kernel could not create a timer.
pub(in crate::process) const NO_TIMER: i32 = 102;

/// The main function of a tracer process.
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
        // Not a new session: that would be a new scheduling group (autogroup), which on a busy machine waited
        // seconds to be scheduled, with the target frozen.
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

/// Installs the handler that calls [`TracerJob::child_ended`], and blocks all other signals.
fn handle_ends<J: TracerJob>(start: &Start<J>) {
    let alternate = libc::stack_t {
        ss_sp: ptr::with_exposed_provenance_mut::<libc::c_void>(start.alternate),
        ss_flags: 0,
        ss_size: ALTERNATE,
    };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_child::<J>;
    // Not for stops, of which there are many. Interrupted calls restart, even PTRACE_SEIZE while it waits for
    // an `execve`.
    let flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_NOCLDSTOP;
    // All but SIGCHLD; SIGKILL cannot be blocked.
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

/// The SIGCHLD handler of a tracer. No static variable can identify the tracer, since many may share this
/// memory. But the kernel passes each handler the alternate stack of its process, which is never used as a
/// stack here; `spawn` wrote a pointer to its start.
extern "C" fn on_child<J: TracerJob>(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext with the alternate stack that `handle_ends` set. At its start
    // is a pointer to what outlives the process.
    let start = unsafe {
        let stack = (*context.cast_const().cast::<libc::ucontext_t>()).uc_stack;
        &**stack.ss_sp.cast_const().cast::<*const Start<J>>()
    };
    start.job.child_ended();
}
