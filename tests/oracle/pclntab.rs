//! The function table against the toolchain's own reading of the same program, and against the compiler's
//! listing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::support::fixture::script;
use crate::support::{Fixture, Mode, VERSIONS};
use gospy::addr::LinkAddr;
use gospy::testing::Elf;
use gospy::testing::{FuncData, Header, PcData, Pclntab};

fn open(path: &Path, text: u64) -> Pclntab {
    let elf = Arc::new(Elf::parse(Arc::new(fs::read(path).unwrap())).unwrap());
    let headers = Header::find_all(&elf);
    assert_eq!(headers.len(), 1, "{}", path.display());
    Pclntab::new(elf, headers[0], LinkAddr(text))
}

/// `go tool nm`: text symbols by address.
fn text_symbols(goroot: &Path, path: &Path) -> BTreeMap<u64, Vec<String>> {
    let mut symbols: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (addr, kind, name) in all_symbols(goroot, path) {
        if matches!(kind.as_str(), "T" | "t") {
            symbols.entry(addr).or_default().push(name);
        }
    }
    symbols
}

/// `go tool nm`: address, kind and name of each symbol that has an address.
fn all_symbols(goroot: &Path, path: &Path) -> Vec<(u64, String, String)> {
    let out = Command::new(goroot.join("bin/go")).args(["tool", "nm"]).arg(path).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let symbol = |line: &str| {
        let mut fields = line.trim_start().splitn(3, ' ');
        let (addr, kind, name) = (fields.next()?, fields.next()?, fields.next()?);
        Some((u64::from_str_radix(addr, 16).ok()?, kind.to_owned(), name.trim().to_owned()))
    };
    text.lines().filter_map(symbol).collect()
}

/// `go tool addr2line`: function, file:line of each address.
fn addr2line(goroot: &Path, path: &Path, addrs: &[u64]) -> Vec<(String, String)> {
    let mut child = Command::new(goroot.join("bin/go"))
        .args(["tool", "addr2line"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input: String = addrs.iter().map(|addr| format!("{addr:#x}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

/// A symbol's name as the function table has it: without the mark of its calling convention, and
/// with type arguments abridged as older linkers do.
fn in_table(symbol: &str) -> String {
    let symbol = symbol.replace('·', ".");
    let symbol = symbol.trim_end_matches(".abi0").trim_end_matches(".abiinternal");
    match (symbol.find('['), symbol.rfind(']')) {
        (Some(open), Some(close)) if open < close => format!("{}[...]{}", &symbol[..open], &symbol[close + 1..]),
        _ => symbol.to_owned(),
    }
}

#[test]
fn names_and_lines_are_those_of_the_toolchain() {
    for version in VERSIONS {
        let goroot = script("toolchain", &[version]);
        let path = Fixture::build("tiny", version, Mode::Default);
        let symbols = text_symbols(&goroot, &path);
        let text = symbols.iter().find(|(_, names)| names.iter().any(|n| n == "runtime.text")).unwrap().0;
        let table = open(&path, *text);
        let mut functions = 0;
        let mut places = Vec::new();
        for index in 0.. {
            let Some(function) = table.function(index) else { break };
            functions += 1;
            let name = table.name(&function).unwrap();
            let known = symbols.get(&function.entry.0).unwrap_or_else(|| panic!("{version}: {name} is nowhere"));
            assert!(known.iter().any(|k| in_table(k) == in_table(&name)), "{version}: {name} is {known:?}");
            assert_eq!(table.function_at(function.entry).unwrap().index, index);
            let middle = LinkAddr(function.entry.0 + (function.end.0 - function.entry.0) / 2);
            assert_eq!(table.function_at(middle).unwrap().index, index);
            places.push((function, middle));
        }
        assert!(functions > 1000, "{version}: only {functions} functions");
        let asked: Vec<u64> = places.iter().map(|(_, pc)| pc.0).collect();
        let answers = addr2line(&goroot, &path, &asked);
        assert_eq!(answers.len(), asked.len());
        for ((function, pc), (name, place)) in places.iter().zip(answers) {
            let (file, line) = table.file_line(function, *pc);
            // Where there is no line, the tool and the runtime have different ways to say so.
            let place = if place.starts_with(":-") { "?:0".to_owned() } else { place };
            assert_eq!((table.name(function).unwrap(), format!("{file}:{line}")), (name, place), "{version} {pc}");
        }
    }
}

#[test]
fn functions_are_found_by_name() {
    let version = VERSIONS[VERSIONS.len() - 1];
    let goroot = script("toolchain", &[version]);
    let path = Fixture::build("tiny", version, Mode::Default);
    let symbols = text_symbols(&goroot, &path);
    let address = |name: &str| symbols.iter().find(|(_, names)| names.iter().any(|n| n == name)).map(|(at, _)| *at);
    let table = open(&path, address("runtime.text").unwrap());
    let wanted = ["runtime.allgadd", "runtime.schedinit", "runtime.gcMarkTermination", "no.such.function"];
    let found = table.find_functions(&wanted);
    assert_eq!(found.len(), 3);
    for name in &wanted[..3] {
        assert_eq!(Some(found[name].entry.0), address(name), "{name}");
    }
}

/// What the compiler lists of a function (`-S`).
#[derive(Default)]
struct Listing {
    /// Symbols of its funcdata, by number.
    funcdata: BTreeMap<u32, String>,
    /// By offset of the instruction from the entry: its pcdata by number, where some was set before.
    pcdata: BTreeMap<u64, BTreeMap<u32, i32>>,
}

/// The compiler's listing of package main: its functions, and the bytes of the symbols that hold no addresses.
fn listed(goroot: &Path, source: &Path, version: &str) -> (BTreeMap<String, Listing>, BTreeMap<String, Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(source.join("main.go"), dir.path().join("main.go")).unwrap();
    let minor: Vec<&str> = version.split('.').take(2).collect();
    fs::write(dir.path().join("go.mod"), format!("module example.test/tiny\n\ngo {}\n", minor.join("."))).unwrap();
    let cache = std::env::var("GOSPY_CACHE").unwrap_or_else(|_| format!("{}/.cache", env!("CARGO_MANIFEST_DIR")));
    let out = Command::new(goroot.join("bin/go"))
        .args(["build", "-trimpath", "-gcflags=-S", "-o", "/dev/null", "."])
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .envs([("GOTOOLCHAIN", "local"), ("GOENV", "off"), ("GOPROXY", "off"), ("CGO_ENABLED", "0")])
        .env("GOROOT", goroot)
        .env("GOCACHE", format!("{cache}/go-build"))
        .env("HOME", &cache)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{version}: {text}");
    let (mut functions, mut data) = (BTreeMap::<String, Listing>::new(), BTreeMap::<String, Vec<u8>>::new());
    let (mut symbol, mut now) = (String::new(), BTreeMap::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(inner) = line.strip_prefix('\t') else {
            symbol = line.split(' ').next().unwrap().to_owned();
            now = BTreeMap::new();
            match line.split(' ').nth(1) {
                Some("STEXT") => drop(functions.insert(symbol.clone(), Listing::default())),
                _ => drop(data.insert(symbol.clone(), Vec::new())),
            }
            continue;
        };
        if inner.starts_with("rel ") {
            data.remove(&symbol);
            continue;
        }
        let fields: Vec<&str> = inner.split('\t').collect();
        let number = |text: &str| text.trim_start_matches('$').parse::<i32>().unwrap();
        let Some(function) = functions.get_mut(&symbol) else {
            // An offset, at most 16 bytes in hexadecimal, and the same as text after two spaces.
            let bytes = inner.split_once(' ').map_or("", |(_, bytes)| bytes).split("  ").next().unwrap();
            let bytes = bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap());
            data.entry(symbol.clone()).and_modify(|data| data.extend(bytes));
            continue;
        };
        // Lines of code have a position, an instruction and its operands; others are bytes of the function.
        let Some(offset) = fields[0].strip_prefix("0x").filter(|_| fields.len() > 1) else { continue };
        let offset = u64::from_str_radix(offset.split(' ').next().unwrap(), 16).unwrap();
        let operands = fields.get(2).and_then(|operands| operands.split_once(", "));
        match (fields[1], operands) {
            ("FUNCDATA", Some((table, name))) => {
                let table = u32::try_from(number(table)).unwrap();
                function.funcdata.insert(table, name.trim_end_matches("(SB)").to_owned());
            }
            ("PCDATA", Some((table, value))) => {
                now.insert(u32::try_from(number(table)).unwrap(), number(value));
                function.pcdata.insert(offset, now.clone());
            }
            ("TEXT", _) => {}
            _ => drop(function.pcdata.insert(offset, now.clone())),
        }
    }
    (functions, data)
}

/// Funcdata and pcdata of every function of a program's own package, at each instruction.
#[test]
fn tables_of_functions_are_those_that_the_compiler_lists() {
    const FUNCDATA: [FuncData; 5] = [
        FuncData::ArgsPointerMaps,
        FuncData::LocalsPointerMaps,
        FuncData::StackObjects,
        FuncData::ArgInfo,
        FuncData::ArgLiveInfo,
    ];
    const PCDATA: [PcData; 3] = [PcData::UnsafePoint, PcData::StackMapIndex, PcData::ArgLiveIndex];
    for version in VERSIONS {
        let goroot = script("toolchain", &[version]);
        let path = Fixture::build("tiny", version, Mode::Default);
        let symbols = all_symbols(&goroot, &path);
        let find = |names: &[&str]| symbols.iter().find(|(_, _, name)| names.contains(&name.as_str())).unwrap().0;
        let table = open(&path, find(&["runtime.text"])).with_gofunc(LinkAddr(find(&["go:func.*", "go.func.*"])));
        let (functions, data) = listed(&goroot, &crate::support::fixture::fixtures().join("tiny"), version);
        let (mut blocks, mut absent, mut values) = (0, 0, 0);
        for (name, listing) in &functions {
            // Those that are inlined wherever they are called are not linked.
            let Some(function) = table.find_functions(&[name.as_str()]).remove(name.as_str()) else { continue };
            for which in FUNCDATA {
                let label = format!("{version}: {name} {which:?}");
                let at = table.funcdata(&function, which).unwrap();
                let Some(symbol) = listing.funcdata.get(&(which as u32)) else {
                    assert_eq!(at, None, "{label}");
                    absent += 1;
                    continue;
                };
                let at = at.unwrap_or_else(|| panic!("{label} is missing"));
                let Some(expected) = data.get(symbol).filter(|bytes| !bytes.is_empty()) else { continue };
                let mut bytes = vec![0; expected.len()];
                assert_eq!(table.elf().read_up_to(at, &mut bytes), expected.len(), "{label}");
                assert_eq!(&bytes, expected, "{label}");
                blocks += 1;
            }
            for (offset, expected) in &listing.pcdata {
                for which in PCDATA {
                    let expected = expected.get(&(which as u32)).copied().unwrap_or(-1);
                    let pc = LinkAddr(function.entry.0 + offset);
                    assert_eq!(table.pcdata(&function, which, pc), Ok(expected), "{version}: {name} {which:?} {pc}");
                    values += 1;
                }
            }
        }
        assert!(blocks >= 12 && absent >= 4 && values >= 300, "{version}: {blocks}, {absent}, {values}");
    }
}
