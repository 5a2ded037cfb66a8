//! What reading a program depends on, what was found of it and how, and what is missing.
//!
//! Access is tried check by check, the program is looked at apart from its runtime, and every fact
//! names its source, so that as much as possible is known of what cannot be read. Nothing is printed
//! here, and nothing is written into the program.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use crate::capture::{self, CaptureOptions, OpenOptions, Session, SourceError};
use crate::image::elf::ElfKind;
use crate::model::{Provenance, Warnings};
use crate::process::access::Access;
use crate::process::{Target, TargetError};

/// Checks that say something without a process to look at.
const OF_MACHINE: &[&str] = &["own uid", "CAP_SYS_PTRACE", "kernel.yama.ptrace_scope", "seccomp mode", "container"];

/// Everything that it found out.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Doctor {
    /// Kernel and its release.
    pub kernel: String,
    /// The machine, as the kernel calls it.
    pub machine: String,
    /// The process that was looked at; null for a file or this machine alone.
    pub pid: Option<i32>,
    /// The capture or core file that was looked at; null for a process or this machine alone.
    pub file: Option<String>,
    /// What reading depends on.
    pub access: Vec<Check>,
    /// What `gospy serve` would have in effect here; empty where a process or a file was looked at.
    pub serve: Vec<Check>,
    /// Why it is refused and what to do; null where it is not.
    pub refusal: Option<Refusal>,
    /// The program; null where it did not come to that.
    pub program: Option<Program>,
    /// Where each fact came from, in the order in which they were worked out.
    pub facts: Vec<Fact>,
    /// One reading; null where it did not come to that.
    pub reading: Option<Reading>,
    /// Warnings.
    pub warnings: Vec<Oddity>,
    /// Why it cannot be read; null where it can.
    pub problem: Option<String>,
}

/// One check.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is as reading wants it; null for what decides nothing by itself.
    pub passed: Option<bool>,
    /// What was found.
    pub value: String,
}

/// Why reading is refused.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Refusal {
    /// The check that failed, and on what.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// The program.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Program {
    /// Path of the executable.
    pub exe: String,
    /// The library that holds the Go program, when it is not the executable.
    pub library: Option<String>,
    /// Version of Go.
    pub go_version: Option<String>,
    /// GOARCH.
    pub arch: &'static str,
    /// Go's build id.
    pub build_id: Option<String>,
    /// Main module and its version.
    pub module: Option<String>,
    /// Build settings.
    pub settings: Vec<String>,
    /// Whether it can be loaded anywhere.
    pub position_independent: bool,
    /// What was added to its addresses, `0x…`.
    pub load_bias: String,
    /// Whether it has a symbol table.
    pub symtab: bool,
    /// Whether it has DWARF.
    pub dwarf: bool,
    /// Where its function table is, `0x…` as linked.
    pub pclntab: String,
    /// The file that `--bin` named.
    pub symbol_file: Option<String>,
}

/// Where a fact came from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Fact {
    /// The fact.
    pub name: String,
    /// Its source.
    pub source: String,
    /// What agrees with it.
    pub cross_checks: Vec<String>,
}

/// A reading.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Reading {
    /// How memory was read. Open enumeration.
    pub backend: &'static str,
    /// How long it took, ns.
    pub duration_ns: u64,
    /// System calls.
    pub syscalls: u64,
    /// Bytes.
    pub bytes: u64,
    /// Goroutines that were read and validated.
    pub validated: u64,
    /// Goroutines that changed on every try.
    pub moving: u64,
    /// Goroutines that could not be read.
    pub unreadable: u64,
    /// Whether everything that was asked for was found.
    pub complete: bool,
}

/// A warning.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Oddity {
    /// A stable code. Open enumeration.
    pub code: &'static str,
    /// The first of its kind.
    pub message: String,
    /// How often.
    pub count: u64,
}

impl Doctor {
    /// What this machine and the rights of this user allow.
    ///
    /// # Errors
    /// When there is no `/proc` to look into.
    pub fn of_machine() -> Result<Self, TargetError> {
        let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        let mut access = Access::of(own)?;
        // Ourselves we may always read; what counts is what decides about others.
        access.checks.retain(|check| OF_MACHINE.contains(&check.name));
        access.checks.iter_mut().for_each(|check| check.passed = None);
        Ok(Self::of_access(access))
    }

    /// What decides whether process `pid` can be read.
    ///
    /// # Errors
    /// When there is no such process, or no `/proc` to look into.
    pub fn of_process(pid: i32) -> Result<Self, TargetError> {
        Ok(Self { pid: Some(pid), ..Self::of_access(Access::of(pid)?) })
    }

    /// The start of a report about a file.
    ///
    /// # Errors
    /// When there is no `/proc` to look into.
    pub fn of_file(name: String) -> Result<Self, TargetError> {
        Ok(Self { file: Some(name), ..Self::of_machine()? })
    }

    fn of_access(access: Access) -> Self {
        let (kernel, machine) = kernel();
        let check =
            |c: crate::process::access::Check| Check { name: c.name.to_owned(), passed: c.passed, value: c.value };
        Self {
            kernel,
            machine,
            access: access.checks.into_iter().map(check).collect(),
            refusal: access.advice.map(|advice| Refusal { reason: advice.reason, remedy: advice.remedy }),
            ..Self::default()
        }
    }

    /// Reads the program, with every cross-check that there is, and adds what was found. What was found
    /// before an error stays.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&mut self, target: Box<dyn Target>, bin: Option<PathBuf>) -> Result<(), SourceError> {
        let exe = target.process().exe.clone();
        // Looked at apart, so that it is reported even when the runtime cannot be read.
        let found = crate::runtime::program::Program::find(target.as_ref(), bin.as_deref())
            .map_err(|error| SourceError::Open(capture::OpenError::Program(error)))?;
        self.program = Some(program(&found, exe));
        let mut session = Session::open(target, &OpenOptions { bin, thorough: true })?;
        let runtime = session.runtime();
        self.facts = runtime.provenance.iter().map(fact).collect();
        self.warnings = oddities(&runtime.warnings);
        let snapshot = session.capture(&CaptureOptions { stacks: true, ..CaptureOptions::default() })?;
        let consistency = snapshot.reading.consistency;
        self.reading = Some(Reading {
            backend: snapshot.reading.backend,
            duration_ns: snapshot.reading.duration_ns,
            syscalls: snapshot.reading.syscalls,
            bytes: snapshot.reading.bytes,
            validated: consistency.validated,
            moving: consistency.moving,
            unreadable: consistency.unreadable,
            complete: snapshot.is_complete(),
        });
        self.warnings = oddities(&snapshot.warnings);
        Ok(())
    }
}

fn kernel() -> (String, String) {
    match nix::sys::utsname::uname() {
        Ok(name) => {
            let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
            (format!("{} {}", text(name.sysname()), text(name.release())), text(name.machine()))
        }
        Err(error) => (format!("an unknown kernel ({error})"), std::env::consts::ARCH.to_owned()),
    }
}

fn program(found: &crate::runtime::program::Program, exe: String) -> Program {
    let info = found.build_info.as_ref();
    Program {
        exe,
        library: found.library.clone(),
        go_version: info.map(|info| info.go_version.clone()),
        arch: found.elf.arch().name(),
        build_id: found.elf.go_build_id(),
        module: info
            .and_then(super::module_of)
            .map(|(path, version)| format!("{path} {version}").trim_end().to_owned()),
        settings: info
            .map(|info| info.settings.iter().map(|(key, value)| format!("{key}={value}")).collect())
            .unwrap_or_default(),
        position_independent: found.elf.kind() == ElfKind::SharedObject,
        load_bias: format!("{:#x}", found.bias.0),
        symtab: found.elf.section(".symtab").is_some(),
        dwarf: super::has_dwarf(&found.elf),
        pclntab: format!("{:#x}", found.pclntab.header().addr.0),
        symbol_file: found.symbol_file.as_ref().map(|file| file.path.display().to_string()),
    }
}

fn fact(provenance: &Provenance) -> Fact {
    Fact {
        name: provenance.name.clone(),
        source: provenance.source.clone(),
        cross_checks: provenance.cross_checks.clone(),
    }
}

fn oddities(warnings: &Warnings) -> Vec<Oddity> {
    let oddity = |w: &crate::model::Warning| Oddity { code: w.code.name(), message: w.message.clone(), count: w.count };
    warnings.iter().map(oddity).collect()
}
