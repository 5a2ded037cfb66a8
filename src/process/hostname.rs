//! Hostnames as processes see them: a container's, or in Kubernetes the pod's.
//!
//! The kernel shows a UTS namespace's hostname only from inside it (uts_namespaces(7)), so a gospy thread
//! enters the namespace, reads the name and ends. That takes `CAP_SYS_ADMIN` and changes nothing in the
//! namespace. The container's files, which it can change, are read only where that right is missing ([`super::container_files`]).

use std::ffi::OsString;

use nix::sched::{CloneFlags, setns};
use nix::sys::utsname::uname;
use rustc_hash::FxHashMap;

use super::proc_dir::ProcDir;

/// Hostnames by UTS namespace, each looked up once.
#[derive(Debug, Default)]
pub(crate) struct Hostnames {
    own: Option<OsString>,
    known: FxHashMap<OsString, Option<String>>,
}

impl Hostnames {
    /// An empty cache.
    #[must_use]
    pub(crate) fn new() -> Self {
        let own = std::fs::read_link("/proc/self/ns/uts").ok().map(std::path::PathBuf::into_os_string);
        Self { own, known: FxHashMap::default() }
    }

    /// The hostname that the process of `dir` sees; `None` when it shares gospy's UTS namespace (that name says
    /// nothing about the process), and when not permitted.
    pub(crate) fn of(&mut self, dir: &ProcDir) -> Option<String> {
        let namespace = dir.link("ns/uts").ok()?;
        if self.own.as_ref() == Some(&namespace) {
            return None;
        }
        self.known.entry(namespace).or_insert_with(|| name_in_namespace_of(dir)).clone()
    }
}

fn name_in_namespace_of(dir: &ProcDir) -> Option<String> {
    let namespace = dir.file("ns/uts").ok()?;
    // Only this thread enters the namespace, and it ends here.
    let entered = std::thread::Builder::new().name("uts".to_owned()).spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWUTS).ok()?;
        let name = uname().ok()?.nodename().to_string_lossy().into_owned();
        Some(name).filter(|name| !name.is_empty())
    });
    entered.ok()?.join().ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn the_name_of_another_namespace_is_known_and_ours_stays() {
        let name = || uname().unwrap().nodename().to_owned();
        let own = name();
        let mut child = Command::new("unshare")
            .args(["--uts", "sh", "-c", "hostname pod-7f9c && echo ready && exec sleep 100"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let dir = ProcDir::open(i32::try_from(child.id()).unwrap()).unwrap();
        let mut hostnames = Hostnames::new();
        let found = if line.trim() == "ready" { hostnames.of(&dir) } else { Some("not allowed here".to_owned()) };
        child.kill().unwrap();
        child.wait().unwrap();
        // Both creating a namespace and entering one take CAP_SYS_ADMIN (bit 21), which root lacks in most containers.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
        let permitted = u64::from_str_radix(effective, 16).unwrap() >> 21 & 1 == 1;
        let expected = if permitted { "pod-7f9c" } else { "not allowed here" };
        assert_eq!(found.as_deref(), Some(expected));
        assert_eq!(name(), own);
        let me = ProcDir::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_eq!(Hostnames::new().of(&me), None);
    }
}
