//! Bad input, as in the suite: what takes other programs, other users or other kernels.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::compare::by_id;
use crate::support::process::Killed;
use crate::support::real::Real;
use crate::support::refusal::{ERROR, INCOMPLETE, NOT_GO, PERMISSION, refused};
use crate::support::{Fixture, Mode, Running, VERSIONS, gospy, gospy_with, write_program};
use nix::unistd::{Uid, geteuid};

fn pid(program: &Running) -> String {
    program.pid().to_string()
}

/// A kernel thread: a child of kthreadd, where this machine lets one see it.
#[test]
fn kernel_threads_are_status_5() {
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

#[test]
fn programs_of_32_bits_are_status_5() {
    let directory = tempfile::tempdir().unwrap();
    let path = program_of_32_bits(directory.path());
    match Command::new(&path).spawn() {
        Ok(child) => {
            let program = Killed(child);
            let message = refused(&gospy(&["summary", "--pid", &program.0.id().to_string()]), NOT_GO);
            assert!(message.contains("32-bit"), "{message}");
        }
        Err(error) => println!("this kernel does not run programs of 32 bits: {error}"),
    }
    let program = Fixture::start("tiny", "1.26.6", Mode::Sw, &[]);
    let output = gospy(&["summary", "--pid", &pid(&program), "--bin", path.to_str().unwrap()]);
    assert!(refused(&output, ERROR).contains("32-bit"));
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
            let mut program = Fixture::start("fx", version, stripped, &["states"]);
            program.settle();
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
        program.settle();
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
        let mut program = Fixture::of(&path).run(&["idle"]);
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
