//! What `doctor` and `ps` find out about running processes.

use std::sync::Arc;

use super::live::{not_opened, target};
use super::source::{Source, TargetSpec};
use super::{Exit, Failure};
use crate::analysis::Counts;
use crate::bytes::ByteSource;
use crate::capture::CaptureOptions;
use crate::capture::{self, OpenOptions, Session};
use crate::image::build_info::BuildInfo;
use crate::image::elf::{Elf, ElfKind};
use crate::model::{Provenance, Warnings};
use crate::process::TargetError;
use crate::process::access::Access;
use crate::process::live::LiveTarget;
use crate::process::proc_dir;
use crate::process::process_list::{ProcessEntry, ProcessList};
use crate::report::doctor::{Check, Doctor, Fact, Oddity, Program, Reading, Refusal};
use crate::report::json::SCHEMA_VERSION;
use crate::report::processes::{Process, Processes};

/// Sections that only Go programs have. Programs without any section are looked into instead.
const GO_SECTIONS: &[&str] = &[".go.buildinfo", ".gopclntab", ".data.rel.ro.gopclntab", ".note.go.buildid"];

/// Checks that say something without a process to look at.
const OF_MACHINE: &[&str] = &["own uid", "CAP_SYS_PTRACE", "kernel.yama.ptrace_scope", "seccomp mode", "container"];

/// Every fact about reading one process, or about this machine.
pub(super) fn doctor(wanted: Option<&TargetSpec>) -> Result<(Doctor, Exit), Failure> {
    let pid = wanted.and_then(TargetSpec::pid);
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let access = Access::of(pid.unwrap_or(own))?;
    let (kernel, machine) = kernel();
    let mut checks = access.checks;
    if pid.is_none() {
        // Ourselves we may always read; what counts is what decides about others.
        checks.retain(|check| OF_MACHINE.contains(&check.name));
        checks.iter_mut().for_each(|check| check.passed = None);
    }
    let mut report = Doctor {
        schema_version: SCHEMA_VERSION,
        gospy_version: env!("CARGO_PKG_VERSION"),
        kernel,
        machine,
        pid,
        file: wanted.and_then(|wanted| wanted.pid().is_none().then(|| wanted.name())),
        access: checks
            .into_iter()
            .map(|c| Check { name: c.name.to_owned(), passed: c.passed, value: c.value })
            .collect(),
        refusal: access.advice.map(|advice| Refusal { reason: advice.reason, remedy: advice.remedy }),
        ..Doctor::default()
    };
    let Some(wanted) = wanted else { return Ok((report, Exit::Done)) };
    let exit = match read(wanted, &mut report) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            report.problem = Some(failure.message().to_owned());
            failure.exit()
        }
    };
    Ok((report, exit))
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

fn read(wanted: &TargetSpec, report: &mut Doctor) -> Result<(), Failure> {
    let (target, bin) = target(wanted)?;
    let exe = target.process().exe.clone();
    // Looked at apart, so that it is told even when the runtime cannot be read.
    let found = capture::Program::find(target.as_ref(), bin.as_deref());
    let found = found.map_err(|error| not_opened(error.into(), wanted))?;
    report.program = Some(program(&found, exe));
    let options = OpenOptions { bin, thorough: true };
    let mut session = Session::open(target, &options).map_err(|error| not_opened(error, wanted))?;
    let runtime = session.runtime();
    report.facts = runtime.provenance.iter().map(fact).collect();
    report.warnings = oddities(&runtime.warnings);
    let snapshot = Source::capture(&mut session, &CaptureOptions { stacks: true, ..CaptureOptions::default() })?;
    let consistency = snapshot.reading.consistency;
    report.reading = Some(Reading {
        backend: snapshot.reading.backend,
        duration_ns: snapshot.reading.duration_ns,
        syscalls: snapshot.reading.syscalls,
        bytes: snapshot.reading.bytes,
        validated: consistency.validated,
        moving: consistency.moving,
        unreadable: consistency.unreadable,
        complete: snapshot.is_complete(),
    });
    report.warnings = oddities(&snapshot.warnings);
    Ok(())
}

fn program(found: &capture::Program, exe: String) -> Program {
    let info = found.build_info.as_ref();
    Program {
        exe,
        library: found.library.clone(),
        go_version: info.map(|info| info.go_version.clone()),
        arch: found.elf.arch().name(),
        build_id: found.elf.go_build_id(),
        module: info.and_then(module_of).map(|(path, version)| format!("{path} {version}").trim_end().to_owned()),
        settings: info
            .map(|info| info.settings.iter().map(|(key, value)| format!("{key}={value}")).collect())
            .unwrap_or_default(),
        position_independent: found.elf.kind() == ElfKind::SharedObject,
        load_bias: format!("{:#x}", found.bias.0),
        symtab: found.elf.section(".symtab").is_some(),
        dwarf: has_dwarf(&found.elf),
        pclntab: format!("{:#x}", found.pclntab.header().addr.0),
        symbol_file: found.symbol_file.as_ref().map(|file| file.path.display().to_string()),
    }
}

fn has_dwarf(elf: &Elf) -> bool {
    elf.section(".debug_info").is_some() || elf.section(".zdebug_info").is_some()
}

fn module_of(info: &BuildInfo) -> Option<(String, String)> {
    let path = info.main_path.clone().or_else(|| info.package_path.clone())?;
    Some((path, info.main_version.clone().unwrap_or_default()))
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

/// Every Go program that can be seen.
pub(super) fn processes() -> Result<Processes, Failure> {
    proc_dir::usable().map_err(TargetError::from)?;
    let list = ProcessList::new()
        .map_err(|error| Failure::new(Exit::Error, format!("/proc cannot be read: {error}; is it mounted?")))?;
    let mut all =
        Processes { schema_version: SCHEMA_VERSION, gospy_version: env!("CARGO_PKG_VERSION"), ..Processes::default() };
    for entry in list.filter(|entry| !entry.kernel_thread && entry.state != 'Z') {
        match entry.executable() {
            Ok(bytes) => {
                let pid = entry.pid;
                let Some((process, refused)) = go_process(entry, bytes) else { continue };
                all.processes.push(process);
                all.refused = all.refused.or(refused.then_some(pid));
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                all.hidden += 1;
                all.refused = all.refused.or(Some(entry.pid));
            }
            // It has ended.
            Err(_) => {}
        }
    }
    Ok(all)
}

/// The entry of a Go program, and whether it may not be read; `None` for any other.
fn go_process(entry: ProcessEntry, bytes: Arc<dyn ByteSource>) -> Option<(Process, bool)> {
    let elf = Elf::parse(bytes).ok()?;
    if !elf.sections().is_empty() && GO_SECTIONS.iter().all(|name| elf.section(name).is_none()) {
        return None;
    }
    let info = BuildInfo::find(&elf).ok().flatten();
    if info.is_none() && elf.sections().is_empty() {
        return None;
    }
    let (goroutines, unreadable, refused) = match goroutines(entry.pid) {
        Ok(count) => (Some(count), None, false),
        Err(failure) => (None, Some(failure.message().to_owned()), failure.exit() == Exit::Permission),
    };
    let module = info.as_ref().and_then(module_of);
    let process = Process {
        pid: entry.pid,
        uid: entry.uid,
        user: entry.user,
        go_version: info.map(|info| info.go_version),
        version: module.as_ref().map(|(_, version)| version.clone()).filter(|version| !version.is_empty()),
        module: module.map(|(path, _)| path),
        stripped: elf.section(".symtab").is_none() && !has_dwarf(&elf),
        threads: entry.threads,
        goroutines,
        unreadable,
        exe: entry.exe,
        exe_deleted: entry.exe_deleted,
        cmdline: entry.cmdline,
    };
    Some((process, refused))
}

fn goroutines(pid: i32) -> Result<u64, Failure> {
    let target = LiveTarget::open(pid)?;
    let mut session = Session::open(Box::new(target), &OpenOptions::default())
        .map_err(|e| not_opened(e, &TargetSpec::process(pid, None)))?;
    let snapshot = Source::capture(&mut session, &CaptureOptions::default())?;
    Ok(Counts::of(&snapshot).total)
}
