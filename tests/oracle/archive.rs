//! Recordings: each sample against what commands say of the program while it stands still, and against its own
//! traceback; what is made of them against those that read such files; and files that want too much.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::profiles::pprof;
use crate::support::compare::by_id;
use crate::support::fixture::script;
use crate::support::{
    DumpFrame, DumpGoroutine, Fixture, Mode, Running, Tally, VERSIONS, gospy, gospy_with, matrix, need, need_root,
    until,
};

const MODES: [Mode; 4] = [Mode::Default, Mode::Sw, Mode::PieSw, Mode::Cgo];

/// A recording of `program`, which stands still: its path. It takes three seconds, and longer where the machine is so
/// busy that few samples are taken: the first ones are of another kind than the rest.
fn record(program: &Running, directory: &Path, more: &[&str]) -> String {
    const ENOUGH: u32 = 10;
    let path = directory.join("some.gospyrec").display().to_string();
    let pid = program.pid().to_string();
    for length in ["3s", "10s", "30s"] {
        let output = gospy(&[&["record", &pid, "-d", length, "--rate", "5", "-o", &path], more].concat());
        assert_eq!(output.code(), 0, "{output:?}");
        let (samples, _) = output.stderr.split_once(" samples").unwrap_or_else(|| panic!("{output:?}"));
        if samples.split_whitespace().next_back().unwrap().parse::<u32>().unwrap() >= ENOUGH {
            break;
        }
    }
    path
}

/// What two documents differ in, as paths; times may be `elapsed` apart, to `exact` ns.
struct Difference<'t> {
    elapsed: f64,
    exact: f64,
    tally: &'t mut Tally,
}

impl Difference<'_> {
    fn of(&mut self, at: &str, now: &Value, then: &Value) {
        match (now, then) {
            (Value::Object(now), Value::Object(then)) => {
                let keys: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
                // Stacks in C are only read for those who show them.
                for key in keys.into_iter().filter(|key| !key.starts_with("c_")) {
                    let none = &Value::Null;
                    self.of(&format!("{at}.{key}"), now.get(key).unwrap_or(none), then.get(key).unwrap_or(none));
                }
            }
            (Value::Array(now), Value::Array(then)) if now.len() == then.len() => {
                for (index, (now, then)) in now.iter().zip(then).enumerate() {
                    self.of(&format!("{at}[{index}]"), now, then);
                }
            }
            (Value::Number(now), Value::Number(then)) if is_time(at) => {
                let apart = now.as_f64().unwrap() - then.as_f64().unwrap();
                let passed = if at.ends_with("deadline_ns") { -self.elapsed } else { self.elapsed };
                self.tally.between(at, passed - self.exact, apart, passed + self.exact);
            }
            _ => self.tally.equal(at, now, then),
        }
    }

    /// Takes ages that were measured out of a document, and gives them by id, ns. What the runtime knows of the others
    /// (`known`, later) may be a little less than what was measured.
    fn take_measured(&mut self, then: &mut Value, known: &BTreeMap<u64, f64>) -> BTreeMap<u64, f64> {
        let mut measured = BTreeMap::new();
        for goroutine in then["goroutines"]["list"].as_array_mut().unwrap() {
            if goroutine["wait_source"] == "watched" {
                let (id, wait) = (goroutine["id"].as_u64().unwrap(), goroutine["wait_ns"].as_f64().unwrap());
                (goroutine["wait_ns"], goroutine["wait_source"]) = match known.get(&id) {
                    Some(known) => {
                        let known = known - self.elapsed;
                        self.tally.between(format!("the wait of {id}"), known - self.exact, wait, known + self.exact);
                        (known.into(), "gc".into())
                    }
                    None => {
                        measured.insert(id, wait);
                        (Value::Null, Value::Null)
                    }
                };
            }
        }
        measured
    }
}

fn is_time(at: &str) -> bool {
    ["wait_ns", "wait_at_most_ns", "deadline_ns"].iter().any(|end| at.ends_with(end))
}

/// The time of day at which a document was read, ns: `2026-05-04T14:03:05.123456789Z`.
fn of_day(document: &Value) -> f64 {
    let text = document["captured_at"].as_str().unwrap();
    let parts = text[11..].trim_end_matches('Z').split(':').map(|part| part.parse::<f64>().unwrap());
    1e9 * parts.fold(0.0, |all, part| 60.0 * all + part)
}

/// State and places of a goroutine.
type Stack = (String, Vec<(String, String, u64)>);

/// The goroutines of a traceback that do not run, by id.
fn waiting(text: &str) -> BTreeMap<u64, Stack> {
    let stack = |goroutine: DumpGoroutine| {
        let place = |frame: DumpFrame| (frame.function, frame.file, frame.line);
        (goroutine.state, goroutine.frames.into_iter().map(place).collect())
    };
    let waiting = by_id(text).into_iter().filter(|(_, goroutine)| goroutine.state != "running");
    waiting.map(|(id, goroutine)| (id, stack(goroutine))).collect()
}

/// The program is stopped, so that all who read it find the same.
#[test]
fn samples_are_what_one_shot_commands_say() {
    let tally = matrix(&MODES, |version, mode, tally| {
        let mut program = Fixture::start("fx", version, mode, &["stacks", "1"]);
        // Twice the same: nothing is on its way any more to where it will wait.
        let own = until("it stands still", || {
            let [before, own] = [0, 1].map(|_| waiting(program.ask("stack")["stack_text"].as_str().unwrap()));
            (before == own).then_some(own)
        });
        program.stop();
        let directory = tempfile::tempdir().unwrap();
        let path = record(&program, directory.path(), &[]);
        let pid = program.pid().to_string();
        let now = gospy(&["stack", &pid, "--json", "--system"]).json();
        let age = |g: &Value| (g["wait_source"] == "gc").then(|| Some((g["id"].as_u64()?, g["wait_ns"].as_f64()?)));
        let goroutines = now["goroutines"]["list"].as_array().unwrap();
        let known: BTreeMap<u64, f64> = goroutines.iter().filter_map(age).flatten().collect();
        let ns = |document: &Value| document["target"]["uptime_ns"].as_f64().unwrap();
        let mut first_ns = None;
        for at in ["+0s", "+1s", "-0s"] {
            let mut then = gospy(&["stack", "--from", &path, "--at", at, "--json", "--system"]).json();
            let first = *first_ns.get_or_insert(ns(&then));
            // No sample before the first one; then each wait that nothing is known of has lasted for as long as the
            // recording, but for the first samples, which only confirm it.
            let elapsed = ns(&now) - ns(&then);
            // The two clocks of a reading are not read at one moment.
            let apart = ((of_day(&now) - of_day(&then)).rem_euclid(86_400e9) - elapsed).abs();
            let exact = apart + 1e6;
            let measured = Difference { elapsed, exact, tally }.take_measured(&mut then, &known);
            if at != "+1s" {
                tally.equal(format!("{at}: whether waits are measured"), at == "-0s", !measured.is_empty());
            }
            for (id, wait) in &measured {
                tally.between(format!("{at}: {id}"), 0.0, *wait, ns(&then) - first + exact);
            }
            if at == "-0s" {
                let longest = measured.values().copied().fold(0.0, f64::max);
                tally.between("the longest measured", 0.2 * (ns(&then) - first), longest, ns(&then) - first + exact);
            }
            let mut difference = Difference { elapsed, exact, tally };
            difference.of(&format!("{at}.list"), &now["goroutines"]["list"], &then["goroutines"]["list"]);
            for key in ["processors", "threads", "heap", "gc", "warnings", "complete"] {
                difference.of(&format!("{at}.{key}"), &now[key], &then[key]);
            }
            tally.equal("its program", &now["target"]["build_id"], &then["target"]["build_id"]);
        }
        // And what the program says of itself, which it did before it was stopped.
        let ours = waiting(&gospy(&["stack", "--from", &path, "--at", "+1s", "--all"]).ok());
        tally.holds(format!("{} goroutines of its own", own.len()), own.len() > 100);
        for (id, own) in &own {
            tally.equal(format!("goroutine {id}"), Some(own), ours.get(id));
        }
    });
    tally.check(8_000 * VERSIONS.len() * MODES.len());
}

/// Labels of the samples of a profile, as `go tool pprof` reads them: each label with its value or number.
fn labels_of(raw: &str) -> Vec<BTreeMap<String, String>> {
    let samples = raw.split_once("\nSamples:\n").unwrap().1.split("\nLocations\n").next().unwrap();
    // What follows the line of a sample, up to the next one; values may have several lines.
    let mut texts: Vec<String> = Vec::new();
    for line in samples.lines().skip(1) {
        let is_sample = line.split_once(": ").is_some_and(|(values, _)| {
            let mut values = values.split_whitespace();
            values.clone().count() == 2 && values.all(|value| value.parse::<u64>().is_ok())
        });
        match texts.last_mut() {
            Some(text) if !is_sample => text.extend([line, "\n"]),
            _ => texts.push(String::new()),
        }
    }
    let labels = |text: &String| {
        let (mut labels, mut rest) = (BTreeMap::new(), text.trim());
        while let Some((name, after)) = rest.split_once(":[") {
            let mut ends = after.match_indices(']').map(|(at, _)| at);
            // A label ends where nothing, or another one, follows.
            let is_end = |at: &usize| after[at + 1..].is_empty() || after[at + 1..].starts_with([' ', '\n']);
            let end = ends.find(is_end).unwrap();
            labels.insert(name.to_owned(), after[..end].trim_end_matches(" id").to_owned());
            rest = after[end + 1..].trim_start();
        }
        labels
    };
    texts.iter().map(labels).collect()
}

/// Goroutine, state, reason, object, and the labels that the program has set, goroutine by goroutine.
#[test]
fn go_tool_pprof_reads_all_labels() {
    for version in VERSIONS {
        let mut tally = Tally::new(format!("labels {version}"));
        let program = Fixture::start("fx", version, Mode::Sw, &["stacks", "1"]);
        program.stop();
        let directory = tempfile::tempdir().unwrap();
        let path = record(&program, directory.path(), &[]);
        let pid = program.pid().to_string();
        let now = gospy(&["stack", &pid, "--json", "--system"]).json();
        let goroutines = now["goroutines"]["list"].as_array().unwrap();
        let report = |key: &str| {
            let file = directory.path().join(format!("{key}.pb.gz")).display().to_string();
            gospy(&["report", &path, "--idle", "--system", "--group-by", key, "-o", &file]).ok();
            file
        };
        let by_goroutine = report("goroutine");
        let read = labels_of(&pprof(&["-raw", &by_goroutine]));
        tally.equal("samples", goroutines.len(), read.len());
        let read: BTreeMap<String, BTreeMap<String, String>> =
            read.into_iter().map(|mut labels| (labels.remove("goroutine").unwrap_or_default(), labels)).collect();
        let mut own_labels = 0;
        for goroutine in goroutines {
            let mut wanted: BTreeMap<String, String> = BTreeMap::new();
            let text = |value: &Value| value.as_str().map(str::to_owned);
            wanted.extend(text(&goroutine["state"]).map(|state| ("state".to_owned(), state)));
            wanted.extend(text(&goroutine["wait_reason"]).map(|reason| ("wait_reason".to_owned(), reason)));
            for (key, value) in goroutine["labels"].as_object().into_iter().flatten() {
                own_labels += 1;
                wanted.insert(key.clone(), value.as_str().unwrap().to_owned());
            }
            tally.equal("labels", Some(&wanted), read.get(&goroutine["id"].to_string()));
        }
        tally.holds(format!("{own_labels} labels of the program"), own_labels > 2);
        // -tags is what a person looks at: of 199 goroutines each that many.
        let tags = pprof(&["-tags", "-unit=s", &by_goroutine]);
        for tag in ["goroutine: Total", "state: Total", "wait_reason: Total", "request: Total", "user: Total"] {
            tally.holds(format!("{tag} in {tags}"), tags.contains(tag));
        }
        let objects: BTreeSet<String> = labels_of(&pprof(&["-raw", &report("object")]))
            .into_iter()
            .filter_map(|mut l| l.remove("object"))
            .collect();
        let mut locks = 0;
        for waiting_on in goroutines.iter().map(|goroutine| &goroutine["waiting_on"]) {
            if matches!(waiting_on["kind"].as_str(), Some("mutex" | "rwmutex" | "waitgroup" | "cond"))
                && let Some(address) = waiting_on["address"].as_str()
            {
                locks += 1;
                tally
                    .holds(format!("{address} in {objects:?}"), objects.iter().any(|object| object.ends_with(address)));
            }
        }
        tally.holds(format!("{locks} locks"), locks > 5);
        tally.check(150);
    }
}

/// Stacks with their times by speedscope's own importer are those of the folded file.
#[test]
fn speedscope_imports_what_is_written() {
    let program = Fixture::start("fx", "1.26.6", Mode::Default, &["stacks", "1"]);
    let directory = tempfile::tempdir().unwrap();
    let recording = record(&program, directory.path(), &[]);
    let to = |name: &str, more: &[&str]| {
        let path = directory.path().join(name).display().to_string();
        gospy(&[&["report", &recording, "--idle", "-o", &path], more].concat()).ok();
        path
    };
    let import = |file: &str| -> Value {
        let js = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/speedscope.js");
        let mut command = Command::new(need("node", "nodejs"));
        let output = command.arg(js).arg(script("real", &["speedscope"])).arg(file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let folded = std::fs::read_to_string(to("x.folded", &[])).unwrap();
    let mut wanted: BTreeMap<String, f64> = BTreeMap::new();
    for (stack, us) in folded.lines().map(|line| line.rsplit_once(' ').unwrap()) {
        *wanted.entry(stack.to_owned()).or_default() += us.parse::<f64>().unwrap();
    }
    let imported = import(&to("x.json", &[]));
    let mut read: BTreeMap<String, f64> = BTreeMap::new();
    for profile in imported["profiles"].as_array().unwrap() {
        assert_eq!(profile["unit"], "nanoseconds");
        let mut all = 0.0;
        for (stack, ns) in profile["stacks"].as_object().unwrap() {
            all += ns.as_f64().unwrap();
            *read.entry(stack.clone()).or_default() += ns.as_f64().unwrap() / 1e3;
        }
        assert!((all - profile["total"].as_f64().unwrap()).abs() < 1.0 && all > 0.0, "{profile}");
    }
    // In a folded file a semicolon ends a frame, so one in a name is something else there.
    assert!(wanted.len() > 60 && wanted.keys().eq(read.keys()), "{wanted:?}\n{read:?}");
    for (stack, us) in &wanted {
        assert!((us - read[stack]).abs() <= 2.0, "{stack}: {us} and {}", read[stack]);
    }
    // And a program that runs, by CPU.
    let busy = Fixture::start("oncpu", "1.26.6", Mode::Sw, &["1"]);
    let path = directory.path().join("cpu.json").display().to_string();
    let output = gospy(&["record", &busy.pid().to_string(), "--cpu", "-d", "2s", "-o", &path]);
    if output.code() == crate::support::refusal::PERMISSION {
        println!("THE KERNEL REFUSES perf_event_open: the format of --cpu is not tested");
        return;
    }
    assert_eq!(output.code(), 0, "{output:?}");
    let imported = import(&path);
    let stacks = imported["profiles"][0]["stacks"].as_object().unwrap();
    assert!(stacks.keys().any(|stack| stack.contains("main.workA;main.a1;main.a2;main.leaf")), "{stacks:?}");
}

/// Makes recordings by the description of the format: `bomb.py KIND FILE`.
const BOMB: &str = "
import struct, sys, zlib
def varint(n):
    out = b''
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])
def entry(data): return varint(len(data)) + data
def block(part, data, samples=0):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(data) + deflate.flush() if data else b''
    head = struct.pack('<IIIIQQ', part, len(data), len(packed), samples, 5, 6)
    return head + struct.pack('<I', zlib.crc32(head + packed)) + packed
def blocks(first, rest, data, samples=0):
    chunks = [data[at:at + (1 << 20)] for at in range(0, len(data), 1 << 20)] or [b'']
    return b''.join(block(rest if at else first, chunk, samples if chunk is chunks[-1] else 0) for at, chunk in enumerate(chunks))
head = b'\\x89gsrec\\n\\x1a' + struct.pack('<II', 1, 2) + b'{}'
names, sample = b'', bytes(8)
if sys.argv[1] == 'names':
    # Sets of labels, all alike but for their length: 8 bytes of memory for each two, and these for nothing.
    names = b''.join(entry(b'\\x03' + varint(2_000_000 + n) + b'\\1' * (2 * (2_000_000 + n))) for n in range(120))
if sys.argv[1] == 'facts':
    fact = b'\\x07' + varint(30_000_000) + bytes(30_000_000)
    sample = varint(1 << 2 | 2) + entry(fact) + bytes(8)
if sys.argv[1] == 'pauses':
    sample = b'\\0' + varint(10_000_000 << 2 | 2) + b'\\2\\0\\0' * 10_000_000 + bytes(7)
with open(sys.argv[2], 'wb') as file:
    file.write(head + struct.pack('<I', zlib.crc32(head)))
    file.write(blocks(1, 2, names) + blocks(3, 4, entry(sample), 1) + block(0, b'', 1))
";

/// Runs what follows, and says on its last line how much memory that took at most, KiB.
const PEAK: &str = "
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.stderr.replace('\\n', ' '))
";

/// A file of less than a megabyte that claims gigabytes is refused, with no more memory than is stated.
#[test]
fn bombs_take_no_more_memory_than_is_stated() {
    let directory = tempfile::tempdir().unwrap();
    let python = need("python3", "python3");
    for (kind, status, said) in [
        ("nothing", "0", ""),
        ("names", "1", "take too much memory"),
        ("facts", "1", "a sample takes too much memory"),
        ("pauses", "1", "a sample takes too much memory"),
    ] {
        let file = directory.path().join(kind).display().to_string();
        assert!(Command::new(&python).args(["-c", BOMB, kind, &file]).status().unwrap().success());
        let len = std::fs::metadata(&file).unwrap().len();
        let output = Command::new(&python)
            .args(["-c", PEAK, env!("CARGO_BIN_EXE_gospy"), "summary", "--json", "--from", &file])
            .output()
            .unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let mut words = output.splitn(3, ' ');
        let (code, peak) = (words.next().unwrap(), words.next().unwrap().parse::<u64>().unwrap() << 10);
        println!("{kind}: {len} bytes, {} MB of memory: {output}", peak >> 20);
        assert!(code == status && output.contains(said), "{kind}: {output}");
        assert!(len < 1 << 20, "{kind} has {len} bytes");
        // What is allowed, and what gospy takes in any case.
        assert!(peak < (256 << 20) + 256 * len + (48 << 20), "{kind}: {peak}");
    }
}

/// A disk that fills up ends a recording; what is there stays, can be read, and the message says what happened.
#[test]
fn a_full_disk_keeps_what_was_recorded() {
    need_root();
    need("unshare", "util-linux");
    // Everything changes all the time, so that it is full soon.
    let program = Fixture::start("fx", "1.26.6", Mode::Sw, &["churn", "-goroutines", "3000"]);
    let directory = tempfile::tempdir().unwrap();
    let line = format!(
        "mkdir full; mount -t tmpfs -o size=512k none full; cd full; \
         $gospy record {} -d 60s --rate 20 -o out.gospyrec; echo status $?; cp out.gospyrec ..",
        program.pid()
    );
    let output = gospy_with(&[], |process| {
        *process = Command::new("unshare");
        process.args(["--mount", "bash", "-c", &line]).env("gospy", env!("CARGO_BIN_EXE_gospy"));
        process.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    });
    assert_eq!(output.stdout.trim(), "status 1", "{output:?}");
    assert!(output.stderr.contains("out.gospyrec cannot be written: No space left on device"), "{output:?}");
    let path = directory.path().join("out.gospyrec").display().to_string();
    let report = gospy(&["report", &path, "-o", "-", "--format", "folded", "--idle"]);
    assert!(report.stderr.contains("ends before the recording did: it is cut off at byte"), "{report:?}");
    assert!(report.ok().lines().count() > 2);
    assert!(gospy(&["summary", "--from", &path]).ok().contains("goroutine"));
}

/// A program that ends, or becomes another one, meanwhile.
#[test]
fn programs_that_end_or_execute_another_leave_a_whole_recording() {
    for end in ["exec", "quit"] {
        let mut program = Fixture::start("oncpu", "1.26.6", Mode::Sw, &["1", "50"]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.gospyrec");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
        command.args(["record", &program.pid().to_string(), "-d", "10m", "--rate", "20", "-o"]).arg(&path);
        let recording = Running::spawn(command);
        std::thread::sleep(Duration::from_secs(2));
        program.send(end);
        let (status, said) = recording.wait();
        assert!(status.success() && said.contains("the program ended after "), "{end}: {said}");
        let path = path.display().to_string();
        let report = gospy(&["report", &path, "-o", "-", "--format", "folded", "--idle"]);
        assert!(!report.stderr.contains("ends before the recording did"), "{end}: {report:?}");
        // All of its samples are of the one program.
        let ends = ["+0s", "-0s"].map(|at| gospy(&["summary", "--from", &path, "--at", at, "--json"]).json());
        assert_eq!(ends[0]["target"]["pid"], ends[1]["target"]["pid"]);
        let started = |document: &Value| document["target"]["uptime_ns"].as_u64().unwrap();
        assert!(started(&ends[1]) > started(&ends[0]), "{end}: {ends:?}");
        if end == "exec" {
            program.wait_ready();
        }
    }
}

/// What a recorder holds does not grow with what it has written, though all of the program changes all the time.
#[test]
fn memory_of_a_recorder_stays() {
    let program = Fixture::start("fx", "1.26.6", Mode::Sw, &["churn", "-goroutines", "300"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("some.gospyrec");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
    command.args(["record", &program.pid().to_string(), "-d", "10m", "--rate", "99", "-o"]).arg(&path);
    let recording = Running::spawn(command);
    let status = format!("/proc/{}/status", recording.pid());
    // The most that it has of several looks, KiB, and how much was written by then.
    let look = || {
        let mut most = 0;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(250));
            let status = std::fs::read_to_string(&status).unwrap();
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            most = most.max(resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
        }
        (most, std::fs::metadata(&path).unwrap().len())
    };
    let (first, written) = look();
    look();
    let (last, more) = look();
    recording.signal(nix::sys::signal::Signal::SIGINT);
    let (status, said) = recording.wait();
    assert!(status.success(), "{said}");
    println!("{first} KiB after {written} bytes, {last} KiB after {more}: {said}");
    assert!(more > written + 50_000, "{written} and {more} bytes: {said}");
    assert!(last < first + first / 4 + 4_096, "{first} and then {last} KiB: {said}");
}
