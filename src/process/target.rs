//! A process that can be looked at, whatever it is: the trait that everything above this layer sees, and that
//! of what records it.

use std::sync::Arc;
use std::time::Duration;

use super::description::{
    BlockedThread, Clock, Ended, Mapping, MemRange, ProcessInfo, Registers, ThreadInfo, Tid, Usage,
};
use super::error::{ReadError, TargetError};
use super::frozen::{FreezeOptions, FreezeWhich, Frozen};
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

/// Something that is wanting in a target, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limitation {
    /// A part is missing.
    Missing(String),
    /// It is taken for something that it cannot be proven to be.
    Unproven(String),
}

/// What a target is recorded by.
pub trait Recorder: Sync {
    /// The target, without a record of what is read.
    fn unlogged(&self) -> &dyn Target;

    /// Records `bytes` as what is at `addr`, whatever is read there later, and gives the number of what was
    /// recorded so.
    fn accept(&self, addr: Addr, bytes: &[u8]) -> usize;

    /// What was recorded under that number, whether something else is in its place by now or not.
    fn accepted(&self, number: usize) -> Vec<u8>;

    /// Keeps what was found under `key`, in place of what it had before.
    fn remember(&self, key: &str, found: Remembered);
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Version of the form that the bytes are in.
    pub version: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
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

    /// What was remembered under that key when this target was recorded; see [`super::remember`].
    fn remembered(&self, key: &str) -> Option<&Remembered> {
        let _ = key;
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
