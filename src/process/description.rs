//! What is said of a process besides its memory: who it is, its threads, what is mapped, registers, signals
//! and clocks, in the words of the kernel.

use super::resources::Resources;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;

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
