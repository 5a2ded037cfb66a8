//! Reading the memory of a running process, with few system calls and without stopping it.
//!
//! `process_vm_readv` takes up to 1,024 ranges per call. Measured on Linux 6.18: it stops at the first
//! unreadable page, even inside a range, and returns the number of bytes before it; if the very first page is
//! unreadable it fails with `EFAULT`; a zero-length range is skipped. So the ranges after a bad one are
//! requested again. If the call is refused (seccomp) or missing, `/proc/PID/mem` is used from then on. It needs
//! the same permission, takes one call per range, fails with `EIO` for a hole and, unlike the former, reads
//! pages without `PROT_READ` too.
//!
//! Callers must check the mappings: reading a page that is backed by a device, or by a file on a hanging mount,
//! may block forever.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::proc_dir::ProcDir;
use super::{Backend, MemRange, ReadError, ReadStats};
use crate::addr::Addr;

/// Maximum ranges per call (`UIO_MAXIOV`; one more is `EINVAL`).
const RANGES_A_CALL: usize = 1024;
/// Maximum bytes per call. More is not faster, and the call takes the target's mmap lock (shared) page by page.
const BYTES_A_CALL: usize = 8 << 20;

/// The memory of one process, and what reading it has cost.
#[derive(Debug)]
pub(crate) struct Memory {
    pid: i32,
    /// `/proc/PID/mem`, once `process_vm_readv` was refused.
    mem: OnceLock<File>,
    syscalls: AtomicU64,
    bytes: AtomicU64,
}

impl Memory {
    /// The memory of `pid`, by `process_vm_readv`.
    #[must_use]
    pub(crate) fn new(pid: i32) -> Self {
        Self { pid, mem: OnceLock::new(), syscalls: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// The method in use.
    #[must_use]
    pub(crate) fn backend(&self) -> Backend {
        if self.mem.get().is_some() { Backend::ProcMem } else { Backend::ProcessVmReadv }
    }

    /// What reading has cost so far.
    #[must_use]
    pub(crate) fn stats(&self) -> ReadStats {
        ReadStats { syscalls: self.syscalls.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Checks that `process_vm_readv` is allowed, with one byte at `addr`, which may be unreadable.
    ///
    /// # Errors
    /// The reason when it is not.
    pub(crate) fn probe_vm_readv(&self, addr: Addr) -> Result<(), Errno> {
        self.call(&mut [0], &[RemoteIoVec { base: base(addr), len: 1 }]).map(drop)
    }

    fn count(&self, bytes: usize) {
        self.syscalls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn gone(&self) -> ReadError {
        ReadError::Gone { pid: self.pid }
    }

    /// Implements [`super::Target::read_ranges`]. `mem` is opened in `dir` if needed.
    ///
    /// # Errors
    /// As [`super::Target::read_ranges`].
    pub(crate) fn read_ranges(
        &self,
        dir: &ProcDir,
        ranges: &[MemRange],
        buf: &mut [u8],
        got: &mut Vec<usize>,
    ) -> Result<(), ReadError> {
        got.clear();
        got.resize(ranges.len(), 0);
        let total = ranges.iter().try_fold(0_usize, |sum, range| sum.checked_add(range.len));
        if total.is_none_or(|total| total > buf.len()) {
            let (wanted, len) = (ranges.len(), buf.len());
            return Err(ReadError::Io(format!("the buffer of {len} bytes is too short for the {wanted} ranges")));
        }
        if self.mem.get().is_none() {
            match self.by_vm_readv(ranges, buf, got) {
                Ok(()) => return Ok(()),
                Err(errno) => self.fall_back(dir, errno)?,
            }
            got.fill(0);
        }
        match self.mem.get() {
            Some(mem) => self.by_mem(mem, ranges, buf, got),
            None => Err(self.gone()),
        }
    }

    /// Switches to `/proc/PID/mem` if `errno` is a reason to.
    fn fall_back(&self, dir: &ProcDir, errno: Errno) -> Result<(), ReadError> {
        match errno {
            Errno::EPERM | Errno::ENOSYS => {}
            Errno::ESRCH => return Err(self.gone()),
            other => return Err(ReadError::Io(format!("process_vm_readv: {other}"))),
        }
        match dir.file("mem") {
            Ok(file) => {
                // Another thread may have been faster; either descriptor works.
                let _ = self.mem.set(file);
                Ok(())
            }
            Err(e) if super::proc_dir::means_gone(&e) => Err(self.gone()),
            Err(e) => Err(ReadError::Denied {
                pid: self.pid,
                reason: format!("process_vm_readv: {}; /proc/{}/mem: {e}", errno.desc(), self.pid),
            }),
        }
    }

    fn by_vm_readv(&self, ranges: &[MemRange], buf: &mut [u8], got: &mut [usize]) -> Result<(), Errno> {
        let mut remote: Vec<RemoteIoVec> = Vec::with_capacity(ranges.len().min(RANGES_A_CALL));
        let (mut ranges, mut got, mut rest) = (ranges, got, buf);
        while !ranges.is_empty() {
            remote.clear();
            let mut bytes = 0_usize;
            for range in ranges.iter().take(RANGES_A_CALL) {
                let after = bytes.saturating_add(range.len);
                if !remote.is_empty() && after > BYTES_A_CALL {
                    break;
                }
                remote.push(RemoteIoVec { base: base(range.start), len: range.len });
                bytes = after;
            }
            let (now, later) = got.split_at_mut_checked(remote.len()).ok_or(Errno::EINVAL)?;
            let (part, tail) = rest.split_at_mut_checked(bytes).ok_or(Errno::EINVAL)?;
            match (remote.as_slice(), &mut *now) {
                ([one], [got]) => *got = self.one_by_vm_readv(one.base, part)?,
                _ => self.many_by_vm_readv(&remote, part, now)?,
            }
            ranges = ranges.get(remote.len()..).unwrap_or_default();
            (got, rest) = (later, tail);
        }
        Ok(())
    }

    /// One call; returns the number of bytes read.
    fn call(&self, part: &mut [u8], remote: &[RemoteIoVec]) -> Result<usize, Errno> {
        let result = process_vm_readv(Pid::from_raw(self.pid), &mut [IoSliceMut::new(part)], remote);
        let came = match result {
            Err(Errno::EFAULT) => 0,
            other => other?,
        };
        self.count(came);
        Ok(came)
    }

    /// Reads one range of any length, up to the limit per call.
    fn one_by_vm_readv(&self, start: usize, part: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0;
        for window in part.chunks_mut(BYTES_A_CALL) {
            let Some(base) = start.checked_add(done) else { break };
            let len = window.len();
            let came = self.call(window, &[RemoteIoVec { base, len }])?;
            done += came;
            if came < len {
                break;
            }
        }
        Ok(done)
    }

    /// Reads all of `remote` into `part`, which has their total length: one call, plus one after every bad
    /// range.
    fn many_by_vm_readv(&self, remote: &[RemoteIoVec], part: &mut [u8], got: &mut [usize]) -> Result<(), Errno> {
        let (mut remote, mut part) = (remote, part);
        let mut got = got.iter_mut();
        while !remote.is_empty() {
            let mut came = self.call(part, remote)?;
            let (mut ranges, mut bytes) = (0, 0);
            for (range, got) in remote.iter().zip(&mut got) {
                *got = came.min(range.len);
                came -= *got;
                ranges += 1;
                bytes += range.len;
                if *got < range.len {
                    break;
                }
            }
            remote = remote.get(ranges..).unwrap_or_default();
            part = part.get_mut(bytes..).unwrap_or_default();
        }
        Ok(())
    }

    fn by_mem(&self, mem: &File, ranges: &[MemRange], buf: &mut [u8], got: &mut [usize]) -> Result<(), ReadError> {
        let mut rest = buf;
        for (range, got) in ranges.iter().zip(got) {
            let Some((part, later)) = std::mem::take(&mut rest).split_at_mut_checked(range.len) else { break };
            *got = self.one_by_mem(mem, range.start, part)?;
            rest = later;
        }
        Ok(())
    }

    fn one_by_mem(&self, mem: &File, start: Addr, part: &mut [u8]) -> Result<usize, ReadError> {
        let mut done = 0;
        while done < part.len() {
            let end = part.len().min(done.saturating_add(BYTES_A_CALL));
            let Some(window) = part.get_mut(done..end) else { break };
            // File offsets are signed; higher addresses are the kernel's.
            let Some(at) = start.checked_add(done as u64).filter(|at| i64::try_from(at.0).is_ok()) else {
                break;
            };
            match mem.read_at(window, at.0) {
                // The address space the descriptor was opened on is gone.
                Ok(0) => return Err(self.gone()),
                Ok(n) => {
                    self.count(n);
                    done += n;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => match e.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EIO | Errno::EFAULT) => {
                        self.count(0);
                        break;
                    }
                    Some(Errno::ESRCH) => return Err(self.gone()),
                    _ => return Err(ReadError::Io(format!("/proc/{}/mem at {at}: {e}", self.pid))),
                },
            }
        }
        Ok(done)
    }
}

/// An address for the kernel; it always fits, since only 64-bit machines are supported.
fn base(addr: Addr) -> usize {
    usize::try_from(addr.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
