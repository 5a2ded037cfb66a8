//! Operations on file descriptors: files, directories and pipes.
//!
//! `unsafe` is allowed in this folder alone; see its root for why.

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use super::raw::{call, timespec, word};

/// Opens a file for reading, given its name relative to a directory.
///
/// # Errors
/// The kernel's.
pub(in crate::process) fn open_at(dir: RawFd, name: &CStr) -> Result<RawFd, Errno> {
    let flags = word(libc::O_RDONLY | libc::O_CLOEXEC);
    // SAFETY: the name ends with a NUL.
    let fd = unsafe { call(libc::SYS_openat, [word(dir), name.as_ptr() as usize, flags, 0])? };
    RawFd::try_from(fd).map_err(|_| Errno::EBADF)
}

/// Whether a directory has an entry of that name.
pub(in crate::process) fn exists_at(dir: RawFd, name: &CStr) -> bool {
    // SAFETY: the name ends with a NUL.
    unsafe { call(libc::SYS_faccessat, [word(dir), name.as_ptr() as usize, word(libc::F_OK)]) }.is_ok()
}

/// Reads into `buf` from the start of an open file that has not been read yet; returns the count.
///
/// # Errors
/// The kernel's.
pub(in crate::process) fn read(fd: RawFd, buf: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the given length.
    unsafe { call(libc::SYS_read, [word(fd), buf.as_mut_ptr() as usize, buf.len()]) }
}

/// Writes one byte; errors are ignored, since the reader may be gone.
pub(in crate::process) fn write_byte(fd: RawFd) {
    let byte = [1_u8];
    // SAFETY: the buffer has one byte.
    let _ = unsafe { call(libc::SYS_write, [word(fd), byte.as_ptr() as usize, byte.len()]) };
}

/// Closes a descriptor that the caller owns.
pub(in crate::process) fn close(fd: RawFd) {
    // SAFETY: no pointers.
    let _ = unsafe { call(libc::SYS_close, [word(fd)]) };
}

/// Rewinds a directory.
///
/// # Errors
/// The kernel's.
pub(in crate::process) fn rewind(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_lseek, [word(fd), 0, word(libc::SEEK_SET)]) }.map(drop)
}

/// Reads the next entries of a directory in the layout of getdents64(2); returns their size in bytes, 0 at the
/// end.
///
/// # Errors
/// The kernel's.
pub(in crate::process) fn directory_entries(fd: RawFd, buf: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the given length.
    unsafe { call(libc::SYS_getdents64, [word(fd), buf.as_mut_ptr() as usize, buf.len()]) }
}

/// Waits until `fd` is readable (unless only its end counts), its other side is closed, or the time is over.
/// False on timeout.
pub(in crate::process) fn await_pipe(fd: RawFd, only_end: bool, within: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: if only_end { 0 } else { libc::POLLIN }, revents: 0 };
    let mut time = timespec(within);
    loop {
        let (poll_at, time_at) = (ptr::from_mut(&mut poll) as usize, ptr::from_mut(&mut time) as usize);
        // SAFETY: the pointers are to values that outlive the call, which writes the remaining time to the
        // second; the signal mask is null and so unchanged.
        match unsafe { call(libc::SYS_ppoll, [poll_at, 1, time_at, 0, 0]) } {
            Err(Errno::EINTR) => {}
            result => return result.is_ok_and(|count| count > 0),
        }
    }
}

/// Closes all descriptors except these. The caller must not share its descriptor table.
pub(super) fn keep_files(keep: [RawFd; 2]) {
    /// Descriptors closed one by one on kernels before 5.9.
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
