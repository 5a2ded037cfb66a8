//! What gdb and Delve make of the core file that is inside of a capture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::compare::by_id;
use crate::support::fixture::script;
use crate::support::{Fixture, Mode, Running, VERSIONS, gospy, need};

/// A program, a capture of it with all threads stopped, and the core file out of that.
struct Captured {
    binary: PathBuf,
    capture: PathBuf,
    core: PathBuf,
    /// By the kernel: stack pointer and program counter of threads that did not move meanwhile.
    blocked: BTreeMap<i32, (u64, u64)>,
    _directory: tempfile::TempDir,
    _running: Running,
}

impl Captured {
    fn new(version: &str) -> Captured {
        let directory = tempfile::tempdir().unwrap();
        let binary = Fixture::build("fx", version, Mode::Default);
        let running = Fixture::start("fx", version, Mode::Default, &["states", "1", "-busy", "1"]);
        let (capture, core) = (directory.path().join("capture"), directory.path().join("core"));
        let before = blocked(running.pid());
        let pid = running.pid().to_string();
        gospy(&["capture", "--pid", &pid, "--freeze=all", "-o", capture.to_str().unwrap()]).ok();
        let after = blocked(running.pid());
        uncompress(&capture, &core);
        let blocked = before.into_iter().filter(|(tid, place)| after.get(tid) == Some(place));
        let blocked = blocked.collect();
        Captured { binary, capture, core, blocked, _directory: directory, _running: running }
    }
}

fn uncompress(capture: &Path, core: &Path) {
    gospy(&["capture", "--from", capture.to_str().unwrap(), "--uncompressed", "-o", core.to_str().unwrap()]).ok();
}

/// Threads that wait in the kernel: `/proc/PID/task/TID/syscall` ends in their stack pointer and program
/// counter.
fn blocked(pid: i32) -> BTreeMap<i32, (u64, u64)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap());
    let place = |tid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        let [.., sp, pc] = words[..] else { return None };
        Some((tid, (hex(sp)?, hex(pc)?)))
    };
    tasks.filter_map(|task| place(task.file_name().to_str()?.parse().ok()?)).collect()
}

fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{}: {all}", output.status);
    all
}

fn gdb(binary: &Path, core: &Path, commands: &[&str]) -> String {
    let mut command = Command::new(need("gdb", "gdb"));
    command.args(["-q", "-nx", "-batch"]);
    for one in commands {
        command.args(["-ex", one]);
    }
    said(command.arg(binary).arg(core))
}

fn delve(captured: &Captured, commands: &[&str]) -> String {
    let script_file = captured.core.with_extension("commands");
    std::fs::write(&script_file, commands.join("\n") + "\nexit\n").unwrap();
    let mut command = Command::new(script("delve", &[]));
    // It keeps its history and settings there.
    command.env("HOME", captured.core.parent().unwrap()).env_remove("XDG_CONFIG_HOME");
    command.arg("core").arg(&captured.binary).arg(&captured.core);
    command.args(["--allow-non-terminal-interactive=true", "--init"]).arg(&script_file);
    said(&mut command)
}

/// The registers of each thread by gdb: stack pointer and program counter.
fn registers(binary: &Path, core: &Path) -> BTreeMap<i32, (u64, u64)> {
    let text = gdb(binary, core, &["thread apply all printf \"=%lx %lx\\n\", $sp, $pc"]);
    let mut found = BTreeMap::new();
    let mut thread = None;
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("(LWP ") {
            thread = rest.split(')').next().and_then(|tid| tid.parse().ok());
        } else if let (Some(tid), Some((sp, pc))) =
            (thread, line.strip_prefix('=').and_then(|rest| rest.split_once(' ')))
        {
            let hex = |word: &str| u64::from_str_radix(word.trim(), 16).unwrap();
            found.insert(tid, (hex(sp), hex(pc)));
        }
    }
    found
}

#[test]
fn a_capture_of_a_capture_has_the_registers() {
    // A thread that is blocked at one place before and after may have been elsewhere when it was stopped.
    let captures = (0..4).map(|_| {
        let captured = Captured::new("1.26.6");
        let found = registers(&captured.binary, &captured.core);
        (captured, found)
    });
    let agree = |(captured, found): &(Captured, BTreeMap<i32, (u64, u64)>)| {
        captured.blocked.iter().all(|(tid, place)| found.get(tid) == Some(place))
    };
    let mut last = None;
    for capture in captures {
        let done = agree(&capture);
        last = Some(capture);
        if done {
            break;
        }
    }
    let (captured, found) = last.unwrap();
    println!("{} threads, {} of them blocked all the time", found.len(), captured.blocked.len());
    assert!(captured.blocked.len() >= 3, "{:?}", captured.blocked);
    for (tid, place) in &captured.blocked {
        assert_eq!(found.get(tid), Some(place), "thread {tid}: by gdb, and by the kernel");
    }
    assert!(found.values().all(|(sp, pc)| *sp != 0 && *pc != 0), "{found:x?}");
    // However often it is copied.
    let (again, core) = (captured.core.with_extension("again"), captured.core.with_extension("core2"));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    gospy(&["capture", "--from", &path(&captured.core), "-o", &path(&again)]).ok();
    uncompress(&again, &core);
    assert_eq!(registers(&captured.binary, &core), found);
    assert_eq!(
        gospy(&["stack", "--json", "--from", &path(&again)]).json()["goroutines"],
        gospy(&["stack", "--json", "--from", &path(&captured.capture)]).json()["goroutines"],
    );
}

#[test]
fn gdb_reads_threads_and_memory() {
    let captured = Captured::new("1.26.6");
    let text = gdb(
        &captured.binary,
        &captured.core,
        &["info threads", "print 'runtime.allglen'", "maintenance info sections"],
    );
    for tid in captured.blocked.keys() {
        assert!(text.contains(&format!("LWP {tid}")), "{text}");
    }
    // Notes of the types 1 to 3 are taken for registers, whoever's they are.
    assert!(!text.contains(".reg2"), "{text}");
    assert!(text.contains(".reg/") && text.contains(".auxv"), "{text}");
    let all = text.lines().find_map(|line| line.strip_prefix("$1 = ")).unwrap().parse::<usize>().unwrap();
    let goroutines = gospy(&["summary", "--json", "--from", captured.core.to_str().unwrap()]).json();
    let counted =
        goroutines["goroutines"]["total"].as_u64().unwrap() + goroutines["goroutines"]["dead"].as_u64().unwrap();
    assert_eq!(all as u64, counted);
}

/// The thread that executes `runtime.sysmon`, by gdb.
#[test]
fn sysmon_is_where_gdb_finds_it() {
    for (version, mode) in [("1.19", Mode::Default), ("1.26.6", Mode::Cgo), ("1.27.3", Mode::Default)] {
        let binary = Fixture::build("fx", version, mode);
        let running = Fixture::start("fx", version, mode, &["states", "1"]);
        let json = gospy(&["summary", "--json", "--pid", &running.pid().to_string()]).json();
        let threads = json["threads"].as_array().unwrap();
        let found: Vec<i64> = threads
            .iter()
            .filter(|m| m["sysmon"].as_bool().unwrap())
            .map(|m| m["thread_id"].as_i64().unwrap())
            .collect();
        let mut command = Command::new(need("gdb", "gdb"));
        command.args(["-q", "-nx", "-batch", "-ex", "thread apply all backtrace 20", "-p"]);
        let text = said(command.arg(running.pid().to_string()).arg(&binary));
        let mut thread = 0;
        let mut wanted = Vec::new();
        for line in text.lines() {
            if let Some((_, rest)) = line.split_once("(LWP ").filter(|_| line.starts_with("Thread ")) {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                thread = digits.parse::<i64>().unwrap();
            } else if line.contains("runtime.sysmon") {
                wanted.push(thread);
            }
        }
        assert_eq!(found, wanted, "{version}: {text}");
        assert_eq!(wanted.len(), 1, "{version}: {text}");
    }
}

/// Delve reads the runtime by itself: its goroutines and where they are have to be those of gospy.
#[test]
fn delve_lists_the_same_goroutines() {
    for version in [VERSIONS[6], VERSIONS[7]] {
        let captured = Captured::new(version);
        let text = delve(&captured, &["threads", "goroutines -r", "print runtime.allglen"]);
        for tid in captured.blocked.keys() {
            assert!(text.contains(&format!("Thread {tid} at ")), "{version}: {text}");
        }
        let ours = gospy(&["stack", "--all", "--system", "--from", captured.core.to_str().unwrap()]).ok();
        let ours = by_id(&ours);
        let mut theirs = BTreeSet::new();
        let mut compared = 0;
        for line in text.lines() {
            let Some((id, place)) = line
                .trim_start_matches(['*', ' '])
                .strip_prefix("Goroutine ")
                .and_then(|rest| rest.split_once(" - Runtime: "))
            else {
                continue;
            };
            let id: u64 = id.parse().unwrap();
            theirs.insert(id);
            let goroutine = ours.get(&id).unwrap_or_else(|| panic!("{version}: gospy has no goroutine {id}: {line}"));
            // What runs is shown by the registers of its thread, which may be on another stack.
            if matches!(goroutine.state.as_str(), "running" | "syscall" | "runnable") {
                continue;
            }
            let (_, function) = place.split(" (0x").next().unwrap().split_once(' ').unwrap();
            assert_eq!(function, goroutine.frames[0].function, "{version}: goroutine {id}: {line}");
            compared += 1;
        }
        assert_eq!(theirs, ours.keys().copied().collect(), "{version}: {text}");
        println!("{version}: {} goroutines, the places of {compared} compared", theirs.len());
        assert!(compared > 30, "{version}: {text}");
    }
}

/// The types of gospy's own notes in a core file, by a reader of this test's own.
fn types_of_own_notes(core: &[u8]) -> BTreeSet<u32> {
    let word = |at: usize| u64::from_le_bytes(core[at..at + 8].try_into().unwrap()) as usize;
    let half = |at: usize| u32::from_le_bytes(core[at..at + 4].try_into().unwrap());
    // The first program header is that of the notes.
    assert_eq!(half(64), 4);
    let (mut at, end) = (word(64 + 8), word(64 + 8) + word(64 + 32));
    let mut types = BTreeSet::new();
    while at < end {
        let (name, desc) = (half(at) as usize, half(at + 4) as usize);
        if core[at + 12..].starts_with(b"GOSPY\0") {
            types.insert(half(at + 8));
        }
        at += 12 + name.next_multiple_of(4) + desc.next_multiple_of(4);
    }
    types
}

#[test]
fn captures_of_version_1_are_read_and_become_newer_ones() {
    let directory = tempfile::tempdir().unwrap();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures/tiny-1.26.6-amd64.capture");
    assert_eq!(std::fs::read(&old).unwrap()[8], 1, "these captures are to be of version 1");
    let (new, core) = (directory.path().join("new"), directory.path().join("core"));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    gospy(&["capture", "--from", &path(&old), "-o", &path(&new)]).ok();
    assert_eq!(std::fs::read(&new).unwrap()[8], 2);
    uncompress(&new, &core);
    let types = types_of_own_notes(&std::fs::read(&core).unwrap());
    assert_eq!(types.into_iter().collect::<Vec<_>>(), [0x4753_0001, 0x4753_0002, 0x4753_0003]);
    let stacks = |file: &Path| gospy(&["stack", "--all", "--system", "--from", &path(file)]).ok();
    assert_eq!(stacks(&old), stacks(&new));
    assert_eq!(stacks(&old), stacks(&core));
}
