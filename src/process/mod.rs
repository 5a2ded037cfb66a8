//! The bytes of a process, whatever it is: running, dead in a core file, or recorded in a capture.
//!
//! Everything above this layer sees a [`Target`] and never a pid. This layer knows nothing of Go.
//! It refuses to write to a process, to signal it, and to stop it, but for the freeze that a user
//! asks for by name.
//!
//! * [`live`]: a running process, with [`memory`] (how bytes are read), [`maps`], [`proc_dir`],
//!   [`file_bytes`], [`clock`], [`permission`] (why it was refused, and the remedy), and the freeze
//! * [`core`]: an ELF core file
//! * [`recording`] and [`capture_file`]: writing a capture, and its format
//! * [`access`]: every check that reading a process depends on, and how it went
//! * [`process_list`]: which processes there are
//! * [`resources`]: CPU now, limits of cgroups, descriptors
//! * [`coalesce`]: many small pieces read in few calls, whatever the target
//! * [`fake`]: a test double

pub mod access;
mod blocked;
pub mod capture_file;
mod cgroup;
pub mod child;
pub mod clock;
pub mod coalesce;
pub mod core;
pub mod fake;
pub mod file_bytes;
mod freeze;
pub mod live;
pub mod maps;
pub mod memory;
pub mod permission;
pub mod proc_dir;
pub mod process_list;
pub mod recording;
pub mod resources;
mod syscalls;

pub use freeze::await_none_held;
pub use resources::Resources;

use std::sync::Arc;
use std::time::Duration;

use crate::addr::{Addr, Arch};
use crate::bytes::ByteSource;

/// A thread's id as the kernel gives it.
pub type Tid = i32;

/// A range of the target's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemRange {
    /// Its first byte.
    pub start: Addr,
    /// How many bytes.
    pub len: usize,
}

/// Why memory could not be read. "No memory there" is not an error: reads are short then.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// The process is gone (or its pid belongs to another one now).
    #[error("process {pid} ended, or became another program (execve), while it was being read")]
    Gone {
        /// Its pid.
        pid: i32,
    },
    /// The kernel does not let us.
    #[error("reading the memory of process {pid} was refused: {reason}")]
    Denied {
        /// The pid.
        pid: i32,
        /// The kernel's word and the back end that got it.
        reason: String,
    },
    /// Anything else.
    #[error("reading the memory of the target failed: {0}")]
    Io(String),
}

/// One mapped range, as in `/proc/PID/maps` or a core file's `NT_FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: Addr,
    /// First address behind it.
    pub end: Addr,
    /// `PROT_READ`.
    pub read: bool,
    /// `PROT_WRITE`.
    pub write: bool,
    /// `PROT_EXEC`.
    pub exec: bool,
    /// Offset in the file, in bytes; 0 when there is none.
    pub offset: u64,
    /// Inode, 0 when not file-backed.
    pub inode: u64,
    /// Path as the kernel gives it, without a ` (deleted)` suffix; empty for anonymous memory.
    pub path: String,
    /// Whether the kernel says that the file was deleted.
    pub deleted: bool,
}

/// What is known of a thread without stopping it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadInfo {
    /// Its id.
    pub tid: Tid,
    /// State letter of `/proc/PID/task/TID/stat` (`R S D T t Z X I`), where known.
    pub state: Option<char>,
    /// Name (`comm`).
    pub name: String,
}

/// A signal as the kernel describes it (`siginfo_t`, asm-generic/siginfo.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// `si_signo`.
    pub number: i32,
    /// `si_code`: why it was sent; positive where the kernel itself sent it.
    pub code: i32,
    /// The first word of what follows: the address of a fault, or the pid of the sender and above it
    /// the uid.
    pub word: u64,
}

impl SignalInfo {
    /// By `kill`, `sigqueue`, `tgkill`, and a message queue: what comes with a sender.
    const SENT: [i32; 4] = [0, -1, -6, -3];
    /// By the kernel, without a particular reason.
    const SI_KERNEL: i32 = 128;

    /// Takes a `siginfo_t` apart; `None` when there are too few bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        use crate::bytes::FieldsExt as _;
        Some(Self { number: bytes.i32_at(0)?, code: bytes.i32_at(8)?, word: bytes.u64_at(16)? })
    }

    /// Pid and uid of the process that sent it; `None` where none did.
    #[must_use]
    pub fn sender(&self) -> Option<(i32, u32)> {
        let (pid, uid) = (self.word as u32, (self.word >> 32) as u32);
        Self::SENT.contains(&self.code).then_some((pid as i32, uid))
    }

    /// The address of the fault; `None` where it was none, or has no address.
    #[must_use]
    pub fn fault_address(&self) -> Option<Addr> {
        const FAULTS: [i32; 5] = [4, 5, 7, 8, 11];
        let fault = self.code > 0 && self.code != Self::SI_KERNEL && FAULTS.contains(&self.number);
        fault.then_some(Addr(self.word))
    }
}

/// How a process ended, by its core file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The thread that the signal hit.
    pub thread: Tid,
    /// Number of the signal that ended it.
    pub signal: i32,
    /// The rest of what the kernel says of it; QEMU says nothing.
    pub info: Option<SignalInfo>,
}

/// Registers that an unwinder starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Program counter.
    pub pc: Addr,
    /// Stack pointer.
    pub sp: Addr,
    /// Link register (arm64), 0 on amd64.
    pub lr: Addr,
    /// Frame pointer.
    pub fp: Addr,
    /// The register in which Go's ABI keeps the current g (R14 on amd64, R28 on arm64); a hint
    /// only, since C code uses it freely.
    pub g: Addr,
}

/// Where a thread is that waits in the kernel. Two equal ones mean that it has not run in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedThread {
    /// Its program counter in user mode: behind the instruction that entered the kernel.
    pub pc: Addr,
    /// Its stack pointer in user mode.
    pub sp: Addr,
    /// Number of the system call, by the table of its architecture; `None` when it waits for
    /// something else than a system call.
    pub syscall: Option<u64>,
    /// How often it was taken from a processor so far.
    pub switches: u64,
}

/// The clocks with which the target's own stamps are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// `CLOCK_MONOTONIC` in ns: what the runtime's `nanotime` counts; 0 where it is unknown, since
    /// a core file does not tell it.
    pub monotonic_ns: u64,
    /// Wall clock, ns since the Unix epoch.
    pub unix_ns: u64,
}

/// What the operating system says of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its pid here.
    pub pid: i32,
    /// Path of the executable as the kernel gives it, for showing only: it may name another
    /// mount namespace's file.
    pub exe: String,
    /// Whether that file was deleted or replaced.
    pub exe_deleted: bool,
    /// Arguments.
    pub cmdline: Vec<String>,
    /// Real user id.
    pub uid: Option<u32>,
    /// When it was started, in clock ticks after boot; with the pid it names a process for ever.
    pub start_ticks: Option<u64>,
    /// State letter of the main thread (`T` for stopped).
    pub state: Option<char>,
    /// Resident memory, bytes.
    pub rss_bytes: Option<u64>,
    /// CPU time used so far, user and system, ns.
    pub cpu_ns: Option<u64>,
    /// What it used and was allowed to use, where that was recorded.
    pub resources: Resources,
}

/// What a process uses at one moment, as the kernel says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// State letter of its main thread.
    pub state: Option<char>,
    /// Resident memory, bytes.
    pub rss_bytes: Option<u64>,
    /// CPU time used so far, ns.
    pub cpu_ns: Option<u64>,
}

/// How memory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// `process_vm_readv`.
    ProcessVmReadv,
    /// `/proc/PID/mem`, after the first was refused.
    ProcMem,
    /// An ELF core file.
    Core,
    /// A recorded capture.
    Capture,
    /// A test double.
    Fake,
}

impl Backend {
    /// A stable name for people and scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcessVmReadv => "process_vm_readv",
            Self::ProcMem => "/proc/PID/mem",
            Self::Core => "core file",
            Self::Capture => "capture",
            Self::Fake => "test double",
        }
    }
}

/// What reading has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// System calls that read the target's memory.
    pub syscalls: u64,
    /// Bytes that they gave.
    pub bytes: u64,
}

/// What the operating system could not tell.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No such process, or it has ended.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// The pid asked for.
        pid: i32,
    },
    /// A process that cannot be looked into by its nature (kernel thread, zombie).
    #[error("process {pid} {what}")]
    NotReadable {
        /// The pid asked for.
        pid: i32,
        /// What it is, as a predicate: "is a kernel thread".
        what: String,
        /// Whether it has ended.
        ended: bool,
    },
    /// No permission; the advice names the one remedy that fits.
    #[error("no permission to read process {pid}: {reason}\n{advice}")]
    Permission {
        /// The pid asked for.
        pid: i32,
        /// Which check failed and on what facts.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// Nothing can be learnt of any process.
    #[error(transparent)]
    ProcFs(#[from] proc_dir::Unusable),
    /// Another tracer holds the process, so that it cannot be stopped; reading it works.
    #[error(
        "process {pid} is traced by process {tracer} ({comm}), and a process can have one tracer only; \
         detach that one first, or read without stopping"
    )]
    Traced {
        /// The pid asked for.
        pid: i32,
        /// Who traces it.
        tracer: i32,
        /// The tracer's name.
        comm: String,
    },
    /// The process runs another program than the one that was opened.
    #[error("process {pid} has become another program (execve) since it was opened")]
    Replaced {
        /// The pid asked for.
        pid: i32,
    },
    /// Its system calls are filtered, and nobody allowed to stop it all the same.
    #[error(
        "process {pid} runs under a seccomp filter; a stop kills it if the filter forbids restart_syscall(2), \
         which Docker's and Kubernetes' own profiles allow; stop it with --freeze-seccomp, or read without --freeze"
    )]
    Filtered {
        /// The pid asked for.
        pid: i32,
    },
    /// Memory could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file about the target could not be read.
    #[error("{what}: {source}")]
    Io {
        /// Which one.
        what: String,
        /// The reason.
        source: std::io::Error,
    },
    /// This kind of target cannot do it.
    #[error("{0}")]
    Unsupported(String),
}

/// Something that is wanting in a target, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limitation {
    /// A part is missing.
    Missing(String),
    /// It is taken for something that it cannot be proven to be.
    Unproven(String),
}

/// Which threads to stop for an exact picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeWhich {
    /// Every thread, new ones included.
    All,
    /// These only.
    Threads(Vec<Tid>),
}

/// How to stop threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeOptions {
    /// For how long they may stand still once all of them do. What is longer is ended by the kernel,
    /// and [`Frozen::resume`] says so.
    pub hold: Duration,
    /// Threads that may be stopped in `epoll_wait`, since they are known to call it again when it fails
    /// with EINTR. Others are left asleep there.
    pub resilient: Vec<Tid>,
}

impl Default for FreezeOptions {
    fn default() -> Self {
        Self { hold: Duration::from_millis(200), resilient: Vec::new() }
    }
}

/// Why a freeze was none: what was read meanwhile is not of one moment.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Broken {
    /// The process became another program.
    #[error("it became another program (execve)")]
    Exec,
    /// Threads that stood still have ended.
    #[error("threads of it were killed")]
    Ended,
    /// It was to stand still for no longer than that.
    #[error("it would have stood still for longer than {} ms", .0.as_millis())]
    Overdue(Duration),
    /// The process of gospy's own that held it was killed, by that signal.
    #[error("the process that held it was killed by signal {0}")]
    Killed(i32),
    /// These threads were left asleep in system calls that a stop would make fail, and ran.
    #[error("{}", threads_ran(.0))]
    Ran(Vec<Tid>),
}

fn threads_ran(tids: &[Tid]) -> String {
    const SHOWN: usize = 5;
    let mut shown: Vec<String> = tids.iter().take(SHOWN).map(Tid::to_string).collect();
    if tids.len() > SHOWN {
        shown.push("…".into());
    }
    let threads = if tids.len() == 1 { "thread" } else { "threads" };
    format!("{threads} {} ran, left alone in a system call that a stop would make fail", shown.join(", "))
}

/// A target that stands still for as long as this lives.
pub trait Frozen {
    /// The registers of a stopped thread.
    fn registers(&self, tid: Tid) -> Option<Registers>;

    /// Where a thread stands that was not stopped, since it sleeps in a system call that would fail
    /// then: program counter and stack pointer; the other registers are 0.
    fn asleep(&self, tid: Tid) -> Option<Registers> {
        let _ = tid;
        None
    }

    /// The threads that stand still, in order of their ids.
    fn threads(&self) -> &[Tid];

    /// Lets the target run on and says for how long it stood still. Dropping does the same.
    ///
    /// # Errors
    /// When it did not stand still for the whole time: what was read must not be believed.
    fn resume(self: Box<Self>) -> Result<Duration, Broken>;
}

/// What a recording is told by those who read the target.
///
/// Whatever they read of the target itself is recorded as it was when it was read last. Some things
/// are read, compared and thrown away; those are read from [`Recorder::unrecorded`], and what was
/// believed in the end is handed to [`Recorder::keep`].
pub trait Recorder: Sync {
    /// The target, without a record of what is read.
    fn unrecorded(&self) -> &dyn Target;

    /// Records `bytes` as what is at `addr`, and gives the number of what was recorded so.
    fn keep(&self, addr: Addr, bytes: &[u8]) -> usize;

    /// What was recorded under that number, whether something else is in its place by now or not.
    fn kept(&self, number: usize) -> Vec<u8>;

    /// Leaves something of one's own in the recording, in place of what had that name.
    fn attach(&self, name: &str, bytes: Vec<u8>);
}

/// The target to read from what is compared and may be thrown away; see [`Recorder`].
#[must_use]
pub fn unrecorded(target: &dyn Target) -> &dyn Target {
    target.recorder().map_or(target, |recorder| recorder.unrecorded())
}

/// A process that can be looked at.
pub trait Target: Send + Sync {
    /// What the operating system says of it, as of opening.
    fn process(&self) -> &ProcessInfo;

    /// Whether the process runs another program by now than the one that was opened. Its memory can be
    /// read then without any failure; so this is to be asked after a series of reads.
    fn is_replaced(&self) -> bool {
        false
    }

    /// What it uses now; as of opening, unless the target lives.
    fn usage(&self) -> Usage {
        let process = self.process();
        Usage { state: process.state, rss_bytes: process.rss_bytes, cpu_ns: process.cpu_ns }
    }

    /// What it uses and may use. The interval of its CPU time begins where that of the call before ended,
    /// or with the opening of the target; it has `least` at least, which a live target is waited for. As
    /// recorded, unless the target lives.
    fn resources(&self, least: Duration) -> Resources {
        let _ = least;
        self.process().resources
    }

    /// The instruction set, where the target itself says.
    fn arch(&self) -> Option<Arch>;

    /// Reads `buf.len()` bytes at `addr` and says how many there were. A short count means that no
    /// (readable) memory is behind it.
    ///
    /// # Errors
    /// When the target could not be looked at.
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<usize, ReadError>;

    /// Reads many ranges, one behind the other, into `buf`, which is at least as long as all of
    /// them; `got` is set to the count of bytes of each range. A bad range is short and does not
    /// hurt the ones behind it. Each range has its place in `buf` whether it was read or not; what
    /// was not read is left as it was.
    ///
    /// # Errors
    /// When the target could not be looked at, or `buf` is too short.
    fn read_ranges(&self, ranges: &[MemRange], buf: &mut [u8], got: &mut Vec<usize>) -> Result<(), ReadError>;

    /// What is mapped where, in address order.
    ///
    /// # Errors
    /// When that cannot be told.
    fn mappings(&self) -> Result<Vec<Mapping>, TargetError>;

    /// The threads, in order of their ids.
    ///
    /// # Errors
    /// When that cannot be told.
    fn threads(&self) -> Result<Vec<ThreadInfo>, TargetError>;

    /// The executable's bytes.
    ///
    /// # Errors
    /// When they cannot be had.
    fn executable(&self) -> Result<Arc<dyn ByteSource>, TargetError>;

    /// The bytes of another mapped file (a shared library).
    ///
    /// # Errors
    /// When they cannot be had.
    fn mapped_file(&self, mapping: &Mapping) -> Result<Arc<dyn ByteSource>, TargetError>;

    /// The auxiliary vector as pairs of type and value; empty when it cannot be had.
    fn auxv(&self) -> Vec<(u64, u64)>;

    /// The target's clocks: now for a live process, the time of death or of recording else.
    fn clock(&self) -> Clock;

    /// How memory is read.
    fn backend(&self) -> Backend;

    /// What reading has cost so far.
    fn stats(&self) -> ReadStats;

    /// Registers of a thread that are known without stopping it: a core file's.
    fn registers(&self, tid: Tid) -> Option<Registers> {
        let _ = tid;
        None
    }

    /// How the process ended; `None` for one that lives, or lived when its core file was made.
    fn ended(&self) -> Option<Ended> {
        None
    }

    /// Whether memory is there or not by whole pages; a recording has single bytes.
    fn has_whole_pages(&self) -> bool {
        true
    }

    /// What is wanting in this target.
    fn shortcomings(&self) -> Vec<Limitation> {
        Vec::new()
    }

    /// Where to leave what a recording of this target is to hold, when it is being recorded.
    fn recorder(&self) -> Option<&dyn Recorder> {
        None
    }

    /// What [`Recorder::attach`] left under that name when this target was recorded.
    fn attachment(&self, name: &str) -> Option<&[u8]> {
        let _ = name;
        None
    }

    /// Where a thread is that waits in the kernel, told without stopping it; `None` when it runs, and
    /// where that cannot be told.
    fn blocked_thread(&self, tid: Tid) -> Option<BlockedThread> {
        let _ = tid;
        None
    }

    /// Stops the target for an exact picture.
    ///
    /// # Errors
    /// As for [`Target::freeze_with`].
    fn freeze(&self, which: &FreezeWhich) -> Result<Box<dyn Frozen + '_>, TargetError> {
        self.freeze_with(which, &FreezeOptions::default())
    }

    /// Stops the target for an exact picture.
    ///
    /// # Errors
    /// When this target cannot be stopped: it is a file, another tracer holds it, or there is no
    /// permission.
    fn freeze_with(&self, which: &FreezeWhich, options: &FreezeOptions) -> Result<Box<dyn Frozen + '_>, TargetError> {
        let _ = (which, options);
        Err(TargetError::Unsupported(format!("a {} cannot be frozen: it does not run", self.backend().name())))
    }
}

/// Small reads that decoders need of any target.
pub trait TargetExt: Target {
    /// Exactly `N` bytes, or `None` when they are not all there.
    ///
    /// # Errors
    /// When the target could not be looked at.
    fn read_array<const N: usize>(&self, addr: Addr) -> Result<Option<[u8; N]>, ReadError> {
        let mut buf = [0; N];
        Ok((self.read(addr, &mut buf)? == N).then_some(buf))
    }

    /// A little-endian 64-bit word, or `None` when it is not there.
    ///
    /// # Errors
    /// When the target could not be looked at.
    fn read_u64(&self, addr: Addr) -> Result<Option<u64>, ReadError> {
        Ok(self.read_array(addr)?.map(u64::from_le_bytes))
    }

    /// A little-endian 32-bit word, or `None` when it is not there.
    ///
    /// # Errors
    /// When the target could not be looked at.
    fn read_u32(&self, addr: Addr) -> Result<Option<u32>, ReadError> {
        Ok(self.read_array(addr)?.map(u32::from_le_bytes))
    }

    /// `len` bytes (the caller has bounded it), or `None` when they are not all there.
    ///
    /// # Errors
    /// When the target could not be looked at.
    fn read_vec(&self, addr: Addr, len: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let mut buf = vec![0; len];
        Ok((self.read(addr, &mut buf)? == len).then_some(buf))
    }
}

impl<T: Target + ?Sized> TargetExt for T {}
