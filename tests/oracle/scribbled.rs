//! A copy of a Go program that scribbles over its own memory while gospy reads it: whatever is there, every command
//! answers or refuses in time, within its memory, and without a panic.
//!
//! `fx` makes the copy (copy.go). It is nearly right at any moment and never the same, so that what has been checked may
//! be different when it is read again, which no file can be. `GOSPY_SCRIBBLES=100` says how many rounds of all commands
//! are made for each version (one by default), `GOSPY_SCRIBBLES_SEED` what they begin with, and `GOSPY_SCRIBBLES_PROGRAM`
//! names another gospy, such as one that is optimised.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, each, need};

/// Builds, by version.
const MODES: [Mode; 8] =
    [Mode::CgoSw, Mode::Sw, Mode::PieSw, Mode::Default, Mode::Sw, Mode::CgoPieSw, Mode::Pie, Mode::Default];

/// What is typed; `DIR` stands for a directory.
const COMMANDS: [&str; 22] = [
    "summary",
    "summary --json",
    "summary --freeze=all --json",
    "stack --all --system",
    "stack --all --values --strings",
    "stack --all --json",
    "waits",
    "waits --json",
    "why",
    "leaks",
    "leaks --freeze=all",
    "heap",
    "heap --json",
    "heap --objects",
    "heap --objects --freeze=all",
    "contention",
    "doctor",
    "capture -o DIR/one.gospy",
    "capture --heap -o DIR/heap.gospy",
    "check --watch 450ms --interval 50ms --no-leaks",
    "record -d 300ms --rate 50 --idle -o DIR/all.gospyrec",
    "top --json -n 3 --interval 50ms",
];

/// What is made of files that hold such memory.
const OF_FILES: [(&str, &[&str]); 3] = [
    ("one.gospy", &["summary --json", "stack --all --values", "waits"]),
    ("heap.gospy", &["leaks", "heap --objects"]),
    ("all.gospyrec", &["summary --json"]),
];

/// Seconds of CPU time that a run may take. None should need one, with an optimised gospy.
const CPU_SECONDS: u32 = 30;
/// Bytes of memory that a run may have.
const MEMORY: u64 = 384 << 20;
/// Words that are overwritten at a time.
const BURSTS: [u64; 6] = [1, 8, 30, 150, 1000, 4000];

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

struct Reader {
    program: String,
    directory: tempfile::TempDir,
}

impl Reader {
    fn new() -> Reader {
        let program = variable("GOSPY_SCRIBBLES_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_gospy").to_owned());
        Reader { program, directory: tempfile::tempdir().unwrap() }
    }

    /// Whether a run gives an answer. It may say that it cannot; what it may not do is wrong.
    fn run(&self, what: &str, line: &str, source: [&str; 2], tally: &mut Tally) -> bool {
        let directory = self.directory.path().display().to_string();
        let mut command = Command::new("prlimit");
        command.args([format!("--cpu={CPU_SECONDS}"), format!("--data={MEMORY}"), "--core=0".to_owned()]);
        command.arg(&self.program).args(line.split(' ').map(|word| word.replace("DIR", &directory))).args(source);
        let output = command.output().unwrap();
        let (status, said) = (output.status, String::from_utf8_lossy(&output.stderr));
        let is_honest = matches!(status.code(), Some(0 | 1 | 3 | 5 | 7 | 8)) && !said.contains("panicked");
        if !is_honest {
            let signal = status.signal().map(|signal| format!(", signal {signal}")).unwrap_or_default();
            tally.wrong(format!("{what}: {line} {}: {status}{signal}: {}", source[0], said.trim()));
        }
        if status.success() && line.contains("--json") && !line.starts_with("top") {
            let json = serde_json::from_slice::<serde_json::Value>(&output.stdout);
            tally.holds(format!("{what}: {line} gives JSON"), json.is_ok());
        }
        tally.compared += 1;
        matches!(status.code(), Some(0 | 7 | 8))
    }
}

/// The process of another copy; the one before ends.
fn copy(program: &mut Running, seed: u64, burst: u64) -> String {
    program.ask(&format!("copy {seed} {burst}"))["pid"].to_string()
}

fn rounds(version: &str, mode: Mode, seed: u64, tally: &mut Tally) {
    let mut program = Fixture::start("fx", version, mode, &["states"]);
    let reader = Reader::new();
    let (mut runs, mut answers) = (0, 0);
    let rounds: u64 = variable("GOSPY_SCRIBBLES").unwrap_or(1);
    for round in 0..rounds {
        for (n, line) in COMMANDS.iter().enumerate() {
            let at = round * COMMANDS.len() as u64 + n as u64;
            let (seed, burst) = (seed.wrapping_add(at), BURSTS[(at % BURSTS.len() as u64) as usize]);
            let what = format!("seed {seed}, {burst} words");
            let pid = copy(&mut program, seed, burst);
            answers += usize::from(reader.run(&what, line, ["--pid", &pid], tally));
            runs += 1;
            // One in some hundred copies dies of what it has written; none is left standing.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let is_left = matches!(stat.rsplit_once(") ").unwrap().1.chars().next(), Some('T' | 't'));
            tally.holds(format!("{what}: the copy is left stopped: {stat}"), !is_left);
        }
        for (file, lines) in OF_FILES {
            let path = reader.directory.path().join(file);
            if !path.exists() {
                continue;
            }
            let from = path.display().to_string();
            for line in lines {
                answers += usize::from(reader.run(&format!("round {round}"), line, ["--from", &from], tally));
                runs += 1;
            }
            std::fs::remove_file(path).unwrap();
        }
    }
    // What refuses everything would break nothing.
    tally.holds(format!("only {answers} of {runs} runs gave an answer"), answers >= runs / 4);
    println!("{version} {}: {runs} runs, {answers} answers", mode.name());
}

#[test]
fn whatever_scribbles_over_its_memory_is_read_or_refused() {
    need("prlimit", "util-linux");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = variable("GOSPY_SCRIBBLES_SEED").unwrap_or(now.subsec_nanos().into());
    let cases: Vec<(&str, Mode)> = VERSIONS.into_iter().zip(MODES).collect();
    let tally = each(
        &cases,
        |(version, mode)| format!("{version} {}", mode.name()),
        |(version, mode), tally| rounds(version, *mode, seed, tally),
    );
    tally.check(cases.len() * COMMANDS.len());
}
