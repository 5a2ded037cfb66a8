//! Writing output files: atomically, and safe against planted links and files.
//!
//! The directory is opened once and everything else is relative to it, so a path component swapped later has no
//! effect. The contents go to an unnamed file (`O_TMPFILE`), or one with a random name
//! (`O_CREAT|O_EXCL|O_NOFOLLOW`) on file systems without `O_TMPFILE`. It has mode 0600 and gets its name by
//! `linkat` or `renameat` after everything is on disk. An error leaves nothing. If a signal (Ctrl-C, SIGTERM,
//! SIGKILL) kills gospy while it writes, a `.gospy-*.part` file may stay: without `O_TMPFILE` at any time,
//! otherwise only between the two steps of a replacement.
//!
//! Anything but a regular file (a link, a device, a FIFO) is never replaced or written to. Symbolic links to
//! directories are followed under the rules of `fs.protected_symlinks`: in a sticky world-writable directory
//! only if we or the directory's owner own the link.

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

/// Owner only: stacks may hold secrets.
pub(crate) const PRIVATE: u32 = 0o600;
/// Readable by everyone.
pub(crate) const PUBLIC: u32 = 0o644;

/// Maximum symbolic links in one path, as in the kernel.
const MAX_LINKS: usize = 40;
/// Random names to try; if all are taken, someone is creating them on purpose.
const MAX_NAMES: usize = 64;

/// Which existing files may be replaced. Only regular files ever are.
#[derive(Clone, Copy, Debug)]
pub enum Replace {
    /// Nothing.
    Nothing,
    /// A file owned by the user gospy runs as.
    Own,
    /// A file for which this returns true, such as one of the same format.
    If(fn(File) -> bool),
    /// Any file.
    Any,
}

/// Why a file was not written. An existing file is unchanged, except after [`NewFileError::NotSynced`].
#[derive(Debug, thiserror::Error)]
pub enum NewFileError {
    /// The path ends in `/` or `..`.
    #[error("{} names no file", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The path exists and is not a regular file.
    #[error("{} is {what}, and only a regular file can be replaced: name another file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What it is, such as "a device".
        what: &'static str,
    },
    /// The file exists and [`Replace`] does not allow replacing it.
    #[error("{} exists", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The file exists and belongs to another user.
    #[error("{} exists and belongs to uid {uid}; only a file of one's own is replaced", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// A symbolic link in a world-writable directory.
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
    /// The file is complete, but may not survive a crash of the machine.
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
    /// Any other error of the file system.
    #[error("{} cannot be written: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory for writing files into it.
    ///
    /// # Errors
    /// When it does not exist, is not a directory, or its path contains an untrusted symbolic link.
    pub fn open(path: &Path) -> Result<Self, NewFileError> {
        Ok(Self { fd: walk(path, false)?, path: path.to_owned() })
    }

    /// Opens a directory, creating it and its parents as needed.
    ///
    /// # Errors
    /// As [`Directory::open`], and when it cannot be created.
    pub fn make(path: &Path) -> Result<Self, NewFileError> {
        Ok(Self { fd: walk(path, true)?, path: path.to_owned() })
    }

    /// The path as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn stat(&self, name: &OsStr) -> nix::Result<FileStat> {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Renames a file to an unused name, without hard links: an empty file reserves the name first, and is
    /// removed on error.
    fn rename_to_free(&self, from: &OsStr, to: &OsStr) -> nix::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        openat(&self.fd, to, flags, Mode::from_bits_truncate(PRIVATE))?;
        renameat(&self.fd, from, &self.fd, to).inspect_err(|_| {
            let _ = unlinkat(&self.fd, to, UnlinkatFlags::NoRemoveDir);
        })
    }

    /// Syncs the directory, so that new names survive a crash of the machine.
    fn sync(&self) -> io::Result<()> {
        match openat(&self.fd, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(directory) => match File::from(directory).sync_all() {
                // The file system does not support it for directories.
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(()),
                result => result,
            },
            // A directory may be writable but not readable.
            Err(Errno::EACCES | Errno::EPERM) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens the directory at `path`, component by component.
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
                    // Such a link's text is for display only.
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

/// The components of a path, last one first.
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

/// The directory and name of a file to be written.
#[derive(Clone, Debug)]
pub struct Goal {
    directory: Arc<Directory>,
    name: OsString,
    path: PathBuf,
    replace: Replace,
    mode: u32,
}

impl Goal {
    /// Opens the directory of `path` and checks that a file can be created there. Writes nothing, so it can be
    /// called before the work is done.
    ///
    /// # Errors
    /// When an existing file may not be replaced, or the directory cannot be opened.
    pub fn new(path: &Path, replace: Replace) -> Result<Self, NewFileError> {
        let no_name = || NewFileError::NoName { path: path.to_owned() };
        let bytes = path.as_os_str().as_bytes();
        let name =
            path.file_name().filter(|_| !bytes.ends_with(b"/") && !bytes.ends_with(b"/.")).ok_or_else(no_name)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let directory = Arc::new(Directory { fd: walk_to_parent(path, parent)?, path: parent.to_owned() });
        let goal = Self { directory, name: name.to_owned(), path: path.to_owned(), replace, mode: PRIVATE };
        goal.check_existing()?;
        Ok(goal)
    }

    /// A name in a directory that is open.
    ///
    /// # Errors
    /// When the name is a path, or an existing file may not be replaced.
    pub fn inside(directory: &Arc<Directory>, name: &str, replace: Replace) -> Result<Self, NewFileError> {
        let path = directory.path.join(name);
        if Path::new(name).file_name() != Some(OsStr::new(name)) {
            return Err(NewFileError::NoName { path });
        }
        let goal = Self { directory: Arc::clone(directory), name: name.into(), path, replace, mode: PRIVATE };
        goal.check_existing()?;
        Ok(goal)
    }

    /// Sets the permissions (default 0600); the umask applies.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The path as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file and returns its length in bytes.
    ///
    /// # Errors
    /// As [`Goal::new`], those of `write`, and the file system's. Only after [`NewFileError::NotSynced`] does
    /// the file exist.
    pub fn write(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<u64, NewFileError> {
        let failed = |source: io::Error| NewFileError::Io { path: self.path.clone(), source };
        self.check_existing()?;
        let mut file = Unfinished::new(&self.directory, self.mode).map_err(failed)?;
        let mut out = BufWriter::with_capacity(1 << 20, &mut file.file);
        write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
        // After an error, do not retry what is left in the buffer.
        let (_, _) = out.into_parts();
        file.file.sync_all().map_err(failed)?;
        let len = file.file.metadata().map_err(failed)?.len();
        self.place(file)?;
        Ok(len)
    }

    /// Gives a file its name.
    fn place(&self, file: Unfinished<'_>) -> Result<(), NewFileError> {
        self.check_existing()?;
        let placed = match self.replace {
            Replace::Nothing => file.take_free_name(&self.name).map_err(io::Error::from),
            Replace::Own | Replace::If(_) | Replace::Any => file.take_name(&self.name),
        };
        placed.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EEXIST) => NewFileError::Exists { path: self.path.clone() },
            _ => NewFileError::Io { path: self.path.clone(), source: error },
        })?;
        self.directory.sync().map_err(|source| NewFileError::NotSynced { path: self.path.clone(), source })
    }

    /// Creates the file with these first bytes under its name at once, for what is written over a long time: it
    /// stays as it is when gospy is killed. Gives it to be appended to.
    ///
    /// # Errors
    /// As [`Goal::new`], and the file system's.
    pub fn begin(&self, head: &[u8]) -> Result<File, NewFileError> {
        let failed = |source: io::Error| NewFileError::Io { path: self.path.clone(), source };
        self.check_existing()?;
        let mut file = Unfinished::new(&self.directory, self.mode).map_err(failed)?;
        file.file.write_all(head).map_err(failed)?;
        let growing = file.file.try_clone().map_err(failed)?;
        self.place(file)?;
        Ok(growing)
    }

    /// Checks that an existing file may be replaced.
    fn check_existing(&self) -> Result<(), NewFileError> {
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
        // Non-blocking: it may have been replaced by a FIFO since the check.
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

/// A file that does not have its final name yet.
struct Unfinished<'d> {
    directory: &'d Directory,
    file: File,
    name: Option<OsString>,
}

impl<'d> Unfinished<'d> {
    fn new(directory: &'d Directory, mode: u32) -> io::Result<Self> {
        let write = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        // linkat names it through this directory.
        if Path::new("/proc/self/fd").exists() {
            match openat(&directory.fd, ".", write | OFlag::O_TMPFILE, Mode::from_bits_truncate(mode)) {
                Ok(file) => return Ok(Self { directory, file: file.into(), name: None }),
                // Errors of kernels and file systems without O_TMPFILE.
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

    /// Gives the file its name, which must be unused.
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
            // The temporary name is removed on drop.
            result => result,
        }
    }

    /// Gives the file its name, replacing an existing file.
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

    /// Links an unnamed file to `name`.
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

/// Calls `make` with unpredictable names until one is unused.
fn with_random_name<T>(mut make: impl FnMut(&OsStr) -> nix::Result<T>) -> io::Result<(OsString, T)> {
    for _ in 0..MAX_NAMES {
        // Its keys come from the operating system's random number generator.
        let name = OsString::from(format!(".gospy-{:016x}.part", RandomState::new().build_hasher().finish()));
        match make(&name) {
            Err(Errno::EEXIST) => {}
            result => return Ok((name, result?)),
        }
    }
    // Not AlreadyExists: the output file's own name is not the problem.
    Err(io::Error::other(format!("{MAX_NAMES} random names for a temporary file are all taken")))
}

#[cfg(test)]
#[path = "new_file_tests.rs"]
mod tests;
