//! The checks that reading a process depends on, run one by one, as data.
//!
//! Used by `gospy doctor`. Reads one byte of the process and opens its files in `/proc`; stops nothing.

use std::io;

use procfs::process::Stat;

use super::TargetError;
use super::memory::Memory;
use super::permission::{Advice, Facts, advise, advise_of_file};
use super::presence::hidden_or_absent;
use super::proc_dir::{self, ProcDir, means_gone, means_refused};
use crate::addr::Addr;

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Stable name of the check.
    pub name: &'static str,
    /// Whether it passed; `None` for a fact that does not decide by itself.
    pub passed: Option<bool>,
    /// The value found.
    pub value: String,
}

/// The results of all checks on one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Attempts on the process: its files, reading memory either way, and whether it can be frozen.
    pub checks: Vec<Check>,
    /// Facts that the permission depends on.
    pub facts: Facts,
    /// The remedy, when its memory or its executable cannot be read.
    pub advice: Option<Advice>,
}

impl Access {
    /// Runs all checks on process `pid`.
    ///
    /// # Errors
    /// When there is no such process, or `/proc` is not usable.
    pub(crate) fn of(pid: i32) -> Result<Self, TargetError> {
        proc_dir::usable()?;
        let (dir, stat) = match ProcDir::open(pid).map(|dir| (dir.stat(), dir)) {
            Ok((Err(e), _)) | Err(e) if means_gone(&e) => return Self::of_hidden(pid),
            Ok((stat, dir)) => (dir, stat),
            Err(source) => return Err(TargetError::Io { what: format!("/proc/{pid}"), source }),
        };
        let start = stat.as_ref().map_or(0, |stat: &Stat| stat.startcode);
        let readv = Memory::new(pid).probe_vm_readv(Addr(start)).map_err(io::Error::from);
        let mem = dir.file("mem");
        let facts = Facts::gather(pid);
        let readable = readv.is_ok() || mem.is_ok();
        let exe = dir.exe().and_then(|found| dir.file("exe").map(|_| found));
        let advice = match &exe {
            _ if !readable => Some(advise(&facts)),
            Err(e) if means_refused(e) => Some(advise_of_file(&dir, e)),
            _ => None,
        };
        let mut checks = vec![
            tried("process_vm_readv", readv, |()| "allowed".into()),
            tried("/proc/PID/mem", mem, |_| "can be opened".into()),
            tried("/proc/PID/maps", dir.file("maps").and_then(super::maps::parse), |maps| {
                format!("{} mappings", maps.len())
            }),
            tried("/proc/PID/exe", exe, |(path, deleted)| {
                if deleted { format!("{path} (deleted; it can be read all the same)") } else { path }
            }),
            tried("/proc/PID/auxv", dir.auxv(), |auxv| format!("{} entries", auxv.len())),
            tried("state", stat, |stat| stat.state.to_string()),
        ];
        checks.push(match dir.status().map(|status| status.tracerpid) {
            Ok(0) => check("tracer", Some(true), "none: it can be frozen".into()),
            Ok(tracer) => check("tracer", Some(false), format!("thread {tracer}: it cannot be frozen")),
            Err(e) => check("tracer", Some(false), e.to_string()),
        });
        checks.extend(checks_of_facts(&facts));
        Ok(Self { checks, facts, advice })
    }

    /// For a process that `/proc` hides, if it exists.
    fn of_hidden(pid: i32) -> Result<Self, TargetError> {
        match hidden_or_absent(pid) {
            TargetError::Permission { .. } => {
                let facts = Facts::gather(pid);
                let mut checks = vec![check("/proc/PID", Some(false), "hidden; the process is there".into())];
                checks.extend(checks_of_facts(&facts));
                Ok(Self { checks, advice: Some(advise(&facts)), facts })
            }
            error => Err(error),
        }
    }
}

fn check(name: &'static str, passed: Option<bool>, value: String) -> Check {
    Check { name, passed, value }
}

fn tried<T>(name: &'static str, result: io::Result<T>, value: impl FnOnce(T) -> String) -> Check {
    match result {
        Ok(found) => check(name, Some(true), value(found)),
        Err(e) => check(name, Some(false), e.to_string()),
    }
}

/// The facts that permission depends on, and whether each is in our favour.
fn checks_of_facts(facts: &Facts) -> Vec<Check> {
    let capable = facts.capable();
    let [_, euid, _] = facts.own.uids;
    let in_favour = |yes: bool| Some(yes || capable);
    let mut checks = vec![check("own uid", None, euid.to_string())];
    if let Some(target) = &facts.target {
        let [uid, ..] = target.uids;
        checks.push(check("uid of the process", in_favour(facts.same_user(target)), uid.to_string()));
        let more = target.cap_permitted & !facts.own.cap_permitted;
        checks.push(check("capabilities beyond ours", in_favour(more == 0), format!("{more:#x}")));
        if let Some(owner) = facts.proc_owner {
            let dumpable = owner == target.effective_uid();
            checks.push(check("dumpable", in_favour(dumpable), if dumpable { "yes" } else { "no" }.into()));
        }
    }
    let scope = facts.yama.map_or("absent".into(), |scope| scope.to_string());
    let scope_passes = match facts.yama {
        None | Some(0) => Some(true),
        Some(1) => in_favour(facts.descendant),
        Some(2) => in_favour(false),
        Some(_) => Some(false),
    };
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    checks.extend([
        check("CAP_SYS_PTRACE", None, yes_no(facts.own.may_ptrace_all())),
        check("kernel.yama.ptrace_scope", scope_passes, scope),
        check(
            "same user namespace",
            (!facts.same_user_ns && !facts.in_first_user_ns).then_some(false),
            yes_no(facts.same_user_ns),
        ),
        check("seccomp mode", None, facts.own.seccomp.to_string()),
        check("container", None, facts.container.map_or("none".into(), |container| format!("{container:?}"))),
    ]);
    if let Some((own, target)) = &facts.labels {
        checks.push(check("security labels", None, format!("{own} (own), {target} (process)")));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::permission::Credentials;
    use std::process::Command;

    fn passed(checks: &[Check], name: &str) -> Option<bool> {
        checks.iter().find(|check| check.name == name).unwrap().passed
    }

    #[test]
    fn a_child_passes_everything() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let access = Access::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(access.checks.iter().all(|check| check.passed != Some(false)), "{access:#?}");
        assert!(access.checks.iter().filter(|check| check.passed == Some(true)).count() >= 8);
        assert_eq!(access.advice, None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Access::of(i32::try_from(child.id()).unwrap()).is_err());
    }

    #[test]
    fn refusing_facts_fail_unless_a_capability_overrides_them() {
        let credentials = |uid: u32, caps: u64| Credentials {
            uids: [uid; 3],
            gids: [uid; 3],
            cap_permitted: caps,
            cap_effective: caps,
            ..Credentials::default()
        };
        let mut facts = Facts {
            own: credentials(1000, 0),
            target: Some(credentials(33, 0x400)),
            proc_owner: Some(0),
            same_user_ns: true,
            yama: Some(1),
            ..Facts::default()
        };
        let names = ["uid of the process", "capabilities beyond ours", "dumpable", "kernel.yama.ptrace_scope"];
        let checks = checks_of_facts(&facts);
        assert!(names.iter().all(|name| passed(&checks, name) == Some(false)), "{checks:?}");
        facts.own = credentials(0, u64::MAX);
        let checks = checks_of_facts(&facts);
        assert!(names.iter().all(|name| passed(&checks, name) == Some(true)), "{checks:?}");
        facts.yama = Some(3);
        assert_eq!(passed(&checks_of_facts(&facts), "kernel.yama.ptrace_scope"), Some(false));
    }
}
