//! The trait for reading a process of any kind, which everything above this layer uses, and the trait of its
//! recorder.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::accounting::Accounting;
use super::description::{
    BlockedThread, Clock, Ended, GeneralRegisters, Mapping, MemRange, ProcessInfo, Registers, ThreadActivity,
    ThreadInfo, Tid, Usage,
};
use super::descriptors::Descriptors;
use super::error::{ReadError, TargetError};
use super::frozen::{FreezeOptions, FreezeWhich, Frozen};
use super::perf::CpuClocks;
use super::resources::Resources;
use crate::addr::{Addr, Arch};
use crate::bytes::ByteSource;

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
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::ProcessVmReadv, Self::ProcMem, Self::Core, Self::Capture, Self::Fake];

    /// Stable name, for people and scripts.
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
    /// Bytes they returned.
    pub bytes: u64,
}

/// A limitation of a target, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limitation {
    /// A part is missing.
    Missing(String),
    /// Something about it is assumed without proof.
    Unproven(String),
}

/// Records what is read from a target.
pub trait Recorder: Sync {
    /// The target without recording.
    fn unlogged(&self) -> &dyn Target;

    /// Records `bytes` as the memory at `addr`, regardless of later reads, and returns the number of this
    /// record.
    fn accept(&self, addr: Addr, bytes: &[u8]) -> usize;

    /// The bytes recorded under that number, even if others have replaced them since.
    fn accepted(&self, number: usize) -> Vec<u8>;

    /// From now on, reads have this precedence.
    fn set_precedence(&self, precedence: Precedence);

    /// Reads ranges and records them whole, what is not there left out; later reads within them are not recorded
    /// again. Gives how many bytes there were.
    ///
    /// # Errors
    /// When the target could not be read.
    fn keep(&self, ranges: &[MemRange]) -> Result<u64, ReadError>;

    /// Stores a result under `key`, replacing any earlier one.
    fn remember(&self, key: &str, found: Remembered);
}

/// Which of several reads of the same memory counts in a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precedence {
    /// The last one, but for what was accepted.
    #[default]
    Usual,
    /// This one: the target stands still.
    Still,
    /// Any other one: the target runs on, and what was read before belongs together.
    Beside,
}

/// A result stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Version of the encoding.
    pub version: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A process that can be read.
pub trait Target: Send + Sync {
    /// Process information, as of opening.
    fn process(&self) -> &ProcessInfo;

    /// Whether the process has called `execve` since it was opened. Reads do not fail then, so check this after
    /// a series of reads.
    fn is_replaced(&self) -> bool {
        false
    }

    /// Current resource use; as of opening for a target that is not live.
    fn usage(&self) -> Usage {
        let process = self.process();
        Usage { state: process.state, rss_bytes: process.rss_bytes, cpu_ns: process.cpu_ns }
    }

    /// Resource use and limits. The CPU interval begins where the previous call's ended, or at opening; for a
    /// live target this waits until it is at least `least`. For other targets, as recorded.
    fn resources(&self, least: Duration) -> Resources {
        let _ = least;
        self.process().resources
    }

    /// CPU time that the process has used so far, by its own clock: exact of threads that do not run, and behind by a tick
    /// of the kernel (10 ms at most, usually) of those that do. `None` where there is no such clock, as for a target that
    /// is not live.
    fn cpu_clock(&self) -> Option<Duration> {
        None
    }

    /// What the kernel accounts to the process now; `None` for a target that is not live.
    ///
    /// # Errors
    /// When the process has ended, or runs another program.
    fn accounting(&self) -> Result<Option<Accounting>, ReadError> {
        Ok(None)
    }

    /// The architecture, if known from the target itself.
    fn arch(&self) -> Option<Arch>;

    /// Reads `buf.len()` bytes at `addr` and returns the number of bytes read. A short count means that the
    /// memory after it is unmapped or unreadable.
    ///
    /// # Errors
    /// When the target could not be read.
    fn read(&self, addr: Addr, buf: &mut [u8]) -> Result<usize, ReadError>;

    /// Reads many ranges into consecutive parts of `buf`, which must be at least their total length; `got` is
    /// set to the number of bytes read of each. A bad range is short and does not affect later ones. Each range
    /// keeps its place in `buf`, read or not; bytes not read are left unchanged.
    ///
    /// # Errors
    /// When the target could not be read, or `buf` is too short.
    fn read_ranges(&self, ranges: &[MemRange], buf: &mut [u8], got: &mut Vec<usize>) -> Result<(), ReadError>;

    /// The mappings, in address order.
    ///
    /// # Errors
    /// When they cannot be read.
    fn mappings(&self) -> Result<Vec<Mapping>, TargetError>;

    /// The threads, sorted by id.
    ///
    /// # Errors
    /// When they cannot be read.
    fn threads(&self) -> Result<Vec<ThreadInfo>, TargetError>;

    /// The executable's bytes.
    ///
    /// # Errors
    /// When they are not available.
    fn executable(&self) -> Result<Arc<dyn ByteSource>, TargetError>;

    /// The bytes of another mapped file (a shared library).
    ///
    /// # Errors
    /// When they are not available.
    fn mapped_file(&self, mapping: &Mapping) -> Result<Arc<dyn ByteSource>, TargetError>;

    /// The auxiliary vector as pairs of type and value; empty when not available.
    fn auxv(&self) -> Vec<(u64, u64)>;

    /// The target's clocks: now for a live process, otherwise the time of its end or of the recording.
    fn clock(&self) -> Clock;

    /// How memory is read.
    fn backend(&self) -> Backend;

    /// What reading has cost so far.
    fn stats(&self) -> ReadStats;

    /// Registers of a thread that are known without stopping it, as in a core file.
    fn registers(&self, tid: Tid) -> Option<Registers> {
        let _ = tid;
        None
    }

    /// All general registers of a thread that stands still for good, as in a core file.
    fn general_registers(&self, tid: Tid) -> Option<GeneralRegisters> {
        let _ = tid;
        None
    }

    /// How the process ended; `None` if it is alive, or was when its core file was made.
    fn ended(&self) -> Option<Ended> {
        None
    }

    /// Whether memory is present in whole pages; in a recording it is present by bytes.
    fn has_whole_pages(&self) -> bool {
        true
    }

    /// The limitations of this target.
    fn limitations(&self) -> Vec<Limitation> {
        Vec::new()
    }

    /// The recorder of this target, when it is being recorded.
    fn recorder(&self) -> Option<&dyn Recorder> {
        None
    }

    /// The result stored under that key when this target was recorded; see `super::remember`.
    fn remembered(&self, key: &str) -> Option<&Remembered> {
        let _ = key;
        None
    }

    /// Where a thread is blocked in the kernel, without stopping it; `None` when it is running or this is
    /// unknown.
    fn blocked_thread(&self, tid: Tid) -> Option<BlockedThread> {
        let _ = tid;
        None
    }

    /// What a thread does, without stopping it. A thread that is stopped is blocked by this.
    fn thread_activity(&self, tid: Tid) -> ThreadActivity {
        let _ = tid;
        ThreadActivity::Unknown(format!("a {} does not hold the system calls of threads", self.backend().name()))
    }

    /// What these descriptors refer to; all that are open for `None`. See [`Descriptors::of`] for targets that
    /// may be recorded.
    fn descriptors(&self, fds: Option<&BTreeSet<i32>>) -> Descriptors {
        let _ = fds;
        Descriptors::unknown(format!("a {} does not hold what descriptors refer to", self.backend().name()))
    }

    /// Starts to sample its threads where they use CPUs: `hz` times for each second of CPU time.
    ///
    /// # Errors
    /// When this target does not run, or the kernel refuses; the message says why and what to do.
    fn cpu_clocks(&self, hz: f64) -> Result<Box<dyn CpuClocks + '_>, TargetError> {
        let _ = hz;
        Err(TargetError::Unsupported(format!("a {} uses no CPU: it does not run", self.backend().name())))
    }

    /// Freezes the target for an exact snapshot.
    ///
    /// # Errors
    /// As for [`Target::freeze_with`].
    fn freeze(&self, which: &FreezeWhich) -> Result<Box<dyn Frozen + '_>, TargetError> {
        self.freeze_with(which, &FreezeOptions::default())
    }

    /// Freezes the target for an exact snapshot.
    ///
    /// # Errors
    /// When this target cannot be stopped: it is a file, another tracer holds it, or there is no
    /// permission.
    fn freeze_with(&self, which: &FreezeWhich, options: &FreezeOptions) -> Result<Box<dyn Frozen + '_>, TargetError> {
        let _ = (which, options);
        Err(TargetError::Unsupported(format!("a {} cannot be frozen: it does not run", self.backend().name())))
    }
}

/// Small reads that decoders need.
pub trait TargetExt: Target {
    /// Exactly `N` bytes, or `None` when not all of them are readable.
    ///
    /// # Errors
    /// When the target could not be read.
    fn read_array<const N: usize>(&self, addr: Addr) -> Result<Option<[u8; N]>, ReadError> {
        let mut buf = [0; N];
        Ok((self.read(addr, &mut buf)? == N).then_some(buf))
    }

    /// A little-endian 64-bit word, or `None` when it is not readable.
    ///
    /// # Errors
    /// When the target could not be read.
    fn read_u64(&self, addr: Addr) -> Result<Option<u64>, ReadError> {
        Ok(self.read_array(addr)?.map(u64::from_le_bytes))
    }

    /// A little-endian 32-bit word, or `None` when it is not readable.
    ///
    /// # Errors
    /// When the target could not be read.
    fn read_u32(&self, addr: Addr) -> Result<Option<u32>, ReadError> {
        Ok(self.read_array(addr)?.map(u32::from_le_bytes))
    }

    /// `len` bytes (bounded by the caller), or `None` when not all of them are readable.
    ///
    /// # Errors
    /// When the target could not be read.
    fn read_vec(&self, addr: Addr, len: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let mut buf = vec![0; len];
        Ok((self.read(addr, &mut buf)? == len).then_some(buf))
    }
}

impl<T: Target + ?Sized> TargetExt for T {}
