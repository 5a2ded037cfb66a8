//! Programs for arm64, under QEMU's user-mode emulation.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::core_dump::with_core_limit;
use super::process::Running;
use super::tools::need;

/// A program that died, with its core file.
pub struct Dead {
    /// QEMU's core file of the program; QEMU dies too, and leaves one of its own.
    pub core: PathBuf,
    /// What it said as it died: with `GOTRACEBACK=crash` all its stacks.
    pub said: String,
}

/// QEMU's user mode stands still for good now and then, when a program with many threads starts or dies: one
/// start in some hundreds on a busy machine. That is not what is tested here.
const ATTEMPTS: usize = 4;
/// A start takes a second or two.
const WITHIN: Duration = Duration::from_secs(45);

/// Starts an arm64 program in `dir`, and has it die of SIGQUIT when it is ready.
pub fn die(program: &Path, dir: &Path, args: &[&str]) -> Dead {
    in_some_attempt(program, dir, args, |running| {
        if !running.is_ready_within(WITHIN) {
            return;
        }
        // It may not be done with saying so.
        running.wait_until_it_reads();
        running.signal(Signal::SIGQUIT);
    })
}

/// Starts an arm64 program in `dir` that dies by itself, maybe before it has said that it is ready.
pub fn die_by_itself(program: &Path, dir: &Path, args: &[&str]) -> Dead {
    in_some_attempt(program, dir, args, |_| ())
}

fn in_some_attempt(program: &Path, dir: &Path, args: &[&str], kill: impl Fn(&mut Running)) -> Dead {
    for attempt in 1..=ATTEMPTS {
        let mut command = with_core_limit(&need("qemu-aarch64", "qemu-user"), dir);
        command.arg(program).args(args).env("GOTRACEBACK", "crash");
        let mut running = Running::spawn(command);
        kill(&mut running);
        if running.has_ended_within(WITHIN) {
            return dead(running, dir);
        }
        println!("{}: QEMU stands still (attempt {attempt})", program.display());
        drop(running);
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "core") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    panic!("QEMU stood still in {ATTEMPTS} attempts of {ATTEMPTS}");
}

fn dead(running: Running, dir: &Path) -> Dead {
    let (status, said) = running.wait();
    assert!(status.signal().is_some(), "the program has to die of a signal: {status}\n{said}");
    let mut cores: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    cores.retain(|path| {
        path.file_name().unwrap().to_string_lossy().starts_with("qemu_")
            && path.extension().is_some_and(|e| e == "core")
    });
    assert_eq!(cores.len(), 1, "{cores:?}\n{said}");
    Dead { core: cores.remove(0), said }
}
