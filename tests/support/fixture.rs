//! The programs under `fixtures/`: which there are, building and starting them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::Running;

/// Every Go release that the fixtures are built with, oldest first.
pub const VERSIONS: [&str; 8] = ["1.19", "1.21.13", "1.22.10", "1.23.9", "1.24.11", "1.25.5", "1.26.6", "1.27.3"];

/// How a fixture is linked, and what is left in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Symbols and DWARF, no C.
    Default,
    /// No DWARF (`-w`).
    W,
    /// Neither symbols nor DWARF (`-s -w`).
    Sw,
    Pie,
    PieSw,
    /// With C code, linked by the system's linker.
    Cgo,
    CgoSw,
    CgoStatic,
    CgoPieSw,
    Race,
    /// With `GOEXPERIMENT=arenas` (Go 1.20 on).
    Arenas,
    /// With `GOEXPERIMENT=goroutineleakprofile` (Go 1.26; later versions need none).
    LeakProfile,
    /// With `GOEXPERIMENT=greenteagc` (Go 1.25; later versions have it by default).
    GreenTea,
    /// With `GOEXPERIMENT=nogreenteagc` (Go 1.26 on).
    NoGreenTea,
}

impl Mode {
    /// Those that every version has.
    pub const ALL: [Mode; 10] = [
        Mode::Default,
        Mode::W,
        Mode::Sw,
        Mode::Pie,
        Mode::PieSw,
        Mode::Cgo,
        Mode::CgoSw,
        Mode::CgoStatic,
        Mode::CgoPieSw,
        Mode::Race,
    ];

    /// The name that `fixtures/build` takes.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Default => "default",
            Mode::W => "w",
            Mode::Sw => "sw",
            Mode::Pie => "pie",
            Mode::PieSw => "pie-sw",
            Mode::Cgo => "cgo",
            Mode::CgoSw => "cgo-sw",
            Mode::CgoStatic => "cgo-static",
            Mode::CgoPieSw => "cgo-pie-sw",
            Mode::Race => "race",
            Mode::Arenas => "arenas",
            Mode::LeakProfile => "leakprofile",
            Mode::GreenTea => "greentea",
            Mode::NoGreenTea => "nogreentea",
        }
    }

    /// Whether the program contains C code, and so the goroutines that are in it.
    pub fn has_c(self) -> bool {
        matches!(self, Mode::Cgo | Mode::CgoSw | Mode::CgoStatic | Mode::CgoPieSw | Mode::Race)
    }

    pub fn has_dwarf(self) -> bool {
        matches!(self, Mode::Default | Mode::Pie | Mode::Cgo | Mode::CgoStatic | Mode::Race)
    }
}

/// A fixture that is built and about to be started: `Fixture::new(..).env(..).run(&[..])`.
pub struct Fixture {
    command: Command,
}

impl Fixture {
    pub fn new(program: &str, version: &str, mode: Mode) -> Fixture {
        Fixture::of(&Fixture::build(program, version, mode))
    }

    /// A program that is there already.
    pub fn of(path: &Path) -> Fixture {
        Fixture { command: Command::new(path) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        Path::new(self.command.get_program())
    }

    /// Sets a variable for the program: `GOTRACEBACK`, `GOMAXPROCS`, `GODEBUG` and such.
    pub fn env(mut self, name: &str, value: &str) -> Fixture {
        self.command.env(name, value);
        self
    }

    /// Starts the program and waits until it is ready.
    pub fn run(mut self, args: &[&str]) -> Running {
        self.command.args(args);
        let mut running = Running::spawn(self.command);
        running.wait_ready();
        running
    }

    /// Builds, starts and waits until it is ready.
    pub fn start(program: &str, version: &str, mode: Mode, args: &[&str]) -> Running {
        Fixture::new(program, version, mode).run(args)
    }

    /// The path of the built program; it is built only if that was not done before.
    pub fn build(program: &str, version: &str, mode: Mode) -> PathBuf {
        script("build", &[program, version, mode.name()])
    }

    /// A stripped copy of a program, in a directory that goes away with it, and the one that it is of.
    pub fn stripped(program: &str, version: &str) -> (TempDir, PathBuf, PathBuf) {
        let (whole, directory) = (Fixture::build(program, version, Mode::Default), tempfile::tempdir().unwrap());
        let stripped = directory.path().join(program);
        assert!(Command::new("strip").arg("-o").arg(&stripped).arg(&whole).status().unwrap().success());
        (directory, stripped, whole)
    }

    /// A program for arm64, to be read as a file: nothing here can run it.
    pub fn build_arm64(program: &str, version: &str, mode: Mode) -> PathBuf {
        script("build", &[program, version, mode.name(), "arm64"])
    }
}

/// The directory of the programs and of the scripts that build them.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Runs one of the scripts of `fixtures/`, which print a path.
pub fn script(name: &str, args: &[&str]) -> PathBuf {
    let path = fixtures().join(name);
    let output = Command::new(&path)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", path.display()));
    assert!(
        output.status.success(),
        "fixtures/{name} {} failed:\n{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(printed.trim_end_matches('\n'))
}
