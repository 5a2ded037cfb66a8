//! The function table against the toolchain's own reading of the same program.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::support::fixture::script;
use crate::support::{Fixture, Mode, VERSIONS};
use gospy::addr::LinkAddr;
use gospy::image::elf::Elf;
use gospy::image::pclntab::{Header, Pclntab};

fn open(path: &Path, text: u64) -> Pclntab {
    let elf = Arc::new(Elf::parse(Arc::new(fs::read(path).unwrap())).unwrap());
    let headers = Header::find_all(&elf);
    assert_eq!(headers.len(), 1, "{}", path.display());
    Pclntab::new(elf, headers[0], LinkAddr(text))
}

/// `go tool nm`: text symbols by address.
fn text_symbols(goroot: &Path, path: &Path) -> BTreeMap<u64, Vec<String>> {
    let out = Command::new(goroot.join("bin/go")).args(["tool", "nm"]).arg(path).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut symbols: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        let mut fields = line.trim_start().splitn(3, ' ');
        let (Some(addr), Some(kind), Some(name)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if matches!(kind, "T" | "t") {
            symbols.entry(u64::from_str_radix(addr, 16).unwrap()).or_default().push(name.trim().to_owned());
        }
    }
    symbols
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
