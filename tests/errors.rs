//! Bad input through the command line: one clear message on standard error, the documented exit
//! status, nothing on standard output, and never a panic.

// A test that cannot go on fails, and a panic is how.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, geteuid};
use support::compare::by_id;
use support::real::Real;
use support::{Fixture, Mode, Output, Running, VERSIONS, gospy, gospy_with};

/// As `gospy --help` says.
const ERROR: i32 = 1;
const USAGE: i32 = 2;
const GONE: i32 = 3;
const PERMISSION: i32 = 4;
const NOT_GO: i32 = 5;
const INCOMPLETE: i32 = 6;

fn pid(program: &Running) -> String {
    program.pid().to_string()
}

/// The message of a run that failed as it should.
fn refused(output: &Output, code: i32) -> String {
    assert_eq!(output.code(), code, "{output:?}");
    assert_eq!(output.stdout, "", "{output:?}");
    let message = &output.stderr;
    assert!(message.starts_with("gospy: ") || message.starts_with("error: "), "{message:?}");
    assert_eq!(message.matches("gospy: ").count() + message.matches("error: ").count(), 1, "{message:?}");
    assert!(!message.contains("panicked") && message.lines().count() <= 8, "{message:?}");
    message.clone()
}

/// A child that is no fixture, killed and reaped at the end.
struct Other(Child);

impl Other {
    fn spawn(command: &mut Command) -> Other {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Other(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sleeper() -> Other {
    Other::spawn(Command::new("sleep").arg("1000"))
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn usage_is_status_2() {
    for arguments in [
        &["summary", ""][..],
        &["check", "--max-group", "1"],
        &["summary", "0"],
        &["summary", "--pid", "0"],
        &["summary", "--pid", "-1"],
        &["summary", "--pid", "nobody"],
        &["summary", "--pid", "99999999999"],
        &["stack", "--pid", "1", "--freeze=some"],
        &["stack", "--pid", "1", "--group", "--all"],
        &["stack", "--pid", "1", "--folded", "--json"],
        &["summary", "1", "--pid", "1"],
        &["help", "nonsense"],
    ] {
        refused(&gospy(arguments), USAGE);
    }
    // A word that is no command is a program that is not there.
    refused(&gospy(&["nonsense"]), GONE);
    // What it is filtered by is looked at before the process is.
    for filter in ["stat=waiting", "age>5x", "state=", "((state=waiting)", "func~[", ""] {
        let message = refused(&gospy(&["stack", "--pid", "1", "--filter", filter]), USAGE);
        assert!(message.contains("--filter"), "{filter:?}: {message}");
    }
}

#[test]
fn processes_that_are_not_there_are_status_3() {
    let highest: u64 = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse().unwrap();
    for pid in [highest + 1, 2_147_483_647] {
        let message = refused(&gospy(&["summary", "--pid", &pid.to_string()]), GONE);
        assert!(message.contains(&pid.to_string()) && message.contains("gospy ps"), "{message}");
    }
    let mut zombie = Other::spawn(&mut Command::new("true"));
    let stat = format!("/proc/{}/stat", zombie.pid());
    wait_until("a zombie", || std::fs::read_to_string(&stat).unwrap().contains(") Z "));
    let message = refused(&gospy(&["stack", "--pid", &zombie.pid()]), GONE);
    assert!(message.contains("zombie"), "{message}");
    zombie.0.wait().unwrap();
    refused(&gospy(&["stack", "--pid", &zombie.pid()]), GONE);
}

#[test]
fn programs_that_are_not_go_are_status_5() {
    let message = refused(&gospy(&["summary", "--pid", &sleeper().pid()]), NOT_GO);
    assert!(message.contains("is not a Go program"), "{message}");
    // A kernel thread: a child of kthreadd, where this machine lets one see it.
    let name = std::fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if name == "kthreadd\n" {
        let message = refused(&gospy(&["summary", "--pid", "2"]), NOT_GO);
        assert!(message.contains("kernel thread"), "{message}");
    } else {
        println!("no kernel threads are to be seen here");
    }
}

/// `pause()` for ever, in the smallest ELF file of 32 bits.
fn program_of_32_bits(directory: &Path) -> PathBuf {
    const BASE: u32 = 0x0804_8000;
    const CODE: [u8; 9] = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7];
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<_>>();
    let mut bytes = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend(halves(&[2, 3]));
    bytes.extend(words(&[1, BASE + 84, 52, 0, 0]));
    bytes.extend(halves(&[52, 32, 1, 40, 0, 0]));
    let size = 84 + CODE.len() as u32;
    bytes.extend(words(&[1, 0, BASE, BASE, size, size, 5, 4096]));
    bytes.extend(CODE);
    write_program(directory, "program", &bytes)
}

/// Makes an executable file, by another process: were it open for writing here while another thread
/// of this one forks, it could not be started until that child has become something else.
fn write_program(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let (data, path) = (directory.join(format!("{name}.bytes")), directory.join(name));
    std::fs::write(&data, bytes).unwrap();
    let installed = Command::new("install").args(["-m", "755"]).arg(&data).arg(&path).status().unwrap();
    assert!(installed.success());
    std::fs::remove_file(data).unwrap();
    path
}

#[test]
fn programs_of_32_bits_are_status_5() {
    let directory = tempfile::tempdir().unwrap();
    let path = program_of_32_bits(directory.path());
    match Command::new(&path).spawn() {
        Ok(child) => {
            let program = Other(child);
            let message = refused(&gospy(&["summary", "--pid", &program.pid()]), NOT_GO);
            assert!(message.contains("32-bit"), "{message}");
        }
        Err(error) => println!("this kernel does not run programs of 32 bits: {error}"),
    }
    let program = Fixture::start("tiny", "1.26.6", Mode::Sw, &[]);
    let output = gospy(&["summary", "--pid", &pid(&program), "--bin", path.to_str().unwrap()]);
    assert!(refused(&output, ERROR).contains("32-bit"));
}

/// Whatever is read when the end comes: it is said, and nothing is made up.
#[test]
fn a_program_that_ends_while_it_is_read_is_status_3() {
    let mut ended = 0;
    for delay in [0, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100, 150] {
        let program = Fixture::start("fx", "1.26.6", Mode::Sw, &["many", "20000"]);
        let target = pid(&program);
        let reader = std::thread::spawn(move || gospy(&["stack", "--group", "--pid", &target]));
        sleep(Duration::from_millis(delay));
        program.signal(Signal::SIGKILL);
        let output = reader.join().unwrap();
        if output.code() != 0 {
            let message = refused(&output, GONE);
            assert!(message.contains(&pid(&program)), "{message}");
            ended += 1;
        }
    }
    assert!(ended > 0, "it was always quicker");
}

/// As nobody, without any capability.
fn as_nobody(command: &mut Command) {
    const NOBODY: u32 = 65534;
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    *command = Command::new("setpriv");
    command.args(["--reuid", &NOBODY.to_string(), "--clear-groups", "--inh-caps=-all"]).arg(program).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

#[test]
fn programs_of_somebody_else_are_status_4() {
    let program = Fixture::start("tiny", "1.26.6", Mode::Sw, &[]);
    // Root has to become somebody else to be refused; everybody else is refused by what is root's.
    let (target, output, owner) = if geteuid().is_root() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let gospy_program =
            write_program(directory.path(), "gospy", &std::fs::read(env!("CARGO_BIN_EXE_gospy")).unwrap());
        let nobody = |arguments: &[&str]| {
            gospy_with(arguments, |command| {
                let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
                *command = Command::new(&gospy_program);
                command.args(arguments);
                as_nobody(command);
            })
        };
        // The reason and the remedy, each once.
        let doctor = nobody(&["doctor", "--pid", &pid(&program)]);
        assert_eq!(
            (doctor.code(), doctor.stdout.matches("it belongs to uid 0").count()),
            (PERMISSION, 1),
            "{doctor:?}"
        );
        // A list of nothing but what may not be read is no success, and says where to go on.
        let ps = nobody(&["ps"]);
        let readable = nobody(&["ps", "--json"]);
        let readable: serde_json::Value = serde_json::from_str(&readable.stdout).unwrap();
        let others = readable["processes"].as_array().unwrap().iter().any(|process| !process["goroutines"].is_null());
        assert_eq!(ps.code(), if others { 0 } else { PERMISSION }, "{ps:?}");
        assert!(ps.stdout.contains("`gospy doctor "), "{ps:?}");
        (pid(&program), nobody(&["summary", "--pid", &pid(&program)]), Uid::from_raw(0))
    } else {
        ("1".to_owned(), gospy(&["summary", "--pid", "1"]), Uid::from_raw(0))
    };
    let message = refused(&output, PERMISSION);
    assert!(message.contains(&format!("no permission to read process {target}")), "{message}");
    assert!(message.contains(&format!("it belongs to uid {owner}")), "{message}");
    // And what to do, on a line of its own.
    assert!(message.lines().count() >= 2 && message.contains("root"), "{message}");
    // The program noticed nothing.
    assert_eq!(program.thread_states().iter().filter(|state| matches!(state, 'T' | 't')).count(), 0);
}

#[test]
fn another_programs_binary_is_refused() {
    let program = Fixture::start("fx", "1.26.6", Mode::Sw, &["idle"]);
    let with = |bin: &str| gospy(&["stack", "--pid", &pid(&program), "--bin", bin]);
    let build = |program: &str, version: &str| Fixture::build(program, version, Mode::Default);
    for other in [build("tiny", "1.26.6"), build("fx", "1.25.5"), PathBuf::from("/bin/sleep")] {
        let message = refused(&with(other.to_str().unwrap()), ERROR);
        assert!(message.contains("build id") && message.contains("--bin"), "{message}");
    }
    for missing in ["/nonexistent/file", "/", "/dev/null", "/proc/self/maps"] {
        let message = refused(&with(missing), ERROR);
        assert!(message.contains(missing), "{message}");
    }
}

/// The same program with its symbols: stripped from it, or built from the same source with other
/// flags.
#[test]
fn the_same_programs_binary_with_symbols_agrees() {
    for version in [VERSIONS[0], VERSIONS[4], VERSIONS[7]] {
        for (stripped, twin) in [(Mode::Sw, Mode::Default), (Mode::PieSw, Mode::Pie), (Mode::CgoSw, Mode::Cgo)] {
            let program = Fixture::start("fx", version, stripped, &["states"]);
            let twin = Fixture::build("fx", version, twin);
            agrees(&program, &twin);
        }
        let directory = tempfile::tempdir().unwrap();
        let twin = Fixture::build("fx", version, Mode::Cgo);
        let path = directory.path().join("stripped");
        let strip = Command::new("strip").arg("-s").arg("-o").arg(&path).arg(&twin).status().unwrap();
        assert!(strip.success(), "strip of binutils failed: {strip}");
        let mut command = Command::new(&path);
        command.arg("states");
        let mut program = Running::spawn(command);
        program.wait_ready();
        agrees(&program, &twin);
    }
}

fn agrees(program: &Running, twin: &Path) {
    let twin = twin.to_str().unwrap();
    let without = gospy(&["stack", "--all", "--system", "--pid", &pid(program)]).ok();
    let with = gospy(&["stack", "--all", "--system", "--pid", &pid(program), "--bin", twin]).ok();
    // C functions have names in one and not in the other.
    let go_frames = |text: &str| -> Vec<_> {
        let goroutines = by_id(text).into_values();
        goroutines.map(|g| (g.id, g.frames.into_iter().filter(|f| f.fp.is_some()).collect::<Vec<_>>())).collect()
    };
    let (without, with) = (go_frames(&without), go_frames(&with));
    assert!(without.len() > 40, "{}", without.len());
    assert_eq!(without, with);
    let seen = gospy(&["summary", "--json", "--pid", &pid(program), "--bin", twin]).json();
    let facts = seen["reading"]["provenance"].as_array().unwrap();
    let allgs = facts.iter().find(|fact| fact["name"] == "runtime.allgs").unwrap();
    assert_eq!(allgs["source"], ".symtab", "{allgs}");
    assert_eq!(seen["warnings"].to_string(), "[]");
}

/// Files that are no good on disk while the program that was started from them runs.
#[test]
fn damaged_executables_are_read_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let original = std::fs::read(Fixture::build("fx", "1.26.6", Mode::Default)).unwrap();
    let sections = usize::try_from(u64::from_le_bytes(original[40..48].try_into().unwrap())).unwrap();
    let loaded = end_of_segments(&original);
    let mut damages: Vec<(String, Vec<u8>)> = vec![
        ("no section table".into(), with(&original, 40, &[0; 8])),
        ("a section table behind the end".into(), with(&original, 40, &[0xff; 7])),
        ("an absurd number of sections".into(), with(&original, 60, &[0xff; 2])),
        ("sections of nonsense".into(), with(&original, sections + 64, &[0xa5; 640])),
        ("cut behind what is loaded".into(), original[..loaded].to_vec()),
        ("cut amid its symbols".into(), original[..usize::midpoint(loaded, original.len())].to_vec()),
        ("more behind the end".into(), [&original[..], &[0x5a; 5000]].concat()),
    ];
    // Everything that is not loaded can be anything.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for round in 0..20 {
        let mut bytes = original.clone();
        for _ in 0..1 << (round / 2) {
            let at = loaded + random(original.len() - loaded);
            bytes[at] = random(256).try_into().unwrap();
        }
        // The section table is where it hurts.
        for _ in 0..round {
            let at = sections + random(64 * 20);
            if let Some(byte) = bytes.get_mut(at).filter(|_| at >= loaded) {
                *byte = random(256).try_into().unwrap();
            }
        }
        damages.push((format!("round {round}"), bytes));
    }
    let mut read = 0;
    for (number, (what, bytes)) in damages.into_iter().enumerate() {
        let path = write_program(directory.path(), &number.to_string(), &bytes);
        let mut program = start(&path);
        let output = gospy(&["stack", "--all", "--pid", &pid(&program)]);
        if output.code() == 0 {
            read += 1;
            let own = program.ask("stack")["stack_text"].as_str().unwrap().to_owned();
            let (own, ours) = (by_id(&own), by_id(&output.stdout));
            assert_eq!(own.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{what}");
            for (id, own) in own.iter().filter(|(_, g)| g.state != "running") {
                assert_eq!(own.functions(), ours[id].functions(), "{what}");
            }
        } else {
            refused(&output, NOT_GO);
        }
        let _ = std::fs::remove_file(path);
    }
    assert!(read >= 20, "only {read} of them could be read");
}

fn with(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// The end in the file of the last segment that is loaded.
fn end_of_segments(elf: &[u8]) -> usize {
    let word = |at: usize| usize::try_from(u64::from_le_bytes(elf[at..at + 8].try_into().unwrap())).unwrap();
    let half = |at: usize| usize::from(u16::from_le_bytes(elf[at..at + 2].try_into().unwrap()));
    let headers = (0..half(56)).map(|i| word(32) + i * half(54));
    headers.filter(|at| elf[*at..*at + 4] == [1, 0, 0, 0]).map(|at| word(at + 8) + word(at + 32)).max().unwrap()
}

fn start(path: &Path) -> Running {
    let mut command = Command::new(path);
    command.arg("idle");
    let mut program = Running::spawn(command);
    program.wait_ready();
    program
}

#[test]
fn deleted_and_replaced_executables_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(Fixture::build("fx", "1.26.6", Mode::PieSw)).unwrap();
    let path = write_program(directory.path(), "fx", &bytes);
    let program = start(&path);
    std::fs::remove_file(&path).unwrap();
    assert!(gospy(&["stack", "--pid", &pid(&program)]).ok().contains("main.main"));
    write_program(directory.path(), "fx", &std::fs::read("/bin/sleep").unwrap());
    assert!(gospy(&["stack", "--pid", &pid(&program)]).ok().contains("main.main"));
}

/// A file that was overwritten where it is, as an installer that does not know better does.
#[test]
fn an_executable_that_was_emptied_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(Fixture::build("fx", "1.26.6", Mode::Sw)).unwrap();
    let path = write_program(directory.path(), "fx", &bytes);
    let program = start(&path);
    let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) else {
        // A kernel that forbids it while the program runs.
        return;
    };
    file.write_all_at(&vec![0; bytes.len()], 0).unwrap();
    refused(&gospy(&["stack", "--pid", &pid(&program)]), NOT_GO);
}

#[test]
fn a_closed_pipe_is_a_success() {
    let program = Fixture::start("fx", "1.26.6", Mode::Sw, &["many", "20000"]);
    for arguments in [&["stack", "--all"][..], &["stack", "--json"], &["summary", "--json"], &["stack", "--folded"]] {
        let mut gospy = Command::new(env!("CARGO_BIN_EXE_gospy"))
            .args(arguments)
            .args(["--pid", &pid(&program)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = Vec::new();
        BufReader::with_capacity(64, gospy.stdout.take().unwrap()).read_until(b'\n', &mut line).unwrap();
        // The reader is gone here.
        let mut message = String::new();
        gospy.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        let status = gospy.wait().unwrap();
        assert!(status.success() && message.is_empty(), "{arguments:?}: {status} {message:?}");
        assert!(!line.is_empty());
    }
}

#[test]
fn output_that_cannot_be_written_is_status_1() {
    let program = Fixture::start("fx", "1.26.6", Mode::Sw, &["states"]);
    for arguments in [&["stack", "--all"][..], &["stack", "--json"], &["summary"], &["summary", "--json"]] {
        let output = gospy_with(&[arguments, &["--pid", &pid(&program)]].concat(), |command| {
            // Standard output has to be a pipe for the harness, so a shell puts the device there.
            let words: Vec<String> =
                command.get_args().map(|argument| format!("'{}'", argument.to_str().unwrap())).collect();
            let line = format!("exec '{}' {} >/dev/full", env!("CARGO_BIN_EXE_gospy"), words.join(" "));
            *command = Command::new("sh");
            command.args(["-c", &line]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        });
        let message = refused(&output, ERROR);
        assert!(message.contains("No space left"), "{message}");
    }
    for file in ["/nonexistent/profile", "/dev/full", "/"] {
        let message = refused(&gospy(&["stack", "--pid", &pid(&program), "--pprof", file]), ERROR);
        assert!(message.contains(file), "{message}");
    }
}

#[test]
fn goroutines_that_are_not_there_are_status_1() {
    let mut program = Fixture::start("fx", "1.26.6", Mode::Sw, &["idle"]);
    let output = gospy(&["stack", "--pid", &pid(&program), "--goid", "123456789"]);
    assert_eq!(output.code(), ERROR);
    assert!(output.stderr.contains("123456789") && output.stderr.contains("highest id"), "{}", output.stderr);
    // Those that are there are shown all the same.
    let output = gospy(&["stack", "--pid", &pid(&program), "--goid", "123456789,1"]);
    assert_eq!(output.code(), ERROR);
    assert!(output.stdout.starts_with("goroutine 1 ["), "{}", output.stdout);
    assert!(program.ask("metrics")["memstats"].is_object());
}

/// Nothing is known of the heap of a version as old as this, which only `--strict` minds.
#[test]
fn an_incomplete_answer_is_status_6_where_that_is_asked_for() {
    let real = Real::start("esbuild-1.18");
    let target = real.running.pid().to_string();
    let output = gospy(&["summary", "--pid", &target]);
    assert_eq!(output.code(), 0, "{}", output.stderr);
    let output = gospy(&["summary", "--strict", "--pid", &target]);
    assert_eq!(output.code(), INCOMPLETE, "{}", output.stderr);
    assert!(!output.stdout.is_empty());
}
