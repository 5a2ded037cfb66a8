//! System calls, descriptors and C functions of goroutines, against what the fixture says of itself, what the
//! kernel lists, its headers, and strace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::snapshots::{everything, session, snapshot};
use crate::support::process::Killed;
use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, each, need, need_root, until};
use gospy::addr::Arch;
use gospy::capture::{CaptureOptions, FreezeMode, OpenOptions, Session, record};
use gospy::model::{Activity, Descriptor, Goroutine, Outside, Snapshot, StackState, Status};
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::process::descriptor::{Protocol, SocketName, SocketState};
use gospy::process::live::LiveTarget;
use gospy::process::{Target as _, Tid};
use gospy::report::descriptors as words;
use gospy::testing::{Parameter, signature};
use serde_json::Value;

const ARCH: Arch = if cfg!(target_arch = "x86_64") { Arch::Amd64 } else { Arch::Arm64 };

/// The only goroutine with that function on its stack.
fn in_function<'s>(snapshot: &'s Snapshot, function: &str) -> Option<&'s Goroutine> {
    let has = |g: &&Goroutine| match g.stack {
        StackState::Known(stack) => {
            let frames = &snapshot.symbols.stack(stack).unwrap().frames;
            frames.iter().any(|frame| snapshot.symbols.function(frame.frame) == function)
        }
        StackState::NotShown(_) => false,
    };
    let mut found = snapshot.goroutines.iter().filter(has);
    let first = found.next();
    assert!(found.next().is_none(), "{function} is on two stacks");
    first
}

/// What the fixture waits in: the functions with the rest of what it says.
fn waits(running: &Running) -> BTreeMap<String, Value> {
    let waits = running.ready["waits"].as_array().unwrap().iter();
    waits.map(|wait| (wait["function"].as_str().unwrap().to_owned(), wait.clone())).collect()
}

/// Waits until all threads of the fixture are in the calls that they go to.
fn settle(running: &Running) -> BTreeMap<String, Value> {
    let waits = waits(running);
    let calls = waits.values().filter(|wait| wait["call"] != "").count();
    until("all goroutines are in their calls", || {
        let snapshot = snapshot(Box::new(LiveTarget::open(running.pid()).unwrap()));
        let there = waits.iter().filter(|(function, wait)| {
            let outside = in_function(&snapshot, function).and_then(|g| snapshot.not_in_go.get(g.addr));
            let name = outside.and_then(|outside| match outside.activity {
                Activity::In(call) => call.name(ARCH),
                _ => None,
            });
            name.is_some_and(|name| wait["call"] == name)
        });
        (there.count() == calls).then_some(())
    });
    waits
}

/// What the kernel says of a thread: the fields of its file `syscall`.
fn by_kernel(pid: i32, tid: Tid) -> Vec<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).unwrap();
    let number = |field: &str| match field.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => field.parse().unwrap(),
    };
    text.split_whitespace().take(7).map(number).collect()
}

/// Compares what a snapshot says of the fixture's goroutines with what the fixture says.
fn compare(tally: &mut Tally, what: &str, snapshot: &Snapshot, waits: &BTreeMap<String, Value>) {
    for (function, wait) in waits {
        let label = format!("{what} {function}");
        let Some(g) = in_function(snapshot, function) else {
            tally.wrong(format!("{label} is missing"));
            continue;
        };
        let Some(outside) = snapshot.not_in_go.get(g.addr) else {
            tally.wrong(format!("{label} is not outside of Go"));
            continue;
        };
        tally.equal(format!("{label}: in C"), function.starts_with("main.waitC"), outside.in_c);
        let name = match outside.activity {
            Activity::In(call) => call.name(ARCH).unwrap(),
            Activity::Running => "",
            other => {
                tally.wrong(format!("{label}: {other:?}"));
                continue;
            }
        };
        tally.equal(format!("{label}: call"), wait["call"].as_str().unwrap(), name);
        let fds: Vec<i64> = outside.descriptors(ARCH).map(i64::from).collect();
        let own = wait["descriptors"].as_array().unwrap();
        let numbers: Vec<i64> = own.iter().map(|one| one["fd"].as_i64().unwrap()).collect();
        tally.equal(format!("{label}: descriptors"), numbers, fds);
        for one in own {
            let fd = i32::try_from(one["fd"].as_i64().unwrap()).unwrap();
            let found = snapshot.descriptors.get(fd).map(words::descriptor);
            tally.equal(format!("{label}: {fd}"), one["text"].as_str(), found.as_deref());
        }
        let function = outside.c_function.and_then(|frame| Some(snapshot.symbols.str(frame.function?)));
        let wanted = |wanted: &str| function.is_some_and(|name| name.trim_start_matches("__GI_").contains(wanted));
        match wait["function"].as_str().unwrap() {
            "main.waitCPoll" => tally.holds(format!("{label}: {function:?}"), wanted("poll")),
            "main.waitCRead" => tally.holds(format!("{label}: {function:?}"), wanted("read")),
            // Where it computes is only known of a thread that was stopped.
            "main.waitCCompute" => {}
            _ => tally.equal(format!("{label}: function"), None::<&str>, function),
        }
    }
}

/// The same while the program is stopped, where one that computes shows its function too.
fn compare_stopped(tally: &mut Tally, stopped: &Snapshot, waits: &BTreeMap<String, Value>) {
    let mut waits = waits.clone();
    // What an earlier stop has interrupted may go on as another call.
    for function in ["main.waitNanosleep", "main.waitCPoll"] {
        let outside = in_function(stopped, function).and_then(|g| stopped.not_in_go.get(g.addr));
        if let Some(Outside { activity: Activity::In(call), .. }) = outside
            && call.name(ARCH) == Some("restart_syscall")
        {
            waits.remove(function);
        }
    }
    if waits.remove("main.waitCCompute").is_some() {
        let g = in_function(stopped, "main.waitCCompute").unwrap();
        let outside = stopped.not_in_go.get(g.addr).unwrap();
        let function = outside.c_function.and_then(|frame| Some(stopped.symbols.str(frame.function?)));
        tally.holds(format!("computes in {function:?}"), function.is_some_and(|name| name.contains("calls_compute")));
    }
    compare(tally, "stopped", stopped, &waits);
}

#[test]
fn system_calls_are_those_of_the_fixture() {
    let modes = [Mode::Sw, Mode::Cgo];
    let cells: Vec<(&str, Mode)> = VERSIONS.iter().flat_map(|v| modes.iter().map(move |m| (*v, *m))).collect();
    let name = |(version, mode): &(&str, Mode)| format!("{version} {}", mode.name());
    let tally = each(&cells, name, |(version, mode), tally| {
        let running = Fixture::start("calls", version, *mode, &[]);
        let waits = settle(&running);
        let live = snapshot(Box::new(LiveTarget::open(running.pid()).unwrap()));
        compare(tally, "live", &live, &waits);
        // The kernel's numbers and arguments, thread by thread.
        for outside in live.not_in_go.iter() {
            let Activity::In(call) = outside.activity else { continue };
            let g = live.goroutines.iter().find(|g| g.addr == outside.goroutine).unwrap();
            let tid = live.thread_of(g).unwrap().tid.unwrap();
            let own = [&[call.number], &call.arguments[..]].concat();
            tally.equal(format!("{:?}", g.id), by_kernel(running.pid(), tid), own);
        }
        // Every one that the state shows is there, and no other.
        let in_syscall = live.goroutines.iter().filter(|g| g.status == Status::Syscall).map(|g| g.addr);
        let found: BTreeSet<_> = live.not_in_go.iter().map(|outside| outside.goroutine).collect();
        tally.equal("all", in_syscall.collect::<BTreeSet<_>>(), found);

        let mut session = session(running.pid());
        // On a busy machine a thread may not get as far as its stop, and then it still counts as running.
        let mut last = tally.another();
        for _ in 0..10 {
            last = tally.another();
            let stopped = session.capture(&CaptureOptions { freeze: Some(FreezeMode::All), ..everything() }).unwrap();
            compare_stopped(&mut last, &stopped, &waits);
            if last.wrong.is_empty() {
                break;
            }
        }
        tally.add(last);
        let off = CaptureOptions { system_calls: false, ..everything() };
        let without = session.capture(&off).unwrap();
        tally.equal("not asked", (0, 0), (without.not_in_go.iter().count(), without.descriptors.iter().count()));
    });
    tally.check(600);
}

/// Where things are by their numbers, without the ids of the pool.
fn plain(snapshot: &Snapshot) -> BTreeMap<u64, (String, String)> {
    let words = |outside: &Outside| words::outside(outside, ARCH, &snapshot.descriptors, &snapshot.symbols);
    let all = snapshot.not_in_go.iter();
    all.map(|outside| (outside.goroutine.0, (words(outside), format!("{:?} {:?}", outside.activity, outside.polled))))
        .collect()
}

#[test]
fn captures_give_the_same_and_core_files_what_they_hold() {
    for (version, mode) in [("1.19", Mode::Sw), ("1.27.3", Mode::Cgo)] {
        let dir = tempfile::tempdir().unwrap();
        let running = Fixture::start("calls", version, mode, &[]);
        let waits = settle(&running);
        let target = Box::new(LiveTarget::open(running.pid()).unwrap());
        let (image, taken) = record(target, None).unwrap();
        let path = dir.path().join("capture");
        use gospy::process::capture_file::{goal, write};
        write(&goal(&path, false, false).unwrap(), &image, None).unwrap();
        let open = |path: &Path| CoreTarget::open(path, &CoreOptions::default()).unwrap();
        let read = |path: &Path| snapshot(Box::new(open(path)));
        let core = crate::support::core_dump::gcore(running.pid(), dir.path());
        let binary = Fixture::build("calls", version, mode);
        drop(running);

        let after = read(&path);
        assert!(plain(&taken).len() >= 10, "{:?}", plain(&taken));
        assert_eq!(plain(&taken), plain(&after), "{version}");
        assert_eq!(taken.descriptors, after.descriptors, "{version}");
        assert_eq!(after.descriptors.why_unknown(), None);
        // A capture of the capture too.
        let (image, _) = record(Box::new(open(&path)), None).unwrap();
        let again = dir.path().join("again");
        write(&goal(&again, false, false).unwrap(), &image, None).unwrap();
        assert_eq!(plain(&taken), plain(&read(&again)), "{version}");

        let options = CoreOptions { bin: Some(binary), ..CoreOptions::default() };
        let target = CoreTarget::open(&core, &options).unwrap();
        let core = Session::open(Box::new(target), &OpenOptions::default()).unwrap().capture(&everything()).unwrap();
        for (function, wait) in &waits {
            let outside = core.not_in_go.get(in_function(&core, function).unwrap().addr).unwrap();
            let name = match outside.activity {
                Activity::In(call) => call.name(ARCH).unwrap(),
                Activity::Running => "",
                other => panic!("{version} {function}: {other:?}"),
            };
            assert_eq!(wait["call"].as_str().unwrap(), name, "{version} {function}");
        }
        let why = core.descriptors.why_unknown().unwrap();
        assert_eq!(why, "a core file does not hold what descriptors refer to");
    }
}

#[test]
fn a_moving_program_is_never_shown_in_a_call_that_it_does_not_make() {
    for version in ["1.19", "1.27.3"] {
        // Its goroutines make two calls in turn, at the same depth of their stacks.
        let running = Fixture::start("calls", version, Mode::Default, &["moving"]);
        let mut session = session(running.pid());
        let mut seen = BTreeMap::<&str, u32>::new();
        let all_seen =
            |seen: &BTreeMap<&str, u32>| ["nanosleep", "ppoll", "moved"].iter().all(|key| seen.contains_key(key));
        // On a busy machine a goroutine may be met in the same call for long.
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut captures = 0;
        while captures < 200 || (!all_seen(&seen) && Instant::now() < deadline) {
            captures += 1;
            let found = session.capture(&everything()).unwrap();
            for outside in found.not_in_go.iter() {
                let g = found.goroutines.iter().find(|g| g.addr == outside.goroutine).unwrap();
                let StackState::Known(stack) = g.stack else { continue };
                let frames = &found.symbols.stack(stack).unwrap().frames;
                let on_stack = |name: &str| frames.iter().any(|frame| found.symbols.function(frame.frame) == name);
                let own = match (on_stack("main.moveSleep"), on_stack("main.movePoll")) {
                    (true, false) => "nanosleep",
                    (false, true) => "ppoll",
                    _ => continue,
                };
                match outside.activity {
                    Activity::In(call) => {
                        assert_eq!(call.name(ARCH), Some(own), "{version}");
                        let fds: Vec<i32> = outside.descriptors(ARCH).collect();
                        let pipes =
                            fds.iter().filter(|fd| matches!(found.descriptors.get(**fd), Some(Descriptor::Pipe(_))));
                        assert_eq!((fds.len(), pipes.count()), if own == "ppoll" { (1, 1) } else { (0, 0) });
                        *seen.entry(own).or_default() += 1;
                    }
                    Activity::Moved => *seen.entry("moved").or_default() += 1,
                    _ => *seen.entry("other").or_default() += 1,
                }
            }
        }
        println!("{version}: {seen:?}");
        assert!(all_seen(&seen), "{version}: {seen:?}");
    }
}

/// A Go program that crashes has its threads in a handler of signals then: what they were in is not made up.
#[test]
fn core_files_of_crashes_make_no_calls_up() {
    use crate::support::core_dump::{killed_for_core, with_core_limit};
    for (version, mode) in [("1.19", Mode::Sw), ("1.27.3", Mode::Cgo)] {
        let dir = tempfile::tempdir().unwrap();
        let binary = Fixture::build("calls", version, mode);
        let mut command = with_core_limit(&binary, dir.path());
        command.env("GOTRACEBACK", "crash");
        let mut running = Running::spawn(command);
        running.wait_ready();
        let waits = settle(&running);
        running.signal(nix::sys::signal::Signal::SIGABRT);
        let (core, _) = killed_for_core(running, dir.path());
        let found = snapshot(Box::new(CoreTarget::open(&core, &CoreOptions::default()).unwrap()));
        let mut seen = BTreeMap::<String, u32>::new();
        for (function, wait) in &waits {
            let Some(outside) = in_function(&found, function).and_then(|g| found.not_in_go.get(g.addr)) else {
                continue;
            };
            let key = match outside.activity {
                Activity::In(call) => {
                    assert_eq!(wait["call"].as_str(), call.name(ARCH), "{version} {function}");
                    "in its call".to_owned()
                }
                other => format!("{other:?}"),
            };
            *seen.entry(key).or_default() += 1;
        }
        println!("{version} {}: {seen:?}, {:?}", mode.name(), found.not_in_go.why_unknown());
        assert!(seen.values().sum::<u32>() >= 8, "{seen:?}");
    }
}

/// A process in a network namespace of its own, whose sockets no table of ours has.
#[test]
fn sockets_of_another_network_namespace_are_found() {
    need_root();
    let (_, python) = (need("unshare", "util-linux"), need("python3", "python3"));
    const SERVER: &str = "import socket,sys\ns=socket.socket();s.bind(('0.0.0.0',0));s.listen(7)\n\
        print(s.fileno(),s.getsockname()[1],flush=True);sys.stdin.read()";
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(python).args(["-c", SERVER]);
    let mut child = Killed(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.0.stdout.as_mut().unwrap()), &mut line).unwrap();
    let (fd, port) = line.trim().split_once(' ').unwrap();
    let target = LiveTarget::open(i32::try_from(child.0.id()).unwrap()).unwrap();
    let all = target.descriptors(None);
    let Some(Descriptor::Socket(socket)) = all.get(fd.parse().unwrap()) else { panic!("{all:?}") };
    assert_eq!((&socket.protocol, socket.state), (&Some(Protocol::Tcp), Some(SocketState::Listen)));
    assert_eq!(socket.local, Some(SocketName::Ip(format!("0.0.0.0:{port}").parse().unwrap())));
    let ours = std::fs::read_to_string("/proc/net/tcp").unwrap();
    assert!(!ours.split_whitespace().any(|field| field == socket.inode.to_string()));
}

/// With the right to read memory alone, what the kernel says is unknown, and why.
#[test]
fn without_the_rights_it_is_unknown_and_the_rest_is_there() {
    need_root();
    let running = Fixture::start("calls", "1.27.3", Mode::Sw, &[]);
    settle(&running);
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let path = dir.path().join("capture");
    // The test's own directory may be closed to others.
    let gospy = dir.path().join("gospy");
    std::fs::copy(env!("CARGO_BIN_EXE_gospy"), &gospy).unwrap();
    let output = Command::new(need("setpriv", "util-linux"))
        .args(["--reuid=65534", "--clear-groups", "--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace"])
        .arg(&gospy)
        .args(["capture", "--pid", &running.pid().to_string(), "-o"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let found = snapshot(Box::new(CoreTarget::open(&path, &CoreOptions::default()).unwrap()));
    assert!(found.goroutines.len() >= 10 && found.not_in_go.iter().len() >= 10);
    assert!(found.not_in_go.iter().all(|outside| outside.activity == Activity::Unknown));
    let why = found.not_in_go.why_unknown().unwrap();
    assert!(why.ends_with("CAP_SYS_PTRACE with CAP_DAC_READ_SEARCH") && why.contains("/task/TID/syscall"), "{why}");
}

/// A descriptor that becomes something else all the time is always one of them, and whole.
#[test]
fn a_descriptor_that_changes_all_the_time_is_never_a_mixture() {
    const CHANGES: &str = "import os,socket\n\
        l=socket.socket();l.bind(('127.0.0.1',0));l.listen(5)\n\
        c=socket.create_connection(l.getsockname());s,_=l.accept()\n\
        u=socket.socket(socket.AF_UNIX);u.bind(chr(0)+'gospy-%d'%os.getpid());u.listen(3)\n\
        r,w=os.pipe();f=os.open('/dev/null',os.O_RDONLY)\n\
        print(l.getsockname()[1],s.getpeername()[1],flush=True)\n\
        while os.getppid()>1:\n  \
            for fd in (l.fileno(),s.fileno(),u.fileno(),r,f):\n    \
                os.dup2(fd,99);os.close(99)\n    \
                os.dup2(fd,99)\n";
    let mut command = Command::new(need("python3", "python3"));
    let mut child = Killed(command.args(["-c", CHANGES]).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.0.stdout.as_mut().unwrap()), &mut line).unwrap();
    let (port, peer) = line.trim().split_once(' ').unwrap();
    let pid = i32::try_from(child.0.id()).unwrap();
    let target = LiveTarget::open(pid).unwrap();
    let possible = [
        format!("TCP 127.0.0.1:{port} LISTEN"),
        format!("TCP 127.0.0.1:{port} → 127.0.0.1:{peer} ESTABLISHED"),
        format!("unix @gospy-{pid} LISTEN"),
        "pipe".to_owned(),
        "/dev/null".to_owned(),
        "closed".to_owned(),
        // It changed on every try.
        "unknown".to_owned(),
    ];
    let mut seen = BTreeMap::<String, usize>::new();
    for _ in 0..5000 {
        let found = target.descriptors(Some(&BTreeSet::from([99])));
        let text = words::descriptor(found.get(99).unwrap());
        assert!(possible.contains(&text), "{text}");
        *seen.entry(text).or_default() += 1;
    }
    println!("{seen:?}");
    assert!(seen.len() > 3, "{seen:?}");
}

/// Names and numbers in a header of the kernel, after the preprocessor.
fn header(file: &str, more: &str) -> BTreeMap<String, u64> {
    let source = format!("#define __BITS_PER_LONG 64\n{more}\n#include <{file}>\n");
    let mut command = Command::new(need("gcc", "gcc"));
    command.args(["-E", "-dM", "-x", "c", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), source.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let defined = text.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' '));
    let defined: BTreeMap<&str, &str> = defined.collect();
    let value = |name: &str| {
        let mut value = *defined.get(name)?;
        while let Some(next) = defined.get(value) {
            value = next;
        }
        value.parse().ok()
    };
    let names = defined.keys().filter_map(|name| Some((*name, name.strip_prefix("__NR_")?)));
    names.filter_map(|(define, name)| Some((name.to_owned(), value(define)?))).collect()
}

#[test]
fn numbers_of_system_calls_are_those_of_the_kernels_headers() {
    // Since 2.6 no kernel has them.
    const UNUSED: [&str; 12] = [
        "create_module",
        "get_kernel_syms",
        "query_module",
        "nfsservctl",
        "getpmsg",
        "putpmsg",
        "afs_syscall",
        "tuxcall",
        "security",
        "epoll_ctl_old",
        "epoll_wait_old",
        "vserver",
    ];
    // What arm64 asks for (arch/arm64/include/uapi/asm/unistd.h).
    let wanted = ["RENAMEAT", "NEW_STAT", "SET_GET_RLIMIT", "TIME32_SYSCALLS", "SYS_CLONE3", "MEMFD_SECRET"];
    let wanted: String = wanted.iter().map(|name| format!("#define __ARCH_WANT_{name}\n")).collect();
    for (arch, file, more, least) in
        [(Arch::Amd64, "asm/unistd_64.h", "", 340), (Arch::Arm64, "asm-generic/unistd.h", wanted.as_str(), 300)]
    {
        let mut header = header(file, more);
        for name in UNUSED {
            header.remove(name);
        }
        // Neither is a call.
        header.remove("syscalls");
        header.remove("arch_specific_syscall");
        for (name, number) in &header {
            let ours = signature(arch, *number).map(|signature| signature.name);
            assert_eq!(ours, Some(name.as_str()), "{arch:?} {number}");
        }
        assert!(header.len() > least, "{arch:?}: {}", header.len());
        // Nothing besides, as far as the headers go.
        let last = *header.values().max().unwrap();
        let by_number: BTreeMap<u64, &String> = header.iter().map(|(name, number)| (*number, name)).collect();
        for number in (0..=last).filter(|number| !by_number.contains_key(number)) {
            let newer = signature(arch, number).map(|signature| signature.name);
            assert!(newer.is_none_or(|name| name == "uretprobe" || name == "uprobe"), "{arch:?} {number}: {newer:?}");
        }
    }
}

/// A program makes every call, with these arguments, and a filter refuses each: what strace prints of them, by
/// name and arguments.
#[cfg(target_arch = "x86_64")]
fn by_strace(options: &[&str], arguments: &str) -> Vec<(String, String)> {
    const SOURCE: &str = r#"
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <stddef.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(void) {
            struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 99),
            };
            struct sock_fprog program = {4, filter};
            dup2(open("/dev/null", O_RDONLY), 7);
            if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
                return 1;
            /* uretprobe and uprobe end whoever calls them. */
            for (long number = 0; number < 450; number++)
                if (number != SYS_exit_group && number != 335 && number != 336)
                    syscall(number, ARGUMENTS);
            syscall(SYS_exit_group, 0);
        }"#;
    let dir = tempfile::tempdir().unwrap();
    let (source, program, log) = (dir.path().join("all.c"), dir.path().join("all"), dir.path().join("log"));
    std::fs::write(&source, SOURCE.replace("ARGUMENTS", arguments)).unwrap();
    let built = Command::new(need("gcc", "gcc")).arg("-o").arg(&program).arg(&source).status().unwrap();
    assert!(built.success());
    let strace = Command::new(need("strace", "strace")).args(options).arg("-o").arg(&log).arg(&program).status();
    assert!(strace.unwrap().success());
    let log = std::fs::read_to_string(&log).unwrap();
    let refused = log.lines().filter_map(|line| line.split_once(" = -1 EADDRNOTAVAIL ")?.0.split_once('('));
    refused.map(|(name, arguments)| (name.to_owned(), arguments.to_owned())).collect()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_have_the_arguments_that_strace_prints() {
    let known = |name: &str| (0..450).filter_map(|number| signature(ARCH, number)).find(|known| known.name == name);
    let mut compared = 0;
    for (name, arguments) in by_strace(&["-e", "raw=all"], "0x101, 0x102, 0x103, 0x104, 0x105, 0x106") {
        let Some(known) = known(&name) else { continue };
        assert_eq!(known.parameters.len(), arguments.matches("0x10").count(), "{name}({arguments}");
        compared += 1;
    }
    assert!(compared > 330, "{compared}");
    // With -y it prints what each descriptor refers to.
    let is_fd = |parameter: &&Parameter| matches!(parameter, Parameter::Descriptor | Parameter::Directory);
    let mut descriptors = 0;
    for (name, arguments) in by_strace(&["-y"], "7, 7, 7, 7, 7, 7") {
        let Some(known) = known(&name) else { continue };
        let ours = known.parameters.iter().filter(is_fd).count();
        assert_eq!(ours, arguments.matches("7</dev/null>").count(), "{name}({arguments}");
        descriptors += ours;
    }
    assert!(descriptors > 120, "{descriptors}");
}
