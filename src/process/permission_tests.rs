//! A table of facts, and one real refusal that works for any user.

use super::*;
use crate::process::live::LiveTarget;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

const ALL: u64 = 0x1ff_ffff_ffff;

fn user(uid: u32) -> Credentials {
    Credentials { uids: [uid; 3], gids: [uid; 3], cap_bounding: ALL, ..Credentials::default() }
}

fn root() -> Credentials {
    Credentials { cap_permitted: ALL, cap_effective: ALL, ..user(0) }
}

/// A user reading their own program; nothing refuses.
fn plain() -> Facts {
    Facts {
        pid: 77,
        own: user(1000),
        target: Some(user(1000)),
        proc_owner: Some(1000),
        same_user_ns: true,
        in_first_user_ns: true,
        target_ns_pids: vec![77],
        ..Facts::default()
    }
}

/// Root in a container that lacks the capability.
fn contained(container: Container) -> Facts {
    let without = ALL & !CAP_SYS_PTRACE;
    let own = Credentials { cap_permitted: without, cap_effective: without, cap_bounding: without, ..user(0) };
    Facts { own, container: Some(container), ..plain() }
}

/// Name, facts, expected cause, and what the reason and the remedy contain.
type Row = (&'static str, Facts, Cause, &'static [&'static str], &'static [&'static str]);

#[test]
fn every_cause_has_its_remedy() {
    let capable_target = Credentials { cap_permitted: 1 << 10, ..user(1000) };
    let setuid_target = Credentials { uids: [1000, 0, 0], ..user(1000) };
    let group_target = Credentials { gids: [1000, 50, 50], ..user(1000) };
    let labels = Some(("docker-default (enforce)".to_owned(), "unconfined".to_owned()));
    let filtered = Credentials { seccomp: 2, ..user(1000) };
    let rows: Vec<Row> = vec![
        ("hidepid", Facts { target: None, ..plain() }, Cause::Hidden, &["hidepid"], &["sudo gospy"]),
        (
            "yama 3, root",
            Facts { yama: Some(3), own: root(), ..plain() },
            Cause::YamaForbidsAll,
            &["is 3"],
            &["core file"],
        ),
        ("yama 2", Facts { yama: Some(2), ..plain() }, Cause::YamaAdministrator, &["is 2", "uid 1000"], &["sudo"]),
        ("yama 1", Facts { yama: Some(1), ..plain() }, Cause::YamaDescendant, &["descendant"], &["sysctl"]),
        (
            "yama 1, child",
            Facts { yama: Some(1), descendant: true, ..plain() },
            Cause::Unknown,
            &["no check"],
            &["dmesg"],
        ),
        ("other", Facts { target: Some(user(33)), ..plain() }, Cause::OtherUser, &["uid 33", "uid 1000"], &["sudo"]),
        ("setuid", Facts { target: Some(setuid_target), ..plain() }, Cause::OtherUser, &["effective 0"], &["sudo"]),
        (
            "setgid",
            Facts { target: Some(group_target), ..plain() },
            Cause::OtherUser,
            &["group", "saved 50"],
            &["sudo"],
        ),
        ("dumpable", Facts { proc_owner: Some(0), ..plain() }, Cause::NotDumpable, &["/proc/77", "uid 0"], &["sudo"]),
        ("caps", Facts { target: Some(capable_target), ..plain() }, Cause::MoreCapable, &["0x400"], &["sudo"]),
        ("seccomp", Facts { own: filtered, ..plain() }, Cause::Seccomp, &["filter"], &["SystemCallFilter"]),
        ("labels", Facts { labels: labels.clone(), ..plain() }, Cause::SecurityModule, &["docker-default"], &["dmesg"]),
        ("labels, root", Facts { labels, own: root(), ..plain() }, Cause::SecurityModule, &["unconfined"], &["label"]),
        ("root, nothing", Facts { own: root(), ..plain() }, Cause::Unknown, &["with CAP_SYS_PTRACE"], &["dmesg"]),
        (
            "root that dropped it",
            Facts { own: user(0), target: Some(user(33)), ..plain() },
            Cause::OtherUser,
            &["uid 33", "uid 0 without CAP_SYS_PTRACE"],
            &["not enough"],
        ),
        (
            "a service without it",
            Facts { own: Credentials { cap_bounding: 0, ..user(0) }, ..plain() },
            Cause::OtherUser,
            &["uid 1000"],
            &["CapabilityBoundingSet"],
        ),
        (
            "root of a user namespace, target outside",
            Facts { own: root(), same_user_ns: false, in_first_user_ns: false, ..plain() },
            Cause::OtherUserNamespace,
            &["user namespace"],
            &["host"],
        ),
        (
            "the same, target in a container below",
            Facts { own: root(), same_user_ns: false, in_first_user_ns: false, target_ns_pids: vec![77, 5], ..plain() },
            Cause::OtherUserNamespace,
            &["user namespace"],
            &["pid there is 5"],
        ),
        (
            "a user namespace without users, target of the same user outside",
            Facts {
                same_user_ns: false,
                in_first_user_ns: false,
                no_ids: true,
                own: user(65534),
                target: Some(user(65534)),
                ..plain()
            },
            Cause::OtherUserNamespace,
            &["another user namespace"],
            &["outside of its user namespace"],
        ),
        (
            "a user namespace without users, and a process that is hidden",
            Facts { same_user_ns: false, in_first_user_ns: false, no_ids: true, target: None, ..plain() },
            Cause::Hidden,
            &["hidepid"],
            &["outside of its user namespace"],
        ),
        ("docker", contained(Container::Docker), Cause::OtherUser, &["uid 0 without"], &["docker run", "SYS_PTRACE"]),
        ("podman", contained(Container::Podman), Cause::OtherUser, &["uid 0 without"], &["podman run", "SYS_PTRACE"]),
        (
            "kubernetes",
            contained(Container::Kubernetes),
            Cause::OtherUser,
            &["uid 0 without"],
            &["kubectl debug", "--profile=general", "--target=CONTAINER"],
        ),
        ("lxc", contained(Container::Other), Cause::OtherUser, &["uid 0 without"], &["capability SYS_PTRACE"]),
        (
            "a user in a container that has it",
            Facts { container: Some(Container::Docker), target: Some(user(0)), ..plain() },
            Cause::OtherUser,
            &["uid 0"],
            &["exec -u 0"],
        ),
        (
            "a filter in a container",
            Facts { own: Credentials { seccomp: 2, ..root() }, container: Some(Container::Docker), ..plain() },
            Cause::Seccomp,
            &["filter"],
            &["--cap-add SYS_PTRACE"],
        ),
    ];
    let mut causes = std::collections::HashSet::new();
    for (name, facts, cause, in_reason, in_remedy) in rows {
        let advice = advise(&facts);
        assert_eq!(advice.cause, cause, "{name}: {advice:?}");
        assert!(in_reason.iter().all(|part| advice.reason.contains(part)), "{name}: {advice:?}");
        assert!(in_remedy.iter().all(|part| advice.remedy.contains(part)), "{name}: {advice:?}");
        // Inside a container without the capability, sudo is never suggested.
        if facts.container.is_some() && facts.own.cap_bounding & CAP_SYS_PTRACE == 0 {
            assert!(!advice.remedy.contains("sudo"), "{name}: {advice:?}");
        }
        causes.insert(advice.cause);
    }
    assert_eq!(causes.len(), 11, "a cause has no row: {causes:?}");
}

#[test]
fn the_facts_of_this_process() {
    let pid = i32::try_from(std::process::id()).unwrap();
    let facts = Facts::gather(pid);
    assert_eq!(facts.target.as_ref(), Some(&facts.own));
    assert_eq!(facts.own.uids[1], nix::unistd::geteuid().as_raw());
    assert!(facts.same_user_ns);
    assert!(!facts.descendant);
    let mut child = Command::new("sleep").arg("100").spawn().unwrap();
    assert!(Facts::gather(i32::try_from(child.id()).unwrap()).descendant);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// This test program again, running one of its ignored tests as another process.
fn again(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", &format!("process::permission::tests::{role}"), "--include-ignored", "--nocapture"]);
    command
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
#[ignore = "a role that another test runs as a process of its own: a target that is not dumpable"]
fn not_dumpable() {
    nix::sys::prctl::set_dumpable(false).unwrap();
    println!("\nready");
    std::thread::sleep(std::time::Duration::from_secs(100));
}

/// Reading our own undumpable process is refused without CAP_SYS_PTRACE. Root has it, so root runs the test
/// again as user nobody, which must be refused root's process too.
#[test]
fn a_real_refusal_is_explained() {
    if nix::unistd::geteuid().is_root() {
        let mut as_nobody = again("a_real_refusal_is_explained");
        let output = as_nobody.uid(65534).gid(65534).env("NOT_MINE", std::process::id().to_string()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let mut child = Killed(again("not_dumpable").stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "ready"));
    let pid = i32::try_from(child.0.id()).unwrap();
    assert_eq!(advise(&Facts::gather(pid)).cause, Cause::NotDumpable);
    let error = LiveTarget::open(pid).unwrap_err();
    assert!(matches!(&error, TargetError::Permission { reason, .. } if reason.contains("not dumpable")), "{error}");

    if let Ok(pid) = std::env::var("NOT_MINE") {
        let pid = pid.parse().unwrap();
        assert_eq!(advise(&Facts::gather(pid)).cause, Cause::OtherUser);
        let error = LiveTarget::open(pid).unwrap_err();
        assert!(matches!(&error, TargetError::Permission { reason, .. } if reason.contains("uid 0")), "{error}");
    }
}
