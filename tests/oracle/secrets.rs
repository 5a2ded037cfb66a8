//! Where strings of a program appear: a program with a secret in each place that a string may be in, every command
//! and format, and the table in SECURITY.md, which has to say the same in both directions. With `--redact`: nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use flate2::read::{DeflateDecoder, MultiGzDecoder};
use serde_json::{Value, json};

use crate::support::server::{Server, fetch};
use crate::support::{Fixture, Mode, Running, Tally, gospy};

/// Where a secret is, as the table in SECURITY.md and `fixtures/secrets` call it.
const PLACES: [&str; 14] = [
    "argv",
    "environment",
    "path of the program",
    "open file",
    "socket",
    "label",
    "panic",
    "variable",
    "string argument",
    "array argument",
    "local",
    "object",
    "channel",
    "map key",
];

/// Bytes of a secret.
const SIZE: usize = 24;
/// So many of them in a row are a find: texts are shortened, and shown in parts.
const PART: usize = 10;

/// The secret of a place, as the fixture makes it.
fn secret(seed: u64, place: &str) -> String {
    let hash = place
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mut state = seed ^ hash;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(z % 32) as usize])
    };
    std::iter::repeat_with(next).take(SIZE).collect()
}

/// A program with its secrets.
struct Planted {
    directory: tempfile::TempDir,
    program: Running,
    secrets: BTreeMap<&'static str, String>,
}

impl Planted {
    fn start() -> Planted {
        let mut seed = [0; 8];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut seed).unwrap();
        let seed = u64::from_le_bytes(seed);
        let secrets: BTreeMap<_, _> = PLACES.iter().map(|place| (*place, secret(seed, place))).collect();
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join(&secrets["path of the program"]);
        std::fs::create_dir(&home).unwrap();
        let program = home.join("secrets");
        std::fs::copy(Fixture::build("secrets", "1.26.6", Mode::Default), &program).unwrap();
        let fifo = directory.path().join(&secrets["open file"]);
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut command = Command::new(&program);
        // GODEBUG: labels are in the program's own tracebacks, as from Go 1.27 on.
        command.env("GODEBUG", "tracebacklabels=1").env("PASSWORD", &secrets["environment"]);
        command.arg0("secrets").arg(format!("--token={}", secrets["argv"]));
        let mut running = Running::spawn(command);
        let socket = directory.path().join(&secrets["socket"]);
        running.send(&format!("{seed} {} {}", fifo.display(), socket.display()));
        running.wait_ready();
        Planted { directory, program: running, secrets }
    }

    fn pid(&self) -> String {
        self.program.pid().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The places whose secrets are in some bytes.
    fn found(&self, bytes: &[u8]) -> BTreeSet<&'static str> {
        let forms = Searched::of(bytes);
        self.secrets.iter().filter(|(_, secret)| forms.hold(secret)).map(|(place, _)| *place).collect()
    }
}

/// Bytes in the forms in which they are searched.
struct Searched<'a> {
    bytes: &'a [u8],
    /// Lower-case, without what separates numbers.
    packed: Vec<u8>,
}

impl<'a> Searched<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let packed = bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
        Self { bytes, packed }
    }

    fn hold(&self, secret: &str) -> bool {
        let secret = secret.as_bytes();
        let has = |bytes: &[u8], part: &[u8]| memchr::memmem::find(bytes, part).is_some();
        let parts = || secret.windows(PART);
        let as_text = parts().any(|part| has(self.bytes, part));
        let wide = |part: &[u8]| part.iter().flat_map(|byte| [*byte, 0]).collect::<Vec<_>>();
        let as_wide = parts().any(|part| has(self.bytes, &wide(part)));
        let hex = |part: &[u8]| {
            part.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            })
        };
        let as_hex = parts().any(|part| has(&self.packed, hex(part).as_bytes()));
        // As words of arguments, and as the bytes of an array, of which the first are shown.
        let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap());
        let as_word = secret.chunks_exact(8).any(|chunk| has(&self.packed, format!("{:x}", word(chunk)).as_bytes()));
        let array = secret.iter().take(4).fold(String::new(), |mut all, byte| {
            write!(all, "0x{byte:x}").unwrap();
            all
        });
        let as_array = has(&self.packed, array.as_bytes());
        let as_base64 = (0..3).any(|skipped| has(self.bytes, base64(&secret[skipped..skipped + 15]).as_bytes()));
        as_text || as_wide || as_hex || as_word || as_array || as_base64
    }
}

/// Of a multiple of three bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[bits >> shift & 63]))
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

/// What is in the blocks of a capture or a recording, as the documentation of their formats has it, and in gzip.
fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut all = bytes.to_vec();
    let header = match bytes.get(..8) {
        Some(b"\x89gospy\n\x1a") => 16,
        Some(b"\x89gsrec\n\x1a") => 36,
        _ if bytes.starts_with(b"\x1f\x8b") => {
            MultiGzDecoder::new(bytes).read_to_end(&mut all).unwrap();
            return all;
        }
        _ => return all,
    };
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 16 + number(12) + 4;
    while number(at) != 0 {
        let length = number(at + 8);
        let data = at + header;
        // A block of nothing has no data.
        if length > 0 {
            DeflateDecoder::new(&bytes[data..data + length]).read_to_end(&mut all).unwrap();
        }
        at = data + length;
    }
    all
}

/// What a command shows and writes: `FILE.ext` among its arguments is a file that it is to write.
fn output(planted: &Planted, arguments: &[&str], has_to_work: bool) -> Vec<u8> {
    let (pid, mut files) = (planted.pid(), Vec::new());
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| match argument.strip_prefix("FILE") {
            Some(ending) => {
                let number = std::fs::read_dir(planted.directory.path()).unwrap().count();
                files.push(planted.path(&format!("{number}{ending}")));
                files.last().unwrap().display().to_string()
            }
            None => argument.replace("PID", &pid),
        })
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = gospy(&arguments);
    assert!(!has_to_work || matches!(ran.code(), 0 | 7), "{arguments:?}: {}", ran.stderr);
    let mut all = [ran.stdout.as_bytes(), ran.stderr.as_bytes()].concat();
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", ran.stderr));
        all.extend(unpacked(&bytes));
    }
    assert!(all.len() > 40, "{arguments:?}: {}", String::from_utf8_lossy(&all));
    all
}

/// Commands by the name that the table has for what they show, each in all its formats.
const COMMANDS: [(&str, &[&[&str]]); 20] = [
    ("ps", &[&["ps"], &["ps", "--json"]]),
    ("doctor", &[&["doctor", "PID"], &["doctor", "PID", "--json"]]),
    (
        "summary",
        &[
            &["summary", "PID", "-v"],
            &["summary", "PID", "--all", "--limit", "0"],
            &["summary", "PID", "--group=label=tenant"],
            &["summary", "PID", "--json"],
            &["summary", "PID", "--html", "FILE.html"],
        ],
    ),
    (
        "stack",
        &[
            &["stack", "PID", "--system", "--labels"],
            &["stack", "PID", "--json", "--arguments"],
            &["stack", "PID", "--group", "--labels"],
        ],
    ),
    ("stack --values --strings", &[&["stack", "PID", "--values", "--strings"]]),
    ("stack --folded", &[&["stack", "PID", "--folded"]]),
    (
        "stack --pprof",
        &[&["stack", "PID", "--pprof", "FILE.pb.gz"], &["stack", "PID", "--pprof", "FILE.pb.gz", "--all"]],
    ),
    (
        "waits",
        &[
            &["waits", "PID", "--limit", "0"],
            &["waits", "PID", "--json"],
            &["waits", "PID", "--graph", "FILE.svg"],
            &["waits", "PID", "--graph", "FILE.dot"],
            &["waits", "PID", "--graph", "FILE.mmd"],
            &["waits", "PID", "--graph", "FILE.json"],
        ],
    ),
    ("why", &[&["why", "PID"], &["why", "PID", "--json"], &["why", "PID", "--goid", "1"], &["why", "PID", "--leaks"]]),
    ("leaks", &[&["leaks", "PID"], &["leaks", "PID", "--json"]]),
    (
        "heap",
        &[
            &["heap", "PID"],
            &["heap", "PID", "--text"],
            &["heap", "PID", "--json"],
            &["heap", "PID", "--profile", "FILE.pb.gz"],
            &["heap", "PID", "--objects"],
            &["heap", "PID", "--objects", "--json"],
        ],
    ),
    ("contention", &[&["contention", "PID"], &["contention", "PID", "--json"]]),
    ("top", &[&["top", "PID", "--once"], &["top", "PID", "--json", "-n", "2", "--interval", "100ms"]]),
    ("diff", &[&["diff", "PID", "PID"], &["diff", "PID", "PID", "--json"], &["diff", "PID", "PID", "--markdown"]]),
    (
        "check",
        &[
            &["check", "PID", "--max-goroutines", "1", "--no-findings"],
            &["check", "PID", "--max-goroutines", "1", "--json", "--junit", "FILE.xml"],
            &["check", "PID", "--max-group", "1", "--github"],
        ],
    ),
    (
        "capture",
        &[&["capture", "PID", "-o", "FILE.capture"], &["capture", "PID", "-o", "FILE.capture", "--freeze=all"]],
    ),
    ("capture --heap", &[&["capture", "PID", "--heap", "-o", "FILE.capture"]]),
    (
        "record",
        &[
            &["record", "PID", "-d", "300ms", "--rate", "20", "--idle", "-o", "FILE.pb.gz"],
            &["record", "PID", "-d", "300ms", "--rate", "20", "--idle", "-o", "FILE.folded"],
            &["record", "PID", "-d", "300ms", "--rate", "20", "--idle", "-o", "FILE.svg"],
            &["record", "PID", "-d", "300ms", "--rate", "20", "--idle", "-o", "FILE.html"],
            &["record", "PID", "-d", "300ms", "--rate", "20", "--idle", "-o", "FILE.json"],
            &["record", "PID", "-d", "300ms", "--rate", "20", "--idle", "--timeline", "FILE.json"],
        ],
    ),
    ("record .gospyrec", &[&["record", "PID", "-d", "300ms", "--rate", "20", "-o", "FILE.gospyrec"]]),
    ("var", &[&["var", "main.planted", "main.object", "main.queue", "main.byKey", "--pid", "PID"]]),
];

/// Commands without `--redact`: they show nothing of a program but where it is, or what they are asked for by name.
const NEVER_REDACTED: [&str; 4] = ["ps", "doctor", "top", "var"];

/// What a server answers to.
fn served(planted: &Planted) -> Vec<u8> {
    let pid = planted.pid();
    let server = Server::start(&["--pid", &pid]);
    let mut paths: Vec<String> = ["/", "/sd", "/all/metrics?goroutines=1"].map(str::to_owned).to_vec();
    let profiles = ["goroutine", "heap", "allocs", "block", "mutex", "threadcreate"];
    paths.extend(profiles.iter().flat_map(|profile| {
        ["", "?debug=1", "?debug=2"].map(|debug| format!("/pid/{pid}/debug/pprof/{profile}{debug}"))
    }));
    paths.extend(
        ["metrics?goroutines=1&leaks=1", "page.json", "debug/pprof/", "debug/fgprof?seconds=1"]
            .map(|path| format!("/pid/{pid}/{path}")),
    );
    let api: Value = serde_json::from_str(&server.body("/api/v1/openapi.json")).unwrap();
    let named = api["paths"].as_object().unwrap().keys();
    // Events do not end.
    let named: Vec<&String> = named.filter(|path| !path.ends_with("/events")).collect();
    assert!(named.len() > 5, "{named:?}");
    paths.extend(named.iter().map(|path| path.replace("{pid}", &pid).replace("{name}", "secrets")));
    let (mut all, mut answered) = (Vec::new(), 0);
    for path in paths {
        let reply = fetch(&server.address, &path);
        answered += usize::from(reply.status == 200);
        all.extend(unpacked(&reply.body));
    }
    assert!(answered > 20, "{answered}");
    all
}

/// What the tools of MCP say.
fn told(planted: &Planted) -> Vec<u8> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gospy"))
        .args(["mcp", "--pid", &planted.pid()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    });
    let tools = [
        ("list_processes", json!({})),
        ("overview", json!({})),
        ("groups", json!({})),
        ("groups", json!({"by": "stack"})),
        ("groups", json!({"by": "object"})),
        ("goroutine", json!({"id": "1-40"})),
        ("why", json!({})),
        ("waits", json!({})),
        ("leaks", json!({})),
        ("heap", json!({"objects": true})),
        ("compare", json!({})),
    ];
    let mut requests = vec![json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello})];
    for (id, (name, arguments)) in (1..).zip(tools) {
        let params = json!({"name": name, "arguments": arguments});
        requests.push(json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
    }
    let mut all = String::new();
    for request in requests {
        writeln!(input, "{request}").unwrap();
        let reply = loop {
            let line = lines.next().expect("an answer").unwrap();
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == request["id"] {
                break line;
            }
        };
        assert!(!reply.contains("\"isError\":true"), "{request}: {reply}");
        all.push_str(&reply);
        if request["id"] == 0 {
            writeln!(input, "{}", json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).unwrap();
        }
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    all.into_bytes()
}

type Table = BTreeMap<String, BTreeSet<String>>;

/// Where each string appears by the table in SECURITY.md: `| place | outputs |`.
fn documented() -> Table {
    let text = include_str!("../../SECURITY.md");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [place, outputs] = cells.as_slice() else { return None };
        let place = place.split(':').next()?;
        PLACES.contains(&place).then(|| {
            let outputs = outputs.split('`').skip(1).step_by(2).map(str::to_owned);
            (place.to_owned(), outputs.collect())
        })
    });
    rows.collect()
}

fn print(table: &Table) {
    for (place, outputs) in table {
        let outputs: Vec<String> = outputs.iter().map(|output| format!("`{output}`")).collect();
        println!("| {place} | {} |", outputs.join(", "));
    }
}

#[test]
fn strings_of_a_program_appear_where_the_documentation_says() {
    let planted = Planted::start();
    // Forms in which nothing would be found are searched for something that is there.
    let known = &planted.secrets["label"];
    let array = known.bytes().take(5).map(|byte| format!("{byte:#x}")).collect::<Vec<_>>().join(", ");
    for form in [known[3..].to_owned(), base64(known.as_bytes()), array] {
        assert_eq!(planted.found(form.as_bytes()), BTreeSet::from(["label"]), "{form}");
    }
    let mut table: Table = PLACES.iter().map(|place| ((*place).to_owned(), BTreeSet::new())).collect();
    let mut add = |name: &str, bytes: &[u8]| {
        for place in planted.found(bytes) {
            table.get_mut(place).unwrap().insert(name.to_owned());
        }
    };
    for (name, forms) in COMMANDS {
        for arguments in forms {
            add(name, &output(&planted, arguments, true));
        }
    }
    add("serve", &served(&planted));
    add("mcp", &told(&planted));
    print(&table);
    let documented = documented();
    let mut tally = Tally::default();
    for place in PLACES {
        tally.equal(place, documented.get(place), table.get(place));
    }
    tally.check(PLACES.len());
}

/// Each command that has `--redact`, on the process and on files of it, and files that were redacted later.
#[test]
fn nothing_of_them_is_in_what_was_redacted() {
    let planted = Planted::start();
    let mut tally = Tally::default();
    let mut empty = |what: String, bytes: &[u8]| tally.equal(what, BTreeSet::new(), planted.found(bytes));
    let (capture, recording) = (planted.path("whole.capture"), planted.path("whole.gospyrec"));
    let (capture, recording) = (capture.to_str().unwrap(), recording.to_str().unwrap());
    gospy(&["capture", &planted.pid(), "--heap", "-o", capture]).ok();
    gospy(&["record", &planted.pid(), "-d", "300ms", "--rate", "20", "-o", recording]).ok();
    for (name, forms) in COMMANDS.iter().filter(|(name, _)| !NEVER_REDACTED.contains(name)) {
        for arguments in *forms {
            let refused = arguments.iter().any(|argument| ["--arguments", "--values", "--heap"].contains(argument));
            let redacted = [*arguments, &["--redact"]].concat();
            if refused {
                let pid = planted.pid();
                let typed: Vec<&str> =
                    redacted.iter().map(|one| if *one == "PID" { pid.as_str() } else { one }).collect();
                assert_eq!(gospy(&typed).code(), 2, "{typed:?}");
                continue;
            }
            empty(redacted.join(" "), &output(&planted, &redacted, true));
            // The same of a file, which says on standard error what it has not.
            if matches!(*name, "summary" | "stack" | "waits" | "why" | "leaks" | "heap" | "check") {
                let from: Vec<&str> = redacted
                    .iter()
                    .flat_map(|one| if *one == "PID" { vec!["--from", capture] } else { vec![*one] })
                    .collect();
                empty(from.join(" "), &output(&planted, &from, false));
            }
        }
    }
    let report = ["report", recording, "--redact", "-o"];
    for ending in ["FILE.gospyrec", "FILE.html", "FILE.pb.gz"] {
        let idle: &[&str] = if ending == "FILE.gospyrec" { &[] } else { &["--idle"] };
        empty(format!("report {ending}"), &output(&planted, &[&report[..], &[ending], idle].concat(), true));
    }
    empty("diff".to_owned(), &output(&planted, &["diff", capture, recording, "--json", "--redact"], true));
    // A capture that was redacted is read as any other.
    let later = planted.path("redacted.capture");
    let later = later.to_str().unwrap();
    gospy(&["capture", "--from", capture, "--redact", "-o", later]).ok();
    empty("capture --from".to_owned(), &unpacked(&std::fs::read(later).unwrap()));
    let stack = gospy(&["stack", "--from", later]).ok();
    empty("stack --from".to_owned(), stack.as_bytes());
    for text in ["main.withArray(...)", "main.panics", "chan receive", "example.test/secrets/main.go:"] {
        assert!(stack.contains(text), "{text}: {stack}");
    }
    let groups = gospy(&["summary", "--from", later, "--group=label=tenant"]).ok();
    assert!(groups.contains("redacted-1"), "{groups}");
    tally.check(60);
}
