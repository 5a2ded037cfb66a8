//! What the descriptors of a process refer to, from `/proc/PID/fd`, `fdinfo` and the tables of sockets.
//!
//! Only what is asked for is read. The process runs on, and may close and reuse descriptors meanwhile: each
//! answer is true of one moment, and a caller who knows what uses a descriptor checks afterwards that it still
//! does. What was closed is said to be closed, and what cannot be read is unknown, with the reason. Files are
//! never opened (`O_PATH` only names them), and asking for their kind never waits for a file server
//! (`AT_STATX_DONT_SYNC`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, getxattr, openat, readlink, readlinkat, statx};
use serde::{Deserialize, Serialize};

use super::descriptor::{Descriptor, FileKind, OpenFile, Pipe, PipeEnd, Protocol, Socket, UnixKind};
use super::error::ReadError;
use super::maps::DELETED;
use super::proc_dir::{ProcDir, means_gone};
use super::remember::{Finding, remembered};
use super::sock_diag;
use super::sockets::{self, LastSockets};
use super::target::Target;

/// The key under which they are recorded.
const KEY: &str = "descriptors";
/// Most descriptors of one process; the kernel's own limit (`fs.nr_open`) is 1 Mi by default.
const MAX_FDS: usize = 1 << 20;
/// How often a descriptor is read that becomes another one meanwhile.
const TRIES: usize = 4;

/// Descriptors of a process, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptors {
    found: BTreeMap<i32, Descriptor>,
    /// Why nothing is known of others.
    unknown: Option<String>,
}

impl Descriptors {
    /// The descriptors `fds` of `target`; when it is being recorded, they are recorded too.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when the recording of them cannot be decoded.
    pub fn of(target: &dyn Target, fds: &BTreeSet<i32>) -> Result<Self, ReadError> {
        remembered(target, KEY, |target| Ok(target.descriptors(Some(fds))))
    }

    /// Nothing is known, for this reason (a clause).
    #[must_use]
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self { found: BTreeMap::new(), unknown: Some(reason.into()) }
    }

    /// These, and why others are unknown, as a clause.
    #[must_use]
    pub(crate) fn of_known(found: BTreeMap<i32, Descriptor>, unknown: Option<String>) -> Self {
        Self { found, unknown }
    }

    /// Descriptor `fd`; `None` when it is unknown or was not asked for.
    #[must_use]
    pub fn get(&self, fd: i32) -> Option<&Descriptor> {
        self.found.get(&fd)
    }

    /// All that are known, by number.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &Descriptor)> {
        self.found.iter().map(|(fd, descriptor)| (*fd, descriptor))
    }

    /// Why they are unknown, as a clause; `None` when they were read.
    #[must_use]
    pub fn why_unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }
}

impl FromIterator<(i32, Descriptor)> for Descriptors {
    fn from_iter<T: IntoIterator<Item = (i32, Descriptor)>>(found: T) -> Self {
        Self { found: found.into_iter().collect(), unknown: None }
    }
}

impl Finding for Descriptors {
    fn encode(&self) -> Vec<u8> {
        // Numbers and strings: nothing in it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// Reads all descriptors of a live process.
pub(super) fn read_all(dir: &ProcDir, sockets: &LastSockets) -> Descriptors {
    match list(dir) {
        Ok(fds) => read(dir, &fds, sockets),
        Err(error) => Descriptors::unknown(dir.why_unreadable("fd", &error)),
    }
}

fn list(dir: &ProcDir) -> io::Result<BTreeSet<i32>> {
    // By pid; see `ProcDir::tids`.
    let entries = std::fs::read_dir(format!("/proc/{}/fd", dir.pid()))?;
    let names = entries.take(MAX_FDS).flatten().map(|entry| entry.file_name());
    let fds = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    dir.file("stat")?;
    Ok(fds)
}

/// Reads descriptors of a live process.
pub(super) fn read(dir: &ProcDir, fds: &BTreeSet<i32>, sockets: &LastSockets) -> Descriptors {
    if fds.is_empty() {
        return Descriptors::default();
    }
    let fd_dir = match dir.file("fd") {
        Ok(fd_dir) => fd_dir,
        Err(error) => return Descriptors::unknown(dir.why_unreadable("fd", &error)),
    };
    let reader = Reader { dir, fd_dir, sockets };
    let mut found: BTreeMap<i32, Descriptor> =
        fds.iter().filter(|fd| **fd >= 0).take(MAX_FDS).map(|&fd| (fd, reader.read(fd))).collect();
    reader.add_sockets(&mut found);
    // Without its descriptor table, every number looks closed: the main thread has ended, or all of it.
    match dir.stat() {
        Ok(stat) if !matches!(stat.state, 'Z' | 'X') => Descriptors { found, unknown: None },
        Ok(_) => Descriptors::unknown("the main thread of the process has ended"),
        Err(error) => Descriptors::unknown(dir.why_unreadable("stat", &error)),
    }
}

struct Reader<'a> {
    dir: &'a ProcDir,
    fd_dir: File,
    sockets: &'a LastSockets,
}

impl Reader<'_> {
    fn read(&self, fd: i32) -> Descriptor {
        let name = fd.to_string();
        for _ in 0..TRIES {
            let link = match self.link(&name) {
                Ok(link) => link,
                Err(error) if means_gone(&error) => return Descriptor::Closed,
                Err(error) => {
                    return Descriptor::Unknown { reason: self.dir.why_unreadable(&format!("fd/{fd}"), &error) };
                }
            };
            if let Some(found) = self.of_link(&name, &link) {
                return found;
            }
        }
        Descriptor::Unknown { reason: "it changed on every try".to_owned() }
    }

    fn link(&self, name: &str) -> io::Result<CString> {
        Ok(readlinkat(&self.fd_dir, name, Vec::new())?)
    }

    /// The descriptor whose link reads `link`; `None` when it is another one by now.
    fn of_link(&self, name: &str, link: &CStr) -> Option<Descriptor> {
        let link = String::from_utf8_lossy(link.to_bytes());
        if is_path(&link) {
            return match self.hold(name) {
                Some((held, path)) => is_path(&path).then(|| file(&path, kind(&held))),
                // What it is called is certain all the same.
                None => Some(file(&link, None)),
            };
        }
        let inode = |kind: &str| link.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.parse().ok();
        if let Some(inode) = inode("socket") {
            return Some(Descriptor::Socket(Socket::unknown(inode)));
        }
        if let Some(inode) = inode("pipe") {
            return Some(Descriptor::Pipe(Pipe { inode, end: self.end(name, inode) }));
        }
        if inode("pidfd").is_some() {
            return Some(self.pidfd(name));
        }
        let anonymous = link.strip_prefix("anon_inode:").map(|name| name.trim_matches(['[', ']']));
        // The fields of `fdinfo` are those of one kind of descriptor alone.
        Some(match anonymous {
            Some("eventfd") => {
                let count = self.field(name, "eventfd-count:");
                Descriptor::Eventfd { count: count.and_then(|count| u64::from_str_radix(&count, 16).ok()) }
            }
            Some("eventpoll") => Descriptor::Epoll,
            Some("timerfd") => Descriptor::Timerfd { remaining_ns: self.remaining(name) },
            Some("inotify") => Descriptor::Inotify,
            Some("signalfd") => Descriptor::Signalfd,
            Some("pidfd") => self.pidfd(name),
            Some("io_uring") => Descriptor::IoUring,
            _ => Descriptor::Other { name: link.into_owned() },
        })
    }

    /// Holds on to what a descriptor refers to without opening it, so that all that is asked is of the same.
    fn hold(&self, name: &str) -> Option<(OwnedFd, String)> {
        let held = openat(&self.fd_dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let link = readlink(own_path(&held), Vec::new()).ok()?;
        Some((held, String::from_utf8_lossy(link.to_bytes()).into_owned()))
    }

    /// The end of the pipe with that inode; unknown before Linux 5.14, where `fdinfo` has no inode.
    fn end(&self, name: &str, inode: u64) -> Option<PipeEnd> {
        /// `O_ACCMODE`
        const ACCESS: u32 = 0o3;
        let text = self.dir.text(format!("fdinfo/{name}")).ok()?;
        if field(&text, "ino:")?.parse() != Ok(inode) {
            return None;
        }
        match u32::from_str_radix(field(&text, "flags:")?, 8).ok()? & ACCESS {
            0 => Some(PipeEnd::Read),
            1 => Some(PipeEnd::Write),
            2 => Some(PipeEnd::Both),
            _ => None,
        }
    }

    fn pidfd(&self, name: &str) -> Descriptor {
        let pid = self.field(name, "Pid:").and_then(|pid| pid.parse().ok());
        Descriptor::Pidfd { pid: pid.filter(|&pid| pid > 0) }
    }

    /// `it_value: (SECONDS, NANOSECONDS)`
    fn remaining(&self, name: &str) -> Option<u64> {
        let value = self.field(name, "it_value:")?;
        let (seconds, nanoseconds) = value.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
        let seconds: u64 = seconds.trim().parse().ok()?;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds.trim().parse().ok()?)
    }

    /// What stands after `key` in the descriptor's `fdinfo`.
    fn field(&self, name: &str, key: &str) -> Option<String> {
        field(&self.dir.text(format!("fdinfo/{name}")).ok()?, key).map(str::to_owned)
    }

    /// Completes the sockets among `found`.
    fn add_sockets(&self, found: &mut BTreeMap<i32, Descriptor>) {
        let inode = |descriptor: &Descriptor| match descriptor {
            Descriptor::Socket(socket) => Some(socket.inode),
            _ => None,
        };
        let wanted: FxHashSet<u64> = found.values().filter_map(inode).collect();
        if wanted.is_empty() {
            return;
        }
        let find = || sockets::find(&wanted, |table| self.dir.file(table), |wanted| self.unix_sockets(wanted));
        let known = self.sockets.of(&wanted, Instant::now(), find);
        for (fd, descriptor) in found.iter_mut() {
            let Descriptor::Socket(socket) = descriptor else { continue };
            match known.get(&socket.inode) {
                Some(known) => *socket = known.clone(),
                // Not bound, of another network namespace, or of a protocol without a table.
                None => socket.protocol = self.protocol(*fd, socket.inode),
            }
        }
    }

    /// Unix sockets as the kernel describes them to those in the same network namespace.
    fn unix_sockets(&self, wanted: &FxHashSet<u64>) -> Option<FxHashMap<u64, Socket>> {
        let id = |namespace: io::Result<File>| {
            let namespace = namespace.and_then(|file| file.metadata()).ok()?;
            Some((namespace.dev(), namespace.ino()))
        };
        let ours = id(File::open("/proc/thread-self/ns/net"))?;
        (id(self.dir.file("ns/net"))? == ours).then(|| sock_diag::unix(wanted)).flatten()
    }

    /// The protocol by its name in the kernel (`sockfs_xattr_get`, net/socket.c), which is known of any socket.
    fn protocol(&self, fd: i32, inode: u64) -> Option<Protocol> {
        let mut name = [0; 64];
        let (held, _) = self.hold(&fd.to_string()).filter(|(_, link)| *link == format!("socket:[{inode}]"))?;
        let len = getxattr(own_path(&held), "system.sockprotoname", &mut name).ok()?;
        let name = CStr::from_bytes_until_nul(name.get(..len)?).ok()?.to_str().ok()?;
        Some(match name {
            "TCP" | "TCPv6" => Protocol::Tcp,
            "UDP" | "UDPv6" => Protocol::Udp,
            "UDP-Lite" | "UDPLITEv6" => Protocol::UdpLite,
            "PING" | "PINGv6" => Protocol::Icmp,
            "UNIX-STREAM" => Protocol::Unix(UnixKind::Stream),
            "UNIX" => Protocol::Unix(UnixKind::Unknown),
            "PACKET" => Protocol::Packet,
            name => Protocol::Other(name.to_owned()),
        })
    }
}

/// Whether a link is a path, and not the name of something that has none.
fn is_path(link: &str) -> bool {
    link.starts_with('/') || link.starts_with("(unreachable)/")
}

/// A file with that link.
fn file(link: &str, kind: Option<FileKind>) -> Descriptor {
    let (path, deleted) = match link.strip_suffix(DELETED) {
        Some(path) => (path, true),
        None => (link, false),
    };
    Descriptor::File(OpenFile { path: path.to_owned(), deleted, kind })
}

fn kind(held: &OwnedFd) -> Option<FileKind> {
    let stat = statx(held, "", AtFlags::STATX_DONT_SYNC | AtFlags::EMPTY_PATH, StatxFlags::TYPE).ok()?;
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => Some(FileKind::Regular),
        FileType::Directory => Some(FileKind::Directory),
        FileType::CharacterDevice if is_terminal(stat.stx_rdev_major) => Some(FileKind::Terminal),
        FileType::CharacterDevice => Some(FileKind::CharacterDevice),
        FileType::BlockDevice => Some(FileKind::BlockDevice),
        FileType::Fifo => Some(FileKind::Fifo),
        _ => None,
    }
}

/// A descriptor of ours as a path.
fn own_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// What stands after `key` on a line of its own.
fn field<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

/// Whether a character device of this major number is a terminal: virtual and serial ones, `/dev/tty`, and
/// pseudo-terminals (Documentation/admin-guide/devices.txt).
fn is_terminal(major: u32) -> bool {
    matches!(major, 3..=5 | 136..=143)
}

#[cfg(test)]
#[path = "descriptors_tests.rs"]
mod tests;
