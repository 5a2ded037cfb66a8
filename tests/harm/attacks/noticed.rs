//! That harm shows: each kind is done to a target, and has to be found.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::look::{eventually, impatiently, number, threads};
use super::super::random::Random;
use super::super::support::process::Killed;
use super::super::support::{Tally, each};
use super::files::{self, End};
use super::plan::Kind;
use super::target::{Target, trace};

/// A target, what is done to it, and what has to be said of it.
struct Harm {
    kind: Kind,
    what: &'static str,
    harm: fn(i32) -> Option<Killed>,
    said: &'static str,
}

fn send(pid: i32, signal: Signal) -> Option<Killed> {
    kill(Pid::from_raw(pid), signal).unwrap();
    None
}

const HARMS: [Harm; 12] = [
    Harm { kind: Kind::Compute, what: "a stop", harm: |pid| send(pid, Signal::SIGSTOP), said: "left held" },
    Harm { kind: Kind::Compute, what: "a tracer", harm: |pid| Some(trace(pid)), said: "left held" },
    Harm { kind: Kind::Timers, what: "its end", harm: |pid| send(pid, Signal::SIGKILL), said: "does not go on" },
    Harm { kind: Kind::Compute, what: "a byte of its code", harm: change_code, said: "its own code" },
    Harm { kind: Kind::Block, what: "a lost message", harm: take_from_pipe, said: "channels, pipes and sockets" },
    Harm { kind: Kind::Block, what: "a stop that passes", harm: trace_for_a_moment, said: "failed with EINTR" },
    Harm { kind: Kind::Children, what: "a child's end", harm: end_a_child, said: "statuses of children" },
    Harm { kind: Kind::Namespace, what: "a limit", harm: change_limit, said: "changed: limits" },
    Harm {
        kind: Kind::Stopped,
        what: "a continuation",
        harm: |pid| send(pid, Signal::SIGCONT),
        said: "was stopped by",
    },
    Harm { kind: Kind::Traced, what: "another tracer's end", harm: end_its_tracer, said: "its tracer is" },
    Harm { kind: Kind::Ends, what: "an early end", harm: |pid| send(pid, Signal::SIGKILL), said: "it ended with" },
    Harm { kind: Kind::Signals, what: "a signal more", harm: send_another, said: "SIGUSR1" },
];

/// Two of a kind that wait together would be one.
fn send_another(pid: i32) -> Option<Killed> {
    std::thread::sleep(Duration::from_millis(200));
    send(pid, Signal::SIGUSR1)
}

/// The last byte of the code, which is none of a function.
fn change_code(pid: i32) -> Option<Killed> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let code = maps.lines().find(|line| line.contains(" r-xp ")).unwrap();
    let end = code.split([' ', '-']).nth(1).unwrap();
    let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem")).unwrap();
    let (at, mut byte) = (u64::from_str_radix(end, 16).unwrap() - 1, [0]);
    memory.read_exact_at(&mut byte, at).unwrap();
    memory.write_all_at(&[!byte[0]], at).unwrap();
    None
}

fn take_from_pipe(pid: i32) -> Option<Killed> {
    for descriptor in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let path = descriptor.path();
        let is_pipe = std::fs::read_link(&path).is_ok_and(|to| to.to_str().unwrap().starts_with("pipe:"));
        let number: u32 = descriptor.file_name().to_str().unwrap().parse().unwrap();
        // Of those that it has opened itself, one is read all the time; the other is a sleeper's, and stays empty.
        if is_pipe && number > 2 {
            let Ok(mut pipe) = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path) else {
                continue;
            };
            let end = Instant::now() + Duration::from_millis(300);
            while Instant::now() < end && pipe.read(&mut [0; 8]).is_err() {}
        }
    }
    None
}

fn trace_for_a_moment(pid: i32) -> Option<Killed> {
    drop(trace(pid));
    assert!(eventually(|| threads(pid).iter().all(|thread| thread.tracer == 0)));
    None
}

fn end_a_child(pid: i32) -> Option<Killed> {
    // Its children live for a millisecond: not each that is found is hit.
    const FOUND: usize = 100;
    let end = Instant::now() + Duration::from_secs(60);
    let mut found = 0;
    while found < FOUND && Instant::now() < end {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        for list in lists {
            for child in list.split_whitespace() {
                let _ = kill(Pid::from_raw(child.parse().unwrap()), Signal::SIGTERM);
                found += 1;
            }
        }
    }
    assert!(found > 0, "it has no children");
    None
}

fn change_limit(pid: i32) -> Option<Killed> {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &pid.to_string(), "--core=4096:8192"]).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    None
}

fn end_its_tracer(pid: i32) -> Option<Killed> {
    send(number(pid, "TracerPid").unwrap(), Signal::SIGKILL)
}

#[test]
fn harm_is_noticed() {
    let tally = each(
        &HARMS,
        |harm| format!("{}, {}", harm.kind.name(), harm.what),
        |harm, tally: &mut Tally| {
            let mut target = Target::start(harm.kind, &mut Random::new(harm.what));
            target.prepare();
            let holder = (harm.harm)(target.pid);
            // For it to come upon what was done.
            std::thread::sleep(Duration::from_millis(300));
            let wrong = impatiently(|| [target.examine(false), target.account()].concat());
            drop(holder);
            let is_said = wrong.iter().any(|wrong| wrong.contains(harm.said));
            tally.holds(format!("{:?} is not in {wrong:?}", harm.said), is_said);
        },
    );
    tally.check(HARMS.len());
}

#[test]
fn files_that_are_not_whole_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let end = End { at_once: false, is_success: true };
    assert_eq!(files::examine(directory.path(), end), ["it says that it is done, and there is no file"]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&[1; 5000]).unwrap();
    let packed = packed.finish().unwrap();
    let capture = std::fs::read(super::super::support::files::example()).unwrap();
    for (name, bytes, says) in [
        ("where.pb.gz", &packed[..], None),
        ("short.pb.gz", &packed[..packed.len() - 1], Some("not whole")),
        ("page.html", b"<html>", Some("not whole")),
        ("when.json", b"[1, 2", Some("not whole")),
        ("one.gospy", &capture, None),
        ("half.gospy", &capture[..capture.len() / 2], Some("not whole")),
        (".gospy-1.part", b"", Some("is left")),
        ("socket", b"", Some("is left")),
        ("other.xyz", b"", Some("who writes files")),
    ] {
        std::fs::write(at(name), bytes).unwrap();
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        let wrong = files::examine(directory.path(), End { is_success: false, ..end });
        assert_eq!(wrong.len(), usize::from(says.is_some()), "{name}: {wrong:?}");
        assert!(says.is_none_or(|says| wrong[0].contains(says)), "{name}: {wrong:?}");
        std::fs::remove_file(at(name)).unwrap();
    }
    std::fs::write(at("where.pb.gz"), packed).unwrap();
    std::fs::set_permissions(at("where.pb.gz"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(files::examine(directory.path(), end), ["where.pb.gz has the mode 644"]);
}
