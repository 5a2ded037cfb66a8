//! `/proc/PID` of one process, held open so that a reused pid cannot be mistaken for it.
//!
//! Everything about a process except its memory is read through here. Names set by the process need not be
//! UTF-8; they are decoded with replacement characters, so that one bad name does not hide the rest. This
//! module opens nothing for writing.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};
use procfs::process::{Limits, Stat, StatFlags, Status};
use procfs::{FromBufRead, FromRead, ProcError};

use super::Tid;

/// Maximum bytes read of a small file (`stat`, `status`, `timens_offsets`).
const SMALL_FILE: u64 = 64 * 1024;
/// Room for what is in most of them, bytes.
const USUAL_FILE: u64 = 2048;
/// Room for a file of one record, bytes.
const RECORD: usize = 16 * 1024;
/// Maximum bytes read of `cmdline`, which the process can make arbitrarily long.
const CMDLINE: u64 = 1024 * 1024;
/// Maximum bytes read of `auxv`.
const AUXV: u64 = 16 * 1024;
/// Maximum threads listed; the kernel's own limit (`PID_MAX_LIMIT`) is 4 Mi.
const THREADS: usize = 1 << 22;

/// `/proc/PID`, open.
#[derive(Debug)]
pub struct ProcDir {
    pid: i32,
    dir: OwnedFd,
    stat: KeptRecord,
    limits: KeptRecord,
}

/// A file of one record (see [`ProcDir::record`]) that stays open once it has been read, so that reading it again is one
/// call. The kernel makes the record anew at each read from its start, for the process that the directory was opened of:
/// after its end that is `ESRCH`, even when another process has the pid.
///
/// Only for files that show the process and hold nothing of it: `net/netstat` would keep its network namespace alive,
/// and go on showing that namespace after the process has moved to another one.
#[derive(Debug, Default)]
struct KeptRecord(OnceLock<File>);

impl KeptRecord {
    /// Files are kept up to this descriptor: half of what a process may usually have open, so that a server of hundreds
    /// of programs has the rest for its connections and recordings.
    const LAST: RawFd = 511;

    fn read(&self, dir: &ProcDir, name: &str) -> io::Result<Vec<u8>> {
        if let Some(file) = self.0.get() {
            return whole_record(file);
        }
        let file = dir.file(name)?;
        let record = whole_record(&file)?;
        if file.as_raw_fd() <= Self::LAST {
            // One that another thread has kept meanwhile is as good.
            let _ = self.0.set(file);
        }
        Ok(record)
    }
}

/// The record in a file that the kernel writes as one.
fn whole_record(file: &File) -> io::Result<Vec<u8>> {
    let mut out = vec![0; RECORD];
    let mut got = file.read_at(&mut out, 0)?;
    if got == RECORD {
        // More than there usually is.
        out.resize(usize::try_from(SMALL_FILE).unwrap_or(RECORD), 0);
        while let Some(rest) = out.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, got as u64)? {
                0 => break,
                more => got += more,
            }
        }
    }
    out.truncate(got);
    Ok(out)
}

/// Identifies one program in one process, in spite of pid reuse and `execve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Start time of the process, clock ticks after boot (field 22 of `stat`).
    pub start_ticks: u64,
    /// Start addresses of its stack and its code (fields 28 and 26): `execve` changes them, since both are
    /// randomised.
    pub layout: (u64, u64),
}

impl Identity {
    /// What `stat` says; `None` when the process has ended, even if it is still a zombie.
    pub(super) fn of_living(stat: &Stat) -> Option<Self> {
        (!matches!(stat.state, 'Z' | 'X') || stat.num_threads > 1).then(|| Self::of(stat))
    }

    fn of(stat: &Stat) -> Self {
        Self { start_ticks: stat.starttime, layout: (stat.startstack, stat.startcode) }
    }

    /// Whether `now`, read later, is the same program in the same process. A process that has meanwhile become
    /// unreadable counts as the same.
    #[must_use]
    pub fn is_still(&self, now: &Self) -> bool {
        self.start_ticks == now.start_ticks && (self.layout == now.layout || now.layout == Self::REFUSED)
    }

    /// Whether `now`, read later, is another program in the same process. One that is ending, or in the middle
    /// of an `execve`, is not.
    #[must_use]
    pub fn is_replaced(&self, now: &Self) -> bool {
        !self.is_still(now) && self.start_ticks == now.start_ticks && now.layout.0 != 0
    }

    /// What the kernel shows without permission; for an ending process it shows (0, 0).
    const REFUSED: (u64, u64) = (0, 1);
}

/// Converts a procfs error to the I/O error it came from.
fn io_error(e: ProcError) -> io::Error {
    match e {
        ProcError::PermissionDenied(_) => Errno::EACCES.into(),
        ProcError::NotFound(_) => Errno::ENOENT.into(),
        ProcError::Io(e, _) => e,
        ProcError::Incomplete(_) => io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early"),
        ProcError::Other(what) => io::Error::new(io::ErrorKind::InvalidData, what),
        ProcError::InternalError(e) => io::Error::new(io::ErrorKind::InvalidData, e.to_string()),
    }
}

fn stat_in(record: &[u8]) -> io::Result<Stat> {
    Stat::from_read(record).map_err(io_error)
}

/// Whether an error means that the process (or thread) has ended.
#[must_use]
pub(crate) fn means_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(Errno::ESRCH as i32)
}

/// Whether an error means that permission was denied.
#[must_use]
pub(crate) fn means_refused(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::PermissionDenied
}

/// Whether `stat` is a kernel thread's, which has no memory of its own.
#[must_use]
pub(crate) fn is_kernel_thread(stat: &Stat) -> bool {
    stat.flags & StatFlags::PF_KTHREAD.bits() != 0
}

/// Why `/proc` cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No procfs is mounted at `/proc`.
    #[error(
        "/proc is not mounted, and everything about a process is read there\n\
         Run: mount -t proc proc /proc (as root; in a chroot, before entering it)"
    )]
    NotMounted,
    /// The procfs at `/proc` belongs to another pid namespace, so its pids differ.
    #[error(
        "/proc belongs to another pid namespace than gospy, so that its pids are those of other processes here\n\
         Run: mount -t proc proc /proc (as root, in the mount namespace of gospy)"
    )]
    OtherPidNamespace,
}

/// Checks that `/proc` is mounted, and that its pids are those that system calls use.
///
/// # Errors
/// When it is not mounted, or belongs to another pid namespace.
pub(crate) fn usable() -> Result<(), Unusable> {
    if !statfs("/proc").is_ok_and(|system| system.filesystem_type() == PROC_SUPER_MAGIC) {
        return Err(Unusable::NotMounted);
    }
    // From another pid namespace the link does not exist.
    let own = std::fs::read_link("/proc/self").unwrap_or_default();
    if own.as_os_str() == std::process::id().to_string().as_str() { Ok(()) } else { Err(Unusable::OtherPidNamespace) }
}

impl ProcDir {
    /// Opens `/proc/PID`.
    ///
    /// # Errors
    /// `ENOENT` when there is no such process or `/proc` hides it.
    pub fn open(pid: i32) -> io::Result<Self> {
        if pid <= 0 {
            return Err(Errno::ENOENT.into());
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = open(format!("/proc/{pid}").as_str(), flags, Mode::empty())?;
        Ok(Self { pid, dir, stat: KeptRecord::default(), limits: KeptRecord::default() })
    }

    /// The pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Opens a file in it for reading, given its name relative to it.
    ///
    /// # Errors
    /// The kernel's: `ENOENT` or `ESRCH` after the process has ended.
    pub fn file(&self, name: impl AsRef<Path>) -> io::Result<File> {
        let opened = openat(&self.dir, name.as_ref(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(opened.into())
    }

    /// Why a file in it could not be read, as a clause.
    pub(super) fn why_unreadable(&self, name: &str, error: &io::Error) -> String {
        if means_refused(error) {
            format!(
                "reading /proc/{}/{name} was refused: it takes the user of the process, \
                 or CAP_SYS_PTRACE with CAP_DAC_READ_SEARCH",
                self.pid
            )
        } else if means_gone(error) {
            "the process has ended".to_owned()
        } else {
            format!("reading /proc/{}/{name} failed: {error}", self.pid)
        }
    }

    /// The first bytes of a file in it, at most `limit`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bytes(&self, name: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        // Without room for all of it, it would be read in pieces of 32 bytes at first.
        let mut out = Vec::with_capacity(usize::try_from(limit.min(USUAL_FILE)).unwrap_or_default());
        self.file(name)?.take(limit).read_to_end(&mut out)?;
        Ok(out)
    }

    /// A file that the kernel writes as one record (`stat`, `limits`, `net/netstat`): a read that has room for all of
    /// it gets all of it (fs/seq_file.c), so that none is needed to see its end.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn record(&self, name: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        whole_record(&self.file(name)?)
    }

    /// A small file as text.
    ///
    /// # Errors
    /// The kernel's.
    pub fn text(&self, name: impl AsRef<Path>) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(name, SMALL_FILE)?).into_owned())
    }

    /// The target of a symbolic link in it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn link(&self, name: &str) -> io::Result<OsString> {
        // By pid, since std cannot read a link relative to a directory; the check of the open directory
        // afterwards notices a reused pid.
        let link = std::fs::read_link(PathBuf::from(format!("/proc/{}/{name}", self.pid)))?;
        self.file("stat")?;
        Ok(link.into_os_string())
    }

    /// The path of the executable for display, and whether it was deleted.
    ///
    /// # Errors
    /// The kernel's; `ENOENT` for kernel threads and zombies, which have none.
    pub fn exe(&self) -> io::Result<(String, bool)> {
        let path = String::from_utf8_lossy(&self.link("exe")?.into_vec()).into_owned();
        Ok(match path.strip_suffix(super::maps::DELETED) {
            Some(path) => (path.to_owned(), true),
            None => (path, false),
        })
    }

    /// `stat`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stat(&self) -> io::Result<Stat> {
        stat_in(&self.stat.read(self, "stat")?)
    }

    /// `limits`.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn limits(&self) -> io::Result<Limits> {
        Limits::from_buf_read(self.limits.read(self, "limits")?.as_slice()).map_err(io_error)
    }

    /// Size of a file or directory in it as the kernel gives it, bytes; of directories here, mostly 0.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn size(&self, name: &str) -> io::Result<u64> {
        let size = fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_size;
        Ok(size.try_into().unwrap_or_default())
    }

    /// `stat` of one thread.
    ///
    /// # Errors
    /// The kernel's; [`means_gone`] when the thread has ended or is another process's.
    pub fn thread_stat(&self, tid: Tid) -> io::Result<Stat> {
        stat_in(&self.record(format!("task/{tid}/stat"))?)
    }

    /// `status`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn status(&self) -> io::Result<Status> {
        self.status_at("status")
    }

    /// `status` of one thread.
    ///
    /// # Errors
    /// The kernel's; [`means_gone`] when the thread has ended or is another process's.
    pub fn thread_status(&self, tid: Tid) -> io::Result<Status> {
        self.status_at(format!("task/{tid}/status"))
    }

    fn status_at(&self, name: impl AsRef<Path>) -> io::Result<Status> {
        // As text with replacement characters: the parser refuses a name that is not UTF-8.
        Status::from_read(self.text(name)?.as_bytes()).map_err(io_error)
    }

    /// The arguments.
    ///
    /// # Errors
    /// The kernel's.
    pub fn cmdline(&self) -> io::Result<Vec<String>> {
        let bytes = self.bytes("cmdline", CMDLINE)?;
        let all = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if all.is_empty() {
            return Ok(Vec::new());
        }
        Ok(all.split(|&b| b == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect())
    }

    /// The auxiliary vector of a 64-bit process, without its end mark.
    ///
    /// # Errors
    /// The kernel's; denied more often than `maps`, since only the owner may read it.
    pub fn auxv(&self) -> io::Result<Vec<(u64, u64)>> {
        let bytes = self.bytes("auxv", AUXV)?;
        let (words, _) = bytes.as_chunks::<8>();
        let (pairs, _) = words.as_chunks::<2>();
        let pairs = pairs.iter().map(|&[key, value]| (u64::from_le_bytes(key), u64::from_le_bytes(value)));
        Ok(pairs.take_while(|&(key, _)| key != 0).collect())
    }

    /// The thread ids, sorted.
    ///
    /// # Errors
    /// The kernel's.
    pub fn tids(&self) -> io::Result<Vec<Tid>> {
        // By pid and not through the open directory, for which procfs opens every thread; the check of the open
        // directory afterwards proves that it was the same process.
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid))?;
        let names = tasks.take(THREADS).flatten().map(|task| task.file_name());
        let mut tids: Vec<Tid> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
        self.file("stat")?;
        if tids.is_empty() {
            return Err(Errno::ESRCH.into());
        }
        tids.sort_unstable();
        Ok(tids)
    }

    /// The identity of the program; see [`Identity`].
    ///
    /// # Errors
    /// [`means_gone`] when the process has ended, even if it is still a zombie.
    pub fn identity(&self) -> io::Result<Identity> {
        Identity::of_living(&self.stat()?).ok_or_else(|| Errno::ESRCH.into())
    }
}

#[cfg(test)]
mod tests {
    use procfs::process::LimitValue;

    use super::*;

    fn me() -> ProcDir {
        ProcDir::open(i32::try_from(std::process::id()).unwrap()).unwrap()
    }

    #[test]
    fn describes_this_process() {
        let me = me();
        let (exe, deleted) = me.exe().unwrap();
        assert_eq!(PathBuf::from(exe), std::env::current_exe().unwrap());
        assert!(!deleted);
        assert_eq!(me.cmdline().unwrap(), std::env::args().collect::<Vec<_>>());
        assert_eq!(me.status().unwrap().tgid, me.pid());
        assert_eq!(me.identity().unwrap(), me.identity().unwrap());
        assert!(me.tids().unwrap().contains(&me.pid()));
        // AT_PAGESZ
        let page = me.auxv().unwrap().into_iter().find(|&(key, _)| key == 6).unwrap();
        assert_eq!(page.1, procfs::page_size());
    }

    #[test]
    fn another_start_or_another_layout_is_another_program() {
        let then = Identity { start_ticks: 5, layout: (0x7ffc_0000, 0x40_0000) };
        assert!(then.is_still(&then));
        assert!(then.is_still(&Identity { layout: (0, 1), ..then }));
        assert!(!then.is_still(&Identity { layout: (0, 0), ..then }));
        assert!(!then.is_still(&Identity { layout: (0x7ffd_0000, 0x40_0000), ..then }));
        assert!(!then.is_still(&Identity { start_ticks: 6, ..then }));
    }

    /// Files that are kept open show what is, and one descriptor is used for each.
    #[test]
    fn what_is_read_again_is_as_it_is_now() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read go; ulimit -Sn 77; while :; do :; done"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let dir = ProcDir::open(i32::try_from(child.id()).unwrap()).unwrap();
        let is_limited = || matches!(dir.limits().unwrap().max_open_files.soft_limit, LimitValue::Value(77));
        let used = || dir.stat().unwrap().utime;
        assert!(!is_limited() && used() < 5);
        let kept = [&dir.stat, &dir.limits].map(|kept| kept.0.get().unwrap().as_raw_fd());
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
        while !is_limited() || used() < 5 {
            std::thread::yield_now();
        }
        assert_eq!([&dir.stat, &dir.limits].map(|kept| kept.0.get().unwrap().as_raw_fd()), kept);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(means_gone(&dir.stat().unwrap_err()) && means_gone(&dir.limits().unwrap_err()));
    }

    #[test]
    fn an_ended_process_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let dir = ProcDir::open(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(dir.stat().is_ok());
        child.kill().unwrap();
        // A zombie has no identity, though its files still exist.
        while dir.stat().unwrap().state != 'Z' {
            std::thread::yield_now();
        }
        assert!(means_gone(&dir.identity().unwrap_err()));
        child.wait().unwrap();
        for error in
            [dir.stat().unwrap_err(), dir.identity().unwrap_err(), dir.tids().unwrap_err(), dir.exe().unwrap_err()]
        {
            assert!(means_gone(&error), "{error}");
        }
        assert!(means_gone(&ProcDir::open(0).unwrap_err()));
        assert!(means_gone(&ProcDir::open(-5).unwrap_err()));
    }
}
