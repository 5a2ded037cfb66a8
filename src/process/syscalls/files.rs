//! Files, directories and pipes by their descriptors.
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

/// Whether there is a file with that name in a directory.
pub(in crate::process) fn exists_at(dir: RawFd, name: &CStr) -> bool {
    // SAFETY: the name ends with a NUL.
    unsafe { call(libc::SYS_faccessat, [word(dir), name.as_ptr() as usize, word(libc::F_OK)]) }.is_ok()
}

/// Reads into `buf` from the start of an open file that has not been read yet, and gives the count.
///
/// # Errors
/// The kernel's.
pub(in crate::process) fn read(fd: RawFd, buf: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes no more than the length that it is given.
    unsafe { call(libc::SYS_read, [word(fd), buf.as_mut_ptr() as usize, buf.len()]) }
}

/// Writes one byte; nobody may be there to read it.
pub(in crate::process) fn write_byte(fd: RawFd) {
    let byte = [1_u8];
    // SAFETY: there is one byte to be read.
    let _ = unsafe { call(libc::SYS_write, [word(fd), byte.as_ptr() as usize, byte.len()]) };
}

/// Closes a descriptor that is the caller's.
pub(in crate::process) fn close(fd: RawFd) {
    // SAFETY: no pointers.
    let _ = unsafe { call(libc::SYS_close, [word(fd)]) };
}

/// Goes back to the start of a directory.
///
/// # Errors
/// The kernel's.
pub(in crate::process) fn rewind(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: no pointers.
    unsafe { call(libc::SYS_lseek, [word(fd), 0, word(libc::SEEK_SET)]) }.map(drop)
}

/// The next entries of a directory, as getdents64(2) lays them out, and how many bytes they take; 0
/// at its end.
///
/// # Errors
/// The kernel's.
pub(in crate::process) fn directory_entries(fd: RawFd, buf: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes no more than the length that it is given.
    unsafe { call(libc::SYS_getdents64, [word(fd), buf.as_mut_ptr() as usize, buf.len()]) }
}

/// Waits until there is something to read from `fd` (unless only its end counts), until its other side
/// is closed, or for so long. False if nothing of that happened.
pub(in crate::process) fn await_pipe(fd: RawFd, only_end: bool, within: Duration) -> bool {
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

/// Closes all files but these in the caller, which shares its descriptors with nobody.
pub(super) fn keep_files(keep: [RawFd; 2]) {
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
