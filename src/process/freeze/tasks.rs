//! `/proc/PID/task` as a tracer sees it: read without allocating anything.
//!
//! The directory is held open, so that it cannot become another process's. Anything unreadable is `None`: the
//! thread has ended, or permission was denied.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::process::syscalls::{close, directory_entries, exists_at, open_at, read, rewind};
use crate::process::{Tid, blocked};

/// Buffer size for a file: enough except on machines with thousands of CPUs.
const FILE: usize = 4096;
/// Buffer size for directory entries.
const ENTRIES: usize = 16 * 1024;
/// Maximum bytes read of a directory: the kernel's limit on threads, at 24 bytes each.
const MOST_ENTRIES: usize = 24 * (1 << 22);

/// The directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tasks(pub(super) RawFd);

/// A name of a file of a thread, relative to the directory.
struct Name {
    bytes: [u8; 40],
    len: usize,
}

impl Name {
    fn new(tid: Tid, file: &str) -> Self {
        let mut name = Self { bytes: [0; 40], len: 0 };
        let mut digits = [0; 10];
        let mut left = u32::try_from(tid).unwrap_or_default();
        let mut count = 0;
        for digit in &mut digits {
            *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
            left /= 10;
            count += 1;
            if left == 0 {
                break;
            }
        }
        digits.iter().take(count).rev().for_each(|&digit| name.push(digit));
        file.bytes().for_each(|byte| name.push(byte));
        name
    }

    /// The last byte stays 0.
    fn push(&mut self, byte: u8) {
        if self.len + 1 < self.bytes.len()
            && let Some(slot) = self.bytes.get_mut(self.len)
        {
            *slot = byte;
            self.len += 1;
        }
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl Tasks {
    /// Parses a file's contents, as far as they fit into the buffer.
    fn file<R>(self, tid: Tid, file: &str, parse: impl FnOnce(&[u8]) -> Option<R>) -> Option<R> {
        let fd = open_at(self.0, Name::new(tid, file).as_c_str()).ok()?;
        let mut buf = [0; FILE];
        let got = read(fd, &mut buf);
        close(fd);
        parse(buf.get(..got.ok()?)?)
    }

    /// Whether the process has that thread.
    pub(super) fn has(self, tid: Tid) -> bool {
        tid > 0 && exists_at(self.0, Name::new(tid, "").as_c_str())
    }

    /// The state letter of a thread.
    pub(super) fn state(self, tid: Tid) -> Option<u8> {
        self.file(tid, "/stat", parse_state)
    }

    /// The thread that traces it, 0 for none.
    pub(super) fn tracer(self, tid: Tid) -> Option<Tid> {
        self.file(tid, "/status", |text| Tid::try_from(status_number(text, b"TracerPid:")?).ok())
    }

    /// Whether it is a kernel worker, see [`means_worker`].
    pub(super) fn is_worker(self, tid: Tid) -> bool {
        self.file(tid, "/stat", parse_worker).unwrap_or(false)
    }

    /// Whether it has a seccomp filter. Assumed if the file is too long to reach that field.
    pub(super) fn is_filtered(self, tid: Tid) -> bool {
        let filtered = |text: &[u8]| match status_number(text, b"Seccomp:") {
            Some(mode) => Some(mode != 0),
            None => Some(text.len() >= FILE),
        };
        self.file(tid, "/status", filtered).unwrap_or(false)
    }

    /// How often and for how long it has run so far: if both are unchanged, it has not run in between. `None`
    /// when unknown.
    pub(super) fn runs(self, tid: Tid) -> Option<Runs> {
        let exact = self.file(tid, "/schedstat", |text| {
            let mut numbers = text.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
            let (time, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some(Runs { count: number(count)?, time: number(time)? }).filter(|runs| runs.count != 0)
        });
        // All zeroes if the kernel was built without it. Context switches count the ends of runs, not their
        // beginnings, so the state must show whether it is running or runnable.
        exact.or_else(|| {
            let state = self.state(tid)?;
            let switches = self.file(tid, "/status", |text| {
                let voluntary = status_number(text, b"voluntary_ctxt_switches:")?;
                voluntary.checked_add(status_number(text, b"nonvoluntary_ctxt_switches:")?)
            })?;
            // A thread that ran and sleeps again without another switch is at another place, or in another
            // call.
            let time = match state {
                b'R' => u64::MAX,
                _ => self.waiting(tid).map_or(0, |waiting| waiting.sp.0.rotate_left(32) ^ waiting.pc.0),
            };
            Some(Runs { count: switches, time })
        })
    }

    /// Where it is blocked in the kernel; `None` when it is running or unknown.
    pub(super) fn waiting(self, tid: Tid) -> Option<blocked::Waiting> {
        self.file(tid, "/syscall", |text| blocked::parse(std::str::from_utf8(text).ok()?))
    }

    /// Calls `each` with the id of every thread until it fails. `None` when the process has ended.
    pub(super) fn each<E>(self, mut each: impl FnMut(Tid) -> Result<(), E>) -> Option<Result<(), E>> {
        rewind(self.0).ok()?;
        let mut buf = [0; ENTRIES];
        let (mut any, mut total) = (false, 0_usize);
        loop {
            let got = directory_entries(self.0, &mut buf).ok()?;
            total = total.saturating_add(got);
            if got == 0 || total > MOST_ENTRIES {
                return any.then_some(Ok(()));
            }
            let mut rest = buf.get(..got)?;
            while let Some((name, after)) = entry(rest) {
                rest = after;
                let Some(tid) = number(name).and_then(|tid| Tid::try_from(tid).ok()) else { continue };
                any = true;
                if let Err(error) = each(tid) {
                    return Some(Err(error));
                }
            }
        }
    }
}

/// How often a thread ran; see [`Tasks::runs`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// How often it began to run.
    pub(super) count: u64,
    /// For how long, ns; if the kernel does not report it, a number that stands for the thread's position.
    pub(super) time: u64,
}

/// Splits off the first `linux_dirent64`; returns its name and the rest: inode and offset (8 bytes each),
/// length (2), type (1), name, NUL.
fn entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16::from_le_bytes(bytes.get(16..18)?.try_into().ok()?));
    let name = bytes.get(19..length)?;
    let end = name.iter().position(|&byte| byte == 0)?;
    Some((name.get(..end)?, bytes.get(length..)?))
}

/// The third field of `stat`, after a name in parentheses that may contain any bytes.
fn parse_state(text: &[u8]) -> Option<u8> {
    let end = text.iter().rposition(|&byte| byte == b')')?;
    text.get(end.checked_add(2)?).copied()
}

/// Whether flags and name are those of a kernel worker thread (io_uring, vhost): it is listed among the
/// program's threads, but runs none of its code and cannot be traced (include/linux/sched.h: `PF_IO_WORKER`,
/// `PF_USER_WORKER`). Before Linux 5.12 and 6.4 these bits had other meanings, so the name must match too. A
/// program may use the same names.
pub(super) fn means_worker(flags: u64, name: &[u8]) -> bool {
    const WORKERS: u64 = 0x10 | 0x4000;
    flags & WORKERS != 0 && (name.starts_with(b"iou-") || name.starts_with(b"vhost-"))
}

/// The second and the ninth field of `stat`.
fn parse_worker(text: &[u8]) -> Option<bool> {
    let start = text.iter().position(|&byte| byte == b'(')?.checked_add(1)?;
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let (name, after) = (text.get(start..end)?, text.get(end.checked_add(2)?..)?);
    let flags = after.split(|&byte| byte == b' ').nth(6)?;
    Some(means_worker(number(flags)?, name))
}

/// A numeric field of `status`. The first field is a name, in which the kernel escapes newlines.
fn status_number(text: &[u8], field: &[u8]) -> Option<u64> {
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(field))?;
    number(line.trim_ascii())
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::proc_dir::ProcDir;
    use proptest::prelude::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn agrees_with_proc_dir() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name(") R TracerPid:".into()).spawn(move || stopped.recv()).unwrap();
        let me = ProcDir::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let dir = me.file("task").unwrap();
        let tasks = Tasks(dir.as_raw_fd());
        let named = || me.tids().unwrap().into_iter().find(|&tid| me.thread_stat(tid).unwrap().comm.starts_with(") R"));
        let tid = loop {
            if let Some(tid) = named().filter(|&tid| me.thread_stat(tid).unwrap().state == 'S') {
                break tid;
            }
            std::thread::yield_now();
        };
        for _ in 0..2 {
            let mut found = Vec::new();
            tasks
                .each(|tid| -> Result<(), ()> {
                    found.push(tid);
                    Ok(())
                })
                .unwrap()
                .unwrap();
            assert!(found.contains(&tid) && found.contains(&me.pid()));
        }
        assert_eq!(tasks.each(Err::<(), Tid>), Some(Err(me.pid())));
        assert!(tasks.has(tid) && !tasks.has(i32::MAX) && !tasks.has(0) && !tasks.has(-1) && !tasks.has(1));
        assert_eq!((tasks.state(tid), tasks.tracer(tid)), (Some(b'S'), Some(0)));
        let waiting = tasks.waiting(tid).unwrap();
        assert!(waiting.call.is_some() && waiting.sp.0 != 0);
        let runs = tasks.runs(tid).unwrap();
        assert_eq!(tasks.runs(tid), Some(runs));
        stop.send(()).unwrap();
        thread.join().unwrap().unwrap();
        let own = nix::unistd::gettid().as_raw();
        let before = tasks.runs(own).unwrap();
        assert_eq!(tasks.state(own), Some(b'R'));
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(tasks.runs(own).unwrap().count > before.count);
    }

    #[test]
    fn kernel_workers_are_recognised() {
        let stat = |name, flags| format!("77 ({name}) S 1 77 77 0 -1 {flags} 0 0 0 0");
        for (name, flags, worker) in [
            ("iou-wrk-70", 0x0040_4050_u64, true),
            ("iou-sqp-70", 0x10, true),
            ("vhost-70", 0x4040, true),
            ("iou-wrk-70", 0x0040_0040, false),
            ("a) S 1 iou-", 0x10, false),
            ("worker", 0x4010, false),
        ] {
            assert_eq!(parse_worker(stat(name, flags).as_bytes()), Some(worker), "{name} {flags:#x}");
        }
        assert_eq!(parse_worker(b"77 (iou-wrk) S 1 2"), None);
        let own = nix::unistd::gettid().as_raw();
        let dir = ProcDir::open(own).unwrap().file("task").unwrap();
        assert!(!Tasks(dir.as_raw_fd()).is_worker(own) && !Tasks(dir.as_raw_fd()).is_filtered(i32::MAX));
    }

    #[test]
    fn names_fit() {
        for (tid, file) in [(i32::MAX, "/schedstat"), (7, "/stat"), (10, ""), (1, "/status")] {
            assert_eq!(Name::new(tid, file).as_c_str().to_str().unwrap(), format!("{tid}{file}"));
        }
        assert_eq!(Name::new(-1, "/stat").as_c_str(), c"0/stat");
        assert_eq!(Name::new(1, &"x".repeat(60)).as_c_str().to_bytes().len(), 39);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            entry(&bytes);
            parse_state(&bytes);
            parse_worker(&bytes);
            status_number(&bytes, b"x");
            number(&bytes);
        }

        #[test]
        fn numbers_are_read(value: u64) {
            prop_assert_eq!(number(value.to_string().as_bytes()), Some(value));
        }
    }
}
