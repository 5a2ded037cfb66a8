//! gospy and the files that it is given: every option that names one to write.

use std::path::Path;
use std::process::{Command, Stdio};

use super::command::{Output, gospy, gospy_with};
use super::live::live_program;
use super::refusal::ERROR;

/// `gospy run` itself failed.
pub const RUN_FAILED: i32 = 125;
pub const TIMED_OUT: i32 = 124;

pub fn example() -> String {
    format!("{}/fixtures/captures/tiny-1.26.6-amd64.capture", env!("CARGO_MANIFEST_DIR"))
}

pub fn recording() -> String {
    format!("{}/fixtures/captures/states-v1.gospyrec", env!("CARGO_MANIFEST_DIR"))
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A line of a shell, with `$gospy` in it.
pub fn shell(line: &str, directory: &Path) -> Output {
    gospy_with(&[], |command| {
        *command = Command::new("bash");
        command.args(["-c", line]).env("gospy", env!("CARGO_BIN_EXE_gospy")).env("example", example());
        command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    })
}

/// Every option that names a file to write, with the status of a refusal.
pub fn options() -> Vec<(&'static str, Vec<String>, i32)> {
    let words = |text: &str| {
        let put = |word: &str| word.replace("EXAMPLE", &example()).replace("RECORDING", &recording());
        text.split(' ').map(put).collect()
    };
    vec![
        ("capture", words("capture --from EXAMPLE -o FILE"), ERROR),
        ("capture --force", words("capture --force --from EXAMPLE -o FILE"), ERROR),
        ("capture --uncompressed", words("capture --uncompressed --force --from EXAMPLE -o FILE"), ERROR),
        ("capture --redact", words("capture --redact --from EXAMPLE -o FILE"), ERROR),
        ("summary --html", words("summary --from EXAMPLE --html FILE"), ERROR),
        ("report", words("report RECORDING --idle --format html -o FILE"), ERROR),
        ("report .gospyrec", words("report RECORDING --format gospyrec -o FILE"), ERROR),
        ("report --timeline", words("report RECORDING --timeline FILE"), ERROR),
        ("stack --pprof", words("stack --from EXAMPLE --pprof FILE"), ERROR),
        ("check --junit", words("check --from EXAMPLE --max-goroutines 100 --junit FILE"), ERROR),
        ("run --dump", words("run --timeout 20s --dump FILE -- touch STARTED"), RUN_FAILED),
    ]
}

/// A line of a shell that starts a Go program which does not end by itself: it reads its standard input.
pub fn idle() -> String {
    format!("sleep 60 | {} idle", live_program().display())
}

pub fn run(words: &[String], file: &Path, started: &Path) -> Output {
    let words: Vec<String> = words
        .iter()
        .map(|word| match word.as_str() {
            "FILE" => file.display().to_string(),
            "STARTED" => started.display().to_string(),
            other => other.to_owned(),
        })
        .collect();
    gospy(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What a snapshot in JSON holds can be shown like the capture that it was made of.
pub fn json_is_shown_as_its_captures(sources: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("json").display().to_string();
    for source in sources {
        let document = gospy(&["stack", "--from", source, "--json", "--system"]).ok();
        std::fs::write(&json, &document).unwrap();
        assert_eq!(gospy(&["stack", "--from", &json, "--json", "--system"]).ok(), document);
        // How far into a function a place is, the words of arguments, and the runtime's own clock, are not in
        // it; and each reading takes its own time.
        let without = |text: String| {
            let lines = text.lines().filter(|line| !line.trim_start().to_lowercase().starts_with("read  "));
            let lines = lines.map(|line| line.split(" +0x").next().unwrap_or(line));
            let call = |line: &str| (!line.starts_with('\t') && line.ends_with(')')).then(|| line.rfind('(')).flatten();
            let lines = lines.map(|line| call(line).map_or(line, |arguments| &line[..arguments]));
            lines.map(|line| line.split(" minutes").next().unwrap_or(line).to_owned()).collect::<Vec<_>>()
        };
        for arguments in [
            &["stack", "--all"][..],
            &["stack", "--group"],
            &["summary"],
            &["summary", "--all"],
            &["top"],
            &["stack", "--folded"],
        ] {
            let show = |from: &str| without(gospy(&[arguments, &["--from", from]].concat()).ok());
            assert_eq!(show(&json), show(source), "{arguments:?}");
        }
        let addresses = gospy(&["stack", "--from", &json, "--all", "--system"]).ok();
        assert!(addresses.contains(" pc=0x") && !addresses.contains(" sp=0x"), "{addresses}");
    }
    for command in [&["capture", "-o", "/nonexistent/file"][..], &["doctor"]] {
        let output = gospy(&[command, &["--from", &json]].concat());
        assert_eq!(output.code(), ERROR, "{output:?}");
    }
    let refused = directory.path().join("refused").display().to_string();
    let output = gospy(&["capture", "-o", &refused, "--from", &json]);
    assert!(output.stderr.contains("is a snapshot in JSON") && !Path::new(&refused).exists(), "{output:?}");
}
