//! Names in files of a container, which its runtime or the kubelet writes: its hostname, and the namespace of its pod.
//!
//! They are read where the kernel's own answer takes a right that gospy does not have ([`super::hostname`]). Root in the
//! container can change them: they are labels and no proof. The files are looked for inside the container's root,
//! one directory at a time: a link in there leads to a file in there, and nothing but a regular file is opened.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat, readlinkat};

use super::proc_dir::ProcDir;

/// What the files of a container name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerNames {
    /// Its hostname, which is the name of its pod; `None` where it shares that of its machine.
    pub hostname: Option<String>,
    /// The namespace of its pod; `None` without a service account's token.
    pub namespace: Option<String>,
}

impl ContainerNames {
    /// Those of the container that a process runs in.
    #[must_use]
    pub(crate) fn of(dir: &ProcDir) -> Self {
        let name = |path| dir.file("root").ok().and_then(|root| name_in(&root.into(), path));
        let init = std::fs::read_link("/proc/1/ns/uts").ok();
        let has_own = init.zip(dir.link("ns/uts").ok()).is_some_and(|(init, own)| init.as_os_str() != own);
        Self {
            hostname: has_own.then(|| name("etc/hostname")).flatten(),
            namespace: name("var/run/secrets/kubernetes.io/serviceaccount/namespace"),
        }
    }
}

/// Most directories and links on the way to a file.
const STEPS: usize = 64;
/// Longest name of DNS (RFC 1035), which those of Kubernetes are, and the end of the line.
const LONGEST: u64 = 254;

fn name_in(root: &OwnedFd, path: &str) -> Option<String> {
    let mut text = String::new();
    File::from(open_in(root, path)?).take(LONGEST).read_to_string(&mut text).ok()?;
    let name = text.trim_end_matches('\n');
    let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (!name.is_empty() && text.len() < LONGEST as usize && name.bytes().all(is_fit)).then(|| name.to_owned())
}

/// Opens a regular file as a process with this root directory would.
fn open_in(root: &OwnedFd, path: &str) -> Option<OwnedFd> {
    let mut way: Vec<OwnedFd> = Vec::new();
    let mut left: VecDeque<String> = path.split('/').map(str::to_owned).collect();
    for _ in 0..STEPS {
        let element = left.pop_front()?;
        let here = way.last().unwrap_or(root);
        match element.as_str() {
            "" | "." => continue,
            ".." => {
                way.pop();
                continue;
            }
            _ => {}
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat(here, &element, flags, Mode::empty()).ok()?;
        match FileType::from_raw_mode(fstat(&found).ok()?.st_mode) {
            FileType::Symlink => {
                let target = readlinkat(&found, "", Vec::new()).ok()?.into_string().ok()?;
                if target.starts_with('/') {
                    way.clear();
                }
                for element in target.split('/').rev() {
                    left.push_front(element.to_owned());
                }
            }
            FileType::Directory => way.push(found),
            FileType::RegularFile if left.is_empty() => return reopened(here, &element),
            _ => return None,
        }
    }
    None
}

/// What has taken the file's place meanwhile is not waited for, and not read unless it is regular, too.
fn reopened(directory: impl AsFd, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty()).ok()?;
    let kind = FileType::from_raw_mode(fstat(&file).ok()?.st_mode);
    (kind == FileType::RegularFile).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn within(root: &Path, path: &str) -> Option<String> {
        name_in(&File::open(root).unwrap().into(), path)
    }

    #[test]
    fn files_are_found_as_from_inside() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("run/secrets/..v1")).unwrap();
        std::fs::create_dir(root.join("var")).unwrap();
        std::fs::write(root.join("run/secrets/..v1/namespace"), "shop").unwrap();
        symlink("/run", root.join("var/run")).unwrap();
        symlink("..v1", root.join("run/secrets/..data")).unwrap();
        symlink("..data/namespace", root.join("run/secrets/namespace")).unwrap();
        assert_eq!(within(root, "var/run/secrets/namespace").as_deref(), Some("shop"));
        assert_eq!(within(root, "../../run/./secrets//namespace").as_deref(), Some("shop"));
        assert_eq!(within(root, "var/run/secrets/absent"), None);
    }

    #[test]
    fn nothing_outside_is_read_and_nothing_is_waited_for() {
        let (outside, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = directory.path();
        let secret = outside.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        symlink(&secret, root.join("absolute")).unwrap();
        let relative = format!("{}{}", "../".repeat(20), secret.to_str().unwrap());
        symlink(relative, root.join("relative")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/proc/self/fd", root.join("magic")).unwrap();
        nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::create_dir(root.join("directory")).unwrap();
        for name in ["absolute", "relative", "loop", "magic/0", "fifo", "directory", ""] {
            assert_eq!(within(root, name), None, "{name}");
        }
    }

    #[test]
    fn only_names_of_dns_are_names() {
        let directory = tempfile::tempdir().unwrap();
        let with = |text: &[u8]| {
            std::fs::write(directory.path().join("hostname"), text).unwrap();
            within(directory.path(), "hostname")
        };
        assert_eq!(with(b"orders-7f9c4-x2\n").as_deref(), Some("orders-7f9c4-x2"));
        assert_eq!(with("a".repeat(253).as_bytes()), Some("a".repeat(253)));
        for text in [&b""[..], b"\n", b"a b", b"a\nb", b"\x1b[31m", b"A", b"\xff", "a".repeat(254).as_bytes()] {
            assert_eq!(with(text), None, "{text:?}");
        }
    }
}
