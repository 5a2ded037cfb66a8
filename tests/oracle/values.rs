//! Names, types and values of arguments: against the source of the program that was given them, and against
//! Delve.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::support::compare::by_id;
use crate::support::core_dump::gcore;
use crate::support::fixture::script;
use crate::support::{DumpGoroutine, Fixture, Mode, VERSIONS, gospy, matrix};
use regex::Regex;

/// Of calls in `fixtures/arguments`: the function, and names, types and values of what it is given. A value may be
/// stale in a version whose compiler puts it elsewhere, and then is `?`.
const CALLS: [(&str, &[(&str, &str)]); 14] = [
    (
        "ints",
        &[("a int", "-1"), ("b int8", "-2"), ("c int16", "-3"), ("d int32", "-4"), ("e int64", "-9223372036854775808")],
    ),
    (
        "ints",
        &[
            ("a int", "1"),
            ("b int8", "127"),
            ("c int16", "32767"),
            ("d int32", "2147483647"),
            ("e int64", "9223372036854775807"),
        ],
    ),
    (
        "uints",
        &[
            ("a uint", "1"),
            ("b uint8", "255"),
            ("c uint16", "65535"),
            ("d uint32", "4294967295"),
            ("e uint64", "18446744073709551615"),
            ("f uintptr", "2748"),
        ],
    ),
    ("bools", &[("a bool", "true"), ("b bool", "false"), ("c uint8", "200")]),
    ("floats", &[("a float32", "1.5"), ("b float64", "-2.25"), ("c complex64", "(1+2i)"), ("d complex128", "(-3+4i)")]),
    ("text", &[("a string", "\"hello\""), ("b []uint8", "len 3 cap 17 at 0x*"), ("c []string", "len 2 cap 2 at 0x*")]),
    ("text", &[("a string", "\"\""), ("b []uint8", "nil"), ("c []string", "nil")]),
    (
        "pointers",
        &[
            ("a *int", "nil"),
            ("b unsafe.Pointer", "0x0"),
            ("c *main.linked", "nil"),
            ("d func()", "nil"),
            ("e map[string]int", "nil"),
            ("f chan int", "nil"),
        ],
    ),
    (
        "exactlyTen",
        &[
            ("a int", "1"),
            ("b int", "2"),
            ("c int", "3"),
            ("d int", "4"),
            ("e int", "5"),
            ("f int", "6"),
            ("g int", "7"),
            ("h int", "8"),
            ("i int", "9"),
            ("j int", "10"),
        ],
    ),
    (
        "interfaces",
        &[
            ("a interface {}", "(int) 0x*"),
            ("b error", "(*errors.errorString) 0x*"),
            ("c interface { Error() string }", "nil"),
        ],
    ),
    ("variadic", &[("format string", "\"%d\""), ("args []interface {}", "len 3 cap 3 at 0x*")]),
    // Methods of generic types: the receiver is left out, and its dictionary is no parameter.
    ("(*pair[...]).pointer", &[("n int", "1"), ("s string", "\"s\"")]),
    ("(*byPointer).Wait", &[("p *main.byPointer", "0x*"), ("n int", "5")]),
    ("panicDeep", &[("n int", "5"), ("s string", "\"deep\"")]),
];

/// A line that a call may have, with a group for each value.
fn line_of(call: &[(&str, &str)]) -> Regex {
    let one = |(parameter, value): &(&str, &str)| {
        let value = regex::escape(value).replace(r"0x\*", "0x[0-9a-f]+");
        // Words of a string, slice or complex number may be stale by themselves.
        let stale = r"\?|\{[0-9a-fx?, ]*\?[0-9a-fx?, ]*\}";
        format!("{} = ({value}|{stale})", regex::escape(parameter))
    };
    let all: Vec<String> = call.iter().map(one).collect();
    Regex::new(&format!("^\tat entry: {}$", all.join(", "))).unwrap()
}

/// The lines with values of frames of package main, by function.
fn lines_by_function(goroutines: &BTreeMap<u64, DumpGoroutine>) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for goroutine in goroutines.values() {
        for lines in goroutine.lines.windows(3) {
            if let Some((function, _)) = lines[0].strip_prefix("main.").and_then(|call| call.rsplit_once('('))
                && lines[2].starts_with("\tat entry: ")
            {
                found.entry(function.to_owned()).or_default().push(lines[2].clone());
            }
        }
    }
    found
}

#[test]
fn values_are_those_of_the_source() {
    let tally = matrix(&[Mode::Default, Mode::Pie, Mode::Cgo, Mode::PieSw], |version, mode, tally| {
        let program = Fixture::start("arguments", version, mode, &[]);
        let pid = program.pid().to_string();
        let symbols = Fixture::build("arguments", version, Mode::Pie).display().to_string();
        let mut words = vec!["stack", "--pid", &pid, "--all", "--values", "--strings"];
        if mode == Mode::PieSw {
            let bare = gospy(&words);
            tally.equal("status without DWARF", 0, bare.code());
            tally.holds("it is said that there is no DWARF", bare.stderr.contains("no DWARF"));
            words.extend(["--bin", &symbols]);
        }
        let found = lines_by_function(&by_id(&gospy(&words).ok()));
        for (function, call) in CALLS {
            let line = line_of(call);
            let none = Vec::new();
            let lines = found.get(function).unwrap_or(&none);
            match lines.iter().find_map(|text| line.captures(text)) {
                Some(values) => {
                    let known = values.iter().skip(1).flatten().filter(|value| !value.as_str().contains('?'));
                    tally.compared += known.count();
                }
                None => tally.wrong(format!("{function}: no line is {line}: {lines:#?}")),
            }
        }
    });
    tally.check(25 * VERSIONS.len() * 4);
}

/// A capture has the words and no DWARF: with a binary of the same build it says what the process does, but for what
/// only the heap and the program's data have.
#[test]
fn captures_have_values_with_a_binary_of_the_same_build() {
    let program = Fixture::start("arguments", "1.26.6", Mode::Default, &[]);
    let binary = Fixture::build("arguments", "1.26.6", Mode::Default).display().to_string();
    let directory = tempfile::tempdir().unwrap();
    let capture = directory.path().join("capture").display().to_string();
    gospy(&["capture", "--pid", &program.pid().to_string(), "-o", &capture]).ok();
    let values = ["stack", "--from", &capture, "--all", "--values"];
    let found = lines_by_function(&by_id(&gospy(&[&values[..], &["--bin", &binary]].concat()).ok()));
    let ints = found.get("ints").map_or(&[][..], Vec::as_slice);
    assert!(ints.iter().any(|line| line_of(CALLS[0].1).is_match(line)), "{found:#?}");
    let bare = gospy(&values);
    assert!(bare.code() == 0 && bare.stderr.contains("no DWARF") && !bare.stderr.contains("malformed"), "{bare:?}");
}

/// Delve finds arguments by the compiler's location lists, and gospy by what tracebacks print: where both have a
/// number, a truth value or a string, it has to be the same.
#[test]
fn values_are_those_of_delve() {
    let ours =
        Regex::new(r#"(\w+) (u?int\d*|bool|string|float(?:32|64)) = (-?[\d.]+|true|false|"[^"]*")(?:,|$)"#).unwrap();
    let theirs = Regex::new(r#"^(?:\(dlv\) )?(\w+) = (-?[\d.]+|true|false|"[^"]*")$"#).unwrap();
    for version in [VERSIONS[6], VERSIONS[7]] {
        let program = Fixture::start("arguments", version, Mode::Default, &[]);
        let dir = tempfile::tempdir().unwrap();
        let pid = program.pid().to_string();
        let core = gcore(program.pid(), dir.path());
        let binary = Fixture::build("arguments", version, Mode::Default);
        let text =
            gospy(&["stack", "--pid", &pid, "--all", "--system", "--values", "--strings", "--max-frames", "0"]).ok();
        // By goroutine and number of the frame: what gospy says of its arguments.
        let mut values: BTreeMap<(u64, usize), BTreeMap<String, String>> = BTreeMap::new();
        for (id, goroutine) in by_id(&text) {
            let mut frame = 0_usize;
            for line in &goroutine.lines {
                match line.strip_prefix("\tat entry: ") {
                    Some(line) => {
                        let all = ours.captures_iter(line).map(|found| (found[1].to_owned(), found[3].to_owned()));
                        values.insert((id, frame - 1), all.collect());
                    }
                    None => frame += usize::from(line.starts_with('\t') && line.contains(':')),
                }
            }
        }
        values.retain(|_, values| !values.is_empty());
        let mut commands = String::new();
        for (id, frame) in values.keys() {
            commands += &format!("print {}\ngoroutine {id} frame {frame} args\n", marker(*id, *frame));
        }
        let file = dir.path().join("commands");
        std::fs::write(&file, commands + "exit\n").unwrap();
        let mut command = Command::new(script("delve", &[]));
        command.env("HOME", dir.path()).env_remove("XDG_CONFIG_HOME").arg("core").arg(&binary).arg(&core);
        command.args(["--allow-non-terminal-interactive=true", "--init"]).arg(&file).stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let mut compared = 0;
        for ((id, frame), ours) in &values {
            let start = said.find(&format!("{}\n", marker(*id, *frame))).unwrap_or_else(|| panic!("{version}: {said}"));
            let of_frame =
                said[start..].lines().skip(1).take_while(|line| !line.trim_start_matches("(dlv) ").starts_with("9000"));
            for found in of_frame.filter_map(|line| theirs.captures(line)) {
                let Some(our) = ours.get(&found[1]) else { continue };
                assert_eq!(our, &found[2], "{version}: {} in frame {frame} of goroutine {id}", &found[1]);
                compared += 1;
            }
        }
        assert!(compared > 150, "{version}: {compared} of {} frames", values.len());
    }
}

/// A number that stands in front of what Delve says of a frame.
fn marker(id: u64, frame: usize) -> String {
    format!("9000{id:04}{frame:04}")
}
