//! What the image layer says of real programs, against the toolchain's own tools.

// What a test calls fails as the test does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::fixture::script;
use crate::support::{Fixture, Mode, VERSIONS};
use gospy::addr::{Arch, LinkAddr};
use gospy::testing::BuildInfo;
use gospy::testing::ByteSource;
use gospy::testing::Dwarf;
use gospy::testing::Elf;
use gospy::testing::Symbols;
use gospy::testing::{data_refs, linked_store};

const NEWEST: &str = VERSIONS[VERSIONS.len() - 1];

fn open(path: &Path) -> Elf {
    Elf::parse(Arc::new(fs::read(path).unwrap())).unwrap()
}

/// The output of `go ARGUMENTS PATH`, by the newest toolchain.
fn go(arguments: &[&str], path: &Path) -> String {
    let goroot = script("toolchain", &[NEWEST]);
    let out =
        Command::new(goroot.join("bin/go")).env("GOTOOLCHAIN", "local").args(arguments).arg(path).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// One line of `go tool nm`.
#[derive(Debug)]
struct Nm {
    addr: u64,
    size: u64,
    kind: char,
    name: String,
}

fn nm(path: &Path) -> Vec<Nm> {
    let parse = |line: &str| {
        let mut rest = line.trim_start();
        let mut next = || {
            let (field, behind) = rest.split_once(' ')?;
            rest = behind.trim_start();
            Some(field.to_owned())
        };
        let (addr, size, kind) = (next()?, next()?, next()?);
        let name = rest.to_owned();
        Some(Nm {
            addr: u64::from_str_radix(&addr, 16).ok()?,
            size: size.parse().ok()?,
            kind: kind.chars().next()?,
            name,
        })
    };
    let symbols: Vec<Nm> = go(&["tool", "nm", "-size"], path).lines().filter_map(parse).collect();
    assert!(symbols.len() > 500, "{} has {} symbols", path.display(), symbols.len());
    symbols
}

/// Every version, for both machines.
fn default_builds() -> Vec<(&'static str, PathBuf)> {
    let both = |version| {
        let amd64 = Fixture::build("tiny", version, Mode::Default);
        [(version, amd64), (version, Fixture::build_arm64("tiny", version, Mode::Default))]
    };
    VERSIONS.into_iter().flat_map(both).collect()
}

#[test]
fn build_information_is_that_of_go_version() {
    for version in [VERSIONS[0], NEWEST] {
        for mode in [Mode::Default, Mode::Sw, Mode::PieSw, Mode::CgoPieSw] {
            let path = Fixture::build("tiny", version, mode);
            let mut expected = BuildInfo::default();
            let text = go(&["version", "-m"], &path);
            let (first, rest) = text.split_once('\n').unwrap();
            expected.go_version = first.rsplit_once(": ").unwrap().1.to_owned();
            for line in rest.lines() {
                let fields: Vec<&str> = line.trim_start_matches('\t').split('\t').collect();
                match fields[0] {
                    "path" => expected.package_path = Some(fields[1].to_owned()),
                    "mod" => {
                        expected.main_path = Some(fields[1].to_owned());
                        expected.main_version = Some(fields[2].to_owned());
                    }
                    "build" => {
                        let (key, value) = fields[1].split_once('=').unwrap();
                        expected.settings.insert(key.to_owned(), value.trim_matches('"').to_owned());
                    }
                    other => panic!("{other} in {text}"),
                }
            }
            assert!(expected.settings.len() > 4, "{text}");

            let file = fs::read(&path).unwrap();
            let elf = Elf::parse(Arc::new(file.clone())).unwrap();
            assert_eq!(BuildInfo::find(&elf).unwrap(), Some(expected.clone()));
            assert_eq!(elf.go_build_id().unwrap(), go(&["tool", "buildid"], &path).trim());

            // Without section headers the answers are the same.
            let mut stripped = file;
            stripped[40..48].fill(0);
            stripped[58..64].fill(0);
            let stripped = Elf::parse(Arc::new(stripped)).unwrap();
            assert!(stripped.sections().is_empty());
            assert_eq!(BuildInfo::find(&stripped).unwrap(), Some(expected));
            assert_eq!(stripped.go_build_id(), elf.go_build_id());
        }
    }
}

#[test]
fn symbols_are_those_of_go_tool_nm() {
    for (_, path) in default_builds() {
        let elf = open(&path);
        let symbols = Symbols::load(&elf, |_| true).unwrap();
        let listed = nm(&path);
        let mut names = BTreeMap::new();
        for symbol in listed.iter().filter(|symbol| symbol.addr != 0) {
            names.entry(symbol.name.as_str()).or_insert_with(Vec::new).push((symbol.addr, symbol.size));
        }
        for (name, places) in names {
            let found = symbols.get(name).unwrap_or_else(|| panic!("{name} of {}", path.display()));
            assert!(places.contains(&(found.addr.0, found.size)), "{name}: {found:?}, not {places:x?}");
        }
        // Any address of a function leads back to it. Some addresses have several names.
        for symbol in listed.iter().filter(|symbol| matches!(symbol.kind, 'T' | 't') && symbol.size > 0) {
            let found = symbols.function_at(&elf, LinkAddr(symbol.addr + symbol.size - 1));
            assert_eq!(found.map(|found| found.start.0), Some(symbol.addr), "{symbol:?}");
        }
    }
}

#[test]
fn dwarf_agrees_with_symbols_and_with_code() {
    const VARIABLES: [&str; 8] = [
        "runtime.allgs",
        "runtime.allglen",
        "runtime.allgptr",
        "runtime.allp",
        "runtime.allm",
        "runtime.sched",
        "runtime.memstats",
        "runtime.firstmoduledata",
    ];
    for (version, path) in default_builds() {
        let elf = open(&path);
        let dwarf = Dwarf::open(&elf).unwrap().unwrap();
        let structs = ["runtime.g", "runtime.m", "runtime.schedt", "runtime.mstats", "runtime.moduledata"];
        let constants = ["runtime._Grunning", "runtime._Gwaiting", "runtime.missing"];
        let found = dwarf.find(&structs, &VARIABLES, &constants).unwrap();
        assert_eq!(found.damaged_units, 0);
        assert_eq!(found.constants.into_values().collect::<Vec<_>>(), [2, 4]);

        let symbols = Symbols::load(&elf, |name| name.starts_with(b"runtime.")).unwrap();
        for name in VARIABLES {
            let (variable, symbol) = (&found.variables[name], symbols.get(name).unwrap());
            assert_eq!((variable.addr, variable.kind.size), (symbol.addr, symbol.size), "{name} {version}");
        }
        for (variable, of) in [
            ("runtime.sched", "runtime.schedt"),
            ("runtime.memstats", "runtime.mstats"),
            ("runtime.firstmoduledata", "runtime.moduledata"),
        ] {
            assert_eq!(found.variables[variable].kind.name, of);
            assert_eq!(found.variables[variable].kind.size, found.structs[of].size, "{version}");
        }
        assert_eq!(found.variables["runtime.allgs"].kind.name, "[]*runtime.g");

        // A structure's fields fill it, in order.
        for (name, layout) in &found.structs {
            assert_eq!(layout.fields[0].offset, 0, "{name}");
            for pair in layout.fields.windows(2) {
                assert!(pair[0].offset + pair[0].kind.size <= pair[1].offset, "{name}: {pair:?}");
            }
            let last = layout.fields.last().unwrap();
            assert!(last.offset + last.kind.size <= layout.size, "{name}: {last:?}");
        }
        let tls = &found.structs["runtime.m"].field("tls").unwrap().kind;
        assert_eq!((tls.size, tls.array.as_ref().unwrap().count), (48, 6));

        // `mp.alllink = allm`: the machine code knows where the field is, too.
        let function = symbols.get("runtime.mcommoninit").unwrap();
        let code = elf.read(function.addr, usize::try_from(function.size).unwrap()).unwrap();
        let head = found.variables["runtime.allm"].addr;
        let field = found.structs["runtime.m"].field("alllink").unwrap().offset;
        let store = linked_store(elf.arch(), &code, function.addr, head, 256);
        assert_eq!(store.map(u64::from), Some(field), "{version} {:?}", elf.arch());
    }
}

/// The data that `go tool objdump` says a function's instructions refer to: `runtime.allgs+8`.
fn objdump_operands(path: &Path, function: &str) -> BTreeSet<String> {
    let text = go(&["tool", "objdump", "-s", &format!("^{}$", function.replace('.', "\\."))], path);
    let mut operands = BTreeSet::new();
    for line in text.lines() {
        let Some(instruction) = line.split('\t').filter(|field| !field.is_empty()).nth(3) else { continue };
        if instruction.starts_with("CALL") || instruction.starts_with('J') {
            continue;
        }
        let named = instruction.split([' ', ',']).filter_map(|operand| operand.strip_suffix("(SB)"));
        operands.extend(named.map(str::to_owned));
    }
    assert!(!operands.is_empty(), "{text}");
    operands
}

#[test]
fn code_refers_to_what_go_tool_objdump_says() {
    const FUNCTIONS: [&str; 6] = [
        "runtime.allgadd",
        "runtime.schedinit",
        "runtime.procresize",
        "runtime.mcommoninit",
        "runtime.findRunnable",
        "runtime.gcMarkTermination",
    ];
    for version in VERSIONS {
        let path = Fixture::build("tiny", version, Mode::Default);
        let elf = open(&path);
        assert_eq!(elf.arch(), Arch::Amd64);
        let symbols = Symbols::load(&elf, |name| name.starts_with(b"runtime.")).unwrap();
        for function in FUNCTIONS.into_iter().filter(|name| symbols.get(name).is_some()) {
            let place = symbols.get(function).unwrap();
            let code = elf.read(place.addr, usize::try_from(place.size).unwrap()).unwrap();
            let targets: BTreeSet<u64> =
                data_refs(elf.arch(), &code, place.addr).into_iter().map(|found| found.target.0).collect();
            for operand in objdump_operands(&path, function) {
                let (name, offset) = operand.rsplit_once('+').unwrap_or((&operand, "0"));
                let Some(symbol) = symbols.get(name) else { continue };
                let target = symbol.addr.0 + offset.parse::<u64>().unwrap();
                assert!(targets.contains(&target), "{operand} in {function} of {version}");
            }
        }
    }
}

/// A file that counts what is read of it.
struct Counted {
    file: File,
    read: AtomicU64,
}

impl ByteSource for Counted {
    fn len(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(buf, offset)?;
        self.read.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

#[test]
fn little_is_read_of_a_large_program() {
    let path = script("toolchain", &[NEWEST]).join("bin/go");
    let source = Arc::new(Counted { file: File::open(path).unwrap(), read: AtomicU64::new(0) });
    assert!(source.len() > 8 << 20, "no large program");
    let elf = Elf::parse(source.clone()).unwrap();
    assert!(elf.sections().len() > 10);
    assert!(BuildInfo::find(&elf).unwrap().is_some());
    assert!(elf.go_build_id().is_some());
    let read = source.read.load(Ordering::Relaxed);
    assert!(read < 128 * 1024, "{read} bytes were read");
}
