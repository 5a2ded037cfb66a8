//! Why a process cannot be read, and the one remedy that fits.
//!
//! The kernel only returns "operation not permitted", not which check failed. This module gathers the facts
//! that those checks use ([`Facts::gather`]) and repeats the checks ([`advise`]), in the kernel's order
//! (`__ptrace_may_access` and the security modules after it): same user, or `CAP_SYS_PTRACE` in the target's
//! user namespace; the target is dumpable, or that capability; its capabilities are a subset of ours, or that
//! capability; Yama's scope; another security module. A seccomp filter may have refused the call before all of
//! them. This module only reads.

use std::fs;
use std::io;
use std::path::Path;

use procfs::FromRead;
use procfs::process::Status;

use super::TargetError;
use super::proc_dir::ProcDir;

/// Bits of `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`, each of which allows reading every file.
const CAP_READ_FILES: u64 = 1 << 1 | 1 << 2;
/// Bit of `CAP_SYS_PTRACE` in the masks of `/proc/PID/status`.
const CAP_SYS_PTRACE: u64 = 1 << 19;
/// Inode of the first user namespace (`PROC_USER_INIT_INO` in the kernel's `proc_ns.h`).
const FIRST_USER_NS: &str = "user:[4026531837]";
/// Maximum parents followed when looking for an ancestor.
const ANCESTORS: usize = 1024;

/// The kind of container gospy runs in; each grants capabilities in a different way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// Docker or compatible.
    Docker,
    /// Podman.
    Podman,
    /// A Kubernetes pod.
    Kubernetes,
    /// Another one (LXC, systemd-nspawn, …).
    Other,
}

/// A process's credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Real, effective and saved user id.
    pub uids: [u32; 3],
    /// Real, effective and saved group id.
    pub gids: [u32; 3],
    /// `CapPrm`.
    pub cap_permitted: u64,
    /// `CapEff`.
    pub cap_effective: u64,
    /// `CapBnd`: the most it could ever get.
    pub cap_bounding: u64,
    /// `Seccomp`: 0 none, 1 strict, 2 filter.
    pub seccomp: u32,
}

impl Credentials {
    fn of(status: &Status) -> Self {
        Self {
            uids: [status.ruid, status.euid, status.suid],
            gids: [status.rgid, status.egid, status.sgid],
            cap_permitted: status.capprm,
            cap_effective: status.capeff,
            cap_bounding: status.capbnd.unwrap_or(status.capprm),
            seccomp: status.seccomp.unwrap_or_default(),
        }
    }

    pub(super) fn effective_uid(&self) -> u32 {
        let [_, effective, _] = self.uids;
        effective
    }

    /// Whether `CAP_SYS_PTRACE` is in effect.
    #[must_use]
    pub(crate) fn may_ptrace_all(&self) -> bool {
        self.cap_effective & CAP_SYS_PTRACE != 0
    }
}

/// The facts that decide whether gospy can read a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The target's pid.
    pub pid: i32,
    /// Our own credentials.
    pub own: Credentials,
    /// The target's credentials; `None` when `/proc` hides it (`hidepid`).
    pub target: Option<Credentials>,
    /// Owner of `/proc/PID/stat`: root when the target is not dumpable (the directory itself always
    /// belongs to the target's user).
    pub proc_owner: Option<u32>,
    /// Whether the target is a descendant of ours.
    pub descendant: bool,
    /// Yama's `ptrace_scope`; `None` when Yama is not built in.
    pub yama: Option<u8>,
    /// Whether the target is in our user namespace, as far as that can be seen.
    pub same_user_ns: bool,
    /// Whether we are in the machine's first user namespace.
    pub in_first_user_ns: bool,
    /// Whether our user namespace has no id map (`unshare --user` alone): every uid shows as 65534, and no
    /// capability can be gained.
    pub no_ids: bool,
    /// The target's id in each pid namespace from ours inwards; more than one for a target in a container below
    /// us.
    pub target_ns_pids: Vec<i32>,
    /// The container that we run in.
    pub container: Option<Container>,
    /// Our security label and the target's (AppArmor, SELinux), if any.
    pub labels: Option<(String, String)>,
}

/// Which check refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// `/proc` is mounted so that it hides other users' processes.
    Hidden,
    /// Yama forbids all attaching (scope 3).
    YamaForbidsAll,
    /// Yama requires a capability for any target (scope 2).
    YamaAdministrator,
    /// Yama requires the target to be a descendant (scope 1).
    YamaDescendant,
    /// The target belongs to another user.
    OtherUser,
    /// The target is not dumpable: it changed its user, its file is not readable, or it called
    /// `prctl(PR_SET_DUMPABLE)`.
    NotDumpable,
    /// The target has capabilities that we lack.
    MoreCapable,
    /// The target is in a user namespace where our capabilities do not count.
    OtherUserNamespace,
    /// A seccomp filter on gospy.
    Seccomp,
    /// A security module, by labels.
    SecurityModule,
    /// Memory can be read, but the executable cannot.
    File,
    /// All checks that gospy can repeat succeed.
    Unknown,
}

/// The reason, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Which check.
    pub cause: Cause,
    /// The check and the facts that made it fail.
    pub reason: String,
    /// One remedy.
    pub remedy: String,
}

impl Facts {
    /// Gathers the facts on process `pid` and on gospy. What cannot be read keeps its default.
    #[must_use]
    pub(crate) fn gather(pid: i32) -> Self {
        let own = own_status().map(|status| Credentials::of(&status)).unwrap_or_default();
        let dir = ProcDir::open(pid).ok();
        let status = dir.as_ref().and_then(|dir| dir.status().ok());
        let link = |name: &str| dir.as_ref().and_then(|dir| dir.link(name).ok());
        let own_user_ns = fs::read_link("/proc/self/ns/user").ok().map(std::path::PathBuf::into_os_string);
        let same_user_ns = match (link("ns/user"), &own_user_ns) {
            (Some(theirs), Some(ours)) => theirs == *ours,
            // The link is unreadable when the target is; its id map is readable, and differs.
            _ => dir
                .as_ref()
                .and_then(|dir| dir.text("uid_map").ok())
                .is_none_or(|theirs| fs::read_to_string("/proc/self/uid_map").is_ok_and(|ours| ours == theirs)),
        };
        Self {
            pid,
            own,
            target: status.as_ref().map(Credentials::of),
            proc_owner: fs::metadata(format!("/proc/{pid}/stat"))
                .ok()
                .map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata)),
            descendant: is_descendant(pid),
            yama: fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok().and_then(|s| s.trim().parse().ok()),
            same_user_ns,
            in_first_user_ns: own_user_ns.is_some_and(|ns| ns == FIRST_USER_NS),
            no_ids: fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.trim().is_empty()),
            target_ns_pids: status.and_then(|status| status.nspid).unwrap_or_default(),
            container: container(),
            labels: dir.as_ref().and_then(labels),
        }
    }

    /// Whether our `CAP_SYS_PTRACE` counts for the target.
    #[must_use]
    pub(crate) fn capable(&self) -> bool {
        self.own.may_ptrace_all() && (self.same_user_ns || self.in_first_user_ns)
    }

    /// Whether all ids of the target are our real ones, as the kernel requires.
    pub(super) fn same_user(&self, target: &Credentials) -> bool {
        let ([uid, ..], [gid, ..]) = (self.own.uids, self.own.gids);
        target.uids.iter().all(|&id| id == uid) && target.gids.iter().all(|&id| id == gid)
    }

    /// Describes gospy's credentials.
    fn own_credentials(&self) -> String {
        let [_, euid, _] = self.own.uids;
        let has = if self.own.may_ptrace_all() { "with" } else { "without" };
        format!("gospy runs as uid {euid} {has} CAP_SYS_PTRACE")
    }
}

/// Which check refused the read, and what to do about it.
#[must_use]
pub(crate) fn advise(facts: &Facts) -> Advice {
    let (cause, reason) = refusing_check(facts);
    Advice { cause, reason, remedy: remedy(facts, cause) }
}

fn refusing_check(facts: &Facts) -> (Cause, String) {
    let Some(target) = &facts.target else {
        return (
            Cause::Hidden,
            format!("/proc does not show the process (mounted with hidepid), and {}", facts.own_credentials()),
        );
    };
    if facts.yama == Some(3) {
        return (Cause::YamaForbidsAll, "kernel.yama.ptrace_scope is 3: no process may attach to another".into());
    }
    if facts.capable() {
        return beyond_capabilities(facts);
    }
    // Uids prove nothing then: all unmapped ones are shown as 65534.
    if !facts.same_user_ns && !facts.in_first_user_ns {
        let reason = match facts.own.may_ptrace_all() {
            true => "it is in another user namespace, where the CAP_SYS_PTRACE of gospy does not count",
            false => "it is in another user namespace than gospy, and to look into that takes CAP_SYS_PTRACE there",
        };
        return (Cause::OtherUserNamespace, reason.into());
    }
    let ([own_uid, ..], [uid, effective, _]) = (facts.own.uids, target.uids);
    if !facts.same_user(target) {
        let reason = if target.uids.iter().all(|&id| id == own_uid) {
            format!(
                "its group ids ({}) are not all those of gospy, and {}",
                list(&target.gids),
                facts.own_credentials()
            )
        } else if uid == own_uid {
            format!("it has changed its user ids ({}), and {}", list(&target.uids), facts.own_credentials())
        } else {
            format!("it belongs to uid {uid}, and {}", facts.own_credentials())
        };
        return (Cause::OtherUser, reason);
    }
    if let Some(owner) = facts.proc_owner.filter(|&owner| owner != effective) {
        let reason = format!(
            "it is not dumpable (/proc/{}/stat belongs to uid {owner}, the process to uid {uid}), and {}",
            facts.pid,
            facts.own_credentials()
        );
        return (Cause::NotDumpable, reason);
    }
    let more = target.cap_permitted & !facts.own.cap_permitted;
    if more != 0 {
        let reason = format!("it has capabilities that gospy lacks (mask {more:#x}), and {}", facts.own_credentials());
        return (Cause::MoreCapable, reason);
    }
    match facts.yama {
        Some(2) => {
            let reason =
                format!("kernel.yama.ptrace_scope is 2, which wants CAP_SYS_PTRACE, and {}", facts.own_credentials());
            (Cause::YamaAdministrator, reason)
        }
        Some(1) if !facts.descendant => {
            let reason = "kernel.yama.ptrace_scope is 1, and the process is not a descendant of gospy";
            (Cause::YamaDescendant, format!("{reason}; {}", facts.own_credentials()))
        }
        _ => beyond_capabilities(facts),
    }
}

/// What may have refused the read when all the kernel's own checks pass.
fn beyond_capabilities(facts: &Facts) -> (Cause, String) {
    if facts.own.seccomp != 0 {
        let reason = "a seccomp filter on gospy refuses process_vm_readv, ptrace or the files of /proc";
        return (Cause::Seccomp, format!("{reason}; {}", facts.own_credentials()));
    }
    match &facts.labels {
        Some((own, target)) if !own.starts_with("unconfined") || own != target => {
            let reason = format!("the security module keeps \"{own}\" (gospy) from \"{target}\" (the process)");
            (Cause::SecurityModule, reason)
        }
        _ => (Cause::Unknown, format!("no check that gospy can repeat explains it; {}", facts.own_credentials())),
    }
}

fn remedy(facts: &Facts, cause: Cause) -> String {
    let pid = facts.pid;
    match cause {
        // Whatever the cause: no capability can be gained in this namespace.
        _ if facts.no_ids => {
            "Run gospy outside of its user namespace, which has no users (unshare --user without a map): \
                              there, as the user of the process or as root."
                .into()
        }
        Cause::YamaForbidsAll => {
            "This setting lasts until the machine is booted without it; until then, read a core file or a capture."
                .into()
        }
        Cause::OtherUserNamespace => match facts.target_ns_pids.last() {
            Some(inner) if facts.target_ns_pids.len() > 1 => format!(
                "Run gospy inside the container of the process (its pid there is {inner}), or on the host as root."
            ),
            _ => "Run gospy on the host as root, or inside the user namespace of the process.".into(),
        },
        Cause::Seccomp => match facts.container {
            Some(container) => container_remedy(container, PTRACE),
            None => "Run gospy outside of the sandbox that filters its system calls \
                     (for a systemd service: without SystemCallFilter=)."
                .into(),
        },
        Cause::SecurityModule => {
            "Run gospy with the label of the process, or unconfined; the kernel's log (dmesg) names the rule.".into()
        }
        Cause::Unknown => {
            "The kernel's log (dmesg) may name the rule; a core file or a capture can be read without rights.".into()
        }
        Cause::Hidden
        | Cause::YamaAdministrator
        | Cause::YamaDescendant
        | Cause::OtherUser
        | Cause::NotDumpable
        | Cause::MoreCapable => gain_ptrace(facts, cause, pid),
        Cause::File => match (facts.own.effective_uid(), facts.container) {
            (0, _) => "Run gospy from a root shell that has not dropped CAP_DAC_READ_SEARCH.".into(),
            (_, Some(_)) => {
                "Run gospy as root inside the container (docker exec -u 0 …): root may read the file.".into()
            }
            (_, None) => format!("Run: sudo gospy … --pid {pid}"),
        },
    }
}

/// How to get `CAP_SYS_PTRACE`.
fn gain_ptrace(facts: &Facts, cause: Cause, pid: i32) -> String {
    let [_, euid, _] = facts.own.uids;
    let can_have = can_gain(facts, CAP_SYS_PTRACE);
    match facts.container {
        Some(container) if !can_have => container_remedy(container, PTRACE),
        Some(_) if euid != 0 => "Run gospy as root inside the container (docker exec -u 0 …): root has \
                                 CAP_SYS_PTRACE there."
            .into(),
        Some(container) => container_remedy(container, PTRACE),
        None if !can_have => "CAP_SYS_PTRACE was taken away from this session (for a systemd service: \
                              CapabilityBoundingSet=); run gospy from a session that has it."
            .into(),
        None if euid == 0 && facts.own.cap_permitted & CAP_SYS_PTRACE == 0 => {
            "Being root is not enough without CAP_SYS_PTRACE; run gospy from a root shell that has not dropped it."
                .into()
        }
        None if cause == Cause::YamaDescendant => {
            format!(
                "Run: sudo gospy … --pid {pid} (or, for all of your programs: sudo sysctl kernel.yama.ptrace_scope=0)"
            )
        }
        None => format!("Run: sudo gospy … --pid {pid}"),
    }
}

/// Whether this session could ever get one of these capabilities.
pub(super) fn can_gain(facts: &Facts, capabilities: u64) -> bool {
    facts.own.cap_bounding & capabilities != 0
}

/// The capability that reading takes, as containers name it.
const PTRACE: &str = "SYS_PTRACE";

/// How a container gets a capability.
pub(super) fn container_remedy(container: Container, capability: &str) -> String {
    match container {
        Container::Docker => format!(
            "Give the container the right: docker run --pid=container:NAME --cap-add {capability} … (NAME is the \
             container of the program)."
        ),
        Container::Podman => format!(
            "Give the container the right: podman run --pid=container:NAME --cap-add {capability} … (NAME is the \
             container of the program)."
        ),
        Container::Kubernetes => format!(
            "Use a debug container with the right: kubectl debug -it POD --image=IMAGE --target=CONTAINER \
             --profile={} -- gospy … (or, in a sidecar: shareProcessNamespace: true and the capability {capability}).",
            // The profile that gives no more than the right to trace.
            if capability == PTRACE { "general" } else { "sysadmin" }
        ),
        Container::Other => {
            format!("Give the container the capability {capability}, or run gospy on the host as root.")
        }
    }
}

fn list(ids: &[u32; 3]) -> String {
    let [real, effective, saved] = ids;
    format!("real {real}, effective {effective}, saved {saved}")
}

/// The error for a process that cannot be read.
pub(super) fn refused(pid: i32) -> TargetError {
    let Advice { reason, remedy, .. } = advise(&Facts::gather(pid));
    TargetError::Permission { pid, reason, advice: remedy }
}

/// The error for a process whose memory can be read but whose executable cannot be opened.
pub(super) fn file_refused(dir: &ProcDir, error: &io::Error) -> TargetError {
    let Advice { reason, remedy, .. } = advise_of_file(dir, error);
    TargetError::Permission { pid: dir.pid(), reason, advice: remedy }
}

/// Why the executable cannot be opened although the memory can be read, and what to do about it.
/// `CAP_SYS_PTRACE` gives access to processes, not to every file.
pub(super) fn advise_of_file(dir: &ProcDir, error: &io::Error) -> Advice {
    let pid = dir.pid();
    let facts = Facts::gather(pid);
    let path = dir.exe().map_or_else(|_| format!("/proc/{pid}/exe"), |(path, _)| path);
    let mode = fs::metadata(format!("/proc/{pid}/exe")).ok().map(|metadata| {
        use std::os::unix::fs::MetadataExt;
        format!("mode {:04o}, uid {}; ", metadata.mode() & 0o7777, metadata.uid())
    });
    let [_, euid, _] = facts.own.uids;
    let reads_all = facts.own.cap_effective & CAP_READ_FILES != 0;
    let has = if reads_all { "with" } else { "without" };
    let reason = format!(
        "its memory can be read, but its file {path} cannot be opened: {error} ({}gospy runs as uid {euid} {has} \
         CAP_DAC_READ_SEARCH)",
        mode.unwrap_or_default()
    );
    let remedy = match reads_all {
        // NFS with root_squash, FUSE.
        true => format!("Its file system refuses even root: run gospy as the owner of {path}, or copy the file there."),
        false => remedy(&facts, Cause::File),
    };
    Advice { cause: Cause::File, reason, remedy }
}

fn own_status() -> io::Result<Status> {
    Status::from_read(String::from_utf8_lossy(&fs::read("/proc/thread-self/status")?).as_bytes())
        .map_err(|e| io::Error::other(e.to_string()))
}

/// Whether we are among the ancestors of `pid`.
fn is_descendant(pid: i32) -> bool {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let mut pid = pid;
    for _ in 0..ANCESTORS {
        match ProcDir::open(pid).and_then(|dir| dir.stat()) {
            Ok(stat) if stat.ppid == own => return true,
            Ok(stat) if stat.ppid > 0 => pid = stat.ppid,
            _ => return false,
        }
    }
    false
}

fn container() -> Option<Container> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let init = fs::read_to_string("/run/systemd/container").unwrap_or_default();
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() || cgroup.contains("kubepods") {
        Some(Container::Kubernetes)
    } else if Path::new("/run/.containerenv").exists() || init.trim() == "podman" {
        Some(Container::Podman)
    } else if Path::new("/.dockerenv").exists() || cgroup.contains("docker") {
        Some(Container::Docker)
    } else if !init.trim().is_empty() || std::env::var_os("container").is_some() {
        Some(Container::Other)
    } else {
        None
    }
}

/// `attr/current` of gospy and of the target, if both exist and are not empty.
fn labels(dir: &ProcDir) -> Option<(String, String)> {
    let clean = |label: String| {
        let label = label.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned();
        (!label.is_empty()).then_some(label)
    };
    let own = clean(fs::read_to_string("/proc/self/attr/current").ok()?)?;
    Some((own, clean(dir.text("attr/current").ok()?)?))
}

#[cfg(test)]
#[path = "permission_tests.rs"]
mod tests;
