//! Files that gospy writes: whole or not at all, and never through what somebody else has put there.
//!
//! The directory is opened once, and everything after that is relative to it, so that a path that is
//! changed meanwhile leads nowhere else. The contents go into a file that has no name yet (`O_TMPFILE`),
//! or, where the file system has no such files, a random one (`O_CREAT|O_EXCL|O_NOFOLLOW`); it is mode
//! 0600, and gets its name by `linkat` or `renameat` when all of it is on the disk. After an error nothing
//! is left of it. A gospy that is ended by a signal (Ctrl-C, SIGTERM, SIGKILL) while it writes leaves
//! `.gospy-*.part` where there is no `O_TMPFILE`; elsewhere only between the two steps of a replacement.
//!
//! What is no regular file (a link, a device, a FIFO) is never replaced and never written to. A symbolic
//! link among the directories is followed as Linux does with `fs.protected_symlinks`: not in a sticky
//! directory that everybody can write to, unless the link is ours or the directory's owner's.

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};

/// For nobody but the owner: what is on stacks is nobody else's business.
pub const PRIVATE: u32 = 0o600;
/// For everybody to read.
pub const PUBLIC: u32 = 0o644;

/// Most symbolic links in one path, as in the kernel.
const MAX_LINKS: usize = 40;
/// Random names that are tried before the directory is taken for a hostile one.
const MAX_NAMES: usize = 64;

/// What may be replaced. It is always a regular file; a new file can be written in any case.
#[derive(Clone, Copy, Debug)]
pub enum Replace {
    /// Nothing.
    Nothing,
    /// A file that belongs to the user that gospy runs as.
    Own,
    /// A file of which this holds: one of the same kind.
    If(fn(File) -> bool),
    /// Any file.
    Any,
}

/// Why a file is not written. What was there before is there still, except after
/// [`NewFileError::NotSynced`].
#[derive(Debug, thiserror::Error)]
pub enum NewFileError {
    /// The path ends in `/` or `..`.
    #[error("{} names no file", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// There is something of that name that is no regular file.
    #[error("{} is {what}, and only a regular file can be replaced: name another file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What it is: "a device".
        what: &'static str,
    },
    /// There is a file of that name, and [`Replace`] says that it stays.
    #[error("{} exists", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// There is a file of that name, and it is another user's.
    #[error("{} exists and belongs to uid {uid}; only a file of one's own is replaced", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// A symbolic link in a directory that everybody can write to.
    #[error(
        "{}: the symbolic link {} belongs to uid {uid} and is in a directory that everybody can write to; it is not \
         followed",
        path.display(),
        link.display()
    )]
    Planted {
        /// The path.
        path: PathBuf,
        /// The name of the link.
        link: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The file is there and whole, and whether it still is after a crash of the machine is not known.
    #[error(
        "{} is written, but it may be lost if the machine crashes: its directory could not be synced: {source}",
        path.display()
    )]
    NotSynced {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file system refused.
    #[error("{} cannot be written: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// A directory that is held open.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory to write into.
    ///
    /// # Errors
    /// When it is not there, is no directory, or the way to it leads over a planted link.
    pub fn open(path: &Path) -> Result<Self, NewFileError> {
        Ok(Self { fd: walk(path, false)?, path: path.to_owned() })
    }

    /// Opens a directory, and makes it and those above it if need be.
    ///
    /// # Errors
    /// As [`Directory::open`], and when it cannot be made.
    pub fn make(path: &Path) -> Result<Self, NewFileError> {
        Ok(Self { fd: walk(path, true)?, path: path.to_owned() })
    }

    /// Its path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn stat(&self, name: &OsStr) -> nix::Result<FileStat> {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Renames a file to a name that nothing has, without hard links: the name is taken by an empty file
    /// first, which does not stay after an error.
    fn rename_to_free(&self, from: &OsStr, to: &OsStr) -> nix::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        openat(&self.fd, to, flags, Mode::from_bits_truncate(PRIVATE))?;
        renameat(&self.fd, from, &self.fd, to).inspect_err(|_| {
            let _ = unlinkat(&self.fd, to, UnlinkatFlags::NoRemoveDir);
        })
    }

    /// Puts names on the disk, so that they are there after a crash of the machine.
    fn sync(&self) -> io::Result<()> {
        match openat(&self.fd, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(directory) => match File::from(directory).sync_all() {
                // A file system that cannot do that for directories.
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(()),
                result => result,
            },
            // One may be allowed to write into a directory and not to list it.
            Err(Errno::EACCES | Errno::EPERM) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens the directory at `path`, one name after the other.
fn walk(path: &Path, make: bool) -> Result<OwnedFd, NewFileError> {
    let failed = |source: Errno| NewFileError::Io { path: path.to_owned(), source: source.into() };
    let hold = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let start = |path: &Path| {
        let start = if path.is_absolute() { "/" } else { "." };
        open(start, hold | OFlag::O_DIRECTORY, Mode::empty()).map_err(failed)
    };
    let mut fd = start(path)?;
    let mut rest = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let name = name.as_os_str();
        let mut opened = openat(&fd, name, hold | OFlag::O_NOFOLLOW, Mode::empty());
        if make && matches!(opened, Err(Errno::ENOENT)) {
            match mkdirat(&fd, name, Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(failed(error)),
            }
            opened = openat(&fd, name, hold | OFlag::O_NOFOLLOW, Mode::empty());
        }
        let next = opened.map_err(failed)?;
        let stat = fstat(&next).map_err(failed)?;
        match kind(&stat) {
            SFlag::S_IFDIR => fd = next,
            SFlag::S_IFLNK => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed(Errno::ELOOP));
                }
                if !may_follow(&fstat(&fd).map_err(failed)?, &stat) {
                    return Err(NewFileError::Planted { path: path.to_owned(), link: name.into(), uid: stat.st_uid });
                }
                if fstatfs(&next).is_ok_and(|system| system.filesystem_type() == PROC_SUPER_MAGIC) {
                    // The text of such a link is only for showing.
                    fd = openat(&fd, name, hold | OFlag::O_DIRECTORY, Mode::empty()).map_err(failed)?;
                } else {
                    let target = PathBuf::from(readlinkat(&next, "").map_err(failed)?);
                    if target.is_absolute() {
                        fd = start(&target)?;
                    }
                    rest.extend(names(&target));
                }
            }
            _ => return Err(failed(Errno::ENOTDIR)),
        }
    }
    Ok(fd)
}

/// The names in a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// `may_follow_link` of the kernel (fs/namei.c), where `fs.protected_symlinks` may be off.
fn may_follow(directory: &FileStat, link: &FileStat) -> bool {
    let mode = Mode::from_bits_truncate(directory.st_mode);
    let is_shared = mode.contains(Mode::S_ISVTX | Mode::S_IWOTH);
    !is_shared || link.st_uid == geteuid().as_raw() || link.st_uid == directory.st_uid
}

/// A name in a directory at which a file is to be.
#[derive(Clone, Debug)]
pub struct Goal {
    directory: Arc<Directory>,
    name: OsString,
    path: PathBuf,
    replace: Replace,
    mode: u32,
}

impl Goal {
    /// Opens the directory of `path`, and looks whether a file can come to be there. Nothing is written,
    /// so that it can be asked before the work is done.
    ///
    /// # Errors
    /// When something is there that is not to be replaced, or the directory cannot be opened.
    pub fn new(path: &Path, replace: Replace) -> Result<Self, NewFileError> {
        let no_name = || NewFileError::NoName { path: path.to_owned() };
        let bytes = path.as_os_str().as_bytes();
        let name =
            path.file_name().filter(|_| !bytes.ends_with(b"/") && !bytes.ends_with(b"/.")).ok_or_else(no_name)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let directory = Arc::new(Directory { fd: walk_to_parent(path, parent)?, path: parent.to_owned() });
        let goal = Self { directory, name: name.to_owned(), path: path.to_owned(), replace, mode: PRIVATE };
        goal.judge()?;
        Ok(goal)
    }

    /// A name in a directory that is open.
    ///
    /// # Errors
    /// When the name is a path, or something is there that is not to be replaced.
    pub fn inside(directory: &Arc<Directory>, name: &str, replace: Replace) -> Result<Self, NewFileError> {
        let path = directory.path.join(name);
        if Path::new(name).file_name() != Some(OsStr::new(name)) {
            return Err(NewFileError::NoName { path });
        }
        let goal = Self { directory: Arc::clone(directory), name: name.into(), path, replace, mode: PRIVATE };
        goal.judge()?;
        Ok(goal)
    }

    /// With other permissions than 0600; the umask is taken from them.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Its path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file, and says how long it is, in bytes.
    ///
    /// # Errors
    /// As [`Goal::new`], those of `write`, and the file system's. After [`NewFileError::NotSynced`] alone
    /// the file is there.
    pub fn write(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<u64, NewFileError> {
        let failed = |source: io::Error| NewFileError::Io { path: self.path.clone(), source };
        self.judge()?;
        let mut file = Unfinished::new(&self.directory, self.mode).map_err(failed)?;
        let mut out = BufWriter::with_capacity(1 << 20, &mut file.file);
        write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
        // What is left in the buffer after an error is not tried again.
        let (_, _) = out.into_parts();
        file.file.sync_all().map_err(failed)?;
        let len = file.file.metadata().map_err(failed)?.len();
        self.judge()?;
        let placed = match self.replace {
            Replace::Nothing => file.take_free_name(&self.name).map_err(io::Error::from),
            Replace::Own | Replace::If(_) | Replace::Any => file.take_name(&self.name),
        };
        placed.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EEXIST) => NewFileError::Exists { path: self.path.clone() },
            _ => failed(error),
        })?;
        self.directory.sync().map_err(|source| NewFileError::NotSynced { path: self.path.clone(), source })?;
        Ok(len)
    }

    /// Whether what is there may be replaced.
    fn judge(&self) -> Result<(), NewFileError> {
        let path = || self.path.clone();
        let failed = |error: Errno| NewFileError::Io { path: path(), source: error.into() };
        let stat = match self.directory.stat(&self.name) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let what = match kind(&stat) {
            SFlag::S_IFREG => None,
            SFlag::S_IFLNK => Some("a symbolic link"),
            SFlag::S_IFDIR => Some("a directory"),
            SFlag::S_IFIFO => Some("a FIFO"),
            SFlag::S_IFSOCK => Some("a socket"),
            _ => Some("a device"),
        };
        if let Some(what) = what {
            return Err(NewFileError::NotRegular { path: path(), what });
        }
        match self.replace {
            Replace::Any => Ok(()),
            Replace::Own if stat.st_uid == geteuid().as_raw() => Ok(()),
            Replace::Own => Err(NewFileError::NotOurs { path: path(), uid: stat.st_uid }),
            Replace::If(is_same_kind) if self.existing().is_ok_and(is_same_kind) => Ok(()),
            Replace::If(_) | Replace::Nothing => Err(NewFileError::Exists { path: path() }),
        }
    }

    fn existing(&self) -> nix::Result<File> {
        // Not blocking: what was a file a moment ago may be a FIFO.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        openat(&self.directory.fd, self.name.as_os_str(), flags, Mode::empty()).map(File::from)
    }
}

/// The directory that `path` is in; errors name the whole path.
fn walk_to_parent(path: &Path, parent: &Path) -> Result<OwnedFd, NewFileError> {
    walk(parent, false).map_err(|error| match error {
        NewFileError::Io { source, .. } => NewFileError::Io { path: path.to_owned(), source },
        NewFileError::Planted { link, uid, .. } => NewFileError::Planted { path: path.to_owned(), link, uid },
        other => other,
    })
}

/// A file that nobody can find by its name yet.
struct Unfinished<'d> {
    directory: &'d Directory,
    file: File,
    name: Option<OsString>,
}

impl<'d> Unfinished<'d> {
    fn new(directory: &'d Directory, mode: u32) -> io::Result<Self> {
        let write = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        // It gets its name through this directory.
        if Path::new("/proc/self/fd").exists() {
            match openat(&directory.fd, ".", write | OFlag::O_TMPFILE, Mode::from_bits_truncate(mode)) {
                Ok(file) => return Ok(Self { directory, file: file.into(), name: None }),
                // What kernels and file systems say that do not know it.
                Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL | Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Self::named(directory, mode)
    }

    fn named(directory: &'d Directory, mode: u32) -> io::Result<Self> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let open = |name: &OsStr| openat(&directory.fd, name, flags, Mode::from_bits_truncate(mode));
        let (name, file) = with_random_name(open)?;
        Ok(Self { directory, file: file.into(), name: Some(name) })
    }

    /// Gives the file a name that nothing has.
    fn take_free_name(mut self, name: &OsStr) -> nix::Result<()> {
        let directory = &self.directory.fd;
        let Some(own) = &self.name else { return self.link(name) };
        match linkat(directory, own.as_os_str(), directory, name, AtFlags::empty()) {
            // A file system without hard links.
            Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EMLINK) => {
                self.directory.rename_to_free(own, name)?;
                self.name = None;
                Ok(())
            }
            // Its first name goes when this is dropped.
            result => result,
        }
    }

    /// Gives the file a name, from what has it now.
    fn take_name(mut self, name: &OsStr) -> io::Result<()> {
        if self.name.is_none() {
            self.name = Some(with_random_name(|name| self.link(name))?.0);
        }
        if let Some(own) = &self.name {
            renameat(&self.directory.fd, own.as_os_str(), &self.directory.fd, name)?;
            self.name = None;
        }
        Ok(())
    }

    /// Gives a file without a name one.
    fn link(&self, name: &OsStr) -> nix::Result<()> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(AT_FDCWD, own.as_str(), &self.directory.fd, name, AtFlags::AT_SYMLINK_FOLLOW)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = unlinkat(&self.directory.fd, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Calls `make` with names that nobody can guess until nothing is there.
fn with_random_name<T>(mut make: impl FnMut(&OsStr) -> nix::Result<T>) -> io::Result<(OsString, T)> {
    for _ in 0..MAX_NAMES {
        // The keys are the operating system's random numbers.
        let name = OsString::from(format!(".gospy-{:016x}.part", RandomState::new().build_hasher().finish()));
        match make(&name) {
            Err(Errno::EEXIST) => {}
            result => return Ok((name, result?)),
        }
    }
    // It is not the name of the file that is taken.
    Err(io::Error::other(format!("{MAX_NAMES} random names for a temporary file are all taken")))
}

#[cfg(test)]
#[path = "new_file_tests.rs"]
mod tests;
