//! What a server would have in effect here, for this user: whom it would let in, what it could read, what the kernel
//! would refuse it. For `gospy doctor`.
//!
//! What the kernel does is tried on a thread that gives up what a server gives up, and ends.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};
use procfs::process::Process;

use super::confine;
use super::listen::Address;
use crate::inspect::doctor::Check;
use crate::process::access::Access;
use crate::process::live::LiveTarget;
use crate::process::{Target as _, TargetError};

/// Samples a second; what is opened to try it takes none.
const HZ: f64 = 1.0;

/// What `gospy serve` would do, by name.
#[must_use]
pub fn in_effect() -> Vec<Check> {
    let uid = geteuid().as_raw();
    let callers = if uid == 0 { "root".to_owned() } else { format!("uid {uid} and root") };
    let mut checks = vec![
        match Address::usual() {
            Some(address) => check("socket", Some(true), format!("{address}, mode 0600")),
            None => check("socket", Some(false), "XDG_RUNTIME_DIR is not set: --listen has to be given".to_owned()),
        },
        check("callers", None, format!("{callers}; others by --token-file only")),
        programs(uid),
        hidden(),
    ];
    let tried = std::thread::Builder::new().spawn(tried).map(std::thread::JoinHandle::join);
    match tried {
        Ok(Ok(Ok(tried))) => checks.extend(tried),
        Ok(Ok(Err(error))) | Err(error) => {
            checks.push(check("no_new_privs", Some(false), format!("it would not start: {error}")))
        }
        Ok(Err(_)) => checks.push(check("no_new_privs", Some(false), "it could not be tried".to_owned())),
    }
    checks
}

fn check(name: &str, passed: Option<bool>, value: String) -> Check {
    Check { name: name.to_owned(), passed, value }
}

/// Whose programs it could read.
fn programs(uid: u32) -> Check {
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let facts = match Access::of(own) {
        Ok(access) => access.facts,
        Err(error) => return check("programs", Some(false), error.to_string()),
    };
    let scope = facts.yama.unwrap_or(0);
    let (passed, value) = match scope {
        3.. => (false, "none: kernel.yama.ptrace_scope is 3".to_owned()),
        _ if facts.own.may_ptrace_all() => (true, "of all users".to_owned()),
        0 => (true, format!("of uid {uid}, since it has no CAP_SYS_PTRACE")),
        _ => (false, format!("none: kernel.yama.ptrace_scope is {scope}, and it has no CAP_SYS_PTRACE")),
    };
    check("programs", Some(passed), value)
}

/// Whether `/proc` shows it the programs of others.
fn hidden() -> Check {
    const NAME: &str = "/proc";
    let mounts = match Process::myself().and_then(|own| own.mountinfo()) {
        Ok(mounts) => mounts,
        Err(error) => return check(NAME, None, error.to_string()),
    };
    // The last mount covers those before it.
    let proc = mounts.into_iter().rfind(|mount| mount.mount_point.as_os_str() == "/proc");
    let hide = proc.and_then(|mount| mount.super_options.get("hidepid").cloned().flatten());
    match hide.filter(|hide| !matches!(hide.as_str(), "0" | "off")) {
        None => check(NAME, Some(true), "shows the processes of all users".to_owned()),
        // Those that may be traced are shown.
        Some(hide) => check(NAME, None, format!("hidepid={hide}: shows only processes that it may read")),
    }
}

/// What is so for a thread that has given up what a server gives up.
fn tried() -> io::Result<Vec<Check>> {
    confine::confine()?;
    let filtered = confine::refuse_calls();
    let status = std::fs::read_to_string("/proc/thread-self/status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let is_set = field("NoNewPrivs:") == "1";
    // Signal 0 only asks whether one could be sent, and to ourselves it always could.
    let is_refused = kill(Pid::this(), None) == Err(Errno::EPERM);
    let filter = match (filtered, is_refused) {
        (Err(error), _) => (false, format!("none: {error}")),
        (Ok(()), false) => (false, "none in effect".to_owned()),
        (Ok(()), true) => (true, "refuses signals, ptrace, writing, new programs and sockets".to_owned()),
    };
    let kept = confine::effective()?;
    let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
    Ok(vec![
        check("capabilities kept", None, kept),
        check("no_new_privs", Some(is_set), if is_set { "set" } else { "not set" }.to_owned()),
        check("seccomp filter", Some(filter.0), filter.1),
        match sampled() {
            Ok(()) => check("CPU profiles", Some(true), "perf_event_open is allowed".to_owned()),
            Err(error) => check("CPU profiles", Some(false), error.to_string()),
        },
    ])
}

/// Whether the CPU use of a process that it may read can be sampled: tried on ourselves.
fn sampled() -> Result<(), TargetError> {
    let target = LiveTarget::open(i32::try_from(std::process::id()).unwrap_or(i32::MAX))?;
    target.cpu_clocks(HZ).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_concerns_no_other_thread() {
        let status = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let of = |status: &str| -> Vec<String> {
            let wanted = ["NoNewPrivs:", "Seccomp:", "CapEff:", "CapPrm:"];
            status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect()
        };
        let before = of(&status());
        let checks = in_effect();
        assert_eq!(of(&status()), before);
        assert_eq!(kill(Pid::this(), None), Ok(()));
        let passed = |name: &str| checks.iter().find(|check| check.name == name).unwrap().passed;
        assert_eq!((passed("no_new_privs"), passed("seccomp filter")), (Some(true), Some(true)), "{checks:?}");
    }
}
