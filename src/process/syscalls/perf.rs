//! CPU clocks of threads that take samples (perf_event_open(2)), and the rings that the kernel puts these into.
//!
//! `unsafe` is allowed in this folder alone; see its root for why.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;

use super::raw::{call, word};
use crate::process::description::Tid;

/// As `struct perf_event_attr` (linux/perf_event.h), in its fourth version, which ends with the clock (Linux 4.1).
/// Kernels accept all older versions.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::process) struct PerfAttr {
    /// `type`.
    pub(in crate::process) kind: u32,
    /// Of this structure, bytes.
    pub(in crate::process) size: u32,
    pub(in crate::process) config: u64,
    pub(in crate::process) sample_period: u64,
    pub(in crate::process) sample_type: u64,
    pub(in crate::process) read_format: u64,
    /// The bit field, from its lowest bit on.
    pub(in crate::process) flags: u64,
    pub(in crate::process) wakeup_events: u32,
    pub(in crate::process) bp_type: u32,
    pub(in crate::process) config1: u64,
    pub(in crate::process) config2: u64,
    pub(in crate::process) branch_sample_type: u64,
    pub(in crate::process) sample_regs_user: u64,
    pub(in crate::process) sample_stack_user: u32,
    pub(in crate::process) clockid: i32,
}

/// Offsets in `struct perf_event_mmap_page`, the first page of a ring.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// An event of one thread with its ring.
#[derive(Debug)]
pub(in crate::process) struct PerfEvent {
    fd: OwnedFd,
    /// The mapping: a page for the positions, and after it the ring.
    base: NonNull<u8>,
    page: usize,
    /// Bytes of the ring, a power of two.
    size: usize,
    /// How far the ring has been read.
    tail: u64,
}

// SAFETY: the mapping belongs to this value alone, and the kernel, the other side, does not care for threads.
unsafe impl Send for PerfEvent {}

/// Opens an event for a thread.
///
/// # Errors
/// The kernel's.
pub(in crate::process) fn perf_event_open(attr: &PerfAttr, tid: Tid) -> Result<OwnedFd, Errno> {
    const PERF_FLAG_FD_CLOEXEC: usize = 1 << 3;
    let (any_cpu, no_group) = (word(-1), word(-1));
    let args = [ptr::from_ref(attr) as usize, word(tid), any_cpu, no_group, PERF_FLAG_FD_CLOEXEC];
    // SAFETY: the kernel reads as many bytes as the size in the structure says, and writes only that size.
    let fd = unsafe { call(libc::SYS_perf_event_open, args)? };
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: it was opened for us just now.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl PerfEvent {
    /// Gives an event a ring of `pages` pages (a power of two) of `page` bytes.
    ///
    /// # Errors
    /// The kernel's, with the event: `EPERM` beyond the memory that users without rights may lock.
    pub(in crate::process) fn map(fd: OwnedFd, page: usize, pages: usize) -> Result<Self, (Errno, OwnedFd)> {
        let size = page.saturating_mul(pages);
        let protection = word(libc::PROT_READ | libc::PROT_WRITE);
        let args = [0, size.saturating_add(page), protection, word(libc::MAP_SHARED), word(fd.as_raw_fd()), 0];
        // SAFETY: the kernel chooses an address where nothing is mapped.
        let mapped = unsafe { call(libc::SYS_mmap, args) };
        match mapped.map(|base| NonNull::new(base as *mut u8)) {
            Ok(Some(base)) => Ok(Self { fd, base, page, size, tail: 0 }),
            Ok(None) => Err((Errno::ENOMEM, fd)),
            Err(errno) => Err((errno, fd)),
        }
    }

    fn position(&self, at: usize) -> &AtomicU64 {
        // SAFETY: both positions are aligned words of the first page, which is mapped as long as `self` is, and
        // the kernel accesses them atomically too.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at).cast()) }
    }

    /// Appends what is new in the ring, and makes room for more. False if the kernel's position makes no sense;
    /// then what was there is lost.
    pub(in crate::process) fn take(&mut self, into: &mut Vec<u8>) -> bool {
        let head = self.position(DATA_HEAD).load(Ordering::Acquire);
        let new = usize::try_from(head.wrapping_sub(self.tail)).unwrap_or(usize::MAX);
        let makes_sense = new <= self.size;
        if makes_sense {
            let at = (self.tail % self.size.max(1) as u64) as usize;
            let first = new.min(self.size.saturating_sub(at));
            for (from, len) in [(at, first), (0, new.saturating_sub(first))] {
                into.reserve(len);
                // SAFETY: both ranges lie in the ring, since `new` is not more than its size, and the kernel does
                // not write there until the new tail is stored; the vector has room for as many bytes.
                unsafe {
                    let source = self.base.as_ptr().add(self.page).add(from);
                    ptr::copy_nonoverlapping(source, into.as_mut_ptr().add(into.len()), len);
                    into.set_len(into.len() + len);
                }
            }
        }
        self.tail = head;
        self.position(DATA_TAIL).store(head, Ordering::Release);
        makes_sense
    }

    /// The counter: CPU time, ns.
    pub(in crate::process) fn count(&self) -> Option<u64> {
        let mut count = [0; 8];
        let read = super::files::read(self.fd.as_raw_fd(), &mut count).ok()?;
        (read == count.len()).then(|| u64::from_ne_bytes(count))
    }
}

impl AsFd for PerfEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for PerfEvent {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this address and length, and nothing refers to it any more.
        let _ = unsafe { call(libc::SYS_munmap, [self.base.as_ptr() as usize, self.page.saturating_add(self.size)]) };
    }
}
