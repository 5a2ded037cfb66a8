//! Everything about a process except its memory, in the kernel's terms: identity, threads, mappings, registers,
//! signals and clocks.

use serde::{Deserialize, Serialize};

use super::resources::Resources;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;

/// A kernel thread id.
pub type Tid = i32;

/// A range of the target's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemRange {
    /// Its first byte.
    pub start: Addr,
    /// Length in bytes.
    pub len: usize,
}

/// One mapped range, as in `/proc/PID/maps` or a core file's `NT_FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: Addr,
    /// One past its last address.
    pub end: Addr,
    /// `PROT_READ`.
    pub read: bool,
    /// `PROT_WRITE`.
    pub write: bool,
    /// `PROT_EXEC`.
    pub exec: bool,
    /// Offset in the file, bytes; 0 when there is no file.
    pub offset: u64,
    /// Inode, 0 when not file-backed.
    pub inode: u64,
    /// Path as the kernel gives it, without a ` (deleted)` suffix; empty for anonymous memory.
    pub path: String,
    /// Whether the kernel says that the file was deleted.
    pub deleted: bool,
}

/// What is known about a thread without stopping it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadInfo {
    /// Its id, as `gettid` answers it: that of its own pid namespace.
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
    /// The first word of the union: a fault address, or the sender's pid with the uid in the upper half.
    pub word: u64,
}

impl SignalInfo {
    /// Sent by `kill`, `sigqueue`, `tgkill` or a message queue: with a sender.
    const SENT: [i32; 4] = [0, -1, -6, -3];
    /// Sent by the kernel, without a particular reason.
    const SI_KERNEL: i32 = 128;

    /// Decodes a `siginfo_t`; `None` when there are too few bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self { number: bytes.i32_at(0)?, code: bytes.i32_at(8)?, word: bytes.u64_at(16)? })
    }

    /// Pid and uid of the sending process; `None` if no process sent it.
    #[must_use]
    pub fn sender(&self) -> Option<(i32, u32)> {
        let (pid, uid) = (self.word as u32, (self.word >> 32) as u32);
        Self::SENT.contains(&self.code).then_some((pid as i32, uid))
    }

    /// The fault address; `None` if it was not a fault or has no address.
    #[must_use]
    pub fn fault_address(&self) -> Option<Addr> {
        const FAULTS: [i32; 5] = [4, 5, 7, 8, 11];
        let fault = self.code > 0 && self.code != Self::SI_KERNEL && FAULTS.contains(&self.number);
        fault.then_some(Addr(self.word))
    }
}

/// How a process ended, according to its core file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The thread that received the signal.
    pub thread: Tid,
    /// Number of the signal that ended it.
    pub signal: i32,
    /// Details from the kernel; absent in QEMU's core files.
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

/// Every general register of a thread that stands still: any of them may hold the only pointer to something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneralRegisters {
    /// Stack pointer.
    pub sp: Addr,
    /// The others, in the kernel's order; the program counter is not among them.
    pub words: Vec<u64>,
}

/// Where a thread is blocked in the kernel. Two equal values mean that it has not run in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedThread {
    /// Its program counter in user mode: after the instruction that entered the kernel.
    pub pc: Addr,
    /// Its stack pointer in user mode.
    pub sp: Addr,
    /// Number of the system call, by the table of its architecture; `None` when it is not blocked in a system
    /// call.
    pub syscall: Option<u64>,
    /// Its context switches so far.
    pub switches: u64,
}

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemCall {
    /// Its number, by the table of its architecture.
    pub number: u64,
    /// Its arguments; those that the call does not take hold anything.
    pub arguments: [u64; 6],
}

/// What a thread does, as far as the kernel says it without a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThreadActivity {
    /// It runs, in user mode or in the kernel, or is about to.
    Running,
    /// It is blocked in the kernel, or stopped.
    Blocked {
        /// The system call that it is in; `None` outside of one, as in a page fault. A stopped thread may have
        /// just finished it.
        call: Option<SystemCall>,
        /// Its stack pointer in user mode.
        sp: Addr,
        /// Its program counter in user mode: after the instruction that entered the kernel.
        pc: Addr,
    },
    /// There is no such thread.
    Ended,
    /// Unknown, for this reason (a clause).
    Unknown(String),
}

/// The clocks that timestamps in the target are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// `CLOCK_MONOTONIC` in ns: what the runtime's `nanotime` counts; 0 when unknown, as in a core file.
    pub monotonic_ns: u64,
    /// Wall clock, ns since the Unix epoch.
    pub unix_ns: u64,
}

/// What the operating system reports about the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its pid in our pid namespace.
    pub pid: i32,
    /// Its pid in its own pid namespace, when that is another one (a container).
    pub own_pid: Option<i32>,
    /// Path of the executable as the kernel gives it, for display only: it may be in another mount namespace.
    pub exe: String,
    /// Whether that file was deleted or replaced.
    pub exe_deleted: bool,
    /// Arguments.
    pub cmdline: Vec<String>,
    /// Real user id.
    pub uid: Option<u32>,
    /// Start time, clock ticks after boot; together with the pid it identifies a process uniquely.
    pub start_ticks: Option<u64>,
    /// State letter of the main thread (`T` for stopped).
    pub state: Option<char>,
    /// Resident memory, bytes.
    pub rss_bytes: Option<u64>,
    /// CPU time used so far, user and system, ns.
    pub cpu_ns: Option<u64>,
    /// Its resource use and limits, where recorded.
    pub resources: Resources,
}

impl ProcessInfo {
    /// The id of its main thread, as in [`ThreadInfo::tid`].
    #[must_use]
    pub fn main_thread(&self) -> Tid {
        self.own_pid.unwrap_or(self.pid)
    }
}

/// What a process uses at one moment, as the kernel reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// State letter of its main thread.
    pub state: Option<char>,
    /// Resident memory, bytes.
    pub rss_bytes: Option<u64>,
    /// CPU time used so far, ns.
    pub cpu_ns: Option<u64>,
}
