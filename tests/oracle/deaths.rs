//! What programs died of, by their core files, against what they printed themselves as they died.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::core_dump::{gcore, killed_for_core, with_core_limit};
use crate::support::qemu;
use crate::support::{
    DumpGoroutine, Fixture, Mode, Running, Tally, VERSIONS, each, gospy, matrix, parse_traceback, until,
};
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::process::core::{CoreOptions, CoreTarget};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Ways of fixture `trouble` to die: panics with all kinds of values and of chains.
const PANICS: [&str; 33] = [
    "string",
    "lines",
    "empty",
    "error",
    "wrapped",
    "stringer",
    "typed-int",
    "typed-text",
    "typed-float",
    "pair",
    "pointer",
    "float",
    "float-big",
    "float-small",
    "float32",
    "infinite",
    "complex",
    "uint8",
    "bool",
    "nil",
    "errno",
    "pointer-nil",
    "bounds",
    "slice",
    "divide",
    "assert",
    "nil-map",
    "closed",
    "nested",
    "three",
    "deep",
    "main-panic",
    "two",
];
/// Chains with a recovery or an end among them.
const CHAINS: [&str; 4] = ["recovered", "repanicked", "repanicked-error", "goexit"];
/// Errors that the runtime does not survive.
const FATAL: [&str; 13] = [
    "error-panics",
    "overflow",
    "unlock",
    "runlock",
    "fatal-in-panic",
    "map-write",
    "map-read",
    "map-iterate",
    "fault",
    "threads",
    "deadlock",
    "deadlock-locks",
    "goexit-main",
];
/// Of every family one or two.
const FAMILIES: [&str; 14] = [
    "lines",
    "error",
    "typed-int",
    "float",
    "pointer-nil",
    "bounds",
    "three",
    "recovered",
    "repanicked",
    "goexit",
    "overflow",
    "unlock",
    "map-write",
    "deadlock",
];
const IN_C: [&str; 6] = ["c-fault", "c-abort", "c-trap", "c-thread", "c-panic", "c-callback-fault"];
const SIGNALS: [Signal; 8] = [
    Signal::SIGABRT,
    Signal::SIGSEGV,
    Signal::SIGQUIT,
    Signal::SIGBUS,
    Signal::SIGTRAP,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGSYS,
];

/// A program that died, and what it said.
pub(crate) struct Dead {
    core: PathBuf,
    stderr: String,
    pid: i32,
    /// Its own file, where the core file does not say where that is.
    program: Option<PathBuf>,
    _dir: tempfile::TempDir,
}

fn start(program: &Path, dir: &Path, how: &str) -> Running {
    let mut command = with_core_limit(program, dir);
    command.arg(how).env("GOTRACEBACK", "crash");
    Running::spawn(command)
}

pub(crate) fn die(version: &str, mode: Mode, how: &str, signal: Option<Signal>) -> Dead {
    let dir = tempfile::tempdir().unwrap();
    let mut running = start(&Fixture::build("trouble", version, mode), dir.path(), how);
    let pid = running.pid();
    // One that dies by itself may do so before it has said that it is ready.
    if let Some(signal) = signal {
        running.wait_ready();
        // Until all of its threads have come to rest, or to work.
        std::thread::sleep(std::time::Duration::from_millis(100));
        running.signal(signal);
    }
    let (core, stderr) = killed_for_core(running, dir.path());
    Dead { core, stderr, pid, program: None, _dir: dir }
}

impl Dead {
    pub(crate) fn core(&self) -> &str {
        self.core.to_str().unwrap()
    }

    fn death(&self) -> Value {
        let mut arguments = vec!["summary", "--json", "--from", self.core()];
        if let Some(program) = &self.program {
            arguments.extend(["--bin", program.to_str().unwrap()]);
        }
        gospy(&arguments).json()["death"].clone()
    }

    /// The lines that it printed before any stack, without those for the runtime's developers.
    fn lines(&self) -> Vec<&str> {
        let head = self.stderr.lines().take_while(|line| !is_header(line) && !line.starts_with("runtime stack:"));
        let developers = ["runtime: ", "unexpected fault address ", "instruction bytes:"];
        head.filter(|line| !line.trim().is_empty() && !developers.iter().any(|start| line.starts_with(start))).collect()
    }

    /// The goroutine that it blames: the one whose stack comes first. Below a stack of the runtime's
    /// own it is the one that was running there, or had called C, if any.
    fn blamed(&self) -> Option<DumpGoroutine> {
        let on_g0 = self.stderr.contains("\nruntime stack:\n");
        let first = parse_traceback(&self.stderr).into_iter().next()?;
        let in_c = first.functions().first() == Some(&"runtime.cgocall");
        (first.id != 0 && (!on_g0 || first.state == "running" || in_c)).then_some(first)
    }
}

fn is_header(line: &str) -> bool {
    line.strip_prefix("goroutine ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The program's own functions among frames.
fn own<'a>(functions: impl Iterator<Item = &'a str>) -> Vec<String> {
    let own = functions.filter(|function| function.starts_with("main."));
    own.map(|function| function.replace("[...]", "")).take(40).collect()
}

/// Text, goroutine and stack are those that the program printed.
fn compare(dead: &Dead, tally: &mut Tally) -> Value {
    let death = dead.death();
    let text = death["text"].as_str().unwrap_or_else(|| panic!("no death: {death}\n{}", dead.stderr));
    tally.equal("text", dead.lines(), text.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>());
    let blamed = dead.blamed();
    tally.equal("goroutine", blamed.as_ref().map(|goroutine| goroutine.id), death["goroutine_id"].as_u64());
    if let Some(blamed) = blamed {
        let frames = death["frames"].as_array().cloned().unwrap_or_default();
        let ours = own(frames.iter().filter_map(|frame| frame["function"].as_str()));
        tally.equal("stack", own(blamed.functions().into_iter()), ours);
    }
    tally.equal("certain", true, death["certain"].as_bool().unwrap());
    death
}

/// As [`compare`], of a core file by the kernel: in the end a Go program sends itself SIGABRT.
fn compare_all(dead: &Dead, tally: &mut Tally) -> Value {
    let death = compare(dead, tally);
    tally.equal("core_signal", dead.pid, sender(&death["core_signal"]));
    death
}

fn sender(signal: &Value) -> i32 {
    i32::try_from(signal["sender_pid"].as_i64().unwrap_or(0)).unwrap()
}

#[test]
fn every_way_to_die() {
    let ways: Vec<&str> = PANICS.iter().chain(&CHAINS).chain(&FATAL).copied().collect();
    let cells: Vec<(&str, &str)> =
        VERSIONS.iter().flat_map(|version| ways.iter().map(|way| (*version, *way))).collect();
    let tally = each(
        &cells,
        |(version, way)| format!("{version} {way}"),
        |(version, way), tally| {
            let death = compare_all(&die(version, Mode::Sw, way, None), tally);
            let kind = match *way {
                _ if !FATAL.contains(way) => "panic",
                "error-panics" | "overflow" | "fault" | "threads" => "throw",
                // A `throw` until 1.18, and of some still later.
                _ => death["kind"].as_str().filter(|kind| ["throw", "fatal"].contains(kind)).unwrap_or("fatal"),
            };
            tally.equal("kind", kind, death["kind"].as_str().unwrap());
        },
    );
    tally.check(VERSIONS.len() * 50 * 5);
}

#[test]
fn position_independent_programs() {
    let tally = matrix(&[Mode::PieSw], |version, mode, tally| {
        for way in FAMILIES {
            compare_all(&die(version, mode, way, None), &mut *tally);
        }
    });
    tally.check(VERSIONS.len() * FAMILIES.len() * 4);
}

#[test]
fn programs_for_arm64() {
    let ways = ["lines", "typed-int", "float", "pointer-nil", "three", "repanicked", "overflow", "unlock", "deadlock"];
    let cells: Vec<(&str, &str)> =
        ["1.19", "1.24.11", "1.27.3"].iter().flat_map(|version| ways.iter().map(|way| (*version, *way))).collect();
    let tally = each(
        &cells,
        |(version, way)| format!("{version} {way}"),
        |(version, way), tally| {
            let dir = tempfile::tempdir().unwrap();
            let program = Fixture::build_arm64("trouble", version, Mode::Sw);
            let qemu::Dead { core, said } = qemu::die_by_itself(&program, dir.path(), &[way]);
            compare(&Dead { core, stderr: said, pid: 0, program: Some(program), _dir: dir }, tally);
        },
    );
    tally.check(cells.len() * 3);
}

#[test]
fn deaths_in_and_below_c() {
    let tally = matrix(&[Mode::CgoSw], |version, mode, tally| {
        for way in IN_C {
            let dead = die(version, mode, way, None);
            let mut one = tally.another();
            let death = match way {
                // Nothing is printed, and no goroutine was there.
                "c-thread" => {
                    let death = dead.death();
                    one.equal("kind", "outside_go", death["kind"].as_str().unwrap());
                    let signal = &death["signal"];
                    one.equal("signal", "SIGSEGV", signal["name"].as_str().unwrap());
                    one.equal("address", (Some(1), Some("0x0")), (signal["code"].as_i64(), signal["address"].as_str()));
                    one.holds("object", death["object"].as_str().is_some_and(|path| path.ends_with("/trouble")));
                    death
                }
                _ => compare_all(&dead, &mut one),
            };
            match way {
                // 1.19 took a fault in C for one of the runtime's own.
                "c-fault" if version == "1.19" => one.equal("kind", "throw", death["kind"].as_str().unwrap()),
                "c-fault" | "c-abort" | "c-trap" => one.equal("kind", "signal", death["kind"].as_str().unwrap()),
                _ => {}
            }
            one.wrong.iter_mut().for_each(|wrong| *wrong = format!("{way}: {wrong}\n{:.600}", dead.stderr));
            tally.add(one);
        }
    });
    tally.check(VERSIONS.len() * IN_C.len() * 3);
}

#[test]
fn signals_from_outside() {
    let own_pid = i32::try_from(std::process::id()).unwrap();
    let tally = matrix(&[Mode::Sw], |version, mode, tally| {
        let idle = SIGNALS.iter().map(|signal| ("idle", *signal));
        for (way, signal) in idle.chain([("busy", Signal::SIGQUIT), ("busy", Signal::SIGSEGV)]) {
            let dead = die(version, mode, way, Some(signal));
            let death = compare_all(&dead, tally);
            tally.equal("kind", "signal", death["kind"].as_str().unwrap());
            tally.equal("number", signal as i64, death["signal"]["number"].as_i64().unwrap());
            tally.equal("sender", own_pid, sender(&death["signal"]));
            tally.equal("address", Value::Null, death["signal"]["address"].clone());
        }
        for (way, name) in [("quit-self", "SIGQUIT"), ("abort-self", "SIGABRT")] {
            let dead = die(version, mode, way, None);
            let death = compare_all(&dead, tally);
            tally.equal("signal", name, death["signal"]["name"].as_str().unwrap());
            tally.equal("sender", dead.pid, sender(&death["signal"]));
        }
    });
    tally.check(VERSIONS.len() * 12 * 5);
}

#[test]
fn parts_of_a_panic() {
    let dead = die("1.26.6", Mode::Sw, "three", None);
    let death = dead.death();
    let panics: Vec<(&str, &str)> = death["panics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|panic| (panic["go_type"].as_str().unwrap(), panic["text"].as_str().unwrap()))
        .collect();
    // The error's text has taken its place.
    assert_eq!(panics, [("main.code", "main.code(1)"), ("string", "second"), ("string", "third")]);
    let death = die("1.26.6", Mode::Sw, "pointer-nil", None).death();
    assert_eq!(death["signal"]["name"], "SIGSEGV", "{death}");
    assert_eq!(death["signal"]["address"], "0x0", "{death}");
    assert_eq!(death["core_signal"]["name"], "SIGABRT", "{death}");
    let death = die("1.26.6", Mode::Sw, "long", None).death();
    assert!(death["text"].as_str().unwrap().ends_with("… (34464 bytes more)"), "{death:.200}");
    let death = die("1.26.6", Mode::Sw, "overflow", None).death();
    let frames = death["frames"].as_array().unwrap();
    assert!(frames.len() > 1_000, "{}", frames.len());
    assert_eq!(death["message"], "stack overflow");
}

/// What people see, and what CI does.
#[test]
fn a_death_is_reported_everywhere() {
    for (way, headline) in
        [("deadlock", "fatal error: all goroutines are asleep - deadlock!"), ("string", "panic: boom")]
    {
        let dead = die("1.26.6", Mode::Sw, way, None);
        let summary = gospy(&["summary", "--from", dead.core()]).ok();
        assert!(summary.contains(&format!("\nCause of death\n  {headline}\n")), "{summary}");
        // Told once: the line of findings says what comes besides.
        assert!(!summary.contains(" finding: the program died"), "{summary}");
        let check = gospy(&["check", "--from", dead.core(), "--no-findings"]);
        assert_eq!(check.code(), 7, "{check:?}");
        assert!(check.stdout.contains(&format!("--no-findings: the program died: {headline}")), "{}", check.stdout);
        let diff = gospy(&["diff", dead.core(), dead.core()]).ok();
        let report = diff.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(report.contains(&format!("the program has died: {headline}")), "{diff}");
        let json = gospy(&["stack", "--json", "--from", dead.core()]).ok();
        let file = dead.core.with_file_name("snapshot.json");
        std::fs::write(&file, json).unwrap();
        let check = gospy(&["check", "--from", file.to_str().unwrap(), "--no-findings", "--json"]);
        assert_eq!(check.code(), 7, "{check:?}");
        let check: Value = serde_json::from_str(&check.stdout).unwrap();
        assert_eq!(check["target"]["died"], headline, "{check}");
        assert_eq!(check["rules"][0]["offenders"][0]["finding"], "died", "{check}");
    }
    let quit = die("1.26.6", Mode::Sw, "idle", Some(Signal::SIGQUIT));
    let summary = gospy(&["summary", "--from", quit.core()]).ok();
    let sent = format!("  SIGQUIT was sent by process {} (uid ", std::process::id());
    assert!(summary.contains(&sent), "{summary}");
}

/// A capture of a core file says the same as the core file.
#[test]
fn captures_of_core_files_keep_the_cause() {
    let mut tally = Tally::default();
    for version in ["1.19", "1.22.10", "1.27.3"] {
        for (way, signal) in [
            ("three", None),
            ("pointer-nil", None),
            ("overflow", None),
            ("deadlock", None),
            ("busy", Some(Signal::SIGSEGV)),
        ] {
            let dead = die(version, Mode::Sw, way, signal);
            let capture = dead.core.with_file_name("a.gospy");
            gospy(&["capture", "--from", dead.core(), "--output", capture.to_str().unwrap()]).ok();
            let death = dead.death();
            std::fs::remove_file(&dead.core).unwrap();
            let kept = gospy(&["summary", "--json", "--from", capture.to_str().unwrap()]).json()["death"].clone();
            assert!(death.is_object(), "{death}");
            tally.equal(format!("{version} {way}"), death, kept);
        }
    }
    tally.check(15);
}

/// Codes of the findings of a summary.
fn codes(json: &Value) -> Vec<&str> {
    json["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[test]
fn a_live_program_has_not_died() {
    for version in ["1.19", "1.26.6"] {
        let dir = tempfile::tempdir().unwrap();
        let mut running = start(&Fixture::build("trouble", version, Mode::Sw), dir.path(), "idle");
        running.wait_ready();
        let core = gcore(running.pid(), dir.path());
        for from in [["--from", core.to_str().unwrap()], ["--pid", &running.pid().to_string()]] {
            let json = gospy(&["summary", "--json", from[0], from[1]]).json();
            assert_eq!(json["death"], Value::Null, "{version}");
            // That one waits for ever is true of it.
            assert_eq!(codes(&json), ["empty_select"], "{version}");
            let text = gospy(&["summary", from[0], from[1]]).ok();
            assert!(!text.contains("Cause of death"), "{version} {text}");
        }
    }
}

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// Words of memory that are wrong cost a part of the answer, not the answer.
#[test]
fn damaged_memory_is_survived() {
    let (mut random, mut deaths) = (Random(0x9e37_79b9_7f4a_7c15), 0);
    for way in ["three", "pointer-nil", "fatal-in-panic"] {
        let dead = die("1.26.6", Mode::Sw, way, None);
        let bytes = std::fs::read(&dead.core).unwrap();
        let words: Vec<usize> = (8192..bytes.len() - 8).step_by(8).filter(|&at| bytes[at..at + 8] != [0; 8]).collect();
        for round in 0..40 {
            let mut damaged = bytes.clone();
            // From a few words to one in fifty.
            for _ in 0..words.len() / 50 * (round + 1) / 40 + 1 {
                let (to, from) = (words[random.below(words.len())], words[random.below(words.len())]);
                let word: [u8; 8] = bytes[from..from + 8].try_into().unwrap();
                damaged[to..to + 8].copy_from_slice(&word);
            }
            let Ok(target) = CoreTarget::from_source(Arc::new(damaged), &CoreOptions::default()) else { continue };
            let Ok(mut session) = Session::open(Box::new(target), &OpenOptions::default()) else { continue };
            let options = CaptureOptions { stacks: true, ..CaptureOptions::default() };
            let Ok(snapshot) = session.capture(&options) else { continue };
            let death = snapshot.death.as_ref().expect("the kernel's notes are as they were");
            assert!(death.text.len() < 4 << 20 && death.headline().chars().count() <= 401);
            deaths += 1;
        }
    }
    assert!(deaths > 20, "only {deaths} were read at all");
}

/// A panic that is neither printed nor recovered, because a deferred function does not return.
#[test]
fn panics_in_flight() {
    for version in VERSIONS {
        let running = Fixture::start("trouble", version, Mode::Sw, &["blocked-panic"]);
        let pid = running.pid().to_string();
        let check = until("a panic is in flight", || {
            let check = gospy(&["check", "--pid", &pid, "--no-findings"]);
            (check.code() == 7).then_some(check)
        });
        let report = "is panicking and blocked in a deferred function: \
                    runtime error: index out of range [5] with length 3";
        assert!(check.stdout.contains(report), "{version} {}", check.stdout);
        let running = Fixture::start("trouble", version, Mode::Sw, &["recovered-panic"]);
        let json = until("a goroutine waits for ever", || {
            let json = gospy(&["summary", "--json", "--pid", &running.pid().to_string()]).json();
            (!codes(&json).is_empty()).then_some(json)
        });
        assert_eq!(codes(&json), ["empty_select"], "{version}");
    }
}
