//! Where the runtime's variables are, found without symbols, against what the linker wrote of the
//! same program with symbols.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::support::fixture::script;
use crate::support::{Fixture, Mode, VERSIONS};
use gospy::capture::{OpenOptions, Session};
use gospy::process::live::LiveTarget;
use gospy::testing::Elf;
use gospy::testing::{Global, SymbolSource};
use gospy::testing::{LayoutSource, LayoutTable};

/// `go tool nm`: the addresses of the wanted variables.
fn linked(version: &str, mode: Mode) -> BTreeMap<&'static str, u64> {
    let goroot = script("toolchain", &[version]);
    let program = Fixture::build("fx", version, mode);
    let out = Command::new(goroot.join("bin/go")).args(["tool", "nm"]).arg(&program).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut found = BTreeMap::new();
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [addr, _, name] = fields.as_slice() else { continue };
        if let Some(global) = Global::ALL.into_iter().find(|global| global.name() == *name) {
            found.insert(global.name(), u64::from_str_radix(addr, 16).unwrap());
        }
    }
    assert_eq!(found.len(), Global::ALL.len(), "{} has all of them", program.display());
    found
}

/// The mode with symbols of which `mode` is the same program without.
fn twin(mode: Mode) -> Option<Mode> {
    match mode {
        Mode::Sw => Some(Mode::Default),
        Mode::PieSw => Some(Mode::Pie),
        Mode::CgoSw => Some(Mode::Cgo),
        Mode::CgoPieSw | Mode::Arenas | Mode::LeakProfile | Mode::GreenTea | Mode::NoGreenTea => None,
        Mode::Default | Mode::W | Mode::Pie | Mode::Cgo | Mode::CgoStatic | Mode::Race => Some(mode),
    }
}

fn open(pid: i32, thorough: bool, what: &str) -> Session {
    let target = LiveTarget::open(pid).unwrap();
    let session = Session::open(Box::new(target), &OpenOptions { bin: None, thorough });
    session.unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn check(version: &str, mode: Mode) -> Vec<String> {
    let what = format!("{version} {}", mode.name());
    let mut wrong = Vec::new();
    let scanned = [Global::Allgs, Global::Sched];
    let running = Fixture::start("fx", version, mode, &["states"]);
    let toolchain_version = toolchain_version(version);
    let expected = twin(mode).map(|twin| linked(version, twin));
    for thorough in [false, true] {
        let session = open(running.pid(), thorough, &what);
        let runtime = session.runtime();
        for global in Global::ALL {
            let Some(found) = runtime.symbols.get(global) else {
                wrong.push(format!("{what}: {} was not found", global.name()));
                continue;
            };
            if let Some(expected) = &expected
                && found.addr.0 != expected[global.name()]
            {
                wrong.push(format!(
                    "{what}: {} is at {:#x}, not at {} as the {} says",
                    global.name(),
                    expected[global.name()],
                    found.addr,
                    found.source
                ));
            }
            let named = matches!(found.source, SymbolSource::Symtab | SymbolSource::Dwarf);
            let by_code = |text: &str| text.starts_with("code of ");
            if named && !found.cross_checks.iter().any(|check| by_code(check)) {
                wrong.push(format!("{what}: {} was not found by code", global.name()));
            }
        }
        // While the program grows its list, and while its collector marks, the data hold two of it.
        let not_scanned = |session: &Session| -> Vec<&str> {
            let by_data = |text: &String| text.starts_with("search of the data");
            let found = |g: &&Global| {
                session.runtime().symbols.get(**g).is_some_and(|located| located.cross_checks.iter().any(by_data))
            };
            scanned.iter().filter(|g| !found(g)).map(|g| g.name()).collect()
        };
        if thorough {
            let mut missing = not_scanned(&session);
            for _ in 0..40 {
                if !missing.is_empty() {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    missing = not_scanned(&open(running.pid(), true, &what));
                }
            }
            for name in missing {
                wrong.push(format!("{what}: {name} was not found in the data"));
            }
        }
        for warning in &runtime.warnings {
            wrong.push(format!("{what}: warning {}: {}", warning.code.name(), warning.message));
        }
        let expected_source = if thorough && mode.has_dwarf() { "DWARF" } else { "table" };
        let source = match runtime.layout_source {
            LayoutSource::Dwarf => "DWARF",
            LayoutSource::Table { .. } => "table",
            LayoutSource::Nearest { .. } | LayoutSource::Inferred { .. } => "a guess",
        };
        if source != expected_source {
            wrong.push(format!("{what}: the layout is from the {source}, not from the {expected_source}"));
        }
        if runtime.version.to_string() != toolchain_version {
            wrong.push(format!("{what}: the version is {}, not {toolchain_version}", runtime.version));
        }
    }
    wrong
}

/// What the toolchain calls itself.
fn toolchain_version(version: &str) -> String {
    let goroot = script("toolchain", &[version]);
    let out = Command::new(goroot.join("bin/go")).args(["env", "GOVERSION"]).env("GOROOT", &goroot).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn check_modes(modes: &[Mode]) {
    let mut wrong = Vec::new();
    for version in VERSIONS {
        for mode in modes {
            wrong.extend(check(version, *mode));
        }
    }
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn with_and_without_symbols() {
    check_modes(&[Mode::Default, Mode::W, Mode::Sw]);
}

#[test]
fn position_independent() {
    check_modes(&[Mode::Pie, Mode::PieSw]);
}

#[test]
fn linked_with_c() {
    check_modes(&[Mode::Cgo, Mode::CgoSw, Mode::CgoStatic, Mode::CgoPieSw]);
}

#[test]
fn instrumented() {
    check_modes(&[Mode::Race]);
}

fn fresh_layout(program: &Path) -> String {
    let elf = Elf::parse(Arc::new(std::fs::read(program).unwrap())).unwrap();
    LayoutTable::of_program(&elf).unwrap().to_text()
}

/// The tables that are checked in are those that the toolchains' DWARF gives.
#[test]
fn layouts_are_those_of_the_toolchains() {
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/runtime/layouts");
    for version in VERSIONS {
        for arm64 in [false, true] {
            let program = if arm64 {
                Fixture::build_arm64("structs", version, Mode::Default)
            } else {
                Fixture::build("structs", version, Mode::Default)
            };
            let fresh = fresh_layout(&program);
            let minor: String = version.split('.').take(2).collect::<Vec<_>>().join(".");
            let name = format!("go{minor}-{}.txt", if arm64 { "arm64" } else { "amd64" });
            let kept = std::fs::read_to_string(checked_in.join(&name)).unwrap();
            assert_eq!(fresh, kept, "{name}");
        }
    }
}
