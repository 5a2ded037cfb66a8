//! `gospy record --cpu` against the CPU profile that the program writes of itself in the same seconds, against chains
//! of calls that are known, and against the kernel's own figures. Where the kernel allows nobody to sample, these
//! tests say so and hold gospy to what it says then.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::profiles::{pprof, top};
use crate::support::refusal::{GONE, PERMISSION, USAGE, refused};
use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, gospy, gospy_with, need, need_root, until};

/// Opens a CPU clock of its own process, of user mode only: what the kernel allows anybody, if it does so at all.
const PROBE: &str = "
import ctypes, platform, struct, sys
attr = bytearray(64)
struct.pack_into('<IIQQ', attr, 0, 1, 64, 0, 10**7)
struct.pack_into('<Q', attr, 40, 1 << 5 | 1 << 6)
number = 241 if platform.machine() == 'aarch64' else 298
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.syscall(number, (ctypes.c_char * 64).from_buffer(attr), 0, -1, -1, 8)
sys.exit(0 if fd >= 0 else 1)
";

/// Whether the kernel lets a process sample itself, which is found out without gospy. If not, gospy has to say so for
/// the program.
pub(crate) fn allowed(program: &Running) -> bool {
    let asked = Command::new(need("python3", "python3")).args(["-c", PROBE]).status().unwrap();
    if asked.success() {
        return true;
    }
    eprintln!("THE KERNEL REFUSES perf_event_open: only what gospy says of that is tested");
    println!("THE KERNEL REFUSES perf_event_open: only what gospy says of that is tested");
    let output = gospy(&["record", &program.pid().to_string(), "--cpu", "-d", "1s", "-o", "-", "--format", "folded"]);
    let said = refused(&output, PERMISSION);
    assert!(said.contains("perf_event") && said.contains("--freeze=running"), "{said}");
    false
}

pub(crate) fn start(version: &str, mode: Mode, workers: &str) -> Running {
    Fixture::start("oncpu", version, mode, &[workers])
}

/// Lines of a recording, each with its time in µs, and what was said.
fn folded(program: &Running, seconds: u64, more: &[&str]) -> (Vec<(String, u64)>, String) {
    folded_with(program, seconds, more, |_| ())
}

fn folded_with(
    program: &Running,
    seconds: u64,
    more: &[&str],
    adjust: impl FnOnce(&mut Command),
) -> (Vec<(String, u64)>, String) {
    let (pid, length) = (program.pid().to_string(), format!("{seconds}s"));
    let arguments = ["record", &pid, "--cpu", "-d", &length, "-o", "-", "--format", "folded"];
    let output = gospy_with(&[&arguments, more].concat(), adjust);
    assert_eq!(output.code(), 0, "{output:?}");
    (parse(&output.stdout), output.stderr)
}

/// The same by a gospy that hardly waits for a CPU on a busy machine, if the tests run as root.
fn folded_in_time(program: &Running, seconds: u64, more: &[&str]) -> (Vec<(String, u64)>, String) {
    folded_with(program, seconds, more, |command| {
        let mut nice = Command::new("nice");
        nice.args(["-n", "-15"]).arg(command.get_program()).args(command.get_args());
        nice.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        *command = nice;
    })
}

fn parse(folded: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let (stack, us) = line.rsplit_once(' ').unwrap();
        (stack.to_owned(), us.parse().unwrap())
    };
    folded.lines().map(line).collect()
}

fn share(lines: &[(String, u64)], which: impl Fn(&str) -> bool) -> f64 {
    let all: u64 = lines.iter().map(|(_, us)| us).sum();
    let some: u64 = lines.iter().filter(|(stack, _)| which(stack)).map(|(_, us)| us).sum();
    some as f64 / all.max(1) as f64
}

/// What only one of the two profiles has: the signals that the program sends itself meet, the vDSO is seen just before
/// and after it is called, and C is a function of its own for gospy alone.
const HIDDEN: &str = r"-hide=^(runtime\.asyncPreempt|time\.now|runtime\.nanotime1|runtime\.walltime|\[.*\]|c_.*)$";

/// Shares of functions in percent: alone, and with what they called.
fn shares(profile: &str) -> (BTreeMap<String, (f64, f64)>, i64) {
    let rows = top(&["-top", "-sample_index=samples", "-nodefraction=0", "-nodecount=100000", HIDDEN, profile]);
    let all: i64 = rows.values().map(|(flat, _)| flat).sum();
    let percent = |part: i64| 100.0 * part as f64 / all.max(1) as f64;
    (rows.iter().map(|(name, (flat, cum))| (name.clone(), (percent(*flat), percent(*cum)))).collect(), all)
}

/// What differs by more than 3 points of what has more than 5 %, how much was compared, and of how many samples.
pub(crate) fn differences(own: &str, ours: &str) -> (Vec<String>, usize, u64) {
    let ((own, own_count), (ours, count)) = (shares(own), shares(ours));
    let names: BTreeSet<&String> = own.keys().chain(ours.keys()).collect();
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for name in names {
        let of = |rows: &BTreeMap<String, (f64, f64)>| rows.get(name).copied().unwrap_or_default();
        let ((flat, cum), (own_flat, own_cum)) = (of(&ours), of(&own));
        let is_load = name.starts_with("main.work");
        for (what, ours, own) in [("flat", flat, own_flat), ("cum", cum, own_cum)] {
            if ours.max(own) > 5.0 && (what == "flat" || is_load) {
                compared += 1;
                if (ours - own).abs() > 3.0 {
                    wrong.push(format!("{name} {what}: {ours:.1} % of {count}, own {own:.1} % of {own_count}"));
                }
            }
        }
    }
    (wrong, compared, u64::try_from(count.min(own_count)).unwrap())
}

/// Each function above 5 % has the share that the program's own profile of the same seconds gives it, to 3 points. A
/// share of few samples is uncertain, and on a busy machine there are few: what is outside is recorded again, twice at
/// most, for as long as takes more of them. At 6,000, the difference of two shares of 20 % has a standard error of 0.7.
#[test]
fn shares_are_those_of_the_programs_own_profile() {
    let more = [("1.26.6", Mode::CgoSw), ("1.24.11", Mode::PieSw), ("1.22.10", Mode::Cgo)];
    let mut tally = Tally::new("shares");
    for (version, mode) in VERSIONS.map(|version| (version, Mode::Sw)).into_iter().chain(more) {
        let mut program = start(version, mode, "2");
        if !allowed(&program) {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (own, ours) = (path("own.pb.gz"), path("ours.pb.gz"));
        let (mut wrong, mut seconds, mut seen) = (Vec::new(), 8, 0);
        for samples in [0, 2_500, 6_000] {
            let least = if samples == 0 { 0 } else { seconds * samples / seen.max(1) };
            seconds = least.clamp(seconds, 240);
            assert_eq!(program.ask("start"), serde_json::Value::Null);
            let pid = program.pid().to_string();
            let output = gospy(&["record", &pid, "--cpu", "-d", &format!("{seconds}s"), "-o", &ours]);
            assert_eq!(program.ask(&format!("stop {own}")), serde_json::Value::Null);
            assert_eq!(output.code(), 0, "{output:?}");
            let compared;
            (wrong, compared, seen) = differences(&own, &ours);
            println!("{version} {}: {seconds} s, {compared} compared, {wrong:?}; {}", mode.name(), output.stderr);
            tally.compared += compared;
            if wrong.is_empty() {
                assert!(compared >= 10, "{version} {}: only {compared} compared", mode.name());
                break;
            }
        }
        wrong.iter().for_each(|wrong| tally.wrong(format!("{version} {}: {wrong}", mode.name())));
        // The sample types are the program's own, so that the two can be compared by whoever wants to.
        let (own, ours) = (pprof(&["-raw", &own]), pprof(&["-raw", &ours]));
        for types in ["samples/count cpu/nanoseconds", "PeriodType: cpu nanoseconds"] {
            assert!(own.contains(types) && ours.contains(types), "{types}");
        }
    }
    tally.check(100);
}

/// Which functions of the program call which.
fn is_call(caller: &str, callee: &str) -> bool {
    match callee {
        "main.run" => false,
        "main.run.func1" => caller == "runtime/pprof.Do",
        "main.spin" => caller == "main.run.func1",
        "main.a1" => caller == "main.workA",
        "main.a2" => caller == "main.a1",
        "main.leaf" => caller == "main.a2",
        "main.b" => matches!(caller, "main.b" | "main.workB"),
        "main.leafTwice" => caller == "main.workC",
        "main.grow" => matches!(caller, "main.grow" | "main.workD"),
        "main._Cfunc_c_sum" => caller == "main.workG",
        "main._Cfunc_c_overwrite" => caller == "main.workY",
        "main.brief" => caller == "main.burst.func1",
        "main.workC" => matches!(caller, "main.spin" | "main.brief"),
        load if load.starts_with("main.work") => caller == "main.spin",
        _ => true,
    }
}

/// Whether a stack is one that the program can have, from its outermost function on.
fn is_legal(stack: &str) -> bool {
    let frames: Vec<&str> = stack.split(';').filter(|frame| !matches!(*frame, "[kernel]")).collect();
    let calls = frames.windows(2).all(|pair| is_call(pair[0], pair[1]));
    let root = frames[0];
    let starts = match root {
        "main.run" | "main.burst.func1" => true,
        // The scheduler, and what the runtime starts itself.
        "runtime.mcall" | "runtime.morestack" | "runtime.mstart" | "runtime.sigtramp" | "runtime.main" => true,
        root => {
            let own = root.strip_prefix("runtime.").unwrap_or_default();
            own.starts_with("gc") || own.starts_with("bg") || own.starts_with("force")
        }
    };
    // Depth of the recursion, and what is called by leaves.
    let depth = frames.iter().filter(|frame| **frame == "main.b").count();
    starts && calls && depth <= 6 && (!stack.contains("main.workB;main.b;main.b") || depth >= 2)
}

/// 99 of 100 stacks are complete, and legal, those of leaves without a frame among them.
#[test]
fn stacks_are_complete_and_legal() {
    let more = [("1.26.6", Mode::CgoSw), ("1.24.11", Mode::PieSw), ("1.26.6", Mode::Default)];
    let mut tally = Tally::new("stacks");
    for (version, mode) in VERSIONS.map(|version| (version, Mode::Sw)).into_iter().chain(more) {
        // More goroutines than processors, so that they are moved about.
        let program = start(version, mode, "20");
        if !allowed(&program) {
            return;
        }
        let mut lines = Vec::new();
        let count = |lines: &[(String, u64)]| lines.iter().map(|(_, us)| us / 2_000).sum::<u64>();
        // On a busy machine, what is read late is missed more often for a while: more is recorded then.
        for least in [1_000, 3_000, 9_000] {
            let begun = Instant::now();
            while count(&lines) < least && begun.elapsed() < Duration::from_secs(100) {
                lines.extend(folded(&program, 3, &["--rate", "499"]).0);
            }
            if share(&lines, is_legal) >= 0.99 {
                break;
            }
        }
        let legal = share(&lines, is_legal);
        let illegal: Vec<&String> = lines.iter().map(|(stack, _)| stack).filter(|stack| !is_legal(stack)).collect();
        println!("{version} {}: {} samples, {:.2} % legal, {illegal:?}", mode.name(), count(&lines), 100.0 * legal);
        tally.between(format!("{version} {}: legal; not: {illegal:#?}", mode.name()), 0.99, legal, 1.0);
        let unknown = share(&lines, |stack| stack.starts_with("[callers unknown]"));
        tally.between(format!("{version} {}: unknown callers", mode.name()), 0.0, unknown, 0.01);
        // Who calls a leaf without a frame, or assembly, is what frame pointers alone do not say.
        for (callee, caller, least) in [
            ("main.leaf", "main.a2;main.leaf", 0.05),
            ("main.leafTwice", "main.workC;main.leafTwice", 0.02),
            ("runtime.memmove", "main.workM;runtime.memmove", 0.005),
        ] {
            let called = share(&lines, |stack| stack.contains(caller));
            let all = share(&lines, |stack| {
                stack.split(';').any(|frame| frame == callee)
                    && (callee != "runtime.memmove" || stack.contains("workM"))
            });
            tally.between(format!("{version} {}: {caller} of {all}", mode.name()), least, called, 1.0);
            tally.between(format!("{version} {}: {callee} by others", mode.name()), 0.0, all - called, 0.01);
        }
        if mode.has_c() {
            let in_c = share(&lines, |stack| stack.contains("runtime.cgocall;[oncpu]"));
            tally.between("time in C, under the function that called it", 0.05, in_c, 0.5);
        }
    }
    tally.check(80);
}

/// What is said of goroutines and labels is certain: never another one's.
#[test]
fn goroutines_and_labels_are_those_of_the_moment() {
    for (version, mode) in [("1.19", Mode::Sw), ("1.24.11", Mode::Sw), ("1.26.6", Mode::CgoSw), ("1.27.3", Mode::Sw)] {
        let program = start(version, mode, "6");
        if !allowed(&program) {
            return;
        }
        // Labels that are read late are unknown.
        for seconds in [8, 8, 16, 32] {
            let (lines, said) = folded_in_time(&program, seconds, &["--group-by", "label=load", "--rate", "499"]);
            let (mut right, mut wrong, mut unknown) = (0, 0, 0);
            for (stack, us) in &lines {
                let Some((_, load)) = stack.split_once(";main.work") else { continue };
                let (label, load) = (stack.split(';').next().unwrap(), &load[..1]);
                match label {
                    "[load unknown]" => unknown += us,
                    label if label == load => right += us,
                    _ => wrong += us,
                }
            }
            println!("{version} {}: labels right {right}, wrong {wrong}, unknown {unknown} µs; {said}", mode.name());
            assert!(1_000 * wrong <= right, "{version}: {right} {wrong} {unknown}");
            if right > 1_000_000 && right > unknown {
                break;
            }
            assert!(seconds < 32, "{version}: {right} {unknown}");
        }
        // Ids, against the program's own dump.
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cpu.pb.gz").display().to_string();
        let output = gospy(&["record", &program.pid().to_string(), "--cpu", "-d", "4s", "-o", &file]);
        assert_eq!(output.code(), 0, "{output:?}");
        let raw = pprof(&["-raw", &file]);
        let all = raw.matches("thread:[").count();
        let ids: BTreeSet<u64> = raw
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("goroutine:["))
            .map(|id| id.trim_end_matches(']').parse().unwrap())
            .collect();
        let named = raw.matches("goroutine:[").count();
        assert!(named * 10 >= all * 7, "{version}: {named} of {all}: {}", output.stderr);
        let dump = program.sigquit_dump();
        let workers: BTreeSet<u64> = crate::support::parse_traceback(&dump)
            .into_iter()
            .filter(|one| one.frames.iter().any(|frame| frame.function.contains("main.run")))
            .map(|one| one.id)
            .collect();
        assert_eq!(workers.len(), 6, "{dump}");
        assert!(workers.is_subset(&ids), "{version}: {workers:?} {ids:?}");
    }
}

/// Without CAP_PERFMON, time in the kernel is counted only; it is as much as the kernel itself says.
#[test]
fn whoever_has_no_privileges_sees_user_mode_and_how_much_the_kernel_took() {
    need_root();
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    // The test's own directories may be closed to others.
    let copy = |from: &Path, name: &str| {
        let to = directory.path().join(name);
        std::fs::copy(from, &to).unwrap();
        to
    };
    let setpriv = need("setpriv", "util-linux");
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let mut command = Command::new(&setpriv);
    command.args(nobody).arg(copy(&Fixture::build("oncpu", "1.26.6", Mode::Sw), "oncpu")).arg("2");
    let mut program = Running::spawn(command);
    program.wait_ready();
    if !allowed(&program) {
        return;
    }
    let gospy = copy(Path::new(env!("CARGO_BIN_EXE_gospy")), "gospy");
    let pid = program.pid().to_string();
    let mut wrong = String::new();
    for seconds in ["8s", "20s", "40s"] {
        let times = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<f64> = stat
                .rsplit_once(')')
                .unwrap()
                .1
                .split_whitespace()
                .skip(11)
                .take(2)
                .map(|f| f.parse().unwrap())
                .collect();
            (fields[0], fields[1])
        };
        let before = times();
        let output = Command::new(&setpriv)
            .args(nobody)
            .arg(&gospy)
            .args(["record", &pid, "--cpu", "-d", seconds, "-o", "-", "--format", "folded"])
            .output()
            .unwrap();
        let after = times();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains("takes CAP_PERFMON"), "{said}");
        let lines = parse(&String::from_utf8(output.stdout).unwrap());
        assert!(lines.iter().all(|(stack, _)| stack == "[kernel]" || !stack.contains("[kernel]")), "{lines:?}");
        let ours = share(&lines, |stack| stack == "[kernel]");
        let (user, system) = (after.0 - before.0, after.1 - before.1);
        let own = system / (user + system);
        wrong.clear();
        if (ours - own).abs() > 0.04 || own < 0.05 {
            wrong = format!("{ours} in the kernel, by /proc {own}; {said}");
        } else {
            break;
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A filter of system calls, as containers have them, is named; and so are the ways that are left.
#[test]
fn a_refusal_names_its_cause_and_what_is_left() {
    const FILTERED: &str = "
import ctypes, os, platform, struct, sys
number = 241 if platform.machine() == 'aarch64' else 298
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('<HBBI', *rule) for rule in rules))
program = ctypes.create_string_buffer(struct.pack('<HxxxxxxQ', len(rules), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv(sys.argv[1], sys.argv[1:])
";
    let program = start("1.26.6", Mode::Sw, "1");
    let pid = program.pid().to_string();
    let output = gospy_with(&["record", &pid, "--cpu", "-d", "1s", "-o", "-", "--format", "folded"], |command| {
        let (gospy, arguments): (_, Vec<_>) =
            (command.get_program().to_owned(), command.get_args().map(ToOwned::to_owned).collect());
        let mut filtered = Command::new(need("python3", "python3"));
        filtered.args(["-c", FILTERED]).arg(gospy).args(arguments);
        *command = filtered;
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
    });
    let said = refused(&output, PERMISSION);
    assert!(said.contains("a seccomp filter on gospy refuses perf_event_open"), "{said}");
    assert!(said.contains("--freeze=running"), "{said}");
    // Which works.
    let output = gospy(&["record", &pid, "--freeze=running", "-d", "2s", "-o", "-", "--format", "folded"]);
    assert!(output.ok().contains("main.spin"));
    for nonsense in [["--cpu-budget", "5%"], ["--only", "running"], ["--group-by", "state"]] {
        let output = gospy(&[&["record", &pid, "--cpu", "-o", "-", "--format", "folded"], &nonsense[..]].concat());
        refused(&output, USAGE);
    }
}

/// Threads come and go, and the program executes itself or ends: what was recorded stays, and nothing of another
/// program gets into it.
#[test]
fn threads_programs_and_processes_that_end_are_survived() {
    let mut program = start("1.26.6", Mode::Sw, "1");
    if !allowed(&program) {
        return;
    }
    let pid = program.pid().to_string();
    let directory = tempfile::tempdir().unwrap();
    let record = |name: &str| {
        let path = directory.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
        command.args(["record", &pid, "--cpu", "--rate", "499", "-d", "10m", "-o"]).arg(&path);
        (Running::spawn(command), path)
    };
    let (recording, path) = record("threads.folded");
    std::thread::sleep(Duration::from_secs(1));
    program.ask("burst");
    recording.signal(Signal::SIGINT);
    let (status, said) = recording.wait();
    assert!(status.success(), "{said}");
    let lines = parse(&std::fs::read_to_string(path).unwrap());
    // 20 threads of 40 ms each, whose very first are missed.
    let us: u64 = lines.iter().filter(|(stack, _)| stack.contains(";main.brief;")).map(|(_, us)| us).sum();
    println!("{us} µs of short threads: {said}");
    assert!((400_000..=840_000).contains(&us), "{us} {said}");
    for end in ["exec", "quit"] {
        let (recording, path) = record(&format!("{end}.folded"));
        std::thread::sleep(Duration::from_secs(2));
        program.send(end);
        let begun = Instant::now();
        let (status, said) = recording.wait();
        assert!(status.success() && begun.elapsed() < Duration::from_secs(60), "{end}: {said}");
        assert!(said.contains("the program ended after "), "{end}: {said}");
        let lines = parse(&std::fs::read_to_string(path).unwrap());
        let legal = share(&lines, is_legal);
        assert!(legal > 0.98 && lines.len() > 5, "{end}: {legal} {lines:?}");
        if end == "exec" {
            program.wait_ready();
        }
    }
    let output = gospy(&["record", &pid, "--cpu", "-d", "1s", "-o", "-", "--format", "folded"]);
    assert_eq!(output.code(), GONE, "{output:?}");
}

/// Samples that come while nobody reads them are lost, which is said; those after it are right.
#[test]
fn what_finds_no_room_is_counted() {
    let program = start("1.26.6", Mode::Sw, "2");
    if !allowed(&program) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("late.folded");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
    command.args(["record", &program.pid().to_string(), "--cpu", "--rate", "999", "-d", "10m", "-o"]).arg(&path);
    let recording = Running::spawn(command);
    std::thread::sleep(Duration::from_secs(2));
    recording.stop();
    std::thread::sleep(Duration::from_secs(3));
    recording.cont();
    std::thread::sleep(Duration::from_secs(2));
    recording.signal(Signal::SIGINT);
    let (status, said) = recording.wait();
    assert!(status.success(), "{said}");
    let lost = said.split(" threads, ").nth(1).and_then(|rest| rest.split(" lost").next()).unwrap();
    let lost: u64 = lost.replace(',', "").parse().unwrap();
    assert!(lost > 50, "{said}");
    let lines = parse(&std::fs::read_to_string(path).unwrap());
    let legal = share(&lines, is_legal);
    assert!(legal > 0.98, "{legal} {said}");
}

/// Threads have other ids in a pid namespace of their own, and the runtime knows those.
#[test]
fn a_program_in_another_pid_namespace_is_sampled() {
    need_root();
    let mut command = Command::new(need("unshare", "util-linux"));
    command.args(["--pid", "--fork", "--kill-child"]);
    command.arg(Fixture::build("oncpu", "1.26.6", Mode::CgoSw)).arg("2");
    let mut outer = Running::spawn(command);
    outer.wait_ready();
    if !allowed(&outer) {
        return;
    }
    let children = format!("/proc/{pid}/task/{pid}/children", pid = outer.pid());
    let pid = until("its child", || std::fs::read_to_string(&children).ok()?.trim().parse::<i32>().ok());
    let arguments = ["record", &pid.to_string(), "--cpu", "-d", "5s", "-o", "-", "--format", "folded"];
    // µs of CPU. A program that got less of the five seconds gives too few samples for shares.
    const ENOUGH: u64 = 3_000_000;
    let mut lines = Vec::new();
    for _ in 0..10 {
        let output = gospy(&arguments);
        assert_eq!(output.code(), 0, "{output:?}");
        lines = parse(&output.stdout);
        if lines.iter().map(|(_, us)| us).sum::<u64>() >= ENOUGH {
            break;
        }
    }
    // C code takes the M, and so the thread's own id, to be followed.
    assert!(share(&lines, is_legal) > 0.98 && share(&lines, |stack| stack.contains("main.workY")) > 0.03, "{lines:?}");
}
